//! From a Dask graph to a flat graph and a program.
//!
//! Every key becomes an index.  Nodes whose exact type is known are lowered: their arguments become words or
//! a template, fused subgraphs and nested nodes included.  Whatever is not recognised is left to be called as
//! `node(values)`, which is always right.

use ferris_core::graph::{Builder, Fault, Graph};
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use std::collections::HashMap;

use crate::ahead::{Ahead, BLOCK};
use crate::call::{self, Object};
use crate::error::{self, CycleError, GraphError, MissingDependencyError, MissingKeyError};
use crate::interpreter;
use crate::keys::{Items, KeyTable, touch};
use crate::lower::{Lowered, Obstacle};
use crate::program::{Owned, Payload, Program, Template, Word, Work};
use crate::spec::{Spec, Type};
use crate::subgraph::Subgraph;

/// Other threads may have the interpreter after this many tasks: every 0.1 ms.
const TASKS_BETWEEN_LOOKS: u32 = 1024;

/// Smaller graphs are not looked ahead into: they stay in the cache.
///
/// Measured with trees of no-op tasks after the cache was emptied: at 10 000 tasks it costs 6 % more than it saves, at
/// 100 000 it saves a quarter.
const LOOKED_AHEAD: usize = 20_000;

/// How many items ahead the nodes of a large graph are asked for.
const ITEMS_AHEAD: usize = 16;

/// A graph that is ready to run, and what its tasks refer to.
pub struct Compiled {
    pub graph: Graph<Payload>,
    pub program: Program,
    /// The tasks that were asked for, in order.
    pub targets: Vec<u32>,
}

/// Compiles a graph, to be run for `targets`.
pub fn compile(dsk: &Bound<'_, PyDict>, targets: &[Bound<'_, PyAny>]) -> PyResult<Compiled> {
    let mut compiler = Compiler::new(dsk)?;
    compiler.add_tasks()?;
    compiler.add_all_work()?;
    compiler.finish(targets)
}

/// The state of one compilation.
pub struct Compiler<'py> {
    pub py: Python<'py>,
    pub spec: &'static Spec,
    snapshot: Bound<'py, PyDict>,
    table: KeyTable,
    /// Nodes by index, borrowed from `snapshot` or `held`.
    nodes: Vec<Object>,
    ahead: Ahead,
    builder: Builder<Payload>,
    pub words: Vec<Word>,
    pub templates: Vec<Template>,
    pub held: Vec<Owned>,
    /// Templates of fused subgraphs, which Dask shares between the tasks of a layer.
    pub subgraphs: HashMap<Subgraph, Option<u32>>,
    /// Tasks that cannot be run, and why; each is an error only when it is needed.
    unresolved: Vec<(u32, Obstacle)>,
    n_called: usize,
    n_inlined: usize,
}

impl<'py> Compiler<'py> {
    fn new(dsk: &Bound<'py, PyDict>) -> PyResult<Self> {
        let py = dsk.py();
        let n = dsk.len();
        Ok(Self {
            py,
            spec: Spec::get(py)?,
            snapshot: dsk.copy()?,
            table: KeyTable::with_capacity(n),
            nodes: Vec::with_capacity(n),
            ahead: Ahead::default(),
            builder: Builder::with_capacity(n),
            words: Vec::with_capacity(2 * n),
            templates: Vec::new(),
            held: Vec::with_capacity(2 * n),
            subgraphs: HashMap::new(),
            unresolved: Vec::new(),
            n_called: 0,
            n_inlined: 0,
        })
    }

    fn is_large(&self) -> bool {
        self.snapshot.len() >= LOOKED_AHEAD
    }

    fn n_tasks(&self) -> u32 {
        self.nodes.len() as u32
    }

    /// Gives every key of the graph an index, and turns what is no node into one.
    fn add_tasks(&mut self) -> PyResult<()> {
        let snapshot = self.snapshot.clone();
        let mut ahead = self.is_large().then(|| Items::of(&snapshot).skip(ITEMS_AHEAD));
        for item in Items::of(&snapshot) {
            if let Some(later) = ahead.as_mut().and_then(Iterator::next) {
                touch(later.value);
            }
            // SAFETY: the snapshot keeps keys and values alive.
            unsafe {
                if let Some(node) = self.as_node(item.key, item.value)? {
                    self.table.insert(item.key, item.mixed(self.py)?);
                    self.nodes.push(node);
                    self.builder.add(Payload::new());
                }
            }
            if self.nodes.len().is_multiple_of(TASKS_BETWEEN_LOOKS as usize) {
                interpreter::give_way(self.py)?;
            }
        }
        Ok(())
    }

    /// The node of a key; nothing for a key that only stands for itself, which Dask leaves out.
    ///
    /// # Safety
    /// Both objects are alive.
    unsafe fn as_node(&mut self, key: Object, value: Object) -> PyResult<Option<Object>> {
        // SAFETY: by the condition above.
        let kind = unsafe { Type::of(value) };
        if kind == self.spec.task {
            return Ok(Some(value));
        }
        // SAFETY: as above.
        let (key, value) = unsafe { (error::borrow(self.py, key), error::borrow(self.py, value)) };
        let node = if self.spec.is_node(kind) { value } else { self.convert(&key, &value)? };
        Ok((!self.is_self_alias(&key, &node)?).then_some(node.as_ptr()))
    }

    /// Lets Dask turn a legacy task, a raw value or a reference into a node, which is held from now on.
    fn convert(&mut self, key: &Bound<'py, PyAny>, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let converted =
            self.spec.convert(key, value, &self.snapshot).map_err(|cause| error::unreadable(key, cause))?;
        self.held.push(Owned::from_bound(converted.clone()));
        Ok(converted)
    }

    fn is_self_alias(&self, key: &Bound<'py, PyAny>, node: &Bound<'py, PyAny>) -> PyResult<bool> {
        // SAFETY: the node is alive, and the field is read only where it exists.
        unsafe {
            if !self.spec.is_alias(Type::of(node.as_ptr())) {
                return Ok(false);
            }
            let target = self.spec.target.of(node.as_ptr());
            if target.is_null() { Ok(false) } else { call::is_equal(&error::borrow(self.py, target), key) }
        }
    }

    fn add_all_work(&mut self) -> PyResult<()> {
        for index in 0..self.n_tasks() {
            self.look_ahead(index as usize)?;
            self.add_work(index)?;
            if index % TASKS_BETWEEN_LOOKS == TASKS_BETWEEN_LOOKS - 1 {
                interpreter::give_way(self.py)?;
            }
        }
        Ok(())
    }

    /// Looks up the references of the nodes from `index` on, if a block of a large graph begins there.
    fn look_ahead(&mut self, index: usize) -> PyResult<()> {
        if !self.is_large() {
            return Ok(());
        }
        if index.is_multiple_of(BLOCK) {
            // SAFETY: nodes and keys are held.
            unsafe { self.ahead.begin(self.py, self.spec, &self.table, &self.nodes, index)? };
        }
        self.ahead.open(index % BLOCK);
        Ok(())
    }

    /// Decides how task `index` is computed and lists what it depends on.
    fn add_work(&mut self, index: u32) -> PyResult<()> {
        self.builder.open(index);
        let work = match self.lower(index) {
            Err(Obstacle::Unknown) => self.call_node(index),
            lowered => lowered.inspect(|_| self.n_inlined += 1),
        };
        match work {
            Ok(work) => self.builder.payload_mut(index).work = work,
            Err(Obstacle::Raised(cause)) if !error::is_ordinary(self.py, &cause) => {
                return Err(cause);
            }
            Err(obstacle) => {
                self.builder.set_unresolved(index);
                self.unresolved.push((index, obstacle));
            }
        }
        Ok(())
    }

    fn lower(&mut self, index: u32) -> Lowered<Work> {
        let node = self.nodes[index as usize];
        // SAFETY: the node is alive, and each field is read only from the type it belongs to.
        unsafe {
            let kind = Type::of(node);
            if kind == self.spec.task {
                return self.lower_task(index, node);
            }
            if kind == self.spec.data {
                return self.lower_data(index, self.spec.value.of(node));
            }
            if kind == self.spec.alias {
                return Ok(Work::Copy { of: self.depends_on(self.spec.target.of(node))? });
            }
            if self.spec.container(kind).is_some() {
                return self.lower_template(node);
            }
            if self.spec.is_node(kind) {
                return Err(Obstacle::Unknown);
            }
            self.lower_data(index, node)
        }
    }

    /// A value that is there already.
    ///
    /// # Safety
    /// `value` is alive, or null.
    unsafe fn lower_data(&mut self, index: u32, value: Object) -> Lowered<Work> {
        if value.is_null() {
            return Err(Obstacle::Unknown);
        }
        // SAFETY: by the condition above.
        unsafe { self.builder.payload_mut(index).value.set(crate::call::incref(value)) };
        self.builder.set_known(index);
        Ok(Work::Nothing)
    }

    /// Records that the open task needs the value of `key`.
    ///
    /// # Safety
    /// `key` is alive, or null for a reference whose key was never set.
    pub unsafe fn depends_on(&mut self, key: Object) -> Lowered<u32> {
        if key.is_null() {
            return Err(Obstacle::Unknown);
        }
        // SAFETY: by the condition above.
        unsafe {
            let dependency = match self.ahead.read(key) {
                Some(found) => found,
                None => self.find(key)?,
            };
            self.builder.depends_on(dependency);
            Ok(dependency)
        }
    }

    /// The task of a key.
    ///
    /// # Safety
    /// `key` is alive.
    unsafe fn find(&self, key: Object) -> Lowered<u32> {
        // SAFETY: by the condition above; the keys of the table are held.
        unsafe {
            // Hashing and comparing may run Python code, which may take the key out of the node it was read from.
            let _held = Owned::new(key);
            let missing = || Obstacle::Missing(error::borrow(self.py, key).unbind());
            self.table.find(self.py, key)?.ok_or_else(missing)
        }
    }

    /// Forgets what was listed for task `index`, which is to be lowered in another way.
    pub fn start_again(&mut self, index: u32) {
        self.builder.open(index);
    }

    /// A node nobody here knows: it says itself what it depends on.
    fn call_node(&mut self, index: u32) -> Lowered<Work> {
        self.start_again(index);
        self.n_called += 1;
        let node = self.nodes[index as usize];
        // SAFETY: the node is held.
        let dependencies =
            call::get_attr(&unsafe { error::borrow(self.py, node) }, intern!(self.py, "dependencies"))?;
        let dependencies = call::call(self.py.get_type::<PyTuple>().as_any(), [&dependencies])?;
        for key in dependencies.cast_exact::<PyTuple>().map_err(PyErr::from)?.iter_borrowed() {
            // SAFETY: the tuple keeps the key alive.
            unsafe { self.depends_on(key.as_ptr())? };
        }
        Ok(Work::Node(node))
    }

    fn finish(mut self, targets: &[Bound<'_, PyAny>]) -> PyResult<Compiled> {
        let is_large = self.is_large();
        let targets = targets.iter().map(|key| self.target(key)).collect::<PyResult<Vec<_>>>()?;
        let program = Program {
            words: self.words,
            templates: self.templates,
            keys: self.table.into_keys(),
            nodes: self.nodes,
            _snapshot: self.snapshot.unbind(),
            _held: self.held,
            n_inlined: self.n_inlined,
            n_called: self.n_called,
        };
        let builder = &mut self.builder;
        let mut finish = || builder.finish(&targets);
        // The ranks of a million tasks take a tenth of a second, in which other threads may have the interpreter.
        match if is_large { self.py.detach(finish) } else { finish() } {
            Ok(graph) => Ok(Compiled { graph, program, targets }),
            Err(fault) => Err(describe(self.py, &program, self.unresolved, &fault)),
        }
    }

    fn target(&self, key: &Bound<'_, PyAny>) -> PyResult<u32> {
        // SAFETY: the key is alive.
        let found = unsafe { self.table.find(self.py, key.as_ptr()) };
        found
            .map_err(|cause| explain_unhashable(key, cause))?
            .ok_or_else(|| MissingKeyError::new_err(format!("the graph has no key {}", error::repr(key))))
    }
}

/// Names the key when it is the key that cannot be looked up.
fn explain_unhashable(key: &Bound<'_, PyAny>, cause: PyErr) -> PyErr {
    let py = key.py();
    if !cause.is_instance_of::<PyTypeError>(py) {
        return cause;
    }
    let error =
        PyTypeError::new_err(format!("key {} cannot be looked up: {}", error::repr(key), cause.value(py)));
    error.set_cause(py, Some(cause));
    error
}

/// The error for a graph that cannot be run.
fn describe(py: Python<'_>, program: &Program, unresolved: Vec<(u32, Obstacle)>, fault: &Fault) -> PyErr {
    let name = |index: u32| error::repr(&program.key(py, index));
    match fault {
        Fault::Cycle(tasks) => {
            let path: Vec<_> = tasks.iter().chain(tasks.first()).map(|&index| name(index)).collect();
            CycleError::new_err(format!("Cycle detected in the graph: {}", path.join(" -> ")))
        }
        Fault::TooLarge => GraphError::new_err("the graph has more than 2**31 tasks or dependencies"),
        Fault::Unresolved(index) => match unresolved.into_iter().find(|(task, _)| task == index) {
            Some((_, Obstacle::Missing(key))) => {
                let (key, task) = (error::repr(key.bind(py)), name(*index));
                let text = format!("Missing dependency {key} of task {task}: the graph has no such key");
                MissingDependencyError::new_err(text)
            }
            Some((_, Obstacle::Raised(cause))) => error::unreadable(&program.key(py, *index), cause),
            _ => unreachable!("a node can always be called, and a task without an obstacle is resolved"),
        },
    }
}

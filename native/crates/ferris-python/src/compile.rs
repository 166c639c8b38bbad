//! From a Dask graph to a flat graph and a program.
//!
//! Every key becomes an index.  Nodes whose exact type is known are lowered: their arguments become words or
//! a template, fused subgraphs and nested nodes included.  Whatever is not recognised is left to be called as
//! `node(values)`, which is always right.

use ferris_core::graph::{Builder, Fault, Graph};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use std::collections::HashMap;

use crate::call::Object;
use crate::error::{self, CycleError, MissingDependencyError, MissingKeyError};
use crate::interpreter::Turn;
use crate::keys::{KeyTable, for_each_item};
use crate::lower::{Lowered, Obstacle, Subgraph};
use crate::program::{Op, Owned, Payload, Program, Template, Word, Words, Work};
use crate::spec::{Spec, Type};

/// The clock is looked at after this many tasks: every 0.1 ms.
const TASKS_BETWEEN_LOOKS: u32 = 1024;

/// A graph that is ready to run, and what its tasks refer to.
pub struct Compiled {
    pub graph: Graph<Payload>,
    pub program: Program,
    /// The tasks that were asked for, in order.
    pub targets: Vec<u32>,
}

/// Compiles what `targets` need of a graph.
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
    /// Nodes by index, borrowed from `snapshot`.
    nodes: Vec<Object>,
    builder: Builder<Payload>,
    pub words: Vec<Word>,
    pub templates: Vec<Template>,
    pub held: Vec<Owned>,
    /// Templates of fused subgraphs, which Dask shares between the tasks of a layer.
    pub subgraphs: HashMap<Subgraph, Option<u32>>,
    /// Tasks with a dependency that is no key, and that dependency.
    unresolved: Vec<(u32, Py<PyAny>)>,
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

    fn n_tasks(&self) -> u32 {
        self.nodes.len() as u32
    }

    /// Gives every key of the graph an index, and turns what is no node into one.
    fn add_tasks(&mut self) -> PyResult<()> {
        let (py, snapshot) = (self.py, self.snapshot.clone());
        // SAFETY: nobody else knows the snapshot; `as_node` sets values of keys that are there, no new ones.
        unsafe {
            for_each_item(py, snapshot.as_ptr(), |key, value, hash| {
                if let Some(node) = self.as_node(key, value)? {
                    self.table.insert(key, hash);
                    self.nodes.push(node);
                    self.builder.add(Payload::new());
                }
                Ok(())
            })
        }
    }

    /// The node of a key; nothing for a key that only stands for itself, which Dask leaves out.
    ///
    /// # Safety
    /// Both objects are alive.
    unsafe fn as_node(&self, key: Object, value: Object) -> PyResult<Option<Object>> {
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

    /// Lets Dask turn a legacy task, a raw value or a reference into a node, which the snapshot then keeps.
    fn convert(&self, key: &Bound<'py, PyAny>, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let converted =
            self.spec.convert(key, value, &self.snapshot).map_err(|cause| error::unreadable(key, cause))?;
        self.snapshot.set_item(key, &converted)?;
        Ok(converted)
    }

    fn is_self_alias(&self, key: &Bound<'py, PyAny>, node: &Bound<'py, PyAny>) -> PyResult<bool> {
        // SAFETY: the node is alive, and the field is read only where it exists.
        unsafe {
            if Type::of(node.as_ptr()) != self.spec.alias {
                return Ok(false);
            }
            error::borrow(self.py, self.spec.target.of(node.as_ptr())).eq(key)
        }
    }

    fn add_all_work(&mut self) -> PyResult<()> {
        let mut turn = Turn::begin();
        for index in 0..self.n_tasks() {
            self.add_work(index)?;
            if index % TASKS_BETWEEN_LOOKS == 0 {
                turn.give_way(self.py);
            }
        }
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
            Err(Obstacle::Missing(key)) => {
                self.builder.set_unresolved(index);
                self.unresolved.push((index, key));
            }
            Err(Obstacle::Unknown) => unreachable!("a node can always be called"),
            Err(Obstacle::Raised(cause)) => return Err(error::unreadable(&self.key(index), cause)),
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
    /// `key` is alive.
    pub unsafe fn depends_on(&mut self, key: Object) -> Lowered<u32> {
        // SAFETY: by the condition above; the snapshot keeps the keys of the table alive.
        unsafe {
            let found = self.table.find(self.py, key)?;
            let missing = || Obstacle::Missing(error::borrow(self.py, key).unbind());
            let dependency = found.ok_or_else(missing)?;
            self.builder.depends_on(dependency);
            Ok(dependency)
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
        // SAFETY: the snapshot keeps the node alive.
        let dependencies = unsafe { error::borrow(self.py, node) }.getattr("dependencies")?;
        for key in dependencies.try_iter()? {
            let key = key?;
            // SAFETY: `key` is alive.
            unsafe { self.depends_on(key.as_ptr())? };
        }
        Ok(Work::Node(node))
    }

    fn key(&self, index: u32) -> Bound<'py, PyAny> {
        // SAFETY: the snapshot keeps the key alive.
        unsafe { error::borrow(self.py, self.table.key(index)) }
    }

    fn finish(self, targets: &[Bound<'_, PyAny>]) -> PyResult<Compiled> {
        let targets = targets.iter().map(|key| self.target(key)).collect::<PyResult<Vec<_>>>()?;
        let program = Program {
            words: self.words,
            templates: self.templates,
            keys: self.table.into_keys(),
            snapshot: self.snapshot.unbind(),
            _held: self.held,
            n_inlined: self.n_inlined,
            n_called: self.n_called,
        };
        match self.builder.finish(&targets) {
            Ok(graph) => Ok(Compiled { graph, program, targets }),
            Err(fault) => Err(describe(self.py, &program, &self.unresolved, &fault)),
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
fn describe(py: Python<'_>, program: &Program, unresolved: &[(u32, Py<PyAny>)], fault: &Fault) -> PyErr {
    let name = |index: u32| error::repr(&program.key(py, index));
    match fault {
        Fault::Cycle(tasks) => {
            let path: Vec<_> = tasks.iter().chain(tasks.first()).map(|&index| name(index)).collect();
            CycleError::new_err(format!("Cycle detected in the graph: {}", path.join(" -> ")))
        }
        Fault::Unresolved(index) => {
            let missing = unresolved.iter().find(|(task, _)| task == index);
            let missing = missing.map_or_else(String::new, |(_, key)| error::repr(key.bind(py)));
            let text =
                format!("Missing dependency {missing} of task {}: the graph has no such key", name(*index));
            MissingDependencyError::new_err(text)
        }
    }
}

/// The positional arguments of a node as a tuple, if they are one.
///
/// # Safety
/// `args` is alive, or null.
pub unsafe fn as_tuple(py: Python<'_>, args: Object) -> Lowered<Bound<'_, PyTuple>> {
    // SAFETY: by the condition above.
    let args = unsafe { Bound::from_borrowed_ptr_or_opt(py, args) };
    args.and_then(|args| args.cast_into_exact().ok()).ok_or(Obstacle::Unknown)
}

/// The keyword arguments of a node as a dict, if they are one.
///
/// # Safety
/// `kwargs` is alive, or null.
pub unsafe fn as_dict(py: Python<'_>, kwargs: Object) -> Lowered<Bound<'_, PyDict>> {
    // SAFETY: by the condition above.
    let kwargs = unsafe { Bound::from_borrowed_ptr_or_opt(py, kwargs) };
    kwargs.and_then(|kwargs| kwargs.cast_into_exact().ok()).ok_or(Obstacle::Unknown)
}

/// A template without parameters.
pub fn template(ops: Vec<Op>) -> Template {
    Template { ops, n_slots: 0 }
}

/// No words at all.
pub fn no_words() -> Words {
    Words::between(0, 0)
}

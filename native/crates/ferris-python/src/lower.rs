//! Lowering one node: its arguments become words, or steps of a template; fused ones are in [`crate::subgraph`].

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::call::Object;
use crate::compile::Compiler;
use crate::keys::KeyTable;
use crate::program::{Op, Owned, Template, Word, Words, Work};
use crate::spec::{Container, Type};

/// How deep nodes may be nested in arguments before the outermost is left to be called as a node.
const MAX_DEPTH: u32 = 200;

/// Where the arguments proper of `_execute_subgraph` begin: after inner graph, output key and input keys.
pub const FIRST_INPUT: usize = 3;

/// Why a node is not lowered.
pub enum Obstacle {
    /// Its shape is not known: it is called as a node.
    Unknown,
    /// It depends on this key, which the graph does not have.
    Missing(Py<PyAny>),
    /// Python raised this while the node was read.
    Raised(PyErr),
}

impl From<PyErr> for Obstacle {
    fn from(error: PyErr) -> Self {
        Self::Raised(error)
    }
}

/// The outcome of lowering.
pub type Lowered<T> = Result<T, Obstacle>;

/// What a key means in an argument.
#[derive(Clone, Copy)]
pub enum Scope<'a> {
    /// A task of the graph.
    Graph,
    /// A slot of the frame of a fused subgraph.
    Frame(&'a KeyTable),
}

impl<'py> Compiler<'py> {
    /// Lowers a `Task`.
    ///
    /// # Safety
    /// `node` is an instance of exactly `Task`, and alive.
    #[inline]
    pub unsafe fn lower_task(&mut self, index: u32, node: Object) -> Lowered<Work> {
        // SAFETY: by the condition above.
        unsafe {
            let (function, args) = (self.spec.function.of(node), self.spec.args.of(node));
            let kwargs = self.spec.kwargs.of(node);
            let is_plain = !function.is_null()
                && !args.is_null()
                && ffi::PyTuple_CheckExact(args) != 0
                && !kwargs.is_null()
                && ffi::PyDict_CheckExact(kwargs) != 0
                && ffi::PyDict_Size(kwargs) == 0;
            if !is_plain {
                return self.lower_template(node);
            }
            // Held before anything is looked up: that may run Python code, which may empty the node.
            self.held.push(Owned::new(function));
            self.held.push(Owned::new(args));
            let work = if function == self.spec.execute_subgraph {
                self.lower_subgraph(args)?
            } else {
                self.words(args, 0)?.map(|words| Work::Call { function, words })
            };
            let Some(work) = work else {
                self.start_again(index);
                return self.lower_template(node);
            };
            Ok(work)
        }
    }

    /// Lowers a fused task whose inputs are plain; nothing when they are not.
    ///
    /// # Safety
    /// `args` is a tuple, and alive.
    unsafe fn lower_subgraph(&mut self, args: Object) -> Lowered<Option<Work>> {
        // SAFETY: by the condition above.
        unsafe {
            let args_tuple = as_tuple(self.py, args)?;
            let template = self.subgraph(&args_tuple, 0)?;
            let words = self.words(args, FIRST_INPUT)?;
            Ok(words.map(|words| Work::Expand { template, words }))
        }
    }

    /// The items of a tuple as words, from `first` on; nothing when one of them is more than that.
    ///
    /// # Safety
    /// `args` is a tuple, and alive.
    #[inline]
    unsafe fn words(&mut self, args: Object, first: usize) -> Lowered<Option<Words>> {
        let start = self.words.len();
        // SAFETY: by the condition above; items are alive as long as their tuple, fields as long as their node.
        unsafe {
            for place in first as isize..ffi::PyTuple_GET_SIZE(args) {
                let item = ffi::PyTuple_GET_ITEM(args, place);
                let kind = Type::of(item);
                let word = if kind == self.spec.task_ref {
                    Word::task(self.depends_on(self.spec.ref_key.of(item))?)
                } else if !self.spec.is_symbolic(kind) {
                    Word::literal(item)
                } else if let Some(value) = self.data(kind, item) {
                    Word::literal(value)
                } else {
                    self.words.truncate(start);
                    return Ok(None);
                };
                self.words.push(word);
            }
        }
        Ok(Some(Words::between(start, self.words.len())))
    }

    /// The value of a `DataNode`, which is held from now on; nothing for other nodes.
    ///
    /// # Safety
    /// `item` is of type `kind`, and alive.
    unsafe fn data(&mut self, kind: Type, item: Object) -> Option<Object> {
        if kind != self.spec.data {
            return None;
        }
        // SAFETY: by the condition above.
        unsafe {
            let value = self.spec.value.of(item);
            if value.is_null() {
                return None;
            }
            self.held.push(Owned::new(value));
            Some(value)
        }
    }

    /// Lowers any known node to a template of its own.
    ///
    /// # Safety
    /// `node` is alive.
    pub unsafe fn lower_template(&mut self, node: Object) -> Lowered<Work> {
        let mut ops = Vec::new();
        // SAFETY: by the condition above.
        unsafe { self.emit(node, Scope::Graph, 0, &mut ops)? };
        let template = self.template(ops, 0)?;
        let template = self.add_template(template);
        Ok(Work::Expand { template, words: no_words() })
    }

    pub fn add_template(&mut self, template: Template) -> u32 {
        self.templates.push(template);
        self.templates.len() as u32 - 1
    }

    /// Emits the steps that push the value of an argument.
    ///
    /// # Safety
    /// `item` is alive.
    pub unsafe fn emit(
        &mut self,
        item: Object,
        scope: Scope<'_>,
        depth: u32,
        ops: &mut Vec<Op>,
    ) -> Lowered<()> {
        if depth > MAX_DEPTH || item.is_null() {
            return Err(Obstacle::Unknown);
        }
        // SAFETY: by the condition above; each field is read only from the type it belongs to.
        unsafe {
            let kind = Type::of(item);
            if kind == self.spec.task_ref {
                self.emit_reference(self.spec.ref_key.of(item), scope, ops)
            } else if kind == self.spec.alias {
                self.emit_reference(self.spec.target.of(item), scope, ops)
            } else if kind == self.spec.data {
                emit_literal(self.spec.value.of(item), ops)
            } else if kind == self.spec.task {
                self.emit_task(item, scope, depth, ops)
            } else if let Some(container) = self.spec.container(kind) {
                self.emit_container(container, item, scope, depth, ops)
            } else if self.spec.is_symbolic(kind) {
                Err(Obstacle::Unknown)
            } else {
                emit_literal(item, ops)
            }
        }
    }

    /// # Safety
    /// `key` is alive, or null for a reference whose key was never set.
    unsafe fn emit_reference(&mut self, key: Object, scope: Scope<'_>, ops: &mut Vec<Op>) -> Lowered<()> {
        if key.is_null() {
            return Err(Obstacle::Unknown);
        }
        // SAFETY: by the condition above.
        let op = unsafe {
            match scope {
                Scope::Graph => Op::Task(self.depends_on(key)?),
                Scope::Frame(slots) => Op::Slot(slots.find(self.py, key)?.ok_or(Obstacle::Unknown)?),
            }
        };
        ops.push(op);
        Ok(())
    }

    /// # Safety
    /// `items` is alive.
    unsafe fn emit_items(
        &mut self,
        items: &Bound<'py, PyTuple>,
        first: usize,
        scope: Scope<'_>,
        depth: u32,
        ops: &mut Vec<Op>,
    ) -> Lowered<u32> {
        for item in items.iter_borrowed().skip(first) {
            // SAFETY: the tuple keeps its items alive.
            unsafe { self.emit(item.as_ptr(), scope, depth + 1, ops)? };
        }
        Ok(items.len().saturating_sub(first) as u32)
    }

    /// # Safety
    /// `node` is an instance of exactly `Task`, and alive.
    unsafe fn emit_task(
        &mut self,
        node: Object,
        scope: Scope<'_>,
        depth: u32,
        ops: &mut Vec<Op>,
    ) -> Lowered<()> {
        // SAFETY: by the condition above.
        unsafe {
            let function = self.spec.function.of(node);
            let args = as_tuple(self.py, self.spec.args.of(node))?;
            let kwargs = as_dict(self.py, self.spec.kwargs.of(node))?;
            if function == self.spec.execute_subgraph && kwargs.is_empty() {
                let template = self.subgraph(&args, depth + 1)?;
                let n = self.emit_items(&args, FIRST_INPUT, scope, depth, ops)?;
                ops.push(Op::Expand { template, n });
                return Ok(());
            }
            if function.is_null() {
                return Err(Obstacle::Unknown);
            }
            let function = Owned::new(function);
            let n_positional = self.emit_items(&args, 0, scope, depth, ops)?;
            let (names, n_keywords) = self.emit_keywords(&kwargs, scope, depth, ops)?;
            ops.push(Op::Call { function, n_positional, names, n: n_positional + n_keywords });
            Ok(())
        }
    }

    /// Emits the values of keyword arguments; their names as a tuple, if there are any, and their number.
    fn emit_keywords(
        &mut self,
        kwargs: &Bound<'py, PyDict>,
        scope: Scope<'_>,
        depth: u32,
        ops: &mut Vec<Op>,
    ) -> Lowered<(Option<Owned>, u32)> {
        // A copy: reading the values may run Python code, which may add to the dict.
        let items: Vec<_> = kwargs.iter().collect();
        if items.is_empty() {
            return Ok((None, 0));
        }
        for (name, value) in &items {
            if !name.is_exact_instance_of::<PyString>() {
                return Err(Obstacle::Unknown);
            }
            // SAFETY: `items` keeps the value alive.
            unsafe { self.emit(value.as_ptr(), scope, depth + 1, ops)? };
        }
        let names = PyTuple::new(self.py, items.iter().map(|(name, _)| name))?;
        Ok((Some(Owned::from_bound(names.into_any())), items.len() as u32))
    }

    /// # Safety
    /// `node` is an instance of exactly one of Dask's containers, and alive.
    unsafe fn emit_container(
        &mut self,
        container: Container,
        node: Object,
        scope: Scope<'_>,
        depth: u32,
        ops: &mut Vec<Op>,
    ) -> Lowered<()> {
        // SAFETY: by the condition above; a container is a `Task` as far as its fields go.
        unsafe {
            let args = as_tuple(self.py, self.spec.args.of(node))?;
            // The constructor, and nothing else, is a keyword argument of every container.
            if as_dict(self.py, self.spec.kwargs.of(node))?.len() != 1 {
                return Err(Obstacle::Unknown);
            }
            if container == Container::Dict && args.len() % 2 != 0 {
                return Err(Obstacle::Unknown);
            }
            let n = self.emit_items(&args, 0, scope, depth, ops)?;
            ops.push(Op::Build(container, n));
            Ok(())
        }
    }

    /// A template of these steps, unless templates would be nested too deeply in it.
    pub fn template(&self, ops: Vec<Op>, n_slots: u32) -> Lowered<Template> {
        let height = |op: &Op| match op {
            Op::Expand { template, .. } => self.templates[*template as usize].height + 1,
            _ => 0,
        };
        let height = ops.iter().map(height).max().unwrap_or(0);
        if height > MAX_DEPTH { Err(Obstacle::Unknown) } else { Ok(Template { ops, n_slots, height }) }
    }
}

/// The positional arguments of a node as a tuple, if they are one.
///
/// # Safety
/// `args` is alive, or null.
unsafe fn as_tuple(py: Python<'_>, args: Object) -> Lowered<Bound<'_, PyTuple>> {
    // SAFETY: by the condition above.
    let args = unsafe { Bound::from_borrowed_ptr_or_opt(py, args) };
    args.and_then(|args| args.cast_into_exact().ok()).ok_or(Obstacle::Unknown)
}

/// The keyword arguments of a node as a dict, if they are one.
///
/// # Safety
/// `kwargs` is alive, or null.
unsafe fn as_dict(py: Python<'_>, kwargs: Object) -> Lowered<Bound<'_, PyDict>> {
    // SAFETY: by the condition above.
    let kwargs = unsafe { Bound::from_borrowed_ptr_or_opt(py, kwargs) };
    kwargs.and_then(|kwargs| kwargs.cast_into_exact().ok()).ok_or(Obstacle::Unknown)
}

/// Emits the step that pushes an object.
///
/// # Safety
/// `value` is alive, or null.
unsafe fn emit_literal(value: Object, ops: &mut Vec<Op>) -> Lowered<()> {
    if value.is_null() {
        return Err(Obstacle::Unknown);
    }
    // SAFETY: by the condition above.
    ops.push(Op::Literal(unsafe { Owned::new(value) }));
    Ok(())
}

/// No words at all.
fn no_words() -> Words {
    Words::between(0, 0)
}

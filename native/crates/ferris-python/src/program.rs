//! What the compiler makes of a graph, and what a worker reads to run a task.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::call::{self, Object};
use crate::spec::Container;

/// The payload of a task in the flat graph: its value and how to compute it.
pub struct Payload {
    pub value: Value,
    pub work: Work,
}

impl Payload {
    /// A task that has no value yet.
    pub fn new() -> Self {
        Self { value: Value(AtomicPtr::new(ptr::null_mut())), work: Work::Nothing }
    }
}

/// The value of a task, owned; null before the task has run and after its last consumer has finished.
///
/// Relaxed throughout: the counters of the graph order who writes before who reads.
pub struct Value(AtomicPtr<ffi::PyObject>);

impl Value {
    /// Stores a new reference.
    #[inline]
    pub fn set(&self, object: Object) {
        self.0.store(object, Ordering::Relaxed);
    }

    /// The value, borrowed.
    #[inline]
    pub fn get(&self) -> Object {
        self.0.load(Ordering::Relaxed)
    }

    /// Drops the value, if there is one.
    ///
    /// # Safety
    /// The thread is attached, and nobody reads this value at the same time or later.
    #[inline]
    pub unsafe fn clear(&self) {
        let object = self.0.swap(ptr::null_mut(), Ordering::Relaxed);
        if !object.is_null() {
            // SAFETY: the value was owned, and the swap has taken it out for this thread alone.
            unsafe { call::decref(object) };
        }
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        // SAFETY: graphs are dropped by attached threads only (see `session`), and nobody else has this one.
        unsafe { self.clear() };
    }
}

/// How to compute a task.
pub enum Work {
    /// The value is known, or the task cannot be run and nobody needs it.
    Nothing,
    /// The value of another task.
    Copy { of: u32 },
    /// A call with positional arguments, each a literal or the value of a task: nineteen tasks in twenty.
    Call { function: Object, words: Words },
    /// A template, whose parameters are given like the arguments of a call.
    Expand { template: u32, words: Words },
    /// A node the compiler does not know, to be called with the values it depends on.
    Node(Object),
}

// SAFETY: objects in here are kept alive by the `Program` of the same graph and used by attached threads only.
unsafe impl Send for Work {}
// SAFETY: as above; nothing is changed once the graph is compiled.
unsafe impl Sync for Work {}

/// A range of `Program::words`.
#[derive(Clone, Copy)]
pub struct Words {
    first: u32,
    n: u32,
}

impl Words {
    /// The words from `first` up to `end`.
    pub fn between(first: usize, end: usize) -> Self {
        Self { first: first as u32, n: (end - first) as u32 }
    }

    #[inline]
    pub fn range(self) -> Range<usize> {
        self.first as usize..self.first as usize + self.n as usize
    }
}

/// An argument: a literal, or the value of a task.
///
/// One machine word: objects are aligned, so their lowest bit is free to tell the two apart.
#[derive(Clone, Copy)]
pub struct Word(usize);

/// What a [`Word`] stands for.
pub enum Argument {
    Literal(Object),
    Task(u32),
}

impl Word {
    pub fn literal(object: Object) -> Self {
        Self(object as usize)
    }

    pub fn task(index: u32) -> Self {
        Self((index as usize) << 1 | 1)
    }

    #[inline]
    pub fn argument(self) -> Argument {
        if self.0 & 1 == 0 {
            Argument::Literal(self.0 as Object)
        } else {
            Argument::Task((self.0 >> 1) as u32)
        }
    }
}

/// An owned reference that is dropped by an attached thread, without the checks of `Py<T>`.
pub struct Owned(Object);

// SAFETY: only attached threads use or drop the object.
unsafe impl Send for Owned {}
// SAFETY: as above.
unsafe impl Sync for Owned {}

impl Owned {
    /// A new reference to `object`.
    ///
    /// # Safety
    /// The thread is attached; the object is alive.
    pub unsafe fn new(object: Object) -> Self {
        // SAFETY: by the condition above.
        Self(unsafe { call::incref(object) })
    }

    /// Takes over a reference.
    pub fn from_bound(object: Bound<'_, PyAny>) -> Self {
        Self(object.into_ptr())
    }

    /// Takes over a reference; nothing when it is null.
    ///
    /// # Safety
    /// The reference is owned by nobody else.
    pub unsafe fn adopt(object: Object) -> Option<Self> {
        (!object.is_null()).then_some(Self(object))
    }

    #[inline]
    pub fn get(&self) -> Object {
        self.0
    }

    /// The object, for safe code.
    pub fn into_bound(self, py: Python<'_>) -> Bound<'_, PyAny> {
        // SAFETY: the reference is owned.
        unsafe { Bound::from_owned_ptr(py, self.into_raw()) }
    }

    /// Gives the reference away.
    #[inline]
    pub fn into_raw(self) -> Object {
        std::mem::ManuallyDrop::new(self).0
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: programs are dropped by attached threads only (see `session`).
        unsafe { call::decref(self.0) };
    }
}

/// One step of a template: a stack machine with a frame of slots.
pub enum Op {
    /// Pushes an object.
    Literal(Owned),
    /// Pushes the value of a task.
    Task(u32),
    /// Pushes what a slot holds.
    Slot(u32),
    /// Pushes what a slot holds and empties it: the slot's last use.
    Take(u32),
    /// Pops into a slot.
    Store(u32),
    /// Pops arguments, positional ones first, and pushes the result of a call.
    Call { function: Owned, n_positional: u32, names: Option<Owned>, n: u32 },
    /// Pops items and pushes a container of them.
    Build(Container, u32),
    /// Pops parameters and pushes the result of a template.
    Expand { template: u32, n: u32 },
}

/// A short program that computes one value: fused tasks, nested tasks, containers, keyword arguments.
///
/// Its parameters are the first slots of its frame.
pub struct Template {
    pub ops: Vec<Op>,
    pub n_slots: u32,
    /// How deeply templates are nested in this one.
    pub height: u32,
}

impl Template {
    /// What fused tasks that call the same functions in the same order have in common.
    fn kind(&self, py: Python<'_>) -> u64 {
        let mix = |kind: u64, word: u64| (kind ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.ops.iter().fold(0, |kind, op| match op {
            Op::Call { function, .. } => mix(kind, code_of(py, function.get())),
            Op::Expand { template, .. } => mix(kind, u64::from(*template)),
            _ => kind,
        })
    }
}

/// The address of a function's code, which its closures share; of anything else, its own.
fn code_of(_: Python<'_>, function: Object) -> u64 {
    // SAFETY: the thread is attached, and the program keeps the object alive.
    let code = unsafe {
        if ffi::PyFunction_Check(function) == 0 { function } else { ffi::PyFunction_GetCode(function) }
    };
    code as u64
}

/// Everything the tasks of one graph refer to.
pub struct Program {
    pub words: Vec<Word>,
    pub templates: Vec<Template>,
    /// The keys of the graph by index, borrowed.
    pub keys: Vec<Object>,
    /// The nodes of the graph by index, borrowed.
    pub nodes: Vec<Object>,
    /// A copy of the graph that nobody else can change: keeps keys and nodes alive.
    pub(crate) _snapshot: Py<PyDict>,
    /// What else is borrowed: nodes made from legacy tasks, functions and argument tuples.
    pub(crate) _held: Vec<Owned>,
    /// Tasks that were lowered, and tasks that are called as nodes.
    pub n_inlined: usize,
    pub n_called: usize,
}

// SAFETY: keys and nodes are kept alive by `_snapshot` and `_held`, and only attached threads use or drop any of this.
unsafe impl Send for Program {}
// SAFETY: as above; nothing is changed once the graph is compiled.
unsafe impl Sync for Program {}

impl Program {
    /// The key of a task.
    pub fn key<'py>(&self, py: Python<'py>, index: u32) -> Bound<'py, PyAny> {
        // SAFETY: `_snapshot` keeps the key alive.
        unsafe { Bound::from_borrowed_ptr(py, self.keys[index as usize]) }
    }

    /// A number that tasks of the same kind have in common: those that call the same code.
    ///
    /// Objects are compared by address, so it means something only as long as the program lives.
    pub fn kind(&self, py: Python<'_>, payload: &Payload, index: u32) -> u64 {
        match payload.work {
            Work::Nothing | Work::Copy { .. } => 0,
            Work::Call { function, .. } => code_of(py, function),
            Work::Expand { template, .. } => self.templates[template as usize].kind(py),
            Work::Node(_) => self.node(py, index).get_type_ptr() as u64,
        }
    }

    /// The node of a task, as Dask made it.
    pub fn node<'py>(&self, py: Python<'py>, index: u32) -> Bound<'py, PyAny> {
        // SAFETY: `_snapshot` or `_held` keeps the node alive.
        unsafe { Bound::from_borrowed_ptr(py, self.nodes[index as usize]) }
    }
}

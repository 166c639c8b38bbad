//! Looking up references ahead of the compiler, a block of nodes at a time.
//!
//! To read a reference the processor follows pointers, from the node to its arguments, to the reference, to its
//! key, and through the table of keys to an equal one.  In a large graph each of them points out of the cache.  One
//! reference after the other would wait for memory six times in a row; here each step is taken for the whole block
//! before the next, and what lies ahead is asked for, so that the waits overlap.
//!
//! Nothing depends on it but time: what is not found here the compiler looks up itself.

use pyo3::ffi;
use pyo3::prelude::*;

use crate::call::Object;
use crate::error;
use crate::keys::{KeyTable, Mixed, touch};
use crate::program::Owned;
use crate::spec::{Spec, Type};

/// Nodes in a block.
pub const BLOCK: usize = 32;

/// How many nodes ahead each step is taken: what it asks for has arrived when the next one needs it.
const TO_NODE: usize = 24;
const TO_ARGS: usize = 16;
const TO_ITEMS: usize = 10;
const TO_KEYS: usize = 5;

/// As many arguments as most tasks have.
const MOST_ITEMS: usize = 4;

/// A reference that was looked up.
struct Reference {
    key: Owned,
    mixed: Mixed,
    found: Option<u32>,
}

/// The references of one block of nodes, in the order in which they are lowered.
#[derive(Default)]
pub struct Ahead {
    references: Vec<Reference>,
    /// For each node of the block, how many references come before its own.
    n_before: Vec<usize>,
    /// How many of the references were read.
    n_read: usize,
}

impl Ahead {
    /// Looks up the references of the block that begins with node `first`.
    ///
    /// # Safety
    /// All nodes, and the keys of the table, are alive.
    pub unsafe fn begin(
        &mut self,
        py: Python<'_>,
        spec: &Spec,
        table: &KeyTable,
        nodes: &[Object],
        first: usize,
    ) -> PyResult<()> {
        self.references.clear();
        self.n_before.clear();
        // SAFETY: by the condition above.
        unsafe {
            for index in first..nodes.len().min(first + BLOCK) {
                fetch(spec, nodes, index);
                self.n_before.push(self.references.len());
                self.gather(spec, table, nodes[index]);
            }
            for reference in &self.references {
                table.fetch_key(reference.mixed);
            }
            for reference in &mut self.references {
                reference.found = match table.find_mixed(py, reference.key.get(), reference.mixed) {
                    // It comes again when the compiler looks for itself, and knows for whom.
                    Err(cause) if error::is_ordinary(py, &cause) => None,
                    found => found?,
                };
            }
        }
        Ok(())
    }

    /// Lists the references among the arguments of a node.
    ///
    /// # Safety
    /// `node` is alive, and the thread is attached.
    unsafe fn gather(&mut self, spec: &Spec, table: &KeyTable, node: Object) {
        // SAFETY: by the condition above; keys that are hashed here run no Python code, so nothing dies meanwhile.
        unsafe {
            for key in
                args(spec, node).into_iter().flat_map(|args| items(args)).filter_map(|item| key(spec, item))
            {
                if is_plain(key) {
                    let mixed = Mixed::new(ffi::PyObject_Hash(key));
                    table.fetch_word(mixed);
                    self.references.push(Reference { key: Owned::new(key), mixed, found: None });
                }
            }
        }
    }

    /// Begins to read the references of a node, the `place`-th of the block.
    pub fn open(&mut self, place: usize) {
        self.n_read = self.n_before[place];
    }

    /// What the next reference was found to be, if `key` is the one it was looked up by.
    #[inline]
    pub fn read(&mut self, key: Object) -> Option<u32> {
        let next = self.references.get(self.n_read).filter(|next| next.key.get() == key)?;
        self.n_read += 1;
        next.found
    }
}

/// Asks for what the block after the next few nodes is made of.
///
/// # Safety
/// All nodes are alive, and the thread is attached.
#[inline]
unsafe fn fetch(spec: &Spec, nodes: &[Object], index: usize) {
    let node = |ahead: usize| nodes.get(index + ahead).copied();
    // SAFETY: by the condition above; no Python code runs in between, so what a living object points to is alive.
    unsafe {
        if let Some(node) = node(TO_NODE) {
            touch(node);
            touch(node.byte_add(64));
        }
        if let Some(args) = node(TO_ARGS).and_then(|node| args(spec, node)) {
            touch(args);
        }
        if let Some(args) = node(TO_ITEMS).and_then(|node| args(spec, node)) {
            items(args).take(MOST_ITEMS).for_each(|item| touch(item));
        }
        if let Some(args) = node(TO_KEYS).and_then(|node| args(spec, node)) {
            items(args).take(MOST_ITEMS).filter_map(|item| key(spec, item)).for_each(|key| touch(key));
        }
    }
}

/// The positional arguments of a plain task.
///
/// # Safety
/// `node` is alive, and the thread is attached.
#[inline]
unsafe fn args(spec: &Spec, node: Object) -> Option<Object> {
    // SAFETY: by the condition above; the field is read only from the type it belongs to.
    unsafe {
        let args = (Type::of(node) == spec.task).then(|| spec.args.of(node))?;
        (!args.is_null() && ffi::PyTuple_CheckExact(args) != 0).then_some(args)
    }
}

/// The items of a tuple.
///
/// # Safety
/// `tuple` is one, and alive as long as the iterator.
#[inline]
unsafe fn items(tuple: Object) -> impl Iterator<Item = Object> {
    // SAFETY: by the condition above.
    (0..unsafe { ffi::PyTuple_GET_SIZE(tuple) })
        .map(move |place| unsafe { ffi::PyTuple_GET_ITEM(tuple, place) })
}

/// The key of a reference.
///
/// # Safety
/// `item` is alive, and the thread is attached.
#[inline]
unsafe fn key(spec: &Spec, item: Object) -> Option<Object> {
    // SAFETY: by the condition above; the field is read only from the type it belongs to.
    unsafe {
        let key = (Type::of(item) == spec.task_ref).then(|| spec.ref_key.of(item))?;
        (!key.is_null()).then_some(key)
    }
}

/// True for the keys that Dask makes, a string or a tuple of strings and integers: to hash them runs no Python code.
///
/// # Safety
/// `key` is alive, and the thread is attached.
#[inline]
unsafe fn is_plain(key: Object) -> bool {
    // SAFETY: by the condition above.
    unsafe {
        let is_scalar =
            |object| ffi::PyUnicode_CheckExact(object) != 0 || ffi::PyLong_CheckExact(object) != 0;
        is_scalar(key) || (ffi::PyTuple_CheckExact(key) != 0 && items(key).all(is_scalar))
    }
}

//! From a key to the index of its task.

use pyo3::ffi;
use pyo3::prelude::*;

use crate::call::{self, Object};

/// Keys by their index, and back through a hash table with open addressing.
///
/// A word of the table is 0 when free, else the upper half of the mixed hash and the index plus one.
pub struct KeyTable {
    words: Vec<u64>,
    /// Borrowed: whoever fills the table keeps the keys alive.
    keys: Vec<Object>,
}

const UPPER: u64 = 0xFFFF_FFFF_0000_0000;

/// Spreads a Python hash over all bits: hashes of small integers are the integers themselves.
#[inline]
fn mix(hash: isize) -> u64 {
    let folded = (hash as u64) ^ ((hash as u64) >> 32);
    let spread = folded.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    spread ^ (spread >> 29)
}

impl KeyTable {
    /// A table for at most `n` keys.
    pub fn with_capacity(n: usize) -> Self {
        Self { words: vec![0; (n.max(4) * 2).next_power_of_two()], keys: Vec::with_capacity(n) }
    }

    /// The keys by index.
    pub fn into_keys(self) -> Vec<Object> {
        self.keys
    }

    /// The key of an index.
    pub fn key(&self, index: u32) -> Object {
        self.keys[index as usize]
    }

    /// Adds a key that differs from all others; its index is the number of keys before it.
    #[inline]
    pub fn insert(&mut self, key: Object, hash: isize) {
        let mixed = mix(hash);
        let mut place = self.home(mixed);
        while self.words[place] != 0 {
            place = self.next(place);
        }
        self.keys.push(key);
        self.words[place] = (mixed & UPPER) | self.keys.len() as u64;
    }

    /// The index of an equal key.
    ///
    /// # Safety
    /// `key` and the keys of the table are alive.
    #[inline]
    pub unsafe fn find(&self, py: Python<'_>, key: Object) -> PyResult<Option<u32>> {
        // SAFETY: `key` is alive, and `py` says that the thread is attached.
        let hash = unsafe { call::hash(key) };
        if hash == -1 {
            return Err(PyErr::fetch(py));
        }
        let mixed = mix(hash);
        let mut place = self.home(mixed);
        while self.words[place] != 0 {
            let index = (self.words[place] as u32).wrapping_sub(1);
            // SAFETY: both keys are alive.
            if (self.words[place] ^ mixed) & UPPER == 0 && unsafe { same(py, self.key(index), key) }? {
                return Ok(Some(index));
            }
            place = self.next(place);
        }
        Ok(None)
    }

    #[inline]
    fn home(&self, mixed: u64) -> usize {
        mixed as usize & (self.words.len() - 1)
    }

    #[inline]
    fn next(&self, place: usize) -> usize {
        (place + 1) & (self.words.len() - 1)
    }
}

/// Identity first, as in a dict, then `==`.
///
/// # Safety
/// Both objects are alive.
#[inline]
unsafe fn same(py: Python<'_>, left: Object, right: Object) -> PyResult<bool> {
    if left == right {
        return Ok(true);
    }
    // SAFETY: by the condition above.
    match unsafe { call::equal(left, right) } {
        -1 => Err(PyErr::fetch(py)),
        answer => Ok(answer == 1),
    }
}

/// Walks over the items of a dict, with their hashes.
///
/// # Safety
/// `dict` is a dict that stays alive and unchanged in its keys during the walk.
pub unsafe fn for_each_item(
    py: Python<'_>,
    dict: Object,
    mut visit: impl FnMut(Object, Object, isize) -> PyResult<()>,
) -> PyResult<()> {
    let (mut position, mut key, mut value, mut hash) = (0, std::ptr::null_mut(), std::ptr::null_mut(), 0);
    // SAFETY: by the condition above.
    while unsafe { next_item(dict, &mut position, &mut key, &mut value, &mut hash) } {
        if hash == -1 {
            return Err(PyErr::fetch(py));
        }
        visit(key, value, hash)?;
    }
    Ok(())
}

#[cfg(not(Py_3_13))]
unsafe extern "C" {
    // Hands out the stored hash; not exported from 3.13 on.
    fn _PyDict_Next(
        dict: Object,
        position: *mut ffi::Py_ssize_t,
        key: *mut Object,
        value: *mut Object,
        hash: *mut ffi::Py_hash_t,
    ) -> std::ffi::c_int;
}

#[inline]
unsafe fn next_item(
    dict: Object,
    position: &mut isize,
    key: &mut Object,
    value: &mut Object,
    hash: &mut isize,
) -> bool {
    #[cfg(not(Py_3_13))]
    // SAFETY: the caller's conditions.
    return unsafe { _PyDict_Next(dict, position, key, value, hash) } != 0;
    #[cfg(Py_3_13)]
    // SAFETY: the caller's conditions.
    unsafe {
        let found = ffi::PyDict_Next(dict, position, key, value) != 0;
        if found {
            *hash = call::hash(*key);
        }
        found
    }
}

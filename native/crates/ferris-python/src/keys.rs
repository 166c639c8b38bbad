//! From a key to the index of its task.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::ptr;

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

/// A hash of a key, spread over all bits: Python's hashes of small integers are the integers themselves.
#[derive(Clone, Copy)]
pub struct Mixed(u64);

impl Mixed {
    /// Spreads a Python hash.
    #[inline]
    pub fn new(hash: isize) -> Self {
        let folded = (hash as u64) ^ ((hash as u64) >> 32);
        let spread = folded.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Self(spread ^ (spread >> 29))
    }

    /// The hash of a key.
    ///
    /// # Safety
    /// `key` is alive, and the thread is attached.
    #[inline]
    pub unsafe fn of(py: Python<'_>, key: Object) -> PyResult<Self> {
        // SAFETY: by the condition above.
        match unsafe { call::hash(key) } {
            -1 => Err(PyErr::fetch(py)),
            hash => Ok(Self::new(hash)),
        }
    }
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
    pub fn insert(&mut self, key: Object, mixed: Mixed) {
        let mut place = self.home(mixed);
        while self.words[place] != 0 {
            place = self.next(place);
        }
        self.keys.push(key);
        self.words[place] = (mixed.0 & UPPER) | self.keys.len() as u64;
    }

    /// The index of an equal key.
    ///
    /// # Safety
    /// `key` and the keys of the table are alive, and the thread is attached.
    #[inline]
    pub unsafe fn find(&self, py: Python<'_>, key: Object) -> PyResult<Option<u32>> {
        // SAFETY: by the condition above.
        unsafe { self.find_mixed(py, key, Mixed::of(py, key)?) }
    }

    /// The index of an equal key, with the hash known.
    ///
    /// # Safety
    /// As for [`KeyTable::find`].
    #[inline]
    pub unsafe fn find_mixed(&self, py: Python<'_>, key: Object, mixed: Mixed) -> PyResult<Option<u32>> {
        let mut place = self.home(mixed);
        while self.words[place] != 0 {
            let index = (self.words[place] as u32).wrapping_sub(1);
            // SAFETY: by the condition above.
            if (self.words[place] ^ mixed.0) & UPPER == 0 && unsafe { same(py, self.key(index), key) }? {
                return Ok(Some(index));
            }
            place = self.next(place);
        }
        Ok(None)
    }

    /// Asks the processor for the word where the search for a key begins.
    #[inline]
    pub fn fetch_word(&self, mixed: Mixed) {
        touch(&raw const self.words[self.home(mixed)]);
    }

    /// Asks the processor for the key that a search meets first.
    #[inline]
    pub fn fetch_key(&self, mixed: Mixed) {
        let index = (self.words[self.home(mixed)] as u32).wrapping_sub(1);
        if let Some(&key) = self.keys.get(index as usize) {
            touch(key);
        }
    }

    #[inline]
    fn home(&self, mixed: Mixed) -> usize {
        mixed.0 as usize & (self.words.len() - 1)
    }

    #[inline]
    fn next(&self, place: usize) -> usize {
        (place + 1) & (self.words.len() - 1)
    }
}

/// Asks the processor for the cache line at an address, which need not be valid.
#[inline]
pub fn touch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch of any address is harmless.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
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

/// An item of a dict; key and value are borrowed.
#[derive(Clone, Copy)]
pub struct Item {
    pub key: Object,
    pub value: Object,
    #[cfg(not(Py_3_13))]
    hash: isize,
}

impl Item {
    /// The hash of the key; from 3.13 on this may run Python code.
    ///
    /// # Safety
    /// The key is alive, and the thread is attached.
    #[inline]
    pub unsafe fn mixed(&self, py: Python<'_>) -> PyResult<Mixed> {
        #[cfg(not(Py_3_13))]
        let (_, mixed) = (py, Ok(Mixed::new(self.hash)));
        #[cfg(Py_3_13)]
        // SAFETY: by the condition above.
        let mixed = unsafe { Mixed::of(py, self.key) };
        mixed
    }
}

/// A walk over the items of a dict that runs no Python code.
///
/// A dict whose keys change meanwhile is read as it is at each step.
pub struct Items<'a, 'py> {
    dict: &'a Bound<'py, PyDict>,
    position: isize,
}

impl<'a, 'py> Items<'a, 'py> {
    /// A walk from the first item on.
    pub fn of(dict: &'a Bound<'py, PyDict>) -> Self {
        Self { dict, position: 0 }
    }
}

impl Iterator for Items<'_, '_> {
    type Item = Item;

    #[inline]
    fn next(&mut self) -> Option<Item> {
        // SAFETY: the thread is attached, and `dict` is a dict.
        unsafe { next_item(self.dict.as_ptr(), &mut self.position) }
    }
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

#[cfg(not(Py_3_13))]
#[inline]
unsafe fn next_item(dict: Object, position: &mut isize) -> Option<Item> {
    let mut item = Item { key: ptr::null_mut(), value: ptr::null_mut(), hash: 0 };
    // SAFETY: the caller's conditions.
    let found =
        unsafe { _PyDict_Next(dict, position, &raw mut item.key, &raw mut item.value, &raw mut item.hash) };
    (found != 0).then_some(item)
}

#[cfg(Py_3_13)]
#[inline]
unsafe fn next_item(dict: Object, position: &mut isize) -> Option<Item> {
    let mut item = Item { key: ptr::null_mut(), value: ptr::null_mut() };
    // SAFETY: the caller's conditions.
    let found = unsafe { ffi::PyDict_Next(dict, position, &raw mut item.key, &raw mut item.value) };
    (found != 0).then_some(item)
}

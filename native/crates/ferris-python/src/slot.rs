//! A reference to a Python object that may come and go.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::call;

/// An owned reference, or none; touched by attached threads only.
#[derive(Default)]
pub struct Slot(AtomicPtr<ffi::PyObject>);

impl Slot {
    /// A slot that has this object.
    pub fn of<T>(object: Bound<'_, T>) -> Self {
        Self(AtomicPtr::new(object.into_ptr()))
    }

    /// Puts an object into the slot; what was there is dropped.
    pub fn put<T>(&self, object: Bound<'_, T>) {
        let py = object.py();
        let old = self.0.swap(object.into_ptr(), Ordering::AcqRel);
        drop_in(py, old);
    }

    /// Takes the object out of the slot.
    pub fn take<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        // SAFETY: the slot owned the reference, and the swap has taken it out for this thread alone.
        unsafe { Bound::from_owned_ptr_or_opt(py, self.0.swap(ptr::null_mut(), Ordering::AcqRel)) }
    }

    /// The object in the slot, which nobody takes out meanwhile.
    pub fn get<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        // SAFETY: the slot owns the reference; the GIL, or the protocol of whoever uses the slot, keeps it there.
        unsafe { Bound::from_borrowed_ptr_or_opt(py, self.0.load(Ordering::Acquire)) }
    }

    /// Drops the object in the slot, which may run a destructor.
    pub fn clear(&self, py: Python<'_>) {
        drop_in(py, self.0.swap(ptr::null_mut(), Ordering::AcqRel));
    }

    /// Shows the object to the garbage collector.
    pub fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        let object = self.0.load(Ordering::Relaxed);
        // SAFETY: `Py` is a transparent pointer that is not null, so that one which may be is an `Option` of it.
        let object: &Option<Py<PyAny>> = unsafe { &*(&raw const object).cast() };
        visit.call(object)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let object = *self.0.get_mut();
        if !object.is_null() {
            // SAFETY: Python objects, in which slots are, are dropped by attached threads; the slot owned it.
            unsafe { call::decref(object) };
        }
    }
}

fn drop_in(_: Python<'_>, object: *mut ffi::PyObject) {
    if !object.is_null() {
        // SAFETY: the thread is attached, and the caller has taken the reference out of a slot.
        unsafe { call::decref(object) };
    }
}

//! What the garbage collector need not look at.
//!
//! The collector looks for objects that refer to each other in a circle and that nobody else has.  A future whose task waits
//! is held by a queue, which the collector does not see: it would find the future needed each time, and everything that it
//! leads to as well, which took half of the time that it takes to submit many small tasks.  The same goes for the context of a
//! task.  So they are hidden from it while they wait, and shown when they may become part of a circle.

use pyo3::ffi;
use pyo3::prelude::*;

/// Takes an object out of what the collector looks at.
pub fn hide(object: &Bound<'_, PyAny>) {
    // SAFETY: the thread is attached; the object is one that the collector can know.
    unsafe { ffi::PyObject_GC_UnTrack(object.as_ptr().cast()) };
}

/// Puts an object back into what the collector looks at.
pub fn show(object: &Bound<'_, PyAny>) {
    // SAFETY: the thread is attached; the object is one that the collector can know, and is added only once.
    unsafe {
        if ffi::PyObject_GC_IsTracked(object.as_ptr()) == 0 {
            ffi::PyObject_GC_Track(object.as_ptr().cast());
        }
    }
}

/// True when an object may lead to others, and so back to where one came from.
pub fn may_lead_on(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: the thread is attached; any object will do.
    unsafe { ffi::PyObject_IS_GC(object.as_ptr()) != 0 }
}

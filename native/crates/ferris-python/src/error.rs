//! The exceptions of `dask_ferris.exceptions`, and how a graph's faults become them.

use pyo3::prelude::*;
use pyo3::{ffi, import_exception};

use crate::call::Object;

import_exception!(dask_ferris.exceptions, CycleError);
import_exception!(dask_ferris.exceptions, GraphError);
import_exception!(dask_ferris.exceptions, InternalError);
import_exception!(dask_ferris.exceptions, MissingDependencyError);
import_exception!(dask_ferris.exceptions, MissingKeyError);

/// The `repr` of a key, or a placeholder when its `repr` fails.
pub fn repr(key: &Bound<'_, PyAny>) -> String {
    key.repr().map_or_else(|_| format!("<{} object>", key.get_type()), |text| text.to_string())
}

/// `GraphError` for a node that raised while it was read; what it raised is the cause.
///
/// Anything but an `Exception` (Ctrl-C above all) is passed on as it is.
pub fn unreadable(key: &Bound<'_, PyAny>, cause: PyErr) -> PyErr {
    let py = key.py();
    if !cause.is_instance_of::<pyo3::exceptions::PyException>(py) {
        return cause;
    }
    let text = format!("the graph node of key {} could not be read: {}", repr(key), cause.value(py));
    let error = GraphError::new_err(text);
    error.set_cause(py, Some(cause));
    error
}

/// Adds a note to an exception, once; an exception that takes no notes stays as it is.
pub fn add_note(py: Python<'_>, error: &PyErr, note: &str) {
    let value = error.value(py);
    let noted = value.getattr("__notes__").and_then(|notes| notes.contains(note)).unwrap_or(false);
    if !noted && let Err(refused) = value.call_method1("add_note", (note,)) {
        // The task's own exception is what matters: an override that raises must not hide it.
        drop(refused);
    }
}

/// A borrowed pointer as a bound reference.
///
/// # Safety
/// The object is alive.
pub unsafe fn borrow<'py>(py: Python<'py>, object: Object) -> Bound<'py, PyAny> {
    // SAFETY: by the condition above.
    unsafe { Bound::from_borrowed_ptr(py, object.cast::<ffi::PyObject>()) }
}

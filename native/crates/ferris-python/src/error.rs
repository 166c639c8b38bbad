//! The exceptions of `dask_ferris.exceptions`, and how a graph's faults become them.

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString, PyTraceback};
use pyo3::{ffi, import_exception, intern};

use crate::call::{self, Object};

import_exception!(dask_ferris.exceptions, CycleError);
import_exception!(dask_ferris.exceptions, GraphError);
import_exception!(dask_ferris.exceptions, InternalError);
import_exception!(dask_ferris.exceptions, MissingDependencyError);
import_exception!(dask_ferris.exceptions, MissingKeyError);

/// The `repr` of a key, or a placeholder when that fails; never Ctrl-C, see [`is_ordinary`].
pub fn repr(key: &Bound<'_, PyAny>) -> String {
    describe(key).unwrap_or_else(|_| format!("<{} object>", key.get_type()))
}

fn describe(key: &Bound<'_, PyAny>) -> PyResult<String> {
    call::repr(key)?.extract()
}

/// True for an `Exception`; false for Ctrl-C and its like, which nobody may swallow.
pub fn is_ordinary(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyException>(py)
}

/// `GraphError` for a node that raised while it was read; what it raised is the cause.
pub fn unreadable(key: &Bound<'_, PyAny>, cause: PyErr) -> PyErr {
    let py = key.py();
    if !is_ordinary(py, &cause) {
        return cause;
    }
    let reason = call::text(cause.value(py).as_any()).and_then(|text| text.extract::<String>());
    let reason = reason.unwrap_or_else(|_| cause.get_type(py).to_string());
    let error =
        GraphError::new_err(format!("the graph node of key {} could not be read: {reason}", repr(key)));
    error.set_cause(py, Some(cause));
    error
}

/// Notes on a task's exception which task it was.
///
/// An exception that refuses, or a key without a `repr`, leaves it as it is: the task's own exception is what
/// matters.  Ctrl-C meanwhile takes its place.
pub fn note_key(error: PyErr, key: &Bound<'_, PyAny>) -> PyErr {
    match try_note_key(&error, key) {
        Err(interrupt) if !is_ordinary(key.py(), &interrupt) => interrupt,
        _ => error,
    }
}

fn try_note_key(error: &PyErr, key: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = key.py();
    let value = error.value(py).as_any();
    let note = PyString::new(py, &format!("raised by the task of key {}", describe(key)?)).into_any();
    if !is_noted(value, &note)? {
        call::call(&call::get_attr(value, intern!(py, "add_note"))?, [&note])?;
    }
    Ok(())
}

/// True when an exception that is raised again has the note already.
fn is_noted(value: &Bound<'_, PyAny>, note: &Bound<'_, PyAny>) -> PyResult<bool> {
    let notes = call::get_attr(value, intern!(value.py(), "__notes__"));
    let Ok(notes) = notes.and_then(|notes| Ok(notes.cast_into_exact::<PyList>()?)) else { return Ok(false) };
    for earlier in notes.iter() {
        if call::is_equal(&earlier, note)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The error without the frames of this package at the top of its traceback: what the user called and what the
/// task did is all there is to see.
pub fn without_our_frames(py: Python<'_>, error: PyErr) -> PyErr {
    let mut traceback = error.traceback(py);
    while let Some(top) = traceback.take_if(|top| is_ours(top).unwrap_or(false)) {
        traceback = top.getattr("tb_next").ok().and_then(|next| next.cast_into().ok());
    }
    error.set_traceback(py, traceback);
    error
}

/// An error without the frames down to the first of a function of ours of this name, if it is among them.
pub fn without_frames_above(py: Python<'_>, error: PyErr, name: &str) -> PyErr {
    let mut next = error.traceback(py);
    while let Some(here) = next {
        next = here.getattr("tb_next").ok().and_then(|next| next.cast_into().ok());
        if is_ours(&here).unwrap_or(false) && function_of(&here).is_ok_and(|function| function == name) {
            error.set_traceback(py, next);
            break;
        }
    }
    error
}

fn function_of(traceback: &Bound<'_, PyTraceback>) -> PyResult<String> {
    traceback.getattr("tb_frame")?.getattr("f_code")?.getattr("co_name")?.extract()
}

fn is_ours(traceback: &Bound<'_, PyTraceback>) -> PyResult<bool> {
    let globals = traceback.getattr("tb_frame")?.getattr("f_globals")?;
    let module: String = globals.get_item("__name__")?.extract()?;
    Ok(module.starts_with("dask_ferris."))
}

/// A borrowed pointer as a bound reference.
///
/// # Safety
/// The object is alive.
pub unsafe fn borrow(py: Python<'_>, object: Object) -> Bound<'_, PyAny> {
    // SAFETY: by the condition above.
    unsafe { Bound::from_borrowed_ptr(py, object.cast::<ffi::PyObject>()) }
}

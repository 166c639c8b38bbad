//! Threads that have been started and do not run yet.
//!
//! CPython 3.11 gives the state of a thread that is being started the identifier of the thread that starts it, until it runs.
//! An interrupt is addressed by identifier and goes to the first state that has it: it would kill the newborn thread, and
//! whoever has started it would wait for it for ever.  From 3.12 on a state has no identifier before its thread runs.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;
use std::time::{Duration, Instant};

use crate::interpreter;

/// How long an interrupt is held back.  Guessed: a thread is born within a switch interval or two.
const LONGEST_BIRTH: Duration = Duration::from_millis(50);

/// Between two looks.
const PAUSE: Duration = Duration::from_micros(200);

/// Waits until no thread is being started; false when that takes too long.
///
/// Nobody starts one before the caller lets go of the interpreter.
pub fn wait_for_births(py: Python<'_>) -> bool {
    let end = Instant::now() + LONGEST_BIRTH;
    while has_newborns(py) {
        if Instant::now() >= end {
            return false;
        }
        interpreter::wait(py, || std::thread::sleep(PAUSE));
    }
    true
}

/// True when the module `threading` is starting a thread, where that matters.
fn has_newborns(py: Python<'_>) -> bool {
    static LIMBO: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let find = || -> PyResult<_> { Ok(py.import("threading")?.getattr("_limbo")?.cast_into()?.unbind()) };
    cfg!(not(Py_3_12)) && LIMBO.get_or_try_init(py, find).is_ok_and(|limbo| !limbo.bind(py).is_empty())
}

//! Threads that have been started and do not run yet.
//!
//! CPython 3.11 gives the state of a thread that is being started the identifier of the thread that starts it, until it runs.
//! An interrupt is addressed by identifier and goes to the first state that has it: it would kill the newborn thread, and
//! whoever has started it would wait for it for ever.  From 3.12 on a state has no identifier before its thread runs.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;
use std::collections::HashSet;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
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
    if cfg!(Py_3_12) {
        return true;
    }
    let end = Instant::now() + LONGEST_BIRTH;
    while !newborns(py).is_empty() {
        if Instant::now() >= end {
            let late = newborns(py); // before the lock, which it takes too
            stillborn().extend(late);
            return false;
        }
        interpreter::wait(py, || std::thread::sleep(PAUSE));
    }
    true
}

/// Threads that were not born in time, by address: an interrupt within `Thread.start` leaves one in limbo for ever, and
/// `threading` keeps it there, so that no other has its address.
fn stillborn() -> MutexGuard<'static, HashSet<usize>> {
    static STILLBORN: LazyLock<Mutex<HashSet<usize>>> = LazyLock::new(Mutex::default);
    STILLBORN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The threads that the module `threading` is starting, by address.
fn newborns(py: Python<'_>) -> Vec<usize> {
    static LIMBO: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let find = || -> PyResult<_> { Ok(py.import("threading")?.getattr("_limbo")?.cast_into()?.unbind()) };
    let Ok(limbo) = LIMBO.get_or_try_init(py, find) else { return Vec::new() };
    let threads = limbo.bind(py).keys();
    let stillborn = stillborn();
    threads
        .iter()
        .map(|thread| thread.as_ptr() as usize)
        .filter(|address| !stillborn.contains(address))
        .collect()
}

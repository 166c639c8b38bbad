//! The only place where a thread lets go of the interpreter.
//!
//! No thread waits for another while it is attached: the other may need to attach.

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;
use std::time::Duration;

use crate::call;

/// How long a wait goes on before it looks for signals: Ctrl-C takes effect within this time.
const SLICE: Duration = Duration::from_millis(50);

/// Waits detached for a short while; raises what a signal handler raises meanwhile.
pub fn wait_a_slice(py: Python<'_>, sleep: impl Fn(Duration) + Sync) -> PyResult<()> {
    py.detach(|| sleep(SLICE));
    py.check_signals()
}

/// Lets another thread have the interpreter if one has waited for it longer than `sys.getswitchinterval()`; raises what
/// a signal handler raises meanwhile.
///
/// Python code does so by itself; native code and chains of calls to C functions never would.  To let go and take the
/// interpreter back at once would not do: it wakes the thread that waits, which finds the interpreter taken and begins to
/// wait anew.  CPython hands over when it begins a call, so one is made.
pub fn give_way(py: Python<'_>) -> PyResult<()> {
    static BREATHE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let find = || py.import("dask_ferris._pool")?.getattr("breathe").map(Bound::unbind);
    call::call(BREATHE.get_or_try_init(py, find)?.bind(py), []).map(drop)
}

/// True when an event loop of `asyncio` runs on this thread.
pub fn has_running_loop(py: Python<'_>) -> PyResult<bool> {
    static RUNNING_LOOP: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    static MODULES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let ask = |function: &Py<PyAny>| Ok(!call::call(function.bind(py), [])?.is_none());
    if let Some(function) = RUNNING_LOOP.get(py) {
        return ask(function);
    }
    // Not imported here: a program that has no loops need not wait for the module.
    let find = || -> PyResult<_> { Ok(py.import("sys")?.getattr("modules")?.cast_into()?.unbind()) };
    let modules = MODULES.get_or_try_init(py, find)?;
    let Some(asyncio) = modules.bind(py).get_item(intern!(py, "_asyncio"))? else { return Ok(false) };
    let Ok(function) = asyncio.getattr(intern!(py, "_get_running_loop")) else { return Ok(false) };
    ask(RUNNING_LOOP.get_or_init(py, || function.unbind()))
}

/// True on the thread that sees signals.
pub fn is_main_thread(py: Python<'_>) -> PyResult<bool> {
    let main_thread = py.import("threading")?.getattr("main_thread")?;
    let ident: Option<u64> = call::call(&main_thread, [])?.getattr("ident")?.extract()?;
    Ok(ident == Some(thread_ident()))
}

/// What `threading.get_ident` says.
pub fn thread_ident() -> u64 {
    // SAFETY: there is no condition.
    unsafe { ffi::PyThread_get_thread_ident() as u64 }
}

/// The processor time that this thread has used; none at all where that cannot be told.
pub fn cpu_time(py: Python<'_>) -> Duration {
    static THREAD_TIME: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let find = || py.import("time")?.getattr("thread_time_ns").map(Bound::unbind);
    let ask = || call::call(THREAD_TIME.get_or_try_init(py, find)?.bind(py), [])?.extract();
    ask().map_or(Duration::ZERO, Duration::from_nanos)
}

/// Waits detached, for as long as it takes; not for the main thread, which has signals to see.
pub fn wait<T: Send>(py: Python<'_>, sleep: impl FnOnce() -> T + Send) -> T {
    py.detach(sleep)
}

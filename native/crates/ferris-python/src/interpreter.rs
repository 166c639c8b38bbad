//! The only place where a thread lets go of the interpreter.
//!
//! No thread waits for another while it is attached: the other may need to attach.

use pyo3::prelude::*;
use std::time::Duration;

/// How long a wait goes on before it looks for signals: Ctrl-C takes effect within this time.
const SLICE: Duration = Duration::from_millis(50);

/// Waits detached, in slices, until `is_over`; raises what a signal handler raises meanwhile.
///
/// `sleep` waits at most as long as it is told.
pub fn wait_with_signals(
    py: Python<'_>,
    sleep: impl Fn(Duration) + Sync,
    is_over: impl Fn() -> bool,
) -> PyResult<()> {
    while !is_over() {
        py.detach(|| sleep(SLICE));
        py.check_signals()?;
    }
    Ok(())
}

/// Waits detached, for as long as it takes; not for the main thread, which has signals to see.
pub fn wait<T: Send>(py: Python<'_>, sleep: impl FnOnce() -> T + Send) -> T {
    py.detach(sleep)
}

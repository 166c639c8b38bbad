//! The only place where a thread lets go of the interpreter.
//!
//! No thread waits for another while it is attached: the other may need to attach.

use pyo3::prelude::*;
use std::time::{Duration, Instant};

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

/// After this long other threads get their turn: the default of `sys.setswitchinterval`.
const TURN: Duration = Duration::from_millis(5);

/// How long this thread has had the interpreter to itself.
pub struct Turn {
    began: Instant,
    looked: Instant,
}

impl Turn {
    pub fn begin() -> Self {
        let now = Instant::now();
        Self { began: now, looked: now }
    }

    /// The time since this was last asked.
    pub fn since_look(&mut self) -> Duration {
        let elapsed = self.looked.elapsed();
        self.looked += elapsed;
        elapsed
    }

    /// Lets another thread have the interpreter when this one's turn is over.
    ///
    /// Python code gives way by itself; native code and chains of calls to C functions never would.
    pub fn give_way(&mut self, py: Python<'_>) {
        if self.looked - self.began > TURN {
            py.detach(|| {});
            *self = Self::begin();
        }
    }
}

/// Waits detached, for as long as it takes; not for the main thread, which has signals to see.
pub fn wait<T: Send>(py: Python<'_>, sleep: impl FnOnce() -> T + Send) -> T {
    py.detach(sleep)
}

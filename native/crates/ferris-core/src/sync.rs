//! Atomics, locks and reference counts: the standard library's, or loom's under `--cfg loom`.
//!
//! Nothing else in this crate names `std::sync`, so that a loom model sees every operation.  The one exception is
//! the `OnceLock` of `ready`, which is only set with a lock held.

#[cfg(loom)]
pub use loom::sync::{Arc, Condvar, Mutex, MutexGuard, atomic};
#[cfg(not(loom))]
pub use std::sync::{Arc, Condvar, Mutex, MutexGuard, atomic};

/// What both libraries return for a lock whose holder has panicked: a type, not an operation.
pub use std::sync::PoisonError;
use std::time::Duration;

#[cfg(loom)]
pub use loom::thread::{Thread, current as current_thread};
#[cfg(not(loom))]
pub use std::thread::{Thread, current as current_thread};

/// Sleeps until [`Thread::unpark`] is called for this thread, or was since it last slept; at most `limit`, which a model
/// does not know.
pub fn park(limit: Duration) {
    #[cfg(loom)]
    {
        let _: Duration = limit;
        loom::thread::park();
    }
    #[cfg(not(loom))]
    std::thread::park_timeout(limit);
}

/// Locks a leaf lock.
///
/// A panic while a leaf lock is held leaves nothing half done (each section is a few plain stores), so a
/// poisoned lock is used like any other.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long a thread looks for something before it sleeps.
///
/// About twice what it takes on this project's machines to wake a thread that sleeps: in the worst case a wait costs three
/// times what it had to (Karlin et al., "Competitive randomized algorithms for nonuniform problems", 1990, on when to stop).
const LONGEST_SPIN: Duration = Duration::from_micros(20);

/// After what was looked for, and before the interpreter is asked for: whoever has made it is about to let go of it, and to
/// find it taken costs a sleep.
const GRACE: Duration = Duration::from_nanos(700);

/// Looks for something for a short while, without sleeping; a model does not.
pub fn spin_until(is_there: impl Fn() -> bool) -> bool {
    #[cfg(not(loom))]
    {
        let began = now();
        while !is_there() {
            if began.elapsed() > LONGEST_SPIN {
                return false;
            }
            std::thread::yield_now(); // whoever is to make it may need this core
        }
        let found = now();
        while found.elapsed() < GRACE {
            std::hint::spin_loop();
        }
        true
    }
    #[cfg(loom)]
    {
        let _: [Duration; 2] = [LONGEST_SPIN, GRACE];
        is_there()
    }
}

/// The time; a model has no clock.
pub fn now() -> std::time::Instant {
    #[cfg(loom)]
    return *MODEL_TIME.get_or_init(std::time::Instant::now);
    #[cfg(not(loom))]
    std::time::Instant::now()
}

#[cfg(loom)]
static MODEL_TIME: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();

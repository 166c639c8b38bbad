//! Atomics, locks and reference counts: the standard library's, or loom's under `--cfg loom`.
//!
//! Nothing else in this crate names `std::sync`, so that a loom model sees every operation.  The one exception is
//! the `OnceLock` of `ready`, which is only set with a lock held.

#[cfg(loom)]
pub use loom::sync::{Arc, Condvar, Mutex, MutexGuard, atomic};
#[cfg(not(loom))]
pub use std::sync::{Arc, Condvar, Mutex, MutexGuard, atomic};

use std::sync::PoisonError;

/// Locks a leaf lock.
///
/// A panic while a leaf lock is held leaves nothing half done (each section is a few plain stores), so a
/// poisoned lock is used like any other.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

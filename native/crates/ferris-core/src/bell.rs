//! How the calling thread sleeps until there is something to do.
//!
//! The sleeper announces itself, fences, looks once more and sleeps; who makes work publishes it, fences and
//! looks for a sleeper.  Of the two looks at least one sees the other side (the store-buffer pattern with a
//! sequentially consistent fence on each side), so no wake-up is lost.

use crate::sync::atomic::{AtomicBool, Ordering, fence};
use crate::sync::{Condvar, Mutex, lock};
use std::time::Duration;

/// Wakes one sleeper.
pub struct Bell {
    asleep: AtomicBool,
    /// Held from the announcement to the sleep, so that a ring cannot fall in between.
    gate: Mutex<()>,
    rung: Condvar,
}

impl Default for Bell {
    fn default() -> Self {
        Self { asleep: AtomicBool::new(false), gate: Mutex::new(()), rung: Condvar::new() }
    }
}

impl Bell {
    /// Sleeps until the bell rings, at most `limit`, and not at all unless it `is_quiet`.
    pub fn wait(&self, limit: Duration, is_quiet: impl Fn() -> bool) {
        let gate = lock(&self.gate);
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst); // pairs with the one in `ring`
        if is_quiet() {
            drop(self.rung.wait_timeout(gate, limit));
        }
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Wakes the sleeper, if there is one; true when there was.
    ///
    /// What was published before the call is seen by `is_quiet`, or by the sleeper when it wakes.
    pub fn ring(&self) -> bool {
        fence(Ordering::SeqCst); // pairs with the one in `wait`
        let wakes = self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed);
        if wakes {
            drop(lock(&self.gate));
            self.rung.notify_one();
        }
        wakes
    }
}

//! How many workers a run has, and when one more is called.
//!
//! The policy here is plain contention: while there is more to do than the workers at work can take, one more
//! is called, and each that arrives calls the next, up to the limit.  A worker that finds nothing leaves.  The
//! run asks only [`Width::calls_one_more`], so another policy can take this one's place.
//!
//! A worker that leaves and a worker that makes a task ready meet like sleeper and ringer in [`crate::bell`]:
//! the one counts itself out, fences and looks for work; the other publishes the task, fences and looks at
//! the count.  Either the leaver finds the task, or the other calls for help.

use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::time::Duration;

/// How long a called thread waits before it asks for the interpreter.
///
/// A run that is over by then never sees another thread.  Measured: a hundred no-op tasks take about 10 us, and
/// a thread that has asked for the GIL cannot take that back.  The price is this long, once per helper, of a
/// run that does profit.
pub const GRACE: Duration = Duration::from_micros(50);

/// The number of workers of one run.
pub struct Width {
    limit: usize,
    present: AtomicUsize,
    /// One more was called and has not arrived.
    calling: AtomicBool,
}

impl Width {
    /// A run with one worker, the caller, and room for `limit` in all.
    pub fn new(limit: usize) -> Self {
        Self { limit, present: AtomicUsize::new(1), calling: AtomicBool::new(false) }
    }

    /// True when one more worker should be called, by whoever asked.
    ///
    /// To be asked after a task was published.  Two who ask at once may call one worker too many; that one finds
    /// the run full and goes.
    pub fn calls_one_more(&self) -> bool {
        fence(Ordering::SeqCst); // pairs with those in `arrive` and `leave`
        self.present.load(Ordering::Relaxed) < self.limit
            && !self.calling.load(Ordering::Relaxed)
            && !self.calling.swap(true, Ordering::Relaxed)
    }

    /// Counts a called worker in; false when the run is full and it has to go.
    ///
    /// Never more are counted than there is room for, not even for a moment: a publisher that finds the run full
    /// relies on every worker it sees there to look for work once more before it goes.
    pub fn arrive(&self) -> bool {
        self.calling.store(false, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.enter()
    }

    /// Counts a worker in, unless the run is full.
    pub fn enter(&self) -> bool {
        let one_more = |present| (present < self.limit).then_some(present + 1);
        self.present.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    /// Counts a worker out; it must look for work once more before it goes.
    pub fn leave(&self) {
        self.present.fetch_sub(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }
}

#![doc = include_str!("README.md")]

mod history;
mod meter;
mod pace;
mod watch;

pub use history::Change;
pub use meter::Meter;
pub use watch::{Step, Watch};

use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence};
use crate::sync::{Mutex, lock, now};
use history::History;
use pace::{Pace, Scene};
use std::time::{Duration, Instant};

/// How the number of workers is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// As many as get most done, found by watching.
    Adaptive,
    /// As many as there is work for.
    Fixed,
}

/// The number of workers of one run.
pub struct Width {
    policy: Policy,
    limit: AtomicUsize,
    present: AtomicUsize,
    /// Of those that are present, the caller if it computes nothing.
    n_idle: AtomicUsize,
    /// Workers beyond this number leave when their task ends.
    allowed: AtomicUsize,
    /// One more was called and has not arrived.
    calling: AtomicBool,
    /// Tasks begun, wrapping; a hint, exact while the caller is alone.
    n_begun: AtomicU32,
    /// Workers tell the pace when tasks end.
    is_paced: AtomicBool,
    pace: Mutex<Pace>,
    history: Mutex<History>,
}

impl Width {
    /// A run with one worker, the caller, and room for `limit` in all.
    pub fn new(limit: usize, policy: Policy) -> Self {
        Self {
            policy,
            limit: AtomicUsize::new(limit),
            present: AtomicUsize::new(1),
            n_idle: AtomicUsize::new(0),
            // One helper at first: whether more of them pay is seen then.
            allowed: AtomicUsize::new(if policy == Policy::Fixed { limit } else { limit.min(2) }),
            calling: AtomicBool::new(false),
            n_begun: AtomicU32::new(0),
            is_paced: AtomicBool::new(false),
            pace: Mutex::new(Pace::default()),
            history: Mutex::new(History::default()),
        }
    }

    /// True when nobody but the caller is counted in.
    pub fn is_alone(&self) -> bool {
        self.present.load(Ordering::Relaxed) == 1
    }

    /// Makes room for one more worker, in place of the caller, who stays counted in but computes nothing.
    ///
    /// There must be a seat for it.
    pub fn replace_caller(&self) {
        self.n_idle.fetch_add(1, Ordering::Relaxed);
        self.note_present(self.present.load(Ordering::Relaxed));
        self.limit.fetch_add(1, Ordering::Relaxed);
        self.allowed.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a task that begins.
    #[inline]
    pub fn begin_task(&self) {
        // Not one atomic step: a lost count does no harm, and this is in the way of every task.
        self.n_begun.store(self.n_begun.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// True when one more worker should be called, by whoever asked.
    ///
    /// To be asked after a task was published.  Two who ask at once may call one worker too many; that one finds
    /// the run full and goes.
    pub fn calls_one_more(&self) -> bool {
        fence(Ordering::SeqCst); // pairs with those in `arrive` and `leave`
        self.present.load(Ordering::Relaxed) < self.limit.load(Ordering::Relaxed) && self.claim_call()
    }

    /// True when nobody was on the way, and now somebody is.
    fn claim_call(&self) -> bool {
        !self.calling.load(Ordering::Relaxed) && !self.calling.swap(true, Ordering::Relaxed)
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
    ///
    /// Relaxed is enough for the seat to be free: a leaver gives its seat back, under a lock, before it counts
    /// itself out, so a newcomer that read the lower count and found the seat taken would have read the count
    /// before it was written.
    pub fn enter(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        let one_more = |present| (present < limit).then_some(present + 1);
        let entered = self.present.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        if let Ok(before) = entered {
            self.note_present(before + 1);
            self.is_paced.store(self.policy == Policy::Adaptive, Ordering::Relaxed);
        }
        entered.is_ok()
    }

    /// Counts a worker out; it must look for work once more before it goes.
    pub fn leave(&self) {
        let before = self.present.fetch_sub(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.note_present(before - 1);
    }

    /// Counts a worker out that the run is too wide for; false when it is not, and the worker stays.
    ///
    /// To be asked after the worker has published its tasks, as a publisher would: of two who go at once, the one that
    /// is not needed any more and the one that found nothing, one sees the other.
    pub fn step_back(&self) -> bool {
        fence(Ordering::SeqCst); // pairs with that in `leave`
        let allowed = self.allowed.load(Ordering::Relaxed);
        let one_fewer = |present| (present > allowed).then_some(present - 1);
        let gone = self.present.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_fewer);
        if let Ok(before) = gone {
            self.note_present(before - 1);
        }
        gone.is_ok()
    }

    /// True when the worker that has just stepped back is to watch the run: nobody else is on the way.
    pub fn watches_again(&self) -> bool {
        self.claim_call()
    }

    /// True when no more workers are to join for the time being.
    fn is_held_back(&self) -> bool {
        let allowed = self.allowed.load(Ordering::Relaxed);
        allowed < self.limit.load(Ordering::Relaxed) && self.present.load(Ordering::Relaxed) >= allowed
    }

    /// Lets twice as many workers in, unless the run is full; true when one may come.
    fn widen_for_liveness(&self) -> bool {
        let (present, limit) = (self.present.load(Ordering::Relaxed), self.limit.load(Ordering::Relaxed));
        self.allowed.fetch_max((present * 2).min(limit), Ordering::Relaxed);
        present < limit
    }

    /// Lets so many workers stay.
    pub fn allow(&self, n: usize) {
        self.allowed.store(n, Ordering::Relaxed);
        self.is_paced.store(self.policy == Policy::Adaptive, Ordering::Relaxed);
    }

    /// True when workers are to tell how long their tasks take, and to ask whether to stay.
    #[inline]
    pub fn is_paced(&self) -> bool {
        self.is_paced.load(Ordering::Relaxed)
    }

    /// True when there are more workers than get most done.
    pub fn is_too_wide(&self) -> bool {
        self.present.load(Ordering::Relaxed) > self.allowed.load(Ordering::Relaxed)
    }

    /// Accounts for a task of some kind that has ended, which began when the one before it ended.
    ///
    /// `cpu_time` is the processor time that this thread has used.
    pub fn end_task(
        &self,
        meter: &mut Meter,
        kind: impl FnOnce() -> u64,
        cpu_time: impl FnOnce() -> Duration,
    ) {
        let now = now();
        let Some(elapsed) = meter.lap(now) else { return };
        // Not with the lock held: `cpu_time` may run Python code.
        let (kind, reading) = (kind(), meter.read(now, cpu_time));
        let mut pace = lock(&self.pace);
        pace.note(kind, elapsed);
        if let Some(reading) = reading {
            pace.hear(reading);
        }
        let present = self.present.load(Ordering::Relaxed);
        if pace.is_due(now, self.at_work(present)) {
            self.follow(&mut pace, now, present);
        }
    }

    /// Allows as many workers as the pace says.
    fn follow(&self, pace: &mut Pace, now: Instant, present: usize) {
        let (limit, before) = (self.limit.load(Ordering::Relaxed), self.allowed.load(Ordering::Relaxed));
        let [present_at_work, allowed, most] = [present, before, limit].map(|n| self.at_work(n));
        let allowed = pace.judge(Scene { now, present: present_at_work, allowed, limit: most });
        let allowed = allowed + self.n_idle.load(Ordering::Relaxed);
        // Not over a widening for liveness that has come between.
        let _ = self.allowed.compare_exchange(before, allowed, Ordering::Relaxed, Ordering::Relaxed);
        self.is_paced.store(present > 1 || allowed < limit, Ordering::Relaxed);
    }

    /// Of so many workers those that compute.
    fn at_work(&self, n: usize) -> usize {
        n.saturating_sub(self.n_idle.load(Ordering::Relaxed))
    }

    fn note_present(&self, present: usize) {
        lock(&self.history).note(self.at_work(present), now());
    }

    /// When the number of workers has changed, and to what; nothing if it never has.
    pub fn take_history(&self) -> Vec<Change> {
        lock(&self.history).take()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_called_or_let_in_than_there_is_room_for() {
        let width = Width::new(2, Policy::Adaptive);
        assert!(width.calls_one_more());
        assert!(!width.calls_one_more(), "one is on its way");
        assert!(width.arrive());
        assert!(!width.calls_one_more(), "the run is full");
        assert!(!width.enter());
        width.leave();
        assert!(width.calls_one_more());
    }

    #[test]
    fn as_many_step_back_as_are_too_many() {
        let width = Width::new(3, Policy::Adaptive);
        width.allow(3);
        assert!(width.arrive() && width.arrive());
        assert!(!width.step_back(), "all are allowed");
        width.allow(2);
        assert!(width.is_too_wide());
        assert!(width.step_back());
        assert!(!width.step_back());
        assert!(width.watches_again());
        assert!(!width.watches_again(), "one is on its way");
    }

    #[test]
    fn what_is_held_back_may_still_be_called_and_widened() {
        let width = Width::new(2, Policy::Adaptive);
        width.allow(1);
        assert!(width.is_held_back());
        assert!(width.calls_one_more(), "somebody has to watch");
        assert!(width.widen_for_liveness());
        assert!(!width.is_held_back());
        assert!(width.arrive());
        assert!(!width.widen_for_liveness(), "the run is full");
    }

    #[test]
    fn a_worker_in_place_of_the_caller_is_never_sent_away() {
        let width = Width::new(1, Policy::Adaptive);
        width.replace_caller();
        assert!(width.calls_one_more() && width.arrive());
        assert!(!width.is_too_wide());
    }

    #[test]
    fn history_has_every_change() {
        let width = Width::new(2, Policy::Fixed);
        assert!(width.take_history().is_empty());
        assert!(width.arrive());
        width.leave();
        assert_eq!(
            vec![1, 2, 1],
            width.take_history().iter().map(|change| change.n_workers).collect::<Vec<_>>()
        );
    }
}

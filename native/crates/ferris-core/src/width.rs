//! How many workers a run has, and when one more joins.
//!
//! While more tasks are ready than workers are at work, one more is *called*, up to the limit, and each that
//! joins calls the next.  The first one called does not join at once but *watches*: as long as the caller gets
//! through its tasks fast, a second thread could only contend for the interpreter.  Slow tasks, or one that is
//! stuck, let it join; so a mixture of long tasks and tiny ones is shared, too.  A worker that finds nothing leaves.  The run and the pool ask only [`Width`] and
//! [`Watch`], so another policy can take this one's place.
//!
//! A worker that leaves and a worker that makes a task ready meet like sleeper and ringer in [`crate::bell`]:
//! the one counts itself out, fences and looks for work; the other publishes the task, fences and looks at
//! the count.  Either the leaver finds the task, or the other calls for help.

use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence};
use std::time::{Duration, Instant};

/// The first look of a watching thread: a run that is over by then never sees another thread.
///
/// Guessed: a no-op task takes about 0.1 us, so some hundreds of them end within this time.
const FIRST_PAUSE: Duration = Duration::from_micros(50);

/// The longest time between two looks, and so between a task that gets stuck and the thread that joins.
const LONGEST_PAUSE: Duration = Duration::from_millis(2);

/// Tasks shorter than this on average are left to the caller.
///
/// Guessed, between two measurements: two threads run tasks of 10 us without the GIL 1.8 to 1.9 times as fast as one
/// (`python -m benchmarks --only hash-10us`), and an earlier prototype ran tasks of 1 us a little slower.
const WORTH_SHARING: Duration = Duration::from_micros(5);

/// A task that lasts longer than this while a watching thread looks is one that another need not wait for.
///
/// In a mixture of a few long tasks and many tiny ones the average is short, and yet most of the time goes into the long
/// ones; so does most of a watching thread's looks.
const STUCK: Duration = Duration::from_micros(10);

/// The number of workers of one run.
pub struct Width {
    limit: usize,
    present: AtomicUsize,
    /// One more was called and has not arrived.
    calling: AtomicBool,
    /// Tasks begun, wrapping; a hint, exact while the caller is alone.
    n_begun: AtomicU32,
}

impl Width {
    /// A run with one worker, the caller, and room for `limit` in all.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            present: AtomicUsize::new(1),
            calling: AtomicBool::new(false),
            n_begun: AtomicU32::new(0),
        }
    }

    /// True when nobody but the caller is counted in.
    pub fn is_alone(&self) -> bool {
        self.present.load(Ordering::Relaxed) == 1
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
    ///
    /// Relaxed is enough for the seat to be free: a leaver gives its seat back, under a lock, before it counts
    /// itself out, so a newcomer that read the lower count and found the seat taken would have read the count
    /// before it was written.
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

/// How a called thread decides whether to join.
pub struct Watch {
    looked_at: Instant,
    n_begun: u32,
    pause: Duration,
}

impl Watch {
    /// A watch over a run that has just called.
    pub fn begin() -> Self {
        Self { looked_at: Instant::now(), n_begun: 0, pause: FIRST_PAUSE }
    }

    /// How long to wait before the next look.
    pub fn pause(&self) -> Duration {
        self.pause
    }

    /// Looks at the run, unless it `is_over`; true when it is time to join.
    pub fn joins(&mut self, width: &Width, is_over: impl Fn() -> bool) -> bool {
        self.is_slow(width) || is_stuck(width, is_over)
    }

    /// True when tasks take long on average, or when others have joined.
    fn is_slow(&mut self, width: &Width) -> bool {
        let elapsed = self.looked_at.elapsed();
        self.looked_at += elapsed;
        let n_begun = width.n_begun.load(Ordering::Relaxed);
        let n_tasks = n_begun.wrapping_sub(std::mem::replace(&mut self.n_begun, n_begun));
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        let is_shared = width.present.load(Ordering::Relaxed) > 1;
        is_shared || elapsed > WORTH_SHARING * n_tasks
    }
}

/// Watches the caller for a moment; true when no task begins, and the run is not over either.
fn is_stuck(width: &Width, is_over: impl Fn() -> bool) -> bool {
    let n_begun = width.n_begun.load(Ordering::Relaxed);
    let began = Instant::now();
    while began.elapsed() < STUCK {
        if width.n_begun.load(Ordering::Relaxed) != n_begun || is_over() {
            return false;
        }
        std::hint::spin_loop();
    }
    true
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// A watch that has waited so long since it last looked.
    fn after(elapsed: Duration) -> Watch {
        let mut watch = Watch::begin();
        watch.looked_at = Instant::now().checked_sub(elapsed).unwrap();
        watch
    }

    fn width_with_tasks(n: usize) -> Width {
        let width = Width::new(4);
        (0..n).for_each(|_| width.begin_task());
        width
    }

    #[test]
    fn a_caller_that_is_fast_is_left_alone() {
        assert!(!after(Duration::from_micros(50)).is_slow(&width_with_tasks(1_000_000)));
    }

    #[test]
    fn a_caller_that_is_slow_or_stuck_is_joined() {
        assert!(after(Duration::from_millis(10)).is_slow(&width_with_tasks(100)));
        assert!(after(Duration::from_micros(50)).is_slow(&width_with_tasks(0)));
    }

    #[test]
    fn only_tasks_since_the_last_look_count() {
        let width = width_with_tasks(1_000_000);
        let mut watch = after(Duration::from_micros(50));
        assert!(!watch.is_slow(&width));
        assert!(watch.is_slow(&width), "nothing has begun since");
    }

    #[test]
    fn a_caller_that_gets_on_is_not_stuck() {
        let (width, is_over) = (Width::new(4), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    width.begin_task();
                }
            });
            while width.n_begun.load(Ordering::Relaxed) == 0 {
                std::thread::yield_now();
            }
            // The other thread may lose its core for a while, so not every look sees it move.
            let gets_on = (0..100_000).any(|_| {
                std::thread::yield_now();
                !is_stuck(&width, || false)
            });
            is_over.store(true, Ordering::Relaxed);
            assert!(gets_on);
        });
    }

    #[test]
    fn a_caller_in_one_long_task_is_stuck_until_the_run_is_over() {
        let width = width_with_tasks(1_000_000);
        assert!(is_stuck(&width, || false));
        assert!(!is_stuck(&width, || true));
        let mut watch = after(Duration::from_micros(50));
        assert!(watch.joins(&width, || false), "fast so far, and then one long task");
    }

    #[test]
    fn a_run_that_is_shared_is_joined_at_once() {
        let width = width_with_tasks(1_000_000);
        assert!(width.arrive());
        assert!(after(Duration::from_micros(50)).is_slow(&width));
    }

    #[test]
    fn no_more_are_called_or_let_in_than_there_is_room_for() {
        let width = Width::new(2);
        assert!(width.calls_one_more());
        assert!(!width.calls_one_more(), "one is on its way");
        assert!(width.arrive());
        assert!(!width.calls_one_more(), "the run is full");
        assert!(!width.enter());
        width.leave();
        assert!(width.calls_one_more());
    }
}

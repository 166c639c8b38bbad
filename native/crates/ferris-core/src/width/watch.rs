//! How a called thread decides when to join.

use crate::sync::atomic::Ordering;
use crate::width::{Policy, Width};
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

/// When no task has begun for so long, one more worker joins, even if the run is held narrow: a task may be waiting for
/// another one to run.  Guessed; 20 ms are promised, a pause and a start must fit in.
const LIVENESS: Duration = Duration::from_millis(10);

/// What a watching thread does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It joins.
    Join,
    /// It looks again after so long.
    Wait(Duration),
}

/// One thread's watch over a run that has called.
pub struct Watch {
    looked_at: Instant,
    n_begun: u32,
    pause: Duration,
    still_since: Instant,
    has_looked: bool,
}

impl Default for Watch {
    fn default() -> Self {
        let now = Instant::now();
        Self { looked_at: now, n_begun: 0, pause: FIRST_PAUSE, still_since: now, has_looked: false }
    }
}

impl Watch {
    /// Looks at the run, unless it `is_over`.
    pub fn look(&mut self, width: &Width, is_over: impl Fn() -> bool) -> Step {
        if width.policy == Policy::Fixed {
            return Step::Join;
        }
        let pause = self.pause;
        if !std::mem::replace(&mut self.has_looked, true) {
            self.n_begun = width.n_begun.load(Ordering::Relaxed);
            return Step::Wait(pause);
        }
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        if self.joins(width, is_over) { Step::Join } else { Step::Wait(self.pause) }
    }

    fn joins(&mut self, width: &Width, is_over: impl Fn() -> bool) -> bool {
        let (elapsed, n_tasks) = self.pass(width);
        if width.is_held_back() {
            let is_still = self.looked_at.duration_since(self.still_since) > LIVENESS;
            return is_still && width.widen_for_liveness();
        }
        let is_shared = width.present.load(Ordering::Relaxed) > 1;
        is_shared || elapsed > WORTH_SHARING * n_tasks || is_stuck(width, is_over)
    }

    /// The time since the last look, and the tasks begun in it.
    fn pass(&mut self, width: &Width) -> (Duration, u32) {
        let elapsed = self.looked_at.elapsed();
        self.looked_at += elapsed;
        let n_begun = width.n_begun.load(Ordering::Relaxed);
        let n_tasks = n_begun.wrapping_sub(std::mem::replace(&mut self.n_begun, n_begun));
        if n_tasks > 0 {
            self.still_since = self.looked_at;
        }
        (elapsed, n_tasks)
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
    use crate::sync::atomic::AtomicBool;

    /// A watch that has looked once, so long ago.
    fn after(elapsed: Duration) -> Watch {
        let before = Instant::now().checked_sub(elapsed).unwrap();
        Watch { looked_at: before, still_since: before, has_looked: true, ..Watch::default() }
    }

    fn width_with_tasks(n: usize) -> Width {
        let width = Width::new(4, Policy::Adaptive);
        (0..n).for_each(|_| width.begin_task());
        width
    }

    fn joins(watch: &mut Watch, width: &Width) -> bool {
        watch.look(width, || true) == Step::Join // over: nobody is taken to be stuck
    }

    #[test]
    fn the_first_look_comes_after_a_pause() {
        assert_eq!(Step::Wait(FIRST_PAUSE), Watch::default().look(&width_with_tasks(0), || false));
    }

    #[test]
    fn a_fixed_width_is_joined_at_once() {
        assert_eq!(Step::Join, Watch::default().look(&Width::new(2, Policy::Fixed), || false));
    }

    #[test]
    fn a_caller_that_is_fast_is_left_alone() {
        assert!(!joins(&mut after(Duration::from_micros(50)), &width_with_tasks(1_000_000)));
    }

    #[test]
    fn a_caller_that_is_slow_or_has_begun_nothing_is_joined() {
        assert!(joins(&mut after(Duration::from_millis(10)), &width_with_tasks(100)));
        assert!(joins(&mut after(Duration::from_micros(50)), &width_with_tasks(0)));
    }

    #[test]
    fn only_tasks_since_the_last_look_count() {
        let width = width_with_tasks(1_000_000);
        let mut watch = after(Duration::from_micros(50));
        assert!(!joins(&mut watch, &width));
        assert!(joins(&mut watch, &width), "nothing has begun since");
    }

    #[test]
    fn a_caller_that_gets_on_is_not_stuck() {
        let (width, is_over) = (width_with_tasks(0), AtomicBool::new(false));
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
        assert_eq!(Step::Join, watch.look(&width, || false), "fast so far, and then one long task");
    }

    #[test]
    fn a_run_that_is_shared_is_joined_at_once() {
        let width = width_with_tasks(1_000_000);
        width.allow(3);
        assert!(width.arrive());
        assert!(joins(&mut after(Duration::from_micros(50)), &width));
    }

    #[test]
    fn a_run_that_is_held_narrow_is_left_alone_until_it_stands_still() {
        let width = width_with_tasks(1);
        width.allow(1);
        let mut watch = after(Duration::from_secs(1));
        assert!(!joins(&mut watch, &width), "a task has begun");
        watch.still_since = Instant::now().checked_sub(LIVENESS).unwrap();
        assert!(joins(&mut watch, &width), "none has begun since");
        assert!(!width.is_held_back(), "there is room for one more");
    }
}

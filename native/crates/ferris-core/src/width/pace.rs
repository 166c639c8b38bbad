//! Whether fewer workers would get more done.
//!
//! Pure bookkeeping: it is told when tasks end and how much of their time workers have computed, and says how many
//! workers the run may have.
#![expect(clippy::cast_precision_loss, reason = "numbers of threads are small")]

use crate::width::meter::Reading;
use std::time::{Duration, Instant};

/// The least time over which progress is judged; the tasks in it must be enough, too.
const WINDOW: Duration = Duration::from_millis(2);

/// The least number of tasks that a window must hold.  Guessed: fewer say more about themselves than about the width.
const TASKS_IN_WINDOW: u32 = 8;

/// With less than this share of one core in use the interpreter is free much of the time: more workers do no harm.
const BUSY: f64 = 0.5;

/// Workers that keep this share of as many cores busy do not wait for each other.
///
/// `np.sin` of 2500 elements, 1.9 times as fast on two workers, uses 1.93 cores; `np.add` of as many, half as fast, 1.3;
/// a pandas group-by, 0.7 times as fast, 1.15 (tests of one day on two cores, the script not kept).
const UNHINDERED: f64 = 0.8;

/// A narrower run is kept when it is at most this little slower, a wider one when it is so much faster.
const AS_GOOD: f64 = 0.95;
const BETTER: f64 = 1.08;

/// Windows between one trial and the next: at first, so many times as many after each that changed nothing, and at most.
const FIRST_WAIT: u32 = 2;
const WAIT_FACTOR: u32 = 4;
const LONGEST_WAIT: u32 = 256;

/// The least number of readings that can say that workers do not compute, in a window of few tasks.
const READINGS_IN_WINDOW: u32 = 2;

/// How long a trial waits for the workers that it allows.
const TIME_TO_COME: Duration = Duration::from_millis(10);

/// What is known when a window ends: workers that compute, present and allowed, and the most that may be allowed.
#[derive(Clone, Copy)]
pub struct Scene {
    pub now: Instant,
    pub present: usize,
    pub allowed: usize,
    pub limit: usize,
}

/// Another width, being tried.
#[derive(Clone, Copy)]
struct Trial {
    from: usize,
    to: usize,
    /// Work per second before.
    before: f64,
    /// The workers have come or gone, and a whole window is measured.
    has_settled: bool,
}

impl Trial {
    fn goes_down(&self) -> bool {
        self.to < self.from
    }

    fn is_settled_with(&self, present: usize) -> bool {
        if self.goes_down() { present <= self.to } else { present > self.from }
    }
}

/// What was seen since a window began.
#[derive(Default)]
struct Window {
    began: Option<Instant>,
    n_tasks: u32,
    /// Seconds that the tasks would have taken undisturbed.
    work: f64,
    /// Readings of the workers' clocks: their number, and the seconds that passed and were computed in all.
    n_readings: u32,
    passed: f64,
    computed: f64,
}

impl Window {
    fn has_tasks(&self) -> bool {
        self.n_tasks >= TASKS_IN_WINDOW && self.n_readings > 0
    }

    /// The share of its time that a worker computed.
    fn share(&self) -> f64 {
        self.computed / self.passed
    }

    /// True when all workers together do not keep one core busy.
    fn is_waiting(&self, present: usize) -> bool {
        self.n_readings >= READINGS_IN_WINDOW && self.share() * (present as f64) < BUSY
    }
}

/// The controller of one run.
pub struct Pace {
    floors: Floors,
    window: Window,
    trial: Option<Trial>,
    wait: u32,
    until_trial: u32,
    /// Work per second of late.
    rate: f64,
    last_kept_went_down: Option<bool>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            floors: Floors::default(),
            window: Window::default(),
            trial: None,
            wait: FIRST_WAIT,
            until_trial: 0,
            rate: 0.0,
            last_kept_went_down: None,
        }
    }
}

impl Pace {
    /// Accounts for a task of some kind that took so long.
    pub fn note(&mut self, kind: u64, elapsed: Duration) {
        self.window.work += self.floors.note(kind, elapsed).as_secs_f64();
        self.window.n_tasks += 1;
    }

    /// Accounts for what a worker has read off its clocks, unless that tells of the time before this window as well:
    /// there may have been more workers then, for which this one has waited.
    pub fn hear(&mut self, reading: Reading) {
        if self.window.began.is_none_or(|began| reading.since < began) {
            return;
        }
        self.window.n_readings += 1;
        self.window.passed += reading.passed.as_secs_f64();
        self.window.computed += reading.computed.as_secs_f64();
    }

    /// True when it is time to judge.
    pub fn is_due(&self, now: Instant, present: usize) -> bool {
        let Some(began) = self.window.began else { return true };
        let elapsed = now.saturating_duration_since(began);
        match &self.trial {
            Some(trial) if !trial.has_settled => trial.is_settled_with(present) || elapsed >= TIME_TO_COME,
            _ => elapsed >= WINDOW && (self.window.has_tasks() || self.window.is_waiting(present)),
        }
    }

    /// Ends a window; how many workers the run may have from now on.
    pub fn judge(&mut self, scene: Scene) -> usize {
        let window =
            std::mem::replace(&mut self.window, Window { began: Some(scene.now), ..Window::default() });
        let Some(began) = window.began else { return scene.allowed };
        let rate = window.work / (scene.now - began).as_secs_f64();
        match self.trial.take() {
            _ if window.is_waiting(scene.present) => self.begin_anew(scene),
            Some(trial) => self.go_on(trial, scene, rate),
            None => self.consider(scene, rate, window.share()),
        }
    }

    /// The interpreter is free much of the time: everybody may come.
    fn begin_anew(&mut self, scene: Scene) -> usize {
        let (floors, window) = (std::mem::take(&mut self.floors), std::mem::take(&mut self.window));
        *self = Self { floors, window, ..Self::default() };
        scene.limit
    }

    /// Begins a trial when one is due and there is something to try.
    fn consider(&mut self, scene: Scene, rate: f64, share: f64) -> usize {
        self.rate = if self.rate == 0.0 { rate } else { f64::midpoint(self.rate, rate) };
        let is_hindered = scene.present > 1 && share < UNHINDERED;
        let may_grow = scene.allowed < scene.limit && scene.present >= scene.allowed;
        if !is_hindered && !may_grow {
            return scene.allowed;
        }
        if self.until_trial > 0 {
            self.until_trial -= 1;
            return scene.allowed;
        }
        let to = if is_hindered { scene.present / 2 } else { (scene.allowed * 2).min(scene.limit) };
        self.trial = Some(Trial { from: scene.allowed, to, before: self.rate, has_settled: false });
        to
    }

    fn go_on(&mut self, trial: Trial, scene: Scene, rate: f64) -> usize {
        let is_kept = rate > trial.before * if trial.goes_down() { AS_GOOD } else { BETTER };
        if scene.allowed != trial.to {
            self.conclude(trial, false); // widened so that the run can go on at all
            scene.allowed
        } else if trial.has_settled {
            self.conclude(trial, is_kept);
            if is_kept { trial.to } else { trial.from }
        } else if trial.is_settled_with(scene.present) {
            self.trial = Some(Trial { has_settled: true, ..trial });
            scene.allowed
        } else {
            self.conclude(trial, false); // nobody came
            trial.from
        }
    }

    fn conclude(&mut self, trial: Trial, is_kept: bool) {
        // One that takes back the one kept before it says that neither width is much better.
        let is_news = is_kept && self.last_kept_went_down != Some(!trial.goes_down());
        self.wait = if is_news { FIRST_WAIT } else { (self.wait * WAIT_FACTOR).min(LONGEST_WAIT) };
        self.until_trial = self.wait;
        self.rate = 0.0;
        if is_kept {
            self.last_kept_went_down = Some(trial.goes_down());
        }
    }
}

/// Kinds of tasks that are told apart; of more, some share a place and oust each other.
const N_FLOORS: usize = 256;

/// The least time that each kind of task has taken, by kind.
///
/// Work is counted in these, so that a mixture of long and short tasks does not look like a change of pace, and waiting
/// does not look like work.
#[derive(Default)]
struct Floors(Box<[(u64, Duration)]>);

impl Floors {
    fn note(&mut self, kind: u64, elapsed: Duration) -> Duration {
        if self.0.is_empty() {
            self.0 = vec![(0, Duration::MAX); N_FLOORS].into_boxed_slice();
        }
        // The low bits of an address are all alike.
        let place = (kind >> 4) ^ (kind >> 12) ^ (kind >> 20);
        let (known, floor) = &mut self.0[place as usize % N_FLOORS];
        *floor = if *known == kind { elapsed.min(*floor) } else { elapsed };
        *known = kind;
        *floor
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// A run of tasks of one kind: what so many workers get done in the time one needs for one, and the share of their
    /// time that each of them computes.
    struct Load {
        speed: fn(usize) -> f64,
        share: fn(usize) -> f64,
    }

    const TASK: Duration = Duration::from_micros(100);

    /// Runs a load for some simulated seconds; the part of the time spent at each width, from 0 on.
    fn simulate(load: &Load, limit: usize, seconds: f64) -> Vec<f64> {
        let (mut pace, mut now, mut allowed) = (Pace::default(), Instant::now(), limit.min(2));
        let mut spent = vec![0.0; limit + 1];
        let end = now + Duration::from_secs_f64(seconds);
        pace.note(1, TASK); // the caller was alone at first
        while now < end {
            let lap = TASK.div_f64((load.speed)(allowed));
            let since = now;
            now += lap;
            spent[allowed] += lap.as_secs_f64() / seconds;
            pace.note(1, lap * allowed as u32);
            pace.hear(Reading { since, passed: lap, computed: lap.mul_f64((load.share)(allowed)) });
            if pace.is_due(now, allowed) {
                allowed = pace.judge(Scene { now, present: allowed, allowed, limit });
            }
        }
        spent
    }

    #[test]
    fn workers_that_only_wait_for_each_other_become_one() {
        let contended =
            Load { speed: |n| if n == 1 { 1.0 } else { 0.6 }, share: |n| if n == 1 { 1.0 } else { 0.55 } };
        assert!(simulate(&contended, 2, 1.0)[1] > 0.9);
        assert!(simulate(&contended, 4, 1.0)[1] > 0.85);
    }

    #[test]
    fn workers_that_get_on_stay() {
        let free = Load { speed: |n| n as f64, share: |_| 1.0 };
        assert!(simulate(&free, 2, 1.0)[2] > 0.99);
        assert!(simulate(&free, 8, 1.0)[8] > 0.9);
    }

    #[test]
    fn workers_that_sleep_all_come() {
        let asleep = Load { speed: |n| n as f64, share: |_| 0.02 };
        assert!(simulate(&asleep, 16, 1.0)[16] > 0.95);
    }

    #[test]
    fn as_many_as_there_are_cores_are_kept() {
        let two_cores = Load { speed: |n| n.min(2) as f64, share: |n| 2.0 / n.max(2) as f64 };
        let spent = simulate(&two_cores, 8, 1.0);
        assert!(spent[1] < 0.1, "{spent:?}");
    }

    #[test]
    fn a_trial_to_which_nobody_comes_is_given_up() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let at = |ms| Scene { now: start + Duration::from_millis(ms), present: 1, allowed: 1, limit: 2 };
        pace.judge(at(0));
        pace.note(1, TASK);
        let wider = pace.consider(at(2), 1.0, 1.0);
        assert_eq!(2, wider);
        let end = at(2).now + TIME_TO_COME;
        assert!(!pace.is_due(at(3).now, 1));
        assert!(pace.is_due(end, 1));
        assert_eq!(1, pace.judge(Scene { now: end, allowed: 2, ..at(0) }));
    }

    #[test]
    fn a_trial_that_was_widened_from_outside_is_given_up() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let scene = |allowed, present| Scene { now: start, present, allowed, limit: 2 };
        assert_eq!(1, pace.consider(scene(2, 2), 1.0, 0.5));
        pace.trial = pace.trial.map(|trial| Trial { has_settled: true, ..trial });
        let trial = pace.trial.take().unwrap();
        assert_eq!(2, pace.go_on(trial, scene(2, 2), 2.0), "it stays as wide as it has become");
    }

    #[test]
    fn work_is_counted_in_the_least_time_of_its_kind() {
        let mut floors = Floors::default();
        let [short, long] = [1, 5].map(Duration::from_millis);
        assert_eq!(long, floors.note(16, long));
        assert_eq!(short, floors.note(16, short));
        assert_eq!(short, floors.note(16, long));
        assert_eq!(long, floors.note(32, long), "another kind");
    }
}

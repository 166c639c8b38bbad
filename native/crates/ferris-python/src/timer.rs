//! What is to happen at a time: attempts whose limit has passed, and attempts that are to be repeated.
//!
//! One thread for the process, started when it is first needed.  It waits detached, with the times in view, and attaches for
//! what is due; it makes no call that could take long: callbacks of a future whose time was up are left to a worker.

use pyo3::prelude::*;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::attempt;
use crate::call;
use crate::interpreter;
use crate::office::Office;
use crate::station;
use crate::watch::{NEVER, Watch};

/// A task that is to be attempted again, unless it is cancelled before: its office has it, under this number.
struct Repeat {
    due: u64,
    number: u64,
    office: Weak<Office>,
}

impl PartialEq for Repeat {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Repeat {}

impl PartialOrd for Repeat {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Repeat {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

#[derive(Default)]
struct State {
    repeats: BinaryHeap<Reverse<Repeat>>,
    watches: Vec<Weak<Watch>>,
    is_closed: bool,
}

struct Timer {
    state: Mutex<State>,
    changed: Condvar,
    has_thread: AtomicBool,
    /// When the thread will look next.
    wakes: AtomicU64,
}

/// The timer of this process; leaked, as a thread may look at it up to the very end.
static TIMER: AtomicPtr<Timer> = AtomicPtr::new(ptr::null_mut());

fn current() -> &'static Timer {
    let known = TIMER.load(Ordering::Acquire);
    // SAFETY: a timer is never freed.
    unsafe { known.as_ref() }.unwrap_or_else(create)
}

#[cold]
fn create() -> &'static Timer {
    let new = Timer {
        state: Mutex::default(),
        changed: Condvar::new(),
        has_thread: AtomicBool::new(false),
        wakes: AtomicU64::new(NEVER),
    };
    let new = Box::into_raw(Box::new(new));
    let old = TIMER.compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire);
    // SAFETY: one that lost the race was seen by nobody, and is leaked like the other.
    unsafe { &*old.err().unwrap_or(new) }
}

/// Forgets the timer in the child of a fork, where its thread does not exist.
pub fn forget() {
    TIMER.store(ptr::null_mut(), Ordering::Release);
}

/// Nanoseconds on the clock of the timer.
pub fn now() -> u64 {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    EPOCH.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// The time so much later; what is too late for the clock is never.
pub fn time_after(delay: Duration) -> u64 {
    u64::try_from(delay.as_nanos()).map_or(NEVER, |delay| now().saturating_add(delay))
}

impl Timer {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something is due; false when the timer was closed.
    fn wait(&self) -> bool {
        let mut state = self.state();
        loop {
            if state.is_closed {
                return false;
            }
            // First the promise, then the look: a deadline set after the look sees a promise that is too late, and wakes us.
            self.wakes.store(NEVER, Ordering::SeqCst);
            let next = state.next_time();
            self.wakes.store(next, Ordering::SeqCst);
            let next = next.min(state.next_time());
            let time = now();
            if next <= time {
                return true;
            }
            let left = Duration::from_nanos(next - time).min(Duration::from_secs(3600));
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn take_due(&self, time: u64) -> (Vec<Repeat>, Vec<Arc<Watch>>) {
        let mut state = self.state();
        let mut repeats = Vec::new();
        while state.repeats.peek().is_some_and(|Reverse(repeat)| repeat.due <= time) {
            repeats.extend(state.repeats.pop().map(|Reverse(repeat)| repeat));
        }
        state.watches.retain(|watch| watch.strong_count() > 0);
        let watches = state.watches.iter().filter_map(Weak::upgrade).filter(|watch| watch.deadline() <= time);
        (repeats, watches.collect())
    }

    fn wake(&self) {
        drop(self.state());
        self.changed.notify_one();
    }
}

impl State {
    fn next_time(&self) -> u64 {
        let repeat = self.repeats.peek().map_or(NEVER, |Reverse(repeat)| repeat.due);
        let deadlines = self.watches.iter().filter_map(Weak::upgrade).map(|watch| watch.deadline());
        deadlines.fold(repeat, u64::min)
    }
}

/// Has the timer look at a watch.
pub fn register(watch: &Arc<Watch>) {
    current().state().watches.push(Arc::downgrade(watch));
}

/// The watches of all workers.
pub fn watches() -> Vec<Arc<Watch>> {
    current().state().watches.iter().filter_map(Weak::upgrade).collect()
}

/// Tells the timer of a deadline that a watch has now.
pub fn expect(py: Python<'_>, deadline: u64) {
    let timer = current();
    if deadline < timer.wakes.load(Ordering::SeqCst) {
        start(py);
        timer.wake();
    }
}

/// Has a task attempted again after a delay, which its office remembers by this number.
pub fn repeat(py: Python<'_>, office: &Arc<Office>, number: u64, delay: Duration) {
    let timer = current();
    let due = time_after(delay);
    timer.state().repeats.push(Reverse(Repeat { due, number, office: Arc::downgrade(office) }));
    if due < timer.wakes.load(Ordering::SeqCst) {
        start(py);
        timer.wake();
    }
}

/// Starts the thread of the timer, unless there is one.
pub fn start(py: Python<'_>) {
    let timer = current();
    let has_thread = timer.has_thread.load(Ordering::Relaxed);
    if has_thread || timer.state().is_closed || timer.has_thread.swap(true, Ordering::Relaxed) {
        return;
    }
    let start = || call::call(&py.import("dask_ferris._timer")?.getattr("start")?, []);
    if let Err(error) = station::shielded(py, start) {
        timer.has_thread.store(false, Ordering::Relaxed);
        error.write_unraisable(py, None);
    }
}

/// The life of the timer's thread.
#[pyfunction]
pub fn serve_timer(py: Python<'_>) {
    let timer = current();
    while interpreter::wait(py, || timer.wait()) {
        let time = now();
        let (repeats, watches) = timer.take_due(time);
        for Repeat { number, office, .. } in repeats {
            if let Some(office) = office.upgrade() {
                office.begin_again(py, number);
            }
        }
        for watch in watches {
            attempt::end_overdue(py, &watch, time);
        }
    }
}

/// Lets the thread of the timer go.
#[pyfunction]
pub fn close_timer() {
    current().state().is_closed = true;
    current().changed.notify_all();
}

//! Tasks that one thread gives out, one by one, and others compute.
//!
//! The way to run a graph whose caller wants to see each task go and come back: it decides which task is next and
//! computes none itself.  A thread that helps stays to the end, as there is no telling when the next task comes.
//!
//! One lock guards everything and no step under it takes long; each side waits on a condition of its own and looks
//! at the state before it sleeps, so no wake-up is lost.

use crate::sync::{Condvar, Mutex, MutexGuard, lock};
use std::collections::VecDeque;
use std::time::Duration;

struct State<R> {
    todo: VecDeque<u32>,
    reports: Vec<R>,
    n_called: usize,
    n_arrived: usize,
    n_idle: usize,
    is_over: bool,
}

/// A counter over which tasks go out and reports come in.
pub struct Dispatch<R> {
    state: Mutex<State<R>>,
    /// There are tasks, or there will be none any more.
    given: Condvar,
    reported: Condvar,
    most_helpers: usize,
}

impl<R> Dispatch<R> {
    /// A counter that `most_helpers` threads may serve.
    pub fn new(most_helpers: usize) -> Self {
        let state = State {
            todo: VecDeque::new(),
            reports: Vec::new(),
            n_called: 0,
            n_arrived: 0,
            n_idle: 0,
            is_over: false,
        };
        Self { state: Mutex::new(state), given: Condvar::new(), reported: Condvar::new(), most_helpers }
    }

    /// Gives out a task; true when the caller is to call one more helper.
    pub fn give(&self, task: u32) -> bool {
        let mut state = lock(&self.state);
        state.todo.push_back(task);
        // Idle threads that were notified but have not woken yet still count as idle: compare with the queue.
        if state.n_idle >= state.todo.len() {
            self.given.notify_one();
            return false;
        }
        let calls = state.n_called < self.most_helpers;
        state.n_called += usize::from(calls);
        calls
    }

    /// Counts a helper in.
    pub fn arrive(&self) {
        lock(&self.state).n_arrived += 1;
    }

    /// How many helpers have come; while there is none, the caller may have to compute tasks itself.
    pub fn n_helpers(&self) -> usize {
        lock(&self.state).n_arrived
    }

    /// The task given out longest ago, if there is one.
    pub fn try_next(&self) -> Option<u32> {
        lock(&self.state).todo.pop_front()
    }

    /// The task given out longest ago, waiting for one; nothing when it is over.
    pub fn next(&self) -> Option<u32> {
        let mut state = lock(&self.state);
        loop {
            if state.is_over {
                return None;
            }
            if let Some(task) = state.todo.pop_front() {
                return Some(task);
            }
            state = self.idle(state);
        }
    }

    fn idle<'a>(&'a self, mut state: MutexGuard<'a, State<R>>) -> MutexGuard<'a, State<R>> {
        state.n_idle += 1;
        let mut state = self.given.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
        state.n_idle -= 1;
        state
    }

    /// Hands in a report.
    pub fn report(&self, report: R) {
        let mut state = lock(&self.state);
        state.reports.push(report);
        if state.reports.len() == 1 {
            self.reported.notify_one();
        }
    }

    /// All reports since this was last asked.
    pub fn take_reports(&self) -> Vec<R> {
        std::mem::take(&mut lock(&self.state).reports)
    }

    /// Waits until there are reports, at most `limit`.
    pub fn wait_for_reports(&self, limit: Duration) {
        let state = lock(&self.state);
        if state.reports.is_empty() {
            drop(self.reported.wait_timeout(state, limit));
        }
    }

    /// True when there are reports.
    pub fn has_reports(&self) -> bool {
        !lock(&self.state).reports.is_empty()
    }

    /// Lets every helper go; tasks that none has begun are forgotten.
    pub fn close(&self) {
        let mut state = lock(&self.state);
        state.is_over = true;
        state.todo.clear();
        self.given.notify_all();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn every_task_comes_back_once_and_helpers_end() {
        let dispatch = Dispatch::new(3);
        let help = || {
            dispatch.arrive();
            while let Some(task) = dispatch.next() {
                dispatch.report(task);
            }
        };
        thread::scope(|scope| {
            let (mut seen, mut n_called) = (vec![], 0);
            for task in 0..1000 {
                if dispatch.give(task) {
                    n_called += 1;
                    scope.spawn(help);
                }
            }
            while seen.len() < 1000 {
                dispatch.wait_for_reports(Duration::from_secs(1));
                seen.append(&mut dispatch.take_reports());
            }
            dispatch.close();
            seen.sort_unstable();
            assert_eq!((0..1000).collect::<Vec<_>>(), seen);
            assert_eq!(3, n_called);
        });
    }

    #[test]
    fn helpers_are_called_up_to_the_limit_and_only_for_tasks_that_wait() {
        let dispatch = Dispatch::<()>::new(2);
        assert_eq!(0, dispatch.n_helpers());
        assert_eq!([true, true, false], std::array::from_fn(|task| dispatch.give(task as u32)));
        dispatch.arrive();
        assert_eq!(1, dispatch.n_helpers());
        assert_eq!(Some(0), dispatch.try_next(), "first in, first out");
    }

    #[test]
    fn what_nobody_has_begun_is_forgotten_at_the_end() {
        let dispatch = Dispatch::<()>::new(1);
        dispatch.give(7);
        dispatch.close();
        assert_eq!(None, dispatch.next());
    }
}

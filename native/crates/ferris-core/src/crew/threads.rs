//! When a thread comes, what it does next, and when it goes.

use super::{Crew, Group, LINGER, N_SPARE_KEPT, Next, Phase, Seat, State, Turn};
use crate::sync::atomic::Ordering;
use crate::sync::{MutexGuard, PoisonError, lock, spin_until};

impl<T> Crew<T> {
    /// Has a thread come for a task that was added, or for one that can start now; true when it is to be started.
    ///
    /// Threads are started only here, when a task is added or a slot comes free for good: those who take tasks call idle
    /// ones.  So there is a thread, at work or not, for each task that may run.
    pub(super) fn rouse(&self, state: &mut State<T>) -> bool {
        self.call_one(state);
        let n_coming = state.n_idle + state.n_called + state.n_starting;
        let starts = state.queue.len() > n_coming
            && state.phase != Phase::Broken
            && state.n_threads + state.n_starting < self.most_threads(state);
        state.n_starting += usize::from(starts);
        starts
    }

    /// Calls an idle thread if there are tasks and none is called.
    pub(super) fn call_one(&self, state: &mut State<T>) {
        // Threads that are starting do not count: an initializer may take its time.
        let has_slot = state.n_active + state.n_returning + state.n_called < self.settings.n_workers;
        // One at a time: each that comes calls the next.
        if !has_slot || state.queue.is_empty() || state.n_idle == 0 || state.n_called > 0 {
            return;
        }
        state.n_idle -= 1;
        state.n_called += 1;
        state.n_calls += 1;
        // Whoever does not sleep looks again before it does.
        if !state.has_spinner {
            self.called.notify_one();
        }
        self.has_call.store(true, Ordering::Relaxed);
    }

    pub(super) fn most_threads(&self, state: &State<T>) -> usize {
        self.settings.n_workers + state.n_lent.min(self.settings.most_spare)
    }

    /// Counts a thread in that was started; the first it does.
    pub fn sign_on(&self) -> Seat {
        let mut state = lock(&self.state);
        state.n_starting = state.n_starting.saturating_sub(1);
        state.n_threads += 1;
        state.n_called += 1; // it is about to look
        let free = state.desks.iter().position(|desk| !desk.is_taken);
        if let Some(desk) = free {
            state.desks[desk].is_taken = true;
        }
        Seat(free)
    }

    /// Forgets a thread that was to be started.
    pub fn start_failed(&self) {
        let mut state = lock(&self.state);
        state.n_starting = state.n_starting.saturating_sub(1);
    }

    /// The next task of a worker that has just come or been called.
    pub fn first(&self, seat: Seat) -> Next<T> {
        let mut state = lock(&self.state);
        state.n_called -= 1;
        self.next_in(&mut state, seat)
    }

    /// The next task of a worker that has ended one.
    pub fn next(&self, seat: Seat, ended: Group) -> Next<T> {
        let mut state = lock(&self.state);
        Self::give_back(&mut state, ended);
        self.free_slot(&mut state);
        self.next_in(&mut state, seat)
    }

    pub(super) fn next_in(&self, state: &mut State<T>, seat: Seat) -> Next<T> {
        if state.phase != Phase::Broken
            && state.n_active + state.n_returning < self.settings.n_workers
            && let Some((item, group)) = self.pick(state, seat)
        {
            state.n_active += 1;
            Self::take_amounts(state, group);
            self.let_in(state);
            self.totals.n_started.fetch_add(1, Ordering::Relaxed);
            self.call_one(state);
            return Next::Work(Turn { item, group });
        }
        if state.is_done() || state.n_threads > self.most_threads(state) + N_SPARE_KEPT {
            self.count_out(state, seat);
            return Next::Leave;
        }
        state.n_idle += 1;
        Next::Wait
    }

    pub(super) fn count_out(&self, state: &mut State<T>, seat: Seat) {
        state.n_threads -= 1;
        if let Some(desk) = seat.0 {
            state.desks[desk].is_taken = false;
        }
        self.let_go_when_done(state);
        if state.n_threads == 0 {
            self.gone.notify_all();
        }
    }

    /// Waits to be called; false when it is time to go, and the thread has been counted out.
    pub fn wait(&self, seat: Seat) -> bool {
        let mut state = self.spin(lock(&self.state));
        loop {
            if state.n_calls > 0 {
                state.n_calls -= 1;
                return true;
            }
            if state.is_done() {
                state.n_idle -= 1;
                self.count_out(&mut state, seat);
                return false;
            }
            if state.n_threads <= self.settings.n_kept {
                state = self.called.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let waited = self.called.wait_timeout(state, LINGER);
            let result;
            (state, result) = waited.unwrap_or_else(PoisonError::into_inner);
            let is_needed = state.n_calls > 0 || !state.queue.is_empty();
            if result.timed_out() && !is_needed && state.n_threads > self.settings.n_kept {
                state.n_idle -= 1;
                self.count_out(&mut state, seat);
                return false;
            }
        }
    }

    /// Looks for a call for a short while, if no other thread does: to be woken takes longer.
    pub(super) fn spin<'a>(&'a self, mut state: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
        if state.has_spinner || state.n_calls > 0 || state.phase != Phase::Open {
            return state;
        }
        state.has_spinner = true;
        self.has_call.store(false, Ordering::Relaxed);
        drop(state);
        spin_until(|| self.has_call.load(Ordering::Relaxed));
        let mut state = lock(&self.state);
        state.has_spinner = false;
        state
    }

    pub(super) fn free_slot(&self, state: &mut State<T>) {
        state.n_active -= 1;
        if state.n_returning > 0 {
            self.slot.notify_one();
        }
    }

    pub(super) fn let_go_when_done(&self, state: &State<T>) {
        if state.is_done() {
            self.called.notify_all();
            if state.n_threads == 0 {
                self.gone.notify_all();
            }
        }
    }
}

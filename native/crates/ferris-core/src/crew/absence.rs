//! Workers that wait, and those that do not come back.

use super::{Crew, Group, LONGEST_RETURN, Next, Seat, State};

use crate::sync::{MutexGuard, PoisonError, lock, now};

use std::time::Duration;

/// Where the slot of a worker is that is abandoned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Slot {
    /// The worker has it.
    #[default]
    Held,
    /// It has lent it.
    Lent,
    /// It is about to take it back, and then gives it up by [`Crew::give_up`].
    Returning,
}

impl<T> Crew<T> {
    /// Lends the slot of a worker that waits, if there may be one more thread; true when one is to be started.
    pub fn lend(&self) -> Option<bool> {
        let mut state = lock(&self.state);
        if state.n_lent >= self.settings.most_spare {
            return None;
        }
        state.n_lent += 1;
        self.free_slot(&mut state);
        Some(self.rouse(&mut state))
    }

    /// Takes the slot back, waiting for it a short while.
    pub fn take_back(&self) {
        let mut state = lock(&self.state);
        state.n_returning += 1;
        let end = now() + LONGEST_RETURN;
        while state.n_active >= self.settings.n_workers {
            let left = end.saturating_duration_since(now());
            if left.is_zero() {
                break;
            }
            state = self.wait_for_slot(state, left);
        }
        state.n_returning -= 1;
        state.n_lent -= 1;
        state.n_active += 1;
    }

    pub(super) fn wait_for_slot<'a>(
        &self,
        state: MutexGuard<'a, State<T>>,
        limit: Duration,
    ) -> MutexGuard<'a, State<T>>
    where
        T: 'a,
    {
        self.slot.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Gives up the slot that a worker has taken back which was abandoned meanwhile; true when a thread is to be started.
    pub fn give_up(&self) -> bool {
        let mut state = lock(&self.state);
        self.free_slot(&mut state);
        self.let_go_when_done(&state);
        self.rouse(&mut state)
    }

    /// Goes on without a worker whose task does not end; true when a thread is to be started.
    ///
    /// The amounts of the task stay taken until it ends.
    pub fn abandon(&self, slot: Slot) -> bool {
        let mut state = lock(&self.state);
        state.n_threads -= 1;
        state.n_abandoned += 1;
        match slot {
            Slot::Held => self.free_slot(&mut state),
            Slot::Lent => state.n_lent -= 1, // it is free already
            Slot::Returning => {}
        }
        self.let_go_when_done(&state);
        self.rouse(&mut state)
    }

    /// A worker that was abandoned comes back; its seat is free for others, and it goes unless there is need.
    pub fn come_back(&self, seat: Seat, ended: Group) -> Next<T> {
        let mut state = lock(&self.state);
        state.n_abandoned -= 1;
        Self::give_back(&mut state, ended);
        state.n_threads += 1;
        if state.n_threads > self.most_threads(&state) {
            self.count_out(&mut state, seat);
            self.call_one(&mut state); // what its task had is there for others
            return Next::Leave;
        }
        self.next_in(&mut state, seat)
    }
}

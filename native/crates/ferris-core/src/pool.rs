//! Threads that wait for runs.
//!
//! The pool knows what a thread is asked to help with only as a [`Ticket`].  It starts no threads itself: it
//! says when one is needed, and whoever starts it lets it call [`Pool::wait`] until
//! that returns nothing.
//!
//! # Shutdown
//! 1. [`Pool::close`] marks the pool and wakes every idle thread.
//! 2. An idle thread returns from `wait` with nothing; a busy one does when it asks again.
//! 3. Each thread calls [`Pool::resign`] and ends; whoever closed the pool joins the threads.
//!
//! A call for help that races with `close` is either taken before it or never answered; the caller of a run
//! needs no helper, so nothing hangs.

use crate::sync::{Arc, Condvar, Mutex, MutexGuard, lock};
use crate::width::{Step, Watch};
use std::collections::VecDeque;
use std::time::Duration;

/// An invitation that can be withdrawn.
///
/// Whoever withdraws it has the last word: what the ticket stands for is not kept alive by tickets that lie
/// in a queue or in the hands of a thread that has not yet redeemed them.
pub struct Ticket<T>(Mutex<Option<T>>);

impl<T: Clone> Ticket<T> {
    /// An invitation to `run`.
    pub fn new(run: T) -> Self {
        Self(Mutex::new(Some(run)))
    }

    /// What the ticket stands for, unless it was withdrawn.
    pub fn redeem(&self) -> Option<T> {
        lock(&self.0).clone()
    }

    /// Looks at what the ticket stands for, unless it was withdrawn; `look` may not take long.
    pub fn look<R>(&self, look: impl FnOnce(&T) -> R) -> Option<R> {
        lock(&self.0).as_ref().map(look)
    }

    /// Takes the invitation back; its content is for the caller to drop.
    pub fn withdraw(&self) -> Option<T> {
        lock(&self.0).take()
    }
}

struct State<T> {
    queue: VecDeque<Arc<Ticket<T>>>,
    n_threads: usize,
    /// Threads that were asked for and have not signed on.
    n_starting: usize,
    n_idle: usize,
    /// How many threads the runs under way may have between them, those of runs inside tasks apart.
    demand: usize,
    nested_demand: usize,
    closed: bool,
}

/// Threads for runs inside tasks, over all.  Each such run may have threads of its own, because its tasks may
/// wait for each other; without a bound, recursion would start as many threads as it has branches.  Guessed.
const MAX_NESTED_THREADS: usize = 64;

/// How many threads a run may have beside its caller.
#[derive(Clone, Copy)]
pub enum Demand {
    /// A run of its own.
    Outer(usize),
    /// A run inside a task.
    Nested(usize),
}

impl Demand {
    fn n_threads(self) -> usize {
        match self {
            Self::Outer(n) | Self::Nested(n) => n,
        }
    }
}

impl<T> State<T> {
    fn share_of(&mut self, demand: Demand) -> &mut usize {
        match demand {
            Demand::Outer(_) => &mut self.demand,
            Demand::Nested(_) => &mut self.nested_demand,
        }
    }

    /// How many threads there are or are to be.
    fn n_counted(&self) -> usize {
        self.n_threads + self.n_starting
    }

    fn limit(&self) -> usize {
        self.demand + self.nested_demand.min(MAX_NESTED_THREADS)
    }
}

/// Threads that wait for runs.
pub struct Pool<T> {
    state: Mutex<State<T>>,
    called: Condvar,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        let state = State {
            queue: VecDeque::new(),
            n_threads: 0,
            n_starting: 0,
            n_idle: 0,
            demand: 0,
            nested_demand: 0,
            closed: false,
        };
        Self { state: Mutex::new(state), called: Condvar::new() }
    }
}

impl<T: Clone> Pool<T> {
    /// Lets the pool have more threads, as long as a run is under way.
    pub fn raise_demand(&self, demand: Demand) {
        let mut state = lock(&self.state);
        *state.share_of(demand) += demand.n_threads();
    }

    /// Takes back what [`Pool::raise_demand`] has given; threads that exist stay.
    pub fn lower_demand(&self, demand: Demand) {
        let mut state = lock(&self.state);
        *state.share_of(demand) -= demand.n_threads();
    }

    /// Queues a call for one thread; true when the caller has to start a thread, and to say so when it cannot.
    pub fn call(&self, ticket: &Arc<Ticket<T>>) -> bool {
        let mut state = lock(&self.state);
        if state.closed {
            return false;
        }
        state.queue.push_back(Arc::clone(ticket));
        // Idle threads that were notified but have not woken yet still count as idle: compare with the queue.
        if state.n_idle >= state.queue.len() {
            self.called.notify_one();
            return false;
        }
        let starts = state.n_counted() < state.limit();
        state.n_starting += usize::from(starts);
        starts
    }

    /// Counts a thread in that was started; the first it does.
    pub fn sign_on(&self) {
        let mut state = lock(&self.state);
        state.n_starting = state.n_starting.saturating_sub(1);
        state.n_threads += 1;
    }

    /// Forgets a thread that was to be started.
    ///
    /// Should it have started all the same, it is counted when it signs on, in place of another that has not.
    pub fn start_failed(&self) {
        let mut state = lock(&self.state);
        state.n_starting = state.n_starting.saturating_sub(1);
    }

    /// True when there is a thread that may answer a call, sooner or later.
    pub fn may_answer(&self) -> bool {
        let state = lock(&self.state);
        !state.closed && state.n_counted() > 0
    }

    /// Takes every call with `ticket` out of the queue.
    pub fn cancel(&self, ticket: &Arc<Ticket<T>>) {
        lock(&self.state).queue.retain(|queued| !Arc::ptr_eq(queued, ticket));
    }

    /// Puts back a call that this thread has answered and will answer again: before all others.
    pub fn put_back(&self, ticket: &Arc<Ticket<T>>) {
        lock(&self.state).queue.push_front(Arc::clone(ticket));
    }

    /// Waits for a call that it is time to follow, which `look` decides; nothing when the pool was closed.
    pub fn wait(&self, look: impl Fn(&T, &mut Watch) -> Step) -> Option<Arc<Ticket<T>>> {
        loop {
            let ticket = self.next_call()?;
            if self.watch(&ticket, &look) {
                return Some(ticket);
            }
        }
    }

    /// Watches a run until it is time to join; false when it is over first, or the pool was closed.
    fn watch(&self, ticket: &Ticket<T>, look: impl Fn(&T, &mut Watch) -> Step) -> bool {
        let mut watch = Watch::default();
        while !lock(&self.state).closed {
            match ticket.look(|run| look(run, &mut watch)) {
                None => return false,
                Some(Step::Join) => return true,
                Some(Step::Wait(limit)) => pause(limit),
            }
        }
        false
    }

    fn next_call(&self) -> Option<Arc<Ticket<T>>> {
        let mut state = lock(&self.state);
        loop {
            if state.closed {
                return None;
            }
            if let Some(ticket) = state.queue.pop_front() {
                return Some(ticket);
            }
            state = self.idle(state);
        }
    }

    fn idle<'a>(&'a self, mut state: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
        state.n_idle += 1;
        let mut state = self.called.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
        state.n_idle -= 1;
        state
    }

    /// Counts a thread out; the last it does.
    pub fn resign(&self) {
        lock(&self.state).n_threads -= 1;
    }

    /// How many threads there are, at work, idle or being started.
    pub fn n_threads(&self) -> usize {
        lock(&self.state).n_counted()
    }

    /// Lets every thread go as soon as it has nothing to do; calls are not answered any more.
    pub fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        self.called.notify_all();
    }
}

/// Sleeps; a model has no clock.
fn pause(limit: Duration) {
    #[cfg(not(loom))]
    std::thread::sleep(limit);
    #[cfg(loom)]
    let _: Duration = limit;
}

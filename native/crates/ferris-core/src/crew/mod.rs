#![doc = include_str!("README.md")]

mod absence;
mod choice;
mod threads;

pub use absence::Slot;

use crate::queue::{Nanos, Place, Priority, Queue};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, PoisonError, lock, now};

use std::time::{Duration, Instant};

/// A worker that wants its slot back waits for it no longer than this: the task that has it may wait for something
/// that the returning one is to do.  Guessed.
const LONGEST_RETURN: Duration = Duration::from_millis(100);

/// Threads that are kept, idle, beyond those that may work; others go at once.  Guessed.
const N_SPARE_KEPT: usize = 2;

/// How long a thread that need not stay waits for a task before it goes.  Guessed.
const LINGER: Duration = Duration::from_millis(500);

/// Ageing is looked at so many times in each of its steps.
const LOOKS_PER_STEP: u64 = 16;

/// How the workers of a crew share its tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// All take from the same queue.
    OneQueue,
    /// Each has a queue of its own, and takes from others' when it is empty.
    Stealing,
}

/// What a crew is to be like.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Tasks that may run at once.
    pub n_workers: usize,
    /// Threads that stay when they have nothing to do; others go after a while.
    pub n_kept: usize,
    /// Threads that may stand in for workers which wait.
    pub most_spare: usize,
    /// Tasks that may wait before submitters have to.
    pub most_queued: usize,
    /// A task that has waited this long counts one level higher; zero: never.
    pub aging: Duration,
    /// How workers share tasks.
    pub sharing: Sharing,
    /// How much there is of each resource.
    pub capacity: Vec<f64>,
}

/// Amounts of resources by their index, in order.
pub type Request = Vec<(usize, f64)>;

/// Which tasks compete for the same amounts of the same resources; the first group is that of tasks that need none.
pub type Group = u32;

/// The tasks that need no resources.
pub const NO_RESOURCES: Group = 0;

/// What became of a crew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Tasks are accepted.
    Open,
    /// What was accepted is done, and nothing else is accepted.
    Closing,
    /// Nothing is done any more.
    Broken,
}

/// Why a task was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Too many wait.
    Full,
    /// The crew is closing or broken.
    Closed(Phase),
}

/// A task that was accepted.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Where it is in the queue.
    pub place: Place,
    /// One more thread is to be started, which calls [`Crew::sign_on`].
    pub starts: bool,
}

/// A task for a worker, with a slot and the resources it needs.
#[derive(Debug)]
pub struct Turn<T> {
    /// The task.
    pub item: T,
    /// What it takes, to be given back at its end.
    pub group: Group,
}

/// What a worker does next.
#[derive(Debug)]
pub enum Next<T> {
    /// It runs this task.
    Work(Turn<T>),
    /// It calls [`Crew::wait`].
    Wait,
    /// It ends; it has been counted out.
    Leave,
}

/// A worker's own: where tasks that it makes go when workers have queues of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat(Option<usize>);

impl Seat {
    /// What threads have that are no workers.
    pub const OUTSIDE: Self = Self(None);
}

/// A group: its room, what it takes, and who has it.
struct Contest {
    room: u32,
    request: Request,
    /// Who may still add tasks, or has one.
    n_holders: usize,
    n_running: usize,
}

impl Contest {
    fn new(room: u32, request: Request) -> Self {
        Self { room, request, n_holders: 1, n_running: 0 }
    }

    fn is_unused(&self) -> bool {
        self.n_holders == 0 && self.n_running == 0
    }
}

/// The queues of one seat.
struct Desk {
    /// Tasks from outside, dealt to it: oldest first.
    dealt: u32,
    /// Tasks its own tasks have made: newest first for itself, oldest for others.
    made: u32,
    is_taken: bool,
}

struct State<T> {
    queue: Queue<T>,
    contests: Vec<Contest>,
    /// Groups that nobody has any more.
    free_groups: Vec<Group>,
    /// The room of the tickets of runs.
    guests: u32,
    /// A ticket goes before other tasks of its level.
    is_guests_turn: bool,
    desks: Vec<Desk>,
    /// The desk that gets the next task from outside.
    next_desk: usize,
    n_threads: usize,
    n_starting: usize,
    /// Threads that wait to be called; those that were called and have not woken are not among them.
    n_idle: usize,
    /// Threads that were called, or have been found a task, and have not looked yet.
    n_called: usize,
    /// Of those, the ones that have not woken.
    n_calls: usize,
    /// An idle thread looks for calls without sleeping.
    has_spinner: bool,
    /// Slots in use.
    n_active: usize,
    n_lent: usize,
    n_returning: usize,
    /// Submitters that wait for room.
    n_outside: usize,
    n_abandoned: usize,
    /// Tasks that were accepted and can not be started yet.
    n_pending: usize,
    /// Runs that have begun and not ended.
    n_runs: usize,
    phase: Phase,
    /// What waits was cancelled when the crew was closed, and so is what follows.
    is_cancelled: bool,
    used: Vec<f64>,
    next_look: Nanos,
}

impl<T> State<T> {
    fn n_outstanding(&self) -> usize {
        self.queue.len() + self.n_pending + self.n_runs + self.n_active + self.n_lent
    }

    fn is_done(&self) -> bool {
        match self.phase {
            Phase::Open => false,
            Phase::Closing => self.n_outstanding() == 0,
            Phase::Broken => true,
        }
    }

    fn fits(&self, request: &Request, capacity: &[f64]) -> bool {
        // Sums of floats: a millionth of a millionth too much is rounding.
        request.iter().all(|&(index, amount)| self.used[index] + amount <= capacity[index] * (1.0 + 1e-12))
    }
}

/// Totals since the start.
#[derive(Debug, Default)]
pub struct Totals {
    /// Attempts that have begun.
    pub n_started: AtomicU64,
    /// Tasks that have a result.
    pub n_completed: AtomicU64,
    /// Tasks that have failed.
    pub n_failed: AtomicU64,
    /// Tasks that were cancelled.
    pub n_cancelled: AtomicU64,
    /// Attempts that ended and are to be repeated.
    pub n_repeated: AtomicU64,
    /// Tasks that a worker has taken from another's queue.
    pub n_steals: AtomicU64,
    /// Nanoseconds that tasks have taken.
    pub time: AtomicU64,
}

/// A look at a crew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Tasks that were accepted and do not run.
    pub n_queued: usize,
    /// Threads that serve or are about to.
    pub n_threads: usize,
    /// Threads beyond the number of workers.
    pub n_spare: usize,
    /// Threads that were abandoned and have not come back.
    pub n_abandoned: usize,
    /// What became of the crew.
    pub phase: Phase,
}

/// The tasks and the threads of one executor.
pub struct Crew<T> {
    settings: Settings,
    began: Instant,
    state: Mutex<State<T>>,
    /// A hint for the thread that spins: there is a call.
    has_call: AtomicBool,
    /// A call for an idle thread.
    called: Condvar,
    /// A slot for a worker that comes back.
    slot: Condvar,
    /// Room for a task.
    room: Condvar,
    /// The last thread has gone.
    gone: Condvar,
    /// What the crew has done.
    pub totals: Totals,
}

impl<T> Crew<T> {
    /// A crew without threads.
    pub fn new(settings: Settings) -> Self {
        let mut queue = Queue::default();
        let n_desks = if settings.sharing == Sharing::Stealing { settings.n_workers } else { 0 };
        let desk = |_| Desk { dealt: queue.add_room(), made: queue.add_room(), is_taken: false };
        let desks = (0..n_desks).map(desk).collect();
        let guests = queue.add_room();
        let state = State {
            queue,
            contests: vec![Contest::new(Queue::<T>::HALL, Request::new())],
            free_groups: Vec::new(),
            guests,
            is_guests_turn: false,
            desks,
            next_desk: 0,
            n_threads: 0,
            n_starting: 0,
            n_idle: 0,
            n_called: 0,
            n_calls: 0,
            has_spinner: false,
            n_active: 0,
            n_lent: 0,
            n_returning: 0,
            n_outside: 0,
            n_abandoned: 0,
            n_pending: 0,
            n_runs: 0,
            phase: Phase::Open,
            is_cancelled: false,
            used: vec![0.0; settings.capacity.len()],
            next_look: 0,
        };
        Self {
            settings,
            began: now(),
            state: Mutex::new(state),
            has_call: AtomicBool::new(false),
            called: Condvar::new(),
            slot: Condvar::new(),
            room: Condvar::new(),
            gone: Condvar::new(),
            totals: Totals::default(),
        }
    }

    /// What the crew is like.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The group of tasks that need these amounts, each at most what there is; to be released.
    pub fn group(&self, request: &Request) -> Group {
        let mut state = lock(&self.state);
        let is_known = |contest: &Contest| !contest.is_unused() && contest.request == *request;
        if let Some(known) = state.contests.iter().position(is_known) {
            state.contests[known].n_holders += 1;
            return known as Group;
        }
        match state.free_groups.pop() {
            Some(free) => {
                let contest = &mut state.contests[free as usize];
                *contest = Contest::new(contest.room, request.clone());
                free
            }
            None => Self::add_group(&mut state, request),
        }
    }

    /// Has the groups of another crew, by number, for good; to be called before there are others.
    pub fn adopt_groups(&self, requests: &[Request]) {
        let mut state = lock(&self.state);
        for request in requests {
            Self::add_group(&mut state, request);
        }
    }

    fn add_group(state: &mut State<T>, request: &Request) -> Group {
        let room = state.queue.add_room();
        state.contests.push(Contest::new(room, request.clone()));
        state.contests.len() as Group - 1
    }

    /// Gives a group back: none of its tasks waits, and whoever got it adds no more.
    pub fn release(&self, group: Group) {
        let mut state = lock(&self.state);
        state.contests[group as usize].n_holders -= 1;
        Self::recycle(&mut state, group);
    }

    /// Lets the number of a group that nobody has be that of another one.
    fn recycle(state: &mut State<T>, group: Group) {
        if group != NO_RESOURCES && state.contests[group as usize].is_unused() {
            state.free_groups.push(group);
        }
    }

    // ---- Tasks

    /// Adds a task to those that wait, unless it is refused.
    pub fn submit(
        &self,
        seat: Seat,
        group: Group,
        priority: Priority,
        item: T,
    ) -> Result<Accepted, (Refusal, T)> {
        let mut state = lock(&self.state);
        match state.phase {
            Phase::Open if state.queue.len() < self.settings.most_queued => {
                Ok(self.push(&mut state, seat, group, priority, item))
            }
            Phase::Open => Err((Refusal::Full, item)),
            phase => Err((Refusal::Closed(phase), item)),
        }
    }

    /// Adds a ticket of a run, however many tasks wait; it comes back when the crew is broken, or cancels what waits.  True
    /// when a thread is to be started.
    ///
    /// Tickets that need no resources take turns with all other tasks of their level.  What they are for may have waited:
    /// so they count `n_raised` levels higher, up to the level of any other task.
    pub fn follow(
        &self,
        group: Group,
        priority: Priority,
        n_raised: u64,
        item: T,
    ) -> Result<bool, (Phase, T)> {
        let mut state = lock(&self.state);
        if state.phase == Phase::Broken || state.is_cancelled {
            return Err((state.phase, item));
        }
        let room = Self::room_of_tickets(&state, group);
        let top = if n_raised > 0 { state.queue.highest() } else { None };
        let priority = top.map_or(priority, |top| priority.raised_to(n_raised, top));
        state.queue.push(room, priority, self.time(), item);
        Ok(self.rouse(&mut state))
    }

    /// Accepts a task that can not be started yet.
    pub fn expect(&self) -> Result<(), Phase> {
        let mut state = lock(&self.state);
        if state.phase != Phase::Open {
            return Err(state.phase);
        }
        state.n_pending += 1;
        Ok(())
    }

    /// Accepts the tasks of a run, which are added by [`Crew::follow`]; it counts as one that has not ended.
    ///
    /// A run within a task is accepted for as long as that task may run.
    pub fn begin_run(&self, is_within_task: bool) -> Result<(), Refusal> {
        let mut state = lock(&self.state);
        match state.phase {
            Phase::Closing if is_within_task && !state.is_cancelled => {}
            Phase::Open if is_within_task || state.queue.len() < self.settings.most_queued => {}
            Phase::Open => return Err(Refusal::Full),
            phase => return Err(Refusal::Closed(phase)),
        }
        state.n_runs += 1;
        Ok(())
    }

    /// A run has ended: no ticket of it is added any more.  Those that wait, `is_of_it` says, are handed over; they are
    /// looked for in the groups of the run.
    pub fn end_run(&self, groups: &[Group], is_of_it: impl Fn(&T) -> bool) -> Vec<T> {
        let mut state = lock(&self.state);
        let mut tickets = Vec::new();
        for &group in groups {
            let room = Self::room_of_tickets(&state, group);
            tickets.extend(state.queue.remove_from(room, &is_of_it));
        }
        state.n_runs -= 1;
        if state.n_runs == 0 {
            self.gone.notify_all();
        }
        self.let_in(&mut state);
        self.call_one(&mut state); // for a task that waited behind them for the same resource
        self.let_go_when_done(&state);
        tickets
    }

    fn room_of_tickets(state: &State<T>, group: Group) -> u32 {
        if group == NO_RESOURCES { state.guests } else { state.contests[group as usize].room }
    }

    /// Accepts a task once more, whose attempt is not over yet, to be admitted later.
    pub fn expect_again(&self) {
        lock(&self.state).n_pending += 1;
    }

    /// Has a worker take an item before all tasks; it comes back when the crew is broken.  True when a thread is to be
    /// started.
    pub fn send_errand(&self, item: T) -> Result<bool, T> {
        let mut state = lock(&self.state);
        if state.phase == Phase::Broken {
            return Err(item);
        }
        Ok(self.push(&mut state, Seat::OUTSIDE, NO_RESOURCES, Priority::FIRST, item).starts)
    }

    /// Adds a task that was accepted before; nothing happens, and it comes back, when the crew is broken.
    pub fn admit(&self, group: Group, priority: Priority, item: T) -> Result<Accepted, T> {
        let mut state = lock(&self.state);
        if state.phase == Phase::Broken {
            return Err(item);
        }
        state.n_pending -= 1;
        Ok(self.push(&mut state, Seat::OUTSIDE, group, priority, item))
    }

    /// Forgets a task that was accepted and will never start.
    pub fn forget_pending(&self) {
        let mut state = lock(&self.state);
        state.n_pending = state.n_pending.saturating_sub(1);
        self.let_go_when_done(&state);
    }

    fn push(&self, state: &mut State<T>, seat: Seat, group: Group, priority: Priority, item: T) -> Accepted {
        let room = if group == NO_RESOURCES {
            Self::room_for(state, seat)
        } else {
            state.contests[group as usize].room
        };
        let place = state.queue.push(room, priority, self.time(), item);
        Accepted { place, starts: self.rouse(state) }
    }

    /// Where a task goes: to the worker that has made it, or to the next one in turn.
    fn room_for(state: &mut State<T>, seat: Seat) -> u32 {
        if let Some(own) = seat.0 {
            return state.desks[own].made;
        }
        let n_desks = state.desks.len();
        let from = state.next_desk;
        let taken =
            (from..from + n_desks).map(|desk| desk % n_desks).find(|&desk| state.desks[desk].is_taken);
        taken.map_or(Queue::<T>::HALL, |desk| {
            state.next_desk = desk + 1;
            state.desks[desk].dealt
        })
    }

    /// Takes a task out of the queue, unless it is there no more.
    pub fn withdraw(&self, place: Place) -> Option<T> {
        let mut state = lock(&self.state);
        let item = state.queue.remove(place)?;
        self.let_in(&mut state);
        self.call_one(&mut state); // for a task that waited behind it for the same resource
        self.let_go_when_done(&state);
        Some(item)
    }

    /// Takes a task out of the queue for a worker to run within the one that it runs.
    pub fn help(&self, place: Place) -> Option<T> {
        let mut state = lock(&self.state);
        let item = state.queue.remove(place)?;
        self.let_in(&mut state);
        self.totals.n_started.fetch_add(1, Ordering::Relaxed);
        Some(item)
    }

    /// Takes the task that is next, for a worker to run within the one that it runs, if it takes no resources and `may` be
    /// run there; `may` does not take long.
    pub fn help_with_next(&self, seat: Seat, may: impl FnOnce(&T) -> bool) -> Option<T> {
        let mut state = lock(&self.state);
        let choice = self.choose(&mut state, seat).filter(|choice| choice.group == NO_RESOURCES)?;
        state.queue.peek(choice.room, choice.end).filter(|item| may(item))?;
        let item = Self::take_chosen(&mut state, choice)?;
        self.let_in(&mut state);
        self.totals.n_started.fetch_add(1, Ordering::Relaxed);
        Some(item)
    }

    /// Takes a task out of the queue for a thread that is no worker, with a slot, if one is free.
    pub fn help_from_outside(&self, place: Place) -> Option<T> {
        let mut state = lock(&self.state);
        if state.n_active + state.n_returning >= self.settings.n_workers {
            return None;
        }
        let item = state.queue.remove(place)?;
        state.n_active += 1;
        self.let_in(&mut state);
        self.totals.n_started.fetch_add(1, Ordering::Relaxed);
        Some(item)
    }

    /// Gives back the slot of a thread that is no worker; true when a thread is to be started.
    pub fn end_help(&self) -> bool {
        let mut state = lock(&self.state);
        self.free_slot(&mut state);
        self.let_go_when_done(&state);
        self.rouse(&mut state)
    }

    /// Waits for room for a task, at most `limit`.
    pub fn wait_for_room(&self, limit: Duration) {
        let mut state = lock(&self.state);
        if state.phase == Phase::Open && state.queue.len() >= self.settings.most_queued {
            state.n_outside += 1;
            let waited = self.room.wait_timeout(state, limit);
            waited.unwrap_or_else(PoisonError::into_inner).0.n_outside -= 1;
        }
    }

    fn let_in(&self, state: &mut State<T>) {
        if state.n_outside > 0 {
            self.room.notify_one();
        }
    }

    // ---- The end

    /// Accepts nothing more; with `cancels`, the tasks that wait are handed over.
    pub fn close(&self, cancels: bool) -> Vec<T> {
        let mut state = lock(&self.state);
        if state.phase == Phase::Open {
            state.phase = Phase::Closing;
        }
        state.is_cancelled |= cancels;
        let items = if cancels { state.queue.drain() } else { Vec::new() };
        self.room.notify_all();
        self.let_go_when_done(&state);
        items
    }

    /// Does nothing any more; the tasks that wait are handed over.
    pub fn shatter(&self) -> Vec<T> {
        let mut state = lock(&self.state);
        state.phase = Phase::Broken;
        let items = state.queue.drain();
        self.room.notify_all();
        self.let_go_when_done(&state);
        items
    }

    /// True when every thread has gone, those abandoned apart; waits for it at most `limit`.
    pub fn wait_until_gone(&self, limit: Duration) -> bool {
        let state = lock(&self.state);
        let is_gone = |state: &State<T>| state.is_done() && state.n_threads + state.n_starting == 0;
        if is_gone(&state) {
            return true;
        }
        let waited = self.gone.wait_timeout(state, limit);
        is_gone(&waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    /// True when no run is under way; waits for it at most `limit`.
    pub fn wait_for_runs(&self, limit: Duration) -> bool {
        let state = lock(&self.state);
        if state.n_runs == 0 {
            return true;
        }
        let waited = self.gone.wait_timeout(state, limit);
        waited.unwrap_or_else(PoisonError::into_inner).0.n_runs == 0
    }

    /// What there is now.
    pub fn snapshot(&self) -> Snapshot {
        let state = lock(&self.state);
        Snapshot {
            n_queued: state.queue.len() + state.n_pending,
            n_threads: state.n_threads + state.n_starting,
            n_spare: state.n_threads.saturating_sub(self.settings.n_workers),
            n_abandoned: state.n_abandoned,
            phase: state.phase,
        }
    }

    fn time(&self) -> Nanos {
        now().saturating_duration_since(self.began).as_nanos() as Nanos
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn crew(n_workers: usize, capacity: &[f64]) -> Crew<u32> {
        Crew::new(Settings {
            n_workers,
            n_kept: n_workers,
            most_spare: 0,
            most_queued: 1,
            aging: Duration::ZERO,
            sharing: Sharing::OneQueue,
            capacity: capacity.to_vec(),
        })
    }

    #[test]
    fn numbers_of_groups_are_used_again() {
        let crew = crew(1, &[9.0]);
        let groups: Vec<_> = (1..5).map(|amount| crew.group(&vec![(0, f64::from(amount))])).collect();
        assert_eq!(vec![1, 2, 3, 4], groups);
        assert_eq!(2, crew.group(&vec![(0, 2.0)]), "the same amounts are the same group");
        crew.release(2);
        assert_eq!(2, crew.group(&vec![(0, 2.0)]), "somebody has it still");
        crew.release(3);
        assert_eq!(3, crew.group(&vec![(0, 7.0)]));
    }

    #[test]
    fn a_group_whose_task_runs_is_not_used_again() {
        let crew = crew(1, &[9.0]);
        let group = crew.group(&vec![(0, 9.0)]);
        assert!(crew.submit(Seat::OUTSIDE, group, Priority::NORMAL, 0).unwrap().starts);
        let seat = crew.sign_on();
        let Next::Work(turn) = crew.first(seat) else { panic!("there is a task") };
        crew.release(group);
        assert_eq!(2, crew.group(&vec![(0, 1.0)]));
        assert!(matches!(crew.next(seat, turn.group), Next::Wait));
        assert_eq!(1, crew.group(&vec![(0, 2.0)]));
    }

    #[test]
    fn runs_take_turns_with_other_tasks_of_their_level() {
        let settings = Settings { most_queued: 9, ..crew(1, &[]).settings().clone() };
        let crew = Crew::new(settings);
        let mut order = Vec::new();
        assert!(crew.submit(Seat::OUTSIDE, NO_RESOURCES, Priority::NORMAL, 0).unwrap().starts);
        for ticket in [10, 20, 11, 21] {
            assert_eq!(Ok(false), crew.follow(NO_RESOURCES, Priority::NORMAL, 0, ticket));
        }
        assert_eq!(
            Ok(false),
            crew.follow(NO_RESOURCES, Priority::new(1.0, 0.0).raised_to(1, Priority::new(2.0, 0.0)), 0, 12)
        );
        let seat = crew.sign_on();
        let mut next = crew.first(seat);
        while let Next::Work(turn) = next {
            order.push(turn.item);
            if turn.item < 3 {
                assert!(crew.submit(Seat::OUTSIDE, NO_RESOURCES, Priority::NORMAL, turn.item + 1).is_ok());
            }
            next = crew.next(seat, turn.group);
        }
        assert_eq!(vec![12, 0, 10, 1, 20, 2, 11, 3, 21], order);
    }

    #[test]
    fn the_tickets_of_a_run_go_with_it() {
        let crew = crew(1, &[9.0]);
        let group = crew.group(&vec![(0, 9.0)]);
        assert_eq!(Ok(()), crew.begin_run(true));
        for (group, priority) in [(NO_RESOURCES, 1.0), (NO_RESOURCES, 2.0), (group, 1.0), (NO_RESOURCES, 1.0)]
        {
            let number = crew.snapshot().n_queued as u32;
            assert!(crew.follow(group, Priority::new(priority, 0.0), 0, number).is_ok());
        }
        let mut tickets = crew.end_run(&[NO_RESOURCES, group], |&ticket| ticket < 3);
        tickets.sort_unstable();
        assert_eq!((vec![0, 1, 2], 1), (tickets, crew.snapshot().n_queued));
    }

    #[test]
    fn a_run_is_accepted_where_a_task_would_be() {
        let crew = crew(1, &[]);
        let follow = || crew.follow(NO_RESOURCES, Priority::NORMAL, 0, 0);
        assert_eq!(Ok(()), crew.begin_run(false));
        assert!(follow().is_ok() && follow().is_ok(), "its tasks are, however many wait");
        assert_eq!(Err(Refusal::Full), crew.begin_run(false));
        assert_eq!(Ok(()), crew.begin_run(true));
        crew.close(false);
        assert_eq!(Err(Refusal::Closed(Phase::Closing)), crew.begin_run(false));
        assert!(follow().is_ok(), "what was accepted is done");
        assert_eq!(3, crew.close(true).len());
        assert!(follow().is_err(), "and cancelled when that is asked for");
    }
}

#![doc = include_str!("crew/README.md")]

use crate::queue::{End, Nanos, Place, Priority, Queue, Top};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard, lock, now, spin_until};
use std::sync::PoisonError;
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
}

/// The queues of one seat.
struct Desk {
    /// Tasks from outside, dealt to it: oldest first.
    dealt: u32,
    /// Tasks its own tasks have made: newest first for itself, oldest for others.
    made: u32,
    is_taken: bool,
}

/// Which task a worker takes.
#[derive(Clone, Copy)]
struct Choice {
    room: u32,
    end: End,
    group: Group,
    is_stolen: bool,
}

impl Choice {
    fn plain(room: u32, end: End) -> Self {
        Self { room, end, group: NO_RESOURCES, is_stolen: false }
    }
}

struct State<T> {
    queue: Queue<T>,
    contests: Vec<Contest>,
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
    phase: Phase,
    used: Vec<f64>,
    /// Some task was not of normal priority.
    has_levels: bool,
    next_look: Nanos,
}

impl<T> State<T> {
    fn n_outstanding(&self) -> usize {
        self.queue.len() + self.n_pending + self.n_active + self.n_lent
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
        let state = State {
            queue,
            contests: vec![Contest { room: Queue::<T>::HALL, request: Vec::new() }],
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
            phase: Phase::Open,
            used: vec![0.0; settings.capacity.len()],
            has_levels: false,
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

    /// The group of tasks that need these amounts, each at most what there is.
    pub fn group(&self, request: &Request) -> Group {
        let mut state = lock(&self.state);
        let known = state.contests.iter().position(|contest| contest.request == *request);
        known.unwrap_or_else(|| {
            let room = state.queue.add_room();
            state.contests.push(Contest { room, request: request.clone() });
            state.contests.len() - 1
        }) as Group
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

    /// Accepts a task that can not be started yet.
    pub fn expect(&self) -> Result<(), Phase> {
        let mut state = lock(&self.state);
        if state.phase != Phase::Open {
            return Err(state.phase);
        }
        state.n_pending += 1;
        Ok(())
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
        state.has_levels |= priority != Priority::NORMAL;
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

    /// Takes the task that is next, for a worker to run within the one that it runs; it takes no resources.
    pub fn help_with_next(&self, seat: Seat) -> Option<T> {
        let mut state = lock(&self.state);
        let choice = self.choose(&mut state, seat).filter(|choice| choice.group == NO_RESOURCES)?;
        let item = state.queue.pop(choice.room, choice.end)?;
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

    // ---- Threads

    /// Has a thread come for a task that was added, or for one that can start now; true when it is to be started.
    ///
    /// Threads are started only here, when a task is added or a slot comes free for good: those who take tasks call idle
    /// ones.  So there is a thread, at work or not, for each task that may run.
    fn rouse(&self, state: &mut State<T>) -> bool {
        self.call_one(state);
        let n_coming = state.n_idle + state.n_called + state.n_starting;
        let starts = state.queue.len() > n_coming
            && state.phase != Phase::Broken
            && state.n_threads + state.n_starting < self.most_threads(state);
        state.n_starting += usize::from(starts);
        starts
    }

    /// Calls an idle thread if there are tasks for one more than are coming.
    fn call_one(&self, state: &mut State<T>) {
        let n_coming = state.n_called + state.n_starting;
        let has_slot = state.n_active + state.n_returning + n_coming < self.settings.n_workers;
        // One at a time: each that comes calls the next.
        if !has_slot || state.queue.len() <= n_coming || state.n_idle == 0 || state.n_called > 0 {
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

    fn most_threads(&self, state: &State<T>) -> usize {
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

    fn next_in(&self, state: &mut State<T>, seat: Seat) -> Next<T> {
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

    fn count_out(&self, state: &mut State<T>, seat: Seat) {
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
    fn spin<'a>(&'a self, mut state: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
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

    fn free_slot(&self, state: &mut State<T>) {
        state.n_active -= 1;
        if state.n_returning > 0 {
            self.slot.notify_one();
        }
    }

    fn let_go_when_done(&self, state: &State<T>) {
        if state.is_done() {
            self.called.notify_all();
            if state.n_threads == 0 {
                self.gone.notify_all();
            }
        }
    }

    // ---- Which task is next

    fn pick(&self, state: &mut State<T>, seat: Seat) -> Option<(T, Group)> {
        let Choice { room, end, group, is_stolen } = self.choose(state, seat)?;
        self.totals.n_steals.fetch_add(u64::from(is_stolen), Ordering::Relaxed);
        Some((state.queue.pop(room, end)?, group))
    }

    fn choose(&self, state: &mut State<T>, seat: Seat) -> Option<Choice> {
        if state.queue.is_empty() {
            return None;
        }
        if state.has_levels {
            self.age(state);
        }
        if state.contests.len() == 1 && state.desks.is_empty() {
            return Some(Choice::plain(Queue::<T>::HALL, End::Oldest));
        }
        self.best_room(state, seat)
    }

    fn age(&self, state: &mut State<T>) {
        let step = self.settings.aging.as_nanos() as Nanos;
        let time = self.time();
        if step > 0 && time >= state.next_look {
            state.queue.raise(time, step);
            state.next_look = time + (step / LOOKS_PER_STEP).max(1);
        }
    }

    /// The room with the task that goes first: by level, then own queues before others'.
    fn best_room(&self, state: &State<T>, seat: Seat) -> Option<Choice> {
        let mut best: Option<(Top, Choice)> = None;
        let mut offer = |top: Option<Top>, choice, is_rival: bool| {
            if let Some(top) = top
                && best.is_none_or(|(old, _)| top.priority > old.priority || is_rival && top.is_before(old))
            {
                best = Some((top, choice));
            }
        };
        if let Some(own) = seat.0 {
            let Desk { dealt, made, .. } = state.desks[own];
            offer(state.queue.top(made), Choice::plain(made, End::Newest), false);
            offer(state.queue.top(dealt), Choice::plain(dealt, End::Oldest), false);
        }
        let hall = Queue::<T>::HALL;
        offer(state.queue.top(hall), Choice::plain(hall, End::Oldest), false);
        for (group, top) in self.open_contests(state) {
            let room = state.contests[group as usize].room;
            offer(Some(top), Choice { group, ..Choice::plain(room, End::Oldest) }, true);
        }
        let is_own_empty = seat.0.is_none_or(|own| {
            let Desk { dealt, made, .. } = state.desks[own];
            state.queue.is_room_empty(dealt) && state.queue.is_room_empty(made)
        });
        for (index, desk) in state.desks.iter().enumerate().filter(|&(index, _)| Some(index) != seat.0) {
            for room in [desk.dealt, desk.made] {
                let is_stolen = state.desks[index].is_taken;
                let choice = Choice { is_stolen, ..Choice::plain(room, End::Oldest) };
                offer(state.queue.top(room), choice, is_own_empty);
            }
        }
        best.map(|(_, choice)| choice)
    }

    /// The groups whose first task can start: what it needs is free, and no task before it waits for any of that.
    fn open_contests(&self, state: &State<T>) -> Vec<(Group, Top)> {
        let mut tops: Vec<(Group, Top)> = (1..state.contests.len())
            .filter_map(|group| Some((group as Group, state.queue.top(state.contests[group].room)?)))
            .collect();
        tops.sort_by_key(|&(_, top)| (std::cmp::Reverse(top.priority), top.since));
        let mut wanted = vec![false; self.settings.capacity.len()];
        tops.retain(|&(group, _)| {
            let request = &state.contests[group as usize].request;
            let is_open = state.fits(request, &self.settings.capacity)
                && !request.iter().any(|&(index, _)| wanted[index]);
            if !is_open {
                for &(index, _) in request {
                    wanted[index] = true;
                }
            }
            is_open
        });
        tops
    }

    fn take_amounts(state: &mut State<T>, group: Group) {
        let State { contests, used, .. } = state;
        for &(index, amount) in &contests[group as usize].request {
            used[index] += amount;
        }
    }

    fn give_back(state: &mut State<T>, group: Group) {
        let State { contests, used, .. } = state;
        for &(index, amount) in &contests[group as usize].request {
            used[index] = (used[index] - amount).max(0.0);
        }
    }

    // ---- Workers that wait, and those that do not come back

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

    fn wait_for_slot<'a>(&self, state: MutexGuard<'a, State<T>>, limit: Duration) -> MutexGuard<'a, State<T>>
    where
        T: 'a,
    {
        self.slot.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Goes on without a worker whose task does not end, and which may have lent its slot; true when a thread is to be started.
    ///
    /// The amounts of the task stay taken until it ends.
    pub fn abandon(&self, has_lent: bool) -> bool {
        let mut state = lock(&self.state);
        state.n_threads -= 1;
        state.n_abandoned += 1;
        if has_lent {
            state.n_lent -= 1; // its slot is free already
        } else {
            self.free_slot(&mut state);
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
            return Next::Leave;
        }
        self.next_in(&mut state, seat)
    }

    // ---- The end

    /// Accepts nothing more; with `cancels`, the tasks that wait are handed over.
    pub fn close(&self, cancels: bool) -> Vec<T> {
        let mut state = lock(&self.state);
        if state.phase == Phase::Open {
            state.phase = Phase::Closing;
        }
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

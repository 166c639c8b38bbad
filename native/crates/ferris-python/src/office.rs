//! One executor: its crew, and the threads that serve it.

use ferris_core::crew::{Crew, Group, Next, Phase, Refusal, Request, Settings, Sharing, Turn};
use ferris_core::queue::Priority;
use ferris_core::stage::Stage;
use pyo3::exceptions::PyRuntimeError;
use pyo3::import_exception;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::attempt::{self, Ran};
use crate::call;
use crate::collector;
use crate::error::{self, InternalError};
use crate::future::{self, Future};
use crate::governed::Step;
use crate::inputs::{self, Inputs};
use crate::interpreter;
use crate::policy::Policy;
use crate::pool;
use crate::session::AtWork;
use crate::station::{self, OnDuty, Station};
use crate::task::{self, Task};
use crate::timer;
use crate::watch::Watch;

import_exception!(dask_ferris.exceptions, BrokenPoolError);
import_exception!(dask_ferris.exceptions, PolicyError);
import_exception!(dask_ferris.exceptions, PoolClosedError);
import_exception!(dask_ferris.exceptions, QueueFullError);

/// How long the interpreter waits at its end for tasks of runs that failed or were interrupted, as for those of the pool.
const LEFTOVERS: Duration = Duration::from_secs(1);

/// The interpreter is at its end: nothing is accepted any more.
static AT_EXIT: AtomicBool = AtomicBool::new(false);

/// What Python says about an executor: `dask_ferris._executor.Terms`.
#[derive(FromPyObject)]
#[expect(clippy::struct_excessive_bools, reason = "the options of the executor, each by its name")]
pub struct Terms {
    n_workers: usize,
    /// Threads that stay when they have nothing to do.
    n_kept: usize,
    /// Threads that may stand in for workers that wait.
    most_spare: usize,
    /// Tasks that may wait; none for any number.
    most_queued: Option<usize>,
    /// Seconds after which a task counts one level higher, 0 for never.
    aging: f64,
    /// Workers have queues of their own.
    steals: bool,
    /// How much there is of each resource.
    capacity: Vec<f64>,
    future_type: Py<PyType>,
    /// Starts a thread that serves the [`Post`] it is called with.
    starter: Py<PyAny>,
    /// Waits until there is memory, or raises; called with whether this thread is a worker.
    gate: Option<Py<PyAny>>,
    /// Submitters wait while the queue is full; else they get an error.
    blocks: bool,
    /// Threads outside may run tasks that they wait for.
    helps_outside: bool,
    /// Futures among the arguments are waited for.
    resolves: bool,
    /// Tasks may have a priority.
    has_levels: bool,
    /// Threads that may be stuck in tasks whose time was up.
    most_abandoned: usize,
}

impl Terms {
    fn settings(&self) -> Settings {
        Settings {
            n_workers: self.n_workers,
            n_kept: self.n_kept,
            most_spare: self.most_spare,
            most_queued: self.most_queued.unwrap_or(usize::MAX),
            aging: Duration::try_from_secs_f64(self.aging).unwrap_or(Duration::ZERO),
            sharing: if self.steals { Sharing::Stealing } else { Sharing::OneQueue },
            capacity: self.capacity.clone(),
        }
    }

    fn copy(&self, py: Python<'_>) -> Self {
        Self {
            future_type: self.future_type.clone_ref(py),
            starter: self.starter.clone_ref(py),
            gate: self.gate.as_ref().map(|gate| gate.clone_ref(py)),
            capacity: self.capacity.clone(),
            ..*self
        }
    }
}

/// Futures that wait, by number and by address.
#[derive(Default)]
struct Waiting {
    futures: HashMap<u64, Py<Future>>,
    numbers: HashMap<usize, u64>,
    n_before: u64,
}

impl Waiting {
    fn add(&mut self, future: &Bound<'_, Future>) -> u64 {
        self.n_before += 1;
        self.futures.insert(self.n_before, future.clone().unbind());
        self.numbers.insert(future.as_ptr() as usize, self.n_before);
        self.n_before
    }

    fn take(&mut self, future: &Bound<'_, Future>) -> Option<Py<Future>> {
        let number = self.numbers.remove(&(future.as_ptr() as usize))?;
        self.futures.remove(&number)
    }

    fn take_numbered(&mut self, number: u64) -> Option<Py<Future>> {
        let future = self.futures.remove(&number)?;
        self.numbers.remove(&(future.as_ptr() as usize));
        Some(future)
    }

    fn take_all(&mut self, is_meant: impl Fn(&Py<Future>) -> bool) -> Vec<Py<Future>> {
        let numbers = self.futures.iter().filter(|(_, future)| is_meant(future)).map(|(&number, _)| number);
        let numbers: Vec<_> = numbers.collect();
        numbers.into_iter().filter_map(|number| self.take_numbered(number)).collect()
    }

    fn drain(&mut self) -> Vec<Py<Future>> {
        self.numbers.clear();
        self.futures.drain().map(|(_, future)| future).collect()
    }
}

/// One executor, as its threads and futures know it.
pub struct Office {
    pub crew: Crew<Py<Future>>,
    terms: Terms,
    generation: usize,
    /// Futures whose tasks were accepted and are not in the queue.
    waiting: Mutex<Waiting>,
    /// What the groups of the crew need, by number; those that nobody has any more are among them.
    requests: Mutex<Vec<Request>>,
    broken: OnceLock<String>,
    /// Who asks for what its tasks return waits by itself: at its end the interpreter does not wait long for them.
    is_abandoned: AtomicBool,
    /// What the crew knows too, for the child of a fork, which must not take the lock of the crew.
    is_closed: AtomicBool,
}

impl Office {
    fn new(terms: Terms) -> Self {
        Self {
            crew: Crew::new(terms.settings()),
            terms,
            generation: pool::generation(),
            waiting: Mutex::default(),
            requests: Mutex::default(),
            broken: OnceLock::new(),
            is_abandoned: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
        }
    }

    /// An office of the same kind, for the child of a fork.
    pub fn anew(&self, py: Python<'_>) -> Arc<Self> {
        let new = register(Self::new(self.terms.copy(py)));
        new.crew.adopt_groups(&self.requests());
        new.requests().clone_from(&self.requests());
        if let Some(why) = self.broken() {
            new.break_down(py, why);
        } else if self.is_closed.load(Ordering::Relaxed) {
            new.crew.close(false);
        }
        new
    }

    /// The group of tasks that need these resources.
    pub fn group(&self, request: &Request) -> Group {
        let group = self.crew.group(request);
        let mut requests = self.requests();
        let index = group as usize - 1;
        if index == requests.len() {
            requests.push(request.clone());
        } else {
            requests[index].clone_from(request);
        }
        group
    }

    // Held by attached threads only, so that a fork finds it free.
    fn requests(&self) -> MutexGuard<'_, Vec<Request>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An error when tasks may not have this priority.
    pub fn check_priority(&self, priority: Priority) -> PyResult<()> {
        if self.terms.has_levels || priority == Priority::NORMAL {
            return Ok(());
        }
        Err(PolicyError::new_err(
            "the scheduler of the executor has one level of priority only, TaskPriority.NORMAL",
        ))
    }

    pub fn most_abandoned(&self) -> usize {
        self.terms.most_abandoned
    }

    pub fn helps_outside(&self) -> bool {
        self.terms.helps_outside
    }

    /// An error in the child of a fork, which does not have the threads.
    pub fn check_fork(&self) -> PyResult<()> {
        if self.generation == pool::generation() {
            return Ok(());
        }
        Err(BrokenPoolError::new_err(
            "the process was forked: the threads of this executor are not in the child",
        ))
    }

    // ---- Submitting

    /// Accepts a call and returns its future.
    pub fn submit<'py>(
        self: &Arc<Self>,
        policy: Option<&Arc<Policy>>,
        function: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
        kwargs: Option<Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, Future>> {
        let py = function.py();
        let found = if self.terms.resolves { inputs::find(&args, kwargs.as_ref())? } else { Vec::new() };
        let task = Task::new(self, policy, function, args, kwargs)?;
        let future = future::create(self.terms.future_type.bind(py), task)?;
        if let Some(gate) = &self.terms.gate {
            self.pass(gate.bind(py))?;
        }
        let task = future.get().task().expect("it was created with its task");
        if policy.is_some_and(|policy| !policy.is_plain()) {
            timer::start(py); // now, as CPython 3.12 starts no threads at its end
        }
        if found.is_empty() {
            self.enqueue(&future, task)?;
        } else {
            self.crew.expect().map_err(|phase| self.closed(phase))?;
            Inputs::expect(&future, task, &found);
        }
        Ok(future)
    }

    fn pass(self: &Arc<Self>, gate: &Bound<'_, PyAny>) -> PyResult<()> {
        let is_own = station::current().is_some_and(|station| Arc::ptr_eq(&station.office, self));
        call::call(gate, [is_own.into_pyobject(gate.py())?.as_any()]).map(drop)
    }

    fn enqueue(self: &Arc<Self>, future: &Bound<'_, Future>, task: &Task) -> PyResult<()> {
        let py = future.py();
        let (group, priority) = task.order();
        let seat = station::seat_at(self);
        loop {
            match self.crew.submit(seat, group, priority, future.clone().unbind()) {
                Ok(accepted) => {
                    task.set_place(accepted.place);
                    return if accepted.starts { self.start_first(py, future, task) } else { Ok(()) };
                }
                Err((Refusal::Closed(phase), _)) => return Err(self.closed(phase)),
                Err((Refusal::Full, _)) => self.make_room(py)?,
            }
        }
    }

    /// Queues a ticket of a run that is under way, however many tasks wait.
    pub fn follow(
        self: &Arc<Self>,
        group: Group,
        priority: Priority,
        n_raised: u64,
        ticket: &Bound<'_, Future>,
    ) -> PyResult<()> {
        let starts = self.crew.follow(group, priority, n_raised, ticket.clone().unbind());
        let refused =
            |(phase, _)| if phase == Phase::Broken { self.closed(phase) } else { shut_down_meanwhile() };
        if starts.map_err(refused)? {
            self.start_needed(ticket.py())?;
        }
        Ok(())
    }

    /// Accepts the tasks of a run, whose end [`Office::end_run`] tells.
    pub fn begin_run(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        self.check_fork()?;
        if let Some(gate) = &self.terms.gate {
            self.pass(gate.bind(py))?;
        }
        loop {
            match self.crew.begin_run(station::is_at(self)) {
                Ok(()) => return Ok(()),
                Err(Refusal::Closed(phase)) => return Err(self.closed(phase)),
                Err(Refusal::Full) => self.make_room(py)?,
            }
        }
    }

    /// A run is over; what waits of it, `is_of_it` says, is forgotten.
    pub fn end_run(&self, groups: &[Group], has_rested: bool, is_of_it: impl Fn(&Step) -> bool) {
        if self.check_fork().is_err() {
            return;
        }
        let is_left = |future: &Py<Future>| future.get().task().and_then(Task::step).is_some_and(&is_of_it);
        let left = if has_rested { self.waiting().take_all(is_left) } else { Vec::new() };
        for _ in &left {
            self.crew.forget_pending();
        }
        drop(self.crew.end_run(groups, is_left));
    }

    /// Waits until there is room in the queue; a worker, on which that may depend, works instead.
    fn make_room(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let own = station::current().filter(|station| Arc::ptr_eq(&station.office, self));
        let is_full = || {
            let most = self.crew.settings().most_queued;
            QueueFullError::new_err(format!("{most} tasks wait already, and max_queued allows no more"))
        };
        match own {
            _ if !self.terms.blocks => Err(is_full()),
            Some(station) => {
                if station.makes_room(py) {
                    Ok(())
                } else {
                    Err(is_full())
                }
            }
            None => interpreter::wait_a_slice(py, |limit| self.crew.wait_for_room(limit)),
        }
    }

    /// An error when no tasks are accepted.
    pub fn check_open(&self) -> PyResult<()> {
        let phase = self.crew.snapshot().phase;
        if phase == Phase::Open { Ok(()) } else { Err(self.closed(phase)) }
    }

    fn closed(&self, phase: Phase) -> PyErr {
        if phase == Phase::Broken {
            let why = self.broken.get().map_or("the executor is broken", String::as_str);
            return BrokenPoolError::new_err(why.to_owned());
        }
        let when = if AT_EXIT.load(Ordering::Relaxed) { "interpreter shutdown" } else { "shutdown" };
        PoolClosedError::new_err(format!("cannot schedule new futures after {when}"))
    }

    /// Queues a task that was accepted before.
    pub fn admit(self: &Arc<Self>, future: &Bound<'_, Future>, task: &Task) {
        let (group, priority) = task.order();
        match self.crew.admit(group, priority, future.clone().unbind()) {
            Ok(accepted) => {
                task.set_place(accepted.place);
                if accepted.starts {
                    self.start_thread(future.py());
                }
            }
            Err(_) => self.fail_broken(future),
        }
    }

    // ---- Tasks that wait for something else than a worker

    // Held by attached threads only, so that a fork finds it free.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a task that waits for something else than a worker; its number.
    pub fn remember_waiting(&self, future: &Bound<'_, Future>) -> u64 {
        self.waiting().add(future)
    }

    pub fn is_waiting(&self, future: &Bound<'_, Future>) -> bool {
        self.waiting().numbers.contains_key(&(future.as_ptr() as usize))
    }

    /// Queues the task of this number, unless it was cancelled.
    pub fn begin_again(self: &Arc<Self>, py: Python<'_>, number: u64) {
        let future = self.waiting().take_numbered(number);
        if let Some(future) = &future
            && let Some(task) = future.get().task()
        {
            self.admit(future.bind(py), task);
        }
    }

    /// Forgets a task that waits; false when it does not.
    pub fn forget_waiting(&self, future: &Bound<'_, Future>) -> bool {
        let is_forgotten = self.forget_waiting_kept(future);
        if is_forgotten {
            self.crew.forget_pending();
        }
        is_forgotten
    }

    /// As `forget_waiting`, of a task that is about to be admitted.
    pub fn forget_waiting_kept(&self, future: &Bound<'_, Future>) -> bool {
        let forgotten = self.waiting().take(future);
        forgotten.is_some()
    }

    // ---- Threads

    /// Starts the first thread that a task needs, or gives the task back.
    fn start_first(
        self: &Arc<Self>,
        py: Python<'_>,
        future: &Bound<'_, Future>,
        task: &Task,
    ) -> PyResult<()> {
        self.start_needed(py).inspect_err(|_| {
            task.withdraw(future);
            task.clear(py);
        })
    }

    /// Starts a thread for a task; an error when there is none then, or a signal came in between.
    fn start_needed(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let started = self.try_start_thread(py);
        let is_interrupt = started.as_ref().is_err_and(|error| !error::is_ordinary(py, error));
        // Others that are there will come to it.
        if !is_interrupt && self.crew.snapshot().n_threads > 0 { Ok(()) } else { started }
    }

    /// Starts a thread; where none can be had those that are there have to do.
    pub fn start_thread(self: &Arc<Self>, py: Python<'_>) {
        let Err(error) = self.try_start_thread(py) else { return };
        // CPython 3.12 starts no threads at its end: when there are none, nobody will come to what waits.
        let is_stranded = AT_EXIT.load(Ordering::Relaxed) && self.crew.snapshot().n_threads == 0;
        if !is_stranded || self.break_down(py, "no thread can be started at the end of the interpreter") > 0 {
            error.write_unraisable(py, None);
        }
    }

    fn try_start_thread(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let post = Bound::new(py, Post(Arc::clone(self)))?;
        let started = station::shielded(py, || call::call(self.terms.starter.bind(py), [post.as_any()]));
        started.map(drop).inspect_err(|_| self.crew.start_failed())
    }

    /// The life of a worker.
    fn serve(self: &Arc<Self>, py: Python<'_>, initialize: &Bound<'_, PyAny>) {
        let _at_work = AtWork::enter();
        if !initialize.is_none()
            && !call::call(initialize, []).is_ok_and(|is_ready| is_ready.is_truthy().unwrap_or(false))
        {
            self.break_down(py, "a thread initializer failed, the thread pool is not usable anymore");
        }
        let seat = self.crew.sign_on();
        let (_on_duty, station) = OnDuty::enter(self, seat);
        let mut next = self.crew.first(seat);
        let mut since = Instant::now();
        loop {
            next = match next {
                Next::Leave => return,
                Next::Wait => {
                    if !interpreter::wait(py, || self.crew.wait(seat)) {
                        return;
                    }
                    since = Instant::now();
                    self.crew.first(seat)
                }
                Next::Work(turn) => self.work(py, &station, turn, &mut since),
            }
        }
    }

    fn work(
        self: &Arc<Self>,
        py: Python<'_>,
        station: &Station,
        turn: Turn<Py<Future>>,
        since: &mut Instant,
    ) -> Next<Py<Future>> {
        let future = turn.item.into_bound(py);
        let ran = self.run(&future, Some(&station.watch));
        drop(future);
        let now = Instant::now();
        self.count_time(now.duration_since(*since));
        *since = now;
        match ran {
            Ran::Ended => self.crew.next(station.seat, turn.group),
            Ran::Overdue => self.crew.come_back(station.seat, turn.group),
        }
    }

    /// Runs a task, and leaves what goes wrong on its future.
    fn run(&self, future: &Bound<'_, Future>, watch: Option<&Arc<Watch>>) -> Ran {
        let py = future.py();
        let ran = catch_unwind(AssertUnwindSafe(|| self.attempt(future, watch)));
        let ran = ran.unwrap_or_else(|_| {
            let text = "a worker panicked: this is a bug in dask_ferris, please report it";
            let error = InternalError::new_err(text);
            match future.get().task().and_then(Task::step) {
                Some(step) => step.give_up(error),
                None => future::settle(future, Err(error))?,
            }
            Ok(Ran::Ended)
        });
        ran.unwrap_or_else(|error| {
            log_escaped(py, &error);
            Ran::Ended
        })
    }

    #[inline]
    fn attempt(&self, future: &Bound<'_, Future>, watch: Option<&Arc<Watch>>) -> PyResult<Ran> {
        let py = future.py();
        if future.get().stage().is_over() {
            // An errand, or a user has ended it: it was counted as a task that begins.
            self.count_repeated();
            forget_call(future);
            return future::run_deferred(future).map(|()| Ran::Ended);
        }
        let Some(task) = future.get().task() else { return Ok(Ran::Ended) };
        if task.step().is_some_and(|step| !step.begin(py)) {
            self.count_repeated(); // it was counted as a task that begins
            return Ok(Ran::Ended);
        }
        match task.policy() {
            Some(policy) if !policy.is_plain() || task.step().is_some_and(Step::has_deadline) => {
                attempt::run(future, task, policy, watch)
            }
            _ => task::run_plain(future, task).map(|()| Ran::Ended),
        }
    }

    /// Has a worker run the callbacks of a future that the timer has ended.
    pub fn send_errand(self: &Arc<Self>, future: &Bound<'_, Future>) {
        match self.crew.send_errand(future.clone().unbind()) {
            Ok(true) => self.start_thread(future.py()),
            Ok(false) => {}
            Err(_) => {
                if let Err(error) = future::run_deferred(future) {
                    log_escaped(future.py(), &error);
                }
            }
        }
    }

    /// Runs a task on a thread that waits for it.
    pub fn run_helped(self: &Arc<Self>, future: &Bound<'_, Future>) {
        let began = Instant::now();
        self.run(future, None);
        self.count_time(began.elapsed());
    }

    // ---- Numbers

    pub fn count(&self, is_ok: bool) {
        let totals = &self.crew.totals;
        let total = if is_ok { &totals.n_completed } else { &totals.n_failed };
        total.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an attempt that ended, and is not the last.
    pub fn count_repeated(&self) {
        self.crew.totals.n_repeated.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a task that failed without having been started.
    pub fn count_unstarted_failure(&self) {
        self.crew.totals.n_started.fetch_add(1, Ordering::Relaxed);
        self.count(false);
    }

    fn count_time(&self, time: Duration) {
        self.crew.totals.time.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }

    // ---- The end

    /// At its end the interpreter does not wait long for what runs.
    pub fn disown(&self) {
        self.is_abandoned.store(true, Ordering::Relaxed);
    }

    /// Accepts nothing more; with `cancels`, what has not begun is cancelled.
    pub fn close(&self, py: Python<'_>, cancels: bool) -> PyResult<()> {
        if self.check_fork().is_err() {
            return Ok(()); // there are no threads, and one that is not there may hold the lock
        }
        self.is_closed.store(true, Ordering::Relaxed);
        let mut queued = self.crew.close(cancels);
        if cancels {
            let waiting = self.waiting().drain();
            for _ in &waiting {
                self.crew.forget_pending();
            }
            queued.extend(waiting);
        }
        // Each of them, whatever a callback of one raises.
        let mut first = Ok(());
        for future in &queued {
            first = first.and(self.cancel(future.bind(py)));
        }
        first
    }

    fn cancel(&self, future: &Bound<'_, Future>) -> PyResult<()> {
        if future.get().stage().is_over() {
            return future::run_deferred(future); // an errand, or a user has ended it
        }
        let ended = future::end(future, Stage::Pending, Stage::Notified);
        if !future.get().is_cancelled() {
            return Ok(()); // a user has ended it meanwhile
        }
        self.note_cancelled(future);
        ended
    }

    /// Counts a task that was cancelled, and drops its call.
    pub fn note_cancelled(&self, future: &Bound<'_, Future>) {
        self.crew.totals.n_cancelled.fetch_add(1, Ordering::Relaxed);
        forget_call(future);
        if let Some(task) = future.get().task()
            && let Some(step) = task.step()
        {
            step.finish(future.py(), Err(shut_down_meanwhile()), task.n_attempts());
        }
    }

    /// Fails everything that has not begun, and accepts nothing more; how many tasks have failed.
    pub fn break_down(&self, py: Python<'_>, why: &str) -> usize {
        let _ = self.broken.set(why.to_owned());
        self.is_closed.store(true, Ordering::Relaxed);
        let mut queued = self.crew.shatter();
        queued.extend(self.waiting().drain());
        let n_failed = queued.iter().filter(|future| !future.get().stage().is_over()).count();
        for future in &queued {
            self.fail_broken(future.bind(py));
        }
        n_failed
    }

    /// As [`Office::break_down`], on a thread of its own: callbacks may take long.
    pub fn start_break_down(self: &Arc<Self>, py: Python<'_>, why: &str) {
        self.is_closed.store(true, Ordering::Relaxed);
        let start = || {
            let post = Bound::new(py, Post(Arc::clone(self)))?;
            let start = py.import("dask_ferris._team")?.getattr("start_break_down")?;
            call::call(&start, [post.as_any(), PyString::new(py, why).as_any()])
        };
        if let Err(error) = start() {
            error.write_unraisable(py, None);
            self.break_down(py, why);
        }
    }

    /// Waits until all is done and every thread has gone, those abandoned apart.
    pub fn wait_until_gone(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        if self.check_fork().is_err() {
            return Ok(());
        }
        if station::is_at(self) {
            let text = "a task can not wait for the end of its own executor; call shutdown(wait=False)";
            return Err(PyRuntimeError::new_err(text));
        }
        wait_for(py, |limit| self.crew.wait_until_gone(limit))
    }

    pub fn broken(&self) -> Option<&str> {
        self.broken.get().map(String::as_str)
    }

    fn fail_broken(&self, future: &Bound<'_, Future>) {
        if future.get().stage().is_over() {
            if let Err(error) = future::run_deferred(future) {
                log_escaped(future.py(), &error);
            }
            return;
        }
        self.count_unstarted_failure();
        let error = self.closed(Phase::Broken);
        if let Some(task) = future.get().task() {
            task.clear(future.py());
            if let Some(step) = task.step() {
                return step.finish(future.py(), Err(error), task.n_attempts());
            }
        }
        if let Err(error) = future::settle(future, Err(error)) {
            log_escaped(future.py(), &error);
        }
    }
}

/// Waits without a limit for something that is waited for with one; a signal ends the wait.
fn wait_for(py: Python<'_>, wait: impl Fn(Duration) -> bool + Sync) -> PyResult<()> {
    while !wait(Duration::ZERO) {
        interpreter::wait_a_slice(py, |limit| {
            wait(limit);
        })?;
    }
    Ok(())
}

fn shut_down_meanwhile() -> PyErr {
    PoolClosedError::new_err("the executor was shut down before the run was over")
}

/// Drops the call of a future that has ended, and shows what is left of it to the collector.
fn forget_call(future: &Bound<'_, Future>) {
    if let Some(task) = future.get().task() {
        task.clear(future.py());
        collector::show(future.as_any());
    }
}

/// Logs what nobody is left to catch, as the standard library does.
fn log_escaped(py: Python<'_>, error: &PyErr) {
    let log = || {
        let log = py.import("dask_ferris._future")?.getattr("log_escaped")?;
        call::call(&log, [error.value(py).as_any()])
    };
    if let Err(error) = log() {
        error.write_unraisable(py, None);
    }
}

/// What a worker thread is started with.
#[pyclass(frozen, module = "dask_ferris._native")]
pub struct Post(pub Arc<Office>);

#[pymethods]
impl Post {
    /// Serve the executor until its end; `initialize` returns whether the thread is ready.
    fn serve(&self, py: Python<'_>, initialize: &Bound<'_, PyAny>) {
        self.0.serve(py, initialize);
    }

    /// Fail everything that has not begun, and accept nothing more.
    fn break_down(&self, py: Python<'_>, why: &str) {
        self.0.break_down(py, why);
    }
}

/// Every office of this process that somebody has; locked by attached threads only.
static OFFICES: Mutex<Vec<Weak<Office>>> = Mutex::new(Vec::new());

fn offices() -> MutexGuard<'static, Vec<Weak<Office>>> {
    OFFICES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An office that is waited for at the end of the interpreter; at the end it is closed from the start.
pub fn open(terms: Terms) -> Arc<Office> {
    register(Office::new(terms))
}

fn register(office: Office) -> Arc<Office> {
    let office = Arc::new(office);
    if AT_EXIT.load(Ordering::Relaxed) {
        office.crew.close(false);
    }
    let mut offices = offices();
    offices.retain(|office| office.strong_count() > 0);
    offices.push(Arc::downgrade(&office));
    office
}

/// The spare and the abandoned threads of all executors.
pub fn count_threads() -> (usize, usize) {
    let all: Vec<_> = offices().iter().filter_map(Weak::upgrade).collect();
    let snapshots =
        all.iter().filter(|office| office.check_fork().is_ok()).map(|office| office.crew.snapshot());
    snapshots
        .fold((0, 0), |(n_spare, n_abandoned), look| (n_spare + look.n_spare, n_abandoned + look.n_abandoned))
}

/// Let every executor finish what it was given, also those that nobody has any more, and accept nothing else.
#[pyfunction]
pub fn finish_executors(py: Python<'_>) -> PyResult<()> {
    AT_EXIT.store(true, Ordering::Relaxed);
    let all: Vec<_> = offices().iter().filter_map(Weak::upgrade).collect();
    let mut first = Ok(());
    for office in &all {
        first = first.and(office.close(py, false));
    }
    let (left, kept): (Vec<_>, Vec<_>) =
        all.iter().partition(|office| office.is_abandoned.load(Ordering::Relaxed));
    first = first.and_then(|()| kept.iter().try_for_each(|office| office.wait_until_gone(py)));
    let left = || left.iter().filter(|office| office.check_fork().is_ok());
    first = first
        .and_then(|()| left().try_for_each(|office| wait_for(py, |limit| office.crew.wait_for_runs(limit))));
    let end = Instant::now() + LEFTOVERS;
    for office in left() {
        let wait = || office.crew.wait_until_gone(end.saturating_duration_since(Instant::now()));
        interpreter::wait(py, wait);
    }
    first
}

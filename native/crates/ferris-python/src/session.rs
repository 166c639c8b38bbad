//! One run, from the compiled graph to the values: the workers' side.
//!
//! Whoever works on a run is attached to the interpreter, and so is whoever drops it: a graph owns Python
//! objects.  Helpers hold a run by reference count while they work; in the queue of the pool lies only a ticket,
//! which the caller withdraws at the end.

use ferris_core::graph::Graph;
use ferris_core::pool::{Demand, Ticket};
use ferris_core::run::{Hands, Next, Outcome, Run, run_alone};
use ferris_core::width::{Policy, Step, Watch};
use pyo3::ffi;
use pyo3::prelude::*;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::blas::BlasCount;
use crate::call::{self, Object};
use crate::compile::Compiled;
use crate::error::{self, InternalError};
use crate::interpret::{Interpreter, Raised};
use crate::interpreter;
use crate::pool::{self, Call};
use crate::program::{Owned, Payload, Program};
use crate::station::Patience;

/// Signals and others that wait are looked at when this much time has passed.
const BETWEEN_LOOKS: Duration = Duration::from_micros(500);

/// So many short tasks may pass before the clock is looked at, which takes 20 to 30 ns; so many long ones may follow
/// short ones before Ctrl-C is seen.
const MOST_BETWEEN_LOOKS: u32 = 8;

/// The caller steps aside after a task that took longer than this, if it is the main thread: only there Python looks at
/// signals, and not before a call into C has returned.
pub const LONG: Duration = Duration::from_millis(50);

/// What every worker of a run needs, beside the run itself.
pub struct Job {
    pub program: Program,
    pub blas: BlasCount,
    /// The caller's context; each task runs in a copy of its own.
    context: Owned,
    /// `_check.compare`, when tasks are to be run both ways.
    compare: Option<Py<PyAny>>,
}

impl Job {
    /// The job of running a program in the context of this thread.
    pub fn new(
        py: Python<'_>,
        program: Program,
        limits_blas: bool,
        compare: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        Ok(Self { program, blas: BlasCount::new(limits_blas), context: current_context(py)?, compare })
    }
}

/// A run that other threads may join.
pub struct SharedRun {
    run: Run<Payload>,
    job: Job,
    /// The first failure wins.
    failure: Mutex<Option<PyErr>>,
    ticket: OnceLock<Arc<Ticket<Call>>>,
    /// The run's share of the pool.  It ends with the last helper, not with the caller: a helper that is stuck in
    /// a task of a run that failed must not be counted on by the next run.
    _share: pool::Share,
}

/// How a run is to be done.
pub struct Plan {
    pub num_workers: usize,
    pub width: Policy,
    pub limits_blas: bool,
    pub compare: Option<Py<PyAny>>,
}

/// Runs a compiled graph and hands the finished graph and the targets to `collect`.
pub fn run<T>(
    py: Python<'_>,
    compiled: Compiled,
    plan: Plan,
    collect: impl FnOnce(&Graph<Payload>, &[u32]) -> PyResult<T>,
) -> PyResult<T> {
    let Compiled { graph, program, targets } = compiled;
    let job = Job::new(py, program, plan.limits_blas, plan.compare)?;
    let is_guest = interpreter::has_running_loop(py)?;
    let n_most = plan.num_workers.min(graph.n_to_run());
    if n_most <= 1 && !is_guest {
        Worker::new(py, &job, None).run_alone(&graph)?;
        return collect(&graph, &targets);
    }
    let shared = Arc::new(SharedRun {
        run: Run::new(graph, n_most, plan.width),
        job,
        failure: Mutex::new(None),
        ticket: OnceLock::new(),
        // One more than needed, unless the caller steps aside.
        _share: pool::Share::take(demand(n_most)),
    });
    let generation = pool::generation();
    let _recall = Recall { py, shared: &shared, generation };
    if is_guest || call_workers(py, &shared, generation) == Left::StepsAside {
        wait_as_guest(py, &shared, generation);
    }
    shared.take_failure().map_or(Ok(()), Err)?;
    collect(shared.run.graph(), &targets)
}

/// The demand of a run that starts now for this many threads beside its caller's.
pub fn demand(n_helpers: usize) -> Demand {
    if is_at_work() { Demand::Nested(n_helpers) } else { Demand::Outer(n_helpers) }
}

/// Why the caller has stopped working on a run.
#[derive(PartialEq, Eq)]
enum Left {
    Over,
    StepsAside,
}

/// Works on a shared run as its caller, to the end or until others are to do it.
fn call_workers(py: Python<'_>, shared: &Arc<SharedRun>, generation: usize) -> Left {
    let mut worker = Worker::new(py, &shared.job, Some(shared)).for_caller();
    let mut seat = shared.run.caller();
    let mut goes_on = true;
    while goes_on && !shared.run.is_over() {
        worker.guard(|worker| goes_on = shared.run.work(&mut seat, worker));
        if goes_on && let Err(error) = wait_for_news(py, shared, generation) {
            shared.fail(error);
        }
        worker.looked_at = Instant::now(); // the wait was no task
    }
    pool::count_steals(seat.take_n_steals());
    shared.run.dismiss(seat);
    if goes_on { Left::Over } else { Left::StepsAside }
}

/// Leaves a shared run to helpers: tasks are not to run on this thread.
///
/// Where no thread can be had there is nobody but the caller.
fn wait_as_guest(py: Python<'_>, shared: &Arc<SharedRun>, generation: usize) {
    let mut worker = Worker::new(py, &shared.job, Some(shared));
    shared.run.replace_caller();
    shared.run.begin(&mut worker);
    let mut patience = Patience::default();
    while !shared.run.is_over() {
        let sleep = |limit| shared.run.wait_for_end(limit);
        let waited = patience.wait(py, sleep, || !shared.run.is_over());
        if let Err(error) = waited.and_then(|()| check_helpers(shared, generation)) {
            shared.fail(error);
        }
        if shared.run.is_deserted() && !pool::may_answer() {
            let mut seat = shared.run.caller();
            worker.guard(|worker| {
                shared.run.work(&mut seat, worker);
            });
            shared.run.dismiss(seat);
        }
    }
    patience.end(py);
}

/// Waits until there is something to do for the caller, or nothing any more.
fn wait_for_news(py: Python<'_>, shared: &SharedRun, generation: usize) -> PyResult<()> {
    let goes_on = || !shared.run.has_news() && pool::generation() == generation;
    let (mut patience, mut waited) = (Patience::default(), Ok(()));
    while waited.is_ok() && goes_on() {
        waited = patience.wait(py, |limit| shared.run.wait(limit), goes_on);
    }
    patience.end(py);
    waited?;
    if shared.run.has_news() { Ok(()) } else { check_helpers(shared, generation) }
}

/// An error when helpers have tasks that are not over, and the process is a fork without its parent's threads.
fn check_helpers(shared: &SharedRun, generation: usize) -> PyResult<()> {
    if pool::generation() == generation || shared.run.is_over() {
        return Ok(());
    }
    let text = "the process was forked while tasks ran on other threads, which the child does not have";
    Err(InternalError::new_err(text))
}

/// Works on a shared run as a helper, until there is nothing to do.
pub fn help(py: Python<'_>, shared: &Arc<SharedRun>) -> Next {
    let mut worker = Worker::new(py, &shared.job, Some(shared));
    let (mut n_steals, mut next) = (0, Next::Go);
    worker.guard(|worker| (n_steals, next) = shared.run.help(worker));
    pool::count_steals(n_steals);
    next
}

impl SharedRun {
    /// Ends the run with an error, unless it has one.
    fn fail(&self, error: PyErr) {
        let refused = {
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            if failure.is_none() { failure.replace(error) } else { Some(error) }
        };
        drop(refused); // outside the lock: it may run a destructor
        self.run.stop();
    }

    fn take_failure(&self) -> Option<PyErr> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn call_one_more(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        pool::call(py, self.ticket())
    }

    /// What a thread that watches the run is to do.
    pub fn look(&self, watch: &mut Watch) -> Step {
        watch.look(self.run.width(), || self.run.is_over())
    }

    /// The invitation to this run, made when first needed.
    fn ticket(self: &Arc<Self>) -> &Arc<Ticket<Call>> {
        self.ticket.get_or_init(|| Arc::new(Ticket::new(Call::Run(Arc::clone(self)))))
    }
}

/// Withdraws the invitation when the caller is done, however that came, and gives BLAS back.
struct Recall<'a, 'py> {
    py: Python<'py>,
    shared: &'a Arc<SharedRun>,
    generation: usize,
}

impl Drop for Recall<'_, '_> {
    fn drop(&mut self) {
        let SharedRun { run, job, ticket, .. } = &**self.shared;
        job.blas.close(self.py);
        pool::keep_history(run.width().take_history());
        if let Some(ticket) = ticket.get() {
            pool::withdraw(ticket, self.generation);
        }
    }
}

/// A thread at work on a run: the hands of `ferris_core::run`.
pub struct Worker<'a, 'py> {
    py: Python<'py>,
    job: &'a Job,
    shared: Option<&'a Arc<SharedRun>>,
    /// For a run that is not shared: whether others compute its tasks as well.
    company: Option<&'a dyn Fn() -> bool>,
    interpreter: Interpreter,
    n_tasks: u64,
    began: Instant,
    has_entered_blas: bool,
    is_caller: bool,
    /// No more tasks for this thread.
    steps_aside: bool,
    looked_at: Instant,
    /// Tasks from one look to the next, and those that are left of them.
    stride: u32,
    until_look: u32,
    /// What stopped a run that nobody shares.
    failure: Option<PyErr>,
}

impl<'a, 'py> Worker<'a, 'py> {
    /// A worker on a job, or on a run that others share.
    pub fn new(py: Python<'py>, job: &'a Job, shared: Option<&'a Arc<SharedRun>>) -> Self {
        let now = Instant::now();
        Self {
            py,
            job,
            shared,
            company: None,
            interpreter: Interpreter::default(),
            n_tasks: 0,
            began: now,
            has_entered_blas: false,
            is_caller: false,
            steps_aside: false,
            looked_at: now,
            stride: 1,
            until_look: 2, // a run of one task need not look
            failure: None,
        }
    }

    /// Lets the worker know whether others compute tasks of the same run.
    pub fn beside(mut self, company: &'a dyn Fn() -> bool) -> Self {
        self.company = Some(company);
        self
    }

    /// Marks the worker as the one whose thread has asked for the run.
    fn for_caller(mut self) -> Self {
        self.is_caller = true;
        self
    }

    fn run_alone(&mut self, graph: &Graph<Payload>) -> PyResult<()> {
        self.guard(|worker| {
            run_alone(graph, worker);
        });
        self.failure.take().map_or(Ok(()), Err)
    }

    /// Computes one task; a panic becomes its error.
    pub fn attempt_one(&mut self, graph: &Graph<Payload>, index: u32) -> PyResult<Owned> {
        let mut outcome = None;
        self.guard(|worker| outcome = Some(worker.tick().and_then(|()| worker.attempt(graph, index))));
        self.failure.take().map_or_else(|| outcome.expect("the task was attempted"), Err)
    }

    /// Works, with the thread marked as being at work; a panic becomes a failure of the run.
    fn guard(&mut self, work: impl FnOnce(&mut Self)) {
        let _at_work = AtWork::enter();
        if catch_unwind(AssertUnwindSafe(|| work(self))).is_err() {
            let text = "a worker panicked: this is a bug in dask_ferris, please report it";
            self.fail(InternalError::new_err(text));
        }
    }

    /// Ends the run with an error.
    fn fail(&mut self, error: PyErr) {
        match self.shared {
            Some(shared) => shared.fail(error),
            None => self.failure = Some(error),
        }
    }

    /// Looks at the clock from time to time.
    #[inline]
    fn tick(&mut self) -> PyResult<()> {
        self.n_tasks += 1;
        self.until_look -= 1;
        if self.until_look == 0 { self.look_at_clock() } else { Ok(()) }
    }

    /// While tasks are short, only some of them are followed by a look.
    #[cold]
    fn look_at_clock(&mut self) -> PyResult<()> {
        let elapsed = self.looked_at.elapsed();
        if elapsed < BETWEEN_LOOKS {
            self.stride = (self.stride * 2).min(MOST_BETWEEN_LOOKS);
            self.until_look = self.stride;
            return Ok(());
        }
        // After tasks of some length each one is followed by a look, so the time is that of the last one.
        if elapsed > LONG && self.stride == 1 && self.is_caller {
            self.steps_aside = interpreter::is_main_thread(self.py)?;
        }
        (self.stride, self.until_look) = (1, 1);
        let looked = self.look_up();
        self.looked_at = Instant::now();
        looked
    }

    /// Looks at whoever waits: other threads, BLAS, signals.
    fn look_up(&mut self) -> PyResult<()> {
        interpreter::give_way(self.py)?;
        if !self.has_entered_blas && self.began.elapsed() > BEFORE_BLAS && self.is_in_company() {
            self.has_entered_blas = true;
            self.job.blas.enter(self.py)?;
        }
        self.py.check_signals()
    }

    /// True when others work on the same run.
    fn is_in_company(&self) -> bool {
        self.shared.is_some_and(|shared| !shared.run.width().is_alone())
            || self.company.is_some_and(|has_company| has_company())
    }

    /// Computes a task in a context of its own.
    #[inline]
    fn attempt(&mut self, graph: &Graph<Payload>, index: u32) -> PyResult<Owned> {
        attempt(self.py, self.job, &mut self.interpreter, graph, index, || ())
    }
}

/// Computes a task in a context of its own; `leave` is called when that is done, before anything else can run.
#[inline]
pub fn attempt(
    py: Python<'_>,
    job: &Job,
    interpreter: &mut Interpreter,
    graph: &Graph<Payload>,
    index: u32,
    mut leave: impl FnMut(),
) -> PyResult<Owned> {
    let program = &job.program;
    let task = || {
        // SAFETY: `py` says that the thread is attached; the run has made the task ready, and the program is
        // the graph's own.
        let value = unsafe { interpreter.run(program, graph, index) };
        let value = value.map_or_else(|Raised| Err(PyErr::fetch(py)), |object| adopt(py, object));
        leave();
        value
    };
    let value = in_context(py, &job.context, task);
    let value = value.map_err(|error| error::note_key(error, &program.key(py, index)))?;
    if let Some(compare) = &job.compare {
        compare_ways(py, job, compare.bind(py), graph, index, &value)?;
    }
    Ok(value)
}

/// Computes the task once more, as Dask would, and compares.
fn compare_ways(
    py: Python<'_>,
    job: &Job,
    compare: &Bound<'_, PyAny>,
    graph: &Graph<Payload>,
    index: u32,
    value: &Owned,
) -> PyResult<()> {
    let program = &job.program;
    let values = pyo3::types::PyDict::new(py);
    for &input in graph.dependencies(index) {
        // SAFETY: the task has run, so its inputs have values, and they live until it is settled.
        let input_value = unsafe { error::borrow(py, graph.payload(input).value.get()) };
        call::set_item(&values, &program.key(py, input), &input_value)?;
    }
    // SAFETY: `value` owns the object.
    let value = unsafe { error::borrow(py, value.get()) };
    let (key, node) = (program.key(py, index), program.node(py, index));
    let call = || call::call(compare, [&key, &node, values.as_any(), &value]).map(Owned::from_bound);
    in_context(py, &job.context, call).map(drop)
}

impl Hands<Payload> for Worker<'_, '_> {
    #[inline]
    fn compute(&mut self, graph: &Graph<Payload>, index: u32) -> Outcome {
        let outcome = match self.tick() {
            Ok(()) if self.steps_aside => {
                self.n_tasks -= 1;
                return Outcome::Declined;
            }
            Ok(()) => self.attempt(graph, index),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(value) => {
                graph.payload(index).value.set(value.into_raw());
                Outcome::Done
            }
            // Before the run is stopped: the caller looks for the error as soon as it is over.
            Err(error) => {
                self.fail(error);
                Outcome::Failed
            }
        }
    }

    fn kind(&self, graph: &Graph<Payload>, index: u32) -> u64 {
        self.job.program.kind(self.py, graph.payload(index), index)
    }

    fn cpu_time(&self) -> Duration {
        interpreter::cpu_time(self.py)
    }

    #[inline]
    fn release(&mut self, payload: &Payload) {
        // SAFETY: the thread is attached, and the run says that nobody needs the value any more.
        unsafe { payload.value.clear() };
    }

    fn call_one_more(&mut self) {
        if let Some(shared) = self.shared
            && let Err(error) = shared.call_one_more(self.py)
        {
            shared.fail(error);
        }
    }
}

impl Drop for Worker<'_, '_> {
    fn drop(&mut self) {
        pool::count_tasks(self.n_tasks);
    }
}

/// A worker that has worked for less time than this does not look for BLAS: to find it takes about as long.
pub const BEFORE_BLAS: Duration = Duration::from_millis(5);

/// The caller's context, copied: what it changes later does not reach the tasks.
fn current_context(py: Python<'_>) -> PyResult<Owned> {
    // SAFETY: the thread is attached.
    adopt(py, unsafe { ffi::PyContext_CopyCurrent() })
}

/// Runs a task in a copy of `context`, so that what it sets is seen by nobody else.
#[inline]
fn in_context(py: Python<'_>, context: &Owned, task: impl FnOnce() -> PyResult<Owned>) -> PyResult<Owned> {
    // SAFETY: the thread is attached; a context is entered and left by the same thread, around the task.
    unsafe {
        let copy = adopt(py, ffi::PyContext_Copy(context.get()))?;
        if ffi::PyContext_Enter(copy.get()) != 0 {
            return Err(PyErr::fetch(py));
        }
        let value = task();
        let left = ffi::PyContext_Exit(copy.get());
        if left == 0 { value } else { Err(PyErr::fetch(py)) }
    }
}

/// A new reference that is null when Python has raised.
#[inline]
fn adopt(py: Python<'_>, object: Object) -> PyResult<Owned> {
    // SAFETY: the thread is attached, and the caller gives the reference away.
    unsafe { Owned::adopt(object) }.ok_or_else(|| PyErr::fetch(py))
}

thread_local! {
    /// How many runs this thread is at work on, one inside the other.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Whether this thread is inside a task: a run that starts now is nested.
#[pyfunction]
pub fn is_at_work() -> bool {
    DEPTH.get() > 0
}

/// This thread is inside a task for as long as this lives.
pub struct AtWork;

impl AtWork {
    pub fn enter() -> Self {
        DEPTH.set(DEPTH.get() + 1);
        Self
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

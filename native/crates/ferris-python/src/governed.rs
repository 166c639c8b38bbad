//! A run whose tasks have policies: each becomes a task of an executor when it is ready.
//!
//! The executor knows what to do about priorities, attempts, limits of time and resources; the run knows what follows from
//! what.  A task of the run that has its value is settled by the thread that computed it: values that lost their last
//! consumer are dropped, and dependents that became ready are submitted, so that a worker with a queue of its own goes on
//! with them, newest first.  Who asked for the run waits for its end; only a worker of the same executor computes tasks of
//! it meanwhile.

use ferris_core::graph::{Graph, Shared};
use pyo3::ffi;
use pyo3::import_exception;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::attempt;
use crate::call;
use crate::compile::{Compiled, compile};
use crate::error::{self, InternalError};
use crate::executor::Executor;
use crate::future::{self, Future};
use crate::interpret::Interpreter;
use crate::office::Office;
use crate::policy::{Policy, Words};
use crate::pool;
use crate::program::{Owned, Payload, Program, Work};
use crate::request::Request;
use crate::session::{self, Job};
use crate::station::{self, Patience};
use crate::task::Task;

import_exception!(dask_ferris.exceptions, TaskTimeoutError);
import_exception!(dask_ferris.exceptions, UpstreamFailedError);

/// One execution of a graph on the threads of an executor.
pub struct Governed {
    graph: Graph<Payload>,
    job: Job,
    office: Arc<Office>,
    policies: Vec<Arc<Policy>>,
    /// The position of its policy, by task.
    policy_of: Vec<u32>,
    /// Targets that have not finished.
    unfinished: AtomicUsize,
    /// All targets have finished, or the run was stopped: no task starts any more.
    over: AtomicBool,
    /// The first failure wins; with it who waits for the end.
    failure: Mutex<Option<PyErr>>,
    ended: Condvar,
    /// When the run has to be over.
    deadline: Option<Deadline>,
    /// Which tasks have failed, when the run goes on after that.
    failed: Option<Box<[AtomicBool]>>,
    record: Mutex<Record>,
    /// Inputs of tasks whose time was up: an attempt that was abandoned may read them for as long as it goes on, which keeps
    /// the run alive.
    pinned: Mutex<HashSet<u32>>,
    has_pinned: AtomicBool,
    began: Instant,
    /// The workers are counted among those that share the cores with BLAS.
    holds_blas: AtomicBool,
}

/// The end of the time that a run has.
#[derive(Clone, Copy)]
struct Deadline {
    at: Instant,
    after: Duration,
}

impl Deadline {
    fn after(seconds: f64) -> Option<Self> {
        let after = Duration::try_from_secs_f64(seconds).ok()?;
        Some(Self { at: Instant::now().checked_add(after)?, after })
    }

    fn left(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }
}

/// What a run tells of its tasks, by index.
#[derive(Default)]
struct Record {
    /// Tasks that were attempted more than once, and how often.
    repeated: Vec<(u32, u32)>,
    timed_out: Vec<u32>,
    failed: Vec<u32>,
    upstream_failed: Vec<u32>,
    n_done: usize,
}

/// A task of a run.
pub struct Step {
    run: Arc<Governed>,
    index: u32,
}

impl Step {
    /// Computes the task; `leave` is called when that is done, before anything else can run.
    pub fn compute<'py>(&self, py: Python<'py>, leave: impl FnMut()) -> PyResult<Bound<'py, PyAny>> {
        let run = &*self.run;
        if run.is_over() {
            return Ok(py.None().into_bound(py)); // nobody asks for it any more
        }
        pool::count_tasks(1);
        run.hold_blas_back(py)?;
        session::attempt(py, &run.job, &mut Interpreter::default(), &run.graph, self.index, leave)
            .map(|value| value.into_bound(py))
    }

    /// Accounts for the end of the task, after so many attempts.
    pub fn finish(&self, py: Python<'_>, outcome: PyResult<Bound<'_, PyAny>>, n_attempts: u32) {
        if n_attempts > 1 {
            self.run.record().repeated.push((self.index, n_attempts));
        }
        self.run.finish(py, self.index, outcome);
    }

    /// True when the whole run has to be over at some time.
    pub fn has_deadline(&self) -> bool {
        self.run.deadline.is_some()
    }

    /// How long an attempt may take, of which the policy says `limit`.
    pub fn limit(&self, limit: Option<Duration>) -> Option<Duration> {
        let left = self.run.deadline.map(Deadline::left);
        limit.into_iter().chain(left).min()
    }

    /// Notes that the time of an attempt was up; the error when it is the time of the whole run.
    pub fn note_timeout(&self) -> Option<PyErr> {
        self.run.record().timed_out.push(self.index);
        self.run.pin(self.run.graph.dependencies(self.index));
        self.run.overdue()
    }

    /// True when nobody asks for the outcome any more.
    pub fn is_over(&self) -> bool {
        self.run.is_over()
    }

    /// The key of an input that the last attempt may have used up, if there is one: an iterator.
    pub fn spent_input(&self, py: Python<'_>) -> Option<String> {
        let run = &*self.run;
        let mut inputs = run.graph.dependencies(self.index).iter();
        let spent = inputs.find(|&&input| {
            // SAFETY: the thread is attached, and the inputs of a task that is not settled have values.
            unsafe { ffi::PyIter_Check(run.graph.payload(input).value.get()) != 0 }
        });
        spent.map(|&input| error::repr(&run.job.program.key(py, input)))
    }

    /// What the task is called in messages.
    pub fn describe(&self, py: Python<'_>) -> String {
        error::repr(&self.run.job.program.key(py, self.index))
    }
}

impl Governed {
    /// True when no task will start any more.
    fn is_over(&self) -> bool {
        // Acquire: who sees the end sees the values of all targets.
        self.over.load(Ordering::Acquire)
    }

    fn failure(&self) -> MutexGuard<'_, Option<PyErr>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets BLAS use the cores divided by the workers, all of which are counted in at once when the run takes long enough.
    fn hold_blas_back(&self, py: Python<'_>) -> PyResult<()> {
        let n_workers = self.office.crew.settings().n_workers;
        let is_in_time =
            self.holds_blas.load(Ordering::Relaxed) || self.began.elapsed() < session::BEFORE_BLAS;
        if is_in_time || n_workers == 1 || self.holds_blas.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        (0..n_workers).try_for_each(|_| self.job.blas.enter(py))
    }

    /// Ends the run, with an error unless it has one.
    fn fail(&self, error: PyErr) {
        let refused = {
            let mut failure = self.failure();
            let refused =
                if failure.is_none() && !self.is_over() { failure.replace(error) } else { Some(error) };
            self.over.store(true, Ordering::Release);
            refused
        };
        self.ended.notify_all();
        drop(refused); // outside the lock: it may run a destructor
    }

    fn end(&self) {
        let failure = self.failure();
        self.over.store(true, Ordering::Release);
        drop(failure);
        self.ended.notify_all();
    }

    fn wait(&self, limit: Duration) {
        let failure = self.failure();
        if !self.is_over() {
            drop(self.ended.wait_timeout(failure, limit));
        }
    }

    fn finish(self: &Arc<Self>, py: Python<'_>, index: u32, outcome: PyResult<Bound<'_, PyAny>>) {
        match outcome {
            _ if self.is_over() => {}
            Ok(value) => {
                self.record().n_done += 1;
                self.settle_all(py, index, Owned::from_bound(value));
            }
            Err(_) if self.overdue().is_some() => self.fail_if_overdue(),
            Err(error) => {
                self.record().failed.push(index);
                match &self.failed {
                    // Ctrl-C and its like are not for one task.
                    Some(failed) if error::is_ordinary(py, &error) => {
                        failed[index as usize].store(true, Ordering::Relaxed);
                        self.settle_later(py, index, value_of(py, error));
                    }
                    _ => self.fail(error),
                }
            }
        }
    }

    /// As [`Governed::settle_all`]; on the timer's thread, which is not to drop values, it is left to a worker.
    fn settle_later(self: &Arc<Self>, py: Python<'_>, index: u32, value: Owned) {
        if !future::is_on_timer() {
            return self.settle_all(py, index, value);
        }
        let run = Arc::clone(self);
        let errand = future::errand(py, Box::new(move |py| run.settle_all(py, index, value)));
        match errand {
            Ok(errand) => self.office.send_errand(&errand),
            Err(error) => self.fail(error),
        }
    }

    /// Accounts for a task that has its value, and for those that can not be run because of it.
    fn settle_all(self: &Arc<Self>, py: Python<'_>, index: u32, value: Owned) {
        let mut settled = vec![(index, value)];
        while let Some((index, value)) = settled.pop() {
            self.graph.payload(index).value.set(value.into_raw());
            let mut ready = Vec::new();
            let release = |index, payload: &Payload| {
                if !self.is_pinned(index) {
                    // SAFETY: the thread is attached, and the graph says that nobody needs the value any more.
                    unsafe { payload.value.clear() };
                }
            };
            let is_target = self.graph.settle::<Shared>(index, release, |task| ready.push(task));
            for task in ready {
                match self.upstream_failure(py, task) {
                    Some(error) => settled.push((task, error)),
                    None => self.submit(py, task).unwrap_or_else(|error| self.fail(error)),
                }
            }
            // AcqRel: who finishes the last target has seen the values of all others.
            if is_target && self.unfinished.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.end();
            }
        }
    }

    /// The error of a task that needs one which has failed.
    fn upstream_failure(&self, py: Python<'_>, index: u32) -> Option<Owned> {
        let failed = self.failed.as_ref()?;
        let has_failed = |&&input: &&u32| failed[input as usize].load(Ordering::Relaxed);
        let &cause = self.graph.dependencies(index).iter().find(has_failed)?;
        failed[index as usize].store(true, Ordering::Relaxed);
        // SAFETY: the value of an input is there until this task is settled.
        let reason = unsafe { error::borrow(py, self.graph.payload(cause).value.get()) };
        if matches!(self.graph.payload(index).work, Work::Copy { .. }) {
            return Some(Owned::from_bound(reason)); // another name for it
        }
        self.record().upstream_failed.push(index);
        let name = |task| error::repr(&self.job.program.key(py, task));
        let text = format!("the task {} was not run: it needs {}, which failed", name(index), name(cause));
        let error = UpstreamFailedError::new_err(text);
        error.set_cause(py, Some(PyErr::from_value(reason)));
        Some(value_of(py, error))
    }

    /// Keeps values to the end.
    fn pin(&self, inputs: &[u32]) {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner).extend(inputs);
        self.has_pinned.store(true, Ordering::Release);
    }

    fn is_pinned(&self, index: u32) -> bool {
        // Whoever settles a task has seen its attempts end, or their time be up.
        self.has_pinned.load(Ordering::Acquire)
            && self.pinned.lock().unwrap_or_else(PoisonError::into_inner).contains(&index)
    }

    /// The error of the whole run when its time is up.
    fn overdue(&self) -> Option<PyErr> {
        self.deadline.filter(|deadline| deadline.left().is_zero()).map(overdue)
    }

    fn fail_if_overdue(&self) {
        if let Some(error) = self.overdue() {
            self.fail(error);
        }
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Submits what is ready at first.
    fn begin(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let futures: Vec<_> =
            self.graph.roots().iter().map(|&root| self.future_of(py, root)).collect::<PyResult<_>>()?;
        self.office.follow_all(py, &futures)
    }

    /// Tells what became of the tasks.
    fn tell(&self, tell: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = tell.py();
        let record = std::mem::take(&mut *self.record());
        let key = |index: u32| self.job.program.key(py, index);
        let keys = |indices: &[u32]| PyList::new(py, indices.iter().map(|&index| key(index)));
        let attempts = PyDict::new(py);
        for &(index, n) in &record.repeated {
            attempts.set_item(key(index), n)?;
        }
        let told = PyDict::new(py);
        let mut numbers = vec![0_usize; self.policies.len()];
        for index in
            self.graph.needed().filter(|&index| !matches!(self.graph.payload(index).work, Work::Nothing))
        {
            numbers[self.policy_of[index as usize] as usize] += 1;
        }
        told.set_item("numbers", numbers)?;
        told.set_item("n_tasks", self.graph.n_to_run())?;
        told.set_item("n_done", record.n_done)?;
        told.set_item("attempts", attempts)?;
        told.set_item("timed_out", keys(&record.timed_out)?)?;
        told.set_item("failed", keys(&record.failed)?)?;
        told.set_item("upstream_failed", keys(&record.upstream_failed)?)?;
        call::call(tell, [told.as_any()]).map(drop)
    }

    /// Has the executor run a task that is ready.
    fn submit(self: &Arc<Self>, py: Python<'_>, index: u32) -> PyResult<()> {
        self.office.follow(&self.future_of(py, index)?)
    }

    fn future_of<'py>(self: &Arc<Self>, py: Python<'py>, index: u32) -> PyResult<Bound<'py, Future>> {
        let policy = &self.policies[self.policy_of[index as usize] as usize];
        let step = Step { run: Arc::clone(self), index };
        future::create_for(py, Task::of_step(&self.office, policy, step))
    }

    /// Waits for the end; a signal ends the run.
    ///
    /// A worker of the executor runs tasks of the run meanwhile, for as long as they are next.
    fn wait_for_end(&self, py: Python<'_>, generation: usize) {
        let is_own = |step: &Step| std::ptr::eq(Arc::as_ptr(&step.run), self);
        let is_own_next = || self.deadline.is_none() && station::helps_run(py, &self.office, is_own);
        while !self.is_over() && is_own_next() {
            if let Err(error) = py.check_signals().and_then(|()| station::check_time(py)) {
                self.fail(error);
            }
        }
        let mut patience = Patience::none(py);
        while !self.is_over() {
            let sleep = |limit: Duration| {
                self.wait(self.deadline.map_or(limit, |deadline| limit.min(deadline.left())));
            };
            if let Err(error) = patience.wait(py, sleep, || !self.is_over()) {
                self.fail(error);
            }
            self.fail_if_overdue();
            // No other thread may come in the place of this one: better too deep than never.
            while !self.is_over() && !patience.has_lent() && station::helps_office(py, &self.office) {}
            if pool::generation() != generation {
                let text =
                    "the process was forked while tasks ran on other threads, which the child does not have";
                self.fail(InternalError::new_err(text));
            }
        }
        patience.end(py);
    }
}

fn overdue(deadline: Deadline) -> PyErr {
    let seconds = deadline.after.as_secs_f64();
    TaskTimeoutError::new_err(format!("the run took longer than its deadline of {seconds} s"))
}

/// An exception as a value.
fn value_of(py: Python<'_>, error: PyErr) -> Owned {
    Owned::from_bound(error.into_value(py).into_bound(py).into_any())
}

/// How a run is to be done: `dask_ferris._governed.Terms`.
#[derive(FromPyObject)]
pub struct Terms<'py> {
    /// Those that occur, the first that of tasks that are not among `policy_of`.
    policies: Vec<Words>,
    /// From keys to positions.
    policy_of: Bound<'py, PyDict>,
    /// The run goes on after a task that failed; its exception is its value.
    continues: bool,
    /// Seconds that it may take.
    deadline: Option<f64>,
    limits_blas: bool,
    /// `_check.compare`, when tasks are to be run both ways.
    compare: Option<Py<PyAny>>,
    /// Called at the end with what there is to tell of the tasks.
    tell: Option<Bound<'py, PyAny>>,
}

impl Terms<'_> {
    /// The positions of the policies of all tasks.
    fn positions(&self, program: &Program, n_tasks: usize) -> PyResult<Vec<u32>> {
        let mut positions = vec![0; n_tasks];
        if !self.policy_of.is_empty() {
            for (index, position) in positions.iter_mut().enumerate() {
                let key = program.key(self.policy_of.py(), index as u32);
                if let Some(known) = self.policy_of.get_item(key)? {
                    *position = known.extract()?;
                }
            }
        }
        Ok(positions)
    }
}

/// Runs a graph on the threads of an executor, its tasks under policies, for its keys.
#[pyfunction]
pub fn govern<'py>(
    executor: &Bound<'py, Executor>,
    graph: &Bound<'py, PyDict>,
    keys: &Bound<'py, PyAny>,
    terms: Terms<'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = graph.py();
    let request = Request::read(keys)?;
    let Compiled { graph, program, targets } = compile(graph, request.keys())?;
    pool::count_run();
    let office = Arc::clone(executor.get().office()?);
    let policy_of = terms.positions(&program, graph.len())?;
    let run = Arc::new(Governed {
        job: Job::new(py, program, terms.limits_blas, terms.compare)?,
        policies: terms.policies.into_iter().map(|words| Arc::new(words.policy(&office))).collect(),
        policy_of,
        unfinished: AtomicUsize::new(graph.n_targets()),
        over: AtomicBool::new(graph.n_targets() == 0),
        failure: Mutex::new(None),
        ended: Condvar::new(),
        deadline: terms.deadline.and_then(Deadline::after),
        failed: terms.continues.then(|| (0..graph.len()).map(|_| AtomicBool::new(false)).collect()),
        record: Mutex::default(),
        pinned: Mutex::default(),
        has_pinned: AtomicBool::new(false),
        began: Instant::now(),
        holds_blas: AtomicBool::new(false),
        office,
        graph,
    });
    run.policies.iter().try_for_each(|policy| run.office.check_priority(policy.priority))?;
    run.office.begin_run(py)?;
    run.begin(py).unwrap_or_else(|error| run.fail(error));
    run.wait_for_end(py, pool::generation());
    run.office.end_run(|step| Arc::ptr_eq(&step.run, &run));
    run.job.blas.close(py);
    let told = terms.tell.map_or(Ok(()), |tell| run.tell(&tell));
    let failure = run.failure().take();
    if let Some(failure) = failure {
        if let Err(error) = told {
            attempt::add_note(failure.value(py), &format!("the report could not be delivered: {error}"));
        }
        return Err(failure);
    }
    told?;
    request.answer(py, &run.graph, &targets)
}

//! A run whose tasks have policies, on the threads of an executor.
//!
//! The executor knows what to do about attempts, limits of time and resources; the run knows what follows from what, and
//! which of its tasks goes first: [`Backlog`].  A task of the run that has its value is settled by the thread that computed
//! it: values that lost their last consumer are dropped, dependents that became ready join the backlog, and a ticket is
//! queued at the executor where one is needed.  Who asked for the run waits for its end; only a worker of the same executor
//! computes tasks of it meanwhile.

mod handle;
mod record;
mod step;
mod terms;

pub use handle::{GovernedRun, begin_run};
pub use step::Step;

use ferris_core::backlog::Backlog;
use ferris_core::crew::Group;
use ferris_core::graph::{Graph, Shared};
use ferris_core::queue::{Nanos, Priority};
use pyo3::import_exception;
use pyo3::prelude::*;
use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::call;
use crate::compile::Compiled;
use crate::error::{self, InternalError};
use crate::executor::Executor;
use crate::future;
use crate::office::Office;
use crate::policy::Policy;
use crate::pool;
use crate::program::{Owned, Payload, Work};
use crate::session::{self, Job};
use crate::station::{self, Patience};
use crate::task::Task;
use record::Record;
use terms::{Deadline, Terms};

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
    /// The groups in which tasks compete for resources, by lane.
    lanes: Vec<Group>,
    /// The lane of each policy.
    lane_of: Vec<usize>,
    /// Python is never called under its lock, nor is the office, which looks into it under its own.
    backlog: Mutex<Backlog>,
    /// Targets that have not finished.
    unfinished: AtomicUsize,
    /// All targets have finished, or the run was stopped: no task starts any more.
    over: AtomicBool,
    news: Mutex<News>,
    /// The run is over, or a target has finished.
    heard: Condvar,
    /// Targets are handed over one by one.
    hands_over: bool,
    /// When the run has to be over.
    deadline: Option<Deadline>,
    /// Which tasks have failed, when the run goes on after that.
    failed: Option<Box<[AtomicBool]>>,
    record: Mutex<Record>,
    /// Inputs of tasks whose time was up: an attempt that was abandoned may read them for as long as it goes on, which keeps
    /// the run alive.
    pinned: Mutex<HashSet<u32>>,
    /// Some task has waited for another attempt.
    has_rested: AtomicBool,
    has_pinned: AtomicBool,
    began: Instant,
    /// The workers are counted among those that share the cores with BLAS.
    holds_blas: AtomicBool,
}

/// What whoever asked for a run waits for.
#[derive(Default)]
struct News {
    /// The first failure wins.
    failure: Option<PyErr>,
    /// Targets that are to be handed over.
    finished: VecDeque<u32>,
}

impl Governed {
    /// A run that has not begun.
    fn new(py: Python<'_>, executor: &Executor, compiled: Compiled, terms: Terms<'_>) -> PyResult<Self> {
        let Compiled { graph, program, targets } = compiled;
        let office = Arc::clone(executor.office()?);
        let policy_of = terms.positions(&program, graph.len())?;
        let policies: Vec<_> =
            terms.policies.into_iter().map(|words| Arc::new(words.policy(&office))).collect();
        policies.iter().try_for_each(|policy| office.check_priority(policy.priority))?;
        let (lanes, lane_of) = lanes(&policies);
        let aging = office.crew.settings().aging.as_nanos() as Nanos;
        let mut backlog = Backlog::new(lanes.len(), aging);
        if let Some(limit) = terms.memory_limit {
            backlog.limit_memory(limit, graph.len());
        }
        let known: HashSet<u32> = targets.iter().copied().filter(|&task| graph.is_known(task)).collect();
        let finished = if terms.hands_over { known.into_iter().collect() } else { VecDeque::new() };
        for _ in &finished {
            backlog.hand_out();
        }
        Ok(Self {
            job: Job::new(py, program, terms.limits_blas, terms.compare)?,
            policies,
            policy_of,
            lanes,
            lane_of,
            backlog: Mutex::new(backlog),
            unfinished: AtomicUsize::new(graph.n_targets()),
            over: AtomicBool::new(graph.n_targets() == 0),
            news: Mutex::new(News { failure: None, finished }),
            heard: Condvar::new(),
            hands_over: terms.hands_over,
            deadline: terms.deadline.and_then(Deadline::after),
            failed: terms.continues.then(|| (0..graph.len()).map(|_| AtomicBool::new(false)).collect()),
            record: Mutex::default(),
            pinned: Mutex::default(),
            has_rested: AtomicBool::new(false),
            has_pinned: AtomicBool::new(false),
            began: Instant::now(),
            holds_blas: AtomicBool::new(false),
            office,
            graph,
        })
    }

    /// True when something of it is to happen at a time.
    fn needs_timer(&self) -> bool {
        self.deadline.is_some() || self.policies.iter().any(|policy| !policy.is_plain())
    }

    /// True when no task will start any more.
    fn is_over(&self) -> bool {
        // Acquire: who sees the end sees the values of all targets.
        self.over.load(Ordering::Acquire)
    }

    // Each of these locks is held by attached threads only, and Python is not called under it.
    fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn backlog(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The policy of a task.
    fn policy(&self, index: u32) -> &Policy {
        &self.policies[self.policy_of[index as usize] as usize]
    }

    /// The lane and the level of a task.
    fn order(&self, index: u32) -> (usize, Priority) {
        let policy = self.policy_of[index as usize] as usize;
        (self.lane_of[policy], self.policies[policy].priority)
    }

    /// What a task is called in messages.
    fn name(&self, py: Python<'_>, index: u32) -> String {
        error::repr(&self.job.program.key(py, index))
    }

    /// How long the run has taken, where that matters: tasks that wait count higher after a while.
    fn time(&self) -> Nanos {
        let matters = !self.office.crew.settings().aging.is_zero();
        if matters { self.began.elapsed().as_nanos() as Nanos } else { 0 }
    }

    // ---- What is ready

    /// Makes the roots ready.
    fn begin(self: &Arc<Self>, py: Python<'_>) {
        {
            let (mut backlog, time) = (self.backlog(), self.time());
            for &root in self.graph.roots() {
                let (lane, priority) = self.order(root);
                backlog.add_root(lane, priority, time, root);
            }
        }
        self.offer(py);
    }

    /// Queues tickets for what may begin now.
    fn offer(self: &Arc<Self>, py: Python<'_>) {
        for (lane, &group) in self.lanes.iter().enumerate() {
            let offered = self.backlog().offer(lane, self.time());
            let Some((priority, n_raised)) = offered else { continue };
            let ticket = future::create_for(py, Task::of_step(&self.office, Step::ticket(self, lane)));
            let queued = ticket.and_then(|ticket| self.office.follow(group, priority, n_raised, &ticket));
            queued.unwrap_or_else(|error| self.fail(error));
        }
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
            let mut news = self.news();
            let is_first = news.failure.is_none() && !self.is_over();
            let refused = if is_first { news.failure.replace(error) } else { Some(error) };
            self.over.store(true, Ordering::Release);
            refused
        };
        self.heard.notify_all();
        drop(refused); // outside the lock: it may run a destructor
    }

    /// A target has finished; the last ends the run.
    fn finish_target(&self, index: u32) {
        // AcqRel: who finishes the last target has seen the values of all others.
        let is_last = self.unfinished.fetch_sub(1, Ordering::AcqRel) == 1;
        if !is_last && !self.hands_over {
            return;
        }
        if self.hands_over {
            self.backlog().hand_out();
        }
        let mut news = self.news();
        if self.hands_over {
            news.finished.push_back(index);
        }
        if is_last {
            self.over.store(true, Ordering::Release);
        }
        drop(news);
        self.heard.notify_all();
    }

    /// Waits until there is something to hear, at most `limit`.
    fn wait(&self, limit: Duration, is_heard: impl Fn(&News) -> bool) {
        let news = self.news();
        if !self.is_over() && !is_heard(&news) {
            drop(self.heard.wait_timeout(news, limit));
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

    /// The bytes that a value takes, where that matters.
    fn size_of(&self, value: &Bound<'_, PyAny>) -> u64 {
        if self.backlog().most_live().is_none() {
            return 0;
        }
        let size_of = || value.py().import("dask.sizeof")?.getattr("sizeof");
        let size = size_of().and_then(|size_of| call::call(&size_of, [value])?.extract::<f64>());
        size.unwrap_or(0.0) as u64 // 0 of an object that can not say it
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
            let release = |index, payload: &Payload| self.release(index, payload);
            let is_target = self.graph.settle::<Shared>(index, release, |task| ready.push(task));
            ready.retain(|&task| match self.upstream_failure(py, task) {
                Some(error) => {
                    settled.push((task, error));
                    false
                }
                None => true,
            });
            self.add(&ready);
            if is_target {
                self.finish_target(index);
            }
        }
        self.offer(py);
    }

    /// Takes tasks into the backlog that became ready together, highest rank first.
    fn add(&self, ready: &[u32]) {
        if !ready.is_empty() {
            let (mut backlog, time) = (self.backlog(), self.time());
            for &task in ready {
                let (lane, priority) = self.order(task);
                backlog.add(lane, priority, time, task);
            }
        }
    }

    /// Drops a value that nobody needs any more.
    fn release(&self, index: u32, payload: &Payload) {
        if !self.is_pinned(index) {
            // SAFETY: the thread is attached, and the graph says that nobody needs the value any more.
            unsafe { payload.value.clear() };
            self.backlog().release(index);
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
        let (name, cause) = (self.name(py, index), self.name(py, cause));
        let text = format!("the task {name} was not run: it needs {cause}, which failed");
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

    /// Waits for the end; a signal ends the run.
    ///
    /// A worker of the executor runs tasks of the run meanwhile, for as long as they are next.
    fn wait_for_end(&self, py: Python<'_>, generation: usize) {
        let is_own_next =
            || self.deadline.is_none() && station::helps_run(py, &self.office, |step| step.is_of(self));
        while !self.is_over() && is_own_next() {
            if let Err(error) = py.check_signals().and_then(|()| station::check_time(py)) {
                self.fail(error);
            }
        }
        let mut patience = Patience::none(py);
        while !self.is_over() {
            let sleep = |limit: Duration| {
                let left = self.deadline.map_or(limit, |deadline| limit.min(deadline.left()));
                self.wait(left, |_| false);
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

    /// Accounts for the end of the whole run.
    fn conclude(&self, py: Python<'_>) {
        let has_rested = self.has_rested.load(Ordering::Relaxed);
        self.office.end_run(&self.lanes, has_rested, |step| step.is_of(self));
        self.job.blas.close(py);
    }
}

/// The groups that occur, and the position of each policy's.
fn lanes(policies: &[Arc<Policy>]) -> (Vec<Group>, Vec<usize>) {
    let mut groups = Vec::new();
    let mut lane_of = |policy: &Arc<Policy>| {
        let group = policy.group();
        groups.iter().position(|&known| known == group).unwrap_or_else(|| {
            groups.push(group);
            groups.len() - 1
        })
    };
    let lanes = policies.iter().map(&mut lane_of).collect();
    (groups, lanes)
}

fn overdue(deadline: Deadline) -> PyErr {
    let seconds = deadline.after.as_secs_f64();
    TaskTimeoutError::new_err(format!("the run took longer than its deadline of {seconds} s"))
}

/// An exception as a value.
fn value_of(py: Python<'_>, error: PyErr) -> Owned {
    Owned::from_bound(error.into_value(py).into_bound(py).into_any())
}

//! The native half of a run that Dask can watch; the other half is `dask_ferris._watched`.
//!
//! The calling thread gives out each task and takes it back, so that it can keep Dask's own account of the run and
//! tell callbacks in between.  Other threads compute the tasks, by the same programs as in any run.

use ferris_core::dispatch::Dispatch;
use ferris_core::graph::Graph;
use ferris_core::pool::Ticket;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::Arc;

use crate::account::Account;
use crate::call;
use crate::compile::{Compiled, compile};
use crate::interpreter;
use crate::pool::{self, Call};
use crate::program::{Owned, Payload};
use crate::request::Request;
use crate::session::{self, Job, Worker};
use crate::station::Patience;
use crate::watched::{Caller, Listeners};

/// A run whose tasks are given out one by one.
pub struct Dispatched {
    pub graph: Graph<Payload>,
    pub job: Job,
    dispatch: Dispatch<Returned>,
    _share: pool::Share,
}

/// What came of a task, and on which thread.
pub struct Returned {
    pub index: u32,
    pub outcome: PyResult<Owned>,
    pub thread: u64,
}

/// Works on a dispatched run as a helper, to its end.
pub fn help(py: Python<'_>, run: &Dispatched) {
    run.dispatch.arrive();
    let has_company = || run.dispatch.n_helpers() > 1;
    let mut worker = Worker::new(py, &run.job, None).beside(&has_company);
    while let Some(index) = next(py, &run.dispatch) {
        run.compute(&mut worker, index);
    }
}

fn next(py: Python<'_>, dispatch: &Dispatch<Returned>) -> Option<u32> {
    dispatch.try_next().or_else(|| interpreter::wait(py, || dispatch.next()))
}

impl Dispatched {
    /// What has come back since this was last asked.
    pub fn take_returns(&self) -> Vec<Returned> {
        self.dispatch.take_reports()
    }

    /// Computes a task and hands it back.
    fn compute(&self, worker: &mut Worker<'_, '_>, index: u32) {
        let outcome = worker.attempt_one(&self.graph, index);
        self.report(index, outcome);
    }

    /// Hands a task back.
    pub fn report(&self, index: u32, outcome: PyResult<Owned>) {
        self.dispatch.report(Returned { index, outcome, thread: interpreter::thread_ident() });
    }
}

/// A compiled graph whose tasks are given out one by one; for the thread that made it.
#[pyclass(frozen, module = "dask_ferris._native")]
pub struct Dispatcher {
    pub(crate) run: Arc<Dispatched>,
    ticket: Arc<Ticket<Call>>,
    generation: usize,
    /// Whether threads of the pool are called, or somebody else's call `step`.
    calls_helpers: bool,
    /// Whether tasks may run on this thread: not beside an event loop, and not when others were asked to compute.
    pub may_compute: bool,
    pub num_workers: usize,
}

#[pymethods]
impl Dispatcher {
    /// Compile a graph; `compare`, if there is one, is called for each task as by `ferris.check`.
    #[new]
    fn new(
        graph: &Bound<'_, PyDict>,
        keys: &Bound<'_, PyAny>,
        num_workers: usize,
        calls_helpers: bool,
        limits_blas: bool,
        compare: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let py = graph.py();
        let Compiled { graph, program, .. } = compile(graph, Request::read(keys)?.keys())?;
        let n_helpers = if calls_helpers { num_workers } else { 0 };
        let run = Arc::new(Dispatched {
            graph,
            job: Job::new(py, program, limits_blas, compare)?,
            dispatch: Dispatch::new(n_helpers),
            _share: pool::Share::take(session::demand(n_helpers)),
        });
        pool::count_run();
        let ticket = Arc::new(Ticket::new(Call::Dispatched(Arc::clone(&run))));
        Ok(Self {
            run,
            ticket,
            generation: pool::generation(),
            calls_helpers,
            may_compute: calls_helpers && !interpreter::has_running_loop(py)?,
            num_workers,
        })
    }

    /// Open Dask's account of the run in `state`, with `cache` for the values; `opened` is called when it is.
    /// Then give out tasks and take them back to the end.
    fn work<'py>(
        &self,
        state: &Bound<'py, PyDict>,
        cache: &Bound<'py, PyAny>,
        opened: &Bound<'py, PyAny>,
        listeners: Listeners<'py>,
    ) -> PyResult<()> {
        let account = Account::open(state, cache, &self.run.graph, &self.run.job.program)?;
        call::call(opened, [])?;
        Caller::new(state.py(), self, account, listeners).work()
    }

    /// Compute one task that was given out, if one is left, on this thread.
    fn step(&self, py: Python<'_>) {
        if let Some(index) = self.run.dispatch.try_next() {
            self.run.compute(&mut Worker::new(py, &self.run.job, None), index);
        }
    }

    /// Let one task that was given out fail, because nobody can compute it.
    fn lose(&self, error: Bound<'_, PyAny>) {
        if let Some(index) = self.run.dispatch.try_next() {
            self.run.report(index, Err(PyErr::from_value(error)));
        }
    }

    /// End the run: nothing is begun any more.
    fn close(&self, py: Python<'_>) {
        self.run.dispatch.close();
        self.run.job.blas.close(py);
        pool::withdraw(&self.ticket, self.generation);
    }
}

impl Dispatcher {
    /// Gives out a task.
    pub fn give(&self, py: Python<'_>, index: u32) -> PyResult<()> {
        if self.run.dispatch.give(index) && self.calls_helpers {
            pool::call(py, &self.ticket)?;
        }
        Ok(())
    }

    /// Waits until tasks have come back.
    pub fn wait_for_returns(&self, py: Python<'_>) -> PyResult<()> {
        let mut patience = Patience::default();
        let waited = self.wait_patiently(py, &mut patience);
        patience.end(py);
        waited
    }

    fn wait_patiently(&self, py: Python<'_>, patience: &mut Patience) -> PyResult<()> {
        let dispatch = &self.run.dispatch;
        while !dispatch.has_reports() {
            let sleep = |limit| dispatch.wait_for_reports(limit);
            patience.wait(py, sleep, || !dispatch.has_reports())?;
            // Threads may not be had, or be gone in the child of a fork: the caller can be relied on.
            let is_deserted = dispatch.n_helpers() == 0 && !pool::may_answer();
            if self.calls_helpers && (is_deserted || pool::generation() != self.generation) {
                self.step(py);
            }
        }
        Ok(())
    }
}

//! The native half of a run that Dask can watch; the other half is `dask_ferris._watched`.
//!
//! The calling thread gives out each task and takes it back, so that it can keep Dask's own account of the run and
//! tell callbacks in between.  Other threads compute the tasks, by the same programs as in any run.

use ferris_core::dispatch::Dispatch;
use ferris_core::graph::{Alone, Graph};
use ferris_core::pool::Ticket;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use std::sync::Arc;

use crate::call;
use crate::compile::{Compiled, compile};
use crate::interpreter;
use crate::pool::{self, Call};
use crate::program::{Owned, Payload};
use crate::request::Request;
use crate::session::{self, Job, Worker};

/// A run whose tasks are given out one by one.
pub struct Dispatched {
    graph: Graph<Payload>,
    job: Job,
    dispatch: Dispatch<Returned>,
    _share: pool::Share,
}

/// What came of a task, and on which thread.
struct Returned {
    index: u32,
    outcome: PyResult<Owned>,
    thread: u64,
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
    fn compute(&self, worker: &mut Worker<'_, '_>, index: u32) {
        let outcome = worker.attempt_one(&self.graph, index);
        self.report(index, outcome);
    }

    fn report(&self, index: u32, outcome: PyResult<Owned>) {
        // SAFETY: there is no condition.
        let thread = unsafe { ffi::PyThread_get_thread_ident() } as u64;
        self.dispatch.report(Returned { index, outcome, thread });
    }
}

/// A task that came back, for Python: key, value, error, thread.
type Report<'py> = (Bound<'py, PyAny>, Option<Bound<'py, PyAny>>, Option<Bound<'py, PyAny>>, u64);

/// A compiled graph whose tasks are given out one by one; for the thread that made it.
#[pyclass(frozen, module = "dask_ferris._native")]
pub struct Dispatcher {
    run: Arc<Dispatched>,
    ticket: Arc<Ticket<Call>>,
    /// From the keys that are needed to their tasks.
    tasks: Py<PyDict>,
    generation: usize,
    /// Whether threads of the pool are called, or somebody else's call `step`.
    calls_helpers: bool,
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
        let tasks = PyDict::new(py);
        for index in graph.needed() {
            call::set_item(&tasks, &program.key(py, index), index.into_pyobject(py)?.as_any())?;
        }
        let n_helpers = if calls_helpers { num_workers } else { 0 };
        let run = Arc::new(Dispatched {
            graph,
            job: Job::new(py, program, limits_blas, compare)?,
            dispatch: Dispatch::new(n_helpers),
            _share: pool::Share::take(session::demand(n_helpers)),
        });
        pool::count_run();
        let ticket = Arc::new(Ticket::new(Call::Dispatched(Arc::clone(&run))));
        Ok(Self { run, ticket, tasks: tasks.unbind(), generation: pool::generation(), calls_helpers })
    }

    /// The keys that are needed, data among them.
    fn needed<'py>(&self, py: Python<'py>) -> Bound<'py, PyList> {
        self.tasks.bind(py).keys()
    }

    /// The keys that are ready from the start, the first one last.
    fn ready<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.keys(py, self.run.graph.roots().iter().rev())
    }

    /// Give out the task of a key.
    fn give(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.run.dispatch.give(self.task(key)?) && self.calls_helpers {
            pool::call(py, &self.ticket)?;
        }
        Ok(())
    }

    /// Compute the task of a key on this thread; `collect` returns it.
    fn compute(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        let index = self.task(key)?;
        self.run.compute(&mut Worker::new(key.py(), &self.run.job, None), index);
        Ok(())
    }

    /// Compute one task that was given out, if one is left, on this thread.
    fn step(&self, py: Python<'_>) {
        if let Some(index) = self.run.dispatch.try_next() {
            let mut worker = Worker::new(py, &self.run.job, None);
            self.run.compute(&mut worker, index);
        }
    }

    /// Let one task that was given out fail, because nobody can compute it.
    fn lose(&self, error: Bound<'_, PyAny>) {
        if let Some(index) = self.run.dispatch.try_next() {
            self.run.report(index, Err(PyErr::from_value(error)));
        }
    }

    /// Wait until tasks have come back: for each its key, its value or nothing, its error or nothing, its thread.
    fn collect<'py>(&self, py: Python<'py>) -> PyResult<Vec<Report<'py>>> {
        self.wait_for_returns(py)?;
        let returns = self.run.dispatch.take_reports();
        Ok(returns.into_iter().map(|returned| self.report(py, returned)).collect())
    }

    /// Account for the value of a task: keys that have become ready, the next one last, and keys whose values nobody
    /// needs any more.
    fn settle<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<(Bound<'py, PyList>, Bound<'py, PyList>)> {
        let (py, graph, index) = (key.py(), &self.run.graph, self.task(key)?);
        let (mut ready, mut released) = (Vec::new(), Vec::new());
        graph.payload(index).value.set(value.clone().into_ptr());
        let release = |index, payload: &Payload| {
            released.push(index);
            // SAFETY: the thread is attached, and the graph says that nobody needs the value any more.
            unsafe { payload.value.clear() };
        };
        graph.settle::<Alone>(index, release, |task| ready.push(task));
        Ok((self.keys(py, ready.iter())?, self.keys(py, released.iter())?))
    }

    /// End the run: nothing is begun any more.
    fn close(&self, py: Python<'_>) {
        self.run.dispatch.close();
        self.run.job.blas.close(py);
        pool::cancel(&self.ticket);
        drop(self.ticket.withdraw());
    }
}

impl Dispatcher {
    fn task(&self, key: &Bound<'_, PyAny>) -> PyResult<u32> {
        call::get_item(self.tasks.bind(key.py()), key)?.extract()
    }

    fn keys<'py, 'a>(
        &self,
        py: Python<'py>,
        tasks: impl Iterator<Item = &'a u32>,
    ) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, tasks.map(|&index| self.run.job.program.key(py, index)).collect::<Vec<_>>())
    }

    fn wait_for_returns(&self, py: Python<'_>) -> PyResult<()> {
        let dispatch = &self.run.dispatch;
        while !dispatch.has_reports() {
            interpreter::wait_a_slice(py, |limit| dispatch.wait_for_reports(limit))?;
            // Threads may not be had, or be gone in the child of a fork: the caller can be relied on.
            if self.calls_helpers && (dispatch.n_helpers() == 0 || pool::generation() != self.generation) {
                self.step(py);
            }
        }
        Ok(())
    }

    fn report<'py>(&self, py: Python<'py>, returned: Returned) -> Report<'py> {
        let key = self.run.job.program.key(py, returned.index);
        match returned.outcome {
            Ok(value) => (key, Some(value.into_bound(py)), None, returned.thread),
            Err(error) => (key, None, Some(error.into_value(py).into_bound(py).into_any()), returned.thread),
        }
    }
}

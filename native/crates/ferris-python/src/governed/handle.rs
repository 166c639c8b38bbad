//! A run as Python has it.

use ferris_core::graph::Shared;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Governed, News, Terms};
use crate::compile::compile;
use crate::error::{self, InternalError};
use crate::executor::Executor;
use crate::pool;
use crate::request::{Request, Shape};
use crate::station::{self, Patience};
use crate::timer;

/// A run of a graph whose tasks have policies, from its begin on.
#[pyclass(frozen, module = "dask_ferris._native")]
pub struct GovernedRun {
    run: Arc<Governed>,
    shape: Shape,
    targets: Vec<u32>,
    /// Where each target is among the keys, when they are handed over one by one.
    places: HashMap<u32, Vec<usize>>,
    generation: usize,
    is_concluded: AtomicBool,
    has_values: AtomicBool,
}

/// Begin a run of a graph for its keys on the threads of an executor, its tasks under policies.
#[pyfunction]
pub fn begin_run(
    py: Python<'_>,
    executor: &Bound<'_, Executor>,
    graph: &Bound<'_, PyDict>,
    keys: &Bound<'_, PyAny>,
    terms: Terms<'_>,
) -> PyResult<GovernedRun> {
    let request = Request::read(keys)?;
    let compiled = compile(graph, request.keys())?;
    let targets = compiled.targets.clone();
    let places = if terms.hands_over { places_of(&targets) } else { HashMap::new() };
    pool::count_run();
    let run = Arc::new(Governed::new(py, executor.get(), compiled, terms)?);
    if run.needs_timer() {
        timer::start(py); // now, as CPython 3.12 starts no threads at its end
    }
    run.office.begin_run(py)?;
    run.begin(py);
    let (generation, is_concluded) = (pool::generation(), AtomicBool::new(false));
    let has_values = AtomicBool::new(false);
    Ok(GovernedRun {
        run,
        shape: request.into_shape(),
        targets,
        places,
        generation,
        is_concluded,
        has_values,
    })
}

/// The places of each target.
fn places_of(targets: &[u32]) -> HashMap<u32, Vec<usize>> {
    let mut places: HashMap<_, Vec<_>> = HashMap::new();
    for (place, &target) in targets.iter().enumerate() {
        places.entry(target).or_default().push(place);
    }
    places
}

#[pymethods]
impl GovernedRun {
    /// Wait for the end, and raise what the run has failed with; a signal ends the run.
    ///
    /// To be called once, by whoever asked for the run.
    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        self.run.wait_for_end(py, self.generation);
        if self.is_concluded.swap(true, Ordering::Relaxed) {
            return Err(InternalError::new_err("a run ends once"));
        }
        self.run.conclude(py);
        let failure = self.run.news().failure.take();
        self.has_values.store(failure.is_none(), Ordering::Relaxed);
        failure.map_or(Ok(()), Err)
    }

    /// The values of a run that is over, in the shape of the keys.
    fn values<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if !self.has_values.load(Ordering::Relaxed) {
            return Err(InternalError::new_err("a run that has not ended well has no values"));
        }
        self.shape.answer(py, &self.run.graph, &self.targets)
    }

    /// End the run with an error; false when it is over already.
    fn stop(&self, error: Bound<'_, PyAny>) -> bool {
        let is_over = self.run.is_over();
        self.run.fail(PyErr::from_value(error));
        !is_over
    }

    /// Whether no task will start any more.
    fn is_over(&self) -> bool {
        self.run.is_over()
    }

    /// Tasks that are needed, that have their value, that run, and that have failed or can not be run.
    fn count(&self) -> (usize, usize, usize, usize) {
        let n_running = self.run.backlog().n_running();
        let record = self.run.record();
        let n_failed = record.failed.len() + record.upstream_failed.len();
        (self.run.graph.n_to_run(), record.n_done, n_running, n_failed)
    }

    /// What became of the tasks.
    fn told<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.run.told(py)
    }

    /// Wait for a key that has its value, and hand it over: the places of the key among all keys, and the value.
    ///
    /// None when the run is over and everything that has finished was handed over.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Option<(Vec<usize>, Bound<'py, PyAny>)>> {
        self.wait_for_news(py, None, |news| !news.finished.is_empty())?;
        let taken = self.run.news().finished.pop_front();
        Ok(taken.map(|target| (self.places[&target].clone(), self.hand_over(py, target))))
    }

    /// Wait until the run is over, at most so many seconds; whether it is.
    fn wait(&self, py: Python<'_>, seconds: Option<f64>) -> PyResult<bool> {
        let limit = seconds.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default());
        let end = limit.and_then(|limit| Instant::now().checked_add(limit));
        self.wait_for_news(py, end, |_| false)?;
        Ok(self.run.is_over())
    }
}

impl Drop for GovernedRun {
    /// A run that nobody could wait for, as a signal came in between.
    fn drop(&mut self) {
        // In the child of a fork a thread that is not there may hold the locks of the run.
        if !*self.is_concluded.get_mut() && self.generation == pool::generation() {
            Python::attach(|py| {
                self.run.fail(InternalError::new_err("the run was given up before it was waited for"));
                self.run.conclude(py);
            });
        }
    }
}

impl GovernedRun {
    /// Waits until the run is over, there is other news, or it is time.
    fn wait_for_news(
        &self,
        py: Python<'_>,
        end: Option<Instant>,
        is_news: impl Fn(&News) -> bool + Sync,
    ) -> PyResult<()> {
        let left = |end: Instant| end.saturating_duration_since(Instant::now());
        let goes_on = || {
            !self.run.is_over() && !is_news(&self.run.news()) && end.is_none_or(|end| !left(end).is_zero())
        };
        if !goes_on() {
            return Ok(());
        }
        let (mut patience, mut waited) = (Patience::none(py), Ok(()));
        while waited.is_ok() && goes_on() {
            let sleep =
                |limit: Duration| self.run.wait(end.map_or(limit, |end| limit.min(left(end))), &is_news);
            waited = patience.wait(py, sleep, goes_on);
            // No other thread may come in the place of this one: better too deep than never.
            while waited.is_ok()
                && goes_on()
                && !patience.has_lent()
                && station::helps_office(py, &self.run.office)
            {}
        }
        patience.end(py);
        waited
    }

    fn hand_over<'py>(&self, py: Python<'py>, target: u32) -> Bound<'py, PyAny> {
        // SAFETY: the thread is attached, and a target that has finished has a value until it is handed over.
        let value = unsafe { error::borrow(py, self.run.graph.payload(target).value.get()) };
        self.run.graph.hand_over::<Shared>(target, |index, payload| self.run.release(index, payload));
        self.run.backlog().taken();
        self.run.offer(py);
        value
    }
}

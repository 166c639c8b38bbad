//! The calling thread's part in a run whose tasks it gives out one by one.
//!
//! It says which task is next, keeps Dask's account, and tells callbacks in between.

use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::time::{Duration, Instant};

use crate::account::Account;
use crate::call;
use crate::dispatch::{Dispatcher, Returned};
use crate::interpreter;
use crate::session::{LONG, Worker};

/// Tasks that come back faster than this on average are given out ahead of time.  Guessed: the way to another thread and
/// back takes about as long.
const SHORT: Duration = Duration::from_micros(20);

/// Tasks given out and not begun, at most: so many short ones take about 5 ms, which is how wrong a profile may be.
const MOST_AHEAD: usize = 256;

/// Whom the caller tells what.
#[derive(FromPyObject)]
pub struct Listeners<'py> {
    pretasks: Vec<Bound<'py, PyAny>>,
    posttasks: Vec<Bound<'py, PyAny>>,
    /// The graph as callbacks know it.
    dsk: Bound<'py, PyDict>,
    /// Called after each task that was given out, if the run's helpers are not ours.
    given: Option<Bound<'py, PyAny>>,
    /// Gets the key and the error of a task that failed, and gives its value or raises.
    answer: Bound<'py, PyAny>,
}

/// The caller of one run.
pub struct Caller<'a, 'py> {
    py: Python<'py>,
    dispatcher: &'a Dispatcher,
    account: Account<'py>,
    listeners: Listeners<'py>,
    /// For tasks that the caller computes itself.
    worker: Worker<'a, 'py>,
    /// Tasks that are ready, in the order of the account.
    ready: Vec<u32>,
    n_running: usize,
    /// Tasks that may be running at once.
    window: usize,
    may_compute: bool,
}

impl<'a, 'py> Caller<'a, 'py> {
    pub fn new(
        py: Python<'py>,
        dispatcher: &'a Dispatcher,
        account: Account<'py>,
        listeners: Listeners<'py>,
    ) -> Self {
        let run = &dispatcher.run;
        Self {
            py,
            dispatcher,
            account,
            listeners,
            worker: Worker::new(py, &run.job, None),
            ready: run.graph.roots().iter().rev().copied().collect(),
            n_running: 0,
            window: dispatcher.num_workers,
            may_compute: dispatcher.may_compute,
        }
    }

    /// Gives out tasks and takes them back until there are none.
    pub fn work(mut self) -> PyResult<()> {
        while !self.ready.is_empty() || self.n_running > 0 {
            self.give_out()?;
            self.take_back()?;
        }
        Ok(())
    }

    fn give_out(&mut self) -> PyResult<()> {
        while self.n_running < self.window
            && let Some(index) = self.ready.pop()
        {
            let key = self.dispatcher.run.job.program.key(self.py, index);
            self.account.begin(&key)?;
            self.n_running += 1;
            for pretask in &self.listeners.pretasks {
                call::call(pretask, [&key, self.listeners.dsk.as_any(), self.account.state.as_any()])?;
            }
            self.give(index)?;
        }
        Ok(())
    }

    fn give(&mut self, index: u32) -> PyResult<()> {
        let is_all = self.n_running == 1 && self.ready.is_empty();
        if is_all && self.may_compute {
            // While this is all there is to do, nothing can happen that a callback would have to be told of.
            return self.compute(index);
        }
        self.dispatcher.give(self.py, index)?;
        self.listeners.given.as_ref().map_or(Ok(()), |given| call::call(given, []).map(drop))
    }

    /// Computes a task on this thread; Ctrl-C meanwhile is not the task's error.
    fn compute(&mut self, index: u32) -> PyResult<()> {
        let (began, run) = (Instant::now(), &self.dispatcher.run);
        let outcome = self.worker.attempt_one(&run.graph, index);
        if let Err(error) = &outcome
            && error.is_instance_of::<PyKeyboardInterrupt>(self.py)
        {
            return outcome.map(drop);
        }
        run.report(index, outcome);
        if began.elapsed() > LONG {
            self.may_compute = !interpreter::is_main_thread(self.py)?;
        }
        Ok(())
    }

    /// Waits until tasks have come back, and accounts for them.
    fn take_back(&mut self) -> PyResult<()> {
        let began = Instant::now();
        self.dispatcher.wait_for_returns(self.py)?;
        let returns = self.dispatcher.run.take_returns();
        let is_short = began.elapsed() < SHORT * returns.len() as u32;
        let window = if is_short { self.window * 2 } else { self.window / 2 };
        // Helpers that are not ours may have no other bound.
        let most = if self.listeners.given.is_none() { MOST_AHEAD } else { 0 };
        self.window = window.min(most).max(self.dispatcher.num_workers);
        returns.into_iter().try_for_each(|returned| self.settle(returned))
    }

    fn settle(&mut self, returned: Returned) -> PyResult<()> {
        let Returned { index, outcome, thread } = returned;
        let (py, run) = (self.py, &self.dispatcher.run);
        let key = run.job.program.key(py, index);
        let value = match outcome {
            Ok(value) => value.into_bound(py),
            Err(error) => {
                call::call(&self.listeners.answer, [&key, error.into_value(py).into_bound(py).as_any()])?
            }
        };
        let newly_ready = self.account.settle(&run.graph, &run.job.program, index, &key, &value)?;
        self.ready.extend(newly_ready);
        self.n_running -= 1;
        for posttask in &self.listeners.posttasks {
            let (dsk, state) = (self.listeners.dsk.as_any(), self.account.state.as_any());
            call::call(posttask, [&key, &value, dsk, state, thread.into_pyobject(py)?.as_any()])?;
        }
        Ok(())
    }
}

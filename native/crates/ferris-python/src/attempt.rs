//! Attempts at tasks that have a policy: their limits of time, and what follows when they fail.

use ferris_core::stage::Stage;
use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::types::PyString;
use pyo3::{import_exception, intern};
use std::sync::Arc;
use std::time::Duration;

use crate::call;
use crate::future::{self, Future};
use crate::policy::Policy;
use crate::task::{self, Task};
use crate::timer;
use crate::watch::{self, Overdue, Watch};

import_exception!(dask_ferris.exceptions, TaskTimeoutError);

/// An abandoned thread that comes back within this time does not count as stuck.  Guessed: code that can be interrupted comes
/// back within a few switch intervals.
const STUCK: Duration = Duration::from_secs(1);

/// What became of an attempt, as far as its worker is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// It is over.
    Ended,
    /// Its time was up before it was over: somebody else has taken the worker's place.
    Overdue,
}

/// Runs one attempt at a task with a policy.
pub fn run(future: &Bound<'_, Future>, task: &Task, policy: &Policy, watch: Option<&Watch>) -> PyResult<Ran> {
    let py = future.py();
    if !future.get().begin() {
        return Ok(Ran::Ended);
    }
    task.begin_attempt();
    let timed = policy.timeout.and_then(|limit| Some((watch?, limit)));
    if let Some((watch, limit)) = timed {
        watch.enter(future, limit);
    }
    let mut is_ours = true;
    let mut leave = || is_ours = timed.is_none_or(|(watch, _)| watch.leave());
    let outcome = task.call_again(py, &mut leave);
    if !is_ours {
        return Ok(Ran::Overdue);
    }
    match outcome {
        Ok(value) => {
            task.clear(py);
            task::finish(future, task, Ok(value))?;
        }
        Err(error) => fail(future, task, policy, error)?,
    }
    Ok(Ran::Ended)
}

/// An attempt has failed: there is another, or the future fails.
fn fail(future: &Bound<'_, Future>, task: &Task, policy: &Policy, error: PyErr) -> PyResult<()> {
    let py = future.py();
    let exception = error.value(py).clone();
    if let Some(delay) = delay_after(policy, &exception, task.n_attempts())? {
        task.set_last_error(exception.into_any());
        repeat(future, task, delay);
        return Ok(());
    }
    if policy.retry.is_some() && task.n_attempts() > 1 {
        note_attempts(&exception, task.n_attempts(), policy);
    }
    task.clear(py);
    task::finish(future, task, Err(error))
}

fn delay_after(
    policy: &Policy,
    error: &Bound<'_, PyBaseException>,
    n_attempts: u32,
) -> PyResult<Option<Duration>> {
    let py = error.py();
    let Some(retry) = &policy.retry else { return Ok(None) };
    let delay_after = call::get_attr(retry.bind(py), intern!(py, "delay_after"))?;
    let n_attempts = n_attempts.into_pyobject(py)?;
    let delay: Option<f64> = call::call(&delay_after, [error.as_any(), n_attempts.as_any()])?.extract()?;
    Ok(delay.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)))
}

fn note_attempts(error: &Bound<'_, PyBaseException>, n_attempts: u32, policy: &Policy) {
    let py = error.py();
    let what =
        policy.name.as_ref().map_or_else(|| "the task".to_owned(), |name| format!("the task {name:?}"));
    let note = PyString::new(py, &format!("{what} failed in each of {n_attempts} attempts"));
    // An exception that refuses a note is what matters all the same.
    let _ = call::get_attr(error.as_any(), intern!(py, "add_note"))
        .and_then(|add| call::call(&add, [note.as_any()]));
}

/// Has the task attempted again, after a delay.
fn repeat(future: &Bound<'_, Future>, task: &Task, delay: Duration) {
    if !future.get().repeat() {
        return; // a user has set a result
    }
    task.office.count_repeated();
    task.office.crew.expect_again();
    task.office.remember_waiting(future);
    if delay.is_zero() {
        begin_again(future);
    } else {
        timer::repeat(future, delay);
    }
}

/// The delay is over.
pub fn begin_again(future: &Bound<'_, Future>) {
    if let Some(task) = future.get().task()
        && task.office.forget_waiting_kept(future)
    {
        task.office.admit(future, task);
    }
}

/// Ends an attempt whose time is up, unless it has ended; its thread is left to itself.
pub fn end_overdue(py: Python<'_>, watch: &Arc<Watch>, time: u64) {
    let interrupt = watch::interrupt_class(py);
    let overdue = interrupt.map(|interrupt| watch.overtake(py, time, &interrupt));
    let ended = overdue.and_then(|overdue| overdue.map_or(Ok(()), |overdue| end(py, watch, &overdue)));
    if let Err(error) = ended {
        error.write_unraisable(py, None);
    }
}

fn end(py: Python<'_>, watch: &Arc<Watch>, overdue: &Overdue) -> PyResult<()> {
    let office = &watch.office;
    let future = overdue.future.bind(py);
    if office.crew.abandon(overdue.has_lent) {
        office.start_thread(py);
    }
    let ended = match future.get().task().and_then(|task| Some((task, task.policy.as_deref()?))) {
        Some((task, policy)) => fail_late(future, task, policy),
        None => Ok(()),
    };
    let n_stuck = timer::watches().iter().filter(|watch| watch.is_stuck(office, STUCK)).count();
    if n_stuck > office.most_abandoned() {
        office.break_down(py, &format!("{n_stuck} threads are stuck in tasks whose time was up"));
    }
    ended
}

/// As [`fail`], for an attempt whose time is up.
fn fail_late(future: &Bound<'_, Future>, task: &Task, policy: &Policy) -> PyResult<()> {
    let error = timeout_error(future.py(), task, policy);
    future::defer_callbacks(|| fail(future, task, policy, error))?;
    if future.get().stage() == Stage::Finished && future.get().has_callbacks() {
        task.office.send_errand(future);
    }
    Ok(())
}

fn timeout_error(py: Python<'_>, task: &Task, policy: &Policy) -> PyErr {
    let what = policy.name.as_ref().map_or_else(|| task.describe(py), |name| format!("{name:?}"));
    let limit = policy.timeout.unwrap_or_default().as_secs_f64();
    let n = task.n_attempts();
    let text = format!("the task {what} took longer than its limit of {limit} s in attempt {n}");
    TaskTimeoutError::new_err(text)
}

//! Attempts at tasks that have a policy: their limits of time, and what follows when they fail.

use ferris_core::stage::Stage;
use pyo3::exceptions::{PyBaseException, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;
use pyo3::{import_exception, intern};
use std::sync::Arc;
use std::time::Duration;

use crate::call;
use crate::collector;
use crate::future::{self, Future};
use crate::governed::Step;
use crate::newborn;
use crate::policy::Policy;
use crate::station;
use crate::task::{self, Task};
use crate::timer;
use crate::watch::{self, Left, Overdue, Watch};

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
pub fn run(
    future: &Bound<'_, Future>,
    task: &Task,
    policy: &Policy,
    watch: Option<&Arc<Watch>>,
) -> PyResult<Ran> {
    let py = future.py();
    if !future.get().begin() {
        task.office.count_repeated(); // it was counted as begun, and is cancelled
        return Ok(Ran::Ended);
    }
    task.begin_attempt();
    let limit = task.step().map_or(policy.timeout, |step| step.limit(policy.timeout));
    let timed = limit.and_then(|limit| Some((watch?, limit)));
    if let Some((watch, limit)) = timed {
        watch.enter(future, limit);
    }
    let leave = || timed.map_or(Left::InTime, |(watch, _)| watch.leave(py));
    let mut left = None;
    let outcome = task.call_again(py, || left = Some(leave()));
    // There was no call left to make when the time was up before it was made.
    let left = left.unwrap_or_else(leave);
    if timed.is_some() {
        station::release_locks();
    }
    let outcome = match left {
        Left::Overtaken => return Ok(Ran::Overdue),
        Left::Late => Err(timeout_error(py, task, policy)),
        Left::InTime => outcome,
    };
    match outcome {
        Ok(value) => {
            task.clear(py);
            if task.last_error(py).is_some() {
                collector::show(future.as_any());
            }
            task::finish(future, task, Ok(value))?;
        }
        Err(error) => fail(future, task, policy, error)?,
    }
    Ok(Ran::Ended)
}

/// Drops the traceback of what an attempt has raised, with the frames in it.
fn forget_frames(error: &Bound<'_, PyBaseException>) {
    // SAFETY: the thread is attached; an exception, and None.
    unsafe { ffi::PyException_SetTraceback(error.as_ptr(), ffi::Py_None()) };
}

/// An attempt has failed: there is another, or the future fails.
fn fail(future: &Bound<'_, Future>, task: &Task, policy: &Policy, error: PyErr) -> PyResult<()> {
    let py = future.py();
    let exception = error.value(py).clone();
    let delay = match delay_after(policy, &exception, task.n_attempts()) {
        Ok(delay) => delay,
        Err(problem) => {
            // What was to be decided can not be: the future fails with why.
            problem.set_cause(py, Some(error));
            drop_call(future, task);
            return task::finish(future, task, Err(problem));
        }
    };
    let spent = task.step().filter(|_| delay.is_some()).and_then(|step| step.spent_input(py));
    if let Some(input) = &spent {
        let what = "the task was not attempted again: an attempt may have used up its input";
        add_note(&exception, &format!("{what} {input}, which is an iterator"));
    }
    let is_wanted = !task.step().is_some_and(Step::is_over);
    if let Some(delay) = delay.filter(|_| spent.is_none() && is_wanted) {
        // Without its traceback, in which everything would live on that the attempt had.
        forget_frames(&exception);
        let old = task.set_last_error(exception.into_any());
        drop_objects(future, task, old.into_iter().collect());
        repeat(future, task, delay);
        return Ok(());
    }
    if policy.retry.is_some() && task.n_attempts() > 1 {
        note_attempts(&exception, task.n_attempts(), policy);
    }
    drop_call(future, task);
    task::finish(future, task, Err(error))
}

fn drop_call(future: &Bound<'_, Future>, task: &Task) {
    drop_objects(future, task, task.take_all(future.py()));
}

/// Drops objects, which may take long; on the timer's thread that is left to a worker.
fn drop_objects<'py>(future: &Bound<'py, Future>, task: &Task, objects: Vec<Bound<'py, PyAny>>) {
    if future::is_deferring(future)
        && !objects.is_empty()
        && let Ok(litter) = future::litter(future.py(), objects)
    {
        task.office.send_errand(&litter);
    }
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
    let seconds = |seconds| {
        let text = || PyValueError::new_err(format!("the delay after an attempt can not be {seconds} s"));
        Duration::try_from_secs_f64(seconds).map_err(|_| text())
    };
    delay.map(seconds).transpose()
}

fn note_attempts(error: &Bound<'_, PyBaseException>, n_attempts: u32, policy: &Policy) {
    let what =
        policy.name.as_ref().map_or_else(|| "the task".to_owned(), |name| format!("the task {name:?}"));
    add_note(error, &format!("{what} failed in each of {n_attempts} attempts"));
}

/// Adds a note to an exception.
pub fn add_note(error: &Bound<'_, PyBaseException>, text: &str) {
    let py = error.py();
    // An exception that refuses a note is what matters all the same.
    let _ = call::get_attr(error.as_any(), intern!(py, "add_note"))
        .and_then(|add| call::call(&add, [PyString::new(py, text).as_any()]));
}

/// Has the task attempted again, after a delay.
fn repeat(future: &Bound<'_, Future>, task: &Task, delay: Duration) {
    if !future.get().repeat() {
        return task.office.count(true); // a user has set a result
    }
    task.office.count_repeated();
    task.office.crew.expect_again();
    if let Some(step) = task.step() {
        step.rest(future.py());
    }
    if delay.is_zero() {
        task.office.admit(future, task);
    } else {
        let number = task.office.remember_waiting(future);
        // The end of a run may not have seen it.
        if task.step().is_some_and(Step::is_over) && task.office.forget_waiting(future) {
            return;
        }
        timer::repeat(future.py(), &task.office, number, delay);
    }
}

/// Ends an attempt whose time is up, unless it has ended; its thread is left to itself.
pub fn end_overdue(py: Python<'_>, watch: &Arc<Watch>, time: u64) {
    let may_interrupt = newborn::wait_for_births(py);
    let interrupt = watch::interrupt_class(py);
    let overdue = interrupt.map(|interrupt| watch.overtake(time, may_interrupt.then_some(&interrupt)));
    let ended = overdue.and_then(|overdue| overdue.map_or(Ok(()), |overdue| end(py, watch, &overdue)));
    if let Err(error) = ended {
        error.write_unraisable(py, None);
    }
}

fn end(py: Python<'_>, watch: &Arc<Watch>, overdue: &Overdue) -> PyResult<()> {
    let office = &watch.office;
    let future = overdue.future.bind(py);
    // First what becomes of the task, so that nobody takes the executor for done; then its callbacks, which a worker that
    // comes in the place of this one runs before anything else.
    let ended = match future.get().task().and_then(|task| Some((task, task.policy()?))) {
        Some((task, policy)) => fail_late(future, task, policy),
        None => Ok(()),
    };
    if office.crew.abandon(overdue.slot) {
        office.start_thread(py);
    }
    let n_stuck = timer::watches().iter().filter(|watch| watch.is_stuck(office, STUCK)).count();
    if n_stuck > office.most_abandoned() {
        office.start_break_down(py, &format!("{n_stuck} threads are stuck in tasks whose time was up"));
    }
    ended
}

/// As [`fail`], for an attempt whose time is up.
fn fail_late(future: &Bound<'_, Future>, task: &Task, policy: &Policy) -> PyResult<()> {
    let error = timeout_error(future.py(), task, policy);
    future::defer_callbacks(future, || fail(future, task, policy, error))?;
    if future.get().stage() == Stage::Finished && future.get().has_callbacks() {
        task.office.send_errand(future);
    }
    Ok(())
}

fn timeout_error(py: Python<'_>, task: &Task, policy: &Policy) -> PyErr {
    if let Some(overdue) = task.step().and_then(Step::note_timeout) {
        return overdue;
    }
    let what = policy.name.as_ref().map_or_else(|| task.describe(py), |name| format!("{name:?}"));
    let limit = policy.timeout.unwrap_or_default().as_secs_f64();
    let n = task.n_attempts();
    let text = format!("the task {what} took longer than its limit of {limit} s in attempt {n}");
    TaskTimeoutError::new_err(text)
}

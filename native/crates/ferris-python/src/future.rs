//! A future of `concurrent.futures`, its state in native code.
//!
//! Who ends a future stores the value first and then leaves the stage, see [`ferris_core::stage`].  If nobody has asked to
//! be told, that is all.  Else it is done with two locks: the future's own, which the standard library's `wait` and
//! `as_completed` take through `_condition`, and within it the one of [`More`], a leaf lock that is never held across a call
//! into Python.  Who asks to be told does so under that leaf lock.

use ferris_core::reentrant::{Owner, Reentrant};
use ferris_core::stage::{Held, Stage, StageWord};
use ferris_core::sync::{Thread, current_thread, park, spin_until};
use pyo3::exceptions::{PyBaseException, PyException, PyRuntimeError, PyTimeoutError, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyList, PyString, PyTraceback, PyType};
use pyo3::{PyTraverseError, PyVisit, ffi, import_exception, intern};
use std::cell::Cell;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::call;
use crate::collector;
use crate::condition::{Condition, Waiters};
use crate::inputs::Inputs;
use crate::interpreter;
use crate::slot::Slot;
use crate::station;
use crate::task::Task;

import_exception!(concurrent.futures, CancelledError);
import_exception!(concurrent.futures, InvalidStateError);

/// Something that a worker is to do.
pub type Errand = Box<dyn FnOnce(Python<'_>) + Send + Sync>;

/// Told of the end of a future.
pub enum Callback {
    /// A function of the future.
    Function(Py<PyAny>),
    /// Tasks that take its result.
    Input(Arc<Inputs>),
    /// Something that was left to a worker.
    Errand(Errand),
}

/// What few futures have: others that wait to be told.
#[derive(Default)]
pub struct More {
    callbacks: Vec<Callback>,
    /// Threads in `result` and its like.
    sleepers: Vec<Thread>,
    /// Threads in `_condition.wait`.
    pub listeners: Vec<Thread>,
    /// Of `concurrent.futures.wait` and `as_completed`.
    pub waiters: Vec<Py<PyAny>>,
    /// To be dropped by whoever runs the callbacks.
    litter: Vec<Py<PyAny>>,
}

/// The base of `dask_ferris.Future`.
#[pyclass(subclass, frozen, module = "dask_ferris._native")]
#[derive(Default)]
pub struct Future {
    stage: StageWord,
    pub lock: Reentrant,
    more: Mutex<Option<Box<More>>>,
    result: Slot,
    exception: Slot,
    /// That of the exception when it was set: what is added each time it is raised is taken off again.
    traceback: Slot,
    task: OnceLock<Task>,
}

/// A future of the Python type, for a task.
pub fn create<'py>(future_type: &Bound<'py, PyType>, task: Task) -> PyResult<Bound<'py, Future>> {
    static NOTHING: PyOnceLock<Py<pyo3::types::PyTuple>> = PyOnceLock::new();
    let py = future_type.py();
    let nothing = NOTHING.get_or_init(py, || pyo3::types::PyTuple::empty(py).unbind());
    // SAFETY: the type is `dask_ferris.Future`, a heap type whose constructor is that of the native base; the result is an
    // instance of it, or null with the error set.
    let future: Bound<'py, Future> = unsafe {
        let kind = future_type.as_type_ptr();
        let new = (*kind).tp_new.expect("a class has a constructor");
        let object = new(kind, nothing.as_ptr(), std::ptr::null_mut());
        Bound::from_owned_ptr_or_err(py, object)?.cast_into_unchecked()
    };
    collector::hide(future.as_any());
    let _ = future.get().task.set(task);
    Ok(future)
}

/// A native future, for a task whose outcome nobody asks it for.
pub fn create_for(py: Python<'_>, task: Task) -> PyResult<Bound<'_, Future>> {
    let future = Bound::new(py, Future { task: OnceLock::from(task), ..Future::default() })?;
    collector::hide(future.as_any());
    Ok(future)
}

impl Future {
    pub fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// How far it is, to be shown: a future whose threads a fork has left behind has failed.
    fn stage_shown(slf: &Bound<'_, Self>) -> Stage {
        let me = slf.get();
        if !me.stage().is_over()
            && let Some(Err(error)) = me.task().map(Task::check_fork)
            && let Err(error) = settle(slf, Err(error))
        {
            error.write_unraisable(slf.py(), Some(slf.as_any()));
        }
        me.stage()
    }

    /// The task whose future this is, if it is one of an executor.
    pub fn task(&self) -> Option<&Task> {
        self.task.get()
    }

    /// Marks the task as running; false when it was cancelled.
    #[inline]
    pub fn begin(&self) -> bool {
        self.stage.shift(Stage::Pending, Stage::Running)
    }

    /// Marks the task as over, whose outcome somebody else has.
    pub fn finish(&self) -> bool {
        self.stage.shift(Stage::Running, Stage::Finished)
    }

    /// Marks the task as waiting for another attempt; false when it has ended meanwhile.
    pub fn repeat(&self) -> bool {
        self.stage.shift(Stage::Running, Stage::Pending)
    }

    /// What the standard library keeps under the future's lock; a leaf lock.
    pub fn more(&self) -> MutexGuard<'_, Option<Box<More>>> {
        self.more.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks that the end be made under the lock of the future.
    pub fn observe(&self) -> Stage {
        self.stage.observe()
    }

    /// Gives `tell` to who ends the future, unless it has ended.
    fn ask_to_be_told(&self, tell: impl FnOnce(&mut More)) -> bool {
        let mut more = self.more();
        let is_pending = !self.stage.observe().is_over();
        if is_pending {
            tell(more.get_or_insert_default());
        }
        is_pending
    }

    /// Counts inputs down when this ends; false when it has ended.
    pub fn add_input(&self, inputs: &Arc<Inputs>) -> bool {
        self.ask_to_be_told(|more| more.callbacks.push(Callback::Input(Arc::clone(inputs))))
    }

    /// Takes the lock of the future, waiting for it.
    pub fn acquire(&self, py: Python<'_>) -> PyResult<()> {
        let me = Owner::current();
        while !self.lock.try_acquire(me) {
            if self.lock.enlist() {
                interpreter::wait_a_slice(py, park)?;
            }
        }
        Ok(())
    }

    /// Takes the lock of the future, whatever signals come meanwhile; the first error that they raised.
    fn acquire_surely(&self, py: Python<'_>) -> Option<PyErr> {
        let mut interrupt = None;
        while let Err(error) = self.acquire(py) {
            interrupt.get_or_insert(error);
        }
        interrupt
    }

    /// The exception, as it was when it was set.
    pub fn error(&self, py: Python<'_>) -> Option<PyErr> {
        let exception = self.exception.get(py)?;
        let traceback = self.traceback.get(py).unwrap_or_else(|| py.None().into_bound(py));
        // SAFETY: the thread is attached; an exception, and a traceback or None.
        unsafe { ffi::PyException_SetTraceback(exception.as_ptr(), traceback.as_ptr()) };
        Some(PyErr::from_value(exception))
    }

    /// The result, when it has ended with one.
    pub fn value<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.result.get(py)
    }

    pub fn has_callbacks(&self) -> bool {
        self.more().as_deref().is_some_and(|more| !more.callbacks.is_empty())
    }

    pub fn is_cancelled(&self) -> bool {
        matches!(self.stage(), Stage::Cancelled | Stage::Notified)
    }
}

/// Ends a task's future with its outcome, and tells those who wait.
pub fn settle(future: &Bound<'_, Future>, outcome: PyResult<Bound<'_, PyAny>>) -> PyResult<()> {
    let (py, me) = (future.py(), future.get());
    // First, as others may run meanwhile: an error that is not an object yet becomes one.
    let outcome = outcome.map_err(|error| error.into_value(py).into_bound(py));
    let from = me.stage();
    if from.is_over() {
        return Err(invalid_state(future, from));
    }
    match outcome {
        Ok(value) => {
            if collector::may_lead_on(&value) {
                collector::show(future.as_any());
            }
            me.result.put(value);
        }
        Err(exception) => {
            collector::show(future.as_any());
            if let Some(traceback) = traceback_of(&exception) {
                me.traceback.put(traceback);
            }
            me.exception.put(exception);
        }
    }
    end(future, from, Stage::Finished)
}

fn traceback_of<'py>(exception: &Bound<'py, PyBaseException>) -> Option<Bound<'py, PyTraceback>> {
    // SAFETY: the thread is attached; the argument is an exception; the result is a new reference or null.
    let traceback = unsafe {
        Bound::from_owned_ptr_or_opt(exception.py(), ffi::PyException_GetTraceback(exception.as_ptr()))
    };
    traceback.and_then(|traceback| traceback.cast_into().ok())
}

fn invalid_state(future: &Bound<'_, Future>, stage: Stage) -> PyErr {
    InvalidStateError::new_err(format!("{}: {}", name_of(stage), crate::error::repr(future.as_any())))
}

/// Ends a future and tells those who wait; an error when a callback raised what nobody may swallow.
pub fn end(future: &Bound<'_, Future>, from: Stage, to: Stage) -> PyResult<()> {
    match future.get().stage.leave(from, to) {
        Ok(()) => Ok(()),
        Err(Held::Observed) => end_observed(future, from, to),
        Err(Held::Other(stage)) => Err(invalid_state(future, stage)),
    }
}

#[cold]
fn end_observed(future: &Bound<'_, Future>, from: Stage, to: Stage) -> PyResult<()> {
    let (py, me) = (future.py(), future.get());
    let interrupt = me.acquire_surely(py);
    let told = leave_observed(future, from, to);
    me.lock.release(Owner::current());
    let told = run_callbacks(future, told?);
    interrupt.map_or(told, Err)
}

/// Ends a future whose lock this thread has, and tells those who wait; what is left are the callbacks.
fn leave_observed(future: &Bound<'_, Future>, from: Stage, to: Stage) -> PyResult<Vec<Callback>> {
    let (py, me) = (future.py(), future.get());
    let (callbacks, waiters) = {
        let mut more = me.more();
        if !me.stage.shift(from, to) {
            let stage = me.stage();
            drop(more);
            return Err(invalid_state(future, stage));
        }
        let Some(more) = more.as_deref_mut() else { return Ok(Vec::new()) };
        more.sleepers.drain(..).chain(more.listeners.drain(..)).for_each(|thread| thread.unpark());
        let waiters: Vec<_> = more.waiters.iter().map(|waiter| waiter.clone_ref(py)).collect();
        let callbacks = if DEFERS.get() == future.as_ptr() as usize {
            Vec::new()
        } else {
            std::mem::take(&mut more.callbacks)
        };
        (callbacks, waiters)
    };
    let told = match to {
        Stage::Finished if me.exception.get(py).is_some() => intern!(py, "add_exception"),
        Stage::Finished => intern!(py, "add_result"),
        Stage::Notified => intern!(py, "add_cancelled"),
        _ => return Ok(callbacks),
    };
    for waiter in waiters {
        call::call(&call::get_attr(waiter.bind(py), told)?, [future.as_any()])?;
    }
    Ok(callbacks)
}

thread_local! {
    /// The future whose callbacks are left with it when it ends, by address.
    static DEFERS: Cell<usize> = const { Cell::new(0) };
}

/// Does something with the callbacks of a future, if it ends, left to [`run_deferred`].
pub fn defer_callbacks<R>(future: &Bound<'_, Future>, work: impl FnOnce() -> R) -> R {
    DEFERS.set(future.as_ptr() as usize);
    let result = work();
    DEFERS.set(0);
    result
}

/// True while the callbacks of a future are left: its thread is not to do anything that may take long.
pub fn is_deferring(future: &Bound<'_, Future>) -> bool {
    DEFERS.get() == future.as_ptr() as usize
}

/// True on the timer's thread, while it ends a future.
pub fn is_on_timer() -> bool {
    DEFERS.get() != 0
}

/// A future that has ended, for [`run_deferred`] to do something.
pub fn errand(py: Python<'_>, errand: Errand) -> PyResult<Bound<'_, Future>> {
    let bin = Bound::new(py, Future::default())?;
    bin.get().stage.force(Stage::Finished);
    bin.get().more().get_or_insert_default().callbacks.push(Callback::Errand(errand));
    Ok(bin)
}

/// A future that has ended, for [`run_deferred`] to drop some objects.
pub fn litter<'py>(py: Python<'py>, objects: Vec<Bound<'py, PyAny>>) -> PyResult<Bound<'py, Future>> {
    let bin = Bound::new(py, Future::default())?;
    bin.get().stage.force(Stage::Finished);
    bin.get().more().get_or_insert_default().litter = objects.into_iter().map(Bound::unbind).collect();
    Ok(bin)
}

/// Runs callbacks that were left, and drops what was.
pub fn run_deferred(future: &Bound<'_, Future>) -> PyResult<()> {
    let take = |more: &mut Box<More>| (std::mem::take(&mut more.callbacks), std::mem::take(&mut more.litter));
    let (callbacks, litter) = future.get().more().as_mut().map(take).unwrap_or_default();
    drop(litter);
    run_callbacks(future, callbacks)
}

/// Runs callbacks in order; what one of them raises is logged, and does not keep the others from running.
fn run_callbacks(future: &Bound<'_, Future>, callbacks: Vec<Callback>) -> PyResult<()> {
    let mut interrupt = Ok(());
    for callback in callbacks {
        match callback {
            Callback::Input(inputs) => inputs.count_down(future),
            Callback::Errand(errand) => errand(future.py()),
            Callback::Function(function) => {
                if let Err(error) = run_callback(future, function.bind(future.py())) {
                    interrupt = interrupt.and(Err(error));
                }
            }
        }
    }
    interrupt
}

fn run_callback(future: &Bound<'_, Future>, function: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = future.py();
    let Err(error) = call::call(function, [future.as_any()]) else { return Ok(()) };
    let is_ordinary = error.is_instance_of::<PyException>(py);
    let log = py.import("dask_ferris._future")?.getattr("log_callback_error")?;
    call::call(&log, [future.as_any(), error.value(py).as_any()])?;
    if is_ordinary { Ok(()) } else { Err(error) }
}

fn name_of(stage: Stage) -> &'static str {
    match stage {
        Stage::Pending => "PENDING",
        Stage::Running => "RUNNING",
        Stage::Cancelled => "CANCELLED",
        Stage::Notified => "CANCELLED_AND_NOTIFIED",
        Stage::Finished => "FINISHED",
    }
}

/// Sleeps until the future has ended; false when that takes longer than the limit.
pub fn sleep_until_over(py: Python<'_>, future: &Future, limit: Option<Duration>) -> PyResult<bool> {
    let is_over = || future.stage().is_over();
    if limit.is_none_or(|limit| !limit.is_zero()) && interpreter::wait(py, || spin_until(is_over)) {
        return Ok(true);
    }
    let end = limit.and_then(|limit| Instant::now().checked_add(limit));
    let me = current_thread();
    if !future.ask_to_be_told(|more| more.sleepers.push(me.clone())) {
        return Ok(true);
    }
    let woken = loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            break Ok(false);
        }
        let slept = interpreter::wait_a_slice(py, |slice| park(left.map_or(slice, |left| left.min(slice))));
        if future.stage().is_over() {
            break slept.map(|()| true);
        }
        let slept = slept.and_then(|()| station::check_time(py));
        if let Err(error) = slept.and_then(|()| future.task().map_or(Ok(()), Task::check_fork)) {
            break Err(error);
        }
    };
    if let Some(more) = future.more().as_deref_mut() {
        more.sleepers.retain(|thread| thread.id() != me.id());
    }
    if future.stage().is_over() && woken.is_ok() { Ok(true) } else { woken }
}

fn limit_of(timeout: Option<f64>) -> Option<Duration> {
    // What is too long for a duration is for ever.
    timeout.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok())
}

/// Waits for the end, which a worker does by running the task if nobody has begun it.
fn wait(future: &Bound<'_, Future>, timeout: Option<f64>) -> PyResult<()> {
    if Future::stage_shown(future).is_over() || station::wait_for(future, limit_of(timeout))? {
        return Ok(());
    }
    Err(PyTimeoutError::new_err(()))
}

/// Sets an attribute, or deletes it where the value is null.
fn set_attribute(
    future: &Bound<'_, Future>,
    name: &Bound<'_, PyAny>,
    value: *mut ffi::PyObject,
) -> PyResult<()> {
    collector::show(future.as_any()); // what is hung on a future may lead back to it
    // SAFETY: the thread is attached; an object, a name, and a value or null.
    let status = unsafe { ffi::PyObject_GenericSetAttr(future.as_ptr(), name.as_ptr(), value) };
    if status == 0 { Ok(()) } else { Err(PyErr::fetch(future.py())) }
}

#[pymethods]
impl Future {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Return the result of the call, waiting for it.
    #[pyo3(signature = (timeout = None))]
    fn result<'py>(slf: &Bound<'py, Self>, timeout: Option<f64>) -> PyResult<Bound<'py, PyAny>> {
        let (py, me) = (slf.py(), slf.get());
        wait(slf, timeout)?;
        if me.is_cancelled() {
            return Err(CancelledError::new_err(()));
        }
        if let Some(error) = me.error(py) {
            return Err(error);
        }
        Ok(me.result.get(py).unwrap_or_else(|| py.None().into_bound(py)))
    }

    /// Return the exception that the call has raised, or None, waiting for its end.
    #[pyo3(signature = (timeout = None))]
    fn exception<'py>(slf: &Bound<'py, Self>, timeout: Option<f64>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (py, me) = (slf.py(), slf.get());
        wait(slf, timeout)?;
        if me.is_cancelled() {
            return Err(CancelledError::new_err(()));
        }
        Ok(me.exception.get(py))
    }

    /// Return whether the future has ended: with a result, with an exception or by being cancelled.
    fn done(slf: &Bound<'_, Self>) -> bool {
        Self::stage_shown(slf).is_over()
    }

    /// Return whether the future was cancelled.
    fn cancelled(&self) -> bool {
        self.is_cancelled()
    }

    /// Return whether the call is under way.
    fn running(slf: &Bound<'_, Self>) -> bool {
        Self::stage_shown(slf) == Stage::Running
    }

    /// Cancel the future unless it runs or has ended; return whether it is cancelled.
    fn cancel(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let me = slf.get();
        loop {
            return match Self::stage_shown(slf) {
                Stage::Running | Stage::Finished => Ok(false),
                Stage::Cancelled | Stage::Notified => Ok(true),
                Stage::Pending => {
                    // Nobody will come past the future of a task and notify those who wait.
                    let to = if me.task().is_some() { Stage::Notified } else { Stage::Cancelled };
                    if let Some(task) = me.task() {
                        task.withdraw(slf);
                    }
                    let ended = end(slf, Stage::Pending, to);
                    if !me.is_cancelled() {
                        continue; // a worker was faster
                    }
                    if let Some(task) = me.task() {
                        task.office.note_cancelled(slf);
                    }
                    ended.map(|()| true)
                }
            };
        }
    }

    /// Call a function with the future when it ends, or now if it has.
    #[pyo3(signature = (r#fn))]
    fn add_done_callback(slf: &Bound<'_, Self>, r#fn: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::stage_shown(slf);
        let callback = || Callback::Function(r#fn.clone().unbind());
        if slf.get().ask_to_be_told(|more| more.callbacks.push(callback())) {
            return Ok(());
        }
        run_callback(slf, r#fn)
    }

    /// Mark the future as running, or return False when it was cancelled.
    fn set_running_or_notify_cancel(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let me = slf.get();
        if me.begin() {
            return Ok(true);
        }
        if me.stage() == Stage::Cancelled {
            me.observe();
            end(slf, Stage::Cancelled, Stage::Notified)?;
            return Ok(false);
        }
        let log = slf.py().import("dask_ferris._future")?.getattr("log_unexpected_state")?;
        call::call(&log, [slf.as_any()])?;
        Err(PyRuntimeError::new_err("Future in unexpected state"))
    }

    /// Set the result; for executors and tests.
    #[pyo3(signature = (result))]
    fn set_result(slf: &Bound<'_, Self>, result: Bound<'_, PyAny>) -> PyResult<()> {
        settle(slf, Ok(result))
    }

    /// Set the exception; for executors and tests.
    #[pyo3(signature = (exception))]
    fn set_exception(slf: &Bound<'_, Self>, exception: Bound<'_, PyAny>) -> PyResult<()> {
        let is_class = exception.is_instance_of::<PyType>();
        let exception = if is_class { call::call(&exception, [])? } else { exception };
        if !exception.is_instance_of::<PyBaseException>() {
            let text = format!("exception must be an exception, not {}", crate::error::repr(&exception));
            return Err(PyTypeError::new_err(text));
        }
        settle(slf, Err(PyErr::from_value(exception)))
    }

    /// How often the task has begun.
    #[getter]
    fn attempts(&self) -> u32 {
        self.task().map_or(0, Task::n_attempts)
    }

    /// The exception of the last attempt that failed, or None.
    #[getter]
    fn last_error<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let of_task = || self.task().and_then(|task| task.last_error(py));
        self.exception.get(py).or_else(of_task)
    }

    // What the standard library reaches into.

    #[getter]
    fn _condition(slf: Bound<'_, Self>) -> Condition {
        Self::stage_shown(&slf);
        slf.get().observe();
        Condition(slf.unbind())
    }

    #[getter]
    fn _state<'py>(slf: &Bound<'py, Self>) -> Bound<'py, PyString> {
        let py = slf.py();
        let name = match Self::stage_shown(slf) {
            Stage::Pending => intern!(py, "PENDING"),
            Stage::Running => intern!(py, "RUNNING"),
            Stage::Cancelled => intern!(py, "CANCELLED"),
            Stage::Notified => intern!(py, "CANCELLED_AND_NOTIFIED"),
            Stage::Finished => intern!(py, "FINISHED"),
        };
        name.clone()
    }

    #[setter]
    #[pyo3(name = "_state")]
    fn set_state(&self, name: &str) -> PyResult<()> {
        let all = [Stage::Pending, Stage::Running, Stage::Cancelled, Stage::Notified, Stage::Finished];
        let stage = all.into_iter().find(|&stage| name_of(stage) == name);
        let unknown = || pyo3::exceptions::PyValueError::new_err(format!("unknown state {name:?}"));
        self.stage.force(stage.ok_or_else(unknown)?);
        Ok(())
    }

    #[getter]
    fn _result<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.result.get(py)
    }

    #[setter]
    #[pyo3(name = "_result")]
    fn set_result_slot(&self, result: Bound<'_, PyAny>) {
        self.result.put(result);
    }

    #[getter]
    fn _exception<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.exception.get(py)
    }

    #[setter]
    #[pyo3(name = "_exception")]
    fn set_exception_slot(&self, exception: Bound<'_, PyAny>) {
        let py = exception.py();
        if exception.is_none() { self.exception.clear(py) } else { self.exception.put(exception) }
    }

    #[getter]
    fn _waiters(slf: Bound<'_, Self>) -> Waiters {
        slf.get().observe();
        Waiters(slf.unbind())
    }

    #[getter]
    fn _done_callbacks<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let function = |callback: &Callback| match callback {
            Callback::Function(function) => Some(function.clone_ref(py)),
            Callback::Input(_) | Callback::Errand(_) => None,
        };
        let functions: Vec<_> = self
            .more()
            .as_deref()
            .map_or_else(Vec::new, |more| more.callbacks.iter().filter_map(function).collect());
        PyList::new(py, functions)
    }

    fn __setattr__(slf: &Bound<'_, Self>, name: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        set_attribute(slf, name, value.as_ptr())
    }

    fn __delattr__(slf: &Bound<'_, Self>, name: &Bound<'_, PyAny>) -> PyResult<()> {
        set_attribute(slf, name, std::ptr::null_mut())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.result.visit(&visit)?;
        self.exception.visit(&visit)?;
        self.traceback.visit(&visit)?;
        if let Some(task) = self.task() {
            task.visit(&visit)?;
        }
        // Held by attached threads only, and never while the collector may run.
        if let Ok(more) = self.more.try_lock()
            && let Some(more) = more.as_deref()
        {
            for waiter in &more.waiters {
                visit.call(waiter)?;
            }
            for callback in &more.callbacks {
                if let Callback::Function(function) = callback {
                    visit.call(function)?;
                }
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        // SAFETY: the collector clears objects on an attached thread.
        let py = unsafe { Python::assume_attached() };
        let more = self.more().take();
        drop(more);
        for slot in [&self.result, &self.exception, &self.traceback] {
            slot.clear(py);
        }
        if let Some(task) = self.task() {
            drop(task.take_all(py));
        }
    }
}

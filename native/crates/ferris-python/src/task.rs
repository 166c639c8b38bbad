//! The call that a future stands for, and one attempt at it.

use ferris_core::crew::{Group, NO_RESOURCES};
use ferris_core::queue::{Place, Priority};
use ferris_core::stage::Stage;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3::{PyTraverseError, PyVisit};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::call;
use crate::collector;
use crate::future::{self, Future};
use crate::governed::Step;
use crate::office::Office;
use crate::policy::Policy;
use crate::slot::Slot;

/// The call of a future.
pub struct Task {
    function: Slot,
    args: Slot,
    kwargs: Slot,
    /// The caller's context when it submitted the call.
    context: Context,
    pub office: Arc<Office>,
    /// How the call is to be run.
    policy: Option<Arc<Policy>>,
    /// The task of a graph that this is, instead of a call.
    step: Option<Step>,
    /// Where in the queue it is, or was.
    place: AtomicU64,
    n_attempts: AtomicU32,
    last_error: Slot,
}

impl Task {
    /// The call of a function, in a copy of the current context.
    pub fn new(
        office: &Arc<Office>,
        policy: Option<&Arc<Policy>>,
        function: Bound<'_, PyAny>,
        args: Bound<'_, PyTuple>,
        kwargs: Option<Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let py = function.py();
        Ok(Self {
            function: Slot::of(function),
            args: Slot::of(args),
            kwargs: kwargs.map_or_else(Slot::default, Slot::of),
            context: Context::current(py)?,
            ..Self::without_call(office, policy.cloned())
        })
    }

    /// A task of a graph.
    pub fn of_step(office: &Arc<Office>, step: Step) -> Self {
        Self { step: Some(step), ..Self::without_call(office, None) }
    }

    fn without_call(office: &Arc<Office>, policy: Option<Arc<Policy>>) -> Self {
        Self {
            function: Slot::default(),
            args: Slot::default(),
            kwargs: Slot::default(),
            context: Context(Slot::default()),
            office: Arc::clone(office),
            policy,
            step: None,
            place: AtomicU64::new(Place::NOWHERE.to_bits()),
            n_attempts: AtomicU32::new(0),
            last_error: Slot::default(),
        }
    }

    /// The task of a graph that this is, if it is one.
    pub fn step(&self) -> Option<&Step> {
        self.step.as_ref()
    }

    /// How it is to be run.
    pub fn policy(&self) -> Option<&Policy> {
        match &self.step {
            Some(step) => step.policy(),
            None => self.policy.as_deref(),
        }
    }

    /// Where it waits, and at which level.
    pub fn order(&self) -> (Group, Priority) {
        match (&self.step, &self.policy) {
            (Some(step), _) => step.order(),
            (None, Some(policy)) => (policy.group(), policy.priority),
            (None, None) => (NO_RESOURCES, Priority::NORMAL),
        }
    }

    /// True when a worker may run it within another.
    pub fn can_be_helped(&self) -> bool {
        match &self.step {
            Some(step) => step.can_be_helped(),
            None => self.policy.as_ref().is_none_or(|policy| policy.can_be_helped()),
        }
    }

    pub fn place(&self) -> Place {
        Place::from_bits(self.place.load(Ordering::Relaxed))
    }

    pub fn set_place(&self, place: Place) {
        self.place.store(place.to_bits(), Ordering::Relaxed);
    }

    pub fn n_attempts(&self) -> u32 {
        self.n_attempts.load(Ordering::Relaxed)
    }

    pub fn last_error<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.last_error.get(py)
    }

    /// Keeps what an attempt has raised; what one before has raised is for the caller to drop.
    pub fn set_last_error<'py>(&self, error: Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
        let old = self.last_error.take(error.py());
        self.last_error.put(error);
        old
    }

    /// The positional and the named arguments, while the call may still be made.
    pub fn arguments<'py>(&self, py: Python<'py>) -> (Option<Bound<'py, PyAny>>, Option<Bound<'py, PyAny>>) {
        (self.args.get(py), self.kwargs.get(py))
    }

    /// Puts the results of inputs in the place of the inputs.
    pub fn set_arguments(&self, args: Bound<'_, PyAny>, kwargs: Option<Bound<'_, PyAny>>) {
        self.args.put(args);
        if let Some(kwargs) = kwargs {
            self.kwargs.put(kwargs);
        }
    }

    /// An error when the threads that would run the task are in another process.
    pub fn check_fork(&self) -> PyResult<()> {
        self.office.check_fork()
    }

    /// What the task is called in messages.
    pub fn describe(&self, py: Python<'_>) -> String {
        if let Some(step) = &self.step {
            return step.describe(py);
        }
        self.function.get(py).map_or_else(|| "of a future".to_owned(), |function| name_of(&function))
    }

    /// Takes the task out of where it waits, to be cancelled.
    pub fn withdraw(&self, future: &Bound<'_, Future>) {
        let queued = self.office.crew.withdraw(self.place());
        if queued.is_none() {
            self.office.forget_waiting(future);
        }
    }

    /// Drops the call.
    pub fn clear(&self, py: Python<'_>) {
        for slot in [&self.function, &self.args, &self.kwargs] {
            slot.clear(py);
        }
        drop(self.context.take(py));
    }

    /// Takes the call out, with what an attempt has raised, for the caller to drop.
    pub fn take_all<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyAny>> {
        let slots = [&self.function, &self.args, &self.kwargs, &self.last_error];
        let objects = slots.into_iter().filter_map(|slot| slot.take(py));
        objects.chain(self.context.take(py)).collect()
    }

    pub fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        let slots = [&self.function, &self.args, &self.kwargs, &self.last_error];
        slots.into_iter().try_for_each(|slot| slot.visit(visit))
    }

    /// Makes the call and forgets it.
    ///
    /// `leave` is called when it has returned, before anything else can run.
    pub fn call_once<'py>(&self, py: Python<'py>, leave: impl FnMut()) -> PyResult<Bound<'py, PyAny>> {
        if let Some(step) = &self.step {
            return step.compute(py, leave);
        }
        let (function, args, kwargs) = (self.function.take(py), self.args.take(py), self.kwargs.take(py));
        let (Some(function), Some(args), Some(context)) = (function, args, self.context.take(py)) else {
            return Err(lost_call());
        };
        let result = in_context(&context, leave, || call::call_with(&function, &args, kwargs.as_ref()));
        drop((function, args, kwargs, context));
        result
    }

    /// Makes the call, in a context of its own, and keeps it for another time.
    pub fn call_again<'py>(&self, py: Python<'py>, leave: impl FnMut()) -> PyResult<Bound<'py, PyAny>> {
        if let Some(step) = &self.step {
            return step.compute(py, leave);
        }
        let (function, args, kwargs) = (self.function.get(py), self.args.get(py), self.kwargs.get(py));
        let (Some(function), Some(args), Some(context)) = (function, args, self.context.copy(py)?) else {
            return Err(lost_call());
        };
        in_context(&context, leave, || call::call_with(&function, &args, kwargs.as_ref()))
    }

    /// Counts an attempt that begins.
    #[inline]
    pub fn begin_attempt(&self) -> u32 {
        let n = self.n_attempts.load(Ordering::Relaxed) + 1;
        self.n_attempts.store(n, Ordering::Relaxed);
        n
    }
}

/// A name for a function, for messages.
fn name_of(function: &Bound<'_, PyAny>) -> String {
    let name = call::get_attr(function, pyo3::intern!(function.py(), "__qualname__"));
    name.and_then(|name| name.extract()).unwrap_or_else(|_| crate::error::repr(function))
}

/// A context for a call, hidden from the collector while it waits; nobody else has it.
struct Context(Slot);

impl Context {
    /// A copy of that of this thread.
    fn current(py: Python<'_>) -> PyResult<Self> {
        // SAFETY: the thread is attached, and the reference is new.
        let context = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_CopyCurrent())? };
        collector::hide(&context);
        Ok(Self(Slot::of(context)))
    }

    /// Takes it out, to be entered once.
    fn take<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.0.take(py).inspect(collector::show)
    }

    /// A copy, for one of several attempts.
    fn copy<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(context) = self.0.get(py) else { return Ok(None) };
        // SAFETY: the thread is attached; the argument is a context; the reference is new.
        unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_Copy(context.as_ptr())).map(Some) }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: tasks are parts of Python objects, which attached threads drop.
        drop(self.take(unsafe { Python::assume_attached() }));
    }
}

fn lost_call() -> PyErr {
    crate::error::InternalError::new_err("a task has lost its call: this is a bug, please report it")
}

/// Calls within a context, which nobody else is in.
#[inline]
fn in_context<'py>(
    context: &Bound<'py, PyAny>,
    mut leave: impl FnMut(),
    call: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = context.py();
    // SAFETY: the thread is attached; a context is entered and left by the same thread, around the call.
    unsafe {
        if ffi::PyContext_Enter(context.as_ptr()) != 0 {
            return Err(PyErr::fetch(py));
        }
        let result = call();
        leave();
        if ffi::PyContext_Exit(context.as_ptr()) != 0 { Err(PyErr::fetch(py)) } else { result }
    }
}

/// Runs a task that has no policy, from begin to end.
pub fn run_plain(future: &Bound<'_, Future>, task: &Task) -> PyResult<()> {
    let py = future.py();
    if !future.get().begin() {
        task.office.count_repeated(); // it was counted as begun, and is cancelled
        return Ok(());
    }
    task.begin_attempt();
    let outcome = task.call_once(py, || ());
    finish(future, task, outcome)
}

/// Ends the future of a task with the outcome of its last attempt.
pub fn finish(future: &Bound<'_, Future>, task: &Task, outcome: PyResult<Bound<'_, PyAny>>) -> PyResult<()> {
    // Before the end is seen: who waits for the task may look at the numbers next.
    task.office.count(outcome.is_ok());
    if let Some(step) = task.step() {
        if future.get().finish() {
            step.finish(future.py(), outcome, task.n_attempts());
        }
        return Ok(());
    }
    if future.get().stage() == Stage::Running {
        future::settle(future, outcome)
    } else {
        Ok(()) // a user has set a result
    }
}

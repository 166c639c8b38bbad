//! A task of a run, as an executor has it.

use ferris_core::crew::Group;
use ferris_core::queue::Priority;
use pyo3::ffi;
use pyo3::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use super::{Deadline, Governed};
use crate::interpret::Interpreter;
use crate::policy::Policy;
use crate::pool;
use crate::session;

/// No task yet.
const NONE: u32 = u32::MAX;

/// A ticket of a run until a worker takes it, and then the task it was for.
pub struct Step {
    run: Arc<Governed>,
    lane: usize,
    index: AtomicU32,
    /// Counted as running.
    is_running: AtomicBool,
}

impl Step {
    /// A ticket of a lane.
    pub fn ticket(run: &Arc<Governed>, lane: usize) -> Self {
        Self { run: Arc::clone(run), lane, index: AtomicU32::new(NONE), is_running: AtomicBool::new(false) }
    }

    /// The task, once a worker has taken it.
    fn bound(&self) -> Option<u32> {
        Some(self.index.load(Ordering::Relaxed)).filter(|&index| index != NONE)
    }

    fn index(&self) -> u32 {
        self.bound().expect("a worker has taken the step")
    }

    /// A worker has taken it: the task that goes first begins, or goes on.  False when there is nothing to do.
    pub fn begin(&self, py: Python<'_>) -> bool {
        match self.bound() {
            Some(index) => self.run.backlog().begin(index),
            None if self.run.is_over() => return false,
            None => {
                let taken = self.run.backlog().take(self.lane);
                self.run.offer(py);
                let Some(index) = taken else { return false };
                self.index.store(index, Ordering::Relaxed);
            }
        }
        self.is_running.store(true, Ordering::Relaxed);
        true
    }

    /// An attempt has ended, and there will be another.
    pub fn rest(&self, py: Python<'_>) {
        self.stop();
        self.run.has_rested.store(true, Ordering::Relaxed);
        self.run.offer(py);
    }

    /// Ends the whole run with an error, whatever becomes of the task.
    pub fn give_up(&self, error: PyErr) {
        self.run.fail(error);
    }

    /// The task runs no longer; one that was cancelled between two attempts did not.
    fn stop(&self) {
        if self.is_running.swap(false, Ordering::Relaxed) {
            self.run.backlog().rest(self.index());
        }
    }

    /// True when a worker that waits may run, within the task that it runs, what this stands for.
    pub fn can_be_helped(&self) -> bool {
        let index = self.bound().or_else(|| self.run.backlog().peek(self.lane));
        index.is_none_or(|index| self.run.policy(index).can_be_helped())
    }

    /// How the task is to be run, once a worker has taken it.
    pub fn policy(&self) -> Option<&Policy> {
        self.bound().map(|index| self.run.policy(index))
    }

    /// Where it waits when it is to be attempted again, and at which level.
    pub fn order(&self) -> (Group, Priority) {
        let policy = self.run.policy(self.index());
        (policy.group(), policy.priority)
    }

    /// True for a step of this run.
    pub fn is_of(&self, run: &Governed) -> bool {
        std::ptr::eq(Arc::as_ptr(&self.run), run)
    }

    /// Computes the task; `leave` is called when that is done, before anything else can run.
    pub fn compute<'py>(&self, py: Python<'py>, leave: impl FnMut()) -> PyResult<Bound<'py, PyAny>> {
        let run = &*self.run;
        if run.is_over() {
            return Ok(py.None().into_bound(py)); // nobody asks for it any more
        }
        pool::count_tasks(1);
        run.hold_blas_back(py)?;
        session::attempt(py, &run.job, &mut Interpreter::default(), &run.graph, self.index(), leave)
            .map(|value| value.into_bound(py))
    }

    /// Accounts for the end of the task, after so many attempts.
    pub fn finish(&self, py: Python<'_>, outcome: PyResult<Bound<'_, PyAny>>, n_attempts: u32) {
        let Some(index) = self.bound() else {
            // The executor takes no more tasks, and nobody will come to those that wait.
            return outcome.map_or_else(|error| self.run.fail(error), drop);
        };
        if n_attempts > 1 {
            self.run.record().repeated.push((index, n_attempts));
        }
        if let Ok(value) = &outcome {
            let bytes = self.run.size_of(value);
            self.run.backlog().hold(index, bytes);
        }
        self.stop();
        self.run.finish(py, index, outcome);
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
        let index = self.index();
        self.run.record().timed_out.push(index);
        self.run.pin(self.run.graph.dependencies(index));
        self.run.overdue()
    }

    /// True when nobody asks for the outcome any more.
    pub fn is_over(&self) -> bool {
        self.run.is_over()
    }

    /// The key of an input that the last attempt may have used up, if there is one: an iterator.
    pub fn spent_input(&self, py: Python<'_>) -> Option<String> {
        let run = &*self.run;
        let mut inputs = run.graph.dependencies(self.index()).iter();
        let spent = inputs.find(|&&input| {
            // SAFETY: the thread is attached, and the inputs of a task that is not settled have values.
            unsafe { ffi::PyIter_Check(run.graph.payload(input).value.get()) != 0 }
        });
        spent.map(|&input| run.name(py, input))
    }

    /// What the task is called in messages.
    pub fn describe(&self, py: Python<'_>) -> String {
        self.run.name(py, self.index())
    }
}

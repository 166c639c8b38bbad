//! The limit of time of an attempt, and the interrupt that is sent when it has passed.
//!
//! Each worker has a watch.  While an attempt with a limit runs, the watch holds its future; whoever takes the future out
//! decides what becomes of the attempt: the worker when the call has returned, or the timer when the time is up.  The timer
//! then sends the interrupt, under the lock of the watch; the worker, which takes that lock when the call has returned, takes
//! the interrupt back before any other Python code can run on its thread.  So an interrupt never reaches another task.

use pyo3::ffi;
use pyo3::prelude::*;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::call;
use crate::future::Future;
use crate::interpreter;
use crate::office::Office;
use crate::timer;

/// No deadline.
pub const NEVER: u64 = u64::MAX;

#[derive(Default)]
struct Attempt {
    future: Option<Py<Future>>,
    thread: u64,
    is_interrupted: bool,
    /// Its worker has lent its slot.
    has_lent: bool,
    abandoned: Option<Instant>,
}

/// The watch of one worker.
pub struct Watch {
    pub office: Arc<Office>,
    /// On the clock of the timer; [`NEVER`] while no attempt with a limit runs.
    deadline: AtomicU64,
    // Held by attached threads only.
    attempt: Mutex<Attempt>,
}

/// An attempt whose time was up.
pub struct Overdue {
    pub future: Py<Future>,
    /// Its worker had lent its slot.
    pub has_lent: bool,
}

impl Watch {
    pub fn new(office: &Arc<Office>) -> Arc<Self> {
        let watch = Arc::new(Self {
            office: Arc::clone(office),
            deadline: AtomicU64::new(NEVER),
            attempt: Mutex::default(),
        });
        timer::register(&watch);
        watch
    }

    fn attempt(&self) -> MutexGuard<'_, Attempt> {
        self.attempt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn deadline(&self) -> u64 {
        self.deadline.load(Ordering::Acquire)
    }

    /// An attempt begins on this thread.
    pub fn enter(&self, future: &Bound<'_, Future>, limit: Duration) {
        *self.attempt() = Attempt {
            future: Some(future.clone().unbind()),
            thread: interpreter::thread_ident(),
            ..Attempt::default()
        };
        let deadline = timer::time_after(limit);
        self.deadline.store(deadline, Ordering::Release);
        timer::expect(future.py(), deadline);
    }

    /// The call has returned; false when its time was up before.
    ///
    /// Nothing that could run Python code happens between the return and this.
    pub fn leave(&self) -> bool {
        self.deadline.store(NEVER, Ordering::Release);
        let mut attempt = self.attempt();
        if attempt.is_interrupted {
            // SAFETY: the thread is attached; it has the interrupt taken back that was sent to itself.
            unsafe { ffi::PyThreadState_SetAsyncExc(attempt.thread as _, ptr::null_mut()) };
        }
        let future = std::mem::take(&mut *attempt).future;
        drop(attempt);
        future.is_some()
    }

    /// The time is up, unless the call has returned.
    pub fn overtake(&self, py: Python<'_>, now: u64, interrupt: &Bound<'_, PyAny>) -> Option<Overdue> {
        let mut attempt = self.attempt();
        if self.deadline() > now {
            return None;
        }
        let future = attempt.future.take()?;
        self.deadline.store(NEVER, Ordering::Release);
        // SAFETY: the timer is attached; an exception class.  The thread is in the call, or about to return from it and to
        // wait for the lock of this watch.
        unsafe { ffi::PyThreadState_SetAsyncExc(attempt.thread as _, interrupt.as_ptr()) };
        let _: Python<'_> = py;
        attempt.is_interrupted = true;
        attempt.abandoned = Some(Instant::now());
        let has_lent = std::mem::take(&mut attempt.has_lent);
        Some(Overdue { future, has_lent })
    }

    /// True while the worker is in an attempt with a limit.
    pub fn is_timed(&self) -> bool {
        let attempt = self.attempt();
        attempt.future.is_some() || attempt.abandoned.is_some()
    }

    /// True when the worker was abandoned that long ago and has not come back.
    pub fn is_stuck(&self, office: &Arc<Office>, time: Duration) -> bool {
        Arc::ptr_eq(&self.office, office)
            && self.attempt().abandoned.is_some_and(|since| since.elapsed() >= time)
    }

    /// Notes that the slot is lent.
    pub fn lend(&self) {
        self.attempt().has_lent = true;
    }

    /// The wait is over; false when the slot is not to be had back, as the worker was abandoned meanwhile.
    pub fn take_back(&self) -> bool {
        let mut attempt = self.attempt();
        attempt.has_lent = false;
        attempt.abandoned.is_none()
    }

    /// True when the slot is nobody's: the worker was abandoned.
    pub fn is_abandoned(&self) -> bool {
        self.attempt().abandoned.is_some()
    }
}

/// `dask_ferris._future.TaskInterrupt`.
pub fn interrupt_class(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    call::get_attr(py.import("dask_ferris._future")?.as_any(), pyo3::intern!(py, "TaskInterrupt"))
}

//! The limit of time of an attempt, and the interrupt that is sent when it has passed.
//!
//! Each worker has a watch.  While an attempt with a limit runs, the watch holds its future; whoever takes the future out
//! decides what becomes of the attempt: the worker when the call has returned, or the timer when the time is up.  The timer
//! then sends the interrupt, under the lock of the watch; the worker, which takes that lock when the call has returned, takes
//! the interrupt back before any other Python code can run on its thread.  So an interrupt never reaches another task.

use ferris_core::crew::Slot;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::future::Future;
use crate::interpreter;
use crate::newborn;
use crate::office::Office;
use crate::timer;

/// No deadline.
pub const NEVER: u64 = u64::MAX;

#[derive(Default)]
struct Attempt {
    future: Option<Py<Future>>,
    thread: u64,
    is_interrupted: bool,
    /// Where the slot of its worker is.
    slot: Slot,
    /// The library's own code runs on the thread, in so many places one within the other: no interrupt.
    n_shields: u32,
    /// There would have been one.
    owes_interrupt: bool,
    abandoned: Option<Instant>,
}

/// The watch of one worker.
pub struct Watch {
    pub office: Arc<Office>,
    /// On the clock of the timer; [`NEVER`] while no attempt with a limit runs.
    deadline: AtomicU64,
    // Held by attached threads only.
    attempt: Mutex<Attempt>,
    /// The timer knows it.
    is_registered: AtomicBool,
}

/// An attempt whose time was up.
pub struct Overdue {
    pub future: Py<Future>,
    /// Where the slot of its worker was.
    pub slot: Slot,
}

/// How an attempt was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    InTime,
    /// Its time was up, and nobody has noticed.
    Late,
    /// The timer has ended it.
    Overtaken,
}

impl Attempt {
    /// Sends the interrupt to the thread, which is in the call, or about to return from it and to wait for this lock.
    fn interrupt(&mut self, interrupt: &Bound<'_, PyAny>) {
        // SAFETY: the thread is attached; an exception class.
        unsafe { ffi::PyThreadState_SetAsyncExc(self.thread as _, interrupt.as_ptr()) };
        self.is_interrupted = true;
    }

    /// Takes back the interrupt of this thread; false when there is none.
    fn take_interrupt(&mut self) -> bool {
        if self.is_interrupted {
            // SAFETY: the thread is attached; it has the interrupt taken back that was sent to itself.
            unsafe { ffi::PyThreadState_SetAsyncExc(self.thread as _, ptr::null_mut()) };
        }
        std::mem::take(&mut self.is_interrupted)
    }
}

impl Watch {
    pub fn new(office: &Arc<Office>) -> Arc<Self> {
        Arc::new(Self {
            office: Arc::clone(office),
            deadline: AtomicU64::new(NEVER),
            attempt: Mutex::default(),
            is_registered: AtomicBool::new(false),
        })
    }

    fn attempt(&self) -> MutexGuard<'_, Attempt> {
        self.attempt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn deadline(&self) -> u64 {
        self.deadline.load(Ordering::Acquire)
    }

    /// An attempt begins on this thread.
    pub fn enter(self: &Arc<Self>, future: &Bound<'_, Future>, limit: Duration) {
        if !self.is_registered.swap(true, Ordering::Relaxed) {
            timer::register(self);
        }
        *self.attempt() = Attempt {
            future: Some(future.clone().unbind()),
            thread: interpreter::thread_ident(),
            ..Attempt::default()
        };
        let deadline = timer::time_after(limit);
        self.deadline.store(deadline, Ordering::Release);
        timer::expect(future.py(), deadline);
    }

    /// The call has returned.
    ///
    /// Nothing that could run Python code happens between the return and this.
    pub fn leave(&self, py: Python<'_>) -> Left {
        let deadline = self.deadline.swap(NEVER, Ordering::AcqRel);
        let mut attempt = self.attempt();
        if attempt.is_interrupted {
            drop(attempt);
            newborn::wait_for_births(py); // or it would be taken back from one of them
            attempt = self.attempt();
            attempt.take_interrupt();
        }
        let future = std::mem::take(&mut *attempt).future;
        drop(attempt);
        match future {
            None => Left::Overtaken,
            Some(_) if timer::now() > deadline => Left::Late,
            Some(_) => Left::InTime,
        }
    }

    /// The time is up, unless the call has returned; without `interrupt` the thread is left to itself.
    pub fn overtake(&self, now: u64, interrupt: Option<&Bound<'_, PyAny>>) -> Option<Overdue> {
        let mut attempt = self.attempt();
        if self.deadline() > now {
            return None;
        }
        let future = attempt.future.take()?;
        self.deadline.store(NEVER, Ordering::Release);
        if attempt.n_shields > 0 {
            attempt.owes_interrupt = true;
        } else if let Some(interrupt) = interrupt {
            attempt.interrupt(interrupt);
        }
        attempt.abandoned = Some(Instant::now());
        Some(Overdue { future, slot: attempt.slot })
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

    /// Notes where the slot of the worker is; false when the worker was abandoned.
    pub fn set_slot(&self, slot: Slot) -> bool {
        let mut attempt = self.attempt();
        attempt.slot = slot;
        attempt.abandoned.is_none()
    }

    /// Does something on this thread, its worker's, that no interrupt is to land in.
    pub fn shielded<R>(&self, py: Python<'_>, work: impl FnOnce() -> R) -> R {
        self.attempt().n_shields += 1;
        let result = work();
        let mut attempt = self.attempt();
        attempt.n_shields -= 1;
        if attempt.n_shields == 0
            && std::mem::take(&mut attempt.owes_interrupt)
            && let Ok(interrupt) = interrupt_class(py)
        {
            attempt.interrupt(&interrupt);
        }
        result
    }

    /// Takes the interrupt of this thread back, to be raised at once; false when there is none.
    pub fn take_interrupt(&self) -> bool {
        self.attempt().take_interrupt()
    }

    /// True when the slot is nobody's: the worker was abandoned.
    pub fn is_abandoned(&self) -> bool {
        self.attempt().abandoned.is_some()
    }
}

/// `dask_ferris._future.TaskInterrupt`.
pub fn interrupt_class(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let find = || py.import("dask_ferris._future")?.getattr("TaskInterrupt").map(Bound::unbind);
    Ok(CLASS.get_or_try_init(py, find)?.bind(py).clone())
}

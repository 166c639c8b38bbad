//! What the standard library sees inside a future: its condition and the list of its waiters.

use ferris_core::reentrant::Owner;
use ferris_core::sync::{current_thread, park};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyList};
use std::time::{Duration, Instant};

use crate::future::Future;
use crate::interpreter;
use crate::station;

/// The lock of a future, in the shape of a `threading.Condition`.
#[pyclass(frozen, module = "dask_ferris._native")]
pub struct Condition(pub Py<Future>);

impl Condition {
    fn check_owned(&self) -> PyResult<()> {
        let is_owned = self.0.get().lock.is_owned_by(Owner::current());
        if is_owned { Ok(()) } else { Err(PyRuntimeError::new_err("cannot use an un-acquired lock")) }
    }

    fn take(&self, py: Python<'_>, blocking: bool, timeout: f64) -> PyResult<bool> {
        let future = self.0.get();
        if future.lock.try_acquire(Owner::current()) {
            return Ok(true);
        }
        if !blocking {
            return Ok(false);
        }
        if timeout < 0.0 {
            return future.acquire(py).map(|()| true);
        }
        let end =
            Instant::now() + Duration::try_from_secs_f64(timeout).unwrap_or(Duration::from_secs(1 << 32));
        while !future.lock.try_acquire(Owner::current()) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            if future.lock.enlist() {
                interpreter::wait_a_slice(py, |slice| park(left.min(slice)))?;
            }
        }
        Ok(true)
    }

    fn wake(&self, n_most: usize) -> PyResult<()> {
        self.check_owned()?;
        if let Some(more) = self.0.get().more().as_deref_mut() {
            let n = n_most.min(more.listeners.len());
            more.listeners.drain(..n).for_each(|thread| thread.unpark());
        }
        Ok(())
    }

    /// Sleeps until woken; false when the limit has passed.
    fn sleep(&self, py: Python<'_>, limit: Option<Duration>) -> PyResult<bool> {
        let (future, me) = (self.0.get(), current_thread());
        let end = limit.and_then(|limit| Instant::now().checked_add(limit));
        let is_listed = || {
            let more = future.more();
            more.as_deref().is_some_and(|more| more.listeners.iter().any(|thread| thread.id() == me.id()))
        };
        while is_listed() {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(false);
            }
            interpreter::wait_a_slice(py, |slice| park(left.map_or(slice, |left| left.min(slice))))?;
        }
        Ok(true)
    }
}

#[pymethods]
impl Condition {
    /// Take the lock.
    #[pyo3(signature = (blocking = true, timeout = -1.0))]
    fn acquire(&self, py: Python<'_>, blocking: bool, timeout: f64) -> PyResult<bool> {
        let is_taken = self.take(py, blocking, timeout)?;
        if is_taken {
            station::note_lock(py, &self.0);
        }
        Ok(is_taken)
    }

    /// Give the lock up.
    fn release(&self) -> PyResult<()> {
        station::forget_lock(&self.0);
        let is_released = self.0.get().lock.release(Owner::current());
        if is_released { Ok(()) } else { Err(PyRuntimeError::new_err("cannot release un-acquired lock")) }
    }

    fn __enter__(&self, py: Python<'_>) -> PyResult<bool> {
        self.acquire(py, true, -1.0)
    }

    #[pyo3(signature = (*_error))]
    fn __exit__(&self, _error: &Bound<'_, pyo3::types::PyTuple>) -> PyResult<()> {
        self.release()
    }

    /// Wait until notified, with the lock given up meanwhile.
    #[pyo3(signature = (timeout = None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        self.check_owned()?;
        let future = self.0.get();
        future.more().get_or_insert_default().listeners.push(current_thread());
        let depth = future.lock.release_all();
        let limit = timeout.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok());
        let woken = self.sleep(py, limit);
        let me = current_thread();
        if let Some(more) = future.more().as_deref_mut() {
            more.listeners.retain(|thread| thread.id() != me.id());
        }
        let acquired = loop {
            match future.acquire(py) {
                Ok(()) => break woken,
                Err(error) if woken.is_ok() => {
                    while future.acquire(py).is_err() {}
                    break Err(error);
                }
                Err(_) => {}
            }
        };
        future.lock.set_depth(depth);
        acquired
    }

    /// Wake threads that wait.
    #[pyo3(signature = (n = 1))]
    fn notify(&self, n: usize) -> PyResult<()> {
        self.wake(n)
    }

    /// Wake all threads that wait.
    fn notify_all(&self) -> PyResult<()> {
        self.wake(usize::MAX)
    }
}

/// The waiters of a future, in the shape of a list.
///
/// A waiter of a worker gets an event whose `wait` lends the worker's slot to another thread.
#[pyclass(frozen, module = "dask_ferris._native")]
pub struct Waiters(pub Py<Future>);

impl Waiters {
    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let waiters: Vec<_> = match self.0.get().more().as_deref() {
            Some(more) => more.waiters.iter().map(|waiter| waiter.clone_ref(py)).collect(),
            None => Vec::new(),
        };
        PyList::new(py, waiters)
    }
}

#[pymethods]
impl Waiters {
    fn append(&self, waiter: Bound<'_, PyAny>) -> PyResult<()> {
        station::let_lend(&waiter)?;
        self.0.get().more().get_or_insert_default().waiters.push(waiter.unbind());
        Ok(())
    }

    fn remove(&self, waiter: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut more = self.0.get().more();
        let removed = more.as_deref_mut().and_then(|more| {
            let index = more.waiters.iter().position(|known| known.is(waiter))?;
            Some(more.waiters.swap_remove(index))
        });
        drop(more);
        removed.map(drop).ok_or_else(|| PyValueError::new_err("list.remove(x): x not in list"))
    }

    fn __len__(&self) -> usize {
        self.0.get().more().as_deref().map_or(0, |more| more.waiters.len())
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        self.snapshot(py)?.try_iter()
    }
}

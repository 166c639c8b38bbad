//! The native half of `dask_ferris.Executor`: what it owns, and what every call passes through.

use ferris_core::crew::Phase;
use ferris_core::queue::Priority;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3::{PyTraverseError, PyVisit, intern};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::call;
use crate::error;
use crate::future::Future;
use crate::office::{self, Office, Terms};
use crate::policy::{Policy, Words};

/// What an executor is: one with threads of its own, or a view that carries a policy to another's.
enum Own {
    /// From `Box::into_raw`; replaced in the child of a fork, where the old one is leaked.
    Office(AtomicPtr<Arc<Office>>),
    View {
        base: Py<Executor>,
        policy: Arc<Policy>,
    },
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Self::Office(office) = self {
            // SAFETY: the pointer came from `into_raw`, and nobody else takes it back.
            let office = unsafe { Box::from_raw(*office.get_mut()) };
            // An executor that nobody has any more finishes what it was given.
            Python::attach(|py| {
                if let Err(error) = office.close(py, false) {
                    error.write_unraisable(py, None);
                }
            });
        }
    }
}

/// Active, queued, completed, failed and cancelled tasks; seconds; steals; spare and abandoned threads.
type Numbers = (u64, u64, u64, u64, u64, f64, u64, usize, usize);

/// The base of `dask_ferris.Executor`.
#[pyclass(subclass, frozen, module = "dask_ferris._native")]
#[derive(Default)]
pub struct Executor(OnceLock<Own>);

impl Executor {
    fn own(&self) -> PyResult<&Own> {
        let text = "the executor was not initialised: a subclass has to call Executor.__init__";
        self.0.get().ok_or_else(|| PyRuntimeError::new_err(text))
    }

    /// What its threads and futures know of it, and the policy it carries.
    pub fn parts(&self) -> PyResult<(&Arc<Office>, Option<&Arc<Policy>>)> {
        match self.own()? {
            // SAFETY: it is freed with `self` only.
            Own::Office(office) => Ok((unsafe { &*office.load(Ordering::Acquire) }, None)),
            Own::View { base, policy } => Ok((base.get().parts()?.0, Some(policy))),
        }
    }

    pub fn office(&self) -> PyResult<&Arc<Office>> {
        Ok(self.parts()?.0)
    }

    fn set(&self, own: Own) -> PyResult<()> {
        let text = "the executor was initialised already";
        self.0.set(own).map_err(|_| PyRuntimeError::new_err(text))
    }
}

/// The policy of a call with `priority=` among its keywords, if that is meant for the executor, and its other keywords.
#[cold]
fn with_priority<'py>(
    function: &Bound<'py, PyAny>,
    kwargs: &Bound<'py, PyDict>,
    policy: Option<&Arc<Policy>>,
) -> PyResult<Option<(Arc<Policy>, Bound<'py, PyDict>)>> {
    let py = function.py();
    let split = py.import(intern!(py, "dask_ferris._policy"))?.getattr(intern!(py, "split_priority"))?;
    let answer = call::call(&split, [function, kwargs.as_any()])?;
    if answer.is_none() {
        return Ok(None);
    }
    let (high, rest): (f64, Bound<'py, PyDict>) = answer.extract()?;
    let priority = Priority::new(high, 0.0);
    Ok(Some((
        Arc::new(policy.map_or_else(|| Policy::of(priority), |policy| policy.with(py, priority))),
        rest,
    )))
}

#[pymethods]
impl Executor {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self::default()
    }

    /// Schedule ``fn(*args, **kwargs)`` and return its future.
    ///
    /// All keywords are the function's own, but for ``priority`` when its value is a `TaskPriority` and the function has no
    /// parameter of that name. A future of this package among the arguments, directly or in a list, tuple, set or dict,
    /// is waited for without a thread, and the function gets its result.
    ///
    /// Args:
    ///     fn: The function.
    ///     *args: Its arguments.
    ///     **kwargs: Its keyword arguments.
    ///
    /// Returns:
    ///     The future, of type `dask_ferris.Future`.
    ///
    /// Raises:
    ///     TypeError: ``fn`` cannot be called.
    ///     PoolClosedError: The executor was shut down.
    ///     BrokenPoolError: The executor is broken.
    ///     QueueFullError: ``max_queued`` tasks wait, and ``on_full`` is "raise" or this is one of the executor's own threads.
    #[pyo3(signature = (r#fn, /, *args, **kwargs))]
    fn submit<'py>(
        &self,
        r#fn: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
        kwargs: Option<Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, Future>> {
        if !r#fn.is_callable() {
            let text = format!("fn must be something that can be called, not {}", error::repr(&r#fn));
            return Err(PyTypeError::new_err(text));
        }
        let (office, policy) = self.parts()?;
        if let Some(kwargs) = &kwargs
            && kwargs.contains(intern!(r#fn.py(), "priority"))?
            && let Some((policy, rest)) = with_priority(&r#fn, kwargs, policy)?
        {
            office.check_priority(policy.priority)?;
            return office.submit(Some(&policy), r#fn, args, Some(rest));
        }
        office.submit(policy, r#fn, args, kwargs)
    }

    /// Make this an executor with threads of its own.
    fn _open(&self, terms: Terms) -> PyResult<()> {
        let office = office::open(terms);
        self.set(Own::Office(AtomicPtr::new(Box::into_raw(Box::new(office)))))
    }

    /// Make this a view of `base` that carries a policy.
    fn _look_at(&self, base: Py<Executor>, words: Words) -> PyResult<()> {
        let office = base.get().office()?;
        let policy = words.policy(office);
        office.check_priority(policy.priority)?;
        self.set(Own::View { base, policy: Arc::new(policy) })
    }

    /// Begin the end: accept nothing more, and cancel what has not begun if asked to.
    fn _close(&self, py: Python<'_>, cancels: bool) -> PyResult<()> {
        self.office()?.close(py, cancels)
    }

    /// Do not keep the interpreter from its end for long: who asks for what runs waits by itself.
    fn _disown(&self) -> PyResult<()> {
        self.office()?.disown();
        Ok(())
    }

    /// Wait until all is done and every thread has gone, those abandoned apart.
    fn _wait_until_gone(&self, py: Python<'_>) -> PyResult<()> {
        self.office()?.wait_until_gone(py)
    }

    /// Have threads of its own in the child of a fork.
    fn _renew(&self, py: Python<'_>) -> PyResult<()> {
        if let Own::Office(place) = self.own()? {
            let new = self.office()?.anew(py);
            // The old one is leaked: what it has may be in the hands of threads that are not there.
            place.store(Box::into_raw(Box::new(new)), Ordering::Release);
        }
        Ok(())
    }

    /// Raise what `submit` would when no tasks are accepted.
    fn _check_open(&self) -> PyResult<()> {
        self.office()?.check_open()
    }

    /// Whether tasks are accepted.
    fn is_active(&self) -> PyResult<bool> {
        Ok(self.office()?.crew.snapshot().phase == Phase::Open)
    }

    #[getter]
    fn _broken(&self) -> PyResult<Option<String>> {
        Ok(self.office()?.broken().map(str::to_owned))
    }

    #[getter]
    fn _shutdown(&self) -> PyResult<bool> {
        self.is_active().map(|is_active| !is_active)
    }

    /// What the executor has done and does.
    fn _count(&self) -> PyResult<Numbers> {
        let office = self.office()?;
        let (snapshot, totals) = (office.crew.snapshot(), &office.crew.totals);
        let [completed, failed, repeated, started] =
            [&totals.n_completed, &totals.n_failed, &totals.n_repeated, &totals.n_started]
                .map(|total| total.load(Ordering::Relaxed));
        let active = started.saturating_sub(completed + failed + repeated);
        let seconds = Duration::from_nanos(totals.time.load(Ordering::Relaxed)).as_secs_f64();
        let (cancelled, n_steals) =
            (totals.n_cancelled.load(Ordering::Relaxed), totals.n_steals.load(Ordering::Relaxed));
        let queued = snapshot.n_queued as u64;
        let (n_spare, n_abandoned) = (snapshot.n_spare, snapshot.n_abandoned);
        Ok((active, queued, completed, failed, cancelled, seconds, n_steals, n_spare, n_abandoned))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.0.get() {
            Some(Own::View { base, policy }) => {
                visit.call(base)?;
                let _: &Arc<Policy> = policy; // shared with tasks, which do not lead back to a view
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

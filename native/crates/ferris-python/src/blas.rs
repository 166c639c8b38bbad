//! How many workers of a run hold BLAS back; the rest is in `dask_ferris._blas`.
//!
//! Workers enter by themselves, when they have worked for a while and are not alone.  The caller takes all of them
//! out again before its `get` returns: by then BLAS is as it was, whatever a helper is still busy with.

use pyo3::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::call;

/// The run is over, or leaves BLAS alone: nobody enters.
const CLOSED: usize = usize::MAX;

/// The workers of one run that have entered.
pub struct BlasCount(AtomicUsize);

impl BlasCount {
    /// A count for a run that holds BLAS back, or one that nobody can enter.
    pub fn new(limits: bool) -> Self {
        Self(AtomicUsize::new(if limits { 0 } else { CLOSED }))
    }

    /// Counts a worker in.
    pub fn enter(&self, py: Python<'_>) -> PyResult<()> {
        let one_more = |n| (n != CLOSED).then_some(n + 1);
        // Relaxed: attached threads only, and what is counted is kept under a lock in Python.
        if self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok() {
            call::call(&py.import("dask_ferris._blas")?.getattr("enter")?, [])?;
        }
        Ok(())
    }

    /// Counts every worker out, for good.
    pub fn close(&self, py: Python<'_>) {
        let n = self.0.swap(CLOSED, Ordering::Relaxed);
        if n != CLOSED && n > 0 {
            leave(py, n).unwrap_or_else(|error| error.write_unraisable(py, None));
        }
    }
}

fn leave(py: Python<'_>, n: usize) -> PyResult<()> {
    let leave = py.import("dask_ferris._blas")?.getattr("leave")?;
    call::call(&leave, [n.into_pyobject(py)?.as_any()]).map(drop)
}

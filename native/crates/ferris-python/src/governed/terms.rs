//! How a run is to be done.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::time::{Duration, Instant};

use crate::policy::Words;
use crate::program::Program;

/// How a run is to be done: `dask_ferris._governed.Terms`.
#[derive(FromPyObject)]
pub struct Terms<'py> {
    /// Those that occur, the first that of tasks that are not among `policy_of`.
    pub policies: Vec<Words>,
    /// From keys to positions.
    pub policy_of: Bound<'py, PyDict>,
    /// The run goes on after a task that failed; its exception is its value.
    pub continues: bool,
    /// Seconds that it may take.
    pub deadline: Option<f64>,
    /// Bytes that values may take before roots are held back.
    pub memory_limit: Option<u64>,
    /// The values of targets are handed over one by one.
    pub hands_over: bool,
    pub limits_blas: bool,
    /// `_check.compare`, when tasks are to be run both ways.
    pub compare: Option<Py<PyAny>>,
}

impl Terms<'_> {
    /// The positions of the policies of all tasks.
    pub fn positions(&self, program: &Program, n_tasks: usize) -> PyResult<Vec<u32>> {
        let mut positions = vec![0; n_tasks];
        if !self.policy_of.is_empty() {
            for (index, position) in positions.iter_mut().enumerate() {
                let key = program.key(self.policy_of.py(), index as u32);
                if let Some(known) = self.policy_of.get_item(key)? {
                    *position = known.extract()?;
                }
            }
        }
        Ok(positions)
    }
}

/// The end of the time that a run has.
#[derive(Clone, Copy)]
pub struct Deadline {
    at: Instant,
    pub after: Duration,
}

impl Deadline {
    pub fn after(seconds: f64) -> Option<Self> {
        let after = Duration::try_from_secs_f64(seconds).ok()?;
        Some(Self { at: Instant::now().checked_add(after)?, after })
    }

    pub fn left(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }
}

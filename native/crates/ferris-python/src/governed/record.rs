//! What a run tells of its tasks.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::Governed;
use crate::program::Work;

/// What a run tells of its tasks, by index.
#[derive(Clone, Default)]
pub struct Record {
    /// Tasks that were attempted more than once, and how often.
    pub repeated: Vec<(u32, u32)>,
    pub timed_out: Vec<u32>,
    pub failed: Vec<u32>,
    pub upstream_failed: Vec<u32>,
    pub n_done: usize,
}

impl Governed {
    /// What became of the tasks, up to now.
    pub fn told<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let record = self.record().clone(); // Python may let other threads go on, and they may want the lock
        let key = |index: u32| self.job.program.key(py, index);
        let keys = |indices: &[u32]| PyList::new(py, indices.iter().map(|&index| key(index)));
        let attempts = PyDict::new(py);
        for &(index, n) in &record.repeated {
            attempts.set_item(key(index), n)?;
        }
        let told = PyDict::new(py);
        told.set_item("numbers", self.numbers_by_policy())?;
        told.set_item("n_tasks", self.graph.n_to_run())?;
        told.set_item("n_done", record.n_done)?;
        let peak = self.backlog().most_live();
        told.set_item("peak_memory", peak)?;
        told.set_item("attempts", attempts)?;
        told.set_item("timed_out", keys(&record.timed_out)?)?;
        told.set_item("failed", keys(&record.failed)?)?;
        told.set_item("upstream_failed", keys(&record.upstream_failed)?)?;
        Ok(told)
    }

    /// How many of the tasks have each policy.
    fn numbers_by_policy(&self) -> Vec<usize> {
        let mut numbers = vec![0; self.policies.len()];
        let is_task = |&index: &u32| !matches!(self.graph.payload(index).work, Work::Nothing);
        for index in self.graph.needed().filter(is_task) {
            numbers[self.policy_of[index as usize] as usize] += 1;
        }
        numbers
    }
}

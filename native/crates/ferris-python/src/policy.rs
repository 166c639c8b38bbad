//! What a view of an executor carries to each of its tasks.

use ferris_core::crew::{Group, NO_RESOURCES};
use ferris_core::queue::Priority;
use pyo3::prelude::*;
use std::time::Duration;

/// How a task is to be run.
pub struct Policy {
    pub priority: Priority,
    /// What it needs.
    pub group: Group,
    /// How long one attempt may take.
    pub timeout: Option<Duration>,
    /// A `dask_ferris.Retry`.
    pub retry: Option<Py<PyAny>>,
    pub name: Option<String>,
}

impl Policy {
    /// That of a task which asks for a priority only.
    pub fn of(priority: Priority) -> Self {
        Self { priority, group: NO_RESOURCES, timeout: None, retry: None, name: None }
    }

    /// The same, with another priority.
    pub fn with(&self, py: Python<'_>, priority: Priority) -> Self {
        let retry = self.retry.as_ref().map(|retry| retry.clone_ref(py));
        Self { priority, group: self.group, timeout: self.timeout, retry, name: self.name.clone() }
    }

    /// True when a worker may run the task within another.
    pub fn can_be_helped(&self) -> bool {
        self.timeout.is_none() && self.group == NO_RESOURCES
    }

    /// True when it asks for nothing but an order.
    pub fn is_plain(&self) -> bool {
        self.timeout.is_none() && self.retry.is_none()
    }
}

//! What a view of an executor carries to each of its tasks.

use ferris_core::crew::{Group, NO_RESOURCES, Request};
use ferris_core::queue::Priority;
use pyo3::prelude::*;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::office::Office;

/// How a task is to be run.
pub struct Policy {
    pub priority: Priority,
    /// What it needs.
    pub resources: Option<Arc<Share>>,
    /// How long one attempt may take.
    pub timeout: Option<Duration>,
    /// A `dask_ferris.Retry`.
    pub retry: Option<Py<PyAny>>,
    pub name: Option<String>,
}

/// What Python says about a policy: `dask_ferris._governed.words_of`.
#[derive(FromPyObject)]
pub struct Words {
    /// As an unevaluated sum.
    priority: (f64, f64),
    /// Seconds.
    timeout: Option<f64>,
    retry: Option<Py<PyAny>>,
    /// Amounts of resources by their index, in order.
    request: Request,
    name: Option<String>,
}

impl Words {
    /// The policy, at an office that has the resources.
    pub fn policy(self, office: &Arc<Office>) -> Policy {
        Policy {
            priority: Priority::new(self.priority.0, self.priority.1),
            resources: (!self.request.is_empty()).then(|| Arc::new(Share::of(office, &self.request))),
            timeout: self.timeout.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
            retry: self.retry,
            name: self.name,
        }
    }
}

/// A group of tasks that need the same resources, for as long as somebody has this.
pub struct Share {
    office: Weak<Office>,
    group: Group,
}

impl Share {
    fn of(office: &Arc<Office>, request: &Request) -> Self {
        Self { office: Arc::downgrade(office), group: office.group(request) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // In the child of a fork a thread that is not there may hold the lock.
        if let Some(office) = self.office.upgrade()
            && office.check_fork().is_ok()
        {
            office.crew.release(self.group);
        }
    }
}

impl Policy {
    /// That of a task which asks for a priority only.
    pub fn of(priority: Priority) -> Self {
        Self { priority, resources: None, timeout: None, retry: None, name: None }
    }

    /// The same, with another priority.
    pub fn with(&self, py: Python<'_>, priority: Priority) -> Self {
        let retry = self.retry.as_ref().map(|retry| retry.clone_ref(py));
        let resources = self.resources.clone();
        Self { priority, resources, timeout: self.timeout, retry, name: self.name.clone() }
    }

    /// The group of tasks that need the same.
    pub fn group(&self) -> Group {
        self.resources.as_ref().map_or(NO_RESOURCES, |share| share.group)
    }

    /// True when a worker may run the task within another.
    pub fn can_be_helped(&self) -> bool {
        self.timeout.is_none() && self.resources.is_none()
    }

    /// True when it asks for nothing but an order.
    pub fn is_plain(&self) -> bool {
        self.timeout.is_none() && self.retry.is_none()
    }
}

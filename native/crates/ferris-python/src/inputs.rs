//! Futures among the arguments of a call: it begins when they have ended, and gets their results.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFrozenSet, PyList, PySet, PyTuple, PyType};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::future::{self, CancelledError, Future};
use crate::task::Task;

/// How many inputs a task still waits for.
pub struct Inputs {
    future: Py<Future>,
    n_left: AtomicUsize,
}

impl Inputs {
    /// Has the task of `future` begin when `inputs` have ended; it was accepted by its office.
    pub fn expect(future: &Bound<'_, Future>, task: &Task, inputs: &[Bound<'_, Future>]) {
        task.office.remember_waiting(future);
        // One more, so that nothing happens before all are added.
        let me =
            Arc::new(Self { future: future.clone().unbind(), n_left: AtomicUsize::new(inputs.len() + 1) });
        for input in inputs {
            if !input.get().add_input(&me) {
                me.count_down(input);
            }
        }
        me.count_one();
    }

    /// One input has ended.
    pub fn count_down(&self, input: &Bound<'_, Future>) {
        let py = input.py();
        if let Some(error) = failure(input) {
            self.fail(py, error);
        }
        self.count_one_in(py);
    }

    fn count_one(&self) {
        Python::attach(|py| self.count_one_in(py));
    }

    fn count_one_in(&self, py: Python<'_>) {
        if self.n_left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let future = self.future.bind(py);
            if let Some(task) = future.get().task()
                && task.office.forget_waiting_kept(future)
            {
                begin(future, task);
            }
        }
    }

    /// An input has no result: neither will the task.
    fn fail(&self, py: Python<'_>, error: PyErr) {
        let future = self.future.bind(py);
        if let Some(task) = future.get().task()
            && task.office.forget_waiting(future)
        {
            task.clear(py);
            end_with(future, task, error);
        }
    }
}

/// All inputs are there.
fn begin(future: &Bound<'_, Future>, task: &Task) {
    match with_results(future.py(), task) {
        Ok(()) => task.office.admit(future, task),
        Err(error) => {
            task.office.crew.forget_pending();
            end_with(future, task, error);
        }
    }
}

fn end_with(future: &Bound<'_, Future>, task: &Task, error: PyErr) {
    use ferris_core::stage::Stage;
    let py = future.py();
    let ended = if error.is_instance_of::<CancelledError>(py) {
        task.office.crew.totals.n_cancelled.fetch_add(1, Ordering::Relaxed);
        future::end(future, Stage::Pending, Stage::Notified)
    } else {
        task.office.count_unstarted_failure();
        future::settle(future, Err(error))
    };
    if let Err(error) = ended {
        error.write_unraisable(py, Some(future.as_any()));
    }
}

/// Why an input that has ended has no result.
fn failure(input: &Bound<'_, Future>) -> Option<PyErr> {
    let (py, me) = (input.py(), input.get());
    if me.is_cancelled() { Some(CancelledError::new_err(())) } else { me.error(py) }
}

fn with_results(py: Python<'_>, task: &Task) -> PyResult<()> {
    let (args, kwargs) = task.arguments(py);
    if let Some(args) = args {
        let kwargs = kwargs.map(|kwargs| replace(&kwargs)).transpose()?;
        task.set_arguments(replace(&args)?, kwargs);
    }
    Ok(())
}

/// The futures of ours among the arguments: themselves, or in lists, tuples, sets and the values of dicts.
pub fn find<'py>(
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> PyResult<Vec<Bound<'py, Future>>> {
    let mut search = Search::default();
    for arg in args.iter_borrowed() {
        search.look_at(&arg)?;
    }
    for (_, value) in kwargs.into_iter().flatten() {
        search.look_at(&value)?;
    }
    Ok(search.found)
}

/// The futures that a task waits for.
pub fn find_of<'py>(py: Python<'py>, task: &Task) -> PyResult<Vec<Bound<'py, Future>>> {
    let (args, kwargs) = task.arguments(py);
    let args = args.and_then(|args| args.cast_into::<PyTuple>().ok());
    let kwargs = kwargs.and_then(|kwargs| kwargs.cast_into::<PyDict>().ok());
    args.map_or_else(|| Ok(Vec::new()), |args| find(&args, kwargs.as_ref()))
}

#[derive(Default)]
struct Search<'py> {
    found: Vec<Bound<'py, Future>>,
    /// Containers that have been looked into: they may contain themselves.
    seen: HashSet<usize>,
}

impl<'py> Search<'py> {
    #[inline]
    fn look_at(&mut self, object: &Bound<'py, PyAny>) -> PyResult<()> {
        if is_container(object) {
            self.look_into(object)
        } else {
            if let Ok(future) = object.cast::<Future>() {
                self.found.push(future.clone());
            }
            Ok(())
        }
    }

    fn look_into(&mut self, container: &Bound<'py, PyAny>) -> PyResult<()> {
        if container.len()? == 0 || !self.seen.insert(container.as_ptr() as usize) {
            return Ok(());
        }
        if let Ok(dict) = container.cast_exact::<PyDict>() {
            for (_, value) in dict {
                self.look_at(&value)?;
            }
            return Ok(());
        }
        for item in container.try_iter()? {
            self.look_at(&item?)?;
        }
        Ok(())
    }
}

fn is_container(object: &Bound<'_, PyAny>) -> bool {
    object.is_exact_instance_of::<PyList>()
        || object.is_exact_instance_of::<PyTuple>()
        || object.is_exact_instance_of::<PyDict>()
        || object.is_exact_instance_of::<PySet>()
        || object.is_exact_instance_of::<PyFrozenSet>()
}

/// The object with results in the place of futures; a container that has none is left as it is.
fn replace<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = object.py();
    if let Ok(future) = object.cast::<Future>() {
        return Ok(future.get().value(py).unwrap_or_else(|| object.clone()));
    }
    if !is_container(object) || !holds_future(object)? {
        return Ok(object.clone());
    }
    if let Ok(dict) = object.cast_exact::<PyDict>() {
        let copy = PyDict::new(py);
        for (key, value) in dict {
            crate::call::set_item(&copy, &key, &replace(&value)?)?;
        }
        return Ok(copy.into_any());
    }
    let items = object.try_iter()?.map(|item| replace(&item?)).collect::<PyResult<Vec<_>>>()?;
    let kind: Bound<'py, PyType> = object.get_type();
    crate::call::call(kind.as_any(), [PyList::new(py, items)?.as_any()])
}

fn holds_future(container: &Bound<'_, PyAny>) -> PyResult<bool> {
    let mut search = Search::default();
    search.look_into(container)?;
    Ok(!search.found.is_empty())
}

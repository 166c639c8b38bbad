//! Futures among the arguments of a call: it begins when they have ended, and gets their results.

use ferris_core::stage::Stage;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFrozenSet, PyList, PySet, PyTuple};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::future::{self, CancelledError, Future};
use crate::task::Task;

thread_local! {
    /// Inputs that have ended and were not counted.
    static ENDED: RefCell<VecDeque<(Arc<Inputs>, Py<Future>)>> = const { RefCell::new(VecDeque::new()) };
    static IS_COUNTING: Cell<bool> = const { Cell::new(false) };
}

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
        me.count_one(future.py());
    }

    /// One input has ended.
    ///
    /// That may end the task, which may be the input of another, and so on: one after the other, not one within the other.
    pub fn count_down(self: &Arc<Self>, input: &Bound<'_, Future>) {
        let py = input.py();
        ENDED.with_borrow_mut(|ended| ended.push_back((Arc::clone(self), input.clone().unbind())));
        if IS_COUNTING.replace(true) {
            return; // whoever counts comes to it
        }
        while let Some((inputs, input)) = ENDED.with_borrow_mut(VecDeque::pop_front) {
            inputs.count_now(input.bind(py));
        }
        IS_COUNTING.set(false);
    }

    fn count_now(&self, input: &Bound<'_, Future>) {
        let py = input.py();
        if let Some(error) = failure(input) {
            self.fail(py, error);
        }
        self.count_one(py);
    }

    fn count_one(&self, py: Python<'_>) {
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
            task.clear(future.py());
            end_with(future, task, error);
        }
    }
}

/// Ends the future of a task that will not start, unless it has ended.
fn end_with(future: &Bound<'_, Future>, task: &Task, error: PyErr) {
    let py = future.py();
    let is_cancelled = error.is_instance_of::<CancelledError>(py); // others may run meanwhile
    if future.get().stage() != Stage::Pending {
        return;
    }
    let ended = if is_cancelled {
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
        let mut replacement = Replacement::default();
        let kwargs = kwargs.map(|kwargs| replacement.of(&kwargs)).transpose()?;
        task.set_arguments(replacement.of(&args)?, kwargs);
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

/// Containers within containers are looked into so deep.  Guessed: deeper ones are data, not arguments.
const MAX_NESTING: usize = 64;

#[derive(Default)]
struct Search<'py> {
    found: Vec<Bound<'py, Future>>,
    /// Containers that have been looked into: they may contain themselves.
    seen: HashSet<usize>,
    nesting: usize,
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
        if self.nesting == MAX_NESTING
            || container.len()? == 0
            || !self.seen.insert(container.as_ptr() as usize)
        {
            return Ok(());
        }
        self.nesting += 1;
        let looked = self.look_at_items(container);
        self.nesting -= 1;
        looked
    }

    fn look_at_items(&mut self, container: &Bound<'py, PyAny>) -> PyResult<()> {
        if let Ok(dict) = container.cast_exact::<PyDict>() {
            // The values at this moment: what is run meanwhile may change the dict.
            for value in dict.values() {
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

/// Makes copies with results in the place of futures.
#[derive(Default)]
struct Replacement<'py> {
    /// Copies by the address of the container: one that is met again, perhaps within itself, has one copy.
    copies: HashMap<usize, Bound<'py, PyAny>>,
    nesting: usize,
}

impl<'py> Replacement<'py> {
    /// The object, or its copy; a container that has no futures is left as it is.
    fn of(&mut self, object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if let Ok(future) = object.cast::<Future>() {
            return Ok(future.get().value(object.py()).unwrap_or_else(|| object.clone()));
        }
        if !is_container(object) || self.nesting == MAX_NESTING || !holds_future(object)? {
            return Ok(object.clone());
        }
        if let Some(copy) = self.copies.get(&(object.as_ptr() as usize)) {
            return Ok(copy.clone());
        }
        self.nesting += 1;
        let copy = self.copy(object);
        self.nesting -= 1;
        copy
    }

    /// Lists and dicts are known before they are filled: a circle goes through one of them.
    fn copy(&mut self, object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let (py, address) = (object.py(), object.as_ptr() as usize);
        if let Ok(dict) = object.cast_exact::<PyDict>() {
            let copy = PyDict::new(py);
            self.copies.insert(address, copy.clone().into_any());
            for item in dict.items() {
                let (key, value): (Bound<'py, PyAny>, Bound<'py, PyAny>) = item.extract()?;
                crate::call::set_item(&copy, &key, &self.of(&value)?)?;
            }
            return Ok(copy.into_any());
        }
        let items = PyList::empty(py);
        let is_list = object.is_exact_instance_of::<PyList>();
        if is_list {
            self.copies.insert(address, items.clone().into_any());
        }
        for item in object.try_iter()? {
            items.append(self.of(&item?)?)?;
        }
        if is_list {
            return Ok(items.into_any());
        }
        let copy = crate::call::call(object.get_type().as_any(), [items.as_any()])?;
        self.copies.insert(address, copy.clone());
        Ok(copy)
    }
}

fn holds_future(container: &Bound<'_, PyAny>) -> PyResult<bool> {
    let mut search = Search::default();
    search.look_into(container)?;
    Ok(!search.found.is_empty())
}

//! Dask's account of a run, as callbacks see it: who waits for whom, and what has become of each key.
//!
//! What its entries mean stands in `dask_ferris._watched`.  The graph has counters for the same facts; they decide what
//! happens, and the account follows.

use ferris_core::graph::{Alone, Graph};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PySet};

use crate::call;
use crate::error;
use crate::program::{Payload, Program};

/// The account of one run; the thread that keeps it is the one that called `get`.
pub struct Account<'py> {
    /// The account as callbacks get it.
    pub state: Bound<'py, PyDict>,
    waiting: Bound<'py, PyDict>,
    waiting_data: Bound<'py, PyDict>,
    cache: Bound<'py, PyAny>,
    ready: Bound<'py, PyList>,
    running: Bound<'py, PySet>,
    finished: Bound<'py, PySet>,
    released: Bound<'py, PySet>,
}

impl<'py> Account<'py> {
    /// Opens the account of a graph that is about to run: fills `state`, and `cache` with the data.
    pub fn open(
        state: &Bound<'py, PyDict>,
        cache: &Bound<'py, PyAny>,
        graph: &Graph<Payload>,
        program: &Program,
    ) -> PyResult<Self> {
        let py = state.py();
        let _paused = CollectorPaused::begin(py);
        let dict = |name| -> PyResult<_> {
            let dict = PyDict::new(py);
            state.set_item(name, &dict).map(|()| dict)
        };
        let set = |name| -> PyResult<_> {
            let set = PySet::empty(py)?;
            state.set_item(name, &set).map(|()| set)
        };
        let (dependencies, dependents) = (dict("dependencies")?, dict("dependents")?);
        let users = sets_of_users(py, graph, program)?;
        let account = Self {
            state: state.clone(),
            waiting: dict("waiting")?,
            waiting_data: dict("waiting_data")?,
            cache: cache.clone(),
            ready: PyList::new(
                py,
                graph.roots().iter().rev().map(|&index| program.key(py, index)).collect::<Vec<_>>(),
            )?,
            running: set("running")?,
            finished: set("finished")?,
            released: set("released")?,
        };
        state.set_item("cache", cache)?;
        state.set_item("ready", &account.ready)?;
        for index in graph.needed() {
            let (key, users) =
                (program.key(py, index), users[index as usize].as_ref().expect("it is needed"));
            let inputs = call::get_attr(&program.node(py, index), intern!(py, "dependencies"))?;
            call::set_item(&dependencies, &key, &copy_of(&inputs)?)?;
            call::set_item(&account.waiting_data, &key, &copy_of(users)?)?;
            call::set_item(&dependents, &key, users)?;
            account.add_waiting(graph, program, index, &key)?;
        }
        Ok(account)
    }

    /// Enters what a key waits for, or its value if that is known.
    fn add_waiting(
        &self,
        graph: &Graph<Payload>,
        program: &Program,
        index: u32,
        key: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let py = key.py();
        let known = graph.payload(index).value.get();
        if !known.is_null() {
            // SAFETY: the payload owns the value, and nothing has run yet.
            return call::set_any_item(&self.cache, key, &unsafe { error::borrow(py, known) });
        }
        let is_awaited = |&&input: &&u32| graph.payload(input).value.get().is_null();
        let awaited = graph.dependencies(index).iter().filter(is_awaited);
        let awaited = awaited.map(|&input| program.key(py, input)).collect::<Vec<_>>();
        if awaited.is_empty() {
            return Ok(());
        }
        call::set_item(&self.waiting, key, &copy_of(PyList::new(py, awaited)?.as_any())?)
    }

    /// Accounts for a task that is given out, the last of those that are ready.
    pub fn begin(&self, key: &Bound<'py, PyAny>) -> PyResult<()> {
        if let Some(last) = self.ready.len().checked_sub(1) {
            self.ready.del_item(last)?;
        }
        call::add(&self.running, key)
    }

    /// Accounts for the value of a task that has come back; the tasks that have become ready by it.
    pub fn settle(
        &self,
        graph: &Graph<Payload>,
        program: &Program,
        index: u32,
        key: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Vec<u32>> {
        let py = key.py();
        call::set_any_item(&self.cache, key, value)?;
        graph.payload(index).value.set(value.clone().into_ptr());
        let (mut ready, mut released) = (Vec::new(), Vec::new());
        let release = |index, payload: &Payload| {
            released.push(index);
            // SAFETY: the thread is attached, and the graph says that nobody needs the value any more.
            unsafe { payload.value.clear() };
        };
        graph.settle::<Alone>(index, release, |task| ready.push(task));
        let key_of = |&index: &u32| program.key(py, index);
        take_out(key, graph.dependents(index).iter().map(key_of), &self.waiting)?;
        take_out(key, graph.dependencies(index).iter().map(key_of), &self.waiting_data)?;
        for key in ready.iter().map(key_of) {
            call::delete_item(&self.waiting, &key)?;
            self.ready.append(key)?;
        }
        released.iter().map(key_of).try_for_each(|key| self.release(&key))?;
        call::add(&self.finished, key)?;
        call::discard(&self.running, key)?;
        Ok(ready)
    }

    /// Accounts for a value that nobody needs any more.
    fn release(&self, key: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = key.py();
        call::delete_item(&self.waiting_data, key)?;
        call::add(&self.released, key)?;
        let pop = call::get_attr(&self.cache, intern!(py, "pop"))?;
        call::call(&pop, [key, py.None().bind(py)]).map(drop)
    }
}

/// For each task that is needed the set of keys that need it.
fn sets_of_users<'py>(
    py: Python<'py>,
    graph: &Graph<Payload>,
    program: &Program,
) -> PyResult<Vec<Option<Bound<'py, PySet>>>> {
    let mut users = vec![None; graph.len()];
    for index in graph.needed() {
        users[index as usize] = Some(PySet::empty(py)?);
    }
    for index in graph.needed() {
        for &input in graph.dependencies(index) {
            if let Some(users) = &users[input as usize] {
                call::add(users, &program.key(py, index))?;
            }
        }
    }
    Ok(users)
}

/// Takes a key out of the sets of others.
fn take_out<'py>(
    key: &Bound<'py, PyAny>,
    others: impl Iterator<Item = Bound<'py, PyAny>>,
    sets: &Bound<'py, PyDict>,
) -> PyResult<()> {
    for other in others {
        if let Ok(set) = call::get_item(sets, &other)?.cast_into::<PySet>() {
            call::discard(&set, key)?;
        }
    }
    Ok(())
}

/// A set of the same items.
fn copy_of<'py>(items: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    call::call(items.py().get_type::<PySet>().as_any(), [items])
}

/// Keeps the garbage collector from looking at what is being made, all of which stays.
struct CollectorPaused {
    was_on: bool,
}

impl CollectorPaused {
    fn begin(_: Python<'_>) -> Self {
        // SAFETY: the thread is attached.
        Self { was_on: unsafe { ffi::PyGC_Disable() } == 1 }
    }
}

impl Drop for CollectorPaused {
    fn drop(&mut self) {
        if self.was_on {
            // SAFETY: made and dropped by an attached thread.
            unsafe { ffi::PyGC_Enable() };
        }
    }
}

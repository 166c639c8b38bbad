//! Where a worker thread is, and what it does while a task of its waits.
//!
//! A worker that waits for a future whose task nobody has begun runs that task itself.  Else it lends its slot: another
//! thread takes tasks meanwhile, so that no wait for a task of the same pool can be for ever.

use ferris_core::crew::{Seat, Slot};
use ferris_core::reentrant::Owner;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyType;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::call;
use crate::future::{Future, sleep_until_over};
use crate::governed::Step;
use crate::inputs;
use crate::interpreter;
use crate::office::Office;
use crate::pool;
use crate::task::Task;
use crate::watch::{self, Watch};

/// Tasks that a worker runs one within the other; more, and it lends its slot.  Each takes a few kilobytes of the stack and
/// some of Python's recursion limit, of which they leave the greater part.  Guessed.
const MAX_DEPTH: u32 = 32;

/// A thread as a worker of an office.
pub struct Station {
    /// Which fork of the process it belongs to.
    generation: usize,
    pub office: Arc<Office>,
    pub seat: Seat,
    depth: Cell<u32>,
    /// Of its attempts that have a limit of time.
    pub watch: Arc<Watch>,
    /// Futures whose locks an attempt with a limit of time has: one that is interrupted may not come to give them up.
    locks: RefCell<Vec<Py<Future>>>,
}

thread_local! {
    static STATION: RefCell<Option<Rc<Station>>> = const { RefCell::new(None) };
}

/// The station of this thread, if it is a worker.
pub fn current() -> Option<Rc<Station>> {
    with_current(|station: Option<&Rc<Station>>| station.map(Rc::clone))
}

/// In the child of a fork a worker is none any more: the threads and the locks of its office are the parent's.
fn with_current<R>(look: impl FnOnce(Option<&Rc<Station>>) -> R) -> R {
    STATION.with_borrow(|station| {
        look(station.as_ref().filter(|station| station.generation == pool::generation()))
    })
}

/// The thread is a worker for as long as this lives.
pub struct OnDuty;

impl OnDuty {
    pub fn enter(office: &Arc<Office>, seat: Seat) -> (Self, Rc<Station>) {
        let station = Rc::new(Station {
            generation: pool::generation(),
            office: Arc::clone(office),
            seat,
            depth: Cell::new(0),
            watch: Watch::new(office),
            locks: RefCell::default(),
        });
        STATION.set(Some(Rc::clone(&station)));
        (Self, station)
    }
}

impl Drop for OnDuty {
    fn drop(&mut self) {
        STATION.set(None);
    }
}

/// Notes that this thread has taken the lock of a future, if an attempt runs that may be interrupted.
pub fn note_lock(py: Python<'_>, future: &Py<Future>) {
    with_current(|station| {
        if let Some(station) = station.filter(|station| station.watch.is_timed()) {
            station.locks.borrow_mut().push(future.clone_ref(py));
        }
    });
}

/// Forgets a lock that is given up.
pub fn forget_lock(future: &Py<Future>) {
    let forgotten = with_current(|station| {
        let mut locks = station?.locks.borrow_mut();
        let place = locks.iter().rposition(|known| known.is(future))?;
        Some(locks.swap_remove(place))
    });
    drop(forgotten); // outside the borrow: it may be the last reference
}

/// Gives up the locks that an attempt has left behind, the call of which has returned.
pub fn release_locks() {
    let left = with_current(|station| station.map(|station| station.locks.take()).unwrap_or_default());
    for future in left {
        future.get().lock.release(Owner::current());
    }
}

/// The seat of this thread at an office.
pub fn seat_at(office: &Arc<Office>) -> Seat {
    with_current(|station| {
        let own = station.filter(|station| Arc::ptr_eq(&station.office, office));
        own.map_or(Seat::OUTSIDE, |station| station.seat)
    })
}

/// True when this thread is a worker of an office.
pub fn is_at(office: &Arc<Office>) -> bool {
    with_current(|station| station.is_some_and(|station| Arc::ptr_eq(&station.office, office)))
}

/// Does something that no interrupt of this thread's attempt, if it has one, is to land in.
pub fn shielded<R>(py: Python<'_>, work: impl FnOnce() -> R) -> R {
    match current() {
        Some(station) => station.watch.shielded(py, work),
        None => work(),
    }
}

/// The interrupt of this worker's attempt, when its time is up and it waits.
pub fn check_time(py: Python<'_>) -> PyResult<()> {
    match current() {
        Some(station) if station.watch.take_interrupt() => Err(PyErr::from_type(
            watch::interrupt_class(py)?.cast_into::<PyType>()?,
            "the time of the task is up",
        )),
        _ => Ok(()),
    }
}

/// Waits for the end of a future; false when it takes longer than the limit.
pub fn wait_for(future: &Bound<'_, Future>, limit: Option<Duration>) -> PyResult<bool> {
    let py = future.py();
    let Some(station) = current() else {
        if limit.is_none() {
            help_from_outside(future);
        }
        return sleep_until_over(py, future.get(), limit);
    };
    if limit.is_none() && station.helps(future, station.depth.get() < MAX_DEPTH)? {
        return Ok(true);
    }
    if limit.is_some_and(|limit| limit.is_zero()) {
        return Ok(future.get().stage().is_over());
    }
    match station.lend(py) {
        Some(lent) => {
            let ended = sleep_until_over(py, future.get(), limit);
            lent.take_back(py);
            ended
        }
        // There are no more threads to be had: better too deep than never.
        None if limit.is_none() && station.helps(future, true)? => Ok(true),
        None => sleep_until_over(py, future.get(), limit),
    }
}

impl Station {
    /// Lends the slot of this worker, which waits; nothing when there may be no more threads.
    fn lend(self: &Rc<Self>, py: Python<'_>) -> Option<Lent> {
        // An abandoned worker has no slot.
        if self.watch.is_abandoned() {
            return None;
        }
        let starts = self.office.crew.lend()?;
        self.watch.set_slot(Slot::Lent);
        if starts {
            self.office.start_thread(py);
        }
        Some(Lent(Rc::clone(self)))
    }

    /// Runs the task that a future stands for, or what it waits for; true when the future has ended.
    fn helps(&self, future: &Bound<'_, Future>, may: bool) -> PyResult<bool> {
        let me = future.get();
        if may
            && !self.watch.is_timed()
            && let Some(task) = me.task()
            && Arc::ptr_eq(&task.office, &self.office)
        {
            self.help_with(future, task)?;
        }
        Ok(me.stage().is_over())
    }

    fn help_with(&self, future: &Bound<'_, Future>, task: &Task) -> PyResult<()> {
        if !task.can_be_helped() {
            return Ok(());
        }
        if !self.take_and_run(future, task) && task.office.is_waiting(future) {
            self.depth.set(self.depth.get() + 1); // a chain of inputs may be long
            let helped = inputs::find_of(future.py(), task).and_then(|inputs| {
                inputs.iter().try_for_each(|input| self.helps(input, self.depth.get() < MAX_DEPTH).map(drop))
            });
            self.depth.set(self.depth.get() - 1);
            helped?;
            self.take_and_run(future, task);
        }
        Ok(())
    }

    fn take_and_run(&self, future: &Bound<'_, Future>, task: &Task) -> bool {
        let Some(item) = self.office.crew.help(task.place()) else { return false };
        self.run_within(item.bind(future.py()));
        true
    }

    /// Runs a task within the one that this worker runs.
    pub fn run_within(&self, future: &Bound<'_, Future>) {
        self.depth.set(self.depth.get() + 1);
        self.office.run_helped(future);
        self.depth.set(self.depth.get() - 1);
    }

    /// Runs the task that is next, to make room; false when there is none, or this thread is too deep in tasks.
    pub fn makes_room(&self, py: Python<'_>) -> bool {
        self.depth.get() < MAX_DEPTH && self.runs_next(py, |_| true)
    }

    /// Runs the task that is next, if it is one of those that are meant.
    fn runs_next(&self, py: Python<'_>, is_meant: impl Fn(&Task) -> bool) -> bool {
        if self.watch.is_timed() {
            return false;
        }
        let may =
            |item: &Py<Future>| item.get().task().is_none_or(|task| is_meant(task) && task.can_be_helped());
        let item = self.office.crew.help_with_next(self.seat, may);
        if let Some(item) = &item {
            self.run_within(item.bind(py));
        }
        item.is_some()
    }
}

/// Runs the next task of an office, if it is a step that is meant and this thread is a worker there.
pub fn helps_run(py: Python<'_>, office: &Arc<Office>, is_meant: impl Fn(&Step) -> bool) -> bool {
    let own = current().filter(|station| Arc::ptr_eq(&station.office, office));
    own.is_some_and(|station| {
        station.depth.get() < MAX_DEPTH && station.runs_next(py, |task| task.step().is_some_and(&is_meant))
    })
}

/// Runs the next task of an office, whatever it is, if this thread is a worker there.
pub fn helps_office(py: Python<'_>, office: &Arc<Office>) -> bool {
    let own = current().filter(|station| Arc::ptr_eq(&station.office, office));
    own.is_some_and(|station| station.runs_next(py, |_| true))
}

/// Runs the task of a future on a thread that is no worker, where that was asked for.
fn help_from_outside(future: &Bound<'_, Future>) {
    let Some(task) = future.get().task() else { return };
    let office = &task.office;
    if !office.helps_outside() || task.policy().is_some() {
        return;
    }
    if let Some(item) = office.crew.help_from_outside(task.place()) {
        {
            // A worker meanwhile: its task may wait for others.
            let (_on_duty, _station) = OnDuty::enter(office, Seat::OUTSIDE);
            office.run_helped(item.bind(future.py()));
        }
        if office.crew.end_help() {
            office.start_thread(future.py());
        }
    }
}

/// Gives the waiter of a worker an event whose `wait` lends the worker's slot.
pub fn let_lend(waiter: &Bound<'_, PyAny>) -> PyResult<()> {
    if with_current(|station| station.is_none()) {
        return Ok(());
    }
    let py = waiter.py();
    let let_lend = py.import(intern!(py, "dask_ferris._future"))?.getattr(intern!(py, "let_lend"))?;
    call::call(&let_lend, [waiter]).map(drop)
}

/// Calls a function that waits, with the slot of this worker lent meanwhile.
#[pyfunction]
#[pyo3(signature = (wait, timeout, /))]
pub fn lend<'py>(wait: &Bound<'py, PyAny>, timeout: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = wait.py();
    let lent = current().and_then(|station| station.lend(py));
    let result = call::call(wait, [timeout]);
    if let Some(lent) = lent {
        lent.take_back(py);
    }
    result
}

/// A wait for others, which may need what this thread has if it is a worker: its slot is lent.
#[derive(Default)]
pub struct Patience {
    lent: Option<Lent>,
    has_asked: bool,
}

impl Patience {
    /// One that lends at once.
    pub fn none(py: Python<'_>) -> Self {
        let mut patience = Self::default();
        patience.lend(py);
        patience
    }

    /// True when another thread takes tasks in the place of this one.
    pub fn has_lent(&self) -> bool {
        self.lent.is_some()
    }

    fn lend(&mut self, py: Python<'_>) {
        if !self.has_asked {
            self.has_asked = true;
            self.lent = current().and_then(|station| station.lend(py));
        }
    }

    /// Waits for a short while; raises what a signal handler raises meanwhile, or that the time of the task is up.
    ///
    /// When the wait `goes_on` after that, it is a long one.
    pub fn wait(
        &mut self,
        py: Python<'_>,
        sleep: impl Fn(Duration) + Sync,
        goes_on: impl FnOnce() -> bool,
    ) -> PyResult<()> {
        interpreter::wait_a_slice(py, sleep)?;
        check_time(py)?;
        if goes_on() {
            self.lend(py);
        }
        Ok(())
    }

    /// The wait is over.
    pub fn end(self, py: Python<'_>) {
        if let Some(lent) = self.lent {
            lent.take_back(py);
        }
    }
}

/// A slot that was lent.
pub struct Lent(Rc<Station>);

impl Lent {
    /// Takes it back, detached, unless somebody else has taken the place of the worker meanwhile.
    pub fn take_back(self, py: Python<'_>) {
        let Station { office, watch, .. } = &*self.0;
        if !watch.set_slot(Slot::Returning) {
            return;
        }
        interpreter::wait(py, || office.crew.take_back());
        if !watch.set_slot(Slot::Held) && office.crew.give_up() {
            office.start_thread(py);
        }
    }
}

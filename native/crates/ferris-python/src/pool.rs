//! The process-wide default pool, and its threads.

use ferris_core::pool::{Demand, Pool, Ticket};
use ferris_core::run::Next;
use ferris_core::width::{Change, Step, Watch};
use pyo3::prelude::*;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::call;
use crate::dispatch::{self, Dispatched};
use crate::interpreter;
use crate::office;
use crate::session::{self, SharedRun};
use crate::timer;

/// What a thread of the pool is called to.
#[derive(Clone)]
pub enum Call {
    Run(Arc<SharedRun>),
    Dispatched(Arc<Dispatched>),
}

impl Call {
    /// What a thread that watches is to do.
    pub fn look(&self, watch: &mut Watch) -> Step {
        match self {
            Self::Run(run) => run.look(watch),
            Self::Dispatched(_) => Step::Join, // its caller computes nothing
        }
    }

    pub fn help(&self, py: Python<'_>) -> Next {
        match self {
            Self::Run(run) => session::help(py, run),
            Self::Dispatched(run) => {
                dispatch::help(py, run);
                Next::Go
            }
        }
    }
}

type DefaultPool = Pool<Call>;

/// The pool of this process; leaked, as a thread may look at it up to the very end.
static POOL: AtomicPtr<DefaultPool> = AtomicPtr::new(ptr::null_mut());

/// Goes up with every fork, in the child.
static GENERATION: AtomicUsize = AtomicUsize::new(0);

static N_RUNS: AtomicU64 = AtomicU64::new(0);
static N_TASKS: AtomicU64 = AtomicU64::new(0);
static N_STEALS: AtomicU64 = AtomicU64::new(0);
static HISTORY: Mutex<Vec<Change>> = Mutex::new(Vec::new());

fn current() -> &'static DefaultPool {
    let known = POOL.load(Ordering::Acquire);
    // SAFETY: a pool is never freed.
    unsafe { known.as_ref() }.unwrap_or_else(create)
}

#[cold]
fn create() -> &'static DefaultPool {
    let new = Box::into_raw(Box::default());
    let old = POOL.compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire);
    // SAFETY: either `new` is the pool now, and is never freed, or somebody else's is, and nobody has seen `new`.
    unsafe {
        match old {
            Ok(_) => &*new,
            Err(other) => {
                drop(Box::from_raw(new));
                &*other
            }
        }
    }
}

/// Which fork of the process this is.
pub fn generation() -> usize {
    GENERATION.load(Ordering::Relaxed)
}

/// Lets the pool have more threads for as long as this lives.
pub struct Share {
    pool: &'static DefaultPool,
    demand: Demand,
    generation: usize,
}

impl Share {
    /// For a run with this demand.
    pub fn take(demand: Demand) -> Self {
        let pool = current();
        pool.raise_demand(demand);
        Self { pool, demand, generation: generation() }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // In the child of a fork the pool is another one, and a thread that is not there may hold the old one's lock.
        if self.generation == generation() {
            self.pool.lower_demand(self.demand);
        }
    }
}

/// Calls one thread to a run; starts one if none is idle and there may be another.
pub fn call(py: Python<'_>, ticket: &Arc<Ticket<Call>>) -> PyResult<()> {
    if current().call(ticket) {
        start_worker(py).inspect_err(|_| current().start_failed())?;
    }
    Ok(())
}

fn start_worker(py: Python<'_>) -> PyResult<()> {
    let start_worker = py.import("dask_ferris._pool")?.getattr("start_worker")?;
    call::call(&start_worker, []).map(drop)
}

/// True when there is a thread that may answer a call, sooner or later.
pub fn may_answer() -> bool {
    current().may_answer()
}

/// Takes a call back that was made before a number of forks; attached, as what it was for may be dropped.
///
/// In the child of a later fork it is left alone: a thread that is not there may hold its lock.
pub fn withdraw(ticket: &Arc<Ticket<Call>>, generation: usize) {
    if generation == self::generation() {
        current().cancel(ticket);
        drop(ticket.withdraw());
    }
}

/// The life of a pool thread: it helps with one run after the other until the pool is closed.
#[pyfunction]
pub fn serve(py: Python<'_>) {
    current().sign_on();
    let _resign = Resign(current());
    while let Some(ticket) = interpreter::wait(py, || current().wait(Call::look)) {
        if let Some(call) = ticket.redeem()
            && call.help(py) == Next::Watch
        {
            current().put_back(&ticket);
        }
    }
}

struct Resign(&'static DefaultPool);

impl Drop for Resign {
    fn drop(&mut self) {
        self.0.resign();
    }
}

/// Lets every thread of the pool go; runs that are under way are finished by their callers alone.
#[pyfunction]
pub fn close_pool() {
    current().close();
}

/// Forgets the pool in the child of a fork: its threads do not exist there, and its locks may be held by them.
#[pyfunction]
pub fn forget_pool() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    POOL.store(ptr::null_mut(), Ordering::Release);
    timer::forget();
}

/// Adds to the totals of the process.
pub fn count_run() {
    N_RUNS.fetch_add(1, Ordering::Relaxed);
}

/// Adds to the totals of the process.
pub fn count_tasks(n: u64) {
    N_TASKS.fetch_add(n, Ordering::Relaxed);
}

/// Adds to the totals of the process.
pub fn count_steals(n: u64) {
    N_STEALS.fetch_add(n, Ordering::Relaxed);
}

/// Keeps how the width of a run has changed, if it has: that of the last such run.
pub fn keep_history(changes: Vec<Change>) {
    if !changes.is_empty() {
        *HISTORY.lock().unwrap_or_else(PoisonError::into_inner) = changes;
    }
}

/// See [`statistics`].
type Statistics = (usize, u64, u64, u64, Vec<(f64, usize)>, usize, usize);

/// Threads of the pool now; runs, tasks and steals of the process so far; for the last run that others joined, seconds
/// after its start and its workers from then on; spare and abandoned threads of all executors.
#[pyfunction]
pub fn statistics() -> Statistics {
    let count = |total: &AtomicU64| total.load(Ordering::Relaxed);
    let changes = HISTORY.lock().unwrap_or_else(PoisonError::into_inner);
    let widths = changes.iter().map(|change| (change.after.as_secs_f64(), change.n_workers)).collect();
    let (n_spare, n_abandoned) = office::count_threads();
    let [n_runs, n_tasks, n_steals] = [&N_RUNS, &N_TASKS, &N_STEALS].map(count);
    (current().n_threads(), n_runs, n_tasks, n_steals, widths, n_spare, n_abandoned)
}

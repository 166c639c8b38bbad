//! The Python bindings of `dask_ferris`: module `dask_ferris._native`.
//!
//! | module | job |
//! | --- | --- |
//! | [`get`] | the story of one run |
//! | [`persist`] | what `dask.persist` looks for |
//! | [`options`], [`request`] | how it is to be done; what was asked for |
//! | [`compile`], [`lower`], [`subgraph`] | a Dask graph becomes a flat graph and a program |
//! | [`spec`], [`keys`], [`program`] | Dask's nodes, the keys, and what is made of them |
//! | [`ahead`] | the references of a large graph, looked up a block at a time |
//! | [`session`] | the workers of a run |
//! | [`blas`] | how many workers hold BLAS back |
//! | [`dispatch`], [`watched`], [`account`] | a run whose tasks the caller gives out one by one; the caller's part; what callbacks see of it |
//! | [`governed`] | a run whose tasks have policies |
//! | [`interpret`] | one task |
//! | [`pool`] | the process-wide pool and its threads |
//! | [`computation`] | reductions of numbers, by the kernels |
//! | [`executor`], [`office`], [`station`] | an executor as Python has it, as its threads have it; what a waiting worker does |
//! | [`future`], [`condition`], [`task`], [`inputs`], [`policy`] | a future, its lock, its call, the futures it takes, how it is run |
//! | [`attempt`], [`watch`], [`timer`] | attempts at tasks with a policy; their limits; what is to happen at a time |
//! | [`newborn`] | threads that an interrupt must not meet |
//! | [`slot`], [`collector`] | a reference that may come and go; what the garbage collector need not look at |
//! | [`interpreter`], [`call`] | waiting without the GIL; calling Python so that exit is safe |
//! | [`error`] | the package's exceptions |

mod account;
mod ahead;
mod attempt;
mod blas;
mod call;
mod collector;
mod compile;
mod computation;
mod condition;
mod dispatch;
mod error;
mod executor;
mod future;
mod get;
mod governed;
mod inputs;
mod interpret;
mod interpreter;
mod keys;
mod lower;
mod newborn;
mod office;
mod options;
mod persist;
mod policy;
mod pool;
mod program;
mod request;
mod session;
mod slot;
mod spec;
mod station;
mod subgraph;
mod task;
mod timer;
mod watch;
mod watched;

use pyo3::prelude::*;

/// Each run allocates and frees a few large arrays.  The C library gives such memory back to the system at once,
/// and getting it anew costs more, in page faults, than compiling the graph; see `docs/decisions/0004-mimalloc.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The native half of `dask_ferris`.
#[pymodule(gil_used = true)]
mod _native {
    #[pymodule_export]
    use super::computation::compute;
    #[pymodule_export]
    use super::dispatch::Dispatcher;
    #[pymodule_export]
    use super::executor::Executor;
    #[pymodule_export]
    use super::future::Future;
    #[pymodule_export]
    use super::get::{Summary, compile_only, get};
    #[pymodule_export]
    use super::governed::{GovernedRun, begin_run};
    #[pymodule_export]
    use super::office::finish_executors;
    #[pymodule_export]
    use super::persist::persist;
    #[pymodule_export]
    use super::pool::{close_pool, forget_pool, serve, statistics};
    #[pymodule_export]
    use super::session::is_at_work;
    #[pymodule_export]
    use super::station::lend;
    #[pymodule_export]
    use super::timer::{close_timer, serve_timer};
}

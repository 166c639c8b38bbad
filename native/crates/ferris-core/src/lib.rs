//! The graph, the ready tasks, the run and the pool of `dask_ferris`, without Python.
//!
//! | module | job |
//! | --- | --- |
//! | [`graph`] | a task graph as flat arrays: dependencies, dependents, counters; knows no threads |
//! | [`rank`] | the order in which a depth-first worker takes tasks |
//! | [`ready`] | where ready tasks wait: one deque per worker, and the roots of the graph |
//! | [`run`] | one execution of a graph: joins graph, ready tasks and width |
//! | [`width`] | how many workers a run has, and when one more is called |
//! | [`dispatch`] | tasks given out one by one by a caller that computes none itself |
//! | [`bell`] | how the calling thread sleeps until there is something to do |
//! | [`pool`] | threads that wait for runs; knows no graphs |
//! | [`queue`] | the tasks of an executor that wait, by priority |
//! | [`backlog`] | what a run on an executor has ready, and what of it may begin |
//! | [`crew`] | the tasks and the threads of one executor |
//! | [`stage`] | how far a future is, and who has to be told when it ends |
//! | [`reentrant`] | the lock of a future |
//! | [`sync`], [`deque`] | the only source of atomics, locks and deques, so that loom can stand in |
#![forbid(unsafe_code)]

pub mod backlog;
pub mod bell;
pub mod crew;
pub mod deque;
pub mod dispatch;
pub mod graph;
pub mod pool;
pub mod queue;
pub mod rank;
pub mod ready;
pub mod reentrant;
pub mod run;
pub mod stage;
pub mod sync;
pub mod width;

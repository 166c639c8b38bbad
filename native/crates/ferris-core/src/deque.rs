//! The work-stealing deque: crossbeam's, or a locked stand-in with the same types under `--cfg loom`.
//!
//! crossbeam's deque is a Chase-Lev deque (Chase and Lev, "Dynamic circular work-stealing deque", SPAA 2005).
//! loom cannot see inside it, so the protocols around it are modelled with the stand-in.

#[cfg(not(loom))]
pub use crossbeam_deque::{Steal, Stealer, Worker};
#[cfg(loom)]
pub use stand_in::{Steal, Stealer, Worker};

#[cfg(loom)]
mod stand_in {
    use crate::sync::{Arc, Mutex, lock};
    use std::collections::VecDeque;

    /// The outcome of a steal; the stand-in never asks for a retry.
    pub enum Steal<T> {
        /// Nothing was there.
        Empty,
        /// One task was taken.
        Success(T),
        /// Somebody else was faster.
        Retry,
    }

    /// The owner's end.
    pub struct Worker<T>(Arc<Mutex<VecDeque<T>>>);

    /// The thieves' end.
    pub struct Stealer<T>(Arc<Mutex<VecDeque<T>>>);

    impl<T> Worker<T> {
        /// An empty deque whose owner takes the newest task first.
        pub fn new_lifo() -> Self {
            Self(Arc::new(Mutex::new(VecDeque::new())))
        }

        /// A handle for thieves.
        pub fn stealer(&self) -> Stealer<T> {
            Stealer(Arc::clone(&self.0))
        }

        /// Adds a task.
        pub fn push(&self, task: T) {
            lock(&self.0).push_back(task);
        }

        /// Takes the newest task.
        pub fn pop(&self) -> Option<T> {
            lock(&self.0).pop_back()
        }
    }

    impl<T> Stealer<T> {
        /// Takes the oldest task.
        pub fn steal(&self) -> Steal<T> {
            lock(&self.0).pop_front().map_or(Steal::Empty, Steal::Success)
        }

        /// True when no task is there.
        pub fn is_empty(&self) -> bool {
            lock(&self.0).is_empty()
        }
    }
}

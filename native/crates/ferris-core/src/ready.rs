//! Where the ready tasks of one run wait.
//!
//! Each worker has a deque: it pushes what it makes ready and pops the newest first, so that it works depth
//! first.  When that is empty it takes one task from another worker, the oldest, and only then one root of the
//! graph.  Roots stay in one list, the run's injector, in rank order, and nothing is taken in batches.
//! Simulated on ten families of graphs this order keeps the peak of live values within 10 % of Dask's own
//! order at 2 and 4 workers; roots dealt to the deques, batches, or roots before victims do not.

use crate::deque::{self, Steal, Stealer};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Mutex, lock};
use std::sync::OnceLock;

/// The roots of a graph in rank order; each is taken once.
struct Injector {
    roots: Box<[u32]>,
    /// How many were taken.  Relaxed throughout: the list never changes and the count publishes nothing.
    taken: AtomicUsize,
}

impl Injector {
    fn take(&self) -> Option<u32> {
        if self.is_empty() {
            return None;
        }
        self.roots.get(self.taken.fetch_add(1, Ordering::Relaxed)).copied()
    }

    fn is_empty(&self) -> bool {
        self.taken.load(Ordering::Relaxed) >= self.roots.len()
    }
}

/// One worker's own end of the ready tasks; whoever holds it is that worker.
pub struct Seat {
    slot: usize,
    deque: deque::Worker<u32>,
    /// The task to run next, which no thief sees.  Empty whenever the worker looks for work elsewhere.
    next: Option<u32>,
    n_steals: u64,
}

impl Seat {
    fn new(slot: usize) -> Self {
        Self { slot, deque: deque::Worker::new_lifo(), next: None, n_steals: 0 }
    }

    /// Makes a task ready; true when that left another one for thieves to take.
    ///
    /// The newest task stays with the worker, which runs it next.
    #[inline]
    pub fn push(&mut self, task: u32) -> bool {
        self.next.replace(task).map(|earlier| self.deque.push(earlier)).is_some()
    }

    /// How many tasks this worker has taken from others since this was last asked.
    pub fn take_n_steals(&mut self) -> u64 {
        std::mem::take(&mut self.n_steals)
    }

    /// Leaves every task to thieves.
    pub fn publish(&mut self) {
        self.next.take().into_iter().for_each(|task| self.deque.push(task));
    }

    #[inline]
    fn pop(&mut self) -> Option<u32> {
        self.next.take().or_else(|| self.deque.pop())
    }
}

/// The ready tasks of one run.
pub struct Ready {
    injector: Injector,
    /// The thieves' ends, by slot; those of seats that were never taken are empty.
    stealers: Box<[OnceLock<Stealer<u32>>]>,
    /// Seats that exist; thieves look no further.
    n_seats: AtomicUsize,
    /// Seats that nobody holds at the moment.
    free: Mutex<Vec<Seat>>,
}

impl Ready {
    /// The ready tasks at the start of a run, for at most `n_workers` workers.
    pub fn new(roots: &[u32], n_workers: usize) -> Self {
        Self {
            injector: Injector { roots: roots.into(), taken: AtomicUsize::new(0) },
            stealers: std::iter::repeat_with(OnceLock::new).take(n_workers).collect(),
            n_seats: AtomicUsize::new(0),
            free: Mutex::new(Vec::new()),
        }
    }

    /// A seat that nobody holds.
    pub fn hire(&self) -> Option<Seat> {
        let mut free = lock(&self.free);
        free.pop().or_else(|| self.add_seat())
    }

    /// One more seat, as long as there may be one; to be called with `free` locked.
    fn add_seat(&self) -> Option<Seat> {
        let slot = self.n_seats.load(Ordering::Relaxed);
        let seat = Seat::new(slot);
        self.stealers.get(slot)?.set(seat.deque.stealer()).ok()?;
        // Release: who sees the number sees the stealer.
        self.n_seats.store(slot + 1, Ordering::Release);
        Some(seat)
    }

    /// Gives a seat back.
    ///
    /// Tasks may be left in its deque when the run is over; thieves still see them.
    pub fn dismiss(&self, seat: Seat) {
        lock(&self.free).push(seat);
    }

    /// The next task for whoever holds `seat`: its own newest, else another's oldest, else a root.
    #[inline]
    pub fn find(&self, seat: &mut Seat) -> Option<u32> {
        seat.pop().or_else(|| self.steal(seat)).or_else(|| self.injector.take())
    }

    /// True when somebody who looks now would find a task.
    pub fn has_work(&self) -> bool {
        !self.injector.is_empty() || self.stealers_from(0).any(|stealer| !stealer.is_empty())
    }

    /// The oldest task of the first worker after `thief` that has one.
    #[inline]
    fn steal(&self, thief: &mut Seat) -> Option<u32> {
        let n_others = self.n_seats.load(Ordering::Acquire) - 1;
        let task = self.stealers_from(thief.slot + 1).take(n_others).find_map(steal_from)?;
        thief.n_steals += 1;
        Some(task)
    }

    /// The thieves' ends of all seats, beginning with one slot and going round.
    #[inline]
    fn stealers_from(&self, slot: usize) -> impl Iterator<Item = &Stealer<u32>> {
        let seats = &self.stealers[..self.n_seats.load(Ordering::Acquire)];
        let (before, after) = seats.split_at(slot.min(seats.len()));
        after.iter().chain(before).filter_map(OnceLock::get)
    }
}

fn steal_from(victim: &Stealer<u32>) -> Option<u32> {
    if victim.is_empty() {
        return None;
    }
    loop {
        match victim.steal() {
            Steal::Success(task) => return Some(task),
            Steal::Empty => return None,
            // Somebody else took a task meanwhile: progress was made, so this loop is lock-free.
            Steal::Retry => {}
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn two(roots: &[u32]) -> (Ready, Seat, Seat) {
        let ready = Ready::new(roots, 2);
        let (one, other) = (ready.hire().unwrap(), ready.hire().unwrap());
        (ready, one, other)
    }

    #[test]
    fn own_newest_before_roots() {
        let (ready, mut one, _other) = two(&[10, 11]);
        assert_eq!(Some(10), ready.find(&mut one));
        one.push(1);
        one.push(2);
        assert_eq!([Some(2), Some(1), Some(11), None], std::array::from_fn(|_| ready.find(&mut one)));
    }

    #[test]
    fn another_oldest_before_roots() {
        let (ready, mut one, mut other) = two(&[10]);
        (1..=3).for_each(|task| assert_eq!(task > 1, one.push(task)));
        assert_eq!([Some(1), Some(2), Some(10)], std::array::from_fn(|_| ready.find(&mut other)));
        assert_eq!(2, other.take_n_steals());
        assert_eq!(Some(3), ready.find(&mut one), "the newest is the worker's own");
    }

    #[test]
    fn push_says_when_thieves_have_something_to_take() {
        let (ready, mut one, _other) = two(&[]);
        assert!(!one.push(1));
        assert!(one.push(2));
        assert!(ready.has_work());
    }

    #[test]
    fn no_more_workers_than_slots_and_the_dismissed_come_back() {
        let (ready, one, _other) = two(&[]);
        assert!(ready.hire().is_none());
        ready.dismiss(one);
        assert!(ready.hire().is_some());
    }
}

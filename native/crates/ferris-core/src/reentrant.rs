//! A lock that the thread which has it may take again.
//!
//! The owner is one word: the thread, and a mark that others sleep until it is given up.  A sleeper sets the mark while it
//! enlists itself, under the lock of the list; who gives the lock up takes the whole word, and if it finds the mark wakes
//! all who are enlisted.  A sleeper that has set the mark is therefore woken, and one that could not set it has seen the
//! lock free.

use crate::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use crate::sync::{Mutex, Thread, current_thread, lock};

const FREE: usize = 0;
const AWAITED: usize = 1;

/// A thread, as a number that is even and not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner(usize);

impl Owner {
    /// The thread that calls.
    #[cfg(not(loom))]
    pub fn current() -> Self {
        std::thread_local!(static MARK: u16 = const { 0 });
        // The address of a thread's own variable, which is aligned, is no other thread's.
        Self(MARK.with(|mark| std::ptr::from_ref(mark) as usize))
    }

    /// A thread of a model.
    pub fn numbered(number: usize) -> Self {
        Self((number + 1) * 2)
    }
}

/// The lock.  It guards nothing by itself: the standard library asks for it by methods.
#[derive(Debug, Default)]
pub struct Reentrant {
    owner: AtomicUsize,
    /// How often the owner has it; touched by the owner only.
    depth: AtomicU32,
    sleepers: Mutex<Vec<Thread>>,
}

impl Reentrant {
    /// Takes the lock, unless another thread has it.
    pub fn try_acquire(&self, me: Owner) -> bool {
        if self.is_owned_by(me) {
            self.depth.store(self.depth.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            return true;
        }
        let taken = self.owner.compare_exchange(FREE, me.0, Ordering::Acquire, Ordering::Relaxed).is_ok();
        if taken {
            self.depth.store(1, Ordering::Relaxed);
        }
        taken
    }

    /// True when this thread has the lock.
    pub fn is_owned_by(&self, me: Owner) -> bool {
        self.owner.load(Ordering::Relaxed) & !AWAITED == me.0
    }

    /// Has this thread woken when the lock is given up; false when it is free now.
    pub fn enlist(&self) -> bool {
        let mut sleepers = lock(&self.sleepers);
        let mark = |owner: usize| (owner != FREE).then_some(owner | AWAITED);
        let is_marked = self.owner.fetch_update(Ordering::Relaxed, Ordering::Relaxed, mark).is_ok();
        if is_marked {
            sleepers.push(current_thread());
        }
        is_marked
    }

    /// Gives the lock up once; false when this thread does not have it.
    pub fn release(&self, me: Owner) -> bool {
        if !self.is_owned_by(me) {
            return false;
        }
        let depth = self.depth.load(Ordering::Relaxed) - 1;
        self.depth.store(depth, Ordering::Relaxed);
        if depth == 0 {
            self.free();
        }
        true
    }

    /// Gives the lock up however often this thread has it; how often that was.
    pub fn release_all(&self) -> u32 {
        let depth = self.depth.swap(0, Ordering::Relaxed);
        self.free();
        depth
    }

    /// Has the lock, just taken once, so often.
    pub fn set_depth(&self, depth: u32) {
        self.depth.store(depth, Ordering::Relaxed);
    }

    fn free(&self) {
        if self.owner.swap(FREE, Ordering::Release) & AWAITED != 0 {
            let sleepers = std::mem::take(&mut *lock(&self.sleepers));
            sleepers.iter().for_each(Thread::unpark);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_owner_takes_it_again_and_others_do_not() {
        let (reentrant, [one, other]) = (Reentrant::default(), [0, 1].map(Owner::numbered));
        assert!(reentrant.try_acquire(one) && reentrant.try_acquire(one));
        assert!(!reentrant.try_acquire(other) && !reentrant.release(other));
        assert!(reentrant.release(one) && !reentrant.try_acquire(other));
        assert!(reentrant.release(one) && reentrant.try_acquire(other));
    }

    #[test]
    fn it_can_be_given_up_and_had_again_as_often_as_before() {
        let (reentrant, me) = (Reentrant::default(), Owner::current());
        assert!((0..3).all(|_| reentrant.try_acquire(me)));
        assert_eq!(3, reentrant.release_all());
        assert!(reentrant.try_acquire(me));
        reentrant.set_depth(3);
        assert_eq!([true, true, true, false], std::array::from_fn(|_| reentrant.release(me)));
    }

    #[test]
    fn nobody_sleeps_for_a_lock_that_is_free() {
        assert!(!Reentrant::default().enlist());
    }
}

//! How far a future is, and whether anybody has to be told when it ends.
//!
//! Both are in one word.  Whoever wants to be told sets the mark `OBSERVED` first and then looks at the stage; whoever ends
//! the future exchanges the stage only if the word is without the mark.  So either the end is seen by who looks, or the
//! mark is seen by who ends, and then the end is made under a lock that both take, together with telling.

use crate::sync::atomic::{AtomicU32, Ordering};

/// How far a future is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Stage {
    /// It waits: for a worker, for its inputs or for another attempt.
    Pending,
    /// Its task runs.
    Running,
    /// It was cancelled, and those who wait for it by `concurrent.futures.wait` were not told.
    Cancelled,
    /// It was cancelled, and they were told.
    Notified,
    /// It has a result or an exception.
    Finished,
}

impl Stage {
    const ALL: [Self; 5] = [Self::Pending, Self::Running, Self::Cancelled, Self::Notified, Self::Finished];

    /// True when nothing can change any more.
    pub fn is_over(self) -> bool {
        self >= Self::Cancelled
    }
}

const STAGE: u32 = 0b111;
const OBSERVED: u32 = 0b1000;

/// Why a stage was not left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Somebody wants to be told: it has to be done by [`StageWord::leave_observed`].
    Observed,
    /// It is another one.
    Other(Stage),
}

/// The stage of a future.
#[derive(Debug)]
pub struct StageWord(AtomicU32);

impl Default for StageWord {
    fn default() -> Self {
        Self(AtomicU32::new(Stage::Pending as u32))
    }
}

impl StageWord {
    /// The stage now; who sees the end sees what was stored before it.
    #[inline]
    pub fn get(&self) -> Stage {
        Self::stage_of(self.0.load(Ordering::Acquire))
    }

    fn stage_of(word: u32) -> Stage {
        Stage::ALL[(word & STAGE) as usize]
    }

    /// Asks to be told of the end; the stage at that moment.
    pub fn observe(&self) -> Stage {
        Self::stage_of(self.0.fetch_or(OBSERVED, Ordering::AcqRel))
    }

    /// Goes from one stage to another that nobody has to be told of; false when it is not at the first.
    pub fn shift(&self, from: Stage, to: Stage) -> bool {
        let shifted = |word: u32| (Self::stage_of(word) == from).then_some(word & !STAGE | to as u32);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, shifted).is_ok()
    }

    /// Goes from one stage to another, unless somebody has to be told.
    #[inline]
    pub fn leave(&self, from: Stage, to: Stage) -> Result<(), Held> {
        let exchanged = self.0.compare_exchange(from as u32, to as u32, Ordering::AcqRel, Ordering::Acquire);
        exchanged.map(drop).map_err(|word| {
            let stage = Self::stage_of(word);
            if stage == from { Held::Observed } else { Held::Other(stage) }
        })
    }

    /// Puts the stage where a test, or a user who knows the standard library's inside, wants it.
    pub fn force(&self, to: Stage) {
        self.0.store(OBSERVED | to as u32, Ordering::Release);
    }
}

//! When workers came to a run and went.

use std::time::{Duration, Instant};

/// Changes that are kept; of a run that has more, the first ones.
const MOST: usize = 1000;

/// From some time after the start of a run on it had so many workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The time since the start.
    pub after: Duration,
    /// Workers from then on.
    pub n_workers: usize,
}

/// The changes of one run.
pub struct History {
    began: Instant,
    changes: Vec<Change>,
}

impl Default for History {
    fn default() -> Self {
        Self { began: crate::sync::now(), changes: Vec::new() }
    }
}

impl History {
    /// Notes how many workers there are now.
    pub fn note(&mut self, n_workers: usize, now: Instant) {
        if self.changes.is_empty() {
            self.changes.push(Change { after: Duration::ZERO, n_workers: 1 });
        }
        if self.changes.len() < MOST {
            let after = now.saturating_duration_since(self.began);
            self.changes.push(Change { after, n_workers });
        }
    }

    /// All changes, beginning with the one worker of the start; nothing if there was none.
    pub fn take(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_history_is_bounded() {
        let mut history = History::default();
        (0..2 * MOST).for_each(|n| history.note(n % 3, Instant::now()));
        assert_eq!(MOST, history.take().len());
        assert!(history.take().is_empty());
    }
}

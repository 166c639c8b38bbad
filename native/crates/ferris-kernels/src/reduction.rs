//! What a reduction is.

/// Elements of a block that takes little work: its 16 KiB are read, and reduced while they are in the nearest cache.
///
/// Measured, with an array that has to be copied, and per number: 375 ps with 1024 or 2048, 425 ps with 4096.
pub const LIGHT_BLOCK: usize = 2048;

/// Such blocks that are worth a thread.
///
/// They take some 0.8 ms.  On an idle machine a second thread pays from 96 on, as starting one takes 30 µs; on a busy one
/// it may come milliseconds late, which is more than it could save.
pub const LIGHT_BLOCKS_FOR_A_THREAD: usize = 1024;

/// What is done to a block of elements.
pub trait Reduction: Sync {
    /// What comes of a block.
    type Partial: Partial;

    /// How many elements a block has.  The result depends on it, so it is one number for all time.
    const BLOCK: usize;

    /// How many blocks are worth a thread of their own.
    const BLOCKS_FOR_A_THREAD: usize;

    /// What comes of a block.
    ///
    /// Marked `inline(always)`, with all that it calls: only then is it compiled for the instruction set of its caller,
    /// [`isa::reduce`](crate::isa::reduce).
    fn reduce(&self, elements: &[f64]) -> Self::Partial;
}

/// What comes of some of the elements; by default, of none.
pub trait Partial: Clone + Default + Send {
    /// Puts what came of the elements after these to it.
    fn merge(&mut self, next: Self);

    /// The number that it stands for, rounded.
    fn value(self) -> f64;
}

/// The result, given what came of each block, from the first to the last.
pub fn combine<P: Partial>(partials: impl IntoIterator<Item = P>) -> f64 {
    let mut whole = P::default();
    partials.into_iter().for_each(|partial| whole.merge(partial));
    whole.value()
}

//! One reduction of some elements: its blocks, on one thread or several.

use std::iter::{StepBy, Zip};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::slice::ChunksMut;
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::elements::Elements;
use crate::isa;
use crate::reduction::{Reduction, combine};

/// One reduction of some elements.
///
/// # Examples
/// ```
/// use ferris_kernels::blocks::Blocks;
/// use ferris_kernels::product::Multiplication;
/// use ferris_kernels::reduction::combine;
///
/// let numbers = [2.0; 10_000];
/// let blocks = Blocks { reduction: &Multiplication, elements: &numbers[..5000] };
/// let mut scratch = Vec::new();
/// let partials = (0..blocks.len()).map(|block| blocks.partial(block, &mut scratch)).collect::<Vec<_>>();
/// assert_eq!((3, f64::INFINITY), (blocks.len(), combine(partials)));
/// ```
pub struct Blocks<'a, R, E: ?Sized> {
    /// What is done.
    pub reduction: &'a R,
    /// To which elements.
    pub elements: &'a E,
}

impl<R: Reduction, E: Elements + ?Sized> Blocks<'_, R, E> {
    /// How many blocks there are: what is to be done, in any order and by anybody.
    pub fn len(&self) -> usize {
        self.elements.len().div_ceil(R::BLOCK)
    }

    /// True when there are no elements.
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// What comes of a block; `scratch` is for use in the next one too.
    pub fn partial(&self, block: usize, scratch: &mut Vec<f64>) -> R::Partial {
        let first = block * R::BLOCK;
        let end = self.elements.len().min(first + R::BLOCK);
        isa::reduce(self.reduction, self.elements.read(first..end, scratch))
    }

    /// Does it all, on at most so many threads, the calling one included; on more than one only where that pays.
    pub fn compute(&self, n_threads: NonZeroUsize) -> f64 {
        let starts = (0..self.len()).step_by(AT_ONCE);
        combine(starts.flat_map(|start| self.partials(start..self.len().min(start + AT_ONCE), n_threads)))
    }

    /// What comes of each of some blocks.
    fn partials(&self, blocks: Range<usize>, n_threads: NonZeroUsize) -> Vec<R::Partial> {
        let mut partials = vec![R::Partial::default(); blocks.len()];
        let n_threads = n_threads.get().min(blocks.len() / R::BLOCKS_FOR_A_THREAD);
        // A thread takes several shares, so that none is left alone with much.
        let n_blocks = R::BLOCKS_FOR_A_THREAD.div_ceil(8);
        let queue = Mutex::new(blocks.step_by(n_blocks).zip(partials.chunks_mut(n_blocks)));
        thread::scope(|scope| {
            for _ in 1..n_threads {
                // A thread that cannot be had is not needed.
                let _ = thread::Builder::new().spawn_scoped(scope, || self.work(&queue));
            }
            self.work(&queue);
        });
        partials
    }

    /// Reduces blocks until none is left.
    fn work(&self, queue: &Queue<'_, R::Partial>) {
        let mut scratch = Vec::new();
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((first, partials)) = next else { return };
            for (partial, block) in partials.iter_mut().zip(first..) {
                *partial = self.partial(block, &mut scratch);
            }
        }
    }
}

/// Blocks that are dealt with before what comes of them is put together: 134 million light elements.  A range may have more of
/// them than there is room for what comes of its blocks.
const AT_ONCE: usize = 1 << 16;

/// What nobody has taken yet: the first block of each share, and where to put what comes of it and the next.
type Queue<'a, P> = Mutex<Zip<StepBy<Range<usize>>, ChunksMut<'a, P>>>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elements::Progression;
    use crate::reduction::Partial;

    /// Blocks of one element; what comes of them depends on their order, and says so.
    struct Ordered;

    #[derive(Clone, Default)]
    struct Digest(f64);

    impl Reduction for Ordered {
        type Partial = Digest;

        const BLOCK: usize = 1;
        const BLOCKS_FOR_A_THREAD: usize = 100;

        fn reduce(&self, elements: &[f64]) -> Digest {
            Digest(elements[0])
        }
    }

    impl Partial for Digest {
        fn merge(&mut self, next: Self) {
            self.0 = (self.0 * 31.0 + next.0) % 1_000_003.0;
        }

        fn value(self) -> f64 {
            self.0
        }
    }

    #[test]
    fn blocks_are_put_together_in_order_whoever_reduces_them() {
        for len in [0, 1, 99, 100, 101, AT_ONCE, AT_ONCE + 1, 2 * AT_ONCE + 150] {
            let elements = &Progression { first: 0, step: 1, len };
            let blocks = Blocks { reduction: &Ordered, elements };
            let expected = combine((0..len as u32).map(|element| Digest(f64::from(element))));
            for n_threads in [1, 2, 7] {
                assert_eq!(expected, blocks.compute(n_threads.try_into().expect("not zero")), "{len}");
            }
        }
    }
}

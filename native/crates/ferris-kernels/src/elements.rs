//! Where the numbers come from.

use std::ops::Range;

/// Numbers that can be read from several threads, a block at a time.
pub trait Elements: Sync {
    /// How many there are.
    fn len(&self) -> usize;

    /// True when there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those of a range, which is within the length; where they have to be made, they are made in `scratch`.
    fn read<'a>(&'a self, range: Range<usize>, scratch: &'a mut Vec<f64>) -> &'a [f64];
}

impl Elements for [f64] {
    fn len(&self) -> usize {
        <[f64]>::len(self)
    }

    fn read<'a>(&'a self, range: Range<usize>, _: &'a mut Vec<f64>) -> &'a [f64] {
        &self[range]
    }
}

impl Elements for Vec<f64> {
    fn len(&self) -> usize {
        self.as_slice().len()
    }

    fn read<'a>(&'a self, range: Range<usize>, _: &'a mut Vec<f64>) -> &'a [f64] {
        &self[range]
    }
}

/// Whole numbers at equal distances: Python's `range`, of numbers that fit 64 bits.
#[derive(Clone, Copy, Debug)]
pub struct Progression {
    /// The first of them.
    pub first: i64,
    /// From one to the next.
    pub step: i64,
    /// How many.
    pub len: usize,
}

impl Elements for Progression {
    fn len(&self) -> usize {
        self.len
    }

    #[expect(clippy::cast_precision_loss, reason = "rounded, as Python rounds an int")]
    fn read<'a>(&'a self, range: Range<usize>, scratch: &'a mut Vec<f64>) -> &'a [f64] {
        // Wrapping: the element fits, though a product on the way to it may not.
        let element = |index: usize| self.first.wrapping_add(self.step.wrapping_mul(index as i64));
        scratch.clear();
        scratch.extend(range.map(|index| element(index) as f64));
        scratch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_progression_is_read_from_anywhere() {
        let down = Progression { first: i64::MAX, step: -(1 << 62), len: 4 };
        let (half, whole) = (2f64.powi(62), 2f64.powi(63));

        assert_eq!([whole, half, -1.0, -half], down.read(0..4, &mut vec![]));
        assert_eq!([half, -1.0], down.read(1..3, &mut vec![7.0]));
    }
}

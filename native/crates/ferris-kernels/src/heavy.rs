//! A computation that takes long: a load for benchmarks.
//!
//! For each element `x` the terms `(i * j) * x`, for `i` from 0 to 99 999 and for each of them `j` from 0 to 9, are added
//! up one after the other, and the result is the remainder of the sum by 1 000 000, with the sign of `x`.  The order is part
//! of the definition: the sums of one element wait for each other.  Those of several elements do not, so a block of
//! elements is computed side by side, each of them in its own order, in the time of one.

#![expect(clippy::inline_always, reason = "see `Reduction`")]

use crate::reduction::Reduction;
use crate::sum::Sum;
use std::array::from_fn;

/// Elements that are computed side by side.
///
/// An addition takes three or four cycles, and with AVX2 two of four numbers each begin in every cycle: with 24 numbers
/// nearly all of the time is used.  28, with their sums, just fit the registers.  Measured on a Zen 4, per element: 54 µs
/// with 16, 39 µs with 24, 34 µs with 28, 35 µs with 32; one after the other they take 820 µs each.
const WIDTH: usize = 28;

const MODULUS: f64 = 1e6;

/// Adds up what comes of each element.
pub struct Heavy;

impl Reduction for Heavy {
    type Partial = Sum;

    const BLOCK: usize = WIDTH;
    const BLOCKS_FOR_A_THREAD: usize = 1;

    #[inline(always)]
    fn reduce(&self, elements: &[f64]) -> Sum {
        let mut sum = Sum::default();
        for some in elements.chunks(WIDTH) {
            let mut side_by_side = [0.0; WIDTH];
            side_by_side[..some.len()].copy_from_slice(some);
            values(&side_by_side).into_iter().take(some.len()).for_each(|value| sum.add(value));
        }
        sum
    }
}

#[inline(always)]
fn values(elements: &[f64; WIDTH]) -> [f64; WIDTH] {
    let mut sums = [0.0; WIDTH];
    let mut factors = Factors::first();
    for _ in 0..100_000 / ROWS {
        for factor in factors.0.as_flattened() {
            for (sum, element) in sums.iter_mut().zip(elements) {
                *sum += factor * element;
            }
        }
        factors.advance();
    }
    sums.map(|sum| sum % MODULUS)
}

/// For some `i` in a row, the products with each `j` from 1 on.
///
/// Zero times an element, added, changes nothing; but for an infinity, whose sum has no remainder anyway.  A table, because a
/// factor that is read takes no time from the additions; a small one, because the processor keeps it near.
struct Factors([[f64; 9]; ROWS]);

const ROWS: usize = 100;

impl Factors {
    /// For `i` from 0 on.
    #[inline(always)]
    fn first() -> Self {
        Self(from_fn(|i| from_fn(|j| f64::from((i * (j + 1)) as u32))))
    }

    /// Goes on to the next `i`.
    #[inline(always)]
    fn advance(&mut self) {
        for row in &mut self.0 {
            for (j, factor) in row.iter_mut().enumerate() {
                *factor += f64::from((ROWS * (j + 1)) as u32);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa;
    use crate::reduction::Partial;
    use std::f64::consts::PI;

    /// The definition, word by word.
    fn defined(x: f64) -> f64 {
        let mut sum = 0.0;
        for i in 0..100_000 {
            for j in 0..10 {
                sum += f64::from(i * j) * x;
            }
        }
        sum % 1e6
    }

    #[test]
    fn every_bit_is_as_defined() {
        let numbers = [0.1, 1.0 / 3.0, PI, -0.7, 123_456.789, 2f64.powi(40), 1e-300, 5e-324, 7e296, 0.0];
        let mut elements = [f64::MAX; WIDTH];
        elements[WIDTH - numbers.len()..].copy_from_slice(&numbers);

        assert_eq!(numbers.map(defined), values(&elements)[WIDTH - numbers.len()..]);
    }

    #[test]
    fn what_has_no_remainder_is_no_number() {
        let mut elements = [1.0; WIDTH];
        elements[..5].copy_from_slice(&[f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e300, f64::MAX]);
        let expected = from_fn::<_, WIDTH, _>(|lane| lane < 5);

        assert_eq!(expected, values(&elements).map(f64::is_nan));
    }

    #[test]
    fn there_may_be_more_elements_than_stand_side_by_side() {
        let elements = (1..=WIDTH as u32 + 4).map(f64::from).collect::<Vec<_>>();

        // The values for whole numbers are 750 000, 500 000, 250 000 and 0, over and over.
        assert_eq!(1_500_000.0 * 8.0, isa::reduce(&Heavy, &elements).value());
    }
}

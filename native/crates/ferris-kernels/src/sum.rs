//! Sums, and sums of squares, as if computed with twice the precision.
//!
//! Each addition is done with an error term that is exact, and the errors are added up beside the sum: the compensated
//! summation of Neumaier ("Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen", ZAMM 54, 1974),
//! without its branch, by Knuth's `TwoSum`.  Squares add the error of their multiplication, exact by a fused
//! multiply-add, as in the dot product of Ogita, Rump and Oishi ("Accurate sum and dot product", SIAM J. Sci. Comput.
//! 26(6), 2005, algorithms 4.4 and 5.3), who prove the bound: with `u = 2^-53` the result differs from the exact sum `s`
//! by at most `u |s|` and a term of `n² u²` times the sum of the magnitudes.  The second is nothing unless nearly all of
//! the sum cancels.

#![expect(clippy::inline_always, reason = "see `Reduction`")]

use crate::reduction::{LIGHT_BLOCK, LIGHT_BLOCKS_FOR_A_THREAD, Partial, Reduction};
use std::array::from_fn;

/// Sums that are kept side by side: the additions of one wait for each other, those of several do not.
///
/// Sixteen are four registers of AVX2 for the sums and four for the errors.  Measured: with eight a sum takes twice as long, and
/// with 32 it is the squares that no longer fit the registers.
const LANES: usize = 16;

/// A sum of two parts, the second of which is the error of the first.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sum {
    high: f64,
    low: f64,
}

impl Sum {
    /// Adds a number.
    #[inline(always)]
    pub fn add(&mut self, term: f64) {
        self.merge(Self { high: term, low: 0.0 });
    }
}

impl Partial for Sum {
    #[inline(always)]
    fn merge(&mut self, other: Self) {
        let (high, error) = two_sum(self.high, other.high);
        *self = Self { high, low: self.low + error + other.low };
    }

    /// An infinite sum is what it is: its error is infinity minus infinity.
    fn value(self) -> f64 {
        if self.high.is_finite() { self.high + self.low } else { self.high }
    }
}

/// The sum of two numbers and its error (Knuth, "The Art of Computer Programming", volume 2, section 4.2.2, theorem B).
#[inline(always)]
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_in_sum = sum - a;
    let a_in_sum = sum - b_in_sum;
    (sum, (a - a_in_sum) + (b - b_in_sum))
}

/// Adds elements up, or their squares, each multiplied by `scale` first, a power of two.
pub struct Summation<const SQUARED: bool> {
    /// One, or small, for a sum that overflows on the way.
    pub scale: f64,
}

impl<const SQUARED: bool> Reduction for Summation<SQUARED> {
    type Partial = Sum;

    const BLOCK: usize = LIGHT_BLOCK;
    const BLOCKS_FOR_A_THREAD: usize = LIGHT_BLOCKS_FOR_A_THREAD;

    #[inline(always)]
    fn reduce(&self, elements: &[f64]) -> Sum {
        let mut lanes = Lanes { high: [0.0; LANES], low: [0.0; LANES] };
        let (groups, rest) = elements.as_chunks();
        for group in groups {
            lanes.add::<SQUARED>(group, self.scale);
        }
        if !rest.is_empty() {
            let mut group = [0.0; LANES];
            group[..rest.len()].copy_from_slice(rest);
            lanes.add::<SQUARED>(&group, self.scale);
        }
        lanes.sum()
    }
}

struct Lanes {
    high: [f64; LANES],
    low: [f64; LANES],
}

impl Lanes {
    #[inline(always)]
    fn add<const SQUARED: bool>(&mut self, group: &[f64; LANES], scale: f64) {
        // An array after the other, not a lane after the other: so the compiler sees the vectors.
        let elements = group.map(|element| element * scale);
        let terms = if SQUARED { elements.map(|element| element * element) } else { elements };
        let sums = zip(self.high, terms, |high, term| two_sum(high, term).0);
        let mut errors = zip(self.high, terms, |high, term| two_sum(high, term).1);
        if SQUARED {
            let more = zip(elements, terms, |element, term| element.mul_add(element, -term));
            errors = zip(errors, more, |error, more| error + more);
        }
        self.high = sums;
        self.low = zip(self.low, errors, |low, error| low + error);
    }

    #[inline(always)]
    fn sum(self) -> Sum {
        let mut sums = from_fn::<_, LANES, _>(|lane| Sum { high: self.high[lane], low: self.low[lane] });
        // The first half and the second, side by side, and so on: quicker than one after the other.
        let mut n = LANES;
        while n > 1 {
            n /= 2;
            let (left, right) = sums.split_at_mut(n);
            for (left, right) in left.iter_mut().zip(right) {
                left.merge(*right);
            }
        }
        sums[0]
    }
}

#[inline(always)]
fn zip(left: [f64; LANES], right: [f64; LANES], f: impl Fn(f64, f64) -> f64) -> [f64; LANES] {
    from_fn(|lane| f(left[lane], right[lane]))
}

//! Products whose intermediate results neither overflow nor underflow.
//!
//! Fractions, in `[1, 2)`, are multiplied and exponents are added, so that the order in which lanes and blocks are put
//! together never makes an infinity, or a zero, out of numbers whose product is neither; and never a NaN out of both.

#![expect(clippy::inline_always, reason = "see `Reduction`")]

use crate::reduction::{LIGHT_BLOCK, LIGHT_BLOCKS_FOR_A_THREAD, Partial, Reduction};

/// Products that are kept side by side; see [`sum`](crate::sum).
const LANES: usize = 16;

/// Groups between two adjustments of the lanes: each group may double a product, which starts below 2.
const GROUPS: usize = 512;

const FRACTION_BITS: u32 = 52;
const EXPONENT: u64 = 0x7ff;
/// The exponent of 1 as it is stored.
const BIAS: i64 = 1023;
const ONE: u64 = (BIAS as u64) << FRACTION_BITS;

/// `fraction` times two to the power of `exponent`.  A product that is zero, infinite or no number is its fraction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Product {
    fraction: f64,
    exponent: i64,
}

impl Default for Product {
    /// One: the product of nothing.
    fn default() -> Self {
        Self { fraction: 1.0, exponent: 0 }
    }
}

impl Product {
    /// A number as a product.
    #[inline(always)]
    fn of(number: f64) -> Self {
        if number.is_subnormal() {
            let Self { fraction, exponent } = Self::of_normal(number * 2f64.powi(64));
            return Self { fraction, exponent: exponent - 64 };
        }
        if number.is_normal() { Self::of_normal(number) } else { Self { fraction: number, exponent: 0 } }
    }

    /// A number that is neither zero, subnormal, infinite nor no number as a product.
    #[inline(always)]
    fn of_normal(number: f64) -> Self {
        let bits = number.to_bits();
        Self {
            fraction: f64::from_bits(bits & !(EXPONENT << FRACTION_BITS) | ONE),
            exponent: (bits >> FRACTION_BITS & EXPONENT) as i64 - BIAS,
        }
    }
}

impl Partial for Product {
    #[inline(always)]
    fn merge(&mut self, other: Self) {
        let product = Self::of(self.fraction * other.fraction);
        *self =
            Self { fraction: product.fraction, exponent: self.exponent + other.exponent + product.exponent };
    }

    fn value(self) -> f64 {
        if !self.fraction.is_normal() {
            return self.fraction;
        }
        // In two steps, as the power may be out of range where the product is not; the first one is exact.
        let exponent = self.exponent.clamp(-1100, 1100) as i32;
        let first = exponent.clamp(-1000, 1000);
        self.fraction * 2f64.powi(first) * 2f64.powi(exponent - first)
    }
}

/// Multiplies elements.
pub struct Multiplication;

impl Reduction for Multiplication {
    type Partial = Product;

    const BLOCK: usize = LIGHT_BLOCK;
    const BLOCKS_FOR_A_THREAD: usize = LIGHT_BLOCKS_FOR_A_THREAD;

    #[inline(always)]
    fn reduce(&self, elements: &[f64]) -> Product {
        let mut lanes = [Product::default(); LANES];
        let (groups, rest) = elements.as_chunks();
        for groups in groups.chunks(GROUPS) {
            multiply(&mut lanes, groups);
        }
        for (lane, &element) in lanes.iter_mut().zip(rest) {
            lane.merge(Product::of(element));
        }
        let mut product = Product::default();
        for lane in lanes {
            product.merge(lane);
        }
        product
    }
}

/// Multiplies each lane by its element of every group.
#[inline(always)]
fn multiply(lanes: &mut [Product; LANES], groups: &[[f64; LANES]]) {
    let mut are_normal = true;
    let (mut fractions, mut exponents) = ([1.0; LANES], [0; LANES]);
    for group in groups {
        for ((&element, fraction), exponent) in group.iter().zip(&mut fractions).zip(&mut exponents) {
            let normal = Product::of_normal(element);
            are_normal &= (1 - BIAS..=BIAS).contains(&normal.exponent);
            *fraction *= normal.fraction;
            *exponent += normal.exponent;
        }
    }
    if are_normal {
        for ((lane, fraction), exponent) in lanes.iter_mut().zip(fractions).zip(exponents) {
            lane.merge(Product { fraction, exponent });
        }
        return;
    }
    for group in groups {
        for (lane, &element) in lanes.iter_mut().zip(group) {
            lane.merge(Product::of(element));
        }
    }
}

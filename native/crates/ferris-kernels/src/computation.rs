//! The reductions by name.

use std::num::NonZeroUsize;
use std::str::FromStr;

use crate::blocks::Blocks;
use crate::elements::Elements;
use crate::heavy::Heavy;
use crate::product::Multiplication;
use crate::sum::Summation;

/// What can be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The sum of the elements.
    Sum,
    /// The product of the elements.
    Product,
    /// The sum of their squares.
    SquareSum,
    /// The sum of what [`heavy`](crate::heavy) makes of each.
    HeavyComputation,
}

impl Kind {
    /// Every kind, with its name.
    pub const ALL: [(&str, Self); 4] = [
        ("sum", Self::Sum),
        ("product", Self::Product),
        ("square_sum", Self::SquareSum),
        ("heavy_computation", Self::HeavyComputation),
    ];
}

/// No kind has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownKind;

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind).ok_or(UnknownKind)
    }
}

/// Computes it on at most so many threads, the calling one included; the result is the same on any number.
///
/// Infinities and NaN have the effect that IEEE 754 gives them.
///
/// # Examples
/// ```
/// use ferris_kernels::computation::{Kind, compute};
///
/// let numbers = [1e16, 1.0, -1e16];
/// assert_eq!(1.0, compute(Kind::Sum, &numbers[..], 2.try_into().unwrap()));
/// ```
pub fn compute(kind: Kind, elements: &(impl Elements + ?Sized), n_threads: NonZeroUsize) -> f64 {
    match kind {
        Kind::Sum => sum::<false>(elements, n_threads, UP),
        Kind::SquareSum => sum::<true>(elements, n_threads, UP * UP),
        Kind::Product => Blocks { reduction: &Multiplication, elements }.compute(n_threads),
        Kind::HeavyComputation => Blocks { reduction: &Heavy, elements }.compute(n_threads),
    }
}

/// Sums that overflow are computed again with elements smaller by this: no memory holds so many that it does not do.
const UP: f64 = 18_446_744_073_709_551_616.0; // two to the power of 64

/// The sum of elements, or of their squares.
///
/// One that overflows on the way, and perhaps not at the end, is computed on a smaller scale, and then raised by `up`.
fn sum<const SQUARED: bool>(elements: &(impl Elements + ?Sized), n_threads: NonZeroUsize, up: f64) -> f64 {
    let on_scale = |scale| Blocks { reduction: &Summation::<SQUARED> { scale }, elements }.compute(n_threads);
    let sum = on_scale(1.0);
    if sum.is_finite() { sum } else { up * on_scale(1.0 / UP) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elements::Progression;
    use proptest::prelude::*;

    fn on_threads(n_threads: usize, kind: Kind, elements: &(impl Elements + ?Sized)) -> f64 {
        compute(kind, elements, n_threads.try_into().expect("not zero"))
    }

    fn alone(kind: Kind, elements: &[f64]) -> f64 {
        on_threads(1, kind, elements)
    }

    #[test]
    fn nothing_is_neutral() {
        let of_nothing = Kind::ALL.map(|(_, kind)| alone(kind, &[]).to_bits());

        assert_eq!([0.0, 1.0, 0.0, 0.0].map(f64::to_bits), of_nothing);
    }

    #[test]
    fn what_cancels_leaves_the_rest() {
        assert_eq!(1.0, alone(Kind::Sum, &[1e16, 1.0, -1e16]));
        assert_eq!(1.0, alone(Kind::Sum, &[0.1; 10]));
        assert_eq!(2e100, alone(Kind::Sum, &[1e200, 2e100, -1e200]));
    }

    #[test]
    fn infinities_and_nan_stay() {
        for kind in [Kind::Sum, Kind::SquareSum, Kind::Product] {
            assert_eq!(f64::INFINITY, alone(kind, &[1.0, f64::INFINITY, 2.0]));
            assert!(alone(kind, &[1.0, f64::NAN, f64::INFINITY]).is_nan());
        }
        assert_eq!(-f64::INFINITY, alone(Kind::Sum, &[1e308, -f64::INFINITY, 1e308]));
        assert!(alone(Kind::Sum, &[f64::INFINITY, 1.0, -f64::INFINITY]).is_nan());
        assert!(alone(Kind::Product, &[f64::INFINITY, 0.0]).is_nan());
    }

    #[test]
    fn sums_overflow_only_at_the_end() {
        let (mut numbers, more) = (vec![1e308; 5000], vec![-1e308; 5000]);
        assert_eq!(f64::INFINITY, alone(Kind::Sum, &numbers));
        assert_eq!(f64::INFINITY, alone(Kind::SquareSum, &numbers));
        numbers.extend(more);
        numbers.push(1e300);
        assert_eq!(1e300, alone(Kind::Sum, &numbers));
        assert_eq!(f64::MAX, alone(Kind::Sum, &[f64::MAX, f64::MAX, -f64::MAX]));
    }

    #[test]
    fn products_overflow_only_at_the_end() {
        let factors = [1e300, 1e-300, -1e200, 1e-200, 5e-324, 2f64.powi(1000)].repeat(10_000);
        let product = 2f64.powi(-74); // of the last two; the others are neighbours of 1 and -1

        assert_eq!(-5e-324, alone(Kind::Product, &factors[..5]));
        assert!((alone(Kind::Product, &factors[..6]) / -product - 1.0).abs() < 1e-15);
        assert_eq!(0.0, alone(Kind::Product, &factors));
        assert_eq!(0.0, alone(Kind::Product, &[[1e300; 100], [0.0; 100]].concat()));
        assert_eq!(f64::INFINITY, alone(Kind::Product, &[1e200, 1e200]));
        assert_eq!(f64::MIN_POSITIVE / 8.0, alone(Kind::Product, &[f64::MIN_POSITIVE / 16.0, 2.0]));
        assert!(alone(Kind::Product, &[0.0, -1.0]).is_sign_negative());
    }

    #[test]
    fn any_number_of_threads_gives_the_same() {
        let numbers = (0..600_000)
            .map(|n: u32| f64::from(n.wrapping_mul(2_654_435_761)) / 4e9 + 0.5)
            .collect::<Vec<_>>();
        for (_, kind) in Kind::ALL {
            let len = if kind == Kind::HeavyComputation { 300 } else { numbers.len() };
            let bits = |n_threads| on_threads(n_threads, kind, &numbers[..len]).to_bits();
            assert_eq!([bits(1); 4], [2, 3, 5, 64].map(bits), "{kind:?}");
        }
    }

    #[test]
    fn a_progression_is_summed_as_its_elements() {
        let numbers = (1..=300_000).map(f64::from).collect::<Vec<_>>();
        let progression = Progression { first: 1, step: 1, len: numbers.len() };

        assert_eq!(45_000_150_000.0, on_threads(3, Kind::Sum, &progression));
        assert_eq!(alone(Kind::SquareSum, &numbers), on_threads(3, Kind::SquareSum, &progression));
    }

    proptest! {
        /// Whole numbers are added up exactly in 128 bits, and so are their squares.
        #[test]
        #[expect(clippy::cast_precision_loss, reason = "the rounded sum is the expected one")]
        fn sums_are_rounded_once(numbers in prop::collection::vec(-(1i64 << 53)..1 << 53, 0..9000)) {
            let floats = numbers.iter().map(|&n| n as f64).collect::<Vec<_>>();
            let sum = numbers.iter().map(|&n| i128::from(n)).sum::<i128>() as f64;
            let squares = numbers.iter().map(|&n| i128::from(n).pow(2)).sum::<i128>() as f64;

            prop_assert_eq!(sum, alone(Kind::Sum, &floats));
            prop_assert_eq!(squares, alone(Kind::SquareSum, &floats));
        }
    }
}

//! The same code for the processor at hand.

use crate::reduction::Reduction;

/// Reduces a block with the best instructions that the processor has.
///
/// The baseline of x86-64 is of 2003: two numbers at a time, and `f64::mul_add` is a call into the C library, right but
/// slow.  Processors since 2013 have AVX2 and FMA.  Elsewhere (aarch64) the baseline has what is needed.
pub fn reduce<R: Reduction>(reduction: &R, elements: &[f64]) -> R::Partial {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        #[expect(unsafe_code, reason = "a processor without these instructions may not come here")]
        // SAFETY: the processor has them.
        return unsafe { reduce_with_avx2(reduction, elements) };
    }
    reduction.reduce(elements)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn reduce_with_avx2<R: Reduction>(reduction: &R, elements: &[f64]) -> R::Partial {
    reduction.reduce(elements)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heavy::Heavy;
    use crate::product::Multiplication;
    use crate::sum::Summation;

    /// The baseline and the processor at hand give the same bits.
    #[test]
    fn every_instruction_set_gives_the_same() {
        let numbers = (1..=1000).map(|n| 1.0 / f64::from(n) - 0.1).collect::<Vec<_>>();
        let (sum, squares) = (Summation::<false> { scale: 1.0 }, Summation::<true> { scale: 1.0 });

        assert_eq!(sum.reduce(&numbers), reduce(&sum, &numbers));
        assert_eq!(squares.reduce(&numbers), reduce(&squares, &numbers));
        assert_eq!(Multiplication.reduce(&numbers), reduce(&Multiplication, &numbers));
        assert_eq!(Heavy.reduce(&numbers[..3]), reduce(&Heavy, &numbers[..3]));
    }
}

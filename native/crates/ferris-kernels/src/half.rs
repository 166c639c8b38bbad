//! Numbers of 16 bits.

/// The value of a number of IEEE 754's format binary16, given by its bits.
///
/// Every one of them is a number of 64 bits.
pub fn to_f64(bits: u16) -> f64 {
    let (sign, magnitude) = (u64::from(bits >> 15), u64::from(bits & 0x7fff));
    // Exponent and fraction are put where those of a long number are; what is infinite or no number gets the one for that.
    let is_special = magnitude >> 10 == 0x1f;
    let short = f64::from_bits(magnitude << 42 | if is_special { 0x7ff << 52 } else { 0 });
    // The exponent has another bias.  To multiply, rather than add to it, is right for the subnormal as well.
    let long = short * f64::from_bits((1023 + 1023 - 15) << 52);
    f64::from_bits(long.to_bits() | sign << 63)
}

#[cfg(test)]
mod tests {
    use super::to_f64;

    /// The examples of the standard; `tests/unit/test_computation.py` compares all of them with `struct`.
    #[test]
    fn bits_mean_what_the_standard_says() {
        let numbers = [0x0001, 0x03ff, 0x0400, 0x3555, 0x3c00, 0x7bff, 0xc000, 0xfc00].map(to_f64);
        let tiny = 2f64.powi(-24);

        assert_eq!([tiny, 1023.0 * tiny, 1024.0 * tiny, 0.333_251_953_125], numbers[..4]);
        assert_eq!([1.0, 65504.0, -2.0, f64::NEG_INFINITY], numbers[4..]);
        assert!(to_f64(0x8000).is_sign_negative() && to_f64(0x7c01).is_nan());
    }
}

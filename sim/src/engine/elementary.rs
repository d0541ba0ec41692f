//! A portable natural logarithm and exponential for draws by inversion.
//!
//! Those of `libm` are portable too, but their divisions and their branches for numbers that a draw never takes cost
//! more than the rest of a draw. These follow the table-driven method of Tang ("Table-Driven Implementation of the
//! Exponential Function in IEEE Floating-Point Arithmetic", ACM TOMS 15(2), 1989, and "... of the Logarithm Function
//! ...", ACM TOMS 16(4), 1990): only additions and multiplications in a fixed order, which every platform rounds
//! alike. Relative errors are below 1e-13.

/// log2 of the logarithm table's entries.
const TABLE_BITS: u32 = 7;
const TABLE_LEN: usize = 1 << TABLE_BITS;
/// Bits of 0.6875. Mantissas are taken from [0.6875, 1.375), so that numbers next to 1 have the exponent 0 on both
/// sides and lose nothing to cancellation.
const LOWEST: u64 = 0x3FE6_0000_0000_0000;

/// For each interval of the mantissa, about the reciprocal of its middle, and minus the logarithm of that.
static TABLE: [(f64, f64); TABLE_LEN] = table();

const fn table() -> [(f64, f64); TABLE_LEN] {
    let mut table = [(1.0, 0.0); TABLE_LEN];
    let mut at = 0;
    while at < TABLE_LEN {
        let low = f64::from_bits(LOWEST + ((at as u64) << (52 - TABLE_BITS)));
        let high = f64::from_bits(LOWEST + ((at as u64 + 1) << (52 - TABLE_BITS)));
        // The two intervals that touch 1 keep (1, 0): there the polynomial alone is exact in relative terms.
        if low != 1.0 && high != 1.0 {
            let reciprocal = 2.0 / (low + high);
            table[at] = (reciprocal, -series(reciprocal));
        }
        at += 1;
    }
    table
}

/// The logarithm of a number between 0.7 and 1.5, as 2 artanh((x - 1) / (x + 1)); evaluated at compile time only.
const fn series(x: f64) -> f64 {
    let s = (x - 1.0) / (x + 1.0);
    let mut sum = 0.0;
    let mut power = 41;
    // From the smallest term up; s is below 0.2, so the first one left out is below 1e-30.
    while power > 0 {
        sum = sum * (s * s) + 1.0 / power as f64;
        power -= 2;
    }
    2.0 * s * sum
}

/// The natural logarithm of a positive normal number.
#[inline(always)]
pub(super) fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let above = bits.wrapping_sub(LOWEST);
    let at = (above >> (52 - TABLE_BITS)) as usize % TABLE_LEN;
    let exponent = (above as i64) >> 52;
    let mantissa = f64::from_bits(bits.wrapping_sub((exponent as u64) << 52));
    let (reciprocal, logarithm) = TABLE[at];
    let r = mantissa * reciprocal - 1.0;
    // ln(1 + r) for |r| < 1/128; the first term left out is below 2e-16 of the sum.
    let square = r * r;
    let low = -0.5 + r * (1.0 / 3.0);
    let middle = -0.25 + r * 0.2;
    let high = -1.0 / 6.0 + r * (1.0 / 7.0);
    let tail = square * (low + square * (middle + square * high));
    exponent as f64 * std::f64::consts::LN_2 + logarithm + (r + tail)
}

/// Entries of the table of fractional powers of 2.
const STEPS: usize = 32;
/// 2^(i/32).
static POWERS: [f64; STEPS] = powers();
/// ln 2 as the sum of a number of 32 bits, whose product with a small integer is exact, and a rest (fdlibm,
/// `e_exp.c`, `ln2HI` and `ln2LO`).
const LN_2_PARTS: (f64, f64) = (f64::from_bits(0x3FE6_2E42_FEE0_0000), f64::from_bits(0x3DEA_39EF_3579_3C76));
/// 1.5 * 2^52: adding it leaves the nearest integer in the lowest bits.
const ROUNDING: f64 = 6_755_399_441_055_744.0;

const fn powers() -> [f64; STEPS] {
    let mut powers = [1.0; STEPS];
    let mut at = 1;
    while at < STEPS {
        let x = std::f64::consts::LN_2 * (at as f64 / STEPS as f64);
        // Horner's scheme of the exponential series; the first term left out is below 1e-24.
        let (mut sum, mut term) = (1.0, 22);
        while term > 0 {
            sum = 1.0 + x / term as f64 * sum;
            term -= 1;
        }
        powers[at] = sum;
        at += 1;
    }
    powers
}

/// e to the power of `x`.
#[inline(always)]
pub(super) fn exp(x: f64) -> f64 {
    // Beyond, the result is not a normal number; a comparison that is false for NaN sends that along too.
    if !(x > -700.0 && x < 700.0) {
        return libm::exp(x);
    }
    let shifted = x * (STEPS as f64 * std::f64::consts::LOG2_E) + ROUNDING;
    let steps = shifted.to_bits();
    let whole = shifted - ROUNDING;
    let r = (x - whole * (LN_2_PARTS.0 / STEPS as f64)) - whole * (LN_2_PARTS.1 / STEPS as f64);
    // exp(r) - 1 for |r| < 0.011; the first term left out is below 1e-17 of 1.
    let square = r * r;
    let low = 0.5 + r * (1.0 / 6.0);
    let high = 1.0 / 24.0 + r * (1.0 / 120.0) + square * (1.0 / 720.0);
    let tail = r + square * (low + square * high);
    let power = POWERS[steps as usize % STEPS];
    // The number of whole doublings goes into the exponent; the bits of the rounding constant above are shifted out.
    let doublings = (steps as i64) << 17 >> 22;
    let scale = f64::from_bits(((doublings + 1_023) as u64) << 52);
    (power + power * tail) * scale
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: inversion is as exact as with the platform-independent library. Method: relative difference to
    /// `libm::log` over all scales that a draw takes, and on both sides of 1.
    #[test]
    fn the_logarithm_agrees_with_libm_to_thirteen_digits() {
        let mut worst: f64 = 0.0;
        let mut compare = |x: f64| {
            let want = libm::log(x);
            worst = worst.max(((ln(x) - want) / want).abs());
        };
        let mut x = 1.0 / (1u64 << 53) as f64;
        while x < 4.0 {
            compare(x);
            x *= 1.000_013_7;
        }
        for n in 1..5_000 {
            let step = f64::from(n) * f64::from(n) * 1e-9;
            compare(1.0 - step);
            compare(1.0 + step);
            compare(1.0 - f64::from(n) * f64::EPSILON);
        }
        assert!(worst < 1e-13, "worst relative difference {worst:e}");
        assert_eq!(ln(1.0), 0.0);
    }

    #[test]
    fn the_exponential_agrees_with_libm_to_thirteen_digits() {
        let mut worst: f64 = 0.0;
        for n in -2_000_000..2_000_000 {
            for x in [f64::from(n) * 0.000_351, f64::from(n) * 1e-7] {
                let want = libm::exp(x);
                // Results that are no normal numbers have fewer digits to agree in.
                if want.is_normal() {
                    worst = worst.max((exp(x) / want - 1.0).abs());
                }
            }
        }
        assert!(worst < 1e-13, "worst relative difference {worst:e}");
        assert_eq!((exp(0.0), exp(f64::NEG_INFINITY), exp(f64::INFINITY)), (1.0, 0.0, f64::INFINITY));
        assert!(exp(f64::NAN).is_nan());
    }
}

//! CRC-32 as `ngx_crc32_update` computes it (IEEE 802.3, reflected, both ends inverted), and the sum of two strings one
//! after the other from the sums of each.
//!
//! The second is what lets a request keep eight bytes of its hash key instead of the key: nginx puts a number *in front of*
//! the key when it hashes again. After zlib 1.2.13, `crc32.c`, `crc32_combine_`.

/// The polynomial, lowest power in the highest bit.
const POLYNOMIAL: u32 = 0xedb8_8320;
/// 1, as a polynomial in the same order.
const ONE: u32 = 1 << 31;

/// `TABLES[k][b]`: what byte `b` followed by `k` zero bytes does to a sum.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = times_x(sum);
            bit += 1;
        }
        tables[0][byte] = sum;
        byte += 1;
    }
    let mut k = 1;
    while k < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before: u32 = tables[k - 1][byte];
            tables[k][byte] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        k += 1;
    }
    tables
}

/// A polynomial times x, modulo the polynomial.
#[inline(always)]
const fn times_x(a: u32) -> u32 {
    a >> 1 ^ (a & 1).wrapping_neg() & POLYNOMIAL
}

/// The product of two polynomials modulo the polynomial.
const fn product(a: u32, mut b: u32) -> u32 {
    let mut sum = 0;
    let mut bit = 0;
    while bit < 32 {
        sum ^= b & (a >> (31 - bit) & 1).wrapping_neg();
        b = times_x(b);
        bit += 1;
    }
    sum
}

/// Goes on with an inverted sum.
#[inline]
fn update(mut sum: u32, bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let [a, b, c, d, e, f, g, h] = *word;
        let low = sum ^ u32::from_le_bytes([a, b, c, d]);
        let [a, b, c, d] = low.to_le_bytes();
        sum = [a, b, c, d, e, f, g, h]
            .iter()
            .zip(TABLES.iter().rev())
            .fold(0, |sum, (&byte, table)| sum ^ table[usize::from(byte)]);
    }
    rest.iter().fold(sum, |sum, &byte| sum >> 8 ^ TABLES[0][((sum ^ u32::from(byte)) & 0xff) as usize])
}

/// The sum of `bytes`.
#[inline]
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    !update(!0, bytes)
}

/// A sum to which more may be added.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crc32(u32);

impl Crc32 {
    /// The sum of nothing.
    pub(super) const EMPTY: Self = Self(!0);

    /// The sum with `bytes` behind.
    pub(super) fn with(self, bytes: &[u8]) -> Self {
        Self(update(self.0, bytes))
    }

    /// The sum as a number.
    pub(super) fn value(self) -> u32 {
        !self.0
    }
}

/// What a string does to the sum of anything before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Suffix {
    /// The sum of the string alone.
    pub(super) crc: u32,
    /// Its length in bytes.
    pub(super) len: u32,
}

impl Suffix {
    /// The empty string.
    pub(super) const EMPTY: Self = Self { crc: 0, len: 0 };

    /// The string `bytes`; of one longer than 4 GiB only the part before is known.
    #[inline]
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { crc: crc32(bytes), len: bytes.len() as u32 }
    }

    /// x to the power of 8 times the length: multiplied by it, a sum has moved to in front of the string.
    pub(super) fn shift(self) -> u32 {
        let (mut shift, mut square, mut rest) = (ONE, ONE >> 8, self.len);
        while rest != 0 {
            if rest & 1 != 0 {
                shift = product(square, shift);
            }
            square = product(square, square);
            rest >>= 1;
        }
        shift
    }

    /// The sum of `prefix` and the string behind it; `shift` is [`Suffix::shift`].
    pub(super) fn behind(self, prefix: &[u8], shift: u32) -> u32 {
        product(shift, crc32(prefix)) ^ self.crc
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_check_value_of_the_catalogue_comes_out() {
        // CRC-32/ISO-HDLC in the catalogue of parametrised CRC algorithms (reveng).
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    proptest! {
        #[test]
        fn a_sum_in_parts_is_the_sum_of_the_whole(a: Vec<u8>, b: Vec<u8>) {
            let whole = [&a[..], &b[..]].concat();
            prop_assert_eq!(Crc32::EMPTY.with(&a).with(&b).value(), crc32(&whole));
            let suffix = Suffix::of(&b);
            prop_assert_eq!(suffix.behind(&a, suffix.shift()), crc32(&whole));
        }
    }
}

//! Hash functions and the avalanche step.
//!
//! HAProxy 2.6, `src/hash.c` (`hash_sdbm`, `hash_djb2`, `hash_wt6`, `hash_crc32`) and `include/haproxy/intops.h`
//! (`full_hash`).

use std::net::IpAddr;

/// The function of `hash-type`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum HashFunction {
    /// `sdbm`, the default.
    #[default]
    Sdbm,
    /// `djb2`.
    Djb2,
    /// `wt6`.
    Wt6,
    /// `crc32`, that of zlib.
    Crc32,
}

impl HashFunction {
    /// The functions, as `hash-type` spells them.
    pub const NAMES: [(&'static str, Self); 4] =
        [("sdbm", Self::Sdbm), ("djb2", Self::Djb2), ("wt6", Self::Wt6), ("crc32", Self::Crc32)];

    /// The hash of `bytes`.
    #[inline]
    pub fn hash(self, bytes: &[u8]) -> u32 {
        match self {
            Self::Sdbm => {
                bytes.iter().fold(0, |h: u32, &byte| h.wrapping_mul(65_599).wrapping_add(byte.into()))
            }
            Self::Djb2 => {
                bytes.iter().fold(5_381, |h: u32, &byte| h.wrapping_mul(33).wrapping_add(byte.into()))
            }
            Self::Wt6 => wt6(bytes),
            Self::Crc32 => {
                !bytes.iter().fold(!0, |crc, &byte| CRC_TABLE[(crc as u8 ^ byte) as usize] ^ (crc >> 8))
            }
        }
    }
}

/// Two words are mixed with every byte, rotated by amounts that depend on them, and exchanged.
fn wt6(bytes: &[u8]) -> u32 {
    let (mut a, mut b) = (0xa53c_965a_u32, 0x5ca6_953a_u32);
    let (mut step_a, mut step_b) = (6, 18);
    for &byte in bytes {
        a = !(a ^ u32::from(byte));
        b = !b.wrapping_add(byte.into());
        (a, b) = (b.rotate_left(step_a), a.rotate_left(step_b));
        let steps = ((a >> 16) ^ b) & 0xffff;
        (step_a, step_b) = (steps & 0x1f, steps >> 11);
    }
    a ^ b
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// What `balance source` hashes with, whatever the function: the words of the address, by exclusive or. An IPv4-mapped
/// address is an IPv6 address.
#[inline]
pub fn hash_address(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            ((bits >> 96) ^ (bits >> 64) ^ (bits >> 32) ^ bits) as u32
        }
    }
}

/// `avalanche`, and the place of a node on the consistent ring: Jenkins' integer hash in six steps, then a multiplication by
/// a prime near three quarters of the range.
#[inline]
pub fn avalanche(hash: u32) -> u32 {
    let mut h = hash;
    h = h.wrapping_add(0x7ed5_5d16).wrapping_add(h << 12);
    h = (h ^ 0xc761_c23c) ^ (h >> 19);
    h = h.wrapping_add(0x1656_67b1).wrapping_add(h << 5);
    h = h.wrapping_add(0xd3a2_646c) ^ (h << 9);
    h = h.wrapping_add(0xfd70_46c5).wrapping_add(h << 3);
    h = (h ^ 0xb55a_4f09) ^ (h >> 16);
    h.wrapping_mul(3_221_225_473)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32_is_that_of_zlib() {
        assert_eq!(HashFunction::Crc32.hash(b"123456789"), 0xcbf4_3926);
        assert_eq!(HashFunction::Crc32.hash(b""), 0);
    }

    #[test]
    fn an_empty_key_has_the_hash_that_the_function_starts_from() {
        assert_eq!(HashFunction::Sdbm.hash(b""), 0);
        assert_eq!(HashFunction::Djb2.hash(b""), 5_381);
        assert_eq!(HashFunction::Wt6.hash(b""), 0xa53c_965a ^ 0x5ca6_953a);
    }

    #[test]
    fn an_ipv4_mapped_address_hashes_as_ipv6() {
        let v4: IpAddr = "192.0.2.1".parse().expect("an address");
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().expect("an address");
        assert_eq!(hash_address(v4), 0xc000_0201);
        assert_eq!(hash_address(mapped), 0xc000_0201 ^ 0xffff);
    }
}

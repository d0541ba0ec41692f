//! Hashes of client keys and of servers' addresses: the same on every platform and in every version.

use std::net::IpAddr;

const PRIME_1: u64 = 0x9E37_79B1_85EB_CA87;
const PRIME_2: u64 = 0xC2B2_AE3D_27D4_EB4F;
const PRIME_3: u64 = 0x1656_67B1_9E37_79F9;
const PRIME_4: u64 = 0x85EB_CA77_C2B2_AE63;
const PRIME_5: u64 = 0x27D4_EB2F_1656_67C5;

/// XXH64, after its specification (Collet, `xxhash_spec.md` 0.2.0, section "XXH64 algorithm description"); the hash of
/// Envoy's consistent hashing.
#[inline]
pub fn xxh64(bytes: &[u8], seed: u64) -> u64 {
    let mut rest = bytes;
    let mut hash = if bytes.len() >= 32 {
        let mut lanes = [
            seed.wrapping_add(PRIME_1).wrapping_add(PRIME_2),
            seed.wrapping_add(PRIME_2),
            seed,
            seed.wrapping_sub(PRIME_1),
        ];
        while let Some((stripe, after)) = rest.split_at_checked(32) {
            for (lane, word) in lanes.iter_mut().zip(stripe.chunks_exact(8)) {
                *lane = round(*lane, little_endian(word));
            }
            rest = after;
        }
        let rotated = lanes.iter().zip([1, 7, 12, 18]).map(|(lane, by)| lane.rotate_left(by));
        let sum = rotated.fold(0, u64::wrapping_add);
        lanes
            .iter()
            .fold(sum, |hash, &lane| (hash ^ round(0, lane)).wrapping_mul(PRIME_1).wrapping_add(PRIME_4))
    } else {
        seed.wrapping_add(PRIME_5)
    };
    hash = hash.wrapping_add(bytes.len() as u64);
    while let Some((word, after)) = rest.split_at_checked(8) {
        hash = (hash ^ round(0, little_endian(word))).rotate_left(27);
        hash = hash.wrapping_mul(PRIME_1).wrapping_add(PRIME_4);
        rest = after;
    }
    if let Some((word, after)) = rest.split_at_checked(4) {
        hash = (hash ^ little_endian(word).wrapping_mul(PRIME_1)).rotate_left(23);
        hash = hash.wrapping_mul(PRIME_2).wrapping_add(PRIME_3);
        rest = after;
    }
    for &byte in rest {
        hash = (hash ^ u64::from(byte).wrapping_mul(PRIME_5)).rotate_left(11).wrapping_mul(PRIME_1);
    }
    hash = (hash ^ hash >> 33).wrapping_mul(PRIME_2);
    hash = (hash ^ hash >> 29).wrapping_mul(PRIME_3);
    hash ^ hash >> 32
}

#[inline]
fn round(lane: u64, word: u64) -> u64 {
    lane.wrapping_add(word.wrapping_mul(PRIME_2)).rotate_left(31).wrapping_mul(PRIME_1)
}

#[inline]
fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// The key of a request: XXH64 with seed 0 of the configured hash key if there is one, else of the client's address as
/// octets in network order, all 4 or all 16 of them.
///
/// Envoy hashes the address as text (`source_ip` in `hash_policy`), which spreads clients as evenly, to other places.
#[inline]
pub fn client_key(address: IpAddr, key: &[u8]) -> u64 {
    match address {
        _ if !key.is_empty() => xxh64(key, 0),
        IpAddr::V4(address) => xxh64(&address.octets(), 0),
        IpAddr::V6(address) => xxh64(&address.octets(), 0),
    }
}

/// A bijection of 64-bit words that mixes all bits: the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast Splittable
/// Pseudorandom Number Generators", OOPSLA 2014, `mix64` with Stafford's constants, variant 13).
#[inline]
pub fn mix(word: u64) -> u64 {
    let word = (word ^ word >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ word >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ word >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers_of_xxh64() {
        // Published with xxHash and its Python binding.
        for (text, hash) in [
            ("", 0xEF46_DB37_51D8_E999),
            ("a", 0xD24E_C4F1_A98C_6E5B),
            ("abc", 0x44BC_2CF5_AD77_0999),
            ("Nobody inspects the spammish repetition", 0xFBCE_A83C_8A37_8BF1),
        ] {
            assert_eq!(xxh64(text.as_bytes(), 0), hash, "{text}");
        }
    }

    #[test]
    fn long_inputs_use_all_their_bytes() {
        let bytes: Vec<u8> = (0..101).collect();
        let whole = xxh64(&bytes, 0);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_ne!(xxh64(&changed, 0), whole, "byte {at}");
        }
    }

    #[test]
    fn a_configured_key_replaces_the_address() {
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        assert_ne!(client_key(one, &[]), client_key(other, &[]));
        assert_eq!(client_key(one, b"u=7"), client_key(other, b"u=7"));
    }
}

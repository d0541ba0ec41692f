//! Random numbers that depend on (seed, replication, stream, entity, index) alone, never on what was drawn before.
//!
//! The generator is Philox2x64 (Salmon, Moraes, Dror & Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011),
//! a keyed bijection of 128-bit counters. The counter is the name of the draw, (entity, index), so a client carries no
//! generator and two strategies that name a draw alike get the same bits. Its key is derived from (seed, replication,
//! stream) by SHA-256, so no choice of seeds can make two streams overlap in a known way.

use crate::ids::StreamId;
use sha2::{Digest, Sha256};
use std::convert::Infallible;

/// Philox2x64 multiplier (Random123, `philox.h`, `PHILOX_M2x64_0`).
const MULTIPLIER: u64 = 0xD2B7_4407_B1CE_6E93;
/// Key increment between rounds: the golden ratio (Random123, `philox.h`, `PHILOX_W64_0`).
const WEYL: u64 = 0x9E37_79B9_7F4A_7C15;
/// Rounds: one more than the fewest that pass BigCrush (Salmon et al., table 2). The authors' default is ten; known
/// answers are published for both.
const ROUNDS: u32 = 7;

/// `ROUNDS` rounds of Philox2x64.
#[inline(always)]
fn philox<const ROUNDS: u32>(mut key: u64, counter: [u64; 2]) -> [u64; 2] {
    let [mut left, mut right] = counter;
    for _ in 0..ROUNDS {
        let product = u128::from(left) * u128::from(MULTIPLIER);
        left = (product >> 64) as u64 ^ key ^ right;
        right = product as u64;
        key = key.wrapping_add(WEYL);
    }
    [left, right]
}

/// A uniform number in (0, 1) from 64 random bits: the middle of one of 2^52 equal intervals.
#[inline(always)]
fn open_unit(bits: u64) -> f64 {
    // A number in [1, 2) with these bits for its mantissa, less 1: exact. The instruction that converts integers keeps
    // part of its register's former contents on x86, which made every draw wait for the one before.
    (f64::from_bits(1.0f64.to_bits() | (bits >> 12)) - 1.0) + 0.5 / (1u64 << 52) as f64
}

/// One stream of a replication: a key. Copying it is free; drawing leaves no trace in it.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// Philox key, and what is added to the index by exclusive or.
    key: [u64; 2],
}

impl Stream {
    /// The stream of `purpose` in `replication` of the experiment seeded with `seed`.
    ///
    /// The key is the first 16 bytes of SHA-256 over 18 bytes: `seed` and `replication` as 8 bytes each and the
    /// stream's number as 2, all little-endian; the key's two words are read little-endian as well.
    pub fn new(seed: u64, replication: u64, purpose: StreamId) -> Self {
        let mut hash = Sha256::new();
        hash.update(seed.to_le_bytes());
        hash.update(replication.to_le_bytes());
        hash.update((purpose as u16).to_le_bytes());
        let digest = hash.finalize();
        let word =
            |from: usize| (0..8).fold(0, |word, byte| word | u64::from(digest[from + byte]) << (8 * byte));
        Self { key: [word(0), word(8)] }
    }

    /// The two words of the block named (entity, index).
    #[inline(always)]
    fn block(&self, entity: u64, index: u64) -> [u64; 2] {
        philox::<ROUNDS>(self.key[0], [entity, index ^ self.key[1]])
    }

    /// The 64 random bits named (entity, index).
    #[inline]
    pub fn bits(&self, entity: u64, index: u64) -> u64 {
        self.block(entity, index)[0]
    }

    /// A uniform number in (0, 1), named (entity, index): never 0 or 1, so that logarithms of it are finite.
    #[inline]
    pub fn uniform(&self, entity: u64, index: u64) -> f64 {
        open_unit(self.bits(entity, index))
    }

    /// A uniform integer below `bound`, named (entity, index), by the high half of a product (Lemire, "Fast Random
    /// Integer Generation in an Interval", ACM TOMACS 29(1), 2019) without rejection: each value's probability is
    /// off by less than `bound` / 2^64 of itself.
    ///
    /// # Panics
    /// Panics if `bound` is 0.
    #[inline]
    pub fn below(&self, bound: u64, entity: u64, index: u64) -> u64 {
        assert!(bound > 0, "nothing is below 0");
        ((u128::from(self.bits(entity, index)) * u128::from(bound)) >> 64) as u64
    }

    /// A generator of as many draws as wanted under one name. None of them is [`Stream::bits`] of that name.
    #[inline]
    pub fn draws(&self, entity: u64, index: u64) -> Draws {
        let [high, key] = self.block(entity, index);
        Draws { key, high, next: 0, kept: 0 }
    }
}

/// The draws under one name, in order; a [`rand::Rng`]. Draw n is a word of a Philox block of its own: key and upper
/// counter word are the 128 bits of the name's block, the lower counter word is n / 2.
#[derive(Clone, Debug)]
pub struct Draws {
    key: u64,
    high: u64,
    /// Number of the next draw.
    next: u64,
    /// The second word of the last block.
    kept: u64,
}

impl Draws {
    /// The next 64 random bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        if !number.is_multiple_of(2) {
            return self.kept;
        }
        let [first, second] = philox::<ROUNDS>(self.key, [number / 2, self.high]);
        self.kept = second;
        first
    }

    /// The next uniform number in (0, 1), never 0 or 1.
    #[inline]
    pub fn uniform(&mut self) -> f64 {
        open_unit(self.bits())
    }
}

impl rand::TryRng for Draws {
    type Error = Infallible;

    #[inline]
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.bits() >> 32) as u32)
    }

    #[inline]
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.bits())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.bits().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "rng_tests.rs"]
mod tests;

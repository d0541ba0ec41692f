//! Random numbers that depend on (seed, replication, stream, entity, index) alone.

use crate::ids::StreamId;

/// One stream of a replication: a key. Copying it is free; drawing leaves no trace in it.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    key: [u64; 2],
}

impl Stream {
    /// The stream of `purpose` in `replication` of the experiment seeded with `seed`.
    pub fn new(seed: u64, replication: u64, purpose: StreamId) -> Self {
        Self { key: [seed ^ (purpose as u64) << 48, replication] }
    }

    /// The 64 random bits named (entity, index).
    #[inline]
    pub fn bits(&self, entity: u64, index: u64) -> u64 {
        let mut z = self.key[0] ^ entity.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ self.key[1].rotate_left(32);
        z = z.wrapping_add(index.wrapping_mul(0xD1B5_4A32_D192_ED03));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A uniform number in (0, 1), named (entity, index): never 0 or 1, so that logarithms of it are finite.
    #[inline]
    pub fn uniform(&self, entity: u64, index: u64) -> f64 {
        ((self.bits(entity, index) >> 12) as f64 + 0.5) * (1.0 / (1u64 << 52) as f64)
    }

    /// A uniform integer below `bound`, named (entity, index).
    ///
    /// # Panics
    /// Panics if `bound` is 0.
    #[inline]
    pub fn below(&self, bound: u64, entity: u64, index: u64) -> u64 {
        assert!(bound > 0, "nothing is below 0");
        ((u128::from(self.bits(entity, index)) * u128::from(bound)) >> 64) as u64
    }

    /// A generator of as many draws as wanted under one name.
    pub fn draws(&self, entity: u64, index: u64) -> Draws {
        Draws { state: self.bits(entity, index) }
    }
}

/// The draws under one name, in order; a [`rand::Rng`].
#[derive(Clone, Debug)]
pub struct Draws {
    /// placeholder
    pub state: u64,
}

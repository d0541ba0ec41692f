//! `hash <sample expression>`: one value of the sample, one server.
//!
//! HAProxy 2.6, `get_server_expr` in `src/backend.c`.

use super::HashOptions;
use super::keyed::{Key, Keyed};

/// A hash of a sample of the request; round robin where the sample is missing.
pub type Hash = Keyed<Sample>;

/// The bytes of a sample.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample;

impl Key for Sample {}

impl Hash {
    /// The algorithm with the backend's `hash-type` and `hash-balance-factor`.
    pub fn new(options: HashOptions) -> Self {
        Self::with_key(options, Sample)
    }

    /// The hash of the sample's bytes; `None` without a sample.
    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> Option<u32> {
        if key.is_empty() {
            return None;
        }
        Some(self.hash_of(key))
    }
}

#[cfg(test)]
mod tests {
    use super::super::HashType;
    use super::*;

    #[test]
    fn the_function_of_the_backend_is_used() {
        let hash_type = HashType::parse("map-based crc32").expect("valid");
        let balancer = Hash::new(HashOptions { hash_type, balance_factor: 0 });
        assert_eq!(balancer.hash(b"123456789"), Some(0xcbf4_3926));
        assert_eq!(balancer.hash(b""), None);
    }
}

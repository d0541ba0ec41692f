//! `hash <sample expression>`: one value of the sample, one server.
//!
//! HAProxy 2.6, `get_server_expr` in `src/backend.c`.

use super::lookup::Lookup;
use super::{HaproxyRequest, HashOptions, Servers};
use crate::balancer::Balancer;
use crate::ids::ServerId;

/// A hash of a sample of the request; round robin where the sample is missing.
#[derive(Clone, Debug, Default)]
pub struct Hash {
    pub(super) lookup: Lookup,
}

impl Hash {
    /// The algorithm with the backend's `hash-type` and `hash-balance-factor`.
    pub fn new(options: HashOptions) -> Self {
        Self { lookup: Lookup::new(options) }
    }

    /// The hash of the sample's bytes; `None` without a sample.
    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> Option<u32> {
        if key.is_empty() {
            return None;
        }
        Some(self.lookup.options.hash_type.hash(key))
    }
}

impl Balancer for Hash {
    type Servers = Servers;
    type Request = HaproxyRequest;

    #[inline]
    fn pick(&mut self, servers: &mut Servers, request: &mut HaproxyRequest) -> Option<ServerId> {
        self.lookup.pick_unless_single(servers, request)
    }

    fn servers_changed(&mut self, servers: &Servers) {
        self.lookup.servers_changed(servers);
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

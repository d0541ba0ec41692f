//! What all methods that hash a key have in common.

use super::lookup::Lookup;
use super::{HaproxyRequest, HashOptions, Servers};
use crate::balancer::Balancer;
use crate::ids::ServerId;

/// A method that looks up the hash of a key: which key, says `K`. Requests without the key take turns.
#[derive(Clone, Debug, Default)]
pub struct Keyed<K> {
    pub(super) lookup: Lookup,
    pub(super) key: K,
}

/// What of a request is hashed.
pub trait Key {
    /// Whether the only usable server is given without a turn of round robin.
    const SINGLE_TAKES_ALL: bool = true;
}

impl<K> Keyed<K> {
    /// The method with the backend's `hash-type` and `hash-balance-factor`.
    pub(super) fn with_key(options: HashOptions, key: K) -> Self {
        Self { lookup: Lookup::new(options), key }
    }

    /// The hash of some bytes by the backend's function.
    #[inline]
    pub(super) fn hash_of(&self, bytes: &[u8]) -> u32 {
        self.lookup.options.hash_type.hash(bytes)
    }
}

impl<K: Key> Balancer for Keyed<K> {
    type Servers = Servers;
    type Request = HaproxyRequest;

    #[inline]
    fn pick(&mut self, servers: &mut Servers, request: &mut HaproxyRequest) -> Option<ServerId> {
        if K::SINGLE_TAKES_ALL {
            self.lookup.pick_unless_single(servers, request)
        } else {
            self.lookup.pick(servers, request)
        }
    }

    fn servers_changed(&mut self, servers: &Servers) {
        self.lookup.servers_changed(servers);
    }
}

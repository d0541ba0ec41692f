//! `source`: one client address, one server.
//!
//! HAProxy 2.6, `get_server_sh` in `src/backend.c`. The function of `hash-type` plays no part; only its avalanche does.

use std::net::IpAddr;

use super::HashOptions;
use super::functions::hash_address;
use super::keyed::{Key, Keyed};

/// A hash of the client's address.
pub type Source = Keyed<Address>;

/// The client's address.
#[derive(Clone, Copy, Debug, Default)]
pub struct Address;

impl Key for Address {}

impl Source {
    /// The algorithm with the backend's `hash-type` and `hash-balance-factor`.
    pub fn new(options: HashOptions) -> Self {
        Self::with_key(options, Address)
    }

    /// The hash of an address.
    #[inline]
    pub(super) fn hash(&self, address: IpAddr) -> u32 {
        self.lookup.options.hash_type.finish(hash_address(address))
    }
}

#[cfg(test)]
mod tests {
    use super::super::HashType;
    use super::*;

    #[test]
    fn the_function_makes_no_difference_but_the_avalanche_does() {
        let hash = |words| {
            let hash_type = HashType::parse(words).expect("valid");
            Source::new(HashOptions { hash_type, balance_factor: 0 }).hash([192, 0, 2, 1].into())
        };
        assert_eq!(hash("map-based sdbm"), hash("map-based wt6"));
        assert_ne!(hash("map-based sdbm"), hash("map-based sdbm avalanche"));
    }
}

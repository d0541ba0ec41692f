//! `rdp-cookie(name)`: one RDP user, one server.
//!
//! HAProxy 2.6, `get_server_rch` in `src/backend.c`.

use super::HashOptions;
use super::keyed::{Key, Keyed};

/// A hash of the RDP cookie; round robin for connections without one.
pub type RdpCookie = Keyed<Value>;

/// The cookie's value.
#[derive(Clone, Copy, Debug, Default)]
pub struct Value;

impl Key for Value {
    /// Whether there is a cookie is asked first.
    const SINGLE_TAKES_ALL: bool = false;
}

impl RdpCookie {
    /// The algorithm with the backend's `hash-type` and `hash-balance-factor`.
    pub fn new(options: HashOptions) -> Self {
        Self::with_key(options, Value)
    }

    /// The hash of the cookie's value; `None` without one.
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
    use super::super::servers::fixture::weighted;
    use super::super::{HaproxyRequest, Servers};
    use super::*;
    use crate::balancer::Balancer;

    #[test]
    fn without_a_cookie_connections_take_turns() {
        let mut servers = Servers::new(&weighted(&[1, 1]), true, false);
        let mut balancer = RdpCookie::default();
        balancer.servers_changed(&servers);
        let mut pick = |cookie: &[u8]| {
            let mut request = HaproxyRequest { key_hash: balancer.hash(cookie), ..HaproxyRequest::new(0) };
            balancer.pick(&mut servers, &mut request).expect("a server").0
        };
        assert_eq!([pick(b""), pick(b""), pick(b"")], [0, 1, 0]);
        assert_eq!(pick(b"alice"), pick(b"alice"));
    }
}

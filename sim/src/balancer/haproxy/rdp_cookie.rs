//! `rdp-cookie(name)`: one RDP user, one server.
//!
//! HAProxy 2.6, `get_server_rch` in `src/backend.c`.

use super::lookup::Lookup;
use super::{HaproxyRequest, HashOptions, Servers};
use crate::balancer::Balancer;
use crate::ids::ServerId;

/// A hash of the RDP cookie; round robin for connections without one.
#[derive(Clone, Debug, Default)]
pub struct RdpCookie {
    pub(super) lookup: Lookup,
}

impl RdpCookie {
    /// The algorithm with the backend's `hash-type` and `hash-balance-factor`.
    pub fn new(options: HashOptions) -> Self {
        Self { lookup: Lookup::new(options) }
    }

    /// The hash of the cookie's value; `None` without one.
    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> Option<u32> {
        if key.is_empty() {
            return None;
        }
        Some(self.lookup.options.hash_type.hash(key))
    }
}

impl Balancer for RdpCookie {
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
    use super::super::servers::fixture::weighted;
    use super::*;

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

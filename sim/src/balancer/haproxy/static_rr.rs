//! `static-rr`: round robin over a table made in advance.
//!
//! HAProxy 2.6, `map_get_server_rr` in `src/lb_map.c`.

use super::map::Map;
use super::{HaproxyRequest, Servers};
use crate::balancer::{Balancer, Reason};
use crate::ids::ServerId;

/// Each entry of the table of [`super::HashType`] `map-based` in turn. A change of the servers makes a new table, and the
/// place in it is kept.
#[derive(Clone, Debug, Default)]
pub struct StaticRr {
    map: Map,
}

impl Balancer for StaticRr {
    type Servers = Servers;
    type Request = HaproxyRequest;

    #[inline]
    fn pick(&mut self, servers: &mut Servers, request: &mut HaproxyRequest) -> Option<ServerId> {
        request.reason = Reason::Scheduled { tie: false };
        if servers.queued() > 0 {
            return None;
        }
        self.map.next(servers, request.avoid)
    }

    fn servers_changed(&mut self, servers: &Servers) {
        self.map.rebuild(servers);
    }
}

#[cfg(test)]
mod tests {
    use super::super::servers::fixture::weighted;
    use super::*;

    #[test]
    fn nobody_is_served_past_those_who_wait() {
        let mut servers = Servers::new(&weighted(&[1, 1]), true, false);
        let mut balancer = StaticRr::default();
        balancer.servers_changed(&servers);
        servers.enqueue(None);
        assert_eq!(balancer.pick(&mut servers, &mut HaproxyRequest::new(0)), None);
        servers.dequeue(None);
        assert_eq!(balancer.pick(&mut servers, &mut HaproxyRequest::new(0)), Some(ServerId(0)));
    }
}

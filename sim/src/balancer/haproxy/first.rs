//! `first`: fills one server after the other, so that the last ones can be switched off.
//!
//! HAProxy 2.6, `src/lb_fas.c`.

use super::servers::Group;
use super::{HaproxyRequest, Servers};
use crate::balancer::{Balancer, Reason};
use crate::ids::ServerId;

/// The server with the lowest `id` that has room.
#[derive(Clone, Debug, Default)]
pub struct First {
    /// All servers by id, equal ones in the order of the file.
    by_id: Vec<ServerId>,
}

impl Balancer for First {
    type Servers = Servers;
    type Request = HaproxyRequest;

    fn pick(&mut self, servers: &mut Servers, request: &mut HaproxyRequest) -> Option<ServerId> {
        request.reason = Reason::Scheduled { tie: false };
        if servers.queued() > 0 {
            return None;
        }
        if let Group::FirstBackup(first) = servers.group() {
            return Some(ServerId(first));
        }
        let mut avoided = None;
        for &server in &self.by_id {
            if servers.in_group(server.index()) && servers.has_room(server) {
                if request.avoid != Some(server) {
                    return Some(server);
                }
                avoided = Some(server);
            }
        }
        avoided
    }

    fn servers_changed(&mut self, servers: &Servers) {
        if self.by_id.is_empty() {
            self.by_id = (0..servers.len()).map(ServerId::from_index).collect();
            self.by_id.sort_by_key(|server| servers.id(server.index()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::servers::fixture::weighted;
    use super::*;

    #[test]
    fn the_lowest_id_is_filled_first() {
        let mut lines = weighted(&[1, 1, 1]);
        (lines[0].id, lines[2].id) = (3, 1);
        lines.iter_mut().for_each(|line| line.maxconn = 1);
        let mut servers = Servers::new(&lines, false, false);
        let mut balancer = First::default();
        balancer.servers_changed(&servers);
        for expected in [2, 1, 0] {
            let server = balancer.pick(&mut servers, &mut HaproxyRequest::new(0));
            assert_eq!(server, Some(ServerId(expected)));
            servers.take(ServerId(expected));
        }
        assert_eq!(balancer.pick(&mut servers, &mut HaproxyRequest::new(0)), None);
    }
}

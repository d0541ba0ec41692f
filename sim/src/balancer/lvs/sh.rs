//! Source hashing, as `ip_vs_sh.c` in Linux 6.1 does it.

use super::hashing::{Slots, client, hash_to_8_bits};
use super::{Destinations, SchedulerRequest};
use crate::balancer::Balancer;
use crate::ids::ServerId;

const SLOTS: usize = 256;

/// The scheduler `sh`: the client's address is hashed to one of 256 slots. The servers take them in list order, each as
/// many in a row as its weight says, round after round until all are taken; a server of weight 0 takes one.
///
/// A client whose server has weight 0 or is overloaded is refused, unless `sh-fallback` is set: then the hash is
/// counted on, from itself, until a usable server turns up. With `sh-port` the port is hashed too.
#[derive(Clone, Debug, Default)]
pub struct LvsSh {
    slots: Slots,
}

impl Balancer for LvsSh {
    type Servers = Destinations;
    type Request = SchedulerRequest;

    #[inline]
    fn pick(&mut self, servers: &mut Destinations, request: &mut SchedulerRequest) -> Option<ServerId> {
        let turns = || servers.iter().map(|(server, record)| (server, record.weight.max(1) as usize));
        self.slots.refresh(|slots| {
            while !servers.is_empty() && slots.len() < SLOTS {
                for (server, turns) in turns() {
                    let end = (slots.len() + turns).min(SLOTS);
                    slots.resize(end, server);
                }
            }
        });
        let hash = hash_to_8_bits(client(request));
        self.slots.choose(servers, request, hash, |offset| (offset + hash) % SLOTS)
    }

    fn servers_changed(&mut self, _servers: &Destinations) {
        self.slots.invalidate();
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{list, shares};
    use super::super::{Destinations, SchedulerFlags};
    use super::*;
    use crate::balancer::{Reason, Skipped};

    fn pick(
        scheduler: &mut LvsSh,
        servers: &mut Destinations,
        flags: &[&str],
        port: u16,
    ) -> (Option<u16>, Reason) {
        let mut request = SchedulerRequest::new([0, 0, 0, 1].into(), port);
        let mut set = SchedulerFlags::default();
        assert!(flags.iter().all(|flag| set.set("sh", flag)));
        request.flags = set;
        let server = scheduler.pick(servers, &mut request);
        (server.map(|server| server.0), request.reason)
    }

    #[test]
    fn a_client_keeps_its_server_whatever_its_port() {
        let (mut scheduler, mut servers) = (LvsSh::default(), list(&[1, 1, 1]));
        // 0.0.0.1 hashes to 97, which is place 1 of the list.
        for port in 1..100 {
            assert_eq!(pick(&mut scheduler, &mut servers, &[], port), (Some(1), Reason::Hashed));
        }
    }

    #[test]
    fn with_its_port_a_client_is_spread_and_nothing_ties_it() {
        let (mut scheduler, mut servers) = (LvsSh::default(), list(&[1, 1, 1]));
        let picks = (1..100).map(|port| pick(&mut scheduler, &mut servers, &["sh-port"], port));
        let mut found = [false; 3];
        for (server, reason) in picks {
            found[usize::from(server.expect("a server"))] = true;
            assert_eq!(reason, Reason::Scheduled { tie: false });
        }
        assert_eq!(found, [true; 3]);
    }

    #[test]
    fn a_server_of_weight_zero_keeps_one_slot_a_round_and_refuses_it() {
        let shares = shares(&mut LvsSh::default(), &mut list(&[3, 0, 4]), 100_000);
        assert!((shares[1] - 0.0).abs() < 1e-9);
        assert!((shares[0] - 3.0 / 8.0).abs() < 0.01 && (shares[2] - 4.0 / 8.0).abs() < 0.02, "{shares:?}");
    }

    #[test]
    fn falling_back_counts_on_from_the_hash() {
        let (mut scheduler, mut servers) = (LvsSh::default(), list(&[1, 0, 1]));
        assert_eq!(pick(&mut scheduler, &mut servers, &[], 1), (None, Reason::NoneUsable));
        // Slot 97 + 97 = 194 is place 2 of the list.
        let expected = (Some(0), Reason::Rehashed(Skipped::OutOfService));
        assert_eq!(pick(&mut scheduler, &mut servers, &["sh-fallback"], 1), expected);
        for server in [0, 2].map(ServerId) {
            servers.set_weight(server, 0);
        }
        scheduler.servers_changed(&servers);
        assert_eq!(pick(&mut scheduler, &mut servers, &["sh-fallback"], 1), (None, Reason::NoneUsable));
    }
}

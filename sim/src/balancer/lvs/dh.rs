//! Destination hashing, as `ip_vs_dh.c` in Linux 6.1 does it: meant for caches, where a firewall mark brings the
//! addresses of many sites to one service.

use super::hashing::{Slots, fold, hash_to_8_bits};
use super::{Destinations, SchedulerFlags, SchedulerRequest};
use crate::balancer::Balancer;
use crate::ids::ServerId;

const SLOTS: usize = 256;

/// The scheduler `dh`: the address that the client calls is hashed to one of 256 slots, which the servers take in turn
/// in list order. Weights make no difference, but a server of weight 0 keeps its slots and its clients are refused.
///
/// A service of one address has one slot, so **one server gets everything**. So it is in scenarios, whose clusters have
/// one address.
#[derive(Clone, Debug, Default)]
pub struct LvsDh {
    slots: Slots,
}

impl Balancer for LvsDh {
    type Servers = Destinations;
    type Request = SchedulerRequest;

    #[inline]
    fn pick(&mut self, servers: &mut Destinations, request: &mut SchedulerRequest) -> Option<ServerId> {
        let order = || servers.iter().map(|(server, _)| server);
        self.slots.refresh(|slots| {
            while !servers.is_empty() && slots.len() < SLOTS {
                slots.extend(order().take(SLOTS - slots.len()));
            }
        });
        request.flags = SchedulerFlags::default();
        let home = hash_to_8_bits(fold(request.destination));
        self.slots.choose(servers, request, home, |place| place)
    }

    /// The kernel leaves the table alone when a weight changes, and since weights do not show in it, so does this in
    /// effect.
    fn servers_changed(&mut self, _servers: &Destinations) {
        self.slots.invalidate();
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::list;
    use super::*;
    use crate::balancer::Reason;

    fn pick(scheduler: &mut LvsDh, servers: &mut Destinations, called: [u8; 4]) -> (Option<u16>, Reason) {
        let mut request = SchedulerRequest::new([10, 0, 0, 1].into(), 1024);
        request.destination = called.into();
        let server = scheduler.pick(servers, &mut request);
        (server.map(|server| server.0), request.reason)
    }

    #[test]
    fn slots_go_round_the_list_whatever_the_weights() {
        let (mut scheduler, mut servers) = (LvsDh::default(), list(&[1, 9, 1]));
        // 0.0.0.1 hashes to 0x61 = 97, 0.0.0.2 to 0xC3 = 195: places 1 and 0 of the list.
        assert_eq!(pick(&mut scheduler, &mut servers, [0, 0, 0, 1]), (Some(1), Reason::Hashed));
        assert_eq!(pick(&mut scheduler, &mut servers, [0, 0, 0, 2]), (Some(2), Reason::Hashed));
    }

    #[test]
    fn what_belongs_to_a_server_of_weight_zero_is_refused() {
        let (mut scheduler, mut servers) = (LvsDh::default(), list(&[1, 0, 1]));
        assert_eq!(pick(&mut scheduler, &mut servers, [0, 0, 0, 1]), (None, Reason::NoneUsable));
        servers.remove(ServerId(1));
        scheduler.servers_changed(&servers);
        assert_eq!(pick(&mut scheduler, &mut servers, [0, 0, 0, 1]), (Some(0), Reason::Hashed));
    }
}

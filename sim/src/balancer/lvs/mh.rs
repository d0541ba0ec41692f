//! Maglev hashing, as `ip_vs_mh.c` in Linux 6.1 does it, after Eisenbud and others, Maglev: A Fast and Reliable Software
//! Network Load Balancer (NSDI 2016), section 3.4.

use super::hashing::{Slots, client, siphash_1_3};
use super::{Destinations, SchedulerRequest, gcd};
use crate::balancer::Balancer;
use crate::ids::ServerId;

/// A prime below 2^12, the kernel's default (`CONFIG_IP_VS_MH_TAB_INDEX`).
const SLOTS: u32 = 4093;

/// A server takes at most 2^6 slots in a row: larger shares are halved until they fit.
const TURN_BITS: u32 = 6;

/// Keys of the hash of clients and of a server's first slot, and of the hash of its stride.
const KEY_FIRST: u64 = 2_654_435_761;
const KEY_STRIDE: u64 = 2_654_446_892;

/// The scheduler `mh`: the client's address is hashed to one of 4093 slots. Each server has an order of its own in which
/// it wants the slots, from a hash of its address and port; in list order, each takes as many of those left as its share
/// says, until all are taken. When a server goes, most slots of the others stay.
///
/// The share is the *last* weight other than 0, so a server that is set to weight 0 keeps its slots. Its clients are
/// refused, as are those of an overloaded server, unless `mh-fallback` is set: then the hash is counted on and hashed
/// again until a usable server turns up. With `mh-port` the client's port is hashed too.
#[derive(Clone, Debug, Default)]
pub struct LvsMh {
    slots: Slots,
}

impl Balancer for LvsMh {
    type Servers = Destinations;
    type Request = SchedulerRequest;

    #[inline]
    fn pick(&mut self, servers: &mut Destinations, request: &mut SchedulerRequest) -> Option<ServerId> {
        self.slots.refresh(|slots| populate(servers, slots));
        let client = client(request);
        let slot =
            |offset: usize| (siphash_1_3((offset as u32).wrapping_add(client), KEY_FIRST) % SLOTS) as usize;
        self.slots.choose(servers, request, slot(0), slot)
    }

    fn servers_changed(&mut self, _servers: &Destinations) {
        self.slots.invalidate();
    }
}

/// One server while the table is filled.
struct Claim {
    server: ServerId,
    /// Slots in a row.
    turns: u32,
    /// The slot that it wants next.
    wanted: u32,
    /// From one wanted slot to the next; 1 to 4092.
    stride: u32,
}

/// Fills the table (`ip_vs_mh_permutate`, `ip_vs_mh_populate`); leaves it empty if no server ever had a weight.
fn populate(servers: &Destinations, slots: &mut Vec<ServerId>) {
    let shares = || servers.iter().map(|(_, record)| record.last_weight).filter(|&weight| weight > 0);
    let Some(divisor) = shares().reduce(gcd) else { return };
    let largest = shares().max().unwrap_or(0) / divisor;
    let shift = (u32::BITS - largest.leading_zeros()).saturating_sub(TURN_BITS);
    // A server that was added with weight 0 takes no part.
    let claim = |(server, weight): (ServerId, u32)| Claim {
        server,
        turns: ((weight / divisor) >> shift).max(1),
        wanted: siphash_1_3(servers.address_sum(server), KEY_FIRST) % SLOTS,
        stride: siphash_1_3(servers.address_sum(server), KEY_STRIDE) % (SLOTS - 1) + 1,
    };
    let entitled = servers.iter().map(|(server, record)| (server, record.last_weight));
    let mut claims: Vec<Claim> = entitled.filter(|&(_, weight)| weight > 0).map(claim).collect();

    let mut taken = vec![false; SLOTS as usize];
    slots.resize(SLOTS as usize, claims[0].server);
    let mut left = SLOTS;
    loop {
        for claim in &mut claims {
            for _ in 0..claim.turns {
                while taken[claim.wanted as usize] {
                    claim.wanted = (claim.wanted + claim.stride) % SLOTS;
                }
                taken[claim.wanted as usize] = true;
                slots[claim.wanted as usize] = claim.server;
                left -= 1;
                if left == 0 {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{list, shares};
    use super::*;
    use crate::balancer::{Reason, Skipped};

    fn pick(scheduler: &mut LvsMh, servers: &mut Destinations, fallback: bool) -> (Option<u16>, Reason) {
        let mut request = SchedulerRequest::new([10, 0, 0, 1].into(), 7);
        request.flags.fallback = fallback;
        let server = scheduler.pick(servers, &mut request);
        (server.map(|server| server.0), request.reason)
    }

    #[test]
    fn weight_zero_keeps_its_share_of_the_table() {
        let (mut scheduler, mut servers) = (LvsMh::default(), list(&[1, 1, 1]));
        let (home, reason) = pick(&mut scheduler, &mut servers, true);
        assert_eq!(reason, Reason::Hashed);
        servers.set_weight(ServerId(home.expect("a server")), 0);
        scheduler.servers_changed(&servers);
        assert_eq!(pick(&mut scheduler, &mut servers, false), (None, Reason::NoneUsable));
        let (elsewhere, reason) = pick(&mut scheduler, &mut servers, true);
        assert_eq!(reason, Reason::Rehashed(Skipped::OutOfService));
        assert!(elsewhere.is_some() && elsewhere != home);
    }

    #[test]
    fn a_server_added_with_weight_zero_has_no_share() {
        let shares = shares(&mut LvsMh::default(), &mut list(&[1, 0, 1]), 20_000);
        assert!(shares[1] == 0.0 && shares.iter().sum::<f64>() > 0.999, "{shares:?}");
        let (mut scheduler, mut servers) = (LvsMh::default(), list(&[0, 0]));
        assert_eq!(pick(&mut scheduler, &mut servers, true), (None, Reason::NoneUsable));
    }
}

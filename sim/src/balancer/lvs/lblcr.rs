//! Locality-based least connection with replication, as `ip_vs_lblcr.c` in Linux 6.1 does it: meant for caches, where a
//! firewall mark brings the addresses of many sites to one service.
//!
//! That sets shrink is known from the source only. Not modelled: the sweeps that forget addresses which nobody has called
//! for 24 hours, or for 6 minutes when there are more than 16384.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::lblc::Loads;
use super::least::first_least;
use super::wlc::OverheadByWeight;
use super::{Destination, Destinations, SchedulerRequest, Score};
use crate::balancer::{Balancer, Reason};
use crate::engine::{SimDuration, SimTime};
use crate::ids::ServerId;

/// How long after its last change a set of several servers loses one (`lblcr_expiration`).
const EXPIRATION: SimDuration = SimDuration::from_secs(24 * 3_600);

/// The scheduler `lblcr`: an address that is called has a set of servers, of which it gets the one that `wlc` would take.
/// When that is overloaded while another idles (as for `lblc`), or none of the set may be used, the one that `wlc` takes
/// among all servers joins the set. A set that has not changed for 24 hours loses the most loaded of its servers.
///
/// A service of one address has one set, so **one server gets everything until it is overloaded**, then two, and so on.
/// So it is in scenarios, whose clusters have one address.
#[derive(Clone, Debug, Default)]
pub struct LvsLblcr {
    /// The set of each address that was called.
    sets: BTreeMap<IpAddr, ServerSet>,
    loads: Loads,
}

/// Where an address is served.
#[derive(Clone, Debug)]
struct ServerSet {
    /// The newest last; the kernel's list begins with the newest.
    servers: Vec<ServerId>,
    /// When a server joined or left.
    changed: SimTime,
}

impl Balancer for LvsLblcr {
    type Servers = Destinations;
    type Request = SchedulerRequest;

    #[inline]
    fn pick(&mut self, servers: &mut Destinations, request: &mut SchedulerRequest) -> Option<ServerId> {
        let now = request.now;
        self.loads.follow(servers);
        if let Some(set) = self.sets.get_mut(&request.destination) {
            let least =
                first_least::<OverheadByWeight>(set.records(servers).filter(|(_, record)| record.listed));
            if set.servers.len() > 1 && now.0 - set.changed.0 > EXPIRATION.0 {
                set.shrink(servers, now);
            }
            if let Some((server, tie)) = least
                && servers.get(server).is_some_and(|record| !self.loads.is_overloaded(record, servers))
            {
                request.reason = Reason::Scheduled { tie };
                return Some(server);
            }
            let server = self.loads.schedule(request)?;
            if !set.servers.contains(&server) {
                set.servers.push(server);
                set.changed = now;
            }
            return Some(server);
        }
        let server = self.loads.schedule(request)?;
        self.sets.insert(request.destination, ServerSet { servers: vec![server], changed: now });
        Some(server)
    }

    fn servers_changed(&mut self, _servers: &Destinations) {
        self.loads.list_changed();
    }
}

impl ServerSet {
    /// The records of its servers, the newest first.
    fn records<'a>(&self, servers: &'a Destinations) -> impl Iterator<Item = (ServerId, &'a Destination)> {
        self.servers.iter().rev().filter_map(|&server| Some((server, servers.get(server)?)))
    }

    /// Takes out the first of the most loaded (`ip_vs_dest_set_max`); servers of weight 0 stay.
    fn shrink(&mut self, servers: &Destinations, now: SimTime) {
        let weighted = self.records(servers).filter(|(_, record)| record.weight > 0);
        let scored = weighted.map(|(server, record)| {
            (server, Score { numerator: record.overhead(), denominator: record.weight })
        });
        let most = scored.reduce(|most, other| {
            let (less, _) = most.1.is_less_or_equal(other.1);
            if less { other } else { most }
        });
        if let Some((most, _)) = most {
            self.servers.retain(|&server| server != most);
            self.changed = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::list;
    use super::*;

    fn pick(scheduler: &mut LvsLblcr, servers: &mut Destinations, hour: u64) -> Option<u16> {
        let mut request = SchedulerRequest::new([10, 0, 0, 1].into(), 1);
        request.now = SimTime::ZERO + SimDuration::from_secs(hour * 3_600);
        scheduler.pick(servers, &mut request).map(|server| server.0)
    }

    #[test]
    fn a_set_grows_under_load_and_shrinks_a_day_later() {
        let (mut scheduler, mut servers) = (LvsLblcr::default(), list(&[4, 4, 4]));
        for _ in 0..5 {
            assert_eq!(pick(&mut scheduler, &mut servers, 0), Some(2));
            servers.bind(ServerId(2), true);
        }
        assert_eq!(pick(&mut scheduler, &mut servers, 1), Some(1), "it joins the set");
        servers.bind(ServerId(1), true);
        for _ in 0..5 {
            servers.shift(ServerId(2), false);
        }
        assert_eq!(pick(&mut scheduler, &mut servers, 2), Some(2), "both serve: 5 to 256");
        assert_eq!(pick(&mut scheduler, &mut servers, 25), Some(2));
        assert_eq!(pick(&mut scheduler, &mut servers, 26), Some(2), "the busier one leaves");
        for _ in 0..2 {
            servers.bind(ServerId(2), true);
        }
        servers.unbind(ServerId(1), true);
        assert_eq!(
            pick(&mut scheduler, &mut servers, 26),
            Some(2),
            "the other one is idle, but out of the set"
        );
    }

    #[test]
    fn when_none_of_the_set_may_be_used_another_joins() {
        let (mut scheduler, mut servers) = (LvsLblcr::default(), list(&[1, 1]));
        assert_eq!(pick(&mut scheduler, &mut servers, 0), Some(1));
        servers.remove(ServerId(1));
        scheduler.servers_changed(&servers);
        assert_eq!(pick(&mut scheduler, &mut servers, 0), Some(0));
        servers.remove(ServerId(0));
        scheduler.servers_changed(&servers);
        assert_eq!(pick(&mut scheduler, &mut servers, 0), None);
    }
}

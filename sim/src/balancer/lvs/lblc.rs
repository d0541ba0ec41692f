//! Locality-based least connection, as `ip_vs_lblc.c` in Linux 6.1 does it: meant for caches, where a firewall mark
//! brings the addresses of many sites to one service.
//!
//! Not modelled: the sweeps that forget addresses which nobody has called for 24 hours, or for 6 minutes when there are
//! more than 16384.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::least::first_least;
use super::wlc::OverheadByWeight;
use super::{Destination, Destinations, SchedulerRequest};
use crate::balancer::{Balancer, Reason};
use crate::ids::ServerId;

/// The scheduler `lblc`: the first call of an address goes where `wlc` would send it, and later calls go there too, while
/// that server is configured, has a weight, and is not overloaded while another idles (`is_overloaded`). Then `wlc`
/// chooses anew. A server that thresholds (`-x`) take out keeps the addresses it has.
///
/// A service of one address has one entry, so **one server gets everything until it is overloaded**. So it is in
/// scenarios, whose clusters have one address.
#[derive(Clone, Debug, Default)]
pub struct LvsLblc {
    /// The server of each address that was called.
    homes: BTreeMap<IpAddr, ServerId>,
}

impl Balancer for LvsLblc {
    type Servers = Destinations;
    type Request = SchedulerRequest;

    #[inline]
    fn pick(&mut self, servers: &mut Destinations, request: &mut SchedulerRequest) -> Option<ServerId> {
        if let Some(&home) = self.homes.get(&request.destination)
            && let Some(record) = servers.get(home)
            && record.listed
            && record.weight > 0
            && !is_overloaded(record, servers)
        {
            request.reason = Reason::Scheduled { tie: false };
            return Some(home);
        }
        let server = schedule(servers, request)?;
        self.homes.insert(request.destination, server);
        Some(server)
    }
}

/// Whether a server has more active connections than its weight says, and some server has less than half as many.
pub(super) fn is_overloaded(record: &Destination, servers: &Destinations) -> bool {
    let is_idle = |record: &Destination| u64::from(record.active) * 2 < u64::from(record.weight);
    record.active > record.weight && servers.iter().any(|(_, record)| is_idle(record))
}

/// As `wlc` chooses.
pub(super) fn schedule(servers: &Destinations, request: &mut SchedulerRequest) -> Option<ServerId> {
    let found = first_least::<OverheadByWeight>(servers.iter());
    request.reason = found.map_or(Reason::NoneUsable, |(_, tie)| Reason::Scheduled { tie });
    found.map(|(server, _)| server)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{list, pick};
    use super::*;

    #[test]
    fn an_address_stays_until_its_server_is_overloaded_and_another_idles() {
        let (mut scheduler, mut servers) = (LvsLblc::default(), list(&[4, 4]));
        for _ in 0..5 {
            assert_eq!(pick(&mut scheduler, &mut servers).0, Some(1));
            servers.bind(ServerId(1), true);
        }
        assert_eq!(pick(&mut scheduler, &mut servers).0, Some(0), "5 are more than 4, and 0 less than 2");
        for _ in 0..2 {
            servers.bind(ServerId(0), true);
        }
        assert_eq!(pick(&mut scheduler, &mut servers).0, Some(0));
        servers.set_weight(ServerId(0), 0);
        assert_eq!(pick(&mut scheduler, &mut servers).0, Some(1));
        servers.set_weight(ServerId(0), 4);
        assert_eq!(pick(&mut scheduler, &mut servers).0, Some(1), "none has less than half of its weight");
    }
}

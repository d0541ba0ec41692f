//! Locality-based least connection, as `ip_vs_lblc.c` in Linux 6.1 does it: meant for caches, where a firewall mark
//! brings the addresses of many sites to one service.
//!
//! Not modelled: the sweeps that forget addresses which nobody has called for 24 hours, or for 6 minutes when there are
//! more than 16384.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::least::Tree;
use super::wlc::OverheadByWeight;
use super::{Destination, Destinations, Rank, SchedulerRequest, Score};
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
    loads: Loads,
}

impl Balancer for LvsLblc {
    type Servers = Destinations;
    type Request = SchedulerRequest;

    #[inline]
    fn pick(&mut self, servers: &mut Destinations, request: &mut SchedulerRequest) -> Option<ServerId> {
        self.loads.follow(servers);
        if let Some(&home) = self.homes.get(&request.destination)
            && let Some(record) = servers.get(home)
            && record.listed
            && record.weight > 0
            && !self.loads.is_overloaded(record, servers)
        {
            request.reason = Reason::Scheduled { tie: false };
            return Some(home);
        }
        let server = self.loads.schedule(request)?;
        self.homes.insert(request.destination, server);
        Some(server)
    }

    fn servers_changed(&mut self, _servers: &Destinations) {
        self.loads.list_changed();
    }
}

/// The servers by what `wlc` goes by and by what makes one idle. The kernel looks at every server instead.
#[derive(Clone, Debug, Default)]
pub(super) struct Loads {
    least: Tree,
    idlest: Tree,
}

/// Active connections over the weight, thresholds or not.
#[derive(Clone, Debug, Default)]
struct ActiveByWeight {}

impl Rank for ActiveByWeight {
    #[inline]
    fn score(record: &Destination) -> Option<Score> {
        let score = Score { numerator: record.active.into(), denominator: record.weight };
        (record.weight > 0).then_some(score)
    }
}

impl Loads {
    /// The list or a weight has changed.
    pub(super) fn list_changed(&mut self) {
        self.least.stale = true;
    }

    /// Follows the counters; to be called before each of the questions below.
    #[inline]
    pub(super) fn follow(&mut self, servers: &mut Destinations) {
        if self.least.stale {
            self.least.build::<OverheadByWeight>(servers);
            self.idlest.build::<ActiveByWeight>(servers);
        }
        while let Some(server) = servers.pop_changed() {
            self.least.replay::<OverheadByWeight>(servers, server);
            self.idlest.replay::<ActiveByWeight>(servers, server);
        }
    }

    /// Whether a server has more active connections than its weight says, and some server has less than half as many.
    #[inline]
    pub(super) fn is_overloaded(&self, record: &Destination, servers: &Destinations) -> bool {
        let is_idle = |record: &Destination| u64::from(record.active) * 2 < u64::from(record.weight);
        let idlest = || self.idlest.first().and_then(|(server, _)| servers.get(server));
        record.active > record.weight && idlest().is_some_and(is_idle)
    }

    /// As `wlc` chooses.
    #[inline]
    pub(super) fn schedule(&self, request: &mut SchedulerRequest) -> Option<ServerId> {
        let found = self.least.first();
        request.reason = found.map_or(Reason::NoneUsable, |(_, tie)| Reason::Scheduled { tie });
        found.map(|(server, _)| server)
    }
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
        scheduler.servers_changed(&servers);
        assert_eq!(pick(&mut scheduler, &mut servers).0, Some(1));
        servers.set_weight(ServerId(0), 4);
        scheduler.servers_changed(&servers);
        assert_eq!(pick(&mut scheduler, &mut servers).0, Some(1), "none has less than half of its weight");
    }
}

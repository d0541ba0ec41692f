//! A virtual service: its servers, its scheduler, and the destinations by which clients call it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::balancer::Balancer;
use crate::balancer::lvs::{Destinations, LvsScheduler, SchedulerRequest};
use crate::engine::SimTime;
use crate::ids::ServerId;
use crate::tier::Reason;

use super::{KernelClock, LvsService, Open, TemplateScope};

/// One virtual service at work.
#[derive(Debug)]
pub(super) struct Service {
    /// As configured.
    pub config: LvsService,
    /// The scheduler and where it stands.
    pub scheduler: LvsScheduler,
    /// The real servers.
    pub destinations: Destinations,
    /// `-p` in ticks.
    pub persistence_ticks: Option<u32>,
}

impl Service {
    pub fn new(config: LvsService, clock: &KernelClock) -> Self {
        let mut service = Self {
            scheduler: config.scheduler.clone(),
            destinations: Destinations::new(),
            persistence_ticks: config.persistence_timeout.map(|timeout| clock.ticks(timeout)),
            config,
        };
        for index in 0..service.config.servers.len().min(usize::from(u16::MAX) + 1) {
            let weight = service.config.servers[index].weight;
            service.add(ServerId(index as u16), weight);
        }
        service
    }

    /// `ipvsadm -a`, with the thresholds of the configuration.
    pub fn add(&mut self, server: ServerId, weight: u32) {
        let configured = self.config.servers.get(server.index());
        let (upper_threshold, lower_threshold) =
            configured.map_or((0, 0), |own| (own.upper_threshold, own.lower_threshold));
        if let Some(own) = configured {
            self.destinations.set_address(server, own.address);
        }
        if self.destinations.add(server, weight, upper_threshold, lower_threshold) {
            self.scheduler.servers_changed(&self.destinations);
        }
    }

    /// Another director takes over: no connection counts, and its scheduler has seen the servers of the list being
    /// added one by one, which `wrr` remembers.
    pub fn restart(&mut self) {
        self.destinations.forget_connections();
        self.scheduler = self.config.scheduler.clone();
        let listed = self.destinations.iter().map(|(server, record)| (server, record.weight));
        let listed: Vec<(ServerId, u32)> = listed.collect();
        let mut growing = Destinations::new();
        for (server, weight) in listed.into_iter().rev() {
            growing.add(server, weight, 0, 0);
            self.scheduler.servers_changed(&growing);
        }
    }

    /// Whether `server` is configured (`IP_VS_DEST_F_AVAILABLE`).
    #[inline]
    pub fn is_listed(&self, server: u16) -> bool {
        self.destinations.get(ServerId(server)).is_some_and(|record| record.listed)
    }

    /// Whether the weight of `server` is 0.
    #[inline]
    pub fn is_quiesced(&self, server: u16) -> bool {
        self.destinations.get(ServerId(server)).is_some_and(|record| record.weight == 0)
    }

    /// Lets the scheduler choose; `None` if no server may be used. A service of all ports has to be persistent, and
    /// refuses every client if it is not.
    #[inline]
    pub fn schedule(&mut self, now: SimTime, open: &Open<'_>) -> Option<(u16, Reason)> {
        if self.persistence_ticks.is_none() && self.config.template_scope == TemplateScope::AllPorts {
            return None;
        }
        let flags = self.config.scheduler_flags;
        let mut request = SchedulerRequest { flags, now, ..SchedulerRequest::new(open.address, open.port) };
        if let Some(called) = Endpoint::called_address(open.key) {
            request.destination = called;
        }
        let server = self.scheduler.pick(&mut self.destinations, &mut request)?;
        Some((server.0, request.reason))
    }
}

/// A destination that clients call. Connections to different ports of one service are different connections even if
/// client and client port are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// The service that answers.
    pub service: u16,
    /// [`Open::key`].
    pub key: Box<[u8]>,
}

impl Endpoint {
    /// The address in a key of 4 or 16 bytes and perhaps a port.
    fn called_address(key: &[u8]) -> Option<IpAddr> {
        match key.len() {
            4 | 6 => Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(&key[..4]).ok()?))),
            16 | 18 => Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(&key[..16]).ok()?))),
            _ => None,
        }
    }
}

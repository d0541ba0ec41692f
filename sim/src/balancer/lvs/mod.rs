//! IPVS schedulers and the list of destinations that they share.
//!
//! Source: Linux 6.1, `net/netfilter/ipvs/` (`ip_vs_ctl.c` for the list, `ip_vs_<scheduler>.c` for each scheduler).

mod destinations;

pub use destinations::{Destination, Destinations};

use std::net::{IpAddr, Ipv4Addr};

super::catalogue! {
    /// LVS schedulers, named as in `ipvsadm -s`.
    lvs: LvsScheduler<Servers = Destinations, Request = SchedulerRequest> {
        /// Round robin over the servers in list order.
        rr::LvsRr,
        /// Weighted least connection: 256 times the active plus the inactive connections, over the weight.
        wlc::LvsWlc,
    }
}

/// What a scheduler knows of one connection.
#[derive(Clone, Copy, Debug)]
pub struct SchedulerRequest {
    /// The client's address.
    pub source: IpAddr,
    /// The client's port.
    pub source_port: u16,
    /// The address that the client called: the service's, or one of several behind a firewall mark.
    pub destination: IpAddr,
    /// Set by the scheduler: whether another server had equal standing and the order of the list decided.
    pub tie: bool,
}

impl SchedulerRequest {
    /// A connection from `source` to a service of one address, which is unspecified here (0.0.0.0).
    pub fn new(source: IpAddr, source_port: u16) -> Self {
        Self { source, source_port, destination: IpAddr::V4(Ipv4Addr::UNSPECIFIED), tie: false }
    }
}

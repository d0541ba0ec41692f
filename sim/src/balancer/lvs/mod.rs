//! IPVS schedulers and the list of destinations that they share.

super::catalogue! {
    /// LVS schedulers, named as in `ipvsadm -s`.
    lvs: LvsScheduler<Servers = Destinations, Request = SchedulerRequest> {
        /// Round robin over the servers in list order.
        rr::LvsRr,
        /// Weighted least connection: 256 times the active plus the inactive connections, over the weight.
        wlc::LvsWlc,
    }
}

/// The list of destinations.
#[derive(Clone, Debug)]
pub struct Destinations {}

/// What a scheduler knows of one connection.
#[derive(Clone, Debug)]
pub struct SchedulerRequest {}

//! Lists and schedulers under test.

use super::*;
use crate::balancer::Balancer;
use crate::ids::ServerId;

/// Servers 0, 1, … of these weights at 192.0.2.1:80, 192.0.2.2:80, … in the order of addition, without thresholds.
pub(super) fn list(weights: &[u32]) -> Destinations {
    let mut list = Destinations::new();
    for (index, &weight) in weights.iter().enumerate() {
        add(&mut list, index as u16, weight, 0);
    }
    list
}

/// Adds a server at its address, with an upper threshold.
pub(super) fn add(list: &mut Destinations, server: u16, weight: u32, upper: u32) {
    let [high, low] = (server + 1).to_be_bytes();
    list.set_address(ServerId(server), ([192, 0, 2 + high, low], 80).into());
    list.add(ServerId(server), weight, upper, 0);
}

/// One pick for one client: the server, and whether it was a tie.
pub(super) fn pick(
    scheduler: &mut impl Balancer<Servers = Destinations, Request = SchedulerRequest>,
    list: &mut Destinations,
) -> (Option<u16>, bool) {
    let mut request = SchedulerRequest::new([10, 0, 0, 1].into(), 1024);
    let server = scheduler.pick(list, &mut request).map(|server| server.0);
    assert_eq!(server.is_none(), request.reason == Reason::NoneUsable);
    (server, request.reason == Reason::Scheduled { tie: true })
}

/// The share of `clients` addresses that each server gets, by server, without connections being counted; 1024 ports
/// of one client each.
pub(super) fn shares(
    scheduler: &mut impl Balancer<Servers = Destinations, Request = SchedulerRequest>,
    list: &mut Destinations,
    clients: u32,
) -> Vec<f64> {
    let mut counts = vec![0_u32; list.len()];
    for client in 0..clients {
        // Spread by a multiplication, since neighbours hash to neighbours.
        let address = Ipv4Addr::from_bits(client.wrapping_mul(0x9E37_79B1));
        let mut request = SchedulerRequest::new(address.into(), 1024);
        if let Some(server) = scheduler.pick(list, &mut request) {
            counts[server.index()] += 1;
        }
    }
    counts.iter().map(|&count| f64::from(count) / f64::from(clients)).collect()
}

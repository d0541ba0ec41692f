//! What tests of random methods share.

use std::net::IpAddr;

use super::{Peers, RequestState};
use crate::balancer::Balancer;

/// How many of `requests` requests, each answered at once, go to each server.
pub(super) fn counts(
    method: &mut impl Balancer<Servers = Peers, Request = RequestState>,
    peers: &mut Peers,
    requests: u64,
) -> Vec<u64> {
    let mut counts = vec![0; peers.len()];
    for number in 0..requests {
        let mut request = peers.begin(IpAddr::from([192, 0, 2, 1]));
        request.set_number(number);
        if let Some(server) = method.pick(peers, &mut request) {
            counts[server.index()] += 1;
            peers.end_try(&mut request, false);
        }
        peers.finish(&request);
    }
    counts
}

/// Pearson's statistic of `counts` under `shares`.
pub(super) fn chi_square(counts: &[u64], shares: &[f64]) -> f64 {
    let total = counts.iter().sum::<u64>() as f64;
    counts
        .iter()
        .zip(shares)
        .map(|(&count, share)| (count as f64 - total * share).powi(2) / (total * share))
        .sum()
}

//! A router with several next hops of equal cost (RFC 2991): every packet of a flow hashes to the same one, as long as the next hops
//! stay the same.
//!
//! By default the hash is taken modulo the next hops that are left (RFC 2992, 2: modulo-N), so most flows move when one is withdrawn or
//! comes back. With resilient hashing, which switches offer under this name, the hash points into a table of buckets, of which only
//! those of the lost next hop are given to others, and back when it returns.

use std::net::IpAddr;

use crate::balancer::modern::hash::mix;
use crate::balancer::{Reason, Skipped};

/// How a router spreads flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EcmpConfig {
    /// What it hashes.
    pub hash: EcmpHash,
    /// Whether only flows of a lost next hop move.
    pub resilient: bool,
}

/// What a router hashes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EcmpHash {
    /// Source address and port: connections of one client are spread.
    Flow,
    /// The source address alone.
    Address,
}

/// Buckets per next hop with resilient hashing (an assumption; products have 64 to 1024 in all).
const BUCKETS_PER_HOP: usize = 64;

/// The router.
#[derive(Debug)]
pub struct Ecmp {
    config: EcmpConfig,
    /// Whether each next hop is announced.
    listed: Vec<bool>,
    /// What the hash points into: the next hops that are left, or the buckets.
    table: Vec<u16>,
    seed: u64,
}

impl Ecmp {
    /// A router with so many next hops. `seed` is its hash's own.
    pub fn new(config: EcmpConfig, hops: usize, seed: u64) -> Self {
        let mut router = Self { config, listed: vec![true; hops], table: Vec::new(), seed };
        router.fill();
        router
    }

    /// Withdraws a next hop, or announces it again.
    pub fn list(&mut self, hop: u16, listed: bool) {
        self.listed[usize::from(hop)] = listed;
        self.fill();
    }

    fn fill(&mut self) {
        let hops = self.listed.len();
        let left: Vec<u16> = (0..hops as u16).filter(|&hop| self.listed[usize::from(hop)]).collect();
        self.table = match (self.config.resilient, left.is_empty()) {
            (_, true) => Vec::new(),
            (false, false) => left,
            (true, false) => {
                let own = |bucket: usize| (bucket % hops) as u16;
                let heir = |bucket: usize| left[bucket / hops % left.len()];
                let bucket = |bucket: usize| {
                    if self.listed[usize::from(own(bucket))] { own(bucket) } else { heir(bucket) }
                };
                (0..hops * BUCKETS_PER_HOP).map(bucket).collect()
            }
        };
    }

    /// The next hop of a flow, and why; `None` if all are withdrawn. A hash of the port ties no client to a next hop.
    pub fn pick(&self, client: IpAddr, port: u16) -> Option<(u16, Reason)> {
        let address = match client {
            IpAddr::V4(address) => u64::from(address.to_bits()),
            IpAddr::V6(address) => mix((address.to_bits() >> 64) as u64) ^ address.to_bits() as u64,
        };
        let (port, reason) = match self.config.hash {
            EcmpHash::Flow => (port, Reason::Scheduled { tie: false }),
            EcmpHash::Address if self.listed.contains(&false) => (0, Reason::Rehashed(Skipped::OutOfService)),
            EcmpHash::Address => (0, Reason::Hashed),
        };
        let hash = mix(mix(address ^ self.seed) ^ u64::from(port));
        let places = self.table.len() as u64;
        (places > 0).then(|| (self.table[(hash % places) as usize], reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn client(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x5000_0000 + 977 * number).into()
    }

    /// Shares of the flows of `hop` and of the others that move when it is withdrawn.
    fn moved(resilient: bool) -> (f64, f64) {
        let config = EcmpConfig { hash: EcmpHash::Flow, resilient };
        let mut router = Ecmp::new(config, 4, 7);
        let of = |router: &Ecmp| -> Vec<u16> {
            (0..20_000).map(|flow| router.pick(client(flow), 1_024).unwrap().0).collect()
        };
        let before = of(&router);
        router.list(2, false);
        let after = of(&router);
        assert!(!after.contains(&2));
        router.list(2, true);
        assert_eq!(of(&router), before, "all go back");
        let share = |lost: bool| {
            let flows: Vec<_> = before.iter().zip(&after).filter(|(hop, _)| (**hop == 2) == lost).collect();
            flows.iter().filter(|(before, after)| before != after).count() as f64 / flows.len() as f64
        };
        (share(true), share(false))
    }

    #[test]
    fn modulo_moves_most_flows_and_resilient_hashing_only_those_that_lost_their_next_hop() {
        // RFC 2992, 3: with modulo-N going from N to N-1 next hops, (N-1)/N of all flows move: 3/4 here, so 2/3 of the others.
        let (lost, others) = moved(false);
        assert_eq!(lost, 1.0);
        assert!((others - 2.0 / 3.0).abs() < 0.02, "{others}");
        assert_eq!(moved(true), (1.0, 0.0));
    }

    #[test]
    fn heirs_of_a_lost_next_hop_share_its_buckets_evenly() {
        let mut router = Ecmp::new(EcmpConfig { hash: EcmpHash::Flow, resilient: true }, 4, 7);
        router.list(0, false);
        let of = |hop: u16| router.table.iter().filter(|&&owner| owner == hop).count();
        assert!([1, 2, 3].iter().all(|&hop| (85..=86).contains(&of(hop))), "{:?}", [of(1), of(2), of(3)]);
    }

    #[test]
    fn the_address_alone_keeps_a_client_at_its_next_hop() {
        let router = Ecmp::new(EcmpConfig { hash: EcmpHash::Address, resilient: false }, 4, 7);
        let hops: Vec<u16> = (0..50).map(|port| router.pick(client(1), port).unwrap().0).collect();
        assert!(hops.iter().all(|hop| *hop == hops[0]));
        let mut none = Ecmp::new(EcmpConfig { hash: EcmpHash::Flow, resilient: true }, 1, 7);
        none.list(0, false);
        assert_eq!(none.pick(client(1), 1), None);
    }
}

//! Where clients come from: users on addresses, addresses in /24 networks, networks in the public IPv4 space.
//!
//! Networks are dealt out by a keyed permutation of all /24s, so that two populations never share one by accident and
//! the same seed gives the same addresses. Networks that are not globally routed unicast (IANA special-purpose registry,
//! RFC 6890) are left out.

use std::net::{IpAddr, Ipv4Addr};

use thiserror::Error;

use super::{AddressPlan, UsersPerAddress};
use crate::engine::Stream;

/// Networks of 24 bits in the whole IPv4 space.
const NETWORKS: u32 = 1 << 24;

/// More addresses were asked for than the public IPv4 space has networks.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "the populations need more /24 networks than the public IPv4 space has; lower `clients` or raise `users_per_address` or `addresses_per_24`"
)]
pub struct AddressesExhausted;

/// Deals out /24 networks of the public IPv4 space, each once.
#[derive(Debug)]
pub struct NetworkDealer {
    stream: Stream,
    next: u32,
    taken: std::collections::BTreeSet<u32>,
}

/// One client's place on its address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The address that the site sees.
    pub address: IpAddr,
    /// How many clients of this population were put on the address before.
    pub rank: u32,
}

impl NetworkDealer {
    /// A dealer whose order is the stream's.
    pub fn new(stream: Stream) -> Self {
        Self { stream, next: 0, taken: std::collections::BTreeSet::new() }
    }

    /// Keeps the network of `address` from being dealt.
    pub fn reserve(&mut self, address: IpAddr) {
        if let IpAddr::V4(v4) = address {
            self.taken.insert(u32::from(v4) >> 8);
        }
    }

    /// The next network: the upper 24 bits of its addresses.
    ///
    /// # Errors
    /// [`AddressesExhausted`] when every public network has been dealt.
    pub fn deal(&mut self) -> Result<u32, AddressesExhausted> {
        while self.next < NETWORKS {
            let network = self.permute(self.next);
            self.next += 1;
            if is_public(network) && !self.taken.contains(&network) {
                return Ok(network);
            }
        }
        Err(AddressesExhausted)
    }

    /// A permutation of 24-bit numbers: a Feistel network of four rounds on two halves of 12 bits.
    fn permute(&self, n: u32) -> u32 {
        let (mut left, mut right) = (n >> 12, n & 0xFFF);
        for round in 0..4 {
            let mixed = self.stream.bits(u64::from(right), round) as u32 & 0xFFF;
            (left, right) = (right, left ^ mixed);
        }
        left << 12 | right
    }
}

/// Whether a /24 is globally routed unicast space.
fn is_public(network: u32) -> bool {
    let [_, a, b, c] = network.to_be_bytes();
    !matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 168, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    )
}

/// Puts `clients` users on addresses after the plan, in order; `users` and `addresses` are the streams that decide,
/// `population` names the population in them.
///
/// # Errors
/// [`AddressesExhausted`] when the dealer runs out of networks.
pub fn place_clients(
    plan: &AddressPlan,
    clients: u32,
    population: u64,
    users: &Stream,
    addresses: &Stream,
    dealer: &mut NetworkDealer,
) -> Result<Vec<Place>, AddressesExhausted> {
    if !plan.fixed.is_empty() {
        let n = plan.fixed.len() as u32;
        return Ok((0..clients)
            .map(|client| Place { address: plan.fixed[(client % n) as usize], rank: client / n })
            .collect());
    }
    let mut places = Vec::with_capacity(clients as usize);
    let mut address_number = 0_u64;
    let mut network_number = 0_u64;
    while places.len() < clients as usize {
        let network = dealer.deal()?;
        let hosts = addresses_in_network(plan.addresses_per_24, addresses, population, network_number);
        network_number += 1;
        for host in 0..hosts {
            let address = host_address(network, host, addresses, population, network_number);
            let on_address = users_on_address(plan.users_per_address, users, population, address_number);
            address_number += 1;
            for rank in 0..on_address {
                if places.len() == clients as usize {
                    return Ok(places);
                }
                places.push(Place { address, rank });
            }
        }
    }
    Ok(places)
}

/// The address of a network's host: of the first 254 hosts no two have the same. `number` names the network in the stream.
pub fn host_address(network: u32, host: u32, addresses: &Stream, population: u64, number: u64) -> IpAddr {
    // A random start and an odd step visit 254 hosts without meeting one twice, since 1..=254 are taken modulo 254
    // and the step is coprime to it.
    let start = addresses.below(254, population << 40 | 1 << 39 | number, 0);
    let last_octet = 1 + (start + u64::from(host) * 93) % 254;
    IpAddr::V4(Ipv4Addr::from(network << 8 | last_octet as u32))
}

/// 1 plus a geometric number with the given mean in all, at most 254.
fn addresses_in_network(mean: f64, stream: &Stream, population: u64, network: u64) -> u32 {
    if mean <= 1.0 {
        return 1;
    }
    let u = stream.uniform(population << 40 | network, 0);
    let others = libm::floor(libm::log(u) / libm::log(1.0 - 1.0 / mean));
    1 + others.min(253.0) as u32
}

fn users_on_address(law: UsersPerAddress, stream: &Stream, population: u64, address: u64) -> u32 {
    let entity = population << 40 | address;
    match law {
        UsersPerAddress::Constant(users) => users.max(1),
        UsersPerAddress::OnePlusPoisson { mean } => 1 + poisson(mean, stream.uniform(entity, 0)),
        UsersPerAddress::Lognormal { median, sigma } => {
            // Box and Muller, one of the pair.
            let radius = libm::sqrt(-2.0 * libm::log(stream.uniform(entity, 0)));
            let normal = radius * libm::cos(std::f64::consts::TAU * stream.uniform(entity, 1));
            let users = median * libm::exp(sigma * normal);
            libm::round(users).clamp(1.0, 1e6) as u32
        }
    }
}

/// A Poisson number by inversion.
fn poisson(mean: f64, u: f64) -> u32 {
    let mut term = libm::exp(-mean);
    let mut below = term;
    let mut k = 0;
    while u > below && k < 10_000 {
        k += 1;
        term *= mean / f64::from(k);
        below += term;
    }
    k
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::ids::StreamId;

    fn place(plan: &AddressPlan, clients: u32) -> Vec<Place> {
        let addresses = Stream::new(7, 0, StreamId::Addresses);
        let users = Stream::new(7, 0, StreamId::UsersPerAddress);
        place_clients(plan, clients, 0, &users, &addresses, &mut NetworkDealer::new(addresses)).unwrap()
    }

    fn plan(users_per_address: UsersPerAddress, addresses_per_24: f64) -> AddressPlan {
        AddressPlan { preset: "test".into(), users_per_address, addresses_per_24, fixed: Vec::new() }
    }

    #[test]
    fn the_dealer_permutes_all_networks() {
        // Goal: no network twice, so that populations never collide by accident. Method: permute a contiguous
        // sixteenth of the space and look for repeats.
        let dealer = NetworkDealer::new(Stream::new(3, 0, StreamId::Addresses));
        let seen: BTreeSet<u32> = (0..1 << 20).map(|n| dealer.permute(n)).collect();
        assert_eq!(seen.len(), 1 << 20);
        assert!(seen.iter().all(|&n| n < NETWORKS));
    }

    #[test]
    fn addresses_are_public_and_each_belongs_to_one_place() {
        let places = place(&plan(UsersPerAddress::OnePlusPoisson { mean: 0.7 }, 1.7), 20_000);
        let mut seen = BTreeSet::new();
        for place in &places {
            let IpAddr::V4(v4) = place.address else { panic!("IPv4 wanted") };
            assert!(is_public(u32::from(v4) >> 8), "{v4}");
            assert!(seen.insert((place.address, place.rank)), "{v4} rank {} twice", place.rank);
        }
    }

    #[test]
    fn users_per_address_follow_their_law() {
        // Means over many addresses against closed forms, five standard errors wide.
        for (law, mean, sd) in [
            (UsersPerAddress::Constant(256), 256.0, 0.0),
            (UsersPerAddress::OnePlusPoisson { mean: 0.7 }, 1.7, 0.7_f64.sqrt()),
            // Lognormal: mean = median exp(sigma^2/2); rounding and the floor at 1 shift it by less than 0.1.
            (UsersPerAddress::Lognormal { median: 8.0, sigma: 1.2 }, 8.0 * 0.72_f64.exp(), 30.0),
        ] {
            let stream = Stream::new(11, 0, StreamId::UsersPerAddress);
            let n = 20_000;
            let total: f64 = (0..n).map(|a| f64::from(users_on_address(law, &stream, 1, a))).sum();
            let error = 5.0 * sd / (n as f64).sqrt() + 0.1;
            assert!((total / n as f64 - mean).abs() <= error, "{law:?}: {}", total / n as f64);
        }
    }

    #[test]
    fn networks_hold_the_mean_number_of_addresses() {
        let places = place(&plan(UsersPerAddress::Constant(1), 1.7), 50_000);
        let networks: BTreeSet<u32> = places
            .iter()
            .map(|p| match p.address {
                IpAddr::V4(v4) => u32::from(v4) >> 8,
                IpAddr::V6(_) => panic!("IPv4 wanted"),
            })
            .collect();
        let mean = places.len() as f64 / networks.len() as f64;
        assert!((mean - 1.7).abs() < 0.05, "{mean}");
    }

    #[test]
    fn asking_for_more_networks_than_there_are_is_an_error() {
        let stream = Stream::new(7, 0, StreamId::Addresses);
        let mut dealer = NetworkDealer::new(stream);
        dealer.next = NETWORKS - 1;
        let result =
            place_clients(&plan(UsersPerAddress::Constant(1), 1.0), 10, 0, &stream, &stream, &mut dealer);
        assert_eq!(result, Err(AddressesExhausted));
    }
}

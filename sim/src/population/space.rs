//! The public address space, and who gets which part of it.
//!
//! Providers hold prefixes, and the users of one provider lie in the same ones: a population's /24s are dealt prefix by
//! prefix. A prefix is an aligned block of 12 to 20 bits, each length equally likely (an assumption: most routed prefixes
//! are longer, but most addresses lie in these). Every /24 is dealt once, so two populations may share a provider's
//! prefix but never a network, by accident or otherwise. Networks that are not globally routed unicast (IANA special-purpose
//! registry, RFC 6890) are left out, as are those of fixed addresses and of logs.
//!
//! IPv6 providers hold a /32 each, within the blocks that IANA has given to the five registries and they to providers.

use std::collections::BTreeSet;
use std::net::IpAddr;

use thiserror::Error;

use crate::engine::{Draws, Stream};

/// Networks of 24 bits in the whole IPv4 space.
const NETWORKS: u32 = 1 << 24;
/// Lengths of prefixes.
const PREFIX_LENGTHS: std::ops::RangeInclusive<u64> = 12..=20;
/// Prefixes that are tried at random before any free network will do.
const PREFIX_TRIES: u32 = 64;
/// Upper 12 bits of the address blocks of the registries, each a /12 (IANA, "IPv6 Global Unicast Address Assignments").
const IPV6_BLOCKS: [u64; 6] = [0x240, 0x260, 0x280, 0x2A0, 0x2C0, 0x2A1];

/// More addresses were asked for than the public IPv4 space has networks.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "the populations need more /24 networks than the public IPv4 space has; lower `clients` or raise `users_per_address` or `addresses_per_24`"
)]
pub struct AddressesExhausted;

/// The networks that are still free.
#[derive(Debug)]
pub struct AddressSpace {
    stream: Stream,
    /// One bit for each /24: whether it is taken, or was never to be had.
    taken: Vec<u64>,
    /// All networks before this one are taken.
    first_free: u32,
    /// Upper halves of the /32s that IPv6 providers have.
    providers: BTreeSet<u32>,
}

impl AddressSpace {
    /// The whole public space; `stream` decides who gets what.
    pub fn new(stream: Stream) -> Self {
        Self { stream, taken: vec![0; NETWORKS as usize / 64], first_free: 0, providers: BTreeSet::new() }
    }

    /// Keeps the network of `address` from being dealt.
    pub fn reserve(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => {
                self.take(u32::from(address) >> 8);
            }
            IpAddr::V6(address) => {
                self.providers.insert((u128::from(address) >> 96) as u32);
            }
        }
    }

    /// Takes a network if it is public and free.
    fn take(&mut self, network: u32) -> bool {
        let (word, bit) = (&mut self.taken[network as usize / 64], 1 << (network % 64));
        let free = *word & bit == 0 && is_public(network);
        *word |= bit;
        free
    }

    /// Deals `count` networks in one prefix: the upper 24 bits of their addresses, in the order of the draws named
    /// `(entity, number)`. A prefix without room is made up for by another.
    ///
    /// # Errors
    /// [`AddressesExhausted`] when every public network has been dealt.
    pub(super) fn deal(
        &mut self,
        entity: u64,
        number: u64,
        count: u32,
        networks: &mut Vec<u32>,
    ) -> Result<(), AddressesExhausted> {
        let mut draws = self.stream.draws(entity, number);
        let wanted = networks.len() + count as usize;
        for _ in 0..PREFIX_TRIES {
            let lengths = PREFIX_LENGTHS.end() - PREFIX_LENGTHS.start() + 1;
            let size = 1 << (24 - PREFIX_LENGTHS.start() - below(&mut draws, lengths));
            let base = below(&mut draws, u64::from(NETWORKS)) as u32 & !(size - 1);
            if !is_public(base) {
                continue;
            }
            // As many tries as find about two thirds of what there is: a full prefix is not searched to the last network.
            let mut tries = size.min(4 * (count + 4));
            while networks.len() < wanted && tries > 0 {
                tries -= 1;
                let network = base + below(&mut draws, u64::from(size)) as u32;
                if self.take(network) {
                    networks.push(network);
                }
            }
            if networks.len() == wanted {
                return Ok(());
            }
        }
        while networks.len() < wanted {
            if self.first_free == NETWORKS {
                return Err(AddressesExhausted);
            }
            if self.take(self.first_free) {
                networks.push(self.first_free);
            }
            self.first_free += 1;
        }
        Ok(())
    }

    /// Deals an IPv6 provider's /32: the upper 32 bits of its addresses.
    pub(super) fn deal_provider(&mut self, entity: u64, number: u64) -> u32 {
        let mut draws = self.stream.draws(entity, number);
        loop {
            let block = IPV6_BLOCKS[below(&mut draws, IPV6_BLOCKS.len() as u64) as usize];
            let provider = (block << 20 | below(&mut draws, 1 << 20)) as u32;
            if self.providers.insert(provider) {
                return provider;
            }
        }
    }
}

/// A uniform number below `bound`, by the high half of a product.
fn below(draws: &mut Draws, bound: u64) -> u64 {
    ((u128::from(draws.bits()) * u128::from(bound)) >> 64) as u64
}

/// Whether a /24 is globally routed unicast space.
pub(super) fn is_public(network: u32) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::StreamId;

    fn space() -> AddressSpace {
        AddressSpace::new(Stream::new(3, 0, StreamId::Addresses))
    }

    #[test]
    fn networks_are_public_and_dealt_once_whoever_asks() {
        let mut space = space();
        space.reserve("81.2.69.142".parse().unwrap());
        let mut networks = Vec::new();
        for prefix in 0..20_000 {
            space.deal(prefix % 3, prefix, 1 + (prefix % 40) as u32, &mut networks).unwrap();
        }
        assert!(networks.iter().all(|&network| is_public(network) && network != 0x51_02_45));
        let distinct: BTreeSet<u32> = networks.iter().copied().collect();
        assert_eq!(distinct.len(), networks.len());
    }

    #[test]
    fn the_networks_of_a_prefix_share_twelve_bits() {
        // A prefix is at most a /12, 4096 networks wide, and aligned.
        let mut space = space();
        for prefix in 0..500 {
            let mut networks = Vec::new();
            space.deal(1, prefix, 5, &mut networks).unwrap();
            assert!(networks.iter().all(|network| network >> 12 == networks[0] >> 12), "{networks:?}");
        }
    }

    #[test]
    fn every_public_network_is_dealt_before_there_are_none() {
        let mut space = space();
        let mut networks = Vec::new();
        let mut prefix = 0;
        while space.deal(0, prefix, 4_000, &mut networks).is_ok() {
            prefix += 1;
        }
        assert_eq!(networks.len(), (0..NETWORKS).filter(|&network| is_public(network)).count());
        assert_eq!(space.deal(9, 0, 1, &mut networks), Err(AddressesExhausted));
    }

    #[test]
    fn the_same_seed_deals_the_same_networks() {
        let deal = || {
            let mut networks = Vec::new();
            space().deal(1, 2, 100, &mut networks).map(|()| networks)
        };
        assert_eq!(deal(), deal());
    }

    #[test]
    fn ipv6_providers_are_global_unicast_and_distinct() {
        let mut space = space();
        let providers: BTreeSet<u32> = (0..5_000).map(|number| space.deal_provider(1, number)).collect();
        assert_eq!(providers.len(), 5_000);
        assert!(providers.iter().all(|provider| provider >> 29 == 1), "2000::/3");
    }
}

//! Homes whose provider gives them another address from time to time.
//!
//! Homes come in groups of one provider. A group has eight prefixes, each with the same number of /24s, and every home owns
//! two addresses in every one of these /24s: whatever the leases do, no two homes ever have the same address. A
//! lease is a pair of draws named by the home and the lease: whether it leaves the prefix or the /24, and where it goes if so.
//! The address follows from the latest lease that left the prefix, the latest that left the /24 and the latest of all,
//! which are found by walking back; so nothing is stored, and the state of a home that nobody watched costs nothing.
//!
//! A draw can bring a home back to where it was. The probabilities are raised so that, counted over changes that can be
//! seen, those of leaving are the ones asked for; random leases come as much more often.

use super::renewal::{Renewal, SINCE_EVER};
use super::space::{AddressSpace, AddressesExhausted};
use super::{AddressStreams, Leases};
use crate::engine::{SimDuration, SimTime, Stream};

/// Homes in a group: each owns two of the 254 addresses of a /24.
const HOMES: u32 = 127;
/// Addresses of a home in one /24.
const OWN: u32 = 2;
/// Prefixes of a group.
const PREFIXES: u32 = 8;
/// Most /24s of a group in one prefix.
const PER_PREFIX_MAX: u32 = 128;
/// Fewest: with fewer, homes would meet in the same /24 too often to leave it as often as asked.
const PER_PREFIX_MIN: u32 = 4;
/// Largest mean number of addresses in a /24 that homes with leases can have: 127 homes on 32 networks.
pub const LEASES_PER_24_MAX: f64 = 4.0;
/// Smallest probability of leaving that is not zero: a walk back is a hundred leases long at most on average.
pub const LEAVING_MIN: f64 = 0.01;

/// How often a draw leaves, so that changes leave as often as asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LeaseOdds {
    /// Probability that a lease draws prefix and /24 anew.
    prefix: f64,
    /// Probability that a lease draws the /24 anew, and the prefix not.
    network: f64,
    /// Probability that a lease changes the address.
    change: f64,
}

impl LeaseOdds {
    /// The odds for changes that leave the /24 with probability `new_24` and the prefix with probability `new_prefix`, each 0
    /// or at least [`LEAVING_MIN`], among networks that hold `per_24` addresses on average. `None` if draws cannot leave so
    /// often.
    pub fn new(new_24: f64, new_prefix: f64, per_24: f64) -> Option<Self> {
        let (per_prefix, prefixes, own) =
            (f64::from(networks_per_prefix(per_24)), f64::from(PREFIXES), f64::from(OWN));
        // Let a lease leave the /24 with probability a. It changes the address with probability 1 - (1 - a) / own, and a over
        // that is to be `new_24`.
        let leaves_24 = new_24 * (1.0 - 1.0 / own) / (1.0 - new_24 / own);
        let change = 1.0 - (1.0 - leaves_24) / own;
        // Draws of a prefix and of a network in it meet the old one by chance.
        let prefix = new_prefix * change / (1.0 - 1.0 / prefixes);
        let left = leaves_24 - prefix * (1.0 - 1.0 / (prefixes * per_prefix));
        let network = left / (1.0 - 1.0 / per_prefix);
        let possible = network >= -1e-12 && prefix + network <= 1.0;
        possible.then_some(Self { prefix, network: network.max(0.0), change })
    }
}

/// The /24s of a group in one prefix, so that those where somebody is hold `per_24` addresses on average, as near as
/// whole numbers come.
fn networks_per_prefix(per_24: f64) -> u32 {
    let mean_where_somebody_is = |per_prefix: u32| {
        let networks = f64::from(per_prefix * PREFIXES);
        let homes = f64::from(HOMES);
        homes / networks / (1.0 - libm::pow(1.0 - 1.0 / networks, homes))
    };
    let off = |per_prefix: &u32| (mean_where_somebody_is(*per_prefix) - per_24).abs();
    (PER_PREFIX_MIN..=PER_PREFIX_MAX)
        .min_by(|one, other| off(one).total_cmp(&off(other)))
        .unwrap_or(PER_PREFIX_MIN)
}

/// The homes of a population and their leases.
#[derive(Debug)]
pub(super) struct LeasedHomes {
    plan: Leases,
    odds: LeaseOdds,
    per_prefix: u32,
    /// The /24s of each group, prefix by prefix; empty where homes have no IPv4.
    networks: Vec<u32>,
    /// Names the population in draws.
    population: u64,
    addresses: Stream,
    draws: Stream,
    /// A time at which all periodic homes change, if there is one.
    at: Option<SimTime>,
}

/// Where a home is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Lease {
    /// Names the lease.
    pub(super) name: u64,
    /// The IPv4 address; 0 without.
    pub(super) v4: u32,
}

impl LeasedHomes {
    /// No homes yet.
    ///
    /// # Panics
    /// Panics if changes cannot leave as often as the plan says, which the scenario parser rules out.
    pub(super) fn new(plan: Leases, per_24: f64, population: u64, streams: &AddressStreams) -> Self {
        let odds = LeaseOdds::new(plan.new_24, plan.new_prefix, per_24).expect("the odds were checked");
        Self {
            plan,
            odds,
            per_prefix: networks_per_prefix(per_24),
            networks: Vec::new(),
            population,
            addresses: streams.addresses,
            draws: streams.leases,
            at: plan.at.map(|at| streams.measured_from + at),
        }
    }

    /// Gives networks to the group of a home, if it is the first of it.
    ///
    /// # Errors
    /// [`AddressesExhausted`] when there are none left.
    pub(super) fn settle(&mut self, home: u32, space: &mut AddressSpace) -> Result<(), AddressesExhausted> {
        if home.is_multiple_of(HOMES) {
            for prefix in 0..u64::from(PREFIXES) {
                let number = u64::from(home) << 8 | prefix;
                space.deal(self.population << 40 | 1 << 38, number, self.per_prefix, &mut self.networks)?;
            }
        }
        Ok(())
    }

    /// Names a home in draws.
    fn entity(&self, home: u32) -> u64 {
        self.population << 40 | u64::from(home)
    }

    /// When the address of a home changes.
    pub(super) fn renewal(&self, home: u32) -> Renewal {
        let kind = self.addresses.uniform(self.entity(home) | 1 << 39, 0);
        if kind < self.plan.exponential_share {
            let mean = SimDuration((self.plan.exponential_mean.0 as f64 * self.odds.change) as u64);
            return Renewal::Poisson { mean: SimDuration(mean.0.max(1)) };
        }
        if kind < self.plan.exponential_share + self.plan.periodic_share {
            let period = self.plan.period;
            let phase = self
                .at
                .unwrap_or_else(|| SimTime(self.addresses.below(period.0, self.entity(home) | 1 << 39, 1)));
            return Renewal::Periodic { period, phase };
        }
        Renewal::Never
    }

    /// Where a home is now.
    pub(super) fn lease(&self, home: u32, now: SimTime) -> Lease {
        let entity = self.entity(home);
        let mut back = self.renewal(home).back(now, &self.draws, entity);
        let latest = back.next().unwrap_or(SINCE_EVER);
        if self.networks.is_empty() {
            return Lease { name: latest, v4: 0 };
        }
        let drawn = |name: u64| {
            let mut draws = self.draws.draws(entity, name);
            let u = draws.uniform();
            // Remainders of 32 bits favour no choice by more than a part in a million.
            let (wide, narrow) = (draws.bits(), draws.bits());
            let place = ((wide >> 32) as u32 % PREFIXES, wide as u32 % self.per_prefix);
            (u, place, narrow as u32 % OWN)
        };
        let odds = &self.odds;
        let (leaving_24, own) = (odds.prefix + odds.network, drawn(latest).2);
        // What leases never leave is where it has been since ever; what they leave, the latest that did decides.
        let first = drawn(SINCE_EVER).1;
        let mut prefix = (odds.prefix == 0.0).then_some(first.0);
        let mut network = (leaving_24 == 0.0).then_some(first.1);
        let mut name = latest;
        loop {
            let (u, place, _) = drawn(name);
            let oldest = name == SINCE_EVER;
            if oldest || u < leaving_24 {
                network.get_or_insert(place.1);
            }
            if oldest || u < odds.prefix {
                prefix.get_or_insert(place.0);
            }
            if let (Some(prefix), Some(network)) = (prefix, network) {
                let place = prefix * self.per_prefix + network;
                return Lease { name: latest, v4: self.address(home, place, own) };
            }
            name = back.next().unwrap_or(SINCE_EVER);
        }
    }

    /// A home's address in a /24 of its group.
    fn address(&self, home: u32, place: u32, own: u32) -> u32 {
        let (group, member) = (home / HOMES, home % HOMES);
        let network = self.networks[(group * PREFIXES * self.per_prefix + place) as usize];
        // A step that is coprime to 254 scatters the members, and a start of its own makes networks differ.
        let start = self.addresses.below(254, self.population << 40 | 3 << 38, u64::from(network)) as u32;
        network << 8 | (1 + (start + (member * OWN + own) * 93) % 254)
    }

    /// Bytes of the tables.
    pub(super) fn bytes(&self) -> usize {
        self.networks.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::super::space::is_public;
    use super::super::tests::streams;
    use super::*;

    const HOUR: u64 = 3_600_000_000_000;

    fn homes(plan: Leases, per_24: f64, count: u32) -> LeasedHomes {
        let streams = streams();
        let mut homes = LeasedHomes::new(plan, per_24, 0, &streams);
        let mut space = AddressSpace::new(streams.addresses);
        (0..count).for_each(|home| homes.settle(home, &mut space).unwrap());
        homes
    }

    fn plan() -> Leases {
        Leases {
            exponential_share: 0.25,
            exponential_mean: SimDuration::from_secs(14 * 86_400),
            periodic_share: 0.15,
            period: SimDuration::from_secs(86_400),
            at: None,
            new_24: 0.9,
            new_prefix: 0.5,
        }
    }

    /// The prefix that an address lies in, by its place among those of the group.
    fn prefix_of(homes: &LeasedHomes, home: u32, address: u32) -> u32 {
        let group = (home / HOMES * PREFIXES * homes.per_prefix) as usize;
        let networks = &homes.networks[group..group + (PREFIXES * homes.per_prefix) as usize];
        networks.iter().position(|&network| network == address >> 8).unwrap() as u32 / homes.per_prefix
    }

    #[test]
    fn changes_leave_the_network_and_the_prefix_as_often_as_asked() {
        // Method: look at every home each hour and compare its addresses before and after each change that shows. A
        // proportion p over n changes has the standard error sqrt(p (1 - p) / n); five of them are allowed.
        for (new_24, new_prefix, per_24) in [(0.9, 0.5, 1.7), (0.5, 0.1, 1.2), (0.3, 0.25, 3.0)] {
            let plan = Leases {
                exponential_share: 1.0,
                exponential_mean: SimDuration::from_secs(86_400),
                new_24,
                new_prefix,
                ..plan()
            };
            let homes = homes(plan, per_24, 600);
            let (mut changes, mut left_24, mut left_prefix) = (0.0, 0.0, 0.0);
            for home in 0..600 {
                let mut before = homes.lease(home, SimTime(0)).v4;
                for hour in 1..2_400 {
                    let now = homes.lease(home, SimTime(hour * HOUR)).v4;
                    if now != before {
                        changes += 1.0;
                        left_24 += f64::from(u8::from(now >> 8 != before >> 8));
                        let same = prefix_of(&homes, home, now) == prefix_of(&homes, home, before);
                        left_prefix += f64::from(u8::from(!same));
                        before = now;
                    }
                }
            }
            // One change a day, of which two within an hour look like one: 1/48 of them, with the odds of two.
            let expected: f64 = 600.0 * 2_399.0 / 24.0;
            assert!(
                (changes / expected - 1.0 + 1.0 / 48.0).abs() < 0.005 + 5.0 / expected.sqrt(),
                "{changes}"
            );
            for (left, p) in [(left_24, new_24), (left_prefix, new_prefix)] {
                let width = 5.0 * f64::sqrt(p * (1.0 - p) / changes) + (1.0 - p) / 48.0;
                assert!((left / changes - p).abs() < width, "{} of {p}", left / changes);
            }
        }
    }

    #[test]
    fn the_kinds_of_leases_have_their_shares_and_lengths() {
        // Shares within five standard errors; a periodic home changes once a day, a static one never.
        let homes = homes(plan(), 1.7, 20_000);
        let mut kinds = BTreeMap::new();
        for home in 0..20_000 {
            let kind = match homes.renewal(home) {
                Renewal::Never => "static",
                Renewal::Poisson { .. } => "exponential",
                Renewal::Periodic { .. } => "periodic",
            };
            *kinds.entry(kind).or_insert(0.0) += 1.0 / 20_000.0;
            let names: BTreeSet<u64> =
                (0..96).map(|hour| homes.lease(home, SimTime((48 + hour) * HOUR)).name).collect();
            match kind {
                "static" => assert_eq!(names.len(), 1),
                "periodic" => assert!((4..=5).contains(&names.len()), "{names:?}"),
                _ => {}
            }
        }
        for (kind, share) in [("static", 0.6), ("exponential", 0.25), ("periodic", 0.15)] {
            let width = 5.0 * f64::sqrt(share * (1.0 - share) / 20_000.0);
            assert!((kinds[kind] - share).abs() < width, "{kinds:?}");
        }
    }

    #[test]
    fn all_homes_change_at_the_hour_if_there_is_one() {
        let at = Some(SimDuration(4 * HOUR));
        let plan = Leases { exponential_share: 0.0, periodic_share: 1.0, at, ..plan() };
        let homes = homes(plan, 1.7, 300);
        let begins = streams().measured_from.0;
        for home in 0..300 {
            let name = |hours: u64| homes.lease(home, SimTime(begins + hours * HOUR)).name;
            assert_eq!(name(0), name(3));
            assert_eq!(name(3) + 1, name(4));
            assert_eq!(name(4), name(27));
            assert_eq!(name(27) + 1, name(28));
        }
    }

    #[test]
    fn no_two_homes_ever_have_the_same_address_and_all_are_public() {
        let homes = homes(Leases { exponential_share: 0.5, ..plan() }, 1.7, 1_000);
        for day in 0..60 {
            let addresses: BTreeSet<u32> =
                (0..1_000).map(|home| homes.lease(home, SimTime(day * 24 * HOUR)).v4).collect();
            assert_eq!(addresses.len(), 1_000, "day {day}");
            assert!(addresses.iter().all(|address| is_public(address >> 8)));
        }
    }

    #[test]
    fn networks_where_somebody_is_hold_the_mean_number_of_addresses() {
        // At any time, since homes spread anew: groups of 127 homes on the networks that make the mean so, within the 4 % that
        // whole numbers of networks leave here.
        for per_24 in [1.2, 1.7, 3.3] {
            let homes = homes(Leases { exponential_share: 0.85, ..plan() }, per_24, 12_700);
            for day in [0, 30] {
                let networks: BTreeSet<u32> =
                    (0..12_700).map(|home| homes.lease(home, SimTime(day * 24 * HOUR)).v4 >> 8).collect();
                let mean = 12_700.0 / networks.len() as f64;
                assert!((mean / per_24 - 1.0).abs() < 0.04, "{per_24}: {mean}");
            }
        }
    }

    #[test]
    fn odds_that_no_draw_can_have_are_refused() {
        assert!(LeaseOdds::new(0.9, 0.5, 1.7).is_some());
        assert!(LeaseOdds::new(0.0, 0.0, 1.7).is_some());
        assert_eq!(LeaseOdds::new(1.0, 1.0, 1.7), None);
        assert_eq!(LeaseOdds::new(0.2, 0.5, 1.7), None, "who leaves the prefix leaves the /24");
    }
}

//! Where a connection of a user comes from at a time, for populations whose addresses are not for ever.
//!
//! Everything is a function of names: the user, the lease, the hand-over, the connection. Two strategies that ask for the
//! same connection at the same time get the same address, whatever else they asked. The one thing that is stored is when a
//! paired mapping of a carrier's NAT runs out, which depends on what the user did before.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::leases::LeasedHomes;
use super::renewal::{Renewal, SINCE_EVER};
use super::space::{AddressSpace, AddressesExhausted};
use super::{AddressPlan, AddressStreams, Front, Ipv6, Pool, Pooling};
use crate::engine::{SimDuration, SimTime, Stream};

/// Where a new connection comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Source {
    /// Who opens it: the address that a layer 4 balancer sees.
    pub peer: IpAddr,
    /// The address that a layer 7 balancer takes for the user's: another one than `peer` behind a front that it trusts.
    pub user: IpAddr,
    /// The source port.
    pub port: u16,
    /// Tells the state of the user's network: where it has changed, the connection is broken.
    pub link: u32,
}

impl Source {
    /// A client that has one address for ever, and nobody in front.
    pub fn of(address: IpAddr, port: u16) -> Self {
        Self { peer: address, user: address, port, link: 0 }
    }
}

/// What has become of a user's network since a connection was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Since {
    /// The connection stands.
    Unchanged,
    /// The user has another address, and the connection is broken.
    Broken,
    /// The user has another address; the connection, which is the front's, stands.
    Moved {
        /// The address that a layer 7 balancer takes for the user's.
        user: IpAddr,
        /// The new state of the user's network.
        link: u32,
    },
}

/// A user's address now, and what tells it from others that the user has.
#[derive(Clone, Copy, Debug)]
struct Located {
    address: IpAddr,
    link: u32,
}

/// A mapping in a carrier's NAT that pairs users with addresses.
#[derive(Clone, Copy, Debug)]
struct Mapping {
    /// When it runs out, unless the user sends something; zero before the first.
    until: SimTime,
    /// Names the connection that made it; [`SINCE_EVER`] for the first.
    name: u64,
}

/// Together with a row and a pending event it fits a cache line: ten million users need 560 MB.
const _: () = assert!(size_of::<Mapping>() == 16);

/// What decides where the users of one population come from.
#[derive(Debug)]
pub(super) struct Origin {
    /// Names the population in draws.
    population: u64,
    streams: AddressStreams,
    pool: Option<Pool>,
    /// Homes with leases, if there are.
    pub(super) leased: Option<LeasedHomes>,
    ipv6: Option<Ipv6>,
    /// IPv4 addresses of homes, or of pools, one after the other; by home.
    v4: Vec<u32>,
    /// By user of a paired pool whose mappings run out.
    mappings: Vec<Mapping>,
    /// Upper halves of the /32s of IPv6 providers, 4096 homes each.
    providers: Vec<u32>,
    front: Option<Front>,
    fronts: Vec<u32>,
}

/// Purposes of draws, above the numbers of populations, homes and users.
const POOL: u64 = 1 << 56;
const FRONT: u64 = 2 << 56;
const FAMILY: u64 = 3 << 56;
const DEVICE: u64 = 4 << 56;
const PREFIX: u64 = 1 << 60;
const SCRAMBLE: u64 = 1 << 61;

/// Homes of an IPv6 provider, as a power of two; with as many places for each to move to, a /32 of /56s is used up.
const PROVIDER_BITS: u32 = 12;

impl Origin {
    /// The origin of a population without homes yet.
    ///
    /// # Errors
    /// [`AddressesExhausted`] when there are no networks left.
    pub(super) fn new(
        plan: &AddressPlan,
        population: u64,
        streams: &AddressStreams,
        space: &mut AddressSpace,
    ) -> Result<Self, AddressesExhausted> {
        let mut fronts = Vec::new();
        if let Some(front) = plan.front {
            let mut networks = Vec::new();
            space.deal(population << 40 | 1 << 36, 0, front.addresses.div_ceil(254), &mut networks)?;
            let hosts = networks.iter().flat_map(|network| (1..255).map(move |host| network << 8 | host));
            fronts.extend(hosts.take(front.addresses as usize));
        }
        let leased = plan
            .leases
            .map(|leases| LeasedHomes::new(leases, plan.addresses_per_24.mean(), population, streams));
        Ok(Self {
            population,
            streams: *streams,
            pool: plan.pool,
            leased,
            ipv6: plan.ipv6,
            v4: Vec::new(),
            mappings: Vec::new(),
            providers: Vec::new(),
            front: plan.front,
            fronts,
        })
    }

    /// Whether users of a home have anything but one IPv4 address for ever.
    pub(super) fn moves(&self, home: u32) -> bool {
        self.pool.is_some() || self.has_ipv6(home)
    }

    /// Notes the IPv4 address of a home; homes come in order, and those that are left out have none.
    pub(super) fn set_home(&mut self, home: u32, address: u32) {
        if self.leased.is_none() {
            self.v4.resize(home as usize, 0);
            self.v4.push(address);
        }
    }

    /// All homes are known.
    pub(super) fn settled(&mut self, clients: u32, space: &mut AddressSpace) {
        if let Some(Pool { pooling: Pooling::Paired { mapping_timeout: Some(_) }, .. }) = self.pool {
            self.mappings = vec![Mapping { until: SimTime::ZERO, name: SINCE_EVER }; clients as usize];
        }
        if self.ipv6.is_some() {
            let entity = self.population << 40 | 1 << 35;
            let providers = u64::from(clients).div_ceil(1 << PROVIDER_BITS);
            self.providers = (0..providers).map(|number| space.deal_provider(entity, number)).collect();
        }
    }

    /// Addresses of the front, if there is one: users share them in equal parts.
    pub(super) fn front_addresses(&self) -> Option<u32> {
        self.front.map(|front| front.addresses)
    }

    /// Whether connections of different users meet on an address at random, so that their ports must not run in step.
    pub(super) fn mixes_users(&self) -> bool {
        self.pool.is_some() || self.front.is_some()
    }

    /// The front's end and the user's, as far as layers 4 and 7 see them, of a connection that `name` names.
    pub(super) fn seen(&self, user: IpAddr, client: u32, name: u64) -> (IpAddr, IpAddr) {
        let Some(front) = self.front else { return (user, user) };
        let which =
            self.streams.connections.below(u64::from(front.addresses), FRONT | u64::from(client), name);
        let peer = IpAddr::V4(Ipv4Addr::from(self.fronts[which as usize]));
        (peer, if front.passes_address && front.trusted { user } else { peer })
    }

    /// Where a user (`client` of all, `member` of the population, living at `home`) has an address now, for the
    /// connection that `name` names.
    pub(super) fn locate(
        &mut self,
        client: u32,
        member: u32,
        home: u32,
        now: SimTime,
        name: u64,
    ) -> (IpAddr, u32) {
        let Located { address, link } = match self.pool {
            Some(pool) => self.in_pool(pool, client, member, home, now, name),
            None => {
                let lease = self.leased.as_ref().map(|leased| leased.lease(home, now));
                let v4 =
                    lease.map_or_else(|| self.v4.get(home as usize).copied().unwrap_or(0), |lease| lease.v4);
                self.at_home(client, home, lease.map_or(SINCE_EVER, |lease| lease.name), v4, v4, now, name)
            }
        };
        (address, link)
    }

    /// What has become of a user's network since it was in the state `link`.
    pub(super) fn since(
        &mut self,
        link: u32,
        (client, member, home): (u32, u32, u32),
        now: SimTime,
        name: u64,
    ) -> Since {
        let (address, new_link) = self.locate(client, member, home, now, name);
        match self.front {
            _ if new_link == link => Since::Unchanged,
            None => Since::Broken,
            Some(front) if front.passes_address && front.trusted => {
                Since::Moved { user: address, link: new_link }
            }
            Some(_) => Since::Unchanged,
        }
    }

    fn in_pool(
        &mut self,
        pool: Pool,
        client: u32,
        member: u32,
        home: u32,
        now: SimTime,
        name: u64,
    ) -> Located {
        let first = home - home % pool.addresses;
        // A pool of users without IPv4 has no addresses at all.
        let size = pool.addresses.min((self.v4.len() as u32).saturating_sub(first)).max(1);
        let entity = u64::from(client);
        // A draw meets the old address once in `size`, so that many more are made.
        let renewal = match pool.hand_over {
            Some(mean) if size > 1 => {
                let share = 1.0 - 1.0 / f64::from(size);
                Renewal::Poisson { mean: SimDuration(((mean.0 as f64 * share) as u64).max(1)) }
            }
            _ => Renewal::Never,
        };
        let cell = renewal.latest(now, &self.streams.hand_overs, entity);
        let (stream, drawn_by) = match pool.pooling {
            Pooling::Paired { mapping_timeout } => {
                let mapping = mapping_timeout.map(|timeout| self.mapping(member, now, timeout, name));
                // Two counters of different kinds in one word: they meet in none of the first 2^24 of either.
                (&self.streams.hand_overs, cell.rotate_left(40) ^ mapping.unwrap_or(SINCE_EVER))
            }
            Pooling::Arbitrary | Pooling::PerRequest => (&self.streams.connections, name),
        };
        let paired = matches!(pool.pooling, Pooling::Paired { .. });
        let own = if paired && drawn_by == SINCE_EVER {
            home
        } else {
            first + stream.below(u64::from(size), POOL | entity, drawn_by) as u32
        };
        let v4 = self.v4.get(own as usize).copied().unwrap_or(0);
        let link = if paired { v4 } else { fold(cell) };
        self.at_home(client, member, cell, v4, link, now, name)
    }

    /// The mapping of a user who sends something now, perhaps a new one; its name.
    fn mapping(&mut self, member: u32, now: SimTime, timeout: SimDuration, name: u64) -> u64 {
        let mapping = &mut self.mappings[member as usize];
        if mapping.until < now && mapping.until != SimTime::ZERO {
            mapping.name = name;
        }
        mapping.until = now + timeout;
        mapping.name
    }

    /// A device at `home` (or, behind a pool, one that is a home of its own) whose IPv4 address is `v4`, in the state
    /// `lease` of the home's network.
    #[expect(clippy::too_many_arguments, reason = "all of them name the connection")]
    fn at_home(
        &self,
        client: u32,
        home: u32,
        lease: u64,
        v4: u32,
        link: u32,
        now: SimTime,
        name: u64,
    ) -> Located {
        let by_v4 = Located { address: IpAddr::V4(Ipv4Addr::from(v4)), link };
        let Some(ipv6) = self.ipv6.filter(|_| self.has_ipv6(home)) else { return by_v4 };
        let prefix = self.ipv6_prefix(home, lease);
        let link = link ^ fold(prefix);
        let family = self.streams.connections.uniform(FAMILY | u64::from(client), name);
        if family >= ipv6.connections {
            return Located { link, ..by_v4 };
        }
        let device = DEVICE | u64::from(client);
        let temporary = ipv6.temporary.map_or(SINCE_EVER, |period| {
            let phase = SimTime(self.streams.addresses.below(period.0, device, 0));
            Renewal::Periodic { period, phase }.latest(now, &self.streams.leases, device)
        });
        let interface = self.streams.leases.bits(device, temporary);
        let address = Ipv6Addr::from(u128::from(prefix) << 64 | u128::from(interface));
        Located { address: IpAddr::V6(address), link }
    }

    fn has_ipv6(&self, home: u32) -> bool {
        let entity = self.population << 40 | 1 << 34;
        self.ipv6.is_some_and(|ipv6| {
            ipv6.homes >= 1.0 || self.streams.addresses.uniform(entity, home.into()) < ipv6.homes
        })
    }

    /// The /64 of a home in a state of its network. Homes never share one: the place of a home and where it has moved to
    /// are scrambled together into the number of a customer of its provider.
    fn ipv6_prefix(&self, home: u32, lease: u64) -> u64 {
        let (provider, place) = (home >> PROVIDER_BITS, home & ((1 << PROVIDER_BITS) - 1));
        let entity = self.population << 40 | u64::from(home);
        let moved_to = self.streams.leases.bits(PREFIX | entity, lease) as u32 >> (32 - PROVIDER_BITS);
        let key = SCRAMBLE | self.population << 40 | u64::from(provider);
        let customer = scramble(&self.streams.addresses, key, place << PROVIDER_BITS | moved_to);
        u64::from(self.providers[provider as usize]) << 32 | u64::from(customer) << 8
    }

    /// Bytes of the tables.
    pub(super) fn bytes(&self) -> usize {
        (self.v4.capacity() + self.providers.capacity() + self.fronts.capacity()) * size_of::<u32>()
            + self.mappings.capacity() * size_of::<Mapping>()
            + self.leased.as_ref().map_or(0, LeasedHomes::bytes)
    }
}

fn fold(word: u64) -> u32 {
    (word ^ word >> 32) as u32
}

/// A permutation of 24-bit numbers: a Feistel network of four rounds on two halves of 12 bits.
fn scramble(stream: &Stream, key: u64, number: u32) -> u32 {
    let (mut left, mut right) = (number >> 12, number & 0xFFF);
    for round in 0..4 {
        let mixed = stream.bits(key, u64::from(right) << 2 | round) as u32 & 0xFFF;
        (left, right) = (right, left ^ mixed);
    }
    left << 12 | right
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::super::clients::Clients;
    use super::super::space::is_public;
    use super::super::tests::streams;
    use super::super::{CountLaw, Leases};
    use super::*;
    use crate::ids::ClientId;

    const MINUTE: u64 = 60_000_000_000;
    const DAY: SimDuration = SimDuration(1_440 * MINUTE);

    fn homes(users: u32, per_24: u32) -> AddressPlan {
        AddressPlan::of_homes("test", CountLaw::Constant(users), CountLaw::Constant(per_24))
    }

    fn pool(pooling: Pooling, hand_over: Option<SimDuration>) -> AddressPlan {
        AddressPlan { pool: Some(Pool { addresses: 8, pooling, hand_over }), ..homes(16, 8) }
    }

    fn clients(plans: &[AddressPlan], count: u32) -> Clients {
        let (streams, mut clients) = (streams(), Clients::new());
        let mut space = AddressSpace::new(streams.addresses);
        for plan in plans {
            clients.add_population(plan, count, &streams, &mut space).unwrap();
        }
        clients
    }

    fn address(clients: &mut Clients, id: u32, minute: u64, name: u64) -> IpAddr {
        clients.source(ClientId(id), SimTime(minute * MINUTE), name).peer
    }

    const FOR_EVER: Pooling = Pooling::Paired { mapping_timeout: None };

    #[test]
    fn a_paired_user_keeps_the_address_while_the_mapping_lives_and_may_get_another_then() {
        let timeout = Some(SimDuration(5 * MINUTE));
        let mut clients = clients(&[pool(Pooling::Paired { mapping_timeout: timeout }, None)], 128);
        let mut moved = 0;
        for id in 0..128 {
            let first = address(&mut clients, id, 10, 1);
            for visit in 2..10 {
                // Every 5 minutes: just before the mapping runs out.
                assert_eq!(address(&mut clients, id, 5 * visit + 5, visit), first);
            }
            moved += u32::from(address(&mut clients, id, 56, 100) != first);
        }
        // Each of 8 addresses is equally likely: 112 of 128 move on average, standard deviation 3.7.
        assert!((94..=128).contains(&moved), "{moved}");
    }

    #[test]
    fn a_pool_that_is_not_paired_gives_every_connection_an_address_of_its_own() {
        // Method: count the addresses of 20,000 connections of one user; each of 8 has its eighth within five standard errors.
        let mut clients = clients(&[pool(Pooling::Arbitrary, None)], 128);
        let mut seen = BTreeMap::new();
        for name in 0..20_000 {
            *seen.entry(address(&mut clients, 77, 1, name)).or_insert(0_u32) += 1;
        }
        assert_eq!(seen.len(), 8);
        let width = 5.0 * (20_000.0 * 7.0 / 64.0_f64).sqrt();
        assert!(seen.values().all(|&count| (f64::from(count) - 2_500.0).abs() < width), "{seen:?}");
    }

    #[test]
    fn hand_overs_are_as_often_as_said_and_break_connections() {
        // Method: watch 800 users for 50 hours, every minute. Changes to another address are a Poisson process of one in
        // 45 min; of two within a minute, one is missed, about a ninetieth. Five standard errors are allowed.
        let mean = SimDuration(45 * MINUTE);
        let mut clients = clients(&[pool(FOR_EVER, Some(mean))], 800);
        let mut changes = 0.0;
        for id in 0..800 {
            let mut link = clients.source(ClientId(id), SimTime::ZERO, 0).link;
            let mut before = address(&mut clients, id, 0, 0);
            for minute in 1..3_000 {
                let since = clients.since(ClientId(id), SimTime(minute * MINUTE), minute, link);
                let source = clients.source(ClientId(id), SimTime(minute * MINUTE), minute);
                assert_eq!(since == Since::Broken, source.peer != before, "minute {minute}");
                changes += f64::from(u8::from(source.peer != before));
                (before, link) = (source.peer, source.link);
            }
        }
        let expected: f64 = 800.0 * 2_999.0 / 45.0;
        assert!(
            (changes / expected - 1.0).abs() < 5.0 / expected.sqrt() + 1.0 / 90.0,
            "{changes} of {expected}"
        );
    }

    #[test]
    fn temporary_addresses_last_a_day_in_a_prefix_that_stays_and_break_nothing() {
        let ipv6 = Ipv6 { homes: 1.0, connections: 1.0, temporary: Some(DAY) };
        let mut clients = clients(&[AddressPlan { ipv6: Some(ipv6), ..homes(2, 1) }], 400);
        let mut prefixes = BTreeMap::new();
        for id in 0..400 {
            let IpAddr::V6(first) = address(&mut clients, id, 0, 0) else { panic!("IPv6 wanted") };
            let prefix = u128::from(first) >> 64;
            assert_eq!(first.octets()[0] >> 5, 1, "2000::/3");
            prefixes.entry(prefix).or_insert_with(Vec::new).push(id);
            let link = clients.source(ClientId(id), SimTime::ZERO, 0).link;
            let mut addresses = BTreeSet::new();
            for hour in 0..240 {
                let IpAddr::V6(now) = address(&mut clients, id, 60 * hour, hour) else {
                    panic!("IPv6 wanted")
                };
                assert_eq!(u128::from(now) >> 64, prefix);
                addresses.insert(now);
                let since = clients.since(ClientId(id), SimTime(60 * hour * MINUTE), hour, link);
                assert_eq!(since, Since::Unchanged);
            }
            assert!((10..=11).contains(&addresses.len()), "{}", addresses.len());
        }
        assert_eq!(prefixes.len(), 200, "a /64 for each home");
        assert!(prefixes.values().all(|users| users.len() == 2 && users[1] == users[0] + 1));
    }

    #[test]
    fn no_two_homes_have_the_same_64_whatever_their_leases_do() {
        let leases = Leases {
            exponential_share: 1.0,
            exponential_mean: DAY,
            periodic_share: 0.0,
            period: DAY,
            at: None,
            new_24: 0.9,
            new_prefix: 0.5,
        };
        let ipv6 = Some(Ipv6 { homes: 1.0, connections: 1.0, temporary: None });
        let mut clients = clients(&[AddressPlan { ipv6, leases: Some(leases), ..homes(1, 1) }], 9_000);
        let mut moved = BTreeSet::new();
        for day in 0..4 {
            let addresses: BTreeSet<IpAddr> =
                (0..9_000).map(|id| address(&mut clients, id, 1_440 * day, day)).collect();
            assert_eq!(addresses.len(), 9_000);
            moved.extend(addresses);
        }
        // In three days each home moves three times; e^-1 of them stay on each.
        assert!(moved.len() > 9_000 * 2, "{}", moved.len());
    }

    #[test]
    fn dual_stacked_homes_and_connections_have_their_shares() {
        // A share p of n has the standard error sqrt(p (1 - p) / n); five are allowed.
        let ipv6 = Ipv6 { homes: 0.4, connections: 0.9, temporary: None };
        let mut clients = clients(&[AddressPlan { ipv6: Some(ipv6), ..homes(1, 2) }], 10_000);
        let (mut with, mut by_v6) = (0.0, 0.0);
        for id in 0..10_000 {
            let v6 = (0..20).filter(|&name| address(&mut clients, id, 0, name).is_ipv6()).count();
            with += f64::from(u8::from(v6 > 0));
            by_v6 += v6 as f64;
        }
        assert!((with / 10_000.0 - 0.4_f64).abs() < 5.0 * 0.0049, "{with}");
        assert!((by_v6 / (20.0 * with) - 0.9_f64).abs() < 5.0 * (0.09 / (20.0 * with)).sqrt(), "{by_v6}");
    }

    #[test]
    fn a_front_shows_its_own_addresses_and_the_users_only_where_it_is_believed() {
        for (passes_address, trusted) in [(true, true), (true, false), (false, true)] {
            let front = Some(Front { addresses: 4, passes_address, trusted });
            let mut clients = clients(&[AddressPlan { front, ..homes(1, 2) }], 1_000);
            let sources: Vec<Source> =
                (0..1_000).map(|id| clients.source(ClientId(id), SimTime::ZERO, 1)).collect();
            let peers: BTreeSet<IpAddr> = sources.iter().map(|source| source.peer).collect();
            let users: BTreeSet<IpAddr> = sources.iter().map(|source| source.user).collect();
            assert_eq!(peers.len(), 4);
            assert_eq!(users.len(), if passes_address && trusted { 1_000 } else { 4 });
            let ends: BTreeSet<(IpAddr, u16)> =
                sources.iter().map(|source| (source.peer, source.port)).collect();
            assert!(ends.len() > 990, "hardly any two share a port: {}", ends.len());
        }
    }

    #[test]
    fn a_front_keeps_its_connections_when_a_user_moves() {
        let front = Some(Front { addresses: 1, passes_address: true, trusted: true });
        let mean = Some(SimDuration(MINUTE));
        let mut clients = clients(&[AddressPlan { front, ..pool(FOR_EVER, mean) }], 128);
        let source = clients.source(ClientId(5), SimTime::ZERO, 1);
        let later = SimTime(61 * MINUTE);
        match clients.since(ClientId(5), later, 2, source.link) {
            Since::Moved { user, link } => {
                assert_ne!(user, source.user);
                assert_eq!(clients.since(ClientId(5), later, 3, link), Since::Unchanged);
            }
            // One in eight has come back.
            since => assert_eq!(since, Since::Unchanged),
        }
    }

    #[test]
    fn populations_of_all_kinds_share_no_address_and_all_are_public() {
        let plans = [
            homes(3, 2),
            pool(FOR_EVER, Some(SimDuration(MINUTE))),
            AddressPlan {
                front: Some(Front { addresses: 300, passes_address: false, trusted: false }),
                ..homes(1, 1)
            },
            homes(1, 120),
        ];
        let mut clients = clients(&plans, 2_000);
        let mut owner = BTreeMap::new();
        for id in 0..8_000 {
            for minute in 0..20 {
                let address = address(&mut clients, id, minute, minute);
                let IpAddr::V4(v4) = address else { panic!("IPv4 wanted") };
                assert!(is_public(u32::from(v4) >> 8), "{v4}");
                assert_eq!(*owner.entry(address).or_insert(id / 2_000), id / 2_000, "{v4}");
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_addresses_in_whatever_order_one_asks() {
        let plans = [
            pool(Pooling::Arbitrary, Some(DAY)),
            AddressPlan {
                ipv6: Some(Ipv6 { homes: 0.5, connections: 0.5, temporary: Some(DAY) }),
                ..homes(2, 2)
            },
        ];
        let ask = |ids: &mut dyn Iterator<Item = u32>| {
            let mut clients = clients(&plans, 500);
            ids.map(|id| (id, address(&mut clients, id, u64::from(id) * 31, 7))).collect::<BTreeMap<_, _>>()
        };
        assert_eq!(ask(&mut (0..1_000)), ask(&mut (0..1_000).rev()));
    }
}

//! Putting users on addresses: users in homes (whatever shares an address), homes in /24s, /24s in prefixes of providers.

use super::leases::LeasedHomes;
use super::origin::Origin;
use super::renewal::Renewal;
use super::space::{AddressSpace, AddressesExhausted};
use super::{AddressPlan, AddressStreams, UserTable};
use crate::engine::SimTime;

/// Where one user's connections come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// Always this IPv4 address.
    V4(u32),
    /// The fixed address at this place in the plan.
    Fixed(u32),
    /// What the population's [`Origin`] says of this home.
    Home(u32),
}

/// Most addresses in a /24.
const HOSTS: u32 = 254;

/// Puts `clients` users somewhere, in order: `put` is told where, and how many users were put on the same address before.
/// `number` is the population's. Returns where those come from who have no address for ever.
///
/// # Errors
/// [`AddressesExhausted`] when there are no networks left.
pub(super) fn place_clients(
    plan: &AddressPlan,
    clients: u32,
    number: u64,
    streams: &AddressStreams,
    space: &mut AddressSpace,
    mut put: impl FnMut(Place, u32),
) -> Result<Origin, AddressesExhausted> {
    let mut origin = Origin::new(plan, number, streams, space)?;
    if !plan.fixed.is_empty() {
        let n = plan.fixed.len() as u32;
        (0..clients).for_each(|client| put(Place::Fixed(client % n), client / n));
        return Ok(origin);
    }
    let mut homes =
        Homes { plan, number, streams, networks: Vec::new(), next: 0, prefixes: 0, in_network: None };
    let (mut placed, mut home) = (0, 0);
    while placed < clients {
        let address = match &mut origin.leased {
            Some(leased) if plan.ipv4() => {
                leased.settle(home, space).map(|()| home_for_ever(leased, home))?
            }
            Some(_) => None,
            None if plan.ipv4() => Some(homes.next_address(space)?),
            None => None,
        };
        let place = match address {
            Some(address) if origin.moves(home) => {
                origin.set_home(home, address);
                Place::Home(home)
            }
            Some(address) => Place::V4(address),
            None => Place::Home(home),
        };
        let users = plan.users_per_address.sample(&streams.users, number << 40 | u64::from(home));
        let here = users.min(clients - placed);
        (0..here).for_each(|rank| put(place, rank));
        placed += here;
        home += 1;
    }
    origin.settled(clients, space);
    Ok(origin)
}

/// Puts `clients` users who are each like one of `table` on addresses: whole networks of the table, each on a /24 of its own.
/// `put` is told as by [`place_clients`]. Returns who of the table each is.
///
/// # Errors
/// [`AddressesExhausted`] when there are no networks left.
pub(super) fn place_users(
    table: &UserTable,
    clients: u32,
    number: u64,
    streams: &AddressStreams,
    space: &mut AddressSpace,
    mut put: impl FnMut(Place, u32),
) -> Result<Vec<u32>, AddressesExhausted> {
    let mut users = Vec::with_capacity(clients as usize);
    let mut networks = Vec::new();
    let (mut before, mut rank) = (None, 0);
    table.deal(clients, number, &streams.addresses, |dealt, host, user| {
        if networks.len() as u32 == dealt {
            space.deal(number << 40, u64::from(dealt), 1, &mut networks)?;
        }
        let start = first_host(number, u64::from(dealt), streams);
        let address = host_address(networks[dealt as usize], start, host);
        rank = if before == Some(address) { rank + 1 } else { 0 };
        before = Some(address);
        put(Place::V4(address), rank);
        users.push(user);
        Ok(())
    })?;
    Ok(users)
}

/// Where the hosts of a population's network start.
fn first_host(population: u64, network: u64, streams: &AddressStreams) -> u64 {
    streams.addresses.below(u64::from(HOSTS), population << 40 | 1 << 39 | network, 0)
}

/// The address of a network's host: a random start and a step that is coprime to 254 visit all hosts without meeting one twice.
fn host_address(network: u32, start: u64, host: u32) -> u32 {
    let last_octet = 1 + (start + u64::from(host) * 93) % u64::from(HOSTS);
    network << 8 | last_octet as u32
}

/// The address of a home that keeps it.
fn home_for_ever(leased: &LeasedHomes, home: u32) -> Option<u32> {
    matches!(leased.renewal(home), Renewal::Never).then(|| leased.lease(home, SimTime::ZERO).v4)
}

/// Deals addresses to homes that keep them.
struct Homes<'a> {
    plan: &'a AddressPlan,
    number: u64,
    streams: &'a AddressStreams,
    /// Networks dealt so far.
    networks: Vec<u32>,
    /// The next of them to be filled.
    next: u64,
    prefixes: u64,
    /// The network that is being filled, where its addresses start, those that are used and those that will be.
    in_network: Option<(u32, u64, u32, u32)>,
}

impl Homes<'_> {
    fn next_address(&mut self, space: &mut AddressSpace) -> Result<u32, AddressesExhausted> {
        let population = self.number << 40;
        let (network, start, host, hosts) = match self.in_network {
            Some(current @ (_, _, host, hosts)) if host < hosts => current,
            _ => {
                if self.next == self.networks.len() as u64 {
                    let law = &self.plan.networks_per_prefix;
                    let count = law.sample(&self.streams.addresses, population | 1 << 37 | self.prefixes);
                    space.deal(population, self.prefixes, count, &mut self.networks)?;
                    self.prefixes += 1;
                }
                let network = self.networks[self.next as usize];
                self.next += 1;
                let hosts =
                    self.plan.addresses_per_24.sample(&self.streams.addresses, population | self.next);
                (network, first_host(self.number, self.next, self.streams), 0, hosts.min(HOSTS))
            }
        };
        self.in_network = Some((network, start, host + 1, hosts));
        Ok(host_address(network, start, host))
    }
}

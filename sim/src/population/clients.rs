//! The table of closed-loop clients: one small row each, holding all that a click touches.

use std::net::{IpAddr, Ipv4Addr};

use super::addresses::{Place, place_clients, place_users};
use super::origin::Origin;
use super::{AddressPlan, AddressSpace, AddressStreams, AddressesExhausted, Since, Source, UserTable};
use crate::engine::SimTime;
use crate::ids::{ClientId, ConnectionId, PopulationId, ServerId};
use crate::table::Column;

/// What a client does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Step {
    /// Begin a visit.
    Begin,
    /// Ask for the login form.
    Form,
    /// Post the credentials.
    Post,
    /// Make the next click.
    Click,
    /// Log out.
    Logout,
}

/// No slot.
const NONE: u32 = u32::MAX;

/// The state of one closed-loop client. 32 bytes, so that two clients share a cache line and none straddles two.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
pub struct ClientRow {
    /// An IPv4 address as a number, the place of a fixed address, or the home whose address changes.
    address: u32,
    /// Visits begun so far; the current visit's number, from 1.
    pub visit: u32,
    /// The open connection, or the tab of a client with a browser.
    connection: u32,
    session: u32,
    /// Clicks of the current visit that have been answered or given up.
    pub click: u16,
    /// Clicks that the current visit will have.
    pub clicks: u16,
    /// Place among the clients on the same address, which decides the range of source ports.
    port_rank: u16,
    /// Connections opened so far, modulo 2^16.
    port_counter: u16,
    /// The server that knows the form's token.
    pub form_server: ServerId,
    /// How often that server had lost its memory when it handed out the form, modulo 2^16.
    pub form_epoch: u16,
    /// What the client does next, or is waiting for the answer of.
    pub step: Step,
    population: u8,
    /// Logins that the client has attempted again in this visit.
    pub logins_again: u8,
    flags: u8,
}

const _: () = assert!(size_of::<ClientRow>() == 32);

/// The address is that of a place in [`AddressPlan::fixed`].
const FIXED: u8 = 1;
const LOGGED_IN: u8 = 2;
const HAD_LOSS: u8 = 4;
const MEASURED: u8 = 8;
/// The address is not always the same: the population's origin knows it.
const MOVES: u8 = 16;
const BROWSER: u8 = 32;
const RETRIED: u8 = 64;

impl ClientRow {
    /// Whether the client has a browser, which may have more open than a connection.
    #[inline(always)]
    pub fn has_browser(&self) -> bool {
        self.flags & BROWSER != 0
    }

    /// The slot of what a client with a browser has open, if anything.
    #[inline]
    pub fn tab(&self) -> Option<u32> {
        debug_assert!(self.has_browser());
        (self.connection != NONE).then_some(self.connection)
    }

    /// Remembers or forgets that.
    #[inline]
    pub fn set_tab(&mut self, tab: Option<u32>) {
        self.connection = tab.unwrap_or(NONE);
    }

    /// The connection that is open, if any; not for clients with a browser.
    #[inline(always)]
    pub fn connection(&self) -> Option<ConnectionId> {
        (self.connection != NONE).then_some(ConnectionId(self.connection))
    }

    /// Remembers or forgets the open connection.
    #[inline(always)]
    pub fn set_connection(&mut self, connection: Option<ConnectionId>) {
        self.connection = connection.map_or(NONE, |connection| connection.0);
    }

    /// The slot of the session that the client believes to have, if any.
    #[inline(always)]
    pub fn session(&self) -> Option<u32> {
        (self.session != NONE).then_some(self.session)
    }

    /// Remembers or forgets the session.
    #[inline(always)]
    pub fn set_session(&mut self, session: Option<u32>) {
        self.session = session.unwrap_or(NONE);
    }

    /// The client's population.
    #[inline(always)]
    pub fn population(&self) -> PopulationId {
        PopulationId(u16::from(self.population))
    }

    /// Whether the client's address is not always the same.
    #[inline(always)]
    pub fn moves(&self) -> bool {
        self.flags & MOVES != 0
    }

    /// Starts the next visit with `clicks` clicks. `measured` says that it began after the warm-up.
    #[inline]
    pub fn begin_visit(&mut self, clicks: u16, measured: bool) {
        self.visit += 1;
        self.click = 0;
        self.clicks = clicks;
        self.logins_again = 0;
        self.flags &= FIXED | MOVES | BROWSER;
        if measured {
            self.flags |= MEASURED;
        }
    }

    /// Whether this visit has logged in.
    pub fn logged_in(&self) -> bool {
        self.flags & LOGGED_IN != 0
    }

    /// Notes that this visit has logged in.
    pub fn set_logged_in(&mut self) {
        self.flags |= LOGGED_IN;
    }

    /// Whether this visit has lost its session.
    pub fn had_loss(&self) -> bool {
        self.flags & HAD_LOSS != 0
    }

    /// Notes that this visit has lost its session.
    pub fn set_had_loss(&mut self) {
        self.flags |= HAD_LOSS;
    }

    /// Whether the user has made a click again whose session was lost, and has not logged in since.
    pub fn retried(&self) -> bool {
        self.flags & RETRIED != 0
    }

    /// Notes that, or that it is over.
    pub fn set_retried(&mut self, retried: bool) {
        self.flags = if retried { self.flags | RETRIED } else { self.flags & !RETRIED };
    }

    /// Whether this visit began after the warm-up.
    pub fn measured(&self) -> bool {
        self.flags & MEASURED != 0
    }
}

/// All closed-loop clients.
#[derive(Debug)]
pub struct Clients {
    rows: Column<ClientId, ClientRow>,
    populations: Vec<OfPopulation>,
}

/// What the rows of a population have in common.
#[derive(Debug)]
struct OfPopulation {
    /// Its first client.
    first: ClientId,
    /// Source ports that each client may use.
    ports_per_client: u16,
    /// Addresses that are given one by one.
    fixed: Vec<IpAddr>,
    /// Where those come from whose address is not always the same, and who stands in front of all.
    origin: Origin,
}

impl Clients {
    /// No clients.
    pub fn new() -> Self {
        Self { rows: Column::from_vec(Vec::new()), populations: Vec::new() }
    }

    /// Makes room for exactly `clients` more.
    pub fn reserve_exact(&mut self, clients: usize) {
        self.rows.reserve_exact(clients);
    }

    /// Adds `count` clients of the next population and returns the id of the first.
    ///
    /// # Errors
    /// [`AddressesExhausted`] when `space` has no networks left.
    ///
    /// # Panics
    /// Panics beyond 255 populations or 2^28 clients, which the scenario parser rules out.
    pub fn add_population(
        &mut self,
        plan: &AddressPlan,
        count: u32,
        streams: &AddressStreams,
        space: &mut AddressSpace,
    ) -> Result<ClientId, AddressesExhausted> {
        self.add(plan, count, streams, |number, put| place_clients(plan, count, number, streams, space, put))
    }

    /// Adds a population of `count` users who are each like one of `table`, and returns the id of the first, and who of the
    /// table each is.
    ///
    /// # Errors
    /// [`AddressesExhausted`] when there are no networks left.
    ///
    /// # Panics
    /// As [`Clients::add_population`].
    pub fn add_users(
        &mut self,
        table: &UserTable,
        plan: &AddressPlan,
        count: u32,
        streams: &AddressStreams,
        space: &mut AddressSpace,
    ) -> Result<(ClientId, Vec<u32>), AddressesExhausted> {
        let mut users = Vec::new();
        let first = self.add(plan, count, streams, |number, put| {
            users = place_users(table, count, number, streams, space, put)?;
            Origin::new(plan, number, streams, space)
        })?;
        Ok((first, users))
    }

    /// Adds the clients of a population, whose number `place` is told, where `place` puts them.
    fn add(
        &mut self,
        plan: &AddressPlan,
        count: u32,
        streams: &AddressStreams,
        place: impl FnOnce(u64, &mut dyn FnMut(Place, u32)) -> Result<Origin, AddressesExhausted>,
    ) -> Result<ClientId, AddressesExhausted> {
        let first = ClientId::from_index(self.rows.len());
        let population = u8::try_from(self.populations.len()).expect("at most 255 populations");
        let rows = &mut self.rows;
        let mut most_on_address = 1;
        let origin = place(u64::from(population), &mut |place, rank| {
            let (address, flags) = match place {
                Place::V4(address) => (address, 0),
                Place::Fixed(place) => (place, FIXED),
                Place::Home(home) => (home, MOVES),
            };
            most_on_address = most_on_address.max(rank + 1);
            rows.push(ClientRow {
                address,
                visit: 0,
                connection: NONE,
                session: NONE,
                click: 0,
                clicks: 0,
                port_rank: (rank % EPHEMERAL_PORTS) as u16,
                port_counter: 0,
                form_server: ServerId(0),
                form_epoch: 0,
                step: Step::Begin,
                population,
                logins_again: 0,
                flags,
            });
        })?;
        if let Some(addresses) = origin.front_addresses() {
            most_on_address = count.div_ceil(addresses);
            for (place, row) in self.rows.as_mut_slice()[first.index()..].iter_mut().enumerate() {
                row.port_rank = (place as u32 / addresses % EPHEMERAL_PORTS) as u16;
            }
        }
        if origin.mixes_users() {
            for (place, row) in self.rows.as_mut_slice()[first.index()..].iter_mut().enumerate() {
                row.port_counter =
                    streams.connections.bits(u64::from(first.0) + place as u64, u64::MAX) as u16;
            }
        }
        self.populations.push(OfPopulation {
            first,
            ports_per_client: (EPHEMERAL_PORTS / most_on_address.min(EPHEMERAL_PORTS)) as u16,
            fixed: plan.fixed.clone(),
            origin,
        });
        Ok(first)
    }

    /// Gives `number` clients from `first` on a browser.
    pub fn give_browsers(&mut self, first: ClientId, number: u32) {
        for row in &mut self.rows.as_mut_slice()[first.index()..first.index() + number as usize] {
            row.flags |= BROWSER;
        }
    }

    /// Number of clients.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// A client's row.
    #[inline(always)]
    pub fn row(&self, id: ClientId) -> &ClientRow {
        &self.rows[id]
    }

    /// A client's row, to change.
    #[inline(always)]
    pub fn row_mut(&mut self, id: ClientId) -> &mut ClientRow {
        &mut self.rows[id]
    }

    /// All rows, in id order.
    pub fn rows(&self) -> &[ClientRow] {
        self.rows.as_slice()
    }

    /// Where a connection that a client opens now comes from. `name` names the connection within the client's life; the
    /// source port alone depends on how many there were before.
    #[inline]
    pub fn source(&mut self, id: ClientId, now: SimTime, name: u64) -> Source {
        let port = self.next_port(id);
        let row = &self.rows[id];
        let population = &mut self.populations[usize::from(row.population)];
        let (user, link) = match row.flags & (FIXED | MOVES) {
            0 => (IpAddr::V4(Ipv4Addr::from(row.address)), 0),
            FIXED => (population.fixed[row.address as usize], 0),
            _ => population.origin.locate(id.0, id.0 - population.first.0, row.address, now, name),
        };
        let (peer, user) = population.origin.seen(user, id.0, name);
        Source { peer, user, port, link }
    }

    /// What has become of a client's network since it opened a connection in the state `link`. `name` names what is to be
    /// sent now.
    #[inline]
    pub fn since(&mut self, id: ClientId, now: SimTime, name: u64, link: u32) -> Since {
        let row = &self.rows[id];
        if !row.moves() {
            return Since::Unchanged;
        }
        let population = &mut self.populations[usize::from(row.population)];
        population.origin.since(link, (id.0, id.0 - population.first.0, row.address), now, name)
    }

    /// The next of a client's source ports. Clients behind one address use disjoint ranges of ports, as behind a NAT that
    /// hands out blocks (RFC 7422); where users of a pool or a front mix, ranges may meet, and start at random.
    #[inline]
    fn next_port(&mut self, id: ClientId) -> u16 {
        let row = &mut self.rows[id];
        row.port_counter = row.port_counter.wrapping_add(1);
        let ports = u32::from(self.populations[usize::from(row.population)].ports_per_client);
        let offset = u32::from(row.port_rank) * ports + u32::from(row.port_counter) % ports;
        (FIRST_EPHEMERAL_PORT + offset % EPHEMERAL_PORTS) as u16
    }

    /// Bytes of the table.
    pub fn bytes(&self) -> usize {
        self.rows.bytes() + self.populations.iter().map(|of| of.origin.bytes()).sum::<usize>()
    }
}

impl Default for Clients {
    fn default() -> Self {
        Self::new()
    }
}

/// The lowest port that a NAT hands out.
const FIRST_EPHEMERAL_PORT: u32 = 1024;
/// Ports that a NAT hands out on each address.
const EPHEMERAL_PORTS: u32 = 65_536 - FIRST_EPHEMERAL_PORT;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::CountLaw;
    use super::super::tests::streams;
    use super::*;

    #[test]
    fn clients_on_one_address_never_share_a_port() {
        let streams = streams();
        let mut clients = Clients::new();
        let crowd = CountLaw::Constant(256);
        let plan = AddressPlan::of_homes("test", crowd, CountLaw::Constant(1));
        clients.add_population(&plan, 256, &streams, &mut AddressSpace::new(streams.addresses)).unwrap();
        let mut seen = BTreeSet::new();
        for id in 0..256 {
            for connection in 0..200 {
                let source = clients.source(ClientId(id), SimTime::ZERO, connection);
                assert!(seen.insert(source.port), "client {id}");
            }
        }
    }

    #[test]
    fn fixed_addresses_of_both_families_are_dealt_in_turn() {
        let streams = streams();
        let fixed: Vec<IpAddr> = vec!["198.51.100.7".parse().unwrap(), "2001:db8::7".parse().unwrap()];
        let homes = AddressPlan::of_homes("direct", CountLaw::Constant(1), CountLaw::Constant(1));
        let plan = AddressPlan { fixed: fixed.clone(), ..homes };
        let mut clients = Clients::new();
        clients.add_population(&plan, 5, &streams, &mut AddressSpace::new(streams.addresses)).unwrap();
        for id in 0..5 {
            assert_eq!(clients.source(ClientId(id), SimTime::ZERO, 1).peer, fixed[id as usize % 2]);
        }
    }
}

//! The table of closed-loop clients: one small row each, holding all that a click touches.

use std::net::{IpAddr, Ipv4Addr};

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
    /// An IPv4 address as a number, or the place of another address in [`Clients::other_addresses`].
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

const OTHER_ADDRESS: u8 = 1;
const LOGGED_IN: u8 = 2;
const HAD_LOSS: u8 = 4;
const MEASURED: u8 = 8;
const BROWSER: u8 = 16;

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

    /// Starts the next visit with `clicks` clicks. `measured` says that it began after the warm-up.
    #[inline]
    pub fn begin_visit(&mut self, clicks: u16, measured: bool) {
        self.visit += 1;
        self.click = 0;
        self.clicks = clicks;
        self.logins_again = 0;
        self.flags &= OTHER_ADDRESS | BROWSER;
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

    /// Whether this visit began after the warm-up.
    pub fn measured(&self) -> bool {
        self.flags & MEASURED != 0
    }
}

/// All closed-loop clients.
#[derive(Clone, Debug)]
pub struct Clients {
    rows: Column<ClientId, ClientRow>,
    /// Addresses that are not IPv4.
    other_addresses: Vec<IpAddr>,
    /// Source ports that each client of a population may use.
    ports_per_client: Vec<u16>,
}

impl Clients {
    /// No clients.
    pub fn new() -> Self {
        Self { rows: Column::from_vec(Vec::new()), other_addresses: Vec::new(), ports_per_client: Vec::new() }
    }

    /// Makes room for exactly `clients` more.
    pub fn reserve_exact(&mut self, clients: usize) {
        self.rows.reserve_exact(clients);
    }

    /// Adds a population's clients at their places and returns the id of the first.
    ///
    /// # Panics
    /// Panics beyond 255 populations or 2^28 clients, which the scenario parser rules out.
    pub fn add_population(&mut self, places: &[super::addresses::Place]) -> ClientId {
        let first = ClientId::from_index(self.rows.len());
        let population = u8::try_from(self.ports_per_client.len()).expect("at most 255 populations");
        let most_on_address = places.iter().map(|place| place.rank).max().unwrap_or(0) + 1;
        self.ports_per_client.push((EPHEMERAL_PORTS / most_on_address.min(EPHEMERAL_PORTS)) as u16);
        for place in places {
            let (address, flags) = match place.address {
                IpAddr::V4(v4) => (u32::from(v4), 0),
                other @ IpAddr::V6(_) => {
                    self.other_addresses.push(other);
                    (self.other_addresses.len() as u32 - 1, OTHER_ADDRESS)
                }
            };
            self.rows.push(ClientRow {
                address,
                visit: 0,
                connection: NONE,
                session: NONE,
                click: 0,
                clicks: 0,
                port_rank: (place.rank % EPHEMERAL_PORTS) as u16,
                port_counter: 0,
                form_server: ServerId(0),
                form_epoch: 0,
                step: Step::Begin,
                population,
                logins_again: 0,
                flags,
            });
        }
        first
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

    /// The address from which a client comes.
    #[inline(always)]
    pub fn address(&self, id: ClientId) -> IpAddr {
        let row = &self.rows[id];
        if row.flags & OTHER_ADDRESS == 0 {
            IpAddr::V4(Ipv4Addr::from(row.address))
        } else {
            self.other_addresses[row.address as usize]
        }
    }

    /// The source port of a client's next connection. Clients behind one address use disjoint ranges of ports, as behind
    /// a NAT that hands out blocks (RFC 7422).
    #[inline]
    pub fn next_port(&mut self, id: ClientId) -> u16 {
        let row = &mut self.rows[id];
        row.port_counter = row.port_counter.wrapping_add(1);
        let ports = u32::from(self.ports_per_client[usize::from(row.population)]);
        let offset = u32::from(row.port_rank) * ports + u32::from(row.port_counter) % ports;
        (FIRST_EPHEMERAL_PORT + offset % EPHEMERAL_PORTS) as u16
    }

    /// Bytes of the table.
    pub fn bytes(&self) -> usize {
        self.rows.bytes() + self.other_addresses.capacity() * size_of::<IpAddr>()
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

    use super::super::addresses::Place;
    use super::*;

    #[test]
    fn clients_on_one_address_never_share_a_port() {
        let address: IpAddr = "198.51.100.7".parse().unwrap();
        let places: Vec<_> = (0..256).map(|rank| Place { address, rank }).collect();
        let mut clients = Clients::new();
        clients.add_population(&places);
        let mut seen = BTreeSet::new();
        for id in 0..256 {
            for _ in 0..200 {
                assert!(seen.insert(clients.next_port(ClientId(id))), "client {id}");
            }
        }
    }

    #[test]
    fn addresses_of_both_families_are_kept() {
        let addresses: [IpAddr; 2] = ["198.51.100.7".parse().unwrap(), "2001:db8::7".parse().unwrap()];
        let mut clients = Clients::new();
        clients.add_population(&addresses.map(|address| Place { address, rank: 0 }));
        assert_eq!(clients.address(ClientId(0)), addresses[0]);
        assert_eq!(clients.address(ClientId(1)), addresses[1]);
    }
}

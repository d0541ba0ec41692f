//! The clients of a log: one for each distinct pair of address and user agent, numbered in the order in which the
//! log names them first; and its users, which are the clients unless something else tells users apart ([`SessionsBy`]).
//!
//! The table of clients is the one part of a prepared log that grows with what the log holds and not with a budget:
//! about 100 bytes a client and as much an address, and each distinct agent once.

use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rustc_hash::FxBuildHasher;

use super::bots::{BotReason, is_robots_txt, judge_agent, names_robot};
use super::format::SessionsBy;
use super::parse::{LogAddress, LogLine};
use super::pseudonym::Pseudonyms;

/// A distinct pair of address and user agent, and of one user.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogClient {
    /// The address. A host name, for which a log has no address, stands as one of 240.0.0.0/4, which nobody has:
    /// distinct names have distinct ones, and neighbours in the log do not share a prefix.
    pub address: IpAddr,
    /// Index into [`super::PreparedLog::agents`].
    pub agent: u32,
    /// The number of its user, whose requests make visits, below [`super::PreparedLog::users`].
    pub user: u32,
    /// Why the client is taken for a program, if it is.
    pub bot: Option<BotReason>,
}

impl LogClient {
    /// Whether the client is taken for a program.
    pub const fn is_bot(&self) -> bool {
        self.bot.is_some()
    }
}

/// There is no number left for another client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TooManyClients;

/// What a line says about its client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    /// The client's number.
    pub client: u32,
    /// Whether the path names a robot.
    pub bot_path: bool,
}

/// Numbers clients while lines come in.
#[derive(Debug, Default)]
pub(super) struct ClientRegistry {
    agents: Numbering<Box<[u8]>>,
    addresses: Numbering<IpAddr>,
    names: Numbering<Box<[u8]>>,
    /// What tells users apart.
    by: SessionsBy,
    pseudonyms: Option<Arc<Pseudonyms>>,
    /// By address number: its pseudonym, if there are any.
    replaced: Vec<IpAddr>,
    /// Names or cookies of users.
    own_names: Numbering<Box<[u8]>>,
    /// By [`NAMED`] and the number of the own name, or by address and agent.
    users: Numbering<(u32, u32)>,
    /// Numbers of address, agent and user.
    clients: Numbering<(u32, u32, u32)>,
    /// By client.
    rows: Vec<ClientRow>,
    /// By agent.
    agent_reasons: Vec<Option<BotReason>>,
    /// Lines whose agent or path names a robot.
    robot_lines: u64,
}

#[derive(Clone, Copy, Debug)]
struct ClientRow {
    address: u32,
    agent: u32,
    requests: u64,
    user: u32,
    robots_txt: bool,
}

/// Stands in the place of an address for users who have a name of their own.
const NAMED: u32 = u32::MAX;

/// The finished tables.
#[derive(Debug)]
pub(super) struct ClientTables {
    /// By client.
    pub clients: Vec<LogClient>,
    /// By client: requests in the log.
    pub requests: Vec<u64>,
    /// Number of users.
    pub users: usize,
    /// Users with a name or cookie of their own.
    pub named_users: usize,
    /// By client: the number of its address.
    pub address_numbers: Vec<u32>,
    /// By address number.
    pub addresses: Vec<IpAddr>,
    /// By agent.
    pub agents: Vec<Box<[u8]>>,
    /// Addresses that are host names in the log.
    pub names: usize,
    /// Lines whose agent or path names a robot.
    pub robot_lines: u64,
}

impl ClientRegistry {
    /// Nobody seen yet; users are told apart by `by`, and addresses are replaced by `pseudonyms`.
    pub fn new(by: SessionsBy, pseudonyms: Option<Arc<Pseudonyms>>) -> Self {
        Self { by, pseudonyms, ..Self::default() }
    }

    /// The number of the line's user; 0 if each client is one.
    fn user(&mut self, line: &LogLine<'_>, address: u32, agent: u32) -> Result<u32, TooManyClients> {
        let key = match (&self.by, line.user) {
            (SessionsBy::AddressAgent, _) => return Ok(0),
            (SessionsBy::Address, _) => (address, 0),
            (_, Some(name)) => (NAMED, self.own_names.number(name, |name| name.into())?),
            (_, None) => (address, agent),
        };
        self.users.number(&key, |&key| key)
    }

    /// Numbers the client of `line`.
    ///
    /// # Errors
    /// [`TooManyClients`] after 4294967295 of them.
    pub fn see(&mut self, line: &LogLine<'_>) -> Result<Seen, TooManyClients> {
        let agent_text = line.agent.unwrap_or(b"-");
        let agent = self.agents.number(agent_text, |text| text.into())?;
        if agent as usize == self.agent_reasons.len() {
            self.agent_reasons.push(judge_agent(agent_text));
        }
        let address = match line.address {
            LogAddress::Ip(address) => address,
            LogAddress::Name(name) => stand_in(self.names.number(name, |name| name.into())?),
        };
        let number = self.addresses.number(&address, |&address| address)?;
        if let Some(pseudonyms) = &self.pseudonyms
            && number as usize == self.replaced.len()
        {
            // A name's stand-in tells nothing that must be hidden.
            let named = matches!(line.address, LogAddress::Name(_));
            self.replaced.push(if named { address } else { pseudonyms.address(address) });
        }
        let address = number;
        let user = self.user(line, address, agent)?;
        let client = self.clients.number(&(address, agent, user), |&key| key)?;
        if client as usize == self.rows.len() {
            let user = if self.by == SessionsBy::AddressAgent { client } else { user };
            self.rows.push(ClientRow { address, agent, requests: 0, user, robots_txt: false });
        }
        let row = &mut self.rows[client as usize];
        row.requests += 1;
        let path = line.path.unwrap_or_default();
        let bot_path = names_robot(path);
        row.robots_txt |= bot_path && is_robots_txt(path);
        self.robot_lines +=
            u64::from(bot_path || self.agent_reasons[agent as usize] == Some(BotReason::AgentName));
        Ok(Seen { client, bot_path })
    }

    pub fn finish(self) -> ClientTables {
        let addresses = match self.pseudonyms {
            Some(_) => self.replaced,
            None => self.addresses.into_values(),
        };
        let clients = self
            .rows
            .iter()
            .map(|row| LogClient {
                address: addresses[row.address as usize],
                agent: row.agent,
                user: row.user,
                bot: self.agent_reasons[row.agent as usize]
                    .or(row.robots_txt.then_some(BotReason::RobotsTxt)),
            })
            .collect();
        ClientTables {
            clients,
            requests: self.rows.iter().map(|row| row.requests).collect(),
            users: self.rows.iter().map(|row| row.user as usize + 1).max().unwrap_or(0),
            named_users: self.own_names.len(),
            address_numbers: self.rows.iter().map(|row| row.address).collect(),
            addresses,
            agents: self.agents.into_values(),
            names: self.names.len(),
            robot_lines: self.robot_lines,
        }
    }
}

/// The address that stands for the host name numbered `name`. An odd factor permutes the 2^28 addresses of the
/// class, so that names do not meet, and spreads neighbours over its prefixes.
fn stand_in(name: u32) -> IpAddr {
    Ipv4Addr::from_bits(0xF000_0000 | (name.wrapping_mul(0x9E37_79B1) & 0x0FFF_FFFF)).into()
}

/// Distinct values, numbered in order of appearance.
#[derive(Debug)]
struct Numbering<T> {
    #[expect(
        clippy::disallowed_types,
        reason = "for look-up at every line; the one iteration is followed by a sort, and the hasher has constant keys"
    )]
    numbers: std::collections::HashMap<T, u32, FxBuildHasher>,
}

impl<T> Default for Numbering<T> {
    fn default() -> Self {
        Self { numbers: Default::default() }
    }
}

impl<T: Eq + Hash> Numbering<T> {
    fn number<Q>(&mut self, value: &Q, own: impl FnOnce(&Q) -> T) -> Result<u32, TooManyClients>
    where
        T: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if let Some(&number) = self.numbers.get(value) {
            return Ok(number);
        }
        let next =
            u32::try_from(self.numbers.len()).ok().filter(|&next| next < u32::MAX).ok_or(TooManyClients)?;
        self.numbers.insert(own(value), next);
        Ok(next)
    }

    fn len(&self) -> usize {
        self.numbers.len()
    }

    fn into_values(self) -> Vec<T> {
        let mut numbered: Vec<_> = self.numbers.into_iter().collect();
        numbered.sort_unstable_by_key(|&(_, number)| number);
        numbered.into_iter().map(|(value, _)| value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::tests::combined;
    use super::*;

    fn registry(lines: &[(&str, &str, &str)]) -> (Vec<u32>, ClientTables) {
        registry_by(SessionsBy::AddressAgent, lines)
    }

    /// `lines` are address, path and agent; a user's name is the path's first segment.
    fn registry_by(by: SessionsBy, lines: &[(&str, &str, &str)]) -> (Vec<u32>, ClientTables) {
        let mut registry = ClientRegistry::new(by, None);
        let numbers = lines
            .iter()
            .map(|(address, path, agent)| {
                let text = format!(
                    "{address} - - [20/Feb/2016:00:00:45 -0500] \"GET {path} HTTP/1.1\" 200 1 \"-\" \"{agent}\""
                );
                combined(text.as_bytes(), |line| {
                    let mut line = line.expect("a valid line");
                    line.user = path.split('/').nth(1).filter(|name| !name.is_empty()).map(str::as_bytes);
                    registry.see(&line).expect("few clients").client
                })
            })
            .collect();
        (numbers, registry.finish())
    }

    #[test]
    fn clients_are_pairs_of_address_and_agent_in_order_of_appearance() {
        let (numbers, tables) = registry(&[
            ("192.0.2.2", "/", "B"),
            ("192.0.2.1", "/", "A"),
            ("192.0.2.2", "/x", "A"),
            ("192.0.2.2", "/y", "B"),
            ("192.0.2.1", "/", "-"),
        ]);
        assert_eq!(numbers, [0, 1, 2, 0, 3]);
        assert_eq!(tables.requests, [2, 1, 1, 1]);
        assert_eq!(tables.address_numbers, [0, 1, 0, 1]);
        assert_eq!(tables.agents, [b"B", b"A", b"-"].map(|agent| Box::from(&agent[..])));
        assert_eq!(tables.clients[2].address, IpAddr::from([192, 0, 2, 2]));
    }

    #[test]
    fn users_are_told_apart_as_asked() {
        let lines = [
            ("192.0.2.1", "/ann", "A"),
            ("192.0.2.1", "/bob", "A"),
            ("192.0.2.2", "/ann", "A"),
            ("192.0.2.2", "/", "A"),
            ("192.0.2.2", "/", "B"),
        ];
        let users = |by| {
            let (clients, tables) = registry_by(by, &lines);
            let of: Vec<_> = clients.iter().map(|&client| tables.clients[client as usize].user).collect();
            assert_eq!(tables.users as u32, of.iter().max().expect("users") + 1);
            of
        };
        assert_eq!(users(SessionsBy::AddressAgent), [0, 0, 1, 1, 2]);
        assert_eq!(users(SessionsBy::Address), [0, 0, 1, 1, 1]);
        assert_eq!(users(SessionsBy::User), [0, 1, 0, 2, 3]);
    }

    #[test]
    fn a_client_that_asks_for_robots_txt_is_a_bot_and_its_neighbours_are_not() {
        let (_, tables) = registry(&[
            ("192.0.2.1", "/", "Mozilla/5.0"),
            ("192.0.2.2", "/", "Mozilla/5.0"),
            ("192.0.2.1", "/robots.txt", "Mozilla/5.0"),
            ("192.0.2.1", "/", "Googlebot"),
            ("192.0.2.3", "/robotics", "Mozilla/5.0"),
        ]);
        let reasons: Vec<_> = tables.clients.iter().map(|client| client.bot).collect();
        assert_eq!(reasons, [Some(BotReason::RobotsTxt), None, Some(BotReason::AgentName), None]);
        assert_eq!(tables.robot_lines, 3, "two paths with `bot` in them, and one agent");
    }

    #[test]
    fn host_names_get_addresses_that_nobody_has_and_that_share_no_prefix() {
        let (_, tables) =
            registry(&[("a.example", "/", "A"), ("b.example", "/", "A"), ("a.example", "/", "B")]);
        assert_eq!(tables.names, 2);
        let octets: Vec<_> = tables
            .clients
            .iter()
            .map(|client| match client.address {
                IpAddr::V4(address) => address.octets(),
                IpAddr::V6(address) => panic!("{address}"),
            })
            .collect();
        assert_eq!(octets[0], octets[2]);
        assert_ne!(octets[0][..3], octets[1][..3]);
        assert!(octets.iter().all(|octets| octets[0] >= 240), "{octets:?}");
    }
}

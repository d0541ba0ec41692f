//! The clients of a log: one for each distinct pair of address and user agent, numbered in the order in which the
//! log names them first; and its users, which are the clients unless something else tells users apart ([`SessionsBy`]).
//!
//! The table of clients is the one part of a prepared log that grows with what the log holds and not with a budget:
//! about 70 bytes a client and 50 an address, and each distinct agent once.
//!
//! Lines are looked up in batches. With a million clients every look-up waits for memory; those of a batch wait together.

use std::hash::Hasher;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::sync::Arc;

use rustc_hash::FxHasher;

use super::bots::{BotReason, is_robots_txt, judge_agent, names_robot};
use super::format::SessionsBy;
use super::intern::{HashIndex, NoNumberLeft, Texts, hash_of, spread};
use super::parse::{LogAddress, LogLine};
use super::paths::Paths;
use super::pseudonym::Pseudonyms;
use super::record::LogRecord;

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

/// Lines that are looked up together: enough for their fetches to overlap, few enough for their texts to stay at hand.
const BATCH: usize = 64;

/// Numbers clients while lines come in.
#[derive(Debug)]
pub(super) struct ClientRegistry {
    /// What tells users apart.
    by: SessionsBy,
    pseudonyms: Option<Arc<Pseudonyms>>,
    agents: Texts,
    /// By agent.
    agent_reasons: Vec<Option<BotReason>>,
    /// Host names.
    names: Texts,
    addresses: HashIndex,
    /// By address number.
    address_values: Vec<IpAddr>,
    /// By address number: its pseudonym, if there are any.
    replaced: Vec<IpAddr>,
    /// Names or cookies of users.
    own_names: Texts,
    /// By own name: the user.
    named: Vec<u32>,
    users: u32,
    clients: HashIndex,
    /// By client.
    rows: Vec<ClientRow>,
    /// Paths, if they are wanted.
    paths: Option<Paths>,
    /// Lines whose agent or path names a robot.
    robot_lines: u64,
    batch: Vec<Waiting>,
    /// Agents and paths of the batch.
    texts: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct ClientRow {
    /// As in the log.
    own: IpAddr,
    robots_txt: bool,
    agent: u32,
    own_name: u32,
    /// Number of the address.
    address: u32,
    user: u32,
    requests: u64,
}

/// A line whose client is not looked up yet.
#[derive(Debug)]
struct Waiting {
    record: LogRecord,
    address: IpAddr,
    own_name: u32,
    agent_hash: u32,
    client_hash: u32,
    path_hash: u32,
    /// In the batch's texts.
    agent: Range<u32>,
    path: Range<u32>,
    named_address: bool,
    robots_txt: bool,
}

/// Stands for no name of one's own.
const UNNAMED: u32 = u32::MAX;

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
    /// Paths, if they were wanted.
    pub paths: Option<Paths>,
    /// Lines whose agent or path names a robot.
    pub robot_lines: u64,
}

impl ClientRegistry {
    /// Nobody seen yet; users are told apart by `by`, addresses are replaced by `pseudonyms`, and `paths` are kept if there
    /// is a place for them.
    pub fn new(by: SessionsBy, pseudonyms: Option<Arc<Pseudonyms>>, paths: Option<Paths>) -> Self {
        Self {
            by,
            pseudonyms,
            agents: Texts::default(),
            agent_reasons: Vec::new(),
            names: Texts::default(),
            addresses: HashIndex::default(),
            address_values: Vec::new(),
            replaced: Vec::new(),
            own_names: Texts::default(),
            named: Vec::new(),
            users: 0,
            clients: HashIndex::default(),
            rows: Vec::new(),
            paths,
            robot_lines: 0,
            batch: Vec::with_capacity(BATCH),
            texts: Vec::new(),
        }
    }

    /// Takes `line` into the batch. When that is full, its records are due: [`ClientRegistry::settle`].
    ///
    /// # Errors
    /// If there are too many names.
    pub fn see(&mut self, line: &LogLine<'_>) -> Result<bool, NoNumberLeft> {
        let agent = line.agent.unwrap_or(b"-");
        let path = line.path.unwrap_or_default();
        let (address, named_address) = match line.address {
            LogAddress::Ip(address) => (address, false),
            LogAddress::Name(name) => (stand_in(self.names.number(hash_of(name), name)?), true),
        };
        let own_name = match (&self.by, line.user) {
            (SessionsBy::User | SessionsBy::Cookie(_), Some(name)) => {
                self.own_names.number(hash_of(name), name)?
            }
            _ => UNNAMED,
        };
        let agent_hash = hash_of(agent);
        let mut kept = |text: &[u8]| {
            let start = self.texts.len() as u32;
            self.texts.extend_from_slice(text);
            start..self.texts.len() as u32
        };
        let bot_path = names_robot(path);
        let (keeps_path, agent) = (self.paths.is_some(), kept(agent));
        self.batch.push(Waiting {
            record: LogRecord::new(line, bot_path),
            address,
            own_name,
            agent_hash,
            client_hash: client_hash(address, agent_hash, own_name),
            path_hash: if keeps_path { hash_of(path) } else { 0 },
            agent,
            path: if keeps_path { kept(path) } else { 0..0 },
            named_address,
            robots_txt: bot_path && is_robots_txt(path),
        });
        Ok(self.batch.len() == BATCH)
    }

    /// Hands out the records of the batch, their clients numbered, in the order in which they came.
    ///
    /// # Errors
    /// If there are too many clients, or what `take` fails with.
    pub fn settle<E: From<NoNumberLeft>>(
        &mut self,
        mut take: impl FnMut(LogRecord) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut batch = std::mem::take(&mut self.batch);
        let texts = std::mem::take(&mut self.texts);
        for line in &batch {
            self.clients.ask_for(line.client_hash);
            self.agents.index().ask_for(line.agent_hash);
            if let Some(paths) = &self.paths {
                paths.ask_for(line.path_hash);
            }
        }
        let mut touched = 0;
        for line in &batch {
            let client = self.clients.candidate(line.client_hash);
            touched ^= client.map_or(0, |client| self.rows[client as usize].agent);
            touched ^= u32::from(self.agents.touch(line.agent_hash));
        }
        std::hint::black_box(touched);
        for line in &batch {
            let mut record = line.record;
            record.client = self.settle_one(line, &texts)?;
            if let Some(paths) = &mut self.paths {
                record.path = paths.number(line.path_hash, text_of(&texts, &line.path));
            }
            take(record)?;
        }
        batch.clear();
        (self.batch, self.texts) = (batch, texts);
        self.texts.clear();
        Ok(())
    }

    /// The number of a line's client.
    fn settle_one(&mut self, line: &Waiting, texts: &[u8]) -> Result<u32, NoNumberLeft> {
        let agent_text = text_of(texts, &line.agent);
        let agent = self.agents.number(line.agent_hash, agent_text)?;
        if agent as usize == self.agent_reasons.len() {
            self.agent_reasons.push(judge_agent(agent_text));
        }
        let is_it = |number: u32| {
            let row = &self.rows[number as usize];
            row.own == line.address && row.agent == agent && row.own_name == line.own_name
        };
        let client = match self.clients.find(line.client_hash, is_it) {
            Some(client) => client,
            None => self.add(line, agent)?,
        };
        let row = &mut self.rows[client as usize];
        row.requests += 1;
        row.robots_txt |= line.robots_txt;
        let named = self.agent_reasons[agent as usize] == Some(BotReason::AgentName);
        self.robot_lines += u64::from(named || line.record.flags.bot_path());
        Ok(client)
    }

    fn add(&mut self, line: &Waiting, agent: u32) -> Result<u32, NoNumberLeft> {
        let address = self.address(line)?;
        let client = self.clients.add(line.client_hash)?;
        let known = match self.by {
            SessionsBy::AddressAgent => None,
            // Users are as many as addresses, and come as these do.
            SessionsBy::Address => Some(address),
            SessionsBy::User | SessionsBy::Cookie(_) => self.named.get(line.own_name as usize).copied(),
        };
        let user = known.unwrap_or(self.users);
        if line.own_name != UNNAMED && line.own_name as usize == self.named.len() {
            self.named.push(user);
        }
        self.users = self.users.max(user + 1);
        let (own, own_name) = (line.address, line.own_name);
        self.rows.push(ClientRow { own, robots_txt: false, agent, own_name, address, user, requests: 0 });
        Ok(client)
    }

    /// The number of a line's address.
    fn address(&mut self, line: &Waiting) -> Result<u32, NoNumberLeft> {
        let hash = client_hash(line.address, 0, 0);
        let known = |number: u32| self.address_values[number as usize] == line.address;
        if let Some(number) = self.addresses.find(hash, known) {
            return Ok(number);
        }
        let number = self.addresses.add(hash)?;
        self.address_values.push(line.address);
        if let Some(pseudonyms) = &self.pseudonyms {
            // A name's stand-in tells nothing that must be hidden.
            let replaced = if line.named_address { line.address } else { pseudonyms.address(line.address) };
            self.replaced.push(replaced);
        }
        Ok(number)
    }

    /// The tables; the batch must be settled.
    pub fn finish(self) -> ClientTables {
        debug_assert!(self.batch.is_empty(), "no line waits for its client");
        let addresses = if self.pseudonyms.is_some() { self.replaced } else { self.address_values };
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
            users: self.users as usize,
            named_users: self.own_names.len(),
            address_numbers: self.rows.iter().map(|row| row.address).collect(),
            addresses,
            agents: self.agents.into_boxes(),
            names: self.names.len(),
            paths: self.paths,
            robot_lines: self.robot_lines,
        }
    }
}

fn text_of<'t>(texts: &'t [u8], range: &Range<u32>) -> &'t [u8] {
    &texts[range.start as usize..range.end as usize]
}

fn client_hash(address: IpAddr, agent_hash: u32, own_name: u32) -> u32 {
    let mut hasher = FxHasher::default();
    match address {
        IpAddr::V4(address) => hasher.write_u32(address.to_bits()),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            hasher.write_u64((bits >> 64) as u64);
            hasher.write_u64(bits as u64);
        }
    }
    hasher.write_u32(agent_hash);
    hasher.write_u32(own_name);
    spread(hasher.finish())
}

/// The address that stands for the host name numbered `name`. An odd factor permutes the 2^28 addresses of the
/// class, so that names do not meet, and spreads neighbours over its prefixes.
fn stand_in(name: u32) -> IpAddr {
    Ipv4Addr::from_bits(0xF000_0000 | (name.wrapping_mul(0x9E37_79B1) & 0x0FFF_FFFF)).into()
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
        let mut registry = ClientRegistry::new(by, None, None);
        let mut numbers = Vec::new();
        for (address, path, agent) in lines {
            let text = format!(
                "{address} - - [20/Feb/2016:00:00:45 -0500] \"GET {path} HTTP/1.1\" 200 1 \"-\" \"{agent}\""
            );
            combined(text.as_bytes(), |line| {
                let mut line = line.expect("a valid line");
                line.user = path.split('/').nth(1).filter(|name| !name.is_empty()).map(str::as_bytes);
                registry.see(&line).expect("few names");
            });
        }
        let settled = registry.settle(|record| {
            numbers.push(record.client);
            Ok::<_, NoNumberLeft>(())
        });
        settled.expect("few clients");
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

//! Users as a log showed them: who shares an address and a network, how often each comes, how much each clicks and how fast.
//!
//! A law for each of these would lose what makes real load uneven: that the busiest users click much *and* come often, and sit
//! together on a few networks. So whole networks are resampled, with the users on them. They are dealt in a random order
//! without repetition (and all again when all have been dealt), as the balanced bootstrap does (Davison, Hinkley & Schechtman,
//! "Efficient bootstrap simulation", Biometrika 73(3), 1986): a population of as many users as the log has the log's networks,
//! each once, on addresses of its own.
//!
//! A file has one line for each user, in the order of networks and addresses:
//!
//! ```text
//! network,copies,address,think_s,away_s,visits
//! 0,1,0,12.5,86400,1*3 7
//! ```
//!
//! `network` and `address` are numbers of the file's own, no addresses; `copies` is how many such networks the line stands for,
//! if the log was sampled; `think_s` and `away_s` are the user's mean times between clicks and between visits \[s\];
//! `visits` the lengths of the visits, `1*3` standing for three of length 1.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::engine::Stream;

/// Names of the columns.
pub const COLUMNS: [&str; 6] = ["network", "copies", "address", "think_s", "away_s", "visits"];

/// Largest mean time in a file \[s\]: a hundred years.
const SECONDS_MAX: f32 = 3.2e9;

/// Visit lengths of one user that are kept at most.
pub const VISITS_MAX: usize = 10_000;

/// Users, by network and address.
#[derive(Clone, Debug, PartialEq)]
pub struct UserTable {
    networks: Vec<NetworkRow>,
    /// By address: one past its last user.
    addresses: Vec<u32>,
    users: Vec<UserRow>,
    /// Lengths of visits, users one after another.
    lengths: Vec<u16>,
    sha256: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct NetworkRow {
    /// One past its last address.
    addresses_end: u32,
    copies: u32,
}

/// What one user does.
#[derive(Clone, Copy, Debug, PartialEq)]
struct UserRow {
    /// One past the last length of its visits.
    lengths_end: u32,
    think_s: f32,
    away_s: f32,
}

/// Why a file holds no users.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {why}", line.map_or(String::new(), |line| format!(":{line}")))]
pub struct UserTableError {
    file: String,
    line: Option<u64>,
    why: String,
}

impl UserTable {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, or at the first line that is wrong.
    pub fn from_file(path: &Path) -> Result<Self, UserTableError> {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|error| UserTableError {
            file: name.clone(),
            line: None,
            why: format!("cannot read the users: {error}"),
        })?;
        Self::from_csv(&name, &bytes)
    }

    /// Reads the text of a file, which is called `file` in messages.
    ///
    /// # Errors
    /// As [`UserTable::from_file`].
    pub fn from_csv(file: &str, text: &[u8]) -> Result<Self, UserTableError> {
        let at = |line, why: String| UserTableError { file: file.to_owned(), line, why };
        let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).trim(csv::Trim::All).from_reader(text);
        let headers = reader.headers().map_err(|error| at(None, error.to_string()))?;
        if headers.iter().ne(COLUMNS) {
            return Err(at(Some(1), format!("the columns must be {}", COLUMNS.join(","))));
        }
        let sha256 = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
        let mut table = Self {
            networks: Vec::new(),
            addresses: Vec::new(),
            users: Vec::new(),
            lengths: Vec::new(),
            sha256,
        };
        let mut previous: Option<(u32, u32)> = None;
        for record in reader.records() {
            let record =
                record.map_err(|error| at(error.position().map(csv::Position::line), error.to_string()))?;
            let line = record.position().map(csv::Position::line);
            table.add(&record, &mut previous).map_err(|why| at(line, why))?;
        }
        if table.users.is_empty() {
            return Err(at(None, "no users: one line for each is needed".into()));
        }
        Ok(table)
    }

    fn add(&mut self, record: &csv::StringRecord, previous: &mut Option<(u32, u32)>) -> Result<(), String> {
        let number = |column: usize| {
            record[column].parse::<u32>().map_err(|_| {
                format!("`{}` must be a whole number, got `{}`", COLUMNS[column], &record[column])
            })
        };
        let seconds = |column: usize| {
            let value =
                record[column].parse::<f32>().ok().filter(|value| (0.0..=SECONDS_MAX).contains(value));
            value.ok_or_else(|| {
                format!("`{}` must be 0 to {SECONDS_MAX} seconds, got `{}`", COLUMNS[column], &record[column])
            })
        };
        let (network, copies, address) = (number(0)?, number(1)?, number(2)?);
        if copies == 0 {
            return Err("`copies` must be at least 1, got 0".into());
        }
        for part in record[5].split_whitespace() {
            let (length, times) = part.split_once('*').unwrap_or((part, "1"));
            match (length.parse::<u16>(), times.parse::<usize>()) {
                (Ok(length @ 1..), Ok(times @ 1..=VISITS_MAX)) => {
                    self.lengths.extend(std::iter::repeat_n(length, times));
                }
                _ => {
                    return Err(format!(
                        "`visits` are lengths of 1 to 65535, with `*` and how many; got `{part}`"
                    ));
                }
            }
        }
        let (think_s, away_s) = (seconds(3)?, seconds(4)?);
        let before = self.users.last().map_or(0, |user| user.lengths_end as usize);
        if self.lengths.len() == before {
            return Err("`visits` must name at least one length".into());
        }
        if think_s + away_s <= 0.0 {
            return Err("a user who is never away and never thinks would click without end in no time".into());
        }
        if self.lengths.len() > u32::MAX as usize || self.users.len() > 1 << 30 {
            return Err("more users or visits than can be numbered".into());
        }
        match *previous {
            Some((last, _)) if network < last => {
                return Err(format!("network {network} comes after network {last}"));
            }
            Some((last, last_address)) if network == last => {
                if address < last_address {
                    return Err(format!("address {address} comes after address {last_address}"));
                }
                if address > last_address {
                    self.addresses.push(0);
                }
            }
            _ => {
                self.addresses.push(0);
                self.networks.push(NetworkRow { addresses_end: 0, copies });
            }
        }
        *previous = Some((network, address));
        self.users.push(UserRow { lengths_end: self.lengths.len() as u32, think_s, away_s });
        if let (Some(users_end), Some(last)) = (self.addresses.last_mut(), self.networks.last_mut()) {
            *users_end = self.users.len() as u32;
            last.addresses_end = self.addresses.len() as u32;
        }
        Ok(())
    }

    /// SHA-256 of the file, in hexadecimal digits.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Users of all networks, with their copies.
    pub fn users(&self) -> u64 {
        (0..self.networks.len())
            .map(|network| {
                let users: usize =
                    self.addresses_of(network).map(|address| self.users_on(address).len()).sum();
                users as u64 * u64::from(self.networks[network].copies)
            })
            .sum()
    }

    /// Mean time between clicks, over all of them \[s\].
    pub fn think_mean(&self) -> f64 {
        let (mut seconds, mut gaps) = (0.0, 0.0);
        for user in 0..self.users.len() as u32 {
            let lengths = self.lengths_of(user);
            let of_user: f64 = lengths.iter().map(|&length| f64::from(length) - 1.0).sum();
            gaps += of_user;
            seconds += of_user * f64::from(self.users[user as usize].think_s);
        }
        if gaps > 0.0 { seconds / gaps } else { 0.0 }
    }

    /// Lengths of a user's visits; there is one at least.
    #[inline]
    pub fn lengths_of(&self, user: u32) -> &[u16] {
        let begin = user.checked_sub(1).map_or(0, |before| self.users[before as usize].lengths_end);
        &self.lengths[begin as usize..self.users[user as usize].lengths_end as usize]
    }

    /// A user's mean time between clicks \[s\].
    #[inline]
    pub fn think_s(&self, user: u32) -> f64 {
        self.users[user as usize].think_s.into()
    }

    /// A user's time from the end of a visit to the start of the next \[s\].
    #[inline]
    pub fn away_s(&self, user: u32) -> f64 {
        self.users[user as usize].away_s.into()
    }

    fn addresses_of(&self, network: usize) -> std::ops::Range<usize> {
        let begin = network.checked_sub(1).map_or(0, |before| self.networks[before].addresses_end);
        begin as usize..self.networks[network].addresses_end as usize
    }

    fn users_on(&self, address: usize) -> std::ops::Range<u32> {
        let begin = address.checked_sub(1).map_or(0, |before| self.addresses[before]);
        begin..self.addresses[address]
    }

    /// Deals networks until there are `clients` users: calls `place` with the number of the network among those dealt, that
    /// of the address in it and the user. The order is the stream's, named by `population`.
    pub fn deal<E>(
        &self,
        clients: u32,
        population: u64,
        order: &Stream,
        mut place: impl FnMut(u32, u32, u32) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut left = clients;
        let mut dealt = 0;
        for round in 0_u64.. {
            let mut keyed: Vec<(u64, u32)> = (0..self.networks.len() as u32)
                .flat_map(|network| {
                    std::iter::repeat_n(network, self.networks[network as usize].copies as usize)
                })
                .enumerate()
                .map(|(at, network)| {
                    (order.bits(population << 40 | 1 << 38 | round << 32, at as u64), network)
                })
                .collect();
            keyed.sort_unstable();
            for (_, network) in keyed {
                for (host, address) in (0..).zip(self.addresses_of(network as usize)) {
                    for user in self.users_on(address) {
                        if left == 0 {
                            return Ok(());
                        }
                        place(dealt, host, user)?;
                        left -= 1;
                    }
                }
                dealt += 1;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::StreamId;

    const HEAD: &str = "network,copies,address,think_s,away_s,visits\n";

    fn table(lines: &str) -> Result<UserTable, UserTableError> {
        UserTable::from_csv("users.csv", format!("{HEAD}{lines}").as_bytes())
    }

    #[test]
    fn lines_become_networks_addresses_and_users() {
        let table = table("0,1,0,2,60,1*3 7\n0,1,0,4,60,2\n0,1,1,0,60,1\n5,2,0,8,60,3 1\n").expect("users");
        assert_eq!(table.users(), 3 + 2);
        assert_eq!(table.lengths_of(0), [1, 1, 1, 7]);
        assert_eq!(table.lengths_of(3), [3, 1]);
        assert_eq!(table.users_on(0), 0..2);
        assert_eq!((table.addresses_of(0), table.addresses_of(1)), (0..2, 2..3));
        // Six gaps of 2 s, one of 4 s, two of 8 s.
        assert!((table.think_mean() - 32.0 / 9.0).abs() < 1e-12);
    }

    #[test]
    fn as_many_users_as_the_file_has_are_each_of_its_users_once() {
        let table =
            table("0,1,0,2,60,1\n1,1,0,2,60,1\n1,1,3,2,60,1\n2,1,0,2,60,1\n2,1,0,2,60,1\n").expect("users");
        let deal = |clients, replication| {
            let order = Stream::new(7, replication, StreamId::Addresses);
            let mut dealt = Vec::new();
            table
                .deal(clients, 0, &order, |network, host, user| {
                    dealt.push((network, host, user));
                    Ok::<(), ()>(())
                })
                .expect("no limit");
            dealt
        };
        let mut users: Vec<u32> = deal(5, 0).iter().map(|&(.., user)| user).collect();
        assert!((0..20).any(|replication| deal(5, replication) != deal(5, 0)), "the order is drawn");
        users.sort_unstable();
        assert_eq!(users, [0, 1, 2, 3, 4]);
        let twice = deal(12, 0);
        assert_eq!(twice.len(), 12);
        assert!(
            (0..5).all(|user| twice.iter().filter(|&&(.., other)| other == user).count() >= 2),
            "two whole rounds"
        );
        assert!(twice.is_sorted_by_key(|&(network, ..)| network), "networks are numbered as they are dealt");
    }

    #[test]
    fn what_is_no_user_is_refused_with_its_line() {
        for (lines, why) in [
            ("", "users.csv: no users"),
            ("0,1,0,2,60,0\n", "users.csv:2: `visits` are lengths of 1"),
            ("0,1,0,2,60,\n", "users.csv:2: `visits` must name"),
            ("0,0,0,2,60,1\n", "`copies` must be at least 1"),
            ("0,1,0,-2,60,1\n", "`think_s` must be 0 to"),
            ("0,1,0,0,0,1\n", "click without end"),
            ("1,1,0,2,60,1\n0,1,0,2,60,1\n", "users.csv:3: network 0 comes after network 1"),
            ("0,1,1,2,60,1\n0,1,0,2,60,1\n", "address 0 comes after address 1"),
            ("x,1,1,2,60,1\n", "`network` must be a whole number, got `x`"),
        ] {
            let error = table(lines).expect_err("no users").to_string();
            assert!(error.contains(why), "{error}");
        }
        let error = UserTable::from_csv("x", b"a,b\n1,2\n").expect_err("other columns");
        assert!(error.to_string().contains("the columns must be network,copies"));
    }
}

//! What a log says about its clients, in numbers, and what had to be inferred.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

use super::clients::ClientTables;
use super::parse::{LineError, LineFault};
use super::timestamp::format_time;
use super::{BotReason, LogClient};

/// A line that could not be read, kept as a sample.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct MalformedLine {
    /// The file's name, as given.
    pub file: String,
    /// The line's number in its file, from 1.
    pub line: u64,
    /// What is wrong, and at which column.
    #[serde(flatten)]
    pub error: LineError,
    /// Its first 120 characters; bytes that are not UTF-8 as U+FFFD.
    pub text: String,
}

impl fmt::Display for MalformedLine {
    /// `access.log:17:44: request without its quotes`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.error.column, self.error.fault)
    }
}

/// Counts per entity (requests per address, requests per visit). Quantiles are nearest-rank: the smallest count that
/// at least that share of the entities does not exceed. All zero if there are no entities.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct CountSummary {
    /// Number of entities.
    pub number: u64,
    /// Mean count.
    pub mean: f64,
    /// Median count.
    pub p50: u64,
    /// 90th percentile.
    pub p90: u64,
    /// 99th percentile.
    pub p99: u64,
    /// Largest count.
    pub max: u64,
}

/// Share of all requests that the busiest entities sent, from 0 to 1.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct TopShares {
    /// The busiest one.
    pub top_1: f64,
    /// The ten busiest.
    pub top_10: f64,
    /// The hundred busiest.
    pub top_100: f64,
}

/// Lines of clients that are taken for programs, by the first reason that holds ([`BotReason`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct BotLines {
    /// The agent names a bot, spider, crawler or monitor.
    pub agent_name: u64,
    /// The agent is a library, a tool or a feed reader.
    pub tool: u64,
    /// The client asked for `/robots.txt`.
    pub robots_txt: u64,
}

impl BotLines {
    /// Lines of all programs.
    pub const fn total(&self) -> u64 {
        self.agent_name + self.tool + self.robots_txt
    }
}

/// What was counted while lines were read.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct LineCounts {
    /// Lines read: valid, empty and malformed ones.
    pub lines: u64,
    /// Lines that are replayed.
    pub valid: u64,
    /// Those that end within their agent, and were taken as they are.
    pub agents_cut: u64,
    /// Lines without anything but white space, and comments of W3C's kind.
    pub empty: u64,
    /// Lines that could not be read.
    pub malformed: u64,
    /// How many of them there are of each kind.
    pub malformed_by_reason: BTreeMap<LineFault, u64>,
    /// Valid lines before or after the time that was asked for.
    pub outside: u64,
    /// The first of the malformed lines.
    pub malformed_samples: Vec<MalformedLine>,
    /// Valid lines with an earlier time than the valid line before them.
    pub backward_steps: u64,
    /// The largest of these steps, in seconds.
    pub backward_step_seconds_max: u32,
}

/// A log in numbers.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct LogStatistics {
    /// What was counted while lines were read.
    #[serde(flatten)]
    pub counts: LineCounts,
    /// The format of the lines, and how it was found.
    pub formats: String,
    /// What tells users apart, as scenarios write it.
    pub sessions_by: String,
    /// Users.
    pub users: u64,
    /// Those with a name or cookie of their own.
    pub named_users: u64,
    /// Time of the earliest line, in seconds since the Unix epoch (UTC).
    pub first_second: u32,
    /// Time of the latest line, in seconds since the Unix epoch (UTC).
    pub last_second: u32,
    /// File and number of the earliest line.
    pub first_line: String,
    /// File and number of the latest line.
    pub last_line: String,
    /// The longest time without a request: the second of the last before it, and of the first after it.
    pub longest_gap: (u32, u32),
    /// Whether a line was earlier than one that had left the reorder window, so that the window did not suffice and
    /// what followed was sorted as a whole.
    pub external_sort: bool,
    /// Sorted runs that went through a temporary file and were merged; 0 if memory sufficed.
    pub sort_runs: usize,
    /// Distinct addresses, host names included.
    pub addresses: u64,
    /// Those that are host names.
    pub host_names: u64,
    /// Distinct networks: /24 of IPv4, /64 of IPv6 (what one site or one subscriber has).
    pub networks: u64,
    /// Distinct pairs of address and user agent.
    pub clients: u64,
    /// Requests for other than static objects that the log says the duration of.
    pub timed_requests: u64,
    /// Distinct paths that are kept as text, if paths are kept.
    pub paths: u64,
    /// Requests whose path came when the memory for paths was spent, and is known by its hash.
    pub requests_with_hashed_path: u64,
    /// Requests per address.
    pub requests_per_address: CountSummary,
    /// Gini coefficient of the requests per address: 0 if all sent the same number, near 1 if one sent all.
    pub gini: f64,
    /// Shares of the busiest addresses.
    pub address_shares: TopShares,
    /// Shares of the busiest networks.
    pub network_shares: TopShares,
    /// The longest gap within a visit, in seconds.
    pub visit_gap_seconds: u32,
    /// Visits, a client being an address with an agent, and requests per visit.
    pub visits: CountSummary,
    /// The same, taking all agents of an address for one client.
    pub visits_by_address: CountSummary,
    /// Lines of clients that are taken for programs.
    pub bot_lines: BotLines,
    /// Lines whose own agent or path names a bot, spider, crawler or monitor.
    pub robot_word_lines: u64,
}

impl LogStatistics {
    /// What the replay takes from a log that does not say it, one sentence each, for the report.
    pub fn inferred(&self) -> Vec<String> {
        let mut sentences = self.warnings();
        sentences.extend([
            self.users_sentence(),
            format!(
                "Visits: requests of one user with gaps of at most {} s are one visit ({} visits); logins and \
                 session ends are not in the log.",
                self.visit_gap_seconds, self.visits.number
            ),
            "Connections: requests of one client within the keep-alive timeout of each other share a connection; \
             the log does not name connections or ports."
                .into(),
            format!(
                "Service times: drawn from the scenario's law, {}; the log's times are those at which requests were received or \
                 answered, depending on the server.",
                match self.timed_requests {
                    0 => "since the log has no durations".to_owned(),
                    timed => format!("not the durations that the log has of {timed} requests: `evenkeel fit` suggests a law of them"),
                }
            ),
            "Times within a second: as logged; where the log has whole seconds, the k-th of the m requests of one \
             second is placed at (k + 0.5) / m of it."
                .into(),
            format!(
                "Bots: {} of {} lines are of clients whose agent names a robot ({}) or a tool ({}), or that asked \
                 for robots.txt ({}); robots that pose as browsers are taken for users.",
                self.bot_lines.total(),
                self.counts.valid,
                self.bot_lines.agent_name,
                self.bot_lines.tool,
                self.bot_lines.robots_txt
            ),
        ]);
        if self.host_names > 0 {
            sentences.push(format!(
                "Addresses: {} host names stand as made-up addresses of 240.0.0.0/4, which share no prefixes.",
                self.host_names
            ));
        }
        if self.requests_with_hashed_path > 0 {
            sentences.push(format!(
                "Paths: {} distinct ones are kept as text; {} requests for further ones are told apart by a hash, and a balancer \
                 that hashes paths sends them elsewhere than it would in truth.",
                self.paths, self.requests_with_hashed_path
            ));
        }
        if self.external_sort || self.counts.backward_steps > 0 {
            sentences.push(format!(
                "Order: {} lines went back in time, by up to {} s; they were sorted by time, and lines of one \
                 second keep the log's order.",
                self.counts.backward_steps, self.counts.backward_step_seconds_max
            ));
        }
        if self.counts.agents_cut > 0 {
            sentences.push(format!(
                "Agents: {} lines end within their user agent; what is left of it tells their clients apart.",
                self.counts.agents_cut
            ));
        }
        if self.counts.malformed > 0 {
            let reasons: Vec<_> = self
                .counts
                .malformed_by_reason
                .iter()
                .map(|(fault, lines)| format!("{fault} ({lines})"))
                .collect();
            sentences.push(format!(
                "Left out: {} of {} lines could not be read: {}.",
                self.counts.malformed,
                self.counts.lines,
                reasons.join(", ")
            ));
        }
        if self.counts.outside > 0 {
            sentences
                .push(format!("Left out: {} lines before or after the time asked for.", self.counts.outside));
        }
        sentences
    }

    fn users_sentence(&self) -> String {
        let Self { users, named_users, clients, addresses, sessions_by, .. } = self;
        match &**sessions_by {
            "address_agent" => format!(
                "Users: an address with one user agent is one client ({clients} clients on {addresses} addresses); \
                 users of one address with the same browser count as one."
            ),
            "address" => format!("Users: an address is one user ({users}), whatever its agents ({clients})."),
            by => format!(
                "Users: told apart by {by} ({named_users}); where a line has none, by address and agent ({}).",
                users - named_users
            ),
        }
    }

    /// What looks wrong with the log's times, one sentence each: what lies far from everything else is mostly a clock that
    /// was not set, and makes a long run of nothing.
    pub fn warnings(&self) -> Vec<String> {
        const GAP_MIN: u32 = 7 * 86_400;
        let (before, after) = self.longest_gap;
        let (gap, span) = (after - before, self.last_second - self.first_second);
        // A gap that is longer than all the rest.
        if gap < GAP_MIN || gap <= span / 2 {
            return Vec::new();
        }
        let [begin, end] = [before, after].map(format_time);
        vec![format!(
            "Times: nothing for {} days, from {begin} to {end}; the earliest line is {}, the latest {}. If a clock was wrong, \
             leave that part out with `from` or `until`.",
            gap / 86_400,
            self.first_line,
            self.last_line
        )]
    }

    /// The statistics as pairs of name and value, ready for printing; `log` is what the scenario calls the log.
    pub fn lines(&self, log: &str) -> Vec<(String, String)> {
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        let shares =
            |s: &TopShares| format!("{}, {}, {}", percent(s.top_1), percent(s.top_10), percent(s.top_100));
        let counts = |c: &CountSummary| {
            format!(
                "{}; mean {:.2}, p50 {}, p90 {}, p99 {}, max {}",
                c.number, c.mean, c.p50, c.p90, c.p99, c.max
            )
        };
        let LineCounts { lines, valid, malformed, empty, backward_steps, .. } = self.counts;
        let mut pairs = vec![
            ("format".to_owned(), self.formats.clone()),
            ("period".to_owned(), self.period()),
            ("lines".to_owned(), format!("{lines} ({valid} replayed, {malformed} malformed, {empty} empty)")),
            (
                "addresses, networks, clients".to_owned(),
                format!("{}, {}, {}", self.addresses, self.networks, self.clients),
            ),
            ("requests of the top 1, 10, 100 addresses".to_owned(), shares(&self.address_shares)),
            ("requests of the top 1, 10, 100 networks".to_owned(), shares(&self.network_shares)),
            ("addresses with requests".to_owned(), counts(&self.requests_per_address)),
            ("Gini coefficient of requests per address".to_owned(), format!("{:.3}", self.gini)),
            ("visits with requests".to_owned(), counts(&self.visits)),
            (
                "lines of bots".to_owned(),
                format!(
                    "{} ({})",
                    self.bot_lines.total(),
                    percent(self.bot_lines.total() as f64 / valid.max(1) as f64)
                ),
            ),
            (
                "backward steps".to_owned(),
                format!(
                    "{backward_steps}, largest {} s; {}",
                    self.counts.backward_step_seconds_max,
                    if self.external_sort {
                        "the reorder window did not suffice: sorted as a whole"
                    } else {
                        "within the reorder window"
                    }
                ),
            ),
        ];
        pairs.extend(
            self.counts
                .malformed_samples
                .iter()
                .map(|sample| ("malformed line".to_owned(), sample.to_string())),
        );
        pairs.into_iter().map(|(name, value)| (format!("{log}: {name}"), value)).collect()
    }

    /// The time that the log covers: `2016-02-20 05:00:45 UTC to 2016-03-28 18:59:20 UTC`.
    pub fn period(&self) -> String {
        format!("{} to {}", format_time(self.first_second), format_time(self.last_second))
    }
}

/// How many entities have each count.
#[derive(Debug, Default)]
pub(super) struct Counts {
    entities: BTreeMap<u64, u64>,
}

impl FromIterator<u64> for Counts {
    fn from_iter<I: IntoIterator<Item = u64>>(counts: I) -> Self {
        let mut all = Self::default();
        counts.into_iter().for_each(|count| all.add(count));
        all
    }
}

impl Counts {
    /// Adds an entity.
    pub fn add(&mut self, count: u64) {
        *self.entities.entry(count).or_default() += 1;
    }

    fn number(&self) -> u64 {
        self.entities.values().sum()
    }

    fn sum(&self) -> u64 {
        self.entities.iter().map(|(count, entities)| count * entities).sum()
    }

    pub fn summary(&self) -> CountSummary {
        let number = self.number();
        if number == 0 {
            return CountSummary::default();
        }
        // In integers: a rank must not depend on how 0.9 is rounded.
        let quantile = |percent: u64| {
            let rank = (u128::from(number) * u128::from(percent)).div_ceil(100);
            let mut seen = 0;
            let found = self.entities.iter().find(|&(_, &entities)| {
                seen += u128::from(entities);
                seen >= rank
            });
            found.map_or(0, |(&count, _)| count)
        };
        CountSummary {
            number,
            mean: self.sum() as f64 / number as f64,
            p50: quantile(50),
            p90: quantile(90),
            p99: quantile(99),
            max: quantile(100),
        }
    }

    /// With counts x in ascending order, 2 Σ i x_i / (n Σ x_i) - (n + 1) / n, i from 1.
    pub fn gini(&self) -> f64 {
        let (number, sum) = (u128::from(self.number()), u128::from(self.sum()));
        if sum == 0 {
            return 0.0;
        }
        let mut before = 0_u128;
        let mut ranked = 0_u128;
        for (&count, &entities) in &self.entities {
            let entities = u128::from(entities);
            // The sum of the ranks before + 1 to before + entities.
            ranked += u128::from(count) * (entities * before + entities * (entities + 1) / 2);
            before += entities;
        }
        (2 * ranked) as f64 / (number * sum) as f64 - (number + 1) as f64 / number as f64
    }

    pub fn top_shares(&self) -> TopShares {
        let sum = self.sum().max(1);
        let share = |most: u64| {
            let mut left = most;
            let top: u64 = self
                .entities
                .iter()
                .rev()
                .map(|(&count, &entities)| {
                    let taken = entities.min(left);
                    left -= taken;
                    count * taken
                })
                .sum();
            top as f64 / sum as f64
        };
        TopShares { top_1: share(1), top_10: share(10), top_100: share(100) }
    }
}

/// The part of the statistics that the tables of clients give.
pub(super) struct ClientStatistics {
    pub requests_by_address: Counts,
    pub requests_by_network: Counts,
    pub networks: u64,
    pub bot_lines: BotLines,
}

impl ClientStatistics {
    pub fn of(tables: &ClientTables) -> Self {
        let mut by_address = vec![0; tables.addresses.len()];
        let mut bot_lines = BotLines::default();
        for ((client, &requests), &address) in
            tables.clients.iter().zip(&tables.requests).zip(&tables.address_numbers)
        {
            by_address[address as usize] += requests;
            count_bot_lines(&mut bot_lines, client, requests);
        }
        let mut by_network: BTreeMap<IpAddr, u64> = BTreeMap::new();
        for (address, requests) in tables.addresses.iter().zip(&by_address) {
            *by_network.entry(network_of(*address)).or_default() += requests;
        }
        Self {
            networks: by_network.len() as u64,
            requests_by_address: by_address.into_iter().collect(),
            requests_by_network: by_network.into_values().collect(),
            bot_lines,
        }
    }
}

fn count_bot_lines(lines: &mut BotLines, client: &LogClient, requests: u64) {
    match client.bot {
        Some(BotReason::AgentName) => lines.agent_name += requests,
        Some(BotReason::Tool) => lines.tool += requests,
        Some(BotReason::RobotsTxt) => lines.robots_txt += requests,
        None => {}
    }
}

/// The first address of the /24 (IPv4) or /64 (IPv6) of `address`.
pub(in super::super) fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => IpAddr::V4((address.to_bits() & !0xFF).into()),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_nearest_rank() {
        let counts: Counts = (1..=10).collect();
        let summary = counts.summary();
        assert_eq!((summary.number, summary.p50, summary.p90, summary.p99, summary.max), (10, 5, 9, 10, 10));
        assert_eq!(summary.mean, 5.5);
        assert_eq!(Counts::default().summary(), CountSummary::default());
    }

    #[test]
    fn gini_is_zero_for_equals_and_grows_with_the_gap() {
        let gini = |counts: &[u64]| counts.iter().copied().collect::<Counts>().gini();
        assert_eq!(gini(&[]), 0.0);
        assert_eq!(gini(&[7, 7, 7, 7]), 0.0);
        // By hand: 2 (1·1 + 2·1 + 3·1 + 4·5) / (4 · 8) - 5/4 = 0.375.
        assert_eq!(gini(&[1, 5, 1, 1]), 0.375);
        assert_eq!(gini(&[0, 0, 0, 9]), 0.75);
    }

    #[test]
    fn top_shares_cut_through_equal_counts() {
        let shares = std::iter::repeat_n(1, 190).chain([10]).collect::<Counts>().top_shares();
        assert_eq!((shares.top_1, shares.top_10, shares.top_100), (0.05, 19.0 / 200.0, 109.0 / 200.0));
    }

    #[test]
    fn networks_are_24_bits_of_ipv4_and_64_of_ipv6() {
        let of = |text: &str| network_of(text.parse().expect("an address")).to_string();
        assert_eq!(of("192.0.2.77"), "192.0.2.0");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }
}

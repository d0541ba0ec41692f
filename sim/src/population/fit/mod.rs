//! What a log's users are like, as laws and as users to resample: the figures behind `evenkeel fit`.
//!
//! Two passes over the prepared records. Memory grows with the log's clients, not with its lines; of more than
//! [`USERS_MAX`] users a sample of their networks is kept, the busiest all.

mod laws;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use super::replay::{LogError, PreparedLog, network_of};
use super::users::{COLUMNS, VISITS_MAX};
use crate::engine::Empirical;

pub use laws::{Candidate, FittedLaw, Histogram, Measure, Tail, cumulative};

/// Users that are written out; of more, a sample.
pub const USERS_MAX: usize = 200_000;
/// Networks that belong to every sample: the busiest.
const BUSIEST_NETWORKS: usize = 2_000;
/// The share of addresses from which the tail index is estimated.
const TAIL_SHARE: f64 = 0.05;
/// Length of a log from which on its hours are told \[s\].
const HOURS_FROM_S: u32 = 7 * 86_400;
/// Buckets of a think time over its user's mean, for each factor of e.
const RATIO_BUCKETS: f64 = 20.0;

/// Name of the law of service times.
pub const SERVICE: &str = "service";

/// A log's users in laws.
#[derive(Debug)]
pub struct Fit {
    /// Laws of all that was counted.
    pub laws: Vec<FittedLaw>,
    /// The tail of requests per address.
    pub tail: Option<Tail>,
    /// Visits of people and of robots by the hour of the day in UTC at which they begin, if the log lasts a week at
    /// least: in a shorter one the hours that it has once more than others would pass for busy.
    pub hours: Option<[[u64; 24]; 2]>,
    /// Second of the day in UTC at which the log begins.
    pub starts_at_s: u32,
    /// Share of requests for static objects, 0 to 1.
    pub static_share: f64,
    /// Seconds from the first request to the last.
    pub span_s: u32,
    /// People, then robots; those there are.
    pub groups: Vec<Group>,
}

/// Users of one kind.
#[derive(Debug)]
pub struct Group {
    /// `people` or `robots`.
    pub name: &'static str,
    /// How many.
    pub users: u64,
    /// Their requests.
    pub requests: u64,
    /// Time between clicks of a user of mean pace \[s\]; `None` if nobody clicks twice.
    pub think: Option<Empirical>,
    /// The users, in the format of [`super::UserTable`].
    pub csv: String,
    /// Of how many networks one was written, beside the busiest; 1 if all were.
    pub sampled: u32,
}

/// One user while records go by.
#[derive(Clone, Debug, Default)]
struct User {
    latest: u32,
    /// Requests of the visit so far.
    clicks: u32,
    visits: u32,
    gaps: u64,
    gap_seconds: u64,
    robot: bool,
    /// Lengths of visits, if the user is written out.
    lengths: Option<Vec<u16>>,
}

/// Fits `log`.
///
/// # Errors
/// If the temporary file of records cannot be read back.
pub fn fit(log: &PreparedLog) -> Result<Fit, LogError> {
    let statistics = log.statistics();
    let gap_max = statistics.visit_gap_seconds;
    let requests = requests_by_client(log)?;
    let places = Places::of(log, &requests);
    let mut users = vec![User::default(); log.users()];
    for client in log.clients() {
        users[client.user as usize].robot |= client.is_bot();
    }
    for &(_, _, user) in &places.kept {
        users[user as usize].lengths = Some(Vec::new());
    }
    // By people and robots.
    let mut tallies = [Tally::default(), Tally::default()];
    let mut hours = [[0_u64; 24]; 2];
    let mut statics = 0_u64;
    for request in log.records() {
        let record = request?.record;
        let user = &mut users[log.clients()[record.client as usize].user as usize];
        let tally = &mut tallies[usize::from(user.robot)];
        tally.requests += 1;
        statics += u64::from(record.flags.static_object());
        let gap = record.second - user.latest.min(record.second);
        if user.clicks > 0 && gap <= gap_max {
            tally.think.add(gap.into());
            user.gaps += 1;
            user.gap_seconds += u64::from(gap);
            user.clicks += 1;
        } else {
            if user.clicks > 0 {
                tally.away.add(rounded(gap));
                user.end_visit(&mut tally.lengths);
            }
            user.clicks = 1;
            hours[usize::from(user.robot)][(record.second / 3_600 % 24) as usize] += 1;
        }
        user.latest = record.second;
    }
    for user in &mut users {
        let tally = &mut tallies[usize::from(user.robot)];
        user.end_visit(&mut tally.lengths);
        tally.users += 1;
        tally.visits.add(user.visits.into());
    }
    let ratios = think_ratios(log, &mut users, gap_max)?;
    let span_s = statistics.last_second - statistics.first_second + 1;
    let groups = ["people", "robots"].into_iter().zip(&tallies).zip(&ratios).enumerate();
    let groups = groups
        .filter(|(_, ((_, tally), _))| tally.users > 0)
        .map(|(robots, ((name, tally), ratios))| Group {
            name,
            users: tally.users,
            requests: tally.requests,
            think: think_law(ratios, &tally.think),
            csv: places.csv(&users, robots == 1, span_s),
            sampled: places.copies_max,
        })
        .collect();
    let requests = by_address(log, &requests);
    let tail = Tail::of(&requests, TAIL_SHARE);
    let [people, robots] = tallies;
    let mut laws = vec![
        FittedLaw::new("users_per_address", "users per address", Measure::Count, places.users_per_address()),
        FittedLaw::new(
            "addresses_per_network",
            "addresses per network",
            Measure::Count,
            places.addresses_per_network(),
        ),
        FittedLaw::new("requests_per_address", "requests per address", Measure::Count, requests),
        FittedLaw::new("visits_per_user", "visits per user (people)", Measure::Count, people.visits.into()),
        FittedLaw::new(
            "clicks_per_visit",
            "requests per visit (people)",
            Measure::Count,
            people.lengths.into(),
        ),
        FittedLaw::new("think", "seconds between requests (people)", Measure::Seconds, people.think.into()),
        FittedLaw::new("away", "seconds between visits (people)", Measure::Seconds, people.away.into()),
        FittedLaw::new(
            "clicks_per_visit_robots",
            "requests per visit (robots)",
            Measure::Count,
            robots.lengths.into(),
        ),
        FittedLaw::new(
            "think_robots",
            "seconds between requests (robots)",
            Measure::Seconds,
            robots.think.into(),
        ),
    ];
    let service = log.service_times().map(|times| {
        FittedLaw::new(
            SERVICE,
            "seconds of service (requests for other than static objects)",
            Measure::Micros { step: times.step },
            times.micros.clone(),
        )
    });
    laws.extend(service);
    Ok(Fit {
        laws,
        tail,
        hours: (span_s >= HOURS_FROM_S).then_some(hours),
        starts_at_s: statistics.first_second % 86_400,
        static_share: statics as f64 / log.requests().max(1) as f64,
        span_s,
        groups,
    })
}

impl User {
    /// Ends the visit that goes on, if there is one.
    fn end_visit(&mut self, tally: &mut Tallied) {
        if self.clicks == 0 {
            return;
        }
        self.visits += 1;
        tally.add(self.clicks.into());
        if let Some(lengths) = &mut self.lengths {
            // A length is 16 bits wide: what goes on for longer is several visits without a break.
            let whole = (self.clicks / u32::from(u16::MAX)) as usize;
            let rest = (self.clicks % u32::from(u16::MAX)) as u16;
            lengths.extend(std::iter::repeat_n(u16::MAX, whole).chain((rest > 0).then_some(rest)));
        }
        self.clicks = 0;
    }

    fn think_mean(&self) -> f64 {
        if self.gaps == 0 { 0.0 } else { self.gap_seconds as f64 / self.gaps as f64 }
    }
}

/// A time with two significant digits beyond a minute, so that there are few different ones.
fn rounded(seconds: u32) -> u64 {
    let step = u64::from((seconds / 100).max(1));
    u64::from(seconds) / step * step
}

/// How often each value occurs.
#[derive(Debug, Default)]
struct Tallied(BTreeMap<u64, u64>);

impl Tallied {
    fn add(&mut self, value: u64) {
        *self.0.entry(value).or_default() += 1;
    }
}

impl From<Tallied> for Histogram {
    fn from(tallied: Tallied) -> Self {
        tallied.0.into_iter().collect()
    }
}

#[derive(Debug, Default)]
struct Tally {
    users: u64,
    requests: u64,
    lengths: Tallied,
    think: Tallied,
    away: Tallied,
    visits: Tallied,
}

/// Think times over the mean of their user, by logarithm; zeros apart. For people and robots.
type Ratios = (u64, BTreeMap<i32, u64>);

fn think_ratios(log: &PreparedLog, users: &mut [User], gap_max: u32) -> Result<[Ratios; 2], LogError> {
    let mut ratios = [Ratios::default(), Ratios::default()];
    for user in users.iter_mut() {
        user.clicks = 0;
    }
    for request in log.records() {
        let record = request?.record;
        let user = &mut users[log.clients()[record.client as usize].user as usize];
        let gap = record.second - user.latest.min(record.second);
        if user.clicks > 0 && gap <= gap_max && user.gap_seconds > 0 {
            let (zeros, others) = &mut ratios[usize::from(user.robot)];
            if gap == 0 {
                *zeros += 1;
            } else {
                let ratio = f64::from(gap) / user.think_mean();
                *others.entry((libm::log(ratio) * RATIO_BUCKETS).floor() as i32).or_default() += 1;
            }
        }
        user.clicks = 1;
        user.latest = record.second;
    }
    Ok(ratios)
}

/// The law of think times of a user whose mean is that of all.
fn think_law((zeros, others): &Ratios, think: &Tallied) -> Option<Empirical> {
    let (number, sum) = think
        .0
        .iter()
        .fold((0, 0), |(number, sum), (&seconds, &count)| (number + count, sum + seconds * count));
    let mean = sum as f64 / number.max(1) as f64;
    let zero = (*zeros > 0).then_some((0.0, *zeros));
    let values = zero.into_iter().chain(
        others.iter().map(|(&bucket, &count)| (libm::exp((f64::from(bucket) + 0.5) / RATIO_BUCKETS), count)),
    );
    let shape = Empirical::from_counts(values).ok().filter(|law| law.mean() > 0.0)?;
    let scale = mean / shape.mean();
    // To the millisecond: a scenario's times are exact decimals.
    Empirical::new(shape.points().map(|(p, x)| (p, (x * scale * 1e3).round() / 1e3))).ok()
}

/// Who sits where, and who of them is written out.
struct Places {
    /// Number of network, number of address, user; sorted. Only those of networks that are written out.
    kept: Vec<(u32, u32, u32)>,
    /// By network that is kept: for how many it stands.
    copies: BTreeMap<u32, u32>,
    copies_max: u32,
    users_by_address: Tallied,
    addresses_by_network: Tallied,
}

impl Places {
    fn of(log: &PreparedLog, requests: &[u64]) -> Self {
        // A user's place is that of its first client; most have one.
        let mut placed = vec![false; log.users()];
        let mut of_user = vec![0; log.users()];
        for (client, requests) in log.clients().iter().zip(requests) {
            of_user[client.user as usize] += requests;
        }
        let mut users: Vec<(IpAddr, IpAddr, u32)> = Vec::with_capacity(log.users());
        for client in log.clients() {
            if !std::mem::replace(&mut placed[client.user as usize], true) {
                users.push((network_of(client.address), client.address, client.user));
            }
        }
        users.sort_unstable();
        let (mut users_by_address, mut addresses_by_network) = (Tallied::default(), Tallied::default());
        for address in users.chunk_by(|a, b| a.1 == b.1) {
            users_by_address.add(address.len() as u64);
        }
        let networks: Vec<&[(IpAddr, IpAddr, u32)]> = users.chunk_by(|a, b| a.0 == b.0).collect();
        for network in &networks {
            addresses_by_network.add(network.chunk_by(|a, b| a.1 == b.1).count() as u64);
        }
        let copies_max = u32::try_from(users.len().div_ceil(USERS_MAX)).unwrap_or(u32::MAX);
        let mut kept = Vec::new();
        let mut copies = BTreeMap::new();
        // The busiest networks stand for themselves; of the others one stands for `copies_max`.
        let busy = |at: usize| networks[at].iter().map(|&(.., user)| of_user[user as usize]).sum::<u64>();
        let mut by_load: Vec<(u64, usize)> = (0..networks.len()).map(|at| (busy(at), at)).collect();
        by_load.sort_unstable_by_key(|&(requests, at)| (std::cmp::Reverse(requests), at));
        let busiest = if copies_max == 1 { networks.len() } else { BUSIEST_NETWORKS.min(networks.len()) };
        let (own, rest) = by_load.split_at(busiest);
        let sampled = rest.iter().step_by(copies_max as usize).map(|&(_, at)| (at, copies_max));
        for (at, stands_for) in own.iter().map(|&(_, at)| (at, 1)).chain(sampled) {
            copies.insert(at as u32, stands_for);
            let mut address = 0;
            for (place, &(_, own, user)) in networks[at].iter().enumerate() {
                address += u32::from(place > 0 && networks[at][place - 1].1 != own);
                kept.push((at as u32, address, user));
            }
        }
        kept.sort_unstable();
        Self { kept, copies, copies_max, users_by_address, addresses_by_network }
    }

    fn users_per_address(&self) -> Histogram {
        self.users_by_address.0.iter().map(|(&value, &count)| (value, count)).collect()
    }

    fn addresses_per_network(&self) -> Histogram {
        self.addresses_by_network.0.iter().map(|(&value, &count)| (value, count)).collect()
    }

    /// The people or the robots, as a file of users. A user with n visits in the log comes n times in as much time.
    fn csv(&self, users: &[User], robots: bool, span_s: u32) -> String {
        let mut text = COLUMNS.join(",");
        text.push('\n');
        for &(network, address, number) in &self.kept {
            let user = &users[number as usize];
            let Some(lengths) =
                user.lengths.as_ref().filter(|lengths| user.robot == robots && !lengths.is_empty())
            else {
                continue;
            };
            let copies = self.copies[&network];
            let away = f64::from(span_s).max(user.gap_seconds as f64 + 1.0) - user.gap_seconds as f64;
            let (think, away) = (user.think_mean(), away / lengths.len() as f64);
            write!(text, "{network},{copies},{address},{think:.3},{away:.1},").expect("writing to a string");
            let mut runs = lengths[..lengths.len().min(VISITS_MAX)].to_vec();
            runs.sort_unstable();
            for (at, run) in runs.chunk_by(|a, b| a == b).enumerate() {
                let space = if at > 0 { " " } else { "" };
                match run.len() {
                    1 => write!(text, "{space}{}", run[0]),
                    many => write!(text, "{space}{}*{many}", run[0]),
                }
                .expect("writing to a string");
            }
            text.push('\n');
        }
        text
    }
}

fn requests_by_client(log: &PreparedLog) -> Result<Vec<u64>, LogError> {
    let mut by_client = vec![0; log.clients().len()];
    for request in log.records() {
        by_client[request?.record.client as usize] += 1;
    }
    Ok(by_client)
}

/// Requests per address.
fn by_address(log: &PreparedLog, by_client: &[u64]) -> Histogram {
    let mut clients: Vec<(IpAddr, u64)> =
        log.clients().iter().zip(by_client).map(|(client, &requests)| (client.address, requests)).collect();
    clients.sort_unstable();
    let mut tallied = Tallied::default();
    for address in clients.chunk_by(|a, b| a.0 == b.0) {
        tallied.add(address.iter().map(|(_, requests)| requests).sum());
    }
    tallied.into()
}

#[cfg(test)]
mod tests {
    use super::super::UserTable;
    use super::super::replay::{LogOptions, LogPreparation};
    use super::*;

    fn fitted(lines: &str) -> Fit {
        let mut preparation = LogPreparation::new(LogOptions::default());
        preparation.read("access.log", lines.as_bytes()).expect("a log");
        fit(&preparation.finish().expect("valid lines")).expect("records in memory")
    }

    fn line(second: u32, address: &str, path: &str, agent: &str) -> String {
        let (day, hour, minute) = (second / 86_400 + 1, second / 3_600 % 24, second / 60 % 60);
        format!(
            "{address} - - [{day:02}/Feb/2016:{hour:02}:{minute:02}:{:02} +0000] \"GET {path} HTTP/1.1\" 200 1 \"-\" \"{agent}\"\n",
            second % 60
        )
    }

    #[test]
    fn users_of_a_log_are_written_with_their_networks_visits_and_pace() {
        // Two people on one address, one neighbour, one robot; nine days.
        let text = [
            line(0, "192.0.2.1", "/", "A"),
            line(10, "192.0.2.1", "/a.css", "A"),
            line(40, "192.0.2.1", "/", "A"),
            line(700_000, "192.0.2.1", "/", "A"),
            line(5, "192.0.2.1", "/", "B"),
            line(7, "192.0.2.9", "/", "A"),
            line(9, "198.51.100.1", "/", "Googlebot"),
            line(109, "198.51.100.1", "/", "Googlebot"),
        ]
        .concat();
        let fit = fitted(&text);
        assert_eq!(fit.static_share, 1.0 / 8.0);
        assert_eq!(
            fit.groups.iter().map(|group| (group.name, group.users, group.requests)).collect::<Vec<_>>(),
            [("people", 3, 6), ("robots", 1, 2)]
        );
        assert_eq!(
            fit.groups[0].csv,
            "network,copies,address,think_s,away_s,visits\n0,1,0,20.000,349980.5,1 3\n0,1,0,0.000,700001.0,1\n\
             0,1,1,0.000,700001.0,1\n"
        );
        let table = UserTable::from_csv("users", fit.groups[0].csv.as_bytes()).expect("its own format");
        assert_eq!((table.users(), table.think_mean()), (3, 20.0));
        let law = |name: &str| fit.laws.iter().find(|law| law.name == name).expect("a law").data.clone();
        assert_eq!(law("users_per_address"), [(1, 2), (2, 1)]);
        assert_eq!(law("addresses_per_network"), [(1, 1), (2, 1)]);
        assert_eq!(law("requests_per_address"), [(1, 1), (2, 1), (5, 1)]);
        assert_eq!(law("clicks_per_visit"), [(1, 3), (3, 1)]);
        assert_eq!(law("think"), [(10, 1), (30, 1)]);
        assert_eq!(law("visits_per_user"), [(1, 2), (2, 1)]);
        let hours = fit.hours.expect("more than a week");
        assert_eq!((hours[0][0], hours[0][2], hours[1][0]), (3, 1, 1));
        let think = fit.groups[0].think.as_ref().expect("clicks");
        assert!((think.mean() - 20.0).abs() < 0.01, "{}", think.mean());
    }

    #[test]
    fn an_endless_visit_is_cut_into_lengths_of_sixteen_bits() {
        let mut user = User { clicks: 140_000, lengths: Some(Vec::new()), ..User::default() };
        let mut tally = Tallied::default();
        user.end_visit(&mut tally);
        assert_eq!(user.lengths, Some(vec![65_535, 65_535, 8_930]));
        assert_eq!((user.visits, tally.0.len()), (1, 1));
    }
}

//! Prequal (Wydrowski, Kleinberg, Rumble and Archer, "Load is not what you should balance: Introducing Prequal", NSDI 2024,
//! arXiv 2312.10172, section 4), with its asynchronous probes.
//!
//! With each request the proxy probes `probe_rate` servers drawn at random, each another; the answers, which hold the server's
//! requests in flight and what an answer took there lately at about that many, go to a pool that later requests choose from.
//! The choice is hot-cold lexicographic: a probe is hot if its requests in flight exceed the `q_rif` quantile of those
//! seen lately; among cold probes the fastest is taken, and if all are hot, the one with the fewest in flight. The probe taken
//! counts one request more from then on. A probe leaves the pool after `probe_lifetime`, after its uses (equation 1
//! of the paper, with delta 1, rounded at random), when the pool is full, and one a request is removed in turns: the oldest, and
//! the worst by the same order. With fewer than two probes the server is random.
//!
//! Departures: there is one client, the proxy, so its own count of requests in flight is the server's answer; probes are
//! answered at once, but used from the next request on; weights show only in which servers are probed; the latency reported
//! is the median of the five answers, of the last sixteen, whose requests in flight at their arrival were nearest; where
//! equation 1 has no solution (pools not smaller than the fleet) uses are not limited; a server that went out or was
//! tried is passed over in the pool.
//!
//! A pick costs three probes' medians and two looks through the pool, whatever the number of servers.

use super::sampler::WeightedServers;
use super::{ProxyRequest, ProxyServers};
use crate::balancer::{Balancer, OptionVisitor, Reason};
use crate::engine::{SimDuration, SimTime};
use crate::ids::ServerId;

/// Probes that the pool can hold: the paper's m.
const POOL_MAX: usize = 16;
/// Probes with a request at most.
const PROBE_RATE_MAX: u32 = 8;
/// Answers that a server remembers.
const MEMORY: usize = 16;
/// Answers of which the median is reported.
const NEAREST: usize = 5;
/// Probes of which the quantile of requests in flight is taken.
const RECENT: usize = 128;
/// The paper's r_remove: probes removed with a request.
const REMOVE_RATE: f64 = 1.0;

/// Prequal.
#[derive(Clone, Debug)]
pub struct Prequal {
    /// Probes with each request, at least 1.
    probe_rate: u32,
    /// Quantile of requests in flight beyond which a probe is hot; 0 chooses by requests in flight, 1 by latency.
    q_rif: f64,
    /// How long a probe may be used.
    probe_lifetime: SimDuration,
    servers: WeightedServers,
    /// By server.
    answers: Vec<Answers>,
    /// Oldest first.
    pool: Vec<Probe>,
    /// Boxed, so that the other algorithms need not be as large as it.
    recent: Box<RecentLoads>,
    /// Whether the next removal is of the worst, else of the oldest.
    worst_next: bool,
}

impl Default for Prequal {
    /// The paper's values: 3 probes, quantile 2^-0.25, 1 s; its pool of 16 and one removal a request are constants above.
    fn default() -> Self {
        Self {
            probe_rate: 3,
            q_rif: 0.84,
            probe_lifetime: SimDuration::from_secs(1),
            servers: WeightedServers::default(),
            answers: Vec::new(),
            pool: Vec::with_capacity(POOL_MAX),
            recent: Box::default(),
            worst_next: false,
        }
    }
}

/// What a probe found.
#[derive(Clone, Copy, Debug)]
struct Probe {
    server: ServerId,
    in_flight: u32,
    latency: SimDuration,
    at: SimTime,
    /// Requests that it may still be used for.
    uses: u32,
}

/// The last answers of a server: requests in flight at arrival, and the time taken.
#[derive(Clone, Copy, Debug, Default)]
struct Answers {
    last: [(u32, SimDuration); MEMORY],
    count: u32,
    /// What was reported last, at how many requests in flight; `None` after a new answer.
    reported: Option<(u32, SimDuration)>,
}

impl Answers {
    #[inline]
    fn add(&mut self, in_flight: u32, took: SimDuration) {
        self.reported = None;
        self.last[self.count as usize % MEMORY] = (in_flight, took);
        // Beyond one round only the place matters, so the count may fall back by whole rounds.
        self.count = if self.count == u32::MAX { MEMORY as u32 - 1 } else { self.count + 1 };
    }

    /// The median answer at about `in_flight`; zero if there was none, which makes an unknown server worth a try.
    #[inline]
    fn latency_at(&mut self, in_flight: u32) -> SimDuration {
        match self.reported {
            Some((at, latency)) if at == in_flight => latency,
            _ => {
                let latency = self.median_near(in_flight);
                self.reported = Some((in_flight, latency));
                latency
            }
        }
    }

    fn median_near(&self, in_flight: u32) -> SimDuration {
        // Distance above time in one number: choosing the lesser of two such takes no branch, which would be guessed wrong
        // every other time.
        let mut nearest = [u128::MAX; NEAREST];
        let known = &self.last[..(self.count as usize).min(MEMORY)];
        for &(at, took) in known {
            let mut entry = u128::from(at.abs_diff(in_flight)) << 64 | u128::from(took.0);
            for place in &mut nearest {
                (*place, entry) = ((*place).min(entry), (*place).max(entry));
            }
        }
        let mut times = nearest.map(|entry| SimDuration(entry as u64));
        let found = &mut times[..known.len().min(NEAREST)];
        found.sort_unstable();
        found.get(found.len() / 2).copied().unwrap_or(SimDuration::ZERO)
    }
}

/// Requests in flight that the last probes found, as a histogram.
#[derive(Clone, Debug)]
struct RecentLoads {
    last: [u32; RECENT],
    count: usize,
    /// How many of them found so many; the last place takes all that found more.
    histogram: [u32; RecentLoads::LEVELS],
}

impl Default for RecentLoads {
    fn default() -> Self {
        Self { last: [0; RECENT], count: 0, histogram: [0; Self::LEVELS] }
    }
}

impl RecentLoads {
    const LEVELS: usize = 256;

    #[inline]
    fn add(&mut self, in_flight: u32) {
        let level = in_flight.min(Self::LEVELS as u32 - 1);
        let place = &mut self.last[self.count % RECENT];
        if self.count >= RECENT {
            self.histogram[*place as usize] -= 1;
        }
        *place = level;
        self.histogram[level as usize] += 1;
        self.count += 1;
    }

    /// The quantile `q`.
    #[inline]
    fn quantile(&self, q: f64) -> u32 {
        let wanted = q * self.count.min(RECENT) as f64;
        let mut sum = 0;
        for (level, &count) in (0..).zip(&self.histogram) {
            sum += count;
            if f64::from(sum) >= wanted && sum > 0 {
                return level;
            }
        }
        0
    }
}

/// The hot-cold lexicographic order: less is better.
#[inline]
fn rank(probe: &Probe, hot_above: u32) -> (bool, u64) {
    let hot = probe.in_flight > hot_above;
    (hot, if hot { probe.in_flight.into() } else { probe.latency.0 })
}

impl Prequal {
    /// How often a probe may be used: equation 1, rounded up or down by `unit`, a uniform number.
    fn uses(&self, unit: f64) -> u32 {
        let pool_share = POOL_MAX as f64 / self.servers.len() as f64;
        let arriving = (1.0 - pool_share) * f64::from(self.probe_rate) - REMOVE_RATE;
        if arriving <= 0.0 {
            return u32::MAX;
        }
        let uses = (2.0 / arriving).max(1.0);
        uses as u32 + u32::from(unit < uses.fract())
    }

    fn remove_one(&mut self, hot_above: u32) {
        if self.pool.is_empty() {
            return;
        }
        let worst = || (0..self.pool.len()).max_by_key(|&at| rank(&self.pool[at], hot_above)).unwrap_or(0);
        let at = if self.worst_next { worst() } else { 0 };
        self.pool.remove(at);
        self.worst_next = !self.worst_next;
    }
}

impl Balancer for Prequal {
    type Servers = ProxyServers;
    type Request = ProxyRequest;

    #[inline]
    fn pick(&mut self, servers: &mut ProxyServers, request: &mut ProxyRequest) -> Option<ServerId> {
        request.reason = Reason::Scheduled { tie: false };
        let (now, lifetime) = (request.now, self.probe_lifetime);
        self.pool.retain(|probe| now.since(probe.at) < lifetime && probe.uses > 0);
        let hot_above = self.recent.quantile(self.q_rif);
        let usable = |probe: &Probe| servers.passed_over(probe.server, request).is_none();
        let best = (0..self.pool.len())
            .filter(|&at| usable(&self.pool[at]))
            .min_by_key(|&at| rank(&self.pool[at], hot_above))
            .filter(|_| self.pool.len() >= 2);
        let mut draws = servers.draws(request);
        let picked = match best {
            Some(at) => {
                let probe = &mut self.pool[at];
                probe.in_flight += 1;
                probe.uses = probe.uses.saturating_sub(1);
                Some(probe.server)
            }
            None => self.servers.other(&mut draws, request, &[]).or_else(|| servers.first_usable(request)),
        };
        self.remove_one(hot_above);
        let mut probed = [ServerId(0); PROBE_RATE_MAX as usize];
        let rate = self.probe_rate.min(self.servers.len() as u32) as usize;
        for number in 0..rate {
            let Some(server) = self.servers.other(&mut draws, request, &probed[..number]) else { break };
            probed[number] = server;
            let in_flight = servers.in_flight(server);
            self.recent.add(in_flight);
            let latency = self.answers[server.index()].latency_at(in_flight);
            let uses = self.uses(draws.uniform());
            if self.pool.len() == POOL_MAX {
                self.pool.remove(0);
            }
            self.pool.push(Probe { server, in_flight, latency, at: now, uses });
        }
        picked
    }

    fn servers_changed(&mut self, servers: &ProxyServers) {
        self.servers.rebuild(servers);
        self.answers.resize(servers.len(), Answers::default());
    }

    #[inline]
    fn ended(&mut self, _servers: &ProxyServers, request: &ProxyRequest) {
        if let Some(server) = request.tried().last() {
            self.answers[server.index()].add(request.found(), request.elapsed());
        }
    }

    fn options(&mut self, visitor: &mut dyn OptionVisitor) {
        visitor.whole("probe_rate", &mut self.probe_rate, 1, PROBE_RATE_MAX);
        visitor.number("q_rif", &mut self.q_rif, 0.0, 1.0);
        visitor.duration("probe_lifetime", &mut self.probe_lifetime, SimDuration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{numbered, table_of};
    use super::*;

    fn ms(millis: u64) -> SimDuration {
        SimDuration::from_millis(millis)
    }

    #[test]
    fn a_server_reports_the_median_of_answers_at_about_its_load() {
        let mut answers = Answers::default();
        assert_eq!(answers.latency_at(3), SimDuration::ZERO);
        for in_flight in 0..20 {
            answers.add(in_flight, ms(10 * u64::from(in_flight)));
        }
        assert_eq!(answers.latency_at(10), ms(100));
        assert_eq!(answers.latency_at(0), ms(60), "the first four are forgotten");
    }

    #[test]
    fn cold_probes_go_by_latency_and_hot_ones_by_load() {
        let probe = |in_flight, latency| Probe {
            server: ServerId(0),
            in_flight,
            latency: ms(latency),
            at: SimTime::ZERO,
            uses: 1,
        };
        let order = [probe(4, 10), probe(1, 20), probe(5, 90), probe(9, 5)];
        assert!(order.windows(2).all(|pair| rank(&pair[0], 4) < rank(&pair[1], 4)));
    }

    #[test]
    fn the_quantile_is_that_of_the_last_probes() {
        let mut recent = RecentLoads::default();
        (0..1_000).for_each(|_| recent.add(900));
        (0..RECENT as u32).for_each(|number| recent.add(number % 10));
        assert_eq!((recent.quantile(0.0), recent.quantile(0.5), recent.quantile(1.0)), (0, 4, 9));
    }

    #[test]
    fn uses_follow_equation_1() {
        let mut balancer = Prequal::default();
        balancer.servers_changed(&table_of((0..100).map(|i| (format!("s{i}:1"), 1))));
        // (1 + 1) / ((1 - 16 / 100) 3 - 1) = 1.316.
        assert_eq!((balancer.uses(0.31), balancer.uses(0.32)), (2, 1));
        balancer.servers_changed(&table_of((0..16).map(|i| (format!("s{i}:1"), 1))));
        assert_eq!(balancer.uses(0.5), u32::MAX);
    }

    #[test]
    fn servers_that_became_slow_are_avoided() {
        let mut servers = table_of((0..30).map(|i| (format!("s{i}:1"), 1)));
        let mut balancer = Prequal::default();
        balancer.servers_changed(&servers);
        let mut slow = 0;
        for number in 0..3_000 {
            let mut request = numbered(number);
            request.set_clock(SimTime::from_millis(100 * number));
            let server = balancer.pick(&mut servers, &mut request).expect("all are usable");
            servers.begin_try(&mut request, server);
            // A third of them is ten times slower.
            request.set_clock(SimTime::from_millis(100 * number + if server.0 < 10 { 50 } else { 5 }));
            servers.end_try(&request, Some(200));
            balancer.ended(&servers, &request);
            slow += u32::from(server.0 < 10);
        }
        assert!(slow < 300, "{slow} of 3,000, where a random choice would give 1,000");
    }
}

//! Envoy's `least_request` (`least_request/least_request_lb.cc`, commit 0a31a54; the schedule:
//! `source/common/upstream/edf_scheduler.h`).
//!
//! With equal weights: of `choice_count` servers drawn uniformly, with replacement, the one with the fewest requests in
//! flight, the first drawn among equals. With unequal ones: earliest deadline first. Each server comes due again
//! `1 / w` after its last turn, where w is its weight over `(requests in flight + 1) ^ active_request_bias` at that time,
//! not at the time of the next turn.
//!
//! Departures: a retry passes over servers tried in the request, as Envoy does with the host predicate
//! `previous_hosts`; the schedule begins with everyone due after `1 / weight` in order of configuration, where Envoy first
//! makes a random number of picks; `selection_method` is always `N_CHOICES`.
//!
//! Slow start (`source/extensions/load_balancing_policies/common/load_balancer_impl.cc`, `applySlowStartFactor` and
//! `noHostsAreInSlowStart`): for `slow_start_window` after it came back, a server's weight is multiplied by the share of
//! the window that has gone by to the power `1 / aggression`, at least by `min_weight_percent`; and the schedule is used for
//! equal weights, too, until the servers change again. Departure: servers that were there from the start need none.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::balancer::modern::{ProxyRequest, ProxyServers};
use crate::balancer::{Balancer, OptionVisitor, Reason};
use crate::engine::{SimDuration, SimTime};
use crate::ids::ServerId;

/// Choices at most.
const CHOICES_MAX: u32 = 64;

/// Least request.
#[derive(Clone, Debug)]
pub struct LeastRequest {
    /// Servers drawn for a pick; Envoy takes 2 or more.
    choice_count: u32,
    /// How much requests in flight count when weights differ; 0 makes it plain weighted round robin.
    active_request_bias: f64,
    slow_start: SlowStart,
    /// Empty while all weights are equal and nobody starts slowly.
    schedule: Schedule,
}

/// How a server that came back gets its share (`slow_start_config`).
#[derive(Clone, Copy, Debug)]
struct SlowStart {
    /// How long it takes; zero is off.
    window: SimDuration,
    /// Above 1 the share grows fast at first, below 1 slowly.
    aggression: f64,
    /// Share at the least \[percent\].
    min_weight_percent: f64,
}

impl SlowStart {
    /// What a server's weight is multiplied by.
    #[inline]
    fn factor(&self, servers: &ProxyServers, server: ServerId, now: SimTime) -> f64 {
        let Some(since) = servers.back_since(server) else { return 1.0 };
        let age = now.since(since);
        if age >= self.window {
            return 1.0;
        }
        let share = age.0.max(1_000_000) as f64 / self.window.0 as f64;
        let share = if self.aggression == 1.0 { share } else { libm::pow(share, 1.0 / self.aggression) };
        share.max(self.min_weight_percent / 100.0).min(1.0)
    }
}

impl Default for LeastRequest {
    fn default() -> Self {
        let slow_start = SlowStart { window: SimDuration::ZERO, aggression: 1.0, min_weight_percent: 10.0 };
        Self { choice_count: 2, active_request_bias: 1.0, slow_start, schedule: Schedule::default() }
    }
}

/// Envoy's `EdfScheduler`.
#[derive(Clone, Debug, Default)]
struct Schedule {
    turns: BinaryHeap<Reverse<Turn>>,
    /// Deadline of the last turn.
    now: f64,
    /// Turns given out, which orders equal deadlines.
    given: u64,
}

/// When a server is due.
#[derive(Clone, Copy, Debug)]
struct Turn {
    deadline: f64,
    number: u64,
    server: ServerId,
}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        self.deadline.total_cmp(&other.deadline).then(self.number.cmp(&other.number))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Turn {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Turn {}

impl Schedule {
    fn clear(&mut self) {
        self.turns.clear();
        (self.now, self.given) = (0.0, 0);
    }

    /// Puts a server in the line for its next turn.
    #[inline]
    fn add(&mut self, server: ServerId, weight: f64) {
        let turn = Turn { deadline: self.now + 1.0 / weight, number: self.given, server };
        self.given += 1;
        self.turns.push(Reverse(turn));
    }

    #[inline]
    fn next(&mut self) -> Option<ServerId> {
        let Reverse(turn) = self.turns.pop()?;
        self.now = turn.deadline;
        Some(turn.server)
    }
}

impl LeastRequest {
    /// A server's weight for the schedule (`hostWeight`).
    #[inline]
    fn host_weight(&self, servers: &ProxyServers, server: ServerId, now: SimTime) -> f64 {
        let (weight, active) =
            (f64::from(servers.weight(server)), f64::from(servers.in_flight(server)) + 1.0);
        let bias = self.active_request_bias;
        let dynamic = if bias == 1.0 {
            weight / active
        } else if bias == 0.0 {
            weight
        } else {
            weight / libm::pow(active, bias)
        };
        dynamic * self.slow_start.factor(servers, server, now)
    }
}

impl Balancer for LeastRequest {
    type Servers = ProxyServers;
    type Request = ProxyRequest;

    #[inline]
    fn pick(&mut self, servers: &mut ProxyServers, request: &mut ProxyRequest) -> Option<ServerId> {
        request.reason = Reason::Scheduled { tie: false };
        for _ in 0..self.schedule.turns.len() {
            let server = self.schedule.next()?;
            let weight = self.host_weight(servers, server, request.now);
            self.schedule.add(server, weight);
            if !request.tried().contains(&server) {
                return Some(server);
            }
        }
        let usable = servers.usable();
        let mut draws = servers.draws(request);
        let mut best: Option<ServerId> = None;
        for _ in 0..self.choice_count {
            let at = (u128::from(draws.bits()) * usable.len() as u128) >> 64;
            let server = *usable.get(at as usize)?;
            let fewer = |best| servers.in_flight(server) < servers.in_flight(best);
            if !request.tried().contains(&server) && best.is_none_or(fewer) {
                best = Some(server);
            }
        }
        best.or_else(|| servers.first_usable(request))
    }

    fn servers_changed(&mut self, servers: &ProxyServers) {
        self.schedule.clear();
        let (usable, now) = (servers.usable(), servers.changed());
        let unequal = usable.windows(2).any(|pair| servers.weight(pair[0]) != servers.weight(pair[1]));
        let starts =
            |&server| servers.back_since(server).is_some_and(|at| now.since(at) < self.slow_start.window);
        if unequal || usable.iter().any(starts) {
            for &server in usable {
                let weight = self.host_weight(servers, server, now);
                self.schedule.add(server, weight);
            }
        }
    }

    fn options(&mut self, visitor: &mut dyn OptionVisitor) {
        visitor.whole("choice_count", &mut self.choice_count, 2, CHOICES_MAX);
        visitor.number("active_request_bias", &mut self.active_request_bias, 0.0, 100.0);
        let slow_start = &mut self.slow_start;
        visitor.duration("slow_start_window", &mut slow_start.window, SimDuration::ZERO);
        visitor.number("aggression", &mut slow_start.aggression, 0.01, 100.0);
        visitor.number("min_weight_percent", &mut slow_start.min_weight_percent, 0.01, 100.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::modern::fixture::{numbered, table_of};

    fn picks(bias: f64, hold: bool, count: u64) -> Vec<u32> {
        let mut servers = table_of([("a:1".into(), 1), ("b:1".into(), 2), ("c:1".into(), 3)]);
        let mut balancer = LeastRequest { active_request_bias: bias, ..LeastRequest::default() };
        balancer.servers_changed(&servers);
        let mut picked = vec![0; 3];
        for number in 0..count {
            let mut request = numbered(number);
            let server = balancer.pick(&mut servers, &mut request).expect("all are usable");
            picked[server.index()] += 1;
            if hold && server.0 == 2 {
                servers.begin_try(&mut request, server);
            }
        }
        picked
    }

    #[test]
    fn unequal_weights_of_idle_servers_are_shares() {
        for bias in [0.0, 0.5, 1.0] {
            let picked = picks(bias, false, 600);
            assert!(picked.iter().zip([100_u32, 200, 300]).all(|(p, expected)| p.abs_diff(expected) <= 1));
        }
    }

    #[test]
    fn a_server_that_came_back_grows_into_its_share() {
        let mut servers = table_of((0..4).map(|i| (format!("s{i}:1"), 1)));
        let slow_start =
            SlowStart { window: SimDuration::from_secs(100), aggression: 1.0, min_weight_percent: 10.0 };
        let mut balancer = LeastRequest { slow_start, active_request_bias: 0.0, ..LeastRequest::default() };
        balancer.servers_changed(&servers);
        for removed in [true, false] {
            servers.set_removed(SimTime::ZERO, ServerId(2), removed);
            balancer.servers_changed(&servers);
        }
        let mut share_at = |second: u64| {
            let mut picked = 0;
            for number in 0..1_000 {
                let mut request = numbered(number);
                request.set_clock(SimTime::from_millis(1_000 * second));
                picked += u32::from(balancer.pick(&mut servers, &mut request) == Some(ServerId(2)));
            }
            f64::from(picked) / 1_000.0
        };
        // Of a total of 3 and the server's factor: 0.1 at least, 0.5 in the middle, 1 at the end. A turn that was given
        // out before the time was set shows as a few picks.
        for (second, factor) in [(1, 0.1), (50, 0.5), (100, 1.0), (1_000, 1.0)] {
            let (share, expected) = (share_at(second), factor / (3.0 + factor));
            assert!((share - expected).abs() < 0.006, "{second} s: {share} against {expected}");
        }
    }

    #[test]
    fn the_bias_says_how_much_load_counts() {
        let heaviest = [0.0, 0.5, 1.0, 2.0].map(|bias| picks(bias, true, 600)[2]);
        assert!(heaviest[0] >= 299, "{heaviest:?}");
        assert!(heaviest.windows(2).all(|pair| pair[0] > pair[1]), "{heaviest:?}");
    }
}

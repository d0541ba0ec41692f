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
//! makes a random number of picks; `selection_method` is always `N_CHOICES`; slow start is not modelled.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::balancer::modern::{ProxyRequest, ProxyServers};
use crate::balancer::{Balancer, OptionVisitor, Reason};
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
    /// Empty while all weights are equal.
    schedule: Schedule,
}

impl Default for LeastRequest {
    fn default() -> Self {
        Self { choice_count: 2, active_request_bias: 1.0, schedule: Schedule::default() }
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

/// A server's weight for the schedule (`hostWeight`).
#[inline]
fn host_weight(servers: &ProxyServers, server: ServerId, bias: f64) -> f64 {
    let (weight, active) = (f64::from(servers.weight(server)), f64::from(servers.in_flight(server)) + 1.0);
    if bias == 1.0 {
        weight / active
    } else if bias == 0.0 {
        weight
    } else {
        weight / libm::pow(active, bias)
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
            self.schedule.add(server, host_weight(servers, server, self.active_request_bias));
            if !request.tried().contains(&server) {
                return Some(server);
            }
        }
        let usable = servers.usable();
        let mut draws = servers.draws(request);
        let mut best: Option<ServerId> = None;
        for _ in 0..self.choice_count {
            let at = (u128::from(draws.bits()) * usable.len() as u128) >> 64;
            let Some(&server) = usable.get(at as usize) else { return None };
            let fewer = |best| servers.in_flight(server) < servers.in_flight(best);
            if !request.tried().contains(&server) && best.is_none_or(fewer) {
                best = Some(server);
            }
        }
        best.or_else(|| servers.first_usable(request))
    }

    fn servers_changed(&mut self, servers: &ProxyServers) {
        self.schedule.clear();
        let weight = |&server| servers.weight(server);
        let usable = servers.usable();
        if usable.windows(2).any(|pair| weight(&pair[0]) != weight(&pair[1])) {
            for &server in usable {
                self.schedule.add(server, host_weight(servers, server, self.active_request_bias));
            }
        }
    }

    fn options(&mut self, visitor: &mut dyn OptionVisitor) {
        visitor.whole("choice_count", &mut self.choice_count, 2, CHOICES_MAX);
        visitor.number("active_request_bias", &mut self.active_request_bias, 0.0, 100.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::modern::properties::{numbered, table_of};

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
    fn the_bias_says_how_much_load_counts() {
        let heaviest = [0.0, 0.5, 1.0, 2.0].map(|bias| picks(bias, true, 600)[2]);
        assert!(heaviest[0] >= 299, "{heaviest:?}");
        assert!(heaviest.windows(2).all(|pair| pair[0] > pair[1]), "{heaviest:?}");
    }
}

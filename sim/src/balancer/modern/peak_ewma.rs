//! Peak EWMA with two choices (Finagle's `PeakEwma.scala` and `P2C.scala`; tower's `tower/src/load/peak_ewma.rs`, commit
//! 0032923, from which this follows, and its `p2c` balance).
//!
//! Each server has an estimate of its response time: an answer slower than it replaces it at once; a faster one pulls it
//! down, with weight `1 - exp(-t / decay)`, t being the time since the last change. Looking at the estimate lets it
//! decay towards 0 in the same way, so that a server that was slow is tried again. The cost of a server is the estimate
//! times the requests in flight with this one. Of two different servers drawn at random the cheaper is taken.
//!
//! A server that has not answered yet is thought to take `default_rtt`, as in tower, whose documentation has it at 1 s (Linkerd's
//! proxy sets 30 ms). Finagle, at 1e8497ea, has no such figure: a server without an estimate costs nothing while it is idle,
//! and a penalty beyond any estimate while its first request is under way.
//!
//! Departures: servers are drawn in proportion to their weights, which tower has not; the cost knows no weight. A try that
//! ended without an answer counts as a response time like any other, as in both, so a server that refuses at once looks fast
//! until it is ejected; a client that goes away does not count.

use super::sampler::WeightedServers;
use super::{ProxyRequest, ProxyServers};
use crate::balancer::{Balancer, OptionVisitor, Reason};
use crate::engine::{SimDuration, SimTime};
use crate::ids::ServerId;

/// The cheaper of two.
#[derive(Clone, Debug)]
pub struct PeakEwma {
    /// Time in which an estimate loses all but 1/e of its distance to what is observed.
    decay: SimDuration,
    /// The estimate of a server that has not answered yet.
    default_rtt: SimDuration,
    servers: WeightedServers,
    /// By server.
    estimates: Vec<Estimate>,
}

impl Default for PeakEwma {
    /// Finagle's decay (`Balancers.p2cPeakEwma`), and tower's figure for a server that is not known.
    fn default() -> Self {
        Self {
            decay: SimDuration::from_secs(10),
            default_rtt: SimDuration::from_secs(1),
            servers: WeightedServers::default(),
            estimates: Vec::new(),
        }
    }
}

/// A response time, and when it was last changed.
#[derive(Clone, Copy, Debug)]
struct Estimate {
    rtt_ns: f64,
    updated: SimTime,
}

impl Estimate {
    /// Takes in a response time that was seen at `now`; 0 only lets the estimate decay.
    #[inline]
    fn update(&mut self, now: SimTime, rtt: SimDuration, decay: SimDuration) -> f64 {
        let rtt_ns = rtt.0 as f64;
        if self.rtt_ns < rtt_ns {
            self.rtt_ns = rtt_ns;
        } else {
            let kept = libm::exp(-(now.since(self.updated).0 as f64) / decay.0 as f64);
            self.rtt_ns = self.rtt_ns * kept + rtt_ns * (1.0 - kept);
        }
        self.updated = now;
        self.rtt_ns
    }
}

impl PeakEwma {
    #[inline]
    fn cost(&mut self, servers: &ProxyServers, server: ServerId, now: SimTime) -> f64 {
        let rtt_ns = self.estimates[server.index()].update(now, SimDuration::ZERO, self.decay);
        rtt_ns * (f64::from(servers.in_flight(server)) + 1.0)
    }
}

impl Balancer for PeakEwma {
    type Servers = ProxyServers;
    type Request = ProxyRequest;

    #[inline]
    fn pick(&mut self, servers: &mut ProxyServers, request: &mut ProxyRequest) -> Option<ServerId> {
        request.reason = Reason::Scheduled { tie: false };
        let mut draws = servers.draws(request);
        let Some(one) = self.servers.other(&mut draws, request, &[]) else {
            return servers.first_usable(request);
        };
        if self.servers.len() <= request.tried().len() + 1 {
            return Some(one);
        }
        let Some(other) = self.servers.other(&mut draws, request, &[one]) else { return Some(one) };
        let cheaper = self.cost(servers, other, request.now) < self.cost(servers, one, request.now);
        Some(if cheaper { other } else { one })
    }

    fn servers_changed(&mut self, servers: &ProxyServers) {
        self.servers.rebuild(servers);
        let unknown = Estimate { rtt_ns: self.default_rtt.0 as f64, updated: SimTime::ZERO };
        self.estimates.resize(servers.len(), unknown);
    }

    #[inline]
    fn ended(&mut self, _servers: &ProxyServers, request: &ProxyRequest) {
        if let Some(server) = request.tried().last() {
            self.estimates[server.index()].update(request.now, request.elapsed(), self.decay);
        }
    }

    fn options(&mut self, visitor: &mut dyn OptionVisitor) {
        let shortest = SimDuration::from_millis(1);
        visitor.duration("decay", &mut self.decay, shortest);
        visitor.duration("default_rtt", &mut self.default_rtt, shortest);
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{numbered, table_of};
    use super::*;

    fn ms(millis: u64) -> SimTime {
        SimTime::from_millis(millis)
    }

    #[test]
    fn an_estimate_decays_as_in_tower() {
        // tower's test `compound_decay`, whose loads are these estimates times the requests in flight.
        let decay = SimDuration::from_secs(1);
        let mut estimate = Estimate { rtt_ns: 20e6, updated: ms(0) };
        for now in [100, 200, 300] {
            estimate.update(ms(now), SimDuration::ZERO, decay);
        }
        assert!(estimate.rtt_ns < 20e6 * 0.75);
        assert_eq!(estimate.update(ms(300), SimDuration::from_millis(200), decay), 200e6);
        let lower = estimate.update(ms(1_300), SimDuration::ZERO, decay);
        assert!((lower / 200e6 - libm::exp(-1.0)).abs() < 1e-12);
    }

    #[test]
    fn a_slow_server_gets_less_and_is_tried_again() {
        let mut servers = table_of((0..4).map(|i| (format!("s{i}:1"), 1)));
        let mut balancer = PeakEwma::default();
        balancer.servers_changed(&servers);
        // One request after the other; the first server takes 300 ms, the others 10 ms.
        let (mut now, mut slow) = (SimTime::ZERO, Vec::new());
        for number in 0..2_000 {
            let mut request = numbered(number);
            request.set_clock(now);
            let server = balancer.pick(&mut servers, &mut request).expect("all are usable");
            servers.begin_try(&mut request, server);
            now = now + SimDuration::from_millis(if server.0 == 0 { 300 } else { 10 });
            request.set_clock(now);
            servers.end_try(&request, Some(200));
            balancer.ended(&servers, &request);
            if server.0 == 0 {
                slow.push(number);
            }
        }
        // Two choices alone would give it a quarter.
        assert!(slow.len() < 100, "{}", slow.len());
        assert!(slow.last().is_some_and(|&number| number > 1_000), "it must be tried again");
    }
}

//! The power of d choices (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", IEEE TPDS 12(10), 2001;
//! the supermarket model).
//!
//! Of d servers drawn at random the one with the fewest requests in flight per unit of weight is taken, the first drawn
//! among equals, which is a fair tie-break since the order of the draws is random. With unequal weights servers are
//! drawn in proportion to them, so an idle cluster honours them too (HAProxy's `random(<d>)` does the same; Mitzenmacher's
//! servers are equal).
//!
//! Without replacement, the default, no server is drawn twice: the published table was made so. With it, d draws may
//! meet the same server. Envoy's `least_request` is [`crate::balancer::envoy`]'s.

use super::sampler::WeightedServers;
use super::{ProxyRequest, ProxyServers, TRIES_MAX};
use crate::balancer::{Balancer, OptionVisitor, Reason};
use crate::ids::ServerId;

/// Largest d. Beyond a handful nothing is gained over looking at all servers.
const CHOICES_MAX: u32 = 16;

/// The least loaded of d.
#[derive(Clone, Debug)]
pub struct PowerOfD {
    /// Servers drawn for a pick, at least 1.
    d: u32,
    /// Whether a server may be drawn twice.
    replacement: bool,
    servers: WeightedServers,
}

impl Default for PowerOfD {
    fn default() -> Self {
        Self { d: 2, replacement: false, servers: WeightedServers::default() }
    }
}

impl Balancer for PowerOfD {
    type Servers = ProxyServers;
    type Request = ProxyRequest;

    #[inline]
    fn pick(&mut self, servers: &mut ProxyServers, request: &mut ProxyRequest) -> Option<ServerId> {
        request.reason = Reason::Scheduled { tie: false };
        let mut draws = servers.draws(request);
        let mut drawn = [ServerId(0); CHOICES_MAX as usize];
        let mut best: Option<ServerId> = None;
        // Not more than there are: a draw that cannot succeed costs many.
        let wanted = if self.replacement { self.d } else { self.d.min(self.servers.len() as u32) };
        for number in 0..wanted as usize {
            let but = if self.replacement { &[] } else { &drawn[..number] };
            let Some(server) = self.servers.other(&mut draws, request, but) else { break };
            drawn[number] = server;
            if best.is_none_or(|best| servers.compare_load(server, best).is_lt()) {
                best = Some(server);
            }
        }
        best.or_else(|| servers.first_usable(request))
    }

    fn servers_changed(&mut self, servers: &ProxyServers) {
        self.servers.rebuild(servers);
    }

    fn options(&mut self, visitor: &mut dyn OptionVisitor) {
        visitor.whole("d", &mut self.d, 1, CHOICES_MAX);
        visitor.flag("replacement", &mut self.replacement);
    }
}

/// A request's tries are among its draws' exclusions; both are short lists, looked through one by one.
const _: () = assert!(TRIES_MAX <= CHOICES_MAX);

#[cfg(test)]
mod tests {
    use super::super::fixture::{numbered, table_of};
    use super::*;

    #[test]
    fn with_as_many_choices_as_servers_the_least_loaded_is_always_found() {
        let mut servers = table_of((0..4).map(|i| (format!("s{i}:1"), 1 + i)));
        let mut balancer = PowerOfD { d: 4, ..PowerOfD::default() };
        balancer.servers_changed(&servers);
        let mut held = [0_u32; 4];
        for number in 0..1_000 {
            let mut request = numbered(number);
            let server = balancer.pick(&mut servers, &mut request).expect("all are usable");
            let load = |index: usize| f64::from(held[index]) / (1.0 + index as f64);
            assert!((0..4).all(|other| load(server.index()) <= load(other)));
            servers.begin_try(&mut request, server);
            held[server.index()] += 1;
        }
    }

    #[test]
    fn one_choice_with_replacement_looks_at_no_load() {
        let mut servers = table_of([("a:1".into(), 1), ("b:1".into(), 1)]);
        let mut balancer = PowerOfD { d: 1, replacement: true, ..PowerOfD::default() };
        balancer.servers_changed(&servers);
        let mut busy = numbered(0);
        servers.begin_try(&mut busy, ServerId(0));
        let picks =
            (1..1_001).filter(|&n| balancer.pick(&mut servers, &mut numbered(n)) == Some(ServerId(0)));
        // 500 of 1,000: standard deviation 16.
        assert!(picks.count().abs_diff(500) < 5 * 16);
    }
}

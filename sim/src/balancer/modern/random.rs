//! A server at random, in proportion to the weights: Envoy's `random`, HAProxy's `random(1)`.

use super::sampler::WeightedServers;
use super::{ProxyRequest, ProxyServers};
use crate::balancer::{Balancer, Reason};
use crate::ids::ServerId;

/// Random choice. A retry draws among the servers that were not tried; when 32 draws miss them, the first such server in
/// order of configuration is taken.
#[derive(Clone, Debug, Default)]
pub struct Random {
    servers: WeightedServers,
}

impl Balancer for Random {
    type Servers = ProxyServers;
    type Request = ProxyRequest;

    #[inline]
    fn pick(&mut self, servers: &mut ProxyServers, request: &mut ProxyRequest) -> Option<ServerId> {
        request.reason = Reason::Scheduled { tie: false };
        if request.tries() == 0 {
            return self.servers.choose(servers.bits(request));
        }
        let other = self.servers.other(&mut servers.draws(request), request, &[]);
        other.or_else(|| servers.first_usable(request))
    }

    fn servers_changed(&mut self, servers: &ProxyServers) {
        self.servers.rebuild(servers);
    }
}

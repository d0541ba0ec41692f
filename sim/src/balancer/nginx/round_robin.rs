//! round_robin
use super::{Peers, RequestState};
use crate::balancer::Balancer;
use crate::ids::ServerId;

/// x
#[derive(Clone, Debug, Default)]
pub struct RoundRobin {}

impl Balancer for RoundRobin {
    type Servers = Peers;
    type Request = RequestState;
    fn pick(&mut self, _servers: &mut Peers, _request: &mut RequestState) -> Option<ServerId> {
        unimplemented!()
    }
}

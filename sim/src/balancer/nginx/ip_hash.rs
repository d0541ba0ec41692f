//! ip_hash
use super::{Peers, RequestState};
use crate::balancer::Balancer;
use crate::ids::ServerId;

/// x
#[derive(Clone, Debug, Default)]
pub struct IpHash {}

impl Balancer for IpHash {
    type Servers = Peers;
    type Request = RequestState;
    fn pick(&mut self, _servers: &mut Peers, _request: &mut RequestState) -> Option<ServerId> {
        unimplemented!()
    }
}

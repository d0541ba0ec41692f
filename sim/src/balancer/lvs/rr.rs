//! rr
use super::{Destinations, SchedulerRequest};
use crate::balancer::Balancer;
use crate::ids::ServerId;

/// x
#[derive(Clone, Debug, Default)]
pub struct LvsRr {}

impl Balancer for LvsRr {
    type Servers = Destinations;
    type Request = SchedulerRequest;
    fn pick(&mut self, _servers: &mut Destinations, _request: &mut SchedulerRequest) -> Option<ServerId> {
        unimplemented!()
    }
}

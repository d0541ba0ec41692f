//! Tables and requests under test.

use super::{Ejection, ProxyRequest, ProxyServer, ProxyServers, hash};
use crate::engine::{SimDuration, SimTime, Stream};
use crate::ids::StreamId;

/// A table of servers by address and weight, with a random stream and an ejection after two failures, for 10 s.
pub fn table_of(servers: impl IntoIterator<Item = (String, u32)>) -> ProxyServers {
    let servers: Vec<_> =
        servers.into_iter().map(|(address, weight)| ProxyServer { address, weight }).collect();
    let ejection = Ejection { failures: 2, time: SimDuration::from_secs(10) };
    ProxyServers::new(&servers, ejection, Stream::new(7, 0, StreamId::Balancer), 0)
}

/// A request whose key is `key`.
pub fn request(key: u64) -> ProxyRequest {
    ProxyRequest::new(key, 0, SimTime::ZERO)
}

/// Request number `number`, from a client of its own.
pub fn numbered(number: u64) -> ProxyRequest {
    ProxyRequest::new(hash::mix(number), number, SimTime::ZERO)
}

//! Clients: their addresses, their visits, and real access logs.

pub mod addresses;
pub mod arrivals;
pub mod clients;
mod count_law;
pub mod curve;
pub mod fit;
mod leases;
pub(crate) mod moved;
mod origin;
mod pages;
mod renewal;
pub mod replay;
mod space;
pub mod users;

pub use pages::{PageSampler, SitePages};
pub use users::UserTable;

use std::net::IpAddr;

use crate::engine::{SimDuration, SimTime, Stream};

pub use count_law::CountLaw;
pub use leases::{LEASES_PER_24_MAX, LEAVING_MIN, LeaseOdds};
pub use origin::{Since, Source};
pub use space::{AddressSpace, AddressesExhausted};

/// The addresses that a population comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct AddressPlan {
    /// The preset's name, for reports.
    pub preset: String,
    /// How many users share an address (a home, an office, a NAT's external address).
    pub users_per_address: CountLaw,
    /// Number of the population's addresses in one /24, at most 254. With leases only its mean counts.
    pub addresses_per_24: CountLaw,
    /// Number of the population's /24s in one prefix of its providers. With leases the number follows from
    /// `addresses_per_24`.
    pub networks_per_prefix: CountLaw,
    /// Fixed addresses instead of drawn ones; users are dealt to them in turn.
    pub fixed: Vec<IpAddr>,
    /// A NAT or proxy farm that has several addresses for its users.
    pub pool: Option<Pool>,
    /// How homes change their address.
    pub leases: Option<Leases>,
    /// IPv6 beside IPv4, or instead of it.
    pub ipv6: Option<Ipv6>,
    /// What stands between the users and the site.
    pub front: Option<Front>,
}

impl AddressPlan {
    /// A plan of homes that keep their addresses, with these laws; the number of networks in a prefix is that of a site
    /// with visitors from all over the world.
    pub fn of_homes(preset: &str, users_per_address: CountLaw, addresses_per_24: CountLaw) -> Self {
        Self {
            preset: preset.to_owned(),
            users_per_address,
            addresses_per_24,
            networks_per_prefix: CountLaw::OnePlusGeometric { mean: 1.65 },
            fixed: Vec::new(),
            pool: None,
            leases: None,
            ipv6: None,
            front: None,
        }
    }

    /// Whether every request comes from another address.
    pub fn rotates_by_request(&self) -> bool {
        self.pool.is_some_and(|pool| pool.pooling == Pooling::PerRequest)
    }

    /// Whether any connection comes by IPv4.
    fn ipv4(&self) -> bool {
        self.ipv6.is_none_or(|ipv6| ipv6.homes < 1.0 || ipv6.connections < 1.0)
    }
}

/// Several addresses for the same users.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pool {
    /// Addresses of one pool, at least 1. A pool has the users of all its addresses.
    pub addresses: u32,
    /// Which of them a user comes from.
    pub pooling: Pooling,
    /// Mean time between hand-overs of a user to another address of the pool, a Poisson process; `None` if users stay.
    pub hand_over: Option<SimDuration>,
}

/// Which address of a pool a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The same for all connections of a user (RFC 6888, REQ-2).
    Paired {
        /// Idle time of a user after which the mapping is gone and the next connection gets another address; `None` if it
        /// is kept for ever.
        mapping_timeout: Option<SimDuration>,
    },
    /// Any, for each connection.
    Arbitrary,
    /// Any, for each request: every request has a connection of its own.
    PerRequest,
}

/// How homes change their address: a share of them at random times, a share periodically, the others never.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Leases {
    /// Share of the homes whose address changes at random times, 0 to 1.
    pub exponential_share: f64,
    /// Mean time between these changes, above zero.
    pub exponential_mean: SimDuration,
    /// Share of the homes whose address changes periodically, 0 to 1.
    pub periodic_share: f64,
    /// Their period, above zero.
    pub period: SimDuration,
    /// When all of them change, from the end of the warm-up and every period before and after; `None`: each at a time of
    /// its own.
    pub at: Option<SimDuration>,
    /// Probability that a change leaves the /24.
    pub new_24: f64,
    /// Probability that a change leaves the prefix, at most `new_24`.
    pub new_prefix: f64,
}

/// IPv6: a /64 for each home, or for each user of a pool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ipv6 {
    /// Share of the homes that have it, 0 to 1.
    pub homes: f64,
    /// Share of the connections of such a home that use it, 0 to 1; the others come from its IPv4 address.
    pub connections: f64,
    /// How long a device opens connections from one temporary address; `None`: it has a stable one.
    pub temporary: Option<SimDuration>,
}

/// A content network, application firewall or reverse proxy between the users and the site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Front {
    /// Addresses that its connections come from, at least 1.
    pub addresses: u32,
    /// Whether it passes on the user's address (`X-Forwarded-For`).
    pub passes_address: bool,
    /// Whether the site's layer 7 balancer believes it (`set_real_ip_from`).
    pub trusted: bool,
}

/// The random numbers that addresses come from.
#[derive(Clone, Copy, Debug)]
pub struct AddressStreams {
    /// Users per address.
    pub users: Stream,
    /// Networks, prefixes, addresses in them, and which homes have which kind of lease.
    pub addresses: Stream,
    /// When leases and temporary addresses change, and to what.
    pub leases: Stream,
    /// When users are handed over, and to which address.
    pub hand_overs: Stream,
    /// Which of several addresses a connection comes from.
    pub connections: Stream,
    /// When measurement begins, which times of the scenario count from.
    pub measured_from: SimTime,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::SimDuration;
    use crate::ids::StreamId;

    /// The streams of a test; measurement begins after 10 minutes.
    pub(super) fn streams() -> AddressStreams {
        let stream = |id| Stream::new(7, 0, id);
        AddressStreams {
            users: stream(StreamId::UsersPerAddress),
            addresses: stream(StreamId::Addresses),
            leases: stream(StreamId::Leases),
            hand_overs: stream(StreamId::HandOvers),
            connections: stream(StreamId::ConnectionAddress),
            measured_from: SimTime::ZERO + SimDuration::from_secs(600),
        }
    }
}

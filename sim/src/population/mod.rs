//! Clients: their addresses, their visits, and real access logs.

pub mod addresses;
pub mod clients;
mod pages;
pub mod replay;

pub use pages::{PageSampler, SitePages};

use std::net::IpAddr;

/// The addresses that a population comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct AddressPlan {
    /// The preset's name, for reports.
    pub preset: String,
    /// How many users share an address.
    pub users_per_address: UsersPerAddress,
    /// Mean number of the population's addresses in one /24, at least 1 and at most 254. The number in each /24 is 1 plus
    /// a geometric number, cut off at 254.
    pub addresses_per_24: f64,
    /// Fixed addresses instead of drawn ones; users are dealt to them in turn.
    pub fixed: Vec<IpAddr>,
}

/// How many users share an address.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum UsersPerAddress {
    /// The same number on each address, at least 1.
    Constant(u32),
    /// One, and a Poisson number of others.
    OnePlusPoisson {
        /// Mean number of others.
        mean: f64,
    },
    /// Lognormal, rounded to a whole number of at least 1.
    Lognormal {
        /// Median.
        median: f64,
        /// Standard deviation of the logarithm.
        sigma: f64,
    },
}

//! What a proxy is configured with.

use super::budget::RetryBudget;
use super::subset::Subset;
use crate::balancer::CookieLife;
pub use crate::balancer::ProxyMethod;
pub use crate::balancer::modern::{Ejection, ProxyServer, TRIES_MAX};
use crate::engine::{SimDuration, Stream};
use crate::health::OutlierDetection;

/// A layer 7 proxy: its servers, how it chooses among them, and what it does about failures.
#[derive(Clone, Debug)]
pub struct ProxyConfig {
    /// How a server is chosen.
    pub method: ProxyMethod,
    /// The servers; server `i` is [`crate::ids::ServerId`] `i`.
    pub servers: Vec<ProxyServer>,
    /// Servers that a request may try, 1 to [`TRIES_MAX`].
    pub max_tries: u32,
    /// How many of its requests it may try again.
    pub retry_budget: RetryBudget,
    /// How long it waits for an answer before it tries again (`per_try_timeout`); zero for good.
    pub per_try_timeout: SimDuration,
    /// When failures take a server out.
    pub ejection: Ejection,
    /// Envoy's rule for that, in place of `ejection`.
    pub outlier_detection: Option<OutlierDetection>,
    /// How long before time zero outlier detection looked at the hosts last, below its interval.
    pub clock_phase: SimDuration,
    /// Share of healthy servers below which health does not count \[percent\], 0 to 100: see
    /// [`crate::balancer::modern::ProxyServers::set_panic_threshold`].
    pub panic_threshold: f64,
    /// Which of the servers an instance uses: weights are taken from the others before it starts ([`Subset::take`]).
    pub subset: Subset,
    /// Whether a cookie ties a browser to a server, and for how long.
    pub cookie: Option<CookieLife>,
}

impl ProxyConfig {
    /// The rule that holds unless another is given: Envoy's figures.
    pub const EJECTION: Ejection = Ejection { failures: 5, time: SimDuration::from_secs(30) };
    /// Tries unless another number is given.
    pub const MAX_TRIES: u32 = 3;

    /// Whether the proxy would start with this configuration.
    ///
    /// # Errors
    /// The first thing that cannot be.
    pub fn check(&self) -> Result<(), ProxyConfigError> {
        let servers = self.servers.len();
        if servers == 0 {
            return Err(ProxyConfigError::NoServers);
        }
        if servers > usize::from(u16::MAX) {
            return Err(ProxyConfigError::TooManyServers { servers });
        }
        if !(1..=TRIES_MAX).contains(&self.max_tries) {
            return Err(ProxyConfigError::Tries { tries: self.max_tries });
        }
        Ok(())
    }
}

/// Why a proxy would not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyConfigError {
    /// There is nothing to choose from.
    #[error("a proxy needs a server")]
    NoServers,
    /// More servers than a [`crate::ids::ServerId`] can name.
    #[error("a proxy has at most {} servers, got {servers}", u16::MAX)]
    TooManyServers {
        /// How many there are.
        servers: usize,
    },
    /// Tries out of range.
    #[error("`max_tries` must be 1 to {TRIES_MAX}, got {tries}")]
    Tries {
        /// How many were asked for.
        tries: u32,
    },
}

/// Where a proxy's random numbers come from.
#[derive(Clone, Copy, Debug)]
pub struct ProxyDraws {
    /// The stream ([`crate::ids::StreamId::Balancer`]).
    pub stream: Stream,
    /// The proxy's name in it: its tier and instance.
    pub entity: u64,
}

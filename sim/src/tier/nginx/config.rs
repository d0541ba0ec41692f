//! What an nginx is configured with: an `upstream` and the `proxy_*` directives that matter to it.

use super::version::NginxVersion;
use crate::balancer::nginx::NginxMethod;
pub use crate::balancer::nginx::NginxServer;
use crate::balancer::nginx::hash_consistent::POINTS_PER_WEIGHT;
use crate::engine::{SimDuration, Stream};
use crate::tier::CookieLife;

/// An nginx `upstream` with the `proxy_*` directives that matter to it.
#[derive(Clone, Debug)]
pub struct NginxConfig {
    /// The release whose rules hold.
    pub version: NginxVersion,
    /// The balancing method.
    pub method: NginxMethod,
    /// `sticky cookie`.
    pub sticky: Option<StickyCookie>,
    /// The `server` lines, in their order; server `i` is [`crate::ids::ServerId`] `i`.
    pub servers: Vec<NginxServer>,
    /// Worker processes.
    pub workers: u16,
    /// Whether the upstream has a shared memory `zone`.
    pub zone: bool,
    /// `proxy_next_upstream`.
    pub next_upstream: NextUpstream,
    /// `proxy_next_upstream_tries`; 0 is no limit.
    pub next_upstream_tries: u32,
    /// `proxy_next_upstream_timeout`; zero is no limit.
    pub next_upstream_timeout: SimDuration,
    /// `proxy_connect_timeout`.
    pub connect_timeout: SimDuration,
    /// `proxy_read_timeout`.
    pub read_timeout: SimDuration,
    /// What the wall clock's part below a second shows at time zero. nginx's failure windows count whole seconds.
    pub clock_phase: SimDuration,
    /// What the random methods draw from.
    pub draws: Stream,
    /// The instance's number among all that share `draws`. A draw is named by it and by the request's number in the life of
    /// the instance, so it depends neither on which worker gets a request nor on a reload.
    pub instance: u64,
}

impl NginxConfig {
    /// Whether nginx would start with this configuration.
    ///
    /// # Errors
    /// The first thing that it would refuse, or that cannot be numbered here.
    pub fn check(&self) -> Result<(), NginxConfigError> {
        let method = self.method.name();
        let drains = self.servers.iter().any(|server| server.drain);
        for (what, used) in [("sticky", self.sticky.is_some()), ("drain", drains)] {
            if used && self.version < NginxVersion::STICKY {
                return Err(NginxConfigError::TooOld { what, version: self.version });
            }
        }
        if self.sticky.is_some() && !self.method.takes_sticky() {
            return Err(NginxConfigError::StickyRefused { method });
        }
        if self.servers.iter().all(|server| server.backup || server.absent) {
            return Err(NginxConfigError::NoPrimary);
        }
        if self.servers.len() > NginxConfigError::SERVERS_MAX {
            return Err(NginxConfigError::TooManyServers { servers: self.servers.len() });
        }
        if self.workers == 0 {
            return Err(NginxConfigError::NoWorkers);
        }
        for (server, line) in self.servers.iter().enumerate() {
            if line.weight == 0 {
                return Err(NginxConfigError::ZeroWeight { server });
            }
            if line.max_conns != 0 && !self.method.takes_max_conns() {
                return Err(NginxConfigError::MaxConnsRefused { server, method });
            }
            if line.drain && line.down {
                return Err(NginxConfigError::DownAndDrain { server });
            }
            if line.backup && !self.method.takes_backup() {
                return Err(NginxConfigError::BackupRefused { server, method });
            }
        }
        let points = self.servers.iter().map(|line| u64::from(line.weight) * POINTS_PER_WEIGHT).sum();
        if matches!(self.method, NginxMethod::HashConsistent(_)) && points > NginxConfigError::POINTS_MAX {
            return Err(NginxConfigError::TooManyPoints { points });
        }
        Ok(())
    }
}

/// `sticky cookie NAME [expires=time]`. Its other parameters say where the browser sends the cookie, and change nothing here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StickyCookie {
    /// The cookie's name.
    pub name: Box<str>,
    /// `expires`: how long the browser keeps it after each answer; `None` until it is closed.
    pub expires: Option<SimDuration>,
}

impl NginxConfig {
    /// How long the cookies that it gives to browsers are good; `None` if it gives none.
    pub fn cookies(&self) -> Option<CookieLife> {
        match (&self.sticky, &self.method) {
            (Some(sticky), _) => Some(CookieLife { idle: sticky.expires, total: None }),
            (None, NginxMethod::SessionSticky(method)) => Some(method.cookies()),
            (None, _) => None,
        }
    }
}

/// Why nginx would not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NginxConfigError {
    /// The upstream has no server that is no backup.
    #[error("no servers in upstream: at least one must not be `backup`")]
    NoPrimary,
    /// More servers than a [`crate::ids::ServerId`] can name.
    #[error("at most {} servers in an upstream, got {servers}", Self::SERVERS_MAX)]
    TooManyServers {
        /// How many there are.
        servers: usize,
    },
    /// `worker_processes 0`.
    #[error("`worker_processes` must be at least 1, got 0")]
    NoWorkers,
    /// `weight=0`.
    #[error("server {}: `weight` must be at least 1 in nginx, got 0; to take a server out, set `down`", server + 1)]
    ZeroWeight {
        /// Its place in the upstream, from 0.
        server: usize,
    },
    /// `backup` with a method that has no use for it.
    #[error("server {}: nginx refuses `backup` with `{method}`", server + 1)]
    BackupRefused {
        /// Its place in the upstream, from 0.
        server: usize,
        /// The method.
        method: &'static str,
    },
    /// `max_conns` with a method that has no use for it.
    #[error("server {}: nginx refuses `max_conns` with `{method}`", server + 1)]
    MaxConnsRefused {
        /// Its place in the upstream, from 0.
        server: usize,
        /// The method.
        method: &'static str,
    },
    /// `drain` and `down` of one server.
    #[error("server {}: it is `down` or it drains; leave out `down` or `drain`", server + 1)]
    DownAndDrain {
        /// Its place in the upstream, from 0.
        server: usize,
    },
    /// Something that came later.
    #[error("`{what}` came with nginx 1.29.6, and this is {}; set `version = \"{}\"`", version.name(), NginxVersion::STICKY.name())]
    TooOld {
        /// What there was not yet.
        what: &'static str,
        /// The version.
        version: NginxVersion,
    },
    /// `sticky` with a method of a third party, which does not look at it ("balancer does not support sticky").
    #[error("`{method}` does not look at `sticky`; take another method, or leave `sticky` out")]
    StickyRefused {
        /// The method.
        method: &'static str,
    },
    /// Weights so large that the ring of the consistent hash would take more memory than it is worth. nginx itself has no
    /// such limit.
    #[error(
        "`hash_consistent` puts 160 points a unit of weight on its ring, and this would be {points}, of at most {}; \
         divide the weights by a common factor",
        Self::POINTS_MAX
    )]
    TooManyPoints {
        /// How many there would be.
        points: u64,
    },
}

impl NginxConfigError {
    const SERVERS_MAX: usize = u16::MAX as usize;
    /// 10 million points, 60 MB.
    const POINTS_MAX: u64 = 65_536 * POINTS_PER_WEIGHT;
}

/// The conditions of `proxy_next_upstream`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextUpstream {
    /// `error`.
    pub error: bool,
    /// `timeout`.
    pub timeout: bool,
    /// `http_500`, `http_502`, `http_503`, `http_504`, `http_403`, `http_404`, `http_429`, in this order.
    pub statuses: [bool; 7],
    /// `non_idempotent`.
    pub non_idempotent: bool,
}

impl NextUpstream {
    /// The statuses that can be listed, in the order of [`NextUpstream::statuses`].
    pub const STATUSES: [u16; 7] = [500, 502, 503, 504, 403, 404, 429];

    /// `proxy_next_upstream off`.
    pub const OFF: Self = Self { error: false, timeout: false, statuses: [false; 7], non_idempotent: false };

    /// Whether `http_<status>` is listed.
    pub fn lists(&self, status: u16) -> bool {
        Self::STATUSES.iter().zip(self.statuses).any(|(&of, listed)| listed && of == status)
    }
}

impl Default for NextUpstream {
    /// nginx's default: `error timeout`.
    fn default() -> Self {
        Self { error: true, timeout: true, ..Self::OFF }
    }
}

/// The parameters of `proxy_next_upstream`, as in a configuration file: `error timeout http_503`, `off`.
impl std::str::FromStr for NextUpstream {
    type Err = UnknownCondition;

    fn from_str(parameters: &str) -> Result<Self, UnknownCondition> {
        let mut conditions = Self::OFF;
        for parameter in parameters.split_whitespace() {
            match parameter {
                "error" => conditions.error = true,
                "timeout" => conditions.timeout = true,
                "non_idempotent" => conditions.non_idempotent = true,
                // `off` adds nothing; malformed answers (`invalid_header`) are not modelled, so never arise.
                "off" | "invalid_header" => {}
                other => {
                    let status = other.strip_prefix("http_").and_then(|status| status.parse().ok());
                    let listed = Self::STATUSES.iter().position(|&of| Some(of) == status);
                    let at = listed.ok_or_else(|| UnknownCondition { parameter: other.to_owned() })?;
                    conditions.statuses[at] = true;
                }
            }
        }
        Ok(conditions)
    }
}

/// A parameter that `proxy_next_upstream` does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`proxy_next_upstream` has no condition `{parameter}`")]
pub struct UnknownCondition {
    /// The parameter, as written.
    pub parameter: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_as_nginx_reads_them() {
        let conditions: NextUpstream =
            "error timeout http_503 http_404 non_idempotent".parse().expect("valid");
        assert!(conditions.error && conditions.timeout && conditions.non_idempotent);
        let listed: Vec<_> = NextUpstream::STATUSES.into_iter().filter(|&s| conditions.lists(s)).collect();
        assert_eq!(listed, [503, 404]);
        assert_eq!("off".parse(), Ok(NextUpstream::OFF));
        assert!("http_418".parse::<NextUpstream>().is_err());
    }
}

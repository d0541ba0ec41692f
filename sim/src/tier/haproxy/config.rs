//! What an HAProxy backend is configured with.

use crate::balancer::haproxy::HaproxyMethod;
pub use crate::balancer::haproxy::HaproxyServer;
use crate::engine::SimDuration;
use crate::health::HaproxyCheck;
use crate::ids::ServerId;
use crate::tier::CookieLife;

/// One backend of an HAProxy process, with the settings that matter to it. [`HaproxyConfig::new`] gives HAProxy's
/// defaults.
#[derive(Clone, Debug)]
pub struct HaproxyConfig {
    /// `balance`.
    pub method: HaproxyMethod,
    /// The `server` lines, in their order; server `i` is [`ServerId`] `i`.
    pub servers: Vec<HaproxyLine>,
    /// `option allbackups`.
    pub allbackups: bool,
    /// `retries`: tries after the first.
    pub retries: u32,
    /// `option redispatch N`: the request is balanced anew at every N-th retry, or, below 0, at the N-th from the end.
    /// Without a number it is -1. `None` is `no option redispatch`; so is 0.
    pub redispatch: Option<i32>,
    /// `retry-on`.
    pub retry_on: RetryOn,
    /// `timeout connect`; zero is none.
    pub connect_timeout: SimDuration,
    /// `timeout server`; zero is none.
    pub server_timeout: SimDuration,
    /// `timeout queue`; zero is as long as `connect_timeout`.
    pub queue_timeout: SimDuration,
    /// `slowstart`, rounded up to whole seconds: how long a server that comes back gets a part of its share; zero: it gets all.
    pub slowstart: SimDuration,
    /// `fullconn`; 0 is not set, and `minconn` has no effect.
    pub fullconn: u32,
    /// `cookie`.
    pub cookie: Option<CookieMode>,
    /// `maxidle` and `maxlife` of the cookie. HAProxy writes dates in units of 4 s, here they are exact.
    pub cookie_life: CookieLife,
    /// `postonly`: an inserted cookie is set by answers to POSTs alone.
    pub cookie_postonly: bool,
    /// `option persist`: a cookie or entry counts even if its server is down.
    pub persist: bool,
    /// `stick-table` and the `stick` rules on it.
    pub stick: Option<StickConfig>,
    /// What the millisecond clock shows below a millisecond at time zero. Stick-table entries expire in whole
    /// milliseconds.
    pub clock_phase: SimDuration,
}

impl HaproxyConfig {
    /// A backend with these servers and HAProxy's own defaults.
    pub fn new(method: HaproxyMethod, servers: Vec<HaproxyLine>) -> Self {
        Self {
            method,
            servers,
            allbackups: false,
            retries: 3,
            redispatch: None,
            retry_on: RetryOn::default(),
            connect_timeout: SimDuration::ZERO,
            server_timeout: SimDuration::ZERO,
            queue_timeout: SimDuration::ZERO,
            slowstart: SimDuration::ZERO,
            fullconn: 0,
            cookie: None,
            cookie_life: CookieLife::UNLIMITED,
            cookie_postonly: false,
            persist: false,
            stick: None,
            clock_phase: SimDuration::ZERO,
        }
    }

    /// Whether HAProxy would start with this configuration.
    ///
    /// # Errors
    /// The first thing that it would refuse, or that cannot be numbered here.
    pub fn check(&self) -> Result<(), HaproxyConfigError> {
        use HaproxyConfigError as Error;
        if self.servers.len() > Error::SERVERS_MAX {
            return Err(Error::TooManyServers { servers: self.servers.len() });
        }
        for (server, line) in self.servers.iter().enumerate() {
            if line.server.weight > crate::balancer::haproxy::WEIGHT_MAX {
                return Err(Error::Weight { server, weight: line.server.weight });
            }
            if line.server.id == 0 {
                return Err(Error::Id { server });
            }
            if self.servers[..server].iter().any(|before| before.server.id == line.server.id) {
                return Err(Error::SameId { server, id: line.server.id });
            }
            if line.check.is_some_and(|check| check.rise == 0 || check.fall == 0) {
                return Err(Error::Check { server });
            }
        }
        if self.stick.as_ref().is_some_and(|stick| stick.table.size == 0) {
            return Err(Error::TableSize);
        }
        Ok(())
    }

    /// The first server whose `cookie` is the one in `value`, the request's cookie as sent. What follows a `|` (the dates
    /// of `maxidle` and `maxlife`) or, in prefix mode, from the `~` on, belongs to others.
    pub fn server_of_cookie(&self, value: &[u8]) -> Option<ServerId> {
        let mode = self.cookie?;
        let end = match mode {
            CookieMode::Prefix => b'~',
            CookieMode::Insert { .. } | CookieMode::Rewrite => b'|',
        };
        let name = value.split(|&byte| byte == end).next().unwrap_or_default();
        let server = self.servers.iter().position(|line| line.cookie.as_deref() == Some(name))?;
        Some(ServerId::from_index(server))
    }
}

/// One `server` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HaproxyLine {
    /// What balancing needs.
    pub server: HaproxyServer,
    /// `cookie`: the value that names it.
    pub cookie: Option<Box<[u8]>>,
    /// `check` and its parameters.
    pub check: Option<HaproxyCheck>,
    /// `non-stick`: never stored in a stick table.
    pub non_stick: bool,
}

impl HaproxyLine {
    /// A server with an id, its place from 1, and HAProxy's defaults.
    pub fn new(id: u32) -> Self {
        Self { server: HaproxyServer::new(id), cookie: None, check: None, non_stick: false }
    }
}

/// What the `cookie` of a backend does to answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookieMode {
    /// `insert`: sets a cookie of its own whenever the server was not chosen by it. `preserve`: not if the server has set
    /// one.
    Insert {
        /// `preserve`.
        preserve: bool,
    },
    /// `prefix`: puts the server's name before the application's cookie.
    Prefix,
    /// `rewrite`: puts the server's name in the place of the value that the application set.
    Rewrite,
}

/// `retry-on`: after which failures another try may follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryOn {
    /// `conn-failure`.
    pub conn_failure: bool,
    /// `empty-response`.
    pub empty_response: bool,
    /// `response-timeout`.
    pub response_timeout: bool,
    /// Statuses, as a bit for each of [`RetryOn::STATUSES`].
    pub statuses: u16,
}

impl RetryOn {
    /// The statuses that can be listed.
    pub const STATUSES: [u16; 10] = [401, 403, 404, 408, 425, 500, 501, 502, 503, 504];
    /// `none`.
    pub const NONE: Self =
        Self { conn_failure: false, empty_response: false, response_timeout: false, statuses: 0 };

    /// Whether a status is listed.
    pub fn lists(&self, status: u16) -> bool {
        let listed = |(bit, &of): (usize, &u16)| of == status && self.statuses >> bit & 1 == 1;
        Self::STATUSES.iter().enumerate().any(listed)
    }

    fn add(&mut self, status: u16) -> bool {
        let bit = Self::STATUSES.iter().position(|&of| of == status);
        self.statuses |= bit.map_or(0, |bit| 1 << bit);
        bit.is_some()
    }
}

impl Default for RetryOn {
    /// HAProxy's default: `conn-failure`.
    fn default() -> Self {
        Self { conn_failure: true, ..Self::NONE }
    }
}

/// The words behind `retry-on`.
impl std::str::FromStr for RetryOn {
    type Err = UnknownCondition;

    fn from_str(words: &str) -> Result<Self, UnknownCondition> {
        let mut retry_on = Self::NONE;
        for word in words.split_whitespace() {
            match word {
                "none" | "junk-response" | "0rtt-rejected" => {}
                "conn-failure" => retry_on.conn_failure = true,
                "empty-response" => retry_on.empty_response = true,
                "response-timeout" => retry_on.response_timeout = true,
                "all-retryable-errors" => {
                    retry_on.conn_failure = true;
                    retry_on.empty_response = true;
                    retry_on.response_timeout = true;
                    for status in [500, 502, 503, 504] {
                        retry_on.add(status);
                    }
                }
                other => {
                    let status = other.parse().ok();
                    if !status.is_some_and(|status| retry_on.add(status)) {
                        return Err(UnknownCondition { word: other.to_owned() });
                    }
                }
            }
        }
        Ok(retry_on)
    }
}

/// A word that `retry-on` does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`retry-on` has no condition `{word}`")]
pub struct UnknownCondition {
    /// The word, as written.
    pub word: String,
}

/// A backend's own stick table and its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StickConfig {
    /// The table.
    pub table: StickTableConfig,
    /// The rules, in their order.
    pub rules: Vec<StickRule>,
}

/// `stick-table`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StickTableConfig {
    /// `type`, and `len`.
    pub key: StickKey,
    /// `size`, at least 1: entries.
    pub size: u32,
    /// `expire`; zero is never.
    pub expire: SimDuration,
    /// `nopurge`: a full table takes nobody in, rather than throwing the oldest out.
    pub nopurge: bool,
}

/// `type` of a stick table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StickKey {
    /// `ip`: IPv4 addresses.
    Ip,
    /// `ipv6`: addresses, IPv4 ones mapped.
    Ipv6,
    /// `string` or `binary`, cut to `len` bytes.
    Bytes {
        /// `len`.
        len: u16,
    },
}

/// One `stick` rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StickRule {
    /// `match` or `on`: looks the key up.
    pub matches: bool,
    /// Where the key that is stored comes from, if it is stored.
    pub stores: Option<StoreAt>,
    /// What of the request is the key; of no matter to a rule that only stores at the answer.
    pub key: StickSource,
}

/// When a rule stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreAt {
    /// `store-request` or `on`: the request's key.
    Request,
    /// `store-response`: the answer's ([`super::Haproxy::answer_sample`]).
    Response,
}

/// What a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StickSource {
    /// `src`.
    Address,
    /// Any other sample of the request ([`crate::tier::Ties::sample`]).
    Sample,
}

/// Why HAProxy would not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HaproxyConfigError {
    /// More servers than a [`ServerId`] can name.
    #[error("at most {} servers in a backend, got {servers}", Self::SERVERS_MAX)]
    TooManyServers {
        /// How many there are.
        servers: usize,
    },
    /// A weight beyond the range.
    #[error("server {}: `weight` must be at most 256 in HAProxy, got {weight}", server + 1)]
    Weight {
        /// Its place in the backend, from 0.
        server: usize,
        /// What was given.
        weight: u32,
    },
    /// `id 0`.
    #[error("server {}: `id` must be at least 1, got 0", server + 1)]
    Id {
        /// Its place in the backend, from 0.
        server: usize,
    },
    /// Two servers with one id.
    #[error("server {}: `id` {id} is taken by a server before it", server + 1)]
    SameId {
        /// Its place in the backend, from 0.
        server: usize,
        /// What was given.
        id: u32,
    },
    /// `rise 0` or `fall 0`.
    #[error("server {}: `rise` and `fall` must be at least 1, got 0", server + 1)]
    Check {
        /// Its place in the backend, from 0.
        server: usize,
    },
    /// `size 0`.
    #[error("`size` of a stick table must be at least 1, got 0")]
    TableSize,
}

impl HaproxyConfigError {
    const SERVERS_MAX: usize = u16::MAX as usize;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(cookie: CookieMode) -> HaproxyConfig {
        let method = HaproxyMethod::by_name("roundrobin").expect("in the catalogue");
        let line = |(id, name): (u32, &str)| HaproxyLine {
            cookie: Some(name.as_bytes().into()),
            ..HaproxyLine::new(id)
        };
        let servers = [(1, "a"), (2, "b"), (3, "b")].map(line).into();
        HaproxyConfig { cookie: Some(cookie), ..HaproxyConfig::new(method, servers) }
    }

    #[test]
    fn a_cookie_names_the_first_server_that_has_it() {
        let insert = named(CookieMode::Insert { preserve: false });
        for (value, server) in
            [("a", Some(0)), ("b", Some(1)), ("b|Zf3|", Some(1)), ("", None), ("c", None), ("a~x", None)]
        {
            assert_eq!(insert.server_of_cookie(value.as_bytes()), server.map(ServerId), "{value}");
        }
        let prefix = named(CookieMode::Prefix);
        for (value, server) in [("b~session", Some(1)), ("b", Some(1)), ("session", None), ("c~b", None)] {
            assert_eq!(prefix.server_of_cookie(value.as_bytes()), server.map(ServerId), "{value}");
        }
    }

    #[test]
    fn conditions_are_read_as_haproxy_reads_them() {
        let retry_on: RetryOn = "conn-failure 503 404".parse().expect("valid");
        assert!(retry_on.conn_failure && !retry_on.empty_response);
        assert!(retry_on.lists(503) && retry_on.lists(404) && !retry_on.lists(500));
        let all: RetryOn = "all-retryable-errors".parse().expect("valid");
        assert!(all.response_timeout && all.lists(504) && !all.lists(404));
        assert_eq!("none".parse(), Ok(RetryOn::NONE));
        assert!("418".parse::<RetryOn>().is_err());
    }

    #[test]
    fn what_haproxy_refuses_is_refused() {
        let broken = |change: fn(&mut HaproxyLine)| {
            let mut config = named(CookieMode::Rewrite);
            change(&mut config.servers[1]);
            config.check().expect_err("refused").to_string()
        };
        assert_eq!(
            broken(|line| line.server.weight = 257),
            "server 2: `weight` must be at most 256 in HAProxy, got 257"
        );
        assert_eq!(broken(|line| line.server.id = 1), "server 2: `id` 1 is taken by a server before it");
        assert!(
            broken(|line| line.check = Some(HaproxyCheck { rise: 0, ..HaproxyCheck::default() }))
                .contains("rise")
        );
        assert_eq!(named(CookieMode::Rewrite).check(), Ok(()));
    }
}

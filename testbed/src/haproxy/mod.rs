//! HAProxy: configurations, scripts, and how one is carried out.

mod generate;
mod run;

use serde_json::{Value, json};

use crate::script::server_name;
use crate::stage::{FRONT, Network};

pub(crate) use generate::generate;

/// The socket, in the case's folder, of the runtime API.
const STATS: &str = "stats.sock";
/// The backend.
const BACKEND: &str = "b";

/// A server of the backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// Its number, from 1, which is its name.
    pub(crate) number: u16,
    pub(crate) port: u16,
    pub(crate) weight: u32,
    /// 0: no limit.
    pub(crate) maxconn: u32,
    pub(crate) id: Option<u32>,
    /// Whether it has a cookie.
    pub(crate) cookie: bool,
    pub(crate) backup: bool,
    pub(crate) disabled: bool,
}

impl Server {
    /// The value of its cookie.
    fn cookie(&self) -> Option<String> {
        self.cookie.then(|| format!("c{}", self.number))
    }

    fn line(&self, network: Network) -> String {
        let name = server_name(self.number);
        let mut line =
            format!("server {name} {}:{} weight {}", network.address(SERVERS), self.port, self.weight);
        let mut add = |option: Option<String>| {
            if let Some(option) = option {
                line.push(' ');
                line.push_str(&option);
            }
        };
        add(self.id.map(|id| format!("id {id}")));
        add((self.maxconn > 0).then(|| format!("maxconn {}", self.maxconn)));
        add(self.cookie().map(|cookie| format!("cookie {cookie}")));
        add(self.backup.then(|| "backup".into()));
        add(self.disabled.then(|| "disabled".into()));
        line
    }

    fn json(&self, network: Network) -> Value {
        let mut server = json!({
            "name": server_name(self.number),
            "id": self.id.unwrap_or(self.number.into()),
            "addr": format!("{}:{}", network.address(SERVERS), self.port),
            "weight": self.weight,
            "backup": self.backup,
        });
        if self.maxconn > 0 {
            server["maxconn"] = json!(self.maxconn);
        }
        if let Some(cookie) = self.cookie() {
            server["cookie"] = json!(cookie);
        }
        server
    }
}

/// Last byte of the servers' address. They share it, so that one socket sees in which order they are tried.
const SERVERS: u8 = 10;

/// A configuration of HAProxy.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) network: Network,
    /// What follows `balance`.
    pub(crate) balance: String,
    /// Further lines of the backend.
    pub(crate) lines: Vec<String>,
    pub(crate) servers: Vec<Server>,
    pub(crate) retries: u32,
    pub(crate) connect_timeout_ms: u32,
    /// 0: a minute.
    pub(crate) server_timeout_ms: u32,
    /// Whether it passes on TCP rather than HTTP.
    pub(crate) tcp: bool,
    /// What the key column of a recording holds.
    pub(crate) key_is: &'static str,
    /// How long entries of the stick table live, in milliseconds; 0 without one.
    pub(crate) expire_ms: u32,
}

impl Setup {
    /// `haproxy.cfg`.
    fn configuration(&self) -> String {
        let server_timeout =
            if self.server_timeout_ms == 0 { "60s".into() } else { format!("{}ms", self.server_timeout_ms) };
        // In TCP there are no cookies to tell of, and no status.
        let (mode, status, flags) = if self.tcp { ("tcp", "200", "%ts") } else { ("http", "%ST", "%tsc") };
        let inspect = if self.tcp {
            "    tcp-request inspect-delay 30ms
    tcp-request content accept if RDP_COOKIE
    tcp-request content accept if WAIT_END
"
        } else {
            ""
        };
        let lines: String = self.lines.iter().map(|line| format!("    {line}\n")).collect();
        let servers: String =
            self.servers.iter().map(|server| format!("    {}\n", server.line(self.network))).collect();
        format!(
            "global
    nbthread 1
    stats socket unix@{STATS} mode 600 level admin
    maxconn 1000
    log {log} len 4096 format raw local0 debug

defaults
    mode {mode}
    timeout connect {connect}ms
    timeout client 60s
    timeout server {server_timeout}
    timeout queue 60s
    retries {retries}
    log global

frontend f
    bind unix@{FRONT} accept-proxy
    log-format \"REQ|%cp|%s|{status}|%rc|{flags}\"
{inspect}    default_backend {BACKEND}

backend {BACKEND}
    balance {balance}
{lines}{servers}",
            log = self.network.log(),
            connect = self.connect_timeout_ms,
            retries = self.retries,
            balance = self.balance,
        )
    }

    /// What `case.json` says, besides what is known only afterwards.
    fn manifest(&self) -> Value {
        json!({
            "product": "haproxy",
            "balance": self.balance,
            "servers": self.servers.iter().map(|server| server.json(self.network)).collect::<Vec<_>>(),
            "options": {
                "retries": self.retries,
                "timeout_connect": format!("{}ms", self.connect_timeout_ms),
                "lines": self.lines,
            },
            "key_is": self.key_is,
        })
    }

    /// Whether requests may have to wait for a server.
    fn queues(&self) -> bool {
        self.servers.iter().any(|server| server.maxconn > 0)
    }

    /// Configurations with one thing less, the greatest first. Not all of them need be ones that HAProxy takes.
    pub(crate) fn simpler(&self) -> Vec<Self> {
        let mut simpler = Vec::new();
        let mut add = |change: &dyn Fn(&mut Self)| {
            let mut changed = self.clone();
            change(&mut changed);
            simpler.push(changed);
        };
        if self.servers.len() > 1 {
            for place in 0..self.servers.len() {
                add(&|setup| {
                    setup.servers.remove(place);
                });
            }
        }
        for place in 0..self.lines.len() {
            add(&|setup| drop(setup.lines.remove(place)));
        }
        for (place, server) in self.servers.iter().enumerate() {
            let plain =
                Server { weight: 1, maxconn: 0, id: None, backup: false, disabled: false, ..server.clone() };
            if plain != *server {
                add(&|setup| setup.servers[place] = plain.clone());
            }
        }
        simpler
    }
}

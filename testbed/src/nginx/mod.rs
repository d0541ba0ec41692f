//! nginx: configurations, scripts, and how one is carried out.

mod generate;
mod run;

pub(crate) use generate::generate;

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::script::server_name;
use crate::stage::{FRONT, Network};

/// A server of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// Its number, from 1, which is its name.
    pub(crate) number: u16,
    pub(crate) address: SocketAddr,
    pub(crate) weight: u32,
    pub(crate) max_fails: u32,
    pub(crate) fail_timeout_s: u32,
    pub(crate) max_conns: u32,
    pub(crate) down: bool,
    pub(crate) backup: bool,
}

impl Server {
    fn line(&self) -> String {
        let mut line = format!("server {}", self.address);
        let mut add = |differs: bool, option: String| {
            if differs {
                line.push_str(&option);
            }
        };
        add(self.weight != 1, format!(" weight={}", self.weight));
        add(self.max_fails != 1, format!(" max_fails={}", self.max_fails));
        add(self.fail_timeout_s != 10, format!(" fail_timeout={}s", self.fail_timeout_s));
        add(self.max_conns != 0, format!(" max_conns={}", self.max_conns));
        add(self.down, " down".into());
        add(self.backup, " backup".into());
        line
    }

    fn json(&self) -> Value {
        json!({
            "name": server_name(self.number),
            "addr": self.address.to_string(),
            "weight": self.weight,
            "max_fails": self.max_fails,
            "fail_timeout_s": self.fail_timeout_s,
            "backup": self.backup,
            "down": self.down,
            "max_conns": self.max_conns,
        })
    }
}

/// How nginx chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    RoundRobin,
    IpHash,
    LeastConn,
    Hash { key: HashKey, consistent: bool },
    Random,
    RandomTwo,
}

/// What `hash` hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HashKey {
    Uri,
    Header,
    Address,
}

impl HashKey {
    fn variable(self) -> &'static str {
        match self {
            Self::Uri => "$request_uri",
            Self::Header => "$http_x_key",
            Self::Address => "$binary_remote_addr",
        }
    }
}

impl Method {
    fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::IpHash => "ip_hash",
            Self::LeastConn => "least_conn",
            Self::Hash { .. } => "hash",
            Self::Random | Self::RandomTwo => "random",
        }
    }

    fn directive(self) -> Option<String> {
        match self {
            Self::RoundRobin => None,
            Self::IpHash => Some("ip_hash;".into()),
            Self::LeastConn => Some("least_conn;".into()),
            Self::Hash { key, consistent } => {
                Some(format!("hash {}{};", key.variable(), if consistent { " consistent" } else { "" }))
            }
            Self::Random => Some("random;".into()),
            Self::RandomTwo => Some("random two;".into()),
        }
    }

    fn options(self) -> Value {
        match self {
            Self::Hash { key, consistent } => json!({"key": key.variable(), "consistent": consistent}),
            Self::RandomTwo => json!({"two": true, "least_conn": true}),
            _ => json!({}),
        }
    }

    /// Whether its servers may be backups.
    fn takes_backups(self) -> bool {
        matches!(self, Self::RoundRobin | Self::LeastConn)
    }
}

/// What the key column of a recording holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    None,
    Hash,
    Method,
    Pid,
}

impl KeyKind {
    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Hash => "hash",
            Self::Method => "method",
            Self::Pid => "pid",
        }
    }
}

/// A configuration of nginx.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) network: Network,
    pub(crate) method: Method,
    pub(crate) servers: Vec<Server>,
    /// Servers after each reload.
    pub(crate) reloads: Vec<Vec<Server>>,
    pub(crate) workers: u16,
    pub(crate) zone: bool,
    pub(crate) next_upstream: String,
    pub(crate) next_upstream_tries: u32,
    pub(crate) read_timeout_ms: u32,
    pub(crate) key_kind: KeyKind,
}

/// `proxy_next_upstream` if it is not set.
const NEXT_UPSTREAM: &str = "error timeout";
/// `proxy_read_timeout` if it is not set, in milliseconds.
const READ_TIMEOUT_MS: u32 = 60_000;

impl Setup {
    /// `nginx.conf` with these servers.
    fn configuration(&self, servers: &[Server]) -> String {
        let mut upstream: Vec<String> = self.method.directive().into_iter().collect();
        if self.zone {
            upstream.insert(0, "zone backend 256k;".into());
        }
        upstream.extend(servers.iter().map(|server| format!("{};", server.line())));
        let mut location = Vec::new();
        if self.next_upstream != NEXT_UPSTREAM {
            location.push(format!("proxy_next_upstream {};", self.next_upstream));
        }
        if self.next_upstream_tries != 0 {
            location.push(format!("proxy_next_upstream_tries {};", self.next_upstream_tries));
        }
        if self.read_timeout_ms != READ_TIMEOUT_MS {
            location.push(format!("proxy_read_timeout {}ms;", self.read_timeout_ms));
        }
        let indent =
            |lines: Vec<String>| lines.iter().map(|line| format!("            {line}\n")).collect::<String>();
        format!(
            "worker_processes {workers};
daemon off;
pid nginx.pid;
error_log logs/error.log warn;
events {{ worker_connections 512; }}
http {{
    log_format trace escape=none '$http_x_seq|$msec|$request_time|$remote_addr|$upstream_addr|$status|$pid|$upstream_response_time';
    access_log off;
    client_body_temp_path tmp/body;
    proxy_temp_path tmp/proxy;
    fastcgi_temp_path tmp/fastcgi;
    uwsgi_temp_path tmp/uwsgi;
    scgi_temp_path tmp/scgi;
    set_real_ip_from unix:;
    real_ip_header X-Real-IP;
    upstream backend {{
{upstream}    }}
    server {{
        listen unix:{FRONT};
        location = /__pid {{ return 200 \"$pid\"; }}
        location / {{
            access_log syslog:server={log},nohostname trace;
            proxy_pass http://backend;
            proxy_set_header X-Seq $http_x_seq;
{location}        }}
    }}
}}
",
            workers = self.workers,
            upstream = indent(upstream),
            log = self.network.log(),
            location = indent(location),
        )
    }

    /// The file of the configuration after reload `index`.
    fn reload_name(index: usize) -> String {
        format!("nginx.reload{}.conf", index + 1)
    }

    /// What `case.json` says, besides what is known only afterwards.
    fn manifest(&self) -> Value {
        let reloads: Vec<Value> = (self.reloads.iter().enumerate())
            .map(|(index, servers)| {
                let servers: Vec<Value> = servers.iter().map(Server::json).collect();
                json!({"conf": Self::reload_name(index), "servers": servers})
            })
            .collect();
        json!({
            "product": "nginx",
            "method": self.method.name(),
            "options": self.method.options(),
            "workers": self.workers,
            "zone": self.zone,
            "servers": self.servers.iter().map(Server::json).collect::<Vec<_>>(),
            "next_upstream": self.next_upstream,
            "next_upstream_tries": self.next_upstream_tries,
            "next_upstream_timeout_ms": 0,
            "connect_timeout_ms": 60_000,
            "read_timeout_ms": self.read_timeout_ms,
            "key_kind": self.key_kind.name(),
            "client_address": "X-Real-IP via realip",
            "reloads": reloads,
        })
    }

    /// Every server of any configuration, in the order of their numbers.
    fn all_servers(&self) -> Vec<Server> {
        let mut all: Vec<Server> =
            self.servers.iter().chain(self.reloads.iter().flatten()).cloned().collect();
        all.sort_by_key(|server| server.number);
        all.dedup_by_key(|server| server.number);
        all
    }

    /// Configurations with one thing less, the greatest first. Not all of them need be ones that nginx takes.
    pub(crate) fn simpler(&self) -> Vec<Self> {
        let mut simpler = Vec::new();
        let mut add = |change: &dyn Fn(&mut Self)| {
            let mut changed = self.clone();
            change(&mut changed);
            simpler.push(changed);
        };
        for server in self.all_servers() {
            if self.servers.iter().filter(|other| !other.backup && other.number != server.number).count() > 0
            {
                add(&|setup| {
                    for servers in std::iter::once(&mut setup.servers).chain(&mut setup.reloads) {
                        servers.retain(|other| other.number != server.number);
                    }
                    setup.reloads.retain(|servers| servers.iter().any(|server| !server.backup));
                });
            }
        }
        if self.workers > 1 {
            add(&|setup| (setup.workers, setup.zone) = (1, false));
        }
        if self.zone {
            add(&|setup| setup.zone = false);
        }
        if self.next_upstream != NEXT_UPSTREAM {
            add(&|setup| setup.next_upstream = NEXT_UPSTREAM.into());
        }
        if self.next_upstream_tries != 0 {
            add(&|setup| setup.next_upstream_tries = 0);
        }
        for (index, server) in self.servers.iter().enumerate() {
            let plain = Server { weight: 1, max_conns: 0, down: false, backup: false, ..server.clone() };
            if plain != *server {
                add(&|setup| setup.servers[index] = plain.clone());
            }
        }
        simpler
    }
}

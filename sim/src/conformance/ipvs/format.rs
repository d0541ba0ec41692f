//! The files of a recording as they are written.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

use crate::conformance::CaseError;
use crate::engine::SimTime;

pub(super) const MANIFEST: &str = "case.json";
pub(super) const COMMANDS: &str = "commands.sh";
pub(super) const EVENTS: &str = "events.csv";

/// `case.json`, as far as a replay needs it.
#[derive(Debug, Deserialize)]
pub(super) struct Manifest {
    pub scheduler: Option<String>,
    #[serde(default)]
    pub scheduler_flags: Vec<String>,
    pub persistence_s: Option<u64>,
    pub persistence_netmask: Option<String>,
    #[serde(default)]
    pub timeouts_s: Timeouts,
    #[serde(default)]
    pub sysctl: BTreeMap<String, String>,
    pub vip: String,
    pub servers: Vec<Server>,
    pub forwarding: String,
    #[serde(default)]
    pub services: Vec<Service>,
    pub kernel_timer: Option<KernelTimer>,
    /// Addresses of two directors by name; the first holds the virtual address to begin with.
    pub directors: Option<BTreeMap<String, String>>,
    /// Whether the first director's sync daemon is a master and the second's a backup.
    #[serde(default)]
    pub sync_daemon: bool,
    pub keepalived: Option<Keepalived>,
}

/// What keepalived was configured to: a pair with VRRP, or one that checks servers.
#[derive(Debug, Deserialize)]
pub(super) struct Keepalived {
    pub advert_int_s: Option<f64>,
    /// By director: there are two then.
    pub priorities: Option<BTreeMap<String, u8>>,
    /// More options of the `vrrp_instance`.
    #[serde(default)]
    pub options: String,
    pub delay_loop_s: Option<f64>,
    pub connect_timeout_s: Option<f64>,
    pub retry: Option<u32>,
    pub delay_before_retry_s: Option<f64>,
    #[serde(default)]
    pub inhibit_on_failure: bool,
    /// How servers fail: `refuse` or `blackhole`.
    pub failure: Option<String>,
}

/// `ipvsadm --set`.
#[derive(Debug, Deserialize)]
pub(super) struct Timeouts {
    pub tcp: u64,
    pub tcpfin: u64,
    pub udp: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { tcp: 900, tcpfin: 120, udp: 300 }
    }
}

/// One real server, in every service.
#[derive(Debug, Deserialize)]
pub(super) struct Server {
    pub name: String,
    /// Address and port.
    pub addr: Option<SocketAddr>,
    pub weight: u32,
    #[serde(default)]
    pub upper_threshold: u32,
    #[serde(default)]
    pub lower_threshold: u32,
}

/// One virtual service.
#[derive(Debug, Deserialize)]
pub(super) struct Service {
    pub service: String,
    pub scheduler: String,
    #[serde(default)]
    pub flags: Vec<String>,
    pub persistence_s: Option<u64>,
    pub netmask: Option<String>,
}

/// How trace time and the kernel's tick counter hang together.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct KernelTimer {
    pub hz: u32,
    pub jiffies_read: u64,
    pub jiffies_read_at_ms: f64,
    pub tick_phase_ms: f64,
}

/// One row of `events.csv`.
#[derive(Debug)]
pub(super) struct Event {
    /// Line in the file, from 1, the header being line 1.
    pub line: u64,
    pub t_ms: f64,
    pub event: String,
    pub conn: String,
    pub client: Option<IpAddr>,
    pub client_port: u16,
    pub server: String,
    pub detail: String,
}

impl Event {
    /// Its time.
    pub fn time(&self) -> SimTime {
        SimTime((self.t_ms * 1e6).round() as u64)
    }

    /// What is wrong with this row.
    pub fn error(&self, message: impl Into<String>) -> CaseError {
        CaseError::at(EVENTS, self.line, message)
    }

    /// The value of `name=value` among the words of the detail.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.detail.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    /// Whether the detail has this word.
    pub fn has(&self, word: &str) -> bool {
        self.detail.split_whitespace().any(|own| own == word)
    }
}

/// The rows of `events.csv`.
///
/// # Errors
/// If the file is no CSV, lacks a column, or a field is no number or address; with the line.
pub(super) fn events(bytes: &[u8]) -> Result<Vec<Event>, CaseError> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(bytes);
    let malformed = |error: csv::Error| {
        let line = error.position().map_or(1, csv::Position::line);
        CaseError::at(EVENTS, line, error.to_string())
    };
    let headers = reader.headers().map_err(malformed)?.clone();
    let column = |name: &str| {
        let message = || format!("no column `{name}`");
        headers.iter().position(|own| own == name).ok_or_else(|| CaseError::at(EVENTS, 1, message()))
    };
    let columns = ["t_ms", "event", "conn", "client", "client_port", "server", "detail"].map(column);
    let [t_ms, event, conn, client, client_port, server, detail] = columns;
    let (t_ms, event, conn, client) = (t_ms?, event?, conn?, client?);
    let (client_port, server, detail) = (client_port?, server?, detail?);

    let mut events = Vec::new();
    for record in reader.records() {
        let record = record.map_err(malformed)?;
        let line = record.position().map_or(1, csv::Position::line);
        let field = |index: usize| record.get(index).unwrap_or("");
        let wrong =
            |name: &str, got: &str| CaseError::at(EVENTS, line, format!("`{name}`: cannot read `{got}`"));
        let time = field(t_ms);
        events.push(Event {
            line,
            t_ms: time
                .parse()
                .ok()
                .filter(|time: &f64| time.is_finite() && (0.0..1e13).contains(time))
                .ok_or_else(|| wrong("t_ms", time))?,
            event: field(event).to_owned(),
            conn: field(conn).to_owned(),
            client: match field(client) {
                "" => None,
                address => Some(address.parse().map_err(|_| wrong("client", address))?),
            },
            client_port: match field(client_port) {
                "" => 0,
                port => port.parse().map_err(|_| wrong("client_port", port))?,
            },
            server: field(server).to_owned(),
            detail: field(detail).to_owned(),
        });
    }
    Ok(events)
}

//! One IPVS director as a tier instance: virtual services, the connection table, persistence templates and timers.
//!
//! Source: Linux 6.1, `net/netfilter/ipvs/` and `kernel/time/timer.c`; the functions are named beside the rules. The
//! kernel is GPL, and what is here describes what it does. Checked against recordings of it
//! ([`crate::conformance::ipvs`]).
//!
//! Not modelled: UDP, SCTP and one-packet scheduling; helpers for applications (FTP); `drop_entry`, `drop_packet` and
//! `secure_tcp`; `conn_reuse_mode` beyond 1; conntrack.

mod addresses;
mod announce;
mod commands;
mod director;
mod expiry;
#[cfg(test)]
mod fixture;
mod persistence;
#[cfg(test)]
mod properties;
mod service;
mod state;
mod sync;
mod table;
mod wheel;

pub use commands::ConnectionView;
pub use director::{Lvs, Rejoined};
pub use persistence::TemplateView;
pub use state::TcpState;
pub use sync::{Called, LvsSync, SyncEntry, SyncRole, SyncTraffic};

use std::net::SocketAddr;

use crate::balancer::lvs::{LvsScheduler, SchedulerFlags};
use crate::engine::SimDuration;

use super::{FlowId, Forwarded, Open, Opened, Segment, TableSizes};

/// A director with its virtual services (`ipvsadm`), timeouts and sysctls.
#[derive(Clone, Debug)]
pub struct LvsConfig {
    /// The virtual services, in the order of their creation.
    pub services: Vec<LvsService>,
    /// How packets are forwarded, and so which of them the director sees.
    pub forwarding: Forwarding,
    /// `ipvsadm --set`.
    pub timeouts: LvsTimeouts,
    /// `net.ipv4.vs.*`.
    pub sysctl: LvsSysctl,
    /// The kernel's timer clock.
    pub clock: KernelClock,
}

/// One virtual service.
#[derive(Clone, Debug)]
pub struct LvsService {
    /// The scheduler (`-s`).
    pub scheduler: LvsScheduler,
    /// The scheduler's flags (`-b`).
    pub scheduler_flags: SchedulerFlags,
    /// `-p`, or `None` without persistence.
    pub persistence_timeout: Option<SimDuration>,
    /// `-M` for IPv4: number of leading bits of the client's address that are one client.
    pub persistence_prefix_v4: u8,
    /// `-M` for IPv6.
    pub persistence_prefix_v6: u8,
    /// How a template names its service.
    pub template_scope: TemplateScope,
    /// The real servers, in the order in which they were added (the kernel's list is the reverse); the server at
    /// place `i` is [`crate::ids::ServerId`] `i`.
    pub servers: Vec<LvsServer>,
}

/// What a persistence template ties together (`ip_vs_sched_persist`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateScope {
    /// Address and port of the service.
    Port,
    /// A port-zero service: all ports of the address.
    AllPorts,
    /// A firewall-mark service: all that carries the mark.
    FirewallMark(u32),
}

/// One real server of a virtual service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LvsServer {
    /// `-r`. Only `mh` makes a difference of it; unspecified (0.0.0.0) where it is not known.
    pub address: SocketAddr,
    /// `-w`; 0 takes no new clients.
    pub weight: u32,
    /// `-x`; 0 is no limit.
    pub upper_threshold: u32,
    /// `-y`; 0 is none given.
    pub lower_threshold: u32,
}

/// `-m`, `-g`, `-i`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarding {
    /// Masquerading: both directions pass the director.
    Nat,
    /// Direct routing: only the client's packets do.
    Dr,
    /// IP in IP tunnel: only the client's packets do.
    Tun,
}

/// `ipvsadm --set TCP TCPFIN UDP`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LvsTimeouts {
    /// ESTABLISHED.
    pub tcp: SimDuration,
    /// FIN_WAIT.
    pub tcp_fin: SimDuration,
    /// UDP.
    pub udp: SimDuration,
}

impl Default for LvsTimeouts {
    fn default() -> Self {
        Self {
            tcp: SimDuration::from_secs(900),
            tcp_fin: SimDuration::from_secs(120),
            udp: SimDuration::from_secs(300),
        }
    }
}

/// `net.ipv4.vs.*`, as far as they change decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LvsSysctl {
    /// `expire_nodest_conn`.
    pub expire_nodest_conn: bool,
    /// `expire_quiescent_template`.
    pub expire_quiescent_template: bool,
    /// `conn_reuse_mode` other than 0.
    pub conn_reuse_mode: bool,
    /// `sloppy_tcp`.
    pub sloppy_tcp: bool,
}

impl Default for LvsSysctl {
    fn default() -> Self {
        Self {
            expire_nodest_conn: false,
            expire_quiescent_template: false,
            conn_reuse_mode: true,
            sloppy_tcp: false,
        }
    }
}

/// The kernel's timer clock: timers fire at ticks and are rounded up by the timer wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelClock {
    /// Ticks a second (`CONFIG_HZ`); 1 to 10 000, other values count as the nearest of these.
    pub hz: u32,
    /// The tick counter (`jiffies`) at time zero, before a tick at that very moment; its low 60 bits count.
    pub jiffies_at_zero: u64,
    /// Time from time zero to the next tick; less than one tick.
    pub tick_phase: SimDuration,
}

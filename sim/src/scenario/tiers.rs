//! The tiers of a strategy: what stands between clients and servers, front to back.

use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;

use super::Keys;
use crate::engine::SimDuration;
use crate::failover::vrrp::VrrpScript;
use crate::health::keepalived::{CheckRule, PoolConfig};
use crate::session::SessionPlan;
use crate::tier::{DnsConfig, EcmpConfig, HaproxyConfig, Layer, LvsConfig, NginxConfig, ProxyConfig};

/// Tiers of a strategy at most.
pub const TIERS_MAX: usize = 4;

/// A part of a tier that is no balancer.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TierPart {
    /// Its key in a scenario.
    pub name: &'static str,
    /// What it does.
    pub summary: &'static str,
    /// Its options, with their defaults.
    pub options: &'static str,
    /// Where its rules come from.
    pub source: &'static str,
}

/// What a tier can have beside, or in place of, a `balancer`.
pub const TIER_PARTS: &[TierPart] = &[
    TierPart {
        name: "dns",
        summary: "in place of a balancer: a name with an address for each instance of the next tier, and resolvers that keep answers",
        options: "ttl = \"5min\", resolvers = 1000, zipf = 1.0, order = \"cyclic\", ignore_ttl = 0.0, ignored_for = \"1d\", tries = 2",
        source: "RFC 1035 3.2.1, RFC 1794",
    },
    TierPart {
        name: "ecmp",
        summary: "in place of a balancer: a router that hashes flows over the next tier's instances",
        options: "hash = \"flow\", resilient = false",
        source: "RFC 2991, RFC 2992",
    },
    TierPart {
        name: "waf",
        summary: "in place of a balancer: a firewall in proxy mode, which sends each request on to any of the next tier's instances, once",
        options: "{}",
        source: "",
    },
    TierPart {
        name: "instances",
        summary: "how many stand side by side, or their names",
        options: "1",
        source: "",
    },
    TierPart {
        name: "director",
        summary: "two instances with one virtual address, the sync daemon between them, and scripts such as \
                  `{ interval = \"1s\", timeout = \"1s\", rise = 1, fall = 1, weight = 0 }`",
        options: "vrrp = { version = 2, advert_int = \"1s\", priority = [150, 100], nopreempt = false, preempt_delay = \"0s\", sync = false, track_script = [] }",
        source: "RFC 3768, RFC 5798, keepalived 2.2.7, Linux 6.1 `ip_vs_sync.c`",
    },
    TierPart {
        name: "peers",
        summary: "HAProxys push what their stick tables learn to each other",
        options: "false",
        source: "HAProxy 2.6 `peers.c`",
    },
    TierPart {
        name: "client_address",
        summary: "whether the next tier sees the client's address (`passed`: directors leave it, proxies write X-Forwarded-For and are believed) or \
                  the instance's own (`hidden`: FULLNAT, or nothing is passed on)",
        options: "\"passed\" of directors, \"hidden\" of proxies",
        source: "",
    },
    TierPart {
        name: "addresses",
        summary: "how many addresses each instance connects from, in turn: its own and those that follow it",
        options: "1",
        source: "",
    },
    TierPart {
        name: "health",
        summary: "checks of the servers, or of the next tier's instances; from `warmup` on, of keepalived on LVS directors",
        options: "tcp_check = { delay_loop = \"6s\", connect_timeout = \"3s\", retry = 3, delay_before_retry = \"1s\", warmup = \"6s\", alpha = false }, \
                  quorum = 1, hysteresis = 0, sorry_server = \"none\", sorry_status = 503, inhibit_on_failure = false",
        source: "keepalived 2.2.7 `check_tcp.c`, `check_http.c`, `ipwrapper.c`",
    },
];

/// One way to run the site.
#[derive(Clone, Debug)]
pub struct Strategy {
    /// Its name.
    pub name: String,
    /// The scenario name of the balancer that chooses among the servers, such as `lvs.wlc`.
    pub balancer: String,
    /// The tiers in front of that one, front to back; at most [`TIERS_MAX`] less one. Each chooses among the instances of the next.
    pub fronts: Vec<FrontPlan>,
    /// The tier that chooses among the servers.
    pub tier: TierPlan,
    /// Where sessions live.
    pub session: SessionPlan,
}

impl Strategy {
    /// The plans of the tiers whose instances are programs, front to back, each with its place among all tiers.
    pub fn programs(&self) -> impl Iterator<Item = (usize, &TierPlan)> {
        let fronts = self.fronts.iter().enumerate();
        let fronts = fronts.filter_map(|(place, front)| Some((place, front.plan()?)));
        fronts.chain([(self.fronts.len(), &self.tier)])
    }

    /// What its tiers are, front to back, in a few words: `dns → lvs.wlc × 2 → nginx.ip_hash × 4`.
    pub fn tiers_in_words(&self) -> String {
        let program = |balancer: &str, plan: &TierPlan| match (plan.instances.len(), &plan.director) {
            (_, Some(_)) => format!("{balancer} pair"),
            (1, None) => balancer.to_owned(),
            (n, None) => format!("{balancer} × {n}"),
        };
        let fronts = self.fronts.iter().map(|front| match front {
            FrontPlan::Dns { .. } => "dns".to_owned(),
            FrontPlan::Ecmp { .. } => "ecmp".to_owned(),
            FrontPlan::Tier { balancer, plan } => program(balancer, plan),
        });
        fronts.chain([program(&self.balancer, &self.tier)]).collect::<Vec<_>>().join(" → ")
    }
}

/// One tier: a program's configuration, and the checks that watch its servers.
#[derive(Clone, Debug)]
pub struct TierPlan {
    /// The program.
    pub program: Program,
    /// Those that stand side by side, at least 1. Where no tier and no pair says which of them a connection reaches, it is drawn at
    /// random.
    pub instances: Vec<InstancePlan>,
    /// What of each request the program is given, beside its address.
    pub keys: Keys,
    /// keepalived's `TCP_CHECK` or `HTTP_GET`, which removes servers from a table and puts them back.
    pub tcp_check: Option<CheckRule>,
    /// What keepalived makes of what they find, on LVS directors.
    pub pool: PoolPlan,
    /// The two instances are a pair of which one has the virtual address, if they are.
    pub director: Option<DirectorPlan>,
    /// Whether the stick tables of its HAProxys tell each other what they learn (`peers`).
    pub peers: bool,
    /// Whether the next tier learns the client's address, not an instance's own.
    pub passes_address: bool,
    /// Addresses from which each of its instances connects to the next tier, at least 1.
    pub addresses: u8,
}

impl TierPlan {
    /// The addresses by which a tier in front knows its instances: one for a pair, which shares its virtual address.
    pub fn targets(&self) -> usize {
        if self.director.is_some() { 1 } else { self.instances.len() }
    }

    /// The name of the cookie that names a server, where the configuration gives it one. An HAProxy's is its own.
    pub(super) fn cookie_name(&self) -> Option<&str> {
        match &self.program {
            Program::Nginx(config) => config.sticky.as_ref().map(|sticky| &*sticky.name),
            Program::Lvs(_) | Program::HaProxy(_) | Program::Proxy(_) => None,
        }
    }

    /// The addresses from which its instances connect to the next tier, those of one behind those of another: each has its own, and
    /// those that follow it.
    pub fn own_addresses(&self) -> Vec<IpAddr> {
        let following = |address: IpAddr, place: u8| match address {
            IpAddr::V4(own) => IpAddr::V4(u32::from(own).wrapping_add(place.into()).into()),
            IpAddr::V6(own) => IpAddr::V6(u128::from(own).wrapping_add(place.into()).into()),
        };
        let own = self.instances.iter().map(|instance| instance.address);
        own.flat_map(|own| (0..self.addresses).map(move |place| following(own, place))).collect()
    }
}

/// The pool that keepalived keeps in a director's table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolPlan {
    /// Its options.
    pub config: PoolConfig,
    /// The status of each answer of the sorry server, 400 to 599; `None`: it serves the site as any other does.
    pub sorry_status: Option<u16>,
}

/// An instance of a tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstancePlan {
    /// Its name.
    pub name: String,
    /// Its own address, by which tiers in front of it know it, and which it shows to the next tier if it hides its clients.
    pub address: IpAddr,
}

impl InstancePlan {
    /// So many instances without names and addresses of their own: they are called after the balancer's program, numbered from 1,
    /// and stand in a network of their tier's, so many addresses `apart`. `rank` counts tiers from the back.
    pub(super) fn unnamed(balancer: &str, rank: usize, number: usize, apart: usize) -> Vec<Self> {
        const PER_24: usize = 254;
        let program = balancer.split_once('.').map_or(balancer, |(program, _)| program);
        let instance = |place: usize| {
            // A /17 has room for the most instances with the most addresses.
            let (second, address) = if apart == 1 { (254, place) } else { (252 + rank / 2, place * apart) };
            let networks = if apart == 1 { 8 * rank } else { 128 * (rank % 2) };
            let (third, fourth) = (networks + address / PER_24, 1 + address % PER_24);
            let address = IpAddr::V4(Ipv4Addr::new(10, second as u8, third as u8, fourth as u8));
            Self { name: format!("{program}{}", place + 1), address }
        };
        (0..number).map(instance).collect()
    }
}

/// The program of a tier. Clock phases in it, and the stream of its own draws, are set per replication.
#[derive(Clone, Debug)]
pub enum Program {
    /// An nginx.
    Nginx(NginxConfig),
    /// An IPVS director.
    Lvs(LvsConfig),
    /// An HAProxy.
    HaProxy(HaproxyConfig),
    /// A layer 7 proxy of no particular program.
    Proxy(ProxyConfig),
}

impl Program {
    /// Whether it decides for each connection or for each request.
    pub fn layer(&self) -> Layer {
        match self {
            Self::Lvs(_) => Layer::Connection,
            Self::Nginx(_) | Self::HaProxy(_) | Self::Proxy(_) => Layer::Request,
        }
    }
}

/// A tier that stands in front of another.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a strategy has few, and they are read once")]
pub enum FrontPlan {
    /// The site's name in the DNS, with the addresses of the next tier's instances.
    Dns {
        /// How it is answered.
        config: DnsConfig,
        /// The checks by which addresses are taken out of the answers.
        tcp_check: Option<CheckRule>,
    },
    /// A router whose next hops are the next tier's instances.
    Ecmp {
        /// How it spreads flows.
        config: EcmpConfig,
        /// The checks by which next hops are withdrawn.
        tcp_check: Option<CheckRule>,
    },
    /// A balancer whose servers are the next tier's instances.
    Tier {
        /// Its scenario name.
        balancer: String,
        /// Its plan.
        plan: TierPlan,
    },
}

impl FrontPlan {
    /// Its plan, if it has instances.
    pub fn plan(&self) -> Option<&TierPlan> {
        match self {
            Self::Tier { plan, .. } => Some(plan),
            Self::Dns { .. } | Self::Ecmp { .. } => None,
        }
    }

    /// The checks of the next tier's instances.
    pub fn tcp_check(&self) -> Option<CheckRule> {
        match self {
            Self::Dns { tcp_check, .. } | Self::Ecmp { tcp_check, .. } => *tcp_check,
            Self::Tier { plan, .. } => plan.tcp_check,
        }
    }
}

/// A pair of instances of which the active one has the virtual address: keepalived's VRRP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectorPlan {
    /// The protocol's version, 2 or 3.
    pub version: u8,
    /// `advert_int`: time between advertisements.
    pub advert_int: SimDuration,
    /// `priority` of each, 1 to 254.
    pub priority: [u8; 2],
    /// `nopreempt`: one that comes back leaves the address to the other.
    pub nopreempt: bool,
    /// `preempt_delay`: how long one that comes back waits before it takes the address again.
    pub preempt_delay: SimDuration,
    /// The IPVS sync daemon, or HAProxy's peers: the backup learns of connections or clients.
    pub sync: bool,
    /// `track_script`: scripts that look whether the balancer's process lives, on each of the two.
    pub track_script: Vec<VrrpScript>,
}

//! How a server is chosen: the [`Balancer`] trait, and the catalogue of every algorithm.
//!
//! A balancer is one file under its program's folder and one line of the `catalogue!` below. The line makes the
//! module, the variant of the program's enum and the name that scenarios use (`lvs.wlc`), says in brackets whether
//! recordings of the real program stand behind it ([`Evidence`]), and declares what the algorithm claims
//! ([`Properties`]). The scenario parser, `evenkeel list`, the reference page, the property tests, the benches and the
//! replay of recordings go by the catalogue ([`entries`]).

mod cookie;
pub mod envoy;
pub mod haproxy;
pub mod lvs;
pub mod modern;
pub mod nginx;
mod options;
pub mod properties;
mod proxy;
pub mod trial;

use crate::ids::ServerId;

pub use cookie::CookieLife;
pub use options::{OptionVisitor, is_prime};
pub use properties::Properties;
pub use proxy::ProxyMethod;

/// Chooses one server among those that a tier instance keeps.
///
/// The program's own table of servers and its scratch for one request are types of the family, because the real
/// programs differ in what they count; the trait is what a tier instance drives.
pub trait Balancer {
    /// The table of servers that the algorithm reads and counts in.
    type Servers;
    /// What the algorithm knows of the request, kept from one try to the next.
    type Request;

    /// Chooses a server for the next try of `request`, or `None` when no server may take it. Bookkeeping that the
    /// real program does at the pick (current weights, pointers) is done here.
    fn pick(&mut self, servers: &mut Self::Servers, request: &mut Self::Request) -> Option<ServerId>;

    /// The set of servers or their weights changed.
    fn servers_changed(&mut self, _servers: &Self::Servers) {}

    /// A try of `request` has ended, as the servers' table knows by now. Only layer 7 proxies say so.
    fn ended(&mut self, _servers: &Self::Servers, _request: &Self::Request) {}

    /// Shows the algorithm's own options to `visitor`, which may change them. To be used before servers are known.
    fn options(&mut self, _visitor: &mut dyn OptionVisitor) {}

    /// What is in flight on `server` changed. Only for programs whose table of servers says so.
    fn load_changed(&mut self, _servers: &Self::Servers, _server: ServerId) {}
}

/// Why a decision fell as it did: the evidence from which the cause of a session's loss is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Chosen by the algorithm, which ties nothing to the client. `tie` says that another server was equally good
    /// and the order of the list decided.
    Scheduled {
        /// Whether the choice fell between equals.
        tie: bool,
    },
    /// The client's address or key hashes to this server.
    Hashed,
    /// The hash chose another server first, which may not be used now; see the field for why.
    Rehashed(Skipped),
    /// The instance remembers the client: an LVS persistence template, a stick-table entry, a cookie.
    Affinity,
    /// The connection is known already (a segment or a reused port of a live entry).
    LiveEntry,
    /// The instance remembered the client, but that server may no longer be used; see the field for why.
    AffinityUnusable(Skipped),
    /// No server may be used.
    NoneUsable,
    /// Every server that may be used is full: the request waits for one.
    Queued,
}

/// Why the server that affinity or the hash points at was passed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Skipped {
    /// It failed in this very request.
    Tried,
    /// Failures count against it (nginx `max_fails`), or a health check took it out.
    Unhealthy,
    /// It has as many connections as it may (`max_conns`, an LVS upper threshold).
    Full,
    /// It is out by configuration: `down`, weight 0, removed.
    OutOfService,
    /// Too many tries at the hash: the program fell back to round robin.
    TriesExhausted,
    /// It may be used, but the table that pointed at it was built anew because others left or came back.
    TableRebuilt,
}

/// One line of the catalogue, for listings.
#[derive(Clone, Copy, Debug)]
pub struct CatalogueEntry {
    /// The program whose rules it follows: `nginx`, `lvs`, `haproxy`.
    pub program: &'static str,
    /// Its name there, as the program's own configuration spells it.
    pub name: &'static str,
    /// `program.name`, as scenarios write it.
    pub scenario_name: &'static str,
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// What it says of itself.
    pub properties: Properties,
    /// What stands behind it.
    pub evidence: Evidence,
}

/// Whether recordings of the real program stand behind an algorithm: cases in `sim/tests/golden` that were replayed and
/// found alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// Decision by decision.
    Recorded,
    /// The program decides by chance: counts of its decisions agree with those of the model.
    ByDistribution,
    /// None: the rules are those of its source, documentation or paper, as its file says.
    NotRecorded,
}

impl Evidence {
    /// In words, as listings show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::ByDistribution => "recorded, by distribution",
            Self::NotRecorded => "not recorded",
        }
    }
}

/// Makes, for one program, the modules of its algorithms, the enum that dispatches among them without a virtual
/// call, and the program's part of the catalogue.
macro_rules! catalogue {
    (
        $(#[$doc:meta])*
        $program:ident: $family:ident<Servers = $servers:ty, Request = $request:ty> {
            $( $(#[doc = $summary:literal])+ $name:ident $(= $spelling:literal)? ::$type:ident [$evidence:ident] {
                $($property:ident: $value:expr),+ $(,)?
            }, )+
        }
    ) => {
        $(pub mod $name;)+

        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub enum $family {
            $( $(#[doc = $summary])+ $type($name::$type), )+
        }

        impl $family {
            /// The algorithms of the program, in catalogue order.
            pub const ENTRIES: &'static [$crate::balancer::CatalogueEntry] = {
                use $crate::balancer::properties::{Cost::*, Grain::*, Moves::*, Refuses::*, Shares::*, Ties::*};
                &[$(
                    $crate::balancer::CatalogueEntry {
                        program: stringify!($program),
                        name: $crate::balancer::spelling!($name $($spelling)?),
                        scenario_name: concat!(
                            stringify!($program), ".", $crate::balancer::spelling!($name $($spelling)?)
                        ),
                        summary: concat!($($summary),+),
                        evidence: $crate::balancer::Evidence::$evidence,
                        properties: $crate::balancer::Properties { $($property: $value),+ },
                    },
                )+]
            };

            /// A fresh instance of the algorithm called `name` in the program's configuration, or `None` if there
            /// is none of that name.
            pub fn by_name(name: &str) -> Option<Self> {
                match name {
                    $( $crate::balancer::spelling!($name $($spelling)?) => Some(Self::$type(Default::default())), )+
                    _ => None,
                }
            }

            /// The algorithm's name in the program's configuration.
            pub fn name(&self) -> &'static str {
                match self { $( Self::$type(_) => $crate::balancer::spelling!($name $($spelling)?), )+ }
            }
        }

        impl $crate::balancer::Balancer for $family {
            type Servers = $servers;
            type Request = $request;

            #[inline]
            fn pick(&mut self, servers: &mut $servers, request: &mut $request) -> Option<$crate::ids::ServerId> {
                match self { $( Self::$type(balancer) => balancer.pick(servers, request), )+ }
            }

            fn servers_changed(&mut self, servers: &$servers) {
                match self { $( Self::$type(balancer) => balancer.servers_changed(servers), )+ }
            }

            #[inline]
            fn ended(&mut self, servers: &$servers, request: &$request) {
                match self { $( Self::$type(balancer) => balancer.ended(servers, request), )+ }
            }

            fn options(&mut self, visitor: &mut dyn $crate::balancer::OptionVisitor) {
                match self { $( Self::$type(balancer) => balancer.options(visitor), )+ }
            }

            #[inline]
            fn load_changed(&mut self, servers: &$servers, server: $crate::ids::ServerId) {
                match self { $( Self::$type(balancer) => balancer.load_changed(servers, server), )+ }
            }
        }
    };
}
pub(crate) use catalogue;

/// How a program spells an algorithm: as its module is called, unless said otherwise.
macro_rules! spelling {
    ($name:ident) => {
        stringify!($name)
    };
    ($name:ident $spelling:literal) => {
        $spelling
    };
}
pub(crate) use spelling;

/// The algorithm that scenarios call `scenario_name`, if there is one.
pub fn entry(scenario_name: &str) -> Option<&'static CatalogueEntry> {
    entries().find(|entry| entry.scenario_name == scenario_name)
}

/// Every algorithm, by program.
pub fn entries() -> impl Iterator<Item = &'static CatalogueEntry> {
    nginx::NginxMethod::ENTRIES
        .iter()
        .chain(lvs::LvsScheduler::ENTRIES)
        .chain(haproxy::HaproxyMethod::ENTRIES)
        .chain(modern::ModernMethod::ENTRIES)
        .chain(envoy::EnvoyMethod::ENTRIES)
}

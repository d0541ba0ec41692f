//! Scenarios: what a file says, resolved. Every field below is final: defaults are filled in, presets are expanded,
//! names are ids. The parser lives beside this file; the rest of the simulator sees only these types.

mod address_lines;
mod autoscaling;
mod diagnostic;
mod empirical;
mod explain;
mod faults;
mod load;
mod overrides;
mod presets;
mod quantity;
mod read;
mod section;
pub mod sweep;
mod tiers;
mod traffic;
mod tree;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::backend::Capacity;
use crate::engine::{Distribution, SimDuration};
use crate::metrics::{MetricId, Phase};
use crate::population::arrivals::ArrivalPlan;
use crate::population::replay::{LogFormat, SessionsBy};
use crate::population::{AddressPlan, SitePages, UserTable};
use crate::session::OnUnknownId;
use crate::tier::haproxy::PersistenceRules;
use crate::tier::{Key, RequestFields};

pub use crate::health::keepalived::{CheckRule, PoolConfig};
pub use autoscaling::{Autoscaling, ScalingTarget};
pub use diagnostic::{Diagnostic, Diagnostics, SET};
pub use explain::{Resolved, StoreOption, canonical, parameters, store_options, workload};
pub use faults::{ErrorRule, Fault, FaultKind, Part, Process, Recurs};
pub use load::{Loaded, load, parse};
pub use overrides::Overrides;
pub use presets::{PresetEntry, PresetKind, presets};
pub use quantity::parse_duration as duration;
pub use read::instead_of_metric;
pub use sweep::{Axis, SweepPlan};
pub use tiers::{
    DirectorPlan, FrontPlan, InstancePlan, PoolPlan, Program, Strategy, TIER_PARTS, TIERS_MAX, TierPart,
    TierPlan,
};
pub use traffic::{
    Backoff, Browser, CONNECTIONS_MAX, ClientBudget, HoldPlan, OBJECTS_MAX, PagePlan, Patience, Traffic,
    VisitPlan,
};

/// Windows of a run at most: each keeps counters of every server.
pub(crate) const WINDOWS_MAX: u64 = 1_000_000;

/// One experiment: one site and its clients, some faults, several strategies.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What the scenario shows, in a line.
    pub title: String,
    /// Length of the measured part, after the warm-up. `None`: to the end of the replayed logs.
    pub duration: Option<SimDuration>,
    /// Time before measurement begins; zero when it is to be detected.
    pub warmup: SimDuration,
    /// Whether the experiment finds the warm-up itself; only of a scenario that [is stationary](Scenario::is_stationary).
    pub detect_warmup: bool,
    /// Independent repetitions, at least 1; with a `precision`, at most so many.
    pub replications: u32,
    /// When repetitions suffice.
    pub precision: Option<Precision>,
    /// Seed of every random number.
    pub seed: u64,
    /// What changes from one replication to the next.
    pub vary: Vary,
    /// Length of the windows over which load skew is watched.
    pub window: SimDuration,
    /// Headers and parameters of every request.
    pub request: Arc<RequestFields>,
    /// What its sessions are like.
    pub session: SessionLife,
    /// Populations of simulated users.
    pub populations: Vec<Population>,
    /// Replayed logs.
    pub logs: Vec<LogSource>,
    /// Clients that follow a script.
    pub scripted_clients: Vec<ScriptedClient>,
    /// The servers, in configuration order.
    pub servers: Vec<Server>,
    /// Who puts servers into service and takes them out as they are busy; it has a line among the `faults`.
    pub autoscaling: Option<Autoscaling>,
    /// Names of the strategies' tier instances, each once, in order of appearance.
    pub instances: Vec<String>,
    /// What breaks.
    pub faults: Vec<Fault>,
    /// The strategies to compare; the first is the reference.
    pub strategies: Vec<Strategy>,
    /// What `evenkeel check` demands.
    pub expectations: Vec<Expectation>,
    /// What `evenkeel sweep` goes over.
    pub sweep: Option<SweepPlan>,
    /// Among what `evenkeel advise` chooses.
    pub advise: Option<AdvisePlan>,
}

impl Scenario {
    /// Whether a fault is about a tier's instance of this name.
    pub fn breaks(&self, instance: &str) -> bool {
        let named = self.faults.iter().filter_map(Fault::instance);
        named.into_iter().any(|place| self.instances[usize::from(place)] == instance)
    }

    /// Whether the site is the same at all times, so that the run's beginning is all that must be left out: no fault, no log,
    /// no script, and arrivals that do not follow the clock.
    pub fn is_stationary(&self) -> bool {
        let steady = |population: &Population| match population.traffic.arrivals() {
            Some(ArrivalPlan::Poisson { .. } | ArrivalPlan::Bursts { .. } | ArrivalPlan::Batches { .. }) => {
                true
            }
            Some(ArrivalPlan::Diurnal { .. } | ArrivalPlan::FlashCrowd { .. } | ArrivalPlan::Ramp { .. }) => {
                false
            }
            None => population.traffic.visit().is_none_or(|visit| visit.diurnal.is_none()),
        };
        self.faults.is_empty()
            && self.logs.is_empty()
            && self.scripted_clients.is_empty()
            && self.populations.iter().all(steady)
    }

    /// The ports that clients call, in order of appearance; at least one.
    pub fn ports(&self) -> Vec<u16> {
        let of_populations = self.populations.iter().map(|population| population.connection.port);
        let of_logs = self.logs.iter().map(|log| log.connection.port);
        let of_scripts = self.scripted_clients.iter().map(|_| HTTP);
        let mut ports = Vec::new();
        for port in of_populations.chain(of_logs).chain(of_scripts) {
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
        if ports.is_empty() {
            ports.push(HTTP);
        }
        ports
    }
}

/// The port of the web.
pub(crate) const HTTP: u16 = 80;

/// When repetitions suffice: the 95 % interval of each metric, of every strategy, is at most so wide beside its mean.
#[derive(Clone, Debug, PartialEq)]
pub struct Precision {
    /// Half the interval's width over the mean, above 0.
    pub relative: f64,
    /// The metrics, over the whole run; at least one.
    pub metrics: Vec<MetricId>,
}

/// What changes between replications.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Vary {
    /// Addresses and behaviour: *some* site of this kind.
    Population,
    /// Behaviour only: *this* site's users behaving anew.
    Behaviour,
    /// Only where in the address space the users' networks lie: what luck with a hash comes to. Those of logs lie where they do in
    /// truth in the first replication.
    Hash,
}

impl Vary {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Population, Self::Behaviour, Self::Hash];

    /// Its name in scenarios and results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Population => "population",
            Self::Behaviour => "behaviour",
            Self::Hash => "hash",
        }
    }
}

/// A population of simulated users.
#[derive(Clone, Debug)]
pub struct Population {
    /// Its name.
    pub name: String,
    /// Number of users, at least 1.
    pub clients: u32,
    /// The addresses that they come from.
    pub address: AddressPlan,
    /// The users of a log, whom the population's are like; their networks, visits and absences then come from there, and the
    /// plans' do not count.
    pub users: Option<UserFile>,
    /// How their requests come about.
    pub traffic: Traffic,
    /// How active a user is beside others, above 0: absences are divided by it, and open arrivals are drawn in proportion
    /// to it. Drawn once for each user.
    pub activity: Distribution,
    /// How their connections are used.
    pub connection: ConnectionRules,
    /// The pages among which their requests choose.
    pub pages: SitePages,
}

/// Users of a log.
#[derive(Clone, Debug)]
pub struct UserFile {
    /// The file; as written when absolute, else relative to the scenario's folder.
    pub file: PathBuf,
    /// What is in it.
    pub table: Arc<UserTable>,
}

/// How a client's connections are used. A client has one, unless its pages have objects ([`PagePlan`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionRules {
    /// Idle time after which the hop that ends TCP closes the connection; zero closes after each answer.
    pub keepalive_timeout: SimDuration,
    /// Requests that a connection may carry, at least 1.
    pub keepalive_requests: u32,
    /// Who closes an idle connection.
    pub closed_by: ClosedBy,
    /// The port that clients call. Only LVS makes a difference of it.
    pub port: u16,
}

/// Who closes an idle connection first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClosedBy {
    /// The client's browser.
    Client,
    /// The hop that ends TCP: the web server behind LVS, else the proxy.
    Server,
}

/// A replayed access log.
#[derive(Clone, Debug)]
pub struct LogSource {
    /// Its name.
    pub name: String,
    /// The files, in order; as written when absolute, else relative to the scenario's folder.
    pub files: Vec<PathBuf>,
    /// The format of its lines; `None`: judged by the first lines of each file.
    pub format: Option<LogFormat>,
    /// What tells its users apart.
    pub sessions_by: SessionsBy,
    /// Whether the client is whom `X-Forwarded-For` names.
    pub forwarded: bool,
    /// The file of the key by which addresses are replaced by pseudonyms.
    pub pseudonymise: Option<PathBuf>,
    /// The first second that is replayed, since the Unix epoch in UTC.
    pub from: Option<u32>,
    /// The second before which replaying ends.
    pub until: Option<u32>,
    /// How many seconds of the log pass in one, above 0.
    pub speed: f64,
    /// Longest idle time within one visit of a user, in the log's time.
    pub visit_gap: SimDuration,
    /// How far out of order a line may come before the log is sorted externally.
    pub reorder_window: SimDuration,
    /// Whether visits carry a session (those of bots never do).
    pub sessions: bool,
    /// Idle time after which the application forgets a session.
    pub session_idle_timeout: SimDuration,
    /// What the application does with a session id that it does not know.
    pub on_unknown_id: OnUnknownId,
    /// How the clients' connections are used.
    pub connection: ConnectionRules,
}

/// A client that opens connections at given times.
#[derive(Clone, Debug)]
pub struct ScriptedClient {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Its connections, in order of time; each carries one GET.
    pub connections: Vec<ScriptedConnection>,
    /// The strategies (indices) in which it exists; `None`: in all.
    pub strategies: Option<Vec<usize>>,
}

/// One connection of a scripted client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScriptedConnection {
    /// When it opens, from the end of the warm-up.
    pub at: SimDuration,
    /// How long it stays open before the client closes it.
    pub hold: SimDuration,
}

/// A server.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its name.
    pub name: String,
    /// Host and port as in the balancer's configuration.
    pub address: String,
    /// Its share of the work relative to others, as the balancers are told unless a strategy says otherwise.
    pub weight: u32,
    /// The zone that it stands in: what fails together.
    pub zone: Option<String>,
    /// What it can do.
    pub capacity: Capacity,
}

/// What the site's sessions are like, wherever they live.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionLife {
    /// The size of a session \[B\].
    pub bytes: Distribution,
    /// The share of clicks that write their session; all clicks read it.
    pub writes: f64,
}

impl Default for SessionLife {
    /// 4 kB on average, which is an assumption, and a write at each click, as PHP and Tomcat without care do.
    fn default() -> Self {
        Self { bytes: Distribution::Lognormal { mean: 4_096.0, cv: 1.0 }, writes: 1.0 }
    }
}

/// What of each request a layer 7 program looks at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Keys {
    /// What its method hashes ([`crate::tier::Open::key`]).
    pub hash: Option<Key>,
    /// What its stick table remembers ([`crate::tier::Ties::sample`]).
    pub stick: Option<Key>,
    /// How ties count by the request's path ([`crate::tier::Ties::persistence`]).
    pub persistence: PersistenceRules,
}

impl Keys {
    /// Whether the path of a log's request can be part of one.
    pub fn show_path(&self) -> bool {
        [&self.hash, &self.stick].into_iter().flatten().any(Key::shows_path)
    }
}

/// Among what `evenkeel advise` chooses: the strategies, at every value of these fields.
#[derive(Clone, Debug, PartialEq)]
pub struct AdvisePlan {
    /// Fields and their values. A field of a strategy (`strategy.NAME.…`) belongs to that one, any other to all.
    pub fields: Vec<Axis>,
    /// The metrics of which none shall be larger without need; at least one.
    pub minimise: Vec<MetricId>,
    /// What a choice must keep.
    pub limits: Vec<Constraint>,
}

impl AdvisePlan {
    /// The plan of a scenario that says nothing but which fields: skew, losses, response times, and what a session store has to do.
    pub fn of(fields: Vec<Axis>) -> Self {
        const OBJECTIVES: [&str; 4] =
            ["load.requests.peak_to_nominal", "visits.with_loss", "latency.p99", "store.operations"];
        let minimise = OBJECTIVES.iter().filter_map(|name| MetricId::by_name(name)).collect();
        Self { fields, minimise, limits: Vec::new() }
    }
}

/// A limit that a choice must keep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Constraint {
    /// The metric, over the whole run.
    pub metric: MetricId,
    /// Its largest value.
    pub max: f64,
}

/// A limit on a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    /// The strategy (index), or `None` for every strategy.
    pub strategy: Option<usize>,
    /// The metric.
    pub metric: MetricId,
    /// The phase.
    pub phase: Phase,
    /// The strategy (index) whose value the limits multiply; `None`: they are limits of the value itself.
    pub relative_to: Option<usize>,
    /// The quantile over replications that is limited, above 0 and below 1; `None`: the metric as it is estimated.
    pub quantile: Option<f64>,
    /// Smallest value that passes.
    pub min: Option<f64>,
    /// Largest value that passes.
    pub max: Option<f64>,
    /// Line of the scenario file where it stands, from 1.
    pub line: usize,
}

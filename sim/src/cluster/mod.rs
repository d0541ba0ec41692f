//! The one place where all parts meet: clients, connections, tiers, servers, sessions and faults of one run.
//!
//! A run is one strategy in one replication. [`Cluster`] is its model; [`run`] builds it, drives it to its end, checks the
//! accounts and returns what happened.

pub mod accounting;
mod address;
mod ailing;
mod ailments;
mod autoscaler;
mod blame;
mod browser;
mod chain;
mod checks;
mod client_budget;
mod closed_loop;
mod connection;
mod cookies;
mod dealt;
mod detection;
pub mod event;
mod evidence;
mod faults;
mod hold;
mod instances;
mod log_source;
mod login;
mod observe;
mod open_loop;
mod operations;
mod overdue;
mod page;
mod pair;
mod paths;
mod patience;
mod queue;
mod replay;
mod request;
mod retry;
mod rosters;
mod route;
mod run;
mod scaling;
mod script;
mod service;
mod shows;
mod silence;
mod station;
mod stored;
mod story;
mod tier;
mod timetable;
mod watch;

use std::collections::BTreeMap;

pub use accounting::AccountingError;
pub use detection::{Removal, Sighting};
pub use faults::{FaultCounts, Outage, ScalingAct, Spell};
pub use observe::{Answer, Observer, StepName, run_observed};
pub use run::{RunError, RunOutcome, RunSetup, RunSizes, calendar, run};
pub use script::TraceLine;

use crate::backend::servers::Servers;
use crate::engine::queue::PendingEvents;
use crate::engine::{Distribution, Model, Sampler, Scheduler, SimTime, Stream};
use crate::ids::{ConnectionId, PopulationId, RequestId, ServerId, StreamId};
use crate::metrics::recorder::Recorder;
use crate::population::clients::Clients;
use crate::population::moved::Moved;
use crate::population::{AddressStreams, PageSampler};
use crate::scenario::{Scenario, Strategy, Vary};
use crate::session::SessionPlan;
use crate::session::sessions::Sessions;
use crate::slots::Slots;
use crate::table::Column;
use crate::tier::Layer;

use ailments::Ailments;
use browser::{BrowserSamplers, Pace, Tab};
use checks::Probe;
use client_budget::ClientBudgets;
use dealt::DealtUsers;
use event::Event;
use open_loop::Source;
use paths::Paths;
use request::{Connection, Request};
use scaling::Scaling;
use script::Script;
use silence::Silent;
use stored::Stored;
use story::Stories;
use tier::Tier;

/// The model of one run.
#[derive(Debug)]
pub struct Cluster<'a> {
    scenario: &'a Scenario,
    strategy: &'a Strategy,
    streams: Streams,
    samplers: Samplers,
    /// The tier that chooses among the servers.
    tier: Tier<'a>,
    /// What is decided about: connections, unless any tier is a proxy.
    layer: Layer,
    /// Whether requests go through a proxy in front of another tier.
    chained: bool,
    /// What stands in front of it, and pairs of directors, if there are any.
    paths: Option<Box<Paths<'a>>>,
    /// Whether there are paths, or a director decides about connections.
    watched: bool,
    /// Whether requests may wait in the queues of instances.
    has_queues: bool,
    servers: Servers,
    clients: Clients,
    sessions: Sessions,
    /// The store that sessions are in, if it has a behaviour of its own.
    stored: Option<Box<Stored>>,
    requests: Slots<Request>,
    connections: Slots<Connection>,
    /// Connections on which nobody answers their clients.
    silent: BTreeMap<ConnectionId, Silent>,
    /// What clients with browsers have open.
    tabs: Slots<Tab>,
    /// How often clients have tried again, where that is limited.
    budgets: ClientBudgets,
    /// Requests in servers whose clients have gone.
    gone: u64,
    /// Requests that servers had when this was written, and since when, the oldest last; for time-outs of answers.
    longest_in_servers: Vec<(SimTime, RequestId)>,
    sources: Vec<Source<'a>>,
    script: Script<'a>,
    recorder: Recorder,
    stories: Stories,
    /// Times during which each server was down, in order of their start.
    outages: Vec<Outage>,
    /// What befalls it.
    faults: Ailments,
    /// Who puts servers into service and takes them out, if anybody does.
    scaling: Option<Box<Scaling<'a>>>,
    /// Checks of servers under way, by who checks, then by server; empty without checks.
    probes: Vec<Probe>,
    /// When open connections are counted next, at the earliest.
    next_sample: SimTime,
    /// When an operator last changed something.
    operated_at: Option<SimTime>,
}

/// The laws that are drawn from at every click, made ready for drawing.
#[derive(Debug)]
struct Samplers {
    /// By population; of no use for single requests.
    visits: Column<PopulationId, VisitSamplers>,
    /// Service demand.
    demand: Column<ServerId, Sampler>,
    /// Latency of the shared session store.
    store: Sampler,
}

#[derive(Debug)]
struct VisitSamplers {
    clicks: Sampler,
    think: Sampler,
    away: Sampler,
    /// How fast time away passes, where that differs.
    pace: Option<Pace>,
    /// Whether users come with arrivals, not by themselves.
    arrives: bool,
    browser: Option<BrowserSamplers>,
    pages: PageSampler,
    /// Who each client is, if the population's users are those of a log.
    users: Option<DealtUsers>,
}

impl Samplers {
    fn new(scenario: &Scenario, strategy: &Strategy) -> Self {
        let none = Distribution::Constant(0.0);
        let visits = scenario
            .populations
            .iter()
            .map(|population| {
                let plan = population.traffic.visit();
                let (clicks, think, away) =
                    plan.map_or((&none, &none, &none), |plan| (&plan.clicks, &plan.think, &plan.away));
                VisitSamplers {
                    clicks: clicks.sampler(),
                    think: think.sampler(),
                    away: away.sampler(),
                    pace: Pace::of(population, scenario.warmup),
                    arrives: population.traffic.arrivals().is_some(),
                    browser: plan.and_then(|plan| plan.browser.as_ref()).map(BrowserSamplers::new),
                    pages: population.pages.sampler(),
                    users: None,
                }
            })
            .collect();
        let demand = scenario.servers.iter().map(|server| server.capacity.service.sampler()).collect();
        let store = match &strategy.session {
            SessionPlan::Local | SessionPlan::Store(_) => none.sampler(),
            SessionPlan::Shared { latency } => latency.sampler(),
        };
        Self { visits: Column::from_vec(visits), demand: Column::from_vec(demand), store }
    }
}

/// The streams of random numbers that a run draws from.
#[derive(Clone, Copy, Debug)]
struct Streams {
    away: Stream,
    clicks: Stream,
    think: Stream,
    demand: Stream,
    relogin: Stream,
    leave_on_loss: Stream,
    store_latency: Stream,
    arrivals: Stream,
    initial: Stream,
    log_demand: Stream,
    connection: Stream,
    clock: Stream,
    balancer: Stream,
    activity: Stream,
    objects: Stream,
    object_demand: Stream,
    patience: Stream,
    backoff: Stream,
    visit_end: Stream,
    hold: Stream,
    message_gap: Stream,
    message_demand: Stream,
    arrival_phases: Stream,
    arrival_batches: Stream,
    instance: Stream,
    subset: Stream,
    addresses: AddressStreams,
    /// Where in the address space networks lie.
    networks: Stream,
    /// Where those of logs lie.
    logged: Moved,
    pages: Stream,
    request_values: Stream,
    resolver: Stream,
    ecmp: Stream,
    fault_times: Stream,
    boot: Stream,
    errors: Stream,
    packet_loss: Stream,
    inner_worker: Stream,
}

impl Streams {
    fn new(scenario: &Scenario, replication: u32) -> Self {
        let anew = u64::from(replication);
        let (population, behaviour, networks) = match scenario.vary {
            Vary::Population => (anew, anew, anew),
            Vary::Behaviour => (0, anew, 0),
            Vary::Hash => (0, 0, anew),
        };
        let stream = |replication, id| Stream::new(scenario.seed, replication, id);
        Self {
            away: stream(behaviour, StreamId::Away),
            clicks: stream(behaviour, StreamId::Clicks),
            think: stream(behaviour, StreamId::Think),
            demand: stream(behaviour, StreamId::Demand),
            relogin: stream(behaviour, StreamId::Relogin),
            leave_on_loss: stream(behaviour, StreamId::LeaveOnLoss),
            store_latency: stream(behaviour, StreamId::StoreLatency),
            arrivals: stream(behaviour, StreamId::Arrivals),
            initial: stream(behaviour, StreamId::InitialState),
            log_demand: stream(behaviour, StreamId::ReplayDemand),
            connection: stream(behaviour, StreamId::ClientPort),
            clock: stream(behaviour, StreamId::ClockPhase),
            balancer: stream(behaviour, StreamId::Balancer),
            activity: stream(population, StreamId::Activity),
            objects: stream(behaviour, StreamId::Objects),
            object_demand: stream(behaviour, StreamId::ObjectDemand),
            patience: stream(behaviour, StreamId::Patience),
            backoff: stream(behaviour, StreamId::Backoff),
            visit_end: stream(behaviour, StreamId::VisitEnd),
            hold: stream(behaviour, StreamId::Hold),
            message_gap: stream(behaviour, StreamId::MessageGap),
            message_demand: stream(behaviour, StreamId::MessageDemand),
            arrival_phases: stream(behaviour, StreamId::ArrivalPhases),
            arrival_batches: stream(behaviour, StreamId::ArrivalBatches),
            instance: stream(behaviour, StreamId::Instance),
            subset: stream(behaviour, StreamId::Subset),
            addresses: AddressStreams {
                users: stream(population, StreamId::UsersPerAddress),
                addresses: stream(population, StreamId::Addresses),
                leases: stream(population, StreamId::Leases),
                hand_overs: stream(behaviour, StreamId::HandOvers),
                connections: stream(behaviour, StreamId::ConnectionAddress),
                measured_from: SimTime::ZERO + scenario.warmup,
            },
            networks: stream(networks, StreamId::Addresses),
            logged: match scenario.vary {
                Vary::Hash if replication > 0 => Moved::by(stream(networks, StreamId::LoggedNetworks)),
                _ => Moved::NOWHERE,
            },
            pages: stream(behaviour, StreamId::Pages),
            request_values: stream(population, StreamId::RequestValues),
            resolver: stream(population, StreamId::Resolver),
            ecmp: stream(behaviour, StreamId::Ecmp),
            fault_times: stream(behaviour, StreamId::FaultTimes),
            boot: stream(behaviour, StreamId::Boot),
            errors: stream(behaviour, StreamId::Errors),
            packet_loss: stream(behaviour, StreamId::PacketLoss),
            inner_worker: stream(behaviour, StreamId::InnerWorker),
        }
    }
}

impl Model for Cluster<'_> {
    #[inline(always)]
    fn handle<Q: PendingEvents>(&mut self, now: SimTime, word: u32, pending: &mut Scheduler<Q>) {
        match Event::from_word(word) {
            Event::ClientActs(client) => self.client_acts(now, client, pending),
            Event::ServiceDone(request) => self.service_done(now, request, pending),
            Event::SharedServiceDone(server) => self.shared_service_done(now, server, pending),
            Event::ConnectionIdle(connection) => self.connection_idle(now, connection),
            Event::SourceArrival(source) => self.source_arrival(now, source, pending),
            Event::Overdue => self.overdue(now, pending),
            Event::Retry(request) => self.retry(now, request, pending),
            Event::Check { server, instance } => self.check(now, server, instance, pending),
            Event::CheckInstance { place, target, instance } => {
                self.check_instance(now, usize::from(place), target, instance, pending);
            }
            Event::Autoscale => self.autoscale(now, pending),
            Event::GivesUp(request) => self.client_gives_up(now, request, pending),
            Event::FaultBegins(fault) => self.fault_begins(now, fault, pending),
            Event::FaultEnds(fault) => self.fault_ends(now, fault, pending),
            Event::ScriptStep(step) => self.script_step(now, step, pending),
        }
        if self.has_queues {
            self.start_waiting(now, pending);
        }
    }

    #[inline]
    fn read_ahead(&mut self, upcoming: &[u64]) {
        // Touching the rows brings them into the cache while the events before theirs are handled. The sum keeps the loads
        // from being optimised away.
        let rows = self.clients.rows();
        let mut touched = 0_u32;
        for &entry in upcoming {
            if let Event::ClientActs(client) = Event::from_word(entry as u32) {
                touched ^= rows.get(client.index()).map_or(0, |row| row.visit);
            }
        }
        std::hint::black_box(touched);
    }
}

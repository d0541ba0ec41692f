//! The one place where all parts meet: clients, connections, tiers, servers, sessions and faults of one run.
//!
//! A run is one strategy in one replication. [`Cluster`] is its model; [`run`] builds it, drives it to its end, checks the
//! accounts and returns what happened.

pub mod accounting;
mod address;
mod browser;
mod closed_loop;
mod connection;
mod cookies;
mod dealt;
pub mod event;
mod evidence;
mod faults;
mod hold;
mod log_source;
mod observe;
mod open_loop;
mod operations;
mod overdue;
mod page;
mod patience;
mod queue;
mod replay;
mod request;
mod retry;
mod route;
mod run;
mod script;
mod shows;
mod stored;
mod story;

pub use accounting::AccountingError;
pub use faults::{FaultCounts, Outage};
pub use observe::{Answer, Observer, StepName, run_observed};
pub use run::{RunError, RunOutcome, RunSetup, RunSizes, calendar, run};
pub use script::TraceLine;

use crate::backend::servers::Servers;
use crate::engine::queue::PendingEvents;
use crate::engine::{Distribution, Model, Sampler, Scheduler, SimTime, Stream};
use crate::health::active::TcpChecker;
use crate::ids::{PopulationId, ServerId, StreamId};
use crate::metrics::recorder::Recorder;
use crate::population::clients::Clients;
use crate::population::{AddressStreams, PageSampler};
use crate::scenario::{Keys, Scenario, Strategy, Vary};
use crate::session::SessionPlan;
use crate::session::sessions::Sessions;
use crate::slots::Slots;
use crate::table::Column;
use crate::tier::{Instance, Layer};

use address::AddressTie;
use browser::{BrowserSamplers, Pace, Tab};
use cookies::CookieJars;
use dealt::DealtUsers;
use event::Event;
use open_loop::Source;
use queue::Waiting;
use request::{Connection, Request};
use script::Script;
use shows::KeyText;
use stored::Stored;
use story::Stories;

/// The model of one run.
#[derive(Debug)]
pub struct Cluster<'a> {
    scenario: &'a Scenario,
    strategy: &'a Strategy,
    streams: Streams,
    samplers: Samplers,
    /// Tiers, front to back.
    tiers: Vec<Tier<'a>>,
    /// What the instances that clients reach decide about.
    layer: Layer,
    /// Whether requests may wait in the queues of instances.
    has_queues: bool,
    servers: Servers,
    clients: Clients,
    sessions: Sessions,
    /// The store that sessions are in, if it has a behaviour of its own.
    stored: Option<Box<Stored>>,
    requests: Slots<Request>,
    connections: Slots<Connection>,
    /// What clients with browsers have open.
    tabs: Slots<Tab>,
    /// Requests in servers whose clients have gone.
    gone: u64,
    sources: Vec<Source<'a>>,
    script: Script<'a>,
    recorder: Recorder,
    stories: Stories,
    /// Times during which each server was down, in order of their start.
    outages: Vec<Outage>,
    /// What each fault of the scenario did.
    faults: Vec<FaultCounts>,
    /// When open connections are counted next, at the earliest.
    next_sample: SimTime,
    /// When an operator last changed something.
    operated_at: Option<SimTime>,
    /// Faults (indices) that last now.
    active_faults: Vec<u32>,
}

/// One tier of a strategy.
#[derive(Debug)]
struct Tier<'a> {
    instances: Vec<Instance>,
    /// Requests in the instances' queues.
    waiting: Waiting,
    /// Whether its instances remember clients.
    remembers: bool,
    /// What of a client's address ties it to a server, if anything does.
    address_tie: Option<AddressTie>,
    /// Worker processes of each instance.
    workers: u16,
    /// What it is given of a request, beside the address.
    keys: &'a Keys,
    /// The text of these keys for the request that arrives now.
    key_text: KeyText,
    /// The cookies that it gave to browsers, if it gives any.
    cookies: Option<CookieJars>,
    /// The ports that clients call.
    ports: Vec<u16>,
    /// Whether one virtual service answers at all of them.
    one_service: bool,
    /// Weights with which servers are added to the table.
    weights: Vec<u32>,
    /// One check per server; empty without active checks.
    checkers: Vec<TcpChecker>,
}

impl Tier<'_> {
    /// The virtual service of a director that answers at a port, and the port where the service does not say it.
    #[inline]
    fn service_of(&self, port: u16) -> (u16, Option<[u8; 2]>) {
        if self.ports.len() == 1 {
            return (0, None);
        }
        let place = self.ports.iter().position(|&known| known == port).unwrap_or(0) as u16;
        if self.one_service { (0, Some(port.to_be_bytes())) } else { (place, None) }
    }
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
    pages: Stream,
    request_values: Stream,
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
            pages: stream(behaviour, StreamId::Pages),
            request_values: stream(population, StreamId::RequestValues),
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
            Event::Check(server) => self.check(now, server, pending),
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

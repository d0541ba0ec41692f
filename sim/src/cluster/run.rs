//! One run from start to end.

use std::collections::BTreeMap;

use thiserror::Error;

use super::accounting::{self, AccountingError, UnderWay};
use super::ailments::Ailments;
use super::browser::Pace;
use super::checks::Probe;
use super::client_budget::ClientBudgets;
use super::cookies::CookieJars;
use super::dealt::DealtUsers;
use super::detection::{Removal, Sighting};
use super::event::{Event, MAX_SLOTS};
use super::faults::{FaultCounts, Outage, Spell};
use super::log_source::LogReplay;
use super::open_loop::{ArrivalSource, Crowd, Source};
use super::paths::{Front, FrontKind, Paths};
use super::scaling::Scaling;
use super::script::{Script, TraceLine};
use super::stored::Stored;
use super::story::Stories;
use super::timetable::timetable;
use super::{Cluster, Samplers, Streams, Tier};
use crate::backend::servers::Servers;
use crate::engine::{Ladder, SimDuration, SimTime, Simulation, Stream};
use crate::ids::{ClientId, PopulationId, ServerId, StreamId};
use crate::metrics::recorder::{Calendar, Counts, Recorder};
use crate::population::clients::{Clients, Step};
use crate::population::replay::PreparedLog;
use crate::population::{AddressSpace, AddressesExhausted};
use crate::scenario::{FaultKind, Population, Scenario, TierPlan, Traffic, UserFile, Vary, VisitPlan};
use crate::session::SessionPlan;
use crate::session::sessions::Sessions;
use crate::slots::Slots;
use crate::store::StoreStreams;
use crate::tier::{Instance, Layer, TableSizes};

/// Which run of an experiment.
#[derive(Clone, Copy, Debug)]
pub struct RunSetup<'a> {
    /// The experiment.
    pub scenario: &'a Scenario,
    /// The strategy's place in it.
    pub strategy: usize,
    /// The replication, from 0.
    pub replication: u32,
    /// The scenario's logs, prepared, in its order.
    pub logs: &'a [PreparedLog],
    /// How many losses to tell as stories.
    pub stories: usize,
}

/// What a run came to.
#[derive(Debug)]
pub struct RunOutcome {
    /// The counters.
    pub counts: Counts,
    /// Times during which servers were down.
    pub outages: Vec<Outage>,
    /// What each fault did.
    pub faults: Vec<FaultCounts>,
    /// When each fault lasted, at each of its parts, in order of the beginning.
    pub spells: Vec<Spell>,
    /// What became of each fault that a health rule could see, in order of the beginning.
    pub sightings: Vec<Sighting>,
    /// When health kept servers from new clients, in order of the beginning.
    pub removals: Vec<Removal>,
    /// The trace of scripted clients.
    pub trace: Vec<TraceLine>,
    /// Losses, told.
    pub stories: Vec<String>,
    /// What the run took.
    pub sizes: RunSizes,
}

/// What a run took: events, and the entities that it held with the bytes of their tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunSizes {
    /// Events handled.
    pub events: u64,
    /// Requests issued.
    pub requests: u64,
    /// Clients, those of logs among them.
    pub clients: u64,
    /// Bytes of their rows.
    pub client_bytes: u64,
    /// Events pending when the run ended.
    pub pending: u64,
    /// Bytes of the pending-event set.
    pub pending_bytes: u64,
    /// Most connections open at a time.
    pub connections: u64,
    /// Bytes of their table.
    pub connection_bytes: u64,
    /// Most requests in flight at a time.
    pub requests_in_flight: u64,
    /// Bytes of their table.
    pub request_bytes: u64,
    /// Most browsers at a time that had more open than a connection.
    pub tabs: u64,
    /// Bytes of what they had open.
    pub tab_bytes: u64,
    /// Most sessions alive at a time.
    pub sessions: u64,
    /// Bytes of their table.
    pub session_bytes: u64,
    /// Persistence templates when the run ended.
    pub templates: u64,
    /// Bytes of the balancer's tables.
    pub balancer_bytes: u64,
}

/// Why a run could not be carried through.
#[derive(Debug, Error)]
pub enum RunError {
    /// The simulator is wrong.
    #[error(transparent)]
    Accounting(#[from] AccountingError),
    /// There are not enough addresses.
    #[error(transparent)]
    Addresses(#[from] AddressesExhausted),
    /// A prepared log could not be read back.
    #[error("reading the prepared log `{name}` failed: {error}")]
    Log {
        /// The log's name in the scenario.
        name: String,
        /// What went wrong.
        error: String,
    },
    /// More entities than an event can name.
    #[error("{clients} clients are more than the {MAX_SLOTS} that one run can hold; lower `clients`")]
    TooManyClients {
        /// Clients asked for.
        clients: u64,
    },
}

/// The phases and windows of a scenario's runs. Without a `duration` the run lasts until a minute after the last line of
/// the longest log.
pub fn calendar(scenario: &Scenario, logs: &[PreparedLog]) -> Calendar {
    let measured_from = SimTime::ZERO + scenario.warmup;
    let of_logs = scenario
        .logs
        .iter()
        .zip(logs)
        .map(|(plan, log)| {
            let seconds = u64::from(log.statistics().last_second - log.statistics().first_second) + 1;
            (seconds as f64 / plan.speed).ceil() as u64 + 60
        })
        .max()
        .unwrap_or(0);
    let duration = scenario.duration.unwrap_or(SimDuration::from_secs(of_logs));
    let end = measured_from + duration;
    // Autoscaling is no event that would divide a run.
    let events = || scenario.faults.iter().filter(|fault| fault.kind != FaultKind::Autoscaling);
    let begins = events().map(|fault| measured_from + fault.at);
    let ends = events().map(|fault| fault.until().map_or(end, |until| measured_from + until));
    let mut calendar = Calendar {
        measured_from,
        faults_from: begins.min().unwrap_or(end).min(end),
        faults_until: ends.max().unwrap_or(end).min(end),
        end,
        window: scenario.window,
        batch_windows: 0,
    };
    if scenario.replications == 1 && scenario.is_stationary() {
        calendar.batch_windows = batch_windows(calendar.windows());
    }
    calendar
}

/// Windows in a batch of a single long run, such that there are about twenty (Schmeiser, Operations Research 30 (1982), 556:
/// between 10 and 30 is as good as any); 0 when the run is too short for ten.
fn batch_windows(windows: usize) -> u32 {
    if windows < 10 { 0 } else { windows.div_ceil(20) as u32 }
}

/// Carries out one run. `progress` is called now and then with the share of the run that is done.
///
/// # Errors
/// [`RunError`]; with [`RunError::Accounting`] the simulator is at fault.
pub fn run(setup: &RunSetup<'_>, progress: &dyn Fn(f64)) -> Result<RunOutcome, RunError> {
    let (mut simulation, calendar) = build(setup)?;
    const SLICES: u64 = 64;
    for slice in 1..=SLICES {
        simulation.run_until(SimTime(calendar.end.0 / SLICES * slice));
        progress(slice as f64 / SLICES as f64);
    }
    simulation.run_until(calendar.end);
    finish(simulation, &calendar)
}

pub(super) type RunSimulation<'a> = Simulation<Cluster<'a>, Ladder>;

pub(super) fn build<'a>(setup: &RunSetup<'a>) -> Result<(RunSimulation<'a>, Calendar), RunError> {
    let RunSetup { scenario, replication, logs, .. } = *setup;
    let strategy = &scenario.strategies[setup.strategy];
    let streams = Streams::new(scenario, replication);
    let calendar = calendar(scenario, logs);

    let total: u64 = scenario.populations.iter().map(|population| u64::from(population.clients)).sum();
    if total >= u64::from(MAX_SLOTS) {
        return Err(RunError::TooManyClients { clients: total });
    }
    let mut space = AddressSpace::new(streams.networks);
    let fixed = scenario.populations.iter().flat_map(|population| population.address.fixed.iter().copied());
    let scripted = scenario.scripted_clients.iter().map(|client| client.address);
    let logged =
        logs.iter().flat_map(|log| log.clients().iter().map(|client| streams.logged.address(client.address)));
    fixed.chain(scripted).chain(logged).for_each(|address| space.reserve(address));
    let mut clients = Clients::new();
    clients.reserve_exact(total as usize);
    let mut firsts = Vec::new();
    let mut samplers = Samplers::new(scenario, strategy);
    for (number, population) in scenario.populations.iter().enumerate() {
        let Population { address, clients: count, users, traffic, .. } = population;
        firsts.push(match users {
            None => clients.add_population(address, *count, &streams.addresses, &mut space)?,
            Some(UserFile { table, .. }) => {
                let (first, users) =
                    clients.add_users(table, address, *count, &streams.addresses, &mut space)?;
                let think_mean = traffic.visit().map_or(0.0, |plan| plan.think.mean());
                samplers.visits[PopulationId(number as u16)].users =
                    Some(DealtUsers::new(table, first, users, think_mean));
                first
            }
        });
    }
    let mut sources = Vec::new();
    for (population, &first_client) in scenario.populations.iter().zip(&firsts) {
        if population.traffic.visit().is_some_and(|visit| visit.browser.is_some()) {
            clients.give_browsers(first_client, population.clients);
        }
        if let Some(plan) = population.traffic.arrivals() {
            let pace = Pace::of(population, scenario.warmup);
            let activity = pace.as_ref().map(|pace| &pace.activity);
            sources.push(Source::Arrivals(ArrivalSource {
                process: plan.process(
                    scenario.warmup,
                    streams.arrival_phases,
                    streams.arrival_batches,
                    sources.len() as u64,
                ),
                crowd: Crowd::new(first_client, population.clients, activity, &streams.activity),
                number: 0,
                rules: &population.connection,
                visits: population.traffic.visit().is_some(),
            }));
        }
    }
    sources.extend(
        scenario
            .logs
            .iter()
            .zip(logs)
            .map(|(plan, log)| Source::Log(LogReplay::new(plan, log, streams.logged))),
    );

    let mut tier = Tier::new(&strategy.tier, 0, scenario, &streams);
    let mut paths = Paths::new(scenario, strategy, &streams);
    let of_log = |source: &Source<'_>| match source {
        Source::Log(replay) => replay.users.len(),
        Source::Arrivals(_) => 0,
    };
    let jars = |plan: &TierPlan| {
        plan.cookies().map(|life| CookieJars::new(life, clients.len(), sources.iter().map(of_log)))
    };
    tier.cookies = jars(&strategy.tier);
    for (front, plan) in paths.iter_mut().flat_map(|paths| &mut paths.fronts).zip(&strategy.fronts) {
        if let (Some(tier), Some(plan)) = (front.tier(), plan.plan()) {
            tier.cookies = jars(plan);
        }
    }
    let of_fronts = paths.iter_mut().flat_map(|paths| &mut paths.fronts).filter_map(Front::tier);
    let has_queues =
        of_fronts.fold(tier.waiting.is_possible(), |any, tier| any || tier.waiting.is_possible());
    let is_request = |(_, plan): (usize, &TierPlan)| plan.program.layer() == Layer::Request;
    let layer = if strategy.programs().any(is_request) { Layer::Request } else { Layer::Connection };
    let keeps_budget =
        |population: &Population| population.traffic.visit().is_some_and(VisitPlan::has_budget);
    let budgets = ClientBudgets::new(clients.len(), scenario.populations.iter().any(keeps_budget));
    let mut cluster = Cluster {
        scenario,
        strategy,
        streams,
        samplers,
        layer,
        chained: paths.as_ref().is_some_and(|paths| paths.chain.is_some()),
        has_queues,
        tier,
        watched: paths.is_some() || layer == Layer::Connection,
        paths,
        servers: Servers::new(scenario.servers.iter().map(|server| &server.capacity)),
        clients,
        sessions: Sessions::default(),
        stored: build_store(setup),
        requests: Slots::default(),
        connections: Slots::default(),
        silent: BTreeMap::new(),
        tabs: Slots::default(),
        budgets,
        gone: 0,
        longest_in_servers: Vec::new(),
        sources,
        script: Script::new(&scenario.scripted_clients, setup.strategy),
        recorder: Recorder::new(calendar.clone(), scenario.servers.len()),
        stories: Stories { wanted: setup.stories, told: Vec::new() },
        outages: Vec::new(),
        faults: build_faults(scenario, &calendar, &streams),
        scaling: Scaling::of(scenario),
        probes: Vec::new(),
        next_sample: SimTime::ZERO,
        operated_at: None,
    };
    let checkers = cluster.tier.checkers();
    cluster.probes = vec![Probe::IDLE; checkers * scenario.servers.len()];
    let pool = &strategy.tier.pool;
    if let Some((server, status)) = pool.config.sorry_server.zip(pool.sorry_status) {
        cluster.faults.always_errs(server, status);
    }
    cluster.note_sorry_server(SimTime::ZERO);
    cluster.watch_instances();
    let mut simulation = Simulation::new(cluster, Ladder::default());
    schedule_beginnings(&mut simulation, &firsts, &calendar);
    Ok((simulation, calendar))
}

/// The store of a strategy that has one with a behaviour of its own.
fn build_store(setup: &RunSetup<'_>) -> Option<Box<Stored>> {
    let SessionPlan::Store(session) = &setup.scenario.strategies[setup.strategy].session else { return None };
    let behaviour = if setup.scenario.vary == Vary::Hash { 0 } else { u64::from(setup.replication) };
    let stream = |id| Stream::new(setup.scenario.seed, behaviour, id);
    let streams = StoreStreams {
        operation: stream(StreamId::StoreOperation),
        copy: stream(StreamId::StoreCopy),
        eviction: stream(StreamId::StoreEviction),
        failover: stream(StreamId::StoreFailover),
        mishap: stream(StreamId::StoreMishaps),
    };
    let own = (stream(StreamId::SessionSize), stream(StreamId::SessionWrites));
    Some(Box::new(Stored::new(setup.scenario, session, streams, own)))
}

fn build_faults(scenario: &Scenario, calendar: &Calendar, streams: &Streams) -> Ailments {
    let timetable = timetable(scenario, calendar, &streams.fault_times);
    let draws = (streams.errors, streams.packet_loss);
    Ailments::new(timetable, scenario.servers.len(), scenario.faults.len(), draws)
}

/// Puts the first event of everything that acts by itself.
fn schedule_beginnings(simulation: &mut RunSimulation<'_>, firsts: &[ClientId], calendar: &Calendar) {
    let Simulation { model, pending, .. } = simulation;
    let scenario = model.scenario;
    let from = calendar.measured_from;
    for (number, (population, first)) in scenario.populations.iter().zip(firsts).enumerate() {
        if let Traffic::ClosedLoop(plan) = &population.traffic {
            for client in first.0..first.0 + population.clients {
                // Users are away when the run begins, for the rest of an absence that began before it.
                let laws = &model.samplers.visits[PopulationId(number as u16)];
                let id = ClientId(client);
                let rest = match &laws.users {
                    Some(users) => users.begins_s(id, &model.streams.initial),
                    None => plan.away.residual_by(&laws.away, &model.streams.initial, u64::from(client), 0),
                };
                let rest = match &laws.pace {
                    None => SimDuration::from_secs_f64(rest),
                    Some(pace) => pace.absence(SimTime::ZERO, rest, id, &model.streams.activity),
                };
                pending.at(SimTime::ZERO + rest, Event::ClientActs(ClientId(client)).word());
            }
        }
    }
    for source in 0..model.sources.len() {
        let first = match &mut model.sources[source] {
            Source::Arrivals(arrivals) => {
                arrivals.after(SimTime::ZERO, source as u32, &model.streams.arrivals)
            }
            Source::Log(replay) => replay.next_at().map(|at| from + at.since(SimTime::ZERO)),
        };
        if let Some(first) = first {
            pending.at(first, Event::SourceArrival(source as u32).word());
        }
    }
    for (index, step) in model.script.steps.iter().enumerate() {
        pending.at(from + step.at, Event::ScriptStep(index as u32).word());
    }
    model.begin_autoscaling(pending);
    // Each beginning announces the next.
    if let Some(first) = model.faults.timetable.first() {
        pending.at(first.from, Event::FaultBegins(0).word());
    }
    if let Some(timeout) = model.read_timeout() {
        pending.at(SimTime::ZERO + timeout, Event::Overdue.word());
    }
    schedule_haproxy_checks(simulation);
    let Simulation { model, pending, .. } = simulation;
    if let Some(check) = model.strategy.tier.tcp_check {
        for (instance, watch) in (0..).zip(&mut model.tier.watches) {
            for server in watch.checked() {
                let entity = 1 << 32 | u64::from(server.0);
                let phase = model.streams.clock.below(check.delay_loop.0.max(1), entity, u64::from(instance));
                watch.begin(server, SimTime(phase));
                pending.at(SimTime(phase), Event::Check { server, instance }.word());
            }
        }
    }
    for (place, front) in model.strategy.fronts.iter().enumerate() {
        let Some((check, paths)) = front.tcp_check().zip(model.paths.as_mut()) else { continue };
        for target in 0..paths.reach[place + 1].targets() {
            let entity = 3 << 32 | (place as u64) << 16 | u64::from(target);
            let front = &mut paths.fronts[place];
            for instance in 0..front.checks_by() {
                let phase = model.streams.clock.below(check.delay_loop.0.max(1), entity, u64::from(instance));
                if let FrontKind::Tier(tier) = &mut front.kind {
                    tier.watches[usize::from(instance)].begin(ServerId(target), SimTime(phase));
                }
                let check = Event::CheckInstance { place: place as u8, target, instance };
                pending.at(SimTime(phase), check.word());
            }
        }
    }
}

/// HAProxy starts its checks by a plan of its own, from the moment at which it was started.
fn schedule_haproxy_checks(simulation: &mut RunSimulation<'_>) {
    let Simulation { model, pending, .. } = simulation;
    let clock = model.streams.clock;
    let mut own = Vec::new();
    let mut begin = |tier: &Tier<'_>, rank: u64, check: &dyn Fn(ServerId, u16) -> Event| {
        for (number, instance) in tier.instances.iter().enumerate() {
            let Instance::HaProxy(haproxy) = instance else { continue };
            for (server, line) in haproxy.config().servers.iter().enumerate() {
                let server = ServerId::from_index(server);
                if let (Some(first), Some(rule)) = (haproxy.first_check(server), line.check) {
                    let started = SimDuration(clock.below(rule.inter.0, (1 + rank) << 32, number as u64));
                    let (due, instance) = (first + started, number as u16);
                    if rank == 0 {
                        own.push((server, instance, due));
                    }
                    pending.at(due, check(server, instance).word());
                }
            }
        }
    };
    begin(&model.tier, 0, &|server, instance| Event::Check { server, instance });
    let fronts = model.paths.iter().flat_map(|paths| &paths.fronts).enumerate();
    for (place, front) in fronts {
        if let FrontKind::Tier(tier) = &front.kind {
            // Ranks 1 to 4 are those of other draws of this clock.
            begin(tier, 5 + place as u64, &|ServerId(target), instance| Event::CheckInstance {
                place: place as u8,
                target,
                instance,
            });
        }
    }
    for (server, instance, due) in own {
        model.plan_check(server, instance, due);
    }
}

pub(super) fn finish(simulation: RunSimulation<'_>, calendar: &Calendar) -> Result<RunOutcome, RunError> {
    let events = simulation.handled();
    let (pending, pending_bytes) = (simulation.pending.pending() as u64, simulation.pending.bytes() as u64);
    let mut cluster = simulation.model;
    for (source, plan) in cluster
        .sources
        .iter()
        .filter_map(|source| match source {
            Source::Log(replay) => Some(replay),
            Source::Arrivals(_) => None,
        })
        .zip(&cluster.scenario.logs)
    {
        if let Some(error) = source.error() {
            return Err(RunError::Log { name: plan.name.clone(), error: error.to_owned() });
        }
    }
    cluster.end_idle_log_visits(calendar.end);

    let inside = (0..cluster.requests.slots())
        .map(|slot| cluster.requests.get(slot))
        .filter(|request| request.in_server);
    let (in_servers, in_servers_time_ns) = inside
        .fold((0, 0), |(n, time), request| (n + 1, time + u128::from(calendar.end.since(request.entered).0)));
    let measured_open =
        cluster.clients.rows().iter().filter(|row| row.step != Step::Begin && row.measured()).count() as u64
            + cluster
                .sources
                .iter()
                .map(|source| match source {
                    Source::Log(replay) => replay.visiting_measured(),
                    Source::Arrivals(_) => 0,
                })
                .sum::<u64>();
    let visiting = cluster.clients.rows().iter().filter(|row| row.step != Step::Begin).count() as u64
        + cluster
            .sources
            .iter()
            .map(|source| match source {
                Source::Log(replay) => replay.visiting(),
                Source::Arrivals(_) => 0,
            })
            .sum::<u64>();
    let under_way = UnderWay {
        visits: visiting,
        requests: cluster.requests.len() as u64 - cluster.gone,
        in_servers,
        in_servers_time_ns,
    };
    let tables = cluster.tier.instances.iter().map(Instance::table_sizes);
    let tables = tables.fold(TableSizes::default(), TableSizes::plus);
    let tables = cluster.paths.as_ref().map_or(tables, |paths| tables.plus(paths.table_sizes()));
    cluster.close_paths(calendar.end)?;
    let (log_clients, log_bytes) = cluster
        .sources
        .iter()
        .map(|source| match source {
            Source::Log(replay) => (replay.users.len(), replay.bytes()),
            Source::Arrivals(arrivals) => (0, arrivals.crowd.bytes()),
        })
        .fold((0, 0), |(clients, bytes), (more, their_bytes)| (clients + more, bytes + their_bytes));
    let jar_bytes = cluster.tier.cookies.as_ref().map_or(0, CookieJars::bytes);
    let sizes = RunSizes {
        events,
        requests: cluster.recorder.ledger.requests_issued,
        clients: (cluster.clients.len() + log_clients) as u64,
        client_bytes: (cluster.clients.bytes() + cluster.budgets.bytes() + log_bytes + jar_bytes) as u64,
        pending,
        pending_bytes,
        connections: u64::from(cluster.connections.slots()),
        connection_bytes: (cluster.connections.bytes()
            + cluster.paths.as_ref().map_or(0, |paths| paths.bytes())) as u64,
        requests_in_flight: u64::from(cluster.requests.slots()),
        request_bytes: cluster.requests.bytes() as u64,
        tabs: u64::from(cluster.tabs.slots()),
        tab_bytes: cluster.tabs.bytes() as u64,
        sessions: cluster.sessions.slots() as u64,
        session_bytes: cluster.sessions.bytes() as u64,
        templates: tables.affinity_entries,
        balancer_bytes: tables.bytes,
    };
    let faults = cluster.faults.close(cluster.recorder.ledger.requests_failed);
    let begun = cluster.faults.timetable.iter().filter(|one| one.from < calendar.end);
    let mut spells: Vec<Spell> = begun.map(Spell::of).collect();
    spells.sort_by_key(|spell| spell.from);
    let health = cluster.close_health(calendar.end);
    let counts = cluster.recorder.close(calendar.end, measured_open);
    accounting::check(&counts.ledger, &under_way)?;
    Ok(RunOutcome {
        counts,
        outages: cluster.outages,
        faults,
        spells,
        sightings: health.sightings,
        removals: health.removals,
        trace: cluster.script.trace,
        stories: cluster.stories.told,
        sizes,
    })
}

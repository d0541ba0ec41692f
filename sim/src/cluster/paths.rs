//! The way of a connection through several tiers: the tiers in front of the one that chooses among servers, and pairs of directors.
//!
//! A tier in front chooses among the instances of the next, once for each connection: names are resolved, a router hashes, a
//! director schedules. Every later packet goes the same way again, and each tier may have changed since: a router may hash it to
//! another next hop, and a virtual address may be another director's. A director that does not know the connection resets it; an
//! instance that ends TCP and is not the connection's own does so, too.
//!
//! A connection ends at the first proxy. What lies behind that is walked by each request: [`super::chain`].
//!
//! A run with one tier of one kind has none of this, and pays a look at an empty box for each connection.

use std::net::IpAddr;

use super::chain::Chain;
use super::connection::{Call, NoAnswer, no_server};
use super::pair::Pair;
use super::route::NO_FLOW;
use super::station::Station;
use super::tier::Tier;
use super::{Cluster, Streams};
use crate::engine::SimTime;
use crate::health::Verdict;
use crate::health::keepalived::{Checker, Sight};
use crate::ids::{ConnectionId, ServerId};
use crate::metrics::recorder::Failure;
use crate::scenario::{FrontPlan, Scenario, Strategy, TIERS_MAX, TierPlan};
use crate::tier::{
    Dns, Ecmp, FlowId, Forwarded, Instance, Layer, Method, Open, Reason, Segment, TableSizes, Ties,
};

/// Tiers in front at most.
const FRONTS_MAX: usize = TIERS_MAX - 1;

/// What a run has beside its last tier.
#[derive(Debug)]
pub(super) struct Paths<'a> {
    /// Front to back.
    pub fronts: Vec<Front<'a>>,
    /// By tier, the last among them.
    pub reach: Vec<Reach>,
    /// By slot of a connection.
    rows: Vec<Path>,
    /// By slot of a session: which way led to its home.
    pub homes: Vec<Home>,
    /// Connections at each tier in front, or requests where they walk.
    pub stations: Vec<Station>,
    /// The place of the tier at which clients' connections end: the first proxy, or the last tier.
    pub entry: usize,
    /// Requests behind that, if it is not the last tier.
    pub chain: Option<Chain<'a>>,
}

/// What is alive of an instance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Alive {
    /// Its machine.
    pub host: bool,
    /// The keepalived on it, if it has one.
    pub keepalived: bool,
    /// What balances: a process, or the kernel.
    pub balancer: bool,
}

impl Alive {
    const WHOLE: Self = Self { host: true, keepalived: true, balancer: true };
}

/// Which instances of a tier packets reach.
#[derive(Debug)]
pub(super) struct Reach {
    /// What of each is alive; empty for tiers without instances.
    pub alive: Vec<Alive>,
    /// The pair that they are, if they are one.
    pub pair: Option<Pair>,
}

impl Reach {
    /// The addresses by which the tier in front knows them.
    pub fn targets(&self) -> u16 {
        if self.pair.is_some() { 1 } else { self.alive.len() as u16 }
    }

    /// As [`Reach::at`], for a packet that the instance gets now: a pair's sync daemons first do what is due.
    #[inline]
    pub fn of(&mut self, tier: &mut Tier<'_>, now: SimTime, target: u16) -> Option<u16> {
        if let Some(pair) = &mut self.pair {
            pair.sync(now, &mut tier.instances);
        }
        self.at(now, target)
    }

    /// The instance that packets to one of these addresses reach, if it is alive.
    #[inline]
    pub fn at(&mut self, now: SimTime, target: u16) -> Option<u16> {
        let instance = match &mut self.pair {
            Some(pair) => pair.reached(now)?,
            None => target,
        };
        self.alive[usize::from(instance)].balancer.then_some(instance)
    }

    /// What a check of one of these addresses finds: a dead machine leaves a try unanswered, a living one refuses for a dead process.
    pub fn sight(&mut self, now: SimTime, target: u16) -> Sight {
        if self.at(now, target).is_some() {
            return Sight::Good;
        }
        let instance = self.pair.as_mut().map_or(Some(target), |pair| pair.reached(now));
        let refuses = instance.is_some_and(|instance| self.alive[usize::from(instance)].host);
        if refuses { Sight::Bad } else { Sight::Silent }
    }
}

impl Reach {
    /// What becomes of a SYN to one of these addresses that no instance gets.
    fn no_answer(&mut self, now: SimTime, target: u16) -> NoAnswer {
        match self.sight(now, target) {
            Sight::Silent => NoAnswer::Silent(Failure::NoDirector),
            _ => NoAnswer::Refused(Failure::NoDirector),
        }
    }

    /// What becomes of another packet to one of these addresses that no instance gets.
    fn no_way(&mut self, now: SimTime, target: u16) -> Forwarded {
        match self.sight(now, target) {
            Sight::Silent => Forwarded::Dropped,
            _ => Forwarded::Reset,
        }
    }
}

/// A tier in front.
#[derive(Debug)]
pub(super) struct Front<'a> {
    pub kind: FrontKind<'a>,
    /// One check for each instance of the next tier; empty without active checks, and for tiers that keep their own.
    pub checkers: Vec<Checker>,
    /// Whom these took out and who came back, in order.
    pub verdicts: Vec<Verdict>,
    /// Whether it shows addresses of its own in place of its clients'.
    pub hides: bool,
    /// The addresses that its instances connect from, so many for each, side by side; none if it has no instances.
    own: Vec<IpAddr>,
    /// How many each has.
    each: usize,
    /// Connections that it gave an address and a port of its own.
    ports: u32,
}

/// What a tier in front is.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a run has few")]
pub(super) enum FrontKind<'a> {
    Dns(Dns),
    Ecmp(Ecmp),
    Tier(Tier<'a>),
}

/// What a tier in front decided for a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hop {
    /// Its instance.
    pub instance: u16,
    /// The address of the next tier to which it sends the connection.
    pub target: u16,
    /// The flow in the instance.
    pub flow: FlowId,
    /// Why it goes there.
    pub reason: Reason,
}

pub(super) const NO_HOP: Hop = Hop { instance: 0, target: 0, flow: NO_FLOW, reason: Reason::NoneUsable };

/// The way of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    pub hops: [Hop; FRONTS_MAX],
    /// The address that the first tier sees, and the port.
    pub peer: IpAddr,
    port: u16,
    /// The address and port that the tier sees at which it ends.
    pub last: (IpAddr, u16),
    /// The port that the client called.
    pub called: u16,
    pub opened: SimTime,
}

/// The way that led to a session's home last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Home {
    /// The instance of each tier.
    pub instances: [u16; TIERS_MAX],
    /// The address that the first tier saw.
    pub peer: IpAddr,
}

impl<'a> Paths<'a> {
    /// What a strategy has beside its last tier; `None` if a connection's way is never in question.
    pub fn new(scenario: &Scenario, strategy: &'a Strategy, streams: &Streams) -> Option<Box<Self>> {
        let breaks = |plan: &TierPlan| plan.instances.iter().any(|instance| scenario.breaks(&instance.name));
        if strategy.fronts.is_empty() && strategy.tier.director.is_none() && !breaks(&strategy.tier) {
            return None;
        }
        let behind = strategy.fronts.iter().skip(1).map(FrontPlan::plan).chain([Some(&strategy.tier)]);
        let fronts: Vec<_> = strategy
            .fronts
            .iter()
            .zip(behind)
            .enumerate()
            .map(|(place, (front, next))| {
                let number = (strategy.fronts.len() - place) as u64;
                Front::new(front, next.map_or(1, TierPlan::targets), number, scenario, streams)
            })
            .collect();
        let plans = strategy.fronts.iter().map(FrontPlan::plan).chain([Some(&strategy.tier)]);
        let reach = plans.enumerate().map(|(place, plan)| Reach {
            alive: vec![Alive::WHOLE; plan.map_or(0, |plan| plan.instances.len())],
            pair: plan
                .and_then(|plan| plan.director.as_ref())
                .map(|plan| Pair::new(plan, place as u64, streams.clock)),
        });
        let plans = strategy.fronts.iter().map(FrontPlan::plan);
        let ends = |plan: Option<&TierPlan>| plan.is_some_and(|plan| plan.program.layer() == Layer::Request);
        let entry = plans.map(ends).position(|ends| ends).unwrap_or(fronts.len());
        Some(Box::new(Self {
            reach: reach.collect(),
            stations: vec![Station::default(); fronts.len()],
            chain: (entry < fronts.len()).then(|| Chain::new(strategy, entry)),
            entry,
            fronts,
            rows: Vec::new(),
            homes: Vec::new(),
        }))
    }

    /// The stations that connections pass.
    fn passed(&mut self) -> &mut [Station] {
        &mut self.stations[..self.entry]
    }

    /// The place of the last tier.
    #[inline]
    pub fn last(&self) -> usize {
        self.fronts.len()
    }

    /// The way of a connection; of one that is gone if its slot was not used again.
    #[inline]
    pub fn path(&self, connection: ConnectionId) -> &Path {
        &self.rows[connection.index()]
    }

    fn keep(&mut self, connection: ConnectionId, path: Path) {
        if self.rows.len() <= connection.index() {
            self.rows.resize(connection.index() + 1, path);
        }
        self.rows[connection.index()] = path;
        let opened = path.opened;
        self.passed().iter_mut().for_each(|station| station.enters(opened));
    }

    /// A connection is no more.
    pub fn forget(&mut self, now: SimTime, connection: ConnectionId) {
        let opened = self.path(connection).opened;
        self.passed().iter_mut().for_each(|station| station.leaves(now, opened));
    }

    /// Bytes of what is kept of connections and sessions.
    pub fn bytes(&self) -> usize {
        let chain = self.chain.as_ref().map_or(0, Chain::bytes);
        self.rows.capacity() * size_of::<Path>() + self.homes.capacity() * size_of::<Home>() + chain
    }

    /// What the tiers in front keep in memory.
    pub fn table_sizes(&self) -> TableSizes {
        let instances = self.fronts.iter().flat_map(|front| match &front.kind {
            FrontKind::Tier(tier) => tier.instances.as_slice(),
            FrontKind::Dns(_) | FrontKind::Ecmp(_) => &[],
        });
        instances.map(Instance::table_sizes).fold(TableSizes::default(), TableSizes::plus)
    }

    /// Whether the tier at which connections end sees addresses of a tier in front of it.
    pub fn hides_clients(&self) -> bool {
        self.fronts[..self.entry].iter().any(|front| front.hides)
    }
}

impl<'a> Front<'a> {
    /// A tier in front of one with so many addresses; `number` counts tiers from the back.
    fn new(plan: &'a FrontPlan, targets: usize, number: u64, scenario: &Scenario, streams: &Streams) -> Self {
        let check = plan
            .tcp_check()
            .map_or_else(Vec::new, |check| vec![Checker::new(check, true, SimTime::ZERO); targets]);
        let (kind, checkers) = match plan {
            FrontPlan::Dns { config, .. } => {
                (FrontKind::Dns(Dns::new(config.clone(), targets, streams.resolver, number)), check)
            }
            FrontPlan::Ecmp { config, .. } => {
                let seed = streams.ecmp.bits(number, 0);
                (FrontKind::Ecmp(Ecmp::new(*config, targets, seed)), check)
            }
            FrontPlan::Tier { plan, .. } => {
                (FrontKind::Tier(Tier::new(plan, number, scenario, streams)), Vec::new())
            }
        };
        let plan = plan.plan();
        Self {
            kind,
            checkers,
            verdicts: Vec::new(),
            hides: plan.is_some_and(|plan| !plan.passes_address),
            own: plan.map_or_else(Vec::new, TierPlan::own_addresses),
            each: plan.map_or(1, |plan| usize::from(plan.addresses)),
            ports: 0,
        }
    }

    /// Its tier, if it has instances.
    pub fn tier(&mut self) -> Option<&mut Tier<'a>> {
        match &mut self.kind {
            FrontKind::Tier(tier) => Some(tier),
            FrontKind::Dns(_) | FrontKind::Ecmp(_) => None,
        }
    }

    /// How many check each of the next tier's instances by themselves.
    pub fn checks_by(&self) -> u16 {
        match &self.kind {
            FrontKind::Tier(tier) => tier.watches.len() as u16,
            FrontKind::Dns(_) | FrontKind::Ecmp(_) => 1,
        }
    }

    /// The address and port under which a connection through one of its instances goes on.
    pub fn shown(&mut self, instance: u16, seen: (IpAddr, u16)) -> (IpAddr, u16) {
        if self.hides { self.next_own(instance) } else { seen }
    }

    /// The address and port from which one of its instances opens its next connection: its addresses take turns.
    pub fn next_own(&mut self, instance: u16) -> (IpAddr, u16) {
        const PORTS: u32 = 64_512;
        self.ports = (self.ports + 1) % PORTS;
        let place = usize::from(instance) * self.each + self.ports as usize % self.each;
        (self.own[place], (1_024 + self.ports) as u16)
    }
}

/// A SYN, or what is asked for later by its addresses.
pub(super) fn open_at<'o>(
    tier: &Tier<'_>,
    seen: (IpAddr, u16),
    called: u16,
    key: &'o mut [u8; 2],
) -> Open<'o> {
    let (service, port) = tier.service_of(called);
    *key = port.unwrap_or_default();
    let key = if port.is_some() { &key[..] } else { &[] };
    Open { address: seen.0, port: seen.1, key, method: Method::Get, worker: 0, service, ties: Ties::NONE }
}

impl Cluster<'_> {
    /// Whether closing and using a connection is of interest to anybody but its ends: to a director.
    #[inline(always)]
    pub(super) fn is_watched(&self) -> bool {
        self.watched
    }

    /// Brings a new connection through the tiers in front. Returns the instance that it ends at, and its way.
    /// Which instance it is where nothing else says so is drawn by the call's name.
    ///
    /// # Errors
    /// Nobody answers there.
    pub(super) fn find_path(&mut self, now: SimTime, call: &mut Call) -> Result<(u16, Path), NoAnswer> {
        let draws = self.streams.instance;
        let Call { source, name, port: called, .. } = *call;
        let Some(paths) = self.paths.as_deref_mut() else { unreachable!("there are several tiers") };
        let entry = paths.entry;
        let mut path = Path {
            hops: [NO_HOP; FRONTS_MAX],
            peer: source.peer,
            port: source.port,
            last: (source.peer, source.port),
            called,
            opened: now,
        };
        let Paths { fronts, reach, .. } = paths;
        let mut target = match reach[0].alive.len() as u64 {
            instances @ 2.. if reach[0].pair.is_none() => draws.below(instances, name.0, name.1) as u16,
            _ => 0,
        };
        for (place, front) in fronts[..entry].iter_mut().enumerate() {
            let seen = path.last;
            let (instance, next, reason, flow) = match &mut front.kind {
                FrontKind::Dns(dns) => {
                    let behind = &mut reach[place + 1];
                    let (next, reason) = match call.resolved {
                        Some(next) => (next, Reason::Hashed),
                        None => dns.pick(now, source.user, |at| behind.at(now, at).is_some()),
                    };
                    call.resolved = Some(next);
                    (0, next, reason, NO_FLOW)
                }
                FrontKind::Ecmp(router) => {
                    let (next, reason) =
                        router.pick(seen.0, seen.1).ok_or(NoAnswer::Refused(Failure::NoServer))?;
                    (0, next, reason, NO_FLOW)
                }
                FrontKind::Tier(tier) => {
                    let instance = reach[place]
                        .of(tier, now, target)
                        .ok_or_else(|| reach[place].no_answer(now, target))?;
                    let mut key = [0; 2];
                    let open = open_at(tier, seen, called, &mut key);
                    let opened = tier.instances[usize::from(instance)].open(now, &open);
                    let ServerId(next) = opened.decision.server.ok_or(no_server(opened.decision.reason))?;
                    (instance, next, opened.decision.reason, opened.flow)
                }
            };
            path.hops[place] = Hop { instance, target: next, flow, reason };
            path.last = front.shown(instance, seen);
            target = next;
        }
        let tier = tier_at(fronts, &mut self.tier, entry);
        let instance = reach[entry].of(tier, now, target);
        let instance = instance.ok_or_else(|| reach[entry].no_answer(now, target))?;
        Ok((instance, path))
    }

    /// A connection is established on the way that was found for it.
    pub(super) fn keep_path(&mut self, now: SimTime, connection: ConnectionId, path: Path) {
        let Some(paths) = self.paths.as_deref_mut() else { return };
        paths.keep(connection, path);
        let entry = paths.entry;
        for (front, hop) in paths.fronts[..entry].iter_mut().zip(path.hops) {
            if let Some(tier) = front.tier() {
                tier.instances[usize::from(hop.instance)].segment(now, hop.flow, Segment::Established);
            }
        }
        self.count_path(now, connection);
    }

    /// Worker processes of each instance at which clients' connections end.
    pub(super) fn workers_of_entry(&mut self) -> u16 {
        match self.paths.as_deref_mut() {
            Some(paths) => tier_at(&mut paths.fronts, &mut self.tier, paths.entry).workers,
            None => self.tier.workers,
        }
    }

    /// A segment of a connection passes the tiers that see it.
    #[inline]
    pub(super) fn pass(&mut self, now: SimTime, id: ConnectionId, segment: Segment) -> Forwarded {
        if self.paths.is_some() {
            return self.pass_tiers(now, id, segment);
        }
        let row = self.connections.get(id.0);
        let (instance, flow) = (row.instance, row.flow);
        self.instance(instance).segment(now, flow, segment)
    }

    #[inline(never)]
    fn pass_tiers(&mut self, now: SimTime, id: ConnectionId, segment: Segment) -> Forwarded {
        let row = *self.connections.get(id.0);
        let layer = self.layer();
        let Some(paths) = self.paths.as_deref_mut() else { unreachable!("there are several tiers") };
        let from_server = matches!(segment, Segment::FromServer | Segment::ServerFin | Segment::ServerReset);
        let path = paths.rows[id.index()];
        let last = paths.entry;
        // Where nothing else says which instance is reached, it is the one of the beginning.
        let mut target = if last == 0 { row.instance } else { path.hops[0].instance };
        let mut seen = (path.peer, path.port);
        for place in 0..last {
            let hop = path.hops[place];
            target = match &mut paths.fronts[place].kind {
                // In direct routing the servers' packets pass by.
                FrontKind::Tier(tier) if from_server && tier.one_way => hop.target,
                FrontKind::Tier(tier) => {
                    let hop = &mut paths.rows[id.index()].hops[place];
                    let (reach, way) = (&mut paths.reach[place], (target, seen, path.called));
                    let forwarded = meet(tier, reach, now, way, segment, hop);
                    let Forwarded::To(ServerId(next)) = forwarded else { return forwarded };
                    next
                }
                FrontKind::Ecmp(router) => match router.pick(seen.0, seen.1) {
                    Some((next, _)) => next,
                    None => return Forwarded::Dropped,
                },
                FrontKind::Dns(_) => hop.target,
            };
            paths.rows[id.index()].hops[place].target = target;
            if paths.fronts[place].hides {
                seen = path.last;
            }
        }
        if from_server && self.tier.one_way && layer == Layer::Connection {
            return Forwarded::To(row.server);
        }
        let tier = tier_at(&mut paths.fronts, &mut self.tier, last);
        let Some(instance) = paths.reach[last].of(tier, now, target) else {
            return paths.reach[last].no_way(now, target);
        };
        match (layer, instance == row.instance && !row.is_orphan) {
            (Layer::Request, true) => Forwarded::To(ServerId(instance)),
            (Layer::Request, false) => Forwarded::Reset,
            (Layer::Connection, true) => {
                self.tier.instances[usize::from(instance)].segment(now, row.flow, segment)
            }
            (Layer::Connection, false) => {
                let mut key = [0; 2];
                let open = open_at(&self.tier, seen, path.called, &mut key);
                let mut hop = Hop { instance: row.instance, flow: row.flow, ..NO_HOP };
                let forwarded = rejoin(&mut self.tier, instance, now, &open, segment, &mut hop);
                let kept = self.connections.get_mut(id.0);
                (kept.instance, kept.flow) = (hop.instance, hop.flow);
                // Another server than the connection's does not know it.
                if matches!(forwarded, Forwarded::To(server) if server != row.server) {
                    return Forwarded::Reset;
                }
                forwarded
            }
        }
    }
}

/// The tier with instances that stands at a place.
///
/// # Panics
/// Panics for a name or a router: they come before all others.
pub(super) fn tier_at<'t, 'a>(
    fronts: &'t mut [Front<'a>],
    last: &'t mut Tier<'a>,
    place: usize,
) -> &'t mut Tier<'a> {
    match fronts.get_mut(place) {
        None => last,
        Some(front) => front.tier().expect("a tier with instances"),
    }
}

/// A segment reaches a tier of directors. `way` says to which of its addresses it comes, from where, and the port that the client
/// called; `hop` what the connection has there.
pub(super) fn meet(
    tier: &mut Tier<'_>,
    reach: &mut Reach,
    now: SimTime,
    way: (u16, (IpAddr, u16), u16),
    segment: Segment,
    hop: &mut Hop,
) -> Forwarded {
    let (target, seen, called) = way;
    let Some(instance) = reach.of(tier, now, target) else { return reach.no_way(now, target) };
    if instance == hop.instance {
        return tier.instances[usize::from(instance)].segment(now, hop.flow, segment);
    }
    let mut key = [0; 2];
    let open = open_at(tier, seen, called, &mut key);
    rejoin(tier, instance, now, &open, segment, hop)
}

/// A segment reaches another director than before: it may know the connection, or take it for its own.
fn rejoin(
    tier: &mut Tier<'_>,
    instance: u16,
    now: SimTime,
    open: &Open<'_>,
    segment: Segment,
    hop: &mut Hop,
) -> Forwarded {
    let Instance::Lvs(director) = &mut tier.instances[usize::from(instance)] else { return Forwarded::Reset };
    let rejoined = director.rejoin(now, open, segment);
    if let Some(opened) = rejoined.opened {
        (hop.instance, hop.flow) = (instance, opened.flow);
    }
    rejoined.forwarded
}

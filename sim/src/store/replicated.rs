//! A primary whose writes are copied to replicas: MySQL with replication, Redis with replicas, a cache with a database behind it.
//!
//! A write is done when the primary has it (semi-synchronous: when a replica has received it). Each replica receives writes in
//! order after the network's delay, and its readers see them after they were applied, at a station of its own: so the lag grows
//! with the load of writes. When a primary dies, operations fail until a replica is promoted or the primary is back. A
//! promoted replica has what it had received; the rest is the lost tail. A primary that comes back before has what its disk
//! has, and its replicas take over that state, be it empty (Redis documentation, "Safety of replication when master has
//! persistence turned off").

mod failover;

use super::ailing::{Ailing, Death};
use super::durability::{Durability, Log, Snapshots};
use super::eviction::{Keyspace, Rule};
use super::plan::{
    MaxmemoryPolicy, MysqlPlan, ReadFrom, RedisFailover, RedisPlan, StoreTimeouts, WriteBehindPlan,
};
use super::records::{Gone, RecordId, Records};
use super::station::Station;
use super::{Access, Costs, Found, NewSession, Reply, StoreStreams, Why};
use crate::balancer::modern::hash::mix;
use crate::engine::{Distribution, Sampler, SimDuration, SimTime};

/// Hash slots of a Redis Cluster (cluster specification).
const SLOTS: u64 = 16_384;

/// Of stores that have no such limit.
const KEEPS_ALL: Rule =
    Rule { policy: MaxmemoryPolicy::NoEviction, samples: 1, log_factor: 0, decay_time: SimDuration::ZERO };

/// How a replica takes the place of a dead primary.
#[derive(Clone, Debug)]
struct Failover {
    /// Time until the death is noticed.
    detect: SimDuration,
    /// Time from there.
    rest: Sampler,
}

/// When a replica received and showed a session's first and last write.
#[derive(Clone, Copy, Debug)]
struct Mark {
    first_received: SimTime,
    first_visible: SimTime,
    last_received: SimTime,
    last_visible: SimTime,
}

impl Mark {
    const fn all(at: SimTime) -> Self {
        Self { first_received: at, first_visible: at, last_received: at, last_visible: at }
    }
}

#[derive(Clone, Debug)]
struct Node {
    up: bool,
    station: Station,
    /// Where writes are applied; nothing is to be applied at a replica of Redis.
    applier: Option<Station>,
    /// When it received and showed the last write: both are in order.
    received: SimTime,
    visible: SimTime,
}

/// A primary with its replicas.
#[derive(Clone, Debug)]
struct Shard {
    nodes: Vec<Node>,
    primary: usize,
    /// When the primary died and when it will be replaced; while it is down.
    down: Option<Down>,
    /// Until when commits wait for a replica in vain, if none is up (semi-synchronous).
    degraded_from: Option<SimTime>,
    durability: Durability,
    failures: u64,
    keyspace: Keyspace,
}

#[derive(Clone, Copy, Debug)]
struct Down {
    since: SimTime,
    /// When a replica takes its place.
    promotion: SimTime,
    /// Until when it takes operations all the same: those that wait for a node that hangs, and those that come to one whom only the
    /// other nodes do not hear.
    serves_until: SimTime,
    death: Option<Death>,
}

/// The store.
#[derive(Clone, Debug)]
pub struct Replicated {
    pub(super) records: Records,
    pub(super) costs: Costs,
    pub(super) ailing: Ailing,
    streams: StoreStreams,
    shards: Vec<Shard>,
    /// By record, then by node of its shard.
    marks: Vec<Mark>,
    /// By record: its place in its shard's keyspace.
    places: Vec<u32>,
    read_from: ReadFrom,
    read: Sampler,
    write: Sampler,
    /// Service at all nodes but the first of a shard, where it is another program.
    second: Option<Sampler>,
    apply: Sampler,
    lag: Sampler,
    /// Whether the lag delays the arrival of a write, which then dies with the primary, or only its showing.
    lags_on_the_way: bool,
    network: SimDuration,
    semi_sync_timeout: Option<SimDuration>,
    failover: Option<Failover>,
    /// Whether nodes that do not hear the primary put a replica in its place, and after which time one that hears nobody refuses.
    parts: Option<Option<SimDuration>>,
    full_coverage_after: Option<SimDuration>,
    maxmemory: Option<u64>,
    /// Whether the first node takes its place back as soon as it is up.
    fails_back: bool,
}

fn node(workers: u32, waiting_max: Option<u32>, appliers: Option<u32>) -> Node {
    Node {
        up: true,
        station: Station::new(workers, waiting_max),
        applier: appliers.map(|workers| Station::new(workers, None)),
        received: SimTime::ZERO,
        visible: SimTime::ZERO,
    }
}

fn shard(nodes: Vec<Node>, durability: Durability) -> Shard {
    Shard {
        nodes,
        primary: 0,
        down: None,
        degraded_from: None,
        durability,
        failures: 0,
        keyspace: Keyspace::new(KEEPS_ALL),
    }
}

impl Replicated {
    /// One shard of one node per `nodes`, with no option set.
    fn new(
        shards: Vec<Shard>,
        streams: StoreStreams,
        (read, write): (&Distribution, &Distribution),
        timeouts: StoreTimeouts,
    ) -> Self {
        let nodes = shards.iter().map(|shard| shard.nodes.len()).sum();
        let at_once = Distribution::Constant(0.0).sampler();
        Self {
            records: Records::default(),
            costs: Costs::new(nodes),
            ailing: Ailing::new(nodes, timeouts, streams.mishap),
            streams,
            shards,
            marks: Vec::new(),
            places: Vec::new(),
            read_from: ReadFrom::Primary,
            read: read.sampler(),
            write: write.sampler(),
            second: None,
            apply: at_once.clone(),
            lag: at_once,
            lags_on_the_way: true,
            network: SimDuration::ZERO,
            semi_sync_timeout: None,
            failover: None,
            parts: None,
            full_coverage_after: None,
            maxmemory: None,
            fails_back: false,
        }
    }

    /// MySQL.
    pub(super) fn mysql(plan: &MysqlPlan, streams: StoreStreams) -> Self {
        let workers = plan.at_a_time();
        let waiting = plan.max_connections - workers;
        let one = || node(workers, Some(waiting), Some(plan.replica_parallel_workers));
        let nodes = (0..=plan.replicas).map(|_| one()).collect();
        let durability = Durability::Log(Log::new(plan.innodb_flush_log_at_trx_commit, plan.sync_binlog));
        let semi_sync = plan.rpl_semi_sync_source_enabled.then_some(plan.rpl_semi_sync_source_timeout);
        Self {
            read_from: plan.read_from,
            apply: plan.apply.sampler(),
            lag: plan.replica_lag.sampler(),
            lags_on_the_way: false,
            network: plan.network,
            semi_sync_timeout: semi_sync,
            failover: plan
                .promotion
                .as_ref()
                .map(|rest| Failover { detect: SimDuration::ZERO, rest: rest.sampler() }),
            ..Self::new(vec![shard(nodes, durability)], streams, (&plan.read, &plan.write), plan.timeouts)
        }
    }

    /// Redis: one thread carries out commands (`io-threads` 1).
    pub(super) fn redis(plan: &RedisPlan, streams: StoreStreams) -> Self {
        let durability = || match plan.appendfsync {
            Some(appendfsync) => Durability::Append(appendfsync),
            None if plan.save.is_empty() => Durability::None,
            None => Durability::Snapshots(Snapshots::new(&plan.save)),
        };
        let rule = Rule {
            policy: plan.maxmemory_policy,
            samples: plan.maxmemory_samples,
            log_factor: plan.lfu_log_factor,
            decay_time: SimDuration::from_secs(60 * u64::from(plan.lfu_decay_time)),
        };
        let one = || Shard {
            keyspace: Keyspace::new(rule),
            ..shard((0..=plan.replicas).map(|_| node(1, None, None)).collect(), durability())
        };
        let shards = (0..plan.masters()).map(|_| one()).collect();
        let (failover, full_coverage_after) = match &plan.failover {
            RedisFailover::None => (None, None),
            RedisFailover::Sentinel { down_after, failover } => {
                (Some(Failover { detect: *down_after, rest: failover.sampler() }), None)
            }
            // Cluster specification, "Replica election and promotion": 500 ms, up to 500 ms more, and a second for each
            // replica with a greater replication offset, of which the most advanced has none.
            RedisFailover::Cluster { node_timeout, require_full_coverage, .. } => (
                Some(Failover {
                    detect: *node_timeout,
                    rest: Distribution::Uniform { min: 0.5, max: 1.0 }.sampler(),
                }),
                require_full_coverage.then_some(*node_timeout),
            ),
        };
        let parts = match &plan.failover {
            RedisFailover::None => None,
            RedisFailover::Sentinel { .. } => Some(None),
            // Cluster specification, "Write safety": a master that does not hear the majority refuses after the node time-out.
            RedisFailover::Cluster { node_timeout, .. } => Some(Some(*node_timeout)),
        };
        Self {
            read_from: plan.read_from,
            lag: plan.replica_lag.sampler(),
            network: plan.network,
            failover,
            parts,
            full_coverage_after,
            maxmemory: plan.maxmemory,
            ..Self::new(shards, streams, (&plan.read, &plan.write), plan.timeouts)
        }
    }

    /// A cache whose replica is a database, which answers at once when the cache is gone.
    pub(super) fn write_behind(plan: &WriteBehindPlan, streams: StoreStreams) -> Self {
        let cache = node(plan.workers, None, None);
        let database = node(plan.database_workers, None, Some(plan.database_workers));
        let at_once = Distribution::Constant(0.0).sampler();
        Self {
            second: Some(plan.database.sampler()),
            apply: plan.database.sampler(),
            lag: plan.delay.sampler(),
            network: plan.network,
            failover: Some(Failover { detect: SimDuration::ZERO, rest: at_once }),
            fails_back: true,
            ..Self::new(
                vec![shard(vec![cache, database], Durability::None)],
                streams,
                (&plan.operation, &plan.operation),
                plan.timeouts,
            )
        }
    }

    /// Copies of each session.
    pub(super) fn copies(&self) -> u64 {
        self.shards[0].nodes.len() as u64
    }

    /// When readers of a node see the first write of a session.
    #[cfg(test)]
    pub(super) fn shown_at(&self, id: RecordId, node: usize) -> SimTime {
        self.marks[id.index() * self.per_shard() + node].first_visible
    }

    fn shard_of(&self, id: RecordId) -> usize {
        let slot = mix(self.records.get(id).name) % SLOTS;
        (slot * self.shards.len() as u64 / SLOTS) as usize
    }

    fn per_shard(&self) -> usize {
        self.shards[0].nodes.len()
    }

    fn marks_of(&mut self, id: RecordId) -> &mut [Mark] {
        let nodes = self.per_shard();
        &mut self.marks[id.index() * nodes..][..nodes]
    }

    pub(super) fn create(&mut self, access: &Access, session: &NewSession) -> (RecordId, Reply) {
        let id = self.records.add(access.now, session.name, session.bytes, session.idle_timeout);
        let places = self.records.places();
        self.marks.resize(places * self.per_shard(), Mark::all(SimTime::NEVER));
        self.places.resize(places, u32::MAX);
        // Until the write below has succeeded there is nothing.
        self.records.drop_data(id, Some(Gone { why: Why::NodeLost, at: access.now }));
        (id, self.write(access, id))
    }

    pub(super) fn write(&mut self, access: &Access, id: RecordId) -> Reply {
        self.change(access, id, true)
    }

    /// A write, or a deletion, which needs no room.
    fn change(&mut self, access: &Access, id: RecordId, needs_room: bool) -> Reply {
        let now = access.now;
        let shard = self.shard_of(id);
        self.settle(now, shard);
        let arrival = now + self.network;
        let refused = Reply::failed(arrival + self.network);
        let primary = self.shards[shard].primary;
        let toll = match self.ailing.toll(access, shard * self.per_shard() + primary, self.network * 2) {
            Ok(toll) => toll,
            Err(after) => return Reply::failed(now + after),
        };
        let arrival = arrival.max(toll.not_before);
        if !self.may_write(now, shard) {
            return refused;
        }
        if needs_room && !self.make_room(arrival, shard) {
            return refused;
        }
        let fresh = !self.records.get(id).stored;
        let service =
            self.service(primary, &self.write).duration(&self.streams.operation, access.entity, access.index);
        let Some(commit) = self.serve(shard, primary, arrival, service) else { return refused };
        self.shards[shard].durability.written(commit);
        if fresh {
            self.records.add_again(commit, id);
            let bytes = self.records.get(id).bytes;
            self.places[id.index()] = self.shards[shard].keyspace.add(commit, id, bytes);
        } else {
            self.counts_use(access, shard, id);
        }
        let record = self.records.get_mut(id);
        record.written = commit;
        record.used = now;
        record.version += 1;
        let acknowledged = self.replicate(access, shard, id, commit, fresh);
        let done = match self.semi_sync_timeout {
            Some(timeout) => self.semi_sync(shard, commit, acknowledged, timeout),
            None => commit,
        };
        Reply { at: done + self.network + toll.late, found: Found::Current }
    }

    /// The law of an operation at a node.
    fn service<'a>(&'a self, node: usize, at_primary: &'a Sampler) -> &'a Sampler {
        self.second.as_ref().filter(|_| node > 0).unwrap_or(at_primary)
    }

    fn serve(&mut self, shard: usize, node: usize, at: SimTime, service: SimDuration) -> Option<SimTime> {
        let station = shard * self.per_shard() + node;
        let service = self.ailing.paced(station, service);
        let done = self.shards[shard].nodes[node].station.serve(at, service)?;
        self.costs.busy_ns[station] += service.0;
        Some(done)
    }

    /// Sends a commit to the replicas that are up; returns when the first of them has received it.
    fn replicate(
        &mut self,
        access: &Access,
        shard: usize,
        id: RecordId,
        commit: SimTime,
        fresh: bool,
    ) -> Option<SimTime> {
        let bytes = u64::from(self.records.get(id).bytes);
        let mut first = None;
        let primary = self.shards[shard].primary;
        let nodes = self.per_shard();
        for place in (0..nodes).filter(|&place| place != primary) {
            let delay = self.ailing.copy_delay(access, shard * nodes + primary, shard * nodes + place);
            let replica = &mut self.shards[shard].nodes[place];
            let mark = if let Some(delay) = delay.filter(|_| replica.up) {
                // How far a replica is behind is its state, not the write's; it is drawn anew each second.
                let second = commit.0 / SimDuration::from_secs(1).0;
                let station = (shard * nodes + place) as u64;
                let lag = self.lag.duration(&self.streams.copy, 1 << 63 | station, second);
                let on_the_way = if self.lags_on_the_way { lag } else { SimDuration::ZERO };
                let received = replica.received.max(commit + self.network + on_the_way + delay);
                let applied = match &mut replica.applier {
                    Some(applier) => {
                        let entity = access.entity | (place as u64) << 48;
                        let work = self.apply.duration(&self.streams.copy, entity, access.index);
                        let work = self.ailing.paced(shard * nodes + place, work);
                        self.costs.busy_ns[shard * nodes + place] += work.0;
                        applier.serve(received, work).unwrap_or(received)
                    }
                    None => received,
                };
                let replica = &mut self.shards[shard].nodes[place];
                let shown = if self.lags_on_the_way { applied } else { applied + lag };
                replica.received = received;
                replica.visible = replica.visible.max(shown);
                first = Some(first.map_or(received, |other: SimTime| other.min(received)));
                self.costs.messages(1, bytes);
                (received, replica.visible)
            } else {
                (SimTime::NEVER, SimTime::NEVER)
            };
            let kept = &mut self.marks_of(id)[place];
            (kept.last_received, kept.last_visible) = mark;
            if fresh {
                (kept.first_received, kept.first_visible) = mark;
            }
        }
        first
    }

    /// When a commit is acknowledged to the client: a replica's acknowledgement has come back, or the source has given up waiting
    /// for one, which it does once and then goes on asynchronously.
    fn semi_sync(
        &mut self,
        shard: usize,
        commit: SimTime,
        received: Option<SimTime>,
        timeout: SimDuration,
    ) -> SimTime {
        match received {
            Some(received) => {
                self.shards[shard].degraded_from = None;
                received + self.network
            }
            None => commit.max(*self.shards[shard].degraded_from.get_or_insert(commit + timeout)),
        }
    }

    pub(super) fn read(&mut self, access: &Access, id: RecordId) -> Reply {
        let now = access.now;
        let shard = self.shard_of(id);
        self.settle(now, shard);
        let arrival = now + self.network;
        let refused = Reply::failed(arrival + self.network);
        let place = self.reader(access, shard);
        let toll = match self.ailing.toll(access, shard * self.per_shard() + place, self.network * 2) {
            Ok(toll) => toll,
            Err(after) => return Reply::failed(now + after),
        };
        let arrival = arrival.max(toll.not_before);
        if place == self.shards[shard].primary && !self.may_write(now, shard) {
            return refused;
        }
        let service =
            self.service(place, &self.read).duration(&self.streams.operation, access.entity, access.index);
        let Some(done) = self.serve(shard, place, arrival, service) else { return refused };
        let primary = self.shards[shard].primary;
        let record = *self.records.get(id);
        let found = if !record.stored {
            Found::Missing(record.gone.unwrap_or(Gone { why: Why::Expired, at: now }))
        } else if place == primary {
            Found::Current
        } else {
            let mark = self.marks_of(id)[place];
            if mark.first_visible > arrival {
                Found::Missing(Gone { why: Why::Lagged, at: record.created })
            } else if mark.last_visible > arrival {
                Found::Stale
            } else {
                Found::Current
            }
        };
        if matches!(found, Found::Current | Found::Stale) {
            self.records.get_mut(id).used = now;
            self.counts_use(access, shard, id);
        }
        Reply { at: done + self.network + toll.late, found }
    }

    /// A key is used; which matters to a Redis that goes by how often.
    fn counts_use(&mut self, access: &Access, shard: usize, id: RecordId) {
        let name = (access.entity, access.index);
        self.shards[shard].keyspace.used(access.now, id, &self.streams.eviction, name);
    }

    /// The node that a read goes to.
    fn reader(&self, access: &Access, shard: usize) -> usize {
        let it = &self.shards[shard];
        if self.read_from == ReadFrom::Replicas {
            let up = |place: &usize| *place != it.primary && it.nodes[*place].up;
            let replicas = (0..it.nodes.len()).filter(up).count();
            if replicas > 0 {
                let stream = &self.streams.operation;
                let which = stream.below(replicas as u64, access.entity | 1 << 63, access.index) as usize;
                return (0..it.nodes.len()).filter(up).nth(which).unwrap_or(it.primary);
            }
        }
        it.primary
    }

    /// Whether the primary of a shard takes operations.
    fn may_write(&self, now: SimTime, shard: usize) -> bool {
        let uncovered = self.full_coverage_after.is_some_and(|after| {
            self.shards.iter().any(|shard| shard.down.is_some_and(|down| down.since + after <= now))
        });
        self.shards[shard].down.is_none_or(|down| now < down.serves_until) && !uncovered
    }

    pub(super) fn remove(&mut self, access: &Access, id: RecordId) -> Reply {
        let shard = self.shard_of(id);
        let reply = self.change(access, id, false);
        if reply.found == Found::Current {
            self.forget(shard, id, None);
        }
        reply
    }

    /// Drops the data of a record.
    fn forget(&mut self, shard: usize, id: RecordId, gone: Option<Gone>) {
        let place = std::mem::replace(&mut self.places[id.index()], u32::MAX);
        if place != u32::MAX {
            let bytes = self.records.get(id).bytes;
            if let Some(moved) = self.shards[shard].keyspace.remove(place, bytes) {
                self.places[moved.index()] = place;
            }
        }
        self.records.drop_data(id, gone);
    }

    /// Evicts before a write until no more than the limit is in use, which the write may then exceed (`performEvictions`); `false` if
    /// nobody may go.
    fn make_room(&mut self, now: SimTime, shard: usize) -> bool {
        let Some(limit) = self.maxmemory else { return true };
        while self.shards[shard].keyspace.bytes() > limit {
            let keyspace = &mut self.shards[shard].keyspace;
            let victim = keyspace.victim(now, &self.records, shard as u64, &self.streams.eviction);
            let Some(victim) = victim else { return false };
            self.forget(shard, victim, Some(Gone { why: Why::Evicted, at: now }));
        }
        true
    }
}

//! Replicated stores against closed forms, and what each kind of death takes.

use super::plan::{
    AppendFsync, FlushLog, MaxmemoryPolicy, MysqlPlan, ReadFrom, RedisFailover, RedisPlan, StoreTimeouts,
    WriteBehindPlan,
};
use super::replicated::Replicated;
use super::*;
use crate::engine::Distribution;
use crate::ids::StreamId;

const NEW: NewSession = NewSession { name: 1, bytes: 1_000, idle_timeout: SimDuration::from_secs(100_000) };

const TIMEOUTS: StoreTimeouts =
    StoreTimeouts { connect: SimDuration::from_secs(5), read: SimDuration::from_secs(20) };

fn dies(death: Death) -> NodeCondition {
    NodeCondition { death: Some(death), ..NodeCondition::WELL }
}

fn streams() -> StoreStreams {
    let stream = |id| Stream::new(21, 0, id);
    StoreStreams {
        operation: stream(StreamId::StoreOperation),
        copy: stream(StreamId::StoreCopy),
        eviction: stream(StreamId::StoreEviction),
        failover: stream(StreamId::StoreFailover),
        mishap: stream(StreamId::StoreMishaps),
    }
}

fn at_ms(ms: u64) -> SimTime {
    SimTime::from_millis(ms)
}

fn access(ms: u64, entity: u64) -> Access {
    Access { now: at_ms(ms), server: ServerId(0), entity, index: 0, stands: false }
}

fn mysql() -> MysqlPlan {
    MysqlPlan {
        replicas: 1,
        read_from: ReadFrom::Replicas,
        read: Distribution::Constant(0.001),
        write: Distribution::Constant(0.002),
        apply: Distribution::Constant(0.0),
        replica_lag: Distribution::Constant(0.0),
        workers: 8,
        max_connections: 151,
        replica_parallel_workers: 1,
        rpl_semi_sync_source_enabled: false,
        rpl_semi_sync_source_timeout: SimDuration::from_secs(10),
        innodb_flush_log_at_trx_commit: FlushLog::AtCommit,
        sync_binlog: 1,
        promotion: Some(Distribution::Constant(30.0)),
        network: SimDuration::from_millis(1),
        timeouts: TIMEOUTS,
    }
}

fn redis() -> RedisPlan {
    RedisPlan {
        replicas: 1,
        read_from: ReadFrom::Primary,
        read: Distribution::Constant(0.0001),
        write: Distribution::Constant(0.0001),
        replica_lag: Distribution::Constant(0.0),
        failover: RedisFailover::Sentinel {
            down_after: SimDuration::from_secs(30),
            failover: Distribution::Constant(1.0),
        },
        maxmemory: None,
        maxmemory_policy: MaxmemoryPolicy::NoEviction,
        maxmemory_samples: 5,
        lfu_log_factor: 10,
        lfu_decay_time: 1,
        save: Vec::new(),
        appendfsync: None,
        network: SimDuration::ZERO,
        timeouts: TIMEOUTS,
    }
}

fn why(reply: Reply) -> Option<Why> {
    match reply.found {
        Found::Missing(gone) => Some(gone.why),
        Found::Current | Found::Stale | Found::Failed => None,
    }
}

#[test]
fn an_operation_takes_the_network_both_ways_and_its_service() {
    let mut store = Replicated::mysql(&mysql(), streams());
    let (id, created) = store.create(&access(0, 1), &NEW);
    assert_eq!((created.at, created.found), (at_ms(4), Found::Current));
    assert_eq!(store.read(&access(100, 1), id), Reply { at: at_ms(103), found: Found::Current });
    assert_eq!(store.costs.messages, 1);
}

#[test]
fn reads_that_overtake_an_exponential_lag_miss_as_often_as_its_tail_says() {
    // Goal: P(miss) = exp(-think / lag). Method: 10 000 sessions, written a minute apart so that the order of replication
    // binds nothing, read 250 ms after the commit; mean lag 200 ms: exp(-1.25) = 0.2865. 1.8 % is four deviations.
    let lag = Distribution::Exponential { mean: 0.2 };
    let mut store = Replicated::mysql(&MysqlPlan { replica_lag: lag, ..mysql() }, streams());
    let mut misses = 0;
    for number in 0..10_000 {
        let start = number * 60_000;
        let (id, _) = store.create(&access(start, number), &NEW);
        // The commit comes 3 ms after the start, and the replica has it 1 ms later; the read arrives after 1 ms.
        let read = store.read(&access(start + 4 + 250 - 1, number), id);
        misses += u64::from(why(read) == Some(Why::Lagged));
    }
    let share = misses as f64 / 10_000.0;
    assert!((share - libm::exp(-1.25)).abs() < 0.018, "{share}");
}

#[test]
fn the_lag_of_a_single_applier_is_the_wait_of_its_queue() {
    // Goal: replica lag grows with the load of writes as M/D/1: W = s + rho s / (2 (1 - rho)). Method: 20 000 Poisson writes
    // that take 10 ms each to apply, at loads 0.5 and 0.8: 15 ms and 30 ms; 8 % covers correlated waits at this seed.
    for (rho, expected_ms) in [(0.5, 15.0), (0.8, 30.0)] {
        let plan = MysqlPlan {
            write: Distribution::Constant(0.0),
            apply: Distribution::Constant(0.010),
            network: SimDuration::ZERO,
            ..mysql()
        };
        let mut store = Replicated::mysql(&plan, streams());
        let gaps = Distribution::Exponential { mean: 0.010 / rho }.sampler();
        let (mut now, mut sum) = (SimTime::ZERO, 0.0);
        for number in 0..20_000 {
            now = now + gaps.duration(&streams().failover, 7, number);
            let access = Access { now, ..access(0, number) };
            let (id, _) = store.create(&access, &NEW);
            sum += store.shown_at(id, 1).since(now).as_secs_f64();
        }
        let mean_ms = sum / 20_000.0 * 1e3;
        assert!((mean_ms / expected_ms - 1.0).abs() < 0.08, "load {rho}: {mean_ms} ms");
    }
}

#[test]
fn a_promotion_loses_what_the_replica_had_not_received_as_often_as_the_lag_says() {
    // Goal: P(lost) = exp(-age / lag) for a write of that age when the master dies. Method: 4000 masters, each at a second of its
    // own with one session; lag exponential, mean 50 ms; age 40 ms: exp(-0.8) = 0.449. 3.2 % is four deviations.
    let plan = RedisPlan {
        replica_lag: Distribution::Exponential { mean: 0.05 },
        write: Distribution::Constant(0.0),
        ..redis()
    };
    let is_lost = |number: &u64| {
        let mut store = Replicated::redis(&plan, streams());
        let start = number * 1_000;
        let (id, _) = store.create(&access(start, *number), &NEW);
        store.node_is(at_ms(start + 40), 0, dies(Death::Process));
        why(store.read(&access(start + 60_000, 0), id)) == Some(Why::NodeLost)
    };
    let share = (0..4_000).filter(is_lost).count() as f64 / 4_000.0;
    assert!((share - libm::exp(-0.8)).abs() < 0.032, "{share}");
}

#[test]
fn nobody_answers_until_sentinel_has_promoted_a_replica() {
    let mut store = Replicated::redis(&redis(), streams());
    let (id, _) = store.create(&access(0, 1), &NEW);
    store.node_is(at_ms(1_000), 0, dies(Death::Process));
    assert_eq!(store.read(&access(31_999, 1), id).found, Found::Failed);
    assert_eq!(store.read(&access(32_000, 1), id).found, Found::Current, "30 s and 1 s later");
    store.node_is(at_ms(40_000), 0, NodeCondition::WELL);
    store.node_is(at_ms(50_000), 1, dies(Death::Process));
    assert_eq!(store.read(&access(81_001, 1), id).found, Found::Current, "the old master has copied all");
}

#[test]
fn a_master_without_persistence_that_restarts_too_fast_empties_its_replicas() {
    for (appendfsync, found) in [(None, Some(Why::NodeLost)), (Some(AppendFsync::Everysec), None)] {
        let mut store = Replicated::redis(&RedisPlan { appendfsync, ..redis() }, streams());
        let (id, _) = store.create(&access(0, 1), &NEW);
        store.node_is(at_ms(5_500), 0, dies(Death::Power));
        store.node_is(at_ms(7_000), 0, NodeCondition::WELL);
        assert_eq!(why(store.read(&access(8_000, 1), id)), found);
    }
}

#[test]
fn semi_synchronous_commits_wait_for_the_replica_and_once_for_the_time_out() {
    let plan = MysqlPlan { rpl_semi_sync_source_enabled: true, ..mysql() };
    let mut store = Replicated::mysql(&plan, streams());
    let (id, created) = store.create(&access(0, 1), &NEW);
    assert_eq!(created.at, at_ms(6), "3 ms to the commit, 1 ms to the replica and back, 1 ms home");
    store.node_is(at_ms(1_000), 1, dies(Death::Process));
    assert_eq!(store.write(&access(2_000, 1), id).at, at_ms(12_004));
    assert_eq!(store.write(&access(20_000, 1), id).at, at_ms(20_004), "by now replication is asynchronous");
}

#[test]
fn too_many_connections_are_refused() {
    let plan = MysqlPlan { workers: 1, max_connections: 2, ..mysql() };
    let mut store = Replicated::mysql(&plan, streams());
    let found: Vec<Found> = (0..3).map(|name| store.create(&access(0, name), &NEW).1.found).collect();
    assert_eq!(found, [Found::Current, Found::Current, Found::Failed]);
}

#[test]
fn a_full_redis_refuses_or_evicts_as_its_policy_says() {
    for policy in MaxmemoryPolicy::ALL {
        let (fails, evicted) = if policy == MaxmemoryPolicy::NoEviction { (89, 0) } else { (0, 89) };
        // 1000 bytes take 1168: room for ten, and one more beyond the limit, at which memory is looked at first.
        let plan = RedisPlan { maxmemory: Some(11_700), maxmemory_policy: policy, ..redis() };
        let mut store = Replicated::redis(&plan, streams());
        let made: Vec<_> = (0..100)
            .map(|name| store.create(&access(name * 10, name), &NewSession { name, ..NEW }))
            .collect();
        assert_eq!(made.iter().filter(|(_, reply)| reply.found == Found::Failed).count(), fails);
        let evictions =
            made.iter().filter(|(id, _)| why(store.read(&access(2_000, 0), *id)) == Some(Why::Evicted));
        assert_eq!(evictions.count(), evicted);
    }
}

#[test]
fn a_queue_behind_a_cache_dies_with_it_and_the_database_answers() {
    let plan = WriteBehindPlan {
        operation: Distribution::Constant(0.0001),
        workers: 4,
        delay: Distribution::Constant(1.0),
        database: Distribution::Constant(0.005),
        database_workers: 4,
        network: SimDuration::ZERO,
        timeouts: TIMEOUTS,
    };
    let mut store = Replicated::write_behind(&plan, streams());
    let (old, _) = store.create(&access(0, 1), &NEW);
    let (new, _) = store.create(&access(4_500, 2), &NEW);
    store.write(&access(4_800, 1), old);
    store.node_is(at_ms(5_000), 0, dies(Death::Process));
    assert_eq!(store.read(&access(5_001, 1), old), Reply { at: at_ms(5_006), found: Found::Current });
    assert_eq!(store.costs.rolled_back, 1);
    assert_eq!(why(store.read(&access(5_002, 2), new)), Some(Why::NodeLost));
    store.node_is(at_ms(9_000), 0, NodeCondition::WELL);
    assert_eq!(store.read(&access(9_000, 1), old).found, Found::Current);
}

/// Cut for good, as far as those who ask know.
const CUT: LinkCondition = LinkCondition { cut_until: SimTime::NEVER, ..LinkCondition::WELL };

#[test]
fn a_master_whom_the_others_do_not_hear_takes_writes_that_are_lost_when_it_is_replaced() {
    let mut store = Replicated::redis(&redis(), streams());
    let (before, _) = store.create(&access(0, 1), &NEW);
    store.replication_is(at_ms(1_000), 0, CUT);
    let (apart, created) = store.create(&access(2_000, 2), &NewSession { name: 2, ..NEW });
    assert_eq!(created.found, Found::Current, "clients reach it as before");
    store.write(&access(3_000, 1), before);
    assert_eq!(store.read(&access(31_999, 1), apart).found, Found::Current);
    assert_eq!(why(store.read(&access(32_000, 1), apart)), Some(Why::NodeLost), "30 s and 1 s later");
    assert_eq!(store.read(&access(32_000, 1), before).found, Found::Current);
    assert_eq!(store.costs.rolled_back, 1, "the second write of the first session");
    // One that is heard again in time has lost nothing, and its replica has all.
    store.replication_is(at_ms(40_000), 0, LinkCondition::WELL);
    store.replication_is(at_ms(50_000), 1, CUT);
    let (late, _) = store.create(&access(51_000, 3), &NewSession { name: 3, ..NEW });
    store.replication_is(at_ms(60_000), 1, LinkCondition::WELL);
    store.node_is(at_ms(61_000), 1, dies(Death::Process));
    assert_eq!(store.read(&access(100_000, 1), late).found, Found::Current);
}

#[test]
fn a_master_of_a_cluster_that_hears_nobody_refuses_after_the_node_time_out() {
    let node_timeout = SimDuration::from_secs(15);
    let failover = RedisFailover::Cluster { masters: 1, node_timeout, require_full_coverage: false };
    let mut store = Replicated::redis(&RedisPlan { failover, ..redis() }, streams());
    let (id, _) = store.create(&access(0, 1), &NEW);
    store.replication_is(at_ms(1_000), 0, CUT);
    assert_eq!(store.write(&access(15_999, 1), id).found, Found::Current);
    assert_eq!(store.write(&access(16_100, 1), id).found, Found::Failed);
    assert_eq!(store.write(&access(17_001, 1), id).found, Found::Current, "the promoted replica");
}

#[test]
fn a_mysql_source_that_its_replica_does_not_hear_is_not_replaced_and_reads_there_grow_stale() {
    let mut store = Replicated::mysql(&mysql(), streams());
    let (id, _) = store.create(&access(0, 1), &NEW);
    store.replication_is(at_ms(1_000), 0, CUT);
    store.write(&access(2_000, 1), id);
    assert_eq!(store.read(&access(500_000, 1), id).found, Found::Stale);
    store.replication_is(at_ms(500_000), 0, LinkCondition::WELL);
    assert_eq!(store.read(&access(500_001, 1), id).found, Found::Current);
}

#[test]
fn who_asks_a_node_that_hangs_waits_for_it_or_for_the_time_out() {
    let hangs = |until| NodeCondition { hangs_until: at_ms(until), ..NodeCondition::WELL };
    let mut store = Replicated::redis(&redis(), streams());
    let (id, _) = store.create(&access(0, 1), &NEW);
    store.node_is(at_ms(1_000), 0, hangs(25_000));
    assert_eq!(store.read(&access(2_000, 1), id), Reply::failed(at_ms(22_000)));
    let Reply { at, found } = store.read(&access(10_000, 1), id);
    assert!(found == Found::Current && at > at_ms(25_000) && at < at_ms(25_010), "{at:?}");
    // It is back before Sentinel takes it for dead, with its memory.
    store.node_is(at_ms(25_000), 0, NodeCondition::WELL);
    let (later, _) = store.create(&access(26_000, 2), &NewSession { name: 2, ..NEW });
    assert_eq!(store.read(&access(40_000, 1), later).found, Found::Current);
}

#[test]
fn a_redis_that_is_stopped_writes_its_snapshot_and_one_that_crashes_does_not() {
    for (death, found) in [(Death::Stopped, None), (Death::Process, Some(Why::NodeLost))] {
        let mut store = Replicated::redis(&RedisPlan { save: vec![(3_600, 1)], ..redis() }, streams());
        let (id, _) = store.create(&access(0, 1), &NEW);
        store.node_is(at_ms(5_000), 0, dies(death));
        store.node_is(at_ms(7_000), 0, NodeCondition::WELL);
        assert_eq!(why(store.read(&access(8_000, 1), id)), found);
    }
}

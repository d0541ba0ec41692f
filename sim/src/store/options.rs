//! The options of stores: each store shows its own, one by one, with what they mean; what looks at them reads, prints or
//! documents them. So the reader, `evenkeel explain` and the reference page cannot disagree.
//!
//! Options that have no effect beside others (how a replica lags where there is none) are not shown, and so are not known.

use super::plan::{
    AppendFsync, AtSwitch, CookiePlan, FlushLog, HybridRule, KeyDistribution, LocalPlan, MaxmemoryPolicy,
    MemcachedPlan, MysqlPlan, ReadFrom, RedisFailover, RedisPlan, StorePlan, StoreTimeouts, TomcatPlan,
    WriteBehindPlan,
};
use crate::engine::{Distribution, SimDuration};

/// What is done with each option. `meaning` is a sentence for the reference page.
pub trait StoreOptionVisitor {
    /// A whole number from `min` to `max`.
    fn whole(&mut self, name: &'static str, meaning: &'static str, value: &mut u32, range: (u32, u32));

    /// A whole number of at least 1, or none.
    fn limit(&mut self, name: &'static str, meaning: &'static str, value: &mut Option<u32>);

    /// A number above 1.
    fn factor(&mut self, name: &'static str, meaning: &'static str, value: &mut f64);

    /// A size \[B\] of at least 1.
    fn bytes(&mut self, name: &'static str, meaning: &'static str, value: &mut u64);

    /// A size \[B\] of at least 1, or none.
    fn bytes_limit(&mut self, name: &'static str, meaning: &'static str, value: &mut Option<u64>);

    /// A time.
    fn duration(&mut self, name: &'static str, meaning: &'static str, value: &mut SimDuration);

    /// A law of times \[s\].
    fn law(&mut self, name: &'static str, meaning: &'static str, value: &mut Distribution);

    /// A law of times \[s\], or none.
    fn law_or_none(&mut self, name: &'static str, meaning: &'static str, value: &mut Option<Distribution>);

    /// Yes or no.
    fn flag(&mut self, name: &'static str, meaning: &'static str, value: &mut bool);

    /// One of some words, by its place.
    fn word(
        &mut self,
        name: &'static str,
        meaning: &'static str,
        value: &mut usize,
        words: &'static [&'static str],
    );

    /// Redis's `save`: pairs of seconds and changes.
    fn save(&mut self, name: &'static str, meaning: &'static str, value: &mut Vec<(u32, u32)>);
}

/// Shows a choice whose values stand in the order of their words.
fn choose<T: Copy + PartialEq>(
    visitor: &mut dyn StoreOptionVisitor,
    option: (&'static str, &'static str),
    value: &mut T,
    values: &[T],
    words: &'static [&'static str],
) {
    let mut place = values.iter().position(|other| other == value).unwrap_or(0);
    visitor.word(option.0, option.1, &mut place, words);
    *value = values[place];
}

const NETWORK: (&str, &str) = ("network", "time to the store, one way");
const ASSUMED_NETWORK: SimDuration = SimDuration(250_000);

fn timeouts(connect_s: u64, read_s: u64) -> StoreTimeouts {
    StoreTimeouts { connect: SimDuration::from_secs(connect_s), read: SimDuration::from_secs(read_s) }
}

impl StoreTimeouts {
    /// Shows both, by the names that the program's client has for them.
    fn options(&mut self, v: &mut dyn StoreOptionVisitor, names: [(&'static str, &'static str); 2]) {
        let [connect, read] = names;
        v.duration(connect.0, connect.1, &mut self.connect);
        v.duration(read.0, read.1, &mut self.read);
    }
}

fn exponential(mean: f64) -> Distribution {
    Distribution::Exponential { mean }
}

impl StorePlan {
    /// The store called `name` with its defaults; `None` for what is no such store.
    pub fn default_of(name: &str) -> Option<Self> {
        Some(match name {
            "local" => Self::Local(LocalPlan { max_sessions: None, on_disk: false }),
            "mysql" => Self::Mysql(MysqlPlan::default()),
            "redis" => Self::Redis(RedisPlan::default()),
            "memcached" => Self::Memcached(MemcachedPlan::default()),
            "tomcat_delta" => Self::TomcatDelta(TomcatPlan::default()),
            "tomcat_backup" => Self::TomcatBackup(TomcatPlan::default()),
            "cookie" => Self::Cookie(CookiePlan { sign: Distribution::Constant(20e-6) }),
            "write_behind" => Self::WriteBehind(WriteBehindPlan::default()),
            _ => return None,
        })
    }

    /// The same store with settings beside which other options have an effect: (the settings, the store).
    pub fn variants(&self) -> Vec<(&'static str, Self)> {
        match self {
            Self::Mysql(plan) => {
                let replicas = plan.replicas.max(1);
                let read = MysqlPlan { replicas, read_from: ReadFrom::Replicas, ..plan.clone() };
                let waits = MysqlPlan { replicas, rpl_semi_sync_source_enabled: true, ..plan.clone() };
                vec![
                    ("replicas = 1", Self::Mysql(MysqlPlan { replicas, ..plan.clone() })),
                    ("read_from = \"replicas\"", Self::Mysql(read)),
                    ("rpl_semi_sync_source_enabled = true", Self::Mysql(waits)),
                ]
            }
            Self::Redis(plan) => {
                let with = |setting: fn(&mut RedisPlan)| {
                    let mut plan = plan.clone();
                    setting(&mut plan);
                    Self::Redis(plan)
                };
                vec![
                    ("failover = \"sentinel\"", with(|plan| plan.failover = SENTINEL)),
                    ("failover = \"cluster\"", with(|plan| plan.failover = CLUSTER)),
                    ("replicas = 1", with(|plan| plan.replicas = 1)),
                    ("appendonly = \"yes\"", with(|plan| plan.appendfsync = Some(AppendFsync::Everysec))),
                    ("appendonly = \"no\"", with(|plan| plan.appendfsync = None)),
                    ("maxmemory = \"1GB\"", with(|plan| plan.maxmemory = Some(1 << 30))),
                    (
                        "maxmemory = \"1GB\", maxmemory-policy = \"allkeys-lru\"",
                        with(|plan| {
                            plan.maxmemory = Some(1 << 30);
                            plan.maxmemory_policy = MaxmemoryPolicy::AllkeysLru;
                        }),
                    ),
                    (
                        "maxmemory = \"1GB\", maxmemory-policy = \"allkeys-lfu\"",
                        with(|plan| {
                            plan.maxmemory = Some(1 << 30);
                            plan.maxmemory_policy = MaxmemoryPolicy::AllkeysLfu;
                        }),
                    ),
                ]
            }
            Self::Local(_)
            | Self::Memcached(_)
            | Self::TomcatDelta(_)
            | Self::TomcatBackup(_)
            | Self::Cookie(_)
            | Self::WriteBehind(_) => Vec::new(),
        }
    }

    /// Shows every option that has an effect.
    pub fn options(&mut self, v: &mut dyn StoreOptionVisitor) {
        match self {
            Self::Local(plan) => {
                let meaning =
                    "sessions that a server keeps; a further one pushes out the one used longest ago";
                v.limit("max_sessions", meaning, &mut plan.max_sessions);
                let meaning = "whether they are files, which outlive the server's processes";
                v.flag("on_disk", meaning, &mut plan.on_disk);
            }
            Self::Mysql(plan) => plan.options(v),
            Self::Redis(plan) => plan.options(v),
            Self::Memcached(plan) => plan.options(v),
            Self::TomcatDelta(plan) | Self::TomcatBackup(plan) => plan.options(v),
            Self::Cookie(plan) => {
                let meaning = "processor time to check or make a signature (assumed)";
                v.law("sign", meaning, &mut plan.sign);
            }
            Self::WriteBehind(plan) => plan.options(v),
        }
    }
}

impl Default for MysqlPlan {
    fn default() -> Self {
        Self {
            replicas: 1,
            read_from: ReadFrom::Replicas,
            read: exponential(0.5e-3),
            write: exponential(1.5e-3),
            apply: exponential(1e-3),
            replica_lag: Distribution::Constant(0.0),
            workers: 16,
            max_connections: 151,
            replica_parallel_workers: 4,
            rpl_semi_sync_source_enabled: false,
            rpl_semi_sync_source_timeout: SimDuration::from_secs(10),
            innodb_flush_log_at_trx_commit: FlushLog::AtCommit,
            sync_binlog: 1,
            promotion: Some(Distribution::Constant(30.0)),
            network: ASSUMED_NETWORK,
            timeouts: timeouts(60, 86_400),
        }
    }
}

impl MysqlPlan {
    fn options(&mut self, v: &mut dyn StoreOptionVisitor) {
        v.whole("replicas", "replicas of the source", &mut self.replicas, (0, 100));
        v.law("read", "time that a read takes at a node (assumed)", &mut self.read);
        v.law(
            "write",
            "time that a write takes at the source, its flush included (assumed)",
            &mut self.write,
        );
        v.whole(
            "workers",
            "operations that a node carries out at a time (assumed)",
            &mut self.workers,
            (1, 10_000),
        );
        let meaning = "operations that a node has at a time, waiting ones included; more are refused";
        v.whole("max_connections", meaning, &mut self.max_connections, (1, 100_000));
        choose(
            v,
            (
                "innodb_flush_log_at_trx_commit",
                "what of a commit is on the disk when the source dies and comes back",
            ),
            &mut self.innodb_flush_log_at_trx_commit,
            &[FlushLog::EachSecond, FlushLog::AtCommit, FlushLog::WrittenAtCommit],
            &["0", "1", "2"],
        );
        let meaning =
            "commits after which the binary log is flushed; what a power loss takes from it is rolled back";
        v.whole("sync_binlog", meaning, &mut self.sync_binlog, (0, u32::MAX));
        v.duration(NETWORK.0, NETWORK.1, &mut self.network);
        self.timeouts.options(
            v,
            [
                (
                    "connect_timeout",
                    "how long a server waits for a connection (mysqlnd: `default_socket_timeout`)",
                ),
                ("read_timeout", "how long it waits for an answer (`mysqlnd.net_read_timeout`)"),
            ],
        );
        if self.replicas == 0 {
            return;
        }
        choose(
            v,
            ("read_from", "where sessions are read"),
            &mut self.read_from,
            &[ReadFrom::Primary, ReadFrom::Replicas],
            &["source", "replicas"],
        );
        let meaning = "time until a replica takes the place of a dead source (assumed), or \"none\"";
        v.law_or_none("promotion", meaning, &mut self.promotion);
        v.law("apply", "time that applying a write takes at a replica (assumed)", &mut self.apply);
        let meaning = "writes that a replica applies at a time";
        v.whole("replica_parallel_workers", meaning, &mut self.replica_parallel_workers, (1, 1_024));
        if self.read_from == ReadFrom::Replicas {
            let meaning = "lag on top of the queue of writes to apply, drawn anew each second";
            v.law("replica_lag", meaning, &mut self.replica_lag);
        }
        let meaning = "whether a commit waits until a replica has it";
        v.flag("rpl_semi_sync_source_enabled", meaning, &mut self.rpl_semi_sync_source_enabled);
        if self.rpl_semi_sync_source_enabled {
            let meaning = "how long it waits, once, before replication goes on asynchronously";
            v.duration("rpl_semi_sync_source_timeout", meaning, &mut self.rpl_semi_sync_source_timeout);
        }
    }
}

impl Default for RedisPlan {
    fn default() -> Self {
        Self {
            replicas: 1,
            read_from: ReadFrom::Primary,
            read: exponential(20e-6),
            write: exponential(20e-6),
            replica_lag: Distribution::Constant(0.0),
            failover: SENTINEL,
            maxmemory: None,
            maxmemory_policy: MaxmemoryPolicy::NoEviction,
            maxmemory_samples: 5,
            lfu_log_factor: 10,
            lfu_decay_time: 1,
            save: vec![(3_600, 1), (300, 100), (60, 10_000)],
            appendfsync: None,
            network: ASSUMED_NETWORK,
            timeouts: timeouts(127, 60),
        }
    }
}

const SENTINEL: RedisFailover = RedisFailover::Sentinel {
    down_after: SimDuration::from_secs(30),
    failover: Distribution::Uniform { min: 1.0, max: 3.0 },
};

const CLUSTER: RedisFailover = RedisFailover::Cluster {
    masters: 3,
    node_timeout: SimDuration::from_secs(15),
    require_full_coverage: true,
};

impl RedisPlan {
    fn options(&mut self, v: &mut dyn StoreOptionVisitor) {
        let mut mode = match self.failover {
            RedisFailover::None => 0,
            RedisFailover::Sentinel { .. } => 1,
            RedisFailover::Cluster { .. } => 2,
        };
        let before = mode;
        let meaning = "who makes a replica the master when the master is dead";
        v.word("failover", meaning, &mut mode, &["none", "sentinel", "cluster"]);
        if mode != before {
            self.failover = [RedisFailover::None, SENTINEL, CLUSTER][mode].clone();
        }
        v.whole("replicas", "replicas of each master", &mut self.replicas, (0, 100));
        match &mut self.failover {
            RedisFailover::None => {}
            RedisFailover::Sentinel { down_after, failover } => {
                v.duration(
                    "down-after-milliseconds",
                    "silence after which Sentinel takes the master for dead",
                    down_after,
                );
                let meaning = "time from there until clients use the promoted replica (assumed)";
                v.law("sentinel_failover", meaning, failover);
            }
            RedisFailover::Cluster { masters, node_timeout, require_full_coverage } => {
                v.whole("masters", "masters, among which the 16384 slots are divided", masters, (1, 1_000));
                let meaning = "silence after which the other masters take one for dead";
                v.duration("cluster-node-timeout", meaning, node_timeout);
                let meaning = "whether all refuse while slots of a dead master are nobody's";
                v.flag("cluster-require-full-coverage", meaning, require_full_coverage);
            }
        }
        v.law("read", "time that a read takes (assumed)", &mut self.read);
        v.law("write", "time that a write takes (assumed)", &mut self.write);
        v.bytes_limit("maxmemory", "memory of a master, or \"none\"", &mut self.maxmemory);
        if self.maxmemory.is_some() {
            let policy =
                ("maxmemory-policy", "who goes when it is used up; all sessions expire, so all are volatile");
            choose(v, policy, &mut self.maxmemory_policy, &MaxmemoryPolicy::ALL, &MaxmemoryPolicy::NAMES);
            let any = [
                MaxmemoryPolicy::NoEviction,
                MaxmemoryPolicy::AllkeysRandom,
                MaxmemoryPolicy::VolatileRandom,
            ];
            if !any.contains(&self.maxmemory_policy) {
                let meaning = "keys that are drawn for one eviction";
                v.whole("maxmemory-samples", meaning, &mut self.maxmemory_samples, (1, 64));
            }
            if self.maxmemory_policy.counts_uses() {
                let meaning = "how slowly the counter of a key's uses grows";
                v.whole("lfu-log-factor", meaning, &mut self.lfu_log_factor, (0, 1_000_000));
                let meaning = "minutes without use after which it falls by one, 0 for never";
                v.whole("lfu-decay-time", meaning, &mut self.lfu_decay_time, (0, 1_000_000));
            }
        }
        let mut appends = self.appendfsync.is_some();
        choose(
            v,
            ("appendonly", "whether writes go to an append-only file"),
            &mut appends,
            &[false, true],
            &["no", "yes"],
        );
        self.appendfsync = appends.then(|| self.appendfsync.unwrap_or(AppendFsync::Everysec));
        match &mut self.appendfsync {
            Some(appendfsync) => choose(
                v,
                ("appendfsync", "when that file is flushed to the disk"),
                appendfsync,
                &[AppendFsync::Always, AppendFsync::Everysec, AppendFsync::No],
                &["always", "everysec", "no"],
            ),
            None => v.save("save", "snapshots after seconds and changes, \"\" for none", &mut self.save),
        }
        v.duration(NETWORK.0, NETWORK.1, &mut self.network);
        self.timeouts.options(
            v,
            [
                (
                    "timeout",
                    "how long a server waits for a connection (phpredis: as long as its kernel sends SYNs)",
                ),
                ("read_timeout", "how long it waits for an answer (phpredis: `default_socket_timeout`)"),
            ],
        );
        if self.replicas > 0 {
            choose(
                v,
                ("read_from", "where sessions are read"),
                &mut self.read_from,
                &[ReadFrom::Primary, ReadFrom::Replicas],
                &["master", "replicas"],
            );
            let meaning = "delay of replication on top of the network's, drawn anew each second; what is on the way dies with the master";
            v.law("replica_lag", meaning, &mut self.replica_lag);
        }
    }
}

impl Default for MemcachedPlan {
    fn default() -> Self {
        Self {
            nodes: 2,
            distribution: KeyDistribution::Modula,
            remove_failed_servers: false,
            memory: 64 << 20,
            factor: 1.25,
            chunk_min: 48,
            threads: 4,
            operation: exponential(10e-6),
            network: ASSUMED_NETWORK,
            timeouts: timeouts(1, 5),
        }
    }
}

impl MemcachedPlan {
    fn options(&mut self, v: &mut dyn StoreOptionVisitor) {
        v.whole("nodes", "nodes", &mut self.nodes, (1, 1_000));
        let meaning = "how clients find a key's node: by remainder, or on a ring of 100 or 160 points a node";
        let option = ("distribution", meaning);
        choose(v, option, &mut self.distribution, &KeyDistribution::ALL, &KeyDistribution::NAMES);
        let meaning = "whether clients leave out a dead node, so that its keys go to others";
        v.flag("remove_failed_servers", meaning, &mut self.remove_failed_servers);
        v.bytes("memory", "memory of a node for items (`-m`)", &mut self.memory);
        v.factor("factor", "growth of chunk sizes (`-f`)", &mut self.factor);
        let meaning = "bytes of the smallest space for key, flags and value (`-n`)";
        v.whole("chunk_min", meaning, &mut self.chunk_min, (1, 1 << 19));
        v.whole("threads", "worker threads (`-t`)", &mut self.threads, (1, 128));
        v.law("operation", "time that an operation takes (assumed)", &mut self.operation);
        v.duration(NETWORK.0, NETWORK.1, &mut self.network);
        self.timeouts.options(
            v,
            [
                (
                    "connect_timeout",
                    "how long a server waits for a connection (`memcached.sess_connect_timeout`)",
                ),
                ("poll_timeout", "how long it waits for an answer (libmemcached)"),
            ],
        );
    }
}

impl Default for TomcatPlan {
    fn default() -> Self {
        Self {
            synchronous: false,
            max_threads: 15,
            message: Distribution::Constant(100e-6),
            lag: exponential(1e-3),
        }
    }
}

impl TomcatPlan {
    fn options(&mut self, v: &mut dyn StoreOptionVisitor) {
        choose(
            v,
            (
                "channelSendOptions",
                "8: copies are sent after the answer; 6: the answer waits until all are acknowledged",
            ),
            &mut self.synchronous,
            &[false, true],
            &["8", "6"],
        );
        v.whole("maxThreads", "threads of the receiver", &mut self.max_threads, (1, 10_000));
        let meaning = "processor time that sending or receiving one message takes (assumed)";
        v.law("message", meaning, &mut self.message);
        v.law("lag", "time from one member to another (assumed)", &mut self.lag);
    }
}

impl Default for WriteBehindPlan {
    fn default() -> Self {
        Self {
            operation: exponential(20e-6),
            workers: 1,
            delay: exponential(1.0),
            database: exponential(1.5e-3),
            database_workers: 16,
            network: ASSUMED_NETWORK,
            timeouts: timeouts(1, 5),
        }
    }
}

impl WriteBehindPlan {
    fn options(&mut self, v: &mut dyn StoreOptionVisitor) {
        v.law("operation", "time that an operation of the cache takes (assumed)", &mut self.operation);
        v.whole("workers", "operations that the cache carries out at a time", &mut self.workers, (1, 10_000));
        v.law(
            "delay",
            "time that writes spend in the queue, drawn anew each second: the loss window (assumed)",
            &mut self.delay,
        );
        v.law("database", "time that an operation of the database takes (assumed)", &mut self.database);
        let meaning = "operations that the database carries out at a time (assumed)";
        v.whole("database_workers", meaning, &mut self.database_workers, (1, 10_000));
        v.duration(NETWORK.0, NETWORK.1, &mut self.network);
        self.timeouts.options(
            v,
            [
                ("connect_timeout", "how long a server waits for a connection (assumed)"),
                ("read_timeout", "how long it waits for an answer (assumed)"),
            ],
        );
    }
}

impl Default for HybridRule {
    /// The rule of thumb.
    fn default() -> Self {
        Self { threshold: 2_000, resume: 2_000, at_switch: AtSwitch::Forget }
    }
}

impl HybridRule {
    /// Shows the rule's own options.
    pub fn options(&mut self, v: &mut dyn StoreOptionVisitor) {
        let meaning = "active connections above which sessions are kept in the store";
        v.whole("threshold", meaning, &mut self.threshold, (0, u32::MAX));
        self.resume = self.resume.min(self.threshold);
        let meaning = "active connections at or below which they are kept in the servers' memory again";
        v.whole("resume", meaning, &mut self.resume, (0, self.threshold));
        choose(
            v,
            ("at_switch", "what becomes of sessions that are not where sessions are kept now"),
            &mut self.at_switch,
            &[AtSwitch::Forget, AtSwitch::Stay],
            &["forget", "stay"],
        );
    }
}

//! What a scenario says of a store. Options have the names of the programs; times of service are the scenario's, since they depend
//! on the machine, and each default that is no program's own says so.

use crate::engine::{Distribution, SimDuration};

/// A store with its options.
#[derive(Clone, Debug, PartialEq)]
pub enum StorePlan {
    /// In the memory of the servers, limited, or on their disks.
    Local(LocalPlan),
    /// In MySQL.
    Mysql(MysqlPlan),
    /// In Redis.
    Redis(RedisPlan),
    /// In memcached.
    Memcached(MemcachedPlan),
    /// In every Tomcat (`DeltaManager`).
    TomcatDelta(TomcatPlan),
    /// In one Tomcat, with a copy in a second (`BackupManager`).
    TomcatBackup(TomcatPlan),
    /// In a signed cookie.
    Cookie(CookiePlan),
    /// In a cache, written to a database later.
    WriteBehind(WriteBehindPlan),
}

impl StorePlan {
    /// Its name in scenarios.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Local(_) => "local",
            Self::Mysql(_) => "mysql",
            Self::Redis(_) => "redis",
            Self::Memcached(_) => "memcached",
            Self::TomcatDelta(_) => "tomcat_delta",
            Self::TomcatBackup(_) => "tomcat_backup",
            Self::Cookie(_) => "cookie",
            Self::WriteBehind(_) => "write_behind",
        }
    }

    /// Nodes of its own, which can fail; servers are not among them.
    pub fn nodes(&self) -> usize {
        match self {
            Self::Local(_) | Self::TomcatDelta(_) | Self::TomcatBackup(_) | Self::Cookie(_) => 0,
            Self::Mysql(plan) => 1 + plan.replicas as usize,
            Self::Redis(plan) => (plan.masters() * (1 + plan.replicas)) as usize,
            Self::Memcached(plan) => plan.nodes as usize,
            Self::WriteBehind(_) => 2,
        }
    }

    /// Workers of each station, of which a busy share can be told; length = stations.
    pub fn workers(&self, servers: usize) -> Vec<u32> {
        match self {
            Self::Local(_) | Self::Cookie(_) => Vec::new(),
            Self::TomcatDelta(plan) | Self::TomcatBackup(plan) => vec![plan.max_threads; servers],
            Self::Mysql(plan) => vec![plan.at_a_time(); self.nodes()],
            Self::Redis(_) => vec![1; self.nodes()],
            Self::Memcached(plan) => vec![plan.threads; self.nodes()],
            Self::WriteBehind(plan) => vec![plan.workers, plan.database_workers],
        }
    }

    /// Whether it can be out of reach.
    pub fn can_fail(&self) -> bool {
        self.nodes() > 0
    }

    /// Whether a session is in the memory of servers, so that where a request is routed decides whether it is found.
    pub fn is_on_servers(&self) -> bool {
        matches!(self, Self::Local(_) | Self::TomcatDelta(_) | Self::TomcatBackup(_))
    }
}

/// How long a server waits for a store that keeps silent: the limits of its client library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreTimeouts {
    /// For a connection.
    pub connect: SimDuration,
    /// For an answer.
    pub read: SimDuration,
}

/// Sessions in the memory of the server that created them, with a limit, or on its disk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LocalPlan {
    /// Sessions that a server keeps, at least 1; a further one pushes out the one that was used longest ago. `None`: any number.
    pub max_sessions: Option<u32>,
    /// Whether they are files that outlive the server's processes.
    pub on_disk: bool,
}

/// Where sessions are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// Where they are written.
    Primary,
    /// At a replica, drawn for each operation; where there is none, at the primary.
    Replicas,
}

/// `innodb_flush_log_at_trx_commit`: when a commit is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushLog {
    /// 0: the log is written and flushed once a second.
    EachSecond,
    /// 1, MySQL's default: at each commit.
    AtCommit,
    /// 2: written at each commit, flushed once a second.
    WrittenAtCommit,
}

/// MySQL 8.0 with asynchronous or semi-synchronous replication. Names and defaults of options are those of its reference manual
/// (sections 7.1.8, 15.14, 19.1.6, 19.4.10) where the manual has them.
#[derive(Clone, Debug, PartialEq)]
pub struct MysqlPlan {
    /// Replicas of the source.
    pub replicas: u32,
    /// Where sessions are read.
    pub read_from: ReadFrom,
    /// Time that a read takes at a node \[s\].
    pub read: Distribution,
    /// Time that a write takes at the source \[s\].
    pub write: Distribution,
    /// Time that applying a write takes at a replica \[s\].
    pub apply: Distribution,
    /// Time from the end of applying to when readers see it, on top of everything else \[s\].
    pub replica_lag: Distribution,
    /// Operations that a node carries out at a time.
    pub workers: u32,
    /// Connections that a node takes; each operation under way or waiting has one.
    pub max_connections: u32,
    /// Writes that a replica applies at a time.
    pub replica_parallel_workers: u32,
    /// Whether a commit waits for a replica to have it.
    pub rpl_semi_sync_source_enabled: bool,
    /// How long it waits before replication goes on asynchronously.
    pub rpl_semi_sync_source_timeout: SimDuration,
    /// What of a commit survives the source's death, if the source comes back.
    pub innodb_flush_log_at_trx_commit: FlushLog,
    /// `sync_binlog`: commits after which the binary log is flushed; 0 leaves it to the kernel. What is not in it is rolled back when
    /// the source starts again.
    pub sync_binlog: u32,
    /// Time until a replica takes the place of a dead source \[s\]; `None`: nobody promotes one.
    pub promotion: Option<Distribution>,
    /// Time to the store, one way.
    pub network: SimDuration,
    /// How long servers wait for a node that keeps silent.
    pub timeouts: StoreTimeouts,
}

impl MysqlPlan {
    /// Operations that a node carries out at a time: each has a connection.
    pub fn at_a_time(&self) -> u32 {
        self.workers.min(self.max_connections)
    }
}

/// Who promotes a Redis replica.
#[derive(Clone, Debug, PartialEq)]
pub enum RedisFailover {
    /// Nobody.
    None,
    /// Sentinel.
    Sentinel {
        /// `down-after-milliseconds`.
        down_after: SimDuration,
        /// Time from there until clients use the promoted replica \[s\].
        failover: Distribution,
    },
    /// Redis Cluster.
    Cluster {
        /// Masters, each with a share of the 16384 hash slots.
        masters: u32,
        /// `cluster-node-timeout`.
        node_timeout: SimDuration,
        /// `cluster-require-full-coverage`: whether all refuse while slots of a failed master are nobody's.
        require_full_coverage: bool,
    },
}

/// `maxmemory-policy`. All sessions expire, so `volatile-` and `allkeys-` come to the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxmemoryPolicy {
    /// `noeviction`: writes fail.
    NoEviction,
    /// `allkeys-lru`: those that were used longest ago.
    AllkeysLru,
    /// `volatile-lru`.
    VolatileLru,
    /// `allkeys-lfu`: those that are used least.
    AllkeysLfu,
    /// `volatile-lfu`.
    VolatileLfu,
    /// `allkeys-random`: any.
    AllkeysRandom,
    /// `volatile-random`.
    VolatileRandom,
    /// `volatile-ttl`: those that expire first.
    VolatileTtl,
}

impl MaxmemoryPolicy {
    /// All of them, in the order of `redis.conf`.
    pub const ALL: [Self; 8] = [
        Self::VolatileLru,
        Self::AllkeysLru,
        Self::VolatileLfu,
        Self::AllkeysLfu,
        Self::VolatileRandom,
        Self::AllkeysRandom,
        Self::VolatileTtl,
        Self::NoEviction,
    ];

    /// Their names, in the same order.
    pub const NAMES: [&str; 8] = [
        "volatile-lru",
        "allkeys-lru",
        "volatile-lfu",
        "allkeys-lfu",
        "volatile-random",
        "allkeys-random",
        "volatile-ttl",
        "noeviction",
    ];

    /// Whether it goes by how often keys are used.
    pub fn counts_uses(self) -> bool {
        matches!(self, Self::AllkeysLfu | Self::VolatileLfu)
    }
}

/// `appendfsync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendFsync {
    /// At each write.
    Always,
    /// Once a second.
    Everysec,
    /// When the kernel likes: after 30 s on Linux.
    No,
}

/// Redis 7. Names and defaults of options are those of `redis.conf` and `sentinel.conf` of 7.0.
#[derive(Clone, Debug, PartialEq)]
pub struct RedisPlan {
    /// Replicas of each master.
    pub replicas: u32,
    /// Where sessions are read.
    pub read_from: ReadFrom,
    /// Time that a read takes \[s\].
    pub read: Distribution,
    /// Time that a write takes \[s\].
    pub write: Distribution,
    /// Delay of replication on top of the network's \[s\].
    pub replica_lag: Distribution,
    /// Who promotes a replica.
    pub failover: RedisFailover,
    /// Memory of each master \[B\]; `None`: enough.
    pub maxmemory: Option<u64>,
    /// What happens when it is used up.
    pub maxmemory_policy: MaxmemoryPolicy,
    /// Keys that are looked at for one eviction.
    pub maxmemory_samples: u32,
    /// How slowly the counter of uses grows.
    pub lfu_log_factor: u32,
    /// Minutes without use after which that counter falls by one; 0: it never does.
    pub lfu_decay_time: u32,
    /// `save`: snapshots after (seconds, changes); none if empty.
    pub save: Vec<(u32, u32)>,
    /// `appendonly` with `appendfsync`, or none.
    pub appendfsync: Option<AppendFsync>,
    /// Time to the store, one way.
    pub network: SimDuration,
    /// How long servers wait for a node that keeps silent.
    pub timeouts: StoreTimeouts,
}

impl RedisPlan {
    /// Masters.
    pub fn masters(&self) -> u32 {
        match self.failover {
            RedisFailover::Cluster { masters, .. } => masters,
            RedisFailover::None | RedisFailover::Sentinel { .. } => 1,
        }
    }
}

/// How a memcached client finds the node of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyDistribution {
    /// Hash modulo the number of nodes (`MEMCACHED_DISTRIBUTION_MODULA`, libmemcached's default).
    Modula,
    /// A ring with 100 points a node (`MEMCACHED_BEHAVIOR_KETAMA`, the default of PHP's sessions).
    Ketama,
    /// libketama's ring, with 160 points a node of the same weight (`MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED`).
    KetamaWeighted,
}

impl KeyDistribution {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Modula, Self::Ketama, Self::KetamaWeighted];

    /// Their names in PHP's `memcached.sess_consistent_hash_type` and in libmemcached, in the same order.
    pub const NAMES: [&str; 3] = ["modula", "ketama", "ketama_weighted"];
}

/// memcached nodes behind a client library such as libmemcached. Defaults are those of memcached 1.4 (`-m`, `-t`, `-f`, `-n`) and of
/// libmemcached 1.0.
#[derive(Clone, Debug, PartialEq)]
pub struct MemcachedPlan {
    /// Nodes.
    pub nodes: u32,
    /// How the client finds the node of a key.
    pub distribution: KeyDistribution,
    /// `remove_failed_servers`: whether the client leaves out a dead node, so that its keys go to others.
    pub remove_failed_servers: bool,
    /// Memory of a node for items, `-m` \[B\].
    pub memory: u64,
    /// Growth factor of the chunk sizes, `-f`, above 1.
    pub factor: f64,
    /// Smallest space for key, value and flags, `-n` \[B\].
    pub chunk_min: u32,
    /// Worker threads, `-t`.
    pub threads: u32,
    /// Time that an operation takes \[s\].
    pub operation: Distribution,
    /// Time to the store, one way.
    pub network: SimDuration,
    /// How long servers wait for a node that keeps silent.
    pub timeouts: StoreTimeouts,
}

/// A cluster of Tomcats (9.0), its `SimpleTcpCluster` with one of the two managers.
#[derive(Clone, Debug, PartialEq)]
pub struct TomcatPlan {
    /// Whether an answer waits until the copies are acknowledged (`channelSendOptions` 6), else they are sent after it (8, the
    /// default).
    pub synchronous: bool,
    /// Threads of the receiver, `maxThreads`.
    pub max_threads: u32,
    /// Processor time that sending or receiving one message takes \[s\].
    pub message: Distribution,
    /// Time until a message has left the sender and reached the receiver \[s\].
    pub lag: Distribution,
}

/// Sessions in signed cookies.
#[derive(Clone, Debug, PartialEq)]
pub struct CookiePlan {
    /// Processor time that checking or signing one takes \[s\].
    pub sign: Distribution,
}

/// A cache that acknowledges writes, with a queue to a database behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct WriteBehindPlan {
    /// Time that an operation of the cache takes \[s\].
    pub operation: Distribution,
    /// Operations that the cache carries out at a time.
    pub workers: u32,
    /// Time that a write waits in the queue before it goes to the database \[s\].
    pub delay: Distribution,
    /// Time that an operation of the database takes \[s\].
    pub database: Distribution,
    /// Operations that the database carries out at a time.
    pub database_workers: u32,
    /// Time to the store, one way.
    pub network: SimDuration,
    /// How long servers wait for a node that keeps silent.
    pub timeouts: StoreTimeouts,
}

/// When a site keeps sessions in a store and when in its servers' memory: the article's rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HybridRule {
    /// Active connections above which sessions are kept in the store.
    pub threshold: u32,
    /// Active connections at or below which they are kept in the servers' memory again; at most `threshold`.
    pub resume: u32,
    /// What becomes of sessions when the place changes.
    pub at_switch: AtSwitch,
}

/// What becomes of sessions that are not where sessions are kept now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtSwitch {
    /// They are not looked for there.
    Forget,
    /// They stay where they were created, and are looked for there.
    Stay,
}

//! Every place where sessions can live, for listings, the reference page and the scenario reader.

/// One line of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct StoreEntry {
    /// Its name in scenarios, as the key of `session`.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub summary: &'static str,
    /// What takes sessions away.
    pub loses: &'static str,
    /// What it costs.
    pub costs: &'static str,
    /// What the model follows.
    pub source: &'static str,
}

/// Every entry, in the order of the reference page.
pub const STORES: &[StoreEntry] = &[
    StoreEntry {
        name: "local",
        summary: "the memory of the server that created the session; with a limit, or on its disk",
        loses: "whatever leads a client to another server; the server's death (not on disk); the limit, least recently used first",
        costs: "nothing, which is why balancing has to be sticky",
        source: "PHP's files and Tomcat's StandardManager without the limit; no program in particular with it",
    },
    StoreEntry {
        name: "shared",
        summary: "a store that all servers reach and that never fails: a delay for each operation",
        loses: "nothing",
        costs: "the delay, in which a worker waits",
        source: "an ideal to compare with",
    },
    StoreEntry {
        name: "mysql",
        summary: "a table in MySQL with asynchronous or semi-synchronous replicas",
        loses: "a promotion loses what no replica had; reads from replicas miss what they do not show yet",
        costs: "two operations a click at stations that queue; a message per replica and write; commits that wait",
        source: "MySQL 8.0 Reference Manual, 7.1.8, 15.14, 19.1.6, 19.4.10",
    },
    StoreEntry {
        name: "redis",
        summary: "Redis with replicas, alone, watched by Sentinel, or as a cluster",
        loses: "eviction; a promotion loses what the replica had not received; a restart loses what was not on disk",
        costs: "operations of one thread; a message per replica and write; time without a master during fail-over",
        source: "Redis 7.0: redis.conf, sentinel.conf, cluster specification, evict.c",
    },
    StoreEntry {
        name: "memcached",
        summary: "memcached nodes; clients find a key's node by remainder or on a ring",
        loses: "a dead node's share, and with its keys moved those that move (remainder: most of all); eviction by class of size",
        costs: "operations; memory in chunks larger than the session",
        source: "memcached 1.6.18 slabs.c, items.c; libmemcached 1.1.4",
    },
    StoreEntry {
        name: "tomcat_delta",
        summary: "Tomcat's DeltaManager: every member has every session",
        loses: "what a dying member had not sent; a member asked before the copy has arrived",
        costs: "n - 1 messages per change, with processor time at both ends; all sessions in every memory",
        source: "Apache Tomcat 9.0, DeltaManager, SimpleTcpCluster",
    },
    StoreEntry {
        name: "tomcat_backup",
        summary: "Tomcat's BackupManager: one copy, and all members know where",
        loses: "as tomcat_delta, and if primary and backup die together",
        costs: "1 message per change; n - 1 per session created, moved, or whose copy died",
        source: "Apache Tomcat 9.0, BackupManager, LazyReplicatedMap, AbstractReplicatedMap",
    },
    StoreEntry {
        name: "cookie",
        summary: "a signed cookie in the browser",
        loses: "nothing; but nothing can be revoked either",
        costs: "its size with every request, and a signature to check and to make",
        source: "RFC 6265, section 6.1: at least 4096 bytes a cookie",
    },
    StoreEntry {
        name: "write_behind",
        summary: "a cache that answers, and a queue that writes to a database later",
        loses: "what was still in the queue when the cache dies",
        costs: "operations of cache and database; a message per write",
        source: "no program in particular",
    },
    StoreEntry {
        name: "hybrid",
        summary: "local memory, and another store while active connections exceed a threshold",
        loses: "as its two parts; and at each switch, unless sessions stay where they are",
        costs: "as its parts",
        source: "the rule of thumb: ip_hash below 2000 active connections, MySQL above",
    },
];

/// The entry called `name`.
pub fn entry(name: &str) -> Option<&'static StoreEntry> {
    STORES.iter().find(|entry| entry.name == name)
}

//! Where sessions live when they do not simply live in the memory of the server that created them: each store with its nodes
//! as queueing stations, its way of copying data, and its ways of losing them.
//!
//! A store is driven as a tier is: operations come in order of time and are answered at once, with the time at which they are
//! done, so that no event is pending for them. It tells what became of data when they are asked for, from evidence taken when
//! it happened ([`records::Gone`]).
//!
//! Common to all, and simpler than in the programs: an operation under way when its node dies still ends as announced; a server that
//! no longer waits for an operation has failed, though the node may carry it out; a node that comes back is as fast as before.

mod ailing;
pub mod catalogue;
mod copies;
mod durability;
pub(crate) mod eviction;
pub(crate) mod key_map;
mod memcached;
pub mod options;
pub mod plan;
pub(crate) mod records;
mod replicated;
#[cfg(test)]
mod replicated_tests;
pub(crate) mod slabs;
mod station;
mod tomcat;

use crate::engine::{SimDuration, SimTime, Stream};
use crate::ids::ServerId;

pub use ailing::{Death, LinkCondition, NodeCondition};
pub use records::{Gone, RecordId};

use copies::ServerMemory;
use memcached::Memcached;
use plan::StorePlan;
use replicated::Replicated;
use tomcat::{Backup, Delta};

/// Why data that were asked for are not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// What held them died, a server or a node of the store, and nothing that survives has them.
    NodeLost,
    /// They had to make room.
    Evicted,
    /// They have not yet arrived where they were asked for.
    Lagged,
    /// They are in the store that was used before.
    Switched,
    /// Membership changed, and they are now looked for on another node than the one that has them.
    Moved,
    /// They are in the memory of another server.
    Elsewhere,
    /// They had idled longer than the application allows.
    Expired,
}

/// What an operation found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// The session as it was written last.
    Current,
    /// The session as it was some writes ago.
    Stale,
    /// No session.
    Missing(Gone),
    /// The store could not be asked: no node that may answer is up, it takes no more connections, or it has no room.
    Failed,
}

/// What an operation came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reply {
    /// When it is done.
    pub at: SimTime,
    /// What it found.
    pub found: Found,
}

impl Reply {
    fn failed(at: SimTime) -> Self {
        Self { at, found: Found::Failed }
    }
}

/// Who asks, and when.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// When.
    pub now: SimTime,
    /// The server whose worker waits.
    pub server: ServerId,
    /// The entity that names the operation's draws; below 2^48.
    pub entity: u64,
    /// The index that names them.
    pub index: u64,
    /// Whether the request has asked before, and has a connection.
    pub stands: bool,
}

/// The session that is created.
#[derive(Clone, Copy, Debug)]
pub struct NewSession {
    /// What its key is made of: a name that is the same under every strategy.
    pub name: u64,
    /// Its size \[B\].
    pub bytes: u32,
    /// Idle time after which it is forgotten.
    pub idle_timeout: SimDuration,
}

/// What a store has cost since the costs were last collected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Costs {
    /// Operations that a server asked for.
    pub operations: u64,
    /// Messages by which copies were kept.
    pub messages: u64,
    /// Their bytes; for sessions in cookies, the bytes that requests and answers carried.
    pub bytes: u64,
    /// Sessions that fell back to an earlier state when a node died.
    pub rolled_back: u64,
    /// Second copies that came about beside a live one.
    pub forked: u64,
    /// Service given by each node \[ns\]; length = nodes.
    pub busy_ns: Vec<u64>,
}

impl Costs {
    fn new(nodes: usize) -> Self {
        Self { busy_ns: vec![0; nodes], ..Self::default() }
    }

    fn messages(&mut self, messages: u64, bytes: u64) {
        self.messages += messages;
        self.bytes += messages * bytes;
    }
}

/// The streams that stores draw from.
#[derive(Clone, Copy, Debug)]
pub struct StoreStreams {
    /// Service of operations, and which replica is read.
    pub operation: Stream,
    /// Delays and work of copies.
    pub copy: Stream,
    /// Which records are looked at for eviction.
    pub eviction: Stream,
    /// How long fail-overs take.
    pub failover: Stream,
    /// What goes wrong with single operations.
    pub mishap: Stream,
}

/// A store of one run.
#[derive(Clone, Debug)]
pub enum Store {
    /// MySQL, Redis, or a cache with write-behind: a primary whose writes are copied to replicas.
    Replicated(Box<Replicated>),
    /// memcached: nodes that know nothing of each other.
    Memcached(Box<Memcached>),
    /// The memory of each server, limited or kept on its disk.
    ServerMemory(Box<ServerMemory>),
    /// Tomcat's all-to-all replication.
    Delta(Box<Delta>),
    /// Tomcat's replication to one backup.
    Backup(Box<Backup>),
    /// In a cookie of the user's browser.
    Cookie(Box<cookie::CookieStore>),
}

mod cookie;

macro_rules! each {
    ($store:expr, $it:ident => $does:expr) => {
        match $store {
            Self::Replicated($it) => $does,
            Self::Memcached($it) => $does,
            Self::ServerMemory($it) => $does,
            Self::Delta($it) => $does,
            Self::Backup($it) => $does,
            Self::Cookie($it) => $does,
        }
    };
}

impl Store {
    /// The store of a plan, empty, for so many servers.
    pub fn new(plan: &StorePlan, servers: usize, streams: StoreStreams) -> Self {
        match plan {
            StorePlan::Local(plan) => Self::ServerMemory(Box::new(ServerMemory::new(plan, servers))),
            StorePlan::Mysql(plan) => Self::Replicated(Box::new(Replicated::mysql(plan, streams))),
            StorePlan::Redis(plan) => Self::Replicated(Box::new(Replicated::redis(plan, streams))),
            StorePlan::WriteBehind(plan) => {
                Self::Replicated(Box::new(Replicated::write_behind(plan, streams)))
            }
            StorePlan::Memcached(plan) => Self::Memcached(Box::new(Memcached::new(plan, streams))),
            StorePlan::TomcatDelta(plan) => Self::Delta(Box::new(Delta::new(plan, servers, streams))),
            StorePlan::TomcatBackup(plan) => Self::Backup(Box::new(Backup::new(plan, servers, streams))),
            StorePlan::Cookie(plan) => Self::Cookie(Box::new(cookie::CookieStore::new(plan, streams))),
        }
    }

    /// A login creates a session.
    pub fn create(&mut self, access: &Access, session: &NewSession) -> (RecordId, Reply) {
        let (record, reply) = each!(self, it => { it.costs.operations += 1; it.create(access, session) });
        (record, self.in_time(access, reply))
    }

    /// A request looks for its session.
    #[inline]
    pub fn read(&mut self, access: &Access, id: RecordId) -> Reply {
        let reply = each!(self, it => { it.costs.operations += 1; it.read(access, id) });
        self.in_time(access, reply)
    }

    /// A request writes its session, which exists again if it had been lost.
    #[inline]
    pub fn write(&mut self, access: &Access, id: RecordId) -> Reply {
        let reply = each!(self, it => { it.costs.operations += 1; it.write(access, id) });
        self.in_time(access, reply)
    }

    /// A request that has read its session ends without writing it.
    #[inline]
    pub fn keep(&mut self, access: &Access, id: RecordId) {
        if let Self::Delta(it) = self {
            it.keep(access, id);
        }
    }

    /// A user logs out: the session is deleted, as far as it can be.
    pub fn remove(&mut self, access: &Access, id: RecordId) -> Reply {
        let reply = each!(self, it => { it.costs.operations += 1; it.remove(access, id) });
        self.in_time(access, reply)
    }

    /// Nobody will ask for the session any more.
    pub fn release(&mut self, id: RecordId) {
        each!(self, it => it.records.release(id));
    }

    /// Something befalls a node, or is over.
    pub fn node_is(&mut self, now: SimTime, node: usize, condition: NodeCondition) {
        match self {
            Self::Replicated(it) => it.node_is(now, node, condition),
            Self::Memcached(it) => it.node_is(now, node, condition),
            Self::ServerMemory(_) | Self::Delta(_) | Self::Backup(_) | Self::Cookie(_) => {}
        }
    }

    /// Something befalls the link from a server to a node, or is over.
    pub fn link_is(&mut self, server: ServerId, node: usize, condition: LinkCondition) {
        match self {
            Self::Replicated(it) => it.ailing.set_link(server.index(), node, condition),
            Self::Memcached(it) => it.ailing.set_link(server.index(), node, condition),
            Self::ServerMemory(_) | Self::Delta(_) | Self::Backup(_) | Self::Cookie(_) => {}
        }
    }

    /// Something befalls the link from a node to the others, or is over.
    pub fn replication_is(&mut self, now: SimTime, node: usize, condition: LinkCondition) {
        match self {
            Self::Replicated(it) => it.replication_is(now, node, condition),
            Self::Memcached(_)
            | Self::ServerMemory(_)
            | Self::Delta(_)
            | Self::Backup(_)
            | Self::Cookie(_) => {}
        }
    }

    /// What an operation came to for a server that does not wait for ever.
    #[inline]
    fn in_time(&self, access: &Access, reply: Reply) -> Reply {
        let timeout = match self {
            Self::Replicated(it) => it.ailing.patience(access),
            Self::Memcached(it) => it.ailing.patience(access),
            Self::ServerMemory(_) | Self::Delta(_) | Self::Backup(_) | Self::Cookie(_) => return reply,
        };
        let until = access.now + timeout;
        // A failure says itself when it is known.
        if reply.found != Found::Failed && reply.at > until { Reply::failed(until) } else { reply }
    }

    /// A server's processes die.
    pub fn server_lost(&mut self, now: SimTime, server: ServerId) {
        match self {
            Self::ServerMemory(it) => it.server_lost(now, server),
            Self::Delta(it) => it.server_lost(now, server),
            Self::Backup(it) => it.server_lost(now, server),
            Self::Replicated(_) | Self::Memcached(_) | Self::Cookie(_) => {}
        }
    }

    /// A server is back.
    pub fn server_back(&mut self, now: SimTime, server: ServerId) {
        match self {
            Self::Delta(it) => it.server_back(now, server),
            Self::Backup(it) => it.server_back(now, server),
            Self::ServerMemory(_) | Self::Replicated(_) | Self::Memcached(_) | Self::Cookie(_) => {}
        }
    }

    /// Work that copies have made for a server's processors since it was last asked; its next request waits for it.
    #[inline]
    pub fn work_of(&mut self, server: ServerId) -> SimDuration {
        match self {
            Self::Delta(it) => it.members.work_of(server),
            Self::Backup(it) => it.members.work_of(server),
            Self::ServerMemory(_) | Self::Replicated(_) | Self::Memcached(_) | Self::Cookie(_) => {
                SimDuration::ZERO
            }
        }
    }

    /// What it has cost since the caller last set this back.
    pub fn costs(&mut self) -> &mut Costs {
        each!(self, it => &mut it.costs)
    }

    /// Sessions stored now, and their size with all copies \[B\].
    pub fn stored(&self) -> (u64, u64) {
        let (records, copies) = match self {
            Self::Replicated(it) => (&it.records, it.copies()),
            Self::Memcached(it) => return (it.records.stored_count(), it.bytes_in_use()),
            Self::Delta(it) => (&it.records, it.members.alive()),
            Self::Backup(it) => (&it.records, it.members.alive().min(2)),
            Self::ServerMemory(it) => (&it.records, 1),
            Self::Cookie(_) => return (0, 0),
        };
        (records.stored_count(), records.stored_bytes() * copies)
    }
}

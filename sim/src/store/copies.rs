//! Copies of records on nodes that know nothing of each other, each node with lists in order of use; and the simplest store
//! made of them, the limited memory of the servers themselves.

use super::plan::LocalPlan;
use super::records::{Gone, RecordId, Records};
use super::{Access, Costs, Found, NewSession, Reply, Why};
use crate::engine::SimTime;
use crate::ids::ServerId;

const NONE: u32 = u32::MAX;

/// A record's copy on a node.
#[derive(Clone, Copy, Debug)]
struct Cell {
    /// The version that the node has; 0 for none.
    version: u32,
    /// The list that the copy is in.
    list: u32,
    newer: u32,
    older: u32,
}

/// A list of a node's copies in order of use.
#[derive(Clone, Copy, Debug)]
struct List {
    newest: u32,
    oldest: u32,
    length: u32,
}

/// Copies by record and node, in lists.
#[derive(Clone, Debug)]
pub(super) struct Copies {
    nodes: usize,
    /// By record, then by node.
    cells: Vec<Cell>,
    lists: Vec<List>,
}

impl Copies {
    pub fn new(nodes: usize, lists: usize) -> Self {
        let empty = List { newest: NONE, oldest: NONE, length: 0 };
        Self { nodes, cells: Vec::new(), lists: vec![empty; lists] }
    }

    /// Makes room for so many records.
    pub fn grow(&mut self, records: usize) {
        let none = Cell { version: 0, list: 0, newer: NONE, older: NONE };
        self.cells.resize(records * self.nodes, none);
    }

    fn cell(&mut self, record: u32, node: usize) -> &mut Cell {
        &mut self.cells[record as usize * self.nodes + node]
    }

    /// The version that a node has; 0 for none.
    pub fn version(&self, id: RecordId, node: usize) -> u32 {
        self.cells[id.index() * self.nodes + node].version
    }

    /// Whether any node has the record.
    pub fn anywhere(&self, id: RecordId) -> bool {
        self.cells[id.index() * self.nodes..][..self.nodes].iter().any(|cell| cell.version > 0)
    }

    pub fn length(&self, list: usize) -> u32 {
        self.lists[list].length
    }

    /// The copy of a list that was used longest ago.
    pub fn oldest(&self, list: usize) -> Option<RecordId> {
        Some(self.lists[list].oldest).filter(|&oldest| oldest != NONE).map(RecordId)
    }

    /// Puts a version on a node, at the front of a list.
    pub fn put(&mut self, id: RecordId, node: usize, list: usize, version: u32) {
        self.take(id, node);
        let older = self.lists[list].newest;
        *self.cell(id.0, node) = Cell { version, list: list as u32, newer: NONE, older };
        match older {
            NONE => self.lists[list].oldest = id.0,
            older => self.cell(older, node).newer = id.0,
        }
        self.lists[list].newest = id.0;
        self.lists[list].length += 1;
    }

    /// The copy was used.
    pub fn touch(&mut self, id: RecordId, node: usize) {
        let Cell { version, list, newer, .. } = *self.cell(id.0, node);
        if version > 0 && newer != NONE {
            self.put(id, node, list as usize, version);
        }
    }

    /// Takes the copy off the node, if it has one.
    pub fn take(&mut self, id: RecordId, node: usize) {
        let Cell { version, list, newer, older } = *self.cell(id.0, node);
        if version == 0 {
            return;
        }
        self.cell(id.0, node).version = 0;
        match newer {
            NONE => self.lists[list as usize].newest = older,
            newer => self.cell(newer, node).older = older,
        }
        match older {
            NONE => self.lists[list as usize].oldest = newer,
            older => self.cell(older, node).newer = newer,
        }
        self.lists[list as usize].length -= 1;
    }

    /// Takes the record off all nodes.
    pub fn take_everywhere(&mut self, id: RecordId) {
        (0..self.nodes).for_each(|node| self.take(id, node));
    }
}

/// The memory of the servers, each with room for so many sessions, or their disks.
#[derive(Clone, Debug)]
pub struct ServerMemory {
    pub(super) records: Records,
    pub(super) costs: Costs,
    plan: LocalPlan,
    servers: usize,
    copies: Copies,
    /// By record: the server that wrote it last.
    homes: Vec<ServerId>,
}

impl ServerMemory {
    pub(super) fn new(plan: &LocalPlan, servers: usize) -> Self {
        Self {
            records: Records::default(),
            costs: Costs::new(0),
            plan: *plan,
            servers,
            copies: Copies::new(servers, servers),
            homes: Vec::new(),
        }
    }

    pub(super) fn create(&mut self, access: &Access, session: &NewSession) -> (RecordId, Reply) {
        let id = self.records.add(access.now, session.name, session.bytes, session.idle_timeout);
        self.copies.grow(self.records.places());
        self.homes.resize(self.records.places(), access.server);
        (id, self.write(access, id))
    }

    pub(super) fn write(&mut self, access: &Access, id: RecordId) -> Reply {
        let (now, server) = (access.now, access.server.index());
        self.expire(now);
        if self.copies.version(id, server) == 0 {
            let home = self.homes[id.index()].index();
            self.costs.forked += u64::from(home != server && self.copies.version(id, home) > 0);
            if self.plan.max_sessions == Some(self.copies.length(server))
                && let Some(victim) = self.copies.oldest(server)
            {
                self.push_out(victim, server, Gone { why: Why::Evicted, at: now });
            }
        }
        let record = self.records.get_mut(id);
        (record.version, record.used, record.written, record.gone) = (record.version + 1, now, now, None);
        let version = record.version;
        self.copies.put(id, server, server, version);
        self.homes[id.index()] = access.server;
        self.records.add_again(now, id);
        Reply { at: now, found: Found::Current }
    }

    pub(super) fn read(&mut self, access: &Access, id: RecordId) -> Reply {
        let (now, server) = (access.now, access.server.index());
        self.expire(now);
        let version = self.copies.version(id, server);
        let home = self.homes[id.index()].index();
        let record = self.records.get_mut(id);
        let found = if version > 0 {
            record.used = now;
            if version == record.version { Found::Current } else { Found::Stale }
        } else if self.copies.version(id, home) > 0 {
            Found::Missing(Gone { why: Why::Elsewhere, at: now })
        } else {
            Found::Missing(record.gone.unwrap_or(Gone { why: Why::Expired, at: now }))
        };
        self.copies.touch(id, server);
        Reply { at: now, found }
    }

    pub(super) fn remove(&mut self, access: &Access, id: RecordId) -> Reply {
        self.copies.take(id, access.server.index());
        if !self.copies.anywhere(id) {
            self.records.drop_data(id, None);
        }
        Reply { at: access.now, found: Found::Current }
    }

    /// Takes a copy off a server, with the evidence if it was the one written last.
    fn push_out(&mut self, id: RecordId, server: usize, gone: Gone) {
        self.copies.take(id, server);
        if self.homes[id.index()].index() == server {
            self.records.get_mut(id).gone = Some(gone);
        }
        if !self.copies.anywhere(id) {
            self.records.drop_data(id, self.records.get(id).gone);
        }
    }

    fn expire(&mut self, now: SimTime) {
        while let Some(id) = self.records.next_expired(now) {
            self.copies.take_everywhere(id);
            self.records.drop_data(id, None);
        }
    }

    pub(super) fn server_lost(&mut self, now: SimTime, server: ServerId) {
        self.expire(now);
        if self.plan.on_disk {
            return;
        }
        debug_assert!(server.index() < self.servers);
        while let Some(id) = self.copies.oldest(server.index()) {
            self.push_out(id, server.index(), Gone { why: Why::NodeLost, at: now });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Distribution, SimDuration, Stream};
    use crate::ids::StreamId;

    const NEW: NewSession = NewSession { name: 1, bytes: 100, idle_timeout: SimDuration::from_secs(1_800) };

    fn access(s: u64, server: u16) -> Access {
        Access {
            now: SimTime::ZERO + SimDuration::from_secs(s),
            server: ServerId(server),
            entity: 0,
            index: 0,
            stands: false,
        }
    }

    fn memory(max_sessions: Option<u32>, on_disk: bool) -> ServerMemory {
        ServerMemory::new(&LocalPlan { max_sessions, on_disk }, 2)
    }

    #[test]
    fn the_session_used_longest_ago_makes_room_and_the_store_knows_it() {
        let mut memory = memory(Some(2), false);
        let ids = [0, 1].map(|s| memory.create(&access(s, 0), &NEW).0);
        assert_eq!(memory.read(&access(2, 0), ids[0]).found, Found::Current);
        memory.create(&access(3, 0), &NEW);
        let gone = Gone { why: Why::Evicted, at: access(3, 0).now };
        assert_eq!(memory.read(&access(4, 0), ids[1]).found, Found::Missing(gone));
        assert_eq!(memory.read(&access(4, 0), ids[0]).found, Found::Current);
        assert_eq!(
            memory.read(&access(4, 1), ids[0]).found,
            Found::Missing(Gone { why: Why::Elsewhere, at: access(4, 0).now })
        );
    }

    #[test]
    fn memory_dies_with_the_server_and_files_do_not() {
        for (on_disk, found) in [
            (false, Found::Missing(Gone { why: Why::NodeLost, at: access(5, 0).now })),
            (true, Found::Current),
        ] {
            let mut memory = memory(None, on_disk);
            let (id, _) = memory.create(&access(0, 0), &NEW);
            memory.server_lost(access(5, 0).now, ServerId(0));
            assert_eq!(memory.read(&access(6, 0), id).found, found);
        }
    }

    #[test]
    fn a_second_copy_beside_a_live_one_is_a_fork_and_the_first_is_found_stale() {
        let mut memory = memory(None, false);
        let (id, _) = memory.create(&access(0, 0), &NEW);
        memory.write(&access(1, 1), id);
        assert_eq!(memory.costs.forked, 1);
        assert_eq!(memory.read(&access(2, 0), id).found, Found::Stale);
    }

    #[test]
    fn a_full_memory_hits_as_often_as_che_says() {
        // Goal: the hit rate of least recently used. Method: independent references to 2000 sessions by Zipf's law with
        // exponent 0.8, room for 400; Che's approximation sum p (1 - exp(-p T)) with T from sum (1 - exp(-p T)) = 400 is
        // within 1 % (Fricker, Robert and Roberts, "A versatile and accurate approximation for LRU cache performance", 2012).
        let weights: Vec<f64> = (1..=2_000).map(|k| libm::pow(f64::from(k), -0.8)).collect();
        let total: f64 = weights.iter().sum();
        let resident = |t: f64| weights.iter().map(|w| 1.0 - libm::exp(-w / total * t)).sum::<f64>();
        let (mut low, mut high) = (0.0, 1e6);
        for _ in 0..60 {
            let middle = (low + high) / 2.0;
            if resident(middle) < 400.0 { low = middle } else { high = middle }
        }
        let expected: f64 = weights.iter().map(|w| w / total * (1.0 - libm::exp(-w / total * low))).sum();

        let stream = Stream::new(11, 0, StreamId::StoreOperation);
        let uniform = Distribution::Uniform { min: 0.0, max: total }.sampler();
        let cumulative: Vec<f64> = weights
            .iter()
            .scan(0.0, |sum, w| {
                *sum += w;
                Some(*sum)
            })
            .collect();
        let mut memory = memory(Some(400), false);
        let idle_timeout = SimDuration::from_secs(1_000_000);
        let new = NewSession { idle_timeout, ..NEW };
        let ids: Vec<RecordId> = (0..2_000).map(|_| memory.create(&access(0, 0), &new).0).collect();
        let (mut hits, references) = (0, 200_000);
        for number in 0..references {
            let drawn = uniform.sample(&stream, 0, number);
            let id = ids[cumulative.partition_point(|&sum| sum < drawn).min(1_999)];
            match memory.read(&access(number, 0), id).found {
                Found::Current => hits += u64::from(number >= 20_000),
                _ => {
                    memory.write(&access(number, 0), id);
                }
            }
        }
        let rate = hits as f64 / (references - 20_000) as f64;
        assert!((rate - expected).abs() < 0.01, "{rate} instead of {expected}");
    }
}

//! Sessions that Tomcats copy to each other (Apache Tomcat 9.0, `org.apache.catalina.ha.session`).
//!
//! `DeltaManager` sends every change to all members: n - 1 messages. `BackupManager` sends it to one backup, and all members know
//! where each session is; its rules are those of `AbstractReplicatedMap` and `LazyReplicatedMap`
//! (`org.apache.catalina.tribes.tipis`). Whichever member answers a request has the session from then on, as with
//! `JvmRouteBinderValve`.
//!
//! Messages leave in no time, arrive after a lag, and are worked on by the receiver's threads. Sending and receiving also take
//! processor time, which the next request on that server waits for: that is what limits all-to-all replication. A dead
//! member is noticed at once (`TcpFailureDetector`), and one that starts has all sessions before it takes requests.

use super::plan::TomcatPlan;
use super::records::{Gone, RecordId, Records};
use super::station::Station;
use super::{Access, Costs, Found, NewSession, Reply, StoreStreams, Why};
use crate::engine::{Sampler, SimDuration, SimTime};
use crate::ids::ServerId;

/// Bytes of a message without session data: a location, a deletion, a question; an assumption.
const SMALL: u64 = 200;
/// Set in the index of draws that no request causes.
const BY_MEMBERSHIP: u64 = 1 << 62;

/// The members of the cluster.
#[derive(Clone, Debug)]
pub struct Members {
    up: Vec<bool>,
    /// Receivers.
    stations: Vec<Station>,
    /// Processor time that messages have taken and no request has waited for yet.
    work: Vec<SimDuration>,
    message: Sampler,
    lag: Sampler,
    streams: StoreStreams,
    synchronous: bool,
}

impl Members {
    fn new(plan: &TomcatPlan, servers: usize, streams: StoreStreams) -> Self {
        Self {
            up: vec![true; servers],
            stations: vec![Station::new(plan.max_threads, None); servers],
            work: vec![SimDuration::ZERO; servers],
            message: plan.message.sampler(),
            lag: plan.lag.sampler(),
            streams,
            synchronous: plan.synchronous,
        }
    }

    /// Members that are up.
    pub(super) fn alive(&self) -> u64 {
        self.up.iter().filter(|up| **up).count() as u64
    }

    pub(super) fn work_of(&mut self, server: ServerId) -> SimDuration {
        std::mem::take(&mut self.work[server.index()])
    }

    /// Whether a member is up and is not `of`.
    fn is_other(&self, of: usize, member: usize) -> bool {
        member != of && self.up[member]
    }

    /// Small messages to all members that are up, but for one and perhaps another.
    fn tell_others(
        &mut self,
        costs: &mut Costs,
        now: SimTime,
        from: usize,
        but: Option<usize>,
        draw: (u64, u64),
    ) {
        for other in 0..self.up.len() {
            if self.is_other(from, other) && Some(other) != but {
                self.send(costs, now, (from, other), SMALL, draw);
            }
        }
    }

    /// A message; returns when the receiver has worked on it, and when the sender knows that.
    fn send(
        &mut self,
        costs: &mut Costs,
        sent: SimTime,
        path: (usize, usize),
        bytes: u64,
        draw: (u64, u64),
    ) -> (SimTime, SimTime) {
        let (from, to) = path;
        let entity = draw.0 | (to as u64) << 48;
        let lag = self.lag.duration(&self.streams.copy, entity, draw.1 << 1);
        let work = self.message.duration(&self.streams.copy, entity, draw.1 << 1 | 1);
        let arrival = sent + lag;
        // Receivers turn nobody away.
        let done = self.stations[to].serve(arrival, work).unwrap_or(arrival);
        self.work[from] += work;
        self.work[to] += work;
        costs.busy_ns[to] += work.0;
        costs.messages(1, bytes);
        (done, done + lag)
    }
}

/// When a member has a session, in its first and in its latest state.
#[derive(Clone, Copy, Debug)]
struct Copy {
    first: SimTime,
    latest: SimTime,
}

const NO_COPY: Copy = Copy { first: SimTime::NEVER, latest: SimTime::NEVER };

/// `DeltaManager`.
#[derive(Clone, Debug)]
pub struct Delta {
    pub(super) records: Records,
    pub(super) costs: Costs,
    pub(super) members: Members,
    /// By record, then by server.
    copies: Vec<Copy>,
    /// By record: the server that wrote it last.
    homes: Vec<ServerId>,
}

impl Delta {
    pub(super) fn new(plan: &TomcatPlan, servers: usize, streams: StoreStreams) -> Self {
        Self {
            records: Records::default(),
            costs: Costs::new(servers),
            members: Members::new(plan, servers, streams),
            copies: Vec::new(),
            homes: Vec::new(),
        }
    }

    fn copies_of(&mut self, id: RecordId) -> &mut [Copy] {
        let servers = self.members.up.len();
        &mut self.copies[id.index() * servers..][..servers]
    }

    fn expire(&mut self, now: SimTime) {
        // Each member lets go of a session by its own clock, without a message.
        while let Some(id) = self.records.next_expired(now) {
            self.records.drop_data(id, None);
        }
    }

    pub(super) fn create(&mut self, access: &Access, session: &NewSession) -> (RecordId, Reply) {
        let id = self.records.add(access.now, session.name, session.bytes, session.idle_timeout);
        let (places, servers) = (self.records.places(), self.members.up.len());
        self.copies.resize(places * servers, NO_COPY);
        self.homes.resize(places, access.server);
        self.copies_of(id).fill(NO_COPY);
        (id, self.write(access, id))
    }

    pub(super) fn write(&mut self, access: &Access, id: RecordId) -> Reply {
        let now = access.now;
        self.expire(now);
        if !self.records.get(id).stored {
            self.copies_of(id).fill(NO_COPY);
            self.records.add_again(now, id);
        }
        let record = self.records.get_mut(id);
        (record.version, record.used, record.written) = (record.version + 1, now, now);
        let bytes = u64::from(record.bytes);
        let home = access.server.index();
        self.homes[id.index()] = access.server;
        let own = &mut self.copies_of(id)[home];
        (own.first, own.latest) = (own.first.min(now), now);
        let mut acknowledged = now;
        for other in 0..self.members.up.len() {
            if !self.members.is_other(home, other) {
                continue;
            }
            let draw = (access.entity, access.index);
            let (done, known) = self.members.send(&mut self.costs, now, (home, other), bytes, draw);
            acknowledged = acknowledged.max(known);
            let copy = &mut self.copies_of(id)[other];
            (copy.first, copy.latest) = (copy.first.min(done), done);
        }
        Reply { at: if self.members.synchronous { acknowledged } else { now }, found: Found::Current }
    }

    pub(super) fn read(&mut self, access: &Access, id: RecordId) -> Reply {
        let now = access.now;
        self.expire(now);
        let copy = self.copies_of(id)[access.server.index()];
        let record = self.records.get_mut(id);
        let found = if !record.stored {
            Found::Missing(record.gone.unwrap_or(Gone { why: Why::Expired, at: now }))
        } else if copy.first > now {
            Found::Missing(Gone { why: Why::Lagged, at: record.created })
        } else {
            record.used = now;
            if copy.latest > now { Found::Stale } else { Found::Current }
        };
        Reply { at: now, found }
    }

    pub(super) fn remove(&mut self, access: &Access, id: RecordId) -> Reply {
        let home = access.server.index();
        let draw = (access.entity, access.index);
        self.members.tell_others(&mut self.costs, access.now, home, None, draw);
        self.records.drop_data(id, None);
        Reply { at: access.now, found: Found::Current }
    }

    pub(super) fn server_lost(&mut self, now: SimTime, server: ServerId) {
        self.expire(now);
        self.members.up[server.index()] = false;
        self.members.stations[server.index()].clear(now);
        let ids: Vec<RecordId> = self.records.stored().collect();
        for id in ids {
            let from_it = self.homes[id.index()] == server;
            let copies = self.copies_of(id);
            copies[server.index()] = NO_COPY;
            let mut rolled_back = false;
            for copy in copies.iter_mut().filter(|copy| from_it && copy.latest > now) {
                // What had not arrived is gone with its sender.
                if copy.first > now {
                    *copy = NO_COPY;
                } else {
                    copy.latest = now;
                    rolled_back = true;
                }
            }
            if copies.iter().all(|copy| copy.first == SimTime::NEVER) {
                self.records.drop_data(id, Some(Gone { why: Why::NodeLost, at: now }));
            }
            self.costs.rolled_back += u64::from(rolled_back);
        }
    }

    pub(super) fn server_back(&mut self, now: SimTime, server: ServerId) {
        self.members.up[server.index()] = true;
        let ids: Vec<RecordId> = self.records.stored().collect();
        let bytes: u64 = ids.iter().map(|&id| u64::from(self.records.get(id).bytes)).sum();
        self.costs.messages(1, bytes);
        for id in ids {
            self.copies_of(id)[server.index()] = Copy { first: now, latest: now };
        }
    }
}

/// Where a session of a `BackupManager` is.
#[derive(Clone, Copy, Debug)]
struct Place {
    primary: usize,
    /// The backup and its copy, if there is one.
    backup: Option<(usize, Copy)>,
}

/// `BackupManager`.
#[derive(Clone, Debug)]
pub struct Backup {
    pub(super) records: Records,
    pub(super) costs: Costs,
    pub(super) members: Members,
    /// By record.
    places: Vec<Place>,
    /// By record, then by server: since when the server knows where the session is.
    known: Vec<SimTime>,
    /// By server: the member that is its next session's backup (`currentNode`).
    next: Vec<usize>,
    /// Changes of membership so far, which name their draws.
    changes: u64,
}

impl Backup {
    pub(super) fn new(plan: &TomcatPlan, servers: usize, streams: StoreStreams) -> Self {
        Self {
            records: Records::default(),
            costs: Costs::new(servers),
            members: Members::new(plan, servers, streams),
            places: Vec::new(),
            known: Vec::new(),
            next: vec![0; servers],
            changes: 0,
        }
    }

    fn expire(&mut self, now: SimTime) {
        while let Some(id) = self.records.next_expired(now) {
            self.records.drop_data(id, None);
        }
    }

    /// `getNextBackupIndex`: round robin, in which the first member's turn comes twice, since the counter is set back to the
    /// turn that was just taken.
    fn next_backup(&mut self, of: usize, members: usize) -> usize {
        if members == 0 {
            return 0;
        }
        let turn = self.next[of];
        self.next[of] = turn + 1;
        if turn < members {
            return turn;
        }
        self.next[of] = 0;
        0
    }

    /// A member that has the session gives it a backup and tells all others where it is; returns when all of them have
    /// acknowledged.
    fn publish(&mut self, now: SimTime, id: RecordId, from: usize, draw: (u64, u64)) -> SimTime {
        let servers = self.members.up.len();
        self.known[id.index() * servers + from] = now;
        let others = (0..servers).filter(|&member| self.members.is_other(from, member)).count();
        let turn = self.next_backup(from, others);
        let backup = (0..servers).filter(|&member| self.members.is_other(from, member)).nth(turn);
        let Some(backup) = backup else {
            self.places[id.index()] = Place { primary: from, backup: None };
            return now;
        };
        let mut acknowledged = now;
        for other in 0..servers {
            if !self.members.is_other(from, other) {
                continue;
            }
            let bytes = if other == backup { u64::from(self.records.get(id).bytes) } else { SMALL };
            let (done, heard) = self.members.send(&mut self.costs, now, (from, other), bytes, draw);
            acknowledged = acknowledged.max(heard);
            let known = &mut self.known[id.index() * servers + other];
            *known = done.min(*known);
            if other == backup {
                let copy = Copy { first: done, latest: done };
                self.places[id.index()] = Place { primary: from, backup: Some((backup, copy)) };
            }
        }
        acknowledged
    }

    fn answered(&self, now: SimTime, acknowledged: SimTime) -> Reply {
        Reply { at: if self.members.synchronous { acknowledged } else { now }, found: Found::Current }
    }

    pub(super) fn create(&mut self, access: &Access, session: &NewSession) -> (RecordId, Reply) {
        let id = self.records.add(access.now, session.name, session.bytes, session.idle_timeout);
        let (places, servers) = (self.records.places(), self.members.up.len());
        self.places.resize(places, Place { primary: access.server.index(), backup: None });
        self.known.resize(places * servers, SimTime::NEVER);
        self.records.drop_data(id, None);
        (id, self.write(access, id))
    }

    pub(super) fn write(&mut self, access: &Access, id: RecordId) -> Reply {
        let now = access.now;
        self.expire(now);
        let server = access.server.index();
        let draw = (access.entity, access.index);
        let is_new = !self.records.get(id).stored;
        if is_new {
            let servers = self.members.up.len();
            self.known[id.index() * servers..][..servers].fill(SimTime::NEVER);
            self.records.add_again(now, id);
        }
        let record = self.records.get_mut(id);
        (record.version, record.used, record.written) = (record.version + 1, now, now);
        let bytes = u64::from(record.bytes);
        let place = self.places[id.index()];
        let acknowledged = match place.backup {
            Some((backup, copy)) if !is_new && place.primary == server => {
                let (done, heard) = self.members.send(&mut self.costs, now, (server, backup), bytes, draw);
                self.places[id.index()].backup = Some((backup, Copy { latest: done, ..copy }));
                heard
            }
            _ => self.publish(now, id, server, draw),
        };
        self.answered(now, acknowledged)
    }

    pub(super) fn read(&mut self, access: &Access, id: RecordId) -> Reply {
        let now = access.now;
        self.expire(now);
        let server = access.server.index();
        let servers = self.members.up.len();
        let record = *self.records.get(id);
        let missing = |why, at| Reply { at: now, found: Found::Missing(Gone { why, at }) };
        if !record.stored {
            return missing(
                record.gone.map_or(Why::Expired, |gone| gone.why),
                record.gone.map_or(now, |gone| gone.at),
            );
        }
        let place = self.places[id.index()];
        let mut reply = Reply { at: now, found: Found::Current };
        if place.primary != server {
            let Some((backup, copy)) = place.backup else { return missing(Why::Elsewhere, now) };
            if self.known[id.index() * servers + server] > now {
                return missing(Why::Lagged, record.created);
            }
            let draw = (access.entity, access.index);
            let mut asked = now;
            if backup == server {
                self.publish(now, id, server, draw);
            } else {
                // The backup is asked for the session; then all but it are told of the new primary.
                let bytes = u64::from(record.bytes);
                asked = self.members.send(&mut self.costs, now, (server, backup), SMALL, draw).0;
                reply.at = self.members.send(&mut self.costs, asked, (backup, server), bytes, draw).0;
                self.members.tell_others(&mut self.costs, now, server, Some(backup), draw);
                self.places[id.index()].primary = server;
            }
            if copy.first > asked {
                return missing(Why::Lagged, record.created);
            }
            if copy.latest > asked {
                reply.found = Found::Stale;
            }
        }
        self.records.get_mut(id).used = now;
        reply
    }

    pub(super) fn remove(&mut self, access: &Access, id: RecordId) -> Reply {
        let server = access.server.index();
        let draw = (access.entity, access.index);
        self.members.tell_others(&mut self.costs, access.now, server, None, draw);
        self.records.drop_data(id, None);
        Reply { at: access.now, found: Found::Current }
    }

    /// The name of draws that a change of membership causes.
    fn change(&mut self, id: RecordId) -> (u64, u64) {
        (self.records.get(id).name & ((1 << 48) - 1), BY_MEMBERSHIP | self.changes)
    }

    pub(super) fn server_lost(&mut self, now: SimTime, server: ServerId) {
        self.expire(now);
        let lost = server.index();
        self.changes += 1;
        self.members.up[lost] = false;
        self.members.stations[lost].clear(now);
        let servers = self.members.up.len();
        let ids: Vec<RecordId> = self.records.stored().collect();
        for id in ids {
            self.known[id.index() * servers + lost] = SimTime::NEVER;
            let draw = self.change(id);
            match self.places[id.index()] {
                Place { primary, backup: Some((backup, copy)) } if primary == lost => {
                    if copy.first > now {
                        self.records.drop_data(id, Some(Gone { why: Why::NodeLost, at: now }));
                        continue;
                    }
                    self.costs.rolled_back += u64::from(copy.latest > now);
                    self.publish(now, id, backup, draw);
                }
                Place { primary, backup: None } if primary == lost => {
                    self.records.drop_data(id, Some(Gone { why: Why::NodeLost, at: now }));
                }
                Place { primary, backup: Some((backup, _)) } if backup == lost => {
                    self.publish(now, id, primary, draw);
                }
                Place { .. } => {}
            }
        }
    }

    pub(super) fn server_back(&mut self, now: SimTime, server: ServerId) {
        self.changes += 1;
        self.members.up[server.index()] = true;
        let servers = self.members.up.len();
        let ids: Vec<RecordId> = self.records.stored().collect();
        self.costs.messages(1, SMALL * ids.len() as u64);
        for id in ids {
            self.known[id.index() * servers + server.index()] = now;
            let draw = self.change(id);
            if let Place { primary, backup: None } = self.places[id.index()] {
                self.publish(now, id, primary, draw);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Distribution, Stream};
    use crate::ids::StreamId;

    const NEW: NewSession = NewSession { name: 1, bytes: 1_000, idle_timeout: SimDuration::from_secs(1_800) };

    fn streams() -> StoreStreams {
        let stream = |id| Stream::new(2, 0, id);
        StoreStreams {
            operation: stream(StreamId::StoreOperation),
            copy: stream(StreamId::StoreCopy),
            eviction: stream(StreamId::StoreEviction),
            failover: stream(StreamId::StoreFailover),
        }
    }

    fn plan(synchronous: bool) -> TomcatPlan {
        TomcatPlan {
            synchronous,
            max_threads: 6,
            message: Distribution::Constant(0.001),
            lag: Distribution::Constant(0.010),
        }
    }

    fn access(ms: u64, server: u16) -> Access {
        Access { now: SimTime::from_millis(ms), server: ServerId(server), entity: 0, index: ms }
    }

    #[test]
    fn a_change_costs_all_to_all_replication_a_message_to_every_other_member() {
        for servers in [1, 2, 5, 14] {
            let mut delta = Delta::new(&plan(false), servers, streams());
            let (id, _) = delta.create(&access(0, 0), &NEW);
            delta.write(&access(100, 0), id);
            assert_eq!(delta.costs.messages, 2 * (servers as u64 - 1));
            assert_eq!(delta.members.work_of(ServerId(0)), SimDuration::from_millis(delta.costs.messages));
        }
    }

    #[test]
    fn a_change_costs_a_backup_one_message_and_a_new_primary_one_to_everybody() {
        let mut backup = Backup::new(&plan(false), 5, streams());
        let messages = |backup: &mut Backup| std::mem::take(&mut backup.costs.messages);
        let (id, _) = backup.create(&access(0, 0), &NEW);
        assert_eq!(messages(&mut backup), 4, "a copy to one, the place to three");
        backup.write(&access(100, 0), id);
        assert_eq!(messages(&mut backup), 1);
        // Member 1 has the copy: it becomes primary and chooses a backup.
        assert_eq!(backup.read(&access(200, 1), id).found, Found::Current);
        assert_eq!(messages(&mut backup), 4);
        // Member 4 knows the place only: question, answer, and the new place to the three that are not the backup.
        let read = backup.read(&access(300, 4), id);
        assert_eq!((read.found, messages(&mut backup)), (Found::Current, 5));
        assert_eq!(read.at, SimTime::from_millis(322), "two lags and the work at both ends");
        backup.remove(&access(400, 4), id);
        assert_eq!(messages(&mut backup), 4);
    }

    #[test]
    fn the_first_member_has_the_backups_turn_twice_in_each_round() {
        let mut backup = Backup::new(&plan(false), 4, streams());
        let turns: Vec<usize> = (0..8).map(|_| backup.next_backup(0, 3)).collect();
        assert_eq!(turns, [0, 1, 2, 0, 0, 1, 2, 0]);
    }

    #[test]
    fn a_synchronous_answer_waits_for_the_slowest_copy_and_an_asynchronous_one_can_be_overtaken() {
        let mut waits = Delta::new(&plan(true), 3, streams());
        let (id, created) = waits.create(&access(0, 0), &NEW);
        assert_eq!(created.at, SimTime::from_millis(21), "lag, work, and the acknowledgement's lag");
        assert_eq!(waits.read(&access(21, 2), id).found, Found::Current);

        let mut runs_ahead = Delta::new(&plan(false), 3, streams());
        let (id, created) = runs_ahead.create(&access(0, 0), &NEW);
        assert_eq!(created.at, SimTime::ZERO);
        let lagged = Gone { why: Why::Lagged, at: SimTime::ZERO };
        assert_eq!(runs_ahead.read(&access(10, 2), id).found, Found::Missing(lagged));
        assert_eq!(runs_ahead.read(&access(11, 2), id).found, Found::Current);
        runs_ahead.write(&access(20, 0), id);
        assert_eq!(runs_ahead.read(&access(25, 2), id).found, Found::Stale);
    }

    #[test]
    fn what_a_dying_member_had_not_sent_is_lost_with_it() {
        let mut delta = Delta::new(&plan(false), 2, streams());
        let (old, _) = delta.create(&access(0, 0), &NEW);
        let (new, _) = delta.create(&access(95, 0), &NEW);
        delta.write(&access(96, 0), old);
        delta.server_lost(SimTime::from_millis(100), ServerId(0));
        assert_eq!(delta.read(&access(200, 1), old).found, Found::Current);
        let gone = Gone { why: Why::NodeLost, at: SimTime::from_millis(100) };
        assert_eq!(delta.read(&access(200, 1), new).found, Found::Missing(gone));
        assert_eq!(delta.costs.rolled_back, 1);
        delta.server_back(SimTime::from_millis(300), ServerId(0));
        assert_eq!(delta.read(&access(300, 0), old).found, Found::Current);
    }

    #[test]
    fn sessions_survive_one_death_and_those_without_time_for_a_new_backup_do_not_survive_the_next() {
        let mut backup = Backup::new(&plan(false), 3, streams());
        let ids: Vec<_> = (0..30).map(|i| backup.create(&access(i, 0), &NEW).0).collect();
        backup.server_lost(SimTime::from_millis(1_000), ServerId(0));
        assert!(ids.iter().all(|&id| backup.read(&access(1_500, 1), id).found == Found::Current));
        let mut hasty = backup.clone();
        hasty.server_lost(SimTime::from_millis(1_501), ServerId(1));
        let lost =
            ids.iter().filter(|&&id| hasty.read(&access(2_000, 2), id).found != Found::Current).count();
        assert!(lost > 0, "some had just got a new backup");
        backup.server_lost(SimTime::from_millis(3_000), ServerId(1));
        assert!(ids.iter().all(|&id| backup.read(&access(3_500, 2), id).found == Found::Current));
    }
}

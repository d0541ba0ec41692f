//! `BackupManager`: every session has one copy, and every member knows where.

use super::{BESIDE, BY_MEMBERSHIP, Copy, Members, SMALL, entity_of};
use crate::engine::SimTime;
use crate::ids::ServerId;
use crate::store::plan::TomcatPlan;
use crate::store::records::{Gone, RecordId, Records};
use crate::store::{Access, Costs, Found, NewSession, Reply, StoreStreams, Why};

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
    pub(in crate::store) records: Records,
    pub(in crate::store) costs: Costs,
    pub(in crate::store) members: Members,
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
    pub(in crate::store) fn new(plan: &TomcatPlan, servers: usize, streams: StoreStreams) -> Self {
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
        // The primary takes it out of the map, and tells all others.
        while let Some(id) = self.records.next_expired(now) {
            let record = self.records.get(id);
            let draw = (entity_of(record.name), BESIDE | u64::from(record.version));
            let primary = self.places[id.index()].primary;
            self.members.tell_others(&mut self.costs, now, primary, None, draw);
            self.records.drop_data(id, None);
        }
    }

    /// `getNextBackupIndex`: round robin, in which the first member's turn comes twice, since the counter is set back to the
    /// turn that was just taken.
    pub(super) fn next_backup(&mut self, of: usize, members: usize) -> usize {
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

    /// A member that has the session gives it a backup, in so many bytes, and tells all others where it is; returns when all of them
    /// have acknowledged.
    fn publish(&mut self, now: SimTime, id: RecordId, from: usize, bytes: u64, draw: (u64, u64)) -> SimTime {
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
            let bytes = if other == backup { bytes } else { SMALL };
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

    pub(in crate::store) fn create(&mut self, access: &Access, session: &NewSession) -> (RecordId, Reply) {
        let id = self.records.add(access.now, session.name, session.bytes, session.idle_timeout);
        let (places, servers) = (self.records.places(), self.members.up.len());
        self.places.resize(places, Place { primary: access.server.index(), backup: None });
        self.known.resize(places * servers, SimTime::NEVER);
        self.records.drop_data(id, None);
        (id, self.write(access, id))
    }

    pub(in crate::store) fn write(&mut self, access: &Access, id: RecordId) -> Reply {
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
        let mut acknowledged = now;
        if is_new || place.primary != server || place.backup.is_none() {
            // A new session is published before the login fills it.
            let published = if is_new { SMALL } else { bytes };
            acknowledged = self.publish(now, id, server, published, (draw.0, draw.1 | BESIDE));
            if !is_new {
                return self.answered(now, acknowledged);
            }
        }
        if let Some((backup, copy)) = self.places[id.index()].backup {
            let (done, heard) = self.members.send(&mut self.costs, now, (server, backup), bytes, draw);
            let first = if is_new { done } else { copy.first };
            self.places[id.index()].backup = Some((backup, Copy { first, latest: done }));
            acknowledged = acknowledged.max(heard);
        }
        self.answered(now, acknowledged)
    }

    pub(in crate::store) fn read(&mut self, access: &Access, id: RecordId) -> Reply {
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
                self.publish(now, id, server, record.bytes.into(), draw);
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

    pub(in crate::store) fn remove(&mut self, access: &Access, id: RecordId) -> Reply {
        let server = access.server.index();
        let draw = (access.entity, access.index);
        self.members.tell_others(&mut self.costs, access.now, server, None, draw);
        self.records.drop_data(id, None);
        Reply { at: access.now, found: Found::Current }
    }

    /// The name of draws that a change of membership causes.
    fn change(&mut self, id: RecordId) -> (u64, u64) {
        (entity_of(self.records.get(id).name), BY_MEMBERSHIP | self.changes)
    }

    pub(in crate::store) fn server_lost(&mut self, now: SimTime, server: ServerId) {
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
            let bytes = self.records.get(id).bytes.into();
            match self.places[id.index()] {
                Place { primary, backup: Some((backup, copy)) } if primary == lost => {
                    if copy.first > now {
                        self.records.drop_data(id, Some(Gone { why: Why::NodeLost, at: now }));
                        continue;
                    }
                    self.costs.rolled_back += u64::from(copy.latest > now);
                    self.publish(now, id, backup, bytes, draw);
                }
                Place { primary, backup: None } if primary == lost => {
                    self.records.drop_data(id, Some(Gone { why: Why::NodeLost, at: now }));
                }
                Place { primary, backup: Some((backup, _)) } if backup == lost => {
                    self.publish(now, id, primary, bytes, draw);
                }
                Place { .. } => {}
            }
        }
    }

    pub(in crate::store) fn server_back(&mut self, now: SimTime, server: ServerId) {
        self.changes += 1;
        self.members.up[server.index()] = true;
        let servers = self.members.up.len();
        let ids: Vec<RecordId> = self.records.stored().collect();
        self.costs.messages(1, SMALL * ids.len() as u64);
        for id in ids {
            self.known[id.index() * servers + server.index()] = now;
            let draw = self.change(id);
            if let Place { primary, backup: None } = self.places[id.index()] {
                self.publish(now, id, primary, self.records.get(id).bytes.into(), draw);
            }
        }
    }
}

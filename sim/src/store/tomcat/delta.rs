//! `DeltaManager`: every member has every session.

use super::{BESIDE, Copy, Members, NO_COPY, entity_of};
use crate::engine::SimTime;
use crate::ids::ServerId;
use crate::store::plan::TomcatPlan;
use crate::store::records::{Gone, RecordId, Records};
use crate::store::{Access, Costs, Found, NewSession, Reply, StoreStreams, Why};

/// `DeltaManager`.
#[derive(Clone, Debug)]
pub struct Delta {
    pub(in crate::store) records: Records,
    pub(in crate::store) costs: Costs,
    pub(in crate::store) members: Members,
    /// By record, then by server.
    copies: Vec<Copy>,
    /// By record: the server that wrote it last.
    homes: Vec<ServerId>,
}

impl Delta {
    pub(in crate::store) fn new(plan: &TomcatPlan, servers: usize, streams: StoreStreams) -> Self {
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
        // The primary tells all others (`sessionExpired`). Where it is dead they find out by their own clocks, which takes twice as
        // long and costs nothing.
        while let Some(id) = self.records.next_expired(now) {
            let home = self.homes[id.index()].index();
            if self.members.up[home] {
                let record = self.records.get(id);
                let draw = (entity_of(record.name), BESIDE | u64::from(record.version));
                self.members.tell_others(&mut self.costs, now, home, None, draw);
            }
            self.records.drop_data(id, None);
        }
    }

    pub(in crate::store) fn create(&mut self, access: &Access, session: &NewSession) -> (RecordId, Reply) {
        let id = self.records.add(access.now, session.name, session.bytes, session.idle_timeout);
        let (places, servers) = (self.records.places(), self.members.up.len());
        self.copies.resize(places * servers, NO_COPY);
        self.homes.resize(places, access.server);
        self.records.drop_data(id, None);
        (id, self.write(access, id))
    }

    pub(in crate::store) fn write(&mut self, access: &Access, id: RecordId) -> Reply {
        let now = access.now;
        self.expire(now);
        let draw = (access.entity, access.index);
        if !self.records.get(id).stored {
            self.copies_of(id).fill(NO_COPY);
            self.records.add_again(now, id);
            let created = (draw.0, draw.1 | BESIDE);
            self.members.tell_others(&mut self.costs, now, access.server.index(), None, created);
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
            let (done, known) = self.members.send(&mut self.costs, now, (home, other), bytes, draw);
            acknowledged = acknowledged.max(known);
            let copy = &mut self.copies_of(id)[other];
            (copy.first, copy.latest) = (copy.first.min(done), done);
        }
        Reply { at: if self.members.synchronous { acknowledged } else { now }, found: Found::Current }
    }

    pub(in crate::store) fn read(&mut self, access: &Access, id: RecordId) -> Reply {
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

    /// A request ends that has read a session and does not write it: a member that was not the primary says that it is now
    /// (`EVT_SESSION_ACCESSED`).
    pub(in crate::store) fn keep(&mut self, access: &Access, id: RecordId) {
        if self.homes[id.index()] != access.server && self.records.get(id).stored {
            self.homes[id.index()] = access.server;
            let draw = (access.entity, access.index | BESIDE);
            self.members.tell_others(&mut self.costs, access.now, access.server.index(), None, draw);
        }
    }

    pub(in crate::store) fn remove(&mut self, access: &Access, id: RecordId) -> Reply {
        let home = access.server.index();
        let draw = (access.entity, access.index);
        self.members.tell_others(&mut self.costs, access.now, home, None, draw);
        self.records.drop_data(id, None);
        Reply { at: access.now, found: Found::Current }
    }

    pub(in crate::store) fn server_lost(&mut self, now: SimTime, server: ServerId) {
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

    pub(in crate::store) fn server_back(&mut self, now: SimTime, server: ServerId) {
        self.members.up[server.index()] = true;
        let ids: Vec<RecordId> = self.records.stored().collect();
        let bytes: u64 = ids.iter().map(|&id| u64::from(self.records.get(id).bytes)).sum();
        self.costs.messages(1, bytes);
        for id in ids {
            self.copies_of(id)[server.index()] = Copy { first: now, latest: now };
        }
    }
}

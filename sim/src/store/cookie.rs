//! Sessions in signed cookies: nothing to lose, nothing to revoke.
//!
//! Every request carries the session to the server, and every answer that changes it carries it back; the server checks and
//! makes signatures. A logout deletes the browser's copy only.

use super::plan::CookiePlan;
use super::records::{RecordId, Records};
use super::{Access, Costs, Found, NewSession, Reply, StoreStreams};
use crate::engine::Sampler;

/// The store that is none.
#[derive(Clone, Debug)]
pub struct CookieStore {
    pub(super) records: Records,
    pub(super) costs: Costs,
    streams: StoreStreams,
    sign: Sampler,
}

impl CookieStore {
    pub(super) fn new(plan: &CookiePlan, streams: StoreStreams) -> Self {
        Self { records: Records::default(), costs: Costs::new(0), streams, sign: plan.sign.sampler() }
    }

    fn carry(&mut self, access: &Access, id: RecordId) -> Reply {
        // Browsers forget cookies, not servers; only the tables here have to be tidied.
        while let Some(expired) = self.records.next_expired(access.now) {
            self.records.drop_data(expired, None);
        }
        let record = self.records.get_mut(id);
        record.used = access.now;
        self.costs.bytes += u64::from(record.bytes);
        let time = self.sign.duration(&self.streams.operation, access.entity, access.index);
        Reply { at: access.now + time, found: Found::Current }
    }

    pub(super) fn create(&mut self, access: &Access, session: &NewSession) -> (RecordId, Reply) {
        let id = self.records.add(access.now, session.name, session.bytes, session.idle_timeout);
        (id, self.carry(access, id))
    }

    pub(super) fn read(&mut self, access: &Access, id: RecordId) -> Reply {
        self.carry(access, id)
    }

    pub(super) fn write(&mut self, access: &Access, id: RecordId) -> Reply {
        self.records.add_again(access.now, id);
        self.carry(access, id)
    }

    pub(super) fn remove(&mut self, access: &Access, id: RecordId) -> Reply {
        let reply = self.carry(access, id);
        self.records.drop_data(id, None);
        reply
    }
}

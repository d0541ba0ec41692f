//! What a request does at a server: it takes a place, is worked on, and ends.

use super::Cluster;
use super::event::Event;
use super::request::{Draw, Origin, Purpose};
use crate::backend::servers::Accepted;
use crate::engine::queue::PendingEvents;
use crate::engine::{Scheduler, SimDuration, SimTime};
use crate::ids::{RequestId, ServerId};
use crate::session::SessionPlan;

impl Cluster<'_> {
    /// Brings a request to a server, with the name of its service demand and the operations of the shared session store that it
    /// takes. Returns `None` when it is in, else why it is not.
    #[inline(always)]
    pub(super) fn enter_server<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: RequestId,
        server: ServerId,
        (demand, operations): (Draw, u8),
        pending: &mut Scheduler<Q>,
    ) -> Option<Accepted> {
        let mut work = self.demand(demand, server);
        if operations > 0 {
            work += self.store_time(demand, operations);
        }
        if self.faults.ailing > 0 {
            work = self.work_of_the_ailing(now, id, server, work);
        }
        if self.stored.is_some() {
            work += self.store_both(now, id, server);
        }
        if let Some(refusal) = self.occupy(now, id, server, work, pending) {
            return Some(refusal);
        }
        let (present, busy) = self.servers.level(server);
        self.recorder.entered(now, server, present, busy);
        None
    }

    /// A request takes a worker of a server, or a place in its line, unless the server turns it away.
    #[inline(always)]
    pub(super) fn occupy<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: RequestId,
        server: ServerId,
        work: SimDuration,
        pending: &mut Scheduler<Q>,
    ) -> Option<Accepted> {
        let accepted = self.servers.accept(now, server, id, work);
        let due = match accepted {
            Accepted::Full | Accepted::Refused | Accepted::Silent => return Some(accepted),
            Accepted::Queued => SimTime::NEVER,
            Accepted::Started { due } => self.begin_service(now, id, due, pending),
            Accepted::Shared { next_due } => {
                pending.at(next_due, Event::SharedServiceDone(server).word());
                SimTime::NEVER
            }
        };
        let request = self.requests.get_mut(id.0);
        (request.entered, request.due, request.in_server) = (now, due, true);
        if let Some(rosters) = &mut self.faults.rosters {
            rosters.requests.note(server, id.0, |slot| self.requests.get(slot).is_at(server));
        }
        None
    }

    /// Service demand by its name, in the law of the server.
    #[inline(always)]
    fn demand(&self, draw: Draw, server: ServerId) -> SimDuration {
        let stream = match draw.purpose {
            Purpose::Click | Purpose::Arrival => &self.streams.demand,
            Purpose::Relogin => &self.streams.relogin,
            Purpose::LogLine => &self.streams.log_demand,
            Purpose::Object | Purpose::Message => return self.part_demand(draw, server),
        };
        let index = if draw.purpose == Purpose::Relogin { draw.index << 2 | 2 } else { draw.index };
        self.samplers.demand[server].duration(stream, draw.entity, index)
    }

    /// Counts the operations that a request takes of the shared session store. Returns how many, none without such a store.
    #[inline(always)]
    pub(super) fn store_operations(&mut self, now: SimTime, operations: u8) -> u8 {
        if !matches!(self.strategy.session, SessionPlan::Shared { .. }) {
            return 0;
        }
        if let Some(counts) = self.recorder.at(now) {
            counts.store_operations += u64::from(operations);
        }
        operations
    }

    /// Time that a worker waits for the shared session store on behalf of a request.
    #[inline(never)]
    pub(super) fn store_time(&self, demand: Draw, operations: u8) -> SimDuration {
        let Draw { entity, index, purpose } = demand;
        (0..u64::from(operations)).fold(SimDuration::ZERO, |sum, operation| {
            let index = index << 4 | (purpose as u64) << 2 | operation;
            sum + self.samplers.store.duration(&self.streams.store_latency, entity, index)
        })
    }

    /// A worker is done with a request, unless the announcement is out of date.
    #[inline(always)]
    pub(super) fn service_done<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: RequestId,
        pending: &mut Scheduler<Q>,
    ) {
        let request = self.requests.get(id.0);
        if request.due != now || !request.in_server {
            return;
        }
        let server = request.server;
        if let Some(written) = self.store_write(now, id) {
            self.requests.get_mut(id.0).due = written;
            self.watch(id, pending);
            return pending.at(written, Event::ServiceDone(id).word());
        }
        if let Some((next, due)) = self.servers.worker_done(now, server) {
            self.requests.get_mut(next.0).due = self.begin_service(now, next, due, pending);
        }
        self.request_done(now, id, server, pending);
    }

    /// A processor-sharing server is done with a request, unless the announcement is out of date.
    #[inline(never)]
    pub(super) fn shared_service_done<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        server: ServerId,
        pending: &mut Scheduler<Q>,
    ) {
        let Some((id, next)) = self.servers.shared_done(now, server) else { return };
        if let Some(due) = next {
            pending.at(due, Event::SharedServiceDone(server).word());
        }
        self.request_done(now, id, server, pending);
    }

    #[inline(always)]
    fn request_done<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: RequestId,
        server: ServerId,
        pending: &mut Scheduler<Q>,
    ) {
        let request = *self.requests.get(id.0);
        let (present, busy) = self.servers.level(server);
        self.recorder.level(now, server, present, busy);
        self.recorder.left(now, request.entered);
        if request.origin == Origin::Check {
            return self.check_answered(now, id, true, pending);
        }
        if self.faults.clients_cut && self.answer_waits(now, id, pending) {
            return;
        }
        self.answer(now, id, pending);
    }
}

//! What goes wrong with single requests: errors, lost packets, servers that slow down as they get busy.

use super::Cluster;
use super::ailments::Condition;
use super::event::Event;
use super::request::{FlowEnd, Waits};
use super::silence::{SEGMENT_AGAIN, SYN_AGAIN, SYN_RETRIES};
use crate::engine::queue::PendingEvents;
use crate::engine::{Scheduler, SimDuration, SimTime};
use crate::ids::{RequestId, ServerId};
use crate::store::LinkCondition;
use crate::tier::Layer;

/// Most repetitions of a lost packet that are drawn: as many as Linux makes (`tcp_retries2`). SYNs are given up before.
const AGAIN_MAX: u32 = 15;

impl Cluster<'_> {
    /// The time that a request takes on a server on which something may go wrong, and whether it ends in an error.
    #[inline(never)]
    pub(super) fn work_of_the_ailing(
        &mut self,
        now: SimTime,
        id: RequestId,
        server: ServerId,
        work: SimDuration,
    ) -> SimDuration {
        let condition = self.faults.servers[server].condition;
        if let Some(rule) = condition.errors {
            let draw = self.requests.get(id.0).demand;
            // A request that is tried again has another chance.
            let name = draw.index.rotate_left(20) ^ now.0;
            let entity = draw.entity << 16 | u64::from(server.0);
            if self.faults.errors.uniform(entity, name) < rule.share {
                self.requests.get_mut(id.0).fails_with = rule.status;
                return rule.latency;
            }
        }
        match condition.brown_out {
            Some((above, factor)) if self.servers.busy_share(server) > above => {
                SimDuration::from_secs_f64(work.as_secs_f64() * factor)
            }
            _ => work,
        }
    }

    /// Whether a check that asks for a page gets an error.
    pub(super) fn answers_a_check_with_an_error(&self, now: SimTime, server: ServerId) -> bool {
        let rule = self.faults.servers[server].condition.errors;
        rule.is_some_and(|rule| {
            self.faults.errors.uniform(u64::MAX - u64::from(server.0), now.0) < rule.share
        })
    }

    /// Whether packets of a request are lost on its way to a server, or of the answer on the way back: then it comes there later, by
    /// the time after which they are sent again.
    #[inline(never)]
    pub(super) fn is_late<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: RequestId,
        server: ServerId,
        pending: &mut Scheduler<Q>,
    ) -> bool {
        let Condition { loss, delay, .. } = self.faults.servers[server].condition;
        let clients = self.faults.clients;
        let layer = self.layer();
        let request = *self.requests.get(id.0);
        let is_well = loss == 0.0 && delay.is_zero() && clients == LinkCondition::WELL;
        if is_well || request.flow_end == FlowEnd::Detached {
            return false;
        }
        let entity = request.demand.entity << 16 | u64::from(server.0);
        let mut draws = self.faults.losses.draws(entity, request.demand.index.rotate_left(20) ^ now.0);
        // Times that all of `packets` in a row must be sent again, as a wait that begins with `first` and doubles.
        let mut wait = |loss: f64, packets: i32, first: SimDuration| {
            let arrives = (0..packets).fold(1.0, |all, _| all * (1.0 - loss));
            let mut again = 0;
            while again < AGAIN_MAX && draws.uniform() >= arrives {
                again += 1;
            }
            first * ((1 << again) - 1)
        };
        let fresh = self.connections.get(request.connection.0).requests <= 1;
        // A SYN and its answer; the request and its answer.
        let to_server = if layer == Layer::Request || fresh {
            wait(loss, 2, SYN_AGAIN) + delay * 2
        } else {
            SimDuration::ZERO
        };
        let to_site =
            if fresh { wait(clients.loss, 2, SYN_AGAIN) + clients.delay * 2 } else { SimDuration::ZERO };
        let data = wait(loss, 2, SEGMENT_AGAIN) + wait(clients.loss, 2, SEGMENT_AGAIN);
        let data = data + (delay + clients.delay) * 2;
        if layer == Layer::Request && to_server > self.connect_timeout() {
            self.wait_for_connection(now, id, SYN_RETRIES, pending);
            return true;
        }
        let late = to_server + to_site + data;
        if late.is_zero() {
            return false;
        }
        let due = now + late;
        let request = self.requests.get_mut(id.0);
        (request.waits, request.due) = (Waits::Packets, due);
        pending.at(due, Event::Retry(id).word());
        true
    }

    /// A request comes to its server after all.
    pub(super) fn arrives<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: RequestId,
        pending: &mut Scheduler<Q>,
    ) {
        let request = self.requests.get_mut(id.0);
        request.waits = Waits::Instance;
        let (server, work) = (request.server, (request.demand, request.store_operations));
        if let Some(refusal) = self.enter_server(now, id, server, work, pending)
            && let Some(next) = self.after_refusal(now, id, refusal, pending)
        {
            self.attempt(now, id, next, pending);
        }
        self.watch(id, pending);
    }
}

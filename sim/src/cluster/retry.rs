//! What instances do when a try has ended, and retries for which they take their time: HAProxy waits before it tries a server again
//! that has refused.

use super::Cluster;
use super::event::Event;
use super::request::Waits;
use crate::engine::queue::PendingEvents;
use crate::engine::{Scheduler, SimDuration, SimTime};
use crate::ids::RequestId;
use crate::metrics::recorder::Failure;
use crate::tier::{FlowId, Outcome, Then};

impl Cluster<'_> {
    /// A try of a request at a server ended, as the instances see it that the request went through.
    #[inline(always)]
    pub(super) fn attempt_ended(
        &mut self,
        now: SimTime,
        instance: u16,
        flow: FlowId,
        outcome: Outcome,
    ) -> Then {
        match self.chained {
            true => self.attempt_ended_in_chain(now, flow, outcome),
            false => self.instance(instance).attempt_ended(now, flow, outcome),
        }
    }

    /// The client of a request under way has left.
    pub(super) fn abort(&mut self, now: SimTime, instance: u16, flow: FlowId) {
        match self.chained {
            true => self.abort_in_chain(now, flow),
            false => self.instance(instance).abort(now, flow),
        }
    }

    /// The instance lets some time pass before it tries again.
    pub(super) fn wait_before_retry<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: RequestId,
        delay: SimDuration,
        pending: &mut Scheduler<Q>,
    ) {
        let due = now + delay;
        self.requests.get_mut(id.0).due = due;
        pending.at(due, Event::Retry(id).word());
    }

    /// A wait before a retry is over, unless the announcement is out of date.
    pub(super) fn retry<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: RequestId,
        pending: &mut Scheduler<Q>,
    ) {
        let request = *self.requests.get(id.0);
        if request.due != now || request.in_server {
            return;
        }
        self.requests.get_mut(id.0).due = SimTime::NEVER;
        match request.waits {
            Waits::Instance => {}
            Waits::Server => return self.connects_again(now, id, pending),
            Waits::Packets => return self.arrives(now, id, pending),
            Waits::Site => return self.sends_again(now, id, pending),
            Waits::Client => return self.answers_again(now, id, pending),
        }
        let queued = self.queue_timeout(&request).is_some();
        let failure = if queued { Failure::QueueTimeout } else { Failure::NoServer };
        let then = match self.chained {
            true => self.resume_in_chain(now, request.flow),
            false => self.instance(request.instance).resume(now, request.flow),
        };
        match then {
            Then::Retry(decision) => self.attempt(now, id, decision, pending),
            Then::Wait(delay) => self.wait_before_retry(now, id, delay, pending),
            Then::Done { .. } => self.give_up(now, id, failure, pending),
        }
    }
}

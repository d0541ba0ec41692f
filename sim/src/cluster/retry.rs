//! Retries for which an instance takes its time: HAProxy waits before it tries a server again that has refused.

use super::Cluster;
use super::event::Event;
use crate::engine::queue::PendingEvents;
use crate::engine::{Scheduler, SimDuration, SimTime};
use crate::ids::RequestId;
use crate::metrics::recorder::Failure;
use crate::tier::{Outcome, Then};

impl Cluster<'_> {
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
        if request.late {
            return self.arrives_late(now, id, pending);
        }
        if request.connecting {
            self.requests.get_mut(id.0).connecting = false;
            let then = self.attempt_ended(now, request.instance, request.flow, Outcome::ConnectTimeout);
            return self.go_on(now, id, then, Failure::ProxyTimeout, pending);
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

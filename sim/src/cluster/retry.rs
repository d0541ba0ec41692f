//! Retries for which an instance takes its time: HAProxy waits before it tries a server again that has refused.

use super::Cluster;
use super::event::Event;
use super::request::Waits;
use crate::engine::queue::PendingEvents;
use crate::engine::{Scheduler, SimDuration, SimTime};
use crate::ids::RequestId;
use crate::metrics::recorder::Failure;
use crate::tier::{Instance, Then};

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
        match request.waits {
            Waits::Instance => {}
            Waits::Server => return self.connects_again(now, id, pending),
            Waits::Packets => return self.arrives(now, id, pending),
            Waits::Site => return self.sends_again(now, id, pending),
            Waits::Client => return self.answers_again(now, id, pending),
        }
        let instance = self.instance(request.instance);
        let queued = match instance {
            Instance::HaProxy(haproxy) => haproxy.is_queued(request.flow),
            Instance::Nginx(_) | Instance::Lvs(_) | Instance::Proxy(_) => false,
        };
        let failure = if queued { Failure::QueueTimeout } else { Failure::NoServer };
        match instance.resume(now, request.flow) {
            Then::Retry(decision) => self.attempt(now, id, decision, pending),
            Then::Wait(delay) => self.wait_before_retry(now, id, delay, pending),
            Then::Done { .. } => self.give_up(now, id, failure, pending),
        }
    }
}

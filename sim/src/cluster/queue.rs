//! Requests that wait in the queues of an HAProxy.

use super::Cluster;
use crate::engine::queue::PendingEvents;
use crate::engine::{Scheduler, SimTime};
use crate::ids::RequestId;
use crate::metrics::recorder::Failure;
use crate::tier::{FlowId, Instance};

/// Which request each waiting flow is, by the flow's slot.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    requests: Vec<RequestId>,
}

impl Waiting {
    fn note(&mut self, flow: FlowId, request: RequestId) {
        let slot = flow.slot as usize;
        if slot >= self.requests.len() {
            self.requests.resize(slot + 1, RequestId(u32::MAX));
        }
        self.requests[slot] = request;
    }
}

impl Cluster<'_> {
    /// All servers that may take a request are full: it waits, as long as it may.
    pub(super) fn wait_in_queue<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: RequestId,
        pending: &mut Scheduler<Q>,
    ) {
        let request = self.requests.get_mut(id.0);
        request.entered = now;
        let flow = request.flow;
        self.waiting.note(flow, id);
        if let Some(counts) = self.recorder.at(now) {
            counts.queued += 1;
        }
        if let Instance::HaProxy(haproxy) = self.instance()
            && let Some(timeout) = haproxy.queue_timeout()
        {
            self.wait_before_retry(now, id, timeout, pending);
        }
    }

    /// Requests that may leave the queues go to their servers. To be called when an event has been handled.
    #[inline]
    pub(super) fn start_waiting<Q: PendingEvents>(&mut self, now: SimTime, pending: &mut Scheduler<Q>) {
        while let Instance::HaProxy(haproxy) = self.instance()
            && let Some((flow, decision)) = haproxy.next_started()
        {
            let id = self.waiting.requests[flow.slot as usize];
            let request = self.requests.get_mut(id.0);
            debug_assert_eq!(request.flow, flow, "a flow that waits is its request's");
            request.due = SimTime::NEVER;
            let waited = now.since(request.entered);
            if let Some(counts) = self.recorder.at(now) {
                counts.queue_wait_ns += waited.0;
            }
            match decision.server {
                Some(_) => self.attempt(now, id, decision, pending),
                None => self.give_up(now, id, Failure::NoServer, pending),
            }
        }
    }
}

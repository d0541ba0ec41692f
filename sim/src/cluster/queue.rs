//! Requests that wait in the queues of an HAProxy.

use super::Cluster;
use super::request::Request;
use crate::engine::queue::PendingEvents;
use crate::engine::{Scheduler, SimDuration, SimTime};
use crate::ids::RequestId;
use crate::metrics::recorder::Failure;
use crate::tier::{FlowId, Instance};

/// Which request each waiting flow is.
#[derive(Debug)]
pub(super) struct Waiting {
    /// By instance and the flow's slot; none for programs without queues.
    requests: Vec<Vec<RequestId>>,
}

impl Waiting {
    /// Nobody waits in the queues of these instances.
    pub fn new(instances: &[Instance]) -> Self {
        let with_queues = instances.iter().filter(|instance| matches!(instance, Instance::HaProxy(_)));
        Self { requests: with_queues.map(|_| Vec::new()).collect() }
    }

    /// Whether there are queues at all.
    pub fn is_possible(&self) -> bool {
        !self.requests.is_empty()
    }

    /// Instances with queues.
    pub fn instances(&self) -> usize {
        self.requests.len()
    }

    /// The request that a flow of an instance is.
    pub fn of(&self, instance: usize, flow: FlowId) -> RequestId {
        self.requests[instance][flow.slot as usize]
    }

    /// A request waits at an instance.
    pub fn note(&mut self, instance: u16, flow: FlowId, request: RequestId) {
        let (requests, slot) = (&mut self.requests[usize::from(instance)], flow.slot as usize);
        if slot >= requests.len() {
            requests.resize(slot + 1, RequestId(u32::MAX));
        }
        requests[slot] = request;
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
        let request = *request;
        if !self.chained {
            self.tier.waiting.note(request.instance, request.flow, id);
        }
        if let Some(counts) = self.recorder.at(now) {
            counts.queued += 1;
        }
        if let Some(Some(timeout)) = self.queue_timeout(&request) {
            self.wait_before_retry(now, id, timeout, pending);
        }
    }

    /// How long a request may wait in the queue that it is in, if it is in one; the inner `None` is for ever.
    pub(super) fn queue_timeout(&mut self, request: &Request) -> Option<Option<SimDuration>> {
        if self.chained {
            return self.queued_in_chain(request.flow);
        }
        match self.instance(request.instance) {
            Instance::HaProxy(haproxy) => haproxy.is_queued(request.flow).then(|| haproxy.queue_timeout()),
            Instance::Nginx(_) | Instance::Lvs(_) | Instance::Proxy(_) => None,
        }
    }

    /// Requests that may leave the queues go to their servers. To be called when an event has been handled.
    #[inline(never)]
    pub(super) fn start_waiting<Q: PendingEvents>(&mut self, now: SimTime, pending: &mut Scheduler<Q>) {
        if self.chained {
            return self.start_waiting_in_chain(now, pending);
        }
        for instance in 0..self.tier.waiting.instances() {
            self.start_waiting_at(now, instance as u16, pending);
        }
    }

    /// The requests that wait in the queues of an instance.
    pub(super) fn waiting_at(&self, instance: u16) -> Vec<RequestId> {
        let Instance::HaProxy(haproxy) = &self.tier.instances[usize::from(instance)] else {
            return Vec::new();
        };
        let waiting = self.tier.waiting.requests[usize::from(instance)].iter().enumerate();
        // An entry of a flow that has left the queue may name a request that is no more.
        let is_its = |&(slot, &id): &(usize, &RequestId)| {
            let flow = self.requests.rows().get(id.index()).map(|request| request.flow);
            flow.is_some_and(|flow| flow.slot as usize == slot && haproxy.is_queued(flow))
        };
        waiting.filter(is_its).map(|(_, &id)| id).collect()
    }

    fn start_waiting_at<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        instance: u16,
        pending: &mut Scheduler<Q>,
    ) {
        while let Instance::HaProxy(haproxy) = self.instance(instance)
            && let Some((flow, decision)) = haproxy.next_started()
        {
            let id = self.tier.waiting.of(usize::from(instance), flow);
            debug_assert_eq!(self.requests.get(id.0).flow, flow, "a flow that waits is its request's");
            self.leaves_queue(now, id);
            match decision.server {
                Some(_) => self.attempt(now, id, decision, pending),
                None => self.give_up(now, id, Failure::NoServer, pending),
            }
        }
    }
    /// A request has waited long enough in a queue.
    pub(super) fn leaves_queue(&mut self, now: SimTime, id: RequestId) {
        let request = self.requests.get_mut(id.0);
        request.due = SimTime::NEVER;
        let waited = now.since(request.entered);
        if let Some(counts) = self.recorder.at(now) {
            counts.queue_wait.record(waited);
        }
    }
}

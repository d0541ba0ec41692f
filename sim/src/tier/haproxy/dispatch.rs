//! Where a request goes, and the queues that it may have to wait in.
//!
//! HAProxy 2.6, `src/backend.c` (`assign_server`, `assign_server_and_queue`, `srv_redispatch_connect`,
//! `stream_choose_redispatch`) and `src/queue.c` (`process_srv_queue`, `pendconn_redistribute`).

use std::collections::VecDeque;

use super::flows::Stage;
use super::{Decision, FlowId, Haproxy, NONE_USABLE};
use crate::balancer::{Balancer, Reason, Skipped};
use crate::ids::ServerId;

impl Haproxy {
    /// Finds a server for a request, or a place in a queue. `None` if no server may be used, or the queue of the only one that
    /// may is full.
    pub(super) fn route(&mut self, id: FlowId) -> Option<Decision> {
        loop {
            let target = match self.choose(id)? {
                Some(target) => target,
                None => return Some(self.queue(id, None)),
            };
            if self.flows.live(id).place != Some(target) {
                if self.servers.has_room(target) {
                    self.take_place(id, target);
                } else if !self.servers.has_full_queue(target) {
                    return Some(self.queue(id, Some(target)));
                } else {
                    // `SRV_STATUS_FULL`: whoever is tied to the server is balanced, if `option redispatch` allows.
                    let redispatches = self.redispatches();
                    let flow = self.flows.live(id);
                    if !flow.direct || flow.forced || !redispatches {
                        return None;
                    }
                    flow.untie(Skipped::Full);
                    continue;
                }
            }
            return Some(self.start(id, target));
        }
    }

    /// The server that a request is tied to, else the algorithm's choice; the inner `None` if all are full.
    #[inline]
    fn choose(&mut self, id: FlowId) -> Option<Option<ServerId>> {
        let flow = self.flows.live(id);
        if !flow.assigned {
            if !self.servers.any_usable() {
                return None;
            }
            flow.request.avoid = flow.target;
            let Some(server) = self.method.pick(&mut self.servers, &mut flow.request) else {
                return Some(None);
            };
            flow.target = Some(server);
            flow.assigned = true;
        }
        flow.target.map(Some)
    }

    /// Whether `option redispatch` is set.
    fn redispatches(&self) -> bool {
        self.config.redispatch.is_some_and(|interval| interval != 0)
    }

    /// A try begins.
    fn start(&mut self, id: FlowId, server: ServerId) -> Decision {
        let flow = self.flows.live(id);
        flow.stage = Stage::Trying;
        flow.attempt = flow.attempt.saturating_add(1);
        let reason = match flow.tie_skipped {
            _ if flow.direct => Reason::Affinity,
            Some(skipped) => Reason::AffinityUnusable(skipped),
            None => flow.request.reason,
        };
        Decision { server: Some(server), reason, attempt: flow.attempt }
    }

    fn take_place(&mut self, id: FlowId, server: ServerId) {
        self.flows.live(id).place = Some(server);
        self.servers.take(server);
        self.method.load_changed(&self.servers, server);
    }

    /// A request gives its place back, and whoever waits for it starts.
    pub(super) fn give_place_back(&mut self, id: FlowId) {
        let flow = self.flows.live(id);
        let (place, welcomed) = (flow.place.take(), flow.welcomed.take());
        if let Some(server) = place {
            self.servers.give_back(server);
            self.method.load_changed(&self.servers, server);
        }
        if let Some(server) = welcomed {
            self.servers.bid_farewell(server);
        }
        if let Some(server) = place.or(welcomed)
            && self.servers.looks_for_work(server)
        {
            self.fill(server);
        }
    }

    /// A request joins the queue of a server, or the backend's.
    fn queue(&mut self, id: FlowId, server: Option<ServerId>) -> Decision {
        let ticket = self.queues.join(server, id);
        self.servers.enqueue(server);
        let flow = self.flows.live(id);
        flow.stage = Stage::Queued { server, ticket };
        Decision { server: None, reason: Reason::Queued, attempt: flow.attempt.saturating_add(1) }
    }

    /// Requests that wait take the free places of a server, the one that came first among those of its own queue and of the
    /// backend's.
    pub(super) fn fill(&mut self, server: ServerId) {
        while self.servers.has_free_place(server) {
            let own = self.queues.first(&self.flows, Some(server));
            let any = self.queues.first(&self.flows, None);
            let any = any.filter(|_| self.servers.serves_backend_queue(server));
            let (queue, id) = match (own, any) {
                (None, None) => return,
                (Some((_, id)), None) => (Some(server), id),
                (None, Some((_, id))) => (None, id),
                (Some((own, id)), Some((any, _))) if own < any => (Some(server), id),
                (Some(_), Some((_, id))) => (None, id),
            };
            self.servers.dequeue(queue);
            let flow = self.flows.live(id);
            flow.target = Some(server);
            flow.assigned = true;
            self.take_place(id, server);
            let decision = self.start(id, server);
            self.started.push_back((id, decision));
        }
    }

    /// A server can be used again: it takes from the backend's queue as many as it has places for, or all if it has no limit
    /// (`pendconn_grab_from_px` in `src/queue.c`). They do not count among those that hold a place, now or later: HAProxy
    /// reserves one where it balances a request or starts it at the end of another, and this is neither.
    pub(super) fn welcome(&mut self, server: ServerId) {
        let mut free = self.servers.free_places(server);
        while free > 0
            && self.servers.serves_backend_queue(server)
            && let Some((_, id)) = self.queues.first(&self.flows, None)
        {
            free -= 1;
            self.servers.dequeue(None);
            let flow = self.flows.live(id);
            flow.target = Some(server);
            flow.assigned = true;
            flow.welcomed = Some(server);
            self.servers.welcome(server);
            let decision = self.start(id, server);
            self.started.push_back((id, decision));
        }
    }

    /// The next request that left a queue, and where it goes. After every input, a driver asks until there is none. Without a
    /// server in the decision the client gets a 503, and the flow has ended.
    pub fn next_started(&mut self) -> Option<(FlowId, Decision)> {
        self.started.pop_front()
    }

    /// Whether a retry is balanced anew (`option redispatch`): its server is down by now, or its number says so, or nothing ties
    /// it and the algorithm would choose another server anyway.
    pub(super) fn moves_on(&mut self, id: FlowId) -> bool {
        let (Some(interval), flow) = (self.config.redispatch, self.flows.live(id)) else { return false };
        let Some(server) = flow.target else { return false };
        let turn = match u32::try_from(interval) {
            Ok(interval) => interval,
            // From the end: the last retry for -1.
            Err(_) => (self.config.retries + 1).saturating_sub(interval.unsigned_abs()),
        };
        let due = interval != 0 && turn != 0 && flow.retries.is_multiple_of(turn);
        let free = !flow.direct && self.servers.actives() > 1 && !self.method.hashes();
        !flow.forced && interval != 0 && (!self.servers.is_running(server) || due || free)
    }

    /// Those who wait for a server that is gone are balanced anew, unless they must stay with it.
    pub(super) fn redistribute(&mut self, server: ServerId) {
        if !self.redispatches() || self.config.persist {
            return;
        }
        let mut stay = VecDeque::new();
        while let Some((ticket, id)) = self.queues.first(&self.flows, Some(server)) {
            let flow = self.flows.live(id);
            flow.stage = Stage::Waiting;
            if flow.forced {
                stay.push_back((ticket, id));
                continue;
            }
            flow.untie(Skipped::Unhealthy);
            self.servers.dequeue(Some(server));
            match self.route(id) {
                Some(decision) if decision.reason == Reason::Queued => {}
                Some(decision) => self.started.push_back((id, decision)),
                None => {
                    self.end(id);
                    self.started.push_back((id, NONE_USABLE));
                }
            }
        }
        for (ticket, id) in stay {
            self.flows.live(id).stage = Stage::Queued { server: Some(server), ticket };
            self.queues.rejoin(server, ticket, id);
        }
    }
}

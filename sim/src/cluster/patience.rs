//! Clients that do not wait for good: they give up, ask again after a pause, and leave the server working in vain.
//!
//! The server goes on with a request whose client has gone: it notices when it writes the answer. A layer 7 instance sees
//! the client's abort and frees its count of the server at once; a director sees the client's FIN, and a reset when the
//! answer meets a closed socket.

use super::Cluster;
use super::browser::{BrowserSamplers, pause};
use super::event::Event;
use super::request::{FlowEnd, Origin, Waits};
use crate::engine::queue::PendingEvents;
use crate::engine::{Scheduler, SimTime};
use crate::ids::{ClientId, RequestId};
use crate::metrics::recorder::Failure;
use crate::population::clients::Step;
use crate::scenario::{Patience, VisitPlan};
use crate::tier::{Layer, Segment};

impl Cluster<'_> {
    /// The laws of a client that has a browser.
    pub(super) fn browser_samplers(&self, id: ClientId) -> &BrowserSamplers {
        let population = self.clients.row(id).population();
        self.samplers.visits[population].browser.as_ref().expect("the client has a browser")
    }

    /// When a client stops waiting for the answer to a request that it sends now; `name` names the request.
    pub(super) fn gives_up_at(&self, now: SimTime, id: ClientId, name: u64) -> SimTime {
        match &self.browser_samplers(id).timeout {
            Some(law) => now + law.duration(&self.streams.patience, u64::from(id.0), name),
            None => SimTime::NEVER,
        }
    }

    /// Puts the end of a client's patience among the pending events, if the answer is not certain to come before.
    pub(super) fn watch<Q: PendingEvents>(&mut self, id: RequestId, pending: &mut Scheduler<Q>) {
        let request = self.requests.get_mut(id.0);
        let in_time = request.in_server && request.due <= request.gives_up_at;
        if request.gives_up_at != SimTime::NEVER && !in_time && !request.watched {
            request.watched = true;
            pending.at(request.gives_up_at, Event::GivesUp(id).word());
        }
    }

    /// A client has waited as long as it will, unless the answer came or the announcement is out of date.
    pub(super) fn client_gives_up<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: RequestId,
        pending: &mut Scheduler<Q>,
    ) {
        let request = *self.requests.get(id.0);
        if request.gives_up_at != now {
            return;
        }
        let connection = *self.connections.get(request.connection.0);
        // Other streams of the connection go on.
        let closes = connection.open && connection.in_flight == 1;
        if self.layer() == Layer::Request && request.waits != Waits::Site {
            self.abort(now, request.instance, request.flow);
        }
        if closes {
            if self.is_watched() && connection.stands() {
                self.pass(now, request.connection, Segment::ClientFin);
            }
            self.forget_connection(now, request.connection);
            self.forget_owner(connection.owner, request.connection);
        }
        self.leave(id);
        self.request_failed(now, request.origin, Failure::TimedOut, pending);
    }

    /// Nobody waits for the answer to a request any more: the server that has it works on, elsewhere it is over.
    pub(super) fn leave(&mut self, id: RequestId) {
        let row = self.requests.get_mut(id.0);
        if row.in_server {
            row.origin = Origin::Gone;
            row.flow_end = FlowEnd::Detached;
            row.gives_up_at = SimTime::NEVER;
            self.gone += 1;
        } else {
            self.release(id);
            self.store_tidies(id);
        }
    }

    /// A server has answered a client that had gone.
    pub(super) fn answered_in_vain(&mut self, now: SimTime) {
        self.gone -= 1;
        if let Some(counts) = self.recorder.at(now) {
            counts.wasted += 1;
        }
    }

    /// A step of a client with a browser came to nothing. Returns whether that is seen to: it will be tried again, or the
    /// user leaves.
    pub(super) fn tries_again<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: ClientId,
        plan: &VisitPlan,
        failure: Failure,
        pending: &mut Scheduler<Q>,
    ) -> bool {
        let Some(browser) = &plan.browser else { return false };
        let step = self.clients.row(id).step;
        let slot = self.open_tab(id);
        let tries = self.tabs.get(slot).tries.saturating_add(1);
        let name = self.part_name(id, u64::from(tries));
        let held = browser.hold.as_ref().filter(|_| step == Step::Click);
        let would = |patience: &Patience| {
            tries <= u16::from(patience.reloads)
                && step != Step::Post
                && (patience.on_error || failure == Failure::TimedOut)
        };
        let may = plan.budget().is_none_or(|budget| self.budgets.failed(id, budget));
        let samplers = self.browser_samplers(id);
        let (law, backoff) = match (held, &browser.patience) {
            (Some(hold), _) => (&samplers.reconnect, &hold.reconnect),
            (None, Some(patience)) if would(patience) && may => (&samplers.backoff, &patience.backoff),
            (None, patience) => {
                self.tabs.get_mut(slot).tries = 0;
                if patience.as_ref().is_some_and(would)
                    && let Some(counts) = self.recorder.at(now)
                {
                    counts.reloads_refused += 1;
                }
                let leaves = step == Step::Click && patience.as_ref().is_some_and(|patience| patience.leaves);
                if leaves {
                    self.end_visit(now, id, false, pending);
                }
                return leaves;
            }
        };
        let first = law.as_ref().map_or(0.0, |law| law.sample(&self.streams.backoff, u64::from(id.0), name));
        if let Some(counts) = self.recorder.at(now) {
            counts.reloads += 1;
        }
        if plan.has_budget() {
            self.budgets.tries_again(id);
        }
        self.tabs.get_mut(slot).tries = tries;
        self.browser_waits(now, id, pause(backoff, first, tries), pending);
        true
    }
}

//! The login: a form, the credentials, the session that they create, and its end by logging out.

use super::Cluster;
use super::closed_loop::name;
use super::request::Request;
use crate::engine::queue::PendingEvents;
use crate::engine::{Scheduler, SimTime};
use crate::ids::{ClientId, ServerId};
use crate::population::clients::Step;
use crate::scenario::VisitPlan;
use crate::session::{SessionPlan, StoreSession};
use crate::store::plan::StorePlan;

impl Cluster<'_> {
    /// The login form has come; its server and epoch are those of its token.
    #[inline(never)]
    pub(super) fn form_answered<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: ClientId,
        request: &Request,
        pending: &mut Scheduler<Q>,
    ) {
        let epoch = self.servers.epoch(request.server) as u16;
        let think = self.think_time(id);
        let row = self.clients.row_mut(id);
        row.form_server = request.server;
        row.form_epoch = epoch;
        row.step = Step::Post;
        self.client_waits(now, id, think, pending);
    }

    /// Whether a server knows the token of the form that a client posts to it, if that has one.
    pub(super) fn knows_token(&self, id: ClientId, server: ServerId) -> bool {
        let row = self.clients.row(id);
        if !self.plan_of(row).1.form_token {
            return true;
        }
        match &self.strategy.session {
            SessionPlan::Shared { .. } => true,
            // Copies are faster than those who fill in forms.
            SessionPlan::Store(StoreSession { store, .. }) if !matches!(store, StorePlan::Local(_)) => true,
            SessionPlan::Local | SessionPlan::Store(_) => {
                server == row.form_server && self.servers.epoch(server) as u16 == row.form_epoch
            }
        }
    }

    /// The credentials have been answered: the session is created, unless something failed.
    #[inline(never)]
    pub(super) fn login_answered<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: ClientId,
        plan: &VisitPlan,
        request: &Request,
        pending: &mut Scheduler<Q>,
    ) {
        let Request { server, from, .. } = *request;
        let row = *self.clients.row(id);
        let token_known = self.knows_token(id, server);
        if let Some(counts) = self.recorder.at(now) {
            counts.logins += 1;
        }
        if !token_known || self.login_was_not_stored() {
            return self.login_failed(now, id, plan, pending);
        }
        let forked = match row.session() {
            Some(slot) => {
                self.store_session_again(now, slot, request);
                self.chose_home(slot, request);
                self.sessions.take_over(now, slot, server, from, &self.servers, plan.session_idle_timeout)
            }
            None => {
                let slot = self.sessions.create(now, server, from, &self.servers);
                self.chose_home(slot, request);
                self.store_session(now, slot, request);
                self.clients.row_mut(id).set_session(Some(slot));
                false
            }
        };
        // A store knows its own copies, and counts them.
        let in_store = self.clients.row(id).session().is_some_and(|slot| self.is_in_store(slot));
        if let Some(counts) = self.recorder.at(now) {
            counts.created += 1;
            counts.forked += u64::from(forked && !in_store);
        }
        let think = self.think_time(id);
        let row = self.clients.row_mut(id);
        row.set_logged_in();
        row.set_retried(false);
        row.step = Step::Click;
        self.client_waits(now, id, think, pending);
    }

    /// The application has ended the session, wherever it looked for it.
    #[inline(never)]
    pub(super) fn logged_out<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: ClientId,
        pending: &mut Scheduler<Q>,
    ) {
        if let Some(slot) = self.clients.row(id).session() {
            self.end_session(slot);
            self.clients.row_mut(id).set_session(None);
        }
        self.end_visit(now, id, true, pending);
    }

    /// The user must log in (again), and does unless that has been too often.
    pub(super) fn log_in_again<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: ClientId,
        plan: &VisitPlan,
        pending: &mut Scheduler<Q>,
    ) {
        if self.clients.row(id).logins_again >= plan.logins_again {
            return self.end_visit(now, id, false, pending);
        }
        let row = self.clients.row_mut(id);
        row.logins_again += 1;
        // The pause before the form is named apart from the pauses after it.
        let index = name(row.visit, u16::from(row.logins_again), Step::Begin) << 2 | 1;
        row.step = Step::Form;
        let population = row.population();
        let pause =
            self.samplers.visits[population].think.duration(&self.streams.relogin, u64::from(id.0), index);
        self.client_waits(now, id, pause, pending);
    }

    /// The application refused the credentials' form, or could not store the session.
    pub(super) fn login_failed<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: ClientId,
        plan: &VisitPlan,
        pending: &mut Scheduler<Q>,
    ) {
        if let Some(counts) = self.recorder.at(now) {
            counts.logins_failed += 1;
        }
        self.log_in_again(now, id, plan, pending);
    }
}

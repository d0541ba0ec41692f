//! Users who make visits: the login, the clicks, and what they do when something goes wrong.
//!
//! A click's draws are named (client; visit, click, step), so that the same click has the same think time and service demand
//! under every strategy. Logins that repeat a lost one have a stream of their own, named (client; visit, how often, step).

use super::event::Event;
use super::request::{Draw, FlowEnd, Origin, Purpose, Request, SessionWork};
use super::{Cluster, VisitSamplers};
use crate::engine::queue::PendingEvents;
use crate::engine::{Scheduler, SimDuration, SimTime};
use crate::ids::{ClientId, ConnectionId};
use crate::metrics::recorder::Failure;
use crate::population::clients::{ClientRow, Step};
use crate::scenario::{ConnectionRules, Population, Traffic, VisitPlan};
use crate::session::sessions::Lookup;
use crate::tier::Method;

/// The logical index of a draw within a client's life.
pub(super) fn name(visit: u32, click: u16, step: Step) -> u64 {
    u64::from(visit) << 20 | u64::from(click) << 4 | step as u64
}

/// The name of the draws of a client's current step.
#[inline(always)]
fn step_name(id: ClientId, row: &ClientRow) -> Draw {
    let again = row.logins_again > 0 && matches!(row.step, Step::Form | Step::Post);
    let (purpose, click) =
        if again { (Purpose::Relogin, u16::from(row.logins_again)) } else { (Purpose::Click, row.click) };
    Draw { entity: u64::from(id.0), index: name(row.visit, click, row.step), purpose }
}

/// What a step wants of the session store.
fn session_work(step: Step, plan: &VisitPlan) -> SessionWork {
    match step {
        Step::Post => SessionWork::Login,
        Step::Click if plan.login => SessionWork::Use,
        Step::Logout => SessionWork::Logout,
        Step::Begin | Step::Form | Step::Click => SessionWork::None,
    }
}

/// What a client asks for.
struct Ask {
    method: Method,
    /// The session that the request belongs to.
    session: Option<u32>,
    /// Operations that it takes of a session store that all servers share.
    operations: u8,
}

/// The number by which the site knows a client: none for one without cookies, nor before the site's first answer in the
/// run, which brings the cookie.
#[inline(always)]
fn visitor(id: ClientId, row: &ClientRow, plan: &VisitPlan) -> Option<u64> {
    let is_first = row.visit == 1
        && match row.step {
            Step::Form => row.logins_again == 0,
            Step::Click => !plan.login && row.click == 0,
            Step::Begin | Step::Post | Step::Logout => false,
        };
    (!is_first && plan.cookies).then_some(u64::from(id.0))
}

impl<'a> Cluster<'a> {
    /// The plan of a closed-loop client's visits, and its population.
    #[inline(always)]
    pub(super) fn plan_of(&self, row: &ClientRow) -> (&'a Population, &'a VisitPlan) {
        let scenario = self.scenario;
        let population = &scenario.populations[row.population().index()];
        match &population.traffic {
            Traffic::ClosedLoop(plan) | Traffic::Visits { plan, .. } => (population, plan),
            Traffic::Requests(_) => unreachable!("clients who send single requests make no visits"),
        }
    }

    /// The name of the draws of a client's current step.
    #[inline]
    pub(super) fn step_name(&self, id: ClientId) -> Draw {
        step_name(id, self.clients.row(id))
    }

    /// How long the user takes after the answer to the current step.
    #[inline(always)]
    pub(super) fn think_time(&self, id: ClientId) -> SimDuration {
        let row = self.clients.row(id);
        let draw = step_name(id, row);
        let VisitSamplers { think, users, .. } = &self.samplers.visits[row.population()];
        let drawn = match draw.purpose {
            Purpose::Relogin => think.duration(&self.streams.relogin, draw.entity, draw.index << 2),
            _ => think.duration(&self.streams.think, draw.entity, draw.index),
        };
        users.as_ref().map_or(drawn, |users| users.think(id, drawn))
    }

    /// A client makes its next step.
    #[inline(always)]
    pub(super) fn client_acts<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: ClientId,
        pending: &mut Scheduler<Q>,
    ) {
        let mut row = *self.clients.row(id);
        let (population, plan) = self.plan_of(&row);
        if row.has_browser() {
            return self.browser_steps(now, id, (plan, &population.connection), pending);
        }
        if row.step == Step::Begin {
            self.begin_visit(now, id, plan);
            row = *self.clients.row(id);
        }
        let Ask { method, session, operations } = self.ask(&row, plan);
        let demand = step_name(id, &row);
        let origin = Origin::Client(id);
        self.recorder.ledger.requests_issued += 1;
        let kept = self.standing_connection(now, id, row.connection(), demand.index);
        let connection = match self.reuse_connection(now, kept, method) {
            Ok(Some(connection)) => connection,
            Ok(None) => match self.connect(now, id, demand.index, &population.connection) {
                Ok(connection) => connection,
                Err(failure) => return self.request_failed(now, origin, failure, pending),
            },
            Err(failure) => {
                self.clients.row_mut(id).set_connection(None);
                return self.request_failed(now, origin, failure, pending);
            }
        };
        let mut request = Request::new(now, origin, connection, method, session, demand);
        request.store_operations = self.store_operations(now, operations);
        request.work = session_work(row.step, plan);
        self.send(now, request, visitor(id, &row, plan), pending);
    }

    /// Opens the connection of a client without a browser.
    ///
    /// # Errors
    /// Nobody accepts it.
    #[inline(never)]
    fn connect(
        &mut self,
        now: SimTime,
        id: ClientId,
        name: u64,
        rules: &ConnectionRules,
    ) -> Result<ConnectionId, Failure> {
        let source = self.clients.source(id, now, name);
        let worker = (u64::from(id.0), u64::from(self.clients.row(id).visit) << 16 | u64::from(source.port));
        let opened = self.open_connection(now, Origin::Client(id), source, worker, rules);
        self.clients.row_mut(id).set_connection(opened.ok());
        opened
    }

    /// What a client asks for in its current step.
    #[inline(always)]
    fn ask(&self, row: &ClientRow, plan: &VisitPlan) -> Ask {
        let (method, session, operations) = match row.step {
            Step::Begin => unreachable!("the visit has begun"),
            Step::Form => (Method::Get, None, u8::from(plan.form_token)),
            // A login under the id of a lost session writes that one's record.
            Step::Post => {
                let session = row.session().filter(|_| self.stored.is_some());
                (Method::Post, session, 1 + u8::from(plan.form_token))
            }
            Step::Click => (Method::Get, row.session(), 2 * u8::from(plan.login)),
            Step::Logout => (Method::Get, row.session(), 1),
        };
        Ask { method, session, operations }
    }

    /// A client with a browser makes its next step, or does what the exchange that it holds wants.
    #[inline(never)]
    fn browser_steps<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: ClientId,
        plan: (&VisitPlan, &ConnectionRules),
        pending: &mut Scheduler<Q>,
    ) {
        if !self.browser_acts(now, id, plan.0, pending) {
            return;
        }
        if self.clients.row(id).step == Step::Begin {
            self.begin_visit(now, id, plan.0);
        }
        self.recorder.ledger.requests_issued += 1;
        self.browser_asks(now, id, plan, pending);
    }

    /// Sends the request of the current step of a client with a browser.
    fn browser_asks<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: ClientId,
        plan: (&VisitPlan, &ConnectionRules),
        pending: &mut Scheduler<Q>,
    ) {
        let origin = Origin::Client(id);
        let row = *self.clients.row(id);
        let Ask { method, session, operations } = self.ask(&row, plan.0);
        let connection = self.connection_of_browser(now, id, (method, self.step_name(id).index), plan, true);
        match connection.unwrap_or(Err(Failure::NoServer)) {
            Ok(connection) => {
                let demand = self.step_name(id);
                let mut request = Request::new(now, origin, connection, method, session, demand);
                request.store_operations = self.store_operations(now, operations);
                request.work = session_work(row.step, plan.0);
                let tab = self.open_tab(id);
                let tries = self.tabs.get(tab).tries;
                request.gives_up_at =
                    self.gives_up_at(now, id, self.part_name(id, u64::from(tries) | 1 << 18));
                let browser = plan.0.browser.as_ref();
                if row.step == Step::Click && browser.is_some_and(|browser| browser.hold.is_some()) {
                    request.flow_end = FlowEnd::Held;
                }
                let sent = self.send_apart(now, request, visitor(id, &row, plan.0), pending);
                self.watch(sent, pending);
            }
            Err(failure) => self.request_failed(now, origin, failure, pending),
        }
    }

    fn begin_visit(&mut self, now: SimTime, id: ClientId, plan: &VisitPlan) {
        let visit = self.clients.row(id).visit + 1;
        let VisitSamplers { clicks: law, users, .. } =
            &self.samplers.visits[self.clients.row(id).population()];
        let clicks = match users {
            Some(users) => users.clicks(id, visit, &self.streams.clicks),
            None => {
                let clicks = law.sample(&self.streams.clicks, u64::from(id.0), u64::from(visit));
                libm::ceil(clicks).clamp(1.0, f64::from(u16::MAX)) as u16
            }
        };
        self.recorder.ledger.visits_begun += 1;
        let measured = now >= self.recorder.calendar().measured_from;
        let row = self.clients.row_mut(id);
        row.begin_visit(clicks, measured);
        // A visit that goes on with the last one's session needs no login.
        row.step = if plan.login && row.session().is_none() { Step::Form } else { Step::Click };
    }

    /// A client's request was answered by `request.server`.
    #[inline(always)]
    pub(super) fn client_answered<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: ClientId,
        request: &Request,
        pending: &mut Scheduler<Q>,
    ) {
        let (_, plan) = self.plan_of(self.clients.row(id));
        let has_browser = self.clients.row(id).has_browser();
        if has_browser {
            self.reset_tries(id);
            if let Some(budget) = plan.budget() {
                self.budgets.answered(id, budget);
            }
        }
        match self.clients.row(id).step {
            Step::Begin => unreachable!("nothing was asked"),
            Step::Logout => self.logged_out(now, id, pending),
            Step::Form => self.form_answered(now, id, request, pending),
            Step::Post => self.login_answered(now, id, plan, request, pending),
            Step::Click if plan.login => self.click_answered(now, id, plan, request, pending),
            Step::Click => self.page_loaded(now, id, plan, request, pending),
        }
        if has_browser && request.flow_end == FlowEnd::Held {
            self.end_unless_held(now, id, request);
        }
    }

    #[inline(never)]
    fn click_answered<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: ClientId,
        plan: &VisitPlan,
        request: &Request,
        pending: &mut Scheduler<Q>,
    ) {
        let Some(slot) = request.session else {
            // Whoever has tried again under an id that nobody knows any more sees the login page again.
            self.forget_hold(id);
            return self.log_in_again(now, id, plan, pending);
        };
        let found = self.find_session(
            now,
            slot,
            &request.route(),
            (plan.session_idle_timeout, plan.on_unknown_id),
            plan.cookies,
        );
        if found != Lookup::Expired {
            // A visit that goes on with the last one's session has not said so yet.
            self.clients.row_mut(id).set_logged_in();
        }
        if matches!(found, Lookup::Expired | Lookup::Lost { .. }) {
            self.forget_hold(id);
        }
        match found {
            Lookup::Hit => self.page_loaded(now, id, plan, request, pending),
            Lookup::Resumed { .. } => {
                self.clients.row_mut(id).set_retried(false);
                self.page_loaded(now, id, plan, request, pending);
            }
            Lookup::Expired => {
                self.end_session(slot);
                self.clients.row_mut(id).set_session(None);
                self.log_in_again(now, id, plan, pending);
            }
            Lookup::Lost { .. } => {
                if !self.clients.row(id).retried() {
                    self.tell_story(now, id, slot, request, &found);
                }
                let kept = self.settle_lost_session(slot, plan.on_unknown_id);
                let row = self.clients.row_mut(id);
                row.set_session(kept);
                row.set_had_loss();
                let losses = u64::from(row.visit) << 8 | u64::from(row.logins_again);
                let drawn = self.streams.leave_on_loss.uniform(u64::from(id.0), losses);
                if drawn < plan.leave_on_loss {
                    self.end_visit(now, id, false, pending);
                } else if drawn < plan.leave_on_loss + plan.retry_on_loss && !row.retried() {
                    self.click_again(now, id, pending);
                } else {
                    self.log_in_again(now, id, plan, pending);
                }
            }
        }
    }

    /// A user who sees a login page makes the click again, after a pause of its own.
    fn click_again<Q: PendingEvents>(&mut self, now: SimTime, id: ClientId, pending: &mut Scheduler<Q>) {
        let row = self.clients.row_mut(id);
        row.set_retried(true);
        let index = name(row.visit, row.click, Step::Begin) << 2 | 2;
        let population = row.population();
        let pause =
            self.samplers.visits[population].think.duration(&self.streams.relogin, u64::from(id.0), index);
        self.client_waits(now, id, pause, pending);
    }

    /// A click has had its answer, or the user has given up on it: the next click, or the end of the visit.
    #[inline(always)]
    pub(super) fn click_over<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: ClientId,
        pending: &mut Scheduler<Q>,
    ) {
        let think = self.think_time(id);
        let row = self.clients.row_mut(id);
        row.click += 1;
        if row.click >= row.clicks {
            self.visit_complete(now, id, think, pending);
        } else {
            self.client_waits(now, id, think, pending);
        }
    }

    /// A visit has come to its end: some log out, others will go on with their session.
    #[inline(never)]
    fn visit_complete<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: ClientId,
        think: SimDuration,
        pending: &mut Scheduler<Q>,
    ) {
        let (_, plan) = self.plan_of(self.clients.row(id));
        let row = self.clients.row_mut(id);
        if row.session().is_some() && plan.logout > 0.0 {
            let name = u64::from(row.visit) << 1;
            if self.streams.visit_end.uniform(u64::from(id.0), name) < plan.logout {
                row.step = Step::Logout;
                return self.client_waits(now, id, think, pending);
            }
        }
        self.end_visit(now, id, true, pending);
    }

    /// A client's request failed: a login is attempted again, a click is given up.
    pub(super) fn client_failed<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: ClientId,
        failure: Failure,
        pending: &mut Scheduler<Q>,
    ) {
        let (_, plan) = self.plan_of(self.clients.row(id));
        if self.tries_again(now, id, plan, failure, pending) {
            return;
        }
        match self.clients.row(id).step {
            Step::Begin => unreachable!("nothing was asked"),
            Step::Form => self.log_in_again(now, id, plan, pending),
            Step::Post => {
                if let Some(counts) = self.recorder.at(now) {
                    counts.logins += 1;
                }
                self.login_failed(now, id, plan, pending);
            }
            Step::Click => self.click_over(now, id, pending),
            Step::Logout => self.logged_out(now, id, pending),
        }
    }

    pub(super) fn end_visit<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: ClientId,
        finished: bool,
        pending: &mut Scheduler<Q>,
    ) {
        let row = *self.clients.row(id);
        if let Some(slot) = row.session()
            && !(finished && self.comes_back_to_session(id, &row))
        {
            self.end_session(slot);
            self.clients.row_mut(id).set_session(None);
        }
        self.visit_ended(now, row.measured(), finished, row.logged_in(), row.had_loss());
        self.clients.row_mut(id).step = Step::Begin;
        let laws = &self.samplers.visits[row.population()];
        let (client, visit) = (u64::from(id.0), u64::from(row.visit));
        let away = match &laws.users {
            Some(users) => users.away_s(id),
            None => laws.away.sample(&self.streams.away, client, visit),
        };
        let away = match &laws.pace {
            // Whoever comes with others' arrivals has no plans of coming back.
            _ if laws.arrives => SimDuration::MAX,
            None => SimDuration::from_secs_f64(away),
            Some(pace) => pace.absence(now, away, id, &self.streams.activity),
        };
        self.client_waits(now, id, away, pending);
    }

    /// Whether the next visit will go on with this one's session.
    fn comes_back_to_session(&self, id: ClientId, row: &ClientRow) -> bool {
        let (_, plan) = self.plan_of(row);
        let name = u64::from(row.visit) << 1 | 1;
        plan.returns > 0.0 && self.streams.visit_end.uniform(u64::from(id.0), name) < plan.returns
    }

    /// Counts the end of a visit.
    pub(super) fn visit_ended(
        &mut self,
        now: SimTime,
        measured: bool,
        finished: bool,
        logged_in: bool,
        had_loss: bool,
    ) {
        let ledger = &mut self.recorder.ledger;
        if finished {
            ledger.visits_finished += 1;
        } else {
            ledger.visits_abandoned += 1;
        }
        if measured && let Some(counts) = self.recorder.at(now) {
            counts.finished += u64::from(finished);
            counts.abandoned += u64::from(!finished);
            counts.logged_in += u64::from(logged_in);
            counts.with_loss += u64::from(had_loss);
        }
    }

    /// The client does nothing for `gap`; its connection idles, and is closed if the gap is longer than it may idle.
    #[inline(always)]
    pub(super) fn client_waits<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: ClientId,
        gap: SimDuration,
        pending: &mut Scheduler<Q>,
    ) {
        let row = self.clients.row(id);
        if row.has_browser() {
            return self.browser_waits(now, id, gap, pending);
        }
        if let Some(connection) = row.connection() {
            let rules = &self.scenario.populations[row.population().index()].connection;
            if !self.keep_alive(now, connection, rules, Some(gap), pending) {
                self.clients.row_mut(id).set_connection(None);
            }
        }
        if gap != SimDuration::MAX {
            pending.at(now + gap, Event::ClientActs(id).word());
        }
    }
}

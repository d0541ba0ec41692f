//! The objects of a page: asked for once the page itself has come, over several connections at a time.

use super::Cluster;
use super::request::{Draw, Origin, Purpose, Request};
use crate::engine::queue::PendingEvents;
use crate::engine::{Scheduler, SimDuration, SimTime};
use crate::ids::{ClientId, ConnectionId, ServerId};
use crate::scenario::{Browser, OBJECTS_MAX, VisitPlan};
use crate::tier::Method;

impl Cluster<'_> {
    /// A click has been answered with its page. What comes next: its objects, an exchange that is held, or the next click.
    #[inline(always)]
    pub(super) fn page_loaded<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: ClientId,
        plan: &VisitPlan,
        request: &Request,
        pending: &mut Scheduler<Q>,
    ) {
        if plan.browser.is_none() {
            self.click_over(now, id, pending);
        } else {
            self.page_loaded_in_browser(now, id, plan, request, pending);
        }
    }

    #[inline(never)]
    fn page_loaded_in_browser<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: ClientId,
        plan: &VisitPlan,
        request: &Request,
        pending: &mut Scheduler<Q>,
    ) {
        match &plan.browser {
            Some(Browser { page: Some(page), .. }) => {
                let law = self.browser_samplers(id).objects.as_ref();
                let name = self.part_name(id, 0);
                let client = u64::from(id.0);
                let stream = self.streams.objects;
                let number = law.map_or(0.0, |law| law.sample(&stream, client, name));
                let number = number.min(f64::from(OBJECTS_MAX)) as u16;
                let dynamic = (1..=u64::from(number))
                    .filter(|object| stream.uniform(client, name | object) >= page.static_share)
                    .count() as u16;
                if let Some(counts) = self.recorder.at(now) {
                    counts.static_objects += u64::from(number - dynamic);
                }
                let slot = self.open_tab(id);
                let tab = self.tabs.get_mut(slot);
                (tab.objects_left, tab.objects_asked, tab.objects_in_flight) = (dynamic, 0, 0);
                self.rest_connection(now, id, request.connection, SimDuration::ZERO, pending);
                self.ask_for_objects(now, id, plan, pending);
            }
            Some(Browser { hold: Some(hold), .. }) => self.begin_hold(now, id, hold, request, pending),
            _ => self.click_over(now, id, pending),
        }
    }

    /// Asks for as many objects as the connections allow; ends the click when all have come.
    fn ask_for_objects<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: ClientId,
        plan: &VisitPlan,
        pending: &mut Scheduler<Q>,
    ) {
        let slot = self.open_tab(id);
        let rules = self.scenario.populations[self.clients.row(id).population().index()].connection;
        self.tabs.get_mut(slot).asking = true;
        while self.tabs.get(slot).objects_left > 0 {
            let name = self.part_name(id, u64::from(self.tabs.get(slot).objects_asked) + 1);
            let connection = self.connection_of_browser(now, id, (Method::Get, name), (plan, &rules), false);
            let Some(connection) = connection else { break };
            let tab = self.tabs.get_mut(slot);
            tab.objects_left -= 1;
            tab.objects_asked += 1;
            tab.objects_in_flight += 1;
            self.recorder.ledger.requests_issued += 1;
            let origin = Origin::Object(id);
            match connection {
                Ok(connection) => {
                    let demand = Draw { entity: u64::from(id.0), index: name, purpose: Purpose::Object };
                    let mut request = Request::new(now, origin, connection, Method::Get, None, demand);
                    request.gives_up_at = self.gives_up_at(now, id, name);
                    let cookie = plan.cookies.then_some(u64::from(id.0));
                    let sent = self.send_apart(now, request, cookie, pending);
                    self.watch(sent, pending);
                }
                Err(failure) => self.request_failed(now, origin, failure, pending),
            }
        }
        let tab = self.tabs.get_mut(slot);
        tab.asking = false;
        if tab.objects_left == 0 && tab.objects_in_flight == 0 {
            self.click_over(now, id, pending);
        }
    }

    /// An object has come.
    pub(super) fn object_answered<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: ClientId,
        connection: ConnectionId,
        pending: &mut Scheduler<Q>,
    ) {
        self.rest_connection(now, id, connection, SimDuration::ZERO, pending);
        self.object_over(now, id, pending);
    }

    /// An object has come or will not: the next one.
    pub(super) fn object_over<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: ClientId,
        pending: &mut Scheduler<Q>,
    ) {
        let slot = self.open_tab(id);
        let tab = self.tabs.get_mut(slot);
        tab.objects_in_flight -= 1;
        // One that fails while others are asked for is passed over there.
        if !tab.asking {
            let (_, plan) = self.plan_of(self.clients.row(id));
            self.ask_for_objects(now, id, plan, pending);
        }
    }

    /// Service demand of an object or a message: a multiple of the server's law.
    #[inline(never)]
    pub(super) fn part_demand(&self, draw: Draw, server: ServerId) -> SimDuration {
        let (_, plan) = self.plan_of(self.clients.row(ClientId(draw.entity as u32)));
        let browser = plan.browser.as_ref();
        let (stream, cost) = match draw.purpose {
            Purpose::Object => {
                (&self.streams.object_demand, browser.and_then(|it| it.page.as_ref()).map(|page| page.cost))
            }
            _ => {
                let hold = browser.and_then(|browser| browser.hold.as_ref());
                (&self.streams.message_demand, hold.map(|hold| hold.message_cost))
            }
        };
        let demand = self.samplers.demand[server].sample(stream, draw.entity, draw.index);
        SimDuration::from_secs_f64(demand * cost.unwrap_or(1.0))
    }
}

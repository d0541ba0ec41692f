//! What a browser has open beyond one connection with one request: several connections, the objects of a page, a held
//! exchange. Only clients whose plan needs it ([`crate::scenario::Browser`]) have a tab, and only while something is open.

use super::Cluster;
use super::event::Event;
use super::request::Origin;
use crate::engine::queue::PendingEvents;
use crate::engine::{Distribution, Sampler, Scheduler, SimDuration, SimTime, Stream};
use crate::ids::{ClientId, ConnectionId, ServerId};
use crate::metrics::recorder::Failure;
use crate::population::clients::Step;
use crate::population::curve::Curve;
use crate::scenario::{Backoff, Browser, CONNECTIONS_MAX, ConnectionRules, Population, VisitPlan};
use crate::tier::{FlowId, Method};

/// No connection.
const NONE: u32 = u32::MAX;

/// Shortest pause before a second or later try, so that clients that try again at once cannot stop the clock \[s\].
const PAUSE_MIN: f64 = 0.1;

/// The open part of a browser.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tab {
    /// Whose it is.
    pub client: ClientId,
    /// Its connections, [`NONE`] where there is none.
    connections: [u32; CONNECTIONS_MAX as usize],
    /// Objects of the page that have not been asked for.
    pub objects_left: u16,
    /// Objects of the page that have been.
    pub objects_asked: u16,
    /// Of these, those that have not ended.
    pub objects_in_flight: u16,
    /// Whether objects are being asked for just now.
    pub asking: bool,
    /// Tries of the current step that came to nothing.
    pub tries: u16,
    /// Messages sent in the held exchange.
    pub messages: u32,
    /// The held exchange.
    pub held: Option<Held>,
    /// When the held exchange ends; [`SimTime::NEVER`] before its first answer.
    pub held_until: SimTime,
    /// When the client acts next; other announcements of it are out of date.
    pub acts_at: SimTime,
    /// Announcements that are out of date and still pending.
    pub outdated: u32,
}

/// An exchange that a server holds open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    /// The server.
    pub server: ServerId,
    /// The instance that chose it.
    pub instance: u16,
    /// Its flow in a layer 7 instance.
    pub flow: FlowId,
    /// The connection that carries it; `None` once that is gone, which the client notices when it acts next.
    pub connection: Option<ConnectionId>,
}

impl Tab {
    /// Whether a server holds its exchange open.
    pub fn is_held_by(&self, server: ServerId) -> bool {
        self.held.is_some_and(|held| held.server == server)
    }

    fn new(client: ClientId) -> Self {
        Self {
            client,
            connections: [NONE; CONNECTIONS_MAX as usize],
            objects_left: 0,
            objects_asked: 0,
            objects_in_flight: 0,
            asking: false,
            tries: 0,
            messages: 0,
            held: None,
            held_until: SimTime::NEVER,
            acts_at: SimTime::NEVER,
            outdated: 0,
        }
    }

    /// The open connections, in the order of their places.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionId> + use<> {
        self.connections.into_iter().filter(|&slot| slot != NONE).map(ConnectionId)
    }

    fn add(&mut self, id: ConnectionId) {
        if let Some(place) = self.connections.iter_mut().find(|slot| **slot == NONE) {
            *place = id.0;
        }
    }

    /// Whether nothing is open and nothing remembered, so that the tab can be done without.
    fn is_empty(&self) -> bool {
        self.connections().next().is_none()
            && self.objects_left == 0
            && self.objects_in_flight == 0
            && self.tries == 0
            && self.held_until == SimTime::NEVER
            && self.outdated == 0
    }
}

/// The laws of a [`Browser`], made ready for drawing.
#[derive(Debug)]
pub(super) struct BrowserSamplers {
    pub objects: Option<Sampler>,
    pub timeout: Option<Sampler>,
    pub backoff: Option<Sampler>,
    pub hold: Option<Sampler>,
    pub messages: Option<Sampler>,
    pub reconnect: Option<Sampler>,
}

impl BrowserSamplers {
    pub fn new(browser: &Browser) -> Self {
        let (patience, hold) = (browser.patience.as_ref(), browser.hold.as_ref());
        Self {
            objects: browser.page.as_ref().map(|page| page.objects.sampler()),
            timeout: patience.and_then(|patience| patience.timeout.as_ref()).map(|law| law.sampler()),
            backoff: patience.map(|patience| patience.backoff.first.sampler()),
            hold: hold.map(|hold| hold.time.sampler()),
            messages: hold.and_then(|hold| hold.messages.as_ref()).map(|law| law.sampler()),
            reconnect: hold.map(|hold| hold.reconnect.first.sampler()),
        }
    }
}

/// How fast the time away passes: by the user's activity and the time of the day.
#[derive(Debug)]
pub(super) struct Pace {
    /// Law of the users' activity.
    pub activity: Sampler,
    /// The course of a day.
    pub day: Option<Curve>,
}

impl Pace {
    /// The pace of a population's users; `None` if all have the same at all times.
    pub fn of(population: &Population, warmup: SimDuration) -> Option<Self> {
        let day = population.traffic.visit().and_then(|visit| visit.diurnal.as_ref());
        let same = population.activity == Distribution::Constant(1.0) && day.is_none();
        (!same)
            .then(|| Self { activity: population.activity.sampler(), day: day.map(|day| day.curve(warmup)) })
    }

    /// How long an absence from `now` takes a client that one of mean activity would be away for `away` \[s\].
    pub fn absence(&self, now: SimTime, away: f64, client: ClientId, activity: &Stream) -> SimDuration {
        let work = away / self.activity.sample(activity, u64::from(client.0), 0);
        let Some(day) = &self.day else { return SimDuration::from_secs_f64(work) };
        let from = now.since(SimTime::ZERO).as_secs_f64();
        // A day always brings some activity.
        SimDuration::from_secs_f64(day.after(from, work).map_or(f64::MAX, |until| until - from))
    }
}

/// The pause before try `number`, from 1, of which `first` is drawn.
pub(super) fn pause(plan: &Backoff, first: f64, number: u16) -> SimDuration {
    let mut pause = first;
    for _ in 1..number {
        let longer = (pause * plan.factor).max(PAUSE_MIN).min(plan.max.as_secs_f64());
        if longer == pause {
            break;
        }
        pause = longer;
    }
    let floor = if number > 1 { PAUSE_MIN } else { 0.0 };
    SimDuration::from_secs_f64(pause.min(plan.max.as_secs_f64()).max(floor))
}

impl Cluster<'_> {
    /// The tab of a client, made if there is none.
    pub(super) fn open_tab(&mut self, id: ClientId) -> u32 {
        if let Some(slot) = self.clients.row(id).tab() {
            return slot;
        }
        let slot = self.tabs.insert(Tab::new(id));
        self.clients.row_mut(id).set_tab(Some(slot));
        slot
    }

    /// A client's try has come to something.
    #[inline(never)]
    pub(super) fn reset_tries(&mut self, id: ClientId) {
        let tab = self.open_tab(id);
        self.tabs.get_mut(tab).tries = 0;
    }

    /// Does without a tab that has nothing open.
    pub(super) fn close_empty_tab(&mut self, id: ClientId) {
        if let Some(slot) = self.clients.row(id).tab()
            && self.tabs.get(slot).is_empty()
        {
            self.tabs.remove(slot);
            self.clients.row_mut(id).set_tab(None);
        }
    }

    /// A browser's connection is gone.
    pub(super) fn forget_in_browser(&mut self, id: ClientId, connection: ConnectionId) {
        let Some(slot) = self.clients.row(id).tab() else { return };
        let tab = self.tabs.get_mut(slot);
        if let Some(place) = tab.connections.iter_mut().find(|slot| **slot == connection.0) {
            *place = NONE;
        }
        if let Some(held) = tab.held.as_mut().filter(|held| held.connection == Some(connection)) {
            held.connection = None;
        }
    }

    /// A connection for a request of a browser: an idle one, else a new one as long as it may have more, else one with room
    /// for another stream. `None` if there is none now; with `must`, the least loaded. `ask` is the request's method and
    /// name.
    ///
    /// # Errors
    /// The request fails with the connection.
    pub(super) fn connection_of_browser(
        &mut self,
        now: SimTime,
        id: ClientId,
        ask: (Method, u64),
        plan: (&VisitPlan, &ConnectionRules),
        must: bool,
    ) -> Option<Result<ConnectionId, Failure>> {
        let (method, name) = ask;
        let slot = self.open_tab(id);
        let page = plan.0.browser.as_ref().and_then(|browser| browser.page.as_ref());
        let (most, streams) = page.map_or((1, 1), |page| (usize::from(page.connections), page.streams));
        loop {
            let tab = self.tabs.get(slot);
            let open = tab.connections().count();
            let in_flight = |id: &ConnectionId| self.connections.get(id.0).in_flight;
            let least = tab.connections().min_by_key(in_flight);
            let room = least.is_some_and(|least| in_flight(&least) < streams);
            let idle = least.filter(|least| in_flight(least) == 0);
            let candidate = match idle {
                Some(idle) => Some(idle),
                None if open < most => None,
                None if room || must => least,
                None => return None,
            };
            let standing = self.standing_connection(now, id, candidate, name);
            match self.reuse_connection(now, standing, method) {
                Ok(Some(connection)) => return Some(Ok(connection)),
                Ok(None) if candidate.is_none() => break,
                reused => {
                    if let Some(gone) = candidate {
                        self.forget_in_browser(id, gone);
                    }
                    if let Err(failure) = reused {
                        return Some(Err(failure));
                    }
                }
            }
        }
        let source = self.clients.source(id, now, name);
        let worker = (u64::from(id.0), u64::from(self.clients.row(id).visit) << 16 | u64::from(source.port));
        let opened = self.open_connection(now, Origin::Client(id), source, worker, plan.1);
        if let Ok(connection) = opened {
            self.tabs.get_mut(slot).add(connection);
        }
        Some(opened)
    }

    /// After an answer on a browser's connection, while the page goes on: closes it if it is spent.
    pub(super) fn rest_connection<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: ClientId,
        connection: ConnectionId,
        gap: SimDuration,
        pending: &mut Scheduler<Q>,
    ) {
        let rules = self.scenario.populations[self.clients.row(id).population().index()].connection;
        if self.connections.get(connection.0).in_flight == 0
            && !self.keep_alive(now, connection, &rules, Some(gap), pending)
        {
            self.forget_in_browser(id, connection);
        }
    }

    /// A client with a browser acts next after `gap`; its connections idle meanwhile.
    #[inline(never)]
    pub(super) fn browser_waits<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: ClientId,
        gap: SimDuration,
        pending: &mut Scheduler<Q>,
    ) {
        if let Some(slot) = self.clients.row(id).tab() {
            for connection in self.tabs.get(slot).connections() {
                self.rest_connection(now, id, connection, gap, pending);
            }
        }
        self.close_empty_tab(id);
        self.announce(now, id, gap, pending);
    }

    /// Puts the next act of a client with a browser among the pending events, unless it has none of its own.
    pub(super) fn announce<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: ClientId,
        gap: SimDuration,
        pending: &mut Scheduler<Q>,
    ) {
        if gap == SimDuration::MAX {
            return;
        }
        let at = now + gap;
        if let Some(slot) = self.clients.row(id).tab() {
            let tab = self.tabs.get_mut(slot);
            if tab.acts_at == at {
                return;
            }
            tab.outdated += u32::from(tab.acts_at != SimTime::NEVER);
            tab.acts_at = at;
        }
        pending.at(at, Event::ClientActs(id).word());
    }

    /// A client with a browser is due. Returns whether it makes a request of its visit: not if the announcement is out of
    /// date, nor if the time belongs to the exchange that it holds.
    pub(super) fn browser_acts<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: ClientId,
        plan: &VisitPlan,
        pending: &mut Scheduler<Q>,
    ) -> bool {
        let Some(slot) = self.clients.row(id).tab() else { return true };
        let tab = self.tabs.get_mut(slot);
        if tab.acts_at != now {
            tab.outdated -= 1;
            self.close_empty_tab(id);
            return false;
        }
        tab.acts_at = SimTime::NEVER;
        let hold = plan.browser.as_ref().and_then(|browser| browser.hold.as_ref());
        let Some(hold) = hold.filter(|_| tab.held_until != SimTime::NEVER) else { return true };
        if now >= tab.held_until {
            self.end_hold(now, id, slot, hold);
            self.click_over(now, id, pending);
            return false;
        }
        if tab.held.is_some() {
            self.send_message(now, id, slot, hold, pending);
            return false;
        }
        self.recorder.reconnects(now);
        true
    }

    /// The name of the draws of the current step, for streams that name tries or parts of it.
    pub(super) fn part_name(&self, id: ClientId, part: u64) -> u64 {
        debug_assert!(self.clients.row(id).step != Step::Begin, "a visit goes on");
        self.step_name(id).index << 20 | part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_cap_and_later_ones_are_never_nothing() {
        let plan =
            Backoff { first: Distribution::Constant(1.0), factor: 2.0, max: SimDuration::from_secs(5) };
        let pauses: Vec<f64> = (1..=5).map(|number| pause(&plan, 1.0, number).as_secs_f64()).collect();
        assert_eq!(pauses, [1.0, 2.0, 4.0, 5.0, 5.0]);
        let at_once = Backoff { factor: 1.0, ..plan };
        assert_eq!(pause(&at_once, 0.0, 1), SimDuration::ZERO);
        assert_eq!(pause(&at_once, 0.0, 2), SimDuration::from_millis(100));
        assert_eq!(pause(&at_once, 0.0, u16::MAX), SimDuration::from_millis(100));
    }
}

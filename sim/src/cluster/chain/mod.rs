//! Requests through several proxies: each decides about each request, and about each of its own tries anew.
//!
//! A client's connection ends at the first proxy. For each try that opens a connection of its own to an instance of the next tier, from
//! its own address, through the directors that may stand in between, and sends the request. So a try of an outer proxy can cause several
//! of an inner one, whose answer, if it has none, is an error to the outer one, which may try again in its turn. To the rest of the
//! cluster all of them together behave as one instance does: a request opens a flow, tries at servers end, the flow waits or is over.
//!
//! nginx 1.22 opens a connection for each try (`ngx_http_upstream_connect`; `keepalive` of an upstream is off by default). HAProxy 2.6
//! would go on with an idle one (`http-reuse safe`), to the same instance that it has chosen: which matters to directors behind it alone.

use std::net::{IpAddr, Ipv4Addr};

mod ends;

use super::Cluster;
use super::overdue::{connect_timeout_of, read_timeout_of};
use super::paths::{Front, Hop, NO_HOP, Paths, Reach, open_at, tier_at};
use super::station::Station;
use crate::engine::queue::PendingEvents;
use crate::engine::{Scheduler, SimDuration, SimTime};
use crate::health::keepalived::Sight;
use crate::ids::{RequestId, ServerId};
use crate::metrics::recorder::Failure;
use crate::scenario::{Strategy, TIERS_MAX, TierPlan};
use crate::tier::flows::Flows;
use crate::tier::{
    Decision, FlowId, Instance, Layer, Open, Outcome, Page, Reason, Segment, Shown, Then, Ties,
};

/// Stands for a request that has been answered but stays open.
const HELD: RequestId = RequestId(u32::MAX);

/// The tiers that requests walk, and those that are under way.
#[derive(Debug)]
pub(super) struct Chain<'a> {
    relays: Flows<Relay<'a>>,
    /// The tiers, by place; what lies before the entry is of no meaning.
    links: [Link; TIERS_MAX],
    /// The place of the first.
    entry: usize,
    /// The place of the last proxy: the last tier, or what stands before the directors there.
    innermost: usize,
    /// Whether any of them looks at more of a request than its address.
    has_keys: bool,
    /// The instances that the last answer came through.
    pub answered_by: [u16; TIERS_MAX],
}

/// What is fixed of a tier.
#[derive(Clone, Copy, Debug)]
struct Link {
    is_proxy: bool,
    /// How long a proxy waits for an answer; `None` is for ever.
    read_timeout: Option<SimDuration>,
    connect_timeout: SimDuration,
}

/// A request on its way.
#[derive(Clone, Copy, Debug)]
struct Relay<'a> {
    request: RequestId,
    /// By place.
    stops: [Stop; TIERS_MAX],
    /// The place of the innermost proxy that has it.
    at: usize,
    /// Directors behind that through which its try has come.
    leg: usize,
    /// Whether that proxy waits for an instance that does not accept the connection.
    connecting: bool,
    /// Tries at servers so far.
    tries: u8,
    /// Flows opened so far, which name draws.
    opened: u16,
    /// The port that the client called, and the worker process of the entry that accepted its connection.
    called: u16,
    worker: u16,
    /// The visitor's number, if the request brings the site's cookie.
    visitor: Option<u64>,
    page: Page<'a>,
    agent: Option<&'a [u8]>,
}

/// A request at a tier.
#[derive(Clone, Copy, Debug)]
struct Stop {
    hop: Hop,
    /// The address and port of the connection that brings it there.
    peer: (IpAddr, u16),
    /// The client's address, as far as the tier knows.
    client: IpAddr,
    since: SimTime,
    /// When a proxy's try was sent.
    sent: SimTime,
    /// The server that the proxy's answer names in a cookie.
    cookie: Option<ServerId>,
}

const NO_STOP: Stop = Stop {
    hop: NO_HOP,
    peer: (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
    client: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    since: SimTime::ZERO,
    sent: SimTime::NEVER,
    cookie: None,
};

/// What happens next to a request.
enum Motion {
    /// It goes to an address of the tier behind the last one that it reached.
    On { target: u16 },
    /// The try of the innermost proxy that has it has ended.
    Back { outcome: Outcome },
    /// It stays for now, is at its server, or is over.
    Rest(Then),
}

impl<'a> Chain<'a> {
    pub fn new(strategy: &'a Strategy, entry: usize) -> Self {
        let none = Link { is_proxy: false, read_timeout: None, connect_timeout: SimDuration::ZERO };
        let mut links = [none; TIERS_MAX];
        let mut has_keys = false;
        let mut innermost = entry;
        for (place, TierPlan { program, keys, .. }) in strategy.programs() {
            let is_proxy = program.layer() == Layer::Request;
            has_keys |= keys.hash.is_some() || keys.stick.is_some() || !keys.persistence.is_empty();
            innermost = if is_proxy { place } else { innermost };
            let (read_timeout, connect_timeout) = (read_timeout_of(program), connect_timeout_of(program));
            links[place] = Link { is_proxy, read_timeout, connect_timeout };
        }
        Self { relays: Flows::default(), links, entry, innermost, has_keys, answered_by: [0; TIERS_MAX] }
    }

    /// Bytes of what is kept of requests.
    pub fn bytes(&self) -> usize {
        self.relays.bytes()
    }

    /// The proxy before a place.
    fn before(&self, place: usize) -> usize {
        (self.entry..place).rev().find(|&before| self.links[before].is_proxy).unwrap_or(self.entry)
    }

    /// The places of the proxies up to one.
    fn proxies_to(&self, place: usize) -> impl Iterator<Item = usize> {
        let links = self.links;
        (self.entry..=place).filter(move |&place| links[place].is_proxy)
    }

    /// The way of a request that is under way: the instance at a place, why it was sent on from there, and the address seen there.
    pub fn stop(&self, flow: FlowId, place: usize) -> Option<(Hop, IpAddr)> {
        let relay = self.relays.get(flow)?;
        let Stop { hop, client, .. } = relay.stops[place];
        Some((hop, client))
    }

    /// Those at an instance of a proxy.
    fn at(&self, place: usize, instance: u16) -> impl Iterator<Item = (FlowId, RequestId)> {
        let here = move |relay: &Relay<'_>| relay.at >= place && relay.stops[place].hop.instance == instance;
        let relays = self.relays.iter().filter(move |(_, relay)| here(relay));
        relays.map(|(flow, relay)| (flow, relay.request))
    }

    /// Requests that wait for an answer through an instance of a proxy.
    pub fn under_way_at(&self, place: usize, instance: u16) -> Vec<(FlowId, RequestId)> {
        self.at(place, instance).filter(|&(_, request)| request != HELD).collect()
    }

    /// Exchanges held through an instance of a proxy.
    pub fn held_at(&self, place: usize, instance: u16) -> impl Iterator<Item = FlowId> {
        self.at(place, instance).filter(|&(_, request)| request == HELD).map(|(flow, _)| flow)
    }

    /// Whether a request has come as far as the proxy at a place, where it is `own`.
    pub fn waits(&self, flow: FlowId, place: usize, own: FlowId) -> bool {
        self.relays.get(flow).is_some_and(|relay| relay.at == place && relay.stops[place].hop.flow == own)
    }

    /// Those at a tier now, with the time that they have been there \[ns\].
    pub fn present(&self, place: usize, now: SimTime) -> (u64, u128) {
        let here = self.relays.iter().filter(|(_, relay)| place <= relay.at + relay.leg);
        here.fold((0, 0), |(number, time), (_, relay)| {
            (number + 1, time + u128::from(now.since(relay.stops[place].since).0))
        })
    }

    /// The program that connects to the servers, directly or through directors.
    pub fn server_connect_timeout(&self) -> SimDuration {
        self.links[self.innermost].connect_timeout
    }

    /// The shortest time that a proxy waits for an answer.
    pub fn shortest_read_timeout(&self) -> Option<SimDuration> {
        self.links.iter().filter_map(|link| link.read_timeout).min()
    }

    /// The proxy at which each request that waits too long does so, and when the next one will have. `entered` says of a request
    /// since when its server has it, [`SimTime::NEVER`] if none has; `None` of one that may take as long as it likes.
    fn overdue(
        &self,
        now: SimTime,
        entered: impl Fn(RequestId) -> Option<SimTime>,
    ) -> (Vec<(FlowId, usize)>, SimTime) {
        let mut next = self.shortest_read_timeout().map_or(SimTime::NEVER, |timeout| now + timeout);
        let mut due = Vec::new();
        for (flow, relay) in self.relays.iter().filter(|(_, relay)| relay.request != HELD) {
            let Some(entered) = entered(relay.request) else { continue };
            for place in self.proxies_to(relay.at) {
                let sent = if place == relay.at { entered } else { relay.stops[place].sent };
                let Some(timeout) = self.links[place].read_timeout else { continue };
                if sent == SimTime::NEVER {
                    continue;
                }
                if sent + timeout <= now {
                    // The outermost has sent first.
                    due.push((flow, place));
                    break;
                }
                next = next.min(sent + timeout);
            }
        }
        (due, next)
    }
}

/// What the client of a proxy gets that has nobody to send a request to.
fn status_of_nobody(instance: &Instance) -> u16 {
    const BAD_GATEWAY: u16 = 502;
    const SERVICE_UNAVAILABLE: u16 = 503;
    if matches!(instance, Instance::Nginx(_)) { BAD_GATEWAY } else { SERVICE_UNAVAILABLE }
}

/// The chain, and what stands along it.
struct Parts<'p, 'a> {
    fronts: &'p mut [Front<'a>],
    reach: &'p mut [Reach],
    stations: &'p mut [Station],
    chain: &'p mut Chain<'a>,
}

impl<'p, 'a> Parts<'p, 'a> {
    /// To be called in runs that have a chain.
    fn of(paths: &'p mut Option<Box<Paths<'a>>>) -> Self {
        match paths.as_deref_mut() {
            Some(Paths { fronts, reach, stations, chain: Some(chain), .. }) => {
                Self { fronts, reach, stations, chain }
            }
            _ => unreachable!("there is a chain"),
        }
    }
}

impl<'a> Cluster<'a> {
    fn relay(&mut self, flow: FlowId) -> &mut Relay<'a> {
        self.chain_mut().relays.live(flow)
    }

    fn chain_mut(&mut self) -> &mut Chain<'a> {
        Parts::of(&mut self.paths).chain
    }

    fn chain_ref(&self) -> &Chain<'a> {
        self.paths.as_deref().and_then(|paths| paths.chain.as_ref()).expect("there is a chain")
    }

    /// Sends a request, whose row is `id`, through the proxies. `cookie` is the visitor's number, if it brings the site's cookie.
    pub(super) fn send_through_proxies<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: RequestId,
        cookie: Option<u64>,
        pending: &mut Scheduler<Q>,
    ) {
        let request = *self.requests.get(id.0);
        let connection = *self.connections.get(request.connection.0);
        let (page, agent) = match self.chain_ref().has_keys {
            true => self.asked(request.origin, request.demand, cookie),
            false => (Page::Home, None),
        };
        let Some(paths) = self.paths.as_deref() else { return };
        let (path, entry) = (*paths.path(request.connection), paths.entry);
        let mut stops = [NO_STOP; TIERS_MAX];
        stops[entry].hop.instance = connection.instance;
        (stops[entry].peer, stops[entry].client) =
            ((connection.address, connection.port), connection.address);
        let relay = Relay {
            request: id,
            stops,
            at: entry,
            leg: 0,
            connecting: false,
            tries: 0,
            opened: 0,
            called: path.called,
            worker: connection.worker,
            visitor: cookie,
            page,
            agent,
        };
        let flow = self.chain_mut().relays.insert(relay);
        self.requests.get_mut(id.0).flow = flow;
        let motion = self.arrive(now, flow, entry);
        let then = self.walk(now, flow, motion);
        self.go_on(now, id, then, Failure::NoServer, pending);
    }

    /// A try at a server has ended, in a run with a chain. As [`Instance::attempt_ended`].
    #[inline(never)]
    pub(super) fn attempt_ended_in_chain(&mut self, now: SimTime, flow: FlowId, outcome: Outcome) -> Then {
        if self.chain_ref().relays.get(flow).is_none() {
            return Then::Done { status: 499 };
        }
        self.walk(now, flow, Motion::Back { outcome })
    }

    /// The time is over that a request was to wait. As [`Instance::resume`].
    pub(super) fn resume_in_chain(&mut self, now: SimTime, flow: FlowId) -> Then {
        let relay = self.relay(flow);
        if std::mem::take(&mut relay.connecting) {
            return self.walk(now, flow, Motion::Back { outcome: Outcome::ConnectTimeout });
        }
        let (at, Hop { instance, flow: own, .. }) = (relay.at, relay.stops[relay.at].hop);
        let Parts { fronts, .. } = Parts::of(&mut self.paths);
        let last = &mut self.tier;
        let then = tier_at(fronts, last, at).instances[usize::from(instance)].resume(now, own);
        let motion = self.follow_then(now, flow, then);
        self.walk(now, flow, motion)
    }

    /// Whether a request waits in the queue of a proxy, and for how long it may.
    pub(super) fn queued_in_chain(&mut self, flow: FlowId) -> Option<Option<SimDuration>> {
        let relay = self.relay(flow);
        let (at, Hop { instance, flow: own, .. }) = (relay.at, relay.stops[relay.at].hop);
        let Parts { fronts, .. } = Parts::of(&mut self.paths);
        let last = &mut self.tier;
        match &tier_at(fronts, last, at).instances[usize::from(instance)] {
            Instance::HaProxy(haproxy) => haproxy.is_queued(own).then(|| haproxy.queue_timeout()),
            Instance::Nginx(_) | Instance::Lvs(_) | Instance::Proxy(_) => None,
        }
    }

    /// A request has left the queue of the innermost proxy that has it.
    fn leaves_queue_in_chain(&mut self, now: SimTime, flow: FlowId, decision: Decision) -> Then {
        let motion = match decision.server {
            Some(_) => self.send_on(flow, decision),
            None => self.follow_then(now, flow, Then::Done { status: 503 }),
        };
        self.walk(now, flow, motion)
    }

    /// Moves a request until it is at its server, waits, or is over.
    fn walk(&mut self, now: SimTime, flow: FlowId, mut motion: Motion) -> Then {
        loop {
            motion = match motion {
                Motion::Rest(then) => return then,
                Motion::On { target } => self.reach(now, flow, target),
                Motion::Back { outcome } => self.end_try(now, flow, outcome),
            };
        }
    }

    /// A proxy sends a request on, or lets it wait.
    fn send_on(&mut self, flow: FlowId, decision: Decision) -> Motion {
        let Some(ServerId(target)) = decision.server else { return Motion::Rest(Then::Retry(decision)) };
        let Parts { fronts, chain, .. } = Parts::of(&mut self.paths);
        let relay = chain.relays.live(flow);
        let at = relay.at;
        let stop = &mut relay.stops[at];
        (stop.hop.target, stop.hop.reason) = (target, decision.reason);
        let Some(front) = fronts.get_mut(at) else {
            relay.tries = relay.tries.saturating_add(1);
            return Motion::Rest(Then::Retry(Decision { attempt: relay.tries, ..decision }));
        };
        stop.sent = SimTime::NEVER;
        let peer = front.next_own(stop.hop.instance);
        let client = if front.hides { peer.0 } else { stop.client };
        (relay.stops[at + 1].peer, relay.stops[at + 1].client) = (peer, client);
        Motion::On { target }
    }

    /// A try goes to an address of the tier behind the last one that it has passed.
    fn reach(&mut self, now: SimTime, flow: FlowId, target: u16) -> Motion {
        let Parts { fronts, reach, chain, stations, .. } = Parts::of(&mut self.paths);
        let last = &mut self.tier;
        let relay = chain.relays.live(flow);
        let place = relay.at + relay.leg + 1;
        let is_last = place == fronts.len();
        let (proxy, link) = (relay.at, chain.links[place]);
        let tier = tier_at(fronts, last, place);
        let Some(instance) = reach[place].of(tier, now, target) else {
            if reach[place].sight(now, target) == Sight::Bad {
                return Motion::Back { outcome: Outcome::ConnectRefused };
            }
            relay.connecting = true;
            return Motion::Rest(Then::Wait(chain.links[proxy].connect_timeout));
        };
        let stop = &mut relay.stops[place];
        stop.hop.instance = instance;
        if link.is_proxy {
            // What brought it there is established.
            for way in proxy + 1..place {
                let Hop { instance, flow, .. } = relay.stops[way].hop;
                let tier = tier_at(fronts, last, way);
                tier.instances[usize::from(instance)].segment(now, flow, Segment::Established);
            }
            relay.stops[proxy].sent = now;
            return self.arrive(now, flow, place);
        }
        let mut key = [0; 2];
        let open = open_at(tier, stop.peer, relay.called, &mut key);
        let opened = tier.instances[usize::from(instance)].open(now, &open);
        let Some(server) = opened.decision.server else {
            // The kernel says that nobody listens there.
            return Motion::Back { outcome: Outcome::ConnectRefused };
        };
        stop.hop = Hop { instance, target: server.0, flow: opened.flow, reason: opened.decision.reason };
        stop.since = now;
        let (peer, client, first) = (stop.peer, stop.client, tier.first);
        relay.leg += 1;
        let then = if is_last {
            relay.tries = relay.tries.saturating_add(1);
            let id = relay.request;
            let attempt = relay.tries;
            let request = self.requests.get_mut(id.0);
            (request.instance, request.from) = (instance, peer.0);
            if self.servers.accepts_connections(server) {
                tier.instances[usize::from(instance)].segment(now, opened.flow, Segment::Established);
            }
            Motion::Rest(Then::Retry(Decision { attempt, ..opened.decision }))
        } else {
            let front = &mut fronts[place];
            let shown = front.shown(instance, peer);
            let next = &mut relay.stops[place + 1];
            // Only what a proxy has written into the request tells of the client.
            (next.peer, next.client) = (shown, if client == peer.0 { shown.0 } else { client });
            stations[place].enters(now);
            Motion::On { target: server.0 }
        };
        self.recorder.decided(now, first, instance);
        then
    }

    /// A request arrives at the instance of a proxy that its stop names.
    fn arrive(&mut self, now: SimTime, flow: FlowId, place: usize) -> Motion {
        let draws = self.streams;
        let Parts { fronts, reach, chain, stations, .. } = Parts::of(&mut self.paths);
        let last = &mut self.tier;
        let is_last = place == fronts.len();
        let entry = chain.entry;
        let relay = chain.relays.live(flow);
        relay.opened += 1;
        let Relay { request: id, visitor: cookie, page, agent, .. } = *relay;
        let request = self.requests.get_mut(id.0);
        let Stop { hop: Hop { instance, .. }, peer, client, .. } = relay.stops[place];
        let tier = tier_at(fronts, last, place);
        let worker = match tier.workers {
            _ if place == entry => relay.worker,
            0 | 1 => 0,
            workers => {
                let index =
                    request.demand.index.rotate_left(20) ^ u64::from(relay.opened) << 4 ^ place as u64;
                draws.inner_worker.below(workers.into(), request.demand.entity, index) as u16
            }
        };
        if tier.has_keys() {
            let visitor = super::shows::visitor(request.origin, cookie);
            let draws = &draws.request_values;
            let has_cookie = cookie.is_some();
            tier.evaluate_keys(&Shown { address: client, client: visitor, has_cookie, page, agent, draws });
        }
        // A browser that keeps no cookies has no number either.
        let jars = tier.cookies.as_ref().filter(|_| cookie.is_some());
        let named = jars.and_then(|jars| jars.server(now, request.origin));
        let key_text = &tier.key_text;
        let ties = Ties { cookie: named, sample: &key_text.stick, persistence: key_text.persistence };
        let (address, port, method) = (client, peer.1, request.method);
        let open = Open { address, port, key: &key_text.hash, method, worker, service: 0, ties };
        let opened = tier.instances[usize::from(instance)].open(now, &open);
        if is_last {
            (request.instance, request.from) = (instance, client);
        }
        let is_refused = opened.decision.server.is_none() && opened.decision.reason != Reason::Queued;
        if is_refused {
            let status = status_of_nobody(&tier.instances[usize::from(instance)]);
            if place == entry {
                chain.relays.remove(flow);
                return Motion::Rest(Then::Done { status });
            }
            relay.leg = place - relay.at - 1;
            return Motion::Back { outcome: Outcome::Status(status) };
        }
        (relay.at, relay.leg) = (place, 0);
        let stop = &mut relay.stops[place];
        (stop.hop.flow, stop.hop.reason, stop.since) = (opened.flow, opened.decision.reason, now);
        if opened.decision.server.is_none() {
            tier.waiting.note(instance, opened.flow, id);
        }
        tier.share(now, instance, |other| reach[place].alive[other].balancer);
        let first = tier.first;
        if !is_last {
            stations[place].enters(now);
        }
        self.recorder.decided(now, first, instance);
        self.send_on(flow, opened.decision)
    }

    /// The try of the innermost proxy that has a request ends.
    fn end_try(&mut self, now: SimTime, flow: FlowId, outcome: Outcome) -> Motion {
        let outcome = if self.close_leg(now, flow, outcome) { outcome } else { Outcome::Reset };
        let Parts { fronts, reach, chain, .. } = Parts::of(&mut self.paths);
        let last = &mut self.tier;
        let relay = chain.relays.live(flow);
        let at = relay.at;
        let Hop { instance, flow: own, .. } = relay.stops[at].hop;
        let tier = tier_at(fronts, last, at);
        if outcome == Outcome::Status(200) {
            relay.stops[at].cookie = tier.instances[usize::from(instance)].cookie_to_set(own);
            if tier.keys.stick.is_some() && relay.visitor.is_none() && relay.request != HELD {
                let origin = self.requests.get(relay.request.0).origin;
                tier.show_answer(now, instance, own, origin);
            }
        }
        let proxy = &mut tier.instances[usize::from(instance)];
        let then = proxy.attempt_ended(now, own, outcome);
        if let Instance::Proxy(proxy) = proxy
            && let refused @ 1.. = proxy.take_refused_retries()
            && let Some(counts) = self.recorder.at(now)
        {
            counts.retries_refused += refused;
        }
        tier.share(now, instance, |other| reach[at].alive[other].balancer);
        self.follow_then(now, flow, then)
    }

    /// Does what the innermost proxy that has a request says.
    fn follow_then(&mut self, now: SimTime, flow: FlowId, then: Then) -> Motion {
        let relay = self.relay(flow);
        let (at, Hop { instance, flow: own, .. }) = (relay.at, relay.stops[relay.at].hop);
        match then {
            Then::Retry(decision) => {
                if decision.server.is_none() {
                    let id = relay.request;
                    let Parts { fronts, .. } = Parts::of(&mut self.paths);
                    let last = &mut self.tier;
                    tier_at(fronts, last, at).waiting.note(instance, own, id);
                }
                self.send_on(flow, decision)
            }
            Then::Wait(time) => Motion::Rest(Then::Wait(time)),
            Then::Done { status } => {
                self.leave_stop(now, flow, at);
                let chain = self.chain_mut();
                if at == chain.entry {
                    self.client_has_answer(now, flow, status);
                    return Motion::Rest(Then::Done { status });
                }
                let before = chain.before(at);
                let relay = chain.relays.live(flow);
                (relay.at, relay.leg) = (before, at - before - 1);
                Motion::Back { outcome: Outcome::Status(status) }
            }
        }
    }

    /// A request is over: its client has an answer, with the cookies of all proxies if it is one of the site's.
    fn client_has_answer(&mut self, now: SimTime, flow: FlowId, status: u16) {
        let relay = *self.relay(flow);
        let chain = self.chain_mut();
        chain.answered_by = relay.stops.map(|stop| stop.hop.instance);
        chain.relays.remove(flow);
        if status == 200 && relay.request != HELD {
            self.set_cookies(now, &relay);
        }
    }

    fn set_cookies(&mut self, now: SimTime, relay: &Relay<'a>) {
        let origin = self.requests.get(relay.request.0).origin;
        let Parts { fronts, .. } = Parts::of(&mut self.paths);
        let last = &mut self.tier;
        for (place, stop) in relay.stops.iter().enumerate() {
            if let Some(server) = stop.cookie
                && let Some(jars) = &mut tier_at(fronts, last, place).cookies
            {
                jars.set(now, origin, server);
            }
        }
    }
}

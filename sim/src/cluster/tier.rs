//! One tier of a run: its instances, and what the cluster has to know of them.

use super::Streams;
use std::net::IpAddr;

use super::address::AddressTie;
use super::cookies::CookieJars;
use super::queue::Waiting;
use super::shows::KeyText;
use super::watch::Watch;
use crate::engine::{SimDuration, SimTime};
use crate::health::{Standing, Verdict};
use crate::ids::ServerId;
use crate::scenario::{Keys, Program, Scenario, TierPlan};
use crate::tier::haproxy::StickUpdates;
use crate::tier::lvs::{Forwarding, TemplateScope};
use crate::tier::proxy::ProxyDraws;
use crate::tier::{CookieLife, Haproxy, Instance, KernelClock, Lvs, Nginx, Proxy, Reason};

/// One tier of a strategy.
#[derive(Debug)]
pub(super) struct Tier<'a> {
    pub instances: Vec<Instance>,
    /// Where they begin among those of all tiers, front to back.
    pub first: u32,
    /// Requests in the instances' queues.
    pub waiting: Waiting,
    /// Whether its instances remember clients.
    pub remembers: bool,
    /// What of a client's address ties it to a server, if anything does.
    pub address_tie: Option<AddressTie>,
    /// Worker processes of each instance.
    pub workers: u16,
    /// What it is given of a request, beside the address.
    pub keys: &'a Keys,
    /// The text of these keys for the request that arrives now.
    pub key_text: KeyText,
    /// The cookies that it gave to browsers, if it gives any.
    pub cookies: Option<CookieJars>,
    /// The ports that clients call.
    ports: Vec<u16>,
    /// Whether one virtual service answers at all of them.
    one_service: bool,
    /// What a stick table has learnt, on its way to the other instances; `None` without `peers`. Empty between inputs.
    pub learnt: Option<StickUpdates>,
    /// Whether the servers' packets pass by its directors.
    pub one_way: bool,
    /// Weights with which servers are added to the table.
    pub weights: Vec<u32>,
    /// Who checks the servers: one for each director, one for all proxies; empty without active checks.
    pub watches: Vec<Watch>,
    /// What instances that have died held of their servers' health, each with its number.
    past: Vec<(u16, Verdict)>,
}

impl<'a> Tier<'a> {
    /// A tier in front of servers, or of instances that are as servers to it. `number` counts tiers from the back.
    pub fn new(plan: &'a TierPlan, number: u64, scenario: &Scenario, streams: &Streams) -> Self {
        let ports = scenario.ports();
        let mut instances: Vec<_> = (0..plan.instances.len() as u16)
            .map(|place| build_instance(plan, number, place, ports.len(), streams))
            .collect();
        if plan.peers {
            instances.iter_mut().for_each(start_peers);
        }
        let (remembers, workers, weights): (_, _, Vec<u32>) = match &plan.program {
            Program::Nginx(config) => (config.cookies().is_some(), config.workers, Vec::new()),
            Program::Lvs(config) => {
                let service = &config.services[0];
                let weights = service.servers.iter().map(|server| server.weight).collect();
                (service.persistence_timeout.is_some(), 1, weights)
            }
            Program::HaProxy(config) => (config.cookie.is_some() || config.stick.is_some(), 1, Vec::new()),
            Program::Proxy(config) => {
                let weights = config.servers.iter().map(|server| server.weight).collect();
                (config.cookie.is_some(), 1, weights)
            }
        };
        let watches = Watch::of(plan, &weights);
        let mut tier = Self {
            waiting: Waiting::new(&instances),
            instances,
            first: 0,
            remembers,
            address_tie: AddressTie::of(plan),
            workers,
            keys: &plan.keys,
            key_text: KeyText::default(),
            ports,
            one_service: matches!(
                &plan.program,
                Program::Lvs(config) if config.services[0].template_scope != TemplateScope::Port
            ),
            cookies: None,
            learnt: plan.peers.then(StickUpdates::default),
            one_way: matches!(&plan.program, Program::Lvs(config) if config.forwarding != Forwarding::Nat),
            weights,
            watches,
            past: Vec::new(),
        };
        (0..tier.watches.len()).for_each(|watch| tier.carry_out(SimTime::ZERO, watch, |_| false));
        tier
    }

    /// An instance comes back and knows nothing. `number` counts tiers from the back.
    pub fn restart(&mut self, now: SimTime, plan: &TierPlan, number: u64, instance: u16, streams: &Streams) {
        let place = usize::from(instance);
        for verdict in self.instances[place].take_verdicts() {
            self.past.push((instance, verdict));
            if verdict.standing != Standing::In {
                self.past.push((instance, Verdict { at: now, standing: Standing::In, ..verdict }));
            }
        }
        self.instances[place] = build_instance(plan, number, instance, self.ports.len(), streams);
        // The prober of several proxies lives on, and tells it what it knows.
        for server in (0..self.weights.len()).map(ServerId::from_index) {
            if !self.lists(place, server) {
                self.instances[place].remove_server(now, server);
            }
        }
        if plan.peers {
            start_peers(&mut self.instances[place]);
        }
    }

    /// How many check the servers, each for itself.
    pub fn checkers(&self) -> usize {
        match self.instances[0] {
            Instance::HaProxy(_) => self.instances.len(),
            Instance::Nginx(_) | Instance::Lvs(_) | Instance::Proxy(_) => self.watches.len(),
        }
    }

    /// What its instances have held of their servers' health, each with its number; of one instance in order.
    pub fn take_verdicts(&mut self) -> Vec<(u16, Verdict)> {
        let mut all = std::mem::take(&mut self.past);
        for (number, instance) in (0..).zip(&mut self.instances) {
            all.extend(instance.take_verdicts().into_iter().map(|verdict| (number, verdict)));
        }
        // What the prober of several proxies finds, their own verdicts show.
        if matches!(self.instances[0], Instance::Lvs(_)) {
            for (number, watch) in (0..).zip(&mut self.watches) {
                all.extend(watch.verdicts.drain(..).map(|verdict| (number, verdict)));
            }
        }
        all
    }

    /// What an instance has learnt of clients goes to the others that are alive.
    pub fn share(&mut self, now: SimTime, from: u16, is_up: impl Fn(usize) -> bool) {
        let Some(learnt) = &mut self.learnt else { return };
        if let Instance::HaProxy(haproxy) = &mut self.instances[usize::from(from)] {
            haproxy.push_updates(learnt);
        }
        if learnt.is_empty() {
            return;
        }
        for (place, instance) in self.instances.iter_mut().enumerate() {
            if let Instance::HaProxy(haproxy) = instance
                && place != usize::from(from)
                && is_up(place)
            {
                haproxy.learn(now, learnt);
            }
        }
        learnt.clear();
    }

    /// An instance that comes back asks another that is alive for all that it knows.
    pub fn learn_from(&mut self, now: SimTime, instance: u16, other: usize) {
        let Some(learnt) = &mut self.learnt else { return };
        if let Instance::HaProxy(haproxy) = &mut self.instances[other] {
            haproxy.teach(now, learnt);
        }
        if let Instance::HaProxy(haproxy) = &mut self.instances[usize::from(instance)] {
            haproxy.learn(now, learnt);
        }
        learnt.clear();
    }

    /// Whether a request leaves `home` because it comes from another address than the last one that reached home did (`way`: that
    /// one's and its own): the balancer hashes addresses; or it remembers them, and still remembers that one, with home. If it has
    /// forgotten that one as well, the user would have left anyway.
    pub fn lost_by_address(
        &mut self,
        now: SimTime,
        instance: u16,
        way: (IpAddr, IpAddr),
        home: ServerId,
        reason: Reason,
    ) -> bool {
        let (before, here) = way;
        let Some(tie) = self.address_tie else { return false };
        if tie.is_same(before, here) {
            return false;
        }
        let remembered = match &mut self.instances[usize::from(instance)] {
            Instance::Lvs(lvs) => lvs.template_of(now, 0, before).map(|template| template.server),
            Instance::HaProxy(haproxy) => haproxy.remembered(now, before),
            Instance::Nginx(_) | Instance::Proxy(_) => None,
        };
        let hashed = matches!(reason, Reason::Hashed | Reason::Rehashed(_));
        remembered == Some(home) || hashed && !self.remembers
    }

    /// The virtual service of a director that answers at a port, and the port where the service does not say it.
    #[inline]
    pub fn service_of(&self, port: u16) -> (u16, Option<[u8; 2]>) {
        if self.ports.len() == 1 {
            return (0, None);
        }
        let place = self.ports.iter().position(|&known| known == port).unwrap_or(0) as u16;
        if self.one_service { (0, Some(port.to_be_bytes())) } else { (place, None) }
    }
}

impl TierPlan {
    /// How long the cookies that it gives to browsers are good; `None` if it gives none.
    pub(super) fn cookies(&self) -> Option<CookieLife> {
        match &self.program {
            Program::Nginx(config) => config.cookies(),
            Program::HaProxy(config) => config.cookie.map(|_| config.cookie_life),
            Program::Proxy(config) => config.cookie,
            Program::Lvs(_) => None,
        }
    }
}

fn start_peers(instance: &mut Instance) {
    if let Instance::HaProxy(haproxy) = instance {
        haproxy.start_peers();
    }
}

/// One of the instances of the tier whose place is `tier`.
fn build_instance(plan: &TierPlan, tier: u64, number: u16, ports: usize, streams: &Streams) -> Instance {
    let clock = &streams.clock;
    let name = tier << 32 | u64::from(number);
    match &plan.program {
        Program::Nginx(config) => {
            let mut config = config.clone();
            config.clock_phase = SimDuration(clock.below(1_000_000_000, tier, 2 * u64::from(number)));
            config.draws = streams.balancer;
            config.instance = name;
            Instance::Nginx(Nginx::new(config))
        }
        Program::Lvs(config) => {
            let mut config = config.clone();
            let tick = 1_000_000_000 / u64::from(config.clock.hz);
            config.clock = KernelClock {
                hz: config.clock.hz,
                jiffies_at_zero: clock.below(1 << 32, tier, 2 * u64::from(number)),
                tick_phase: SimDuration(clock.below(tick, tier, 2 * u64::from(number) + 1)),
            };
            // A service for each port, unless one answers at all of them.
            if config.services[0].template_scope == TemplateScope::Port {
                config.services = vec![config.services[0].clone(); ports];
            }
            for service in &mut config.services {
                service.scheduler.set_draws(streams.balancer, name);
            }
            Instance::Lvs(Lvs::new(config))
        }
        Program::HaProxy(config) => {
            let mut config = config.clone();
            config.clock_phase = SimDuration(clock.below(1_000_000, tier, 2 * u64::from(number)));
            Instance::HaProxy(Haproxy::new(config))
        }
        Program::Proxy(config) => {
            let mut config = config.clone();
            if let Some(rule) = config.outlier_detection {
                let phase = clock.below(rule.interval.0.max(1), tier, 2 * u64::from(number));
                config.clock_phase = SimDuration(phase);
            }
            config.subset.take(&mut config.servers, tier, number, &streams.subset);
            Instance::Proxy(Proxy::new(config, ProxyDraws { stream: streams.balancer, entity: name }))
        }
    }
}

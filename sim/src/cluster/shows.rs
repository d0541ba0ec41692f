//! What a request shows to a layer 7 instance, and the keys that are made of it.

use std::net::IpAddr;

use super::Cluster;
use super::log_source::LogReplay;
use super::open_loop::Source;
use super::request::{Draw, Origin, Request};
use super::tier::Tier;
use crate::engine::SimTime;
use crate::ids::ClientId;
use crate::population::clients::Step;
use crate::population::replay::LoggedPath;
use crate::tier::{FlowId, Instance, Page, Persistence, Shown, push_client_number};

/// The text of a tier's keys for the request that arrives now.
#[derive(Debug, Default)]
pub(super) struct KeyText {
    /// What its method hashes.
    pub hash: Vec<u8>,
    /// What its stick table remembers.
    pub stick: Vec<u8>,
    /// The path, where ties depend on it.
    path: Vec<u8>,
    /// How ties count.
    pub persistence: Persistence,
}

impl Tier<'_> {
    /// Whether it looks at more of a request than its address.
    #[inline(always)]
    pub fn has_keys(&self) -> bool {
        self.keys.hash.is_some() || self.keys.stick.is_some() || !self.keys.persistence.is_empty()
    }

    /// Makes the text of its keys for a request.
    pub fn evaluate_keys(&mut self, shown: &Shown<'_>) {
        for (key, text) in
            [(&self.keys.hash, &mut self.key_text.hash), (&self.keys.stick, &mut self.key_text.stick)]
        {
            text.clear();
            if let Some(key) = key {
                key.evaluate(shown, text);
            }
        }
        if !self.keys.persistence.is_empty() {
            self.key_text.path.clear();
            shown.push_path(&mut self.key_text.path);
            self.key_text.persistence = self.keys.persistence.of(&self.key_text.path);
        }
    }

    /// Shows an instance that an answer to `origin` sets the site's cookie.
    pub fn show_answer(&mut self, now: SimTime, instance: u16, flow: FlowId, origin: Origin) {
        if let Instance::HaProxy(haproxy) = &mut self.instances[usize::from(instance)] {
            self.key_text.stick.clear();
            push_client_number(visitor(origin, None), &mut self.key_text.stick);
            haproxy.answer_sample(now, flow, &self.key_text.stick);
        }
    }
}

impl<'a> Cluster<'a> {
    /// Evaluates the tier's keys for a request, if it has any. `cookie` is the visitor's number if the request brings the
    /// site's cookie.
    #[inline(always)]
    pub(super) fn write_keys(&mut self, origin: Origin, draw: Draw, address: IpAddr, cookie: Option<u64>) {
        if self.tier.has_keys() {
            self.write_present_keys(origin, draw, address, cookie);
        }
    }

    #[inline(never)]
    fn write_present_keys(&mut self, origin: Origin, draw: Draw, address: IpAddr, cookie: Option<u64>) {
        let (page, agent) = self.asked(origin, draw, cookie);
        let shown = Shown {
            address,
            client: visitor(origin, cookie),
            has_cookie: cookie.is_some(),
            page,
            agent,
            draws: &self.streams.request_values,
        };
        self.tier.evaluate_keys(&shown);
    }

    /// What a request that is sent now asks for, and its sender's agent where that is known.
    pub(super) fn asked(
        &self,
        origin: Origin,
        draw: Draw,
        cookie: Option<u64>,
    ) -> (Page<'a>, Option<&'a [u8]>) {
        match origin {
            Origin::Log { source, .. } => self.logged_page(source),
            _ => (self.page(origin, draw, cookie), None),
        }
    }

    /// Shows the instance what an answer holds for its stick rules: the site's cookie, if it sets that.
    #[inline(always)]
    pub(super) fn show_answer(&mut self, now: SimTime, request: &Request) {
        if self.tier.keys.stick.is_some() && !request.has_cookie {
            self.show_answer_to_stick_rules(now, request);
        }
    }

    #[inline(never)]
    fn show_answer_to_stick_rules(&mut self, now: SimTime, request: &Request) {
        self.tier.show_answer(now, request.instance, request.flow, request.origin);
    }

    /// The target and the agent of the request of a log that is sent now.
    fn logged_page(&self, source: u16) -> (Page<'a>, Option<&'a [u8]>) {
        let Source::Log(LogReplay { log, current: Some(record), .. }) = &self.sources[usize::from(source)]
        else {
            return (Page::Home, None);
        };
        let page = match log.path(record) {
            LoggedPath::Text(target) => Page::Logged(target),
            LoggedPath::Hash(hash) => Page::Hashed(hash),
            LoggedPath::None => Page::Home,
        };
        let agent = &log.agents()[log.clients()[record.client as usize].agent as usize];
        (page, Some(agent))
    }

    /// The page that a request asks for. A click's is named as its demand is, so it is the same under every strategy.
    fn page(&self, origin: Origin, draw: Draw, cookie: Option<u64>) -> Page<'a> {
        let client = match origin {
            Origin::Client(client) if self.clients.row(client).step != Step::Click => return Page::Login,
            Origin::Client(client) | Origin::Object(client) => client,
            // Arrivals bring the number of the client that was drawn.
            Origin::Arrival => ClientId(cookie.unwrap_or_default() as u32),
            Origin::Message(_) | Origin::Gone | Origin::Check | Origin::Log { .. } | Origin::Script(_) => {
                return Page::Home;
            }
        };
        let pages = &self.samplers.visits[self.clients.row(client).population()].pages;
        match pages.sample(&self.streams.pages, draw.entity, draw.index << 3 | draw.purpose as u64) {
            0 => Page::Home,
            rank => Page::Ranked(rank),
        }
    }
}

/// A number of its own for every visitor.
pub(super) fn visitor(origin: Origin, cookie: Option<u64>) -> u64 {
    match origin {
        Origin::Client(client) | Origin::Object(client) | Origin::Message(client) => client.0.into(),
        Origin::Arrival | Origin::Gone | Origin::Check => cookie.unwrap_or_default(),
        Origin::Log { source, user } => 1 << 63 | u64::from(source) << 32 | u64::from(user),
        Origin::Script(connection) => 1 << 62 | u64::from(connection),
    }
}

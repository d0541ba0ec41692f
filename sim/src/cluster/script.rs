//! Clients that follow a script, and the trace of what became of each of their connections.

use std::fmt::Write as _;

use serde::Serialize;

use super::Cluster;
use super::evidence;
use super::request::{Draw, Origin, Purpose, Request};
use crate::engine::queue::PendingEvents;
use crate::engine::{Scheduler, SimDuration, SimTime};
use crate::ids::{ConnectionId, ServerId};
use crate::metrics::recorder::Failure;
use crate::population::Source;
use crate::scenario::{ClosedBy, ConnectionRules, HTTP, ScriptedClient};
use crate::tier::{Instance, Method, Reason};

/// A step of a scripted client.
#[derive(Clone, Debug, Serialize)]
pub struct TraceLine {
    /// When, from the end of the warm-up \[s\].
    pub at_s: f64,
    /// Which client.
    pub client: String,
    /// What it did: `open`, `close`.
    pub event: String,
    /// The server, or `none`.
    pub server: String,
    /// Why the connection went there, in a few words.
    pub reason: String,
    /// What the balancer knew at that time: the template's remaining time, active and inactive connections per server.
    pub state: String,
}

/// The scripted clients of a run.
#[derive(Debug, Default)]
pub(super) struct Script<'a> {
    /// Their steps, in order of time; each connection opens at one and closes at another.
    pub steps: Vec<Step<'a>>,
    /// By scripted connection: the connection while it is open.
    connections: Vec<Option<ConnectionId>>,
    /// By scripted connection: the step that closes it, while that waits for an answer.
    overdue: Vec<Option<Step<'a>>>,
    /// What happened.
    pub trace: Vec<TraceLine>,
}

/// One step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step<'a> {
    /// When, from the end of the warm-up.
    pub at: SimDuration,
    /// The scripted connection.
    pub connection: u32,
    /// Whether it opens it, else closes it.
    pub opens: bool,
    client: &'a ScriptedClient,
    port: u16,
}

impl<'a> Script<'a> {
    /// The script of the clients that exist in a strategy.
    pub(super) fn new(clients: &'a [ScriptedClient], strategy: usize) -> Self {
        let mut steps = Vec::new();
        let mut connection = 0;
        let here =
            clients.iter().filter(|c| c.strategies.as_ref().is_none_or(|only| only.contains(&strategy)));
        for client in here {
            for (number, scripted) in client.connections.iter().enumerate() {
                let step = Step {
                    at: scripted.at,
                    connection,
                    opens: true,
                    client,
                    port: 32_768 + (number % 28_232) as u16,
                };
                steps.push(step);
                steps.push(Step { at: scripted.at + scripted.hold, opens: false, ..step });
                connection += 1;
            }
        }
        steps.sort_by_key(|step| (step.at, step.opens));
        Self {
            steps,
            connections: vec![None; connection as usize],
            overdue: vec![None; connection as usize],
            trace: Vec::new(),
        }
    }
}

/// A scripted connection stays open until its client closes it.
const HELD: ConnectionRules = ConnectionRules {
    keepalive_timeout: SimDuration::MAX,
    keepalive_requests: u32::MAX,
    closed_by: ClosedBy::Client,
    port: HTTP,
};

impl<'a> Cluster<'a> {
    pub(super) fn script_step<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        index: u32,
        pending: &mut Scheduler<Q>,
    ) {
        let step = self.script.steps[index as usize];
        if step.opens {
            self.open_scripted(now, step, pending);
        } else {
            self.close_scripted(now, step);
        }
    }

    /// A scripted client closes its connection, or will when its answer has come.
    fn close_scripted(&mut self, now: SimTime, step: Step<'a>) {
        let Some(connection) = self.script.connections[step.connection as usize] else { return };
        let row = *self.connections.get(connection.0);
        if !row.open || row.owner != Origin::Script(step.connection) {
            return;
        }
        if row.in_flight > 0 {
            self.script.overdue[step.connection as usize] = Some(step);
            return;
        }
        self.close_connection(now, connection);
        let state = self.balancer_state(now, step.client);
        let server = self.scenario.servers[row.server.index()].name.clone();
        self.trace(now, &step, "close", server, "the client closes".to_owned(), state);
    }

    /// The request of a scripted connection has ended.
    pub(super) fn script_answered(&mut self, now: SimTime, connection: u32) {
        if let Some(step) = self.script.overdue[connection as usize].take() {
            self.close_scripted(now, step);
        }
    }

    fn open_scripted<Q: PendingEvents>(&mut self, now: SimTime, step: Step<'a>, pending: &mut Scheduler<Q>) {
        let state = self.balancer_state(now, step.client);
        let remembered = self.remembered(now, step.client);
        let origin = Origin::Script(step.connection);
        let source = Source::of(step.client.address, step.port);
        let name = (1 << 41 | u64::from(step.connection), 0);
        self.recorder.ledger.requests_issued += 1;
        match self.open_connection(now, origin, source, name, &HELD) {
            Ok(connection) => {
                self.script.connections[step.connection as usize] = Some(connection);
                let demand = Draw { entity: name.0, index: 0, purpose: Purpose::Arrival };
                let request = Request::new(now, origin, connection, Method::Get, None, demand);
                let id = self.send_apart(now, request, None, pending);
                let request = *self.requests.get(id.0);
                self.connections.get_mut(connection.0).server = request.server;
                let reason = self.trace_reason(request.reason, remembered);
                let server = if request.in_server {
                    &self.scenario.servers[request.server.index()].name
                } else {
                    "none"
                };
                self.trace(now, &step, "open", server.to_owned(), reason, state);
            }
            Err(failure) => {
                let reason = match failure {
                    Failure::Refused => "the server refused the connection",
                    _ => "no server may be used",
                };
                self.trace(now, &step, "open", "none".to_owned(), reason.to_owned(), state);
                self.request_failed(now, origin, failure, pending);
            }
        }
    }

    /// The director that has the address of a pair now, else the first instance.
    fn director_now(&mut self, now: SimTime) -> u16 {
        let paths = self.paths.as_deref_mut();
        paths.and_then(|paths| paths.reach.last_mut()?.at(now, 0)).unwrap_or(0)
    }

    /// Whether the director remembers a client; `None` when it has no memory of clients.
    fn remembered(&mut self, now: SimTime, client: &ScriptedClient) -> Option<bool> {
        let remembers = self.tier.remembers;
        let instance = self.director_now(now);
        match self.instance(instance) {
            Instance::Lvs(lvs) if remembers => Some(lvs.template_of(now, 0, client.address).is_some()),
            Instance::Lvs(_) | Instance::Nginx(_) | Instance::HaProxy(_) | Instance::Proxy(_) => None,
        }
    }

    fn trace_reason(&self, reason: Reason, remembered: Option<bool>) -> String {
        let words = evidence::in_words(reason);
        match (reason, remembered) {
            (Reason::Scheduled { .. }, Some(false)) => format!("no template; {words}"),
            (Reason::Scheduled { .. }, None) => format!("no persistence; {words}"),
            _ => words.to_owned(),
        }
    }

    /// What the balancer knows now.
    fn balancer_state(&mut self, now: SimTime, client: &ScriptedClient) -> String {
        let servers = &self.scenario.servers;
        let remembers = self.tier.remembers;
        let instance = self.director_now(now);
        let Instance::Lvs(lvs) = self.instance(instance) else { return String::new() };
        let mut text = String::new();
        if remembers {
            match lvs.template_of(now, 0, client.address) {
                Some(template) => {
                    let name = &servers[template.server.index()].name;
                    let left = template.left.as_secs_f64();
                    let _ = write!(text, "template to {name}, {left:.0} s left");
                }
                None => text.push_str("no template"),
            }
        }
        for (index, server) in servers.iter().enumerate() {
            let (active, inactive) = lvs.server_counters(now, 0, ServerId::from_index(index));
            let separator = if text.is_empty() { "" } else { "; " };
            let _ = write!(text, "{separator}{}: {active} active, {inactive} inactive", server.name);
        }
        text
    }

    fn trace(
        &mut self,
        now: SimTime,
        step: &Step<'_>,
        event: &str,
        server: String,
        reason: String,
        state: String,
    ) {
        let measured_from = self.recorder.calendar().measured_from;
        self.script.trace.push(TraceLine {
            at_s: now.since(measured_from).as_secs_f64(),
            client: step.client.name.clone(),
            event: event.to_owned(),
            server,
            reason,
            state,
        });
    }
}

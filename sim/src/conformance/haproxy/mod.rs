//! Replays recordings of HAProxy through [`crate::tier::Haproxy`].
//!
//! A request is compared when it has ended: who answered, with which status, and, where that was recorded, who was tried and
//! how many retries there were. How a try ends is told by the state of its server at that time. A request that is held
//! ends at its `close` row; others end before the next row, retries and their waits included, except in cases with health
//! checks, where requests overlap and waits last as long as HAProxy says. Checks take place when they were recorded, and
//! what HAProxy logged of a server's state is compared too, as is each start of a request that was queued.

mod directives;
mod manifest;
mod recording;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use super::{Case, CaseError, CaseOutcome, Difference, Tally};
use crate::engine::SimTime;
use crate::ids::ServerId;
use crate::tier::{Decision, FlowId, Haproxy, Method, Open, Outcome, Reason, Then, Ties};
use directives::Configuration;
use manifest::Manifest;
use recording::{Event, Mode, Request, Row, Weight};

/// What the client gets for want of a server.
const SERVICE_UNAVAILABLE: u16 = 503;

/// Replays one recording of HAProxy.
pub fn replay(case: &Case) -> CaseOutcome {
    match try_replay(case) {
        Ok(outcome) => outcome,
        Err(error) => error.into(),
    }
}

fn try_replay(case: &Case) -> Result<CaseOutcome, CaseError> {
    let manifest: Manifest = case.manifest()?;
    let skipped = |reason: String| Ok(CaseOutcome::Skipped { reason });
    let configuration = match Configuration::read(case, &manifest) {
        Ok(configuration) => configuration,
        Err(directives::Refusal::NotModelled(reason)) => return skipped(reason),
        Err(directives::Refusal::Wrong(error)) => return Err(error),
    };
    if configuration.threads > 1 {
        let reason = "several threads, and the recording does not say which of them served a request";
        return skipped(reason.into());
    }
    let rows = match recording::read(case, &manifest, &configuration) {
        Ok(rows) => rows,
        Err(recording::Refusal::NotModelled(reason)) => return skipped(reason),
        Err(recording::Refusal::Wrong(error)) => return Err(error),
    };
    let overlap = manifest.options.check.is_some();
    Ok(Replay::new(&configuration, &rows, overlap).run().into())
}

/// A request that the model has under way.
struct InFlight<'a> {
    /// Its place among the rows.
    row: usize,
    recorded: &'a Request,
    flow: FlowId,
    /// Who was tried so far, the present one last.
    tried: Vec<ServerId>,
    /// How the present try will end.
    outcome: Outcome,
}

/// What the model did with a request.
struct Answer {
    row: usize,
    tried: Vec<ServerId>,
    /// Whether the last server answered, rather than HAProxy itself.
    by_server: bool,
    status: u16,
}

/// What is to come by itself.
#[derive(Clone, Copy)]
enum Timer {
    /// The present try of a request ends.
    TryEnds(u64),
    /// The wait of a request before its retry is over.
    Retry(u64),
    /// A check of a server times out.
    CheckFails(ServerId),
}

struct Replay<'a> {
    configuration: &'a Configuration,
    rows: &'a [Row],
    overlap: bool,
    haproxy: Haproxy,
    /// What each server does now.
    modes: Vec<Mode>,
    /// What HAProxy last held each server for, and the changes that it has not been heard to log.
    up: Vec<bool>,
    changes: Vec<VecDeque<bool>>,
    /// By connection.
    in_flight: BTreeMap<u64, InFlight<'a>>,
    /// By slot of their flow: connections that the model has under way.
    conns: BTreeMap<u32, u64>,
    timers: BTreeMap<(SimTime, u64), Timer>,
    timers_set: u64,
    answers: Vec<Answer>,
    tally: Tally,
}

impl<'a> Replay<'a> {
    fn new(configuration: &'a Configuration, rows: &'a [Row], overlap: bool) -> Self {
        let servers = configuration.names.len();
        Self {
            configuration,
            rows,
            overlap,
            haproxy: Haproxy::new(configuration.haproxy.clone()),
            modes: vec![Mode::Up; servers],
            up: vec![true; servers],
            changes: vec![VecDeque::new(); servers],
            in_flight: BTreeMap::new(),
            conns: BTreeMap::new(),
            timers: BTreeMap::new(),
            timers_set: 0,
            answers: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// HAProxy was started before the recording began: a server whose first check is missing had passed it.
    fn pass_missing_checks(&mut self) {
        let servers = (0..self.modes.len()).map(ServerId::from_index);
        let first = |server: ServerId| {
            let is_check = |row: &&Row| matches!(row.event, Event::Check { server: of } if of == server);
            let recorded = self.rows.iter().find(is_check)?.time;
            let planned = self.haproxy.first_check(server)?;
            Some((server, recorded.0 as i64 - planned.0 as i64))
        };
        let firsts: Vec<_> = servers.filter_map(first).collect();
        // One of them stands at its place from the start; those that miss one stand an interval later.
        let started = firsts.iter().map(|&(_, started)| started).min().unwrap_or_default();
        for (server, at) in firsts {
            let inter =
                self.configuration.haproxy.servers[server.index()].check.map_or(0, |check| check.inter.0);
            if at - started > inter as i64 / 2 {
                self.haproxy.check_ended(SimTime::ZERO, server, true);
            }
        }
    }

    fn run(mut self) -> Tally {
        self.pass_missing_checks();
        for (index, row) in self.rows.iter().enumerate() {
            self.run_timers_until(row.time);
            match &row.event {
                Event::Open(request) => self.open(index, row.time, request),
                Event::Close { conn } => self.close(row.time, *conn),
                Event::Start { conn, server } => self.compare_start(row, *conn, *server),
                Event::SetAdmin { server, admin } => self.haproxy.set_admin(row.time, *server, *admin),
                Event::SetWeight { server, weight } => {
                    let weight = match *weight {
                        Weight::Absolute(weight) => weight,
                        Weight::Percent(percent) => {
                            let whole = u64::from(self.haproxy.initial_weight(*server)) * u64::from(percent);
                            (whole / 100).min(crate::balancer::haproxy::WEIGHT_MAX.into()) as u32
                        }
                    };
                    self.haproxy.set_weight(row.time, *server, weight);
                }
                Event::Behave { server, mode } => self.modes[server.index()] = *mode,
                Event::Check { server } => self.check(row.time, *server),
                Event::State { server, up } => self.compare_state(row, *server, *up),
            }
            self.follow_starts(row.time);
            self.follow_states();
        }
        self.run_timers_until(SimTime::NEVER);
        self.compare_answers();
        self.tally
    }

    fn at(&mut self, time: SimTime, timer: Timer) {
        self.timers.insert((time, self.timers_set), timer);
        self.timers_set += 1;
    }

    fn run_timers_until(&mut self, time: SimTime) {
        while let Some(entry) = self.timers.first_entry()
            && entry.key().0 < time
        {
            let now = entry.key().0;
            match entry.remove() {
                Timer::TryEnds(conn) => self.end_try(now, conn),
                Timer::Retry(conn) => self.resume(now, conn),
                Timer::CheckFails(server) => {
                    self.haproxy.check_ended(now, server, false);
                }
            }
            self.follow_starts(now);
            self.follow_states();
        }
    }

    /// A request arrives.
    fn open(&mut self, row: usize, now: SimTime, recorded: &'a Request) {
        let opened = self.haproxy.open(
            now,
            &Open {
                address: recorded.client,
                port: 0,
                key: &recorded.key,
                method: Method::Get,
                worker: 0,
                service: 0,
                ties: Ties {
                    cookie: recorded.cookie,
                    sample: &recorded.sample,
                    persistence: recorded.persistence,
                },
            },
        );
        let outcome = Outcome::Status(200);
        let in_flight = InFlight { row, recorded, flow: opened.flow, tried: Vec::new(), outcome };
        if opened.decision.server.is_none() && opened.decision.reason != Reason::Queued {
            return self.answer(in_flight, false, SERVICE_UNAVAILABLE);
        }
        self.conns.insert(opened.flow.slot, recorded.conn);
        self.in_flight.insert(recorded.conn, in_flight);
        self.decided(now, recorded.conn, opened.decision);
    }

    /// The model decided where a request goes: settles how the try will end, and when.
    fn decided(&mut self, now: SimTime, conn: u64, decision: Decision) {
        let Some(in_flight) = self.in_flight.get_mut(&conn) else { return };
        let Some(server) = decision.server else { return };
        in_flight.tried.push(server);
        let (outcome, lasts) = self.modes[server.index()].outcome(&self.configuration.haproxy);
        in_flight.outcome = outcome;
        // A request is held by the server whose answer it gets, not by one whose answer makes HAProxy try again.
        let retry_on = &self.configuration.haproxy.retry_on;
        if in_flight.recorded.closes && matches!(outcome, Outcome::Status(status) if !retry_on.lists(status))
        {
            return;
        }
        if self.overlap && !lasts.is_zero() {
            self.at(now + lasts, Timer::TryEnds(conn));
        } else {
            self.end_try(now, conn);
        }
    }

    /// The present try of a request ends.
    fn end_try(&mut self, now: SimTime, conn: u64) {
        let Some(in_flight) = self.in_flight.get(&conn) else { return };
        let (flow, outcome) = (in_flight.flow, in_flight.outcome);
        if matches!(outcome, Outcome::Status(_)) {
            self.haproxy.answer_sample(now, flow, &in_flight.recorded.answer_sample);
        }
        let then = self.haproxy.attempt_ended(now, flow, outcome);
        self.follow(now, conn, then);
    }

    fn follow(&mut self, now: SimTime, conn: u64, then: Then) {
        match then {
            Then::Retry(decision) => self.decided(now, conn, decision),
            Then::Wait(delay) if self.overlap || self.is_held(conn) => {
                self.at(now + delay, Timer::Retry(conn));
            }
            Then::Wait(_) => self.resume(now, conn),
            Then::Done { status } => {
                if let Some(in_flight) = self.in_flight.remove(&conn) {
                    self.conns.remove(&in_flight.flow.slot);
                    // What HAProxy says by itself follows from a failure, never from an answer.
                    let by_server = matches!(in_flight.outcome, Outcome::Status(_));
                    self.answer(in_flight, by_server, status);
                }
            }
        }
    }

    fn is_held(&self, conn: u64) -> bool {
        self.in_flight.get(&conn).is_some_and(|in_flight| in_flight.recorded.closes)
    }

    /// The wait before a retry is over.
    fn resume(&mut self, now: SimTime, conn: u64) {
        let Some(in_flight) = self.in_flight.get(&conn) else { return };
        let then = self.haproxy.resume(now, in_flight.flow);
        self.follow(now, conn, then);
    }

    /// A `close` row: the present try of a request has ended.
    fn close(&mut self, now: SimTime, conn: u64) {
        self.end_try(now, conn);
        if let Some(in_flight) = self.in_flight.remove(&conn) {
            // The model has it still, in a queue or before a retry, where the program had answered.
            self.conns.remove(&in_flight.flow.slot);
            self.haproxy.abort(now, in_flight.flow);
            self.answer(in_flight, false, SERVICE_UNAVAILABLE);
        }
    }

    /// Requests that left a queue.
    fn follow_starts(&mut self, now: SimTime) {
        while let Some((flow, decision)) = self.haproxy.next_started() {
            let Some(&conn) = self.conns.get(&flow.slot) else { continue };
            if decision.server.is_some() {
                self.decided(now, conn, decision);
            } else if let Some(in_flight) = self.in_flight.remove(&conn) {
                self.conns.remove(&flow.slot);
                self.answer(in_flight, false, SERVICE_UNAVAILABLE);
            }
        }
    }

    /// A check begins; its result is that of the server's state now.
    fn check(&mut self, now: SimTime, server: ServerId) {
        match self.modes[server.index()].passes(self.configuration.httpchk) {
            Some(passed) => {
                self.haproxy.check_ended(now, server, passed);
            }
            None => {
                let check = self.configuration.haproxy.servers[server.index()].check.unwrap_or_default();
                self.at(now + check.inter, Timer::CheckFails(server));
            }
        }
    }

    fn follow_states(&mut self) {
        for (server, up) in self.up.iter_mut().enumerate() {
            let now_up = self.haproxy.is_up(ServerId::from_index(server));
            if now_up != *up {
                *up = now_up;
                self.changes[server].push_back(now_up);
            }
        }
    }

    fn compare_state(&mut self, row: &Row, server: ServerId, up: bool) {
        self.follow_states();
        let modelled = self.changes[server.index()].pop_front();
        if modelled == Some(up) {
            return self.tally.alike();
        }
        let state = |up: bool| if up { "UP" } else { "DOWN" };
        let name = &self.configuration.names[server.index()];
        self.tally.different(|| Difference {
            row: row.line,
            t_ms: row.time.0 as f64 / 1e6,
            event: "lb_state".into(),
            recorded: format!("{name} {}", state(up)),
            modelled: format!("{name} {}", modelled.map_or("unchanged", state)),
        });
    }

    fn compare_start(&mut self, row: &Row, conn: u64, server: ServerId) {
        let modelled = self.in_flight.get(&conn).and_then(|in_flight| in_flight.tried.last().copied());
        if modelled == Some(server) {
            return self.tally.alike();
        }
        let name = |server: ServerId| self.configuration.names[server.index()].clone();
        self.tally.different(|| Difference {
            row: row.line,
            t_ms: row.time.0 as f64 / 1e6,
            event: "start".into(),
            recorded: format!("request {conn} on {}", name(server)),
            modelled: format!(
                "request {conn} {}",
                modelled.map_or("waits".into(), |s| format!("on {}", name(s)))
            ),
        });
    }

    fn answer(&mut self, in_flight: InFlight<'a>, by_server: bool, status: u16) {
        self.answers.push(Answer { row: in_flight.row, tried: in_flight.tried, by_server, status });
    }

    /// Compares what the model did with what HAProxy did, in the order in which the requests arrived.
    fn compare_answers(&mut self) {
        self.answers.sort_unstable_by_key(|answer| answer.row);
        for answer in &self.answers {
            let row = &self.rows[answer.row];
            let Event::Open(recorded) = &row.event else { continue };
            let server = answer.tried.last().copied().filter(|_| answer.by_server);
            let tried_alike = recorded.tried.as_ref().is_none_or(|tried| *tried == answer.tried);
            let moved = answer.tried.windows(2).any(|pair| pair[0] != pair[1]);
            let retries = (answer.tried.len() as u32).saturating_sub(1);
            // A retry that found no server is counted by the program, and shows in no try.
            let retries_alike =
                server.is_none() || recorded.retries.is_none_or(|recorded| recorded == (retries, moved));
            if server == recorded.server && answer.status == recorded.status && tried_alike && retries_alike {
                self.tally.alike();
                continue;
            }
            let names = &self.configuration.names;
            self.tally.different(|| Difference {
                row: row.line,
                t_ms: row.time.0 as f64 / 1e6,
                event: "open".into(),
                recorded: describe(
                    names,
                    recorded.server,
                    recorded.tried.as_deref(),
                    recorded.status,
                    recorded.retries,
                ),
                modelled: describe(names, server, Some(&answer.tried), answer.status, Some((retries, moved))),
            });
        }
    }
}

fn describe(
    names: &[String],
    server: Option<ServerId>,
    tried: Option<&[ServerId]>,
    status: u16,
    retries: Option<(u32, bool)>,
) -> String {
    let name = |server: ServerId| names[server.index()].as_str();
    let mut text = format!("{status} from {}", server.map_or("haproxy itself", name));
    if let Some(tried) = tried {
        let tried: Vec<_> = tried.iter().copied().map(name).collect();
        text += &format!(", tried {}", if tried.is_empty() { "none".into() } else { tried.join(" ") });
    }
    if let Some((retries, moved)) = retries {
        text += &format!(", {retries} retries{}", if moved { ", moved" } else { "" });
    }
    text
}

//! Replays recordings of nginx through [`crate::tier::Nginx`].
//!
//! A request is compared when it has ended: who answered, who was tried, in order, and the status that the client got.
//! How each try ends is told by the state of its server at that time; when it ends is told by the recording as far as it
//! says, since that is the servers' and the network's doing: the `close` row for the last try, `attempts.csv` for
//! those before. What remains ends after the time that the server's state implies. Of equal times a row comes before the
//! end of a try, as nginx runs its timers after it has read what came in.
//!
//! The random methods draw from a generator that the recording does not know, so their cases are compared as a whole: see
//! `distribution.rs`.

mod distribution;
mod recording;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

use super::{Case, CaseError, CaseOutcome, Difference, Tally};
use crate::balancer::nginx::NginxMethod;
use crate::engine::SimTime;
use crate::ids::ServerId;
use crate::tier::nginx::NginxConfig;
use crate::tier::{Decision, FlowId, Method, Nginx, Open, Outcome, Then, Ties};
use recording::{Config, Event, KeyKind, Manifest, Mode, Name, Recording, Request, Row};

/// What the client gets for want of a server.
const BAD_GATEWAY: u16 = 502;
/// What nginx logs when the client went away.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// Replays one recording of nginx.
pub fn replay(case: &Case) -> CaseOutcome {
    match try_replay(case) {
        Ok(outcome) => outcome,
        Err(error) => error.into(),
    }
}

fn try_replay(case: &Case) -> Result<CaseOutcome, CaseError> {
    let manifest: Manifest = case.manifest()?;
    let Some(method) = NginxMethod::by_name(manifest.method_name()) else {
        let message = format!("no balancer for `{}`", manifest.method_name());
        return Err(CaseError::File { file: "case.json".into(), message });
    };
    if manifest.workers > 1 && !manifest.zone && manifest.key_kind != KeyKind::Pid {
        let reason =
            "several workers without a zone, and the recording does not say which of them served a request";
        return Ok(CaseOutcome::Skipped { reason: reason.into() });
    }
    let recording = Recording::read(case, manifest, &method)?;
    if method.is_random() {
        return distribution::compare(&recording);
    }
    Ok(Replay::new(&recording, 0).run()?.compare().into())
}

/// A request that the model has under way.
struct InFlight<'a> {
    /// Its place in [`Recording::rows`].
    row: usize,
    recorded: &'a Request,
    flow: FlowId,
    /// Who was tried so far, the present one last, by the model.
    tried: Vec<Name>,
    /// How the present try will end.
    outcome: Outcome,
    /// The configuration that it began under.
    config: &'a Config,
}

/// What the model did with a request.
struct Answer {
    /// Its place in [`Recording::rows`].
    row: usize,
    /// Who was tried, in [`Replay::tried`].
    tried: Range<usize>,
    /// Whether nginx itself answered, for want of a server.
    no_live: bool,
    /// What the client got.
    status: u16,
}

struct Replay<'a> {
    recording: &'a Recording,
    nginx: Nginx,
    /// The instance's number, which names its draws.
    instance: u64,
    /// The configuration of now.
    config: &'a Config,
    /// What each server does now, by [`Name`].
    modes: Vec<Mode>,
    /// Workers by process id, numbered as they appear after each start: which is which makes no difference.
    workers: BTreeMap<u64, u16>,
    /// Requests with a `close` row to come, by connection.
    in_flight: BTreeMap<u64, InFlight<'a>>,
    /// Connections whose try ends before their `close` row, by that time and the order in which it became known.
    ends: BTreeMap<(SimTime, u64), u64>,
    ends_known: u64,
    answers: Vec<Answer>,
    tried: Vec<Name>,
    /// Lists of tried servers that are not in use, so that most requests need not allocate one.
    spare: Vec<Vec<Name>>,
}

impl<'a> Replay<'a> {
    fn new(recording: &'a Recording, instance: u64) -> Self {
        let config = &recording.configs[0];
        Self {
            recording,
            nginx: Nginx::new(NginxConfig { instance, ..config.nginx.clone() }),
            instance,
            config,
            modes: vec![Mode::Up; recording.names.len()],
            workers: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            ends: BTreeMap::new(),
            ends_known: 0,
            answers: Vec::new(),
            tried: Vec::new(),
            spare: Vec::new(),
        }
    }

    /// Carries out the whole recording.
    fn run(mut self) -> Result<Self, CaseError> {
        let rows = &self.recording.rows;
        for (index, row) in rows.iter().enumerate() {
            self.run_ends_before(row.time);
            match &row.event {
                Event::Open(request) => {
                    let next = rows.get(index + 1).map_or(row.time, |next| next.time);
                    if let Some(in_flight) = self.open(index, row, request)? {
                        self.carry_on(row.time, next, in_flight);
                    }
                }
                Event::Close { conn } => self.close(row.time, *conn),
                Event::Behave { server, mode } => self.modes[server.0 as usize] = *mode,
                Event::Reload { config } => {
                    self.config = &self.recording.configs[*config];
                    let config = NginxConfig { instance: self.instance, ..self.config.nginx.clone() };
                    self.nginx.reload(row.time, config);
                    self.workers.clear();
                }
            }
        }
        self.answers.sort_unstable_by_key(|answer| answer.row);
        Ok(self)
    }

    /// A request arrives.
    fn open(
        &mut self,
        row: usize,
        Row { line, time, .. }: &Row,
        recorded: &'a Request,
    ) -> Result<Option<InFlight<'a>>, CaseError> {
        let key = &self.recording.keys[recorded.key.clone()];
        let worker = match self.recording.key_kind {
            KeyKind::Pid => self.worker(*line, key)?,
            _ => 0,
        };
        let (v4, v6);
        let octets: &[u8] = match recorded.client {
            IpAddr::V4(address) => {
                v4 = address.octets();
                &v4
            }
            IpAddr::V6(address) => {
                v6 = address.octets();
                &v6
            }
        };
        let opened = self.nginx.open(
            *time,
            &Open {
                address: recorded.client,
                port: 0,
                key: match self.recording.key_kind {
                    // No column holds the bytes of an address.
                    KeyKind::Hash | KeyKind::None if self.recording.hashes_binary_address => octets,
                    KeyKind::Hash => key,
                    KeyKind::None | KeyKind::Method | KeyKind::Pid => &[],
                },
                method: match self.recording.key_kind {
                    KeyKind::Method if matches!(key, b"POST" | b"LOCK" | b"PATCH") => Method::Post,
                    _ => Method::Get,
                },
                worker,
                service: 0,
                ties: Ties::NONE,
            },
        );
        let tried = self.spare.pop().unwrap_or_default();
        let config = self.config;
        let Some(server) = opened.decision.server else {
            self.answer(row, tried, true, BAD_GATEWAY);
            return Ok(None);
        };
        let mut in_flight =
            InFlight { row, recorded, flow: opened.flow, tried, outcome: Outcome::Status(200), config };
        self.start_try(server, &mut in_flight);
        Ok(Some(in_flight))
    }

    /// A try starts; how it will end is settled by what its server does now.
    fn start_try(&self, server: ServerId, in_flight: &mut InFlight<'a>) {
        let name = in_flight.config.names[server.index()];
        in_flight.tried.push(name);
        in_flight.outcome = self.modes[name.0 as usize].outcome(&in_flight.config.nginx).0;
    }

    /// When the present try ends, if it began at `now` and the recording does not leave that to the `close` row.
    fn end_of_try(&self, now: SimTime, in_flight: &InFlight<'a>) -> Option<SimTime> {
        let recorded = in_flight.recorded;
        let attempt = in_flight.tried.len();
        if recorded.closes && attempt >= recorded.tried.len() {
            return None;
        }
        let name = *in_flight.tried.last()?;
        let implied = || now + self.modes[name.0 as usize].outcome(&in_flight.config.nginx).1;
        let known = self.recording.attempts.get(&(recorded.conn, attempt as u32));
        Some(known.filter(|known| known.server == name).map_or_else(implied, |known| known.ended).max(now))
    }

    /// A try has just begun: plans its end or, in a request without a `close` row, comes to it at once. Such a
    /// request ended before the next row, so no end of it is later than `next`.
    fn carry_on(&mut self, mut now: SimTime, next: SimTime, mut in_flight: InFlight<'a>) {
        let conn = in_flight.recorded.conn;
        if in_flight.recorded.closes {
            if let Some(end) = self.end_of_try(now, &in_flight) {
                self.ends.insert((end, self.ends_known), conn);
                self.ends_known += 1;
            }
            self.in_flight.insert(conn, in_flight);
            return;
        }
        let aborted = in_flight.recorded.status == CLIENT_CLOSED_REQUEST;
        while let Some(end) = self.end_of_try(now, &in_flight) {
            if aborted && in_flight.tried.len() >= in_flight.recorded.tried.len() {
                return self.abort(next, in_flight);
            }
            now = end.min(next);
            match self.end_try(now, in_flight) {
                Some(retried) => in_flight = retried,
                None => return,
            }
        }
    }

    /// Tries that ended before `time` end.
    fn run_ends_before(&mut self, time: SimTime) {
        while let Some(entry) = self.ends.first_entry()
            && entry.key().0 < time
        {
            let now = entry.key().0;
            let conn = entry.remove();
            if let Some(in_flight) = self.in_flight.remove(&conn)
                && let Some(retried) = self.end_try(now, in_flight)
            {
                self.carry_on(now, now, retried);
            }
        }
    }

    /// A `close` row: whatever the model still has under way for the request has ended.
    fn close(&mut self, now: SimTime, conn: u64) {
        let Some(mut in_flight) = self.in_flight.remove(&conn) else { return };
        if in_flight.recorded.status == CLIENT_CLOSED_REQUEST {
            return self.abort(now, in_flight);
        }
        while let Some(retried) = self.end_try(now, in_flight) {
            in_flight = retried;
        }
    }

    /// The present try ends; gives the request back if another try has begun.
    fn end_try(&mut self, now: SimTime, mut in_flight: InFlight<'a>) -> Option<InFlight<'a>> {
        let no_live = self.nginx.no_live_upstreams();
        match self.nginx.attempt_ended(now, in_flight.flow, in_flight.outcome) {
            Then::Retry(Decision { server: Some(server), .. }) => {
                self.start_try(server, &mut in_flight);
                Some(in_flight)
            }
            Then::Retry(Decision { server: None, .. }) => {
                self.answer(in_flight.row, in_flight.tried, true, BAD_GATEWAY);
                None
            }
            Then::Wait(_) => unreachable!("nginx tries again at once"),
            Then::Done { status } => {
                let no_live = self.nginx.no_live_upstreams() != no_live;
                self.answer(in_flight.row, in_flight.tried, no_live, status);
                None
            }
        }
    }

    /// The client goes away.
    fn abort(&mut self, now: SimTime, in_flight: InFlight<'a>) {
        self.nginx.abort(now, in_flight.flow);
        self.answer(in_flight.row, in_flight.tried, false, CLIENT_CLOSED_REQUEST);
    }

    fn answer(&mut self, row: usize, mut tried: Vec<Name>, no_live: bool, status: u16) {
        let start = self.tried.len();
        self.tried.append(&mut tried);
        self.spare.push(tried);
        self.answers.push(Answer { row, tried: start..self.tried.len(), no_live, status });
    }

    /// Compares what the model did with what nginx did, in the order in which the requests arrived.
    fn compare(&self) -> Tally {
        let mut tally = Tally::default();
        for answer in &self.answers {
            let row = &self.recording.rows[answer.row];
            let Event::Open(recorded) = &row.event else { continue };
            let tried = &self.tried[answer.tried.clone()];
            let recorded_tried = &self.recording.tried[recorded.tried.clone()];
            let server = if answer.no_live { None } else { tried.last().copied() };
            // Nobody answers a client that has gone away.
            let server_equal = server == recorded.server || recorded.status == CLIENT_CLOSED_REQUEST;
            if server_equal && tried == recorded_tried && answer.status == recorded.status {
                tally.alike();
                continue;
            }
            tally.different(|| Difference {
                row: row.line,
                t_ms: row.time.0 as f64 / 1e6,
                event: "open".into(),
                recorded: self.describe(recorded.server, recorded_tried, recorded.status),
                modelled: self.describe(server, tried, answer.status),
            });
        }
        tally
    }

    fn describe(&self, server: Option<Name>, tried: &[Name], status: u16) -> String {
        let name = |name: Name| self.recording.names[name.0 as usize].as_str();
        let tried: Vec<_> = tried.iter().copied().map(name).collect();
        let server = server.map_or("no live upstream", name);
        format!(
            "{status} from {server}, tried {}",
            if tried.is_empty() { "none".into() } else { tried.join("|") }
        )
    }

    fn worker(&mut self, line: u64, pid: &[u8]) -> Result<u16, CaseError> {
        let error = |what: &str| {
            CaseError::at("events.csv", line, format!("`{}` {what}", String::from_utf8_lossy(pid)))
        };
        let number = std::str::from_utf8(pid).ok().and_then(|pid| pid.parse().ok());
        let number: u64 = number.ok_or_else(|| error("is no process id"))?;
        let next = self.workers.len() as u16;
        let worker = *self.workers.entry(number).or_insert(next);
        let workers = self.config.nginx.workers;
        if worker < workers { Ok(worker) } else { Err(error("is one process more than there are workers")) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::CaseFiles;
    use super::*;
    use proptest::prelude::*;

    const MANIFEST: &str = r#"{
        "product": "nginx", "method": "round_robin", "workers": 1, "zone": false, "key_kind": "none",
        "next_upstream": "error timeout", "read_timeout_ms": 1000,
        "servers": [
            {"name": "s1", "weight": 1, "max_fails": 1, "fail_timeout_s": 3, "backup": false, "down": false, "max_conns": 0},
            {"name": "s2", "weight": 1, "max_fails": 1, "fail_timeout_s": 3, "backup": false, "down": false, "max_conns": 0}
        ]
    }"#;

    /// Worked out by hand from nginx's rules: s2 hangs, its two requests are stuck until 1 s is over, and the later of them
    /// is given up by its client.
    const EVENTS: &str = "\
t_ms,event,conn,client,key,server,tried,status
100,open,1,192.0.2.1,,s1,s1,200
110,close,1,,,s1,,200
200,server_down,,,hang,s2,,
300,open,2,192.0.2.1,,s1,s2|s1,200
310,open,3,192.0.2.1,,s1,s1,200
311,close,3,,,s1,,200
320,open,4,192.0.2.1,,,s2,499
900,close,4,,,,,499
1301,close,2,,,s1,,200
1400,open,5,192.0.2.1,,s1,s1,200
1401,close,5,,,s1,,200
1500,server_down,,,refuse,s1,,
1510,open,6,192.0.2.1,,,s1,502
1520,open,7,192.0.2.1,,,,502
";
    const ATTEMPTS: &str =
        "conn,n,server,t_ms,dur_ms,upstream_status\n2,1,s2,300,1000,504\n2,2,s1,1300,1,200\n";

    fn outcome(manifest: &[u8], events: &[u8], attempts: &[u8]) -> CaseOutcome {
        let files = [("case.json", manifest), ("events.csv", events), ("attempts.csv", attempts)];
        let files = files.map(|(name, bytes)| (name.to_owned(), bytes.to_owned()));
        replay(&Case { name: "case".into(), files: CaseFiles::Memory(files.into()) })
    }

    fn with_events(events: &str) -> CaseOutcome {
        outcome(MANIFEST.as_bytes(), events.as_bytes(), ATTEMPTS.as_bytes())
    }

    #[test]
    fn a_recording_that_follows_the_rules_matches_request_by_request() {
        let expected = CaseOutcome::Replayed { decisions: 7, matched: 7, first_difference: None };
        assert_eq!(with_events(EVENTS), expected);
    }

    #[test]
    fn without_attempts_a_hanging_server_takes_the_read_timeout() {
        let expected = CaseOutcome::Replayed { decisions: 7, matched: 7, first_difference: None };
        assert_eq!(outcome(MANIFEST.as_bytes(), EVENTS.as_bytes(), b"conn,n,server,t_ms,dur_ms\n"), expected);
    }

    #[test]
    fn a_decision_that_was_tampered_with_is_named_with_its_line() {
        for (from, to, row) in [
            ("100,open,1,192.0.2.1,,s1,s1,200", "100,open,1,192.0.2.1,,s2,s2,200", 2),
            ("s2|s1,200", "s1|s2,200", 5),
            (",,s1,502", ",s1,s1,502", 14),
            (",,,,502", ",,,,504", 15),
        ] {
            let CaseOutcome::Replayed { decisions, matched, first_difference } =
                with_events(&EVENTS.replacen(from, to, 1))
            else {
                panic!("readable");
            };
            assert_eq!((decisions, matched), (7, 6), "{from}");
            let difference = first_difference.expect("one decision differs");
            assert_eq!(difference.row, row);
            assert_ne!(difference.recorded, difference.modelled);
        }
    }

    #[test]
    fn a_malformed_row_is_named_with_its_line() {
        for (from, to, error) in [
            ("100,open", "soon,open", "events.csv:2: `soon` is no `t_ms`"),
            ("110,close,1", "110,close,9", "events.csv:3: request 9 is closed and was not open"),
            ("hang,s2", "sleep,s2", "events.csv:4: `sleep` is no `key`"),
            ("s2|s1", "s2|s9", "events.csv:5: `s9` is no `server`"),
            ("310,open", "290,open", "events.csv:6: time goes back to `290`"),
            ("open,3", "reload,3", "events.csv:6: no reload in case.json has ``"),
            ("tried,status", "status", "events.csv:1: no column `tried`"),
        ] {
            let expected = CaseOutcome::Unreadable { error: error.into() };
            assert_eq!(with_events(&EVENTS.replacen(from, to, 1)), expected);
        }
    }

    #[test]
    fn a_manifest_that_nginx_would_refuse_is_unreadable() {
        for (from, to, part) in [
            (r#""weight": 1"#, r#""weight": 0"#, "`weight` must be at least 1"),
            (r#""weight": 1"#, r#""weight": -1"#, "case.json:5"),
            ("error timeout", "errors", "no condition `errors`"),
            (r#""name": "s2""#, r#""name": "s1""#, "two servers are called `s1`"),
            (r#""workers": 1"#, r#""workers": 0"#, "`worker_processes` must be at least 1"),
        ] {
            let manifest = MANIFEST.replacen(from, to, 1);
            match outcome(manifest.as_bytes(), EVENTS.as_bytes(), b"") {
                CaseOutcome::Unreadable { error } => assert!(error.contains(part), "{error}"),
                other => panic!("{to}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_method_without_a_balancer_makes_a_recording_unreadable_rather_than_skipped() {
        let manifest = MANIFEST.replacen("round_robin", "least_time", 1);
        let expected = CaseOutcome::Unreadable { error: "case.json: no balancer for `least_time`".into() };
        assert_eq!(outcome(manifest.as_bytes(), EVENTS.as_bytes(), b""), expected);
    }

    #[test]
    fn a_truncated_recording_is_unreadable() {
        let manifest = MANIFEST.replacen("\"workers\"", "\"requests\": 7, \"workers\"", 1);
        let whole = CaseOutcome::Replayed { decisions: 7, matched: 7, first_difference: None };
        assert_eq!(outcome(manifest.as_bytes(), EVENTS.as_bytes(), ATTEMPTS.as_bytes()), whole);
        let end = EVENTS.find("1520,").expect("the last row");
        let error = "events.csv: 6 requests where `requests` in case.json says 7".into();
        assert_eq!(
            outcome(manifest.as_bytes(), &EVENTS.as_bytes()[..end], ATTEMPTS.as_bytes()),
            CaseOutcome::Unreadable { error }
        );
    }

    proptest! {
        #[test]
        fn no_damage_to_a_recording_makes_the_replay_panic(
            which in 0usize..3,
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..6),
        ) {
            const BYTES: &[u8] = b"\n,|.0123456789-s{}\"xopenclosereload";
            let mut files = [MANIFEST, EVENTS, ATTEMPTS].map(|file| file.as_bytes().to_vec());
            for (place, byte) in damage {
                let file = &mut files[which];
                let place = place.index(file.len());
                file[place] = BYTES[byte.index(BYTES.len())];
            }
            let [manifest, events, attempts] = files;
            outcome(&manifest, &events, &attempts);
        }
    }
}

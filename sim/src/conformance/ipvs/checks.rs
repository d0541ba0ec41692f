//! Replays recordings of keepalived's health checks: when servers are checked, removed and added.
//!
//! A decision is a row that says that a server was checked and found well, or that keepalived removed or added it. It is
//! alike if the model does the same to this server, as its next step, at that time within what [`Server::slack`] allows. A
//! check that fails leaves no row; it shows in the time of the removal.

use crate::conformance::{CaseError, Difference, Tally};
use crate::engine::{SimDuration, SimTime};
use crate::health::keepalived::{CheckKind, CheckRule, Checker, Pool, PoolChange, PoolConfig, Sight};
use crate::ids::ServerId;

use super::format::{Event, Keepalived, MANIFEST, Server as Configured};

/// How often the recorder looked whether a server had been connected to: `check` rows come in steps of this.
const POLLING: SimDuration = SimDuration(20_400_000);
/// How late each of keepalived's timers and time-outs is on the machine of the recordings, at most.
const TIMER_LATE: SimDuration = SimDuration::from_millis(2);
/// How long keepalived takes to start or to stop.
const PROCESS: SimDuration = SimDuration::from_millis(100);

/// One server, its check, and what the model has done to it and no row has told yet.
#[derive(Clone, Debug)]
struct Server {
    checker: Option<Checker>,
    down: bool,
    /// Timers that have run out one behind the other since a row told when a check took place.
    timers: u64,
    /// A change of the table and the time at which the model has made it.
    untold: Option<(SimTime, PoolChange)>,
    /// When an `add` told of the check that comes with it.
    added_at: Option<SimTime>,
}

impl Server {
    /// How far a row may be from the model.
    fn slack(&self) -> SimDuration {
        POLLING + TIMER_LATE * (self.timers + 1)
    }
}

struct Replay<'a> {
    rule: CheckRule,
    silent: bool,
    names: &'a [Configured],
    servers: Vec<Server>,
    pool: Pool,
    changes: Vec<PoolChange>,
    tally: Tally,
}

/// Replays the rows.
///
/// # Errors
/// If a row names a server that `case.json` does not, or is none that such a recording has.
pub(super) fn replay(
    keepalived: &Keepalived,
    servers: &[Configured],
    events: &[Event],
) -> Result<Tally, CaseError> {
    let wrong = |name: &str| CaseError::File {
        file: MANIFEST.into(),
        message: format!("`{name}`: missing or out of range"),
    };
    let seconds = |name: &str, value: Option<f64>| {
        let value = value.filter(|seconds| (0.001..1e6).contains(seconds)).ok_or_else(|| wrong(name))?;
        Ok::<SimDuration, CaseError>(SimDuration::from_secs_f64(value))
    };
    let rule = CheckRule {
        kind: CheckKind::Tcp,
        delay_loop: seconds("delay_loop_s", keepalived.delay_loop_s)?,
        connect_timeout: seconds("connect_timeout_s", keepalived.connect_timeout_s)?,
        retry: keepalived.retry.ok_or_else(|| wrong("retry"))?,
        delay_before_retry: seconds("delay_before_retry_s", keepalived.delay_before_retry_s)?,
        warmup: None,
        alpha: false,
    };
    let config = PoolConfig { inhibit_on_failure: keepalived.inhibit_on_failure, ..PoolConfig::default() };
    let weights = servers.iter().map(|server| Some(server.weight)).collect();
    let mut changes = Vec::new();
    let pool = Pool::new(config, weights, true, &mut changes);
    let server = Server { checker: None, down: false, timers: 0, untold: None, added_at: None };
    let mut replay = Replay {
        rule,
        silent: keepalived.failure.as_deref() == Some("blackhole"),
        names: servers,
        servers: vec![server; servers.len()],
        pool,
        changes,
        tally: Tally::default(),
    };
    for event in events {
        replay.step(event)?;
    }
    replay.finish(events)
}

impl Replay<'_> {
    fn step(&mut self, event: &Event) -> Result<(), CaseError> {
        let now = event.time();
        match event.event.as_str() {
            "director_start" => self.tell(now),
            "director_down" => {
                self.servers.iter_mut().for_each(|server| server.checker = None);
                self.pool.stop(&mut self.changes);
                self.tell(now);
            }
            name @ ("server_down" | "server_up") => {
                let index = self.server(event)?;
                self.run_until(index, event, now);
                if name == "server_down"
                    && let Some(checker) = &self.servers[index].checker
                    && checker.due() <= now
                {
                    // The recorder had no time left to see this check.
                    let due = checker.due();
                    self.succeed(index, due);
                }
                self.servers[index].down = name == "server_down";
            }
            "check" => {
                let index = self.server(event)?;
                self.run_until(index, event, now);
                self.checked(index, event);
            }
            name @ ("add" | "remove") => {
                let index = self.server(event)?;
                self.run_until(index, event, if name == "add" { now } else { now + POLLING });
                self.changed(index, event, name == "add");
            }
            other => return Err(event.error(format!("unknown event `{other}`"))),
        }
        Ok(())
    }

    /// Whatever the model did and no row told is a difference.
    fn finish(mut self, events: &[Event]) -> Result<Tally, CaseError> {
        let Some(last) = events.last() else { return Ok(self.tally) };
        for server in &self.servers {
            if let Some((at, change)) = server.untold {
                self.tally.different(|| difference(last, "nothing more".into(), show(at, &change)));
            }
        }
        Ok(self.tally)
    }

    fn server(&self, event: &Event) -> Result<usize, CaseError> {
        let index = self.names.iter().position(|server| server.name == event.server);
        index.ok_or_else(|| event.error(format!("no server `{}` in case.json", event.server)))
    }

    /// The tries of which no row tells, up to `until`: those that a server does not answer. One that a well server answers
    /// is told, or the recording lacks a check that the model has.
    fn run_until(&mut self, index: usize, event: &Event, until: SimTime) {
        let failing = if self.silent { Sight::Silent } else { Sight::Bad };
        while let server = &mut self.servers[index]
            && let slack = if server.down { SimDuration::ZERO } else { server.slack() }
            && let Some(checker) = &mut server.checker
            && checker.due() + slack <= until
        {
            let (due, known) = (checker.due(), server.down || checker.is_trying());
            let verdict = checker.tick(due, if server.down { failing } else { Sight::Good });
            server.timers += 1;
            if !known {
                self.count(event, false, || format!("checked at {:.3} ms", due.as_secs_f64() * 1e3));
            }
            self.judge(index, due, verdict);
        }
    }

    /// A check that found a server well, at the time that a row tells; its lateness ends there.
    fn succeed(&mut self, index: usize, now: SimTime) {
        let Some(checker) = &mut self.servers[index].checker else { return };
        let verdict = checker.tick(now, Sight::Good);
        self.servers[index].timers = 0;
        self.judge(index, now, verdict);
    }

    fn judge(&mut self, index: usize, now: SimTime, verdict: Option<bool>) {
        if let Some(alive) = verdict {
            self.pool.set_alive(ServerId::from_index(index), alive, &mut self.changes);
            self.tell(now);
        }
    }

    /// Keeps what the pool has changed until a row tells it.
    fn tell(&mut self, now: SimTime) {
        for change in self.changes.drain(..) {
            let (PoolChange::Add(server, _) | PoolChange::Weight(server, _) | PoolChange::Remove(server)) =
                change;
            self.servers[server.index()].untold = Some((now, change));
        }
    }

    fn checked(&mut self, index: usize, event: &Event) {
        let now = event.time();
        if self.servers[index].added_at.take().is_some_and(|at| now.since(at) <= POLLING) {
            return;
        }
        let server = &mut self.servers[index];
        let Some(checker) = &server.checker else {
            // The warm-up is drawn by keepalived: the first check is where it is.
            server.checker = Some(Checker::starting(self.rule, now));
            return self.succeed(index, now);
        };
        let due = checker.due();
        let alike = due.since(now).max(now.since(due)) <= server.slack();
        self.count(event, alike, || format!("checked at {:.3} ms", due.as_secs_f64() * 1e3));
        self.succeed(index, now);
    }

    fn changed(&mut self, index: usize, event: &Event, add: bool) {
        let now = event.time();
        if add && self.servers[index].untold.is_none() {
            let server = &self.servers[index];
            let slack = server.slack();
            if let Some(checker) = &server.checker
                && checker.due().since(now).max(now.since(checker.due())) <= slack
            {
                self.servers[index].added_at = Some(now);
                self.succeed(index, now);
            }
        }
        let server = &mut self.servers[index];
        let slack = if server.checker.is_some() { server.slack() } else { PROCESS };
        let untold = server.untold.take();
        let alike = untold.is_some_and(|(at, change)| {
            matches!(change, PoolChange::Add(..)) == add && at.since(now).max(now.since(at)) <= slack
        });
        self.count(event, alike, || {
            untold.map_or_else(|| "no change".into(), |(at, change)| show(at, &change))
        });
    }

    fn count(&mut self, event: &Event, alike: bool, modelled: impl FnOnce() -> String) {
        if alike {
            self.tally.alike();
        } else {
            let recorded = format!("{} at {:.3} ms", event.event, event.t_ms);
            self.tally.different(|| difference(event, recorded, modelled()));
        }
    }
}

fn difference(event: &Event, recorded: String, modelled: String) -> Difference {
    Difference { row: event.line, t_ms: event.t_ms, event: event.event.clone(), recorded, modelled }
}

fn show(at: SimTime, change: &PoolChange) -> String {
    let what = match change {
        PoolChange::Add(..) => "add",
        PoolChange::Weight(..) => "weight",
        PoolChange::Remove(_) => "remove",
    };
    format!("{what} at {:.3} ms", at.as_secs_f64() * 1e3)
}

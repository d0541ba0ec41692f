//! keepalived's health checks: `TCP_CHECK` and `HTTP_GET` of each real server, and what they do to the pool of a virtual
//! server.
//!
//! Source: keepalived 2.2.7, `check_tcp.c` (`tcp_epilog`), `check_http.c` (`epilog`) and `check_api.c`
//! (`register_checkers_thread`); for the pool, see [`Pool`]. keepalived is GPL, and what is here describes what it does.
//! Checked against recordings of it ([`crate::conformance::ipvs`]).
//!
//! A [`Checker`] holds no events: call [`Checker::tick`] at [`Checker::due`] and tell it what the server looks like then.
//!
//! `HTTP_GET` is modelled with one URL. Not modelled: other checkers, several checkers of one server, `fast_recovery`.

mod pool;

pub use pool::{Pool, PoolChange, PoolConfig};

use crate::engine::{SimDuration, SimTime};

/// How long keepalived waits at its start before its first check (`BOOTSTRAP_DELAY`).
const BOOTSTRAP_DELAY: SimDuration = SimDuration::from_secs(1);

/// What is checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CheckKind {
    /// `TCP_CHECK`: a connection is accepted.
    #[default]
    Tcp,
    /// `HTTP_GET`: a request is answered as expected.
    Http,
}

/// The options of a check, the same for each real server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CheckRule {
    /// `TCP_CHECK` or `HTTP_GET`.
    pub kind: CheckKind,
    /// `delay_loop`: from the end of one check to the start of the next.
    pub delay_loop: SimDuration,
    /// `connect_timeout`: how long a try at a silent server lasts; with `HTTP_GET`, also that for an answer.
    pub connect_timeout: SimDuration,
    /// `retry`: further tries before a check has failed.
    pub retry: u32,
    /// `delay_before_retry`: from the end of one try to the start of the next.
    pub delay_before_retry: SimDuration,
    /// `warmup`: the first check comes at a random moment of this length; `None` for `delay_loop`.
    pub warmup: Option<SimDuration>,
    /// `alpha`: a server is out until its first check has succeeded.
    pub alpha: bool,
}

impl CheckRule {
    /// From the start of keepalived to the first check: a second, and the part `share`, 0 to 1, of the warm-up, which
    /// keepalived draws uniformly.
    pub fn first_check(&self, share: f64) -> SimDuration {
        let warmup = self.warmup.unwrap_or(self.delay_loop);
        BOOTSTRAP_DELAY + SimDuration::from_secs_f64(warmup.as_secs_f64() * share)
    }

    /// Shortest and longest time from a server's death to its removal, if it dies at any moment between two checks and
    /// refuses (`silent`: does not answer) from then on. The mean is halfway.
    pub fn detection(&self, silent: bool) -> [SimDuration; 2] {
        let lasts = if silent { self.connect_timeout } else { SimDuration::ZERO };
        let tries = lasts * (u64::from(self.retry) + 1) + self.delay_before_retry * u64::from(self.retry);
        [tries, tries + self.delay_loop]
    }
}

/// What a check finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sight {
    /// All is well.
    Good,
    /// The connection is refused; with `HTTP_GET`, or the answer is not what is expected.
    Bad,
    /// Nothing comes back.
    Silent,
}

/// The check of one server.
#[derive(Clone, Copy, Debug)]
pub struct Checker {
    rule: CheckRule,
    up: bool,
    /// Tries of the present check that have failed.
    failures: u32,
    /// `HTTP_GET`: the URL has failed for good; a success is the first of two that it takes.
    url_failed: bool,
    /// When the next try starts, or the try under way looks again or ends.
    due: SimTime,
    /// When the try under way started, if it has found nothing but silence.
    trying: Option<SimTime>,
}

impl Checker {
    /// The check of a server whose state is known from before; the first is due at `first`.
    pub fn new(rule: CheckRule, up: bool, first: SimTime) -> Self {
        Self { rule, up, failures: 0, url_failed: false, due: first, trying: None }
    }

    /// The check of a keepalived that starts: one failure is enough for a first verdict.
    pub fn starting(rule: CheckRule, first: SimTime) -> Self {
        Self { failures: rule.retry, ..Self::new(rule, !rule.alpha, first) }
    }

    /// What it checks.
    pub fn kind(&self) -> CheckKind {
        self.rule.kind
    }

    /// Whether the check leaves the server in the pool.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// Whether a try is under way that has met nothing but silence.
    pub fn is_trying(&self) -> bool {
        self.trying.is_some()
    }

    /// When [`Checker::tick`] has something to do.
    pub fn due(&self) -> SimTime {
        self.due
    }

    /// What is due at `now`, with a server that looks as `sight` says. `Some` tells that the server is up, or down,
    /// from now on.
    pub fn tick(&mut self, now: SimTime, sight: Sight) -> Option<bool> {
        let started = self.trying.unwrap_or(now);
        let ends = started + self.rule.connect_timeout;
        // At the end of a try nothing is sent any more.
        let over = self.trying.is_some() && now >= ends;
        match sight {
            Sight::Silent if !over => {
                self.trying = Some(started);
                self.due = next_syn(started, now).min(ends);
                None
            }
            _ => self.ended(now, sight == Sight::Good && !over),
        }
    }

    /// A try has ended.
    fn ended(&mut self, now: SimTime, success: bool) -> Option<bool> {
        self.trying = None;
        let before = self.up;
        let rule = self.rule;
        let pause = match (rule.kind, success) {
            (CheckKind::Tcp, true) => {
                (self.up, self.failures) = (true, 0);
                rule.delay_loop
            }
            // A server that is out is tried as often before a check counts as failed.
            (CheckKind::Tcp, false) if self.failures >= rule.retry => {
                (self.up, self.failures) = (false, 0);
                rule.delay_loop
            }
            (CheckKind::Http, true) => {
                self.up |= !self.url_failed;
                (self.url_failed, self.failures) = (false, 0);
                rule.delay_loop
            }
            (CheckKind::Http, false) if self.failures >= rule.retry => {
                (self.up, self.url_failed) = (false, true);
                rule.delay_before_retry.max(rule.delay_loop)
            }
            (CheckKind::Tcp | CheckKind::Http, false) => {
                self.failures += 1;
                rule.delay_before_retry
            }
        };
        self.due = now + pause;
        (self.up != before).then_some(self.up)
    }
}

/// When the kernel repeats the SYN of a try: 1, 3, 7, ... seconds after its start (`TCP_TIMEOUT_INIT`, doubled each time).
pub fn next_syn(started: SimTime, now: SimTime) -> SimTime {
    let mut after = SimDuration::from_secs(1);
    while started + after <= now {
        after = after * 2 + SimDuration::from_secs(1);
    }
    started + after
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(kind: CheckKind) -> CheckRule {
        CheckRule {
            kind,
            delay_loop: SimDuration::from_secs(6),
            connect_timeout: SimDuration::from_secs(3),
            retry: 3,
            delay_before_retry: SimDuration::from_secs(1),
            warmup: None,
            alpha: false,
        }
    }

    /// Seconds at which the verdict changes up to `until`, for a server that looks bad, as told, between two times.
    fn verdicts(kind: CheckKind, bad: Sight, from: u64, to: u64, until: u64) -> Vec<(u64, bool)> {
        let mut checker = Checker::new(rule(kind), true, SimTime::ZERO);
        let mut changes = Vec::new();
        while checker.due() <= SimTime::from_millis(until * 1_000) {
            let now = checker.due();
            let seconds = now.0 / 1_000_000_000;
            let sight = if (from..to).contains(&seconds) { bad } else { Sight::Good };
            changes.extend(checker.tick(now, sight).map(|up| (seconds, up)));
        }
        changes
    }

    #[test]
    fn a_refusing_server_is_out_after_all_retries() {
        assert_eq!(verdicts(CheckKind::Tcp, Sight::Bad, 6, 1_000, 30), [(9, false)]);
        assert_eq!(verdicts(CheckKind::Tcp, Sight::Bad, 1, 1_000, 30), [(9, false)]);
    }

    #[test]
    fn a_silent_server_is_out_after_all_retries_and_their_time_outs() {
        assert_eq!(verdicts(CheckKind::Tcp, Sight::Silent, 6, 1_000, 30), [(6 + 4 * 3 + 3, false)]);
    }

    #[test]
    fn while_a_server_is_out_each_round_of_checks_tries_as_often_as_before() {
        // Out at 9; tries at 15, 16, 17, 18 and then at 24: one that is back at 16 is in at 16, one that is back at 19
        // waits for the next round.
        assert_eq!(verdicts(CheckKind::Tcp, Sight::Bad, 1, 16, 60)[1], (16, true));
        assert_eq!(verdicts(CheckKind::Tcp, Sight::Bad, 1, 19, 60)[1], (24, true));
    }

    #[test]
    fn a_silent_server_that_comes_back_is_found_by_the_next_syn_of_the_try_under_way() {
        // A try starts at 27 (out at 21, 6 s later), its SYN is repeated at 28.
        assert_eq!(verdicts(CheckKind::Tcp, Sight::Silent, 6, 28, 60)[1], (28, true));
        // Back at 29: the try that started at 27 ends at 30 (a third SYN would come then), the next starts at 31.
        assert_eq!(verdicts(CheckKind::Tcp, Sight::Silent, 6, 29, 60)[1], (31, true));
    }

    #[test]
    fn http_get_takes_a_server_back_after_two_successes() {
        assert_eq!(verdicts(CheckKind::Http, Sight::Bad, 1, 20, 60), [(9, false), (21 + 6, true)]);
    }

    #[test]
    fn detection_lies_between_its_bounds_and_reaches_them() {
        for (bad, silent) in [(Sight::Bad, false), (Sight::Silent, true)] {
            let [shortest, longest] = rule(CheckKind::Tcp).detection(silent);
            // Checks take place at 0, 6, 12, ...
            let right_before = verdicts(CheckKind::Tcp, bad, 6, 1_000, 60)[0].0 - 6;
            let right_after = verdicts(CheckKind::Tcp, bad, 1, 1_000, 60)[0].0;
            assert_eq!(SimDuration::from_secs(right_before), shortest);
            assert_eq!(SimDuration::from_secs(right_after), longest, "died just after the check at 0");
        }
    }

    #[test]
    fn at_the_start_one_failure_is_enough_and_alpha_waits_for_a_success() {
        let mut checker = Checker::starting(rule(CheckKind::Tcp), SimTime::ZERO);
        assert_eq!(checker.tick(SimTime::ZERO, Sight::Bad), Some(false));
        let mut alpha = Checker::starting(CheckRule { alpha: true, ..rule(CheckKind::Tcp) }, SimTime::ZERO);
        assert!(!alpha.is_up());
        assert_eq!(alpha.tick(SimTime::ZERO, Sight::Good), Some(true));
    }

    #[test]
    fn the_first_check_comes_within_the_warm_up() {
        let rule = rule(CheckKind::Tcp);
        assert_eq!(rule.first_check(0.0), SimDuration::from_secs(1));
        assert_eq!(rule.first_check(0.5), SimDuration::from_secs(4));
        let none = CheckRule { warmup: Some(SimDuration::ZERO), ..rule };
        assert_eq!(none.first_check(0.9), SimDuration::from_secs(1));
    }
}

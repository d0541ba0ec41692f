//! HAProxy's health checks: `check inter … fall … rise …`, and what it learns from the requests that it passes on
//! (`observe`).
//!
//! HAProxy 2.6, `src/check.c` (`set_server_check_status`, `__health_adjust`, `srv_getinter`, `start_checks`). Health is one
//! number from 0 (down) to `rise + fall - 1` (fully up); a server is up from `rise` on. Not modelled: agents,
//! `track`. Time-outs of checks are those of its configuration manual (4.2, `timeout check`) and not recorded.

use crate::engine::{SimDuration, SimTime};

/// The check parameters of one `server` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HaproxyCheck {
    /// `inter`: from the end of a check to the next one of a server that is fully up.
    pub inter: SimDuration,
    /// `fastinter`: the same between up and down; `None` is `inter`.
    pub fastinter: Option<SimDuration>,
    /// `downinter`: the same of a server that is fully down; `None` is `inter`.
    pub downinter: Option<SimDuration>,
    /// `option httpchk`: a page is asked for, and a status from 400 on is a failure; else a connection is enough.
    pub httpchk: bool,
    /// `timeout check`: how long a server has to answer once it has accepted the connection; `None`: `inter` for both.
    pub timeout_check: Option<SimDuration>,
    /// `rise`, at least 1: successes that bring a server back.
    pub rise: u32,
    /// `fall`, at least 1: failures that take a server out.
    pub fall: u32,
    /// `observe`.
    pub observe: Observe,
    /// `error-limit`: failed requests in a row that have the effect of [`HaproxyCheck::on_error`].
    pub error_limit: u32,
    /// `on-error`.
    pub on_error: OnError,
}

/// `observe`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Observe {
    /// Nothing.
    #[default]
    Nothing,
    /// `layer4`: connections to the server.
    Layer4,
    /// `layer7`: its answers.
    Layer7,
}

impl Observe {
    /// All, by the words of a `server` line; to observe nothing has none there.
    pub const WORDS: [(&'static str, Self); 3] =
        [("none", Self::Nothing), ("layer4", Self::Layer4), ("layer7", Self::Layer7)];

    /// Its word.
    pub fn word(self) -> &'static str {
        Self::WORDS.into_iter().find(|&(_, one)| one == self).map_or("", |(word, _)| word)
    }
}

/// `on-error`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// `fastinter`: nothing but more frequent checks.
    Fastinter,
    /// `fail-check`: counts as a failed check.
    #[default]
    FailCheck,
    /// `sudden-death`: one failed check short of down.
    SuddenDeath,
    /// `mark-down`: down at once.
    MarkDown,
}

impl OnError {
    /// All, by the words of a `server` line.
    pub const WORDS: [(&'static str, Self); 4] = [
        ("fastinter", Self::Fastinter),
        ("fail-check", Self::FailCheck),
        ("sudden-death", Self::SuddenDeath),
        ("mark-down", Self::MarkDown),
    ];

    /// Its word.
    pub fn word(self) -> &'static str {
        Self::WORDS.into_iter().find(|&(_, one)| one == self).map_or("", |(word, _)| word)
    }
}

impl Default for HaproxyCheck {
    fn default() -> Self {
        Self {
            inter: SimDuration::from_secs(2),
            fastinter: None,
            downinter: None,
            httpchk: false,
            timeout_check: None,
            rise: 2,
            fall: 3,
            observe: Observe::Nothing,
            error_limit: 10,
            on_error: OnError::FailCheck,
        }
    }
}

impl HaproxyCheck {
    /// How long a try waits for the connection: `inter`, or with `timeout check` the shorter of that and `timeout connect`.
    pub fn connect_limit(&self, timeout_connect: Option<SimDuration>) -> SimDuration {
        let limit = timeout_connect.filter(|_| self.timeout_check.is_some());
        limit.map_or(self.inter, |limit| limit.min(self.inter))
    }

    /// Until when a try that began at `began` and was connected at `connected` waits for the answer.
    pub fn answer_limit(&self, began: SimTime, connected: SimTime) -> SimTime {
        self.timeout_check.map_or(began + self.inter, |timeout| connected + timeout)
    }
}

/// What a request showed of its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// The connection was made (true) or not.
    Connection(bool),
    /// A good answer (true), or a status from 500 on, or none.
    Answer(bool),
}

/// The health of one server.
#[derive(Clone, Copy, Debug)]
pub struct HaproxyHealth {
    check: HaproxyCheck,
    health: u32,
    /// Failed requests in a row.
    errors: u32,
}

impl HaproxyHealth {
    /// At the start: up, and one failure from down.
    pub fn new(check: HaproxyCheck) -> Self {
        Self { health: check.rise, check, errors: 0 }
    }

    /// Whether the server is up.
    pub fn is_up(&self) -> bool {
        self.health >= self.check.rise
    }

    fn full(&self) -> u32 {
        self.check.rise + self.check.fall - 1
    }

    /// A check passed or failed.
    pub fn checked(&mut self, passed: bool) {
        if passed {
            self.health = (self.health + 1).min(self.full());
            if self.is_up() {
                self.health = self.full();
            }
            self.errors = 0;
        } else {
            self.health = self.health.saturating_sub(1);
            if !self.is_up() {
                self.health = 0;
            }
        }
    }

    /// A request showed something.
    pub fn observed(&mut self, observed: Observed) {
        let good = match (self.check.observe, observed) {
            (Observe::Layer4, Observed::Connection(good)) | (Observe::Layer7, Observed::Answer(good)) => good,
            // A failed connection is no answer either.
            (Observe::Layer7, Observed::Connection(false)) => false,
            (Observe::Layer7, Observed::Connection(true))
            | (Observe::Layer4, Observed::Answer(_))
            | (Observe::Nothing, _) => return,
        };
        if good {
            self.errors = 0;
            return;
        }
        self.errors += 1;
        if self.errors < self.check.error_limit {
            return;
        }
        self.errors = 0;
        match self.check.on_error {
            OnError::Fastinter => {}
            OnError::FailCheck => self.checked(false),
            OnError::SuddenDeath => {
                self.health = self.health.min(self.check.rise + 1);
                self.checked(false);
            }
            OnError::MarkDown => {
                self.health = self.health.min(self.check.rise);
                self.checked(false);
            }
        }
    }

    /// An operator brought the server back from maintenance: up at once.
    pub fn revived(&mut self) {
        self.health = self.check.rise;
    }

    /// From the end of a check to the next one.
    pub fn interval(&self) -> SimDuration {
        let check = &self.check;
        match self.health {
            0 => check.downinter.unwrap_or(check.inter),
            health if health == self.full() => check.inter,
            _ => check.fastinter.unwrap_or(check.inter),
        }
    }
}

/// When the first check of the server at `place` (from 0, of `servers`) takes place after the start: they are spread over
/// the smallest interval that is at least a second, and over no less than the server's own.
pub fn first_check(checks: &[HaproxyCheck], place: usize) -> SimDuration {
    let interval = |check: &HaproxyCheck| check.fastinter.unwrap_or(check.inter);
    let Some(check) = checks.get(place) else { return SimDuration::ZERO };
    let second = SimDuration::from_secs(1);
    let smallest = checks.iter().map(interval).filter(|&interval| interval >= second).min();
    let spread = interval(check).max(smallest.unwrap_or_default());
    SimDuration(spread.0 / checks.len() as u64 * place as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check() -> HaproxyCheck {
        HaproxyCheck { rise: 2, fall: 3, ..HaproxyCheck::default() }
    }

    #[test]
    fn after_the_start_one_failure_takes_a_server_out_and_later_three_do() {
        let mut health = HaproxyHealth::new(check());
        health.checked(false);
        assert!(!health.is_up());
        health.checked(true);
        assert!(!health.is_up(), "one success of two");
        health.checked(true);
        assert!(health.is_up());
        for up in [true, true, false] {
            health.checked(false);
            assert_eq!(health.is_up(), up);
        }
    }

    #[test]
    fn a_failure_starts_the_rise_anew_and_a_success_the_fall() {
        let mut health = HaproxyHealth::new(check());
        health.checked(true);
        for _ in 0..4 {
            health.checked(false);
            health.checked(false);
            health.checked(true);
            assert!(health.is_up());
        }
        (0..3).for_each(|_| health.checked(false));
        for _ in 0..4 {
            health.checked(true);
            health.checked(false);
            assert!(!health.is_up());
        }
    }

    #[test]
    fn intervals_follow_the_health() {
        let secs = SimDuration::from_secs;
        let check =
            HaproxyCheck { inter: secs(5), fastinter: Some(secs(1)), downinter: Some(secs(9)), ..check() };
        let mut health = HaproxyHealth::new(check);
        assert_eq!(health.interval(), secs(1));
        health.checked(true);
        assert_eq!(health.interval(), secs(5));
        (0..3).for_each(|_| health.checked(false));
        assert_eq!(health.interval(), secs(9));
    }

    #[test]
    fn failed_requests_in_a_row_count_as_configured() {
        for (on_error, checks_to_down) in [
            (OnError::Fastinter, 3),
            (OnError::FailCheck, 2),
            (OnError::SuddenDeath, 1),
            (OnError::MarkDown, 0),
        ] {
            let check = HaproxyCheck { observe: Observe::Layer4, error_limit: 2, on_error, ..check() };
            let mut health = HaproxyHealth::new(check);
            health.checked(true);
            for good in [false, true, false] {
                health.observed(Observed::Connection(good));
            }
            assert_eq!(health.health, 4, "not in a row");
            health.observed(Observed::Connection(false));
            let mut checks = 0;
            while health.is_up() {
                health.checked(false);
                checks += 1;
            }
            assert_eq!(checks, checks_to_down, "{on_error:?}");
        }
    }

    #[test]
    fn first_checks_are_spread_over_a_second_or_more() {
        let millis = SimDuration::from_millis;
        let every = |inter| vec![HaproxyCheck { inter: millis(inter), ..check() }; 3];
        let starts = |checks: &[HaproxyCheck]| [0, 1, 2].map(|place| first_check(checks, place));
        assert_eq!(starts(&every(600)), [0, 200, 400].map(millis));
        assert_eq!(starts(&every(3_000)), [0, 1_000, 2_000].map(millis));
        let mut mixed = every(600);
        mixed[0].inter = millis(1_500);
        assert_eq!(starts(&mixed), [0, 500, 1_000].map(millis));
    }
}

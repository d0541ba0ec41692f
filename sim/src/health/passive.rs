//! Passive health: what a balancer learns from the requests that it passes on.
//!
//! The rule is that of nginx 1.22.1, `src/http/ngx_http_upstream_round_robin.c`:
//! `ngx_http_upstream_get_peer` (who is out, and when a look at him is due) and
//! `ngx_http_upstream_free_round_robin_peer` (what the end of an attempt changes). Its clock counts whole seconds, and
//! [`PassiveWindow`] takes every time as such: seconds of a wall clock, which never go back.
//!
//! What follows from the rule, and shows in recordings:
//! - a server that is out gets exactly one probe a window: the pick itself moves `checked`, which keeps everyone else
//!   away until the probe has ended. The pause is between `fail_timeout` and `fail_timeout` + 1 s;
//! - a success forgives everything at once, but only one that a probe or the first pick after a quiet
//!   `fail_timeout` began: successes within `fail_timeout` of the last failure leave the count alone, so failures less than
//!   that apart add up over any length of time.

/// `max_fails` and `fail_timeout` of one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassiveRule {
    /// Failures that take the server out; 0 never does.
    pub max_fails: u32,
    /// How long it then stays out, and how long failures are remembered, in whole seconds.
    pub fail_timeout_s: u64,
}

/// The failures of one server.
///
/// All counts start at zero, as in nginx, where second 0 is 1970. At a simulated start, where the clock itself shows a
/// second near 0, this makes no difference: nothing reads the times before a failure has written them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PassiveWindow {
    /// Failures since the last success that counted.
    fails: u32,
    /// Second of the last failure.
    accessed_s: u64,
    /// Second of the last failure or of the pick that opened a new window.
    checked_s: u64,
}

impl PassiveWindow {
    /// Whether failures keep the server out in second `now_s`.
    #[inline]
    pub fn is_out(&self, rule: PassiveRule, now_s: u64) -> bool {
        self.has_failed(rule) && now_s.saturating_sub(self.checked_s) <= rule.fail_timeout_s
    }

    /// Whether enough failures are counted: from the one that takes the server out until a success forgives them. Meanwhile it
    /// gets nobody but a probe each `fail_timeout`.
    #[inline]
    pub fn has_failed(&self, rule: PassiveRule) -> bool {
        rule.max_fails != 0 && self.fails >= rule.max_fails
    }

    /// The server was picked in second `now_s`.
    #[inline]
    pub fn picked(&mut self, rule: PassiveRule, now_s: u64) {
        if now_s.saturating_sub(self.checked_s) > rule.fail_timeout_s {
            self.checked_s = now_s;
        }
    }

    /// An attempt failed in second `now_s`.
    pub fn failed(&mut self, now_s: u64) {
        self.fails = self.fails.saturating_add(1);
        self.accessed_s = now_s;
        self.checked_s = now_s;
    }

    /// An attempt ended without a failure.
    #[inline]
    pub fn succeeded(&mut self) {
        if self.accessed_s < self.checked_s {
            self.fails = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: PassiveRule = PassiveRule { max_fails: 1, fail_timeout_s: 3 };

    fn failed_at(now_s: u64) -> PassiveWindow {
        let mut window = PassiveWindow::default();
        window.picked(RULE, now_s);
        window.failed(now_s);
        window
    }

    #[test]
    fn a_failed_server_is_out_through_the_whole_of_its_last_second() {
        let window = failed_at(100);
        assert!((100..=103).all(|now_s| window.is_out(RULE, now_s)));
        assert!(!window.is_out(RULE, 104));
    }

    #[test]
    fn one_probe_keeps_everyone_else_away_until_it_has_ended() {
        let mut window = failed_at(100);
        window.picked(RULE, 104);
        assert!(window.is_out(RULE, 104), "a second request must not follow the probe");
        window.succeeded();
        assert!(!window.is_out(RULE, 104), "the probe's success brings everyone back at once");
    }

    #[test]
    fn a_failed_probe_starts_the_window_anew() {
        let mut window = failed_at(100);
        window.picked(RULE, 104);
        window.failed(105);
        assert!(window.is_out(RULE, 108));
        assert!(!window.is_out(RULE, 109));
    }

    #[test]
    fn failures_add_up_across_successes_that_come_too_soon() {
        let rule = PassiveRule { max_fails: 3, fail_timeout_s: 3 };
        let mut window = PassiveWindow::default();
        for now_s in [100, 103, 106] {
            assert!(!window.is_out(rule, now_s));
            window.picked(rule, now_s);
            window.failed(now_s);
            window.picked(rule, now_s + 1);
            window.succeeded();
        }
        assert!(window.is_out(rule, 107));
    }

    #[test]
    fn a_success_after_a_quiet_window_forgives_all_failures() {
        let rule = PassiveRule { max_fails: 2, fail_timeout_s: 3 };
        let mut window = failed_at(100);
        window.picked(rule, 104);
        window.succeeded();
        window.failed(105);
        assert!(!window.is_out(rule, 105), "the count must have begun again");
    }

    #[test]
    fn without_max_fails_no_failure_counts() {
        let rule = PassiveRule { max_fails: 0, fail_timeout_s: 3 };
        let mut window = PassiveWindow::default();
        for _ in 0..5 {
            window.failed(100);
        }
        assert!(!window.is_out(rule, 100));
    }
}

//! keepalived 2.2.7 `TCP_CHECK`: connects to a server every `delay_loop`; after a failure it tries `retry` more times,
//! `delay_before_retry` apart, before it takes the server out of the table; one success puts it back.
//!
//! A refused connection fails at once. A try that a silent server leaves unanswered lasts `connect_timeout`, which whoever drives
//! the check adds to the time to the next one.

use crate::engine::SimDuration;

/// The options of `TCP_CHECK`, the same for each real server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TcpCheck {
    /// `delay_loop`: time between checks.
    pub delay_loop: SimDuration,
    /// `connect_timeout`.
    pub connect_timeout: SimDuration,
    /// `retry`: further checks before a server is taken out.
    pub retry: u32,
    /// `delay_before_retry`.
    pub delay_before_retry: SimDuration,
}

/// The check of one server.
#[derive(Clone, Copy, Debug)]
pub struct TcpChecker {
    check: TcpCheck,
    /// Whether the server is in the table.
    in_table: bool,
    /// Failures in a row.
    failures: u32,
}

/// What a check leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Nothing changes.
    Unchanged,
    /// The server is taken out of the table.
    Remove,
    /// The server is put back.
    Add,
}

impl TcpChecker {
    /// A check of a server that is in the table.
    pub fn new(check: TcpCheck) -> Self {
        Self { check, in_table: true, failures: 0 }
    }

    /// Whether the check leaves the server in the table.
    pub fn is_up(&self) -> bool {
        self.in_table
    }

    /// A check takes place: `accepts` says whether the server accepted the connection. Returns the verdict and the time to
    /// the next check.
    pub fn probe(&mut self, accepts: bool) -> (Verdict, SimDuration) {
        if accepts {
            self.failures = 0;
            let verdict = if self.in_table { Verdict::Unchanged } else { Verdict::Add };
            self.in_table = true;
            return (verdict, self.check.delay_loop);
        }
        if !self.in_table {
            return (Verdict::Unchanged, self.check.delay_loop);
        }
        self.failures += 1;
        if self.failures > self.check.retry {
            self.failures = 0;
            self.in_table = false;
            (Verdict::Remove, self.check.delay_loop)
        } else {
            (Verdict::Unchanged, self.check.delay_before_retry)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusing_server_is_removed_after_all_retries_and_one_success_brings_it_back() {
        let secs = SimDuration::from_secs;
        let check =
            TcpCheck { delay_loop: secs(6), connect_timeout: secs(3), retry: 3, delay_before_retry: secs(1) };
        let mut checker = TcpChecker::new(check);
        assert_eq!(checker.probe(true), (Verdict::Unchanged, secs(6)));
        for _ in 0..3 {
            assert_eq!(checker.probe(false), (Verdict::Unchanged, secs(1)));
        }
        assert_eq!(checker.probe(false), (Verdict::Remove, secs(6)));
        assert_eq!(checker.probe(false), (Verdict::Unchanged, secs(6)));
        assert_eq!(checker.probe(true), (Verdict::Add, secs(6)));
        assert_eq!(checker.probe(false), (Verdict::Unchanged, secs(1)));
    }
}

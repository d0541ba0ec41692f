//! Cookies that name a server.

use crate::engine::{SimDuration, SimTime};

/// How long a cookie that names a server is good, to be kept to by whoever keeps it or reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CookieLife {
    /// From the answer that set it last; `None` is no limit.
    pub idle: Option<SimDuration>,
    /// From the answer that set the first of an unbroken row; `None` is no limit.
    pub total: Option<SimDuration>,
}

impl CookieLife {
    /// Until the browser is closed, which no simulated one is.
    pub const UNLIMITED: Self = Self { idle: None, total: None };

    /// Whether a cookie is good at `now` that was first set at `first` and last at `last`.
    #[inline]
    pub fn is_good(self, now: SimTime, first: SimTime, last: SimTime) -> bool {
        let within = |limit: Option<SimDuration>, since| limit.is_none_or(|limit| now.since(since) <= limit);
        within(self.idle, last) && within(self.total, first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_grows_old_by_its_last_answer_and_by_its_first() {
        let at = |seconds: u64| SimTime::from_millis(1_000 * seconds);
        let limit = |seconds| Some(SimDuration::from_secs(seconds));
        let life = CookieLife { idle: limit(10), total: limit(30) };
        assert!(life.is_good(at(30), at(0), at(20)));
        assert!(!life.is_good(at(31), at(0), at(25)), "too old since the first");
        assert!(!life.is_good(at(31), at(10), at(20)), "too old since the last");
        assert!(CookieLife::UNLIMITED.is_good(at(1_000_000), at(0), at(0)));
    }
}

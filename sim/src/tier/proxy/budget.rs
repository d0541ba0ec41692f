//! How many of a proxy's requests may be tried again.
//!
//! - `max_retries` and `retry_budget` of Envoy 1.30's circuit breakers (`ResourceManagerImpl::RetryBudgetImpl`,
//!   `RetryStateImpl::shouldRetry`): a number of retries under way at a time, fixed or a share of the requests under way. A request
//!   that is tried again takes its place until it ends, or asks for another try.
//! - the retry budget of Linkerd 2 and Finagle (`TpsBudget` of tower 0.4): each answer allows for a share of a retry within `ttl`,
//!   and so many a second are allowed in any case. Here the tenths of `ttl` over which that is counted lie at its multiples.
//!
//! Envoy's workers share these counts, and so they are one here.

use crate::engine::{SimDuration, SimTime};

/// The rule that a proxy keeps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RetryBudget {
    /// Every request may be tried again.
    Unlimited,
    /// `max_retries`: so many at a time.
    AtATime(u32),
    /// `retry_budget` of Envoy.
    Share {
        /// `budget_percent`: share of the requests under way \[percent\], 0 to 100.
        percent: f64,
        /// `min_retry_concurrency`: so many at a time in any case.
        at_least: u32,
    },
    /// `retryBudget` of Linkerd.
    Ratio {
        /// `retry_ratio`: retries per answered request, 0 to 1000.
        ratio: f64,
        /// `min_retries_per_second`: so many a second in any case.
        per_second: u32,
        /// `ttl`: how long an answer allows for its share, 1 s to 60 s.
        ttl: SimDuration,
    },
}

impl RetryBudget {
    /// What Envoy keeps unless it is told otherwise.
    pub const ENVOY: Self = Self::AtATime(3);
}

/// Parts of `ttl` over which retries are counted.
const SLOTS: u64 = 10;
/// A retry, in the units in which they are counted.
const RETRY: i64 = 1_000;

/// The account of a proxy.
#[derive(Debug)]
pub(super) struct RetryAccount {
    rule: RetryBudget,
    /// Retries under way.
    under_way: u32,
    /// By part of `ttl`: what answers have paid in, less what retries took out \[1 / [`RETRY`]\].
    slots: [i64; SLOTS as usize],
    /// The part of `ttl` that was counted last, from time zero.
    slot: u64,
    /// Retries that were not allowed.
    pub refused: u64,
}

impl RetryAccount {
    /// Nothing has happened yet.
    pub fn new(rule: RetryBudget) -> Self {
        Self { rule, under_way: 0, slots: [0; SLOTS as usize], slot: 0, refused: 0 }
    }

    /// A request was answered.
    #[inline]
    pub fn answered(&mut self, now: SimTime) {
        if let RetryBudget::Ratio { ratio, ttl, .. } = self.rule {
            let slot = self.slot_at(now, ttl);
            self.slots[slot] += (ratio * RETRY as f64).round() as i64;
        }
    }

    /// Whether a request may be tried again, while `others` are under way; if so, it takes its place.
    pub fn takes(&mut self, now: SimTime, others: u64) -> bool {
        let allowed = match self.rule {
            RetryBudget::Unlimited => true,
            RetryBudget::AtATime(most) => self.under_way < most,
            RetryBudget::Share { percent, at_least } => {
                let most = (percent / 100.0 * others as f64) as u64;
                u64::from(self.under_way) < most.max(at_least.into())
            }
            RetryBudget::Ratio { per_second, ttl, .. } => {
                let slot = self.slot_at(now, ttl);
                let reserve = (f64::from(per_second) * ttl.as_secs_f64()) as i64 * RETRY;
                let allowed = self.slots.iter().sum::<i64>() + reserve >= RETRY;
                self.slots[slot] -= if allowed { RETRY } else { 0 };
                allowed
            }
        };
        self.under_way += u32::from(allowed);
        self.refused += u64::from(!allowed);
        allowed
    }

    /// A request that was tried again gives its place back.
    #[inline]
    pub fn gives_back(&mut self) {
        self.under_way -= 1;
    }

    /// The place of the part of `ttl` that it is now; those that are older than `ttl` count no more.
    fn slot_at(&mut self, now: SimTime, ttl: SimDuration) -> usize {
        let slot = now.0 / (ttl.0 / SLOTS).max(1);
        let passed = (slot - self.slot).min(SLOTS);
        for old in 0..passed {
            self.slots[((slot - old) % SLOTS) as usize] = 0;
        }
        self.slot = slot;
        (slot % SLOTS) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> SimTime {
        SimTime::from_millis(ms)
    }

    #[test]
    fn a_fixed_number_of_retries_is_under_way_at_a_time() {
        let mut account = RetryAccount::new(RetryBudget::ENVOY);
        let taken: Vec<bool> = (0..5).map(|_| account.takes(at(1), 1_000)).collect();
        assert_eq!((taken, account.refused), (vec![true, true, true, false, false], 2));
        account.gives_back();
        assert!(account.takes(at(1), 1_000) && !account.takes(at(1), 1_000));
    }

    #[test]
    fn a_share_of_the_requests_under_way_may_be_retries_and_a_few_always() {
        let taken = |others| {
            let mut account = RetryAccount::new(RetryBudget::Share { percent: 20.0, at_least: 3 });
            (0..1_000).filter(|_| account.takes(at(1), others)).count()
        };
        // A fifth, rounded down.
        assert_eq!([taken(0), taken(15), taken(24), taken(500)], [3, 3, 4, 100]);
    }

    #[test]
    fn answers_pay_for_retries_until_they_are_too_old() {
        let rule = RetryBudget::Ratio { ratio: 0.2, per_second: 0, ttl: SimDuration::from_secs(10) };
        let mut account = RetryAccount::new(rule);
        (0..4).for_each(|_| account.answered(at(500)));
        assert!(!account.takes(at(600), 0), "four answers pay for 0.8 of a retry");
        account.answered(at(9_999));
        assert!(account.takes(at(9_999), 0) && !account.takes(at(9_999), 0));
        (0..5).for_each(|_| account.answered(at(20_500)));
        assert!(!account.takes(at(30_000), 0), "after ten seconds they are forgotten");
    }

    #[test]
    fn so_many_retries_a_second_are_allowed_without_an_answer() {
        let rule = RetryBudget::Ratio { ratio: 0.0, per_second: 2, ttl: SimDuration::from_secs(5) };
        let mut account = RetryAccount::new(rule);
        let mut taken = |now| (0..100).filter(|_| account.takes(now, 0)).count();
        // Ten within any five seconds.
        assert_eq!([taken(at(100)), taken(at(4_999)), taken(at(5_000))], [10, 0, 10]);
    }
}

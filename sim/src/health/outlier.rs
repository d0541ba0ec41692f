//! Envoy's outlier detection: hosts that answer badly are ejected for a while, the longer the more often.
//!
//! Source: Envoy 1.31, `source/common/upstream/outlier_detection_impl.cc` (`DetectorImpl::onConsecutiveErrorWorker`, `ejectHost`,
//! `checkHostForUneject`, `processSuccessRateEjections`) and `api/envoy/config/cluster/v3/outlier_detection.proto`. Options keep
//! their spelling there. No recording stands behind it.
//!
//! Departures: `enforcing_…` percentages are 100 for what is switched on, so nothing is drawn; no `max_ejection_time_jitter`;
//! failures that Envoy itself finds (refused, reset, timed out) count as 5xx, as without
//! `split_external_local_origin_errors`; no failure percentage. Hosts that an active check has taken out count as hosts.

use crate::engine::{SimDuration, SimTime};
use crate::ids::ServerId;

/// `outlier_detection` of a cluster.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct OutlierDetection {
    /// `consecutive_5xx`: answers with 5xx, or none, in a row that eject a host; 0 never does.
    pub consecutive_5xx: u32,
    /// `consecutive_gateway_failure`: the same of answers with 502, 503 and 504, or none.
    pub consecutive_gateway_failure: u32,
    /// `interval`: time between looks at the hosts: who comes back, and who succeeds too rarely.
    pub interval: SimDuration,
    /// `base_ejection_time`: how long the first ejection lasts at least; the n-th in close succession n times as long.
    pub base_ejection_time: SimDuration,
    /// `max_ejection_time`: the longest; not below the base.
    pub max_ejection_time: SimDuration,
    /// `max_ejection_percent`: share of all hosts that may be out together \[percent\], 0 to 100.
    pub max_ejection_percent: u32,
    /// `always_eject_one_host`: whatever that share.
    pub always_eject_one_host: bool,
    /// Ejection by success rate; `None` is `enforcing_success_rate = 0`.
    pub success_rate: Option<SuccessRate>,
}

/// Ejection of hosts that succeed less often than the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SuccessRate {
    /// `success_rate_minimum_hosts`: with so many requests, for the rates to be compared.
    pub minimum_hosts: u32,
    /// `success_rate_request_volume`: requests in an interval.
    pub request_volume: u32,
    /// `success_rate_stdev_factor`: ejected is who is below the mean by so many thousandths of the standard deviation.
    pub stdev_factor: u32,
}

impl Default for SuccessRate {
    /// Envoy's defaults.
    fn default() -> Self {
        Self { minimum_hosts: 5, request_volume: 100, stdev_factor: 1_900 }
    }
}

impl Default for OutlierDetection {
    /// Envoy's defaults.
    fn default() -> Self {
        Self {
            consecutive_5xx: 5,
            consecutive_gateway_failure: 0,
            interval: SimDuration::from_secs(10),
            base_ejection_time: SimDuration::from_secs(30),
            max_ejection_time: SimDuration::from_secs(300),
            max_ejection_percent: 10,
            always_eject_one_host: false,
            success_rate: Some(SuccessRate::default()),
        }
    }
}

/// One host.
#[derive(Clone, Copy, Debug, Default)]
struct Host {
    failures: u32,
    gateway_failures: u32,
    /// Answers, and good ones, in this interval.
    answers: u32,
    successes: u32,
    /// How often the base time the next ejection lasts, less one.
    backoff: u64,
    ejected_at: Option<SimTime>,
}

/// The hosts of one cluster, as one Envoy sees them.
#[derive(Clone, Debug)]
pub struct Outliers {
    rule: OutlierDetection,
    hosts: Vec<Host>,
    ejected: u32,
    next_look: SimTime,
}

impl Outliers {
    /// So many hosts, all in; the first look comes at `first_look`. An interval of zero counts as one millisecond.
    pub fn new(rule: OutlierDetection, hosts: usize, first_look: SimTime) -> Self {
        let interval = rule.interval.max(SimDuration::from_millis(1));
        let rule = OutlierDetection { interval, ..rule };
        Self { rule, hosts: vec![Host::default(); hosts], ejected: 0, next_look: first_look }
    }

    /// Whether the host is out.
    #[inline]
    pub fn is_ejected(&self, host: ServerId) -> bool {
        self.hosts[host.index()].ejected_at.is_some()
    }

    /// When [`Outliers::tick`] has something to do.
    #[inline]
    pub fn next_due(&self) -> SimTime {
        self.next_look
    }

    /// When it last looked at the hosts, or would have before the start.
    pub fn last_look(&self) -> SimTime {
        SimTime(self.next_look.0.saturating_sub(self.rule.interval.0))
    }

    /// A request ended at `host`: with a status, or for `None` without an answer. Says whether that ejected it.
    #[inline]
    pub fn ended(&mut self, now: SimTime, host: ServerId, status: Option<u16>) -> bool {
        let OutlierDetection { consecutive_5xx, consecutive_gateway_failure, .. } = self.rule;
        let row = &mut self.hosts[host.index()];
        row.answers += 1;
        let status = status.unwrap_or(503);
        if status < 500 {
            row.successes += 1;
            (row.failures, row.gateway_failures) = (0, 0);
            return false;
        }
        row.failures += 1;
        row.gateway_failures = if matches!(status, 502..=504) { row.gateway_failures + 1 } else { 0 };
        let gateway = row.gateway_failures > 0 && row.gateway_failures == consecutive_gateway_failure;
        let any = row.failures == consecutive_5xx;
        // A row that has grown to its limit begins anew, whether or not it led to an ejection.
        if gateway {
            row.gateway_failures = 0;
        }
        if any {
            row.failures = 0;
        }
        (gateway || any) && self.eject(now, host.index())
    }

    /// Looks at the hosts, if that is due at `now`. Says whether any was ejected or came back.
    pub fn tick(&mut self, now: SimTime) -> bool {
        let mut changed = false;
        while self.next_look <= now {
            let at = self.next_look;
            self.next_look = at + self.rule.interval;
            for host in 0..self.hosts.len() {
                changed |= self.readmit(at, host);
            }
            changed |= self.compare(at);
        }
        changed
    }

    fn readmit(&mut self, now: SimTime, host: usize) -> bool {
        let longest = self.rule.max_ejection_time.max(self.rule.base_ejection_time);
        let row = &mut self.hosts[host];
        let Some(ejected_at) = row.ejected_at else {
            row.backoff = row.backoff.saturating_sub(1);
            return false;
        };
        if (self.rule.base_ejection_time * row.backoff).min(longest) > now.since(ejected_at) {
            return false;
        }
        (row.ejected_at, row.failures, row.gateway_failures) = (None, 0, 0);
        self.ejected -= 1;
        true
    }

    fn eject(&mut self, now: SimTime, host: usize) -> bool {
        let rule = self.rule;
        if self.hosts[host].ejected_at.is_some() {
            return false;
        }
        let percent = 100.0 * f64::from(self.ejected + 1) / self.hosts.len() as f64;
        let allowed = percent <= f64::from(rule.max_ejection_percent.min(100));
        let first = rule.always_eject_one_host && self.ejected == 0;
        if !allowed && !first {
            return false;
        }
        let longest = rule.max_ejection_time.max(rule.base_ejection_time);
        let row = &mut self.hosts[host];
        if rule.base_ejection_time * row.backoff < longest + rule.base_ejection_time {
            row.backoff += 1;
        }
        row.ejected_at = Some(now);
        self.ejected += 1;
        true
    }

    /// Ejects who has succeeded far less often than the others in the interval that ends.
    fn compare(&mut self, now: SimTime) -> bool {
        let Some(SuccessRate { minimum_hosts, request_volume, stdev_factor }) = self.rule.success_rate else {
            return false;
        };
        let rate = |row: &Host| {
            let enough = row.answers >= request_volume.max(1);
            enough.then(|| 100.0 * f64::from(row.successes) / f64::from(row.answers))
        };
        let rates = || self.hosts.iter().filter_map(rate);
        let count = rates().count();
        let mut changed = false;
        if count > 0 && count >= minimum_hosts as usize {
            let mean = rates().sum::<f64>() / count as f64;
            let variance = rates().map(|rate| (rate - mean) * (rate - mean)).sum::<f64>() / count as f64;
            let threshold = mean - variance.sqrt() * f64::from(stdev_factor) / 1_000.0;
            for host in 0..self.hosts.len() {
                if rate(&self.hosts[host]).is_some_and(|rate| rate < threshold) {
                    changed |= self.eject(now, host);
                }
            }
        }
        for row in &mut self.hosts {
            (row.answers, row.successes) = (0, 0);
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: ServerId = ServerId(0);

    fn at(seconds: u64) -> SimTime {
        SimTime::from_millis(seconds * 1_000)
    }

    fn outliers(hosts: usize, change: impl FnOnce(&mut OutlierDetection)) -> Outliers {
        let mut rule = OutlierDetection { max_ejection_percent: 50, ..OutlierDetection::default() };
        change(&mut rule);
        Outliers::new(rule, hosts, at(10))
    }

    /// Five bad answers at `now`: whether they ejected the host.
    fn fail(outliers: &mut Outliers, now: SimTime, host: ServerId) -> bool {
        (0..5).fold(false, |ejected, _| outliers.ended(now, host, Some(500)) || ejected)
    }

    /// Seconds until the host comes back.
    fn out_for(outliers: &mut Outliers, from: u64) -> u64 {
        while outliers.is_ejected(HOST) {
            let due = outliers.next_due();
            outliers.tick(due);
        }
        (outliers.next_due().0 / 1_000_000_000) - 10 - from
    }

    #[test]
    fn five_bad_answers_in_a_row_eject_and_a_good_one_ends_the_row() {
        let mut outliers = outliers(4, |_| ());
        for _ in 0..4 {
            assert!(!outliers.ended(at(1), HOST, Some(500)));
        }
        assert!(!outliers.ended(at(1), HOST, Some(404)), "not of the host's making");
        assert!(!outliers.ended(at(1), HOST, None));
        assert!((0..4).fold(false, |_, _| outliers.ended(at(1), HOST, Some(502))));
        assert!(outliers.is_ejected(HOST));
        assert!(!fail(&mut outliers, at(2), HOST), "it is out already");
    }

    #[test]
    fn gateway_failures_have_a_row_of_their_own() {
        let mut outliers = outliers(4, |rule| rule.consecutive_gateway_failure = 2);
        assert!(!outliers.ended(at(1), HOST, Some(502)));
        assert!(!outliers.ended(at(1), HOST, Some(500)));
        assert!(!outliers.ended(at(1), HOST, Some(504)));
        assert!(outliers.ended(at(1), HOST, None));
    }

    #[test]
    fn ejections_grow_by_the_base_up_to_the_longest_and_shrink_with_each_quiet_look() {
        let mut outliers = outliers(4, |rule| rule.max_ejection_time = SimDuration::from_secs(100));
        let mut now = 5;
        let mut lengths = Vec::new();
        for _ in 0..5 {
            assert!(fail(&mut outliers, at(now), HOST));
            let lasted = out_for(&mut outliers, now);
            lengths.push(lasted);
            now += lasted;
        }
        // Looks come every 10 s, at times at which it is ejected from the second time on. Each time it fails at once.
        assert_eq!(lengths, [35, 60, 90, 100, 100]);
        // Five steps up, three quiet looks back, one up.
        outliers.tick(at(now + 30));
        assert!(fail(&mut outliers, at(now + 30), HOST));
        assert_eq!(out_for(&mut outliers, now + 30), 90);
    }

    #[test]
    fn no_more_than_the_share_is_ejected_but_one_always_if_so_told() {
        let eject_all =
            |outliers: &mut Outliers| (0..4).filter(|&host| fail(outliers, at(1), ServerId(host))).count();
        assert_eq!(eject_all(&mut outliers(4, |_| ())), 2);
        assert_eq!(eject_all(&mut outliers(4, |rule| rule.max_ejection_percent = 10)), 0);
        let one = |rule: &mut OutlierDetection| {
            (rule.max_ejection_percent, rule.always_eject_one_host) = (10, true);
        };
        assert_eq!(eject_all(&mut outliers(4, one)), 1);
    }

    #[test]
    fn a_host_that_succeeds_far_less_often_than_the_others_is_ejected_at_the_next_look() {
        let serve = |hosts: usize, requests: u32| {
            let mut outliers = outliers(hosts, |rule| rule.consecutive_5xx = 0);
            for request in 0..requests {
                for host in (0..hosts).map(ServerId::from_index) {
                    let bad = host == HOST && request.is_multiple_of(2);
                    outliers.ended(at(1), host, Some(if bad { 500 } else { 200 }));
                }
            }
            outliers.tick(at(10));
            outliers.is_ejected(HOST)
        };
        // One of n that is unlike the others is the root of n - 1 standard deviations below the mean: 2 for 5.
        assert!(serve(5, 100));
        assert!(!serve(5, 99), "too few requests");
        assert!(!serve(4, 100), "too few hosts");
    }
}

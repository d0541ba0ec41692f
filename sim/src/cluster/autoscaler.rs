//! How many servers an autoscaler wants.
//!
//! Follows Kubernetes 1.29, `pkg/controller/podautoscaler`: `GetResourceReplicas` and `calcPlainMetricReplicas` of
//! `replica_calculator.go` for the number, `stabilizeRecommendationWithBehaviors` of `horizontal.go` for what is done about it; as
//! there, what is seen is rounded down to whole percent, or to thousandths of a request. The cool-down is that of Amazon's target
//! tracking (`ScaleOutCooldown`). Left out: how many may come or go at a time (`behavior.….policies`), and metrics that are missing.

use std::collections::VecDeque;

use crate::engine::{SimDuration, SimTime};
use crate::scenario::{Autoscaling, ScalingTarget};

/// What is seen of a group of servers over a period.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Seen {
    /// Time that workers of servers in service were busy, or that requests were at these servers \[ns\].
    pub load_ns: u128,
    /// Servers in service.
    pub ready: u32,
    /// Servers that are to come into service, or do not answer.
    pub unready: u32,
    /// Workers of those in service.
    pub workers: u64,
    /// Workers of the others.
    pub unready_workers: u64,
    /// Length of the period, above 0.
    pub elapsed: SimDuration,
}

/// What an autoscaler remembers.
#[derive(Debug)]
pub(super) struct Autoscaler {
    min: u32,
    max: u32,
    target: ScalingTarget,
    tolerance: f64,
    cooldown: SimDuration,
    stabilisation: SimDuration,
    /// How many were wanted, and when, as far back as counts.
    wanted: VecDeque<(SimTime, u32)>,
    scaled_out_at: Option<SimTime>,
}

impl Autoscaler {
    /// One that has seen nothing.
    pub fn new(plan: &Autoscaling) -> Self {
        Self {
            min: plan.min,
            max: plan.max,
            target: plan.target,
            tolerance: plan.tolerance,
            cooldown: plan.scale_out_cooldown,
            stabilisation: plan.scale_in_stabilisation,
            wanted: VecDeque::new(),
            scaled_out_at: None,
        }
    }

    /// How many servers there are to be from `now` on, those included that are to come into service.
    pub fn decide(&mut self, now: SimTime, seen: &Seen) -> u32 {
        let current = seen.ready + seen.unready;
        if self.wanted.is_empty() {
            // As many as there are when it starts were wanted then.
            self.wanted.push_back((now, current));
        }
        while self.wanted.front().is_some_and(|&(at, _)| now.since(at) >= self.stabilisation) {
            self.wanted.pop_front();
        }
        let wanted = self.wanted(seen);
        let lately = self.wanted.iter().fold(wanted, |most, &(_, wanted)| most.max(wanted));
        self.wanted.push_back((now, wanted));
        let cools_down = self.scaled_out_at.is_some_and(|at| now.since(at) < self.cooldown);
        let decided = match wanted {
            more if more > current => {
                if cools_down {
                    current
                } else {
                    more
                }
            }
            _ => lately.min(current),
        };
        let decided = decided.clamp(self.min, self.max);
        if decided > current {
            self.scaled_out_at = Some(now);
        }
        decided
    }

    /// How many servers would bring what is seen to the target.
    fn wanted(&self, seen: &Seen) -> u32 {
        let current = seen.ready + seen.unready;
        if seen.ready == 0 {
            return current;
        }
        let ratio = self.ratio(seen, (seen.ready, seen.workers));
        let is_near = |ratio: f64| (1.0 - ratio).abs() <= self.tolerance;
        if seen.unready == 0 || ratio <= 1.0 {
            return if is_near(ratio) { current } else { (ratio * f64::from(seen.ready)).ceil() as u32 };
        }
        // What is under way will take its share.
        let ratio = self.ratio(seen, (current, seen.workers + seen.unready_workers));
        if ratio < 1.0 || is_near(ratio) { current } else { (ratio * f64::from(current)).ceil() as u32 }
    }

    /// What is seen, spread over so many servers and workers, over the target.
    fn ratio(&self, seen: &Seen, (servers, workers): (u32, u64)) -> f64 {
        let elapsed = u128::from(seen.elapsed.0);
        let (unit, width, target) = match self.target {
            ScalingTarget::Utilisation(share) => (100, u128::from(workers), share * 100.0),
            ScalingTarget::InFlight(requests) => (1_000, u128::from(servers), requests * 1_000.0),
        };
        let seen = (seen.load_ns * unit).checked_div(width * elapsed).unwrap_or(0);
        seen as f64 / target.round()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Distribution;

    fn autoscaler(target: ScalingTarget, stabilisation_s: u64, cooldown_s: u64) -> Autoscaler {
        Autoscaler::new(&Autoscaling {
            servers: Vec::new(),
            min: 2,
            max: 20,
            initial: 2,
            target,
            period: SimDuration::from_secs(15),
            tolerance: 0.1,
            scale_out_cooldown: SimDuration::from_secs(cooldown_s),
            scale_in_stabilisation: SimDuration::from_secs(stabilisation_s),
            boot: Distribution::Constant(60.0),
            drain: SimDuration::ZERO,
        })
    }

    fn at(s: u64) -> SimTime {
        SimTime::ZERO + SimDuration::from_secs(s)
    }

    /// Servers of ten workers each, so many of which were busy on average, over 15 s.
    fn busy(ready: u32, unready: u32, workers_busy: f64) -> Seen {
        let elapsed = SimDuration::from_secs(15);
        Seen {
            load_ns: (workers_busy * elapsed.0 as f64) as u128,
            ready,
            unready,
            workers: u64::from(ready) * 10,
            unready_workers: u64::from(unready) * 10,
            elapsed,
        }
    }

    fn utilisation(stabilisation_s: u64, cooldown_s: u64) -> Autoscaler {
        autoscaler(ScalingTarget::Utilisation(0.6), stabilisation_s, cooldown_s)
    }

    #[test]
    fn decisions_are_those_that_the_rule_gives_by_hand() {
        // ceil(servers × seen / target) at a target of 60 %, unless within a tenth of it; 2 to 20.
        for (ready, workers_busy, wanted) in [
            (3, 27.0, 5),    // 90 %: 4.5
            (3, 30.0, 5),    // full: 5
            (4, 24.0, 4),    // on target
            (10, 65.9, 10),  // 65 %, rounded down: within a tenth
            (10, 67.0, 12),  // 67 %: 11.2
            (10, 54.0, 10),  // 54 %: a tenth below
            (10, 53.0, 9),   // 53 %: 8.8
            (10, 12.0, 2),   // 12 %: 2
            (10, 0.0, 2),    // idle: the least
            (15, 150.0, 20), // full: 25, of which there are 20
        ] {
            let decided = utilisation(0, 0).decide(at(15), &busy(ready, 0, workers_busy));
            assert_eq!(decided, wanted, "{ready} servers, {workers_busy} workers busy");
        }
        let in_flight = |requests: f64| {
            let mut scaler = autoscaler(ScalingTarget::InFlight(20.0), 0, 0);
            scaler.decide(at(15), &busy(4, 0, requests))
        };
        // 4 servers with 45 requests each want 9; with 21 each they are near enough.
        assert_eq!((in_flight(180.0), in_flight(84.0)), (9, 4));
    }

    #[test]
    fn servers_that_boot_take_their_share_beforehand_and_are_not_asked_for_again() {
        let decide = |seen| utilisation(0, 0).decide(at(15), &seen);
        // Three full ones and two that boot: 30 of 50 workers, on target.
        assert_eq!(decide(busy(3, 2, 30.0)), 5);
        // With one that boots 30 of 40 are 75 %: 4 × 1.25.
        assert_eq!(decide(busy(3, 1, 30.0)), 5);
        // Spread over five 24 would be below the target: no reason to have fewer, either.
        assert_eq!(decide(busy(3, 2, 24.0)), 5);
        // Idle servers are counted without those that boot.
        assert_eq!(decide(busy(6, 2, 18.0)), 3);
        assert_eq!(decide(busy(0, 3, 0.0)), 3, "nothing is seen where nobody is in service");
    }

    #[test]
    fn within_the_tolerance_nothing_ever_changes() {
        let mut scaler = utilisation(0, 0);
        for look in 0..1_000_u64 {
            let workers_busy = if look % 2 == 0 { 54.0 } else { 65.9 };
            assert_eq!(scaler.decide(at(15 * look), &busy(10, 0, workers_busy)), 10);
        }
    }

    #[test]
    fn servers_go_when_none_were_wanted_for_the_time_of_stabilisation() {
        let mut scaler = utilisation(60, 0);
        let mut decisions = Vec::new();
        for (s, workers_busy) in
            [(0, 60.0), (15, 30.0), (30, 48.0), (45, 30.0), (60, 30.0), (75, 30.0), (90, 30.0), (105, 30.0)]
        {
            decisions.push(scaler.decide(at(s), &busy(10, 0, workers_busy)));
        }
        // Ten are wanted at 0 s, eight at 30 s, else five; each counts for less than 60 s after it.
        assert_eq!(decisions, [10, 10, 10, 10, 8, 8, 5, 5]);
    }

    #[test]
    fn while_it_cools_down_no_other_server_is_asked_for() {
        let mut scaler = utilisation(0, 60);
        assert_eq!(scaler.decide(at(0), &busy(3, 0, 30.0)), 5);
        assert_eq!(scaler.decide(at(45), &busy(5, 0, 50.0)), 5);
        assert_eq!(scaler.decide(at(60), &busy(5, 0, 50.0)), 9);
    }
}

//! When something changes that nobody watches: Poisson and periodic processes that can be asked at any time.
//!
//! A process is looked at backwards from a time, as a list of the names of its latest events. Nothing is stored or
//! advanced, so a client that was away for a year costs what one costs that was away for a minute, and the answer depends
//! on the time asked for alone, never on who asked before.
//!
//! A Poisson process is cut into windows as long as its mean interval: a window holds a Poisson number of events, mean 1, at
//! uniform places, all drawn under the window's name.

use super::count_law::poisson;
use crate::engine::{SimDuration, SimTime, Stream};

/// Intervals before time zero in which events can lie: none in all of them has probability e^-64.
const HISTORY: u64 = 64;

/// Stands for the time before all events.
pub(super) const SINCE_EVER: u64 = 0;

/// A process of events.
#[derive(Clone, Copy, Debug)]
pub(super) enum Renewal {
    /// No event ever.
    Never,
    /// Events at random times.
    Poisson {
        /// Mean time between two.
        mean: SimDuration,
    },
    /// Events at equal distances.
    Periodic {
        /// The distance.
        period: SimDuration,
        /// The time of one of them.
        phase: SimTime,
    },
}

impl Renewal {
    /// The names of the events of `entity` up to `now`, latest first. They end with the history.
    pub(super) fn back<'a>(&self, now: SimTime, stream: &'a Stream, entity: u64) -> Back<'a> {
        match *self {
            Self::Never => Back::Counted { next: SINCE_EVER },
            Self::Poisson { mean } => Back::Drawn {
                stream,
                entity,
                window: now.0 / mean.0 + HISTORY,
                below: (now.0 % mean.0) as f64 / mean.0 as f64,
            },
            Self::Periodic { period, phase } => {
                let into = phase.0 % period.0;
                Back::Counted { next: (now.0 + HISTORY * period.0 - into) / period.0 }
            }
        }
    }

    /// The name of the latest event of `entity` up to `now`; [`SINCE_EVER`] if there is none.
    #[inline]
    pub(super) fn latest(&self, now: SimTime, stream: &Stream, entity: u64) -> u64 {
        self.back(now, stream, entity).next().unwrap_or(SINCE_EVER)
    }
}

/// The names of events, latest first; no name is [`SINCE_EVER`].
#[derive(Debug)]
pub(super) enum Back<'a> {
    /// Events that are numbered.
    Counted {
        /// The next one.
        next: u64,
    },
    /// Events in windows.
    Drawn {
        /// Where they are drawn from.
        stream: &'a Stream,
        /// Whose they are.
        entity: u64,
        /// The window that is looked at.
        window: u64,
        /// The next event is the last one before this place in the window, 0 to 1.
        below: f64,
    },
}

impl Iterator for Back<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        match self {
            Self::Counted { next } => {
                let name = *next;
                *next = name.saturating_sub(1);
                (name != SINCE_EVER).then_some(name)
            }
            Self::Drawn { stream, entity, window, below } => {
                while *window > 0 {
                    let mut draws = stream.draws(*entity, *window);
                    let count = poisson(1.0, draws.uniform());
                    let mut latest = None;
                    for number in 0..count {
                        let place = draws.uniform();
                        if place < *below && latest.is_none_or(|(at, _)| place > at) {
                            latest = Some((place, number));
                        }
                    }
                    if let Some((place, number)) = latest {
                        *below = place;
                        return Some(*window << 8 | u64::from(number.min(255)));
                    }
                    *window -= 1;
                    *below = 1.0;
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::ids::StreamId;

    const HOUR: SimDuration = SimDuration::from_secs(3_600);

    fn stream() -> Stream {
        Stream::new(5, 0, StreamId::Leases)
    }

    #[test]
    fn the_number_of_events_of_a_poisson_process_has_its_mean_and_variance() {
        // Method: walk back from many hours of many entities and count the events of the last ten mean intervals. A Poisson
        // number with mean 10 has mean and variance 10; their standard errors over n are sqrt(10/n) and sqrt(210/n).
        let (process, stream) = (Renewal::Poisson { mean: HOUR }, stream());
        let n: u64 = 4_000;
        let counts: Vec<f64> = (0..n)
            .map(|entity| {
                let now = SimTime::ZERO + SimDuration(HOUR.0 * 30 + entity * 17_000_000_007);
                let all: BTreeSet<u64> = process.back(now, &stream, entity).collect();
                let earlier = process.back(SimTime(now.0 - 10 * HOUR.0), &stream, entity);
                (all.len() - earlier.count()) as f64
            })
            .collect();
        let mean = counts.iter().sum::<f64>() / n as f64;
        let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
        assert!((mean - 10.0).abs() < 5.0 * (10.0 / n as f64).sqrt(), "{mean}");
        assert!((variance - 10.0).abs() < 5.0 * (210.0 / n as f64).sqrt(), "{variance}");
    }

    #[test]
    fn intervals_of_a_poisson_process_are_exponential_across_windows() {
        // Method: watch the latest event every 36 s and note how long each lasts: mean 1 h, share beyond 2 h e^-2.
        let process = Renewal::Poisson { mean: HOUR };
        let (mut lengths, mut since) = (Vec::new(), None);
        let mut latest = process.latest(SimTime::ZERO, &stream(), 9);
        for step in 1..400_000_u64 {
            let name = process.latest(SimTime(step * HOUR.0 / 100), &stream(), 9);
            if name != latest {
                latest = name;
                if let Some(since) = since.replace(step) {
                    lengths.push((step - since) as f64 / 100.0);
                }
            }
        }
        let n = lengths.len() as f64;
        let mean = lengths.iter().sum::<f64>() / n;
        let long = lengths.iter().filter(|&&length| length > 2.0).count() as f64 / n;
        assert!(n > 3_500.0);
        // Two events within one step look like one: a hundredth of the intervals is missed.
        assert!((mean - 1.01).abs() < 5.0 / n.sqrt(), "{mean}");
        assert!((long - 0.1353 * 1.01).abs() < 5.0 * (0.117 / n).sqrt() + 0.002, "{long}");
    }

    #[test]
    fn a_periodic_process_changes_at_its_phase_and_never_between() {
        let process = Renewal::Periodic { period: HOUR, phase: SimTime(HOUR.0 * 3 / 2) };
        let name = |minutes: u64| process.latest(SimTime(minutes * HOUR.0 / 60), &stream(), 1);
        assert_eq!(name(0), name(29));
        assert_eq!(name(29) + 1, name(30));
        assert_eq!(name(30) + 1, name(90));
        assert_eq!(name(90), name(149));
    }

    #[test]
    fn the_answer_is_the_same_in_whatever_order_one_asks() {
        let process = Renewal::Poisson { mean: HOUR };
        let ask = |step: u64| process.latest(SimTime(step * HOUR.0 / 7), &stream(), step % 13);
        let forwards: Vec<u64> = (0..500).map(ask).collect();
        let mut backwards: Vec<u64> = (0..500).rev().map(ask).collect();
        backwards.reverse();
        assert_eq!(forwards, backwards);
    }

    #[test]
    fn a_long_absence_costs_no_more_than_a_short_one() {
        // The draws of a question are those of the windows that are looked at: two on average, the history at most.
        let process = Renewal::Poisson { mean: SimDuration::from_secs(1) };
        let century = SimTime::ZERO + SimDuration::from_secs(100 * 365 * 86_400);
        assert_ne!(process.latest(century, &stream(), 0), SINCE_EVER);
        assert_eq!(Renewal::Never.latest(century, &stream(), 0), SINCE_EVER);
    }
}

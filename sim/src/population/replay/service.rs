//! How long requests took, as far as a log says it.
//!
//! What counts is the time in the servers behind: nginx's `$upstream_response_time`, HAProxy's Tr, Traefik's
//! `OriginDuration`; where a log has only the whole time of a request (`$request_time`, Apache's `%D` and `%T`), that, which
//! the client's own slowness lengthens. Both hold the time spent waiting in the server.

use std::collections::BTreeMap;

/// The unit of a logged time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum TimeUnit {
    #[default]
    Seconds,
    Millis,
    Micros,
    Nanos,
    /// Seconds with a point in it (Caddy); a whole number says nothing, since programs mean different units by it.
    SecondsWithPoint,
}

/// How long a request took.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoggedTime {
    /// Microseconds, rounded down.
    pub micros: u64,
    /// The smallest step that the log writes, in microseconds, at least 1.
    pub step: u64,
}

/// Longest time that is taken for one \[µs\]: a week.
const MICROS_MAX: f64 = 604_800e6;

/// The time that `text` is, if it is one: the last of several (nginx writes one for each server that it tried).
pub(super) fn parse_service(text: &[u8], unit: TimeUnit) -> Option<LoggedTime> {
    let last = text.rsplit(|byte| matches!(byte, b',' | b':')).next()?.trim_ascii();
    let number = std::str::from_utf8(last).ok()?;
    let decimals = number.split_once('.').map_or(0, |(_, fraction)| fraction.len() as i32);
    let has_point = number.contains(['.', 'e', 'E']);
    let per_unit = match unit {
        TimeUnit::SecondsWithPoint if !has_point => return None,
        TimeUnit::Seconds | TimeUnit::SecondsWithPoint => 1e6,
        TimeUnit::Millis => 1e3,
        TimeUnit::Micros => 1.0,
        TimeUnit::Nanos => 1e-3,
    };
    let value = number.parse::<f64>().ok()? * per_unit;
    if !(0.0..MICROS_MAX).contains(&value) {
        return None;
    }
    // A decimal that floats do not have may lie a little below its microsecond.
    let micros = (value + 1e-3) as u64;
    let step = (per_unit / 10_f64.powi(decimals.min(9))).round().max(1.0) as u64;
    Some(LoggedTime { micros, step })
}

/// Times of requests that servers worked for, to three digits.
#[derive(Clone, Debug, Default)]
pub(super) struct ServiceTally {
    counts: BTreeMap<u64, u64>,
    /// The smallest step seen.
    step: Option<u64>,
}

impl ServiceTally {
    pub fn add(&mut self, time: LoggedTime) {
        let mut unit = 1;
        while time.micros / unit >= 1_000 {
            unit *= 10;
        }
        *self.counts.entry(time.micros / unit * unit).or_default() += 1;
        self.step = Some(self.step.map_or(time.step, |step| step.min(time.step)));
    }

    /// The tally as it is told: how many requests took how many microseconds, and the log's step.
    pub fn finish(self) -> Option<ServiceTimes> {
        Some(ServiceTimes { micros: self.counts.into_iter().collect(), step: self.step? })
    }
}

/// How long requests for other than static objects took.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceTimes {
    /// Microseconds, to three digits rounded down, ascending, and how many requests took so long.
    pub micros: Vec<(u64, u64)>,
    /// The smallest step that the log writes, in microseconds.
    pub step: u64,
}

impl ServiceTimes {
    /// How many requests there are times of.
    pub fn requests(&self) -> u64 {
        self.micros.iter().map(|(_, requests)| requests).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_their_unit_with_the_step_of_their_digits() {
        for (text, unit, micros, step) in [
            ("0.021", TimeUnit::Seconds, 21_000, 1_000),
            ("0.004, 0.300", TimeUnit::Seconds, 300_000, 1_000),
            ("0.004 : 1.001", TimeUnit::Seconds, 1_001_000, 1_000),
            ("3", TimeUnit::Seconds, 3_000_000, 1_000_000),
            ("1532", TimeUnit::Micros, 1_532, 1),
            ("69", TimeUnit::Millis, 69_000, 1_000),
            ("1234567", TimeUnit::Nanos, 1_234, 1),
            ("0.0001234", TimeUnit::SecondsWithPoint, 123, 1),
        ] {
            let found = parse_service(text.as_bytes(), unit);
            assert_eq!(found, Some(LoggedTime { micros, step }), "{text}");
        }
        for (text, unit) in [
            ("-", TimeUnit::Seconds),
            ("", TimeUnit::Seconds),
            ("-1", TimeUnit::Millis),
            ("0.004, -", TimeUnit::Seconds),
            ("nan", TimeUnit::Seconds),
            ("1e99", TimeUnit::Seconds),
            ("12", TimeUnit::SecondsWithPoint),
        ] {
            assert_eq!(parse_service(text.as_bytes(), unit), None, "{text}");
        }
    }

    #[test]
    fn a_tally_keeps_three_digits() {
        let mut tally = ServiceTally::default();
        for micros in [0, 999, 1_234, 1_239, 21_000, 4_567_890] {
            tally.add(LoggedTime { micros, step: 1 });
        }
        let times = tally.finish().expect("times");
        assert_eq!(times.micros, [(0, 1), (999, 1), (1_230, 2), (21_000, 1), (4_560_000, 1)]);
        assert_eq!(ServiceTally::default().finish(), None);
    }
}

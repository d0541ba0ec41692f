//! Simulated time in whole nanoseconds. Floats become time only here, when a scenario is read or a draw is scaled.

use std::fmt;
use std::ops::{Add, AddAssign, Mul, Sub};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// A point in simulated time: nanoseconds since the start of the run (warm-up included). Range: 584 years.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SimTime(pub u64);

/// A length of simulated time \[ns\].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SimDuration(pub u64);

impl SimTime {
    /// The start of the run.
    pub const ZERO: Self = Self(0);
    /// Later than any event.
    pub const NEVER: Self = Self(u64::MAX);

    /// Time since `earlier`; zero if `earlier` is later.
    #[inline(always)]
    pub const fn since(self, earlier: Self) -> SimDuration {
        SimDuration(self.0.saturating_sub(earlier.0))
    }

    /// Seconds since the start of the run, for printing and statistics.
    pub fn as_secs_f64(self) -> f64 {
        SimDuration(self.0).as_secs_f64()
    }

    /// A time from whole milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }
}

impl SimDuration {
    /// No time.
    pub const ZERO: Self = Self(0);
    /// Longer than any run.
    pub const MAX: Self = Self(u64::MAX);

    /// A duration from whole seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs * NANOS_PER_SECOND)
    }

    /// A duration from whole milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    /// A duration from seconds, rounded to the nanosecond; negative values and NaN become zero, values beyond the
    /// range become [`SimDuration::MAX`].
    #[inline]
    pub fn from_secs_f64(secs: f64) -> Self {
        // `as` saturates and sends NaN to zero; adding one half rounds without a call to the maths library.
        let nanos = secs * 1e9 + 0.5;
        // Below 2^63 a conversion to a signed number takes a third of the instructions.
        if nanos < (1_u64 << 63) as f64 { Self((nanos as i64).max(0) as u64) } else { Self(nanos as u64) }
    }

    /// Seconds, for printing and statistics.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// Whether this is no time at all.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl Add<SimDuration> for SimTime {
    type Output = Self;
    /// Saturates at [`SimTime::NEVER`].
    #[inline(always)]
    fn add(self, by: SimDuration) -> Self {
        Self(self.0.saturating_add(by.0))
    }
}

impl Sub for SimTime {
    type Output = SimDuration;
    /// The time between two points; zero if the right one is later.
    #[inline(always)]
    fn sub(self, earlier: Self) -> SimDuration {
        self.since(earlier)
    }
}

impl Add for SimDuration {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for SimDuration {
    #[inline(always)]
    fn add_assign(&mut self, other: Self) {
        self.0 = self.0.saturating_add(other.0);
    }
}

impl Mul<u64> for SimDuration {
    type Output = Self;
    #[inline(always)]
    fn mul(self, by: u64) -> Self {
        Self(self.0.saturating_mul(by))
    }
}

impl fmt::Display for SimDuration {
    /// The shortest exact spelling with one unit, as scenarios write it: `20ms`, `90s`, `2h`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 7] = [
            (86_400 * NANOS_PER_SECOND, "d"),
            (3_600 * NANOS_PER_SECOND, "h"),
            (60 * NANOS_PER_SECOND, "min"),
            (NANOS_PER_SECOND, "s"),
            (1_000_000, "ms"),
            (1_000, "us"),
            (1, "ns"),
        ];
        let (size, unit) = UNITS
            .into_iter()
            .find(|&(size, _)| self.0 != 0 && self.0.is_multiple_of(size))
            .unwrap_or((NANOS_PER_SECOND, "s"));
        write!(f, "{}{unit}", self.0 / size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print_as_scenarios_write_them() {
        for (nanos, text) in [
            (0, "0s"),
            (20_000_000, "20ms"),
            (90_000_000_000, "90s"),
            (7_200_000_000_000, "2h"),
            (1_500, "1500ns"),
        ] {
            assert_eq!(SimDuration(nanos).to_string(), text);
        }
    }

    #[test]
    fn floats_round_to_the_nanosecond_and_saturate() {
        assert_eq!(SimDuration::from_secs_f64(0.020), SimDuration::from_millis(20));
        assert_eq!(SimDuration::from_secs_f64(-1.0), SimDuration::ZERO);
        assert_eq!(SimDuration::from_secs_f64(f64::NAN), SimDuration::ZERO);
        assert_eq!(SimDuration::from_secs_f64(f64::INFINITY), SimDuration::MAX);
    }
}

//! How numbers are written, in the terminal and in HTML alike.
//!
//! Digits follow the interval: half its width is shown with one significant digit, or two when it begins with a 1, and the
//! mean is cut at the same place. The files for machines (CSV, JSON) do not use this module: they carry every digit.

use evenkeel_sim::experiment::summary::Estimate;
use evenkeel_sim::metrics::Unit;

/// What stands where there is no value.
pub const UNDEFINED: &str = "–";

/// Smallest step that is shown: 10^-4 of the shown unit.
const MOST_DECIMALS: i32 = 4;

/// How a quantity is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scale {
    /// A ratio around one or an index from 0 to 1, shown as it is.
    Plain,
    /// A share, shown in per cent; its differences are percentage points (`pp`).
    Percent,
    /// A number of things.
    Count,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// Things a second.
    PerSecond,
}

impl Scale {
    /// How the metric called `name`, counted in `unit`, is shown. The catalogue counts shares and indices alike as ratios;
    /// the last word of the name tells them apart.
    pub fn of(name: &str, unit: Unit) -> Self {
        const INDICES: [&str; 6] =
            [".peak_to_mean", ".peak_to_nominal", ".jain", ".cv", ".gini", ".window.p95"];
        match unit {
            Unit::Ratio if INDICES.iter().any(|index| name.ends_with(index)) => Self::Plain,
            Unit::Ratio => Self::Percent,
            Unit::Count => Self::Count,
            Unit::Seconds => Self::Seconds,
            Unit::Milliseconds => Self::Milliseconds,
            Unit::PerSecond => Self::PerSecond,
        }
    }

    /// What the value is multiplied by before it is shown.
    const fn factor(self) -> f64 {
        if matches!(self, Self::Percent) { 100.0 } else { 1.0 }
    }

    /// The unit behind a value, with its leading space.
    const fn suffix(self) -> &'static str {
        match self {
            Self::Plain | Self::Count => "",
            Self::Percent => " %",
            Self::Seconds => " s",
            Self::Milliseconds => " ms",
            Self::PerSecond => " /s",
        }
    }

    /// The unit behind a difference, with its leading space.
    const fn difference_suffix(self) -> &'static str {
        if matches!(self, Self::Percent) { " pp" } else { self.suffix() }
    }
}

/// A value with its interval: `1.35 ±0.02`, `4.2 % ±0.3`, `812 ms`, `–`.
pub fn estimate(value: Option<Estimate>, scale: Scale) -> String {
    match value {
        Some(value) if value.mean.is_finite() => {
            let (mean, half_width) = digits(value, scale, false);
            format!("{mean}{}{half_width}", scale.suffix())
        }
        _ => UNDEFINED.to_owned(),
    }
}

/// A paired difference with its interval and its sign: `+0.30 ±0.01`, `−3.1 pp ±0.4`, `–`.
pub fn difference(value: Option<Estimate>, scale: Scale) -> String {
    match value {
        Some(value) if value.mean.is_finite() => {
            let (mean, half_width) = digits(value, scale, true);
            format!("{mean}{}{half_width}", scale.difference_suffix())
        }
        _ => UNDEFINED.to_owned(),
    }
}

/// A value without interval: `1.353`, `4.25 %`, `12,345`, `–` when it is not finite.
pub fn value(value: f64, scale: Scale) -> String {
    estimate(Some(Estimate { mean: value, half_width: None, n: 1 }), scale)
}

/// A number of bytes: `512 B`, `1.5 MB`, each unit 1024 of the one before.
pub fn bytes(bytes: f64) -> String {
    let mut value = bytes;
    let mut units = ["B", "KB", "MB", "GB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for next in units {
        if value.abs() < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    match value {
        value if !value.is_finite() => UNDEFINED.to_owned(),
        value => format!("{} {unit}", self::value(value, Scale::Count)),
    }
}

/// A length of time: `0 s`, `2.5 s`, `90 s`, `10 min`, `1 h 10 min`.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return UNDEFINED.to_owned();
    }
    if seconds.abs() < 120.0 {
        let tenths = (seconds * 10.0).round() / 10.0;
        return format!("{tenths} s").replace('-', "−");
    }
    let sign = if seconds < 0.0 { "−" } else { "" };
    let whole = seconds.abs().round() as u64;
    let parts = [(whole / 3600, "h"), (whole % 3600 / 60, "min"), (whole % 60, "s")];
    let shown: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count} {unit}")).collect();
    format!("{sign}{}", shown.join(" "))
}

/// A count of things by name: `1 replication`, `20 replications`, `2 strategies`.
pub fn plural(count: usize, thing: &str) -> String {
    let number = fixed(count as f64, 0, false);
    match (count, thing.strip_suffix('y')) {
        (1, _) => format!("{number} {thing}"),
        (_, Some(stem)) => format!("{number} {stem}ies"),
        (_, None) => format!("{number} {thing}s"),
    }
}

/// Words as a list: `a`, `a and b`, `a, b and c`.
pub fn list(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [front @ .., last] => format!("{} and {last}", front.join(", ")),
    }
}

/// The mean, and the half-width with its sign, cut at the same decimal.
fn digits(value: Estimate, scale: Scale, signed: bool) -> (String, String) {
    let mean = value.mean * scale.factor();
    match value.half_width.map(|half_width| half_width * scale.factor()).filter(|width| width.is_finite()) {
        Some(half_width) if half_width > 0.0 => {
            let decimals = decimals_of_width(half_width);
            let smallest = 1.0 / 10_f64.powi(decimals as i32);
            let shown = if half_width < smallest / 2.0 {
                format!(" ±<{}", fixed(smallest, decimals, false))
            } else {
                format!(" ±{}", fixed(half_width, decimals, false))
            };
            (fixed(mean, decimals, signed), shown)
        }
        Some(_) => (fixed(mean, decimals_of_value(mean, scale), signed), " ±0".to_owned()),
        None => (fixed(mean, decimals_of_value(mean, scale), signed), String::new()),
    }
}

/// Decimals that show `half_width` > 0 with one significant digit, or two when it begins with a 1.
fn decimals_of_width(half_width: f64) -> usize {
    let (leading, exponent) = leading_digit(half_width);
    let decimals = if leading == 1 { 1 - exponent } else { -exponent };
    decimals.clamp(0, MOST_DECIMALS) as usize
}

/// Decimals for a value that has no interval: three significant digits; three decimals for indices, whose interest
/// begins behind the point; whole numbers stay whole.
fn decimals_of_value(value: f64, scale: Scale) -> usize {
    match scale {
        Scale::Plain => 3,
        _ if value == value.round() => 0,
        _ => (2 - leading_digit(value).1).clamp(0, MOST_DECIMALS) as usize,
    }
}

/// First significant digit and decimal exponent of a finite number; taken from the exact decimal form, not a logarithm.
fn leading_digit(value: f64) -> (u32, i32) {
    let text = format!("{:e}", value.abs());
    let leading = text.chars().next().and_then(|digit| digit.to_digit(10)).unwrap_or(0);
    let exponent = text.split('e').nth(1).and_then(|exponent| exponent.parse().ok()).unwrap_or(0);
    (leading, exponent)
}

/// A number with `decimals` decimals and commas between thousands. Nothing that rounds to zero has a sign.
pub(crate) fn fixed(value: f64, decimals: usize, signed: bool) -> String {
    let text = format!("{:.decimals$}", value.abs());
    let (whole, fraction) = text.split_once('.').unwrap_or((text.as_str(), ""));
    let mut grouped = String::with_capacity(text.len() + text.len() / 3);
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if !fraction.is_empty() {
        grouped.push('.');
        grouped.push_str(fraction);
    }
    let zero = text.bytes().all(|byte| matches!(byte, b'0' | b'.'));
    let sign = match (zero, value < 0.0, signed) {
        (false, true, _) => "−",
        (false, false, true) => "+",
        _ => "",
    };
    format!("{sign}{grouped}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(mean: f64, half_width: f64) -> Option<Estimate> {
        Some(Estimate { mean, half_width: Some(half_width), n: 20 })
    }

    #[test]
    fn digits_follow_the_width_of_the_interval() {
        assert_eq!(estimate(of(1.353_21, 0.021), Scale::Plain), "1.35 ±0.02");
        assert_eq!(estimate(of(1.353_21, 0.014), Scale::Plain), "1.353 ±0.014");
        assert_eq!(estimate(of(0.042_3, 0.003), Scale::Percent), "4.2 % ±0.3");
        assert_eq!(estimate(of(12_345.6, 78.9), Scale::Count), "12,346 ±79");
        assert_eq!(estimate(of(812.4, 1.2), Scale::Milliseconds), "812.4 ms ±1.2");
        assert_eq!(estimate(of(1.0, 0.000_001), Scale::Plain), "1.0000 ±<0.0001");
    }

    #[test]
    fn a_value_without_interval_shows_none() {
        assert_eq!(value(1.353_21, Scale::Plain), "1.353");
        assert_eq!(value(0.0, Scale::Percent), "0 %");
        assert_eq!(value(0.042_512, Scale::Percent), "4.25 %");
        assert_eq!(value(1_234_567.0, Scale::Count), "1,234,567");
    }

    #[test]
    fn an_interval_of_no_width_says_so() {
        assert_eq!(estimate(of(0.0, 0.0), Scale::Percent), "0 % ±0");
    }

    #[test]
    fn undefined_and_infinite_values_are_a_dash() {
        assert_eq!(estimate(None, Scale::Plain), UNDEFINED);
        assert_eq!(value(f64::NAN, Scale::Plain), UNDEFINED);
        assert_eq!(difference(of(f64::INFINITY, 1.0), Scale::Plain), UNDEFINED);
        assert_eq!(estimate(of(1.5, f64::NAN), Scale::Plain), "1.500");
    }

    #[test]
    fn differences_carry_a_sign_and_shares_differ_by_points() {
        assert_eq!(difference(of(0.031, 0.004), Scale::Percent), "+3.1 pp ±0.4");
        assert_eq!(difference(of(-0.304, 0.011), Scale::Plain), "−0.304 ±0.011");
        assert_eq!(difference(of(-0.001, 0.03), Scale::Plain), "0.00 ±0.03");
    }

    #[test]
    fn shares_are_shown_in_per_cent_and_indices_are_not() {
        assert_eq!(Scale::of("load.requests.peak_to_mean", Unit::Ratio), Scale::Plain);
        assert_eq!(Scale::of("load.requests.window.p95", Unit::Ratio), Scale::Plain);
        assert_eq!(Scale::of("load.requests.max_share", Unit::Ratio), Scale::Percent);
        assert_eq!(Scale::of("visits.with_loss", Unit::Ratio), Scale::Percent);
    }

    #[test]
    fn durations_are_read_in_the_units_people_use() {
        assert_eq!(duration(0.0), "0 s");
        assert_eq!(duration(2.51), "2.5 s");
        assert_eq!(duration(600.0), "10 min");
        assert_eq!(duration(4_200.0), "1 h 10 min");
        assert_eq!(duration(f64::INFINITY), UNDEFINED);
    }

    #[test]
    fn lists_read_aloud() {
        assert_eq!(list(&["a"]), "a");
        assert_eq!(list(&["a", "b", "c"]), "a, b and c");
        assert_eq!(plural(1, "replication"), "1 replication");
        assert_eq!(plural(2000, "run"), "2,000 runs");
        assert_eq!(plural(2, "strategy"), "2 strategies");
    }
}

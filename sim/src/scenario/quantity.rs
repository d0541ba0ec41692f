//! Durations and distributions as scenarios write them, read and written back without loss.

use crate::engine::{Distribution, SimDuration};

use super::empirical::empirical;
use super::section::Item;

/// Longest duration that a scenario may name. It keeps sums of a few durations far inside the range of simulated time.
const LONGEST: SimDuration = SimDuration::from_secs(36_525 * 86_400);

/// Longest duration in a distribution. Below it each nanosecond is a whole number in a float, so that seconds as floats
/// print as the duration they were read from.
const LONGEST_IN_LAW: SimDuration = SimDuration::from_secs(100 * 86_400);

/// Units of durations, longest first \[ns\]. `m` and `min` are both a minute, since programs write the first and
/// readers understand the second.
const UNITS: [(&str, u64); 9] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("min", 60_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("ns", 1),
];

const DURATION_HELP: &str =
    "a duration is a string with a unit: ns, us, ms, s, min, h or d, such as \"1h30min\"";

/// Reads a duration such as `20ms`, `1.5s` or `1h30min`: numbers with units, the longest unit first. Exact to the
/// nanosecond.
///
/// # Errors
/// What is wrong with it, to be read after "`x` is no duration: ".
pub fn parse_duration(text: &str) -> Result<SimDuration, String> {
    let mut rest = text;
    let mut total: u128 = 0;
    let mut previous_unit = u64::MAX;
    while !rest.is_empty() || previous_unit == u64::MAX {
        let number_length = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_length);
        let unit_length = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_length);
        if number.is_empty() {
            return Err("a number is missing".into());
        }
        if unit.is_empty() {
            return Err("it has no unit".into());
        }
        let Some(&(_, size)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("there is no unit `{unit}`"));
        };
        if size >= previous_unit {
            return Err("units go from long to short, each once".into());
        }
        let nanos = scaled(number, size)?;
        total = total.saturating_add(nanos);
        previous_unit = size;
        rest = after;
    }
    match u64::try_from(total) {
        Ok(nanos) if nanos <= LONGEST.0 => Ok(SimDuration(nanos)),
        _ => Err(format!("it is longer than {LONGEST}")),
    }
}

/// `number` (digits, perhaps a point and digits) times `size`, exactly.
fn scaled(number: &str, size: u64) -> Result<u128, String> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) {
        return Err(format!("`{number}` is not a number"));
    }
    let whole: u128 = whole.parse().unwrap_or(u128::MAX);
    let fraction = fraction.trim_end_matches('0');
    // 18 digits are enough for any multiple of a nanosecond in a day, and 10^18 times a day fits 128 bits.
    let parts = if fraction.is_empty() { 0 } else { fraction.parse::<u128>().unwrap_or(u128::MAX) };
    let scale = if fraction.len() <= 18 { 10_u128.pow(fraction.len() as u32) } else { 0 };
    if scale == 0 || !(parts * u128::from(size)).is_multiple_of(scale) {
        return Err("it is finer than a nanosecond".into());
    }
    Ok(whole.saturating_mul(u128::from(size)).saturating_add(parts * u128::from(size) / scale))
}

/// Units of sizes, largest first \[B\].
const SIZES: [(&str, u64); 4] = [("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10), ("B", 1)];

/// Reads a size such as `64MB`: a whole number with a unit \[B\].
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let (number, size) = SIZES.iter().find_map(|(unit, size)| Some((text.strip_suffix(unit)?, size)))?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| number.parse::<u64>().ok()?.checked_mul(*size)).flatten()
}

/// A size as a scenario writes it: in the largest unit of which it is a multiple.
pub(super) fn show_size(bytes: u64) -> String {
    let (unit, size) = SIZES.into_iter().find(|(_, size)| bytes.is_multiple_of(*size)).unwrap_or(("B", 1));
    format!("{}{unit}", bytes / size)
}

/// What a distribution is a distribution of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Quantity {
    /// Durations, in seconds once read.
    Time,
    /// Plain numbers.
    Count,
}

/// Names of the laws in scenarios.
const LAWS: [&str; 9] = [
    "constant",
    "uniform",
    "exponential",
    "lognormal",
    "erlang",
    "pareto",
    "weibull",
    "inverse_gaussian",
    "empirical",
];

/// Most stages of an Erlang law; beyond it is a constant for every purpose.
const ERLANG_SHAPE_MAX: u64 = 1_000;

impl Item<'_> {
    /// A duration.
    pub fn duration(&self) -> Option<SimDuration> {
        let Some(text) = self.text() else {
            let message = format!("`{}` must be a duration with a unit, got {}", self.key, self.got());
            self.error_with_help(message, DURATION_HELP);
            return None;
        };
        match parse_duration(text) {
            Ok(duration) => Some(duration),
            Err(why) => {
                let message = format!("`{}` must be a duration, got {}: {why}", self.key, self.got());
                self.error_with_help(message, DURATION_HELP);
                None
            }
        }
    }

    /// A duration above zero.
    pub fn duration_above_zero(&self) -> Option<SimDuration> {
        let duration = self.duration()?;
        if duration.is_zero() {
            self.error(format!("`{}` must be above 0s, got {}", self.key, self.got()));
            return None;
        }
        Some(duration)
    }

    /// A duration of whole seconds, from `min` to `max` seconds, as `program` keeps it.
    pub fn whole_seconds(&self, program: &str, min: u64, max: u64) -> Option<SimDuration> {
        let duration = self.duration()?;
        let seconds = SimDuration::from_secs(1).0;
        if !duration.0.is_multiple_of(seconds) {
            self.error(format!("`{}` must be whole seconds in {program}, got {}", self.key, self.got()));
            return None;
        }
        if !(min..=max).contains(&(duration.0 / seconds)) {
            let [min, max] = [min, max].map(SimDuration::from_secs);
            self.error(format!("`{}` must be {min} to {max} in {program}, got {}", self.key, self.got()));
            return None;
        }
        Some(duration)
    }

    /// A quantity as a parameter of a law: a duration \[s\], or a number.
    pub fn parameter(&self, quantity: Quantity, above_zero: bool) -> Option<f64> {
        let time = match (quantity, above_zero) {
            (Quantity::Time, true) => self.duration_above_zero()?,
            (Quantity::Time, false) => self.duration()?,
            (Quantity::Count, true) => return self.number_above_zero(),
            (Quantity::Count, false) => return self.number_at_least(0.0),
        };
        if time > LONGEST_IN_LAW {
            self.error(format!("`{}` must be at most {LONGEST_IN_LAW}, got {}", self.key, self.got()));
            return None;
        }
        Some(time.as_secs_f64())
    }

    /// A distribution: a bare value for a constant, or a table with one law.
    pub fn distribution(&self, quantity: Quantity) -> Option<Distribution> {
        if self.is_scalar() {
            return self.parameter(quantity, false).map(Distribution::Constant);
        }
        let mut laws = self.section("a distribution such as { exponential = { mean = … } }")?;
        let law = laws.single("law", &LAWS)?;
        let (time, count) = (quantity, Quantity::Count);
        let name = LAWS.into_iter().find(|name| *name == law.key)?;
        if name == "constant" {
            return law.parameter(quantity, false).map(Distribution::Constant);
        }
        let mut section = law.section("a table of the law's parameters")?;
        let s = &mut section;
        let distribution = match name {
            "uniform" => {
                let min = s.required("min", |item| item.parameter(time, false));
                let max = s.required("max", |item| item.parameter(time, true).map(|max| (item, max)));
                min.zip(max).and_then(|(min, (item, max))| {
                    if max < min {
                        item.error(format!("`max` must be at least `min`, got {}", item.got()));
                        return None;
                    }
                    Some(Distribution::Uniform { min, max })
                })
            }
            "exponential" => {
                let mean = s.required("mean", |item| item.parameter(time, true));
                mean.map(|mean| Distribution::Exponential { mean })
            }
            "lognormal" => {
                let mean = s.required("mean", |item| item.parameter(time, true));
                let cv = s.required("cv", |item| item.parameter(count, false));
                mean.zip(cv).map(|(mean, cv)| Distribution::Lognormal { mean, cv })
            }
            "erlang" => {
                let shape = s.required("shape", |item| item.integer(1, ERLANG_SHAPE_MAX));
                let mean = s.required("mean", |item| item.parameter(time, true));
                shape.zip(mean).map(|(shape, mean)| Distribution::Erlang { shape: shape as u32, mean })
            }
            "pareto" => {
                let min = s.required("min", |item| item.parameter(time, true));
                let alpha = s.required("alpha", |item| item.parameter(count, true));
                let max = s.required("max", |item| item.parameter(time, true).map(|max| (item, max)));
                min.zip(alpha).zip(max).and_then(|((min, alpha), (item, max))| {
                    if max < min {
                        item.error(format!("`max` must be at least `min`, got {}", item.got()));
                        return None;
                    }
                    Some(Distribution::Pareto { min, alpha, max })
                })
            }
            "weibull" => {
                let scale = s.required("scale", |item| item.parameter(time, true));
                let shape = s.required("shape", |item| item.parameter(count, true));
                scale.zip(shape).map(|(scale, shape)| Distribution::Weibull { scale, shape })
            }
            "empirical" => empirical(s, quantity).map(Distribution::Empirical),
            _ => {
                let mean = s.required("mean", |item| item.parameter(time, true));
                let shape = s.required("shape", |item| item.parameter(time, true));
                mean.zip(shape).map(|(mean, shape)| Distribution::InverseGaussian { mean, shape })
            }
        };
        let own_max = matches!(name, "uniform" | "pareto");
        let max = if own_max {
            Some(None)
        } else {
            s.optional("max", None, |item| item.parameter(time, true).map(Some))
        };
        section.finish();
        Some(match (distribution?, max?) {
            (law, Some(max)) => Distribution::Truncated { law: Box::new(law), max },
            (law, None) => law,
        })
    }
}

/// The duration that reads as this many seconds.
fn exact_duration(seconds: f64) -> SimDuration {
    // The shortest decimal number that stands for the float has at most the nine digits that it was read with.
    parse_duration(&format!("{seconds}s")).unwrap_or_else(|_| SimDuration::from_secs_f64(seconds))
}

/// A law as a scenario writes it: the inverse of reading it.
pub(super) fn show_distribution(distribution: &Distribution, quantity: Quantity) -> String {
    show_law(distribution, quantity, None)
}

fn show_law(distribution: &Distribution, quantity: Quantity, cut: Option<f64>) -> String {
    let value = |value: f64| match quantity {
        Quantity::Time => format!("\"{}\"", exact_duration(value)),
        Quantity::Count => format!("{value:?}"),
    };
    let end = cut.map_or(String::new(), |max| format!(", max = {}", value(max)));
    match distribution {
        Distribution::Constant(constant) => value(*constant),
        Distribution::Uniform { min, max } => {
            format!("{{ uniform = {{ min = {}, max = {} }} }}", value(*min), value(*max))
        }
        Distribution::Exponential { mean } => {
            format!("{{ exponential = {{ mean = {}{end} }} }}", value(*mean))
        }
        Distribution::Lognormal { mean, cv } => {
            format!("{{ lognormal = {{ mean = {}, cv = {cv:?}{end} }} }}", value(*mean))
        }
        Distribution::Erlang { shape, mean } => {
            format!("{{ erlang = {{ shape = {shape}, mean = {}{end} }} }}", value(*mean))
        }
        Distribution::Pareto { min, alpha, max } => {
            format!("{{ pareto = {{ min = {}, alpha = {alpha:?}, max = {} }} }}", value(*min), value(*max))
        }
        Distribution::Weibull { scale, shape } => {
            format!("{{ weibull = {{ scale = {}, shape = {shape:?}{end} }} }}", value(*scale))
        }
        Distribution::InverseGaussian { mean, shape } => {
            format!("{{ inverse_gaussian = {{ mean = {}, shape = {}{end} }} }}", value(*mean), value(*shape))
        }
        Distribution::Empirical(law) => {
            let points: Vec<_> = law.points().map(|(p, at)| format!("[{p:?}, {}]", value(at))).collect();
            format!("{{ empirical = {{ points = [{}]{end} }} }}", points.join(", "))
        }
        Distribution::Truncated { law, max } => show_law(law, quantity, Some(*max)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::scenario::diagnostic::Report;
    use crate::scenario::section::Section;
    use crate::scenario::tree;

    #[test]
    fn durations_are_read_exactly() {
        for (text, nanos) in [
            ("0s", 0),
            ("20ms", 20_000_000),
            ("1.5s", 1_500_000_000),
            ("90s", 90_000_000_000),
            ("1h30min", 5_400_000_000_000),
            ("1h30m5.25s", 5_405_250_000_000),
            ("2d", 172_800_000_000_000),
            ("3us", 3_000),
            ("3µs", 3_000),
            ("0.1s", 100_000_000),
            ("1.000000001s", 1_000_000_001),
        ] {
            assert_eq!(parse_duration(text), Ok(SimDuration(nanos)), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_and_written_in_the_largest_unit() {
        for (text, bytes) in [("64MB", 64 << 20), ("1GB", 1 << 30), ("1500B", 1_500), ("96KB", 96 << 10)] {
            assert_eq!(parse_size(text), Some(bytes));
            assert_eq!(show_size(bytes), text);
        }
        for text in ["64", "MB", "1.5MB", "-1MB", "64 MB", "99999999999999999GB"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_says_why() {
        for (text, why) in [
            ("", "a number is missing"),
            ("20", "it has no unit"),
            ("s", "a number is missing"),
            ("20 ms", "it has no unit"),
            ("20sec", "there is no unit `sec`"),
            ("30min1h", "units go from long to short"),
            ("1m1min", "units go from long to short"),
            ("1.5ns", "it is finer than a nanosecond"),
            ("1.2.3s", "`1.2.3` is not a number"),
            ("1.s", "`1.` is not a number"),
            ("-1s", "a number is missing"),
            ("99999999d", "it is longer than"),
            ("99999999999999999999999999999999999999999999d", "it is longer than"),
            ("0.00000000000000000000000000000000000000001d", "it is finer than a nanosecond"),
        ] {
            let error = parse_duration(text).unwrap_err();
            assert!(error.starts_with(why), "{text}: {error}");
        }
    }

    #[test]
    fn an_empirical_law_prints_as_its_points_which_read_back_as_the_same_law() {
        let text = r#"{ empirical = { quantiles = ["0s", "1.5s", "2min"] } }"#;
        let read = |text: &str| {
            let report = Report::new("x.toml", &format!("law = {text}"), "");
            let table = tree::parse(&format!("law = {text}"), &report);
            let law =
                Section::root(&report, &table).take("law").and_then(|item| item.distribution(Quantity::Time));
            report.into_result().map(|()| law.expect("a law"))
        };
        let law = read(text).expect("no mistakes");
        assert_eq!(law.mean(), 0.5 * 0.75 + 0.5 * 60.75);
        let shown = show_distribution(&law, Quantity::Time);
        assert!(shown.starts_with(r#"{ empirical = { points = [[0.0, "0s"], [0.5, ""#), "{shown}");
        assert_eq!(read(&shown).expect("no mistakes"), law);
        for (text, why) in [
            (r#"{ empirical = { quantiles = ["2s", "1s"] } }"#, "must not fall"),
            (r#"{ empirical = { points = [["2s"]] } }"#, "a pair of probability and value, got 1"),
            (r#"{ empirical = { } }"#, "missing key `file`"),
            (r#"{ empirical = { file = "a", points = [] } }"#, "has one of `file`"),
            (r#"{ empirical = { file = "no such file.csv" } }"#, "cannot read no such file.csv"),
        ] {
            let mistakes = read(text).expect_err("a mistake").to_string();
            assert!(mistakes.contains(why), "{text}: {mistakes}");
        }
    }

    proptest! {
        #[test]
        fn a_duration_that_is_printed_reads_back_as_itself(nanos in 0..=LONGEST.0) {
            prop_assert_eq!(parse_duration(&SimDuration(nanos).to_string()), Ok(SimDuration(nanos)));
        }

        #[test]
        fn a_time_in_a_law_prints_as_what_reads_back_as_the_same_float(nanos in 0..=LONGEST_IN_LAW.0) {
            let seconds = SimDuration(nanos).as_secs_f64();
            prop_assert_eq!(exact_duration(seconds).as_secs_f64(), seconds);
        }
    }
}

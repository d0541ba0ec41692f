//! Metrics by name: the lines of the catalogue, and any other quantile of a time, such as `latency.p97.5`.

use std::borrow::Cow;

use super::Histogram;
use super::catalogue::{Kind, METRICS, Metric};
use super::recorder::PhaseCounts;

/// Thousandths of a per cent in all.
const WHOLE: u32 = 100_000;

/// A time of which runs keep the distribution.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Timed {
    /// Response times of answered requests.
    Latency,
    /// Waits in a queue of the balancer.
    QueueWait,
    /// Waits of a worker for the session store, by request that needed it.
    StoreWait,
    /// Times during which packets to a virtual address reached nobody.
    Silent,
    /// Times to detect a fault.
    ToDetect,
    /// Times until a server is used again.
    ToRecover,
}

impl Timed {
    /// All of them, in the order in which runs keep them.
    pub const ALL: [Self; 6] =
        [Self::Latency, Self::QueueWait, Self::StoreWait, Self::Silent, Self::ToDetect, Self::ToRecover];

    /// What the names of its quantiles begin with.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::QueueWait => "queue.wait",
            Self::StoreWait => "store.wait",
            Self::Silent => "director.silent",
            Self::ToDetect => "health.time_to_detect",
            Self::ToRecover => "health.time_to_recover",
        }
    }

    /// How many of the unit of its metrics there are in a second.
    pub const fn per_second(self) -> f64 {
        match self {
            Self::Latency | Self::QueueWait | Self::StoreWait => 1e3,
            Self::Silent | Self::ToDetect | Self::ToRecover => 1.0,
        }
    }

    /// The line of the catalogue that tells unit and direction.
    fn line(self) -> &'static str {
        if self == Self::Latency { "latency.mean" } else { self.name() }
    }
}

impl PhaseCounts {
    /// The times of a kind.
    pub fn times(&self, of: Timed) -> &Histogram {
        match of {
            Timed::Latency => &self.latency,
            Timed::QueueWait => &self.queue_wait,
            Timed::StoreWait => &self.store_wait,
            Timed::Silent => &self.tiers.silent,
            Timed::ToDetect => &self.health.time_to_detect,
            Timed::ToRecover => &self.health.time_to_recover,
        }
    }
}

/// A metric that can be asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum MetricId {
    /// A line of the catalogue, by its place.
    Line(u16),
    /// A quantile that has no line of its own, in thousandths of a per cent, above 0 and below 100,000.
    Quantile(Timed, u32),
}

impl MetricId {
    /// The metric called `name`.
    pub fn by_name(name: &str) -> Option<Self> {
        let line = |name: &str| {
            METRICS.iter().position(|metric| metric.name == name).map(|at| Self::Line(at as u16))
        };
        line(name).or_else(|| {
            let (of, share) = quantile(name)?;
            let quantile = Self::Quantile(of, share);
            // The catalogue writes per mille without its point.
            let shorter = if share == 99_900 { "latency.p999".into() } else { quantile.name() };
            line(&shorter).filter(|_| of == Timed::Latency).or(Some(quantile))
        })
    }

    /// How to write a name that [`MetricId::by_name`] does not know, if it was to be a quantile.
    pub fn advice(name: &str) -> Option<String> {
        let of = Timed::ALL.into_iter().find(|of| {
            let rest = name.strip_prefix(of.name()).and_then(|rest| rest.strip_prefix(".p"));
            rest.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
        })?;
        Some(format!(
            "a quantile lies above 0 and below 100 per cent, with three decimals at most, such as `{}.p97.5`",
            of.name()
        ))
    }

    /// Its name.
    pub fn name(self) -> Cow<'static, str> {
        match self {
            Self::Line(_) => self.line().name.into(),
            Self::Quantile(of, share) => {
                let (whole, rest) = (share / 1_000, format!("{:03}", share % 1_000));
                let rest = rest.trim_end_matches('0');
                let point = if rest.is_empty() { "" } else { "." };
                format!("{}.p{whole}{point}{rest}", of.name()).into()
            }
        }
    }

    /// What it is put together from.
    pub(crate) fn source(self) -> Source {
        match self {
            Self::Quantile(of, share) => Source::Quantile(of, f64::from(share) / f64::from(WHOLE)),
            Self::Line(at) => match (self.line().kind, self.line().name) {
                (Kind::Quantile, "latency.p999") => Source::Quantile(Timed::Latency, 0.999),
                (Kind::Quantile, name) => {
                    let (of, share) = quantile(name).expect("a quantile's name says which it is");
                    Self::Quantile(of, share).source()
                }
                _ => Source::Reading(at.into()),
            },
        }
    }

    /// The line of the catalogue that tells its unit and direction: its own, or that of the time of which it is a quantile.
    ///
    /// # Panics
    /// Panics if there is no such line: ids come from [`MetricId::by_name`].
    pub fn line(self) -> &'static Metric {
        match self {
            Self::Line(at) => &METRICS[usize::from(at)],
            Self::Quantile(of, _) => METRICS
                .iter()
                .find(|metric| metric.name == of.line())
                .expect("every time has a line in the catalogue"),
        }
    }
}

/// What replications say of a metric.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Source {
    /// A reading, by its place.
    Reading(usize),
    /// The distribution of a time, of which it is this quantile.
    Quantile(Timed, f64),
}

/// A quantile by its name: of what, in thousandths of a per cent.
fn quantile(name: &str) -> Option<(Timed, u32)> {
    Timed::ALL
        .into_iter()
        .find_map(|of| Some((of, thousandths(name.strip_prefix(of.name())?.strip_prefix(".p")?)?)))
}

/// Per cent as they are written, in thousandths, above 0 and below 100.
fn thousandths(percent: &str) -> Option<u32> {
    let (whole, rest) = percent.split_once('.').unwrap_or((percent, "0"));
    let digits = |text: &str, most: usize| {
        (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !digits(whole, 2) || !digits(rest, 3) {
        return None;
    }
    let share = format!("{whole}{rest:0<3}").parse().ok()?;
    (1..WHOLE).contains(&share).then_some(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_quantile_of_a_time_has_one_name() {
        for (written, name) in [
            ("latency.p97.5", "latency.p97.5"),
            ("latency.p97.50", "latency.p97.5"),
            ("latency.p99.9", "latency.p999"),
            ("latency.p50.0", "latency.p50"),
            ("latency.p9.5", "latency.p9.5"),
            ("queue.wait.p99", "queue.wait.p99"),
            ("store.wait.p99.999", "store.wait.p99.999"),
            ("director.silent.p50", "director.silent.p50"),
        ] {
            let id = MetricId::by_name(written).unwrap_or_else(|| panic!("{written}"));
            assert_eq!(id.name(), name);
            assert_eq!(MetricId::by_name(&id.name()), Some(id));
        }
        for (at, metric) in METRICS.iter().enumerate() {
            assert_eq!(MetricId::by_name(metric.name), Some(MetricId::Line(at as u16)));
        }
    }

    #[test]
    fn lines_of_quantiles_say_which() {
        let source = |name: &str| MetricId::by_name(name).map(MetricId::source);
        for (name, q) in [("latency.p50", 0.5), ("latency.p999", 0.999), ("latency.p97.5", 0.975)] {
            assert_eq!(source(name), Some(Source::Quantile(Timed::Latency, q)));
        }
        assert!(matches!(source("latency.mean"), Some(Source::Reading(_))));
    }

    #[test]
    fn what_is_no_quantile_is_told_how_to_write_one() {
        for wrong in [
            "latency.p0",
            "latency.p100",
            "latency.p1e1",
            "latency.p99.9999",
            "latency.p12.",
            "queue.wait.p999",
        ] {
            assert_eq!(MetricId::by_name(wrong), None, "{wrong}");
            assert!(MetricId::advice(wrong).is_some(), "{wrong}");
        }
        assert_eq!(MetricId::advice("latency.peak"), None);
    }

    #[test]
    fn quantiles_have_the_unit_of_their_time() {
        for of in Timed::ALL {
            let unit = MetricId::Quantile(of, 97_500).line().unit;
            let expected = if of.per_second() == 1.0 {
                super::super::Unit::Seconds
            } else {
                super::super::Unit::Milliseconds
            };
            assert_eq!(unit, expected, "{of:?}");
        }
    }
}

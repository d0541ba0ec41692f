//! What a sweep goes over: fields of the scenario and the values that they take.

use super::diagnostic::Source;
use super::overrides::{self, Overrides};
use super::tree::{self, Value};
use super::{Scenario, SimDuration};
use crate::engine::Stream;
use crate::ids::StreamId;

/// Points of a sweep at most: each is a scenario of its own.
pub const POINTS_MAX: u64 = 1_000_000;

/// What a sweep goes over.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SweepPlan {
    /// Fields of which every value meets every other's; the first changes slowest.
    pub grid: Vec<Axis>,
    /// Fields that are sampled together, once for each point of the grid.
    pub hypercube: Option<Hypercube>,
}

/// A field and its values.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// The field, as `--set` names it.
    pub field: String,
    /// Its values, as TOML; at least one.
    pub values: Vec<String>,
}

impl Axis {
    /// An axis as it is written after `--grid`, such as `seed=[1, 2]`: the field, and an array of its values.
    ///
    /// # Errors
    /// What is wrong with it, and how it is written.
    pub fn parse(text: &str) -> Result<Self, String> {
        let usage = || format!("`{text}` is not `field=[value, …]`, such as `replications=[10, 20]`");
        let (field, values) = text.split_once('=').ok_or_else(usage)?;
        let node = tree::parse_value(values.trim(), Source::Set, 0).ok_or_else(usage)?;
        let Value::Array(values) = node.value else { return Err(usage()) };
        if values.is_empty() {
            return Err(usage());
        }
        let values = values.iter().map(|value| value.value.to_toml()).collect();
        Ok(Self { field: field.trim().to_owned(), values })
    }
}

/// A Latin hypercube: of each field's range every n-th part is met once, in an order of its own (McKay, Beckman and Conover,
/// Technometrics 21 (1979), 239).
#[derive(Clone, Debug, PartialEq)]
pub struct Hypercube {
    /// Points, at least 1.
    pub points: u32,
    /// The fields and their ranges; at least one.
    pub fields: Vec<(String, Range)>,
}

/// A range of values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// One end; of a time in nanoseconds.
    pub from: f64,
    /// The other end.
    pub to: f64,
    /// Whether steps are ratios rather than differences; both ends are then above 0.
    pub log: bool,
    /// What its values are.
    pub kind: RangeKind,
}

/// What the values of a range are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RangeKind {
    /// Whole numbers.
    Whole,
    /// Numbers.
    Number,
    /// Times.
    Time,
}

impl Range {
    /// The value at a share of the way, from 0 to 1, as TOML. Times longer than 10 s are whole seconds, others whole milliseconds.
    fn at(&self, share: f64) -> String {
        let value = match share {
            0.0 => self.from,
            1.0 => self.to,
            _ if self.log => self.from * libm::exp(share * libm::log(self.to / self.from)),
            _ => self.from + share * (self.to - self.from),
        };
        match self.kind {
            RangeKind::Whole => format!("{}", libm::round(value) as i64),
            RangeKind::Number => format!("{value:?}"),
            RangeKind::Time => {
                let unit = if value >= 1e10 { 1e9 } else { 1e6 };
                format!("\"{}\"", SimDuration((libm::round(value / unit) * unit) as u64))
            }
        }
    }

    /// `steps` values from one end to the other.
    pub(super) fn values(&self, steps: u32) -> Vec<String> {
        let mut values: Vec<String> =
            (0..steps).map(|step| self.at(f64::from(step) / f64::from((steps - 1).max(1)))).collect();
        // Whole numbers may meet.
        values.dedup();
        values
    }
}

/// One point: (field, value) in the order of the plan.
pub type Point = Vec<(String, String)>;

impl SweepPlan {
    /// The number of points.
    pub fn points(&self) -> u64 {
        let of_grid = self.grid.iter().fold(1_u64, |all, axis| all.saturating_mul(axis.values.len() as u64));
        of_grid.saturating_mul(self.hypercube.as_ref().map_or(1, |cube| u64::from(cube.points)))
    }

    /// Every point, in order. A hypercube's are drawn with `seed`.
    pub fn expand(&self, seed: u64) -> Vec<Point> {
        let mut points = vec![Point::new()];
        for axis in &self.grid {
            let with = |point: &Point, value: &String| {
                let mut longer = point.clone();
                longer.push((axis.field.clone(), value.clone()));
                longer
            };
            points = points
                .iter()
                .flat_map(|point| axis.values.iter().map(move |value| with(point, value)))
                .collect();
        }
        let Some(cube) = &self.hypercube else { return points };
        let samples = cube.samples(seed);
        points
            .iter()
            .flat_map(|point| samples.iter().map(move |sample| [point.as_slice(), sample].concat()))
            .collect()
    }
}

impl Hypercube {
    fn samples(&self, seed: u64) -> Vec<Point> {
        let stream = Stream::new(seed, 0, StreamId::LatinHypercube);
        let n = self.points;
        let orders: Vec<Vec<u32>> = (0..self.fields.len() as u64)
            .map(|field| {
                let mut order: Vec<u32> = (0..n).collect();
                order.sort_by_key(|&part| (stream.bits(2 * field, part.into()), part));
                order
            })
            .collect();
        (0..n as usize)
            .map(|point| {
                let fields = self.fields.iter().zip(&orders).enumerate();
                fields
                    .map(|(field, ((name, range), order))| {
                        let within = stream.uniform(2 * field as u64 + 1, point as u64);
                        (name.clone(), range.at((f64::from(order[point]) + within) / f64::from(n)))
                    })
                    .collect()
            })
            .collect()
    }
}

/// The strategy (index) that a field belongs to: `strategy.NAME.…`. `None` for a field of the whole scenario.
pub fn strategy_of(field: &str, scenario: &Scenario) -> Option<usize> {
    let keys = overrides::keys(field)?;
    let [first, which, ..] = keys.as_slice() else { return None };
    if first != "strategy" {
        return None;
    }
    let named = scenario.strategies.iter().position(|strategy| strategy.name == *which);
    named.or_else(|| which.parse().ok())
}

/// The changes that make a scenario the one at a point.
pub fn at_point(point: &Point) -> Overrides {
    Overrides::new(point.iter().map(|(field, value)| format!("{field}={value}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(from: f64, to: f64, log: bool, kind: RangeKind) -> Range {
        Range { from, to, log, kind }
    }

    #[test]
    fn a_grid_is_every_value_with_every_other() {
        let axis = |field: &str, values: &[&str]| Axis {
            field: field.into(),
            values: values.iter().map(|&value| value.into()).collect(),
        };
        let plan =
            SweepPlan { grid: vec![axis("a", &["1", "2"]), axis("b", &["x", "y", "z"])], hypercube: None };
        let points = plan.expand(1);
        let shown: Vec<String> = points.iter().map(|point| format!("{}{}", point[0].1, point[1].1)).collect();
        assert_eq!(shown, ["1x", "1y", "1z", "2x", "2y", "2z"]);
        assert_eq!(plan.points(), 6);
    }

    #[test]
    fn an_axis_is_written_as_an_array() {
        let axis = Axis::parse("strategy.0.balancer=[{ lvs.rr = {} }, \"x\", 2, 0.5]").unwrap();
        assert_eq!(axis.field, "strategy.0.balancer");
        assert_eq!(axis.values, ["{ lvs = { rr = {  } } }", "\"x\"", "2", "0.5"]);
        assert!(
            Axis::parse("seed=3").is_err() && Axis::parse("seed").is_err() && Axis::parse("seed=[]").is_err()
        );
    }

    #[test]
    fn ranges_end_where_they_say() {
        assert_eq!(range(1.0, 1_000.0, true, RangeKind::Whole).values(4), ["1", "10", "100", "1000"]);
        assert_eq!(range(0.0, 1.0, false, RangeKind::Number).values(3), ["0.0", "0.5", "1.0"]);
        assert_eq!(range(3e10, 9e10, false, RangeKind::Time).values(3), ["\"30s\"", "\"1min\"", "\"90s\""]);
        assert_eq!(range(1.0, 2.0, false, RangeKind::Whole).values(5), ["1", "2"]);
    }

    #[test]
    fn a_hypercube_meets_every_part_of_every_field_once() {
        let number = range(0.0, 10.0, false, RangeKind::Number);
        let cube = Hypercube { points: 10, fields: vec![("a".into(), number), ("b".into(), number)] };
        let samples = cube.samples(7);
        for field in 0..2 {
            let mut parts: Vec<i64> =
                samples.iter().map(|point| point[field].1.parse::<f64>().expect("a number") as i64).collect();
            parts.sort();
            assert_eq!(parts, (0..10).collect::<Vec<_>>());
        }
        assert_ne!(samples, cube.samples(8));
    }
}

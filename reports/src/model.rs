//! Tables of words: what they say, and which cells stand out, but not how that is shown.

use evenkeel_sim::experiment::summary::MetricSummary;
use evenkeel_sim::metrics::Direction;

use crate::format::{self, Scale};

/// A table of words.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TableModel {
    /// The columns, left to right.
    pub columns: Vec<Column>,
    /// The rows; each has as many cells as there are columns.
    pub rows: Vec<Vec<Cell>>,
    /// What the reader must know, one sentence or two each.
    pub notes: Vec<String>,
}

/// A column's head.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Column {
    /// What the column shows.
    pub heading: String,
    /// The metric's name or the unit, in smaller type.
    pub detail: Option<String>,
    /// How its cells are set.
    pub align: Align,
}

/// How the cells of a column are set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A cell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cell {
    /// What it says.
    pub text: String,
    /// Lines below it, in smaller type: the difference to the reference, what chance alone would give.
    pub details: Vec<String>,
    /// Whether it stands out.
    pub emphasis: Emphasis,
}

/// Whether a cell stands out. Whoever shows it must not rely on colour alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Emphasis {
    /// Like the others.
    Plain,
    /// Names a row.
    Name,
    /// Better than the reference, the interval of the paired difference being wholly on that side.
    Better,
    /// Worse than the reference, likewise.
    Worse,
    /// Nothing to see: undefined, or not applicable.
    Faint,
}

impl Column {
    /// A column of words.
    pub fn words(heading: &str) -> Self {
        Self { heading: heading.to_owned(), detail: None, align: Align::Left }
    }

    /// A column of numbers.
    pub fn numbers(heading: &str) -> Self {
        Self { heading: heading.to_owned(), detail: None, align: Align::Right }
    }

    /// The same with a line of smaller type.
    pub fn detail(mut self, detail: &str) -> Self {
        self.detail = Some(detail.to_owned());
        self
    }
}

impl Cell {
    /// A cell like the others; faint when it says that there is no value.
    pub fn plain(text: impl Into<String>) -> Self {
        let text = text.into();
        let emphasis = if text == format::UNDEFINED { Emphasis::Faint } else { Emphasis::Plain };
        Self { text, details: Vec::new(), emphasis }
    }

    /// A cell that names its row.
    pub fn name(text: impl Into<String>) -> Self {
        Self { text: text.into(), details: Vec::new(), emphasis: Emphasis::Name }
    }

    /// A metric with its interval, and below it its difference to the reference and what chance would give.
    pub fn metric(metric: Option<&MetricSummary>) -> Self {
        let Some(metric) = metric else { return Self::plain(format::UNDEFINED) };
        let scale = Scale::of(metric.metric, metric.unit);
        let mut cell = Self::plain(format::estimate(metric.value, scale));
        if metric.value.is_none() {
            return cell;
        }
        if let Some((p50, p95)) = metric.p50.zip(metric.p95).filter(|_| is_shy(metric)) {
            cell.details.push(format!(
                "p50 {}, p95 {}",
                format::value(p50, scale),
                format::value(p95, scale)
            ));
        }
        if metric.difference.is_some() {
            cell.details.push(format::difference(metric.difference, scale));
        }
        if let Some(floor) = metric.noise_floor {
            cell.details.push(format!("chance {}", format::value(floor, scale)));
        }
        cell.emphasis = judged(metric);
        cell
    }
}

/// Whether replications differ so much that their mean alone says little: the interval is wider than 5 % of it.
fn is_shy(metric: &MetricSummary) -> bool {
    metric.value.is_some_and(|value| value.half_width.is_some_and(|half| half > 0.05 * value.mean.abs()))
}

/// Whether the paired difference lies wholly on the better or the worse side, and is no chance among so many differences.
fn judged(metric: &MetricSummary) -> Emphasis {
    if metric.difference_p.is_some_and(|p| p > 0.05) {
        return Emphasis::Plain;
    }
    let Some((difference, half_width)) =
        metric.difference.and_then(|difference| Some((difference.mean, difference.half_width?)))
    else {
        return Emphasis::Plain;
    };
    let lower = difference + half_width < 0.0;
    let higher = difference - half_width > 0.0;
    match metric.direction {
        Direction::LowerIsBetter if lower => Emphasis::Better,
        Direction::LowerIsBetter if higher => Emphasis::Worse,
        Direction::HigherIsBetter if higher => Emphasis::Better,
        Direction::HigherIsBetter if lower => Emphasis::Worse,
        _ => Emphasis::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use evenkeel_sim::experiment::summary::Estimate;

    fn differing(direction: Direction, mean: f64, half_width: f64) -> Emphasis {
        let difference = Some(Estimate { mean, half_width: Some(half_width), n: 20 });
        let metric = fixture::crash().strategies[0].metrics[0].clone();
        Cell::metric(Some(&MetricSummary { direction, difference, ..metric })).emphasis
    }

    #[test]
    fn a_difference_that_chance_gives_among_many_does_not_stand_out() {
        let mut metric = fixture::crash().strategies[2].metrics[0].clone();
        assert_eq!(judged(&metric), Emphasis::Better);
        metric.difference_p = Some(0.08);
        assert_eq!(judged(&metric), Emphasis::Plain);
    }

    #[test]
    fn only_a_difference_whose_interval_leaves_out_zero_stands_out() {
        assert_eq!(differing(Direction::LowerIsBetter, -0.2, 0.1), Emphasis::Better);
        assert_eq!(differing(Direction::LowerIsBetter, 0.2, 0.1), Emphasis::Worse);
        assert_eq!(differing(Direction::HigherIsBetter, 0.2, 0.1), Emphasis::Better);
        assert_eq!(differing(Direction::LowerIsBetter, 0.05, 0.1), Emphasis::Plain);
        assert_eq!(differing(Direction::Neutral, 0.2, 0.1), Emphasis::Plain);
    }

    #[test]
    fn where_replications_differ_much_their_quantiles_stand_beside_the_mean() {
        let mut metric = fixture::crash().strategies[0].metrics[0].clone();
        assert!(!Cell::metric(Some(&metric)).details.iter().any(|detail| detail.starts_with("p50")));
        metric.value = Some(Estimate { mean: 1.28, half_width: Some(0.11), n: 10 });
        (metric.p50, metric.p95) = (Some(1.21), Some(1.55));
        assert_eq!(Cell::metric(Some(&metric)).details[0], "p50 1.210, p95 1.550");
    }

    #[test]
    fn what_is_undefined_is_faint_and_has_no_details() {
        let metric = fixture::nasty().strategies[0].metrics[0].clone();
        let cell = Cell::metric(Some(&MetricSummary { noise_floor: Some(1.0), ..metric }));
        assert_eq!((cell.text.as_str(), cell.emphasis), (format::UNDEFINED, Emphasis::Faint));
        assert!(cell.details.is_empty());
    }
}

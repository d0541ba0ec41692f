//! Fields of the scenario that are tried at several values: `[sweep]` and `[advise]`.

use super::super::section::{Item, Section};
use super::super::sweep::{Axis, Hypercube, POINTS_MAX, Range, RangeKind, SweepPlan};
use super::super::{AdvisePlan, Constraint};
use super::experiment::metric;
use crate::scenario::quantity::parse_duration;

/// Values of an axis at most.
const STEPS_MAX: u32 = 100_000;

/// What a sweep goes over.
pub(super) fn sweep(item: &Item<'_>) -> Option<SweepPlan> {
    let mut section = item.section("a table with `grid` or `latin_hypercube`")?;
    let s = &mut section;
    let grid = s.optional("grid", Vec::new(), |item| axes(&item));
    let hypercube = s.optional("latin_hypercube", None, |item| hypercube(&item).map(Some));
    if (grid.as_ref().is_some_and(Vec::is_empty), &hypercube) == (true, &Some(None)) {
        s.missing("grid", Some("a sweep needs `grid` or `latin_hypercube`, or both"));
    }
    section.finish();
    let plan = SweepPlan { grid: grid?, hypercube: hypercube? };
    if plan.points() > POINTS_MAX {
        item.error(format!("a sweep has at most {POINTS_MAX} points, got {}", plan.points()));
        return None;
    }
    Some(plan)
}

fn axes(item: &Item<'_>) -> Option<Vec<Axis>> {
    item.elements("an array of fields with their values")?.iter().map(axis).collect()
}

fn axis(item: &Item<'_>) -> Option<Axis> {
    let mut section =
        item.section("a table such as { field = \"population.homes.clients\", values = [1000, 2000] }")?;
    let s = &mut section;
    let field = field(s);
    let values = match s.take("values") {
        Some(item) => {
            let values: Vec<String> = item.elements("an array")?.iter().map(Item::toml).collect();
            if values.is_empty() {
                item.error("`values` must name a value".into());
            }
            Some(values).filter(|values| !values.is_empty())
        }
        None => {
            let range = range(s, Some("add `values = […]`, or `from`, `to` and `steps`"));
            let steps = s.required("steps", |item| item.integer(2, STEPS_MAX.into()));
            range.zip(steps).map(|(range, steps)| range.values(steps as u32))
        }
    };
    section.finish();
    Some(Axis { field: field?, values: values? })
}

fn field(s: &mut Section<'_>) -> Option<String> {
    s.required("field", |item| {
        let field = item.name()?;
        let own = ["sweep", "advise", "seed"].iter().find(|own| field.split('.').next() == Some(own));
        if let Some(own) = own {
            item.error(format!("`{own}` cannot be swept: replications are what differs by chance"));
            return None;
        }
        Some(field.to_owned())
    })
}

/// `from`, `to` and `scale`.
fn range(s: &mut Section<'_>, help: Option<&str>) -> Option<Range> {
    let mut end = |key| match s.take(key) {
        Some(item) => match item.text() {
            Some(text) => match parse_duration(text) {
                Ok(time) => Some((time.0 as f64, RangeKind::Time, item)),
                Err(error) => {
                    item.error(format!("`{key}` is no duration: {error}"));
                    None
                }
            },
            None => {
                let kind = if item.is_integer() { RangeKind::Whole } else { RangeKind::Number };
                item.number().map(|number| (number, kind, item))
            }
        },
        None => {
            s.missing(key, help);
            None
        }
    };
    let (from, to) = (end("from"), end("to"));
    let log = s.optional("scale", false, |item| item.one_of(&[("linear", false), ("log", true)]));
    let ((from, from_kind, _), (to, to_kind, item), log) = (from?, to?, log?);
    let kind = match (from_kind, to_kind) {
        (a, b) if a == b => a,
        (RangeKind::Time, _) | (_, RangeKind::Time) => {
            item.error("`from` and `to` must both be times, or both numbers".into());
            return None;
        }
        _ => RangeKind::Number,
    };
    if log && (from <= 0.0 || to <= 0.0) {
        item.error("a range with `scale = \"log\"` lies above 0".into());
        return None;
    }
    Some(Range { from, to, log, kind })
}

fn hypercube(item: &Item<'_>) -> Option<Hypercube> {
    let mut section = item.section("a table with `points` and `fields`")?;
    let s = &mut section;
    let points = s.required("points", |item| item.integer(1, POINTS_MAX));
    let fields = s.required("fields", |item| {
        let one = |item: &Item<'_>| {
            let mut section = item.section("a table such as { field = \"…\", from = 1, to = 10 }")?;
            let name = field(&mut section);
            let range = range(&mut section, None);
            section.finish();
            Some((name?, range?))
        };
        let fields = item
            .elements("an array of fields with their ranges")?
            .iter()
            .map(one)
            .collect::<Option<Vec<_>>>()?;
        if fields.is_empty() {
            item.error("`fields` must name a field".into());
            return None;
        }
        Some(fields)
    });
    section.finish();
    Some(Hypercube { points: points? as u32, fields: fields? })
}

/// Among what `evenkeel advise` chooses.
pub(super) fn advise(item: &Item<'_>) -> Option<AdvisePlan> {
    let mut section = item.section("a table with `fields`, `minimise` and `limits`")?;
    let s = &mut section;
    let fields = s.optional("fields", Vec::new(), |item| axes(&item));
    let defaults = AdvisePlan::of(Vec::new());
    let minimise = s.optional("minimise", defaults.minimise, |item| {
        let found = item.elements("an array of metrics")?.iter().map(metric).collect::<Option<Vec<_>>>()?;
        if found.is_empty() {
            item.error("`minimise` must name a metric".into());
            return None;
        }
        Some(found)
    });
    let limits = s.optional("limits", Vec::new(), |item| {
        let one = |item: &Item<'_>| {
            let mut section =
                item.section("a table such as { metric = \"visits.with_loss\", max = 0.05 }")?;
            let metric = section.required("metric", |item| metric(&item));
            let max = section.required("max", |item| item.number());
            section.finish();
            Some(Constraint { metric: metric?, max: max? })
        };
        item.elements("an array of limits")?.iter().map(one).collect()
    });
    section.finish();
    Some(AdvisePlan { fields: fields?, minimise: minimise?, limits: limits? })
}

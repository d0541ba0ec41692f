//! `[sweep]` and `[advise]`.

use super::super::AdvisePlan;
use super::super::sweep::{Axis, Range, RangeKind, SweepPlan};
use super::{Document, list, text};
use crate::engine::SimDuration;

fn show_axes(d: &mut Document, key: &str, axes: &[Axis]) {
    let show = |axis: &Axis| {
        format!("{{ field = {}, values = {} }}", text(&axis.field), list(axis.values.iter().cloned()))
    };
    if !axes.is_empty() {
        d.line(key, list(axes.iter().map(show)));
    }
}

pub(super) fn show_sweep(d: &mut Document, plan: Option<&SweepPlan>) {
    let Some(SweepPlan { grid, hypercube }) = plan else { return };
    d.header("[sweep]");
    show_axes(d, "grid", grid);
    if let Some(cube) = hypercube {
        let show = |(field, range): &(String, Range)| {
            let end = |value: f64| match range.kind {
                RangeKind::Whole => format!("{value}"),
                RangeKind::Number => format!("{value:?}"),
                RangeKind::Time => format!("\"{}\"", SimDuration(value as u64)),
            };
            let scale = if range.log { "log" } else { "linear" };
            let (from, to) = (end(range.from), end(range.to));
            format!("{{ field = {}, from = {from}, to = {to}, scale = \"{scale}\" }}", text(field))
        };
        let fields = list(cube.fields.iter().map(show));
        d.line("latin_hypercube", format!("{{ points = {}, fields = {fields} }}", cube.points));
    }
}

pub(super) fn show_advise(d: &mut Document, plan: Option<&AdvisePlan>) {
    let Some(AdvisePlan { fields, minimise, limits }) = plan else { return };
    d.header("[advise]");
    show_axes(d, "fields", fields);
    d.line("minimise", list(minimise.iter().map(|id| text(&id.name()))));
    let limits: Vec<String> = limits
        .iter()
        .map(|limit| format!("{{ metric = {}, max = {:?} }}", text(&limit.metric.name()), limit.max))
        .collect();
    if !limits.is_empty() {
        d.line("limits", list(limits));
    }
}

//! What the experiment is to find out: how precisely, and what must hold.

use super::super::diagnostic::similar;
use super::super::section::Item;
use super::super::{Expectation, Precision};
use super::Names;
use crate::metrics::catalogue::METRICS;
use crate::metrics::{MetricId, Phase};

/// The metrics whose precision counts when none is named: the two headlines.
const HEADLINES: [&str; 2] = ["load.requests.peak_to_mean", "visits.with_loss"];

/// When replications suffice: a share such as "2%", or a table that names the metrics, too.
pub(super) fn precision(item: &Item<'_>) -> Option<Precision> {
    let headlines = || HEADLINES.into_iter().filter_map(MetricId::by_name).collect::<Vec<_>>();
    if item.is_scalar() {
        return Some(Precision { relative: share(item)?, metrics: headlines() });
    }
    let mut section = item.section("a share such as \"2%\", or a table")?;
    let s = &mut section;
    let relative = s.required("relative", |item| share(&item));
    let metrics = s.optional("metrics", headlines(), |item| {
        let found = item.elements("an array of metrics")?.iter().map(metric).collect::<Option<Vec<_>>>()?;
        if found.is_empty() {
            item.error("`metrics` must name a metric".into());
            return None;
        }
        Some(found)
    });
    section.finish();
    Some(Precision { relative: relative?, metrics: metrics? })
}

/// A share above 0, as a number or in per cent.
fn share(item: &Item<'_>) -> Option<f64> {
    let share = match item.text() {
        Some(text) => {
            match text.trim().strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok()) {
                Some(percent) => percent / 100.0,
                None => {
                    let message =
                        format!("`{}` must be a share such as \"2%\", got {}", item.key, item.got());
                    item.error(message);
                    return None;
                }
            }
        }
        None => item.number()?,
    };
    if !(share > 0.0 && share <= 1.0) {
        item.error(format!("`{}` must be above 0 and at most 100 %, got {}", item.key, item.got()));
        return None;
    }
    Some(share)
}

/// A metric of the catalogue.
pub(super) fn metric(item: &Item<'_>) -> Option<MetricId> {
    let name = item.string()?;
    let metric = MetricId::by_name(name);
    if metric.is_none() {
        item.error_with_help(format!("unknown metric `{name}`"), instead_of_metric(name));
    }
    metric
}

/// What to write instead of a name that is no metric's.
pub fn instead_of_metric(name: &str) -> String {
    MetricId::advice(name)
        .or_else(|| similar("metric", name, METRICS.iter().map(|metric| metric.name)))
        .unwrap_or_else(|| "`evenkeel list metrics` prints all".into())
}

/// A limit on a metric.
pub(super) fn expectation(item: &Item<'_>, strategies: &Names, has_faults: bool) -> Option<Expectation> {
    let mut section = item.section("a table")?;
    let s = &mut section;
    let strategy = s.optional("strategy", None, |item| strategies.find(&item).map(Some));
    let metric = s.required("metric", |item| metric(&item));
    let phase = s.optional("phase", Phase::All, |item| {
        let phase = item.one_of(&Phase::ALL.map(|phase| (phase.name(), phase)))?;
        if matches!(phase, Phase::During | Phase::After) && !has_faults {
            let help = "add a `[[fault]]`, or expect it of phase \"all\"";
            item.error_with_help(format!("there is no phase `{}` without a fault", phase.name()), help);
            return None;
        }
        Some(phase)
    });
    let min = s.optional("min", None, |item| item.number().map(Some));
    let max = s.optional("max", None, |item| {
        let max = item.number()?;
        if let Some(Some(min)) = min
            && min > max
        {
            item.error(format!("`max` must be at least `min`, got {min} and {}", item.got()));
            return None;
        }
        Some(Some(max))
    });
    let relative_to = s.optional("relative_to", None, |item| {
        let other = strategies.find(&item)?;
        if strategy == Some(Some(other)) {
            item.error_with_help(
                format!("strategy {} is held against itself", item.got()),
                "name another strategy in `relative_to`, or leave it out",
            );
            return None;
        }
        Some(Some(other))
    });
    let quantile = s.optional("quantile", None, |item| {
        let quantile = item.probability()?;
        if quantile == 0.0 || quantile == 1.0 || relative_to != Some(None) {
            let help =
                "it is a quantile over replications, above 0 and below 1, and not relative to a strategy";
            item.error_with_help(format!("`quantile` cannot be {} here", item.got()), help);
            return None;
        }
        Some(Some(quantile))
    });
    if (min, max) == (Some(None), Some(None)) {
        s.missing("max", Some("an expectation needs `min` or `max`, or both"));
    }
    let line = s.report().line(s.span());
    section.finish();
    Some(Expectation {
        strategy: strategy?,
        metric: metric?,
        phase: phase?,
        relative_to: relative_to?,
        quantile: quantile?,
        min: min?,
        max: max?,
        line,
    })
}

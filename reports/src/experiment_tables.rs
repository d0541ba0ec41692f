//! Tidy tables of what is found beside the result of a run: comparisons, advice and baselines.

use evenkeel_sim::experiment::advise::{Advice, Dropped};
use evenkeel_sim::experiment::baseline::Baseline;
use evenkeel_sim::experiment::compare::Compared;
use evenkeel_sim::experiment::summary::SCHEMA_VERSION;
use parquet::errors::ParquetError;

use crate::parquet_columns;
use crate::tables::{Rows, estimate, float, optional, unit};

fn yes_or_no(is_so: bool) -> String {
    if is_so { "yes" } else { "no" }.to_owned()
}

/// A comparison as Parquet: a row for each strategy, metric and phase that both experiments have.
///
/// # Errors
/// Only what the writer reports, which writing to memory does not.
pub fn compared(compared: &[Compared]) -> Result<Vec<u8>, ParquetError> {
    const COLUMNS: [(&str, bool); 13] = [
        ("strategy", false),
        ("other", false),
        ("metric", false),
        ("phase", false),
        ("unit", false),
        ("before", true),
        ("after", true),
        ("difference", true),
        ("difference_half_width", true),
        ("n", true),
        ("p", true),
        ("paired", false),
        ("verdict", false),
    ];
    let row = |it: &Compared| {
        let mut row =
            vec![it.strategy.clone(), it.other.clone(), it.metric.name().into_owned(), it.phase.clone()];
        row.extend([unit(it.metric.line().unit).to_owned(), float(it.before), float(it.after)]);
        row.extend(estimate(Some(it.difference)));
        row.extend([optional(it.p), yes_or_no(it.paired), it.verdict().to_owned()]);
        row
    };
    let rows: Rows = compared.iter().map(row).collect();
    parquet_columns::table("compared", &COLUMNS, &rows, SCHEMA_VERSION)
}

/// Advice as Parquet: a row for each candidate and metric that decides about it.
///
/// # Errors
/// Only what the writer reports, which writing to memory does not.
pub fn advice(advice: &Advice) -> Result<Vec<u8>, ParquetError> {
    const COLUMNS: [(&str, bool); 12] = [
        ("candidate", false),
        ("strategy", false),
        ("metric", false),
        ("role", false),
        ("unit", false),
        ("mean", true),
        ("half_width", true),
        ("n", true),
        ("replications", true),
        ("standing", false),
        ("front_share", true),
        ("chosen_share", true),
    ];
    let mut rows = Rows::new();
    for (at, it) in advice.standings.iter().enumerate() {
        let standing = match (advice.choice == Some(at), it.on_front, it.keeps_limits, it.dropped) {
            (true, ..) => "chosen",
            (_, true, ..) => "front",
            (.., Some(Dropped::BreaksLimit)) | (_, _, false, None) => "breaks_limit",
            (.., Some(Dropped::BeatenBy(_)) | None) => "beaten",
        };
        let objectives =
            advice.minimise.iter().zip(&it.objectives).map(|(id, value)| (*id, "objective", *value));
        let limits =
            advice.limits.iter().zip(&it.limited).map(|(limit, value)| (limit.metric, "limit", *value));
        for (metric, role, value) in objectives.chain(limits) {
            let mut row =
                vec![it.name.clone(), it.strategy.clone(), metric.name().into_owned(), role.to_owned()];
            row.push(unit(metric.line().unit).to_owned());
            row.extend(estimate(value));
            row.extend([it.replications.to_string(), standing.to_owned()]);
            row.extend([float(it.front_share), float(it.chosen_share)]);
            rows.push(row);
        }
    }
    parquet_columns::table("advice", &COLUMNS, &rows, SCHEMA_VERSION)
}

/// A baseline as Parquet: a row for what each replication contributed to each value.
///
/// # Errors
/// Only what the writer reports, which writing to memory does not.
pub fn baseline(baseline: &Baseline) -> Result<Vec<u8>, ParquetError> {
    const COLUMNS: [(&str, bool); 8] = [
        ("scenario", false),
        ("strategy", false),
        ("metric", false),
        ("phase", false),
        ("mean", true),
        ("tolerance", true),
        ("replication", true),
        ("part", true),
    ];
    let mut rows = Rows::new();
    for scenario in &baseline.scenarios {
        for value in &scenario.values {
            for (replication, part) in value.parts.iter().enumerate() {
                let mut row = vec![scenario.scenario.clone(), value.strategy.clone(), value.metric.clone()];
                row.extend([value.phase.clone(), float(value.mean), float(value.tolerance)]);
                row.extend([replication.to_string(), optional(*part)]);
                rows.push(row);
            }
        }
    }
    parquet_columns::table("baseline", &COLUMNS, &rows, baseline.schema_version)
}

//! `evenkeel conformance`: the arm that replays recordings. The one that drives the programs is in `live.rs`.

use std::collections::BTreeMap;

use comfy_table::CellAlignment;
use evenkeel_sim::conformance::{CaseOutcome, CaseReport, Difference, Totals, replay_paths};

use crate::args::{Arguments, Conformance};
use crate::failure::{Exit, Failure};
use crate::{output, stats, tables};

/// Replays recordings of the real programs and compares decision by decision.
pub fn conformance(conformance: &Conformance, arguments: &Arguments) -> Result<Exit, Failure> {
    if conformance.live && !conformance.recordings.is_empty() {
        return Err(Failure::usage(
            "`--live` drives programs and replays no recordings\n  give either it or their paths, one at a time",
        ));
    }
    if conformance.live {
        return super::live::live(conformance, arguments.watch());
    }
    let reports = replay_paths(&conformance.recordings).map_err(|error| Failure::usage(error.to_string()))?;
    if conformance.json {
        let json = serde_json::to_string_pretty(&reports)
            .map_err(|error| Failure::internal(format!("the cases cannot be put into JSON: {error}")))?;
        output::line(&json);
    } else {
        print_words(&reports);
    }
    let replayed = reports.iter().any(|report| {
        matches!(report.outcome, CaseOutcome::Replayed { .. } | CaseOutcome::Distribution { .. })
    });
    Ok(if reports.iter().any(CaseReport::failed) {
        Exit::Gate
    } else if replayed {
        Exit::Fine
    } else {
        Exit::NothingRan
    })
}

/// Prints sums by program and algorithm.
pub fn print_totals(reports: &[CaseReport]) {
    let totals = Totals::of(reports);
    let mut table = tables::plain([
        "program",
        "algorithm",
        "cases",
        "skipped",
        "failed",
        "by law",
        "decisions",
        "matched",
    ]);
    for ((program, algorithm), total) in &totals.rows {
        table.add_row([
            program.clone(),
            algorithm.clone(),
            total.cases.to_string(),
            total.skipped.to_string(),
            total.failed.to_string(),
            total.distributions.to_string(),
            stats::grouped(total.decisions),
            stats::grouped(total.matched),
        ]);
    }
    for column in 2..8 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    output::line(&table.trim_fmt());
}

/// The first decision that differs, among how many.
pub fn difference_in_words(matched: u64, decisions: u64, difference: &Difference) -> String {
    let Difference { row, t_ms, event, recorded, modelled } = difference;
    format!(
        "{matched} of {decisions} decisions matched; the first that differs:\n  events.csv:{row} at {t_ms} ms, \
         {event}\n  recorded: {recorded}\n  modelled: {modelled}"
    )
}

fn print_words(reports: &[CaseReport]) {
    print_totals(reports);
    let mut skipped: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for report in reports {
        let case = &report.case;
        match &report.outcome {
            CaseOutcome::Skipped { reason } => skipped.entry(reason).or_default().push(case),
            CaseOutcome::Unreadable { error } => output::line(&format!("\n{case}: unreadable: {error}")),
            CaseOutcome::Replayed { first_difference: Some(difference), decisions, matched } => {
                output::line(&format!("\n{case}: {}", difference_in_words(*matched, *decisions, difference)));
                if let Some(exception) = report.exception() {
                    output::line(&format!("  a known exception: {}", exception.reason));
                }
            }
            CaseOutcome::Replayed { .. } => {}
            CaseOutcome::Distribution { decisions, replays, statistics, z_max, p_value, level, passed } => {
                let verdict = if *passed { "as by chance" } else { "NOT as by chance" };
                output::line(&format!(
                    "\n{case}: {} random decisions, {verdict}: the furthest of {statistics} counts is \
                     {z_max:.2} standard deviations out, p = {p_value:.2} among {replays} replays, level {level}",
                    stats::grouped(*decisions)
                ));
            }
        }
    }
    for (reason, cases) in skipped {
        output::line(&format!("\nskipped, {reason}: {}", cases.join(", ")));
    }
}

//! The tables that only the HTML report has room for.

use evenkeel_sim::experiment::summary::{StrategySummary, Summary};
use evenkeel_sim::metrics::{LossCause, MetricId, Phase};

use crate::causes;
use crate::format::{self, Scale};
use crate::lookup;
use crate::model::{Cell, Column, TableModel};

/// One column of numbers for each strategy, after `first`.
fn by_strategy(summary: &Summary, first: &str) -> Vec<Column> {
    let strategies = summary.strategies.iter().map(|strategy| Column::numbers(&strategy.name));
    std::iter::once(Column::words(first)).chain(strategies).collect()
}

/// Losses: causes by strategies; `None` without a loss.
pub(super) fn losses(summary: &Summary) -> Option<TableModel> {
    let find = |strategy: &'_ StrategySummary, cause| {
        strategy.losses.iter().find(|loss| loss.cause == cause).map(|loss| loss.lost)
    };
    let rows: Vec<Vec<Cell>> = LossCause::ALL
        .into_iter()
        .filter(|cause| summary.strategies.iter().any(|strategy| find(strategy, *cause).is_some()))
        .map(|cause| {
            let mut name = Cell::name(cause.name());
            name.details.push(causes::meaning(cause).to_owned());
            let lost = summary
                .strategies
                .iter()
                .map(|strategy| Cell::plain(format::estimate(find(strategy, cause), Scale::Count)));
            std::iter::once(name).chain(lost).collect()
        })
        .collect();
    if rows.is_empty() {
        return None;
    }
    let notes = vec!["Sessions lost in a run. Each loss has exactly one cause; – means none.".to_owned()];
    Some(TableModel { columns: by_strategy(summary, "cause"), rows, notes })
}

/// Instances of tiers by strategies: share of their tier, and below it how much they decided; `None` with one instance each.
pub(super) fn instances(summary: &Summary) -> Option<TableModel> {
    let mut names: Vec<&str> = Vec::new();
    for found in summary.strategies.iter().flat_map(|strategy| &strategy.instances) {
        if !names.contains(&found.instance.as_str()) {
            names.push(&found.instance);
        }
    }
    let rows: Vec<Vec<Cell>> = names
        .into_iter()
        .map(|name| {
            let cells = summary.strategies.iter().map(|strategy| {
                let Some(found) = strategy.instances.iter().find(|found| found.instance == name) else {
                    return Cell::plain(format::UNDEFINED.to_owned());
                };
                let mut cell = Cell::plain(format::estimate(Some(found.share), Scale::Percent));
                let decided = format::value(found.decided.mean.round(), Scale::Count);
                cell.details = vec![format!("tier {}, {decided} {}", found.tier, found.decides)];
                cell
            });
            std::iter::once(Cell::name(name)).chain(cells).collect()
        })
        .collect();
    if rows.is_empty() {
        return None;
    }
    let notes = vec!["Share of the tier's connections (layer 4) or requests (layer 7).".to_owned()];
    Some(TableModel { columns: by_strategy(summary, "instance"), rows, notes })
}

/// Servers by strategies: share of requests, and below it their number, connections and utilisation.
pub(super) fn servers(summary: &Summary) -> TableModel {
    let rows = summary
        .servers
        .iter()
        .enumerate()
        .map(|(at, server)| {
            let mut name = Cell::name(&server.name);
            name.details.push(format!("{}, weight {}", server.address, server.weight));
            let cells = summary.strategies.iter().map(|strategy| match strategy.servers.get(at) {
                Some(found) => {
                    let mut cell = Cell::plain(format::estimate(Some(found.requests_share), Scale::Percent));
                    cell.details = vec![
                        format!("{} requests", format::value(found.requests.mean.round(), Scale::Count)),
                        format!(
                            "{} connections",
                            format::value(found.connections.mean.round(), Scale::Count)
                        ),
                        format!("{} busy", format::estimate(Some(found.utilisation), Scale::Percent)),
                    ];
                    cell
                }
                None => Cell::plain(format::UNDEFINED),
            });
            std::iter::once(name).chain(cells).collect()
        })
        .collect();
    let notes = vec![
        "Share of all requests, their number, connections opened, and busy share of the workers.".to_owned(),
    ];
    TableModel { columns: by_strategy(summary, "server"), rows, notes }
}

/// Statistics of the replayed logs; `None` without.
pub(super) fn log_statistics(summary: &Summary) -> Option<TableModel> {
    if summary.log_statistics.is_empty() {
        return None;
    }
    let rows = summary
        .log_statistics
        .iter()
        .map(|(name, value)| vec![Cell::name(name), Cell::plain(value)])
        .collect();
    Some(TableModel {
        columns: vec![Column::words("statistic"), Column::numbers("value")],
        rows,
        notes: Vec::new(),
    })
}

/// Every metric by strategies, a table for each phase that the run has.
pub(super) fn metrics(summary: &Summary) -> Vec<(&'static str, TableModel)> {
    Phase::ALL
        .into_iter()
        .filter_map(|phase| {
            // All strategies have the same metrics, but a table should not depend on it.
            let mut names: Vec<&'static str> = Vec::new();
            for metric in summary.strategies.iter().flat_map(|strategy| &strategy.metrics) {
                if metric.phase == phase && !names.contains(&metric.metric) {
                    names.push(metric.metric);
                }
            }
            let rows: Vec<Vec<Cell>> =
                names.into_iter().map(|name| metric_row(summary, name, phase)).collect();
            let heading = match phase {
                Phase::All => "the whole measured part",
                Phase::Before => "before the first fault",
                Phase::During => "during the faults",
                Phase::After => "after the last fault",
            };
            let model = TableModel { columns: by_strategy(summary, "metric"), rows, notes: Vec::new() };
            (!model.rows.is_empty()).then_some((heading, model))
        })
        .collect()
}

fn metric_row(summary: &Summary, name: &'static str, phase: Phase) -> Vec<Cell> {
    let mut head = Cell::name(name);
    if let Some(id) = MetricId::by_name(name) {
        head.details.push(id.line().meaning.to_owned());
    }
    let cells = summary.strategies.iter().map(|strategy| Cell::metric(lookup::metric(strategy, name, phase)));
    std::iter::once(head).chain(cells).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn every_table_has_cells_for_all_its_columns() {
        for summary in [fixture::crash(), fixture::log(), fixture::nasty(), fixture::crowd()] {
            let tables =
                losses(&summary).into_iter().chain(log_statistics(&summary)).chain([servers(&summary)]);
            for table in tables.chain(metrics(&summary).into_iter().map(|(_, table)| table)) {
                assert!(table.rows.iter().all(|row| row.len() == table.columns.len()));
            }
        }
    }

    #[test]
    fn a_run_without_faults_has_one_phase() {
        let phases: Vec<_> = metrics(&fixture::log()).into_iter().map(|(phase, _)| phase).collect();
        assert_eq!(phases, ["the whole measured part"]);
    }
}

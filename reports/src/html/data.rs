//! The data of each chart as tables, for those who do not see it and those who want the figures.

use evenkeel_sim::experiment::summary::{StrategySummary, Summary};
use evenkeel_sim::metrics::Phase;

use super::sections;
use crate::charts::stores::COLUMNS;
use crate::format::{self, Scale};
use crate::lookup;
use crate::model::{Cell, Column, TableModel};

/// Rows that a table of load over time has at most; `tables/series.csv` has every bin.
const MOST_TIMES: usize = 24;
/// Most servers that get a column each.
const MOST_SERVERS: usize = 8;

/// The tables of the chart called `name`, each with a heading or none.
pub(super) fn of(summary: &Summary, name: &str) -> Vec<(String, TableModel)> {
    match name {
        "load-over-time" => summary
            .strategies
            .iter()
            .filter_map(|strategy| Some((strategy.name.clone(), load(summary, strategy)?)))
            .collect(),
        "skew-and-session-loss" => vec![(String::new(), skew_loss(summary))],
        "losses-by-cause" => {
            sections::losses(summary).map(|model| (String::new(), model)).into_iter().collect()
        }
        "session-stores" => vec![(String::new(), stores(summary))],
        "response-time" => latency(summary).map(|model| (String::new(), model)).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// Load over time: a column for each server, or the coolest, the mean and the hottest.
fn load(summary: &Summary, strategy: &StrategySummary) -> Option<TableModel> {
    let series = &strategy.series;
    let bins = series.requests_per_s.iter().map(Vec::len).min().filter(|bins| *bins > 0)?;
    let merged = bins.div_ceil(MOST_TIMES);
    let each = series.requests_per_s.len() <= MOST_SERVERS;
    let mut columns = vec![Column::numbers("from")];
    if each {
        columns.extend(
            summary.servers.iter().take(series.requests_per_s.len()).map(|it| Column::numbers(&it.name)),
        );
    } else {
        columns.extend(["coolest", "mean", "hottest"].map(Column::numbers));
    }
    let rows = (0..bins)
        .step_by(merged)
        .map(|from| {
            let to = (from + merged).min(bins);
            let mean = |rates: &Vec<f64>| rates[from..to].iter().sum::<f64>() / (to - from) as f64;
            let rates: Vec<f64> = series.requests_per_s.iter().map(mean).collect();
            let shown = if each {
                rates
            } else {
                let lowest = rates.iter().copied().fold(f64::INFINITY, f64::min);
                let highest = rates.iter().copied().fold(0.0, f64::max);
                vec![lowest, rates.iter().sum::<f64>() / rates.len() as f64, highest]
            };
            let time = Cell::plain(format::duration(from as f64 * series.bin_s));
            let rates = shown.into_iter().map(|rate| Cell::plain(format::value(rate, Scale::PerSecond)));
            std::iter::once(time).chain(rates).collect()
        })
        .collect();
    let step = format::duration(merged as f64 * series.bin_s);
    let notes = vec![format!(
        "Requests a second in the first replication, mean of each {step}; tables/series.csv has every bin."
    )];
    Some(TableModel { columns, rows, notes })
}

fn skew_loss(summary: &Summary) -> TableModel {
    let metrics =
        [("load.requests.peak_to_mean", "load skew"), ("visits.with_loss", "visits that lost their session")];
    by_metric(summary, &metrics.map(|(name, heading)| (name, heading.to_owned())))
}

fn stores(summary: &Summary) -> TableModel {
    by_metric(summary, &COLUMNS.map(|(name, heading, _)| (name, heading.join(" "))))
}

/// Strategies by metrics, each with its heading.
fn by_metric(summary: &Summary, metrics: &[(&str, String)]) -> TableModel {
    let mut columns = vec![Column::words("strategy")];
    columns.extend(metrics.iter().map(|(name, heading)| Column::numbers(heading).detail(name)));
    let rows = summary
        .strategies
        .iter()
        .map(|strategy| {
            let cells =
                metrics.iter().map(|(name, _)| Cell::metric(lookup::metric(strategy, name, Phase::All)));
            std::iter::once(Cell::name(&strategy.name)).chain(cells).collect()
        })
        .collect();
    TableModel { columns, rows, notes: Vec::new() }
}

/// Response times at the shares that people ask for, read from the distribution.
fn latency(summary: &Summary) -> Option<TableModel> {
    const SHARES: [(f64, &str); 7] = [
        (0.1, "10 %"),
        (0.25, "25 %"),
        (0.5, "50 %"),
        (0.75, "75 %"),
        (0.9, "90 %"),
        (0.99, "99 %"),
        (0.999, "99.9 %"),
    ];
    let measured: Vec<&StrategySummary> =
        summary.strategies.iter().filter(|strategy| !strategy.latency_cdf.is_empty()).collect();
    if measured.is_empty() {
        return None;
    }
    let mut columns = vec![Column::words("strategy")];
    columns.extend(SHARES.map(|(_, share)| Column::numbers(share)));
    let rows = measured
        .into_iter()
        .map(|strategy| {
            let cells =
                SHARES.map(|(wanted, _)| {
                    let found = strategy.latency_cdf.iter().find(|(_, share)| *share >= wanted);
                    Cell::plain(found.map_or(format::UNDEFINED.to_owned(), |(ms, _)| {
                        format::value(*ms, Scale::Milliseconds)
                    }))
                });
            std::iter::once(Cell::name(&strategy.name)).chain(cells).collect()
        })
        .collect();
    let notes = vec![
        "That share of the answers took at most so long; tables/latency.csv has every point.".to_owned(),
    ];
    Some(TableModel { columns, rows, notes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{charts, fixture};

    #[test]
    fn every_chart_with_data_has_a_table_of_it() {
        let summary = fixture::crash();
        for chart in charts::all(&summary) {
            let tables = of(&summary, chart.name);
            assert!(!tables.is_empty(), "{}", chart.name);
            for (_, table) in tables {
                assert!(table.rows.iter().all(|row| row.len() == table.columns.len()), "{}", chart.name);
            }
        }
    }

    #[test]
    fn load_over_time_is_cut_to_a_readable_number_of_rows() {
        let summary = fixture::crash();
        let model = load(&summary, &summary.strategies[0]).expect("it has a series");
        assert_eq!(model.rows.len(), MOST_TIMES);
        assert_eq!(model.rows[12][0].text, "1 h");
    }
}

//! The tidy tables of a result folder, and the data dictionary that describes them.
//!
//! Every table is long: one value with its interval in a row. Floats are printed with the fewest digits that read back as the
//! same number, so equal results are equal bytes; what is undefined is an empty field.

use std::fmt::Write as _;
use std::sync::Arc;

use csv::Writer;
use evenkeel_sim::experiment::summary::{Estimate, StrategySummary, Summary, Verdict};
use evenkeel_sim::metrics::Unit;
use parquet::basic::{Compression, Repetition, Type as Physical};
use parquet::data_type::{ByteArrayType, DoubleType};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

use crate::lookup;
use crate::parquet_columns::{column, text, write};

#[cfg(test)]
mod tests;

/// A column of a table: its name and what it means.
type ColumnSpec = (&'static str, &'static str);

/// A table: what it is called, what it holds, and how its rows come about.
pub(crate) struct Table {
    /// File name without ending.
    pub(crate) name: &'static str,
    /// What a row is.
    about: &'static str,
    columns: &'static [ColumnSpec],
    rows: fn(&Summary, &mut Rows),
}

/// The rows of a table as they are collected.
type Rows = Vec<Vec<String>>;

const SCENARIO: ColumnSpec = ("scenario", "title of the scenario");
const STRATEGY: ColumnSpec = ("strategy", "name of the strategy");
const UNIT: ColumnSpec = ("unit", "ratio (no unit; a share is a ratio from 0 to 1), count, s, ms, or 1/s");
const MEAN: ColumnSpec = (
    "mean",
    "estimate from all replications: their mean, the ratio of their counts, the quantile of their pooled distribution; empty when undefined in all of them",
);
const HALF_WIDTH: ColumnSpec = (
    "half_width",
    "half the width of the 95 % interval; empty with fewer than two replications or when nothing varies",
);
const N: ColumnSpec = ("n", "replications in which the value was defined");

/// Every table, in the order of the dictionary.
pub(crate) const TABLES: [Table; 10] = [
    Table {
        name: "metrics",
        about: "a metric of a strategy in a phase of the run",
        columns: &[
            SCENARIO,
            STRATEGY,
            ("phase", "all, before (the first fault), during (first start to last end), after"),
            ("metric", "name in the catalogue of metrics"),
            UNIT,
            MEAN,
            HALF_WIDTH,
            N,
            ("p50", "half of the replications are at most this; empty with fewer than two"),
            ("p95", "95 % of the replications are at most this"),
            ("noise_floor", "what uniform random choice would give at the same counts; load skew only"),
            ("difference", "mean paired difference to the first strategy; empty for the first"),
            ("difference_half_width", "half the width of the 95 % interval of the difference"),
            (
                "difference_p",
                "how likely such a difference is by chance, counted among those of all strategies (Holm)",
            ),
        ],
        rows: metrics,
    },
    Table {
        name: "servers",
        about: "a measure of a server under a strategy, over the whole measured part",
        columns: &[
            SCENARIO,
            STRATEGY,
            ("server", "name of the server"),
            ("address", "its address"),
            ("weight", "its weight"),
            ("measure", "requests, requests_share, connections, or utilisation (busy share of its workers)"),
            UNIT,
            MEAN,
            HALF_WIDTH,
            N,
        ],
        rows: servers,
    },
    Table {
        name: "instances",
        about: "a measure of an instance of a tier, over the whole measured part; only of strategies with several instances",
        columns: &[
            SCENARIO,
            STRATEGY,
            ("tier", "the tier, counted from 1, front to back"),
            ("instance", "name of the instance"),
            ("measure", "connections or requests (what it decided), or share (of the tier's)"),
            UNIT,
            MEAN,
            HALF_WIDTH,
            N,
        ],
        rows: instances,
    },
    Table {
        name: "losses",
        about: "sessions lost by one cause under a strategy, per replication; causes without a loss are left out",
        columns: &[
            SCENARIO,
            STRATEGY,
            ("cause", "why the session was lost; each loss has one cause"),
            MEAN,
            HALF_WIDTH,
            N,
        ],
        rows: losses,
    },
    Table {
        name: "faults",
        about: "a measure of what a fault did under a strategy; a fault that does not apply to a strategy has no row",
        columns: &[
            SCENARIO,
            STRATEGY,
            ("fault", "what happened"),
            ("at_s", "start, from the end of the warm-up [s]"),
            ("until_s", "end, from the end of the warm-up [s]"),
            (
                "measure",
                "users_logged_out, requests_failed, peak_utilisation, even_again (from its end until load was even), never_even (replications in which it was not before the end), toppled_after (from its beginning until all servers that were left were overloaded), toppled_for (how long they were), toppled (replications in which they were), toppled_to_the_end (replications in which they were so to the end), visible (times that a health rule could see it), undetected (of these, those that none noticed), detected_after (from its beginning until all who balance had stopped choosing its part), or back_after (from its end until all chose it again)",
            ),
            UNIT,
            MEAN,
            HALF_WIDTH,
            N,
        ],
        rows: faults,
    },
    Table {
        name: "removals",
        about: "a time during which health kept a server from new clients, of at least one instance, in the first replication",
        columns: &[
            SCENARIO,
            STRATEGY,
            ("server", "name of the server"),
            ("start_s", "start, from the end of the warm-up [s]"),
            ("until_s", "end, from the end of the warm-up [s]"),
            ("false_positive", "yes where no fault ailed the server when it was taken out, else no"),
        ],
        rows: removals,
    },
    Table {
        name: "series",
        about: "a server's load in a bin of time, in the first replication",
        columns: &[
            SCENARIO,
            STRATEGY,
            ("server", "name of the server"),
            ("start_s", "start of the bin, from the end of the warm-up [s]"),
            ("requests_per_s", "requests that reached it [1/s]"),
            ("utilisation", "busy share of its workers [ratio]"),
        ],
        rows: series,
    },
    Table {
        name: "latency",
        about: "a point of the distribution of response times, pooled over replications",
        columns: &[
            SCENARIO,
            STRATEGY,
            ("latency_ms", "response time [ms]"),
            ("share_at_most", "share of answers that took at most that long [ratio]"),
        ],
        rows: latency,
    },
    Table {
        name: "expectations",
        about: "what an expectation of the scenario came to",
        columns: &[
            SCENARIO,
            STRATEGY,
            ("metric", "name in the catalogue of metrics"),
            ("phase", "all, before, during, after"),
            ("relative_to", "strategy whose value the limits multiply; the value is then a ratio"),
            ("quantile", "quantile over replications that is limited"),
            ("min", "smallest value that passes"),
            ("max", "largest value that passes"),
            MEAN,
            HALF_WIDTH,
            N,
            ("verdict", "pass, worse, inconclusive, or no_data"),
            ("line", "line of the scenario file, from 1"),
        ],
        rows: expectations,
    },
    Table {
        name: "trace",
        about: "a step of a scripted client in the first replication; only when the scenario scripts clients",
        columns: &[
            SCENARIO,
            STRATEGY,
            ("at_s", "time from the end of the warm-up [s]"),
            ("client", "which client"),
            ("event", "open or close"),
            ("server", "the server, or none"),
            ("reason", "why the connection went there"),
            ("state", "what the balancer knew at that time"),
        ],
        rows: trace,
    },
];

/// The columns that hold numbers. All others hold text, also where it looks like a number.
const NUMBERS: [&str; 22] = [
    "weight",
    "tier",
    "mean",
    "half_width",
    "n",
    "p50",
    "p95",
    "noise_floor",
    "difference",
    "difference_half_width",
    "difference_p",
    "at_s",
    "until_s",
    "start_s",
    "requests_per_s",
    "utilisation",
    "latency_ms",
    "share_at_most",
    "quantile",
    "min",
    "max",
    "line",
];

/// Every table of a result as Parquet, by name: text, and numbers that may be missing.
///
/// # Errors
///
/// Only what the writer reports, which writing to memory does not.
pub fn parquet_tables(summary: &Summary) -> Result<Vec<(&'static str, Vec<u8>)>, ParquetError> {
    let wanted = TABLES.iter().filter(|table| table.is_wanted(summary));
    wanted.map(|table| Ok((table.name, table.parquet(summary)?))).collect()
}

impl Table {
    /// Whether a result has this table: all have, but for the trace.
    pub(crate) fn is_wanted(&self, summary: &Summary) -> bool {
        self.name != "trace" || summary.strategies.iter().any(|strategy| !strategy.trace.is_empty())
    }

    /// The table as CSV: comma, double quotes, `\n`, UTF-8, one line of headers.
    ///
    /// # Errors
    ///
    /// Only what the writer reports, which writing to memory does not.
    pub(crate) fn csv(&self, summary: &Summary) -> Result<Vec<u8>, csv::Error> {
        let mut rows = Rows::new();
        (self.rows)(summary, &mut rows);
        let mut writer = Writer::from_writer(Vec::new());
        writer.write_record(self.columns.iter().map(|(name, _)| name))?;
        for row in rows {
            writer.write_record(row)?;
        }
        writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))
    }

    /// The table as Parquet, with the columns and rows of the CSV.
    fn parquet(&self, summary: &Summary) -> Result<Vec<u8>, ParquetError> {
        let mut rows = Rows::new();
        (self.rows)(summary, &mut rows);
        let is_number = |name: &str| NUMBERS.contains(&name);
        let fields = self.columns.iter().map(|(name, _)| {
            if is_number(name) {
                column(name, Physical::DOUBLE, Repetition::OPTIONAL)
            } else {
                column(name, Physical::BYTE_ARRAY, Repetition::REQUIRED)
            }
        });
        let schema = Type::group_type_builder(self.name).with_fields(fields.collect::<Result<_, _>>()?);
        let version = KeyValue::new("evenkeel.schema_version".to_owned(), summary.schema_version.to_string());
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_key_value_metadata(Some(vec![version]))
            .build();
        let mut file =
            SerializedFileWriter::new(Vec::new(), Arc::new(schema.build()?), Arc::new(properties))?;
        let mut group = file.next_row_group()?;
        for (place, (name, _)) in self.columns.iter().enumerate() {
            let cells = rows.iter().map(|row| row[place].as_str());
            if is_number(name) {
                let numbers: Vec<Option<f64>> = cells.map(|cell| cell.parse().ok()).collect();
                let defined: Vec<i16> = numbers.iter().map(|number| i16::from(number.is_some())).collect();
                let numbers: Vec<f64> = numbers.into_iter().flatten().collect();
                write::<DoubleType>(&mut group, &numbers, Some(&defined))?;
            } else {
                write::<ByteArrayType>(&mut group, &cells.map(text).collect::<Vec<_>>(), None)?;
            }
        }
        group.close()?;
        file.into_inner()
    }
}

/// The data dictionary: every table and column that a result of this version may have.
pub(crate) fn dictionary(summary: &Summary) -> String {
    let mut text = format!(
        "# Tables\n\nSchema version {}. Comma-separated, UTF-8, one line of headers, one value with its interval a row. Floats carry\n\
         every digit that is needed to read them back exactly; an empty field is an undefined value. All times count from the\n\
         end of the warm-up. Each table is there as Parquet, too, with the same columns and rows.\n",
        summary.schema_version
    );
    for table in &TABLES {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n## {}.csv\n\nA row is {}.\n\n| column | meaning |\n|---|---|\n",
            table.name, table.about
        );
        for (name, meaning) in table.columns {
            let _ = writeln!(text, "| `{name}` | {meaning} |");
        }
    }
    text
}

fn metrics(summary: &Summary, rows: &mut Rows) {
    for strategy in &summary.strategies {
        for metric in &strategy.metrics {
            let mut row = begin(summary, strategy);
            row.extend([
                metric.phase.name().to_owned(),
                metric.metric.to_owned(),
                unit(metric.unit).to_owned(),
            ]);
            row.extend(estimate(metric.value));
            row.extend([metric.p50, metric.p95, metric.noise_floor].map(optional));
            let [difference, half_width, _] = estimate(metric.difference);
            row.extend([difference, half_width, optional(metric.difference_p)]);
            rows.push(row);
        }
    }
}

fn servers(summary: &Summary, rows: &mut Rows) {
    for strategy in &summary.strategies {
        for found in &strategy.servers {
            let line = summary.servers.iter().find(|line| line.name == found.server);
            let measures = [
                ("requests", Unit::Count, found.requests),
                ("requests_share", Unit::Ratio, found.requests_share),
                ("connections", Unit::Count, found.connections),
                ("utilisation", Unit::Ratio, found.utilisation),
            ];
            for (measure, measured_in, value) in measures {
                let mut row = begin(summary, strategy);
                row.push(found.server.clone());
                row.push(line.map_or_else(String::new, |line| line.address.clone()));
                row.push(line.map_or_else(String::new, |line| line.weight.to_string()));
                row.extend([measure.to_owned(), unit(measured_in).to_owned()]);
                row.extend(estimate(Some(value)));
                rows.push(row);
            }
        }
    }
}

fn instances(summary: &Summary, rows: &mut Rows) {
    for strategy in &summary.strategies {
        for found in &strategy.instances {
            let measures = [(found.decides, Unit::Count, found.decided), ("share", Unit::Ratio, found.share)];
            for (measure, measured_in, value) in measures {
                let mut row = begin(summary, strategy);
                row.extend([found.tier.to_string(), found.instance.clone()]);
                row.extend([measure.to_owned(), unit(measured_in).to_owned()]);
                row.extend(estimate(Some(value)));
                rows.push(row);
            }
        }
    }
}

fn losses(summary: &Summary, rows: &mut Rows) {
    for strategy in &summary.strategies {
        for loss in &strategy.losses {
            let mut row = begin(summary, strategy);
            row.push(loss.cause.name().to_owned());
            row.extend(estimate(Some(loss.lost)));
            rows.push(row);
        }
    }
}

fn faults(summary: &Summary, rows: &mut Rows) {
    for strategy in &summary.strategies {
        for (fault, impact) in lookup::impacts(summary, strategy) {
            let Some(impact) = impact else { continue };
            let runs = impact.users_logged_out.n;
            let never_even = Estimate { mean: f64::from(impact.never_even), half_width: None, n: runs };
            let to_the_end =
                Estimate { mean: f64::from(impact.toppled_to_the_end), half_width: None, n: runs };
            let toppled = Estimate { mean: f64::from(impact.toppled), half_width: None, n: runs };
            let measures = [
                ("users_logged_out", Unit::Count, Some(impact.users_logged_out)),
                ("requests_failed", Unit::Count, Some(impact.requests_failed)),
                ("peak_utilisation", Unit::Ratio, Some(impact.peak_utilisation)),
                ("even_again", Unit::Seconds, impact.even_again_s),
                ("never_even", Unit::Count, Some(never_even)),
                ("toppled_after", Unit::Seconds, impact.toppled_after_s),
                ("toppled_for", Unit::Seconds, impact.toppled_for_s),
                ("toppled", Unit::Count, Some(toppled)),
                ("toppled_to_the_end", Unit::Count, Some(to_the_end)),
                ("visible", Unit::Count, Some(impact.visible)),
                ("undetected", Unit::Count, Some(impact.undetected)),
                ("detected_after", Unit::Seconds, impact.detected_after_s),
                ("back_after", Unit::Seconds, impact.back_after_s),
            ];
            for (measure, measured_in, value) in measures {
                let mut row = begin(summary, strategy);
                row.extend([fault.what.clone(), float(fault.at_s), float(fault.until_s)]);
                row.extend([measure.to_owned(), unit(measured_in).to_owned()]);
                row.extend(estimate(value));
                rows.push(row);
            }
        }
    }
}

fn removals(summary: &Summary, rows: &mut Rows) {
    for strategy in &summary.strategies {
        for removal in &strategy.removals {
            let mut row = begin(summary, strategy);
            row.extend([removal.server.clone(), float(removal.from_s), float(removal.until_s)]);
            row.push(if removal.false_positive { "yes" } else { "no" }.to_owned());
            rows.push(row);
        }
    }
}

fn series(summary: &Summary, rows: &mut Rows) {
    for strategy in &summary.strategies {
        let series = &strategy.series;
        for (at, rates) in series.requests_per_s.iter().enumerate() {
            for (bin, rate) in rates.iter().enumerate() {
                let utilisation = series.utilisation.get(at).and_then(|bins| bins.get(bin)).copied();
                let mut row = begin(summary, strategy);
                row.push(summary.servers.get(at).map_or_else(String::new, |line| line.name.clone()));
                row.extend([float(bin as f64 * series.bin_s), float(*rate), optional(utilisation)]);
                rows.push(row);
            }
        }
    }
}

fn latency(summary: &Summary, rows: &mut Rows) {
    for strategy in &summary.strategies {
        for (latency_ms, share) in &strategy.latency_cdf {
            let mut row = begin(summary, strategy);
            row.extend([float(*latency_ms), float(*share)]);
            rows.push(row);
        }
    }
}

fn expectations(summary: &Summary, rows: &mut Rows) {
    for it in &summary.expectations {
        let mut row = vec![summary.title.clone(), it.strategy.clone()];
        row.extend([it.metric.to_owned(), it.phase.name().to_owned()]);
        row.extend([it.relative_to.clone().unwrap_or_default(), optional(it.quantile)]);
        row.extend([optional(it.min), optional(it.max)]);
        row.extend(estimate(it.value));
        row.extend([verdict(it.verdict).to_owned(), it.line.to_string()]);
        rows.push(row);
    }
}

fn trace(summary: &Summary, rows: &mut Rows) {
    for strategy in &summary.strategies {
        for line in &strategy.trace {
            let mut row = begin(summary, strategy);
            row.push(float(line.at_s));
            row.extend(
                [&line.client, &line.event, &line.server, &line.reason, &line.state].map(String::clone),
            );
            rows.push(row);
        }
    }
}

fn begin(summary: &Summary, strategy: &StrategySummary) -> Vec<String> {
    vec![summary.title.clone(), strategy.name.clone()]
}

fn estimate(value: Option<Estimate>) -> [String; 3] {
    match value {
        Some(value) => [float(value.mean), optional(value.half_width), value.n.to_string()],
        None => [String::new(), String::new(), "0".to_owned()],
    }
}

fn optional(value: Option<f64>) -> String {
    value.map_or_else(String::new, float)
}

/// The shortest digits that read back as the same number; empty when it is not finite. Zero has no sign.
fn float(value: f64) -> String {
    if value.is_finite() { (value + 0.0).to_string() } else { String::new() }
}

const fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Ratio => "ratio",
        Unit::Count => "count",
        Unit::Seconds => "s",
        Unit::Milliseconds => "ms",
        Unit::PerSecond => "1/s",
    }
}

/// A verdict's name in results.
const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Worse => "worse",
        Verdict::Inconclusive => "inconclusive",
        Verdict::NoData => "no_data",
    }
}

//! What several tests share: scenarios from text, runs, intervals, tables of exact values.

use std::fs;
use std::path::{Path, PathBuf};

use evenkeel_sim::cluster::{self, RunOutcome, RunSetup};
use evenkeel_sim::metrics::recorder::{Failure, PhaseCounts};
use evenkeel_sim::scenario::{Loaded, Overrides, parse};
use rayon::prelude::*;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Reads a scenario.
pub fn read(text: &str) -> Loaded {
    parse("test.toml", text, &Overrides::NONE).unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}"))
}

/// Every replication of the only strategy of a scenario without logs.
pub fn replications(text: &str) -> Vec<RunOutcome> {
    let loaded = read(text);
    (0..loaded.scenario.replications)
        .into_par_iter()
        .map(|replication| {
            let setup =
                RunSetup { scenario: &loaded.scenario, strategy: 0, replication, logs: &[], stories: 0 };
            cluster::run(&setup, &|_| ()).unwrap_or_else(|error| panic!("{error}\n{text}"))
        })
        .collect()
}

/// The only replication of the only strategy of a scenario without logs.
pub fn single(text: &str) -> RunOutcome {
    replications(text).pop().expect("one replication")
}

/// Requests that failed in a way.
pub fn failed(counts: &PhaseCounts, failure: Failure) -> u64 {
    counts.failed[failure as usize]
}

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// A table of exact values in `data/`: its rows, as text by column name.
#[derive(Debug)]
pub struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Reads `data/<name>.csv`; lines that begin with `#` say where it is from.
    pub fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/data/{name}.csv"));
        let text = fs::read_to_string(path).expect("a table");
        let mut lines = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
        Self { columns: lines.next().expect("a heading"), rows: lines.collect() }
    }

    /// The value in `column` of the only row in which each of `keys` has its value.
    pub fn value(&self, keys: &[(&str, &str)], column: &str) -> f64 {
        let place = |name: &str| {
            self.columns
                .iter()
                .position(|column| column == name)
                .unwrap_or_else(|| panic!("no column {name}"))
        };
        let found: Vec<_> = self
            .rows
            .iter()
            .filter(|row| keys.iter().all(|&(name, value)| row[place(name)] == value))
            .collect();
        assert_eq!(found.len(), 1, "{keys:?}");
        found[0][place(column)].parse().unwrap_or_else(|_| panic!("{keys:?} {column}"))
    }
}

/// The mean of independent values and half the width of its two-sided t-interval at error probability `alpha`.
pub fn interval(values: &[f64], alpha: f64) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let t = StudentsT::new(0.0, 1.0, n - 1.0).expect("two values or more").inverse_cdf(1.0 - alpha / 2.0);
    (mean, t * (variance / n).sqrt())
}

/// One comparison: the exact value lies within the interval of `values` at error probability `alpha`, which is at most `width` of
/// it wide to each side. Returns what is wrong, if anything is.
pub fn compare(alpha: f64, what: &str, values: &[f64], exact: f64, width: f64) -> Option<String> {
    let (mean, half) = interval(values, alpha);
    let told = format!("{what}: {mean:.5} ± {half:.5}, exactly {exact:.5}");
    if half > width * exact {
        Some(format!("{told}: the interval is wider than {width} of the value"))
    } else {
        ((mean - exact).abs() > half).then_some(told)
    }
}

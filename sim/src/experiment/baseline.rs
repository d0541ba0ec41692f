//! Baselines: what an experiment found, to be committed and held against later ones.
//!
//! A baseline keeps what each replication contributed to each value, and a fingerprint of the workload: seed, what varies, who the
//! users are and what they do. Where the fingerprint is still the same, the same clients meet another cluster, and differences
//! are taken replication by replication; else the two are compared as strangers.

use std::path::Path;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Experiment;
use super::summarise::sha256;
use crate::metrics::{MetricId, Phase, Unit};
use crate::scenario::workload;

/// Version of the shape of a baseline.
const SCHEMA_VERSION: u32 = 1;
/// How much worse a value may be than its baseline unless the file says otherwise, as a share of it.
const TOLERANCE: f64 = 0.05;
/// The least tolerance of a share: one in a thousand. Beside a baseline of zero any other would be none.
const TOLERANCE_OF_SHARES: f64 = 0.001;
/// What a baseline holds beside the metrics that the scenario has expectations of.
const METRICS: [&str; 5] =
    ["load.requests.peak_to_mean", "utilisation.max", "visits.with_loss", "requests.failed", "latency.p99"];

/// Baselines of several scenarios.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// Version of this shape.
    pub schema_version: u32,
    /// Version of Evenkeel that found it.
    pub evenkeel_version: String,
    /// The scenarios.
    pub scenarios: Vec<BaselineScenario>,
}

/// The baseline of one scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaselineScenario {
    /// The name of its file, without folders.
    pub scenario: String,
    /// SHA-256 of the scenario as resolved.
    pub scenario_sha256: String,
    /// SHA-256 of its workload.
    pub workload: String,
    /// Seed.
    pub seed: u64,
    /// Replications.
    pub replications: u32,
    /// The values.
    pub values: Vec<BaselineValue>,
}

/// A value of a baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaselineValue {
    /// The strategy's name.
    pub strategy: String,
    /// The metric's name.
    pub metric: String,
    /// The phase's name.
    pub phase: String,
    /// The estimate.
    pub mean: f64,
    /// How much worse the value may become, in its own unit; at least 0. To be edited where the default does not suit.
    pub tolerance: f64,
    /// What each replication contributed; `null` where the metric was undefined.
    pub parts: Vec<Option<f64>>,
}

/// Why a baseline cannot be used.
#[derive(Debug, Error)]
pub enum BaselineError {
    /// It is no baseline.
    #[error("{file}: not a baseline of Evenkeel: {cause}\n  write one with `evenkeel baseline write`")]
    Unreadable {
        /// The file.
        file: String,
        /// What the parser said.
        cause: String,
    },
    /// Another version wrote it.
    #[error(
        "{file}: a baseline of schema version {found}, this version reads {SCHEMA_VERSION}\n  write it anew with `evenkeel baseline write`"
    )]
    Version {
        /// The file.
        file: String,
        /// Its version.
        found: u32,
    },
    /// It holds nothing that a check could fail by.
    #[error("{file}: the baseline has no {what}\n  write it anew with `evenkeel baseline write`")]
    Empty {
        /// The file.
        file: String,
        /// What is missing.
        what: String,
    },
    /// A value makes no sense.
    #[error("{file}: `{metric}` of `{strategy}`: {what}")]
    Value {
        /// The file.
        file: String,
        /// The metric.
        metric: String,
        /// The strategy.
        strategy: String,
        /// What is wrong, and how to mend it.
        what: &'static str,
    },
}

/// The name by which a baseline knows a scenario: that of its file.
pub(super) fn scenario_name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl Baseline {
    /// A baseline of these scenarios.
    pub fn new(scenarios: Vec<BaselineScenario>) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            evenkeel_version: env!("CARGO_PKG_VERSION").to_owned(),
            scenarios,
        }
    }

    /// Reads the text of a baseline; `file` is what messages call it.
    ///
    /// # Errors
    /// [`BaselineError`].
    pub fn parse(file: &str, text: &str) -> Result<Self, BaselineError> {
        let unreadable = |error: serde_json::Error| BaselineError::Unreadable {
            file: file.to_owned(),
            cause: error.to_string(),
        };
        // The version first: other versions have other fields.
        let version =
            serde_json::from_str::<serde_json::Value>(text).map_err(unreadable)?["schema_version"].as_u64();
        if let Some(found) = version.filter(|version| *version != u64::from(SCHEMA_VERSION)) {
            return Err(BaselineError::Version { file: file.to_owned(), found: found as u32 });
        }
        let baseline: Self = serde_json::from_str(text).map_err(unreadable)?;
        let empty = |what: String| BaselineError::Empty { file: file.to_owned(), what };
        if baseline.scenarios.is_empty() {
            return Err(empty("scenario".into()));
        }
        if let Some(scenario) = baseline.scenarios.iter().find(|scenario| scenario.values.is_empty()) {
            return Err(empty(format!("value of `{}`", scenario.scenario)));
        }
        for value in baseline.scenarios.iter().flat_map(|scenario| &scenario.values) {
            let what = match value {
                _ if value.tolerance.is_nan() || value.tolerance < 0.0 => "`tolerance` must be at least 0",
                _ if value.parts.iter().flatten().count() == 0 => "`parts` has no value",
                _ => continue,
            };
            let (metric, strategy) = (value.metric.clone(), value.strategy.clone());
            return Err(BaselineError::Value { file: file.to_owned(), metric, strategy, what });
        }
        Ok(baseline)
    }
}

impl Experiment<'_> {
    /// SHA-256 of what the clients are and do, seed included: with the same, the same clients meet another cluster.
    pub fn workload(&self) -> String {
        sha256(&workload(&self.scenario))
    }

    /// The baseline of this experiment, which runs at that: `metrics`, or the headlines and what the scenario has expectations of.
    /// `tolerance` is a share of each value.
    pub fn baseline(&self, file: &Path, metrics: &[MetricId], tolerance: Option<f64>) -> BaselineScenario {
        let expected = self.scenario.expectations.iter().map(|it| (it.metric, it.phase));
        let headlines = METRICS.iter().filter_map(|name| MetricId::by_name(name)).map(|id| (id, Phase::All));
        let mut wanted: Vec<(MetricId, Phase)> = match metrics {
            [] => headlines.chain(expected).collect(),
            chosen => chosen.iter().map(|&id| (id, Phase::All)).collect(),
        };
        wanted.sort();
        wanted.dedup();
        let values = (0..self.scenario.strategies.len()).flat_map(|strategy| {
            wanted.iter().filter_map(move |&(id, phase)| {
                let column = self.column(strategy, id, phase)?;
                let mean = column.centre?;
                let least = if id.line().unit == Unit::Ratio { TOLERANCE_OF_SHARES } else { 0.0 };
                Some(BaselineValue {
                    strategy: self.scenario.strategies[strategy].name.clone(),
                    metric: id.name().into_owned(),
                    phase: phase.name().to_owned(),
                    mean,
                    tolerance: (tolerance.unwrap_or(TOLERANCE) * mean.abs()).max(least),
                    parts: column.parts,
                })
            })
        });
        BaselineScenario {
            scenario: scenario_name(file),
            scenario_sha256: self.summary().scenario_sha256,
            workload: self.workload(),
            seed: self.scenario.seed,
            replications: self.replications(),
            values: values.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(change: impl FnOnce(&mut BaselineValue)) -> Baseline {
        let mut value = BaselineValue {
            strategy: "s".into(),
            metric: "latency.p99".into(),
            phase: "all".into(),
            mean: 0.1 + 0.2,
            tolerance: 0.01,
            parts: vec![Some(0.1), None, Some(1.0 / 3.0)],
        };
        change(&mut value);
        let (hash, workload) = ("ab".to_owned(), "cd".to_owned());
        Baseline::new(vec![BaselineScenario {
            scenario: "x.toml".into(),
            scenario_sha256: hash,
            workload,
            seed: 7,
            replications: 3,
            values: vec![value],
        }])
    }

    fn read(baseline: &Baseline) -> Result<Baseline, BaselineError> {
        Baseline::parse("b.json", &serde_json::to_string(baseline).expect("JSON"))
    }

    #[test]
    fn every_digit_survives_the_file() {
        let baseline = one(|_| ());
        assert_eq!(read(&baseline).expect("it was written so"), baseline);
    }

    #[test]
    fn what_could_not_fail_is_no_baseline() {
        let empty = read(&one(|value| value.parts = vec![None])).unwrap_err().to_string();
        assert!(empty.contains("`parts` has no value"), "{empty}");
        assert!(read(&one(|value| value.tolerance = -1.0)).is_err());
        let mut nothing = one(|_| ());
        nothing.scenarios[0].values.clear();
        assert!(read(&nothing).unwrap_err().to_string().contains("no value of `x.toml`"));
        assert!(read(&Baseline::new(Vec::new())).unwrap_err().to_string().contains("no scenario"));
        assert!(
            read(&Baseline { schema_version: 9, ..one(|_| ()) })
                .unwrap_err()
                .to_string()
                .contains("version 9")
        );
        assert!(Baseline::parse("b.json", "{}").is_err());
    }
}

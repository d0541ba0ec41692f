//! Sweeps: a scenario at many points, run by run, by as many processes as one likes.
//!
//! The runs of a sweep are numbered in the order of (point, strategy, replication); a shard takes every n-th of them. A run's record
//! is a function of its number, so that it does not matter who carried it out, when, or how often.

use std::path::Path;
use std::sync::Arc;

use thiserror::Error;

use super::record::{fleet, phases};
use super::summarise::sha256;
use super::{ExperimentError, prepare_logs, run};
use crate::metrics::Phase;
use crate::metrics::measure::{Reading, readings};
use crate::population::replay::{LogError, PreparedLog};
use crate::scenario::sweep::{Point, SweepPlan, at_point};
use crate::scenario::{self, Diagnostics, Loaded, Overrides, canonical};

/// Why a sweep cannot be carried out.
#[derive(Debug, Error)]
pub enum SweepError {
    /// The scenario is wrong.
    #[error("{0}")]
    Scenario(Diagnostics),
    /// It is wrong at a point.
    #[error("at point {number} of the sweep ({point}):\n{diagnostics}")]
    Point {
        /// The point, from 0.
        number: usize,
        /// Its fields and values.
        point: String,
        /// What is wrong there.
        diagnostics: Diagnostics,
    },
    /// There is nothing to go over.
    #[error(
        "the scenario has no `[sweep]`\n  add one, or give `--grid 'population.homes.clients=[1000, 2000]'`"
    )]
    Nothing,
    /// The scenario wants the warm-up detected.
    #[error(
        "a sweep cannot detect the warm-up: each point would have its own\n  give `warmup` as a length of time"
    )]
    Warmup,
    /// A log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// A sweep, ready to run.
#[derive(Debug)]
pub struct Sweep {
    points: Vec<SweepPoint>,
    /// Runs before each point, and those of all.
    first_runs: Vec<u64>,
    hash: String,
}

/// One point of a sweep.
#[derive(Debug)]
pub struct SweepPoint {
    /// Its fields and values.
    pub values: Point,
    /// The scenario there.
    pub loaded: Loaded,
    logs: Arc<Vec<PreparedLog>>,
}

/// Which run of a sweep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SweepRun {
    /// The point.
    pub point: usize,
    /// The strategy's place.
    pub strategy: usize,
    /// The replication, from 0.
    pub replication: u32,
}

/// A run's metrics: by phase, in catalogue order.
pub type RunValues = Vec<(Phase, Vec<Option<f64>>)>;

impl Sweep {
    /// Reads a scenario file at every point of its sweep; `grid` adds axes to it. Mistakes at any point are found here.
    ///
    /// # Errors
    /// [`SweepError`].
    pub fn load(file: &Path, overrides: &Overrides, grid: &[scenario::Axis]) -> Result<Self, SweepError> {
        let base = scenario::load(file, overrides).map_err(SweepError::Scenario)?;
        let mut plan: SweepPlan = base.scenario.sweep.clone().unwrap_or_default();
        plan.grid.extend_from_slice(grid);
        if plan == SweepPlan::default() {
            return Err(SweepError::Nothing);
        }
        // Logs are read once, unless it is they that differ.
        let of_logs = |field: &str| field.split('.').next() == Some("log");
        let cube_fields = plan.hypercube.iter().flat_map(|cube| cube.fields.iter().map(|(field, _)| field));
        let logs_differ =
            plan.grid.iter().map(|axis| &axis.field).chain(cube_fields).any(|field| of_logs(field));
        let prepare = |loaded: &Loaded| -> Result<_, LogError> {
            Ok(Arc::new(prepare_logs(&loaded.scenario, &loaded.folder, &|_| ())?))
        };
        let shared: Arc<Vec<PreparedLog>> = if logs_differ { Arc::default() } else { prepare(&base)? };
        let mut points = Vec::new();
        for (number, values) in plan.expand(base.scenario.seed).into_iter().enumerate() {
            let changes = overrides.clone().then(at_point(&values));
            let loaded = scenario::load(file, &changes).map_err(|diagnostics| SweepError::Point {
                number,
                point: show(&values),
                diagnostics,
            })?;
            if loaded.scenario.detect_warmup {
                return Err(SweepError::Warmup);
            }
            let logs = if logs_differ { prepare(&loaded)? } else { shared.clone() };
            points.push(SweepPoint { values, loaded, logs });
        }
        let mut first_runs = vec![0];
        let mut identity = String::new();
        for SweepPoint { values, loaded, .. } in &points {
            let scenario = &loaded.scenario;
            let runs = scenario.strategies.len() as u64 * u64::from(scenario.replications);
            first_runs.push(first_runs[first_runs.len() - 1] + runs);
            identity.push_str(&format!("{}\n{}\n", show(values), sha256(&canonical(&loaded.resolved))));
        }
        Ok(Self { points, first_runs, hash: sha256(&identity) })
    }

    /// The points.
    pub fn points(&self) -> &[SweepPoint] {
        &self.points
    }

    /// The number of runs.
    pub fn runs(&self) -> u64 {
        self.first_runs[self.points.len()]
    }

    /// SHA-256 of all points and their scenarios: sweeps with the same have the same runs.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Which run has a number.
    ///
    /// # Panics
    /// Panics if there is none: numbers are below [`Sweep::runs`].
    pub fn at(&self, number: u64) -> SweepRun {
        assert!(number < self.runs(), "a sweep of {} runs has no run {number}", self.runs());
        let point = self.first_runs.partition_point(|&first| first <= number) - 1;
        let within = number - self.first_runs[point];
        let replications = u64::from(self.points[point].loaded.scenario.replications);
        SweepRun {
            point,
            strategy: (within / replications) as usize,
            replication: (within % replications) as u32,
        }
    }

    /// Carries out a run.
    ///
    /// # Errors
    /// The run failed.
    pub fn carry_out(&self, which: SweepRun) -> Result<RunValues, ExperimentError> {
        let SweepPoint { loaded, logs, .. } = &self.points[which.point];
        let scenario = &loaded.scenario;
        let outcome = run(scenario, logs, (which.strategy, which.replication), 0, &|_| ())?;
        let counts = &outcome.counts;
        let fleet = fleet(scenario, which.strategy, &outcome.outages);
        let of_phase = |phase: Phase| {
            let of_phase = counts.phase(phase);
            let value = |reading: Option<Reading>| reading?.value(&of_phase);
            (phase, readings(counts, &fleet, phase).into_iter().map(value).collect())
        };
        Ok(phases(&counts.calendar).into_iter().map(of_phase).collect())
    }
}

/// A point as messages and tables show it.
pub fn show(point: &Point) -> String {
    point.iter().map(|(field, value)| format!("{field}={value}")).collect::<Vec<_>>().join(" ")
}

//! Sweeps: a scenario at many points, run by run, by as many processes as one likes.
//!
//! The runs of a sweep are numbered in the order of (point, strategy, replication). It is carried out in pieces, of which a shard takes
//! every n-th: runs, or whole points where a point's runs decide together how many there are (`precision`) or what is measured
//! (`warmup = "detect"`). What a piece comes to is a function of its number, so that it does not matter who carried it out, when, or how often.

use std::path::Path;
use std::sync::Arc;

use thiserror::Error;

use super::record::{PhaseRecord, fleet, phases};
use super::summarise::sha256;
use super::{Experiment, ExperimentError, prepare_logs, run};
use crate::metrics::Phase;
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
    /// Whether a piece is a point rather than a run.
    by_point: bool,
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

/// The metrics of a run: by phase, in catalogue order.
pub type PhaseValues = Vec<(Phase, Vec<Option<f64>>)>;

/// What a run of a sweep came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunValues {
    /// The warm-up before measurement, as it was given or detected \[s\].
    pub warmup_s: f64,
    /// Its metrics.
    pub phases: PhaseValues,
}

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
        let together = |point: &SweepPoint| {
            let scenario = &point.loaded.scenario;
            scenario.detect_warmup || scenario.precision.is_some()
        };
        Ok(Self { by_point: points.iter().any(together), points, first_runs, hash: sha256(&identity) })
    }

    /// The points.
    pub fn points(&self) -> &[SweepPoint] {
        &self.points
    }

    /// The number of runs; with a `precision` there may be fewer.
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

    /// Whether a point's runs are as many as it takes to be precise.
    pub fn is_until_precise(&self) -> bool {
        self.points.iter().any(|point| point.loaded.scenario.precision.is_some())
    }

    /// The number of pieces in which it is carried out.
    pub fn pieces(&self) -> u64 {
        if self.by_point { self.points.len() as u64 } else { self.runs() }
    }

    /// The numbers of a piece's runs, if `is_known` says of a run whether it was carried out. Of a piece that was not, the first run
    /// of each strategy.
    pub fn runs_of(&self, piece: u64, is_known: impl Fn(u64) -> bool) -> Vec<u64> {
        if !self.by_point {
            return vec![piece];
        }
        let place = piece as usize;
        let scenario = &self.points[place].loaded.scenario;
        let most = u64::from(scenario.replications);
        let first = self.first_runs[place];
        let each = (first..first + most).take_while(|&number| is_known(number)).count().max(1) as u64;
        let of_strategy =
            |strategy: u64| (0..each).map(move |replication| first + strategy * most + replication);
        (0..scenario.strategies.len() as u64).flat_map(of_strategy).collect()
    }

    /// Carries out a piece on the current rayon pool: its runs, each with its number.
    ///
    /// # Errors
    /// A run failed, or the load does not settle.
    pub fn carry_out(&self, piece: u64) -> Result<Vec<(u64, RunValues)>, ExperimentError> {
        if !self.by_point {
            return Ok(vec![(piece, self.try_out(piece)?)]);
        }
        let place = piece as usize;
        let SweepPoint { loaded, logs, .. } = &self.points[place];
        let mut experiment = Experiment::new(loaded, logs, 0)?;
        experiment.run_to_precision(&|_| ())?;
        let warmup_s = experiment.scenario().warmup.as_secs_f64();
        let most = u64::from(loaded.scenario.replications);
        let numbered = experiment.values().map(|(strategy, replication, phases)| {
            let number = self.first_runs[place] + strategy as u64 * most + u64::from(replication);
            (number, RunValues { warmup_s, phases })
        });
        Ok(numbered.collect())
    }

    /// Carries out one run by itself, with the warm-up that was given, if any.
    ///
    /// # Errors
    /// The run failed.
    ///
    /// # Panics
    /// As [`Sweep::at`].
    pub fn try_out(&self, number: u64) -> Result<RunValues, ExperimentError> {
        let which = self.at(number);
        let SweepPoint { loaded, logs, .. } = &self.points[which.point];
        let scenario = &loaded.scenario;
        let outcome = run(scenario, logs, (which.strategy, which.replication), 0, &|_| ())?;
        let fleet = fleet(scenario, which.strategy, &outcome.outages);
        let of_phase = |phase| (phase, PhaseRecord::new(&outcome.counts, &fleet, phase).values());
        Ok(RunValues {
            warmup_s: scenario.warmup.as_secs_f64(),
            phases: phases(&outcome.counts.calendar).into_iter().map(of_phase).collect(),
        })
    }
}

/// A point as messages and tables show it.
pub fn show(point: &Point) -> String {
    point.iter().map(|(field, value)| format!("{field}={value}")).collect::<Vec<_>>().join(" ")
}

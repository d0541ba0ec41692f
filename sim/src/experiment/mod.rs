//! Strategies times replications, on all cores, and what they add up to.
//!
//! Runs are independent and their results are put together in the order of (strategy, replication), so that the number of
//! threads changes nothing but the time taken.

mod expectations;
mod impact;
mod intervals;
pub mod summary;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::backend::Discipline;
use crate::balancer::{self, Evidence};
use crate::cluster::{self, Outage, RunError, RunOutcome, RunSetup, RunSizes};
use crate::engine::{Distribution, SimDuration, SimTime, Stream};
use crate::ids::StreamId;
use crate::metrics::catalogue::METRICS;
use crate::metrics::measure::{self, Fleet, NoiseCounts};
use crate::metrics::recorder::{Calendar, Counts};
use crate::metrics::{Histogram, LossCause, Phase};
use crate::population::replay::{LogError, LogOptions, PreparedLog, Pseudonyms};
use crate::scenario::{FaultKind, Loaded, LogSource, Scenario, Vary, canonical};

use impact::Impact;
use summary::{
    Estimate, FaultImpact, FaultLine, LossSummary, MetricSummary, SCHEMA_VERSION, Series, ServerLine,
    ServerSummary, StrategySummary, Summary, TraceLine,
};

/// Bins of the series over time, at most.
const SERIES_BINS: usize = 120;

/// Why an experiment could not be carried out.
#[derive(Debug, Error)]
pub enum ExperimentError {
    /// A run failed.
    #[error("strategy `{strategy}`, replication {replication}: {error}")]
    Run {
        /// The strategy's name.
        strategy: String,
        /// The replication, from 0.
        replication: u32,
        /// Why.
        error: RunError,
    },
    /// A log could not be prepared.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl ExperimentError {
    /// Whether the simulator, not its input, is at fault.
    pub fn is_internal(&self) -> bool {
        matches!(self, Self::Run { error: RunError::Accounting(_), .. })
    }
}

/// What an experiment came to.
#[derive(Debug)]
pub struct Findings {
    /// The findings.
    pub summary: Summary,
    /// What each run took, in the order of (strategy, replication).
    pub sizes: Vec<RunSizes>,
}

/// Reads the logs of a scenario once, for all its runs. `progress` is called now and then with the share that has been read.
///
/// # Errors
/// A file cannot be read or holds no valid line.
pub fn prepare_logs(
    scenario: &Scenario,
    folder: &Path,
    progress: &dyn Fn(f64),
) -> Result<Vec<PreparedLog>, LogError> {
    let logs = scenario.logs.len() as f64;
    let mut tiers = scenario.strategies.iter().flat_map(|strategy| &strategy.tiers);
    let paths = tiers.any(|tier| tier.keys.show_path());
    scenario
        .logs
        .iter()
        .enumerate()
        .map(|(number, log)| {
            let options = LogOptions { paths, ..log_options(log, folder)? };
            // Standard input has no folder.
            let place =
                |file: &PathBuf| if file == Path::new("-") { file.clone() } else { folder.join(file) };
            let files = log.files.iter().map(place);
            PreparedLog::from_files(files, &options, &|share| progress((number as f64 + share) / logs))
        })
        .collect()
}

/// How a log of a scenario is read.
fn log_options(log: &LogSource, folder: &Path) -> Result<LogOptions, LogError> {
    let seconds = |duration: SimDuration| u32::try_from(duration.0 / 1_000_000_000).unwrap_or(u32::MAX);
    let pseudonyms = log.pseudonymise.as_ref().map(|file| Pseudonyms::from_file(&folder.join(file)));
    Ok(LogOptions {
        format: log.format.clone(),
        sessions_by: log.sessions_by.clone(),
        forwarded: log.forwarded,
        pseudonyms: pseudonyms.transpose()?.map(Arc::new),
        from: log.from.unwrap_or(0),
        until: log.until,
        reorder_window_seconds: seconds(log.reorder_window),
        visit_gap_seconds: seconds(log.visit_gap),
        ..LogOptions::default()
    })
}

/// Carries out a scenario's experiment on the current rayon pool. `stories` losses of the first replication of each strategy
/// are told. `progress` is called with the share that is done, from any thread.
///
/// # Errors
/// The first run that failed, in the order of (strategy, replication).
pub fn carry_out(
    loaded: &Loaded,
    logs: &[PreparedLog],
    stories: usize,
    progress: &(dyn Fn(f64) + Sync),
) -> Result<Findings, ExperimentError> {
    let scenario = &loaded.scenario;
    let replications = scenario.replications;
    let runs: Vec<(usize, u32)> = (0..scenario.strategies.len())
        .flat_map(|strategy| (0..replications).map(move |replication| (strategy, replication)))
        .collect();
    let done = AtomicU64::new(0);
    let per_run = 1_u64 << 20;
    let whole = (runs.len() as u64 * per_run) as f64;
    let calendar = cluster::calendar(scenario, logs);
    let findings: Vec<Result<RunFindings, ExperimentError>> = runs
        .par_iter()
        .map(|&(strategy, replication)| {
            let told = if replication == 0 { stories } else { 0 };
            let setup = RunSetup { scenario, strategy, replication, logs, stories: told };
            let share_told = std::cell::Cell::new(0);
            let report = |share: f64| {
                let now = (share * per_run as f64) as u64;
                let before = share_told.replace(now);
                let all = done.fetch_add(now - before, Ordering::Relaxed) + now - before;
                progress(all as f64 / whole);
            };
            let outcome = cluster::run(&setup, &report).map_err(|error| ExperimentError::Run {
                strategy: scenario.strategies[strategy].name.clone(),
                replication,
                error,
            })?;
            Ok(RunFindings::new(scenario, strategy, outcome, replication == 0))
        })
        .collect();
    let findings = findings.into_iter().collect::<Result<Vec<_>, _>>()?;
    let sizes = findings.iter().map(|run| run.sizes).collect();
    Ok(Findings { summary: summarise(loaded, logs, &calendar, findings), sizes })
}

/// What is kept of a run until all are done.
struct RunFindings {
    /// By phase: every metric.
    values: Vec<(Phase, Vec<Option<f64>>)>,
    /// By phase: what the noise floor depends on.
    noise: Vec<NoiseBasis>,
    requests: Vec<u64>,
    connections: Vec<u64>,
    busy_ns: Vec<u64>,
    lost: [u64; LossCause::ALL.len()],
    impacts: Vec<Impact>,
    latency: Histogram,
    /// Only of a strategy's first replication.
    bins: Option<Bins>,
    trace: Vec<TraceLine>,
    stories: Vec<String>,
    sizes: RunSizes,
}

struct NoiseBasis {
    requests: u64,
    connections: u64,
    window_requests: f64,
    shares: Vec<f64>,
}

/// Load over time in bins: totals by server and bin.
struct Bins {
    requests: Vec<Vec<u64>>,
    busy_ns: Vec<Vec<u64>>,
}

fn fleet(scenario: &Scenario, strategy: usize, outages: &[Outage]) -> Fleet {
    Fleet {
        store_workers: scenario.strategies[strategy].session.store_workers(scenario.servers.len()),
        weights: scenario.servers.iter().map(|server| f64::from(server.weight)).collect(),
        workers: scenario
            .servers
            .iter()
            .map(|server| match server.capacity.discipline {
                Discipline::Fcfs { workers, .. } => f64::from(workers),
                Discipline::ProcessorSharing { cores, .. } => f64::from(cores),
            })
            .collect(),
        outages: outages.iter().map(|o| (o.server.index(), o.from, o.until)).collect(),
    }
}

/// The phases that a run has.
fn phases(calendar: &Calendar) -> Vec<Phase> {
    let lasts = |phase: &Phase| {
        let (from, until) = calendar.bounds(*phase);
        until > from
    };
    if calendar.has_faults() { Phase::ALL.into_iter().filter(lasts).collect() } else { vec![Phase::All] }
}

/// Windows in a bin of the series.
fn windows_per_bin(calendar: &Calendar) -> usize {
    calendar.windows().div_ceil(SERIES_BINS).max(1)
}

impl RunFindings {
    fn new(scenario: &Scenario, strategy: usize, outcome: RunOutcome, first: bool) -> Self {
        let counts = &outcome.counts;
        let fleet = fleet(scenario, strategy, &outcome.outages);
        let phases = phases(&counts.calendar);
        let values = phases.iter().map(|&phase| (phase, measure::values(counts, &fleet, phase))).collect();
        let noise = phases
            .iter()
            .map(|&phase| {
                let phase_counts = counts.phase(phase);
                let windows = measure::judged_windows(counts, &fleet, phase);
                let in_windows: u64 = windows.iter().map(|window| window.requests).sum();
                let (from, until) = counts.calendar.bounds(phase);
                NoiseBasis {
                    requests: phase_counts.requests.iter().sum(),
                    connections: phase_counts.connections.iter().sum(),
                    window_requests: in_windows as f64 / windows.len().max(1) as f64,
                    shares: fleet.shares(from, until),
                }
            })
            .collect();
        let all = counts.phase(Phase::All);
        Self {
            values,
            noise,
            impacts: impact::impacts(scenario, &outcome, &fleet),
            bins: first.then(|| Bins::of(counts)),
            requests: all.requests,
            connections: all.connections,
            busy_ns: all.busy_ns,
            lost: all.lost,
            latency: all.latency,
            trace: outcome.trace,
            stories: outcome.stories,
            sizes: outcome.sizes,
        }
    }
}

impl Bins {
    fn of(counts: &Counts) -> Self {
        let (servers, size) = (counts.servers, windows_per_bin(&counts.calendar));
        let bins = counts.calendar.windows().div_ceil(size);
        let mut requests = vec![vec![0; bins]; servers];
        let mut busy_ns = vec![vec![0; bins]; servers];
        for (cell, (&count, &busy)) in counts.window_requests.iter().zip(&counts.window_busy_ns).enumerate() {
            let (bin, server) = (cell / servers / size, cell % servers);
            requests[server][bin] += u64::from(count);
            busy_ns[server][bin] += busy;
        }
        Self { requests, busy_ns }
    }
}

fn summarise(
    loaded: &Loaded,
    logs: &[PreparedLog],
    calendar: &Calendar,
    mut findings: Vec<RunFindings>,
) -> Summary {
    let scenario = &loaded.scenario;
    let per_strategy = scenario.replications as usize;
    let traces_and_stories: Vec<_> = findings
        .iter_mut()
        .step_by(per_strategy)
        .map(|run| (std::mem::take(&mut run.trace), std::mem::take(&mut run.stories)))
        .collect();
    let groups: Vec<&[RunFindings]> = findings.chunks(per_strategy).collect();
    let strategies: Vec<StrategySummary> = groups
        .iter()
        .zip(traces_and_stories)
        .enumerate()
        .map(|(index, (runs, (trace, stories)))| {
            let reference = (index > 0).then(|| groups[0]);
            StrategySummary {
                trace,
                stories,
                ..summarise_strategy(scenario, calendar, index, runs, reference)
            }
        })
        .collect();
    let expectations = expectations::judge(scenario, &strategies);
    Summary {
        schema_version: SCHEMA_VERSION,
        evenkeel_version: env!("CARGO_PKG_VERSION").to_owned(),
        title: scenario.title.clone(),
        scenario_sha256: Sha256::digest(canonical(&loaded.resolved))
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
        seed: scenario.seed,
        replications: scenario.replications,
        vary: vary(scenario).to_owned(),
        warmup_s: scenario.warmup.as_secs_f64(),
        duration_s: calendar.end.since(calendar.measured_from).as_secs_f64(),
        window_s: scenario.window.as_secs_f64(),
        servers: scenario
            .servers
            .iter()
            .map(|server| ServerLine {
                name: server.name.clone(),
                address: server.address.clone(),
                weight: server.weight,
            })
            .collect(),
        faults: scenario.faults.iter().map(|fault| fault_line(scenario, fault)).collect(),
        strategies,
        expectations,
        inferred: logs.iter().flat_map(|log| log.statistics().inferred()).collect(),
        log_statistics: scenario
            .logs
            .iter()
            .zip(logs)
            .flat_map(|(plan, log)| log.statistics().lines(&plan.name))
            .collect(),
    }
}

/// What varies between replications, for the reader.
fn vary(scenario: &Scenario) -> &'static str {
    if scenario.replications == 1 {
        return "nothing";
    }
    match scenario.vary {
        Vary::Population => "population",
        Vary::Behaviour => "behaviour",
    }
}

fn fault_line(scenario: &Scenario, fault: &crate::scenario::Fault) -> FaultLine {
    let kind = &fault.kind;
    let what = kind.server().map_or_else(
        || match kind {
            FaultKind::StoreCrash { node, .. } => format!("crash of node {node} of the session store"),
            _ => kind.name().to_owned(),
        },
        |server| format!("{} of {}", kind.name(), scenario.servers[server.index()].name),
    );
    FaultLine { what, at_s: fault.at.as_secs_f64(), until_s: (fault.at + kind.lasts()).as_secs_f64() }
}

fn summarise_strategy(
    scenario: &Scenario,
    calendar: &Calendar,
    index: usize,
    runs: &[RunFindings],
    reference: Option<&[RunFindings]>,
) -> StrategySummary {
    let strategy = &scenario.strategies[index];
    let fleet = fleet(scenario, index, &[]);
    let seconds = calendar.end.since(calendar.measured_from).as_secs_f64();
    let servers = (0..scenario.servers.len())
        .map(|server| {
            let of = |pick: &dyn Fn(&RunFindings) -> f64| Estimate::of_all(runs.iter().map(pick));
            let share = |run: &RunFindings| {
                let total: u64 = run.requests.iter().sum();
                if total == 0 { 0.0 } else { run.requests[server] as f64 / total as f64 }
            };
            ServerSummary {
                server: scenario.servers[server].name.clone(),
                requests: of(&|run| run.requests[server] as f64),
                requests_share: of(&share),
                connections: of(&|run| run.connections[server] as f64),
                utilisation: of(&|run| run.busy_ns[server] as f64 / 1e9 / fleet.workers[server] / seconds),
            }
        })
        .collect();
    let losses = LossCause::ALL
        .into_iter()
        .filter(|&cause| runs.iter().any(|run| run.lost[cause as usize] > 0))
        .map(|cause| LossSummary {
            cause,
            lost: Estimate::of_all(runs.iter().map(|run| run.lost[cause as usize] as f64)),
        })
        .collect();
    let mut latency = Histogram::new();
    runs.iter().for_each(|run| latency.merge(&run.latency));
    StrategySummary {
        name: strategy.name.clone(),
        balancer: strategy.balancer.clone(),
        evidence: balancer::entry(&strategy.balancer).map_or(Evidence::NotRecorded, |entry| entry.evidence),
        session: strategy.session.name(),
        metrics: metrics(scenario, index, runs, reference),
        servers,
        losses,
        faults: (0..scenario.faults.len()).map(|fault| summarise_impact(scenario, fault, runs)).collect(),
        series: series(
            calendar,
            &fleet,
            runs[0].bins.as_ref().expect("the first replication keeps its bins"),
        ),
        latency_cdf: latency.cdf().into_iter().map(|(s, share)| (s * 1e3, share)).collect(),
        trace: Vec::new(),
        stories: Vec::new(),
    }
}

fn metrics(
    scenario: &Scenario,
    strategy: usize,
    runs: &[RunFindings],
    reference: Option<&[RunFindings]>,
) -> Vec<MetricSummary> {
    let weights: Vec<f64> = scenario.servers.iter().map(|server| f64::from(server.weight)).collect();
    let column = |runs: &[RunFindings], phase: usize, metric: usize| -> Vec<Option<f64>> {
        runs.iter().map(|run| run.values[phase].1[metric]).collect()
    };
    let mut summaries = Vec::new();
    for (place, (phase, _)) in runs[0].values.iter().enumerate() {
        // Floors are named by (strategy, phase), so that adding a metric changes none.
        let stream = Stream::new(scenario.seed, (strategy as u64) << 8 | place as u64, StreamId::NoiseFloor);
        let floors = noise_floors(scenario, runs, place, &weights, &stream);
        for (number, metric) in METRICS.iter().enumerate() {
            let values = column(runs, place, number);
            summaries.push(MetricSummary {
                metric: metric.name,
                phase: *phase,
                unit: metric.unit,
                direction: metric.direction,
                value: Estimate::of(values.iter().copied()),
                noise_floor: floors
                    .iter()
                    .find(|(id, _)| usize::from(id.0) == number)
                    .map(|(_, floor)| *floor),
                difference: reference
                    .and_then(|reference| Estimate::difference(&values, &column(reference, place, number))),
            });
        }
    }
    summaries
}

/// The noise floors in the phase at `place`, at the mean counts over replications.
fn noise_floors(
    scenario: &Scenario,
    runs: &[RunFindings],
    place: usize,
    weights: &[f64],
    stream: &Stream,
) -> Vec<(crate::metrics::MetricId, f64)> {
    let n = runs.len() as f64;
    let mean =
        |pick: &dyn Fn(&NoiseBasis) -> f64| runs.iter().map(|run| pick(&run.noise[place])).sum::<f64>() / n;
    let noise = NoiseCounts {
        requests: mean(&|basis| basis.requests as f64),
        connections: mean(&|basis| basis.connections as f64),
        window_requests: mean(&|basis| basis.window_requests),
        demand_cv2: demand_cv_squared(&scenario.servers[0].capacity.service, stream),
    };
    measure::noise_floor(&noise, &runs[0].noise[place].shares, weights, stream)
}

/// The squared coefficient of variation of service demand, from draws of its law.
fn demand_cv_squared(law: &Distribution, stream: &Stream) -> f64 {
    const DRAWS: u64 = 4_096;
    let (sum, squares) = (0..DRAWS).fold((0.0, 0.0), |(sum, squares), draw| {
        let demand = law.sample(stream, u64::MAX, draw);
        (sum + demand, squares + demand * demand)
    });
    let mean = sum / DRAWS as f64;
    if mean > 0.0 { (squares / DRAWS as f64 / (mean * mean) - 1.0).max(0.0) } else { 0.0 }
}

fn summarise_impact(scenario: &Scenario, fault: usize, runs: &[RunFindings]) -> FaultImpact {
    let of =
        |pick: &dyn Fn(&Impact) -> f64| Estimate::of_all(runs.iter().map(|run| pick(&run.impacts[fault])));
    FaultImpact {
        what: fault_line(scenario, &scenario.faults[fault]).what,
        users_logged_out: of(&|impact| impact.users_logged_out as f64),
        requests_failed: of(&|impact| impact.requests_failed as f64),
        peak_utilisation: of(&|impact| impact.peak_utilisation),
        even_again_s: Estimate::of(runs.iter().map(|run| run.impacts[fault].even_again_s)),
        never_even: runs.iter().filter(|run| run.impacts[fault].even_again_s.is_none()).count() as u32,
    }
}

fn series(calendar: &Calendar, fleet: &Fleet, bins: &Bins) -> Series {
    let bin = calendar.window * windows_per_bin(calendar) as u64;
    // The last bin may be cut short by the end of the run.
    let length = |at: usize| {
        let start = calendar.measured_from + bin * at as u64;
        let end: SimTime = (start + bin).min(calendar.end);
        end.since(start).as_secs_f64()
    };
    let rates = |counts: &[u64], unit: f64| -> Vec<f64> {
        counts.iter().enumerate().map(|(at, &count)| count as f64 / unit / length(at)).collect()
    };
    Series {
        bin_s: bin.as_secs_f64(),
        requests_per_s: bins.requests.iter().map(|counts| rates(counts, 1.0)).collect(),
        utilisation: bins
            .busy_ns
            .iter()
            .zip(&fleet.workers)
            .map(|(busy, workers)| rates(busy, 1e9 * workers))
            .collect(),
    }
}

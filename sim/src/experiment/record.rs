//! What is kept of a run until all are done.

use super::Column;
use super::impact::{self, Impact};
use crate::backend::Discipline;
use crate::cluster::{Outage, Removal, RunOutcome, RunSizes, Spell, TraceLine};
use crate::metrics::histogram::Sparse;
use crate::metrics::measure::{self, Fleet, Reading};
use crate::metrics::outages::Outages;
use crate::metrics::quantiles::Source;
use crate::metrics::recorder::{Calendar, Counts, PhaseCounts};
use crate::metrics::{LossCause, MetricId, Phase, Timed};
use crate::scenario::Scenario;

/// Bins of the series over time, at most.
const SERIES_BINS: usize = 120;

/// Distributions of times, by [`Timed`].
pub(super) type Times = [Sparse; Timed::ALL.len()];

/// What is kept of a run.
pub(super) struct RunRecord {
    /// The phases that the run has, the whole first.
    pub phases: Vec<PhaseRecord>,
    /// Of a single long run, by batch: every metric without that batch.
    pub without_batch: Vec<Vec<Option<f64>>>,
    /// Of a single long run, by batch: its times.
    pub batch_times: Vec<Times>,
    pub requests: Vec<u64>,
    pub connections: Vec<u64>,
    /// What each instance of the tiers decided; empty with one.
    pub instances: Vec<u64>,
    pub busy_ns: Vec<u64>,
    pub lost: [u64; LossCause::ALL.len()],
    pub impacts: Vec<Impact>,
    /// Only of a strategy's first replication.
    pub bins: Option<Bins>,
    /// When each fault lasted; only of a strategy's first replication.
    pub spells: Vec<Spell>,
    /// When health kept servers from new clients; only of a strategy's first replication.
    pub removals: Vec<Removal>,
    pub trace: Vec<TraceLine>,
    pub stories: Vec<String>,
    pub sizes: RunSizes,
}

/// What is kept of a phase.
pub(super) struct PhaseRecord {
    pub phase: Phase,
    /// Every metric, in catalogue order.
    pub readings: Vec<Option<Reading>>,
    pub times: Times,
    /// What the noise floor depends on.
    pub noise: NoiseBasis,
}

pub(super) struct NoiseBasis {
    pub requests: u64,
    pub connections: u64,
    pub window_requests: f64,
    pub shares: Vec<f64>,
}

/// Load over time in bins: totals by server and bin.
pub(super) struct Bins {
    pub requests: Vec<Vec<u64>>,
    pub busy_ns: Vec<Vec<u64>>,
}

/// The servers of a strategy, as their load is judged.
pub(super) fn fleet(scenario: &Scenario, strategy: usize, outages: &[Outage]) -> Fleet {
    Fleet {
        tiers: scenario.strategies[strategy]
            .programs()
            .map(|(_, plan)| (plan.instances.len(), plan.director.is_none()))
            .collect(),
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
        outages: Outages::new(
            scenario.servers.len(),
            outages.iter().map(|o| (o.server.index(), o.from, o.until)).collect(),
        ),
    }
}

/// The phases that a run has.
pub(super) fn phases(calendar: &Calendar) -> Vec<Phase> {
    let lasts = |phase: &Phase| {
        let (from, until) = calendar.bounds(*phase);
        until > from
    };
    if calendar.has_faults() { Phase::ALL.into_iter().filter(lasts).collect() } else { vec![Phase::All] }
}

/// Windows in a bin of the series.
pub(super) fn windows_per_bin(calendar: &Calendar) -> usize {
    calendar.windows().div_ceil(SERIES_BINS).max(1)
}

/// What runs say of a metric, each by its readings and its times.
pub(super) fn column<'a>(
    metric: MetricId,
    runs: impl Iterator<Item = (&'a Vec<Option<Reading>>, &'a Times)>,
) -> Column {
    match metric.source() {
        Source::Reading(line) => Column::of(&runs.map(|(readings, _)| readings[line]).collect::<Vec<_>>()),
        Source::Quantile(of, q) => {
            Column::of_quantile(of, q, &runs.map(|(_, times)| &times[of as usize]).collect::<Vec<_>>())
        }
    }
}

/// The times of some counts.
pub(super) fn sparse(counts: &PhaseCounts) -> Times {
    Timed::ALL.map(|of| counts.times(of).sparse())
}

impl RunRecord {
    pub fn new(scenario: &Scenario, strategy: usize, outcome: RunOutcome, first: bool) -> Self {
        let counts = &outcome.counts;
        let calendar = &counts.calendar;
        let fleet = fleet(scenario, strategy, &outcome.outages);
        let all = counts.phase(Phase::All);
        Self {
            phases: phases(calendar)
                .into_iter()
                .map(|phase| PhaseRecord::new(counts, &fleet, phase))
                .collect(),
            without_batch: (0..counts.batches().len())
                .map(|batch| measure::readings_without_batch(counts, &fleet, batch))
                .collect(),
            batch_times: counts.batches().iter().map(sparse).collect(),
            impacts: impact::impacts(scenario, &outcome, &fleet),
            bins: first.then(|| Bins::of(counts)),
            spells: if first { outcome.spells } else { Vec::new() },
            removals: if first { outcome.removals } else { Vec::new() },
            requests: all.requests,
            connections: all.connections,
            instances: all.tiers.instances,
            busy_ns: all.busy_ns,
            lost: all.lost,
            trace: outcome.trace,
            stories: outcome.stories,
            sizes: outcome.sizes,
        }
    }
}

impl PhaseRecord {
    /// The value of every metric, in catalogue order.
    pub fn values(&self) -> Vec<Option<f64>> {
        let own = || std::iter::once((&self.readings, &self.times));
        (0..self.readings.len() as u16).map(|line| column(MetricId::Line(line), own()).centre).collect()
    }

    pub fn new(counts: &Counts, fleet: &Fleet, phase: Phase) -> Self {
        let phase_counts = counts.phase(phase);
        let windows = measure::judged_windows(counts, fleet, phase);
        let in_windows: u64 = windows.iter().map(|window| window.requests).sum();
        let (from, until) = counts.calendar.bounds(phase);
        Self {
            phase,
            readings: measure::readings(counts, fleet, phase),
            times: sparse(&phase_counts),
            noise: NoiseBasis {
                requests: phase_counts.requests.iter().sum(),
                connections: phase_counts.connections.iter().sum(),
                window_requests: in_windows as f64 / windows.len().max(1) as f64,
                shares: fleet.shares(from, until),
            },
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

//! From the records of all runs to the summary.

use sha2::{Digest, Sha256};

use super::column::Column;
use super::impact::Impact;
use super::intervals::holm;
use super::record::{Bins, NoiseBasis, RunRecord, fleet, windows_per_bin};
use super::summary::{
    ActLine, Estimate, FaultImpact, FaultLine, InstanceSummary, LossSummary, MetricSummary, RemovalLine,
    SCHEMA_VERSION, Series, ServerLine, ServerSummary, StrategySummary, Summary,
};
use super::{Experiment, column_at, expectations};
use crate::balancer::{self, Evidence};
use crate::cluster::{Removal, ScalingAct, Spell};
use crate::engine::{Distribution, SimDuration, SimTime, Stream};
use crate::ids::StreamId;
use crate::metrics::catalogue::METRICS;
use crate::metrics::measure::{self, Fleet, NoiseCounts};
use crate::metrics::recorder::Calendar;
use crate::metrics::{Histogram, LossCause, MetricId, Timed};
use crate::scenario::{Fault, FaultKind, FrontPlan, Scenario, Strategy, canonical};
use crate::tier::Layer;

/// Times of a fault that are kept to be drawn.
const SPANS_MAX: usize = 1_000;

/// The summary of what has run so far.
pub(super) fn summarise(experiment: &Experiment<'_>) -> Summary {
    let Experiment { loaded, scenario, logs, calendar, records, .. } = experiment;
    let mut strategies: Vec<StrategySummary> = (0..records.len())
        .map(|index| {
            let (trace, stories) = (records[index][0].trace.clone(), records[index][0].stories.clone());
            StrategySummary { trace, stories, ..summarise_strategy(experiment, index) }
        })
        .collect();
    count_comparisons(&mut strategies);
    let expectations = expectations::judge(experiment);
    Summary {
        schema_version: SCHEMA_VERSION,
        evenkeel_version: env!("CARGO_PKG_VERSION").to_owned(),
        title: scenario.title.clone(),
        scenario_sha256: sha256(&canonical(&loaded.resolved)),
        seed: scenario.seed,
        replications: experiment.replications(),
        batches: records[0][0].without_batch.len() as u32,
        vary: vary(experiment).to_owned(),
        precision: experiment.precision(),
        warmup_s: scenario.warmup.as_secs_f64(),
        warmup_detected: scenario.detect_warmup,
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
        faults: (0..)
            .zip(&scenario.faults)
            .map(|(number, fault)| {
                let spells = &records[0][0].spells;
                FaultLine {
                    spans_s: spans(spells, number, calendar),
                    ..fault_line(scenario, calendar, fault)
                }
            })
            .collect(),
        strategies,
        expectations,
        inferred: logs.iter().flat_map(|log| log.statistics().inferred()).collect(),
        log_statistics: scenario
            .logs
            .iter()
            .zip(*logs)
            .flat_map(|(plan, log)| log.statistics().lines(&plan.name))
            .collect(),
    }
}

/// SHA-256 of a text, in hexadecimal.
pub(super) fn sha256(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What varies between replications, for the reader.
fn vary(experiment: &Experiment<'_>) -> &'static str {
    match (experiment.replications(), experiment.records[0][0].without_batch.len()) {
        (1, 0) => "nothing",
        (1, _) => "time",
        _ => experiment.scenario.vary.name(),
    }
}

/// Sets what each difference to the first strategy is worth among those of all strategies.
fn count_comparisons(strategies: &mut [StrategySummary]) {
    for place in 0..strategies.first().map_or(0, |first| first.metrics.len()) {
        let p_value = |strategy: &StrategySummary| strategy.metrics[place].difference?.p_value();
        let adjusted = holm(&strategies.iter().map(p_value).collect::<Vec<_>>());
        for (strategy, p) in strategies.iter_mut().zip(adjusted) {
            strategy.metrics[place].difference_p = p;
        }
    }
}

fn fault_line(scenario: &Scenario, calendar: &Calendar, fault: &Fault) -> FaultLine {
    let duration = calendar.end.since(calendar.measured_from);
    let until = fault.until().unwrap_or(duration).min(duration);
    FaultLine {
        what: fault.in_words(&scenario.servers, &scenario.instances),
        at_s: fault.at.as_secs_f64(),
        until_s: until.as_secs_f64(),
        spans_s: Vec::new(),
    }
}

/// Times at which a fault lasted, apart from each other and within the run.
fn spans(spells: &[Spell], fault: u32, calendar: &Calendar) -> Vec<(f64, f64)> {
    let mut spans: Vec<(f64, f64)> = Vec::new();
    for spell in spells.iter().filter(|spell| spell.fault == fault) {
        let (from, until) = (seconds(calendar, spell.from), seconds(calendar, spell.until));
        let full = spans.len() == SPANS_MAX;
        match spans.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(until),
            _ if full => break,
            _ => spans.push((from, until)),
        }
    }
    spans
}

/// When health kept servers from new clients, within the measured part.
fn removals(scenario: &Scenario, removals: &[Removal], calendar: &Calendar) -> Vec<RemovalLine> {
    let seconds = |at: SimTime| at.since(calendar.measured_from).as_secs_f64();
    let measured = removals.iter().filter(|removal| removal.until > calendar.measured_from);
    let line = |removal: &Removal| RemovalLine {
        server: scenario.servers[removal.server.index()].name.clone(),
        from_s: seconds(removal.from.max(calendar.measured_from)),
        until_s: seconds(removal.until),
        false_positive: removal.is_false,
    };
    measured.take(SPANS_MAX).map(line).collect()
}

fn summarise_strategy(experiment: &Experiment<'_>, index: usize) -> StrategySummary {
    let (scenario, calendar, runs) = (&experiment.scenario, &experiment.calendar, &experiment.records[index]);
    let strategy = &scenario.strategies[index];
    let fleet = fleet(scenario, index, &[]);
    let seconds = calendar.end.since(calendar.measured_from).as_secs_f64();
    let servers = (0..scenario.servers.len())
        .map(|server| {
            let of = |pick: &dyn Fn(&RunRecord) -> f64| Estimate::of_all(runs.iter().map(pick));
            let share = |run: &RunRecord| {
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
    let mut latency = Histogram::default();
    runs.iter().for_each(|run| latency.add(&run.phases[0].times[Timed::Latency as usize]));
    StrategySummary {
        name: strategy.name.clone(),
        balancer: strategy.tiers_in_words(),
        evidence: evidence(strategy),
        session: strategy.session.name(),
        metrics: metrics(experiment, index),
        servers,
        losses,
        instances: instances(strategy, runs),
        faults: (0..scenario.faults.len())
            .filter(|&fault| is_applicable(scenario, strategy, fault))
            .map(|fault| summarise_impact(scenario, calendar, fault, runs))
            .collect(),
        removals: removals(scenario, &runs[0].removals, calendar),
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

/// Whether a strategy has the part that a fault is about.
fn is_applicable(scenario: &Scenario, strategy: &Strategy, fault: usize) -> bool {
    let Some(instance) = scenario.faults[fault].instance() else { return true };
    let name = &scenario.instances[usize::from(instance)];
    strategy.programs().any(|(_, plan)| plan.instances.iter().any(|instance| instance.name == *name))
}

/// The evidence of a strategy: that of the tier that has least.
fn evidence(strategy: &Strategy) -> Evidence {
    let fronts = strategy.fronts.iter().map(|front| match front {
        FrontPlan::Tier { balancer, .. } => Some(balancer.as_str()),
        FrontPlan::Dns { .. } | FrontPlan::Ecmp { .. } => None,
    });
    let entries = fronts.chain([Some(strategy.balancer.as_str())]).map(|name| name.and_then(balancer::entry));
    let of_tiers: Vec<_> =
        entries.map(|entry| entry.map_or(Evidence::NotRecorded, |entry| entry.evidence)).collect();
    let least = [Evidence::NotRecorded, Evidence::ByDistribution];
    least.into_iter().find(|evidence| of_tiers.contains(evidence)).unwrap_or(Evidence::Recorded)
}

/// What each instance of the tiers did, where there are several.
fn instances(strategy: &Strategy, runs: &[RunRecord]) -> Vec<InstanceSummary> {
    let all = strategy.programs().flat_map(|(place, plan)| {
        let range = plan.instances.len();
        plan.instances.iter().map(move |instance| (place, instance, range, plan.program.layer()))
    });
    let mut first = 0;
    let mut tier = None;
    let summaries = all.enumerate().map(|(at, (place, instance, range, layer))| {
        if tier != Some(place) {
            (tier, first) = (Some(place), at);
        }
        let begin = first;
        let share = |run: &RunRecord| {
            let total: u64 = run.instances.iter().skip(begin).take(range).sum();
            if total == 0 { 0.0 } else { run.instances[at] as f64 / total as f64 }
        };
        InstanceSummary {
            tier: place as u32 + 1,
            instance: instance.name.clone(),
            decides: if layer == Layer::Connection { "connections" } else { "requests" },
            decided: Estimate::of_all(
                runs.iter().map(|run| run.instances.get(at).map_or(0.0, |&n| n as f64)),
            ),
            share: Estimate::of_all(runs.iter().map(share)),
        }
    });
    if runs.iter().all(|run| run.instances.is_empty()) { Vec::new() } else { summaries.collect() }
}

fn metrics(experiment: &Experiment<'_>, strategy: usize) -> Vec<MetricSummary> {
    let (scenario, runs) = (&experiment.scenario, &experiment.records[strategy]);
    let weights: Vec<f64> = scenario.servers.iter().map(|server| f64::from(server.weight)).collect();
    let mut summaries = Vec::new();
    for (place, first) in runs[0].phases.iter().enumerate() {
        // Floors are named by (strategy, phase), so that adding a metric changes none.
        let stream = Stream::new(scenario.seed, (strategy as u64) << 8 | place as u64, StreamId::NoiseFloor);
        let floors = noise_floors(scenario, runs, place, &weights, &stream);
        for (number, metric) in METRICS.iter().enumerate() {
            let id = MetricId::Line(number as u16);
            let column = column_at(runs, place, id);
            let reference = (strategy > 0).then(|| column_at(&experiment.records[0], place, id));
            summaries.push(MetricSummary {
                metric: metric.name,
                phase: first.phase,
                unit: metric.unit,
                direction: metric.direction,
                value: column.estimate(),
                p50: spread_over(&column, 0.5),
                p95: spread_over(&column, 0.95),
                noise_floor: floors.iter().find(|(of, _)| *of == id).map(|(_, floor)| *floor),
                difference: reference.and_then(|reference| column.less(1.0, &reference)),
                difference_p: None,
            });
        }
    }
    summaries
}

/// A quantile over replications, of which there must be two.
fn spread_over(column: &Column, q: f64) -> Option<f64> {
    if column.values.len() < 2 { None } else { column.quantile(q) }
}

/// The noise floors in the phase at `place`, at the mean counts over replications.
fn noise_floors(
    scenario: &Scenario,
    runs: &[RunRecord],
    place: usize,
    weights: &[f64],
    stream: &Stream,
) -> Vec<(MetricId, f64)> {
    let n = runs.len() as f64;
    let mean = |pick: &dyn Fn(&NoiseBasis) -> f64| {
        runs.iter().map(|run| pick(&run.phases[place].noise)).sum::<f64>() / n
    };
    let noise = NoiseCounts {
        requests: mean(&|basis| basis.requests as f64),
        connections: mean(&|basis| basis.connections as f64),
        window_requests: mean(&|basis| basis.window_requests),
        demand_cv2: demand_cv_squared(&scenario.servers[0].capacity.service, stream),
    };
    measure::noise_floor(&noise, &runs[0].phases[place].noise.shares, weights, stream)
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

fn summarise_impact(
    scenario: &Scenario,
    calendar: &Calendar,
    fault: usize,
    runs: &[RunRecord],
) -> FaultImpact {
    let ends = scenario.faults[fault].kind != FaultKind::Autoscaling;
    let of =
        |pick: &dyn Fn(&Impact) -> f64| Estimate::of_all(runs.iter().map(|run| pick(&run.impacts[fault])));
    FaultImpact {
        what: scenario.faults[fault].in_words(&scenario.servers, &scenario.instances),
        users_logged_out: of(&|impact| impact.users_logged_out as f64),
        requests_failed: of(&|impact| impact.requests_failed as f64),
        peak_utilisation: of(&|impact| impact.peak_utilisation),
        even_again_s: Estimate::of(runs.iter().map(|run| run.impacts[fault].even_again_s)),
        never_even: runs.iter().filter(|run| ends && run.impacts[fault].even_again_s.is_none()).count()
            as u32,
        toppled_after_s: Estimate::of(
            runs.iter().map(|run| run.impacts[fault].toppled.map(|toppled| toppled.after_s)),
        ),
        toppled_for_s: Estimate::of(
            runs.iter().map(|run| run.impacts[fault].toppled.map(|toppled| toppled.for_s)),
        ),
        toppled: runs.iter().filter(|run| run.impacts[fault].toppled.is_some()).count() as u32,
        toppled_to_the_end: runs
            .iter()
            .filter(|run| run.impacts[fault].toppled.is_some_and(|toppled| toppled.to_the_end))
            .count() as u32,
        acts: if ends { Vec::new() } else { acts(scenario, calendar, &runs[0].spells) },
        visible: of(&|impact| impact.visible as f64),
        undetected: of(&|impact| impact.undetected as f64),
        detected_after_s: Estimate::of(runs.iter().map(|run| run.impacts[fault].detected_after_s)),
        back_after_s: Estimate::of(runs.iter().map(|run| run.impacts[fault].back_after_s)),
    }
}

/// What an autoscaler did in the measured part of a run.
fn acts(scenario: &Scenario, calendar: &Calendar, spells: &[Spell]) -> Vec<ActLine> {
    let measured = spells.iter().filter(|spell| spell.until > calendar.measured_from);
    let acts = measured.filter_map(|spell| {
        let ScalingAct { server, comes } = spell.act?;
        let kind = if comes { FaultKind::ScaleOut } else { FaultKind::ScaleIn { drain: SimDuration::ZERO } };
        let what = format!("{} of {}", kind.name(), scenario.servers[server.index()].name);
        let (at_s, until_s) = (seconds(calendar, spell.from), seconds(calendar, spell.until));
        Some(ActLine { what, at_s, until_s })
    });
    acts.collect()
}

/// From the end of the warm-up to a time in the run, or to its end if that comes first \[s\].
fn seconds(calendar: &Calendar, at: SimTime) -> f64 {
    at.clamp(calendar.measured_from, calendar.end).since(calendar.measured_from).as_secs_f64()
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

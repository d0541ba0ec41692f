//! Intervals hold the true value as often as they say.
//!
//! Method: many experiments on queues with closed forms, each of a few short replications, and the share of them whose 95 %
//! interval covers the exact value. Replications are run once and dealt to experiments in groups, which is the same as running
//! each experiment with a seed of its own. With 1,000 experiments the share of a right interval is within 93 to 97 % with
//! 99.6 % probability; the seed is fixed.

use evenkeel_sim::cluster::{RunSetup, run};
use evenkeel_sim::experiment::Column;
use evenkeel_sim::experiment::summary::Estimate;
use evenkeel_sim::metrics::histogram::Sparse;
use evenkeel_sim::metrics::measure::{Fleet, Reading, readings, readings_without_batch};
use evenkeel_sim::metrics::outages::Outages;
use evenkeel_sim::metrics::recorder::Counts;
use evenkeel_sim::metrics::{MetricId, Phase};
use rayon::prelude::*;

use crate::support::read;

/// Experiments of each kind.
const EXPERIMENTS: usize = 1_000;
/// Replications of an experiment.
const EACH: usize = 20;
/// Arrivals over what the server can serve.
const RHO: f64 = 0.3;

/// Runs of a queue, each made into something small as soon as it is done.
fn queues<T: Send>(
    capacity: &str,
    duration: u32,
    seeds: std::ops::Range<u32>,
    replications: u32,
    keep: impl Fn(Counts) -> T + Sync,
) -> Vec<T> {
    let one = |seed: u32| {
        let loaded = read(&format!(
            r#"
title = "a short queue"
duration = "{duration}s"
warmup = "40s"
replications = {replications}
seed = {seed}
[[population]]
name = "all"
clients = 1
address = {{ preset = "direct" }}
arrivals = {{ poisson = {{ rate = {RHO} }} }}
[cluster]
servers = [{{ name = "s", address = "10.0.0.1:80" }}]
capacity = {{ {capacity}, service = {{ exponential = {{ mean = "1s" }} }} }}
[[strategy]]
name = "only"
balancer = {{ nginx.round_robin = {{ proxy_read_timeout = "1000h" }} }}
session = {{ local = {{}} }}
"#
        ));
        let keep = &keep;
        let runs = (0..replications).into_par_iter().map(move |replication| {
            let setup =
                RunSetup { scenario: &loaded.scenario, strategy: 0, replication, logs: &[], stories: 0 };
            keep(run(&setup, &|_| ()).unwrap_or_else(|error| panic!("{error}")).counts)
        });
        runs.collect::<Vec<_>>()
    };
    seeds.into_par_iter().flat_map(one).collect()
}

fn fleet() -> Fleet {
    Fleet {
        weights: vec![1.0],
        workers: vec![1.0],
        store_workers: Vec::new(),
        tiers: Vec::new(),
        outages: Outages::new(1, Vec::new()),
    }
}

fn place(metric: &str) -> usize {
    usize::from(MetricId::by_name(metric).expect("a metric").0)
}

/// What a run says of some metrics, and its response times.
type Kept = (Vec<Option<Reading>>, Sparse);

fn kept(counts: &Counts, metrics: &[&str]) -> Kept {
    let all = readings(counts, &fleet(), Phase::All);
    (metrics.iter().map(|metric| all[place(metric)]).collect(), counts.phase(Phase::All).latency.sparse())
}

/// The estimate of a metric in each experiment.
fn estimates(runs: &[Kept], metric: usize) -> Vec<Estimate> {
    let experiment = |runs: &[Kept]| {
        let readings: Vec<_> = runs.iter().map(|(readings, _)| readings[metric]).collect();
        Column::of(&readings, &runs.iter().map(|(_, latency)| latency).collect::<Vec<_>>()).estimate()
    };
    runs.chunks(EACH).filter_map(experiment).collect()
}

fn assert_covered(what: &str, estimates: &[Estimate], exact: f64, least: f64) {
    let covers = |estimate: &&Estimate| {
        let (low, high) = estimate.interval();
        estimate.half_width.is_some() && low <= exact && exact <= high
    };
    let share = estimates.iter().filter(covers).count() as f64 / estimates.len() as f64;
    assert!(
        (least..=0.97).contains(&share),
        "{what}: {:.1} % of {} intervals cover {exact}",
        share * 100.0,
        estimates.len()
    );
}

#[test]
fn intervals_of_means_and_quantiles_cover_those_of_a_single_server_queue() {
    // Response times of M/M/1 are exponential with rate 1 - rho.
    let metrics = ["latency.mean", "latency.p50", "latency.p90"];
    let runs =
        queues("workers = 1", 200, 1..2, (EXPERIMENTS * EACH) as u32, |counts| kept(&counts, &metrics));
    let mean_ms = 1e3 / (1.0 - RHO);
    // Of the 1,200 answers of an experiment 120 lie beyond the 90th percentile, in bursts: their spread is told less well than that of
    // the others, and the interval is a little short.
    let exact = [(mean_ms, 0.93), (mean_ms * 2.0_f64.ln(), 0.93), (mean_ms * 10.0_f64.ln(), 0.91)];
    for (metric, (exact, least)) in exact.into_iter().enumerate() {
        assert_covered(metrics[metric], &estimates(&runs, metric), exact, least);
    }
}

#[test]
fn intervals_of_ratios_cover_the_loss_formula() {
    // Erlang B with one worker and nobody waiting: rho / (1 + rho).
    let metrics = ["requests.failed"];
    let capacity = "workers = 1, queue_limit = 0";
    let runs = queues(capacity, 100, 2..3, (EXPERIMENTS * EACH) as u32, |counts| kept(&counts, &metrics));
    assert_covered("lost", &estimates(&runs, 0), RHO / (1.0 + RHO), 0.93);
}

#[test]
fn intervals_over_batches_of_one_long_run_cover_the_mean() {
    // Runs of a thousand requests in twenty batches; a batch is thirty times the time in which the queue forgets.
    let place = place("latency.mean");
    let estimates = queues("workers = 1", 3_200, 0..EXPERIMENTS as u32, 1, |counts| {
        assert_eq!(counts.calendar.parts(), 20);
        let value = readings(&counts, &fleet(), Phase::All)[place]?.value(&counts.phase(Phase::All).latency);
        let without: Vec<_> =
            (0..20).map(|batch| readings_without_batch(&counts, &fleet(), batch)[place]).collect();
        Column::of_batches(value, &without).estimate()
    });
    let estimates: Vec<Estimate> = estimates.into_iter().flatten().collect();
    assert_covered("mean over batches", &estimates, 1e3 / (1.0 - RHO), 0.93);
}

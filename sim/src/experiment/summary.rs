//! What an experiment found: the plain data that tables, charts and reports are made of.
//!
//! Everything here is a function of the scenario and its seed; nothing depends on the machine, the time or the number of
//! threads.

use serde::Serialize;

use crate::balancer::Evidence;
pub use crate::cluster::TraceLine;
use crate::metrics::{Direction, LossCause, Phase, Unit};

/// Version of the shape of `summary.json`.
pub const SCHEMA_VERSION: u32 = 2;

/// An experiment's findings.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Version of Evenkeel.
    pub evenkeel_version: String,
    /// The scenario's title.
    pub title: String,
    /// SHA-256 of the scenario as resolved, in hexadecimal.
    pub scenario_sha256: String,
    /// Seed.
    pub seed: u64,
    /// Replications of each strategy.
    pub replications: u32,
    /// Batches into which a single long run was cut, over which its intervals are; 0 when they are over replications.
    pub batches: u32,
    /// What changed between replications: `population`, `behaviour`, `hash`, `time` (batches of one run), or `nothing` (no
    /// intervals).
    pub vary: String,
    /// How precise the results are, if replications were added until they are.
    pub precision: Option<Precision>,
    /// Warm-up before measurement \[s\].
    pub warmup_s: f64,
    /// Whether the warm-up was detected by MSER-5.
    pub warmup_detected: bool,
    /// Length of the measured part \[s\].
    pub duration_s: f64,
    /// Length of a load window \[s\].
    pub window_s: f64,
    /// The servers.
    pub servers: Vec<ServerLine>,
    /// The faults, in order of time.
    pub faults: Vec<FaultLine>,
    /// The strategies, in the scenario's order; the first is the reference.
    pub strategies: Vec<StrategySummary>,
    /// What each expectation of the scenario came to.
    pub expectations: Vec<ExpectationResult>,
    /// What a replayed log does not say and was inferred.
    pub inferred: Vec<String>,
    /// Statistics of the replayed logs, ready for printing: (name, value).
    pub log_statistics: Vec<(String, String)>,
}

/// A server.
#[derive(Clone, Debug, Serialize)]
pub struct ServerLine {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Its weight.
    pub weight: u32,
}

/// A fault.
#[derive(Clone, Debug, Serialize)]
pub struct FaultLine {
    /// What happens, such as `crash of web2`.
    pub what: String,
    /// When, from the end of the warm-up \[s\].
    pub at_s: f64,
    /// When it is over, from the end of the warm-up \[s\].
    pub until_s: f64,
    /// From when to when it lasted in the first replication, at any of its parts, in order and apart from each other, from the end
    /// of the warm-up \[s\]; of one that came very often the first times.
    pub spans_s: Vec<(f64, f64)>,
}

/// How precise results are, beside how precise they were to be.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Precision {
    /// Wanted: half the width of the 95 % interval over the mean, at most.
    pub wanted: f64,
    /// The metrics that it is wanted of, in all strategies.
    pub metrics: Vec<String>,
    /// Found: the largest of these; `None` where a mean is zero, or there is no interval.
    pub found: Option<f64>,
    /// Whether it was reached.
    pub reached: bool,
    /// Replications after which it is given up.
    pub replications_most: u32,
}

/// An estimate from all replications with its 95 % interval: by Student's t for means, by the jackknife for ratios of counts, by
/// Woodruff's method for quantiles of pooled distributions.
#[derive(Clone, Copy, Debug, Serialize, PartialEq)]
pub struct Estimate {
    /// The estimate.
    pub mean: f64,
    /// Half the width of the 95 % interval; `None` with fewer than two replications, or when nothing varies.
    pub half_width: Option<f64>,
    /// Replications (or batches of a single run) in which the metric had a value.
    pub n: u32,
}

/// One strategy's findings.
#[derive(Clone, Debug, Serialize)]
pub struct StrategySummary {
    /// Its name.
    pub name: String,
    /// Its balancer, such as `lvs.wlc`.
    pub balancer: String,
    /// Whether recordings of the real program stand behind it.
    pub evidence: Evidence,
    /// Where sessions live, such as `local`.
    pub session: String,
    /// Every metric in every phase that the run has, in catalogue order.
    pub metrics: Vec<MetricSummary>,
    /// What each server did, over the whole measured part.
    pub servers: Vec<ServerSummary>,
    /// What each instance of the tiers decided, over the whole measured part; empty with one instance.
    pub instances: Vec<InstanceSummary>,
    /// Sessions lost by cause per replication, causes with no loss in any replication left out.
    pub losses: Vec<LossSummary>,
    /// What each fault did.
    pub faults: Vec<FaultImpact>,
    /// When health kept servers from new clients, of at least one instance, in the first replication; of very many the first.
    pub removals: Vec<RemovalLine>,
    /// Load over time.
    pub series: Series,
    /// Distribution of response times: (milliseconds, share of answers at most that), increasing, pooled over replications.
    pub latency_cdf: Vec<(f64, f64)>,
    /// The trace of scripted clients, in order of time (first replication).
    pub trace: Vec<TraceLine>,
    /// Some losses told as stories (first replication).
    pub stories: Vec<String>,
}

/// One metric of one strategy in one phase.
#[derive(Clone, Debug, Serialize)]
pub struct MetricSummary {
    /// The metric's name.
    pub metric: &'static str,
    /// The phase.
    pub phase: Phase,
    /// Unit.
    pub unit: Unit,
    /// Which way is better.
    pub direction: Direction,
    /// The value; `None` when undefined in every replication.
    pub value: Option<Estimate>,
    /// Half of the replications are at most this; `None` with fewer than two.
    pub p50: Option<f64>,
    /// 95 % of the replications are at most this. Where tails are heavy the mean is shy.
    pub p95: Option<f64>,
    /// What uniform random choice would give at the same counts (load skew only).
    pub noise_floor: Option<f64>,
    /// Paired difference to the first strategy; `None` for the first strategy itself.
    pub difference: Option<Estimate>,
    /// How likely such a difference is by chance, counted among those of all strategies (Holm).
    pub difference_p: Option<f64>,
}

/// What a server did.
#[derive(Clone, Debug, Serialize)]
pub struct ServerSummary {
    /// The server's name.
    pub server: String,
    /// Requests (tries) that reached it.
    pub requests: Estimate,
    /// Share of all requests.
    pub requests_share: Estimate,
    /// Connections opened to it.
    pub connections: Estimate,
    /// Busy share of its workers.
    pub utilisation: Estimate,
}

/// What an instance of a tier did.
#[derive(Clone, Debug, Serialize)]
pub struct InstanceSummary {
    /// The tier, counted from 1, front to back.
    pub tier: u32,
    /// The instance's name.
    pub instance: String,
    /// What it decides about: `connections` (layer 4) or `requests` (layer 7).
    pub decides: &'static str,
    /// How many.
    pub decided: Estimate,
    /// Its share of the tier's.
    pub share: Estimate,
}

/// Losses of one cause.
#[derive(Clone, Debug, Serialize)]
pub struct LossSummary {
    /// The cause.
    pub cause: LossCause,
    /// Sessions lost by it.
    pub lost: Estimate,
}

/// What a fault did under one strategy.
#[derive(Clone, Debug, Serialize)]
pub struct FaultImpact {
    /// What happened, as in [`FaultLine::what`].
    pub what: String,
    /// Users who lost their session because of it.
    pub users_logged_out: Estimate,
    /// Requests that failed while it lasted.
    pub requests_failed: Estimate,
    /// Highest utilisation of any server in any window from its start to the time of evenness (or the end).
    pub peak_utilisation: Estimate,
    /// Time from its end until load was even again \[s\]; `None` when it never was within the run in any replication.
    pub even_again_s: Option<Estimate>,
    /// Replications in which load did not become even again before the run ended.
    pub never_even: u32,
    /// Time from its beginning until all servers that were left were overloaded \[s\], over the replications in which they were.
    pub toppled_after_s: Option<Estimate>,
    /// How long they were \[s\].
    pub toppled_for_s: Option<Estimate>,
    /// Replications in which they were.
    pub toppled: u32,
    /// Of these, those in which they were so to the end of the run.
    pub toppled_to_the_end: u32,
    /// What an autoscaler did in the first replication, in order; empty for anything else.
    pub acts: Vec<ActLine>,
    /// Times that it came where a health rule could see it, at each of its parts; 0 for what an operator does, for stores and links.
    pub visible: Estimate,
    /// Of these, those that no health rule noticed before they were over.
    pub undetected: Estimate,
    /// Time to detect of the others \[s\]: the mean of each replication.
    pub detected_after_s: Option<Estimate>,
    /// Time from its end until all who balance chose its part again \[s\]; of those that were detected and saw that in the run.
    pub back_after_s: Option<Estimate>,
}

/// A server that an autoscaler asked for or let go.
#[derive(Clone, Debug, Serialize)]
pub struct ActLine {
    /// Such as `scale_out of web3`.
    pub what: String,
    /// When it was decided, from the end of the warm-up \[s\].
    pub at_s: f64,
    /// When the server was in service, or out of it \[s\].
    pub until_s: f64,
}

/// A time during which health kept a server from new clients.
#[derive(Clone, Debug, Serialize)]
pub struct RemovalLine {
    /// The server's name.
    pub server: String,
    /// Its start, from the end of the warm-up \[s\].
    pub from_s: f64,
    /// Its end, from the end of the warm-up \[s\].
    pub until_s: f64,
    /// Whether the server was taken out though no fault ailed it.
    pub false_positive: bool,
}

/// Load over time in the first replication. A mean over replications would hide the skew wherever each has another hottest
/// server.
#[derive(Clone, Debug, Serialize)]
pub struct Series {
    /// Width of a bin \[s\].
    pub bin_s: f64,
    /// For each server, requests a second in each bin, from the end of the warm-up.
    pub requests_per_s: Vec<Vec<f64>>,
    /// For each server, busy share of its workers in each bin.
    pub utilisation: Vec<Vec<f64>>,
}

/// What an expectation, or the comparison with a baseline, came to.
#[derive(Clone, Debug, Serialize)]
pub struct ExpectationResult {
    /// The strategy's name.
    pub strategy: String,
    /// The metric's name.
    pub metric: String,
    /// The phase.
    pub phase: Phase,
    /// The strategy whose value the limits multiply; `value` is then the ratio of the two.
    pub relative_to: Option<String>,
    /// The quantile over replications that is limited; `None`: the metric as it is estimated.
    pub quantile: Option<f64>,
    /// The baseline that it is held against; `value` is then the difference to it.
    pub baseline: Option<AgainstBaseline>,
    /// Smallest value that passes.
    pub min: Option<f64>,
    /// Largest value that passes.
    pub max: Option<f64>,
    /// What was found, with its 95 % interval; `None` when the metric had no value, which fails.
    pub value: Option<Estimate>,
    /// Lower end of the interval that decided; `None` when it has none.
    pub low: Option<f64>,
    /// Upper end of the interval that decided.
    pub high: Option<f64>,
    /// The verdict.
    pub verdict: Verdict,
    /// How far beyond a limit the value must be to be called worse in four of five checks; `None` without an interval.
    pub detectable: Option<f64>,
    /// Line of the scenario file, from 1; 0 for a comparison with a baseline.
    pub line: usize,
}

/// What a value was held against.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AgainstBaseline {
    /// The baseline's value.
    pub mean: f64,
    /// The value now.
    pub now: f64,
    /// Whether both met the same clients, so that differences are taken replication by replication.
    pub paired: bool,
}

/// What an expectation comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The interval lies wholly inside the limits.
    Pass,
    /// The interval lies wholly outside.
    Worse,
    /// The interval straddles a limit.
    Inconclusive,
    /// The metric has no value.
    NoData,
}

//! From a run's counters to the values of the catalogue's metrics.

use super::catalogue::{Kind, METRICS, Unit};
use super::fairness::{Fairness, random_loads};
use super::outages::Outages;
use super::recorder::{Counts, Failure, PhaseCounts};
use super::{MetricId, Phase, Timed};
use crate::engine::{SimTime, Stream};

/// Requests that a window must hold per server, on average, to be judged by itself.
const WINDOW_REQUESTS: u64 = 100;

/// What is known of the servers when their load is judged.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// Weights, by server.
    pub weights: Vec<f64>,
    /// Workers or cores, by server.
    pub workers: Vec<f64>,
    /// Workers of each node of the session store.
    pub store_workers: Vec<u32>,
    /// Instances of each tier, front to back, and whether all of them work at a time.
    pub tiers: Vec<(usize, bool)>,
    /// When they were out of service.
    pub outages: Outages,
}

impl Fleet {
    /// Fair shares within `from..until`: weights, pro-rated by time in service. Not normalised.
    pub fn shares(&self, from: SimTime, until: SimTime) -> Vec<f64> {
        let whole = until.since(from).as_secs_f64();
        let share = |(server, &weight): (usize, &f64)| {
            let down = self.outages.total(server, from, until);
            if down.is_zero() { weight } else { (weight - weight * down.as_secs_f64() / whole).max(0.0) }
        };
        self.weights.iter().enumerate().map(share).collect()
    }
}

/// A stretch of windows that together hold enough requests to be judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JudgedWindow {
    /// Its start.
    pub from: SimTime,
    /// Its end.
    pub until: SimTime,
    /// Requests in it.
    pub requests: u64,
    /// Its peak to mean requests.
    pub peak_to_mean: f64,
}

/// Merges windows until each holds 100 requests a server, without crossing a phase's bounds, and judges them. What is left
/// over at a phase's end is not judged.
pub fn judged_windows(counts: &Counts, fleet: &Fleet, phase: Phase) -> Vec<JudgedWindow> {
    let calendar = &counts.calendar;
    let (from, until) = calendar.bounds(phase);
    let servers = counts.servers;
    let wanted = WINDOW_REQUESTS * servers as u64;
    let mut judged = Vec::new();
    let mut loads = vec![0.0; servers];
    let mut requests = 0;
    let mut begin = None;
    for window in 0..calendar.windows() {
        let start = calendar.measured_from + calendar.window * window as u64;
        let end = (start + calendar.window).min(calendar.end);
        if start < from || end > until {
            continue;
        }
        let begin_at = *begin.get_or_insert(start);
        for (load, &count) in loads.iter_mut().zip(&counts.window_requests[window * servers..]) {
            *load += f64::from(count);
            requests += u64::from(count);
        }
        if requests >= wanted {
            if let Some(fairness) = Fairness::of(&loads, &fleet.shares(begin_at, end)) {
                judged.push(JudgedWindow {
                    from: begin_at,
                    until: end,
                    requests,
                    peak_to_mean: fairness.peak_to_mean,
                });
            }
            loads.fill(0.0);
            requests = 0;
            begin = None;
        }
    }
    judged
}

/// The quantile `q` of values, interpolated between order statistics (type 7 of Hyndman and Fan 1996); `None` without any.
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let place = q * last as f64;
    let below = libm::floor(place) as usize;
    let above = (below + 1).min(last);
    Some(sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64))
}

/// What a run says of a metric, in a form that can be put together with what other runs say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reading {
    /// A value of the run as a whole.
    Value(f64),
    /// A ratio of counts.
    Ratio {
        /// What is counted.
        part: u64,
        /// Out of how many, at least 1.
        whole: u64,
    },
    /// A quantile of times; their histograms stand beside the readings.
    Quantile(Timed, f64),
}

impl Reading {
    /// The metric's value in these counts; `None` when there is none.
    pub fn value(self, counts: &PhaseCounts) -> Option<f64> {
        match self {
            Self::Value(value) => Some(value),
            Self::Ratio { part, whole } => Some(part as f64 / whole as f64),
            Self::Quantile(of, q) => counts.times(of).quantile(q).map(|seconds| seconds * of.per_second()),
        }
    }
}

/// What a run says of every metric in a phase, in catalogue order; `None` where undefined.
pub fn readings(counts: &Counts, fleet: &Fleet, phase: Phase) -> Vec<Option<Reading>> {
    let (from, until) = counts.calendar.bounds(phase);
    let phase_counts = counts.phase(phase);
    let sheet = Sheet {
        seconds: until.since(from).as_secs_f64(),
        shares: fleet.shares(from, until),
        windows: judged_windows(counts, fleet, phase).iter().map(|window| window.peak_to_mean).collect(),
        counts: &phase_counts,
        visits_open: (phase == Phase::All).then_some(counts.visits_open),
        fleet,
    };
    METRICS.iter().map(|metric| sheet.reading(metric.name)).collect()
}

/// What the whole run but for one of its batches says of every metric, in catalogue order. Counts are scaled up to the length
/// of the run; what only a whole run can tell (its longest response time, visits still open) is left out.
pub fn readings_without_batch(counts: &Counts, fleet: &Fleet, batch: usize) -> Vec<Option<f64>> {
    let (from, until) = counts.calendar.bounds(Phase::All);
    let (cut_from, cut_until) = counts.calendar.part_bounds(batch);
    let whole = until.since(from).as_secs_f64();
    let phase_counts = counts.without_part(batch);
    let outside = |window: &&JudgedWindow| window.until <= cut_from || window.from >= cut_until;
    let windows = judged_windows(counts, fleet, Phase::All);
    let sheet = Sheet {
        seconds: whole - cut_until.since(cut_from).as_secs_f64(),
        shares: fleet.shares(from, until),
        windows: windows.iter().filter(outside).map(|window| window.peak_to_mean).collect(),
        counts: &phase_counts,
        visits_open: None,
        fleet,
    };
    let scale = whole / sheet.seconds;
    METRICS
        .iter()
        .map(|metric| match sheet.reading(metric.name)? {
            _ if metric.kind == Kind::Maximum => None,
            Reading::Value(value) if metric.unit == Unit::Count => Some(value * scale),
            reading => reading.value(&phase_counts),
        })
        .collect()
}

/// All that the metrics of one phase are computed from.
struct Sheet<'a> {
    seconds: f64,
    shares: Vec<f64>,
    windows: Vec<f64>,
    counts: &'a PhaseCounts,
    visits_open: Option<u64>,
    fleet: &'a Fleet,
}

fn ratio(part: u64, whole: u64) -> Option<Reading> {
    (whole > 0).then_some(Reading::Ratio { part, whole })
}

fn count(things: u64) -> Option<Reading> {
    Some(Reading::Value(things as f64))
}

impl Sheet<'_> {
    fn reading(&self, name: &str) -> Option<Reading> {
        let c = self.counts;
        if let Some(load) = name.strip_prefix("load.") {
            let (of, measure) = load.split_once('.')?;
            return match of {
                "requests" => self.load(&c.requests, measure),
                "connections" => self.load(&c.connections, measure),
                "busy" => self.load(&c.busy_ns, measure),
                "held" => self.load(&c.held_ns, measure),
                "balancers" => self.balancers(),
                _ => None,
            }
            .map(Reading::Value);
        }
        let millis = |seconds: Option<f64>| seconds.map(|s| Reading::Value(s * 1e3));
        let quantile = |q| (c.latency.count() > 0).then_some(Reading::Quantile(Timed::Latency, q));
        let per_second =
            |things: u64| (self.seconds > 0.0).then(|| Reading::Value(things as f64 / self.seconds));
        match name {
            "utilisation.max" => self.utilisation().map(Reading::Value),
            "visits.with_loss" => ratio(c.with_loss, c.logged_in),
            "visits.abandoned" => ratio(c.abandoned, c.finished + c.abandoned),
            "visits.finished" => count(c.finished),
            "visits.crowded_out" => count(c.crowded_out),
            "connections.reconnects" => count(c.reconnects),
            "connections.reconnects.peak" => count(c.reconnects_peak),
            "connections.reset" => count(c.tiers.connections_reset),
            "sync.messages" => per_second(c.tiers.sync_messages),
            "sync.bytes" => per_second(c.tiers.sync_bytes),
            "director.takeovers" => count(c.tiers.takeovers),
            "director.silent" => c.tiers.silent.mean().map(Reading::Value),
            "director.silent.max" => c.tiers.silent.max().map(Reading::Value),
            "health.faults" => count(c.health.faults),
            "health.undetected" => ratio(c.health.faults - c.health.time_to_detect.count(), c.health.faults),
            "health.time_to_detect" => c.health.time_to_detect.mean().map(Reading::Value),
            "health.time_to_detect.max" => c.health.time_to_detect.max().map(Reading::Value),
            "health.time_to_recover" => c.health.time_to_recover.mean().map(Reading::Value),
            "health.time_to_recover.max" => c.health.time_to_recover.max().map(Reading::Value),
            "health.false_positives" => count(c.health.false_positives),
            "health.false_positives.time" => Some(Reading::Value(c.health.false_ns as f64 / 1e9)),
            "visits.open" => self.visits_open.and_then(count),
            "session.lost" => ratio(c.losses(), c.created),
            "session.created" => count(c.created),
            "session.expired" => count(c.expired),
            "session.forked" => count(c.forked),
            "session.resumed" => count(c.resumed),
            "requests.served" => count(c.served),
            "requests.session_miss" => ratio(c.session_missed, c.session_needed),
            "requests.failed" => ratio(c.failures(), c.served + c.failures()),
            "requests.timed_out" => ratio(c.failed[Failure::TimedOut as usize], c.served + c.failures()),
            "requests.reloaded" => ratio(c.reloads, c.served + c.failures()),
            "requests.wasted" => ratio(c.wasted, c.served + c.wasted),
            "requests.static" => count(c.static_objects),
            "requests.retried" => ratio(c.retried, c.served + c.failures()),
            "requests.retries_refused" => ratio(c.retries_refused, c.served + c.failures()),
            "requests.reloads_refused" => ratio(c.reloads_refused, c.served + c.failures()),
            // A client's further try is a request of its own.
            "requests.amplification" => ratio(
                c.served + c.failures() + c.retried,
                (c.served + c.failures()).saturating_sub(c.reloads),
            ),
            "requests.queued" => ratio(c.queued, c.served + c.failures()),
            "queue.wait" => {
                (c.queued > 0).then(|| Reading::Value(c.queue_wait.sum_ns() / 1e6 / c.queued as f64))
            }
            "logins.failed" => ratio(c.logins_failed, c.logins),
            "throughput" => per_second(c.served),
            "latency.mean" => millis(c.latency.mean()),
            "latency.p50" => quantile(0.5),
            "latency.p90" => quantile(0.9),
            "latency.p95" => quantile(0.95),
            "latency.p99" => quantile(0.99),
            "latency.p999" => quantile(0.999),
            "latency.max" => millis(c.latency.max()),
            "session.stale" => ratio(c.stale, c.session_needed),
            "session.lost_writes" => count(c.lost_writes),
            "store.wait" => {
                (c.served > 0).then(|| Reading::Value(c.store_wait.sum_ns() / 1e6 / c.served as f64))
            }
            "store.utilisation" => self.store_utilisation().map(Reading::Value),
            "store.failed" => ratio(c.store_failed, c.served + c.failures()),
            "store.messages" => per_second(c.store_messages),
            "store.bytes" => per_second(c.store_bytes),
            "store.memory_max" => count(c.store_memory_max).filter(|_| c.store_memory_max > 0),
            "autoscaling.servers" => (c.running_ns > 0 && self.seconds > 0.0)
                .then(|| Reading::Value(c.running_ns as f64 / 1e9 / self.seconds)),
            "autoscaling.scale_outs" => count(c.scale_outs),
            "autoscaling.scale_ins" => count(c.scale_ins),
            "connections.active" => ratio(c.connections_open, c.connection_samples),
            "connections.waiting" => ratio(c.connections_waiting, c.connection_samples),
            "store.operations" => per_second(c.store_operations),
            _ => None,
        }
    }

    fn load(&self, loads: &[u64], measure: &str) -> Option<f64> {
        if measure == "window.p95" {
            return quantile(&self.windows, 0.95);
        }
        let loads: Vec<f64> = loads.iter().map(|&load| load as f64).collect();
        let shares = if measure == "peak_to_nominal" { &self.fleet.weights } else { &self.shares };
        Fairness::of(&loads, shares).and_then(|fairness| pick(&fairness, measure))
    }

    /// Peak to mean of the instances of the tier where that is worst.
    fn balancers(&self) -> Option<f64> {
        let mut rest = self.counts.tiers.instances.as_slice();
        let tiers = self.fleet.tiers.iter().filter_map(|&(instances, together)| {
            let (loads, behind) = rest.split_at_checked(instances)?;
            rest = behind;
            let sum: u64 = loads.iter().sum();
            let peak = *loads.iter().max()?;
            let judged = together && instances > 1 && sum > 0;
            judged.then(|| peak as f64 * instances as f64 / sum as f64)
        });
        tiers.max_by(f64::total_cmp)
    }

    fn store_utilisation(&self) -> Option<f64> {
        let busy = self.counts.store_busy_ns.iter().zip(&self.fleet.store_workers);
        let shares = busy.map(|(&busy, &workers)| busy as f64 / 1e9 / f64::from(workers) / self.seconds);
        shares.filter(|_| self.seconds > 0.0).max_by(f64::total_cmp)
    }

    fn utilisation(&self) -> Option<f64> {
        let busiest = self
            .counts
            .busy_ns
            .iter()
            .zip(&self.fleet.workers)
            .map(|(&busy, workers)| busy as f64 / 1e9 / workers / self.seconds)
            .fold(0.0, f64::max);
        (self.seconds > 0.0).then_some(busiest)
    }
}

/// The measure that a metric's name ends in.
fn pick(fairness: &Fairness, measure: &str) -> Option<f64> {
    match measure {
        "peak_to_mean" | "peak_to_nominal" => Some(fairness.peak_to_mean),
        "jain" => Some(fairness.jain),
        "cv" => Some(fairness.cv),
        "gini" => Some(fairness.gini),
        "max_share" => Some(fairness.max_share),
        _ => None,
    }
}

/// What chance alone would make of the load metrics.
#[derive(Clone, Copy, Debug)]
pub struct NoiseCounts {
    /// Requests.
    pub requests: f64,
    /// Connections.
    pub connections: f64,
    /// Requests in a judged window, on average.
    pub window_requests: f64,
    /// Squared coefficient of variation of a request's demand: busy time is as noisy as fewer equal pieces of work.
    pub demand_cv2: f64,
}

/// The noise floor of every metric that has one: the mean over samples of uniform random choice at the same counts (for the
/// quantile over windows, the quantile over samples).
pub fn noise_floor(
    noise: &NoiseCounts,
    shares: &[f64],
    weights: &[f64],
    stream: &Stream,
) -> Vec<(MetricId, f64)> {
    let mut floors = Vec::new();
    let busy = noise.requests / (1.0 + noise.demand_cv2);
    for (number, (of, count)) in
        [("requests", noise.requests), ("connections", noise.connections), ("busy", busy)].iter().enumerate()
    {
        let samples = random_loads(*count, shares, stream, number as u64);
        let fairness = |judge: &[f64]| -> Vec<Fairness> {
            samples.iter().filter_map(|loads| Fairness::of(loads, judge)).collect()
        };
        let (by_share, by_weight) = (fairness(shares), fairness(weights));
        for measure in ["peak_to_mean", "peak_to_nominal", "jain", "cv", "gini", "max_share"] {
            let Some(id) = MetricId::by_name(&format!("load.{of}.{measure}")) else { continue };
            let judged = if measure == "peak_to_nominal" { &by_weight } else { &by_share };
            let values: Vec<f64> = judged.iter().filter_map(|f| pick(f, measure)).collect();
            if !values.is_empty() {
                floors.push((id, values.iter().sum::<f64>() / values.len() as f64));
            }
        }
    }
    let peaks: Vec<f64> = random_loads(noise.window_requests, shares, stream, 3)
        .iter()
        .filter_map(|loads| Fairness::of(loads, shares))
        .map(|fairness| fairness.peak_to_mean)
        .collect();
    if let (Some(id), Some(value)) = (MetricId::by_name("load.requests.window.p95"), quantile(&peaks, 0.95)) {
        floors.push((id, value));
    }
    floors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::SimDuration;
    use crate::ids::ServerId;
    use crate::metrics::recorder::{Calendar, Recorder};

    fn at(s: u64) -> SimTime {
        SimTime::ZERO + SimDuration::from_secs(s)
    }

    fn fleet() -> Fleet {
        Fleet {
            weights: vec![1.0, 1.0],
            workers: vec![1.0, 1.0],
            store_workers: vec![1],
            tiers: vec![(2, true)],
            outages: Outages::new(2, Vec::new()),
        }
    }

    fn recorder() -> Recorder {
        let calendar = Calendar {
            measured_from: at(0),
            faults_from: at(40),
            faults_until: at(60),
            end: at(100),
            window: SimDuration::from_secs(10),
            batch_windows: 0,
        };
        Recorder::new(calendar, 2)
    }

    #[test]
    fn every_metric_of_the_catalogue_is_computed() {
        // Goal: no line of the catalogue without a value once there is data of every kind.
        let mut recorder = recorder();
        recorder.watch_instances(2);
        for i in 0..4_000_u64 {
            let now = SimTime::from_millis(i * 20);
            let server = ServerId((i % 2) as u16);
            recorder.entered(now, server, 1, 1);
            recorder.decided(now, 0, server.0);
            let counts = recorder.at(now).unwrap();
            counts.tiers.silent.record(SimDuration::from_secs(1));
            counts.health.fault(Some(SimDuration::from_secs(1)), Some(SimDuration::from_secs(2)));
            counts.connections[server.index()] += 1;
            counts.held_ns[server.index()] += 1;
            counts.served += 1;
            counts.latency.record(SimDuration::from_millis(3));
            counts.queued += 1;
            counts.session_needed += 1;
            counts.created += 1;
            counts.logins += 1;
            counts.store_busy_ns = vec![1];
            counts.store_memory_max = 1;
            counts.connection_samples += 1;
            counts.running_ns += 1;
            counts.finished += 1;
            counts.logged_in += 1;
        }
        let counts = recorder.close(at(100), 0);
        let all = counts.phase(Phase::All);
        for (metric, reading) in METRICS.iter().zip(readings(&counts, &fleet(), Phase::All)) {
            let value = reading.and_then(|reading| reading.value(&all));
            assert!(value.is_some_and(f64::is_finite), "{}: {value:?}", metric.name);
            let kind = match reading {
                Some(Reading::Ratio { .. }) => Kind::Ratio,
                Some(Reading::Quantile(..)) => Kind::Quantile,
                _ if metric.kind == Kind::Maximum => Kind::Maximum,
                _ => Kind::Mean,
            };
            assert_eq!(metric.kind, kind, "{}", metric.name);
        }
    }

    #[test]
    fn two_survivors_are_even_but_overloaded() {
        let outages = Outages::new(3, vec![(1, at(40), at(60))]);
        let fleet = Fleet { outages, weights: vec![1.0; 3], ..fleet() };
        let shares = fleet.shares(at(40), at(60));
        assert_eq!(shares, [1.0, 0.0, 1.0]);
        let even = Fairness::of(&[50.0, 0.0, 50.0], &shares).unwrap();
        let nominal = Fairness::of(&[50.0, 0.0, 50.0], &fleet.weights).unwrap();
        assert_eq!((even.peak_to_mean, nominal.peak_to_mean), (1.0, 1.5));
    }

    #[test]
    fn thin_windows_are_merged_and_phases_not_crossed() {
        let mut recorder = recorder();
        // 12 requests a second: 120 a window, 200 wanted, so windows merge in pairs.
        for i in 0..1_200_u64 {
            recorder.entered(SimTime::from_millis(i * 1000 / 12), ServerId((i % 2) as u16), 1, 1);
        }
        let counts = recorder.close(at(100), 0);
        let windows = judged_windows(&counts, &fleet(), Phase::Before);
        let bounds: Vec<_> = windows.iter().map(|w| (w.from, w.until)).collect();
        assert_eq!(bounds, [(at(0), at(20)), (at(20), at(40))]);
        assert_eq!(judged_windows(&counts, &fleet(), Phase::During).len(), 1);
    }

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.5), Some(2.0));
        assert_eq!(quantile(&[1.0, 2.0], 0.95), Some(1.95));
        assert_eq!(quantile(&[], 0.5), None);
    }
}

//! Results to test with: one as a run of three servers and a crash gives it, one of a replayed log, and one that has almost
//! nothing in it and the worst names.

use evenkeel_sim::balancer;
use evenkeel_sim::experiment::summary::{
    Estimate, ExpectationResult, FaultImpact, FaultLine, LossSummary, MetricSummary, SCHEMA_VERSION, Series,
    ServerLine, ServerSummary, StrategySummary, Summary, TraceLine, Verdict,
};
use evenkeel_sim::metrics::{LossCause, MetricId, Phase};

/// What tells the strategies of [`crash`] apart.
struct Shape {
    name: &'static str,
    balancer: &'static str,
    session: &'static str,
    /// Share of the requests by server.
    shares: [f64; 3],
    peak_to_mean: (f64, f64),
    with_loss: (f64, f64),
    p99_ms: f64,
    store_per_s: f64,
    losses: &'static [(LossCause, f64)],
}

const SHAPES: [Shape; 4] = [
    Shape {
        name: "nginx ip_hash",
        balancer: "nginx.ip_hash",
        session: "local",
        shares: [0.4507, 0.3011, 0.2482],
        peak_to_mean: (1.3521, 0.0138),
        with_loss: (0.0863, 0.0041),
        p99_ms: 412.0,
        store_per_s: 0.0,
        losses: &[
            (LossCause::ServerLost, 1812.4),
            (LossCause::Remapped, 871.0),
            (LossCause::AddressChanged, 402.6),
        ],
    },
    Shape {
        name: "LVS wlc, -p 120",
        balancer: "lvs.wlc",
        session: "local",
        shares: [0.3441, 0.3214, 0.3345],
        peak_to_mean: (1.0323, 0.0061),
        with_loss: (0.1612, 0.0052),
        p99_ms: 268.0,
        store_per_s: 0.0,
        losses: &[
            (LossCause::ServerLost, 1320.2),
            (LossCause::DirectorLost, 211.9),
            (LossCause::AffinityExpired, 3120.7),
            (LossCause::AddressChanged, 610.3),
            (LossCause::InstanceSplit, 12.1),
        ],
    },
    Shape {
        name: "round robin, sessions in MySQL",
        balancer: "nginx.round_robin",
        session: "mysql",
        shares: [0.3337, 0.3328, 0.3335],
        peak_to_mean: (1.0011, 0.0002),
        with_loss: (0.0011, 0.000_13),
        p99_ms: 231.0,
        store_per_s: 812.4,
        losses: &[(LossCause::StoreStale, 38.2)],
    },
    Shape {
        name: "HAProxy leastconn, stick-table with 50 000 entries and a very long name",
        balancer: "haproxy.leastconn",
        session: "local",
        shares: [0.3368, 0.3299, 0.3333],
        peak_to_mean: (1.0104, 0.0017),
        with_loss: (0.0542, 0.0027),
        p99_ms: 240.0,
        store_per_s: 0.0,
        losses: &[
            (LossCause::ServerLost, 1510.0),
            (LossCause::AffinityLost, 190.4),
            (LossCause::Spilled, 77.7),
        ],
    },
];

fn around(mean: f64, half_width: f64) -> Estimate {
    Estimate { mean, half_width: Some(half_width), n: 20 }
}

fn once(mean: f64) -> Estimate {
    Estimate { mean, half_width: None, n: 1 }
}

/// A bounded wobble that looks like noise and is the same on every machine.
fn wobble(at: usize, salt: usize) -> f64 {
    let mixed =
        (at as u64 * 2_654_435_761 + salt as u64 * 40_503 + 12_345).wrapping_mul(6_364_136_223_846_793_005);
    (mixed >> 40) as f64 / f64::from(1_u32 << 24) - 0.5
}

/// Four strategies, three servers, a crash of one of them for ten minutes of two hours.
pub fn crash() -> Summary {
    let servers: Vec<ServerLine> = (1..=3)
        .map(|nth| ServerLine {
            name: format!("web{nth}"),
            address: format!("172.16.94.{}:9000", 215 + nth),
            weight: 1,
        })
        .collect();
    let strategies: Vec<StrategySummary> =
        SHAPES.iter().enumerate().map(|(nth, shape)| strategy(nth, shape, &servers)).collect();
    Summary {
        schema_version: SCHEMA_VERSION,
        evenkeel_version: "0.1.0".into(),
        title: "Three web servers, four ways to keep a session, one crash".into(),
        scenario_sha256: "5d4140b1c2f9a7e03e8c6f1d2b9a4c7715e0f3a8d6b2c9e4f7a1035b8d2e6c90".into(),
        seed: 7,
        replications: 20,
        batches: 0,
        vary: "population".into(),
        precision: None,
        warmup_s: 600.0,
        warmup_detected: false,
        duration_s: 7200.0,
        window_s: 10.0,
        servers,
        faults: vec![FaultLine {
            what: "crash of web2".into(),
            at_s: 3600.0,
            until_s: 4200.0,
            spans_s: vec![(3600.0, 4200.0)],
        }],
        expectations: vec![
            expectation(&strategies[1], "load.requests.peak_to_mean", 1.35, Verdict::Pass, 41),
            expectation(&strategies[1], "visits.with_loss", 0.10, Verdict::Worse, 46),
            expectation(&strategies[2], "latency.p99", 400.0, Verdict::Pass, 51),
        ],
        strategies,
        inferred: Vec::new(),
        log_statistics: Vec::new(),
    }
}

fn expectation(
    strategy: &StrategySummary,
    name: &str,
    max: f64,
    verdict: Verdict,
    line: usize,
) -> ExpectationResult {
    let metric = crate::lookup::metric(strategy, name, Phase::All).expect("a metric of the fixture");
    ExpectationResult {
        strategy: strategy.name.clone(),
        metric: metric.metric.to_owned(),
        phase: Phase::All,
        relative_to: None,
        quantile: None,
        baseline: None,
        min: None,
        max: Some(max),
        value: metric.value,
        low: metric.value.map(|value| value.interval().0),
        high: metric.value.map(|value| value.interval().1),
        verdict,
        detectable: None,
        line,
    }
}

fn strategy(nth: usize, shape: &Shape, servers: &[ServerLine]) -> StrategySummary {
    let reference = &SHAPES[0];
    let metric = |name: &str, phase, value: f64, half_width: f64, floor, against: f64| {
        let metric = MetricId::by_name(name).expect("a metric of the catalogue").line();
        MetricSummary {
            metric: metric.name,
            phase,
            unit: metric.unit,
            direction: metric.direction,
            value: Some(around(value, half_width)),
            p50: Some(value),
            p95: Some(value + half_width),
            noise_floor: floor,
            difference: (nth > 0).then(|| around(value - against, half_width.max(0.01 * against))),
            difference_p: None,
        }
    };
    let (skew, skew_width) = shape.peak_to_mean;
    let mut metrics = Vec::new();
    for (phase, factor) in
        [(Phase::All, 1.0), (Phase::Before, 0.99), (Phase::During, 1.12), (Phase::After, 1.04)]
    {
        let tax = if phase == Phase::During { skew * 1.48 } else { skew * factor };
        metrics.extend([
            metric(
                "load.requests.peak_to_mean",
                phase,
                skew * factor,
                skew_width,
                Some(1.004),
                reference.peak_to_mean.0 * factor,
            ),
            metric("load.requests.peak_to_nominal", phase, tax, skew_width * 1.4, Some(1.004), 2.0),
            metric("load.requests.jain", phase, 1.0 / (skew * skew), 0.003, None, 0.55),
            metric("utilisation.max", phase, 0.52 * skew * factor, 0.011, None, 0.7),
            metric(
                "visits.with_loss",
                phase,
                shape.with_loss.0 * factor,
                shape.with_loss.1,
                None,
                reference.with_loss.0,
            ),
            metric("requests.failed", phase, 0.0031 * factor, 0.000_21, None, 0.0030),
            metric("latency.p50", phase, 21.0, 0.4, None, 22.0),
            metric("latency.p99", phase, shape.p99_ms, 9.0, None, reference.p99_ms),
            metric("store.operations", phase, shape.store_per_s, if nth == 2 { 4.2 } else { 0.0 }, None, 0.0),
        ]);
    }
    let undefined = MetricId::by_name("logins.failed").expect("a metric of the catalogue").line();
    metrics.push(MetricSummary {
        metric: undefined.name,
        phase: Phase::During,
        unit: undefined.unit,
        direction: undefined.direction,
        value: None,
        p50: None,
        p95: None,
        noise_floor: None,
        difference: None,
        difference_p: None,
    });
    StrategySummary {
        name: shape.name.into(),
        balancer: shape.balancer.into(),
        evidence: balancer::entry(shape.balancer).expect("in the catalogue").evidence,
        session: shape.session.into(),
        metrics,
        instances: Vec::new(),
        servers: servers
            .iter()
            .zip(shape.shares)
            .map(|(server, share)| ServerSummary {
                server: server.name.clone(),
                requests: around(1_512_000.0 * share, 2_310.0),
                requests_share: around(share, 0.0012),
                connections: around(310_400.0 * share, 811.0),
                utilisation: around(1.5 * share, 0.011),
            })
            .collect(),
        losses: shape
            .losses
            .iter()
            .map(|(cause, lost)| LossSummary { cause: *cause, lost: around(*lost, lost * 0.04) })
            .collect(),
        faults: vec![FaultImpact {
            what: "crash of web2".into(),
            users_logged_out: around(2_410.0 - 600.0 * nth as f64, 48.0),
            requests_failed: around(311.0, 14.2),
            peak_utilisation: around(0.93 - 0.04 * nth as f64, 0.012),
            even_again_s: Some(Estimate {
                n: if nth == 1 { 17 } else { 20 },
                ..around(130.0 + 42.0 * nth as f64, 8.1)
            }),
            never_even: if nth == 1 { 3 } else { 0 },
            toppled_after_s: (nth == 1).then(|| around(40.0, 6.0)),
            toppled_to_the_end: if nth == 1 { 2 } else { 0 },
            acts: Vec::new(),
            toppled_for_s: (nth == 1).then(|| around(300.0, 21.0)),
            toppled: if nth == 1 { 20 } else { 0 },
            visible: around(1.0, 0.0),
            undetected: around(if nth == 2 { 1.0 } else { 0.0 }, 0.0),
            detected_after_s: (nth != 2).then(|| around(6.1, 0.8)),
            back_after_s: (nth != 2).then(|| around(2.9, 0.6)),
        }],
        removals: Vec::new(),
        series: series(shape, nth),
        latency_cdf: (0..60)
            .map(|at| {
                let tail = libm::pow(0.85, f64::from(at));
                (5.0 + shape.p99_ms / 5.0 * libm::pow(libm::log(1.0 / tail), 0.9), 1.0 - tail)
            })
            .collect(),
        trace: Vec::new(),
        stories: vec![format!(
            "client 4711 (mobile, 203.0.113.9) logged in on web2 at 59 min 12 s; {} sent its next click to web1 at 1 h 2 min.",
            shape.name
        )],
    }
}

fn series(shape: &Shape, salt: usize) -> Series {
    let bins = 720;
    let rate = |server: usize, bin: usize| {
        let offered = 210.0 + 18.0 * libm::sin(bin as f64 / 115.0);
        let noise = 1.0 + 0.09 * wobble(bin * 3 + server, salt);
        let down = (360..420).contains(&bin);
        match (down, server) {
            (true, 1) => 0.0,
            (true, _) => offered * noise * (shape.shares[server] + shape.shares[1] / 2.0),
            (false, _) => offered * noise * shape.shares[server],
        }
    };
    let requests_per_s: Vec<Vec<f64>> =
        (0..3).map(|server| (0..bins).map(|bin| rate(server, bin)).collect()).collect();
    let utilisation =
        requests_per_s.iter().map(|bins| bins.iter().map(|rate| rate / 180.0).collect()).collect();
    Series { bin_s: 10.0, requests_per_s, utilisation }
}

/// A replayed log under two strategies: one outcome, no visits, no faults, unequal weights.
pub fn log() -> Summary {
    let mut summary = crash();
    summary.title = "A day of a real log".into();
    summary.replications = 1;
    summary.vary = "nothing".into();
    summary.faults.clear();
    summary.expectations.clear();
    summary.servers[0].weight = 2;
    summary.strategies.truncate(2);
    summary.inferred = vec!["keep-alive timeout: 5 s, the log does not say when connections close".into()];
    summary.log_statistics =
        vec![("requests".into(), "1,891,715".into()), ("addresses".into(), "81,982".into())];
    for strategy in &mut summary.strategies {
        strategy.losses.clear();
        strategy.faults.clear();
        strategy.stories.clear();
        strategy.metrics.retain(|it| it.phase == Phase::All && !it.metric.starts_with("visits"));
        let worst = MetricId::by_name("load.requests.window.p95").expect("a metric of the catalogue").line();
        let first = strategy.metrics[0].clone();
        strategy.metrics.push(MetricSummary { metric: worst.name, noise_floor: None, ..first });
        for metric in &mut strategy.metrics {
            metric.value = metric.value.map(|value| once(value.mean));
            metric.difference = metric.difference.map(|value| once(value.mean));
        }
    }
    summary
}

/// One strategy, forty servers, nothing defined, names that must be escaped.
pub fn nasty() -> Summary {
    let name = |nth: usize| format!("<web&\"{nth}\"> 'größe' ελ 東京 \u{1F600}");
    let mut summary = crash();
    summary.title = "<script>alert(\"1\")</script> & 'co' \u{202e}".into();
    summary.vary = "nothing".into();
    summary.replications = 1;
    summary.expectations.clear();
    summary.faults.clear();
    summary.servers = (0..40)
        .map(|nth| ServerLine { name: name(nth), address: format!("[2001:db8::{nth}]:80"), weight: 1 })
        .collect();
    summary.strategies.truncate(1);
    let strategy = &mut summary.strategies[0];
    strategy.name =
        "a <b> & \"c\", an unbroken-name-that-never-ends-and-goes-on-and-on-and-on-for-ever-and-a-day".into();
    strategy.losses.clear();
    strategy.faults.clear();
    strategy.latency_cdf.clear();
    strategy.stories = vec!["<img src=x onerror=alert(1)> was logged out".into()];
    for metric in &mut strategy.metrics {
        (metric.value, metric.noise_floor, metric.difference) = (None, None, None);
    }
    strategy.servers = summary
        .servers
        .iter()
        .map(|server| ServerSummary {
            server: server.name.clone(),
            requests: once(0.0),
            requests_share: once(0.0),
            connections: once(0.0),
            utilisation: once(0.0),
        })
        .collect();
    let zeros = vec![vec![0.0; 6]; 40];
    strategy.series = Series { bin_s: 0.5, requests_per_s: zeros.clone(), utilisation: zeros };
    strategy.trace = vec![TraceLine {
        at_s: 0.0,
        client: "<c>".into(),
        event: "open".into(),
        server: name(3),
        reason: "least \"busy\" & first".into(),
        state: "template 120 s".into(),
    }];
    summary
}

/// Twelve strategies that all come to nearly the same, sixty-four servers, and three faults.
pub fn crowd() -> Summary {
    let mut summary = crash();
    summary.title = "Twelve strategies that are hard to tell apart".into();
    summary.servers = (0..64)
        .map(|nth| ServerLine {
            name: format!("web{nth:02}"),
            address: format!("10.0.0.{nth}:80"),
            weight: 1 + nth % 2,
        })
        .collect();
    let fault = |what: &str, at_s, until_s| FaultLine {
        what: what.into(),
        at_s,
        until_s,
        spans_s: vec![(at_s, until_s)],
    };
    summary.faults = vec![
        fault("crash of web02", 600.0, 1200.0),
        fault("director fails over", 3600.0, 3600.0),
        fault("drain of web07 for a deploy", 6900.0, 8000.0),
    ];
    let base = summary.strategies[2].clone();
    summary.strategies = (0..12)
        .map(|nth| {
            let mut strategy = base.clone();
            strategy.name = format!("strategy {nth}");
            for metric in &mut strategy.metrics {
                if let Some(value) = &mut metric.value {
                    value.mean *= 1.0 + 0.0002 * nth as f64;
                }
            }
            for point in &mut strategy.latency_cdf {
                point.0 *= 1.0 + 0.03 * nth as f64;
            }
            strategy.faults = summary
                .faults
                .iter()
                .map(|fault| FaultImpact { what: fault.what.clone(), ..base.faults[0].clone() })
                .collect();
            strategy.series.requests_per_s = (0..64)
                .map(|server| (0..720).map(|bin| 3.0 + 0.8 * wobble(bin * 64 + server, nth)).collect())
                .collect();
            strategy.series.utilisation = vec![vec![0.5; 720]; 64];
            let one = base.servers[0].clone();
            strategy.servers = summary
                .servers
                .iter()
                .map(|server| ServerSummary { server: server.name.clone(), ..one.clone() })
                .collect();
            strategy
        })
        .collect();
    summary
}

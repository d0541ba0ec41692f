//! What an experiment decides by itself: how many replications, how long a warm-up, over what its intervals are.

use evenkeel_sim::experiment::summary::{Estimate, Summary};
use evenkeel_sim::experiment::{Experiment, carry_out};
use evenkeel_sim::metrics::{MetricId, Phase};
use evenkeel_sim::scenario::{Overrides, parse};

use crate::support::read;

/// Users who build up from nothing, at servers that never make them wait.
fn site(head: &str) -> String {
    format!(
        r#"
title = "a site"
duration = "10min"
seed = 4
{head}
[[population]]
name = "homes"
clients = 120
address = {{ preset = "home-nat" }}
visit = {{ preset = "login-site", away = {{ exponential = {{ mean = "2min" }} }} }}
[cluster]
servers = [{{ name = "a", address = "10.0.0.1:80" }}, {{ name = "b", address = "10.0.0.2:80" }}]
capacity = {{ workers = 64, service = {{ exponential = {{ mean = "20ms" }} }} }}
[[strategy]]
name = "ip_hash"
balancer = {{ nginx.ip_hash = {{}} }}
session = {{ local = {{}} }}
"#
    )
}

fn summary(text: &str) -> Summary {
    carry_out(&read(text), &[], 0, &|_| ()).unwrap_or_else(|error| panic!("{error}")).summary
}

fn values(text: &str, metric: &str) -> Vec<Option<f64>> {
    let loaded = read(text);
    let mut experiment = Experiment::new(&loaded, &[], 0).expect("nothing to detect");
    experiment.run_to_precision(&|_| ()).expect("it runs");
    experiment.column(0, MetricId::by_name(metric).expect("a metric"), Phase::All).expect("the phase").values
}

fn value(summary: &Summary, metric: &str) -> Estimate {
    let found = summary.strategies[0].metrics.iter().find(|it| it.metric == metric);
    found.and_then(|it| it.value).expect("a value")
}

#[test]
fn luck_with_the_hash_moves_users_between_servers_and_nothing_else() {
    let hash = site("vary = \"hash\"\nreplications = 6");
    for same in ["requests.served", "latency.mean", "visits.finished"] {
        let found = values(&hash, same);
        assert!(found.windows(2).all(|pair| pair[0] == pair[1]), "{same}: {found:?}");
    }
    let skew = values(&hash, "load.requests.peak_to_mean");
    assert!(skew.windows(2).any(|pair| pair[0] != pair[1]), "{skew:?}");
    let behaviour = values(&hash.replace("\"hash\"", "\"behaviour\""), "requests.served");
    assert!(behaviour.windows(2).any(|pair| pair[0] != pair[1]), "{behaviour:?}");
}

#[test]
fn replications_are_added_until_precise_whatever_the_threads() {
    let text = site(
        "precision = { relative = \"4%\", metrics = [\"latency.mean\", \"load.requests.peak_to_mean\"] }\nreplications = 60",
    );
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| summary(&text))
    };
    let (one, three) = (on(1), on(3));
    let json = |summary: &Summary| serde_json::to_string(summary).expect("JSON");
    assert_eq!(json(&one), json(&three));
    let precision = one.precision.as_ref().expect("it was asked for");
    assert!(precision.reached && precision.found.is_some_and(|found| found <= 0.04), "{precision:?}");
    assert!(
        (11..60).contains(&one.replications),
        "{} replications: neither the first look nor the last",
        one.replications
    );
    let skew = value(&one, "load.requests.peak_to_mean");
    assert!(skew.half_width.is_some_and(|half| half <= 0.04 * skew.mean));

    let hopeless = summary(&site("precision = \"0.01%\"\nreplications = 12"));
    let precision = hopeless.precision.expect("it was asked for");
    assert!(!precision.reached && hopeless.replications == 12, "{precision:?}");
}

#[test]
fn the_warm_up_is_detected_where_nothing_depends_on_the_time() {
    // Nobody is there at first: users come after the rest of an absence of two minutes on average.
    let detected = summary(&site("warmup = \"detect\"\nreplications = 2"));
    assert!(detected.warmup_detected);
    assert!((20.0..=300.0).contains(&detected.warmup_s), "{} s", detected.warmup_s);
    let fault = "[[fault]]\nat = \"1min\"\ncrash = { server = \"a\", lasts = \"1min\" }\n";
    let text = site("warmup = \"detect\"") + fault;
    let mistakes =
        parse("x.toml", &text, &Overrides::NONE).expect_err("a fault depends on the time").to_string();
    assert!(mistakes.contains("can only be detected where nothing depends on the time"), "{mistakes}");
}

#[test]
fn one_long_run_has_intervals_over_its_batches() {
    let once = summary(&site("warmup = \"2min\"\nreplications = 1"));
    assert_eq!((once.batches, once.vary.as_str()), (20, "time"));
    let mean = value(&once, "latency.mean");
    assert!(
        mean.n == 20 && mean.half_width.is_some_and(|half| half > 0.0 && half < 0.2 * mean.mean),
        "{mean:?}"
    );
    assert_eq!(value(&once, "latency.max").half_width, None, "a batch says nothing of the whole's maximum");
    let several = summary(&site("warmup = \"2min\"\nreplications = 2"));
    assert_eq!((several.batches, several.vary.as_str()), (0, "population"));
}

#[test]
fn several_strategies_are_compared_with_what_that_costs() {
    let more: String = (0..4)
        .map(|at| format!("[[strategy]]\nname = \"{at}\"\nbalancer = {{ nginx.random = {{}} }}\nsession = {{ local = {{}} }}\n"))
        .collect();
    let text = site("warmup = \"1min\"\nreplications = 6") + &more;
    let summary = summary(&text);
    let place = summary.strategies[0]
        .metrics
        .iter()
        .position(|it| it.metric == "load.requests.peak_to_mean")
        .expect("it");
    assert_eq!(summary.strategies[0].metrics[place].difference_p, None);
    for strategy in &summary.strategies[1..] {
        let metric = &strategy.metrics[place];
        let alone = metric.difference.and_then(|difference| difference.p_value()).expect("an interval");
        let among = metric.difference_p.expect("adjusted");
        assert!(among >= alone && among <= 1.0, "{alone} {among}");
    }
}

#[test]
fn any_quantile_of_a_time_can_be_expected() {
    let expect = |metric: &str| format!("[[expect]]\nmetric = \"{metric}\"\nmin = 0.0\n");
    let metrics = [
        "latency.p95",
        "latency.p97.5",
        "latency.p99",
        "store.wait.p50",
        "store.wait.p99.9",
        "queue.wait.p50",
    ];
    let expectations: String = metrics.iter().map(|metric| expect(metric)).collect();
    let store = "session = { mysql = {} }";
    let text =
        format!("{}{expectations}", site("replications = 4").replace("session = { local = {} }", store));
    let found = summary(&text).expectations;
    let values: Vec<_> = found.iter().map(|it| it.value.map(|value| value.mean)).collect();
    let names: Vec<_> = found.iter().map(|it| it.metric.as_str()).collect();
    assert_eq!(names, metrics);
    assert!(values[0] < values[1] && values[1] < values[2], "{values:?}");
    assert!(values[3].is_some_and(|wait| wait > 0.0) && values[3] < values[4], "{values:?}");
    assert_eq!(values[5], None, "nobody waits at an nginx");
    assert!(
        found[1].value.is_some_and(|value| value.n == 4 && value.half_width.is_some_and(|half| half > 0.0))
    );
}

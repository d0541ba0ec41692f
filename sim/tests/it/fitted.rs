//! Populations fitted to real logs behave as the logs do: as uneven, and under nginx's `ip_hash` with shares among which the
//! log's own are no exception.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use evenkeel_sim::cluster::{Observer, RunSetup, StepName, run_observed};
use evenkeel_sim::engine::{SimTime, Stream};
use evenkeel_sim::ids::StreamId;
use evenkeel_sim::metrics::Phase;
use evenkeel_sim::population::UserTable;
use evenkeel_sim::population::fit::{Fit, fit};
use evenkeel_sim::population::replay::{LogOptions, PreparedLog};
use evenkeel_sim::scenario::{Loaded, Overrides, load};

use crate::support::repository;

const SEED: u64 = 11;

fn prepared(file: &str) -> PreparedLog {
    let file = repository(&format!("scenarios/logs/data/{file}"));
    PreparedLog::from_files([file], &LogOptions::default(), &|_| ()).unwrap_or_else(|error| panic!("{error}"))
}

/// A scenario with the fitted populations, as long as the log.
fn scenario(fit: &Fit, folder: &std::path::Path) -> Loaded {
    let mut text =
        format!("title = \"fitted\"\nduration = \"{}s\"\nseed = {SEED}\nwindow = \"1h\"\n", fit.span_s);
    for group in &fit.groups {
        std::fs::write(folder.join(group.name), &group.csv).expect("a writable directory");
        writeln!(text, "[[population]]\nname = \"{0}\"\nusers = {{ file = \"{0}\" }}", group.name)
            .expect("text");
        writeln!(text, "[population.visit]\nlogin = false").expect("text");
        if let Some(hours) = &fit.hours {
            let hours = &hours[usize::from(group.name == "robots")];
            writeln!(text, "diurnal = {{ starts_at = \"{}s\", hours = {hours:?} }}", fit.starts_at_s)
                .expect("text");
        }
        if let Some(think) = &group.think {
            let points: Vec<_> = think.points().map(|(p, x)| format!("[{p:?}, \"{x:.3}s\"]")).collect();
            writeln!(text, "think = {{ empirical = {{ points = [{}] }} }}", points.join(", ")).expect("text");
        }
    }
    text.push_str(
        "[cluster]\nservers = [{ name = \"a\", address = \"10.0.0.1:80\" }, { name = \"b\", address = \"10.0.0.2:80\" }, \
         { name = \"c\", address = \"10.0.0.3:80\" }]\ncapacity = { workers = 64, service = \"5ms\" }\n\
         [[strategy]]\nname = \"ip_hash\"\nbalancer = { nginx.ip_hash = {} }\nsession = { local = {} }\n",
    );
    let file = folder.join("fitted.toml");
    std::fs::write(&file, text).expect("a writable directory");
    load(&file, &Overrides::NONE).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// Requests by client.
#[derive(Default)]
struct ByClient(BTreeMap<u32, u64>);

impl Observer for ByClient {
    fn asks(&mut self, _now: SimTime, step: StepName) {
        *self.0.entry(step.client.0).or_default() += 1;
    }
}

/// What a run came to.
#[derive(Debug)]
struct Unevenness {
    shares: Vec<f64>,
    requests: u64,
    gini: f64,
    top_10: f64,
}

/// With counts x in ascending order, 2 Σ i x_i / (n Σ x_i) - (n + 1) / n, and the share of the ten largest.
fn unevenness(shares: Vec<f64>, mut counts: Vec<u64>) -> Unevenness {
    counts.sort_unstable();
    let (n, sum) = (counts.len() as f64, counts.iter().sum::<u64>());
    let ranked: f64 = (1..).zip(&counts).map(|(rank, &count)| f64::from(rank) * count as f64).sum();
    let top: u64 = counts.iter().rev().take(10).sum();
    Unevenness {
        shares,
        requests: sum,
        gini: 2.0 * ranked / (n * sum as f64) - (n + 1.0) / n,
        top_10: top as f64 / sum as f64,
    }
}

fn run(loaded: &Loaded, fit: &Fit, replication: u32) -> Unevenness {
    let mut by_client = ByClient::default();
    let setup = RunSetup { scenario: &loaded.scenario, strategy: 0, replication, logs: &[], stories: 0 };
    let outcome = run_observed(&setup, &mut by_client).unwrap_or_else(|error| panic!("{error}"));
    let requests = &outcome.counts.phase(Phase::All).requests;
    let total: u64 = requests.iter().sum();
    let shares = requests.iter().map(|&requests| requests as f64 / total as f64).collect();
    // Clients are numbered in the order in which the table deals them.
    let order = Stream::new(SEED, replication.into(), StreamId::Addresses);
    let mut by_address = BTreeMap::<(usize, u32, u32), u64>::new();
    let mut client = 0;
    for (number, group) in fit.groups.iter().enumerate() {
        let table = UserTable::from_csv(group.name, group.csv.as_bytes()).expect("users");
        let dealt = table.deal(table.users() as u32, number as u64, &order, |network, host, _| {
            *by_address.entry((number, network, host)).or_default() +=
                by_client.0.get(&client).copied().unwrap_or(0);
            client += 1;
            Ok::<(), ()>(())
        });
        dealt.expect("no limit");
    }
    unevenness(shares, by_address.into_values().filter(|&count| count > 0).collect())
}

/// Goal: a fitted population stands for its log. Method: as many users as the log has, for as long as it lasts, with several
/// seeds; the log's requests, Gini coefficient and share of the ten busiest addresses must be met within `error`, and its
/// shares under `ip_hash`, sorted, lie among those of the seeds. `log_shares` are those of the data's README.
fn stands_for_its_log(file: &str, replications: u32, log_shares: [f64; 3], error: [f64; 3]) {
    let log = prepared(file);
    let fit = fit(&log).unwrap_or_else(|error| panic!("{error}"));
    let folder = tempfile::tempdir().expect("a temporary directory");
    let loaded = scenario(&fit, folder.path());
    let statistics = log.statistics();
    let runs: Vec<Unevenness> =
        (0..replications).map(|replication| run(&loaded, &fit, replication)).collect();
    for run in &runs {
        let requests = run.requests as f64 / log.requests() as f64 - 1.0;
        let gini = run.gini - statistics.gini;
        let top_10 = run.top_10 - statistics.address_shares.top_10;
        for (off, error) in [requests, gini, top_10].into_iter().zip(error) {
            assert!(off.abs() <= error, "{run:?}: {requests:.3} {gini:.3} {top_10:.3}");
        }
    }
    let sorted = |shares: &[f64]| {
        let mut shares = shares.to_vec();
        shares.sort_by(f64::total_cmp);
        shares
    };
    for (place, share) in sorted(&log_shares).into_iter().enumerate() {
        let of_runs = runs.iter().map(|run| sorted(&run.shares)[place]);
        let (least, most) =
            of_runs.fold((1.0, 0.0), |(least, most): (f64, f64), share| (least.min(share), most.max(share)));
        assert!((least..=most).contains(&share), "{share} is not between {least} and {most}");
    }
}

#[test]
fn a_population_fitted_to_the_small_log_stands_for_it() {
    stands_for_its_log("elastic10k_access.log.gz", 20, [0.3312, 0.2734, 0.3954], [0.06, 0.03, 0.03]);
}

#[test]
fn a_population_fitted_to_the_blog_stands_for_it() {
    stands_for_its_log("blog2016_access.log.gz", 6, [0.2918, 0.4661, 0.2421], [0.03, 0.02, 0.02]);
}

#[test]
fn the_tail_indices_of_both_logs_are_those_of_their_readme() {
    for (file, index) in [("blog2016_access.log.gz", 1.24), ("elastic10k_access.log.gz", 1.31)] {
        let tail = fit(&prepared(file)).unwrap_or_else(|error| panic!("{error}")).tail.expect("a tail");
        assert!((tail.index - index).abs() < 0.005 + 0.01, "{file}: {tail:?}");
    }
}

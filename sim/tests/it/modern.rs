//! The modern algorithms against theory and published tables.
//!
//! Comparisons with a table use five standard errors of the difference, its own and ours, and say how wide that may be at
//! most, so that passing means something. Some 400 figures are compared; at five standard errors all of them pass with
//! probability above 99.9 % if the implementation is right.

use std::net::IpAddr;

use evenkeel_sim::balancer::modern::hash::client_key;
use evenkeel_sim::balancer::modern::{Ejection, ModernMethod, ProxyRequest, ProxyServer, ProxyServers};
use evenkeel_sim::balancer::{Balancer, OptionVisitor, is_prime};
use evenkeel_sim::engine::{SimDuration, SimTime, Stream};
use evenkeel_sim::ids::{ServerId, StreamId};
use evenkeel_sim::metrics::Phase;
use evenkeel_sim::scenario::{Diagnostics, Overrides, Program, parse};

use crate::support::{Table, replications};

const STREAM: fn() -> Stream = || Stream::new(20_260, 0, StreamId::Balancer);

/// `count` servers of weight 1 whose addresses are as good as random; `draw` names the draw.
fn servers(count: usize, draw: u64) -> ProxyServers {
    let server = |index| {
        let address = STREAM().bits(draw, index as u64);
        ProxyServer { address: format!("{address:016x}.example:80"), weight: 1 }
    };
    let all: Vec<_> = (0..count).map(server).collect();
    ProxyServers::new(&all, Ejection { failures: 0, time: SimDuration::from_secs(1) }, STREAM(), 0)
}

/// Sets one option, if the algorithm has it.
struct Set(&'static str, u32);

impl OptionVisitor for Set {
    fn whole(&mut self, name: &'static str, value: &mut u32, min: u32, max: u32) {
        if name == self.0 {
            assert!((min..=max).contains(&self.1), "{name}");
            *value = self.1;
        }
    }
    fn prime(&mut self, name: &'static str, value: &mut u32, max: u32) {
        if name == self.0 {
            assert!(is_prime(self.1) && self.1 <= max, "{name}");
            *value = self.1;
        }
    }
    fn number(&mut self, _: &'static str, _: &mut f64, _: f64, _: f64) {}
    fn duration(&mut self, _: &'static str, _: &mut SimDuration, _: SimDuration) {}
    fn limit(&mut self, _: &'static str, _: &mut Option<SimDuration>, _: SimDuration) {}
    fn word(&mut self, _: &'static str, _: &mut usize, _: &'static [&'static str]) {}
    fn flag(&mut self, _: &'static str, _: &mut bool) {}
}

fn method(name: &str, option: Set, servers: &ProxyServers) -> ModernMethod {
    let mut method = ModernMethod::by_name(name).expect("in the catalogue");
    let mut set = option;
    method.options(&mut set);
    method.servers_changed(servers);
    method
}

/// Mean of a sample and its standard error.
fn mean_and_error(sample: &[f64]) -> (f64, f64) {
    let n = sample.len() as f64;
    let mean = sample.iter().sum::<f64>() / n;
    let variance = sample.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

/// Asserts that the mean of a sample is within five standard errors of a table's value, and that this is no wider than
/// `widest`.
#[track_caller]
pub fn assert_agrees(what: &str, sample: &[f64], value: f64, error: f64, widest: f64) {
    let (mean, own) = mean_and_error(sample);
    let width = 5.0 * own.hypot(error);
    assert!(width <= widest, "{what}: the comparison is only good to {width}");
    assert!((mean - value).abs() <= width, "{what}: {mean} against {value}, at most {width} apart");
}

/// Theory: Maglev's table, filled with random permutations: entries per server are as even as whole numbers can be, and
/// when a server leaves, the share of the table that changes among the others is the tabled one.
#[test]
fn maglev_tables_are_even_and_move_as_little_as_tabled() {
    let table = Table::read("maglev");
    for (backends, size, draws) in [
        (3, 251, 200),
        (5, 1_009, 100),
        (10, 1_009, 100),
        (10, 65_537, 20),
        (100, 65_537, 20),
        (1_000, 65_537, 8),
    ] {
        let (n, m) = (backends.to_string(), size.to_string());
        let keys = [("case", "random_permutations"), ("backends", &n), ("table_size", &m)];
        let (mut extra, mut total) = (Vec::new(), Vec::new());
        for draw in 0..draws {
            let mut servers = servers(backends, draw);
            let mut method = method("maglev", Set("table_size", size), &servers);
            let before = table_of(&method);
            let mut owned = vec![0_u32; backends];
            for owner in &before {
                owned[owner.index()] += 1;
            }
            let (least, most) = (owned.iter().min(), owned.iter().max());
            let even = size / backends as u32;
            assert_eq!((least, most), (Some(&even), Some(&(even + 1))), "{n} backends, {m} entries");
            let gone = ServerId::from_index(draw as usize % backends);
            servers.set_weight(SimTime::ZERO, gone, 0);
            method.servers_changed(&servers);
            let changed = before.iter().zip(table_of(&method)).filter(|(before, after)| *before != after);
            let others = changed.clone().filter(|(before, _)| **before != gone).count();
            extra.push(others as f64 / f64::from(size));
            total.push(changed.count() as f64 / f64::from(size));
        }
        let error = table.value(&keys, "extra_moved_se");
        let what = format!("{n} backends, {m} entries");
        let widest = if size > 60_000 { 0.002 } else { 0.01 };
        assert_agrees(&what, &extra, table.value(&keys, "extra_moved"), error, widest);
        assert_agrees(&what, &total, table.value(&keys, "total_changed"), error, widest);
    }
}

fn table_of(method: &ModernMethod) -> Vec<ServerId> {
    let ModernMethod::Maglev(maglev) = method else { panic!("asked for Maglev") };
    maglev.table().to_vec()
}

/// Theory: a server's share of a ring with k random points each is Beta(k, nk - k), so its relative standard deviation is
/// `sqrt((n - 1) / (nk + 1))`, and half a percent of the shares each lie below and above the tabled quantiles. The largest
/// and smallest share are tabled from a simulation.
#[test]
fn shares_of_the_ring_are_spread_as_random_points_are() {
    let table = Table::read("hash_ring_vnodes");
    for n in [3_usize, 5, 10, 40] {
        for k in [1, 10, 40, 100, 160, 1_000] {
            let (servers_text, points) = (n.to_string(), k.to_string());
            let keys = [("servers", servers_text.as_str()), ("points_per_server", points.as_str())];
            let value = |column| table.value(&keys, column);
            let (low, high) = (value("share_q005"), value("share_q995"));
            let draws = if n as u32 * k >= 10_000 { 60 } else { 240 };
            let (mut squares, mut largest, mut outside) = (Vec::new(), Vec::new(), 0_u32);
            for draw in 0..draws {
                let servers = servers(n, 1_000 + draw);
                let ModernMethod::RingHash(ring_hash) = method("ring_hash", Set("points", k), &servers)
                else {
                    panic!("asked for a ring");
                };
                let mut shares = vec![0.0; n];
                for (owner, share) in ring_hash.ring().expect("built").shares() {
                    shares[owner.index()] += share * n as f64;
                }
                squares.push(shares.iter().map(|share| (share - 1.0).powi(2)).sum::<f64>() / n as f64);
                largest.push(shares.iter().copied().fold(0.0, f64::max));
                outside += shares.iter().filter(|&&share| share < low || share > high).count() as u32;
            }
            let what = format!("{n} servers, {k} points");
            let variance = value("rel_sd_share").powi(2);
            assert_agrees(&what, &squares, variance, 0.0, 0.55 * variance);
            assert_agrees(&what, &largest, value("max_over_mean"), value("max_over_mean_se"), 0.5);
            // A hundredth of all shares lies outside; shares of one ring hang together, which five standard deviations of
            // independent ones, doubled, allow for.
            let shares = f64::from(n as u32) * draws as f64;
            let width = 2.0 * 5.0 * (0.01 * 0.99 / shares).sqrt();
            assert!((f64::from(outside) / shares - 0.01).abs() < width, "{what}: {outside} of {shares}");
        }
    }
}

/// The traffic shares of a table's population.
pub fn traffic(population: &str, sources: u32) -> Vec<f64> {
    let exponent = match population {
        "equal" => 0.0,
        name => name.strip_prefix("zipf_").expect("a Zipf law").parse().expect("its exponent"),
    };
    let weights: Vec<f64> = (1..=sources).map(|rank| f64::from(rank).powf(-exponent)).collect();
    let whole: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / whole).collect()
}

/// Theory: sources with given shares of the traffic, hashed uniformly, load one of n servers with standard deviation
/// `sqrt((n - 1) sum p^2)` of the mean; the mean of the largest load is tabled from a simulation. It holds for each
/// algorithm whose servers have equal shares of the keys.
#[test]
fn hashed_sources_load_servers_as_unevenly_as_ideal_hashing_does() {
    let table = Table::read("hash_skew");
    for (population, sources, draws) in [
        ("equal", 10, 600),
        ("equal", 100, 600),
        ("equal", 1_000, 300),
        ("equal", 10_000, 60),
        ("zipf_0.8", 100, 600),
        ("zipf_0.8", 1_000, 300),
        ("zipf_1.0", 1_000, 300),
        ("zipf_1.0", 10_000, 60),
    ] {
        let traffic = traffic(population, sources);
        for n in [2_usize, 3, 5, 10] {
            let (sources_text, backends) = (sources.to_string(), n.to_string());
            let keys = [("population", population), ("sources", &sources_text), ("backends", &backends)];
            for name in ["maglev", "rendezvous", "jump", "anchor_hash"] {
                let mut table_of_servers = servers(n, 5_000);
                let mut method = method(name, Set("table_size", 65_537), &table_of_servers);
                let (mut largest, mut squares) = (Vec::new(), Vec::new());
                for draw in 0..draws {
                    let mut load = vec![0.0; n];
                    for (source, share) in traffic.iter().enumerate() {
                        let address = STREAM().bits(1 << 32 | draw, source as u64) as u32;
                        let key = client_key(IpAddr::from(address.to_be_bytes()), &[]);
                        let mut request = ProxyRequest::new(key, 0, SimTime::ZERO);
                        let server =
                            method.pick(&mut table_of_servers, &mut request).expect("all are usable");
                        load[server.index()] += share * n as f64;
                    }
                    largest.push(load.iter().copied().fold(0.0, f64::max));
                    squares.push(load.iter().map(|load| (load - 1.0).powi(2)).sum::<f64>() / n as f64);
                }
                let what = format!("{name}, {population}, {sources} sources, {n} servers");
                let mean = table.value(&keys, "max_over_mean_mean");
                let error = table.value(&keys, "max_over_mean_se");
                assert_agrees(&what, &largest, mean, error, 0.15 * mean);
                let variance = table.value(&keys, "rel_sd_share").powi(2);
                assert_agrees(&what, &squares, variance, 0.0, 1.1 * variance);
            }
        }
    }
}

/// A hundred servers with one worker each, exponential service of a second, Poisson arrivals.
fn supermarket(balancer: &str, load: f64) -> String {
    use std::fmt::Write as _;
    let mut servers = String::new();
    for server in 0..100 {
        let _ = writeln!(servers, "  {{ name = \"s{server}\", address = \"10.0.0.{server}:80\" }},");
    }
    format!(
        "title = \"supermarket\"\nduration = \"1000s\"\nwarmup = \"100s\"\nseed = 3\nreplications = 6\n\
         [[population]]\nname = \"p\"\nclients = 1000\naddress = {{ preset = \"direct\" }}\n\
         arrivals = {{ poisson = {{ rate = {rate:?} }} }}\n\
         [cluster]\nservers = [\n{servers}]\n\
         capacity = {{ workers = 1, service = {{ exponential = {{ mean = \"1s\" }} }} }}\n\
         [[strategy]]\nname = \"s\"\nsession = {{ local = {{}} }}\nbalancer = {balancer}\n",
        rate = 100.0 * load,
    )
}

/// Theory: the supermarket model (Mitzenmacher 2001) at n = 100, whole runs through the scenario and the cluster. The table
/// is a simulation of 10 long replications. Ours are six of 1,000 service times after 100 to settle, in which
/// the slowest, one choice at 0.7, forgets its empty start (relaxation time 38). Six replications make the standard
/// error itself uncertain (five of it are a t-interval of 99.6 %), so 1 % of the value is added. In all it must be below
/// 12 %, since one choice more or fewer changes each of these values by 18 % at least.
#[test]
fn the_least_loaded_of_d_answers_as_fast_as_tabled() {
    let table = Table::read("power_of_d");
    let d_of =
        |d, replacement| format!("{{ modern.power_of_d = {{ d = {d}, replacement = {replacement} }} }}");
    let mut cases = Vec::new();
    for (d, load) in [(1, "0.5"), (2, "0.5"), (2, "0.8"), (2, "0.9"), (3, "0.9"), (5, "0.9")] {
        cases.push((d_of(d, true), d, load, "sim_n100", "sim_n100_se"));
    }
    for (d, load) in [(2, "0.5"), (2, "0.9"), (3, "0.8")] {
        cases.push((d_of(d, false), d, load, "sim_n100_distinct", "distinct_se"));
    }
    cases.push(("\"modern.random\"".to_owned(), 1, "0.7", "sim_n100", "sim_n100_se"));
    cases.push(("\"envoy.least_request\"".to_owned(), 2, "0.8", "sim_n100", "sim_n100_se"));
    for (balancer, d, load, column, error) in cases {
        let d = d.to_string();
        let keys = [("d", d.as_str()), ("lambda", load)];
        let runs = replications(&supermarket(&balancer, load.parse().expect("a number")));
        let means: Vec<_> = runs
            .iter()
            .map(|run| run.counts.phase(Phase::All).latency.mean().expect("requests were served"))
            .collect();
        let value = table.value(&keys, column);
        let (mean, own) = mean_and_error(&means);
        let width = 5.0 * own.hypot(table.value(&keys, error)) + 0.01 * value;
        assert!(width < 0.12 * value, "{balancer} at {load}: the comparison is only good to {width}");
        assert!((mean - value).abs() < width, "{balancer} at {load}: {mean} against {value}");
    }
}

/// A scenario with three servers and a balancer.
fn scenario(balancer: &str) -> String {
    format!(
        "title = \"t\"\nduration = \"1min\"\n[[population]]\nname = \"p\"\nclients = 50\n\
         address = {{ preset = \"home-nat\" }}\nvisit = {{ preset = \"login-site\" }}\n[cluster]\n\
         servers = [{{ name = \"a\", address = \"a:1\" }}, {{ name = \"b\", address = \"b:1\" }}, \
         {{ name = \"c\", address = \"c:1\" }}]\ncapacity = {{ workers = 8, service = \"20ms\" }}\n\
         [[strategy]]\nname = \"s\"\nsession = {{ local = {{}} }}\nbalancer = {balancer}\n"
    )
}

fn mistakes(balancer: &str) -> Diagnostics {
    match parse("x.toml", &scenario(balancer), &Overrides::NONE) {
        Ok(_) => panic!("`{balancer}` is taken"),
        Err(mistakes) => mistakes,
    }
}

#[test]
fn options_are_read_and_explained_with_their_defaults() {
    for (balancer, lines) in [
        ("\"modern.maglev\"", &["table_size = 65537", "max_tries = 3", "ejection_failures = 5"][..]),
        ("{ modern.maglev = { table_size = 251, max_tries = 1 } }", &["table_size = 251", "max_tries = 1"]),
        ("{ modern.bounded_load = { factor = 2 } }", &["points = 160", "factor = 2.0"]),
        ("{ modern.power_of_d = { replacement = true } }", &["d = 2", "replacement = true"]),
        ("{ modern.peak_ewma = { decay = \"5s\" } }", &["decay = \"5s\"", "default_rtt = \"1s\""]),
        ("\"envoy.ring_hash\"", &["outlier_detection = \"none\""]),
        (
            "{ envoy.ring_hash = { outlier_detection = { max_ejection_percent = 50, success_rate = \"none\" } } }",
            &[
                "outlier_detection = { consecutive_5xx = 5, consecutive_gateway_failure = 0, interval = \"10s\", \
               base_ejection_time = \"30s\", max_ejection_time = \"5min\", max_ejection_percent = 50, \
               always_eject_one_host = false, success_rate = \"none\" }",
            ],
        ),
        (
            "{ envoy.least_request = {} }",
            &["choice_count = 2", "active_request_bias = 1.0", "slow_start_window = \"0s\""],
        ),
        (
            "{ modern.random = { ejection_time = \"1min\", servers = { b = { weight = 0 } } } }",
            &["ejection_time = \"1min\"", "servers.a = { weight = 1 }", "servers.b = { weight = 0 }"],
        ),
    ] {
        let loaded = parse("x.toml", &scenario(balancer), &Overrides::NONE).unwrap_or_else(|m| panic!("{m}"));
        let explained = loaded.resolved.to_string();
        for line in lines {
            assert!(explained.lines().any(|got| got == *line), "{line} is missing\n{explained}");
        }
        let again =
            parse("x.toml", &explained, &Overrides::NONE).unwrap_or_else(|m| panic!("{m}\n{explained}"));
        assert_eq!(again.resolved.to_string(), explained);
    }
    let loaded = parse("x.toml", &scenario("\"modern.jump\""), &Overrides::NONE).expect("valid");
    let Program::Proxy(config) = &loaded.scenario.strategies[0].tier.program else { panic!("a proxy") };
    let addresses: Vec<_> = config.servers.iter().map(|server| server.address.as_str()).collect();
    assert_eq!(addresses, ["a:1", "b:1", "c:1"]);
}

#[test]
fn options_that_cannot_be_are_refused_with_a_remedy() {
    for (balancer, message, help) in [
        (
            "{ modern.maglev = { table_size = 65536 } }",
            "`table_size` must be a prime number, got 65536",
            "the next is 65537",
        ),
        (
            "{ modern.maglev = { tabel_size = 251 } }",
            "unknown key `tabel_size`",
            "similar keys: `table_size`",
        ),
        ("{ modern.power_of_d = { d = 0 } }", "`d` must be at least 1, got 0", ""),
        ("{ modern.bounded_load = { factor = 0.9 } }", "`factor` must be at least 1, got 0.9", ""),
        ("{ modern.random = { max_tries = 9 } }", "`max_tries` must be at most 8, got 9", ""),
        ("{ modern.peak_ewma = { decay = \"0s\" } }", "`decay` must be at least 1ms, got \"0s\"", ""),
        ("{ modern.jump = { ejection_time = \"0s\" } }", "`ejection_time` must be", ""),
        (
            "{ modern.jump = { outlier_detection = { max_ejection_percent = 101 } } }",
            "`max_ejection_percent` must be at most 100, got 101",
            "",
        ),
        (
            "{ envoy.ring_hash = { minimum_ring_size = 100, maximum_ring_size = 50 } }",
            "`maximum_ring_size` must be at least 100, got 50",
            "",
        ),
        ("{ modern.maglv = {} }", "unknown balancer `modern.maglv`", "similar names: `modern.maglev`"),
    ] {
        let found = mistakes(balancer).0;
        assert_eq!(found.len(), 1, "{balancer}: {found:?}");
        assert!(found[0].message.starts_with(message), "{}", found[0].message);
        assert!(found[0].help.as_deref().unwrap_or_default().contains(help), "{found:?}");
    }
}

/// A crash of one of three servers under every algorithm: runs end, their accounts are settled (else the run is an
/// error), and the same seed gives the same counts.
#[test]
fn every_algorithm_carries_a_site_through_a_crash() {
    for entry in
        evenkeel_sim::balancer::entries().filter(|entry| ["modern", "envoy"].contains(&entry.program))
    {
        let text = scenario(&format!("\"{}\"", entry.scenario_name))
            .replace("clients = 50", "clients = 400")
            .replace("duration = \"1min\"", "duration = \"20min\"\nreplications = 1")
            .replace(
                "[[strategy]]",
                "[[fault]]\nat = \"5min\"\ncrash = { server = \"b\", lasts = \"5min\" }\n[[strategy]]",
            );
        let run = |text: &str| replications(text).remove(0).counts.phase(Phase::All);
        let whole = run(&text);
        assert!(whole.served > 500, "{}: {}", entry.scenario_name, whole.served);
        assert!(whole.retried > 0, "{}: the crash must be noticed", entry.scenario_name);
        assert_eq!(format!("{:?}", run(&text)), format!("{whole:?}"), "{}", entry.scenario_name);
    }
}

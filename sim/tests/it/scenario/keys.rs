//! What a request shows, and the methods that hash it.

use evenkeel_sim::cluster::{RunOutcome, RunSetup, run};

use super::read;

/// Single requests of 200 clients for one of `pages`, at four servers behind `balancer`.
fn outcome(pages: &str, balancer: &str) -> RunOutcome {
    let text = format!(
        r#"title = "keys"
duration = "2min"
replications = 1
[request]
headers = {{ X-User = "client", X-Tenant = {{ values = 2 }} }}
params = {{ id = "client" }}
[[population]]
name = "homes"
clients = 200
address = {{ preset = "direct" }}
arrivals = {{ poisson = {{ rate = 100 }} }}
pages = {pages}
[cluster]
capacity = {{ workers = 8, service = "20ms" }}
servers = [
  {{ name = "web1", address = "10.0.0.1:80" }},
  {{ name = "web2", address = "10.0.0.2:80" }},
  {{ name = "web3", address = "10.0.0.3:80" }},
  {{ name = "web4", address = "10.0.0.4:80" }},
]
[[strategy]]
name = "s"
session = {{ local = {{}} }}
balancer = {{ {balancer} }}
"#
    );
    let loaded = read(&text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let again = read(&loaded.resolved.to_string()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(again.resolved.to_string(), loaded.resolved.to_string());
    let setup = RunSetup { scenario: &loaded.scenario, strategy: 0, replication: 0, logs: &[], stories: 0 };
    run(&setup, &|_| {}).unwrap_or_else(|error| panic!("{error}"))
}

/// Shares of the servers.
fn shares(pages: &str, balancer: &str) -> Vec<f64> {
    let counts = outcome(pages, balancer).counts;
    let requests = counts.phase(evenkeel_sim::metrics::Phase::All).requests;
    let all: u64 = requests.iter().sum();
    requests.iter().map(|&server| server as f64 / all as f64).collect()
}

#[test]
fn a_hash_of_the_page_sends_each_page_to_one_server_and_popular_pages_make_it_uneven() {
    let used = |shares: &[f64]| shares.iter().filter(|&&share| share > 0.0).count();
    for balancer in
        ["nginx.hash = { key = \"$uri\" }", "haproxy.uri = {}", "haproxy.hash = { sample = \"path\" }"]
    {
        assert_eq!(used(&shares("{ count = 1 }", balancer)), 1, "{balancer}: one page");
        let most = |pages| shares(pages, balancer).into_iter().fold(0.0, f64::max);
        let (equal, popular) =
            (most("{ count = 1000 }"), most("{ count = 1000, popularity = { zipf = 1.5 } }"));
        assert!(equal < 0.32, "{balancer}: {equal} of equally popular pages");
        // The first of 1,000 pages by k^-1.5 is asked for in 39 % of the requests.
        assert!(popular > 0.38, "{balancer}: {popular}");
    }
}

#[test]
fn parameters_and_headers_are_hashed_as_said() {
    for balancer in [
        "nginx.hash = { key = \"$arg_id\" }",
        "nginx.hash_consistent = { key = \"$http_x_user\" }",
        "haproxy.url_param = { name = \"id\", hash-type = \"consistent\" }",
        "haproxy.hdr = { name = \"X-User\" }",
        "haproxy.rdp-cookie = {}",
        "haproxy.hash = { sample = \"req.cook(sid)\" }",
    ] {
        let shares = shares("{ count = 1 }", balancer);
        assert!(shares.iter().all(|share| (0.1..0.45).contains(share)), "{balancer}: {shares:?}");
    }
    // Two tenants are at most two servers, and the site's own name is one.
    for (balancer, at_most) in
        [("haproxy.hdr = { name = \"X-Tenant\" }", 2), ("nginx.hash = { key = \"$host\" }", 1)]
    {
        let used = shares("{ count = 1 }", balancer).iter().filter(|&&share| share > 0.0).count();
        assert!((1..=at_most).contains(&used), "{balancer}");
    }
}

#[test]
fn depth_and_length_cut_the_uri_before_it_is_hashed() {
    for options in ["len = 5", "depth = 0"] {
        let shares = shares("{ count = 1000 }", &format!("haproxy.uri = {{ {options} }}"));
        assert!(shares.contains(&1.0), "all pages begin alike: {shares:?}");
    }
}

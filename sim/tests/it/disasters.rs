//! Runs a small site of any strategy under any script of faults, as bytes say: the body of a property test and of a fuzz target
//! (`sim/fuzz`).

use std::sync::OnceLock;

use arbitrary::{Result, Unstructured};
use evenkeel_sim::balancer;
use evenkeel_sim::cluster::{self, RunSetup};
use evenkeel_sim::engine::{Distribution, SimDuration};
use evenkeel_sim::ids::ServerId;
use evenkeel_sim::scenario::{
    ErrorRule, Fault, FaultKind, Overrides, Part, Process, Recurs, Scenario, parse,
};

const SERVERS: u16 = 4;
/// Length of a run, and of the longest fault \[ms\].
const RUN_MS: u64 = 12_000;
const LASTS_MS: u64 = 6_000;
const FAULTS_MAX: usize = 8;

/// What a strategy may be beside a bare balancer: checks, retries, time-outs, queues, pairs, tiers and stores.
const ELABORATE: [&str; 22] = [
    "balancer = { nginx.round_robin = { proxy_connect_timeout = \"1s\", proxy_read_timeout = \"1s\", proxy_next_upstream = \"error timeout http_500 http_503 non_idempotent\", fail_timeout = \"2s\" } }\nsession = { local = {} }",
    "balancer = { nginx.least_conn = { max_fails = 0, proxy_next_upstream = \"off\" } }\nsession = { redis = {} }",
    "balancer = { haproxy.roundrobin = { cookie = \"insert\", redispatch = 1, timeout_server = \"1s\", timeout_connect = \"1s\", retry-on = \"all-retryable-errors\" } }\nsession = { local = {} }",
    "balancer = { haproxy.leastconn = { maxconn = 1, timeout_queue = \"500ms\" } }\nsession = { mysql = { replicas = 1 } }",
    "balancer = { haproxy.source = { check = { inter = \"500ms\", rise = 1, fall = 1 } } }\nsession = { tomcat_delta = {} }",
    "balancer = { lvs.wlc = { persistence_timeout = \"2s\" } }\nhealth = { tcp_check = { delay_loop = \"1s\", connect_timeout = \"1s\", retry = 1, delay_before_retry = \"1s\" } }\nsession = { local = {} }",
    "balancer = { lvs.rr = {} }\nhealth = { http_get = { delay_loop = \"1s\", connect_timeout = \"1s\", retry = 0 } }\nsession = { memcached = {} }",
    "balancer = { lvs.sh = { expire_nodest_conn = true } }\nsession = { shared = { latency = \"1ms\" } }",
    "balancer = { lvs.wlc = { persistence_timeout = \"10s\" } }\ndirector = { vrrp = { advert_int = \"1s\", sync = true } }\ninstances = [\"d1\", \"d2\"]\nsession = { local = {} }",
    "balancer = { lvs.rr = {} }\ndirector = { vrrp = { advert_int = \"1s\", sync = false } }\ninstances = [\"d1\", \"d2\"]\nsession = { local = {} }",
    "tiers = [{ balancer = { lvs.wlc = {} }, instances = [\"l1\"] }, { balancer = { haproxy.roundrobin = { cookie = \"insert\" } }, instances = [\"d1\", \"d2\"] }]\nsession = { local = {} }",
    "tiers = [{ balancer = { lvs.rr = {} }, instances = [\"d1\", \"d2\"], director = { vrrp = {} } }, { balancer = { nginx.ip_hash = {} }, instances = [\"n1\", \"n2\"] }]\nsession = { local = {} }",
    "balancer = { envoy.least_request = {} }\nsession = { local = {} }",
    "balancer = { nginx.ip_hash = {} }\nsession = { tomcat_backup = {} }",
    "balancer = { lvs.wrr = { persistence_timeout = \"5s\" } }\nhealth = { tcp_check = { delay_loop = \"1s\", connect_timeout = \"500ms\", retry = 0, alpha = true, warmup = \"1s\" }, sorry_server = \"d\", quorum = 2 }\ndirector = { vrrp = { sync = true } }\ninstances = [\"d1\", \"d2\"]\nsession = { local = {} }",
    "balancer = { lvs.lc = {} }\nhealth = { http_get = { delay_loop = \"500ms\", connect_timeout = \"500ms\", retry = 0 }, inhibit_on_failure = true, quorum = 3, hysteresis = 1, sorry_server = \"a\", sorry_status = \"none\" }\ninstances = [\"d1\"]\nsession = { redis = {} }",
    "balancer = { haproxy.roundrobin = { maxconn = 3, slowstart = \"4s\", check = { inter = \"500ms\" } } }\ndirector = { vrrp = { track_script = [{ weight = -60 }, { fall = 2 }] } }\ninstances = [\"d1\", \"d2\"]\nsession = { local = {} }",
    "tiers = [{ balancer = { lvs.rr = {} }, instances = [\"d1\", \"d2\"], director = { vrrp = {} }, health = { tcp_check = { delay_loop = \"1s\", connect_timeout = \"500ms\", retry = 0 } } }, { balancer = { nginx.ip_hash = {} }, instances = [\"n1\", \"n2\"] }]\nsession = { local = {} }",
    "tiers = [{ balancer = { haproxy.roundrobin = { redispatch = true, maxconn = 2, timeout_queue = \"500ms\", timeout_connect = \"500ms\", timeout_server = \"1s\", retry-on = \"all-retryable-errors\", check = { inter = \"500ms\", rise = 1, fall = 1 } } }, instances = [\"l1\"] }, { balancer = { nginx.least_conn = { worker_processes = 2, proxy_connect_timeout = \"500ms\", proxy_read_timeout = \"1s\", proxy_next_upstream = \"error timeout http_503 non_idempotent\" } }, instances = [\"n1\", \"n2\"] }]\nsession = { local = {} }",
    "tiers = [{ balancer = { nginx.round_robin = { proxy_connect_timeout = \"500ms\", proxy_read_timeout = \"800ms\", proxy_next_upstream = \"error timeout http_502 http_503 http_504\" } }, instances = [\"l1\"], client_address = \"passed\" }, { balancer = { lvs.wlc = { persistence_timeout = \"2s\", forwarding = \"nat\" } }, instances = [\"d1\", \"d2\"], director = { vrrp = { sync = true } }, health = { tcp_check = { delay_loop = \"1s\", connect_timeout = \"500ms\", retry = 0 } } }, { balancer = { haproxy.source = { cookie = \"insert\", timeout_server = \"1s\", maxconn = 2, timeout_queue = \"300ms\" } }, instances = [\"n1\", \"n2\"] }]\nsession = { local = {} }",
    "tiers = [{ balancer = { haproxy.source = { cookie = \"insert\", timeout_server = \"700ms\", timeout_connect = \"300ms\" } }, instances = [\"n1\", \"n2\"] }, { balancer = { lvs.sh = { forwarding = \"nat\" } }, instances = [\"d1\", \"d2\"], director = { vrrp = {} }, health = { tcp_check = { delay_loop = \"1s\", connect_timeout = \"500ms\", retry = 0 } } }]\nsession = { redis = {} }",
    "tiers = [{ dns = { ttl = \"1s\" } }, { balancer = { envoy.least_request = {} }, instances = [\"l1\", \"n1\"] }, { balancer = { nginx.ip_hash = { proxy_connect_timeout = \"500ms\" } }, instances = [\"n2\"], client_address = \"passed\" }, { balancer = { haproxy.leastconn = { stick-table = { type = \"ip\", size = 100, expire = \"5s\" }, stick = [\"on src\"] } }, instances = [\"d1\", \"d2\"], peers = true }]\nsession = { local = {} }",
];

/// What clients do: visits with a login, visits with patience whose exchanges are held, single requests.
const TRAFFIC: [&str; 3] = [
    "visit = { login = true, form_token = true, clicks = 4, think = { exponential = { mean = \"300ms\" } }, away = { exponential = { mean = \"300ms\" } }, leave_on_loss = 0.2, session_idle_timeout = \"1h\" }",
    "visit = { login = true, clicks = 4, think = { exponential = { mean = \"300ms\" } }, away = { exponential = { mean = \"300ms\" } }, hold = { time = { exponential = { mean = \"2s\" } }, messages = { exponential = { mean = \"300ms\" } }, reconnect = { first = \"100ms\" } }, patience = { timeout = \"900ms\", reloads = 2 } }",
    "arrivals = { poisson = { rate = 8.0 } }",
];

/// The site of a strategy with a kind of traffic, if that needs nothing that is not said here; `scales` says whether servers come
/// and go.
fn site(strategy: &str, traffic: usize, scales: bool) -> Option<Scenario> {
    let (arrivals, open) = (TRAFFIC[traffic], traffic == 2);
    let discipline =
        if open { "discipline = \"ps\", cores = 1, limit = 3" } else { "workers = 2, queue_limit = 4" };
    let autoscaling = match (scales, open) {
        (false, _) => "",
        (true, false) => {
            "autoscaling = { target = { utilisation = 0.3 }, period = \"300ms\", scale_in_stabilisation = \"1s\", boot = { exponential = { mean = \"700ms\" } }, drain = \"400ms\" }"
        }
        (true, true) => {
            "autoscaling = { servers = [\"d\", \"b\", \"c\"], initial = 2, target = { in_flight = 0.5 }, period = \"500ms\", tolerance = 0, scale_out_cooldown = \"1s\", scale_in_stabilisation = \"0s\", boot = \"500ms\", drain = \"0s\" }"
        }
    };
    let text = format!(
        r#"title = "disasters"
duration = "{RUN_MS}ms"
warmup = "1s"
replications = 1
window = "1s"
[connection]
keepalive_timeout = "500ms"
[[population]]
name = "p"
clients = 8
address = {{ preset = "home-nat" }}
{arrivals}
[cluster]
{autoscaling}
capacity = {{ {discipline}, service = {{ exponential = {{ mean = "60ms" }} }} }}
servers = [
  {{ name = "a", address = "10.0.0.1:80" }},
  {{ name = "b", address = "10.0.0.2:80", weight = 2 }},
  {{ name = "c", address = "10.0.0.3:80" }},
  {{ name = "d", address = "10.0.0.4:80" }},
]
[[strategy]]
name = "s"
{strategy}
"#
    );
    parse("disasters.toml", &text, &Overrides::NONE).ok().map(|loaded| loaded.scenario)
}

/// A site for every balancer of the catalogue, and three for every elaborate one.
pub fn sites() -> &'static [Scenario] {
    static SITES: OnceLock<Vec<Scenario>> = OnceLock::new();
    SITES.get_or_init(|| {
        let plain = balancer::entries().flat_map(|entry| {
            let name = entry.scenario_name;
            ["", "key = \"$remote_addr\"", "hash_key = \"address\""].map(|options| {
                format!("balancer = {{ {name} = {{ {options} }} }}\nsession = {{ local = {{}} }}")
            })
        });
        let elaborate =
            ELABORATE.iter().flat_map(|strategy| [strategy; 3].map(|strategy| (*strategy).to_owned()));
        let all: Vec<String> = elaborate.chain(plain).collect();
        let sites = all
            .iter()
            .enumerate()
            .flat_map(|(number, strategy)| [false, true].map(|scales| site(strategy, number % 3, scales)));
        sites.flatten().collect()
    })
}

/// Runs one site under one script of faults.
///
/// # Panics
/// Panics if the run does, or its accounts do not balance.
pub fn survive(bytes: &[u8]) {
    let mut bytes = Unstructured::new(bytes);
    let Ok(mut scenario) = bytes.choose(sites()).cloned() else { return };
    while scenario.faults.len() < FAULTS_MAX
        && !bytes.is_empty()
        && let Ok(fault) = fault(&mut bytes, &scenario)
    {
        scenario.faults.push(fault);
    }
    scenario.seed = bytes.int_in_range(0..=1_000).unwrap_or(0);
    let setup = RunSetup { scenario: &scenario, strategy: 0, replication: 0, logs: &[], stories: 2 };
    let outcome = match cluster::run(&setup, &|_| ()) {
        Ok(outcome) => outcome,
        Err(error) => panic!("{error}: {} under {:?}", scenario.strategies[0].balancer, scenario.faults),
    };
    let failed: u64 = outcome.counts.ledger.requests_failed;
    for fault in &outcome.faults {
        assert!(fault.requests_failed <= failed && fault.users_logged_out <= outcome.counts.ledger.losses);
    }
    for outage in &outcome.outages {
        assert!(outage.from <= outage.until);
    }
}

fn millis(bytes: &mut Unstructured<'_>, from: u64, to: u64) -> Result<SimDuration> {
    // Round figures let things happen at the same time.
    let step = if bytes.ratio(1, 2)? { 500 } else { 1 };
    Ok(SimDuration::from_millis(bytes.int_in_range(from..=to)?.next_multiple_of(step)))
}

fn fault(bytes: &mut Unstructured<'_>, scenario: &Scenario) -> Result<Fault> {
    let drain = millis(bytes, 1, 1_000)?;
    let factor = *bytes.choose(&[0.1, 0.999, 3.0, 50.0])?;
    let errors = ErrorRule {
        share: *bytes.choose(&[0.2, 1.0])?,
        status: *bytes.choose(&[404, 429, 500, 503])?,
        latency: *bytes.choose(&[
            SimDuration::ZERO,
            SimDuration::from_millis(1),
            SimDuration::from_secs(2),
        ])?,
    };
    let kinds = [
        FaultKind::Crash,
        FaultKind::Restart,
        FaultKind::Hang,
        FaultKind::Partition,
        FaultKind::Slow { factor },
        FaultKind::Errors(errors),
        FaultKind::Loss { share: 0.3 },
        FaultKind::BrownOut { above: 0.5, factor },
        FaultKind::Drain { deadline: bytes.ratio(1, 2)?.then_some(drain) },
        FaultKind::Down,
        FaultKind::Weight { to: bytes.int_in_range(0..=3)? },
        FaultKind::Reload,
        FaultKind::Deploy { batch: bytes.int_in_range(1..=3)?, drain, pause: drain },
        FaultKind::ScaleOut,
        FaultKind::ScaleIn { drain },
        FaultKind::StoreCrash { power_loss: bytes.ratio(1, 2)? },
        FaultKind::Delay { each_way: *bytes.choose(&[drain, SimDuration::from_millis(20)])? },
        FaultKind::Kill { process: Process::Balancer },
        FaultKind::Kill { process: Process::Keepalived },
    ];
    let kind = *bytes.choose(&kinds)?;
    let servers = {
        let mask: u16 = bytes.int_in_range(1..=15)?;
        (0..SERVERS).filter(|server| mask >> server & 1 == 1).map(ServerId).collect()
    };
    let zone = if bytes.ratio(1, 3)? { Some("east".to_owned()) } else { None };
    let instances = scenario.instances.len() as u16;
    let part = match kind {
        FaultKind::Reload => Part::Site,
        FaultKind::StoreCrash { .. } => Part::StoreNode(bytes.int_in_range(0..=2)?),
        FaultKind::Hang | FaultKind::Slow { .. } | FaultKind::Errors(_) | FaultKind::Restart
            if bytes.ratio(1, 3)? =>
        {
            Part::StoreNode(bytes.int_in_range(0..=2)?)
        }
        FaultKind::Hang | FaultKind::Slow { .. } | FaultKind::Errors(_) if bytes.ratio(1, 4)? => {
            Part::Disk { servers, nodes: vec![bytes.int_in_range(0..=1)?] }
        }
        FaultKind::Loss { .. } | FaultKind::Partition | FaultKind::Delay { .. } if bytes.ratio(1, 2)? => {
            match bytes.int_in_range(0..=2)? {
                0 => Part::Clients,
                1 => Part::Replication(bytes.int_in_range(0..=1)?),
                _ => {
                    let node = if bytes.ratio(1, 2)? { Some(bytes.int_in_range(0..=1)?) } else { None };
                    Part::StoreLinks { servers, zone, node }
                }
            }
        }
        FaultKind::Kill { .. } => Part::Instance(bytes.int_in_range(0..=instances - 1)?),
        FaultKind::Crash | FaultKind::Partition if bytes.ratio(1, 2)? => {
            Part::Instance(bytes.int_in_range(0..=instances - 1)?)
        }
        _ => Part::Servers { servers, zone },
    };
    let for_good = matches!(kind, FaultKind::ScaleOut | FaultKind::ScaleIn { .. });
    let composed = for_good || matches!(kind, FaultKind::Reload | FaultKind::Deploy { .. });
    let lasts =
        if for_good || kind == FaultKind::Reload { SimDuration::ZERO } else { millis(bytes, 1, LASTS_MS)? };
    let recurs = match bytes.int_in_range(0..=5)? {
        0 if !for_good => {
            let times = bytes.int_in_range(1..=3).map(Some)?;
            Recurs::Every { period: lasts * 10 + millis(bytes, 1, 1_000)?, times }
        }
        1 if !composed => Recurs::Random {
            mtbf: Distribution::Exponential { mean: 3.0 },
            mttr: Distribution::Exponential { mean: 1.0 },
        },
        _ => Recurs::Never,
    };
    let lasts = if matches!(recurs, Recurs::Random { .. }) { SimDuration::ZERO } else { lasts };
    Ok(Fault { at: millis(bytes, 1, RUN_MS)?, recurs, lasts, part, kind })
}

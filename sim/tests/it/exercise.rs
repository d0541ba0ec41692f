//! Drives a tier instance of any balancer as bytes say, and checks what it answers: the body of a property test and of a fuzz
//! target (`sim/fuzz`).

use std::net::{Ipv4Addr, Ipv6Addr};

use arbitrary::{Result, Unstructured};
use evenkeel_sim::balancer::haproxy::{Admin, HaproxyMethod, HashOptions, HashType};
use evenkeel_sim::balancer::{Balancer, CatalogueEntry, CookieLife, OptionVisitor, entries, is_prime};
use evenkeel_sim::engine::{SimDuration, SimTime, Stream};
use evenkeel_sim::health::HaproxyCheck;
use evenkeel_sim::ids::{ServerId, StreamId};
use evenkeel_sim::scenario::{Overrides, Program, parse};
use evenkeel_sim::tier::haproxy::{
    CookieMode, HaproxyLine, StickConfig, StickKey, StickRule, StickSource, StickTableConfig, StoreAt,
};
use evenkeel_sim::tier::lvs::{Forwarding, LvsServer, TemplateScope};
use evenkeel_sim::tier::nginx::{NginxServer, NginxVersion, StickyCookie};
use evenkeel_sim::tier::proxy::{
    Ejection, ProxyConfig, ProxyDraws, ProxyMethod, ProxyServer, RetryBudget, Subset, TRIES_MAX,
};
use evenkeel_sim::tier::{
    Decision, FlowId, Haproxy, HaproxyConfig, Instance, Layer, Lvs, Method, Nginx, NginxConfig, Open,
    Outcome, Persistence, Proxy, Reason, Segment, Then, Ties,
};

const OUTCOMES: [Outcome; 7] = [
    Outcome::Status(200),
    Outcome::Status(404),
    Outcome::Status(503),
    Outcome::ConnectRefused,
    Outcome::ConnectTimeout,
    Outcome::Reset,
    Outcome::ReadTimeout,
];
const SEGMENTS: [Segment; 7] = [
    Segment::Established,
    Segment::FromClient,
    Segment::FromServer,
    Segment::ClientFin,
    Segment::ServerFin,
    Segment::ClientReset,
    Segment::ServerReset,
];
/// Servers of an instance at most; more than 64, where nginx keeps its sets of tried servers elsewhere.
const SERVERS_MAX: usize = 70;

/// Configures an instance and gives it inputs until the bytes run out: the decisions of all flows that were opened.
///
/// # Panics
/// Panics if an answer is not what it must be: see [`Exercise::check`].
pub fn exercise(bytes: &[u8]) -> Vec<Decision> {
    let mut bytes = Unstructured::new(bytes);
    // Bytes that do not suffice for a configuration exercise nothing.
    let Ok(mut exercise) = Exercise::configure(&mut bytes) else { return Vec::new() };
    while !bytes.is_empty() && exercise.input(&mut bytes).is_ok() {}
    exercise.end()
}

/// What the flow waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Trying,
    Queued,
    Waiting,
}

/// A flow that has not ended.
struct Live {
    flow: FlowId,
    stage: Stage,
    /// The servers that it was sent to.
    tried: Vec<ServerId>,
    /// How often the program had been loaded anew when it was opened.
    loads: u32,
}

/// A server as an outsider knows it.
#[derive(Clone, Copy)]
struct Known {
    weight: u32,
    out: bool,
}

struct Exercise {
    entry: &'static CatalogueEntry,
    instance: Instance,
    servers: Vec<Known>,
    /// What an nginx is loaded with again.
    nginx: Option<NginxConfig>,
    now: SimTime,
    live: Vec<Live>,
    /// How often the program was loaded anew.
    loads: u32,
    decisions: Vec<Decision>,
}

impl Exercise {
    fn configure(bytes: &mut Unstructured<'_>) -> Result<Self> {
        let all: Vec<_> = entries().collect();
        let entry = *bytes.choose(&all)?;
        let count = bytes.int_in_range(1..=SERVERS_MAX)?;
        // Servers without end beyond a dozen are seldom of interest.
        let count = if bytes.ratio(7, 8)? { 1 + count % 6 } else { count };
        let mut servers = Vec::with_capacity(count);
        for _ in 0..count {
            servers.push(Known { weight: bytes.int_in_range(0..=9)?, out: bytes.ratio(1, 8)? });
        }
        let mut nginx = None;
        let instance = match base(entry) {
            Program::Nginx(config) => {
                let config = with_nginx_servers(config, &servers, bytes)?;
                nginx = Some(config.clone());
                Instance::Nginx(Nginx::new(config))
            }
            Program::Lvs(mut config) => {
                let service = &mut config.services[0];
                service.servers.clear();
                for (index, known) in servers.iter_mut().enumerate() {
                    known.out = false;
                    service.servers.push(LvsServer {
                        address: ([192, 0, 2, index as u8], 80).into(),
                        weight: known.weight,
                        upper_threshold: if bytes.ratio(1, 4)? { bytes.int_in_range(1..=4)? } else { 0 },
                        lower_threshold: bytes.int_in_range(0..=1)?,
                    });
                }
                service.persistence_timeout = bytes.ratio(1, 2)?.then_some(SimDuration::from_secs(20));
                service.persistence_prefix_v4 = *bytes.choose(&[32, 24, 0])?;
                let scopes = [TemplateScope::Port, TemplateScope::AllPorts, TemplateScope::FirewallMark(1)];
                service.template_scope = *bytes.choose(&scopes)?;
                service.scheduler_flags.fallback = bytes.arbitrary()?;
                service.scheduler_flags.port = bytes.arbitrary()?;
                config.forwarding = *bytes.choose(&[Forwarding::Nat, Forwarding::Dr])?;
                config.sysctl.expire_nodest_conn = bytes.arbitrary()?;
                config.sysctl.expire_quiescent_template = bytes.arbitrary()?;
                config.sysctl.conn_reuse_mode = bytes.arbitrary()?;
                config.sysctl.sloppy_tcp = bytes.arbitrary()?;
                Instance::Lvs(Lvs::new(config))
            }
            Program::HaProxy(config) => {
                Instance::HaProxy(Haproxy::new(with_haproxy_servers(config, &servers, bytes)?))
            }
            Program::Proxy(mut config) => {
                servers.iter_mut().for_each(|known| known.out = false);
                let server = |(index, known): (usize, &Known)| ProxyServer {
                    address: format!("10.0.0.{index}:80"),
                    weight: known.weight,
                };
                config.servers = servers.iter().enumerate().map(server).collect();
                config.max_tries = bytes.int_in_range(1..=TRIES_MAX)?;
                config.cookie = bytes.ratio(1, 4)?.then_some(CookieLife { idle: None, total: None });
                config.ejection = Ejection {
                    failures: bytes.int_in_range(0..=3)?,
                    time: SimDuration::from_secs(bytes.int_in_range(1..=20)?),
                };
                let mut chooser = Chooser { bytes, failed: Ok(()) };
                config.method.options(&mut chooser);
                chooser.failed?;
                let draws = ProxyDraws { stream: Stream::new(1, 0, StreamId::Balancer), entity: 0 };
                Instance::Proxy(Proxy::new(config, draws))
            }
        };
        let (live, decisions) = (Vec::new(), Vec::new());
        Ok(Self { entry, instance, servers, nginx, now: SimTime::ZERO, live, loads: 0, decisions })
    }

    fn input(&mut self, bytes: &mut Unstructured<'_>) -> Result<()> {
        let layer = self.instance.layer();
        match bytes.int_in_range(0..=15)? {
            0..6 => self.open(bytes)?,
            6..11 => {
                let Some(place) = choose_place(bytes, self.live.len())? else { return Ok(()) };
                let Live { flow, stage, .. } = self.live[place];
                if layer == Layer::Connection {
                    self.instance.segment(self.now, flow, *bytes.choose(&SEGMENTS)?);
                } else if stage == Stage::Waiting {
                    let then = self.instance.resume(self.now, flow);
                    self.follow(place, then);
                } else if stage == Stage::Trying {
                    let then = self.instance.attempt_ended(self.now, flow, *bytes.choose(&OUTCOMES)?);
                    self.follow(place, then);
                }
            }
            11 => {
                let Some(place) = choose_place(bytes, self.live.len())? else { return Ok(()) };
                if layer == Layer::Request {
                    let Live { flow, .. } = self.live.swap_remove(place);
                    self.instance.abort(self.now, flow);
                    // Once more is no input that a driver gives, but it must be harmless.
                    self.instance.abort(self.now, flow);
                }
            }
            12 => {
                let millis = [0, 1, 40, 1_000, 30_000, 200_000][bytes.int_in_range(0..=5)?];
                self.now = self.now + SimDuration::from_millis(millis);
            }
            13 => self.reset(bytes)?,
            _ => self.change(bytes)?,
        }
        self.start_queued();
        if let Instance::Nginx(_) | Instance::HaProxy(_) | Instance::Proxy(_) = &self.instance {
            assert_eq!(
                self.instance.table_sizes().flows,
                self.live.len() as u64,
                "{}",
                self.entry.scenario_name
            );
        }
        Ok(())
    }

    fn open(&mut self, bytes: &mut Unstructured<'_>) -> Result<()> {
        let client: u8 = bytes.int_in_range(0..=15)?;
        let address = match bytes.ratio(1, 4)? {
            false => Ipv4Addr::new(10, client, 0, client).into(),
            true => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, client.into()).into(),
        };
        let key_of_text = [b'/', client];
        let key = match self.instance.layer() {
            // The address and port that is called, one of four.
            Layer::Connection => &[192, 0, 2, client % 4, 0, 80][..],
            Layer::Request => &key_of_text[..],
        };
        let cookie = match bytes.ratio(1, 4)? {
            true => choose_place(bytes, self.servers.len())?.map(ServerId::from_index),
            false => None,
        };
        let persistence = [Persistence::Normal, Persistence::Forced, Persistence::Ignored];
        let ties = Ties { cookie, sample: &key_of_text, persistence: *bytes.choose(&persistence)? };
        let forced = ties.persistence == Persistence::Forced;
        let open = Open {
            address,
            port: 1 + u16::from(bytes.int_in_range(0..=3_u8)?),
            key: if bytes.ratio(1, 8)? { &[] } else { key },
            method: if bytes.ratio(1, 4)? { Method::Post } else { Method::Get },
            worker: bytes.int_in_range(0..=3)?,
            service: 0,
            ties,
        };
        let opened = self.instance.open(self.now, &open);
        self.check(&opened.decision, forced);
        self.decisions.push(opened.decision);
        let stage = match opened.decision {
            Decision { server: Some(_), .. } => Stage::Trying,
            Decision { reason: Reason::Queued, .. } => Stage::Queued,
            _ => return Ok(()),
        };
        let tried = opened.decision.server.into_iter().collect();
        self.live.push(Live { flow: opened.flow, stage, tried, loads: self.loads });
        Ok(())
    }

    /// A server that is chosen afresh is one that is up and has a weight; a refusal says why.
    fn check(&self, decision: &Decision, forced: bool) {
        let name = self.entry.scenario_name;
        let Some(server) = decision.server else {
            // A SYN on the entry of a removed server is dropped for that.
            let told =
                matches!(decision.reason, Reason::NoneUsable | Reason::Queued | Reason::AffinityUnusable(_));
            assert!(told, "{name}: nobody for {:?}", decision.reason);
            return;
        };
        let known = self.servers[server.index()];
        match decision.reason {
            Reason::Scheduled { .. } | Reason::Hashed | Reason::Rehashed(_) | Reason::AffinityUnusable(_) => {
                assert!(
                    !known.out && known.weight > 0 || forced,
                    "{name}: {decision:?} is down or has weight 0"
                );
            }
            Reason::Affinity | Reason::LiveEntry => {}
            Reason::NoneUsable | Reason::Queued => panic!("{name}: {decision:?} has a server"),
        }
    }

    /// What the end of a try leads to.
    fn follow(&mut self, place: usize, then: Then) {
        match then {
            Then::Done { .. } => _ = self.live.swap_remove(place),
            Then::Retry(decision) => {
                self.decisions.push(decision);
                let queued = decision.server.is_none();
                assert!(!queued || decision.reason == Reason::Queued, "{decision:?}");
                let live = &mut self.live[place];
                live.stage = if queued { Stage::Queued } else { Stage::Trying };
                let same_servers = live.loads == self.loads;
                // HAProxy may try a server again, and one that is tied to it even if it is down; Tengine does not remember
                // that it tried the server of a cookie.
                let again =
                    self.entry.program == "haproxy" || self.entry.scenario_name == "nginx.session_sticky";
                if !again {
                    let server = decision.server.expect("there is no queue");
                    assert!(
                        !live.tried.contains(&server),
                        "{}: {decision:?} again",
                        self.entry.scenario_name
                    );
                    live.tried.push(server);
                    if same_servers {
                        self.check(&decision, false);
                    }
                }
            }
            Then::Wait(time) => {
                assert!(time <= SimDuration::from_secs(1), "HAProxy waits a second at most");
                self.live[place].stage = Stage::Waiting;
            }
        }
    }

    /// Flows that left a queue of HAProxy's.
    fn start_queued(&mut self) {
        let Instance::HaProxy(haproxy) = &mut self.instance else { return };
        while let Some((flow, decision)) = haproxy.next_started() {
            let Some(place) = self.live.iter().position(|live| live.flow == flow) else { continue };
            self.decisions.push(decision);
            match decision.server {
                Some(_) => self.live[place].stage = Stage::Trying,
                None => _ = self.live.swap_remove(place),
            }
        }
    }

    /// An operator changes a server, or a check finds something.
    fn change(&mut self, bytes: &mut Unstructured<'_>) -> Result<()> {
        let Some(place) = choose_place(bytes, self.servers.len())? else { return Ok(()) };
        let server = ServerId::from_index(place);
        let weight = bytes.int_in_range(0..=9)?;
        let kind = bytes.int_in_range(0..=3)?;
        match (&mut self.instance, kind) {
            (Instance::Nginx(_), _) => return Ok(()),
            (Instance::HaProxy(haproxy), 0) => _ = haproxy.check_ended(self.now, server, bytes.arbitrary()?),
            (Instance::HaProxy(haproxy), 1) => {
                if haproxy.set_weight(self.now, server, weight) {
                    self.servers[place].weight = weight;
                }
            }
            (Instance::HaProxy(haproxy), _) => {
                let admin = *bytes.choose(&[Admin::Ready, Admin::Drain, Admin::Maint])?;
                haproxy.set_admin(self.now, server, admin);
                self.servers[place].out = admin != Admin::Ready;
            }
            (instance, 0 | 1) => {
                instance.set_weight(self.now, server, weight);
                self.servers[place].weight = if self.servers[place].out { 0 } else { weight };
            }
            (instance, 2) => {
                instance.remove_server(self.now, server);
                self.servers[place].out = true;
            }
            (instance, _) => {
                instance.add_server(self.now, server, weight);
                let known = &mut self.servers[place];
                // One that is there already stays as it is.
                if known.out || matches!(instance, Instance::Proxy(_)) {
                    *known = Known { weight, out: false };
                }
            }
        }
        Ok(())
    }

    /// The program is loaded anew, or another takes over.
    fn reset(&mut self, bytes: &mut Unstructured<'_>) -> Result<()> {
        match &mut self.instance {
            Instance::Nginx(nginx) => {
                let Some(config) = &self.nginx else { return Ok(()) };
                for known in &mut self.servers {
                    known.out ^= bytes.ratio(1, 8)?;
                }
                let config = with_nginx_servers(config.clone(), &self.servers, bytes)?;
                nginx.reload(self.now, config);
                self.loads += 1;
            }
            Instance::Lvs(lvs) => lvs.lose_tables(self.now),
            Instance::HaProxy(_) | Instance::Proxy(_) => {}
        }
        Ok(())
    }

    /// Everyone goes away; nothing is left.
    fn end(mut self) -> Vec<Decision> {
        match &mut self.instance {
            Instance::Lvs(lvs) => {
                let later = self.now + SimDuration::from_secs(1_000_000);
                assert_eq!(lvs.connections(later).count(), 0);
                assert_eq!((lvs.table_sizes().flows, lvs.table_sizes().affinity_entries), (0, 0));
            }
            instance => {
                for live in &self.live {
                    instance.abort(self.now, live.flow);
                }
                assert_eq!(instance.table_sizes().flows, 0, "{}", self.entry.scenario_name);
            }
        }
        self.decisions
    }
}

/// A place among so many, if there is any.
fn choose_place(bytes: &mut Unstructured<'_>, places: usize) -> Result<Option<usize>> {
    if places == 0 { Ok(None) } else { bytes.choose_index(places).map(Some) }
}

/// The balancer with the defaults of its program, as a scenario has them, where scenarios take it.
fn base(entry: &CatalogueEntry) -> Program {
    if entry.program == "haproxy" {
        let method = HaproxyMethod::by_name(entry.name).expect("in the catalogue");
        return Program::HaProxy(HaproxyConfig::new(method, Vec::new()));
    }
    if let Some(method) = ProxyMethod::by_name(entry.program, entry.name) {
        let (max_tries, ejection) = (ProxyConfig::MAX_TRIES, ProxyConfig::EJECTION);
        return Program::Proxy(ProxyConfig {
            method,
            servers: Vec::new(),
            max_tries,
            retry_budget: RetryBudget::Unlimited,
            per_try_timeout: SimDuration::ZERO,
            ejection,
            outlier_detection: None,
            clock_phase: SimDuration::ZERO,
            panic_threshold: 0.0,
            subset: Subset::All,
            cookie: None,
        });
    }
    let scenario = format!(
        "title = \"t\"\nduration = \"1s\"\n[[scripted_client]]\nname = \"c\"\naddress = \"192.0.2.1\"\n\
         connections = [{{ at = \"0s\", hold = \"0s\" }}]\n[cluster]\n\
         servers = [{{ name = \"a\", address = \"10.0.0.1:80\" }}]\ncapacity = {{ workers = 1, service = \"1s\" }}\n\
         [[strategy]]\nname = \"s\"\nsession = {{ local = {{}} }}\nbalancer = \"{}\"\n",
        entry.scenario_name
    );
    let loaded = parse("exercise.toml", &scenario, &Overrides::default()).expect("a scenario");
    loaded.scenario.strategies[0].tier.program.clone()
}

/// Servers that are out or have no weight are `down`; one at least is no backup.
fn with_nginx_servers(
    mut config: NginxConfig,
    servers: &[Known],
    bytes: &mut Unstructured<'_>,
) -> Result<NginxConfig> {
    config.servers.clear();
    let (takes_backup, takes_max_conns) = (config.method.takes_backup(), config.method.takes_max_conns());
    let takes_sticky = config.method.takes_sticky();
    // A server that drains keeps those whose cookie names it.
    let drains = takes_sticky && bytes.ratio(1, 2)?;
    if drains {
        config.version = NginxVersion::STICKY;
        config.sticky = Some(StickyCookie { name: "route".into(), expires: None });
    }
    for (index, known) in servers.iter().enumerate() {
        config.servers.push(NginxServer {
            address: format!("10.0.0.{index}:80"),
            weight: known.weight.max(1),
            down: known.weight == 0 || known.out && !drains,
            drain: known.weight > 0 && known.out && drains,
            max_fails: bytes.int_in_range(0..=2)?,
            fail_timeout_s: bytes.int_in_range(0..=3)?,
            max_conns: if takes_max_conns && bytes.ratio(1, 4)? { bytes.int_in_range(1..=3)? } else { 0 },
            backup: index > 0 && takes_backup && bytes.ratio(1, 6)?,
            absent: false,
        });
    }
    config.workers = bytes.int_in_range(1..=3)?;
    config.zone = bytes.arbitrary()?;
    let lists = ["off", "error timeout", "error timeout http_503 http_404 non_idempotent"];
    config.next_upstream = bytes.choose(&lists)?.parse().expect("conditions");
    config.next_upstream_tries = bytes.int_in_range(0..=3)?;
    config.next_upstream_timeout = SimDuration::from_secs(bytes.int_in_range(0..=2)?);
    Ok(config)
}

fn with_haproxy_servers(
    mut config: HaproxyConfig,
    servers: &[Known],
    bytes: &mut Unstructured<'_>,
) -> Result<HaproxyConfig> {
    let hash_types =
        ["map-based", "consistent", "consistent djb2", "map-based wt6 avalanche", "map-based crc32"];
    let hash_type = HashType::parse(bytes.choose(&hash_types)?).expect("a hash type");
    let balance_factor = if bytes.ratio(1, 4)? { bytes.int_in_range(101..=200)? } else { 0 };
    let balance = match config.method.name() {
        "random" => "random(3)",
        "url_param" => "url_param ",
        name => name,
    };
    let options = HashOptions { hash_type, balance_factor };
    if let Ok(method) = HaproxyMethod::configure(balance, options, 2) {
        config.method = method;
    }
    for (index, known) in servers.iter().enumerate() {
        let mut line = HaproxyLine::new(index as u32 + 1);
        line.server.weight = known.weight;
        line.server.disabled = known.out;
        line.server.maxconn = if bytes.ratio(1, 3)? { bytes.int_in_range(1..=3)? } else { 0 };
        line.server.backup = bytes.ratio(1, 8)?;
        line.cookie = bytes.ratio(3, 4)?.then(|| vec![b'a' + index as u8 % 5].into());
        line.check = bytes.ratio(1, 3)?.then(HaproxyCheck::default);
        line.non_stick = bytes.ratio(1, 8)?;
        config.servers.push(line);
    }
    config.allbackups = bytes.arbitrary()?;
    config.retries = bytes.int_in_range(0..=4)?;
    config.redispatch = *bytes.choose(&[None, Some(-1), Some(0), Some(1), Some(2), Some(-9)])?;
    let retry_on = ["none", "conn-failure", "all-retryable-errors 404"];
    config.retry_on = bytes.choose(&retry_on)?.parse().expect("conditions");
    let cookies = [None, Some(CookieMode::Insert { preserve: false }), Some(CookieMode::Rewrite)];
    config.cookie = *bytes.choose(&cookies)?;
    config.persist = bytes.arbitrary()?;
    if bytes.ratio(1, 3)? {
        let keys = [StickKey::Ip, StickKey::Ipv6, StickKey::Bytes { len: 2 }];
        let table = StickTableConfig {
            key: *bytes.choose(&keys)?,
            size: bytes.int_in_range(1..=4)?,
            expire: SimDuration::from_secs(bytes.int_in_range(0..=60)?),
            nopurge: bytes.arbitrary()?,
        };
        let sources = [StickSource::Address, StickSource::Sample];
        let rule = StickRule {
            matches: bytes.arbitrary()?,
            stores: *bytes.choose(&[None, Some(StoreAt::Request), Some(StoreAt::Response)])?,
            key: *bytes.choose(&sources)?,
        };
        config.stick = Some(StickConfig { table, rules: vec![rule] });
    }
    Ok(config)
}

/// Gives each option a value within its limits, not far above the lowest: a table of millions of places exercises nothing more.
struct Chooser<'b, 'a> {
    bytes: &'b mut Unstructured<'a>,
    failed: Result<()>,
}

impl Chooser<'_, '_> {
    fn from(&mut self, min: u32, max: u32) -> u32 {
        self.bytes.int_in_range(min..=max.min(min.saturating_add(200))).unwrap_or_else(|error| {
            self.failed = Err(error);
            min
        })
    }
}

impl OptionVisitor for Chooser<'_, '_> {
    fn whole(&mut self, _name: &'static str, value: &mut u32, min: u32, max: u32) {
        *value = self.from(min, max);
    }

    fn prime(&mut self, _name: &'static str, value: &mut u32, max: u32) {
        let least = self.from(2, max);
        *value = (least..=max).find(|&number| is_prime(number)).unwrap_or(2);
    }

    fn number(&mut self, _name: &'static str, value: &mut f64, min: f64, max: f64) {
        *value = (min + f64::from(self.from(0, 20)) / 10.0).min(max);
    }

    fn duration(&mut self, _name: &'static str, value: &mut SimDuration, min: SimDuration) {
        *value = min + SimDuration::from_millis(u64::from(self.from(0, 200)) * 100);
    }

    fn limit(&mut self, _name: &'static str, value: &mut Option<SimDuration>, min: SimDuration) {
        let steps = u64::from(self.from(0, 200));
        *value = (steps > 0).then(|| min + SimDuration::from_millis(steps * 100));
    }

    fn word(&mut self, _name: &'static str, value: &mut usize, words: &'static [&'static str]) {
        *value = self.from(0, words.len() as u32 - 1) as usize;
    }

    fn flag(&mut self, _name: &'static str, value: &mut bool) {
        *value = self.from(0, 1) == 1;
    }
}

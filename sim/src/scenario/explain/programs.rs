//! The options of a strategy's program.

use super::{Document, duration, key, list, or_none, seconds, text};
use crate::balancer::haproxy::{HaproxyMethod, HashFunction, HashType};
use crate::balancer::lvs::SchedulerFlags;
use crate::balancer::{Balancer, OptionVisitor};
use crate::engine::SimDuration;
use crate::health::OutlierDetection;
use crate::health::haproxy::Observe;
use crate::scenario::Keys;
use crate::tier::haproxy::{CookieMode, HaproxyConfig, RetryOn, StickKey, StickRule, StickSource, StoreAt};
use crate::tier::lvs::{Forwarding, LvsConfig, TemplateScope};
use crate::tier::nginx::{NextUpstream, NginxConfig, StickyCookie};
use crate::tier::proxy::{ProxyConfig, RetryBudget, Subset};

/// The options of an nginx.
pub(super) fn show_nginx(d: &mut Document, config: &NginxConfig, keys: &Keys, names: &[&str]) {
    // Options are shown to be changed, so what is shown is a copy.
    config.method.clone().options(d);
    d.line("version", text(config.version.name()));
    let sticky = or_none(config.sticky.as_ref(), |StickyCookie { name, expires }| {
        format!("{{ cookie = {}, expires = {} }}", text(name), or_none(*expires, duration))
    });
    d.line("sticky", sticky);
    if let Some(key) = &keys.hash {
        d.line("key", text(key.text()));
    }
    d.line("proxy_next_upstream", text(&next_upstream(config.next_upstream)));
    d.line("proxy_next_upstream_tries", config.next_upstream_tries);
    d.line("proxy_next_upstream_timeout", duration(config.next_upstream_timeout));
    d.line("proxy_connect_timeout", duration(config.connect_timeout));
    d.line("proxy_read_timeout", duration(config.read_timeout));
    d.line("worker_processes", config.workers);
    d.line("zone", config.zone);
    for (&server, options) in names.iter().zip(&config.servers) {
        let value = format!(
            "{{ weight = {}, max_fails = {}, fail_timeout = {}, max_conns = {}, down = {}, drain = {}, backup = {} }}",
            options.weight,
            options.max_fails,
            seconds(options.fail_timeout_s),
            options.max_conns,
            options.down,
            options.drain,
            options.backup
        );
        d.line(&format!("servers.{}", key(server)), value);
    }
}

fn next_upstream(next: NextUpstream) -> String {
    let statuses = NextUpstream::STATUSES.iter().zip(next.statuses);
    let statuses = statuses.filter(|(_, listed)| *listed).map(|(code, _)| format!("http_{code}"));
    let words = [(next.error, "error"), (next.timeout, "timeout"), (next.non_idempotent, "non_idempotent")];
    let words = words.into_iter().filter(|(listed, _)| *listed).map(|(_, word)| word.to_owned());
    let all: Vec<_> = words.chain(statuses).collect();
    if all.is_empty() { "off".into() } else { all.join(" ") }
}

/// The options of a director.
pub(super) fn show_lvs(d: &mut Document, config: &LvsConfig, names: &[&str]) {
    let timeouts = config.timeouts;
    for service in &config.services {
        let scheduler = service.scheduler.name();
        if !SchedulerFlags::names(scheduler).is_empty() {
            let flags: Vec<_> = service.scheduler_flags.set_names(scheduler).map(text).collect();
            d.line("flags", format!("[{}]", flags.join(", ")));
        }
        d.line("persistence_timeout", or_none(service.persistence_timeout, duration));
        if service.persistence_timeout.is_some() {
            let (v4, v6) = (service.persistence_prefix_v4, service.persistence_prefix_v6);
            d.line("persistence_granularity", format!("{{ v4 = \"/{v4}\", v6 = {v6} }}"));
        }
    }
    let [tcp, tcp_fin, udp] = [timeouts.tcp, timeouts.tcp_fin, timeouts.udp].map(duration);
    d.line("timeouts", format!("{{ tcp = {tcp}, tcp_fin = {tcp_fin}, udp = {udp} }}"));
    let forwarding = match config.forwarding {
        Forwarding::Nat => "nat",
        Forwarding::Dr => "dr",
        Forwarding::Tun => "tun",
    };
    d.line("forwarding", text(forwarding));
    let scope = config.services.first().map_or(TemplateScope::Port, |service| service.template_scope);
    let scope = match scope {
        TemplateScope::Port => "port",
        TemplateScope::AllPorts => "all_ports",
        TemplateScope::FirewallMark(_) => "firewall_mark",
    };
    d.line("virtual_service", text(scope));
    d.line("expire_nodest_conn", config.sysctl.expire_nodest_conn);
    d.line("expire_quiescent_template", config.sysctl.expire_quiescent_template);
    d.line("conn_reuse_mode", config.sysctl.conn_reuse_mode);
    d.line("sloppy_tcp", config.sysctl.sloppy_tcp);
    for service in &config.services {
        for (&server, options) in names.iter().zip(&service.servers) {
            let value = format!(
                "{{ weight = {}, u_threshold = {}, l_threshold = {} }}",
                options.weight, options.upper_threshold, options.lower_threshold
            );
            d.line(&format!("servers.{}", key(server)), value);
        }
    }
}

/// The options of an HAProxy.
pub(super) fn show_haproxy(d: &mut Document, config: &HaproxyConfig, keys: &Keys, names: &[&str]) {
    if let Some(options) = config.method.hash_options() {
        let HashType { consistent, function, avalanche } = options.hash_type;
        let name = HashFunction::NAMES.iter().find(|(_, of)| *of == function).map_or("", |(name, _)| name);
        let words = [if consistent { "consistent" } else { "map-based" }, name];
        let words = words.into_iter().chain(avalanche.then_some("avalanche"));
        d.line("hash-type", text(&words.collect::<Vec<_>>().join(" ")));
        d.line("hash-balance-factor", options.balance_factor);
    }
    show_balance(d, &config.method, keys);
    d.line("allbackups", config.allbackups);
    d.line("retries", config.retries);
    match config.redispatch {
        Some(interval) if interval > 0 => d.line("redispatch", interval),
        redispatch => d.line("redispatch", redispatch.is_some()),
    }
    d.line("timeout_connect", duration(config.connect_timeout));
    let times = [
        ("timeout_queue", config.queue_timeout),
        ("timeout_server", config.server_timeout),
        ("slowstart", config.slowstart),
    ];
    for (key, time) in times {
        if !time.is_zero() {
            d.line(key, duration(time));
        }
    }
    if config.fullconn != 0 {
        d.line("fullconn", config.fullconn);
    }
    d.line("retry-on", text(&retry_on(&config.retry_on)));
    d.line("cookie", text(&cookie(config)));
    d.line("persist", config.persist);
    for (word, condition) in keys.persistence.named() {
        if let Some(condition) = condition {
            d.line(word, text(&condition.to_string()));
        }
    }
    if let Some(stick) = &config.stick {
        let table = stick.table;
        let kind = match table.key {
            StickKey::Ip => "\"ip\"".to_owned(),
            StickKey::Ipv6 => "\"ipv6\"".to_owned(),
            StickKey::Bytes { len } => format!("\"string\", len = {len}"),
        };
        let (size, expire) = (table.size, duration(table.expire));
        let value =
            format!("{{ type = {kind}, size = {size}, expire = {expire}, nopurge = {} }}", table.nopurge);
        d.line("stick-table", value);
        let sample = keys.stick.as_ref().map_or("", |key| key.text());
        let rules = stick.rules.iter().map(|rule| text(&stick_rule(rule, sample)));
        d.line("stick", list(rules));
    }
    if let Some(check) = config.servers.first().and_then(|line| line.check) {
        let mut value = format!("{{ inter = {}", duration(check.inter));
        let times = [
            ("fastinter", check.fastinter),
            ("downinter", check.downinter),
            ("timeout_check", check.timeout_check),
        ];
        for (key, time) in times {
            value += &time.map_or_else(String::new, |time| format!(", {key} = {}", duration(time)));
        }
        value += &format!(", httpchk = {}, rise = {}, fall = {}", check.httpchk, check.rise, check.fall);
        if check.observe != Observe::Nothing {
            let (observe, on_error) = (text(check.observe.word()), text(check.on_error.word()));
            value +=
                &format!(", observe = {observe}, on-error = {on_error}, error-limit = {}", check.error_limit);
        }
        value += " }";
        d.line("check", value);
    }
    for (&server, line) in names.iter().zip(&config.servers) {
        let options = line.server;
        let value = format!(
            "{{ weight = {}, id = {}, backup = {}, disabled = {}, maxconn = {}, minconn = {}, maxqueue = {} }}",
            options.weight,
            options.id,
            options.backup,
            options.disabled,
            options.maxconn,
            options.minconn,
            options.maxqueue
        );
        d.line(&format!("servers.{}", key(server)), value);
    }
}

fn retry_on(retry_on: &RetryOn) -> String {
    let words = [
        (retry_on.conn_failure, "conn-failure"),
        (retry_on.empty_response, "empty-response"),
        (retry_on.response_timeout, "response-timeout"),
    ];
    let words = words.into_iter().filter(|(listed, _)| *listed).map(|(_, word)| word.to_owned());
    let statuses = RetryOn::STATUSES.iter().filter(|status| retry_on.lists(**status)).map(u16::to_string);
    let all: Vec<_> = words.chain(statuses).collect();
    if all.is_empty() { "none".into() } else { all.join(" ") }
}

fn cookie(config: &HaproxyConfig) -> String {
    let mut words = match config.cookie {
        None => "none",
        Some(CookieMode::Insert { .. }) => "insert",
        Some(CookieMode::Prefix) => "prefix",
        Some(CookieMode::Rewrite) => "rewrite",
    }
    .to_owned();
    if config.cookie_postonly {
        words += " postonly";
    }
    for (word, time) in [("maxidle", config.cookie_life.idle), ("maxlife", config.cookie_life.total)] {
        words += &time.map_or_else(String::new, |time| format!(" {word} {time}"));
    }
    words
}

fn stick_rule(rule: &StickRule, sample: &str) -> String {
    let word = match (rule.matches, rule.stores) {
        (_, Some(StoreAt::Response)) => return "store-response res.cook(sid)".into(),
        (true, Some(StoreAt::Request)) => "on",
        (false, Some(StoreAt::Request)) => "store-request",
        (_, None) => "match",
    };
    let of = if rule.key == StickSource::Address { "src" } else { sample };
    format!("{word} {of}")
}

/// The arguments of `balance`.
fn show_balance(d: &mut Document, method: &HaproxyMethod, keys: &Keys) {
    let key = keys.hash.as_ref().map_or("", |key| key.text());
    match method {
        HaproxyMethod::Random(random) => {
            d.line("draws", random.draws());
            d.line("hash-balance-factor", random.balance_factor());
        }
        HaproxyMethod::Uri(uri) => {
            let part = uri.part();
            d.line("whole", part.whole);
            d.line("path-only", part.path_only);
            for (key, number) in [("len", part.len), ("depth", part.depth)] {
                if let Some(number) = number {
                    d.line(key, number);
                }
            }
        }
        HaproxyMethod::UrlParam(param) => d.line("name", text(param.name())),
        HaproxyMethod::Hdr(hdr) => {
            let name = key.split_once('(').map_or("", |(_, rest)| rest.trim_end_matches(')'));
            d.line("name", text(name));
            d.line("use_domain_only", hdr.uses_domain_only());
        }
        HaproxyMethod::Hash(_) => d.line("sample", text(key)),
        _ => {}
    }
}

/// The options of a proxy of no particular program.
pub(super) fn show_proxy(d: &mut Document, config: &ProxyConfig, names: &[&str]) {
    // Options are shown to be changed, so what is shown is a copy.
    config.method.clone().options(d);
    d.line("max_tries", config.max_tries);
    match config.retry_budget {
        RetryBudget::Unlimited => d.line("max_retries", "\"none\""),
        RetryBudget::AtATime(most) => d.line("max_retries", most),
        RetryBudget::Share { percent, at_least } => d.line(
            "retry_budget",
            format!("{{ budget_percent = {percent:?}, min_retry_concurrency = {at_least} }}"),
        ),
        RetryBudget::Ratio { ratio, per_second, ttl } => d.line(
            "retry_budget",
            format!(
                "{{ retry_ratio = {ratio:?}, min_retries_per_second = {per_second}, ttl = {} }}",
                duration(ttl)
            ),
        ),
    }
    let per_try = Some(config.per_try_timeout).filter(|timeout| !timeout.is_zero());
    d.line("per_try_timeout", or_none(per_try, duration));
    d.line("ejection_failures", config.ejection.failures);
    d.line("ejection_time", duration(config.ejection.time));
    d.line("outlier_detection", or_none(config.outlier_detection, outlier_detection));
    d.line("healthy_panic_threshold", format!("{:?}", config.panic_threshold));
    let subset = match config.subset {
        Subset::All => "\"all\"".to_owned(),
        Subset::Deterministic { size } => format!("{{ deterministic = {{ size = {size} }} }}"),
        Subset::Random { size } => format!("{{ random = {{ size = {size} }} }}"),
    };
    d.line("subset", subset);
    let cookie = or_none(config.cookie, |life| format!("{{ ttl = {} }}", or_none(life.idle, duration)));
    d.line("cookie", cookie);
    for (&server, options) in names.iter().zip(&config.servers) {
        d.line(&format!("servers.{}", key(server)), format!("{{ weight = {} }}", options.weight));
    }
}

fn outlier_detection(rule: OutlierDetection) -> String {
    let success_rate = or_none(rule.success_rate, |rate| {
        format!(
            "{{ minimum_hosts = {}, request_volume = {}, stdev_factor = {} }}",
            rate.minimum_hosts, rate.request_volume, rate.stdev_factor
        )
    });
    format!(
        "{{ consecutive_5xx = {}, consecutive_gateway_failure = {}, interval = {}, base_ejection_time = {}, \
         max_ejection_time = {}, max_ejection_percent = {}, always_eject_one_host = {}, success_rate = {success_rate} }}",
        rule.consecutive_5xx,
        rule.consecutive_gateway_failure,
        duration(rule.interval),
        duration(rule.base_ejection_time),
        duration(rule.max_ejection_time),
        rule.max_ejection_percent,
        rule.always_eject_one_host,
    )
}

impl OptionVisitor for Document {
    fn whole(&mut self, name: &'static str, value: &mut u32, _min: u32, _max: u32) {
        self.line(name, *value);
    }

    fn prime(&mut self, name: &'static str, value: &mut u32, _max: u32) {
        self.line(name, *value);
    }

    fn number(&mut self, name: &'static str, value: &mut f64, _min: f64, _max: f64) {
        self.line(name, format!("{value:?}"));
    }

    fn duration(&mut self, name: &'static str, value: &mut SimDuration, _min: SimDuration) {
        self.line(name, duration(*value));
    }

    fn limit(&mut self, name: &'static str, value: &mut Option<SimDuration>, _min: SimDuration) {
        self.line(name, or_none(*value, duration));
    }

    fn word(&mut self, name: &'static str, value: &mut usize, words: &'static [&'static str]) {
        self.line(name, text(words[*value]));
    }

    fn flag(&mut self, name: &'static str, value: &mut bool) {
        self.line(name, *value);
    }
}

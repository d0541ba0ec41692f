//! The layer 7 proxy of no particular program: its algorithm's options and its own.

use super::Site;
use super::balancer::per_server;
use super::cluster::{ReadServer, WEIGHT_MAX};
use super::options::{limit, read_options};
use crate::balancer::{CookieLife, entry};
use crate::engine::SimDuration;
use crate::health::{OutlierDetection, SuccessRate};
use crate::scenario::section::{Item, Section};
use crate::scenario::{Keys, Program};
use crate::tier::proxy::{Ejection, ProxyConfig, ProxyMethod, ProxyServer, RetryBudget, Subset, TRIES_MAX};

/// How a firewall chooses among several instances behind it.
const WAF_METHOD: &str = "modern.random";
/// Envoy's own `healthy_panic_threshold` \[percent\].
const ENVOY_PANIC: f64 = 50.0;

/// A proxy with `method`, and the options that all proxies have.
pub(super) fn proxy(s: &mut Section<'_>, mut method: ProxyMethod, site: &Site<'_>) -> Option<ProxyConfig> {
    let all_good = read_options(s, &mut method);
    let max_tries = s.optional("max_tries", ProxyConfig::MAX_TRIES, |item| {
        item.integer(1, TRIES_MAX.into()).map(|number| number as u32)
    });
    let retry_budget = retry_budget(s, matches!(method, ProxyMethod::Envoy(_)));
    let per_try_timeout = s.optional("per_try_timeout", SimDuration::ZERO, |item| {
        item.or_none(Item::duration_above_zero).map(Option::unwrap_or_default)
    });
    let rule = ProxyConfig::EJECTION;
    let failures = s.optional("ejection_failures", rule.failures, |item| item.u32_at_least(0));
    let time = s.optional("ejection_time", rule.time, |item| item.duration_above_zero());
    let outlier_detection = s.optional("outlier_detection", None, |item| outlier_detection(&item));
    let calm = if matches!(method, ProxyMethod::Envoy(_)) { ENVOY_PANIC } else { 0.0 };
    let panic_threshold = s.optional("healthy_panic_threshold", calm, |item| percentage(&item));
    let subset = s.optional("subset", Subset::All, |item| subset(&item, site.servers.map(<[_]>::len)));
    let cookie = s.optional("cookie", None, |item| cookie(&item));
    let own = per_server(s, site.names)?;
    let read = site.servers?.iter().enumerate().map(|(place, server)| {
        let item = own.iter().find(|(at, _)| *at == place).map(|(_, item)| item);
        proxy_server(item, server)
    });
    let read: Vec<_> = read.collect();
    let servers = read.into_iter().collect::<Option<Vec<_>>>()?;
    let ejection = Ejection { failures: failures?, time: time? };
    let (max_tries, panic_threshold, subset, cookie) = (max_tries?, panic_threshold?, subset?, cookie?);
    let outlier_detection = outlier_detection?;
    all_good.then_some(ProxyConfig {
        method,
        servers,
        max_tries,
        retry_budget: retry_budget?,
        per_try_timeout: per_try_timeout?,
        ejection,
        outlier_detection,
        clock_phase: SimDuration::ZERO,
        panic_threshold,
        subset,
        cookie,
    })
}

/// `waf`: a firewall that ends connections, looks at requests, and sends each on: to any of the next tier's instances, once.
pub(super) fn waf_in_proxy_mode(item: &Item<'_>, site: &Site<'_>) -> Option<(String, Program, Keys)> {
    let section = item.section("an empty table: write `waf = {}`")?;
    section.finish();
    let method = entry(WAF_METHOD)?;
    let servers =
        site.servers?.iter().map(|server| proxy_server(None, server)).collect::<Option<Vec<_>>>()?;
    let config = ProxyConfig {
        method: ProxyMethod::by_name(method.program, method.name)?,
        servers,
        max_tries: 1,
        ejection: Ejection { failures: 0, ..ProxyConfig::EJECTION },
        outlier_detection: None,
        clock_phase: SimDuration::ZERO,
        panic_threshold: 0.0,
        subset: Subset::All,
        cookie: None,
        per_try_timeout: SimDuration::ZERO,
        retry_budget: RetryBudget::Unlimited,
    };
    Some((WAF_METHOD.to_owned(), Program::Proxy(config), Keys::default()))
}

/// `max_retries`, or `retry_budget` as Envoy or Linkerd spells it.
fn retry_budget(s: &mut Section<'_>, of_envoy: bool) -> Option<RetryBudget> {
    let most = s.take("max_retries");
    let Some(item) = s.take("retry_budget") else {
        let default = if of_envoy { RetryBudget::ENVOY } else { RetryBudget::Unlimited };
        let Some(most) = most else { return Some(default) };
        let most = most.or_none(|item| item.u32_at_least(0))?;
        return Some(most.map_or(RetryBudget::Unlimited, RetryBudget::AtATime));
    };
    if let Some(most) = most {
        let help = "leave out one of the two; Envoy looks at `max_retries` only without a `retry_budget`";
        most.error_with_help("`max_retries` beside a `retry_budget` would not count".into(), help);
        return None;
    }
    let mut section = item.section("a table such as { budget_percent = 20 } or { retry_ratio = 0.2 }")?;
    let s = &mut section;
    let of_linkerd = ["retry_ratio", "min_retries_per_second", "ttl"].iter().any(|key| s.take(key).is_some());
    let budget = if of_linkerd {
        linkerd_budget(s)
    } else {
        let percent = s.optional("budget_percent", 20.0, |item| percentage(&item));
        let at_least = s.optional("min_retry_concurrency", 3, |item| item.u32_at_least(0));
        percent.zip(at_least).map(|(percent, at_least)| RetryBudget::Share { percent, at_least })
    };
    section.finish();
    budget
}

/// Linkerd's, with its own defaults.
fn linkerd_budget(s: &mut Section<'_>) -> Option<RetryBudget> {
    let ratio = s.optional("retry_ratio", 0.2, |item| {
        let ratio = item.number_at_least(0.0)?;
        if ratio > 1_000.0 {
            item.error(format!("`retry_ratio` must be at most 1000, got {}", item.got()));
            return None;
        }
        Some(ratio)
    });
    let per_second = s.optional("min_retries_per_second", 10, |item| item.u32_at_least(0));
    let ttl = s.optional("ttl", SimDuration::from_secs(10), |item| {
        let ttl = item.duration()?;
        if !(SimDuration::from_secs(1)..=SimDuration::from_secs(60)).contains(&ttl) {
            item.error(format!("`ttl` must be 1s to 1min, got {}", item.got()));
            return None;
        }
        Some(ttl)
    });
    Some(RetryBudget::Ratio { ratio: ratio?, per_second: per_second?, ttl: ttl? })
}

fn percentage(item: &Item<'_>) -> Option<f64> {
    let percent = item.number_at_least(0.0)?;
    if percent > 100.0 {
        item.error(format!("`{}` is a percentage, at most 100, got {}", item.key, item.got()));
        return None;
    }
    Some(percent)
}

/// `outlier_detection`: Envoy's options, or `"none"`.
fn outlier_detection(item: &Item<'_>) -> Option<Option<OutlierDetection>> {
    if item.text() == Some("none") {
        return Some(None);
    }
    let mut section = item.section("a table such as { consecutive_5xx = 5 }, which may be empty")?;
    let s = &mut section;
    let of = OutlierDetection::default();
    let count = |item: Item<'_>| item.u32_at_least(0);
    let long = |item: Item<'_>| item.duration_above_zero();
    let consecutive_5xx = s.optional("consecutive_5xx", of.consecutive_5xx, count);
    let gateway = s.optional("consecutive_gateway_failure", of.consecutive_gateway_failure, count);
    let interval = s.optional("interval", of.interval, long);
    let base = s.optional("base_ejection_time", of.base_ejection_time, long);
    let max = s.optional("max_ejection_time", of.max_ejection_time, long);
    let percent = s.optional("max_ejection_percent", of.max_ejection_percent, |item| {
        item.integer(0, 100).map(|percent| percent as u32)
    });
    let one = s.optional("always_eject_one_host", of.always_eject_one_host, |item| item.boolean());
    let success_rate = s.optional("success_rate", of.success_rate, |item| success_rate(&item));
    section.finish();
    Some(Some(OutlierDetection {
        consecutive_5xx: consecutive_5xx?,
        consecutive_gateway_failure: gateway?,
        interval: interval?,
        base_ejection_time: base?,
        max_ejection_time: max?,
        max_ejection_percent: percent?,
        always_eject_one_host: one?,
        success_rate: success_rate?,
    }))
}

/// `success_rate`: `{ minimum_hosts = 5, request_volume = 100, stdev_factor = 1900 }`, or `"none"`.
fn success_rate(item: &Item<'_>) -> Option<Option<SuccessRate>> {
    if item.text() == Some("none") {
        return Some(None);
    }
    let mut section = item.section("a table such as { request_volume = 100 }, which may be empty")?;
    let (s, of) = (&mut section, SuccessRate::default());
    let minimum_hosts = s.optional("minimum_hosts", of.minimum_hosts, |item| item.u32_at_least(0));
    let request_volume = s.optional("request_volume", of.request_volume, |item| item.u32_at_least(0));
    let stdev_factor = s.optional("stdev_factor", of.stdev_factor, |item| item.u32_at_least(0));
    section.finish();
    Some(Some(SuccessRate {
        minimum_hosts: minimum_hosts?,
        request_volume: request_volume?,
        stdev_factor: stdev_factor?,
    }))
}

/// `subset`: `{ deterministic = { size = n } }`, `{ random = { size = n } }`, or `"all"`.
fn subset(item: &Item<'_>, servers: Option<usize>) -> Option<Subset> {
    if item.text() == Some("all") {
        return Some(Subset::All);
    }
    let kind = item
        .section("a table such as { deterministic = { size = 10 } }")?
        .single("subset", &["deterministic", "random"])?;
    let mut section = kind.section("a table such as { size = 10 }")?;
    // Of servers that could not be read the number is not known.
    let most = servers.map_or(u64::from(u16::MAX), |servers| servers as u64);
    let size = section.required("size", |item| item.integer(1, most).map(|size| size as u32));
    section.finish();
    let size = size?;
    Some(if kind.key == "random" { Subset::Random { size } } else { Subset::Deterministic { size } })
}

/// `cookie`: `{ ttl = time }`, or `"none"`.
fn cookie(item: &Item<'_>) -> Option<Option<CookieLife>> {
    if item.text() == Some("none") {
        return Some(None);
    }
    let mut section = item.section("a table such as { ttl = \"1h\" }, which may be empty")?;
    let ttl = section.optional("ttl", None, |item| limit(&item, SimDuration::from_secs(1)));
    section.finish();
    Some(Some(CookieLife { idle: ttl?, total: None }))
}

fn proxy_server(own: Option<&Item<'_>>, server: &ReadServer) -> Option<ProxyServer> {
    let address = server.address.clone();
    let Some(item) = own else { return Some(ProxyServer { address: address?, weight: server.weight? }) };
    let mut section = item.section("a table of the server's options")?;
    let weight = match section.take("weight") {
        Some(item) => item.integer(0, WEIGHT_MAX).map(|number| number as u32),
        None => server.weight,
    };
    section.finish();
    Some(ProxyServer { address: address?, weight: weight? })
}

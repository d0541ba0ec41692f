//! The tiers of a strategy.

use super::{Document, duration, list, or_none, programs, text};
use crate::balancer;
use crate::failover::vrrp::VrrpScript;
use crate::health::keepalived::CheckKind;
use crate::scenario::{
    CheckRule, DirectorPlan, FrontPlan, InstancePlan, PoolConfig, PoolPlan, Program, Strategy, TierPlan,
};
use crate::tier::nginx::NginxVersion;
use crate::tier::{DnsConfig, DnsOrder, EcmpConfig, EcmpHash};

/// Several tiers, front to back.
pub(super) fn show_tiers(d: &mut Document, strategy: &Strategy, servers: &[&str], comments: bool) {
    const PATH: &str = "strategy.tiers";
    let behind = strategy.fronts.iter().skip(1).map(FrontPlan::plan);
    for (place, (front, next)) in strategy.fronts.iter().zip(behind.chain([Some(&strategy.tier)])).enumerate()
    {
        d.header("[[strategy.tiers]]");
        match front {
            FrontPlan::Dns { config, tcp_check } => {
                d.line("dns", dns(config));
                show_check(d, PATH, *tcp_check, false);
            }
            FrontPlan::Ecmp { config, tcp_check } => {
                d.line("ecmp", ecmp(config));
                show_check(d, PATH, *tcp_check, false);
            }
            FrontPlan::Tier { balancer, plan } => {
                let seen = next.map_or(0, TierPlan::targets);
                let names = next.iter().flat_map(|next| &next.instances[..seen]);
                let names: Vec<&str> = names.map(|instance| instance.name.as_str()).collect();
                d.line("client_address", text(if plan.passes_address { "passed" } else { "hidden" }));
                d.line("addresses", plan.addresses);
                show_tier(d, PATH, strategy.fronts.len() - place, (balancer, plan), &names, comments);
            }
        }
    }
    d.header("[[strategy.tiers]]");
    show_tier(d, PATH, 0, (&strategy.balancer, &strategy.tier), servers, comments);
}

/// One tier, whose balancer and plan are `tier`, under the header `path`; `rank` counts tiers from the back.
pub(super) fn show_tier(
    d: &mut Document,
    path: &str,
    rank: usize,
    tier: (&str, &TierPlan),
    servers: &[&str],
    comments: bool,
) {
    let (balancer, plan) = tier;
    show_instances(d, balancer, rank, plan);
    if let Some(plan) = &plan.director {
        d.line("director", director(plan));
    }
    if plan.peers {
        d.line("peers", plan.peers);
    }
    let is_lvs = matches!(plan.program, Program::Lvs(_));
    if plan.tcp_check.is_some() && is_lvs {
        show_pool(d, path, &plan.pool, servers);
    }
    show_check(d, path, plan.tcp_check, is_lvs);
    d.header(&format!("[{path}.balancer.{balancer}]"));
    if let (true, Some(entry)) = (comments, balancer::entry(balancer)) {
        d.remark(entry.evidence.name());
        if let Program::Nginx(config) = &plan.program
            && (config.version != NginxVersion::default() || config.sticky.is_some())
        {
            d.remark("not recorded: what later versions than 1.22 do otherwise");
        }
    }
    match &plan.program {
        Program::Nginx(config) => programs::show_nginx(d, config, &plan.keys, servers),
        Program::Lvs(config) => programs::show_lvs(d, config, servers),
        Program::HaProxy(config) => programs::show_haproxy(d, config, &plan.keys, servers),
        Program::Proxy(config) => programs::show_proxy(d, config, servers),
    }
}

fn show_instances(d: &mut Document, balancer: &str, rank: usize, plan: &TierPlan) {
    let instances = &plan.instances;
    if *instances == InstancePlan::unnamed(balancer, rank, instances.len(), plan.addresses.into()) {
        return d.line("instances", instances.len());
    }
    let instances = instances.iter().map(|InstancePlan { name, address }| {
        format!("{{ name = {}, address = \"{address}\" }}", text(name))
    });
    d.line("instances", list(instances));
}

/// A check; `starts` says whether it is a keepalived that may start during a run.
fn show_check(d: &mut Document, path: &str, check: Option<CheckRule>, starts: bool) {
    let Some(check) = check else { return };
    let name = match check.kind {
        CheckKind::Tcp => "tcp_check",
        CheckKind::Http => "http_get",
    };
    d.header(&format!("[{path}.health.{name}]"));
    d.line("delay_loop", duration(check.delay_loop));
    d.line("connect_timeout", duration(check.connect_timeout));
    d.line("retry", check.retry);
    d.line("delay_before_retry", duration(check.delay_before_retry));
    if starts {
        d.line("warmup", duration(check.warmup.unwrap_or(check.delay_loop)));
        d.line("alpha", check.alpha);
    }
}

fn show_pool(d: &mut Document, path: &str, plan: &PoolPlan, servers: &[&str]) {
    let PoolConfig { quorum, hysteresis, sorry_server, inhibit_on_failure } = plan.config;
    d.header(&format!("[{path}.health]"));
    d.line("quorum", quorum);
    d.line("hysteresis", hysteresis);
    if let Some(server) = sorry_server {
        d.line("sorry_server", text(servers[server.index()]));
        d.line("sorry_status", or_none(plan.sorry_status, |status| status.to_string()));
    }
    d.line("inhibit_on_failure", inhibit_on_failure);
}

fn dns(config: &DnsConfig) -> String {
    let order = match config.order {
        DnsOrder::Cyclic => "cyclic",
        DnsOrder::Random => "random",
    };
    let DnsConfig { ttl, resolvers, zipf, ignore_ttl, ignored_for, tries, .. } = config;
    let [ttl, ignored_for] = [*ttl, *ignored_for].map(duration);
    format!(
        "{{ ttl = {ttl}, resolvers = {resolvers}, zipf = {zipf:?}, order = \"{order}\", ignore_ttl = {ignore_ttl:?}, \
         ignored_for = {ignored_for}, tries = {tries} }}"
    )
}

fn ecmp(config: &EcmpConfig) -> String {
    let hash = match config.hash {
        EcmpHash::Flow => "flow",
        EcmpHash::Address => "address",
    };
    format!("{{ hash = \"{hash}\", resilient = {} }}", config.resilient)
}

fn director(plan: &DirectorPlan) -> String {
    let DirectorPlan { version, priority: [master, backup], nopreempt, sync, .. } = plan;
    let [advert_int, preempt_delay] = [plan.advert_int, plan.preempt_delay].map(duration);
    let scripts = list(plan.track_script.iter().map(|script| {
        let VrrpScript { interval, timeout, rise, fall, weight } = *script;
        let [interval, timeout] = [interval, timeout.unwrap_or(interval)].map(duration);
        format!("{{ interval = {interval}, timeout = {timeout}, rise = {rise}, fall = {fall}, weight = {weight} }}")
    }));
    format!(
        "{{ vrrp = {{ version = {version}, advert_int = {advert_int}, priority = [{master}, {backup}], \
         nopreempt = {nopreempt}, preempt_delay = {preempt_delay}, sync = {sync}, track_script = {scripts} }} }}"
    )
}

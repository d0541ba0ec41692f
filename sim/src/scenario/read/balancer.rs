//! Which balancer a strategy has, and whose reader its options are given to.

use super::haproxy::haproxy;
use super::lvs::lvs;
use super::nginx::nginx;
use super::proxy::proxy;
use super::request::nginx_key;
use super::{Names, Site};
use crate::balancer::lvs::LvsScheduler;
use crate::balancer::nginx::NginxMethod;
use crate::balancer::{CatalogueEntry, entries, entry};
use crate::scenario::diagnostic::similar;
use crate::scenario::section::{Item, Section};
use crate::scenario::{Keys, Program};
use crate::tier::proxy::ProxyMethod;

/// Options that only one of the programs has, for a better answer than "unknown key".
const NGINX_ONLY: &[&str] = &[
    "max_fails",
    "fail_timeout",
    "max_conns",
    "proxy_next_upstream",
    "proxy_next_upstream_tries",
    "proxy_next_upstream_timeout",
    "proxy_connect_timeout",
    "proxy_read_timeout",
    "worker_processes",
    "zone",
    "down",
    "drain",
    "backup",
    "sticky",
    "version",
];
const LVS_ONLY: &[&str] = &[
    "flags",
    "persistence_timeout",
    "persistence_granularity",
    "timeouts",
    "forwarding",
    "expire_nodest_conn",
    "expire_quiescent_template",
    "conn_reuse_mode",
    "sloppy_tcp",
    "virtual_service",
    "u_threshold",
    "l_threshold",
];
/// Parameters of nginx's directives `hash` and `random`; those that make another method of it are balancers of their own.
const PARAMETERS: &[(&str, &str)] = &[
    ("key", "only nginx's hash methods have a key: `nginx.hash` and `nginx.hash_consistent`"),
    ("consistent", "the consistent hash is a balancer of its own: `nginx.hash_consistent`"),
    ("two", "`random two least_conn` is a balancer of its own: `nginx.random_two`"),
    (
        "least_conn",
        "it is a balancer of its own, `nginx.least_conn`, and part of another, `nginx.random_two`",
    ),
];

/// `balancer`: its scenario name and its configuration.
pub(super) fn balancer(item: &Item<'_>, site: &Site<'_>) -> Option<(String, Program, Keys)> {
    if let Some(name) = item.text() {
        let Some(entry) = entry(name) else {
            item.unknown("balancer", name, entries().map(|entry| entry.scenario_name));
            return None;
        };
        let (program, keys) = configure(entry, item.empty_section(), site)?;
        return Some((name.to_owned(), program, keys));
    }
    let mut section = item.section("a table such as { nginx.round_robin = {} }")?;
    let programs = section.entries();
    let [program] = programs.as_slice() else {
        let known = similar("balancer", "", entries().map(|entry| entry.scenario_name)).unwrap_or_default();
        let message = format!("`balancer` takes one balancer, got {}", programs.len());
        section.report().error_with_help(
            programs.get(1).map_or(section.span(), |second| second.key_span),
            message,
            known,
        );
        return None;
    };
    // `"nginx.ip_hash" = {}`, with the whole name as one key, reads the same as `nginx.ip_hash = {}`.
    if let Some(entry) = entry(program.key) {
        let (program, keys) = configure(entry, options(program)?, site)?;
        return Some((entry.scenario_name.to_owned(), program, keys));
    }
    let unknown = |span, name: &str| {
        let help = similar("name", name, entries().map(|entry| entry.scenario_name)).unwrap_or_default();
        item.report().error_with_help(span, format!("unknown balancer `{name}`"), help);
    };
    if program.is_scalar() {
        unknown(program.key_span, program.key);
        return None;
    }
    let mut methods = program.section("a table with the balancer's method")?;
    let methods = methods.entries();
    let [method] = methods.as_slice() else {
        let of_program =
            entries().filter(|entry| entry.program == program.key).map(|entry| entry.scenario_name);
        let of_program: Vec<_> = of_program.collect();
        if of_program.is_empty() {
            unknown(program.key_span, program.key);
        } else {
            let message = format!("`{}` takes one method, got {}", program.key, methods.len());
            let help = similar("balancer", "", of_program).unwrap_or_default();
            item.report().error_with_help(program.key_span, message, help);
        }
        return None;
    };
    let name = format!("{}.{}", program.key, method.key);
    let Some(entry) = entry(&name) else {
        unknown(program.key_span.to(method.key_span), &name);
        return None;
    };
    let (program, keys) = configure(entry, options(method)?, site)?;
    Some((name, program, keys))
}

/// The table of a balancer's options.
fn options<'a>(item: &Item<'a>) -> Option<Section<'a>> {
    item.section(&format!("a table of options: write `{} = {{}}`", item.key))
}

/// The configuration of a catalogue entry.
fn configure(entry: &CatalogueEntry, mut options: Section<'_>, site: &Site<'_>) -> Option<(Program, Keys)> {
    if entry.program == "haproxy" {
        let program = haproxy(&mut options, entry.name, site);
        let program = program.map(|(config, keys)| (Program::HaProxy(config), keys));
        options.finish();
        return program;
    }
    if let Some(method) = ProxyMethod::by_name(entry.program, entry.name) {
        let program = proxy(&mut options, method, site);
        let program = program.map(|config| (Program::Proxy(config), Keys::default()));
        options.finish();
        return program;
    }
    let is_nginx = entry.program == "nginx";
    refuse_foreign(&mut options, is_nginx, entry.scenario_name);
    let why = |key: &str| format!("`{key}` has no meaning with `{}`", entry.scenario_name);
    let method = if is_nginx { Some(NginxMethod::by_name(entry.name)?) } else { None };
    for (parameter, help) in PARAMETERS {
        if *parameter != "key" || !method.as_ref().is_some_and(NginxMethod::hashes_key) {
            options.refuse(&[parameter], why, help);
        }
    }
    let program = if let Some(method) = method {
        let hash = match method.hashes_key() {
            true => nginx_key(&mut options, site).map(Some),
            false => Some(None),
        };
        let config = nginx(&mut options, method, site);
        config.zip(hash).map(|(config, hash)| (Program::Nginx(config), Keys { hash, ..Keys::default() }))
    } else {
        let config = lvs(&mut options, LvsScheduler::by_name(entry.name)?, site);
        config.map(|config| (Program::Lvs(config), Keys::default()))
    };
    options.finish();
    program
}

/// Reports the options that belong to the other of nginx and LVS.
pub(super) fn refuse_foreign(section: &mut Section<'_>, is_nginx: bool, balancer: &str) {
    let (foreign, owner, help) = if is_nginx {
        (LVS_ONLY, "LVS", "what ties a client to a server in nginx is the method, such as `nginx.ip_hash`")
    } else {
        let help = "LVS does not watch its servers itself; keepalived does: `health = { tcp_check = {} }`";
        (NGINX_ONLY, "nginx", help)
    };
    section.refuse(foreign, |key| format!("`{key}` is an option of {owner}, not of `{balancer}`"), help);
}

/// The per-server options under `servers`, by the servers' places.
pub(super) fn per_server<'a>(options: &mut Section<'a>, names: &Names) -> Option<Vec<(usize, Item<'a>)>> {
    options.optional("servers", Vec::new(), |item| {
        let mut section = item.section("a table by the servers' names, such as { web2 = { weight = 2 } }")?;
        let found: Vec<_> =
            section.entries().into_iter().map(|item| Some((names.find_key(&item)?, item))).collect();
        found.into_iter().collect()
    })
}

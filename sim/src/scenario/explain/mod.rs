//! The resolved scenario as a scenario file: every default and preset filled in, in one order, so that reading it
//! gives the same scenario again and two files that mean the same come out the same.

mod faults;
mod fingerprint;
mod programs;
pub(super) mod session;
mod tiers;
mod traffic;
mod tried;

use std::fmt::{self, Write};

use crate::backend::{Capacity, Discipline};
use crate::engine::SimDuration;
use crate::population::replay::show_second;
use crate::population::{AddressPlan, SitePages};
use crate::session::OnUnknownId;
use crate::tier::{RequestFields, Value};

use self::traffic::{arrivals, show_visit};
use super::address_lines::address_lines;
pub use fingerprint::workload;
pub use session::{StoreOption, store_options};

use super::presets::{self, PresetEntry, PresetKind};
use super::quantity::{Quantity, show_distribution};
use super::{
    ClosedBy, ConnectionRules, Expectation, FaultKind, LogSource, Population, Precision, Scenario,
    ScriptedClient, Strategy, UserFile,
};

/// A scenario with every default filled in. It prints as a scenario file, with a comment at each preset.
#[derive(Clone, Debug)]
pub struct Resolved {
    scenario: Scenario,
    /// The presets of the populations' visits.
    visit_presets: Vec<Option<&'static PresetEntry>>,
}

impl Resolved {
    pub(super) fn new(scenario: Scenario, visit_presets: Vec<Option<&'static PresetEntry>>) -> Self {
        Self { scenario, visit_presets }
    }
}

impl fmt::Display for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&document(&self.scenario, Some(&self.visit_presets)))
    }
}

/// The text whose SHA-256 names a scenario: the explained document without comments, and without the names of visit
/// presets, whose figures it holds. Two files that resolve to the same scenario have the same text.
pub fn canonical(resolved: &Resolved) -> String {
    document(&resolved.scenario, None)
}

/// A TOML document being written: one key a line, tables under headers.
struct Document {
    text: String,
}

impl Document {
    fn line(&mut self, key: &str, value: impl fmt::Display) {
        writeln!(self.text, "{key} = {value}").expect("writing to a string");
    }

    fn header(&mut self, header: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        writeln!(self.text, "{header}").expect("writing to a string");
    }

    fn comment(&mut self, preset: &PresetEntry) {
        for text in [format!("{}: {}", preset.name, preset.summary), format!("source: {}", preset.source)] {
            self.remark(&text);
        }
    }

    fn remark(&mut self, text: &str) {
        writeln!(self.text, "# {text}").expect("writing to a string");
    }
}

/// A TOML string.
pub(super) fn text(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => write!(quoted, "\\u{:04X}", u32::from(c)).expect("writing to a string"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A TOML key.
pub(super) fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(bare) { name.into() } else { text(name) }
}

pub(super) fn duration(duration: SimDuration) -> String {
    format!("\"{duration}\"")
}

fn seconds(seconds: u64) -> String {
    duration(SimDuration::from_secs(seconds))
}

pub(super) fn or_none<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map_or_else(|| "\"none\"".into(), show)
}

pub(super) fn list(items: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", items.into_iter().collect::<Vec<_>>().join(", "))
}

fn document(scenario: &Scenario, visit_presets: Option<&[Option<&'static PresetEntry>]>) -> String {
    let mut document = Document { text: String::new() };
    let d = &mut document;
    d.line("title", text(&scenario.title));
    d.line("duration", scenario.duration.map_or_else(|| "\"log\"".into(), duration));
    d.line("warmup", if scenario.detect_warmup { text("detect") } else { duration(scenario.warmup) });
    d.line("replications", scenario.replications);
    d.line("seed", scenario.seed);
    if let Some(Precision { relative, metrics }) = &scenario.precision {
        let metrics = list(metrics.iter().map(|metric| text(&metric.name())));
        d.line("precision", format!("{{ relative = {relative:?}, metrics = {metrics} }}"));
    }
    d.line("vary", text(scenario.vary.name()));
    d.line("window", duration(scenario.window));
    show_clients(d, scenario, visit_presets);
    show_cluster(d, scenario);
    // The cluster shows what scales it.
    for fault in scenario.faults.iter().filter(|fault| fault.kind != FaultKind::Autoscaling) {
        faults::show_fault(d, fault, scenario);
    }
    for strategy in &scenario.strategies {
        show_strategy(d, strategy, scenario, visit_presets.is_some());
    }
    for expectation in &scenario.expectations {
        show_expectation(d, expectation, &scenario.strategies);
    }
    // What is tried beside the scenario does not make it another one.
    if visit_presets.is_some() {
        tried::show_sweep(d, scenario.sweep.as_ref());
        tried::show_advise(d, scenario.advise.as_ref());
    }
    document.text
}

fn show_clients(
    d: &mut Document,
    scenario: &Scenario,
    visit_presets: Option<&[Option<&'static PresetEntry>]>,
) {
    show_request(d, &scenario.request);
    session::show_life(d, &scenario.session);
    for (i, population) in scenario.populations.iter().enumerate() {
        show_population(d, population, visit_presets.map(|presets| presets.get(i).copied().flatten()));
    }
    for log in &scenario.logs {
        show_log(d, log);
    }
    for client in &scenario.scripted_clients {
        show_scripted_client(d, client, &scenario.strategies);
    }
}

/// The headers and parameters of requests, if there are any.
fn show_request(d: &mut Document, request: &RequestFields) {
    for (name, fields) in [("headers", &request.headers), ("params", &request.params)] {
        if fields.is_empty() {
            continue;
        }
        d.header(&format!("[request.{name}]"));
        for (field, value) in fields {
            let value = match value {
                Value::Client => text("client"),
                Value::Address => text("address"),
                Value::Page => text("page"),
                Value::Agent => text("agent"),
                Value::Text(always) => format!("{{ text = {} }}", text(always)),
                Value::OneOf(values) => format!("{{ values = {values} }}"),
            };
            d.line(&key(field), value);
        }
    }
}

/// `visit_preset` is `None` in the canonical text.
fn show_population(d: &mut Document, population: &Population, visit_preset: Option<Option<&PresetEntry>>) {
    d.header("[[population]]");
    d.line("name", text(&population.name));
    d.line("clients", population.clients);
    if population.users.is_none() {
        d.line("activity", show_distribution(&population.activity, Quantity::Count));
    }
    if let Some(plan) = population.traffic.arrivals() {
        d.line("arrivals", arrivals(plan));
    }
    let SitePages { count, zipf } = population.pages;
    d.line("pages", format!("{{ count = {count}, popularity = {{ zipf = {zipf:?} }} }}"));
    if let Some(UserFile { file, table }) = &population.users {
        let (file, sha256) = (text(&file.to_string_lossy()), text(table.sha256()));
        d.line("users", format!("{{ file = {file}, sha256 = {sha256} }}"));
    } else {
        d.header("[population.address]");
        show_address(d, &population.address, visit_preset.is_some());
    }
    if let Some(visit) = population.traffic.visit() {
        d.header("[population.visit]");
        if let Some(preset) = visit_preset.flatten() {
            d.comment(preset);
            d.line("preset", text(preset.name));
        }
        show_visit(d, visit, population.users.is_none());
    }
    d.header("[population.connection]");
    show_connection(d, population.connection);
}

fn show_address(d: &mut Document, address: &AddressPlan, comments: bool) {
    if let (true, Some(preset)) = (comments, presets::preset(PresetKind::Address, &address.preset)) {
        d.comment(preset);
    }
    for (key, value) in address_lines(address) {
        d.line(key, value);
    }
}

/// What a preset stands for, as a scenario would write it out: one key a line.
pub fn parameters(preset: &PresetEntry) -> String {
    let mut document = Document { text: String::new() };
    match preset.kind {
        PresetKind::Address => show_address(&mut document, &presets::address(preset.name), false),
        PresetKind::Visit => show_visit(&mut document, &presets::visit(preset.name), true),
        PresetKind::Population => show_audience(&mut document),
    }
    document.text
}

/// The parts of an audience, each by the preset of its addresses or its visits.
fn show_audience(d: &mut Document) {
    d.line("activity", show_distribution(&presets::ACTIVITY, Quantity::Count));
    for part in presets::PARTS {
        let what = if part.name == presets::CRAWLERS { "visit" } else { "address" };
        d.text.push_str(&format!("# {} % of the clients: ", part.percent));
        d.line(what, format!("{{ preset = {} }}", text(part.name)));
    }
}

fn on_unknown_id(behaviour: OnUnknownId) -> String {
    text(match behaviour {
        OnUnknownId::NewId => "new_id",
        OnUnknownId::AdoptId => "adopt_id",
    })
}

fn show_connection(d: &mut Document, rules: ConnectionRules) {
    d.line("keepalive_timeout", duration(rules.keepalive_timeout));
    d.line("keepalive_requests", rules.keepalive_requests);
    let closed_by = match rules.closed_by {
        ClosedBy::Client => "client",
        ClosedBy::Server => "server",
    };
    d.line("closed_by", text(closed_by));
    d.line("port", rules.port);
}

fn show_log(d: &mut Document, log: &LogSource) {
    d.header("[[log]]");
    d.line("name", text(&log.name));
    d.line("files", list(log.files.iter().map(|file| text(&file.to_string_lossy()))));
    if let Some(format) = &log.format {
        d.line("format", text(format.name()));
    }
    d.line("sessions_by", text(&log.sessions_by.to_string()));
    d.line("client_address", text(if log.forwarded { "forwarded" } else { "connection" }));
    if let Some(file) = &log.pseudonymise {
        d.line("pseudonymise", text(&file.to_string_lossy()));
    }
    for (key, second) in [("from", log.from), ("until", log.until)] {
        if let Some(second) = second {
            d.line(key, text(&show_second(second)));
        }
    }
    d.line("speed", format!("{:?}", log.speed));
    d.line("visit_gap", duration(log.visit_gap));
    d.line("reorder_window", duration(log.reorder_window));
    d.line("sessions", log.sessions);
    d.line("session_idle_timeout", duration(log.session_idle_timeout));
    d.line("on_unknown_id", on_unknown_id(log.on_unknown_id));
    d.header("[log.connection]");
    show_connection(d, log.connection);
}

fn show_scripted_client(d: &mut Document, client: &ScriptedClient, strategies: &[Strategy]) {
    d.header("[[scripted_client]]");
    d.line("name", text(&client.name));
    d.line("address", text(&client.address.to_string()));
    if let Some(places) = &client.strategies {
        d.line("strategies", list(places.iter().map(|&place| text(&strategies[place].name))));
    }
    d.text.push_str("connections = [\n");
    for connection in &client.connections {
        writeln!(d.text, "  {{ at = {}, hold = {} }},", duration(connection.at), duration(connection.hold))
            .expect("writing to a string");
    }
    d.text.push_str("]\n");
}

fn show_cluster(d: &mut Document, scenario: &Scenario) {
    d.header("[cluster]");
    let first = scenario.servers.first().map(|server| &server.capacity);
    let common = first.filter(|first| scenario.servers.iter().all(|server| server.capacity == **first));
    if let Some(capacity) = common {
        d.line("capacity", show_capacity(capacity));
    }
    d.text.push_str("servers = [\n");
    for server in &scenario.servers {
        let (name, address, weight) = (text(&server.name), text(&server.address), server.weight);
        write!(d.text, "  {{ name = {name}, address = {address}, weight = {weight}")
            .expect("writing to a string");
        if let Some(zone) = &server.zone {
            write!(d.text, ", zone = {}", text(zone)).expect("writing to a string");
        }
        if common.is_none() {
            write!(d.text, ", capacity = {}", show_capacity(&server.capacity)).expect("writing to a string");
        }
        d.text.push_str(" },\n");
    }
    d.text.push_str("]\n");
    if let Some(plan) = &scenario.autoscaling {
        faults::show_autoscaling(d, plan, scenario);
    }
}

fn show_capacity(capacity: &Capacity) -> String {
    let limit = |limit: Option<u32>| or_none(limit, |limit| limit.to_string());
    let discipline = match capacity.discipline {
        Discipline::Fcfs { workers, queue_limit } => {
            format!("discipline = \"fcfs\", workers = {workers}, queue_limit = {}", limit(queue_limit))
        }
        Discipline::ProcessorSharing { cores, limit: most } => {
            format!("discipline = \"ps\", cores = {cores}, limit = {}", limit(most))
        }
    };
    format!("{{ {discipline}, service = {} }}", show_distribution(&capacity.service, Quantity::Time))
}

fn show_strategy(d: &mut Document, strategy: &Strategy, scenario: &Scenario, comments: bool) {
    d.header("[[strategy]]");
    d.line("name", text(&strategy.name));
    session::show_session(d, strategy);
    let servers: Vec<&str> = scenario.servers.iter().map(|server| server.name.as_str()).collect();
    if strategy.fronts.is_empty() {
        let tier = (strategy.balancer.as_str(), &strategy.tier);
        return tiers::show_tier(d, "strategy", 0, tier, &servers, comments);
    }
    tiers::show_tiers(d, strategy, &servers, comments);
}

fn show_expectation(d: &mut Document, expectation: &Expectation, strategies: &[Strategy]) {
    d.header("[[expect]]");
    if let Some(place) = expectation.strategy {
        d.line("strategy", text(&strategies[place].name));
    }
    d.line("metric", text(&expectation.metric.name()));
    d.line("phase", text(expectation.phase.name()));
    if let Some(place) = expectation.relative_to {
        d.line("relative_to", text(&strategies[place].name));
    }
    if let Some(quantile) = expectation.quantile {
        d.line("quantile", format!("{quantile:?}"));
    }
    for (key, limit) in [("min", expectation.min), ("max", expectation.max)] {
        if let Some(limit) = limit {
            d.line(key, format!("{limit:?}"));
        }
    }
}

//! From the tree to the resolved scenario: what each key means, which values it may have, and what contradicts what.
//!
//! A reader returns `None` when it has reported a mistake and goes on with the rest, so that one run shows all.

mod address;
mod arrivals;
mod autoscaling;
mod balancer;
mod browser;
mod cluster;
mod experiment;
mod fault;
mod fault_part;
mod haproxy;
mod health;
mod log;
mod lvs;
mod nginx;
mod options;
mod population;
mod proxy;
mod request;
mod script;
mod session;
mod strategy;
mod sweep;
mod tiers;
mod visit;

pub use experiment::instead_of_metric;

use super::diagnostic::{Diagnostics, Report, Span, similar};
use super::presets::PresetEntry;
use super::section::{Item, Section};
use super::tree::Table;
use super::{Autoscaling, Population, Scenario, Server, SessionLife, Strategy, Vary, WINDOWS_MAX};
use crate::engine::SimDuration;
use crate::tier::RequestFields;
use cluster::{ReadCluster, ReadServer};
use std::sync::Arc;

/// Replications of a scenario that has something to vary; enough for a first interval.
const REPLICATIONS: u32 = 10;
/// Replications at most, where a precision is wanted and nothing else is said.
const REPLICATIONS_TO_PRECISION: u32 = 200;
/// Clients of all populations together; their ids are 32 bits wide and leave room for those of logs.
const CLIENTS_MAX: u64 = 1 << 31;

/// Populations of a scenario; a client's row names its own in 8 bits.
const POPULATIONS_MAX: usize = 255;

/// What was read besides the scenario: the presets of the populations' visits, for `explain`.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub scenario: Scenario,
    pub visit_presets: Vec<Option<&'static PresetEntry>>,
    /// Where each file of each log is named.
    pub log_files: Vec<(std::path::PathBuf, Span)>,
}

/// Names that other parts of the scenario refer to, in order; `complete` if all of them could be read.
#[derive(Clone, Debug)]
struct Names {
    kind: &'static str,
    names: Vec<String>,
    complete: bool,
}

impl Names {
    fn new(kind: &'static str) -> Self {
        Self { kind, names: Vec::new(), complete: true }
    }

    /// Takes the name of the next element, reporting a second one of that name.
    fn add(&mut self, name: Option<Item<'_>>) -> Option<String> {
        let read = name.as_ref().and_then(Item::name);
        if let (Some(item), Some(name)) = (&name, read)
            && self.names.iter().any(|other| other == name)
        {
            let help = if self.kind == "address" {
                "give each server an address and port of its own"
            } else {
                "give each a name of its own"
            };
            item.error_with_help(format!("duplicate {} `{name}`", self.kind), help);
        }
        self.complete &= read.is_some();
        self.names.push(read.unwrap_or_default().to_owned());
        read.map(Into::into)
    }

    /// Takes a name that an element `item` brings beside its own.
    fn add_derived(&mut self, item: &Item<'_>, name: &str) {
        if self.names.iter().any(|other| other == name) {
            item.error_with_help(format!("duplicate {} `{name}`", self.kind), "give each a name of its own");
        }
        self.names.push(name.to_owned());
    }

    /// The place of the element called as `item` says.
    fn find(&self, item: &Item<'_>) -> Option<usize> {
        self.look_up(item, item.span(), item.string()?)
    }

    /// The place of the element whose name is `item`'s key.
    fn find_key(&self, item: &Item<'_>) -> Option<usize> {
        self.look_up(item, item.key_span, item.key)
    }

    fn look_up(&self, item: &Item<'_>, span: Span, name: &str) -> Option<usize> {
        let found = self.names.iter().position(|known| known == name);
        if found.is_none() && self.complete {
            let known = self.names.iter().filter(|name| !name.is_empty());
            let help = similar("name", name, known).unwrap_or_else(|| format!("there is no {}", self.kind));
            item.report().absence(span, format!("unknown {} `{name}`", self.kind), help);
        }
        found
    }
}

/// What a strategy is read against.
#[derive(Clone, Copy, Debug)]
struct Site<'a> {
    /// The servers' names.
    names: &'a Names,
    /// The servers, if they could be read.
    servers: Option<&'a [ReadServer]>,
    /// What every request has.
    request: &'a Arc<RequestFields>,
}

/// Reads the whole scenario.
///
/// # Errors
/// All mistakes that were found, those already in `report` included.
pub(super) fn scenario(table: &Table, report: Report) -> Result<Read, Diagnostics> {
    let read = root(Section::root(&report, table));
    let file_name = report.file_name().to_owned();
    report.into_result()?;
    // Every reader that returns nothing has reported why; should one forget, the user still gets a message.
    read.ok_or_else(|| Diagnostics::of_file(&file_name, "the scenario cannot be read".into(), None))
}

fn root(mut section: Section<'_>) -> Option<Read> {
    let s = &mut section;
    let title = s.required("title", |item| item.name().map(str::to_owned));
    let duration_item = s.take("duration");
    let warmup_item = s.take("warmup");
    let detect_warmup = warmup_item.as_ref().is_some_and(|item| item.text() == Some("detect"));
    let warmup = match &warmup_item {
        Some(item) if !detect_warmup => item.duration(),
        _ => Some(SimDuration::ZERO),
    };
    let replications_item = s.take("replications");
    let seed = s.optional("seed", 1, |item| item.integer(0, u64::MAX));
    let vary =
        s.optional("vary", Vary::Population, |item| item.one_of(&Vary::ALL.map(|vary| (vary.name(), vary))));
    let precision = s.optional("precision", None, |item| experiment::precision(&item).map(Some));
    let window_item = s.take("window");
    let window = match &window_item {
        Some(item) => item.duration_above_zero(),
        None => Some(SimDuration::from_secs(10)),
    };
    let connection = match s.take("connection") {
        Some(item) => population::connection(&item, super::presets::CONNECTION),
        None => Some(super::presets::CONNECTION),
    };
    let request = s.optional("request", RequestFields::default(), |item| request::request(&item));
    let session = s.optional("session", SessionLife::default(), |item| session::life(&item));
    // A broken default must not hide mistakes of those who would use it.
    let default_connection = connection.unwrap_or(super::presets::CONNECTION);

    let mut sources = Names::new("population or log");
    let mut visit_presets = Vec::new();
    let populations = each(s, "population", "an array of tables: write `[[population]]`", |item| {
        population::population(&item, default_connection, &mut sources)
    });
    let populations: Option<Vec<Population>> = populations.map(|populations| {
        let (populations, presets) = populations.into_iter().flatten().unzip();
        visit_presets = presets;
        populations
    });
    let populations = match s.take("populations") {
        Some(item) => {
            let files = match item.text() {
                Some(_) => Some(vec![item]),
                None => item.elements("a file, or an array of files"),
            };
            files.into_iter().flatten().fold(populations, |populations, item| {
                let (more, presets) = population::from_file(&item, default_connection, &mut sources)?;
                let mut populations = populations?;
                visit_presets.extend(presets);
                populations.extend(more);
                Some(populations)
            })
        }
        None => populations,
    };
    if let Some(populations) = &populations {
        check_clients(s, populations);
    }
    let mut log_files = Vec::new();
    let logs = each(s, "log", "an array of tables: write `[[log]]`", |item| {
        log::log(&item, default_connection, &mut sources, &mut log_files)
    });
    let has_logs = logs.as_ref().is_none_or(|logs| !logs.is_empty());
    let duration = match &duration_item {
        Some(item) if item.text() == Some("log") && has_logs => Some(None),
        Some(item) => item.duration_above_zero().map(Some),
        None if has_logs => Some(None),
        None => {
            s.missing(
                "duration",
                Some("add `duration = \"1h\"`; only a scenario with a `[[log]]` ends by itself"),
            );
            None
        }
    };
    let end = duration.flatten();
    if let (Some(window), Some(end)) = (window, end)
        && end.0 / window.0 > WINDOWS_MAX
    {
        match (&window_item, &duration_item) {
            (Some(item), _) => {
                item.error(format!("`window` must leave at most {WINDOWS_MAX} windows, got {}", item.got()));
            }
            (None, Some(item)) => item.error_with_help(
                format!("more than {WINDOWS_MAX} windows of {window}, got {}", item.got()),
                "add a longer `window`, such as `window = \"1h\"`",
            ),
            (None, None) => {}
        }
    }

    let ReadCluster { servers, names: server_names, autoscaling } = match s.take("cluster") {
        Some(item) => cluster::cluster(&item),
        None => {
            s.missing("cluster", Some("add `[cluster]` with `servers` and their `capacity`"));
            ReadCluster::unknown()
        }
    };
    // What is missing from a broken table has been reported there.
    let fields = RequestFields { of_logs: has_logs, ..request.clone().unwrap_or_default() };
    let fields = Arc::new(fields);
    let site = Site { names: &server_names, servers: servers.as_deref(), request: &fields };
    let mut strategy_names = Names::new("strategy");
    let has_strategies = s.take("strategy").is_some();
    let strategies = each(s, "strategy", "an array of tables: write `[[strategy]]`", |item| {
        strategy::strategy(&item, &mut strategy_names, &site)
    });
    let instances = instance_names(strategies.as_deref());
    let parts =
        fault_part::Parts { names: &server_names, servers: servers.as_deref(), instances: &instances, end };
    let faults =
        each(s, "fault", "an array of tables: write `[[fault]]`", |item| fault::fault(&item, &parts));
    if !has_strategies || strategies.as_ref().is_some_and(Vec::is_empty) {
        s.missing("strategy", Some("add a `[[strategy]]` with `name`, `balancer` and `session`"));
    }
    let scripted_clients =
        each(s, "scripted_client", "an array of tables: write `[[scripted_client]]`", |item| {
            script::scripted_client(&item, end, &strategy_names)
        });
    let has_faults = faults.as_ref().is_none_or(|faults| !faults.is_empty());
    let expectations = each(s, "expect", "an array of tables: write `[[expect]]`", |item| {
        experiment::expectation(&item, &strategy_names, has_faults)
    });
    let sweep = s.optional("sweep", None, |item| sweep::sweep(&item).map(Some));
    let advise = s.optional("advise", None, |item| sweep::advise(&item).map(Some));
    fault::check_faults(s, faults.as_deref(), &instances, strategies.as_deref());

    let nobody = [
        populations.as_ref().is_some_and(Vec::is_empty),
        logs.as_ref().is_some_and(Vec::is_empty),
        scripted_clients.as_ref().is_some_and(Vec::is_empty),
    ];
    if nobody == [true; 3] {
        let help = "add a `[[population]]`, a `[[log]]` or a `[[scripted_client]]`";
        s.report().absence(s.span(), "nobody visits the site".into(), help);
    }
    let log_only = populations.as_ref().is_some_and(Vec::is_empty)
        && scripted_clients.as_ref().is_some_and(Vec::is_empty);
    let replications = match replications_item {
        Some(item) => item.integer(1, 1_000_000).map(|number| number as u32),
        // A log has one outcome, unless it is its networks that vary.
        None if log_only && vary != Some(Vary::Hash) => Some(1),
        None if matches!(precision, Some(Some(_))) => Some(REPLICATIONS_TO_PRECISION),
        None => Some(REPLICATIONS),
    };
    section.finish();
    let servers = servers?.into_iter().map(ReadServer::resolved).collect::<Option<Vec<Server>>>();
    let autoscaling = autoscaling?;
    let mut faults = faults?;
    faults.extend(autoscaling.as_ref().map(Autoscaling::as_fault));
    let scenario = Scenario {
        title: title?,
        duration: duration?,
        warmup: warmup?,
        detect_warmup,
        replications: replications?,
        precision: precision?,
        seed: seed?,
        vary: vary?,
        window: window?,
        request: fields,
        session: session?,
        populations: populations?,
        logs: logs?,
        scripted_clients: scripted_clients?,
        servers: servers?,
        autoscaling,
        instances: instances.names,
        faults,
        strategies: strategies?,
        expectations: expectations?,
        sweep: sweep?,
        advise: advise?,
    };
    connection?;
    request?;
    if let Some(item) = warmup_item.filter(|_| detect_warmup && !scenario.is_stationary()) {
        let help = "give its length, such as `warmup = \"10min\"`";
        let message = "a warm-up can only be detected where nothing depends on the time: no fault, log, script, or arrivals that follow the clock";
        item.error_with_help(message.into(), help);
    }
    Some(Read { scenario, visit_presets, log_files })
}

/// The names of all strategies' tier instances, each once.
fn instance_names(strategies: Option<&[Strategy]>) -> Names {
    let mut names = Names { complete: strategies.is_some(), ..Names::new("instance of a tier") };
    let tiers = strategies.into_iter().flatten().flat_map(Strategy::programs);
    for instance in tiers.flat_map(|(_, plan)| &plan.instances) {
        if !names.names.contains(&instance.name) {
            names.names.push(instance.name.clone());
        }
    }
    names
}

/// Reads each element of an array of tables, which may be absent. `None` if any was wrong.
fn each<'a, T>(
    section: &mut Section<'a>,
    key: &'static str,
    expected: &str,
    mut read: impl FnMut(Item<'a>) -> Option<T>,
) -> Option<Vec<T>> {
    let Some(item) = section.take(key) else { return Some(Vec::new()) };
    let mut all = Some(Vec::new());
    for element in item.elements(expected)? {
        match (read(element), &mut all) {
            (Some(value), Some(values)) => values.push(value),
            _ => all = None,
        }
    }
    all
}

fn check_clients(section: &Section<'_>, populations: &[Population]) {
    if populations.len() > POPULATIONS_MAX {
        let message = format!("at most {POPULATIONS_MAX} populations, got {}", populations.len());
        let help = "put those with the same address and visit into one, with more `clients`";
        section.report().error_with_help(section.span(), message, help);
    }
    let clients: u64 = populations.iter().map(|population| u64::from(population.clients)).sum();
    if clients > CLIENTS_MAX {
        let message = format!("the populations have at most {CLIENTS_MAX} clients together, got {clients}");
        section.report().error(section.span(), message);
    }
}

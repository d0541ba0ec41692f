//! Populations, and how their clients use connections.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Names;
use super::address::address;
use super::arrivals::arrivals;
use super::request::pages;
use super::visit::visit;
use crate::engine::Distribution;
use crate::population::{AddressPlan, SitePages, UserTable};
use crate::scenario::diagnostic::Report;
use crate::scenario::presets::{self, PARTS, PresetEntry, PresetKind};
use crate::scenario::quantity::Quantity;
use crate::scenario::section::{Item, Section};
use crate::scenario::tree;
use crate::scenario::{ClosedBy, ConnectionRules, Population, Traffic, UserFile};

/// Users of one population.
const CLIENTS_MAX: u64 = 100_000_000;

/// `[connection]`, or the `connection` of one source of traffic, over `default`.
pub(super) fn connection(item: &Item<'_>, default: ConnectionRules) -> Option<ConnectionRules> {
    let mut section = item.section("a table")?;
    let s = &mut section;
    let keepalive_timeout =
        s.optional("keepalive_timeout", default.keepalive_timeout, |item| item.duration());
    let keepalive_requests =
        s.optional("keepalive_requests", default.keepalive_requests, |item| item.u32_at_least(1));
    let closed_by = s.optional("closed_by", default.closed_by, |item| {
        item.one_of(&[("server", ClosedBy::Server), ("client", ClosedBy::Client)])
    });
    let port =
        s.optional("port", default.port, |item| item.integer(1, u64::from(u16::MAX)).map(|port| port as u16));
    section.finish();
    Some(ConnectionRules {
        keepalive_timeout: keepalive_timeout?,
        keepalive_requests: keepalive_requests?,
        closed_by: closed_by?,
        port: port?,
    })
}

/// A population, and the preset of its visits.
pub(super) type Named = (Population, Option<&'static PresetEntry>);

/// One `[[population]]`, or several where its preset is of an audience.
pub(super) fn population(
    item: &Item<'_>,
    default_connection: ConnectionRules,
    names: &mut Names,
) -> Option<Vec<Named>> {
    let mut section = item.section("a table")?;
    let s = &mut section;
    let name_item = s.take("name");
    if name_item.is_none() {
        s.missing("name", None);
    }
    let name = names.add(name_item.clone());
    let users = s.optional("users", None, |item| user_file(&item).map(Some));
    let table = users.as_ref().and_then(Option::as_ref).map(|users: &UserFile| users.table.clone());
    let has_users = !matches!(users, Some(None));
    let audience = preset_name(s, PresetKind::Population);
    let is_audience = audience != Some(None);
    let count = |item: Item<'_>| item.integer(1, CLIENTS_MAX).map(|number| number as u32);
    let clients = match &table {
        Some(table) => s.optional("clients", table.users().clamp(1, CLIENTS_MAX) as u32, count),
        None => s.required("clients", count),
    };
    let address = if has_users {
        let why = |key: &str| format!("`{key}` has no effect beside `users`");
        s.refuse(
            &["address", "preset", "activity"],
            why,
            "the users' networks, addresses and activity are those of the file",
        );
        Some(presets::address("direct"))
    } else if is_audience {
        let why = |_: &str| "the audience's preset says where its parts come from, and `address`, too".into();
        s.refuse(&["address"], why, "leave `address` or `preset` out");
        Some(presets::address("direct"))
    } else {
        s.required("address", |item| address(&item))
    };
    let visit_item = s.take("visit");
    let arrivals_item = s.take("arrivals");
    let mut preset = None;
    let traffic = match (visit_item, arrivals_item) {
        (Some(item), None) => visit(&item, table.as_deref()).map(|(plan, name)| {
            preset = name;
            Traffic::ClosedLoop(plan)
        }),
        (_, Some(item)) if has_users => {
            let message =
                "the users of a log come as they did there, so `users` needs `visit`, got `arrivals`".into();
            s.report().error(item.key_span, message);
            None
        }
        (None, Some(item)) => arrivals(&item).map(Traffic::Requests),
        (Some(visit_item), Some(arrivals_item)) => {
            let (visit, arrivals) = (visit(&visit_item, None), arrivals(&arrivals_item));
            visit.zip(arrivals).map(|((plan, name), arrivals)| {
                preset = name;
                Traffic::Visits { plan, arrivals }
            })
        }
        (None, None) if is_audience => {
            preset = presets::preset(PresetKind::Visit, "browse");
            Some(Traffic::ClosedLoop(presets::visit("browse")))
        }
        (None, None) => {
            s.missing("visit", Some("add `visit = { preset = \"login-site\" }`, or `arrivals`"));
            None
        }
    };
    let equal = if is_audience { presets::ACTIVITY } else { Distribution::Constant(1.0) };
    let activity = s.optional("activity", equal, |item| {
        let law = item.distribution(Quantity::Count)?;
        if law.mean() == 0.0 {
            item.error("`activity` must be above 0: users without any would never come".into());
            return None;
        }
        Some(law)
    });
    // Where each request comes from another address, each has a connection of its own.
    let rotates = address.as_ref().is_some_and(AddressPlan::rotates_by_request);
    let default_connection = match rotates {
        true => ConnectionRules { keepalive_requests: 1, ..default_connection },
        false => default_connection,
    };
    let connection = s.optional("connection", default_connection, |item| {
        let rules = connection(&item, default_connection)?;
        if rotates && rules.keepalive_requests > 1 {
            let help =
                "`pooling = \"per_request\"` opens a connection for each; leave `keepalive_requests` out";
            let message = format!("`keepalive_requests` must be 1 here, got {}", rules.keepalive_requests);
            item.error_with_help(message, help);
            return None;
        }
        Some(rules)
    });
    let pages = s.optional("pages", SitePages::ONE, |item| pages(&item));
    section.finish();
    let population = Population {
        name: name?,
        clients: clients?,
        address: address?,
        users: users?,
        traffic: traffic?,
        activity: activity?,
        connection: connection?,
        pages: pages?,
    };
    if audience?.is_none() {
        return Some(vec![(population, preset)]);
    }
    let parts = parts(population, preset);
    for (part, _) in &parts {
        names.add_derived(name_item.as_ref()?, &part.name);
    }
    Some(parts)
}

/// The populations of an audience: `whole` with other addresses, and crawlers of their own ways.
fn parts(whole: Population, preset: Option<&'static PresetEntry>) -> Vec<Named> {
    let of = |percent: u32| (u64::from(whole.clients) * u64::from(percent) / 100) as u32;
    let rest = whole.clients - PARTS.iter().map(|part| of(part.percent)).sum::<u32>();
    let mut parts = Vec::new();
    for (place, part) in PARTS.iter().enumerate() {
        let clients = of(part.percent) + if place == 0 { rest } else { 0 };
        if clients == 0 {
            continue;
        }
        let name = format!("{} {}", whole.name, part.name);
        if part.name == presets::CRAWLERS {
            let bots = Population {
                name,
                clients,
                address: presets::address("direct"),
                traffic: Traffic::ClosedLoop(presets::visit(part.name)),
                activity: Distribution::Constant(1.0),
                ..whole.clone()
            };
            parts.push((bots, presets::preset(PresetKind::Visit, part.name)));
            continue;
        }
        let share = f64::from(clients) / f64::from(whole.clients);
        let address = presets::address(part.name);
        let rotates = address.rotates_by_request();
        let connection = ConnectionRules {
            keepalive_requests: if rotates { 1 } else { whole.connection.keepalive_requests },
            ..whole.connection
        };
        let traffic = match &whole.traffic {
            Traffic::ClosedLoop(plan) => Traffic::ClosedLoop(plan.clone()),
            Traffic::Visits { plan, arrivals } => {
                Traffic::Visits { plan: plan.clone(), arrivals: arrivals.scaled(share) }
            }
            Traffic::Requests(arrivals) => Traffic::Requests(arrivals.scaled(share)),
        };
        parts.push((Population { name, clients, address, traffic, connection, ..whole.clone() }, preset));
    }
    parts
}

/// A table that may be left out, over what a preset says of it: `None` if it was wrong, `Some(None)` for "none".
pub(super) fn optional_table<T>(
    section: &mut Section<'_>,
    key: &'static str,
    default: Option<T>,
    read: impl FnOnce(&Item<'_>, Option<T>) -> Option<T>,
) -> Option<Option<T>> {
    match section.take(key) {
        Some(item) if item.text() == Some("none") => Some(None),
        Some(item) => read(&item, default).map(Some),
        None => Some(default),
    }
}

/// The populations of another file, and the presets of their visits: `populations = "site.toml"`. Files that it names are
/// found from its own folder.
#[expect(clippy::type_complexity, reason = "two lists in step, as the caller keeps them")]
pub(super) fn from_file(
    item: &Item<'_>,
    default_connection: ConnectionRules,
    names: &mut Names,
) -> Option<(Vec<Population>, Vec<Option<&'static PresetEntry>>)> {
    let name = item.name()?;
    let folder = Path::new(item.report().file_name()).parent().unwrap_or(Path::new(""));
    let path = folder.join(name);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            item.error_with_help(
                format!("cannot read the populations `{name}`: {error}"),
                format!("looked for {}; `evenkeel fit` writes such files", path.display()),
            );
            return None;
        }
    };
    let report = Report::new(&path.display().to_string(), &text, "");
    let table = tree::parse(&text, &report);
    let mut section = Section::root(&report, &table);
    let (mut populations, mut visit_presets) = (Vec::new(), Vec::new());
    let expected = "an array of tables: write `[[population]]`";
    for element in section.take("population").and_then(|all| all.elements(expected)).unwrap_or_default() {
        for (mut population, preset) in population(&element, default_connection, names).into_iter().flatten()
        {
            if let Some(users) = &mut population.users {
                users.file = Path::new(name).parent().unwrap_or(Path::new("")).join(&users.file);
            }
            populations.push(population);
            visit_presets.push(preset);
        }
    }
    section.finish();
    if let Err(mistakes) = report.into_result() {
        for mistake in mistakes.0 {
            let (line, column) = (mistake.line, mistake.column);
            let message = format!("{}:{line}:{column}: {}", mistake.file, mistake.message);
            match mistake.help {
                Some(help) => item.error_with_help(message, help),
                None => item.error(message),
            }
        }
        return None;
    }
    if populations.is_empty() {
        item.error(format!("`{name}` has no `[[population]]`"));
        return None;
    }
    Some((populations, visit_presets))
}

/// The `users` of a population: a file that `evenkeel fit` wrote.
fn user_file(item: &Item<'_>) -> Option<UserFile> {
    let mut section = item.section("a table such as { file = \"site.people.csv\" }")?;
    let s = &mut section;
    let file = s.required("file", |item| {
        let file = PathBuf::from(item.name()?);
        let folder = Path::new(item.report().file_name()).parent().unwrap_or(Path::new(""));
        match UserTable::from_file(&folder.join(&file)) {
            Ok(table) => Some(UserFile { file, table: Arc::new(table) }),
            Err(error) => {
                item.error_with_help(error.to_string(), "`evenkeel fit` writes such files");
                None
            }
        }
    });
    let digest = s.optional("sha256", None, |item| item.string().map(|text| Some((item, text))));
    section.finish();
    let file = file?;
    if let Some((item, digest)) = digest?
        && digest != file.table.sha256()
    {
        let help = "the file has changed; leave `sha256` out to use it as it is";
        item.error_with_help(
            format!("the file's SHA-256 is {}, got {}", file.table.sha256(), item.got()),
            help,
        );
        return None;
    }
    Some(file)
}

/// The name under `preset`, if there is one and it is known.
pub(super) fn preset_name<'a>(section: &mut Section<'a>, kind: PresetKind) -> Option<Option<&'a str>> {
    let Some(item) = section.take("preset") else { return Some(None) };
    let name = item.string()?;
    if presets::preset(kind, name).is_none() {
        item.unknown("preset", name, presets::preset_names(kind));
        return None;
    }
    Some(Some(name))
}

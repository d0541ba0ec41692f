//! Populations, and how their clients use connections.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Names;
use super::address::address;
use super::request::pages;
use super::visit::{arrivals, visit};
use crate::population::SitePages;
use crate::population::UserTable;
use crate::scenario::diagnostic::Report;
use crate::scenario::presets::{self, PresetEntry, PresetKind};
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
    section.finish();
    Some(ConnectionRules {
        keepalive_timeout: keepalive_timeout?,
        keepalive_requests: keepalive_requests?,
        closed_by: closed_by?,
    })
}

/// One `[[population]]`, and the preset of its visits.
pub(super) fn population(
    item: &Item<'_>,
    default_connection: ConnectionRules,
    names: &mut Names,
) -> Option<(Population, Option<&'static PresetEntry>)> {
    let mut section = item.section("a table")?;
    let s = &mut section;
    let name_item = s.take("name");
    if name_item.is_none() {
        s.missing("name", None);
    }
    let name = names.add(name_item);
    let users = s.optional("users", None, |item| user_file(&item).map(Some));
    let table = users.as_ref().and_then(Option::as_ref).map(|users: &UserFile| users.table.clone());
    let count = |item: Item<'_>| item.integer(1, CLIENTS_MAX).map(|number| number as u32);
    let clients = match &table {
        Some(table) => s.optional("clients", table.users().clamp(1, CLIENTS_MAX) as u32, count),
        None => s.required("clients", count),
    };
    let address = if matches!(users, Some(None)) {
        s.required("address", |item| address(&item))
    } else {
        let why = |key: &str| format!("`{key}` has no effect beside `users`");
        s.refuse(&["address"], why, "the users' networks and addresses are those of the file");
        Some(presets::address("direct"))
    };
    let visit_item = s.take("visit");
    let arrivals_item = s.take("arrivals");
    let mut preset = None;
    let traffic = match (visit_item, arrivals_item) {
        (Some(item), None) => visit(&item, table.as_deref()).map(|(plan, name)| {
            preset = name;
            Traffic::ClosedLoop(plan)
        }),
        (None, Some(item)) if matches!(users, Some(None)) => arrivals(&item),
        (None, Some(item)) => {
            let message = "the users of a log make visits, so `users` needs `visit`, got `arrivals`".into();
            s.report().error(item.key_span, message);
            None
        }
        (Some(_), Some(arrivals)) => {
            let help = "users who click (`visit`) and single requests (`arrivals`) are two populations";
            s.report().error_with_help(
                arrivals.key_span,
                "a population has `visit` or `arrivals`, got both".into(),
                help,
            );
            None
        }
        (None, None) => {
            s.missing("visit", Some("add `visit = { preset = \"login-site\" }`, or `arrivals`"));
            None
        }
    };
    let connection =
        s.optional("connection", default_connection, |item| connection(&item, default_connection));
    let pages = s.optional("pages", SitePages::ONE, |item| pages(&item));
    section.finish();
    let population = Population {
        name: name?,
        clients: clients?,
        address: address?,
        users: users?,
        traffic: traffic?,
        connection: connection?,
        pages: pages?,
    };
    Some((population, preset))
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
        if let Some((mut population, preset)) = population(&element, default_connection, names) {
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

//! Populations, and how their clients use connections.

use super::Names;
use super::address::address;
use super::arrivals::arrivals;
use super::request::pages;
use super::visit::visit;
use crate::engine::Distribution;
use crate::population::{AddressPlan, SitePages};
use crate::scenario::presets::{self, PresetEntry, PresetKind};
use crate::scenario::quantity::Quantity;
use crate::scenario::section::{Item, Section};
use crate::scenario::{ClosedBy, ConnectionRules, Population, Traffic};

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
    let clients = s.required("clients", |item| item.integer(1, CLIENTS_MAX).map(|number| number as u32));
    let address = s.required("address", |item| address(&item));
    let visit_item = s.take("visit");
    let arrivals_item = s.take("arrivals");
    let mut preset = None;
    let traffic = match (visit_item, arrivals_item) {
        (Some(item), None) => visit(&item).map(|(plan, name)| {
            preset = name;
            Traffic::ClosedLoop(plan)
        }),
        (None, Some(item)) => arrivals(&item).map(Traffic::Requests),
        (Some(visit_item), Some(arrivals_item)) => {
            let (visit, arrivals) = (visit(&visit_item), arrivals(&arrivals_item));
            visit.zip(arrivals).map(|((plan, name), arrivals)| {
                preset = name;
                Traffic::Visits { plan, arrivals }
            })
        }
        (None, None) => {
            s.missing("visit", Some("add `visit = { preset = \"login-site\" }`, or `arrivals`"));
            None
        }
    };
    let activity = s.optional("activity", Distribution::Constant(1.0), |item| {
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
        traffic: traffic?,
        activity: activity?,
        connection: connection?,
        pages: pages?,
    };
    Some((population, preset))
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

//! Clients that follow a script.

use super::Names;
use crate::engine::SimDuration;
use crate::scenario::section::Item;
use crate::scenario::{ScriptedClient, ScriptedConnection};

/// One `[[scripted_client]]`.
pub(super) fn scripted_client(
    item: &Item<'_>,
    end: Option<SimDuration>,
    strategies: &Names,
) -> Option<ScriptedClient> {
    let mut section = item.section("a table")?;
    let s = &mut section;
    let name = s.required("name", |item| item.name().map(str::to_owned));
    let address = s.required("address", |item| item.address());
    let connections = s.required("connections", |item| {
        let items = item.elements("an array of { at = …, hold = … }")?;
        if items.is_empty() {
            item.error("`connections` must have at least one, got none".into());
            return None;
        }
        let mut previous = SimDuration::ZERO;
        let mut all = Some(Vec::new());
        for item in items {
            let connection = scripted_connection(&item, end, previous);
            previous = connection.map_or(previous, |connection| connection.at);
            match (connection, &mut all) {
                (Some(connection), Some(connections)) => connections.push(connection),
                _ => all = None,
            }
        }
        all
    });
    let strategies = s.optional("strategies", None, |item| {
        let items = item.elements("an array of names of strategies")?;
        if items.is_empty() {
            let help = "leave `strategies` out for a client that is there in all of them";
            item.error_with_help("`strategies` must name at least one, got none".into(), help);
            return None;
        }
        let found: Vec<_> = items.iter().map(|item| strategies.find(item)).collect();
        found.into_iter().collect::<Option<Vec<usize>>>().map(Some)
    });
    section.finish();
    Some(ScriptedClient {
        name: name?,
        address: address?,
        connections: connections?,
        strategies: strategies?,
    })
}

fn scripted_connection(
    item: &Item<'_>,
    end: Option<SimDuration>,
    previous: SimDuration,
) -> Option<ScriptedConnection> {
    let mut section = item.section("a table with `at` and `hold`")?;
    let at = section.required("at", |item| {
        let at = item.duration()?;
        if at < previous {
            let help = "connections are written in order of time";
            item.error_with_help(format!("{} comes after {previous}", item.got()), help);
            return None;
        }
        if let Some(end) = end
            && at >= end
        {
            let help = format!("`at` must be before the end at {end}");
            item.error_with_help(
                format!("the connection opens after the run has ended, got {}", item.got()),
                help,
            );
            return None;
        }
        Some(at)
    });
    let hold = section.required("hold", |item| item.duration());
    section.finish();
    Some(ScriptedConnection { at: at?, hold: hold? })
}

//! What faults are about: servers, instances, links, nodes of the session store, disks.

use super::Names;
use super::cluster::ReadServer;
use crate::engine::SimDuration;
use crate::ids::ServerId;
use crate::scenario::Part;
use crate::scenario::section::{Item, Section};

/// What faults are read against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts<'a> {
    /// The servers' names.
    pub names: &'a Names,
    /// The servers, if they could be read.
    pub servers: Option<&'a [ReadServer]>,
    /// The names of the strategies' tier instances.
    pub instances: &'a Names,
    /// The end of the run, if that is known.
    pub end: Option<SimDuration>,
}

/// What a fault of this kind is about.
pub(super) fn part(kind: &str, s: &mut Section<'_>, parts: &Parts<'_>) -> Option<Part> {
    match kind {
        "reload" => return Some(Part::Site),
        "store_crash" => {
            return s.required("node", |item| item.u32_at_least(0)).map(Part::StoreNode);
        }
        _ => {}
    }
    if kind == "kill" {
        let help = "a process of a server dies by `crash = { server = … }`";
        s.refuse(
            &["server", "servers", "zone"],
            |key| format!("`kill` names an `instance`, got `{key}`"),
            help,
        );
        let place = s.required("instance", |item| parts.instances.find(&item));
        return place.map(|place| Part::Instance(place as u16));
    }
    if matches!(kind, "partition" | "flap" | "delay" | "loss")
        && let Some(item) = s.take("link")
    {
        return link(&item, s, parts);
    }
    let instance = if matches!(kind, "crash" | "partition") { s.take("instance") } else { None };
    let node = if matches!(kind, "hang" | "slow" | "errors" | "restart") { s.take("node") } else { None };
    let disk = if matches!(kind, "hang" | "slow" | "errors") { s.take("disk") } else { None };
    let named = ["server", "servers", "zone"].into_iter().filter_map(|key| s.take(key));
    let said: Vec<_> = instance.into_iter().chain(node).chain(disk).chain(named).collect();
    let item = match said.as_slice() {
        [item] => item,
        [] => {
            s.missing(
                "server",
                Some("or `servers = [\"web1\", \"web2\"]`, `servers = \"all\"`, `zone = \"a\"`"),
            );
            return None;
        }
        [first, second, ..] => {
            let message = format!("a fault is about one part, got `{}` and `{}`", first.key, second.key);
            s.report().error_with_help(second.key_span, message, "write a `[[fault]]` for each");
            return None;
        }
    };
    match item.key {
        "instance" => parts.instances.find(item).map(|place| Part::Instance(place as u16)),
        "node" => item.u32_at_least(0).map(Part::StoreNode),
        "disk" => disk_of(item, parts),
        _ => servers(item, parts),
    }
}

/// A link: of clients, from servers to the session store, or between its nodes.
fn link(item: &Item<'_>, s: &mut Section<'_>, parts: &Parts<'_>) -> Option<Part> {
    let which = item.one_of(&[("clients", 0), ("store", 1), ("replication", 2)])?;
    if which == 2 {
        return s.required("node", |item| item.u32_at_least(0)).map(Part::Replication);
    }
    if which == 0 {
        return Some(Part::Clients);
    }
    let node = s.optional("node", None, |item| item.u32_at_least(0).map(Some))?;
    let named: Vec<_> = ["server", "servers", "zone"].into_iter().filter_map(|key| s.take(key)).collect();
    let from = match named.as_slice() {
        [] => Part::Servers {
            servers: (0..parts.names.names.len()).map(ServerId::from_index).collect(),
            zone: None,
        },
        [item] => servers(item, parts)?,
        [first, second, ..] => {
            let message = format!("a link is from `{}` or `{}`, got both", first.key, second.key);
            s.report().error_with_help(second.key_span, message, "write a `[[fault]]` for each");
            return None;
        }
    };
    match from {
        Part::Servers { servers, zone } => Some(Part::StoreLinks { servers, zone, node }),
        _ => None,
    }
}

/// What is on a disk: servers, nodes of the session store, or both.
fn disk_of(item: &Item<'_>, parts: &Parts<'_>) -> Option<Part> {
    let mut section = item.section("a table such as { servers = \"all\", nodes = [0] }")?;
    let s = &mut section;
    let named: Vec<_> = ["servers", "zone"].into_iter().filter_map(|key| s.take(key)).collect();
    let on = named.iter().map(|item| servers(item, parts)).collect::<Option<Vec<_>>>();
    let nodes = s.optional("nodes", Vec::new(), |item| {
        let items = item.elements("an array of nodes")?;
        let nodes: Vec<_> = items.iter().map(|item| item.u32_at_least(0)).collect();
        let mut nodes = nodes.into_iter().collect::<Option<Vec<_>>>()?;
        nodes.sort_unstable();
        nodes.dedup();
        Some(nodes)
    });
    section.finish();
    let (on, nodes) = (on?, nodes?);
    let mut servers: Vec<_> = on
        .into_iter()
        .flat_map(|part| match part {
            Part::Servers { servers, .. } => servers,
            _ => Vec::new(),
        })
        .collect();
    servers.sort_unstable();
    servers.dedup();
    if servers.is_empty() && nodes.is_empty() {
        item.error_with_help("nothing is on the `disk`".into(), "add `servers`, `zone` or `nodes`");
        return None;
    }
    Some(Part::Disk { servers, nodes })
}

/// Servers by `server`, `servers` or `zone`.
fn servers(item: &Item<'_>, parts: &Parts<'_>) -> Option<Part> {
    let names = parts.names;
    match item.key {
        "server" => {
            let server = names.find(item).map(ServerId::from_index)?;
            Some(Part::Servers { servers: vec![server], zone: None })
        }
        "zone" => zone(item, parts),
        _ => several(item, names).map(|servers| Part::Servers { servers, zone: None }),
    }
}

/// Servers by their names, or all of them; in configuration order.
pub(super) fn several(item: &Item<'_>, names: &Names) -> Option<Vec<ServerId>> {
    if item.text() == Some("all") {
        return Some((0..names.names.len()).map(ServerId::from_index).collect());
    }
    let items = item.elements("\"all\", or an array of servers")?;
    if items.is_empty() {
        item.error_with_help("`servers` must name a server, got none".into(), "or write \"all\"");
        return None;
    }
    let found: Vec<_> = items.iter().map(|item| names.find(item).map(ServerId::from_index)).collect();
    let mut servers = found.into_iter().collect::<Option<Vec<_>>>()?;
    servers.sort_unstable();
    servers.dedup();
    Some(servers)
}

/// The servers of a zone.
fn zone(item: &Item<'_>, parts: &Parts<'_>) -> Option<Part> {
    let (wanted, servers) = (item.string()?, parts.servers?);
    let here = |server: &ReadServer| server.zone.as_deref() == Some(wanted);
    let members: Vec<_> =
        (0..servers.len()).filter(|&place| here(&servers[place])).map(ServerId::from_index).collect();
    if members.is_empty() {
        let mut zones: Vec<_> = servers.iter().filter_map(|server| server.zone.as_deref()).collect();
        zones.dedup();
        if zones.is_empty() {
            let help = format!("give its servers `zone = \"{wanted}\"`");
            item.error_with_help(format!("unknown zone `{wanted}`: no server has a zone"), help);
        } else {
            item.unknown("zone", wanted, zones);
        }
        return None;
    }
    Some(Part::Servers { servers: members, zone: Some(wanted.to_owned()) })
}

//! Compares what `ipvsadm` showed with the director's tables.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;

use crate::conformance::CaseError;
use crate::engine::{SimDuration, SimTime};
use crate::ids::ServerId;
use crate::tier::Lvs;

use super::format::Event;
use super::services::Setup;

/// How many values of snapshots the model shows alike. A timer that the kernel fired a tick earlier or later than
/// recorded times allow to know shows here and nowhere else, so these are no decisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotTally {
    /// Values of ActiveConn and InActConn.
    pub counters: u64,
    /// Those that are equal.
    pub counters_matched: u64,
    /// Templates listed, and numbers of templates.
    pub templates: u64,
    /// Those that the model has with the same server, valid or not, and the time left within a second; and equal
    /// numbers.
    pub templates_matched: u64,
    /// Connections listed, and numbers of connections in a state.
    pub connections: u64,
    /// Those that the model has with the same server and state, and the time left within a second; and equal
    /// numbers.
    pub connections_matched: u64,
}

impl SnapshotTally {
    /// Values of any kind that are equal.
    pub fn matched(&self) -> u64 {
        self.counters_matched + self.templates_matched + self.connections_matched
    }
}

type Counters = BTreeMap<String, [i64; 3]>;

/// A line of `ipvsadm -Lnc`: client, server, seconds left, state, and the service where there are several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    Plain(String, String, i64, String),
    OfService(String, String, i64, String, String),
}

impl Line {
    fn parts(&self) -> (&str, &str, i64, &str, Option<&str>) {
        match self {
            Self::Plain(client, server, left, state) => (client, server, *left, state, None),
            Self::OfService(client, server, left, state, service) => {
                (client, server, *left, state, Some(service))
            }
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Snapshot {
    /// Whose tables these are, where there are two.
    pub director: Option<String>,
    servers: Option<Counters>,
    services: Option<BTreeMap<String, Counters>>,
    templates_count: Option<u64>,
    templates: Option<Vec<Line>>,
    states: Option<BTreeMap<String, u64>>,
    conns: Option<Vec<Line>>,
}

/// The snapshot of a row.
///
/// # Errors
/// If it is not what a snapshot looks like.
pub(super) fn read(event: &Event) -> Result<Snapshot, CaseError> {
    serde_json::from_str(&event.detail)
        .map_err(|error| event.error(format!("`detail` is no snapshot: {error}")))
}

/// Compares one snapshot.
///
/// # Errors
/// If it names a server or service that there is not.
pub(super) fn compare(
    lvs: &mut Lvs,
    setup: &Setup,
    now: SimTime,
    event: &Event,
    snapshot: &Snapshot,
    tally: &mut SnapshotTally,
) -> Result<(), CaseError> {
    let server_id = |name: &str| {
        let index = setup.servers.iter().position(|own| own == name);
        index.map(ServerId::from_index).ok_or_else(|| event.error(format!("no server `{name}` in case.json")))
    };
    let service_id = |name: &str| {
        let index = setup.labels.iter().position(|own| own == name);
        index
            .map(|index| index as u16)
            .ok_or_else(|| event.error(format!("no service `{name}` in case.json")))
    };
    let mut check = |recorded: &Counters, service: u16| {
        for (name, &[_, active, inactive]) in recorded {
            let (own_active, own_inactive) = lvs.server_counters(now, service, server_id(name)?);
            tally.counters += 2;
            tally.counters_matched += u64::from(active == i64::from(own_active));
            tally.counters_matched += u64::from(inactive == i64::from(own_inactive));
        }
        Ok::<(), CaseError>(())
    };
    if let Some(servers) = &snapshot.servers {
        check(servers, 0)?;
    }
    for (name, servers) in snapshot.services.iter().flatten() {
        check(servers, service_id(name)?)?;
    }

    if snapshot.templates.is_some() || snapshot.templates_count.is_some() {
        let mut own: Vec<_> = lvs.templates(now).collect();
        if let Some(count) = snapshot.templates_count {
            tally.templates += 1;
            tally.templates_matched += u64::from(count == own.len() as u64);
        }
        for line in snapshot.templates.iter().flatten() {
            let (client, server, left, _, service) = line.parts();
            let (address, server) = (address(event, client)?, server_id(server)?);
            // An invalidated template shows port 65535 in place of the service's own.
            let invalid = service.is_some_and(|service| service.ends_with(":65535"));
            let service = service.filter(|_| !invalid).map(service_id).transpose()?;
            let found = own.iter().position(|view| {
                (view.address, view.server, view.invalid) == (address, server, invalid)
                    && service.is_none_or(|service| view.service == service)
                    && is_near(view.left, left)
            });
            tally.templates += 1;
            if let Some(found) = found {
                own.swap_remove(found);
                tally.templates_matched += 1;
            }
        }
    }

    if snapshot.states.is_some() || snapshot.conns.is_some() {
        let own: Vec<_> = lvs.connections(now).collect();
        for (state, &count) in snapshot.states.iter().flatten() {
            let in_state = own.iter().filter(|view| view.state.name() == state).count();
            tally.connections += 1;
            tally.connections_matched += u64::from(in_state as u64 == count);
        }
        for line in snapshot.conns.iter().flatten() {
            let (client, server, left, state, _) = line.parts();
            let (client, port) = client
                .rsplit_once(':')
                .and_then(|(client, port)| Some((client, port.parse::<u16>().ok()?)))
                .ok_or_else(|| event.error(format!("no address and port: `{client}`")))?;
            let (address, server) = (address(event, client)?, server_id(server)?);
            let found = own.iter().any(|view| {
                (view.address, view.port, view.server) == (address, port, server)
                    && view.state.name() == state
                    && is_near(view.left, left)
            });
            tally.connections += 1;
            tally.connections_matched += u64::from(found);
        }
    }
    Ok(())
}

fn address(event: &Event, text: &str) -> Result<IpAddr, CaseError> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse().map_err(|_| event.error(format!("no address: `{text}`")))
}

/// Whether a time left is within a second of one in whole seconds, as `ipvsadm` prints it.
fn is_near(left: SimDuration, seconds: i64) -> bool {
    (left.as_secs_f64() - seconds as f64).abs() <= 1.5
}

//! Drives a director, or two with the address moving from one to the other, through the rows of a recording.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use crate::conformance::{CaseError, Difference, Tally};
use crate::engine::{SimDuration, SimTime};
use crate::ids::ServerId;
use crate::tier::lvs::{SyncEntry, SyncRole};
use crate::tier::{FlowId, Forwarded, Lvs, Method, Open, Reason, Segment, Ties};

use super::format::Event;
use super::services::{Called, Setup};
use super::snapshot;
pub use super::snapshot::SnapshotTally;

/// How long the client's kernel keeps back the acknowledgement of a FIN that it does not answer with its own
/// (`TCP_DELACK_MIN`). The server's kernel acknowledges at once, as the recordings show.
const DELAYED_ACK: SimDuration = SimDuration::from_millis(40);

/// One connection of the recording.
#[derive(Clone, Debug)]
struct Connection {
    address: IpAddr,
    port: u16,
    service: u16,
    key: Vec<u8>,
    flow: FlowId,
    /// The server that knows it; `None` if there is none.
    server: Option<ServerId>,
}

/// A flow that no director knows.
const NO_FLOW: FlowId = FlowId { slot: u32::MAX, generation: 0 };

/// A director, or two, and what surrounds them in the recording.
pub(super) struct Replay {
    directors: Vec<Lvs>,
    /// Which of them has the address.
    active: usize,
    /// What the sync daemon sends; empty between rows.
    sent: Vec<SyncEntry>,
    setup: Setup,
    connections: BTreeMap<String, Connection>,
    /// Whether each server refuses new connections (`server_down`); length = servers.
    down: Vec<bool>,
    /// Acknowledgements under way, in the order of their times: delays are all alike.
    delayed: VecDeque<(SimTime, String, Segment)>,
    tally: Tally,
    snapshots: SnapshotTally,
}

impl Replay {
    /// `first_look`: when the sync daemon's thread looks for something to send for the first time.
    pub fn new(setup: Setup, first_look: SimDuration) -> Self {
        let lvs = |_| Lvs::new(setup.config.clone());
        let mut directors: Vec<Lvs> = (0..setup.directors.len().max(1)).map(lvs).collect();
        if let (Some(sync), [first, second, ..]) = (setup.sync, &mut directors[..]) {
            first.start_sync(SimTime::ZERO, sync, SyncRole::Master, first_look);
            second.start_sync(SimTime::ZERO, sync, SyncRole::Backup, first_look);
        }
        Self {
            directors,
            active: 0,
            sent: Vec::new(),
            connections: BTreeMap::new(),
            down: vec![false; setup.servers.len()],
            delayed: VecDeque::new(),
            tally: Tally::default(),
            snapshots: SnapshotTally::default(),
            setup,
        }
    }

    pub fn finish(self) -> (Tally, SnapshotTally) {
        (self.tally, self.snapshots)
    }

    /// Replays one row.
    ///
    /// # Errors
    /// If it names a server or connection that there is not, or something that no row can say.
    pub fn step(&mut self, event: &Event) -> Result<(), CaseError> {
        let now = event.time();
        while let Some((at, ..)) = self.delayed.front()
            && *at <= now
            && let Some((at, conn, segment)) = self.delayed.pop_front()
        {
            self.synchronise(at);
            self.segment(at, &conn, segment);
        }
        self.synchronise(now);
        match event.event.as_str() {
            "open" => self.open(now, event),
            "close" => self.close(now, event),
            "data" => self.data(now, event),
            "weight" => {
                let (server, weight) = (self.server(event)?, weight(event)?);
                self.directors.iter_mut().for_each(|lvs| lvs.set_weight(now, server, weight));
                Ok(())
            }
            "add" => {
                let (server, weight) = (self.server(event)?, weight(event)?);
                self.directors.iter_mut().for_each(|lvs| lvs.add_server(now, server, weight));
                Ok(())
            }
            "remove" => {
                let server = self.server(event)?;
                self.directors.iter_mut().for_each(|lvs| lvs.remove_server(now, server));
                Ok(())
            }
            "failover" => {
                self.active = self.director(event, &event.server)?;
                // Each director names flows for itself.
                self.connections.values_mut().for_each(|connection| connection.flow = NO_FLOW);
                Ok(())
            }
            "server_down" | "server_up" => {
                let server = self.server(event)?;
                self.down[server.index()] = event.event == "server_down";
                Ok(())
            }
            "snapshot" => {
                let snapshot = snapshot::read(event)?;
                let director = match &snapshot.director {
                    Some(name) if !self.setup.directors.is_empty() => self.director(event, name)?,
                    _ => self.active,
                };
                let lvs = &mut self.directors[director];
                snapshot::compare(lvs, &self.setup, now, event, &snapshot, &mut self.snapshots)
            }
            other => Err(event.error(format!("unknown event `{other}`"))),
        }
    }

    /// The client's SYN and acknowledgement; then the server's greeting, which the client acknowledges. A server
    /// that is down answers with a reset.
    fn open(&mut self, now: SimTime, event: &Event) -> Result<(), CaseError> {
        let address = event.client.ok_or_else(|| event.error("`open` without a client"))?;
        let called = self.called(event)?;
        let service = self
            .setup
            .service_of(called)
            .ok_or_else(|| event.error(format!("no service at {} port {}", called.address, called.port)))?;
        let key = self.setup.key_of(service, called);
        let open = Open {
            address,
            port: event.client_port,
            key: &key,
            method: Method::Get,
            worker: 0,
            service,
            ties: Ties::NONE,
        };
        let opened = self.directors[self.active].open(now, &open);
        let server = opened.decision.server;
        let connection =
            Connection { address, port: event.client_port, service, key, flow: opened.flow, server };
        self.connections.insert(event.conn.clone(), connection);

        let modelled = match server {
            None if opened.decision.reason == Reason::NoneUsable => "refused".to_owned(),
            None => "no-answer".to_owned(),
            Some(server) if self.down[server.index()] => {
                self.segment(now, &event.conn, Segment::ServerReset);
                format!("refused by={}", self.setup.servers[server.index()])
            }
            Some(server) => {
                self.segment(now, &event.conn, Segment::Established);
                if !event.has("silent") {
                    self.segment(now, &event.conn, Segment::FromServer);
                    self.segment(now, &event.conn, Segment::FromClient);
                }
                self.setup.servers[server.index()].clone()
            }
        };
        let recorded = match (event.server.as_str(), event.option("by")) {
            ("", Some(by)) => format!("refused by={by}"),
            ("", None) if event.has("no-answer") => "no-answer".to_owned(),
            ("", None) => "refused".to_owned(),
            (server, _) => server.to_owned(),
        };
        self.compare(event, recorded, modelled);
        Ok(())
    }

    fn close(&mut self, now: SimTime, event: &Event) -> Result<(), CaseError> {
        use Segment::{ClientFin, ClientReset, FromClient, FromServer, ServerFin, ServerReset};
        let (segments, delayed): (&[Segment], _) = match event.detail.as_str() {
            "client" => (&[ClientFin, ServerFin, FromClient], None),
            "server" => (&[ServerFin, ClientFin, FromServer], None),
            "client-half" => (&[ClientFin, FromServer], None),
            "server-half" => (&[ServerFin], Some(FromClient)),
            "client-rst" => (&[ClientReset], None),
            "server-rst" => (&[ServerReset], None),
            "both-rst" => (&[ClientReset, ServerReset], None),
            "client-unanswered" => (&[ClientFin, ClientReset, ServerReset], None),
            "server-unanswered" => (&[ServerFin, ClientReset, ServerReset], None),
            other => return Err(event.error(format!("unknown way to close: `{other}`"))),
        };
        self.known(event)?;
        for &segment in segments {
            self.segment(now, &event.conn, segment);
        }
        if let Some(segment) = delayed {
            self.delayed.push_back((now + DELAYED_ACK, event.conn.clone(), segment));
        }
        Ok(())
    }

    /// The client sends a byte; the server sends it back, which the client acknowledges.
    fn data(&mut self, now: SimTime, event: &Event) -> Result<(), CaseError> {
        let own_server = self.known(event)?.server;
        let modelled = match self.segment(now, &event.conn, Segment::FromClient) {
            Forwarded::To(server) if Some(server) == own_server => {
                self.segment(now, &event.conn, Segment::FromServer);
                self.segment(now, &event.conn, Segment::FromClient);
                "answered"
            }
            // Another server does not know the connection.
            Forwarded::To(_) => {
                self.segment(now, &event.conn, Segment::ServerReset);
                "reset"
            }
            Forwarded::Reset => "reset",
            Forwarded::Dropped => "no-answer",
        };
        let recorded = event.detail.split_whitespace().next().unwrap_or("").to_owned();
        if !["answered", "reset", "no-answer"].contains(&recorded.as_str()) {
            return Err(event.error(format!("unknown outcome of `data`: `{recorded}`")));
        }
        self.compare(event, recorded, modelled.to_owned());
        Ok(())
    }

    /// Sends a segment of a connection; by its addresses, where its entry has expired.
    fn segment(&mut self, now: SimTime, conn: &str, segment: Segment) -> Forwarded {
        let Some(connection) = self.connections.get_mut(conn) else { return Forwarded::Reset };
        let lvs = &mut self.directors[self.active];
        let forwarded = lvs.segment(now, connection.flow, segment);
        if forwarded != Forwarded::Reset {
            return forwarded;
        }
        let open = Open {
            address: connection.address,
            port: connection.port,
            key: &connection.key,
            method: Method::Get,
            worker: 0,
            service: connection.service,
            ties: Ties::NONE,
        };
        let rejoined = lvs.rejoin(now, &open, segment);
        if let Some(opened) = rejoined.opened {
            connection.flow = opened.flow;
        }
        rejoined.forwarded
    }

    fn compare(&mut self, event: &Event, recorded: String, modelled: String) {
        if recorded == modelled {
            self.tally.alike();
        } else {
            self.tally.different(|| Difference {
                row: event.line,
                t_ms: event.t_ms,
                event: event.event.clone(),
                recorded,
                modelled,
            });
        }
    }

    /// What the sync daemon of the first director sends by `now` reaches the other at once.
    fn synchronise(&mut self, now: SimTime) {
        let [first, second] = &mut self.directors[..] else { return };
        while first.sync_due() <= now {
            let due = first.sync_due();
            first.send_sync(due, &mut self.sent);
            second.receive_sync(due, &self.sent);
            self.sent.clear();
        }
    }

    fn director(&self, event: &Event, name: &str) -> Result<usize, CaseError> {
        let index = self.setup.directors.iter().position(|own| own == name);
        index.ok_or_else(|| event.error(format!("no director `{name}` in case.json")))
    }

    fn called(&self, event: &Event) -> Result<Called, CaseError> {
        let mut called = self.setup.default;
        if let Some(vip) = event.option("vip") {
            called.address = vip.parse().map_err(|_| event.error(format!("`vip`: no address: `{vip}`")))?;
        }
        if let Some(port) = event.option("vport") {
            called.port = port.parse().map_err(|_| event.error(format!("`vport`: no port: `{port}`")))?;
        }
        Ok(called)
    }

    fn server(&self, event: &Event) -> Result<ServerId, CaseError> {
        let index = self.setup.servers.iter().position(|name| *name == event.server);
        index
            .map(ServerId::from_index)
            .ok_or_else(|| event.error(format!("no server `{}` in case.json", event.server)))
    }

    fn known(&self, event: &Event) -> Result<&Connection, CaseError> {
        let unknown = || event.error(format!("connection `{}` was never opened", event.conn));
        self.connections.get(&event.conn).ok_or_else(unknown)
    }
}

fn weight(event: &Event) -> Result<u32, CaseError> {
    let unreadable = || event.error(format!("no weight: `{}`", event.detail));
    event.detail.split_whitespace().next().and_then(|word| word.parse().ok()).ok_or_else(unreadable)
}

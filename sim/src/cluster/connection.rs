//! The connections of clients: opened, used again, kept alive, closed.

use super::Cluster;
use super::event::Event;
use super::instances::NOBODY;
use super::paths::Path;
use super::request::{Connection, Origin, Unanswered};
use super::route::NO_FLOW;
use crate::engine::queue::PendingEvents;
use crate::engine::{Scheduler, SimDuration, SimTime};
use crate::ids::{ConnectionId, ServerId};
use crate::metrics::recorder::Failure;
use crate::population::Source;
use crate::scenario::{ClosedBy, ConnectionRules};
use crate::tier::{Forwarded, Layer, Method, Open, Reason, Segment, Ties};

/// What opens a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    /// From where.
    pub source: Source,
    /// Names its draws.
    pub name: (u64, u64),
    /// The port that is called.
    pub port: u16,
    /// The address of the next tier to which the site's name was resolved.
    pub resolved: Option<u16>,
}

/// Why a SYN is not answered, and what a request fails of for that.
#[derive(Clone, Copy, Debug)]
pub(super) enum NoAnswer {
    /// It is refused: that is known at once.
    Refused(Failure),
    /// Nobody says a word.
    Silent(Failure),
}

/// A director that knows no server says so, but drops what belongs to one that was removed.
pub(super) fn no_server(reason: Reason) -> NoAnswer {
    match reason {
        Reason::AffinityUnusable(_) => NoAnswer::Silent(Failure::Dropped),
        _ => NoAnswer::Refused(Failure::NoServer),
    }
}

impl Cluster<'_> {
    /// Takes an open connection for another request. `None` when a new one is needed: there is none, or the director has
    /// forgotten it and the request can be sent again.
    ///
    /// # Errors
    /// The request fails with the connection.
    #[inline(always)]
    pub(super) fn reuse_connection(
        &mut self,
        now: SimTime,
        connection: Option<ConnectionId>,
        method: Method,
    ) -> Result<Option<ConnectionId>, Failure> {
        let Some(id) = connection else { return Ok(None) };
        if (self.is_watched() || self.faults.clients_cut) && !self.director_knows(now, id, method)? {
            return Ok(None);
        }
        let row = self.connections.get_mut(id.0);
        row.idle_until = SimTime::NEVER;
        row.in_flight += 1;
        row.requests += 1;
        Ok(Some(id))
    }

    /// Whether a request of a client can be sent on an open connection, be it that nobody hears it yet. If not, the director has reset
    /// the connection, and the request can be sent on another.
    ///
    /// # Errors
    /// The request fails with the connection.
    fn director_knows(&mut self, now: SimTime, id: ConnectionId, method: Method) -> Result<bool, Failure> {
        if self.connections.get(id.0).unanswered != Unanswered::Nothing {
            return Ok(true);
        }
        let forwarded = if self.faults.clients_cut {
            Forwarded::Dropped
        } else {
            self.pass(now, id, Segment::FromClient)
        };
        match forwarded {
            Forwarded::To(_) => Ok(true),
            Forwarded::Reset => {
                self.count_reset(now);
                self.forget_connection(now, id);
                // A browser sends a GET again on a new connection; it does not repeat a POST.
                if method == Method::Get { Ok(false) } else { Err(Failure::Reset) }
            }
            // Its kernel will send it again.
            Forwarded::Dropped => {
                self.data_is_unanswered(now, id);
                Ok(true)
            }
        }
    }

    /// Opens a connection for a first request. `name` names the draws of the instance that it reaches and of the worker
    /// process that accepts it there. It may be that nobody has answered so far ([`Connection::unanswered`]).
    ///
    /// # Errors
    /// It is refused.
    pub(super) fn open_connection(
        &mut self,
        now: SimTime,
        origin: Origin,
        source: Source,
        name: (u64, u64),
        rules: &ConnectionRules,
    ) -> Result<ConnectionId, Failure> {
        let mut row = Connection {
            owner: origin,
            flow: NO_FLOW,
            idle_until: SimTime::NEVER,
            server: ServerId(0),
            reason: Reason::NoneUsable,
            requests: 1,
            address: source.peer,
            link: source.link,
            port: source.port,
            instance: NOBODY,
            worker: 0,
            open: true,
            in_flight: 1,
            closed_by_client: rules.closed_by == ClosedBy::Client,
            is_orphan: false,
            unanswered: Unanswered::Nothing,
        };
        let mut call = Call { source, name, port: rules.port, resolved: None };
        let (path, silent) = match self.establish(now, &mut row, &mut call) {
            Ok(path) => (path, None),
            Err(NoAnswer::Refused(failure)) => return Err(failure),
            Err(NoAnswer::Silent(failure)) => {
                (row.unanswered, row.instance) = (Unanswered::Syn, NOBODY);
                (None, Some(failure))
            }
        };
        let id = ConnectionId(self.connections.insert(row));
        if let Some(path) = path {
            self.keep_path(now, id, path);
        }
        match silent {
            Some(failure) => self.syn_is_unanswered(now, id, call, failure),
            None => self.note_connection(id),
        }
        Ok(id)
    }

    /// A connection that a director sends to a server has been established.
    pub(super) fn note_connection(&mut self, id: ConnectionId) {
        if self.layer() == Layer::Connection
            && let Some(rosters) = &mut self.faults.rosters
        {
            let server = self.connections.get(id.0).server;
            let is_here = |slot| self.connections.get(slot).goes_to(server);
            rosters.connections.note(server, id.0, is_here);
        }
    }

    /// Sends the SYN of a connection: through the tiers in front to an instance, and where that is a director, to its server. Returns
    /// the way, if more than one was possible.
    ///
    /// # Errors
    /// Nobody accepts it.
    #[inline]
    pub(super) fn establish(
        &mut self,
        now: SimTime,
        row: &mut Connection,
        call: &mut Call,
    ) -> Result<Option<Path>, NoAnswer> {
        let (layer, source, worker) = (self.layer(), call.source, call.name);
        if self.faults.clients_cut {
            return Err(NoAnswer::Silent(Failure::Dropped));
        }
        (row.instance, row.port, row.link) = (0, source.port, source.link);
        row.address = if layer == Layer::Connection { source.peer } else { source.user };
        let mut path = None;
        if self.paths.is_some() {
            let (instance, way) = self.find_path(now, call)?;
            row.instance = instance;
            if let Some((address, port)) = self.seen_at_last(&way) {
                (row.address, row.port) = (address, port);
            }
            path = Some(way);
        } else if self.tier.instances.len() > 1 {
            let instances = self.tier.instances.len() as u64;
            row.instance = self.streams.instance.below(instances, worker.0, worker.1) as u16;
        }
        match layer {
            Layer::Connection => {
                let (service, called) = self.tier.service_of(call.port);
                let open = Open {
                    address: row.address,
                    port: row.port,
                    key: called.as_ref().map_or(&[], |port| port),
                    method: Method::Get,
                    worker: 0,
                    service,
                    ties: Ties::NONE,
                };
                let opened = self.instance(row.instance).open(now, &open);
                let Some(server) = opened.decision.server else {
                    return Err(no_server(opened.decision.reason));
                };
                if !self.servers.accepts_connections(server) {
                    if self.servers.is_silent(server) {
                        return Err(NoAnswer::Silent(Failure::Dropped));
                    }
                    self.instance(row.instance).segment(now, opened.flow, Segment::ServerReset);
                    return Err(NoAnswer::Refused(Failure::Refused));
                }
                self.instance(row.instance).segment(now, opened.flow, Segment::Established);
                if let Some(counts) = self.recorder.at(now) {
                    counts.connections[server.index()] += 1;
                }
                row.flow = opened.flow;
                row.server = server;
                row.reason = opened.decision.reason;
            }
            Layer::Request => {
                let workers = self.workers_of_entry();
                if workers > 1 {
                    row.worker = self.streams.connection.below(u64::from(workers), worker.0, worker.1) as u16;
                }
            }
        }
        Ok(path)
    }

    /// After an answer: keeps the connection for the next request, or closes it. `gap` is the time to the next request if
    /// that is known. Returns whether the connection will be open for it.
    #[inline(always)]
    pub(super) fn keep_alive<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: ConnectionId,
        rules: &ConnectionRules,
        gap: Option<SimDuration>,
        pending: &mut Scheduler<Q>,
    ) -> bool {
        let row = self.connections.get(id.0);
        let (open, spent) = (row.open, row.requests >= rules.keepalive_requests);
        // No gap is shorter than a time-out of zero, which keeps nothing alive.
        if open && !spent && gap.is_some_and(|gap| gap < rules.keepalive_timeout) {
            return true;
        }
        self.let_idle(now, id, rules, gap, pending)
    }

    /// As [`Cluster::keep_alive`], where the next request does not come soon.
    #[inline(never)]
    fn let_idle<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: ConnectionId,
        rules: &ConnectionRules,
        gap: Option<SimDuration>,
        pending: &mut Scheduler<Q>,
    ) -> bool {
        let row = self.connections.get(id.0);
        if !row.open {
            return false;
        }
        if row.requests >= rules.keepalive_requests || rules.keepalive_timeout.is_zero() {
            self.close_connection(now, id);
            return false;
        }
        if self.is_watched() {
            let idle_until = now + rules.keepalive_timeout;
            self.connections.get_mut(id.0).idle_until = idle_until;
            pending.at(idle_until, Event::ConnectionIdle(id).word());
            return true;
        }
        // Nothing in a layer 7 instance depends on when its client's connection closes.
        if gap.is_some() {
            self.close_connection(now, id);
            return false;
        }
        self.connections.get_mut(id.0).idle_until = now + rules.keepalive_timeout;
        true
    }

    /// A connection has idled long enough, unless it was used or closed meanwhile.
    pub(super) fn connection_idle(&mut self, now: SimTime, id: ConnectionId) {
        let row = *self.connections.get(id.0);
        if row.open && row.idle_until == now {
            self.close_connection(now, id);
            self.forget_owner(row.owner, id);
        }
    }

    /// Closes a connection in good order.
    pub(super) fn close_connection(&mut self, now: SimTime, id: ConnectionId) {
        if self.is_watched() && self.connections.get(id.0).stands() {
            let row = self.connections.get(id.0);
            let fins = if row.closed_by_client {
                [Segment::ClientFin, Segment::ServerFin]
            } else {
                [Segment::ServerFin, Segment::ClientFin]
            };
            for fin in fins {
                self.pass(now, id, fin);
            }
        }
        self.forget_connection(now, id);
    }

    pub(super) fn close_if_open(&mut self, now: SimTime, id: ConnectionId) {
        if self.connections.get(id.0).open {
            self.close_connection(now, id);
        }
    }

    /// A connection is gone without another segment.
    pub(super) fn forget_connection(&mut self, now: SimTime, id: ConnectionId) {
        let row = self.connections.get_mut(id.0);
        if let Some(paths) = &mut self.paths
            && row.stands()
        {
            paths.forget(now, id);
        }
        if row.unanswered != Unanswered::Nothing {
            self.silent.remove(&id);
        }
        debug_assert!(row.open, "a connection ends once");
        row.open = false;
        if row.in_flight == 0 {
            self.connections.remove(id.0);
        }
    }

    /// A connection broke: its owner must open another.
    pub(super) fn drop_connection(&mut self, now: SimTime, id: ConnectionId) {
        let row = *self.connections.get(id.0);
        if row.open {
            self.forget_connection(now, id);
            self.forget_owner(row.owner, id);
        }
    }

    /// The owner of a connection learns that it is closed.
    pub(super) fn forget_owner(&mut self, owner: Origin, id: ConnectionId) {
        match owner {
            Origin::Client(client) => {
                let row = self.clients.row_mut(client);
                if row.has_browser() {
                    self.forget_in_browser(client, id);
                } else if row.connection() == Some(id) {
                    row.set_connection(None);
                }
            }
            Origin::Log { source, user } => self.forget_log_connection(source, user, id),
            Origin::Object(_)
            | Origin::Message(_)
            | Origin::Gone
            | Origin::Check
            | Origin::Arrival
            | Origin::Script(_) => {}
        }
    }

    /// Counts open connections, at the first request of a second: nearly a sample at even times, and no event for it.
    #[inline(never)]
    pub(super) fn sample_connections(&mut self, now: SimTime) {
        self.next_sample = now + SimDuration::from_secs(1);
        let (open, in_flight) = (self.connections.len() as u64, self.requests.len() as u64);
        if let Some(counts) = self.recorder.at(now) {
            counts.connection_samples += 1;
            counts.connections_open += open;
            counts.connections_waiting += open.saturating_sub(in_flight);
        }
    }
}

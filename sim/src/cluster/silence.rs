//! Clients whose packets nobody answers: their kernels send them again, until somebody does or they give up.
//!
//! Source: Linux 6.1, `tcp_timer.c` (`tcp_retransmit_timer`, `tcp_write_timeout`) and `tcp.h`: a SYN is sent again 1, 3, 7, 15, 31 and
//! 63 s after the first and given up at 127 s (`tcp_syn_retries` 6); what is sent on a connection is sent again after 0.2 s
//! (`TCP_RTO_MIN`; round trips take no time here), then after twice as long each time, at most 120 s, and given up after the
//! fifteenth time (`tcp_retries2`), 924.6 s after the first. All clients are taken for Linux; Windows gives up a SYN after 21 s.
//!
//! Where somebody answers at the first time, nothing of this is touched: a connection says so in one byte.

use super::Cluster;
use super::connection::{Call, NoAnswer};
use super::event::Event;
use super::instances::NOBODY;
use super::open_loop;
use super::request::{Draw, Origin, Request, Unanswered, Waits};
use crate::engine::queue::PendingEvents;
use crate::engine::{Scheduler, SimDuration, SimTime};
use crate::ids::{ConnectionId, RequestId};
use crate::metrics::recorder::Failure;
use crate::population::Source;
use crate::scenario::HTTP;
use crate::tier::{Forwarded, Layer, Method, Segment};

/// After how long Linux first sends a SYN again (`TCP_TIMEOUT_INIT`), and other segments where the round trip is short
/// (`TCP_RTO_MIN`). Each time without an answer doubles it.
pub(super) const SYN_AGAIN: SimDuration = SimDuration::from_secs(1);
pub(super) const SEGMENT_AGAIN: SimDuration = SimDuration::from_millis(200);
/// The longest time from one to the next (`TCP_RTO_MAX`).
const AGAIN_AFTER_MAX: SimDuration = SimDuration::from_secs(120);
/// How often a SYN is sent again (`tcp_syn_retries`), and another segment (`tcp_retries2`).
pub(super) const SYN_RETRIES: u8 = 6;
const SEGMENT_RETRIES: u8 = 15;

/// When a SYN that was sent `again` so often is sent the next time, from the first time; after the last: when it is given up.
pub(super) fn syn_again(again: u8) -> SimDuration {
    SYN_AGAIN * ((1 << (again + 1)) - 1)
}

/// From one time to the next, after a segment was sent `again` so often.
fn pause(first: SimDuration, again: u8) -> SimDuration {
    (first * (1 << again.min(SEGMENT_RETRIES))).min(AGAIN_AFTER_MAX)
}

/// How often a packet is sent again.
fn retries(unanswered: Unanswered) -> u8 {
    match unanswered {
        Unanswered::Syn => SYN_RETRIES,
        Unanswered::Data | Unanswered::Nothing => SEGMENT_RETRIES,
    }
}

/// A connection on which nobody answers its client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Silent {
    /// How it is opened, while its SYN is unanswered.
    call: Option<Call>,
    /// How often the packet was sent again.
    again: u8,
    /// When that happens next.
    next: SimTime,
    /// What requests on it fail of if nobody ever answers.
    failure: Failure,
    /// The number by which the site knows its client.
    visitor: Option<u64>,
}

/// What came of sending a packet again.
enum Again {
    /// Somebody has answered.
    Answered,
    /// Nobody has.
    Silent(SimTime),
    /// The connection is no more.
    Ended(Failure),
}

impl Cluster<'_> {
    /// Nobody answers the SYN of a connection that was just opened.
    pub(super) fn syn_is_unanswered(&mut self, now: SimTime, id: ConnectionId, call: Call, failure: Failure) {
        let silent = Silent { call: Some(call), again: 0, next: now + SYN_AGAIN, failure, visitor: None };
        self.silent.insert(id, silent);
    }

    /// Nobody answers what is sent on a connection that stands.
    pub(super) fn data_is_unanswered(&mut self, now: SimTime, id: ConnectionId) {
        self.connections.get_mut(id.0).unanswered = Unanswered::Data;
        let next = now + SEGMENT_AGAIN;
        let failure = Failure::Dropped;
        self.silent.insert(id, Silent { call: None, again: 0, next, failure, visitor: None });
    }

    /// Sends a request on a connection on which nobody answers.
    #[inline(never)]
    pub(super) fn send_into_silence<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        mut request: Request,
        visitor: Option<u64>,
        pending: &mut Scheduler<Q>,
    ) -> RequestId {
        let connection = self.connections.get(request.connection.0);
        (request.instance, request.from) = (connection.instance, connection.address);
        let id = RequestId(self.requests.insert(request));
        if let Some(silent) = self.silent.get_mut(&request.connection) {
            silent.visitor = visitor;
        }
        self.waits_for_site(now, id, pending);
        id
    }

    /// How a client opens a connection for a request in place of one that is gone.
    fn call_anew(&mut self, now: SimTime, request: &Request) -> Call {
        let row = *self.connections.get(request.connection.0);
        let Draw { entity, index, .. } = request.demand;
        let same = Source { peer: row.address, user: row.address, port: row.port, link: row.link };
        let (source, name, port) = match request.origin {
            Origin::Client(client) | Origin::Object(client) | Origin::Message(client) => {
                let source = self.clients.source(client, now, index);
                let row = self.clients.row(client);
                let rules = &self.scenario.populations[row.population().index()].connection;
                let name = (u64::from(client.0), u64::from(row.visit) << 16 | u64::from(source.port));
                (source, name, rules.port)
            }
            Origin::Log { source, .. } => (same, (entity, index), self.port_of_source(source.into())),
            Origin::Arrival => (same, (entity, index), self.port_of_source(entity as u32)),
            Origin::Script(_) | Origin::Gone | Origin::Check => (same, (entity, index), HTTP),
        };
        Call { source, name, port, resolved: None }
    }

    /// The port that a source's connections call.
    fn port_of_source(&self, source: u32) -> u16 {
        match &self.sources[source as usize] {
            open_loop::Source::Arrivals(arrivals) => arrivals.rules.port,
            open_loop::Source::Log(replay) => replay.plan.connection.port,
        }
    }

    /// A director's client sends a request to a server that does not take it.
    pub(super) fn falls_silent<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: RequestId,
        pending: &mut Scheduler<Q>,
    ) {
        let request = *self.requests.get(id.0);
        if !self.silent.contains_key(&request.connection) {
            self.data_is_unanswered(now, request.connection);
        }
        self.waits_for_site(now, id, pending);
    }

    /// A request waits until the packets of its connection are sent again.
    fn waits_for_site<Q: PendingEvents>(&mut self, now: SimTime, id: RequestId, pending: &mut Scheduler<Q>) {
        let request = self.requests.get_mut(id.0);
        request.waits = Waits::Site;
        let due = self.silent.get(&request.connection).map_or(now + SEGMENT_AGAIN, |silent| silent.next);
        request.due = due;
        pending.at(due, Event::Retry(id).word());
    }

    /// The packets of a request are sent again.
    #[inline(never)]
    pub(super) fn sends_again<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: RequestId,
        pending: &mut Scheduler<Q>,
    ) {
        let request = *self.requests.get(id.0);
        let visitor = self.silent.get(&request.connection).and_then(|silent| silent.visitor);
        match self.asks_again(now, &request) {
            Again::Answered => self.is_heard(now, id, visitor, pending),
            Again::Silent(next) => {
                self.requests.get_mut(id.0).due = next;
                pending.at(next, Event::Retry(id).word());
            }
            Again::Ended(failure) => {
                self.drop_connection(now, request.connection);
                self.give_up(now, id, failure, pending);
                if let Origin::Message(client) = request.origin {
                    self.message_is_lost(now, client, request.connection, pending);
                }
            }
        }
    }

    /// Somebody answers: a request goes its way.
    fn is_heard<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: RequestId,
        visitor: Option<u64>,
        pending: &mut Scheduler<Q>,
    ) {
        let mut request = *self.requests.get(id.0);
        (request.waits, request.due) = (Waits::Instance, SimTime::NEVER);
        if matches!(request.origin, Origin::Message(_)) {
            *self.requests.get_mut(id.0) = request;
            return self.message_is_heard(now, id, pending);
        }
        let visitor = visitor.filter(|_| request.has_cookie);
        if self.chained {
            *self.requests.get_mut(id.0) = request;
            return self.send_through_proxies(now, id, visitor, pending);
        }
        let decision = self.decide(now, &mut request, visitor);
        *self.requests.get_mut(id.0) = request;
        self.attempt(now, id, decision, pending);
        self.watch(id, pending);
    }

    /// Sends the packets of a connection again on behalf of a request, unless another one on it has just done so.
    fn asks_again(&mut self, now: SimTime, request: &Request) -> Again {
        let id = request.connection;
        let row = *self.connections.get(id.0);
        if !row.open {
            return Again::Ended(Failure::Reset);
        }
        let Some(silent) = self.silent.get(&id).copied() else { return Again::Answered };
        if silent.next > now {
            return Again::Silent(silent.next);
        }
        if silent.again >= retries(row.unanswered) {
            return Again::Ended(silent.failure);
        }
        let heard = match row.unanswered {
            Unanswered::Syn => match silent.call {
                Some(call) => self.calls_again(now, id, call),
                None => unreachable!("a SYN is somebody's"),
            },
            Unanswered::Data => match self.pass_data(now, id) {
                Forwarded::To(_) => Ok(()),
                Forwarded::Dropped => Err(NoAnswer::Silent(silent.failure)),
                Forwarded::Reset => {
                    self.count_reset(now);
                    // A browser sends a GET again on a new connection; it does not repeat a POST, nor a message.
                    if request.method != Method::Get {
                        return Again::Ended(Failure::Reset);
                    }
                    return self.opens_anew(now, request, silent);
                }
            },
            Unanswered::Nothing => Ok(()),
        };
        self.after_packet(now, id, silent, heard)
    }

    /// What follows when a packet was sent again.
    fn after_packet(
        &mut self,
        now: SimTime,
        id: ConnectionId,
        mut silent: Silent,
        heard: Result<(), NoAnswer>,
    ) -> Again {
        let failure = match heard {
            Ok(()) => {
                self.silent.remove(&id);
                self.connections.get_mut(id.0).unanswered = Unanswered::Nothing;
                return Again::Answered;
            }
            Err(NoAnswer::Refused(failure)) => return Again::Ended(failure),
            Err(NoAnswer::Silent(failure)) => failure,
        };
        let first = match self.connections.get(id.0).unanswered {
            Unanswered::Syn => SYN_AGAIN,
            Unanswered::Data | Unanswered::Nothing => SEGMENT_AGAIN,
        };
        silent.again += 1;
        silent.next = now + pause(first, silent.again);
        silent.failure = failure;
        let next = silent.next;
        self.silent.insert(id, silent);
        Again::Silent(next)
    }

    /// The SYN of a connection is sent again.
    fn calls_again(&mut self, now: SimTime, id: ConnectionId, mut call: Call) -> Result<(), NoAnswer> {
        let mut row = *self.connections.get(id.0);
        let path = self.establish(now, &mut row, &mut call)?;
        row.unanswered = Unanswered::Nothing;
        *self.connections.get_mut(id.0) = row;
        self.note_connection(id);
        if let Some(path) = path {
            self.keep_path(now, id, path);
        }
        Ok(())
    }

    /// A connection was reset, and its client opens another in its place.
    fn opens_anew(&mut self, now: SimTime, request: &Request, silent: Silent) -> Again {
        let id = request.connection;
        let call = self.call_anew(now, request);
        if let Some(paths) = &mut self.paths {
            paths.forget(now, id);
        }
        let row = self.connections.get_mut(id.0);
        (row.unanswered, row.instance, row.requests) = (Unanswered::Syn, NOBODY, 1);
        row.is_orphan = false;
        let fresh = Silent { call: Some(call), again: 0, ..silent };
        let heard = self.calls_again(now, id, call);
        // The first SYN is none that is sent again.
        if let Err(NoAnswer::Silent(failure)) = heard {
            let next = now + SYN_AGAIN;
            self.silent.insert(id, Silent { next, failure, ..fresh });
            return Again::Silent(next);
        }
        self.after_packet(now, id, fresh, heard)
    }

    /// What a client sends on its connection passes the tiers, and behind directors the server takes it.
    pub(super) fn pass_data(&mut self, now: SimTime, id: ConnectionId) -> Forwarded {
        if self.faults.clients_cut {
            return Forwarded::Dropped;
        }
        if !self.is_watched() {
            return Forwarded::To(self.connections.get(id.0).server);
        }
        let forwarded = self.pass(now, id, Segment::FromClient);
        let server = self.connections.get(id.0).server;
        let takes = self.layer() == Layer::Request
            || self.servers.accepts_connections(server)
            || !self.servers.is_silent(server);
        match forwarded {
            Forwarded::To(_) if !takes => Forwarded::Dropped,
            forwarded => forwarded,
        }
    }

    /// Whether the answer to a request has to wait since nothing gets through to clients.
    #[inline(never)]
    pub(super) fn answer_waits<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: RequestId,
        pending: &mut Scheduler<Q>,
    ) -> bool {
        let request = self.requests.get_mut(id.0);
        if matches!(request.origin, Origin::Gone | Origin::Message(_)) {
            return false;
        }
        request.in_server = false;
        (request.waits, request.syns_again) = (Waits::Client, 0);
        self.wait_before_retry(now, id, SEGMENT_AGAIN, pending);
        self.watch(id, pending);
        true
    }

    /// An answer is sent again to a client whom it has not reached.
    #[inline(never)]
    pub(super) fn answers_again<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        id: RequestId,
        pending: &mut Scheduler<Q>,
    ) {
        let request = self.requests.get_mut(id.0);
        let again = request.syns_again + 1;
        if !self.faults.clients_cut {
            request.waits = Waits::Instance;
            return self.answer(now, id, pending);
        }
        if again > SEGMENT_RETRIES {
            let (flow, instance, connection) = (request.flow, request.instance, request.connection);
            if self.layer() == Layer::Request {
                self.instance(instance).abort(now, flow);
            }
            self.drop_connection(now, connection);
            return self.give_up(now, id, Failure::Dropped, pending);
        }
        request.syns_again = again;
        self.wait_before_retry(now, id, pause(SEGMENT_AGAIN, again), pending);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_sent_again_when_linux_does() {
        let syns: Vec<u64> = (0..=SYN_RETRIES).map(|again| syn_again(again).0 / 1_000_000_000).collect();
        assert_eq!(syns, [1, 3, 7, 15, 31, 63, 127]);
        let all: u64 = (0..=SEGMENT_RETRIES).map(|again| pause(SEGMENT_AGAIN, again).0 / 1_000_000).sum();
        assert_eq!(all, 924_600);
    }
}

//! A replayed log as a source of requests.
//!
//! The log gives times, addresses, agents and methods. Connections, service times and sessions are inferred: requests of
//! one client within `keepalive_timeout` of each other share a connection unless they overlap; service is demanded after the
//! scenario's law; the first request of a visit creates the session and the later ones need it, static objects and bots
//! aside. After a loss the session is made anew where it was missed, since the log's clicks cannot be asked to log in again.

use super::Cluster;
use super::event::Event;
use super::log_source::{Is, LogReplay, NONE};
use super::open_loop;
use super::request::{Draw, Origin, Purpose, Request, SessionWork};
use crate::engine::queue::PendingEvents;
use crate::engine::{Scheduler, SimDuration, SimTime};
use crate::ids::ConnectionId;
use crate::population::Source;
use crate::population::replay::LogMethod;
use crate::session::sessions::Lookup;
use crate::tier::{Layer, Method};

impl<'a> Cluster<'a> {
    fn log(&mut self, source: u32) -> &mut LogReplay<'a> {
        match &mut self.sources[source as usize] {
            open_loop::Source::Log(replay) => replay,
            open_loop::Source::Arrivals(_) => unreachable!("the source is a log"),
        }
    }

    pub(super) fn log_arrival<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        source: u32,
        pending: &mut Scheduler<Q>,
    ) {
        let measured_from = self.recorder.calendar().measured_from;
        self.close_idle_log_connections(now, source);
        let replay = self.log(source);
        let Some((next, begins)) = replay.take_next() else { return };
        let (record, log_client) = (next.record, next.client);
        let user = log_client.user;
        let (number, plan) = (replay.number, replay.plan);
        if let Some(next) = replay.next_at() {
            pending.at(measured_from + next.since(SimTime::ZERO), Event::SourceArrival(source).word());
        }
        self.touch_sessions(source);
        if begins {
            self.log_visit_ended(source, user);
            self.recorder.ledger.visits_begun += 1;
            let row = &mut self.log(source).users[user as usize];
            row.set(Is::Visiting, true);
            row.set(Is::Measured, now >= measured_from);
        }
        let with_session = plan.sessions
            && !log_client.is_bot()
            && !record.flags.static_object()
            && !record.flags.bot_path();
        let row = &mut self.log(source).users[user as usize];
        row.latest = now;
        let moved = std::mem::replace(&mut row.client, record.client) != record.client;
        row.port_counter = row.port_counter.wrapping_add(1);
        let (connection, port_counter) = (row.connection, row.port_counter);
        let known = row.set(Is::Known, true);
        let session = (with_session && row.session != NONE).then_some(row.session);
        let begins_session = with_session && !row.is(Is::LoggedIn);
        row.set(Is::LoggedIn, row.is(Is::LoggedIn) || with_session);

        let method = if record.method == LogMethod::Post { Method::Post } else { Method::Get };
        let origin = Origin::Log { source: source as u16, user };
        self.recorder.ledger.requests_issued += 1;
        let kept = self.idle_log_connection(now, origin, connection, moved);
        let reused = self.reuse_connection(now, kept, method);
        if let (Some(gone), Ok(None) | Err(_)) = (kept, &reused) {
            // Its slot will be another client's.
            self.forget_log_connection(source as u16, user, gone);
        }
        let connection = match reused {
            Ok(Some(connection)) => Ok(connection),
            Ok(None) => {
                // A port of the user's own; users behind one address draw theirs apart.
                let port = 1024
                    + self.streams.connection.below(64_512, u64::from(user), u64::from(port_counter)) as u16;
                let worker = (u64::from(user), 1 << 32 | u64::from(port_counter));
                let source = Source::of(log_client.address, port);
                self.open_connection(now, origin, source, worker, &plan.connection)
            }
            Err(failure) => Err(failure),
        };
        match connection {
            Ok(connection) => {
                let row = &mut self.log(source).users[user as usize];
                if row.connection == NONE {
                    row.connection = connection.0;
                }
                let demand = Draw { entity: u64::from(source), index: number, purpose: Purpose::LogLine };
                let operations = u8::from(begins_session) + 2 * u8::from(session.is_some());
                let mut request = Request::new(now, origin, connection, method, session, demand);
                request.store_operations = self.store_operations(now, operations);
                request.begins_session = begins_session;
                request.work = match session {
                    Some(_) => SessionWork::Use,
                    None if begins_session => SessionWork::Login,
                    None => SessionWork::None,
                };
                // Robots keep no cookies; others have one after their first line of the log.
                let has_cookie = known && !log_client.is_bot();
                let visitor = 1 << 63 | u64::from(source) << 32 | u64::from(user);
                let cookie = has_cookie.then_some(visitor);
                self.send_apart(now, request, cookie, pending);
            }
            Err(failure) => self.request_failed(now, origin, failure, pending),
        }
    }

    /// Closes connections to a layer 7 tier that have idled long enough. Nothing there depends on the moment, so it takes no
    /// event, and their users notice when they want them again.
    fn close_idle_log_connections(&mut self, now: SimTime, source: u32) {
        while let Some((until, id)) = self.log(source).idled(now) {
            let row = self.connections.get(id.0);
            if row.open && row.in_flight == 0 && row.idle_until == until {
                self.close_connection(now, id);
            }
        }
    }

    /// Has the sessions of the next requests fetched.
    #[inline]
    fn touch_sessions(&self, source: u32) {
        if let open_loop::Source::Log(replay) = &self.sources[source as usize] {
            let touched = replay.sessions_of_new_batch().map(|slot| self.sessions.get(slot).generation);
            std::hint::black_box(touched.fold(0, |all, one| all ^ one));
        }
    }

    /// The user's connection if it is open and idle; one that has idled too long, or is of another address or browser than
    /// the user has now (`moved`), is closed.
    fn idle_log_connection(
        &mut self,
        now: SimTime,
        owner: Origin,
        slot: u32,
        moved: bool,
    ) -> Option<ConnectionId> {
        if slot == NONE {
            return None;
        }
        let row = *self.connections.get(slot);
        if !(row.open && row.owner == owner) {
            // It was closed for idleness, and its slot may be another's. The user cannot have it for a second connection,
            // which is opened only beside a first one that lives.
            self.forget_owner(owner, ConnectionId(slot));
            return None;
        }
        if row.in_flight > 0 {
            if moved {
                // It closes after its answer, like any other than the user's first.
                self.forget_owner(owner, ConnectionId(slot));
            }
            return None;
        }
        if moved || row.idle_until <= now {
            self.close_connection(now, ConnectionId(slot));
            self.forget_owner(row.owner, ConnectionId(slot));
            return None;
        }
        Some(ConnectionId(slot))
    }

    /// Idle time after which the application forgets a session of a log; `None` of another source.
    pub(super) fn log_idle_timeout(&self, source: u16) -> Option<SimDuration> {
        match &self.sources[usize::from(source)] {
            open_loop::Source::Log(replay) => Some(replay.plan.session_idle_timeout),
            open_loop::Source::Arrivals(_) => None,
        }
    }

    pub(super) fn forget_log_connection(&mut self, source: u16, user: u32, id: ConnectionId) {
        let row = &mut self.log(u32::from(source)).users[user as usize];
        if row.connection == id.0 {
            row.connection = NONE;
        }
    }

    /// A request of a log was answered.
    pub(super) fn log_answered<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        source: u16,
        user: u32,
        request: &Request,
        pending: &mut Scheduler<Q>,
    ) {
        self.rest_log_connection(now, source, user, request.connection, pending);
        let replay = self.log(u32::from(source));
        let plan = replay.plan;
        let row = replay.users[user as usize];
        // A session that ended while the request was under way (the visit went over to the next) is not looked for.
        if let Some(slot) = request.session
            && row.session == slot
            && self.sessions.get(slot).generation == request.session_generation
        {
            let found = self.find_session(
                now,
                slot,
                &request.route(),
                (plan.session_idle_timeout, plan.on_unknown_id),
                true,
            );
            match found {
                Lookup::Hit | Lookup::Resumed { .. } => return,
                Lookup::Expired => self.end_session(slot),
                Lookup::Lost { .. } => {
                    self.log(u32::from(source)).users[user as usize].set(Is::HadLoss, true);
                    self.tell_log_story(now, user, slot, request, &found);
                    if let Some(slot) = self.settle_lost_session(slot, plan.on_unknown_id) {
                        self.store_session_again(now, slot, request);
                        self.sessions.chosen_by(slot, &request.route());
                        let forked = self.sessions.take_over(
                            now,
                            slot,
                            request.server,
                            request.from,
                            &self.servers,
                            plan.session_idle_timeout,
                        );
                        let in_store = self.is_in_store(slot);
                        if let Some(counts) = self.recorder.at(now) {
                            counts.created += 1;
                            counts.forked += u64::from(forked && !in_store);
                        }
                        return;
                    }
                }
            }
            self.log(u32::from(source)).users[user as usize].session = NONE;
            self.begin_log_session(now, source, user, request);
        } else if request.begins_session && row.is(Is::Visiting) && row.session == NONE {
            self.begin_log_session(now, source, user, request);
        }
    }

    /// A connection has brought an answer: it idles if it is the user's first, else it has done what it was opened for.
    pub(super) fn rest_log_connection<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        source: u16,
        user: u32,
        id: ConnectionId,
        pending: &mut Scheduler<Q>,
    ) {
        let replay = self.log(u32::from(source));
        let plan = replay.plan;
        if replay.users[user as usize].connection == id.0 {
            if !self.keep_alive(now, id, &plan.connection, None, pending) {
                self.forget_log_connection(source, user, id);
            } else if self.layer() == Layer::Request {
                let until = self.connections.get(id.0).idle_until;
                self.log(u32::from(source)).idles(id, until);
            }
        } else if self.connections.get(id.0).open {
            self.close_connection(now, id);
        }
    }

    fn begin_log_session(&mut self, now: SimTime, source: u16, user: u32, request: &Request) {
        let slot = self.sessions.create(now, request.server, request.from, &self.servers);
        self.chose_home(slot, request);
        self.store_session(now, slot, request);
        self.log(u32::from(source)).users[user as usize].session = slot;
        if let Some(counts) = self.recorder.at(now) {
            counts.created += 1;
        }
    }

    /// The visit of a user of a log is over, if there is one.
    fn log_visit_ended(&mut self, source: u32, user: u32) {
        let row = self.log(source).users[user as usize];
        if !row.is(Is::Visiting) {
            return;
        }
        if row.session != NONE {
            self.end_session(row.session);
        }
        self.visit_ended(row.latest, row.is(Is::Measured), true, row.is(Is::LoggedIn), row.is(Is::HadLoss));
        let row = &mut self.log(source).users[user as usize];
        row.session = NONE;
        for what in [Is::Visiting, Is::LoggedIn, Is::HadLoss] {
            row.set(what, false);
        }
    }

    /// Ends the visits that had been idle for longer than the gap when the run ended.
    pub(super) fn end_idle_log_visits(&mut self, end: SimTime) {
        for source in 0..self.sources.len() as u32 {
            let open_loop::Source::Log(replay) = &self.sources[source as usize] else { continue };
            for user in replay.visits_over(end) {
                self.log_visit_ended(source, user);
            }
        }
    }
}

//! A log while it is replayed: its next requests, and a row for each of its users.

use std::collections::VecDeque;

use crate::engine::{SimDuration, SimTime};
use crate::ids::ConnectionId;
use crate::population::moved::Moved;
use crate::population::replay::{LogClient, LogRecord, PreparedLog, RecordReader, VisitState};
use crate::scenario::LogSource;

/// Stands for no connection, client or session.
pub(super) const NONE: u32 = u32::MAX;

/// Requests that are read together, so that their users' rows come into the cache together.
const BATCH: usize = 32;

/// A log while it is replayed.
#[derive(Debug)]
pub(super) struct LogReplay<'a> {
    pub plan: &'a LogSource,
    pub log: &'a PreparedLog,
    /// Where its networks lie.
    moved: Moved,
    reader: RecordReader,
    pub users: Vec<LogUserRow>,
    /// The next requests, and how many of them have come.
    batch: Vec<Upcoming>,
    come: usize,
    /// The request that came last.
    pub current: Option<LogRecord>,
    /// Requests so far.
    pub number: u64,
    /// The longest gap within a visit \[s of the log\].
    gap_seconds: u32,
    /// Connections that began to idle and until when, in that order; some have been used again since.
    idle: VecDeque<(SimTime, ConnectionId)>,
    /// Why reading stopped before the end, if it did.
    error: Option<String>,
}

/// A request that is still to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Upcoming {
    /// From the log's first second, at the scenario's speed.
    pub at: SimTime,
    pub record: LogRecord,
    pub client: LogClient,
}

/// The state of one user of a log.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
pub(super) struct LogUserRow {
    pub latest: SimTime,
    /// Where in its visits the user is.
    pub visit: VisitState,
    /// The first connection that it has open; perhaps one that was closed for idleness.
    pub connection: u32,
    /// The client that the latest request was of.
    pub client: u32,
    pub session: u32,
    pub port_counter: u16,
    flags: u8,
}
const _: () = assert!(size_of::<LogUserRow>() == 32);

/// What may be so of a user.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Is {
    /// A visit goes on.
    Visiting = 1,
    /// The visit carries a session.
    LoggedIn = 2,
    /// The visit has lost its session.
    HadLoss = 4,
    /// The visit began after the warm-up.
    Measured = 8,
    /// The site has answered the client before, so that it has a cookie, if it keeps cookies.
    Known = 16,
}

impl LogUserRow {
    const NEW: Self = Self {
        latest: SimTime::ZERO,
        visit: VisitState::NEW,
        connection: NONE,
        client: NONE,
        session: NONE,
        port_counter: 0,
        flags: 0,
    };

    /// Whether it is so.
    #[inline]
    pub fn is(&self, what: Is) -> bool {
        self.flags & what as u8 != 0
    }

    /// Makes it so, or not; returns whether it was.
    #[inline]
    pub fn set(&mut self, what: Is, so: bool) -> bool {
        let was = self.is(what);
        self.flags = if so { self.flags | what as u8 } else { self.flags & !(what as u8) };
        was
    }
}

impl<'a> LogReplay<'a> {
    /// A log at its first request.
    pub fn new(plan: &'a LogSource, log: &'a PreparedLog, moved: Moved) -> Self {
        let mut replay = Self {
            plan,
            log,
            moved,
            reader: log.records(),
            users: vec![LogUserRow::NEW; log.users()],
            batch: Vec::with_capacity(BATCH),
            come: 0,
            current: None,
            number: 0,
            gap_seconds: u32::try_from(plan.visit_gap.0 / 1_000_000_000).unwrap_or(u32::MAX),
            idle: VecDeque::new(),
            error: None,
        };
        replay.read_batch();
        replay
    }

    /// Takes the next request, if there is one, and whether its visit begins with it.
    #[inline]
    pub fn take_next(&mut self) -> Option<(Upcoming, bool)> {
        let next = *self.batch.get(self.come)?;
        self.come += 1;
        self.number += 1;
        self.current = Some(next.record);
        let visit = &mut self.users[next.client.user as usize].visit;
        let begins = visit.observe(next.record.second, self.gap_seconds) == 0;
        if self.come == self.batch.len() {
            self.read_batch();
        }
        Some((next, begins))
    }

    /// Reads the next requests, their clients and their users. Loads that do not depend on each other miss the cache
    /// together.
    fn read_batch(&mut self) {
        self.come = 0;
        self.batch.clear();
        let nobody = LogClient { address: [0; 4].into(), agent: 0, user: 0, bot: None };
        for request in self.reader.by_ref().take(BATCH) {
            match request {
                Ok(request) => {
                    let at = at_speed(request.at, self.plan.speed);
                    self.batch.push(Upcoming { at, record: request.record, client: nobody });
                }
                Err(error) => {
                    self.error = Some(error.to_string());
                    break;
                }
            }
        }
        let clients = self.log.clients();
        for next in &mut self.batch {
            next.client = clients[next.record.client as usize];
            next.client.address = self.moved.address(next.client.address);
        }
        let touched = self.batch.iter().map(|next| self.users[next.client.user as usize].connection);
        std::hint::black_box(touched.fold(0, |all, one| all ^ one));
    }

    /// Sessions of the users of a batch that was just read, if one was.
    #[inline]
    pub fn sessions_of_new_batch(&self) -> impl Iterator<Item = u32> + '_ {
        let new = if self.come == 0 { &self.batch[..] } else { &[] };
        new.iter()
            .map(|next| self.users[next.client.user as usize].session)
            .filter(|&session| session != NONE)
    }

    /// When the next request comes, from the log's first second.
    #[inline]
    pub fn next_at(&self) -> Option<SimTime> {
        self.batch.get(self.come).map(|next| next.at)
    }

    /// A connection begins to idle. Called with times that do not go back.
    pub fn idles(&mut self, id: ConnectionId, until: SimTime) {
        self.idle.push_back((until, id));
    }

    /// A connection that has idled until now, if it was not used meanwhile.
    #[inline]
    pub fn idled(&mut self, now: SimTime) -> Option<(SimTime, ConnectionId)> {
        self.idle.front().filter(|(until, _)| *until <= now)?;
        self.idle.pop_front()
    }

    /// Why reading stopped before the end of the log.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// Visits that go on.
    pub fn visiting(&self) -> u64 {
        self.users.iter().filter(|user| user.is(Is::Visiting)).count() as u64
    }

    /// Visits that go on and began after the warm-up.
    pub fn visiting_measured(&self) -> u64 {
        let both = |user: &&LogUserRow| user.is(Is::Visiting) && user.is(Is::Measured);
        self.users.iter().filter(both).count() as u64
    }

    /// Users whose visit goes on and who have done nothing for longer than the gap when the run ends.
    pub fn visits_over(&self, end: SimTime) -> Vec<u32> {
        let gap = SimDuration(at_speed(SimTime(self.plan.visit_gap.0), self.plan.speed).0);
        let over = |user: &LogUserRow| user.is(Is::Visiting) && user.latest + gap < end;
        (0..).zip(&self.users).filter(|(_, user)| over(user)).map(|(number, _)| number).collect()
    }

    /// Bytes of the users' rows.
    pub fn bytes(&self) -> usize {
        self.users.capacity() * size_of::<LogUserRow>()
    }
}

/// When a request comes if `speed` seconds of the log pass in one.
fn at_speed(at: SimTime, speed: f64) -> SimTime {
    // The usual speed keeps every nanosecond, which floats would not.
    if speed == 1.0 { at } else { SimTime((at.0 as f64 / speed) as u64) }
}

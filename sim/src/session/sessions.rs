//! The sessions of a run: where each lives, and the evidence from which the cause of a loss is told.

use std::net::IpAddr;

use super::OnUnknownId;
use crate::backend::servers::Servers;
use crate::balancer::Reason;
use crate::engine::{SimDuration, SimTime};
use crate::ids::ServerId;
use crate::metrics::LossCause;
use crate::slots::Slots;

/// No slot.
const NONE: u32 = u32::MAX;

/// The first time that routing left a session's home since the last hit there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cut {
    /// When.
    pub at: SimTime,
    /// The address that the request came from, as the balancer saw it.
    pub from: IpAddr,
    /// The server to which the request went instead.
    pub to: ServerId,
    /// Why the balancer sent it there.
    pub reason: Reason,
    /// What that makes the cause, should the session turn out to be lost.
    pub cause: LossCause,
    /// The instance of the tier that sent it there.
    pub instance: u16,
}

/// A live session.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    /// The server that has it.
    pub home: ServerId,
    /// How often that server had lost its memory when it took the session.
    home_epoch: u32,
    /// When a user logged in.
    pub created: SimTime,
    /// When a request last found it.
    pub last_hit: SimTime,
    /// The address that this request came from, as the balancer saw it.
    pub last_address: IpAddr,
    /// Evidence of the first departure from home.
    pub first_cut: Option<Cut>,
    /// Tells the session from others that had the slot before.
    pub generation: u32,
    /// The instance of the tier that chose its home last.
    pub instance: u16,
    /// When an instance last chose its home. The answer that tells of a hit comes later, perhaps after the instance has
    /// changed its mind.
    pub routed_home_at: SimTime,
    /// Older copies under the same id, on other servers.
    copies: u32,
    /// Whether a request has missed it since it was last found or made.
    missed: bool,
}

impl Session {
    /// A request has found it.
    #[inline]
    fn found(&mut self) -> Lookup {
        if std::mem::take(&mut self.missed) { Lookup::Resumed { fell_back: false } } else { Lookup::Hit }
    }
}

#[derive(Clone, Copy, Debug)]
struct OldCopy {
    server: ServerId,
    epoch: u32,
    last_used: SimTime,
    next: u32,
}

/// What a request found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Lookup {
    /// The session was there.
    Hit,
    /// It was there, though a request had missed it, or as an older copy than the one used last.
    Resumed {
        /// Whether it is such a copy, so that what was written since is not in it.
        fell_back: bool,
    },
    /// It had idled longer than the application allows; no loss.
    Expired,
    /// It was not there.
    Lost {
        /// Why.
        cause: LossCause,
        /// When the memory that held it was lost, if it was.
        destroyed_at: Option<SimTime>,
    },
}

/// All live sessions, in slots that are used again.
#[derive(Debug, Default)]
pub struct Sessions {
    rows: Slots<Session>,
    copies: Slots<OldCopy>,
    /// Sessions ever created, modulo 2^32.
    created: u32,
}

impl Sessions {
    /// A session begins at `server`; returns its slot.
    pub fn create(&mut self, now: SimTime, server: ServerId, from: IpAddr, servers: &Servers) -> u32 {
        let row = Session {
            home: server,
            home_epoch: servers.epoch(server),
            created: now,
            last_hit: now,
            last_address: from,
            first_cut: None,
            generation: self.created,
            instance: 0,
            routed_home_at: now,
            copies: NONE,
            missed: false,
        };
        self.created = self.created.wrapping_add(1);
        self.rows.insert(row)
    }

    /// A user logs in again under the id of a lost session: `server` takes a new copy, older ones stay where they are.
    /// Returns whether another copy is still alive, so that the session forks.
    pub fn take_over(
        &mut self,
        now: SimTime,
        slot: u32,
        server: ServerId,
        from: IpAddr,
        servers: &Servers,
        idle_timeout: SimDuration,
    ) -> bool {
        let row = *self.rows.get(slot);
        let alive = |copy: &OldCopy| {
            servers.epoch(copy.server) == copy.epoch && now.since(copy.last_used) <= idle_timeout
        };
        // One more copy comes about only where there was none.
        let had_one =
            row.home == server || self.copies_of(slot).any(|copy| copy.server == server && alive(&copy));
        self.drop_copy(slot, server);
        if row.home != server {
            self.keep_copy(slot, row.home, row.home_epoch, row.last_hit);
        }
        let forked = !had_one && self.copies_of(slot).any(|copy| alive(&copy));
        let row = self.rows.get_mut(slot);
        row.home = server;
        row.home_epoch = servers.epoch(server);
        row.last_hit = now;
        row.last_address = from;
        row.first_cut = None;
        row.missed = false;
        forked
    }

    /// A request has missed a session; returns whether one had before.
    pub fn miss(&mut self, slot: u32) -> bool {
        std::mem::replace(&mut self.rows.get_mut(slot).missed, true)
    }

    /// Says by which route its home was chosen.
    #[inline]
    pub fn chosen_by(&mut self, slot: u32, route: &Cut) {
        let row = self.rows.get_mut(slot);
        (row.instance, row.routed_home_at) = (route.instance, route.at);
    }

    /// A session is of no more use to anybody: the user left, or got another.
    pub fn end(&mut self, slot: u32) {
        let mut at = std::mem::replace(&mut self.rows.get_mut(slot).copies, NONE);
        while at != NONE {
            self.copies.remove(at);
            at = self.copies.get(at).next;
        }
        self.rows.remove(slot);
    }

    /// The session in a slot.
    pub fn get(&self, slot: u32) -> &Session {
        self.rows.get(slot)
    }

    /// Sessions alive.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether none is alive.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Most sessions that were alive at a time.
    pub fn slots(&self) -> usize {
        self.rows.slots() as usize
    }

    /// Bytes of the tables.
    pub fn bytes(&self) -> usize {
        self.rows.bytes() + self.copies.bytes()
    }

    /// A request of the session is routed to `server`: takes the evidence of a first departure, or clears it when home is
    /// regained.
    #[inline]
    pub fn routed(&mut self, slot: u32, servers: &Servers, cut: Cut) {
        let row = self.rows.get_mut(slot);
        if row.home != cut.to {
            row.first_cut.get_or_insert(cut);
            return;
        }
        (row.instance, row.routed_home_at) = (cut.instance, cut.at);
        if servers.epoch(row.home) == row.home_epoch {
            row.first_cut = None;
        }
    }

    /// A request that was routed as `route` says looks for its session in the memory of the server that it reached.
    ///
    /// `route` is the evidence where the session has none: another request of it may have regained home meanwhile.
    pub fn look_up(
        &mut self,
        now: SimTime,
        slot: u32,
        route: &Cut,
        servers: &Servers,
        idle_timeout: SimDuration,
        on_unknown_id: OnUnknownId,
    ) -> Lookup {
        let server = route.to;
        let row = *self.rows.get(slot);
        if now.since(row.last_hit) > idle_timeout {
            return Lookup::Expired;
        }
        if row.home == server && servers.epoch(server) == row.home_epoch {
            let row = self.rows.get_mut(slot);
            row.last_hit = now;
            row.last_address = route.from;
            return row.found();
        }
        if on_unknown_id == OnUnknownId::AdoptId && self.resume(now, slot, route, servers, idle_timeout) {
            return Lookup::Resumed { fell_back: true };
        }
        let destroyed_at = servers.memory_lost_at(row.home, row.home_epoch);
        let departure = row.first_cut.as_ref().unwrap_or(route);
        let cause = match destroyed_at {
            Some(destroyed) if destroyed <= departure.at => LossCause::ServerLost,
            _ => departure.cause,
        };
        Lookup::Lost { cause, destroyed_at }
    }

    /// A request finds its session in a store that all servers share, unless it expired.
    pub fn look_up_shared(
        &mut self,
        now: SimTime,
        slot: u32,
        route: &Cut,
        idle_timeout: SimDuration,
    ) -> Lookup {
        let row = self.rows.get_mut(slot);
        if now.since(row.last_hit) > idle_timeout {
            return Lookup::Expired;
        }
        row.last_hit = now;
        row.home = route.to;
        row.routed_home_at = route.at;
        row.first_cut = None;
        row.found()
    }

    /// Makes an older copy on `server` the session again, if there is one alive.
    fn resume(
        &mut self,
        now: SimTime,
        slot: u32,
        route: &Cut,
        servers: &Servers,
        idle_timeout: SimDuration,
    ) -> bool {
        let server = route.to;
        let alive = self.copies_of(slot).any(|copy| {
            copy.server == server
                && servers.epoch(server) == copy.epoch
                && now.since(copy.last_used) <= idle_timeout
        });
        if alive {
            let row = *self.rows.get(slot);
            self.drop_copy(slot, server);
            self.keep_copy(slot, row.home, row.home_epoch, row.last_hit);
            let row = self.rows.get_mut(slot);
            row.home = server;
            row.home_epoch = servers.epoch(server);
            row.last_hit = now;
            row.routed_home_at = route.at;
            row.last_address = route.from;
            row.first_cut = None;
            row.missed = false;
        }
        alive
    }

    fn copies_of(&self, slot: u32) -> impl Iterator<Item = OldCopy> + '_ {
        let mut at = self.rows.get(slot).copies;
        std::iter::from_fn(move || {
            let copy = *self.copies.rows().get(at as usize)?;
            at = copy.next;
            Some(copy)
        })
    }

    fn keep_copy(&mut self, slot: u32, server: ServerId, epoch: u32, last_used: SimTime) {
        let next = self.rows.get(slot).copies;
        let copy = OldCopy { server, epoch, last_used, next };
        self.rows.get_mut(slot).copies = self.copies.insert(copy);
    }

    fn drop_copy(&mut self, slot: u32, server: ServerId) {
        let mut previous = NONE;
        let mut at = self.rows.get(slot).copies;
        while at != NONE {
            let copy = *self.copies.get(at);
            if copy.server == server {
                if previous == NONE {
                    self.rows.get_mut(slot).copies = copy.next;
                } else {
                    self.copies.get_mut(previous).next = copy.next;
                }
                self.copies.remove(at);
                return;
            }
            previous = at;
            at = copy.next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Capacity, Discipline};
    use crate::engine::Distribution;

    const IDLE: SimDuration = SimDuration::from_secs(1800);
    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const A: ServerId = ServerId(0);
    const B: ServerId = ServerId(1);

    fn at(s: u64) -> SimTime {
        SimTime::ZERO + SimDuration::from_secs(s)
    }

    fn two_servers() -> Servers {
        let capacity = Capacity {
            discipline: Discipline::Fcfs { workers: 1, queue_limit: None },
            service: Distribution::Constant(1.0),
        };
        Servers::new([&capacity, &capacity].into_iter())
    }

    fn cut(at: SimTime, to: ServerId, cause: LossCause) -> Cut {
        Cut { at, from: HOME, to, reason: Reason::Scheduled { tie: false }, cause, instance: 0 }
    }

    #[test]
    fn the_first_departure_gives_the_cause_unless_the_state_was_destroyed_before() {
        let mut servers = two_servers();
        let mut sessions = Sessions::default();
        let s = sessions.create(at(0), A, HOME, &servers);
        sessions.routed(s, &servers, cut(at(10), B, LossCause::AffinityExpired));
        servers.crash(at(20), A);
        sessions.routed(s, &servers, cut(at(30), B, LossCause::Spilled));
        let lost = sessions.look_up(
            at(30),
            s,
            &cut(at(30), B, LossCause::Spilled),
            &servers,
            IDLE,
            OnUnknownId::NewId,
        );
        assert_eq!(lost, Lookup::Lost { cause: LossCause::AffinityExpired, destroyed_at: Some(at(20)) });

        let t = sessions.create(at(0), B, HOME, &servers);
        servers.crash(at(40), B);
        sessions.routed(t, &servers, cut(at(50), A, LossCause::Spilled));
        let lost = sessions.look_up(
            at(50),
            t,
            &cut(at(50), A, LossCause::Spilled),
            &servers,
            IDLE,
            OnUnknownId::NewId,
        );
        assert_eq!(lost, Lookup::Lost { cause: LossCause::ServerLost, destroyed_at: Some(at(40)) });
    }

    #[test]
    fn home_regained_clears_the_evidence_only_while_home_remembers() {
        let mut servers = two_servers();
        let mut sessions = Sessions::default();
        let s = sessions.create(at(0), A, HOME, &servers);
        sessions.routed(s, &servers, cut(at(10), B, LossCause::Spilled));
        sessions.routed(s, &servers, cut(at(11), A, LossCause::Spilled));
        assert_eq!(sessions.get(s).first_cut, None);
        servers.crash(at(12), A);
        sessions.routed(s, &servers, cut(at(13), A, LossCause::Spilled));
        let lost = sessions.look_up(
            at(13),
            s,
            &cut(at(13), A, LossCause::Spilled),
            &servers,
            IDLE,
            OnUnknownId::NewId,
        );
        assert_eq!(lost, Lookup::Lost { cause: LossCause::ServerLost, destroyed_at: Some(at(12)) });
    }

    #[test]
    fn an_idle_session_expires_and_is_not_lost() {
        let servers = two_servers();
        let mut sessions = Sessions::default();
        let s = sessions.create(at(0), A, HOME, &servers);
        assert_eq!(
            sessions.look_up(
                at(1800),
                s,
                &cut(at(1800), A, LossCause::Spilled),
                &servers,
                IDLE,
                OnUnknownId::NewId
            ),
            Lookup::Hit
        );
        assert_eq!(
            sessions.look_up(
                at(3601),
                s,
                &cut(at(3601), A, LossCause::Spilled),
                &servers,
                IDLE,
                OnUnknownId::NewId
            ),
            Lookup::Expired
        );
    }

    #[test]
    fn an_adopted_id_forks_and_is_resumed_on_its_old_server() {
        let servers = two_servers();
        let mut sessions = Sessions::default();
        let s = sessions.create(at(0), A, HOME, &servers);
        sessions.routed(s, &servers, cut(at(5), B, LossCause::NoAffinity));
        let miss = sessions.look_up(
            at(5),
            s,
            &cut(at(5), B, LossCause::Spilled),
            &servers,
            IDLE,
            OnUnknownId::AdoptId,
        );
        assert!(matches!(miss, Lookup::Lost { cause: LossCause::NoAffinity, .. }));
        assert!(sessions.take_over(at(6), s, B, HOME, &servers, IDLE), "the copy on A lives: a fork");
        sessions.routed(s, &servers, cut(at(7), A, LossCause::NoAffinity));
        assert_eq!(
            sessions.look_up(
                at(7),
                s,
                &cut(at(7), A, LossCause::Spilled),
                &servers,
                IDLE,
                OnUnknownId::AdoptId
            ),
            Lookup::Resumed { fell_back: true }
        );
        assert_eq!(sessions.get(s).home, A);
        sessions.end(s);
        assert!(sessions.is_empty());
    }

    #[test]
    fn a_new_id_orphans_the_old_session() {
        let servers = two_servers();
        let mut sessions = Sessions::default();
        let s = sessions.create(at(0), A, HOME, &servers);
        sessions.routed(s, &servers, cut(at(5), B, LossCause::NoAffinity));
        let miss = sessions.look_up(
            at(5),
            s,
            &cut(at(5), B, LossCause::Spilled),
            &servers,
            IDLE,
            OnUnknownId::NewId,
        );
        assert_eq!(miss, Lookup::Lost { cause: LossCause::NoAffinity, destroyed_at: None });
    }

    #[test]
    fn a_session_that_was_missed_and_is_found_at_home_after_all_is_resumed_once() {
        let servers = two_servers();
        let mut sessions = Sessions::default();
        let s = sessions.create(at(0), A, HOME, &servers);
        let look = |sessions: &mut Sessions, now, to| {
            let route = cut(at(now), to, LossCause::Spilled);
            sessions.routed(s, &servers, route);
            sessions.look_up(at(now), s, &route, &servers, IDLE, OnUnknownId::AdoptId)
        };
        assert!(matches!(look(&mut sessions, 5, B), Lookup::Lost { .. }));
        assert!(!sessions.miss(s), "the first time it is a loss");
        assert!(matches!(look(&mut sessions, 6, B), Lookup::Lost { .. }));
        assert!(sessions.miss(s), "the second time it is the same loss");
        assert_eq!(look(&mut sessions, 7, A), Lookup::Resumed { fell_back: false });
        assert_eq!(look(&mut sessions, 8, A), Lookup::Hit);
    }
}

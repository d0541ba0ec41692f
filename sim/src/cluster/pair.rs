//! A pair of directors in a run: which of them packets for the virtual address reach.
//!
//! The pair holds no events. Whoever sends it something asks where that goes, and it first does what was due by then.

use super::Streams;
use crate::engine::{SimDuration, SimTime};
use crate::failover::vrrp::{VrrpConfig, VrrpGroup, VrrpState, VrrpVersion};
use crate::scenario::DirectorPlan;

/// How long the router in front goes on sending to a director that has given up the address without a word
/// ([`VrrpGroup::new`]).
const NEIGHBOUR_TIMEOUT: SimDuration = SimDuration::from_secs(38);

/// Two directors with one address.
#[derive(Debug)]
pub(super) struct Pair {
    group: VrrpGroup,
    /// Whom packets reached when that was asked last.
    reached: Option<u16>,
    /// The last one whom they reached.
    before: Option<u16>,
    /// Since when they reach nobody.
    silent_since: SimTime,
    /// When packets went to the other director.
    pub moves: Vec<SimTime>,
    /// Times during which they reached nobody: from, until.
    pub silences: Vec<(SimTime, SimTime)>,
}

impl Pair {
    /// A pair in the midst of its life. `place` is its tier's.
    pub fn new(plan: &DirectorPlan, place: u64, streams: &Streams) -> Self {
        let director = |priority| VrrpConfig {
            version: if plan.version == 2 { VrrpVersion::V2 } else { VrrpVersion::V3 },
            priority,
            advert_int: plan.advert_int,
            nopreempt: plan.nopreempt,
            preempt_delay: plan.preempt_delay,
            ..VrrpConfig::default()
        };
        let mut group = VrrpGroup::new(plan.priority.map(director).into(), NEIGHBOUR_TIMEOUT);
        let since = streams.clock.below(plan.advert_int.0, 2 << 32 | place, 0);
        group.settle(SimTime::ZERO, SimDuration(since));
        let reached = group.reached(SimTime::ZERO).map(|director| director as u16);
        Self {
            group,
            reached,
            before: reached,
            silent_since: SimTime::NEVER,
            moves: Vec::new(),
            silences: Vec::new(),
        }
    }

    /// The director that packets reach at `now`, if any.
    #[inline]
    pub fn reached(&mut self, now: SimTime) -> Option<u16> {
        if self.group.next_due() <= now {
            self.advance(now);
        }
        self.reached
    }

    fn advance(&mut self, now: SimTime) {
        // Step by step, since what is reached between two things that are due counts.
        while self.group.next_due() <= now {
            let due = self.group.next_due();
            self.group.advance(due);
            self.note(due);
        }
    }

    /// Takes note of who is reached after something has happened.
    fn note(&mut self, now: SimTime) {
        let reached = self.group.reached(now).map(|director| director as u16);
        self.group.changes().for_each(drop);
        if reached == self.reached {
            return;
        }
        match (self.reached, reached) {
            (Some(_), None) => self.silent_since = now,
            (None, Some(_)) => self.silences.push((self.silent_since, now)),
            (Some(_), Some(_)) | (None, None) => {}
        }
        if reached.is_some() {
            if self.before != reached {
                self.moves.push(now);
            }
            self.before = reached;
        }
        self.reached = reached;
    }

    /// A director's machine dies.
    pub fn crash(&mut self, now: SimTime, director: u16) {
        self.advance(now);
        self.group.crash(now, director.into());
        self.note(now);
    }

    /// It is back.
    pub fn start(&mut self, now: SimTime, director: u16) {
        self.advance(now);
        self.group.start(now, director.into());
        self.note(now);
    }

    /// The two no longer hear each other, or do again.
    pub fn part(&mut self, now: SimTime, parted: bool) {
        self.advance(now);
        self.group.partition(now, &[0, u16::from(parted)]);
        self.note(now);
    }

    /// Whether both hold the address at the last input.
    pub fn is_split(&self) -> bool {
        (0..self.group.len()).all(|director| self.group.state(director) == VrrpState::Master)
    }
}

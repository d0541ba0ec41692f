//! A pair of directors in a run: which of them packets for the virtual address reach.
//!
//! The pair holds no events. Whoever sends it something asks where that goes, and it first does what was due by then.

use crate::engine::{SimDuration, SimTime, Stream};
use crate::failover::vrrp::{Changed, Sight, VrrpConfig, VrrpGroup, VrrpState, VrrpVersion};
use crate::scenario::DirectorPlan;
use crate::tier::Instance;
use crate::tier::lvs::{LvsSync, SyncEntry, SyncRole, SyncTraffic};

/// How long the router in front goes on sending to a director that has given up the address without a word
/// ([`VrrpGroup::new`]).
const NEIGHBOUR_TIMEOUT: SimDuration = SimDuration::from_secs(38);

/// Two directors with one address.
#[derive(Debug)]
pub(super) struct Pair {
    group: VrrpGroup,
    /// Whether their sync daemons run.
    syncs: bool,
    /// Whether they hear each other.
    parted: bool,
    /// States that directors have taken and their sync daemons do not know of yet.
    new_roles: Vec<(SimTime, usize, SyncRole)>,
    /// What is on its way from one daemon to the other; empty between inputs.
    on_its_way: Vec<SyncEntry>,
    /// What was sent, by the time at which it was.
    pub traffic: Vec<(SimTime, SyncTraffic)>,
    /// Whom packets reached when that was asked last.
    reached: Option<u16>,
    /// Who has the address without a keepalived, while nobody else has announced it.
    left: Option<u16>,
    /// Tracked scripts of each.
    scripts: usize,
    /// The last one whom they reached.
    before: Option<u16>,
    /// Since when they reach nobody.
    silent_since: SimTime,
    /// Whom they reached, from when on.
    pub held: Vec<(SimTime, Option<u16>)>,
    /// When packets went to the other director.
    pub moves: Vec<SimTime>,
    /// Times during which they reached nobody: from, until.
    pub silences: Vec<(SimTime, SimTime)>,
}

impl Pair {
    /// A pair in the midst of its life. `place` is its tier's; `clock` draws phases.
    pub fn new(plan: &DirectorPlan, place: u64, clock: Stream) -> Self {
        let director = |priority| VrrpConfig {
            version: if plan.version == 2 { VrrpVersion::V2 } else { VrrpVersion::V3 },
            priority,
            advert_int: plan.advert_int,
            nopreempt: plan.nopreempt,
            preempt_delay: plan.preempt_delay,
            track_script: plan.track_script.clone(),
            ..VrrpConfig::default()
        };
        let mut group = VrrpGroup::new(plan.priority.map(director).into(), NEIGHBOUR_TIMEOUT);
        let since = clock.below(plan.advert_int.0, 2 << 32 | place, 0);
        group.settle(SimTime::ZERO, SimDuration(since));
        let reached = group.reached(SimTime::ZERO).map(|director| director as u16);
        Self {
            group,
            syncs: plan.sync,
            parted: false,
            new_roles: Vec::new(),
            on_its_way: Vec::new(),
            traffic: Vec::new(),
            reached,
            left: None,
            scripts: plan.track_script.len(),
            before: reached,
            silent_since: SimTime::NEVER,
            held: vec![(SimTime::ZERO, reached)],
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
        let master = self.group.reached(now).map(|director| director as u16);
        if master.is_some() {
            self.left = None;
        }
        let reached = master.or(self.left);
        for change in self.group.changes().filter(|_| self.syncs) {
            let role = match change.what {
                Changed::State(VrrpState::Master) => SyncRole::Master,
                Changed::State(VrrpState::Backup | VrrpState::Fault) => SyncRole::Backup,
                Changed::State(VrrpState::Stopped) | Changed::Reached => continue,
            };
            self.new_roles.push((change.at, change.director, role));
        }
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
        self.held.push((now, reached));
    }

    /// Starts the sync daemons of a pair in the midst of its life.
    pub fn start_sync(&mut self, directors: &mut [Instance], looks: impl Fn(u64) -> u64) {
        if !self.syncs {
            return;
        }
        for (place, instance) in directors.iter_mut().enumerate() {
            let Instance::Lvs(director) = instance else { return };
            let role = if self.reached == Some(place as u16) { SyncRole::Master } else { SyncRole::Backup };
            let first: Vec<_> = LvsSync::first_looks(director.clock()).collect();
            let look = first[looks(first.len() as u64) as usize];
            director.start_sync(SimTime::ZERO, LvsSync::default(), role, look);
        }
    }

    /// Does what the sync daemons do by `now`. To be called before a director gets an input.
    #[inline]
    pub fn sync(&mut self, now: SimTime, directors: &mut [Instance]) {
        if self.syncs {
            self.exchange(now, directors);
        }
    }

    fn exchange(&mut self, now: SimTime, directors: &mut [Instance]) {
        self.reached(now);
        for (at, place, role) in std::mem::take(&mut self.new_roles) {
            self.send_until(at, directors);
            if let Instance::Lvs(director) = &mut directors[place] {
                director.start_sync(at, LvsSync::default(), role, LvsSync::CHECK_PERIOD);
            }
        }
        self.send_until(now, directors);
    }

    fn send_until(&mut self, now: SimTime, directors: &mut [Instance]) {
        for turn in [false, true] {
            let [Instance::Lvs(one), Instance::Lvs(other)] = &mut *directors else { return };
            let (from, to) = if turn { (other, one) } else { (one, other) };
            while from.sync_due() <= now {
                let at = from.sync_due();
                let sent = from.send_sync(at, &mut self.on_its_way);
                if sent.messages > 0 {
                    self.traffic.push((at, sent));
                }
                if !self.parted {
                    to.receive_sync(at, &self.on_its_way);
                }
                self.on_its_way.clear();
            }
        }
    }

    /// A director's keepalived is killed: its machine keeps the address, and says nothing.
    pub fn kill(&mut self, now: SimTime, director: u16) {
        self.advance(now);
        if self.reached == Some(director) {
            self.left = Some(director);
        }
        self.group.crash(now, director.into());
        self.note(now);
    }

    /// What the tracked scripts of a director look for lives, or does not.
    pub fn look_for(&mut self, now: SimTime, director: u16, lives: bool) {
        let sight = if lives { Sight::Success } else { Sight::Failure };
        for script in 0..self.scripts {
            self.group.set_sight(now, director.into(), script, sight);
        }
    }

    /// A director's machine dies.
    pub fn crash(&mut self, now: SimTime, director: u16) {
        self.advance(now);
        self.left = self.left.filter(|&left| left != director);
        self.group.crash(now, director.into());
        self.note(now);
    }

    /// It is back.
    pub fn start(&mut self, now: SimTime, director: u16) {
        self.advance(now);
        // keepalived takes away addresses that it finds at its start.
        self.left = self.left.filter(|&left| left != director);
        self.group.start(now, director.into());
        self.note(now);
    }

    /// The two no longer hear each other, or do again.
    pub fn part(&mut self, now: SimTime, parted: bool) {
        self.advance(now);
        self.group.partition(now, &[0, u16::from(parted)]);
        self.parted = parted;
        self.note(now);
    }

    /// Whether both hold the address at the last input.
    pub fn is_split(&self) -> bool {
        (0..self.group.len()).all(|director| self.group.state(director) == VrrpState::Master)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::StreamId;

    fn pair() -> Pair {
        let plan = DirectorPlan {
            version: 2,
            advert_int: SimDuration::from_secs(1),
            priority: [150, 100],
            nopreempt: false,
            preempt_delay: SimDuration::ZERO,
            sync: false,
            track_script: Vec::new(),
        };
        Pair::new(&plan, 0, Stream::new(1, 0, StreamId::ClockPhase))
    }

    fn at(s: u64) -> SimTime {
        SimTime::ZERO + SimDuration::from_secs(s)
    }

    #[test]
    fn what_happens_between_two_questions_is_not_missed() {
        // Nobody asks from the crash until long after the master is back: the silence and both moves are counted all the same.
        let mut pair = pair();
        pair.crash(at(100), 0);
        pair.start(at(200), 0);
        assert_eq!(pair.reached(at(300)), Some(0));
        assert_eq!(pair.moves.len(), 2);
        let [(from, until)] = pair.silences[..] else { panic!("{:?}", pair.silences) };
        assert_eq!(from, at(100));
        assert!((at(102)..at(104)).contains(&until), "{until:?}");
    }

    #[test]
    fn both_hold_the_address_while_they_do_not_hear_each_other() {
        let mut pair = pair();
        pair.part(at(10), true);
        pair.reached(at(20));
        assert!(pair.is_split());
        pair.part(at(30), false);
        pair.reached(at(40));
        assert!(!pair.is_split());
    }
}

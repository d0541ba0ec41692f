//! The directors that share an address, and the network between them.

use std::collections::VecDeque;

use crate::engine::{SimDuration, SimTime};

use super::{Advert, Sends, Sight, VrrpConfig, VrrpInstance, VrrpState};

/// Something that an input or a timer brought about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// When.
    pub at: SimTime,
    /// At which director.
    pub director: usize,
    /// What.
    pub what: Changed,
}

/// What has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Changed {
    /// The director has this state now. A master holds the address, and its sync daemon sends; any other receives
    /// (`lvs_sync_daemon`).
    State(VrrpState),
    /// Clients' packets go to this director now: it has said by gratuitous ARP that the address is with it, or has
    /// answered a question for it.
    Reached,
}

/// All directors of one virtual address.
#[derive(Clone, Debug)]
pub struct VrrpGroup {
    directors: Vec<VrrpInstance>,
    /// Which part of a partitioned network each director is in; length = directors.
    parts: Vec<u16>,
    neighbour_timeout: SimDuration,
    /// The last time that was told.
    now: SimTime,
    /// Where the router in front believes the address to be.
    believed: Option<usize>,
    /// When the one that is believed gave up the address.
    lost_at: SimTime,
    changes: Vec<Change>,
    /// Adverts under way; empty between inputs.
    on_the_wire: VecDeque<(usize, Advert)>,
}

impl VrrpGroup {
    /// Directors that do not run yet, in the order of their own addresses: among equal priorities the last one wins.
    ///
    /// `neighbour_timeout` is how long the router in front, or a client in the same network, goes on sending to a director
    /// that has given up the address, if no gratuitous ARP tells it better. It matters after a partition, when the one
    /// that gives up is the last that was announced, and [`VrrpConfig::garp_master_refresh`] is not set. A Linux router:
    /// 15 to 45 s, then 5 s of waiting and 3 s of questions (`arp(7)`: `base_reachable_time_ms`, `delay_first_probe_time`,
    /// `ucast_solicit`), so 38 s in the mean.
    pub fn new(configs: Vec<VrrpConfig>, neighbour_timeout: SimDuration) -> Self {
        let directors: Vec<VrrpInstance> =
            (0..).zip(configs).map(|(address, config)| VrrpInstance::new(config, address)).collect();
        Self {
            parts: vec![0; directors.len()],
            directors,
            neighbour_timeout,
            now: SimTime::ZERO,
            believed: None,
            lost_at: SimTime::NEVER,
            changes: Vec::new(),
            on_the_wire: VecDeque::new(),
        }
    }

    /// Begins in the midst of their life: the director of the highest priority has been master for long and sent its
    /// last advert `since_advert` ago, the others have heard it. Tells of no change.
    ///
    /// Draw `since_advert` from zero to one `advert_int` for a start at no particular moment.
    pub fn settle(&mut self, now: SimTime, since_advert: SimDuration) {
        self.now = now;
        let ranks = self.directors.iter_mut().map(|director| director.settle_scripts(now)).enumerate();
        let Some((best, _)) = ranks.max_by_key(|&(_, rank)| rank) else { return };
        for (index, director) in self.directors.iter_mut().enumerate() {
            director.settle(now, since_advert, index == best);
        }
        self.believed = Some(best);
    }

    /// When something happens next if no input comes before; [`SimTime::NEVER`] if nothing runs.
    pub fn next_due(&self) -> SimTime {
        self.directors.iter().map(VrrpInstance::next_due).fold(self.search_due(), SimTime::min)
    }

    /// Does what is due by `now`, in the order of the times; at one time, in that of the directors.
    pub fn advance(&mut self, now: SimTime) {
        loop {
            let due = self.next_due();
            if due > now {
                break;
            }
            self.now = due.max(self.now);
            if let Some(index) = self.directors.iter().position(|director| director.next_due() <= due) {
                self.tell(index, |director, now| director.tick(now));
            } else if let Some(master) = self.first_master() {
                self.now_reaches(master);
            }
        }
        self.now = now.max(self.now);
    }

    /// The director that clients' packets for the address reach at `now`; `None` while they go to one that does not hold
    /// it, or to nobody.
    pub fn reached(&mut self, now: SimTime) -> Option<usize> {
        self.advance(now);
        self.believed.filter(|&index| self.directors[index].state() == VrrpState::Master)
    }

    /// What has changed since this was asked last, in the order of the times.
    pub fn changes(&mut self) -> impl Iterator<Item = Change> + '_ {
        self.changes.drain(..)
    }

    /// Number of directors.
    pub fn len(&self) -> usize {
        self.directors.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.directors.is_empty()
    }

    /// The state of a director at the last input.
    ///
    /// # Panics
    /// Panics if there is no such director; so do all inputs that name one.
    pub fn state(&self, director: usize) -> VrrpState {
        self.directors[director].state()
    }

    /// The priority of a director at the last input, with what scripts add to it.
    pub fn priority(&self, director: usize) -> u8 {
        self.directors[director].priority()
    }

    /// A director's keepalived is up (again): its host came back, and start-up is done.
    pub fn start(&mut self, now: SimTime, director: usize) {
        self.advance(now);
        self.tell(director, |director, now| {
            director.start(now);
            Sends::default()
        });
    }

    /// A director is stopped gracefully.
    pub fn stop(&mut self, now: SimTime, director: usize) {
        self.advance(now);
        self.tell(director, |director, _| director.stop());
    }

    /// A director's host dies.
    pub fn crash(&mut self, now: SimTime, director: usize) {
        self.advance(now);
        self.tell(director, |director, _| {
            director.crash();
            Sends::default()
        });
    }

    /// A director's link goes down or comes up.
    pub fn set_link(&mut self, now: SimTime, director: usize, up: bool) {
        self.advance(now);
        self.tell(director, |director, now| director.set_link(now, up));
    }

    /// What a director's tracked script finds from now on. Known when it is run next.
    pub fn set_sight(&mut self, now: SimTime, director: usize, script: usize, sight: Sight) {
        self.advance(now);
        self.directors[director].set_sight(script, sight);
    }

    /// Directors hear each other only within one part from now on: `parts` names each director's part. Clients reach all
    /// parts. One part for all ends the partition.
    ///
    /// # Panics
    /// Panics unless there is a part for each director.
    pub fn partition(&mut self, now: SimTime, parts: &[u16]) {
        self.advance(now);
        self.parts.copy_from_slice(parts);
    }

    /// Gives a director an input, and delivers what comes of it.
    fn tell(&mut self, index: usize, input: impl FnOnce(&mut VrrpInstance, SimTime) -> Sends) {
        self.input(index, input);
        while let Some((from, advert)) = self.on_the_wire.pop_front() {
            for to in 0..self.directors.len() {
                if to != from && self.parts[to] == self.parts[from] && self.directors[to].link_is_up() {
                    self.input(to, |director, now| director.receive(now, &advert));
                }
            }
        }
    }

    fn input(&mut self, index: usize, input: impl FnOnce(&mut VrrpInstance, SimTime) -> Sends) {
        let (now, director) = (self.now, &mut self.directors[index]);
        let before = director.state();
        let Sends { advert, announcement } = input(director, now);
        let after = director.state();
        if after != before {
            self.changes.push(Change { at: now, director: index, what: Changed::State(after) });
            if before == VrrpState::Master && self.believed == Some(index) {
                self.lost_at = now;
            }
        }
        if announcement {
            self.now_reaches(index);
        }
        self.on_the_wire.extend(advert.map(|advert| (index, advert)));
    }

    fn now_reaches(&mut self, index: usize) {
        let (at, what) = (self.now, Changed::Reached);
        if self.believed != Some(index) || self.lost_at != SimTime::NEVER {
            self.changes.push(Change { at, director: index, what });
        }
        self.believed = Some(index);
        self.lost_at = SimTime::NEVER;
    }

    fn first_master(&self) -> Option<usize> {
        self.directors.iter().position(|director| director.state() == VrrpState::Master)
    }

    /// When the router in front asks anew who has the address, and somebody answers.
    fn search_due(&self) -> SimTime {
        match self.first_master() {
            Some(_) if self.lost_at != SimTime::NEVER => self.lost_at + self.neighbour_timeout,
            _ => SimTime::NEVER,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{VrrpScript, VrrpVersion};
    use super::*;

    fn ms(millis: u64) -> SimTime {
        SimTime::from_millis(millis)
    }

    /// Priorities 100 and 90, `advert_int` 1 s, at work since long; adverts at whole seconds.
    fn pair(change: impl Fn(&mut VrrpConfig)) -> VrrpGroup {
        let config = |priority| {
            let mut config = VrrpConfig { priority, ..VrrpConfig::default() };
            change(&mut config);
            config
        };
        let mut group = VrrpGroup::new(vec![config(100), config(90)], SimDuration::from_secs(38));
        group.settle(SimTime::ZERO, SimDuration::ZERO);
        group
    }

    /// When clients reach `director`, asked at each step up to `until`.
    fn reached_at(group: &mut VrrpGroup, director: usize, until: SimTime) -> Option<SimTime> {
        while group.next_due() <= until {
            let due = group.next_due();
            if group.reached(due) == Some(director) {
                return Some(due);
            }
        }
        None
    }

    const SKEW_90: u64 = 648_437_000;
    const SKEW_100: u64 = 609_375_000;

    #[test]
    fn a_dead_master_is_replaced_three_adverts_and_the_skew_after_its_last_advert() {
        for since_advert in [0, 1, 500, 999] {
            let mut group = pair(|_| ());
            let crash = ms(10_000 + since_advert);
            group.crash(crash, 0);
            assert_eq!(group.reached(crash), None);
            let taken = reached_at(&mut group, 1, ms(60_000)).expect("a take-over");
            assert_eq!(taken, SimTime(13_000_000_000 + SKEW_90));
            let [shortest, _, longest] = pair_config(90).takeover_after_crash();
            assert!((shortest..=longest).contains(&taken.since(crash)));
        }
    }

    fn pair_config(priority: u8) -> VrrpConfig {
        VrrpConfig { priority, ..VrrpConfig::default() }
    }

    #[test]
    fn a_graceful_stop_costs_the_skew_alone() {
        let mut group = pair(|_| ());
        group.stop(ms(10_400), 0);
        assert_eq!(group.reached(ms(10_400)), None);
        assert_eq!(reached_at(&mut group, 1, ms(60_000)), Some(SimTime(10_400_000_000 + SKEW_90)));
    }

    #[test]
    fn a_better_director_that_comes_back_listens_for_its_whole_interval_and_then_takes_over_without_a_gap() {
        let mut group = pair(|_| ());
        group.stop(ms(10_000), 0);
        group.start(ms(20_000), 0);
        let back = SimTime(23_000_000_000 + SKEW_100);
        assert_eq!(group.reached(SimTime(back.0 - 1)), Some(1));
        assert_eq!(group.reached(back), Some(0));
        assert_eq!(group.state(1), VrrpState::Backup);
    }

    #[test]
    fn with_nopreempt_it_stays_backup_until_the_other_dies() {
        let mut group = pair(|config| config.nopreempt = true);
        group.stop(ms(10_000), 0);
        group.start(ms(20_000), 0);
        assert_eq!(reached_at(&mut group, 0, ms(100_000)), None);
        group.crash(ms(100_000), 1);
        assert!(reached_at(&mut group, 0, ms(104_000)).is_some());
    }

    #[test]
    fn preempt_delay_counts_from_the_first_advert_and_then_the_timer_still_has_to_run_out() {
        let mut group = pair(|config| config.preempt_delay = SimDuration::from_secs(10));
        group.crash(ms(500), 0);
        let taken = reached_at(&mut group, 1, ms(60_000)).expect("a take-over");
        group.start(ms(20_000), 0);
        let back = reached_at(&mut group, 0, ms(60_000)).expect("a return");
        // The backup's adverts come at whole seconds after its take-over: the first after the start begins the delay,
        // the last within the delay is the last that counts.
        let first = SimTime(taken.0 + 17_000_000_000);
        assert!(first > ms(20_000) && first < ms(21_000));
        assert_eq!(back, SimTime(first.0 + 9_000_000_000 + 3_000_000_000 + SKEW_100));
    }

    #[test]
    fn in_version_3_the_skew_shrinks_with_the_interval() {
        let fast = |config: &mut VrrpConfig| {
            config.version = VrrpVersion::V3;
            config.advert_int = SimDuration::from_millis(100);
        };
        let mut group = pair(fast);
        group.crash(ms(10_050), 0);
        assert_eq!(reached_at(&mut group, 1, ms(60_000)), Some(SimTime(10_000_000_000 + 364_843_000)));
    }

    #[test]
    fn both_hold_the_address_while_they_do_not_hear_each_other_and_the_one_announced_last_gets_the_packets() {
        let mut group = pair(|_| ());
        group.partition(ms(10_500), &[0, 1]);
        assert!(reached_at(&mut group, 1, ms(60_000)).is_some());
        assert_eq!((group.state(0), group.state(1)), (VrrpState::Master, VrrpState::Master));
        // The end: the backup's advert comes first, at .648 of a second; the master answers it and announces itself.
        group.partition(ms(30_200), &[0, 0]);
        assert_eq!(reached_at(&mut group, 0, ms(60_000)), Some(SimTime(30_000_000_000 + SKEW_90)));
        assert_eq!(group.state(1), VrrpState::Backup);
    }

    #[test]
    fn a_partition_that_ends_with_the_master_s_advert_leaves_packets_with_the_backup_until_somebody_asks() {
        for (refresh, again) in [(0, ms(36_000 + 38_000)), (20, ms(40_000))] {
            let mut group = pair(|config| config.garp_master_refresh = SimDuration::from_secs(refresh));
            group.partition(ms(10_500), &[0, 1]);
            group.partition(ms(35_700), &[0, 0]);
            assert_eq!(group.reached(ms(35_999)), Some(1));
            assert_eq!(group.reached(ms(36_000)), None);
            assert_eq!((group.state(0), group.state(1)), (VrrpState::Master, VrrpState::Backup));
            assert_eq!(reached_at(&mut group, 0, ms(100_000)), Some(again));
        }
    }

    #[test]
    fn a_bad_script_with_a_weight_hands_the_address_over_after_fall_runs_and_the_backup_s_timer() {
        let script = VrrpScript { fall: 3, weight: -20, ..VrrpScript::default() };
        let mut group = pair(|config| config.track_script = vec![script]);
        group.set_sight(ms(10_500), 0, 0, Sight::Failure);
        let taken = reached_at(&mut group, 1, ms(60_000)).expect("a take-over");
        assert_eq!(group.priority(0), 80);
        // Runs at 11, 12 and 13 s; the advert at 13 s is the first of priority 80, that at 12 s the last that counted.
        assert_eq!(taken, SimTime(15_000_000_000 + SKEW_90));
        assert_eq!((group.state(0), group.reached(taken)), (VrrpState::Backup, Some(1)), "without a gap");
    }

    #[test]
    fn a_bad_script_without_a_weight_is_a_fault_that_says_farewell() {
        let mut group = pair(|config| config.track_script = vec![VrrpScript::default()]);
        group.set_sight(ms(10_500), 0, 0, Sight::Failure);
        group.advance(ms(11_000));
        assert_eq!(group.state(0), VrrpState::Fault);
        assert_eq!(reached_at(&mut group, 1, ms(60_000)), Some(SimTime(11_000_000_000 + SKEW_90)));
        group.set_sight(ms(20_500), 0, 0, Sight::Success);
        assert_eq!(reached_at(&mut group, 0, ms(60_000)), Some(SimTime(24_000_000_000 + SKEW_100)));
    }

    #[test]
    fn a_director_without_a_link_is_in_fault_and_nobody_hears_its_farewell() {
        let mut group = pair(|_| ());
        group.set_link(ms(10_500), 0, false);
        assert_eq!(group.state(0), VrrpState::Fault);
        assert_eq!(reached_at(&mut group, 1, ms(60_000)), Some(SimTime(13_000_000_000 + SKEW_90)));
    }

    #[test]
    fn changes_tell_each_step_of_a_fail_over_once() {
        let mut group = pair(|_| ());
        group.crash(ms(10_500), 0);
        group.advance(ms(60_000));
        let changes: Vec<(usize, Changed)> =
            group.changes().map(|change| (change.director, change.what)).collect();
        assert_eq!(
            changes,
            [
                (0, Changed::State(VrrpState::Stopped)),
                (1, Changed::State(VrrpState::Master)),
                (1, Changed::Reached)
            ]
        );
        assert_eq!(group.changes().count(), 0);
    }

    #[test]
    fn the_owner_of_the_address_takes_it_at_once() {
        let mut group = VrrpGroup::new(vec![pair_config(255), pair_config(90)], SimDuration::from_secs(38));
        group.start(ms(1_000), 0);
        group.start(ms(1_000), 1);
        assert_eq!(group.reached(SimTime(1_000_001_000)), Some(0));
    }
}

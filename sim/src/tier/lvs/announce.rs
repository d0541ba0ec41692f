//! What the sync daemon does with the connection table: announces entries of a master, and enters what a backup receives.
//!
//! Source: Linux 6.1, `ip_vs_core.c` (the end of `ip_vs_in_hook`) and `ip_vs_sync.c` (`ip_vs_sync_conn`, `ip_vs_proc_conn`).

use crate::engine::{SimDuration, SimTime};
use crate::ids::ServerId;

use super::KernelClock;
use super::director::Lvs;
use super::sync::{Called, Candidate, LvsSync, SyncDaemon, SyncEntry, SyncRole, SyncTraffic};
use super::table::{Entry, Key, Kind, NONE};

/// The time-out of a template that comes with less than a second: three minutes.
const TEMPLATE_TIMEOUT_S: u32 = 180;

impl Lvs {
    /// Starts the sync daemon, or gives it another role; what it had not sent yet is lost. A master's thread looks for
    /// something to send for the first time after `first_look`, which is [`LvsSync::CHECK_PERIOD`] for a daemon that is
    /// started now.
    pub fn start_sync(&mut self, now: SimTime, options: LvsSync, role: SyncRole, first_look: SimDuration) {
        self.advance(now);
        let looks_at = self.clock.jiffies(now + first_look).max(self.wheel.now() + 1);
        match &mut self.sync {
            Some(daemon) => daemon.restart(options, role, looks_at),
            None => self.sync = Some(Box::new(SyncDaemon::new(options, role, self.clock.hz, looks_at))),
        }
    }

    /// Ends the sync daemon, whatever its role.
    pub fn stop_sync(&mut self, now: SimTime) {
        self.advance(now);
        self.sync = None;
    }

    /// The role of its sync daemon, if that runs.
    pub fn sync_role(&self) -> Option<SyncRole> {
        self.sync.as_ref().map(|daemon| daemon.role)
    }

    /// Its kernel's timer clock.
    pub fn clock(&self) -> KernelClock {
        self.clock
    }

    /// When [`Lvs::send_sync`] may have something to send; [`SimTime::NEVER`] without a master's daemon.
    pub fn sync_due(&self) -> SimTime {
        match self.sync.as_ref().map_or(u64::MAX, |daemon| daemon.next_due()) {
            u64::MAX => SimTime::NEVER,
            jiffies => self.clock.next_tick(jiffies.saturating_sub(1).max(self.clock.jiffies_at_zero)),
        }
    }

    /// Does what the daemon's thread does by `now`: appends to `sent` what it sends.
    pub fn send_sync(&mut self, now: SimTime, sent: &mut Vec<SyncEntry>) -> SyncTraffic {
        self.advance(now);
        let jiffies = self.wheel.now();
        self.sync.as_mut().map_or_else(SyncTraffic::default, |daemon| daemon.run(jiffies, sent))
    }

    /// What a master sent arrives; without effect unless this director's daemon is a backup.
    ///
    /// A known connection takes the state and its time-out. If the message names another server, the known one is
    /// deleted, unless the message tells of its end, which is then ignored. A known template keeps its server even then.
    /// New connections are not tied to their templates, which therefore do not wait for them.
    pub fn receive_sync(&mut self, now: SimTime, entries: &[SyncEntry]) {
        self.advance(now);
        if self.sync_role() == Some(SyncRole::Backup) {
            entries.iter().for_each(|entry| self.receive_entry(entry));
        }
    }

    fn receive_entry(&mut self, entry: &SyncEntry) {
        let Some(endpoint) = self.endpoint_of(entry.service, entry.called.key()) else { return };
        let service = usize::from(entry.service);
        if self.services[service].destinations.get(entry.server).is_none() {
            return;
        }
        let slot = match entry.state {
            None => {
                let known = self.known(entry.address, 0, entry.service, true);
                let full = self.services[service].persistence_ticks;
                let ticks = self.ticks_of(entry.timeout_s, TEMPLATE_TIMEOUT_S);
                let kind = Kind::Template { shortened: ticks == self.later_ticks && full != Some(ticks) };
                let slot = match known.and_then(|key| self.table.find(key)) {
                    Some(slot) => slot,
                    None => {
                        let key = self.acquire(entry.address, 0, entry.service, true);
                        self.insert(key, kind, entry.server.0, 0)
                    }
                };
                self.table.entry_mut(slot).set_kind(kind);
                self.arm(slot, ticks);
                slot
            }
            Some(state) => {
                let known = self.known(entry.address, entry.port, endpoint, false);
                let mut known = known.and_then(|key| self.table.find(key));
                if let Some(slot) = known
                    && self.table.entry(slot).server != entry.server.0
                {
                    if !state.is_active() {
                        return;
                    }
                    self.expire_now(slot);
                    known = None;
                }
                let slot = match known {
                    Some(slot) => {
                        self.enter(slot, state);
                        slot
                    }
                    None => {
                        let key = self.acquire(entry.address, entry.port, endpoint, false);
                        let destinations = &mut self.services[service].destinations;
                        destinations.bind(entry.server, state.is_active());
                        self.insert(key, Kind::Connection(state), entry.server.0, NONE)
                    }
                };
                let own = self.state_ticks[state as usize];
                let ticks = if entry.timeout_s == 0 { own } else { self.ticks_of(entry.timeout_s, 0) };
                self.arm(slot, ticks);
                slot
            }
        };
        if let Some(daemon) = &mut self.sync {
            daemon.received(slot, entry.state);
        }
    }

    fn ticks_of(&self, timeout_s: u32, otherwise_s: u32) -> u32 {
        let seconds = if timeout_s == 0 { otherwise_s } else { timeout_s };
        self.clock.ticks(SimDuration::from_secs(seconds.into()))
    }

    /// A new entry of the table, of which the daemon knows nothing yet.
    #[inline]
    pub(super) fn insert(&mut self, key: Key, kind: Kind, server: u16, link: u32) -> u32 {
        let slot = self.table.insert(key, kind, server, link);
        if let Some(daemon) = &mut self.sync {
            daemon.forget(slot);
        }
        slot
    }

    /// A packet of the client has passed, for the connection at `slot`: counts it, and announces the connection and its
    /// template if it is time.
    #[inline]
    pub(super) fn announce(&mut self, slot: u32) {
        if self.sync.is_some() {
            self.announce_connection(slot);
        }
    }

    fn announce_connection(&mut self, slot: u32) {
        let Some(daemon) = &mut self.sync else { return };
        let packets = daemon.count(slot);
        if daemon.role == SyncRole::Backup {
            return;
        }
        let (link, state) = (self.table.entry(slot).link, self.state_of(slot));
        self.offer(
            Candidate {
                slot,
                state: Some(state),
                timeout_ticks: self.state_ticks[state as usize],
                controlled: link != NONE,
            },
            packets,
        );
        if link != NONE
            && let Some(daemon) = &mut self.sync
        {
            let packets = daemon.count(link);
            self.offer_template(link, packets);
        }
    }

    /// A template's timer has run out while it controlled connections: that is announced too.
    pub(super) fn announce_shortened(&mut self, slot: u32) {
        let master = self.sync.as_ref().filter(|daemon| daemon.role == SyncRole::Master);
        if let Some(threshold) = master.map(|daemon| daemon.threshold()) {
            self.offer_template(slot, threshold);
        }
    }

    fn offer_template(&mut self, slot: u32, packets: u32) {
        let entry = self.table.entry(slot);
        let full = self.services[usize::from(entry.endpoint)].persistence_ticks.unwrap_or(0);
        let shortened = entry.kind() == Kind::Template { shortened: true };
        let timeout_ticks = if shortened { self.later_ticks } else { full };
        self.offer(Candidate { slot, state: None, timeout_ticks, controlled: false }, packets);
    }

    /// Puts an entry into the daemon's buffer if it is time.
    fn offer(&mut self, candidate: Candidate, packets: u32) {
        let jiffies = self.wheel.now();
        let Some(daemon) = &mut self.sync else { return };
        if !daemon.needs(candidate, packets, jiffies) {
            return;
        }
        let entry: Entry = *self.table.entry(candidate.slot);
        // A template's endpoint is its service.
        let (service, called) = match candidate.state {
            None => (entry.endpoint, Called::default()),
            Some(_) => {
                let endpoint = &self.endpoints[usize::from(entry.endpoint)];
                (endpoint.service, Called::new(&endpoint.key))
            }
        };
        let message = SyncEntry {
            service,
            called,
            address: self.client_address(&entry),
            port: entry.port,
            server: ServerId(entry.server),
            state: candidate.state,
            timeout_s: candidate.timeout_ticks / self.clock.hz,
        };
        if let Some(daemon) = &mut self.sync {
            daemon.push(message, jiffies);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Director, config, open};
    use super::super::{Forwarded, LvsConfig, Segment, TcpState};
    use super::*;

    const CLIENT: [u8; 4] = [10, 0, 0, 1];
    const OTHER: [u8; 4] = [10, 0, 0, 2];

    /// A master and its backup.
    struct Pair {
        master: Director,
        backup: Director,
    }

    impl Pair {
        fn new(config: LvsConfig, sync: LvsSync) -> Self {
            let mut pair = Self { master: Director::new(config.clone()), backup: Director::new(config) };
            let look = LvsSync::CHECK_PERIOD;
            pair.master.lvs.start_sync(SimTime::ZERO, sync, SyncRole::Master, look);
            pair.backup.lvs.start_sync(SimTime::ZERO, sync, SyncRole::Backup, look);
            pair
        }

        /// Time goes by; what the master sends arrives. Gives the times and numbers of what was sent.
        fn wait_ms(&mut self, millis: u64) -> Vec<(SimTime, usize)> {
            let until = self.master.now + SimDuration::from_millis(millis);
            let (mut sent, mut log) = (Vec::new(), Vec::new());
            while self.master.lvs.sync_due() <= until {
                let due = self.master.lvs.sync_due();
                self.master.lvs.send_sync(due, &mut sent);
                self.backup.lvs.receive_sync(due, &sent);
                if !sent.is_empty() {
                    log.push((due, sent.len()));
                }
                sent.clear();
            }
            (self.master.now, self.backup.now) = (until, until);
            log
        }

        fn wait(&mut self, seconds: u64) -> Vec<(SimTime, usize)> {
            self.wait_ms(seconds * 1_000)
        }

        fn at_backup(&mut self, port: u16) -> Option<(TcpState, u16)> {
            let views: Vec<_> = self.backup.lvs.connections(self.backup.now).collect();
            views.iter().find(|view| view.port == port).map(|view| (view.state, view.server.0))
        }
    }

    fn pair(persistence_s: Option<u64>) -> Pair {
        Pair::new(config("rr", 3, persistence_s), LvsSync::default())
    }

    #[test]
    fn a_connection_is_announced_with_the_client_s_third_packet_and_arrives_two_to_three_seconds_later() {
        let mut shortest_ms = u64::MAX;
        let mut longest_ms = 0;
        for phase in 0..40 {
            let mut pair = pair(None);
            pair.wait_ms(10_000 + phase * 27);
            let announced = pair.master.now;
            let (flow, server) = pair.master.connect(CLIENT, 1);
            assert_eq!(pair.wait(5), [], "a handshake has two packets");
            let third = pair.master.now;
            pair.master.segment(flow, Segment::FromClient);
            let log = pair.wait(5);
            let delay_ms = log[0].0.since(third).0 / 1_000_000;
            assert!(third > announced && log.len() == 1);
            (shortest_ms, longest_ms) = (shortest_ms.min(delay_ms), longest_ms.max(delay_ms));
            assert_eq!(pair.at_backup(1), Some((TcpState::Established, server)));
        }
        // Two seconds old at least, counted in ticks of 4 ms, and looked at every 1.024 s.
        assert!((1_996..2_040).contains(&shortest_ms), "{shortest_ms}");
        assert!((2_980..3_028).contains(&longest_ms), "{longest_ms}");
    }

    #[test]
    fn a_connection_that_goes_on_is_announced_with_every_fiftieth_packet_and_at_its_end() {
        let mut pair = pair(None);
        let (flow, _) = pair.master.connect(CLIENT, 1);
        let mut announced = Vec::new();
        for packet in 3..=110 {
            pair.master.segment(flow, Segment::FromClient);
            announced.extend(pair.wait(4).iter().map(|_| packet));
        }
        assert_eq!(announced, [3, 53, 103]);
        pair.master.segment(flow, Segment::ClientFin);
        assert_eq!(pair.wait(4).len(), 1);
        assert_eq!(pair.at_backup(1).map(|(state, _)| state), Some(TcpState::CloseWait));
        assert_eq!(pair.backup.counters(2), (0, 1));
    }

    #[test]
    fn a_template_is_announced_with_every_packet_and_expires_at_the_backup_although_connections_are_open() {
        let mut pair = pair(Some(120));
        let (flow, home) = pair.master.connect(CLIENT, 1);
        pair.wait(4);
        let view = pair.backup.template(CLIENT).expect("a template, though no connection");
        assert_eq!((view.server.0, view.controlled), (home, 0));
        assert_eq!(pair.at_backup(1), None);
        pair.wait(20);
        pair.master.segment(flow, Segment::FromClient);
        pair.wait(4);
        let left = pair.backup.template(CLIENT).expect("renewed").left;
        assert!(left > SimDuration::from_secs(117), "{left}");
        // At the master the open connection keeps it, 60 s at a time, and says so.
        pair.wait(118);
        let shortened = pair.backup.template(CLIENT).expect("announced when its timer ran out");
        assert_eq!(shortened.timeout, SimDuration::from_secs(60));
    }

    #[test]
    fn connections_and_clients_of_before_go_on_behind_the_director_that_takes_over() {
        let mut pair = pair(Some(120));
        let (flow, home) = pair.master.connect(CLIENT, 1);
        pair.master.segment(flow, Segment::FromClient);
        pair.master.connect(OTHER, 2);
        pair.wait(4);
        let Pair { mut backup, .. } = pair;
        let known = backup.lvs.rejoin(backup.now, &open(CLIENT, 1), Segment::FromClient);
        assert_eq!(known.forwarded, Forwarded::To(ServerId(home)));
        let unknown = backup.lvs.rejoin(backup.now, &open(OTHER, 2), Segment::FromClient);
        assert_eq!(unknown.forwarded, Forwarded::Reset, "two packets were not enough");
        assert_eq!(backup.connect(CLIENT, 9).1, home);
    }

    #[test]
    fn a_threshold_of_zero_announces_ends_alone() {
        let sync = LvsSync { sync_threshold: 0, sync_period: 0, ..LvsSync::default() };
        let mut pair = Pair::new(config("rr", 3, Some(120)), sync);
        let (flow, _) = pair.master.connect(CLIENT, 1);
        for _ in 0..60 {
            pair.master.segment(flow, Segment::FromClient);
        }
        assert_eq!(pair.wait(4), []);
        assert_eq!(pair.backup.template(CLIENT), None);
        pair.master.segment(flow, Segment::ClientReset);
        pair.wait(4);
        assert_eq!(pair.at_backup(1).map(|(state, _)| state), Some(TcpState::Close));
    }

    #[test]
    fn a_refresh_period_spares_announcements_until_the_expiry_has_moved_and_retries_in_between() {
        let announcements = |sync: LvsSync| {
            let mut pair = Pair::new(config("rr", 3, Some(120)), sync);
            let (flow, _) = pair.master.connect(CLIENT, 1);
            (0..60)
                .map(|_| {
                    pair.master.segment(flow, Segment::FromClient);
                    pair.wait(1).iter().map(|&(_, entries)| entries).sum::<usize>()
                })
                .sum::<usize>()
        };
        let period = SimDuration::from_secs(20);
        let all = announcements(LvsSync::default());
        let spared = announcements(LvsSync { sync_refresh_period: period, ..LvsSync::default() });
        let retried =
            announcements(LvsSync { sync_refresh_period: period, sync_retries: 2, ..LvsSync::default() });
        assert!(all > 55, "{all}");
        assert!(spared < 10, "{spared}");
        assert!(spared < retried && retried < all, "{spared} {retried} {all}");
    }

    #[test]
    fn with_persist_mode_only_templates_of_controlled_connections_are_sent() {
        let sync = LvsSync { sync_persist_mode: true, ..LvsSync::default() };
        let mut pair = Pair::new(config("rr", 3, Some(120)), sync);
        let (flow, _) = pair.master.connect(CLIENT, 1);
        pair.master.segment(flow, Segment::FromClient);
        pair.wait(4);
        assert_eq!(pair.at_backup(1), None);
        assert!(pair.backup.template(CLIENT).is_some());
    }

    #[test]
    fn a_full_message_is_sent_within_a_fiftieth_of_a_second() {
        // 40 entries of 36 bytes and a header fill 1472 bytes.
        let mut pair = pair(None);
        pair.wait(2);
        for port in 1..=41 {
            let (flow, _) = pair.master.connect(CLIENT, port);
            pair.master.segment(flow, Segment::FromClient);
        }
        let from = pair.master.now;
        let log = pair.wait(4);
        assert_eq!(log.iter().map(|&(_, entries)| entries).collect::<Vec<_>>(), [40, 1]);
        assert!(log[0].0.since(from) <= SimDuration::from_millis(24), "{log:?}");
    }

    #[test]
    fn what_was_not_sent_is_lost_when_the_roles_change_and_the_new_master_announces_in_its_turn() {
        let mut pair = pair(None);
        let (flow, server) = pair.master.connect(CLIENT, 1);
        pair.master.segment(flow, Segment::FromClient);
        pair.wait(4);
        let look = LvsSync::CHECK_PERIOD;
        let now = pair.master.now;
        pair.master.lvs.start_sync(now, LvsSync::default(), SyncRole::Backup, look);
        pair.backup.lvs.start_sync(now, LvsSync::default(), SyncRole::Master, look);
        std::mem::swap(&mut pair.master, &mut pair.backup);
        let rejoined = pair.master.lvs.rejoin(now, &open(CLIENT, 1), Segment::ClientReset);
        assert_eq!(rejoined.forwarded, Forwarded::To(ServerId(server)));
        pair.wait(4);
        assert_eq!(pair.at_backup(1).map(|(state, _)| state), Some(TcpState::Close));
    }

    #[test]
    fn another_server_replaces_a_known_connection_unless_the_message_tells_of_an_end() {
        let mut backup = pair(None).backup;
        let entry = |server, state| SyncEntry {
            service: 0,
            called: Called::default(),
            address: CLIENT.into(),
            port: 1,
            server: ServerId(server),
            state: Some(state),
            timeout_s: 900,
        };
        let tell = |backup: &mut Director, server, state| {
            backup.lvs.receive_sync(backup.now, &[entry(server, state)]);
            backup.wait_ms(4);
            (0..3).map(|server| backup.counters(server)).collect::<Vec<_>>()
        };
        assert_eq!(tell(&mut backup, 0, TcpState::Established), [(1, 0), (0, 0), (0, 0)]);
        assert_eq!(tell(&mut backup, 1, TcpState::Close), [(1, 0), (0, 0), (0, 0)]);
        assert_eq!(tell(&mut backup, 1, TcpState::Established), [(0, 0), (1, 0), (0, 0)]);
        assert_eq!(tell(&mut backup, 1, TcpState::Close), [(0, 0), (0, 1), (0, 0)]);
        backup.wait(1_000);
        assert_eq!(backup.sizes().flows, 0);
        backup.lvs.receive_sync(backup.now, &[entry(7, TcpState::Established)]);
        assert_eq!(backup.sizes().flows, 0, "a server that it never had");
    }

    #[test]
    fn a_director_without_a_daemon_sends_and_takes_nothing() {
        let mut pair = pair(Some(120));
        let (flow, _) = pair.master.connect(CLIENT, 1);
        pair.master.segment(flow, Segment::FromClient);
        pair.backup.lvs.stop_sync(pair.backup.now);
        assert!(!pair.wait(4).is_empty());
        assert_eq!(pair.backup.sizes().affinity_entries, 0);
        pair.master.lvs.stop_sync(pair.master.now);
        assert_eq!(pair.master.lvs.sync_due(), SimTime::NEVER);
    }
}

//! What the sync daemon does with the connection table: announces entries of a master, and enters what a backup receives.
//!
//! Source: Linux 6.1, `ip_vs_core.c` (the end of `ip_vs_in_hook`) and `ip_vs_sync.c` (`ip_vs_sync_conn`, `ip_vs_proc_conn`).

use crate::engine::{SimDuration, SimTime};
use crate::ids::ServerId;

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

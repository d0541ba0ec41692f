//! The state machine of one director.

use crate::engine::{SimDuration, SimTime};

use super::script::Tracked;
use super::{PRIORITY_OWNER, Sight, VrrpConfig, VrrpState, VrrpVersion};

/// A VRRP advertisement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Advert {
    /// The sender's priority; 0 is a farewell.
    pub priority: u8,
    /// The sender's interval, which backups of version 3 take over.
    pub advert_int: SimDuration,
    /// Decides between equal priorities: the sender's primary address, or any number that is ordered alike.
    pub address: u32,
}

/// What an input makes a director send, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sends {
    /// To the other directors.
    pub advert: Option<Advert>,
    /// To everybody: gratuitous ARP, that the address is here.
    pub announcement: bool,
}

/// One director's part.
#[derive(Clone, Debug)]
pub struct VrrpInstance {
    config: VrrpConfig,
    address: u32,
    state: VrrpState,
    link_up: bool,
    /// With what the scripts add, 1 to 255.
    priority: u8,
    /// As a backup: the interval of the master (`master_adver_int`).
    master_advert_int: SimDuration,
    /// As a backup: what was put on the timer last (`ms_down_timer`). Kept since a change of priority moves the timer by
    /// the difference.
    down_timer: SimDuration,
    /// The next advert of a master, or when a backup takes the address.
    due: SimTime,
    /// Until when a lower priority is put up with; `None` while no advert of one has come.
    preempt_at: Option<SimTime>,
    announce_at: SimTime,
    announce_again_at: SimTime,
    refresh_at: SimTime,
    scripts: Vec<Tracked>,
}

impl VrrpInstance {
    /// A director that does not run yet.
    pub fn new(config: VrrpConfig, address: u32) -> Self {
        let priority = config.priority.max(1);
        let scripts = config.track_script.iter().map(|&script| Tracked::new(script)).collect();
        Self {
            master_advert_int: config.advert_int,
            config: VrrpConfig { priority, ..config },
            address,
            state: VrrpState::Stopped,
            link_up: true,
            priority,
            down_timer: SimDuration::ZERO,
            due: SimTime::NEVER,
            preempt_at: None,
            announce_at: SimTime::NEVER,
            announce_again_at: SimTime::NEVER,
            refresh_at: SimTime::NEVER,
            scripts,
        }
    }

    /// Its state.
    pub fn state(&self) -> VrrpState {
        self.state
    }

    /// Its priority, with what scripts add to it.
    pub fn priority(&self) -> u8 {
        self.priority
    }

    /// When [`VrrpInstance::tick`] has something to do.
    pub fn next_due(&self) -> SimTime {
        let own = self.due.min(self.announce_at).min(self.announce_again_at);
        self.scripts.iter().map(Tracked::due).fold(own, SimTime::min)
    }

    /// keepalived is up and its timers run. It listens for a whole `Master_Down_Interval` before it takes the address,
    /// also with `state MASTER`, unless it owns it (`vrrp_init_state`).
    pub fn start(&mut self, now: SimTime) {
        if self.state != VrrpState::Stopped {
            return;
        }
        self.state = VrrpState::Fault;
        self.priority = self.config.priority;
        self.scripts.iter_mut().for_each(|script| script.start(now));
        self.look(now);
    }

    /// Has run for long, with scripts that are good. Gives what decides who is master, the greater the better.
    pub(super) fn settle_scripts(&mut self, now: SimTime) -> (u8, u32) {
        self.scripts.iter_mut().for_each(|script| script.settle(now));
        self.set_priority();
        (self.priority, self.address)
    }

    /// Begins in the midst of life, as a master that sent its last advert `since_advert` ago or as a backup that heard it.
    pub(super) fn settle(&mut self, now: SimTime, since_advert: SimDuration, master: bool) {
        let (state, timer) = match master {
            true => (VrrpState::Master, self.config.advert_int),
            false => (VrrpState::Backup, self.config.master_down_interval(self.priority)),
        };
        self.state = state;
        self.down_timer = timer;
        self.due = SimTime((now + timer).0.saturating_sub(since_advert.0)).max(now);
        if master {
            self.refresh_at = after(now, self.config.garp_master_refresh);
        }
    }

    /// A graceful stop: a master bids farewell, and gives up the address.
    pub fn stop(&mut self) -> Sends {
        let farewell = (self.state == VrrpState::Master).then(|| self.advert(0));
        self.halt();
        Sends { advert: farewell, announcement: false }
    }

    /// The host dies without a word.
    pub fn crash(&mut self) {
        self.halt();
    }

    /// What the script number `script` of the configuration finds from now on; no effect if there is none.
    pub fn set_sight(&mut self, script: usize, sight: Sight) {
        if let Some(script) = self.scripts.get_mut(script) {
            script.sight = sight;
        }
    }

    /// The interface's link goes down or comes up, which keepalived learns at once.
    pub fn set_link(&mut self, now: SimTime, up: bool) -> Sends {
        self.link_up = up;
        self.look(now)
    }

    /// Whether its link is up.
    pub fn link_is_up(&self) -> bool {
        self.link_up
    }

    /// Does one thing that is due at `now`: a script, an announcement, an advert, or to become master.
    pub fn tick(&mut self, now: SimTime) -> Sends {
        if let Some(script) = self.scripts.iter_mut().find(|script| script.due() <= now) {
            script.tick(now);
            return self.look(now);
        }
        let announcements = [&mut self.announce_at, &mut self.announce_again_at];
        if let Some(timer) = announcements.into_iter().find(|timer| **timer <= now) {
            *timer = SimTime::NEVER;
            return Sends { advert: None, announcement: true };
        }
        if self.due > now {
            return Sends::default();
        }
        let advert = Some(self.advert(self.priority));
        self.due = now + self.config.advert_int;
        if self.state == VrrpState::Master {
            let refresh = self.refresh_at <= now;
            if refresh {
                self.refresh_at = now + self.config.garp_master_refresh;
            }
            return Sends { advert, announcement: refresh };
        }
        self.state = VrrpState::Master;
        self.master_advert_int = self.config.advert_int;
        self.announce_at = after(now, self.config.garp_master_delay);
        self.refresh_at = after(now, self.config.garp_master_refresh);
        Sends { advert, announcement: true }
    }

    /// An advert of another director arrives.
    pub fn receive(&mut self, now: SimTime, advert: &Advert) -> Sends {
        match self.state {
            VrrpState::Stopped | VrrpState::Fault => Sends::default(),
            VrrpState::Backup => {
                self.receive_as_backup(now, advert);
                Sends::default()
            }
            VrrpState::Master => self.receive_as_master(now, advert),
        }
    }

    fn receive_as_backup(&mut self, now: SimTime, advert: &Advert) {
        let config = &self.config;
        if advert.priority == 0 {
            self.wait(now, config.skew_at(self.priority, self.master_advert_int));
            return;
        }
        let lower = advert.priority < self.priority;
        let delayed = !config.preempt_delay.is_zero() && self.preempt_at.is_none_or(|at| at > now);
        if lower && !config.nopreempt && !delayed {
            // As if it had not come: the timer runs on, and when it has run out the address changes hands.
            self.down_timer = self.due.since(now);
            return;
        }
        if config.version == VrrpVersion::V3 {
            self.master_advert_int = advert.advert_int;
        }
        if !config.preempt_delay.is_zero() {
            self.preempt_at = lower.then(|| self.preempt_at.unwrap_or(now + config.preempt_delay));
        }
        self.wait(now, config.master_down_at(self.priority, self.master_advert_int));
    }

    fn receive_as_master(&mut self, now: SimTime, advert: &Advert) -> Sends {
        if advert.priority == 0 {
            self.due = now + self.config.advert_int;
            return Sends { advert: Some(self.advert(self.priority)), announcement: false };
        }
        if (advert.priority, advert.address) > (self.priority, self.address) {
            if self.config.version == VrrpVersion::V3 {
                self.master_advert_int = advert.advert_int;
            }
            self.preempt_at = None;
            self.leave(VrrpState::Backup);
            self.wait(now, self.config.master_down_at(self.priority, self.master_advert_int));
            return Sends::default();
        }
        self.announce_again_at = after(now, self.config.garp_lower_prio_delay);
        let reply = (!self.config.lower_prio_no_advert).then(|| self.advert(self.priority));
        if reply.is_some() {
            self.due = now + self.config.advert_int;
        }
        Sends { advert: reply, announcement: true }
    }

    /// Takes account of scripts and link.
    fn look(&mut self, now: SimTime) -> Sends {
        if self.state == VrrpState::Stopped {
            return Sends::default();
        }
        self.set_priority();
        let sound = self.link_up && !self.scripts.iter().any(Tracked::prevents);
        match (self.state == VrrpState::Fault, sound) {
            (true, true) => {
                self.state = VrrpState::Backup;
                self.preempt_at = None;
                self.master_advert_int = self.config.advert_int;
                let owner = self.priority == PRIORITY_OWNER;
                let listen = self.config.master_down_at(self.priority, self.master_advert_int);
                self.wait(now, if owner { SimDuration(1_000) } else { listen });
                Sends::default()
            }
            (false, false) => {
                // Without a link nobody hears the farewell.
                let heard = self.state == VrrpState::Master && self.link_up;
                let farewell = heard.then(|| self.advert(0));
                self.leave(VrrpState::Fault);
                Sends { advert: farewell, announcement: false }
            }
            (true, false) | (false, true) => Sends::default(),
        }
    }

    /// `vrrp_set_effective_priority`: a backup's timer moves by as much as the interval changes.
    fn set_priority(&mut self) {
        if self.config.priority == PRIORITY_OWNER {
            return;
        }
        let total = i32::from(self.config.priority) + self.scripts.iter().map(Tracked::adds).sum::<i32>();
        let priority = total.clamp(1, i32::from(PRIORITY_OWNER) - 1) as u8;
        if priority == self.priority {
            return;
        }
        self.priority = priority;
        let before = self.down_timer;
        self.down_timer = self.config.master_down_at(priority, self.master_advert_int);
        if self.state == VrrpState::Backup {
            self.due = SimTime((self.due + self.down_timer).0.saturating_sub(before.0));
        }
    }

    fn wait(&mut self, now: SimTime, down_timer: SimDuration) {
        self.down_timer = down_timer;
        self.due = now + down_timer;
    }

    fn leave(&mut self, state: VrrpState) {
        self.state = state;
        self.due = SimTime::NEVER;
        self.announce_at = SimTime::NEVER;
        self.announce_again_at = SimTime::NEVER;
        self.refresh_at = SimTime::NEVER;
    }

    fn halt(&mut self) {
        self.leave(VrrpState::Stopped);
        self.scripts.iter_mut().for_each(Tracked::stop);
    }

    fn advert(&self, priority: u8) -> Advert {
        Advert { priority, advert_int: self.config.advert_int, address: self.address }
    }
}

/// The end of a delay of which zero means never.
fn after(now: SimTime, delay: SimDuration) -> SimTime {
    if delay.is_zero() { SimTime::NEVER } else { now + delay }
}

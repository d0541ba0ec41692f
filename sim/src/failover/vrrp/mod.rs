//! VRRP as keepalived 2.2.7 runs it: one virtual address, several directors, one of which holds it.
//!
//! Sources: RFC 3768 (version 2), RFC 5798 (version 3), and keepalived 2.2.7, `vrrp.c` (`vrrp_state_backup`,
//! `vrrp_state_master_rx`, `vrrp_state_master_tx`, `vrrp_state_leave_master`), `vrrp_scheduler.c` (`vrrp_init_state`,
//! `vrrp_init_instance_sands`, `try_up_instance`) and `vrrp_track.c`. keepalived is GPL, and what is here describes what it
//! does. Checked against recordings of it ([`crate::conformance::ipvs`]).
//!
//! # How it is driven
//!
//! A [`VrrpGroup`] is all directors that share a virtual address. It holds no events: ask [`VrrpGroup::next_due`] when
//! something happens next if nothing else does, call [`VrrpGroup::advance`] then, and tell it what befalls the directors
//! ([`VrrpGroup::crash`], [`VrrpGroup::partition`], ...). Each input first does what was due by then. After any of them,
//! [`VrrpGroup::changes`] tells what has changed, and [`VrrpGroup::reached`] which director the clients' packets reach.
//!
//! ```
//! use evenkeel_sim::engine::{SimDuration, SimTime};
//! use evenkeel_sim::failover::vrrp::{VrrpConfig, VrrpGroup};
//!
//! let director = |priority| VrrpConfig { priority, ..VrrpConfig::default() };
//! let mut group = VrrpGroup::new(vec![director(100), director(90)], SimDuration::from_secs(38));
//! group.settle(SimTime::ZERO, SimDuration::ZERO);
//! let crash = SimTime::from_millis(10_250);
//! assert_eq!(group.reached(crash), Some(0));
//! group.crash(crash, 0);
//! assert_eq!(group.reached(crash), None);
//! // Three adverts fail to come, of which the first was due 0.75 s later; then the skew of priority 90.
//! let due = group.next_due();
//! assert_eq!(group.reached(due), Some(1));
//! assert_eq!(due, SimTime(13_648_437_000));
//! ```
//!
//! # What is left out
//!
//! Adverts take no time and none is lost but between directors that a partition keeps apart; so repetitions
//! (`garp_master_repeat`) make no difference. Directors of one group agree on `advert_int` in version 2, as they must. A
//! keepalived that is killed while its host lives on leaves the address behind: here a crash is the host's. Sync groups,
//! authentication, BFD and tracked files are not modelled; a tracked interface is [`VrrpGroup::set_link`].

mod group;
mod instance;
mod script;

pub use group::{Change, Changed, VrrpGroup};
pub use instance::{Advert, Sends, VrrpInstance};
pub use script::{Sight, VrrpScript};

use crate::engine::SimDuration;

/// The priority of a router that owns the address: it takes it at once, and no script changes it.
pub const PRIORITY_OWNER: u8 = 255;

/// The version of the protocol (`vrrp_version`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum VrrpVersion {
    /// RFC 3768, keepalived's default for IPv4: whole seconds, and a skew of up to one second whatever the interval.
    #[default]
    V2,
    /// RFC 5798: hundredths of a second, and a skew of up to one interval.
    V3,
}

/// The state of a director for the virtual address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VrrpState {
    /// Not running: not started, stopped, or crashed.
    Stopped,
    /// A tracked script fails or the link is down; it takes no part.
    Fault,
    /// Listens for the master's adverts.
    Backup,
    /// Holds the address and sends adverts.
    Master,
}

/// A `vrrp_instance` of one director.
#[derive(Clone, Debug, PartialEq)]
pub struct VrrpConfig {
    /// `version`.
    pub version: VrrpVersion,
    /// `priority`, 1 to 255; 255 owns the address.
    pub priority: u8,
    /// `advert_int`: time between a master's adverts. keepalived takes whole seconds in version 2 and hundredths of a
    /// second, up to 40.95 s, in version 3.
    pub advert_int: SimDuration,
    /// `nopreempt`: a backup leaves the address to a master of lower priority.
    pub nopreempt: bool,
    /// `preempt_delay`: how long it leaves it, counted from the first advert of lower priority.
    pub preempt_delay: SimDuration,
    /// `down_timer_adverts`: adverts that fail to come before the master counts as dead.
    pub down_timer_adverts: u32,
    /// `garp_master_delay`: when a new master says once more by gratuitous ARP where the address is; zero for never.
    pub garp_master_delay: SimDuration,
    /// `garp_master_refresh`: a master says so again with the first advert after this time; zero for never.
    pub garp_master_refresh: SimDuration,
    /// `garp_lower_prio_delay`: the second time that a master says so after an advert of lower priority; the first is at
    /// once.
    pub garp_lower_prio_delay: SimDuration,
    /// `vrrp_lower_prio_no_advert`: a master does not answer an advert of lower priority with its own.
    pub lower_prio_no_advert: bool,
    /// `track_script`: scripts that are run all the time.
    pub track_script: Vec<VrrpScript>,
}

impl Default for VrrpConfig {
    /// keepalived's defaults.
    fn default() -> Self {
        Self {
            version: VrrpVersion::V2,
            priority: 100,
            advert_int: SimDuration::from_secs(1),
            nopreempt: false,
            preempt_delay: SimDuration::ZERO,
            down_timer_adverts: 3,
            garp_master_delay: SimDuration::from_secs(5),
            garp_master_refresh: SimDuration::ZERO,
            garp_lower_prio_delay: SimDuration::from_secs(5),
            lower_prio_no_advert: false,
            track_script: Vec::new(),
        }
    }
}

impl VrrpConfig {
    /// `Skew_Time`: what a backup waits beyond the missing adverts, the less the higher its priority; also all that it
    /// waits after a master's farewell. In whole microseconds, as keepalived counts (`VRRP_TIMER_SKEW`).
    pub fn skew(&self, priority: u8) -> SimDuration {
        self.skew_at(priority, self.advert_int)
    }

    /// The same when the master's interval, which counts in version 3, is another.
    fn skew_at(&self, priority: u8, master_advert_int: SimDuration) -> SimDuration {
        let missing = 256 - u64::from(priority);
        let whole = match self.version {
            VrrpVersion::V2 => SimDuration::from_secs(1),
            VrrpVersion::V3 => master_advert_int,
        };
        SimDuration(whole.0.saturating_mul(missing) / 256 / 1_000 * 1_000)
    }

    /// `Master_Down_Interval`: how long after the last advert a backup of this priority takes the address.
    pub fn master_down_interval(&self, priority: u8) -> SimDuration {
        self.master_down_at(priority, self.advert_int)
    }

    fn master_down_at(&self, priority: u8, master_advert_int: SimDuration) -> SimDuration {
        master_advert_int * u64::from(self.down_timer_adverts) + self.skew_at(priority, master_advert_int)
    }

    /// Shortest, mean and longest time from a master's crash to the take-over by a backup with this configuration, if
    /// the crash comes at any moment between two adverts alike: the last advert was sent up to one interval before. The
    /// shortest is a limit that is not reached.
    pub fn takeover_after_crash(&self) -> [SimDuration; 3] {
        let longest = self.master_down_interval(self.priority);
        let half = SimDuration(self.advert_int.0 / 2);
        [self.advert_int, half, SimDuration::ZERO].map(|less| SimDuration(longest.0.saturating_sub(less.0)))
    }
}

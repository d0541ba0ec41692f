//! The sync daemon's messages: which connections and templates a master announces, and how long they wait to be sent.
//!
//! Source: Linux 6.1, `ip_vs_sync.c` (`ip_vs_sync_conn_needed`, `ip_vs_sync_conn`, `sb_queue_tail`, `get_curr_sync_buff`,
//! `sync_thread_master`), version 1 of the protocol with one port.
//!
//! # How two directors are driven
//!
//! Start the daemon of each with [`Lvs::start_sync`], one as [`SyncRole::Master`], the other as [`SyncRole::Backup`]. The master
//! announces from then on. Call its [`Lvs::send_sync`] at [`Lvs::sync_due`]: it fills in what its thread sends. Give that to
//! [`Lvs::receive_sync`] of the other, or to nobody if the network between them is cut. When the backup takes over, it
//! knows what it has received: a segment of a connection goes through [`Lvs::rejoin`] first, since flows are named by each
//! director for itself. keepalived (`lvs_sync_daemon`) gives the daemon its other role whenever the director becomes master
//! or stops being it.
//!
//! Departures: no message is lost and none is too many for the queue (`sync_qlen_max`). What a backup cannot bind, since it
//! never had the server, it drops; the kernel keeps such an entry without a server.

use std::net::IpAddr;

use crate::engine::{SimDuration, SimTime};
use crate::ids::ServerId;

#[cfg(doc)]
use super::Lvs;
use super::wheel::{fires_at, next_granule};
use super::{KernelClock, TcpState};

/// Bytes of a message before its entries (`struct ip_vs_sync_mesg`).
const HEADER: u32 = 8;
/// Bytes of an entry with IPv4 addresses (`struct ip_vs_sync_v4`).
const ENTRY_V4: u32 = 36;
/// The same with IPv6 addresses.
const ENTRY_V6: u32 = 72;
/// A buffer that is not full is sent at this age, when the thread looks (`IPVS_SYNC_FLUSH_TIME`) \[s\].
const FLUSH_AGE_S: u64 = 2;
/// Full buffers wait for so many parts of a second (`IPVS_SYNC_SEND_DELAY`).
const SEND_DELAY_PARTS: u32 = 50;
/// So many full buffers wake the thread at once (`IPVS_SYNC_WAKEUP_RATE`).
const WAKEUP_RATE: u32 = 8;

/// `net.ipv4.vs.sync_*` and the daemon's `--sync-maxlen`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LvsSync {
    /// `sync_threshold`, first value: an established connection is announced with the client's packet of this number.
    pub sync_threshold: u32,
    /// `sync_threshold`, second value (`sync_period`): and with every packet that leaves this remainder; 0: once only.
    pub sync_period: u32,
    /// `sync_refresh_period`: no second announcement unless the expiry has moved by so much, or by half of the
    /// time-out; zero: off.
    pub sync_refresh_period: SimDuration,
    /// `sync_retries`, 0 to 3: announcements within a refresh period, an eighth of it apart.
    pub sync_retries: u8,
    /// `sync_persist_mode`: connections that a template controls are not announced, only the template.
    pub sync_persist_mode: bool,
    /// Bytes of a message, its header among them: by default what an Ethernet frame holds.
    pub sync_maxlen: u32,
}

impl LvsSync {
    /// How often the thread looks whether there is something to send (`IPVS_SYNC_CHECK_PERIOD`), but for the rounding of
    /// the timer wheel: at 250 ticks a second, each time 1.024 s after the last.
    pub const CHECK_PERIOD: SimDuration = SimDuration::from_secs(1);

    /// When the thread of a daemon that has run for long may look for the first time after time zero: the timer wheel
    /// allows only the ends of its granules, 32 of them at 250 ticks a second.
    pub fn first_looks(clock: KernelClock) -> impl Iterator<Item = SimDuration> {
        let clock = clock.bounded();
        let ticks = clock.ticks(Self::CHECK_PERIOD);
        let from = clock.jiffies_at_zero + 1;
        let mut jiffies = from - 1;
        std::iter::from_fn(move || {
            jiffies = next_granule(jiffies, ticks);
            (jiffies < from + fires_at(0, ticks)).then(|| clock.next_tick(jiffies - 1).since(SimTime::ZERO))
        })
    }
}

impl Default for LvsSync {
    /// The kernel's defaults.
    fn default() -> Self {
        Self {
            sync_threshold: 3,
            sync_period: 50,
            sync_refresh_period: SimDuration::ZERO,
            sync_retries: 0,
            sync_persist_mode: false,
            sync_maxlen: 1_472,
        }
    }
}

/// What a director's daemon does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncRole {
    /// `--start-daemon master`: announces.
    Master,
    /// `--start-daemon backup`: takes over what the master announces.
    Backup,
}

/// One connection or template on its way to the backup.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SyncEntry {
    /// The virtual service.
    pub service: u16,
    /// The destination that the client called.
    pub called: Called,
    /// The client's address; of a template, masked.
    pub address: IpAddr,
    /// The client's port; 0 for a template.
    pub port: u16,
    /// The real server.
    pub server: ServerId,
    /// The connection's state; `None` for a template.
    pub state: Option<TcpState>,
    /// The time-out of state or template, in whole seconds; the backup's timer starts with it on arrival.
    pub timeout_s: u32,
}

impl SyncEntry {
    fn bytes(&self) -> u32 {
        if self.address.is_ipv4() { ENTRY_V4 } else { ENTRY_V6 }
    }
}

/// What [`crate::tier::Open::key`] says, kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Called {
    bytes: [u8; 18],
    length: u8,
}

impl Called {
    /// The first 18 bytes of a key: the longest is an IPv6 address and a port.
    pub(super) fn new(key: &[u8]) -> Self {
        let length = key.len().min(18);
        let mut bytes = [0; 18];
        bytes[..length].copy_from_slice(&key[..length]);
        Self { bytes, length: length as u8 }
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// What was sent to the backup.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SyncTraffic {
    /// Datagrams.
    pub messages: u64,
    /// Their bytes, without the headers of UDP and IP.
    pub bytes: u64,
}

/// What the master remembers of an entry to decide when to announce it next.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    /// When the backup's copy runs out, in jiffies; the low two bits count retries.
    end: u64,
    /// Packets from the client.
    packets: u32,
    /// 0, or 1 more than the state that was announced last.
    state: u8,
}

/// A director's daemon.
#[derive(Debug)]
pub(super) struct SyncDaemon {
    options: LvsSync,
    pub role: SyncRole,
    hz: u32,
    /// By slot of the connection table; length = highest slot with packets + 1.
    rows: Vec<Row>,
    /// The buffer that is being filled, and its bytes.
    current: Vec<SyncEntry>,
    current_bytes: u32,
    /// The jiffy of the first entry in it.
    first_use: u64,
    /// Full buffers, one behind the other.
    queued: Vec<SyncEntry>,
    queued_traffic: SyncTraffic,
    /// When the thread wakes by itself, in jiffies.
    looks_at: u64,
    /// When a full buffer wakes it.
    woken_at: u64,
}

/// An entry, as far as the decision whether to announce it goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub slot: u32,
    /// `None` for a template.
    pub state: Option<TcpState>,
    pub timeout_ticks: u32,
    /// Whether a template controls it.
    pub controlled: bool,
}

impl SyncDaemon {
    /// A daemon whose thread, if it is a master, looks for the first time in the jiffy `looks_at`.
    pub fn new(options: LvsSync, role: SyncRole, hz: u32, looks_at: u64) -> Self {
        Self {
            options,
            role,
            hz,
            rows: Vec::new(),
            current: Vec::new(),
            current_bytes: HEADER,
            first_use: 0,
            queued: Vec::new(),
            queued_traffic: SyncTraffic::default(),
            looks_at: if role == SyncRole::Master { looks_at } else { u64::MAX },
            woken_at: u64::MAX,
        }
    }

    /// Ends, and begins with another role. What waited to be sent is lost; the counts of packets are the connections'.
    pub fn restart(&mut self, options: LvsSync, role: SyncRole, looks_at: u64) {
        let rows = std::mem::take(&mut self.rows);
        *self = Self { rows, ..Self::new(options, role, self.hz, looks_at) };
    }

    pub fn next_due(&self) -> u64 {
        self.looks_at.min(self.woken_at)
    }

    pub fn threshold(&self) -> u32 {
        self.options.sync_threshold
    }

    pub fn bytes(&self) -> usize {
        size_of_val(&self.rows[..]) + size_of_val(&self.current[..]) + size_of_val(&self.queued[..])
    }

    /// A new entry is at `slot`.
    pub fn forget(&mut self, slot: u32) {
        if let Some(row) = self.rows.get_mut(slot as usize) {
            *row = Row::default();
        }
    }

    /// Counts one more packet of the client for `slot`.
    pub fn count(&mut self, slot: u32) -> u32 {
        let slot = slot as usize;
        if slot >= self.rows.len() {
            self.rows.resize(slot + 1, Row::default());
        }
        let row = &mut self.rows[slot];
        row.packets = row.packets.wrapping_add(1);
        row.packets
    }

    /// `ip_vs_sync_conn_needed`, for the client's packet number `packets`.
    pub fn needs(&mut self, entry: Candidate, packets: u32, jiffies: u64) -> bool {
        let LvsSync { sync_threshold, sync_period, sync_retries, .. } = self.options;
        let refresh_ticks = self.ticks(self.options.sync_refresh_period);
        let Some(row) = self.rows.get_mut(entry.slot as usize) else { return false };
        let timeout = u64::from(entry.timeout_ticks);
        let mut end = (jiffies + timeout) & !3;
        let state = entry.state.map_or(0, |state| state as u8 + 1);
        let closing = match entry.state {
            None => false,
            Some(_) if self.options.sync_persist_mode && entry.controlled => return false,
            Some(TcpState::SynRecv) => return false,
            Some(TcpState::Established) => false,
            Some(_) => row.state != state,
        };
        if !closing {
            if refresh_ticks > 0 {
                let moved = end.abs_diff(row.end);
                if moved < refresh_ticks.min((timeout / 2).max(10 * u64::from(self.hz))) {
                    let retries = row.end & 3;
                    let too_soon = jiffies + timeout < row.end + refresh_ticks / 8;
                    if retries >= u64::from(sync_retries) || too_soon {
                        return false;
                    }
                    end |= retries + 1;
                }
            }
            let by_number = match sync_period {
                0 => refresh_ticks > 0 || packets == sync_threshold,
                _ => entry.state.is_none() || packets % sync_period == sync_threshold,
            };
            if !by_number {
                return false;
            }
        }
        row.state = state;
        row.end = end;
        true
    }

    /// Puts an entry into the buffer.
    pub fn push(&mut self, entry: SyncEntry, jiffies: u64) {
        let bytes = entry.bytes();
        if !self.current.is_empty() && self.current_bytes + bytes > self.options.sync_maxlen {
            if self.queued_traffic.messages == 0 {
                self.woken_at = self.woken_at.min(fires_at(jiffies, (self.hz / SEND_DELAY_PARTS).max(1)));
            }
            self.queue_current();
            if self.queued_traffic.messages == u64::from(WAKEUP_RATE) {
                self.woken_at = jiffies;
            }
        }
        if self.current.is_empty() {
            self.first_use = jiffies;
        }
        self.current_bytes += bytes;
        self.current.push(entry);
    }

    /// The thread runs whenever it wakes up to `jiffies`, and sends to `sent`.
    pub fn run(&mut self, jiffies: u64, sent: &mut Vec<SyncEntry>) -> SyncTraffic {
        let mut traffic = SyncTraffic::default();
        while self.next_due() <= jiffies {
            let now = self.next_due();
            if self.woken_at == now {
                self.woken_at = u64::MAX;
            }
            let old = now.saturating_sub(self.first_use) >= FLUSH_AGE_S * u64::from(self.hz);
            if old && !self.current.is_empty() {
                self.queue_current();
            }
            sent.append(&mut self.queued);
            let SyncTraffic { messages, bytes } = std::mem::take(&mut self.queued_traffic);
            traffic.messages += messages;
            traffic.bytes += bytes;
            self.looks_at = fires_at(now, self.ticks(LvsSync::CHECK_PERIOD) as u32);
        }
        traffic
    }

    fn queue_current(&mut self) {
        self.queued.append(&mut self.current);
        self.queued_traffic.messages += 1;
        self.queued_traffic.bytes += u64::from(std::mem::replace(&mut self.current_bytes, HEADER));
    }

    fn ticks(&self, time: SimDuration) -> u64 {
        let ticks = u128::from(time.0) * u128::from(self.hz) / 1_000_000_000;
        ticks.min(u128::from(u32::MAX)) as u64
    }

    /// A copy from a master: as if it had been announced.
    pub fn received(&mut self, slot: u32, state: Option<TcpState>) {
        self.count(slot);
        let threshold = self.options.sync_threshold;
        let row = &mut self.rows[slot as usize];
        *row = Row { end: 0, packets: threshold, state: state.map_or(0, |state| state as u8 + 1) };
    }
}

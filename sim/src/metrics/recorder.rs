//! The counters of one run: integers that can be added, kept by phase, by server and by window.

pub use super::calendar::Calendar;
pub use super::failure::Failure;
use super::health_counts::HealthCounts;
pub use super::ledger::Ledger;
use super::station::Station;
pub use super::station::Totals;
use super::stretch::Stretch;
use super::tier_counts::TierCounts;
use super::{Histogram, LossCause, Phase};
use crate::engine::SimTime;
use crate::ids::ServerId;
use crate::table::Column;

/// What happened in one phase.
#[derive(Clone, Debug, Default)]
pub struct PhaseCounts {
    /// Tries that a server accepted, by server.
    pub requests: Vec<u64>,
    /// Connections opened to each server.
    pub connections: Vec<u64>,
    /// Busy time of each server's workers \[ns\].
    pub busy_ns: Vec<u64>,
    /// Requests answered.
    pub served: u64,
    /// Requests not answered, by [`Failure`].
    pub failed: [u64; Failure::ALL.len()],
    /// Tries beyond the first.
    pub retried: u64,
    /// Times that a request joined a queue of the balancer.
    pub queued: u64,
    /// Waits there of the requests which left these queues for a server.
    pub queue_wait: Histogram,
    /// Response times of answered requests.
    pub latency: Histogram,
    /// Requests that needed a session.
    pub session_needed: u64,
    /// Of these, those that did not find it.
    pub session_missed: u64,
    /// Sessions created.
    pub created: u64,
    /// Sessions lost, by [`LossCause`].
    pub lost: [u64; LossCause::ALL.len()],
    /// Sessions that idled too long.
    pub expired: u64,
    /// Second live copies that came about.
    pub forked: u64,
    /// Times that a session was found again after a miss, or as a copy that a server had kept.
    pub resumed: u64,
    /// Logins posted.
    pub logins: u64,
    /// Of these, those that did not succeed.
    pub logins_failed: u64,
    /// Visits, begun after the warm-up, that ran to their end in this phase.
    pub finished: u64,
    /// Visits, begun after the warm-up, that the user gave up in this phase.
    pub abandoned: u64,
    /// Of the visits that ended, those that had logged in.
    pub logged_in: u64,
    /// Of these, those that had lost their session at least once.
    pub with_loss: u64,
    /// Operations of the shared session store.
    pub store_operations: u64,
    /// Answers that came after their clients had gone.
    pub wasted: u64,
    /// Steps that clients tried again.
    pub reloads: u64,
    /// Further tries that a balancer's budget refused.
    pub retries_refused: u64,
    /// Further tries that a client's budget refused.
    pub reloads_refused: u64,
    /// Objects that a static tier served.
    pub static_objects: u64,
    /// Arrivals that found nobody who was not there already.
    pub crowded_out: u64,
    /// Held exchanges that were opened again after a break.
    pub reconnects: u64,
    /// Most of these in one second.
    pub reconnects_peak: u64,
    /// Time for which each server held exchanges open \[ns\].
    pub held_ns: Vec<u64>,
    /// Servers that an autoscaler asked for.
    pub scale_outs: u64,
    /// Servers that it let go.
    pub scale_ins: u64,
    /// Time for which servers of its group ran \[ns\].
    pub running_ns: u64,
    /// Times at which open connections were counted.
    pub connection_samples: u64,
    /// Connections that were open then.
    pub connections_open: u64,
    /// Of these, those without a request in flight.
    pub connections_waiting: u64,
    /// Messages by which the store kept copies.
    pub store_messages: u64,
    /// Their bytes, or those of sessions in cookies.
    pub store_bytes: u64,
    /// Waits of workers for the store.
    pub store_wait: Histogram,
    /// Answers with an error since the store could not be asked.
    pub store_failed: u64,
    /// Most bytes that the store held, copies included.
    pub store_memory_max: u64,
    /// Service given by each node of the store \[ns\]; empty before its first operation.
    pub store_busy_ns: Vec<u64>,
    /// What happened at the tiers, where there are several instances.
    pub tiers: TierCounts,
    /// What health rules noticed.
    pub health: HealthCounts,
    /// Requests that found their session as it had been some writes before.
    pub stale: u64,
    /// Sessions that fell back to an earlier state, or whose last writes were overwritten by such a request.
    pub lost_writes: u64,
}

impl PhaseCounts {
    fn new(servers: usize) -> Self {
        Self {
            requests: vec![0; servers],
            connections: vec![0; servers],
            busy_ns: vec![0; servers],
            held_ns: vec![0; servers],
            ..Self::default()
        }
    }

    /// Adds another phase's counts.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.requests, &other.requests),
            (&mut self.connections, &other.connections),
            (&mut self.busy_ns, &other.busy_ns),
            (&mut self.held_ns, &other.held_ns),
        ] {
            mine.iter_mut().zip(theirs).for_each(|(a, b)| *a += b);
        }
        self.failed.iter_mut().zip(other.failed).for_each(|(a, b)| *a += b);
        self.lost.iter_mut().zip(other.lost).for_each(|(a, b)| *a += b);
        self.latency.merge(&other.latency);
        self.queue_wait.merge(&other.queue_wait);
        self.store_wait.merge(&other.store_wait);
        self.store_memory_max = self.store_memory_max.max(other.store_memory_max);
        self.store_busy_ns.resize(self.store_busy_ns.len().max(other.store_busy_ns.len()), 0);
        self.store_busy_ns.iter_mut().zip(&other.store_busy_ns).for_each(|(a, b)| *a += b);
        for (mine, theirs) in [
            (&mut self.served, other.served),
            (&mut self.retried, other.retried),
            (&mut self.queued, other.queued),
            (&mut self.session_needed, other.session_needed),
            (&mut self.session_missed, other.session_missed),
            (&mut self.created, other.created),
            (&mut self.expired, other.expired),
            (&mut self.forked, other.forked),
            (&mut self.resumed, other.resumed),
            (&mut self.logins, other.logins),
            (&mut self.logins_failed, other.logins_failed),
            (&mut self.finished, other.finished),
            (&mut self.abandoned, other.abandoned),
            (&mut self.logged_in, other.logged_in),
            (&mut self.with_loss, other.with_loss),
            (&mut self.store_operations, other.store_operations),
            (&mut self.wasted, other.wasted),
            (&mut self.reloads, other.reloads),
            (&mut self.retries_refused, other.retries_refused),
            (&mut self.reloads_refused, other.reloads_refused),
            (&mut self.static_objects, other.static_objects),
            (&mut self.crowded_out, other.crowded_out),
            (&mut self.reconnects, other.reconnects),
            (&mut self.scale_outs, other.scale_outs),
            (&mut self.scale_ins, other.scale_ins),
            (&mut self.running_ns, other.running_ns),
            (&mut self.connection_samples, other.connection_samples),
            (&mut self.connections_open, other.connections_open),
            (&mut self.connections_waiting, other.connections_waiting),
            (&mut self.store_messages, other.store_messages),
            (&mut self.store_bytes, other.store_bytes),
            (&mut self.store_failed, other.store_failed),
            (&mut self.stale, other.stale),
            (&mut self.lost_writes, other.lost_writes),
        ] {
            *mine += theirs;
        }
        self.reconnects_peak = self.reconnects_peak.max(other.reconnects_peak);
        self.tiers.merge(&other.tiers);
        self.health.merge(&other.health);
    }

    /// Requests not answered.
    pub fn failures(&self) -> u64 {
        self.failed.iter().sum()
    }

    /// Sessions lost.
    pub fn losses(&self) -> u64 {
        self.lost.iter().sum()
    }
}

/// The counters of one run while it goes on.
#[derive(Debug)]
pub struct Recorder {
    calendar: Calendar,
    /// Where the last event lay.
    stretch: Stretch,
    /// Counters of each part of the measured time.
    parts: Vec<PhaseCounts>,
    /// Accepted tries by window and server.
    window_requests: Vec<u32>,
    /// Busy time by window and server \[ns\].
    window_busy_ns: Vec<u64>,
    stations: Column<ServerId, Station>,
    /// Exchanges that each server holds, and since when it is so many.
    holding: Column<ServerId, (u64, SimTime)>,
    /// Servers that an autoscaler has running, and since when it is so many.
    running: (u64, SimTime),
    /// The second of the last reconnect, and those in it so far.
    reconnecting: (u64, u64),
    /// From time zero.
    pub ledger: Ledger,
}

impl Recorder {
    /// Counters at zero for `servers` servers.
    pub fn new(calendar: Calendar, servers: usize) -> Self {
        let cells = calendar.windows() * servers;
        Self {
            stretch: Stretch::NOWHERE,
            parts: (0..calendar.parts()).map(|_| PhaseCounts::new(servers)).collect(),
            calendar,
            window_requests: vec![0; cells],
            window_busy_ns: vec![0; cells],
            stations: Column::filled(Station::default(), servers),
            holding: Column::filled((0, SimTime::ZERO), servers),
            running: (0, SimTime::ZERO),
            reconnecting: (0, 0),
            ledger: Ledger::default(),
        }
    }

    /// Counts what so many instances of tiers decide, too.
    pub fn watch_instances(&mut self, instances: usize) {
        self.parts.iter_mut().for_each(|part| part.tiers.instances = vec![0; instances]);
    }

    /// An instance decided something; `first` is the place of its tier's first one.
    #[inline]
    pub fn decided(&mut self, now: SimTime, first: u32, instance: u16) {
        if let Some(counts) = self.at(now)
            && let Some(count) = counts.tiers.instances.get_mut(first as usize + usize::from(instance))
        {
            *count += 1;
        }
    }

    /// The phases and windows.
    pub fn calendar(&self) -> &Calendar {
        &self.calendar
    }

    /// The counters of the part of the run at `now`, or `None` outside the measured part.
    #[inline(always)]
    pub fn at(&mut self, now: SimTime) -> Option<&mut PhaseCounts> {
        let stretch = self.stretch(now)?;
        Some(&mut self.parts[stretch.part])
    }

    /// The stretch in which a time lies; `None` outside the measured part.
    #[inline(always)]
    fn stretch(&mut self, now: SimTime) -> Option<Stretch> {
        if !self.stretch.holds(now) {
            self.stretch = Stretch::around(&self.calendar, now)?;
        }
        Some(self.stretch)
    }

    /// A balancer sends a try to a server: over a connection of its own if it `connects`, and `again` if the try is not the
    /// request's first.
    #[inline(always)]
    pub fn tried(&mut self, now: SimTime, server: ServerId, connects: bool, again: bool) {
        if let Some(counts) = self.at(now) {
            counts.retried += u64::from(again);
            counts.connections[server.index()] += u64::from(connects);
        }
    }

    /// A server accepted a try, and then had `present` requests and `busy` workers at work.
    #[inline(always)]
    pub fn entered(&mut self, now: SimTime, server: ServerId, present: u32, busy: u32) {
        self.level(now, server, present, busy);
        self.ledger.station_arrivals += 1;
        let servers = self.stations.len();
        if let Some(Stretch { part, window, .. }) = self.stretch(now) {
            self.parts[part].requests[server.index()] += 1;
            self.window_requests[window * servers + server.index()] += 1;
        }
    }

    /// A health check came to a server, which then had `present` requests and `busy` workers at work. It is no load.
    pub fn check_entered(&mut self, now: SimTime, server: ServerId, present: u32, busy: u32) {
        self.level(now, server, present, busy);
        self.ledger.station_arrivals += 1;
    }

    /// A request left a server where it had been since `since`, served or cut off.
    #[inline]
    pub fn left(&mut self, now: SimTime, since: SimTime) {
        self.ledger.station_departures += 1;
        self.ledger.station_time_ns += u128::from(now.since(since).0);
    }

    /// A server's level changed to `present` requests, `busy` of its workers at work.
    #[inline(always)]
    pub fn level(&mut self, now: SimTime, server: ServerId, present: u32, busy: u32) {
        let servers = self.stations.len();
        let station = &mut self.stations[server];
        let totals = station.totals_at(now);
        let before = std::mem::replace(station, Station { since: now, present, busy, totals });
        let elapsed = now.since(before.since).0;
        self.ledger.station_area_ns += u128::from(elapsed) * u128::from(before.present);
        let Stretch { from, until, part, window } = self.stretch;
        if from <= before.since && now <= until {
            let busy = elapsed * u64::from(before.busy);
            self.parts[part].busy_ns[server.index()] += busy;
            self.window_busy_ns[window * servers + server.index()] += busy;
        } else if before.busy > 0 {
            self.add_busy(server, before.since, now, u64::from(before.busy));
        }
    }

    /// Spreads busy time over the windows and phases that it covers.
    #[inline(never)]
    fn add_busy(&mut self, server: ServerId, from: SimTime, to: SimTime, workers: u64) {
        let servers = self.stations.len();
        let mut from = from.max(self.calendar.measured_from);
        let to = to.min(self.calendar.end);
        while from < to {
            let Some(Stretch { part, window, until, .. }) = self.stretch(from) else { return };
            let until = to.min(until);
            let busy = until.since(from).0 * workers;
            self.parts[part].busy_ns[server.index()] += busy;
            self.window_busy_ns[window * servers + server.index()] += busy;
            from = until;
        }
    }

    /// A server holds `change` more exchanges, or fewer.
    pub fn held(&mut self, now: SimTime, server: ServerId, change: i64) {
        let (held, since) = self.holding[server];
        self.holding[server] = (held.saturating_add_signed(change), now);
        if held > 0 {
            self.spread(since, now, |part, ns| part.held_ns[server.index()] += held * ns);
        }
    }

    /// An autoscaler has `change` more servers running, or fewer.
    pub fn runs(&mut self, now: SimTime, change: i64) {
        let (running, since) = self.running;
        self.running = (running.saturating_add_signed(change), now);
        if running > 0 {
            self.spread(since, now, |part, ns| part.running_ns += running * ns);
        }
    }

    /// Gives each part of the run its share of a time \[ns\].
    fn spread(&mut self, since: SimTime, now: SimTime, add: impl Fn(&mut PhaseCounts, u64)) {
        for (number, part) in self.parts.iter_mut().enumerate() {
            let (from, until) = self.calendar.part_bounds(number);
            let (from, until) = (from.max(since), until.min(now));
            if from < until {
                add(part, until.since(from).0);
            }
        }
    }

    /// What has been counted of a server up to now.
    pub fn totals(&self, now: SimTime, server: ServerId) -> Totals {
        self.stations[server].totals_at(now)
    }

    /// A held exchange is opened again.
    pub fn reconnects(&mut self, now: SimTime) {
        let second = now.since(SimTime::ZERO).0 / 1_000_000_000;
        let so_far = if self.reconnecting.0 == second { self.reconnecting.1 } else { 0 };
        self.reconnecting = (second, so_far + 1);
        if let Some(counts) = self.at(now) {
            counts.reconnects += 1;
            counts.reconnects_peak = counts.reconnects_peak.max(so_far + 1);
        }
    }

    /// Ends the run: brings every server's account up to `end`. `visits_open` visits begun after the warm-up go on.
    pub fn close(mut self, end: SimTime, visits_open: u64) -> Counts {
        for server in 0..self.stations.len() {
            let server = ServerId::from_index(server);
            let Station { present, busy, .. } = self.stations[server];
            self.level(end, server, present, busy);
            self.held(end, server, 0);
        }
        self.runs(end, 0);
        Counts {
            calendar: self.calendar,
            servers: self.stations.len(),
            parts: self.parts,
            window_requests: self.window_requests,
            window_busy_ns: self.window_busy_ns,
            ledger: self.ledger,
            visits_open,
        }
    }
}

/// The counters of a finished run.
#[derive(Clone, Debug)]
pub struct Counts {
    /// The phases and windows.
    pub calendar: Calendar,
    /// Number of servers.
    pub servers: usize,
    parts: Vec<PhaseCounts>,
    /// Accepted tries; length = windows × servers.
    pub window_requests: Vec<u32>,
    /// Busy time \[ns\]; length = windows × servers.
    pub window_busy_ns: Vec<u64>,
    /// From time zero.
    pub ledger: Ledger,
    /// Visits, begun after the warm-up, that were under way at the end: censored, in no ratio.
    pub visits_open: u64,
}

impl Counts {
    /// The counts of a phase.
    pub fn phase(&self, phase: Phase) -> PhaseCounts {
        match phase {
            Phase::All => self.without_part(usize::MAX),
            _ if self.calendar.batch_windows > 0 => self.without_part(usize::MAX),
            Phase::Before => self.parts[0].clone(),
            Phase::During => self.parts[1].clone(),
            Phase::After => self.parts[2].clone(),
        }
    }

    /// The counts of each batch of a single long run; none of other runs.
    pub fn batches(&self) -> &[PhaseCounts] {
        if self.calendar.batch_windows > 0 { &self.parts } else { &[] }
    }

    /// The counts of the whole run but for one part; of the whole when there is no such part.
    pub fn without_part(&self, left_out: usize) -> PhaseCounts {
        let mut all = PhaseCounts::new(self.servers);
        all.tiers.instances = vec![0; self.parts[0].tiers.instances.len()];
        let others = self.parts.iter().enumerate().filter(|(part, _)| *part != left_out);
        others.for_each(|(_, counts)| all.merge(counts));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::SimDuration;

    fn at(s: u64) -> SimTime {
        SimTime::ZERO + SimDuration::from_secs(s)
    }

    fn recorder() -> Recorder {
        let calendar = Calendar {
            measured_from: at(100),
            faults_from: at(125),
            faults_until: at(140),
            end: at(200),
            window: SimDuration::from_secs(10),
            batch_windows: 0,
        };
        Recorder::new(calendar, 1)
    }

    #[test]
    fn busy_time_is_split_at_windows_and_phases() {
        let mut recorder = recorder();
        let s = ServerId(0);
        recorder.level(at(90), s, 3, 2);
        recorder.level(at(145), s, 0, 0);
        let counts = recorder.close(at(200), 0);
        let secs = |ns: u64| ns / 1_000_000_000;
        assert_eq!(secs(counts.phase(Phase::Before).busy_ns[0]), 2 * 25);
        assert_eq!(secs(counts.phase(Phase::During).busy_ns[0]), 2 * 15);
        assert_eq!(secs(counts.phase(Phase::After).busy_ns[0]), 2 * 5);
        let windows: Vec<u64> = counts.window_busy_ns.iter().map(|&ns| secs(ns)).collect();
        assert_eq!(windows, [20, 20, 20, 20, 10, 0, 0, 0, 0, 0]);
        assert_eq!(counts.ledger.station_area_ns, 3 * 55 * 1_000_000_000);
    }

    #[test]
    fn batches_are_whole_windows_and_add_up_to_the_run() {
        let calendar =
            Calendar { faults_from: at(200), faults_until: at(200), batch_windows: 3, ..recorder().calendar };
        let mut recorder = Recorder::new(calendar, 1);
        (100..200).for_each(|s| recorder.entered(at(s), ServerId(0), 1, 1));
        let counts = recorder.close(at(200), 0);
        assert_eq!(counts.calendar.parts(), 4);
        let missing: Vec<u64> = (0..4).map(|part| 100 - counts.without_part(part).requests[0]).collect();
        assert_eq!(missing, [30, 30, 30, 10]);
        assert_eq!(counts.phase(Phase::All).requests, [100]);
    }

    #[test]
    fn what_happens_in_the_warm_up_is_in_the_ledger_only() {
        let mut recorder = recorder();
        recorder.entered(at(99), ServerId(0), 1, 1);
        recorder.entered(at(100), ServerId(0), 1, 1);
        recorder.entered(at(199), ServerId(0), 1, 1);
        assert!(recorder.at(at(99)).is_none() && recorder.at(at(200)).is_none());
        let counts = recorder.close(at(200), 0);
        assert_eq!(counts.ledger.station_arrivals, 3);
        assert_eq!(counts.phase(Phase::All).requests, [2]);
        assert_eq!(counts.window_requests, [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    }
}

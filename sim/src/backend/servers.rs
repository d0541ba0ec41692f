//! The servers of a run: who is up, who is served, who waits.
//!
//! A server is pure logic: it says which request starts and when it will be done; the caller schedules that and keeps the
//! accounts.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::{Capacity, Discipline};
use crate::engine::{SimDuration, SimTime};
use crate::ids::{RequestId, ServerId};
use crate::table::Column;

/// What a server says to a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accepted {
    /// A worker took it; it will be done at this time.
    Started {
        /// When the service ends.
        due: SimTime,
    },
    /// It waits for a worker.
    Queued,
    /// It shares the processor; the next of all requests will be done at this time.
    Shared {
        /// When the next service ends, unless the set of requests changes before.
        next_due: SimTime,
    },
    /// The queue is full: 503.
    Full,
    /// Nothing listens.
    Refused,
    /// The kernel has taken as many connections as it may for a server that hangs, and does not answer.
    Silent,
}

/// Requests that go on when a server that hung does.
#[derive(Clone, Debug, Default)]
pub struct Resumed {
    /// Requests in service, with the times at which they will be done.
    pub started: Vec<(RequestId, SimTime)>,
    /// When the next one of a processor-sharing server will be done.
    pub shared_due: Option<SimTime>,
}

/// Connections that the kernel takes for a server that hangs: the default of nginx, Apache httpd and PHP-FPM.
pub const BACKLOG: usize = 511;

/// All servers.
#[derive(Debug)]
pub struct Servers {
    rows: Column<ServerId, Server>,
}

#[derive(Debug)]
struct Server {
    discipline: Discipline,
    up: bool,
    /// Times at which it lost its memory; their number is its epoch.
    crashed_at: Vec<SimTime>,
    /// Requests in service (first come, first served).
    busy: u32,
    /// Requests waiting, with their demands.
    queue: VecDeque<(RequestId, SimDuration)>,
    shared: SharedProcessor,
    /// While it hangs: the requests that it was serving, with what is left of them.
    hung: Option<Vec<(RequestId, SimDuration)>>,
    /// Whether nothing gets through to it. If it is up it hangs, too.
    cut: bool,
    /// How many times as long it takes for everything \[2^-16\].
    factor: u64,
}

/// The factor of a server that is as fast as it should be.
const AS_USUAL: u64 = 1 << 16;

impl Server {
    /// The time that a demand takes.
    #[inline(always)]
    fn paced(&self, demand: SimDuration) -> SimDuration {
        if self.factor == AS_USUAL { demand } else { times(demand, self.factor, AS_USUAL) }
    }
}

/// A time, so many times as long.
#[inline(never)]
fn times(time: SimDuration, factor: u64, of: u64) -> SimDuration {
    let nanos = u128::from(time.0) * u128::from(factor) / u128::from(of);
    SimDuration(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// The state of a processor-sharing server, in attained service: every request present gains it at the same rate, so a
/// request that comes when it stands at `v` with demand `d` is done when it stands at `v + d`.
#[derive(Debug, Default)]
struct SharedProcessor {
    /// Service that a request present from the start would have got \[2^-32 ns\].
    attained: u128,
    updated: SimTime,
    /// Requests present by the attained service at which they are done.
    present: BinaryHeap<Reverse<(u128, RequestId)>>,
    /// When the next one is done, as last announced.
    due: SimTime,
}

/// Fractions of a nanosecond in which attained service is counted: 2^32.
const FRACTION_BITS: u32 = 32;

impl SharedProcessor {
    fn advance(&mut self, now: SimTime, (cores, factor): (u32, u64)) {
        let present = self.present.len() as u128;
        let elapsed = times(now.since(self.updated), AS_USUAL, factor);
        let elapsed = u128::from(elapsed.0) << FRACTION_BITS;
        // With nobody present there is nobody to attain anything.
        self.attained += (elapsed * u128::from(cores).min(present)).checked_div(present).unwrap_or(0);
        self.updated = now;
    }

    fn next_due(&mut self, (cores, factor): (u32, u64)) -> SimTime {
        let present = self.present.len() as u128;
        self.due = self.present.peek().map_or(SimTime::NEVER, |Reverse((done_at, _))| {
            let missing = done_at.saturating_sub(self.attained) * present;
            let nanos = missing.div_ceil(u128::from(cores).min(present)).div_ceil(1 << FRACTION_BITS);
            // What is missing at this pace, rounded up, so that it is attained then.
            let nanos = u64::try_from(nanos * u128::from(factor) / u128::from(AS_USUAL)).unwrap_or(u64::MAX);
            self.updated + SimDuration(nanos.saturating_add(u64::from(factor != AS_USUAL)))
        });
        self.due
    }
}

impl Servers {
    /// Servers that are all up and empty.
    pub fn new<'a>(capacities: impl Iterator<Item = &'a Capacity>) -> Self {
        let rows = capacities
            .map(|capacity| Server {
                discipline: capacity.discipline,
                up: true,
                crashed_at: Vec::new(),
                busy: 0,
                queue: VecDeque::new(),
                shared: SharedProcessor::default(),
                hung: None,
                cut: false,
                factor: AS_USUAL,
            })
            .collect();
        Self { rows: Column::from_vec(rows) }
    }

    /// Number of servers.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether a server's port accepts connections.
    #[inline]
    pub fn is_up(&self, server: ServerId) -> bool {
        self.rows[server].up
    }

    /// Whether a server shares its processor among its requests.
    #[inline]
    pub fn shares_processor(&self, server: ServerId) -> bool {
        matches!(self.rows[server].discipline, Discipline::ProcessorSharing { .. })
    }

    /// Whether a connection to a server is answered, even if nothing more comes of it.
    pub fn accepts_connections(&self, server: ServerId) -> bool {
        let row = &self.rows[server];
        row.up && !row.cut && (row.hung.is_none() || row.queue.len() < BACKLOG)
    }

    /// Whether a connection to a server that does not accept it is not refused either.
    pub fn is_silent(&self, server: ServerId) -> bool {
        let row = &self.rows[server];
        row.up || row.cut
    }

    /// Whether nothing gets through to a server.
    pub fn set_cut(&mut self, server: ServerId, cut: bool) {
        self.rows[server].cut = cut;
    }

    /// From now on a server takes `factor` times as long for everything, what it has begun included; of a first-come-first-served
    /// one that runs, the caller sees to that. Returns when the next request of a processor-sharing server will be done.
    pub fn set_factor(&mut self, now: SimTime, server: ServerId, factor: f64) -> Option<SimTime> {
        let row = &mut self.rows[server];
        let factor = ((factor * AS_USUAL as f64) as u64).clamp(1, 1 << 40);
        let before = std::mem::replace(&mut row.factor, factor);
        if let Some(frozen) = &mut row.hung {
            frozen.iter_mut().for_each(|(_, left)| *left = times(*left, factor, before));
            return None;
        }
        let Discipline::ProcessorSharing { cores, .. } = row.discipline else { return None };
        row.shared.advance(now, (cores, before));
        let due = row.shared.next_due((cores, factor));
        (due != SimTime::NEVER).then_some(due)
    }

    /// Share of a server's workers or cores that are busy.
    pub fn busy_share(&self, server: ServerId) -> f64 {
        let row = &self.rows[server];
        let (Discipline::Fcfs { workers: width, .. } | Discipline::ProcessorSharing { cores: width, .. }) =
            row.discipline;
        f64::from(self.level(server).1) / f64::from(width)
    }

    /// Whether a request to a server would be answered, sooner or later.
    pub fn answers(&self, server: ServerId) -> bool {
        let row = &self.rows[server];
        row.up && !row.cut && row.hung.is_none()
    }

    /// How often a server has lost its memory.
    #[inline]
    pub fn epoch(&self, server: ServerId) -> u32 {
        self.rows[server].crashed_at.len() as u32
    }

    /// When the memory that a server had in `epoch` was lost; `None` while it lives.
    pub fn memory_lost_at(&self, server: ServerId, epoch: u32) -> Option<SimTime> {
        self.rows[server].crashed_at.get(epoch as usize).copied()
    }

    /// Requests present, and workers or cores busy.
    #[inline]
    pub fn level(&self, server: ServerId) -> (u32, u32) {
        let row = &self.rows[server];
        match row.discipline {
            Discipline::Fcfs { .. } => (row.busy + row.queue.len() as u32, row.busy),
            Discipline::ProcessorSharing { cores, .. } => {
                let present = row.shared.present.len() as u32;
                (present + row.queue.len() as u32, present.min(cores))
            }
        }
    }

    /// A request arrives with its demand.
    #[inline(always)]
    pub fn accept(
        &mut self,
        now: SimTime,
        server: ServerId,
        request: RequestId,
        demand: SimDuration,
    ) -> Accepted {
        let row = &mut self.rows[server];
        if !row.up {
            return if row.cut { Accepted::Silent } else { Accepted::Refused };
        }
        if row.hung.is_some() {
            if row.cut || row.queue.len() >= BACKLOG {
                return Accepted::Silent;
            }
            row.queue.push_back((request, demand));
            return Accepted::Queued;
        }
        match row.discipline {
            Discipline::Fcfs { workers, queue_limit } => {
                if row.busy < workers {
                    row.busy += 1;
                    Accepted::Started { due: now + row.paced(demand) }
                } else if queue_limit.is_some_and(|limit| row.queue.len() >= limit as usize) {
                    Accepted::Full
                } else {
                    row.queue.push_back((request, demand));
                    Accepted::Queued
                }
            }
            Discipline::ProcessorSharing { cores, limit } => {
                if limit.is_some_and(|limit| row.shared.present.len() >= limit as usize) {
                    return Accepted::Full;
                }
                row.shared.advance(now, (cores, row.factor));
                let done_at = row.shared.attained + (u128::from(demand.0) << FRACTION_BITS);
                row.shared.present.push(Reverse((done_at, request)));
                Accepted::Shared { next_due: row.shared.next_due((cores, row.factor)) }
            }
        }
    }

    /// A worker of a first-come-first-served server is done; returns the request that it takes next and when that will be
    /// done.
    #[inline]
    pub fn worker_done(&mut self, now: SimTime, server: ServerId) -> Option<(RequestId, SimTime)> {
        let row = &mut self.rows[server];
        match row.queue.pop_front() {
            Some((request, demand)) => Some((request, now + row.paced(demand))),
            None => {
                row.busy -= 1;
                None
            }
        }
    }

    /// The announced end of a service at a processor-sharing server has come: returns the request that is done, or `None`
    /// if the announcement is out of date; and when the next one will be done, if any.
    pub fn shared_done(&mut self, now: SimTime, server: ServerId) -> Option<(RequestId, Option<SimTime>)> {
        let row = &mut self.rows[server];
        let Discipline::ProcessorSharing { cores, .. } = row.discipline else { return None };
        if row.shared.due != now {
            return None;
        }
        row.shared.advance(now, (cores, row.factor));
        let Reverse((_, request)) = row.shared.present.pop()?;
        let next = row.shared.next_due((cores, row.factor));
        Some((request, (next != SimTime::NEVER).then_some(next)))
    }

    /// A server's processes die: it forgets its memory, its queue and what it served, and refuses connections.
    pub fn crash(&mut self, now: SimTime, server: ServerId) {
        let row = &mut self.rows[server];
        row.up = false;
        row.crashed_at.push(now);
        row.busy = 0;
        row.queue.clear();
        row.hung = None;
        row.shared = SharedProcessor::default();
        row.shared.due = SimTime::NEVER;
    }

    /// A server's processes stand still; `frozen` are the requests in service of a first-come-first-served one, with what is left
    /// of them.
    pub fn hang(&mut self, now: SimTime, server: ServerId, frozen: Vec<(RequestId, SimDuration)>) {
        let row = &mut self.rows[server];
        if !row.up {
            return;
        }
        if let Discipline::ProcessorSharing { cores, .. } = row.discipline {
            row.shared.advance(now, (cores, row.factor));
            row.shared.due = SimTime::NEVER;
        }
        row.hung = Some(frozen);
    }

    /// A server that hung goes on, and takes what came meanwhile.
    pub fn resume(&mut self, now: SimTime, server: ServerId) -> Resumed {
        let row = &mut self.rows[server];
        let mut resumed = Resumed::default();
        let Some(frozen) = row.hung.take() else { return resumed };
        match row.discipline {
            Discipline::Fcfs { workers, .. } => {
                resumed.started.extend(frozen.into_iter().map(|(request, left)| (request, now + left)));
                while row.busy < workers
                    && let Some((request, demand)) = row.queue.pop_front()
                {
                    row.busy += 1;
                    resumed.started.push((request, now + row.paced(demand)));
                }
            }
            Discipline::ProcessorSharing { cores, .. } => {
                row.shared.updated = now;
                for (request, demand) in row.queue.drain(..) {
                    let done_at = row.shared.attained + (u128::from(demand.0) << FRACTION_BITS);
                    row.shared.present.push(Reverse((done_at, request)));
                }
                let due = row.shared.next_due((cores, row.factor));
                resumed.shared_due = (due != SimTime::NEVER).then_some(due);
            }
        }
        resumed
    }

    /// A server that had crashed accepts connections again.
    pub fn recover(&mut self, server: ServerId) {
        self.rows[server].up = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Distribution;

    const S: ServerId = ServerId(0);

    fn servers(discipline: Discipline) -> Servers {
        let capacity = Capacity { discipline, service: Distribution::Constant(1.0) };
        Servers::new([&capacity].into_iter())
    }

    fn secs(s: u64) -> SimDuration {
        SimDuration::from_secs(s)
    }

    fn at(s: u64) -> SimTime {
        SimTime::ZERO + secs(s)
    }

    #[test]
    fn first_come_is_first_served_and_the_queue_has_its_limit() {
        let mut servers = servers(Discipline::Fcfs { workers: 1, queue_limit: Some(1) });
        assert_eq!(servers.accept(at(0), S, RequestId(0), secs(5)), Accepted::Started { due: at(5) });
        assert_eq!(servers.accept(at(1), S, RequestId(1), secs(2)), Accepted::Queued);
        assert_eq!(servers.accept(at(2), S, RequestId(2), secs(2)), Accepted::Full);
        assert_eq!(servers.level(S), (2, 1));
        assert_eq!(servers.worker_done(at(5), S), Some((RequestId(1), at(7))));
        assert_eq!(servers.worker_done(at(7), S), None);
        assert_eq!(servers.level(S), (0, 0));
    }

    #[test]
    fn sharing_slows_each_by_the_number_present() {
        // Demands of 4 s and 2 s together from 0 on one core: the shorter is done at 4, the longer at 6.
        let mut servers = servers(Discipline::ProcessorSharing { cores: 1, limit: None });
        assert_eq!(servers.accept(at(0), S, RequestId(0), secs(4)), Accepted::Shared { next_due: at(4) });
        assert_eq!(servers.accept(at(0), S, RequestId(1), secs(2)), Accepted::Shared { next_due: at(4) });
        assert_eq!(servers.shared_done(at(3), S), None, "not announced for 3");
        assert_eq!(servers.shared_done(at(4), S), Some((RequestId(1), Some(at(6)))));
        assert_eq!(servers.shared_done(at(6), S), Some((RequestId(0), None)));
    }

    #[test]
    fn a_crash_empties_the_server_and_starts_a_new_epoch() {
        let mut servers = servers(Discipline::Fcfs { workers: 1, queue_limit: None });
        servers.accept(at(0), S, RequestId(0), secs(5));
        servers.accept(at(0), S, RequestId(1), secs(5));
        servers.crash(at(1), S);
        assert_eq!(servers.accept(at(2), S, RequestId(2), secs(1)), Accepted::Refused);
        assert_eq!((servers.epoch(S), servers.memory_lost_at(S, 0)), (1, Some(at(1))));
        assert_eq!(servers.memory_lost_at(S, 1), None);
        servers.recover(S);
        assert_eq!(servers.accept(at(3), S, RequestId(3), secs(1)), Accepted::Started { due: at(4) });
    }
}

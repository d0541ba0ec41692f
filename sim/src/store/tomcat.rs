//! Sessions that Tomcats copy to each other (Apache Tomcat 9.0, `org.apache.catalina.ha.session`).
//!
//! `DeltaManager` sends every change to all members: n - 1 messages. `BackupManager` sends it to one backup, and all members know
//! where each session is; its rules are those of `AbstractReplicatedMap` and `LazyReplicatedMap`
//! (`org.apache.catalina.tribes.tipis`). A login creates a session and fills it: one message more than a change. Whichever member answers a request has the session from then on, as with
//! `JvmRouteBinderValve`.
//!
//! Messages leave in no time, arrive after a lag, and are worked on by the receiver's threads. Sending and receiving also take
//! processor time, which the next request on that server waits for: that is what limits all-to-all replication. A dead
//! member is noticed at once (`TcpFailureDetector`), and one that starts has all sessions before it takes requests.

mod backup;
mod delta;

pub use backup::Backup;
pub use delta::Delta;

use super::plan::TomcatPlan;
use super::station::Station;
use super::{Costs, StoreStreams};
use crate::engine::{Sampler, SimDuration, SimTime};
use crate::ids::ServerId;

/// Bytes of a message without session data: a location, a deletion, a question; an assumption.
const SMALL: u64 = 200;
/// Set in the index of draws that a change of membership causes.
const BY_MEMBERSHIP: u64 = 1 << 62;
/// Set in the index of draws about messages beside a request's own: that its session is new, or has expired.
const BESIDE: u64 = 1 << 61;

/// The entity of draws about a session that no request causes.
fn entity_of(name: u64) -> u64 {
    name & ((1 << 48) - 1)
}

/// The members of the cluster.
#[derive(Clone, Debug)]
pub struct Members {
    up: Vec<bool>,
    /// Receivers.
    stations: Vec<Station>,
    /// Processor time that messages have taken and no request has waited for yet.
    work: Vec<SimDuration>,
    message: Sampler,
    lag: Sampler,
    streams: StoreStreams,
    synchronous: bool,
}

impl Members {
    fn new(plan: &TomcatPlan, servers: usize, streams: StoreStreams) -> Self {
        Self {
            up: vec![true; servers],
            stations: vec![Station::new(plan.max_threads, None); servers],
            work: vec![SimDuration::ZERO; servers],
            message: plan.message.sampler(),
            lag: plan.lag.sampler(),
            streams,
            synchronous: plan.synchronous,
        }
    }

    /// Members that are up.
    pub(super) fn alive(&self) -> u64 {
        self.up.iter().filter(|up| **up).count() as u64
    }

    pub(super) fn work_of(&mut self, server: ServerId) -> SimDuration {
        std::mem::take(&mut self.work[server.index()])
    }

    /// Whether a member is up and is not `of`.
    fn is_other(&self, of: usize, member: usize) -> bool {
        member != of && self.up[member]
    }

    /// Small messages to all members that are up, but for one and perhaps another.
    fn tell_others(
        &mut self,
        costs: &mut Costs,
        now: SimTime,
        from: usize,
        but: Option<usize>,
        draw: (u64, u64),
    ) {
        for other in 0..self.up.len() {
            if self.is_other(from, other) && Some(other) != but {
                self.send(costs, now, (from, other), SMALL, draw);
            }
        }
    }

    /// A message; returns when the receiver has worked on it, and when the sender knows that.
    fn send(
        &mut self,
        costs: &mut Costs,
        sent: SimTime,
        path: (usize, usize),
        bytes: u64,
        draw: (u64, u64),
    ) -> (SimTime, SimTime) {
        let (from, to) = path;
        let entity = draw.0 | (to as u64) << 48;
        let lag = self.lag.duration(&self.streams.copy, entity, draw.1 << 1);
        let work = self.message.duration(&self.streams.copy, entity, draw.1 << 1 | 1);
        let arrival = sent + lag;
        // Receivers turn nobody away.
        let done = self.stations[to].serve(arrival, work).unwrap_or(arrival);
        self.work[from] += work;
        self.work[to] += work;
        costs.busy_ns[to] += work.0;
        costs.messages(1, bytes);
        (done, done + lag)
    }
}

/// When a member has a session, in its first and in its latest state.
#[derive(Clone, Copy, Debug)]
struct Copy {
    first: SimTime,
    latest: SimTime,
}

const NO_COPY: Copy = Copy { first: SimTime::NEVER, latest: SimTime::NEVER };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Distribution, Stream};
    use crate::ids::StreamId;
    use crate::store::records::Gone;
    use crate::store::{Access, Found, NewSession, Why};

    const NEW: NewSession = NewSession { name: 1, bytes: 1_000, idle_timeout: SimDuration::from_secs(1_800) };

    fn streams() -> StoreStreams {
        let stream = |id| Stream::new(2, 0, id);
        StoreStreams {
            operation: stream(StreamId::StoreOperation),
            copy: stream(StreamId::StoreCopy),
            eviction: stream(StreamId::StoreEviction),
            failover: stream(StreamId::StoreFailover),
            mishap: stream(StreamId::StoreMishaps),
        }
    }

    fn plan(synchronous: bool) -> TomcatPlan {
        TomcatPlan {
            synchronous,
            max_threads: 6,
            message: Distribution::Constant(0.001),
            lag: Distribution::Constant(0.010),
        }
    }

    fn access(ms: u64, server: u16) -> Access {
        Access {
            now: SimTime::from_millis(ms),
            server: ServerId(server),
            entity: 0,
            index: ms,
            stands: false,
        }
    }

    #[test]
    fn a_change_costs_all_to_all_replication_a_message_to_every_other_member() {
        for servers in [1, 2, 5, 14] {
            let mut delta = Delta::new(&plan(false), servers, streams());
            let (id, _) = delta.create(&access(0, 0), &NEW);
            assert_eq!(
                delta.costs.messages,
                2 * (servers as u64 - 1),
                "the session, and what the login put in it"
            );
            delta.write(&access(100, 0), id);
            assert_eq!(delta.costs.messages, 3 * (servers as u64 - 1));
            assert_eq!(delta.members.work_of(ServerId(0)), SimDuration::from_millis(delta.costs.messages));
        }
    }

    #[test]
    fn a_change_costs_a_backup_one_message_and_a_new_primary_one_to_everybody() {
        let mut backup = Backup::new(&plan(false), 5, streams());
        let messages = |backup: &mut Backup| std::mem::take(&mut backup.costs.messages);
        let (id, _) = backup.create(&access(0, 0), &NEW);
        assert_eq!(
            messages(&mut backup),
            5,
            "a copy to one, the place to three, and what the login put in it"
        );
        backup.write(&access(100, 0), id);
        assert_eq!(messages(&mut backup), 1);
        // Member 1 has the copy: it becomes primary and chooses a backup.
        assert_eq!(backup.read(&access(200, 1), id).found, Found::Current);
        assert_eq!(messages(&mut backup), 4);
        // Member 4 knows the place only: question, answer, and the new place to the three that are not the backup.
        let read = backup.read(&access(300, 4), id);
        assert_eq!((read.found, messages(&mut backup)), (Found::Current, 5));
        assert_eq!(read.at, SimTime::from_millis(322), "two lags and the work at both ends");
        backup.remove(&access(400, 4), id);
        assert_eq!(messages(&mut backup), 4);
    }

    #[test]
    fn a_trace_costs_as_many_messages_as_the_managers_sources_say() {
        // Goal: each kind of message, for any number of members. Method: one session that is created on member 0 and filled,
        // changed there twice, read there, read on member 1, changed there, left alone until it expires. DeltaManager sends
        // EVT_SESSION_CREATED, three EVT_SESSION_DELTA, none for the read at the primary, EVT_SESSION_ACCESSED, one more delta and
        // EVT_SESSION_EXPIRED, each to n - 1 members. BackupManager publishes the new session to all (n - 1), sends three
        // deltas to the backup, which is member 1 and takes over at its read (n - 1), one delta, and a removal (n - 1).
        for n in [2, 3, 5, 8, 14] {
            let mut delta = Delta::new(&plan(false), n, streams());
            let (id, _) = delta.create(&access(0, 0), &NEW);
            delta.write(&access(1_000, 0), id);
            delta.write(&access(2_000, 0), id);
            delta.read(&access(3_000, 0), id);
            delta.keep(&access(3_000, 0), id);
            delta.read(&access(4_000, 1), id);
            delta.keep(&access(4_000, 1), id);
            delta.write(&access(5_000, 1), id);
            let gone = delta.read(&access(5_000_000, 0), id);
            assert!(matches!(gone.found, Found::Missing(_)));
            let others = n as u64 - 1;
            assert_eq!(delta.costs.messages, 7 * others, "{n} members");

            let mut backup = Backup::new(&plan(false), n, streams());
            let (id, _) = backup.create(&access(0, 0), &NEW);
            backup.write(&access(1_000, 0), id);
            backup.write(&access(2_000, 0), id);
            backup.read(&access(3_000, 0), id);
            backup.read(&access(4_000, 1), id);
            backup.write(&access(5_000, 1), id);
            let gone = backup.read(&access(5_000_000, 0), id);
            assert!(matches!(gone.found, Found::Missing(_)));
            assert_eq!(backup.costs.messages, 3 * others + 4, "{n} members");
        }
    }

    #[test]
    fn the_first_member_has_the_backups_turn_twice_in_each_round() {
        let mut backup = Backup::new(&plan(false), 4, streams());
        let turns: Vec<usize> = (0..8).map(|_| backup.next_backup(0, 3)).collect();
        assert_eq!(turns, [0, 1, 2, 0, 0, 1, 2, 0]);
    }

    #[test]
    fn a_synchronous_answer_waits_for_the_slowest_copy_and_an_asynchronous_one_can_be_overtaken() {
        let mut waits = Delta::new(&plan(true), 3, streams());
        let (id, created) = waits.create(&access(0, 0), &NEW);
        assert_eq!(created.at, SimTime::from_millis(21), "lag, work, and the acknowledgement's lag");
        assert_eq!(waits.read(&access(21, 2), id).found, Found::Current);

        let mut runs_ahead = Delta::new(&plan(false), 3, streams());
        let (id, created) = runs_ahead.create(&access(0, 0), &NEW);
        assert_eq!(created.at, SimTime::ZERO);
        let lagged = Gone { why: Why::Lagged, at: SimTime::ZERO };
        assert_eq!(runs_ahead.read(&access(10, 2), id).found, Found::Missing(lagged));
        assert_eq!(runs_ahead.read(&access(11, 2), id).found, Found::Current);
        runs_ahead.write(&access(20, 0), id);
        assert_eq!(runs_ahead.read(&access(25, 2), id).found, Found::Stale);
    }

    #[test]
    fn what_a_dying_member_had_not_sent_is_lost_with_it() {
        let mut delta = Delta::new(&plan(false), 2, streams());
        let (old, _) = delta.create(&access(0, 0), &NEW);
        let (new, _) = delta.create(&access(95, 0), &NEW);
        delta.write(&access(96, 0), old);
        delta.server_lost(SimTime::from_millis(100), ServerId(0));
        assert_eq!(delta.read(&access(200, 1), old).found, Found::Current);
        let gone = Gone { why: Why::NodeLost, at: SimTime::from_millis(100) };
        assert_eq!(delta.read(&access(200, 1), new).found, Found::Missing(gone));
        assert_eq!(delta.costs.rolled_back, 1);
        delta.server_back(SimTime::from_millis(300), ServerId(0));
        assert_eq!(delta.read(&access(300, 0), old).found, Found::Current);
    }

    #[test]
    fn sessions_survive_one_death_and_those_without_time_for_a_new_backup_do_not_survive_the_next() {
        let mut backup = Backup::new(&plan(false), 3, streams());
        let ids: Vec<_> = (0..30).map(|i| backup.create(&access(i, 0), &NEW).0).collect();
        backup.server_lost(SimTime::from_millis(1_000), ServerId(0));
        assert!(ids.iter().all(|&id| backup.read(&access(1_500, 1), id).found == Found::Current));
        let mut hasty = backup.clone();
        hasty.server_lost(SimTime::from_millis(1_501), ServerId(1));
        let lost =
            ids.iter().filter(|&&id| hasty.read(&access(2_000, 2), id).found != Found::Current).count();
        assert!(lost > 0, "some had just got a new backup");
        backup.server_lost(SimTime::from_millis(3_000), ServerId(1));
        assert!(ids.iter().all(|&id| backup.read(&access(3_500, 2), id).found == Found::Current));
    }
}

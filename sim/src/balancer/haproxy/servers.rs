//! The servers of one backend: who may be used, with which weight, and how busy each of them is.
//!
//! HAProxy 2.6, `src/backend.c` (`recount_servers`, `update_backend_weight`), `src/server.c` (`server_recalc_eweight`) and
//! `include/haproxy/server.h` (`srv_currently_usable`).

use crate::ids::ServerId;

/// One `server` line, as far as balancing goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HaproxyServer {
    /// `id`, or its place in the backend from 1.
    pub id: u32,
    /// `weight`, 0 to 256.
    pub weight: u32,
    /// `maxconn`; 0 is no limit.
    pub maxconn: u32,
    /// `minconn`: the limit while the backend is idle; 0, or more than `maxconn`, is no other limit than that one.
    pub minconn: u32,
    /// `maxqueue`: requests that may wait for this server alone; 0 is no limit.
    pub maxqueue: u32,
    /// `backup`.
    pub backup: bool,
    /// `disabled`: starts in maintenance.
    pub disabled: bool,
}

impl HaproxyServer {
    /// A server with an id and HAProxy's defaults.
    pub fn new(id: u32) -> Self {
        Self { id, weight: 1, maxconn: 0, minconn: 0, maxqueue: 0, backup: false, disabled: false }
    }
}

/// What an operator has said of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admin {
    /// `set server … state ready`.
    Ready,
    /// `set server … state drain`: only those who are tied to it.
    Drain,
    /// `set server … state maint`: nobody.
    Maint,
}

#[derive(Clone, Debug)]
struct Record {
    id: u32,
    /// As configured.
    initial_weight: u32,
    /// As set last.
    weight: u32,
    maxconn: u32,
    /// As `maxconn`, or below it.
    minconn: u32,
    maxqueue: u32,
    backup: bool,
    admin: Admin,
    /// What health checks say.
    up: bool,
    /// Seconds since it came back, and those of its `slowstart`, while they are fewer.
    starting: Option<(u32, u32)>,
    /// Effective weight while it may be chosen, else 0.
    standing: u32,
    /// Effective weights of the servers of its group before it, when the process started.
    weight_before: u32,
    /// Requests that hold a place on it.
    served: u32,
    /// Requests that it took from the queue when it could be used again, and that hold none.
    welcomed: u32,
    /// Requests in its own queue.
    queued: u32,
}

impl Record {
    /// What a dynamic weight of 1 counts now (`server_recalc_eweight`).
    fn sixteenths(&self) -> u32 {
        self.starting.map_or(WEIGHT_SCALE, |(elapsed, of)| (WEIGHT_SCALE * elapsed + of) / of)
    }
}

/// Who takes the requests that are not tied to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// The algorithm chooses among the usable servers that are no backups, or, under `option allbackups`, that are.
    Balanced {
        /// Whether among the backups.
        backups: bool,
    },
    /// The first usable backup takes everything.
    FirstBackup(u16),
    /// Nobody can be used.
    Nobody,
}

/// The table of servers that the algorithms read and count in.
#[derive(Clone, Debug)]
pub struct Servers {
    records: Vec<Record>,
    scale: Scale,
    /// `option allbackups`.
    allbackups: bool,
    group: Group,
    /// Usable servers that are no backups.
    actives: u32,
    /// Usable servers among which is chosen.
    used: u32,
    /// Their effective weights.
    total_weight: u32,
    /// Requests that hold a place on any server.
    served: u32,
    /// Requests in the backend's queue.
    queued: u32,
    /// Requests in the backend, wherever they are (`beconn`).
    present: u32,
    /// `fullconn`: requests in the backend from which on `maxconn` counts rather than less; 0 is from the first on.
    fullconn: u32,
}

/// How a weight becomes an effective one.
#[derive(Clone, Copy, Debug)]
enum Scale {
    /// Sixteen units for each.
    Dynamic,
    /// Divided by the greatest common divisor of the configured weights, rounded up; it cannot be changed but to 0 and back.
    Static { divisor: u32 },
}

/// What a dynamic weight of 1 counts.
const WEIGHT_SCALE: u32 = 16;
/// Largest `weight`.
pub const WEIGHT_MAX: u32 = 256;

impl Servers {
    /// The servers of a process that has just started, all of them up. `static_weights` says that the algorithm reads a
    /// table built in advance (static-rr, `hash-type map-based`).
    ///
    /// # Panics
    /// Panics if there are more servers than a [`ServerId`] can name.
    pub fn new(servers: &[HaproxyServer], static_weights: bool, allbackups: bool) -> Self {
        assert!(servers.len() <= u16::MAX as usize, "too many servers");
        let divisor = servers.iter().fold(0, |divisor, server| gcd(divisor, server.weight)).max(1);
        let records = servers.iter().map(|server| Record {
            id: server.id,
            initial_weight: server.weight,
            weight: server.weight,
            // The larger of the two is the upper limit; a single one is the only one.
            maxconn: server.maxconn.max(server.minconn),
            minconn: if server.minconn == 0 { server.maxconn } else { server.minconn },
            maxqueue: server.maxqueue,
            backup: server.backup,
            admin: if server.disabled { Admin::Maint } else { Admin::Ready },
            up: true,
            starting: None,
            standing: 0,
            weight_before: 0,
            served: 0,
            welcomed: 0,
            queued: 0,
        });
        let mut table = Self {
            records: records.collect(),
            scale: if static_weights { Scale::Static { divisor } } else { Scale::Dynamic },
            allbackups,
            group: Group::Nobody,
            actives: 0,
            used: 0,
            total_weight: 0,
            served: 0,
            queued: 0,
            present: 0,
            fullconn: 0,
        };
        table.recount();
        let mut before = [0; 2];
        for record in &mut table.records {
            let before = &mut before[usize::from(record.backup)];
            record.weight_before = *before;
            *before += record.standing;
        }
        table
    }

    /// Sets `fullconn`.
    pub fn set_fullconn(&mut self, fullconn: u32) {
        self.fullconn = fullconn;
    }

    /// Finds out who may be used.
    fn recount(&mut self) {
        let (mut counts, mut weights, mut first_backup) = ([0; 2], [0; 2], None);
        for (index, record) in self.records.iter_mut().enumerate() {
            let may_be_chosen = record.up && record.admin == Admin::Ready;
            record.standing = match self.scale {
                _ if !may_be_chosen => 0,
                Scale::Dynamic => record.weight * record.sixteenths(),
                Scale::Static { divisor } => record.weight.div_ceil(divisor),
            };
            if record.standing == 0 {
                continue;
            }
            let group = usize::from(record.backup);
            counts[group] += 1;
            weights[group] += record.standing;
            if record.backup && first_backup.is_none() {
                first_backup = Some(index as u16);
            }
        }
        self.actives = counts[0];
        (self.group, self.used, self.total_weight) = match first_backup {
            _ if counts[0] > 0 => (Group::Balanced { backups: false }, counts[0], weights[0]),
            None => (Group::Nobody, 0, 0),
            Some(_) if self.allbackups => (Group::Balanced { backups: true }, counts[1], weights[1]),
            Some(first) => (Group::FirstBackup(first), 1, self.records[first as usize].standing),
        };
    }

    /// Sets a weight, 0 to [`WEIGHT_MAX`]. Says whether the program accepts it: a table built in advance takes only 0 and
    /// the configured weight.
    pub fn set_weight(&mut self, server: ServerId, weight: u32) -> bool {
        let record = &mut self.records[server.index()];
        let fixed = matches!(self.scale, Scale::Static { .. });
        if weight > WEIGHT_MAX || fixed && weight != 0 && weight != record.initial_weight {
            return false;
        }
        record.weight = weight;
        self.recount();
        true
    }

    /// Does what an operator says.
    pub fn set_admin(&mut self, server: ServerId, admin: Admin) {
        self.records[server.index()].admin = admin;
        self.recount();
    }

    /// Says what health checks found.
    pub fn set_up(&mut self, server: ServerId, up: bool) {
        self.records[server.index()].up = up;
        self.recount();
    }

    /// A server came back so many seconds ago, of the seconds of its `slowstart`; `None` when these are over. Its weight then
    /// counts in part, at least a sixteenth, and so does its `maxconn`.
    pub fn set_starting(&mut self, server: ServerId, starting: Option<(u32, u32)>) {
        self.records[server.index()].starting = starting;
        self.recount();
    }

    /// What an operator has said.
    pub fn admin(&self, server: ServerId) -> Admin {
        self.records[server.index()].admin
    }

    /// Whether health checks hold it for up.
    pub fn is_up(&self, server: ServerId) -> bool {
        self.records[server.index()].up
    }

    /// Whether a request that is tied to it may go there: it is up, or drains.
    pub fn is_running(&self, server: ServerId) -> bool {
        let record = &self.records[server.index()];
        record.up && record.admin != Admin::Maint
    }

    /// The configured weight, to which percentages refer.
    pub fn initial_weight(&self, server: ServerId) -> u32 {
        self.records[server.index()].initial_weight
    }

    /// Servers, usable or not.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether any server may be chosen.
    pub fn any_usable(&self) -> bool {
        self.group != Group::Nobody
    }

    /// Usable servers that are no backups (`srv_act`).
    pub fn actives(&self) -> u32 {
        self.actives
    }

    /// Usable servers among which is chosen (`lbprm.tot_used`).
    pub(super) fn used(&self) -> u32 {
        self.used
    }

    /// The effective weights of those (`lbprm.tot_weight`).
    pub(super) fn total_weight(&self) -> u32 {
        self.total_weight
    }

    pub(super) fn group(&self) -> Group {
        self.group
    }

    /// Effective weight while it may be chosen, else 0.
    pub(super) fn standing(&self, server: usize) -> u32 {
        self.records[server].standing
    }

    /// Whether it is among those of which one is chosen now.
    pub(super) fn in_group(&self, server: usize) -> bool {
        let record = &self.records[server];
        record.standing > 0
            && match self.group {
                Group::Balanced { backups } => record.backup == backups,
                Group::FirstBackup(first) => usize::from(first) == server,
                Group::Nobody => false,
            }
    }

    pub(super) fn is_backup(&self, server: usize) -> bool {
        self.records[server].backup
    }

    pub(super) fn id(&self, server: usize) -> u32 {
        self.records[server].id
    }

    /// The effective weight of a configured weight that changes at run time as one likes.
    pub(super) fn initial_effective_weight(&self, server: usize) -> u32 {
        self.records[server].initial_weight * WEIGHT_SCALE
    }

    pub(super) fn weight_before(&self, server: usize) -> u32 {
        self.records[server].weight_before
    }

    pub(super) fn served(&self, server: usize) -> u32 {
        self.records[server].served
    }

    /// Requests that hold a place on it or wait for one.
    pub(super) fn in_flight(&self, server: usize) -> u32 {
        self.records[server].served + self.records[server].queued
    }

    /// Requests that hold a place on any server.
    pub(super) fn served_all(&self) -> u32 {
        self.served
    }

    /// Places on a server now; 0 is no limit. They grow with the requests in the backend, from `minconn` to `maxconn`
    /// (`srv_dynamic_maxconn` in `src/queue.c`).
    #[inline]
    fn limit(&self, record: &Record) -> u32 {
        let places = if record.minconn == record.maxconn || self.present >= self.fullconn {
            record.maxconn
        } else {
            let share = u64::from(self.present) * u64::from(record.maxconn) / u64::from(self.fullconn);
            record.minconn.max(share as u32)
        };
        match record.starting {
            None => places,
            Some((elapsed, of)) => {
                let percent = u64::from(elapsed) * 100 / u64::from(of);
                (u64::from(places) * percent / 100).max(1) as u32
            }
        }
    }

    /// Whether `leastconn` may give it a request: those that hold a place and those that wait are fewer than both may be.
    #[inline]
    pub(super) fn takes_more(&self, server: usize) -> bool {
        let record = &self.records[server];
        record.maxconn == 0
            || record.served + record.queued < self.limit(record).saturating_add(record.maxqueue)
    }

    /// Whether a request may go there at once: a place is free and nobody waits.
    #[inline]
    pub fn has_room(&self, server: ServerId) -> bool {
        let record = &self.records[server.index()];
        record.maxconn == 0 || record.queued == 0 && record.served < self.limit(record)
    }

    /// Whether it has a limit and is below it, whoever waits.
    pub fn has_free_place(&self, server: ServerId) -> bool {
        let record = &self.records[server.index()];
        record.served < self.limit(record)
    }

    /// Whether the end of a request there makes others start: fewer are there than may be, those without a place among them
    /// (`may_dequeue_tasks` in `src/queue.c`, which compares sessions where the start itself compares places).
    pub fn looks_for_work(&self, server: ServerId) -> bool {
        let record = &self.records[server.index()];
        record.served + record.welcomed < self.limit(record)
    }

    /// A request comes that holds no place.
    pub fn welcome(&mut self, server: ServerId) {
        self.records[server.index()].welcomed += 1;
    }

    /// A request without a place leaves.
    pub fn bid_farewell(&mut self, server: ServerId) {
        self.records[server.index()].welcomed -= 1;
    }

    /// Places that nobody holds; of a server without a limit more than there are requests.
    pub fn free_places(&self, server: ServerId) -> u32 {
        let record = &self.records[server.index()];
        if record.maxconn == 0 { u32::MAX } else { self.limit(record).saturating_sub(record.served) }
    }

    /// Whether as many wait for it as may.
    pub fn has_full_queue(&self, server: ServerId) -> bool {
        let record = &self.records[server.index()];
        record.maxqueue > 0 && record.queued >= record.maxqueue
    }

    /// A request comes to the backend.
    #[inline]
    pub fn arrive(&mut self) {
        self.present += 1;
    }

    /// A request leaves the backend.
    #[inline]
    pub fn leave(&mut self) {
        self.present -= 1;
    }

    /// Whether it may take requests from the backend's queue.
    pub fn serves_backend_queue(&self, server: ServerId) -> bool {
        self.in_group(server.index())
    }

    /// Whether any request holds a place or waits.
    #[cfg(test)]
    pub(crate) fn any_in_flight(&self) -> bool {
        let busy = |record: &Record| record.served + record.queued > 0;
        self.served + self.queued > 0 || self.records.iter().any(busy)
    }

    /// Requests in the backend's queue.
    pub fn queued(&self) -> u32 {
        self.queued
    }

    /// A request takes a place. The algorithm is to be told ([`crate::balancer::Balancer::load_changed`]).
    #[inline]
    pub fn take(&mut self, server: ServerId) {
        self.records[server.index()].served += 1;
        self.served += 1;
    }

    /// A request gives its place back. The algorithm is to be told ([`crate::balancer::Balancer::load_changed`]).
    #[inline]
    pub fn give_back(&mut self, server: ServerId) {
        self.records[server.index()].served -= 1;
        self.served -= 1;
    }

    /// A request joins the queue of a server, or the backend's.
    pub fn enqueue(&mut self, server: Option<ServerId>) {
        match server {
            Some(server) => self.records[server.index()].queued += 1,
            None => self.queued += 1,
        }
    }

    /// A request leaves the queue of a server, or the backend's.
    pub fn dequeue(&mut self, server: Option<ServerId>) {
        match server {
            Some(server) => self.records[server.index()].queued -= 1,
            None => self.queued -= 1,
        }
    }

    /// Bytes that the table occupies.
    pub fn bytes(&self) -> usize {
        self.records.capacity() * size_of::<Record>()
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
pub(super) mod fixture {
    use super::*;

    /// Servers of these weights, with ids from 1.
    pub(in super::super) fn weighted(weights: &[u32]) -> Vec<HaproxyServer> {
        let server = |(index, &weight)| HaproxyServer { weight, ..HaproxyServer::new(index as u32 + 1) };
        weights.iter().enumerate().map(server).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::fixture::weighted;
    use super::*;

    #[test]
    fn static_weights_are_divided_by_what_they_have_in_common_and_rounded_up() {
        let servers = Servers::new(&weighted(&[6, 0, 4]), true, false);
        assert_eq!([0, 1, 2].map(|server| servers.standing(server)), [3, 0, 2]);
        let mut servers = Servers::new(&weighted(&[100, 100]), true, false);
        assert_eq!(servers.total_weight(), 2);
        assert!(!servers.set_weight(ServerId(0), 50), "a table takes only all or nothing");
        assert!(servers.set_weight(ServerId(0), 0) && servers.set_weight(ServerId(0), 100));
    }

    #[test]
    fn backups_serve_only_when_nobody_else_can_and_the_first_alone_unless_told_otherwise() {
        let mut lines = weighted(&[1, 1, 2]);
        (lines[1].backup, lines[2].backup) = (true, true);
        for (allbackups, group, used) in
            [(false, Group::FirstBackup(1), 1), (true, Group::Balanced { backups: true }, 2)]
        {
            let mut servers = Servers::new(&lines, false, allbackups);
            assert_eq!(servers.group(), Group::Balanced { backups: false });
            servers.set_up(ServerId(0), false);
            assert_eq!((servers.group(), servers.used(), servers.actives()), (group, used, 0));
            servers.set_admin(ServerId(1), Admin::Maint);
            servers.set_weight(ServerId(2), 0);
            assert!(!servers.any_usable());
        }
    }

    #[test]
    fn places_grow_with_the_requests_in_the_backend() {
        let mut lines = weighted(&[1]);
        (lines[0].minconn, lines[0].maxconn) = (2, 10);
        let mut servers = Servers::new(&lines, false, false);
        servers.set_fullconn(20);
        let mut places = |requests| {
            while servers.present < requests {
                servers.arrive();
            }
            servers.limit(&servers.records[0])
        };
        // At least `minconn`, then a tenth of 10 for each 2 of 20, and no more than `maxconn`.
        assert_eq!([1, 4, 6, 11, 19, 20, 50].map(&mut places), [2, 2, 3, 5, 9, 10, 10]);
        (lines[0].minconn, lines[0].maxconn) = (10, 3);
        assert!(Servers::new(&lines, false, false).records[0].maxconn == 10, "the larger one counts");
    }

    #[test]
    fn a_server_that_drains_still_serves_those_who_are_tied_to_it() {
        let mut servers = Servers::new(&weighted(&[1, 1]), false, false);
        servers.set_admin(ServerId(0), Admin::Drain);
        assert!(servers.is_running(ServerId(0)) && !servers.in_group(0));
        servers.set_admin(ServerId(0), Admin::Maint);
        assert!(!servers.is_running(ServerId(0)));
    }
}

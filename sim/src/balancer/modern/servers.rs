//! The table of servers that a layer 7 proxy keeps, and what it knows of one request.

use crate::balancer::{Reason, Skipped};
use crate::engine::rng::Draws;
use crate::engine::{SimDuration, SimTime, Stream};
use crate::health::{OutlierDetection, Outliers, Verdict};
use crate::ids::ServerId;

/// Tries of a request at most: what a [`ProxyRequest`] remembers.
pub const TRIES_MAX: u32 = 8;

/// One server as a proxy's configuration has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyServer {
    /// Host and port. The hashing algorithms place a server by this text, so it must be the server's own.
    pub address: String,
    /// Its share of the work relative to others; 0 takes it out.
    pub weight: u32,
}

/// When failures take a server out: `failures` connections in a row that were refused, timed out or broke keep it out
/// for `time`; then it is as good as any other, with no failure counted. Any answer, whatever its status, ends the row.
///
/// This is what every proxy with passive checks has in some form. All servers can be out at once; see
/// [`ProxyServers::set_panic_threshold`] for what then. Envoy's own rule, which looks at statuses and lasts the longer the more
/// often, is [`ProxyServers::set_outlier_detection`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Failures in a row that take the server out; 0 never does.
    pub failures: u32,
    /// How long it stays out.
    pub time: SimDuration,
}

/// The servers of one proxy: their weights, requests in flight and failures.
///
/// Whoever changes it tells the balancer ([`crate::balancer::Balancer::servers_changed`]) when a method says that the set
/// of usable servers or a weight has changed.
#[derive(Clone, Debug)]
pub struct ProxyServers {
    rows: Vec<Row>,
    addresses: Vec<Box<str>>,
    /// Servers that may be used, in order.
    usable: Vec<ServerId>,
    /// The sum of their weights.
    usable_weight: u64,
    /// Requests in flight at usable servers and others.
    in_flight: u64,
    /// When the first of the ejected servers comes back.
    next_return: SimTime,
    /// Whether every server that was configured with a weight is usable, with that weight.
    as_configured: bool,
    /// When the set of usable servers or a weight last changed.
    changed: SimTime,
    ejection: Ejection,
    /// Envoy's outlier detection, in place of `ejection`.
    outliers: Option<Outliers>,
    /// Whom health took out, and who came back, since that was asked last.
    verdicts: Vec<Verdict>,
    /// Share of healthy servers below which health does not count \[percent\]; 0 is never.
    panic_threshold: f64,
    /// Random numbers; with `entity` the name of this proxy among them.
    stream: Stream,
    entity: u64,
}

/// One server.
#[derive(Clone, Debug)]
struct Row {
    weight: u32,
    configured_weight: u32,
    in_flight: u32,
    /// Failed connections since the last answer.
    failures: u32,
    /// [`SimTime::ZERO`] if it is not ejected.
    ejected_until: SimTime,
    /// Removed, as by a health check.
    removed: bool,
    /// Neither ejected nor removed, and with a weight.
    healthy: bool,
    /// Why no request may use it.
    out: Option<Skipped>,
    /// Whether that is for its health.
    shunned: bool,
    /// When it became healthy again last; `None` if it never was otherwise.
    back_since: Option<SimTime>,
}

/// What a proxy knows of one request, from its first try to its last.
#[derive(Clone, Copy, Debug)]
pub struct ProxyRequest {
    /// Hash of the client ([`super::hash::client_key`]).
    pub(in crate::balancer) key: u64,
    /// Time of this pick or end of a try.
    pub(in crate::balancer) now: SimTime,
    /// When the try under way began.
    began: SimTime,
    /// Requests in flight that it found at its server.
    found: u32,
    /// The proxy's number of the request: a name for draws.
    decision: u64,
    tried: [ServerId; TRIES_MAX as usize],
    tries: u8,
    /// Why the last pick fell as it did.
    pub(crate) reason: Reason,
}

impl ProxyRequest {
    /// Request number `decision` of a proxy, from a client whose key is `key`, at `now`.
    pub fn new(key: u64, decision: u64, now: SimTime) -> Self {
        Self {
            key,
            now,
            began: now,
            found: 0,
            decision,
            tried: [ServerId(0); TRIES_MAX as usize],
            tries: 0,
            reason: Reason::NoneUsable,
        }
    }

    /// Tries that have begun.
    #[inline]
    pub fn tries(&self) -> u32 {
        self.tries.into()
    }

    /// Says what time it is; to be called before each pick and each end of a try.
    #[inline]
    pub fn set_clock(&mut self, now: SimTime) {
        self.now = now;
    }

    /// Why the last pick fell as it did.
    #[inline]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Servers tried so far, in order; the last is that of the try under way.
    #[inline]
    pub fn tried(&self) -> &[ServerId] {
        &self.tried[..self.tries.into()]
    }

    /// Requests in flight that the try under way found at its server.
    #[inline]
    pub fn found(&self) -> u32 {
        self.found
    }

    /// Time since the try under way began.
    #[inline]
    pub fn elapsed(&self) -> SimDuration {
        self.now.since(self.began)
    }
}

impl ProxyServers {
    /// The table of a proxy that has just started. Server `i` of `servers` is [`ServerId`] `i`. Random choices are drawn
    /// from `stream` under the proxy's name `entity`.
    pub fn new(servers: &[ProxyServer], ejection: Ejection, stream: Stream, entity: u64) -> Self {
        let row = |server: &ProxyServer| Row {
            weight: server.weight,
            configured_weight: server.weight,
            in_flight: 0,
            failures: 0,
            ejected_until: SimTime::ZERO,
            removed: false,
            healthy: server.weight > 0,
            out: None,
            shunned: false,
            back_since: None,
        };
        let mut table = Self {
            rows: servers.iter().map(row).collect(),
            addresses: servers.iter().map(|server| server.address.as_str().into()).collect(),
            usable: Vec::with_capacity(servers.len()),
            usable_weight: 0,
            in_flight: 0,
            next_return: SimTime::NEVER,
            as_configured: true,
            changed: SimTime::ZERO,
            ejection,
            outliers: None,
            verdicts: Vec::new(),
            panic_threshold: 0.0,
            stream,
            entity,
        };
        table.refresh(SimTime::ZERO);
        table
    }

    /// Says how small a share of the servers may be healthy \[percent\], of those that have a weight: with fewer, all of them are
    /// used, healthy or not, as if none was out. 0, the default, is never.
    ///
    /// This is Envoy's panic threshold (`healthy_panic_threshold`; `LoadBalancerBase::recalculatePerPriorityPanic` and
    /// `isHostSetInPanic` in `source/extensions/load_balancing_policies/common/load_balancer_impl.cc`) for one priority level:
    /// above 71.4 % healthy there is never a panic, since Envoy counts on each server for 1.4 times its share
    /// (`overprovisioning_factor`).
    pub fn set_panic_threshold(&mut self, percent: f64) {
        self.panic_threshold = percent;
        self.refresh(SimTime::ZERO);
    }

    /// Lets Envoy's outlier detection decide who is ejected, in place of [`Ejection`]. It looked at the
    /// servers `since_look` before time zero, less than an interval ago.
    pub fn set_outlier_detection(&mut self, rule: OutlierDetection, since_look: SimDuration) {
        let first_look = SimTime(rule.interval.0.saturating_sub(since_look.0));
        self.outliers = Some(Outliers::new(rule, self.rows.len(), first_look));
        self.refresh(SimTime::ZERO);
    }

    /// Servers in the configuration, usable or not.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no server at all.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Servers that may be used, in order of configuration.
    #[inline]
    pub fn usable(&self) -> &[ServerId] {
        &self.usable
    }

    /// The sum of their weights.
    #[inline]
    pub fn usable_weight(&self) -> u64 {
        self.usable_weight
    }

    /// Whether every server that was configured with a weight above 0 may be used, with that weight.
    #[inline]
    pub fn is_as_configured(&self) -> bool {
        self.as_configured
    }

    /// The server's present weight.
    #[inline]
    pub fn weight(&self, server: ServerId) -> u32 {
        self.rows[server.index()].weight
    }

    /// Its weight at the start.
    #[inline]
    pub fn configured_weight(&self, server: ServerId) -> u32 {
        self.rows[server.index()].configured_weight
    }

    /// Host and port.
    pub fn address(&self, server: ServerId) -> &str {
        &self.addresses[server.index()]
    }

    /// When the server came back last; `None` if it was never out.
    #[inline]
    pub fn back_since(&self, server: ServerId) -> Option<SimTime> {
        self.rows[server.index()].back_since
    }

    /// When the set of usable servers or a weight last changed.
    #[inline]
    pub fn changed(&self) -> SimTime {
        self.changed
    }

    /// Requests in flight at a server.
    #[inline]
    pub fn in_flight(&self, server: ServerId) -> u32 {
        self.rows[server.index()].in_flight
    }

    /// Requests in flight at all servers.
    #[inline]
    pub fn in_flight_total(&self) -> u64 {
        self.in_flight
    }

    /// Requests in flight at `a` against those at `b`, each by its weight.
    #[inline]
    pub(in crate::balancer) fn compare_load(&self, a: ServerId, b: ServerId) -> std::cmp::Ordering {
        let (a, b) = (&self.rows[a.index()], &self.rows[b.index()]);
        let scaled = |load: u32, by: u32| u64::from(load) * u64::from(by);
        scaled(a.in_flight, b.weight).cmp(&scaled(b.in_flight, a.weight))
    }

    /// Why `server` may not be used for `request` now, or `None` if it may.
    #[inline]
    pub fn passed_over(&self, server: ServerId, request: &ProxyRequest) -> Option<Skipped> {
        if request.tried().contains(&server) {
            return Some(Skipped::Tried);
        }
        self.rows[server.index()].out
    }

    /// The reason of a hash that chooses `chosen`, when it would choose `home` with all servers as configured. Where the
    /// configuration has no server at all, any choice is the hash's first.
    #[inline]
    pub(in crate::balancer) fn reason_of_hash(
        &self,
        home: Option<ServerId>,
        chosen: ServerId,
        request: &ProxyRequest,
    ) -> Reason {
        match home {
            Some(home) if home != chosen => {
                Reason::Rehashed(self.passed_over(home, request).unwrap_or(Skipped::TableRebuilt))
            }
            Some(_) | None => Reason::Hashed,
        }
    }

    /// The first server, in order of configuration, that may be used for `request`.
    pub(in crate::balancer) fn first_usable(&self, request: &ProxyRequest) -> Option<ServerId> {
        self.usable.iter().copied().find(|server| !request.tried().contains(server))
    }

    /// Random numbers for the next try of `request`, named by the proxy, the request and the try.
    #[inline]
    pub fn draws(&self, request: &ProxyRequest) -> Draws {
        self.stream.draws(self.entity, request.decision << 4 | u64::from(request.tries))
    }

    /// The first 64 random bits for the next try of `request`, at half the cost of [`ProxyServers::draws`], whose bits are
    /// others.
    #[inline]
    pub fn bits(&self, request: &ProxyRequest) -> u64 {
        self.stream.bits(self.entity, request.decision << 4 | u64::from(request.tries))
    }

    /// A try of `request` begins at `server`. Tries beyond [`TRIES_MAX`] are counted at the server but not remembered.
    #[inline]
    pub fn begin_try(&mut self, request: &mut ProxyRequest, server: ServerId) {
        if let Some(place) = request.tried.get_mut(usize::from(request.tries)) {
            *place = server;
            request.tries += 1;
        }
        request.began = request.now;
        let row = &mut self.rows[server.index()];
        request.found = row.in_flight;
        row.in_flight += 1;
        self.in_flight += 1;
    }

    /// The try of `request` under way ended with an answer of this status, or without one. Says whether the set of usable
    /// servers has changed. Nothing happens without a try.
    #[inline]
    pub fn end_try(&mut self, request: &ProxyRequest, status: Option<u16>) -> bool {
        let Some(&server) = request.tried().last() else { return false };
        let row = &mut self.rows[server.index()];
        row.in_flight = row.in_flight.saturating_sub(1);
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(outliers) = &mut self.outliers {
            let ejected = outliers.ended(request.now, server, status);
            if ejected {
                self.refresh(request.now);
            }
            return ejected;
        }
        if status.is_some() {
            row.failures = 0;
            return false;
        }
        row.failures = row.failures.saturating_add(1);
        let ejects = self.ejection.failures != 0 && row.failures >= self.ejection.failures;
        if !ejects || row.ejected_until > request.now {
            return false;
        }
        row.failures = 0;
        row.ejected_until = request.now + self.ejection.time;
        self.refresh(request.now);
        true
    }

    /// The try of `request` under way was given up by the client: neither a failure nor an answer.
    pub fn abort_try(&mut self, request: &ProxyRequest) {
        if let Some(&server) = request.tried().last() {
            let row = &mut self.rows[server.index()];
            row.in_flight = row.in_flight.saturating_sub(1);
            self.in_flight = self.in_flight.saturating_sub(1);
        }
    }

    /// Brings back the servers whose ejection is over at `now`. Says whether there were any.
    #[inline]
    pub fn readmit(&mut self, now: SimTime) -> bool {
        if now < self.next_return {
            return false;
        }
        if let Some(outliers) = &mut self.outliers {
            let changed = outliers.tick(now);
            self.next_return = outliers.next_due();
            let looked = outliers.last_look();
            if changed {
                self.refresh_since(now, looked);
            }
            return changed;
        }
        for row in &mut self.rows {
            if row.ejected_until <= now && row.ejected_until != SimTime::ZERO {
                row.ejected_until = SimTime::ZERO;
                row.failures = 0;
            }
        }
        self.refresh_since(now, self.next_return);
        true
    }

    /// Changes a server's weight at `now`; 0 takes it out. A server that is not configured is none of this table's.
    pub fn set_weight(&mut self, now: SimTime, server: ServerId, weight: u32) {
        if let Some(row) = self.rows.get_mut(server.index()) {
            row.weight = weight;
            self.refresh(now);
        }
    }

    /// Takes a server out at `now`, or puts it back, as a health check does.
    pub fn set_removed(&mut self, now: SimTime, server: ServerId, removed: bool) {
        if let Some(row) = self.rows.get_mut(server.index()) {
            row.removed = removed;
            self.refresh(now);
        }
    }

    /// Whom health took out and who came back, since this was asked last, in order.
    pub(crate) fn take_verdicts(&mut self) -> Vec<Verdict> {
        std::mem::take(&mut self.verdicts)
    }

    /// Works out anew what follows from the rows.
    fn refresh(&mut self, now: SimTime) {
        self.refresh_since(now, now);
    }

    /// The same, of what was so from `since` on and is noticed now.
    fn refresh_since(&mut self, now: SimTime, since: SimTime) {
        self.changed = now;
        self.usable.clear();
        self.usable_weight = 0;
        self.next_return = SimTime::NEVER;
        self.as_configured = true;
        let (mut members, mut healthy) = (0_u32, 0_u32);
        if let Some(outliers) = &self.outliers {
            self.next_return = outliers.next_due();
        }
        for (index, row) in self.rows.iter_mut().enumerate() {
            let ejected = match &self.outliers {
                Some(outliers) => outliers.is_ejected(ServerId::from_index(index)),
                None => row.ejected_until != SimTime::ZERO,
            };
            if self.outliers.is_none() && ejected {
                self.next_return = self.next_return.min(row.ejected_until);
            }
            let was_healthy = std::mem::replace(&mut row.healthy, row.weight > 0 && !row.removed && !ejected);
            if row.healthy && !was_healthy {
                row.back_since = Some(now);
            }
            members += u32::from(row.weight > 0);
            healthy += u32::from(row.healthy);
        }
        let panics = self.panics(healthy, members);
        for (index, row) in self.rows.iter_mut().enumerate() {
            row.out = match row {
                Row { weight: 0, .. } => Some(Skipped::OutOfService),
                _ if panics || row.healthy => None,
                Row { removed: true, .. } => Some(Skipped::OutOfService),
                _ => Some(Skipped::Unhealthy),
            };
            // One that is ill and used all the same, in a panic, is in.
            let is_shunned = row.weight > 0 && row.out.is_some();
            if std::mem::replace(&mut row.shunned, is_shunned) != is_shunned {
                self.verdicts.push(Verdict::new(since, 0, ServerId::from_index(index), is_shunned));
            }
            if row.out.is_none() {
                self.usable.push(ServerId::from_index(index));
                self.usable_weight += u64::from(row.weight);
            }
            let share = if row.out.is_none() { row.weight } else { 0 };
            self.as_configured &= share == row.configured_weight;
        }
    }

    /// Whether so few are healthy that health does not count.
    fn panics(&self, healthy: u32, members: u32) -> bool {
        /// Envoy's `overprovisioning_factor` \[percent\].
        const OVERPROVISIONING: u64 = 140;
        let enough = OVERPROVISIONING * u64::from(healthy) >= 100 * u64::from(members);
        !enough && 100.0 * f64::from(healthy) < self.panic_threshold * f64::from(members)
    }

    /// Bytes that the table occupies.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.capacity() * size_of::<Row>()
            + self.usable.capacity() * size_of::<ServerId>()
            + self.addresses.iter().map(|address| size_of::<Box<str>>() + address.len()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::super::ModernMethod;
    use super::super::fixture::{numbered, table_of};
    use super::*;
    use crate::balancer::Balancer;

    /// A client whose own server left is told so, one who moved because the table is another one, too; nobody else moved.
    #[test]
    fn a_hash_that_misses_home_says_why() {
        for name in ["maglev", "ring_hash", "rendezvous", "jump", "bounded_load", "anchor_hash"] {
            let mut method = ModernMethod::by_name(name).expect("in the catalogue");
            let mut servers = table_of((0..10).map(|i| (format!("10.0.0.{i}:80"), 1)));
            method.servers_changed(&servers);
            let homes: Vec<_> = (0..2_000).map(|key| method.pick(&mut servers, &mut numbered(key))).collect();
            let gone = ServerId(4);
            servers.set_removed(SimTime::ZERO, gone, true);
            method.servers_changed(&servers);
            for (key, &home) in homes.iter().enumerate() {
                let mut request = numbered(key as u64);
                let now = method.pick(&mut servers, &mut request);
                let reason = match home {
                    Some(server) if server == gone => Reason::Rehashed(Skipped::OutOfService),
                    _ if now != home => Reason::Rehashed(Skipped::TableRebuilt),
                    _ => Reason::Hashed,
                };
                assert_eq!(request.reason(), reason, "{name}");
            }
        }
    }

    #[test]
    fn failures_in_a_row_eject_for_a_time_and_an_answer_forgives() {
        let mut servers = table_of(["a:80", "b:80"].map(|address| (address.to_owned(), 1)));
        let attempt = |servers: &mut ProxyServers, at_s: u64, answered: bool| {
            let mut request = numbered(at_s);
            request.set_clock(SimTime::from_millis(1_000 * at_s));
            servers.begin_try(&mut request, ServerId(1));
            servers.end_try(&request, answered.then_some(200))
        };
        assert!(!attempt(&mut servers, 1, false));
        assert!(!attempt(&mut servers, 2, true));
        assert!(!attempt(&mut servers, 3, false));
        assert!(attempt(&mut servers, 4, false), "two in a row");
        assert_eq!(servers.passed_over(ServerId(1), &numbered(0)), Some(Skipped::Unhealthy));
        assert!(!servers.readmit(SimTime::from_millis(13_999)));
        assert!(servers.readmit(SimTime::from_millis(14_000)));
        assert_eq!(servers.passed_over(ServerId(1), &numbered(0)), None);
        assert!(!attempt(&mut servers, 15, false), "the count begins anew");
    }
}

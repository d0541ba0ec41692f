//! The table of peers: who may be used, and what a pick and the end of an attempt change.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::ops::Range;

use super::crc32::Suffix;
use super::wide::WideSets;
use super::{NginxServer, RequestState};
use crate::balancer::{Reason, Skipped};
use crate::engine::Stream;
use crate::health::{PassiveRule, PassiveWindow};
use crate::ids::{ServerId, StreamId};

/// One peer (`ngx_http_upstream_rr_peer_t`).
#[derive(Clone, Debug)]
struct Peer {
    /// Credit in the smooth round robin; sums to zero over peers that stay usable.
    current_weight: i64,
    /// What it gains a round: `weight`, less what failures took and picks have not given back yet.
    effective_weight: u32,
    weight: u32,
    window: PassiveWindow,
    rule: PassiveRule,
    /// Attempts under way.
    conns: u32,
    /// 0 is no limit.
    max_conns: u32,
    server: ServerId,
    /// Out for the method.
    down: bool,
    /// Out for the method, but not for requests whose cookie names it (`NGX_HTTP_UPSTREAM_DRAINING`).
    drain: bool,
}

/// How busy a peer is for its weight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    conns: u32,
    weight: u32,
}

impl Load {
    /// Compares attempts under way over weight, by cross products as nginx does.
    #[inline]
    pub(super) fn compare(self, other: Self) -> Ordering {
        let product = |conns: u32, weight: u32| u64::from(conns) * u64::from(weight);
        product(self.conns, other.weight).cmp(&product(other.conns, self.weight))
    }
}

/// The peers of one upstream as one worker knows them, or all workers if they share a `zone`
/// (`ngx_http_upstream_rr_peers_t`).
#[derive(Clone, Debug)]
pub struct Peers {
    /// Primaries in the order of the configuration, then backups in theirs.
    peers: Vec<Peer>,
    /// Number of primaries.
    primaries: usize,
    /// Which primary a hash falls to.
    shares: Shares,
    /// Exactly one primary and no backup: it is always picked, and its failures do not count.
    single: bool,
    /// Peers that are not `down`, backups among them: how often a request may try.
    tries: u32,
    /// Tried sets, if there are more than 64 peers.
    wide: Option<WideSets>,
    /// The texts of the primaries.
    texts: Box<[Box<str>]>,
    /// What the random methods draw from.
    draws: Stream,
    /// The instance's number, which names its draws.
    instance: u64,
}

impl Peers {
    /// The peers of an nginx that has just started or was reloaded. Peer `i` of `servers` is [`ServerId`] `i`.
    ///
    /// # Panics
    /// Panics if there is no primary, a weight is 0, or there are more servers than a [`ServerId`] can name.
    pub fn new(servers: &[NginxServer]) -> Self {
        let peer = |(index, server): (usize, &NginxServer)| Peer {
            current_weight: 0,
            effective_weight: server.weight,
            weight: server.weight,
            window: PassiveWindow::default(),
            rule: PassiveRule { max_fails: server.max_fails, fail_timeout_s: server.fail_timeout_s },
            conns: 0,
            max_conns: server.max_conns,
            server: ServerId::from_index(index),
            down: server.down || server.drain,
            drain: server.drain && !server.down,
        };
        let present = || servers.iter().enumerate().filter(|(_, server)| !server.absent);
        let in_group = |backup| present().filter(move |(_, server)| server.backup == backup);
        let mut peers: Vec<Peer> = in_group(false).map(peer).collect();
        let primaries = peers.len();
        assert!(primaries > 0, "an upstream needs a server that is no backup");
        assert!(servers.iter().all(|server| server.weight > 0), "a weight is at least 1");
        peers.extend(in_group(true).map(peer));
        Self {
            primaries,
            shares: Shares::new(peers[..primaries].iter().map(|peer| peer.weight)),
            single: peers.len() == 1,
            tries: peers.iter().filter(|peer| !peer.down).count() as u32,
            wide: (peers.len() > 64).then(|| WideSets::new(peers.len())),
            texts: in_group(false).map(|(_, server)| server.address.as_str().into()).collect(),
            draws: Stream::new(0, 0, StreamId::Balancer),
            instance: 0,
            peers,
        }
    }

    /// Says what the random methods draw from: their draws are named by `instance`, which must be the balancer's own among
    /// all that share the stream, and by the request ([`RequestState::set_number`]).
    pub fn set_draws(&mut self, draws: Stream, instance: u64) {
        self.draws = draws;
        self.instance = instance;
    }

    /// A request from `address` that has not tried any peer yet. It must be ended by [`Peers::finish`].
    #[inline]
    pub fn begin(&mut self, address: IpAddr) -> RequestState {
        RequestState {
            address,
            now_s: 0,
            tried: self.wide.as_mut().map_or(0, WideSets::acquire),
            hash: None,
            hashes: 0,
            misses: 0,
            key: Suffix::EMPTY,
            number: 0,
            draws: 0,
            tries: self.tries,
            current: 0,
            on_backups: false,
            first_skip: None,
            reason: Reason::NoneUsable,
            hint: None,
            unfollowed: None,
            failed: false,
        }
    }

    /// A request is over; its last try, if there was one, has ended.
    #[inline]
    pub fn finish(&mut self, request: &RequestState) {
        if let Some(wide) = &mut self.wide {
            wide.release(request.tried);
        }
    }

    /// The try under way ended (`ngx_http_upstream_free_round_robin_peer`); `failed` is nginx's `NGX_PEER_FAILED`. Says whether
    /// its server is out from now on, or in again, if that has changed.
    #[inline]
    pub fn end_try(&mut self, request: &mut RequestState, failed: bool) -> Option<bool> {
        let peer = &mut self.peers[request.current as usize];
        peer.conns -= 1;
        request.failed = failed;
        if self.single {
            request.tries = 0;
            return None;
        }
        let was_out = peer.window.has_failed(peer.rule);
        if failed {
            peer.window.failed(request.now_s);
            if let Some(lost) = peer.weight.checked_div(peer.rule.max_fails) {
                peer.effective_weight = peer.effective_weight.saturating_sub(lost);
            }
        } else {
            peer.window.succeeded();
        }
        request.tries = request.tries.saturating_sub(1);
        let is_out = peer.window.has_failed(peer.rule);
        (is_out != was_out).then_some(is_out)
    }

    /// The servers whose failures keep them out, but for probes.
    pub fn failed(&self) -> impl Iterator<Item = ServerId> {
        self.peers.iter().filter(|peer| peer.window.has_failed(peer.rule)).map(|peer| peer.server)
    }

    /// The server of the try under way.
    #[inline]
    pub fn server(&self, request: &RequestState) -> ServerId {
        self.peers[request.current as usize].server
    }

    /// Picks the peer of `server` whatever is known of it, and without counting it as tried. `None` if there is no such
    /// primary.
    pub(super) fn take_named(&mut self, server: ServerId, request: &mut RequestState) -> Option<ServerId> {
        let peer = self.peers[..self.primaries].iter().position(|peer| peer.server == server)?;
        self.peers[peer].conns += 1;
        request.current = peer as u16;
        Some(server)
    }

    /// `max_fails` and `fail_timeout` of a peer.
    #[inline]
    pub(super) fn rule(&self, peer: usize) -> PassiveRule {
        self.peers[peer].rule
    }

    /// Whether a peer is `down`, draining or not.
    #[inline]
    pub(super) fn is_down(&self, peer: usize) -> bool {
        self.peers[peer].down
    }

    /// Whether there is exactly one primary and no backup.
    #[inline]
    pub(super) fn is_single(&self) -> bool {
        self.single
    }

    /// The primaries' texts in the configuration, in order.
    pub(super) fn texts(&self) -> &[Box<str>] {
        &self.texts
    }

    /// The primaries' weights, in order.
    pub(super) fn weights(&self) -> impl Iterator<Item = u32> {
        self.peers[..self.primaries].iter().map(|peer| peer.weight)
    }

    /// The peers of the group that `request` is in: the primaries, or the backups once it has turned to them.
    #[inline]
    pub(super) fn group(&self, request: &RequestState) -> Range<usize> {
        if request.on_backups { self.primaries..self.peers.len() } else { 0..self.primaries }
    }

    /// How busy `peer` is.
    #[inline]
    pub(super) fn load(&self, peer: usize) -> Load {
        self.peers[peer].load()
    }

    /// A primary at random, each with a chance in proportion to its weight, `down` ones too.
    #[inline]
    pub(super) fn draw_primary(&self, request: &mut RequestState) -> usize {
        let name = request.number << RequestState::DRAW_BITS | u64::from(request.draws);
        request.draws += 1;
        self.shares.owner_of(self.draws.below(self.shares.total(), self.instance, name))
    }

    /// The primary that `hash` falls to when each has a share of `hash % total weight` as long as its weight, in order.
    /// Peers that are `down` keep theirs.
    #[inline]
    pub(super) fn primary_of(&self, hash: u32) -> usize {
        self.shares.owner(hash)
    }

    /// Why `peer` may not be used for `request` now, or `None` if it may.
    #[inline]
    pub(super) fn passed_over(&self, peer: usize, request: &RequestState) -> Option<Skipped> {
        self.barred(peer, request, self.peers[peer].down)
    }

    /// The peer that the request's cookie names, if the request is in its group and may use it now, draining or not
    /// (`ngx_http_upstream_get_rr_peer_by_sid`).
    #[inline]
    pub(super) fn hinted(&self, request: &mut RequestState) -> Option<usize> {
        let named = request.hint?;
        let mut group = self.group(request);
        // Without backups, peers are in the order of the servers.
        let at = named.index();
        let is_there = group.contains(&at) && self.peers[at].server == named;
        let found = if is_there { Some(at) } else { group.find(|&peer| self.peers[peer].server == named) };
        request.unfollowed = match found {
            Some(peer) => {
                let Peer { down, drain, .. } = self.peers[peer];
                self.barred(peer, request, down && !drain)
            }
            None => Some(Skipped::OutOfService),
        };
        found.filter(|_| request.unfollowed.is_none())
    }

    /// Takes the peer that the request's cookie names, if it may be used.
    #[inline]
    pub(super) fn take_hinted(&mut self, request: &mut RequestState) -> Option<ServerId> {
        let peer = self.hinted(request)?;
        request.reason = Reason::Affinity;
        Some(self.take(peer, request))
    }

    /// Why `peer` may not be used, given whether it is out by configuration.
    #[inline]
    fn barred(&self, peer: usize, request: &RequestState, down: bool) -> Option<Skipped> {
        let peer_tried = self.is_tried(peer, request);
        let peer = &self.peers[peer];
        if peer_tried {
            Some(Skipped::Tried)
        } else if down {
            Some(Skipped::OutOfService)
        } else if peer.window.is_out(peer.rule, request.now_s) {
            Some(Skipped::Unhealthy)
        } else if peer.is_full() {
            Some(Skipped::Full)
        } else {
            None
        }
    }

    /// Whether `request` has tried `peer`.
    #[inline]
    pub(super) fn is_tried(&self, peer: usize, request: &RequestState) -> bool {
        match &self.wide {
            None => request.tried >> peer & 1 != 0,
            Some(wide) => wide.contains(request.tried, peer),
        }
    }

    /// Picks `peer` for the next try of `request`.
    #[inline]
    pub(super) fn take(&mut self, peer: usize, request: &mut RequestState) -> ServerId {
        match &mut self.wide {
            None => request.tried |= 1 << peer,
            Some(wide) => wide.insert(request.tried, peer),
        }
        request.current = peer as u16;
        let peer = &mut self.peers[peer];
        peer.conns += 1;
        peer.window.picked(peer.rule, request.now_s);
        peer.server
    }

    /// Picks the only peer, unless it is `down` or full: neither failures nor earlier tries count.
    pub(super) fn take_single(&mut self, request: &mut RequestState) -> Option<ServerId> {
        let peer = &self.peers[0];
        (!peer.down && !peer.is_full()).then(|| self.take(0, request))
    }

    /// One round of the smooth weighted round robin (`ngx_http_upstream_get_peer`) among the usable peers of the group
    /// that `request` is in. `None` if no peer is usable.
    #[inline]
    pub(super) fn smooth_round(&mut self, request: &RequestState) -> Option<usize> {
        self.smooth_among(request, self.group(request), None, |_| true)
    }

    /// The same round, in which `hinted` is the choice and pays, so that a server that cookies name gets fewer of the others.
    /// One that has paid for a whole round in advance is the choice without a round (`low_limit` in `ngx_http_upstream_get_peer`).
    pub(super) fn smooth_round_for(&mut self, request: &RequestState, hinted: usize) -> Option<usize> {
        let others = self.group(request).filter(|&peer| peer != hinted).map(|peer| &self.peers[peer]);
        let limit: i64 = others.map(|peer| i64::from(peer.weight)).sum();
        if self.peers[hinted].current_weight <= -limit {
            return Some(hinted);
        }
        self.smooth_among(request, self.group(request), Some(hinted), |_| true)
    }

    /// One round of the smooth weighted round robin among those of `candidates` that are usable and whose load is
    /// `eligible`: each gains its effective weight, which recovers by 1, and `hinted`, or else the first of those with most
    /// credit, is the choice and pays for all. `None` if there is none.
    #[inline]
    pub(super) fn smooth_among(
        &mut self,
        request: &RequestState,
        candidates: impl Iterator<Item = usize>,
        hinted: Option<usize>,
        eligible: impl Fn(Load) -> bool,
    ) -> Option<usize> {
        let mut best: Option<(usize, i64)> = None;
        let mut total = 0;
        for index in candidates {
            if self.passed_over(index, request).is_some() || !eligible(self.load(index)) {
                continue;
            }
            let peer = &mut self.peers[index];
            peer.current_weight += i64::from(peer.effective_weight);
            total += i64::from(peer.effective_weight);
            peer.effective_weight += u32::from(peer.effective_weight < peer.weight);
            if best.is_none_or(|(_, most)| peer.current_weight > most) {
                best = Some((index, peer.current_weight));
            }
        }
        let index = hinted.or(best.map(|(index, _)| index))?;
        self.peers[index].current_weight -= total;
        Some(index)
    }

    /// Turns `request` to the backup servers for the rest of its life. Says whether there is anything to turn to.
    pub(super) fn fall_back(&self, request: &mut RequestState) -> bool {
        let can = !request.on_backups && self.primaries < self.peers.len();
        request.on_backups |= can;
        can
    }

    /// Number of peers, backups among them.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    /// What a peer gains in a round of the smooth round robin now.
    #[cfg(test)]
    pub(super) fn effective_weight(&self, peer: usize) -> u32 {
        self.peers[peer].effective_weight
    }

    /// Bytes that the table occupies.
    pub(crate) fn bytes(&self) -> usize {
        self.peers.capacity() * size_of::<Peer>()
            + self.shares.bytes()
            + self.wide.as_ref().map_or(0, WideSets::bytes)
    }
}

impl Peer {
    #[inline]
    fn load(&self) -> Load {
        Load { conns: self.conns, weight: self.weight }
    }

    #[inline]
    fn is_full(&self) -> bool {
        self.max_conns != 0 && self.conns >= self.max_conns
    }
}

/// Which primary owns which part of the total weight.
#[derive(Clone, Debug)]
enum Shares {
    /// One entry per unit of weight. nginx walks the weights instead, with the same result.
    Table {
        /// Owner of each unit; at most [`Shares::TABLE_MAX`] of them.
        owners: Box<[u16]>,
        /// 2^64 over the total weight, rounded up, for a remainder by two multiplications.
        reciprocal: u64,
    },
    /// Weights too large for a table.
    Sums {
        /// For each primary the sum of the weights up to and including its own.
        sums: Box<[u64]>,
    },
}

impl Shares {
    /// Largest total weight with a table. ip_hash sees remainders below 6,271 only, so larger tables would not help it.
    const TABLE_MAX: u64 = 8_192;

    fn new(weights: impl Iterator<Item = u32> + Clone) -> Self {
        let total: u64 = weights.clone().map(u64::from).sum();
        if total <= Self::TABLE_MAX {
            let owners = weights
                .enumerate()
                .flat_map(|(owner, weight)| (0..weight).map(move |_| owner as u16))
                .collect();
            Self::Table { owners, reciprocal: (u64::MAX / total).wrapping_add(1) }
        } else {
            let sums = weights.scan(0, |sum, weight| {
                *sum += u64::from(weight);
                Some(*sum)
            });
            Self::Sums { sums: sums.collect() }
        }
    }

    #[inline]
    fn owner(&self, hash: u32) -> usize {
        match self {
            Self::Table { owners, reciprocal } => {
                // Lemire, Kaser and Kurz, "Faster remainder by direct computation" (2019): exact for 32-bit operands.
                let fraction = reciprocal.wrapping_mul(u64::from(hash));
                let remainder = (u128::from(fraction) * owners.len() as u128) >> 64;
                owners[remainder as usize].into()
            }
            Self::Sums { .. } => self.owner_of(u64::from(hash) % self.total()),
        }
    }

    /// The owner of a unit of weight, which is below the total.
    #[inline]
    fn owner_of(&self, share: u64) -> usize {
        match self {
            Self::Table { owners, .. } => owners[share as usize].into(),
            Self::Sums { sums } => sums.partition_point(|&sum| sum <= share),
        }
    }

    /// The sum of the weights, at least 1.
    #[inline]
    fn total(&self) -> u64 {
        match self {
            Self::Table { owners, .. } => owners.len() as u64,
            Self::Sums { sums } => sums.last().copied().unwrap_or(1),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Table { owners, .. } => size_of_val(&**owners),
            Self::Sums { sums } => size_of_val(&**sums),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// nginx's own way to the owner of a remainder.
    fn walk(weights: &[u32], hash: u32) -> usize {
        let mut rest = u64::from(hash) % weights.iter().map(|&weight| u64::from(weight)).sum::<u64>();
        let mut owner = 0;
        while rest >= u64::from(weights[owner]) {
            rest -= u64::from(weights[owner]);
            owner += 1;
        }
        owner
    }

    proptest! {
        #[test]
        fn the_table_of_shares_agrees_with_a_walk_over_the_weights(
            weights in prop::collection::vec(prop_oneof![1u32..50, 1u32..10_000, 1_000_000_000u32..], 1..40),
            hashes in prop::collection::vec(prop_oneof![0u32..6_271, any::<u32>()], 20),
        ) {
            let shares = Shares::new(weights.iter().copied());
            for hash in hashes {
                prop_assert_eq!(shares.owner(hash), walk(&weights, hash));
            }
        }
    }

    #[test]
    fn a_failure_costs_a_share_of_the_effective_weight_and_never_more_than_there_is() {
        let server = NginxServer { weight: 8, max_fails: 3, ..NginxServer::default() };
        let mut peers = Peers::new(&[server, NginxServer::default()]);
        for left in [6, 4, 2, 0, 0] {
            let mut request = peers.begin(IpAddr::from([192, 0, 2, 1]));
            peers.take(0, &mut request);
            peers.end_try(&mut request, true);
            assert_eq!(peers.peers[0].effective_weight, left);
        }
    }

    #[test]
    fn the_only_peer_loses_nothing_by_failing_but_ends_the_request() {
        let mut peers = Peers::new(&[NginxServer::default()]);
        for _ in 0..3 {
            let mut request = peers.begin(IpAddr::from([192, 0, 2, 1]));
            assert_eq!(peers.take_single(&mut request), Some(ServerId(0)));
            peers.end_try(&mut request, true);
            assert_eq!(request.tries(), 0);
        }
    }

    #[test]
    fn tries_count_backups_but_not_servers_that_are_down() {
        let line = |down, backup| NginxServer { down, backup, ..NginxServer::default() };
        let mut peers =
            Peers::new(&[line(false, false), line(true, false), line(false, true), line(false, false)]);
        assert_eq!(peers.begin(IpAddr::from([192, 0, 2, 1])).tries(), 3);
    }

    #[test]
    fn without_a_line_the_shares_are_those_of_the_other_servers_which_keep_their_numbers() {
        let line = |absent| NginxServer { absent, ..NginxServer::default() };
        let peers = Peers::new(&[line(false), line(true), line(false)]);
        assert_eq!((peers.shares.total(), peers.peers[1].server), (2, ServerId(2)));
    }
}

//! `fair`: the third-party module `nginx-upstream-fair`, which sends a request to a server that has nothing to do.
//!
//! gnosek/nginx-upstream-fair, commit a18b4099 of 2012, its last (`ngx_http_upstream_fair_module.c`,
//! `ngx_http_upstream_choose_fair_peer_idle`, `ngx_http_upstream_choose_fair_peer_busy`,
//! `ngx_http_upstream_fair_sched_score`). It measures no time: it counts requests in flight, and a slow server is one that
//! has more of them. Servers stand in order of falling weight.
//! - **Idle.** The first server after the last choice, going round, that has no request and no failure counted. With
//!   `weight_mode=idle` one with fewer requests than its weight counts as idle; with `no_rr` the scan begins where it began
//!   before, and in that mode prefers a server that has a request already.
//! - **Busy.** Else the least score: requests in flight first, then for how many requests of others it has rested, the whole
//!   divided by the weight that is left (`weight_mode` unset), which falls by one with each choice and starts anew below 0.
//!   With `weight_mode=peak` a server never gets more requests than its weight.
//! - **Failures.** A server that has failed is never idle, so it is tried again only when no other one is; with `max_fails`
//!   failures not before `fail_timeout` is over, which forgets them. When no server can be used, the client gets a 502 and
//!   all failures of all servers are forgotten. An only server is tried in any case.
//!
//! Since commit 357d89d of 2011 requests in flight are counted only if nginx was built `--with-debug`, as Debian's is.
//! Without it every server looks idle, and `fair` is round robin without weights: `with_debug = false`.
//!
//! Departures: all workers share the whole state (in the module, all but the place of the last choice and the time of the last
//! failure); tries are counted as for nginx's own methods (the module counts servers that are `down`, too); an only server that is
//! `down` is not tried.

use super::{Peers, RequestState};
use crate::balancer::{Balancer, OptionVisitor, Reason};
use crate::ids::ServerId;

/// Bits of a score below the requests in flight.
const REST_BITS: u32 = 20;
/// Longest rest that a score holds [requests].
const REST_MAX: u64 = (1 << REST_BITS) - 1;

/// What weights mean, by its place in [`WEIGHT_MODES`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum WeightMode {
    /// Shares of the choices among busy servers.
    Shares,
    /// Requests at most that a server takes and is idle.
    Idle,
    /// Requests at most that a server takes.
    Peak,
}

/// `weight_mode`, which is unset by default.
const WEIGHT_MODES: &[&str] = &["default", "idle", "peak"];

/// An idle server, else the least busy.
///
/// The reason is always [`Reason::Scheduled`] without a tie: the order of equals is how the method goes round.
#[derive(Clone, Debug)]
pub struct Fair {
    mode: usize,
    no_rr: bool,
    with_debug: bool,
    /// By falling weight, as configured among equals.
    rows: Vec<Row>,
    /// By peer: its row.
    row_of: Vec<u16>,
    /// The row that was chosen last.
    last: usize,
    /// Requests so far, each counted at its first try.
    requests: u64,
}

impl Default for Fair {
    /// The directive without parameters.
    fn default() -> Self {
        Self {
            mode: 0,
            no_rr: false,
            with_debug: true,
            rows: Vec::new(),
            row_of: Vec::new(),
            last: 0,
            requests: 0,
        }
    }
}

/// What the module counts of a peer (`ngx_http_upstream_fair_shared_t`).
#[derive(Clone, Debug)]
struct Row {
    peer: usize,
    /// 0 if it is `down`.
    weight: u32,
    in_flight: u32,
    /// The number of the request that it got last.
    last_request: u64,
    fails: u32,
    /// Second of the last failure.
    failed_s: u64,
    /// Choices that are left of its weight.
    weight_left: u32,
}

impl Fair {
    fn mode(&self) -> WeightMode {
        [WeightMode::Shares, WeightMode::Idle, WeightMode::Peak][self.mode]
    }

    /// Whether a row may be used; the end of a time-out is noticed here (`ngx_http_upstream_fair_try_peer`).
    fn may_use(&mut self, row: usize, peers: &Peers, request: &RequestState) -> bool {
        let row = &mut self.rows[row];
        if peers.is_tried(row.peer, request) || peers.is_down(row.peer) {
            return false;
        }
        let rule = peers.rule(row.peer);
        if rule.max_fails == 0 || row.fails < rule.max_fails {
            return true;
        }
        let over = request.now_s.saturating_sub(row.failed_s) > rule.fail_timeout_s;
        if over {
            row.fails = 0;
        }
        over
    }

    /// The rows in order, from `start`.
    fn round(&self, start: usize) -> impl Iterator<Item = usize> + use<> {
        let rows = self.rows.len();
        (start..rows).chain(0..start)
    }

    fn idle(&mut self, start: usize, peers: &Peers, request: &RequestState) -> Option<usize> {
        let mode = self.mode();
        let mut best: Option<usize> = None;
        for at in self.round(start) {
            let Row { in_flight, weight, fails, .. } = self.rows[at];
            let busy = in_flight >= weight || (in_flight > 0 && mode != WeightMode::Idle);
            if fails > 0 || busy || !self.may_use(at, peers, request) {
                continue;
            }
            if mode != WeightMode::Idle || !self.no_rr {
                return Some(at);
            }
            let better = |best: usize| in_flight > 0 && in_flight < self.rows[best].in_flight;
            if best.is_none_or(better) {
                best = Some(at);
            }
        }
        best
    }

    fn least_busy(&mut self, start: usize, peers: &Peers, request: &RequestState) -> Option<usize> {
        let mode = self.mode();
        let mut best: Option<(usize, u64)> = None;
        for at in self.round(start) {
            let full = mode == WeightMode::Peak && self.rows[at].in_flight >= self.rows[at].weight;
            if full || !self.may_use(at, peers, request) {
                continue;
            }
            let row = &self.rows[at];
            let rest = (self.requests - row.last_request).min(REST_MAX);
            let mut score = u64::from(row.in_flight) << REST_BITS | (!rest & REST_MAX);
            if mode == WeightMode::Shares {
                let max_fails = u64::from(peers.rule(row.peer).max_fails);
                let left = u64::from(row.weight_left);
                let left = (left * max_fails.saturating_sub(row.fails.into()))
                    .checked_div(max_fails)
                    .unwrap_or(left);
                score = score.checked_div(left).unwrap_or(score);
            }
            if best.is_none_or(|(_, least)| score <= least) {
                best = Some((at, score));
            }
        }
        best.map(|(at, _)| at)
    }
}

impl Balancer for Fair {
    type Servers = Peers;
    type Request = RequestState;

    fn pick(&mut self, peers: &mut Peers, request: &mut RequestState) -> Option<ServerId> {
        request.reason = Reason::Scheduled { tie: false };
        // The first try begins at the last choice of all, later ones after their own.
        self.requests += u64::from(request.hash.is_none());
        let start = (request.hash.map_or(self.last, |row| row as usize) + 1) % self.rows.len();
        let chosen = if self.rows.len() == 1 {
            Some(0).filter(|_| !peers.is_down(0))
        } else {
            self.idle(start, peers, request).or_else(|| self.least_busy(start, peers, request))
        };
        let Some(at) = chosen else {
            self.rows.iter_mut().for_each(|row| row.fails = 0);
            request.reason = Reason::NoneUsable;
            return None;
        };
        if self.rows.len() > 1 && self.mode() == WeightMode::Shares {
            let row = &mut self.rows[at];
            row.weight_left = row.weight_left.checked_sub(1).unwrap_or(row.weight);
        }
        request.hash = Some(at as u32);
        if !self.no_rr {
            self.last = at;
        }
        let row = &mut self.rows[at];
        row.last_request = self.requests;
        row.in_flight += u32::from(self.with_debug);
        Some(peers.take(row.peer, request))
    }

    fn servers_changed(&mut self, peers: &Peers) {
        let weights: Vec<u32> = peers.weights().collect();
        let weight = |peer: usize| if peers.is_down(peer) { 0 } else { weights[peer] };
        let mut order: Vec<usize> = (0..weights.len()).collect();
        order.sort_by_key(|&peer| std::cmp::Reverse(weight(peer)));
        self.row_of = vec![0; order.len()];
        for (row, &peer) in order.iter().enumerate() {
            self.row_of[peer] = row as u16;
        }
        self.rows = order
            .into_iter()
            .map(|peer| Row {
                peer,
                weight: weight(peer),
                in_flight: 0,
                last_request: 0,
                fails: 0,
                failed_s: 0,
                weight_left: 0,
            })
            .collect();
        self.last = self.rows.len() - 1;
        self.requests = 0;
    }

    fn ended(&mut self, _peers: &Peers, request: &RequestState) {
        let row = &mut self.rows[usize::from(self.row_of[usize::from(request.current)])];
        row.in_flight = row.in_flight.saturating_sub(1);
        if request.failed {
            row.fails += 1;
            row.failed_s = request.now_s;
        }
    }

    fn options(&mut self, visitor: &mut dyn OptionVisitor) {
        visitor.word("weight_mode", &mut self.mode, WEIGHT_MODES);
        visitor.flag("no_rr", &mut self.no_rr);
        visitor.flag("with_debug", &mut self.with_debug);
    }
}

#[cfg(test)]
mod tests {
    use super::super::NginxServer;
    use super::*;
    use std::net::IpAddr;

    struct Upstream {
        fair: Fair,
        peers: Peers,
        now_s: u64,
    }

    impl Upstream {
        fn new(fair: Fair, weights: &[u32]) -> Self {
            let server = |&weight: &u32| NginxServer { weight, ..NginxServer::default() };
            let peers = Peers::new(&weights.iter().map(server).collect::<Vec<_>>());
            let mut fair = fair;
            fair.servers_changed(&peers);
            Self { fair, peers, now_s: 100 }
        }

        fn open(&mut self) -> (RequestState, Option<u16>) {
            let mut request = self.peers.begin(IpAddr::from([192, 0, 2, 1]));
            request.set_clock(self.now_s);
            let server = self.again(&mut request);
            (request, server)
        }

        fn again(&mut self, request: &mut RequestState) -> Option<u16> {
            self.fair.pick(&mut self.peers, request).map(|server| server.0)
        }

        fn end(&mut self, request: &mut RequestState, failed: bool) {
            self.peers.end_try(request, failed);
            self.fair.ended(&self.peers, request);
        }

        fn held(&mut self, requests: usize) -> Vec<Option<u16>> {
            (0..requests).map(|_| self.open().1).collect()
        }
    }

    fn with_mode(name: &str) -> Fair {
        let mode = WEIGHT_MODES.iter().position(|mode| *mode == name).expect("a mode");
        Fair { mode, ..Fair::default() }
    }

    #[test]
    fn idle_servers_are_taken_in_turn_whatever_their_weights() {
        let mut upstream = Upstream::new(Fair::default(), &[1, 5, 1]);
        let mut picks = Vec::new();
        for _ in 0..6 {
            let (mut request, server) = upstream.open();
            picks.extend(server);
            upstream.end(&mut request, false);
        }
        // The heaviest stands first.
        assert_eq!(picks, [1, 0, 2, 1, 0, 2]);
    }

    #[test]
    fn a_server_with_a_request_is_passed_over_while_another_is_idle() {
        let mut upstream = Upstream::new(Fair::default(), &[1, 1, 1]);
        let (mut slow, server) = upstream.open();
        assert_eq!(server, Some(0));
        for _ in 0..10 {
            let (mut request, server) = upstream.open();
            assert_ne!(server, Some(0));
            upstream.end(&mut request, false);
        }
        upstream.end(&mut slow, false);
        let picks: Vec<_> = (0..3)
            .filter_map(|_| {
                let (mut request, server) = upstream.open();
                upstream.end(&mut request, false);
                server
            })
            .collect();
        assert!(picks.contains(&0));
    }

    #[test]
    fn among_busy_servers_requests_in_flight_decide_and_then_the_longest_rest() {
        let mut upstream = Upstream::new(Fair::default(), &[1, 1, 1]);
        let held = upstream.held(9);
        for server in 0..3 {
            let count = held.iter().filter(|held| **held == Some(server)).count();
            assert_eq!(count, 3, "{held:?}");
        }
    }

    #[test]
    fn without_debug_it_is_round_robin_without_weights_and_blind_to_load() {
        let mut upstream = Upstream::new(Fair { with_debug: false, ..Fair::default() }, &[3, 1]);
        assert_eq!(upstream.held(6), [0, 1, 0, 1, 0, 1].map(Some));
    }

    #[test]
    fn at_the_peak_of_its_weight_a_server_gets_no_more_and_all_failures_are_forgotten() {
        let mut upstream = Upstream::new(with_mode("peak"), &[2, 1]);
        let held = upstream.held(4);
        assert_eq!(held.iter().flatten().filter(|&&server| server == 0).count(), 2);
        assert_eq!(held[3], None);
    }

    #[test]
    fn in_idle_mode_without_round_robin_a_server_at_work_is_preferred() {
        let fair = Fair { no_rr: true, ..with_mode("idle") };
        let mut upstream = Upstream::new(fair, &[3, 3]);
        assert_eq!(upstream.held(4), [0, 0, 0, 1].map(Some));
    }

    #[test]
    fn a_server_that_failed_is_out_until_its_time_is_over_or_nobody_is_left() {
        let mut upstream = Upstream::new(Fair::default(), &[1, 1]);
        let (mut request, server) = upstream.open();
        assert_eq!(server, Some(0));
        upstream.end(&mut request, true);
        assert_eq!(upstream.again(&mut request), Some(1));
        upstream.end(&mut request, true);
        assert_eq!(upstream.again(&mut request), None);
        // That nobody was left has cleared both.
        let (mut request, server) = upstream.open();
        assert_eq!(server, Some(0));
        upstream.end(&mut request, true);
        assert_eq!(upstream.open().1, Some(1));
        upstream.now_s += 10;
        assert_eq!(upstream.open().1, Some(1), "fail_timeout is not over");
        upstream.now_s += 1;
        assert_eq!(upstream.open().1, Some(0), "it is");
    }
}

//! Why a request left its session's home, where several tiers could have sent it elsewhere.
//!
//! The tier that chose another server is not to blame if its choice is kept in an instance's memory and the request came to another
//! instance: then the question goes to whoever chose that. Where a choice is a function of the request, every instance makes the
//! same, and it does not matter which was reached.

use super::Cluster;
use super::evidence::departure_cause;
use super::paths::{FrontKind, Home, Paths};
use super::request::Request;
use crate::engine::SimTime;
use crate::ids::{ConnectionId, ServerId};
use crate::metrics::LossCause;
use crate::scenario::TIERS_MAX;
use crate::session::sessions::Cut;
use crate::tier::{FlowId, Reason};

/// The cause if a tier in front sent a client to another instance than the one that led home. A hash does so only when the
/// instances have changed.
fn cause_in_front(reason: Reason, remembers: bool) -> LossCause {
    match reason {
        Reason::Hashed | Reason::Rehashed(_) => LossCause::Remapped,
        reason => departure_cause(reason, remembers, false),
    }
}

/// Whether another instance of the same configuration would have chosen alike.
fn is_function_of_request(reason: Reason) -> bool {
    matches!(reason, Reason::Hashed | Reason::Rehashed(_) | Reason::AffinityUnusable(_))
}

impl Paths<'_> {
    /// The instances that the last answer came through of those tiers that requests walk; `last` is the last tier's.
    fn walked(&self, last: u16) -> [u16; TIERS_MAX] {
        let mut walked = self.chain.as_ref().map_or([0; TIERS_MAX], |chain| chain.answered_by);
        walked[self.last()] = last;
        walked
    }

    /// The same of a request that is under way.
    fn walked_by(&self, flow: FlowId, last: u16) -> [u16; TIERS_MAX] {
        let mut walked = [0; TIERS_MAX];
        for (place, instance) in walked.iter_mut().enumerate().skip(self.entry) {
            let stop = self.chain.as_ref().and_then(|chain| chain.stop(flow, place));
            *instance = stop.map_or(0, |(hop, _)| hop.instance);
        }
        walked[self.last()] = last;
        walked
    }

    /// Keeps the way that led to a session's home: that of the connection, and the instances of those tiers that requests walk.
    fn note_home(&mut self, slot: u32, connection: ConnectionId, walked: [u16; TIERS_MAX]) {
        let path = self.path(connection);
        let mut home = Home { instances: walked, peer: path.peer };
        for (place, hop) in path.hops[..self.entry].iter().enumerate() {
            home.instances[place] = hop.instance;
        }
        let slot = slot as usize;
        if self.homes.len() <= slot {
            self.homes.resize(slot + 1, home);
        }
        self.homes[slot] = home;
    }
}

impl Cluster<'_> {
    /// The answer to `request` has made its server the home of a session.
    pub(super) fn chose_home(&mut self, slot: u32, request: &Request) {
        self.sessions.chosen_by(slot, &request.route());
        if let Some(paths) = &mut self.paths {
            let walked = paths.walked(request.instance);
            paths.note_home(slot, request.connection, walked);
        }
    }

    /// The cause that a departure from home has when all tiers are looked at; a request that reaches home leaves its way there.
    #[inline(never)]
    pub(super) fn cause_on_path(
        &mut self,
        now: SimTime,
        slot: u32,
        (connection, flow): (ConnectionId, FlowId),
        route: &Cut,
    ) -> LossCause {
        let is_at_home = self.sessions.get(slot).home == route.to;
        let Some(paths) = self.paths.as_deref_mut() else { return route.cause };
        let last = paths.last();
        if is_at_home || slot as usize >= paths.homes.len() {
            let walked = paths.walked_by(flow, route.instance);
            paths.note_home(slot, connection, walked);
            return route.cause;
        }
        let (path, home) = (*paths.path(connection), paths.homes[slot as usize]);
        // What each tier in front chose, and the address that it saw.
        let mut hops = path.hops.map(|hop| (hop, path.peer));
        if let Some(chain) = &paths.chain {
            for (place, hop) in hops.iter_mut().enumerate().take(last).skip(paths.entry) {
                *hop = chain.stop(flow, place).unwrap_or(*hop);
            }
        }
        let is_elsewhere = |place: usize| {
            let here = if place == last { route.instance } else { hops[place].0.instance };
            here != home.instances[place]
        };
        let keeps = self.tier.remembers;
        if !is_elsewhere(last) || is_function_of_request(route.reason) || !keeps {
            return route.cause;
        }
        // The last tier remembers clients, and this instance is not the one that remembers this one.
        let mut place = last;
        loop {
            if let Some(pair) = &paths.reach[place].pair {
                return if pair.is_split() { LossCause::InstanceSplit } else { LossCause::DirectorLost };
            }
            let Some(front) = place.checked_sub(1) else { return route.cause };
            place = front;
            let (hop, seen) = hops[place];
            let same = !is_elsewhere(place);
            match &mut paths.fronts[place].kind {
                FrontKind::Dns(_) => return LossCause::AffinityExpired,
                FrontKind::Ecmp(_) => {
                    let moved = path.peer != home.peer && hop.reason != Reason::Scheduled { tie: false };
                    return if moved { LossCause::AddressChanged } else { cause_in_front(hop.reason, false) };
                }
                FrontKind::Tier(tier) => {
                    if !same && tier.remembers && !is_function_of_request(hop.reason) {
                        continue;
                    }
                    let there = ServerId(home.instances[place + 1]);
                    // An address that the tier does not see has not made it choose otherwise.
                    let way = if seen == path.peer { (home.peer, seen) } else { (seen, seen) };
                    return if tier.lost_by_address(now, hop.instance, way, there, hop.reason) {
                        LossCause::AddressChanged
                    } else {
                        cause_in_front(hop.reason, tier.remembers)
                    };
                }
            }
        }
    }
}

//! What happens when nodes of a replicated store die, hang or do not hear each other, and when they are back.
//!
//! Who watches a primary is taken to be on the side of its replicas. So a primary of Redis that the others do not hear is replaced
//! while clients still write to it: what it took since is lost when it hears that it is a replica now. Nobody replaces a MySQL source
//! that answers.

use super::{Down, Mark, Replicated};
use crate::engine::SimTime;
use crate::store::durability::Durability;
use crate::store::records::{Gone, RecordId};
use crate::store::{Death, LinkCondition, NodeCondition, Why};

impl Replicated {
    /// Does what has become due by `now`: records that idled too long go, and a replica is promoted.
    pub(super) fn settle(&mut self, now: SimTime, shard: usize) {
        while let Some(id) = self.records.next_expired(now) {
            let shard = self.shard_of(id);
            self.forget(shard, id, None);
        }
        // With full coverage required, a promotion elsewhere matters here too.
        let shards = if self.full_coverage_after.is_some() { 0..self.shards.len() } else { shard..shard + 1 };
        for shard in shards {
            if let Some(down) = self.shards[shard].down
                && down.promotion <= now
            {
                self.promote(shard, down);
            }
        }
    }

    /// The most advanced replica takes the primary's place, without what it had not received.
    fn promote(&mut self, shard: usize, down: Down) {
        let nodes = self.per_shard();
        let replaced = self.shards[shard].primary;
        let may = |place: usize| {
            let node = shard * nodes + place;
            let hears = self.ailing.replication(node).cut_until <= down.promotion;
            let runs = self.ailing.node(node).hangs_until <= down.promotion;
            self.shards[shard].nodes[place].up && hears && runs && (place != replaced || down.death.is_some())
        };
        let candidates: Vec<usize> = (0..nodes).filter(|&place| may(place)).collect();
        if candidates.is_empty() {
            return;
        }
        let of_shard: Vec<RecordId> =
            self.records.stored().filter(|&id| self.shard_of(id) == shard).collect();
        let behind = |place: usize| {
            let late = |id: &&RecordId| self.marks[id.index() * nodes + place].last_received > down.since;
            of_shard.iter().filter(late).count()
        };
        let Some(promoted) = candidates.into_iter().min_by_key(|&place| (behind(place), place)) else {
            return;
        };
        self.shards[shard].primary = promoted;
        self.shards[shard].down = None;
        for id in of_shard {
            let mark = self.marks_of(id)[promoted];
            if mark.first_received > down.since {
                self.forget(shard, id, Some(Gone { why: Why::NodeLost, at: down.since }));
                continue;
            }
            self.costs.rolled_back += u64::from(mark.last_received > down.since);
            for (place, mark) in self.marks_of(id).iter_mut().enumerate() {
                if place == replaced {
                    *mark = Mark::all(SimTime::NEVER);
                    continue;
                }
                // The others follow the promoted one from here on.
                for time in [
                    &mut mark.first_received,
                    &mut mark.first_visible,
                    &mut mark.last_received,
                    &mut mark.last_visible,
                ] {
                    *time = (*time).min(down.promotion);
                }
            }
        }
    }

    /// Something befalls a node, or is over.
    pub(in crate::store) fn node_is(&mut self, now: SimTime, node: usize, condition: NodeCondition) {
        let (shard, place) = (node / self.per_shard(), node % self.per_shard());
        self.settle(now, shard);
        let before = self.ailing.node(node);
        self.ailing.set_node(node, condition);
        match (before.death, condition.death) {
            (None, Some(death)) => self.node_lost(now, shard, place, death),
            (Some(_), None) => self.node_back(now, shard, place),
            (None, None) | (Some(_), Some(_)) => {}
        }
        let hangs =
            |condition: NodeCondition| condition.hangs_until > SimTime::ZERO && condition.death.is_none();
        match (hangs(before), hangs(condition)) {
            (false, true) => self.primary_is_missed(now, shard, place, SimTime::NEVER),
            (true, false) if condition.death.is_none() => self.hears_again(now, shard, place),
            (true, _) | (false, false) => {}
        }
        // A promotion that takes no time comes before the next operation, and before anything else that happens now.
        self.settle(now, shard);
    }

    /// Something befalls the link from a node to the others, or is over.
    pub(in crate::store) fn replication_is(&mut self, now: SimTime, node: usize, condition: LinkCondition) {
        let (shard, place) = (node / self.per_shard(), node % self.per_shard());
        self.settle(now, shard);
        let was_cut = self.ailing.replication(node).cut_until > SimTime::ZERO;
        let is_cut = condition.cut_until > SimTime::ZERO;
        self.ailing.set_replication(node, condition);
        match (was_cut, is_cut, self.parts) {
            (false, true, Some(refuses_after)) => {
                let serves_until = refuses_after.map_or(SimTime::NEVER, |after| now + after);
                self.primary_is_missed(now, shard, place, serves_until);
            }
            (true, false, _) => self.hears_again(now, shard, place),
            (false, _, _) | (true, true, _) => {}
        }
    }

    /// Those who watch a primary do not hear it, though it lives.
    fn primary_is_missed(&mut self, now: SimTime, shard: usize, place: usize, serves_until: SimTime) {
        let it = &self.shards[shard];
        if place != it.primary || it.down.is_some() || it.nodes.len() == 1 {
            return;
        }
        let promotion = self.promotion(now, shard);
        if promotion != SimTime::NEVER {
            self.shards[shard].down = Some(Down { since: now, promotion, serves_until, death: None });
        }
    }

    /// When a replica takes the place of a primary that is missed from now on.
    fn promotion(&mut self, now: SimTime, shard: usize) -> SimTime {
        let it = &mut self.shards[shard];
        it.failures += 1;
        match &self.failover {
            Some(failover) => {
                let stream = &self.streams.failover;
                now + failover.detect + failover.rest.duration(stream, shard as u64, it.failures)
            }
            None => SimTime::NEVER,
        }
    }

    /// A node that lives hears the others again: a primary that nobody has replaced goes on, and who is behind catches up.
    fn hears_again(&mut self, now: SimTime, shard: usize, place: usize) {
        let node = shard * self.per_shard() + place;
        let still = self.ailing.replication(node).cut_until > SimTime::ZERO
            || self.ailing.node(node).hangs_until > SimTime::ZERO;
        if still || !self.shards[shard].nodes[place].up {
            return;
        }
        let is_primary = place == self.shards[shard].primary;
        if is_primary && self.shards[shard].down.is_some_and(|down| down.death.is_none()) {
            self.shards[shard].down = None;
        }
        let apart: Vec<bool> = (0..self.per_shard()).map(|other| self.is_apart(shard, other)).collect();
        for id in self.of_shard(shard) {
            let (mut copied, bytes) = (0, u64::from(self.records.get(id).bytes));
            for (other, mark) in self.marks_of(id).iter_mut().enumerate() {
                if mark.last_received == SimTime::NEVER && !apart[other] && (is_primary || other == place) {
                    *mark = Mark::all(now);
                    copied += 1;
                }
            }
            self.costs.messages(copied, bytes);
        }
    }

    /// Whether a node gets no copies.
    fn is_apart(&self, shard: usize, place: usize) -> bool {
        let node = shard * self.per_shard() + place;
        !self.shards[shard].nodes[place].up || self.ailing.replication(node).cut_until > SimTime::ZERO
    }

    fn of_shard(&self, shard: usize) -> Vec<RecordId> {
        self.records.stored().filter(|&id| self.shard_of(id) == shard).collect()
    }

    fn node_lost(&mut self, now: SimTime, shard: usize, place: usize, death: Death) {
        let it = &mut self.shards[shard];
        it.nodes[place].up = false;
        it.nodes[place].station.clear(now);
        if place == it.primary {
            // One that was missed already is replaced when it would have been.
            let missed = it.down.map(|down| (down.since, down.promotion));
            let (since, promotion) = match missed {
                Some(missed) => missed,
                None => (now, self.promotion(now, shard)),
            };
            self.shards[shard].down = Some(Down { since, promotion, serves_until: now, death: Some(death) });
        }
    }

    fn node_back(&mut self, now: SimTime, shard: usize, place: usize) {
        let it = &mut self.shards[shard];
        it.nodes[place].up = true;
        it.nodes[place].station.clear(now);
        (it.nodes[place].received, it.nodes[place].visible) = (now, now);
        match self.shards[shard].down {
            Some(Down { since, death: Some(death), .. }) if place == self.shards[shard].primary => {
                self.shards[shard].down = None;
                let durability = &mut self.shards[shard].durability;
                let kept = match death {
                    Death::Stopped if !matches!(durability, Durability::None) => Some(SimTime::NEVER),
                    Death::Process | Death::Stopped => durability.survives_until(since, false),
                    Death::Power => durability.survives_until(since, true),
                };
                for id in self.of_shard(shard) {
                    let record = *self.records.get(id);
                    if kept.is_none_or(|kept| record.created > kept) {
                        self.forget(shard, id, Some(Gone { why: Why::NodeLost, at: since }));
                    } else {
                        self.costs.rolled_back += u64::from(kept.is_some_and(|kept| record.written > kept));
                    }
                }
            }
            _ if self.is_apart(shard, place) => {}
            _ => {
                // A replica that is back copies all that the primary has.
                for id in self.of_shard(shard) {
                    let bytes = u64::from(self.records.get(id).bytes);
                    self.costs.messages(1, bytes);
                    self.marks_of(id)[place] = Mark::all(now);
                }
                if self.fails_back && place == 0 {
                    self.shards[shard].primary = 0;
                    let ids: Vec<RecordId> = self.records.stored().collect();
                    for id in ids {
                        self.marks_of(id)[1] = Mark::all(now);
                    }
                }
            }
        }
    }
}

//! What happens when nodes of a replicated store die and come back.

use super::{Down, Mark, Replicated};
use crate::engine::SimTime;
use crate::store::Why;
use crate::store::records::{Gone, RecordId};

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
        if self.shards[shard].nodes.iter().all(|node| !node.up) {
            return;
        }
        let nodes = self.per_shard();
        let of_shard: Vec<RecordId> =
            self.records.stored().filter(|&id| self.shard_of(id) == shard).collect();
        let behind = |place: usize| {
            let late = |id: &&RecordId| self.marks[id.index() * nodes + place].last_received > down.since;
            of_shard.iter().filter(late).count()
        };
        let candidates = (0..nodes).filter(|&place| self.shards[shard].nodes[place].up);
        let Some(promoted) = candidates.min_by_key(|&place| (behind(place), place)) else { return };
        let replaced = std::mem::replace(&mut self.shards[shard].primary, promoted);
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

    pub(in crate::store) fn node_lost(&mut self, now: SimTime, node: usize, power_loss: bool) {
        let (shard, place) = (node / self.per_shard(), node % self.per_shard());
        self.settle(now, shard);
        let it = &mut self.shards[shard];
        if !it.nodes[place].up {
            return;
        }
        it.nodes[place].up = false;
        it.nodes[place].station.clear(now);
        if place == it.primary {
            it.failures += 1;
            let promotion = match &self.failover {
                Some(failover) => {
                    let stream = &self.streams.failover;
                    now + failover.detect + failover.rest.duration(stream, shard as u64, it.failures)
                }
                None => SimTime::NEVER,
            };
            it.down = Some(Down { since: now, promotion, power_loss });
        }
        // A promotion that takes no time comes before the next operation, and before anything else that happens now.
        self.settle(now, shard);
    }

    pub(in crate::store) fn node_back(&mut self, now: SimTime, node: usize) {
        let (shard, place) = (node / self.per_shard(), node % self.per_shard());
        self.settle(now, shard);
        let it = &mut self.shards[shard];
        it.nodes[place].up = true;
        it.nodes[place].station.clear(now);
        (it.nodes[place].received, it.nodes[place].visible) = (now, now);
        let of_shard: Vec<RecordId> =
            self.records.stored().filter(|&id| self.shard_of(id) == shard).collect();
        match self.shards[shard].down {
            Some(down) if place == self.shards[shard].primary => {
                self.shards[shard].down = None;
                let kept = self.shards[shard].durability.survives_until(down.since, down.power_loss);
                for id in of_shard {
                    let record = *self.records.get(id);
                    if kept.is_none_or(|kept| record.created > kept) {
                        self.forget(shard, id, Some(Gone { why: Why::NodeLost, at: down.since }));
                    } else {
                        self.costs.rolled_back += u64::from(kept.is_some_and(|kept| record.written > kept));
                    }
                }
            }
            _ => {
                // A replica that is back copies all that the primary has.
                for id in of_shard {
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

//! Redis's eviction: who has to go when `maxmemory` is reached (`evict.c`, 7.0).
//!
//! A few keys are drawn and the best of them are kept in a pool from one eviction to the next; the best of the pool goes. So
//! `allkeys-lru` is near to, but not exactly, least recently used.

use super::plan::MaxmemoryPolicy;
use super::records::{RecordId, Records};
use crate::engine::{SimTime, Stream};

/// Candidates that are remembered (`EVPOOL_SIZE`).
const POOL: usize = 16;

/// Memory of one master beside each key's value \[B\]: dictionary entries of key and expiry, and the objects of both; an
/// assumption.
const OVERHEAD: u64 = 128;

/// The keys of one master and what they take.
#[derive(Clone, Debug, Default)]
pub struct Keyspace {
    keys: Vec<RecordId>,
    bytes: u64,
    /// Candidates: (when last used, key), longest unused first.
    pool: Vec<(SimTime, RecordId)>,
    evicted: u64,
}

impl Keyspace {
    /// What a session of so many bytes takes \[B\].
    pub fn size(bytes: u32) -> u64 {
        u64::from(bytes) + OVERHEAD
    }

    /// Memory in use \[B\].
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes in a key; returns its place.
    pub fn add(&mut self, id: RecordId, bytes: u32) -> u32 {
        self.bytes += Self::size(bytes);
        self.keys.push(id);
        (self.keys.len() - 1) as u32
    }

    /// Takes out the key at `place`; returns the key that has the place now, if any.
    pub fn remove(&mut self, place: u32, bytes: u32) -> Option<RecordId> {
        self.bytes -= Self::size(bytes);
        self.keys.swap_remove(place as usize);
        self.keys.get(place as usize).copied()
    }

    /// The key to evict, by the policy; `None` if it evicts nobody or there is none.
    pub fn victim(
        &mut self,
        policy: MaxmemoryPolicy,
        samples: u32,
        records: &Records,
        shard: u64,
        stream: &Stream,
    ) -> Option<RecordId> {
        let keys = u64::try_from(self.keys.len()).ok().filter(|&keys| keys > 0)?;
        self.evicted += 1;
        let mut draws = stream.draws(shard, self.evicted);
        let mut draw = || ((u128::from(draws.bits()) * u128::from(keys)) >> 64) as usize;
        match policy {
            MaxmemoryPolicy::NoEviction => None,
            MaxmemoryPolicy::Random => Some(self.keys[draw()]),
            // Every use sets the expiry anew, so what was used longest ago expires first.
            MaxmemoryPolicy::Lru | MaxmemoryPolicy::Ttl => {
                for _ in 0..samples {
                    let key = self.keys[draw()];
                    if self.pool.iter().all(|(_, pooled)| *pooled != key) {
                        self.pool.push((records.get(key).used, key));
                    }
                }
                self.pool.sort_unstable_by_key(|&(used, key)| (used, key.0));
                self.pool.truncate(POOL);
                // Keys that went or were used since they were drawn are no candidates.
                self.pool.retain(|&(used, key)| records.get(key).stored && records.get(key).used == used);
                if self.pool.is_empty() {
                    return Some(self.keys[draw()]);
                }
                Some(self.pool.remove(0).1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::SimDuration;
    use crate::ids::StreamId;

    #[test]
    fn sampling_evicts_old_keys_far_more_often_than_new_ones_and_random_does_not() {
        let stream = Stream::new(3, 0, StreamId::StoreEviction);
        let older_half = |policy| {
            let mut records = Records::default();
            let mut keyspace = Keyspace::default();
            for i in 0..1_000 {
                let id = records.add(SimTime::from_millis(i), i, 100, SimDuration::from_secs(1_800));
                keyspace.add(id, 100);
            }
            let victims = (0..200).filter_map(|_| keyspace.victim(policy, 5, &records, 0, &stream));
            victims.filter(|id| id.0 < 500).count()
        };
        assert_eq!(older_half(MaxmemoryPolicy::NoEviction), 0);
        let random = older_half(MaxmemoryPolicy::Random);
        assert!((80..=120).contains(&random), "{random}");
        assert!(older_half(MaxmemoryPolicy::Lru) >= 198, "five samples and a pool rarely take a newer half");
    }
}

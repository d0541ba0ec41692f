//! Redis's eviction: who has to go when `maxmemory` is reached (`evict.c`, 7.0).
//!
//! A few keys are drawn and the best of them are kept in a pool from one eviction to the next; the best of the pool goes. So
//! `allkeys-lru` is near to, but not exactly, least recently used, unless there are no more keys than are drawn.

use super::plan::MaxmemoryPolicy;
use super::records::{RecordId, Records};
use crate::engine::{SimDuration, SimTime, Stream};

/// Candidates that are remembered (`EVPOOL_SIZE`).
const POOL: usize = 16;

/// Memory of one master beside each key's value \[B\]: a key of 43 characters, such as phpredis makes, the value's object, and
/// the entries of key and expiry in their tables. Measured with 7.0.15 on Linux, as the growth of `used_memory`.
const OVERHEAD: u64 = 144;

/// Count of a key that is new (`LFU_INIT_VAL`).
const COUNT_NEW: u8 = 5;

/// Marks draws about a key's use, beside those about whom to look at.
const OF_USE: u64 = 1 << 63;

/// What an allocation of so many bytes takes: jemalloc's classes, four to each doubling from 128 on, in steps of 16 below.
fn allocated(bytes: u64) -> u64 {
    let step = if bytes <= 128 { 16 } else { (bytes - 1).next_power_of_two() / 8 };
    bytes.next_multiple_of(step)
}

/// How a policy looks at keys.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Whose turn it is.
    pub policy: MaxmemoryPolicy,
    /// Keys that are drawn for one eviction.
    pub samples: u32,
    /// `lfu-log-factor`.
    pub log_factor: u32,
    /// `lfu-decay-time`; zero for never.
    pub decay_time: SimDuration,
}

/// How often a key was used: a counter that grows ever more slowly and falls with time.
#[derive(Clone, Copy, Debug)]
struct Uses {
    count: u8,
    since: SimTime,
}

impl Uses {
    /// The count after what time has taken of it (`LFUDecrAndReturn`).
    fn count_at(self, now: SimTime, rule: &Rule) -> u8 {
        match rule.decay_time.0 {
            0 => self.count,
            decay => u8::try_from(now.since(self.since).0 / decay)
                .map_or(0, |periods| self.count.saturating_sub(periods)),
        }
    }
}

/// The keys of one master and what they take.
#[derive(Clone, Debug)]
pub struct Keyspace {
    rule: Rule,
    keys: Vec<RecordId>,
    bytes: u64,
    /// Candidates, the best first.
    pool: Vec<(u64, RecordId)>,
    evicted: u64,
    /// By record, where uses are counted.
    uses: Vec<Uses>,
}

impl Keyspace {
    /// Without keys.
    pub fn new(rule: Rule) -> Self {
        Self { rule, keys: Vec::new(), bytes: 0, pool: Vec::new(), evicted: 0, uses: Vec::new() }
    }

    /// What a session of so many bytes takes \[B\].
    pub fn size(bytes: u32) -> u64 {
        // Before and behind a text stand its length, kind and a zero (`sds.h`).
        let around = match bytes {
            0..256 => 4,
            256..65_536 => 6,
            65_536.. => 10,
        };
        allocated(u64::from(bytes) + around) + OVERHEAD
    }

    /// Memory in use \[B\].
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes in a key; returns its place.
    pub fn add(&mut self, now: SimTime, id: RecordId, bytes: u32) -> u32 {
        self.bytes += Self::size(bytes);
        self.keys.push(id);
        if self.rule.policy.counts_uses() {
            let new = Uses { count: COUNT_NEW, since: now };
            self.uses.resize(self.uses.len().max(id.index() + 1), new);
            self.uses[id.index()] = new;
        }
        (self.keys.len() - 1) as u32
    }

    /// A key is used (`updateLFU`, `LFULogIncr`); `name` names the draw.
    pub fn used(&mut self, now: SimTime, id: RecordId, stream: &Stream, name: (u64, u64)) {
        let Some(uses) = self.uses.get_mut(id.index()) else { return };
        let count = uses.count_at(now, &self.rule);
        let base = f64::from(count.saturating_sub(COUNT_NEW));
        let grows =
            stream.uniform(name.0 | OF_USE, name.1) < 1.0 / (base * f64::from(self.rule.log_factor) + 1.0);
        *uses = Uses { count: count.saturating_add(u8::from(grows)), since: now };
    }

    /// Takes out the key at `place`; returns the key that has the place now, if any.
    pub fn remove(&mut self, place: u32, bytes: u32) -> Option<RecordId> {
        self.bytes -= Self::size(bytes);
        self.keys.swap_remove(place as usize);
        self.keys.get(place as usize).copied()
    }

    /// How good a key is to evict; less is better. It is found again in the pool by this.
    fn rank(&self, now: SimTime, id: RecordId, records: &Records) -> u64 {
        let record = records.get(id);
        match self.rule.policy {
            MaxmemoryPolicy::VolatileTtl => record.expires().0,
            MaxmemoryPolicy::AllkeysLfu | MaxmemoryPolicy::VolatileLfu => {
                u64::from(self.uses[id.index()].count_at(now, &self.rule))
            }
            _ => record.used.0,
        }
    }

    /// The key to evict, by the policy; `None` if it evicts nobody or there is none.
    pub fn victim(
        &mut self,
        now: SimTime,
        records: &Records,
        shard: u64,
        stream: &Stream,
    ) -> Option<RecordId> {
        let keys = u64::try_from(self.keys.len()).ok().filter(|&keys| keys > 0)?;
        self.evicted += 1;
        let mut draws = stream.draws(shard, self.evicted);
        let mut draw = || ((u128::from(draws.bits()) * u128::from(keys)) >> 64) as usize;
        match self.rule.policy {
            MaxmemoryPolicy::NoEviction => return None,
            MaxmemoryPolicy::AllkeysRandom | MaxmemoryPolicy::VolatileRandom => {
                return Some(self.keys[draw()]);
            }
            _ => {}
        }
        let all = keys <= u64::from(self.rule.samples);
        for sample in 0..u64::from(self.rule.samples).min(keys) as usize {
            let key = self.keys[if all { sample } else { draw() }];
            if self.pool.iter().all(|(_, pooled)| *pooled != key) {
                self.pool.push((self.rank(now, key, records), key));
            }
        }
        self.pool.sort_unstable_by_key(|&(rank, key)| (rank, key.0));
        self.pool.truncate(POOL);
        // Keys that went or were used since they were drawn are no candidates.
        let mut pool = std::mem::take(&mut self.pool);
        pool.retain(|&(rank, key)| records.get(key).stored && self.rank(now, key, records) == rank);
        self.pool = pool;
        if self.pool.is_empty() {
            return Some(self.keys[draw()]);
        }
        Some(self.pool.remove(0).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::StreamId;

    fn rule(policy: MaxmemoryPolicy, samples: u32) -> Rule {
        Rule { policy, samples, log_factor: 10, decay_time: SimDuration::from_secs(60) }
    }

    /// So many keys, made a millisecond apart, each to live for as long as `idle` says.
    fn filled(rule: Rule, keys: u64, idle: impl Fn(u64) -> SimDuration) -> (Keyspace, Records) {
        let (mut records, mut keyspace) = (Records::default(), Keyspace::new(rule));
        for i in 0..keys {
            let now = SimTime::from_millis(i);
            let id = records.add(now, i, 100, idle(i));
            keyspace.add(now, id, 100);
        }
        (keyspace, records)
    }

    fn stream() -> Stream {
        Stream::new(3, 0, StreamId::StoreEviction)
    }

    const END: SimTime = SimTime::from_millis(10_000);

    #[test]
    fn sampling_evicts_old_keys_far_more_often_than_new_ones_and_random_does_not() {
        let older_half = |policy| {
            let (mut keyspace, records) = filled(rule(policy, 5), 1_000, |_| SimDuration::from_secs(1_800));
            let victims = (0..200).filter_map(|_| keyspace.victim(END, &records, 0, &stream()));
            victims.filter(|id| id.0 < 500).count()
        };
        assert_eq!(older_half(MaxmemoryPolicy::NoEviction), 0);
        let random = older_half(MaxmemoryPolicy::AllkeysRandom);
        assert!((80..=120).contains(&random), "{random}");
        let oldest = older_half(MaxmemoryPolicy::AllkeysLru);
        assert!(oldest >= 198, "five samples and a pool rarely take a newer half");
    }

    #[test]
    fn who_expires_first_goes_first_whoever_was_used_last() {
        let all = rule(MaxmemoryPolicy::VolatileTtl, 64);
        let (mut keyspace, records) = filled(all, 10, |i| SimDuration::from_secs(1_000 - 50 * i));
        assert_eq!(keyspace.victim(END, &records, 0, &stream()), Some(RecordId(9)));
    }

    #[test]
    fn the_counter_of_uses_grows_ever_more_slowly_and_falls_with_time() {
        // Goal: the table of `redis.conf` for factor 10: 100 hits 10, 1000 hits 18, 100 000 hits 142 (100K: 142 and 1M: 255 are
        // its). Method: 40 keys each; a growth by one has probability 1 / (10 base + 1), so the mean is within 1.5 of its limit.
        let all = rule(MaxmemoryPolicy::AllkeysLfu, 64);
        let (mut keyspace, records) = filled(all, 40, |_| SimDuration::from_secs(1_800));
        for key in 0..40 {
            for hit in 0..1_000 {
                keyspace.used(END, RecordId(key), &stream(), (key.into(), hit));
            }
        }
        let mean = |keyspace: &Keyspace, now| {
            (0..40).map(|key| keyspace.rank(now, RecordId(key), &records)).sum::<u64>() as f64 / 40.0
        };
        let after = mean(&keyspace, END);
        assert!((after - 18.0).abs() < 1.5, "{after}");
        let later = mean(&keyspace, END + SimDuration::from_secs(300));
        assert!((after - later - 5.0).abs() < 1e-9, "one for each of five minutes: {later}");
    }

    #[test]
    fn memory_is_what_redis_says_it_uses() {
        // `used_memory` of 7.0.15 grew by this for each of 16 384 keys of 43 characters with an expiry.
        for (bytes, used) in [(500, 656), (1_000, 1_168), (1_300, 1_680), (5_000, 5_264), (10_000, 10_384)] {
            assert_eq!(Keyspace::size(bytes), used);
        }
    }
}

//! AnchorHash (Mendelson, Vargaftik, Barabash, Lorenz, Keslassy and Orda, "AnchorHash: A Scalable Consistent Hash", IEEE/ACM
//! Transactions on Networking 29(2), 2021; arXiv 1812.09674, 2020), in its form of algorithm 3 with arrays A, K, W and L.
//! Compared with the authors' own code (anchorhash/cpp-anchorhash at 5258080d, `mem/AnchorHash.cpp`), which has A and K only
//! and walks over K for what W holds: a test does the same walk.
//!
//! The set of buckets is fixed. A key whose bucket was removed is hashed again among those that worked when it was
//! removed, and so on; so a removal moves only the keys of the bucket removed, and an addition, which is always of the
//! bucket removed last, only those that come to it. As in the paper's wrapper (algorithm 1) a server that comes back takes over
//! the bucket removed last, whosever it was before.
//!
//! One bucket per unit of configured weight (all in lowest terms), so the paper's capacity is that of the configuration;
//! weights that change at run time, other than to 0 and back, have no effect. A retry hashes another key.

use super::hash::mix;
use super::jump::{REHASHES_MAX, buckets};
use super::{ProxyRequest, ProxyServers};
use crate::balancer::{Balancer, Reason};
use crate::ids::ServerId;

/// The anchor and who has its buckets.
#[derive(Clone, Debug, Default)]
pub struct AnchorHash {
    /// The server of each bucket; of a removed one, the server that will get it back if all come back in order.
    owners: Vec<ServerId>,
    anchor: Anchor,
    /// Whether each server has its buckets now.
    is_in: Vec<bool>,
}

/// The paper's state; all arrays have one element per bucket.
#[derive(Clone, Debug, Default)]
struct Anchor {
    /// A: 0 for a bucket that works, else how many worked just after its removal.
    worked: Vec<u32>,
    /// K: which bucket took its place.
    successor: Vec<u32>,
    /// W: the working buckets come first.
    working: Vec<u32>,
    /// L: where in `working` a bucket stood last.
    place: Vec<u32>,
    /// N: how many work.
    count: u32,
    /// R: removed buckets, the last one on top.
    removed: Vec<u32>,
}

impl Anchor {
    /// All of `buckets` work.
    fn new(buckets: u32) -> Self {
        let identity: Vec<u32> = (0..buckets).collect();
        Self {
            worked: vec![0; buckets as usize],
            successor: identity.clone(),
            working: identity.clone(),
            place: identity,
            count: buckets,
            removed: Vec::with_capacity(buckets as usize),
        }
    }

    /// The bucket that a key falls to before it is known which of them work.
    #[inline]
    fn first(&self, key: u64) -> u32 {
        scale(key, self.worked.len() as u32)
    }

    /// `GETBUCKET`; some bucket works.
    #[inline]
    fn bucket(&self, key: u64) -> u32 {
        let mut bucket = self.first(key);
        loop {
            let worked = self.worked[bucket as usize];
            if worked == 0 {
                return bucket;
            }
            let mut next = scale(mix(key ^ mix(bucket.into())), worked);
            while self.worked[next as usize] >= worked {
                next = self.successor[next as usize];
            }
            bucket = next;
        }
    }

    /// `REMOVEBUCKET`, except that the last one goes as well: then no key may be asked for.
    fn remove(&mut self, bucket: u32) {
        self.removed.push(bucket);
        self.count -= 1;
        let last = self.working[self.count as usize];
        let place = self.place[bucket as usize];
        self.worked[bucket as usize] = self.count;
        self.working[place as usize] = last;
        self.place[last as usize] = place;
        self.successor[bucket as usize] = last;
    }

    /// `ADDBUCKET`: the bucket that was removed last.
    fn add(&mut self) -> Option<u32> {
        let bucket = self.removed.pop()?;
        let last = self.working[self.count as usize];
        self.worked[bucket as usize] = 0;
        self.place[last as usize] = self.count;
        self.working[self.place[bucket as usize] as usize] = bucket;
        self.successor[bucket as usize] = bucket;
        self.count += 1;
        Some(bucket)
    }
}

/// A uniform number below `bound`, from a uniform word.
#[inline]
fn scale(word: u64, bound: u32) -> u32 {
    ((u128::from(word) * u128::from(bound)) >> 64) as u32
}

impl AnchorHash {
    fn take_out(&mut self, server: ServerId) {
        for bucket in 0..self.owners.len() {
            if self.owners[bucket] == server {
                self.anchor.remove(bucket as u32);
            }
        }
    }

    fn bring_back(&mut self, server: ServerId) {
        // Its buckets among the removed ones; for each, it gets the one on top, and the owner of that gets its.
        for at in (0..self.anchor.removed.len()).rev() {
            let Some(&own) = self.anchor.removed.get(at) else { continue };
            if self.owners[own as usize] != server {
                continue;
            }
            if let Some(bucket) = self.anchor.add() {
                self.owners.swap(own as usize, bucket as usize);
            }
        }
    }
}

impl Balancer for AnchorHash {
    type Servers = ProxyServers;
    type Request = ProxyRequest;

    #[inline]
    fn pick(&mut self, servers: &mut ProxyServers, request: &mut ProxyRequest) -> Option<ServerId> {
        if self.anchor.count == 0 {
            // A server that was configured with weight 0 has no bucket.
            request.reason = Reason::Hashed;
            return servers.first_usable(request);
        }
        let bucket = self.anchor.bucket(request.key);
        let mut server = self.owners[bucket as usize];
        let first = self.anchor.first(request.key);
        if request.tries() == 0 && bucket == first {
            request.reason = Reason::Hashed;
            return Some(server);
        }
        let home = self.owners[first as usize];
        let mut key = request.key;
        for _ in 0..REHASHES_MAX {
            if servers.passed_over(server, request).is_none() {
                break;
            }
            key = mix(key.wrapping_add(1));
            server = self.owners[self.anchor.bucket(key) as usize];
        }
        if servers.passed_over(server, request).is_some() {
            server = servers.first_usable(request)?;
        }
        request.reason = servers.reason_of_hash(Some(home), server, request);
        Some(server)
    }

    fn servers_changed(&mut self, servers: &ProxyServers) {
        if self.owners.is_empty() {
            self.owners = buckets(servers);
            self.anchor = Anchor::new(self.owners.len() as u32);
            self.is_in = vec![true; servers.len()];
        }
        let mut usable = servers.usable().iter().peekable();
        for index in 0..servers.len() {
            let server = ServerId::from_index(index);
            let should = usable.next_if(|&&next| next == server).is_some();
            let is_in = std::mem::replace(&mut self.is_in[index], should);
            match (is_in, should) {
                (true, false) => self.take_out(server),
                (false, true) => self.bring_back(server),
                (true, true) | (false, false) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn removals_and_additions_move_only_what_they_must(
            buckets in 1_u32..40,
            changes in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
            keys in prop::collection::vec(any::<u64>(), 200),
        ) {
            let mut anchor = Anchor::new(buckets);
            for change in changes {
                let before: Vec<_> = keys.iter().map(|&key| anchor.bucket(key)).collect();
                let adds = anchor.count == 1 || (!anchor.removed.is_empty() && change.index(3) == 0);
                let changed = if adds {
                    let Some(bucket) = anchor.add() else { continue };
                    bucket
                } else {
                    let bucket = anchor.working[change.index(anchor.count as usize)];
                    anchor.remove(bucket);
                    bucket
                };
                for (&key, before) in keys.iter().zip(before) {
                    let after = anchor.bucket(key);
                    prop_assert_eq!(anchor.worked[after as usize], 0);
                    let concerned = if adds { after } else { before };
                    prop_assert!(before == after || changed == concerned);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn the_array_of_working_buckets_holds_what_the_authors_find_by_walking(
            buckets in 1_u32..40,
            changes in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
        ) {
            let mut anchor = Anchor::new(buckets);
            for change in changes {
                if anchor.count == 1 || (!anchor.removed.is_empty() && change.index(3) == 0) {
                    anchor.add();
                } else {
                    anchor.remove(anchor.working[change.index(anchor.count as usize)]);
                }
                // `ComputeTranslation(N - 1, N)`: who takes the place of the next bucket that is removed.
                let mut last = anchor.count - 1;
                while anchor.worked[last as usize] >= anchor.count {
                    last = anchor.successor[last as usize];
                }
                prop_assert_eq!(last, anchor.working[anchor.count as usize - 1]);
            }
        }
    }

    #[test]
    fn the_keys_of_removed_buckets_spread_evenly_over_the_rest() {
        let mut anchor = Anchor::new(20);
        for bucket in [3, 17, 0, 8, 9, 19, 2, 11, 12, 4] {
            anchor.remove(bucket);
        }
        let mut counts = [0_u32; 20];
        for key in 0..100_000 {
            counts[anchor.bucket(mix(key)) as usize] += 1;
        }
        // 10,000 each: standard deviation 95.
        for (bucket, &count) in counts.iter().enumerate() {
            let expected = if anchor.worked[bucket] == 0 { 10_000 } else { 0 };
            assert!(count.abs_diff(expected) < 5 * 95, "{bucket}: {count}");
        }
    }
}

//! Jump consistent hash (Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm", arXiv 1406.2294, 2014).
//!
//! The function maps a key to one of n numbered buckets and moves 1/n of the keys when a bucket is added *at the end*;
//! no other bucket can go. So the buckets are those of the configuration, one per unit of weight (all weights in lowest
//! terms) in its order, and a key whose bucket's server may not be used is hashed again, which moves no other key. Weights
//! that change at run time, other than to 0 and back, have no effect.

use super::hash::mix;
use super::slots::{configured, counts};
use super::{ProxyRequest, ProxyServers};
use crate::balancer::{Balancer, Reason};
use crate::ids::ServerId;

/// Buckets at most; larger weights are scaled down.
pub(super) const BUCKETS_MAX: u64 = 1 << 20;
/// How often a key is hashed again before the first usable server is taken.
pub(super) const REHASHES_MAX: u32 = 20;

/// The jump.
#[derive(Clone, Debug, Default)]
pub struct Jump {
    /// The server of each bucket.
    buckets: Vec<ServerId>,
}

/// The paper's function: the bucket of `key` among `buckets`, of which there is at least one.
#[inline]
pub fn jump(mut key: u64, buckets: u32) -> u32 {
    let (mut bucket, mut next) = (0, 0_i64);
    while next < i64::from(buckets) {
        bucket = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        next = ((bucket + 1) as f64 * ((1_i64 << 31) as f64 / ((key >> 33) + 1) as f64)) as i64;
    }
    bucket as u32
}

/// The server of each bucket when every server has as many as its configured weight.
pub(super) fn buckets(servers: &ProxyServers) -> Vec<ServerId> {
    let members = configured(servers);
    let counts = counts(&members, 1, BUCKETS_MAX);
    let of_member = members.iter().zip(counts);
    of_member.flat_map(|(member, count)| (0..count).map(|_| member.server)).collect()
}

impl Balancer for Jump {
    type Servers = ProxyServers;
    type Request = ProxyRequest;

    #[inline]
    fn pick(&mut self, servers: &mut ProxyServers, request: &mut ProxyRequest) -> Option<ServerId> {
        if self.buckets.is_empty() {
            // A server that was configured with weight 0 has no bucket.
            request.reason = Reason::Hashed;
            return servers.first_usable(request);
        }
        let count = self.buckets.len() as u32;
        let mut key = request.key;
        let home = self.buckets[jump(key, count) as usize];
        let mut server = home;
        let mut rehashes = 0;
        while servers.passed_over(server, request).is_some() {
            if rehashes == REHASHES_MAX {
                server = servers.first_usable(request)?;
                break;
            }
            rehashes += 1;
            key = mix(key.wrapping_add(1));
            server = self.buckets[jump(key, count) as usize];
        }
        request.reason = servers.reason_of_hash(Some(home), server, request);
        Some(server)
    }

    fn servers_changed(&mut self, servers: &ProxyServers) {
        if self.buckets.is_empty() {
            self.buckets = buckets(servers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers_of_the_function() {
        // Guava's `HashingTest`, `testConsistentHash_linearCongruentialGeneratorCompatibility`.
        let hundred = [0, 55, 62, 8, 45, 59, 86, 97, 82, 59, 73, 37, 17, 56, 86, 21, 90, 37, 38, 83];
        for (key, bucket) in (0..).zip(hundred) {
            assert_eq!(jump(key, 100), bucket, "{key}");
        }
        let eleven =
            [(10_863_919_174_838_991, 6), (2_016_238_256_797_177_309, 3), (1_673_758_223_894_951_030, 5)];
        for (key, bucket) in eleven {
            assert_eq!(jump(key, 11), bucket, "{key}");
        }
    }

    #[test]
    fn a_bucket_at_the_end_takes_keys_only_for_itself() {
        let mut moved = 0;
        for key in 0..20_000 {
            let (before, after) = (jump(mix(key), 9), jump(mix(key), 10));
            assert!(before == after || after == 9);
            moved += u32::from(before != after);
        }
        // 20,000 keys at a tenth: standard deviation 42.
        assert!(moved.abs_diff(2_000) < 5 * 42, "{moved}");
    }
}

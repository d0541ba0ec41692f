//! The ring of consistent hashing (Karger et al., "Consistent Hashing and Random Trees", STOC 1997).

use super::hash::xxh64;
use crate::ids::ServerId;

/// Points of a ring at most: Envoy's `maximum_ring_size`.
pub const POINTS_MAX: u64 = 8 << 20;

/// Points in order of their hashes, each owned by a server. A key belongs to the first point at or behind it, the circle
/// being closed.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    hashes: Box<[u64]>,
    owners: Box<[ServerId]>,
    /// For each value of a key's top bits, the first point at or behind it; so a lookup looks at about one point.
    starts: Box<[u32]>,
    /// How far down the top bits lie.
    shift: u32,
}

impl Ring {
    /// A ring of these points. Points of equal hash are in order of their owners.
    pub fn new(mut points: Vec<(u64, ServerId)>) -> Self {
        points.sort_unstable();
        let bits = points.len().next_power_of_two().trailing_zeros().max(1);
        let shift = u64::BITS - bits;
        let mut starts = vec![0; 1 << bits];
        for &(hash, _) in &points {
            if let Some(next) = starts.get_mut((hash >> shift) as usize + 1) {
                *next += 1;
            }
        }
        let mut before = 0;
        for start in &mut starts {
            before += *start;
            *start = before;
        }
        Self {
            hashes: points.iter().map(|&(hash, _)| hash).collect(),
            owners: points.iter().map(|&(_, owner)| owner).collect(),
            starts: starts.into(),
            shift,
        }
    }

    /// Adds `count` points of a server: XXH64 of its address, `_`, and the point's number, as Envoy places them
    /// (`ring_hash_lb.cc`, commit 0d2acde, `Ring::Ring`).
    pub fn add_points(points: &mut Vec<(u64, ServerId)>, address: &str, server: ServerId, count: u32) {
        for number in 0..count {
            points.push((xxh64(format!("{address}_{number}").as_bytes(), 0), server));
        }
    }

    /// The place of the point that `key` belongs to; 0 in a ring without points.
    #[inline]
    fn place(&self, key: u64) -> usize {
        let Some(&start) = self.starts.get((key >> self.shift) as usize) else { return 0 };
        let mut place = start as usize;
        while self.hashes.get(place).is_some_and(|&hash| hash < key) {
            place += 1;
        }
        if place < self.hashes.len() { place } else { 0 }
    }

    /// The server that `key` belongs to, or `None` in a ring without points.
    #[inline]
    pub fn owner(&self, key: u64) -> Option<ServerId> {
        self.owners.get(self.place(key)).copied()
    }

    /// The owners of all points, once round from that which `key` belongs to.
    #[inline]
    pub fn walk(&self, key: u64) -> impl Iterator<Item = ServerId> {
        let (before, from) = self.owners.split_at(self.place(key));
        from.iter().chain(before).copied()
    }

    /// Points on the ring.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there is no point.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// For each point its owner, and the share of the circle that belongs to it.
    pub fn shares(&self) -> impl Iterator<Item = (ServerId, f64)> {
        const WHOLE: f64 = 2.0 * (1_u64 << 63) as f64;
        let behind = |pair: &[u64]| (pair[1] - pair[0]) as f64 / WHOLE;
        // What no other point takes belongs to the first one, all of the circle if every point lies at its place.
        let ends = self.hashes.first().zip(self.hashes.last());
        let first = ends.map(|(first, last)| 1.0 - (last - first) as f64 / WHOLE);
        self.owners.iter().copied().zip(first.into_iter().chain(self.hashes.windows(2).map(behind)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_key_belongs_to_the_first_point_at_or_behind_it(
            hashes in prop::collection::vec(prop_oneof![any::<u64>(), 0_u64..4, (u64::MAX - 3)..], 0..40),
            keys in prop::collection::vec(any::<u64>(), 20),
        ) {
            let points: Vec<_> =
                hashes.iter().enumerate().map(|(i, &hash)| (hash, ServerId::from_index(i))).collect();
            let ring = Ring::new(points.clone());
            let edges = hashes.iter().flat_map(|&hash| [hash.wrapping_sub(1), hash, hash.wrapping_add(1)]);
            for key in keys.into_iter().chain(edges) {
                let behind = points.iter().filter(|(hash, _)| *hash >= key).min();
                let expected = behind.or(points.iter().min()).map(|&(_, owner)| owner);
                prop_assert_eq!(ring.owner(key), expected);
                prop_assert_eq!(ring.walk(key).next(), expected);
                prop_assert_eq!(ring.walk(key).count(), points.len());
            }
            let whole: f64 = ring.shares().map(|(_, share)| share).sum();
            prop_assert!(points.is_empty() || (whole - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn points_at_one_place_share_the_whole_circle() {
        let all = |points: &[(u64, ServerId)]| {
            Ring::new(points.to_vec()).shares().map(|(_, share)| share).collect::<Vec<_>>()
        };
        assert_eq!(all(&[(9, ServerId(0))]), [1.0]);
        assert_eq!(all(&[(u64::MAX - 3, ServerId(0)), (u64::MAX - 3, ServerId(1))]), [1.0, 0.0]);
    }
}

//! Where keys of memcached are: each client works out a key's node by itself, and all in the same way.
//!
//! Source: libmemcached 1.0.18 and 1.1.4 (`hosts.cc`, `update_continuum`; `hash.cc`; libhashkit's `one_at_a_time.cc` and `md5.cc`).
//! Node after node is compared with it by recordings and by the live arm of the conformance suite.

use std::net::SocketAddrV4;

use md5::{Digest, Md5};

use super::plan::KeyDistribution;
use crate::balancer::modern::ring::Ring;
use crate::ids::ServerId;

/// memcached's port, which libmemcached leaves out of a point's name.
const PORT: u16 = 11_211;

/// Points of a node where each is one hash (`MEMCACHED_POINTS_PER_SERVER`).
const POINTS: u32 = 100;

/// Points of a node where four come from one MD5 sum (`MEMCACHED_POINTS_PER_SERVER_KETAMA`).
const POINTS_WEIGHTED: f32 = 160.0;

/// Bob Jenkins's one-at-a-time hash, libmemcached's default.
fn one_at_a_time(text: &[u8]) -> u32 {
    let mixed = text.iter().fold(0_u32, |hash, &byte| {
        let hash = hash.wrapping_add(byte.into());
        let hash = hash.wrapping_add(hash << 10);
        hash ^ hash >> 6
    });
    let mixed = mixed.wrapping_add(mixed << 3);
    let mixed = mixed ^ mixed >> 11;
    mixed.wrapping_add(mixed << 15)
}

/// The four words of an MD5 sum, least significant byte first.
fn md5_words(text: &[u8]) -> [u32; 4] {
    let digest = Md5::digest(text);
    std::array::from_fn(|word| {
        digest[4 * word..4 * word + 4].iter().rev().fold(0, |hash, &byte| hash << 8 | u32::from(byte))
    })
}

/// The hash of a key, for clients that have set nothing else. A run needs none: it names sessions by numbers.
pub(crate) fn hash_of_key(distribution: KeyDistribution, key: &[u8]) -> u32 {
    match distribution {
        KeyDistribution::Modula | KeyDistribution::Ketama => one_at_a_time(key),
        KeyDistribution::KetamaWeighted => md5_words(key)[0],
    }
}

/// The name of a node's point, or of its MD5 sum.
fn point(address: SocketAddrV4, number: u32) -> String {
    match (address.ip(), address.port()) {
        (ip, PORT) => format!("{ip}-{number}"),
        (ip, port) => format!("{ip}:{port}-{number}"),
    }
}

/// MD5 sums of each of so many nodes of the same weight: 40, or one less where a share in single precision is a little short.
fn sums_of_a_node(nodes: usize) -> u32 {
    let share = 1.0 / nodes as f32;
    let sums = f64::from(share * POINTS_WEIGHTED / 4.0 * nodes as f32) + 1e-10;
    (sums as f32).floor() as u32
}

/// From a key's hash to its node.
#[derive(Clone, Debug)]
pub(crate) enum KeyMap {
    /// The remainder by the number of nodes.
    Modula(Vec<usize>),
    /// A ring, whose hashes are in the upper half of 64 bits.
    Ring(Ring),
}

impl KeyMap {
    /// Of nodes, each with its number and address, in the order in which clients know them.
    pub(crate) fn new(distribution: KeyDistribution, nodes: &[(usize, SocketAddrV4)]) -> Self {
        if distribution == KeyDistribution::Modula {
            return Self::Modula(nodes.iter().map(|&(node, _)| node).collect());
        }
        let mut points = Vec::new();
        for &(node, address) in nodes {
            let mut add = |hash| points.push((u64::from(hash) << 32, ServerId::from_index(node)));
            if distribution == KeyDistribution::Ketama {
                (0..POINTS).for_each(|number| add(one_at_a_time(point(address, number).as_bytes())));
            } else {
                let sums = 0..sums_of_a_node(nodes.len());
                sums.for_each(|number| {
                    md5_words(point(address, number).as_bytes()).into_iter().for_each(&mut add)
                });
            }
        }
        Self::Ring(Ring::new(points))
    }

    /// The node of a key; `None` if there is none.
    #[inline]
    pub(crate) fn node(&self, hash: u32) -> Option<usize> {
        match self {
            Self::Modula(nodes) => nodes.get(hash as usize % nodes.len().max(1)).copied(),
            Self::Ring(ring) => ring.owner(u64::from(hash) << 32).map(ServerId::index),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn keys_go_where_a_client_library_sends_them() {
        // pylibmc 1.6.3 with libmemcached 1.1.4: `Client(["10.11.0.1:11211", ...]).hash(key)`, and the same at port 22001 and up.
        let keys: Vec<String> = (0..12).map(|number| format!("memc.sess.key.{number:026}")).collect();
        for (distribution, port, expected) in [
            (KeyDistribution::KetamaWeighted, 0, [2, 3, 2, 0, 1, 3, 1, 3, 2, 0, 0, 2]),
            (KeyDistribution::KetamaWeighted, 22_000, [1, 1, 0, 0, 1, 1, 0, 0, 0, 2, 2, 2]),
            (KeyDistribution::Ketama, 0, [2, 0, 3, 2, 1, 1, 1, 3, 2, 3, 3, 3]),
            (KeyDistribution::Ketama, 22_000, [2, 3, 2, 2, 2, 1, 2, 1, 0, 2, 0, 3]),
        ] {
            let nodes: Vec<_> = (0..4_u8)
                .map(|node| {
                    let address = match port {
                        0 => SocketAddrV4::new(Ipv4Addr::new(10, 11, 0, node + 1), PORT),
                        port => {
                            SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, node + 1), port + u16::from(node) + 1)
                        }
                    };
                    (usize::from(node), address)
                })
                .collect();
            let map = KeyMap::new(distribution, &nodes);
            let found: Vec<_> =
                keys.iter().filter_map(|key| map.node(hash_of_key(distribution, key.as_bytes()))).collect();
            assert_eq!(found, expected, "{distribution:?} at {port}");
        }
    }

    #[test]
    fn the_weighted_ring_is_that_of_another_library() {
        // uhashring 2.5, `HashRing(nodes=[...], hash_fn='ketama')`: the nodes of keys with these hashes.
        let address = |last| SocketAddrV4::new(Ipv4Addr::new(10, 0, 1, last), 11_212);
        let nodes = [1, 2, 4].map(|last| (usize::from(last), address(last)));
        let map = KeyMap::new(KeyDistribution::KetamaWeighted, &nodes);
        for (hash, node) in
            [(3_111_502_092, 1), (4_027_091_530, 4), (892_186_567, 1), (1_065_285_923, 2), (1_642_386_589, 2)]
        {
            assert_eq!(map.node(hash), Some(node), "{hash}");
        }
    }
}

//! Subsets: each of many instances uses some of the servers only, so that it need not keep connections to all.
//!
//! Left out: Finagle's deterministic aperture (instances and servers on two rings, so that an instance may use a part of a
//! server), and what grows or shrinks a subset with the load.

use super::ProxyServer;
use crate::engine::Stream;

/// Which servers an instance uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Subset {
    /// All.
    #[default]
    All,
    /// Google's deterministic subsetting (Beyer, Jones, Petoff and Murphy, "Site Reliability Engineering", 2016, ch. 20). As
    /// many instances in a row as there are subsets are a round; each round has its own permutation of the servers, of which
    /// the instances of the round take one piece each. So numbers of instances at two servers differ by at most one, and by
    /// none after a full round. If the servers do not divide, some pieces are one longer, as the book's text has it; its
    /// listing leaves the rest of the servers out of the round.
    Deterministic {
        /// Servers of each instance, at least 1.
        size: u32,
    },
    /// A permutation of its own for each instance, of which it takes the first so many (the same chapter, which advises
    /// against it: by chance some servers are in many subsets, others in few).
    Random {
        /// Servers of each instance, at least 1.
        size: u32,
    },
}

impl Subset {
    /// Takes the weight from the servers that instance `number` of the tier `tier` does not use. Permutations are drawn from
    /// `stream`.
    pub fn take(self, servers: &mut [ProxyServer], tier: u64, number: u16, stream: &Stream) {
        let all = servers.len();
        let (permutation, begin, end) = match self {
            Self::All => return,
            Self::Deterministic { size } => {
                let pieces = (all / size as usize).max(1);
                let (round, piece) = (usize::from(number) / pieces, usize::from(number) % pieces);
                (round, piece * all / pieces, (piece + 1) * all / pieces)
            }
            Self::Random { size } => (usize::from(number), 0, (size as usize).min(all)),
        };
        let mut order: Vec<usize> = (0..all).collect();
        let entity = tier << 32 | permutation as u64;
        for place in (1..all).rev() {
            order.swap(place, stream.below(place as u64 + 1, entity, place as u64) as usize);
        }
        for (place, server) in order.into_iter().enumerate() {
            if !(begin..end).contains(&place) {
                servers[server].weight = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::StreamId;

    /// How many of so many instances use each server, and how many servers each uses.
    fn uses(subset: Subset, servers: usize, instances: u16) -> (Vec<u32>, Vec<usize>) {
        let stream = Stream::new(7, 0, StreamId::Subset);
        let mut by_server = vec![0; servers];
        let sizes = (0..instances).map(|instance| {
            let mut own = vec![ProxyServer { address: String::new(), weight: 1 }; servers];
            subset.take(&mut own, 0, instance, &stream);
            for (count, server) in by_server.iter_mut().zip(&own) {
                *count += server.weight;
            }
            own.iter().filter(|server| server.weight > 0).count()
        });
        let sizes = sizes.collect();
        (by_server, sizes)
    }

    #[test]
    fn deterministic_subsets_use_every_server_equally_often() {
        // The book's example (figure 20-5): 300 clients, 300 backends, subsets of 10: exactly 10 clients at each.
        let (by_server, sizes) = uses(Subset::Deterministic { size: 10 }, 300, 300);
        assert!(by_server.iter().all(|&count| count == 10));
        assert!(sizes.iter().all(|&size| size == 10));
        // Half a round more: nobody has more than one above another.
        let (by_server, _) = uses(Subset::Deterministic { size: 10 }, 300, 315);
        assert!(by_server.iter().all(|&count| count == 10 || count == 11));
    }

    #[test]
    fn servers_that_do_not_divide_make_some_subsets_one_longer() {
        let (by_server, sizes) = uses(Subset::Deterministic { size: 3 }, 11, 3);
        assert!(by_server.iter().all(|&count| count == 1));
        assert_eq!(sizes.iter().sum::<usize>(), 11);
        assert!(sizes.iter().all(|&size| size == 3 || size == 4), "{sizes:?}");
    }

    #[test]
    fn random_subsets_are_as_uneven_as_the_book_says() {
        // Figure 20-3: 300 clients, 300 backends, subsets of 90: the least has 57 clients, the most 109. With one draw of 300
        // binomials of mean 90 and deviation 7.9 the extremes are about 3 deviations out.
        let (by_server, sizes) = uses(Subset::Random { size: 90 }, 300, 300);
        assert!(sizes.iter().all(|&size| size == 90));
        let (least, most) = (by_server.iter().min(), by_server.iter().max());
        assert!(least.is_some_and(|&least| (50..75).contains(&least)), "{least:?}");
        assert!(most.is_some_and(|&most| (105..130).contains(&most)), "{most:?}");
    }
}

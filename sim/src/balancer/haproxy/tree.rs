//! Servers sorted by a key, equal ones in the order in which they came: what HAProxy's elastic binary trees (`eb32`) are
//! to its balancers.

/// Servers in order. It never holds more than it was made for, so it does not allocate.
///
/// Equal keys are frequent, since most servers have about the same load: those servers form a chain, and the chains are
/// sorted.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    /// One chain for each key, the smallest key last.
    chains: Vec<Chain>,
    /// By server: its neighbours in its chain, if it is in one.
    neighbours: Vec<Neighbours>,
}

/// The servers of one key, from the one that came first.
#[derive(Clone, Copy, Debug)]
struct Chain {
    key: u32,
    first: u16,
    last: u16,
}

/// Meaningless for the one before the first and the one behind the last.
#[derive(Clone, Copy, Debug, Default)]
struct Neighbours {
    before: u16,
    behind: u16,
}

impl Tree {
    /// An empty tree for so many servers.
    pub(super) fn new(servers: usize) -> Self {
        Self { chains: Vec::with_capacity(servers), neighbours: vec![Neighbours::default(); servers] }
    }

    /// Where the chain of `key` is or belongs.
    #[inline]
    fn place(&self, key: u32) -> usize {
        self.chains.partition_point(|chain| chain.key > key)
    }

    /// Puts a server behind those with an equal key.
    #[inline]
    pub(super) fn insert(&mut self, key: u32, server: u16) {
        let place = self.place(key);
        match self.chains.get_mut(place).filter(|chain| chain.key == key) {
            Some(chain) => {
                self.neighbours[usize::from(chain.last)].behind = server;
                self.neighbours[usize::from(server)].before = chain.last;
                chain.last = server;
            }
            None => self.chains.insert(place, Chain { key, first: server, last: server }),
        }
    }

    /// Takes a server out; it must be there under this key.
    #[inline]
    pub(super) fn remove(&mut self, key: u32, server: u16) {
        let place = self.place(key);
        let chain = &mut self.chains[place];
        debug_assert_eq!(chain.key, key, "server {server} is not in the tree");
        let Neighbours { before, behind } = self.neighbours[usize::from(server)];
        match (chain.first == server, chain.last == server) {
            (true, true) => _ = self.chains.remove(place),
            (true, false) => chain.first = behind,
            (false, true) => chain.last = before,
            (false, false) => {
                self.neighbours[usize::from(before)].behind = behind;
                self.neighbours[usize::from(behind)].before = before;
            }
        }
    }

    /// The server with the smallest key, the earliest of equals.
    #[inline]
    pub(super) fn first(&self) -> Option<u16> {
        self.chains.last().map(|chain| chain.first)
    }

    /// All servers, first to last.
    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = u16> {
        self.chains.iter().rev().flat_map(|chain| {
            std::iter::successors(Some(chain.first), |&server| {
                (server != chain.last).then(|| self.neighbours[usize::from(server)].behind)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equal_keys_come_out_in_the_order_in_which_they_went_in() {
        let mut tree = Tree::new(5);
        for (key, server) in [(7, 0), (3, 1), (7, 2), (3, 3), (9, 4)] {
            tree.insert(key, server);
        }
        assert_eq!(tree.iter().collect::<Vec<_>>(), [1, 3, 0, 2, 4]);
        tree.remove(3, 1);
        tree.insert(3, 1);
        tree.remove(7, 2);
        assert_eq!(tree.iter().collect::<Vec<_>>(), [3, 1, 0, 4]);
        assert_eq!(tree.first(), Some(3));
    }

    proptest! {
        #[test]
        fn it_is_a_list_sorted_by_key_and_time(changes in prop::collection::vec((0_u16..20, 0_u32..5), 1..200)) {
            let mut tree = Tree::new(20);
            let mut list: Vec<(u32, u16)> = Vec::new();
            for (server, key) in changes {
                if let Some(place) = list.iter().position(|&(_, other)| other == server) {
                    tree.remove(list.remove(place).0, server);
                } else {
                    tree.insert(key, server);
                    list.push((key, server));
                }
                let mut sorted = list.clone();
                sorted.sort_by_key(|&(key, _)| key);
                prop_assert!(tree.iter().eq(sorted.iter().map(|&(_, server)| server)));
                prop_assert_eq!(tree.first(), sorted.first().map(|&(_, server)| server));
            }
        }
    }
}

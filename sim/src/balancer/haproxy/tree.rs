//! Servers sorted by a key, equal ones in the order in which they came: what HAProxy's elastic binary trees (`eb32`) are
//! to its balancers.

/// A sorted list of servers. It never holds more than it was made for, so it does not allocate.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    /// Keys and servers, the first one last.
    entries: Vec<(u32, u16)>,
}

impl Tree {
    /// An empty tree for so many servers.
    pub(super) fn new(servers: usize) -> Self {
        Self { entries: Vec::with_capacity(servers) }
    }

    /// Puts a server behind those with an equal key.
    #[inline]
    pub(super) fn insert(&mut self, key: u32, server: u16) {
        let place = self.entries.partition_point(|&(other, _)| other > key);
        self.entries.insert(place, (key, server));
    }

    /// Takes a server out; it must be there under this key.
    #[inline]
    pub(super) fn remove(&mut self, key: u32, server: u16) {
        let start = self.entries.partition_point(|&(other, _)| other > key);
        let place = self.entries[start..].iter().position(|&(_, other)| other == server);
        debug_assert!(place.is_some(), "server {server} is not in the tree");
        if let Some(place) = place {
            self.entries.remove(start + place);
        }
    }

    /// The server with the smallest key, the earliest of equals.
    #[inline]
    pub(super) fn first(&self) -> Option<u16> {
        self.entries.last().map(|&(_, server)| server)
    }

    /// All servers, first to last.
    pub(super) fn iter(&self) -> impl Iterator<Item = u16> {
        self.entries.iter().rev().map(|&(_, server)| server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}

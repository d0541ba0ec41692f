//! The memory of a memcached node: pages that are given to classes of chunk sizes for good (memcached 1.6.18 with `-o no_modern`,
//! which is how 1.4 was; `slabs.c`, `slabs_init` and `do_slabs_newslab`; the live arm of the conformance suite compares both).
//!
//! The effect on sessions: one of 1.3 kB takes a chunk of 1.4 kB or more, and once all pages are given away a class evicts its own
//! even if other classes have room. Left out is what 1.5 and later do by default: pages move between classes (`slab_automove`),
//! lists have segments, items above half a page are stored in pieces. Sessions of one site are of few sizes, so that would
//! change little.

/// Bytes of a page, and of the largest item.
const PAGE: u64 = 1 << 20;

/// Bytes of an item's header, its `cas` number, a key such as PHP makes (`memc.sess.key.` and 26 characters), and what ends key and
/// value; flags are 0 and take none.
const OVERHEAD: u64 = 48 + 8 + 40 + 1 + 2;

/// Classes at most (`MAX_NUMBER_OF_SLAB_CLASSES`, of which one is none).
const CLASSES_MAX: usize = 63;

/// Classes of chunk sizes, smallest first \[B\].
#[derive(Clone, Debug)]
pub struct Classes(Vec<u64>);

impl Classes {
    /// From the smallest chunk on, each larger by `factor`, rounded up to 8 bytes, the last one page.
    pub fn new(chunk_min: u32, factor: f64) -> Self {
        let mut sizes = Vec::new();
        let mut size = 48.0 + f64::from(chunk_min);
        while size <= PAGE as f64 / factor && sizes.len() < CLASSES_MAX - 1 {
            let rounded = (size as u64).next_multiple_of(8);
            sizes.push(rounded);
            size = rounded as f64 * factor;
        }
        sizes.push(PAGE);
        Self(sizes)
    }

    /// The class of a session of so many bytes; `None` if it is larger than a page.
    pub fn of(&self, bytes: u32) -> Option<usize> {
        let item = u64::from(bytes) + OVERHEAD;
        self.0.iter().position(|&size| size >= item)
    }

    /// Number of classes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Bytes of a class's chunks.
    pub fn size(&self, class: usize) -> u64 {
        self.0[class]
    }

    /// Chunks of a page.
    pub fn per_page(&self, class: usize) -> u64 {
        PAGE / self.0[class]
    }
}

/// The pages of one node.
#[derive(Clone, Debug)]
pub struct Pages {
    /// Memory for items, and what pages have taken of it \[B\].
    limit: u64,
    given: u64,
    /// By class.
    chunks: Vec<u64>,
}

impl Pages {
    /// Of a node with so much memory for items \[B\].
    pub fn new(memory: u64, classes: &Classes) -> Self {
        Self { limit: memory, given: 0, chunks: vec![0; classes.len()] }
    }

    /// Whether a class that has `used` chunks in use has room for one more, taking a page for it if there is one: no more than the
    /// chunks that fit one. A class without a page gets its first even beyond the limit.
    pub fn has_room(&mut self, class: usize, used: u32, classes: &Classes) -> bool {
        if u64::from(used) < self.chunks[class] {
            return true;
        }
        let page = classes.per_page(class) * classes.size(class);
        if self.given + page <= self.limit || self.chunks[class] == 0 {
            self.given += page;
            self.chunks[class] += classes.per_page(class);
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_sizes_are_those_that_memcached_prints_at_its_start() {
        // `memcached -vv -o no_modern`: chunk size and chunks per slab of classes 1 to 6.
        let classes = Classes::new(48, 1.25);
        let printed = [(96, 10922), (120, 8738), (152, 6898), (192, 5461), (240, 4369), (304, 3449)];
        for (class, (size, per_page)) in printed.into_iter().enumerate() {
            assert_eq!((classes.size(class), classes.per_page(class)), (size, per_page));
        }
        assert_eq!(classes.len(), 42);
        assert_eq!(classes.of(1), Some(1), "100 bytes need a chunk of 120");
        assert_eq!(classes.of(2_000_000), None);
    }

    #[test]
    fn a_class_that_comes_late_gets_one_page_and_no_more() {
        let classes = Classes::new(48, 1.25);
        let mut pages = Pages::new(2 << 20, &classes);
        assert!(pages.has_room(0, 0, &classes) && pages.has_room(0, 10_922, &classes));
        assert!(!pages.has_room(0, 21_844, &classes), "two pages are all");
        assert!(pages.has_room(9, 0, &classes), "the first page of a class is always had");
        assert!(!pages.has_room(9, 1_000_000, &classes));
    }
}

//! The paths of a log's requests, for balancers that hash them.
//!
//! A log can have millions of distinct paths, so their texts have a budget. Paths that come when it is spent are known by 31
//! bits of their hash: requests for the same path stay together, requests for others apart (save that of a million such
//! paths some 200 pairs meet), but where a program's own hash would put the text cannot be told.

use super::intern::Texts;

/// Bytes of tables that a path takes beside its text, at most.
const OVERHEAD_BYTES: usize = 40;

/// Stands for a request without a path.
pub(super) const NO_PATH: u32 = u32::MAX;

/// Set in the numbers of paths that are known by their hash.
const HASHED: u32 = 1 << 31;

/// What is known of a request's path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoggedPath<'a> {
    /// The target as logged, with its query.
    Text(&'a [u8]),
    /// Some path, the same for the same number.
    Hash(u32),
    /// The request is none, or paths were not kept.
    None,
}

/// Distinct paths up to a budget.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    texts: Texts,
    bytes_max: usize,
    /// Requests whose path is known by its hash.
    hashed: u64,
}

impl Paths {
    /// No path yet; at most `bytes_max` bytes of texts and tables.
    pub fn new(bytes_max: usize) -> Self {
        Self { texts: Texts::default(), bytes_max, hashed: 0 }
    }

    /// As [`super::intern::HashIndex::ask_for`].
    #[inline]
    pub fn ask_for(&self, hash: u32) {
        self.texts.index().ask_for(hash);
    }

    /// What stands for the path `text`, of this hash, in records.
    pub fn number(&mut self, hash: u32, text: &[u8]) -> u32 {
        if text.is_empty() {
            return NO_PATH;
        }
        if let Some(number) = self.texts.find(hash, text) {
            return number;
        }
        // What does not fit now will not fit later, so a path has one number.
        let bytes = self.texts.bytes() + text.len() + OVERHEAD_BYTES * (self.texts.len() + 1);
        let added = if bytes <= self.bytes_max { self.texts.number(hash, text).ok() } else { None };
        added.filter(|&number| number < HASHED).unwrap_or_else(|| {
            self.hashed += 1;
            HASHED | (hash >> 1).min(HASHED - 2)
        })
    }

    /// The path that `number` stands for.
    pub fn get(&self, number: u32) -> LoggedPath<'_> {
        match number {
            NO_PATH => LoggedPath::None,
            HASHED.. => LoggedPath::Hash(number - HASHED),
            _ => LoggedPath::Text(self.texts.get(number)),
        }
    }

    /// Distinct paths that are kept as text.
    pub fn kept(&self) -> u64 {
        self.texts.len() as u64
    }

    /// Requests whose path is known by its hash.
    pub fn hashed(&self) -> u64 {
        self.hashed
    }
}

#[cfg(test)]
mod tests {
    use super::super::intern::hash_of;
    use super::*;

    #[test]
    fn paths_within_the_budget_are_texts_and_those_beyond_stay_apart() {
        let mut paths = Paths::new(3 * OVERHEAD_BYTES);
        let mut number = |text: &str| paths.number(hash_of(text.as_bytes()), text.as_bytes());
        let numbers: Vec<_> = ["/a", "/long-enough-to-be-refused".repeat(5).as_str(), "/b", "/c", "/d", ""]
            .into_iter()
            .chain(["/a", "/c", "/d"])
            .map(&mut number)
            .collect();
        assert_eq!((numbers[0], numbers[2], numbers[5]), (0, 1, NO_PATH));
        assert!([1, 3, 4].iter().all(|&at| numbers[at] >= HASHED), "{numbers:?}");
        assert_eq!(numbers[6..], [numbers[0], numbers[3], numbers[4]]);
        assert_ne!(numbers[3], numbers[4]);
        assert_eq!((paths.kept(), paths.hashed()), (2, 5));
        assert_eq!(paths.get(1), LoggedPath::Text(b"/b"));
        assert_eq!(paths.get(numbers[3]), LoggedPath::Hash(numbers[3] - HASHED));
        assert_eq!(paths.get(NO_PATH), LoggedPath::None);
    }
}

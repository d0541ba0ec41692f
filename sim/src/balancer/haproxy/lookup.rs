//! What all hash methods share: `hash-type`, and the table or ring that a hash is looked up in.
//!
//! HAProxy 2.6, `src/backend.c` (`assign_server`, `get_server_*h`, `gen_hash`) and `src/cfgparse-listen.c` for
//! `hash-type`.

use super::functions::{HashFunction, avalanche};
use super::map::Map;
use super::ring::Ring;
use super::{HaproxyRequest, Servers};
use crate::balancer::{Reason, Skipped};
use crate::ids::ServerId;

/// `hash-type`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HashType {
    /// `consistent` rather than `map-based`.
    pub consistent: bool,
    /// The function.
    pub function: HashFunction,
    /// `avalanche`: the hash goes through one more mixing step.
    pub avalanche: bool,
}

impl HashType {
    /// The words behind `hash-type`. `consistent` alone is `consistent sdbm avalanche`.
    ///
    /// # Errors
    /// The word that is unknown or out of place.
    pub fn parse(words: &str) -> Result<Self, UnknownWord> {
        let mut words = words.split_whitespace();
        let unknown = |word: &str| Err(UnknownWord { directive: "hash-type", word: word.to_owned() });
        let consistent = match words.next() {
            None | Some("map-based") => false,
            Some("consistent") => true,
            Some(other) => return unknown(other),
        };
        let Some(name) = words.next() else {
            return Ok(Self { consistent, avalanche: consistent, ..Self::default() });
        };
        let Some(&(_, function)) = HashFunction::NAMES.iter().find(|(known, _)| *known == name) else {
            return unknown(name);
        };
        let avalanche = match words.next() {
            None => false,
            Some("avalanche") => true,
            Some(other) => return unknown(other),
        };
        match words.next() {
            None => Ok(Self { consistent, function, avalanche }),
            Some(other) => unknown(other),
        }
    }

    /// The hash of a key.
    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> u32 {
        self.finish(self.function.hash(key))
    }

    /// A hash that does not come from the function.
    #[inline]
    pub(super) fn finish(&self, hash: u32) -> u32 {
        if self.avalanche { avalanche(hash) } else { hash }
    }
}

/// A word that a directive does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{directive}` does not know `{word}`")]
pub struct UnknownWord {
    /// The directive.
    pub directive: &'static str,
    /// The word, as written.
    pub word: String,
}

/// `hash-type` and `hash-balance-factor` of a backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HashOptions {
    /// `hash-type`.
    pub hash_type: HashType,
    /// `hash-balance-factor` \[percent\]; 0 is none. Without effect on a table.
    pub balance_factor: u32,
}

/// The table or the ring.
#[derive(Clone, Debug)]
enum Structure {
    Map(Map),
    Ring(Ring),
}

/// Looks hashes up.
#[derive(Clone, Debug)]
pub(super) struct Lookup {
    pub(super) options: HashOptions,
    structure: Structure,
}

impl Lookup {
    pub(super) fn new(options: HashOptions) -> Self {
        let structure = if options.hash_type.consistent {
            Structure::Ring(Ring::default())
        } else {
            Structure::Map(Map::default())
        };
        Self { options, structure }
    }

    pub(super) fn servers_changed(&mut self, servers: &Servers) {
        match &mut self.structure {
            Structure::Map(map) => map.rebuild(servers),
            Structure::Ring(ring) => ring.update(servers),
        }
    }

    /// The server of the request's key; round robin over the table or the ring if it has none.
    #[inline]
    pub(super) fn pick(&mut self, servers: &Servers, request: &mut HaproxyRequest) -> Option<ServerId> {
        match request.key_hash {
            Some(hash) => self.hashed(servers, request, hash),
            None => {
                request.reason = Reason::Scheduled { tie: false };
                match &mut self.structure {
                    Structure::Map(map) => map.next(servers, request.avoid),
                    Structure::Ring(ring) => ring.next(servers, request.avoid),
                }
            }
        }
    }

    /// As [`Lookup::pick`], but the only usable server is given whether or not there is a key, without a turn of round
    /// robin.
    #[inline]
    pub(super) fn pick_unless_single(
        &mut self,
        servers: &Servers,
        request: &mut HaproxyRequest,
    ) -> Option<ServerId> {
        if servers.used() == 1 { self.hashed(servers, request, 0) } else { self.pick(servers, request) }
    }

    #[inline]
    fn hashed(&self, servers: &Servers, request: &mut HaproxyRequest, hash: u32) -> Option<ServerId> {
        request.reason = Reason::Hashed;
        match &self.structure {
            Structure::Map(map) => map.lookup(hash),
            Structure::Ring(ring) => {
                let found = ring.lookup(servers, hash, request.avoid, self.options.balance_factor)?;
                if !found.nearest {
                    let skipped = if request.avoid.is_some() { Skipped::Tried } else { Skipped::Full };
                    request.reason = Reason::Rehashed(skipped);
                }
                Some(found.server)
            }
        }
    }
}

impl Default for Lookup {
    fn default() -> Self {
        Self::new(HashOptions::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consistent_alone_mixes_and_consistent_with_a_function_does_not() {
        let parse = |words| HashType::parse(words).expect(words);
        assert!(parse("consistent").avalanche);
        assert!(!parse("consistent sdbm").avalanche);
        assert!(!parse("map-based").avalanche && !parse("").consistent);
        assert_eq!(
            parse("map-based wt6 avalanche"),
            HashType { consistent: false, function: HashFunction::Wt6, avalanche: true }
        );
        let error = HashType::parse("consistent md5").expect_err("unknown").to_string();
        assert_eq!(error, "`hash-type` does not know `md5`");
    }
}

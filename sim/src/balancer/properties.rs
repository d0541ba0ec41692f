//! What every algorithm says of itself: where its rules are from, how it shares requests out, what it ties a client to, and
//! what a pick costs. Tests, benches and the reference page go by it.

use std::fmt;

/// What an entry of the catalogue says of its algorithm. It speaks of fresh picks with the program's default options: of
/// requests that nothing but the algorithm ties to a server (no template, cookie or stick-table entry).
///
/// For every algorithm alike, and so not declared: no fresh pick falls on a server that is down or has weight 0, and equal
/// inputs have equal answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Properties {
    /// What it follows: program, version and file, or paper.
    pub source: &'static str,
    /// What each server gets.
    pub shares: Shares,
    /// What a client's server depends on, and who moves when a server goes.
    pub ties: Ties,
    /// Whether a request can be refused although a server could take it.
    pub refuses: Refuses,
    /// What a pick costs.
    pub cost: Cost,
}

/// What each server gets of many requests of as many clients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shares {
    /// Its weight, over all weights.
    ByWeight(Grain),
    /// The same to each, whatever the weights.
    Equal,
    /// Of requests that stay open its weight over all weights. Who gets those that come when nothing is open is decided
    /// by turns or by the order of the servers.
    OpenByWeight,
    /// Of requests that stay open the same to each. Those that come when nothing is open go by the order of the servers.
    OpenEqual,
    /// One server gets everything.
    OneServer,
    /// Something else.
    Other(&'static str),
}

/// How closely the shares of a table or ring meet the weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Grain {
    /// As closely as one likes.
    Exact,
    /// A table of so many places is dealt out, so a share is off by as many places as a server takes in a turn.
    Places(u32),
    /// Each unit of weight has so many points on a circle. With n points in all, the share s has a standard deviation of
    /// `sqrt(s (1 - s) / n)`.
    Points(u32),
    /// So many points on a circle for all servers together.
    PointsInAll(u32),
}

/// What a client's server depends on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ties {
    /// Every request is chosen for anew.
    Nothing,
    /// The client's address, or a key where one is configured.
    Client {
        /// Who moves when a server is marked as down or taken out at run time.
        out: Moves,
        /// Who moves when a server is struck from the configuration.
        deleted: Moves,
    },
    /// The address that the client calls.
    Called {
        /// Who moves when a server is removed.
        out: Moves,
        /// Who moves when a server is struck from the configuration.
        deleted: Moves,
    },
}

/// How many clients of servers that stay move when one of ten equal servers goes. Its own clients always do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Moves {
    /// Nobody.
    Nobody,
    /// At most this share of all clients.
    AtMost(f64),
    /// Up to all of them.
    Unbounded,
}

/// Whether a request can be refused although a server could take it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Refuses {
    /// Never.
    Never,
    /// In this case.
    When(&'static str),
}

/// How the work of a pick grows with the servers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cost {
    /// A hash or a turn, and an entry of a table: the same for any number.
    Table,
    /// Arithmetic, and an entry of a table: the same for any number, or nearly.
    Arithmetic,
    /// Dependent steps of arithmetic, as many as the logarithm of the number says.
    Steps,
    /// A few random draws: the same for any number.
    Draws,
    /// A search on a ring of sorted points.
    Ring,
    /// A way through a tree of servers.
    Tree,
    /// A look at every server, and why it cannot be less.
    Scan(&'static str),
}

impl Properties {
    /// Nanoseconds that a pick may take among so many servers: 30 among 16 with a table or arithmetic, 200 among 1,000
    /// with all but a scan. `None` for other numbers, and where nothing is promised.
    pub fn budget_ns(&self, servers: usize) -> Option<f64> {
        match (servers, self.cost) {
            (16, Cost::Table | Cost::Arithmetic) => Some(30.0),
            (1_000, Cost::Table | Cost::Arithmetic | Cost::Steps | Cost::Draws | Cost::Ring | Cost::Tree) => {
                Some(200.0)
            }
            _ => None,
        }
    }
}

impl fmt::Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByWeight(Grain::Exact) => f.write_str("by weight"),
            Self::ByWeight(Grain::Places(places)) => write!(f, "by weight, in {places} places"),
            Self::ByWeight(Grain::Points(points)) => write!(f, "by weight, {points} points a unit"),
            Self::ByWeight(Grain::PointsInAll(points)) => write!(f, "by weight, {points} points in all"),
            Self::Equal => f.write_str("equal"),
            Self::OpenByWeight => f.write_str("of open requests by weight"),
            Self::OpenEqual => f.write_str("of open requests equal"),
            Self::OneServer => f.write_str("all to one"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

impl fmt::Display for Ties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing",
            Self::Client { .. } => "client",
            Self::Called { .. } => "address called",
        })
    }
}

impl fmt::Display for Moves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("nobody"),
            Self::AtMost(share) => write!(f, "at most {} %", share * 100.0),
            Self::Unbounded => f.write_str("up to all"),
        }
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Table => "table",
            Self::Arithmetic => "arithmetic",
            Self::Steps => "steps",
            Self::Draws => "draws",
            Self::Ring => "ring",
            Self::Tree => "tree",
            Self::Scan(_) => "scan",
        })
    }
}

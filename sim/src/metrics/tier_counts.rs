//! What happened at the tiers of a run, in one phase.

use super::Histogram;

/// Counts of instances, directors and their sync daemons.
#[derive(Clone, Debug, Default)]
pub struct TierCounts {
    /// What each instance decided, front to back: connections at layer 4, requests at layer 7. Empty with one instance.
    pub instances: Vec<u64>,
    /// Connections that a director reset since it did not know them.
    pub connections_reset: u64,
    /// Datagrams of the sync daemons.
    pub sync_messages: u64,
    /// Their bytes.
    pub sync_bytes: u64,
    /// Times that a virtual address moved to the other director of a pair.
    pub takeovers: u64,
    /// Times during which packets to a virtual address reached nobody, by their beginning.
    pub silent: Histogram,
}

impl TierCounts {
    /// Adds another phase's counts.
    pub fn merge(&mut self, other: &Self) {
        self.instances.iter_mut().zip(&other.instances).for_each(|(mine, theirs)| *mine += theirs);
        for (mine, theirs) in [
            (&mut self.connections_reset, other.connections_reset),
            (&mut self.sync_messages, other.sync_messages),
            (&mut self.sync_bytes, other.sync_bytes),
            (&mut self.takeovers, other.takeovers),
        ] {
            *mine += theirs;
        }
        self.silent.merge(&other.silent);
    }
}

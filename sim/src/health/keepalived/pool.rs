//! The pool of a virtual server: who of its real servers is in the director's table, and when the sorry server is.
//!
//! Source: keepalived 2.2.7, `ipwrapper.c` (`init_service_rs`, `perform_svr_state`, `update_quorum_state`) and
//! `check_data.c` (the limits of quorum and hysteresis).
//!
//! `omega` and the notification scripts change no traffic and are not here.

use crate::ids::ServerId;

/// The options of a `virtual_server` that decide who is in its pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolConfig {
    /// `quorum`: weight of living servers below which the sorry server takes over; at least 1.
    pub quorum: u32,
    /// `hysteresis`: so much below the quorum it is lost, so much above it is gained; less than the quorum.
    pub hysteresis: u32,
    /// `sorry_server`: which takes all clients while there is no quorum. It is not one of the pool.
    pub sorry_server: Option<ServerId>,
    /// `inhibit_on_failure`: a server that fails stays, with weight 0.
    pub inhibit_on_failure: bool,
}

impl Default for PoolConfig {
    /// keepalived's defaults.
    fn default() -> Self {
        Self { quorum: 1, hysteresis: 0, sorry_server: None, inhibit_on_failure: false }
    }
}

/// What is to be done to the director's table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PoolChange {
    /// `ipvsadm -a` with this weight.
    Add(ServerId, u32),
    /// `ipvsadm -e -w`.
    Weight(ServerId, u32),
    /// `ipvsadm -d`.
    Remove(ServerId),
}

/// A pool at work.
#[derive(Clone, Debug)]
pub struct Pool {
    config: PoolConfig,
    /// Weights of its servers by id; `None` for a server that is not in it.
    weights: Vec<Option<u32>>,
    /// Whether the checks leave each server in; same length.
    alive: Vec<bool>,
    /// Whether each server was ever in the table and is kept there with weight 0; same length.
    kept: Vec<bool>,
    quorum: bool,
}

impl Pool {
    /// The pool of a keepalived that starts: servers are `alive` or, in alpha mode, not yet. The changes that make the
    /// table so are appended to `changes`.
    pub fn new(
        config: PoolConfig,
        weights: Vec<Option<u32>>,
        alive: bool,
        changes: &mut Vec<PoolChange>,
    ) -> Self {
        let whole = weights.iter().flatten().sum::<u32>().max(1);
        let quorum = config.quorum.clamp(1, whole);
        let config = PoolConfig { quorum, hysteresis: config.hysteresis.min(quorum - 1), ..config };
        let servers = weights.len();
        let mut pool =
            Self { config, weights, alive: vec![alive; servers], kept: vec![false; servers], quorum: true };
        for server in (0..servers).map(ServerId::from_index) {
            match pool.weights[server.index()] {
                Some(weight) if alive => pool.put(server, weight, changes),
                Some(_) if config.inhibit_on_failure => pool.put(server, 0, changes),
                Some(_) | None => {}
            }
        }
        pool.count(changes);
        pool
    }

    /// Whether the living servers are enough.
    pub fn has_quorum(&self) -> bool {
        self.quorum
    }

    /// Whether a server is in the table as one that takes clients.
    pub fn lists(&self, server: ServerId) -> bool {
        let sorry = self.config.sorry_server;
        match self.weights.get(server.index()) {
            Some(Some(_)) => self.alive[server.index()] && (self.quorum || sorry.is_none()),
            Some(None) | None => sorry == Some(server) && !self.quorum,
        }
    }

    /// A server's checks leave it in from now on, or not. No effect for one that is not in the pool.
    pub fn set_alive(&mut self, server: ServerId, alive: bool, changes: &mut Vec<PoolChange>) {
        let Some(&Some(weight)) = self.weights.get(server.index()) else { return };
        if self.alive[server.index()] == alive {
            return;
        }
        // While the sorry server has all clients, nobody else is in the table.
        if self.quorum || self.config.sorry_server.is_none() {
            match alive {
                true => self.put(server, weight, changes),
                false => self.take(server, changes),
            }
        }
        self.alive[server.index()] = alive;
        self.count(changes);
    }

    /// keepalived stops: it takes everybody out of the table.
    pub fn stop(&mut self, changes: &mut Vec<PoolChange>) {
        for server in (0..self.weights.len()).map(ServerId::from_index) {
            let listed = self.alive[server.index()] && (self.quorum || self.config.sorry_server.is_none());
            if self.weights[server.index()].is_some() && (listed || self.kept[server.index()]) {
                changes.push(PoolChange::Remove(server));
            }
        }
        if let Some(sorry) = self.config.sorry_server.filter(|_| !self.quorum) {
            changes.push(PoolChange::Remove(sorry));
        }
    }

    /// `update_quorum_state`.
    fn count(&mut self, changes: &mut Vec<PoolChange>) {
        let living = || (0..).map(ServerId).zip(self.weights.iter().zip(&self.alive));
        let living: Vec<(ServerId, u32)> =
            living().filter_map(|(server, (weight, &alive))| alive.then_some((server, (*weight)?))).collect();
        let sum = living.iter().map(|&(_, weight)| u64::from(weight)).sum::<u64>();
        let PoolConfig { quorum, hysteresis, sorry_server, .. } = self.config;
        if !self.quorum && sum >= u64::from(quorum + hysteresis) {
            self.quorum = true;
            if let Some(sorry) = sorry_server {
                changes.push(PoolChange::Remove(sorry));
                living.iter().for_each(|&(server, weight)| self.put(server, weight, changes));
            }
        } else if self.quorum && (sum == 0 || sum < u64::from(quorum - hysteresis)) {
            self.quorum = false;
            if let Some(sorry) = sorry_server {
                living.iter().for_each(|&(server, _)| self.take(server, changes));
                changes.push(PoolChange::Add(sorry, 1));
            }
        }
    }

    fn put(&mut self, server: ServerId, weight: u32, changes: &mut Vec<PoolChange>) {
        let kept = &mut self.kept[server.index()];
        changes.push(match *kept {
            true => PoolChange::Weight(server, weight),
            false => PoolChange::Add(server, weight),
        });
        *kept = self.config.inhibit_on_failure;
    }

    fn take(&mut self, server: ServerId, changes: &mut Vec<PoolChange>) {
        changes.push(match self.config.inhibit_on_failure {
            true => PoolChange::Weight(server, 0),
            false => PoolChange::Remove(server),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::PoolChange::{Add, Remove, Weight};
    use super::*;

    const SORRY: ServerId = ServerId(9);

    fn pool(config: PoolConfig, alive: bool) -> (Pool, Vec<PoolChange>) {
        let mut changes = Vec::new();
        let pool = Pool::new(config, vec![Some(1), Some(2), Some(3)], alive, &mut changes);
        (pool, changes)
    }

    fn told(pool: &mut Pool, server: u16, alive: bool) -> Vec<PoolChange> {
        let mut changes = Vec::new();
        pool.set_alive(ServerId(server), alive, &mut changes);
        changes
    }

    #[test]
    fn a_server_that_fails_is_removed_and_comes_back_with_its_weight() {
        let (mut pool, start) = pool(PoolConfig::default(), true);
        assert_eq!(start, [Add(ServerId(0), 1), Add(ServerId(1), 2), Add(ServerId(2), 3)]);
        assert_eq!(told(&mut pool, 1, false), [Remove(ServerId(1))]);
        assert_eq!(told(&mut pool, 1, false), []);
        assert_eq!(told(&mut pool, 1, true), [Add(ServerId(1), 2)]);
    }

    #[test]
    fn with_inhibit_on_failure_it_stays_with_weight_zero() {
        let (mut pool, _) = pool(PoolConfig { inhibit_on_failure: true, ..PoolConfig::default() }, true);
        assert_eq!(told(&mut pool, 1, false), [Weight(ServerId(1), 0)]);
        assert_eq!(told(&mut pool, 1, true), [Weight(ServerId(1), 2)]);
    }

    #[test]
    fn without_a_sorry_server_the_last_one_is_removed_like_any_other() {
        let (mut pool, _) = pool(PoolConfig { quorum: 4, ..PoolConfig::default() }, true);
        told(&mut pool, 0, false);
        assert_eq!(told(&mut pool, 1, false), [Remove(ServerId(1))]);
        assert!(!pool.has_quorum());
        assert_eq!(told(&mut pool, 2, false), [Remove(ServerId(2))]);
        assert_eq!(told(&mut pool, 2, true), [Add(ServerId(2), 3)]);
    }

    #[test]
    fn the_sorry_server_takes_over_below_the_quorum_less_the_hysteresis_and_leaves_above_it() {
        let config =
            PoolConfig { quorum: 3, hysteresis: 2, sorry_server: Some(SORRY), ..PoolConfig::default() };
        let (mut pool, _) = pool(config, true);
        assert_eq!(told(&mut pool, 2, false), [Remove(ServerId(2))], "weight 3 is left");
        assert_eq!(told(&mut pool, 1, false), [Remove(ServerId(1))], "weight 1 is left, which is 3 less 2");
        assert_eq!(told(&mut pool, 0, false), [Remove(ServerId(0)), Add(SORRY, 1)]);
        assert_eq!(told(&mut pool, 2, true), [], "3 is less than 3 and 2");
        assert_eq!(
            told(&mut pool, 1, true),
            [Remove(SORRY), Add(ServerId(1), 2), Add(ServerId(2), 3)],
            "5 is enough"
        );
    }

    #[test]
    fn losing_the_quorum_takes_the_living_out_too() {
        let config = PoolConfig { quorum: 5, sorry_server: Some(SORRY), ..PoolConfig::default() };
        let (mut pool, _) = pool(config, true);
        assert_eq!(
            told(&mut pool, 2, false),
            [Remove(ServerId(2)), Remove(ServerId(0)), Remove(ServerId(1)), Add(SORRY, 1)]
        );
    }

    #[test]
    fn in_alpha_mode_the_sorry_server_begins() {
        let (mut pool, start) =
            pool(PoolConfig { sorry_server: Some(SORRY), ..PoolConfig::default() }, false);
        assert_eq!(start, [Add(SORRY, 1)]);
        assert_eq!(told(&mut pool, 0, true), [Remove(SORRY), Add(ServerId(0), 1)]);
    }

    #[test]
    fn a_stop_empties_the_table() {
        let (mut pool, _) = pool(PoolConfig::default(), true);
        told(&mut pool, 1, false);
        let mut changes = Vec::new();
        pool.stop(&mut changes);
        assert_eq!(changes, [Remove(ServerId(0)), Remove(ServerId(2))]);
    }
}

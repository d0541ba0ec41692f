//! `random(draws)`: random points on the consistent ring, and the least loaded of their servers.
//!
//! HAProxy 2.6, `get_server_rnd` in `src/backend.c` and `statistical_prng` in `include/haproxy/tools.h`. The
//! generator starts from the same state in every process, so what it gives is the same after every start.

use super::ring::Ring;
use super::{HaproxyRequest, HashOptions, Servers};
use crate::balancer::{Balancer, Reason};
use crate::ids::ServerId;

/// State of the first thread's generator when the process starts.
const STATE: u32 = 2_463_534_242;
/// What the state of each further thread adds.
const STATE_STEP: u32 = 64;
/// Draws without an argument: the power of two choices.
const DRAWS: u32 = 2;

/// Random choice, the best of some draws.
#[derive(Clone, Debug)]
pub struct Random {
    ring: Ring,
    draws: u32,
    /// `hash-balance-factor`, which counts here too \[percent\]; 0 is none.
    balance_factor: u32,
    /// The generator of each thread.
    states: Vec<u32>,
}

impl Random {
    /// The algorithm with so many draws, in a process with so many threads.
    pub fn new(options: HashOptions, draws: u32, threads: u16) -> Self {
        let states = (0..u32::from(threads)).map(|thread| STATE.wrapping_add(STATE_STEP * thread));
        Self {
            ring: Ring::default(),
            draws,
            balance_factor: options.balance_factor,
            states: states.collect(),
        }
    }

    /// Draws for each request.
    pub fn draws(&self) -> u32 {
        self.draws
    }

    /// `hash-balance-factor` \[percent\]; 0 is none.
    pub fn balance_factor(&self) -> u32 {
        self.balance_factor
    }

    /// Marsaglia's xorshift with 32 bits.
    #[inline]
    fn draw(&mut self, thread: u16) -> u32 {
        let thread = usize::from(thread) % self.states.len();
        let state = &mut self.states[thread];
        *state ^= *state << 13;
        *state ^= *state >> 17;
        *state ^= *state << 5;
        *state
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::new(HashOptions::default(), DRAWS, 1)
    }
}

impl Balancer for Random {
    type Servers = Servers;
    type Request = HaproxyRequest;

    fn pick(&mut self, servers: &mut Servers, request: &mut HaproxyRequest) -> Option<ServerId> {
        request.reason = Reason::Scheduled { tie: false };
        let mut best: Option<ServerId> = None;
        for _ in 0..self.draws.max(1) {
            let hash = self.draw(request.thread);
            let drawn = self.ring.lookup(servers, hash, request.avoid, self.balance_factor)?.server;
            best = Some(match best {
                // Loads are compared by weight; of equals the later one is taken.
                Some(before) if busier(servers, drawn, before) => before,
                _ => drawn,
            });
        }
        best.filter(|&server| servers.has_room(server))
    }

    fn servers_changed(&mut self, servers: &Servers) {
        self.ring.update(servers);
    }
}

fn busier(servers: &Servers, a: ServerId, b: ServerId) -> bool {
    let load = |of: ServerId, weight_of: ServerId| {
        servers.served(of.index()).wrapping_mul(servers.standing(weight_of.index()))
    };
    load(a, b) > load(b, a)
}

#[cfg(test)]
mod tests {
    use super::super::servers::fixture::weighted;
    use super::*;

    #[test]
    fn two_threads_draw_from_generators_of_their_own() {
        let mut random = Random::new(HashOptions::default(), 2, 2);
        let (first, second) = (random.draw(0), random.draw(1));
        assert_eq!(first, 723_471_715, "the first number of Marsaglia's generator");
        assert_ne!(first, second);
    }

    #[test]
    fn the_less_loaded_of_two_draws_is_taken() {
        let mut servers = Servers::new(&weighted(&[1, 1]), false, false);
        let mut balancer = Random::new(HashOptions::default(), 64, 1);
        balancer.servers_changed(&servers);
        for _ in 0..10 {
            servers.take(ServerId(0));
        }
        // All of 64 draws would have to hit the same server.
        assert_eq!(balancer.pick(&mut servers, &mut HaproxyRequest::new(0)), Some(ServerId(1)));
    }
}

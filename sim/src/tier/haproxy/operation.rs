//! What checks find of the servers, and what an operator says of them.
//!
//! HAProxy 2.6, `src/check.c`, `src/server.c` and the `set server` commands of its socket.

use super::{Haproxy, Outcome};
use crate::balancer::Balancer;
use crate::balancer::haproxy::Admin;
use crate::engine::{SimDuration, SimTime};
use crate::health::haproxy::{Observed, first_check};
use crate::health::{HaproxyHealth, Verdict};
use crate::ids::ServerId;

impl Haproxy {
    /// What a try showed of its server.
    pub(super) fn observe(&mut self, now: SimTime, server: ServerId, outcome: Outcome) {
        let Some(health) = &mut self.health[server.index()] else { return };
        match outcome {
            Outcome::ConnectRefused | Outcome::ConnectTimeout => health.observed(Observed::Connection(false)),
            Outcome::Status(_) | Outcome::Reset | Outcome::ReadTimeout => {
                health.observed(Observed::Connection(true));
                let good = matches!(outcome, Outcome::Status(status) if status < 500);
                health.observed(Observed::Answer(good));
            }
        }
        self.follow_health(now, server);
    }

    /// When the first check of a server takes place; `None` if it is not checked.
    pub fn first_check(&self, server: ServerId) -> Option<SimTime> {
        self.config.servers[server.index()].check?;
        let checks: Vec<_> = self.config.servers.iter().filter_map(|line| line.check).collect();
        let before = self.config.servers[..server.index()].iter().filter(|line| line.check.is_some());
        Some(SimTime::ZERO + first_check(&checks, before.count()))
    }

    /// A check of a server ended. Returns the time to the next one; `None` if it is not checked. No checks take place while
    /// the server is in maintenance.
    pub fn check_ended(&mut self, now: SimTime, server: ServerId, passed: bool) -> Option<SimDuration> {
        let health = self.health[server.index()].as_mut()?;
        if self.servers.admin(server) != Admin::Maint {
            health.checked(passed);
        }
        let next = health.interval();
        self.follow_health(now, server);
        Some(next)
    }

    /// Whether health checks and what was observed hold a server for up.
    pub fn is_up(&self, server: ServerId) -> bool {
        self.servers.is_up(server)
    }

    /// Who went down and who came up, since this was asked last, in order.
    pub fn take_verdicts(&mut self) -> Vec<Verdict> {
        std::mem::take(&mut self.verdicts)
    }

    fn follow_health(&mut self, now: SimTime, server: ServerId) {
        let up = self.health[server.index()].as_ref().is_none_or(HaproxyHealth::is_up);
        if up != self.servers.is_up(server) {
            self.advance(now);
            if up {
                self.starts_slowly(now, server);
            }
            self.servers.set_up(server, up);
            self.verdicts.push(Verdict::new(now, 0, server, !up));
            self.state_changed(server, up);
        }
    }

    /// `set server … weight`, 0 to 256. Says whether HAProxy accepts it: with static-rr and `hash-type map-based` only 0 and
    /// the configured weight are.
    pub fn set_weight(&mut self, now: SimTime, server: ServerId, weight: u32) -> bool {
        self.advance(now);
        let accepted = self.servers.set_weight(server, weight);
        // Who waits goes on waiting until a request ends, even if the server has room.
        self.method.servers_changed(&self.servers);
        accepted
    }

    /// The weight of the configuration, to which percentages refer.
    pub fn initial_weight(&self, server: ServerId) -> u32 {
        self.servers.initial_weight(server)
    }

    /// `set server … state`. Out of maintenance, a server is up at once.
    pub fn set_admin(&mut self, now: SimTime, server: ServerId, admin: Admin) {
        self.advance(now);
        let before = self.servers.admin(server);
        if before == Admin::Maint && admin != Admin::Maint {
            self.starts_slowly(now, server);
        }
        self.servers.set_admin(server, admin);
        if before == Admin::Maint
            && admin != Admin::Maint
            && let Some(health) = &mut self.health[server.index()]
        {
            health.revived();
            if !self.servers.is_up(server) {
                self.verdicts.push(Verdict::new(now, 0, server, false));
            }
            self.servers.set_up(server, true);
        }
        // Who leaves `drain` waits for the next end of a request: only a start takes from the queue (recorded).
        self.state_changed(server, before == Admin::Maint && admin == Admin::Ready);
    }

    /// What follows from a change of a server, and from its coming back if it does: new tables, and other places for those
    /// who wait.
    fn state_changed(&mut self, server: ServerId, comes_back: bool) {
        self.method.servers_changed(&self.servers);
        if !self.servers.is_running(server) {
            self.redistribute(server);
        }
        if comes_back {
            self.welcome(server);
        }
    }
}

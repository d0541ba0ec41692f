//! `slowstart`: a server that comes back gets its share step by step.
//!
//! HAProxy 2.6, `src/server.c` (`server_recalc_eweight`), `src/check.c` (`server_warmup`) and `src/queue.c`
//! (`srv_dynamic_maxconn`). Each second a server's effective weight grows, in sixteenths, and its `maxconn` with it. It holds
//! for servers that come up or out of maintenance, not at HAProxy's own start; a table built in advance keeps its weights.
//! Departures: who waits in a queue is not fetched at each step, but when a request ends. No recording stands behind it.

use super::Haproxy;
use crate::balancer::Balancer;
use crate::engine::{SimDuration, SimTime};
use crate::ids::ServerId;

/// From one step to the next; the twentieth of `slowstart` that HAProxy would take if it were longer is one of seconds, read as
/// milliseconds, and never is.
const STEP: SimDuration = SimDuration::from_secs(1);

/// A server that has come back lately.
#[derive(Clone, Copy, Debug)]
pub(super) struct Starting {
    server: ServerId,
    since: SimTime,
    /// Seconds since then, as far as they have been taken account of.
    elapsed: u32,
}

impl Starting {
    fn due(&self) -> SimTime {
        self.since + STEP * (u64::from(self.elapsed) + 1)
    }
}

impl Haproxy {
    /// `slowstart` in whole seconds, rounded up.
    fn slowstart_s(&self) -> u32 {
        self.config.slowstart.0.div_ceil(STEP.0) as u32
    }

    /// A server comes up (again), or leaves maintenance.
    pub(super) fn starts_slowly(&mut self, now: SimTime, server: ServerId) {
        let of = self.slowstart_s();
        if of > 0 {
            self.starting.retain(|starting| starting.server != server);
            self.starting.push(Starting { server, since: now, elapsed: 0 });
            self.servers.set_starting(server, Some((0, of)));
        }
    }

    /// Takes the steps that are due by `now`.
    #[inline]
    pub(super) fn advance(&mut self, now: SimTime) {
        if !self.starting.is_empty() {
            self.take_steps(now);
        }
    }

    fn take_steps(&mut self, now: SimTime) {
        let of = self.slowstart_s();
        while let Some(next) =
            self.starting.iter_mut().filter(|one| one.due() <= now).min_by_key(|one| one.due())
        {
            next.elapsed += 1;
            let Starting { server, elapsed, .. } = *next;
            self.servers.set_starting(server, (elapsed < of).then_some((elapsed, of)));
            self.method.servers_changed(&self.servers);
            self.starting.retain(|starting| starting.elapsed < of);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{HaproxyConfig, HaproxyLine};
    use super::*;
    use crate::balancer::haproxy::{Admin, HaproxyMethod};
    use crate::tier::{Method, Open, Outcome, Ties};
    use std::net::{IpAddr, Ipv4Addr};

    const GET: Open<'_> = Open {
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        port: 1,
        key: &[],
        method: Method::Get,
        worker: 0,
        service: 0,
        ties: Ties::NONE,
    };

    /// Requests of 1600 at `second` that go to server 1, which was in maintenance until second 0.
    fn share_at(slowstart: SimDuration, second: u64) -> u32 {
        let lines = vec![HaproxyLine::new(1), HaproxyLine::new(2)];
        let method = HaproxyMethod::by_name("roundrobin").expect("a method");
        let mut haproxy = Haproxy::new(HaproxyConfig { slowstart, ..HaproxyConfig::new(method, lines) });
        haproxy.set_admin(SimTime::ZERO, ServerId(1), Admin::Maint);
        haproxy.set_admin(SimTime::ZERO, ServerId(1), Admin::Ready);
        let now = SimTime::from_millis(second * 1_000 + 500);
        let serve = |_: u32| {
            let opened = haproxy.open(now, &GET);
            haproxy.attempt_ended(now, opened.flow, Outcome::Status(200));
            u32::from(opened.decision.server == Some(ServerId(1)))
        };
        (0..1_600).map(serve).sum()
    }

    #[test]
    fn the_share_of_a_server_that_comes_back_grows_by_sixteenths() {
        let minute = SimDuration::from_secs(60);
        for (second, sixteenths) in [(0, 1), (3, 1), (4, 2), (15, 5), (30, 9), (56, 15), (59, 16), (60, 16)] {
            let expected = 1_600 * sixteenths / (16 + sixteenths);
            let got = share_at(minute, second);
            assert!(got.abs_diff(expected) <= 2, "second {second}: {got}, not {expected}");
        }
        assert_eq!(share_at(SimDuration::ZERO, 0), 800, "without it all is as before at once");
    }
}

//! The cookies that layer 7 instances gave to browsers: which server each of them names, and since when.

use super::Cluster;
use super::request::{Origin, Request};
use crate::engine::SimTime;
use crate::ids::ServerId;
use crate::tier::CookieLife;

/// Stands for no cookie.
const NONE: u16 = u16::MAX;

/// One cookie for each browser, kept as long as it is good, as a browser that is never closed does.
#[derive(Debug)]
pub struct CookieJars {
    life: CookieLife,
    /// The server that each names: clients of the closed loops, then those of each source's log.
    servers: Vec<u16>,
    /// When each was set, first and last; empty if the cookies are good for ever.
    dates: Vec<[SimTime; 2]>,
    /// Clients of the closed loops.
    clients: usize,
    /// Where the jars of each source begin, and one more; empty ranges for sources without clients of their own.
    logs: Vec<usize>,
}

impl CookieJars {
    /// Jars without a cookie, for so many clients, and for the users of each source.
    pub fn new(life: CookieLife, clients: usize, logs: impl Iterator<Item = usize>) -> Self {
        let mut starts = vec![clients];
        starts.extend(logs.scan(clients, |end, clients| {
            *end += clients;
            Some(*end)
        }));
        let jars = starts.last().copied().unwrap_or(clients);
        let dated = if life == CookieLife::UNLIMITED { 0 } else { jars };
        Self {
            life,
            servers: vec![NONE; jars],
            dates: vec![[SimTime::ZERO; 2]; dated],
            clients,
            logs: starts,
        }
    }

    /// The place of the sender's jar, if it keeps cookies.
    #[inline]
    fn place(&self, origin: Origin) -> Option<usize> {
        let (place, end) = match origin {
            Origin::Client(client) | Origin::Object(client) => (client.index(), self.clients),
            Origin::Log { source, user } => {
                let source = usize::from(source);
                (self.logs.get(source)? + user as usize, *self.logs.get(source + 1)?)
            }
            Origin::Message(_) | Origin::Gone | Origin::Check | Origin::Arrival | Origin::Script(_) => {
                return None;
            }
        };
        (place < end).then_some(place)
    }

    /// The server that the sender's cookie names, if it has one that is good.
    #[inline]
    pub fn server(&self, now: SimTime, origin: Origin) -> Option<ServerId> {
        let place = self.place(origin)?;
        let server = self.servers[place];
        let good = match self.dates.get(place) {
            Some(&[first, last]) => self.life.is_good(now, first, last),
            None => true,
        };
        (server != NONE && good).then_some(ServerId(server))
    }

    /// An answer to the sender sets a cookie.
    #[inline]
    pub fn set(&mut self, now: SimTime, origin: Origin, server: ServerId) {
        let Some(place) = self.place(origin) else { return };
        let goes_on = self.server(now, origin).is_some();
        self.servers[place] = server.0;
        if let Some([first, last]) = self.dates.get_mut(place) {
            *last = now;
            if !goes_on {
                *first = now;
            }
        }
    }

    /// Bytes of the jars.
    pub fn bytes(&self) -> usize {
        self.servers.capacity() * size_of::<u16>() + self.dates.capacity() * size_of::<[SimTime; 2]>()
    }
}

impl Cluster<'_> {
    /// The answer to a request brings the browser a cookie, if the instance sets one.
    #[inline(always)]
    pub(super) fn take_cookie(&mut self, now: SimTime, request: &Request) {
        if self.tier.cookies.is_some() {
            self.take_cookie_of_tier(now, request);
        }
    }

    #[inline(never)]
    fn take_cookie_of_tier(&mut self, now: SimTime, request: &Request) {
        let tier = &mut self.tier;
        if let Some(jars) = &mut tier.cookies
            && let Some(server) = tier.instances[usize::from(request.instance)].cookie_to_set(request.flow)
        {
            jars.set(now, request.origin, server);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::SimDuration;
    use crate::ids::ClientId;

    fn at(seconds: u64) -> SimTime {
        SimTime::from_millis(1_000 * seconds)
    }

    #[test]
    fn every_browser_has_a_jar_of_its_own_and_sources_without_one_keep_nothing() {
        let mut jars = CookieJars::new(CookieLife::UNLIMITED, 1, [0, 2, 1].into_iter());
        let log = |source, user| Origin::Log { source, user };
        jars.set(at(0), log(1, 1), ServerId(3));
        jars.set(at(0), Origin::Arrival, ServerId(4));
        assert_eq!(jars.server(at(1_000_000), log(1, 1)), Some(ServerId(3)));
        for other in [Origin::Client(ClientId(0)), log(1, 0), log(2, 0), log(0, 0), Origin::Arrival] {
            assert_eq!(jars.server(at(0), other), None, "{other:?}");
        }
    }

    #[test]
    fn a_cookie_that_is_set_again_lives_on_but_not_beyond_the_limit_from_its_first() {
        let life =
            CookieLife { idle: Some(SimDuration::from_secs(10)), total: Some(SimDuration::from_secs(25)) };
        let mut jars = CookieJars::new(life, 1, std::iter::empty());
        let browser = Origin::Client(ClientId(0));
        for seconds in [0, 10, 20] {
            jars.set(at(seconds), browser, ServerId(1));
        }
        assert_eq!(jars.server(at(25), browser), Some(ServerId(1)));
        assert_eq!(jars.server(at(26), browser), None, "the first was too long ago");
        jars.set(at(30), browser, ServerId(2));
        assert_eq!(jars.server(at(40), browser), Some(ServerId(2)), "a new row began");
        assert_eq!(jars.server(at(41), browser), None);
    }
}

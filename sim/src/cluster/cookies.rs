//! The cookies that an HAProxy gave to browsers: which server each of them names.

use super::Cluster;
use super::request::{Origin, Request};
use crate::ids::ServerId;
use crate::tier::Instance;

/// Stands for no cookie.
const NONE: u16 = u16::MAX;

/// One cookie for each browser, kept to the end of the run, as a browser that is never closed does.
#[derive(Debug, Default)]
pub struct CookieJars {
    /// By client of the closed loops.
    clients: Vec<u16>,
    /// By source, then by client of the log; empty for other sources.
    logs: Vec<Vec<u16>>,
}

impl CookieJars {
    /// Jars without a cookie, for so many clients, and for the users of each source.
    pub fn new(clients: usize, logs: impl Iterator<Item = usize>) -> Self {
        Self { clients: vec![NONE; clients], logs: logs.map(|users| vec![NONE; users]).collect() }
    }

    fn jar(&mut self, origin: Origin) -> Option<&mut u16> {
        match origin {
            Origin::Client(client) => self.clients.get_mut(client.index()),
            Origin::Log { source, user } => self.logs.get_mut(usize::from(source))?.get_mut(user as usize),
            Origin::Poisson | Origin::Script(_) => None,
        }
    }

    /// The server that the sender's cookie names, if it has one.
    pub fn server(&mut self, origin: Origin) -> Option<ServerId> {
        self.jar(origin).filter(|server| **server != NONE).map(|server| ServerId(*server))
    }

    /// An answer to the sender sets a cookie.
    pub fn set(&mut self, origin: Origin, server: ServerId) {
        if let Some(jar) = self.jar(origin) {
            *jar = server.0;
        }
    }

    /// Bytes of the jars.
    pub fn bytes(&self) -> usize {
        let jars = self.clients.capacity() + self.logs.iter().map(Vec::capacity).sum::<usize>();
        jars * size_of::<u16>()
    }
}

impl Cluster<'_> {
    /// The answer to a request brings the browser a cookie, if the instance sets one.
    #[inline]
    pub(super) fn take_cookie(&mut self, request: &Request) {
        let tier = &mut self.tiers[0];
        if let Some(jars) = &mut tier.cookies
            && let Instance::HaProxy(haproxy) = &tier.instances[0]
            && let Some(server) = haproxy.cookie_to_set(request.flow)
        {
            jars.set(request.origin, server);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ClientId;

    #[test]
    fn every_browser_has_a_jar_of_its_own_and_sources_without_one_keep_nothing() {
        let mut jars = CookieJars::new(1, [0, 2].into_iter());
        let log = Origin::Log { source: 1, user: 1 };
        jars.set(log, ServerId(3));
        jars.set(Origin::Poisson, ServerId(4));
        assert_eq!(jars.server(log), Some(ServerId(3)));
        assert_eq!(jars.server(Origin::Client(ClientId(0))), None);
        assert_eq!(jars.server(Origin::Log { source: 1, user: 0 }), None);
        assert_eq!(jars.server(Origin::Log { source: 0, user: 0 }), None);
        assert_eq!(jars.server(Origin::Poisson), None);
    }
}

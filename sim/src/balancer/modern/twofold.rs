//! A lookup table in two versions: with all servers as configured, and as the servers are now.

use super::ProxyServers;
use super::slots::{Member, configured, present};

/// The first version says where a client is at home, the second where it goes. While the servers are as configured there
/// is only one.
#[derive(Clone, Debug)]
pub struct Twofold<T> {
    configured: Option<T>,
    present: Option<T>,
}

impl<T> Default for Twofold<T> {
    fn default() -> Self {
        Self { configured: None, present: None }
    }
}

impl<T> Twofold<T> {
    /// Follows a change of the servers. The configured version is built once, for the servers seen first.
    pub fn rebuild(&mut self, servers: &ProxyServers, build: impl Fn(&[Member]) -> T) {
        if self.configured.is_none() {
            self.configured = Some(build(&configured(servers)));
        }
        self.present = (!servers.is_as_configured()).then(|| build(&present(servers)));
    }

    /// The version with all servers in; `None` before the servers are known.
    #[inline]
    pub fn configured(&self) -> Option<&T> {
        self.configured.as_ref()
    }

    /// The version with the servers that may be used now.
    #[inline]
    pub fn present(&self) -> Option<&T> {
        self.present.as_ref().or(self.configured.as_ref())
    }
}

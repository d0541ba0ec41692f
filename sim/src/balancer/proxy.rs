//! The algorithms of a layer 7 proxy of no particular program: those of [`super::modern`] and of [`super::envoy`].

use super::envoy::EnvoyMethod;
use super::modern::{ModernMethod, ProxyRequest, ProxyServers};
use super::{Balancer, OptionVisitor};
use crate::ids::ServerId;

/// An algorithm of either family.
#[derive(Clone, Debug)]
pub enum ProxyMethod {
    /// From papers and libraries.
    Modern(ModernMethod),
    /// Envoy's own.
    Envoy(EnvoyMethod),
}

impl ProxyMethod {
    /// A fresh instance of `program.name`, or `None` if there is none of that name.
    pub fn by_name(program: &str, name: &str) -> Option<Self> {
        match program {
            "modern" => ModernMethod::by_name(name).map(Self::Modern),
            "envoy" => EnvoyMethod::by_name(name).map(Self::Envoy),
            _ => None,
        }
    }
}

impl Balancer for ProxyMethod {
    type Servers = ProxyServers;
    type Request = ProxyRequest;

    #[inline]
    fn pick(&mut self, servers: &mut ProxyServers, request: &mut ProxyRequest) -> Option<ServerId> {
        match self {
            Self::Modern(method) => method.pick(servers, request),
            Self::Envoy(method) => method.pick(servers, request),
        }
    }

    fn servers_changed(&mut self, servers: &ProxyServers) {
        match self {
            Self::Modern(method) => method.servers_changed(servers),
            Self::Envoy(method) => method.servers_changed(servers),
        }
    }

    #[inline]
    fn ended(&mut self, servers: &ProxyServers, request: &ProxyRequest) {
        match self {
            Self::Modern(method) => method.ended(servers, request),
            Self::Envoy(method) => method.ended(servers, request),
        }
    }

    fn options(&mut self, visitor: &mut dyn OptionVisitor) {
        match self {
            Self::Modern(method) => method.options(visitor),
            Self::Envoy(method) => method.options(visitor),
        }
    }
}

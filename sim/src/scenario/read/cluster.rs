//! The servers and what each can do.

use super::Names;
use super::autoscaling::autoscaling;
use crate::backend::{Capacity, Discipline};
use crate::engine::Distribution;
use crate::scenario::diagnostic::Span;
use crate::scenario::quantity::Quantity;
use crate::scenario::section::Item;
use crate::scenario::{Autoscaling, Server};

/// Servers at most: their ids are 16 bits wide.
const SERVERS_MAX: usize = u16::MAX as usize;
/// Largest weight: what `ipvsadm -w` takes.
pub(super) const WEIGHT_MAX: u64 = 65_535;
/// Workers or cores of a server at most.
const WORKERS_MAX: u64 = 1_000_000;

/// A server as read.
#[derive(Clone, Debug)]
pub(super) struct ReadServer {
    /// Its weight, if that could be read, and where it is given (the server's place if it is not).
    pub weight: Option<u32>,
    pub weight_span: Span,
    pub name: Option<String>,
    pub address: Option<String>,
    pub zone: Option<String>,
    /// What it can do; instances of a tier are servers to the one in front of it, and have none.
    pub capacity: Option<Capacity>,
}

impl ReadServer {
    /// The server, if all of it could be read.
    pub fn resolved(self) -> Option<Server> {
        let Self { weight, name, address, zone, capacity, .. } = self;
        Some(Server { name: name?, address: address?, weight: weight?, zone, capacity: capacity? })
    }
}

/// `[cluster]`, as far as it could be read.
pub(super) struct ReadCluster {
    pub servers: Option<Vec<ReadServer>>,
    /// The servers' names, which are known even when other parts of them are wrong.
    pub names: Names,
    /// Who puts servers into service and takes them out, if anybody does.
    pub autoscaling: Option<Option<Autoscaling>>,
}

impl ReadCluster {
    /// Nothing of it is known.
    pub fn unknown() -> Self {
        let names = Names { complete: false, ..Names::new("server") };
        Self { servers: None, names, autoscaling: None }
    }
}

/// Reads `[cluster]`.
pub(super) fn cluster(item: &Item<'_>) -> ReadCluster {
    let Some(mut section) = item.section("a table: write `[cluster]`") else {
        return ReadCluster::unknown();
    };
    let s = &mut section;
    let common = s.optional("capacity", PartialCapacity::default(), |item| partial_capacity(&item));
    let has_capacity = s.take("capacity").is_some();
    let mut names = Names::new("server");
    let mut addresses = Names::new("address");
    let servers = s.required("servers", |item| {
        let items = item.elements("an array of { name = …, address = … }")?;
        if items.is_empty() || items.len() > SERVERS_MAX {
            item.error(format!("a cluster has 1 to {SERVERS_MAX} servers, got {}", items.len()));
            return None;
        }
        items
            .iter()
            .map(|item| server(item, common.as_ref(), has_capacity, &mut names, &mut addresses))
            .collect()
    });
    if servers.is_none() {
        names.complete = false;
    }
    let autoscaling = match s.take("autoscaling") {
        // Of servers that could not be read not even the number is known.
        Some(_) if servers.is_none() => None,
        Some(item) => item.or_none(|item| autoscaling(item, &names)),
        None => Some(None),
    };
    section.finish();
    ReadCluster { servers, names, autoscaling }
}

fn server(
    item: &Item<'_>,
    common: Option<&PartialCapacity>,
    has_capacity: bool,
    names: &mut Names,
    addresses: &mut Names,
) -> Option<ReadServer> {
    let Some(mut section) = item.section("a table such as { name = \"web1\", address = \"10.0.0.1:80\" }")
    else {
        names.add(None);
        return Some(ReadServer {
            weight: None,
            weight_span: item.span(),
            name: None,
            address: None,
            zone: None,
            capacity: None,
        });
    };
    let s = &mut section;
    let name_item = s.take("name");
    if name_item.is_none() {
        s.missing("name", None);
    }
    let name = names.add(name_item);
    let address_item = s.take("address");
    match &address_item {
        None => s.missing("address", Some("host and port as the balancer's configuration has them")),
        Some(item) => check_port(item),
    }
    let address = addresses.add(address_item);
    let weight_item = s.take("weight");
    let weight_span = weight_item.as_ref().map_or(item.span(), Item::span);
    let weight = match weight_item {
        Some(item) => item.integer(0, WEIGHT_MAX).map(|number| number as u32),
        None => Some(1),
    };
    let zone = s.take("zone").and_then(|item| item.name().map(str::to_owned));
    let own = s.optional("capacity", PartialCapacity::default(), |item| partial_capacity(&item));
    let own_capacity = s.take("capacity").is_some();
    let capacity = match (common, own) {
        _ if !has_capacity && !own_capacity => {
            let help = "add `capacity = { workers = 64, service = … }` to the cluster or to the server";
            s.missing("capacity", Some(help));
            None
        }
        (Some(common), Some(own)) => own.over(common).complete(item),
        _ => None,
    };
    section.finish();
    Some(ReadServer { weight, weight_span, name, address, zone, capacity })
}

/// Reports a port that is none. A name or address without a port is fine: nginx then takes 80.
fn check_port(item: &Item<'_>) {
    let Some(text) = item.text() else { return };
    let port = text.rsplit_once(':').map(|(_, port)| port).filter(|_| !text.ends_with(']'));
    let is_ipv6 = text.parse::<std::net::Ipv6Addr>().is_ok();
    let good = is_ipv6 || port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    if !good || text.contains(char::is_whitespace) {
        item.error_with_help(
            format!("`address` must be a host and port, got {}", item.got()),
            "for example \"10.0.0.1:80\"",
        );
    }
}

/// What one place says about a server's capacity. A server's own `capacity` replaces the cluster's field by field.
#[derive(Clone, Debug, Default)]
struct PartialCapacity {
    discipline: Option<Kind>,
    /// `workers` or `cores`.
    width: Option<u32>,
    /// `queue_limit` or `limit`; the inner `None` is no limit.
    limit: Option<Option<u32>>,
    service: Option<Distribution>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Kind {
    #[default]
    Fcfs,
    Ps,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Fcfs => "fcfs",
            Self::Ps => "ps",
        }
    }

    fn width_key(self) -> &'static str {
        match self {
            Self::Fcfs => "workers",
            Self::Ps => "cores",
        }
    }

    fn limit_key(self) -> &'static str {
        match self {
            Self::Fcfs => "queue_limit",
            Self::Ps => "limit",
        }
    }
}

fn partial_capacity(item: &Item<'_>) -> Option<PartialCapacity> {
    let mut section = item.section("a table such as { workers = 64, service = \"20ms\" }")?;
    let s = &mut section;
    let discipline = s.optional("discipline", None, |item| {
        item.one_of(&[("fcfs", Kind::Fcfs), ("ps", Kind::Ps)]).map(Some)
    });
    let keys_of_ps = s.take("cores").is_some() || s.take("limit").is_some();
    let kind = match discipline {
        Some(Some(kind)) => Some(kind),
        // `cores` alone, in a server's own capacity, goes with the discipline of the cluster.
        Some(None) if keys_of_ps => Some(Kind::Ps),
        Some(None) => Some(Kind::Fcfs),
        None => None,
    };
    let other = match kind {
        Some(Kind::Fcfs) => Kind::Ps,
        _ => Kind::Fcfs,
    };
    if let Some(kind) = kind {
        let why = |key: &str| format!("`{key}` belongs to discipline `{}`", other.name());
        let help =
            format!("discipline `{}` has `{}` and `{}`", kind.name(), kind.width_key(), kind.limit_key());
        s.refuse(&[other.width_key(), other.limit_key()], why, &help);
    }
    let kind = kind.unwrap_or_default();
    let width = s.optional(kind.width_key(), None, |item| {
        item.integer(1, WORKERS_MAX).map(|number| Some(number as u32))
    });
    let limit = s.optional(kind.limit_key(), None, |item| {
        if item.text() == Some("none") {
            return Some(Some(None));
        }
        let min = if kind == Kind::Ps { 1 } else { 0 };
        item.u32_at_least(min).map(|number| Some(Some(number)))
    });
    let service = s.optional("service", None, |item| item.distribution(Quantity::Time).map(Some));
    section.finish();
    let (width, limit) = (width?, limit?);
    let said = discipline?.or((width.is_some() || limit.is_some()).then_some(kind));
    Some(PartialCapacity { discipline: said, width, limit, service: service? })
}

impl PartialCapacity {
    /// This capacity where it says something, else `common`. Workers and limits are not carried over to another
    /// discipline.
    fn over(self, common: &Self) -> Self {
        let discipline = self.discipline.or(common.discipline);
        let same = discipline == common.discipline;
        Self {
            discipline,
            width: self.width.or(common.width.filter(|_| same)),
            limit: self.limit.or(common.limit.filter(|_| same)),
            service: self.service.or_else(|| common.service.clone()),
        }
    }

    /// The whole capacity; what is missing is reported at the server.
    fn complete(self, server: &Item<'_>) -> Option<Capacity> {
        let kind = self.discipline.unwrap_or_default();
        let missing = |key: &str| {
            let help = "add it to the `capacity` of the cluster or of the server";
            server.report().absence(server.span(), format!("the server's capacity has no `{key}`"), help);
        };
        if self.width.is_none() {
            missing(kind.width_key());
        }
        if self.service.is_none() {
            missing("service");
        }
        let (width, limit) = (self.width?, self.limit.flatten());
        let discipline = match kind {
            Kind::Fcfs => Discipline::Fcfs { workers: width, queue_limit: limit },
            Kind::Ps => Discipline::ProcessorSharing { cores: width, limit },
        };
        Some(Capacity { discipline, service: self.service? })
    }
}

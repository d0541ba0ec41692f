//! `tiers`: several tiers, front to back, each of which but the last has the next one's instances for its servers.

use std::net::IpAddr;

use super::cluster::ReadServer;
use super::health::checks_alone;
use super::strategy::tier;
use super::{Names, Site};
use crate::engine::SimDuration;
use crate::failover::vrrp::VrrpScript;
use crate::scenario::section::{Item, Section};
use crate::scenario::{DirectorPlan, FrontPlan, InstancePlan, Program, TIERS_MAX, TierPlan};
use crate::tier::{DnsConfig, DnsOrder, EcmpConfig, EcmpHash, Layer};

/// Instances of a tier at most.
const INSTANCES_MAX: u64 = 1_024;
/// Addresses of an instance at most.
const ADDRESSES_MAX: u64 = 16;
/// Resolvers at most.
const RESOLVERS_MAX: u64 = 1_000_000;
/// Longest `interval` and `timeout` of a script: a day \[s\].
const SCRIPT_MAX: u64 = 86_400;
/// Largest `weight` of a script, either way.
const WEIGHT_MAX: f64 = 253.0;
/// Shortest `advert_int`: VRRPv3 counts in hundredths of a second.
const ADVERT_INT_MIN: SimDuration = SimDuration::from_millis(10);

/// The tiers of a strategy: the scenario name of the last one's balancer, the fronts, and the last one.
pub(super) type ReadTiers = (String, Vec<FrontPlan>, TierPlan);

/// `tiers`, read from the back, since each has to know the instances of the next.
pub(super) fn tiers(item: &Item<'_>, site: &Site<'_>) -> Option<ReadTiers> {
    let tiers = item.elements("an array of { balancer = … }")?;
    let Some((last, fronts)) = tiers.split_last().filter(|(_, fronts)| fronts.len() < TIERS_MAX) else {
        item.error(format!("a strategy has 1 to {TIERS_MAX} tiers, got {}", tiers.len()));
        return None;
    };
    let mut names = Names::new("instance");
    let read_last = || {
        let mut section = last.section("a table with `balancer`")?;
        let in_front = section.take("dns").or_else(|| section.take("ecmp")).or_else(|| section.take("waf"));
        if let Some(item) = in_front {
            let message = format!("`{}` stands in front of balancers, and there is none behind it", item.key);
            section.report().error_with_help(
                item.key_span,
                message,
                "write the tier of the balancers after it",
            );
            return None;
        }
        let tier = tier(&mut section, site, 0, !fronts.is_empty());
        section.finish();
        tier
    };
    let last = read_last();
    let mut next = last.as_ref().map(|(_, plan)| plan.clone());
    add_names(&mut names, item, next.as_ref());
    let mut plans = Vec::new();
    for (rank, front) in fronts.iter().rev().enumerate() {
        let targets = next.as_ref().map_or_else(Targets::default, |plan| Targets::of(plan, front));
        let site = Site { names: &targets.names, servers: targets.servers.as_deref(), ..*site };
        let is_first = rank + 1 == fronts.len();
        let read = read_front(front, &site, rank + 1, is_first);
        match &read {
            Some(FrontPlan::Tier { plan, .. }) => {
                add_names(&mut names, front, Some(plan));
                next = Some(plan.clone());
            }
            Some(FrontPlan::Dns { .. } | FrontPlan::Ecmp { .. }) | None => next = None,
        }
        plans.push(read);
    }
    let (balancer, last) = last?;
    let read = plans.iter().flatten().filter_map(FrontPlan::plan);
    let mut cookies: Vec<_> = read.chain([&last]).filter_map(TierPlan::cookie_name).collect();
    cookies.sort_unstable();
    if let Some(name) = cookies.windows(2).find_map(|pair| (pair[0] == pair[1]).then_some(pair[0])) {
        let help = "each would read the other's: give one of them another name";
        item.error_with_help(format!("two tiers set a cookie called `{name}`"), help);
        return None;
    }
    let fronts = plans.into_iter().rev().collect::<Option<Vec<_>>>()?;
    Some((balancer, fronts, last))
}

fn add_names(names: &mut Names, item: &Item<'_>, plan: Option<&TierPlan>) {
    plan.iter().flat_map(|plan| &plan.instances).for_each(|instance| names.add_derived(item, &instance.name));
}

/// What a tier in front of another knows as its servers.
struct Targets {
    names: Names,
    servers: Option<Vec<ReadServer>>,
}

impl Default for Targets {
    /// Those of a tier that could not be read.
    fn default() -> Self {
        Self { names: Names { complete: false, ..Names::new("instance") }, servers: None }
    }
}

impl Targets {
    /// The instances of a tier.
    fn of(plan: &TierPlan, front: &Item<'_>) -> Self {
        let mut names = Names::new("instance");
        let servers = plan.instances[..plan.targets()].iter().map(|InstancePlan { name, address }| {
            names.names.push(name.clone());
            let port = match address {
                IpAddr::V4(_) => format!("{address}:80"),
                IpAddr::V6(_) => format!("[{address}]:80"),
            };
            ReadServer {
                zone: None,
                weight: Some(1),
                weight_span: front.span(),
                name: Some(name.clone()),
                address: Some(port),
                capacity: None,
            }
        });
        let servers = servers.collect();
        Self { names, servers: Some(servers) }
    }
}

fn read_front(item: &Item<'_>, site: &Site<'_>, rank: usize, is_first: bool) -> Option<FrontPlan> {
    let mut section = item.section("a table with `balancer`, `waf`, `dns` or `ecmp`")?;
    let s = &mut section;
    let options = (s.take("dns"), s.take("ecmp"));
    if options.0.is_none() && options.1.is_none() {
        let tier = tier(s, site, rank, !is_first);
        section.finish();
        return tier.map(|(balancer, plan)| FrontPlan::Tier { balancer, plan });
    }
    s.refuse(
        &["balancer", "waf", "instances", "director", "peers", "client_address", "addresses"],
        |key| format!("`{key}` has no meaning for `dns` and `ecmp`"),
        "it belongs to a tier of its own",
    );
    let tcp_check = s.optional("health", None, |item| checks_alone(&item).map(Some));
    let first_only = |options: &Item<'_>| {
        if !is_first {
            let help = "move it to the front: clients meet it first";
            options.error_with_help(format!("only the first tier can be `{}`", options.key), help);
        }
    };
    let front = match &options {
        (Some(_), Some(ecmp)) => {
            ecmp.error("a tier is `dns` or `ecmp`, not both".into());
            None
        }
        (Some(options), None) => {
            first_only(options);
            dns(options).zip(tcp_check).map(|(config, tcp_check)| FrontPlan::Dns { config, tcp_check })
        }
        (None, Some(options)) => {
            first_only(options);
            ecmp(options).zip(tcp_check).map(|(config, tcp_check)| FrontPlan::Ecmp { config, tcp_check })
        }
        (None, None) => None,
    };
    section.finish();
    front
}

/// `dns`.
fn dns(item: &Item<'_>) -> Option<DnsConfig> {
    let mut section = item.section("a table such as { ttl = \"5min\" }")?;
    let s = &mut section;
    let ttl = s.optional("ttl", SimDuration::from_secs(300), |item| item.duration_above_zero());
    let resolvers =
        s.optional("resolvers", 1_000, |item| item.integer(1, RESOLVERS_MAX).map(|number| number as u32));
    let zipf = s.optional("zipf", 1.0, |item| item.number_at_least(0.0));
    let order = s.optional("order", DnsOrder::Cyclic, |item| {
        item.one_of(&[("cyclic", DnsOrder::Cyclic), ("random", DnsOrder::Random)])
    });
    let ignore_ttl = s.optional("ignore_ttl", 0.0, |item| item.probability());
    let ignored_for =
        s.optional("ignored_for", SimDuration::from_secs(86_400), |item| item.duration_above_zero());
    let tries = s.optional("tries", 2, |item| item.integer(1, INSTANCES_MAX).map(|number| number as u32));
    section.finish();
    Some(DnsConfig {
        ttl: ttl?,
        resolvers: resolvers?,
        zipf: zipf?,
        order: order?,
        ignore_ttl: ignore_ttl?,
        ignored_for: ignored_for?,
        tries: tries?,
    })
}

/// `ecmp`.
fn ecmp(item: &Item<'_>) -> Option<EcmpConfig> {
    let mut section = item.section("a table such as { hash = \"flow\" }, which may be empty")?;
    let s = &mut section;
    let hash = s.optional("hash", EcmpHash::Flow, |item| {
        item.one_of(&[("flow", EcmpHash::Flow), ("address", EcmpHash::Address)])
    });
    let resilient = s.optional("resilient", false, |item| item.boolean());
    section.finish();
    Some(EcmpConfig { hash: hash?, resilient: resilient? })
}

/// `instances`: a number, or an array of names or of tables with `name` and `address`. `rank` counts tiers from the back.
/// Each has `apart` addresses unless they are given.
pub(super) fn instances(
    item: &Item<'_>,
    balancer: &str,
    rank: usize,
    apart: usize,
) -> Option<Vec<InstancePlan>> {
    if item.is_integer() {
        let number = item.integer(1, INSTANCES_MAX)? as usize;
        return Some(InstancePlan::unnamed(balancer, rank, number, apart));
    }
    let elements = item.elements("a number, or an array of names")?;
    if elements.is_empty() || elements.len() as u64 > INSTANCES_MAX {
        item.error(format!("a tier has 1 to {INSTANCES_MAX} instances, got {}", elements.len()));
        return None;
    }
    let defaults = InstancePlan::unnamed(balancer, rank, elements.len(), apart);
    let read = elements.iter().zip(defaults).map(|(item, default)| {
        if item.text().is_some() {
            return Some(InstancePlan { name: item.name()?.to_owned(), ..default });
        }
        let mut section =
            item.section("a name, or a table such as { name = \"lb1\", address = \"10.0.0.1\" }")?;
        let name = section.required("name", |item| item.name().map(str::to_owned));
        let address = section.optional("address", default.address, |item| item.address());
        section.finish();
        Some(InstancePlan { name: name?, address: address? })
    });
    let read: Vec<_> = read.collect();
    read.into_iter().collect()
}

/// `director`: `{ vrrp = { … } }`.
pub(super) fn director(item: &Item<'_>, program: Option<&Program>) -> Option<DirectorPlan> {
    let vrrp = item.section("a table such as { vrrp = {} }")?.single("protocol", &["vrrp"])?;
    let mut section = vrrp.section("a table of options: write `vrrp = {}`")?;
    let s = &mut section;
    let version = s.optional("version", 2, |item| item.integer(2, 3).map(|version| version as u8));
    let advert_int = s.optional("advert_int", SimDuration::from_secs(1), |item| {
        let time = item.duration()?;
        let least = if version == Some(2) { SimDuration::from_secs(1) } else { ADVERT_INT_MIN };
        if time < least {
            let help = "VRRP version 2 counts in seconds, version 3 in hundredths: add `version = 3`";
            item.error_with_help(format!("`advert_int` must be at least {least}, got {}", item.got()), help);
            return None;
        }
        Some(time)
    });
    let priority = s.optional("priority", [150, 100], |item| {
        let elements = item.elements("an array of two priorities, such as [150, 100]")?;
        let [master, backup] = elements.as_slice() else {
            item.error(format!("a pair has two priorities, got {}", elements.len()));
            return None;
        };
        Some([master.integer(1, 254)? as u8, backup.integer(1, 254)? as u8])
    });
    let nopreempt = s.optional("nopreempt", false, |item| item.boolean());
    let preempt_delay = s.optional("preempt_delay", SimDuration::ZERO, |item| item.duration());
    let sync = s.optional("sync", false, |item| {
        let sync = item.boolean()?;
        if sync && !matches!(program, Some(Program::Lvs(_)) | None) {
            let help = "only LVS has a sync daemon; leave it out";
            item.error_with_help("`sync` is of LVS".into(), help);
            return None;
        }
        Some(sync)
    });
    let track_script = s.optional("track_script", Vec::new(), |item| track_script(&item, program));
    section.finish();
    Some(DirectorPlan {
        version: version?,
        advert_int: advert_int?,
        priority: priority?,
        nopreempt: nopreempt?,
        preempt_delay: preempt_delay?,
        sync: sync?,
        track_script: track_script?,
    })
}

/// `track_script`, each with what its `vrrp_script` says.
fn track_script(item: &Item<'_>, program: Option<&Program>) -> Option<Vec<VrrpScript>> {
    let elements = item.elements("an array of scripts, such as [{ weight = -60 }]")?;
    if matches!(program, Some(Program::Lvs(_))) && !elements.is_empty() {
        let help = "leave it out; keepalived watches servers by `health`";
        item.error_with_help("a script looks for a process, and LVS is part of the kernel".into(), help);
        return None;
    }
    let script = |item: &Item<'_>| {
        let mut section = item.section("a table such as { interval = \"2s\", fall = 2, weight = -60 }")?;
        let s = &mut section;
        let defaults = VrrpScript::default();
        let interval =
            s.optional("interval", defaults.interval, |item| item.whole_seconds("keepalived", 1, SCRIPT_MAX));
        let timeout =
            s.optional("timeout", interval, |item| item.whole_seconds("keepalived", 1, SCRIPT_MAX).map(Some));
        let rise = s.optional("rise", defaults.rise, |item| item.u32_at_least(1));
        let fall = s.optional("fall", defaults.fall, |item| item.u32_at_least(1));
        let weight = s.optional("weight", defaults.weight, |item| {
            let weight = item.number()?;
            if weight.fract() != 0.0 || weight.abs() > WEIGHT_MAX {
                let message = format!("`weight` must be a whole number from -253 to 253, got {}", item.got());
                item.error_with_help(message, "0 takes the director out while the script fails");
                return None;
            }
            Some(weight as i16)
        });
        section.finish();
        Some(VrrpScript { interval: interval?, timeout: timeout?, rise: rise?, fall: fall?, weight: weight? })
    };
    elements.iter().map(script).collect::<Vec<_>>().into_iter().collect()
}

/// `client_address`: whether the next tier learns the client's address.
pub(super) fn client_address(s: &mut Section<'_>, layer: Option<Layer>) -> Option<bool> {
    let passes = layer != Some(Layer::Request);
    s.optional("client_address", passes, |item| item.one_of(&[("passed", true), ("hidden", false)]))
}

/// `addresses`: how many each instance connects from; `shows_own` says whether any of them is seen.
pub(super) fn addresses(s: &mut Section<'_>, shows_own: bool) -> Option<u8> {
    s.optional("addresses", 1, |item| {
        let number = item.integer(1, ADDRESSES_MAX)? as u8;
        if number > 1 && !shows_own {
            let help = "add `client_address = \"hidden\"`, or leave it out";
            item.error_with_help(
                "a director that passes its clients' addresses shows none of its own".into(),
                help,
            );
            return None;
        }
        Some(number)
    })
}

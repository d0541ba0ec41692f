//! Strategies: a balancer with its options, the checks that watch its servers, and where sessions live.

use super::proxy::waf_in_proxy_mode;
use super::tiers::{addresses, client_address, director, instances, tiers};
use super::{Names, Site, balancer, health, session};
use crate::scenario::section::{Item, Section};
use crate::scenario::{InstancePlan, PoolPlan, Program, Strategy, TierPlan};
use crate::tier::Layer;

/// One `[[strategy]]`.
pub(super) fn strategy(item: &Item<'_>, names: &mut Names, site: &Site<'_>) -> Option<Strategy> {
    let Some(mut section) = item.section("a table") else {
        names.add(None);
        return None;
    };
    let s = &mut section;
    let name_item = s.take("name");
    if name_item.is_none() {
        s.missing("name", None);
    }
    let name = names.add(name_item);
    let tiers = match s.take("tiers") {
        None => tier(s, site, 0, false).map(|(balancer, tier)| (balancer, Vec::new(), tier)),
        Some(item) => {
            s.refuse(
                &["balancer", "health", "instances", "director", "peers"],
                |key| format!("`{key}` belongs inside `tiers`"),
                "move it there",
            );
            tiers(&item, site)
        }
    };
    let session = match s.take("session") {
        Some(item) => session::session(&item),
        None => {
            let help = "add `session = { local = {} }`, or `session = { shared = { latency = \"2ms\" } }`";
            s.missing("session", Some(help));
            None
        }
    };
    section.finish();
    let (balancer, fronts, tier) = tiers?;
    Some(Strategy { name: name?, balancer, fronts, tier, session: session? })
}

/// A tier with a balancer: its program, checks and instances. `rank` counts tiers from the back; `is_behind` says whether another
/// tier stands in front.
pub(super) fn tier(
    section: &mut Section<'_>,
    site: &Site<'_>,
    rank: usize,
    is_behind: bool,
) -> Option<(String, TierPlan)> {
    let waf = if rank == 0 { None } else { section.take("waf") };
    let balancer = match &waf {
        None => section.required("balancer", |item| balancer::balancer(&item, site)),
        Some(item) => waf_in_proxy_mode(item, site),
    };
    let program = balancer.as_ref().map(|(_, program, _)| program);
    let name = balancer.as_ref().map_or("", |(name, _, _)| name);
    let name = waf.as_ref().map_or(name, |item| item.key);
    let layer = program.map(Program::layer);
    let passes_address = if rank == 0 { Some(true) } else { client_address(section, layer) };
    let shows_own = layer == Some(Layer::Request) || passes_address == Some(false);
    let addresses = if rank == 0 { Some(1) } else { addresses(section, shows_own) };
    let apart = usize::from(addresses.unwrap_or(1));
    let health = section.take("health");
    let director = section.optional("director", None, |item| director(&item, program).map(Some));
    let is_pair = matches!(director, Some(Some(_)));
    let instances = match section.take("instances") {
        None => Some(InstancePlan::unnamed(name, rank, if is_pair { 2 } else { 1 }, apart)),
        Some(item) => {
            let read = instances(&item, name, rank, apart);
            if is_pair && read.as_ref().is_some_and(|instances| instances.len() != 2) {
                let help = "leave out `instances`, or write two names";
                item.error_with_help("`director` makes a pair of two instances".into(), help);
            }
            read
        }
    };
    if !is_pair
        && !is_behind
        && matches!(program, Some(Program::Lvs(_)))
        && instances.as_ref().is_some_and(|instances| instances.len() > 1)
        && let Some(item) = section.take("instances")
    {
        let help = "add `director = { vrrp = {} }` for a pair, or a tier such as `{ ecmp = {} }` in front";
        item.error_with_help("nothing says which of the directors a connection reaches".into(), help);
    }
    let peers = section.optional("peers", false, |item| {
        let peers = item.boolean()?;
        let has_table = matches!(program, Some(Program::HaProxy(config)) if config.stick.is_some());
        let alone = instances.as_ref().is_some_and(|instances| instances.len() == 1);
        if peers && program.is_some() && (!has_table || alone) {
            let help = "add a `stick-table` to the balancer and a second instance, or leave it out";
            item.error_with_help("`peers` is of several HAProxys with stick tables".into(), help);
            return None;
        }
        Some(peers)
    });
    let of_its_own = match &balancer {
        Some((_, Program::Nginx(_), _)) => Some((
            "nginx open source has passive checks only, got `health`",
            "its own are `max_fails` and `fail_timeout`, options of the balancer",
        )),
        Some((_, Program::HaProxy(_), _)) => Some((
            "HAProxy watches its servers itself, got `health`",
            "its own is `check`, an option of the balancer: `check = { inter = \"2s\", fall = 3, rise = 2 }`",
        )),
        // The checks of any prober: they take a server out of the table and put it back.
        Some((_, Program::Lvs(_) | Program::Proxy(_), _)) | None => None,
    };
    let health = match (health, of_its_own) {
        (None, _) => Some((None, PoolPlan::default())),
        (Some(item), Some((message, help))) => {
            section.report().error_with_help(item.key_span, message.into(), help);
            None
        }
        (Some(item), None) => {
            health::health(&item, program, site, rank).map(|(check, pool)| (Some(check), pool))
        }
    };
    let (tcp_check, pool) = health?;
    let (name, program, keys) = balancer?;
    let plan = TierPlan {
        program,
        instances: instances?,
        keys,
        tcp_check,
        pool,
        director: director?,
        peers: peers?,
        passes_address: passes_address?,
        addresses: addresses?,
    };
    Some((name, plan))
}

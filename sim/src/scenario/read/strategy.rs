//! Strategies: a balancer with its options, the checks that watch its servers, and where sessions live.

use super::{Names, Site, balancer, session};
use crate::engine::SimDuration;
use crate::scenario::section::{Item, Section};
use crate::scenario::{Program, Strategy, TcpCheck, TierPlan};

/// What `health` is until it says otherwise: the configuration of the keepalived 2.2.7 recordings
/// (`keepalived-check-*`). keepalived's own `delay_loop` of 60 s is hardly ever left as it is.
const TCP_CHECK: TcpCheck = TcpCheck {
    delay_loop: SimDuration::from_secs(6),
    connect_timeout: SimDuration::from_secs(3),
    retry: 3,
    delay_before_retry: SimDuration::from_secs(1),
};

/// Instances of a tier at most.
const INSTANCES_MAX: u64 = 1_024;

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
    let tier = match s.take("tiers") {
        None => tier(s, site),
        Some(tiers) => {
            s.refuse(
                &["balancer", "health", "instances"],
                |key| format!("`{key}` belongs inside `tiers`"),
                "move it there",
            );
            one_tier(&tiers, site)
        }
    };
    s.refuse(
        &["director"],
        |_| "`director` is not modelled yet".into(),
        "leave it out: there is one director, and it does not fail",
    );
    let session = match s.take("session") {
        Some(item) => session::session(&item),
        None => {
            let help = "add `session = { local = {} }`, or `session = { shared = { latency = \"2ms\" } }`";
            s.missing("session", Some(help));
            None
        }
    };
    section.finish();
    let (balancer, tier) = tier?;
    Some(Strategy { name: name?, balancer, tier, session: session? })
}

/// `tiers`, of which there can be one.
fn one_tier(item: &Item<'_>, site: &Site<'_>) -> Option<(String, TierPlan)> {
    let tiers = item.elements("an array of { balancer = … }")?;
    let [only] = tiers.as_slice() else {
        let help = "write one `balancer`; two tiers, such as LVS in front of nginx, are not modelled yet";
        item.error_with_help(format!("one tier is supported now, got {}", tiers.len()), help);
        return None;
    };
    let mut section = only.section("a table with `balancer`")?;
    let tier = tier(&mut section, site);
    section.finish();
    tier
}

/// `balancer`, `health` and `instances`.
fn tier(section: &mut Section<'_>, site: &Site<'_>) -> Option<(String, TierPlan)> {
    let balancer = section.required("balancer", |item| balancer::balancer(&item, site));
    let health = section.take("health");
    let instances = section.optional("instances", 1, |item| {
        let number = item.integer(1, INSTANCES_MAX)? as u16;
        let alone = match &balancer {
            Some((_, Program::Lvs(_), _)) => "two active LVS directors are not modelled yet",
            Some((_, Program::HaProxy(_), _)) => "several HAProxy processes are not modelled yet",
            Some((_, Program::Nginx(_) | Program::Proxy(_), _)) | None => return Some(number),
        };
        if number > 1 {
            item.error_with_help(
                alone.into(),
                "nginx and the proxies of no particular program can stand side by side",
            );
            return None;
        }
        Some(number)
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
    let tcp_check = match (health, of_its_own) {
        (None, _) => Some(None),
        (Some(item), Some((message, help))) => {
            section.report().error_with_help(item.key_span, message.into(), help);
            None
        }
        (Some(item), None) => health_check(&item).map(Some),
    };
    let (name, program, keys) = balancer?;
    Some((name, TierPlan { program, instances: instances?, keys, tcp_check: tcp_check? }))
}

fn health_check(item: &Item<'_>) -> Option<TcpCheck> {
    /// keepalived keeps delays in microseconds; shorter ones would only drown the run in checks.
    const SHORTEST: SimDuration = SimDuration::from_millis(1);
    let check = item.section("a table such as { tcp_check = {} }")?.single("check", &["tcp_check"])?;
    let mut section = check.section("a table")?;
    let s = &mut section;
    let at_least_shortest = |item: Item<'_>| {
        let duration = item.duration()?;
        if duration < SHORTEST {
            item.error(format!("`{}` must be at least {SHORTEST}, got {}", item.key, item.got()));
            return None;
        }
        Some(duration)
    };
    let delay_loop = s.optional("delay_loop", TCP_CHECK.delay_loop, at_least_shortest);
    let connect_timeout = s.optional("connect_timeout", TCP_CHECK.connect_timeout, at_least_shortest);
    let retry = s.optional("retry", TCP_CHECK.retry, |item| item.u32_at_least(0));
    let delay_before_retry =
        s.optional("delay_before_retry", TCP_CHECK.delay_before_retry, at_least_shortest);
    section.finish();
    Some(TcpCheck {
        delay_loop: delay_loop?,
        connect_timeout: connect_timeout?,
        retry: retry?,
        delay_before_retry: delay_before_retry?,
    })
}

//! `health`: the checks that watch a tier's servers, and what keepalived makes of them.

use super::Site;
use crate::engine::SimDuration;
use crate::health::keepalived::CheckKind;
use crate::ids::ServerId;
use crate::scenario::section::{Item, Section};
use crate::scenario::{CheckRule, PoolConfig, PoolPlan, Program};

/// What `health` is until it says otherwise: the configuration of the keepalived 2.2.7 recordings
/// (`keepalived-check-*`). keepalived's own `delay_loop` of 60 s is hardly ever left as it is.
const TCP_CHECK: CheckRule = CheckRule {
    kind: CheckKind::Tcp,
    delay_loop: SimDuration::from_secs(6),
    connect_timeout: SimDuration::from_secs(3),
    retry: 3,
    delay_before_retry: SimDuration::from_secs(1),
    warmup: None,
    alpha: false,
};

/// Options of `health` that are of the pool that keepalived keeps in a director's table.
const OF_POOL: [&str; 5] = ["quorum", "hysteresis", "sorry_server", "sorry_status", "inhibit_on_failure"];

/// The checks of a tier, and its pool. `rank` counts tiers from the back.
pub(super) fn health(
    item: &Item<'_>,
    program: Option<&Program>,
    site: &Site<'_>,
    rank: usize,
) -> Option<(CheckRule, PoolPlan)> {
    let mut section = item.section("a table such as { tcp_check = {} }")?;
    let s = &mut section;
    let pool = match program {
        Some(Program::Lvs(config)) => {
            let weights = config.services[0].servers.iter().map(|server| server.weight);
            pool(s, &weights.collect::<Vec<_>>(), site, rank)
        }
        Some(_) => {
            s.refuse(&OF_POOL, |key| format!("`{key}` is of keepalived on an LVS director"), "leave it out");
            Some(PoolPlan::default())
        }
        None => {
            OF_POOL.iter().for_each(|key| drop(s.take(key)));
            Some(PoolPlan::default())
        }
    };
    let check = check(s, matches!(program, Some(Program::Lvs(_)) | None));
    section.finish();
    check.zip(pool)
}

/// The checks by which names and routers in front learn who is there.
pub(super) fn checks_alone(item: &Item<'_>) -> Option<CheckRule> {
    let mut section = item.section("a table such as { tcp_check = {} }")?;
    let s = &mut section;
    s.refuse(&OF_POOL, |key| format!("`{key}` is of keepalived on an LVS director"), "leave it out");
    let check = check(s, false);
    section.finish();
    check
}

/// `tcp_check` or `http_get`; `starts` says whether it is a keepalived that may start during a run.
fn check(s: &mut Section<'_>, starts: bool) -> Option<CheckRule> {
    /// keepalived keeps delays in microseconds; shorter ones would only drown the run in checks.
    const SHORTEST: SimDuration = SimDuration::from_millis(1);
    let item = match (s.take("tcp_check"), s.take("http_get")) {
        (Some(_), Some(second)) => {
            let message = "`health` takes one check, got `tcp_check` and `http_get`".into();
            s.report().error_with_help(second.key_span, message, "leave out one of the two");
            return None;
        }
        (Some(item), None) | (None, Some(item)) => item,
        (None, None) => {
            s.missing("tcp_check", Some("add `tcp_check = {}` or `http_get = {}`"));
            return None;
        }
    };
    let kind = if item.key == "http_get" { CheckKind::Http } else { CheckKind::Tcp };
    let mut section = item.section("a table")?;
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
    if !starts {
        let why = |key: &str| format!("`{key}` is of the start of a keepalived on an LVS director");
        s.refuse(&["warmup", "alpha"], why, "leave it out");
    }
    // keepalived takes the delay of the loop where nothing is said.
    let warmup = s.optional("warmup", delay_loop.filter(|_| starts), |item| item.duration().map(Some));
    let alpha = s.optional("alpha", TCP_CHECK.alpha, |item| item.boolean());
    section.finish();
    Some(CheckRule {
        delay_loop: delay_loop?,
        connect_timeout: connect_timeout?,
        retry: retry?,
        delay_before_retry: delay_before_retry?,
        warmup: warmup?,
        alpha: alpha?,
        kind,
    })
}

/// The options of a `virtual_server` whose servers have these weights.
fn pool(s: &mut Section<'_>, weights: &[u32], site: &Site<'_>, rank: usize) -> Option<PoolPlan> {
    let sorry_server = s.optional("sorry_server", None, |item| {
        if rank > 0 {
            let help = "write it in the last tier; a tier in front has balancers behind it";
            item.error_with_help("`sorry_server` stands beside the servers".into(), help);
            return None;
        }
        let server = site.names.find(&item).map(ServerId::from_index)?;
        if weights.len() == 1 {
            let help = "add a server to `cluster.servers`";
            item.error_with_help("the only server is no sorry server for itself".into(), help);
            return None;
        }
        Some(Some(server))
    });
    let sorry_status = match sorry_server {
        Some(None) => {
            let why = |key: &str| format!("`{key}` has no meaning without `sorry_server`");
            s.refuse(&["sorry_status"], why, "leave it out, or add `sorry_server`");
            Some(None)
        }
        _ => s.optional("sorry_status", Some(503), |item| {
            item.or_none(|item| item.integer(400, 599).map(|status| status as u16))
        }),
    };
    let in_pool = (0..).map(ServerId).zip(weights).filter(|&(server, _)| sorry_server != Some(Some(server)));
    let whole = in_pool.map(|(_, &weight)| u64::from(weight)).sum::<u64>().max(1);
    let quorum = s.optional("quorum", 1, |item| {
        let quorum = item.u32_at_least(1)?;
        if u64::from(quorum) > whole {
            let help = "it counts the weight of servers that live";
            let message =
                format!("`quorum` must be at most the weight of all servers ({whole}), got {quorum}");
            item.error_with_help(message, help);
            return None;
        }
        Some(quorum)
    });
    let hysteresis = s.optional("hysteresis", 0, |item| {
        let hysteresis = item.u32_at_least(0)?;
        if quorum.is_some_and(|quorum| hysteresis >= quorum) {
            item.error_with_help(
                format!("`hysteresis` must be less than `quorum`, got {hysteresis}"),
                "the quorum is lost at so much less weight, and gained at so much more",
            );
            return None;
        }
        Some(hysteresis)
    });
    let inhibit_on_failure = s.optional("inhibit_on_failure", false, |item| item.boolean());
    let config = PoolConfig {
        quorum: quorum?,
        hysteresis: hysteresis?,
        sorry_server: sorry_server?,
        inhibit_on_failure: inhibit_on_failure?,
    };
    Some(PoolPlan { config, sorry_status: sorry_status? })
}

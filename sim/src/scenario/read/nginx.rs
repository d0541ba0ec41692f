//! nginx's options, spelled as in its configuration, with the limits and defaults of nginx 1.22.1 unless `version` is another
//! (`ngx_http_upstream_module`, `ngx_http_proxy_module`).

use super::Site;
use super::balancer::{per_server, refuse_foreign};
use super::cluster::{ReadServer, WEIGHT_MAX};
use super::options::{limit, read_options};
use crate::balancer::nginx::NginxMethod;
use crate::engine::{SimDuration, Stream};
use crate::ids::StreamId;
use crate::scenario::diagnostic::similar;
use crate::scenario::section::{Item, Section};
use crate::tier::nginx::{NextUpstream, NginxConfig, NginxServer, NginxVersion, StickyCookie};

/// Worker processes at most; nginx itself has no limit near it.
const WORKERS_MAX: u64 = 1_024;

/// An upstream with `method`.
pub(super) fn nginx(s: &mut Section<'_>, mut method: NginxMethod, site: &Site<'_>) -> Option<NginxConfig> {
    /// nginx's default of `proxy_connect_timeout` and `proxy_read_timeout`.
    const TIMEOUT: SimDuration = SimDuration::from_secs(60);
    let all_good = read_options(s, &mut method);
    let version = s.optional("version", NginxVersion::default(), |item| version(&item));
    let sticky = s.optional("sticky", None, |item| sticky(&item));
    let common = nginx_limits(s, &NginxServer::default());
    let own = per_server(s, site.names);
    let next_upstream =
        s.optional("proxy_next_upstream", NextUpstream::default(), |item| next_upstream(&item));
    let next_upstream_tries = s.optional("proxy_next_upstream_tries", 0, |item| item.u32_at_least(0));
    let next_upstream_timeout =
        s.optional("proxy_next_upstream_timeout", SimDuration::ZERO, |item| item.duration());
    let connect_timeout = s.optional("proxy_connect_timeout", TIMEOUT, |item| item.duration_above_zero());
    let read_timeout = s.optional("proxy_read_timeout", TIMEOUT, |item| item.duration_above_zero());
    let workers =
        s.optional("worker_processes", 1, |item| item.integer(1, WORKERS_MAX).map(|number| number as u16));
    let zone = s.optional("zone", false, |item| item.boolean());

    let common = common.unwrap_or_default();
    let own = own?;
    let read = site.servers?.iter().enumerate().map(|(place, server)| {
        let item = own.iter().find(|(at, _)| *at == place).map(|(_, item)| item);
        nginx_server(s, item, &common, server, &method)
    });
    let read: Vec<_> = read.collect();
    let servers = read.into_iter().collect::<Option<Vec<_>>>()?;
    if servers.iter().all(|server| server.backup) {
        s.report().error_with_help(
            s.span(),
            "all servers are `backup`, so there is none to back up".into(),
            "nginx refuses such a configuration: \"no servers are inside upstream\"",
        );
        return None;
    }
    let config = NginxConfig {
        version: version?,
        method,
        sticky: sticky?,
        servers,
        workers: workers?,
        zone: zone?,
        next_upstream: next_upstream?,
        next_upstream_tries: next_upstream_tries?,
        next_upstream_timeout: next_upstream_timeout?,
        connect_timeout: connect_timeout?,
        read_timeout: read_timeout?,
        clock_phase: SimDuration::ZERO,
        draws: Stream::new(0, 0, StreamId::Balancer),
        instance: 0,
    };
    if !all_good {
        return None;
    }
    if let Err(error) = config.check() {
        s.report().error(s.span(), error.to_string());
        return None;
    }
    Some(config)
}

/// `version`: a release branch, such as `1.22`; of a full version, such as `1.22.1`, its branch.
fn version(item: &Item<'_>) -> Option<NginxVersion> {
    let written = item.string()?;
    let branch = written.rsplit_once('.').filter(|(branch, _)| branch.contains('.'));
    let branch = branch.map_or(written, |(branch, _)| branch);
    let known = NginxVersion::NAMES.iter();
    let found = known.clone().find(|(name, _)| *name == branch).map(|(_, version)| *version);
    if found.is_none() {
        let known: Vec<_> = known.map(|(name, _)| format!("`{name}`")).collect();
        let message = format!("nginx {written} is not known to this simulator");
        item.error_with_help(message, format!("its stable versions that are: {}", known.join(", ")));
    }
    found
}

/// `sticky`: `{ cookie = NAME, expires = time }`, or `"none"`.
fn sticky(item: &Item<'_>) -> Option<Option<StickyCookie>> {
    if item.text() == Some("none") {
        return Some(None);
    }
    let mut section = item.section("a table such as { cookie = \"srv_id\", expires = \"1h\" }")?;
    let s = &mut section;
    s.refuse(
        &["route", "learn"],
        |way| format!("`sticky {way}` is not modelled"),
        "use the cookie of nginx's own: `sticky = { cookie = \"srv_id\" }`",
    );
    let name = s.required("cookie", |item| item.string().map(Box::from));
    let expires = s.optional("expires", None, |item| limit(&item, SimDuration::from_secs(1)));
    section.finish();
    Some(Some(StickyCookie { name: name?, expires: expires? }))
}

/// The options of a server that may also be given for all.
fn nginx_limits(s: &mut Section<'_>, defaults: &NginxServer) -> Option<NginxServer> {
    /// nginx keeps the window in whole seconds; a year is as good as for ever.
    const FAIL_TIMEOUT_MAX: u64 = 366 * 86_400;
    let max_fails = s.optional("max_fails", defaults.max_fails, |item| item.u32_at_least(0));
    let fail_timeout_s = s.optional("fail_timeout", defaults.fail_timeout_s, |item| {
        let timeout = item.whole_seconds("nginx", 0, FAIL_TIMEOUT_MAX)?;
        Some(timeout.0 / SimDuration::from_secs(1).0)
    });
    let max_conns = s.optional("max_conns", defaults.max_conns, |item| item.u32_at_least(0));
    Some(NginxServer {
        max_fails: max_fails?,
        fail_timeout_s: fail_timeout_s?,
        max_conns: max_conns?,
        ..defaults.clone()
    })
}

/// One server of an upstream: its own options over the common ones.
fn nginx_server(
    options: &Section<'_>,
    own: Option<&Item<'_>>,
    common: &NginxServer,
    server: &ReadServer,
    method: &NginxMethod,
) -> Option<NginxServer> {
    const ZERO_HELP: &str = "to take a server out, set `down = true`";
    let zero = || "`weight` must be at least 1 in nginx, got 0".to_owned();
    let cluster_weight = || {
        if server.weight == Some(0) {
            options.report().error_with_help(server.weight_span, zero(), ZERO_HELP);
            return None;
        }
        server.weight
    };
    let address = server.address.clone().unwrap_or_default();
    let Some(item) = own else {
        return Some(NginxServer { weight: cluster_weight()?, address, ..common.clone() });
    };
    let mut section = item.section("a table of the server's options")?;
    let s = &mut section;
    refuse_foreign(s, true, "nginx");
    let weight = match s.take("weight") {
        None => cluster_weight(),
        Some(item) => item.integer(0, WEIGHT_MAX).and_then(|weight| {
            if weight == 0 {
                item.error_with_help(zero(), ZERO_HELP);
                return None;
            }
            Some(weight as u32)
        }),
    };
    let limits = nginx_limits(s, common);
    let down = s.optional("down", false, |item| item.boolean());
    let backup = s.optional("backup", false, |item| {
        let backup = item.boolean()?;
        if backup && !method.takes_backup() {
            let help = format!(
                "nginx refuses it with `{}`; use `nginx.round_robin` or `nginx.least_conn`, or `down = true`",
                method.name()
            );
            item.error_with_help("the balancing method does not support `backup`".into(), help);
            return None;
        }
        Some(backup)
    });
    let drain = s.optional("drain", false, |item| item.boolean());
    section.finish();
    let (weight, down, drain, backup) = (weight?, down?, drain?, backup?);
    Some(NginxServer { weight, down, drain, backup, address, ..limits? })
}

/// `proxy_next_upstream`: its words, in any order, or `off`.
fn next_upstream(item: &Item<'_>) -> Option<NextUpstream> {
    let text = item.string()?;
    let mut next = NextUpstream { error: false, timeout: false, statuses: [false; 7], non_idempotent: false };
    if text.trim() == "off" {
        return Some(next);
    }
    let known = || next_upstream_words().chain(["off".to_owned()]);
    if text.trim().is_empty() {
        let help = similar("word", "", known()).unwrap_or_default();
        item.error_with_help(format!("`{}` must name conditions, got {}", item.key, item.got()), help);
        return None;
    }
    for word in text.split_whitespace() {
        let status = word.strip_prefix("http_").and_then(|code| code.parse().ok());
        let status =
            status.and_then(|code: u16| NextUpstream::STATUSES.iter().position(|known| *known == code));
        match (word, status) {
            ("error", _) => next.error = true,
            ("timeout", _) => next.timeout = true,
            ("non_idempotent", _) => next.non_idempotent = true,
            (_, Some(place)) => next.statuses[place] = true,
            ("off", _) => {
                let help = "write `off` alone, or leave it out";
                item.error_with_help(format!("`off` contradicts the rest of {}", item.got()), help);
                return None;
            }
            _ => {
                item.unknown("condition", word, known());
                return None;
            }
        }
    }
    Some(next)
}

fn next_upstream_words() -> impl Iterator<Item = String> {
    let statuses = NextUpstream::STATUSES.iter().map(|code| format!("http_{code}"));
    ["error", "timeout", "non_idempotent"].into_iter().map(str::to_owned).chain(statuses)
}

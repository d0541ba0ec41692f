//! Balancers and their options, spelled as in the programs' own configuration, with the programs' own limits and
//! defaults: nginx 1.22.1 (`ngx_http_upstream_module`, `ngx_http_proxy_module`), `ipvsadm` 1.31 and `net.ipv4.vs` of
//! Linux 6.1.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::Names;
use super::cluster::{ReadServer, WEIGHT_MAX};
use super::haproxy::haproxy;
use super::proxy::proxy;
use crate::balancer::lvs::{LvsScheduler, SchedulerFlags};
use crate::balancer::nginx::NginxMethod;
use crate::balancer::{CatalogueEntry, entries, entry};
use crate::engine::{SimDuration, Stream};
use crate::ids::StreamId;
use crate::scenario::Program;
use crate::scenario::diagnostic::similar;
use crate::scenario::section::{Item, Section};
use crate::tier::lvs::{
    Forwarding, KernelClock, LvsConfig, LvsServer, LvsService, LvsSysctl, LvsTimeouts, TemplateScope,
};
use crate::tier::nginx::{HashKey, NextUpstream, NginxConfig, NginxServer};
use crate::tier::proxy::ProxyMethod;

/// Options that only one of the programs has, for a better answer than "unknown key".
const NGINX_ONLY: &[&str] = &[
    "max_fails",
    "fail_timeout",
    "max_conns",
    "proxy_next_upstream",
    "proxy_next_upstream_tries",
    "proxy_next_upstream_timeout",
    "proxy_connect_timeout",
    "proxy_read_timeout",
    "worker_processes",
    "zone",
    "down",
    "backup",
];
const LVS_ONLY: &[&str] = &[
    "flags",
    "persistence_timeout",
    "persistence_granularity",
    "timeouts",
    "forwarding",
    "expire_nodest_conn",
    "expire_quiescent_template",
    "conn_reuse_mode",
    "sloppy_tcp",
    "u_threshold",
    "l_threshold",
];
/// Parameters of nginx's directives `hash` and `random`; those that make another method of it are balancers of their own.
const PARAMETERS: &[(&str, &str)] = &[
    ("key", "only nginx's hash methods have a key: `nginx.hash` and `nginx.hash_consistent`"),
    ("consistent", "the consistent hash is a balancer of its own: `nginx.hash_consistent`"),
    ("two", "`random two least_conn` is a balancer of its own: `nginx.random_two`"),
    (
        "least_conn",
        "it is a balancer of its own, `nginx.least_conn`, and part of another, `nginx.random_two`",
    ),
];

/// Longest timeout that `ipvsadm` takes: 31 days (`MAX_TIMEOUT`) \[s\].
const IPVSADM_TIMEOUT_MAX: u64 = 31 * 86_400;
/// Tick rate of Debian's kernel, of which the recordings are [Hz].
const KERNEL_HZ: u32 = 250;
/// Worker processes at most; nginx itself has no limit near it.
const WORKERS_MAX: u64 = 1_024;

/// `balancer`: its scenario name and its configuration.
pub(super) fn balancer(
    item: &Item<'_>,
    names: &Names,
    servers: Option<&[ReadServer]>,
) -> Option<(String, Program)> {
    if let Some(name) = item.text() {
        let Some(entry) = entry(name) else {
            item.unknown("balancer", name, entries().map(|entry| entry.scenario_name));
            return None;
        };
        let program = configure(entry, item.empty_section(), names, servers)?;
        return Some((name.to_owned(), program));
    }
    let mut section = item.section("a table such as { nginx.round_robin = {} }")?;
    let programs = section.entries();
    let [program] = programs.as_slice() else {
        let known = similar("balancer", "", entries().map(|entry| entry.scenario_name)).unwrap_or_default();
        let message = format!("`balancer` takes one balancer, got {}", programs.len());
        section.report().error_with_help(
            programs.get(1).map_or(section.span(), |second| second.key_span),
            message,
            known,
        );
        return None;
    };
    // `"nginx.ip_hash" = {}`, with the whole name as one key, reads the same as `nginx.ip_hash = {}`.
    if let Some(entry) = entry(program.key) {
        let program = configure(entry, options(program)?, names, servers)?;
        return Some((entry.scenario_name.to_owned(), program));
    }
    let unknown = |span, name: &str| {
        let help = similar("name", name, entries().map(|entry| entry.scenario_name)).unwrap_or_default();
        item.report().error_with_help(span, format!("unknown balancer `{name}`"), help);
    };
    if program.is_scalar() {
        unknown(program.key_span, program.key);
        return None;
    }
    let mut methods = program.section("a table with the balancer's method")?;
    let methods = methods.entries();
    let [method] = methods.as_slice() else {
        let of_program =
            entries().filter(|entry| entry.program == program.key).map(|entry| entry.scenario_name);
        let of_program: Vec<_> = of_program.collect();
        if of_program.is_empty() {
            unknown(program.key_span, program.key);
        } else {
            let message = format!("`{}` takes one method, got {}", program.key, methods.len());
            let help = similar("balancer", "", of_program).unwrap_or_default();
            item.report().error_with_help(program.key_span, message, help);
        }
        return None;
    };
    let name = format!("{}.{}", program.key, method.key);
    let Some(entry) = entry(&name) else {
        unknown(program.key_span.to(method.key_span), &name);
        return None;
    };
    let program = configure(entry, options(method)?, names, servers)?;
    Some((name, program))
}

/// The table of a balancer's options.
fn options<'a>(item: &Item<'a>) -> Option<Section<'a>> {
    item.section(&format!("a table of options: write `{} = {{}}`", item.key))
}

/// The configuration of a catalogue entry.
fn configure(
    entry: &CatalogueEntry,
    mut options: Section<'_>,
    names: &Names,
    servers: Option<&[ReadServer]>,
) -> Option<Program> {
    if entry.program == "haproxy" {
        let program = haproxy(&mut options, entry.name, names, servers).map(Program::HaProxy);
        options.finish();
        return program;
    }
    if let Some(method) = ProxyMethod::by_name(entry.program, entry.name) {
        let program = proxy(&mut options, method, names, servers).map(Program::Proxy);
        options.finish();
        return program;
    }
    let is_nginx = entry.program == "nginx";
    refuse_foreign(&mut options, is_nginx, entry.scenario_name);
    let why = |key: &str| format!("`{key}` has no meaning with `{}`", entry.scenario_name);
    let method = if is_nginx { Some(NginxMethod::by_name(entry.name)?) } else { None };
    for (parameter, help) in PARAMETERS {
        if *parameter != "key" || !method.as_ref().is_some_and(NginxMethod::hashes_key) {
            options.refuse(&[parameter], why, help);
        }
    }
    let program = if let Some(method) = method {
        nginx(&mut options, method, names, servers).map(Program::Nginx)
    } else {
        lvs(&mut options, LvsScheduler::by_name(entry.name)?, names, servers).map(Program::Lvs)
    };
    options.finish();
    program
}

fn refuse_foreign(section: &mut Section<'_>, is_nginx: bool, balancer: &str) {
    let (foreign, owner, help) = if is_nginx {
        (LVS_ONLY, "LVS", "what ties a client to a server in nginx is the method, such as `nginx.ip_hash`")
    } else {
        let help = "LVS does not watch its servers itself; keepalived does: `health = { tcp_check = {} }`";
        (NGINX_ONLY, "nginx", help)
    };
    section.refuse(foreign, |key| format!("`{key}` is an option of {owner}, not of `{balancer}`"), help);
}

/// The per-server options under `servers`, by the servers' places.
pub(super) fn per_server<'a>(options: &mut Section<'a>, names: &Names) -> Option<Vec<(usize, Item<'a>)>> {
    options.optional("servers", Vec::new(), |item| {
        let mut section = item.section("a table by the servers' names, such as { web2 = { weight = 2 } }")?;
        let found: Vec<_> =
            section.entries().into_iter().map(|item| Some((names.find_key(&item)?, item))).collect();
        found.into_iter().collect()
    })
}

fn nginx(
    s: &mut Section<'_>,
    method: NginxMethod,
    names: &Names,
    servers: Option<&[ReadServer]>,
) -> Option<NginxConfig> {
    /// nginx's default of `proxy_connect_timeout` and `proxy_read_timeout`.
    const TIMEOUT: SimDuration = SimDuration::from_secs(60);
    let hash_key = match method.hashes_key() {
        true => s.optional("key", HashKey::default(), |item| hash_key(&item)),
        false => Some(HashKey::default()),
    };
    let common = nginx_limits(s, &NginxServer::default());
    let own = per_server(s, names);
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
    let read = servers?.iter().enumerate().map(|(place, server)| {
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
        method,
        hash_key: hash_key?,
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
    if let Err(error) = config.check() {
        s.report().error(s.span(), error.to_string());
        return None;
    }
    Some(config)
}

/// The key of a hash method: the name of one of nginx's variables, with or without its `$`. nginx has no default; here it is
/// the client's address.
fn hash_key(item: &Item<'_>) -> Option<HashKey> {
    /// Variables that nginx has and a simulated request does not.
    const WITHOUT_VALUE: [&str; 5] = ["uri", "request_uri", "arg", "http", "host"];
    let text = item.string()?;
    let name = text.strip_prefix('$').unwrap_or(text);
    let kind = name.split_once('_').map_or(name, |(kind, _)| kind);
    let found =
        HashKey::NAMES.iter().find(|(known, _)| *known == name || (kind, *known) == ("cookie", "cookie"));
    if let Some((_, key)) = found {
        return Some(*key);
    }
    if WITHOUT_VALUE.iter().any(|known| *known == name || *known == kind) {
        let help = "a simulated request shows its client's address and a cookie: \"remote_addr\", \
                    \"binary_remote_addr\" or \"cookie\"";
        item.error_with_help(format!("`key` {} is not modelled yet", item.got()), help);
        return None;
    }
    item.unknown("variable", name, HashKey::NAMES.iter().map(|(known, _)| known));
    None
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
    let address = server.resolved.as_ref().map_or_else(String::new, |server| server.address.clone());
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
    section.finish();
    Some(NginxServer { weight: weight?, down: down?, backup: backup?, address, ..limits? })
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

fn lvs(
    s: &mut Section<'_>,
    scheduler: LvsScheduler,
    names: &Names,
    servers: Option<&[ReadServer]>,
) -> Option<LvsConfig> {
    let scheduler_flags =
        s.optional("flags", SchedulerFlags::default(), |item| scheduler_flags(&item, scheduler.name()));
    let persistence_timeout = s.optional("persistence_timeout", None, |item| {
        if item.text() == Some("none") {
            return Some(None);
        }
        item.whole_seconds("ipvsadm", 1, IPVSADM_TIMEOUT_MAX).map(Some)
    });
    let granularity = s.optional("persistence_granularity", (32, 128), |item| {
        if persistence_timeout == Some(None) {
            let message = "`persistence_granularity` has no meaning without `persistence_timeout`";
            item.report().error_with_help(
                item.key_span,
                message.into(),
                "add `persistence_timeout = \"120s\"`",
            );
            return None;
        }
        granularity(&item)
    });
    let timeouts = s.optional("timeouts", LvsTimeouts::default(), |item| lvs_timeouts(&item));
    let forwarding = s.optional("forwarding", Forwarding::Dr, |item| {
        item.one_of(&[("nat", Forwarding::Nat), ("dr", Forwarding::Dr), ("tun", Forwarding::Tun)])
    });
    let sysctl = LvsSysctl::default();
    let [nodest, quiescent, reuse, sloppy] = [
        ("expire_nodest_conn", sysctl.expire_nodest_conn),
        ("expire_quiescent_template", sysctl.expire_quiescent_template),
        ("conn_reuse_mode", sysctl.conn_reuse_mode),
        ("sloppy_tcp", sysctl.sloppy_tcp),
    ]
    .map(|(key, default)| s.optional(key, default, |item| item.boolean()));
    let own = per_server(s, names)?;
    let read = servers?.iter().enumerate().map(|(place, server)| {
        let item = own.iter().find(|(at, _)| *at == place).map(|(_, item)| item);
        let address = lvs_address(s, scheduler.name(), server);
        Some(LvsServer { address: address?, ..lvs_server(item, server)? })
    });
    let read: Vec<_> = read.collect();
    let (persistence_prefix_v4, persistence_prefix_v6) = granularity?;
    let service = LvsService {
        scheduler,
        scheduler_flags: scheduler_flags?,
        persistence_timeout: persistence_timeout?,
        persistence_prefix_v4,
        persistence_prefix_v6,
        template_scope: TemplateScope::Port,
        servers: read.into_iter().collect::<Option<Vec<_>>>()?,
    };
    Some(LvsConfig {
        services: vec![service],
        forwarding: forwarding?,
        timeouts: timeouts?,
        sysctl: LvsSysctl {
            expire_nodest_conn: nodest?,
            expire_quiescent_template: quiescent?,
            conn_reuse_mode: reuse?,
            sloppy_tcp: sloppy?,
        },
        clock: KernelClock { hz: KERNEL_HZ, jiffies_at_zero: 0, tick_phase: SimDuration::ZERO },
    })
}

/// `-b`: the flags of a scheduler, as `ipvsadm` spells them.
fn scheduler_flags(item: &Item<'_>, scheduler: &str) -> Option<SchedulerFlags> {
    let known = SchedulerFlags::names(scheduler);
    if known.is_empty() {
        let message = format!("`flags` has no meaning with `lvs.{scheduler}`");
        let help = "only `lvs.sh` and `lvs.mh` have flags; leave it out";
        item.report().error_with_help(item.key_span, message, help);
        return None;
    }
    let mut flags = SchedulerFlags::default();
    let elements = item.elements(&format!("an array of flags, such as [\"{}\"]", known[0]))?;
    let read = elements.iter().map(|item| {
        let flag = item.string()?;
        if flags.set(scheduler, flag) {
            return Some(());
        }
        item.unknown("flag", flag, known);
        None
    });
    let read: Vec<_> = read.collect();
    read.into_iter().collect::<Option<()>>()?;
    Some(flags)
}

/// The address of a server whose name alone is known.
const UNKNOWN_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// `-r`, with port 80 where none is written: the web service's own, which `ipvsadm` takes. `mh` alone has to know it.
fn lvs_address(options: &Section<'_>, scheduler: &str, server: &ReadServer) -> Option<SocketAddr> {
    // What is wrong with a server that could not be read has been reported.
    let Some(server) = &server.resolved else { return Some(UNKNOWN_ADDRESS) };
    let written = &server.address;
    let address = written.parse().ok().or_else(|| Some(SocketAddr::new(written.parse().ok()?, 80)));
    if address.is_none() && scheduler == "mh" {
        options.report().error_with_help(
            options.span(),
            format!(
                "`lvs.mh` hashes the addresses of its servers, and `{}` has only a name: `{written}`",
                server.name
            ),
            "write its IP address in `cluster.servers`",
        );
        return None;
    }
    Some(address.unwrap_or(UNKNOWN_ADDRESS))
}

/// `-M`: an IPv4 netmask or `/24`, an IPv6 prefix length as a number, or a table of both.
fn granularity(item: &Item<'_>) -> Option<(u8, u8)> {
    const HELP: &str = "write \"255.255.255.0\" or \"/24\" for IPv4, a number such as 64 for IPv6";
    let v4 = |item: &Item<'_>| {
        let text = item.string()?;
        let bits = match text.strip_prefix('/') {
            Some(bits) => bits.parse::<u8>().ok().filter(|bits| (1..=32).contains(bits)),
            None => text.parse::<std::net::Ipv4Addr>().ok().map(u32::from).and_then(|mask| {
                let bits = mask.leading_ones();
                // A mask with holes would tie clients together that share no network.
                (bits > 0 && mask.count_ones() == bits).then_some(bits as u8)
            }),
        };
        if bits.is_none() {
            item.error_with_help(format!("`{}` must be a netmask, got {}", item.key, item.got()), HELP);
        }
        bits
    };
    let v6 = |item: &Item<'_>| item.integer(1, 128).map(|bits| bits as u8);
    if item.text().is_some() {
        return v4(item).map(|bits| (bits, 128));
    }
    if item.is_integer() {
        return v6(item).map(|bits| (32, bits));
    }
    let mut section = item.section("a netmask")?;
    let bits_v4 = section.optional("v4", 32, |item| v4(&item));
    let bits_v6 = section.optional("v6", 128, |item| v6(&item));
    section.finish();
    bits_v4.zip(bits_v6)
}

fn lvs_timeouts(item: &Item<'_>) -> Option<LvsTimeouts> {
    let mut section = item.section("a table such as { tcp = \"30s\", tcp_fin = \"5s\", udp = \"60s\" }")?;
    let defaults = LvsTimeouts::default();
    let [tcp, tcp_fin, udp] = [("tcp", defaults.tcp), ("tcp_fin", defaults.tcp_fin), ("udp", defaults.udp)]
        .map(|(key, default)| {
            section.optional(key, default, |item| item.whole_seconds("ipvsadm", 1, IPVSADM_TIMEOUT_MAX))
        });
    section.finish();
    Some(LvsTimeouts { tcp: tcp?, tcp_fin: tcp_fin?, udp: udp? })
}

fn lvs_server(own: Option<&Item<'_>>, server: &ReadServer) -> Option<LvsServer> {
    let Some(item) = own else {
        let (address, weight) = (UNKNOWN_ADDRESS, server.weight?);
        return Some(LvsServer { address, weight, upper_threshold: 0, lower_threshold: 0 });
    };
    let mut section = item.section("a table of the server's options")?;
    let s = &mut section;
    refuse_foreign(s, false, "lvs");
    let weight = match s.take("weight") {
        Some(item) => item.integer(0, WEIGHT_MAX).map(|number| number as u32),
        None => server.weight,
    };
    let upper_threshold = s.optional("u_threshold", 0, |item| item.u32_at_least(0));
    let lower_threshold = s.optional("l_threshold", 0, |item| {
        let lower = item.u32_at_least(0)?;
        if let Some(upper) = upper_threshold
            && lower > upper
        {
            let message = format!("`l_threshold` must be at most `u_threshold` ({upper}), got {lower}");
            item.error(message);
            return None;
        }
        Some(lower)
    });
    section.finish();
    Some(LvsServer {
        address: UNKNOWN_ADDRESS,
        weight: weight?,
        upper_threshold: upper_threshold?,
        lower_threshold: lower_threshold?,
    })
}

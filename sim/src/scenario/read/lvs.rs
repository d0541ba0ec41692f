//! The options of an IPVS director, spelled as `ipvsadm` 1.31 and `net.ipv4.vs` of Linux 6.1 spell them, with their limits
//! and defaults.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::Site;
use super::balancer::{per_server, refuse_foreign};
use super::cluster::{ReadServer, WEIGHT_MAX};
use crate::balancer::lvs::{LvsScheduler, SchedulerFlags};
use crate::engine::SimDuration;
use crate::scenario::section::{Item, Section};
use crate::tier::lvs::{
    Forwarding, KernelClock, LvsConfig, LvsServer, LvsService, LvsSysctl, LvsTimeouts, TemplateScope,
};

/// Longest timeout that `ipvsadm` takes: 31 days (`MAX_TIMEOUT`) \[s\].
const IPVSADM_TIMEOUT_MAX: u64 = 31 * 86_400;
/// Tick rate of Debian's kernel, of which the recordings are [Hz].
const KERNEL_HZ: u32 = 250;

/// A director whose service has `scheduler`.
pub(super) fn lvs(s: &mut Section<'_>, scheduler: LvsScheduler, site: &Site<'_>) -> Option<LvsConfig> {
    let scheduler_flags =
        s.optional("flags", SchedulerFlags::default(), |item| scheduler_flags(&item, scheduler.name()));
    let persistence_timeout = s.optional("persistence_timeout", None, |item| {
        item.or_none(|item| item.whole_seconds("ipvsadm", 1, IPVSADM_TIMEOUT_MAX))
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
    let scope = s.optional("virtual_service", TemplateScope::Port, |item| {
        let scope = item.one_of(&[
            ("port", TemplateScope::Port),
            ("all_ports", TemplateScope::AllPorts),
            ("firewall_mark", TemplateScope::FirewallMark(1)),
        ])?;
        if scope == TemplateScope::AllPorts && persistence_timeout == Some(None) {
            let help = "add `persistence_timeout = \"120s\"`";
            item.error_with_help("a service of all ports must be persistent".into(), help);
            return None;
        }
        Some(scope)
    });
    let own = per_server(s, site.names)?;
    let read = site.servers?.iter().enumerate().map(|(place, server)| {
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
        template_scope: scope?,
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
    let (Some(name), Some(written)) = (&server.name, &server.address) else { return Some(UNKNOWN_ADDRESS) };
    let address = written.parse().ok().or_else(|| Some(SocketAddr::new(written.parse().ok()?, 80)));
    if address.is_none() && scheduler == "mh" {
        options.report().error_with_help(
            options.span(),
            format!(
                "`lvs.mh` hashes the addresses of its servers, and `{}` has only a name: `{written}`",
                name
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

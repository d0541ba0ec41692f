//! The director that a recording describes, and which of its services a client calls.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::balancer::lvs::{LvsScheduler, SchedulerFlags};
use crate::conformance::CaseError;
use crate::engine::SimDuration;
use crate::tier::lvs::{
    Forwarding, KernelClock, LvsConfig, LvsServer, LvsService, LvsSync, LvsSysctl, LvsTimeouts, TemplateScope,
};

use super::format::{KernelTimer, MANIFEST, Manifest, Service};

/// The address of a server of which the recording gives none.
const UNKNOWN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// What is called: an address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Called {
    pub address: IpAddr,
    pub port: u16,
}

impl Called {
    /// `192.168.1.188:80` or `[2001:db8::1]:80`.
    fn parse(text: &str) -> Option<Self> {
        let (address, port) = text.rsplit_once(':')?;
        let address = address.trim_start_matches('[').trim_end_matches(']');
        Some(Self { address: address.parse().ok()?, port: port.parse().ok()? })
    }
}

/// How a service is named (`ipvsadm -t` or `-f`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Address(Called),
    Mark(u32),
}

/// An iptables rule that marks packets.
#[derive(Clone, Debug, Default)]
struct Marking {
    mark: u32,
    /// `-d`; any address without it.
    destination: Option<(IpAddr, u8)>,
    /// `--dport`, `--dports`; any port if empty.
    ports: Vec<(u16, u16)>,
}

impl Marking {
    /// The rule in `line`, if it is one that marks packets.
    fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut rule = Self::default();
        let mut marks = false;
        for pair in words.windows(2) {
            match pair[0] {
                "--set-mark" | "--set-xmark" => {
                    let mark = pair[1].split('/').next()?;
                    rule.mark = match mark.strip_prefix("0x") {
                        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                        None => mark.parse().ok()?,
                    };
                    marks = true;
                }
                "-d" => {
                    let (address, bits) = pair[1].split_once('/').unwrap_or((pair[1], ""));
                    rule.destination = Some((address.parse().ok()?, bits.parse().unwrap_or(u8::MAX)));
                }
                "--dport" | "--dports" => {
                    for ports in pair[1].split(',') {
                        let (first, last) = ports.split_once(':').unwrap_or((ports, ports));
                        rule.ports.push((first.parse().ok()?, last.parse().ok()?));
                    }
                }
                _ => {}
            }
        }
        marks.then_some(rule)
    }

    fn matches(&self, called: Called) -> bool {
        let address = self.destination.is_none_or(|(network, bits)| match (network, called.address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let host_bits = 32_u32.saturating_sub(bits.into());
                let differing = network.to_bits() ^ address.to_bits();
                differing.checked_shr(host_bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let host_bits = 128_u32.saturating_sub(bits.into());
                let differing = network.to_bits() ^ address.to_bits();
                differing.checked_shr(host_bits).unwrap_or(0) == 0
            }
            _ => false,
        });
        let port = |&(first, last): &(u16, u16)| (first..=last).contains(&called.port);
        address && (self.ports.is_empty() || self.ports.iter().any(port))
    }
}

/// The director and its surroundings.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub config: LvsConfig,
    /// Names of the servers, by their ids.
    pub servers: Vec<String>,
    names: Vec<Name>,
    /// The services as snapshots name them, in order.
    pub labels: Vec<String>,
    markings: Vec<Marking>,
    /// What an `open` without `vip=` or `vport=` calls.
    pub default: Called,
    /// Names of the directors; empty where there is only one.
    pub directors: Vec<String>,
    /// The sysctls of the sync daemon, if it runs.
    pub sync: Option<LvsSync>,
}

impl Setup {
    /// The setup of a recording; or, in the inner result, what it needs that is not modelled.
    pub fn new(manifest: &Manifest, commands: &str) -> Result<Result<Self, String>, CaseError> {
        let wrong = |message: String| CaseError::File { file: MANIFEST.into(), message };
        let default = Called::parse(&manifest.vip)
            .ok_or_else(|| wrong(format!("`vip`: not an address and port: `{}`", manifest.vip)))?;
        if manifest.servers.len() > usize::from(u16::MAX) || manifest.services.len() > usize::from(u16::MAX) {
            return Err(wrong("more than 65535 servers or services".into()));
        }
        let only = [Service {
            service: format!("-t {}", manifest.vip),
            scheduler: manifest.scheduler.clone().unwrap_or_default(),
            flags: manifest.scheduler_flags.clone(),
            persistence_s: manifest.persistence_s,
            netmask: manifest.persistence_netmask.clone(),
        }];
        let written = if manifest.services.is_empty() { &only[..] } else { &manifest.services };
        let servers: Vec<LvsServer> = manifest
            .servers
            .iter()
            .map(|server| LvsServer {
                // Only `mh` needs it, and says so below.
                address: server.addr.unwrap_or(UNKNOWN),
                weight: server.weight,
                upper_threshold: server.upper_threshold,
                lower_threshold: server.lower_threshold,
            })
            .collect();

        let (mut services, mut names, mut labels) = (Vec::new(), Vec::new(), Vec::new());
        for service in written {
            let Some(scheduler) = LvsScheduler::by_name(&service.scheduler) else {
                return Err(wrong(format!("no balancer for `{}`", service.scheduler)));
            };
            let mut scheduler_flags = SchedulerFlags::default();
            if let Some(flag) =
                service.flags.iter().find(|flag| !scheduler_flags.set(&service.scheduler, flag))
            {
                return Err(wrong(format!("no option `{flag}` of `{}`", service.scheduler)));
            }
            if service.scheduler == "mh" && manifest.servers.iter().any(|server| server.addr.is_none()) {
                return Ok(Err("no `addr` of the servers: `mh` hashes them".into()));
            }
            if service.service.starts_with("-u ") {
                return Ok(Err("only TCP services are modelled".into()));
            }
            let name = parse_name(&service.service)
                .ok_or_else(|| wrong(format!("`service`: cannot read `{}`", service.service)))?;
            let netmask = service.netmask.as_deref().unwrap_or("255.255.255.255");
            let (v4, v6) =
                parse_netmask(netmask).ok_or_else(|| wrong(format!("`netmask`: cannot read `{netmask}`")))?;
            services.push(LvsService {
                scheduler,
                scheduler_flags,
                persistence_timeout: service.persistence_s.map(seconds),
                persistence_prefix_v4: v4,
                persistence_prefix_v6: v6,
                template_scope: match name {
                    Name::Address(Called { port: 0, .. }) => TemplateScope::AllPorts,
                    Name::Address(_) => TemplateScope::Port,
                    Name::Mark(mark) => TemplateScope::FirewallMark(mark),
                },
                servers: servers.clone(),
            });
            names.push(name);
            labels.push(match name {
                Name::Address(_) => label(&service.service).to_owned(),
                Name::Mark(mark) => format!("fwmark:{mark}"),
            });
        }

        let switch = |name: &str, default: bool| match manifest.sysctl.get(name).map(String::as_str) {
            None => Ok(default),
            Some("0") => Ok(false),
            Some("1") => Ok(true),
            Some(other) => Err(format!("`{name} = {other}`")),
        };
        let default_sysctl = LvsSysctl::default();
        let sysctl = || -> Result<LvsSysctl, String> {
            Ok(LvsSysctl {
                expire_nodest_conn: switch("expire_nodest_conn", default_sysctl.expire_nodest_conn)?,
                expire_quiescent_template: switch(
                    "expire_quiescent_template",
                    default_sysctl.expire_quiescent_template,
                )?,
                conn_reuse_mode: switch("conn_reuse_mode", default_sysctl.conn_reuse_mode)?,
                sloppy_tcp: switch("sloppy_tcp", default_sysctl.sloppy_tcp)?,
            })
        };
        let sysctl = match sysctl() {
            Ok(sysctl) => sysctl,
            Err(value) => return Ok(Err(format!("no rule for {value}"))),
        };
        let sync = match sync(&manifest.sysctl) {
            Some(sync) => manifest.sync_daemon.then_some(sync),
            None => return Err(wrong("`sysctl`: a `sync_*` value is no number".into())),
        };
        let config = LvsConfig {
            services,
            forwarding: match manifest.forwarding.as_str() {
                "nat" => Forwarding::Nat,
                "dr" => Forwarding::Dr,
                "tun" => Forwarding::Tun,
                other => return Err(wrong(format!("`forwarding`: expected nat, dr or tun, got `{other}`"))),
            },
            timeouts: LvsTimeouts {
                tcp: seconds(manifest.timeouts_s.tcp),
                tcp_fin: seconds(manifest.timeouts_s.tcpfin),
                udp: seconds(manifest.timeouts_s.udp),
            },
            sysctl,
            clock: match &manifest.kernel_timer {
                Some(timer) => {
                    clock(timer).ok_or_else(|| wrong("`kernel_timer`: the values are out of range".into()))?
                }
                None => return Ok(Err("no `kernel_timer`: the phase of the timers is unknown".into())),
            },
        };
        Ok(Ok(Self {
            config,
            servers: manifest.servers.iter().map(|server| server.name.clone()).collect(),
            names,
            labels,
            markings: commands.lines().filter_map(Marking::parse).collect(),
            default,
            directors: manifest.directors.iter().flatten().map(|(name, _)| name.clone()).collect(),
            sync,
        }))
    }

    /// The service that answers `called`: by mark, by address and port, by address with port zero
    /// (`ip_vs_service_find`). Without rules that mark packets, everything carries the mark.
    pub fn service_of(&self, called: Called) -> Option<u16> {
        // Each matching rule overwrites the mark of the one before.
        let mark = self.markings.iter().rev().find(|rule| rule.matches(called)).map(|rule| rule.mark);
        let unmarked = self.markings.is_empty();
        let find = |wanted: &dyn Fn(Name) -> bool| self.names.iter().position(|&name| wanted(name));
        find(&|name| matches!(name, Name::Mark(own) if mark == Some(own)))
            .or_else(|| find(&|name| name == Name::Address(called)))
            .or_else(|| find(&|name| name == Name::Address(Called { port: 0, ..called })))
            .or_else(|| find(&|name| unmarked && matches!(name, Name::Mark(_))))
            .map(|index| index as u16)
    }
}

impl Setup {
    /// What [`crate::tier::Open::key`] says of a client that calls `called`: nothing where the service has but one
    /// address and port.
    pub fn key_of(&self, service: u16, called: Called) -> Vec<u8> {
        if self.names.get(usize::from(service)) == Some(&Name::Address(called)) {
            return Vec::new();
        }
        let mut key = match called.address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        key.extend(called.port.to_be_bytes());
        key
    }
}

/// `-t 192.168.1.188:80` without the option.
fn label(service: &str) -> &str {
    service.split_once(' ').map_or(service, |(_, name)| name)
}

fn parse_name(service: &str) -> Option<Name> {
    match service.split_once(' ')? {
        ("-t", address) => Some(Name::Address(Called::parse(address)?)),
        ("-f", mark) => Some(Name::Mark(mark.split_whitespace().next()?.parse().ok()?)),
        _ => None,
    }
}

/// `net.ipv4.vs.sync_*`; `None` if a value is no number.
fn sync(sysctl: &BTreeMap<String, String>) -> Option<LvsSync> {
    let default = LvsSync::default();
    let number =
        |name: &str, default: u64| sysctl.get(name).map_or(Some(default), |value| value.parse().ok());
    let threshold = sysctl.get("sync_threshold").map_or("3 50", String::as_str);
    let mut pair = threshold.split_whitespace().map(|word| word.parse().ok());
    Some(LvsSync {
        sync_threshold: pair.next()??,
        sync_period: pair.next()??,
        sync_refresh_period: seconds(number("sync_refresh_period", 0)?),
        sync_retries: number("sync_retries", 0)?.min(3) as u8,
        sync_persist_mode: number("sync_persist_mode", 0)? != 0,
        ..default
    })
}

/// The leading bits of a netmask for IPv4 and IPv6, of which the other is whole.
fn parse_netmask(netmask: &str) -> Option<(u8, u8)> {
    if let Ok(mask) = netmask.parse::<Ipv4Addr>() {
        let bits = mask.to_bits();
        return (bits.leading_ones() + bits.trailing_zeros() >= 32).then(|| (bits.leading_ones() as u8, 128));
    }
    netmask.parse().ok().filter(|&bits: &u8| bits <= 128).map(|bits| (32, bits))
}

/// The kernel's clock at trace time zero. `None` if a value is out of range.
fn clock(timer: &KernelTimer) -> Option<KernelClock> {
    if timer.hz == 0 || timer.hz > 10_000 {
        return None;
    }
    let nanos = |ms: f64| (ms.is_finite() && ms.abs() < 1e12).then(|| (ms * 1e6).round() as i64);
    let tick = 1_000_000_000 / i64::from(timer.hz);
    let (read_at, phase) = (nanos(timer.jiffies_read_at_ms)?, nanos(timer.tick_phase_ms)?.rem_euclid(tick));
    // Ticks after the reading up to time zero; negative if it was read later.
    let ticks = (-phase).div_euclid(tick) - (read_at - phase).div_euclid(tick);
    // A tick at time zero itself counts as one to come.
    let ticks = if phase == 0 { ticks - 1 } else { ticks };
    Some(KernelClock {
        hz: timer.hz,
        jiffies_at_zero: timer.jiffies_read.checked_add_signed(ticks).filter(|&jiffies| jiffies < 1 << 60)?,
        tick_phase: SimDuration(phase as u64),
    })
}

/// Whole seconds that do not overflow.
fn seconds(count: u64) -> SimDuration {
    SimDuration::from_secs(count.min(u64::MAX / 1_000_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_counts_the_ticks_between_reading_and_time_zero() {
        let timer = |at, phase| KernelTimer {
            hz: 250,
            jiffies_read: 100,
            jiffies_read_at_ms: at,
            tick_phase_ms: phase,
        };
        let jiffies = |at, phase| clock(&timer(at, phase)).unwrap().jiffies_at_zero;
        assert_eq!(jiffies(-0.671, 2.018), 100);
        assert_eq!(jiffies(-0.671, 3.6), 101, "a tick at -0.4 ms");
        assert_eq!(jiffies(-8.671, 3.6), 103);
        assert_eq!(jiffies(5.0, 3.6), 99);
        assert!(clock(&timer(f64::NAN, 0.0)).is_none());
    }

    #[test]
    fn marks_go_by_address_and_ports() {
        let rule = "iptables -t mangle -A PREROUTING -d 192.168.1.0/24 -p tcp -m multiport --dports 80,8000:8100 \
                    -j MARK --set-mark 9";
        let rule = Marking::parse(rule).unwrap();
        let matches = |address: &str, port| rule.matches(Called { address: address.parse().unwrap(), port });
        assert_eq!(rule.mark, 9);
        assert!(matches("192.168.1.7", 80) && matches("192.168.1.7", 8100));
        assert!(!matches("192.168.2.7", 80) && !matches("192.168.1.7", 443));
    }

    #[test]
    fn netmasks_are_leading_bits() {
        assert_eq!(parse_netmask("255.255.255.0"), Some((24, 128)));
        assert_eq!(parse_netmask("0.0.0.0"), Some((0, 128)));
        assert_eq!(parse_netmask("64"), Some((32, 64)));
        assert_eq!(parse_netmask("255.0.255.0"), None);
    }
}

//! IPVS schedulers and the list of destinations that they share.
//!
//! Source: Linux 6.1, `net/netfilter/ipvs/` (`ip_vs_ctl.c` for the list, `ip_vs_<scheduler>.c` for each scheduler).

mod destinations;
#[cfg(test)]
mod fixture;
mod hashing;
mod least;

pub use destinations::{Destination, Destinations};
pub use least::{Least, Rank, Score};

use std::net::{IpAddr, Ipv4Addr};

use super::Reason;
use crate::engine::{SimTime, Stream};

super::catalogue! {
    /// LVS schedulers, named as in `ipvsadm -s`.
    lvs: LvsScheduler<Servers = Destinations, Request = SchedulerRequest> {
        /// Round robin over the servers in list order.
        rr::LvsRr [Recorded] {
            source: "Linux 6.1, `ip_vs_rr.c`",
            shares: Equal, ties: Nothing, refuses: Never, cost: Table,
        },
        /// Weighted round robin: rounds over the servers whose weight reaches a threshold that falls step by step.
        wrr::LvsWrr [Recorded] {
            source: "Linux 6.1, `ip_vs_wrr.c`",
            shares: ByWeight(Exact), ties: Nothing, refuses: Never, cost: Table,
        },
        /// Least connection: 256 times the active plus the inactive connections.
        lc::LvsLc [Recorded] {
            source: "Linux 6.1, `ip_vs_lc.c`",
            shares: OpenEqual, ties: Nothing, refuses: Never, cost: Tree,
        },
        /// Weighted least connection: 256 times the active plus the inactive connections, over the weight.
        wlc::LvsWlc [Recorded] {
            source: "Linux 6.1, `ip_vs_wlc.c`",
            shares: OpenByWeight, ties: Nothing, refuses: Never, cost: Tree,
        },
        /// Shortest expected delay: one more than the active connections, over the weight.
        sed::LvsSed [Recorded] {
            source: "Linux 6.1, `ip_vs_sed.c`",
            shares: OpenByWeight, ties: Nothing, refuses: Never, cost: Tree,
        },
        /// Never queue: the first server without an active connection, else the shortest expected delay.
        nq::LvsNq [Recorded] {
            source: "Linux 6.1, `ip_vs_nq.c`",
            shares: OpenByWeight, ties: Nothing, refuses: Never, cost: Tree,
        },
        /// Weighted fail-over: the largest weight takes everything.
        fo::LvsFo [Recorded] {
            source: "Linux 6.1, `ip_vs_fo.c`",
            shares: OneServer, ties: Nothing, refuses: Never, cost: Tree,
        },
        /// Overflow: the largest weight takes as many active connections as its weight says, then the next one.
        ovf::LvsOvf [Recorded] {
            source: "Linux 6.1, `ip_vs_ovf.c`",
            shares: OneServer,
            ties: Nothing,
            refuses: When("every server has more active connections than its weight"),
            cost: Tree,
        },
        /// Destination hashing: one server for each address that is called, so a single one behind one address.
        dh::LvsDh [Recorded] {
            source: "Linux 6.1, `ip_vs_dh.c`",
            shares: OneServer,
            ties: Called { out: Unbounded, deleted: Unbounded },
            refuses: When("the server of the address has weight 0 or is over its threshold"),
            cost: Table,
        },
        /// Source hashing: one server for each client address, from a table of 256 slots shared out by weight.
        sh::LvsSh [Recorded] {
            source: "Linux 6.1, `ip_vs_sh.c`",
            shares: ByWeight(Places(256)),
            ties: Client { out: Unbounded, deleted: Unbounded },
            refuses: When("the client's server has weight 0 or is over its threshold"),
            cost: Table,
        },
        /// Maglev hashing: one server for each client address, from a table of 4093 slots that changes little.
        mh::LvsMh [Recorded] {
            source: "Linux 6.1, `ip_vs_mh.c`",
            shares: ByWeight(Places(4_093)),
            ties: Client { out: AtMost(0.03), deleted: AtMost(0.03) },
            refuses: When("the client's server has weight 0 or is over its threshold"),
            cost: Table,
        },
        /// Locality-based least connection: an address that is called stays at its server until that is overloaded.
        lblc::LvsLblc [Recorded] {
            source: "Linux 6.1, `ip_vs_lblc.c`",
            shares: OneServer, ties: Called { out: Nobody, deleted: Nobody }, refuses: Never, cost: Tree,
        },
        /// Locality-based least connection with replication: an address that is called keeps a set of servers.
        lblcr::LvsLblcr [Recorded] {
            source: "Linux 6.1, `ip_vs_lblcr.c`",
            shares: OneServer,
            ties: Called { out: Nobody, deleted: Nobody },
            refuses: Never,
            cost: Scan("every server of the address's set is looked at"),
        },
        /// Power of two choices: of two servers drawn by weight, the one with fewer connections for its weight.
        twos::LvsTwos [NotRecorded] {
            source: "Linux 5.12, `ip_vs_twos.c`",
            shares: Other("the lesser load of two draws by weight, with one value too many that is the first server's"),
            ties: Nothing,
            refuses: Never,
            cost: Tree,
        },
    }
}

impl LvsScheduler {
    /// Says what a scheduler that decides by chance draws from, and the director's name among all that share the stream.
    pub fn set_draws(&mut self, draws: Stream, director: u64) {
        if let Self::LvsTwos(twos) = self {
            twos.set_draws(draws, director);
        }
    }
}

/// `ipvsadm -b`: what a hashing scheduler does beyond its rule. `sh` and `mh` alone have such flags, each under its
/// own name; in the kernel both are the same two bits of the service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedulerFlags {
    /// `sh-fallback`, `mh-fallback`: a client whose server may not be used is hashed to another one.
    pub fallback: bool,
    /// `sh-port`, `mh-port`: the client's port is hashed with its address, so connections of one client spread.
    pub port: bool,
}

impl SchedulerFlags {
    /// The flags that the scheduler called `name` has, as `ipvsadm` spells them.
    pub fn names(name: &str) -> &'static [&'static str] {
        match name {
            "sh" => &["sh-fallback", "sh-port"],
            "mh" => &["mh-fallback", "mh-port"],
            _ => &[],
        }
    }

    /// Sets the flag that the scheduler called `name` spells `flag`. Returns whether it has such a flag.
    pub fn set(&mut self, name: &str, flag: &str) -> bool {
        let Some(place) = Self::names(name).iter().position(|own| *own == flag) else { return false };
        *[&mut self.fallback, &mut self.port][place] = true;
        true
    }

    /// The flags that are set, as the scheduler called `name` spells them.
    pub fn set_names(self, name: &str) -> impl Iterator<Item = &'static str> {
        let set = [self.fallback, self.port];
        Self::names(name).iter().zip(set).filter(|(_, set)| *set).map(|(flag, _)| *flag)
    }
}

/// What a scheduler knows of one connection.
#[derive(Clone, Copy, Debug)]
pub struct SchedulerRequest {
    /// The client's address.
    pub source: IpAddr,
    /// The client's port.
    pub source_port: u16,
    /// The address that the client called: the service's, or one of several behind a firewall mark.
    pub destination: IpAddr,
    /// The flags of the service.
    pub flags: SchedulerFlags,
    /// The time.
    pub now: SimTime,
    /// Set by the scheduler: why this server, or why none.
    pub reason: Reason,
}

impl SchedulerRequest {
    /// A connection from `source` at time zero to a service without flags and of one address, which is unspecified
    /// here (0.0.0.0).
    pub fn new(source: IpAddr, source_port: u16) -> Self {
        Self {
            source,
            source_port,
            destination: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            flags: SchedulerFlags::default(),
            now: SimTime::ZERO,
            reason: Reason::NoneUsable,
        }
    }
}

/// The greatest common divisor; that of 0 and a number is the number.
fn gcd(mut left: u32, mut right: u32) -> u32 {
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left
}

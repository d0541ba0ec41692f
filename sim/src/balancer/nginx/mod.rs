//! nginx's balancing methods and the table of peers that they share.
//!
//! Source, unless a file names another: nginx 1.22.1, `src/http/ngx_http_upstream_round_robin.c` and `src/http/modules/ngx_http_upstream_*_module.c`.
//! A method chooses among the peers of a [`Peers`]; which of them may be used, and what a pick and the end of an attempt
//! change, is the same for all methods and is written there. A method finds what it must remember from one try to the
//! next in the [`RequestState`].

mod crc32;
#[cfg(test)]
mod fixture;
mod line;
mod peers;
mod request;
mod wide;

pub use line::NginxServer;
pub use peers::Peers;
pub use request::RequestState;

super::catalogue! {
    /// nginx methods, named as in the `upstream` block (`round_robin` is the default, which has no directive).
    nginx: NginxMethod<Servers = Peers, Request = RequestState> {
        /// Smooth weighted round robin, nginx's default.
        round_robin::RoundRobin [Recorded] {
            source: "nginx 1.22.1, `ngx_http_upstream_round_robin.c`",
            shares: ByWeight(Exact),
            ties: Nothing,
            refuses: Never,
            cost: Scan("every usable server gains its weight at every pick"),
        },
        /// One client network, one server: a hash of the address, then of the hash.
        ip_hash::IpHash [Recorded] {
            source: "nginx 1.22.1, `ngx_http_upstream_ip_hash_module.c`",
            shares: ByWeight(Exact),
            ties: Client { out: Nobody, deleted: Unbounded },
            refuses: Never,
            cost: Table,
        },
        /// One key, one server: a hash of the key, then of the key again with a number before it.
        hash::Hash [Recorded] {
            source: "nginx 1.22.1, `ngx_http_upstream_hash_module.c`",
            shares: ByWeight(Exact),
            ties: Client { out: Nobody, deleted: Unbounded },
            refuses: Never,
            cost: Table,
        },
        /// One key, one server: the next point on a ring, so that few keys move when servers come and go.
        hash_consistent::HashConsistent [Recorded] {
            source: "nginx 1.22.1, `ngx_http_upstream_hash_module.c`",
            shares: ByWeight(Points(160)),
            ties: Client { out: Nobody, deleted: Nobody },
            refuses: Never,
            cost: Ring,
        },
        /// Fewest open requests for the weight; round robin among equals.
        least_conn::LeastConn [Recorded] {
            source: "nginx 1.22.1, `ngx_http_upstream_least_conn_module.c`",
            shares: ByWeight(Exact),
            ties: Nothing,
            refuses: Never,
            cost: Scan("among equals every server gains its weight, as in round robin"),
        },
        /// A server drawn by weight.
        random::Random [ByDistribution] {
            source: "nginx 1.22.1, `ngx_http_upstream_random_module.c`",
            shares: ByWeight(Exact), ties: Nothing, refuses: Never, cost: Draws,
        },
        /// The less loaded of two servers drawn by weight (`random two least_conn`).
        random_two::RandomTwo [ByDistribution] {
            source: "nginx 1.22.1, `ngx_http_upstream_random_module.c`",
            shares: Other("idle servers: as the second of two different draws by weight falls"),
            ties: Nothing,
            refuses: Never,
            cost: Draws,
        },
        /// Third-party `fair`: the next server without a request, else the one with fewest (nginx-upstream-fair).
        fair::Fair [NotRecorded] {
            source: "gnosek/nginx-upstream-fair at a18b4099, `ngx_http_upstream_fair_module.c`",
            shares: Other("idle servers: equal, since weights matter among busy servers only"),
            ties: Nothing,
            refuses: Never,
            cost: Scan("servers are looked at in turn for one without a request"),
        },
        /// Tengine's `session_sticky`: the server that the client's cookie names, round robin without one.
        session_sticky::SessionSticky [NotRecorded] {
            source: "Tengine at 32307cde, `ngx_http_upstream_session_sticky_module.c`",
            shares: ByWeight(Exact),
            ties: Nothing,
            refuses: Never,
            cost: Scan("without a cookie, as round robin"),
        },
    }
}

impl NginxMethod {
    /// Whether nginx takes `backup` servers with the method; it refuses to start otherwise (`NGX_HTTP_UPSTREAM_BACKUP` among
    /// the flags that a method's directive sets).
    pub fn takes_backup(&self) -> bool {
        match self {
            Self::RoundRobin(_) | Self::LeastConn(_) => true,
            Self::IpHash(_)
            | Self::Hash(_)
            | Self::HashConsistent(_)
            | Self::Random(_)
            | Self::RandomTwo(_)
            | Self::Fair(_)
            | Self::SessionSticky(_) => false,
        }
    }

    /// Whether nginx takes `max_conns` with the method (`NGX_HTTP_UPSTREAM_MAX_CONNS`).
    pub fn takes_max_conns(&self) -> bool {
        !matches!(self, Self::Fair(_) | Self::SessionSticky(_))
    }

    /// Whether the method follows the cookie of `sticky`, as all of nginx's own do.
    pub fn takes_sticky(&self) -> bool {
        self.takes_max_conns()
    }

    /// Whether all workers share one state even without a `zone`.
    pub fn shares_state(&self) -> bool {
        matches!(self, Self::Fair(_))
    }

    /// Whether the method hashes a configured key.
    pub fn hashes_key(&self) -> bool {
        matches!(self, Self::Hash(_) | Self::HashConsistent(_))
    }

    /// Whether two runs may differ by the method's own chance.
    pub fn is_random(&self) -> bool {
        matches!(self, Self::Random(_) | Self::RandomTwo(_))
    }
}

//! nginx's balancing methods and the table of peers that they share.
//!
//! Source: nginx 1.22.1, `src/http/ngx_http_upstream_round_robin.c` and `src/http/modules/ngx_http_upstream_*_module.c`.
//! A method chooses among the peers of a [`Peers`]; which of them may be used, and what a pick and the end of an attempt
//! change, is the same for all methods and is written there. A method finds what it must remember from one try to the
//! next in the [`RequestState`].

mod peers;
mod request;
mod wide;

pub use peers::{NginxServer, Peers};
pub use request::RequestState;

super::catalogue! {
    /// nginx methods, named as in the `upstream` block (`round_robin` is the default, which has no directive).
    nginx: NginxMethod<Servers = Peers, Request = RequestState> {
        /// Smooth weighted round robin, nginx's default.
        round_robin::RoundRobin,
        /// One client network, one server: a hash of the address, then of the hash.
        ip_hash::IpHash,
    }
}

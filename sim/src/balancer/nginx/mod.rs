//! nginx's balancing methods and the table of peers that they share.

super::catalogue! {
    /// nginx methods, named as in the `upstream` block (`round_robin` is the default, which has no directive).
    nginx: NginxMethod<Servers = Peers, Request = RequestState> {
        /// Smooth weighted round robin, nginx's default.
        round_robin::RoundRobin,
        /// One client network, one server: a hash of the address, then of the hash.
        ip_hash::IpHash,
    }
}

/// The table of peers.
#[derive(Clone, Debug)]
pub struct Peers {}

/// What a method knows of one request.
#[derive(Clone, Debug)]
pub struct RequestState {}

//! Who takes over when a director dies: VRRP as keepalived runs it.
//!
//! What the one that takes over knows of the connections of before is no matter of this module:
//! [`crate::tier::lvs`] copies connections, [`crate::tier::haproxy`] stick tables.

pub mod vrrp;

//! Requests in flight.

use crate::balancer::nginx::RequestState;

/// One request in flight.
#[derive(Debug)]
pub(super) struct Flow {
    /// The configuration that it began under, as a place in [`super::Nginx::epochs`].
    pub(super) epoch: u32,
    /// Which table of peers of that configuration it uses.
    pub(super) table: u16,
    /// Number of the try under way, from 1; stops at 255.
    pub(super) attempt: u8,
    /// POST, LOCK, PATCH.
    pub(super) non_idempotent: bool,
    /// When it arrived, by nginx's clock, in milliseconds.
    pub(super) started_ms: u64,
    /// What the balancing method knows of it.
    pub(super) request: RequestState,
}

//! Replays recordings of nginx.

use super::{Case, CaseOutcome};

/// Replays one recording.
pub fn replay(_case: &Case) -> CaseOutcome {
    CaseOutcome::Skipped { reason: "no replay for `nginx`".into() }
}

//! Presets of visits, with where each figure comes from. Assumptions are called so.

use super::{PresetEntry, PresetKind};
use crate::engine::{Distribution, SimDuration};
use crate::scenario::VisitPlan;
use crate::session::OnUnknownId;

/// The presets, in the order in which they are listed.
pub(super) const PRESETS: &[PresetEntry] = &[
    PresetEntry {
        kind: PresetKind::Visit,
        name: "login-site",
        summary: "log in by a form with a token, then about 8 clicks that need the session",
        source: "think time of the TPC-W benchmark: exponential 7 s, cut at 70 s; clicks inverse Gaussian with the shape of \
                 Huberman et al., Science 280 (1998); a mean of 8 clicks, 30 min away and 30 % leaving on a loss are \
                 assumptions",
    },
    PresetEntry {
        kind: PresetKind::Visit,
        name: "browse",
        summary: "about 3 clicks that need no session",
        source: "clicks inverse Gaussian 2.98, 6.24 of Huberman et al., Science 280 (1998); think time of the TPC-W \
                 benchmark; 30 min away are an assumption",
    },
];

/// The visit of a preset; that of `browse` for a name that is none.
pub(in crate::scenario) fn visit(name: &str) -> VisitPlan {
    let login = name == "login-site";
    // The shape keeps the coefficient of variation that was measured: mean over shape is 0.48 in both.
    let (mean, shape) = if login { (8.0, 16.75) } else { (2.98, 6.24) };
    VisitPlan {
        clicks: Distribution::InverseGaussian { mean, shape },
        think: Distribution::Truncated { law: Box::new(Distribution::Exponential { mean: 7.0 }), max: 70.0 },
        away: Distribution::Exponential { mean: 1_800.0 },
        login,
        form_token: login,
        logins_again: LOGINS_AGAIN,
        leave_on_loss: LEAVE_ON_LOSS,
        session_idle_timeout: SESSION_IDLE_TIMEOUT,
        on_unknown_id: OnUnknownId::NewId,
    }
}

/// Logins that a user attempts again in a visit.
pub(in crate::scenario) const LOGINS_AGAIN: u8 = 3;
/// Probability that a user leaves instead of logging in again (assumption).
pub(in crate::scenario) const LEAVE_ON_LOSS: f64 = 0.3;
/// Default of Tomcat's `session-timeout` (30 min); PHP's `session.gc_maxlifetime` is 24 min.
pub(in crate::scenario) const SESSION_IDLE_TIMEOUT: SimDuration = SimDuration::from_secs(1_800);

//! Presets of visits, with where each figure comes from. Assumptions are called so.

use super::{PresetEntry, PresetKind};
use crate::engine::{Distribution, SimDuration};
use crate::scenario::{Backoff, Browser, HoldPlan, PagePlan, Patience, VisitPlan};
use crate::session::OnUnknownId;

const fn entry(name: &'static str, summary: &'static str, source: &'static str) -> PresetEntry {
    PresetEntry { kind: PresetKind::Visit, name, summary, source }
}

/// The presets, in the order in which they are listed.
pub(super) const PRESETS: &[PresetEntry] = &[
    entry(
        "login-site",
        "log in by a form with a token, then about 8 clicks that need the session",
        "think time of the TPC-W benchmark: exponential 7 s, cut at 70 s; clicks inverse Gaussian with the shape of \
         Huberman et al., Science 280 (1998); a mean of 8 clicks, 30 min away and 30 % leaving on a loss are \
         assumptions",
    ),
    entry(
        "browse",
        "about 3 clicks that need no session",
        "clicks inverse Gaussian 2.98, 6.24 of Huberman et al., Science 280 (1998); think time of the TPC-W \
         benchmark; 30 min away are an assumption",
    ),
    entry(
        "shop",
        "log in, look at about 20 pages with their objects, often come back under the same session",
        "think time of the TPC-W benchmark; objects a page Pareto 1, 2.43 of SURGE (Barford and Crovella, SIGMETRICS \
         1998), recalled; six connections as browsers open with HTTP/1.1; 20 clicks, 90 % static objects, object cost, \
         logout, return, patience and times away are assumptions",
    ),
    entry(
        "flash-crowd",
        "one or two pages at the same moment as everybody else, reloading when nothing comes; to be given `arrivals`",
        "Nah, A study on tolerable waiting time, Behaviour & Information Technology 23(3), 2004, finds about 2 s for those who \
         seek something; 8 s (lognormal) for those who want just this page, clicks, three reloads and leaving after them are \
         assumptions",
    ),
    entry(
        "bots",
        "crawlers: click without end day and night, keep no cookies, never log in",
        "5 to 20 % of the requests of public logs are of bots, without daily pattern; the clicks, a request every 5 s and the \
         pauses are assumptions",
    ),
    entry(
        "api",
        "programs that poll an interface and try again with growing pauses",
        "three tries and pauses that start below 1 s and double, as in the standard retry mode of the AWS SDKs; their cap of 20 s and \
         full jitter (Brooker, AWS architecture blog, 2015) are recalled; time-out, rate and length are assumptions",
    ),
    entry(
        "websocket",
        "one connection held for hours, a heartbeat every 25 s, back after 0.5 to 1.5 s when it breaks",
        "first pause of 1 s by half, doubling and the cap of 5 s are the defaults of socket.io-client 4.8; the heartbeat of Socket.IO's \
         server is recalled; a lognormal time of 2 h and the cost of a message are assumptions",
    ),
    entry(
        "long-poll",
        "answers held back for 30 s, each followed by the next question",
        "30 s of RFC 6202, section 5.5 (recalled); the pauses after errors, the number of polls and times away are assumptions",
    ),
];

/// The think time of the TPC-W benchmark.
fn tpc_w() -> Distribution {
    Distribution::Truncated { law: Box::new(Distribution::Exponential { mean: 7.0 }), max: 70.0 }
}

/// The visit of a preset; that of `browse` for a name that is none.
pub(in crate::scenario) fn visit(name: &str) -> VisitPlan {
    let browse = VisitPlan {
        // The shape keeps the coefficient of variation that was measured: mean over shape is 0.48 in `login-site`, too.
        clicks: Distribution::InverseGaussian { mean: 2.98, shape: 6.24 },
        think: tpc_w(),
        away: Distribution::Exponential { mean: 1_800.0 },
        diurnal: None,
        login: false,
        form_token: false,
        logins_again: LOGINS_AGAIN,
        leave_on_loss: LEAVE_ON_LOSS,
        retry_on_loss: 0.0,
        logout: 0.0,
        returns: 0.0,
        cookies: true,
        session_idle_timeout: SESSION_IDLE_TIMEOUT,
        on_unknown_id: OnUnknownId::NewId,
        browser: None,
    };
    let login = VisitPlan { login: true, form_token: true, ..browse.clone() };
    match name {
        "login-site" => {
            VisitPlan { clicks: Distribution::InverseGaussian { mean: 8.0, shape: 16.75 }, ..login }
        }
        "shop" => VisitPlan {
            clicks: Distribution::InverseGaussian { mean: 20.0, shape: 41.9 },
            away: Distribution::Lognormal { mean: 3_600.0, cv: 2.0 },
            logout: 0.1,
            returns: 0.5,
            browser: Some(Browser { page: Some(PAGE), patience: Some(PATIENCE), hold: None }),
            ..login
        },
        "flash-crowd" => VisitPlan {
            clicks: Distribution::InverseGaussian { mean: 1.5, shape: 3.1 },
            browser: Some(Browser {
                page: Some(PAGE),
                patience: Some(Patience {
                    timeout: Some(Distribution::Lognormal { mean: 8.0, cv: 0.5 }),
                    reloads: 3,
                    backoff: Backoff {
                        first: Distribution::Exponential { mean: 1.0 },
                        factor: 1.0,
                        max: SimDuration::from_secs(60),
                    },
                    on_error: true,
                    budget: None,
                    leaves: true,
                }),
                hold: None,
            }),
            ..browse
        },
        "bots" => VisitPlan {
            clicks: Distribution::Constant(65_000.0),
            think: Distribution::Exponential { mean: 5.0 },
            away: Distribution::Exponential { mean: 60.0 },
            cookies: false,
            ..browse
        },
        "api" => VisitPlan {
            clicks: Distribution::Constant(65_000.0),
            think: Distribution::Exponential { mean: 1.0 },
            away: Distribution::Exponential { mean: 60.0 },
            cookies: false,
            browser: Some(Browser {
                patience: Some(Patience {
                    timeout: Some(Distribution::Constant(10.0)),
                    reloads: 2,
                    backoff: Backoff {
                        first: Distribution::Uniform { min: 0.0, max: 1.0 },
                        factor: 2.0,
                        max: SimDuration::from_secs(20),
                    },
                    on_error: true,
                    budget: None,
                    leaves: false,
                }),
                ..Browser::default()
            }),
            ..browse
        },
        "websocket" => VisitPlan {
            clicks: Distribution::Constant(1.0),
            browser: Some(Browser { hold: Some(HOLD), ..Browser::default() }),
            ..browse
        },
        "long-poll" => VisitPlan {
            clicks: Distribution::Lognormal { mean: 120.0, cv: 1.0 },
            think: Distribution::Constant(0.05),
            browser: Some(Browser {
                hold: Some(HoldPlan { time: Distribution::Constant(30.0), messages: None, ..HOLD }),
                ..Browser::default()
            }),
            ..browse
        },
        _ => browse,
    }
}

/// Logins that a user attempts again in a visit.
pub(in crate::scenario) const LOGINS_AGAIN: u8 = 3;
/// Probability that a user leaves instead of logging in again (assumption).
pub(in crate::scenario) const LEAVE_ON_LOSS: f64 = 0.3;
/// Default of Tomcat's `session-timeout` (30 min); PHP's `session.gc_maxlifetime` is 24 min.
pub(in crate::scenario) const SESSION_IDLE_TIMEOUT: SimDuration = SimDuration::from_secs(1_800);

/// A page whose parameters are left open: objects after SURGE, as a browser with HTTP/1.1 gets them.
pub(in crate::scenario) const PAGE: PagePlan = PagePlan {
    objects: Distribution::Pareto { min: 1.0, alpha: 2.43, max: 100.0 },
    static_share: 0.9,
    cost: 0.25,
    connections: 6,
    streams: 1,
};

/// Patience whose parameters are left open (assumptions).
pub(in crate::scenario) const PATIENCE: Patience = Patience {
    timeout: Some(Distribution::Constant(30.0)),
    reloads: 2,
    backoff: Backoff {
        first: Distribution::Exponential { mean: 2.0 },
        factor: 2.0,
        max: SimDuration::from_secs(60),
    },
    on_error: true,
    budget: None,
    leaves: true,
};

/// Held connections whose parameters are left open: those of Socket.IO 4.
pub(in crate::scenario) const HOLD: HoldPlan = HoldPlan {
    time: Distribution::Lognormal { mean: 7_200.0, cv: 1.0 },
    messages: Some(Distribution::Constant(25.0)),
    message_cost: 0.05,
    reconnect: Backoff {
        first: Distribution::Uniform { min: 0.5, max: 1.5 },
        factor: 2.0,
        max: SimDuration::from_secs(5),
    },
};

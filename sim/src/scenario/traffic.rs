//! What a population's clients do: visits with their pages, patience and held connections, or arrivals of single requests.

use crate::engine::{Distribution, SimDuration};
use crate::population::arrivals::ArrivalPlan;
use crate::population::curve::DayPlan;
use crate::session::OnUnknownId;

/// How requests come about.
#[derive(Clone, Debug)]
pub enum Traffic {
    /// Each user makes visits, is away, and comes back by itself.
    ClosedLoop(VisitPlan),
    /// Users arrive for a visit whatever becomes of others; who of the population comes is drawn.
    Visits {
        /// What they do.
        plan: VisitPlan,
        /// When they come.
        arrivals: ArrivalPlan,
    },
    /// Single requests of users drawn at random, which need no session.
    Requests(ArrivalPlan),
}

impl Traffic {
    /// What a user does on a visit, if there are visits.
    pub fn visit(&self) -> Option<&VisitPlan> {
        match self {
            Self::ClosedLoop(plan) | Self::Visits { plan, .. } => Some(plan),
            Self::Requests(_) => None,
        }
    }

    /// The arrivals that wait for nobody, if there are any.
    pub fn arrivals(&self) -> Option<&ArrivalPlan> {
        match self {
            Self::ClosedLoop(_) => None,
            Self::Visits { arrivals, .. } | Self::Requests(arrivals) => Some(arrivals),
        }
    }
}

/// What a user does on a visit.
#[derive(Clone, Debug, PartialEq)]
pub struct VisitPlan {
    /// Clicks after the login (of the whole visit if there is none), rounded up to a whole number of at least 1.
    pub clicks: Distribution,
    /// Time from an answer to the next click \[s\].
    pub think: Distribution,
    /// Time from the end of a visit to the start of the next \[s\], for a user of mean activity at a mean time of the day.
    pub away: Distribution,
    /// How the time of day divides `away`; `None`: not at all.
    pub diurnal: Option<DayPlan>,
    /// Whether the visit begins with a login: the form (GET) and the credentials (POST).
    pub login: bool,
    /// Whether the posted form must reach a server that knows the form's token (a pre-session), as CSRF tokens and
    /// captchas demand; else only the POST itself matters.
    pub form_token: bool,
    /// Logins that a user attempts again in one visit, after lost sessions and failed logins together.
    pub logins_again: u8,
    /// Probability that a user leaves instead of logging in again.
    pub leave_on_loss: f64,
    /// Probability that a user first makes the click again, and logs in if that fails, too; `leave_on_loss` and this are at most 1
    /// together.
    pub retry_on_loss: f64,
    /// Probability that a visit that has come to its end is followed by a logout.
    pub logout: f64,
    /// Probability that a visit that has come to its end without a logout is gone on with by the next one, under the same
    /// session and without a login.
    pub returns: f64,
    /// Whether browsers keep cookies.
    pub cookies: bool,
    /// Idle time after which the application forgets a session.
    pub session_idle_timeout: SimDuration,
    /// What the application does with a session id that it does not know.
    pub on_unknown_id: OnUnknownId,
    /// What a browser does beyond one request at a time that it waits for however long it takes.
    pub browser: Option<Browser>,
}

impl VisitPlan {
    /// The limit to a client's further tries, if it has one.
    pub fn budget(&self) -> Option<&ClientBudget> {
        self.browser.as_ref()?.patience.as_ref()?.budget.as_ref()
    }

    /// Whether there is such a limit.
    pub fn has_budget(&self) -> bool {
        self.budget().is_some()
    }
}

/// What a browser does beyond one request at a time; at least one of these.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Browser {
    /// The objects of each click's page.
    pub page: Option<PagePlan>,
    /// When it gives up and tries again.
    pub patience: Option<Patience>,
    /// How answers to clicks are held back.
    pub hold: Option<HoldPlan>,
}

/// Objects that a page is made of, asked for once the page has come.
#[derive(Clone, Debug, PartialEq)]
pub struct PagePlan {
    /// Their number, rounded down; at most 1,000.
    pub objects: Distribution,
    /// Share of them that a static tier serves, so that they never reach the servers.
    pub static_share: f64,
    /// Service demand of an object, as a multiple of a page's.
    pub cost: f64,
    /// Connections of a client, 1 to [`CONNECTIONS_MAX`]: 6 in browsers that speak HTTP/1.1, 1 with HTTP/2.
    pub connections: u8,
    /// Requests in flight on one connection: 1 for HTTP/1.1, 100 for HTTP/2.
    pub streams: u16,
}

/// Connections of one client at most.
pub const CONNECTIONS_MAX: u8 = 8;

/// Objects of one page at most.
pub const OBJECTS_MAX: u16 = 1_000;

/// A client's patience.
#[derive(Clone, Debug, PartialEq)]
pub struct Patience {
    /// How long it waits for an answer \[s\]; `None`: for good.
    pub timeout: Option<Distribution>,
    /// How often it asks again for the same thing, if that was a GET; a POST is never repeated.
    pub reloads: u8,
    /// The pauses before it does.
    pub backoff: Backoff,
    /// Whether it asks again after an error at once reported, too, and not only after having waited.
    pub on_error: bool,
    /// How often it asks again at most, beside its other requests; `None`: however often that is.
    pub budget: Option<ClientBudget>,
    /// Whether the user leaves when the last try has come to nothing, and else goes on with the next click.
    pub leaves: bool,
}

/// How often a client tries again at most, over all that it asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ClientBudget {
    /// `retry_throttling` of gRPC.
    Tokens {
        /// Tokens that it has at most and at first, above 0 and at most 1000; with half of them it tries no more.
        max_tokens: f64,
        /// What an answer gives back of them, above 0 and at most 1000; a failure costs one.
        token_ratio: f64,
    },
    /// Share of its requests that may be further tries, 0 to 1.
    Share(f64),
}

/// Pauses before tries: try k comes after `first` times `factor` to the power of k - 1, at most `max`.
#[derive(Clone, Debug, PartialEq)]
pub struct Backoff {
    /// The first pause \[s\]; its spread is the jitter.
    pub first: Distribution,
    /// By how much each pause is longer than the one before, at least 1.
    pub factor: f64,
    /// The longest pause.
    pub max: SimDuration,
}

/// Answers that are held back, or connections that are kept for messages: a click's server answers, and the exchange
/// stays open for a time without a worker.
#[derive(Clone, Debug, PartialEq)]
pub struct HoldPlan {
    /// For how long \[s\].
    pub time: Distribution,
    /// Time between messages meanwhile \[s\] (WebSocket); `None`: there are none (long poll).
    pub messages: Option<Distribution>,
    /// Service demand of a message, as a multiple of a click's.
    pub message_cost: f64,
    /// The pauses before a client whose exchange broke, or could not be opened, tries again.
    pub reconnect: Backoff,
}

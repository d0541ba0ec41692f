//! The catalogue of metrics: id, unit, direction, kind, and when each is undefined.

use serde::Serialize;

/// Part of a run, told by its faults.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The whole measured part.
    All,
    /// Before the first fault; the whole measured part when there is none.
    Before,
    /// From the start of the first fault to the end of the last.
    During,
    /// After the last fault.
    After,
}

impl Phase {
    /// All phases, the whole first.
    pub const ALL: [Self; 4] = [Self::All, Self::Before, Self::During, Self::After];

    /// Its name in scenarios and results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Before => "before",
            Self::During => "during",
            Self::After => "after",
        }
    }
}

/// What a metric is counted in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A share or a ratio, without unit.
    Ratio,
    /// A number of things.
    Count,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// Things a second.
    PerSecond,
}

/// Which way is better.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Smaller is better.
    LowerIsBetter,
    /// Larger is better.
    HigherIsBetter,
    /// Neither.
    Neutral,
}

/// How replications are put together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Mean over replications of one value each; its interval is Student's t.
    Mean,
    /// A ratio of counts, which are added over replications first; its interval is a jackknife's.
    Ratio,
    /// A quantile of a distribution that is pooled over replications first; its interval is Woodruff's.
    Quantile,
    /// Mean over replications of the largest value of each. A part of a run says nothing of the whole's.
    Maximum,
}

/// One line of the catalogue.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Metric {
    /// Its name, such as `load.requests.peak_to_mean`.
    pub name: &'static str,
    /// What it is counted in.
    pub unit: Unit,
    /// Which way is better.
    pub direction: Direction,
    /// How replications are put together.
    pub kind: Kind,
    /// What it means, in a sentence.
    pub meaning: &'static str,
    /// When it has no value.
    pub undefined: &'static str,
}

macro_rules! metrics {
    ($($name:literal, $unit:ident, $direction:ident, $kind:ident, $meaning:literal, $undefined:literal;)+) => {
        /// Every metric that runs report of themselves, in the order of tables.
        pub const METRICS: &[Metric] = &[$(Metric {
            name: $name, unit: Unit::$unit, direction: Direction::$direction, kind: Kind::$kind,
            meaning: $meaning, undefined: $undefined,
        },)+];
    };
}

metrics! {
    "load.requests.peak_to_mean", Ratio, LowerIsBetter, Mean, "requests at the most loaded server over the mean, by weight", "no request";
    "load.requests.peak_to_nominal", Ratio, LowerIsBetter, Mean, "requests at the most loaded server over the fair share of the full fleet: the skew tax", "no request";
    "load.requests.jain", Ratio, HigherIsBetter, Mean, "Jain's fairness index of requests by server and weight; 1 is even", "no request";
    "load.requests.cv", Ratio, LowerIsBetter, Mean, "standard deviation over mean of requests by server and weight", "no request";
    "load.requests.gini", Ratio, LowerIsBetter, Mean, "Gini coefficient of requests by server and weight; 0 is even", "no request";
    "load.requests.max_share", Ratio, LowerIsBetter, Mean, "share of all requests that the most loaded server got", "no request";
    "load.requests.window.p95", Ratio, LowerIsBetter, Mean, "95th percentile over windows of peak to mean requests", "no window with 100 requests a server";
    "load.connections.peak_to_mean", Ratio, LowerIsBetter, Mean, "connections opened to the most loaded server over the mean, by weight", "no connection";
    "load.connections.jain", Ratio, HigherIsBetter, Mean, "Jain's fairness index of connections by server and weight", "no connection";
    "load.connections.cv", Ratio, LowerIsBetter, Mean, "standard deviation over mean of connections by server and weight", "no connection";
    "load.connections.gini", Ratio, LowerIsBetter, Mean, "Gini coefficient of connections by server and weight", "no connection";
    "load.connections.max_share", Ratio, LowerIsBetter, Mean, "share of all connections that the most loaded server got", "no connection";
    "load.busy.peak_to_mean", Ratio, LowerIsBetter, Mean, "busy time of the most loaded server over the mean, by weight", "no busy time";
    "load.busy.peak_to_nominal", Ratio, LowerIsBetter, Mean, "busy time of the most loaded server over the fair share of the full fleet", "no busy time";
    "load.busy.jain", Ratio, HigherIsBetter, Mean, "Jain's fairness index of busy time by server and weight", "no busy time";
    "load.busy.cv", Ratio, LowerIsBetter, Mean, "standard deviation over mean of busy time by server and weight", "no busy time";
    "load.busy.gini", Ratio, LowerIsBetter, Mean, "Gini coefficient of busy time by server and weight", "no busy time";
    "load.busy.max_share", Ratio, LowerIsBetter, Mean, "share of all busy time that the most loaded server had", "no busy time";
    "utilisation.max", Ratio, LowerIsBetter, Mean, "busy share of the workers of the busiest server", "no time";
    "visits.with_loss", Ratio, LowerIsBetter, Ratio, "share of logged-in visits that lost their session at least once", "no visit logged in";
    "visits.abandoned", Ratio, LowerIsBetter, Ratio, "share of visits that the user gave up", "no visit ended";
    "visits.finished", Count, Neutral, Mean, "visits that ran to their end", "never";
    "visits.crowded_out", Count, LowerIsBetter, Mean, "arrivals that found no user who was not there already: the population is too small", "never";
    "visits.open", Count, Neutral, Mean, "visits under way when the run ended; they are in no ratio", "phases other than all";
    "session.lost", Ratio, LowerIsBetter, Ratio, "sessions lost per session created", "no session created";
    "session.created", Count, Neutral, Mean, "sessions created", "never";
    "session.expired", Count, Neutral, Mean, "sessions that idled longer than the application allows; no loss", "never";
    "session.forked", Count, LowerIsBetter, Mean, "times that a second live copy of a session came about", "never";
    "session.resumed", Count, Neutral, Mean, "times that a session was found again: after a miss, or as a copy that a server had kept", "never";
    "requests.served", Count, Neutral, Mean, "requests answered", "never";
    "requests.session_miss", Ratio, LowerIsBetter, Ratio, "share of the requests that need a session and did not find it", "no request needed a session";
    "requests.failed", Ratio, LowerIsBetter, Ratio, "share of requests that ended without an answer of a server", "no request";
    "requests.timed_out", Ratio, LowerIsBetter, Ratio, "share of requests whose clients gave up waiting", "no request";
    "requests.reloaded", Ratio, LowerIsBetter, Ratio, "steps that clients tried again, per request", "no request";
    "requests.wasted", Ratio, LowerIsBetter, Ratio, "share of the servers' answers for which nobody waited any more", "no answer";
    "requests.static", Count, Neutral, Mean, "objects that a static tier served, so that no server saw them", "never";
    "requests.retried", Ratio, LowerIsBetter, Ratio, "tries beyond the first per request", "no request";
    "requests.retries_refused", Ratio, Neutral, Ratio, "further tries that a balancer's retry budget refused, per request", "no request";
    "requests.reloads_refused", Ratio, Neutral, Ratio, "further tries that a client's retry budget refused, per request", "no request";
    "requests.amplification", Ratio, LowerIsBetter, Ratio, "tries of balancers and clients together, per thing that was asked for", "no request";
    "requests.queued", Ratio, LowerIsBetter, Ratio, "times that a request waited in the balancer's queue, per request", "no request";
    "queue.wait", Milliseconds, LowerIsBetter, Mean, "mean wait in the balancer's queue, of requests that waited there", "no request waited";
    "connections.reconnects", Count, LowerIsBetter, Mean, "held exchanges that were opened again after a break", "never";
    "connections.reconnects.peak", PerSecond, LowerIsBetter, Maximum, "most of these in one second", "never";
    "load.held.peak_to_mean", Ratio, LowerIsBetter, Mean, "exchanges held by the server that held most over the mean, by weight and time", "nothing was held";
    "load.held.max_share", Ratio, LowerIsBetter, Mean, "share of all held exchanges that one server held", "nothing was held";
    "logins.failed", Ratio, LowerIsBetter, Ratio, "share of posted logins that did not succeed", "no login posted";
    "throughput", PerSecond, Neutral, Mean, "requests answered a second", "no time";
    "latency.mean", Milliseconds, LowerIsBetter, Mean, "mean response time of answered requests", "no answer";
    "latency.p50", Milliseconds, LowerIsBetter, Quantile, "median response time", "no answer";
    "latency.p90", Milliseconds, LowerIsBetter, Quantile, "90th percentile of response time", "no answer";
    "latency.p95", Milliseconds, LowerIsBetter, Quantile, "95th percentile of response time", "no answer";
    "latency.p99", Milliseconds, LowerIsBetter, Quantile, "99th percentile of response time", "no answer";
    "latency.p999", Milliseconds, LowerIsBetter, Quantile, "99.9th percentile of response time", "no answer";
    "latency.max", Milliseconds, LowerIsBetter, Maximum, "longest response time", "no answer";
    "session.stale", Ratio, LowerIsBetter, Ratio, "share of the requests that need a session and found it as it had been some writes before", "no request needed a session";
    "session.lost_writes", Count, LowerIsBetter, Mean, "times that a session fell back to an earlier state, or that a request wrote over what it had not seen", "never";
    "autoscaling.servers", Count, LowerIsBetter, Mean, "mean number of an autoscaler's servers that run, those that boot or are drained included: what is paid for, in server hours an hour", "no autoscaling";
    "autoscaling.scale_outs", Count, Neutral, Mean, "servers that an autoscaler asked for", "never";
    "autoscaling.scale_ins", Count, Neutral, Mean, "servers that an autoscaler let go", "never";
    "connections.active", Count, Neutral, Ratio, "connections that clients have open, as nginx's status page counts them: with and without a request", "no request";
    "connections.waiting", Count, Neutral, Ratio, "of these, those without a request: what the keep-alive time makes", "no request";
    "connections.reset", Count, LowerIsBetter, Mean, "connections that a director reset since it did not know them", "never";
    "director.takeovers", Count, Neutral, Mean, "times that the virtual address of a pair moved to the other director", "never";
    "director.silent", Seconds, LowerIsBetter, Mean, "mean time during which packets to a virtual address reached nobody, of the times that began in the phase", "a director always had the address";
    "director.silent.max", Seconds, LowerIsBetter, Maximum, "the longest of these times", "a director always had the address";
    "health.faults", Count, Neutral, Mean, "faults that a health rule could see, each at each server or instance, by their beginning", "never";
    "health.undetected", Ratio, LowerIsBetter, Ratio, "share of these that no health rule had noticed before they were over", "no such fault";
    "health.time_to_detect", Seconds, LowerIsBetter, Mean, "mean time from the beginning of a fault that was detected until all who balance had stopped choosing its server", "no fault detected";
    "health.time_to_detect.max", Seconds, LowerIsBetter, Maximum, "the longest of these times", "no fault detected";
    "health.time_to_recover", Seconds, LowerIsBetter, Mean, "mean time from the end of a detected fault until all who balance chose its server again", "no server was back before the next trouble or the end of the run";
    "health.time_to_recover.max", Seconds, LowerIsBetter, Maximum, "the longest of these times", "no server was back before the next trouble or the end of the run";
    "health.false_positives", Count, LowerIsBetter, Mean, "times that health took out a server that no fault ailed", "never";
    "health.false_positives.time", Seconds, LowerIsBetter, Mean, "time that these servers were out, all together", "never";
    "sync.messages", PerSecond, LowerIsBetter, Mean, "datagrams a second by which directors copy connections and templates", "never";
    "sync.bytes", PerSecond, LowerIsBetter, Mean, "bytes a second of these datagrams", "never";
    "load.balancers.peak_to_mean", Ratio, LowerIsBetter, Mean, "connections (layer 4) or requests (layer 7) at the most loaded instance of a tier over the tier's mean; of the tier where that is worst", "no tier has several instances at a time";
    "store.operations", PerSecond, LowerIsBetter, Mean, "operations of the shared session store a second", "never";
    "store.wait", Milliseconds, LowerIsBetter, Mean, "time that a worker waits for the session store, per answered request", "no answer";
    "store.utilisation", Ratio, LowerIsBetter, Mean, "busy share of the workers of the session store's busiest node", "a store without nodes that queue";
    "store.failed", Ratio, LowerIsBetter, Ratio, "answers with an error per request since the session store could not be asked", "no request";
    "store.messages", PerSecond, LowerIsBetter, Mean, "messages a second by which the session store keeps copies", "never";
    "store.bytes", PerSecond, LowerIsBetter, Mean, "bytes a second of these messages, or of sessions in cookies", "never";
    "store.memory_max", Count, LowerIsBetter, Maximum, "most bytes of sessions that the store held, with all copies", "no store: unlimited memory of the servers, a cookie, an ideal store";
}

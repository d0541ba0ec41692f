//! Sources whose arrivals wait for nobody: processes of single requests or of users, and replayed logs.
//!
//! The n-th arrival's time and client are named (source; n). A user who is still there cannot come again: another one is
//! drawn, so that who comes may differ between strategies where many of a population are there at once.

use super::Cluster;
use super::event::Event;
use super::log_source::LogReplay;
use super::request::{Draw, Origin, Purpose, Request};
use crate::engine::queue::PendingEvents;
use crate::engine::{Sampler, Scheduler, SimTime, Stream};
use crate::ids::ClientId;
use crate::population::arrivals::ArrivalProcess;
use crate::population::clients::Step;
use crate::scenario::ConnectionRules;
use crate::tier::Method;

/// Users drawn for one arrival until one is found who is not there yet.
const DRAWS_MAX: u64 = 64;

/// A source of open-loop arrivals.
#[derive(Debug)]
pub(super) enum Source<'a> {
    /// Clients drawn at random.
    Arrivals(ArrivalSource<'a>),
    /// A replayed log.
    Log(LogReplay<'a>),
}

/// Arrivals of a population.
#[derive(Debug)]
pub(super) struct ArrivalSource<'a> {
    /// When they come.
    pub process: ArrivalProcess,
    /// Who they are.
    pub crowd: Crowd,
    /// Arrivals so far.
    pub number: u64,
    /// How connections are used: one for each request.
    pub rules: &'a ConnectionRules,
    /// Whether users come for a visit, else for a single request.
    pub visits: bool,
}

/// The users among whom an arrival is drawn.
#[derive(Debug)]
pub(super) struct Crowd {
    /// The first.
    first: ClientId,
    /// Their number.
    clients: u32,
    /// Sums of their activities, each with those of all before; empty if all are equally active.
    activity: Vec<f64>,
}

impl Crowd {
    /// The users of a population, as active as `law` makes them, if it does.
    pub fn new(first: ClientId, clients: u32, law: Option<&Sampler>, stream: &Stream) -> Self {
        let mut sum = 0.0;
        let activity = law.map_or_else(Vec::new, |law| {
            let of = |client| law.sample(stream, u64::from(client), 0);
            (first.0..first.0 + clients)
                .map(|client| {
                    sum += of(client);
                    sum
                })
                .collect()
        });
        Self { first, clients, activity }
    }

    /// One of them, drawn in proportion to activity, named (entity, index) of `stream`.
    fn draw(&self, stream: &Stream, entity: u64, index: u64) -> ClientId {
        let place = match self.activity.last() {
            None => stream.below(u64::from(self.clients), entity, index) as u32,
            Some(all) => {
                let at = stream.uniform(entity, index) * all;
                self.activity.partition_point(|sum| *sum <= at).min(self.activity.len() - 1) as u32
            }
        };
        ClientId(self.first.0 + place)
    }

    /// Bytes of the table of activities.
    pub fn bytes(&self) -> usize {
        self.activity.capacity() * size_of::<f64>()
    }
}

impl Cluster<'_> {
    /// The next arrival of a source.
    pub(super) fn source_arrival<Q: PendingEvents>(
        &mut self,
        now: SimTime,
        source: u32,
        pending: &mut Scheduler<Q>,
    ) {
        match &mut self.sources[source as usize] {
            Source::Arrivals(arrivals) => {
                arrivals.number += 1;
                if let Some(next) = arrivals.after(now, source, &self.streams.arrivals) {
                    pending.at(next, Event::SourceArrival(source).word());
                }
                let Source::Arrivals(arrivals) = &self.sources[source as usize] else { return };
                if arrivals.visits {
                    self.user_arrives(now, source, pending);
                } else {
                    self.request_arrives(now, source, pending);
                }
            }
            Source::Log(_) => self.log_arrival(now, source, pending),
        }
    }

    /// A user comes for a visit, unless everybody who was drawn is there already.
    fn user_arrives<Q: PendingEvents>(&mut self, now: SimTime, source: u32, pending: &mut Scheduler<Q>) {
        let Source::Arrivals(arrivals) = &self.sources[source as usize] else { return };
        let name = 2 * arrivals.number + 1;
        let client = (0..DRAWS_MAX)
            .map(|draw| arrivals.crowd.draw(&self.streams.arrivals, u64::from(source) | draw << 32, name))
            .find(|&client| self.clients.row(client).step == Step::Begin);
        match client {
            Some(client) => {
                let row = self.clients.row(client);
                if row.has_browser()
                    && let Some(tab) = row.tab()
                {
                    self.tabs.get_mut(tab).acts_at = now;
                }
                self.client_comes(now, client, pending);
            }
            None => {
                if let Some(counts) = self.recorder.at(now) {
                    counts.crowded_out += 1;
                }
            }
        }
    }

    /// Kept apart from the event loop's own copy, which is worth inlining.
    #[inline(never)]
    fn client_comes<Q: PendingEvents>(&mut self, now: SimTime, client: ClientId, pending: &mut Scheduler<Q>) {
        self.client_acts(now, client, pending);
    }

    fn request_arrives<Q: PendingEvents>(&mut self, now: SimTime, source: u32, pending: &mut Scheduler<Q>) {
        let Source::Arrivals(arrivals) = &self.sources[source as usize] else { return };
        let (number, rules) = (arrivals.number, arrivals.rules);
        let client = arrivals.crowd.draw(&self.streams.arrivals, u64::from(source), 2 * number + 1);
        let from = self.clients.source(client, now, number);
        let origin = Origin::Arrival;
        self.recorder.ledger.requests_issued += 1;
        match self.open_connection(now, origin, from, (u64::from(source) << 32, number), rules) {
            Ok(connection) => {
                let demand =
                    Draw { entity: 1 << 40 | u64::from(source), index: number, purpose: Purpose::Arrival };
                let request = Request::new(now, origin, connection, Method::Get, None, demand);
                // Who sends single requests has been here before.
                self.send_apart(now, request, Some(u64::from(client.0)), pending);
            }
            Err(failure) => self.request_failed(now, origin, failure, pending),
        }
    }
}

impl ArrivalSource<'_> {
    /// When the arrival after the last one comes, if there is one.
    pub fn after(&mut self, now: SimTime, source: u32, arrivals: &Stream) -> Option<SimTime> {
        let u = arrivals.uniform(u64::from(source), 2 * (self.number + 1));
        self.process.next(now, u)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Distribution;
    use crate::ids::StreamId;

    #[test]
    fn users_are_drawn_in_proportion_to_their_activity_and_requests_have_its_tail() {
        // Goal: the counts of users have the tail index of their activities. Method: Hill's estimator over the largest
        // 5 %, whose standard error is the index over the root of their number: 1.3 / 22.
        let stream = Stream::new(1, 0, StreamId::Activity);
        let law = Distribution::Pareto { min: 1.0, alpha: 1.3, max: 1e6 }.sampler();
        let crowd = Crowd::new(ClientId(10), 10_000, Some(&law), &stream);
        let arrivals = Stream::new(1, 0, StreamId::Arrivals);
        let mut counts = vec![0_u32; 10_000];
        for n in 0..1_000_000 {
            counts[crowd.draw(&arrivals, 0, n).0 as usize - 10] += 1;
        }
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let threshold = f64::from(counts[500]);
        let hill =
            500.0 / counts[..500].iter().map(|&count| (f64::from(count) / threshold).ln()).sum::<f64>();
        assert!((1.1..1.5).contains(&hill), "{hill}");
        let weight = law.sample(&stream, 10, 0);
        let share = weight / crowd.activity.last().unwrap();
        let drawn = (0..200_000).filter(|&n| crowd.draw(&arrivals, 1, n) == ClientId(10)).count() as f64;
        assert!((drawn - 200_000.0 * share).abs() < 4.5 * (200_000.0 * share).sqrt(), "{drawn} {share}");
    }
}

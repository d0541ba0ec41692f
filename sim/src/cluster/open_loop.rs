//! Sources whose arrivals wait for nobody: Poisson streams and replayed logs.

use super::Cluster;
use super::event::Event;
use super::replay::LogReplay;
use super::request::{Draw, Origin, Purpose, Request};
use crate::engine::queue::PendingEvents;
use crate::engine::{Scheduler, SimDuration, SimTime};
use crate::ids::ClientId;
use crate::scenario::ConnectionRules;
use crate::tier::Method;

/// A source of open-loop arrivals.
#[derive(Debug)]
pub(super) enum Source<'a> {
    /// Single requests of clients drawn at random.
    Poisson(PoissonSource<'a>),
    /// A replayed log.
    Log(LogReplay<'a>),
}

/// Poisson arrivals. The n-th arrival's gap and client are named (source; n).
#[derive(Debug)]
pub(super) struct PoissonSource<'a> {
    /// Mean time between arrivals \[s\].
    pub gap_mean: f64,
    /// The population's clients.
    pub first_client: ClientId,
    /// Their number.
    pub clients: u32,
    /// Arrivals so far.
    pub number: u64,
    /// How connections are used: one for each request.
    pub rules: &'a ConnectionRules,
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
            Source::Poisson(_) => self.poisson_arrival(now, source, pending),
            Source::Log(_) => self.log_arrival(now, source, pending),
        }
    }

    /// Time from arrival `number - 1` of a Poisson source to arrival `number`.
    pub(super) fn poisson_gap(&self, source: u32, gap_mean: f64, number: u64) -> SimDuration {
        let u = self.streams.arrivals.uniform(u64::from(source), 2 * number);
        SimDuration::from_secs_f64(-gap_mean * libm::log(u))
    }

    fn poisson_arrival<Q: PendingEvents>(&mut self, now: SimTime, source: u32, pending: &mut Scheduler<Q>) {
        let Source::Poisson(poisson) = &mut self.sources[source as usize] else { return };
        poisson.number += 1;
        let (number, gap_mean, rules) = (poisson.number, poisson.gap_mean, poisson.rules);
        let (first, clients) = (poisson.first_client, poisson.clients);
        let next = now + self.poisson_gap(source, gap_mean, number + 1);
        pending.at(next, Event::SourceArrival(source).word());

        let which = self.streams.arrivals.below(u64::from(clients), u64::from(source), 2 * number + 1);
        let client = ClientId(first.0 + which as u32);
        let from = self.clients.source(client, now, number);
        let origin = Origin::Poisson;
        self.recorder.ledger.requests_issued += 1;
        match self.open_connection(now, origin, from, (u64::from(source) << 32, number), rules) {
            Ok(connection) => {
                let demand =
                    Draw { entity: 1 << 40 | u64::from(source), index: number, purpose: Purpose::Arrival };
                let none = SimDuration::ZERO;
                let request = Request::new(now, origin, connection, Method::Get, None, demand, none);
                // Who sends single requests has been here before.
                self.send(now, request, Some(u64::from(client.0)), pending);
            }
            Err(failure) => self.request_failed(now, origin, failure, pending),
        }
    }
}

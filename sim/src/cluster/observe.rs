//! A run seen from outside: who clicks when, and what the answer took.
//!
//! The observer stands between the event loop and the model and only reads, so a run that is not observed pays nothing,
//! not even a branch, and one that is observed takes the same course.

use super::Cluster;
use super::event::Event;
use super::request::Origin;
use super::run::{RunError, RunOutcome, RunSetup, build, finish};
use crate::engine::queue::PendingEvents;
use crate::engine::{Model, Scheduler, SimDuration, SimTime};
use crate::ids::{ClientId, ServerId};
use crate::population::clients::Step;

/// The name of a step of a closed-loop client, the same under every strategy.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct StepName {
    /// The client.
    pub client: ClientId,
    /// Its visit, from 1.
    pub visit: u32,
    /// Logins that it has attempted again in the visit.
    pub logins_again: u8,
    /// Clicks of the visit that were answered or given up before.
    pub click: u16,
    /// What is asked: 1 the login form, 2 the login, 3 a click, 4 a logout.
    pub step: u8,
}

/// An answer of a first-come-first-served server to a closed-loop client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Who answered.
    pub server: ServerId,
    /// Time from the request's arrival at the server to the end of its page: its wait, its service and the store's time, but
    /// for a write after the page.
    pub in_server: SimDuration,
    /// The store's part of it.
    pub store_time: SimDuration,
}

/// Told what happens in a run.
pub trait Observer {
    /// A client asks for something.
    fn asks(&mut self, _now: SimTime, _step: StepName) {}

    /// A client gets its answer.
    fn answered(&mut self, _now: SimTime, _step: StepName, _answer: Answer) {}
}

/// Carries out one run as [`super::run`] does, and tells `observer` what happens in it.
///
/// # Errors
/// As [`super::run`].
pub fn run_observed<O: Observer>(setup: &RunSetup<'_>, observer: &mut O) -> Result<RunOutcome, RunError> {
    let (simulation, calendar) = build(setup)?;
    let mut simulation = simulation.map_model(|cluster| Observed { cluster, observer });
    simulation.run_until(calendar.end);
    finish(simulation.map_model(|observed| observed.cluster), &calendar)
}

struct Observed<'a, 'o, O> {
    cluster: Cluster<'a>,
    observer: &'o mut O,
}

impl<O: Observer> Model for Observed<'_, '_, O> {
    fn handle<Q: PendingEvents>(&mut self, now: SimTime, word: u32, pending: &mut Scheduler<Q>) {
        match Event::from_word(word) {
            Event::ClientActs(client) => self.observer.asks(now, self.cluster.next_step_of(client)),
            Event::ServiceDone(id) => {
                let request = self.cluster.requests.get(id.0);
                if request.due == now
                    && request.in_server
                    && self.cluster.page_is_done(id)
                    && let Origin::Client(client) = request.origin
                {
                    let answer = Answer {
                        server: request.server,
                        in_server: now.since(request.entered),
                        store_time: self.cluster.store_time(request.demand, request.store_operations),
                    };
                    self.observer.answered(now, self.cluster.next_step_of(client), answer);
                }
            }
            Event::SharedServiceDone(_)
            | Event::ConnectionIdle(_)
            | Event::Autoscale
            | Event::GivesUp(_)
            | Event::Retry(_)
            | Event::Overdue
            | Event::SourceArrival(_)
            | Event::Check { .. }
            | Event::CheckInstance { .. }
            | Event::FaultBegins(_)
            | Event::FaultEnds(_)
            | Event::ScriptStep(_) => {}
        }
        self.cluster.handle(now, word, pending);
    }

    fn read_ahead(&mut self, upcoming: &[u64]) {
        self.cluster.read_ahead(upcoming);
    }
}

impl Cluster<'_> {
    /// The step that a client makes next, or waits for the answer of.
    fn next_step_of(&self, client: ClientId) -> StepName {
        let row = self.clients.row(client);
        if row.step != Step::Begin {
            let (visit, logins_again, click) = (row.visit, row.logins_again, row.click);
            return StepName { client, visit, logins_again, click, step: row.step as u8 };
        }
        let visit = self.scenario.populations[row.population().index()].traffic.visit();
        let step = if visit.is_some_and(|plan| plan.login) && row.session().is_none() {
            Step::Form
        } else {
            Step::Click
        };
        StepName { client, visit: row.visit + 1, logins_again: 0, click: 0, step: step as u8 }
    }
}

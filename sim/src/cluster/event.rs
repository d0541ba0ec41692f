//! Every event of the model, and its 32-bit word in the pending-event set.
//!
//! The kind stands in the top four bits, so that at equal times faults come before departures, departures before timers
//! and timers before arrivals: a request that arrives as a worker becomes free finds it free, and one that arrives as a
//! server dies finds it dead. Below stands a slot.

use crate::ids::{ClientId, ConnectionId, RequestId, ServerId};

const KIND_SHIFT: u32 = 28;
const SLOT: u32 = (1 << KIND_SHIFT) - 1;
/// Where the tier stands in the slot of a check.
const PLACE_SHIFT: u32 = 26;
/// Where the instance stands there; a tier has at most 1024.
const INSTANCE_SHIFT: u32 = 16;
const INSTANCE: u32 = (1 << (PLACE_SHIFT - INSTANCE_SHIFT)) - 1;

/// Slots that fit an event word: clients, connections and requests each number fewer.
pub const MAX_SLOTS: u32 = SLOT;

/// Ends sort before begins, so that a server whose second crash begins as the first ends is down.
const FAULT_ENDS: u32 = 0;
const FAULT_BEGINS: u32 = 1;
const SERVICE_DONE: u32 = 2;
const SHARED_SERVICE_DONE: u32 = 3;
const CONNECTION_IDLE: u32 = 4;
const CHECK: u32 = 5;
const AUTOSCALE: u32 = 6;
const GIVES_UP: u32 = 7;
const OVERDUE: u32 = 8;
const CLIENT_ACTS: u32 = 9;
const RETRY: u32 = 10;
const SOURCE_ARRIVAL: u32 = 11;
const SCRIPT_STEP: u32 = 12;

/// What happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A fault begins: its place in the scenario.
    FaultBegins(u32),
    /// A fault is over.
    FaultEnds(u32),
    /// A worker is done with a request.
    ServiceDone(RequestId),
    /// A processor-sharing server is done with the next request.
    SharedServiceDone(ServerId),
    /// A connection has idled as long as it may.
    ConnectionIdle(ConnectionId),
    /// A health check of a server is due.
    Check {
        /// The server.
        server: ServerId,
        /// The instance that checks it, if each does so by itself.
        instance: u16,
    },
    /// A check of an instance by the tier in front of its own is due.
    CheckInstance {
        /// The place of the tier that checks.
        place: u8,
        /// The address of the next tier that it checks.
        target: u16,
        /// The instance that checks it, if each does so by itself.
        instance: u16,
    },
    /// An autoscaler looks at its servers.
    Autoscale,
    /// A wait before a retry is over.
    Retry(RequestId),
    /// A client has waited for the answer to a request as long as it will.
    GivesUp(RequestId),
    /// A balancer may have waited for some answers as long as it will.
    Overdue,
    /// A client makes its next step.
    ClientActs(ClientId),
    /// An open-loop source (Poisson arrivals, a log) has its next arrival: its place among the sources.
    SourceArrival(u32),
    /// A scripted client makes a step: its place in the script.
    ScriptStep(u32),
}

const _: () = assert!(size_of::<Event>() <= 8);

impl Event {
    /// The event's word.
    #[inline(always)]
    pub fn word(self) -> u32 {
        let (kind, slot) = match self {
            Self::FaultEnds(fault) => (FAULT_ENDS, fault),
            Self::FaultBegins(fault) => (FAULT_BEGINS, fault),
            Self::ServiceDone(request) => (SERVICE_DONE, request.0),
            Self::SharedServiceDone(server) => (SHARED_SERVICE_DONE, u32::from(server.0)),
            Self::ConnectionIdle(connection) => (CONNECTION_IDLE, connection.0),
            Self::Check { server, instance } => {
                (CHECK, u32::from(instance) << INSTANCE_SHIFT | u32::from(server.0))
            }
            Self::CheckInstance { place, target, instance } => {
                let by = (u32::from(place) + 1) << PLACE_SHIFT | u32::from(instance) << INSTANCE_SHIFT;
                (CHECK, by | u32::from(target))
            }
            Self::Autoscale => (AUTOSCALE, 0),
            Self::GivesUp(request) => (GIVES_UP, request.0),
            Self::Overdue => (OVERDUE, 0),
            Self::ClientActs(client) => (CLIENT_ACTS, client.0),
            Self::Retry(request) => (RETRY, request.0),
            Self::SourceArrival(source) => (SOURCE_ARRIVAL, source),
            Self::ScriptStep(step) => (SCRIPT_STEP, step),
        };
        kind << KIND_SHIFT | slot
    }

    /// The event of a word that [`Event::word`] made.
    #[inline(always)]
    pub fn from_word(word: u32) -> Self {
        let slot = word & SLOT;
        match word >> KIND_SHIFT {
            FAULT_ENDS => Self::FaultEnds(slot),
            FAULT_BEGINS => Self::FaultBegins(slot),
            SERVICE_DONE => Self::ServiceDone(RequestId(slot)),
            SHARED_SERVICE_DONE => Self::SharedServiceDone(ServerId(slot as u16)),
            CONNECTION_IDLE => Self::ConnectionIdle(ConnectionId(slot)),
            CHECK if slot >> PLACE_SHIFT > 0 => Self::CheckInstance {
                place: ((slot >> PLACE_SHIFT) - 1) as u8,
                target: slot as u16,
                instance: (slot >> INSTANCE_SHIFT & INSTANCE) as u16,
            },
            CHECK => Self::Check { server: ServerId(slot as u16), instance: (slot >> INSTANCE_SHIFT) as u16 },
            AUTOSCALE => Self::Autoscale,
            GIVES_UP => Self::GivesUp(RequestId(slot)),
            OVERDUE => Self::Overdue,
            CLIENT_ACTS => Self::ClientActs(ClientId(slot)),
            RETRY => Self::Retry(RequestId(slot)),
            SOURCE_ARRIVAL => Self::SourceArrival(slot),
            _ => Self::ScriptStep(slot),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_as_the_events_that_they_were_and_in_the_documented_order() {
        let events = [
            Event::FaultEnds(3),
            Event::FaultBegins(3),
            Event::ServiceDone(RequestId(9)),
            Event::SharedServiceDone(ServerId(2)),
            Event::ConnectionIdle(ConnectionId(77)),
            Event::Check { server: ServerId(1), instance: 0 },
            Event::Check { server: ServerId(0), instance: 1_023 },
            Event::CheckInstance { place: 0, target: 1, instance: 0 },
            Event::CheckInstance { place: 2, target: u16::MAX, instance: 1_023 },
            Event::Autoscale,
            Event::GivesUp(RequestId(4)),
            Event::Overdue,
            Event::ClientActs(ClientId(MAX_SLOTS)),
            Event::Retry(RequestId(8)),
            Event::SourceArrival(0),
            Event::ScriptStep(5),
        ];
        for event in events {
            assert_eq!(Event::from_word(event.word()), event);
        }
        assert!(events.is_sorted_by_key(|event| event.word()));
    }
}

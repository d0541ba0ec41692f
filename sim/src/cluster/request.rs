//! Requests in flight and open connections.

use std::net::IpAddr;

use crate::engine::SimTime;
use crate::ids::{ClientId, ConnectionId, ServerId};
use crate::metrics::LossCause;
use crate::session::sessions::Cut;
use crate::tier::{FlowId, Method, Reason};

/// Who sent a request, and so who gets its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A client on a visit: a step of it.
    Client(ClientId),
    /// A client on a visit: an object of the page that it loads.
    Object(ClientId),
    /// A client on a visit: a message on a connection that it holds.
    Message(ClientId),
    /// A client that has gone away since.
    Gone,
    /// A health check.
    Check,
    /// A source of single requests; nobody waits for the answer.
    Arrival,
    /// A user of a replayed log: the log's place among the sources, the user's place in the log.
    Log {
        /// The source.
        source: u16,
        /// The user.
        user: u32,
    },
    /// A scripted connection: its place among them.
    Script(u32),
}

/// A request in flight.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// When the client sent it.
    pub sent: SimTime,
    /// When its server accepted it; until then, when it began to wait for a place in a queue or for a server's answer to a SYN.
    pub entered: SimTime,
    /// When its service ends; [`SimTime::NEVER`] while it waits or is not in a server.
    pub due: SimTime,
    /// When its sender stops waiting; [`SimTime::NEVER`] if it does not, and once the request has ended.
    pub gives_up_at: SimTime,
    /// Its flow in a layer 7 instance.
    pub flow: FlowId,
    /// The name of its service demand.
    pub demand: Draw,
    /// Who sent it.
    pub origin: Origin,
    /// The connection that carries it.
    pub connection: ConnectionId,
    /// The session that it belongs to.
    pub session: Option<u32>,
    /// Tells that session from later ones in its slot.
    pub session_generation: u32,
    /// The instance of the tier that it went through.
    pub instance: u16,
    /// The server that has it, or had it last.
    pub server: ServerId,
    /// Why the balancer sent it there.
    pub reason: Reason,
    /// What that makes the cause if its session turns out to be lost; of no meaning without a session.
    pub cause: LossCause,
    /// The address that it came from, as the balancer saw it.
    pub from: IpAddr,
    /// Operations of the shared session store that it takes.
    pub store_operations: u8,
    /// Whether the end of its sender's patience is among the pending events.
    pub watched: bool,
    /// What its end means to a layer 7 instance.
    pub flow_end: FlowEnd,
    /// What it wants of the session store.
    pub work: SessionWork,
    /// Whether it brings the cookie that the site gives to every visitor.
    pub has_cookie: bool,
    /// What it waits for while no server has it.
    pub waits: Waits,
    /// How often its balancer has sent a SYN again to a server that does not answer.
    pub syns_again: u8,
    /// The status of the error that its server is about to answer with; 0 for none.
    pub fails_with: u16,
    /// Whether its answer creates the session of its visit (log replay).
    pub begins_session: bool,
    /// Whether a server has it.
    pub in_server: bool,
    /// Its method.
    pub method: Method,
}

// Every request is written once and read once as a whole: up to this size that takes no call.
const _: () = assert!(size_of::<Request>() <= 128);

impl Request {
    /// Where it went last, and why: the evidence if its session turns out to be lost. For a request that a server has, or
    /// has answered.
    #[inline]
    pub fn route(&self) -> Cut {
        let Self { entered, from, server, reason, cause, instance, .. } = *self;
        Cut { at: entered, from, to: server, reason, cause, instance }
    }

    /// Whether a server has it.
    pub fn is_at(&self, server: ServerId) -> bool {
        self.in_server && self.server == server
    }
}

/// What a request waits for that no server has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waits {
    /// Its instance, which lets it queue or takes its time before another try.
    Instance,
    /// A server that does not answer its instance's SYN.
    Server,
    /// Packets of it that were lost, to be sent again.
    Packets,
    /// Somebody at the site who answers its client's packets.
    Site,
    /// Its client, whom the answer does not reach.
    Client,
}

/// What the end of a request means to the layer 7 instance that it went through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlowEnd {
    /// The end of its flow.
    WithAnswer,
    /// Nothing if it is answered: the exchange stays open.
    Held,
    /// Nothing: its flow ended before, or it is a message within one.
    Detached,
}

/// What a request wants of the session store, where that has a behaviour of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionWork {
    /// Nothing.
    None,
    /// To create a session.
    Login,
    /// To read a session, and perhaps to write it.
    Use,
    /// To delete it.
    Logout,
}

/// The name of a draw of service demand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Draw {
    /// The entity.
    pub entity: u64,
    /// The index.
    pub index: u64,
    /// Which stream.
    pub purpose: Purpose,
}

/// Why service is demanded, which names the stream of the draw.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// A click, or the first login of a visit.
    Click,
    /// A login that repeats a lost one.
    Relogin,
    /// A line of a log.
    LogLine,
    /// An open-loop arrival.
    Arrival,
    /// An object of a page.
    Object,
    /// A message on a held connection.
    Message,
}

/// An open connection between a client and the hop that ends TCP.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// Who opened it.
    pub owner: Origin,
    /// Its flow in a layer 4 instance.
    pub flow: FlowId,
    /// When it will be closed for idleness, if it is not used before.
    pub idle_until: SimTime,
    /// The server at its other end (layer 4).
    pub server: ServerId,
    /// Why it went there (layer 4).
    pub reason: Reason,
    /// Requests that it has carried.
    pub requests: u32,
    /// Where it comes from, as the instance sees it.
    pub address: IpAddr,
    /// The state of its client's network when it was opened.
    pub link: u32,
    /// The source port.
    pub port: u16,
    /// The instance of the tier that it reached.
    pub instance: u16,
    /// The worker process that accepted it (layer 7).
    pub worker: u16,
    /// Whether it is open. One that is not keeps its slot until the requests on it have ended.
    pub open: bool,
    /// Requests in flight on it.
    pub in_flight: u16,
    /// Whether the client closes it when idle, not the server.
    pub closed_by_client: bool,
    /// Whether the machine at its other end died, and knows nothing of it.
    pub is_orphan: bool,
    /// Which of its client's packets nobody has answered so far.
    pub unanswered: Unanswered,
}

/// Which of the packets of a connection nobody has answered, so that they are sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unanswered {
    /// All are answered.
    Nothing,
    /// The SYN: the connection is none yet.
    Syn,
    /// What is sent on it.
    Data,
}

impl Connection {
    /// Whether it is open, and its SYN was answered.
    #[inline]
    pub fn stands(&self) -> bool {
        self.open && self.unanswered != Unanswered::Syn
    }

    /// Whether it is open and a director sends it to a server (layer 4).
    pub fn goes_to(&self, server: ServerId) -> bool {
        self.stands() && self.server == server
    }
}

//! Identifiers of the model's entities, and the numbers of its random streams.
//!
//! An id is an index into the tables of its own kind ([`crate::table::Column`]) and nothing else: it cannot be
//! mixed up with an id of another kind.

/// Declares a newtype index.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(pub $inner);

        impl $name {
            /// The id as an index into its tables.
            #[inline(always)]
            pub const fn index(self) -> usize {
                self.0 as usize
            }

            /// The id of the entity at `index`.
            ///
            /// # Panics
            /// Panics if `index` does not fit the id's integer.
            #[inline]
            pub fn from_index(index: usize) -> Self {
                Self(<$inner>::try_from(index).expect("id out of range"))
            }
        }

        impl crate::table::Id for $name {
            #[inline(always)]
            fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

id! {
    /// One user with one browser. Clients of all populations share one numbering.
    ClientId(u32)
}
id! {
    /// One server (LVS real server, nginx peer), in configuration order.
    ServerId(u16)
}
id! {
    /// One `[[population]]` or `[[log]]` of the scenario, in its order.
    PopulationId(u16)
}
id! {
    /// One TCP connection of a client, while it is open.
    ConnectionId(u32)
}
id! {
    /// One request in flight.
    RequestId(u32)
}

/// The purposes for which the model draws random numbers. A number is never reused: changing one changes every
/// simulated result that depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum StreamId {
    /// Users behind each address.
    UsersPerAddress = 1,
    /// Which prefixes and addresses a population gets.
    Addresses = 2,
    /// Time from the end of one visit to the start of the next.
    Away = 3,
    /// Clicks of a visit.
    Clicks = 4,
    /// Time between an answer and the next click.
    Think = 5,
    /// Service demand of a click.
    Demand = 6,
    /// Whether a user leaves after losing the session.
    LeaveOnLoss = 7,
    /// Think times and demands of logins that repeat a lost one.
    Relogin = 8,
    /// A balancer's own random choices.
    Balancer = 9,
    /// Phases of clocks and timers that the scenario leaves open.
    ClockPhase = 10,
    /// Source ports of connections.
    ClientPort = 11,
    /// Latency of the session store.
    StoreLatency = 12,
    /// Times between open-loop arrivals, and who arrives.
    Arrivals = 13,
    /// Where a client is in its life when the run begins.
    InitialState = 14,
    /// Service demand of a replayed log line.
    ReplayDemand = 15,
    /// Which page a request asks for.
    Pages = 40,
    /// Values of headers and parameters that are a client's for good.
    RequestValues = 41,
    /// The noise floor: what uniform random choice would give.
    NoiseFloor = 16,
    /// How active a user is beside others.
    Activity = 17,
    /// Objects of a page, and which of them are static.
    Objects = 18,
    /// Service demand of an object.
    ObjectDemand = 19,
    /// How long a client waits for an answer.
    Patience = 20,
    /// Pauses of a client before it tries again.
    Backoff = 21,
    /// How a visit ends: by a logout, or to be gone on with.
    VisitEnd = 22,
    /// How long an answer or a connection is held.
    Hold = 23,
    /// Times between messages on a held connection.
    MessageGap = 24,
    /// Service demand of a message.
    MessageDemand = 25,
    /// Lengths of bursts of arrivals and of the times between them.
    ArrivalPhases = 26,
    /// How many arrive at once.
    ArrivalBatches = 27,
    /// When leases and temporary addresses change, and to what.
    Leases = 48,
    /// When users are handed over to another address, and to which.
    HandOvers = 49,
    /// Which of several addresses a connection comes from.
    ConnectionAddress = 50,
    /// Cases of the live arm of the conformance suite.
    LiveCases = 64,
    /// Service of operations of a session store.
    StoreOperation = 100,
    /// Delays and work of copies between nodes of a store.
    StoreCopy = 101,
    /// Which keys a store looks at for eviction.
    StoreEviction = 102,
    /// How long a store's fail-overs take.
    StoreFailover = 103,
    /// Sizes of sessions.
    SessionSize = 104,
    /// Which clicks write their session.
    SessionWrites = 105,
    /// What goes wrong with single operations of a store: errors, lost packets.
    StoreMishaps = 106,
    /// Which instance of a tier a connection reaches.
    Instance = 80,
    /// Which servers an instance of a tier uses, if not all.
    Subset = 81,
    /// Points of a Latin hypercube.
    LatinHypercube = 120,
    /// Replications that are drawn again to tell how sure a choice is.
    Resampling = 121,
    /// Where the networks of a log lie.
    LoggedNetworks = 122,
    /// Which resolver a network asks, and whether it minds an answer's time to live.
    Resolver = 130,
    /// The hash of routers with several next hops.
    Ecmp = 131,
    /// When faults come at random, and how long they last.
    FaultTimes = 140,
    /// Which requests a faulty server answers with an error.
    Errors = 141,
    /// Which packets are lost.
    PacketLoss = 142,
    /// How long servers boot that an autoscaler asked for.
    Boot = 143,
    /// Which worker process of a proxy accepts a connection of a proxy in front of it.
    InnerWorker = 150,
}

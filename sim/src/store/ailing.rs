//! What ails a store's nodes and the links to them and between them, and what that costs those who ask.
//!
//! Operations are answered at once, with the time at which they are done, so what lasts says until when: a packet into a link that is
//! cut comes through at the first time that Linux sends it again after that (1, 3, 7 s… for a SYN, 0.2, 0.6, 1.4 s… on a
//! connection), if the store's client waits so long. A request connects for its first operation and keeps that connection for its
//! second, as PHP does without persistent connections. A fault that begins while an operation is under way, or that prolongs
//! another, does not change what was answered.
//!
//! A node that is late is asked at once all the same, and the delay is put on its answer: an operation that came late would keep
//! those from being served that come in time.

use super::Access;
use super::plan::StoreTimeouts;
use crate::engine::{SimDuration, SimTime, Stream};

/// From the first time that a lost SYN is sent to the next, and of what is sent on a connection; each time doubles it.
const SYN_AGAIN: SimDuration = SimDuration::from_secs(1);
const SEGMENT_AGAIN: SimDuration = SimDuration::from_millis(200);
/// How often Linux sends again: `tcp_retries2`.
const AGAIN_MAX: u32 = 15;

/// What befalls a node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NodeCondition {
    /// How it died, if it is dead.
    pub death: Option<Death>,
    /// Until when its processes stand still; [`SimTime::ZERO`] if they do not.
    pub hangs_until: SimTime,
    /// How many times as long everything takes.
    pub factor: f64,
    /// Share of operations that it answers with an error.
    pub errors: f64,
}

impl NodeCondition {
    /// Nothing.
    pub const WELL: Self = Self { death: None, hangs_until: SimTime::ZERO, factor: 1.0, errors: 0.0 };
}

/// How a node died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Its processes, which the kernel tells.
    Process,
    /// Its machine lost its power: nobody answers for it, and what was not flushed to the disk is gone.
    Power,
    /// It was stopped on purpose, and wrote down what it writes down.
    Stopped,
}

/// What befalls a link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkCondition {
    /// Until when nothing gets through; [`SimTime::ZERO`] if all does.
    pub cut_until: SimTime,
    /// Time that packets take longer, each way.
    pub delay: SimDuration,
    /// Share of packets that are lost.
    pub loss: f64,
}

impl LinkCondition {
    /// Nothing.
    pub const WELL: Self = Self { cut_until: SimTime::ZERO, delay: SimDuration::ZERO, loss: 0.0 };
}

/// All that ails a store.
#[derive(Clone, Debug)]
pub(super) struct Ailing {
    timeouts: StoreTimeouts,
    stream: Stream,
    /// By node; none while nothing has ever happened.
    nodes: Vec<NodeCondition>,
    /// By server, then by node.
    links: Vec<LinkCondition>,
    /// By node: its link to the others.
    replication: Vec<LinkCondition>,
    number: usize,
}

/// What an operation costs beside the usual.
#[derive(Clone, Copy, Debug)]
pub(super) struct Toll {
    /// Time on the way.
    pub late: SimDuration,
    /// When the node begins with it at the earliest.
    pub not_before: SimTime,
}

impl Ailing {
    pub(super) fn new(nodes: usize, timeouts: StoreTimeouts, stream: Stream) -> Self {
        let (links, replication) = (Vec::new(), Vec::new());
        Self { timeouts, stream, nodes: Vec::new(), links, replication, number: nodes }
    }

    /// How long a server waits for an answer at most, its connection included.
    #[inline]
    pub(super) fn patience(&self, access: &Access) -> SimDuration {
        if access.stands { self.timeouts.read } else { self.timeouts.connect + self.timeouts.read }
    }

    /// What befalls a node.
    pub(super) fn node(&self, node: usize) -> NodeCondition {
        self.nodes.get(node).copied().unwrap_or(NodeCondition::WELL)
    }

    /// What befalls the link from a node to the others.
    pub(super) fn replication(&self, node: usize) -> LinkCondition {
        self.replication.get(node).copied().unwrap_or(LinkCondition::WELL)
    }

    pub(super) fn set_node(&mut self, node: usize, condition: NodeCondition) {
        self.nodes.resize(self.number, NodeCondition::WELL);
        self.nodes[node] = condition;
    }

    pub(super) fn set_link(&mut self, server: usize, node: usize, condition: LinkCondition) {
        let place = server * self.number + node;
        if self.links.len() <= place {
            self.links.resize((server + 1) * self.number, LinkCondition::WELL);
        }
        self.links[place] = condition;
    }

    pub(super) fn set_replication(&mut self, node: usize, condition: LinkCondition) {
        self.replication.resize(self.number, LinkCondition::WELL);
        self.replication[node] = condition;
    }

    /// How much later than usual a copy comes from one node at another, whose loss is named by the access; `None` while nothing gets
    /// through.
    pub(super) fn copy_delay(&self, access: &Access, from: usize, to: usize) -> Option<SimDuration> {
        if self.replication.is_empty() {
            return Some(SimDuration::ZERO);
        }
        let (one, other) = (self.replication[from], self.replication[to]);
        if one.cut_until.max(other.cut_until) > access.now {
            return None;
        }
        let loss = 1.0 - (1.0 - one.loss) * (1.0 - other.loss);
        let mut draws = self.stream.draws(access.entity | 1 << 62 | (to as u64) << 48, access.index);
        Some(one.delay + other.delay + again(loss, 1, SEGMENT_AGAIN, || draws.uniform()))
    }

    /// What it costs an operation to get to a node and its answer to come back.
    ///
    /// # Errors
    /// It does not: after this time the server gives up.
    #[inline]
    pub(super) fn toll(
        &self,
        access: &Access,
        node: usize,
        round_trip: SimDuration,
    ) -> Result<Toll, SimDuration> {
        if self.nodes.is_empty() && self.links.is_empty() {
            return Ok(Toll { late: SimDuration::ZERO, not_before: SimTime::ZERO });
        }
        self.toll_of_the_ailing(access, node, round_trip)
    }

    #[inline(never)]
    fn toll_of_the_ailing(
        &self,
        access: &Access,
        node: usize,
        round_trip: SimDuration,
    ) -> Result<Toll, SimDuration> {
        let condition = self.node(node);
        let place = access.server.index() * self.number + node;
        let link = self.links.get(place).copied().unwrap_or(LinkCondition::WELL);
        let (patience, first) = match access.stands {
            true => (self.timeouts.read, SEGMENT_AGAIN),
            false => (self.timeouts.connect, SYN_AGAIN),
        };
        match condition.death {
            Some(Death::Power) => return Err(patience),
            Some(Death::Process | Death::Stopped) => return Err(round_trip),
            None => {}
        }
        let mut draws = self.stream.draws(access.entity | u64::from(access.server.0) << 48, access.index);
        if draws.uniform() < condition.errors {
            return Err(round_trip);
        }
        let mut late = SimDuration::ZERO;
        if link.cut_until > access.now {
            let waits = |again: u32| first * ((1 << (again + 1)) - 1);
            let through = (0..AGAIN_MAX).map(waits).find(|&wait| access.now + wait >= link.cut_until);
            late = through.filter(|&wait| wait < patience).ok_or(patience)?;
        }
        let connects = if access.stands {
            SimDuration::ZERO
        } else {
            link.delay * 2 + again(link.loss, 2, SYN_AGAIN, || draws.uniform())
        };
        if connects > self.timeouts.connect {
            return Err(self.timeouts.connect);
        }
        late += connects + link.delay * 2 + again(link.loss, 2, SEGMENT_AGAIN, || draws.uniform());
        if condition.hangs_until > access.now + late + self.timeouts.read {
            return Err(late + self.timeouts.read);
        }
        Ok(Toll { late, not_before: condition.hangs_until })
    }

    /// The time that a service takes at a node.
    pub(super) fn paced(&self, node: usize, service: SimDuration) -> SimDuration {
        match self.nodes.get(node) {
            Some(condition) if condition.factor != 1.0 => {
                SimDuration::from_secs_f64(service.as_secs_f64() * condition.factor)
            }
            _ => service,
        }
    }
}

/// How long it takes until none of so many packets in a row is lost, each time costing twice as much.
fn again(loss: f64, packets: i32, first: SimDuration, mut uniform: impl FnMut() -> f64) -> SimDuration {
    if loss == 0.0 {
        return SimDuration::ZERO;
    }
    let arrives = (0..packets).fold(1.0, |all, _| all * (1.0 - loss));
    let mut again = 0;
    while again < AGAIN_MAX && uniform() >= arrives {
        again += 1;
    }
    first * ((1 << again) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ServerId, StreamId};

    fn ailing() -> Ailing {
        let timeouts = StoreTimeouts { connect: SimDuration::from_secs(5), read: SimDuration::from_secs(10) };
        Ailing::new(2, timeouts, Stream::new(1, 0, StreamId::StoreMishaps))
    }

    fn access(stands: bool) -> Access {
        Access { now: SimTime::from_millis(60_000), server: ServerId(1), entity: 0, index: 0, stands }
    }

    fn toll(ailing: &Ailing, stands: bool) -> Result<u64, u64> {
        let ms = |time: SimDuration| time.0 / 1_000_000;
        let round_trip = SimDuration::from_millis(1);
        ailing.toll(&access(stands), 0, round_trip).map(|toll| ms(toll.late)).map_err(ms)
    }

    #[test]
    fn a_cut_link_lets_through_what_is_sent_again_after_it_or_costs_the_time_out() {
        let mut ailing = ailing();
        assert_eq!(toll(&ailing, false), Ok(0));
        let cut =
            |s: u64| LinkCondition { cut_until: SimTime::from_millis(60_000 + s), ..LinkCondition::WELL };
        ailing.set_link(1, 0, cut(2_000));
        assert_eq!((toll(&ailing, false), toll(&ailing, true)), (Ok(3_000), Ok(3_000)));
        ailing.set_link(1, 0, cut(500));
        assert_eq!((toll(&ailing, false), toll(&ailing, true)), (Ok(1_000), Ok(600)));
        ailing.set_link(1, 0, cut(6_000));
        assert_eq!((toll(&ailing, false), toll(&ailing, true)), (Err(5_000), Ok(6_200)));
        ailing.set_link(1, 0, LinkCondition { delay: SimDuration::from_millis(20), ..LinkCondition::WELL });
        assert_eq!((toll(&ailing, false), toll(&ailing, true)), (Ok(80), Ok(40)));
    }

    #[test]
    fn a_dead_process_refuses_at_once_and_a_dead_machine_after_the_time_out() {
        let mut ailing = ailing();
        for (death, fresh, standing) in
            [(Death::Process, 1, 1), (Death::Stopped, 1, 1), (Death::Power, 5_000, 10_000)]
        {
            ailing.set_node(0, NodeCondition { death: Some(death), ..NodeCondition::WELL });
            assert_eq!((toll(&ailing, false), toll(&ailing, true)), (Err(fresh), Err(standing)));
        }
        // The kernel of a node that hangs accepts connections: only the answer does not come.
        ailing.set_node(0, NodeCondition { hangs_until: SimTime::NEVER, ..NodeCondition::WELL });
        assert_eq!(toll(&ailing, false), Err(10_000));
    }
}

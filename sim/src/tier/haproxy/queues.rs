//! Queues: one of the backend, for requests that any server may take, and one of each server.
//!
//! HAProxy 2.6, `src/queue.c` (`pendconn_add`, `pendconn_process_next_strm`). Requests keep the order in which they came;
//! those that leave by the side are passed over when their turn comes.

use std::collections::VecDeque;

use super::flows::{Flow, Stage};
use crate::ids::ServerId;
use crate::tier::FlowId;
use crate::tier::flows::Flows;

/// All queues of a backend.
#[derive(Debug)]
pub(super) struct Queues {
    backend: VecDeque<(u64, FlowId)>,
    servers: Vec<VecDeque<(u64, FlowId)>>,
    tickets: u64,
}

impl Queues {
    pub(super) fn new(servers: usize) -> Self {
        Self { backend: VecDeque::new(), servers: vec![VecDeque::new(); servers], tickets: 0 }
    }

    fn queue(&mut self, server: Option<ServerId>) -> &mut VecDeque<(u64, FlowId)> {
        match server {
            Some(server) => &mut self.servers[server.index()],
            None => &mut self.backend,
        }
    }

    /// A request joins a queue. Returns its ticket.
    pub(super) fn join(&mut self, server: Option<ServerId>, flow: FlowId) -> u64 {
        let ticket = self.tickets;
        self.tickets += 1;
        self.queue(server).push_back((ticket, flow));
        ticket
    }

    /// The first request of a queue that is still there.
    pub(super) fn first(&mut self, flows: &Flows<Flow>, server: Option<ServerId>) -> Option<(u64, FlowId)> {
        let queue = self.queue(server);
        while let Some(&(ticket, id)) = queue.front() {
            if flows.get(id).is_some_and(|flow| flow.stage == Stage::Queued { server, ticket }) {
                return Some((ticket, id));
            }
            queue.pop_front();
        }
        None
    }

    /// A request goes back to its place in the queue of a server; those with earlier tickets are to come first.
    pub(super) fn rejoin(&mut self, server: ServerId, ticket: u64, flow: FlowId) {
        self.servers[server.index()].push_back((ticket, flow));
    }

    /// Bytes that the queues occupy.
    pub(super) fn bytes(&self) -> usize {
        let places = self.servers.iter().chain([&self.backend]).map(VecDeque::capacity).sum::<usize>();
        places * size_of::<(u64, FlowId)>()
    }
}

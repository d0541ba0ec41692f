//! Any algorithm of the catalogue at work on its program's own table of servers, without a tier around it: for tests of the
//! properties that entries declare, and for benches.
//!
//! Requests are opened and ended one by one, and the table counts them as the program does. What a tier adds is not here:
//! templates, cookies and stick tables, health but for failures that the program counts, queues, and of retries those that
//! HAProxy's tier decides on.

use std::net::{IpAddr, Ipv4Addr};

use super::haproxy::{Admin, HaproxyMethod, HaproxyRequest, HaproxyServer};
use super::lvs::{Destinations, LvsScheduler, SchedulerRequest};
use super::modern::hash::{client_key, mix};
use super::modern::{Ejection, ProxyRequest, ProxyServer, ProxyServers, TRIES_MAX};
use super::nginx::{NginxMethod, NginxServer, Peers, RequestState};
use super::{Balancer, CatalogueEntry, ProxyMethod, Reason, haproxy};
use crate::engine::{SimDuration, SimTime, Stream};
use crate::ids::{ServerId, StreamId};

/// A server of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrialServer {
    /// Which server it is, whatever its place: it makes the address 10.0.0.0 + `name`, port 80.
    pub name: u16,
    /// Its weight, 0 to 256. nginx knows no weight of 0: there the server is `down`.
    pub weight: u32,
    /// Requests that it may have open (`max_conns`, `-x`); 0 is no limit. HAProxy's limit is the tier's part, and proxies
    /// have none.
    pub max_open: u32,
    /// Whether it is down, removed or in maintenance.
    pub out: bool,
}

impl TrialServer {
    /// A server without a limit.
    pub fn new(name: u16, weight: u32) -> Self {
        Self { name, weight, max_open: 0, out: false }
    }

    fn address(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(0x0A00_0000 + u32::from(self.name))
    }

    fn text(&self) -> String {
        format!("{}:80", self.address())
    }

    fn is_down(&self) -> bool {
        self.out || self.weight == 0
    }
}

/// Who makes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The client's address.
    pub address: Ipv4Addr,
    /// The address that it calls, for schedulers that look at it.
    pub called: Ipv4Addr,
    /// What is hashed where a key is configured: a URI with a parameter, path and value of which are the client's own. The
    /// parameter's name is empty, as in a fresh `haproxy.url_param`.
    pub key: [u8; 19],
}

impl Caller {
    /// The client of a number: address and key are scattered, the address called is one for all.
    pub fn new(number: u64) -> Self {
        let bits = mix(number);
        let mut key = *b"/........?=........";
        for (place, letter) in key.iter_mut().filter(|letter| **letter == b'.').enumerate() {
            *letter = b"0123456789abcdef"[(bits >> (4 * place) & 15) as usize];
        }
        Self { address: Ipv4Addr::from_bits(bits as u32), called: Ipv4Addr::new(192, 0, 2, 1), key }
    }

    /// The same client, calling an address of its own.
    #[must_use]
    pub fn calling_its_own(self) -> Self {
        Self { called: self.address, ..self }
    }
}

/// The server that was chosen, and why.
pub type Picked = (Option<ServerId>, Reason);

/// What became of a change of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It is in force.
    Done,
    /// The program does not take such a weight at run time; nothing changed.
    Refused,
    /// The program takes no changes at run time, so it was configured anew: what was open is no longer known.
    Reloaded,
}

/// An algorithm under trial. Requests that are open are numbered from 0; one that ends leaves its number to the last.
pub trait Trial {
    /// A request comes, and stays open if there is a server for it.
    fn open(&mut self, caller: &Caller) -> Picked;

    /// An open request ends. If it was not answered and the program tries again by itself, the next choice, and the request
    /// is the last of those open if there was a server.
    ///
    /// # Panics
    /// Panics if there is no request of this number.
    fn end(&mut self, request: usize, answered: bool) -> Option<Picked>;

    /// Changes a server's weight and whether it is out.
    ///
    /// # Panics
    /// Panics if there is no such server.
    fn change(&mut self, server: ServerId, weight: u32, out: bool) -> Changed;

    /// Time passes.
    fn pass(&mut self, time: SimDuration);

    /// Makes `picks` choices for callers in turn, a microsecond apart, each ended `open` choices later, and gives a checksum
    /// of the servers. Nothing else must be open. The loop is compiled for the family, without a call through a pointer.
    fn turn_over(&mut self, callers: &[Caller], picks: u64, open: usize) -> u64;
}

/// A trial of `entry` with these servers, which are named by their places. Random methods draw from a fixed seed.
///
/// # Panics
/// Panics without a server.
pub fn trial(entry: &CatalogueEntry, servers: &[TrialServer]) -> Box<dyn Trial> {
    fn boxed<F: Family + 'static>(fresh: Option<F>, servers: &[TrialServer]) -> Option<Box<dyn Trial>>
    where
        F::Request: Clone,
    {
        fresh.map(|fresh| Box::new(Run::new(fresh, servers)) as Box<dyn Trial>)
    }
    let made = match entry.program {
        "nginx" => boxed(NginxMethod::by_name(entry.name), servers),
        "lvs" => boxed(LvsScheduler::by_name(entry.name), servers),
        "haproxy" => boxed(HaproxyMethod::by_name(entry.name), servers),
        program => boxed(ProxyMethod::by_name(program, entry.name), servers),
    };
    made.expect("every program of the catalogue has a family here")
}

/// How the table of one program is filled and counted in.
trait Family: Balancer + Clone {
    /// The table of a program that has just started.
    fn table(&self, servers: &[TrialServer]) -> Self::Servers;

    /// A request that has not tried a server yet. `number` names its random draws.
    fn request(&self, table: &mut Self::Servers, caller: &Caller, number: u64, now: SimTime)
    -> Self::Request;

    /// Why the last pick fell as it did.
    fn reason(request: &Self::Request) -> Reason;

    /// What a timer would have done by now.
    fn advance(&mut self, _table: &mut Self::Servers, _now: SimTime) {}

    /// The request goes to the server that was picked.
    fn begin(&mut self, _table: &mut Self::Servers, _request: &mut Self::Request, _server: ServerId) {}

    /// The request's try ended. Says whether the program tries again.
    fn end(
        &mut self,
        table: &mut Self::Servers,
        request: &mut Self::Request,
        server: ServerId,
        answered: bool,
        now: SimTime,
    ) -> bool;

    /// The request is over.
    fn finish(_table: &mut Self::Servers, _request: &Self::Request) {}

    /// The server becomes as `line` says, if the program can do that without a reload.
    fn change(
        &mut self,
        table: &mut Self::Servers,
        server: ServerId,
        line: &TrialServer,
        now: SimTime,
    ) -> Changed;
}

/// One algorithm and its table.
struct Run<F: Family> {
    /// The algorithm as it starts.
    fresh: F,
    balancer: F,
    table: F::Servers,
    lines: Vec<TrialServer>,
    open: Vec<(F::Request, ServerId)>,
    /// Requests so far.
    requests: u64,
    now: SimTime,
}

impl<F: Family> Run<F> {
    fn new(fresh: F, servers: &[TrialServer]) -> Self {
        let table = fresh.table(servers);
        let mut balancer = fresh.clone();
        balancer.servers_changed(&table);
        let (lines, open) = (servers.to_vec(), Vec::new());
        Self { fresh, balancer, table, lines, open, requests: 0, now: SimTime::ZERO }
    }

    #[inline]
    fn request(&mut self, caller: &Caller) -> F::Request {
        self.requests += 1;
        self.balancer.request(&mut self.table, caller, self.requests, self.now)
    }

    /// Sends the request on; if no server will have it, it is over.
    #[inline]
    fn pick(&mut self, request: &mut F::Request) -> Option<ServerId> {
        self.balancer.advance(&mut self.table, self.now);
        let server = self.balancer.pick(&mut self.table, request);
        match server {
            Some(server) => self.balancer.begin(&mut self.table, request, server),
            None => F::finish(&mut self.table, request),
        }
        server
    }

    fn admit(&mut self, mut request: F::Request) -> Picked {
        let server = self.pick(&mut request);
        let reason = F::reason(&request);
        if let Some(server) = server {
            self.open.push((request, server));
        }
        (server, reason)
    }
}

impl<F: Family> Trial for Run<F>
where
    F::Request: Clone,
{
    fn open(&mut self, caller: &Caller) -> Picked {
        let request = self.request(caller);
        self.admit(request)
    }

    fn end(&mut self, request: usize, answered: bool) -> Option<Picked> {
        let (mut request, server) = self.open.swap_remove(request);
        if self.balancer.end(&mut self.table, &mut request, server, answered, self.now) {
            return Some(self.admit(request));
        }
        F::finish(&mut self.table, &request);
        None
    }

    fn change(&mut self, server: ServerId, weight: u32, out: bool) -> Changed {
        let line = TrialServer { weight, out, ..self.lines[server.index()] };
        let changed = self.balancer.change(&mut self.table, server, &line, self.now);
        match changed {
            Changed::Done => self.lines[server.index()] = line,
            Changed::Refused => {}
            Changed::Reloaded => {
                self.lines[server.index()] = line;
                let anew = Self::new(self.fresh.clone(), &self.lines);
                *self = Self { requests: self.requests, now: self.now, ..anew };
            }
        }
        changed
    }

    fn pass(&mut self, time: SimDuration) {
        self.now = self.now + time;
    }

    fn turn_over(&mut self, callers: &[Caller], picks: u64, open: usize) -> u64 {
        let mut under_way: Vec<Option<(F::Request, ServerId)>> = vec![None; open.max(1)];
        let (mut sum, mut slot, mut caller) = (0_u64, 0, 0);
        for _ in 0..picks {
            self.now = self.now + SimDuration(1_000);
            let place = &mut under_way[slot];
            if let Some((request, server)) = place {
                self.balancer.end(&mut self.table, request, *server, true, self.now);
                F::finish(&mut self.table, request);
            }
            let request = self.request(&callers[caller]);
            let (request, at) = place.insert((request, ServerId(0)));
            match self.pick(request) {
                Some(server) => {
                    *at = server;
                    sum = sum.wrapping_mul(31).wrapping_add(server.0.into());
                }
                None => *place = None,
            }
            slot = if slot + 1 == under_way.len() { 0 } else { slot + 1 };
            caller = if caller + 1 == callers.len() { 0 } else { caller + 1 };
        }
        sum
    }
}

impl Family for NginxMethod {
    fn table(&self, servers: &[TrialServer]) -> Peers {
        let line = |server: &TrialServer| NginxServer {
            weight: server.weight.max(1),
            max_conns: if self.takes_max_conns() { server.max_open } else { 0 },
            down: server.is_down(),
            address: server.text(),
            ..NginxServer::default()
        };
        let mut peers = Peers::new(&servers.iter().map(line).collect::<Vec<_>>());
        peers.set_draws(Stream::new(1, 0, StreamId::Balancer), 0);
        peers
    }

    #[inline]
    fn request(&self, peers: &mut Peers, caller: &Caller, number: u64, now: SimTime) -> RequestState {
        let mut request = peers.begin(IpAddr::V4(caller.address));
        request.set_key(&caller.key);
        request.set_number(number);
        request.set_clock(now.0 / 1_000_000_000);
        request
    }

    fn reason(request: &RequestState) -> Reason {
        request.reason()
    }

    #[inline]
    fn end(
        &mut self,
        peers: &mut Peers,
        request: &mut RequestState,
        _server: ServerId,
        answered: bool,
        now: SimTime,
    ) -> bool {
        request.set_clock(now.0 / 1_000_000_000);
        peers.end_try(request, !answered);
        self.ended(peers, request);
        !answered && request.tries() > 0
    }

    #[inline]
    fn finish(peers: &mut Peers, request: &RequestState) {
        peers.finish(request);
    }

    fn change(
        &mut self,
        _peers: &mut Peers,
        _server: ServerId,
        _line: &TrialServer,
        _now: SimTime,
    ) -> Changed {
        Changed::Reloaded
    }
}

impl Family for LvsScheduler {
    fn table(&self, servers: &[TrialServer]) -> Destinations {
        let mut list = Destinations::new();
        for (index, server) in servers.iter().enumerate() {
            let id = ServerId::from_index(index);
            list.set_address(id, (server.address(), 80).into());
            if !server.out {
                list.add(id, server.weight, server.max_open, 0);
            }
        }
        list
    }

    #[inline]
    fn request(
        &self,
        _list: &mut Destinations,
        caller: &Caller,
        number: u64,
        now: SimTime,
    ) -> SchedulerRequest {
        let destination = IpAddr::V4(caller.called);
        let request = SchedulerRequest::new(IpAddr::V4(caller.address), number as u16);
        SchedulerRequest { destination, now, ..request }
    }

    fn reason(request: &SchedulerRequest) -> Reason {
        request.reason
    }

    #[inline]
    fn begin(&mut self, list: &mut Destinations, _request: &mut SchedulerRequest, server: ServerId) {
        list.bind(server, true);
    }

    #[inline]
    fn end(
        &mut self,
        list: &mut Destinations,
        _request: &mut SchedulerRequest,
        server: ServerId,
        _answered: bool,
        _now: SimTime,
    ) -> bool {
        list.unbind(server, true);
        false
    }

    fn change(
        &mut self,
        list: &mut Destinations,
        server: ServerId,
        line: &TrialServer,
        _now: SimTime,
    ) -> Changed {
        if line.out {
            list.remove(server);
        } else if !list.set_weight(server, line.weight) {
            list.add(server, line.weight, line.max_open, 0);
        }
        self.servers_changed(list);
        Changed::Done
    }
}

impl Family for HaproxyMethod {
    fn table(&self, servers: &[TrialServer]) -> haproxy::Servers {
        let line = |(index, server): (usize, &TrialServer)| HaproxyServer {
            weight: server.weight,
            disabled: server.out,
            ..HaproxyServer::new(index as u32 + 1)
        };
        let lines: Vec<_> = servers.iter().enumerate().map(line).collect();
        haproxy::Servers::new(&lines, self.has_static_weights(), false)
    }

    #[inline]
    fn request(
        &self,
        _servers: &mut haproxy::Servers,
        caller: &Caller,
        _number: u64,
        _now: SimTime,
    ) -> HaproxyRequest {
        let key_hash = self.key_hash(IpAddr::V4(caller.address), &caller.key);
        HaproxyRequest { key_hash, ..HaproxyRequest::new(0) }
    }

    fn reason(request: &HaproxyRequest) -> Reason {
        request.reason
    }

    #[inline]
    fn begin(&mut self, servers: &mut haproxy::Servers, _request: &mut HaproxyRequest, server: ServerId) {
        servers.take(server);
        self.load_changed(servers, server);
    }

    #[inline]
    fn end(
        &mut self,
        servers: &mut haproxy::Servers,
        _request: &mut HaproxyRequest,
        server: ServerId,
        _answered: bool,
        _now: SimTime,
    ) -> bool {
        servers.give_back(server);
        self.load_changed(servers, server);
        false
    }

    fn change(
        &mut self,
        servers: &mut haproxy::Servers,
        server: ServerId,
        line: &TrialServer,
        _now: SimTime,
    ) -> Changed {
        if !servers.set_weight(server, line.weight) {
            return Changed::Refused;
        }
        servers.set_admin(server, if line.out { Admin::Maint } else { Admin::Ready });
        self.servers_changed(servers);
        Changed::Done
    }
}

impl Family for ProxyMethod {
    fn table(&self, servers: &[TrialServer]) -> ProxyServers {
        let line = |server: &TrialServer| ProxyServer { address: server.text(), weight: server.weight };
        let lines: Vec<_> = servers.iter().map(line).collect();
        let ejection = Ejection { failures: 2, time: SimDuration::from_secs(10) };
        let mut table = ProxyServers::new(&lines, ejection, Stream::new(1, 0, StreamId::Balancer), 0);
        for (index, _) in servers.iter().enumerate().filter(|(_, server)| server.out) {
            table.set_removed(SimTime::ZERO, ServerId::from_index(index), true);
        }
        table
    }

    #[inline]
    fn request(&self, _table: &mut ProxyServers, caller: &Caller, number: u64, now: SimTime) -> ProxyRequest {
        ProxyRequest::new(client_key(IpAddr::V4(caller.address), &[]), number, now)
    }

    fn reason(request: &ProxyRequest) -> Reason {
        request.reason()
    }

    #[inline]
    fn advance(&mut self, table: &mut ProxyServers, now: SimTime) {
        if table.readmit(now) {
            self.servers_changed(table);
        }
    }

    #[inline]
    fn begin(&mut self, table: &mut ProxyServers, request: &mut ProxyRequest, server: ServerId) {
        table.begin_try(request, server);
    }

    #[inline]
    fn end(
        &mut self,
        table: &mut ProxyServers,
        request: &mut ProxyRequest,
        _server: ServerId,
        answered: bool,
        now: SimTime,
    ) -> bool {
        request.set_clock(now);
        let changed = table.end_try(request, answered.then_some(200));
        self.ended(table, request);
        if changed {
            self.servers_changed(table);
        }
        !answered && request.tries() < TRIES_MAX
    }

    fn change(
        &mut self,
        table: &mut ProxyServers,
        server: ServerId,
        line: &TrialServer,
        now: SimTime,
    ) -> Changed {
        table.set_weight(now, server, line.weight);
        table.set_removed(now, server, line.out);
        self.servers_changed(table);
        Changed::Done
    }
}

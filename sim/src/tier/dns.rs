//! A name with several addresses: resolvers that keep an answer for its time to live, and the users who share it.
//!
//! The name has an address for each instance of the next tier. An authoritative server answers with all that are listed, each time
//! beginning with another (BIND's `rrset-order`, RFC 1794), and clients take the first. Whoever asks a resolver gets the answer that it
//! has until that has run out (RFC 1035, 3.2.1), so all users of a resolver move together. Clients' own caches change nothing: a
//! resolver hands out the time that is left, so they run out when its answer does. Networks that ignore the time to live ask resolvers
//! of their own that keep answers for `ignored_for`.

use std::net::IpAddr;

use crate::balancer::Reason;
use crate::balancer::modern::hash::mix;
use crate::engine::{SimDuration, SimTime, Stream};
use crate::population::{PageSampler, SitePages};

/// How a name is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct DnsConfig {
    /// Time to live of an answer, above zero.
    pub ttl: SimDuration,
    /// Resolvers among which networks (/24 of IPv4, /48 of IPv6) are divided, at least 1.
    pub resolvers: u32,
    /// How unevenly: Zipf's exponent of the resolvers' popularity, at least 0.
    pub zipf: f64,
    /// The order of the addresses in an answer.
    pub order: DnsOrder,
    /// Share of networks that go on with an answer after its time, 0 to 1.
    pub ignore_ttl: f64,
    /// How long these do.
    pub ignored_for: SimDuration,
    /// Addresses that a client tries before it gives up, at least 1.
    pub tries: u32,
}

/// The order of the addresses in answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DnsOrder {
    /// Each answer begins with the next address.
    Cyclic,
    /// Each answer begins with an address drawn at random.
    Random,
}

/// An answer that a resolver has.
#[derive(Clone, Copy, Debug)]
struct Answer {
    until: SimTime,
    first: u16,
}

/// The name, and what resolvers know of it.
#[derive(Debug)]
pub struct Dns {
    config: DnsConfig,
    /// Whether each address is in the answers.
    listed: Vec<bool>,
    /// By resolver: those that mind the time to live, then those that do not.
    answers: Vec<Answer>,
    /// Which resolver a network asks: a law of the same form as the popularity of pages.
    popularity: PageSampler,
    /// Answers given by the authoritative server.
    given: u64,
    /// The address with which its next answer begins.
    next: u16,
    draws: Stream,
    /// Names its own draws.
    entity: u64,
}

/// Purposes of its draws, as indices of the stream.
const RESOLVER: u64 = 0;
const IGNORES: u64 = 1;

impl Dns {
    /// A name with so many addresses, all listed, and resolvers that have not asked for it yet. `draws` says who asks which
    /// resolver; the order of the answers is drawn for `entity`.
    ///
    /// # Panics
    /// Panics without an address.
    pub fn new(config: DnsConfig, addresses: usize, draws: Stream, entity: u64) -> Self {
        assert!(addresses > 0, "a name has an address");
        let popularity = SitePages { count: config.resolvers, zipf: config.zipf }.sampler();
        let unknown = Answer { until: SimTime::ZERO, first: 0 };
        Self {
            listed: vec![true; addresses],
            answers: vec![unknown; 2 * config.resolvers as usize],
            popularity,
            given: 0,
            next: 0,
            draws,
            entity,
            config,
        }
    }

    /// Takes an address out of the answers, or puts it back. Answers that resolvers have stay as they are.
    pub fn list(&mut self, address: u16, listed: bool) {
        self.listed[usize::from(address)] = listed;
    }

    /// The address to which a client connects, and why: [`Reason::Affinity`] while its resolver's answer is good,
    /// [`Reason::Scheduled`] after a new one. One that does not answer (`reaches` is false) is followed by the next that is listed, up
    /// to `tries` in all; the last one tried is returned, whether it answers or not.
    pub fn pick(
        &mut self,
        now: SimTime,
        client: IpAddr,
        mut reaches: impl FnMut(u16) -> bool,
    ) -> (u16, Reason) {
        let resolver = self.resolver_of(client);
        let minds = resolver < self.config.resolvers as usize;
        let Answer { until, first } = self.answers[resolver];
        let (first, reason) = if now < until {
            (first, Reason::Affinity)
        } else {
            let first = self.answer();
            let time = if minds { self.config.ttl } else { self.config.ignored_for };
            self.answers[resolver] = Answer { until: now + time, first };
            (first, Reason::Scheduled { tie: false })
        };
        let addresses = self.listed.len() as u16;
        let rest = (1..addresses).map(|step| (first + step) % addresses);
        let rest = rest.filter(|&address| self.listed[usize::from(address)]);
        let tried = std::iter::once(first).chain(rest).take(self.config.tries as usize);
        let mut last = first;
        for address in tried {
            last = address;
            if reaches(address) {
                break;
            }
        }
        (last, reason)
    }

    /// The address with which the authoritative server's next answer begins. If none is listed, all are.
    fn answer(&mut self) -> u16 {
        let all = !self.listed.contains(&true);
        let addresses = self.listed.len() as u16;
        self.given += 1;
        if self.config.order == DnsOrder::Random {
            let number = self.listed.iter().filter(|&&listed| listed || all).count();
            let drawn = self.draws.below(number as u64, 1 << 63 | self.entity, self.given) as usize;
            let mut places = (0..addresses).filter(|&place| all || self.listed[usize::from(place)]);
            return places.nth(drawn).unwrap_or(0);
        }
        let places = (0..addresses).map(|step| (self.next + step) % addresses);
        let first = places.into_iter().find(|&place| all || self.listed[usize::from(place)]).unwrap_or(0);
        self.next = (first + 1) % addresses;
        first
    }

    fn resolver_of(&self, client: IpAddr) -> usize {
        let network = mix(match client {
            IpAddr::V4(address) => u64::from(address.to_bits() >> 8),
            IpAddr::V6(address) => 1 << 48 | (address.to_bits() >> 80) as u64,
        });
        let resolver = self.popularity.sample(&self.draws, network >> 1, RESOLVER).saturating_sub(1);
        let ignores = self.draws.uniform(network >> 1, IGNORES) < self.config.ignore_ttl;
        (resolver + if ignores { self.config.resolvers } else { 0 }) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::StreamId;
    use std::net::Ipv4Addr;

    fn name(addresses: usize, config: DnsConfig) -> Dns {
        Dns::new(config, addresses, Stream::new(1, 0, StreamId::Resolver), 0)
    }

    fn config() -> DnsConfig {
        DnsConfig {
            ttl: SimDuration::from_secs(60),
            resolvers: 50,
            zipf: 0.0,
            order: DnsOrder::Cyclic,
            ignore_ttl: 0.0,
            ignored_for: SimDuration::from_secs(3_600),
            tries: 1,
        }
    }

    fn at(seconds: u64) -> SimTime {
        SimTime::ZERO + SimDuration::from_secs(seconds)
    }

    fn network(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x5000_0000 + 256 * number).into()
    }

    #[test]
    fn users_of_a_resolver_share_an_answer_until_it_has_run_out() {
        let mut dns = name(3, DnsConfig { resolvers: 1, ..config() });
        let (first, reason) = dns.pick(at(0), network(1), |_| true);
        assert_eq!(reason, Reason::Scheduled { tie: false });
        for number in 0..100 {
            assert_eq!(dns.pick(at(59), network(number), |_| true), (first, Reason::Affinity));
        }
        assert_eq!(dns.pick(at(60), network(1), |_| true).0, (first + 1) % 3);
    }

    #[test]
    fn an_address_that_is_taken_out_lives_on_in_answers_and_longest_where_the_time_is_ignored() {
        let mut dns = name(2, DnsConfig { ignore_ttl: 0.3, ..config() });
        let before: Vec<u16> =
            (0..2_000).map(|number| dns.pick(at(0), network(number), |_| true).0).collect();
        dns.list(0, false);
        let on_it = |dns: &mut Dns, when| {
            (0..2_000).filter(|&number| dns.pick(at(when), network(number), |_| true).0 == 0).count()
        };
        let there = before.iter().filter(|&&address| address == 0).count();
        assert_eq!(on_it(&mut dns, 59), there, "nobody has asked again");
        let stubborn = on_it(&mut dns, 60) as f64 / there as f64;
        assert!((0.2..0.4).contains(&stubborn), "{stubborn}");
        assert_eq!(on_it(&mut dns, 3_600), 0);
    }

    #[test]
    fn popular_resolvers_move_many_users_at_once() {
        // Zipf's law with exponent 1 over 50 resolvers gives the first 1 / H(50) = 0.222 of the networks.
        let dns = name(2, DnsConfig { zipf: 1.0, ..config() });
        let first = (0..20_000).filter(|&number| dns.resolver_of(network(number)) == 0).count();
        let share = first as f64 / 20_000.0;
        assert!((share - 0.2223).abs() < 0.015, "{share}");
    }

    #[test]
    fn a_client_tries_as_many_addresses_as_it_may() {
        let dead = |address: u16| address != 0;
        let mut patient = name(2, DnsConfig { tries: 2, resolvers: 1, ..config() });
        assert_eq!(patient.pick(at(0), network(0), dead).0, 1, "the second of the answer");
        let mut hasty = name(2, DnsConfig { resolvers: 1, ..config() });
        assert_eq!(hasty.pick(at(0), network(0), dead).0, 0);
    }

    #[test]
    fn with_no_address_listed_all_are_given() {
        let mut dns = name(2, DnsConfig { resolvers: 1, order: DnsOrder::Random, ..config() });
        dns.list(0, false);
        dns.list(1, false);
        let drawn: Vec<u16> = (0..40).map(|turn| dns.pick(at(60 * turn), network(0), |_| true).0).collect();
        assert!(drawn.contains(&0) && drawn.contains(&1));
    }
}

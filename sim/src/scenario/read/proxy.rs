//! The layer 7 proxy of no particular program: its algorithm's options and its own.

use super::Site;
use super::balancer::per_server;
use super::cluster::{ReadServer, WEIGHT_MAX};
use crate::balancer::{Balancer, OptionVisitor, is_prime};
use crate::engine::SimDuration;
use crate::scenario::section::{Item, Section};
use crate::tier::proxy::{Ejection, ProxyConfig, ProxyMethod, ProxyServer, TRIES_MAX};

/// A proxy with `method`, and the options that all proxies have.
pub(super) fn proxy(s: &mut Section<'_>, mut method: ProxyMethod, site: &Site<'_>) -> Option<ProxyConfig> {
    let mut reader = Reader { section: s, all_good: true };
    method.options(&mut reader);
    let all_good = reader.all_good;
    let max_tries = s.optional("max_tries", ProxyConfig::MAX_TRIES, |item| {
        item.integer(1, TRIES_MAX.into()).map(|number| number as u32)
    });
    let rule = ProxyConfig::EJECTION;
    let failures = s.optional("ejection_failures", rule.failures, |item| item.u32_at_least(0));
    let time = s.optional("ejection_time", rule.time, |item| item.duration_above_zero());
    let own = per_server(s, site.names)?;
    let read = site.servers?.iter().enumerate().map(|(place, server)| {
        let item = own.iter().find(|(at, _)| *at == place).map(|(_, item)| item);
        proxy_server(item, server)
    });
    let read: Vec<_> = read.collect();
    let servers = read.into_iter().collect::<Option<Vec<_>>>()?;
    let ejection = Ejection { failures: failures?, time: time? };
    all_good.then_some(ProxyConfig { method, servers, max_tries: max_tries?, ejection })
}

fn proxy_server(own: Option<&Item<'_>>, server: &ReadServer) -> Option<ProxyServer> {
    let address = server.resolved.as_ref().map(|server| server.address.clone());
    let Some(item) = own else { return Some(ProxyServer { address: address?, weight: server.weight? }) };
    let mut section = item.section("a table of the server's options")?;
    let weight = match section.take("weight") {
        Some(item) => item.integer(0, WEIGHT_MAX).map(|number| number as u32),
        None => server.weight,
    };
    section.finish();
    Some(ProxyServer { address: address?, weight: weight? })
}

/// Sets an algorithm's options to what the section says.
struct Reader<'s, 'a> {
    section: &'s mut Section<'a>,
    /// Whether nothing was wrong so far.
    all_good: bool,
}

impl<'a> Reader<'_, 'a> {
    fn set<T>(&mut self, name: &'static str, value: &mut T, read: impl FnOnce(Item<'a>) -> Option<T>) {
        let Some(item) = self.section.take(name) else { return };
        match read(item) {
            Some(read) => *value = read,
            None => self.all_good = false,
        }
    }
}

impl OptionVisitor for Reader<'_, '_> {
    fn whole(&mut self, name: &'static str, value: &mut u32, min: u32, max: u32) {
        self.set(name, value, |item| item.integer(min.into(), max.into()).map(|number| number as u32));
    }

    fn prime(&mut self, name: &'static str, value: &mut u32, max: u32) {
        self.set(name, value, |item| {
            let number = item.integer(2, max.into())? as u32;
            if !is_prime(number) {
                let next = (number..=max).find(|&number| is_prime(number));
                let help =
                    next.map_or_else(|| "take a smaller one".into(), |next| format!("the next is {next}"));
                item.error_with_help(format!("`{name}` must be a prime number, got {number}"), help);
                return None;
            }
            Some(number)
        });
    }

    fn number(&mut self, name: &'static str, value: &mut f64, min: f64, max: f64) {
        self.set(name, value, |item| {
            let number = item.number_at_least(min)?;
            if number > max {
                item.error(format!("`{name}` must be at most {max}, got {}", item.got()));
                return None;
            }
            Some(number)
        });
    }

    fn duration(&mut self, name: &'static str, value: &mut SimDuration, min: SimDuration) {
        self.set(name, value, |item| {
            let duration = item.duration()?;
            if duration < min {
                item.error(format!("`{name}` must be at least {min}, got {}", item.got()));
                return None;
            }
            Some(duration)
        });
    }

    fn flag(&mut self, name: &'static str, value: &mut bool) {
        self.set(name, value, |item| item.boolean());
    }
}

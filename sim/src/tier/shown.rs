//! What a simulated request shows to a layer 7 balancer: its page, parameters, headers and cookie, and who sends it.
//!
//! Values are written as text into a buffer that is used again for every request.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::engine::Stream;

/// The headers and query parameters that every request of a site has, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestFields {
    /// Headers, besides `User-Agent` and, unless it is here, `Host`.
    pub headers: Vec<(String, Value)>,
    /// Parameters of the query, in their order.
    pub params: Vec<(String, Value)>,
    /// Whether requests of a log are among them, which have a query of their own.
    pub of_logs: bool,
}

/// What a header or parameter holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// The client's number, in 16 hexadecimal digits.
    Client,
    /// The client's address.
    Address,
    /// The path.
    Page,
    /// The user agent: a log's own, else one of a hundred, each client's for good.
    Agent,
    /// Always the same text.
    Text(String),
    /// One of so many values, at least 1, each client's for good.
    OneOf(u32),
}

/// User agents among which simulated clients are divided (an assumption).
pub const AGENTS: u32 = 100;
/// The site's name where `Host` is not said.
pub const HOST: &str = "www.example.com";
/// What the page of rank k is called, before its number.
const PAGE: &[u8] = b"/page";

/// The page that a request asks for.
#[derive(Clone, Copy, Debug)]
pub enum Page<'a> {
    /// `/`, of a site with one page, or of a log's request that is none.
    Home,
    /// `/login`.
    Login,
    /// `/page1` and so on.
    Ranked(u32),
    /// A log's target, with its query.
    Logged(&'a [u8]),
    /// A log's target of which only this is known.
    Hashed(u32),
}

/// What a request shows.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// The client's address.
    pub address: IpAddr,
    /// The client's number.
    pub client: u64,
    /// Whether it sends the cookie that the site gives to every visitor with its first answer; its value is the client's
    /// number.
    pub has_cookie: bool,
    /// What it asks for.
    pub page: Page<'a>,
    /// The user agent, if it is known.
    pub agent: Option<&'a [u8]>,
    /// What values that are a client's for good are drawn from.
    pub draws: &'a Stream,
}

impl Shown<'_> {
    /// Appends the path, without query.
    pub fn push_path(&self, out: &mut Vec<u8>) {
        match self.page {
            Page::Home => out.push(b'/'),
            Page::Login => out.extend_from_slice(b"/login"),
            Page::Ranked(rank) => {
                out.extend_from_slice(PAGE);
                push_number(out, rank);
            }
            Page::Logged(target) => out.extend_from_slice(split_target(target).0),
            Page::Hashed(hash) => {
                let _ = write!(out, "/{hash:08x}");
            }
        }
    }

    /// The query of a log's target; `None` of other pages.
    pub(super) fn logged_query(&self) -> Option<&[u8]> {
        match self.page {
            Page::Logged(target) => Some(split_target(target).1),
            Page::Hashed(_) => Some(&[]),
            Page::Home | Page::Login | Page::Ranked(_) => None,
        }
    }

    /// Appends the client's number.
    pub(super) fn push_client(&self, out: &mut Vec<u8>) {
        push_client_number(self.client, out);
    }

    /// Appends the client's address as text.
    pub(super) fn push_address(&self, out: &mut Vec<u8>) {
        match self.address {
            IpAddr::V4(address) => push_v4(out, address),
            IpAddr::V6(address) => push_v6(out, address),
        }
    }

    /// Appends what the field called `name` holds.
    pub(super) fn push_value(&self, name: &str, value: &Value, out: &mut Vec<u8>) {
        match value {
            Value::Client => self.push_client(out),
            Value::Address => self.push_address(out),
            Value::Page => self.push_path(out),
            Value::Agent => match self.agent {
                Some(agent) => out.extend_from_slice(agent),
                None => self.push_one_of("User-Agent", AGENTS, b"browser", out),
            },
            Value::Text(text) => out.extend_from_slice(text.as_bytes()),
            Value::OneOf(values) => self.push_one_of(name, *values, b"value", out),
        }
    }

    /// Appends one of so many values: the same one for a client and a field's name, whatever else there is.
    fn push_one_of(&self, name: &str, values: u32, prefix: &[u8], out: &mut Vec<u8>) {
        // FNV-1a: the draw is named by the field.
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let field = name.bytes().fold(0xcbf2_9ce4_8422_2325, mix);
        let which = self.draws.below(u64::from(values), self.client, field);
        out.extend_from_slice(prefix);
        push_number(out, which as u32 + 1);
    }
}

/// The path and the query of a target.
fn split_target(target: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'?', target) {
        Some(mark) => (&target[..mark], &target[mark + 1..]),
        None => (target, &[]),
    }
}

/// Appends a client's number, in 16 hexadecimal digits, as the site's cookie holds it.
pub fn push_client_number(client: u64, out: &mut Vec<u8>) {
    let digit = |i: usize| b"0123456789abcdef"[(client >> (60 - 4 * i)) as usize & 15];
    out.extend_from_slice(&std::array::from_fn::<u8, 16, _>(digit));
}

fn push_number(out: &mut Vec<u8>, number: u32) {
    // Writing to memory cannot fail.
    let _ = write!(out, "{number}");
}

fn push_v4(out: &mut Vec<u8>, address: Ipv4Addr) {
    for (i, octet) in address.octets().into_iter().enumerate() {
        if i > 0 {
            out.push(b'.');
        }
        if octet >= 100 {
            out.push(b'0' + octet / 100);
        }
        if octet >= 10 {
            out.push(b'0' + octet / 10 % 10);
        }
        out.push(b'0' + octet % 10);
    }
}

/// nginx 1.22.1, `ngx_inet6_ntop` in `src/core/ngx_inet.c`: as RFC 5952 has it, save that the last two groups are written
/// as an IPv4 address behind six groups of zeros too.
fn push_v6(out: &mut Vec<u8>, address: Ipv6Addr) {
    let [.., a, b, c, d] = address.octets();
    let zeros = address.segments()[..6] == [0; 6];
    let embeds_v4 = zeros && ((a, b) != (0, 0) || c != 0 && d != 1);
    let _ = if embeds_v4 { write!(out, "::{}", Ipv4Addr::new(a, b, c, d)) } else { write!(out, "{address}") };
}

#[cfg(test)]
pub(super) mod fixture {
    use super::*;
    use crate::ids::StreamId;

    /// A request for `page` by client 0xbeef from `address`, who has the cookie.
    pub(in super::super) fn shown(address: &str, page: Page<'static>) -> Shown<'static> {
        static DRAWS: std::sync::OnceLock<Stream> = std::sync::OnceLock::new();
        Shown {
            address: address.parse().expect("an address"),
            client: 0xbeef,
            has_cookie: true,
            page,
            agent: None,
            draws: DRAWS.get_or_init(|| Stream::new(1, 0, StreamId::RequestValues)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fixture::shown;
    use super::*;
    use proptest::prelude::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn ipv6_addresses_are_written_as_nginx_writes_them() {
        for (address, written) in [
            ("2001:db8:ebdc:56ae:37eb:77c7:47b:b00b", "2001:db8:ebdc:56ae:37eb:77c7:47b:b00b"),
            ("2001:db8::1", "2001:db8::1"),
            ("2001:0:1:2:3:4:5:6", "2001:0:1:2:3:4:5:6"),
            ("1:0:0:2:0:0:0:3", "1:0:0:2::3"),
            ("1:0:0:2:0:0:3:4", "1::2:0:0:3:4"),
            ("1:2:3:4:5:6:7:0", "1:2:3:4:5:6:7:0"),
            ("fe80::", "fe80::"),
            ("::", "::"),
            ("::1", "::1"),
            ("::ffff:192.0.2.7", "::ffff:192.0.2.7"),
            ("::192.0.2.7", "::192.0.2.7"),
            ("::2:102", "::0.2.1.2"),
            ("::102", "::0.0.1.2"),
            ("::101", "::101"),
            ("::1:2:3", "::1:2:3"),
        ] {
            assert_eq!(text(|out| shown(address, Page::Home).push_address(out)), written, "{address}");
        }
    }

    #[test]
    fn a_value_of_several_is_a_client_s_for_good_and_another_field_s_is_drawn_apart() {
        let value = |client, name| {
            let shown = Shown { client, ..shown("192.0.2.1", Page::Home) };
            text(|out| shown.push_value(name, &Value::OneOf(1_000), out))
        };
        assert_eq!(value(7, "X-Tenant"), value(7, "X-Tenant"));
        assert_ne!(value(7, "X-Tenant"), value(8, "X-Tenant"));
        assert_ne!(value(7, "X-Tenant"), value(7, "X-Region"));
    }

    proptest! {
        #[test]
        fn ipv4_addresses_are_four_numbers(octets: [u8; 4]) {
            let address = IpAddr::from(octets).to_string();
            prop_assert_eq!(text(|out| shown(&address, Page::Home).push_address(out)), address);
        }
    }
}

//! What `hash KEY` hashes: nginx's variables as far as the simulation has something to put in them.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The key of nginx's `hash` methods.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum HashKey {
    /// `$remote_addr`: the client's address as text.
    #[default]
    RemoteAddr,
    /// `$binary_remote_addr`: its 4 or 16 bytes.
    BinaryRemoteAddr,
    /// `$cookie_NAME` of a cookie that the site gives to every visitor with its first answer and that the browser then keeps.
    /// Without the cookie the key is empty.
    Cookie,
}

impl HashKey {
    /// Every key, by nginx's name of it; that of a cookie has no particular cookie's name.
    pub const NAMES: [(&'static str, Self); 3] = [
        ("remote_addr", Self::RemoteAddr),
        ("binary_remote_addr", Self::BinaryRemoteAddr),
        ("cookie", Self::Cookie),
    ];

    /// What it evaluates to for a request from `address` with this number in its cookie, if it has the cookie: its value
    /// is then the number in 16 hexadecimal digits.
    #[inline]
    pub fn evaluate(self, address: IpAddr, cookie: Option<u64>) -> KeyText {
        let mut key = KeyText::EMPTY;
        match (self, address) {
            (Self::RemoteAddr, IpAddr::V4(address)) => key.push_dotted(address.octets()),
            (Self::RemoteAddr, IpAddr::V6(address)) => key.push_v6(address),
            (Self::BinaryRemoteAddr, IpAddr::V4(address)) => key.push(&address.octets()),
            (Self::BinaryRemoteAddr, IpAddr::V6(address)) => key.push(&address.octets()),
            (Self::Cookie, _) => {
                if let Some(cookie) = cookie {
                    let digit = |i: usize| b"0123456789abcdef"[(cookie >> (60 - 4 * i)) as usize & 15];
                    key.push(&std::array::from_fn::<u8, 16, _>(digit));
                }
            }
        }
        key
    }
}

/// The bytes of an evaluated key, on the stack.
#[derive(Clone, Copy, Debug)]
pub struct KeyText {
    bytes: [u8; Self::LEN_MAX],
    len: u8,
}

impl KeyText {
    /// The longest: eight groups of four digits and their colons, with an IPv4 address for the last two (`INET6_ADDRSTRLEN`).
    const LEN_MAX: usize = 46;

    /// No bytes.
    pub const EMPTY: Self = Self { bytes: [0; Self::LEN_MAX], len: 0 };

    /// The bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    #[inline]
    fn push(&mut self, bytes: &[u8]) {
        let start = usize::from(self.len);
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len() as u8;
    }

    #[inline]
    fn push_dotted(&mut self, octets: [u8; 4]) {
        for (i, octet) in octets.into_iter().enumerate() {
            if i > 0 {
                self.push(b".");
            }
            if octet >= 100 {
                self.push(&[b'0' + octet / 100]);
            }
            if octet >= 10 {
                self.push(&[b'0' + octet / 10 % 10]);
            }
            self.push(&[b'0' + octet % 10]);
        }
    }

    /// nginx 1.22.1, `ngx_inet6_ntop` in `src/core/ngx_inet.c`: as RFC 5952 has it, save that the last two groups are written
    /// as an IPv4 address behind six groups of zeros too.
    fn push_v6(&mut self, address: Ipv6Addr) {
        let [.., a, b, c, d] = address.octets();
        let zeros = address.segments()[..6] == [0; 6];
        let embeds_v4 = zeros && ((a, b) != (0, 0) || c != 0 && d != 1);
        let mut free = &mut self.bytes[..];
        let written = if embeds_v4 {
            write!(free, "::{}", Ipv4Addr::new(a, b, c, d))
        } else {
            write!(free, "{address}")
        };
        debug_assert!(written.is_ok(), "the longest address fits");
        self.len = (Self::LEN_MAX - free.len()) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(address: &str) -> String {
        let key = HashKey::RemoteAddr.evaluate(address.parse().expect("an address"), None);
        String::from_utf8(key.as_bytes().to_vec()).expect("text")
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
            assert_eq!(text(address), written, "{address}");
        }
    }

    #[test]
    fn a_cookie_that_was_not_sent_is_an_empty_key() {
        let address = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(HashKey::Cookie.evaluate(address, None).as_bytes(), b"");
        assert_eq!(HashKey::Cookie.evaluate(address, Some(0xbeef)).as_bytes(), b"000000000000beef");
    }

    proptest! {
        #[test]
        fn ipv4_addresses_are_four_numbers_and_any_address_fits(v4: [u8; 4], v6: [u8; 16]) {
            let bytes = |key: HashKey, address| key.evaluate(address, None).as_bytes().to_vec();
            let address = IpAddr::from(v4);
            prop_assert_eq!(bytes(HashKey::RemoteAddr, address), address.to_string().into_bytes());
            prop_assert_eq!(bytes(HashKey::BinaryRemoteAddr, address), v4.to_vec());
            let address = IpAddr::from(v6);
            prop_assert_eq!(bytes(HashKey::BinaryRemoteAddr, address), v6.to_vec());
            prop_assert!(bytes(HashKey::RemoteAddr, address).len() <= 39);
        }
    }
}

//! The networks of a log, moved to other places of the address space.
//!
//! Bit after bit of an address is turned or not, by a draw named after the bits before it, as Crypto-PAn does with a cipher (Xu, Fan,
//! Ammar and Moon, ICNP 2002). So addresses with a common prefix still have one, of the same length, and no two become one. It
//! goes as far as networks do: the last octet of IPv4 and the last half of IPv6 stay. Where a network comes to lie need not be public.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::engine::Stream;

/// Bits of a network.
const IPV4_NETWORK: u32 = 24;
const IPV6_NETWORK: u32 = 64;

/// Where the networks of logs are.
#[derive(Clone, Copy, Debug)]
pub struct Moved(Option<Stream>);

impl Moved {
    /// Where they are in truth.
    pub const NOWHERE: Self = Self(None);

    /// Elsewhere, which `stream` decides.
    pub const fn by(stream: Stream) -> Self {
        Self(Some(stream))
    }

    /// Where an address is now.
    pub fn address(&self, address: IpAddr) -> IpAddr {
        let Some(stream) = &self.0 else { return address };
        match address {
            IpAddr::V4(address) => {
                let bits = u64::from(address.to_bits()) << 32;
                Ipv4Addr::from_bits(address.to_bits() ^ (turned(stream, 4, bits, IPV4_NETWORK) >> 32) as u32)
                    .into()
            }
            IpAddr::V6(address) => {
                let network = (address.to_bits() >> 64) as u64;
                let turned = turned(stream, 6, network, IPV6_NETWORK);
                Ipv6Addr::from_bits(address.to_bits() ^ u128::from(turned) << 64).into()
            }
        }
    }
}

/// The bits to turn in the first `width` of `bits`.
fn turned(stream: &Stream, family: u64, bits: u64, width: u32) -> u64 {
    (0..width).fold(0, |turned, at| {
        let before = bits & !u64::MAX.checked_shr(at).unwrap_or(0);
        turned | (stream.bits(before, family << 8 | u64::from(at)) & 1) << (63 - at)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::StreamId;

    fn moved(replication: u64) -> Moved {
        Moved::by(Stream::new(1, replication, StreamId::LoggedNetworks))
    }

    #[test]
    fn a_network_moves_as_a_whole_and_elsewhere_in_each_replication() {
        let place = |replication: u64, address: &str| {
            moved(replication).address(address.parse().expect("an address"))
        };
        for (one, other) in [("203.0.113.7", "203.0.113.200"), ("2001:db8:1:2::7", "2001:db8:1:2:ffff::1")] {
            let places: std::collections::BTreeSet<IpAddr> =
                (1..6).map(|replication| place(replication, one)).collect();
            assert_eq!(places.len(), 5, "{places:?}");
            match (place(1, one), place(1, other)) {
                (IpAddr::V4(one), IpAddr::V4(other)) => {
                    assert_eq!(
                        (one.octets()[..3].to_vec(), one.octets()[3]),
                        (other.octets()[..3].to_vec(), 7)
                    );
                }
                (IpAddr::V6(one), IpAddr::V6(other)) => {
                    assert_eq!(one.segments()[..4], other.segments()[..4])
                }
                _ => panic!("families stay"),
            }
        }
        let address = "203.0.113.7".parse().expect("an address");
        assert_eq!(Moved::NOWHERE.address(address), address);
    }

    proptest! {
        #[test]
        fn prefixes_in_common_stay_as_long_as_they_were(one: u32, other: u32, replication in 1..100_u64) {
            let moved = |bits: u32| match moved(replication).address(Ipv4Addr::from_bits(bits).into()) {
                IpAddr::V4(address) => address.to_bits(),
                IpAddr::V6(_) => panic!("families stay"),
            };
            prop_assert_eq!((moved(one) ^ moved(other)).leading_zeros(), (one ^ other).leading_zeros());
        }
    }
}

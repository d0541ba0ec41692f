//! Sees the connections that a program tries to open, refused ones among them, which no server sees and HAProxy does not log.
//!
//! A raw socket that is bound to the servers' address is given a copy of each TCP packet to it, before the kernel answers it:
//! when a program has logged the end of its tries, they all wait here.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, RecvFlags, SocketAddrV4, SocketFlags, SocketType, bind, ipproto, recv, socket_with,
};

/// Listens to packets for one address.
#[derive(Debug)]
pub(crate) struct Sniffer(OwnedFd);

impl Sniffer {
    /// Listens; `None` where that is not permitted (it takes `CAP_NET_RAW`).
    pub(crate) fn start(address: Ipv4Addr) -> Option<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::RAW, flags, Some(ipproto::TCP)).ok()?;
        bind(&socket, &SocketAddrV4::new(address, 0)).ok()?;
        Some(Self(socket))
    }

    /// The ports to which connections were tried since the last call, in order.
    pub(crate) fn ports(&self) -> Vec<u16> {
        let mut buffer = [0; 256];
        let mut tries: Vec<Try> = Vec::new();
        while let Ok((length, _)) = recv(&self.0, &mut buffer[..], RecvFlags::empty()) {
            // What the kernel repeats for want of an answer is the same try.
            tries.extend(opens(&buffer[..length]).filter(|new| !tries.contains(new)));
        }
        tries.into_iter().map(|opened| opened.port).collect()
    }
}

/// What names a connection that is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Try {
    source: u16,
    port: u16,
    sequence: u32,
}

/// The connection that an IPv4 packet opens, if it does: SYN without ACK (RFC 9293, 3.1).
fn opens(packet: &[u8]) -> Option<Try> {
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let &[a, b, c, d, e, f, g, h, .., flags] = packet.get(header..header + 14)? else { return None };
    let (source, port) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let opened = Try { source, port, sequence: u32::from_be_bytes([e, f, g, h]) };
    (flags & (SYN | ACK) == SYN).then_some(opened)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn refused_connections_are_seen_in_their_order() {
        let address = Ipv4Addr::new(127, 9, 9, 9);
        // Without the permission there is nothing to test.
        let Some(sniffer) = Sniffer::start(address) else { return };
        let _listener = TcpListener::bind((address, 18_002)).expect("a free port");
        for port in [18_001, 18_002, 18_003] {
            assert_eq!(TcpStream::connect((address, port)).is_ok(), port == 18_002);
        }
        assert_eq!(sniffer.ports(), [18_001, 18_002, 18_003]);
        assert!(sniffer.ports().is_empty());
    }

    #[test]
    fn a_packet_that_is_cut_short_opens_nothing() {
        let mut packet = [0; 40];
        (packet[0], packet[22], packet[23], packet[33]) = (0x45, 0x23, 0x29, 0x02);
        assert_eq!(opens(&packet), Some(Try { source: 0, port: 9_001, sequence: 0 }));
        assert_eq!(opens(&packet[..30]), None);
        packet[33] = 0x12;
        assert_eq!(opens(&packet), None);
    }
}

//! The TCP states that IPVS gives a connection, and the segments that change them.
//!
//! Source: Linux 6.1, `ip_vs_proto_tcp.c` (the tables `tcp_states` and `tcp_timeouts`, `set_tcp_state`). Only the
//! states that a real handshake reaches are here: SYN_SENT, LAST_ACK, LISTEN and SYNACK are not.

use crate::engine::SimDuration;

use super::{LvsTimeouts, Segment};

/// The state of a connection in the director's table, as `ipvsadm -Lnc` shows it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum TcpState {
    /// The client's SYN has passed; 60 s.
    SynRecv,
    /// The handshake is complete; `--set` tcp.
    Established,
    /// The server (in direct routing: the client) has sent its FIN; `--set` tcpfin.
    FinWait,
    /// The client has sent its FIN and the server has not; 60 s.
    CloseWait,
    /// Both have sent their FIN; 120 s.
    TimeWait,
    /// Reset; 10 s.
    Close,
}

impl TcpState {
    pub(super) const ALL: [Self; 6] =
        [Self::SynRecv, Self::Established, Self::FinWait, Self::CloseWait, Self::TimeWait, Self::Close];

    /// Whether it counts as `ActiveConn`; every other state is `InActConn` (`tcp_state_active_table`).
    #[inline]
    pub fn is_active(self) -> bool {
        matches!(self, Self::SynRecv | Self::Established)
    }

    /// Its name in `ipvsadm -Lnc`.
    pub fn name(self) -> &'static str {
        match self {
            Self::SynRecv => "SYN_RECV",
            Self::Established => "ESTABLISHED",
            Self::FinWait => "FIN_WAIT",
            Self::CloseWait => "CLOSE_WAIT",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
        }
    }

    /// How long a connection stays in this state without a segment.
    pub(super) fn timeout(self, set: &LvsTimeouts) -> SimDuration {
        match self {
            Self::SynRecv | Self::CloseWait => SimDuration::from_secs(60),
            Self::Established => set.tcp,
            Self::FinWait => set.tcp_fin,
            Self::TimeWait => SimDuration::from_secs(120),
            Self::Close => SimDuration::from_secs(10),
        }
    }

    /// The state after a SYN of the client on an entry that exists already.
    #[inline]
    pub(super) fn after_syn(self) -> Self {
        match self {
            Self::Established => Self::Established,
            _ => Self::SynRecv,
        }
    }

    /// The state after a segment that passes the director. `one_way`: the director has never seen the server's
    /// packets (direct routing, tunnel).
    #[inline]
    pub(super) fn after(self, segment: Segment, one_way: bool) -> Self {
        use TcpState::*;
        match segment {
            Segment::Established | Segment::FromClient | Segment::FromServer => match self {
                SynRecv => Established,
                other => other,
            },
            Segment::ClientFin => match self {
                Established if one_way => FinWait,
                Established => CloseWait,
                SynRecv => TimeWait,
                FinWait if one_way => FinWait,
                FinWait => TimeWait,
                other => other,
            },
            Segment::ServerFin => match self {
                SynRecv | CloseWait => TimeWait,
                Established => FinWait,
                other => other,
            },
            Segment::ClientReset => match self {
                SynRecv => SynRecv,
                _ => Close,
            },
            Segment::ServerReset => match self {
                TimeWait => TimeWait,
                _ => Close,
            },
        }
    }

    /// The state of an entry that a segment in the middle of a connection creates (`sloppy_tcp`); no entry comes of a
    /// reset.
    #[inline]
    pub(super) fn of_unknown(segment: Segment) -> Option<Self> {
        match segment {
            Segment::Established | Segment::FromClient => Some(Self::Established),
            Segment::ClientFin => Some(Self::Close),
            Segment::ClientReset | Segment::FromServer | Segment::ServerFin | Segment::ServerReset => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(segments: &[Segment], one_way: bool) -> TcpState {
        segments.iter().fold(TcpState::SynRecv, |state, &segment| state.after(segment, one_way))
    }

    #[test]
    fn who_closes_first_decides_the_state_in_masquerading() {
        use Segment::*;
        assert_eq!(walk(&[Established, ClientFin], false), TcpState::CloseWait);
        assert_eq!(walk(&[Established, ServerFin], false), TcpState::FinWait);
        assert_eq!(walk(&[Established, ClientFin, ServerFin, FromClient], false), TcpState::TimeWait);
        assert_eq!(walk(&[Established, ServerFin, ClientFin, FromServer], false), TcpState::TimeWait);
    }

    #[test]
    fn a_director_that_sees_one_side_never_gets_past_fin_wait() {
        use Segment::*;
        assert_eq!(walk(&[Established, ClientFin, FromClient, ClientFin], true), TcpState::FinWait);
    }

    #[test]
    fn a_reset_ends_a_connection_but_not_a_half_open_one() {
        use Segment::*;
        assert_eq!(walk(&[Established, ClientReset], false), TcpState::Close);
        assert_eq!(walk(&[ClientReset], false), TcpState::SynRecv);
        assert_eq!(walk(&[ServerReset], false), TcpState::Close);
        assert_eq!(walk(&[Established, ClientFin, ServerFin, ServerReset], false), TcpState::TimeWait);
    }
}

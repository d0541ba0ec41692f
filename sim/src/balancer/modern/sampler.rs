//! Random servers in proportion to their weights, in one step each.

use super::{ProxyRequest, ProxyServers};
use crate::engine::rng::Draws;
use crate::ids::ServerId;

/// Draws that may hit a server which is not wanted before the search ends.
const REDRAWS_MAX: u32 = 32;

/// Walker's alias method (Vose, "A Linear Algorithm For Generating Random Numbers With a Given Distribution", IEEE TSE
/// 17(9), 1991) over the servers that may be used, in whole numbers: no probability is off by more than 2^-48 of
/// itself.
#[derive(Clone, Debug, Default)]
pub struct WeightedServers {
    columns: Vec<Column>,
}

/// An n-th of the probability: up to `threshold` it is `server`'s, beyond it `alias`'s.
#[derive(Clone, Copy, Debug)]
struct Column {
    threshold: u64,
    server: ServerId,
    alias: ServerId,
}

impl WeightedServers {
    /// Follows a change of the servers.
    pub fn rebuild(&mut self, servers: &ProxyServers) {
        let (usable, total) = (servers.usable(), u128::from(servers.usable_weight()));
        // Each server's weight times n, to be cut into n columns of `total`.
        let mut left: Vec<u128> =
            usable.iter().map(|&server| u128::from(servers.weight(server)) * usable.len() as u128).collect();
        self.columns.clear();
        self.columns.extend(usable.iter().map(|&server| Column {
            threshold: u64::MAX,
            server,
            alias: server,
        }));
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..usable.len()).partition(|&i| left[i] < total);
        while let (Some(poor), Some(&rich)) = (small.pop(), large.last()) {
            let column = &mut self.columns[poor];
            column.threshold = ((left[poor] << 64) / total) as u64;
            column.alias = usable[rich];
            left[rich] -= total - left[poor];
            if left[rich] < total {
                large.pop();
                small.push(rich);
            }
        }
    }

    /// Servers that can be drawn.
    #[inline]
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Whether there is no server to draw.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// The server that 64 random bits choose; `None` if there is none.
    #[inline]
    pub fn choose(&self, bits: u64) -> Option<ServerId> {
        let product = u128::from(bits) * self.columns.len() as u128;
        let column = self.columns.get((product >> 64) as usize)?;
        // The lower half of the product is as random as the upper one.
        Some(if product as u64 <= column.threshold { column.server } else { column.alias })
    }

    /// A server that was neither tried in this request nor is in `but`. `None` if 32 draws find none: either there is
    /// none, or nearly all the weight is unwanted.
    #[inline]
    pub fn other(&self, draws: &mut Draws, request: &ProxyRequest, but: &[ServerId]) -> Option<ServerId> {
        (0..REDRAWS_MAX)
            .map_while(|_| self.choose(draws.bits()))
            .find(|server| !but.contains(server) && !request.tried().contains(server))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::table_of;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_columns_hold_each_weight_exactly(weights in prop::collection::vec(0_u32..1_000, 1..30)) {
            let servers = table_of(weights.iter().enumerate().map(|(i, &w)| (format!("s{i}:1"), w)));
            let mut drawn = WeightedServers::default();
            drawn.rebuild(&servers);
            let mut shares = vec![0.0; weights.len()];
            let one = 2.0 * (1_u64 << 63) as f64;
            for column in &drawn.columns {
                let own = (column.threshold as f64 / one).min(1.0);
                shares[column.server.index()] += own / drawn.len() as f64;
                shares[column.alias.index()] += (1.0 - own) / drawn.len() as f64;
            }
            let total: u32 = weights.iter().sum();
            for (share, &weight) in shares.iter().zip(&weights) {
                let expected = if total == 0 { 0.0 } else { f64::from(weight) / f64::from(total) };
                prop_assert!((share - expected).abs() < 1e-12, "{} {}", share, expected);
            }
        }
    }
}

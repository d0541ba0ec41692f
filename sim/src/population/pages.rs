//! The pages of a site and how often each is asked for.

use crate::engine::Stream;

/// The pages among which a population's requests choose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SitePages {
    /// How many there are, at least 1.
    pub count: u32,
    /// Exponent of Zipf's law: the page of rank k is asked for in proportion to k^-exponent. 0 makes all equally popular.
    pub zipf: f64,
}

impl SitePages {
    /// The page of a site with one page.
    pub const ONE: Self = Self { count: 1, zipf: 0.0 };
    /// Most pages; each takes 8 bytes.
    pub const COUNT_MAX: u32 = 10_000_000;

    /// Makes the law ready for drawing.
    pub fn sampler(&self) -> PageSampler {
        if self.count == 1 {
            return PageSampler { cumulative: Vec::new() };
        }
        let weights = (1..=self.count).map(|rank| libm::pow(f64::from(rank), -self.zipf));
        let cumulative = weights.scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        });
        PageSampler { cumulative: cumulative.collect() }
    }
}

/// A law of pages, ready for drawing.
#[derive(Clone, Debug)]
pub struct PageSampler {
    /// Popularity of each page and those before it; empty for a single page.
    cumulative: Vec<f64>,
}

impl PageSampler {
    /// The rank of the page, from 1, that the draw named (`entity`, `index`) chooses; 0 where there is only one page.
    pub fn sample(&self, stream: &Stream, entity: u64, index: u64) -> u32 {
        let Some(total) = self.cumulative.last() else { return 0 };
        let point = stream.uniform(entity, index) * total;
        let before = self.cumulative.partition_point(|&sum| sum < point);
        before.min(self.cumulative.len() - 1) as u32 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::StreamId;

    #[test]
    fn pages_are_asked_for_as_zipf_s_law_says() {
        // Shares of 200,000 draws against k^-1 / H(50); five standard errors of a share are below 0.005.
        let sampler = SitePages { count: 50, zipf: 1.0 }.sampler();
        let stream = Stream::new(3, 0, StreamId::Pages);
        let mut counts = [0_u32; 51];
        for index in 0..200_000 {
            counts[sampler.sample(&stream, 1, index) as usize] += 1;
        }
        let harmonic: f64 = (1..=50).map(|k| 1.0 / f64::from(k)).sum();
        assert_eq!(counts[0], 0);
        for (rank, &count) in counts.iter().enumerate().skip(1) {
            let expected = 1.0 / (rank as f64 * harmonic);
            let share = f64::from(count) / 200_000.0;
            assert!((share - expected).abs() < 0.005, "rank {rank}: {share} instead of {expected}");
        }
    }

    #[test]
    fn a_single_page_needs_no_draw() {
        assert_eq!(SitePages::ONE.sampler().sample(&Stream::new(3, 0, StreamId::Pages), 1, 1), 0);
    }
}

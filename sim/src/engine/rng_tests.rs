//! Known answers, pinned values, and statistical tests of the draws as the model names them: entities and indices
//! that are small and adjacent, which is where a weak counter-based generator shows.
//!
//! Every statistic is a fixed number, since seeds are fixed; bounds are at 99.99 % for each (the statistics that are
//! about normal within 3.9 standard deviations), so a sound generator passes all of them with probability 0.99.

use super::*;
use rand::{Rng as _, RngExt as _};

/// Standard deviations that hold 99.99 % of a normal law on both sides together.
const Z: f64 = 3.9;

fn stream(seed: u64) -> Stream {
    Stream::new(seed, 0, StreamId::Think)
}

/// The draws in the order in which a client makes them, or clients make them one after the other.
fn draws(seed: u64, by_entity: bool, count: u64) -> impl Iterator<Item = u64> {
    let stream = stream(seed);
    (0..count).map(move |n| if by_entity { stream.bits(n, 3) } else { stream.bits(3, n) })
}

/// Random123, `tests/kat_vectors`, lines `philox2x64 7` and `philox2x64 10`.
#[test]
fn the_generator_gives_the_known_answers_of_its_authors() {
    const PI: ([u64; 2], u64) = ([0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344], 0xa409_3822_299f_31d0);
    for ((counter, key), seven, ten) in [
        (
            ([0, 0], 0),
            [0xb41d_a69f_bfef_c666, 0x511e_9ce1_a553_4056],
            [0xca00_a045_9843_d731, 0x66c2_4222_c9a8_45b5],
        ),
        (
            ([u64::MAX; 2], u64::MAX),
            [0xa469_6cc0_4462_015d, 0x7247_82da_e171_69e9],
            [0x65b0_21d6_0cd8_310f, 0x4d02_f322_2f86_df20],
        ),
        (PI, [0x98ed_1534_392b_f372, 0x6752_8b15_6888_2fd5], [0x0a5e_742c_2997_341c, 0xb0f8_83d3_8000_de5d]),
    ] {
        assert_eq!(philox::<7>(key, counter), seven);
        assert_eq!(philox::<10>(key, counter), ten);
    }
}

/// The digest was computed apart, with Python's `hashlib` over `struct.pack("<QQH", 7, 12, 5)`.
#[test]
fn the_key_is_the_start_of_the_documented_digest() {
    assert_eq!(Stream::new(7, 12, StreamId::Think).key, [0x6d83_b42b_cce6_b9fd, 0x12bd_12a1_ac0d_1782]);
}

/// Computed apart, from the definitions of key and counter in this module's documentation, by a few lines of Python.
#[test]
fn first_values_are_pinned() {
    let stream = Stream::new(1, 0, StreamId::Demand);
    let bits: Vec<u64> = (0..4).map(|n| stream.bits(n / 2, n % 2)).collect();
    assert_eq!(
        bits,
        [0x3f07_1a3b_c574_ae7c, 0x88d5_67b6_246e_1e40, 0xb312_1aa4_98c4_cabf, 0xc4f2_499c_458d_af80]
    );
    let mut sub = stream.draws(0, 0);
    let bits: Vec<u64> = (0..4).map(|_| sub.next_u64()).collect();
    assert_eq!(
        bits,
        [0x6b33_f80c_a408_a148, 0x90e4_fd02_a3ed_6b41, 0x313d_f65a_9a6f_9518, 0xc71d_b702_a857_e342]
    );
}

#[test]
fn uniform_numbers_stay_inside_the_open_unit_interval() {
    assert!(open_unit(0) > 0.0);
    assert!(open_unit(u64::MAX) < 1.0);
    let stream = stream(1);
    assert!((0..1_000).all(|n| stream.below(3, n, 0) < 3));
}

#[test]
fn draws_under_one_name_serve_rand_and_differ_from_the_named_draw() {
    let stream = stream(2);
    let mut sub = stream.draws(5, 6);
    let first = sub.bits();
    assert_ne!(first, stream.bits(5, 6));
    assert_ne!(first, sub.bits());
    let value: f64 = stream.draws(5, 6).random();
    assert!((0.0..1.0).contains(&value));
    let mut bytes = [0; 13];
    stream.draws(5, 6).fill_bytes(&mut bytes);
    assert_eq!(bytes[..8], first.to_le_bytes());
}

#[test]
fn streams_replications_and_seeds_do_not_repeat_each_other() {
    let mut firsts = Vec::new();
    for seed in 0..10 {
        for replication in 0..10 {
            for purpose in [StreamId::Think, StreamId::Demand, StreamId::Clicks] {
                firsts.push(Stream::new(seed, replication, purpose).bits(0, 0));
            }
        }
    }
    firsts.sort_unstable();
    firsts.dedup();
    assert_eq!(firsts.len(), 300);
}

#[test]
fn bytes_are_equally_frequent_at_every_position() {
    const DRAWS: u64 = 100_000;
    for by_entity in [true, false] {
        let mut counts = vec![[0u32; 256]; 8];
        for bits in draws(3, by_entity, DRAWS) {
            for (position, byte) in bits.to_le_bytes().into_iter().enumerate() {
                counts[position][usize::from(byte)] += 1;
            }
        }
        let expected = DRAWS as f64 / 256.0;
        for (position, counts) in counts.iter().enumerate() {
            let chi: f64 = counts.iter().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
            // 255 degrees of freedom: mean 255, standard deviation sqrt(510).
            assert!((chi - 255.0).abs() < Z * 510f64.sqrt(), "byte {position}: chi-square {chi:.1}");
        }
    }
}

/// Goal: neighbours share nothing. Method: for each bit, how often it differs between adjacent names, and between
/// names that differ in one bit of either part.
#[test]
fn a_change_of_name_flips_every_bit_half_the_time() {
    const PAIRS: u64 = 20_000;
    let stream = stream(4);
    type Neighbour = fn(u64, u64) -> (u64, u64);
    let neighbours: [Neighbour; 4] = [
        |entity, index| (entity + 1, index),
        |entity, index| (entity, index + 1),
        |entity, index| (entity ^ (1 << (index % 64)), index),
        |entity, index| (entity, index ^ (1 << (entity % 64))),
    ];
    for (at, neighbour) in neighbours.iter().enumerate() {
        let mut flips = [0u32; 64];
        for pair in 0..PAIRS {
            let (entity, index) = (pair % 200, pair / 200);
            let (other_entity, other_index) = neighbour(entity, index);
            let changed = stream.bits(entity, index) ^ stream.bits(other_entity, other_index);
            for (bit, count) in flips.iter_mut().enumerate() {
                *count += (changed >> bit & 1) as u32;
            }
        }
        // 256 bits are looked at, so the bound for one is that for 99.99 % of all: 5 standard deviations. Pairs may
        // share a member, which leaves the differences of a sound generator independent.
        let deviation = (PAIRS as f64 / 4.0).sqrt();
        for (bit, &count) in flips.iter().enumerate() {
            let off = (f64::from(count) - PAIRS as f64 / 2.0) / deviation;
            assert!(off.abs() < 5.0, "neighbour {at}, bit {bit}: {off:.2} standard deviations");
        }
    }
}

#[test]
fn adjacent_names_are_uncorrelated_at_small_lags() {
    const DRAWS: u64 = 200_000;
    for by_entity in [true, false] {
        let values: Vec<f64> = draws(5, by_entity, DRAWS).map(|bits| open_unit(bits) - 0.5).collect();
        for lag in [1, 2, 3, 7, 64] {
            let sum: f64 = values.iter().zip(&values[lag..]).map(|(a, b)| a * b).sum();
            // Each product has mean 0 and standard deviation 1 / 12.
            let off = 12.0 * sum / ((values.len() - lag) as f64).sqrt();
            assert!(off.abs() < Z, "lag {lag}, by entity {by_entity}: {off:.2} standard deviations");
        }
    }
}

/// Marsaglia's birthday spacings: 2^12 birthdays in a year of 2^32 days leave about 2^36 / 2^34 = 4 equal spacings,
/// a Poisson count. Method: its sum over 64 years of each direction and each half of the bits.
#[test]
fn birthday_spacings_repeat_as_often_as_they_should() {
    const BIRTHDAYS: usize = 1 << 12;
    for (by_entity, shift) in [(true, 0), (true, 32), (false, 0), (false, 32)] {
        let mut source = draws(6, by_entity, 64 * BIRTHDAYS as u64);
        let mut repeats = 0;
        for _ in 0..64 {
            let mut days: Vec<u32> =
                source.by_ref().take(BIRTHDAYS).map(|bits| (bits >> shift) as u32).collect();
            days.sort_unstable();
            let mut spacings: Vec<u32> = days.windows(2).map(|pair| pair[1] - pair[0]).collect();
            spacings.sort_unstable();
            repeats += spacings.windows(2).filter(|pair| pair[0] == pair[1]).count();
        }
        let off = (repeats as f64 - 256.0) / 16.0;
        assert!(off.abs() < Z, "{repeats} repeats where 256 are expected");
    }
}

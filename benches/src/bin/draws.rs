//! Random numbers: ns per draw of the counter-based candidates beside a sequential generator, and of each
//! distribution. In `throughput` draws do not wait for each other, as those of different clients; in `latency` the
//! name of a draw depends on the one before, the worst case.

use evenkeel_benches::generators::{philox2x64, philox4x32, siphash13, squares64, threefry2x64};
use evenkeel_benches::xoshiro::Xoshiro;
use evenkeel_benches::{Candidate, Options, Round, compare, timed};
use evenkeel_sim::engine::{Distribution, Stream};
use evenkeel_sim::ids::StreamId;
use rand::RngExt as _;
use rand_distr::{Exp1, StandardNormal};

const KEY: [u64; 2] = [0x0123_4567_89AB_CDEF, 0xFEDC_BA98_7654_3211];

fn throughput(count: u64, draw: impl Fn(u64, u64) -> u64) -> Round {
    timed(count, || {
        (0..count).fold(0u64, |sum, n| sum.wrapping_add(draw((n * 2_654_435_761) >> 12, n & 1023)))
    })
}

fn latency(count: u64, draw: impl Fn(u64, u64) -> u64) -> Round {
    timed(count, || (0..count).fold(0u64, |last, n| draw(last & 0xF_FFFF, n)))
}

fn sequential(count: u64, mut draw: impl FnMut() -> u64) -> Round {
    timed(count, || (0..count).fold(0u64, |sum, _| sum.wrapping_add(draw())))
}

fn main() -> Result<(), String> {
    let options = Options::from_args()?;
    let count = (2e7 * options.scale) as u64;
    let key = std::hint::black_box(KEY);

    macro_rules! bits {
        ($run:ident) => {
            [
                ("philox2x64-10", Box::new(|| $run(count, |e, i| philox2x64::<10>(key, e, i)))),
                ("philox2x64-7", Box::new(|| $run(count, |e, i| philox2x64::<7>(key, e, i)))),
                ("philox2x64-6", Box::new(|| $run(count, |e, i| philox2x64::<6>(key, e, i)))),
                ("philox4x32-10", Box::new(|| $run(count, |e, i| philox4x32(key, e, i)))),
                ("threefry2x64-20", Box::new(|| $run(count, |e, i| threefry2x64::<20>(key, e, i)))),
                ("threefry2x64-13", Box::new(|| $run(count, |e, i| threefry2x64::<13>(key, e, i)))),
                ("squares64 (64-bit names only)", Box::new(|| $run(count, |e, i| squares64(key, e, i)))),
                ("siphash-1-3", Box::new(|| $run(count, |e, i| siphash13(key, e, i)))),
            ] as [Candidate<'_>; 8]
        };
    }
    let mut candidates: Vec<Candidate<'_>> = vec![(
        "xoshiro256++ (sequential)",
        Box::new(|| {
            let mut rng = Xoshiro::new(1);
            sequential(count, || rng.bits())
        }),
    )];
    candidates.extend(bits!(throughput));
    compare("64 bits, throughput", &options, &mut candidates);
    compare("64 bits, latency", &options, &mut bits!(latency));

    let stream = Stream::new(1, 0, StreamId::Think);
    let exponential = Distribution::Exponential { mean: 1e9 };
    let mut laws: Vec<Candidate<'_>> = vec![
        (
            "xoshiro256++, ziggurat Exp1",
            Box::new(|| {
                let mut rng = Xoshiro::new(1);
                sequential(count, || (rng.sample::<f64, _>(Exp1) * 1e9) as u64)
            }),
        ),
        (
            "xoshiro256++, ziggurat normal",
            Box::new(|| {
                let mut rng = Xoshiro::new(1);
                sequential(count, || (rng.sample::<f64, _>(StandardNormal) * 1e9) as u64)
            }),
        ),
        ("named uniform", Box::new(|| throughput(count, |e, i| (stream.uniform(e, i) * 1e9) as u64))),
        (
            "named -libm::log(uniform)",
            Box::new(|| throughput(count, |e, i| (-1e9 * libm::log(stream.uniform(e, i))) as u64)),
        ),
        (
            "named Exponential",
            Box::new(|| throughput(count, |e, i| exponential.sample(&stream, e, i) as u64)),
        ),
    ];
    let others = [
        ("named Uniform", Distribution::Uniform { min: 1e6, max: 1e9 }),
        ("named Lognormal", Distribution::Lognormal { mean: 1e9, cv: 1.0 }),
        ("named Pareto", Distribution::Pareto { min: 1e6, alpha: 1.5, max: 1e12 }),
        ("named Weibull", Distribution::Weibull { scale: 1e9, shape: 0.7 }),
        ("named Erlang, 4 phases", Distribution::Erlang { shape: 4, mean: 1e9 }),
        ("named InverseGaussian", Distribution::InverseGaussian { mean: 1e9, shape: 1e9 }),
    ];
    for (name, law) in &others {
        let sampler = law.sampler();
        let run = move || throughput(count / 4, |e, i| sampler.sample(&stream, e, i) as u64);
        laws.push((name, Box::new(run)));
    }
    compare("distributions, throughput", &options, &mut laws);
    Ok(())
}

//! A small harness: candidates take turns for a few rounds, and the median of each is printed beside the first one's.
//!
//! Rounds alternate because the machine's speed drifts: a ratio within one run means something, a figure from another
//! day does not. Times are CPU time where the system tells it, so that neighbours on a shared machine count less.

pub mod bare;
pub mod generators;
pub mod queues;
pub mod xoshiro;

use std::time::Instant;

/// What the command line asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Sizes to run, or empty for the default ones.
    pub sizes: Vec<usize>,
    /// Rounds, of which the median counts.
    pub rounds: usize,
    /// Work of a round, relative to the default.
    pub scale: f64,
    /// Only candidates whose name contains this.
    pub only: Option<String>,
    /// Templates that a director holds, for the bench that has one.
    pub templates: Option<usize>,
}

impl Options {
    /// Reads `[--quick] [--rounds N] [--only NAME] [--templates N] [SIZE ...]`, numbers as `1000` or `1e3`.
    ///
    /// # Errors
    /// The argument that was not understood, with what is.
    pub fn from_args() -> Result<Self, String> {
        let mut options = Self { sizes: Vec::new(), rounds: 5, scale: 1.0, only: None, templates: None };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("`{arg}` needs a value"));
            match arg.as_str() {
                "--quick" => (options.rounds, options.scale) = (3, 0.1),
                "--rounds" => options.rounds = value()?.parse().map_err(|e| format!("`--rounds`: {e}"))?,
                "--only" => options.only = Some(value()?),
                "--templates" => {
                    let number = value()?;
                    let size =
                        size(&number).ok_or_else(|| format!("`--templates`: no number: `{number}`"))?;
                    options.templates = Some(size);
                }
                other => options.sizes.push(size(other).ok_or_else(|| {
                    let usage = "[--quick] [--rounds N] [--only NAME] [--templates N] [SIZE ...]";
                    format!("unknown argument `{other}`\n  usage: {usage}")
                })?),
            }
        }
        Ok(options)
    }
}

/// A number of at least 1, as `1000` or `1e3`.
fn size(text: &str) -> Option<usize> {
    text.parse::<f64>().ok().filter(|&size| size >= 1.0).map(|size| size as usize)
}

/// CPU seconds of this thread so far, or wall seconds since the process's first call where that is not known.
fn cpu_seconds(start: Instant) -> f64 {
    // The system brings the figure up to date when the thread is taken off its core, otherwise only every few ms.
    std::thread::sleep(std::time::Duration::from_micros(1));
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = schedstat.and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    nanos.map_or_else(|| start.elapsed().as_secs_f64(), |nanos| nanos * 1e-9)
}

/// Something to time: its name, and a run that returns the operations done and a checksum of their results.
pub type Candidate<'a> = (&'a str, Box<dyn FnMut() -> Round + 'a>);

/// What a round did in the timed part.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// CPU time \[s\].
    pub seconds: f64,
    /// Operations in that time.
    pub operations: u64,
    /// Checksum of the results, so that candidates that must agree can be seen to.
    pub sum: u64,
}

/// Times `work`, which does `operations` and returns a checksum.
pub fn timed(operations: u64, work: impl FnOnce() -> u64) -> Round {
    let start = Instant::now();
    let before = cpu_seconds(start);
    let sum = std::hint::black_box(work());
    Round { seconds: cpu_seconds(start) - before, operations, sum }
}

/// Runs the candidates in turn and prints a table: the median of each in ns an operation, its ratio to the first, the
/// fastest and the slowest round, and the checksum. Gives the medians of those that ran, by name.
pub fn compare<'a>(title: &str, options: &Options, candidates: &mut [Candidate<'a>]) -> Vec<(&'a str, f64)> {
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); candidates.len()];
    let mut sums = vec![0; candidates.len()];
    for _ in 0..options.rounds {
        for (at, (name, run)) in candidates.iter_mut().enumerate() {
            if options.only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
                continue;
            }
            let round = run();
            times[at].push(round.seconds / round.operations as f64 * 1e9);
            sums[at] = round.sum;
        }
    }
    println!("\n{title} (median of {} alternating rounds)", options.rounds);
    println!("{:<34} {:>9} {:>7}  {:>17}  checksum", "", "ns/op", "ratio", "fastest..slowest");
    let mut base = None;
    let mut medians = Vec::new();
    for ((name, _), (times, sum)) in candidates.iter().zip(times.iter_mut().zip(sums)) {
        if times.is_empty() {
            continue;
        }
        times.sort_by(f64::total_cmp);
        let median = times[times.len() / 2];
        medians.push((*name, median));
        let base = *base.get_or_insert(median);
        let (fastest, slowest) = (times[0], times[times.len() - 1]);
        println!(
            "{name:<34} {median:>9.2} {:>6.2}x  {:>17}  {sum:016x}",
            median / base,
            format!("{fastest:.2}..{slowest:.2}")
        );
    }
    medians
}

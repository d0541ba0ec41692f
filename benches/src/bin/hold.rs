//! The hold model: take the earliest of N pending events, schedule one at now + Exp(1 s). The first candidate is the
//! bare ladder, which is told the rate; ratios are to it. All checksums of a size must agree.

use evenkeel_benches::bare::BareLadder;
use evenkeel_benches::queues::{StdHeap, Wheel64};
use evenkeel_benches::xoshiro::Xoshiro;
use evenkeel_benches::{Options, Round, compare, timed};
use evenkeel_sim::engine::{Ladder, PendingEvents, QuadHeap};
use rand::RngExt as _;
use rand_distr::Exp1;

const MEAN_NS: f64 = 1e9;

fn hold(mut queue: impl PendingEvents, pending: usize, events: u64) -> Round {
    let mut rng = Xoshiro::new(1);
    let mut delay = move || (rng.sample::<f64, _>(Exp1) * MEAN_NS) as u64;
    for word in 0..pending {
        queue.push(delay(), word as u32);
    }
    // Two mean delays pass before the clock starts: widths are chosen and the pool has its size.
    for _ in 0..2 * pending {
        if let Some((time, word)) = queue.pop_before(u64::MAX) {
            queue.push(time + delay(), word);
        }
    }
    timed(events, || {
        let mut sum = 0u64;
        for _ in 0..events {
            if let Some((time, word)) = queue.pop_before(u64::MAX) {
                sum = sum.wrapping_mul(3).wrapping_add(time ^ u64::from(word));
                queue.push(time + delay(), word);
            }
        }
        sum
    })
}

fn main() -> Result<(), String> {
    let options = Options::from_args()?;
    let sizes = if options.sizes.is_empty() {
        vec![1_000, 100_000, 1_000_000, 10_000_000]
    } else {
        options.sizes.clone()
    };
    for size in sizes {
        let events = (1e7 * options.scale) as u64;
        let bare = || BareLadder::new(size, MEAN_NS / size as f64, MEAN_NS * 32.0);
        compare(
            &format!("hold, {size} pending, {events} events"),
            &options,
            &mut [
                ("bare ladder", Box::new(|| hold(bare(), size, events))),
                ("Ladder", Box::new(|| hold(Ladder::default(), size, events))),
                ("QuadHeap", Box::new(|| hold(QuadHeap::default(), size, events))),
                ("std BinaryHeap", Box::new(|| hold(StdHeap::default(), size, events))),
                ("64-ary wheel", Box::new(|| hold(Wheel64::default(), size, events))),
            ],
        );
    }
    Ok(())
}

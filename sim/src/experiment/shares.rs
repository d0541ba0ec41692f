//! How far several pieces of work have come, told as one.

use std::sync::atomic::{AtomicU64, Ordering};

/// Steps in which a piece is counted.
const STEPS: u64 = 1 << 20;

/// The share that is done of pieces of equal weight.
pub struct Shares<'a> {
    done: AtomicU64,
    whole: f64,
    progress: &'a (dyn Fn(f64) + Sync),
}

impl<'a> Shares<'a> {
    /// Of so many pieces; `progress` is called with the share of all whenever one has gone on, from any thread.
    pub fn of(pieces: usize, progress: &'a (dyn Fn(f64) + Sync)) -> Self {
        Self { done: AtomicU64::new(0), whole: (pieces as u64 * STEPS) as f64, progress }
    }

    /// Begins a piece: what it calls with the share of its own that is done. A share below one that it has told counts as that.
    ///
    /// `progress` is called at once, too: if it ends the work by unwinding, that ends each of the pieces that are left before it does
    /// anything.
    pub fn piece(&self) -> impl Fn(f64) + Sync {
        let told = AtomicU64::new(0);
        let report = move |share: f64| {
            let now = (share * STEPS as f64) as u64;
            let more = now.saturating_sub(told.fetch_max(now, Ordering::Relaxed));
            let all = self.done.fetch_add(more, Ordering::Relaxed) + more;
            (self.progress)(all as f64 / self.whole);
        };
        report(0.0);
        report
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn pieces_that_take_turns_add_up_to_the_whole() {
        let told = Mutex::new(Vec::new());
        let progress = |share| told.lock().expect("one thread").push(share);
        let shares = Shares::of(2, &progress);
        let (first, second) = (shares.piece(), shares.piece());
        first(0.5);
        second(0.25);
        first(1.0);
        second(0.2);
        second(1.0);
        drop((first, second));
        assert_eq!(*told.lock().expect("one thread"), [0.0, 0.0, 0.25, 0.375, 0.625, 0.625, 1.0]);
    }
}

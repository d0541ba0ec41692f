//! A progress bar with the time left on a terminal, a plain line now and then elsewhere.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output;

/// Steps of the bar.
const STEPS: u64 = 1_000;
/// Time between lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Who is shown how far the work has come.
#[derive(Clone, Copy)]
pub enum Watch<'a> {
    /// Nobody.
    Nobody,
    /// Who sits at the terminal.
    Terminal,
    /// A function, called with the share that is done, from 0 to 1, from any thread. It may end the work by unwinding.
    Caller(&'a (dyn Fn(f64) + Sync)),
}

impl Watch<'_> {
    /// The same, or nobody.
    pub fn only_if(self, wanted: bool) -> Self {
        if wanted { self } else { Self::Nobody }
    }
}

/// Progress of one piece of work.
pub enum Progress<'a> {
    /// Nothing is shown.
    Silent,
    /// A function is called.
    Caller(&'a (dyn Fn(f64) + Sync)),
    /// A bar.
    Bar(ProgressBar),
    /// Lines.
    Lines {
        /// When the work began, and when a line was printed last.
        times: Mutex<(Instant, Instant)>,
    },
}

impl<'a> Progress<'a> {
    /// Progress of the work called `what`.
    pub fn start(what: &str, watch: Watch<'a>) -> Self {
        match watch {
            Watch::Nobody => return Self::Silent,
            Watch::Caller(call) => return Self::Caller(call),
            Watch::Terminal => {}
        }
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if !std::io::stderr().is_terminal() || dumb {
            let now = Instant::now();
            return Self::Lines { times: Mutex::new((now, now)) };
        }
        let bar = ProgressBar::with_draw_target(Some(STEPS), ProgressDrawTarget::stderr_with_hz(8));
        if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {percent:>3} %, {eta} left") {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        Self::Bar(bar)
    }

    /// The share that is done, from 0 to 1. May be called from any thread.
    pub fn at(&self, share: f64) {
        match self {
            Self::Silent => {}
            Self::Caller(call) => call(share),
            Self::Bar(bar) => bar.set_position((share * STEPS as f64) as u64),
            Self::Lines { times } => {
                let Ok(mut times) = times.lock() else { return };
                let now = Instant::now();
                if now.duration_since(times.1) >= LINE_EVERY && share > 0.0 {
                    times.1 = now;
                    let spent = now.duration_since(times.0).as_secs_f64();
                    let left = spent / share * (1.0 - share);
                    output::note(&format!("{:.0} % done, {left:.0} s left", share * 100.0));
                }
            }
        }
    }

    /// The work is done: the bar disappears.
    pub fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

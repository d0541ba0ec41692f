//! Waiting for work, with an eye on signals and on who is told how far it has come.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use evenkeel::failure::Failure;
use evenkeel::progress::Watch;
use pyo3::prelude::*;

/// How long a signal may wait.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What unwinds work that nobody wants any more.
struct Unwanted;

/// Does `work` on another thread with the interpreter let go. `progress` is called on this one with the share that is done when it
/// has changed. What it or a signal's handler raises is raised here, after the work has ended.
pub fn watched<T: Send>(
    py: Python<'_>,
    progress: Option<Py<PyAny>>,
    work: impl FnOnce(Watch<'_>) -> Result<T, Failure> + Send,
) -> PyResult<T> {
    // The share as the bits of a float: there are no atomic floats.
    let (share, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let report = &|now: f64| {
        share.store(now.to_bits(), Ordering::Relaxed);
        if stop.load(Ordering::Relaxed) {
            // No message: it is no fault.
            resume_unwind(Box::new(Unwanted));
        }
    };
    py.detach(|| {
        thread::scope(|scope| {
            let (done, wait) = channel();
            scope.spawn(move || {
                let outcome = catch_unwind(AssertUnwindSafe(|| work(Watch::Caller(report))));
                // Nobody receives only if this thread's owner is gone, which waits for it.
                let _ = done.send(outcome);
            });
            let (mut raised, mut told) = (None, 0.0);
            let outcome = loop {
                match wait.recv_timeout(LOOK_EVERY) {
                    Ok(outcome) => break outcome,
                    Err(RecvTimeoutError::Disconnected) => break Err(Box::new(Unwanted) as _),
                    Err(RecvTimeoutError::Timeout) => {}
                }
                if raised.is_none() {
                    let now = f64::from_bits(share.load(Ordering::Relaxed));
                    let told_now = Python::attach(|py| {
                        py.check_signals()?;
                        let news = progress.as_ref().filter(|_| now > told);
                        news.map_or(Ok(()), |progress| progress.call1(py, (now,)).map(drop))
                    });
                    told = now;
                    if let Err(error) = told_now {
                        stop.store(true, Ordering::Relaxed);
                        raised = Some(error);
                    }
                }
            };
            match (raised, outcome) {
                (Some(error), _) => Err(error),
                (None, Ok(result)) => result.map_err(crate::raised),
                (None, Err(_)) => Err(crate::internal("a part of Evenkeel failed (its message is above)")),
            }
        })
    })
}

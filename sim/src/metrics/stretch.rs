//! Where in the calendar an event lies, kept from one event to the next.

use super::recorder::Calendar;
use crate::engine::SimTime;

/// The stretch of time, within one window and one part of the run, in which the last event lay: most events lie in the same one as
/// the event before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    pub from: SimTime,
    pub until: SimTime,
    pub window: usize,
    pub part: usize,
}

impl Stretch {
    /// Holds no time.
    pub const NOWHERE: Self = Self { from: SimTime::NEVER, until: SimTime::ZERO, window: 0, part: 0 };

    /// The stretch around a time; `None` outside the measured part.
    pub fn around(calendar: &Calendar, now: SimTime) -> Option<Self> {
        let part = calendar.part_at(now)?;
        let window = (now.since(calendar.measured_from).0 / calendar.window.0) as usize;
        let start = calendar.measured_from + calendar.window * window as u64;
        let (begins, ends) = calendar.part_bounds(part);
        Some(Self { from: start.max(begins), until: (start + calendar.window).min(ends), window, part })
    }

    /// Whether a time lies in it.
    #[inline(always)]
    pub fn holds(&self, time: SimTime) -> bool {
        self.from <= time && time < self.until
    }
}

//! Detects steps of the wall clock, by comparison with the boot clock, which cannot be set.

use mfad_core::model::Moment;
use mfad_core::sync::{Mutex, PoisonError};

/// Smallest movement that counts as a step of the clock, in milliseconds.
const CLOCK_STEP: i64 = 60_000;

/// Offsets between the two clocks, recorded at start and at the last check.
pub(super) struct HostClock {
    /// Wall clock minus boot clock at start, in milliseconds.
    at_start: i64,
    /// The offset at the last call of [`HostClock::step`]; `None` before the first.
    last: Mutex<Option<i64>>,
}

impl HostClock {
    pub(super) fn new(now: &Moment) -> Self {
        Self { at_start: offset_of(now), last: Mutex::new(None) }
    }

    /// Returns by how many milliseconds the wall clock has moved since the start; negative if it was set back.
    pub(super) fn drift(&self, now: &Moment) -> i64 {
        offset_of(now).saturating_sub(self.at_start)
    }

    /// Returns by how many milliseconds the wall clock has moved since the last call, if that is more than a minute.
    pub(super) fn step(&self, now: &Moment) -> Option<i64> {
        let offset = offset_of(now);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // The first call only sets the reference.
        let moved = last.replace(offset).map_or(0, |before| offset.saturating_sub(before));
        (moved.saturating_abs() > CLOCK_STEP).then_some(moved)
    }
}

/// Returns wall clock minus boot clock, in milliseconds.
fn offset_of(now: &Moment) -> i64 {
    now.wall_ms.saturating_sub(now.boot_ms)
}

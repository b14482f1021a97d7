//! Measures durations against a time budget. It gives no date: the time of day comes in with the request context. But
//! how long a card has taken so far can only be measured.

use std::time::{Duration, Instant};

/// A running time budget. A copy keeps the start and the budget.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    started: Instant,
    budget: Duration,
}

impl Stopwatch {
    /// Starts a budget that runs from now on, on the monotonic clock.
    #[expect(clippy::disallowed_methods, reason = "measures a duration; nothing is decided by the time of day")]
    pub fn start(budget: Duration) -> Self {
        Self { started: Instant::now(), budget }
    }

    /// Returns the time since the start.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Returns the unused part of the budget; zero once it is used up.
    pub fn left(&self) -> Duration {
        self.budget.saturating_sub(self.started.elapsed())
    }

    /// Returns whether the budget is used up.
    pub fn is_over(&self) -> bool {
        self.left().is_zero()
    }

    /// Adds to the budget, for example because a user must touch the key first.
    pub fn extend(&mut self, by: Duration) {
        self.budget = self.budget.saturating_add(by);
    }
}

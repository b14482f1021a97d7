//! Measures how long something took. A duration only, never a date: what time it is comes in with the
//! context, but how long a card may still take cannot.

use std::time::{Duration, Instant};

/// Time left of a budget.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    started: Instant,
    budget: Duration,
}

impl Stopwatch {
    /// Starts to run.
    #[expect(clippy::disallowed_methods, reason = "measures a duration; nothing is decided by the time of day")]
    pub fn start(budget: Duration) -> Self {
        Self { started: Instant::now(), budget }
    }

    /// How long it has run.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// What is left of the budget; zero when it is used up.
    pub fn left(&self) -> Duration {
        self.budget.saturating_sub(self.started.elapsed())
    }

    /// Whether nothing is left.
    pub fn is_over(&self) -> bool {
        self.left().is_zero()
    }

    /// The budget grows: somebody has to touch the key first.
    pub fn extend(&mut self, by: Duration) {
        self.budget = self.budget.saturating_add(by);
    }
}

//! Domain types that are valid by construction, one-time-password arithmetic, and the few services of the operating
//! system that every crate needs: random bytes, durations, locks, a memory check. Knows no store, no device and no
//! HTTP. Never reads the time of day: times, steps and counters come in as numbers.

#![cfg_attr(test, allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should"))]

pub mod entropy;
pub mod headroom;
pub mod model;
pub mod oath;
pub mod stopwatch;
pub mod sync;

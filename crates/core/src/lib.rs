//! The words of the domain and the arithmetic of one-time passwords: pure types that cannot be wrong, secrets that are wiped,
//! and the little of the operating system that every crate needs (random bytes, stopwatches, locks).
//!
//! It knows no store, no device, no HTTP, and reads no clock: time and steps come in as numbers.

#![cfg_attr(test, allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should"))]

pub mod entropy;
pub mod headroom;
pub mod model;
pub mod oath;
pub mod stopwatch;
pub mod sync;

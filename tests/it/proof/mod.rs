//! Promises as figures: each harness prints `name: figure (goal)`, has a short run among the tests and a long one in
//! `make proof`, and is tried first on something that is wrong on purpose, which it has to find.

mod clock;
mod connections;
mod crash;
mod faults;
mod figure;
mod flips;
mod fuzz;
mod guard;
mod guessing;
mod hung;
mod model;
mod power;
mod soak;
mod stories;
mod timing;

pub use figure::{Dice, is_long, report, size};

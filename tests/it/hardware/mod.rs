//! Hardware keys: virtual ones, at the APDU line and behind a real pcscd.

mod agreement;
mod bench;
mod faults;
mod tour;
mod workshop;

pub use bench::{Bench, can_have_readers};
pub use tour::tour;

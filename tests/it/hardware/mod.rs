//! Hardware keys: virtual ones, at the APDU line and behind a real pcscd.

mod agreement;
mod applets;
mod batch;
mod bench;
mod both_sides;
mod commands;
mod crash;
mod faults;
mod genuine;
mod leftovers;
mod makers;
mod provisioning;
mod refusals;
mod returns;
mod ring;
mod secrecy;
mod spares;
mod stories;
mod swaps;
mod tour;
mod walk;

pub use bench::{Bench, can_have_readers};
pub use mfad_testkit::fixture::{HardwareFixture, NoKeyStore, after, totp};
pub use tour::tour;

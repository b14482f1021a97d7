//! Shared by the tests and benchmarks of several crates: a virtual hardware key and a virtual security key that
//! implement the protocols byte for byte, the readers and ports to put them into, a service over them, and one-time
//! passwords computed independently of the daemon. No program links to it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::new_without_default,
    missing_docs,
    reason = "a tool of the tests: it fails by panicking, and its names say what it does"
)]

pub mod asking;
pub mod card;
pub mod daemon;
pub mod fido;
pub mod fixture;
pub mod mounts;
pub mod otp;
pub mod programs;
pub mod store_users;

pub use programs::{example, program, root};

//! The daemon as its callers see it: the real programs, driven over the real socket. Written from the
//! contract; no test knows a module of the daemon, but for the faults of hardware keys, which come at a chosen byte.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test fails by panicking, reads the clock as its user does, and says why it skips"
)]

use mfad_testkit::{asking, card, fido, otp};

mod document;
mod fed;
mod host;
mod identity;
mod inside;
mod needles;
mod page;
mod people;
mod strace;
mod wire;

mod audit;
mod backup_output;
mod bad_input;
mod cli;
mod clients;
mod clocks;
mod completions;
mod contract;
mod enrolment;
mod exports;
mod fido2;
mod found;
mod hardware;
mod headers;
mod host_logins;
mod imported;
mod imports;
mod interop;
mod keep_alive;
mod kept;
mod layers;
mod leaks;
mod limits;
mod local_keys;
mod login;
mod master_key;
mod memory;
mod moves;
mod pam;
mod process;
mod proof;
mod proofs;
mod python_client;
mod races;
mod raw_http;
mod readiness;
mod renewed;
mod requirements;
mod restart;
mod rust_client;
mod secret_sources;
mod secrets;
mod seed;
mod sessions;
mod settings;
mod shops;
mod supervised;
mod tampering;
mod terminal;
mod throttle;
mod tokens;
mod tour;
mod tutorials;
mod upgrade;
mod users;

//! The daemon: HTTP on a Unix socket, the configuration, and the life of the process.
//!
//! It holds no business rules: [`http`] turns requests into calls of the service and replies into answers, [`config`] checks
//! the settings, [`daemon`] starts, supervises and stops. It sees no SQL and no APDU.

#![cfg_attr(test, allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should"))]

pub mod config;
pub mod daemon;
pub mod http;

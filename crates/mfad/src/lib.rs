//! The daemon: HTTP on a Unix socket, the configuration, and the life of the process.
//!
//! It holds no business rules. [`http`] turns requests into calls of the service and replies into responses, [`config`]
//! checks the settings, and [`daemon`] starts, supervises and stops the process. It contains no SQL and no APDUs.

#![cfg_attr(test, allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should"))]

pub mod config;
pub mod daemon;
pub mod http;

//! mfad, the multi-factor authentication daemon of one Linux host.
//!
//! The floors, lowest first: [`model`] (words of the domain), [`stopwatch`], `sync`, [`entropy`], `headroom`, then [`device`] (cards in
//! readers, security keys in ports), then [`card`] (APDUs) and [`ctap`] (CTAP2), then [`store`], [`oath`], [`fido`],
//! [`piv`] and [`token`] beside each other, [`error`],
//! [`service`] (use cases) and [`http`] (the door), and above them [`config`] and [`daemon`]. `docs/design.md`
//! says why.

#![cfg_attr(test, allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should"))]

pub mod card;
pub mod config;
pub mod ctap;
pub mod daemon;
pub mod device;
pub mod entropy;
pub mod error;
pub mod fido;
mod headroom;
pub mod http;
pub mod model;
pub mod oath;
pub mod piv;
pub mod service;
pub mod stopwatch;
pub mod store;
mod sync;
pub mod token;

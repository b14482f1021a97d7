//! Smart cards in readers and security keys in ports, at the byte level: PC/SC and CTAPHID behind traits, APDUs, CTAP2,
//! the OATH applet, and the PIV attestation that proves a hardware key genuine. Knows no user, no store and no relying
//! party. Every wait has a deadline. Tests put virtual keys behind the traits.

#![cfg_attr(test, allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should"))]

pub mod card;
pub mod ctap;
pub mod device;
pub mod oath;
pub mod piv;

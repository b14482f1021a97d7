//! The content of an attestation (Yubico's OID arc 1.3.6.1.4.1.41482.3). Holds values only; `chain` checks them.

use mfad_core::model::{Firmware, Serial};

/// An attested key, and the hardware key that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The serial number of the hardware key.
    pub serial: Serial,
    /// The firmware version of the hardware key.
    pub firmware: Firmware,
    /// Whether signing needs a touch.
    pub touch: bool,
    /// The common name of the root that the chain leads to, or its whole subject.
    pub root: String,
}

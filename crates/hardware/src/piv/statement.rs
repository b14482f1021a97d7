//! What an attestation says of the key it was made in (Yubico's OID arc 1.3.6.1.4.1.41482.3).

use mfad_core::model::{Firmware, Serial};

/// An attested key, and the hardware that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The serial number.
    pub serial: Serial,
    /// The firmware.
    pub firmware: Firmware,
    /// Whether each signature needs a touch.
    pub touch: bool,
    /// The name of the root that vouches for it.
    pub root: String,
}

//! Checks whether a hardware key is genuine. Its PIV applet attests a key that was made on the device; the attestation
//! leads to a root of the maker and names the serial number; and the attested key signs a challenge of the daemon. So a
//! copied certificate proves nothing: the card itself must be there. Reads no clock.

mod applet;
mod chain;
mod signature;
mod statement;

pub use applet::{AttestationChain, Slot, attestation_chain, sign};
pub use chain::{Roots, UnverifiedAttestation};
pub use statement::Statement;

/// A challenge in the form that is signed: a digest that fits the attested key.
pub struct Challenge {
    digest: Vec<u8>,
    curve: Curve,
}

/// The curves of keys that can be asked to sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Curve {
    P256,
    P384,
}

/// Why a hardware key does not count as genuine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttestationError {
    /// A certificate cannot be parsed.
    #[error("its attestation cannot be parsed")]
    Unreadable,
    /// The attestation does not lead to a trusted root.
    #[error("its attestation does not lead to a trusted root")]
    UnknownRoot,
    /// A certificate of the chain is expired or not valid yet.
    #[error("a certificate of its attestation is expired or not valid yet")]
    NotValidNow,
    /// A certificate of the chain may not issue another one, or has a critical extension that is not understood.
    #[error("a certificate of its attestation may not issue another one or has an unknown critical extension")]
    NotAllowed,
    /// A signature of the chain is wrong, or its algorithm or key is not accepted.
    #[error("invalid signature in its attestation")]
    WrongSignature,
    /// The attestation is that of another hardware key.
    #[error("its attestation names another serial number or firmware")]
    OtherKey,
    /// The device could not sign with the attested key, so its certificates may be copies.
    #[error("it could not sign with the attested key")]
    NotPresent,
}

/// Why an attested key is unusable here, although nothing is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableSlot {
    /// The attestation names no serial number, as before firmware 5.0.
    #[error("its attestation names no serial number; this requires firmware 5.0 or later")]
    NoSerial,
    /// Signing would need a user's PIN.
    #[error("the key in this slot requires a PIN; attest one that was generated with the PIN policy NEVER")]
    AsksForPin,
    /// The key is on neither of the two curves.
    #[error("the key in this slot is on neither P-256 nor P-384; attest one that is")]
    OtherAlgorithm,
}

/// Why a check did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// The hardware key does not count as genuine.
    #[error(transparent)]
    NotGenuine(#[from] AttestationError),
    /// The check cannot be made with this slot, so it says nothing about the hardware key.
    #[error(transparent)]
    Unusable(#[from] UnusableSlot),
}

/// Why roots cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootsFault {
    /// A text contains no certificate, or one that cannot be parsed.
    #[error("must contain X.509 certificates in PEM")]
    Unreadable,
    /// None of the certificates is self-signed.
    #[error("must contain a self-signed certificate as trusted root")]
    NoRoot,
}

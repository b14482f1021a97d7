//! Whether a key is genuine: its PIV applet attests a key that was made inside it, the attestation leads to a root
//! of the maker, names the key's serial number, and the key signs a challenge of ours with what it attested. So
//! a copied certificate proves nothing; the card itself has to be there.

mod applet;
mod chain;
mod signature;
mod statement;

pub use applet::{AttestationChain, Slot, attestation_chain, sign};
pub use chain::{Roots, UnverifiedAttestation};
pub use statement::Statement;

/// A challenge as it is signed: the digest that goes with the attested key.
pub struct Challenge {
    digest: Vec<u8>,
    curve: Curve,
}

/// The curves whose keys are asked to sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Curve {
    P256,
    P384,
}

/// Why a key does not count as genuine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttestationError {
    /// A certificate cannot be read.
    #[error("its attestation cannot be read")]
    Unreadable,
    /// No way leads from the key's attestation to a root.
    #[error("its attestation leads to none of the roots that are trusted here")]
    UnknownRoot,
    /// A certificate on the way is not valid now.
    #[error("a certificate of its attestation is not valid today")]
    NotValidNow,
    /// A certificate on the way may not do what it does.
    #[error("a certificate of its attestation may not sign another one")]
    NotAllowed,
    /// A signature on the way is wrong.
    #[error("a signature of its attestation is wrong")]
    WrongSignature,
    /// The attestation is that of another key.
    #[error("its attestation names another serial number or firmware")]
    OtherKey,
    /// The key does not have what it attested.
    #[error("it could not sign with the key that it attested")]
    NotPresent,
}

/// Why an attested key in a slot is of no use here, though nothing is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableSlot {
    /// Before firmware 5.0.
    #[error("its attestation names no serial number; that needs firmware 5.0")]
    NoSerial,
    /// Signing would need the PIN of a person.
    #[error("the key in that slot asks for its PIN; attest one that was made with the PIN policy NEVER")]
    AsksForPin,
    /// Another kind of key.
    #[error("the key in that slot is on neither P-256 nor P-384; attest one that is")]
    OtherAlgorithm,
}

/// What became of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// The key does not count as genuine.
    #[error(transparent)]
    NotGenuine(#[from] AttestationError),
    /// Nothing can be said.
    #[error(transparent)]
    Unusable(#[from] UnusableSlot),
}

/// Why roots cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootsFault {
    /// What was read holds no certificate, or one that cannot be read.
    #[error("is no list of X.509 certificates in PEM")]
    Unreadable,
    /// There is no self-signed certificate among them.
    #[error("holds no self-signed certificate to trust")]
    NoRoot,
}

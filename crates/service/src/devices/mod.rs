//! Hardware keys: programming, proving, confirming, keeping and taking back. It speaks to keys through
//! `oath` and never holds a database transaction while it does.

mod attached;
mod escrow;
mod genuine;
mod manage;
mod password;
mod proof;
mod provision;
mod queries;
mod receipt;
mod reconcile;
mod session;
mod types;

pub use attached::Announce;
pub use escrow::Recipient;
pub use genuine::{Attestation, GenuineView};
pub use mfad_hardware::piv::Slot as PivSlot;
pub use provision::PROOFS;
pub use types::{
    AccountView, Activation, AppletView, CredentialView, DeviceEvent, DeviceOfSecret, DeviceRef, KeyState, KeyView,
    OnDevice, PasswordChange, ProvisionOrder, ReturnedView,
};

pub(super) use attached::AttachedDevices;
pub(super) use proof::credential_to_remove;

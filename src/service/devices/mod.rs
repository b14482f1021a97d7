//! Hardware keys: programming, proving, confirming, keeping and taking back. It speaks to keys through
//! `oath` and never holds a database transaction while it does.

mod contact;
mod escrow;
mod genuine;
mod keeping;
mod keyring;
mod password;
mod proof;
mod provision;
mod receipt;
mod settle;
mod views;
mod words;

pub use crate::piv::Slot as PivSlot;
pub use escrow::Recipient;
pub use genuine::{Attestation, GenuineView};
pub use keyring::Announce;
pub use provision::PROOFS;
pub use words::{
    AccountView, Activation, AppletView, CredentialView, DeviceEvent, DeviceOfSecret, DeviceRef, KeyState, KeyView,
    OnDevice, PasswordChange, ProvisionOrder, ReturnedView,
};

pub(super) use keyring::Keyring;
pub(super) use proof::credential_to_remove;

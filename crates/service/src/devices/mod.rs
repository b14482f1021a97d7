//! Hardware keys: program, prove, confirm, manage and return. This module uses the OATH applet through `mfad-hardware`,
//! and never keeps a database transaction open while it does.

mod attached;
mod genuine;
mod manage;
mod password;
mod proof;
mod provision;
mod provisioning;
mod queries;
mod receipt;
mod reconcile;
mod session;
mod types;

pub use attached::Announce;

pub use genuine::{Attestation, GenuineView};
pub use mfad_hardware::oath::Gives;
pub use mfad_hardware::piv::Slot as PivSlot;
pub use types::{
    AccountView, Activation, AppletView, CredentialView, DeviceEvent, DeviceOfSecret, DeviceRef, KeyState, KeyView,
    OnDevice, PasswordChange, ProvisionOrder, ReturnedView,
};

pub(super) use attached::AttachedDevices;
pub(super) use proof::{credential_to_remove, proofs_of};

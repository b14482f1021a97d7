//! The JSON types of the API, shared by the daemon, which writes them, and its clients, which read them. Also here: the
//! closed lists of error codes and audit events, the hash of an audit row, and the claims of a provisioning receipt.
//!
//! The crate knows no socket, no store and no async runtime. `docs/openapi.yaml` is the contract. A client ignores
//! members that it does not know, so that a newer daemon may add some.

mod audit;
mod auth;
mod closed_list;
mod device;
mod error;
mod moving;
mod operation;
mod receipt;
mod secret;
mod secret_string;
mod user;

pub use audit::{AuditEvent, AuditPage, AuditRecord, HashedRow};
pub use auth::{
    AuthMethods, AuthToken, HostLogin, Preflight, PublicKey, PublicKeyOptions, PublicKeySet, RedeemedReceipt, Verified,
};
pub use device::{
    Account, AccountLeft, AccountList, Applet, Device, DeviceCredential, DeviceEvent, DeviceList, DevicePassword,
    DeviceProblem, DeviceState, Fido2State, GenuineDevice, ReturnedCredential, ReturnedDevice, SecurityKey,
    SecurityKeyList,
};
pub use error::{Diagnosis, ErrorCode, Problem};
pub use moving::{EXPORT_VERSION, ExportEnd, ExportHead, LeftOut, MovedCodes, MovedFactor, MovedUser};
pub use operation::{MasterKeyState, SealedValues, Status, VersionInfo};
pub use receipt::{PROVISIONING_AUDIENCE, RECEIPT_TYPE, ReceiptClaims};
pub use secret::{
    ApiKey, ApiKeyValue, BackupCodes, ImportResult, ImportResults, KeyRegistration, NewFactor, NewSecret, OnDevice,
    Proof, Provisioned, Secret, SecretList, Seed,
};
pub use secret_string::SecretString;
pub use user::{Lock, NewUser, User, UserPage};

//! What can be asked and answered about hardware keys.

use mfad_core::model::{
    AccountName, Algorithm, DeviceId, Firmware, Label, Profile, SecretId, Sensitive, Serial, Text, UserId,
};

/// Which key to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceRef {
    /// The only one that is plugged in.
    Any,
    /// The one with that number.
    Serial(Serial),
}

/// Who confirms a new hardware factor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// The user, with a code read off the key.
    #[default]
    ByCode,
    /// The key itself, at once.
    ByDevice,
}

/// What becomes of a factor's account on its key when the factor goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDevice {
    /// It is erased: now, or at the next contact with the key.
    Erase,
    /// It stays.
    Keep,
}

/// A factor to be put onto a hardware key.
#[derive(Debug)]
pub struct ProvisionOrder {
    /// The factor's name.
    pub name: Option<Label>,
    /// Its parameters.
    pub profile: Profile,
    /// The issuer in the account's name.
    pub issuer: Option<Text>,
    /// The account in the account's name.
    pub account: Option<Text>,
    /// Onto which key.
    pub device: DeviceRef,
    /// The password of the key's applet.
    pub password: Option<Sensitive<String>>,
    /// Whether each code needs a touch.
    pub touch: bool,
    /// Who confirms it.
    pub activation: Activation,
    /// Whether an account of the same name may be overwritten.
    pub replace: bool,
    /// Whether the key's applet gets a password of its own if it has none.
    pub protect: bool,
    /// The pending factor on another key that this one is the spare of.
    pub spare_of: Option<SecretId>,
}

/// What to do with the password of a key's applet.
#[derive(Debug)]
pub enum PasswordChange {
    /// Keep the present one.
    Learn,
    /// Set this one.
    Set(Sensitive<String>),
    /// Set a random one, which only the daemon knows, and the escrow if there is one.
    Random,
    /// Have none any more.
    Remove,
}

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// This daemon has never programmed it.
    New,
    /// It is as it was when it was programmed.
    Known,
    /// Its applet was reset, or it was swapped, since it was programmed.
    Reset,
    /// It cannot be talked to.
    Unreachable,
}

impl KeyState {
    /// The word in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Known => "known",
            Self::Reset => "reset",
            Self::Unreachable => "unreachable",
        }
    }
}

/// A key as shown.
#[derive(Debug)]
pub struct KeyView {
    /// The serial number, if it tells it.
    pub serial: Option<Serial>,
    /// The product.
    pub model: Option<&'static str>,
    /// The firmware.
    pub firmware: Option<Firmware>,
    /// The shape.
    pub form_factor: Option<&'static str>,
    /// Whether it lies on a reader instead of in a port.
    pub is_nfc: bool,
    /// The reader's name.
    pub reader: String,
    /// Its OATH applet.
    pub oath: Option<AppletView>,
    /// Whether FIDO2 is on, if it tells.
    pub fido2: Option<bool>,
    /// What is known of it.
    pub state: KeyState,
    /// How many factors of this daemon are on it.
    pub programmed: usize,
    /// Why it cannot be talked to.
    pub problem: Option<crate::error::Error>,
}

/// An OATH applet as shown.
#[derive(Debug)]
pub struct AppletView {
    /// Its version.
    pub version: Firmware,
    /// Its identity.
    pub device_id: DeviceId,
    /// How many accounts it has; not known while it is locked.
    pub accounts: Option<usize>,
    /// How many fit.
    pub capacity: Option<u32>,
    /// Whether it has a password.
    pub has_password: bool,
    /// Whether the daemon keeps that password.
    pub is_password_known: bool,
    /// Whether it can require a touch.
    pub has_touch: bool,
}

/// A factor of this daemon on a key, as shown.
#[derive(Clone, Debug)]
pub struct CredentialView {
    /// The factor.
    pub secret: SecretId,
    /// Whose.
    pub user: UserId,
    /// The account's name.
    pub name: AccountName,
    /// `intended`, `programmed` or `erase`.
    pub status: &'static str,
    /// Whether each code needs a touch.
    pub touch: bool,
}

/// An account on a key as shown.
#[derive(Clone, Debug)]
pub struct AccountView {
    /// Its name.
    pub name: AccountName,
    /// Whether it moves with a counter.
    pub is_hotp: bool,
    /// Its hash.
    pub algorithm: Algorithm,
    /// Whether each code needs a touch; a counter-based one does not tell.
    pub touch: Option<bool>,
    /// The factor it belongs to, and whose that is.
    pub owner: Option<(SecretId, UserId)>,
}

/// Where a factor lies, as shown with it.
#[derive(Clone, Debug)]
pub struct DeviceOfSecret {
    /// The key.
    pub serial: Serial,
    /// Its firmware.
    pub firmware: String,
    /// Its applet.
    pub device_id: DeviceId,
    /// The account's name.
    pub name: AccountName,
    /// Whether each code needs a touch.
    pub touch: bool,
    /// When it was proved, in milliseconds since 1970.
    pub proved: i64,
}

/// What became of one factor on a returned key.
#[derive(Clone, Debug)]
pub struct ReturnedView {
    /// The factor.
    pub secret: SecretId,
    /// Whose.
    pub user: UserId,
    /// The account's name.
    pub name: AccountName,
    /// The key gave a right code.
    pub is_proved: bool,
    /// The account is gone from the key.
    pub is_erased: bool,
    /// The factor is gone from the store.
    pub is_revoked: bool,
}

/// A key came or went.
#[derive(Clone, Debug)]
pub struct DeviceEvent {
    /// 1, 2, 3, … since the daemon started.
    pub seq: u64,
    /// Milliseconds since 1970.
    pub at: i64,
    /// Came, or went.
    pub is_attached: bool,
    /// The reader.
    pub reader: String,
    /// The key, if it told.
    pub serial: Option<Serial>,
    /// What is known of it; nothing once it went.
    pub state: Option<KeyState>,
}

//! Types of requests and replies about hardware keys.

use mfad_core::model::{AccountName, DeviceId, Firmware, KeyId, Label, Profile, SecretId, Sensitive, Text, UserId};
use mfad_hardware::oath::Gives;

/// The hardware key that a request means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceRef {
    /// The only key that is plugged in; with several the request is refused.
    Any,
    /// The key with this id.
    Key(KeyId),
}

/// Whether somebody is at the key who expects it to blink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attention {
    /// The call asks for a touch.
    Attended,
    /// Nobody knows that the key is used.
    Unattended,
}

/// The party that confirms a new factor on a hardware key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// The user, with a code read off the key. The factor stays pending until then.
    #[default]
    ByCode,
    /// The key itself, immediately.
    ByDevice,
}

/// Whether the account on the key is erased when its factor is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDevice {
    /// It is erased, now or at the next contact with the key.
    Erase,
    /// It stays on the key.
    Keep,
}

/// A factor to be programmed onto a hardware key.
#[derive(Debug)]
pub struct ProvisionOrder {
    /// Name of the factor; `None` to have one chosen.
    pub name: Option<Label>,
    /// Algorithm, digits, and period or counter.
    pub profile: Profile,
    /// Issuer in the account's name on the key; `None` for the configured one.
    pub issuer: Option<Text>,
    /// Account in the account's name on the key; `None` for the user's login name.
    pub account: Option<Text>,
    /// The key to program.
    pub device: DeviceRef,
    /// Password of the key's OATH applet, if it has one that the daemon does not know.
    pub password: Option<Sensitive<String>>,
    /// Whether each code requires a touch of the key. Not every key can require one.
    pub touch: bool,
    /// The party that confirms the factor.
    pub activation: Activation,
    /// Whether an account of the same name may be overwritten. Not with a user's own token.
    pub replace: bool,
    /// Whether to set a random password if the applet has none. Not with a user's own token.
    pub protect: bool,
    /// The pending factor on another key that this one is a spare of. One code then activates both.
    pub spare_of: Option<SecretId>,
}

/// A change of the password of a key's OATH applet.
#[derive(Debug)]
pub enum PasswordChange {
    /// Store the present password.
    Learn,
    /// Set this password, 1 to 1024 bytes.
    Set(Sensitive<String>),
    /// Set a random one, which only the daemon and the escrow holder, if there is one, can know.
    Random,
    /// Remove the password, so that the applet opens without one.
    Remove,
}

/// State of a key, compared with the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// This daemon has never programmed it.
    New,
    /// It shows the same applet as when it was programmed.
    Known,
    /// Its applet was reset since it was programmed, or another key has its id.
    Reset,
    /// It does not answer, or another program holds it.
    Unreachable,
}

impl KeyState {
    /// The word for it in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Known => "known",
            Self::Reset => "reset",
            Self::Unreachable => "unreachable",
        }
    }
}

/// A hardware key, as shown.
#[derive(Debug)]
pub struct KeyView {
    /// Id of the key; `None` if nothing tells it from others of its kind.
    pub key: Option<KeyId>,
    /// Product name; `None` if the key is unreachable.
    pub model: Option<&'static str>,
    /// Firmware version; `None` if unknown.
    pub firmware: Option<Firmware>,
    /// Form factor, such as USB-A for a key ring; `None` if the key does not report it.
    pub form_factor: Option<&'static str>,
    /// Whether it lies on an NFC reader instead of in a USB port.
    pub is_nfc: bool,
    /// Name of its PC/SC reader.
    pub reader: String,
    /// Its OATH applet; `None` if it has none, or it is switched off.
    pub oath: Option<AppletView>,
    /// Whether FIDO2 is enabled; `None` if the key does not report it.
    pub fido2: Option<bool>,
    /// State compared with the store.
    pub state: KeyState,
    /// Number of factors of this daemon on it.
    pub programmed: usize,
    /// Reason why it is unreachable, or cannot be programmed.
    pub problem: Option<crate::error::Error>,
}

/// The OATH applet of a key, as shown.
#[derive(Debug)]
pub struct AppletView {
    /// Applet version; on a YubiKey the same as the firmware version from 4.0 on.
    pub version: Firmware,
    /// Identity of the applet, derived from its salt; a reset changes it.
    pub device_id: DeviceId,
    /// Number of accounts; `None` while the applet is locked.
    pub accounts: Option<usize>,
    /// Maximum number of accounts; `None` where only the key knows.
    pub capacity: Option<u32>,
    /// Whether it has a password.
    pub has_password: bool,
    /// Whether the daemon keeps that password and it is right.
    pub is_password_known: bool,
    /// Whether it can require a touch for codes.
    pub has_touch: bool,
}

/// A factor of this daemon on a key, as shown.
#[derive(Clone, Debug)]
pub struct CredentialView {
    /// Id of the factor.
    pub secret: SecretId,
    /// Id of the user who owns the factor.
    pub user: UserId,
    /// Name of its account on the key.
    pub name: AccountName,
    /// `intended`, `programmed` or `erase` (to be erased at the next contact).
    pub status: &'static str,
    /// Whether each code requires a touch.
    pub touch: bool,
}

/// An OATH account on a key, as shown.
#[derive(Clone, Debug)]
pub struct AccountView {
    /// Its name on the key.
    pub name: AccountName,
    /// What it gives.
    pub gives: Gives,
    /// Whether each code requires a touch; `None` except for TOTP, since the key does not report it.
    pub touch: Option<bool>,
    /// The factor it belongs to, with its user; `None` if another program wrote it.
    pub owner: Option<(SecretId, UserId)>,
}

/// The hardware key that a factor is on, as shown with the factor.
#[derive(Clone, Debug)]
pub struct DeviceOfSecret {
    /// Id of the key.
    pub key: KeyId,
    /// The key's firmware when it was programmed.
    pub firmware: String,
    /// Identity of the applet that the account was written to.
    pub device_id: DeviceId,
    /// Name of the account on the key.
    pub name: AccountName,
    /// Whether each code requires a touch.
    pub touch: bool,
    /// Number of challenges that proved the account.
    pub proofs: u32,
    /// When the account was proved, in milliseconds since 1970.
    pub proved: i64,
}

/// Result for one factor on a returned key.
#[derive(Clone, Debug)]
pub struct ReturnedView {
    /// Id of the factor.
    pub secret: SecretId,
    /// Id of the user who owns the factor.
    pub user: UserId,
    /// Name of its account on the key.
    pub name: AccountName,
    /// Whether the key gave a right code.
    pub is_proved: bool,
    /// Whether the account is gone from the key.
    pub is_erased: bool,
    /// Whether the factor is gone from the store.
    pub is_revoked: bool,
}

/// The event that a key came or went.
#[derive(Clone, Debug)]
pub struct DeviceEvent {
    /// Sequence number: 1, 2, 3, … since the daemon started.
    pub seq: u64,
    /// Time of the event, in milliseconds since 1970.
    pub at: i64,
    /// Whether the key came (`true`) or went.
    pub is_attached: bool,
    /// Name of its PC/SC reader.
    pub reader: String,
    /// Id of the key; `None` if nothing tells it from others, or it is unreachable.
    pub key: Option<KeyId>,
    /// State compared with the store; `None` when the key went.
    pub state: Option<KeyState>,
}

//! Everything that can be asked, and everything that can be answered.

use serde_json::Value;

use crate::token::PublicKey;
use mfad_core::model::{
    AccountName, BackupCode, Email, Label, Method, Pin, Profile, SecretId, Sensitive, Serial, Text, TokenInput, UserId,
    UserName, UserRef,
};
use mfad_core::oath::OtpauthUri;
use mfad_hardware::piv::Slot as PivSlot;
use mfad_store::{Backup, MasterKey};

use super::Confinement;
use super::devices::{
    AccountView, CredentialView, DeviceEvent, GenuineView, KeyView, OnDevice, PasswordChange, ProvisionOrder,
    ReturnedView,
};
use super::local_keys::SecurityKeyView;
use super::master_key::MasterKeyView;
use super::security_keys::KeyOrder;
use super::views::{AuditView, AuthView, SecretView, UserView};

/// Everything the API can be asked. No outside text is left in it that has not been checked for its shape.
pub enum Call {
    /// Make a user.
    CreateUser(NewUserOrder),
    /// List users by id.
    ListUsers {
        /// Only those after this one.
        after: Option<UserId>,
        /// At most so many.
        limit: u32,
    },
    /// Show a user.
    ShowUser(UserRef),
    /// Change a user.
    UpdateUser(UserRef, UserChange),
    /// Remove a user with everything it has.
    DeleteUser(UserRef),
    /// End delays and locks.
    UnlockUser(UserRef),
    /// Make a secret.
    CreateSecret(UserRef, SecretOrder),
    /// Take over a factor from another program.
    ImportFactor(UserRef, ImportOrder),
    /// List a user's secrets.
    ListSecrets(UserRef),
    /// Show one.
    ShowSecret(UserRef, SecretRef),
    /// Rename or describe one.
    ChangeSecret(UserRef, SecretRef, SecretChange),
    /// Confirm a pending factor with its first code.
    Enroll(UserRef, SecretRef, FirstCode),
    /// Put a new password in the place of the old one.
    ChangePassword {
        /// Whose.
        user: UserRef,
        /// The new one.
        new: Sensitive<String>,
        /// The old one.
        current: Option<Sensitive<String>>,
    },
    /// Make new backup codes.
    RenewCodes(UserRef),
    /// Remove a secret; of a factor on a hardware key, the account there too or not.
    DeleteSecret(UserRef, SecretRef, Option<OnDevice>),
    /// What can one log in with.
    AuthMethods,
    /// What a browser needs to let one of the caller's own security keys answer a challenge, or step up.
    AskForOwnKey,
    /// The same for an app that checks a user's key.
    AskForKeyOf(UserRef),
    /// The first step of a login.
    LogIn {
        /// Name, address or id.
        login: String,
        /// The password, unchecked.
        password: Sensitive<String>,
    },
    /// The second step of a login.
    AnswerChallenge(Proof),
    /// Confirm one action with a second factor.
    StepUp {
        /// The second factor.
        proof: Proof,
        /// What is confirmed.
        action: Text,
        /// The uid of the app that may redeem the receipt, if it is not the one that asks.
        redeemer: Option<u32>,
    },
    /// Check a receipt, once.
    RedeemReceipt {
        /// The receipt.
        receipt: Sensitive<String>,
        /// What it must be for.
        action: Text,
    },
    /// Make a new pair of tokens.
    Refresh,
    /// End this session.
    LogOut,
    /// Check a second factor for an app.
    Verify(UserRef, Proof),
    /// The public keys.
    KeySet,
    /// The public keys of receipts.
    ReceiptKeys,
    /// The hardware keys that are plugged in.
    ListDevices,
    /// The security keys that are plugged in.
    ListSecurityKeys,
    /// One of them, with the factors on it.
    ShowDevice(Serial),
    /// Which keys came and went; without a number, which are there.
    DeviceEvents {
        /// Only events after this one.
        after: Option<u64>,
    },
    /// The accounts on a key.
    DeviceAccounts(Serial),
    /// Give an account on a key another name.
    RenameAccount(Serial, AccountName, AccountName),
    /// Remove an account from a key.
    DeleteAccount(Serial, AccountName),
    /// Remove everything in a key's OATH applet.
    ResetDevice(Serial),
    /// Learn, set or remove the password of a key's OATH applet.
    ChangeDevicePassword {
        /// Of which key.
        serial: Serial,
        /// What to do.
        change: PasswordChange,
        /// The present one, where the daemon does not know it.
        current: Option<Sensitive<String>>,
    },
    /// Check that a key is genuine, by the key in a PIV slot.
    AttestDevice(Serial, Option<PivSlot>),
    /// Take a key back from its user.
    ReturnDevice(Serial),
    /// A page of the audit log.
    AuditRows {
        /// Only rows after this one.
        after: i64,
        /// At most so many.
        limit: u32,
    },
    /// Where the master key is, and how far a change of it is.
    ShowKey,
    /// Change the master key, or go on with that. The new one is given where the daemon cannot keep it.
    RotateKey(Option<MasterKey>),
    /// Copy the store.
    BackUp,
    /// Is the process there.
    Live,
    /// Can it do its work.
    Ready,
    /// The counters.
    Metrics,
    /// What is running.
    Version,
}

/// A secret named by a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// A well-formed id.
    Id(SecretId),
    /// Text that is no id; it answers as an unknown one (AZ-2).
    Malformed,
}

/// A second factor that a caller shows.
pub enum Proof {
    /// A one-time password.
    Token(TokenInput),
    /// A backup code.
    Code(BackupCode),
    /// The user's key, plugged into this host: a security key answers for itself, another is asked for a code.
    Device {
        /// What tells a security key who touches it.
        pin: Option<Pin>,
    },
    /// The user's security key, plugged into this host.
    SecurityKey {
        /// What tells it who touches it.
        pin: Option<Pin>,
    },
    /// The answer of a security key, as a browser hands it over.
    Credential(Value),
}

/// The first code of a factor.
pub enum FirstCode {
    /// From the user.
    Token(TokenInput),
    /// From the hardware key itself.
    Device,
    /// The credential that a security key made, as a browser hands it over.
    Credential(Value),
}

/// A user to be made.
pub struct NewUserOrder {
    /// The id wanted, or none to have one made.
    pub id: Option<UserId>,
    /// The login name.
    pub name: UserName,
    /// A name for display.
    pub display_name: Option<Text>,
    /// An address.
    pub email: Option<Email>,
    /// A first password, 8–1024 bytes.
    pub password: Option<Sensitive<String>>,
}

/// Changes of a user; what is `None` stays.
#[derive(Debug)]
pub struct UserChange {
    /// The version that was read.
    pub version: i64,
    /// A new name.
    pub name: Option<UserName>,
    /// A new display name, or none.
    pub display_name: Option<Option<Text>>,
    /// A new address, or none.
    pub email: Option<Option<Email>>,
    /// Disable or enable.
    pub disabled: Option<bool>,
    /// New roles.
    pub roles: Option<Vec<String>>,
}

/// A secret to be made.
pub enum SecretOrder {
    /// A software factor.
    Mfa(MfaOrder),
    /// A factor on a hardware key.
    Hardware(ProvisionOrder),
    /// A security key.
    Key(KeyOrder),
    /// A security key in a port of this host; it is active at once.
    LocalKey(KeyOrder, Option<Pin>),
    /// A password, 8–1024 bytes.
    Password(Sensitive<String>),
    /// An API key.
    ApiKey {
        /// Its name.
        name: Option<Label>,
    },
}

/// A software factor to be made.
#[derive(Debug)]
pub struct MfaOrder {
    /// Its name.
    pub name: Option<Label>,
    /// Its parameters.
    pub profile: Profile,
    /// Who the authenticator app shall say it is from.
    pub issuer: Option<Text>,
    /// Whose account the app shall say it is.
    pub account: Option<Text>,
}

/// A factor of another program, to be taken over.
pub struct ImportOrder {
    /// Its name here.
    pub name: Option<Label>,
    /// Its parameters and its seed, as authenticator apps are told them.
    pub uri: OtpauthUri,
}

/// Changes of a secret; what is `None` stays.
#[derive(Debug)]
pub struct SecretChange {
    /// The version that was read.
    pub version: i64,
    /// A new name.
    pub name: Option<Label>,
    /// A new description, or none.
    pub description: Option<Option<Text>>,
}

/// Everything the API can answer when it does what was asked. Times are milliseconds since 1970.
pub enum Reply {
    /// A user was made.
    UserCreated {
        /// The user.
        user: UserView,
        /// A login, if there was a password.
        auth: Option<AuthView>,
    },
    /// A user.
    User(UserView),
    /// Users, and where the next page begins.
    Users {
        /// The users.
        users: Vec<UserView>,
        /// The id to go on after.
        next: Option<UserId>,
    },
    /// A secret.
    Secret(SecretView),
    /// Secrets.
    Secrets(Vec<SecretView>),
    /// A secret was made that has no value to show.
    SecretCreated(SecretView),
    /// A pending factor with its seed, shown this once.
    FactorCreated {
        /// The factor.
        secret: SecretView,
        /// The URI for authenticator apps.
        uri: Sensitive<String>,
        /// The seed in Base32.
        base32: Sensitive<String>,
    },
    /// A security key that was registered in this host, with backup codes if it is the first factor.
    KeyRegistered {
        /// The key.
        secret: SecretView,
        /// Shown this once.
        codes: Vec<Sensitive<String>>,
    },
    /// A pending security key, and what a page gives to the browser to make its credential.
    KeyAsked {
        /// The pending key.
        secret: SecretView,
        /// `PublicKeyCredentialCreationOptions` as JSON.
        options: Value,
    },
    /// What a page gives to the browser to let a security key answer: `PublicKeyCredentialRequestOptions` as JSON.
    KeyOptions(Value),
    /// A factor on a hardware key, programmed and proved.
    Provisioned {
        /// The factor, pending or active.
        secret: SecretView,
        /// The signed statement of what was programmed.
        receipt: String,
        /// With an active one: backup codes, with the first factor.
        codes: Option<Vec<Sensitive<String>>>,
    },
    /// An API key with its value, shown this once.
    ApiKeyCreated {
        /// The key's entry.
        secret: SecretView,
        /// The key.
        key: Sensitive<String>,
    },
    /// A factor is active now.
    Enrolled {
        /// The factor.
        secret: SecretView,
        /// Backup codes, with the first factor.
        codes: Vec<Sensitive<String>>,
    },
    /// New backup codes of a user.
    Codes(UserId, Vec<Sensitive<String>>),
    /// What one can log in with.
    AuthMethods {
        /// Whether anybody may make a user.
        open_registration: bool,
        /// Whether everybody needs a second factor.
        mfa_required: bool,
        /// Whether there may be security keys.
        security_keys: bool,
    },
    /// A login, or a step of one.
    Auth(AuthView),
    /// A receipt was good.
    ReceiptRedeemed {
        /// Who confirmed.
        user: UserId,
        /// When, in seconds since 1970.
        auth_time: i64,
        /// How (RFC 8176).
        amr: &'static [&'static str],
    },
    /// A second factor was right.
    Verified {
        /// Which.
        secret: SecretId,
        /// Of which kind.
        method: Method,
        /// When.
        at: i64,
    },
    /// The public keys.
    KeySet(Vec<PublicKey>),
    /// The hardware keys that are plugged in.
    Devices(Vec<KeyView>),
    /// Security keys.
    SecurityKeys(Vec<SecurityKeyView>),
    /// One key, with the factors on it.
    Device {
        /// The key.
        key: KeyView,
        /// What the daemon put onto it.
        credentials: Vec<CredentialView>,
        /// The password of its applet, sealed to the escrow's key.
        escrow: Option<String>,
    },
    /// Keys that came and went, and the number to go on after.
    DeviceEvents {
        /// The events, oldest first.
        events: Vec<DeviceEvent>,
        /// The newest number.
        next: u64,
    },
    /// The accounts on a key.
    Accounts(Vec<AccountView>),
    /// One of them.
    Account(AccountView),
    /// The key is genuine.
    Genuine(GenuineView),
    /// The password of a key's applet is as wanted.
    DevicePassword {
        /// Whether there is one.
        has_password: bool,
        /// Whether the daemon keeps it.
        is_known: bool,
        /// The new one, sealed to the escrow's key.
        escrow: Option<String>,
    },
    /// A key was taken back.
    Returned {
        /// The key.
        serial: Serial,
        /// What became of each factor on it.
        credentials: Vec<ReturnedView>,
    },
    /// Rows of the audit log, and where the next page begins.
    Audit {
        /// The rows.
        events: Vec<AuditView>,
        /// The number to go on after.
        next: Option<i64>,
    },
    /// The master key, but for the key.
    MasterKey(MasterKeyView),
    /// A copy of the store, on its way.
    Backup(Box<Backup>),
    /// It is there.
    Live,
    /// It can do its work.
    Ready,
    /// The counters as Prometheus text.
    Metrics(String),
    /// What is running.
    Version {
        /// The SQLite linked in.
        sqlite: &'static str,
        /// How far the process is confined.
        confinement: Confinement,
        /// Whether the keys stay out of the swap.
        are_keys_locked: bool,
    },
    /// Done, and nothing to say.
    Done,
}

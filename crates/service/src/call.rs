//! The API as two enums: every call, and every reply to one. Refusals are in [`error`](super::error).

use serde_json::Value;

use crate::token::PublicKey;
use mfad_core::model::{
    AccountName, HostLogin, HostUser, KeyId, Method, SecretId, Sensitive, Text, UserId, UserName, UserRef,
};
use mfad_hardware::piv::Slot as PivSlot;
use mfad_store::{AuditRow, Backup, MasterKey};

use super::Confinement;
use super::devices::{
    AccountView, CredentialView, DeviceEvent, GenuineView, KeyView, OnDevice, PasswordChange, ReturnedView,
};
use super::export::{Export, ExportOrder};
use super::import::{ImportJob, ImportOrder, Imported};
use super::import_users::{ImportedUser, ImportedUserResult};
use super::local_keys::SecurityKeyView;
use super::master_key::MasterKeyView;
use super::orders::{FirstCode, NewUserOrder, Proof, SecretChange, SecretOrder, SecretRef, SessionAfter, UserChange};
use super::views::{AuthView, SecretView, UserView};

/// Every call of the API. All text from outside has been checked for its form.
pub enum Call {
    /// Create a user, with a first password if one is given.
    CreateUser(NewUserOrder),
    /// List users in the order of their ids.
    ListUsers {
        /// Only users with a greater id; `None` for the first page.
        after: Option<UserId>,
        /// Maximum number of users to return.
        limit: u32,
    },
    /// Find the user with this name, in any spelling.
    FindUser(UserName),
    /// Show a user, without secrets.
    ShowUser(UserRef),
    /// Change a user's names, address, roles, or whether it is disabled.
    UpdateUser(UserRef, UserChange),
    /// Delete a user with all secrets, sessions and receipts.
    DeleteUser(UserRef),
    /// End all delays and locks of a user, and take back steps that a wrong clock used up in the future.
    UnlockUser(UserRef),
    /// Create a secret: a factor, a password or an API key.
    CreateSecret(UserRef, SecretOrder),
    /// Import a factor from another program, with its seed. It is pending until a code confirms it.
    ImportFactor(UserRef, ImportOrder),
    /// Take over factors that their users have proved to another program.
    ImportFactors(ImportJob),
    /// Take over users from the export of another daemon.
    ImportUsers(Vec<ImportedUser>),
    /// List the secrets of a user, without their values.
    ListSecrets(UserRef),
    /// Show a secret, without its value.
    ShowSecret(UserRef, SecretRef),
    /// Rename a secret or change its description.
    ChangeSecret(UserRef, SecretRef, SecretChange),
    /// Confirm a pending factor with its first code.
    Enroll(UserRef, SecretRef, FirstCode, SessionAfter),
    /// Replace the user's password and end all sessions.
    ChangePassword {
        /// The user whose password is replaced.
        user: UserRef,
        /// The new password, 8–1024 bytes.
        new: Sensitive<String>,
        /// The present password. Only an administrator who gives a reason may leave it out.
        current: Option<Sensitive<String>>,
    },
    /// Replace all backup codes of a user.
    RenewCodes(UserRef),
    /// Delete a secret. For a factor on a hardware key, also says whether its account is erased from the key.
    DeleteSecret(UserRef, SecretRef, Option<OnDevice>),
    /// Show which ways to log in are available.
    AuthMethods,
    /// Get the options with which a browser asks one of the caller's own security keys, for a challenge or a step-up.
    AskForOwnKey,
    /// Get the options with which a browser asks a user's security key, for a check by an app.
    AskForKeyOf(UserRef),
    /// First step of a login: the password.
    LogIn {
        /// Login name, e-mail address or user id.
        login: String,
        /// The password as received; any length.
        password: Sensitive<String>,
    },
    /// Second step of a login: answer the request's challenge with a second factor.
    AnswerChallenge(Proof),
    /// Confirm one action with a second factor, which gives a receipt for it.
    StepUp {
        /// The second factor that confirms the action.
        proof: Proof,
        /// The action that the receipt is valid for.
        action: Text,
        /// Uid of the app that may redeem the receipt. `None`: the app that makes this call.
        redeemer: Option<u32>,
    },
    /// Check a step-up receipt. This uses it up, whether it is valid or not.
    RedeemReceipt {
        /// The receipt, as a step-up returned it.
        receipt: Sensitive<String>,
        /// The action that the receipt must have been given for.
        action: Text,
    },
    /// Exchange the request's refresh token for a new pair of tokens.
    Refresh,
    /// End the session of the request's token.
    LogOut,
    /// Check a second factor of a user for an app, without a login.
    Verify(UserRef, Proof),
    /// Check a second factor of a user who logs in to this host. It is for PAM modules.
    VerifyHostLogin(HostUser, Proof, HostLogin),
    /// Show which second factors a user who logs in to this host can use.
    Preflight(HostUser),
    /// Record that a break-glass code let this account in at this time (RFC 3339), the daemon being out of service.
    ReportBreakGlass(UserName, String, HostLogin),
    /// Get the public keys that verify tokens.
    KeySet,
    /// Get the public keys that verify provisioning receipts.
    ReceiptKeys,
    /// List the hardware keys that are plugged in.
    ListDevices,
    /// List the security keys that are plugged in.
    ListSecurityKeys,
    /// Show a hardware key, with the factors on it.
    ShowDevice(KeyId),
    /// List hardware keys that came and went, or with `None` those that are present.
    DeviceEvents {
        /// Only events with a greater number.
        after: Option<u64>,
    },
    /// List the OATH accounts on a hardware key.
    DeviceAccounts(KeyId),
    /// Rename an OATH account on a hardware key: its name, then the new one.
    RenameAccount(KeyId, AccountName, AccountName),
    /// Delete an OATH account that belongs to no factor from a hardware key.
    DeleteAccount(KeyId, AccountName),
    /// Reset the OATH applet of a hardware key: all accounts and the password are erased.
    ResetDevice(KeyId),
    /// Learn, set or remove the password of a hardware key's OATH applet.
    ChangeDevicePassword {
        /// Id of the hardware key.
        key: KeyId,
        /// The change to make.
        change: PasswordChange,
        /// The present password. May be left out if the daemon knows it.
        current: Option<Sensitive<String>>,
    },
    /// Check that a hardware key is genuine, by attestation of the key in a PIV slot. `None`: the configured slot.
    AttestDevice(KeyId, Option<PivSlot>),
    /// Take a hardware key back from its user: revoke and erase the factors on it.
    ReturnDevice(KeyId),
    /// Read a page of the audit log.
    AuditRows {
        /// Only rows with a greater sequence number.
        after: i64,
        /// Maximum number of rows to return.
        limit: u32,
    },
    /// Show where the master key is kept, and the progress of its rotation.
    ShowKey,
    /// Begin a rotation of the master key, or continue it. The new key is given only if the master key is a credential,
    /// which the daemon cannot write.
    RotateKey(Option<MasterKey>),
    /// Take an encrypted copy of the store.
    BackUp,
    /// Exports users and their factors, encrypted to a recipient.
    Export(ExportOrder),
    /// Exports the caller's own factors, encrypted to a recipient.
    ExportOwn(UserRef, ExportOrder),
    /// Liveness probe, which reads no store.
    Live,
    /// Readiness probe, which writes to the store.
    Ready,
    /// Get the metrics in the Prometheus text format.
    Metrics,
    /// Show the versions and the protection of the running process.
    Version,
}

impl Call {
    /// Whether a hardware key may wait for touches before it answers, for as long as its maker lets it.
    pub fn may_wait_for_touches(&self) -> bool {
        match self {
            Self::CreateSecret(_, order) => matches!(order, SecretOrder::Hardware(_)),
            Self::Enroll(_, _, first, _) => matches!(first, FirstCode::Device),
            Self::AnswerChallenge(proof)
            | Self::StepUp { proof, .. }
            | Self::Verify(_, proof)
            | Self::VerifyHostLogin(_, proof, _) => matches!(proof, Proof::Device { .. }),
            Self::DeleteSecret(..)
            | Self::RenameAccount(..)
            | Self::DeleteAccount(..)
            | Self::ResetDevice(_)
            | Self::AttestDevice(..)
            | Self::ReturnDevice(_) => true,
            _ => false,
        }
    }
}

/// Every reply to a call that was carried out. Times are in milliseconds since 1970, unless stated otherwise.
pub enum Reply {
    /// A user was created.
    UserCreated {
        /// The user that was created.
        user: UserView,
        /// Tokens of a first login, if a password was given. If a second factor is required they only allow an
        /// enrolment.
        auth: Option<AuthView>,
    },
    /// A user; after a change, in its new state.
    User(UserView),
    /// A page of users.
    Users {
        /// The users, by id.
        users: Vec<UserView>,
        /// The id after which the next page begins; `None` if this page is not full.
        next: Option<UserId>,
    },
    /// A secret, without its value.
    Secret(SecretView),
    /// All secrets of a user, without their values.
    Secrets(Vec<SecretView>),
    /// A secret was created that has no value to show.
    SecretCreated(SecretView),
    /// A pending software factor. Its seed is shown only here.
    FactorCreated {
        /// The entry of the pending factor.
        secret: SecretView,
        /// The otpauth URI, for authenticator apps.
        uri: Sensitive<String>,
        /// The seed in Base32, for typing it in.
        base32: Sensitive<String>,
    },
    /// A security key in a port of this host was registered and is active.
    KeyRegistered {
        /// The security key's entry.
        secret: SecretView,
        /// Backup codes if this is the user's first factor, else empty. They are shown only here.
        codes: Vec<Sensitive<String>>,
    },
    /// A pending security key.
    KeyAsked {
        /// The pending security key's entry.
        secret: SecretView,
        /// `PublicKeyCredentialCreationOptions` as JSON, which a page passes to the browser.
        options: Value,
    },
    /// `PublicKeyCredentialRequestOptions` as JSON, with which a page lets the browser ask a security key.
    KeyOptions(Value),
    /// A factor was programmed onto a hardware key and proved.
    Provisioned {
        /// The factor, pending or active.
        secret: SecretView,
        /// The signed provisioning receipt (JWS).
        receipt: String,
        /// `None` while the factor is pending. Else the backup codes of a first factor, or an empty list.
        codes: Option<Vec<Sensitive<String>>>,
    },
    /// An API key was created. Its value is shown only here.
    ApiKeyCreated {
        /// The API key's entry.
        secret: SecretView,
        /// The API key as requests carry it.
        key: Sensitive<String>,
    },
    /// A pending factor was confirmed and is active.
    Enrolled {
        /// The entry of the factor, active now.
        secret: SecretView,
        /// Backup codes if this is the user's first factor, else empty. They are shown only here.
        codes: Vec<Sensitive<String>>,
        /// The session that takes the place of the one that the enrolment ended, if it was asked for.
        session: Option<AuthView>,
    },
    /// The user's new backup codes. They are shown only here.
    Codes(UserId, Vec<Sensitive<String>>),
    /// The ways to log in.
    AuthMethods {
        /// Whether anyone who reaches the socket may create a user.
        open_registration: bool,
        /// Whether each login needs a second factor.
        mfa_required: bool,
        /// Whether security keys are configured.
        security_keys: bool,
        /// The name of this site (`issuer`), as authenticator apps show it.
        issuer: String,
    },
    /// Tokens, or a challenge, from a step of a login.
    Auth(AuthView),
    /// A step-up receipt was valid. It is used up now.
    ReceiptRedeemed {
        /// The user who confirmed the action.
        user: UserId,
        /// Time of the step-up, in seconds since 1970.
        auth_time: i64,
        /// Authentication methods of the step-up (RFC 8176).
        amr: &'static [&'static str],
    },
    /// A second factor was right.
    Verified {
        /// The factor that answered.
        secret: SecretId,
        /// Kind of the factor.
        method: Method,
        /// Time of the check, in milliseconds since 1970.
        at: i64,
        /// Unused backup codes, if one was just used.
        remaining: Option<u32>,
        /// Whether the factor has a seed of fewer than 128 bits.
        is_weak: bool,
    },
    /// An export, which the server streams.
    Export(Box<Export>),
    /// What became of each factor of an import, in its order.
    Imported(Vec<Imported>),
    /// What became of each user of an import, in its order.
    ImportedUsers(Vec<ImportedUserResult>),
    /// The second factors of a user who logs in to this host.
    Preflight {
        /// The user that stands for the account, if there is one.
        user: Option<UserId>,
        /// `unknown` if no user stands for the account, `disabled`, or the state of its factors: `none`, `pending` or
        /// `active`.
        state: &'static str,
        /// The methods that can prove this user, the one used last first. Empty unless the state is `active`.
        methods: Vec<&'static str>,
    },
    /// Public keys that verify tokens, or provisioning receipts.
    KeySet(Vec<PublicKey>),
    /// The hardware keys that are plugged in.
    Devices(Vec<KeyView>),
    /// The security keys that are plugged in.
    SecurityKeys(Vec<SecurityKeyView>),
    /// A hardware key with the factors on it.
    Device {
        /// The hardware key, and its state compared with the store.
        key: KeyView,
        /// The accounts that the daemon has put onto it.
        credentials: Vec<CredentialView>,
        /// The password of its OATH applet, encrypted for the escrow recipient. Shown only to administrators.
        escrow: Option<String>,
    },
    /// Hardware keys that came and went.
    DeviceEvents {
        /// The events, oldest first.
        events: Vec<DeviceEvent>,
        /// The number of the newest event, to continue after.
        next: u64,
    },
    /// The OATH accounts on a hardware key.
    Accounts(Vec<AccountView>),
    /// The renamed OATH account.
    Account(AccountView),
    /// The hardware key is genuine.
    Genuine(GenuineView),
    /// The password of a hardware key's OATH applet is as requested.
    DevicePassword {
        /// Whether the applet has a password now.
        has_password: bool,
        /// Whether the daemon stores that password.
        is_known: bool,
        /// A newly set password, encrypted for the escrow recipient if one is configured.
        escrow: Option<String>,
    },
    /// The secret is deleted. Its account on a hardware key stays there until somebody touches the key for it.
    AccountLeft {
        /// Id of the hardware key.
        key: KeyId,
        /// Name of the account on the key.
        name: AccountName,
    },
    /// A hardware key was taken back.
    Returned {
        /// Id of the hardware key.
        key: KeyId,
        /// The result for each factor on it.
        credentials: Vec<ReturnedView>,
    },
    /// A page of the audit log.
    Audit {
        /// The rows, oldest first.
        events: Vec<AuditRow>,
        /// The sequence number after which the next page begins; `None` if this page is not full.
        next: Option<i64>,
    },
    /// Where the master key is kept, and the progress of its rotation. The key itself is never shown.
    MasterKey(MasterKeyView),
    /// An encrypted copy of the store, read while it is sent.
    Backup(Box<Backup>),
    /// The process is alive.
    Live,
    /// The service can do its work.
    Ready,
    /// The metrics in the Prometheus text format.
    Metrics(String),
    /// Versions and protection of the running process.
    Version {
        /// Version of the bundled SQLite library.
        sqlite: &'static str,
        /// How far Landlock confines the process.
        confinement: Confinement,
        /// Whether the memory pages of the store's keys are locked, so that they are never swapped out.
        are_keys_locked: bool,
    },
    /// Carried out, with nothing to return.
    Done,
}

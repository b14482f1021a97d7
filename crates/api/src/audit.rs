//! The audit log: its closed list of events, its rows as the API shows them, and the hash that chains them.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::closed_list::closed_list;

closed_list! {
    /// The events of the audit log, named by area and verb.
    AuditEvent {
        /// The newest used step of a factor lies in the future: the clock was ahead when its code was accepted.
        ClockFutureStep = "clock.future-step",
        /// A newest used step that lay in the future was lowered to the present step.
        ClockStepLowered = "clock.step-lowered",
        /// The wall clock moved by more than a minute against the boot clock.
        ClockStep = "clock.step",
        /// A backup code was used.
        CodeUse = "code.use",
        /// Backup codes were replaced.
        CodesRenew = "codes.renew",
        /// The attestation of a hardware key was checked.
        DeviceAttest = "device.attest",
        /// An account was deleted from a key.
        DeviceDelete = "device.delete",
        /// An account whose factor was deleted was erased from a key.
        DeviceErase = "device.erase",
        /// The password of a key's applet was learned, set or removed.
        DevicePassword = "device.password",
        /// The password of a key's applet that the daemon keeps was refused.
        DevicePasswordWrong = "device.password-wrong",
        /// A factor was programmed onto a key.
        DeviceProgram = "device.program",
        /// An account on a key was renamed.
        DeviceRename = "device.rename",
        /// The OATH applet of a key was reset.
        DeviceReset = "device.reset",
        /// A key was found to have been reset elsewhere.
        DeviceResetSeen = "device.reset-seen",
        /// A hardware key was taken back from its user: its factors were checked, erased and revoked.
        DeviceReturn = "device.return",
        /// Unfinished provisioning was rolled back on a key.
        DeviceUndo = "device.undo",
        /// A factor became active.
        FactorEnroll = "factor.enroll",
        /// A factor was imported, and is proved by its first code here.
        FactorImport = "factor.import",
        /// A code that was accepted for one factor of a user was also used up in this one.
        FactorSameCode = "factor.same-code",
        /// The factors of a user were locked.
        FactorLock = "factor.lock",
        /// An account of the host was let in by a break-glass code while the daemon was out of service. It was reported
        /// afterwards.
        HostBreakGlass = "host.break-glass",
        /// The signature counter of a security key did not increase: the key may have been cloned.
        KeyCopied = "key.copied",
        /// The PIN of a security key was wrong.
        KeyPinWrong = "key.pin-wrong",
        /// The response of a security key was not valid.
        KeyRefused = "key.refused",
        /// The new master key has replaced the old one.
        KeyReplaced = "key.replaced",
        /// The last sealed value was re-encrypted under the new master key.
        KeyResealed = "key.resealed",
        /// A rotation of the master key started.
        KeyRotate = "key.rotate",
        /// A security key was not touched within its time limit.
        KeyUntouched = "key.untouched",
        /// The second step of a login: a code, a backup code or a security key.
        LoginFactor = "login.factor",
        /// The first step of a login: the password.
        LoginPassword = "login.password",
        /// An action was confirmed with a second factor.
        LoginStepUp = "login.step-up",
        /// A password was changed.
        PasswordChange = "password.change",
        /// A password was set for a user who had none.
        PasswordCreate = "password.create",
        /// The receipt of a step-up was redeemed.
        ReceiptRedeem = "receipt.redeem",
        /// A secret was created.
        SecretCreate = "secret.create",
        /// A secret was deleted.
        SecretDelete = "secret.delete",
        /// A secret was renamed or described.
        SecretRename = "secret.rename",
        /// A session was ended by a logout, or at a refresh because it lacks the second factor that is now required.
        SessionEnd = "session.end",
        /// A refresh token was used a second time, and its session ended.
        SessionReuse = "session.reuse",
        /// A backup was made.
        StoreBackup = "store.backup",
        /// Users and their factors were exported, encrypted to a recipient.
        StoreExport = "store.export",
        /// The store was restored from a backup.
        StoreRestored = "store.restored",
        /// A sealed value or a summary did not match: damage or manipulation.
        StoreTampered = "store.tampered",
        /// A user was created.
        UserCreate = "user.create",
        /// A user was deleted.
        UserDelete = "user.delete",
        /// A user was disabled.
        UserDisable = "user.disable",
        /// A user was enabled.
        UserEnable = "user.enable",
        /// The lock of a user's factors was ended.
        UserUnlock = "user.unlock",
        /// A user was changed.
        UserUpdate = "user.update",
        /// An app checked a second factor.
        Verify = "verify",
    }
}

/// The fields of an audit row, in the order in which they are hashed.
#[derive(Clone, Copy, Debug)]
pub struct HashedRow<'a> {
    /// 1, 2, 3, … without a gap.
    pub seq: i64,
    /// Time of the event in milliseconds since 1970.
    pub at: i64,
    /// The name of the event.
    pub event: &'a str,
    /// The id of the user that the event concerns.
    pub subject: Option<&'a str>,
    /// The id of the secret that the event concerns.
    pub object: Option<&'a str>,
    /// The uid of the caller.
    pub peer_uid: Option<u32>,
    /// The process id of the caller.
    pub peer_pid: Option<i64>,
    /// The id of the request.
    pub request: Option<&'a str>,
    /// Whether the request was carried out: `ok` or `refused`.
    pub outcome: &'a str,
    /// A detail for people to read.
    pub detail: Option<&'a str>,
    /// The step or counter that was used up. It is hashed only where there is one, so that rows from before it was
    /// recorded keep their hashes.
    pub used: Option<i64>,
}

impl HashedRow<'_> {
    /// Returns the SHA-256 over the hash of the previous row and these fields as one compact JSON array. Every reader
    /// of the log can recompute it. `None` if the fields cannot be written as JSON, which no text and number can cause.
    pub fn hash(&self, previous: &[u8; 32]) -> Option<[u8; 32]> {
        let fields = (
            self.seq,
            self.at,
            self.event,
            self.subject,
            self.object,
            self.peer_uid,
            self.peer_pid,
            self.request,
            self.outcome,
            self.detail,
        );
        let json = match self.used {
            None => serde_json::to_vec(&fields),
            Some(used) => {
                let (seq, at, event, subject, object, peer_uid, peer_pid, request, outcome, detail) = fields;
                let fields = (seq, at, event, subject, object, peer_uid, peer_pid, request, outcome, detail, used);
                serde_json::to_vec(&fields)
            }
        };
        let json = json.ok()?;
        Some(Sha256::new().chain_update(previous).chain_update(json).finalize().into())
    }
}

/// A row of the audit log as the API shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditRecord {
    /// 1, 2, 3, … without a gap.
    pub seq: i64,
    /// Time of the event, RFC 3339 in UTC with exactly three decimals.
    pub time: String,
    /// The name of an [`AuditEvent`]. A daemon of another version may have others.
    pub event: String,
    /// The id of the user that the event concerns.
    pub subject: Option<String>,
    /// The id of the secret that the event concerns.
    pub object: Option<String>,
    /// The uid of the caller.
    pub peer_uid: Option<u32>,
    /// The process id of the caller.
    pub peer_pid: Option<i64>,
    /// The id of the request.
    pub request_id: Option<String>,
    /// Whether the request was carried out: `ok` or `refused`.
    pub outcome: String,
    /// A detail for people to read.
    pub detail: Option<String>,
    /// The step (RFC 6238) or counter (RFC 4226) that was used up, if a one-time password was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<i64>,
    /// The hash of the previous row, in hexadecimal; 64 zeros in the first row.
    pub prev: String,
    /// The hash of this row, in hexadecimal.
    pub hash: String,
}

impl AuditRecord {
    /// Computes the hash that this row should have; `at` is its time in milliseconds since 1970. `None` if `prev` is
    /// not a hash.
    pub fn computed_hash(&self, at: i64) -> Option<String> {
        let previous = HEXLOWER.decode(self.prev.as_bytes()).ok()?;
        let row = HashedRow {
            seq: self.seq,
            at,
            event: &self.event,
            subject: self.subject.as_deref(),
            object: self.object.as_deref(),
            peer_uid: self.peer_uid,
            peer_pid: self.peer_pid,
            request: self.request_id.as_deref(),
            outcome: &self.outcome,
            detail: self.detail.as_deref(),
            used: self.used,
        };
        Some(HEXLOWER.encode(&row.hash(&previous.try_into().ok()?)?))
    }
}

/// A page of the audit log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuditPage {
    /// The rows, oldest first.
    pub events: Vec<AuditRecord>,
    /// The value of `after` for the next page; `None` on the last page.
    #[serde(default)]
    pub next: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_one_name() {
        let names: std::collections::BTreeSet<&str> = AuditEvent::ALL.iter().map(|event| event.as_str()).collect();

        assert_eq!(names.len(), AuditEvent::ALL.len());
        assert!(AuditEvent::ALL.iter().all(|event| AuditEvent::parse(event.as_str()) == Some(*event)));
    }

    #[test]
    fn log_5_the_hash_is_over_the_raw_hash_and_the_compact_array() {
        let row = HashedRow {
            seq: 1,
            at: 1_767_323_045_678,
            event: "login.password",
            subject: Some("00000000-0000-0000-0000-000000000000"),
            object: None,
            peer_uid: Some(1000),
            peer_pid: None,
            request: Some("r"),
            outcome: "ok",
            detail: Some("a \"quoted\" détail\n"),
            used: None,
        };
        let json = r#"[1,1767323045678,"login.password","00000000-0000-0000-0000-000000000000",null,1000,null,"r","ok","a \"quoted\" détail\n"]"#;

        let expected: [u8; 32] = Sha256::new().chain_update([7; 32]).chain_update(json).finalize().into();
        assert_eq!(row.hash(&[7; 32]), Some(expected));

        let used = HashedRow { used: Some(58_910_768), ..row };
        let json = json.replace("]", ",58910768]");
        let expected: [u8; 32] = Sha256::new().chain_update([7; 32]).chain_update(json).finalize().into();
        assert_eq!(used.hash(&[7; 32]), Some(expected));
    }
}

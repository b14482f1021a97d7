//! Converts replies of the service into the JSON of `mfad-api`. It knows no connections and no limits.

use data_encoding::HEXLOWER;
use hyper::StatusCode;
use mfad_api::{self as api, SecretString};
use serde::Serialize;

use mfad_core::model::Sensitive;
use mfad_service::{
    AuditRow, AuthView, Confinement, KeySource, LockView, MasterKeyView, Phase, Reply, SecretView, UserView,
};

use super::device_replies as devices;
use super::json::time;
use super::problem::Problem;
use super::qr::{self, QrFormat};
use super::{import_bodies, moving_bodies};

/// The response to a call that was carried out, before its header fields are set.
pub(super) struct Written {
    /// The status: 200, or 204 without a body.
    pub status: StatusCode,
    /// The path of the created object, without the version prefix; `None` if nothing was created.
    pub location: Option<String>,
    /// Whether the body is Prometheus text instead of JSON.
    pub is_metrics: bool,
    /// The body; empty with status 204.
    pub body: Vec<u8>,
}

impl Written {
    fn json(value: &impl Serialize) -> Result<Self, Problem> {
        // The message of serde_json is dropped, since it could quote the value.
        let body = serde_json::to_vec(value).map_err(|_| Problem::internal("an answer cannot be written as JSON"))?;
        Ok(Self { status: StatusCode::OK, location: None, is_metrics: false, body })
    }

    fn created(value: &impl Serialize, location: String) -> Result<Self, Problem> {
        Ok(Self { location: Some(location), ..Self::json(value)? })
    }
}

/// Converts a reply into its response. Only this function decides on status, `Location` and body.
pub(super) fn write(reply: Reply, qr: Option<QrFormat>) -> Result<Written, Problem> {
    match reply {
        Reply::UserCreated { user, auth } => {
            let location = format!("/users/{}", user.id);
            // The user document beside it already has the id.
            let auth = auth.map(|auth| api::AuthToken { user_uid: None, methods: None, ..auth_token(&auth) });
            Written::created(&api::NewUser { user: user_document(&user), auth }, location)
        }
        Reply::User(user) => Written::json(&user_document(&user)),
        Reply::Users { users, next } => Written::json(&api::UserPage {
            users: users.iter().map(user_document).collect(),
            next: next.map(|id| id.to_string()),
        }),
        Reply::Secret(secret) => Written::json(&secret_document(&secret)),
        Reply::SecretCreated(secret) => Written::created(&secret_document(&secret), path_of(&secret)),
        Reply::Secrets(secrets) => {
            Written::json(&api::SecretList { secrets: secrets.iter().map(secret_document).collect() })
        }
        Reply::FactorCreated { secret, uri, base32 } => {
            let seed = api::Seed { otpauth_url: secret_string(&uri), secret: secret_string(&base32) };
            let qr = qr.map(|format| qr::render(uri.expose(), format));
            let qr = qr.map(|picture| picture.ok_or_else(|| Problem::internal("no QR code can be drawn of a URI")));
            let qr = qr.transpose()?.map(|picture| secret_string(&picture));
            let factor = api::NewFactor { record: secret_document(&secret), secret: seed, qr };
            Written::created(&factor, path_of(&secret))
        }
        Reply::KeyAsked { secret, options } => {
            let options = api::PublicKeyOptions { public_key: options };
            let key = api::KeyRegistration { record: secret_document(&secret), secret: options };
            Written::created(&key, path_of(&secret))
        }
        Reply::KeyOptions(options) => Written::json(&api::PublicKeyOptions { public_key: options }),
        Reply::Provisioned { secret, receipt, codes } => {
            let codes = codes.map(|codes| secret_strings(&codes));
            let provisioned = api::Provisioned { record: secret_document(&secret), receipt, codes };
            Written::created(&provisioned, path_of(&secret))
        }
        Reply::ApiKeyCreated { secret, key } => {
            let value = api::ApiKeyValue { apikey: secret_string(&key) };
            let key = api::ApiKey { record: secret_document(&secret), secret: value };
            Written::created(&key, path_of(&secret))
        }
        Reply::KeyRegistered { secret, codes } => Written::created(&enrolled(&secret, &codes, None), path_of(&secret)),
        Reply::Enrolled { secret, codes, session } => Written::json(&enrolled(&secret, &codes, session.as_ref())),
        Reply::Codes(_, codes) => {
            Written::json(&api::BackupCodes { record: None, codes: secret_strings(&codes), session: None })
        }
        Reply::Devices(keys) => Written::json(&api::DeviceList { devices: keys.iter().map(devices::device).collect() }),
        Reply::SecurityKeys(keys) => {
            Written::json(&api::SecurityKeyList { security_keys: keys.iter().map(devices::security_key).collect() })
        }
        Reply::Device { key, credentials, escrow } => Written::json(&api::Device {
            credentials: Some(credentials.iter().map(devices::credential).collect()),
            escrow: Some(escrow),
            ..devices::device(&key)
        }),
        // Sent only as a stream, which writes each event itself.
        Reply::DeviceEvents { events, .. } => {
            Written::json(&events.iter().map(devices::event_text).collect::<String>())
        }
        Reply::Accounts(accounts) => {
            Written::json(&api::AccountList { accounts: accounts.iter().map(devices::account).collect() })
        }
        Reply::Account(account) => Written::json(&devices::account(&account)),
        Reply::DevicePassword { has_password, is_known, escrow } => {
            Written::json(&api::DevicePassword { locked: has_password, password_known: is_known, escrow })
        }
        Reply::Genuine(genuine) => Written::json(&devices::genuine(&genuine)),
        Reply::AccountLeft { key, name } => {
            Ok(Written { status: StatusCode::ACCEPTED, ..Written::json(&devices::account_left(key, &name))? })
        }
        Reply::Returned { key, credentials } => Written::json(&api::ReturnedDevice {
            key: key.to_string(),
            serial: devices::serial(key),
            credentials: credentials.iter().map(devices::returned).collect(),
        }),
        Reply::AuthMethods { open_registration, mfa_required, security_keys, issuer } => {
            let mut methods = vec!["password".to_owned(), "totp".to_owned(), "recovery".to_owned()];
            methods.extend(security_keys.then(|| "fido2".to_owned()));
            let registration = if open_registration { "open" } else { "closed" }.to_owned();
            Written::json(&api::AuthMethods { methods, registration, mfa_required, issuer })
        }
        Reply::Auth(auth) => Written::json(&auth_token(&auth)),
        Reply::ReceiptRedeemed { user, auth_time, amr } => Written::json(&api::RedeemedReceipt {
            ok: true,
            user_id: user.to_string(),
            auth_time: time(auth_time.saturating_mul(1000)),
            amr: amr.iter().map(|&method| method.to_owned()).collect(),
        }),
        Reply::Preflight { user, state, methods } => Written::json(&api::Preflight {
            user_id: user.map(|user| user.to_string()),
            state: state.to_owned(),
            methods: methods.into_iter().map(str::to_owned).collect(),
        }),
        Reply::ImportedUsers(results) => Written::json(&moving_bodies::results(&results)),
        Reply::Imported(results) => Written::json(&import_bodies::results(&results)),
        Reply::Verified { secret, method, at, remaining, is_weak } => Written::json(&api::Verified {
            ok: true,
            secret_id: secret.to_string(),
            method: method.name().to_owned(),
            auth_time: time(at),
            remaining,
            warning: is_weak.then(|| WEAK.to_owned()),
        }),
        Reply::KeySet(keys) => {
            let keys = keys.into_iter().map(|key| api::PublicKey {
                kty: "OKP".to_owned(),
                crv: "Ed25519".to_owned(),
                kid: key.kid,
                x: key.x,
                alg: key.alg.to_owned(),
                purpose: "sig".to_owned(),
            });
            Written::json(&api::PublicKeySet { keys: keys.collect() })
        }
        Reply::Audit { events, next } => {
            Written::json(&api::AuditPage { events: events.iter().map(audit_record).collect(), next })
        }
        Reply::MasterKey(key) => Written::json(&master_key_state(&key)),
        // A backup is not JSON; `backup_answer` streams it.
        Reply::Backup(_) | Reply::Export(_) => Err(Problem::internal("a backup or export is sent as a stream only")),
        Reply::Live => Written::json(&api::Status { status: "ok".to_owned() }),
        Reply::Ready => Written::json(&api::Status { status: "ready".to_owned() }),
        Reply::Metrics(text) => {
            Ok(Written { status: StatusCode::OK, location: None, is_metrics: true, body: text.into_bytes() })
        }
        Reply::Version { sqlite, confinement, are_keys_locked } => Written::json(&api::VersionInfo {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sqlite: sqlite.to_owned(),
            api: "v1".to_owned(),
            landlock: match confinement {
                Confinement::Full => "full",
                Confinement::Partial => "partial",
                Confinement::None => "none",
            }
            .to_owned(),
            keys_locked: are_keys_locked,
        }),
        Reply::Done => {
            Ok(Written { status: StatusCode::NO_CONTENT, location: None, is_metrics: false, body: Vec::new() })
        }
    }
}

/// Returns the path of a secret, without the version prefix.
fn path_of(secret: &SecretView) -> String {
    format!("/users/{}/secrets/{}", secret.user, secret.id)
}

fn master_key_state(key: &MasterKeyView) -> api::MasterKeyState {
    let source = match key.source {
        KeySource::File => "file",
        KeySource::Credential => "credential",
    };
    let state = match key.rotation.phase {
        Phase::Idle => "settled",
        Phase::Reencrypting => "resealing",
        Phase::AwaitingSwap => "awaiting-key",
    };
    let rotation = &key.rotation;
    api::MasterKeyState {
        source: source.to_owned(),
        version: rotation.version,
        state: state.to_owned(),
        sealed: api::SealedValues { total: rotation.total, current: rotation.done },
        state_dir: key.state_dir.display().to_string(),
    }
}

/// Converts a row of the audit log.
pub(super) fn audit_record(row: &AuditRow) -> api::AuditRecord {
    api::AuditRecord {
        seq: row.seq,
        time: time(row.at),
        event: row.event.clone(),
        subject: row.subject.map(|id| id.to_string()),
        object: row.object.map(|id| id.to_string()),
        peer_uid: row.peer_uid,
        peer_pid: row.peer_pid.map(i64::from),
        request_id: row.request.clone(),
        outcome: row.outcome.clone(),
        detail: row.detail.clone(),
        used: row.used,
        prev: HEXLOWER.encode(&row.previous),
        hash: HEXLOWER.encode(&row.hash),
    }
}

fn user_document(user: &UserView) -> api::User {
    api::User {
        uid: user.id.to_string(),
        name: user.name.clone(),
        display_name: user.display_name.clone(),
        email: user.email.clone(),
        roles: user.roles.clone(),
        disabled: user.disabled,
        date_created: time(user.created),
        date_modified: time(user.modified),
        version: user.version,
        mfa: user.mfa.to_owned(),
        lock: lock_document(user.lock),
    }
}

fn lock_document(lock: LockView) -> api::Lock {
    let none = api::Lock { state: "none".to_owned(), ..api::Lock::default() };
    match lock {
        LockView::Open { failures } => api::Lock { failures: (failures > 0).then_some(failures), ..none },
        LockView::Delayed { until, failures } => {
            api::Lock { state: "delayed".to_owned(), failures: Some(failures), until: Some(time(until)), ..none }
        }
        LockView::Locked { since, failures } => {
            api::Lock { state: "locked".to_owned(), failures: Some(failures), since: since.map(time), ..none }
        }
    }
}

fn secret_document(secret: &SecretView) -> api::Secret {
    let profile = secret.profile.as_ref();
    api::Secret {
        uid: secret.id.to_string(),
        user_id: secret.user.to_string(),
        kind: secret.kind.to_owned(),
        name: Some(secret.name.clone()),
        status: secret.status.to_owned(),
        date_created: time(secret.created),
        date_modified: time(secret.modified),
        last_used: secret.last_used.map(time),
        version: secret.version,
        description: secret.description.clone(),
        expires: secret.expires.map(time),
        counter: secret.counter,
        remaining: secret.remaining,
        imported: secret.is_imported.then_some(true),
        weak: secret.is_weak.then_some(true),
        device: secret.device.as_ref().map(devices::on_device_of),
        otp_kind: profile.map(|profile| profile.kind().to_owned()),
        algorithm: profile.map(|profile| profile.algorithm.name().to_owned()),
        digits: profile.map(|profile| profile.digits.count()),
        period: profile.and_then(|profile| profile.period_seconds()),
    }
}

fn auth_token(auth: &AuthView) -> api::AuthToken {
    let is_low = auth.remaining.is_some_and(|remaining| remaining <= FEW_CODES);
    let warning = if is_low { Some("few backup codes are left; make new ones") } else { auth.is_weak.then_some(WEAK) };
    api::AuthToken {
        token: secret_string(&auth.token),
        kind: auth.kind.name().to_owned(),
        expires_in: auth.expires_in,
        user_uid: Some(auth.user.to_string()),
        refresh: auth.refresh.as_ref().map(secret_string),
        methods: auth.methods.as_ref().map(|methods| methods.iter().map(|&method| method.to_owned()).collect()),
        remaining: auth.remaining,
        warning: warning.map(str::to_owned),
        receipt: auth.receipt.as_ref().map(secret_string),
    }
}

/// The warning after the use of a factor with a short seed.
const WEAK: &str = "the secret of this authenticator is shorter than 128 bits; enrol a new one";
/// Number of unused backup codes at or below which a response carries a warning.
const FEW_CODES: u32 = 3;

fn enrolled(secret: &SecretView, codes: &[Sensitive<String>], session: Option<&AuthView>) -> api::BackupCodes {
    api::BackupCodes {
        record: Some(secret_document(secret)),
        codes: secret_strings(codes),
        session: session.map(auth_token),
    }
}

fn secret_strings(texts: &[Sensitive<String>]) -> Vec<SecretString> {
    texts.iter().map(secret_string).collect()
}

fn secret_string(text: &Sensitive<String>) -> SecretString {
    SecretString::new(text.expose().clone())
}

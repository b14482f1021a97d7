//! JSON in and out. Requests are strict: no unknown member, none twice, nothing behind the object.

use std::fmt;

use data_encoding::{BASE64, HEXLOWER};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde_json::{Map, Value, json};

use mfad_core::model::{OtpKind, Profile, Sensitive, TokenInput};
use mfad_core::oath::Diagnosis;
use mfad_service::{AuditView, AuthView, Confinement, KeySource, MasterKeyView, Phase, Reply, SecretView, UserView};

use super::devices;
use super::lenient::normalise;
use super::problem::Problem;
use super::qr::{self, QrFormat};

/// A string that is a secret.
pub struct SecretText(pub Sensitive<String>);

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Sensitive::new(text)))
    }
}

/// The `token` member: a string of digits or an integer.
pub struct TokenMember(pub TokenInput);

impl<'de> Deserialize<'de> for TokenMember {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits;
        impl Visitor<'_> for Digits {
            type Value = TokenMember;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a code of 6 to 8 digits")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<TokenMember, E> {
                TokenInput::from_text(text).map(TokenMember).ok_or_else(|| E::custom(WRONG_TOKEN))
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<TokenMember, E> {
                TokenInput::from_number(number).map(TokenMember).ok_or_else(|| E::custom(WRONG_TOKEN))
            }
        }
        deserializer.deserialize_any(Digits)
    }
}

const WRONG_TOKEN: &str = "missing field `token` as a string of digits";

/// Reads a body into what a route takes. The refusal names members of ours, never what was sent.
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    if body.is_empty() {
        return Err(Problem::malformed("a JSON body is needed"));
    }
    let body = normalise(body);
    if body.expose().iter().find(|b| !b.is_ascii_whitespace()) != Some(&b'{') {
        return Err(Problem::malformed("the body is not a JSON object"));
    }
    serde_json::from_slice(body.expose()).map_err(|error| Problem::malformed(explain(&error)))
}

/// For optional members: there or not, and if there then of the right type; `null` is no absence.
pub fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

fn explain(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    let said = error.to_string();
    let ours = |text: &str| text.split(" at line ").next().unwrap_or_default().to_owned();
    if error.is_data() && (said.starts_with("missing field") || said.starts_with("duplicate field")) {
        return ours(&said);
    }
    // The last one is the parser's; those before may be part of a name that was sent.
    if let Some((_, expected)) = said.rsplit_once(", expected").filter(|_| said.starts_with("unknown field")) {
        return format!("an unknown member, expected{}", ours(expected));
    }
    if error.is_data() {
        return format!("a member of a wrong type or value at line {line} column {column}");
    }
    format!("not valid JSON at line {line} column {column}")
}

/// The members of a good answer, `None` for an answer without a body.
pub fn write(reply: Reply, qr: Option<QrFormat>) -> Result<Option<Vec<u8>>, Problem> {
    let value = match reply {
        Reply::UserCreated { user, auth } => {
            let mut members = auth.map(auth_members).unwrap_or_default();
            for name in ["userUid", "methods"] {
                members.remove(name);
            }
            members.insert("user".to_owned(), user_value(&user));
            Value::Object(members)
        }
        Reply::User(user) => user_value(&user),
        Reply::Users { users, next } => {
            json!({ "users": users.iter().map(user_value).collect::<Vec<_>>(), "next": next.map(|id| id.to_string()) })
        }
        Reply::Secret(secret) | Reply::SecretCreated(secret) => Value::Object(secret_members(&secret)),
        Reply::Secrets(secrets) => {
            json!({ "secrets": secrets.iter().map(|s| Value::Object(secret_members(s))).collect::<Vec<_>>() })
        }
        Reply::FactorCreated { secret, uri, base32 } => {
            let mut members = secret_members(&secret);
            members.insert("secret".to_owned(), json!({ "otpauth_url": uri.expose(), "secret": base32.expose() }));
            if let Some(format) = qr {
                let picture = qr::render(uri.expose(), format);
                let picture = picture.ok_or_else(|| Problem::internal("no QR code can be drawn of a URI"))?;
                members.insert("qr".to_owned(), json!(picture.expose()));
            }
            Value::Object(members)
        }
        Reply::KeyAsked { secret, options } => {
            let mut members = secret_members(&secret);
            members.insert("secret".to_owned(), json!({ "publicKey": options }));
            Value::Object(members)
        }
        Reply::KeyOptions(options) => json!({ "publicKey": options }),
        Reply::Provisioned { secret, receipt, codes } => {
            let mut members = secret_members(&secret);
            members.insert("receipt".to_owned(), json!(receipt));
            if let Some(codes) = codes {
                members.insert("codes".to_owned(), code_list(&codes));
            }
            Value::Object(members)
        }
        Reply::Devices(keys) => json!({ "devices": keys.iter().map(devices::key_value).collect::<Vec<_>>() }),
        Reply::SecurityKeys(keys) => {
            json!({ "securityKeys": keys.iter().map(devices::security_key_value).collect::<Vec<_>>() })
        }
        Reply::Device { key, credentials, escrow } => {
            devices::key_with_credentials(&key, &credentials, escrow.as_deref())
        }
        // Only ever a stream, which writes each event by itself.
        Reply::DeviceEvents { events, .. } => Value::from(events.iter().map(devices::event_text).collect::<String>()),
        Reply::Accounts(accounts) => {
            json!({ "accounts": accounts.iter().map(devices::account_value).collect::<Vec<_>>() })
        }
        Reply::Account(account) => devices::account_value(&account),
        Reply::DevicePassword { has_password, is_known, escrow } => {
            json!({ "locked": has_password, "passwordKnown": is_known, "escrow": escrow })
        }
        Reply::Genuine(genuine) => devices::genuine_value(&genuine),
        Reply::Returned { serial, credentials } => json!({
            "serial": serial.number(),
            "credentials": credentials.iter().map(devices::returned_value).collect::<Vec<_>>(),
        }),
        Reply::ApiKeyCreated { secret, key } => {
            let mut members = secret_members(&secret);
            members.insert("secret".to_owned(), json!({ "apikey": key.expose() }));
            Value::Object(members)
        }
        Reply::Enrolled { secret, codes } | Reply::KeyRegistered { secret, codes } => {
            let mut members = secret_members(&secret);
            members.insert("codes".to_owned(), code_list(&codes));
            Value::Object(members)
        }
        Reply::Codes(_, codes) => json!({ "codes": code_list(&codes) }),
        Reply::AuthMethods { open_registration, mfa_required, security_keys } => json!({
            "methods": if security_keys { vec!["password", "totp", "recovery", "fido2"] } else { vec!["password", "totp", "recovery"] },
            "registration": if open_registration { "open" } else { "closed" },
            "mfaRequired": mfa_required,
        }),
        Reply::Auth(auth) => Value::Object(auth_members(auth)),
        Reply::ReceiptRedeemed { user, auth_time, amr } => json!({
            "ok": true, "userId": user.to_string(), "authTime": time(auth_time.saturating_mul(1000)), "amr": amr,
        }),
        Reply::Verified { secret, method, at } => json!({
            "ok": true, "secretId": secret.to_string(), "method": method.name(), "authTime": time(at),
        }),
        Reply::KeySet(keys) => {
            let keys: Vec<Value> = keys
                .iter()
                .map(|k| json!({ "kty": "OKP", "crv": "Ed25519", "kid": k.kid, "x": k.x, "alg": k.alg, "use": "sig" }))
                .collect();
            json!({ "keys": keys })
        }
        Reply::Audit { events, next } => {
            json!({ "events": events.iter().map(audit_value).collect::<Vec<_>>(), "next": next })
        }
        Reply::MasterKey(key) => master_key_value(&key),
        // It is no JSON and has a way of its own.
        Reply::Backup(_) => return Err(Problem::internal("a backup is sent as a stream only")),
        Reply::Live => json!({ "status": "ok" }),
        Reply::Ready => json!({ "status": "ready" }),
        Reply::Metrics(text) => return Ok(Some(text.into_bytes())),
        Reply::Version { sqlite, confinement, are_keys_locked } => json!({
            "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION"), "sqlite": sqlite, "api": "v1",
            "landlock": match confinement {
                Confinement::Full => "full",
                Confinement::Partial => "partial",
                Confinement::None => "none",
            },
            "keysLocked": are_keys_locked,
        }),
        Reply::Done => return Ok(None),
    };
    // The library's own words are left out: they could quote the value.
    serde_json::to_vec(&value).map(Some).map_err(|_| Problem::internal("an answer cannot be written as JSON"))
}

fn master_key_value(key: &MasterKeyView) -> Value {
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
    json!({
        "source": source, "version": rotation.version, "state": state,
        "sealed": { "total": rotation.total, "current": rotation.done },
    })
}

/// One row of the audit log.
pub fn audit_value(event: &AuditView) -> Value {
    json!({
        "seq": event.seq,
        "time": time(event.at),
        "event": event.event,
        "subject": event.subject.map(|id| id.to_string()),
        "object": event.object.map(|id| id.to_string()),
        "peerUid": event.peer_uid,
        "peerPid": event.peer_pid,
        "requestId": event.request,
        "outcome": event.outcome,
        "detail": event.detail,
        "prev": HEXLOWER.encode(&event.previous),
        "hash": HEXLOWER.encode(&event.hash),
    })
}

/// What a wrong first code would have been right for.
pub fn diagnosis(found: &Diagnosis) -> Value {
    let mut members = profile_members(&found.profile);
    members.insert("driftSeconds".to_owned(), json!(found.drift_seconds));
    Value::Object(members)
}

fn user_value(user: &UserView) -> Value {
    json!({
        "uid": user.id.to_string(),
        "name": user.name,
        "displayName": user.display_name,
        "email": user.email,
        "roles": user.roles,
        "disabled": user.disabled,
        "dateCreated": time(user.created),
        "dateModified": time(user.modified),
        "version": user.version,
        "mfa": user.mfa,
    })
}

fn secret_members(secret: &SecretView) -> Map<String, Value> {
    let mut members = Map::new();
    let mut put = |name: &str, value: Value| members.insert(name.to_owned(), value);
    put("uid", json!(secret.id.to_string()));
    put("userId", json!(secret.user.to_string()));
    put("type", json!(secret.kind));
    put("name", json!(secret.name));
    put("status", json!(secret.status));
    put("dateCreated", json!(time(secret.created)));
    put("dateModified", json!(time(secret.modified)));
    put("lastUsed", json!(secret.last_used.map(time)));
    put("version", json!(secret.version));
    put("description", json!(secret.description));
    if let Some(expires) = secret.expires {
        put("expires", json!(time(expires)));
    }
    if let Some(counter) = secret.counter {
        put("counter", json!(counter));
    }
    if let Some(remaining) = secret.remaining {
        put("remaining", json!(remaining));
    }
    if let Some(device) = &secret.device {
        put("device", devices::device_of_secret(device));
    }
    if let Some(profile) = &secret.profile {
        put("kind", json!(profile.kind()));
        members.extend(profile_members(profile));
    }
    members
}

fn profile_members(profile: &Profile) -> Map<String, Value> {
    let mut members = Map::new();
    members.insert("algorithm".to_owned(), json!(profile.algorithm.name()));
    members.insert("digits".to_owned(), json!(profile.digits.count()));
    if let OtpKind::Totp(period) = profile.moving {
        members.insert("period".to_owned(), json!(period.seconds()));
    }
    members
}

fn auth_members(auth: AuthView) -> Map<String, Value> {
    let mut members = Map::new();
    let mut put = |name: &str, value: Value| members.insert(name.to_owned(), value);
    put("token", json!(auth.token.expose()));
    put("type", json!(auth.kind.name()));
    put("expiresIn", json!(auth.expires_in));
    put("userUid", json!(auth.user.to_string()));
    if let Some(refresh) = &auth.refresh {
        put("refresh", json!(refresh.expose()));
    }
    if let Some(methods) = &auth.methods {
        put("methods", json!(methods));
    }
    if let Some(remaining) = auth.remaining {
        put("remaining", json!(remaining));
        if remaining <= FEW_CODES {
            put("warning", json!("few backup codes are left; make new ones"));
        }
    }
    if let Some(receipt) = &auth.receipt {
        put("receipt", json!(receipt.expose()));
    }
    members
}

/// From so many backup codes on the answer warns.
const FEW_CODES: u32 = 3;

fn code_list(codes: &[Sensitive<String>]) -> Value {
    codes.iter().map(|code| json!(code.expose())).collect()
}

/// RFC 3339 in UTC with three decimals.
pub fn time(millis: i64) -> String {
    jiff::Timestamp::from_millisecond(millis).map(|at| format!("{at:.3}")).unwrap_or_default()
}

/// Base64 with padding (RFC 4648 section 4), for pictures.
pub fn base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Body {
        token: TokenMember,
        #[serde(default, deserialize_with = "present")]
        action: Option<String>,
    }

    #[test]
    fn otp_2_the_three_forms_of_a_token_are_taken_and_no_other() {
        for good in [r#"{"token":"021589"}"#, r#"{"token":21589}"#, "{\"token\": 021589,}", r#"{"token":"12345678"}"#] {
            assert!(read::<Body>(good.as_bytes()).is_ok(), "{good}");
        }
        for odd in [
            r#"{"token":""}"#,
            r#"{"token":null}"#,
            r#"{"token":true}"#,
            r#"{"token":-1}"#,
            r#"{"token":1.0}"#,
            r#"{"token":1e3}"#,
            r#"{"token":["123456"]}"#,
            r#"{"token":{"a":1}}"#,
            r#"{"token":" 123456"}"#,
            r#"{"token":100000000}"#,
            r#"{"token":00}"#,
            r#"{"token":-0}"#,
            r#"{"token":"１２３４５６"}"#,
            r#"{}"#,
            r#"{"token":"123456","token":"123456"}"#,
            r#"{"token":021589,"token":021589}"#,
        ] {
            assert!(read::<Body>(odd.as_bytes()).is_err(), "{odd}");
        }
    }

    #[test]
    fn http_3_json_is_strict_and_a_refusal_repeats_nothing_that_was_sent() {
        for odd in [
            "",
            "null",
            "[]",
            "\"x\"",
            "{",
            r#"{"token":"123456"} x"#,
            r#"{"token":"123456"}{}"#,
            r#"{"token":"123456","hunter2":1}"#,
            r#"{"token":"123456","a, expected hunter2":1}"#,
            r#"{"token":"123456","a at line hunter2":1}"#,
            r#"{"token":"hunter2"}"#,
            r#"{"token":"123456","action":null}"#,
            r#"{"token":"123456","action":NaN}"#,
            "{\"token\":\"123456\",\"action\":\"\u{0}\"}",
            "{'token':'123456'}",
        ] {
            let problem = read::<Body>(odd.as_bytes()).err().unwrap_or_else(|| panic!("{odd} was taken"));
            assert!(!problem.detail.contains("hunter2"), "{}", problem.detail);
        }
        assert!(read::<Body>(b"{\"token\":\"123456\",\"action\":\"\xff\"}").is_err());
    }

    #[test]
    fn a_time_is_utc_with_three_decimals() {
        assert_eq!(time(1_700_000_000_120), "2023-11-14T22:13:20.120Z");
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
    }
}

//! Security keys after FIDO2: what a relying party asks of them and how it judges the answers (WebAuthn Level 2, sections 7.1
//! and 7.2). Every check is `webauthn-rs-core`'s; this decides what is asked, bounds what comes in, and keeps one record for a
//! credential, whichever way it answers.

mod client;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;
use sha2::{Digest, Sha256};
use url::Url;
use webauthn_rs_core::WebauthnCore;
use webauthn_rs_core::proto::{
    AttestationConveyancePreference, AuthenticationState, COSEAlgorithm, Credential, PublicKeyCredential,
    RegisterPublicKeyCredential, RegistrationState, UserVerificationPolicy,
};

use crate::ctap::Assertion as CtapAssertion;
use crate::model::Sensitive;

pub use client::{Client, Location};

/// How long an answer may take; also how long a ceremony is kept.
pub const CEREMONY: Duration = Duration::from_secs(5 * 60);
/// What the origin of an Android app begins with. The rest is the SHA-256 of the certificate that signed the app, base64url.
const ANDROID_APP: &str = "android:apk-key-hash:";
/// The longest credential id (WebAuthn section 4).
const LONGEST_ID: usize = 1023;

/// Why a ceremony did not end well.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FidoFault {
    /// The answer has not the shape of one.
    #[error("not the answer of a security key")]
    Shape,
    /// The answer is not the one to what was asked, or not by a key that may give it.
    #[error("the answer of the security key does not hold: {0}")]
    Refused(String),
    /// The key's counter did not move on: there may be a copy of the key.
    #[error("the counter of the security key did not move on")]
    Counter,
    /// A defect, here or in the library.
    #[error("{0}")]
    Internal(String),
}

/// Whether the key has to know who touches it: by a PIN or a fingerprint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verification {
    /// It has to.
    Required,
    /// It does if it can. A key that did at its registration has to from then on.
    #[default]
    Preferred,
    /// A touch is enough.
    Discouraged,
}

impl Verification {
    /// As the API has it.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "required" => Self::Required,
            "preferred" => Self::Preferred,
            "discouraged" => Self::Discouraged,
            _ => return None,
        })
    }

    fn policy(self) -> UserVerificationPolicy {
        match self {
            Self::Required => UserVerificationPolicy::Required,
            Self::Preferred => UserVerificationPolicy::Preferred,
            Self::Discouraged => UserVerificationPolicy::Discouraged_DO_NOT_USE,
        }
    }
}

/// Who asks: the name that credentials are bound to, and the origins that pages may have.
pub struct RelyingParty {
    core: WebauthnCore,
    id: String,
    origins: Vec<Url>,
    /// The first of them, as browsers write it.
    origin: String,
}

impl PartialEq for RelyingParty {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.origins == other.origins
    }
}

impl std::fmt::Debug for RelyingParty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RelyingParty({})", self.id)
    }
}

/// A registration under way.
pub struct Registration(RegistrationState);

/// An authentication under way.
pub struct Authentication(AuthenticationState);

/// A registered credential.
pub struct KeyRecord(Credential);

/// A good answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assertion {
    /// The credential that answered.
    pub credential: Vec<u8>,
    /// Its counter, 0 if it has none.
    pub counter: u32,
}

impl RelyingParty {
    /// `id` is a host name, each origin a scheme, host and port whose host is `id` or below it, or that of an Android app.
    pub fn new(id: &str, origins: &[Url], name: &str) -> Result<Self, &'static str> {
        if origins.is_empty() {
            return Err("names at least one origin");
        }
        for origin in origins {
            if origin.scheme() == "android" {
                check_app(origin)?;
                continue;
            }
            let host = origin.domain().ok_or("holds an origin without a host name")?;
            let is_below = host == id || host.strip_suffix(id).is_some_and(|rest| rest.ends_with('.'));
            if !is_below {
                return Err("holds an origin whose host is not the relying party's name or below it");
            }
            if origin.scheme() != "https" && host != "localhost" {
                return Err("holds an origin that is not https");
            }
            if origin.path() != "/" || origin.query().is_some() || origin.fragment().is_some() {
                return Err("holds an origin with more than scheme, host and port");
            }
        }
        // Exact origins: no subdomains, no other ports (FIDO-2).
        let core =
            WebauthnCore::new_unsafe_experts_only(name, id, origins.to_vec(), CEREMONY, Some(false), Some(false));
        let origin = origins.first().map(written).unwrap_or_default();
        Ok(Self { core, id: id.to_owned(), origins: origins.to_vec(), origin })
    }

    /// The name that credentials are bound to.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A page at the first origin, for keys of this host.
    pub fn client<'a>(&'a self, pin: Option<&'a Sensitive<String>>) -> Client<'a> {
        Client { relying_party: &self.id, origin: &self.origin, pin }
    }

    /// What a page gives to `navigator.credentials.create()`. Keys with one of the `known` credentials are left out.
    pub fn start_registration(
        &self,
        user: &[u8],
        name: &str,
        known: Vec<Vec<u8>>,
        verification: Verification,
    ) -> Result<(Value, Registration), FidoFault> {
        caught(|| {
            let builder =
                self.core.new_challenge_register_builder(user, name, name).map_err(|error| internal(&error))?;
            let builder = builder
                .attestation(AttestationConveyancePreference::None)
                .credential_algorithms(vec![COSEAlgorithm::ES256, COSEAlgorithm::EDDSA])
                .exclude_credentials(Some(known))
                .user_verification_policy(verification.policy());
            let (options, state) = self.core.generate_challenge_register(builder).map_err(|error| internal(&error))?;
            let options = serde_json::to_value(options.public_key).map_err(|error| internal(&error))?;
            Ok((options, Registration(state)))
        })
    }

    /// Judges the answer to a registration.
    pub fn finish_registration(&self, registration: &Registration, answer: &Value) -> Result<KeyRecord, FidoFault> {
        caught(|| {
            self.check_origin(answer)?;
            let answer: RegisterPublicKeyCredential = read(answer)?;
            if answer.type_ != "public-key" {
                return Err(FidoFault::Shape);
            }
            let credential = self.core.register_credential(&answer, &registration.0, None).map_err(refused)?;
            if credential.cred_id.is_empty() || credential.cred_id.len() > LONGEST_ID {
                return Err(FidoFault::Refused("the length of its id".to_owned()));
            }
            Ok(KeyRecord(credential))
        })
    }

    /// What a page gives to `navigator.credentials.get()`, for any of these credentials.
    pub fn start_authentication(&self, keys: Vec<KeyRecord>) -> Result<(Value, Authentication), FidoFault> {
        let policies: Vec<UserVerificationPolicy> = keys.iter().map(|key| key.0.registration_policy).collect();
        // The library holds each credential to its own policy; this is what the page asks for.
        let asked = match policies.split_first() {
            Some((first, rest)) if rest.iter().all(|policy| policy == first) => *first,
            _ => UserVerificationPolicy::Preferred,
        };
        caught(|| {
            let keys = keys.into_iter().map(|key| key.0).collect();
            let builder =
                self.core.new_challenge_authenticate_builder(keys, Some(asked)).map_err(|error| internal(&error))?;
            let (options, state) =
                self.core.generate_challenge_authenticate(builder).map_err(|error| internal(&error))?;
            let options = serde_json::to_value(options.public_key).map_err(|error| internal(&error))?;
            Ok((options, Authentication(state)))
        })
    }

    /// The origin letter for letter: the library compares what URLs mean, and takes `https:///host` for `https://host`.
    fn check_origin(&self, answer: &Value) -> Result<(), FidoFault> {
        let data = client_data(answer).ok_or(FidoFault::Shape)?;
        let origin = data.get("origin").and_then(Value::as_str).ok_or(FidoFault::Shape)?;
        let is_ours = self.origins.iter().any(|ours| written(ours) == origin);
        if is_ours { Ok(()) } else { Err(FidoFault::Refused("another origin".to_owned())) }
    }

    /// Judges the answer to an authentication.
    pub fn finish_authentication(&self, asked: &Authentication, answer: &Value) -> Result<Assertion, FidoFault> {
        caught(|| {
            self.check_origin(answer)?;
            let answer: PublicKeyCredential = read(answer)?;
            if answer.type_ != "public-key" {
                return Err(FidoFault::Shape);
            }
            let result = self.core.authenticate_credential(&answer, &asked.0).map_err(refused)?;
            Ok(Assertion { credential: result.cred_id().to_vec(), counter: result.counter() })
        })
    }
}

impl KeyRecord {
    /// The credential's id.
    pub fn id(&self) -> &[u8] {
        self.0.cred_id.as_slice()
    }

    /// Whether this credential made the answer: its signature over what the key says of itself and this hash.
    pub(crate) fn has_signed(&self, relying_party: &str, answer: &CtapAssertion, client_data_hash: &[u8; 32]) -> bool {
        let data = &answer.authenticator_data;
        let is_for_us = data.starts_with(&Sha256::digest(relying_party.as_bytes()));
        let signed = [data.as_slice(), client_data_hash].concat();
        let holds = caught(|| Ok(self.0.cred.verify_signature(&answer.signature, &signed).unwrap_or(false)));
        is_for_us && holds.unwrap_or(false)
    }

    /// Its counter at registration.
    pub fn counter(&self) -> u32 {
        self.0.counter
    }

    /// As it is stored; the counter is kept apart, since it moves.
    pub fn to_bytes(&self) -> Result<Vec<u8>, FidoFault> {
        serde_json::to_vec(&self.0).map_err(|error| internal(&error))
    }

    /// Reads it back, with the counter as it is now.
    pub fn from_bytes(bytes: &[u8], counter: u32) -> Result<Self, FidoFault> {
        let mut credential: Credential = serde_json::from_slice(bytes).map_err(|error| internal(&error))?;
        credential.counter = counter;
        Ok(Self(credential))
    }
}

/// Android apps have no host: the system names them by the certificate that signed them.
fn check_app(origin: &Url) -> Result<(), &'static str> {
    let hash = origin.as_str().strip_prefix(ANDROID_APP).map(|hash| BASE64URL_NOPAD.decode(hash.as_bytes()));
    match hash {
        Some(Ok(hash)) if hash.len() == 32 => Ok(()),
        _ => Err("holds an Android app that is not android:apk-key-hash: and 32 bytes in base64url without padding"),
    }
}

/// An origin as clients write it. The origin of a URL without a host is opaque, and they write such ones as they are.
fn written(origin: &Url) -> String {
    if origin.scheme() == "android" { origin.as_str().to_owned() } else { origin.origin().ascii_serialization() }
}

/// The challenge that an answer says it is to, before anything of it is believed.
pub fn challenge_of(answer: &Value) -> Option<String> {
    client_data(answer)?.get("challenge")?.as_str().map(str::to_owned)
}

fn client_data(answer: &Value) -> Option<Value> {
    let data = answer.pointer("/response/clientDataJSON")?.as_str()?;
    serde_json::from_slice(&BASE64URL_NOPAD.decode(data.as_bytes()).ok()?).ok()
}

fn read<T: serde::de::DeserializeOwned>(answer: &Value) -> Result<T, FidoFault> {
    T::deserialize(answer).map_err(|_| FidoFault::Shape)
}

/// A library that panics on what a stranger sends has refused it.
fn caught<T>(job: impl FnOnce() -> Result<T, FidoFault>) -> Result<T, FidoFault> {
    catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(|_| Err(FidoFault::Refused("it cannot be read".to_owned())))
}

fn internal(error: &dyn std::fmt::Display) -> FidoFault {
    FidoFault::Internal(error.to_string())
}

fn refused(error: webauthn_rs_core::error::WebauthnError) -> FidoFault {
    use webauthn_rs_core::error::WebauthnError;
    match error {
        WebauthnError::CredentialPossibleCompromise => FidoFault::Counter,
        other => FidoFault::Refused(other.to_string()),
    }
}

//! Security keys after FIDO2: what a relying party asks of them and how it judges the answers (WebAuthn Level 3, sections 7.1
//! and 7.2). `webauthn-rs-core` verifies what was asked and what is signed; this decides what is asked, makes the checks that
//! the library leaves open, and keeps one record for a credential, whichever way it answers.

mod answer;
mod authenticator_data;
mod client;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;
use sha2::{Digest, Sha256};
use url::Url;
use webauthn_rs_core::WebauthnCore;
use webauthn_rs_core::proto::{
    AttestationConveyancePreference, AuthenticationState, COSEAlgorithm, Credential, RegistrationState,
    UserVerificationPolicy,
};

use mfad_core::model::Sensitive;
use mfad_hardware::ctap::Assertion as CtapAssertion;

use answer::ClientData;
use authenticator_data::{AuthenticatorData, PublicKey};

pub use answer::{AuthenticationAnswer, RegistrationAnswer};
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
    /// The answer lacks a member, or has one that cannot be read. Nothing of it was judged.
    #[error("`credential.{member}` {why}")]
    Malformed {
        /// Where the member is, inside of the answer.
        member: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The answer is not the one to what was asked, or not by a key that may give it.
    #[error("the answer of the security key does not hold: {0}")]
    Refused(String),
    /// The new credential signs in a way that is not verified here: its COSE algorithm, or the curve that goes with it.
    #[error("this security key made a credential of COSE algorithm {0}; only ES256 (-7, on the curve P-256) is taken")]
    Algorithm(i128),
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
pub struct Registration {
    state: RegistrationState,
    challenge: String,
}

/// An authentication under way.
pub struct Authentication {
    state: AuthenticationState,
    challenge: String,
    /// The handle of the user who is to answer.
    user: Vec<u8>,
}

/// Which of the two ceremonies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Act {
    Create,
    Get,
}

impl Act {
    /// As a browser says it (WebAuthn Level 3, section 5.8.1).
    fn kind(self) -> &'static str {
        match self {
            Self::Create => "webauthn.create",
            Self::Get => "webauthn.get",
        }
    }
}

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
        let page = origins.iter().find(|origin| origin.scheme() != "android");
        let origin = page.or(origins.first()).map(written).unwrap_or_default();
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
                // What the library verifies. EdDSA it can only read.
                .credential_algorithms(vec![COSEAlgorithm::ES256])
                .exclude_credentials(Some(known))
                .user_verification_policy(verification.policy());
            let (options, state) = self.core.generate_challenge_register(builder).map_err(|error| internal(&error))?;
            let options = serde_json::to_value(options.public_key).map_err(|error| internal(&error))?;
            let challenge = challenge_in(&options)?;
            Ok((options, Registration { state, challenge }))
        })
    }

    /// Judges the answer to a registration.
    pub fn finish_registration(
        &self,
        registration: &Registration,
        answer: &RegistrationAnswer,
    ) -> Result<KeyRecord, FidoFault> {
        caught(|| {
            let data = AuthenticatorData::read_attested(&answer.credential.response.attestation_object)?;
            self.check(Act::Create, &registration.challenge, &answer.client_data, &data)?;
            data.attested.map_or(Ok(()), PublicKey::must_be_taken)?;
            let credential =
                self.core.register_credential(&answer.credential, &registration.state, None).map_err(refused)?;
            if credential.cred_id.is_empty() || credential.cred_id.len() > LONGEST_ID {
                return Err(FidoFault::Refused("the length of its id".to_owned()));
            }
            Ok(KeyRecord(credential))
        })
    }

    /// What a page gives to `navigator.credentials.get()`, for any of these credentials of the user.
    pub fn start_authentication(
        &self,
        user: &[u8],
        keys: Vec<KeyRecord>,
    ) -> Result<(Value, Authentication), FidoFault> {
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
            let challenge = challenge_in(&options)?;
            Ok((options, Authentication { state, challenge, user: user.to_vec() }))
        })
    }

    /// Judges the answer to an authentication.
    pub fn finish_authentication(
        &self,
        asked: &Authentication,
        answer: &AuthenticationAnswer,
    ) -> Result<Assertion, FidoFault> {
        caught(|| {
            let response = &answer.credential.response;
            let data = AuthenticatorData::read(&response.authenticator_data)?;
            self.check(Act::Get, &asked.challenge, &answer.client_data, &data)?;
            // A key need not say whose credential it is, since each is asked for by its id (section 7.2 step 6).
            if response.user_handle.as_ref().is_some_and(|handle| *handle != asked.user) {
                return Err(FidoFault::Refused("the handle of another user".to_owned()));
            }
            let result = self.core.authenticate_credential(&answer.credential, &asked.state).map_err(refused)?;
            Ok(Assertion { credential: result.cred_id().to_vec(), counter: result.counter() })
        })
    }

    /// What has to hold for either ceremony, whatever the library makes of it (sections 7.1 and 7.2): it looks at the origin
    /// as a URL, and takes `https:///host` for `https://host`; at `crossOrigin` it looks at a registration alone.
    fn check(
        &self,
        act: Act,
        challenge: &str,
        client_data: &ClientData,
        data: &AuthenticatorData,
    ) -> Result<(), FidoFault> {
        let is_foreign_top = client_data.top_origin.as_ref().is_some_and(|origin| !self.is_ours(origin));
        let offences = [
            (client_data.kind != act.kind(), "the answer to another ceremony"),
            (client_data.challenge != challenge, "another challenge"),
            (!self.is_ours(&client_data.origin), "another origin"),
            (client_data.is_cross_origin || is_foreign_top, "a page inside of one of another origin"),
            (data.relying_party.as_slice() != Sha256::digest(self.id.as_bytes()).as_slice(), "another relying party"),
            (!data.is_present, "nobody touched it"),
            (data.attested.is_some() != (act == Act::Create), "a new credential where none was asked for, or none"),
        ];
        match offences.into_iter().find(|(is_one, _)| *is_one) {
            Some((_, what)) => Err(FidoFault::Refused(what.to_owned())),
            None => Ok(()),
        }
    }

    /// Compares letter for letter.
    fn is_ours(&self, origin: &str) -> bool {
        self.origins.iter().any(|ours| written(ours) == origin)
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

fn challenge_in(options: &Value) -> Result<String, FidoFault> {
    let challenge = options.get("challenge").and_then(Value::as_str).map(str::to_owned);
    challenge.ok_or_else(|| FidoFault::Internal("options without a challenge".to_owned()))
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

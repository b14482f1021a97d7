//! The relying party for FIDO2 security keys: makes the options of a ceremony and verifies the response (WebAuthn Level
//! 3, sections 7.1 and 7.2). `webauthn-rs-core` verifies challenge and signature; this module chooses the options,
//! makes the checks that the library leaves open, and keeps one record per credential, whether it answers in a browser
//! or on this host. It knows no store and no clock.

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

/// How long a client may take to answer, and how long an open ceremony is kept (FIDO-1).
pub const CEREMONY: Duration = Duration::from_secs(5 * 60);
/// Prefix of the origin of an Android app. The rest is the SHA-256 of the app's signing certificate, in base64url.
const ANDROID_APP: &str = "android:apk-key-hash:";
/// The longest credential id, in bytes (WebAuthn section 4, FIDO-6).
const LONGEST_ID: usize = 1023;

/// Why a ceremony failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FidoFault {
    /// The response lacks a member, or has one that cannot be parsed. Nothing was verified, so the ceremony stays open.
    #[error("`credential.{member}` {why}")]
    Malformed {
        /// The path of the member in the response, names separated by dots.
        member: &'static str,
        /// The fault of the member, as the end of the error message.
        why: &'static str,
    },
    /// The response does not belong to the ceremony, or a check failed. The reason is for the audit log only.
    #[error("invalid response from the security key: {0}")]
    Refused(String),
    /// The new credential has a COSE algorithm, or a curve, whose signatures the daemon cannot verify.
    #[error("unsupported COSE algorithm {0}; use a security key that supports ES256 (-7, on the curve P-256)")]
    Algorithm(i128),
    /// The key's signature counter did not increase: there may be a copy of the key (FIDO-5).
    #[error("the signature counter of the security key did not increase; the key may have been copied")]
    Counter,
    /// A defect of this module or of the library. The cause is for the journal only.
    #[error("{0}")]
    Internal(String),
}

/// Whether the key must verify its user, by PIN or fingerprint (WebAuthn section 5.8.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verification {
    /// The key must verify its user.
    Required,
    /// The key verifies its user if it can. One that did so at its registration must do so from then on.
    #[default]
    Preferred,
    /// A touch is enough; the key shows possession only (FIDO-3).
    Discouraged,
}

impl Verification {
    /// Parses the name that the API uses: `required`, `preferred` or `discouraged`.
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

/// The relying party: the id to which credentials are bound, and the origins that pages may have.
pub struct RelyingParty {
    core: WebauthnCore,
    id: String,
    origins: Vec<Url>,
    /// The origin for keys of this host: the first one of a page, or else of an app, as browsers write it.
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

/// The state of an open registration, which is needed to verify the response.
pub struct Registration {
    state: RegistrationState,
    challenge: String,
}

/// The state of an open authentication, which is needed to verify the response.
pub struct Authentication {
    state: AuthenticationState,
    challenge: String,
    /// The handle of the user who must answer.
    user: Vec<u8>,
}

/// The two kinds of ceremonies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Act {
    Create,
    Get,
}

impl Act {
    /// The `type` of the client data (WebAuthn Level 3, section 5.8.1).
    fn kind(self) -> &'static str {
        match self {
            Self::Create => "webauthn.create",
            Self::Get => "webauthn.get",
        }
    }
}

/// A registered credential: public key, id and policy, but no private key.
pub struct KeyRecord(Credential);

/// A verified response to an authentication. The counter is not compared with the stored one yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assertion {
    /// The id of the credential that answered.
    pub credential: Vec<u8>,
    /// Its signature counter; 0 if the key has none.
    pub counter: u32,
}

impl RelyingParty {
    /// Takes the relying party id, a host name, and its origins. Each origin is either scheme, host and port, where the
    /// host is `id` or a subdomain of it, or the origin of an Android app. The error completes "fido2.origins: …".
    pub fn new(id: &str, origins: &[Url], name: &str) -> Result<Self, &'static str> {
        if origins.is_empty() {
            return Err("must list at least one origin");
        }
        for origin in origins {
            if origin.scheme() == "android" {
                check_app(origin)?;
                continue;
            }
            let host = origin.domain().ok_or("an origin has no host name")?;
            let is_below = host == id || host.strip_suffix(id).is_some_and(|rest| rest.ends_with('.'));
            if !is_below {
                return Err("the host of each origin must be rpId or a subdomain of it");
            }
            if origin.scheme() != "https" && host != "localhost" {
                return Err("each origin must use https, unless its host is localhost");
            }
            if origin.path() != "/" || origin.query().is_some() || origin.fragment().is_some() {
                return Err("each origin must consist of scheme, host and port only");
            }
        }
        // The two flags forbid subdomains and other ports: origins must match exactly (FIDO-2).
        let core =
            WebauthnCore::new_unsafe_experts_only(name, id, origins.to_vec(), CEREMONY, Some(false), Some(false));
        let page = origins.iter().find(|origin| origin.scheme() != "android");
        let origin = page.or(origins.first()).map(written).unwrap_or_default();
        Ok(Self { core, id: id.to_owned(), origins: origins.to_vec(), origin })
    }

    /// The relying party id, to which credentials are bound.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the stand-in for a page, with which security keys of this host are used.
    pub fn client<'a>(&'a self, pin: Option<&'a Sensitive<String>>) -> Client<'a> {
        Client { relying_party: &self.id, origin: &self.origin, pin, resident: false }
    }

    /// Returns the options for `navigator.credentials.create()`, and the state to verify the response with. `user` is
    /// the user handle. A key that has one of the `known` credentials refuses.
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
                // The only one offered (FIDO-4): the library parses EdDSA keys, but cannot verify their signatures.
                .credential_algorithms(vec![COSEAlgorithm::ES256])
                .exclude_credentials(Some(known))
                .user_verification_policy(verification.policy());
            let (options, state) = self.core.generate_challenge_register(builder).map_err(|error| internal(&error))?;
            let options = serde_json::to_value(options.public_key).map_err(|error| internal(&error))?;
            let challenge = challenge_in(&options)?;
            Ok((options, Registration { state, challenge }))
        })
    }

    /// Verifies the response to a registration, and returns the credential to store.
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
                return Err(FidoFault::Refused("the length of the credential id is invalid".to_owned()));
            }
            Ok(KeyRecord(credential))
        })
    }

    /// Returns the options for `navigator.credentials.get()`, and the state to verify the response with. Any of these
    /// credentials of the user may answer.
    pub fn start_authentication(
        &self,
        user: &[u8],
        keys: Vec<KeyRecord>,
    ) -> Result<(Value, Authentication), FidoFault> {
        let policies: Vec<UserVerificationPolicy> = keys.iter().map(|key| key.0.registration_policy).collect();
        // The library verifies each credential against its own policy. The options can name only one for all, so
        // credentials with different policies get the middle one.
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

    /// Verifies the response to an authentication. Whether the credential belongs to the user, and whether its counter
    /// increased, is left to the transaction that uses the assertion up.
    pub fn finish_authentication(
        &self,
        asked: &Authentication,
        answer: &AuthenticationAnswer,
    ) -> Result<Assertion, FidoFault> {
        caught(|| {
            let response = &answer.credential.response;
            let data = AuthenticatorData::read(&response.authenticator_data)?;
            self.check(Act::Get, &asked.challenge, &answer.client_data, &data)?;
            // The user handle may be absent, since the options list the credentials by id (section 7.2 step 6).
            if response.user_handle.as_ref().is_some_and(|handle| *handle != asked.user) {
                return Err(FidoFault::Refused("the user handle is that of another user".to_owned()));
            }
            let result = self.core.authenticate_credential(&answer.credential, &asked.state).map_err(refused)?;
            Ok(Assertion { credential: result.cred_id().to_vec(), counter: result.counter() })
        })
    }

    /// Makes the checks of sections 7.1 and 7.2 that both ceremonies need, without relying on the library. The library
    /// compares origins as parsed URLs, so it accepts `https:///host` for `https://host`, and it checks `crossOrigin`
    /// only at a registration.
    fn check(
        &self,
        act: Act,
        challenge: &str,
        client_data: &ClientData,
        data: &AuthenticatorData,
    ) -> Result<(), FidoFault> {
        let is_foreign_top = client_data.top_origin.as_ref().is_some_and(|origin| !self.is_ours(origin));
        let offences = [
            (client_data.kind != act.kind(), "it answers another kind of ceremony"),
            (client_data.challenge != challenge, "the challenge does not match"),
            (!self.is_ours(&client_data.origin), "the origin is not allowed"),
            (client_data.is_cross_origin || is_foreign_top, "the page is embedded in a page of another origin"),
            (
                data.relying_party.as_slice() != Sha256::digest(self.id.as_bytes()).as_slice(),
                "the relying party does not match",
            ),
            (!data.is_present, "the key was not touched"),
            (data.attested.is_some() != (act == Act::Create), "a new credential is missing or unexpected"),
        ];
        match offences.into_iter().find(|(is_one, _)| *is_one) {
            Some((_, what)) => Err(FidoFault::Refused(what.to_owned())),
            None => Ok(()),
        }
    }

    /// Whether this is one of the relying party's origins, compared byte for byte (FIDO-2).
    fn is_ours(&self, origin: &str) -> bool {
        self.origins.iter().any(|ours| written(ours) == origin)
    }
}

impl KeyRecord {
    /// The credential id, at most 1023 bytes.
    pub fn id(&self) -> &[u8] {
        self.0.cred_id.as_slice()
    }

    /// Whether this credential signed the answer to a silent probe: authenticator data for this relying party, followed
    /// by the hash.
    pub(crate) fn has_signed(&self, relying_party: &str, answer: &CtapAssertion, client_data_hash: &[u8; 32]) -> bool {
        let data = &answer.authenticator_data;
        let is_for_us = data.starts_with(&Sha256::digest(relying_party.as_bytes()));
        let signed = [data.as_slice(), client_data_hash].concat();
        let holds = caught(|| Ok(self.0.cred.verify_signature(&answer.signature, &signed).unwrap_or(false)));
        is_for_us && holds.unwrap_or(false)
    }

    /// The signature counter that the record was read or registered with.
    pub fn counter(&self) -> u32 {
        self.0.counter
    }

    /// Serialises the record for the store. The counter is also a column of its own, since it changes with each use.
    pub fn to_bytes(&self) -> Result<Vec<u8>, FidoFault> {
        serde_json::to_vec(&self.0).map_err(|error| internal(&error))
    }

    /// Parses a stored record, and sets the counter to the present value from its column.
    pub fn from_bytes(bytes: &[u8], counter: u32) -> Result<Self, FidoFault> {
        let mut credential: Credential = serde_json::from_slice(bytes).map_err(|error| internal(&error))?;
        credential.counter = counter;
        Ok(Self(credential))
    }
}

/// Checks the origin of an Android app. It has no host: Android names an app by the certificate that signed it.
fn check_app(origin: &Url) -> Result<(), &'static str> {
    let hash = origin.as_str().strip_prefix(ANDROID_APP).map(|hash| BASE64URL_NOPAD.decode(hash.as_bytes()));
    match hash {
        Some(Ok(hash)) if hash.len() == 32 => Ok(()),
        _ => Err("an Android origin must be android:apk-key-hash: and 32 bytes in base64url without padding"),
    }
}

/// Serialises an origin as clients do. The URL of an Android app has no host and so an opaque origin; its text is used.
fn written(origin: &Url) -> String {
    if origin.scheme() == "android" { origin.as_str().to_owned() } else { origin.origin().ascii_serialization() }
}

fn challenge_in(options: &Value) -> Result<String, FidoFault> {
    let challenge = options.get("challenge").and_then(Value::as_str).map(str::to_owned);
    challenge.ok_or_else(|| FidoFault::Internal("the WebAuthn options have no challenge".to_owned()))
}

/// Turns a panic of the library into a refusal. It must not end the request, since the bytes come from a stranger.
fn caught<T>(job: impl FnOnce() -> Result<T, FidoFault>) -> Result<T, FidoFault> {
    catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(|_| Err(FidoFault::Refused("it cannot be parsed".to_owned())))
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

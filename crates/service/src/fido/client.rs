//! The browser's part of a ceremony, for security keys that are attached to this host (WebAuthn Level 2, sections
//! 5.1.3 and 5.1.4). It turns the options of the relying party into the response of a page. The relying party cannot
//! tell the two apart, so one credential record serves both. It knows no user and no store.

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use mfad_core::entropy;
use mfad_core::model::Sensitive;
use mfad_hardware::ctap::{
    Authenticator, CtapFault, NewCredential, Permission, PinToken, User, Value, Verified, canonical,
};

use super::KeyRecord;

/// The options that a page would get, as JSON.
struct Asked<'a> {
    options: &'a Json,
}

/// Stands for a page at an origin of the relying party.
#[derive(Clone, Copy)]
pub struct Client<'a> {
    pub(super) relying_party: &'a str,
    pub(super) origin: &'a str,
    /// The PIN that the user gave for the key, if any.
    pub(super) pin: Option<&'a Sensitive<String>>,
    /// Whether the key shall keep a new credential, so that it finds its user without being told a name.
    pub(super) resident: bool,
}

impl Client<'_> {
    /// Sets whether the key keeps a new credential itself.
    pub fn keeping(self, resident: bool) -> Self {
        Self { resident, ..self }
    }

    /// Creates a credential on this key. Returns the JSON that `navigator.credentials.create()` would give, or
    /// [`CtapFault::Excluded`] if the key already has a credential of the user.
    pub fn create(self, key: &mut Authenticator<'_>, options: &Json) -> Result<Json, CtapFault> {
        let asked = Asked { options };
        let (data, hash) = self.client_data("webauthn.create", &asked)?;
        let mut known = asked.ids("/excludeCredentials")?;
        let mut has_silent = false;
        for credential in &known {
            match key.probe(self.relying_party, &hash, credential) {
                Ok(Some(_)) => return Err(CtapFault::Excluded),
                Ok(None) => {}
                Err(fault) => has_silent |= cannot_tell(fault)?,
            }
        }
        // A key that did not answer the silent probe checks the list itself when it makes the credential.
        known.truncate(if has_silent { key.most_credentials() } else { 0 });
        let policy = asked.text("/authenticatorSelection/userVerification")?;
        let user = self.verification(key, policy, Permission::Make)?;
        let id = asked.bytes("/user/id")?;
        let algorithms: Vec<i64> = asked.list("/pubKeyCredParams").filter_map(|one| one["alg"].as_i64()).collect();
        let new = NewCredential {
            client_data_hash: &hash,
            relying_party: self.relying_party,
            relying_party_name: asked.text("/rp/name")?,
            user: User { id: &id, name: asked.text("/user/name")? },
            algorithms: &algorithms,
            excluded: &known,
            resident: self.resident,
        };
        let made = key.make(&new, user.as_verified())?;
        let id = credential_id(&made.authenticator_data).ok_or(CtapFault::Nonsense("no credential id"))?;
        let object = attestation_object(&made.authenticator_data)?;
        Ok(credential(id, &data, &[("attestationObject", &object)]))
    }

    /// Lets this key answer an authentication. Returns the JSON that `navigator.credentials.get()` would give.
    pub fn get(self, key: &mut Authenticator<'_>, options: &Json) -> Result<Json, CtapFault> {
        let asked = Asked { options };
        let (data, hash) = self.client_data("webauthn.get", &asked)?;
        let mut allowed = asked.ids("/allowCredentials")?;
        allowed.truncate(key.most_credentials());
        let user = self.verification(key, asked.text("/userVerification")?, Permission::Assert)?;
        let answer = key.assert(self.relying_party, &hash, &allowed, user.as_verified())?;
        let parts = [("authenticatorData", &answer.authenticator_data), ("signature", &answer.signature)];
        Ok(credential(&answer.credential, &data, &parts.map(|(name, bytes)| (name, bytes.as_slice()))))
    }

    /// Finds which of these credentials the key has, without a touch. The key proves it by a signature over random
    /// bytes, so a device that only claims to have a credential is not sent the PIN. A key that does not answer the
    /// probe may have any of them.
    pub fn locate(self, key: &mut Authenticator<'_>, records: &[KeyRecord]) -> Result<Location, CtapFault> {
        let hash =
            entropy::public::<32>().map_err(|_| CtapFault::Internal("the operating system gave no random bytes"))?;
        let mut has_silent = false;
        for (place, record) in records.iter().enumerate() {
            match key.probe(self.relying_party, &hash, record.id()) {
                Ok(Some(answer)) if record.has_signed(self.relying_party, &answer, &hash) => {
                    return Ok(Location::Here(place));
                }
                Ok(_) => {}
                Err(fault) => has_silent |= cannot_tell(fault)?,
            }
        }
        Ok(if has_silent { Location::Perhaps } else { Location::Elsewhere })
    }

    /// Verifies the user at the key by PIN or fingerprint, if the policy asks for it. Where verification is only
    /// preferred, a key that cannot do it is used without.
    fn verification(
        self,
        key: &mut Authenticator<'_>,
        policy: &str,
        permission: Permission,
    ) -> Result<Known, CtapFault> {
        let is_wanted = match policy {
            "required" => true,
            "preferred" => key.can_verify(),
            // Discouraged: no verification, unless the user gave a PIN to be used.
            _ => self.pin.is_some() && key.can_verify(),
        };
        if !is_wanted {
            return Ok(Known::No);
        }
        // At a registration the key must be touched before it is sent a PIN. Otherwise anyone with access to the daemon
        // could try PINs on a key that somebody left in the port.
        if permission == Permission::Make && self.pin.is_some() && key.has_pin() == Some(true) {
            key.select()?;
        }
        Ok(key.verify_user(self.pin, self.relying_party, permission)?.map_or(Known::ByItself, Known::ByToken))
    }

    /// Returns the client data, serialised in the fixed order of WebAuthn section 5.8.1.1, and its SHA-256.
    fn client_data(self, kind: &str, asked: &Asked<'_>) -> Result<(String, [u8; 32]), CtapFault> {
        let (kind, challenge, origin) = (json!(kind), json!(asked.text("/challenge")?), json!(self.origin));
        let text = format!("{{\"type\":{kind},\"challenge\":{challenge},\"origin\":{origin},\"crossOrigin\":false}}");
        let hash = Sha256::digest(text.as_bytes()).into();
        Ok((text, hash))
    }
}

/// Whether a key has one of the listed credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// The key has the credential at this index of the list, and proved it.
    Here(usize),
    /// The key did not answer the probe, so it may have any of them.
    Perhaps,
    /// The key has none of the credentials.
    Elsewhere,
}

/// Whether the error of a silent probe leaves it open if the key has the credential; any other error ends the ceremony.
/// Keys use many error codes for a foreign credential, and some answer no probe without a touch or a PIN.
fn cannot_tell(fault: CtapFault) -> Result<bool, CtapFault> {
    match fault {
        CtapFault::Device(_) | CtapFault::NotTouched | CtapFault::Internal(_) => Err(fault),
        _ => Ok(true),
    }
}

/// How the key has verified its user.
enum Known {
    No,
    /// By a PIN or fingerprint, for which the key gave a token.
    ByToken(PinToken),
    /// The key verifies the user itself during the command.
    ByItself,
}

impl Known {
    fn as_verified(&self) -> Verified<'_> {
        match self {
            Self::No => Verified::No,
            Self::ByToken(token) => Verified::ByToken(token),
            Self::ByItself => Verified::ByItself,
        }
    }
}

impl<'a> Asked<'a> {
    fn text(&self, place: &str) -> Result<&'a str, CtapFault> {
        let text = self.options.pointer(place).and_then(Json::as_str);
        text.ok_or(CtapFault::Internal("a member is missing in the WebAuthn options"))
    }

    fn bytes(&self, place: &str) -> Result<Vec<u8>, CtapFault> {
        let bytes = BASE64URL_NOPAD.decode(self.text(place)?.as_bytes());
        bytes.map_err(|_| CtapFault::Internal("a member of the WebAuthn options is not base64url"))
    }

    fn list(&self, place: &str) -> impl Iterator<Item = &'a Json> {
        self.options.pointer(place).and_then(Json::as_array).into_iter().flatten()
    }

    /// The ids in a list of credential descriptors.
    fn ids(&self, place: &str) -> Result<Vec<Vec<u8>>, CtapFault> {
        self.list(place).map(|one| Asked { options: one }.bytes("/id")).collect()
    }
}

/// A `PublicKeyCredential` as JSON, as `toJSON()` writes it.
fn credential(id: &[u8], client_data: &str, parts: &[(&str, &[u8])]) -> Json {
    let id = BASE64URL_NOPAD.encode(id);
    let mut response = serde_json::Map::new();
    response.insert("clientDataJSON".to_owned(), json!(BASE64URL_NOPAD.encode(client_data.as_bytes())));
    for (name, bytes) in parts {
        response.insert((*name).to_owned(), json!(BASE64URL_NOPAD.encode(bytes)));
    }
    json!({ "id": id, "rawId": id, "type": "public-key", "response": response, "clientExtensionResults": {} })
}

/// Builds an attestation object of the format `none`, as a browser does when no attestation is requested. The daemon
/// uses no attestation of security keys.
fn attestation_object(authenticator_data: &[u8]) -> Result<Vec<u8>, CtapFault> {
    let members = [
        ("fmt", Value::from("none".to_owned())),
        ("attStmt", Value::Map(mfad_hardware::ctap::Map::new())),
        ("authData", Value::Bytes(authenticator_data.to_vec())),
    ];
    canonical(&Value::Map(members.into_iter().map(|(name, value)| (Value::from(name.to_owned()), value)).collect()))
}

/// The credential id in authenticator data. It follows the hash of the relying party id (32 bytes), the flags (1), the
/// counter (4) and the AAGUID (16), with its length in two bytes before it (WebAuthn section 6.5.1).
fn credential_id(authenticator_data: &[u8]) -> Option<&[u8]> {
    let (length, rest) = authenticator_data.get(32 + 1 + 4 + 16..)?.split_first_chunk::<2>()?;
    rest.get(..usize::from(u16::from_be_bytes(*length)))
}

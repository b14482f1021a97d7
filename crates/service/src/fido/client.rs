//! The part that a browser plays elsewhere: from what a relying party asks to what it gets, with a key of this host in the
//! place of one at the browser (WebAuthn Level 2, sections 5.1.3 and 5.1.4). The relying party cannot tell them apart, so
//! one record serves both.

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use mfad_core::entropy;
use mfad_core::model::Sensitive;
use mfad_hardware::ctap::{
    Authenticator, CtapFault, NewCredential, Permission, PinToken, User, Value, Verified, canonical,
};

use super::KeyRecord;

/// What is asked, from the options that a page would get.
struct Asked<'a> {
    options: &'a Json,
}

/// A page at an origin of the relying party.
#[derive(Clone, Copy)]
pub struct Client<'a> {
    pub(super) relying_party: &'a str,
    pub(super) origin: &'a str,
    /// What the user gave to tell the key who touches it.
    pub(super) pin: Option<&'a Sensitive<String>>,
}

impl Client<'_> {
    /// What `navigator.credentials.create()` gives, made by this key.
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
        // What it did not tell it has to see for itself.
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
        };
        let made = key.make(&new, user.as_verified())?;
        let id = credential_id(&made.authenticator_data).ok_or(CtapFault::Nonsense("no credential"))?;
        let object = attestation_object(&made.authenticator_data)?;
        Ok(credential(id, &data, &[("attestationObject", &object)]))
    }

    /// What `navigator.credentials.get()` gives, answered by this key.
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

    /// Which of these credentials the key has, found without a touch and proved by its signature: a device that only says
    /// so gets no PIN. One that does not tell may have any of them.
    pub fn locate(self, key: &mut Authenticator<'_>, records: &[KeyRecord]) -> Result<Location, CtapFault> {
        let hash = entropy::public::<32>().map_err(|_| CtapFault::Internal("no random bytes"))?;
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

    /// Whether the key gets to know who touches it, and how. What is only preferred is left out where the key cannot.
    fn verification(
        self,
        key: &mut Authenticator<'_>,
        policy: &str,
        permission: Permission,
    ) -> Result<Known, CtapFault> {
        let is_wanted = match policy {
            "required" => true,
            "preferred" => key.can_verify(),
            // A PIN that was given is meant to be used.
            _ => self.pin.is_some() && key.can_verify(),
        };
        if !is_wanted {
            return Ok(Known::No);
        }
        // A PIN is tried on the key of somebody who is there.
        if permission == Permission::Make && self.pin.is_some() && key.has_pin() == Some(true) {
            key.select()?;
        }
        Ok(key.verify_user(self.pin, self.relying_party, permission)?.map_or(Known::ByItself, Known::ByToken))
    }

    /// The text that is signed, member by member in this order (WebAuthn section 5.8.1.1), and its hash.
    fn client_data(self, kind: &str, asked: &Asked<'_>) -> Result<(String, [u8; 32]), CtapFault> {
        let (kind, challenge, origin) = (json!(kind), json!(asked.text("/challenge")?), json!(self.origin));
        let text = format!("{{\"type\":{kind},\"challenge\":{challenge},\"origin\":{origin},\"crossOrigin\":false}}");
        let hash = Sha256::digest(text.as_bytes()).into();
        Ok((text, hash))
    }
}

/// Where a credential is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// On this key, the one of that place in the list.
    Here(usize),
    /// Perhaps on this key.
    Perhaps,
    /// Not on this key.
    Elsewhere,
}

/// Whether what a key says to a silent question leaves it open; anything else ends the ceremony. Keys have many words for a
/// credential that is not theirs, and some answer nothing without a touch or a PIN.
fn cannot_tell(fault: CtapFault) -> Result<bool, CtapFault> {
    match fault {
        CtapFault::Device(_) | CtapFault::NotTouched | CtapFault::Internal(_) => Err(fault),
        _ => Ok(true),
    }
}

enum Known {
    No,
    ByToken(PinToken),
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
        text.ok_or(CtapFault::Internal("options without what a key needs"))
    }

    fn bytes(&self, place: &str) -> Result<Vec<u8>, CtapFault> {
        let bytes = BASE64URL_NOPAD.decode(self.text(place)?.as_bytes());
        bytes.map_err(|_| CtapFault::Internal("options that are not base64url"))
    }

    fn list(&self, place: &str) -> impl Iterator<Item = &'a Json> {
        self.options.pointer(place).and_then(Json::as_array).into_iter().flatten()
    }

    /// The ids of a list of credentials.
    fn ids(&self, place: &str) -> Result<Vec<Vec<u8>>, CtapFault> {
        self.list(place).map(|one| Asked { options: one }.bytes("/id")).collect()
    }
}

/// A `PublicKeyCredential` as JSON.
fn credential(id: &[u8], client_data: &str, parts: &[(&str, &[u8])]) -> Json {
    let id = BASE64URL_NOPAD.encode(id);
    let mut response = serde_json::Map::new();
    response.insert("clientDataJSON".to_owned(), json!(BASE64URL_NOPAD.encode(client_data.as_bytes())));
    for (name, bytes) in parts {
        response.insert((*name).to_owned(), json!(BASE64URL_NOPAD.encode(bytes)));
    }
    json!({ "id": id, "rawId": id, "type": "public-key", "response": response, "clientExtensionResults": {} })
}

/// Without the maker's statement, as for a page that asked for none: it would tell nothing that is looked at.
fn attestation_object(authenticator_data: &[u8]) -> Result<Vec<u8>, CtapFault> {
    let members = [
        ("fmt", Value::from("none".to_owned())),
        ("attStmt", Value::Map(mfad_hardware::ctap::Map::new())),
        ("authData", Value::Bytes(authenticator_data.to_vec())),
    ];
    canonical(&Value::Map(members.into_iter().map(|(name, value)| (Value::from(name.to_owned()), value)).collect()))
}

/// The id inside of authenticator data: behind the hash of the relying party's id, flags, counter and the model
/// (WebAuthn section 6.5.1).
fn credential_id(authenticator_data: &[u8]) -> Option<&[u8]> {
    let (length, rest) = authenticator_data.get(32 + 1 + 4 + 16..)?.split_first_chunk::<2>()?;
    rest.get(..usize::from(u16::from_be_bytes(*length)))
}

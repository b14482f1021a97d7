//! Parses the response that a page sends, in the form of `toJSON()` of a browser's `PublicKeyCredential` (WebAuthn
//! Level 3, section 5.1). Each required member is present and decoded, or the error names it. Nothing is verified here.
//! Extension results are ignored, since none is requested (section 7.1 says to ignore them).

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde_json::Value;
use webauthn_rs_core::proto::{
    AuthenticationExtensionsClientOutputs, AuthenticatorAssertionResponseRaw, AuthenticatorAttestationResponseRaw,
    PublicKeyCredential, RegisterPublicKeyCredential, RegistrationExtensionsClientOutputs,
};

use super::FidoFault;

const TYPE: &str = "type";
const RESPONSE: &str = "response";
const CLIENT_DATA: &str = "response.clientDataJSON";
const USER_HANDLE: &str = "response.userHandle";

/// A parsed response to a registration, not verified yet.
pub struct RegistrationAnswer {
    pub(super) client_data: ClientData,
    pub(super) credential: RegisterPublicKeyCredential,
}

/// A parsed response to an authentication, not verified yet.
pub struct AuthenticationAnswer {
    pub(super) client_data: ClientData,
    pub(super) credential: PublicKeyCredential,
}

/// The client data: what the browser states about the ceremony, and the key signs (WebAuthn Level 3, section 5.8.1).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientData {
    /// `type`: `webauthn.create` or `webauthn.get`.
    pub(super) kind: String,
    /// The challenge that the response claims to answer, in base64url.
    pub(super) challenge: String,
    /// The origin of the page that called the API.
    pub(super) origin: String,
    /// Whether the page was embedded in a page of another origin.
    pub(super) is_cross_origin: bool,
    /// The origin of the outermost page, if the browser gave it.
    pub(super) top_origin: Option<String>,
}

/// The members that both kinds of responses have.
struct Common {
    id: String,
    raw_id: Vec<u8>,
    client_data: ClientData,
    client_data_json: Vec<u8>,
}

impl RegistrationAnswer {
    /// Parses the result of `navigator.credentials.create()`. [`FidoFault::Malformed`] names the first invalid member.
    pub fn read(answer: &Value) -> Result<Self, FidoFault> {
        let Common { id, raw_id, client_data, client_data_json } = Common::read(answer)?;
        // How the key is connected. It is only a hint, so a list that cannot be read is dropped.
        let transports = member(answer, "response.transports").and_then(|list| Vec::deserialize(list).ok());
        let attestation_object = bytes(answer, "response.attestationObject")?;
        let credential = RegisterPublicKeyCredential {
            id,
            raw_id,
            response: AuthenticatorAttestationResponseRaw { attestation_object, client_data_json, transports },
            type_: "public-key".to_owned(),
            extensions: RegistrationExtensionsClientOutputs::default(),
        };
        Ok(Self { client_data, credential })
    }
}

impl AuthenticationAnswer {
    /// Parses the result of `navigator.credentials.get()`. [`FidoFault::Malformed`] names the first invalid member.
    pub fn read(answer: &Value) -> Result<Self, FidoFault> {
        let Common { id, raw_id, client_data, client_data_json } = Common::read(answer)?;
        let user_handle = match member(answer, USER_HANDLE) {
            None | Some(Value::Null) => None,
            // A user handle is never empty (section 5.4.3), but some browsers send an empty one when there is none.
            Some(_) => Some(bytes(answer, USER_HANDLE)?).filter(|handle| !handle.is_empty()),
        };
        let credential = PublicKeyCredential {
            id,
            raw_id,
            response: AuthenticatorAssertionResponseRaw {
                authenticator_data: bytes(answer, "response.authenticatorData")?,
                client_data_json,
                signature: bytes(answer, "response.signature")?,
                user_handle,
            },
            extensions: AuthenticationExtensionsClientOutputs::default(),
            type_: "public-key".to_owned(),
        };
        Ok(Self { client_data, credential })
    }

    /// Returns the challenge that the response claims to answer, to find its ceremony. The claim is verified later.
    pub fn challenge(&self) -> &str {
        &self.client_data.challenge
    }
}

impl Common {
    fn read(answer: &Value) -> Result<Self, FidoFault> {
        let id = text(answer, "id")?;
        bytes(answer, "id")?;
        let raw_id = bytes(answer, "rawId")?;
        if text(answer, TYPE)? != "public-key" {
            return Err(malformed(TYPE, "must be `public-key`"));
        }
        match member(answer, RESPONSE) {
            Some(Value::Object(_)) => {}
            Some(_) => return Err(malformed(RESPONSE, "is not an object")),
            None => return Err(malformed(RESPONSE, "is missing")),
        }
        let client_data_json = bytes(answer, CLIENT_DATA)?;
        let client_data = ClientData::read(&client_data_json)?;
        Ok(Self { id: id.to_owned(), raw_id, client_data, client_data_json })
    }
}

impl ClientData {
    fn read(json: &[u8]) -> Result<Self, FidoFault> {
        let data: Value = serde_json::from_slice(json).map_err(|_| malformed(CLIENT_DATA, "is not valid JSON"))?;
        let text = |name: &str| data.get(name).and_then(Value::as_str).map(str::to_owned);
        let (Some(kind), Some(challenge), Some(origin)) = (text("type"), text("challenge"), text("origin")) else {
            return Err(malformed(CLIENT_DATA, "must contain the strings `type`, `challenge` and `origin`"));
        };
        let is_cross_origin = match data.get("crossOrigin") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(is_cross_origin)) => *is_cross_origin,
            Some(_) => return Err(malformed(CLIENT_DATA, "has a `crossOrigin` that is neither true nor false")),
        };
        let top_origin = match data.get("topOrigin") {
            None | Some(Value::Null) => None,
            Some(Value::String(origin)) => Some(origin.clone()),
            Some(_) => return Err(malformed(CLIENT_DATA, "has a `topOrigin` that is not a string")),
        };
        Ok(Self { kind, challenge, origin, is_cross_origin, top_origin })
    }
}

fn malformed(member: &'static str, why: &'static str) -> FidoFault {
    FidoFault::Malformed { member, why }
}

/// Returns the member at a path of names separated by dots.
fn member<'a>(answer: &'a Value, place: &str) -> Option<&'a Value> {
    place.split('.').try_fold(answer, |value, name| value.get(name))
}

fn text<'a>(answer: &'a Value, place: &'static str) -> Result<&'a str, FidoFault> {
    match member(answer, place) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(malformed(place, "is not a string")),
        None => Err(malformed(place, "is missing")),
    }
}

fn bytes(answer: &Value, place: &'static str) -> Result<Vec<u8>, FidoFault> {
    let text = text(answer, place)?;
    BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| malformed(place, "is not base64url without padding"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn encoded(client_data: &str) -> String {
        BASE64URL_NOPAD.encode(client_data.as_bytes())
    }

    fn answer(client_data: &str) -> Value {
        json!({
            "id": "AAEC", "rawId": "AAEC", "type": "public-key",
            "response": {
                "clientDataJSON": encoded(client_data), "authenticatorData": "AQ", "signature": "Ag",
                "attestationObject": "oA",
            },
        })
    }

    fn good() -> Value {
        answer(r#"{"type":"webauthn.get","challenge":"c","origin":"https://example.org"}"#)
    }

    /// The error of each ceremony for this response, if it has one.
    fn why_not(answer: &Value) -> (Option<String>, Option<String>) {
        let registration = RegistrationAnswer::read(answer).err().map(|fault| fault.to_string());
        (registration, AuthenticationAnswer::read(answer).err().map(|fault| fault.to_string()))
    }

    #[test]
    fn a_member_that_is_missing_or_cannot_be_read_is_named() {
        for (place, of_registration, of_authentication) in [
            ("id", true, true),
            ("rawId", true, true),
            ("type", true, true),
            ("response", true, true),
            ("response.clientDataJSON", true, true),
            ("response.attestationObject", true, false),
            ("response.authenticatorData", false, true),
            ("response.signature", false, true),
        ] {
            let pointer = format!("/{}", place.replace('.', "/"));
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            let mut spoiled = Vec::new();
            for value in [json!(null), json!(7), json!(["AA"]), json!("A+/="), json!("A A"), json!("AA==")] {
                let mut answer = good();
                *answer.pointer_mut(&pointer).unwrap() = value;
                spoiled.push(answer);
            }
            let mut without = good();
            without.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
            spoiled.push(without);

            for answer in spoiled {
                let (registration, authentication) = why_not(&answer);
                for (said, is_needed) in [(registration, of_registration), (authentication, of_authentication)] {
                    assert_eq!(said.is_some(), is_needed, "{answer}");
                    assert!(said.is_none_or(|said| said.starts_with(&format!("`credential.{place}` "))), "{answer}");
                }
            }
        }
        for odd in [json!(null), json!([]), json!("x"), json!({})] {
            assert_eq!(why_not(&odd).0.as_deref(), Some("`credential.id` is missing"), "{odd}");
        }
    }

    #[test]
    fn client_data_that_say_nothing_are_malformed() {
        for odd in [
            "",
            "{",
            "[]",
            "7",
            r#"{"type":"webauthn.get","challenge":"c"}"#,
            r#"{"type":"webauthn.get","challenge":7,"origin":"o"}"#,
            r#"{"type":null,"challenge":"c","origin":"o"}"#,
            r#"{"type":"webauthn.get","challenge":"c","origin":"o","crossOrigin":"true"}"#,
            r#"{"type":"webauthn.get","challenge":"c","origin":"o","crossOrigin":1}"#,
            r#"{"type":"webauthn.get","challenge":"c","origin":"o","topOrigin":{}}"#,
        ] {
            let (registration, authentication) = why_not(&answer(odd));
            assert!(
                registration.is_some_and(|said| said.starts_with("`credential.response.clientDataJSON` ")),
                "{odd}"
            );
            assert!(authentication.is_some(), "{odd}");
        }
    }

    #[test]
    fn what_was_not_asked_for_is_left_aside() {
        for more in [
            json!({}),
            json!({"clientExtensionResults": null}),
            json!({"clientExtensionResults": {"credProps": {"rk": true}, "appid": true}}),
            json!({"clientExtensionResults": {"credProps": 7}, "extensions": "x"}),
            json!({"clientExtensionResults": [], "authenticatorAttachment": 7}),
        ] {
            let mut answer = good();
            answer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            assert_eq!(why_not(&answer), (None, None), "{answer}");
        }
        for transports in [json!(null), json!("usb"), json!(["usb", "pigeon"]), json!([7])] {
            let mut answer = good();
            answer["response"]["transports"] = transports;
            assert_eq!(why_not(&answer), (None, None), "{answer}");
        }
    }

    #[test]
    fn a_user_handle_may_be_missing_and_is_read_where_it_is_not() {
        let handle = |value: Value| {
            let mut answer = good();
            answer["response"]["userHandle"] = value;
            AuthenticationAnswer::read(&answer).map(|answer| answer.credential.response.user_handle)
        };

        assert_eq!(handle(json!(null)), Ok(None));
        assert_eq!(handle(json!("")), Ok(None));
        assert_eq!(handle(json!("AAEC")), Ok(Some(vec![0, 1, 2])));
        for odd in [json!(7), json!("A+/="), json!({})] {
            assert!(matches!(handle(odd), Err(FidoFault::Malformed { member: USER_HANDLE, .. })));
        }
    }
}

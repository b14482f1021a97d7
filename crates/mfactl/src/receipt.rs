//! `receipt …`: verifies receipts of provisioning without the daemon, and saves them to files.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::{Signature, VerifyingKey};
use mfad_api::{PROVISIONING_AUDIENCE, PublicKeySet, RECEIPT_TYPE};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::call::Call;
use crate::context::Context;
use crate::device_args::ReceiptCommand;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Tone, visible};

/// The only signature algorithm that is accepted.
const ALGORITHM: &str = "EdDSA";

/// The JWS header of a receipt. Any other member is refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
}

pub(crate) async fn run(context: &mut Context, command: &ReceiptCommand) -> Result<(), Failure> {
    match command {
        ReceiptCommand::Verify { file, keys } => verify(context.out, file, keys),
        ReceiptCommand::Keys => {
            let answer = context.client.ask(Call::get("/v1/.well-known/receipt-keys.json")).await?;
            context.out.document(answer.text())
        }
    }
}

/// Writes a text to a new file that only its owner can read, and syncs it to disk.
pub(crate) fn keep(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

fn verify(out: Output, file: &Path, keys: &Path) -> Result<(), Failure> {
    let receipt = read(file)?;
    let set: PublicKeySet = serde_json::from_str(&read(keys)?)
        .map_err(|error| Failure::Usage(format!("{} is no set of keys: {error}", keys.display())))?;
    match claims(receipt.trim_ascii(), &set) {
        Ok(claims) if out.is_json() => out.document(&Value::Object(claims).to_string()),
        Ok(claims) => tell(out, &claims),
        Err(reason) if out.is_json() => {
            out.document(&json!({"ok": false, "reason": reason}).to_string())?;
            Err(Failure::Reported(Exit::Denied))
        }
        Err(reason) => Err(Failure::Denied(format!("the receipt is not valid: {reason}"))),
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))
}

fn tell(out: Output, claims: &Map<String, Value>) -> Result<(), Failure> {
    let pairs: Vec<(String, String)> = claims.iter().map(|(name, value)| (visible(name), plain(value))).collect();
    let pairs: Vec<(&str, String)> = pairs.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    out.pairs(&pairs)?;
    out.note(&out.tone("the receipt is valid", Tone::Good))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Returns the claims if one of the keys has signed them (RFC 7515 section 5.2, RFC 8032 section 5.1.7).
fn claims(receipt: &str, set: &PublicKeySet) -> Result<Map<String, Value>, &'static str> {
    let (signed, signature) = receipt.rsplit_once('.').ok_or("it does not have three parts")?;
    let (header, payload) = signed.split_once('.').ok_or("it does not have three parts")?;
    let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| "its header is none of a receipt")?;
    if header.alg != ALGORITHM || header.typ != RECEIPT_TYPE {
        return Err("its header is none of a receipt");
    }
    let key = public_key(set, &header.kid)?;
    let signature = Signature::from_slice(&decode(signature)?).map_err(|_| "its signature is too short or too long")?;
    key.verify_strict(signed.as_bytes(), &signature).map_err(|_| "its signature is wrong")?;
    let claims: Map<String, Value> =
        serde_json::from_slice(&decode(payload)?).map_err(|_| "its claims are not an object")?;
    match claims.get("aud").and_then(Value::as_str) {
        Some(PROVISIONING_AUDIENCE) => Ok(claims),
        Some(_) | None => Err("it is signed, but not as a receipt of a programmed key"),
    }
}

fn public_key(set: &PublicKeySet, kid: &str) -> Result<VerifyingKey, &'static str> {
    let key = set.keys.iter().find(|key| key.kid == kid).ok_or("the key that signed it is not in the set")?;
    if key.kty != "OKP" || key.crv != "Ed25519" {
        return Err("the key that signed it is of another kind");
    }
    let bytes: [u8; 32] = decode(&key.x)?.try_into().map_err(|_| "the key that signed it is too short or too long")?;
    VerifyingKey::from_bytes(&bytes).map_err(|_| "the key that signed it is no point of the curve")
}

fn decode(part: &str) -> Result<Vec<u8>, &'static str> {
    BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| "a part of it is not base64url without padding")
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer, SigningKey};

    use super::*;

    const HEADER: &str = r#"{"alg":"EdDSA","kid":"k","typ":"RECEIPT"}"#;
    const CLAIMS: &str = r#"{"aud":"mfad:provision","serial":7}"#;

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    fn set() -> PublicKeySet {
        let x = BASE64URL_NOPAD.encode(key().verifying_key().as_bytes());
        serde_json::from_value(json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": x, "use": "sig"}]}))
            .unwrap()
    }

    fn signed(header: &str, claims: &str) -> String {
        let text =
            format!("{}.{}", BASE64URL_NOPAD.encode(header.as_bytes()), BASE64URL_NOPAD.encode(claims.as_bytes()));
        let signature = key().sign(text.as_bytes());
        format!("{text}.{}", BASE64URL_NOPAD.encode(&signature.to_bytes()))
    }

    #[test]
    fn a_signed_receipt_gives_its_claims() {
        let claims = claims(&signed(HEADER, CLAIMS), &set()).unwrap();

        assert_eq!(claims.get("serial"), Some(&json!(7)));
    }

    #[test]
    fn every_flipped_character_is_noticed() {
        let good = signed(HEADER, CLAIMS);
        for at in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };

            assert!(claims(&String::from_utf8(bytes).unwrap(), &set()).is_err(), "{at}");
        }
    }

    #[test]
    fn only_the_one_header_is_taken() {
        for header in [
            r#"{"alg":"none","kid":"k","typ":"RECEIPT"}"#,
            r#"{"alg":"EdDSA","kid":"k","typ":"ACCESS"}"#,
            r#"{"alg":"EdDSA","kid":"other","typ":"RECEIPT"}"#,
            r#"{"alg":"EdDSA","kid":"k","typ":"RECEIPT","crit":[]}"#,
            r#"{"alg":"EdDSA","alg":"EdDSA","kid":"k","typ":"RECEIPT"}"#,
            r#"{"alg":"EdDSA","typ":"RECEIPT"}"#,
        ] {
            assert!(claims(&signed(header, CLAIMS), &set()).is_err(), "{header}");
        }
    }

    #[test]
    fn padding_blanks_and_other_audiences_are_refused() {
        let good = signed(HEADER, CLAIMS);
        for odd in
            [format!("{good}="), format!("{good}.x"), good.replacen('.', ". ", 1), "a.b".to_owned(), String::new()]
        {
            assert!(claims(&odd, &set()).is_err(), "{odd}");
        }
        assert!(claims(&signed(HEADER, r#"{"aud":"mfad"}"#), &set()).is_err());
    }
}

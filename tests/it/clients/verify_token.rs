//! Checks access tokens of mfad.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use jsonwebtoken::errors::{Error, ErrorKind, new_error};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;

const ISSUER: &str = "mfad"; // `issuer` in the configuration of the daemon
const TYPE: &str = "ACCESS"; // `type` of its `[token]`

/// Who may act, and how they logged in (RFC 8176).
#[derive(Debug, Deserialize)]
pub struct Claims {
    pub sub: String,
    pub amr: Vec<String>,
    typ: String,
}

/// The public keys of the daemon with this socket. Keep them; fetch them again when a token names an unknown one.
pub fn keys_of(socket: &str) -> io::Result<JwkSet> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(io::Error::other("the daemon gives no keys"));
    }
    Ok(serde_json::from_str(body)?)
}

/// The claims of an access token; an error for anything else.
pub fn claims_of(token: &str, keys: &JwkSet) -> Result<Claims, Error> {
    let refused = || new_error(ErrorKind::InvalidToken);
    let kid = decode_header(token)?.kid.ok_or_else(refused)?;
    let key = DecodingKey::from_jwk(keys.find(&kid).ok_or_else(refused)?)?;
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&["mfad:access"]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.leeway = 0;
    let token = decode::<Claims>(token, &key, &validation)?;
    if token.header.typ.as_deref() != Some(TYPE) || token.claims.typ != "ACCESS" {
        return Err(refused());
    }
    Ok(token.claims)
}

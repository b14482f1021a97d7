//! The keys that sign tokens and statements, and the set of keys that verifies tokens.

use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::{Signature, Signer};
use serde::Serialize;
use sha2::{Digest, Sha256};

use mfad_core::model::{Sensitive, TokenKind, scrub_stack};

use super::claims::{Claims, Wire};
use super::fault::TokenFault;
use super::format::{SigningAlgorithm, TokenFormat};
use super::verified::{VerifiedTokenCache, print};

/// The longest token that is accepted, in bytes (TOK-5). Longer ones are refused before any work is done.
const LONGEST: usize = 4096;

/// An Ed25519 key, with the headers of its tokens in every format. So a token stays valid when the format changes.
pub struct SigningKey {
    kid: String,
    created: i64,
    key: ed25519_dalek::SigningKey,
    headers: Vec<Header>,
}

/// A token header. No header text belongs to two kinds, so the text alone fixes the kind of a token (TOK-4).
struct Header {
    kind: TokenKind,
    algorithm: SigningAlgorithm,
    typ: &'static str,
    /// The header as it stands in the token: JSON in base64url.
    text: String,
}

/// The public half of a signing key, for the JWK set (RFC 7517).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// The key id (`kid`).
    pub kid: String,
    /// The public key in base64url (RFC 8037 section 2).
    pub x: String,
    /// The `alg` in the headers of its tokens.
    pub alg: &'static str,
}

impl SigningKey {
    /// Takes an Ed25519 private key and its time of creation, in milliseconds since 1970. The key id is derived from
    /// the public key.
    pub fn new(seed: &Sensitive<[u8; 32]>, created: i64) -> Self {
        let key = ed25519_dalek::SigningKey::from_bytes(seed.expose());
        let digest = Sha256::digest(key.verifying_key().as_bytes());
        let kid = BASE64URL_NOPAD.encode(digest.get(..12).unwrap_or(&[]));
        Self { headers: headers(&kid), kid, created, key }
    }

    /// The key id: the first 12 bytes of the SHA-256 of the public key, in base64url.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// When the key was created, in milliseconds since 1970.
    pub fn created(&self) -> i64 {
        self.created
    }

    fn header(&self, kind: TokenKind, format: TokenFormat) -> &str {
        let (algorithm, typ) = (format.algorithm, format.typ(kind));
        let ours = self.headers.iter().find(|ours| ours.algorithm == algorithm && ours.typ == typ);
        ours.map_or("", |ours| ours.text.as_str())
    }
}

/// Returns all headers that tokens of one key can have, each once.
fn headers(kid: &str) -> Vec<Header> {
    let mut headers: Vec<Header> = Vec::new();
    for (format, kind) in TokenFormat::all().flat_map(|format| TokenKind::ALL.map(|kind| (format, kind))) {
        let (algorithm, typ) = (format.algorithm, format.typ(kind));
        if headers.iter().any(|there| there.algorithm == algorithm && there.typ == typ) {
            continue;
        }
        let json = format!(r#"{{"alg":"{}","kid":"{kid}","typ":"{typ}"}}"#, algorithm.name());
        headers.push(Header { kind, algorithm, typ, text: BASE64URL_NOPAD.encode(json.as_bytes()) });
    }
    headers
}

/// Signs a statement that is not a token, such as a provisioning receipt: a compact JWS (RFC 7515) with the type `typ`,
/// by the newest of `keys`. These keys sign nothing else, so a statement cannot pass for a token.
pub fn sign_statement(keys: &[SigningKey], typ: &str, claims: &impl Serialize) -> Result<String, TokenFault> {
    let key = keys.last().ok_or(TokenFault::NoKey)?;
    let header = format!(r#"{{"alg":"EdDSA","kid":"{}","typ":"{typ}"}}"#, key.kid);
    let body = serde_json::to_vec(claims).map_err(|_| TokenFault::Claims)?;
    let signed = format!("{}.{}", BASE64URL_NOPAD.encode(header.as_bytes()), BASE64URL_NOPAD.encode(&body));
    let signature = BASE64URL_NOPAD.encode(&key.key.sign(signed.as_bytes()).to_bytes());
    Ok(format!("{signed}.{signature}"))
}

/// Returns the public halves of keys that sign statements. Their `alg` is always `EdDSA`, whatever the token format is.
pub fn public_keys(keys: &[SigningKey]) -> Vec<PublicKey> {
    public_halves(keys, SigningAlgorithm::EdDsa)
}

fn public_halves(keys: &[SigningKey], algorithm: SigningAlgorithm) -> Vec<PublicKey> {
    let public = |key: &SigningKey| PublicKey {
        kid: key.kid.clone(),
        x: BASE64URL_NOPAD.encode(key.key.verifying_key().as_bytes()),
        alg: algorithm.name(),
    };
    keys.iter().map(public).collect()
}

/// The token keys in use. The newest one signs; all of them verify.
pub struct KeySet {
    issuer: String,
    /// The format of new tokens. Tokens of any format verify.
    format: TokenFormat,
    keys: Vec<SigningKey>,
    /// Valid for these keys only, so a new set starts with an empty cache.
    seen: VerifiedTokenCache,
}

impl KeySet {
    /// Takes the issuer name (`iss`) and the keys, oldest first.
    pub fn new(issuer: String, keys: Vec<SigningKey>) -> Self {
        Self { issuer, format: TokenFormat::default(), keys, seen: VerifiedTokenCache::default() }
    }

    /// Returns the set with another format for the tokens that it signs from now on.
    #[must_use]
    pub fn in_format(self, format: TokenFormat) -> Self {
        Self { format, ..self }
    }

    /// Whether the set consists of exactly these keys, in this order.
    pub fn is_of(&self, keys: &[SigningKey]) -> bool {
        self.keys.iter().map(SigningKey::kid).eq(keys.iter().map(SigningKey::kid))
    }

    /// Signs claims with the newest key. [`TokenFault::NoKey`] if the set is empty.
    pub fn sign(&self, claims: &Claims) -> Result<Sensitive<String>, TokenFault> {
        let key = self.keys.last().ok_or(TokenFault::NoKey)?;
        let body = serde_json::to_vec(&claims.to_wire(&self.issuer)).map_err(|_| TokenFault::Claims)?;
        // Large enough for most tokens, so that the buffer does not grow: secrets keep a fixed capacity (MEM-1).
        let mut token = String::with_capacity(1024);
        token.push_str(key.header(claims.kind, self.format));
        token.push('.');
        BASE64URL_NOPAD.encode_append(&body, &mut token);
        append_signature(key, &mut token);
        scrub_stack();
        // The daemon need not verify its own signature when the token comes back.
        self.seen.remember(print(&token));
        Ok(Sensitive::new(token))
    }

    /// Verifies a token of any kind: header, then signature (strict, RFC 8032 section 5.1.7), then claims. `now` is in
    /// seconds since 1970. Epoch and session are for the caller to check.
    pub fn verify(&self, token: &str, now: i64) -> Result<Claims, TokenFault> {
        if token.len() > LONGEST {
            return Err(TokenFault::Shape);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenFault::Shape)?;
        let (header, body) = signed.split_once('.').filter(|(_, body)| !body.contains('.')).ok_or(TokenFault::Shape)?;
        let (key, kind) = self.of_header(header).ok_or(TokenFault::Header)?;
        let print = print(token);
        if !self.seen.knows(&print) {
            let checked = check_signature(key, signed, signature);
            scrub_stack();
            checked?;
            self.seen.remember(print);
        }
        let wire: Wire = serde_json::from_slice(&decode(body)?).map_err(|_| TokenFault::Claims)?;
        Claims::from_wire(wire, kind, &self.issuer, now)
    }

    /// Returns the public halves of all keys, for the JWK set.
    pub fn public_keys(&self) -> Vec<PublicKey> {
        public_halves(&self.keys, self.format.algorithm)
    }

    /// When the newest key was created, in milliseconds since 1970; none if the set is empty.
    pub fn newest_created(&self) -> Option<i64> {
        self.keys.last().map(SigningKey::created)
    }

    fn of_header(&self, header: &str) -> Option<(&SigningKey, TokenKind)> {
        self.keys.iter().find_map(|key| {
            let ours = key.headers.iter().find(|ours| ours.text == header)?;
            Some((key, ours.kind))
        })
    }
}

// The next two functions must not be inlined: what they leave on the stack then lies below the caller's frame, where
// `scrub_stack` overwrites it (MEM-3).
#[inline(never)]
fn append_signature(key: &SigningKey, token: &mut String) {
    let signature = key.key.sign(token.as_bytes());
    token.push('.');
    BASE64URL_NOPAD.encode_append(&signature.to_bytes(), token);
}

#[inline(never)]
fn check_signature(key: &SigningKey, signed: &str, signature: &str) -> Result<(), TokenFault> {
    let signature = decode(signature)?;
    let signature = Signature::from_slice(&signature).map_err(|_| TokenFault::Shape)?;
    key.key.verifying_key().verify_strict(signed.as_bytes(), &signature).map_err(|_| TokenFault::Signature)
}

fn decode(part: &str) -> Result<Vec<u8>, TokenFault> {
    BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| TokenFault::Shape)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use mfad_core::model::{Amr, SessionId, UserId};

    const NOW: i64 = 1_700_000_000;

    fn set(bytes: &[u8]) -> KeySet {
        let keys = bytes.iter().map(|b| SigningKey::new(&Sensitive::new([*b; 32]), 0)).collect();
        KeySet::new("mfad".to_owned(), keys)
    }

    fn claims(kind: TokenKind) -> Claims {
        Claims {
            kind,
            subject: UserId::at(1, &[1; 10]),
            id: *SessionId::at(1, &[2; 10]).as_bytes(),
            session: (kind == TokenKind::Access).then(|| SessionId::at(1, &[3; 10])),
            issued_at: NOW,
            expires_at: NOW + 900,
            epoch: 3,
            amr: Amr::PasswordAndOtp,
            auth_time: NOW,
            peer: 1000,
            roles: vec!["admin".to_owned()],
        }
    }

    fn resign(set: &KeySet, header: &str, body: &str) -> String {
        let signed =
            format!("{}.{}", BASE64URL_NOPAD.encode(header.as_bytes()), BASE64URL_NOPAD.encode(body.as_bytes()));
        let signature = set.keys[0].key.sign(signed.as_bytes());
        format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature.to_bytes()))
    }

    #[test]
    fn what_was_signed_verifies_with_an_older_key_too() {
        for kind in TokenKind::ALL {
            let token = set(&[1]).sign(&claims(kind)).unwrap();

            assert_eq!(set(&[1, 2]).verify(token.expose(), NOW), Ok(claims(kind)));
            assert_eq!(set(&[2]).verify(token.expose(), NOW), Err(TokenFault::Header));
        }
    }

    #[test]
    fn tok_3_times_are_checked() {
        let token = set(&[1]).sign(&claims(TokenKind::Access)).unwrap();

        assert_eq!(set(&[1]).verify(token.expose(), NOW + 899).map(|c| c.epoch), Ok(3));
        assert_eq!(set(&[1]).verify(token.expose(), NOW + 900), Err(TokenFault::Expired));
        assert_eq!(set(&[1]).verify(token.expose(), NOW - 30).map(|c| c.epoch), Ok(3));
        assert_eq!(set(&[1]).verify(token.expose(), NOW - 31), Err(TokenFault::Claims));
        let long = Claims { expires_at: NOW + 901, ..claims(TokenKind::Access) };
        let token = set(&[1]).sign(&long).unwrap();
        assert_eq!(set(&[1]).verify(token.expose(), NOW), Err(TokenFault::Claims));
    }

    #[test]
    fn tok_2_a_header_of_another_making_is_refused_before_anything_else() {
        let set = set(&[1]);
        let kid = set.keys[0].kid.clone();
        let body = serde_json::to_string(&claims(TokenKind::Access).to_wire("mfad")).unwrap();
        let good = format!(r#"{{"alg":"EdDSA","kid":"{kid}","typ":"ACCESS"}}"#);

        assert!(set.verify(&resign(&set, &good, &body), NOW).is_ok());
        for header in [
            format!(r#"{{"alg":"none","kid":"{kid}","typ":"ACCESS"}}"#),
            format!(r#"{{"alg":"HS256","kid":"{kid}","typ":"ACCESS"}}"#),
            format!(r#"{{"alg":"EdDSA","kid":"{kid}","typ":"ACCESS","jwk":{{}}}}"#),
            format!(r#"{{"alg":"EdDSA","kid":"{kid}","typ":"ACCESS","crit":["x"]}}"#),
            format!(r#"{{"alg": "EdDSA","kid":"{kid}","typ":"ACCESS"}}"#),
            r#"{"alg":"EdDSA","kid":"other","typ":"ACCESS"}"#.to_owned(),
            format!(r#"{{"alg":"Ed448","kid":"{kid}","typ":"ACCESS"}}"#),
            format!(r#"{{"alg":"EdDSA","kid":"{kid}","typ":"jwt"}}"#),
            format!(r#"{{"alg":"EdDSA","kid":"{kid}","typ":"RECEIPT"}}"#),
            format!(r#"{{"alg":"Ed25519","kid":"{kid}","typ":"application/at+jwt"}}"#),
            "{}".to_owned(),
        ] {
            assert_eq!(set.verify(&resign(&set, &header, &body), NOW), Err(TokenFault::Header), "{header}");
        }
    }

    #[test]
    fn tok_3_and_tok_5_claims_are_complete_single_and_of_the_right_type() {
        let set = set(&[1]);
        let header = format!(r#"{{"alg":"EdDSA","kid":"{}","typ":"ACCESS"}}"#, set.keys[0].kid);
        let good = serde_json::to_value(claims(TokenKind::Access).to_wire("mfad")).unwrap();

        for member in good.as_object().unwrap().keys() {
            let mut less = good.clone();
            less.as_object_mut().unwrap().remove(member);
            assert!(set.verify(&resign(&set, &header, &less.to_string()), NOW).is_err(), "without {member}");
            let mut odd = good.clone();
            odd[member] = serde_json::json!({"x": 1});
            assert!(set.verify(&resign(&set, &header, &odd.to_string()), NOW).is_err(), "odd {member}");
        }
        let text = good.to_string();
        let doubled = text.replacen('{', r#"{"exp":99999999999,"#, 1);
        assert!(set.verify(&resign(&set, &header, &doubled), NOW).is_err());
        let unknown = text.replacen('{', r#"{"admin":true,"#, 1);
        assert!(set.verify(&resign(&set, &header, &unknown), NOW).is_err());
    }

    #[test]
    fn tokens_of_every_format_verify_whatever_the_format_of_the_set_is() {
        for (format, kind) in TokenFormat::all().flat_map(|format| TokenKind::ALL.map(|kind| (format, kind))) {
            let token = set(&[1]).in_format(format).sign(&claims(kind)).unwrap();

            let header = token.expose().split('.').next().unwrap();
            let header: serde_json::Value = serde_json::from_slice(&decode(header).unwrap()).unwrap();
            assert_eq!(header["alg"], format.algorithm.name());
            assert_eq!(header["typ"], format.typ(kind));
            for other in TokenFormat::all() {
                assert_eq!(set(&[1]).in_format(other).verify(token.expose(), NOW), Ok(claims(kind)), "{other:?}");
            }
        }
    }

    #[test]
    fn a_header_is_written_once_and_names_one_kind() {
        let key = SigningKey::new(&Sensitive::new([1; 32]), 0);

        let texts: std::collections::BTreeSet<&str> = key.headers.iter().map(|header| header.text.as_str()).collect();
        assert_eq!((texts.len(), key.headers.len()), (10, 10));
        let of_kind = |kind| key.headers.iter().filter(|header| header.kind == kind).count();
        assert_eq!(TokenKind::ALL.map(of_kind), [6, 2, 2]);
        assert!(texts.contains(key.header(TokenKind::Enroll, TokenFormat::default())));
    }

    #[test]
    fn tok_4_no_type_of_an_access_token_carries_another_kind() {
        let set = set(&[1]);
        for (algorithm, typ) in [("EdDSA", "at+jwt"), ("EdDSA", "JWT"), ("Ed25519", "at+jwt"), ("Ed25519", "ACCESS")] {
            let header = format!(r#"{{"alg":"{algorithm}","kid":"{}","typ":"{typ}"}}"#, set.keys[0].kid);
            let of_kind = |kind| serde_json::to_string(&claims(kind).to_wire("mfad")).unwrap();

            assert!(set.verify(&resign(&set, &header, &of_kind(TokenKind::Access)), NOW).is_ok(), "{header}");
            for kind in [TokenKind::Challenge, TokenKind::Enroll] {
                let token = resign(&set, &header, &of_kind(kind));
                assert_eq!(set.verify(&token, NOW), Err(TokenFault::Claims), "{header}");
            }
        }
    }

    #[test]
    fn the_key_set_names_the_algorithm_of_its_tokens_and_statements_keep_theirs() {
        let in_algorithm =
            |text| TokenFormat { algorithm: SigningAlgorithm::parse(text).unwrap(), ..TokenFormat::default() };

        for name in ["EdDSA", "Ed25519"] {
            let keys = set(&[1, 2]).in_format(in_algorithm(name)).public_keys();
            assert!(keys.len() == 2 && keys.iter().all(|key| key.alg == name), "{keys:?}");
        }
        assert_eq!(public_keys(&set(&[1]).keys)[0].alg, "EdDSA");
    }

    #[test]
    fn tok_4_a_token_of_one_kind_under_the_header_of_another_is_refused() {
        let set = set(&[1]);
        let header = format!(r#"{{"alg":"EdDSA","kid":"{}","typ":"ACCESS"}}"#, set.keys[0].kid);
        let body = serde_json::to_string(&claims(TokenKind::Challenge).to_wire("mfad")).unwrap();

        assert_eq!(set.verify(&resign(&set, &header, &body), NOW), Err(TokenFault::Claims));
    }

    proptest! {
        #[test]
        fn a_changed_token_is_refused(at in 0usize..600, byte in any::<u8>()) {
            let set = set(&[1]);
            let token = set.sign(&claims(TokenKind::Access)).unwrap();
            let mut bytes = token.expose().clone().into_bytes();
            let at = at % bytes.len();
            prop_assume!(bytes[at] != byte);
            bytes[at] = byte;

            if let Ok(text) = String::from_utf8(bytes) {
                prop_assert!(set.verify(&text, NOW).is_err());
            }
        }

        #[test]
        fn any_text_is_refused_without_a_panic(text in "\\PC*") {
            prop_assert!(set(&[1]).verify(&text, NOW).is_err());
        }
    }
}

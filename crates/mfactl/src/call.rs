//! A request to the daemon as a value. It has two copies of its body: one to send, and one without secrets to show.

use mfad_client::Method;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::account::Needed;
use crate::secret_text::Hidden;

/// Characters that are percent-encoded in a path segment or a query value (RFC 3986 section 3.3).
const RESERVED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'&')
    .add(b'+')
    .add(b'/')
    .add(b'<')
    .add(b'=')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');
/// Capacity for the longest body: a password of 1024 bytes, each escaped to six, and the rest. A buffer that grows
/// would leave copies of secrets in freed memory.
const BODY_ROOM: usize = 8192;

/// The authority by which a request is made.
pub(crate) enum Authority {
    /// The rights that the daemon gives to the calling account.
    Peer,
    /// The rights of an admin, with the reason for the audit log.
    Reason(String),
    /// A user's token, which acts with the rights of that user.
    Token(Hidden),
    /// The token of an admin, with the reason for the audit log.
    TokenWithReason(Hidden, String),
}

impl Authority {
    /// Whether the rights of the calling account decide, and no token.
    pub(crate) fn is_of_account(&self) -> bool {
        !matches!(self, Self::Token(_) | Self::TokenWithReason(..))
    }

    /// Returns the authority that the flag `--reason` selects.
    pub(crate) fn with_reason(reason: Option<String>) -> Self {
        reason.map_or(Self::Peer, Self::Reason)
    }
}

/// A request that has not been sent yet.
pub(crate) struct Call<'a> {
    pub method: Method,
    /// Path with `/v1`, and query, both percent-encoded.
    pub path: String,
    pub authority: &'a Authority,
    pub body: Option<Body>,
}

impl<'a> Call<'a> {
    /// Builds a request with the rights of the calling account and without a body.
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), authority: &Authority::Peer, body: None }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::Get, path)
    }

    pub(crate) fn post(path: impl Into<String>) -> Self {
        Self::new(Method::Post, path)
    }

    pub(crate) fn put(path: impl Into<String>) -> Self {
        Self::new(Method::Put, path)
    }

    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::Delete, path)
    }

    /// The right that the request needs, if it has no token, so that the rights of the calling account decide.
    pub(crate) fn needed(&self) -> Option<Needed> {
        self.authority.is_of_account().then(|| Needed::by(&self.path))
    }

    #[must_use]
    pub(crate) fn by(self, authority: &'a Authority) -> Self {
        Self { authority, ..self }
    }

    #[must_use]
    pub(crate) fn with(self, body: Body) -> Self {
        Self { body: Some(body), ..self }
    }
}

/// Percent-encodes a path segment or a query value.
pub(crate) fn segment(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// A piece of the copy of a body that may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Text that is no secret.
    Plain(String),
    /// The name of a shell variable in place of a secret, such as `$PASSWORD`.
    Secret(&'static str),
}

/// A JSON object under construction, in two copies: one to send, and one to show.
pub(crate) struct Body {
    wire: Zeroizing<Vec<u8>>,
    shown: Vec<Piece>,
}

impl Body {
    /// Starts an object without members.
    pub(crate) fn new() -> Self {
        let mut wire = Zeroizing::new(Vec::with_capacity(BODY_ROOM));
        wire.push(b'{');
        Self { wire, shown: vec![Piece::Plain("{".to_owned())] }
    }

    /// Adds a member that is no secret.
    #[must_use]
    pub(crate) fn member(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.name(name);
        let value = value.into().to_string();
        self.wire.extend_from_slice(value.as_bytes());
        append(&mut self.shown, &value);
        self
    }

    /// Adds a member that holds secrets, as JSON, shown as `placeholder` (with its dollar sign).
    #[must_use]
    pub(crate) fn secret_json(mut self, name: &str, json: &[u8], placeholder: &'static str) -> Self {
        self.name(name);
        self.wire.extend_from_slice(json);
        self.shown.push(Piece::Secret(placeholder));
        self
    }

    /// Adds a member that is no secret, if there is a value.
    #[must_use]
    pub(crate) fn optional(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.member(name, value),
            None => self,
        }
    }

    /// Adds a secret member, shown as `placeholder` (with its dollar sign).
    #[must_use]
    pub(crate) fn secret(mut self, name: &str, value: &Hidden, placeholder: &'static str) -> Self {
        self.name(name);
        // Cannot fail: every text can be written as JSON, and a vector accepts every write.
        let _written = serde_json::to_writer(&mut *self.wire, value.as_str());
        append(&mut self.shown, "\"");
        self.shown.push(Piece::Secret(placeholder));
        append(&mut self.shown, "\"");
        self
    }

    /// Returns the complete JSON object to send.
    pub(crate) fn into_wire(mut self) -> Zeroizing<Vec<u8>> {
        self.wire.push(b'}');
        self.wire
    }

    /// Returns the copy to show, with placeholders in place of secrets.
    pub(crate) fn shown(&self) -> Vec<Piece> {
        let mut shown = self.shown.clone();
        append(&mut shown, "}");
        shown
    }

    fn name(&mut self, name: &str) {
        let comma = if self.wire.len() > 1 { "," } else { "" };
        let name = format!("{comma}\"{name}\":");
        self.wire.extend_from_slice(name.as_bytes());
        append(&mut self.shown, &name);
    }
}

fn append(shown: &mut Vec<Piece>, text: &str) {
    match shown.last_mut() {
        Some(Piece::Plain(before)) => before.push_str(text),
        Some(Piece::Secret(_)) | None => shown.push(Piece::Plain(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_json_with_the_secret() {
        let secret = Hidden::new("a\"\n\u{1f511}".to_owned());
        let body = Body::new()
            .member("id", "ann")
            .optional("email", None::<&str>)
            .secret("password", &secret, "$PASSWORD")
            .member("version", 3);

        let sent: Value = serde_json::from_slice(&body.into_wire()).unwrap();

        assert_eq!(sent, serde_json::json!({"id": "ann", "password": "a\"\n\u{1f511}", "version": 3}));
    }

    #[test]
    fn what_is_shown_has_the_place_of_the_secret_only() {
        let body = Body::new().member("id", "ann").secret("password", &Hidden::new("hunter2".to_owned()), "$PASSWORD");

        let plain = |text: &str| Piece::Plain(text.to_owned());
        let expected = [plain(r#"{"id":"ann","password":""#), Piece::Secret("$PASSWORD"), plain("\"}")];
        assert_eq!(body.shown(), expected);
    }

    #[test]
    fn a_segment_stays_one_segment() {
        assert_eq!(segment("../a b?c"), "..%2Fa%20b%3Fc");
        assert_eq!(segment("0190-ab"), "0190-ab");
    }
}

//! One request to the daemon as a value: what is sent, and beside it what may be shown of it.

use mfad_client::Method;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::secret_text::Hidden;

/// All that may not stand in one segment of a path or one value of a query (RFC 3986, section 3.3).
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
/// Room for a body, so that it never grows and leaves copies behind: a password of 1024 bytes, each
/// escaped to six, and the rest.
const BODY_ROOM: usize = 8192;

/// By which right a request is made.
pub(crate) enum Authority {
    /// The rights of the calling account.
    Peer,
    /// The same, as an admin who says why.
    Reason(String),
    /// A token of a user.
    Token(Hidden),
}

impl Authority {
    /// The right that the flag `--reason` gives.
    pub(crate) fn with_reason(reason: Option<String>) -> Self {
        reason.map_or(Self::Peer, Self::Reason)
    }
}

/// A request.
pub(crate) struct Call<'a> {
    /// Method.
    pub method: Method,
    /// Path and query, under `/v1`.
    pub path: String,
    /// By which right.
    pub authority: &'a Authority,
    /// What is sent along.
    pub body: Option<Body>,
}

impl<'a> Call<'a> {
    /// A request by the rights of the calling account.
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), authority: &Authority::Peer, body: None }
    }

    /// Reads.
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::Get, path)
    }

    /// Asks for a deed.
    pub(crate) fn post(path: impl Into<String>) -> Self {
        Self::new(Method::Post, path)
    }

    /// Changes.
    pub(crate) fn put(path: impl Into<String>) -> Self {
        Self::new(Method::Put, path)
    }

    /// Deletes.
    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::Delete, path)
    }

    /// With this right.
    #[must_use]
    pub(crate) fn by(self, authority: &'a Authority) -> Self {
        Self { authority, ..self }
    }

    /// With this body.
    #[must_use]
    pub(crate) fn with(self, body: Body) -> Self {
        Self { body: Some(body), ..self }
    }
}

/// One segment of a path or one value of a query.
pub(crate) fn segment(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// A piece of a text that may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// As it is.
    Plain(String),
    /// The place of a secret, as a shell variable.
    Secret(&'static str),
}

/// A JSON object under construction, in two copies: one to send, one to show.
pub(crate) struct Body {
    wire: Zeroizing<Vec<u8>>,
    shown: Vec<Piece>,
}

impl Body {
    /// No members yet.
    pub(crate) fn new() -> Self {
        let mut wire = Zeroizing::new(Vec::with_capacity(BODY_ROOM));
        wire.push(b'{');
        Self { wire, shown: vec![Piece::Plain("{".to_owned())] }
    }

    /// A member that is no secret.
    #[must_use]
    pub(crate) fn member(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.name(name);
        let value = value.into().to_string();
        self.wire.extend_from_slice(value.as_bytes());
        append(&mut self.shown, &value);
        self
    }

    /// The same, if there is a value.
    #[must_use]
    pub(crate) fn optional(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.member(name, value),
            None => self,
        }
    }

    /// A secret member, shown as `placeholder` (with its dollar sign).
    #[must_use]
    pub(crate) fn secret(mut self, name: &str, value: &Hidden, placeholder: &'static str) -> Self {
        self.name(name);
        // A text is always JSON and a vector takes every write.
        let _written = serde_json::to_writer(&mut *self.wire, value.as_str());
        append(&mut self.shown, "\"");
        self.shown.push(Piece::Secret(placeholder));
        append(&mut self.shown, "\"");
        self
    }

    /// The bytes to send.
    pub(crate) fn into_wire(mut self) -> Zeroizing<Vec<u8>> {
        self.wire.push(b'}');
        self.wire
    }

    /// What may be shown.
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

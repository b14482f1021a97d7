//! A request as a value, and its head as bytes.

use std::fmt;

use mfad_api::SecretString;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::Error;

/// Initial capacity of a buffer. A buffer that grows would leave copies of secrets in freed memory.
const BODY_ROOM: usize = 8192;

/// The HTTP methods of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads, and changes nothing.
    Get,
    /// Creates an object, or performs an action.
    Post,
    /// Changes an existing object.
    Put,
    /// Deletes an existing object.
    Delete,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        })
    }
}

/// The authority by which a request is made.
pub enum Authority {
    /// The rights that the daemon's configuration gives to the calling process.
    Peer,
    /// The rights of an administrator, with the reason for the audit log (`Mfad-Reason`).
    Reason(String),
    /// A token of a user, or an API key (`Authorization`).
    Token(SecretString),
    /// A token of an administrator, with the reason for the audit log.
    TokenWithReason(SecretString, String),
}

const REASON: &[u8] = b"mfad-reason: ";
const REASON_RULE: &str = "a reason has no control characters";
const TOKEN: &[u8] = b"authorization: jwt ";
const TOKEN_RULE: &str = "a token has no control characters";

/// A request to the API.
pub struct Request<'a> {
    /// The HTTP method.
    pub method: Method,
    /// The path with `/v1`, and the query, both percent-encoded.
    pub path: &'a str,
    /// The authority, which becomes a header field.
    pub authority: &'a Authority,
    /// The JSON body; `None` sends no body.
    pub body: Option<Zeroizing<Vec<u8>>>,
}

impl<'a> Request<'a> {
    /// Builds a request with the rights of the calling process and without a body.
    pub fn new(method: Method, path: &'a str) -> Self {
        Self { method, path, authority: &Authority::Peer, body: None }
    }

    /// Sets the authority, which is [`Authority::Peer`] by default.
    #[must_use]
    pub fn by(self, authority: &'a Authority) -> Self {
        Self { authority, ..self }
    }

    /// Sets the body. Fails if it cannot be written as JSON.
    pub fn with(self, body: &impl Serialize) -> Result<Self, Error> {
        let mut json = Zeroizing::new(Vec::with_capacity(BODY_ROOM));
        serde_json::to_writer(&mut *json, body).map_err(|_| Error::Usage("the body cannot be written as JSON"))?;
        Ok(Self { body: Some(json), ..self })
    }

    /// Writes the head of the request. Refuses text that could end a header field.
    pub(crate) fn head(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        if self.path.is_empty() || !self.path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::Usage("a path has no blanks, no control characters and only ASCII; percent-encode it"));
        }
        let mut head = Zeroizing::new(Vec::with_capacity(BODY_ROOM));
        let method = self.method;
        head.extend_from_slice(format!("{method} {} HTTP/1.1\r\n", self.path).as_bytes());
        head.extend_from_slice(b"host: mfad\r\naccept: application/json\r\n");
        match self.authority {
            Authority::Peer => {}
            Authority::Reason(reason) => field(&mut head, REASON, reason, REASON_RULE)?,
            Authority::Token(token) => field(&mut head, TOKEN, token.as_str(), TOKEN_RULE)?,
            Authority::TokenWithReason(token, reason) => {
                field(&mut head, TOKEN, token.as_str(), TOKEN_RULE)?;
                field(&mut head, REASON, reason, REASON_RULE)?;
            }
        }
        if let Some(body) = &self.body {
            let length = format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
            head.extend_from_slice(length.as_bytes());
        } else if self.method != Method::Get {
            head.extend_from_slice(b"content-length: 0\r\n");
        }
        head.extend_from_slice(b"\r\n");
        Ok(head)
    }
}

fn field(head: &mut Zeroizing<Vec<u8>>, name: &[u8], value: &str, why: &'static str) -> Result<(), Error> {
    // RFC 9110 section 5.5: a line break in a value would start another field.
    if value.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(Error::Usage(why));
    }
    head.extend_from_slice(name);
    head.extend_from_slice(value.as_bytes());
    head.extend_from_slice(b"\r\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_its_host_and_length() {
        let request = Request::new(Method::Post, "/v1/users").with(&["x"]).unwrap();

        let head = String::from_utf8(request.head().unwrap().to_vec()).unwrap();

        assert!(head.starts_with("POST /v1/users HTTP/1.1\r\nhost: mfad\r\n"), "{head}");
        assert!(head.contains("\r\ncontent-length: 5\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    }

    #[test]
    fn text_that_would_add_a_header_field_is_refused() {
        let reason = Authority::Reason("x\r\nauthorization: jwt y".to_owned());

        assert!(Request::new(Method::Get, "/v1/users").by(&reason).head().is_err());
        for path in ["", "/v1/a b", "/v1/\r\nx: y", "/v1/é"] {
            assert!(Request::new(Method::Get, path).head().is_err(), "{path:?}");
        }
    }
}

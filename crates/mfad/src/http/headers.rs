//! Reads the header fields of a request: each known one at most once, and in its expected form. It does not know what a
//! route does with them.

use hyper::Uri;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};

use mfad_core::model::{Sensitive, Text};

use super::problem::Problem;
use super::route::Basic;

/// Reason of an administrator for an operation, which goes into the audit log.
pub(super) const REASON: HeaderName = HeaderName::from_static("mfad-reason");
/// Id of the last event that a client has seen; an event stream resumes after it.
pub(super) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Longest reason in characters.
const LONGEST_REASON: usize = 256;
/// Longest idempotency key in characters.
const LONGEST_KEY: usize = 64;

/// Credentials and reason from the headers of a request.
pub(super) struct Credentials {
    /// Text of a token, not verified; empty if `Authorization` holds nothing that this route accepts.
    pub token: Option<Sensitive<String>>,
    /// Login and password of the Basic scheme (RFC 7617), on routes that accept it.
    pub basic: Option<Basic>,
    /// Reason that an administrator gives for the operation.
    pub reason: Option<Text>,
}

/// Refuses a request that two parsers could take for requests to different hosts (RFC 9112 sections 3.2 and 3.2.2). Any
/// host name is accepted: there is only one host here, and a proxy passes on any name.
pub(super) fn check_host(target: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let mut values = headers.get_all(header::HOST).iter();
    let Some(host) = values.next() else { return Err(Problem::malformed("HTTP/1.1 requires the header `Host`")) };
    if values.next().is_some() {
        return Err(Problem::malformed("the header `Host` is duplicated"));
    }
    let Some(host) = host.to_str().ok().filter(|host| is_host(host)) else {
        return Err(Problem::malformed("the header `Host` must be a host name with an optional port"));
    };
    if target.scheme_str().is_some_and(|scheme| !scheme.eq_ignore_ascii_case("http")) {
        return Err(Problem::malformed("the scheme of a request target must be `http`"));
    }
    // Case does not matter in host names.
    if target.authority().is_some_and(|authority| !authority.as_str().eq_ignore_ascii_case(host)) {
        return Err(Problem::malformed("the request target and the header `Host` name different hosts"));
    }
    Ok(())
}

/// Whether the client announces that this is its last request on the connection (RFC 9112 section 9.6).
pub(super) fn asks_to_close(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|option| option.trim().eq_ignore_ascii_case("close"))
}

/// Returns the value of a header that may occur once; `None` if it is absent.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::malformed(format!("the header `{name}` is duplicated")));
    }
    value.to_str().map(Some).map_err(|_| Problem::malformed(format!("the header `{name}` must be visible ASCII")))
}

/// Refuses a body that `Content-Type` does not declare as JSON in UTF-8 (415).
pub(super) fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let text = single(headers, &header::CONTENT_TYPE)?.unwrap_or_default();
    let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
    let parameters = parameters.trim();
    let is_utf8 = parameters.is_empty()
        || parameters.eq_ignore_ascii_case("charset=utf-8")
        || parameters.eq_ignore_ascii_case("charset=\"utf-8\"");
    if essence.trim().eq_ignore_ascii_case("application/json") && is_utf8 {
        Ok(())
    } else {
        Err(Problem::unsupported_media_type())
    }
}

/// Reads `Authorization` and the reason. A value that this route does not accept counts as a token that no route
/// accepts. So a caller who tried to authenticate as a user is never served with the rights of its peer alone.
pub(super) fn credentials(headers: &HeaderMap, takes_basic: bool) -> Result<Credentials, Problem> {
    let mut found = Credentials { token: None, basic: None, reason: reason(headers)? };
    if !headers.contains_key(header::AUTHORIZATION) {
        return Ok(found);
    }
    // A duplicated header is as unusable as a malformed one.
    let text = single(headers, &header::AUTHORIZATION).ok().flatten().unwrap_or_default();
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    let rest = rest.trim();
    if takes_basic && scheme.eq_ignore_ascii_case("basic") {
        found.basic = Basic::decode(rest);
    }
    let is_token = scheme.eq_ignore_ascii_case("jwt") || scheme.eq_ignore_ascii_case("bearer");
    if is_token || found.basic.is_none() {
        found.token = Some(Sensitive::new(if is_token { rest.to_owned() } else { String::new() }));
    }
    Ok(found)
}

/// Reads the reason, which must be printable ASCII: it goes into the audit log, and field values have no declared
/// encoding (RFC 9110 section 5.5), so a proxy could read other text differently.
fn reason(headers: &HeaderMap) -> Result<Option<Text>, Problem> {
    let mut values = headers.get_all(&REASON).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::malformed("the header `Mfad-Reason` is duplicated"));
    }
    let is_printable = |text: &&str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let text = std::str::from_utf8(value.as_bytes()).ok().filter(is_printable);
    let text = text.and_then(|text| Text::parse(text, LONGEST_REASON).ok());
    text.map(Some).ok_or_else(|| Problem::malformed("`Mfad-Reason` must have 1 to 256 characters of printable ASCII"))
}

/// Returns the idempotency key, under which the response is kept; `None` if the request has none.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(key) = single(headers, &IDEMPOTENCY_KEY)? else { return Ok(None) };
    if (1..=LONGEST_KEY).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(Some(key.to_owned()))
    } else {
        Err(Problem::malformed("`Idempotency-Key` must have 1 to 64 visible ASCII characters"))
    }
}

/// Returns the value of a header as bytes; empty if it is absent.
pub(super) fn bytes_of(headers: &HeaderMap, name: HeaderName) -> &[u8] {
    headers.get(name).map_or(&[], HeaderValue::as_bytes)
}

/// Whether the text is `uri-host [ ":" port ]` of RFC 9110 section 7.2, or empty.
fn is_host(text: &str) -> bool {
    let (is_named, port) = match text.strip_prefix('[') {
        Some(literal) => {
            let Some((address, port)) = literal.split_once(']') else { return false };
            (!address.is_empty() && address.bytes().all(|byte| byte == b':' || is_name_byte(byte)), port)
        }
        None => {
            let (name, port) = text.split_at_checked(text.find(':').unwrap_or(text.len())).unwrap_or((text, ""));
            (is_name(name), port)
        }
    };
    let is_port = |port: &str| port.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    is_named && (port.is_empty() || is_port(port))
}

/// Whether the text is a `reg-name` of RFC 3986 section 3.2.2.
fn is_name(text: &str) -> bool {
    let mut parts = text.split('%');
    let before = parts.next().unwrap_or_default();
    let is_encoded = |part: &str| {
        part.split_at_checked(2).is_some_and(|(digits, rest)| {
            digits.bytes().all(|byte| byte.is_ascii_hexdigit()) && rest.bytes().all(is_name_byte)
        })
    };
    before.bytes().all(is_name_byte) && parts.all(is_encoded)
}

/// Whether the byte is in `unreserved` or `sub-delims` of RFC 3986 section 2.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &[u8])]) -> HeaderMap {
        fields
            .iter()
            .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap()))
            .collect()
    }

    fn host_of(target: &str, hosts: &[&str]) -> Result<(), String> {
        let fields: Vec<(&'static str, &[u8])> = hosts.iter().map(|host| ("host", host.as_bytes())).collect();
        check_host(&target.parse().unwrap(), &headers(&fields)).map_err(|problem| problem.detail)
    }

    #[test]
    fn any_one_well_formed_host_is_taken() {
        for host in [
            "mfad",
            "localhost",
            "",
            "mfad.example.org:8080",
            "127.0.0.1",
            "[::1]",
            "[::1]:80",
            "mfad:",
            "a%20b",
            "x_y",
        ] {
            assert_eq!(host_of("/users", &[host]), Ok(()), "{host}");
        }
    }

    #[test]
    fn a_host_that_is_missing_doubled_or_none_is_refused() {
        for hosts in [
            vec![],
            vec!["mfad", "mfad"],
            vec!["mfad", "other"],
            vec!["", ""],
            vec!["anna@mfad"],
            vec!["mfad/users"],
            vec!["mfad, other"],
            vec!["mfad:80:80"],
            vec!["mfad:port"],
            vec!["[::1"],
            vec!["[]"],
            vec!["[::1]x"],
            vec!["a%2"],
            vec!["a%zz"],
            vec!["http://mfad"],
        ] {
            assert!(host_of("/users", &hosts).is_err(), "{hosts:?}");
        }
    }

    #[test]
    fn a_whole_url_as_target_names_the_host_of_the_header_over_http() {
        for (target, host) in [
            ("http://mfad/users", "mfad"),
            ("http://MFAD/users", "mfad"),
            ("http://mfad:80/users?limit=1", "mfad:80"),
            ("HTTP://mfad/", "mfad"),
        ] {
            assert_eq!(host_of(target, &[host]), Ok(()), "{target}");
        }
        for (target, host) in [
            ("http://other/users", "mfad"),
            ("http://mfad/users", ""),
            ("http://mfad:81/users", "mfad"),
            ("https://mfad/users", "mfad"),
            ("ftp://mfad/users", "mfad"),
            ("http://anna@mfad/users", "mfad"),
            ("http://anna@mfad/users", "anna@mfad"),
            ("other:80", "mfad"),
        ] {
            assert!(host_of(target, &[host]).is_err(), "{target}");
        }
    }

    #[test]
    fn a_reason_is_printable_ascii_and_comes_once() {
        let read = |values: &[&[u8]]| {
            let fields: Vec<_> = values.iter().map(|value| ("mfad-reason", *value)).collect();
            credentials(&headers(&fields), false).map(|found| found.reason).map_err(|problem| problem.detail)
        };

        assert_eq!(read(&[]), Ok(None));
        for good in ["a", "lost phone (ticket 7)", "~!\"#", &"x".repeat(256)] {
            assert_eq!(read(&[good.as_bytes()]).unwrap().unwrap().as_str(), good);
        }
        for odd in [
            vec![b"a".as_slice(), b"a"],
            vec![b"a".as_slice(), b""],
            vec!["Übergabe".as_bytes()],
            vec![b"na\xefve".as_slice()],
            vec!["😀".as_bytes()],
            vec![b"a\tb".as_slice()],
            vec![b"".as_slice()],
            vec![[b'x'; 257].as_slice()],
        ] {
            assert!(read(&odd).unwrap_err().contains("Mfad-Reason"), "{odd:?}");
        }
    }

    #[test]
    fn a_caller_asks_to_close_with_the_option_in_any_spelling_and_place() {
        for value in ["close", "Close", "keep-alive, close", "x ,  CLOSE"] {
            assert!(asks_to_close(&headers(&[("connection", value.as_bytes())])), "{value}");
        }
        assert!(asks_to_close(&headers(&[("connection", b"keep-alive".as_slice()), ("connection", b"close")])));
        for value in ["keep-alive", "", "closed", "upgrade"] {
            assert!(!asks_to_close(&headers(&[("connection", value.as_bytes())])), "{value}");
        }
        assert!(!asks_to_close(&headers(&[])));
    }
}

//! Builds responses: status, header fields and body. Every response passes through [`stamp`] or is built by
//! [`raw_answer`], so that no header can be forgotten.

use http_body_util::{Either, Full};
use hyper::body::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode};

use mfad_core::model::Moment;

use super::clock::http_date;
use super::events::EventStream;
use super::idempotency::Kept;
use super::problem::Problem;
use super::stream::ANNOUNCED;
use super::ui;

/// The media type of most responses.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// The media type of a backup.
pub(super) const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");
/// The media type of server-sent events.
pub(super) const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
const PROMETHEUS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
/// Header with the request id, which the journal and the audit log have too.
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
/// The version prefix of paths, which a client may leave out.
const VERSION: &str = "/v1";

/// The body of a response: complete bytes or a stream.
pub(super) type AnswerBody = Either<Full<Bytes>, EventStream>;
/// A response for the HTTP library.
pub(super) type Answer = Response<AnswerBody>;

/// Builds a response whose body is complete.
pub(super) fn plain_answer(status: StatusCode, content_type: HeaderValue, body: Vec<u8>) -> Answer {
    answer(status, content_type, Either::Left(Full::new(Bytes::from(body))))
}

/// Builds a response with any body. No cache may store it.
pub(super) fn answer(status: StatusCode, content_type: HeaderValue, body: AnswerBody) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, content_type);
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// Builds the response to a call that was carried out. `path` is that of the request: `Location` begins with `/v1` if
/// it does.
pub(super) fn kept_answer(kept: Kept, path: &str) -> Answer {
    let content_type = if kept.is_metrics { PROMETHEUS } else { JSON };
    let mut answer = plain_answer(kept.status, content_type, kept.body);
    if kept.status == StatusCode::NO_CONTENT {
        answer.headers_mut().remove(header::CONTENT_TYPE);
    }
    let location = kept.location.map(|location| format!("{}{location}", version_of(path)));
    if let Some(location) = location.and_then(|location| HeaderValue::try_from(location).ok()) {
        answer.headers_mut().insert(header::LOCATION, location);
    }
    answer
}

/// Builds the response to a refused request, with the header fields that belong to its status.
pub(super) fn problem_answer(problem: &Problem, id: &str) -> Answer {
    let mut answer = plain_answer(problem.status, PROBLEM, problem.body(id));
    let headers = answer.headers_mut();
    if let Some(allow) = problem.allow.as_deref().and_then(|a| HeaderValue::try_from(a).ok()) {
        headers.insert(header::ALLOW, allow);
    }
    if let Some(seconds) = problem.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(challenge) = problem.challenge {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    answer
}

/// Builds the response with a file of the self-service page.
pub(super) fn page_answer(file: ui::File, method: &Method) -> Result<Answer, Problem> {
    if *method != ui::METHOD {
        return Err(Problem::method_not_allowed(ui::METHOD.as_str().to_owned()));
    }
    let mut answer = plain_answer(StatusCode::OK, file.media_type, file.contents.into_owned());
    ui::guard(answer.headers_mut());
    Ok(answer)
}

/// Builds the redirect from `/ui` to the self-service page.
pub(super) fn ui_redirect() -> Answer {
    let mut answer = plain_answer(StatusCode::PERMANENT_REDIRECT, ui::TEXT, Vec::new());
    answer.headers_mut().insert(header::LOCATION, ui::HOME);
    ui::guard(answer.headers_mut());
    answer
}

/// Adds the header fields of every response: the request id, `Date`, and how long the connection stays open.
pub(super) fn stamp(answer: &mut Answer, id: &str, now: &Moment, stays_open: bool) {
    let headers = answer.headers_mut();
    if let Ok(id) = HeaderValue::try_from(id) {
        headers.insert(REQUEST_ID, id);
    }
    if let Some(date) = http_date(now).and_then(|date| HeaderValue::try_from(date).ok()) {
        headers.insert(header::DATE, date);
    }
    // `Keep-Alive` is a field about the connection, so RFC 9110 section 7.6.1 wants it named in `Connection`.
    if stays_open {
        headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
        if let Ok(timeout) = HeaderValue::try_from(format!("timeout={}", ANNOUNCED.as_secs())) {
            headers.insert(KEEP_ALIVE, timeout);
        }
    } else {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Builds a final response as bytes, for connections that the HTTP library does not serve or has given up.
pub(super) fn raw_answer(problem: &Problem, id: &str, now: &Moment) -> Vec<u8> {
    let body = problem.body(id);
    let retry = problem.retry_after.map(|s| format!("retry-after: {s}\r\n")).unwrap_or_default();
    let date = http_date(now).map(|date| format!("date: {date}\r\n")).unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\ncache-control: no-store\r\n\
         request-id: {id}\r\n{date}{retry}connection: close\r\n\r\n",
        problem.status.as_u16(),
        problem.status.canonical_reason().unwrap_or("Error"),
        body.len(),
    );
    [head.into_bytes(), body].concat()
}

/// Returns the version prefix of a request's path: `/v1`, or an empty text.
fn version_of(path: &str) -> &'static str {
    if path.strip_prefix(VERSION).is_some_and(|rest| rest.starts_with('/')) { VERSION } else { "" }
}

#[cfg(test)]
mod tests {
    use mfad_service::error::Error;

    use super::super::resource::Resource;
    use super::*;
    use mfad_service::Told;

    const NOW: Moment = Moment { wall_ms: 784_111_777_000, boot_ms: 0, boot: [0; 16] };

    fn text<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
        answer.headers().get(name).map(|value| value.to_str().unwrap())
    }

    #[test]
    fn a_location_is_below_the_version_that_the_request_named() {
        let made = |path: &str| {
            let location = Some("/users/1".to_owned());
            let kept =
                Kept { status: StatusCode::OK, location, is_metrics: false, body: Vec::new(), told: Told::Nothing };
            text(&kept_answer(kept, path), "location").unwrap().to_owned()
        };

        for path in ["/v1/users", "/v1/users/me/secrets", "/v1/users/me/secrets/import"] {
            assert!(Resource::of_path(path).is_some(), "{path}");
            assert_eq!(made(path), "/v1/users/1", "{path}");
        }
        for path in ["/users", "/users/me/secrets", "/users/v1/secrets"] {
            assert_eq!(made(path), "/users/1", "{path}");
        }
    }

    #[test]
    fn an_answer_says_whether_its_connection_stays_open_and_for_how_long() {
        for status in [StatusCode::OK, StatusCode::NOT_FOUND, StatusCode::NO_CONTENT] {
            let mut open = plain_answer(status, JSON, Vec::new());
            let mut last = plain_answer(status, JSON, Vec::new());

            stamp(&mut open, "an-id", &NOW, true);
            stamp(&mut last, "an-id", &NOW, false);

            assert_eq!((text(&open, "connection"), text(&open, "keep-alive")), (Some("keep-alive"), Some("timeout=2")));
            assert_eq!((text(&last, "connection"), text(&last, "keep-alive")), (Some("close"), None));
            for answer in [&open, &last] {
                assert_eq!(text(answer, "request-id"), Some("an-id"));
                assert_eq!(text(answer, "date"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
            }
        }
    }

    #[test]
    fn a_time_that_no_date_can_tell_is_left_out() {
        for wall_ms in [-1, i64::MIN, i64::MAX] {
            let now = Moment { wall_ms, ..NOW };
            let mut answer = plain_answer(StatusCode::OK, JSON, Vec::new());

            stamp(&mut answer, "an-id", &now, true);

            assert_eq!(text(&answer, "date"), None, "{wall_ms}");
            let raw = String::from_utf8(raw_answer(&Problem::busy(), "an-id", &now)).unwrap();
            assert!(!raw.contains("date:"), "{raw}");
        }
    }

    #[test]
    fn a_raw_answer_has_one_id_in_its_header_and_its_body() {
        for problem in [Problem::busy(), Problem::malformed("x"), Problem::from(&Error::NotReady("x"))] {
            let raw = String::from_utf8(raw_answer(&problem, "an-id", &NOW)).unwrap();
            let (head, body) = raw.split_once("\r\n\r\n").unwrap();

            assert!(head.lines().any(|line| line == "request-id: an-id"), "{head}");
            assert!(head.lines().any(|line| line == "date: Sun, 06 Nov 1994 08:49:37 GMT"), "{head}");
            assert!(head.lines().any(|line| line == "connection: close"), "{head}");
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(body["requestId"], "an-id");
        }
    }
}

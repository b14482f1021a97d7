//! Completes a 401: names the authentication scheme of the resource (RFC 9110 section 11.6.1), and says what the
//! request lacked. It never repeats what was sent.

use hyper::StatusCode;
use hyper::header::{self, HeaderMap};
use mfad_api::ErrorCode;

use super::headers::single;
use super::problem::Problem;
use super::resource::Resource;

/// Challenge for login and password, which are UTF-8 (RFC 7617 section 2.1).
const BASIC: &str = "Basic realm=\"mfad\", charset=\"UTF-8\"";
/// Challenge for a token (RFC 6750 section 3).
const BEARER: &str = "Bearer realm=\"mfad\"";

/// Content of the header `Authorization`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    Nothing,
    Basic,
    Token,
    /// Another scheme, a malformed value, or a duplicated header.
    Other,
}

/// Adds the challenge of the resource to a 401, and says what is missing. Returns other problems unchanged.
pub(super) fn explained(problem: Problem, path: &str, headers: &HeaderMap) -> Problem {
    if problem.status != StatusCode::UNAUTHORIZED {
        return problem;
    }
    let takes_password = Resource::of_path(path) == Some(Resource::AuthPassword);
    let challenge = Some(if takes_password { BASIC } else { BEARER });
    // Other codes already say what is wrong, such as `wrong-credentials`.
    let detail = if problem.code == ErrorCode::Unauthenticated {
        lack(takes_password, given(headers)).to_owned()
    } else {
        problem.detail.clone()
    };
    Problem { challenge, detail, ..problem }
}

fn given(headers: &HeaderMap) -> Given {
    if !headers.contains_key(header::AUTHORIZATION) {
        return Given::Nothing;
    }
    let text = single(headers, &header::AUTHORIZATION).ok().flatten().unwrap_or_default();
    let scheme = text.split(' ').next().unwrap_or_default();
    let is = |name: &str| scheme.eq_ignore_ascii_case(name);
    if is("basic") {
        Given::Basic
    } else if is("bearer") || is("jwt") {
        // `jwt` is another name for `Bearer`.
        Given::Token
    } else {
        Given::Other
    }
}

fn lack(takes_password: bool, given: Given) -> &'static str {
    match (takes_password, given) {
        (true, Given::Nothing) => {
            "no credentials were given: send login and password with `Authorization: Basic`, or as JSON with POST"
        }
        (true, Given::Basic) => {
            "the credentials cannot be read: `Authorization: Basic` needs the Base64 of `login:password` in UTF-8"
        }
        (true, Given::Token | Given::Other) => {
            "this path needs login and password: send them with `Authorization: Basic`, or as JSON with POST"
        }
        (false, Given::Nothing) => {
            "no credentials were given: send a token with `Authorization: Bearer`, or use a local account with rights"
        }
        (false, Given::Basic | Given::Other) => {
            "this scheme is not accepted here: send a token with `Authorization: Bearer`, and only once"
        }
        (false, Given::Token) => {
            "a valid token is needed: this one is expired, ended, malformed, of the wrong kind, or of another account"
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use mfad_service::error::Error;

    use super::*;

    fn with(authorization: &[&'static str]) -> HeaderMap {
        authorization.iter().map(|&value| (header::AUTHORIZATION, HeaderValue::from_static(value))).collect()
    }

    fn explain(error: &Error, path: &str, authorization: &[&'static str]) -> Problem {
        explained(Problem::from(error), path, &with(authorization))
    }

    #[test]
    fn a_401_names_the_scheme_that_its_resource_takes() {
        for path in ["/auth/password", "/v1/auth/password"] {
            for error in [Error::Unauthenticated, Error::WrongCredentials] {
                assert_eq!(explain(&error, path, &[]).challenge, Some(BASIC), "{path} {error}");
            }
        }
        for path in ["/auth/totp", "/users/me/secrets/password", "/v1/users/me", "/metrics", "/nowhere"] {
            for error in [Error::Unauthenticated, Error::WrongCredentials, Error::ChallengeEnded, Error::RefreshEnded] {
                assert_eq!(explain(&error, path, &[]).challenge, Some(BEARER), "{path} {error}");
            }
        }
        for error in [Error::NotFound, Error::Forbidden("admin"), Error::Busy] {
            assert_eq!(explain(&error, "/auth/password", &[]).challenge, None, "{error}");
        }
    }

    #[test]
    fn the_detail_says_what_is_missing_and_repeats_nothing() {
        let said = |path, authorization: &[&'static str]| explain(&Error::Unauthenticated, path, authorization).detail;

        for path in ["/auth/password", "/users"] {
            assert!(said(path, &[]).starts_with("no credentials were given"), "{path}");
        }
        assert!(said("/auth/password", &["Basic hunter2"]).starts_with("the credentials cannot be read"));
        assert!(said("/users", &["Bearer hunter2"]).starts_with("a valid token is needed"));
        assert!(said("/users", &["JWT hunter2"]).starts_with("a valid token is needed"));
        for odd in [&["Basic hunter2"][..], &["Negotiate hunter2"], &["hunter2"], &[""], &["Bearer a", "Bearer b"]] {
            assert!(said("/users", odd).starts_with("this scheme is not accepted here"), "{odd:?}");
        }
        for path in ["/auth/password", "/users"] {
            for odd in ["Basic hunter2", "Bearer hunter2", "Digest hunter2", "hunter2"] {
                assert!(!said(path, &[odd]).contains("hunter2"), "{path} {odd}");
            }
        }
    }

    #[test]
    fn a_wrong_password_is_told_as_before() {
        let before = Problem::from(&Error::WrongCredentials).detail;
        let told =
            |authorization: &[&'static str]| explain(&Error::WrongCredentials, "/auth/password", authorization).detail;

        assert_eq!(told(&[]), before);
        for authorization in ["Basic YTpi", "Bearer x", "Digest x"] {
            assert_eq!(told(&[authorization]), before, "{authorization}");
        }
    }
}

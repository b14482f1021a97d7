//! Writes a request as a curl command (`--curl`). The command holds no secret, since it is made of the copy of the body
//! that may be shown.

use std::path::Path;

use crate::call::{Authority, Call, Piece};

/// Returns the command as one line without a newline. Secrets are shell variables: `$PASSWORD`, `$CODE`, `$TOKEN`.
pub(crate) fn line(socket: &Path, call: &Call<'_>) -> String {
    let mut words = vec!["curl".to_owned(), "--unix-socket".to_owned(), quoted(&socket.to_string_lossy())];
    if call.method != mfad_client::Method::Get {
        words.extend(["-X".to_owned(), call.method.to_string()]);
    }
    match call.authority {
        Authority::Peer => {}
        Authority::Reason(reason) => words.extend(with_reason(reason)),
        Authority::Token(_) => words.extend(with_token()),
        Authority::TokenWithReason(_, reason) => words.extend(with_token().into_iter().chain(with_reason(reason))),
    }
    if let Some(body) = &call.body {
        let data: String = body.shown().iter().map(piece).collect();
        words.extend(["-H".to_owned(), quoted("Content-Type: application/json"), "-d".to_owned(), data]);
    }
    words.push(quoted(&format!("http://mfad{}", call.path)));
    words.join(" ")
}

fn with_reason(reason: &str) -> [String; 2] {
    ["-H".to_owned(), quoted(&format!("Mfad-Reason: {reason}"))]
}

fn with_token() -> [String; 2] {
    ["-H".to_owned(), format!("{}\"$TOKEN\"", quoted("Authorization: jwt "))]
}

fn piece(piece: &Piece) -> String {
    match piece {
        Piece::Plain(text) => quoted(text),
        Piece::Secret(variable) => format!("\"{variable}\""),
    }
}

/// Quotes a text as one word of a POSIX shell.
pub(crate) fn quoted(text: &str) -> String {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-:,%@".contains(&byte);
    if !text.is_empty() && text.bytes().all(harmless) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Body;
    use crate::secret_text::Hidden;

    fn socket() -> &'static Path {
        Path::new("/run/mfad/mfad.sock")
    }

    #[test]
    fn a_plain_get_needs_no_quotes() {
        assert_eq!(
            line(socket(), &Call::get("/v1/version")),
            "curl --unix-socket /run/mfad/mfad.sock http://mfad/v1/version"
        );
    }

    #[test]
    fn secrets_are_shell_variables() {
        let token = Authority::Token(Hidden::new("eyJ.secret".to_owned()));
        let code = Hidden::new("021589".to_owned());
        let call =
            Call::put("/v1/users/u/secrets/s/enroll").by(&token).with(Body::new().secret("token", &code, "$CODE"));

        let line = line(socket(), &call);

        assert_eq!(
            line,
            "curl --unix-socket /run/mfad/mfad.sock -X PUT -H 'Authorization: jwt '\"$TOKEN\" \
             -H 'Content-Type: application/json' \
             -d '{\"token\":\"'\"$CODE\"'\"}' http://mfad/v1/users/u/secrets/s/enroll"
        );
        assert!(!line.contains("eyJ") && !line.contains("021589"));
    }

    #[test]
    fn quotes_in_a_reason_do_not_end_the_word() {
        let reason = Authority::Reason("it's $HOME".to_owned());

        let line = line(socket(), &Call::post("/v1/users/u/unlock").by(&reason));

        assert!(line.contains(r"-H 'Mfad-Reason: it'\''s $HOME'"), "{line}");
    }

    #[test]
    fn a_query_is_quoted() {
        assert!(
            line(socket(), &Call::get("/v1/audit?after=1&limit=2")).ends_with("'http://mfad/v1/audit?after=1&limit=2'")
        );
    }
}

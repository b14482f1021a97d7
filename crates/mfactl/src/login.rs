//! `login`, and the login of `--as-user`: the password, then a second factor if the daemon requires one.

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;

use crate::args::Answers;
use crate::call::{Authority, Body, Call};
use crate::cli::LoginArgs;
use crate::client::Answer;
use crate::code::{Code, ask_key, by_key, send_code};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::visible;
use crate::prompt::{PASSWORD, Source};
use crate::secret_text::Hidden;
use mfad_api::AuthToken;

/// The result of a completed login.
pub(crate) struct Login {
    /// From the last response: an access token, or an enrolment token if the user must enrol a factor first.
    pub token: AuthToken,
    /// The password that the daemon accepted.
    pub password: Hidden,
    answer: Answer,
}

/// The claims of an access token that are shown. `iat` and `exp` are Unix seconds. They are not verified here, since
/// nothing is decided by them.
#[derive(Debug, Deserialize)]
pub(crate) struct Claims {
    pub iat: i64,
    pub exp: i64,
    #[serde(default)]
    pub amr: Vec<String>,
    #[serde(default)]
    pub auth_time: Option<i64>,
}

pub(crate) async fn run(context: &mut Context, args: &LoginArgs) -> Result<(), Failure> {
    args.proof.pin.check(args.proof.device)?;
    let answers = Answers {
        recovery: args.proof.recovery,
        device: args.proof.device,
        password: args.password.source(),
        wanted: PASSWORD,
        code: args.proof.code.source(),
        pin: args.proof.pin.source(),
    };
    let login = log_in(context, &args.user, &answers).await?;
    let told = tell(context, args, &login);
    if !args.show_token && !context.out.is_json() && login.token.kind == "ACCESS" {
        // The token was not printed, so its session is of no use to the user.
        log_out(context, &Authority::Token(login.token.token.into_inner())).await;
    }
    told
}

/// Logs in. `id` is a name, an email address or a uid.
pub(crate) async fn log_in(context: &mut Context, id: &str, answers: &Answers) -> Result<Login, Failure> {
    let from_stdin =
        [&answers.password, &answers.code, &answers.pin].into_iter().filter(|from| **from == Source::Stdin);
    if from_stdin.count() > 1 {
        return Err(Failure::Usage(
            "only one secret can come from standard input; use files for the others".to_owned(),
        ));
    }
    let password = context.prompter.secret_of(answers.wanted, &answers.password, Some(&visible(id))).await?;
    let body = Body::new().member("id", id).secret("password", &password, "$PASSWORD");
    let answer = context.client.ask(Call::post("/v1/auth/password").with(body)).await?;
    let token: AuthToken = answer.read()?;
    if token.kind != "CHALLENGE" {
        return Ok(Login { token, password, answer });
    }
    let challenge = Authority::Token(token.token.into_inner());
    let answer = if answers.device {
        ask_key(context, || Call::post("/v1/auth/mfa").by(&challenge), by_key, &answers.pin).await?
    } else {
        second_step(context, &challenge, answers).await?
    };
    Ok(Login { token: answer.read()?, password, answer })
}

/// Ends the session of a token. Errors are ignored: the session may have ended already, and it expires by itself.
pub(crate) async fn log_out(context: &mut Context, token: &Authority) {
    let _already_ended = context.client.send(Call::post("/v1/auth/logout").by(token)).await;
}

async fn second_step(context: &mut Context, challenge: &Authority, answers: &Answers) -> Result<Answer, Failure> {
    let call = |code: &Code| {
        let path = match code {
            Code::Token(_) => "/v1/auth/totp",
            Code::Backup(_) => "/v1/auth/recovery",
        };
        Call::post(path).by(challenge).with(code.body())
    };
    send_code(context, answers.recovery, &answers.code, call).await
}

fn tell(context: &Context, args: &LoginArgs, login: &Login) -> Result<(), Failure> {
    let (out, token) = (context.out, &login.token);
    if out.is_json() {
        return out.document(login.answer.text());
    }
    if out.is_quiet() {
        return if args.show_token { out.line(&visible(token.token.as_str())) } else { Ok(()) };
    }
    let mut pairs = vec![("user", args.user.clone()), ("uid", token.user_uid.clone().unwrap_or_default())];
    if let Some(claims) = claims(token.token.as_str()) {
        pairs.push(("at", moment(claims.iat)));
        pairs.push(("proved", proved(&claims.amr)));
        if args.show_token {
            pairs.push(("until", moment(claims.exp)));
        }
    } else {
        pairs.push(("for", format!("{} s", token.expires_in)));
    }
    if args.show_token {
        pairs.push(("token", token.token.as_str().to_owned()));
        pairs.extend(token.refresh.iter().map(|refresh| ("refresh", refresh.as_str().to_owned())));
    }
    if let Some(left) = token.remaining {
        pairs.push(("backup codes left", left.to_string()));
    }
    out.pairs(&pairs)?;
    if !args.show_token && token.kind == "ACCESS" {
        out.note("the login works; its session was ended again (--show-token keeps it)")?;
    }
    if let Some(warning) = &token.warning {
        out.note(&visible(warning))?;
    }
    if token.kind == "ENROLL" {
        out.note(&format!(
            "a second factor is required but not enrolled: run mfactl enroll {} --as-user",
            visible(&args.user)
        ))?;
    }
    Ok(())
}

/// What the user proved, from the values of the `amr` claim (RFC 8176 section 2).
pub(crate) fn proved(amr: &[String]) -> String {
    let words = amr.iter().filter_map(|value| match value.as_str() {
        "pwd" => Some("password"),
        "otp" => Some("authenticator code"),
        "kba" => Some("backup code"),
        "hwk" => Some("security key"),
        // They say that there were several proofs, and that somebody was present.
        "mfa" | "user" => None,
        other => Some(other),
    });
    visible(&words.collect::<Vec<_>>().join(", "))
}

/// Reads the claims of a token for show. `None` if it is no signed token.
pub(crate) fn claims(token: &str) -> Option<Claims> {
    let payload = BASE64URL_NOPAD.decode(token.split('.').nth(1)?.as_bytes()).ok()?;
    serde_json::from_slice(&payload).ok()
}

/// A time in RFC 3339.
pub(crate) fn moment(unix_seconds: i64) -> String {
    jiff::Timestamp::from_second(unix_seconds).map_or_else(|_| format!("{unix_seconds} s"), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_claims_of_a_token_are_read_for_show() {
        let token =
            format!("e30.{}.sig", BASE64URL_NOPAD.encode(br#"{"iat":0,"exp":900,"amr":["pwd","otp"],"sub":"x"}"#));

        let claims = claims(&token).unwrap();

        assert_eq!(
            (moment(claims.iat), moment(claims.exp)),
            ("1970-01-01T00:00:00Z".to_owned(), "1970-01-01T00:15:00Z".to_owned())
        );
        assert_eq!(claims.amr, ["pwd", "otp"]);
    }

    #[test]
    fn what_was_proved_is_said_in_words() {
        let words = |amr: &[&str]| proved(&amr.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>());

        assert_eq!(words(&["pwd", "otp", "mfa"]), "password, authenticator code");
        assert_eq!(words(&["pwd", "hwk", "user", "mfa"]), "password, security key");
        assert_eq!(words(&["pwd", "new"]), "password, new");
    }

    #[test]
    fn a_token_that_is_no_jwt_has_no_claims() {
        for odd in ["", "a", "a.b.c", "mfad_xyz", "a.!!.c"] {
            assert!(claims(odd).is_none(), "{odd}");
        }
    }
}

//! `login`, and the login that `--as-user` makes: password, then a code if one is needed.

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;

use crate::call::{Authority, Body, Call};
use crate::cli::LoginArgs;
use crate::client::Answer;
use crate::code::{ANY_CODE, BACKUP_CODE, Code, ask_key, by_key};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::visible;
use crate::prompt::{Hidden, PASSWORD, Source};
use crate::wire::AuthToken;

/// Where the two answers of a login come from.
pub struct Answers {
    /// Ask for a backup code.
    pub recovery: bool,
    /// Let the user's hardware key answer.
    pub device: bool,
    /// The password.
    pub password: Source,
    /// The code.
    pub code: Source,
    /// The PIN of a security key.
    pub pin: Source,
}

/// A finished login.
pub struct Login {
    /// The last answer.
    pub token: AuthToken,
    /// The password that was right.
    pub password: Hidden,
    answer: Answer,
}

/// The claims of a token that are shown. They are not checked: the daemon does that.
#[derive(Debug, Deserialize)]
struct Claims {
    iat: i64,
    exp: i64,
    #[serde(default)]
    amr: Vec<String>,
}

/// `login`.
pub async fn run(context: &mut Context, args: &LoginArgs) -> Result<(), Failure> {
    args.pin.check(args.device)?;
    let answers = Answers {
        recovery: args.recovery,
        device: args.device,
        password: args.password.source(),
        code: args.code.source(),
        pin: args.pin.source(),
    };
    let login = log_in(context, &args.user, &answers).await?;
    let told = tell(context, args, &login);
    if !args.show_token && !context.out.is_json() && login.token.kind == "ACCESS" {
        // Nobody has the token, so its session need not live on.
        log_out(context, &Authority::Token(Hidden::new(login.token.token))).await;
    }
    told
}

/// Logs in. `id` is a name, a mail address or a uid.
pub async fn log_in(context: &mut Context, id: &str, answers: &Answers) -> Result<Login, Failure> {
    let from_stdin =
        [&answers.password, &answers.code, &answers.pin].into_iter().filter(|from| **from == Source::Stdin);
    if from_stdin.count() > 1 {
        return Err(Failure::Usage(
            "only one secret can come from standard input; use files for the others".to_owned(),
        ));
    }
    let password = context.prompter.secret(PASSWORD, &answers.password).await?;
    let body = Body::new().member("id", id).secret("password", &password, "$PASSWORD");
    let answer = context.client.ask(Call::post("/v1/auth/password").with(body)).await?;
    let token: AuthToken = answer.read()?;
    if token.kind != "CHALLENGE" {
        return Ok(Login { token, password, answer });
    }
    let challenge = Authority::Token(Hidden::new(token.token));
    let answer = if answers.device {
        ask_key(context, || Call::post("/v1/auth/mfa").by(&challenge), by_key, &answers.pin).await?
    } else {
        second_step(context, &challenge, answers).await?
    };
    Ok(Login { token: answer.read()?, password, answer })
}

/// Ends a session, if the daemon still knows it.
pub async fn log_out(context: &mut Context, token: &Authority) {
    let _already_ended = context.client.send(Call::post("/v1/auth/logout").by(token)).await;
}

async fn second_step(context: &mut Context, challenge: &Authority, answers: &Answers) -> Result<Answer, Failure> {
    let wanted = if answers.recovery { BACKUP_CODE } else { ANY_CODE };
    loop {
        let code = Code::ask(context, wanted, &answers.code).await?;
        let path = match (&code, answers.recovery) {
            (Code::Token(_), false) => "/v1/auth/totp",
            (Code::Backup(_), _) => "/v1/auth/recovery",
            (Code::Token(_), true) => {
                return Err(Failure::Usage(
                    "that is no backup code; leave --recovery away to use a code of the authenticator".to_owned(),
                ));
            }
        };
        let answer = context.client.send(Call::post(path).by(challenge).with(code.body())).await?;
        match answer.granted() {
            Err(Failure::Refused(problem)) if answers.code == Source::Prompt && problem.may_try_again() => {
                context.out.error(&problem.to_string())
            }
            other => return other,
        }
    }
}

fn tell(context: &Context, args: &LoginArgs, login: &Login) -> Result<(), Failure> {
    let (out, token) = (context.out, &login.token);
    if out.is_json() {
        return out.document(login.answer.text());
    }
    if out.is_quiet() {
        return if args.show_token { out.line(&visible(&token.token)) } else { Ok(()) };
    }
    let mut pairs = vec![("user", args.user.clone()), ("uid", token.user_uid.clone())];
    if let Some(claims) = claims(&token.token) {
        pairs.push(("at", moment(claims.iat)));
        pairs.push(("with", claims.amr.join(", ")));
        pairs.push(("until", moment(claims.exp)));
    } else {
        pairs.push(("for", format!("{} s", token.expires_in)));
    }
    if args.show_token {
        pairs.push(("token", token.token.clone()));
        pairs.extend(token.refresh.iter().map(|refresh| ("refresh", refresh.clone())));
    }
    if let Some(left) = token.remaining {
        pairs.push(("backup codes left", left.to_string()));
    }
    out.pairs(&pairs)?;
    if let Some(warning) = &token.warning {
        out.note(&visible(warning))?;
    }
    if token.kind == "ENROLL" {
        out.note(&format!(
            "a second factor is required here and missing: run mfactl enroll {} --as-user",
            visible(&args.user)
        ))?;
    }
    Ok(())
}

fn claims(token: &str) -> Option<Claims> {
    let payload = BASE64URL_NOPAD.decode(token.split('.').nth(1)?.as_bytes()).ok()?;
    serde_json::from_slice(&payload).ok()
}

fn moment(unix_seconds: i64) -> String {
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
    fn a_token_that_is_no_jwt_has_no_claims() {
        for odd in ["", "a", "a.b.c", "mfad_xyz", "a.!!.c"] {
            assert!(claims(odd).is_none(), "{odd}");
        }
    }
}

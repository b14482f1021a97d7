//! `whoami`, `step-up` and `logout`: what can be done with the token of a login, and what the calling account may do.

use nix::unistd::{User as Account, getuid};
use serde_json::json;

use crate::call::{Authority, Call};
use crate::code::{Code, ask_key, by_key, send_code};
use crate::context::Context;
use crate::failure::Failure;
use crate::login::{Claims, claims, moment, proved};
use crate::output::visible;
use crate::prompt::{Source, Wanted};
use crate::session_args::{LogoutArgs, StepUpArgs, WhoamiArgs};
use mfad_api::{AuthToken, User};

const TOKEN: Wanted =
    Wanted { label: "access token (of mfactl login --show-token)", instead: "use --token-file or --token-stdin" };

/// Each right, with a call that needs it and changes nothing. With the right `pam` alone, an account can ask for itself.
fn probes() -> [(&'static str, String); 4] {
    [
        ("admin", "/v1/key".to_owned()),
        ("app", "/v1/users?limit=1".to_owned()),
        ("audit", "/v1/audit?after=9223372036854775807&limit=1".to_owned()),
        ("pam", format!("/v1/preflight?uid={}", getuid())),
    ]
}

pub(crate) async fn whoami(context: &mut Context, args: &WhoamiArgs) -> Result<(), Failure> {
    match args.token.source() {
        Some(source) => whose_token(context, &source).await,
        None => this_account(context).await,
    }
}

/// Says which account this is to the daemon, and which rights it has. The API has no call for that, so each right is
/// tried.
async fn this_account(context: &mut Context) -> Result<(), Failure> {
    let mut rights = Vec::new();
    for (right, path) in probes() {
        let answer = context.client.send(Call::get(&path)).await?;
        match answer.status {
            200 => rights.push(right),
            401 | 403 => {}
            _ => {
                answer.granted()?;
            }
        }
    }
    let name = Account::from_uid(getuid()).ok().flatten().map(|account| account.name);
    if context.out.is_json() {
        let document = json!({"account": {"uid": getuid().as_raw(), "name": name}, "rights": rights});
        return context.out.document(&document.to_string());
    }
    let rights = if rights.is_empty() { "none".to_owned() } else { rights.join(", ") };
    let account = name.map_or_else(|| format!("uid {}", getuid()), |name| format!("{name} (uid {})", getuid()));
    context.out.pairs(&[("account", account), ("rights", rights)])
}

async fn whose_token(context: &mut Context, source: &Source) -> Result<(), Failure> {
    let token = context.prompter.secret(TOKEN, source).await?;
    let claims = claims(token.as_str());
    let answer = context.client.ask(Call::get("/v1/users/me").by(&Authority::Token(token))).await?;
    if context.out.is_json() {
        return context.out.document(answer.text());
    }
    let user: User = answer.read()?;
    let mut pairs = vec![("user", user.name), ("uid", user.uid)];
    // An API key has no claims.
    if let Some(Claims { auth_time, exp, amr, .. }) = claims {
        pairs.push(("proved", proved(&amr)));
        pairs.extend(auth_time.map(|at| ("at", moment(at))));
        pairs.push(("until", moment(exp)));
    }
    context.out.pairs(&pairs)
}

pub(crate) async fn step_up(context: &mut Context, args: &StepUpArgs) -> Result<(), Failure> {
    args.proof.pin.check(args.proof.device)?;
    let token = context.prompter.secret(TOKEN, &args.token.source().unwrap_or(Source::Prompt)).await?;
    let authority = Authority::Token(token);
    let post = || Call::post("/v1/auth/stepup").by(&authority);
    let answer = if args.proof.device {
        let body = || by_key().member("action", args.action.as_str());
        ask_key(context, post, body, &args.proof.pin.source()).await?
    } else {
        let call = |code: &Code| post().with(code.body().member("action", args.action.as_str()));
        send_code(context, args.proof.recovery, &args.proof.code.source(), call).await?
    };
    if context.out.is_json() {
        return context.out.document(answer.text());
    }
    let fresh: AuthToken = answer.read()?;
    let receipt = fresh.receipt.ok_or_else(|| Failure::Internal("a step-up without a receipt".to_owned()))?;
    if context.out.is_quiet() {
        return context.out.line(&visible(receipt.as_str()));
    }
    let mut pairs = vec![("action", args.action.clone()), ("receipt", receipt.as_str().to_owned())];
    if args.show_token {
        pairs.push(("token", fresh.token.as_str().to_owned()));
    }
    pairs.extend(fresh.remaining.map(|left| ("backup codes left", left.to_string())));
    context.out.pairs(&pairs)?;
    context.out.note("the receipt can be redeemed once, within 5 minutes")
}

pub(crate) async fn log_out(context: &mut Context, args: &LogoutArgs) -> Result<(), Failure> {
    let token = context.prompter.secret(TOKEN, &args.token.source().unwrap_or(Source::Prompt)).await?;
    let answer = context.client.ask(Call::post("/v1/auth/logout").by(&Authority::Token(token))).await?;
    if context.out.is_json() {
        return context.out.document(answer.text());
    }
    context.out.note("the session has ended, with its access and refresh tokens")
}

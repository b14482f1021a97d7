//! `user …`, `passwd`, `unlock` and `verify`: what concerns a user as a whole.

use serde_json::Value;

use crate::acting::{self, Acting, uid_of};
use crate::args::{ActOnUser, UserArg};
use crate::call::{Authority, Body, Call, segment};
use crate::cli::{PasswdArgs, UnlockArgs, UserAddArgs, UserCommand, VerifyArgs};
use crate::code::{ANY_CODE, Code, ask_key, by_key};
use crate::desk::Desk;
use crate::failure::Failure;
use crate::login;
use crate::output::visible;
use crate::prompt::{CURRENT_PASSWORD, Hidden, Source};
use crate::wire::{NewUser, SecretList, User, Verified};

/// `user …`.
pub async fn run(desk: &mut Desk, command: &UserCommand) -> Result<(), Failure> {
    match command {
        UserCommand::Add(args) => add(desk, args).await,
        UserCommand::List => list(desk).await,
        UserCommand::Show(on) => show(desk, on).await,
        UserCommand::Disable(on) => set_disabled(desk, on, true).await,
        UserCommand::Enable(on) => set_disabled(desk, on, false).await,
        UserCommand::Delete(on) => delete(desk, on).await,
    }
}

async fn add(desk: &mut Desk, args: &UserAddArgs) -> Result<(), Failure> {
    let source = args.password_from.source();
    let mut body = Body::new()
        .member("name", args.name.as_str())
        .optional("id", args.id.as_deref())
        .optional("displayName", args.display_name.as_deref())
        .optional("email", args.email.as_deref());
    if args.password || source != Source::Prompt {
        body = body.secret("password", &desk.asker.new_password(&source).await?, "$PASSWORD");
    }
    let answer = desk.client.ask(Call::post("/v1/users").with(body)).await?;
    if desk.out.is_json() {
        return desk.out.document(answer.text());
    }
    let made: NewUser = answer.read()?;
    if let Some(token) = made.token {
        login::log_out(desk, &Authority::Token(Hidden::new(token))).await;
    }
    desk.out.note(&format!("created user {} ({})", visible(&made.user.name), visible(&made.user.uid)))
}

async fn list(desk: &mut Desk) -> Result<(), Failure> {
    if desk.out.is_json() {
        let users = all_documents(desk).await?;
        return desk.out.document(&serde_json::json!({"users": users, "next": null}).to_string());
    }
    let users = acting::all_users(desk).await?;
    let rows: Vec<[String; 5]> = users
        .into_iter()
        .map(|user| {
            [
                user.name,
                user.uid,
                user.mfa,
                if user.disabled { "disabled" } else { "enabled" }.to_owned(),
                user.date_created,
            ]
        })
        .collect();
    desk.out.table(["NAME", "UID", "MFA", "LOGIN", "CREATED"], &rows)
}

async fn all_documents(desk: &mut Desk) -> Result<Vec<Value>, Failure> {
    let mut users = Vec::new();
    let mut after = String::new();
    loop {
        let mut page: Value = desk.client.ask(Call::get(format!("/v1/users?limit=200{after}"))).await?.read()?;
        if let Some(more) = page.get_mut("users").and_then(Value::as_array_mut) {
            users.append(more);
        }
        match page.get("next").and_then(Value::as_str) {
            Some(next) => after = format!("&after={}", segment(next)),
            None => return Ok(users),
        }
    }
}

async fn show(desk: &mut Desk, on: &ActOnUser) -> Result<(), Failure> {
    let acting = Acting::begin(desk, &on.user, &on.acting).await?;
    let answer = desk.client.ask(Call::get(acting.path("")).by(&acting.authority)).await;
    acting.end(desk).await;
    let answer = answer?;
    if desk.out.is_json() {
        return desk.out.document(answer.text());
    }
    let user: User = answer.read()?;
    let none = || "-".to_owned();
    desk.out.pairs(&[
        ("name", user.name),
        ("uid", user.uid),
        ("display name", user.display_name.unwrap_or_else(none)),
        ("email", user.email.unwrap_or_else(none)),
        ("roles", if user.roles.is_empty() { none() } else { user.roles.join(", ") }),
        ("mfa", user.mfa),
        ("login", if user.disabled { "disabled" } else { "enabled" }.to_owned()),
        ("created", user.date_created),
        ("changed", user.date_modified),
    ])
}

async fn set_disabled(desk: &mut Desk, on: &UserArg, disabled: bool) -> Result<(), Failure> {
    let uid = uid_of(desk, &on.user).await?;
    let user: User = desk.client.ask(Call::get(acting::path(&uid, ""))).await?.read()?;
    if disabled {
        desk.asker
            .confirm(format!("disable user {} ({}) and end their sessions?", visible(&user.name), visible(&user.uid)))
            .await?;
    }
    let authority = Authority::with_reason(on.reason.clone());
    let body = Body::new().member("version", user.version).member("disabled", disabled);
    let answer = desk.client.ask(Call::put(acting::path(&uid, "")).by(&authority).with(body)).await?;
    if desk.out.is_json() {
        return desk.out.document(answer.text());
    }
    desk.out.note(&format!("{} user {}", if disabled { "disabled" } else { "enabled" }, visible(&user.name)))
}

async fn delete(desk: &mut Desk, on: &ActOnUser) -> Result<(), Failure> {
    let acting = Acting::begin(desk, &on.user, &on.acting).await?;
    let deleted = delete_as(desk, &acting, &on.user).await;
    acting.end(desk).await;
    deleted
}

async fn delete_as(desk: &mut Desk, acting: &Acting, user: &str) -> Result<(), Failure> {
    desk.asker.confirm(format!("delete user {} ({}) with all secrets?", visible(user), visible(&acting.uid))).await?;
    let answer = desk.client.ask(Call::delete(acting.path("")).by(&acting.authority)).await?;
    if desk.out.is_json() {
        return desk.out.document(answer.text());
    }
    desk.out.note(&format!("deleted user {}", visible(user)))
}

/// `passwd`.
pub async fn passwd(desk: &mut Desk, args: &PasswdArgs) -> Result<(), Failure> {
    let acting = Acting::begin(desk, &args.on.user, &args.on.acting).await?;
    let set = set_password(desk, &acting, args).await;
    acting.end(desk).await;
    set
}

async fn set_password(desk: &mut Desk, acting: &Acting, args: &PasswdArgs) -> Result<(), Failure> {
    let secrets: SecretList =
        desk.client.ask(Call::get(acting.path("/secrets")).by(&acting.authority)).await?.read()?;
    let has_one = secrets.secrets.iter().any(|secret| secret.kind == "password");
    let call = if has_one {
        let current = current_password(desk, acting, args).await?;
        let new = desk.asker.new_password(&args.new.source()).await?;
        let body = Body::new().secret("secret", &new, "$NEW_PASSWORD");
        let body = match &current {
            Some(current) => body.secret("current", current, "$PASSWORD"),
            None => body,
        };
        Call::put(acting.path("/secrets/password")).with(body)
    } else {
        let new = desk.asker.new_password(&args.new.source()).await?;
        Call::post(acting.path("/secrets")).with(Body::new().member("type", "password").secret(
            "secret",
            &new,
            "$NEW_PASSWORD",
        ))
    };
    let answer = desk.client.ask(call.by(&acting.authority)).await?;
    if desk.out.is_json() {
        return desk.out.document(answer.text());
    }
    desk.out.note(&format!("password of {} set; older sessions have ended", visible(&args.on.user)))
}

async fn current_password(desk: &Desk, acting: &Acting, args: &PasswdArgs) -> Result<Option<Hidden>, Failure> {
    if let Some(typed) = &acting.password {
        return Ok(Some(typed.clone()));
    }
    if acting.is_admin_with_reason() {
        return Ok(None);
    }
    let source = Source::chosen(false, args.current_file.as_deref());
    desk.asker.secret(CURRENT_PASSWORD, &source).await.map(Some)
}

/// `unlock`.
pub async fn unlock(desk: &mut Desk, args: &UnlockArgs) -> Result<(), Failure> {
    let uid = uid_of(desk, &args.user).await?;
    let authority = Authority::Reason(args.reason.clone());
    let answer = desk.client.ask(Call::post(acting::path(&uid, "/unlock")).by(&authority)).await?;
    if desk.out.is_json() {
        return desk.out.document(answer.text());
    }
    desk.out.note(&format!("ended the locks and delays of {}", visible(&args.user)))
}

/// `verify`.
pub async fn verify(desk: &mut Desk, args: &VerifyArgs) -> Result<(), Failure> {
    args.pin.check(args.device)?;
    let source = args.code.source();
    let uid = uid_of(desk, &args.user).await?;
    let call = || Call::post(acting::path(&uid, "/verify"));
    let answer = if args.device {
        ask_key(desk, call, by_key, &args.pin.source()).await?
    } else {
        let body = Code::ask(desk, ANY_CODE, &source).await?.body();
        desk.client.ask(call().with(body)).await?
    };
    if desk.out.is_json() {
        return desk.out.document(answer.text());
    }
    let verified: Verified = answer.read()?;
    let at = verified.auth_time.as_str().map_or_else(|| verified.auth_time.to_string(), str::to_owned);
    let text = format!("right code: {} of secret {} at {at}", verified.method, verified.secret_id);
    desk.out.note(&visible(&text))
}

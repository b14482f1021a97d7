//! `user …`, `passwd`, `unlock` and `verify`: commands on a user as a whole.

use serde_json::Value;

use crate::acting::{self, Acting, uid_of};
use crate::args::{ActOnUser, UserArg};
use crate::call::{Authority, Body, Call, segment};
use crate::cli::{PasswdArgs, UnlockArgs, VerifyArgs};
use crate::code::{ANY_CODE, Code, ask_key, by_key};
use crate::context::Context;
use crate::curl::quoted;
use crate::failure::Failure;
use crate::login;
use crate::output::visible;
use crate::prompt::{CURRENT_PASSWORD, LEAST_PASSWORD, Source};
use crate::secret_text::Hidden;
use crate::user_args::{UserAddArgs, UserCommand, UserRenameArgs, UserSetArgs};
use mfad_api::{Lock, NewUser, SecretList, User, Verified};

pub(crate) async fn run(context: &mut Context, command: &UserCommand) -> Result<(), Failure> {
    match command {
        UserCommand::Add(args) => add(context, args).await,
        UserCommand::List => list(context).await,
        UserCommand::Show(on) => show(context, on).await,
        UserCommand::Set(args) => set(context, args).await,
        UserCommand::Rename(args) => rename(context, args).await,
        UserCommand::Disable(on) => set_disabled(context, on, true).await,
        UserCommand::Enable(on) => set_disabled(context, on, false).await,
        UserCommand::Delete(on) => delete(context, on).await,
    }
}

async fn add(context: &mut Context, args: &UserAddArgs) -> Result<(), Failure> {
    let source = args.password_from.source();
    let mut body = Body::new()
        .member("name", args.name.as_str())
        .optional("id", args.id.as_deref())
        .optional("displayName", args.display_name.as_deref())
        .optional("email", args.email.as_deref());
    if args.password || source != Source::Prompt {
        body = body.secret(
            "password",
            &context.prompter.new_password(&source, &visible(&args.name), LEAST_PASSWORD).await?,
            "$PASSWORD",
        );
    }
    let answer = context.client.ask(Call::post("/v1/users").with(body)).await?;
    if context.out.is_json() {
        return context.out.document(answer.text());
    }
    let made: NewUser = answer.read()?;
    // Creating a user with a password also logs them in. An admin has no use for that session.
    if let Some(token) = made.auth.map(|auth| auth.token.into_inner()) {
        login::log_out(context, &Authority::Token(token)).await;
    }
    let name = visible(&made.user.name);
    context.out.note(&format!("created user {name} ({})", visible(&made.user.uid)))?;
    if args.password || source != Source::Prompt {
        return Ok(());
    }
    context.out.note(&format!("{name} has no password and cannot log in yet: mfactl passwd {}", quoted(&name)))
}

async fn list(context: &mut Context) -> Result<(), Failure> {
    if context.out.is_json() {
        let users = all_documents(context).await?;
        return context.out.document(&serde_json::json!({"users": users, "next": null}).to_string());
    }
    let users = acting::all_users(context).await?;
    let rows: Vec<[String; 9]> = users
        .into_iter()
        .map(|user| {
            [
                user.name,
                user.uid,
                user.mfa,
                if user.disabled { "disabled" } else { "enabled" }.to_owned(),
                if context.out.is_short() { lock_word(&user.lock) } else { lock_text(&user.lock) },
                context.out.time(user.date_created),
                context.out.time(user.date_modified),
                user.email.unwrap_or_else(|| "-".to_owned()),
                user.display_name.unwrap_or_else(|| "-".to_owned()),
            ]
        })
        .collect();
    context.out.table(
        ["NAME", "UID", "MFA", "LOGIN", "LOCKED", "CREATED", "CHANGED", "EMAIL", "DISPLAY NAME"],
        &["UID", "CHANGED", "EMAIL", "DISPLAY NAME"],
        rows,
    )
}

/// All users as the daemon's JSON, so that `--json` keeps members that this program does not know.
async fn all_documents(context: &mut Context) -> Result<Vec<Value>, Failure> {
    let mut users = Vec::new();
    let mut after = String::new();
    loop {
        let mut page: Value = context.client.ask(Call::get(format!("/v1/users?limit=200{after}"))).await?.read()?;
        if let Some(more) = page.get_mut("users").and_then(Value::as_array_mut) {
            users.append(more);
        }
        match page.get("next").and_then(Value::as_str) {
            Some(next) => after = format!("&after={}", segment(next)),
            None => return Ok(users),
        }
    }
}

async fn show(context: &mut Context, on: &ActOnUser) -> Result<(), Failure> {
    let acting = Acting::begin(context, &on.user, &on.acting).await?;
    let answer = context.client.ask(Call::get(acting.path("")).by(&acting.authority)).await;
    acting.end(context).await;
    let answer = answer?;
    if context.out.is_json() {
        return context.out.document(answer.text());
    }
    let user: User = answer.read()?;
    let none = || "-".to_owned();
    context.out.pairs(&[
        ("name", user.name),
        ("uid", user.uid),
        ("display name", user.display_name.unwrap_or_else(none)),
        ("email", user.email.unwrap_or_else(none)),
        ("roles", if user.roles.is_empty() { none() } else { user.roles.join(", ") }),
        ("mfa", user.mfa),
        ("login", if user.disabled { "disabled" } else { "enabled" }.to_owned()),
        ("locked", lock_text(&user.lock)),
        ("created", user.date_created),
        ("changed", user.date_modified),
    ])
}

async fn set(context: &mut Context, args: &UserSetArgs) -> Result<(), Failure> {
    // An empty text removes the value, which is `null` in the API.
    let or_null = |text: &String| if text.is_empty() { Value::Null } else { Value::from(text.as_str()) };
    let changes = Body::new()
        .optional("name", args.name.as_deref())
        .optional("displayName", args.display_name.as_ref().map(or_null))
        .optional("email", args.email.as_ref().map(or_null));
    let roles = Roles { added: &args.add_role, removed: &args.remove_role };
    change(context, &args.on, changes, &roles).await
}

/// A change of roles. The API takes the whole new list.
#[derive(Default)]
struct Roles<'a> {
    added: &'a [String],
    removed: &'a [String],
}

impl Roles<'_> {
    /// The new list; `None` if it stays as it is.
    fn applied(&self, present: &[String]) -> Option<Vec<String>> {
        if self.added.is_empty() && self.removed.is_empty() {
            return None;
        }
        let mut roles: Vec<String> = present.iter().filter(|role| !self.removed.contains(role)).cloned().collect();
        roles.extend(self.added.iter().filter(|role| !present.contains(role)).cloned());
        Some(roles)
    }
}

async fn rename(context: &mut Context, args: &UserRenameArgs) -> Result<(), Failure> {
    change(context, &args.on, Body::new().member("name", args.name.as_str()), &Roles::default()).await
}

async fn change(context: &mut Context, on: &ActOnUser, changes: Body, roles: &Roles<'_>) -> Result<(), Failure> {
    let acting = Acting::begin(context, &on.user, &on.acting).await?;
    let changed = change_as(context, &acting, changes, roles).await;
    acting.end(context).await;
    changed
}

async fn change_as(context: &mut Context, acting: &Acting, changes: Body, roles: &Roles<'_>) -> Result<(), Failure> {
    let user: User = context.client.ask(Call::get(acting.path("")).by(&acting.authority)).await?.read()?;
    let body = changes.optional("roles", roles.applied(&user.roles)).member("version", user.version);
    let answer = context.client.ask(Call::put(acting.path("")).by(&acting.authority).with(body)).await?;
    if context.out.is_json() {
        return context.out.document(answer.text());
    }
    let changed: User = answer.read()?;
    context.out.note(&visible(&format!("changed user {} ({})", changed.name, changed.uid)))
}

async fn set_disabled(context: &mut Context, on: &UserArg, disabled: bool) -> Result<(), Failure> {
    let uid = uid_of(context, &on.user).await?;
    let user: User = context.client.ask(Call::get(acting::path(&uid, ""))).await?.read()?;
    if disabled {
        context
            .prompter
            .confirm(format!("disable user {} ({}) and end their sessions?", visible(&user.name), visible(&user.uid)))
            .await?;
    }
    let authority = Authority::with_reason(on.reason.clone());
    let body = Body::new().member("version", user.version).member("disabled", disabled);
    let answer = context.client.ask(Call::put(acting::path(&uid, "")).by(&authority).with(body)).await?;
    if context.out.is_json() {
        return context.out.document(answer.text());
    }
    context.out.note(&format!("{} user {}", if disabled { "disabled" } else { "enabled" }, visible(&user.name)))
}

async fn delete(context: &mut Context, on: &ActOnUser) -> Result<(), Failure> {
    let acting = Acting::begin(context, &on.user, &on.acting).await?;
    let deleted = delete_as(context, &acting, &on.user).await;
    acting.end(context).await;
    deleted
}

async fn delete_as(context: &mut Context, acting: &Acting, user: &str) -> Result<(), Failure> {
    context
        .prompter
        .confirm(format!("delete user {} ({}) and all their secrets?", visible(user), visible(&acting.uid)))
        .await?;
    let answer = context.client.ask(Call::delete(acting.path("")).by(&acting.authority)).await?;
    if context.out.is_json() {
        return context.out.document(answer.text());
    }
    context.out.note(&format!("deleted user {}", visible(user)))
}

pub(crate) async fn passwd(context: &mut Context, args: &PasswdArgs) -> Result<(), Failure> {
    let acting = Acting::begin(context, &args.on.user, &args.on.acting).await?;
    let set = set_password(context, &acting, args).await;
    acting.end(context).await;
    set
}

async fn set_password(context: &mut Context, acting: &Acting, args: &PasswdArgs) -> Result<(), Failure> {
    let secrets: SecretList =
        context.client.ask(Call::get(acting.path("/secrets")).by(&acting.authority)).await?.read()?;
    // The API replaces an existing password (PUT), but creates a first one (POST).
    let has_one = secrets.secrets.iter().any(|secret| secret.kind == "password");
    let call = if has_one {
        let current = current_password(context, acting, args).await?;
        let new = context.prompter.new_password(&args.new.source(), &visible(&args.on.user), LEAST_PASSWORD).await?;
        let body = Body::new().secret("secret", &new, "$NEW_PASSWORD");
        let body = match &current {
            Some(current) => body.secret("current", current, "$PASSWORD"),
            None => body,
        };
        Call::put(acting.path("/secrets/password")).with(body)
    } else {
        let new = context.prompter.new_password(&args.new.source(), &visible(&args.on.user), LEAST_PASSWORD).await?;
        Call::post(acting.path("/secrets")).with(Body::new().member("type", "password").secret(
            "secret",
            &new,
            "$NEW_PASSWORD",
        ))
    };
    let answer = context.client.ask(call.by(&acting.authority)).await?;
    if context.out.is_json() {
        return context.out.document(answer.text());
    }
    context.out.note(&format!("password of {} set; older sessions have ended", visible(&args.on.user)))
}

/// The current password: not needed by an admin with a reason, already typed with `--as-user`, otherwise read now.
async fn current_password(context: &Context, acting: &Acting, args: &PasswdArgs) -> Result<Option<Hidden>, Failure> {
    if let Some(typed) = &acting.password {
        return Ok(Some(typed.clone()));
    }
    if acting.is_admin_with_reason() {
        return Ok(None);
    }
    let source = Source::chosen(false, args.current_file.as_deref());
    if source == Source::Prompt {
        context.out.aside("as an admin, give --reason TEXT instead of the current password");
    }
    context.prompter.secret(CURRENT_PASSWORD, &source).await.map(Some)
}

pub(crate) async fn unlock(context: &mut Context, args: &UnlockArgs) -> Result<(), Failure> {
    let uid = uid_of(context, &args.user).await?;
    let authority = Authority::Reason(args.reason.clone());
    let before: User = context.client.ask(Call::get(acting::path(&uid, ""))).await?.read()?;
    let answer = context.client.ask(Call::post(acting::path(&uid, "/unlock")).by(&authority)).await?;
    if context.out.is_json() {
        return context.out.document(answer.text());
    }
    let user = &args.user;
    let text = match before.lock.state.as_str() {
        "none" => format!("{user} was neither locked nor delayed at a second factor; password delays were cleared"),
        _ => format!("unlocked {user}: was {}; password delays were cleared too", lock_text(&before.lock)),
    };
    context.out.note(&visible(&text))?;
    if before.disabled {
        context.out.note(&visible(&format!("the login of {user} is disabled: mfactl user enable {user}")))?;
    }
    Ok(())
}

/// Whether attempts at the second factors are delayed or locked, in one word.
fn lock_word(lock: &Lock) -> String {
    if matches!(lock.state.as_str(), "none" | "") { "no".to_owned() } else { lock.state.clone() }
}

/// The same with the time and the number of wrong attempts.
fn lock_text(lock: &Lock) -> String {
    let failures = lock.failures.map(|count| format!(" ({count} wrong)")).unwrap_or_default();
    match (lock.state.as_str(), &lock.until, &lock.since) {
        ("none" | "", ..) => format!("no{failures}"),
        (state, Some(until), _) => format!("{state} until {until}{failures}"),
        (state, None, Some(since)) => format!("{state} since {since}{failures}"),
        (state, None, None) => format!("{state}{failures}"),
    }
}

pub(crate) async fn verify(context: &mut Context, args: &VerifyArgs) -> Result<(), Failure> {
    args.pin.check(args.device)?;
    let source = args.code.source();
    let uid = uid_of(context, &args.user).await?;
    let call = || Call::post(acting::path(&uid, "/verify"));
    let answer = if args.device {
        ask_key(context, call, by_key, &args.pin.source()).await?
    } else {
        let body = Code::ask(context, ANY_CODE, &source).await?.body();
        context.client.ask(call().with(body)).await?
    };
    if context.out.is_json() {
        return context.out.document(answer.text());
    }
    let verified: Verified = answer.read()?;
    let at = verified.auth_time.clone();
    let what = match verified.method.as_str() {
        "totp" | "hotp" => "authenticator code",
        "recovery" => "backup code",
        "fido2" => "security key",
        other => other,
    };
    context.out.note(&visible(&format!("correct {what} at {at}")))
}

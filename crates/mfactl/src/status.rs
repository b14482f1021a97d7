//! `status`: health, version and login methods, as the daemon reports them.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::call::Call;
use crate::client::Answer;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::{Tone, visible};

#[derive(Deserialize)]
struct Version {
    name: String,
    version: String,
    sqlite: Option<String>,
    api: Option<String>,
    landlock: Option<String>,
    /// Whether the keys are in locked memory, which is never swapped out.
    #[serde(rename = "keysLocked")]
    keys_locked: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Methods {
    methods: Vec<String>,
    registration: String,
    mfa_required: bool,
}

pub(crate) async fn run(context: &mut Context) -> Result<(), Failure> {
    // `send` instead of `ask`: a 503 is a result to show, and not a failure.
    let live = context.client.ask(Call::get("/v1/health/live")).await?;
    let ready = context.client.send(Call::get("/v1/health/ready")).await?;
    let version = context.client.ask(Call::get("/v1/version")).await?;
    let methods = context.client.ask(Call::get("/v1/auth")).await?;
    if context.out.is_json() {
        let document = json!({
            "live": live.read::<Value>()?,
            "ready": ready.read::<Value>()?,
            "version": version.read::<Value>()?,
            "auth": methods.read::<Value>()?,
        });
        context.out.document(&document.to_string())?;
    } else {
        tell(context, &ready, &version.read()?, &methods.read()?)?;
    }
    match ready.status {
        200 => Ok(()),
        _ => Err(Failure::Reported(Exit::Unreachable)),
    }
}

fn tell(context: &Context, ready: &Answer, version: &Version, methods: &Methods) -> Result<(), Failure> {
    let out = context.out;
    if out.is_quiet() {
        return Ok(());
    }
    let state = match ready.status {
        200 => out.tone("ready", Tone::Good),
        _ => format!("{}: {}", out.tone("not ready", Tone::Bad), visible(&ready.problem().to_string())),
    };
    out.line(&format!("{} {} is live and {state}", visible(&version.name), visible(&version.version)))?;
    let part = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    out.pairs(&[
        ("api", part(&version.api)),
        ("sqlite", part(&version.sqlite)),
        ("confined by Landlock", visible(&part(&version.landlock))),
        ("keys locked in memory", if version.keys_locked == Some(true) { "yes" } else { "not guaranteed" }.to_owned()),
        ("login methods", methods.methods.join(", ")),
        ("registration", methods.registration.clone()),
        ("second factor", if methods.mfa_required { "required" } else { "optional" }.to_owned()),
    ])
}

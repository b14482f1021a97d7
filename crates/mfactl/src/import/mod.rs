//! `import`: takes factors of other programs over, so that users keep their authenticators. Here is the import of single
//! otpauth URIs, which become active with a code; `job` has the others.

mod files;
mod foreign;
mod job;
mod list;
mod plan;
mod report;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::acting::{path, uid_of, uids_of};
use crate::call::{Authority, Body, Call, segment};
use crate::client::Answer;
use crate::code::{Code, TOKEN};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::import_args::ImportArgs;
use crate::output::visible;
use crate::prompt::Source;
use crate::secret_text::Hidden;
use crate::secrets::print_codes;
use mfad_api::{BackupCodes, Secret};

use list::{Line, account, lines, passed_over};

/// Longest input, in bytes.
const LONGEST: usize = 64 * 1024 * 1024;

pub(crate) async fn run(context: &mut Context, args: &ImportArgs) -> Result<(), Failure> {
    if args.is_job() {
        return job::run(context, args).await;
    }
    let file = match args.files.as_slice() {
        [] => None,
        [file] => Some(file.as_path()),
        _ => return Err(Failure::Usage("several files need --trusted, --at-login or --dry-run".to_owned())),
    };
    let bytes = read(args, file)?;
    let lines = lines(&bytes)?;
    let source = args.code.source();
    if lines.len() > 1 && (args.user.is_some() || source != Source::Prompt) {
        return Err(Failure::Usage("--user, --code-file and --code-stdin work only with a single URI".to_owned()));
    }
    if context.prompter.no_input && !args.pending && source == Source::Prompt {
        return Err(Failure::Usage("--no-input needs --pending, --code-file or --code-stdin".to_owned()));
    }
    let orders = orders(context, args, &lines).await?;
    let mut import = Import { args, source, pending: BTreeMap::new() };
    let mut failed = 0_usize;
    for (line, order) in lines.iter().zip(orders) {
        let done = match order {
            Ok(order) => import.take_over(context, line.number, &order).await,
            Err(failure) => Err(failure),
        };
        match done {
            Err(failure @ (Failure::Refused(_) | Failure::Denied(_))) if lines.len() > 1 => {
                context.out.error(&format!("line {}: {failure}", line.number));
                failed = failed.saturating_add(1);
            }
            other => other?,
        }
    }
    if failed > 0 {
        context.out.error(&format!("{failed} of {} were not imported", lines.len()));
        return Err(Failure::Reported(Exit::Denied));
    }
    Ok(())
}

/// Reads a file, or standard input.
fn read(args: &ImportArgs, file: Option<&Path>) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let limit = u64::try_from(LONGEST).unwrap_or(u64::MAX).saturating_add(1);
    let limited = |source: &mut dyn Read| {
        let mut bytes = Zeroizing::new(Vec::with_capacity(64 * 1024));
        source.take(limit).read_to_end(&mut bytes).map(|_| bytes)
    };
    let read = match file {
        Some(file) if file.as_os_str() != "-" => fs::File::open(file).and_then(|mut file| limited(&mut file)),
        _ if args.code.source() == Source::Stdin => {
            return Err(Failure::Usage("the URIs and the code cannot both come from standard input".to_owned()));
        }
        _ => limited(&mut std::io::stdin().lock()),
    };
    let name = file.map_or("standard input".into(), Path::to_string_lossy);
    let bytes = read.map_err(|error| Failure::Usage(format!("cannot read {name}: {error}")))?;
    if bytes.len() > LONGEST {
        return Err(Failure::Usage(format!("the file is longer than {LONGEST} bytes; split it")));
    }
    Ok(bytes)
}

/// A factor to import.
struct Order<'a> {
    uri: &'a str,
    /// The user, as named by the URI or by `--user`.
    name: String,
    uid: String,
}

/// Finds the user of each line, for one request of the user list. A line whose user is not found fails alone.
async fn orders<'a>(
    context: &mut Context,
    args: &ImportArgs,
    lines: &[Line<'a>],
) -> Result<Vec<Result<Order<'a>, Failure>>, Failure> {
    let named: Vec<Result<(&'a str, String), Failure>> = lines.iter().map(|line| named(args, line)).collect();
    let names: Vec<&str> = named.iter().flatten().map(|(_, name)| name.as_str()).collect();
    let uids = match &args.user {
        Some(user) => vec![uid_of(context, user).await],
        None => uids_of(context, &names).await?,
    };
    let mut uids = uids.into_iter();
    let order = |named: Result<(&'a str, String), Failure>| -> Result<Order<'a>, Failure> {
        let (uri, name) = named?;
        let uid = uids.next().unwrap_or_else(|| Err(Failure::Internal("a user was not looked up".to_owned())))?;
        Ok(Order { uri, name, uid })
    };
    Ok(named.into_iter().map(order).collect())
}

fn named<'a>(args: &ImportArgs, line: &Line<'a>) -> Result<(&'a str, String), Failure> {
    let uri = line.uri().map_err(|foreign| Failure::Denied(format!("this is {}", foreign.words())))?;
    let name = match &args.user {
        Some(user) => user.clone(),
        None => account(uri).ok_or_else(|| Failure::Denied("the URI names no account; use --user".to_owned()))?,
    };
    Ok((uri, name))
}

/// State of an import, which handles one factor after the other.
struct Import<'a> {
    args: &'a ImportArgs,
    source: Source,
    /// Users (uid in lower case) with a pending factor from this list, and its line number. A user has at most one
    /// pending factor (ENR-2): a second one would end the first, which was already reported as imported.
    pending: BTreeMap<String, usize>,
}

impl Import<'_> {
    async fn take_over(&mut self, context: &mut Context, number: usize, order: &Order<'_>) -> Result<(), Failure> {
        let user = order.uid.to_ascii_lowercase();
        if let Some(earlier) = self.pending.get(&user) {
            return Err(Failure::Denied(format!(
                "not imported, since it would end the pending factor of line {earlier}: finish that one first, then \
                 import this line again"
            )));
        }
        let authority = Authority::Reason(self.args.reason.clone());
        let body = Body::new()
            .secret("otpauth_url", &Hidden::new(order.uri.to_owned()), "$OTPAUTH_URL")
            .optional("name", self.args.name.as_deref());
        let path = path(&order.uid, "/secrets/import");
        let answer = context.client.ask(Call::post(path).by(&authority).with(body)).await?;
        let made: Secret = answer.read()?;
        self.pending.insert(user.clone(), number);
        tell_passed_over(context, order);
        if self.args.pending {
            return tell_pending(context, order, &made, &answer);
        }
        finish(context, &authority, &self.source, order, &made).await?;
        self.pending.remove(&user);
        Ok(())
    }
}

fn tell_passed_over(context: &Context, order: &Order<'_>) {
    let names = passed_over(order.uri);
    if !names.is_empty() && !context.out.is_quiet() {
        let names = names.join(", ");
        context.out.aside(&visible(&format!("{}: ignored parameters: {names} (they do not affect codes)", order.name)));
    }
}

fn tell_pending(context: &Context, order: &Order<'_>, made: &Secret, answer: &Answer) -> Result<(), Failure> {
    if context.out.is_json() {
        return context.out.document(answer.text());
    }
    let name = visible(&order.name);
    context.out.note(&format!(
        "{name}: pending for 15 minutes; finish with: mfactl enroll {name} --finish {}",
        visible(&made.uid)
    ))
}

/// Activates the factor with its first code.
async fn finish(
    context: &mut Context,
    authority: &Authority,
    source: &Source,
    order: &Order<'_>,
    made: &Secret,
) -> Result<(), Failure> {
    let Order { name, uid, .. } = order;
    context.out.aside(&visible(&format!("{name}: enter a code of the authenticator that has this factor")));
    let code = Code::ask(context, TOKEN, source).await?;
    let enroll = path(uid, &format!("/secrets/{}/enroll", segment(&made.uid)));
    let answer = context.client.ask(Call::put(enroll).by(authority).with(code.body())).await?;
    if context.out.is_json() {
        let enrolled: Value = answer.read()?;
        return context.out.document(&json!({"user": uid, "secret": enrolled}).to_string());
    }
    context.out.note(&format!("{}: the factor is active", visible(name)))?;
    let codes: BackupCodes = answer.read()?;
    if codes.codes.is_empty() { Ok(()) } else { print_codes(context.out, &codes) }
}

//! `import --trusted` and `--dry-run`: reads the files of other programs, shows what would be done, and does it in batches.
//! A factor that its user has already changes nothing, so an import that was interrupted is simply started again.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use data_encoding::{BASE32_NOPAD, HEXLOWER_PERMISSIVE};
use mfad_api::{ImportResult, ImportResults, SecretString};
use mfad_import::{Document, Factor, Fault, Format, OtpKind, Secrets};
use serde::Serialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::plan::{Mapping, Planned, show};
use super::read;
use crate::call::{Authority, Body, Call};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::import_args::ImportArgs;
use crate::output::visible;
use crate::prompt::{Source, Wanted};

/// Most factors of one request.
const BATCH: usize = 100;
/// Longest list of factors of one request, in bytes. The daemon takes bodies of 16 KiB.
const BATCH_BYTES: usize = 15 * 1024;
const FILE_PASSWORD: Wanted = Wanted { label: "password of the file", instead: "use --password-file" };

/// A factor as the API takes it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sent<'a> {
    user: &'a str,
    kind: &'static str,
    algorithm: &'static str,
    digits: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    period: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    counter: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    used_step: Option<u64>,
    secret: SecretString,
}

pub(super) async fn run(context: &mut Context, args: &ImportArgs) -> Result<(), Failure> {
    let mapping = mapping(args)?;
    let (mut plan, mut formats, mut notes): (Vec<Planned>, Vec<&str>, Vec<String>) = Default::default();
    let stdin = [Path::new("-").to_owned()];
    let files = if args.files.is_empty() { &stdin } else { args.files.as_slice() };
    let mut add = |name: &str, document: Document| {
        if !formats.contains(&document.format.name()) {
            formats.push(document.format.name());
        }
        notes.extend(document.notes.iter().map(|note| format!("{name}: {note}")));
        plan.extend(document.entries.into_iter().map(|entry| Planned::new(name, entry, &mapping)));
    };
    // A transfer may have its parts in several pictures, so their texts are read together.
    let mut pictures = Zeroizing::new(String::new());
    for file in files {
        let name = if file.as_os_str() == "-" { "standard input".into() } else { file.to_string_lossy() };
        let bytes = read(args, Some(file))?;
        match mfad_import::texts_of_picture(&bytes) {
            Some(texts) => pictures.push_str(&Zeroizing::new(texts.map_err(|fault| named(&name, &fault))?)),
            None => add(&name, document(context, args, &name, &bytes).await?),
        }
    }
    if !pictures.is_empty() {
        add("the pictures", document(context, args, "the pictures", pictures.as_bytes()).await?);
    }
    let formats = formats.join(", ");
    if args.dry_run {
        return show(context, &formats, &plan, &notes);
    }
    let mut results: Vec<Option<ImportResult>> = plan.iter().map(|_| None).collect();
    let done = act(context, args, &plan, &mut results).await;
    // What was taken over before a failure is told all the same.
    let reported = report(context, &formats, &plan, &results, &notes);
    done.and(reported)
}

fn named(name: &str, fault: &Fault) -> Failure {
    Failure::Usage(format!("{}: {fault}", visible(name)))
}

/// Reads what a file holds. If it is encrypted, asks for its password.
async fn document(context: &Context, args: &ImportArgs, name: &str, bytes: &[u8]) -> Result<Document, Failure> {
    // The texts of a picture show their own format.
    let format = args.format.as_deref().and_then(Format::parse).filter(|format| *format != Format::Picture);
    let read = match mfad_import::read(bytes, format, &Secrets::default()) {
        Err(Fault::NeedsPassword(_)) => {
            let source = Source::chosen(false, args.password_file.as_deref());
            let password = context.prompter.secret(FILE_PASSWORD, &source).await?;
            let secrets = Secrets { password: Some(password.as_str().as_bytes()), ..Secrets::default() };
            mfad_import::read(bytes, format, &secrets)
        }
        Err(Fault::NeedsKey(_)) if args.key_file.is_some() => {
            let key = key(args)?;
            mfad_import::read(bytes, format, &Secrets { key: Some(&key), ..Secrets::default() })
        }
        read => read,
    };
    read.map_err(|fault| named(name, &fault))
}

/// The key in the file of `--key-file`.
fn key(args: &ImportArgs) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let bytes = read(args, args.key_file.as_deref())?;
    let text = std::str::from_utf8(&bytes).ok().map(str::trim);
    let hex = text.and_then(|text| HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok());
    Ok(hex.filter(|key| !key.is_empty()).map_or(bytes, Zeroizing::new))
}

fn mapping(args: &ImportArgs) -> Result<Mapping, Failure> {
    if let Some(user) = &args.user {
        return Ok(Mapping::One(user.clone()));
    }
    let Some(path) = &args.map else { return Ok(Mapping::Table(BTreeMap::new())) };
    let wrong = |why: &dyn std::fmt::Display| Failure::Usage(format!("--map {}: {why}", path.display()));
    let text = fs::read(path).map_err(|error| wrong(&error))?;
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_slice());
    let mut table = BTreeMap::new();
    for (number, record) in (1_usize..).zip(reader.records()) {
        let record = record.map_err(|_| wrong(&format!("line {number} is no CSV")))?;
        let fields: Vec<&str> = record.iter().map(str::trim).collect();
        let [account, user] = fields.as_slice() else {
            return Err(wrong(&format!("line {number} has not two fields, an account and a user")));
        };
        if table.insert((*account).to_owned(), (*user).to_owned()).is_some() {
            return Err(wrong(&format!("line {number} has an account that an earlier line has too")));
        }
    }
    Ok(Mapping::Table(table))
}

/// Sends the factors in batches, and notes the result of each. Those that were refused here stay without one.
async fn act(
    context: &mut Context,
    args: &ImportArgs,
    plan: &[Planned],
    results: &mut [Option<ImportResult>],
) -> Result<(), Failure> {
    let authority = Authority::Reason(args.reason.clone());
    let mut batch = Batch::new();
    for (index, planned) in plan.iter().enumerate() {
        let (Some(factor), Some(user)) = (planned.factor(), planned.user.as_deref()) else { continue };
        let json = Zeroizing::new(serde_json::to_vec(&sent(user, factor)).map_err(internal)?);
        if !batch.has_room(json.len()) {
            batch.send(context, args, &authority, results).await?;
        }
        batch.add(index, &json);
    }
    batch.send(context, args, &authority, results).await
}

fn internal(_: serde_json::Error) -> Failure {
    Failure::Internal("a factor cannot be written as JSON".to_owned())
}

fn sent<'a>(user: &'a str, factor: &Factor) -> Sent<'a> {
    let (period, counter, used_step) = match factor.profile.moving {
        OtpKind::Totp(period) => (Some(u32::from(period.seconds())), None, factor.used_step),
        OtpKind::Hotp => (None, Some(factor.counter), None),
    };
    Sent {
        user,
        kind: factor.profile.kind(),
        algorithm: factor.profile.algorithm.name(),
        digits: factor.profile.digits.count(),
        period,
        counter,
        used_step,
        secret: SecretString::new(BASE32_NOPAD.encode(factor.seed.expose())),
    }
}

/// The factors of the next request, and their places in the plan.
struct Batch {
    json: Zeroizing<Vec<u8>>,
    places: Vec<usize>,
}

impl Batch {
    fn new() -> Self {
        Self { json: Zeroizing::new(Vec::with_capacity(BATCH_BYTES)), places: Vec::new() }
    }

    fn has_room(&self, length: usize) -> bool {
        self.places.len() < BATCH && self.json.len().saturating_add(length).saturating_add(2) <= BATCH_BYTES
    }

    fn add(&mut self, place: usize, json: &[u8]) {
        self.json.push(if self.places.is_empty() { b'[' } else { b',' });
        self.json.extend_from_slice(json);
        self.places.push(place);
    }

    /// Sends the factors and notes their results. The batch is empty then.
    async fn send(
        &mut self,
        context: &mut Context,
        args: &ImportArgs,
        authority: &Authority,
        results: &mut [Option<ImportResult>],
    ) -> Result<(), Failure> {
        if self.places.is_empty() {
            return Ok(());
        }
        self.json.push(b']');
        let body = Body::new().member("createUsers", args.create_users).secret_json("factors", &self.json, "$FACTORS");
        let answer = context.client.ask(Call::post("/v1/imports").by(authority).with(body)).await?;
        let answers: ImportResults = answer.read()?;
        for (place, result) in self.places.drain(..).zip(answers.results) {
            if let Some(place) = results.get_mut(place) {
                *place = Some(result);
            }
        }
        self.json.clear();
        Ok(())
    }
}

/// Says what became of each entry. Fails if one was refused.
fn report(
    context: &Context,
    formats: &str,
    plan: &[Planned],
    results: &[Option<ImportResult>],
    notes: &[String],
) -> Result<(), Failure> {
    let count = |state: &str| results.iter().flatten().filter(|result| result.state == state).count();
    let (imported, known) = (count("imported"), count("known"));
    let refused = plan.len().saturating_sub(imported).saturating_sub(known);
    let reason_of = |planned: &Planned, result: &Option<ImportResult>| {
        let answered = result.as_ref().filter(|result| result.state == "refused");
        let answered = answered.map(|result| result.detail.clone().unwrap_or_default());
        let unsent = result.is_none().then(|| "not sent, since the import ended before".to_owned());
        planned.refusal.clone().or(answered).or(unsent)
    };
    let outcomes = || plan.iter().zip(results).map(|(planned, result)| (planned, result, reason_of(planned, result)));
    if context.out.is_json() {
        let entries: Vec<_> = outcomes()
            .map(|(planned, result, reason)| {
                let state = result.as_ref().map_or("refused", |result| result.state.as_str());
                let uid = result.as_ref().and_then(|result| result.uid.as_deref());
                planned.document(&json!({"state": state, "reason": reason, "uid": uid}))
            })
            .collect();
        context.out.document(&json!({"format": formats, "entries": entries, "notes": notes}).to_string())?;
    } else {
        notes.iter().try_for_each(|note| context.out.note(note))?;
        context.out.note(&format!("taken over: {imported}, there before: {known}, refused: {refused}"))?;
    }
    for (planned, _, reason) in outcomes() {
        if let Some(reason) = reason {
            let user = planned.user.as_deref().unwrap_or("no user");
            context.out.error(&visible(&format!("{} ({user}): {reason}", planned.place)));
        }
    }
    if refused > 0 { Err(Failure::Reported(Exit::Denied)) } else { Ok(()) }
}

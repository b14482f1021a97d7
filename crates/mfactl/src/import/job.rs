//! `import --trusted`, `--at-login` and `--dry-run`: reads the files of other programs, shows what would be done, and does
//! it in batches. A factor that its user has already changes nothing, so an import that was interrupted is started again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use data_encoding::BASE32_NOPAD;
use mfad_api::{ImportResult, ImportResults, SecretString};
use mfad_import::{Account, Document, Factor, Format, OtpKind};
use serde::Serialize;
use zeroize::Zeroizing;

use super::files::{Piece, allow, pieces};
use super::plan::{Mapping, Planned, Preview};
use super::report::Report;
use crate::call::{Authority, Body, Call};
use crate::context::Context;
use crate::failure::Failure;
use crate::import_args::ImportArgs;
use crate::interruption;

/// Most factors of one request.
const BATCH: usize = 100;
/// Most entries that wait for a request, with those that are not sent.
const BATCH_ENTRIES: usize = 1000;
/// Longest list of factors of one request, in bytes. The daemon takes bodies of 16 KiB.
const BATCH_BYTES: usize = 15 * 1024;
/// What a person is told who interrupts the import.
const INTERRUPTED: &str = "the import was interrupted; start the same command again, and it goes on: what was imported is \
                           not imported twice";

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
    #[serde(skip_serializing_if = "is_zero")]
    counter_ahead_by: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    used_step: Option<u64>,
    secret: SecretString,
}

// Serde passes a reference.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
fn is_zero(number: &u8) -> bool {
    *number == 0
}

/// What the files hold, document by document, with the formats and notes that were met.
struct Reading {
    mapping: Mapping,
    accepts_weak: bool,
    formats: Vec<&'static str>,
    notes: Vec<String>,
    /// The accounts of the mapping that the files have.
    mapped: BTreeSet<String>,
}

impl Reading {
    /// The plan for the entries of a document.
    fn plan(&mut self, name: &str, document: Document) -> Vec<Planned> {
        if !self.formats.contains(&document.format.name()) {
            self.formats.push(document.format.name());
        }
        self.notes.extend(document.notes.iter().map(|note| format!("{name}: {note}")));
        // An export of mfad has only what was accepted there.
        let accepts_weak = self.accepts_weak || document.format == Format::Mfad;
        for entry in &document.entries {
            if let (Mapping::Table(table), Some(account)) = (&self.mapping, &entry.account)
                && table.contains_key(account)
            {
                self.mapped.insert(account.clone());
            }
        }
        let planned = |entry| Planned::new(name, entry, &self.mapping, accepts_weak);
        document.entries.into_iter().map(planned).collect()
    }

    /// The notes on the files, and on accounts of `--map` that are in none of them.
    fn all_notes(&self) -> Vec<String> {
        let mut notes = self.notes.clone();
        if let Mapping::Table(table) = &self.mapping {
            let unknown = table.keys().filter(|account| !self.mapped.contains(*account));
            notes.extend(unknown.map(|account| format!("--map: the account {account} is in none of the files")));
        }
        notes
    }
}

pub(super) async fn run(context: &mut Context, args: &ImportArgs) -> Result<(), Failure> {
    let mut reading = Reading {
        mapping: mapping(args)?,
        accepts_weak: args.accept_weak,
        formats: Vec::new(),
        notes: Vec::new(),
        mapped: BTreeSet::new(),
    };
    let pieces = pieces(context, args).await?;
    if args.dry_run {
        return preview(context, args, pieces, &mut reading);
    }
    if let Some(report) = args.report.as_deref().and_then(|report| fs::canonicalize(report).ok())
        && args.files.iter().any(|file| fs::canonicalize(file).is_ok_and(|file| file == report))
    {
        return Err(Failure::Usage("--report names a file that is to be imported".to_owned()));
    }
    interruption::say(Some(INTERRUPTED.to_owned()));
    let entries = pieces.iter().map(Piece::entries).sum();
    let mut report = Report::new(context.out, args.report.as_deref(), entries)?;
    let done = act(context, args, pieces, &mut reading, &mut report).await;
    interruption::say(None);
    // What was taken over before a failure is told all the same.
    let told = report.end(&reading.formats.join(", "), &reading.all_notes());
    done.and(told)
}

fn preview(context: &Context, args: &ImportArgs, pieces: Vec<Piece>, reading: &mut Reading) -> Result<(), Failure> {
    let is_long = pieces.iter().any(|piece| !matches!(piece, Piece::Whole { .. }));
    let mut preview = Preview::new(context.out, is_long)?;
    for piece in pieces {
        let mut documents = piece.documents(format_of(args))?;
        while let Some((name, document)) = documents.next()? {
            allow(args, &name, document.format)?;
            preview.add(reading.plan(&name, document))?;
        }
    }
    preview.end(&reading.formats.join(", "), &reading.all_notes())
}

fn format_of(args: &ImportArgs) -> Option<Format> {
    args.format.as_deref().and_then(Format::parse)
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

/// Sends the factors in batches, and reports the result of each.
async fn act(
    context: &mut Context,
    args: &ImportArgs,
    pieces: Vec<Piece>,
    reading: &mut Reading,
    report: &mut Report,
) -> Result<(), Failure> {
    let authority = Authority::Reason(args.reason.clone());
    let mut batch = Batch::new();
    for piece in pieces {
        let mut documents = piece.documents(format_of(args))?;
        while let Some((name, mut document)) = documents.next()? {
            allow(args, &name, document.format)?;
            let accounts = std::mem::take(&mut document.accounts);
            let mut plan = reading.plan(&name, document);
            if !accounts.is_empty() {
                send_accounts(context, &authority, accounts, plan, report).await?;
                continue;
            }
            for planned in plan.drain(..) {
                let json = match (planned.factor(), planned.user.as_deref()) {
                    (Some(factor), Some(user)) => serde_json::to_vec(&sent(user, factor)).map_err(internal)?,
                    _ => Vec::new(),
                };
                let json = Zeroizing::new(json);
                if !batch.has_room(json.len()) {
                    batch.send(context, args, &authority, report).await?;
                }
                batch.add(planned, &json);
            }
        }
    }
    batch.send(context, args, &authority, report).await
}

/// Sends the users of an export of mfad in batches, with all that belongs to them.
async fn send_accounts(
    context: &mut Context,
    authority: &Authority,
    accounts: Vec<Account>,
    mut plan: Vec<Planned>,
    report: &mut Report,
) -> Result<(), Failure> {
    let mut accounts = accounts.into_iter().peekable();
    while accounts.peek().is_some() {
        let mut json = Zeroizing::new(Vec::with_capacity(BATCH_BYTES));
        let mut sent = Vec::new();
        while let Some(account) = accounts.next_if(|account| {
            let length = json.len().saturating_add(account.json.len()).saturating_add(2);
            sent.is_empty() || sent.len() < BATCH && length <= BATCH_BYTES
        }) {
            json.push(if sent.is_empty() { b'[' } else { b',' });
            json.extend_from_slice(account.json.as_bytes());
            sent.push(account);
        }
        json.push(b']');
        let body = Body::new().secret_json("users", &json, "$USERS");
        let answer = context.client.ask(Call::post("/v1/imports").by(authority).with(body)).await;
        let answered = answer.and_then(|answer| answer.read::<ImportResults>());
        let (results, failure) = match answered {
            Ok(results) => (results.results, None),
            // The others go on without a user who is larger than a request may be.
            Err(Failure::Refused(problem)) if problem.status == 413 && sent.len() == 1 => {
                let (state, detail) = ("refused".to_owned(), Some(problem.to_string()));
                (vec![ImportResult { state, detail, ..ImportResult::default() }], None)
            }
            Err(failure) => (Vec::new(), Some(failure)),
        };
        let mut results = results.into_iter();
        for account in sent {
            let entries: Vec<Planned> = plan.drain(..account.entries.min(plan.len())).collect();
            report.account(&account.name, &entries, results.next().as_ref())?;
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
    }
    Ok(())
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
        counter_ahead_by: factor.counter_ahead_by,
        used_step,
        secret: SecretString::new(BASE32_NOPAD.encode(factor.seed.expose())),
    }
}

/// The factors of the next request, and the entries between them that are not sent.
struct Batch {
    json: Zeroizing<Vec<u8>>,
    factors: usize,
    planned: Vec<Planned>,
}

impl Batch {
    fn new() -> Self {
        Self { json: Zeroizing::new(Vec::with_capacity(BATCH_BYTES)), factors: 0, planned: Vec::new() }
    }

    fn has_room(&self, length: usize) -> bool {
        let is_small = self.json.len().saturating_add(length).saturating_add(2) <= BATCH_BYTES;
        self.factors < BATCH && self.planned.len() < BATCH_ENTRIES && is_small
    }

    /// Adds an entry with its JSON, which is empty if it is not sent.
    fn add(&mut self, planned: Planned, json: &[u8]) {
        if !json.is_empty() {
            self.json.push(if self.factors == 0 { b'[' } else { b',' });
            self.json.extend_from_slice(json);
            self.factors = self.factors.saturating_add(1);
        }
        self.planned.push(planned);
    }

    /// Sends the factors and reports what became of all entries, in their order. The batch is empty then.
    async fn send(
        &mut self,
        context: &mut Context,
        args: &ImportArgs,
        authority: &Authority,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let answered = if self.factors == 0 { Ok(Vec::new()) } else { self.ask(context, args, authority).await };
        (self.factors, self.json) = (0, Zeroizing::new(Vec::with_capacity(BATCH_BYTES)));
        let (results, failure) = answered.map_or_else(|failure| (Vec::new(), Some(failure)), |results| (results, None));
        let mut results = results.into_iter();
        for planned in self.planned.drain(..) {
            if planned.factor().is_none() {
                report.refused(&planned)?;
            } else if let Some(result) = results.next() {
                report.answered(&planned, &result)?;
            } else {
                report.unsent(&planned)?;
            }
        }
        failure.map_or(Ok(()), Err)
    }

    async fn ask(
        &mut self,
        context: &mut Context,
        args: &ImportArgs,
        authority: &Authority,
    ) -> Result<Vec<ImportResult>, Failure> {
        self.json.push(b']');
        let body = Body::new()
            .member("createUsers", args.create_users)
            .member("trusted", args.trusted)
            .member("acceptWeak", args.accept_weak)
            .secret_json("factors", &self.json, "$FACTORS");
        let answer = context.client.ask(Call::post("/v1/imports").by(authority).with(body)).await?;
        Ok(answer.read::<ImportResults>()?.results)
    }
}

//! What became of each entry of an import, as it goes on: a bar on a terminal, the refusals, and on demand a file.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use mfad_api::ImportResult;
use serde_json::json;

use super::plan::{Planned, end_of_json, json_entry};
use crate::failure::{Exit, Failure};
use crate::output::{Output, visible};

const LOOK: &str = "{pos}/{len} factors {wide_bar} {per_sec}";
/// Why an entry was not sent.
const UNSENT: &str = "not known to be imported, since the import ended before";

/// Reports entries one by one, so that it needs no memory for those before.
pub(super) struct Report {
    out: Output,
    bar: Option<ProgressBar>,
    file: Option<BufWriter<File>>,
    imported: usize,
    known: usize,
    refused: usize,
    /// Entries of requests that were not answered.
    unsent: usize,
    /// Entries that were printed as JSON.
    shown: usize,
    /// Users of an export of mfad.
    users: usize,
}

impl Report {
    /// A report on so many entries, if their number is known. It also goes to this file, which is made anew.
    pub(super) fn new(out: Output, file: Option<&Path>, entries: Option<usize>) -> Result<Self, Failure> {
        let file = match file {
            None => None,
            Some(path) => {
                let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
                let file = opened.map_err(|error| Failure::Usage(format!("--report {}: {error}", path.display())))?;
                Some(BufWriter::new(file))
            }
        };
        let bar = (io::stderr().is_terminal() && !out.is_quiet() && !out.is_json()).then(|| {
            let style = ProgressStyle::with_template(LOOK).unwrap_or_else(|_| ProgressStyle::default_bar());
            let length = entries.and_then(|entries| u64::try_from(entries).ok());
            ProgressBar::with_draw_target(length, indicatif::ProgressDrawTarget::stderr()).with_style(style)
        });
        Ok(Self { out, bar, file, imported: 0, known: 0, refused: 0, unsent: 0, shown: 0, users: 0 })
    }

    /// An entry that is not sent, for the reason in its plan.
    pub(super) fn refused(&mut self, planned: &Planned) -> Result<(), Failure> {
        let reason = planned.refusal.clone().unwrap_or_default();
        self.tell(planned, "refused", Some(&reason), None)
    }

    /// An entry with the answer of the daemon.
    pub(super) fn answered(&mut self, planned: &Planned, result: &ImportResult) -> Result<(), Failure> {
        let reason = (result.state == "refused").then(|| match result.code.as_deref() {
            Some("not-found") => "there is no such user; use --create-users, --user or --map",
            _ => result.detail.as_deref().unwrap_or_default(),
        });
        self.tell(planned, &result.state, reason, result.uid.as_deref())
    }

    /// The factors of a user of an export of mfad, with the answer for the user if there is one.
    pub(super) fn account(
        &mut self,
        name: &str,
        entries: &[Planned],
        result: Option<&ImportResult>,
    ) -> Result<(), Failure> {
        let reason = match result {
            None => Some(UNSENT),
            Some(result) => (result.state == "refused").then(|| result.detail.as_deref().unwrap_or_default()),
        };
        let state = result.map_or("refused", |result| result.state.as_str());
        self.users = self.users.saturating_add(1);
        if let (true, Some(reason)) = (entries.is_empty() && result.is_some(), reason) {
            self.refused = self.refused.saturating_add(1);
            self.out.error(&visible(&format!("the user {name}: {reason}")));
        }
        entries.iter().try_for_each(|planned| self.tell(planned, state, reason, None))
    }

    /// An entry of a request that was not answered.
    pub(super) fn unsent(&mut self, planned: &Planned) -> Result<(), Failure> {
        self.tell(planned, "refused", Some(UNSENT), None)
    }

    fn tell(&mut self, planned: &Planned, state: &str, reason: Option<&str>, uid: Option<&str>) -> Result<(), Failure> {
        let is_unsent = reason == Some(UNSENT);
        let count = match state {
            "imported" => &mut self.imported,
            "known" => &mut self.known,
            _ if is_unsent => &mut self.unsent,
            _ => &mut self.refused,
        };
        *count = count.saturating_add(1);
        if self.out.is_json() || self.file.is_some() {
            let document = planned.document(&json!({"state": state, "reason": reason, "uid": uid}));
            if let Some(file) = &mut self.file {
                writeln!(file, "{document}").map_err(|error| Failure::Usage(format!("--report: {error}")))?;
            }
            if self.out.is_json() {
                json_entry(self.out, self.shown == 0, &document)?;
                self.shown = self.shown.saturating_add(1);
            }
        }
        // They all have one cause, which is told at the end.
        if let Some(reason) = reason.filter(|_| !is_unsent) {
            let user = planned.user.as_deref().unwrap_or("no user");
            let text = visible(&format!("{} ({user}): {reason}", planned.place()));
            match &self.bar {
                Some(bar) => bar.suspend(|| self.out.error(&text)),
                None => self.out.error(&text),
            }
        }
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
        Ok(())
    }

    /// Ends the report. Fails if an entry was refused.
    pub(super) fn end(mut self, formats: &str, notes: &[String]) -> Result<(), Failure> {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if let Some(mut file) = self.file.take() {
            let written = file.flush().and_then(|()| file.get_ref().sync_all());
            written.map_err(|error| Failure::Usage(format!("--report: {error}")))?;
        }
        let (imported, known, refused) = (self.imported, self.known, self.refused);
        if self.out.is_json() {
            end_of_json(self.out, self.shown == 0, formats, notes)?;
        } else {
            notes.iter().try_for_each(|note| self.out.note(note))?;
            if self.users > 0 {
                self.out.note(&format!("users: {}", self.users))?;
            }
            self.out.note(&format!("taken over: {imported}, there before: {known}, refused: {refused}"))?;
            if self.unsent > 0 {
                let unsent = self.unsent;
                self.out.error(&format!("{unsent} entries are not known to be imported; start the same command again"));
            }
        }
        if refused > 0 { Err(Failure::Reported(Exit::Denied)) } else { Ok(()) }
    }
}

//! Progress of a batch: a bar on a terminal, otherwise one line per hardware key, or one JSON document per result with
//! --json.

use std::fmt;
use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use super::results::{Entry, Status};
use crate::failure::Failure;
use crate::output::{Output, visible};

const LOOK: &str = "{pos}/{len} keys {wide_bar} {rate} {msg}";

/// Output of a batch. Everything passes through it, since a line printed beside the bar would tear it.
pub(super) struct Progress {
    out: Output,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Starts at 0 of `keys`.
    pub(super) fn new(out: Output, keys: usize) -> Self {
        let wants_bar = io::stderr().is_terminal() && !out.is_quiet() && !out.is_json();
        let bar = wants_bar.then(|| {
            let style = ProgressStyle::with_template(LOOK).unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(u64::try_from(keys).unwrap_or(u64::MAX)).with_style(style.with_key("rate", rate))
        });
        if let Some(bar) = &bar {
            bar.tick();
        }
        Self { out, bar }
    }

    /// Prints a note; suppressed by --quiet.
    pub(super) fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(visible(text)),
            None if self.out.is_quiet() => {}
            None => self.out.aside(&visible(text)),
        }
    }

    /// Prints an error that is final.
    pub(super) fn complain(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.out.error(text)),
            None => self.out.error(text),
        }
    }

    /// Prints a result: a JSON document with --json, otherwise a line. Failures were already printed by `complain`.
    pub(super) fn result(&self, entry: &Entry) -> Result<(), Failure> {
        if self.out.is_json() {
            return self.out.document(&entry.document().to_string());
        }
        if entry.status == Status::Failed {
            return Ok(());
        }
        let key = entry.key.map(|key| key.to_string()).unwrap_or_default();
        let text = visible(&format!("hardware key {key}: {} for {}, {}", entry.label, entry.user, entry.detail));
        match &self.bar {
            Some(bar) => {
                bar.println(text);
                bar.inc(1);
                Ok(())
            }
            None => self.out.note(&text),
        }
    }

    /// Removes the bar and prints the summary.
    pub(super) fn end(&self, summary: &str) -> Result<(), Failure> {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.out.note(&visible(summary))
    }
}

/// Hardware keys per minute.
fn rate(state: &ProgressState, line: &mut dyn fmt::Write) {
    let _written = write!(line, "{:.1}/min", state.per_sec() * 60.0);
}

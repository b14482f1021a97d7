//! The results file of a batch: CSV with one line per hardware key or failure, without secrets. Each line is on disk
//! before the next key is programmed. The file of an earlier run is resumed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use csv::{ReaderBuilder, StringRecord, WriterBuilder};
use serde_json::{Value, json};

use crate::failure::Failure;
use mfad_core::model::KeyId;

const HEAD: [&str; 7] = ["user", "label", "key", "secret", "status", "detail", "time"];
/// The same with the name that the third column had while all keys had serial numbers.
const OLD_HEAD: [&str; 7] = ["user", "label", "serial", "secret", "status", "detail", "time"];
const NOT_OURS: &str = "not a results file; choose another file with --results";

/// Result for a key, or for a user without a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// The factor is on the key.
    Done,
    /// The factor is not on a key. Another attempt in this run would fail too; the next run tries again.
    Failed,
}

impl Status {
    /// Value of the column `status`.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Done, Self::Failed].into_iter().find(|status| status.word() == word)
    }
}

/// A line of results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Name or uid of the user, as in the manifest.
    pub user: String,
    /// Name of the factor.
    pub label: String,
    /// Id of the key; none if the row failed before a key was chosen.
    pub key: Option<KeyId>,
    /// Uid of the factor; none after a failure.
    pub secret: Option<String>,
    pub status: Status,
    /// `active` or `pending`, with a note if the response was lost; or the error code of a failure.
    pub detail: String,
    /// When the daemon verified the key (RFC 3339).
    pub time: Option<String>,
}

impl Entry {
    /// The line as a JSON document.
    pub(super) fn document(&self) -> Value {
        json!({
            "user": self.user, "label": self.label, "key": self.key.map(|key| key.to_string()),
            "serial": self.key.and_then(|key| key.serial()).map(|serial| serial.number()), "secret": self.secret,
            "status": self.status.word(), "detail": self.detail, "time": self.time,
        })
    }

    fn fields(&self) -> [String; 7] {
        [
            self.user.clone(),
            self.label.clone(),
            self.key.map(|key| key.to_string()).unwrap_or_default(),
            self.secret.clone().unwrap_or_default(),
            self.status.word().to_owned(),
            self.detail.clone(),
            self.time.clone().unwrap_or_default(),
        ]
    }

    fn read(record: &StringRecord) -> Option<Self> {
        let field = |at: usize| record.get(at).map(str::to_owned);
        let some = |at: usize| field(at).filter(|text| !text.is_empty());
        Some(Self {
            user: field(0)?,
            label: field(1)?,
            key: some(2).map(|text| KeyId::parse(&text).ok_or(())).transpose().ok()?,
            secret: some(3),
            status: Status::parse(&field(4)?)?,
            detail: field(5)?,
            time: some(6),
        })
    }
}

/// An open and locked results file, with the entries of earlier runs.
pub(super) struct ResultsFile {
    file: File,
    entries: Vec<Entry>,
}

impl ResultsFile {
    /// Opens or creates the file and locks it against other runs. Drops an incomplete last line, as after a power cut.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let wrong = |what: String| Failure::Usage(format!("{}: {what}", path.display()));
        let failed = |error: io::Error| wrong(format!("cannot be used for the results: {error}"));
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).mode(0o600).open(path).map_err(failed)?;
        file.try_lock().map_err(|_| wrong("in use by another mfactl".to_owned()))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last.saturating_add(1));
        let head = line(&HEAD).map_err(failed)?;
        // Verified before anything is cut off: the path may name another file by mistake.
        let is_ours = whole > 0 || head.starts_with(&bytes);
        let entries = is_ours.then(|| bytes.get(..whole)).flatten().ok_or(NOT_OURS.to_owned()).and_then(parse);
        let mut results = Self { file, entries: entries.map_err(wrong)? };
        if whole < bytes.len() {
            results.file.set_len(u64::try_from(whole).unwrap_or(u64::MAX)).map_err(failed)?;
        }
        if whole == 0 {
            results.write(&head).map_err(failed)?;
        }
        Ok(results)
    }

    /// Appends lines. They are synced to disk when this returns.
    pub(super) fn append(&mut self, entries: Vec<Entry>) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::Output(format!("cannot write the results: {error}"));
        let lines: io::Result<Vec<Vec<u8>>> = entries.iter().map(|entry| line(&entry.fields())).collect();
        self.write(&lines.map_err(failed)?.concat()).map_err(failed)?;
        self.entries.extend(entries);
        Ok(())
    }

    /// Whether a line says that this factor is on a key.
    pub(super) fn has(&self, user: &str, label: &str) -> bool {
        self.done().any(|entry| entry.user == user && entry.label == label)
    }

    /// Ids of the keys that were programmed, with their users.
    pub(super) fn used(&self) -> impl Iterator<Item = (KeyId, &str)> {
        self.done().filter_map(|entry| Some((entry.key?, entry.user.as_str())))
    }

    fn done(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.status == Status::Done)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.file.sync_data()
    }
}

fn line<T: AsRef<[u8]>>(fields: &[T]) -> io::Result<Vec<u8>> {
    let mut writer = WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    writer.write_record(fields).map_err(io::Error::other)?;
    writer.into_inner().map_err(|error| io::Error::other(error.to_string()))
}

fn parse(bytes: &[u8]) -> Result<Vec<Entry>, String> {
    let reader = ReaderBuilder::new().has_headers(false).flexible(false).from_reader(bytes);
    let mut records = (1_usize..).zip(reader.into_records());
    match records.next() {
        None => return Ok(Vec::new()),
        Some((_, Ok(head))) if head.iter().eq(HEAD) || head.iter().eq(OLD_HEAD) => {}
        Some(_) => return Err(NOT_OURS.to_owned()),
    }
    let entry = |(number, record): (usize, Result<StringRecord, csv::Error>)| {
        record
            .ok()
            .and_then(|record| Entry::read(&record))
            .ok_or_else(|| format!("line {number} is not a valid result"))
    };
    records.map(entry).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn id(number: u32) -> KeyId {
        KeyId::parse(&number.to_string()).unwrap()
    }

    fn entry(user: &str, key: Option<KeyId>, status: Status) -> Entry {
        Entry {
            user: user.to_owned(),
            label: "blue, \"key\"".to_owned(),
            key,
            secret: key.map(|_| "s".to_owned()),
            status,
            detail: "active".to_owned(),
            time: None,
        }
    }

    fn reopened(path: &Path) -> Vec<Entry> {
        ResultsFile::open(path).unwrap().entries
    }

    #[test]
    fn what_was_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.csv");
        let entries = vec![entry("ann", Some(id(7)), Status::Done), entry("bob", None, Status::Failed)];

        ResultsFile::open(&path).unwrap().append(entries.clone()).unwrap();

        assert_eq!(reopened(&path), entries);
        let results = ResultsFile::open(&path).unwrap();
        assert!(
            results.has("ann", "blue, \"key\"") && !results.has("ann", "key") && !results.has("bob", "blue, \"key\"")
        );
        assert_eq!(results.used().collect::<Vec<_>>(), [(id(7), "ann")]);
    }

    #[test]
    fn a_torn_last_line_is_dropped_wherever_it_was_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.csv");
        ResultsFile::open(&path).unwrap().append(vec![entry("ann", Some(id(7)), Status::Done)]).unwrap();
        let first = fs::metadata(&path).unwrap().len();
        ResultsFile::open(&path).unwrap().append(vec![entry("bob", Some(id(8)), Status::Done)]).unwrap();
        let whole = fs::read(&path).unwrap();

        for cut in usize::try_from(first).unwrap()..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();

            assert_eq!(reopened(&path), [entry("ann", Some(id(7)), Status::Done)], "{cut}");
            assert_eq!(fs::metadata(&path).unwrap().len(), first);
        }
        fs::write(&path, &whole[..5]).unwrap();
        assert!(reopened(&path).is_empty());
        assert!(fs::read(&path).unwrap().starts_with(b"user,label,key,"));
    }

    #[test]
    fn another_file_is_not_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifest.csv");
        for text in ["user,label,touch\nann,,yes\nbob", "ann", "user,label,touch"] {
            fs::write(&path, text).unwrap();

            assert!(matches!(ResultsFile::open(&path), Err(Failure::Usage(_))));
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn two_runs_do_not_share_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.csv");
        let _open = ResultsFile::open(&path).unwrap();

        assert!(matches!(ResultsFile::open(&path), Err(Failure::Usage(_))));
    }
}

//! `backup`: writes a backup of the store to a file or to standard output. A file is written completely or not at all.
//! This module knows the outer framing of a backup, to detect a truncated one, but cannot decrypt its records.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::call::{Authority, Call};
use crate::cli::BackupArgs;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Output, visible};

const BACKUP_MAGIC: &[u8] = b"mfad backup 1\n";
/// Bytes before the first record; they start with [`BACKUP_MAGIC`].
const BACKUP_HEAD: usize = 14 + 16 + 8 + 16 + 32;
/// Bytes before the contents of a record: 1 for the last record or 0, then the length as a big-endian u32.
const RECORD_HEAD: usize = 5;

pub(crate) async fn run(context: &mut Context, args: &BackupArgs) -> Result<(), Failure> {
    // SIGXFSZ ends the process by default. With a handler, a write beyond the file size limit fails instead, so that
    // the partial file can be removed.
    let _size_limit = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()));
    // Opened before the daemon is asked, so that a target that cannot be written costs no backup.
    let mut target = Target::open(context.out, args)?;
    let authority = Authority::Reason(args.reason.clone());
    let mut stream = context.client.open(Call::post("/v1/backup").by(&authority)).await?;
    let mut shape = Shape::default();
    while let Some(bytes) = stream.next().await? {
        shape.take(&bytes);
        target.write(&bytes)?;
    }
    if !shape.is_complete() {
        return Err(Failure::Unreachable(format!(
            "the backup is incomplete; {}; see the daemon's log for the cause",
            target.what_is_left()
        )));
    }
    let name = target.finish()?;
    let said =
        format!("{} bytes written to {name}; to restore it, `mfad restore` needs the present master key", shape.bytes);
    if is_standard_output(&args.file) {
        if !context.out.is_quiet() {
            context.out.aside(&visible(&said));
        }
        return Ok(());
    }
    if context.out.is_json() {
        let document = serde_json::json!({"file": name, "bytes": shape.bytes});
        return context.out.document(&document.to_string());
    }
    context.out.note(&visible(&said))
}

fn is_standard_output(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn cannot_write(name: &str, error: &io::Error) -> Failure {
    Failure::Output(format!("cannot write the backup to {name}: {error}"))
}

/// Destination of a backup.
struct Target {
    file: File,
    /// Name of the destination in messages.
    name: String,
    /// The file under its temporary name; `None` for standard output.
    partial: Option<Partial>,
}

impl Target {
    fn open(out: Output, args: &BackupArgs) -> Result<Self, Failure> {
        if is_standard_output(&args.file) { Self::standard_output(out) } else { Self::new_file(args) }
    }

    fn standard_output(out: Output) -> Result<Self, Failure> {
        if out.is_json() {
            return Err(Failure::Usage("--json needs a file; with `-`, standard output is the backup".to_owned()));
        }
        let output = io::stdout();
        if output.is_terminal() {
            return Err(Failure::Usage("will not write a backup to a terminal; redirect it or give a file".to_owned()));
        }
        let name = "standard output".to_owned();
        // `io::Stdout` is line buffered and would scan the whole backup for line ends.
        let file = output.as_fd().try_clone_to_owned().map_err(|error| cannot_write(&name, &error))?;
        Ok(Self { file: File::from(file), name, partial: None })
    }

    fn new_file(args: &BackupArgs) -> Result<Self, Failure> {
        let name = args.file.display().to_string();
        if let Ok(there) = fs::metadata(&args.file) {
            if !there.is_file() {
                return Err(Failure::Denied(format!("{name} is not a regular file; use `-` for standard output")));
            }
            if !args.force {
                return Err(Failure::Denied(format!("{name} already exists; use --force to replace it")));
            }
        }
        let (partial, file) = Partial::create(&args.file).map_err(|error| cannot_write(&name, &error))?;
        Ok(Self { file, name, partial: Some(partial) })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file.write_all(bytes).map_err(|error| cannot_write(&self.name, &error))
    }

    /// Syncs the backup to disk and, if it is a file, renames it into place. Returns the name for messages.
    fn finish(self) -> Result<String, Failure> {
        let Self { file, name, partial } = self;
        let done = match (file.sync_all(), partial) {
            (Err(error), Some(_)) => Err(error),
            // A pipe cannot be synced (fsync(2), EINVAL).
            (Err(error), None) if error.kind() != ErrorKind::InvalidInput => Err(error),
            (_, Some(partial)) => partial.take_place(),
            (_, None) => Ok(()),
        };
        done.map_err(|error| cannot_write(&name, &error))?;
        Ok(name)
    }

    fn what_is_left(&self) -> &'static str {
        match self.partial {
            Some(_) => "no file was written",
            None => "standard output has only part of it, which cannot be restored",
        }
    }
}

/// A file that has a temporary name until it is complete. An incomplete file is removed on drop: after a failure, and
/// after Control-C, which drops the future of the command.
struct Partial {
    path: PathBuf,
    place: PathBuf,
    is_whole: bool,
}

impl Partial {
    /// Truncates a partial file that a killed run left behind. Only the owner may read the file (mode 0600).
    fn create(place: &Path) -> io::Result<(Self, File)> {
        let mut path = place.as_os_str().to_owned();
        path.push(".partial");
        let path = PathBuf::from(path);
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        Ok((Self { path, place: place.to_owned(), is_whole: false }, file))
    }

    /// Renames the file into place and syncs the directory; until then, a power cut could undo the rename.
    fn take_place(mut self) -> io::Result<()> {
        fs::rename(&self.path, &self.place)?;
        self.is_whole = true;
        let directory = self.place.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.is_whole {
            let _gone = fs::remove_file(&self.path);
        }
    }
}

/// Follows the record headers of a backup, which say where it ends. Only the daemon can verify the records themselves.
#[derive(Default)]
struct Shape {
    bytes: u64,
    /// Bytes so far of the header being read: that of the backup, then that of a record.
    head: Vec<u8>,
    is_past_head: bool,
    /// Bytes of the current record still to come.
    due: usize,
    /// The current record is the last one.
    is_last: bool,
    /// The bytes are not a backup; stays set.
    is_wrong: bool,
}

impl Shape {
    fn take(&mut self, bytes: &[u8]) {
        self.bytes = self.bytes.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_wrong {
            if self.due > 0 {
                let step = self.due.min(rest.len());
                self.due = self.due.saturating_sub(step);
                rest = rest.get(step..).unwrap_or_default();
                continue;
            }
            if self.is_last {
                self.is_wrong = true;
                return;
            }
            let wanted = if self.is_past_head { RECORD_HEAD } else { BACKUP_HEAD };
            let step = wanted.saturating_sub(self.head.len()).min(rest.len());
            let (now, later) = rest.split_at(step);
            self.head.extend_from_slice(now);
            rest = later;
            if self.head.len() == wanted {
                self.read_head();
            }
        }
    }

    fn read_head(&mut self) {
        let head = std::mem::take(&mut self.head);
        if !self.is_past_head {
            self.is_past_head = true;
            self.is_wrong = !head.starts_with(BACKUP_MAGIC);
        } else if let [last @ (0 | 1), length @ ..] = head.as_slice() {
            self.is_last = *last == 1;
            let length = <[u8; 4]>::try_from(length).map_or(0, u32::from_be_bytes);
            self.due = usize::try_from(length).unwrap_or(0);
            // Every record has contents, so a length of 0 is not from the daemon.
            self.is_wrong = self.due == 0;
        } else {
            self.is_wrong = true;
        }
    }

    fn is_complete(&self) -> bool {
        self.is_last && self.due == 0 && !self.is_wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup() -> Vec<u8> {
        let head = [BACKUP_MAGIC, &[7; BACKUP_HEAD - 14]].concat();
        [head.as_slice(), &[0, 0, 0, 0, 3], b"abc", &[1, 0, 0, 0, 2], b"de"].concat()
    }

    fn is_complete(pieces: &[&[u8]]) -> bool {
        let mut shape = Shape::default();
        pieces.iter().for_each(|piece| shape.take(piece));
        shape.is_complete()
    }

    #[test]
    fn a_backup_is_complete_however_it_comes_and_only_at_its_end() {
        let backup = backup();
        for at in 0..backup.len() {
            let (first, second) = backup.split_at(at);
            assert!(is_complete(&[first, second]), "cut at {at}");
            assert!(!is_complete(&[first]), "ends at {at}");
        }
        assert!(!is_complete(&[&backup, b"x"]));
        assert!(!is_complete(&[&[0; 200]]));
    }
    #[test]
    fn a_partial_file_goes_with_its_failure_and_a_whole_one_stays() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("backup");
        let partial = dir.path().join("backup.partial");
        fs::write(&partial, "of a run that was killed").unwrap();

        let (unfinished, _file) = Partial::create(&place).unwrap();
        assert!(fs::read(&partial).unwrap().is_empty());
        drop(unfinished);
        assert!(!partial.exists() && !place.exists());

        let (finished, mut file) = Partial::create(&place).unwrap();
        file.write_all(b"whole").unwrap();
        finished.take_place().unwrap();
        assert!(!partial.exists());
        assert_eq!(fs::read(&place).unwrap(), b"whole");

        let missing = dir.path().join("missing/backup");
        assert!(Partial::create(&missing).is_err());
        fs::create_dir(dir.path().join("taken")).unwrap();
        let (misplaced, _file) = Partial::create(&dir.path().join("taken")).unwrap();
        assert!(misplaced.take_place().is_err());
        assert!(!dir.path().join("taken.partial").exists());
    }
}

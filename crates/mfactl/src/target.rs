//! A file that is written completely or not at all, or standard output.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::output::Output;

pub(crate) fn is_standard_output(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn cannot_write(what: &str, name: &str, error: &io::Error) -> Failure {
    Failure::Output(format!("cannot write the {what} to {name}: {error}"))
}

/// Destination of a backup or an export.
pub(crate) struct Target {
    /// `backup` or `export`.
    what: &'static str,
    file: File,
    /// Name of the destination in messages.
    name: String,
    /// The file under its temporary name; `None` for standard output.
    partial: Option<Partial>,
}

impl Target {
    /// Opens a file, or standard output for `-`. A file that is there is replaced only by force.
    pub(crate) fn open(out: Output, what: &'static str, file: &Path, force: bool) -> Result<Self, Failure> {
        if is_standard_output(file) { Self::standard_output(out, what) } else { Self::new_file(what, file, force) }
    }

    fn standard_output(out: Output, what: &'static str) -> Result<Self, Failure> {
        if out.is_json() {
            return Err(Failure::Usage(format!("--json needs a file; with `-`, standard output is the {what}")));
        }
        let output = io::stdout();
        if output.is_terminal() {
            return Err(Failure::Usage(format!("will not write the {what} to a terminal; redirect it or give a file")));
        }
        let name = "standard output".to_owned();
        // `io::Stdout` is line buffered and would scan everything for line ends.
        let file = output.as_fd().try_clone_to_owned().map_err(|error| cannot_write(what, &name, &error))?;
        Ok(Self { what, file: File::from(file), name, partial: None })
    }

    fn new_file(what: &'static str, place: &Path, force: bool) -> Result<Self, Failure> {
        let name = place.display().to_string();
        if let Ok(there) = fs::metadata(place) {
            if !there.is_file() {
                return Err(Failure::Denied(format!("{name} is not a regular file; use `-` for standard output")));
            }
            if !force {
                return Err(Failure::Denied(format!("{name} already exists; use --force to replace it")));
            }
        }
        let (partial, file) = Partial::create(place).map_err(|error| cannot_write(what, &name, &error))?;
        Ok(Self { what, file, name, partial: Some(partial) })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file.write_all(bytes).map_err(|error| cannot_write(self.what, &self.name, &error))
    }

    /// Syncs the contents to disk and, if it is a file, renames it into place. Returns the name for messages.
    pub(crate) fn finish(self) -> Result<String, Failure> {
        let Self { what, file, name, partial } = self;
        let done = match (file.sync_all(), partial) {
            (Err(error), Some(_)) => Err(error),
            // A pipe cannot be synced (fsync(2), EINVAL).
            (Err(error), None) if error.kind() != ErrorKind::InvalidInput => Err(error),
            (_, Some(partial)) => partial.take_place(),
            (_, None) => Ok(()),
        };
        done.map_err(|error| cannot_write(what, &name, &error))?;
        Ok(name)
    }

    pub(crate) fn what_is_left(&self) -> &'static str {
        match self.partial {
            Some(_) => "no file was written",
            None => "standard output has only part of it, which is of no use",
        }
    }
}

/// A file that has a temporary name until it is complete. An incomplete file is removed on drop: after a failure, and
/// after Control-C, which drops the future of the command.
struct Partial {
    path: PathBuf,
    place: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
    is_whole: bool,
}

impl Partial {
    /// Replaces a partial file that a killed run left behind. Only the owner may read the file (mode 0600). The file is
    /// new, so that a link under its name leads nowhere.
    fn create(place: &Path) -> io::Result<(Self, File)> {
        let mut path = place.as_os_str().to_owned();
        path.push(".partial");
        let path = PathBuf::from(path);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let made = file.metadata()?;
        let identity = (made.dev(), made.ino());
        Ok((Self { path, place: place.to_owned(), identity, is_whole: false }, file))
    }

    /// Renames the file into place and syncs the directory; until then, a power cut could undo the rename.
    fn take_place(mut self) -> io::Result<()> {
        if !self.is_there() {
            return Err(io::Error::other("another run writes to the same file"));
        }
        fs::rename(&self.path, &self.place)?;
        self.is_whole = true;
        let directory = self.place.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()
    }

    /// Whether the file under the temporary name is still this one.
    fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|there| (there.dev(), there.ino()) == self.identity)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.is_whole && self.is_there() {
            let _gone = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

        let (first, _file) = Partial::create(&place).unwrap();
        let (second, _other) = Partial::create(&place).unwrap();
        assert!(first.take_place().is_err(), "the file of another run");
        second.take_place().unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "kept").unwrap();
        std::os::unix::fs::symlink(&victim, &partial).unwrap();
        let (_replaced, mut file) = Partial::create(&place).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"kept");

        let missing = dir.path().join("missing/backup");
        assert!(Partial::create(&missing).is_err());
        fs::create_dir(dir.path().join("taken")).unwrap();
        let (misplaced, _file) = Partial::create(&dir.path().join("taken")).unwrap();
        assert!(misplaced.take_place().is_err());
        assert!(!dir.path().join("taken.partial").exists());
    }
}

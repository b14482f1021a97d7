//! A list as a file: read only if nobody but root could have written it, and replaced in one step.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use crate::List;

/// Longest list, in bytes.
const LONGEST: u64 = 256 * 1024;
/// How often the lock is tried, and the time in between: 2 s in all.
const TRIES: usize = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// Makes the directory, for root alone.
pub(crate) fn make_directory(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// Takes the lock of all lists. Its holder writes one small file, so a lock that stays taken is an error.
pub(crate) fn lock(directory: &Path) -> io::Result<File> {
    let path = directory.join("lock");
    let flags = libc::O_NOFOLLOW;
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).custom_flags(flags).open(path)?;
    for _ in 0..TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(io::Error::new(ErrorKind::TimedOut, "another program holds the lock of the break-glass lists"))
}

/// Reads a list; `None` if there is none.
pub(crate) fn read(directory: &Path, path: &Path) -> io::Result<Option<List>> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
    let file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let meta = file.metadata()?;
    let is_safe = meta.is_file() && is_of_owner_alone(&meta) && is_of_owner_alone(&std::fs::metadata(directory)?);
    if !is_safe || meta.len() > LONGEST {
        let text = format!("{} is not a file that only root can write, in such a directory", path.display());
        return Err(io::Error::new(ErrorKind::PermissionDenied, text));
    }
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text)?;
    let list = serde_json::from_str(&text);
    list.map(Some).map_err(|error| io::Error::new(ErrorKind::InvalidData, format!("{}: {error}", path.display())))
}

/// Whether it belongs to this process's user, root as a rule, and no other user can write it.
fn is_of_owner_alone(meta: &Metadata) -> bool {
    // SAFETY: the call has no arguments and cannot fail.
    #[expect(unsafe_code, reason = "the standard library has no call for it")]
    let user = unsafe { libc::geteuid() };
    meta.uid() == user && meta.mode() & 0o022 == 0
}

/// Replaces a list in one step. When this returns, it is on disk.
pub(crate) fn write(directory: &Path, path: &Path, list: &List) -> io::Result<()> {
    let next = path.with_extension("new");
    let _ = std::fs::remove_file(&next);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next)?;
    file.write_all(&serde_json::to_vec(list)?)?;
    file.sync_all()?;
    std::fs::rename(&next, path)?;
    File::open(directory)?.sync_all()
}

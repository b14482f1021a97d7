//! Checks paths that other users must not be able to change: directories of secrets or of the socket, and the
//! configuration. The directories above a path count too, since a user who can write one could exchange what is below.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::failure::{Failure, file_fault};

/// File in the state directory that the daemon, `init` and `restore` lock while they run.
const LOCK_FILE: &str = "mfad.lock";

/// Creates the state directory with mode 0700. An existing one gets this mode only if it is empty and ours.
pub(super) fn make_state_dir(dir: &Path) -> Result<(), Failure> {
    match fs::symlink_metadata(dir) {
        Ok(meta) if meta.is_dir() && is_ours(&meta) && is_empty(dir) => {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(|cause| file_fault(dir, cause))
        }
        Ok(_) => Ok(()),
        Err(_) => DirBuilder::new().mode(0o700).recursive(true).create(dir).map_err(|cause| file_fault(dir, cause)),
    }
}

pub(super) fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none())
}

pub(super) fn is_ours(meta: &fs::Metadata) -> bool {
    meta.uid() == rustix::process::geteuid().as_raw()
}

/// Whether the owner may change files that this process relies on: root and this account.
fn is_trusted(meta: &fs::Metadata) -> bool {
    is_ours(meta) || meta.uid() == 0
}

/// Returns the directory of a path; `.` if the path is a bare file name.
pub(super) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Refuses a directory of secrets that other users can access, or could exchange in a directory above it (STO-9).
pub(super) fn check_state_dir(dir: &Path) -> Result<(), Failure> {
    let wrong = |why| Err(Failure::Unsafe { path: dir.to_owned(), why });
    let meta = fs::symlink_metadata(dir).map_err(|cause| file_fault(dir, cause))?;
    if !meta.is_dir() {
        return wrong("not a directory");
    }
    if !is_ours(&meta) {
        return wrong("belongs to another user; run this as that user, for example with: runuser -u mfad -- mfad …");
    }
    if meta.mode() & 0o077 != 0 {
        return wrong("other users can access it; its mode must be 0700");
    }
    check_ancestors(dir)
}

/// Refuses a configuration that anyone but root and this account can change or exchange, since it grants rights. A
/// missing file is reported later, by the code that reads it.
pub(super) fn check_config(path: &Path) -> Result<(), Failure> {
    let wrong = |why| Err(Failure::Unsafe { path: path.to_owned(), why });
    let (Ok(name), Ok(file)) = (fs::symlink_metadata(path), fs::metadata(path)) else { return Ok(()) };
    // The owner of a link can point it elsewhere, so the link counts as well as its target.
    if !is_trusted(&name) || !is_trusted(&file) {
        return wrong("belongs to another user; it must belong to root or to this account");
    }
    if file.mode() & 0o022 != 0 {
        return wrong("other users can write it; its mode must be 0644 or stricter");
    }
    // The directories above the link itself; `check_ancestors` follows it to those above the target.
    let directory = directory_of(path);
    let directory = fs::canonicalize(directory).map_err(|cause| file_fault(directory, cause))?;
    check_directories(directory.ancestors())?;
    check_ancestors(path)
}

/// Refuses a path with a directory above it that other users can write, unless it is sticky like /tmp (SOCK-1). In a
/// sticky directory users can rename and delete only what belongs to them.
pub(super) fn check_ancestors(path: &Path) -> Result<(), Failure> {
    let whole = fs::canonicalize(path).map_err(|cause| file_fault(path, cause))?;
    check_directories(whole.ancestors().skip(1))
}

fn check_directories<'a>(directories: impl Iterator<Item = &'a Path>) -> Result<(), Failure> {
    for directory in directories {
        let meta = fs::metadata(directory).map_err(|cause| file_fault(directory, cause))?;
        if !is_trusted(&meta) || (meta.mode() & 0o022 != 0 && meta.mode() & 0o1000 == 0) {
            return Err(Failure::Unsafe { path: directory.to_owned(), why: "other users can change this directory" });
        }
    }
    Ok(())
}

/// Locks the state directory against a second instance. The kernel releases the lock with the file, even after a crash.
pub(super) fn lock(dir: &Path) -> Result<File, Failure> {
    let path = dir.join(LOCK_FILE);
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(|cause| file_fault(&path, cause))?;
    let locked = rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive);
    locked.map_err(|_| Failure::Running(dir.to_owned()))?;
    Ok(file)
}

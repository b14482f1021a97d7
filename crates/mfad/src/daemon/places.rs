//! Places that others must not change: directories that hold secrets or the socket, and the configuration. They are
//! reached through nothing that others could exchange.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::failure::{Failure, file_fault};

/// Held by the running daemon.
const LOCK_FILE: &str = "mfad.lock";

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

/// Whether its owner may change what this process goes by.
fn is_trusted(meta: &fs::Metadata) -> bool {
    is_ours(meta) || meta.uid() == 0
}

pub(super) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The directory of the database and the key: ours alone, and reached through nothing that others
/// could exchange (STO-9).
pub(super) fn check_state_dir(dir: &Path) -> Result<(), Failure> {
    let wrong = |why| Err(Failure::Unsafe { path: dir.to_owned(), why });
    let meta = fs::symlink_metadata(dir).map_err(|cause| file_fault(dir, cause))?;
    if !meta.is_dir() {
        return wrong("is not a directory");
    }
    if !is_ours(&meta) {
        return wrong("belongs to another user");
    }
    if meta.mode() & 0o077 != 0 {
        return wrong("is open to others; its mode has to be 0700");
    }
    check_ancestors(dir)
}

/// The configuration, which says who has which rights: nobody but root and this account may change or exchange it. One
/// that is missing is for its reader to tell.
pub(super) fn check_config(path: &Path) -> Result<(), Failure> {
    let wrong = |why| Err(Failure::Unsafe { path: path.to_owned(), why });
    let (Ok(name), Ok(file)) = (fs::symlink_metadata(path), fs::metadata(path)) else { return Ok(()) };
    // A link is as good as what it leads to only if nobody else can lead it elsewhere.
    if !is_trusted(&name) || !is_trusted(&file) {
        return wrong("belongs to another user; it has to be root's, or this account's");
    }
    if file.mode() & 0o022 != 0 {
        return wrong("can be written by others; its mode has to be 0644 at most");
    }
    let directory = directory_of(path);
    let directory = fs::canonicalize(directory).map_err(|cause| file_fault(directory, cause))?;
    check_directories(directory.ancestors())?;
    check_ancestors(path)
}

/// No directory above may be writable by others, unless it is sticky like /tmp (SOCK-1).
pub(super) fn check_ancestors(path: &Path) -> Result<(), Failure> {
    let whole = fs::canonicalize(path).map_err(|cause| file_fault(path, cause))?;
    check_directories(whole.ancestors().skip(1))
}

fn check_directories<'a>(directories: impl Iterator<Item = &'a Path>) -> Result<(), Failure> {
    for directory in directories {
        let meta = fs::metadata(directory).map_err(|cause| file_fault(directory, cause))?;
        if !is_trusted(&meta) || (meta.mode() & 0o022 != 0 && meta.mode() & 0o1000 == 0) {
            return Err(Failure::Unsafe { path: directory.to_owned(), why: "can be changed by other users" });
        }
    }
    Ok(())
}

pub(super) fn lock(dir: &Path) -> Result<File, Failure> {
    let path = dir.join(LOCK_FILE);
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(|cause| file_fault(&path, cause))?;
    let locked = rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive);
    locked.map_err(|_| Failure::Running(dir.to_owned()))?;
    Ok(file)
}

//! A login through a stack that is not in place yet: libpam reads the services from a copy of their directory.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::{Builder, TempDir};

use super::SERVICES;
use crate::failure::Failure;

/// The program that logs in; it is in the package of this program.
const PROGRAM: &str = "mfad-pam-try";
const PLACES: [&str; 2] = ["/usr/libexec", "/usr/local/libexec"];

/// Has the account log in to the service with this stack, on the terminal. A refusal is a failure.
pub(super) fn log_in(service: &str, stack: &str, account: &str) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::Denied(format!("cannot prepare the trial: {error}"));
    let copy = copy_of_services().map_err(failed)?;
    fs::write(copy.path().join(service), stack).map_err(failed)?;
    let status = Command::new(program()?).arg(copy.path()).arg(service).arg(account).status().map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::Denied(format!("{account} could not log in to {service} through the new stack; nothing was changed")))
}

fn program() -> Result<PathBuf, Failure> {
    // Beside this program in a build, else where the package puts it.
    let here = std::env::current_exe().ok().and_then(|path| path.parent().map(Path::to_owned));
    let dirs = here.into_iter().chain(PLACES.map(PathBuf::from));
    dirs.map(|dir| dir.join(PROGRAM))
        .find(|path| path.exists())
        .ok_or_else(|| Failure::Denied(format!("{PROGRAM} is missing; the package mfad and `make install` have it")))
}

/// Copies the services to a private directory, which is removed when it is dropped.
fn copy_of_services() -> io::Result<TempDir> {
    let copy = Builder::new().prefix("mfad-pam-").permissions(Permissions::from_mode(0o700)).tempdir()?;
    for entry in fs::read_dir(SERVICES)? {
        let path = entry?.path();
        if path.is_file()
            && let Some(name) = path.file_name()
        {
            fs::copy(&path, copy.path().join(name))?;
        }
    }
    Ok(copy)
}

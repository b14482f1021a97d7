//! A change of a service that is not confirmed yet: what was there before, and the timer that puts it back.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use nix::unistd::getsid;
use serde::{Deserialize, Serialize};

use super::stack::{has_module, without_module};
use super::{failed, path_of, read, systemd};
use crate::failure::Failure;

/// The directory of changes that are not confirmed. It outlives a restart of the host, which the timer does not: then a
/// unit of the package undoes them.
const DIRECTORY: &str = "/var/lib/mfad-pam";

/// A change that is not confirmed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Pending {
    service: String,
    before: String,
    after: String,
    /// Number of the newest event of the audit log when the change was made.
    since: i64,
    /// The session that made the change.
    session: Session,
}

/// A login session. sudo may run each command in a session of its own (`use_pty`), so the number that the kernel's audit
/// gave to the login counts as well.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    /// Of `getsid(2)`: 0 if the session began outside of this PID namespace, as with `nsenter` or `docker exec`.
    process: Option<i32>,
    /// Of `/proc/self/sessionid`, if the login got one.
    audit: Option<u32>,
}

impl Session {
    fn of_this_process() -> Self {
        let audit = fs::read_to_string("/proc/self/sessionid").ok().and_then(|text| text.trim().parse().ok());
        Self {
            // Not rustix's: it takes a session of another PID namespace, which has the number 0, for impossible.
            process: getsid(None).ok().map(nix::unistd::Pid::as_raw),
            audit: audit.filter(|number| *number != u32::MAX),
        }
    }

    /// Whether both may be the same login.
    fn is_same(&self, other: &Self) -> bool {
        let is_known = self.process.is_some() && other.process.is_some();
        !is_known || self.process == other.process || (self.audit.is_some() && self.audit == other.audit)
    }
}

impl Pending {
    /// The change of this service, if there is one.
    pub(super) fn of(service: &str) -> Result<Option<Self>, Failure> {
        let path = file_of(service);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| Failure::Denied(format!("{}: {error}; restore the service by hand", path.display()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&path, &error)),
        }
    }

    /// All changes that are not confirmed.
    pub(super) fn all() -> Result<Vec<Self>, Failure> {
        let entries = match fs::read_dir(DIRECTORY) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(Path::new(DIRECTORY), &error)),
        };
        let names = entries.flatten().filter_map(|entry| {
            entry.file_name().to_str().and_then(|name| name.strip_suffix(".json")).map(str::to_owned)
        });
        names.filter_map(|service| Self::of(&service).transpose()).collect()
    }

    /// Records a change before it is made.
    pub(super) fn begin(service: &str, before: &str, after: &str, since: i64) -> Result<Self, Failure> {
        let pending = Self {
            service: service.to_owned(),
            before: before.to_owned(),
            after: after.to_owned(),
            since,
            session: Session::of_this_process(),
        };
        let directory = Path::new(DIRECTORY);
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|error| failed(directory, &error))?;
        let path = file_of(service);
        let text = serde_json::to_vec(&pending).map_err(|error| Failure::Internal(error.to_string()))?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let written = file.as_mut().map_err(|error| io::Error::from(error.kind()));
        written
            .and_then(|file| file.write_all(&text).and_then(|()| file.sync_all()))
            .map_err(|error| failed(&path, &error))?;
        Ok(pending)
    }

    /// Starts the timer that puts the old stack back. Without it nothing is changed.
    pub(super) fn arm(&self, minutes: u16) -> Result<(), Failure> {
        let program = std::env::current_exe().map_err(|error| failed(Path::new("mfactl"), &error))?;
        let armed = systemd(
            "systemd-run",
            &[
                "--quiet",
                "--collect",
                &format!("--unit={}", unit(&self.service)),
                &format!("--on-active={minutes}min"),
                "--timer-property=AccuracySec=1s",
                &program.to_string_lossy(),
                "pam",
                "disable",
                &self.service,
            ],
        );
        if armed.is_err() {
            self.forget()?;
        }
        armed
    }

    pub(super) fn put_in_place(&self) -> Result<(), Failure> {
        replace(&path_of(&self.service), &self.after)
    }

    /// Puts back what was there, unless somebody has changed the service since: then only the module is taken out.
    pub(super) fn put_back(&self) -> Result<(), Failure> {
        let path = path_of(&self.service);
        let present = read(&path)?;
        if present == self.after {
            replace(&path, &self.before)?;
        } else if has_module(&present) {
            replace(&path, &without_module(&present))?;
        }
        self.disarm();
        self.forget()
    }

    /// Keeps the new stack.
    pub(super) fn keep(&self) -> Result<(), Failure> {
        // Forgotten first: a timer that runs just now finds nothing to undo.
        self.forget()?;
        self.disarm();
        Ok(())
    }

    /// Whether this process belongs to the session that made the change.
    pub(super) fn is_of_this_session(&self) -> bool {
        self.session.is_same(&Session::of_this_process())
    }

    pub(super) fn since(&self) -> i64 {
        self.since
    }

    pub(super) fn service(&self) -> &str {
        &self.service
    }

    fn disarm(&self) {
        // It is gone already if it has just run.
        let _ = systemd("systemctl", &["stop", &format!("{}.timer", unit(&self.service))]);
    }

    fn forget(&self) -> Result<(), Failure> {
        let path = file_of(&self.service);
        fs::remove_file(&path).map_err(|error| failed(&path, &error))
    }
}

fn unit(service: &str) -> String {
    format!("mfad-pam-undo-{service}")
}

fn file_of(service: &str) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{service}.json"))
}

/// Replaces a file in one step, with the owner and mode that it has.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let replaced = || -> io::Result<()> {
        // A link stays one: its target is replaced.
        let path = fs::canonicalize(path)?;
        let meta = fs::metadata(&path)?;
        let next = path.with_extension("mfad-new");
        let _ = fs::remove_file(&next);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next)?;
        file.write_all(text.as_bytes())?;
        chown(&next, Some(meta.uid()), Some(meta.gid()))?;
        file.set_permissions(fs::Permissions::from_mode(meta.mode()))?;
        file.sync_all()?;
        fs::rename(&next, &path)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    replaced().map_err(|error| failed(path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_the_same_if_either_number_is_or_none_is_known() {
        let session = |process, audit| Session { process, audit };
        let one = session(Some(7), Some(3));

        assert!(one.is_same(&session(Some(7), Some(4))) && one.is_same(&session(Some(8), Some(3))));
        assert!(one.is_same(&session(None, None)), "what is not known may be the same");
        assert!(!one.is_same(&session(Some(8), Some(4))) && !one.is_same(&session(Some(8), None)));
        assert!(!session(Some(7), None).is_same(&session(Some(8), None)));
    }
}

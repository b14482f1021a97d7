//! `--daemonize`: runs the daemon in the background, for hosts without a supervisor. The parent process waits until the
//! daemon serves or has failed, and exits with that code.
//!
//! The crate `daemonize2` calls fork(2) and setsid(2). It is the maintained fork of `daemonize` (RUSTSEC-2025-0069).

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::path::{Path, PathBuf};

use daemonize2::{Daemonize, Outcome, Stdio};

use super::failure::Failure;

/// Exit code of the parent if the daemon ends without reporting one.
const NO_WORD: u8 = 70;

/// Pipe to the waiting parent process, and the PID file to remove at the end. Both are absent without `--daemonize`.
#[derive(Default)]
pub(super) struct Starter {
    waiting: Option<PipeWriter>,
    pid_file: Option<PathBuf>,
}

impl Starter {
    /// Moves the process into the background. Only the child process returns. It keeps standard error for the log, and
    /// the working directory for relative paths.
    ///
    /// Must be called before a second thread is started and before any file is opened.
    #[expect(unsafe_code, reason = "fork(2) is safe in a process with one thread, and this one has one")]
    pub(super) fn detached(pid_file: Option<&Path>) -> Result<Self, Failure> {
        let failed = |cause: &dyn std::fmt::Display| Failure::Internal(format!("cannot daemonize: {cause}"));
        let (reader, writer) = std::io::pipe().map_err(|cause| failed(&cause))?;
        let here = std::env::current_dir().map_err(|cause| failed(&cause))?;
        let pid_file = pid_file.map(std::path::absolute).transpose().map_err(|cause| failed(&cause))?;
        let mut new =
            Daemonize::new().working_directory(here).umask(0o077).stdout(Stdio::devnull()).stderr(Stdio::keep());
        if let Some(path) = &pid_file {
            new = new.pid_file(path);
        }
        // SAFETY: this is the only thread of the process, so the child inherits no lock that another thread holds.
        match unsafe { new.execute() } {
            Outcome::Parent(Ok(_)) => {
                // Otherwise the parent would not see the end of the pipe when the daemon dies.
                drop(writer);
                std::process::exit(wait(reader).into());
            }
            Outcome::Parent(Err(cause)) => Err(failed(&cause)),
            Outcome::Child(Ok(_)) => {
                drop(reader);
                Ok(Self { waiting: Some(writer), pid_file })
            }
            Outcome::Child(Err(cause)) => {
                drop(reader);
                let starter = Self { waiting: Some(writer), pid_file: None };
                let failure = failed(&cause);
                starter.tell(failure.exit_code());
                Err(failure)
            }
        }
    }

    /// Reports that the daemon serves: the parent exits with 0.
    pub(super) fn ready(&self) {
        self.tell(0);
    }

    /// Reports the exit code of a daemon that ends or failed to start, and removes the PID file.
    pub(super) fn ended(&self, code: u8) {
        self.tell(code);
        if let Some(path) = &self.pid_file {
            let _ = std::fs::remove_file(path);
        }
    }

    /// Sends an exit code to the parent. Only the first one counts: the parent exits with it, and later writes fail.
    fn tell(&self, code: u8) {
        if let Some(mut waiting) = self.waiting.as_ref() {
            let _ = waiting.write_all(&[code]);
        }
    }
}

fn wait(mut reader: PipeReader) -> u8 {
    let mut word = [NO_WORD];
    match reader.read(&mut word) {
        Ok(1) => word[0],
        Ok(_) | Err(_) => NO_WORD,
    }
}

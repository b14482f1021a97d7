//! `--daemonize`: into the background, for hosts without a supervisor. Whoever started it goes on only once the daemon
//! serves, or is told how it failed. A page of fork(2) and setsid(2) that `daemonize2` has; the crate `daemonize` lets its parent go at
//! once, so that a start that fails looks like one that went well, and is not kept any more.

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::path::{Path, PathBuf};

use daemonize2::{Daemonize, Outcome, Stdio};

use super::failure::Failure;

/// The exit code if the daemon ends without a word.
const NO_WORD: u8 = 70;

/// The way to whoever started the daemon, and what is left to tidy up.
#[derive(Default)]
pub(super) struct Starter {
    waiting: Option<PipeWriter>,
    pid_file: Option<PathBuf>,
}

impl Starter {
    /// Into the background. Only the new process returns from this. It keeps standard error, for the log, and its
    /// working directory, for paths.
    ///
    /// Called before there is a thread, and before anything is open.
    #[expect(unsafe_code, reason = "fork(2) is safe in a process with one thread, and this one has one")]
    pub(super) fn detached(pid_file: Option<&Path>) -> Result<Self, Failure> {
        let failed = |cause: &dyn std::fmt::Display| Failure::Internal(format!("into the background: {cause}"));
        let (reader, writer) = std::io::pipe().map_err(|cause| failed(&cause))?;
        let here = std::env::current_dir().map_err(|cause| failed(&cause))?;
        let pid_file = pid_file.map(std::path::absolute).transpose().map_err(|cause| failed(&cause))?;
        let mut new =
            Daemonize::new().working_directory(here).umask(0o077).stdout(Stdio::devnull()).stderr(Stdio::keep());
        if let Some(path) = &pid_file {
            new = new.pid_file(path);
        }
        // SAFETY: the only thread of this process calls this.
        match unsafe { new.execute() } {
            Outcome::Parent(Ok(_)) => {
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

    /// The daemon serves.
    pub(super) fn ready(&self) {
        self.tell(0);
    }

    /// The daemon ends, or never began.
    pub(super) fn ended(&self, code: u8) {
        self.tell(code);
        if let Some(path) = &self.pid_file {
            let _ = std::fs::remove_file(path);
        }
    }

    /// Only the first word is heard.
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

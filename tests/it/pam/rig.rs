//! Stacks for the module, and `pamtester` in them (with `pam_wrapper`, so that the host's `/etc/pam.d` does not matter).

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

use crate::fed::output_of;

/// The module as it was built beside the daemon.
pub fn module() -> PathBuf {
    mfad_testkit::program("libpam_mfad.so")
}

/// The libraries of `pam_wrapper`, by Debian's multiarch name.
fn wrapper() -> PathBuf {
    let dirs = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
    let found = dirs.iter().map(|dir| Path::new(dir).join("libpam_wrapper.so")).find(|path| path.exists());
    found.expect("libpam_wrapper.so; tools/needs test installs it")
}

/// A directory with one service.
pub struct Stack {
    dir: TempDir,
}

/// What a run of `pamtester` showed.
#[derive(Debug)]
pub struct Shown {
    pub success: bool,
    /// Prompts, texts and the result, in the order in which they came.
    pub text: String,
}

impl Shown {
    /// The result in the words of `pam_strerror`.
    #[track_caller]
    pub fn says(&self, wanted: &str) -> &Self {
        assert!(self.text.contains(wanted), "{wanted:?} is not in {:?}", self.text);
        self
    }

    #[track_caller]
    pub fn lacks(&self, unwanted: &str) -> &Self {
        assert!(!self.text.contains(unwanted), "{unwanted:?} is in {:?}", self.text);
        self
    }

    #[track_caller]
    pub fn let_in(&self) -> &Self {
        assert!(self.success, "{:?}", self.text);
        self
    }

    /// Refused, with this return value in the words of `pam_strerror`.
    #[track_caller]
    pub fn refused(&self, why: &str) -> &Self {
        assert!(!self.success, "{:?}", self.text);
        self.says(why)
    }
}

pub const AUTH_ERR: &str = "Authentication failure";
pub const AUTHINFO_UNAVAIL: &str = "Authentication service cannot retrieve authentication info";
pub const MAXTRIES: &str = "Have exhausted maximum number of retries for service";
pub const PERM_DENIED: &str = "Permission denied";
pub const SERVICE_ERR: &str = "Error in service module";
pub const CONV_ERR: &str = "Conversation error";
pub const AUTHTOK_ERR: &str = "Authentication token manipulation error";

impl Stack {
    /// A service whose lines have `MODULE` for the path of the module.
    pub fn new(service: &str, lines: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let lines = lines.replace("MODULE", module().to_str().unwrap());
        fs::write(dir.path().join(service), format!("{lines}\n")).unwrap();
        fs::write(dir.path().join("other"), "auth required pam_deny.so\n").unwrap();
        Self { dir }
    }

    /// A service `svc` with the module alone, for the daemon at this socket.
    pub fn alone(socket: &Path, options: &str) -> Self {
        let line = |kind: &str| format!("{kind} required MODULE socket={} {options}\n", socket.display());
        Self::new("svc", &["auth", "account", "session", "password"].map(line).concat())
    }

    /// Runs `pamtester` with these arguments before the service, and answers its prompts with these lines.
    pub fn run(&self, items: &[&str], service: &str, user: &str, operation: &[&str], answers: &[u8]) -> Shown {
        self.run_as(items, service, user, operation, answers, &[])
    }

    pub fn run_as(
        &self,
        items: &[&str],
        service: &str,
        user: &str,
        operation: &[&str],
        answers: &[u8],
        environment: &[(&str, &str)],
    ) -> Shown {
        let mut command = Command::new("pamtester");
        self.arguments(&mut command, items, service, user, operation);
        command.envs(environment.iter().copied());
        answer(command, answers)
    }

    /// Runs `pamtester` under `valgrind`, which ends with 9 if memory was misused or lost.
    pub fn checked(&self, user: &str, operation: &[&str], answers: &[u8]) -> Shown {
        let mut command = Command::new("valgrind");
        command.args(["--quiet", "--error-exitcode=9", "--leak-check=full", "--show-leak-kinds=definite"]);
        command.args(["--errors-for-leak-kinds=definite", "--track-fds=yes", "pamtester"]);
        self.arguments(&mut command, &[], "svc", user, operation);
        answer(command, answers)
    }

    fn arguments(&self, command: &mut Command, items: &[&str], service: &str, user: &str, operation: &[&str]) {
        for item in items {
            command.args(["-I", item]);
        }
        command.arg(service).arg(user).args(operation);
        command.env("LD_PRELOAD", wrapper()).env("PAM_WRAPPER", "1").env("PAM_WRAPPER_SERVICE_DIR", self.dir.path());
    }

    /// Authenticates this user at the service `svc`.
    pub fn authenticate(&self, user: &str, answers: &str) -> Shown {
        self.run(&[], "svc", user, &["authenticate"], answers.as_bytes())
    }
}

/// Runs the command with these answers as its input. One at a time on this host: `pam_wrapper` looks for a free name among
/// a few in /tmp, and two that start at once can get the same one, and so each other's stacks.
fn answer(command: Command, answers: &[u8]) -> Shown {
    let turn = File::create(std::env::temp_dir().join("mfad-tests-pam-wrapper.lock")).unwrap();
    flock(&turn, FlockOperation::LockExclusive).unwrap();
    run(command, answers)
}

/// Runs the command with these answers as its input.
pub fn run(command: Command, answers: &[u8]) -> Shown {
    let output = output_of(command, answers);
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Shown { success: output.status.success(), text }
}

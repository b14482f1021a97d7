//! Accounts and stacks of their own, in a mount namespace.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use mfad_testkit::mounts::PRIVATE;
use tempfile::TempDir;

use super::rig::module;
use crate::host::Host;

/// The account that logs in. It exists in the namespace only.
pub const EMMY: u32 = 54_321;

/// A service that asks for a factor, and refuses who has none.
pub const ENFORCING: &str =
    "auth required MODULE retries=1\naccount required MODULE enforce\nsession required pam_permit.so\n";

/// Mounts the files of a directory over those of the host, for one program and its children, and runs it.
const NAMESPACE: &str = r#"dir=$1; shift
for file in passwd group shadow sudoers pam.d; do
    mount --bind "$dir/$file" "/etc/$file" || exit 99
done
mount -t tmpfs tmpfs /run && mkdir /run/sshd && mount --bind "$dir/lib" /var/lib || exit 99
exec "$@"
"#;

/// Accounts and stacks, and the directory for what a test writes.
pub struct Machine {
    dir: TempDir,
}

impl Machine {
    /// `stack` are the lines of each service, with `MODULE` for the module and its socket.
    pub fn new(host: &Host, stack: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let write = |name: &str, text: &str, mode: u32| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        };
        let home = dir.path().join("home");
        fs::create_dir(&home).unwrap();
        fs::create_dir(dir.path().join("lib")).unwrap();
        let account = |name: &str, id: u32| format!("{name}:x:{id}:{id}::{}:/bin/sh\n", home.display());
        let accounts = [("root", 0), ("emmy", EMMY), ("bare", EMMY + 1), ("sshd", 100)];
        write("passwd", &accounts.map(|(name, id)| account(name, id)).concat(), 0o644);
        write("group", &accounts.map(|(name, id)| format!("{name}:x:{id}:\n")).concat(), 0o644);
        write("shadow", &accounts.map(|(name, _)| format!("{name}:*:19000:0:99999:7:::\n")).concat(), 0o600);
        write("sudoers", "Defaults !lecture, timestamp_timeout=0\nemmy ALL=(ALL) ALL\nbare ALL=(ALL) ALL\n", 0o440);
        fs::create_dir(dir.path().join("pam.d")).unwrap();
        let with_socket = format!("{} socket={}", module().display(), host.socket().display());
        for service in ["sshd", "sudo", "sudo-i", "su", "other"] {
            write(&format!("pam.d/{service}"), &stack.replace("MODULE", &with_socket), 0o644);
        }
        Self { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A program in the namespace, as root.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("unshare");
        let script = format!("{PRIVATE}{NAMESPACE}");
        command.args(["--mount", "--propagation", "unchanged", "bash", "-c", &script, "bash"]);
        command.arg(self.dir.path()).arg(program);
        command
    }

    /// A program in the namespace, as emmy, with these lines as its input.
    pub fn as_emmy(&self, program: &[&str], answers: &str) -> Output {
        let id = EMMY.to_string();
        let mut command = self.command("setpriv");
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]).args(program);
        command.current_dir("/").env("MFAD_SOCKET", "/nowhere").env("RUST_BACKTRACE", "1");
        // A file is read line by line, as a terminal is; a pipe would be taken whole by the first prompt.
        fs::write(self.path("input"), answers).unwrap();
        command.stdin(fs::File::open(self.path("input")).unwrap());
        command.output().unwrap()
    }
}

pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

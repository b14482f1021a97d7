//! `mfactl backup` where its output cannot be written, breaks off or is interrupted; and output without room at large.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::host::{Host, wait};

const PATIENCE: Duration = Duration::from_secs(30);
/// What a backup begins with.
const MAGIC: &[u8] = b"mfad backup 1\n";

fn mfactl(socket: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(mfad_testkit::program("mfactl"));
    command.arg("--socket").arg(socket).args(arguments).env_remove("MFAD_SOCKET").stdin(Stdio::null());
    command
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The names in a directory.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// An empty directory of the host's own.
fn shelf(host: &Host) -> PathBuf {
    let shelf = host.dirs.dir.path().join("shelf");
    fs::create_dir(&shelf).unwrap();
    shelf
}

/// A daemon that answers one request for a backup as the test says.
struct Stub {
    listener: UnixListener,
    dir: tempfile::TempDir,
}

impl Stub {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("mfad-backup-").tempdir().unwrap();
        fs::create_dir(dir.path().join("shelf")).unwrap();
        Self { listener: UnixListener::bind(dir.path().join("socket")).unwrap(), dir }
    }

    fn shelf(&self) -> PathBuf {
        self.dir.path().join("shelf")
    }

    fn begin(&self, file: &str) -> Child {
        let mut command = mfactl(&self.dir.path().join("socket"), &["backup", file]);
        command.current_dir(self.shelf()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// The connection, once the whole head of the request has come.
    fn accept(&self) -> UnixStream {
        let (mut stream, _) = self.listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"POST /v1/backup "), "{}", String::from_utf8_lossy(&head));
        stream
    }
}

fn answer(stream: &mut UnixStream, status: &str, body: &[u8]) {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
}

/// The outer shape of a backup with one record, which is all that `mfactl` looks at.
fn shape() -> Vec<u8> {
    [MAGIC, &[7; 16 + 8 + 16 + 32], &[1, 0, 0, 0, 3], b"abc"].concat()
}

#[test]
fn a_backup_without_room_ends_with_7_and_leaves_nothing() {
    let host = Host::start("");
    let shelf = shelf(&host);
    let file = shelf.join("backup");
    let in_blocks = |blocks: &str, more: &[&str]| {
        let backup = mfactl(host.socket(), &["backup"]);
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -f {blocks}; exec \"$@\""), "sh"]).arg(backup.get_program());
        command.args(backup.get_args()).arg(&file).args(more).env_remove("MFAD_SOCKET").output().unwrap()
    };

    for blocks in ["0", "1", "8"] {
        let output = in_blocks(blocks, &[]);
        assert_eq!(output.status.code(), Some(7), "{blocks}: {}", words(&output));
        assert!(words(&output).contains("cannot write the backup to"), "{}", words(&output));
        assert_eq!(names(&shelf), [""; 0], "{blocks}");
    }
    fs::write(&file, "an older backup").unwrap();
    assert_eq!(in_blocks("8", &["--force"]).status.code(), Some(7));
    assert_eq!(names(&shelf), ["backup"]);
    assert_eq!(fs::read(&file).unwrap(), b"an older backup");
    let nowhere = shelf.join("missing/backup");
    let output = mfactl(host.socket(), &["backup", nowhere.to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", words(&output));

    fs::write(shelf.join("backup.partial"), "of a run that was killed").unwrap();
    let output = in_blocks("unlimited", &["--force"]);
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    assert_eq!(names(&shelf), ["backup"]);
    assert!(fs::read(&file).unwrap().starts_with(MAGIC));
}

#[test]
fn output_without_room_ends_with_7_whatever_it_is() {
    let host = Host::start("");
    host.nobody("ann");

    for arguments in
        [&["backup", "-"][..], &["user", "list"], &["--json", "user", "show", "ann"], &["completions", "bash"]]
    {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = mfactl(host.socket(), arguments).stdout(full).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(7), "{arguments:?}: {}", words(&output));
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_hyphen_is_standard_output_and_what_comes_there_is_restored() {
    let mut host = Host::start("");
    host.guarded("anna");
    let shelf = shelf(&host);
    let to_output = |more: &[&str]| {
        let mut command = mfactl(host.socket(), &[&["backup", "-"], more].concat());
        command.current_dir(&shelf).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };

    let output = to_output(&[]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    assert!(
        words(&output).contains(&format!("{} bytes written to standard output", output.stdout.len())),
        "{}",
        words(&output)
    );
    let quiet = to_output(&["--quiet"]).output().unwrap();
    assert!(quiet.status.success() && quiet.stderr.is_empty(), "{}", words(&quiet));
    let redirected = host.dirs.dir.path().join("redirected");
    let status = to_output(&[]).stdout(File::create(&redirected).unwrap()).status().unwrap();
    assert!(status.success());
    assert_eq!(names(&shelf), [""; 0]);

    assert_eq!(to_output(&["--json"]).output().unwrap().status.code(), Some(2));
    // The master of a pseudo-terminal is a terminal too.
    if let Ok(terminal) = File::options().read(true).write(true).open("/dev/ptmx") {
        let output = to_output(&[]).stdout(terminal).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", words(&output));
        assert!(words(&output).contains("terminal"), "{}", words(&output));
    }
    let (reader, writer) = UnixStream::pair().unwrap();
    drop(reader);
    let unread = to_output(&[]).stdout(OwnedFd::from(writer)).output().unwrap();
    assert_eq!(unread.status.code(), Some(7), "nobody has the backup: {}", words(&unread));

    host.stop();
    for bytes in [output.stdout, quiet.stdout, fs::read(&redirected).unwrap()] {
        let file = shelf.join("copy");
        fs::write(&file, bytes).unwrap();
        let dirs = &host.dirs;
        let mut restore = dirs.mfad();
        restore.args(["restore", "--replace"]).arg(&file).arg("--config").arg(&dirs.config);
        let output = restore.arg("--state-dir").arg(&dirs.state).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    }
}

#[test]
fn what_is_no_regular_file_is_not_replaced() {
    let host = Host::start("");
    let shelf = shelf(&host);
    let socket = shelf.join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();

    for place in [Path::new("/dev/null"), shelf.as_path(), socket.as_path()] {
        for more in [&["--force"][..], &[]] {
            let output =
                mfactl(host.socket(), &[&["backup", place.to_str().unwrap()], more].concat()).output().unwrap();
            assert_eq!(output.status.code(), Some(1), "{}: {}", place.display(), words(&output));
            assert!(words(&output).contains("not a regular file"), "{}", words(&output));
        }
    }
    assert_eq!(names(&shelf), ["socket"]);
}

#[test]
fn a_backup_that_breaks_off_leaves_nothing() {
    let stub = Stub::new();
    let whole = shape();

    let child = stub.begin("backup");
    answer(&mut stub.accept(), "200 OK", &whole);
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0), "the stub's backup is one");
    assert_eq!(names(&stub.shelf()), ["backup"]);

    for (status, body, code) in [
        ("200 OK", &whole[..whole.len() - 1], 3),
        ("200 OK", &b""[..], 3),
        ("503 Service Unavailable", &b"{\"status\":503,\"code\":\"not-ready\",\"title\":\"not now\"}"[..], 3),
        ("403 Forbidden", &b"{\"status\":403,\"code\":\"forbidden\",\"title\":\"no\"}"[..], 4),
    ] {
        let child = stub.begin("another");
        answer(&mut stub.accept(), status, body);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{status}: {}", words(&output));
        assert_eq!(names(&stub.shelf()), ["backup"], "{status}");
    }
    let child = stub.begin("another");
    drop(stub.accept());
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(3), "the connection was closed");
    assert_eq!(names(&stub.shelf()), ["backup"]);
    let child = stub.begin("-");
    answer(&mut stub.accept(), "200 OK", &whole[..20]);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(words(&output).contains("standard output has only part"), "{}", words(&output));
}

#[test]
fn an_interrupted_backup_leaves_nothing() {
    let stub = Stub::new();
    let whole = shape();

    // Nothing came yet, only the answer's head, or half of the backup.
    for part in [None, Some(0), Some(whole.len() / 2)] {
        let mut child = stub.begin("backup");
        let mut stream = stub.accept();
        assert_eq!(names(&stub.shelf()), ["backup.partial"], "it is open before the daemon is asked");
        if let Some(part) = part {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", whole.len());
            stream.write_all(&[head.as_bytes(), &whole[..part]].concat()).unwrap();
        }

        kill_process(Pid::from_child(&child), Signal::INT).unwrap();

        assert_eq!(wait(&mut child, PATIENCE).expect("it ends").code(), Some(130), "{part:?}");
        assert_eq!(names(&stub.shelf()), [""; 0], "{part:?}");
    }
}

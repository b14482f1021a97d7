//! A private pcscd with virtual readers, isolated from the host's pcscd and from real hardware. It has a network
//! namespace of its own, because vpcd listens on all addresses, its own `/run/pcscd`, and only the driver of vpcd.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::mounts::PRIVATE;

const DRIVER: &str = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so";
/// Default port of vpcd, used in a network namespace of its own, where no other process can have it.
const FIRST_PORT: u16 = 35963;
/// Each reader has a second slot that cannot be switched off, on the next port; it stays empty.
const PORTS_PER_READER: u16 = 16;
const SETTLING: Duration = Duration::from_secs(10);
const ENDING: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(10);

/// Runs in the new namespaces after [`PRIVATE`], and executes pcscd in its own process, so that the process id stays the same.
const SCRIPT: &str = r#"if [ "$1" = isolated ]; then
    if command -v ip > /dev/null; then
        ip link set lo up
    else
        python3 -c 'import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sH22x", b"lo", 0x41))'
    fi
fi
run=$2
shift 2
mkdir -p /run/pcscd 2> /dev/null || { mount -t tmpfs tmpfs /run; mkdir /run/pcscd; }
mount --bind "$run" /run/pcscd
mount -t tmpfs tmpfs /usr/lib/pcsc/drivers
exec pcscd --foreground "$@"
"#;

/// A running pcscd. Dropping it ends the process.
pub struct Pcscd {
    directory: PathBuf,
    names: Vec<String>,
    first_port: u16,
    /// The network namespace in which pcscd is started again. `None` without root: then it is the namespace of the
    /// host.
    network: Option<File>,
    child: Option<Child>,
}

impl Pcscd {
    /// Returns the program or driver that this host lacks to run pcscd; `None` if it can run.
    pub fn missing() -> Option<String> {
        if !Path::new(DRIVER).exists() {
            return Some(format!("{DRIVER} (Debian: vsmartcard-vpcd)"));
        }
        let is_there = |program: &&str| command(program).arg("--version").output().is_ok();
        let missing = ["pcscd", "unshare", "nsenter", "bash"].into_iter().find(|program| !is_there(program))?;
        Some(format!("the program {missing}"))
    }

    /// Starts pcscd with one reader per name, and waits until it accepts clients. The names must differ. Its
    /// configuration, socket and log are in `directory`.
    pub fn start(directory: &Path, reader_names: &[&str]) -> Result<Self, String> {
        let directory = directory.canonicalize().map_err(|cause| format!("{}: {cause}", directory.display()))?;
        let names = reader_names.iter().map(ToString::to_string).collect();
        let first_port = if is_root() { FIRST_PORT } else { free_port()? };
        let mut pcscd = Self { directory, names, first_port, network: None, child: None };
        pcscd.configure().map_err(|cause| format!("the configuration of pcscd cannot be written: {cause}"))?;
        pcscd.restart()?;
        Ok(pcscd)
    }

    /// Restarts pcscd in the same network namespace. Readers that were attached reconnect.
    pub fn restart(&mut self) -> Result<(), String> {
        self.stop();
        let child = self.spawn().map_err(|cause| format!("pcscd cannot be started: {cause}"))?;
        let process = PathBuf::from(format!("/proc/{}", child.id()));
        self.child = Some(child);
        self.settle(&process)?;
        if is_root() && self.network.is_none() {
            let network = File::open(process.join("ns/net"));
            self.network = Some(network.map_err(|cause| format!("the network of pcscd is not there: {cause}"))?);
        }
        Ok(())
    }

    /// Ends pcscd with SIGTERM, and with SIGKILL if it does not end in time. It keeps no state.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // The process may have ended already.
        let _ = kill_process(Pid::from_child(&child), Signal::TERM);
        let started = Instant::now();
        while matches!(child.try_wait(), Ok(None)) && started.elapsed() < ENDING {
            std::thread::sleep(LOOK);
        }
        drop(child.kill());
        drop(child.wait());
    }

    /// Returns the path of the socket for clients (`PCSCLITE_CSOCK_NAME`). A restart does not change it.
    pub fn socket(&self) -> PathBuf {
        self.run_directory().join("pcscd.comm")
    }

    /// Returns the directory that pcscd sees as `/run/pcscd`.
    fn run_directory(&self) -> PathBuf {
        self.directory.join("run")
    }

    /// Returns the file of pcscd's network namespace, for [`super::attach`].
    pub fn net_namespace(&self) -> PathBuf {
        match &self.network {
            Some(network) => format!("/proc/{}/fd/{}", std::process::id(), network.as_raw_fd()).into(),
            None => "/proc/self/ns/net".into(),
        }
    }

    /// Returns the port of a reader, by its number from 0.
    pub fn port(&self, reader: usize) -> u16 {
        self.first_port + PORTS_PER_READER * reader as u16
    }

    /// Returns the name that pcscd gives to a reader, by its number from 0.
    pub fn reader_name(&self, reader: usize) -> String {
        format!("{} 00 00", self.names[reader])
    }

    /// Returns the log of pcscd, with what came before pcscd was executed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn configure(&self) -> std::io::Result<()> {
        let mut configuration = String::new();
        for (reader, name) in self.names.iter().enumerate() {
            // The driver keeps its sockets in global variables, so each reader needs a copy of the driver.
            let driver = self.directory.join(format!("libifdvpcd-{reader}.so"));
            std::fs::copy(DRIVER, &driver)?;
            let (driver, port) = (driver.display(), self.port(reader));
            configuration += &format!(
                "FRIENDLYNAME \"{name}\"\nDEVICENAME /dev/null:0x{port:X}\nLIBPATH {driver}\nCHANNELID 0x{port:X}\n\n"
            );
        }
        std::fs::write(self.configuration_path(), configuration)
    }

    fn spawn(&self) -> std::io::Result<Child> {
        drop(std::fs::remove_dir_all(self.run_directory()));
        std::fs::create_dir(self.run_directory())?;
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let mut command = match &self.network {
            Some(_) => {
                let mut command = command("nsenter");
                command.arg(format!("--net={}", self.net_namespace().display())).args(["--", "unshare", "--mount"]);
                command.args(["--propagation", "unchanged"]);
                command
            }
            None => {
                let mut command = command("unshare");
                command.args(["--mount", "--propagation", "unchanged"]);
                if is_root() {
                    command.arg("--net");
                } else {
                    command.args(["--user", "--map-root-user"]);
                }
                command
            }
        };
        let network = if is_root() { "isolated" } else { "shared" };
        let script = format!("{PRIVATE}{SCRIPT}");
        command.args(["--", "bash", "-c", &script, "pcscd", network]).arg(self.run_directory());
        command.arg("--config").arg(self.configuration_path());
        if knows_polkit() {
            command.arg("--disable-polkit");
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()
    }

    /// Waits until the process has executed pcscd and its socket exists.
    fn settle(&mut self, process: &Path) -> Result<(), String> {
        let socket = self.socket();
        let started = Instant::now();
        while started.elapsed() < SETTLING {
            let name = std::fs::read_to_string(process.join("comm")).unwrap_or_default();
            let is_socket = socket.metadata().is_ok_and(|found| found.file_type().is_socket());
            if name.trim_end() == "pcscd" && is_socket {
                return Ok(());
            }
            if !matches!(self.child.as_mut().map(Child::try_wait), Some(Ok(None))) {
                break;
            }
            std::thread::sleep(LOOK);
        }
        self.stop();
        Err(format!("pcscd does not come up: {}", self.log().trim_end()))
    }

    fn configuration_path(&self) -> PathBuf {
        self.directory.join("reader.conf")
    }

    fn log_path(&self) -> PathBuf {
        self.directory.join("pcscd.log")
    }
}

impl Drop for Pcscd {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Builds a command that also finds programs in the sbin directories.
fn command(program: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command.env("PATH", format!("{path}:/usr/sbin:/sbin")).env_remove("PCSCLITE_CSOCK_NAME");
    command
}

/// Whether this pcscd asks polkit about its clients, as newer ones do. Polkit cannot be reached from the new
/// namespaces.
fn knows_polkit() -> bool {
    let help = command("pcscd").arg("--help").output();
    help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("--disable-polkit"))
}

fn is_root() -> bool {
    geteuid().is_root()
}

fn free_port() -> Result<u16, String> {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    address.map(|address| address.port()).map_err(|cause| format!("there is no port for vpcd: {cause}"))
}

/// Serves a socket like a pcscd whose polkit rules deny every client. Implements only the part of pcsclite's protocol
/// (winscard_msg.h) that a refusal needs.
pub fn refuse_everybody(socket: &Path) -> std::io::Result<()> {
    const VERSION: u32 = 0x11;
    const SECURITY_VIOLATION: u32 = 0x8010_006A;
    let listener = std::os::unix::net::UnixListener::bind(socket)?;
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let Ok(mut connection) = connection else { return };
            std::thread::spawn(move || {
                let mut header = [0; 8];
                while connection.read_exact(&mut header).is_ok() {
                    let [a, b, c, d, command @ ..] = header;
                    let mut body = vec![0; u32::from_ne_bytes([a, b, c, d]) as usize];
                    if connection.read_exact(&mut body).is_err() || body.len() < 4 {
                        return;
                    }
                    let verdict = if u32::from_ne_bytes(command) == VERSION { 0 } else { SECURITY_VIOLATION };
                    let at = body.len() - 4;
                    body[at..].copy_from_slice(&verdict.to_ne_bytes());
                    if connection.write_all(&body).is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(())
}

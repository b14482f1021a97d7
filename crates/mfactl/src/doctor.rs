//! `doctor`: finds problems on this host and suggests a fix for each. It only reads: it asks the daemon over the API,
//! and looks at the clock, the socket and the state directory itself.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::call::Call;
use crate::cli::DoctorArgs;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::{Tone, visible};

/// Where the daemon of the package keeps its store. Only administrators are told by the daemon itself.
const STATE_DIR: &str = "/var/lib/mfad";
/// Free bytes on the disk of the store below which there is a problem.
const LEAST_ROOM: u64 = 64 * 1024 * 1024;
/// Free bytes below which there is a warning.
const LITTLE_ROOM: u64 = 512 * 1024 * 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Good,
    /// It works, but could be safer.
    Warning,
    /// It does not work or is not safe. Only this makes the command fail, unless `--strict` is given.
    Problem,
    /// The check is not possible, or this account is not permitted to make it.
    Unknown,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
            Self::Unknown => "unknown",
        }
    }
}

/// Result of one check. The JSON document has the same four members.
struct Finding {
    check: &'static str,
    state: State,
    detail: String,
    remedy: Option<&'static str>,
}

/// A finding that is good has no remedy, whatever is passed.
fn finding(check: &'static str, state: State, detail: impl Into<String>, remedy: &'static str) -> Finding {
    let remedy = (state != State::Good && !remedy.is_empty()).then_some(remedy);
    Finding { check, state, detail: detail.into(), remedy }
}

pub(crate) async fn run(context: &mut Context, args: &DoctorArgs) -> Result<(), Failure> {
    let mut findings = daemon(context).await?;
    let mut named = None;
    // A daemon that does not respond is one problem, and not three.
    if findings.iter().all(|finding| finding.check != "daemon" || finding.state != State::Problem) {
        findings.push(keys(context).await?);
        findings.push(imported_factors(context).await?);
        let (master_key, dir) = master_key(context).await?;
        findings.push(master_key);
        named = dir;
    }
    findings.push(clock());
    findings.push(socket(context.client.socket()));
    let of_variable = || std::env::var_os("MFAD_STATE_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let dir = args.state_dir.clone().or_else(of_variable).or(named).unwrap_or_else(|| PathBuf::from(STATE_DIR));
    findings.extend(state_dir(&dir));
    let is_well = findings.iter().all(|finding| match finding.state {
        State::Good | State::Unknown => true,
        State::Warning => !args.strict,
        State::Problem => false,
    });
    if context.out.is_json() {
        let list: Vec<Value> = findings
            .iter()
            .map(|f| json!({"check": f.check, "state": f.state.word(), "detail": f.detail, "remedy": f.remedy}))
            .collect();
        context.out.document(&json!({"ok": is_well, "findings": list}).to_string())?;
    } else {
        for found in &findings {
            tell(context, found)?;
        }
    }
    if is_well { Ok(()) } else { Err(Failure::Reported(Exit::Denied)) }
}

fn tell(context: &Context, found: &Finding) -> Result<(), Failure> {
    if context.out.is_quiet() && found.state != State::Problem {
        return Ok(());
    }
    let tone = match found.state {
        State::Good => Tone::Good,
        State::Warning => Tone::Warning,
        State::Problem => Tone::Bad,
        State::Unknown => Tone::Faint,
    };
    let word = context.out.tone(&format!("{:<8}", found.state.word()), tone);
    context.out.indented(&format!("{word} {:<12} ", found.check), &visible(&found.detail))?;
    found.remedy.map_or(Ok(()), |remedy| context.out.indented(&format!("{:<21} -> ", ""), remedy))
}

/// Checks whether the daemon responds, is ready, has the version of this program, and is confined by the kernel.
async fn daemon(context: &mut Context) -> Result<Vec<Finding>, Failure> {
    let ready = match context.client.send(Call::get("/v1/health/ready")).await {
        Ok(answer) => answer,
        Err(Failure::Unreachable(why)) => {
            return Ok(vec![finding("daemon", State::Problem, why, "see: systemctl status mfad.socket mfad.service")]);
        }
        Err(Failure::Forbidden(why)) => {
            let remedy = "add this account to the group of the socket: usermod -aG mfad NAME, then log in again";
            return Ok(vec![finding("daemon", State::Problem, why, remedy)]);
        }
        Err(other) => return Err(other),
    };
    let mut findings = vec![match ready.status {
        200 => finding("daemon", State::Good, "ready; the store accepts writes", ""),
        _ => finding("daemon", State::Problem, ready.problem().to_string(), "see: journalctl -u mfad"),
    }];
    let version: Value = context.client.ask(Call::get("/v1/version")).await?.read()?;
    let theirs = version.get("version").and_then(Value::as_str).unwrap_or_default();
    let ours = env!("CARGO_PKG_VERSION");
    findings.push(if theirs == ours {
        finding("version", State::Good, format!("mfad and mfactl {ours}"), "")
    } else {
        let detail = format!("mfad is {theirs}, mfactl is {ours}");
        finding("version", State::Warning, detail, "install the same version of both, then: systemctl restart mfad")
    });
    let landlock = version.get("landlock").and_then(Value::as_str).unwrap_or("none");
    findings.push(match landlock {
        "none" => finding(
            "sandbox",
            State::Warning,
            "the kernel does not confine the daemon with Landlock",
            "boot kernel 5.13 or newer with lsm=landlock,…; the sandbox of the systemd unit applies anyway",
        ),
        some => finding("sandbox", State::Good, format!("the kernel confines the daemon with Landlock ({some})"), ""),
    });
    Ok(findings)
}

/// Checks whether the daemon can use hardware keys.
async fn keys(context: &mut Context) -> Result<Finding, Failure> {
    let answer = context.client.send(Call::get("/v1/devices")).await?;
    if answer.status == 200 {
        let listed: Value = answer.read()?;
        let count = listed.get("devices").and_then(Value::as_array).map_or(0, Vec::len);
        return Ok(finding("pcscd", State::Good, format!("reachable; {count} hardware keys are plugged in"), ""));
    }
    let problem = answer.problem();
    Ok(match problem.code.as_str() {
        "no-pcscd" => finding(
            "pcscd",
            State::Warning,
            "not running, so hardware keys cannot be used",
            "apt install pcscd; if you have no hardware keys: enabled = false under [devices]",
        ),
        "pcscd-denied" => finding(
            "pcscd",
            State::Problem,
            "refuses access to the daemon",
            "apt install polkitd; the rule of the package gives the user mfad access (docs/hardware.md)",
        ),
        "forbidden" | "unauthenticated" => not_this_account("pcscd"),
        _ => finding("pcscd", State::Problem, problem.to_string(), "see: journalctl -u mfad -u pcscd"),
    })
}

/// Checks whether imported factors need attention: those with a short secret, and those that are not proved yet.
async fn imported_factors(context: &mut Context) -> Result<Finding, Failure> {
    let answer = context.client.send(Call::get("/v1/metrics")).await?;
    if answer.status != 200 {
        return Ok(match answer.problem().code.as_str() {
            "forbidden" | "unauthenticated" => not_this_account("factors"),
            _ => finding("factors", State::Problem, answer.problem().to_string(), "see: journalctl -u mfad"),
        });
    }
    let count = |state: &str| {
        let name = format!("mfad_imported_factors{{state=\"{state}\"}} ");
        answer.text().lines().find_map(|line| line.strip_prefix(&name)?.parse::<u64>().ok()).unwrap_or(0)
    };
    let (weak, unproved) = (count("weak"), count("unproved"));
    Ok(match (weak, unproved) {
        (0, 0) => finding("factors", State::Good, "no imported factor is weak or waits for its first code", ""),
        (0, _) => finding("factors", State::Good, format!("{unproved} imported factors wait for their first code"), ""),
        _ => finding(
            "factors",
            State::Warning,
            format!(
                "{weak} imported factors have a secret of fewer than 128 bits; {unproved} wait for their first code"
            ),
            "let their users enrol new ones; mfactl secret list USER shows which are weak",
        ),
    })
}

fn not_this_account(check: &'static str) -> Finding {
    finding(
        check,
        State::Unknown,
        "this account is not permitted to check it",
        "run mfactl as root or as a member of mfad-admin",
    )
}

/// Checks where the master key is kept, and whether a rotation is complete. Also returns the directory of the store, which the daemon tells administrators.
async fn master_key(context: &mut Context) -> Result<(Finding, Option<PathBuf>), Failure> {
    let answer = context.client.send(Call::get("/v1/key")).await?;
    if answer.status != 200 {
        let found = match answer.problem().code.as_str() {
            "forbidden" | "unauthenticated" => not_this_account("master key"),
            _ => finding("master key", State::Problem, answer.problem().to_string(), "see: journalctl -u mfad"),
        };
        return Ok((found, None));
    }
    let key: Value = answer.read()?;
    let text = |name: &str| key.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let dir = Some(text("stateDir")).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let found = match (text("source").as_str(), text("state").as_str()) {
        (_, "resealing") => {
            finding("master key", State::Warning, "a rotation is in progress", "resume it: mfactl master-key rotate")
        }
        (_, "awaiting-key") => finding(
            "master key",
            State::Problem,
            "rotated, but the old master key still opens the store",
            "put the new credential in place of the old one, then: systemctl restart mfad",
        ),
        ("credential", _) => finding("master key", State::Good, "a credential, separate from the store", ""),
        _ => finding(
            "master key",
            State::Warning,
            "a file beside the store: a copy of the disk has both",
            "make it an encrypted credential: see \"Encrypt the master key\" in service.md",
        ),
    };
    Ok((found, dir))
}

/// Checks the clock, since time-based codes are compared with it.
fn clock() -> Finding {
    let asked = Command::new("timedatectl").args(["show", "--property=NTPSynchronized", "--value"]).output();
    match asked.as_ref().map(|output| output.stdout.trim_ascii()) {
        Ok(b"yes") => finding("clock", State::Good, "synchronised", ""),
        Ok(b"no") => finding(
            "clock",
            State::Problem,
            "not synchronised, so time-based codes may be refused, or old ones accepted",
            "apt install systemd-timesyncd or chrony, then: timedatectl set-ntp true",
        ),
        _ => finding(
            "clock",
            State::Unknown,
            "timedatectl does not report whether it is synchronised",
            "compare `date -u` with another clock",
        ),
    }
}

/// Checks who may connect to the socket.
fn socket(path: &Path) -> Finding {
    let Ok(meta) = fs::metadata(path) else {
        return finding("socket", State::Unknown, format!("cannot inspect {}", path.display()), "");
    };
    let mode = meta.permissions().mode() & 0o777;
    let detail = format!("{} has mode {mode:04o}", path.display());
    if mode & 0o007 == 0 {
        return finding("socket", State::Good, detail, "");
    }
    finding(
        "socket",
        State::Warning,
        detail,
        "set SocketMode=0660 in mfad.socket, or socketMode = \"0660\" in mfad.toml",
    )
}

/// Checks who may read the state directory, and the free space on its disk.
fn state_dir(dir: &Path) -> Vec<Finding> {
    let meta = match fs::metadata(dir) {
        Ok(meta) => meta,
        Err(error) => {
            let (detail, remedy) = match error.kind() {
                ErrorKind::NotFound => ("there is no directory", "give the daemon's with --state-dir"),
                _ => ("cannot inspect", "run mfactl as root"),
            };
            return vec![finding("store", State::Unknown, format!("{detail} {}", dir.display()), remedy)];
        }
    };
    let mode = meta.permissions().mode() & 0o777;
    let mut findings = vec![if mode & 0o077 == 0 {
        finding(
            "store",
            State::Good,
            format!("{} is accessible only to its owner (uid {})", dir.display(), meta.uid()),
            "",
        )
    } else {
        let detail = format!("{} has mode {mode:04o}", dir.display());
        finding("store", State::Problem, detail, "chmod 0700 it; rotate the master key if others may have read it")
    }];
    if let Ok(disk) = rustix::fs::statvfs(dir) {
        let room = disk.f_bavail.saturating_mul(disk.f_frsize);
        let state = match room {
            ..LEAST_ROOM => State::Problem,
            LEAST_ROOM..LITTLE_ROOM => State::Warning,
            _ => State::Good,
        };
        let detail = format!("{} MiB free", room / (1024 * 1024));
        findings.push(finding(
            "disk",
            state,
            detail,
            "free disk space: when it runs out, attempts cannot be recorded, so all logins are refused",
        ));
    }
    findings
}

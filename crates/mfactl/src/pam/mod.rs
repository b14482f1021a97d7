//! `pam`: requires a second factor in the PAM services of this host, without locking the administrator out. A change is
//! tried first, and undone by a timer unless a login through it was confirmed.

mod break_glass;
mod coverage;
mod pending;
mod stack;
mod trial;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::{User, geteuid, getuid};
use serde_json::json;

use crate::audit_list::{PAGE, newest, page};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::visible;
use crate::pam_args::{DisableArgs, EnableArgs, PamCommand};
use mfad_api::AuditPage;
use pending::Pending;
use stack::{Fault, MODULE};

/// The directory of the services (`pam.d(5)`).
const SERVICES: &str = "/etc/pam.d";

pub(crate) async fn run(context: &mut Context, command: &PamCommand) -> Result<(), Failure> {
    match command {
        PamCommand::Coverage => coverage::run(context).await,
        PamCommand::Enable(args) => enable(context, args).await,
        PamCommand::Confirm(args) => confirm(context, &args.service).await,
        PamCommand::Disable(args) => disable(context, args),
        PamCommand::BreakGlass(args) => break_glass::run(context, args).await,
    }
}

fn must_be_root() -> Result<(), Failure> {
    if geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::Forbidden("only root may do this; run it as root".to_owned()))
}

fn path_of(service: &str) -> PathBuf {
    Path::new(SERVICES).join(service)
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| failed(path, &error))
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::Denied(format!("{}: {error}", path.display()))
}

async fn enable(context: &mut Context, args: &EnableArgs) -> Result<(), Failure> {
    must_be_root()?;
    let service = args.service.service.as_str();
    let path = path_of(service);
    if Pending::of(service)?.is_some() {
        return Err(Failure::Denied(format!(
            "{service} was changed and is not confirmed yet; run mfactl pam confirm {service}, or mfactl pam disable {service}"
        )));
    }
    let before = read(&path)?;
    let line = line(args)?;
    let (after, number) = stack::with_module(&before, &line).map_err(|fault| match fault {
        Fault::HasModule => Failure::Denied(format!("{} has {MODULE} already; nothing was changed", path.display())),
        Fault::NoAuth => Failure::Denied(format!("{} has no `auth` line to put {MODULE} after", path.display())),
    })?;
    let account = account(args)?;
    context.out.note(&format!("{}, line {number}:", path.display()))?;
    context.out.note(&format!("+ {}", visible(&line.replace('\t', "    "))))?;
    let accounts = coverage::accounts(context).await?;
    let refused: Vec<&str> =
        accounts.iter().filter(|account| !account.is_covered()).map(|account| account.name.as_str()).collect();
    if !refused.is_empty() {
        context.out.note(&format!(
            "without a factor, and refused unless an option lets them in: {}",
            visible(&refused.join(", "))
        ))?;
    }
    if let Some(other) = other_file_of(service) {
        context
            .out
            .note(&format!("{other} is a service of its own, and does not ask yet: mfactl pam enable {other}"))?;
    }
    if !args.without_trial {
        let is_covered = accounts.iter().any(|known| known.name == account && known.is_covered());
        try_login(context, service, &after, &account, is_covered).await?;
    }
    if args.dry_run {
        return done(context, service, "tried", &format!("{account} can log in; nothing was changed"));
    }
    let since = newest(context).await?;
    let pending = Pending::begin(service, &before, &after, since)?;
    pending.arm(args.minutes)?;
    pending.put_in_place()?;
    let minutes = if args.minutes == 1 { "1 minute".to_owned() } else { format!("{} minutes", args.minutes) };
    let next = format!(
        "{service} requires the second factor now. This is undone in {minutes}. Log in through it from another terminal, and run \
         there as root: mfactl pam confirm {service}"
    );
    done(context, service, "enabled", &next)
}

/// Services that a person takes for one, and that have a file each. Debian's `su-l` includes `su`.
const PAIRS: [(&str, &str); 2] = [("sudo", "sudo-i"), ("sudo-i", "sudo")];

/// The other file of a service that has two, if that one lacks the module.
fn other_file_of(service: &str) -> Option<&'static str> {
    let (_, other) = PAIRS.into_iter().find(|(one, _)| *one == service)?;
    fs::read_to_string(path_of(other)).ok().filter(|text| !stack::has_module(text)).map(|_| other)
}

/// Has the account log in through the new stack. A login that asked for no second factor proves nothing, and counts as a
/// failure.
async fn try_login(
    context: &mut Context,
    service: &str,
    stack: &str,
    account: &str,
    is_covered: bool,
) -> Result<(), Failure> {
    if !is_covered {
        return Err(Failure::Denied(format!(
            "{account} has no second factor here, and would be locked out; nothing was changed; name another account with \
             --account, or see mfactl pam coverage"
        )));
    }
    context.out.note(&format!("a login of {} through the new stack:", visible(account)))?;
    let before = newest(context).await?;
    trial::log_in(service, stack, account)?;
    if has_login_since(context, before, service).await? {
        return Ok(());
    }
    Err(Failure::Denied(format!(
        "{account} was let in without a second factor, so the new stack was not tried; nothing was changed; if {service} \
         lets root in without asking, use --without-trial"
    )))
}

/// The line of the module.
fn line(args: &EnableArgs) -> Result<String, Failure> {
    let module = match &args.module {
        Some(path) if !path.is_absolute() || !path.exists() => {
            return Err(Failure::Usage(format!("--module: {} is no absolute path of a file", path.display())));
        }
        Some(path) => path.display().to_string(),
        None if is_installed() => MODULE.to_owned(),
        None => {
            return Err(Failure::Denied(format!(
                "{MODULE} is not installed; a stack with a missing module refuses everybody; install libpam-mfad"
            )));
        }
    };
    if args.options.chars().any(|letter| letter.is_control() || letter == '#') {
        return Err(Failure::Usage("--options: one line without `#`".to_owned()));
    }
    Ok(format!("auth\trequired\t{module} {}", args.options.trim()).trim_end().to_owned())
}

/// Whether the module is in a directory where libpam looks for it.
fn is_installed() -> bool {
    let multiarch = fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let dirs = multiarch.chain(["/usr/lib", "/usr/lib64", "/lib", "/lib64"].map(PathBuf::from));
    dirs.into_iter().any(|dir| dir.join("security").join(MODULE).exists())
}

/// The account that tries the login: the administrator's own, since that is the one that must not be locked out.
fn account(args: &EnableArgs) -> Result<String, Failure> {
    if let Some(account) = &args.account {
        return Ok(account.clone());
    }
    // sudo sets it; a wrong value only makes the trial fail.
    if let Some(account) = std::env::var("SUDO_USER").ok().filter(|account| !account.is_empty()) {
        return Ok(account);
    }
    // Of a login, this stays as it was through su.
    let login = fs::read_to_string("/proc/self/loginuid").ok().and_then(|uid| uid.trim().parse::<u32>().ok());
    let uid = login.filter(|uid| *uid != u32::MAX).map_or_else(getuid, nix::unistd::Uid::from_raw);
    let found = User::from_uid(uid).ok().flatten().map(|user| user.name);
    found.ok_or_else(|| Failure::Usage("name the account that tries the login: --account ACCOUNT".to_owned()))
}

async fn confirm(context: &mut Context, service: &str) -> Result<(), Failure> {
    must_be_root()?;
    let Some(pending) = Pending::of(service)? else {
        return Err(Failure::Denied(format!("nothing is to be confirmed for {service}")));
    };
    if pending.is_of_this_session() {
        return Err(Failure::Denied(format!(
            "this is the session that changed {service}; log in from another terminal, and run this there"
        )));
    }
    if !has_login_since(context, pending.since(), service).await? {
        return Err(Failure::Denied(format!(
            "nobody has given a second factor to {service} since it was changed; log in through it first (a login with a key of \
             ssh is not asked: use ssh -o PubkeyAuthentication=no)"
        )));
    }
    pending.keep()?;
    done(context, service, "confirmed", &format!("{service} keeps requiring the second factor"))
}

/// Whether the audit log has an accepted factor for this service after an event.
async fn has_login_since(context: &mut Context, since: i64, service: &str) -> Result<bool, Failure> {
    let mut after = since;
    loop {
        let page: AuditPage = page(context, after, PAGE).await?.read()?;
        let is_login =
            |detail: &str| detail.split_once(": ").is_some_and(|(login, _)| login.split(' ').next() == Some(service));
        let found = page.events.iter().any(|event| {
            event.event == "verify" && event.outcome == "ok" && event.detail.as_deref().is_some_and(is_login)
        });
        match page.next {
            _ if found => return Ok(true),
            Some(next) => after = next,
            None => return Ok(false),
        }
    }
}

fn disable(context: &mut Context, args: &DisableArgs) -> Result<(), Failure> {
    must_be_root()?;
    let Some(service) = &args.service else {
        for pending in Pending::all()? {
            pending.put_back()?;
            context.out.note(&format!("{} is as it was before", pending.service()))?;
        }
        return Ok(());
    };
    if let Some(pending) = Pending::of(service)? {
        pending.put_back()?;
        return done(context, service, "disabled", &format!("{service} is as it was before"));
    }
    let path = path_of(service);
    let text = read(&path)?;
    if !stack::has_module(&text) {
        return Err(Failure::Denied(format!("{} has no {MODULE}; nothing was changed", path.display())));
    }
    pending::replace(&path, &stack::without_module(&text))?;
    done(context, service, "disabled", &format!("{service} does without the second factor"))
}

fn done(context: &mut Context, service: &str, state: &str, text: &str) -> Result<(), Failure> {
    if context.out.is_json() {
        return context.out.document(&json!({"service": service, "state": state}).to_string());
    }
    context.out.note(text)
}

/// Runs a program of systemd. The error says what it wrote.
fn systemd(program: &str, arguments: &[&str]) -> Result<(), Failure> {
    let failed = |why: &dyn std::fmt::Display| Failure::Denied(format!("{program}: {why}; nothing was changed"));
    let output = Command::new(program).args(arguments).output().map_err(|error| failed(&error))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(&String::from_utf8_lossy(&output.stderr).trim()))
}

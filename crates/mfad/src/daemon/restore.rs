//! `mfad restore`: a backup takes the place of the store, while no daemon runs.

use std::fs::File;
use std::path::PathBuf;

use crate::config::Config;
use crate::http::Clock;
use mfad_core::entropy;
use mfad_core::model::SecretId;
use mfad_store::{AuditEntry, Outcome, Restoration, Restored, Source, restore};

use super::failure::{Failure, file_fault};
use super::master_key::{master_key_without_store, read_key};
use super::places::{check_state_dir, lock, make_state_dir};

/// The arguments of `mfad restore`.
#[derive(Debug, clap::Args)]
pub(super) struct RestoreArgs {
    /// The backup, made with `mfactl backup`; `-` is standard input
    #[arg(required_unless_present = "in_place", conflicts_with = "in_place")]
    file: Option<PathBuf>,
    /// Take the store that is there for a restored one: after its files were put back by other means
    #[arg(long)]
    in_place: bool,
    /// Replace the store that is there; it is kept as mfad.db.replaced
    #[arg(long)]
    replace: bool,
    /// Nothing was used since the backup was made: unused backup codes keep counting
    #[arg(long)]
    keep_backup_codes: bool,
    /// A file with the master key, if it is neither a credential nor in the state directory
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

#[expect(clippy::print_stderr, reason = "an administrator reads what is there now and what is left to do")]
pub(super) fn run(config: &Config, args: &RestoreArgs) -> Result<(), Failure> {
    let dir = &config.state_dir;
    make_state_dir(dir)?;
    check_state_dir(dir)?;
    let _lock = lock(dir)?;
    let key = match &args.key_file {
        Some(path) => read_key(path)?,
        None => master_key_without_store(dir)?,
    };
    let clock = Clock::new().map_err(|cause| Failure::Internal(cause.to_string()))?;
    let now = clock.now().wall_ms;
    let how = Restoration {
        state_dir: dir,
        guard_dir: super::guard_dir(config)?,
        master: &key,
        may_replace: args.replace || args.in_place,
        keep_codes: args.keep_backup_codes,
        now,
    };
    let entry = |restored: &Restored| entry(now, restored);
    let restored = match &args.file {
        Some(path) if path.as_os_str() == "-" => restore(Source::Backup(&mut std::io::stdin().lock()), &how, entry),
        Some(path) => {
            let mut file = File::open(path).map_err(|cause| file_fault(path, cause))?;
            restore(Source::Backup(&mut file), &how, entry)
        }
        None => restore(Source::InPlace, &how, entry),
    };
    let restored = restored.map_err(Failure::Restore)?;
    for line in report(&restored, args.keep_backup_codes) {
        eprintln!("mfad: {line}");
    }
    Ok(())
}

fn entry(now: i64, restored: &Restored) -> AuditEntry {
    let source = restored.made.map_or("the store in its place".to_owned(), |made| format!("a backup of {made}"));
    AuditEntry {
        at: now,
        event: "store.restored",
        subject: None,
        object: None,
        peer_uid: Some(rustix::process::geteuid().as_raw()),
        peer_pid: i32::try_from(std::process::id()).ok(),
        request: Some(SecretId::at(now, &entropy::public().unwrap_or_default()).to_string()),
        outcome: Outcome::Ok,
        detail: Some(source),
    }
}

/// What is there, and what whoever restored it has to think of.
fn report(restored: &Restored, keep_codes: bool) -> Vec<String> {
    let Restored { made, users, timed, counted, without_codes, api_keys, devices } = *restored;
    let mut lines = vec![format!("restored: {users} users, {timed} factors by the clock, {counted} by a counter")];
    if let Some(made) = made {
        lines.push(format!("everything is as it was when the backup was made, at {}", crate::http::time_text(made)));
    }
    lines.push("every session has ended; everybody logs in again".to_owned());
    lines.push("codes of this moment are refused; the next ones count".to_owned());
    if counted > 0 {
        lines.push(format!(
            "{counted} counters moved forward by 10: an authenticator that lags gives some codes that are refused first"
        ));
    }
    if without_codes > 0 {
        lines.push(format!(
            "to be renewed: the backup codes of {without_codes} users (mfactl codes renew), since some may have been used"
        ));
    } else if keep_codes {
        lines.push("backup codes count as they did then".to_owned());
    }
    lines.push(
        "to be checked: passwords, factors and users that were changed or removed since are as they were".to_owned(),
    );
    if api_keys > 0 {
        lines.push(format!("to be checked: {api_keys} API keys, some of which may have been revoked since"));
    }
    if devices > 0 {
        lines.push(format!("to be checked: {devices} hardware keys, at their next contact (mfactl device list)"));
    }
    lines
}

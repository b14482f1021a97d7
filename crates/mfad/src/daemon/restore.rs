//! `mfad restore`: replaces the store with a backup while no daemon runs, and tells the administrator what to do then.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::http::Clock;
use mfad_api::AuditEvent;
use mfad_core::entropy;
use mfad_core::model::SecretId;
use mfad_store::{AuditEntry, MasterKey, OpenFault, Outcome, Restoration, RestoreFault, Restored, Source, restore};

use super::failure::{Failure, file_fault};
use super::master_key::{KEY_FILE, master_key_without_store, read_key};
use super::places::{check_state_dir, lock, make_state_dir};

/// Arguments of `mfad restore`.
#[derive(Debug, clap::Args)]
pub(super) struct RestoreArgs {
    /// Backup made with `mfactl backup`; `-` reads standard input
    #[arg(required_unless_present = "in_place", conflicts_with = "in_place")]
    file: Option<PathBuf>,
    /// Treat the existing store as restored, after its files were put back by other means
    #[arg(long)]
    in_place: bool,
    /// Replace an existing store; it is kept as mfad.db.replaced, or mfad.db.replaced-2 and so on
    #[arg(long)]
    replace: bool,
    /// Keep unused backup codes valid; only where nothing was used since the backup was made
    #[arg(long)]
    keep_backup_codes: bool,
    /// File with the master key, if it is neither a credential nor in the state directory
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
    let restored = restored.map_err(|fault| match fault {
        RestoreFault::Store(OpenFault::Exists) => {
            Failure::Exists("--replace replaces it, and keeps it beside the new one")
        }
        fault => Failure::Restore(fault),
    })?;
    for line in report(&restored, args.keep_backup_codes) {
        eprintln!("mfad: {line}");
    }
    if let Some(given) = &args.key_file
        && !is_key_of_daemon(dir, &key)
    {
        let place = dir.join(KEY_FILE);
        eprintln!(
            "mfad: the daemon starts with this master key only: put {} in place of {} (mode 0400, same owner as the \
             directory), or make it the credential again",
            given.display(),
            place.display()
        );
    }
    Ok(())
}

/// Whether the daemon would find this key by itself.
fn is_key_of_daemon(dir: &Path, key: &MasterKey) -> bool {
    master_key_without_store(dir).is_ok_and(|found| mfad_store::same_tag(found.expose(), key.expose()))
}

/// Returns the audit row of the restore, which is written to the restored store. `now` is in milliseconds since 1970.
fn entry(now: i64, restored: &Restored) -> AuditEntry {
    let source = restored.made.map_or("the existing store".to_owned(), |made| format!("a backup of {made}"));
    AuditEntry {
        at: now,
        event: AuditEvent::StoreRestored,
        subject: None,
        object: None,
        peer_uid: Some(rustix::process::geteuid().as_raw()),
        peer_pid: i32::try_from(std::process::id()).ok(),
        request: Some(SecretId::at(now, &entropy::public().unwrap_or_default()).to_string()),
        outcome: Outcome::Ok,
        detail: Some(source),
        used: None,
    }
}

/// Lists what the store now contains, and what the administrator has to renew and to check.
fn report(restored: &Restored, keep_codes: bool) -> Vec<String> {
    let Restored { made, users, timed, counted, without_codes, api_keys, devices } = *restored;
    let mut lines =
        vec![format!("restored users: {users}; time-based factors: {timed}; counter-based factors: {counted}")];
    if let Some(made) = made {
        lines.push(format!("the store is as it was when the backup was made, at {}", crate::http::time_text(made)));
    }
    lines.push("all sessions have ended; users must log in again".to_owned());
    lines.push("current time-based codes are refused; the next ones are accepted".to_owned());
    if counted > 0 {
        lines.push(format!(
            "{counted} counters moved forward by 10: the next codes of these factors may be refused until they catch up"
        ));
    }
    if without_codes > 0 {
        lines.push(format!(
            "the backup codes of {without_codes} users have ended, since some may have been used: mfactl codes renew USER \
             makes new ones"
        ));
    } else if keep_codes {
        lines.push("unused backup codes stay valid".to_owned());
    }
    lines.push("check passwords, factors and users: changes and removals since then are undone".to_owned());
    if api_keys > 0 {
        lines.push(format!("API keys to check, since some may have been revoked: {api_keys}"));
    }
    if devices > 0 {
        lines.push(format!("hardware keys to check at their next contact (mfactl device list): {devices}"));
    }
    lines
}

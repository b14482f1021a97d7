//! Confines the process with Landlock, as far as the kernel supports it. The process loses for good the rights to write
//! other files than its own, to start programs, and to use TCP. The systemd unit enforces the same from outside, and
//! more.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus, path_beneath_rules,
};

use mfad_service::Confinement;

/// Newest version of the Landlock ABI whose rights are handled. An older kernel enforces those that it knows.
const RIGHTS: ABI = ABI::V5;

/// Gives up all writing except below these directories and to devices. Must be called before the first thread starts,
/// since Landlock does not bind threads that already run.
pub(super) fn enter(writable: &[&Path]) -> Confinement {
    match restrict(writable) {
        Ok(RestrictionStatus { ruleset: RulesetStatus::FullyEnforced, .. }) => Confinement::Full,
        Ok(RestrictionStatus { ruleset: RulesetStatus::PartiallyEnforced, .. }) => Confinement::Partial,
        Ok(_) => {
            tracing::info!("this kernel does not support Landlock");
            Confinement::None
        }
        Err(error) => {
            tracing::warn!(%error, "cannot enable Landlock");
            Confinement::None
        }
    }
}

fn restrict(writable: &[&Path]) -> Result<RestrictionStatus, RulesetError> {
    // Reading stays unrestricted: at the next reload, the settings may name any file.
    let reading = AccessFs::ReadFile | AccessFs::ReadDir;
    let writing: BitFlags<AccessFs> = AccessFs::from_all(RIGHTS) & !BitFlags::from(AccessFs::Execute);
    // The HID devices of security keys come and go below /dev, so they cannot be listed in advance.
    let devices = reading | AccessFs::WriteFile | AccessFs::IoctlDev;
    Ruleset::default()
        .handle_access(AccessFs::from_all(RIGHTS))?
        .handle_access(AccessNet::from_all(RIGHTS))?
        .create()?
        .add_rules(path_beneath_rules(["/"], reading))?
        .add_rules(path_beneath_rules(["/dev"], devices))?
        .add_rules(path_beneath_rules(writable, writing))?
        .restrict_self()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind;
    use std::net::{Ipv4Addr, TcpListener};
    use std::process::Command;

    use super::*;

    #[test]
    fn what_was_given_up_is_refused_by_the_kernel() {
        let (ours, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(others.path().join("there"), "x").unwrap();
        // The restriction binds the calling thread and cannot be lifted, so it gets a thread of its own.
        let thread = std::thread::spawn(move || {
            let confinement = enter(&[ours.path()]);
            if confinement == Confinement::None {
                println!("skipped: this kernel does not support Landlock");
                return;
            }
            fs::write(ours.path().join("new"), "x").unwrap();
            fs::rename(ours.path().join("new"), ours.path().join("newer")).unwrap();
            assert_eq!(fs::read(others.path().join("there")).unwrap(), b"x");
            let denied = |kind: ErrorKind| assert_eq!(kind, ErrorKind::PermissionDenied);
            denied(fs::write(others.path().join("there"), "y").unwrap_err().kind());
            denied(fs::remove_file(others.path().join("there")).unwrap_err().kind());
            denied(Command::new("/bin/true").status().unwrap_err().kind());
            if confinement == Confinement::Full {
                denied(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap_err().kind());
            }
        });
        thread.join().unwrap();
    }
}

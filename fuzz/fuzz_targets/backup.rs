//! Backups. An input is a whole backup behind a zero byte, or else changes, six bytes each, to a genuine backup. Only a
//! complete, unchanged backup is restored, and a refused one leaves no store behind.

#![no_main]

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mfad_store::{
    AuditEntry, Backup, BackupFault, DATABASE, Decision, Listeners, MasterKey, Outcome, Restoration, RestoreFault,
    Restored, Source, Store,
};

const PATIENCE: Duration = Duration::from_secs(60);
/// Enough rows of the audit log that the backup has more than one record.
const ROWS: i64 = 300;
const MOST_CHANGES: usize = 8;

static GENUINE: LazyLock<Genuine> = LazyLock::new(Genuine::make);

/// Two backups of one store, each as a head and its records.
struct Genuine {
    first: Vec<Vec<u8>>,
    second: Vec<Vec<u8>>,
}

/// The kind of change, the part, the position in it (three bytes), and the byte to use.
type Change = [u8; 6];

fuzz_target!(|data: &[u8]| {
    match data.split_first() {
        None => {}
        Some((0, bytes)) => check_refused(bytes),
        Some((_, changes)) => {
            let mut parts = GENUINE.first.clone();
            changes.as_chunks::<6>().0.iter().take(MOST_CHANGES).for_each(|one| change(&mut parts, one));
            let whole = parts.concat();
            if whole != GENUINE.first.concat() && whole != GENUINE.second.concat() {
                check_refused(&whole);
            }
        }
    }
});

impl Genuine {
    fn make() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        mfad_store::create(home.path(), &master()).expect("a store");
        let store = Store::open(home.path(), None, &master(), Listeners::default()).expect("the store");
        let fill = store.write(PATIENCE, |tx| {
            (0..ROWS).try_for_each(|at| tx.audit(&entry(at)))?;
            Ok(Decision::Commit(()))
        });
        fill.expect("rows");
        let parts = |now| parts_of(store.backup(PATIENCE, now).expect("a backup"));
        let genuine = Self { first: parts(1), second: parts(2) };
        store.close();
        assert!(genuine.first.len() > 2, "a head and several records");
        let other = tempfile::tempdir().expect("a directory");
        assert!(restore(&genuine.first.concat(), other.path()).is_ok(), "what is not changed is restored");
        genuine
    }
}

fn parts_of(mut backup: Backup) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| backup.next_part().expect("a part of a backup")).collect()
}

fn change(parts: &mut Vec<Vec<u8>>, &[what, which, high, middle, low, value]: &Change) {
    if parts.is_empty() {
        return;
    }
    let (count, which) = (parts.len(), usize::from(which) % parts.len());
    let part = &mut parts[which];
    let place = u32::from_be_bytes([0, high, middle, low]) as usize % (part.len() + 1);
    match what % 7 {
        0 => part.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= value),
        1 => part.truncate(place),
        2 => part.insert(place, value),
        3 => parts.swap(which, usize::from(value) % count),
        4 => parts.insert(which, parts[which].clone()),
        5 => drop(parts.remove(which)),
        _ => parts[which] = GENUINE.second.get(which).cloned().unwrap_or_default(),
    }
}

fn check_refused(bytes: &[u8]) {
    let home = tempfile::tempdir().expect("a directory");
    let fault = restore(bytes, home.path()).expect_err("a backup that was not made like this");
    let is_about_it =
        matches!(fault, RestoreFault::Backup(BackupFault::Foreign | BackupFault::WrongKey | BackupFault::Damaged(_)));
    assert!(is_about_it, "{fault}");
    assert!(!home.path().join(DATABASE).exists(), "a store was left");
}

fn restore(mut bytes: &[u8], state_dir: &Path) -> Result<Restored, RestoreFault> {
    let master = master();
    let how =
        Restoration { state_dir, guard_dir: None, master: &master, may_replace: false, keep_codes: false, now: 3 };
    mfad_store::restore(Source::Backup(&mut bytes), &how, |_| entry(3))
}

fn master() -> MasterKey {
    MasterKey::from_bytes(&[7; 32]).expect("a page")
}

fn entry(at: i64) -> AuditEntry {
    AuditEntry {
        at,
        event: mfad_api::AuditEvent::Verify,
        subject: None,
        object: None,
        peer_uid: None,
        peer_pid: None,
        request: None,
        outcome: Outcome::Ok,
        used: None,
        detail: Some("x".repeat(1024)),
    }
}

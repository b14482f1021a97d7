//! Tests of the store on a real file: what opens, what is committed or rolled back, and which damage is detected.

#![allow(clippy::unit_arg, reason = "a job that only changes something has nothing to hand back")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use tempfile::TempDir;

mod audit;
mod damage;
mod hardware_keys;
mod moving_factors;

use super::*;
use crate::meta;
use mfad_api::{AuditEvent, HashedRow};
use mfad_core::model::{Algorithm, Digits, Label, OtpKind, Period, Profile, SecretId, Sensitive, UserId, UserName};

const PATIENCE: Duration = Duration::from_secs(30);
const SEED: &[u8] = b"a seed that nobody may see in a file";

fn key(byte: u8) -> MasterKey {
    MasterKey::from_bytes(&[byte; 32]).unwrap()
}

fn home() -> TempDir {
    let dir = TempDir::new().unwrap();
    let made = under_umask(|| create(dir.path(), &key(1)));
    made.unwrap();
    dir
}

/// The daemon runs under umask 077, and SQLite gives its side files modes accordingly.
fn under_umask<T>(job: impl FnOnce() -> T) -> T {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    job()
}

/// Puts the tables of hardware keys back to what they were before version 9.
const BEFORE_9: &str = "
DROP TABLE devices;
CREATE TABLE devices (
    serial    INTEGER PRIMARY KEY CHECK (serial BETWEEN 1 AND 4294967295),
    device_id TEXT NOT NULL,
    firmware  TEXT NOT NULL,
    model     TEXT NOT NULL,
    seen      INTEGER NOT NULL,
    was_reset INTEGER NOT NULL DEFAULT 0 CHECK (was_reset IN (0, 1)),
    access    BLOB,
    escrow    TEXT
) STRICT;
DROP INDEX credentials_by_key;
DROP INDEX credentials_unsettled;
ALTER TABLE credentials ADD COLUMN serial INTEGER NOT NULL DEFAULT 7;
ALTER TABLE credentials DROP COLUMN key;
CREATE INDEX credentials_by_serial ON credentials (serial);
CREATE INDEX credentials_unsettled ON credentials (serial) WHERE state <> 'programmed';
";

fn open(dir: &Path) -> Store {
    Store::open(dir, None, &key(1), Listeners::default()).unwrap()
}

fn open_fault(dir: &Path, byte: u8) -> OpenFault {
    Store::open(dir, None, &key(byte), Listeners::default()).err().expect("it must not open")
}

fn raw(dir: &Path) -> Connection {
    Connection::open(dir.join(DATABASE)).unwrap()
}

fn user(number: u8) -> NewUser {
    NewUser {
        id: UserId::at(i64::from(number), &[number; 10]),
        name: UserName::parse(&format!("user {number}")).unwrap(),
        display_name: None,
        email: None,
        created: 1,
    }
}

fn factor(number: u8, owner: UserId, moving: OtpKind) -> NewSecret {
    NewSecret {
        id: SecretId::at(i64::from(number), &[number; 10]),
        user: owner,
        kind: SecretType::Mfa,
        name: Label::parse(&format!("factor {number}")).unwrap(),
        created: 1,
        expires: Some(1000),
        profile: Some(Profile { algorithm: Algorithm::Sha1, digits: Digits::SIX, moving }),
        is_guarded: false,
        is_unproved: false,
        first_counter: 0,
        ahead: 0,
        spare_of: None,
        value: Sensitive::new(SEED.to_vec()),
    }
}

fn keep<T>(value: T) -> Result<Decision<T>, Fault> {
    Ok(Decision::Commit(value))
}

/// Creates a user with one active factor.
fn with_factor(store: &Store, moving: OtpKind) -> (UserId, SecretId) {
    let owner = user(1).id;
    let id = factor(1, owner, moving).id;
    store
        .write(PATIENCE, move |tx| {
            tx.insert_user(&user(1))?.unwrap();
            assert!(tx.insert_secret(&factor(1, owner, moving))?);
            let row = tx.secret(owner, id)?.unwrap();
            assert!(tx.activate(&row, None, 2)?);
            keep(())
        })
        .unwrap();
    (owner, id)
}

const TIME: OtpKind = OtpKind::Totp(Period::THIRTY);

#[test]
fn sto_8_what_is_not_our_store_does_not_open_and_is_not_replaced() {
    let empty_dir = TempDir::new().unwrap();
    assert!(matches!(open_fault(empty_dir.path(), 1), OpenFault::Missing));
    assert!(!empty_dir.path().join(DATABASE).exists());

    let dir = home();
    assert!(matches!(create(dir.path(), &key(2)), Err(OpenFault::Exists)));
    assert!(matches!(open_fault(dir.path(), 2), OpenFault::WrongKey));
    open(dir.path()).close();

    let path = dir.path().join(DATABASE);
    let whole = fs::read(&path).unwrap();
    for (what, bytes) in [
        ("empty", &b""[..]),
        ("foreign", &b"not a database, but long enough to be one"[..]),
        ("cut", &whole[..whole.len() / 2]),
    ] {
        fs::write(&path, bytes).unwrap();
        assert!(matches!(open_fault(dir.path(), 1), OpenFault::Damaged(_)), "{what}");
    }
}

#[test]
fn sto_11_a_newer_schema_is_refused() {
    let dir = home();
    raw(dir.path()).pragma_update(None, "user_version", 99).unwrap();

    assert!(matches!(open_fault(dir.path(), 1), OpenFault::Newer { found: 99, .. }));
}

#[test]
fn sto_9_a_database_open_to_others_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = home();
    fs::set_permissions(dir.path().join(DATABASE), fs::Permissions::from_mode(0o644)).unwrap();

    assert!(matches!(open_fault(dir.path(), 1), OpenFault::Unsafe));
}

#[test]
fn a_job_is_kept_or_undone_as_a_whole_and_a_panic_is_undone() {
    let dir = home();
    let store = open(dir.path());
    let insert = |number: u8| move |tx: &Tx<'_>| tx.insert_user(&user(number)).map(|taken| taken.unwrap());

    store.write(PATIENCE, move |tx| insert(1)(tx).map(Decision::Commit)).unwrap();
    store.write(PATIENCE, move |tx| insert(2)(tx).map(Decision::Rollback)).unwrap();
    let fault = store.write(PATIENCE, move |tx| {
        insert(3)(tx)?;
        Err::<Decision<()>, _>(Fault::Corrupt("on purpose"))
    });
    let panic = store.write(PATIENCE, move |tx| -> Result<Decision<()>, Fault> {
        insert(4)(tx)?;
        panic!("on purpose")
    });
    store.write(PATIENCE, move |tx| insert(5)(tx).map(Decision::Commit)).unwrap();

    assert!(matches!(fault, Err(Fault::Corrupt(_))));
    assert!(matches!(panic, Err(Fault::Panic)));
    let names = store.read(PATIENCE, |view| view.users(None, 10)).unwrap();
    let names: Vec<&str> = names.iter().map(|u| u.name.as_str()).collect();
    assert_eq!(names, ["user 1", "user 5"]);
}

#[test]
fn many_callers_at_once_lose_nothing_and_all_is_there_after_a_restart() {
    let dir = home();
    let store = Arc::new(open(dir.path()));

    let callers: Vec<_> = (0..8u8)
        .map(|caller| {
            let store = Arc::clone(&store);
            thread::spawn(move || {
                for round in 0..25u8 {
                    let number = caller * 25 + round;
                    store.write(PATIENCE, move |tx| keep(tx.insert_user(&user(number))?.unwrap())).unwrap();
                }
            })
        })
        .collect();
    callers.into_iter().for_each(|caller| caller.join().unwrap());
    Arc::into_inner(store).unwrap().close();

    let users = open(dir.path()).read(PATIENCE, |view| view.users(None, 1000)).unwrap();
    assert_eq!(users.len(), 200);
}

/// Uses up a step or counter of the user's first factor, with its audit row. Returns whether it was unused.
fn use_in(tx: &Tx<'_>, owner: UserId, used: u64, now: i64) -> Result<bool, Fault> {
    let found = tx.login_factors(owner)?.unwrap();
    let factor = &found.factors[0];
    let position = tx.position(factor)?;
    let is_new = tx.use_up(factor, &position, used, now)?;
    if is_new {
        tx.audit(&AuditEntry { object: Some(factor.id), used: Some(used), ..entry(now) })?;
    }
    Ok(is_new)
}

fn use_up(store: &Store, owner: UserId, used: u64) -> bool {
    store.write(PATIENCE, move |tx| keep(use_in(tx, owner, used, 3)?)).unwrap()
}

#[test]
fn otp_3_a_step_is_used_up_once_and_never_goes_back() {
    let dir = home();
    let store = open(dir.path());
    let (owner, _) = with_factor(&store, TIME);

    assert_eq!([0, 0, 7, 7, 6, 8].map(|step| use_up(&store, owner, step)), [true, false, true, false, false, true]);
}

#[test]
fn otp_9_a_counter_only_moves_on() {
    let dir = home();
    let store = open(dir.path());
    let (owner, _) = with_factor(&store, OtpKind::Hotp);

    assert_eq!([0, 0, 4, 3, 5].map(|counter| use_up(&store, owner, counter)), [true, false, true, false, true]);
}

#[test]
fn bkc_4_a_backup_code_is_used_up_once() {
    let dir = home();
    let store = open(dir.path());
    let (owner, _) = with_factor(&store, TIME);
    let set = NewSecret { kind: SecretType::Backup, expires: None, profile: None, ..factor(2, owner, TIME) };
    let id = set.id;
    store.write(PATIENCE, move |tx| keep(assert!(tx.insert_secret(&set)?))).unwrap();
    let consume = |place| store.write(PATIENCE, move |tx| keep(tx.consume_code(id, place, 3)?)).unwrap();

    assert_eq!([3, 3, 9, 0, 9].map(consume), [true, false, true, true, false]);
    let row = store.read(PATIENCE, |view| view.secret(owner, id)).unwrap().unwrap();
    assert_eq!(row.codes_left(), 7);
}

#[test]
fn enr_2_one_pending_factor_at_a_time_and_an_active_one_is_not_touched() {
    let dir = home();
    let store = open(dir.path());
    let (owner, active) = with_factor(&store, TIME);

    store
        .write(PATIENCE, move |tx| {
            assert!(tx.insert_secret(&factor(2, owner, TIME))?);
            assert!(!tx.insert_secret(&factor(3, owner, TIME))?, "a second pending one");
            tx.end_pending(owner, SecretType::Mfa, 3)?;
            assert!(tx.insert_secret(&factor(3, owner, TIME))?);
            keep(())
        })
        .unwrap();

    let rows = store.read(PATIENCE, |view| view.secrets(owner)).unwrap();
    let states: Vec<_> = rows.iter().map(|row| (row.id, row.status)).collect();
    assert_eq!(states, [(active, Status::Active), (factor(3, owner, TIME).id, Status::Pending)]);
    let ended = store.read(PATIENCE, |view| view.secret(owner, factor(2, owner, TIME).id)).unwrap().unwrap();
    assert_eq!(ended.status, Status::Ended);
    assert!(store.read(PATIENCE, |view| view.open_secret(&ended)).is_err());
}

#[test]
fn key_3_a_ciphertext_moved_to_another_row_does_not_open() {
    let dir = home();
    let store = open(dir.path());
    let (owner, first) = with_factor(&store, TIME);
    store.write(PATIENCE, move |tx| keep(assert!(tx.insert_secret(&factor(2, owner, TIME))?))).unwrap();
    let second = factor(2, owner, TIME).id;
    store.close();

    raw(dir.path())
        .execute(
            "UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE id = ?1) WHERE id = ?2",
            rusqlite::params![first.as_bytes(), second.as_bytes()],
        )
        .unwrap();

    let store = open(dir.path());
    let opens = |id| {
        let row = store.read(PATIENCE, |view| view.secret(owner, id)).unwrap().unwrap();
        store.read(PATIENCE, |view| view.open_secret(&row)).is_ok()
    };
    assert!(opens(first));
    assert!(!opens(second));
}

#[test]
fn no_seed_lies_in_the_files_in_clear() {
    let dir = home();
    let store = open(dir.path());
    with_factor(&store, TIME);
    store.close();

    let holds = |needle: &[u8]| {
        fs::read_dir(dir.path()).unwrap().any(|file| {
            let bytes = fs::read(file.unwrap().path()).unwrap();
            bytes.windows(needle.len()).any(|window| window == needle)
        })
    };

    assert!(holds(b"factor 1"), "the search must find what is there");
    assert!(!holds(SEED));
}

fn entry(at: i64) -> AuditEntry {
    AuditEntry {
        at,
        event: AuditEvent::Verify,
        subject: Some(user(1).id),
        object: None,
        peer_uid: Some(7),
        peer_pid: None,
        request: Some("r".to_owned()),
        outcome: Outcome::Ok,
        detail: None,
        used: None,
    }
}

#[test]
fn sto_13_a_large_store_that_is_damaged_is_found_out_after_the_start() {
    let dir = home();
    let store = open(dir.path());
    for at in 0..30 {
        let entry = AuditEntry { detail: Some("x".repeat(300_000)), ..entry(at) };
        store.write(PATIENCE, move |tx| keep(tx.audit(&entry)?)).unwrap();
    }
    store.close();
    let whole = open(dir.path());
    assert!(whole.damage().is_none());
    whole.close();
    // A page in the middle of the log's text becomes page 1, which it cannot be.
    let path = dir.path().join(DATABASE);
    let mut bytes = fs::read(&path).unwrap();
    let at = 4096 * 1_000;
    bytes[at..at + 4].copy_from_slice(&1u32.to_be_bytes());
    fs::write(&path, bytes).unwrap();

    let store = open(dir.path());
    while store.damage().is_none() {
        thread::yield_now();
    }

    assert!(store.has_failed());
    assert!(matches!(store.write(PATIENCE, |tx| keep(tx.probe(1)?)), Err(Fault::Failed)));
}

#[test]
fn sqlite_is_built_as_it_was_meant_to_be() {
    let dir = home();
    let all: Vec<String> = raw(dir.path())
        .prepare("PRAGMA compile_options")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();

    for option in ["DEFAULT_MEMSTATUS=0", "DQS=0"] {
        assert!(all.iter().any(|one| one == option), "{option} is not in {all:?}");
    }
}

#[test]
fn listeners_hear_of_new_audit_rows_once_they_are_durable() {
    let dir = home();
    let (said, heard) = std::sync::mpsc::channel();
    let store = Store::open(
        dir.path(),
        None,
        &key(1),
        Listeners { audited: Box::new(move |seq| said.send(seq).unwrap()), ..Listeners::default() },
    )
    .unwrap();

    store.write(PATIENCE, |tx| keep(tx.probe(1)?)).unwrap();
    store.write(PATIENCE, |tx| keep(tx.audit(&entry(1))?)).unwrap();

    assert_eq!(heard.recv_timeout(PATIENCE), Ok(1));
}

#[test]
fn a_throttle_and_a_signing_key_read_back_as_written() {
    let dir = home();
    let store = open(dir.path());
    let limits = mfad_core::model::Limits { delay_after: 1, lock_after: None };
    let now = mfad_core::model::Moment { wall_ms: 5, boot_ms: 6, boot: [7; 16] };
    let failed = mfad_core::model::Throttle::default().fail(&limits, &now, mfad_core::model::Odds::NONE);
    let subject = Subject::factors(user(1).id);
    let written = subject.clone();
    store
        .write(PATIENCE, move |tx| {
            tx.set_throttle(&written, Class::Factor, &failed)?;
            let row =
                |kid: &str, byte| SigningKeyRow { kid: kid.to_owned(), created: 9, seed: Sensitive::new([byte; 32]) };
            tx.insert_signing_key(Purpose::Token, &row("k", 3))?;
            tx.insert_signing_key(Purpose::Receipt, &row("r", 4))?;
            keep(())
        })
        .unwrap();
    store.close();

    let store = open(dir.path());
    assert_eq!(store.read(PATIENCE, |view| view.throttle(&subject, Class::Factor)).unwrap(), failed);
    assert!(store.read(PATIENCE, |view| view.throttle(&subject, Class::Password)).unwrap().is_clear());
    let keys = |purpose| {
        let keys = store.read(PATIENCE, |view| view.signing_keys(purpose)).unwrap();
        keys.iter().map(|key| (key.kid.clone(), *key.seed.expose())).collect::<Vec<_>>()
    };
    assert_eq!(keys(Purpose::Token), [("k".to_owned(), [3; 32])]);
    assert_eq!(keys(Purpose::Receipt), [("r".to_owned(), [4; 32])]);
}

#[test]
fn key_5_a_key_that_is_noted_and_not_held_is_taken_up() {
    let home = home();
    let store = open(home.path());
    let kept = |store: &Store| store.rotation(PATIENCE).unwrap();
    let note = store.vault.seal(&rotation::STAGED, &[9; 32]).unwrap();
    let note = [1u32.to_be_bytes().as_slice(), &note].concat();

    // As if a write was committed after its caller ran out of patience.
    let write = move |tx: &Tx<'_>| Ok(Decision::Commit(meta::put_meta(tx.writing()?, "next-key", &note)?));
    store.write(PATIENCE, write).unwrap();
    store.take_up_staged_key(PATIENCE).unwrap();

    assert_eq!((kept(&store).version, kept(&store).phase), (2, Phase::Reencrypting));
}

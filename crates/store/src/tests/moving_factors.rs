//! Used codes: they are durable with their audit row, whatever was folded of them, and no way back makes one valid.

use std::collections::BTreeSet;

use super::*;
use crate::folding::{Folder, fold_all};
use crate::moving_factors::Position;

fn position(store: &Store, owner: UserId) -> Position {
    let read = |view: &View<'_>| view.position(&view.login_factors(owner)?.unwrap().factors[0]);
    store.read(PATIENCE, read).unwrap()
}

fn reopened(store: Store, dir: &TempDir) -> Store {
    store.close();
    open(dir.path())
}

/// Folds everything, as the writer does while no caller waits.
fn fold(dir: &TempDir) {
    let connection = raw(dir.path());
    let folder = Folder::read(&connection).unwrap();
    while let Some(step) = folder.step_when_idle(&connection).unwrap() {
        folder.committed(&step);
    }
}

fn folded_row(dir: &TempDir) -> (i64, Option<i64>) {
    let sql = "SELECT next, used_at FROM moving_factors";
    raw(dir.path()).query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
}

#[test]
fn otp_3_a_used_step_stays_used_after_a_restart_folded_or_not() {
    for is_folded in [false, true] {
        let dir = home();
        let store = open(dir.path());
        let (owner, id) = with_factor(&store, TIME);
        assert!(use_up(&store, owner, 7));
        store.close();
        assert_eq!(folded_row(&dir), (0, None), "a use writes its audit row alone");
        if is_folded {
            fold(&dir);
            assert_eq!(folded_row(&dir), (8, Some(3)));
        }

        let store = open(dir.path());

        assert_eq!([7, 6, 8].map(|step| use_up(&store, owner, step)), [false, false, true], "{is_folded}");
        let row = store.read(PATIENCE, |view| view.secret(owner, id)).unwrap().unwrap();
        assert_eq!((row.last_step, row.last_used), (Some(8), Some(3)));
    }
}

#[test]
fn otp_9_a_counter_stays_used_after_a_restart_folded_or_not() {
    let dir = home();
    let store = open(dir.path());
    let (owner, id) = with_factor(&store, OtpKind::Hotp);
    assert!(use_up(&store, owner, 4));

    let store = reopened(store, &dir);
    assert!(!use_up(&store, owner, 4) && use_up(&store, owner, 5));
    store.close();
    fold(&dir);
    let store = open(dir.path());

    assert!(!use_up(&store, owner, 5));
    let row = store.read(PATIENCE, |view| view.secret(owner, id)).unwrap().unwrap();
    assert_eq!((row.counter, row.last_step), (Some(6), None));
}

#[test]
fn otp_3_a_job_that_uses_a_code_without_an_audit_row_is_undone() {
    let dir = home();
    let store = open(dir.path());
    let (owner, _) = with_factor(&store, TIME);

    let used = store.write(PATIENCE, move |tx| {
        let found = tx.login_factors(owner)?.unwrap();
        let position = tx.position(&found.factors[0])?;
        keep(tx.use_up(&found.factors[0], &position, 7, 3)?)
    });

    assert!(matches!(used, Err(Fault::Corrupt(_))), "{used:?}");
    assert_eq!(position(&store, owner).next, 0);
}

#[test]
fn a_job_that_is_undone_uses_no_code_up() {
    let dir = home();
    let store = open(dir.path());
    let (owner, _) = with_factor(&store, TIME);
    assert!(use_up(&store, owner, 7));

    let undone = store.write(PATIENCE, move |tx| Ok(Decision::Rollback(use_in(tx, owner, 9, 4)?)));
    let failed = store.write(PATIENCE, move |tx| -> Result<Decision<()>, Fault> {
        assert!(use_in(tx, owner, 9, 4)?);
        Err(Fault::Corrupt("on purpose"))
    });

    assert!(matches!((undone, failed), (Ok(true), Err(Fault::Corrupt("on purpose")))));
    assert_eq!(position(&store, owner), Position { next: 8, used_at: Some(3), resync: None, ahead: 0 });
    assert!(use_up(&store, owner, 8));
}

#[test]
fn a_code_is_used_up_once_within_a_job() {
    let dir = home();
    let store = open(dir.path());
    let (owner, _) = with_factor(&store, TIME);

    let twice = store.write(PATIENCE, move |tx| {
        let found = tx.login_factors(owner)?.unwrap();
        let factor = &found.factors[0];
        let position = tx.position(factor)?;
        let uses = [tx.use_up(factor, &position, 7, 3)?, tx.use_up(factor, &position, 7, 3)?];
        tx.audit(&AuditEntry { object: Some(factor.id), used: Some(7), ..entry(3) })?;
        keep(uses)
    });

    assert_eq!(twice.unwrap(), [true, false]);
}

/// Lowers the newest step, as an unlock does.
fn lower(store: &Store, owner: UserId, current: u64, used: &'static [u64]) -> bool {
    let lower = move |tx: &Tx<'_>| {
        let row = tx.active_factors(owner)?.remove(0);
        let is_lowered = tx.lower_last_step(&row, current, &used.iter().copied().collect::<BTreeSet<_>>())?;
        let event = AuditEvent::ClockStepLowered;
        tx.audit(&AuditEntry { object: Some(row.id), used: is_lowered.then_some(current), event, ..entry(9) })?;
        keep(is_lowered)
    };
    store.write(PATIENCE, lower).unwrap()
}

#[test]
fn time_2_a_lowered_step_stays_lowered_and_future_steps_stay_used() {
    for folds in 0..4 {
        let dir = home();
        let mut store = open(dir.path());
        let (owner, _) = with_factor(&store, TIME);
        assert!(use_up(&store, owner, 1000));
        if folds & 1 != 0 {
            store.close();
            fold(&dir);
            store = open(dir.path());
        }
        assert!(lower(&store, owner, 10, &[9, 10, 11, 1000]));
        assert!(!lower(&store, owner, 10, &[]));
        // Housekeeping, while the table may still have the step of before.
        store.write(PATIENCE, |tx| keep(tx.sweep_secrets(0, 0)?)).unwrap();
        store.close();
        if folds & 2 != 0 {
            fold(&dir);
        }

        let store = open(dir.path());

        assert_eq!(position(&store, owner), Position { next: 11, used_at: Some(3), resync: None, ahead: 0 }, "{folds}");
        let uses = [10, 11, 12, 1000].map(|step| use_up(&store, owner, step));
        assert_eq!(uses, [false, false, true, false], "{folds}");
        assert!(use_up(&store, owner, 1001));
    }
}

#[test]
fn a_fold_brings_no_deleted_factor_back_and_reaches_no_new_one() {
    let dir = home();
    let store = open(dir.path());
    let (owner, id) = with_factor(&store, TIME);
    assert!(use_up(&store, owner, 1000));
    store
        .write(PATIENCE, move |tx| {
            tx.delete_secret(id)?;
            assert!(tx.insert_secret(&NewSecret { expires: None, ..factor(2, owner, TIME) })?);
            keep(())
        })
        .unwrap();
    store.close();

    fold(&dir);

    assert_eq!(folded_row(&dir), (0, None));
    let store = open(dir.path());
    assert_eq!(position(&store, owner).next, 0);
    store.write(PATIENCE, move |tx| keep(tx.delete_user(owner)?)).unwrap();
    store.close();
    let left: i64 = raw(dir.path()).query_row("SELECT count(*) FROM moving_factors", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
}

#[test]
fn otp_3_a_factor_whose_moving_factor_was_lost_accepts_nothing() {
    let dir = home();
    let store = open(dir.path());
    let (owner, _) = with_factor(&store, TIME);
    raw(dir.path()).execute("DELETE FROM moving_factors", []).unwrap();

    let used = store.write(PATIENCE, move |tx| keep(use_in(tx, owner, 7, 3)?));

    assert!(matches!(used, Err(Fault::Corrupt(_))), "{used:?}");
}

#[test]
fn a_mark_that_is_missing_or_beyond_the_log_does_not_open() {
    for change in [
        "DELETE FROM meta WHERE key = 'folded'",
        "UPDATE meta SET value = x'0000000000000002' WHERE key = 'folded'",
        "UPDATE meta SET value = x'ffffffffffffffff' WHERE key = 'folded'",
        "UPDATE meta SET value = x'01' WHERE key = 'folded'",
    ] {
        let dir = home();
        let store = open(dir.path());
        let (owner, _) = with_factor(&store, TIME);
        assert!(use_up(&store, owner, 7));
        store.close();
        raw(dir.path()).execute(change, []).unwrap();

        assert!(matches!(open_fault(dir.path(), 1), OpenFault::Damaged(_)), "{change}");
    }
}

#[test]
fn a_mark_moves_with_the_last_of_a_generation_only() {
    let dir = home();
    let store = open(dir.path());
    let (first, second) = (user(1).id, user(2).id);
    with_factor(&store, TIME);
    store
        .write(PATIENCE, |tx| {
            tx.insert_user(&user(2))?.unwrap();
            keep(assert!(tx.insert_secret(&NewSecret { expires: None, ..factor(2, user(2).id, TIME) })?))
        })
        .unwrap();
    assert!(use_up(&store, first, 7) && use_up(&store, second, 9));
    store.close();
    let connection = raw(dir.path());
    connection.execute_batch("UPDATE meta SET value = zeroblob(8) WHERE key = 'folded'").unwrap();
    let folder = Folder::read(&connection).unwrap();
    let mark = || meta::meta(&connection, "folded").unwrap().unwrap();

    // The generation is not old, so a batch alone begins no fold.
    assert!(folder.step(&connection, 2, 1).unwrap().is_none());
    // Its commit is never reported.
    assert!(folder.step_when_idle(&connection).unwrap().is_some());
    assert_eq!(mark(), 2i64.to_be_bytes());
    // So the step is repeated.
    let again = folder.step(&connection, 2, 1).unwrap().unwrap();
    folder.committed(&again);

    assert!(folder.step_when_idle(&connection).unwrap().is_none());
    let rows: Vec<i64> = {
        let mut statement = connection.prepare("SELECT next FROM moving_factors ORDER BY number").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(rows, [8, 10]);
}

/// Makes the store one of schema version 6, as the release before wrote it.
fn to_version_6(dir: &TempDir) {
    fold(dir);
    let connection = raw(dir.path());
    connection.execute_batch(BEFORE_9).unwrap();
    connection
        .execute_batch(
            "ALTER TABLE secrets ADD COLUMN resync INTEGER; ALTER TABLE secrets ADD COLUMN last_step INTEGER;
             UPDATE secrets SET last_step = nullif(next - 1, -1), last_used = used_at FROM moving_factors AS m
                 WHERE m.number = secrets.number AND period IS NOT NULL;
             UPDATE secrets SET counter = next FROM moving_factors AS m WHERE m.number = secrets.number
                 AND period IS NULL;
             DROP TRIGGER moving_factor_of_deleted; DROP TRIGGER moving_factor_of_ended;
             DROP TRIGGER moving_factor_of_moved; DROP TABLE moving_factors; DELETE FROM meta WHERE key = 'folded';
             PRAGMA user_version = 6;",
        )
        .unwrap();
    let vault = Vault::new(&key(1), FIRST_KEY_VERSION).unwrap();
    summaries::write_all_of_version_6(&connection, &vault);
    connection
        .execute_batch(
            "DROP INDEX secrets_unproved; DROP INDEX secrets_weak; ALTER TABLE secrets DROP COLUMN unproved;
             ALTER TABLE secrets DROP COLUMN weak;
             ALTER TABLE secrets DROP COLUMN number; ALTER TABLE audit DROP COLUMN used;",
        )
        .unwrap();
    audit_tag::sign_again(&connection, &vault, 6).unwrap();
}

#[test]
fn sto_11_a_store_of_version_6_keeps_its_used_codes() {
    for moving in [TIME, OtpKind::Hotp] {
        let dir = home();
        let store = open(dir.path());
        let (owner, id) = with_factor(&store, moving);
        assert!(use_up(&store, owner, 7));
        store.close();
        to_version_6(&dir);

        let store = open(dir.path());

        assert_eq!([7, 8].map(|used| use_up(&store, owner, used)), [false, true]);
        let row = store.read(PATIENCE, |view| view.secret(owner, id)).unwrap().unwrap();
        let opened = store.read(PATIENCE, |view| view.open_secret(&row)).unwrap();
        let found = store.read(PATIENCE, |view| view.login_factors(owner)).unwrap().unwrap();
        assert_eq!(found.factors[0].seed.expose(), opened.expose());
        assert!(dir.path().join("mfad.db.before-v6-upgrade").exists());
    }
}

#[test]
fn sto_13_an_upgrade_seals_no_damage() {
    let dir = home();
    let store = open(dir.path());
    with_factor(&store, TIME);
    store.close();
    to_version_6(&dir);
    raw(dir.path()).execute("UPDATE users SET roles = 'admin'", []).unwrap();

    let fault = open_fault(dir.path(), 1);

    assert!(matches!(&fault, OpenFault::Damaged(_) | OpenFault::Fault(Fault::Disagrees)), "{fault}");
    let version: u32 = raw(dir.path()).query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, 6);
}

#[test]
fn all_uses_are_folded_before_a_restore_raises_them() {
    let dir = home();
    let store = open(dir.path());
    let (owner, _) = with_factor(&store, TIME);
    assert!(use_up(&store, owner, 7));
    store.close();

    fold_all(&raw(dir.path())).unwrap();

    assert_eq!(folded_row(&dir), (8, Some(3)));
    assert!(Folder::read(&raw(dir.path())).unwrap().step_when_idle(&raw(dir.path())).unwrap().is_none());
}

/// Jobs that change no table have no savepoint. The jobs around them are kept and undone as before.
#[test]
fn jobs_of_one_batch_are_kept_or_undone_each_alone() {
    let dir = home();
    let store = Arc::new(open(dir.path()));
    let (owner, _) = with_factor(&store, TIME);
    let (hold, held) = std::sync::mpsc::channel::<()>();
    // Holds the writer, so that the jobs after it come into one batch.
    store.submit(move |_| Ok(Decision::Rollback(held.recv().is_ok())), |_| ()).unwrap();
    let (done, outcomes) = std::sync::mpsc::channel();
    let submit = |job: fn(&Tx<'_>, UserId) -> Result<Decision<bool>, Fault>| {
        let done = done.clone();
        store.submit(move |tx| job(tx, owner), move |outcome| done.send(outcome.ok()).unwrap()).unwrap();
    };
    submit(|tx, owner| Ok(Decision::Commit(use_in(tx, owner, 7, 3)?)));
    submit(|tx, owner| Ok(Decision::Rollback(use_in(tx, owner, 8, 3)?)));
    submit(|tx, owner| {
        let is_new = use_in(tx, owner, 9, 3)?;
        tx.insert_user(&user(7))?.unwrap();
        Ok(Decision::Rollback(is_new))
    });
    submit(|tx, owner| {
        tx.insert_user(&user(8))?.unwrap();
        Ok(Decision::Commit(use_in(tx, owner, 10, 3)?))
    });
    submit(|tx, owner| Ok(Decision::Commit(use_in(tx, owner, 10, 3)?)));
    submit(|tx, _| {
        tx.settle_audit()?;
        Ok(Decision::Commit(tx.newest_audit_row()? == 2))
    });
    hold.send(()).unwrap();

    let outcomes: Vec<_> = outcomes.iter().take(6).collect();
    assert_eq!(outcomes, [Some(true), Some(true), Some(true), Some(true), Some(false), Some(true)]);
    let store = reopened(Arc::into_inner(store).unwrap(), &dir);
    let rows = store.read(PATIENCE, |view| view.audit_rows(0, 10)).unwrap();
    assert_eq!(rows.iter().map(|row| row.used).collect::<Vec<_>>(), [Some(7), Some(10)]);
    assert!(
        store.read(PATIENCE, |view| Ok(view.user(user(7).id)?.is_none() && view.user(user(8).id)?.is_some())).unwrap()
    );
    assert_eq!(position(&store, owner).next, 11);
}

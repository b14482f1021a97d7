//! Damage and manipulation: what no longer agrees is refused, never read as "no factor" (STO-13).

use super::*;
use crate::recent_uses::RecentUses;

/// The state that a login would see if the store were opened without an integrity check.
fn state_as_it_is(path: &Path) -> Result<MfaState, Fault> {
    let connection = Connection::open(path)?;
    let vault = Vault::new(&key(1), FIRST_KEY_VERSION)?;
    View { connection: &connection, vault: &vault, recent: &RecentUses::default() }.mfa_state(user(1).id, 0)
}

#[test]
fn sto_13_no_flipped_bit_makes_an_active_factor_look_like_none() {
    let dir = home();
    let store = open(dir.path());
    with_factor(&store, TIME);
    store.close();
    let path = dir.path().join(DATABASE);
    let whole = fs::read(&path).unwrap();
    let page_size = 4096;
    let pages: Vec<usize> = {
        let connection = raw(dir.path());
        let roots = "SELECT rootpage FROM sqlite_schema WHERE tbl_name IN ('users', 'secrets') AND rootpage > 0";
        let mut statement = connection.prepare(roots).unwrap();
        statement
            .query_map([], |row| row.get::<_, u32>(0))
            .unwrap()
            .map(|page| usize::try_from(page.unwrap()).unwrap())
            .collect()
    };
    assert_eq!(state_as_it_is(&path).unwrap(), MfaState::Active);
    let (mut refused, mut unharmed) = (0, 0);

    let used = |at: &usize| whole[*at] != 0;
    for at in pages.into_iter().flat_map(|page| (page - 1) * page_size..page * page_size).filter(used) {
        let mut bent = whole.clone();
        bent[at] ^= 1 << (at % 8);
        fs::write(&path, bent).unwrap();
        match state_as_it_is(&path) {
            Ok(MfaState::Active) => unharmed += 1,
            Err(_) => refused += 1,
            // The user no longer exists, and a user who does not exist cannot log in.
            Ok(_) if is_gone(&path) => refused += 1,
            Ok(state) => panic!("byte {at}: {state:?}"),
        }
    }

    assert!(refused > 100 && unharmed > 100, "{refused} refused, {unharmed} unharmed");
}

fn is_gone(path: &Path) -> bool {
    let connection = Connection::open(path).unwrap();
    let vault = Vault::new(&key(1), FIRST_KEY_VERSION).unwrap();
    matches!(View { connection: &connection, vault: &vault, recent: &RecentUses::default() }.user(user(1).id), Ok(None))
}

/// A store with a factor, changed by another program.
fn changed_behind(statement: &str) -> TempDir {
    let dir = home();
    let store = open(dir.path());
    with_factor(&store, TIME);
    store.close();
    assert!(raw(dir.path()).execute(statement, []).unwrap() > 0, "{statement}");
    dir
}

const CHANGES: [&str; 6] = [
    "DELETE FROM secrets",
    "UPDATE secrets SET status = 'ended', sealed = NULL",
    "UPDATE secrets SET id = randomblob(16)",
    "UPDATE secrets SET digits = 8",
    "UPDATE users SET roles = 'admin'",
    "UPDATE users SET disabled = 1",
];

#[test]
fn sto_13_rows_that_do_not_agree_with_their_users_summary_do_not_open() {
    for change in CHANGES {
        let dir = changed_behind(change);

        let fault = open_fault(dir.path(), 1);

        assert!(matches!(&fault, OpenFault::Damaged(_)), "{change}: {fault}");
    }
}

#[test]
fn sto_13_a_summary_that_is_missing_moved_or_of_another_time_is_damage() {
    for change in [
        "UPDATE users SET summary = NULL",
        "UPDATE users SET summary = zeroblob(60)",
        "UPDATE users SET summary = (SELECT sealed FROM secrets)",
    ] {
        assert!(matches!(open_fault(changed_behind(change).path(), 1), OpenFault::Damaged(_)), "{change}");
    }
}

#[test]
fn a_change_of_other_rows_makes_no_summary_of_what_was_damaged() {
    for change in CHANGES {
        let dir = home();
        let store = open(dir.path());
        let (owner, _) = with_factor(&store, TIME);
        raw(dir.path()).execute(change, []).unwrap();

        let added = store.write(PATIENCE, move |tx| {
            assert!(tx.insert_secret(&NewSecret { expires: None, ..factor(2, owner, TIME) })?);
            keep(())
        });

        assert!(matches!(added, Err(Fault::Disagrees)), "{change}");
        let state = store.read(PATIENCE, move |view| view.mfa_state(owner, 0));
        assert!(matches!(state, Err(Fault::Disagrees)), "{change}: {state:?}");
    }
}

#[test]
fn the_summary_follows_every_change_that_is_made_here() {
    let dir = home();
    let store = open(dir.path());
    let (owner, id) = with_factor(&store, TIME);
    let check = || store.read(PATIENCE, move |view| view.check_summary(owner)).unwrap();

    store
        .write(PATIENCE, move |tx| {
            let row = tx.user(owner)?.unwrap();
            tx.update_user(&UserRow { roles: vec!["admin".to_owned()], disabled: true, ..row }, 3)?.unwrap();
            keep(())
        })
        .unwrap();
    check();
    let undone = move |tx: &Tx<'_>| {
        tx.delete_secret(id)?;
        Ok(Decision::Rollback(()))
    };
    store.write(PATIENCE, undone).unwrap();
    check();
    store.write(PATIENCE, move |tx| keep(tx.delete_secret(id)?)).unwrap();
    check();
    store.write(PATIENCE, move |tx| keep(tx.delete_user(owner)?)).unwrap();
    check();
    store.close();
    open(dir.path()).close();
}

#[test]
fn sto_13_an_index_out_of_order_makes_no_active_factor_look_like_none() {
    let dir = home();
    let store = open(dir.path());
    with_factor(&store, TIME);
    store
        .write(PATIENCE, |tx| {
            for number in 2..5 {
                tx.insert_user(&user(number))?.unwrap();
                let secret = NewSecret { expires: None, ..factor(number, user(number).id, TIME) };
                assert!(tx.insert_secret(&secret)?);
            }
            keep(())
        })
        .unwrap();
    store.close();
    let path = dir.path().join(DATABASE);
    let whole = fs::read(&path).unwrap();
    let root = "SELECT rootpage FROM sqlite_schema WHERE name = 'secrets_by_user'";
    let page: u32 = raw(dir.path()).query_row(root, [], |row| row.get(0)).unwrap();
    let at = (usize::try_from(page).unwrap() - 1) * 4096;
    let cells = usize::from(u16::from_be_bytes([whole[at + 3], whole[at + 4]]));
    assert!(cells >= 4, "{cells}");

    // Every rotation of the cells, and the reverse order: all rows are there, but a search misses some.
    for order in 1..=cells {
        let mut bent = whole.clone();
        let pointers = &mut bent[at + 8..at + 8 + 2 * cells];
        if order == cells {
            let reversed: Vec<u8> = pointers.chunks(2).rev().flatten().copied().collect();
            pointers.copy_from_slice(&reversed);
        } else {
            pointers.rotate_left(2 * order);
        }
        fs::write(&path, bent).unwrap();

        match state_as_it_is(&path) {
            Ok(MfaState::Active) | Err(_) => {}
            Ok(state) => panic!("order {order}: {state:?}"),
        }
    }
}

#[test]
fn a_change_of_something_else_confirms_no_role_that_others_wrote() {
    let dir = home();
    let store = open(dir.path());
    let (owner, _) = with_factor(&store, TIME);
    raw(dir.path()).execute("UPDATE users SET roles = 'admin'", []).unwrap();

    let renamed = store.write(PATIENCE, move |tx| {
        let row = tx.user(owner)?.unwrap();
        tx.update_user(&UserRow { display_name: Some("another".to_owned()), ..row }, 3)?.unwrap();
        keep(())
    });

    renamed.unwrap();
    let checked = store.read(PATIENCE, move |view| view.check_summary(owner));
    assert!(matches!(checked, Err(Fault::Disagrees)), "{checked:?}");
}

#[test]
fn a_store_with_triggers_views_or_indexes_of_others_does_not_open() {
    for acting in [
        "CREATE TRIGGER t AFTER INSERT ON audit BEGIN DELETE FROM secrets; END",
        "CREATE VIEW v AS SELECT * FROM secrets",
        "CREATE INDEX i ON secrets (user) WHERE type <> 'mfa'",
        "DROP INDEX secrets_by_user",
        "DROP TRIGGER credentials_of_ended",
    ] {
        let dir = home();
        open(dir.path()).close();
        raw(dir.path()).execute_batch(acting).unwrap();

        assert!(matches!(open_fault(dir.path(), 1), OpenFault::Damaged(_)), "{acting}");
    }
}

#[test]
fn a_store_that_was_made_older_is_not_upgraded_anew() {
    let dir = home();
    let store = open(dir.path());
    with_factor(&store, TIME);
    let entry = AuditEntry {
        at: 1,
        event: AuditEvent::Verify,
        subject: None,
        object: None,
        peer_uid: None,
        peer_pid: None,
        request: None,
        outcome: Outcome::Ok,
        detail: None,
        used: None,
    };
    store.write(PATIENCE, move |tx| keep(tx.audit(&entry)?)).unwrap();
    store.close();
    raw(dir.path()).execute_batch(BEFORE_9).unwrap();
    raw(dir.path())
        .execute_batch(
            "DELETE FROM secrets; DROP INDEX secrets_unproved; DROP INDEX secrets_weak; ALTER TABLE secrets DROP COLUMN unproved;
             ALTER TABLE secrets DROP COLUMN weak;
             DROP TRIGGER moving_factor_of_deleted; DROP TRIGGER moving_factor_of_ended;
             DROP TRIGGER moving_factor_of_moved; DROP TABLE moving_factors;
             ALTER TABLE secrets DROP COLUMN number; ALTER TABLE audit DROP COLUMN used; DROP TABLE future_steps; ALTER TABLE users DROP COLUMN summary;
             ALTER TABLE secrets DROP COLUMN guarded; ALTER TABLE sessions DROP COLUMN rotated;
             ALTER TABLE challenges DROP COLUMN peer; ALTER TABLE receipts DROP COLUMN peer; PRAGMA user_version = 5;",
        )
        .unwrap();

    let fault = open_fault(dir.path(), 1);

    assert!(matches!(&fault, OpenFault::Damaged(why) if why.contains("audit log")), "{fault}");
}

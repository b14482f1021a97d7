//! The audit log: its chain, its tag, and rows of jobs that were rolled back (LOG-5).

use super::*;

/// The result of checking the whole chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChainState {
    /// Every row follows from the one before.
    Whole,
    /// This row is the first that does not.
    BrokenAt(i64),
}

fn audit_chain(view: &View<'_>) -> Result<ChainState, Fault> {
    let mut after = 0;
    for row in view.audit_rows(0, u32::MAX)? {
        let (subject, object) = (row.subject.map(|id| id.to_string()), row.object.map(|id| id.to_string()));
        let fields = HashedRow {
            seq: row.seq,
            at: row.at,
            event: &row.event,
            subject: subject.as_deref(),
            object: object.as_deref(),
            peer_uid: row.peer_uid,
            peer_pid: row.peer_pid.map(i64::from),
            request: row.request.as_deref(),
            outcome: &row.outcome,
            detail: row.detail.as_deref(),
            used: row.used,
        };
        if row.seq != after + 1 || fields.hash(&row.previous) != Some(row.hash) {
            return Ok(ChainState::BrokenAt(row.seq));
        }
        after = row.seq;
    }
    Ok(ChainState::Whole)
}

fn with_three_audit_rows() -> TempDir {
    let dir = home();
    let store = open(dir.path());
    for at in 1..=3 {
        store.write(PATIENCE, move |tx| keep(tx.audit(&entry(at))?)).unwrap();
    }
    store.close();
    dir
}

#[test]
fn log_5_a_changed_or_missing_audit_row_breaks_the_chain() {
    for (sql, expected) in [
        ("UPDATE audit SET peer_uid = 8 WHERE seq = 2", ChainState::BrokenAt(2)),
        ("DELETE FROM audit WHERE seq = 1", ChainState::BrokenAt(2)),
        ("UPDATE audit SET detail = 'x' WHERE seq = 0", ChainState::Whole),
    ] {
        let dir = with_three_audit_rows();
        raw(dir.path()).execute(sql, []).unwrap();

        assert_eq!(open(dir.path()).read(PATIENCE, audit_chain).unwrap(), expected, "{sql}");
    }
}

#[test]
fn log_5_the_end_of_the_audit_log_cannot_be_cut_off() {
    let dir = with_three_audit_rows();
    raw(dir.path()).execute("DELETE FROM audit WHERE seq = 3", []).unwrap();

    assert!(matches!(open_fault(dir.path(), 1), OpenFault::Damaged(_)));
}

#[test]
fn log_5_rows_that_were_undone_leave_the_chain_whole() {
    let dir = home();
    let store = open(dir.path());
    let (go, wait) = std::sync::mpsc::channel();
    let (said, heard) = std::sync::mpsc::channel();
    let tell = |kept: bool| {
        let said = said.clone();
        move |outcome: Result<(), Fault>| said.send((kept, outcome.is_ok())).unwrap()
    };
    // While the first job waits, the others queue up, so that all are in one batch.
    store
        .submit(
            move |tx| {
                wait.recv().unwrap();
                keep(tx.audit(&entry(1))?)
            },
            tell(true),
        )
        .unwrap();
    store.submit(|tx| Ok(Decision::Rollback(tx.audit(&entry(2))?)), tell(false)).unwrap();
    store.submit(|tx| keep(tx.audit(&entry(3))?), tell(true)).unwrap();
    store
        .submit(
            |tx| {
                tx.audit(&entry(4))?;
                Err(Fault::Panic)
            },
            tell(false),
        )
        .unwrap();
    store.submit(|tx| keep(tx.audit(&entry(5))?), tell(true)).unwrap();
    go.send(()).unwrap();
    let told: Vec<(bool, bool)> = heard.iter().take(5).collect();
    assert_eq!(told, [(true, true), (false, true), (true, true), (false, false), (true, true)]);

    let rows = store.read(PATIENCE, |view| view.audit_rows(0, 10)).unwrap();
    assert_eq!(rows.iter().map(|row| (row.seq, row.at)).collect::<Vec<_>>(), [(1, 1), (2, 3), (3, 5)]);
    assert_eq!(store.read(PATIENCE, audit_chain).unwrap(), ChainState::Whole);
    store.close();
    open(dir.path());
}

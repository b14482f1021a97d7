//! What changed under the daemon is noticed: moved ciphertext, a cut audit log, bytes after a request.

use mfad_core::model::{Sensitive, UserId};
use mfad_store::{Decision, Listeners, MasterKey, SecretType, Store};
use rusqlite::Connection;
use serde_json::json;

use crate::host::Host;
use crate::people::text;
use crate::wire::Request;

/// Puts what is sealed of anna's secret of that type in the place of boris's.
fn move_sealed(host: &Host, kind: &str) {
    let database = Connection::open(host.dirs.state.join("mfad.db")).unwrap();
    let moved = database.execute(
        "UPDATE secrets SET sealed = (SELECT s.sealed FROM secrets s JOIN users u ON u.id = s.user
         WHERE u.name = 'anna' AND s.type = ?1) WHERE type = ?1 AND user = (SELECT id FROM users WHERE name = 'boris')",
        [kind],
    );
    assert_eq!(moved.unwrap(), 1);
}

/// A check of a code takes the seed from the summary in the user's row.
#[test]
fn key_3_a_seed_moved_to_another_user_opens_for_nobody_and_is_audited() {
    let host = Host::start("");
    let (anna, mut annas, _) = host.guarded("anna");
    let (boris, mut boriss, _) = host.guarded("boris");
    let database = Connection::open(host.dirs.state.join("mfad.db")).unwrap();
    let put = "UPDATE users SET summary = (SELECT summary FROM users WHERE name = 'anna') WHERE name = 'boris'";
    assert_eq!(database.execute(put, []).unwrap(), 1);

    for token in [annas.next(), boriss.next()] {
        assert_eq!(host.verify(&boris.id, &json!({"token": token})).status, 503, "AUT-6: a refusal");
    }
    host.verify(&anna.id, &json!({"token": annas.next()})).ok();

    let log = host.ask(&Request::get("/audit?limit=500")).ok();
    let noticed = log["events"].as_array().unwrap().iter().filter(|row| row["event"] == "store.tampered").count();
    assert_eq!(noticed, 2, "{log}");
}

#[test]
fn key_3_a_seed_moved_to_the_row_of_another_factor_is_damage() {
    let mut host = Host::start("");
    host.guarded("anna");
    let (boris, _, _) = host.guarded("boris");
    move_sealed(&host, "mfa");

    assert_eq!(host.password(&boris).status, 503, "AUT-6: a refusal");

    host.stop();
    let mut serving = host.dirs.serve().spawn().unwrap();
    let ended = crate::host::wait(&mut serving, std::time::Duration::from_secs(20)).expect("it does not serve");
    assert_eq!(ended.code(), Some(9));
}

#[test]
fn key_3_a_password_moved_to_another_user_opens_for_nobody_and_is_audited() {
    let mut host = Host::start("");
    let (anna, boris) = (host.person("anna"), host.person("boris"));
    host.stop();
    move_sealed(&host, "password");
    host.start_again();

    assert_eq!(host.password(&boris).status, 503, "AUT-6: a refusal");
    host.password(&anna).ok();

    let noticed = crate::audit::read(&host).iter().filter(|row| row["event"] == "store.tampered").count();
    assert_eq!(noticed, 1);
}

/// What somebody who writes to the file, or a damaged disk, may make of a second factor.
const CHANGES: [&str; 4] = [
    "DELETE FROM secrets WHERE type = 'mfa'",
    "UPDATE secrets SET status = 'ended', sealed = NULL WHERE type = 'mfa'",
    "UPDATE secrets SET user = randomblob(16) WHERE type = 'mfa'",
    "UPDATE secrets SET id = randomblob(16) WHERE type = 'mfa'",
];

#[test]
fn aut_6_a_factor_that_is_lost_is_damage_and_not_a_login_by_password_alone() {
    for change in CHANGES {
        let mut host = Host::start("");
        let (anna, mut factor, _) = host.guarded("anna");
        let other = host.person("boris");
        let database = Connection::open(host.dirs.state.join("mfad.db")).unwrap();
        database.pragma_update(None, "foreign_keys", "OFF").unwrap();
        assert!(database.execute(change, []).unwrap() > 0, "{change}");
        drop(database);

        assert_eq!(host.password(&anna).status, 503, "{change}");
        assert_eq!(host.verify(&anna.id, &json!({"token": factor.next()})).status, 503, "{change}");
        let key = Request::post(anna.secrets(), &json!({"type": "apikey"})).reason();
        assert_eq!(host.ask(&key).status, 503, "{change}: no summary is made of damage");
        host.password(&other).ok();

        host.password(&anna).refused(503, "storage-damaged");
        let rows = crate::audit::read(&host);
        let noticed = rows.iter().filter(|row| row["event"] == "store.tampered").count();
        assert_eq!(noticed, 4, "{change}");
        assert!(host.dirs.log_text().contains("damaged, or was changed"), "{change}: the journal says why");
        host.stop();
        let mut serving = host.dirs.serve().spawn().unwrap();
        let ended = crate::host::wait(&mut serving, std::time::Duration::from_secs(20)).expect("it does not serve");
        assert_eq!(ended.code(), Some(9), "{change}");
    }
}

#[test]
fn aut_8_a_stored_hash_that_cannot_be_is_damage_and_not_a_defect() {
    // As its owner sealed it, and yet nothing that this program writes: of another format, too short, or of an absurd cost.
    for hash in [&b"$2b$12$of another program"[..], &[1, 0, 0], &[1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 2, 0, 0, 0, 1]] {
        let mut host = Host::start("");
        let (anna, boris) = (host.person("anna"), host.person("boris"));
        host.stop();
        let key = MasterKey::from_bytes(&std::fs::read(host.dirs.state.join("master.key")).unwrap()).unwrap();
        let store = Store::open(&host.dirs.state, None, &key, Listeners::default()).unwrap();
        let (user, hash) = (UserId::parse(&anna.id).unwrap(), hash.to_vec());
        let replaced = store.write(std::time::Duration::from_secs(10), move |tx| {
            let row = tx.active_secret(user, SecretType::Password)?.unwrap();
            tx.replace_value(&row, &Sensitive::new(hash), 1)?;
            Ok(Decision::Commit(()))
        });
        replaced.unwrap();
        store.close();
        host.start_again();

        host.password(&anna).refused(503, "storage-damaged");
        host.password(&boris).ok();
        let noticed = crate::audit::read(&host).iter().filter(|row| row["event"] == "store.tampered").count();
        assert_eq!(noticed, 1);
    }
}

#[test]
fn az_4_a_role_that_was_written_into_the_file_is_no_role() {
    let host = Host::start("");
    let anna = host.person("anna");
    let made = host.ask(&Request::post(anna.secrets(), &json!({"type": "apikey"})).token(&anna.token)).ok();
    let key = text(&made["secret"]["apikey"]);
    let database = Connection::open(host.dirs.state.join("mfad.db")).unwrap();
    assert_eq!(database.execute("UPDATE users SET roles = 'admin' WHERE name = 'anna'", []).unwrap(), 1);
    drop(database);

    assert_eq!(host.ask(&Request::get("/users").token(&anna.token)).status, 503);
    assert_eq!(host.token_status(&anna, &key), 503, "an API key");
    host.ask(&Request::new("POST", "/auth/refresh").token(&anna.refresh)).refused(503, "storage-damaged");
    let rename = Request::put(anna.path(), &json!({"version": 1, "displayName": "A"}));
    host.ask(&rename.token(&anna.token)).refused(503, "storage-damaged");
    assert_eq!(host.password(&anna).status, 503);
}

#[test]
fn http_4_a_good_request_before_bad_bytes_is_answered_first() {
    let host = Host::start("");
    let mut connection = host.connect();

    connection.send(b"GET /health/live HTTP/1.1\r\nHost: mfad\r\n\r\nGET / HTTP/1.1\nHost: mfad\n\n").unwrap();
    let all = connection.rest(std::time::Duration::from_secs(10)).expect("it is closed");

    let all = String::from_utf8(all).unwrap();
    let first = all.find("HTTP/1.1 200").unwrap_or_else(|| panic!("{all}"));
    let second = all.find("HTTP/1.1 400").unwrap_or_else(|| panic!("{all}"));
    assert!(first < second && all[second..].contains("\"malformed\""), "{all}");
    assert_eq!(text(&host.ask(&Request::get("/health/live")).ok()["status"]), "ok");
}

#[test]
fn unknown_names_do_not_fill_the_audit_log() {
    let host = Host::start("");
    let rows = || host.ask(&Request::get("/audit?limit=500")).ok()["events"].as_array().unwrap().len();
    let before = rows();

    for number in 0..10 {
        let login = json!({"id": format!("nobody {number}"), "password": "not the password"});
        host.ask(&Request::post("/auth/password", &login)).refused(401, "wrong-credentials");
    }

    assert_eq!(rows(), before);
}

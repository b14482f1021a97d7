//! What changed under the daemon is noticed: moved ciphertext, a cut audit log, bytes after a request.

use rusqlite::Connection;
use serde_json::json;

use crate::host::Host;
use crate::people::text;
use crate::wire::Request;

/// Puts what is sealed of anna's secret of that type in the place of boris's, while the daemon does not run.
fn move_sealed(host: &mut Host, kind: &str) {
    host.stop();
    let database = Connection::open(host.premises.state.join("mfad.db")).unwrap();
    let moved = database.execute(
        "UPDATE secrets SET sealed = (SELECT s.sealed FROM secrets s JOIN users u ON u.id = s.user
         WHERE u.name = 'anna' AND s.type = ?1) WHERE type = ?1 AND user = (SELECT id FROM users WHERE name = 'boris')",
        [kind],
    );
    assert_eq!(moved.unwrap(), 1);
    drop(database);
    host.start_again();
}

#[test]
fn key_3_a_seed_moved_to_another_user_opens_for_nobody_and_is_audited() {
    let mut host = Host::start("");
    let (anna, mut annas, _) = host.guarded("anna");
    let (boris, mut boriss, _) = host.guarded("boris");
    move_sealed(&mut host, "mfa");

    for token in [annas.next(), boriss.next()] {
        assert_eq!(host.verify(&boris.id, &json!({"token": token})).status, 500, "AUT-6: a refusal");
    }
    host.verify(&anna.id, &json!({"token": annas.next()})).ok();

    let log = host.ask(&Request::get("/audit?limit=500")).ok();
    let noticed = log["events"].as_array().unwrap().iter().filter(|row| row["event"] == "store.tampered").count();
    assert_eq!(noticed, 2, "{log}");
}

#[test]
fn key_3_a_password_moved_to_another_user_opens_for_nobody_and_is_audited() {
    let mut host = Host::start("");
    let (anna, boris) = (host.person("anna"), host.person("boris"));
    move_sealed(&mut host, "password");

    assert_eq!(host.password(&boris).status, 500, "AUT-6: a refusal");
    host.password(&anna).ok();

    let noticed = crate::audit::read(&host).iter().filter(|row| row["event"] == "store.tampered").count();
    assert_eq!(noticed, 1);
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

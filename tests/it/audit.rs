//! The audit log: what it says, that its rows hang together, and its stream.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::host::Host;
use crate::people::text;
use crate::wire::Request;

/// The whole log, read in pages.
pub fn read(host: &Host) -> Vec<Value> {
    let mut events = Vec::new();
    let mut after = 0;
    loop {
        let page = host.ask(&Request::get(format!("/audit?limit=7&after={after}"))).ok();
        events.extend(page["events"].as_array().unwrap().iter().cloned());
        match page["next"].as_u64() {
            Some(next) => after = next,
            None => return events,
        }
    }
}

/// Milliseconds since 1970 of an RFC 3339 time with exactly three decimals.
fn millis(time: &str) -> i64 {
    assert!(time.len() == 24 && time.ends_with('Z') && time.as_bytes()[19] == b'.', "{time}");
    time.parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

fn hash(event: &Value) -> String {
    let members = ["event", "subject", "object", "peerUid", "peerPid", "requestId", "outcome", "detail"];
    let mut row = vec![event["seq"].clone(), json!(millis(&text(&event["time"])))];
    row.extend(members.map(|member| event[member].clone()));
    row.extend(event.get("used").cloned());
    let mut hasher = Sha256::new();
    hasher.update(data_encoding::HEXLOWER.decode(text(&event["prev"]).as_bytes()).unwrap());
    hasher.update(Value::Array(row).to_string().as_bytes());
    data_encoding::HEXLOWER.encode(&hasher.finalize())
}

#[test]
fn log_5_the_rows_are_a_chain_that_anybody_can_check_also_over_restarts() {
    let mut host = Host::start("");
    let (person, mut factor, _) = host.guarded("anna");
    host.verify(&person.id, &json!({"token": factor.wrong()})).refused(401, "wrong-code");
    host.verify(&person.id, &json!({"token": factor.next()})).ok();
    host.restart();
    host.ask(
        &Request::new("POST", format!("{}/unlock", person.path())).header("Mfad-Reason", "she said \"1 / 2\" \\ <now>"),
    )
    .done();

    let events = read(&host);

    assert!(events.len() >= 5, "{events:#?}");
    let used: Vec<_> = events.iter().filter(|event| event["used"].is_u64()).map(|event| &event["event"]).collect();
    assert_eq!(used, ["factor.enroll", "login.factor", "verify"]);
    let mut previous = "0".repeat(64);
    for (at, event) in events.iter().enumerate() {
        assert_eq!(event["seq"], at + 1, "no row is missing");
        assert_eq!(event["prev"], previous.as_str());
        previous = text(&event["hash"]);
        assert_eq!(hash(event), previous, "{event}");
    }
}

#[test]
fn log_4_a_wrong_password_is_written_down_for_a_user_and_for_nobody_once_it_is_delayed() {
    let host = Host::start("");
    let person = host.person("anna");
    let guess = |name: &str| {
        let login = json!({"id": name, "password": "not the password"});
        host.ask(&Request::post("/auth/password", &login)).refused(401, "wrong-credentials");
    };
    let refused = || {
        let rows =
            read(&host).into_iter().filter(|row| row["event"] == "login.password" && row["outcome"] == "refused");
        rows.map(|row| row["subject"].clone()).collect::<Vec<_>>()
    };

    guess("anna");
    assert_eq!(refused(), [json!(person.id)]);
    (0..4).for_each(|_| guess("nobody"));
    assert_eq!(refused().len(), 1);
    guess("nobody");
    assert_eq!(refused(), [json!(person.id), json!(null)]);
}

#[test]
fn log_4_the_log_names_what_happened_to_whom_and_how_it_ended() {
    let host = Host::start("");
    let (person, factor, codes) = host.guarded("anna");
    host.verify(&person.id, &json!({"code": codes[0]})).ok();
    host.verify(&person.id, &json!({"token": factor.wrong()})).refused(401, "wrong-code");
    host.ask(&Request::delete(&factor.path).reason()).done();

    let events = read(&host);

    let about: Vec<&Value> = events.iter().filter(|event| event["subject"] == person.id.as_str()).collect();
    let with_factor = about.iter().filter(|event| event["object"] == factor.id.as_str());
    assert!(with_factor.count() >= 3, "create, enrol, delete: {about:#?}");
    assert!(about.iter().any(|event| event["outcome"] == "refused"), "{about:#?}");
    assert!(
        about.iter().any(|event| event["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("the integration tests ask for it"))),
        "the reason: {about:#?}"
    );
    for event in &about {
        assert_eq!(event["peerUid"], crate::identity::own_uid(), "{event}");
        assert!(event["requestId"].is_string() && event["event"].is_string(), "{event}");
    }
    for odd in ["limit=0", "limit=501", "after=-1", "after=x", "before=1"] {
        host.ask(&Request::get(format!("/audit?{odd}"))).refused(400, "malformed");
    }
}

#[test]
fn log_4_the_request_id_of_a_refusal_leads_to_its_row() {
    let host = Host::start("");
    let (person, factor, _) = host.guarded("anna");

    let refusal = host.verify(&person.id, &json!({"token": factor.wrong()})).refused(401, "wrong-code");

    assert!(read(&host).iter().any(|event| event["requestId"] == refusal["requestId"]), "{refusal}");
}

#[test]
fn the_stream_gives_old_rows_and_then_new_ones_as_they_come() {
    let host = Host::start("");
    host.person("anna");
    let old = read(&host);
    let mut stream = host.connect().stream(&Request::get("/audit/events?after=0"));

    for event in &old {
        assert_eq!(&stream.next_event(), event);
    }
    let id = host.nobody("boris");
    let new = stream.next_event();

    assert_eq!(new["subject"], id.as_str(), "{new}");
}

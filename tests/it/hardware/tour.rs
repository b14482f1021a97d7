//! Every answer about hardware keys that the document knows, so that the answers can be counted against it.

use serde_json::{Value, json};

use super::bench::Bench;
use crate::card::{Applet, Attested, Key, Maker, Model, Touch};
use crate::people::text;
use crate::wire::Request;

/// A bench on which everything was seen, if there can be one.
pub fn tour(can_have_readers: bool) -> Option<Bench> {
    if !can_have_readers {
        return None;
    }
    let maker = Maker::new();
    let dir = tempfile::Builder::new().prefix("mfad-maker-").tempdir().unwrap();
    let roots = dir.path().join("maker.pem");
    std::fs::write(&roots, maker.pem()).unwrap();
    let bench = Bench::new(1, &format!("[devices]\nattestationRoots = [{roots:?}]\n"));
    bench.insert(0, Key::new(7).attested(&maker, &Attested::default()));
    bench.host.ask(&act("POST", "/attest", None)).ok();
    let user = bench.host.nobody("ann");
    for target in ["/devices", "/devices/events", "/devices/7", "/devices/7/oath/accounts", RECEIPT_KEYS] {
        assert_eq!(bench.host.ask(&Request::get(target)).status, 200, "{target}");
    }
    accounts_in_use(&bench, &user);
    the_end_of_a_key(&bench, &user);
    other_keys(&bench, &user);
    Some(bench)
}

const RECEIPT_KEYS: &str = "/.well-known/receipt-keys.json";

fn act(method: &str, target: &str, body: Option<Value>) -> Request {
    let request = Request::new(method, format!("/devices/7{target}")).reason();
    match body {
        Some(body) => request.json(&body),
        None => request,
    }
}

fn accounts_in_use(bench: &Bench, user: &str) {
    let ask = |request: &Request| bench.host.ask(request);
    bench.provisioned(user, &json!({}));
    bench.provision(user, &json!({})).refused(409, "name-taken");
    ask(&act("PUT", "/oath/accounts/mfad:ann", Some(json!({"name": "mfad:ann"})))).refused(409, "name-taken");
    ask(&act("PUT", "/oath/accounts/mfad:ann", Some(json!({"name": "mfad:annette"})))).ok();
    ask(&act("DELETE", "/oath/accounts/mfad:annette", None)).refused(409, "device-in-use");
    ask(&act("DELETE", "/oath/accounts/mfad:nobody", None)).refused(404, "not-found");
    ask(&act("PUT", "/oath/accounts/mfad:nobody", Some(json!({"name": "x"})))).refused(404, "not-found");
    ask(&act("POST", "/oath/reset", None)).refused(409, "device-in-use");
}

fn the_end_of_a_key(bench: &Bench, user: &str) {
    let ask = |request: &Request| bench.host.ask(request);
    ask(&act("PUT", "/oath/password", Some(json!({"new": "hunter2 hunter2"})))).ok();
    let returned = ask(&act("POST", "/return", None)).ok();
    assert_eq!(returned["credentials"][0]["revoked"], true, "{returned}");
    bench.ykman_says(&["oath", "accounts", "add", "spare", "JBSWY3DPEHPK3PXP"]);
    ask(&act("DELETE", "/oath/accounts/spare", None)).done();
    ask(&act("POST", "/oath/reset", None)).done();
    // One pending factor whose key gets a password that nobody told the daemon.
    let secret = bench.provision(user, &json!({})).ok();
    bench.ykman_says(&["oath", "access", "change", "--new-password", "another one"]);
    let path = format!("/users/{user}/secrets/{}", text(&secret["uid"]));
    for target in [format!("{path}/enroll"), path] {
        ask(&Request::put(&target, &json!({"device": true})).reason()).refused(423, "device-locked");
    }
    for (method, target, body) in [
        ("GET", "/oath/accounts", None),
        ("PUT", "/oath/accounts/x", Some(json!({"name": "y"}))),
        ("DELETE", "/oath/accounts/x", None),
        ("PUT", "/oath/password", Some(json!({"random": true}))),
        ("POST", "/return", None),
    ] {
        ask(&act(method, target, body)).refused(423, "device-locked");
    }
    ask(&act("PUT", "/oath/password", Some(json!({"current": "wrong"})))).refused(422, "wrong-device-password");
    bench.provision(user, &json!({})).refused(423, "device-locked");
    bench.provision(user, &json!({"device": {"any": true, "password": "x"}})).refused(422, "wrong-device-password");
    bench.pull(0);
}

fn other_keys(bench: &Bench, user: &str) {
    let ask = |request: &Request| bench.host.ask(request);
    bench.provision(user, &json!({})).refused(503, "no-device");
    ask(&act("GET", "/oath/accounts", None)).refused(503, "no-device");
    bench.insert(0, Key::new(7).without(Applet::Oath));
    for (method, target, body) in [
        ("GET", "/oath/accounts", None),
        ("PUT", "/oath/accounts/x", Some(json!({"name": "y"}))),
        ("PUT", "/oath/password", Some(json!({"random": true}))),
        ("POST", "/oath/reset", None),
        ("POST", "/attest", None),
        ("POST", "/return", None),
    ] {
        ask(&act(method, target, body)).refused(409, "unsupported");
    }
    bench.provision(user, &json!({})).refused(409, "unsupported");
    bench.pull(0);
    a_key_that_erases_when_it_is_touched(bench, user);
}

fn a_key_that_erases_when_it_is_touched(bench: &Bench, user: &str) {
    let key = Key::of(Model::Nitrokey, 0xA1B2_C3D4);
    let id = key.id();
    bench.insert(0, key);
    let secret = bench.provisioned(user, &json!({"name": "red key"}));
    let touched = |touch| bench.reader().with_key(|key| key.touch = touch);

    touched(Touch::Refused);
    let path = format!("/users/{user}/secrets/{}", text(&secret["uid"]));
    let left = bench.host.ask(&Request::new("DELETE", &path).reason());
    assert_eq!((left.status, &left.json()["key"]), (202, &json!(id)), "{}", left.text());
    let status = |bench: &Bench| bench.host.ask(&Request::get(format!("/devices/{id}"))).ok()["credentials"].clone();
    assert_eq!(status(bench)[0]["status"], "erase");

    touched(Touch::Given);
    bench.host.ask(&Request::new("POST", format!("/devices/{id}/return")).reason()).ok();
    assert_eq!(status(bench), json!([]));
    assert!(bench.reader().with_key(|key| key.accounts().is_empty()));
}

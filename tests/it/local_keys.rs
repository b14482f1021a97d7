//! Security keys in the ports of the daemon's host: a virtual key at the reports of CTAPHID, the daemon's own socket and
//! store. The same key is played at a browser too.

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use mfad_core::model::Sensitive;
use mfad_core::stopwatch::Stopwatch;
use mfad_hardware::ctap::Authenticator;
use mfad_hardware::device::{Channel, DeviceFault, SecurityKey, SecurityKeys, Wait};
use mfad_service::fido::{AuthenticationAnswer, RegistrationAnswer, RelyingParty, Verification};
use serde_cbor_2::Value as Cbor;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::cli::{fails, mfactl, succeeds};
use crate::fido::{Finger, Key, Make, Touch, VirtualPorts};
use crate::fido2::CONFIG;
use crate::host::Host;
use crate::people::{PASSWORD, Person, codes_of, text, with};
use crate::proof::Dice;
use crate::wire::{Answer, Request};

const PIN: &str = "correct-48";
const ORIGIN: &str = "https://login.example.org";

fn pinned() -> Make {
    Make { pin: Some(PIN.to_owned()), ..Make::default() }
}

/// A host with one key in it, and both hands on the key.
fn host(make: Make) -> (Host, Key) {
    let key = Key::new(make);
    (Host::with_keys(CONFIG, VirtualPorts::with([key.clone()])), key)
}

fn register(host: &Host, person: &Person, more: &Value) -> Answer {
    let order = with(json!({"type": "fido2", "local": true}), more);
    host.ask(&Request::post(person.secrets(), &order).reason())
}

fn log_in(host: &Host, person: &Person, more: &Value) -> Answer {
    let challenge = host.challenge(person);
    host.ask(&Request::post("/auth/fido2", &with(json!({"device": true}), more)).token(&challenge))
}

fn factors(host: &Host, person: &Person) -> Vec<Value> {
    let secrets = host.ask(&Request::get(person.secrets()).reason()).ok()["secrets"].clone();
    secrets.as_array().unwrap().iter().filter(|secret| secret["type"] == "fido2").cloned().collect()
}

fn numbered(members: impl IntoIterator<Item = (i128, Cbor)>) -> Vec<u8> {
    let map = members.into_iter().map(|(number, value)| (Cbor::Integer(number), value)).collect();
    serde_cbor_2::to_vec(&Cbor::Map(map)).unwrap()
}

fn named(members: &[(&str, Cbor)]) -> Cbor {
    Cbor::Map(members.iter().map(|(name, value)| (Cbor::Text((*name).to_owned()), value.clone())).collect())
}

fn member(answer: &[u8], number: i128) -> Cbor {
    assert_eq!(answer[0], 0, "the key refuses");
    let Cbor::Map(map) = serde_cbor_2::from_slice(&answer[1..]).unwrap() else { panic!("no map") };
    map[&Cbor::Integer(number)].clone()
}

fn bytes(value: Cbor) -> Vec<u8> {
    let Cbor::Bytes(bytes) = value else { panic!("no bytes: {value:?}") };
    bytes
}

fn encode(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

fn client_data(kind: &str, options: &Value) -> String {
    json!({"type": kind, "challenge": options["challenge"], "origin": ORIGIN, "crossOrigin": false}).to_string()
}

/// What a browser does with `navigator.credentials.get()`, the key being in its own port.
fn browser_gets(key: &Key, options: &Value) -> Value {
    let data = client_data("webauthn.get", options);
    let id = BASE64URL_NOPAD.decode(text(&options["allowCredentials"][0]["id"]).as_bytes()).unwrap();
    let allowed = named(&[("id", Cbor::Bytes(id.clone())), ("type", Cbor::Text("public-key".to_owned()))]);
    let request = numbered([
        (1, Cbor::Text(text(&options["rpId"]))),
        (2, Cbor::Bytes(Sha256::digest(&data).to_vec())),
        (3, Cbor::Array(vec![allowed])),
    ]);
    let answer = key.ask(&[vec![2], request].concat());
    json!({
        "id": encode(&id), "rawId": encode(&id), "type": "public-key", "clientExtensionResults": {},
        "response": {
            "clientDataJSON": encode(data.as_bytes()), "userHandle": null,
            "authenticatorData": encode(&bytes(member(&answer, 2))), "signature": encode(&bytes(member(&answer, 3))),
        },
    })
}

/// The same with `navigator.credentials.create()`.
fn browser_makes(key: &Key, options: &Value) -> Value {
    let data = client_data("webauthn.create", options);
    let user = BASE64URL_NOPAD.decode(text(&options["user"]["id"]).as_bytes()).unwrap();
    let algorithm = named(&[("alg", Cbor::Integer(-7)), ("type", Cbor::Text("public-key".to_owned()))]);
    let request = numbered([
        (1, Cbor::Bytes(Sha256::digest(&data).to_vec())),
        (2, named(&[("id", Cbor::Text(text(&options["rp"]["id"])))])),
        (3, named(&[("id", Cbor::Bytes(user))])),
        (4, Cbor::Array(vec![algorithm])),
    ]);
    let made = bytes(member(&key.ask(&[vec![1], request].concat()), 2));
    let length = usize::from(u16::from_be_bytes([made[53], made[54]]));
    let id = &made[55..55 + length];
    let object = named(&[
        ("fmt", Cbor::Text("none".to_owned())),
        ("attStmt", named(&[])),
        ("authData", Cbor::Bytes(made.clone())),
    ]);
    json!({
        "id": encode(id), "rawId": encode(id), "type": "public-key", "clientExtensionResults": {},
        "response": {
            "clientDataJSON": encode(data.as_bytes()),
            "attestationObject": encode(&serde_cbor_2::to_vec(&object).unwrap()),
        },
    })
}

fn options(host: &Host, challenge: &str) -> Value {
    host.ask(&Request::new("POST", "/auth/fido2/options").token(challenge)).ok()["publicKey"].clone()
}

/// Each refusal of a PIN at each door, so that the answers can be counted against the document.
pub fn tour() -> Host {
    let (host, key) = host(pinned());
    let person = host.person("anna");
    let wrong = json!({"uv": "required", "pin": "wrong-48"});
    register(&host, &person, &wrong).refused(422, "pin-wrong");
    register(&host, &person, &json!({"uv": "required", "pin": PIN})).ok();
    host.give_account(&person.id);
    let here = json!({"name": "anna", "device": true, "service": "login", "tty": "tty1"});
    host.ask(&Request::post("/verify", &here)).refused(409, "pin-required");
    host.ask(&Request::post("/verify", &with(here, &json!({"pin": "wrong-48"})))).refused(422, "pin-wrong");
    key.plug_in();
    let access = text(&log_in(&host, &person, &json!({"pin": PIN})).ok()["token"]);
    let wrong = json!({"device": true, "pin": "wrong-48"});
    for target in ["/auth/fido2", "/auth/mfa"] {
        key.plug_in();
        host.ask(&Request::post(target, &wrong).token(&host.challenge(&person))).refused(422, "pin-wrong");
    }
    key.plug_in();
    let step_up = with(wrong.clone(), &json!({"action": "pay"}));
    host.ask(&Request::post("/auth/stepup", &step_up).token(&access)).refused(422, "pin-wrong");
    host.verify(&person.id, &wrong).refused(422, "pin-wrong");
    host.verify(&person.id, &wrong).refused(423, "pin-blocked");
    let other = host.person("berta");
    register(&host, &other, &json!({"uv": "required", "pin": PIN})).refused(423, "pin-blocked");
    host.ask(&Request::get("/devices/fido2")).ok();
    key.plug_in();
    key.set_finger(Finger::Always(Touch::TimedOut));
    let impatient = host.person("clara");
    let untouched = json!({"uv": "discouraged"});
    (0..5).for_each(|_| drop(register(&host, &impatient, &untouched).refused(409, "touch-timeout")));
    register(&host, &impatient, &untouched).refused(429, "too-many-attempts");
    host
}

#[test]
fn a_key_registered_here_logs_in_here_and_in_a_browser() {
    let (host, key) = host(Make::default());
    let person = host.person("anna");

    let made = register(&host, &person, &json!({"name": "blue"})).ok();
    assert_eq!((&made["type"], &made["status"], &made["name"]), (&json!("fido2"), &json!("active"), &json!("blue")));
    assert_eq!(codes_of(&made).len(), 10);

    let here = log_in(&host, &person, &json!({})).ok();
    assert_eq!(here["type"], "ACCESS");
    let challenge = host.challenge(&person);
    let credential = browser_gets(&key, &options(&host, &challenge));
    let there = host.ask(&Request::post("/auth/fido2", &json!({"credential": credential})).token(&challenge)).ok();
    assert_eq!(there["type"], "ACCESS");
    assert_eq!(factors(&host, &person).len(), 1, "one record for both ways");
    log_in(&host, &person, &json!({})).ok();
}

#[test]
fn a_key_registered_in_a_browser_logs_in_here() {
    let (host, key) = host(Make::default());
    let person = host.person("anna");
    let made = host.ask(&Request::post(person.secrets(), &json!({"type": "fido2"})).reason()).ok();
    let credential = browser_makes(&key, &made["secret"]["publicKey"]);
    let path = format!("{}/{}/enroll", person.secrets(), text(&made["uid"]));
    host.ask(&Request::put(path, &json!({"credential": credential})).reason()).ok();

    assert_eq!(log_in(&host, &person, &json!({})).ok()["type"], "ACCESS");
}

#[test]
fn the_key_answers_at_every_door() {
    let (host, _key) = host(Make::default());
    let person = host.person("anna");
    let made = register(&host, &person, &json!({})).ok();
    let device = json!({"device": true});

    let challenge = host.challenge(&person);
    let access = text(&host.ask(&Request::post("/auth/mfa", &device).token(&challenge)).ok()["token"]);
    let order = json!({"device": true, "action": "pay"});
    let raised = host.ask(&Request::post("/auth/stepup", &order).token(&access)).ok();
    assert!(raised["receipt"].is_string(), "{raised}");
    let verified = host.verify(&person.id, &device).ok();
    assert_eq!((&verified["method"], &verified["secretId"]), (&json!("fido2"), &made["uid"]));

    let shown = host.ask(&Request::get("/devices/fido2")).ok();
    let key = &shown["securityKeys"][0];
    assert_eq!((&key["node"], &key["product"]), (&json!("hidraw0"), &json!("Virtual key")));
    assert_eq!((&key["versions"], &key["pin"]), (&json!(["FIDO_2_0", "FIDO_2_1"]), &json!(false)));
    assert_eq!(key["aaguid"], "6d666164-2d76-6972-7475-616c2d6b6579");
}

#[test]
fn fido_3_a_key_with_a_pin_is_told_it_whichever_protocol_it_speaks() {
    for make in [pinned(), Make { is_old: true, ..pinned() }] {
        let (host, _key) = host(make);
        let person = host.person("anna");
        for uv in ["required", "preferred"] {
            register(&host, &person, &json!({"uv": uv})).refused(409, "pin-required");
        }
        let wrong = register(&host, &person, &json!({"uv": "required", "pin": "wrong-48"})).refused(422, "pin-wrong");
        assert_eq!(wrong["remaining"], 7);
        assert_eq!(factors(&host, &person).len(), 0, "nothing is left of what did not become a factor");

        register(&host, &person, &json!({"uv": "required", "pin": PIN})).ok();
        log_in(&host, &person, &json!({})).refused(409, "pin-required");
        let access = log_in(&host, &person, &json!({"pin": PIN})).ok();
        assert_eq!(access["type"], "ACCESS");
        register(&host, &person, &json!({"pin": "123"})).refused(400, "malformed");
        log_in(&host, &person, &json!({"pin": "x".repeat(64)})).refused(400, "malformed");
    }
}

#[test]
fn fido_3_a_fingerprint_takes_the_place_of_a_pin() {
    for make in
        [Make { fingerprint: true, ..Make::default() }, Make { fingerprint: true, is_old: true, ..Make::default() }]
    {
        let (host, _key) = host(make);
        let person = host.person("anna");

        register(&host, &person, &json!({"uv": "required"})).ok();

        log_in(&host, &person, &json!({})).ok();
    }
}

#[test]
fn fido_3_a_key_that_has_to_know_and_cannot_is_refused() {
    let (host, _key) = host(Make::default());
    let person = host.person("anna");

    register(&host, &person, &json!({"uv": "required"})).refused(409, "unsupported");

    register(&host, &person, &json!({"uv": "discouraged"})).ok();
    log_in(&host, &person, &json!({})).ok();
}

#[test]
fn a_key_whose_algorithm_is_not_verified_is_told_so() {
    for (algorithm, is_stubborn) in [(-8, false), (-8, true), (-257, true), (-35, true)] {
        let (host, _key) = host(Make { algorithm, is_stubborn, ..Make::default() });
        let person = host.person("anna");

        let problem = register(&host, &person, &json!({})).refused(409, "unsupported");

        assert!(text(&problem["detail"]).contains("algorithm"), "{problem}");
        assert_eq!(factors(&host, &person).len(), 0);
    }
}

#[test]
fn a_pin_is_paused_and_blocked_as_the_key_says() {
    let (host, key) = host(pinned());
    let person = host.person("anna");
    let wrong = || {
        host.unlock(&person.id);
        register(&host, &person, &json!({"pin": "wrong-48"}))
    };
    wrong().refused(422, "pin-wrong");
    wrong().refused(422, "pin-wrong");
    let paused = wrong().refused(423, "pin-blocked");
    assert!(text(&paused["detail"]).contains("unplug"), "{paused}");
    register(&host, &person, &json!({"pin": PIN})).refused(423, "pin-blocked");
    key.plug_in();
    (0..3).for_each(|_| drop(wrong()));

    // The last ones are for whoever has the key in hand.
    for _ in 0..3 {
        key.plug_in();
        let spared = wrong().refused(423, "pin-blocked");
        assert!(text(&spared["detail"]).contains("2 more"), "{spared}");
    }

    key.spend_pins();
    host.unlock(&person.id);
    let blocked = register(&host, &person, &json!({"pin": PIN})).refused(423, "pin-blocked");
    assert!(text(&blocked["detail"]).contains("reset"), "{blocked}");
    let noted = crate::audit::read(&host).iter().filter(|event| event["event"] == "key.pin-wrong").count();
    assert!(noted >= 8, "{noted}");
}

#[test]
fn thr_7_a_key_that_is_made_to_blink_for_nothing_delays_whoever_does_it() {
    let (host, key) = host(Make::default());
    let person = host.person("anna");
    register(&host, &person, &json!({})).ok();
    key.set_finger(Finger::Always(Touch::TimedOut));
    for _ in 0..5 {
        log_in(&host, &person, &json!({})).refused(409, "touch-timeout");
    }

    log_in(&host, &person, &json!({})).refused(429, "too-many-attempts");
    register(&host, &person, &json!({})).refused(429, "too-many-attempts");

    let noted = crate::audit::read(&host).iter().filter(|event| event["event"] == "key.untouched").count();
    assert_eq!(noted, 5);
    host.unlock(&person.id);
    key.set_finger(Finger::Always(Touch::Given));
    log_in(&host, &person, &json!({})).ok();
}

#[test]
fn a_pin_is_tried_on_the_key_of_somebody_who_is_there() {
    let (host, key) = host(pinned());
    let person = host.person("anna");
    key.set_finger(Finger::Always(Touch::TimedOut));

    register(&host, &person, &json!({"pin": "wrong-48"})).refused(409, "touch-timeout");

    key.set_finger(Finger::Always(Touch::Given));
    let wrong = register(&host, &person, &json!({"pin": "wrong-48"})).refused(422, "pin-wrong");
    assert_eq!(wrong["remaining"], 7, "nothing was tried before");
}

#[test]
fn a_key_that_knows_short_ids_only_or_says_nothing_is_used_all_the_same() {
    for make in [Make { longest_id: Some(64), ..Make::default() }, Make { is_closed: true, ..pinned() }] {
        let pin = make.pin.as_ref().map_or_else(|| json!({}), |pin| json!({"pin": pin}));
        let (key, other) = (Key::new(make), Key::with_long_ids());
        let ports = VirtualPorts::with([other.clone()]);
        let host = Host::with_keys(CONFIG, Arc::clone(&ports) as Arc<dyn SecurityKeys>);
        let person = host.person("anna");
        register(&host, &person, &json!({})).ok();
        other.pull();
        ports.plug_in(key.clone());
        register(&host, &person, &pin).ok();

        log_in(&host, &person, &pin).ok();
        other.plug_in();
        key.pull();
        log_in(&host, &person, &json!({})).ok();
    }
}

#[test]
fn a_key_keeps_its_own_policy_beside_another_one() {
    let (plain, guarded) = (Key::new(pinned()), Key::new(pinned()));
    let ports = VirtualPorts::with([plain.clone()]);
    let host = Host::with_keys(CONFIG, Arc::clone(&ports) as Arc<dyn SecurityKeys>);
    let person = host.person("anna");
    register(&host, &person, &json!({"uv": "discouraged"})).ok();
    plain.pull();
    ports.plug_in(guarded.clone());
    register(&host, &person, &json!({"uv": "required", "pin": PIN})).ok();

    log_in(&host, &person, &json!({"pin": PIN})).ok();
    plain.plug_in();
    log_in(&host, &person, &json!({})).refused(409, "many-devices");
    guarded.pull();
    log_in(&host, &person, &json!({})).ok();
}

#[test]
fn what_is_in_the_way_has_its_own_code_and_leaves_nothing() {
    let key = Key::new(Make::default());
    let ports = VirtualPorts::with([key.clone()]);
    let host = Host::with_keys(CONFIG, Arc::clone(&ports) as Arc<dyn SecurityKeys>);
    let person = host.person("anna");
    let refused = |status, code: &str| {
        host.unlock(&person.id);
        register(&host, &person, &json!({})).refused(status, code);
        assert_eq!(factors(&host, &person).len(), 0, "{code}");
    };

    key.set_finger(Finger::Always(Touch::Denied));
    refused(409, "touch-denied");
    key.set_finger(Finger::Always(Touch::TimedOut));
    refused(409, "touch-timeout");
    key.set_finger(Finger::Always(Touch::Given));
    ports.refuse(Some(DeviceFault::NoAccess));
    refused(503, "hid-denied");
    let shown = host.ask(&Request::get("/devices/fido2")).ok();
    assert_eq!(shown["securityKeys"][0]["problem"]["code"], "hid-denied");
    ports.refuse(Some(DeviceFault::TooOld));
    refused(409, "unsupported");
    ports.refuse(None);
    for messages in 1..=2 {
        key.pull_after(messages);
        refused(503, "device-removed");
        refused(503, "no-device");
        key.plug_in();
    }

    host.unlock(&person.id);
    register(&host, &person, &json!({})).ok();
    key.set_finger(Finger::Always(Touch::Denied));
    log_in(&host, &person, &json!({})).refused(409, "touch-denied");
    key.pull();
    log_in(&host, &person, &json!({})).refused(503, "no-device");
    key.plug_in();
    key.set_finger(Finger::Always(Touch::Given));
    log_in(&host, &person, &json!({})).ok();
    register(&host, &person, &json!({})).refused(409, "already-active");
    // Nobody touches a key for what is refused anyway.
    key.set_finger(Finger::Always(Touch::TimedOut));
    let other = register(&host, &person, &json!({"name": text(&factors(&host, &person)[0]["name"])}));
    other.refused(409, "secret-name-taken");
    let stranger = host.person("other");
    host.ask(&Request::post("/users", &json!({"name": "x"}))).ok();
    let challenge = host.verify(&stranger.id, &json!({"device": true}));
    challenge.refused(503, "no-device");
}

#[test]
fn of_two_keys_the_one_that_is_registered_answers() {
    let (one, other) = (Key::new(Make::default()), Key::new(pinned()));
    let ports = VirtualPorts::with([one.clone()]);
    let host = Host::with_keys(CONFIG, Arc::clone(&ports) as Arc<dyn SecurityKeys>);
    let (person, second) = (host.person("anna"), host.person("berta"));
    register(&host, &person, &json!({})).ok();
    ports.plug_in(Key::of_u2f());
    ports.plug_in(other.clone());

    let many = register(&host, &second, &json!({})).refused(409, "many-devices");
    assert!(text(&many["detail"]).contains("hidraw2"), "{many}");
    log_in(&host, &person, &json!({})).ok();
    one.pull();
    log_in(&host, &person, &json!({})).refused(409, "not-this-key");
    other.pull();
    one.plug_in();

    log_in(&host, &person, &json!({})).ok();
}

#[test]
fn a_key_that_is_older_than_fido2_is_in_nobodys_way() {
    let ports = VirtualPorts::with([Key::of_u2f(), Key::new(Make::default()), Key::of_u2f()]);
    let host = Host::with_keys(CONFIG, Arc::clone(&ports) as Arc<dyn SecurityKeys>);

    register(&host, &host.person("anna"), &json!({})).ok();

    ports.plug_in(Key::new(Make::default()));
    let many = register(&host, &host.person("berta"), &json!({})).refused(409, "many-devices");
    let named = text(&many["detail"]);
    assert!(named.contains("hidraw1") && named.contains("hidraw3"), "{named}");
    assert!(!named.contains("hidraw0") && !named.contains("hidraw2"), "{named}");
}

#[test]
fn the_key_of_somebody_else_does_not_let_in() {
    let (own, foreign) = (Key::new(Make::default()), Key::new(Make::default()));
    let ports = VirtualPorts::with([own.clone()]);
    let host = Host::with_keys(CONFIG, Arc::clone(&ports) as Arc<dyn SecurityKeys>);
    let person = host.person("anna");
    register(&host, &person, &json!({})).ok();
    own.pull();
    ports.plug_in(foreign);

    log_in(&host, &person, &json!({})).refused(409, "not-this-key");
}

#[test]
fn fido_5_a_counter_that_went_back_is_refused_and_noted() {
    let (host, key) = host(Make::default());
    let person = host.person("anna");
    register(&host, &person, &json!({})).ok();
    key.set_counter(40);
    log_in(&host, &person, &json!({})).ok();

    key.set_counter(39);
    log_in(&host, &person, &json!({})).refused(401, "wrong-code");
    let copied = crate::audit::read(&host).iter().filter(|event| event["event"] == "key.copied").count();
    assert_eq!(copied, 1);

    key.set_counter(41);
    log_in(&host, &person, &json!({})).ok();
}

#[test]
fn mfactl_registers_a_key_logs_in_with_it_and_deletes_it() {
    let (host, key) = host(pinned());
    let person = host.person("anna");
    let pin = host.dirs.dir.path().join("pin");
    std::fs::write(&pin, format!("{PIN}\n")).unwrap();
    let pin = pin.to_str().unwrap();
    let reason = ["--reason", "a test"];
    let enroll = [&["fido2", "enroll", "anna", "--name", "blue"][..], &reason].concat();

    assert_eq!(fails(&host, &[&enroll[..], &["--no-input"]].concat(), ""), 2, "nobody to ask for the PIN");
    assert_eq!(fails(&host, &[&enroll[..], &["--pin-stdin"]].concat(), "wrong-48"), 5);
    key.plug_in();
    let made = succeeds(&host, &[&enroll[..], &["--uv", "required", "--pin-file", pin]].concat(), "");
    assert_eq!((&made["type"], &made["name"], &made["status"]), (&json!("fido2"), &json!("blue"), &json!("active")));
    assert_eq!(codes_of(&made).len(), 10);

    let login = ["login", "anna", "--password-stdin", "--device", "--pin-file", pin];
    assert_eq!(succeeds(&host, &login, PASSWORD)["type"], "ACCESS");
    let verified = succeeds(&host, &["verify", "anna", "--device", "--pin-stdin"], PIN);
    assert_eq!(verified["method"], "fido2");
    assert_eq!(fails(&host, &["verify", "anna", "--code-stdin", "--pin-file", pin], "123456"), 2);

    let says = |arguments: &[&str]| {
        let output = mfactl(&host, arguments, "");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let plugged = says(&["fido2", "list"]);
    assert!(plugged.contains("hidraw0") && plugged.contains("Virtual key") && plugged.contains("yes"), "{plugged}");
    assert_eq!(succeeds(&host, &["fido2", "list"], "")["securityKeys"][0]["pin"], true);
    assert!(says(&["fido2", "list", "anna"]).contains("blue"));
    let listed = succeeds(&host, &["fido2", "list", "anna"], "");
    assert_eq!(listed["secrets"].as_array().map(Vec::len), Some(1), "the key, and not its codes: {listed}");
    assert_eq!(fails(&host, &["fido2", "list", "--as-user"], ""), 2);
    let codes = ["fido2", "delete", "anna", &text(&made["uid"]), "--yes", "--reason", "a test"];
    succeeds(&host, &codes, "");
    assert_eq!(factors(&host, &person).len(), 0);
    let said = says(&[&enroll[..], &["--pin-file", pin]].concat());
    assert!(said.contains("blue is active") && said.contains("backup codes"), "{said}");
    assert!(says(&["fido2", "delete", "anna", "blue", "--yes", "--reason", "a test"]).contains("blue"));
    assert!(says(&["fido2", "list", "anna"]).contains("no security key"));
}

#[test]
fn a_caller_who_leaves_makes_the_key_stop_blinking() {
    let (host, key) = host(Make::default());
    let person = host.person("anna");
    register(&host, &person, &json!({})).ok();
    key.set_finger(Finger::Away);
    let body = json!({"device": true});
    let mut line = UnixStream::connect(host.socket()).unwrap();
    line.write_all(&Request::post("/auth/fido2", &body).token(&host.challenge(&person)).encode()).unwrap();
    key.wait_for_blink();
    // One that has only said all that it has to say is still there.
    line.shutdown(Shutdown::Write).unwrap();
    thread::scope(|threads| {
        threads.spawn(|| log_in(&host, &person, &json!({})).refused(503, "device-busy"));
    });
    assert_eq!(key.cancelled(), 0);

    drop(line);

    key.wait_for_cancel(1);
    key.set_finger(Finger::Always(Touch::Given));
    // The key is free again as soon as the ceremony has ended.
    let challenge = host.challenge(&person);
    let free = (0..1000).find(|_| {
        let answer = host.ask(&Request::post("/auth/fido2", &body).token(&challenge));
        assert!(answer.status == 200 || answer.code() == "device-busy", "{answer:?}");
        answer.status == 200
    });
    assert!(free.is_some(), "the key stays busy");
}

#[test]
fn nobody_touches_a_key_for_a_challenge_that_is_over() {
    let (host, key) = host(Make::default());
    let person = host.person("anna");
    let codes = codes_of(&register(&host, &person, &json!({})).ok());
    let challenge = host.challenge(&person);
    host.answer_recovery(&challenge, &codes[0]).ok();
    key.set_finger(Finger::Always(Touch::TimedOut));

    let late = host.ask(&Request::post("/auth/fido2", &json!({"device": true})).token(&challenge));

    late.refused(401, "challenge-ended");
}

#[test]
fn tok_6_a_token_that_ends_while_a_key_is_waited_for_registers_nothing() {
    // Of a session that is logged out, and of a login that has to enrol, whose password changes.
    for settings in ["", "mfaRequired = true\n"] {
        let key = Key::new(Make::default());
        let ports = VirtualPorts::with([key.clone()]);
        let host = Host::with_keys(&format!("{settings}{CONFIG}"), ports as Arc<dyn SecurityKeys>);
        let person = host.person("anna");
        key.set_finger(Finger::Away);
        let order = Request::post(person.secrets(), &json!({"type": "fido2", "local": true})).token(&person.token);
        thread::scope(|threads| {
            let registering = threads.spawn(|| host.ask(&order));
            key.wait_for_blink();

            if settings.is_empty() {
                host.ask(&Request::new("POST", "/auth/logout").token(&person.token)).done();
            } else {
                let path = format!("{}/password", person.secrets());
                host.ask(&Request::put(path, &json!({"secret": "another password"})).reason()).ok();
            }
            key.set_finger(Finger::Always(Touch::Given));

            registering.join().unwrap().refused(401, "unauthenticated");
        });
        assert_eq!(factors(&host, &person).len(), 0, "{settings}");
    }
}

#[test]
fn two_logins_at_once_share_no_touch() {
    let (host, key) = host(Make::default());
    let person = host.person("anna");
    register(&host, &person, &json!({})).ok();
    key.set_finger(Finger::Away);
    let (host, person) = (&host, &person);
    // As many as a user may have challenges.
    let start = &Barrier::new(5);
    let answers: Vec<Answer> = thread::scope(|threads| {
        let logins: Vec<_> = (0..5)
            .map(|_| {
                threads.spawn(move || {
                    let challenge = host.challenge(person);
                    start.wait();
                    host.ask(&Request::post("/auth/fido2", &json!({"device": true})).token(&challenge))
                })
            })
            .collect();
        key.wait_for_blink();
        // Whoever came too late has been told so; one alone waits.
        while logins.iter().filter(|login| login.is_finished()).count() < 4 {
            thread::yield_now();
        }
        key.set_finger(Finger::Always(Touch::Given));
        logins.into_iter().map(|login| login.join().unwrap()).collect()
    });

    let mut seen: Vec<String> =
        answers.iter().map(|answer| if answer.status == 200 { "in".to_owned() } else { answer.code() }).collect();
    seen.sort_unstable();
    assert_eq!(seen[4], "in");
    assert_eq!(seen[..4], ["device-busy"; 4]);
}

#[test]
fn a_key_that_nobody_touches_in_time_is_told_to_give_up() {
    let key = Key::new(Make::default());
    key.set_finger(Finger::Away);
    let mut channel = Channel::open(key.line(), [7; 8]).unwrap();
    let selection = Sensitive::new(vec![0x0B]);
    let wait = |millis| Wait { time: Stopwatch::start(Duration::from_millis(millis)), is_pointless: &|| false };

    let answer = channel.exchange(&selection, wait(50)).unwrap();

    assert_eq!((answer.expose().as_slice(), key.cancelled()), (&[0x2D][..], 1), "the key says that it gave up");
    key.go_deaf();
    assert_eq!(channel.exchange(&selection, wait(50)).err(), Some(DeviceFault::Hung));
    assert_eq!(key.cancelled(), 2);
    assert_eq!(Channel::open(key.line(), [8; 8]).err(), Some(DeviceFault::Hung));
}

#[test]
fn a_key_that_serves_another_program_is_waited_for_and_the_daemon_says_so_when_it_stays_busy() {
    let ports = VirtualPorts::with([Key::new(Make::default())]);
    let host = Host::with_keys(CONFIG, Arc::clone(&ports) as Arc<dyn SecurityKeys>);
    let person = host.person("anna");
    register(&host, &person, &json!({})).ok();

    ports.be_busy(2);
    log_in(&host, &person, &json!({})).ok();

    // Nor is it a reason to look for a key that gives codes where the user has none.
    ports.refuse(Some(DeviceFault::Busy { holder: None }));
    let either = Request::post("/auth/mfa", &json!({"device": true}));
    host.ask(&either.token(&host.challenge(&person))).refused(503, "device-busy");
}

#[test]
fn a_key_that_serves_another_program_is_busy() {
    let key = Key::new(Make::default());
    key.set_finger(Finger::Away);
    let (mut ours, mut theirs) =
        (Channel::open(key.line(), [7; 8]).unwrap(), Channel::open(key.line(), [8; 8]).unwrap());
    let selection = Sensitive::new(vec![0x0B]);
    let wait = Wait { time: Stopwatch::start(Duration::from_secs(20)), is_pointless: &|| false };
    thread::scope(|threads| {
        let waiting = threads.spawn(move || theirs.exchange(&selection, wait).map(|answer| answer.expose().clone()));
        key.wait_for_blink();

        let busy = ours.exchange(&Sensitive::new(vec![0x0B]), wait);

        assert_eq!(busy.err(), Some(DeviceFault::Busy { holder: None }));
        key.set_finger(Finger::Always(Touch::Given));
        assert_eq!(waiting.join().unwrap(), Ok(vec![0]));
    });
}

/// A key whose answers come bent at one place.
struct Bent<'a> {
    key: &'a mut dyn SecurityKey,
    dice: Dice,
    answers: u64,
}

impl SecurityKey for Bent<'_> {
    fn exchange(&mut self, message: &Sensitive<Vec<u8>>, wait: Wait<'_>) -> Result<Sensitive<Vec<u8>>, DeviceFault> {
        let answer = self.key.exchange(message, wait)?;
        let mut bytes = answer.expose().clone();
        self.answers += 1;
        // The answer to the request itself; before it comes what the key can.
        if self.answers >= 2 || self.dice.roll().is_multiple_of(4) {
            let at = usize::try_from(self.dice.roll()).unwrap() % bytes.len();
            match self.dice.roll() % 4 {
                0 => bytes.truncate(at.max(1)),
                1 => bytes.insert(at, u8::try_from(self.dice.roll() % 256).unwrap()),
                2 => bytes[at] ^= 1 << (self.dice.roll() % 8),
                _ => bytes[at] = u8::try_from(self.dice.roll() % 256).unwrap(),
            }
        }
        Ok(Sensitive::new(bytes))
    }
}

#[test]
fn ten_thousand_bent_answers_of_a_key_let_nobody_in() {
    let ports = VirtualPorts::with([Key::new(Make::default())]);
    let port = ports.ports().unwrap().remove(0);
    let origin = url::Url::parse(ORIGIN).unwrap();
    let party = RelyingParty::new("example.org", &[origin], "mfad").unwrap();
    let client = party.client(None);
    let mut key = ports.open(&port).unwrap();
    let wait = Wait { time: Stopwatch::start(Duration::from_secs(3600)), is_pointless: &|| false };
    let (options, asked) = party.start_registration(&[1; 16], "anna", Vec::new(), Verification::Preferred).unwrap();
    let made = client.create(&mut Authenticator::meet(&mut *key, wait).unwrap(), &options).unwrap();
    let made = RegistrationAnswer::read(&made).unwrap();
    let record = party.finish_registration(&asked, &made).unwrap().to_bytes().unwrap();
    let mut whole = 0;
    for round in 0..10_000u64 {
        let known = mfad_service::fido::KeyRecord::from_bytes(&record, 0).unwrap();
        let (options, asked) = party.start_authentication(&[1; 16], vec![known]).unwrap();
        let mut bent = Bent { key: &mut *key, dice: Dice(round), answers: 0 };
        let answer = Authenticator::meet(&mut bent, wait).and_then(|mut key| client.get(&mut key, &options));
        let Ok(answer) = answer else { continue };
        let before = answer.clone();
        let answer = AuthenticationAnswer::read(&answer).unwrap();
        if let Ok(assertion) = party.finish_authentication(&asked, &answer) {
            // Bent where it says nothing: an unsigned member, or a byte that was the same before.
            whole += 1;
            let data = BASE64URL_NOPAD.decode(text(&before["response"]["authenticatorData"]).as_bytes()).unwrap();
            assert_eq!(data[..32], Sha256::digest("example.org")[..], "round {round}");
            assert_eq!(assertion.counter.to_be_bytes(), data[33..37], "round {round}");
        }
    }
    assert!(whole < 1_000, "{whole} of 10000 were not bent where it counts");
}

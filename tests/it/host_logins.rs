//! Second factors for logins to this host: by the name or uid of an account, for peers with the right `pam`.

use mfad_core::model::{HostUser, UserName};
use mfad_service::error::Error;
use mfad_service::{Call, ProvisionOrder, Reply};
use mfad_testkit::fixture::{HardwareFixture, by_device, hotp};
use serde_json::{Value, json};

use crate::card::Key;
use crate::host::Host;
use crate::identity::{APP, STRANGER, can_be_others, own_uid};
use crate::people::with;
use crate::wire::{Answer, Request};

/// An account that every Debian host has: uid and name.
const ACCOUNT: (u32, &str) = (5, "games");

fn order(more: &Value) -> Request {
    Request::post("/verify", &with(json!({"service": "sshd"}), more))
}

fn preflight(query: &str) -> Request {
    Request::get(format!("/preflight?{query}"))
}

#[track_caller]
fn refused(answer: &Answer) -> Value {
    assert_eq!(answer.status, 403, "{answer:?}");
    answer.json()["right"].clone()
}

/// The audit rows of an event, without those of other tests' making.
fn rows(host: &Host, event: &str) -> Vec<Value> {
    let page = host.ask(&Request::get("/audit?limit=500")).ok();
    page["events"].as_array().unwrap().iter().filter(|row| row["event"] == event).cloned().collect()
}

#[test]
fn otp_3_a_code_for_an_account_counts_once_and_the_audit_log_names_the_login() {
    let host = Host::start("");
    let (user, mut factor, _) = host.account("emmy");
    let code = factor.next();
    let by = json!({"name": "emmy", "token": code, "ruser": "root", "rhost": "192.0.2.7", "tty": "pts/0"});

    let verified = host.ask(&order(&by)).ok();
    let again = host.ask(&order(&by)).refused(401, "wrong-code");

    assert_eq!((&verified["method"], &verified["secretId"]), (&json!("hotp"), &json!(factor.id)));
    assert_eq!(again["remaining"], Value::Null);
    let rows = rows(&host, "verify");
    let told = |row: &Value| (row["outcome"].clone(), row["subject"].clone(), row["detail"].clone());
    let login = "sshd by root from 192.0.2.7 on pts/0";
    assert_eq!(told(&rows[0]), (json!("ok"), json!(user), json!(format!("{login}: hotp"))));
    let why = format!("{login}: a wrong or used code, or no such user or factor");
    assert_eq!(told(&rows[1]), (json!("refused"), json!(user), json!(why)));
}

#[test]
fn az_2_an_unknown_account_is_refused_as_a_wrong_code_and_not_named_in_the_log() {
    let host = Host::start("");
    let (_, factor, _) = host.account("emmy");
    // Somebody may type a password where a name is asked for.
    let unknown = host.ask(&order(&json!({"name": "my secret password", "token": "123456"})));
    let without_account = host.ask(&order(&json!({"uid": 4_000_000_000_u32, "token": "123456"})));
    let wrong = host.ask(&order(&json!({"name": "emmy", "token": factor.wrong()})));

    let shape = |answer: &Answer| {
        let mut json = answer.json();
        json["requestId"] = Value::Null;
        (answer.status, json)
    };
    assert_eq!(shape(&unknown), shape(&wrong));
    assert_eq!(shape(&without_account), shape(&wrong));
    let rows = rows(&host, "verify");
    assert_eq!((rows.len(), &rows[0]["subject"]), (3, &Value::Null));
    assert!(!Value::from(rows).to_string().contains("my secret password"));
}

#[test]
fn an_e_mail_address_is_no_account() {
    let host = Host::start("");
    let made = json!({"name": "emmy", "email": "emmy@example.org"});
    let made = host.ask(&Request::post("/users", &made)).ok();
    host.give_account(made["user"]["uid"].as_str().unwrap());
    assert_eq!(host.ask(&preflight("name=emmy")).ok()["state"], "none");

    assert_eq!(host.ask(&preflight("name=emmy%40example.org")).ok()["state"], "unknown");
}

#[test]
fn az_4_only_an_administrator_makes_a_user_stand_for_an_account_and_the_name_must_be_the_same() {
    let host = Host::start("");
    // Anybody may take a free name, and enrol a factor.
    let (person, mut factor, _) = host.guarded("root");
    let verify = |code: String| host.ask(&order(&json!({"name": "root", "token": code})));
    assert_eq!(host.ask(&preflight("name=root")).ok()["state"], "unknown");
    verify(factor.next()).refused(401, "wrong-code");
    let change = |more: Value| {
        let version = host.ask(&Request::get(person.path())).ok()["version"].clone();
        Request::put(person.path(), &with(json!({"version": version}), &more))
    };
    let by_user = host.ask(&change(json!({"roles": ["host"]})).token(&person.token));
    assert_eq!(refused(&by_user), "admin");

    host.give_account(&person.id);
    assert_eq!(host.ask(&preflight("name=root")).ok()["state"], "active");
    verify(factor.next()).ok();
    // Two accounts may differ in case, and in what folds to the same letters.
    for other in ["ROOT", "Root", "%EF%BD%92oot"] {
        assert_eq!(host.ask(&preflight(&format!("name={other}"))).ok()["state"], "unknown", "{other}");
    }
    // Renamed, the user would stand for another account.
    let mut person = person.clone();
    host.log_in(&mut person, &mut factor);
    let by_user = host.ask(&change(json!({"name": "games"})).token(&person.token));
    assert_eq!(refused(&by_user), "admin");
    host.ask(&change(json!({"name": "games"})).reason()).ok();
    assert_eq!(host.ask(&preflight("name=games")).ok()["state"], "active");
}

#[test]
fn thr_1_unknown_accounts_are_delayed_each_on_its_own() {
    let host = Host::start("[throttle]\ndelayAfter = 1\n");
    let guess = |name: &str| host.ask(&order(&json!({"name": name, "token": "123456"}))).status;

    assert_eq!([guess("ann"), guess("ann"), guess("ben")], [401, 429, 401]);
}

#[test]
fn a_preflight_shows_the_state_and_the_methods_and_changes_nothing() {
    let host = Host::start("");
    let (user, _, _) = host.account("active");
    host.give_account(&host.nobody("none"));
    let pending = host.nobody("pending");
    host.give_account(&pending);
    host.pending_for(&pending, &json!({}));
    let (gone, _, _) = host.account("disabled");
    host.change(&gone, &json!({"disabled": true}));
    let before = rows(&host, "verify").len();

    let shown = |name: &str| host.ask(&preflight(&format!("name={name}"))).ok();
    assert_eq!(shown("active"), json!({"userId": user, "state": "active", "methods": ["totp", "recovery"]}));
    for state in ["none", "pending", "disabled"] {
        let answer = shown(state);
        assert_eq!((&answer["state"], &answer["methods"]), (&json!(state), &json!([])));
        assert!(answer["userId"].is_string(), "{answer}");
    }
    assert_eq!(shown("nobody-at-all"), json!({"state": "unknown", "methods": []}));
    assert_eq!(rows(&host, "verify").len(), before);
    assert_eq!(host.ask(&Request::get(format!("/users/{user}"))).ok()["lock"], json!({"state": "none"}));
}

#[test]
fn bkc_3_a_backup_code_is_taken_and_the_answer_says_how_many_are_left() {
    let host = Host::start("");
    let (_, _, codes) = host.account("emmy");

    let used = host.ask(&order(&json!({"name": "emmy", "code": codes[3]}))).ok();

    assert_eq!((&used["method"], &used["remaining"]), (&json!("recovery"), &json!(9)));
    host.ask(&order(&json!({"name": "emmy", "code": codes[3]}))).refused(401, "wrong-code");
}

#[test]
fn a_disabled_user_is_refused_whatever_the_code() {
    let host = Host::start("");
    let (user, mut factor, _) = host.account("emmy");
    host.change(&user, &json!({"disabled": true}));

    host.ask(&order(&json!({"name": "emmy", "token": factor.next()}))).refused(401, "wrong-code");
}

#[test]
fn az_1_the_right_pam_checks_the_own_account_and_nothing_else() {
    if !can_be_others("az_1_the_right_pam_checks_the_own_account_and_nothing_else") {
        return;
    }
    let (uid, name) = ACCOUNT;
    let host = Host::start(&format!("[[peer]]\nuid = {uid}\nrights = [\"pam\"]\n"));
    let (own, mut factor, _) = host.account(name);
    let (other, _, _) = host.account("emmy");

    let state = |query: String| host.ask_as(uid, &preflight(&query)).ok()["state"].clone();
    assert_eq!(state(format!("name={name}")), "active");
    assert_eq!(state(format!("uid={uid}")), "active");
    assert_eq!(host.ask_as(uid, &order(&json!({"name": name, "token": factor.next()}))).ok()["ok"], true);
    assert_eq!(host.ask_as(uid, &order(&json!({"uid": uid, "token": factor.next()}))).ok()["ok"], true);

    // A foreign and an unknown account get the same refusal.
    for query in ["name=emmy", "name=nobody-at-all", "uid=0"] {
        assert_eq!(refused(&host.ask_as(uid, &preflight(query))), "admin", "{query}");
    }
    for user in [json!({"name": "emmy"}), json!({"uid": 0})] {
        assert_eq!(refused(&host.ask_as(uid, &order(&with(user, &json!({"token": "123456"}))))), "admin");
    }
    for request in [
        Request::get("/users"),
        Request::post(format!("/users/{own}/verify"), &json!({"token": "123456"})),
        Request::post(format!("/users/{other}/verify"), &json!({"token": "123456"})),
        Request::get(format!("/users/{own}")),
        Request::get("/audit"),
        Request::get("/metrics"),
        Request::get("/devices"),
    ] {
        let answer = host.ask_as(uid, &request);
        assert!([401, 403].contains(&answer.status), "{} {}: {}", request.method, request.target, answer.status);
    }
}

#[test]
fn az_1_another_right_is_not_pam() {
    if !can_be_others("az_1_another_right_is_not_pam") {
        return;
    }
    let host = Host::start("");
    let (person, _, _) = host.guarded("emmy");

    assert_eq!(refused(&host.ask_as(APP, &preflight("name=emmy"))), "pam");
    assert_eq!(refused(&host.ask_as(APP, &order(&json!({"name": "emmy", "token": "123456"})))), "pam");
    assert_eq!(host.ask_as(STRANGER, &preflight("name=emmy")).status, 401);
    // A user's token gives no right of the peer.
    assert_eq!(refused(&host.ask(&preflight("name=emmy").token(&person.token))), "pam");
}

#[test]
fn a_request_that_does_not_say_whom_how_or_where_is_refused_and_counted_nowhere() {
    let host = Host::start("");
    let (user, _, _) = host.account("emmy");
    let good = json!({"name": "emmy", "token": "123456", "service": "sshd"});
    let without = |member: &str| {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(member);
        body
    };
    for body in [
        without("name"),
        without("token"),
        without("service"),
        with(good.clone(), &json!({"uid": own_uid()})),
        with(good.clone(), &json!({"code": "7K3M-9QXT-0C5W-HR2E"})),
        with(good.clone(), &json!({"pin": "1234"})),
        with(without("token"), &json!({"device": false})),
        with(without("token"), &json!({"credential": {}})),
        with(good.clone(), &json!({"service": ""})),
        with(good.clone(), &json!({"service": "x".repeat(65)})),
        with(good.clone(), &json!({"rhost": "a\nb"})),
        with(good.clone(), &json!({"rhost": "x".repeat(256)})),
        with(good.clone(), &json!({"tty": 7})),
        with(good.clone(), &json!({"name": "a:b"})),
        with(without("name"), &json!({"uid": -1})),
    ] {
        host.ask(&Request::post("/verify", &body)).refused(400, "malformed");
    }
    for query in ["", "name=", "uid=", "uid=-1", "uid=4294967296", "name=emmy&uid=0", "name=emmy&x=1", "name=%ff"] {
        host.ask(&preflight(query)).refused(400, "malformed");
    }
    assert_eq!(host.ask(&Request::get(format!("/users/{user}"))).ok()["lock"], json!({"state": "none"}));
    assert!(rows(&host, "verify").is_empty());
}

#[test]
fn svc_4_logins_are_counted_by_service_and_an_unknown_service_is_other() {
    let host = Host::start("");
    let (_, mut factor, _) = host.account("emmy");
    host.ask(&order(&json!({"name": "emmy", "token": factor.next()}))).ok();
    for service in ["sudo", "\"}\n evil 1", "made-up", "also-made-up"] {
        let service = service.replace('\n', " ");
        host.ask(&order(&json!({"name": "nobody-at-all", "token": "123456", "service": service})));
    }

    let metrics = host.ask(&Request::get("/metrics")).text();

    for line in [
        "mfad_host_logins_total{service=\"sshd\",outcome=\"ok\"} 1",
        "mfad_host_logins_total{service=\"sudo\",outcome=\"refused\"} 1",
        "mfad_host_logins_total{service=\"other\",outcome=\"refused\"} 3",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    assert!(!metrics.contains("evil"));
}

#[test]
fn hw_7_a_key_that_needs_no_touch_logs_nobody_in_to_the_host_not_even_for_root() {
    for touch in [false, true] {
        let fixture = HardwareFixture::with_key(Key::new(7));
        fixture.provision(ProvisionOrder { touch, ..by_device(hotp()) }).unwrap();
        fixture.give_account();
        // An administrator may do everything anyway, so a check needs no touch. A login would be somebody else's.
        fixture.verify_by_key().unwrap();

        let login = fixture.host_login_by_key("ann");
        let name = UserName::parse("ann").unwrap();
        let Ok(Reply::Preflight { methods, .. }) = fixture.ask(Call::Preflight(HostUser::Name(name))) else {
            panic!("no preflight");
        };
        if touch {
            login.unwrap();
            assert_eq!(methods, ["totp", "device", "recovery"]);
        } else {
            assert!(matches!(login, Err(Error::Unsupported(_))), "{login:?}");
            assert_eq!(methods, ["totp", "recovery"]);
        }
    }
}

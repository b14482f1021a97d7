//! `mfactl import --trusted` and `POST /imports`: factors that users have proved elsewhere go on where they were.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli::mfactl;
use crate::host::Host;
use crate::interop::python;
use crate::otp::{self, Hash};
use crate::pam::rig::Stack;
use crate::people::with;
use crate::proof::{Dice, is_long};
use crate::wire::Request;

const SEED: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
const USER: &str = "root";

fn seed() -> Vec<u8> {
    otp::seed_of(SEED)
}

fn imports(factors: &Value, creates_users: bool) -> Request {
    Request::post("/imports", &json!({"createUsers": creates_users, "factors": factors})).reason()
}

fn hotp(user: &str, counter: u64) -> Value {
    json!({"user": user, "kind": "hotp", "counter": counter, "secret": SEED})
}

fn code(counter: u64) -> Value {
    json!({"token": otp::code(&seed(), Hash::Sha1, 6, counter)})
}

/// The report of an import in JSON, and the exit code. No words of it are a part of the seed.
fn import(host: &Host, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = mfactl(host, &[&["--json", "import", "--no-input"], arguments].concat(), "");
    let words = [output.stdout.as_slice(), &output.stderr].concat();
    let words = String::from_utf8(words).unwrap();
    assert!(!words.contains(&SEED[..8]), "{words}");
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or(Value::String(words)))
}

fn trusted(host: &Host, more: &[&str]) -> (Option<i32>, Value) {
    import(host, &[&["--trusted", "--create-users", "--reason", "a move"], more].concat())
}

fn written(dir: &TempDir, name: &str, text: &str) -> String {
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn id_of(host: &Host, user: &str) -> String {
    let found = host.ask(&Request::get(format!("/users?name={user}"))).ok();
    found["users"][0]["uid"].as_str().unwrap_or_else(|| panic!("no user {user}")).to_owned()
}

#[test]
fn otp_3_what_was_used_elsewhere_is_used_up_and_the_next_code_counts() {
    let host = Host::start("");
    let period = otp::roomy_period();
    let step = otp::step(period);
    let by_time = json!({"user": "tom", "kind": "totp", "period": period, "usedStep": step, "secret": SEED});

    let answer = host.ask(&imports(&json!([by_time, hotp("hal", 7)]), true)).ok();

    assert!(answer["results"].as_array().unwrap().iter().all(|result| result["state"] == "imported"), "{answer}");
    let (tom, hal) = (id_of(&host, "tom"), id_of(&host, "hal"));
    // Without a used step, the present code may have been used there a moment ago.
    let silent = json!({"user": "ann", "kind": "totp", "period": period, "secret": SEED});
    host.ask(&imports(&json!([silent]), true)).ok();
    host.verify(&id_of(&host, "ann"), &code(step)).refused(401, "wrong-code");
    host.verify(&id_of(&host, "ann"), &code(step + 1)).ok();
    host.verify(&tom, &code(step)).refused(401, "wrong-code");
    host.verify(&tom, &code(step + 1)).ok();
    host.verify(&hal, &code(6)).refused(401, "wrong-code");
    host.verify(&hal, &code(7)).ok();
    host.verify(&hal, &code(7)).refused(401, "wrong-code");
}

#[test]
fn otp_9_a_counter_that_may_be_ahead_is_set_back_once_by_two_codes_in_a_row() {
    let mut host = Host::start("");
    let ahead = |user| with(hotp(user, 30), &json!({"counterAheadBy": 20}));
    host.ask(&imports(&json!([ahead("hal"), hotp("ina", 30), ahead("jon")]), true)).ok();
    let [hal, ina, jon] = ["hal", "ina", "jon"].map(|name| id_of(&host, name));

    // Too far back, then not in a row.
    for (user, counter) in [(&hal, 8), (&hal, 9), (&hal, 12), (&hal, 14), (&ina, 20), (&ina, 21)] {
        host.verify(user, &code(counter)).refused(401, "wrong-code");
    }
    host.restart();
    host.verify(&hal, &code(15)).ok();

    host.restart();
    for (user, counter) in [(&hal, 15), (&hal, 14), (&hal, 13), (&hal, 14)] {
        host.verify(user, &code(counter)).refused(401, "wrong-code");
    }
    host.verify(&hal, &code(16)).ok();
    // The first accepted code ends it, where the token was not behind.
    host.verify(&jon, &code(30)).ok();
    for counter in [25, 26] {
        host.verify(&jon, &code(counter)).refused(401, "wrong-code");
    }
}

#[test]
fn a_factor_that_is_there_changes_nothing_and_each_is_judged_by_itself() {
    let host = Host::start("");
    let made = host.ask(&Request::post("/users", &json!({"name": "eve", "email": "eve@example.org"}))).ok();
    assert!(made["user"]["uid"].is_string());
    let future = json!({"user": "eve", "kind": "totp", "usedStep": otp::step(30) + 100, "secret": SEED});
    let job = json!([hotp("eve", 3), hotp("nobody-here", 0), hotp("eve@example.org", 0), future, hotp("eve", 2)]);

    let answer = host.ask(&imports(&job, false)).ok();

    let states: Vec<(&str, &str)> = answer["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| (result["state"].as_str().unwrap(), result["code"].as_str().unwrap_or("")))
        .collect();
    assert_eq!(
        states,
        [
            ("imported", ""),
            ("refused", "not-found"),
            ("refused", "name-taken"),
            ("refused", "malformed"),
            ("known", "")
        ]
    );
    let eve = id_of(&host, "eve");
    host.verify(&eve, &code(3)).ok();
    // Once more: the counter does not go back.
    let again = host.ask(&imports(&json!([hotp("eve", 0)]), false)).ok();
    assert_eq!(again["results"][0]["state"], "known");
    host.verify(&eve, &code(3)).refused(401, "wrong-code");
    // A newer file: the codes that were used there meanwhile are used up.
    let newer = host.ask(&imports(&json!([hotp("eve", 9)]), false)).ok();
    assert_eq!(newer["results"][0]["state"], "known");
    host.verify(&eve, &code(8)).refused(401, "wrong-code");
    host.verify(&eve, &code(9)).ok();
    let rows = host.ask(&Request::get("/audit?limit=500")).ok();
    let rows = rows["events"].as_array().unwrap().iter().filter(|row| row["event"] == "factor.enroll");
    let details: Vec<&str> = rows.map(|row| row["detail"].as_str().unwrap()).collect();
    assert_eq!(details, ["imported hotp/SHA1/6, proved elsewhere: the integration tests ask for it"]);
}

#[test]
fn the_same_factor_twice_in_one_job_counts_once_with_the_newer_counter() {
    let host = Host::start("");
    host.ask(&Request::post("/users", &json!({"name": "eve"}))).ok();
    let timed = |used: u64| json!({"user": "tom", "kind": "totp", "usedStep": used, "secret": SEED});
    let step = otp::step(30);

    for _ in 0..2 {
        let job =
            json!([hotp("new", 3), hotp("new", 7), hotp("eve", 7), hotp("eve", 3), timed(step - 9), timed(step - 1)]);
        let answer = host.ask(&imports(&job, true)).ok();
        assert!(answer["results"].as_array().unwrap().iter().all(|result| result["uid"].is_string()), "{answer}");
    }

    for user in ["new", "eve"] {
        let user = id_of(&host, user);
        host.verify(&user, &code(6)).refused(401, "wrong-code");
        host.verify(&user, &code(7)).ok();
    }
}

#[test]
fn az_4_an_administrator_imports_with_a_fresh_second_factor_and_nothing_for_the_own_account() {
    let host = Host::start("");
    let (mut person, mut factor, _) = host.guarded("root2");
    host.change(&person.id, &json!({"roles": ["admin"]}));
    let key = host.ask(&Request::post(person.secrets(), &json!({"type": "apikey", "name": "key"})).reason()).ok();
    let key = key["secret"]["apikey"].as_str().unwrap().to_owned();
    host.log_in(&mut person, &mut factor);
    let job = json!([hotp("root2", 0), hotp("ann", 0)]);

    host.ask(&imports(&job, true).token(&key)).refused(403, "fresh-proof-required");
    let answer = host.ask(&imports(&job, true).token(&person.token)).ok();

    let codes: Vec<&Value> = answer["results"].as_array().unwrap().iter().map(|result| &result["code"]).collect();
    assert_eq!(codes, [&json!("forbidden"), &Value::Null], "{answer}");
    let whole = json!({"users": [{"name": "root2", "factors": []}]});
    let answer = host.ask(&Request::post("/imports", &whole).reason().token(&person.token)).ok();
    assert_eq!(answer["results"][0]["code"], "forbidden", "{answer}");
}

#[test]
fn enr_9_an_import_ends_sessions_that_lack_the_factor() {
    let host = Host::start("");
    let person = host.person("anna");
    host.ask(&Request::get(person.path()).token(&person.token)).ok();

    host.ask(&imports(&json!([hotp("anna", 0)]), false)).ok();

    host.ask(&Request::get(person.path()).token(&person.token)).refused(401, "unauthenticated");
    assert_eq!(host.password(&person).ok()["type"], "CHALLENGE");
}

#[test]
fn one_malformed_factor_refuses_all_of_them_by_its_place() {
    let host = Host::start("");
    for (wrong, said) in [
        (json!({"digits": 5}), "`digits`"),
        (json!({"algorithm": "MD5"}), "`algorithm`"),
        (json!({"counter": null}), "a wrong type"),
        (json!({"period": 30}), "`kind`"),
        (json!({"secret": "GEZDGNBVGY3TQOJQ"}), "128"),
        (json!({"secret": "0189"}), "Base32"),
        (json!({"counter": 1_u64 << 63}), "2^62"),
        (json!({"counterAheadBy": 101}), "`counterAheadBy`"),
    ] {
        let mut second = hotp("bob", 0);
        second.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        let refused = host.ask(&imports(&json!([hotp("ann", 0), second]), true)).refused(400, "malformed");
        assert!(refused["detail"].as_str().unwrap().contains(said), "{wrong}: {refused}");
    }
    assert_eq!(host.ask(&Request::get("/users")).ok()["users"], json!([]));
    let without = Request::post("/imports", &json!({"factors": [hotp("ann", 0)]}));
    host.ask(&without).refused(403, "fresh-proof-required");
}

#[test]
fn a_plan_says_what_would_be_done_and_changes_nothing() {
    let host = Host::start("");
    let dir = tempfile::tempdir().unwrap();
    let aegis = json!({"version": 1, "header": {"slots": null, "params": null}, "db": {"version": 2, "entries": [
        {"type": "hotp", "uuid": "1", "name": "bob", "issuer": "ACME",
         "info": {"secret": SEED, "algo": "SHA256", "digits": 8, "counter": 4}},
        {"type": "steam", "name": "eve", "issuer": "Steam", "info": {"secret": SEED, "digits": 5}},
        {"type": "totp", "name": "ann", "issuer": "Old", "info": {"secret": "GEZDGNBVGY3TQOJQ"}},
        {"type": "totp", "name": "arn:aws:iam::1:mfa/x", "info": {"secret": SEED}},
    ]}});
    let file = written(&dir, "aegis.json", &aegis.to_string());
    let map = written(&dir, "map.csv", "bob,robert\nzoe,zora\n");

    let (status, plan) = import(&host, &["--dry-run", "--map", &map, &file]);

    assert_eq!((status, &plan["format"]), (Some(0), &json!("aegis")), "{plan}");
    let told = |index: usize| {
        let entry = &plan["entries"][index];
        (entry["user"].clone(), entry["state"].clone(), entry["reason"].clone())
    };
    assert_eq!(plan["notes"], json!(["--map: the account zoe is in none of the files"]));
    let written = fs::read(&file).unwrap();
    let own = mfactl(&host, &["import", "--trusted", "--report", &file, "--reason", "x", &file], "");
    assert!(own.status.code() == Some(2) && fs::read(&file).unwrap() == written, "{own:?}");
    assert_eq!(told(0), (json!("robert"), json!("taken"), Value::Null));
    assert_eq!(plan["entries"][0]["counter"], 5, "Aegis shows a code after it counts");
    assert!(told(3).2.as_str().unwrap().contains("no user can have this name"), "{plan}");
    assert_eq!(told(1), (json!("eve"), json!("refused"), json!("steam is neither TOTP nor HOTP")));
    assert!(told(2).2.as_str().unwrap().contains("80 bits"), "{plan}");
    assert!(plan["entries"][2]["notes"][0].as_str().unwrap().contains("as Aegis takes it: SHA1, 6 digits, 30 seconds"));
    assert_eq!(host.ask(&Request::get("/users")).ok()["users"], json!([]));
    let shown = mfactl(&host, &["import", "--dry-run", "--map", &map, &file], "");
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("robert") && shown.contains("1 would be taken over, 3 refused"), "{shown}");

    let (status, report) = trusted(&host, &["--map", &map, &file]);
    assert_eq!(status, Some(1), "{report}");
    assert_eq!(report["entries"][0]["state"], "imported");
    let code = otp::code(&seed(), Hash::Sha256, 8, 5);
    host.verify(&id_of(&host, "robert"), &json!({"token": code})).ok();
    let (_, again) = trusted(&host, &["--map", &map, &file]);
    assert_eq!(again["entries"][0]["state"], "known");
}

#[test]
fn many_factors_go_in_batches_of_one_transaction_each() {
    let host = Host::start("");
    let dir = tempfile::tempdir().unwrap();
    let lines: String =
        (0..250).map(|number| format!("otpauth://hotp/Old:user{number}?secret={SEED}&counter={number}\n")).collect();
    let file = written(&dir, "all.txt", &lines);

    let (status, report) = trusted(&host, &[&file]);

    assert_eq!(status, Some(0), "{report}");
    for number in [0, 99, 100, 249] {
        host.verify(&id_of(&host, &format!("user{number}")), &code(number)).ok();
    }
}

#[test]
fn a_damaged_or_foreign_file_is_named_and_nothing_is_sent() {
    let host = Host::start("");
    let dir = tempfile::tempdir().unwrap();
    for (text, said) in [
        (format!("{{\"version\":1,\"header\":{{}},\"db\":{{\"entries\":[{{\"info\":\"{SEED}\""), "damaged JSON"),
        ("{\"version\":1,\"header\":{},\"db\":{\"entries\":7}}".to_owned(), "no array `entries`"),
        (format!("<Keys>{SEED}</Keys>"), "XML"),
        (format!("<KeyContainer>{SEED}"), "middle"),
        ("otpauth-migration://offline?data=AAAA%".to_owned(), "line 1"),
        ("{\"schemaVersion\":4,\"servicesEncrypted\":\"AA:AA:AA\"}".to_owned(), "password"),
    ] {
        let (status, words) = trusted(&host, &[&written(&dir, "file", &text)]);
        assert_eq!(status, Some(2), "{text}: {words}");
        assert!(words.as_str().unwrap().contains(said), "{said}: {words}");
    }
    assert_eq!(host.ask(&Request::get("/users")).ok()["users"], json!([]));
}

/// Logs the user in with another module, which writes its file.
fn log_in_there(module: &str, code: &str) {
    let stack = Stack::new("svc", &format!("auth required {module}"));
    stack.run(&[], "svc", USER, &["authenticate"], format!("{code}\n").as_bytes()).let_in();
}

/// A code of `oathtool`, which the other modules know nothing of.
fn oathtool(arguments: &[&str], seed: &str) -> String {
    let output = Command::new("oathtool").args(arguments).args(["-b", seed]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_users_file_that_pam_oath_wrote_goes_on_where_it_was() {
    let host = Host::start("");
    let dir = tempfile::tempdir().unwrap();
    let hex: String = seed().iter().map(|byte| format!("{byte:02x}")).collect();
    // The longest step that liboath knows.
    let period = 60;
    for (kind, is_totp) in [("HOTP/E/6".to_owned(), false), (format!("HOTP/T{period}/6"), true)] {
        let file = written(&dir, "users.oath", &format!("{kind} {USER} - {hex}\n"));
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let used = if is_totp {
            oathtool(&["--totp", "-s", &format!("{period}s")], SEED)
        } else {
            oathtool(&["--hotp", "-c", "2"], SEED)
        };
        let step = otp::step(period);
        log_in_there(&format!("pam_oath.so usersfile={file} window=5 digits=6"), &used);
        assert!(fs::read_to_string(&file).unwrap().contains(&used), "pam_oath did not write its file");

        let name = if is_totp { "tom" } else { "hal" };
        let (status, report) = trusted(&host, &["--user", name, &file]);

        assert_eq!((status, &report["format"]), (Some(0), &json!("pam_oath")), "{report}");
        let user = id_of(&host, name);
        host.verify(&user, &json!({"token": used})).refused(401, "wrong-code");
        let next = if is_totp { step + 1 } else { 3 };
        host.verify(&user, &code(next)).ok();
    }
}

#[test]
fn a_file_that_google_authenticator_wrote_goes_on_where_it_was() {
    let host = Host::start("");
    let dir = tempfile::tempdir().unwrap();
    for is_totp in [true, false] {
        let path = dir.path().join("google");
        let mut command = Command::new("google-authenticator");
        command
            .args(["--force", "--quiet", "--no-confirm", "--minimal-window", "--no-rate-limit", "--secret"])
            .arg(&path);
        let kind: &[&str] = if is_totp { &["--time-based", "--disallow-reuse"] } else { &["--counter-based"] };
        let made = command.args(kind).output().expect("google-authenticator; tools/needs test installs it");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let file = path.display().to_string();
        let secret = fs::read_to_string(&path).unwrap().lines().next().unwrap().to_owned();
        let module = format!("pam_google_authenticator.so secret={file} user=root no_strict_owner allowed_perm=0600");
        let used = if is_totp { oathtool(&["--totp"], &secret) } else { oathtool(&["--hotp", "-c", "1"], &secret) };
        log_in_there(&module, &used);
        if !is_totp {
            // Wrong codes raise its counter: the token is at 2, and the file says 5.
            for _ in 0..3 {
                let stack = Stack::new("svc", &format!("auth required {module}"));
                stack.run(&[], "svc", USER, &["authenticate"], b"000000\n").refused("");
            }
        }

        let name = if is_totp { "tina" } else { "hans" };
        let (status, report) = trusted(&host, &["--user", name, &file]);

        assert_eq!((status, &report["format"]), (Some(0), &json!("google-authenticator")), "{report}");
        let notes = report["entries"][0]["notes"].to_string();
        assert!(notes.contains("scratch codes"), "{notes}");
        let user = id_of(&host, name);
        let next = if is_totp {
            let reading = fs::read_to_string(&path).unwrap();
            let steps = reading.lines().find_map(|line| line.strip_prefix("\" DISALLOW_REUSE ")).unwrap();
            let step: u64 = steps.split(' ').next_back().unwrap().parse().unwrap();
            otp::code(&otp::seed_of(&secret), Hash::Sha1, 6, step + 1)
        } else {
            assert!(fs::read_to_string(&path).unwrap().contains("HOTP_COUNTER 5\n"));
            oathtool(&["--hotp", "-c", "4"], &secret)
        };
        host.verify(&user, &json!({"token": used})).refused(401, "wrong-code");
        if !is_totp {
            host.verify(&user, &json!({"token": oathtool(&["--hotp", "-c", "3"], &secret)})).refused(401, "wrong-code");
        }
        host.verify(&user, &json!({"token": next})).ok();
    }
}

/// Keys of a maker in PSKC, by python-pskc: plain, under a password, and under a key.
const PSKC: &str = r#"
import sys
from pskc import PSKC
place, seed = sys.argv[1], b"12345678901234567890"
for form in ["plain", "password", "key"]:
    pskc = PSKC()
    pskc.add_key(id="4711", serial="4711", issuer="ACME", algorithm="totp", response_length=8, response_encoding="DECIMAL",
                 secret=seed, time_interval=60, algorithm_suite="SHA256", key_userid="CN=bob,DC=example")
    pskc.add_key(id="4712", algorithm="urn:ietf:params:xml:ns:keyprov:pskc:hotp", response_length=6,
                 response_encoding="DECIMAL", secret=seed, counter=7)
    pskc.add_key(id="4713", algorithm="hotp", response_length=8, response_encoding="HEXADECIMAL", secret=seed, counter=1)
    if form == "password":
        pskc.encryption.setup_pbkdf2("correct horse", iterations=1000, key_length=16, algorithm="aes128-cbc")
    if form == "key":
        pskc.encryption.setup_preshared_key(key=bytes(range(32)), algorithm="aes256-cbc")
    pskc.write(f"{place}/{form}.xml")
"#;

#[test]
fn pskc_of_another_program_is_read_plain_and_encrypted_and_its_macs_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().display().to_string();
    let made = python().args(["-c", PSKC, &place]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let password = written(&dir, "password", "correct horse\n");
    let wrong = written(&dir, "wrong", "incorrect horse\n");
    let key = written(&dir, "key", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n");
    let map = written(&dir, "map", "4712,eve\n");
    let file = |form: &str| format!("{place}/{form}.xml");

    for (form, more) in [
        ("plain", vec![]),
        ("password", vec!["--password-file", password.as_str()]),
        ("key", vec!["--key-file", key.as_str()]),
    ] {
        let host = Host::start("");
        let file = file(form);
        let (status, report) = trusted(&host, &[&more[..], &["--map", &map, &file]].concat());

        assert_eq!((status, &report["format"]), (Some(1), &json!("pskc")), "{form}: {report}");
        assert!(report["entries"][2]["reason"].as_str().unwrap().contains("HEXADECIMAL"), "{report}");
        let by_time = otp::code(&seed(), Hash::Sha256, 8, otp::step(60) + 1);
        host.verify(&id_of(&host, "bob"), &json!({"token": by_time})).ok();
        host.verify(&id_of(&host, "eve"), &code(7)).ok();
    }
    let host = Host::start("");
    let (status, words) = trusted(&host, &["--password-file", &wrong, &file("password")]);
    assert_eq!(status, Some(2));
    assert!(words.as_str().unwrap().contains("does not open"), "{words}");
    // One bit of a secret is another one: the MAC does not fit.
    let text = fs::read_to_string(file("key")).unwrap();
    let secret = text.find("<pskc:Secret>").unwrap();
    let at = secret + text[secret..].find("<xenc:CipherValue>").unwrap() + "<xenc:CipherValue>".len();
    let changed = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
    let forged = written(&dir, "forged.xml", &format!("{}{changed}{}", &text[..at], &text[at + 1..]));
    let (status, words) = trusted(&host, &["--key-file", &key, &forged]);
    assert_eq!(status, Some(2), "{words}");
    let (_, words) = trusted(&host, &[&file("key")]);
    assert!(words.as_str().unwrap().contains("needs that key"), "{words}");
    let entities = "<!DOCTYPE x [<!ENTITY a \"b\">]><KeyContainer>&a;</KeyContainer>";
    let (_, words) = trusted(&host, &[&written(&dir, "entities.xml", entities)]);
    assert!(words.as_str().unwrap().contains("document type"), "{words}");
    assert_eq!(host.ask(&Request::get("/users")).ok()["users"], json!([]));
}

/// QR codes of two transfer parts and of a URI, by OpenCV.
const PICTURES: &str = r#"
import sys, cv2
for number, text in enumerate(sys.argv[2:]):
    picture = cv2.QRCodeEncoder.create().encode(text)
    picture = cv2.copyMakeBorder(picture, 4, 4, 4, 4, cv2.BORDER_CONSTANT, value=255)
    picture = cv2.resize(picture, None, fx=5, fy=5, interpolation=cv2.INTER_NEAREST)
    cv2.imwrite(f"{sys.argv[1]}/{number}.png", picture)
"#;

#[test]
fn pictures_of_qr_codes_are_read_together() {
    let host = Host::start("");
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().display().to_string();
    let first =
        "otpauth-migration://offline?data=CiwKFDEyMzQ1Njc4OTAxMjM0NTY3ODkwEghBQ01FOmJvYhoEQUNNRSACKAIwAhABGAIgACgH";
    let second =
        "otpauth-migration://offline?data=CikKFDEyMzQ1Njc4OTAxMjM0NTY3ODkwEgNldmUaBEFDTUUgAigCMAE4CRABGAIgASgH";
    let made = python().args(["-c", PICTURES, &place, second, first]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let picture = |number: usize| format!("{place}/{number}.png");

    let (status, words) = trusted(&host, &[&picture(0)]);
    assert_eq!(status, Some(2));
    assert!(words.as_str().unwrap().contains("part 1 of 2 is missing"), "{words}");
    let (status, report) = trusted(&host, &[&picture(0), &picture(1)]);
    assert_eq!((status, &report["format"]), (Some(0), &json!("otpauth-migration")), "{report}");
    let token = otp::code(&seed(), Hash::Sha256, 8, 9);
    host.verify(&id_of(&host, "eve"), &json!({"token": token})).ok();
    let (status, words) = trusted(&host, &[&written(&dir, "no.png", "\u{89}PNG")]);
    assert_eq!(status, Some(2), "{words}");
}

/// Long form: 50 kills.
#[test]
fn an_import_that_was_killed_at_50_points_is_whole_when_it_is_started_again() {
    const FACTORS: usize = 300;
    let mut host = Host::start("");
    let mut dice = Dice(0x6D6F_7665);
    let dir = tempfile::tempdir().unwrap();
    let kills = if is_long() { 50 } else { 3 };
    for kill in 0..kills {
        let line = |number| format!("otpauth://hotp/Old:user{kill}-{number}?secret={SEED}&counter={number}\n");
        let file = written(&dir, "all.txt", &(0..FACTORS).map(line).collect::<String>());
        let mut import = Command::new(mfad_testkit::program("mfactl"));
        import.arg("--socket").arg(host.socket()).args(["import", "--trusted", "--create-users", "--reason", "a move"]);
        let mut running = import.arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Somewhere in the import: it takes some 100 ms.
        thread::sleep(Duration::from_millis(dice.roll() % 120));
        host.kill();
        running.wait().unwrap();
        host.start_again();

        let (status, report) = trusted(&host, &[&file]);

        assert_eq!(status, Some(0), "{report}");
        let states: Vec<&str> =
            report["entries"].as_array().unwrap().iter().map(|entry| entry["state"].as_str().unwrap()).collect();
        assert_eq!(states.len(), FACTORS);
        let known = states.iter().filter(|state| **state == "known").count();
        println!("kill {kill}: {known} of {FACTORS} were there");
        for number in [0, dice.below(FACTORS), FACTORS - 1] {
            let user = id_of(&host, &format!("user{kill}-{number}"));
            let secrets = host.ask(&Request::get(format!("/users/{user}/secrets")).reason()).ok();
            assert_eq!(secrets["secrets"].as_array().unwrap().len(), 1, "{secrets}");
            host.verify(&user, &code(u64::try_from(number).unwrap())).ok();
        }
    }
}

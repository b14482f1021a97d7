//! `mfactl export` and its way back: what one daemon exports, another one takes over exactly as it was, and nobody but the
//! holder of the identity reads it.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use data_encoding::{BASE32_NOPAD, BASE64};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli::mfactl;
use crate::host::Host;
use crate::identity::{APP, STRANGER, can_be_others};
use crate::otp::{self, Hash};
use crate::people::{Person, text, with};
use crate::proof::{Dice, size};
use crate::tour::RECIPIENT as OTHERS;
use crate::wire::Request;

const SEED: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

/// An age identity, and the recipient that belongs to it.
struct Identity {
    dir: TempDir,
    recipient: String,
}

impl Identity {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made =
            Command::new("age-keygen").arg("-o").arg(dir.path().join("identity")).output().expect("age is there");
        let said = String::from_utf8_lossy(&made.stderr).into_owned();
        let recipient = said.split_whitespace().find(|word| word.starts_with("age1")).expect("a public key").to_owned();
        Self { dir, recipient }
    }

    fn place(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Has `mfactl` export to a file, and decrypts it with the tool `age`.
    fn export(&self, host: &Host, more: &[&str]) -> String {
        let file = self.place("export.age").display().to_string();
        let arguments = ["export", &file, "--to", &self.recipient, "--reason", "a new host", "--force"];
        let done = mfactl(host, &[&arguments, more].concat(), "");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let sealed = fs::read(&file).unwrap();
        assert!(sealed.starts_with(b"age-encryption.org/v1\n"));
        let mut age = Command::new("age");
        let opened = age.arg("--decrypt").arg("--identity").arg(self.place("identity")).arg(&file).output().unwrap();
        assert!(opened.status.success(), "{}", String::from_utf8_lossy(&opened.stderr));
        let plain = String::from_utf8(opened.stdout).unwrap();
        assert!(!sealed.windows(16).any(|window| plain.as_bytes().windows(16).next() == Some(window)));
        plain
    }
}

/// The users of an export, each as its line, without the first and the last line.
fn users(export: &str) -> BTreeSet<String> {
    let lines: Vec<&str> = export.lines().filter(|line| !line.is_empty()).collect();
    let (head, end) = (lines[0], lines[lines.len() - 1]);
    assert!(head.starts_with("{\"mfadExport\":1,"), "{head}");
    let end: Value = serde_json::from_str(end).unwrap();
    assert_eq!((&end["mfadExportEnd"], &end["users"]), (&json!(true), &json!(lines.len() - 2)));
    lines[1..lines.len() - 1].iter().map(|line| (*line).to_owned()).collect()
}

/// Imports an export from standard input.
fn import(host: &Host, export: &str) -> (Option<i32>, Value) {
    let usual = ["--json", "import", "--trusted", "--format", "mfad", "--reason", "a new host", "-"];
    let done = mfactl(host, &usual, export);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    (done.status.code(), serde_json::from_slice(&done.stdout).unwrap_or(Value::String(said)))
}

/// A user with everything that an export has.
struct Model {
    person: Person,
    codes: Vec<String>,
    line: Value,
}

fn model(host: &Host, identity: &Identity) -> Model {
    let (person, _, codes) = host.guarded("model");
    host.challenge(&person);
    let used = host.challenge(&person);
    host.answer_recovery(&used, &codes[3]).ok();
    let line = serde_json::from_str(users(&identity.export(host, &[])).first().unwrap()).unwrap();
    Model { person, codes, line }
}

fn random_factor(dice: &mut Dice, number: usize) -> Value {
    let seed: Vec<u8> = (0..=dice.below(48) + 15).map(|_| u8::try_from(dice.below(256)).unwrap()).collect();
    let both = json!({"name": format!("factor {number}"), "algorithm": dice.pick(&["SHA1", "SHA256", "SHA512"]),
        "digits": 6 + dice.below(3), "secret": BASE32_NOPAD.encode(&seed)});
    let both = if dice.below(4) == 0 { with(both, &json!({"description": "a <b> & \"c\" é"})) } else { both };
    let both = if dice.below(5) == 0 { with(both, &json!({"imported": true})) } else { both };
    if dice.below(2) == 0 {
        let counted = with(both, &json!({"kind": "hotp", "counter": dice.roll() >> (2 + dice.below(60))}));
        if dice.below(3) == 0 { with(counted, &json!({"counterAheadBy": 1 + dice.below(100)})) } else { counted }
    } else {
        let period = *dice.pick(&[15, 30, 60, 120]);
        let used = otp::step(period).saturating_sub(u64::try_from(dice.below(1000)).unwrap());
        let timed = with(both, &json!({"kind": "totp", "period": period}));
        if dice.below(3) == 0 { timed } else { with(timed, &json!({"usedStep": used})) }
    }
}

/// A user with the password and the codes of the model, some of which are used.
fn random_user(dice: &mut Dice, number: usize, model: &Value) -> Value {
    let factors: Vec<Value> = (0..dice.below(4)).map(|place| random_factor(dice, place)).collect();
    let mut user = json!({"name": format!("user-{number:04}"), "factors": factors});
    for (chance, member) in [
        (2, json!({"displayName": format!("Ünï & Söhne <{number}>")})),
        (3, json!({"email": format!("user-{number}@example.org")})),
        (4, json!({"roles": ["host", "other"]})),
        (9, json!({"disabled": true})),
        (2, json!({"password": model["password"]})),
    ] {
        if dice.below(chance) == 0 {
            user = with(user, &member);
        }
    }
    if !user["factors"].as_array().unwrap().is_empty() && dice.below(2) == 0 {
        let used = dice.below(1024);
        user = with(user, &json!({"backupCodes": {"record": model["backupCodes"]["record"], "used": used}}));
    }
    user
}

#[test]
fn an_export_is_taken_over_by_another_daemon_bit_for_bit() {
    let (first, second, identity) = (Host::start(""), Host::start(""), Identity::new());
    let model = model(&first, &identity);
    let mut dice = Dice(0x2a);
    let people: Vec<Value> =
        (0..size(1000, 20_000)).map(|number| random_user(&mut dice, number, &model.line)).collect();
    let (status, report) = import(&first, &export_of(&people));
    assert_eq!(status, Some(0), "{report}");
    // Codes that are used here are used up there.
    let counted = people.iter().position(|user| {
        user["disabled"] != true && user["factors"].as_array().unwrap().iter().any(|factor| factor["kind"] == "hotp")
    });
    let counted = &people[counted.unwrap()];
    let factor = counted["factors"].as_array().unwrap().iter().find(|factor| factor["kind"] == "hotp").unwrap();
    let code = |ahead: u64| {
        let hash = match factor["algorithm"].as_str().unwrap() {
            "SHA1" => Hash::Sha1,
            "SHA256" => Hash::Sha256,
            _ => Hash::Sha512,
        };
        let digits = u32::try_from(factor["digits"].as_u64().unwrap()).unwrap();
        let seed = BASE32_NOPAD.decode(factor["secret"].as_str().unwrap().as_bytes()).unwrap();
        json!({"token": otp::code(&seed, hash, digits, factor["counter"].as_u64().unwrap() + ahead)})
    };
    let uid =
        |host: &Host, name: &str| text(&host.ask(&Request::get(format!("/users?name={name}"))).ok()["users"][0]["uid"]);
    let name = counted["name"].as_str().unwrap();
    first.verify(&uid(&first, name), &code(2)).ok();
    let exported = identity.export(&first, &[]);

    let (status, report) = import(&second, &exported);

    assert_eq!(status, Some(0), "{report}");
    assert_eq!(users(&identity.export(&second, &[])), users(&exported));
    second.verify(&uid(&second, name), &code(2)).refused(401, "wrong-code");
    second.verify(&uid(&second, name), &code(3)).ok();
    let there = model.person;
    let challenge = second.challenge(&there);
    second.answer_recovery(&challenge, &model.codes[3]).refused(401, "wrong-code");
    second.answer_recovery(&challenge, &model.codes[4]).ok();
    // Once more: nothing goes back.
    let (status, again) = import(&second, &exported);
    assert_eq!(status, Some(0), "{again}");
    assert!(again["entries"].as_array().unwrap().iter().all(|entry| entry["state"] == "known"));
    second.verify(&uid(&second, name), &code(3)).refused(401, "wrong-code");
}

#[test]
fn an_export_that_was_cut_off_or_changed_is_refused_and_nothing_is_taken_over() {
    let (host, identity) = (Host::start(""), Identity::new());
    model(&host, &identity);
    let export = identity.export(&host, &[]);
    let other = Host::start("");
    let without_end = export.lines().take(2).collect::<Vec<_>>().join("\n");
    let doubled = format!("{export}{}\n", export.lines().nth(1).unwrap());
    let newer = export.replace("\"mfadExport\":1", "\"mfadExport\":2");

    for (damaged, why) in [(&without_end, "cut off"), (&doubled, "behind its end"), (&newer, "newer")] {
        let (status, said) = import(&other, damaged);
        assert_eq!(status, Some(2), "{why}: {said}");
        assert!(said.as_str().unwrap().contains(why), "{said}");
    }
    let wrong_record = {
        let mut user: Value = serde_json::from_str(export.lines().nth(1).unwrap()).unwrap();
        user["password"] = json!(BASE64.encode(b"short"));
        export.replace(export.lines().nth(1).unwrap(), &user.to_string())
    };
    let (status, report) = import(&other, &wrong_record);
    assert_eq!((status, &report["entries"][0]["state"]), (Some(1), &json!("refused")), "{report}");
    assert_eq!(other.ask(&Request::get("/users")).ok()["users"], json!([]));
}

#[test]
fn the_forms_for_other_programs_have_every_factor_and_say_what_they_lack() {
    let (host, identity) = (Host::start("issuer = \"A & B\""), Identity::new());
    let (person, ..) = host.guarded("ann");
    let user = person.id;
    let timed = json!({"user": "ann", "kind": "totp", "algorithm": "SHA512", "digits": 8, "period": 60,
        "secret": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"});
    host.ask(&Request::post("/imports", &json!({"factors": [timed]})).reason()).ok();
    host.pending_for(&user, &json!({}));

    for (form, format, lost) in [("otpauth", "otpauth", "# Not"), ("pskc", "pskc", "<!-- Not")] {
        let plain = identity.export(&host, &["--format", form]);
        let file = identity.place(form);
        fs::write(&file, &plain).unwrap();
        let plan = mfactl(&host, &["--json", "import", "--dry-run", &file.display().to_string()], "");
        let plan: Value = serde_json::from_slice(&plan.stdout).unwrap();

        assert_eq!(plan["format"], format);
        let told = |entry: &Value| {
            let number = if entry["kind"] == "hotp" { &entry["counter"] } else { &entry["period"] };
            format!(
                "{} {} {} {} {} {number} {}",
                entry["issuer"], entry["user"], entry["kind"], entry["algorithm"], entry["digits"], entry["state"]
            )
        };
        let entries: Vec<String> = plan["entries"].as_array().unwrap().iter().map(told).collect();
        assert_eq!(
            entries,
            [
                "\"A & B\" \"ann\" \"hotp\" \"SHA1\" 8 2 \"taken\"",
                "\"A & B\" \"ann\" \"totp\" \"SHA512\" 8 60 \"taken\""
            ],
            "{form}"
        );
        let first = lost.replace("Not", "");
        assert!(plain.contains(first.trim_end()) && plain.contains("Left out: 0 factors on hardware keys"), "{plain}");
        assert!(plain.contains("1 factors that were not confirmed"), "{plain}");
    }
    let said = mfactl(&host, &["export", "/nonexistent/x", "--to", "age1x", "--reason", "x"], "");
    assert_eq!(said.status.code(), Some(7));
}

#[test]
fn only_root_chooses_the_recipient_and_others_prove_themselves_first() {
    if !can_be_others("only_root_chooses_the_recipient_and_others_prove_themselves_first") {
        return;
    }
    let identity = Identity::new();
    let mine = &identity.recipient;
    let host = Host::start(&format!(
        "[export]\nrecipients = [\"{mine}\"]\n[[peer]]\nuid = {STRANGER}\nrights = [\"admin\"]\n"
    ));
    let ask = |uid: u32, to: &str, token: Option<&str>| {
        let request = Request::post("/exports", &json!({"recipient": to})).reason();
        let request = token.map_or(request.clone(), |token| request.token(token));
        host.ask_as(uid, &request)
    };
    assert_eq!(host.ask(&Request::post("/exports", &json!({"recipient": OTHERS})).reason()).status, 200);
    ask(APP, mine, None).refused(403, "forbidden");
    ask(STRANGER, mine, None).refused(403, "fresh-proof-required");
    let (admin, mut factor, _) = host.guarded("boss");
    host.change(&admin.id, &json!({"roles": ["admin"]}));
    let log_in = |factor: &mut crate::people::Factor| {
        let password = json!({"id": "boss", "password": admin.password});
        let challenge = host.ask_as(STRANGER, &Request::post("/auth/password", &password)).ok();
        let answer = Request::post("/auth/totp", &json!({"token": factor.next()})).token(&text(&challenge["token"]));
        text(&host.ask_as(STRANGER, &answer).ok()["token"])
    };
    let token = log_in(&mut factor);

    ask(STRANGER, OTHERS, Some(&token)).refused(400, "malformed");
    assert_eq!(ask(STRANGER, mine, Some(&token)).status, 200);
    let rows = host.ask(&Request::get("/audit?limit=500")).ok();
    let rows = rows["events"].as_array().unwrap().iter().filter(|row| row["event"] == "store.export");
    let details: Vec<&str> = rows.map(|row| row["detail"].as_str().unwrap()).collect();
    assert_eq!(details.len(), 2, "refusals are not exports");
    assert!(details[1].starts_with(&format!("mfad to {mine}: ")), "{details:?}");
}

/// An export with these users.
fn export_of(people: &[Value]) -> String {
    let lines: Vec<String> = people.iter().map(Value::to_string).collect();
    format!(
        "{{\"mfadExport\":1,\"created\":0,\"issuer\":\"x\"}}\n{}\n{{\"mfadExportEnd\":true,\"users\":0,\"factors\":0,\
         \"leftOut\":{{}}}}\n",
        lines.join("\n")
    )
}

#[test]
fn an_export_brings_roles_only_where_the_format_is_named_and_the_plan_shows_them() {
    let host = Host::start("");
    let factor =
        json!({"name": "phone", "kind": "hotp", "algorithm": "SHA1", "digits": 6, "counter": 5, "secret": SEED});
    let export = export_of(&[
        json!({"name": "svc", "roles": ["admin", "host"], "factors": [factor]}),
        json!({"name": "bare", "roles": ["admin"]}),
    ]);

    let plan = mfactl(&host, &["import", "--dry-run", "-"], &export);
    let unnamed = mfactl(&host, &["import", "--trusted", "--reason", "a backup of Aegis", "-"], &export);
    let for_one = mfactl(&host, &["import", "--dry-run", "--user", "ann", "-"], &export);

    let plan = String::from_utf8(plan.stdout).unwrap();
    assert!(
        plan.contains("roles of the user: admin host") && plan.contains("bare: roles of the user: admin"),
        "{plan}"
    );
    assert_eq!((unnamed.status.code(), for_one.status.code()), (Some(2), Some(2)));
    assert!(String::from_utf8_lossy(&unnamed.stderr).contains("--format mfad"), "{unnamed:?}");
    assert_eq!(host.ask(&Request::get("/users")).ok()["users"], json!([]));
    let (status, report) = import(&host, &export);
    assert_eq!(status, Some(0), "{report}");
    let rows = host.ask(&Request::get("/audit?limit=500")).ok()["events"].to_string();
    assert!(rows.contains("roles of an import: admin host"), "{rows}");
}

#[test]
fn a_user_who_is_there_gets_what_is_missing_and_nothing_counts_twice() {
    let (host, identity) = (Host::start(""), Identity::new());
    let model = model(&host, &identity).line;
    let factor = |name: &str, secret: &str, counter: u64| json!({"name": name, "kind": "hotp", "algorithm": "SHA1", "digits": 6, "counter": counter, "secret": secret});
    let (other, third) = (SEED.replace('G', "H"), SEED.replace('G', "J"));
    let ann = |factors: &[Value], used: u32| {
        let codes = json!({"record": model["backupCodes"]["record"], "used": used});
        json!({"name": "ann", "password": model["password"], "backupCodes": codes, "factors": factors})
    };
    let target = Host::start("");
    // Twice in one file, the second one newer; and a factor that is named as passwords are.
    let twice = export_of(&[
        ann(&[factor("password", SEED, 3)], 1),
        ann(&[factor("password", SEED, 5), factor("fob", &other, 0)], 3),
    ]);

    let (status, report) = import(&target, &twice);

    assert_eq!(status, Some(0), "{report}");
    let uid = text(&target.ask(&Request::get("/users?name=ann")).ok()["users"][0]["uid"]);
    let code = |counter| json!({"token": otp::code(&otp::seed_of(SEED), Hash::Sha1, 6, counter)});
    target.verify(&uid, &code(4)).refused(401, "wrong-code");
    target.verify(&uid, &code(5)).ok();
    let exported = identity.export(&target, &[]);
    assert!(exported.contains("\"used\":3"), "{exported}");
    // A name that is taken here, and codes that were used there meanwhile.
    let (status, report) = import(&target, &export_of(&[ann(&[factor("fob", &third, 0)], 4)]));
    assert_eq!((status, &report["entries"][0]["state"]), (Some(0), &json!("imported")), "{report}");
    let exported = identity.export(&target, &[]);
    assert!(exported.contains("\"used\":7") && exported.contains("\"name\":\"authenticator\""), "{exported}");
    // One who is too large for a request holds up nobody else.
    let long =
        |number: usize| with(factor(&format!("fob {number}"), SEED, 0), &json!({"description": "é".repeat(256)}));
    let large = json!({"name": "large", "factors": (0..30).map(long).collect::<Vec<_>>()});
    let (status, report) = import(&target, &export_of(&[large, json!({"name": "small", "factors": [long(0)]})]));
    assert_eq!((status, &report["entries"][30]["state"]), (Some(1), &json!("imported")), "{report}");
    let future = json!({"name": "soon", "kind": "totp", "algorithm": "SHA1", "digits": 6, "period": 30,
        "usedStep": otp::step(30) + 100, "secret": third});
    let (status, report) = import(&target, &export_of(&[json!({"name": "bob", "factors": [future]})]));
    assert_eq!(status, Some(1), "{report}");
    assert!(report["entries"][0]["reason"].as_str().unwrap().contains("future"), "{report}");
}

#[test]
fn a_user_exports_the_own_factors_where_that_is_allowed() {
    let identity = Identity::new();
    let (host, closed) = (Host::start("[export]\nown = true\n"), Host::start(""));
    for host in [&host, &closed] {
        host.guarded("another");
    }
    let run = |host: &Host, more: &[&str]| {
        let (person, mut factor, _) = host.guarded("ann");
        let (password, code) = (identity.place("password"), identity.place("code"));
        fs::write(&password, &person.password).unwrap();
        fs::write(&code, factor.next()).unwrap();
        let file = identity.place("own.age").display().to_string();
        let (password, code) = (password.display().to_string(), code.display().to_string());
        let usual = ["export", &file, "--to", &identity.recipient, "--self", "ann", "--login-password-file", &password];
        mfactl(host, &[&usual[..], &["--login-code-file", &code], more].concat(), "")
    };

    let refused = run(&closed, &[]);
    assert_eq!(refused.status.code(), Some(4), "{}", String::from_utf8_lossy(&refused.stderr));
    assert!(!identity.place("own.age").exists());
    let done = run(&host, &[]);

    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let mut age = Command::new("age");
    let opened =
        age.arg("-d").arg("-i").arg(identity.place("identity")).arg(identity.place("own.age")).output().unwrap();
    let plain = String::from_utf8(opened.stdout).unwrap();
    assert_eq!(users(&plain).len(), 1, "nobody else's: {plain}");
    assert!(plain.contains("\"name\":\"ann\""));
}

#[test]
fn log_1_neither_way_writes_a_secret_in_the_clear() {
    let dirs = crate::host::TestDirs::new("");
    assert!(dirs.init().success(), "{}", dirs.log_text());
    let host = Host::on_with(dirs, &[("MFAD_LOG", std::ffi::OsStr::new("trace"))]);
    let identity = Identity::new();
    let mut needles = crate::needles::Needles::default();
    let (mut list, mut dice) = (String::new(), Dice(7));
    for number in 0..size(20, 1000) {
        let seed: Vec<u8> = (0..20).map(|_| u8::try_from(dice.below(256)).unwrap()).collect();
        needles.secret("a seed", &seed);
        list.push_str(&format!("otpauth://hotp/planted-{number}?secret={}&counter=3\n", BASE32_NOPAD.encode(&seed)));
    }
    let (file, report) = (identity.place("list"), identity.place("report"));
    fs::write(&file, &list).unwrap();
    let (file, report_name) = (file.display().to_string(), report.display().to_string());
    let mut said = Vec::new();
    for arguments in [
        &["--json", "import", "--dry-run", &file][..],
        &["import", "--at-login", "--create-users", "--reason", "a move", "--report", &report_name, &file],
        &["-v", "import", "--at-login", "--reason", "a move", &file],
    ] {
        let output = mfactl(&host, arguments, "");
        said.extend([output.stdout, output.stderr]);
    }
    identity.export(&host, &[]);

    let mut written = crate::leaks::files(&host);
    written.push(("the report".to_owned(), fs::read(&report).unwrap()));
    written.push(("the export".to_owned(), fs::read(identity.place("export.age")).unwrap()));
    written.extend(said.into_iter().map(|bytes| ("what mfactl said".to_owned(), bytes)));
    for (name, bytes) in &written {
        let hits = needles.hits(name, bytes);
        assert!(hits.is_empty(), "{hits:#?}");
    }
    needles.check();
    let mut control = crate::needles::Needles::default();
    control.put("an account", b"planted-7");
    assert!(!control.hits("the report", &fs::read(&report).unwrap()).is_empty());
}

#[test]
fn a_killed_export_leaves_no_export_and_the_next_one_is_whole() {
    let (host, identity) = (Host::start(""), Identity::new());
    let model = model(&host, &identity);
    let mut dice = Dice(0x17);
    let people = (0..300).map(|number| random_user(&mut dice, number, &model.line).to_string());
    let lines = people.collect::<Vec<_>>().join("\n");
    let head = "{\"mfadExport\":1,\"created\":0,\"issuer\":\"x\"}";
    let whole = format!("{head}\n{lines}\n{{\"mfadExportEnd\":true,\"users\":300,\"factors\":0,\"leftOut\":{{}}}}\n");
    assert_eq!(import(&host, &whole).0, Some(0));
    let complete = users(&identity.export(&host, &[]));
    assert_eq!(complete.len(), 301);
    let file = identity.place("killed.age");

    for _ in 0..size(5, 50) {
        let _ = fs::remove_file(&file);
        let mut process = Command::new(mfad_testkit::program("mfactl"))
            .arg("--socket")
            .arg(host.socket())
            .args(["export", &file.display().to_string(), "--to", &identity.recipient, "--reason", "x"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_micros(dice.roll() % 60_000));
        process.kill().unwrap();
        process.wait().unwrap();

        if file.exists() {
            let opened = Command::new("age").arg("-d").arg("-i").arg(identity.place("identity")).arg(&file).output();
            assert_eq!(users(&String::from_utf8(opened.unwrap().stdout).unwrap()), complete, "a file is whole");
        }
        assert_eq!(users(&identity.export(&host, &[])), complete);
    }
}

#[test]
fn a_second_administrator_confirms_an_export_once() {
    let identity = Identity::new();
    let host = Host::start("[export]\nneedsTwo = true\n");
    let receipt = |host: &Host, name: &str, action: &str, is_admin: bool| {
        let (mut person, mut factor, _) = host.guarded(name);
        if is_admin {
            host.change(&person.id, &json!({"roles": ["admin"]}));
            host.log_in(&mut person, &mut factor);
        }
        let body = json!({"token": factor.next(), "action": action});
        text(&host.ask(&Request::post("/auth/stepup", &body).token(&person.token)).ok()["receipt"])
    };
    let action = format!("export mfad to {}", identity.recipient);
    let ask = |approval: Option<&str>| {
        let body = json!({"recipient": identity.recipient});
        let body = approval.map_or(body.clone(), |approval| with(body, &json!({"approval": approval})));
        host.ask(&Request::post("/exports", &body).reason())
    };

    let told = ask(None).refused(400, "malformed");
    assert!(told["detail"].as_str().unwrap().contains(&action), "{told}");
    ask(Some(&receipt(&host, "nobody", &action, false))).refused(401, "receipt-refused");
    ask(Some(&receipt(&host, "other", "export mfad to somebody", true))).refused(401, "receipt-refused");
    let with_keys = action.replace("mfad", "mfad with hardware keys");
    ask(Some(&receipt(&host, "third", &with_keys, true))).refused(401, "receipt-refused");
    let good = receipt(&host, "second", &action, true);
    let file = identity.place("receipt");
    fs::write(&file, format!("receipt  {good}\nfor      ann\n")).unwrap();
    let place = (identity.place("refused.age").display().to_string(), file.display().to_string());
    let usual = ["export", &place.0, "--to", &identity.recipient, "--reason", "x", "--approval-file", &place.1];
    let refused = mfactl(&host, &usual, "");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("step-up --quiet"), "{refused:?}");
    fs::write(&file, &good).unwrap();
    let plain = identity.export(&host, &["--approval-file", &file.display().to_string()]);
    assert_eq!(users(&plain).len(), 4);
    ask(Some(&good)).refused(401, "receipt-refused");
}

#[test]
fn an_export_that_ends_early_leaves_no_file() {
    let (mut host, identity) = (Host::start(""), Identity::new());
    let file = identity.place("export.age");
    host.stop();

    let done = Command::new(mfad_testkit::program("mfactl"))
        .arg("--socket")
        .arg(host.socket())
        .args(["export", &file.display().to_string(), "--to", &identity.recipient, "--reason", "x"])
        .stdin(Stdio::null())
        .output()
        .unwrap();

    assert_eq!(done.status.code(), Some(3), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(!file.exists() && !identity.place("export.age.partial").exists());
}

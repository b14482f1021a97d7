//! The master key, copies of the store, and an older store put back (KEY-5, STO-12): each in the middle of work, each killed
//! where it hurts.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::host::{Host, TestDirs, wait};
use crate::otp;
use crate::people::{Factor, Person};
use crate::proof::report;
use crate::wire::Request;

const PATIENCE: Duration = Duration::from_secs(30);
/// Kills of a long run.
const KILLS: usize = 50;

/// Some people with all kinds of sealed values.
struct Crowd {
    people: Vec<(Person, Factor, Vec<String>)>,
}

impl Crowd {
    fn gather(host: &Host, size: usize) -> Self {
        let algorithms = ["SHA1", "SHA256", "SHA512"];
        let people = (0..size).map(|number| {
            let person = host.person(&format!("person {number}"));
            let kind = json!({"kind": "hotp", "algorithm": algorithms[number % 3], "digits": 6 + number % 3});
            let (factor, codes) = host.enrol(&person, &kind);
            (person, factor, codes)
        });
        Self { people: people.collect() }
    }

    /// Everybody's password is good, and there is a factor to be shown after it.
    #[track_caller]
    fn all_are_challenged(&self, host: &Host) {
        for (person, ..) in &self.people {
            assert_eq!(host.password(person).ok()["type"], "CHALLENGE", "{}", person.name);
        }
    }

    /// Everybody's factor, password and backup code are good, and each code once.
    #[track_caller]
    fn all_get_in(&mut self, host: &Host) {
        for (person, factor, codes) in &mut self.people {
            let code = factor.next();
            host.verify(&person.id, &json!({"token": code})).ok();
            host.verify(&person.id, &json!({"token": code})).refused(401, "wrong-code");
            if let Some(code) = codes.pop() {
                host.verify(&person.id, &json!({"code": code})).ok();
            }
        }
        self.all_are_challenged(host);
    }
}

fn key_of(host: &Host) -> Value {
    host.ask(&Request::get("/key")).ok()
}

/// Asks until the change of the master key stands still.
#[track_caller]
pub fn rotate(host: &Host, body: Option<&Value>) -> Value {
    let mut body = body.cloned();
    for _ in 0..1000 {
        let request = match body.take() {
            Some(body) => Request::post("/key/rotation", &body),
            None => Request::new("POST", "/key/rotation"),
        };
        let told = host.ask(&request.reason()).ok();
        if told["state"] != "resealing" {
            return told;
        }
    }
    panic!("it never ends: {}", key_of(host));
}

fn backup(host: &Host) -> Vec<u8> {
    let answer = host.ask(&Request::new("POST", "/backup").reason());
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.body
}

fn put(path: &Path, bytes: &[u8]) {
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).unwrap().write_all(bytes).unwrap();
}

/// The files of a stopped or killed store.
fn copy_store(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).unwrap();
    for name in ["mfad.db", "mfad.db-wal"] {
        let _ = fs::remove_file(to.join(name));
        if from.join(name).exists() {
            fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
    let _ = fs::remove_file(to.join("mfad.db-shm"));
}

fn restore_command(dirs: &TestDirs, args: &[&str]) -> Command {
    let mut command = dirs.mfad();
    command.arg("restore").args(args).arg("--config").arg(&dirs.config).arg("--state-dir").arg(&dirs.state);
    command
}

/// Exit code and words.
fn restore(dirs: &TestDirs, args: &[&str]) -> (Option<i32>, String) {
    let output = restore_command(dirs, args).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Why the daemon does not start.
fn refusal(dirs: &TestDirs) -> (Option<i32>, String) {
    refusal_of(dirs.serve())
}

fn refusal_of(mut command: Command) -> (Option<i32>, String) {
    let mut daemon = command.stderr(Stdio::piped()).spawn().unwrap();
    let status = wait(&mut daemon, PATIENCE);
    if status.is_none() {
        daemon.kill().unwrap();
    }
    let words = daemon.wait_with_output().unwrap().stderr;
    (status.expect("it does not start").code(), String::from_utf8_lossy(&words).into_owned())
}

/// TestDirs with the same key and nothing else.
fn elsewhere(key: &Path) -> TestDirs {
    let dirs = TestDirs::new("");
    fs::create_dir(&dirs.state).unwrap();
    fs::set_permissions(&dirs.state, fs::Permissions::from_mode(0o700)).unwrap();
    fs::copy(key, dirs.state.join("master.key")).unwrap();
    fs::set_permissions(dirs.state.join("master.key"), fs::Permissions::from_mode(0o400)).unwrap();
    dirs
}

#[test]
fn key_5_a_new_master_key_opens_everything_and_the_old_one_nothing() {
    let mut host = Host::start("");
    let mut crowd = Crowd::gather(&host, 3);
    let file = host.dirs.state.join("master.key");
    let old = fs::read(&file).unwrap();
    assert_eq!(key_of(&host)["state"], "settled");
    host.ask(&Request::new("POST", "/key/rotation")).refused(403, "fresh-proof-required");
    let given = json!({"key": BASE64.encode(&[9; 32])});
    host.ask(&Request::post("/key/rotation", &given).reason()).refused(400, "malformed");

    let told = rotate(&host, None);

    assert_eq!((&told["state"], &told["version"]), (&json!("settled"), &json!(2)));
    // A password, a factor and a set of codes each; a key for tokens, one for receipts, one for the guard.
    // Of each user the password, the factor, the backup codes and the summary; two signing keys and the key of the guard.
    assert_eq!(told["sealed"], json!({"total": 3 * 4 + 3, "current": 3 * 4 + 3}));
    assert_ne!(fs::read(&file).unwrap(), old);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o400);
    crowd.all_get_in(&host);
    host.restart();
    crowd.all_get_in(&host);
    assert_eq!(key_of(&host)["sealed"], told["sealed"]);
    host.kill();
    fs::remove_file(&file).unwrap();
    put(&file, &old);
    let (code, words) = refusal(&host.dirs);
    assert_eq!(code, Some(8), "{words}");
}

#[test]
fn key_5_a_credential_is_replaced_outside_and_the_old_one_opens_until_then() {
    let (dirs, credentials) = TestDirs::with_credential(1);
    let hold = |key: u8| fs::write(credentials.join("mfad.key"), [key; 32]).unwrap();
    let mut host = Host::on_with(dirs, &[("CREDENTIALS_DIRECTORY", credentials.as_os_str())]);
    let mut crowd = Crowd::gather(&host, 2);
    assert_eq!(key_of(&host)["source"], "credential");
    host.ask(&Request::new("POST", "/key/rotation").reason()).refused(400, "malformed");
    for wrong in ["AAAA", "not base64"] {
        host.ask(&Request::post("/key/rotation", &json!({"key": wrong})).reason()).refused(400, "malformed");
    }

    let told = rotate(&host, Some(&json!({"key": BASE64.encode(&[2; 32])})));

    assert_eq!(told["state"], "awaiting-key");
    let another = json!({"key": BASE64.encode(&[3; 32])});
    host.ask(&Request::post("/key/rotation", &another).reason()).refused(409, "version");
    assert_eq!(
        rotate(&host, Some(&json!({"key": BASE64.encode(&[2; 32])})))["state"],
        "awaiting-key",
        "the same again"
    );
    crowd.all_get_in(&host);
    host.ask(&Request::new("POST", "/backup").reason()).refused(503, "not-ready");
    host.restart();
    assert_eq!(key_of(&host)["state"], "awaiting-key", "the old key opens it");
    crowd.all_get_in(&host);
    host.kill();
    hold(2);
    host.start_again();
    assert_eq!(key_of(&host)["state"], "settled");
    crowd.all_get_in(&host);
    host.kill();
    hold(1);
    let mut command = host.dirs.serve();
    command.env("CREDENTIALS_DIRECTORY", &credentials);
    let (code, words) = refusal_of(command);
    assert_eq!(code, Some(8), "not any more: {words}");
}

#[test]
fn key_5_mfactl_gives_the_same_key_again_and_never_another() {
    let (dirs, credentials) = TestDirs::with_credential(1);
    let host = Host::on_with(dirs, &[("CREDENTIALS_DIRECTORY", credentials.as_os_str())]);
    let rotate_to = |name: &str| {
        let mut command = Command::new(mfad_testkit::program("mfactl"));
        command.arg("--socket").arg(host.socket()).args(["--yes", "master-key", "rotate", "--reason", "x", "--to"]);
        command.arg(host.dirs.dir.path().join(name)).output().unwrap().status.code()
    };

    assert_eq!(rotate_to("new.key"), Some(0));
    let first = fs::read(host.dirs.dir.path().join("new.key")).unwrap();
    assert_eq!(rotate_to("new.key"), Some(0), "again, with the key that is there");
    assert_eq!(fs::read(host.dirs.dir.path().join("new.key")).unwrap(), first);
    assert_eq!(rotate_to("another.key"), Some(1));
    put(&host.dirs.dir.path().join("foreign.key"), &[8; 32]);
    assert_eq!(rotate_to("foreign.key"), Some(1));
    assert_eq!(key_of(&host)["state"], "awaiting-key");
}

#[test]
fn key_5_a_value_that_does_not_open_keeps_nobody_from_logging_in() {
    let mut host = Host::start("");
    let mut crowd = Crowd::gather(&host, 2);
    let broken = host.nobody("broken");
    host.ask(&Request::post(format!("/users/{broken}/secrets"), &json!({"type": "apikey"})).reason()).ok();
    host.stop();
    let store = rusqlite::Connection::open(host.dirs.state.join("mfad.db")).unwrap();
    let bent = store.execute("UPDATE secrets SET sealed = zeroblob(64) WHERE type = 'apikey'", []).unwrap();
    assert_eq!(bent, 1);
    drop(store);
    host.start_again();

    let told = host.ask(&Request::new("POST", "/key/rotation").reason()).ok();

    assert_eq!(told["state"], "resealing");
    assert_eq!(told["sealed"]["total"].as_u64().unwrap(), told["sealed"]["current"].as_u64().unwrap() + 1, "{told}");
    crowd.all_get_in(&host);
    host.restart();
    crowd.all_get_in(&host);
    let listed = host.ask(&Request::get(format!("/users/{broken}/secrets"))).ok();
    let path = format!("/users/{broken}/secrets/{}", listed["secrets"][0]["uid"].as_str().unwrap());
    host.ask(&Request::delete(path).reason()).done();
    assert_eq!(rotate(&host, None)["state"], "settled", "once it is gone");
}

#[test]
fn sto_12_a_backup_is_one_store_whole_and_unreadable_without_the_key() {
    let mut host = Host::start("");
    let mut crowd = Crowd::gather(&host, 3);
    crowd.all_get_in(&host);
    let by_clock = host.person("by the clock");
    let (timed, _) = host.enrol(&by_clock, &json!({}));
    let copy = backup(&host);
    let (person, factor, _) = &mut crowd.people[1];
    let since = factor.next();
    host.verify(&person.id, &json!({"token": since})).ok();
    let token = host.person("made since").token;
    for needle in ["person 0", "mfad:", "SQLite format"] {
        assert!(!copy.windows(needle.len()).any(|window| window == needle.as_bytes()), "{needle}");
    }

    let other = elsewhere(&host.dirs.state.join("master.key"));
    let file = other.dir.path().join("backup");
    put(&file, &copy);
    let (code, words) = restore(&other, &[file.to_str().unwrap()]);

    assert_eq!(code, Some(0), "{words}");
    assert!(words.contains("4 users") && words.contains("backup codes of 4 users"), "{words}");
    let restored = Host::on(other);
    for (person, _, codes) in &crowd.people {
        assert_eq!(restored.password(person).ok()["type"], "CHALLENGE");
        restored.verify(&person.id, &json!({"code": codes[0]})).refused(401, "wrong-code");
    }
    let (person, _, _) = &crowd.people[1];
    restored.verify(&person.id, &json!({"token": since})).refused(401, "wrong-code");
    assert_eq!(restored.token_status(person, &person.token), 401, "sessions have ended");
    restored.ask(&Request::get("/users/me").token(&token)).refused(401, "unauthenticated");
    let rows = restored.ask(&Request::get("/audit?limit=500")).ok();
    let rows = rows["events"].as_array().unwrap();
    let restorations = rows.iter().filter(|row| row["event"] == "store.restored").count();
    assert_eq!(restorations, 1, "{rows:?}");

    for step in timed.shown() - 1..=timed.shown() + 1 {
        restored.verify(&by_clock.id, &json!({"token": timed.code(step)})).refused(401, "wrong-code");
    }
    host.stop();
}

#[test]
fn sto_12_a_backup_that_was_cut_changed_or_made_elsewhere_is_refused_and_nothing_happens() {
    let host = Host::start("");
    host.guarded("anna");
    let copy = backup(&host);
    let other = elsewhere(&host.dirs.state.join("master.key"));
    let stranger = elsewhere(&host.dirs.state.join("master.key"));
    fs::remove_file(stranger.state.join("master.key")).unwrap();
    put(&stranger.state.join("master.key"), &[7; 32]);
    let try_it = |dirs: &TestDirs, bytes: &[u8]| {
        let file = dirs.dir.path().join("backup");
        let _ = fs::remove_file(&file);
        put(&file, bytes);
        let (code, words) = restore(dirs, &[file.to_str().unwrap()]);
        assert!(!dirs.state.join("mfad.db").exists(), "{words}");
        code
    };

    assert_eq!(try_it(&stranger, &copy), Some(8));
    assert_eq!(
        try_it(&other, b"something else altogether, and long enough to be read as a head of a backup of mfad"),
        Some(15)
    );
    for at in [20, 60, 90, 100, copy.len() / 2, copy.len() - 1] {
        let mut bent = copy.clone();
        bent[at] ^= 1;
        assert!(matches!(try_it(&other, &bent), Some(8 | 15)), "byte {at}");
        assert!(matches!(try_it(&other, &copy[..at]), Some(15)), "cut at {at}");
    }
    assert_eq!(try_it(&other, &[copy.as_slice(), b"x"].concat()), Some(15));
    let file = other.dir.path().join("backup");
    put(&file.with_extension("good"), &copy);
    assert_eq!(restore(&other, &[file.with_extension("good").to_str().unwrap()]).0, Some(0));
    let (code, words) = restore(&other, &[file.with_extension("good").to_str().unwrap()]);
    assert_eq!(code, Some(13), "a store that is there is not replaced unasked: {words}");
}

#[test]
fn sto_12_each_store_that_a_restore_replaces_is_kept() {
    let host = Host::start("");
    host.guarded("anna");
    let copy = backup(&host);
    let other = elsewhere(&host.dirs.state.join("master.key"));
    let file = other.dir.path().join("backup");
    put(&file, &copy);
    let file = file.to_str().unwrap();

    assert_eq!(restore(&other, &[file]).0, Some(0));
    for kept in ["mfad.db.replaced", "mfad.db.replaced-2", "mfad.db.replaced-3"] {
        let before = fs::read(other.state.join("mfad.db")).unwrap();
        assert_eq!(restore(&other, &["--replace", file]).0, Some(0));
        assert_eq!(fs::read(other.state.join(kept)).unwrap(), before, "{kept}");
    }
}

#[test]
fn key_5_a_restore_with_another_key_says_that_the_daemon_needs_it() {
    let host = Host::start("");
    host.guarded("anna");
    let copy = backup(&host);
    let key = host.dirs.state.join("master.key");
    let other = elsewhere(&key);
    let (file, given) = (other.dir.path().join("backup"), other.dir.path().join("old.key"));
    put(&file, &copy);
    put(&given, &fs::read(&key).unwrap());
    let arguments = ["--replace", "--key-file", given.to_str().unwrap(), file.to_str().unwrap()];

    let (code, words) = restore(&other, &arguments);
    assert_eq!(code, Some(0), "{words}");
    assert!(!words.contains("the daemon starts with this master key only"), "it has it: {words}");
    fs::remove_file(other.state.join("master.key")).unwrap();
    put(&other.state.join("master.key"), &[7; 32]);
    let (code, words) = restore(&other, &arguments);
    assert_eq!(code, Some(0), "{words}");
    assert!(words.contains("the daemon starts with this master key only"), "{words}");
    let (code, words) = refusal(&other);
    assert!(code == Some(8) && words.contains("that key must take the place of master.key"), "{words}");
}

#[test]
fn sto_12_an_older_store_put_back_is_noticed_and_its_used_codes_stay_used() {
    let mut host = Host::start("");
    let (person, mut factor, codes) = {
        let person = host.person("anna");
        let (factor, codes) = host.enrol(&person, &json!({"kind": "hotp"}));
        (person, factor, codes)
    };
    host.stop();
    let aside = host.dirs.dir.path().join("aside");
    copy_store(&host.dirs.state, &aside);
    host.start_again();
    let code = factor.next();
    host.verify(&person.id, &json!({"token": code})).ok();
    host.verify(&person.id, &json!({"code": codes[0]})).ok();
    host.stop();

    copy_store(&aside, &host.dirs.state);

    let (exit, words) = refusal(&host.dirs);
    assert_eq!(exit, Some(14), "{words}");
    assert!(words.contains("older state") && words.contains("mfad restore --in-place"), "{words}");
    let (exit, words) = restore(&host.dirs, &["--in-place"]);
    assert_eq!(exit, Some(0), "{words}");
    host.start_again();
    host.verify(&person.id, &json!({"token": code})).refused(401, "wrong-code");
    host.verify(&person.id, &json!({"code": codes[0]})).refused(401, "wrong-code");
    for _ in 0..10 {
        factor.next();
    }
    host.verify(&person.id, &json!({"token": factor.next()})).ok();
    assert!(host.dirs.state.join("mfad.db.replaced").exists());
}

#[test]
fn sto_12_a_guard_that_was_changed_or_belongs_to_another_store_refuses() {
    let mut host = Host::start("");
    host.guarded("anna");
    host.stop();
    let file = host.dirs.dir.path().join("state-guard/mfad.guard");
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    for (wrong, why) in [
        (text.replacen("row 1", "row 0", 1).replacen("row ", "row 1", 1), "changed"),
        (text.replacen("instance ", "instance 00", 1), "another store"),
        ("mfad guard 9\ntag 00\n".to_owned(), "not a guard file"),
        (String::new(), "no tag"),
    ] {
        fs::write(&file, wrong).unwrap();
        let (code, words) = refusal(&host.dirs);
        assert_eq!(code, Some(14), "{why}: {words}");
        assert!(words.contains(why), "{words}");
    }
    fs::write(&file, text).unwrap();
    let open_to_others = |mode| fs::set_permissions(file.parent().unwrap(), fs::Permissions::from_mode(mode)).unwrap();
    open_to_others(0o755);
    assert_eq!(refusal(&host.dirs).0, Some(5), "STO-9");
    open_to_others(0o700);
    host.start_again();
}

/// `MFAD_TEST_KILLS` says how many.
fn kills(usual: usize) -> usize {
    std::env::var("MFAD_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Another point in time for each kill; the points differ from run to run only by what the host does.
fn moment(number: usize, within: Duration) -> Duration {
    within.mul_f64(f64::from(u32::try_from(number * 37 % 100).unwrap()) / 100.0)
}

/// A crowd that takes a while to seal again, made by copying one person's password in the store.
fn many_values(host: &Host, count: usize) {
    for number in 0..count {
        let name = format!("extra {number}");
        let id = host.nobody(&name);
        host.ask(&Request::post(format!("/users/{id}/secrets"), &json!({"type": "apikey"})).reason()).ok();
    }
}

/// The control of a check: with one password gone from the store it has to find that not everybody gets in.
fn has_to_find_a_loss(host: &Host, mut all_get_in: impl FnMut(&Host)) {
    let store = rusqlite::Connection::open(host.dirs.state.join("mfad.db")).unwrap();
    let lost = "DELETE FROM secrets WHERE id = (SELECT s.id FROM secrets s JOIN users u ON u.id = s.user
                                                WHERE s.type = 'password' AND u.name = 'person 1')";
    assert_eq!(store.execute(lost, []).unwrap(), 1);
    drop(store);
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| all_get_in(host)));
    assert!(found.is_err(), "the harness finds a value that was lost");
}

fn killed_rotations(count: usize) {
    let mut host = Host::start("");
    let mut crowd = Crowd::gather(&host, 3);
    many_values(&host, 400);
    let (mut finished, mut resumed) = (0, 0);
    for number in 0..count {
        let before = key_of(&host)["version"].as_u64().unwrap();
        let socket = host.socket().to_owned();
        let asking = std::thread::spawn(move || {
            for _ in 0..100 {
                let Ok(stream) = std::os::unix::net::UnixStream::connect(&socket) else { return };
                let request = Request::new("POST", "/key/rotation").reason();
                let Ok(answer) = crate::wire::Connection::new(stream, None).try_ask(&request) else { return };
                if answer.json()["state"] == "settled" {
                    return;
                }
            }
        });
        std::thread::sleep(moment(number, Duration::from_millis(120)));
        host.kill();
        asking.join().unwrap();
        host.start_again();
        let told = key_of(&host);
        assert_eq!(told["state"], "settled", "it is finished before anybody is served: {told}");
        assert_eq!(told["sealed"]["total"], told["sealed"]["current"], "{told}");
        let after = told["version"].as_u64().unwrap();
        assert!(after >= before, "{before} {after}");
        if after > before {
            finished += 1
        } else {
            resumed += 1
        }
        crowd.all_get_in(&host);
    }
    has_to_find_a_loss(&host, |host| crowd.all_get_in(host));
    let figure = format!("0 values lost in {count} kills: {finished} changes ended whole, {resumed} never began");
    report("kills in a change of the master key", figure, format!("0 in {KILLS}"), count >= KILLS);
}

fn killed_backups(count: usize) {
    let mut host = Host::start("");
    let mut crowd = Crowd::gather(&host, 2);
    many_values(&host, 200);
    let whole = backup(&host);
    assert!(whole.len() > 1 << 16);
    // The control: what is cut off is not taken for a backup.
    for part in 1..4 {
        let other = elsewhere(&host.dirs.state.join("master.key"));
        let file = other.dir.path().join("backup");
        put(&file, &whole[..whole.len() * part / 4]);
        assert_eq!(restore(&other, &[file.to_str().unwrap()]).0, Some(15), "{part} quarters of a backup");
    }
    let (mut complete, mut cut) = (0, 0);
    for number in 0..count {
        let socket = host.socket().to_owned();
        let asking = std::thread::spawn(move || {
            let stream = std::os::unix::net::UnixStream::connect(&socket).ok()?;
            let request = Request::new("POST", "/backup").reason();
            crate::wire::Connection::new(stream, None).try_ask(&request).ok().map(|answer| answer.body)
        });
        std::thread::sleep(moment(number, Duration::from_millis(60)));
        host.kill();
        let copy = asking.join().unwrap();
        let other = elsewhere(&host.dirs.state.join("master.key"));
        let file = other.dir.path().join("backup");
        put(&file, copy.as_deref().unwrap_or_default());
        match restore(&other, &[file.to_str().unwrap()]).0 {
            Some(0) => {
                complete += 1;
                crowd.all_are_challenged(&Host::on(other));
            }
            Some(15) => cut += 1,
            other => panic!("{other:?}"),
        }
        host.start_again();
        let left: Vec<_> = fs::read_dir(&host.dirs.state).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(!left.iter().any(|name| name == "mfad.db.backup"), "{left:?}");
        crowd.all_get_in(&host);
    }
    let figure = format!("0 half restored in {count} kills: {complete} complete, {cut} cut off and refused");
    report("kills in a backup", figure, format!("0 in {KILLS}"), count >= KILLS);
}

fn killed_restores(count: usize) {
    let mut host = Host::start("");
    let mut crowd = Crowd::gather(&host, 2);
    many_values(&host, 200);
    let file = host.dirs.dir.path().join("backup");
    put(&file, &backup(&host));
    host.person("made since");
    crowd.all_get_in(&host);
    host.stop();
    let aside = host.dirs.dir.path().join("aside");
    copy_store(&host.dirs.state, &aside);
    let guard = host.dirs.dir.path().join("state-guard/mfad.guard");
    let guarded = fs::read(&guard).unwrap();
    let (mut old, mut new) = (0, 0);
    for number in 0..count {
        copy_store(&aside, &host.dirs.state);
        fs::write(&guard, &guarded).unwrap();
        let mut command = restore_command(&host.dirs, &["--replace", file.to_str().unwrap()]);
        let mut restoring = command.stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(moment(number, Duration::from_millis(90)));
        let _ = restoring.kill();
        restoring.wait().unwrap();

        host.start_again();
        let listed = host.ask(&Request::get("/users?limit=200")).ok();
        let names: Vec<&str> =
            listed["users"].as_array().unwrap().iter().map(|user| user["name"].as_str().unwrap()).collect();
        let has_late = user_named(&host, "made since");
        if has_late {
            old += 1
        } else {
            new += 1
        }
        assert!(!names.is_empty());
        crowd.all_are_challenged(&host);
        host.stop();
    }
    host.start_again();
    has_to_find_a_loss(&host, |host| crowd.all_are_challenged(host));
    let figure = format!("0 with half a store in {count} kills: {old} with the old one, {new} with the new one");
    report("kills in a restore", figure, format!("0 in {KILLS}"), count >= KILLS);
}

fn user_named(host: &Host, name: &str) -> bool {
    let login = json!({"id": name, "password": crate::people::PASSWORD});
    host.ask(&Request::post("/auth/password", &login)).status == 200
}

#[test]
fn a7_key_5_a_change_of_the_master_key_killed_anywhere_ends_whole() {
    killed_rotations(kills(4));
}

#[test]
fn a7_sto_12_a_backup_killed_anywhere_is_whole_or_refused() {
    killed_backups(kills(4));
}

#[test]
fn a7_sto_12_a_restore_killed_anywhere_leaves_one_whole_store() {
    killed_restores(kills(5));
}

#[test]
#[ignore = "takes minutes: 50 kills each"]
fn a7_rotations_backups_and_restores_killed_at_50_points_each_end_whole() {
    killed_rotations(KILLS);
    killed_backups(KILLS);
    killed_restores(KILLS);
}

#[test]
fn a_factor_of_another_program_is_taken_over_as_it_is_or_refused() {
    let host = Host::start("");
    let person = host.person("anna");
    let path = format!("{}/import", person.secrets());
    let import = |uri: &str| host.ask(&Request::post(&path, &json!({"otpauth_url": uri})).reason());
    let seed = otp::seed_of("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");

    for (more, moving) in [("algorithm=SHA512&digits=7&period=60", 60), ("", 30)] {
        let uri = format!("otpauth://totp/Old:anna?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&{more}");
        let secret = import(&uri).ok();
        assert_eq!((&secret["status"], &secret["period"]), (&json!("pending"), &json!(moving)));
        assert!(secret.get("secret").is_none(), "it is not shown again");
        let code = otp::Profile::of(&secret).code(&seed, otp::step(moving));
        let enrol = format!("{}/{}/enroll", person.secrets(), secret["uid"].as_str().unwrap());
        host.ask(&Request::put(&enrol, &json!({"token": code})).reason()).ok();
    }
    let counted = import("otpauth://hotp/Old:anna?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&counter=41").ok();
    assert_eq!(counted["counter"], 41);
    let highest = import("otpauth://hotp/a?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&counter=4611686018427387904").ok();
    assert_eq!(highest["counter"], 1u64 << 62);
    for uri in [
        "otpauth://totp/a?secret=GEZDGNBV",
        "otpauth://steam/a?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ",
        "http://x",
        // No room to move on.
        "otpauth://hotp/a?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&counter=4611686018427387905",
        "otpauth://hotp/a?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&counter=9223372036854775706",
        "otpauth://hotp/a?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&counter=9223372036854775807",
    ] {
        let refused = import(uri).refused(400, "malformed");
        assert!(!refused["detail"].as_str().unwrap().contains("GEZDGNBV"), "HTTP-6: {refused}");
    }
    host.ask(&Request::post(&path, &json!({"otpauth_url": "otpauth://totp/a?secret=x"}))).refused(400, "malformed");
    let good = json!({"otpauth_url": "otpauth://totp/a?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"});
    host.ask(&Request::post(&path, &good)).refused(403, "fresh-proof-required");
    host.ask(&Request::post(&path, &good).token(&person.token)).refused(401, "unauthenticated");
}

#[test]
fn sto_12_a_store_whose_guard_has_no_file_any_more_is_refused_until_told_otherwise() {
    // The file is gone, its whole directory is, or it is empty; and the store is an older one, or the newest.
    for (gone, is_older) in [("file", true), ("directory", true), ("contents", true), ("file", false)] {
        let mut host = Host::start("");
        let mut crowd = Crowd::gather(&host, 1);
        host.stop();
        let older = fs::read(host.dirs.state.join("mfad.db")).unwrap();
        host.start_again();
        let codes = crowd.people[0].2.len();
        crowd.all_get_in(&host);
        assert_eq!(crowd.people[0].2.len(), codes - 1, "a backup code was used since");
        host.stop();
        if is_older {
            fs::write(host.dirs.state.join("mfad.db"), older).unwrap();
        }
        let guard = host.dirs.dir.path().join("state-guard");
        match gone {
            "file" => fs::remove_file(guard.join("mfad.guard")).unwrap(),
            "directory" => fs::remove_dir_all(&guard).unwrap(),
            _ => fs::write(guard.join("mfad.guard"), "").unwrap(),
        }

        for _ in 0..2 {
            let (code, words) = refusal(&host.dirs);
            assert_eq!(code, Some(14), "{gone}: {words}");
        }

        let (code, words) = restore(&host.dirs, &["--in-place"]);
        assert_eq!(code, Some(0), "{words}");
        host.start_again();
        crowd.all_are_challenged(&host);
        host.stop();
        host.start_again();
    }
}

#[test]
fn sto_12_a_store_does_not_forget_that_it_has_a_guard() {
    let mut host = Host::start("");
    let _crowd = Crowd::gather(&host, 1);
    host.stop();
    let older = fs::read(host.dirs.state.join("mfad.db")).unwrap();
    host.start_again();
    host.person("somebody else");
    host.stop();
    for forgotten in ["guard-known", "guard-key", "guard-%"] {
        fs::write(host.dirs.state.join("mfad.db"), &older).unwrap();
        let _ = fs::remove_file(host.dirs.dir.path().join("state-guard/mfad.guard"));
        let store = rusqlite::Connection::open(host.dirs.state.join("mfad.db")).unwrap();
        assert!(store.execute("DELETE FROM meta WHERE key LIKE ?1", [forgotten]).unwrap() > 0, "{forgotten}");
        drop(store);

        let (code, words) = refusal(&host.dirs);

        assert!(matches!(code, Some(9 | 14)), "{forgotten}: {code:?} {words}");
    }
}

#[test]
fn a_guard_whose_first_writing_fails_is_written_at_the_next_start() {
    let mut host = Host::on({
        let dirs = TestDirs::new("guardDir = \"\"\n");
        assert!(dirs.init().success());
        dirs
    });
    let mut crowd = Crowd::gather(&host, 1);
    host.stop();
    // From now on it shall have one, and a directory is in the way of its file.
    let config = fs::read_to_string(&host.dirs.config).unwrap().replace("guardDir = \"\"\n", "");
    fs::write(&host.dirs.config, config).unwrap();
    let guard = host.dirs.dir.path().join("state-guard");
    fs::create_dir(&guard).unwrap();
    fs::set_permissions(&guard, fs::Permissions::from_mode(0o700)).unwrap();
    fs::create_dir(guard.join("mfad.next")).unwrap();
    let (code, words) = refusal(&host.dirs);
    assert_eq!(code, Some(5), "{words}");

    fs::remove_dir(guard.join("mfad.next")).unwrap();
    host.start_again();
    crowd.all_get_in(&host);

    host.stop();
    fs::remove_dir_all(&guard).unwrap();
    // A directory that cannot be made, since its parent takes none, is no way around it.
    fs::write(&guard, "in the way").unwrap();
    let (code, words) = refusal(&host.dirs);
    assert!(matches!(code, Some(5 | 14)), "{code:?} {words}");
    fs::remove_file(&guard).unwrap();
    let (code, words) = refusal(&host.dirs);
    assert_eq!(code, Some(14), "{words}");
}

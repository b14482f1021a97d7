//! A batch of keys with `mfactl provision batch`, as an operator does it: keys go in, come out too early, the
//! daemon is killed; in the end everybody has one key and every key one owner (R17).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::bench::{Bench, can_have_readers};
use crate::card::{Account, Fault, Key, Model, Reader};
use crate::host::wait;
use crate::otp;
use crate::proof::report;

const GLANCE: Duration = Duration::from_millis(10);
const FIRST_SERIAL: u32 = 1000;

struct Plan {
    keys: usize,
    /// The models of the keys, in turn.
    models: &'static [Model],
    /// So many further keys have no room for an account.
    full: usize,
    readers: usize,
    /// Every so many keys are pulled in the middle.
    pull_every: usize,
    /// The daemon is killed whenever another part of the keys is done.
    kills: usize,
    /// What each APDU costs, as on a real key.
    cost: Duration,
    patience: Duration,
    /// So many keys are a long run.
    goal: usize,
}

fn mfactl(bench: &Bench, manifest: &Path) -> Child {
    let mut command = Command::new(mfad_testkit::program("mfactl"));
    command.arg("--socket").arg(bench.host.socket()).args(["--no-input", "--yes", "provision", "batch"]).arg(manifest);
    command.args(["--reason", "first day"]).env_remove("MFAD_SOCKET");
    let log = fs::File::create(manifest.with_extension("log")).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

/// Id of the key, then user and status.
type Lines = BTreeMap<String, (String, String)>;

/// The file of results. It is read only when it has grown: those who look at it all the time share the
/// processors with what is measured.
struct Results {
    path: PathBuf,
    log: PathBuf,
    read: Mutex<(u64, Arc<Lines>)>,
}

impl Results {
    fn of(manifest: &Path) -> Self {
        Self {
            path: manifest.with_extension("results.csv"),
            log: manifest.with_extension("log"),
            read: Mutex::default(),
        }
    }

    /// Whether the operator was told that this key is not for a user.
    fn is_refused(&self, id: &str) -> bool {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        log.contains(&format!("hardware key {id} is not for"))
    }

    fn now(&self) -> Arc<Lines> {
        let length = fs::metadata(&self.path).map_or(0, |file| file.len());
        let mut read = self.read.lock().unwrap();
        if read.0 != length {
            let text = fs::read(&self.path).unwrap_or_default();
            let mut lines = csv::ReaderBuilder::new().from_reader(text.as_slice());
            let fields = |line: csv::StringRecord| Some((line[2].to_owned(), (line[0].to_owned(), line[4].to_owned())));
            let found = lines.records().filter_map(|line| fields(line.ok()?)).collect();
            *read = (length, Arc::new(found));
        }
        Arc::clone(&read.1)
    }
}

/// Puts keys into one reader, one after the other, until there is none left. A key stays until the results have
/// it; one that is pulled too early goes in again.
fn feed(
    reader: &Reader,
    keys: &Mutex<Vec<(Key, Option<Fault>)>>,
    done: &Mutex<Vec<Key>>,
    results: &Results,
    over: &AtomicBool,
    pulls: &AtomicUsize,
) {
    loop {
        let Some((key, fault)) = keys.lock().unwrap().pop() else { return };
        let (id, serial, is_full) = (key.id(), key.serial(), key.account("x").is_some());
        reader.insert(key);
        if let Some(fault) = fault {
            let at = usize::try_from(serial).unwrap() % 18;
            reader.plan(at, fault);
        }
        while !results.now().contains_key(&id) {
            // The operator is told that the key is not for this user, and takes a full one out.
            if is_full && results.is_refused(&id) {
                break;
            }
            if over.load(Ordering::Relaxed) {
                return;
            }
            if reader.pulled() {
                reader.clear();
                // pcscd has to see that it was away.
                thread::sleep(Duration::from_millis(1200));
                pulls.fetch_add(usize::from(reader.reinsert()), Ordering::Relaxed);
            }
            thread::sleep(GLANCE);
        }
        reader.clear();
        if let Some(key) = reader.pull()
            && !is_full
        {
            done.lock().unwrap().push(key);
        }
    }
}

fn users(bench: &Bench, count: usize) -> (BTreeMap<String, String>, PathBuf) {
    let ids: BTreeMap<String, String> = (0..count)
        .map(|number| format!("user {number:03}"))
        .map(|name| (name.clone(), bench.host.nobody(&name)))
        .collect();
    let mut manifest = "user,label,touch\n".to_owned();
    for (number, name) in ids.keys().enumerate() {
        manifest.push_str(&format!("{name},key of {name},{}\n", if number.is_multiple_of(3) { "yes" } else { "no" }));
    }
    (ids, bench.file("manifest.csv", &manifest))
}

fn run(test: &str, plan: &Plan) {
    if !can_have_readers(test) {
        return;
    }
    let mut bench = Bench::new(plan.readers, "");
    let (ids, manifest) = users(&bench, plan.keys);
    let results = Results::of(&manifest);
    let fault = |number: usize| {
        (number % plan.pull_every == 1).then_some(if (number / plan.pull_every).is_multiple_of(2) {
            Fault::Gone
        } else {
            Fault::LostAnswer
        })
    };
    let key_of = |number: usize| {
        let model = plan.models[number % plan.models.len()];
        Key::of(model, FIRST_SERIAL + u32::try_from(number).unwrap())
    };
    let full = (plan.keys..plan.keys + plan.full)
        .map(|number| (key_of(number).with_capacity(1).with_account(Account::foreign("x")), None));
    // The last ones are plugged in first.
    let keys = (0..plan.keys).map(|number| (key_of(number), fault(number))).chain(full);
    let (keys, done, over) = (Mutex::new(keys.collect()), Mutex::new(Vec::new()), AtomicBool::new(false));
    let readers = bench.readers.clone();
    readers.iter().for_each(|reader| reader.set_cost(plan.cost));
    let mut batch = mfactl(&bench, &manifest);
    let started = Instant::now();
    let pulls = AtomicUsize::new(0);
    let (keys, done, over, results, pulls) = (&keys, &done, &over, &results, &pulls);
    let mut kills = 0;
    let status = thread::scope(|threads| {
        for reader in &readers {
            threads.spawn(move || feed(reader, keys, done, results, over, pulls));
        }
        let status = loop {
            if let Some(status) = wait(&mut batch, GLANCE) {
                break Some(status);
            }
            if kills < plan.kills && results.now().len() > plan.keys * (kills + 1) / (plan.kills + 1) {
                kills += 1;
                bench.host.restart();
            }
            if started.elapsed() > plan.patience {
                let _ = batch.kill();
                break None;
            }
        };
        // The results are complete by now; a feeder that misses its key in them must not wait for ever.
        over.store(true, Ordering::Relaxed);
        status
    });
    let elapsed = started.elapsed();
    let log = || fs::read_to_string(manifest.with_extension("log")).unwrap_or_default();
    assert!(status.is_some_and(|status| status.success()), "{status:?} after {elapsed:?}: {}", log());

    let done = done.lock().unwrap();
    check(&bench, &ids, &results.now(), &done);
    // The control: two keys in each other's envelopes have to be found, and a key for two people too.
    let confuse = |change: fn(&mut Lines)| {
        let mut lines = Lines::clone(&results.now());
        change(&mut lines);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&bench, &ids, &lines, &done)))
    };
    let swapped = confuse(|lines| {
        let (one, other) = two_of(lines);
        let (first, second) = (lines[&one].clone(), lines[&other].clone());
        lines.extend([(one, second), (other, first)]);
    });
    let doubled = confuse(|lines| {
        let (one, other) = two_of(lines);
        let first = lines[&one].clone();
        lines.insert(other, first);
    });
    assert!(swapped.is_err() && doubled.is_err(), "the harness finds keys that were mixed up");
    let spent: Duration = readers.iter().map(Reader::apdu_time).sum();
    let ratio = elapsed.as_secs_f64() / spent.as_secs_f64();
    let figure = format!(
        "complete, 0 duplicates, 0 mix-ups of {} with {} pulls and {kills} kills; {:.0} s, {ratio:.2} x the keys' own time",
        plan.keys,
        pulls.load(Ordering::Relaxed),
        elapsed.as_secs_f64(),
    );
    let makers = if plan.models.len() > 1 { " of four makers" } else { "" };
    let name = format!("a batch of keys{makers} in {} readers", plan.readers);
    assert_eq!(kills, plan.kills);
    assert!(pulls.load(Ordering::Relaxed) > 0, "no key was pulled");
    let goal = format!("0, 0 of {}, at most 1.2 x", plan.goal);
    report(&name, figure, goal, plan.keys >= plan.goal && ratio <= 1.2);
}

/// The ids of two keys.
fn two_of(lines: &Lines) -> (String, String) {
    let mut ids = lines.keys().cloned();
    (ids.next().unwrap(), ids.next().unwrap())
}

/// Everybody has one key, every key one account, and it is that user's: the key's code is taken.
fn check(bench: &Bench, ids: &BTreeMap<String, String>, results: &Lines, keys: &[Key]) {
    let named: BTreeSet<&String> = results.values().map(|(user, _)| user).collect();
    assert_eq!((results.len(), named.len(), keys.len()), (ids.len(), ids.len(), ids.len()));
    for key in keys {
        let (user, status) = &results[&key.id()];
        assert_eq!(status, "done", "key {}", key.serial());
        let names: Vec<_> = key.accounts().iter().map(|a| String::from_utf8_lossy(&a.name).into_owned()).collect();
        assert_eq!(names, [format!("mfad:{user}")], "key {}", key.serial());
        let code = key.code_at(&names[0], (otp::step(30) + 1) * 30);
        let answer = bench.host.verify(&ids[user], &json!({"token": code}));
        assert_eq!(answer.status, 200, "key {} of {user}: {}", key.serial(), answer.text());
    }
}

#[test]
fn r17_a_batch_of_keys_with_pulls_and_kills_ends_complete() {
    run(
        "r17_a_batch_of_keys_with_pulls_and_kills_ends_complete",
        &Plan {
            keys: 24,
            models: &[Model::YubiKey],
            full: 0,
            readers: 4,
            pull_every: 5,
            kills: 2,
            cost: Duration::from_millis(20),
            patience: Duration::from_secs(180),
            goal: 500,
        },
    );
}

#[test]
#[ignore = "takes minutes: 500 keys at the pace of real ones"]
fn r17_a_batch_of_500_keys_with_pulls_and_kills_ends_complete() {
    run(
        "r17_a_batch_of_500_keys_with_pulls_and_kills_ends_complete",
        &Plan {
            keys: 500,
            models: &[Model::YubiKey],
            full: 0,
            readers: 8,
            pull_every: 20,
            kills: 2,
            cost: Duration::from_millis(20),
            patience: Duration::from_secs(1200),
            goal: 500,
        },
    );
}

#[test]
fn r17_a_batch_of_keys_of_four_makers_ends_complete() {
    run(
        "r17_a_batch_of_keys_of_four_makers_ends_complete",
        &Plan {
            keys: 20,
            models: &Model::ALL,
            full: 3,
            readers: 4,
            pull_every: 5,
            kills: 2,
            cost: Duration::from_millis(20),
            patience: Duration::from_secs(180),
            goal: 200,
        },
    );
}

#[test]
#[ignore = "takes minutes: 200 keys at the pace of real ones"]
fn r17_a_batch_of_200_keys_of_four_makers_with_pulls_and_kills_ends_complete() {
    run(
        "r17_a_batch_of_200_keys_of_four_makers_with_pulls_and_kills_ends_complete",
        &Plan {
            keys: 200,
            models: &Model::ALL,
            full: 3,
            readers: 8,
            pull_every: 19,
            kills: 2,
            cost: Duration::from_millis(20),
            patience: Duration::from_secs(1200),
            goal: 200,
        },
    );
}

/// Files in a directory, by how their names end.
fn kept(directory: &Path, ending: &str) -> usize {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().ends_with(ending)).count()
}

fn batch_of(bench: &Bench, manifest: &Path, more: &[&str]) -> Child {
    let mut command = Command::new(mfad_testkit::program("mfactl"));
    command.arg("--socket").arg(bench.host.socket()).args(["--no-input", "--yes", "provision", "batch"]).arg(manifest);
    command.args(["--reason", "first day"]).args(more).env_remove("MFAD_SOCKET");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_batch_with_spares_keeps_receipts_and_codes_and_protects_the_keys() {
    if !can_have_readers("a_batch_with_spares_keeps_receipts_and_codes_and_protects_the_keys") {
        return;
    }
    let bench = Bench::new(2, "");
    let ann = bench.host.nobody("ann");
    let manifest = bench.file("staff.csv", "user,label,touch\nann,blue,no\n");
    let (receipts, codes) = (manifest.with_file_name("receipts"), manifest.with_file_name("codes"));
    bench.insert(0, Key::new(21));
    bench.insert(1, Key::new(22));
    let folders = ["--receipts", receipts.to_str().unwrap(), "--codes", codes.to_str().unwrap()];
    let mut batch = batch_of(&bench, &manifest, &[&["--spare", "--protect", "--no-wait"], &folders[..]].concat());

    let status = wait(&mut batch, Duration::from_secs(60));

    assert!(status.is_some_and(|status| status.success()), "{status:?}");
    assert_eq!((kept(&receipts, ".receipt"), kept(&codes, ".codes")), (2, 1));
    let listed = bench.host.ask(&crate::wire::Request::get(format!("/users/{ann}/secrets"))).ok();
    let on_keys: BTreeSet<(u64, String)> = listed["secrets"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|secret| secret["type"] == "mfa")
        .map(|secret| (secret["device"]["serial"].as_u64().unwrap(), secret["status"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(on_keys, [21, 22].map(|serial| (serial, "active".to_owned())).into(), "{listed}");
    for key in bench.devices() {
        assert_eq!(key["oath"]["locked"], true, "{key}");
    }
}

#[test]
fn a_batch_that_is_interrupted_goes_on_where_it_was() {
    if !can_have_readers("a_batch_that_is_interrupted_goes_on_where_it_was") {
        return;
    }
    let bench = Bench::new(1, "");
    bench.host.nobody("ann");
    bench.host.nobody("bob");
    let manifest = bench.file("staff.csv", "user\nann\nbob\n");
    let results = Results::of(&manifest);
    bench.insert(0, Key::new(31));
    let mut batch = batch_of(&bench, &manifest, &[]);
    let until = |count: usize, batch: &mut Child| {
        let started = Instant::now();
        while results.now().len() < count {
            assert!(started.elapsed() < Duration::from_secs(60) && batch.try_wait().unwrap().is_none());
            thread::sleep(GLANCE);
        }
    };
    until(1, &mut batch);

    rustix::process::kill_process(rustix::process::Pid::from_child(&batch), rustix::process::Signal::INT).unwrap();

    let status = wait(&mut batch, Duration::from_secs(20));
    assert_eq!(status.and_then(|status| status.code()), Some(130), "{status:?}");
    let mut again = batch_of(&bench, &manifest, &[]);
    bench.pull(0);
    bench.insert(0, Key::new(32));
    let status = wait(&mut again, Duration::from_secs(60));
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
    let done: BTreeSet<String> = results.now().values().map(|(user, _)| user.clone()).collect();
    assert_eq!(done, ["ann", "bob"].map(str::to_owned).into());
}

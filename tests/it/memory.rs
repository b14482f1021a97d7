//! What a daemon that has been idle for five seconds still holds of what it was told and told others:
//! nothing (MEM-3). Nor does a core of it (MEM-4).

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use serde_json::json;

use crate::host::Host;
use crate::identity::can_be_others;
use crate::leaks::stories;
use crate::master_key::rotate;
use crate::needles::Needles;
use crate::proof::{report, size};
use crate::wire::Request;

/// What lies in the writable memory of the daemon.
pub fn found(host: &Host, needles: &Needles) -> Vec<String> {
    // Taken as fast as possible, then searched: what is there changes all the time.
    memory_of(host).iter().flat_map(|part| needles.hits("memory", &part.bytes)).collect()
}

/// A part of the daemon's memory.
struct Part {
    bytes: Vec<u8>,
    /// It is neither swapped out nor part of a dump.
    is_locked: bool,
    /// As the kernel names it.
    line: String,
}

/// The mappings that are locked and left out of dumps, by their first line.
fn locked_mappings(host: &Host) -> HashSet<String> {
    let maps = fs::read_to_string(format!("/proc/{}/smaps", host.pid())).unwrap();
    let mut first = "";
    let mut locked = HashSet::new();
    for line in maps.lines() {
        match line.strip_prefix("VmFlags:") {
            Some(flags) if ["lo", "dd"].iter().all(|flag| flags.split_whitespace().any(|found| found == *flag)) => {
                locked.insert(first.to_owned());
            }
            None if line.split(' ').next().is_some_and(|start| start.contains('-')) => first = line,
            Some(_) | None => {}
        }
    }
    locked
}

/// All writable memory of the daemon.
fn memory_of(host: &Host) -> Vec<Part> {
    let locked = locked_mappings(host);
    let part = |(line, bytes): (String, Vec<u8>)| Part { is_locked: locked.contains(&line), bytes, line };
    writable_memory(host.pid()).into_iter().map(part).collect()
}

/// The writable mappings of a process: each as the kernel names it, with its bytes.
pub fn writable_memory(pid: u32) -> Vec<(String, Vec<u8>)> {
    let memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let read_maps = || fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let maps = read_maps();
    let mut blocks = Vec::new();
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (range, rights) = (fields.next().unwrap(), fields.next().unwrap());
        if !rights.contains('w') || line.contains("[v") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|at| u64::from_str_radix(at, 16).unwrap());
        let mut block = vec![0; usize::try_from(end - start).unwrap()];
        // What was unmapped since holds nothing.
        match memory.read_exact_at(&mut block, start) {
            Ok(()) => blocks.push((line.to_owned(), block)),
            Err(why) => assert!(!read_maps().contains(line), "memory that is there cannot be read: {why}: {line}"),
        }
    }
    blocks
}

/// What lies in a core that root has a debugger write.
fn found_in_core(host: &Host, needles: &Needles) -> Vec<String> {
    let path = host.dirs.dir.path().join("core");
    let gcore = Command::new("gcore").arg("-o").arg(&path).arg(host.pid().to_string()).output().expect("gdb is there");
    assert!(gcore.status.success(), "{}", String::from_utf8_lossy(&gcore.stderr));
    let core = path.with_extension(host.pid().to_string());
    let hits = needles.hits("a core", &fs::read(&core).unwrap());
    fs::remove_file(core).unwrap();
    hits
}

#[test]
fn mem_3_five_seconds_after_the_last_request_no_secret_is_left_in_memory() {
    if !can_be_others("mem_3_five_seconds_after_the_last_request_no_secret_is_left_in_memory") {
        return;
    }
    let host = Host::start("");
    let mut needles = stories(&host, size(4, 30));
    // The control: what a connection that is still open was told is found.
    let mut open = host.connect();
    let planted = "planted and to be found";
    open.ask(&Request::post("/auth/password", &json!({"id": "somebody else", "password": planted})))
        .refused(401, "wrong-credentials");
    let mut control = Needles::default();
    control.put("planted", planted.as_bytes());
    assert!(found(&host, &control).contains(&"planted in memory".to_owned()), "the search finds what is there");
    assert!(found_in_core(&host, &control).contains(&"planted in a core".to_owned()), "and in a core");
    needles.put("planted", planted.as_bytes());

    thread::sleep(Duration::from_secs(5));

    let blocks = memory_of(&host);
    let searched: usize = blocks.iter().map(|part| part.bytes.len()).sum();
    assert!(searched > 1 << 20, "{searched} bytes are all its memory");
    let hits: Vec<String> = blocks.iter().flat_map(|part| needles.hits("memory", &part.bytes)).collect();
    assert_eq!(hits, Vec::<String>::new());
    assert_eq!(found_in_core(&host, &needles), Vec::<String>::new());
    let figure = format!("0 of {} in {} forms in {} MiB", needles.secrets(), needles.forms(), searched / (1024 * 1024));
    report("secrets in memory and in a core after 5 s", figure, "0 of 1,000", needles.secrets() >= 1_000);
}

/// The labels of the keys that are made of the master key, as `docs/design.md` has them.
const SUB_KEYS: [&str; 6] = [
    "mfad seal v1",
    "mfad key check v1",
    "mfad audit head v1",
    "mfad refresh v1",
    "mfad unknown logins v1",
    "mfad backup v1",
];

const MASTER: &str = "the master key";

fn sub_key(master: &[u8], label: &str) -> Vec<u8> {
    let mut key = vec![0; 32];
    hkdf::Hkdf::<sha2::Sha256>::new(None, master).expand(label.as_bytes(), &mut key).unwrap();
    key
}

/// Where the master key or a key made of it lies outside of locked pages, and how many keys lie in them.
fn keys_in_memory(host: &Host) -> (Vec<String>, usize) {
    let master = fs::read(host.dirs.state.join("master.key")).unwrap();
    let mut needles = Needles::default();
    // Half of a key is half of what keeps the store.
    master.chunks(16).for_each(|half| needles.put(MASTER, half));
    for label in SUB_KEYS {
        sub_key(&master, label).chunks(16).for_each(|half| needles.put(label, half));
    }
    let (mut loose, mut kept) = (Vec::new(), BTreeSet::new());
    for part in memory_of(host) {
        for name in needles.hits("memory", &part.bytes) {
            if part.is_locked && !name.starts_with(MASTER) {
                kept.insert(name);
            } else {
                loose.push(format!("{name}: {}", part.line));
            }
        }
    }
    (loose, kept.len())
}

#[test]
fn key_1_the_master_key_and_all_keys_made_of_it_lie_in_locked_pages_or_nowhere() {
    if !can_be_others("key_1_the_master_key_and_all_keys_made_of_it_lie_in_locked_pages_or_nowhere") {
        return;
    }
    let none = || Vec::<String>::new();
    let mut host = Host::start("");
    assert_eq!(keys_in_memory(&host), (none(), SUB_KEYS.len()), "after the start");

    let (mut anna, mut factor, _) = host.guarded("anna");
    host.log_in(&mut anna, &mut factor);
    host.ask(&Request::post("/auth/password", &json!({"id": "nobody", "password": "not the password"})))
        .refused(401, "wrong-credentials");
    assert_eq!(host.ask(&Request::new("POST", "/backup").reason()).status, 200);
    assert_eq!(keys_in_memory(&host).0, none(), "after logins and a backup");

    rotate(&host, None);
    host.log_in(&mut anna, &mut factor);
    assert_eq!(keys_in_memory(&host).0, none(), "after a change of the master key");

    host.stop();
    host.start_again();
    host.log_in(&mut anna, &mut factor);
    assert_eq!(keys_in_memory(&host), (none(), SUB_KEYS.len()), "after another start");
    report("keys of the store in pages that may be swapped or dumped", "0 of 7", "0 of 7, stacks included", true);
}

#[test]
fn mem_4_a_daemon_that_is_made_to_crash_leaves_no_core() {
    if !can_be_others("mem_4_a_daemon_that_is_made_to_crash_leaves_no_core") {
        return;
    }
    let mut host = Host::start("");

    kill_process(host.process(), Signal::ABORT).unwrap();

    let ended = host.ended();
    assert_eq!((ended.signal(), ended.core_dumped()), (Some(Signal::ABORT.as_raw()), false));
}

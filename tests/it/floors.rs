//! The floors of `docs/design.md`: a room imports only from floors below it, and rooms of one floor
//! do not know each other.

use std::fs;
use std::path::{Path, PathBuf};

/// Each room with its floor. Rooms that share a floor may not import each other.
const FLOORS: [(&str, u32); 18] = [
    ("model", 1),
    ("stopwatch", 1),
    ("sync", 1),
    ("entropy", 2),
    ("headroom", 2),
    ("device", 3),
    ("card", 4),
    ("ctap", 4),
    ("store", 5),
    ("oath", 5),
    ("fido", 5),
    ("piv", 5),
    ("token", 5),
    ("error", 6),
    ("service", 7),
    ("http", 8),
    ("config", 9),
    ("daemon", 10),
];
/// The door may not look behind the service, whatever floor it stands on.
const HIDDEN_FROM_HTTP: [&str; 7] = ["store", "token", "device", "card", "ctap", "piv", "fido"];

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![mfad_testkit::root().join("src")];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    found
}

fn room_of(path: &Path) -> Option<String> {
    let inside = path.strip_prefix(mfad_testkit::root().join("src")).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
    let room = first.strip_suffix(".rs").unwrap_or(first);
    FLOORS.iter().any(|(name, _)| *name == room).then(|| room.to_owned())
}

/// Every room that the text names as `crate::ROOM`, wherever it does.
fn rooms_named(text: &str) -> Vec<&str> {
    text.split("crate::")
        .skip(1)
        .map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap())
        .filter(|word| FLOORS.iter().any(|(name, _)| name == word))
        .collect()
}

fn floor(room: &str) -> u32 {
    FLOORS.iter().find(|(name, _)| *name == room).unwrap().1
}

fn offences(room: &str, text: &str) -> Vec<String> {
    rooms_named(text)
        .into_iter()
        .filter(|used| *used != room)
        .filter(|used| {
            let is_hidden = room == "http" && HIDDEN_FROM_HTTP.contains(used);
            floor(used) >= floor(room) || is_hidden
        })
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_room_imports_only_from_the_floors_below_it() {
    let mut seen = 0;
    for path in sources() {
        let Some(room) = room_of(&path) else { continue };
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(offences(&room, &text), Vec::<String>::new(), "{}", path.display());
        seen += 1;
    }
    assert!(seen > 40, "the sources were not found");
}

#[test]
fn the_check_itself_finds_an_offence() {
    assert_eq!(offences("store", "use crate::oath::hotp;"), ["oath"]);
    assert_eq!(offences("model", "fn x() { crate::service::y() }"), ["service"]);
    assert_eq!(offences("http", "use crate::store::Store;"), ["store"]);
    assert_eq!(offences("service", "use crate::store::Store;"), Vec::<String>::new());
}

/// What the rooms whose threads wait for each other take from `crate::sync`, so that tests can decide whose turn it is.
const FROM_SYNC: [&str; 6] = ["Condvar", "Mutex", "RwLock", "mpsc", "AtomicBool", "std::thread"];

fn waits_by_itself(text: &str) -> bool {
    let production = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    production
        .lines()
        .filter(|line| line.contains("std::"))
        .any(|line| FROM_SYNC.iter().any(|word| line.contains(word)))
}

#[test]
fn the_rooms_whose_threads_wait_for_each_other_take_locks_and_threads_from_sync() {
    let waiting = sources().into_iter().filter(|path| {
        let is_test = path.file_name().is_some_and(|name| name == "tests.rs");
        room_of(path).is_some_and(|room| ["service", "store", "token"].contains(&room.as_str())) && !is_test
    });
    let files: Vec<PathBuf> = waiting.collect();
    assert!(files.len() > 30, "the sources were not found");
    for path in files {
        assert!(!waits_by_itself(&fs::read_to_string(&path).unwrap()), "{}", path.display());
    }
    assert!(waits_by_itself("use std::sync::{Arc, Mutex};"));
    assert!(waits_by_itself("use std::sync::atomic::{AtomicBool, Ordering};"));
    assert!(waits_by_itself("let thread = std::thread::spawn(|| {});"));
    assert!(!waits_by_itself("use std::sync::Arc;\nuse crate::sync::Mutex;"));
}

#[test]
fn every_file_says_what_it_is_for() {
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//! "), "{} does not open with //!", path.display());
    }
}

//! The layers of `docs/design.md`: which crate may use which, that the documents draw the same, and the rules inside the
//! crates that Cargo does not check.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each crate with its layer and the crates that it may use. Cargo refuses a circle; this refuses an arrow that nobody drew.
const CRATES: [(&str, u32, &[&str]); 13] = [
    ("core", 1, &[]),
    ("api", 1, &[]),
    ("hardware", 2, &["core"]),
    ("store", 2, &["api", "core"]),
    ("client", 2, &["api"]),
    ("import", 2, &["core"]),
    ("service", 3, &["api", "core", "hardware", "store"]),
    ("mfactl", 3, &["api", "break_glass", "client", "core", "import"]),
    ("pam_mfad", 3, &["api", "break_glass", "client"]),
    ("break_glass", 2, &["api"]),
    ("pam_try", 1, &[]),
    ("mfad", 4, &["api", "core", "hardware", "service", "store"]),
    ("testkit", 5, &["core", "hardware", "mfad", "service", "store"]),
];
/// The HTTP layer sees the service and not what is below it.
const HIDDEN_FROM_HTTP: [&str; 4] = ["mfad_store", "mfad_hardware", "mfad_service::token", "mfad_service::fido"];
/// The longest file, in lines. A longer one holds two things.
const LONGEST_FILE: usize = 500;

fn root() -> PathBuf {
    mfad_testkit::root()
}

fn source_dir(name: &str) -> PathBuf {
    root().join("crates").join(name).join("src")
}

/// The Rust files below a directory.
fn files_in(dir: PathBuf) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![dir]);
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}

fn sources() -> Vec<PathBuf> {
    CRATES.iter().flat_map(|(name, ..)| files_in(source_dir(name))).collect()
}

/// A file without its unit tests.
fn production(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap()
}

/// The crates of this workspace under `[dependencies]` of a manifest.
fn used(manifest: &str) -> BTreeSet<String> {
    let dependencies = manifest.split("\n[dependencies]\n").nth(1).unwrap_or_default();
    let dependencies = dependencies.split("\n[").next().unwrap();
    let paths = dependencies.lines().filter_map(|line| line.split_once("path = \"../"));
    paths.map(|(_, path)| path.split('"').next().unwrap().to_owned()).collect()
}

#[test]
fn a_crate_uses_only_crates_of_lower_layers_and_those_that_are_drawn() {
    let there: BTreeSet<String> = fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(there, CRATES.iter().map(|(name, ..)| (*name).to_owned()).collect());

    let layer = |wanted: &str| CRATES.iter().find(|(name, ..)| *name == wanted).unwrap().1;
    for (name, own, may_use) in CRATES {
        let manifest = fs::read_to_string(root().join("crates").join(name).join("Cargo.toml")).unwrap();
        assert_eq!(used(&manifest), may_use.iter().map(|name| (*name).to_owned()).collect(), "{name}");
        assert!(may_use.iter().all(|other| layer(other) < own), "{name} uses a crate that is not below it");
    }
}

#[test]
fn the_documents_draw_these_crates() {
    let design = fs::read_to_string(root().join("docs/design.md")).unwrap();
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for (name, layer, may_use) in CRATES {
        let uses = if may_use.is_empty() { "nothing".to_owned() } else { may_use.join(", ") };
        let row = format!("| {layer} | `{name}` | {uses} |");
        assert!(design.contains(&row), "docs/design.md has no row {row}");
        assert!(readme.contains(&format!("| `crates/{name}/` |")), "README.md has no row for {name}");
        assert!(source_dir(name).parent().unwrap().join("README.md").exists(), "{name} has no README.md");
    }
}

#[test]
fn the_http_layer_sees_the_service_and_nothing_below_it() {
    let files = files_in(source_dir("mfad").join("http"));
    assert!(files.len() > 15, "the sources were not found");
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        for hidden in HIDDEN_FROM_HTTP {
            assert!(!production(&text).contains(hidden), "{} names {hidden}", path.display());
        }
    }
}

/// The module of a file, as the parts of its path.
fn module_of(dir: &Path, file: &Path) -> Vec<String> {
    let inside = file.strip_prefix(dir).unwrap().with_extension("");
    let mut parts: Vec<String> = inside.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if parts.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        parts.pop();
    }
    parts
}

/// The paths in a `use` tree such as `{a, b::{c, d}}`, each behind the prefix.
fn expand(prefix: &str, tree: &str, into: &mut Vec<String>) {
    let Some((head, rest)) = tree.split_once('{') else {
        into.push(format!("{prefix}{tree}"));
        return;
    };
    let prefix = format!("{prefix}{head}");
    let (mut depth, mut start) = (0, 0);
    let inner = rest.strip_suffix('}').unwrap_or(rest);
    for (at, letter) in inner.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&prefix, &inner[start..at], into);
                start = at + 1;
            }
            _ => {}
        }
    }
    if start < inner.len() {
        expand(&prefix, &inner[start..], into);
    }
}

/// The paths that a file names from `crate` or `super`.
fn paths_named(text: &str) -> Vec<String> {
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut named = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_' || letter == ':') {
                continue;
            }
            let is_use = code[..at].trim_end().ends_with("use");
            let end = if is_use {
                code[at..].find(';').unwrap()
            } else {
                code[at..].find(|letter: char| !letter.is_alphanumeric() && letter != '_' && letter != ':').unwrap()
            };
            let tree: String = code[at..at + end].chars().filter(|letter| !letter.is_whitespace()).collect();
            expand("", &tree, &mut named);
        }
    }
    named
}

/// The module that a path names, of those that there are.
fn resolve(from: &[String], path: &str, modules: &BTreeMap<Vec<String>, PathBuf>) -> Option<Vec<String>> {
    let mut segments = path.split("::").peekable();
    let mut at = if segments.peek() == Some(&"crate") { Vec::new() } else { from.to_vec() };
    while let Some(segment) = segments.next_if(|segment| ["crate", "super"].contains(segment)) {
        if segment == "super" {
            at.pop();
        }
    }
    let mut found = None;
    for segment in segments {
        at.push(segment.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next().unwrap().to_owned());
        if modules.contains_key(&at) {
            found = Some(at.clone());
        } else {
            break;
        }
    }
    found
}

type Graph = BTreeMap<Vec<String>, BTreeSet<Vec<String>>>;

/// Which file of a crate names which other. A folder and what is in it are one thing here.
fn graph_of(dir: &Path) -> Graph {
    let modules: BTreeMap<Vec<String>, PathBuf> = files_in(dir.to_owned())
        .into_iter()
        .map(|file| (module_of(dir, &file), file))
        .filter(|(module, _)| module.last().is_none_or(|last| last != "tests"))
        .collect();
    let is_family = |one: &[String], other: &[String]| one.starts_with(other) || other.starts_with(one);
    let arrows = |(module, file): (&Vec<String>, &PathBuf)| {
        let text = fs::read_to_string(file).unwrap();
        let named = paths_named(production(&text)).into_iter().filter_map(|path| resolve(module, &path, &modules));
        (module.clone(), named.filter(|other| !is_family(module, other)).collect())
    };
    modules.iter().map(arrows).collect()
}

/// The files that are left when those that name none of the rest are taken away again and again: the circles.
fn circles(mut graph: Graph) -> Graph {
    loop {
        let free: BTreeSet<Vec<String>> =
            graph.iter().filter(|(_, named)| named.is_empty()).map(|(module, _)| module.clone()).collect();
        if free.is_empty() {
            return graph;
        }
        graph.retain(|module, _| !free.contains(module));
        for named in graph.values_mut() {
            named.retain(|other| !free.contains(other));
        }
    }
}

#[test]
fn no_files_of_a_crate_name_each_other_in_a_circle() {
    let mut arrows = 0;
    for (name, ..) in CRATES.iter().filter(|(name, ..)| *name != "testkit") {
        let graph = graph_of(&source_dir(name));
        arrows += graph.values().map(BTreeSet::len).sum::<usize>();

        assert_eq!(circles(graph), Graph::new(), "{name}");
    }
    assert!(arrows > 300, "the arrows were not found");
}

#[test]
fn the_check_of_circles_finds_one() {
    let graph = |arrows: &[(&str, &[&str])]| -> Graph {
        let module = |name: &str| vec![name.to_owned()];
        arrows.iter().map(|(from, to)| (module(from), to.iter().map(|name| module(name)).collect())).collect()
    };
    let mut named = Vec::new();
    expand("", "crate::{a,b::{C,d}}", &mut named);

    assert_eq!(named, ["crate::a", "crate::b::C", "crate::b::d"]);
    assert!(circles(graph(&[("a", &["b"]), ("b", &["c"]), ("c", &[])])).is_empty());
    assert_eq!(circles(graph(&[("a", &["b"]), ("b", &["a"]), ("c", &[])])).len(), 2);
}

/// What the crates whose threads wait for each other take from `mfad_core::sync`, so that tests can schedule them.
const FROM_SYNC: [&str; 6] = ["Condvar", "Mutex", "RwLock", "mpsc", "AtomicBool", "std::thread"];

fn waits_by_itself(text: &str) -> bool {
    production(text)
        .lines()
        .filter(|line| line.contains("std::"))
        .any(|line| FROM_SYNC.iter().any(|word| line.contains(word)))
}

#[test]
fn crates_whose_threads_wait_for_each_other_take_locks_and_threads_from_sync() {
    let files: Vec<PathBuf> = ["service", "store"]
        .iter()
        .flat_map(|name| files_in(source_dir(name)))
        .filter(|path| !path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs"))
        .collect();
    assert!(files.len() > 30, "the sources were not found");
    for path in files {
        assert!(!waits_by_itself(&fs::read_to_string(&path).unwrap()), "{}", path.display());
    }
    assert!(waits_by_itself("use std::sync::{Arc, Mutex};"));
    assert!(waits_by_itself("use std::sync::atomic::{AtomicBool, Ordering};"));
    assert!(waits_by_itself("let thread = std::thread::spawn(|| {});"));
    assert!(!waits_by_itself("use std::sync::Arc;\nuse mfad_core::sync::Mutex;"));
}

#[test]
fn every_file_says_what_it_is_for_and_none_is_too_long() {
    let files = sources();
    assert!(files.len() > 150, "the sources were not found");
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//! "), "{} does not open with //!", path.display());
        assert!(text.lines().count() <= LONGEST_FILE, "{} is too long", path.display());
    }
}

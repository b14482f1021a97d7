//! The man page of the module and its document name what the module knows, and nothing else.

use std::collections::BTreeSet;
use std::fs;

fn read(path: &str) -> String {
    fs::read_to_string(mfad_testkit::root().join(path)).unwrap()
}

/// The options that the module reads, from its source.
fn options() -> BTreeSet<String> {
    let source = read("crates/pam_mfad/src/options.rs");
    let body = source.split("match (name, value) {").nth(1).unwrap().split("_ => return Err").next().unwrap();
    let names = body.lines().filter_map(|line| line.trim().strip_prefix("(\"")?.split('"').next());
    names.map(str::to_owned).collect()
}

#[test]
fn the_man_page_has_every_option_and_no_other() {
    let page = read("packaging/pam/pam_mfad.8");
    let section = page.split(".SH OPTIONS").nth(1).unwrap().split("\n.SH ").next().unwrap();
    let heads = section.split(".TP\n").skip(1).map(|entry| entry.lines().next().unwrap());
    let named: BTreeSet<String> =
        heads.map(|head| head.split_once(' ').unwrap().1.split(['=', ' ']).next().unwrap().to_owned()).collect();

    assert!(options().len() > 10, "{:?}", options());
    assert_eq!(named, options());
}

#[test]
fn the_document_uses_only_options_that_there_are() {
    let known = options();
    let text = read("docs/pam.md");
    let lines = text.lines().filter_map(|line| line.split("pam_mfad.so ").nth(1));
    let mut used = 0;
    for word in lines.flat_map(|rest| rest.split('`').next().unwrap().split_whitespace()) {
        let name = word.split('=').next().unwrap();
        assert!(known.contains(name), "{word}");
        used += 1;
    }
    assert!(used > 3, "the lines were not found");
}

#[test]
fn every_file_of_the_packages_is_there_or_is_built() {
    for manifest in ["crates/mfad", "crates/pam_mfad"] {
        let text = read(&format!("{manifest}/Cargo.toml"));
        let assets = text.split("assets = [").nth(1).unwrap().split("\n]").next().unwrap();
        let sources: Vec<&str> =
            assets.lines().filter_map(|line| line.trim().strip_prefix("[\"")?.split('"').next()).collect();
        assert!(sources.len() >= 4, "{manifest}");
        for source in sources {
            let path = mfad_testkit::root().join(manifest).join(source);
            let dir = path.parent().unwrap();
            // cargo-deb takes only these from the target directory.
            let is_built = source.starts_with("target/release/");
            assert!(is_built || path.exists() || (source.contains('*') && dir.exists()), "{source}");
        }
    }
}

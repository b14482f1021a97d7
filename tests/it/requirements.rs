//! Every requirement id that the sources cite is defined in `docs/requirements.md`.
//!
//! An id is a prefix and a number: `STO-6`, or `R9` where the prefix is one letter. The known prefixes are those of the
//! document. The check sees:
//! - a whole word of two or more capital letters, a hyphen and a number. An unknown prefix counts too, unless it is in
//!   `FOREIGN`, so both a new number and a new prefix are found;
//! - a whole word of one capital letter and a number below 100, if the letter is a known prefix;
//! - the known prefixes that begin the name of a function, each with its number, also joined by `and`: `fn sto_6_`,
//!   `fn r9_`, `fn a7_and_sto_6_`.
//!
//! It does not see the numbers that continue a list or a range (`STO-1, 2`), ids further inside the name of a function,
//! unknown prefixes in lower case, and unknown prefixes of one letter. An id of a standard that looks like one of ours
//! counts as ours; RFC 4226 has requirements named `R1` to `R10`.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// The top of the repository, from the package of the tests.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const DOCUMENT: &str = "docs/requirements.md";
/// A definition is a line that starts so; the id follows, and `**` after it.
const DEFINITION: &str = "- **";
/// Directories that are searched, as far as they exist.
const PLACES: [&str; 7] = ["src", "crates", "tests", "benches", "fuzz/fuzz_targets", "fuzz/src", "docs"];
/// Directories below them that hold no sources. Those whose name begins with a dot are left out, too.
const SKIPPED: [&str; 6] = ["target", "corpus", "corpora", "golden", "node_modules", "__pycache__"];
/// The extensions of files that are read; some scripts have none.
const EXTENSIONS: [&str; 6] = ["", "rs", "md", "yaml", "toml", "py"];
/// Standards and licences whose names look like ids.
const FOREIGN: [&str; 6] = ["AES", "BSD", "MPL", "RFC", "SHA", "UTF"];

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Id {
    prefix: String,
    number: u32,
}

impl Id {
    /// Reads a whole word as an id.
    fn parse(word: &str) -> Option<Self> {
        let (prefix, digits) = match word.split_once('-') {
            Some((prefix, digits)) if prefix.len() > 1 => (prefix, digits),
            Some(_) => return None,
            None => word.split_at_checked(1)?,
        };
        let is_prefix = prefix.bytes().all(|byte| byte.is_ascii_uppercase());
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
        if !is_prefix || !is_number {
            return None;
        }
        Some(Self { prefix: prefix.to_owned(), number: digits.parse().ok()? })
    }

    fn has_hyphen(&self) -> bool {
        self.prefix.len() > 1
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hyphen = if self.has_hyphen() { "-" } else { "" };
        write!(f, "{}{hyphen}{}", self.prefix, self.number)
    }
}

/// The ids that a document defines, in its order.
fn definitions(document: &str) -> Vec<Id> {
    let entries = document.lines().filter_map(|line| line.strip_prefix(DEFINITION));
    entries.map(|entry| Id::parse(entry.split("**").next().unwrap()).unwrap_or_else(|| panic!("{entry}"))).collect()
}

fn is_outside_of_words(c: char) -> bool {
    !c.is_ascii_alphanumeric() && c != '-' && c != '_'
}

/// The ids that a document defines, and their prefixes.
struct Known {
    ids: BTreeSet<Id>,
    prefixes: BTreeSet<String>,
}

impl Known {
    fn of(document: &str) -> Self {
        let ids: BTreeSet<Id> = definitions(document).into_iter().collect();
        let prefixes = ids.iter().map(|id| id.prefix.clone()).collect();
        Self { ids, prefixes }
    }

    /// The ids that a text cites, as words and in the names of functions.
    fn cited(&self, text: &str) -> BTreeSet<Id> {
        let words = text.split(is_outside_of_words).map(|word| word.trim_matches('-'));
        let mut found: BTreeSet<Id> = words.filter_map(Id::parse).filter(|id| self.counts(id)).collect();
        for definition in text.split("fn ").skip(1) {
            found.extend(self.leading(definition.split(is_outside_of_words).next().unwrap()));
        }
        found
    }

    fn has_prefix_of(&self, id: &Id) -> bool {
        self.prefixes.contains(&id.prefix)
    }

    fn counts(&self, id: &Id) -> bool {
        if id.has_hyphen() {
            self.has_prefix_of(id) || !FOREIGN.contains(&id.prefix.as_str())
        } else {
            self.has_prefix_of(id) && id.number < 100
        }
    }

    /// The ids that begin the name of a function. The last of its words belongs to none.
    fn leading(&self, name: &str) -> Vec<Id> {
        let name = name.to_ascii_uppercase();
        let words: Vec<&str> = name.split('_').collect();
        let of_known_prefix = |word: &str| Id::parse(word).filter(|id| self.has_prefix_of(id));
        let mut found = Vec::new();
        let mut at = 0;
        while at + 1 < words.len() {
            if let Some(id) = of_known_prefix(words[at]) {
                found.push(id);
                at += 1;
            } else if let Some(id) = of_known_prefix(&words[at..at + 2].join("-")).filter(|_| at + 2 < words.len()) {
                found.push(id);
                at += 2;
            } else if words[at] == "AND" && !found.is_empty() {
                at += 1;
            } else {
                break;
            }
        }
        found
    }

    fn undefined(&self, text: &str) -> Vec<String> {
        self.cited(text).difference(&self.ids).map(Id::to_string).collect()
    }
}

fn document() -> String {
    fs::read_to_string(Path::new(ROOT).join(DOCUMENT)).unwrap()
}

fn sources() -> Vec<PathBuf> {
    let root = Path::new(ROOT);
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = PLACES.iter().map(|place| root.join(place)).filter(|place| place.is_dir()).collect();
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let extension = path.extension().map_or("", |extension| extension.to_str().unwrap());
            if path.is_dir() {
                if !name.starts_with('.') && !SKIPPED.contains(&name) {
                    open.push(path);
                }
            } else if EXTENSIONS.contains(&extension) && path != root.join(DOCUMENT) {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn every_requirement_that_is_cited_is_defined() {
    let known = Known::of(&document());
    let mut cited = BTreeSet::new();
    let mut undefined = Vec::new();
    for path in sources() {
        let bytes = fs::read(&path).unwrap();
        // A file that is no text cites nothing.
        let Ok(text) = str::from_utf8(&bytes) else { continue };
        cited.extend(known.cited(text));
        undefined.extend(known.undefined(text).into_iter().map(|id| format!("{}: {id}", path.display())));
    }

    assert!(cited.len() > 90, "the sources were not found");
    assert!(undefined.is_empty(), "{DOCUMENT} does not define:\n{}", undefined.join("\n"));
}

#[test]
fn the_definitions_are_unique_and_sorted() {
    let all = definitions(&document());
    assert!(all.len() > 150, "the definitions were not found");
    for pair in all.windows(2) {
        let is_in_order = pair[0].prefix != pair[1].prefix || pair[0].number < pair[1].number;
        assert!(is_in_order, "{} stands before {}", pair[0], pair[1]);
    }

    let mut prefixes: Vec<&str> = all.iter().map(|id| id.prefix.as_str()).collect();
    prefixes.dedup();
    let distinct: BTreeSet<&str> = prefixes.iter().copied().collect();
    assert_eq!(prefixes.len(), distinct.len(), "a prefix has two sections: {prefixes:?}");
}

/// The undefined ids are put together here, so that this file itself cites none.
#[test]
fn the_check_itself_finds_an_undefined_requirement() {
    let known = Known::of("# Title\n\n- **STO-6** A failed fsync is fatal.\n- **R9** Few guesses.\n- no **entry**\n");
    let [new_prefix, new_number] = [("ZZZ", 99), ("STO", 7)].map(|(prefix, number)| format!("{prefix}-{number}"));
    let new_goal = ["R", "10"].concat();
    let in_name = |name: &str| known.undefined(&format!("#[test]\nasync fn {name}() {{}}"));

    assert_eq!(known.undefined(&format!("// {new_prefix}")), [new_prefix.as_str()]);
    assert_eq!(known.undefined(&format!("(`{new_number}`, {new_goal})")), [new_goal.as_str(), new_number.as_str()]);
    assert_eq!(in_name("sto_7_a_failed_sync_ends_it"), [new_number.as_str()]);
    assert_eq!(in_name("sto_6_r10_and_sto_7_it_ends"), [new_goal.as_str(), new_number.as_str()]);

    for fine in ["STO-6: as in R9.", "SHA-256 UTF-8 P-256 X9 U123-4567 [A-Z2-7] BSD-3-Clause", "STO-, R, -6"] {
        assert_eq!(known.undefined(fine), Vec::<String>::new(), "{fine}");
    }
    for fine in ["sto_6_and_r9_it_ends", "it_ends_sto_7_times", "sto_7", "r_10_it", "zzz_99_it", "only_32_bytes"] {
        assert_eq!(in_name(fine), Vec::<String>::new(), "{fine}");
    }
}

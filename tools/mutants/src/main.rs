//! Writes all mutants of cargo-mutants into one tree, each behind a switch, so that one build serves for all of them.
//!
//! `mfad-mutants LIST LEFT_OUT FROM TO`: LIST is what `cargo mutants --list --json` says of the tree FROM. The sources that
//! it names are written to the tree TO, where mutant K happens if `crate::mutant(K)` says so; K is its place in LIST. LEFT_OUT
//! is a JSON list of those to leave out. Standard output says which bytes of the new sources belong to which mutant, and
//! which mutants have no switch: `{"pieces": [[file, start, end, K]…], "without": [K…]}`.

mod edit;
mod switches;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::Path;
use std::{env, fs};

use serde::Deserialize;
use serde_json::json;

use edit::Edits;
use switches::{Mutant, Switches};

#[derive(Deserialize)]
struct Listed {
    file: String,
    genre: String,
    replacement: String,
    span: Range,
}

#[derive(Deserialize)]
struct Range {
    start: Place,
}

/// Both count from one; columns are characters.
#[derive(Deserialize)]
struct Place {
    line: usize,
    column: usize,
}

impl Place {
    fn offset(&self, text: &str) -> usize {
        let line: usize = text.split_inclusive('\n').take(self.line - 1).map(str::len).sum();
        line + text[line..].chars().take(self.column - 1).map(char::len_utf8).sum::<usize>()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [list, left_out, from, to] = arguments.as_slice() else {
        return Err("usage: mfad-mutants LIST LEFT_OUT FROM TO".into());
    };
    let listed: Vec<Listed> = serde_json::from_slice(&fs::read(list)?)?;
    let left_out: BTreeSet<usize> = serde_json::from_slice(&fs::read(left_out)?)?;

    let mut by_file: BTreeMap<&str, Vec<(usize, &Listed)>> = BTreeMap::new();
    for (number, mutant) in listed.iter().enumerate() {
        by_file.entry(&mutant.file).or_default().push((number, mutant));
    }
    let (mut pieces, mut without) = (Vec::new(), Vec::new());
    for (file, listed) in by_file {
        let text = fs::read_to_string(Path::new(from).join(file))?;
        let mutants = listed.iter().filter(|(number, _)| !left_out.contains(number)).map(|(number, mutant)| Mutant {
            number: *number,
            genre: mutant.genre.clone(),
            replacement: mutant.replacement.clone(),
            at: mutant.span.start.offset(&text),
        });
        let mut switches = Switches::new(&text, mutants.collect());
        switches.of(&syn::parse_file(&text)?);
        let (edits, others): (Edits, Vec<usize>) = switches.done();
        without.extend(others);
        let (new, belongs) = edits.carry_out(&text);
        pieces.extend(belongs.into_iter().map(|(range, number)| json!([file, range.start, range.end, number])));
        fs::write(Path::new(to).join(file), new)?;
    }
    println!("{}", json!({"pieces": pieces, "without": without}));
    Ok(())
}

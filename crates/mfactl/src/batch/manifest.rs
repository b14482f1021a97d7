//! The manifest of a batch: CSV (RFC 4180) with one user per line. It is read as a whole before any key is programmed,
//! and errors name their line. A field cannot span several lines.

use std::fs;
use std::path::Path;

use csv::{ReaderBuilder, StringRecord, Trim};

use crate::failure::Failure;

/// Label of a factor if the manifest has none.
const USUAL_LABEL: &str = "key";

/// A user who gets a hardware key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Line number in the manifest, from 1.
    pub line: usize,
    /// Name or uid of the user.
    pub user: String,
    /// Name of the factor.
    pub label: String,
    /// Whether each code needs a touch.
    pub touch: bool,
}

/// Positions of the columns, which may be in any order.
struct Columns {
    user: usize,
    label: Option<usize>,
    touch: Option<usize>,
    /// Number of fields that every line must have.
    count: usize,
}

/// Reads and checks the whole manifest.
pub(super) fn read(path: &Path) -> Result<Vec<Row>, Failure> {
    let wrong = |what: String| Failure::Usage(format!("{}: {what}", path.display()));
    let bytes = fs::read(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line = good.iter().filter(|byte| **byte == b'\n').count().saturating_add(1);
        wrong(format!("line {line} is not UTF-8"))
    })?;
    parse(text).map_err(wrong)
}

fn parse(text: &str) -> Result<Vec<Row>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = (1_usize..).zip(text.lines()).filter(|(_, line)| !is_skipped(line));
    let (number, head) = lines.next().ok_or("the header line is missing; expected: user,label,touch")?;
    let columns = Columns::read(&fields(number, head)?).map_err(|what| format!("line {number}: {what}"))?;
    let mut rows: Vec<Row> = Vec::new();
    for (number, line) in lines {
        let row = columns.row(number, &fields(number, line)?).map_err(|what| format!("line {number}: {what}"))?;
        if let Some(before) = rows.iter().find(|other| other.user == row.user && other.label == row.label) {
            return Err(format!(
                "line {number}: {} with label {} is already on line {}",
                row.user, row.label, before.line
            ));
        }
        rows.push(row);
    }
    Ok(rows)
}

fn is_skipped(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#')
}

/// The fields of one line. The CSV reader accepts a quote that is never closed, so they are counted here.
fn fields(number: usize, line: &str) -> Result<StringRecord, String> {
    if !line.matches('"').count().is_multiple_of(2) {
        return Err(format!("line {number}: unclosed quote"));
    }
    let mut builder = ReaderBuilder::new();
    builder.has_headers(false).flexible(false).comment(Some(b'#')).trim(Trim::All);
    match builder.from_reader(line.as_bytes()).into_records().next() {
        Some(Ok(record)) => Ok(record),
        Some(Err(error)) => Err(format!("line {number}: {error}")),
        None => Err(format!("line {number}: no fields")),
    }
}

impl Columns {
    fn read(head: &StringRecord) -> Result<Self, String> {
        let (mut user, mut label, mut touch) = (None, None, None);
        for (at, name) in head.iter().enumerate() {
            let column = match name {
                "user" => &mut user,
                "label" => &mut label,
                "touch" => &mut touch,
                other => return Err(format!("unknown column {other}; the columns are user, label, touch")),
            };
            if column.replace(at).is_some() {
                return Err(format!("duplicate column {name}"));
            }
        }
        let user = user.ok_or("missing column user")?;
        Ok(Self { user, label, touch, count: head.len() })
    }

    fn row(&self, line: usize, record: &StringRecord) -> Result<Row, String> {
        if record.len() != self.count {
            return Err(format!("{} fields, but the header has {}", record.len(), self.count));
        }
        if record.iter().any(|field| field.chars().any(char::is_control)) {
            return Err("a field contains control characters".to_owned());
        }
        let field = |at: Option<usize>| at.and_then(|at| record.get(at)).filter(|text| !text.is_empty());
        Ok(Row {
            line,
            user: field(Some(self.user)).ok_or("the user is missing")?.to_owned(),
            label: field(self.label).unwrap_or(USUAL_LABEL).to_owned(),
            touch: match field(self.touch) {
                Some("yes" | "true") => true,
                None | Some("no" | "false") => false,
                Some(other) => return Err(format!("touch must be yes or no, not {other}")),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(line: usize, user: &str, label: &str, touch: bool) -> Row {
        Row { line, user: user.to_owned(), label: label.to_owned(), touch }
    }

    #[test]
    fn rows_are_read_with_their_lines() {
        let text = "# staff\nuser,label,touch\n\nann,\"blue, key\",yes\r\n bob , ,false\n# no more\n";

        assert_eq!(parse(text).unwrap(), [row(4, "ann", "blue, key", true), row(5, "bob", "key", false)]);
    }

    #[test]
    fn columns_may_be_missing_and_in_any_order() {
        assert_eq!(parse("user\nann").unwrap(), [row(2, "ann", "key", false)]);
        assert_eq!(parse("\u{feff}touch,user\ntrue,ann").unwrap(), [row(2, "ann", "key", true)]);
        assert_eq!(parse("user,label\n\"o\"\"neil\",x").unwrap(), [row(2, "o\"neil", "x", false)]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, what) in [
            ("", "header line is missing"),
            ("label\nx", "line 1: missing column user"),
            ("user,user\nx,y", "line 1: duplicate column user"),
            ("user,name\nx,y", "line 1: unknown column name"),
            ("user,touch\n\nann,maybe", "line 3: touch must be yes or no, not maybe"),
            ("user,touch\nann", "line 2: 1 fields, but the header has 2"),
            ("user,touch\nann,yes,", "line 2: 3 fields, but the header has 2"),
            ("user,label\n,x", "line 2: the user is missing"),
            ("user,label\n\"ann,x", "line 2: unclosed quote"),
            ("user\na\tb", "line 2: a field contains control characters"),
            ("user\nann\nbob\nann", "line 4: ann with label key is already on line 2"),
        ] {
            let said = parse(text).unwrap_err();
            assert!(said.contains(what), "{text:?}: {said}");
        }
    }
}

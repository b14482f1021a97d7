//! Output: data and notes go to standard output, errors and asides to standard error. Text from elsewhere, such as a
//! user name, passes [`visible`] first, so that it cannot control the terminal.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, IsTerminal as _, Write};

use anstream::{AutoStream, ColorChoice};
use anstyle::{Ansi256Color, AnsiColor, Style};
use rustix::termios::tcgetwinsize;
use unicode_width::UnicodeWidthStr;

use crate::cli::{Colour, Globals};
use crate::columns::{aligned, fitted, narrow, padded, width_of, widths, wrapped};
use crate::failure::Failure;
use crate::format::Format;
use crate::pager::{is_too_long, page};

/// Both output streams and how to write to them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    format: Format,
    has_headers: bool,
    may_page: bool,
    quiet: bool,
    colour_out: bool,
    colour_err: bool,
}

/// Colour of a piece of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Table headers and names of values: bold.
    Head,
    /// Green, for success.
    Good,
    /// Red, for failures.
    Bad,
    /// Yellow, for warnings.
    Warning,
    /// Grey, for what is not known.
    Faint,
}

impl Output {
    /// Reads the global flags, and asks each stream whether it is a terminal.
    pub(crate) fn new(globals: &Globals) -> Self {
        Self {
            format: if globals.json { Format::Json } else { globals.output },
            has_headers: !globals.quiet && !globals.no_headers,
            may_page: !globals.no_pager && io::stdout().is_terminal() && io::stdin().is_terminal(),
            quiet: globals.quiet,
            colour_out: coloured(globals.color, || AutoStream::choice(&io::stdout())),
            colour_err: coloured(globals.color, || AutoStream::choice(&io::stderr())),
        }
    }

    /// Whether the output is one JSON document instead of text.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether a list must fit a terminal.
    pub(crate) fn is_short(&self) -> bool {
        self.format == Format::Table
    }

    /// A time as the daemon writes it, to the minute where space is short: `2026-01-05 09:30Z`.
    pub(crate) fn time(&self, time: String) -> String {
        if self.is_short() { short_time(time) } else { time }
    }

    /// Whether notes are suppressed.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Prints one line of the requested data. The caller has passed `text` through [`visible`].
    pub(crate) fn line(&self, text: &str) -> Result<(), Failure> {
        write_line(io::stdout().lock(), text)
    }

    /// Prints a note for people; suppressed by --json and --quiet.
    pub(crate) fn note(&self, text: &str) -> Result<(), Failure> {
        if self.is_json() || self.quiet { Ok(()) } else { self.line(&wrapped(text, width_of(io::stdout()))) }
    }

    /// Prints `beginning` and `text` as one line. On a terminal, a long text is broken between words, and its further lines
    /// are indented.
    pub(crate) fn indented(&self, beginning: &str, text: &str) -> Result<(), Failure> {
        // A colour takes no room.
        let indent = anstream::adapter::strip_str(beginning).to_string().width();
        let width = width_of(io::stdout()).and_then(|width| width.checked_sub(indent)).filter(|room| *room >= 20);
        let lines = wrapped(text, width).replace('\n', &format!("\n{:indent$}", ""));
        self.line(&format!("{beginning}{lines}"))
    }

    /// Prints text that the user needs for the next step. With --json it goes to standard error, beside the document.
    pub(crate) fn show(&self, text: &str) -> Result<(), Failure> {
        if self.is_json() { write_line(io::stderr().lock(), text) } else { self.line(text) }
    }

    /// Prints a QR code of block characters, which are light on dark. On a terminal its colours are set, even without
    /// other colours: on a light background it would be inverted, and few readers take that. If the window is too small
    /// for it, says so first.
    pub(crate) fn picture(&self, lines: &str) -> Result<(), Failure> {
        // Only a terminal has a window.
        let window = if self.is_json() { tcgetwinsize(io::stderr()) } else { tcgetwinsize(io::stdout()) }.ok();
        if let Some(advice) = window.and_then(|window| too_small(lines, window.ws_row, window.ws_col)) {
            self.aside(&advice);
        }
        let style = white_on_black();
        for line in lines.lines().map(visible) {
            self.show(&if window.is_some() { format!("{style}{line}{style:#}") } else { line })?;
        }
        Ok(())
    }

    /// Prints the daemon's document unchanged except for escapes, or `{}` for an empty response.
    pub(crate) fn document(&self, json: &str) -> Result<(), Failure> {
        self.line(&if json.trim().is_empty() { "{}".to_owned() } else { visible_json(json.trim_end()) })
    }

    /// Prints a line to standard error. A closed standard error is not a failure.
    pub(crate) fn aside(&self, text: &str) {
        let _unread = write_line(io::stderr().lock(), &wrapped(text, width_of(io::stderr())));
    }

    /// Prints a line to standard error that is to be pasted, so it is not broken.
    pub(crate) fn aside_whole(&self, text: &str) {
        let _unread = write_line(io::stderr().lock(), text);
    }

    /// Prints an error message to standard error.
    pub(crate) fn error(&self, text: &str) {
        let head = paint("error:", Tone::Bad, self.colour_err);
        self.aside(&format!("{head} {}", visible(text)));
    }

    /// Colours text for standard output.
    pub(crate) fn tone(&self, text: &str, tone: Tone) -> String {
        paint(text, tone, self.colour_out)
    }

    /// Prints a list in the chosen format. A table leaves out the columns that `wide` names. Cells are made visible here.
    pub(crate) fn table<const N: usize>(
        &self,
        heads: [&str; N],
        wide: &[&str],
        rows: Vec<[String; N]>,
    ) -> Result<(), Failure> {
        let rows: Vec<[String; N]> = rows.into_iter().map(|row| row.map(|cell| visible(&cell))).collect();
        match self.format {
            Format::Csv => self.line(&comma_separated(self.has_headers.then_some(&heads), &rows)?),
            Format::Name => rows.iter().filter_map(|row| row.first()).try_for_each(|name| self.line(name)),
            Format::Table | Format::Wide | Format::Json => {
                let is_shown = heads.map(|head| !self.is_short() || !wide.contains(&head));
                let shown = |cells: [String; N]| -> Vec<String> {
                    cells.into_iter().zip(is_shown).filter_map(|(cell, is_shown)| is_shown.then_some(cell)).collect()
                };
                let head = self.has_headers.then(|| shown(heads.map(str::to_owned)));
                let mut rows: Vec<Vec<String>> = rows.into_iter().map(shown).collect();
                let mut widths = widths(head.as_ref(), &rows);
                narrow(&mut rows, &mut widths, self.columns());
                let head = head.map(|head| self.tone(&aligned(&head, &widths), Tone::Head));
                let lines = rows.into_iter().map(|row| fitted(row, &widths, self.columns()));
                self.pages(&head.into_iter().chain(lines).collect::<Vec<_>>())
            }
        }
    }

    /// Prints one more row of a list whose columns have these widths; the last column has what is left of the line.
    pub(crate) fn row<const N: usize>(
        &self,
        heads: [&str; N],
        wide: &[&str],
        widths: &[usize; N],
        row: [String; N],
    ) -> Result<(), Failure> {
        match self.format {
            Format::Csv => self.line(&comma_separated(None, &[row.map(|cell| visible(&cell))])?),
            Format::Name => row.first().map_or(Ok(()), |name| self.line(&visible(name))),
            Format::Table | Format::Wide | Format::Json => {
                let (shown, widths) = self.shown(heads, wide, widths, row.map(|cell| visible(&cell)));
                self.line(&fitted(shown, &widths, self.columns()))
            }
        }
    }

    /// Prints the heads of a list whose columns have these widths, unless the format or a flag leaves them out.
    pub(crate) fn heads<const N: usize>(
        &self,
        heads: [&str; N],
        wide: &[&str],
        widths: &[usize; N],
    ) -> Result<(), Failure> {
        match self.format {
            _ if !self.has_headers => Ok(()),
            Format::Name => Ok(()),
            Format::Csv => self.line(&comma_separated(Some(&heads), &[])?),
            Format::Table | Format::Wide | Format::Json => {
                let (shown, widths) = self.shown(heads, wide, widths, heads.map(str::to_owned));
                self.line(&self.tone(&aligned(&shown, &widths), Tone::Head))
            }
        }
    }

    /// The cells of the columns that this format shows, and their widths.
    fn shown<const N: usize>(
        &self,
        heads: [&str; N],
        wide: &[&str],
        widths: &[usize; N],
        cells: [String; N],
    ) -> (Vec<String>, Vec<usize>) {
        let all = heads.into_iter().zip(cells.into_iter().zip(widths));
        let shown = all.filter(|(head, _)| !self.is_short() || !wide.contains(head));
        shown.map(|(_, (cell, width))| (cell, *width)).unzip()
    }

    /// The columns that a line of a list may have; `None` if it may have any number.
    fn columns(&self) -> Option<usize> {
        if self.is_short() { width_of(io::stdout()) } else { None }
    }

    /// Prints lines, in a pager if there are more than the window has.
    fn pages(&self, lines: &[String]) -> Result<(), Failure> {
        if self.may_page && is_too_long(lines.len()) && page(&lines.join("\n")) {
            return Ok(());
        }
        lines.iter().try_for_each(|line| self.line(line))
    }

    /// Prints names and values, one pair per line. Values are made visible here.
    pub(crate) fn pairs(&self, pairs: &[(&str, String)]) -> Result<(), Failure> {
        let width = pairs.iter().map(|(name, _)| name.width()).max().unwrap_or(0);
        pairs.iter().try_for_each(|(name, value)| {
            let name = self.tone(&padded(name, width), Tone::Head);
            self.line(&format!("{name}  {}", visible(value)))
        })
    }
}

/// Fixed colours of the 256, since a theme may change the first 16.
fn white_on_black() -> Style {
    Ansi256Color(231).on(Ansi256Color(16))
}

/// Rows below a picture that must stay visible with it: the key, and the prompt for the code.
const ROWS_BELOW: usize = 2;

/// What to tell the user if a window is too small for a picture.
fn too_small(picture: &str, rows: u16, columns: u16) -> Option<String> {
    let needed_rows = picture.lines().count().saturating_add(ROWS_BELOW);
    let needed_columns = picture.lines().map(UnicodeWidthStr::width).max().unwrap_or(0);
    // Some terminals do not tell their size.
    let fits = |needed: usize, present: u16| present == 0 || usize::from(present) >= needed;
    if fits(needed_rows, rows) && fits(needed_columns, columns) {
        return None;
    }
    Some(format!(
        "this window has {columns} columns and {rows} rows; enlarge it to {needed_columns} columns and {needed_rows} rows \
         to scan the QR code"
    ))
}

/// Escapes control characters and those that change the direction of writing, so that text from elsewhere can neither
/// control the terminal nor look like other text.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || turns_text(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Escapes the same characters in a JSON document, as JSON does. Whitespace between tokens stays.
pub(crate) fn visible_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for character in json.chars() {
        let layout = matches!(character, '\n' | '\r' | '\t');
        if !layout && (character.is_control() || turns_text(character)) {
            let _written = write!(shown, "\\u{:04x}", u32::from(character));
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Whether the character is a bidirectional control of Unicode (UAX 9 section 2).
fn turns_text(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether to colour. `Auto` is anstream's choice: a terminal, `NO_COLOR`, `CLICOLOR`, `TERM`.
fn coloured(choice: Colour, auto: impl FnOnce() -> ColorChoice) -> bool {
    match choice {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => auto() != ColorChoice::Never,
    }
}

fn paint(text: &str, tone: Tone, coloured: bool) -> String {
    let style = match tone {
        Tone::Head => Style::new().bold(),
        Tone::Good => AnsiColor::Green.on_default(),
        Tone::Bad => AnsiColor::Red.on_default(),
        Tone::Warning => AnsiColor::Yellow.on_default(),
        Tone::Faint => AnsiColor::BrightBlack.on_default(),
    };
    if coloured { format!("{style}{text}{style:#}") } else { text.to_owned() }
}

/// The list as comma-separated values, without the last line ending.
fn comma_separated<const N: usize>(head: Option<&[&str; N]>, rows: &[[String; N]]) -> Result<String, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::Internal(error.to_string());
    let mut writer = csv::Writer::from_writer(Vec::new());
    if let Some(head) = head {
        writer.write_record(head).map_err(|error| failed(&error))?;
    }
    // In a file for programs, what is not there is empty.
    let or_empty = |cell: &String| if cell == "-" { String::new() } else { cell.clone() };
    rows.iter().try_for_each(|row| writer.write_record(row.iter().map(or_empty))).map_err(|error| failed(&error))?;
    let bytes = writer.into_inner().map_err(|error| failed(&error))?;
    let text = String::from_utf8(bytes).map_err(|error| failed(&error))?;
    Ok(text.trim_end_matches('\n').to_owned())
}

/// Shortens `2026-01-05T09:30:00.125Z` to `2026-01-05 09:30Z`. Any other text stays as it is.
fn short_time(time: String) -> String {
    match (time.get(..10), time.get(10..11), time.get(11..16), time.ends_with('Z')) {
        (Some(day), Some("T"), Some(minute), true) => format!("{day} {minute}Z"),
        _ => time,
    }
}

fn write_line(mut stream: impl Write, text: &str) -> Result<(), Failure> {
    writeln!(stream, "{text}").and_then(|()| stream.flush()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::Output(format!("cannot write the output: {error}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_cell_is_cut_to_what_is_left_of_the_line() {
        let cells = |last: &str| vec!["ann".to_owned(), last.to_owned()];

        assert_eq!(fitted(cells("a long detail"), &[3, 13], Some(15)), "ann  a long de…");
        assert_eq!(fitted(cells("a long detail"), &[3, 13], Some(18)), "ann  a long detail");
        assert_eq!(fitted(cells("a long detail"), &[3, 13], None), "ann  a long detail");
        // There is no room to cut it to.
        assert_eq!(fitted(cells("a long detail"), &[3, 13], Some(9)), "ann  a long detail");
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        assert_eq!(visible("a\x1b[2Jb\n\u{9b}\u{202e}é"), "a\\u{1b}[2Jb\\n\\u{9b}\\u{202e}é");
    }

    #[test]
    fn a_document_stays_json() {
        let shown = visible_json("{\"name\": \"a\u{7f}\u{9b}\"}");

        assert_eq!(shown, r#"{"name": "a\u007f\u009b"}"#);
        assert!(serde_json::from_str::<serde_json::Value>(&shown).is_ok());
    }

    #[test]
    fn a_window_that_is_smaller_than_the_picture_is_told_what_it_needs() {
        let picture = [["█"; 41].concat().as_str(); 21].join("\n");

        assert_eq!(too_small(&picture, 24, 80), None);
        assert_eq!(too_small(&picture, 23, 41), None);
        assert_eq!(too_small(&picture, 0, 0), None, "a terminal that does not tell");
        for (rows, columns) in [(22, 80), (24, 40)] {
            let advice = too_small(&picture, rows, columns).unwrap();
            assert!(advice.ends_with("to 41 columns and 23 rows to scan the QR code"), "{advice}");
        }
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["ann".to_owned(), "x".to_owned()], vec!["é".to_owned(), "yy".to_owned()]];

        let widths = widths(Some(&vec!["N".to_owned(), "LONG".to_owned()]), &rows);

        assert_eq!(widths, [3, 4]);
        assert_eq!(aligned(&rows[1], &widths), "é    yy");
    }

    #[test]
    fn a_wide_character_takes_two_columns_and_a_combining_one_none() {
        let rows = [vec!["日本".to_owned(), "x".to_owned()], vec!["e\u{301}".to_owned(), "x".to_owned()]];

        let widths = widths(None, &rows);

        assert_eq!(widths, [4, 1]);
        assert_eq!(rows.map(|row| aligned(&row, &widths)), ["日本  x", "e\u{301}     x"]);
    }

    #[test]
    fn a_long_text_is_broken_between_words_on_a_terminal_alone() {
        let text = "one two three four";

        assert_eq!(wrapped(text, Some(9)), "one two\nthree\nfour");
        assert_eq!(wrapped(text, Some(18)), text);
        assert_eq!(wrapped(text, None), text);
        assert_eq!(wrapped("longer than that", Some(4)), "longer\nthan\nthat");
        assert_eq!(wrapped("    rights = [\"admin\"]", Some(80)), "    rights = [\"admin\"]");
    }

    #[test]
    fn a_time_is_shortened_to_the_minute_and_anything_else_stays() {
        let short = |time: &str| short_time(time.to_owned());

        assert_eq!(short("2026-01-05T09:30:59.125Z"), "2026-01-05 09:30Z");
        assert_eq!(short("2026-01-05T09:30:59+01:00"), "2026-01-05T09:30:59+01:00");
        assert_eq!([short("-"), short("")], ["-", ""]);
    }

    #[test]
    fn commas_and_quotes_of_a_cell_are_quoted() {
        let rows = [["a,b".to_owned(), "say \"x\"".to_owned()]];

        assert_eq!(comma_separated(None, &rows).unwrap(), "\"a,b\",\"say \"\"x\"\"\"");
        assert_eq!(comma_separated(Some(&["A", "B"]), &[]).unwrap(), "A,B");
        assert_eq!(comma_separated(None, &[["-".to_owned(), "a-b".to_owned()]]).unwrap(), ",a-b");
    }

    #[test]
    fn no_colour_means_plain_text() {
        assert_eq!(paint("ok", Tone::Good, false), "ok");
        assert_eq!(paint("ok", Tone::Good, true), "\x1b[32mok\x1b[0m");
        assert!(!coloured(Colour::Never, || ColorChoice::Always));
        assert!(coloured(Colour::Always, || ColorChoice::Never));
        assert!(!coloured(Colour::Auto, || ColorChoice::Never) && coloured(Colour::Auto, || ColorChoice::Always));
    }
}

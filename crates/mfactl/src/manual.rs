//! `completions` and `manual`: completion scripts and man pages, generated from the definition of the command line.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::{Command as Clap, CommandFactory};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::completion;
use crate::failure::Failure;
use crate::help;

/// `completions`: prints the completion script of a shell.
pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let script = completion::script(shell).map_err(|error| Failure::Internal(error.to_string()))?;
    let mut output = io::stdout();
    output.write_all(&script).and_then(|()| output.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::Output(format!("cannot write the output: {error}")),
    })
}

/// `manual`: writes a man page for mfactl and each of its commands, and the completion scripts of all shells.
pub(crate) fn manual(dir: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::Usage(format!("{}: {error}", dir.display()));
    fs::create_dir_all(dir).map_err(failed)?;
    // The page has the exit codes in a section of their own.
    let examples = help::MFACTL.split_once(help::EXIT_CODES).map_or(help::MFACTL, |(examples, _)| examples.trim_end());
    let mut root = without_help(Cli::command()).after_help(examples);
    root.build();
    for page in pages(&root, "mfactl", None, "mfactl") {
        let mut text = Vec::new();
        clap_mangen::Man::new(page.command)
            .title(page.name.to_uppercase())
            .section("1")
            .render(&mut text)
            .map_err(failed)?;
        let mut text = laid_out(&String::from_utf8_lossy(&text));
        text.push_str(&sections(page.above.as_deref()));
        fs::write(dir.join(format!("{}.1", page.name)), text).map_err(failed)?;
    }
    for (shell, file) in [(Shell::Bash, "mfactl.bash"), (Shell::Zsh, "_mfactl"), (Shell::Fish, "mfactl.fish")] {
        fs::write(dir.join(file), completion::script(shell).map_err(failed)?).map_err(failed)?;
    }
    Ok(())
}

const ENVIRONMENT: &str = "\
.SH ENVIRONMENT
.TP
MFAD_SOCKET
The path of the daemon's socket, as with \\-\\-socket. If it is empty, the default applies.
.TP
MFAD_STATE_DIR
The daemon's state directory, for mfactl doctor.
.TP
PAGER
The program that shows lists which are longer than the window; by default less.
.TP
NO_COLOR
If it is set, the output has no colours.
.SH FILES
.TP
/run/mfad/mfad.sock
The daemon's socket.
.TP
/etc/mfad/mfad.toml
The daemon's configuration, which gives rights to accounts; see mfad.toml(5).
";

/// The sections that clap does not write: exit status, environment, files, and the related pages.
fn sections(above: Option<&str>) -> String {
    let (_, codes) = help::MFACTL.split_once(help::EXIT_CODES).unwrap_or_default();
    let mut text = ".SH EXIT STATUS\n".to_owned();
    for (number, meaning) in codes.lines().filter_map(|line| line.trim().split_once(' ')) {
        text.push_str(&format!(".TP\n{number}\n{}\n", meaning.trim()));
    }
    text.push_str(ENVIRONMENT);
    let above = above.map(|page| format!("{}(1), ", page.replace('-', "\\-"))).unwrap_or_default();
    text.push_str(&format!(".SH SEE ALSO\n{above}mfad(8), mfad.toml(5)\n"));
    text
}

/// A page whose lines are not stretched to the margin, and whose examples stay as they are typed.
fn laid_out(page: &str) -> String {
    let mut text = String::new();
    let mut is_example = false;
    for line in page.lines() {
        let begins = line.starts_with("  ") && !line.trim().is_empty();
        match (is_example, begins) {
            (false, true) => text.push_str(".nf\n"),
            (true, false) => text.push_str(".fi\n"),
            _ => {}
        }
        is_example = begins;
        text.push_str(if line == ".SH EXTRA" { ".SH NOTES" } else { line });
        text.push('\n');
        if line.starts_with(".TH ") {
            text.push_str(".ad l\n");
        }
    }
    if is_example {
        text.push_str(".fi\n");
    }
    text
}

/// The command without the subcommands `help`, which have no pages: they show what the pages say.
fn without_help(command: Clap) -> Clap {
    let names: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    names
        .into_iter()
        .fold(command.disable_help_subcommand(true), |command, name| command.mut_subcommand(name, without_help))
}

/// A man page of section 1.
struct Page {
    /// File name without `.1`, such as `mfactl-user-add`.
    name: String,
    /// The page of the command that has this one below it.
    above: Option<String>,
    command: Clap,
}

/// The pages of a command and of all commands below it: `mfactl`, `mfactl-user`, `mfactl-user-add`, … Hidden commands
/// have none.
///
/// `name` is the name of the page, and `usage` has the words that the user types. Neither follows from the other: a
/// command such as `master-key` has a hyphen of its own.
fn pages(command: &Clap, name: &str, above: Option<&str>, usage: &str) -> Vec<Page> {
    let named = command.clone().name(name.to_owned()).bin_name(usage.to_owned());
    let mut pages = vec![Page { name: name.to_owned(), above: above.map(str::to_owned), command: named }];
    for below in command.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help") {
        pages.extend(pages_below(below, name, usage));
    }
    pages
}

fn pages_below(command: &Clap, above: &str, usage: &str) -> Vec<Page> {
    let name = command.get_name();
    pages(command, &format!("{above}-{name}"), Some(above), &format!("{usage} {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_with_the_exit_codes_and_the_page_above_it() {
        let text = sections(Some("mfactl-master-key"));

        assert!(text.contains(".TP\n4\nnot permitted\n") && text.contains(".TP\n130\ninterrupted\n"), "{text}");
        assert!(text.ends_with(".SH SEE ALSO\nmfactl\\-master\\-key(1), mfad(8), mfad.toml(5)\n"), "{text}");
        assert!(sections(None).ends_with(".SH SEE ALSO\nmfad(8), mfad.toml(5)\n"));
    }

    #[test]
    fn examples_stay_as_they_are_typed() {
        let page = ".TH X 1\n.SH EXTRA\nWords.\nExamples:\n  mfactl a  \\\\\n      b\n.SH EXIT STATUS\n";

        let expected =
            ".TH X 1\n.ad l\n.SH NOTES\nWords.\nExamples:\n.nf\n  mfactl a  \\\\\n      b\n.fi\n.SH EXIT STATUS\n";
        assert_eq!(laid_out(page), expected);
    }

    #[test]
    fn each_page_knows_the_page_above_it() {
        let mut root = Cli::command();
        root.build();
        let pages = pages(&root, "mfactl", None, "mfactl");

        let above = |name: &str| pages.iter().find(|page| page.name == name).unwrap().above.clone();
        assert_eq!(above("mfactl-master-key-show").as_deref(), Some("mfactl-master-key"));
        assert_eq!(above("mfactl-master-key").as_deref(), Some("mfactl"));
        assert_eq!(above("mfactl"), None);
    }
}

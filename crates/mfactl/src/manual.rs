//! `completions` and `manual`: completion scripts and man pages, generated from the definition of the command line.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::{Command as Clap, CommandFactory};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::failure::Failure;

/// `completions`: prints the completion script of a shell.
pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    // Generated in memory first: clap_complete panics if it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "mfactl", &mut script);
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
    let mut root = Cli::command();
    root.build();
    for page in pages(&root, "mfactl", "mfactl") {
        let mut text = Vec::new();
        clap_mangen::Man::new(page.command)
            .title(page.name.to_uppercase())
            .section("1")
            .render(&mut text)
            .map_err(failed)?;
        fs::write(dir.join(format!("{}.1", page.name)), text).map_err(failed)?;
    }
    for (shell, file) in [(Shell::Bash, "mfactl.bash"), (Shell::Zsh, "_mfactl"), (Shell::Fish, "mfactl.fish")] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "mfactl", &mut script);
        fs::write(dir.join(file), script).map_err(failed)?;
    }
    Ok(())
}

/// A man page of section 1.
struct Page {
    /// File name without `.1`, such as `mfactl-user-add`.
    name: String,
    command: Clap,
}

/// The pages of a command and of all commands below it: `mfactl`, `mfactl-user`, `mfactl-user-add`, … Hidden commands
/// have none.
///
/// `name` is the name of the page, and `usage` has the words that the user types. Neither follows from the other: a
/// command such as `master-key` has a hyphen of its own.
fn pages(command: &Clap, name: &str, usage: &str) -> Vec<Page> {
    let named = command.clone().name(name.to_owned()).bin_name(usage.to_owned());
    let mut pages = vec![Page { name: name.to_owned(), command: named }];
    for below in command.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help") {
        pages.extend(pages_below(below, name, usage));
    }
    pages
}

fn pages_below(command: &Clap, above: &str, usage: &str) -> Vec<Page> {
    let name = command.get_name();
    pages(command, &format!("{above}-{name}"), &format!("{usage} {name}"))
}

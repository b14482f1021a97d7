//! The pager, for text that is longer than the window.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::{Command, Stdio};

use rustix::termios::tcgetwinsize;

/// Exit code of a shell that does not find a command (POSIX).
const NO_SUCH_COMMAND: i32 = 127;

/// Shows a text in the pager of the environment, or in `less`. Returns whether it could be started.
pub(crate) fn page(text: &str) -> bool {
    let pager = std::env::var("PAGER").ok().filter(|pager| !pager.is_empty()).unwrap_or_else(|| "less".to_owned());
    let mut command = Command::new("sh");
    command.args(["-c", &pager]).stdin(Stdio::piped());
    if std::env::var_os("LESS").is_none() {
        // Ends at once if the text fits, keeps colours, and leaves the text on the screen.
        command.env("LESS", "FRX");
    }
    let Ok(mut child) = command.spawn() else { return false };
    if let Some(mut input) = child.stdin.take() {
        // Whoever leaves the pager early wants no more of it.
        let _closed = writeln!(input, "{text}");
    }
    // The shell starts in any case, and says so if there is no such pager.
    child.wait().is_ok_and(|status| status.code() != Some(NO_SUCH_COMMAND))
}

/// Whether the window of standard output has too few rows for so many lines. `false` if it is no terminal.
pub(crate) fn is_too_long(lines: usize) -> bool {
    let rows = tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_row));
    rows > 0 && lines >= rows
}

/// Shows the help of a command in the pager, if it is longer than the window: otherwise its beginning scrolls away.
/// Returns whether it was shown.
pub(crate) fn help(text: &clap::Error) -> bool {
    let shown = text.render();
    let may_page = io::stdin().is_terminal() && io::stdout().is_terminal();
    may_page && is_too_long(shown.to_string().lines().count()) && page(shown.ansi().to_string().trim_end())
}

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

/// Prints the help of a command, in the pager if standard output is a terminal with fewer lines. Whoever asks for help
/// otherwise sees its end, and reads the beginning.
pub(crate) fn help(text: &clap::Error) -> bool {
    let rows = tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_row));
    let shown = text.render();
    let is_long = shown.to_string().lines().count() >= rows;
    let may_page = rows > 0 && is_long && io::stdin().is_terminal() && io::stdout().is_terminal();
    may_page && page(shown.ansi().to_string().trim_end())
}

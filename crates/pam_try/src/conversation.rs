//! The conversation of a login on the terminal: prompts and texts go to standard error, answers come from standard input.

use std::io::{self, BufRead as _, Write as _};

use mfad_pam_try::Conversation;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// The terminal.
pub(crate) struct Terminal;

impl Conversation for Terminal {
    /// Shows a text on a line of its own.
    fn show(&mut self, text: &str) {
        let mut error = io::stderr().lock();
        // Who cannot read the text can still answer the prompts.
        let _ = writeln!(error, "{text}");
    }

    /// Asks for one line; `None` at the end of the input.
    fn ask(&mut self, prompt: &str, is_shown: bool) -> Option<Zeroizing<String>> {
        let mut error = io::stderr().lock();
        write!(error, "{prompt}").and_then(|()| error.flush()).ok()?;
        let _hidden = if is_shown { None } else { Hidden::begin() };
        // Its full capacity from the start: a string that grows would leave copies in freed memory.
        let mut line = Zeroizing::new(String::with_capacity(4096));
        let read = io::stdin().lock().read_line(&mut line).ok()?;
        if !is_shown {
            let _ = writeln!(error);
        }
        if line.ends_with('\n') {
            line.pop();
        }
        (read > 0).then_some(line)
    }
}

/// A terminal that does not show what is typed, until this is dropped.
struct Hidden(Termios);

impl Hidden {
    /// `None` if standard input is no terminal.
    fn begin() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &hidden).ok()?;
        Some(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

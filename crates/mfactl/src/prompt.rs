//! Input of secrets and answers: from the terminal, a file or standard input, never from arguments or the environment
//! (MEM-5). Reads block, so they run on a thread of their own: the connection and Control-C keep working meanwhile.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::columns::on_terminal;
use crate::failure::Failure;
use crate::secret_text::{self, Hidden};

/// Source of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Prompts on the terminal.
    Prompt,
    /// Standard input as a whole, so it can hold only one secret.
    Stdin,
    /// A file as a whole.
    File(PathBuf),
}

impl Source {
    /// The source that the flags name; the terminal if they name none.
    pub(crate) fn chosen(stdin: bool, file: Option<&Path>) -> Self {
        match file {
            Some(path) => Self::File(path.to_owned()),
            None if stdin => Self::Stdin,
            None => Self::Prompt,
        }
    }
}

/// Whether a secret was read from standard input. It is read to its end, so a second secret would be empty.
static STDIN_IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Name of a secret for prompts and messages, and how to provide it without a terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// Prompt, without the colon.
    pub label: &'static str,
    /// Advice if there can be no prompt, such as `use --code-file`.
    pub instead: &'static str,
}

pub(crate) const PASSWORD: Wanted = Wanted { label: "password", instead: "use --password-file or --password-stdin" };
/// Password of the login of `--as-user`.
pub(crate) const LOGIN_PASSWORD: Wanted =
    Wanted { label: "password", instead: "use --login-password-file or --login-password-stdin" };
pub(crate) const NEW_PASSWORD: Wanted =
    Wanted { label: "new password", instead: "use --password-file or --password-stdin" };
pub(crate) const CURRENT_PASSWORD: Wanted =
    Wanted { label: "current password", instead: "use --current-file, or --reason as an admin" };

/// Bytes of the shortest password of a user (`NewPassword` in docs/openapi.yaml).
pub(crate) const LEAST_PASSWORD: usize = 8;
/// OATH password of a hardware key.
pub(crate) const KEY_PASSWORD: Wanted =
    Wanted { label: "current password of the hardware key", instead: "use --current-file" };

pub(crate) const PIN: Wanted = Wanted { label: "PIN of the security key", instead: "use --pin-file or --pin-stdin" };

/// Prompts on the terminal, as far as the global flags permit it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prompter {
    /// `--no-input`: a prompt is a usage error.
    pub no_input: bool,
    /// `--yes`: every confirmation is given.
    pub yes: bool,
}

impl Prompter {
    /// Reads a secret from its source and refuses an empty one. [`secret_text`] defines the format of files and
    /// standard input.
    pub(crate) async fn secret(&self, wanted: Wanted, source: &Source) -> Result<Hidden, Failure> {
        self.secret_of(wanted, source, None).await
    }

    /// As [`Self::secret`]. A prompt says whose secret is wanted. The caller has passed `whose` through
    /// [`visible`](crate::output::visible).
    pub(crate) async fn secret_of(
        &self,
        wanted: Wanted,
        source: &Source,
        whose: Option<&str>,
    ) -> Result<Hidden, Failure> {
        match source.clone() {
            Source::Prompt => {
                let label = match whose {
                    Some(name) => format!("{} of {name}", wanted.label),
                    None => wanted.label.to_owned(),
                };
                let typed = self.hidden(wanted, label).await?;
                if typed.is_empty() {
                    return Err(Failure::Usage(format!("the {} is empty", wanted.label)));
                }
                Ok(typed)
            }
            Source::Stdin if STDIN_IS_TAKEN.swap(true, Ordering::Relaxed) => {
                Err(Failure::Usage("only one secret can come from standard input; use files for the others".to_owned()))
            }
            Source::Stdin => off_thread(move || secret_text::read(io::stdin().lock(), wanted.label)).await,
            Source::File(path) => off_thread(move || read_file(&path, wanted)).await,
        }
    }

    /// Prompts for a secret on the terminal. It may be empty.
    pub(crate) async fn typed(&self, wanted: Wanted) -> Result<Hidden, Failure> {
        self.hidden(wanted, wanted.label.to_owned()).await
    }

    /// Reads a new password of this user, of at least so many bytes. A typed one must be repeated, since the user cannot
    /// see typing errors.
    pub(crate) async fn new_password(&self, source: &Source, whose: &str, least: usize) -> Result<Hidden, Failure> {
        let password = self.secret_of(NEW_PASSWORD, source, Some(whose)).await?;
        // Before it is asked for once more; the daemon has the last word.
        if password.len() < least {
            return Err(Failure::Usage(format!("a password has at least {least} characters; nothing was changed")));
        }
        if *source == Source::Prompt
            && self.hidden(NEW_PASSWORD, "repeat the new password".to_owned()).await? != password
        {
            return Err(Failure::Usage("the passwords do not match; nothing was changed".to_owned()));
        }
        Ok(password)
    }

    /// Prompts for a word that is not a secret, with echo.
    pub(crate) async fn word(&self, label: &'static str, instead: &'static str) -> Result<String, Failure> {
        self.allowed(Wanted { label, instead })?;
        let typed = off_thread(move || answer_on_terminal(&format!("{label}: "))).await;
        typed.map_err(|error| no_terminal(&error, Wanted { label, instead }))
    }

    /// Asks for confirmation and fails without a yes. The caller has passed `question` through
    /// [`visible`](crate::output::visible).
    pub(crate) async fn confirm(&self, question: String) -> Result<(), Failure> {
        const CONFIRMATION: Wanted = Wanted { label: "confirmation", instead: "use --yes" };
        if self.yes {
            return Ok(());
        }
        self.allowed(CONFIRMATION)?;
        let typed =
            off_thread(move || answer_on_terminal(&format!("{} ", on_terminal(&format!("{question} [y/N]"))))).await;
        let typed = typed.map_err(|error| no_terminal(&error, CONFIRMATION))?;
        if matches!(typed.as_str(), "y" | "Y" | "yes") {
            return Ok(());
        }
        Err(Failure::NotConfirmed)
    }

    async fn hidden(&self, wanted: Wanted, label: String) -> Result<Hidden, Failure> {
        self.allowed(wanted)?;
        let typed = off_thread(move || rpassword::prompt_password(format!("{label}: ")).map(Hidden::new)).await;
        typed.map_err(|error| no_terminal(&error, wanted))
    }

    fn allowed(&self, wanted: Wanted) -> Result<(), Failure> {
        if self.no_input {
            return Err(Failure::Usage(format!(
                "the {} is missing and --no-input forbids prompting; {}",
                wanted.label, wanted.instead
            )));
        }
        Ok(())
    }
}

/// Runs blocking work on a thread of its own. After Control-C `main` waits only briefly for a thread that still reads.
async fn off_thread<T: Send + 'static, E: Send + 'static + From<io::Error>>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|ended| Err(E::from(io::Error::other(ended))))
}

fn read_file(path: &Path, wanted: Wanted) -> Result<Hidden, Failure> {
    let file = File::open(path).map_err(|error| {
        Failure::Usage(format!("cannot read the {} from {}: {error}", wanted.label, path.display()))
    })?;
    secret_text::read(file, wanted.label)
}

/// Asks on the controlling terminal, since standard input may be redirected.
fn answer_on_terminal(question: &str) -> io::Result<String> {
    let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    terminal.write_all(question.as_bytes())?;
    let mut line = String::new();
    BufReader::new(terminal).read_line(&mut line)?;
    Ok(line.trim_end_matches('\n').to_owned())
}

fn no_terminal(error: &io::Error, wanted: Wanted) -> Failure {
    match error.kind() {
        ErrorKind::Interrupted => Failure::Interrupted,
        ErrorKind::UnexpectedEof => Failure::Usage(format!("no {} was given", wanted.label)),
        _ => Failure::Usage(format!("no terminal to prompt for the {} ({error}); {}", wanted.label, wanted.instead)),
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Usage(format!("cannot read the input: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_wins_over_the_terminal() {
        assert_eq!(Source::chosen(false, None), Source::Prompt);
        assert_eq!(Source::chosen(true, None), Source::Stdin);
        assert_eq!(Source::chosen(false, Some(Path::new("f"))), Source::File(PathBuf::from("f")));
    }
}

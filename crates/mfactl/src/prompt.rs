//! How secrets and answers come in: the terminal, a file, standard input. Never arguments or the
//! environment. Everything blocks on a thread of its own, so that the connection and Control-C live.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::secret_text;

/// A secret text, wiped on drop.
pub type Hidden = Zeroizing<String>;

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The terminal.
    Prompt,
    /// All of standard input.
    Stdin,
    /// All of a file.
    File(PathBuf),
}

impl Source {
    /// The place that the flags name.
    pub fn chosen(stdin: bool, file: Option<&Path>) -> Self {
        match file {
            Some(path) => Self::File(path.to_owned()),
            None if stdin => Self::Stdin,
            None => Self::Prompt,
        }
    }
}

/// A secret by name, and the flags that give it without a terminal.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// What it is, as the prompt shows it.
    pub label: &'static str,
    /// What to use instead of the prompt.
    pub instead: &'static str,
}

/// The password of a login.
pub const PASSWORD: Wanted = Wanted { label: "password", instead: "use --password-file or --password-stdin" };
/// A new password.
pub const NEW_PASSWORD: Wanted = Wanted { label: "new password", instead: "use --password-file or --password-stdin" };
/// The password that a new one replaces.
pub const CURRENT_PASSWORD: Wanted =
    Wanted { label: "current password", instead: "use --current-file, or as an admin --reason" };

/// The present password of a hardware key's OATH application.
pub const KEY_PASSWORD: Wanted = Wanted { label: "current password of the key", instead: "use --current-file" };

/// The PIN of a security key.
pub const PIN: Wanted = Wanted { label: "PIN of the security key", instead: "use --pin-file or --pin-stdin" };

/// Asks the person at the terminal, if that is allowed.
#[derive(Clone, Copy, Debug)]
pub struct Prompter {
    /// Never ask.
    pub no_input: bool,
    /// Take every question as confirmed.
    pub yes: bool,
}

impl Prompter {
    /// A secret from its source, never an empty one. What a file and standard input may hold, [`secret_text`] says.
    pub async fn secret(&self, wanted: Wanted, source: &Source) -> Result<Hidden, Failure> {
        match source.clone() {
            Source::Prompt => {
                let typed = self.hidden(wanted, wanted.label).await?;
                if typed.is_empty() {
                    return Err(Failure::Usage(format!("the {} is empty", wanted.label)));
                }
                Ok(typed)
            }
            Source::Stdin => off_thread(move || secret_text::read(io::stdin().lock(), wanted.label)).await,
            Source::File(path) => off_thread(move || read_file(&path, wanted)).await,
        }
    }

    /// A new password; typed twice when it is typed.
    pub async fn new_password(&self, source: &Source) -> Result<Hidden, Failure> {
        let password = self.secret(NEW_PASSWORD, source).await?;
        if *source == Source::Prompt && self.hidden(NEW_PASSWORD, "the same again").await? != password {
            return Err(Failure::Usage("the two passwords differ; nothing was changed".to_owned()));
        }
        Ok(password)
    }

    /// A word that is no secret.
    pub async fn word(&self, label: &'static str, instead: &'static str) -> Result<String, Failure> {
        self.allowed(Wanted { label, instead })?;
        let typed = off_thread(move || answer_on_terminal(&format!("{label}: "))).await;
        typed.map_err(|error| no_terminal(&error, Wanted { label, instead }))
    }

    /// Goes on only when the person says yes. `question` is visible already.
    pub async fn confirm(&self, question: String) -> Result<(), Failure> {
        const CONFIRMATION: Wanted = Wanted { label: "confirmation", instead: "use --yes" };
        if self.yes {
            return Ok(());
        }
        self.allowed(CONFIRMATION)?;
        let typed = off_thread(move || answer_on_terminal(&format!("{question} [y/N] "))).await;
        let typed = typed.map_err(|error| no_terminal(&error, CONFIRMATION))?;
        if matches!(typed.as_str(), "y" | "Y" | "yes") {
            return Ok(());
        }
        Err(Failure::Denied("not confirmed; nothing was changed".to_owned()))
    }

    async fn hidden(&self, wanted: Wanted, label: &'static str) -> Result<Hidden, Failure> {
        self.allowed(wanted)?;
        let typed = off_thread(move || rpassword::prompt_password(format!("{label}: ")).map(Hidden::new)).await;
        typed.map_err(|error| no_terminal(&error, wanted))
    }

    fn allowed(&self, wanted: Wanted) -> Result<(), Failure> {
        if self.no_input {
            return Err(Failure::Usage(format!(
                "the {} is missing and --no-input forbids to ask; {}",
                wanted.label, wanted.instead
            )));
        }
        Ok(())
    }
}

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
        _ => Failure::Usage(format!(
            "there is no terminal to ask for the {} ({error}); {}",
            wanted.label, wanted.instead
        )),
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

//! The password, with the option `password+factor`.

use mfad_api::ErrorCode;
use mfad_client::{Credentials, Error, LoginStep, SecretString};
use pam::secret::SecretBytes;

use crate::conversation::NoAnswer;
use crate::factor::Attempt;
use crate::outcome::Outcome;

const WRONG: &str = "Wrong user name or password.";
/// An id that no user has, for an account without a user: its password is always wrong, after the usual work.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

impl Attempt<'_> {
    /// Has the daemon check the password: one that a module before this one has asked for, or else one that is asked
    /// for here. The user is named by the id that stands for the account: a name could also be the address of another
    /// user. Whether a factor is needed too is not decided here.
    pub(crate) fn check_password(&mut self, user: Option<&str>) -> Result<(), Outcome> {
        let (password, is_typed) = match self.given_password.take() {
            Some(password) => (password, false),
            None => (self.ask_for_password()?, true),
        };
        // sshd answers with such bytes for a user whom it denies, and a wrong password would be counted.
        if password.as_str().is_empty() || password.as_str().chars().any(char::is_control) {
            self.conversation.say(WRONG);
            return Err(Outcome::Refused);
        }
        let step = self.client().log_in(&Credentials { id: user.unwrap_or(NOBODY), password: &password });
        self.typed_password = is_typed.then_some(password);
        match step {
            Ok(_) if user.is_none() => Err(Outcome::Refused),
            // The challenge ends by itself: the factor is checked with the name of the service.
            Ok(LoginStep::SecondFactor(_) | LoginStep::MustEnroll(_)) => Ok(()),
            // No session is wanted. If it cannot be ended, it ends by itself, and nobody has its token.
            Ok(LoginStep::LoggedIn(token)) => {
                let _ = self.client().log_out(token);
                Ok(())
            }
            Err(error) => Err(self.password_refused(&error)),
        }
    }

    fn ask_for_password(&self) -> Result<SecretString, Outcome> {
        let typed = self.ask_hidden("Password: ").map_err(|NoAnswer| Outcome::NoConversation)?;
        let text = typed.as_ref().map_or(Ok(""), SecretBytes::as_str).map_err(|_| Outcome::Refused)?;
        Ok(SecretString::new(text.to_owned()))
    }

    fn password_refused(&self, error: &Error) -> Outcome {
        let Error::Refused(refusal) = error else { return self.unavailable(error) };
        match refusal.code() {
            Some(ErrorCode::WrongCredentials | ErrorCode::Malformed) => {
                self.conversation.say(WRONG);
                Outcome::Refused
            }
            Some(ErrorCode::TooManyAttempts) => {
                self.conversation.say("Too many wrong passwords. Try again later.");
                Outcome::TooMany
            }
            _ => self.unavailable(error),
        }
    }
}

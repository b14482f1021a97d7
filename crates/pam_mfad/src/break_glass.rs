//! Break-glass codes: one-time codes of a list on this host, for an account that must get in while the daemon is out of
//! service.

use mfad_break_glass::{Lists, Use};
use mfad_client::SecretString;
use pam::secret::SecretBytes;

use crate::answer::Answer;
use crate::conversation::NoAnswer;
use crate::date;
use crate::factor::Attempt;
use crate::outcome::Outcome;

const WRONG: &str = "Wrong code, or one that was used before.";

impl Attempt<'_> {
    /// Asks for a code of the account's list, if root has made one. Where the daemon is to check the password too,
    /// nobody is let in by a code alone.
    pub(crate) fn break_glass(&mut self) -> Outcome {
        // A dry run must not use a code up.
        if self.options.checks_password || self.options.is_dry_run || !self.has_list() {
            return Outcome::Unavailable;
        }
        for _ in 0..=self.options.retries {
            let typed = match self.ask_shown("Break-glass code: ") {
                Ok(typed) => typed,
                Err(NoAnswer) => return Outcome::NoConversation,
            };
            match typed.as_ref().map(SecretBytes::as_bytes).map_or(Answer::Empty, Answer::parse) {
                Answer::Empty => return Outcome::Refused,
                Answer::Code(code) => match self.redeem(&code) {
                    Some(outcome) => return outcome,
                    None => self.conversation.say(WRONG),
                },
                Answer::Token(_) | Answer::NoCode | Answer::Junk => self.conversation.say(WRONG),
            }
        }
        self.journal.notice(&format!("refused {}: wrong break-glass codes", self.login.shown()));
        Outcome::Refused
    }

    fn has_list(&self) -> bool {
        let list = Lists::default().of(&self.login.account);
        list.map(|list| list.is_some_and(|list| list.left() > 0)).unwrap_or_else(|error| {
            self.journal.error(&format!("the break-glass list cannot be used: {error}"));
            false
        })
    }

    /// Uses a code up; `None` if it is wrong.
    fn redeem(&mut self, code: &SecretString) -> Option<Outcome> {
        let used = Use { at: date::seconds(), login: self.login.told.clone(), is_reported: false };
        match Lists::default().redeem(&self.login.account, code.as_str(), used) {
            Ok(Some(left)) => {
                self.journal.error(&format!(
                    "let in {} by a break-glass code, since mfad is out of service; codes left: {left}",
                    self.login.shown()
                ));
                self.conversation.mention(&format!("Break-glass codes left: {left}"));
                self.is_break_glass = true;
                Some(Outcome::Accepted)
            }
            Ok(None) => None,
            Err(error) => {
                self.journal.error(&format!("a break-glass code could not be used up: {error}"));
                self.conversation.say("The code could not be used up on this host. Ask root at the console.");
                Some(Outcome::Unavailable)
            }
        }
    }
}

//! The second factor: what is asked for, and what the daemon says of the answer.

use std::cell::Cell;
use std::time::Duration;

use mfad_api::{ErrorCode, Preflight, Verified};
use mfad_client::{Client, Error, HostProof, Refusal, SecretString};
use pam::secret::SecretBytes;

use crate::answer::Answer;
use crate::conversation::{Conversation, NoAnswer};
use crate::date::Day;
use crate::items::{self, Login};
use crate::journal::Journal;
use crate::options::{NoFactor, Options};
use crate::outcome::Outcome;
use crate::patience::Patience;

/// Time limit of an exchange with a touch. The daemon looks for the user's keys for 8 s at most, and waits 15 s for the
/// touch.
const TOUCH_TIME: Duration = Duration::from_secs(28);

const OUT_OF_SERVICE: &str = "The second factor is out of service. Ask an administrator of this host.";
const WRONG: &str = "Wrong code, or one that was used before. Wait for the next code.";
const NO_CODE: &str = "That is no code. A code has 6 to 8 digits; a backup code has 16 letters and digits.";

/// One call of the module for one user.
pub(crate) struct Attempt<'a> {
    pub(crate) options: &'a Options,
    pub(crate) login: &'a Login,
    pub(crate) journal: &'a Journal,
    pub(crate) conversation: Conversation<'a>,
    pub(crate) patience: Patience,
    /// A password that a module before this one has asked for.
    pub(crate) given_password: Option<SecretString>,
    /// The password that this module has asked for.
    pub(crate) typed_password: Option<SecretString>,
    /// Whether the daemon did not answer, or said that it cannot work.
    is_down: Cell<bool>,
    /// Whether a break-glass code has let the user in.
    pub(crate) is_break_glass: bool,
}

/// What became of one answer.
enum Step {
    Done(Outcome),
    /// The answer was wrong, and another one may follow.
    Again,
    /// The security key wants its PIN before it is touched.
    Pin,
}

/// The prompt for a user.
#[derive(Clone, Copy)]
struct Prompt {
    text: &'static str,
    /// Whether Enter stands for a touch of a key.
    takes_touch: bool,
}

impl<'a> Attempt<'a> {
    pub(crate) fn new(
        options: &'a Options,
        login: &'a Login,
        journal: &'a Journal,
        conversation: Conversation<'a>,
        given_password: Option<SecretString>,
    ) -> Self {
        let patience = Patience::new(options.time);
        Self {
            options,
            login,
            journal,
            conversation,
            patience,
            given_password,
            typed_password: None,
            is_down: Cell::new(false),
            is_break_glass: false,
        }
    }

    /// A client for one exchange. No connection is held while somebody types: it would take one of the daemon's places.
    pub(crate) fn client(&self) -> Client {
        self.patience.client(&self.options.socket)
    }

    /// `auth`: asks for what the options say.
    pub(crate) fn authenticate(&mut self) -> Outcome {
        let preflight = match self.preflight() {
            Ok(preflight) => preflight,
            Err(outcome) => return self.or_break_glass(outcome),
        };
        if self.options.checks_password
            && let Err(outcome) = self.check_password(preflight.user_id.as_deref())
        {
            return outcome;
        }
        if let Some(outcome) = self.without_factor(&preflight, false) {
            return outcome;
        }
        let outcome = self.ask_for_factor(&preflight);
        self.or_break_glass(outcome)
    }

    /// Asks for a break-glass code if the daemon is down, which may show only when a code is to be used up.
    fn or_break_glass(&mut self, outcome: Outcome) -> Outcome {
        if outcome == Outcome::Unavailable && self.is_down.get() { self.break_glass() } else { outcome }
    }

    /// `account`: refuses users without a second factor, and says so. Logins by a key of ssh reach only this function.
    pub(crate) fn has_factor(&self) -> Outcome {
        if !self.options.enforces {
            return Outcome::Ignored;
        }
        let preflight = match self.preflight() {
            Ok(preflight) => preflight,
            Err(outcome) => return outcome,
        };
        if preflight.state == "active" {
            return Outcome::Accepted;
        }
        self.without_factor(&preflight, true).unwrap_or_else(|| {
            self.conversation.say("You have no second factor, and this host requires one. Ask an administrator.");
            self.journal.notice(&format!("refused {}: no second factor", self.login.shown()));
            Outcome::NoFactor
        })
    }

    fn preflight(&self) -> Result<Preflight, Outcome> {
        self.client().preflight(&self.login.name).map_err(|error| match &error {
            // The account has a name that no user can have.
            Error::Refused(refusal) if refusal.code() == Some(ErrorCode::Malformed) => {
                self.journal.error("the account has a name that no user of mfad can have");
                Outcome::Refused
            }
            _ => self.unavailable(&error),
        })
    }

    /// Decides about a user without an active factor, by the option `nofactor`. `None`: a factor is required. A user
    /// who is disabled in mfad is never let in here.
    fn without_factor(&self, preflight: &Preflight, is_account: bool) -> Option<Outcome> {
        let has_none = matches!(preflight.state.as_str(), "none" | "pending" | "unknown");
        match self.options.no_factor {
            NoFactor::Deny => None,
            // By another name of the account, a user with a factor would look like one without.
            _ if !has_none || !items::is_account(&self.login.account) => None,
            NoFactor::Ok => Some(self.let_in_without(preflight, "ok")),
            NoFactor::Enroll(until, shown) => {
                // Without a date there is no grace.
                let today = Day::today()?;
                (today <= until).then(|| {
                    if !is_account {
                        let shown = std::str::from_utf8(&shown).unwrap_or_default();
                        let text = format!(
                            "You have no second factor. Ask an administrator for one by {shown}; then it is required."
                        );
                        self.conversation.say(&text);
                    }
                    self.let_in_without(preflight, "enroll")
                })
            }
        }
    }

    fn let_in_without(&self, preflight: &Preflight, option: &str) -> Outcome {
        let why =
            if preflight.user_id.is_some() { "without a factor" } else { "without a user that has the role host" };
        self.journal.notice(&format!("let in {}, {why} (nofactor={option})", self.login.shown()));
        Outcome::Accepted
    }

    /// Asks, and has the answers checked. A user who has no factor, or does not exist, is asked the same question, so
    /// that nobody learns who has one; the daemon refuses every answer.
    fn ask_for_factor(&self, preflight: &Preflight) -> Outcome {
        let prompt = self.prompt(preflight);
        for _ in 0..=self.options.retries {
            let step = match self.ask_shown(prompt.text) {
                Ok(typed) => self.judge(prompt, typed.as_ref().map(SecretBytes::as_bytes)),
                Err(NoAnswer) => Step::Done(Outcome::NoConversation),
            };
            let step = if let Step::Pin = step { self.touch_with_pin() } else { step };
            match step {
                Step::Done(outcome) => return outcome,
                Step::Again | Step::Pin => {}
            }
        }
        let why = if preflight.user_id.is_some() { "wrong answers" } else { "no user of this name has the role host" };
        self.journal.notice(&format!("refused {}: {why}", self.login.shown()));
        Outcome::Refused
    }

    /// Asks for a text that the terminal shows. Whoever answers is still there, and has the daemon wait again.
    pub(crate) fn ask_shown(&self, prompt: &str) -> Result<Option<SecretBytes>, NoAnswer> {
        let typed = self.conversation.ask_shown(prompt);
        self.patience.renew(self.options.time);
        typed
    }

    /// The same for a text that stays hidden.
    pub(crate) fn ask_hidden(&self, prompt: &str) -> Result<Option<SecretBytes>, NoAnswer> {
        let typed = self.conversation.ask_hidden(prompt);
        self.patience.renew(self.options.time);
        typed
    }

    fn prompt(&self, preflight: &Preflight) -> Prompt {
        let has = |method: &str| preflight.methods.iter().any(|known| known == method);
        let has_key = has("device") || has("fido2");
        let takes_touch = self.options.takes_touch && !self.login.is_remote && has_key;
        // From another host everybody is asked the same, so that the prompt does not tell who has which factor.
        let may_have_code = self.login.is_remote || preflight.methods.is_empty() || has("totp");
        let takes_codes = self.options.takes_codes && may_have_code;
        let takes_backup_codes = self.options.takes_backup_codes;
        let text = match (takes_touch, takes_codes, takes_backup_codes) {
            (true, true, _) => "Press Enter and touch your key, or type a code: ",
            (true, false, true) => "Press Enter and touch your key, or type a backup code: ",
            (true, false, false) => "Press Enter and touch your key: ",
            (false, false, true) => "Backup code: ",
            // Without any method there is no right answer, and the question is the usual one.
            (false, _, _) => "Code: ",
        };
        Prompt { text, takes_touch }
    }

    /// Has one answer checked. Answers that cannot be right are refused here, and counted nowhere.
    fn judge(&self, prompt: Prompt, typed: Option<&[u8]>) -> Step {
        match typed.map_or(Answer::Empty, Answer::parse) {
            Answer::Empty if prompt.takes_touch => self.touch(None),
            // su and sudo-rs answer so for the end of the input, and would do so again.
            Answer::Empty => Step::Done(Outcome::Refused),
            // Whom sshd denies sees what others see, so that nobody learns whom it admits.
            Answer::Junk => self.again(WRONG),
            Answer::Token(token) if self.options.takes_codes => self.verify(&HostProof::Token(&token)),
            Answer::Code(code) if self.options.takes_backup_codes => self.verify(&HostProof::Code(&code)),
            Answer::Token(_) | Answer::Code(_) => self.again("This host does not take such codes here."),
            Answer::NoCode => self.again(NO_CODE),
        }
    }

    fn touch(&self, pin: Option<&SecretString>) -> Step {
        self.patience.renew(TOUCH_TIME);
        self.verify(&HostProof::Device(pin))
    }

    fn touch_with_pin(&self) -> Step {
        let typed = match self.ask_hidden("PIN of your key: ") {
            Ok(typed) => typed,
            Err(NoAnswer) => return Step::Done(Outcome::NoConversation),
        };
        let pin = typed.as_ref().and_then(|typed| typed.as_str().ok()).filter(|pin| !pin.is_empty());
        let Some(pin) = pin else { return Step::Done(Outcome::Refused) };
        if pin.chars().any(char::is_control) {
            return Step::Done(Outcome::Refused);
        }
        let pin = SecretString::new(pin.to_owned());
        match self.touch(Some(&pin)) {
            Step::Pin => Step::Again,
            step => step,
        }
    }

    /// Asks the daemon once. A call whose answer was lost is not repeated: the code is used up.
    fn verify(&self, proof: &HostProof<'_>) -> Step {
        match self.client().verify_host_login(&self.login.name, proof, &self.login.told) {
            Ok(verified) => Step::Done(self.accepted(&verified)),
            Err(Error::Refused(refusal)) => self.refused(&refusal),
            Err(error) => Step::Done(self.unavailable(&error)),
        }
    }

    /// Says why the answer does not do. Another one may follow.
    fn again(&self, why: &str) -> Step {
        self.conversation.say(why);
        Step::Again
    }

    fn accepted(&self, verified: &Verified) -> Outcome {
        self.journal.notice(&format!("accepted {} by {}", self.login.name, verified.method));
        match verified.remaining {
            Some(0) => self.conversation.mention("That was your last backup code. Have new ones made."),
            Some(left) => self.conversation.mention(&format!("Backup codes left: {left}")),
            None => {}
        }
        Outcome::Accepted
    }

    fn refused(&self, refusal: &Refusal) -> Step {
        let Some(code) = refusal.code() else { return Step::Done(self.broken(refusal)) };
        match code {
            // `Malformed`: the code has a length that none of the user's factors has. Users without a factor hear the same.
            ErrorCode::WrongCode | ErrorCode::Malformed => self.again(WRONG),
            ErrorCode::PinRequired => Step::Pin,
            ErrorCode::TooManyAttempts => {
                let text = match refusal.problem.retry_after {
                    Some(seconds) => format!("Too many failed attempts. Try again in {seconds} s."),
                    None => "Too many failed attempts. Try again later.".to_owned(),
                };
                self.conversation.say(&text);
                self.journal.notice("refused: delayed after failed attempts");
                Step::Done(Outcome::TooMany)
            }
            ErrorCode::FactorLocked => {
                self.conversation.say("Your second factors are locked after failed attempts. Ask an administrator.");
                self.journal.notice("refused: locked after failed attempts");
                Step::Done(Outcome::TooMany)
            }
            // A key that is not there, was not touched, or declined: the user may type a code instead.
            code if code.is_about_device() => self.again(&shown(&refusal.to_string())),
            _ => Step::Done(self.broken(refusal)),
        }
    }

    /// A refusal that is not about the answer: a missing right, or a daemon that cannot work.
    fn broken(&self, refusal: &Refusal) -> Outcome {
        self.journal.error(&format!("the daemon answered {}: {refusal}", refusal.problem.status));
        // A missing right is a mistake in the configuration, not an emergency.
        self.is_down.set(refusal.problem.status >= 500);
        self.conversation.say(OUT_OF_SERVICE);
        Outcome::Unavailable
    }

    pub(crate) fn unavailable(&self, error: &Error) -> Outcome {
        match error {
            Error::Refused(refusal) => self.broken(refusal),
            error => {
                self.journal.error(&error.to_string());
                self.is_down.set(true);
                self.conversation.say(OUT_OF_SERVICE);
                Outcome::Unavailable
            }
        }
    }
}

/// A sentence of the daemon, for a terminal.
fn shown(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(200).collect()
}

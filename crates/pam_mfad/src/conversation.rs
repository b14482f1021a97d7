//! The conversation with the user, through the application.

use pam::constants::{PAM_ERROR_MSG, PAM_PROMPT_ECHO_OFF, PAM_PROMPT_ECHO_ON, PAM_TEXT_INFO};
use pam::conv::Conv;
use pam::module::PamHandle;
use pam::secret::SecretBytes;

/// The application could not ask, or the user broke off.
#[derive(Debug)]
pub(crate) struct NoAnswer;

/// The conversation of one call.
pub(crate) struct Conversation<'a> {
    conv: Option<Conv<'a>>,
    is_silent: bool,
}

impl<'a> Conversation<'a> {
    pub(crate) fn new(handle: &'a PamHandle, is_silent: bool) -> Self {
        Self { conv: handle.get_item::<Conv<'_>>().ok().flatten(), is_silent }
    }

    /// Asks for a text that the terminal shows while it is typed. Codes are asked for so: they are of use only once,
    /// and the password method of sshd answers a hidden prompt with the password, whatever it asks for.
    pub(crate) fn ask_shown(&self, prompt: &str) -> Result<Option<SecretBytes>, NoAnswer> {
        self.ask(PAM_PROMPT_ECHO_ON, prompt)
    }

    /// Asks for a text that stays hidden.
    pub(crate) fn ask_hidden(&self, prompt: &str) -> Result<Option<SecretBytes>, NoAnswer> {
        self.ask(PAM_PROMPT_ECHO_OFF, prompt)
    }

    fn ask(&self, style: i32, prompt: &str) -> Result<Option<SecretBytes>, NoAnswer> {
        let conv = self.conv.as_ref().ok_or(NoAnswer)?;
        conv.send(style, prompt).map_err(|_| NoAnswer)
    }

    /// Says why the user is refused, or what to do. `PAM_SILENT` does not hide it: sudo always sets that flag.
    pub(crate) fn say(&self, text: &str) {
        self.tell(PAM_ERROR_MSG, text);
    }

    /// Says something that the user may miss. `PAM_SILENT` hides it.
    pub(crate) fn mention(&self, text: &str) {
        if !self.is_silent {
            self.tell(PAM_TEXT_INFO, text);
        }
    }

    fn tell(&self, style: i32, text: &str) {
        if let Some(conv) = &self.conv {
            // An application that cannot show texts must not change who is let in.
            let _ = conv.send(style, text);
        }
    }
}

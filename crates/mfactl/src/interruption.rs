//! What to say if the user presses Control-C now: the command that was interrupted cannot say it any more.

use std::sync::{Mutex, PoisonError};

static TEXT: Mutex<Option<String>> = Mutex::new(None);

/// Sets the text, or takes it back.
pub(crate) fn say(text: Option<String>) {
    *TEXT.lock().unwrap_or_else(PoisonError::into_inner) = text;
}

/// Takes the text out.
pub(crate) fn take() -> Option<String> {
    TEXT.lock().unwrap_or_else(PoisonError::into_inner).take()
}

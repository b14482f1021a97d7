//! The few functions of libpam that an application needs (`pam(3)`).

#![expect(unsafe_code, reason = "libpam is a C library")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;

use zeroize::{Zeroize as _, Zeroizing};

const SUCCESS: c_int = 0;
const CONV_ERR: c_int = 19;
const PROMPT_HIDDEN: c_int = 1;
const PROMPT_SHOWN: c_int = 2;
/// Longest conversation of one call (`PAM_MAX_NUM_MSG`).
const MOST_MESSAGES: c_int = 32;

#[repr(C)]
struct Handle {
    _opaque: [u8; 0],
}

#[repr(C)]
struct Message {
    style: c_int,
    text: *const c_char,
}

#[repr(C)]
struct Response {
    text: *mut c_char,
    code: c_int,
}

#[repr(C)]
struct Conv {
    converse: extern "C" fn(c_int, *mut *const Message, *mut *mut Response, *mut c_void) -> c_int,
    data: *mut c_void,
}

#[link(name = "pam")]
unsafe extern "C" {
    fn pam_start_confdir(
        service: *const c_char,
        user: *const c_char,
        conv: *const Conv,
        directory: *const c_char,
        handle: *mut *mut Handle,
    ) -> c_int;
    fn pam_authenticate(handle: *mut Handle, flags: c_int) -> c_int;
    fn pam_acct_mgmt(handle: *mut Handle, flags: c_int) -> c_int;
    fn pam_end(handle: *mut Handle, status: c_int) -> c_int;
    fn pam_strerror(handle: *mut Handle, status: c_int) -> *const c_char;
}

/// What an application does with the texts and prompts of the modules.
pub trait Conversation {
    /// Shows a text.
    fn show(&mut self, text: &str);

    /// Asks for one line; `None` if there is none.
    fn ask(&mut self, prompt: &str, is_shown: bool) -> Option<Zeroizing<String>>;
}

/// Authenticates the user by the stacks in the directory, and asks whether the account may log in. The error is the text
/// of libpam.
pub fn log_in(
    directory: &CStr,
    service: &CStr,
    user: &CStr,
    mut conversation: &mut dyn Conversation,
) -> Result<(), String> {
    // A pointer to the reference, since one to a trait object is wider than C's.
    let conv = Conv { converse, data: (&raw mut conversation).cast() };
    let mut handle = ptr::null_mut();
    // SAFETY: the strings end with a NUL, and all of them, `conv` and `conversation` live until `pam_end`.
    let begun = unsafe {
        pam_start_confdir(service.as_ptr(), user.as_ptr(), &raw const conv, directory.as_ptr(), &raw mut handle)
    };
    if begun != SUCCESS || handle.is_null() {
        return Err("the stack cannot be read".to_owned());
    }
    // SAFETY: the handle is valid until `pam_end`, which ends it.
    unsafe {
        let mut status = pam_authenticate(handle, 0);
        if status == SUCCESS {
            status = pam_acct_mgmt(handle, 0);
        }
        let why = text(pam_strerror(handle, status));
        pam_end(handle, status);
        if status == SUCCESS { Ok(()) } else { Err(why) }
    }
}

/// Returns a text of libpam.
fn text(text: *const c_char) -> String {
    if text.is_null() {
        return "no reason".to_owned();
    }
    // SAFETY: libpam hands over strings that end with a NUL and live until its next call.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// Shows the messages, and answers the prompts among them.
extern "C" fn converse(
    count: c_int,
    messages: *mut *const Message,
    responses: *mut *mut Response,
    data: *mut c_void,
) -> c_int {
    let Ok(length) = usize::try_from(count) else { return CONV_ERR };
    if length == 0 || count > MOST_MESSAGES || messages.is_null() || responses.is_null() || data.is_null() {
        return CONV_ERR;
    }
    // SAFETY: `log_in` has passed a pointer to its reference, which it does not use until libpam has returned.
    let conversation = unsafe { &mut *data.cast::<&mut dyn Conversation>() };
    // SAFETY: `calloc` of the C library, since libpam frees the array with `free`.
    let array = unsafe { libc::calloc(length, size_of::<Response>()) }.cast::<Response>();
    if array.is_null() {
        return CONV_ERR;
    }
    for index in 0..length {
        // SAFETY: libpam hands over `count` pointers to messages, and the array has as many places.
        let (message, response) = unsafe { (&**messages.add(index), &mut *array.add(index)) };
        if !answer(*conversation, message, response) {
            give_back(array, length);
            return CONV_ERR;
        }
    }
    // SAFETY: checked above not to be null.
    unsafe { *responses = array };
    SUCCESS
}

/// Shows one message; a prompt gets its answer. `false` if there is none.
fn answer(conversation: &mut dyn Conversation, message: &Message, response: &mut Response) -> bool {
    let text = text(message.text);
    if message.style != PROMPT_HIDDEN && message.style != PROMPT_SHOWN {
        conversation.show(&text);
        return true;
    }
    let Some(typed) = conversation.ask(&text, message.style == PROMPT_SHOWN) else { return false };
    let Ok(copy) = CString::new(typed.as_str()) else { return false };
    // SAFETY: the string ends with a NUL. libpam, or the module that asked, frees the copy.
    response.text = unsafe { libc::strdup(copy.as_ptr()) };
    copy.into_bytes().zeroize();
    !response.text.is_null()
}

/// Frees answers that nobody will get.
fn give_back(array: *mut Response, length: usize) {
    for index in 0..length {
        // SAFETY: the array has `length` places, each zero or the text of `strdup`.
        unsafe {
            let text = (*array.add(index)).text;
            if !text.is_null() {
                ptr::write_bytes(text, 0, libc::strlen(text));
                libc::free(text.cast());
            }
        }
    }
    // SAFETY: of `calloc`.
    unsafe { libc::free(array.cast()) };
}

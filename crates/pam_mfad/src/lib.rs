//! The PAM module `pam_mfad.so`: asks the daemon whether a user who logs in to this host gives a second factor.
//! `docs/pam.md` shows how to use it.
//!
//! It runs inside programs of others, often as root and with an environment and open files of the caller. So it reads
//! no environment variable, writes to no open file, starts no thread, and changes no signal. It is one blocking
//! exchange with the daemon for each answer, and a call waits for the daemon up to a deadline between two answers. Whatever goes wrong is a refusal.

#![cfg_attr(test, allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should"))]

mod answer;
mod break_glass;
mod conversation;
mod date;
mod factor;
mod items;
mod journal;
mod options;
mod outcome;
mod password;
mod patience;
mod socket;

use std::ffi::CStr;

use pam::constants::{PAM_SILENT, PamFlag, PamResultCode};
use pam::module::{PamHandle, PamHooks};

use conversation::Conversation;
use factor::Attempt;
use items::Login;
use journal::Journal;
use options::Options;
use outcome::Outcome;

struct Module;

mod entry_points {
    use super::Module;

    pam::pam_hooks!(Module);
}

impl PamHooks for Module {
    fn sm_authenticate(handle: &mut PamHandle, args: Vec<&CStr>, flags: PamFlag) -> PamResultCode {
        run(handle, &args, flags, Function::Auth)
    }

    fn acct_mgmt(handle: &mut PamHandle, args: Vec<&CStr>, flags: PamFlag) -> PamResultCode {
        run(handle, &args, flags, Function::Account)
    }

    /// Success at once: applications call it up to three times, in other processes and as other users.
    fn sm_setcred(_: &mut PamHandle, _: Vec<&CStr>, _: PamFlag) -> PamResultCode {
        PamResultCode::PAM_SUCCESS
    }

    fn sm_open_session(_: &mut PamHandle, _: Vec<&CStr>, _: PamFlag) -> PamResultCode {
        PamResultCode::PAM_SUCCESS
    }

    fn sm_close_session(_: &mut PamHandle, _: Vec<&CStr>, _: PamFlag) -> PamResultCode {
        PamResultCode::PAM_SUCCESS
    }

    fn sm_chauthtok(handle: &mut PamHandle, _: Vec<&CStr>, _: PamFlag) -> PamResultCode {
        silence_panics();
        Journal::new(items::service(handle), "password")
            .error("it changes no passwords; take it out of the `password` stack of this service");
        PamResultCode::PAM_AUTHTOK_ERR
    }
}

/// The management functions that ask the daemon.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Function {
    Auth,
    Account,
}

impl Function {
    fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Account => "account",
        }
    }
}

/// Runs one management function of the module. An unknown option refuses everybody, since it may have been meant to make
/// the stack stricter.
fn run(handle: &mut PamHandle, args: &[&CStr], flags: PamFlag, function: Function) -> PamResultCode {
    silence_panics();
    let journal = Journal::new(items::service(handle), function.name());
    let options = match Options::parse(args) {
        Ok(options) => options,
        Err(fault) => {
            journal.error(&fault);
            // Whoever tries the module first must not be locked out by a mistake in the line.
            let is_dry_run = args.contains(&c"dry_run");
            return if is_dry_run { PamResultCode::PAM_IGNORE } else { PamResultCode::PAM_SERVICE_ERR };
        }
    };
    let login = match begin(handle, &options, &journal) {
        Ok(login) => login,
        Err(outcome) => return outcome.code(&options, &journal, None),
    };
    if function == Function::Account && options.enforces && was_let_in_by_break_glass(handle, &login) {
        return Outcome::Accepted.code(&options, &journal, Some(&login));
    }
    let password = if function == Function::Auth && options.checks_password { items::password(handle) } else { None };
    let (outcome, typed, is_break_glass) = {
        let conversation = Conversation::new(handle, flags & PAM_SILENT != 0);
        let mut attempt = Attempt::new(&options, &login, &journal, conversation, password);
        let outcome = match function {
            Function::Auth => attempt.authenticate(),
            Function::Account => attempt.has_factor(),
        };
        (outcome, attempt.typed_password, attempt.is_break_glass)
    };
    if is_break_glass && !options.is_dry_run {
        // Without it, `account` refuses as long as the daemon does.
        let _ = handle.set_data(BREAK_GLASS, Box::new(login.account.clone()));
    }
    if let Some(typed) = typed.filter(|_| outcome == Outcome::Accepted && !options.is_dry_run) {
        items::keep_password(handle, &typed);
    }
    outcome.code(&options, &journal, Some(&login))
}

/// The name under which PAM keeps the account that a break-glass code has let in, from `auth` to `account`.
const BREAK_GLASS: &str = "pam_mfad_break_glass";

#[expect(unsafe_code, reason = "PAM keeps the value without its type")]
fn was_let_in_by_break_glass(handle: &PamHandle, login: &Login) -> bool {
    // SAFETY: only this module uses the name, and only for a `String`.
    unsafe { handle.get_data::<String>(BREAK_GLASS) }.is_ok_and(|account| *account == login.account)
}

/// Checks that the socket can be trusted, and reads who logs in.
fn begin(handle: &mut PamHandle, options: &Options, journal: &Journal) -> Result<Login, Outcome> {
    socket::check(&options.socket).map_err(|fault| {
        journal.error(&fault);
        Outcome::Unavailable
    })?;
    // PAM may ask for the name, as `login` leaves to the modules.
    let user = handle.get_user(None).map_err(|_| {
        journal.error("there is no user name, or one that is not UTF-8");
        Outcome::Refused
    })?;
    Login::read(handle, user, options).map_err(|fault| {
        journal.error(&fault);
        Outcome::Refused
    })
}

/// The default hook prints the message of a panic to standard error, which is the user's terminal or a file of the
/// application, and reads the caller's `RUST_BACKTRACE`. The panic itself is caught by `pam-bindings`, and refused.
fn silence_panics() {
    std::panic::set_hook(Box::new(|_| {}));
}

//! Tries a login of one user through a PAM stack in a directory of its own, before the stack is put in place. It opens no
//! session.
//!
//! Usage: `mfad-pam-try DIRECTORY SERVICE USER`. Exit codes: 0 let in, 1 refused, 2 wrong usage.

mod conversation;

use std::ffi::CString;
use std::process::ExitCode;

use conversation::Terminal;

#[expect(clippy::print_stderr, reason = "an administrator reads how the login ended")]
fn main() -> ExitCode {
    let arguments: Vec<CString> = std::env::args().skip(1).filter_map(|argument| CString::new(argument).ok()).collect();
    let [directory, service, user] = arguments.as_slice() else {
        eprintln!("usage: mfad-pam-try DIRECTORY SERVICE USER");
        return ExitCode::from(2);
    };
    match mfad_pam_try::log_in(directory, service, user, &mut Terminal) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("refused: {why}");
            ExitCode::from(1)
        }
    }
}

//! Lines for the system log, in the form that PAM modules use: `pam_mfad(sshd:auth): …`. No secret is passed here.

use std::ffi::CString;

/// The system log, for one management function of one service.
pub(crate) struct Journal {
    service: String,
    function: &'static str,
}

impl Journal {
    pub(crate) fn new(service: String, function: &'static str) -> Self {
        Self { service, function }
    }

    /// Something that an administrator has to mend.
    pub(crate) fn error(&self, text: &str) {
        self.write(libc::LOG_ERR, text);
    }

    /// How an attempt ended.
    pub(crate) fn notice(&self, text: &str) {
        self.write(libc::LOG_NOTICE, text);
    }

    // `openlog` would change the identity under which the application itself logs, so the line names the module.
    #[expect(unsafe_code, reason = "syslog(3) is the way to the log that needs no configuration of the application")]
    fn write(&self, priority: libc::c_int, text: &str) {
        let line = format!("pam_mfad({}:{}): {text}", self.service, self.function);
        let Ok(line) = CString::new(line.replace(char::is_control, "?")) else { return };
        // SAFETY: both strings end with a NUL and live until the call returns; the format takes exactly one string.
        unsafe { libc::syslog(libc::LOG_AUTHPRIV | priority, c"%s".as_ptr(), line.as_ptr()) }
    }
}

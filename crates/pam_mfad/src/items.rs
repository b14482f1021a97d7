//! What PAM knows of a login: the service, the user, the remote host and the terminal.

use std::ffi::{CStr, CString};
use std::ops::Deref;

use mfad_client::{HostLogin, SecretString};
use pam::items::{AuthTok, Item, RHost, RUser, Service, Tty};
use pam::module::PamHandle;
use zeroize::Zeroizing;

use crate::options::{Options, Whose};

/// Longest service, user or terminal that the daemon takes, in characters.
const LONGEST_ITEM: usize = 64;
/// Longest remote host, in characters.
const LONGEST_HOST: usize = 255;
/// Room for the entry of an account.
const LONGEST_ENTRY: usize = 16 * 1024;

/// A login to this host.
#[derive(Debug)]
pub(crate) struct Login {
    /// The account of this host.
    pub(crate) account: String,
    /// The name of the user of mfad.
    pub(crate) name: String,
    /// Whether somebody on another host logs in, who cannot touch a key in a port of this one.
    pub(crate) is_remote: bool,
    /// What the daemon writes into its audit log.
    pub(crate) told: HostLogin,
}

impl Login {
    /// Reads the login of the account `user`.
    pub(crate) fn read(handle: &PamHandle, user: String, options: &Options) -> Result<Self, String> {
        let service = service(handle);
        let caller = item::<RUser<'_>>(handle);
        let rhost = text(item::<RHost<'_>>(handle));
        let tty = text(item::<Tty<'_>>(handle));
        let account = match options.whose {
            Whose::User => user,
            Whose::RemoteUser => caller_of_this_host(caller, rhost.as_deref())?,
        };
        Ok(Self {
            name: options.name_of(&account),
            account,
            // Behind a Unix socket sshd knows no remote host; it names itself as the terminal.
            is_remote: rhost.is_some() || service == "sshd" || tty.as_deref() == Some("ssh"),
            told: HostLogin {
                service: shortened(&service, LONGEST_ITEM),
                ruser: text(caller).map(|text| shortened(&text, LONGEST_ITEM)),
                rhost: rhost.map(|text| shortened(&text, LONGEST_HOST)),
                tty: tty.map(|text| shortened(&text, LONGEST_ITEM)),
            },
        })
    }

    /// The account, for the system log. A name that is no account may be a password that somebody typed in the wrong place.
    pub(crate) fn shown(&self) -> &str {
        if is_account(&self.account) { &self.account } else { "an unknown account" }
    }
}

/// The caller as an identity: exactly as it is, and only from a program of this host. In a login from another host, the
/// other side chooses it.
fn caller_of_this_host(caller: Option<&CStr>, rhost: Option<&str>) -> Result<String, String> {
    if rhost.is_some() {
        return Err("`user=ruser` is not for logins from other hosts, which choose PAM_RUSER themselves".to_owned());
    }
    let caller = caller.and_then(|name| name.to_str().ok()).filter(|name| !name.is_empty());
    let missing = "`user=ruser` needs an application that sets PAM_RUSER, and this one does not";
    caller.map(str::to_owned).ok_or_else(|| missing.to_owned())
}

/// Whether this host has an account of exactly this name. A directory may know it by other names as well.
#[expect(unsafe_code, reason = "`getpwnam_r` is the way to ask the host that leaves the application's data alone")]
pub(crate) fn is_account(name: &str) -> bool {
    let Ok(name) = CString::new(name) else { return false };
    let mut buffer: Vec<libc::c_char> = vec![0; LONGEST_ENTRY];
    // SAFETY: all zeros is a valid `passwd`, whose pointers are read only after the call has set them.
    let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
    let mut found = std::ptr::null_mut();
    // SAFETY: the name ends with a NUL; entry, buffer and found live until the call returns, and the length is right.
    let status =
        unsafe { libc::getpwnam_r(name.as_ptr(), &raw mut entry, buffer.as_mut_ptr(), buffer.len(), &raw mut found) };
    // SAFETY: a successful call has set the name to a string in `buffer`.
    status == 0 && !found.is_null() && unsafe { CStr::from_ptr(entry.pw_name) } == name.as_c_str()
}

/// An item of PAM that is a string; `None` if it is not set.
fn item<'a, T: Item<'a> + Deref<Target = &'a CStr>>(handle: &'a PamHandle) -> Option<&'a CStr> {
    handle.get_item::<T>().ok().flatten().map(|item| *item)
}

/// The name of the service, or `unknown`.
pub(crate) fn service(handle: &PamHandle) -> String {
    text(item::<Service<'_>>(handle)).unwrap_or_else(|| "unknown".to_owned())
}

/// The password that a module before this one has asked for.
pub(crate) fn password(handle: &PamHandle) -> Option<SecretString> {
    let item = handle.get_item::<AuthTok<'_>>().ok().flatten()?;
    let text = std::str::from_utf8(item.as_bytes()).ok()?;
    Some(SecretString::new(text.to_owned()))
}

/// Keeps a correct password for modules after this one, such as one that opens a key ring.
#[expect(unsafe_code, reason = "`pam-bindings` makes this item from a C string only so")]
pub(crate) fn keep_password(handle: &mut PamHandle, password: &SecretString) {
    let mut bytes = Vec::with_capacity(password.as_str().len().saturating_add(1));
    bytes.extend_from_slice(password.as_str().as_bytes());
    bytes.push(0);
    let bytes = Zeroizing::new(bytes);
    let Ok(text) = CStr::from_bytes_with_nul(&bytes) else { return };
    // SAFETY: the string ends with a NUL and lives until PAM has copied it.
    let item = unsafe { AuthTok::from_raw(text.as_ptr()) };
    // Without it the user is let in all the same, and a key ring asks for the password again.
    let _ = handle.set_item_str(item);
}

/// An item as text; `None` if it is empty. What is not UTF-8, and what a terminal does not show, becomes `?`.
fn text(item: Option<&CStr>) -> Option<String> {
    let is_shown = |letter: char| letter == ' ' || letter.is_ascii_graphic() || letter.is_alphanumeric();
    let text = item?.to_string_lossy().replace(|letter: char| !is_shown(letter), "?");
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn shortened(text: &str, longest: usize) -> String {
    text.chars().take(longest).collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_has_no_control_characters_and_is_not_empty() {
        let read = |bytes: &[u8]| text(Some(&CString::new(bytes).unwrap()));

        assert_eq!(read(b"192.0.2.7").as_deref(), Some("192.0.2.7"));
        assert_eq!(read(b" /dev/pts/0\n").as_deref(), Some("/dev/pts/0?"));
        assert_eq!(read(b"a\x1b[31m\xff").as_deref(), Some("a?[31m?"));
        assert_eq!(read("tty\u{202e}1".as_bytes()).as_deref(), Some("tty?1"));
        for empty in [b"".as_slice(), b"  "] {
            assert_eq!(read(empty), None);
        }
        assert_eq!(text(None), None);
    }

    #[test]
    fn a_caller_is_taken_as_it_is_and_only_from_this_host() {
        let name = CString::new(" emmy").unwrap();

        assert_eq!(caller_of_this_host(Some(&name), None).as_deref(), Ok(" emmy"));
        assert!(caller_of_this_host(Some(&name), Some("192.0.2.7")).is_err());
        assert!(caller_of_this_host(None, None).is_err() && caller_of_this_host(Some(c""), None).is_err());
        assert!(caller_of_this_host(Some(c"\xff"), None).is_err());
    }

    #[test]
    fn an_account_is_known_by_its_own_name() {
        assert!(is_account("root"));
        for name in ["", "Root", "no-such-account-here", "root\0x"] {
            assert!(!is_account(name), "{name:?}");
        }
    }

    #[test]
    fn a_long_item_is_cut_at_a_character() {
        assert_eq!(shortened("äöü", 2), "äö");
        assert_eq!(shortened("a b", 2), "a");
    }
}

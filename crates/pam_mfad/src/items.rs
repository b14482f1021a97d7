//! What PAM knows of a login: the service, the user, the remote host and the terminal.

use std::ffi::CStr;

use mfad_client::{HostLogin, SecretString};
use pam::items::{AuthTok, Item, RHost, RUser, Service, Tty};
use pam::module::PamHandle;
use zeroize::Zeroizing;

use crate::options::{Options, Whose};

/// Longest service, user or terminal that the daemon takes, in characters.
const LONGEST_ITEM: usize = 64;
/// Longest remote host, in characters.
const LONGEST_HOST: usize = 255;

/// A login to this host.
#[derive(Debug)]
pub(crate) struct Login {
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
        let ruser = text(handle.get_item::<RUser<'_>>().ok().flatten().map(|item| item.0));
        let rhost = text(handle.get_item::<RHost<'_>>().ok().flatten().map(|item| item.0));
        let tty = text(handle.get_item::<Tty<'_>>().ok().flatten().map(|item| item.0));
        let account = match options.whose {
            Whose::User => user,
            Whose::RemoteUser => {
                ruser.clone().ok_or("`user=ruser` needs an application that sets PAM_RUSER, and this one does not")?
            }
        };
        Ok(Self {
            name: options.name_of(&account),
            // Behind a Unix socket sshd knows no remote host.
            is_remote: rhost.is_some() || service == "sshd",
            told: HostLogin {
                service: shortened(&service, LONGEST_ITEM),
                ruser: ruser.map(|text| shortened(&text, LONGEST_ITEM)),
                rhost: rhost.map(|text| shortened(&text, LONGEST_HOST)),
                tty: tty.map(|text| shortened(&text, LONGEST_ITEM)),
            },
        })
    }
}

/// The name of the service, or `unknown`.
pub(crate) fn service(handle: &PamHandle) -> String {
    text(handle.get_item::<Service<'_>>().ok().flatten().map(|item| item.0)).unwrap_or_else(|| "unknown".to_owned())
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

/// An item as text; `None` if it is empty. Bytes that are not UTF-8 and control characters become `?`.
fn text(item: Option<&CStr>) -> Option<String> {
    let text = item?.to_string_lossy().replace(|letter: char| letter.is_control() || letter == '\u{FFFD}', "?");
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn shortened(text: &str, longest: usize) -> String {
    text.chars().take(longest).collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use super::*;

    #[test]
    fn an_item_has_no_control_characters_and_is_not_empty() {
        let read = |bytes: &[u8]| text(Some(&CString::new(bytes).unwrap()));

        assert_eq!(read(b"192.0.2.7").as_deref(), Some("192.0.2.7"));
        assert_eq!(read(b" /dev/pts/0\n").as_deref(), Some("/dev/pts/0?"));
        assert_eq!(read(b"a\x1b[31m\xff").as_deref(), Some("a?[31m?"));
        for empty in [b"".as_slice(), b"  "] {
            assert_eq!(read(empty), None);
        }
        assert_eq!(text(None), None);
    }

    #[test]
    fn a_long_item_is_cut_at_a_character() {
        assert_eq!(shortened("äöü", 2), "äö");
        assert_eq!(shortened("a b", 2), "a");
    }
}

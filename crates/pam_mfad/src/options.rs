//! The options of a line in `/etc/pam.d`, as pam_mfad(8) describes them.

use std::ffi::CStr;
use std::path::PathBuf;
use std::time::Duration;

use crate::date::Day;

/// The socket of the packaged daemon.
const SOCKET: &str = "/run/mfad/mfad.sock";

/// Whose second factor is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The user's whom PAM authenticates (`PAM_USER`).
    User,
    /// The caller's (`PAM_RUSER`), as for `su`.
    RemoteUser,
}

/// What becomes of a user without a second factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoFactor {
    /// The user is refused.
    Deny,
    /// The user is let in.
    Ok,
    /// The user is let in until the end of this day, and told at each login.
    Enroll(Day, [u8; 10]),
}

/// The options of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Whether the daemon also checks the password.
    pub(crate) checks_password: bool,
    pub(crate) socket: PathBuf,
    /// How often a wrong answer may be followed by another one.
    pub(crate) retries: u32,
    /// Time limit of one exchange without a touch.
    pub(crate) time: Duration,
    pub(crate) no_factor: NoFactor,
    pub(crate) whose: Whose,
    /// The name of the user of mfad, with `%u` for the account.
    pub(crate) name: String,
    pub(crate) takes_codes: bool,
    pub(crate) takes_backup_codes: bool,
    pub(crate) takes_touch: bool,
    /// Whether `account` refuses users without a second factor.
    pub(crate) enforces: bool,
    pub(crate) is_dry_run: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            checks_password: false,
            socket: PathBuf::from(SOCKET),
            retries: 2,
            time: Duration::from_secs(10),
            no_factor: NoFactor::Deny,
            whose: Whose::User,
            name: "%u".to_owned(),
            takes_codes: true,
            takes_backup_codes: true,
            takes_touch: true,
            enforces: false,
            is_dry_run: false,
        }
    }
}

impl Options {
    /// Reads the options. The error is for the administrator, in the system log.
    pub(crate) fn parse(args: &[&CStr]) -> Result<Self, String> {
        let (mut options, mut until, mut enrolls) = (Self::default(), None, false);
        for arg in args {
            let text = arg.to_str().map_err(|_| "an option is not UTF-8".to_owned())?;
            let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
            let invalid = || format!("the option `{text}` is unknown or has a wrong value; see pam_mfad(8)");
            match (name, value) {
                ("factor", None) => options.checks_password = false,
                ("password+factor", None) => options.checks_password = true,
                ("enforce", None) => options.enforces = true,
                ("dry_run", None) => options.is_dry_run = true,
                ("socket", Some(path)) if path.starts_with('/') => options.socket = PathBuf::from(path),
                ("retries", Some(value)) => options.retries = number(value, 0..=9).ok_or_else(invalid)?,
                ("timeout", Some(value)) => {
                    options.time = Duration::from_secs(number(value, 1..=30).ok_or_else(invalid)?.into());
                }
                ("user", Some("user")) => options.whose = Whose::User,
                ("user", Some("ruser")) => options.whose = Whose::RemoteUser,
                ("name", Some(value)) if value.contains("%u") => value.clone_into(&mut options.name),
                ("methods", Some(list)) => options.set_methods(list).ok_or_else(invalid)?,
                ("nofactor", Some("deny")) => (options.no_factor, enrolls) = (NoFactor::Deny, false),
                ("nofactor", Some("ok")) => (options.no_factor, enrolls) = (NoFactor::Ok, false),
                ("nofactor", Some("enroll")) => enrolls = true,
                ("until", Some(value)) => until = Some(until_day(value).ok_or_else(invalid)?),
                _ => return Err(invalid()),
            }
        }
        match (enrolls, until) {
            (true, Some(until)) => options.no_factor = until,
            (false, None) => {}
            _ => return Err("`nofactor=enroll` and `until=YYYY-MM-DD` go together".to_owned()),
        }
        Ok(options)
    }

    /// The name of the user of mfad for an account.
    pub(crate) fn name_of(&self, account: &str) -> String {
        self.name.replace("%u", account)
    }

    fn set_methods(&mut self, list: &str) -> Option<()> {
        (self.takes_codes, self.takes_backup_codes, self.takes_touch) = (false, false, false);
        for method in list.split(',') {
            match method {
                "code" => self.takes_codes = true,
                "backup" => self.takes_backup_codes = true,
                "touch" => self.takes_touch = true,
                _ => return None,
            }
        }
        Some(())
    }
}

fn number(text: &str, range: std::ops::RangeInclusive<u32>) -> Option<u32> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok())?.filter(|number| range.contains(number))
}

fn until_day(text: &str) -> Option<NoFactor> {
    let shown = text.as_bytes().try_into().ok()?;
    Day::parse(text).map(|day| NoFactor::Enroll(day, shown))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;

    fn parse(line: &str) -> Result<Options, String> {
        let args: Vec<CString> = line.split_whitespace().map(|arg| CString::new(arg).unwrap()).collect();
        Options::parse(&args.iter().map(CString::as_c_str).collect::<Vec<_>>())
    }

    #[test]
    fn without_options_every_user_needs_a_factor() {
        let options = parse("").unwrap();

        assert_eq!(options, Options::default());
        assert!(options.no_factor == NoFactor::Deny && !options.is_dry_run && !options.checks_password);
    }

    #[test]
    fn options_are_read() {
        let options = parse(
            "password+factor socket=/tmp/s retries=0 timeout=3 nofactor=enroll until=2027-01-31 user=ruser \
             name=%u@example.org methods=code,touch enforce dry_run",
        )
        .unwrap();

        assert!(options.checks_password && options.enforces && options.is_dry_run);
        assert_eq!((options.retries, options.time), (0, Duration::from_secs(3)));
        assert_eq!(options.no_factor, NoFactor::Enroll(Day::parse("2027-01-31").unwrap(), *b"2027-01-31"));
        assert_eq!(options.whose, Whose::RemoteUser);
        assert_eq!(options.name_of("emmy"), "emmy@example.org");
        assert_eq!((options.takes_codes, options.takes_backup_codes, options.takes_touch), (true, false, true));
    }

    #[test]
    fn an_option_that_is_not_known_is_refused() {
        for line in [
            "nullok",
            "Factor",
            "enforce=yes",
            "socket=mfad.sock",
            "socket",
            "retries=10",
            "retries=-1",
            "retries=",
            "timeout=0",
            "timeout=31",
            "nofactor=allow",
            "nofactor=enroll",
            "until=2027-01-31",
            "nofactor=enroll until=2027-02-30",
            "nofactor=ok until=2027-01-31",
            "user=root",
            "name=root",
            "methods=",
            "methods=code,pin",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}

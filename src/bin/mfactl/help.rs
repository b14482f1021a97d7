//! The longer texts of the help.

/// Below the list of commands.
pub const MFACTL: &str = "\
Examples:
  mfactl user add ann --password         create a user, ask for the password
  mfactl enroll ann --as-user            set up a factor with ann's own login
  mfactl login ann                       try password and code
  mfactl verify ann --code-stdin         check one code, as an application does
  mfactl unlock ann --reason 'ticket 7'  end a lock

USER is a name or a uid, or `me` together with --as-user. Passwords and codes are asked for on the
terminal or read from a file or standard input; they are never arguments.

Exit codes: 0 done, 1 denied or wrong code, 2 usage, 3 daemon not reachable or not ready,
4 not permitted, 5 device, 6 locked or limited, 70 internal error, 130 interrupted.";

/// `user add`.
pub const USER_ADD: &str = "\
Examples:
  mfactl user add ann --email ann@example.org --password
  mfactl user add bot --password-file /run/keys/bot";

/// `passwd`.
pub const PASSWD: &str = "\
The current password is asked for, unless an admin gives --reason.

Examples:
  mfactl passwd ann --as-user
  mfactl passwd ann --reason 'forgot it' --password-stdin < new.txt";

/// `login`.
pub const LOGIN: &str = "\
Without --show-token or --json the new session is ended at once: the login was only a test.

Examples:
  mfactl login ann
  mfactl login ann --recovery
  TOKEN=$(mfactl login ann --show-token --quiet)";

/// `enroll`.
pub const ENROLL: &str = "\
Examples:
  mfactl enroll ann --as-user --name phone
  mfactl enroll ann --start --json             create it only
  mfactl enroll ann --finish UID --code-stdin  finish what was created";

/// `verify`.
pub const VERIFY: &str = "\
A used code does not count a second time. Codes of the authenticator and backup codes are told
apart by their shape.

Example:
  printf %s \"$answer\" | mfactl verify ann --code-stdin --quiet && echo welcome";

/// `secret rename`.
pub const SECRET_RENAME: &str = "\
Example:
  mfactl secret rename ann phone 'old phone'";

/// `audit tail`.
pub const AUDIT_TAIL: &str = "\
With --json and --follow each event is a document on a line of its own.

Example:
  mfactl audit tail -n 50 --follow";

/// `audit verify`.
pub const AUDIT_VERIFY: &str = "\
Ends with 1 and names the first event that does not follow from the one before. A chain shows what was
changed or removed inside the log; to see that its end was cut off, keep the newest hash elsewhere.";

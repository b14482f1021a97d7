//! The longer texts of the help.

/// Below the list of commands.
pub const MFACTL: &str = "\
Examples:
  mfactl user add ann --password         create a user, ask for the password
  mfactl enroll ann --as-user            set up a factor with ann's own login
  mfactl login ann                       try password and code
  mfactl verify ann --code-stdin         check one code, as an application does
  mfactl unlock ann --reason 'ticket 7'  end a lock
  mfactl device list                     show the hardware keys that are plugged in
  mfactl fido2 enroll ann --as-user      register the security key that is plugged in
  mfactl doctor                          look for what is wrong on this host

USER is a name or a uid, or `me` together with --as-user. Passwords and codes are asked for on the
terminal or read from a file or standard input; they are never arguments.

A file or standard input with a secret holds that one secret as one line of UTF-8. A byte order mark before it and one
line end (LF or CR LF) after it are no part of it. It is refused if it is empty, has a second line, or holds another
control character.

Exit codes: 0 done, 1 denied or wrong code, 2 usage, 3 daemon not reachable or not ready, 4 not permitted, 5 device,
6 locked or limited, 7 output cannot be written, 70 internal error, 130 interrupted.";

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
  mfactl login ann --device
  mfactl login ann --device --pin-file /run/user/1000/pin
  TOKEN=$(mfactl login ann --show-token --quiet)";

/// `enroll`.
pub const ENROLL: &str = "\
Examples:
  mfactl enroll ann --as-user --name phone
  mfactl enroll ann --start --json             create it only
  mfactl enroll ann --finish UID --code-stdin  finish what was created
  mfactl enroll ann --finish UID --device      the same, with a code of the hardware key itself";

/// `verify`.
pub const VERIFY: &str = "\
A used code does not count a second time. Codes of the authenticator and backup codes are told
apart by their shape.

Examples:
  printf %s \"$answer\" | mfactl verify ann --code-stdin --quiet && echo welcome
  mfactl verify ann --device";

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

/// `fido2 enroll`.
pub const FIDO2_ENROLL: &str = "\
The key is active at once, and answers in a browser too. A key with a PIN is told it: on the terminal, from a
file or from standard input.

Examples:
  mfactl fido2 enroll ann --as-user --name 'blue key'
  mfactl fido2 enroll ann --reason 'ticket 7' --uv required --pin-file /run/keys/pin";

/// `fido2 list`.
pub const FIDO2_LIST: &str = "\
Examples:
  mfactl fido2 list
  mfactl fido2 list ann";

/// `device list`.
pub const DEVICE_LIST: &str = "\
ACCOUNTS are those on the key, of how many fit; `locked` when the daemon does not know the key's password.

Example:
  mfactl device list";

/// `device info`.
pub const DEVICE_INFO: &str = "\
Example:
  mfactl device info 12345678";

/// `device attest`.
pub const DEVICE_ATTEST: &str = "\
The key has to hold a PIV key that was made on it, that needs no PIN, and the daemon the maker's certificates:
  ykman piv keys generate --algorithm ECCP256 --pin-policy NEVER 9e /dev/null

Example:
  mfactl device attest 12345678";

/// `device accounts`.
pub const DEVICE_ACCOUNTS: &str = "\
Example:
  mfactl device accounts 12345678";

/// `device provision`.
pub const DEVICE_PROVISION: &str = "\
The seed goes onto the key and is never shown. The receipt says what was put on which key; it is
given only once.

Examples:
  mfactl device provision ann --reason 'ticket 7'                   the only key that is there
  mfactl device provision ann --serial 12345678 -t --as-user        each code needs a touch
  mfactl device provision ann --pending --reason 'ticket 7'         active with ann's first code
  mfactl device provision ann --spare-of UID --reason 'ticket 7'    a second key beside a pending one";

/// `device rename`.
pub const DEVICE_RENAME: &str = "\
Example:
  mfactl device rename 12345678 mfad:ann mfad:ann.l --reason 'new name'";

/// `device delete`.
pub const DEVICE_DELETE: &str = "\
Example:
  mfactl device delete 12345678 old:ann --reason 'left over'";

/// `device reset`.
pub const DEVICE_RESET: &str = "\
Erases the accounts of other programs too. Needs no password.

Example:
  mfactl device reset 12345678 --reason 'into the drawer'";

/// `device password`.
pub const DEVICE_PASSWORD: &str = "\
The current password is asked for only when the daemon does not know it.

Examples:
  mfactl device password 12345678 --learn --reason 'set with ykman'
  mfactl device password 12345678 --random --reason 'policy'
  mfactl device password 12345678 --password-file new.txt --current-file old.txt --reason 'policy'
  mfactl device password 12345678 --remove --reason 'ann leaves'";

/// `device return`.
pub const DEVICE_RETURN: &str = "\
For each factor on the key: a code computed on it has to be right, then the account is erased and the factor
revoked. Ends with 1 if one of the steps was not done.

Example:
  mfactl device return 12345678 --reason 'ann leaves'";

/// `device watch`.
pub const DEVICE_WATCH: &str = "\
With --json each event is a document on a line of its own.

Example:
  mfactl device watch";

/// `provision batch`.
pub const PROVISION_BATCH: &str = "\
The manifest has a header line and one user a line; lines that begin with # are comments:

  user,label,touch
  ann,blue key,yes
  bob,,no

Each fresh key that is plugged in gets the next user; several readers are worked at once. After each key a
line with its serial number is written to the file of results. Run the same command again to go on after an
interruption: users who are done are skipped, those that failed are tried again.

Examples:
  mfactl provision batch staff.csv --reason 'new staff, ticket 71'
  mfactl provision batch staff.csv --spare --receipts receipts --codes letters --reason 'ticket 71'";

/// `receipt verify`.
pub const RECEIPT_VERIFY: &str = "\
Needs no daemon. Ends with 1 if the receipt is not valid.

Example:
  mfactl receipt verify receipt-ann --keys receipt-keys.json";

/// `receipt keys`.
pub const RECEIPT_KEYS: &str = "\
Example:
  mfactl receipt keys > receipt-keys.json";

/// `import`.
pub const IMPORT: &str = "\
The user is the account that the URI names, or --user. Algorithm, digits and period are kept as they are, or the
URI is refused; parameters that no code depends on, such as icon, are not kept. Each factor becomes active with a code
of the authenticator that has it. A user has one pending factor at most: a line that would end the pending factor of an
earlier line is refused, so with --pending only the first one of a user is taken over. Lines that begin with # are
comments. Ends with 1 if a line was not taken over; each such line is named with its number.

Examples:
  mfactl import --user ann --reason 'moved from the old server' < ann.uri
  mfactl import everybody.txt --reason 'moved from the old server'";

/// `key rotate`.
pub const KEY_ROTATE: &str = "\
Where the daemon keeps the key in a file of its own, it makes the new one and puts it in its place. Where the key is
an encrypted credential, run this as root: the new one is encrypted with systemd-creds, and takes the place of the
old one once everything is sealed under it. Refresh tokens end. Backups of before need the old key.

Examples:
  mfactl key rotate --reason 'yearly'
  mfactl key rotate --to new.key --reason 'yearly'   for a key that comes from elsewhere";

/// `backup`.
pub const BACKUP: &str = "\
The copy is encrypted under a key that is derived from the master key: keep that one elsewhere. After a failure there is
no file; on standard output a part of the copy may be left. Ends with 7 if the copy cannot be written, such as for want
of room.

Examples:
  mfactl backup /srv/backup/mfad-$(date +%F)
  mfactl backup - | ssh vault 'cat > mfad-backup'   set -o pipefail tells of a failure on this side
  mfad restore /srv/backup/mfad-2026-11-25          while the daemon is stopped";

/// `doctor`.
pub const DOCTOR: &str = "\
Looks at the daemon, versions, the clock, pcscd, the master key, the socket, the store and the disk. Run it as root
to see all of that. Ends with 1 if there is a problem.

Example:
  mfactl doctor --json";

/// `completions`.
pub const COMPLETIONS: &str = "\
The package installs them. By hand:
  mfactl completions bash > /etc/bash_completion.d/mfactl";

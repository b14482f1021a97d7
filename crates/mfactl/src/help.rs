//! The longer help texts, one constant per command, which follow the list of flags in `--help` and in the man pages.
//! They use the width of a terminal: clap wraps longer lines, but never joins short ones.

/// The line before the exit codes in [`MFACTL`].
pub(crate) const EXIT_CODES: &str = "Exit codes:\n";

/// Follows the list of commands in `mfactl --help`.
pub(crate) const MFACTL: &str = "\
Examples:
  mfactl user add ann --password      create a user and prompt for the password
  mfactl enroll ann --as-user         enrol a factor with ann's own login
  mfactl login ann                    try password and code
  mfactl verify ann --code-stdin      verify one code, as an application does
  mfactl unlock ann --reason typos    clear a lock
  mfactl device list                  list the hardware keys that are plugged in
  mfactl fido2 enroll ann --as-user   register the security key in this host
  mfactl doctor                       find problems on this host

USER is a name or a uid, or `me` together with --as-user. Passwords, codes and
PINs are never arguments: mfactl prompts for them on the terminal, or reads
them from a file or standard input.

A file or standard input contains exactly one secret, as a single line of
UTF-8. A byte order mark at the start and one line ending (LF or CR LF) at the
end are not part of the secret. An empty secret, a second line and any other
control character are refused.

Exit codes:
  0    success
  1    denied, not confirmed, not found, conflict, or a wrong code or password
  2    usage error, or invalid input
  3    the daemon cannot be reached or is not ready
  4    not permitted
  5    a hardware key or security key is missing, busy or refuses
  6    locked or rate limited
  7    the output cannot be written
  70   internal error
  130  interrupted";

pub(crate) const USER_ADD: &str = "\
Examples:
  mfactl user add ann --email ann@example.org --password
  mfactl user add bot --password-file /run/keys/bot";

pub(crate) const USER_SET: &str = "\
Examples:
  mfactl user set ann --email ann@example.net
  mfactl user set ann --as-user --display-name 'Ann B.'
  mfactl user set ann --add-role host --reason 'has an account of this host'";

pub(crate) const USER_RENAME: &str = "\
Example:
  mfactl user rename ann anna";

pub(crate) const PASSWD: &str = "\
Asks for the current password, unless an admin gives --reason.

Examples:
  mfactl passwd ann --as-user
  mfactl passwd ann --reason 'forgot it' --password-stdin < new.txt";

pub(crate) const LOGIN: &str = "\
Without --show-token or --json this only tests the login: the new session is
ended at once.

Examples:
  mfactl login ann
  mfactl login ann --recovery
  mfactl login ann --device
  mfactl login ann --device --pin-file /run/user/1000/pin
  TOKEN=$(mfactl login ann --show-token --quiet)";

pub(crate) const ENROLL: &str = "\
Examples:
  mfactl enroll ann --as-user --name phone
  mfactl enroll ann --start --json
      only create the secret
  mfactl enroll ann --finish UID --code-stdin
      activate it with its first code
  mfactl enroll ann --finish UID --device
      the same, with a code that the hardware key computes";

pub(crate) const VERIFY: &str = "\
Each code is accepted once. Authenticator codes and backup codes are told apart
by their format.

Examples:
  printf %s \"$answer\" | mfactl verify ann --code-stdin \\
      --quiet && echo welcome
  mfactl verify ann --device";

pub(crate) const SECRET: &str = "\
Factors are made with mfactl enroll, passwords with mfactl passwd. API keys are
made through the API, by an app or an administrator, and shown only once:
  curl --unix-socket /run/mfad/mfad.sock -H 'Mfad-Reason: for the backup job' \\
    --json '{\"type\":\"apikey\",\"name\":\"backup\"}' \\
    http://mfad/v1/users/UID/secrets";

pub(crate) const SECRET_RENAME: &str = "\
Example:
  mfactl secret rename ann phone 'old phone'";

pub(crate) const WHOAMI: &str = "\
Shows the account that runs mfactl, and its rights. With a token, shows the user
that the token belongs to.

Examples:
  mfactl whoami
  mfactl whoami --token-file token";

pub(crate) const STEP_UP: &str = "\
The app that carries the action out redeems the receipt (POST /auth/receipt).
With --quiet, only the receipt is printed.

Examples:
  mfactl step-up 'pay 100 EUR to Bob' --token-file token
  RECEIPT=$(mfactl step-up 'delete the archive' --token-file token --quiet)";

pub(crate) const LOGOUT: &str = "\
Examples:
  mfactl login ann --show-token --quiet > token
  mfactl logout --token-file token";

pub(crate) const AUDIT_TAIL: &str = "\
The newest events that pass all filters, the oldest first. With --json and
--follow, each event is one JSON document on its own line.

The log holds the ids of users and no names, since it cannot be changed when a
user is deleted. USER is the name of today; a deleted user is found by the uid.

Areas of events: clock, code, codes, device, factor, key, login, password,
receipt, secret, session, store, user, and verify. An unknown event, such as
--event help, lists all names.

Examples:
  mfactl audit tail -n 50 --follow
  mfactl audit tail --user ann --since 2h
  mfactl audit tail --event login --outcome refused -o csv";

pub(crate) const AUDIT_VERIFY: &str = "\
Exits with 1 and names the first event that does not follow from the one
before. The chain reveals events that were changed or removed inside the log.
It cannot reveal that the end was cut off: to detect that, keep the newest hash
elsewhere.";

pub(crate) const FIDO2_ENROLL: &str = "\
The security key is active at once and also works in a browser. If it has a
PIN, the PIN is read from the terminal, a file or standard input and sent to
the security key.

Examples:
  mfactl fido2 enroll ann --as-user --name 'blue key'
  mfactl fido2 enroll ann --reason 'ticket 7' --uv required \\
      --pin-file /run/keys/pin";

pub(crate) const FIDO2_LIST: &str = "\
Examples:
  mfactl fido2 list
  mfactl fido2 list ann";

pub(crate) const DEVICE_LIST: &str = "\
ACCOUNTS is the number of accounts on the hardware key and how many fit, or
`locked` if the daemon does not know the OATH password.

Example:
  mfactl device list";

pub(crate) const DEVICE_INFO: &str = "\
Example:
  mfactl device info 12345678";

pub(crate) const DEVICE_ATTEST: &str = "\
The daemon needs the maker's certificates (attestationRoots). The hardware key
needs a PIV key that was generated on it and requires no PIN:
  ykman piv keys generate --algorithm ECCP256 --pin-policy NEVER 9e /dev/null

Example:
  mfactl device attest 12345678";

pub(crate) const DEVICE_ACCOUNTS: &str = "\
Example:
  mfactl device accounts 12345678";

pub(crate) const DEVICE_PROVISION: &str = "\
The seed is written to the hardware key and never shown. The receipt states
what was written to which key. It is printed only once.

Examples:
  mfactl device provision ann --reason 'ticket 7'
      the only key that is plugged in
  mfactl device provision ann --key 12345678 -t --as-user
      each code needs a touch
  mfactl device provision ann --pending --reason 'ticket 7'
      active with ann's first code
  mfactl device provision ann --spare-of UID --reason 'ticket 7'
      a second key beside a pending one";

pub(crate) const DEVICE_RENAME: &str = "\
Example:
  mfactl device rename 12345678 mfad:ann mfad:ann.l --reason 'new name'";

pub(crate) const DEVICE_DELETE: &str = "\
Example:
  mfactl device delete 12345678 old:ann --reason 'left over'";

pub(crate) const DEVICE_RESET: &str = "\
Also erases the accounts of other programs. The OATH password is not needed.

Example:
  mfactl device reset 12345678 --reason 'into the drawer'";

pub(crate) const DEVICE_PASSWORD: &str = "\
Asks for the current password only if the daemon does not know it.

Examples:
  mfactl device password 12345678 --learn --reason 'set with ykman'
  mfactl device password 12345678 --random --reason 'policy'
  mfactl device password 12345678 --password-file new.txt \\
      --current-file old.txt --reason 'policy'
  mfactl device password 12345678 --remove --reason 'ann leaves'";

pub(crate) const DEVICE_RETURN: &str = "\
For each factor on the hardware key, a code computed on the key must be
correct. Then the account is erased and the factor is revoked. Exits with 1 if
any of these steps failed.

Example:
  mfactl device return 12345678 --reason 'ann leaves'";

pub(crate) const DEVICE_WATCH: &str = "\
With --json, each event is one JSON document on its own line.

Example:
  mfactl device watch";

pub(crate) const PROVISION_BATCH: &str = "\
The manifest has a header line and one user per line. Lines that start with #
are comments:

  user,label,touch
  ann,blue key,yes
  bob,,no

Each unused hardware key that is plugged in is programmed for the next user.
Several readers are used at the same time. After each key, a line with its
id is written to the results file. To resume after an interruption,
run the same command again: users who are done are skipped, failed ones are
tried again. A key that is full, locked or cannot do what is asked is put
aside, and the user gets the next one.

Examples:
  mfactl provision batch staff.csv --reason 'new staff, ticket 71'
  mfactl provision batch staff.csv --spare --receipts receipts \\
      --codes letters --reason 'ticket 71'
  mfactl provision batch staff.csv --fido2 --pins pins --codes letters \\
      --reason 'ticket 71'";

pub(crate) const RECEIPT_VERIFY: &str = "\
Works without the daemon. Exits with 1 if the receipt is not valid.

Example:
  mfactl receipt verify receipt-ann --keys receipt-keys.json";

pub(crate) const RECEIPT_KEYS: &str = "\
Example:
  mfactl receipt keys > receipt-keys.json";

pub(crate) const IMPORT: &str = "\
With --trusted, the factors of a file are active at once: their users have
proved them to the program that wrote it. With --at-login, each is proved by
the first code that its user gives at a login or verify. Codes that were used
there are used up here. The format is recognised by the content; see
migration.md for all of them. A factor that its user has already changes
nothing, so an import that was interrupted is started again. Look at the plan
first, with --dry-run. It comes from the files alone: it does not know which
users and factors there are.

Without these flags, the file has otpauth URIs, one in each line, and each
factor becomes active with a code of the authenticator that has it. A user has
at most one pending factor, so --pending imports only the first factor of each
user.

Nothing is guessed: what cannot be kept is refused by its place in the file,
and exits with 1 (a dry run with 0). A file that cannot be read at all exits
with 2.

Examples:
  mfactl import --dry-run aegis.json
  mfactl import --trusted --create-users aegis.json --reason 'a move'
  mfactl import --trusted --map users.csv tokens.csv --reason 'a move'
  mfactl import --trusted --user ann ann/.google_authenticator \\
      --reason 'a move'
  mfactl import --user ann --reason 'a new phone' < ann.uri";

pub(crate) const EXPORT: &str = "\
The daemon encrypts the export to the recipient before it leaves the daemon, so
only the holder of the age identity can read it. Root may choose any recipient.
Other admins log in with --admin, and may export to the recipients that the
configuration names under [export]. Each export is in the audit log.

Where the configuration allows it (own under [export]), users export their own
factors with --self.

The form mfad has users with roles, passwords, backup codes, factors, counters
and used steps, and `mfactl import --trusted --format mfad` takes it over as it
is. The forms otpauth and pskc are for other programs, and lose all but the
factors.

Examples:
  mfactl export users.age --to age1... --reason 'a new host'
  age -d -i identity users.age |
      mfactl import --trusted --format mfad --reason 'a new host' -";

pub(crate) const MASTER_KEY: &str = "\
`mfactl key` is the former name of this command. It still works in this release
and will be removed in the next one.";

pub(crate) const MASTER_KEY_ROTATE: &str = "\
If the daemon keeps the master key in a file of its own, the daemon generates
the new key and replaces the file. If the master key is an encrypted
credential, run this as root: mfactl encrypts the new key with systemd-creds,
and replaces the old credential once everything is encrypted under the new key.

Refresh tokens end. Backups made before the rotation still need the old master
key, which the new one overwrites: copy it before you rotate.

Examples:
  mfactl master-key rotate --reason 'yearly'
  mfactl master-key rotate --to new.key --reason 'yearly'
      if the master key comes from elsewhere";

pub(crate) const BACKUP: &str = "\
The backup is encrypted under a key derived from the master key, so keep the
master key elsewhere. After a failure no file is left, but standard output may
have received part of the backup. Exits with 7 if the backup cannot be written,
for example because the disk is full.

Examples:
  mfactl backup /srv/backup/mfad-$(date +%F)
  mfactl backup - | ssh vault 'cat > mfad-backup'
      set -o pipefail, to notice a failure on this side
  runuser -u mfad -- mfad restore --replace - < /srv/backup/mfad-2026-11-25
      as root, while the daemon is stopped, if the master key is a file;
      the section Backups of service.md has the command for a credential";

pub(crate) const PAM_COVERAGE: &str = "\
An account is listed if it has a shell. The user of an account is the one with
exactly the same name and the role `host`, which administrators give with
mfactl user set USER --add-role host. The factor is `no role` if only the role
is missing, and `unknown` if there is no such user.

Example:
  mfactl pam coverage -o csv";

pub(crate) const PAM_ENABLE: &str = "\
Shows the line that is added to /etc/pam.d/SERVICE, and who has no factor yet.
Then it tries a login of your account through the new stack, and changes
nothing if that fails. The change is undone after some minutes, and at a
restart of the host, unless you confirm it from another session.

Examples:
  mfactl pam enable sshd --dry-run
  mfactl pam enable sshd --options 'nofactor=enroll until=2027-01-31'
  mfactl pam enable sudo && mfactl pam enable sudo-i
  mfactl pam enable su --options user=ruser --without-trial";

pub(crate) const PAM_CONFIRM: &str = "\
The audit log must hold a second factor that was accepted for the service since
the change, and this must be another session than the one that made the change.
Example:
  mfactl pam confirm sshd";

pub(crate) const PAM_DISABLE: &str = "\
If the change is not confirmed yet, the service gets back the file that it had.
Otherwise the lines of pam_mfad.so are taken out. Example:
  mfactl pam disable sshd";

pub(crate) const PAM_BREAK_GLASS: &str = "\
Prints ten codes for the account. Print them and keep them in a sealed
envelope. While the daemon is out of service, pam_mfad.so asks this account for
such a code in place of the second factor, in every service that has it. Each
works once. The host keeps only their hashes, in /var/lib/mfad-pam/break-glass.

Each use is an error in the system log. When the daemon starts again, the unit
mfad-pam-report.service reports the use, and the audit log has it as
host.break-glass.

Examples:
  mfactl pam break-glass root
  mfactl pam break-glass --list
  mfactl pam break-glass root --remove";

pub(crate) const DOCTOR: &str = "\
Checks the daemon, versions, sandbox, clock, pcscd, master key, socket, store
and disk. Run it as root to check all of them. Exits with 1 if there is a
problem, and with --strict also if there is a warning.

Example:
  mfactl doctor --json";

pub(crate) const COMPLETIONS: &str = "\
The package installs these scripts. To install one by hand:
  mfactl completions bash > /etc/bash_completion.d/mfactl";

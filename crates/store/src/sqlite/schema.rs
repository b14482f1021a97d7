//! The tables, and the migrations from each released version to the newest (STO-11). The start compares triggers, views
//! and indexes with this text, so a released version must never be edited.

use rusqlite::{Connection, TransactionBehavior};

use crate::{OpenFault, Vault, folding, guard, summaries};

/// The SQL of each schema version, applied in order. Released entries are never edited.
const MIGRATIONS: [&str; 9] =
    [VERSION_1, VERSION_2, VERSION_3, VERSION_4, VERSION_5, VERSION_6, VERSION_7, VERSION_8, VERSION_9];
/// First schema version in which every user has a summary.
const SUMMARIZED: u32 = 6;
/// First schema version whose summaries hold the seeds.
const SEEDED: u32 = 7;
/// First schema version with a marker of the roll-back guard.
const GUARD_MARKED: u32 = 6;

const VERSION_1: &str = "
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE users (
    id           BLOB PRIMARY KEY CHECK (length(id) = 16),
    name         TEXT NOT NULL,
    display_name TEXT,
    email        TEXT,
    roles        TEXT NOT NULL DEFAULT '',
    disabled     INTEGER NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1)),
    created      INTEGER NOT NULL,
    modified     INTEGER NOT NULL,
    version      INTEGER NOT NULL DEFAULT 1,
    epoch        INTEGER NOT NULL DEFAULT 1
) STRICT, WITHOUT ROWID;

-- Names and addresses share one space of keys, so that a login is never ambiguous.
CREATE TABLE logins (
    key  TEXT PRIMARY KEY,
    user BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('name', 'email'))
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX logins_by_user ON logins (user, kind);

CREATE TABLE secrets (
    id          BLOB PRIMARY KEY CHECK (length(id) = 16),
    user        BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    type        TEXT NOT NULL CHECK (type IN ('password', 'mfa', 'apikey', 'mfabackup')),
    status      TEXT NOT NULL CHECK (status IN ('pending', 'active', 'ended')),
    name        TEXT NOT NULL,
    name_key    TEXT NOT NULL,
    description TEXT,
    created     INTEGER NOT NULL,
    modified    INTEGER NOT NULL,
    last_used   INTEGER,
    expires     INTEGER,
    version     INTEGER NOT NULL DEFAULT 1,
    algorithm   TEXT CHECK (algorithm IN ('SHA1', 'SHA256', 'SHA512')),
    digits      INTEGER CHECK (digits BETWEEN 6 AND 8),
    period      INTEGER CHECK (period BETWEEN 15 AND 120),
    counter     INTEGER CHECK (counter >= 0),
    resync      INTEGER,
    last_step   INTEGER,
    wrong       INTEGER NOT NULL DEFAULT 0,
    used        INTEGER NOT NULL DEFAULT 0,
    sealed      BLOB,
    CHECK ((type = 'mfa') = (algorithm IS NOT NULL AND digits IS NOT NULL)),
    CHECK (type <> 'mfa' OR (period IS NULL) <> (counter IS NULL)),
    CHECK ((status = 'ended') = (sealed IS NULL)),
    CHECK (status = 'active' OR type = 'mfa')
) STRICT, WITHOUT ROWID;
CREATE INDEX secrets_by_user ON secrets (user);
CREATE UNIQUE INDEX secrets_name ON secrets (user, name_key) WHERE status <> 'ended';
CREATE UNIQUE INDEX secrets_one_each ON secrets (user, type) WHERE type IN ('password', 'mfabackup');
CREATE UNIQUE INDEX secrets_one_pending ON secrets (user) WHERE status = 'pending';

CREATE TABLE throttles (
    subject  BLOB NOT NULL,
    class    TEXT NOT NULL CHECK (class IN ('password', 'factor')),
    failures INTEGER NOT NULL CHECK (failures > 0),
    until_wall INTEGER,
    until_boot INTEGER,
    boot     BLOB,
    PRIMARY KEY (subject, class)
) STRICT, WITHOUT ROWID;

CREATE TABLE challenges (
    id      BLOB PRIMARY KEY CHECK (length(id) = 16),
    user    BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    epoch   INTEGER NOT NULL,
    wrong   INTEGER NOT NULL DEFAULT 0,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX challenges_by_user ON challenges (user, created);

CREATE TABLE sessions (
    id         BLOB PRIMARY KEY CHECK (length(id) = 16),
    user       BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    epoch      INTEGER NOT NULL,
    peer       INTEGER NOT NULL,
    generation INTEGER NOT NULL DEFAULT 1,
    amr        TEXT NOT NULL,
    auth_time  INTEGER NOT NULL,
    created    INTEGER NOT NULL,
    expires    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_user ON sessions (user, created);

CREATE TABLE receipts (
    digest    BLOB PRIMARY KEY CHECK (length(digest) = 32),
    user      BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    epoch     INTEGER NOT NULL,
    action    BLOB NOT NULL CHECK (length(action) = 32),
    amr       TEXT NOT NULL,
    auth_time INTEGER NOT NULL,
    expires   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX receipts_by_user ON receipts (user);

CREATE TABLE signing_keys (
    kid     TEXT PRIMARY KEY,
    created INTEGER NOT NULL,
    sealed  BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    seq      INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL,
    event    TEXT NOT NULL,
    subject  BLOB,
    object   BLOB,
    peer_uid INTEGER,
    peer_pid INTEGER,
    request  TEXT,
    outcome  TEXT NOT NULL CHECK (outcome IN ('ok', 'refused')),
    detail   TEXT,
    hash     BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
";

const VERSION_2: &str = "
-- A factor on a spare key waits beside the one it is the spare of.
ALTER TABLE secrets ADD COLUMN spare_of BLOB;
DROP INDEX secrets_one_pending;
CREATE UNIQUE INDEX secrets_one_pending ON secrets (user) WHERE status = 'pending' AND spare_of IS NULL;
CREATE UNIQUE INDEX secrets_one_spare ON secrets (user) WHERE status = 'pending' AND spare_of IS NOT NULL;

ALTER TABLE signing_keys ADD COLUMN purpose TEXT NOT NULL DEFAULT 'token' CHECK (purpose IN ('token', 'receipt'));

-- Hardware keys that this daemon has programmed or was told the password of.
CREATE TABLE devices (
    serial    INTEGER PRIMARY KEY CHECK (serial BETWEEN 1 AND 4294967295),
    device_id TEXT NOT NULL,
    firmware  TEXT NOT NULL,
    model     TEXT NOT NULL,
    seen      INTEGER NOT NULL,
    was_reset INTEGER NOT NULL DEFAULT 0 CHECK (was_reset IN (0, 1)),
    access    BLOB,
    escrow    TEXT
) STRICT;

-- The journal of accounts on keys: written before a key is, and kept until the account is known to be gone.
-- No reference to the user or the secret: the row has to outlive both.
CREATE TABLE credentials (
    id        BLOB PRIMARY KEY CHECK (length(id) = 16),
    user      BLOB NOT NULL CHECK (length(user) = 16),
    serial    INTEGER NOT NULL,
    device_id TEXT NOT NULL,
    firmware  TEXT NOT NULL,
    name      BLOB NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
    state     TEXT NOT NULL CHECK (state IN ('intended', 'programmed', 'erase')),
    replaces  INTEGER NOT NULL CHECK (replaces IN (0, 1)),
    touch     INTEGER NOT NULL CHECK (touch IN (0, 1)),
    counts    INTEGER NOT NULL CHECK (counts IN (0, 1)),
    challenge BLOB NOT NULL CHECK (length(challenge) = 8),
    responses BLOB NOT NULL CHECK (length(responses) % 32 = 0),
    created   INTEGER NOT NULL,
    proved    INTEGER,
    CHECK ((state = 'intended') = (proved IS NULL) OR state = 'erase')
) STRICT, WITHOUT ROWID;
CREATE INDEX credentials_by_serial ON credentials (serial);

-- However a factor ends, its account on the key is to be erased.
CREATE TRIGGER credentials_of_deleted AFTER DELETE ON secrets BEGIN
    UPDATE credentials SET state = 'erase' WHERE id = OLD.id;
END;
CREATE TRIGGER credentials_of_ended AFTER UPDATE OF status ON secrets WHEN NEW.status = 'ended' BEGIN
    UPDATE credentials SET state = 'erase' WHERE id = NEW.id;
END;
";

// A later migration must not re-create `secrets` by DROP TABLE: `fido2` refers to it since this version, and the
// cascade would delete every credential.
const VERSION_3: &str = "
-- Security keys are a type of their own. A CHECK cannot be changed, so the table is made anew.
CREATE TABLE secrets_3 (
    id          BLOB PRIMARY KEY CHECK (length(id) = 16),
    user        BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    type        TEXT NOT NULL CHECK (type IN ('password', 'mfa', 'apikey', 'mfabackup', 'fido2')),
    status      TEXT NOT NULL CHECK (status IN ('pending', 'active', 'ended')),
    name        TEXT NOT NULL,
    name_key    TEXT NOT NULL,
    description TEXT,
    created     INTEGER NOT NULL,
    modified    INTEGER NOT NULL,
    last_used   INTEGER,
    expires     INTEGER,
    version     INTEGER NOT NULL DEFAULT 1,
    algorithm   TEXT CHECK (algorithm IN ('SHA1', 'SHA256', 'SHA512')),
    digits      INTEGER CHECK (digits BETWEEN 6 AND 8),
    period      INTEGER CHECK (period BETWEEN 15 AND 120),
    counter     INTEGER CHECK (counter >= 0),
    resync      INTEGER,
    last_step   INTEGER,
    wrong       INTEGER NOT NULL DEFAULT 0,
    used        INTEGER NOT NULL DEFAULT 0,
    sealed      BLOB,
    spare_of    BLOB,
    CHECK ((type = 'mfa') = (algorithm IS NOT NULL AND digits IS NOT NULL)),
    CHECK (type <> 'mfa' OR (period IS NULL) <> (counter IS NULL)),
    CHECK ((status = 'ended') = (sealed IS NULL)),
    CHECK (status = 'active' OR type IN ('mfa', 'fido2'))
) STRICT, WITHOUT ROWID;
INSERT INTO secrets_3 SELECT id, user, type, status, name, name_key, description, created, modified, last_used, expires, version,
    algorithm, digits, period, counter, resync, last_step, wrong, used, sealed, spare_of FROM secrets;
DROP TABLE secrets;
ALTER TABLE secrets_3 RENAME TO secrets;
CREATE INDEX secrets_by_user ON secrets (user);
CREATE UNIQUE INDEX secrets_name ON secrets (user, name_key) WHERE status <> 'ended';
CREATE UNIQUE INDEX secrets_one_each ON secrets (user, type) WHERE type IN ('password', 'mfabackup');
CREATE UNIQUE INDEX secrets_one_pending ON secrets (user, type) WHERE status = 'pending' AND spare_of IS NULL;
CREATE UNIQUE INDEX secrets_one_spare ON secrets (user) WHERE status = 'pending' AND spare_of IS NOT NULL;
CREATE TRIGGER credentials_of_deleted AFTER DELETE ON secrets BEGIN
    UPDATE credentials SET state = 'erase' WHERE id = OLD.id;
END;
CREATE TRIGGER credentials_of_ended AFTER UPDATE OF status ON secrets WHEN NEW.status = 'ended' BEGIN
    UPDATE credentials SET state = 'erase' WHERE id = NEW.id;
END;

-- The credentials of security keys, unique over all users. The counter moves with each use.
CREATE TABLE fido2 (
    credential BLOB PRIMARY KEY CHECK (length(credential) BETWEEN 1 AND 1023),
    secret     BLOB NOT NULL UNIQUE REFERENCES secrets (id) ON DELETE CASCADE,
    counter    INTEGER NOT NULL CHECK (counter BETWEEN 0 AND 4294967295)
) STRICT, WITHOUT ROWID;
";

// A check of a code searches for a user's active factors. With type and status in the index it reads their rows and no
// others. Housekeeping searches for expired rows. Without an index it would read everything each time, while all writes
// wait.
const VERSION_4: &str = "
DROP INDEX secrets_by_user;
CREATE INDEX secrets_by_user ON secrets (user, type, status);
CREATE INDEX secrets_pending ON secrets (expires) WHERE status = 'pending';
CREATE INDEX secrets_ended ON secrets (modified) WHERE status = 'ended';
CREATE INDEX challenges_by_end ON challenges (expires);
CREATE INDEX receipts_by_end ON receipts (expires);
CREATE INDEX sessions_by_end ON sessions (expires);
CREATE INDEX credentials_by_user ON credentials (user);
CREATE INDEX credentials_unsettled ON credentials (serial) WHERE state <> 'programmed';
";

// The odds of earlier guesses were not stored. They are counted as guesses at one time-based factor of six digits: 300
// units of 10⁻⁸ each.
const VERSION_5: &str = "
ALTER TABLE throttles ADD COLUMN spent INTEGER NOT NULL DEFAULT 0 CHECK (spent >= 0);
UPDATE throttles SET spent = 300 * failures WHERE class = 'factor';
";

// Each user's row gets a sealed summary of which secrets count. The column is added empty and filled before the
// migration ends. Steps stay used even if an administrator moves the last step back because the clock was ahead.
const VERSION_6: &str = "
ALTER TABLE users ADD COLUMN summary BLOB;

-- Whether more than a password stood behind the making of an API key. Of those before that is not known: it is taken
-- of those whose user had a factor then.
ALTER TABLE secrets ADD COLUMN guarded INTEGER NOT NULL DEFAULT 0 CHECK (guarded IN (0, 1));
UPDATE secrets SET guarded = 1 WHERE type = 'apikey' AND EXISTS (
    SELECT 1 FROM secrets AS factor WHERE factor.user = secrets.user AND factor.type IN ('mfa', 'fido2')
    AND factor.status = 'active' AND factor.created <= secrets.created);

-- When the refresh token was last exchanged. Challenges have places for each peer.
ALTER TABLE sessions ADD COLUMN rotated INTEGER;
ALTER TABLE challenges ADD COLUMN peer INTEGER NOT NULL DEFAULT 0 CHECK (peer BETWEEN 0 AND 4294967295);
-- Receipts are for one app. They last for minutes: those from before are not for anybody any more.
ALTER TABLE receipts ADD COLUMN peer INTEGER NOT NULL DEFAULT 0 CHECK (peer BETWEEN 0 AND 4294967295);
DELETE FROM receipts;

-- Steps of factors that were used while the clock was ahead; each beyond the last step that counts as used.
CREATE TABLE future_steps (
    secret BLOB NOT NULL REFERENCES secrets (id) ON DELETE CASCADE,
    step   INTEGER NOT NULL,
    PRIMARY KEY (secret, step)
) STRICT, WITHOUT ROWID;
";

// The last used step or the counter of a factor moves from the wide rows of `secrets` to narrow rows of a table of their
// own. New factors get ascending numbers, so the rows of a fold lie side by side. A use is in the audit log first.
const VERSION_7: &str = "
CREATE TABLE moving_factors (
    -- Never given again, so that a late use of a deleted factor reaches no other.
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The first TOTP step that is not used up, or the next HOTP counter.
    next    INTEGER NOT NULL CHECK (next >= 0),
    used_at INTEGER,
    resync  INTEGER
) STRICT;
ALTER TABLE secrets ADD COLUMN number INTEGER;
UPDATE secrets SET number = numbered.number FROM (
    SELECT id, row_number() OVER (ORDER BY user, id) AS number FROM secrets WHERE type = 'mfa') AS numbered
WHERE numbered.id = secrets.id;
INSERT INTO moving_factors (number, next, used_at, resync)
    SELECT number, coalesce(last_step + 1, counter, 0), last_used, resync FROM secrets WHERE type = 'mfa' ORDER BY number;
ALTER TABLE secrets DROP COLUMN last_step;
ALTER TABLE secrets DROP COLUMN resync;
-- A factor without this row accepts no code. So the row is deleted with its factor, and also if another program ends
-- the factor or moves it to another user.
CREATE TRIGGER moving_factor_of_deleted AFTER DELETE ON secrets WHEN OLD.number IS NOT NULL BEGIN
    DELETE FROM moving_factors WHERE number = OLD.number;
END;
CREATE TRIGGER moving_factor_of_ended AFTER UPDATE OF status ON secrets WHEN NEW.status = 'ended' BEGIN
    DELETE FROM moving_factors WHERE number = OLD.number;
END;
CREATE TRIGGER moving_factor_of_moved AFTER UPDATE OF id, user, number ON secrets BEGIN
    DELETE FROM moving_factors WHERE number = OLD.number;
END;

ALTER TABLE audit ADD COLUMN used INTEGER;
";

// Imported factors: whether the user still has to prove one with a first code, and whether its seed is shorter than 128
// bits. Both are rare, so their indexes stay small. Older factors were all proved, and none was weak.
const VERSION_8: &str = "
ALTER TABLE secrets ADD COLUMN unproved INTEGER NOT NULL DEFAULT 0 CHECK (unproved IN (0, 1));
ALTER TABLE secrets ADD COLUMN weak INTEGER NOT NULL DEFAULT 0 CHECK (weak IN (0, 1));
CREATE INDEX secrets_unproved ON secrets (user) WHERE unproved = 1;
CREATE INDEX secrets_weak ON secrets (user) WHERE weak = 1;
-- HOTP: by how many the counter of another program may be ahead of the token. 0 once a code was accepted here.
ALTER TABLE moving_factors ADD COLUMN ahead INTEGER NOT NULL DEFAULT 0 CHECK (ahead BETWEEN 0 AND 100);
";

// Keys of other makers than Yubico have no number that fits into an integer.
const VERSION_9: &str = "
CREATE TABLE devices_9 (
    key       TEXT PRIMARY KEY CHECK (length(key) BETWEEN 1 AND 64),
    device_id TEXT NOT NULL,
    firmware  TEXT NOT NULL,
    model     TEXT NOT NULL,
    seen      INTEGER NOT NULL,
    was_reset INTEGER NOT NULL DEFAULT 0 CHECK (was_reset IN (0, 1)),
    access    BLOB,
    escrow    TEXT
) STRICT, WITHOUT ROWID;
INSERT INTO devices_9 SELECT CAST(serial AS TEXT), device_id, firmware, model, seen, was_reset, access, escrow FROM devices;
DROP TABLE devices;
ALTER TABLE devices_9 RENAME TO devices;

DROP INDEX credentials_by_serial;
DROP INDEX credentials_unsettled;
ALTER TABLE credentials ADD COLUMN key TEXT NOT NULL DEFAULT '';
UPDATE credentials SET key = CAST(serial AS TEXT);
ALTER TABLE credentials DROP COLUMN serial;
CREATE INDEX credentials_by_key ON credentials (key);
CREATE INDEX credentials_unsettled ON credentials (key) WHERE state <> 'programmed';
";

/// The newest schema version that this program knows.
pub(crate) fn newest() -> u32 {
    u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX)
}

/// Schema objects that act by themselves (triggers) or decide what a query finds (views, indexes).
const ACTING: &str =
    "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE type <> 'table' AND sql IS NOT NULL ORDER BY type, name";

/// Refuses a store whose triggers, views or indexes differ from those of its schema version. A foreign trigger would
/// act with the rights of the daemon.
pub(crate) fn check_acting(connection: &Connection, version: u32) -> Result<(), OpenFault> {
    let fresh = Connection::open_in_memory()?;
    for (_, sql) in (1u32..).zip(MIGRATIONS).take_while(|(number, _)| *number <= version) {
        fresh.execute_batch(sql)?;
    }
    type Acting = (String, String, String, String);
    let of = |connection: &Connection| -> rusqlite::Result<Vec<Acting>> {
        let mut statement = connection.prepare(ACTING)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        rows.collect()
    };
    // Compared as text, byte by byte, with a fresh database that was built from the same migrations.
    if of(connection)? == of(&fresh)? {
        return Ok(());
    }
    Err(OpenFault::Damaged("its triggers, views or indexes are not those of its schema version".to_owned()))
}

/// Migrates the schema from any older version to the newest, in one transaction.
pub(crate) fn migrate(connection: &mut Connection, vault: &Vault) -> Result<(), OpenFault> {
    let found: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > newest() {
        return Err(OpenFault::Newer { found, known: newest() });
    }
    if found == newest() {
        return Ok(());
    }
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (version, sql) in (1u32..).zip(MIGRATIONS).skip_while(|(version, _)| *version <= found) {
        tx.execute_batch(sql)?;
        if version == GUARD_MARKED {
            guard::take_over(&tx)?;
        }
    }
    if found < SEEDED {
        // An older summary is compared before it is replaced.
        summaries::write_all(&tx, vault, found >= SUMMARIZED)?;
    }
    folding::mark_newest(&tx)?;
    // The tag covers the schema version, so it is computed again.
    crate::audit_tag::sign_again(&tx, vault, newest())?;
    tx.pragma_update(None, "user_version", newest())?;
    tx.commit()?;
    Ok(())
}

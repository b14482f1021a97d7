//! The rows of secrets: their types and states, and how a row is read.

use rusqlite::Row;

use mfad_core::model::{
    Algorithm, CODES_PER_SET, Digits, Label, OtpKind, Period, Profile, SecretId, Sensitive, UserId,
};

use mfad_core::oath::SHORTEST_SEED;

use super::Fault;
use super::vault::AssociatedData;

/// The type of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretType {
    /// The password. The sealed value is its hash record.
    Password,
    /// A TOTP or HOTP factor. The sealed value is the seed.
    Mfa,
    /// An API key. The sealed value is its digest.
    ApiKey,
    /// A set of backup codes. The sealed value holds salt, cost and digests.
    Backup,
    /// A security key. The sealed value is the record of its credential, or empty while it is pending.
    Fido2,
}

impl SecretType {
    const ALL: [Self; 5] = [Self::Password, Self::Mfa, Self::ApiKey, Self::Backup, Self::Fido2];

    /// The text in the `type` column, in the associated data and in API answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Mfa => "mfa",
            Self::ApiKey => "apikey",
            Self::Backup => "mfabackup",
            Self::Fido2 => "fido2",
        }
    }
}

/// The life cycle of a secret (ENR-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Created, but not yet confirmed by a code. It counts for nothing.
    Pending,
    /// Confirmed. It counts at login.
    Active,
    /// Ended. The value is wiped; the row stays for a while, so that a request for its id is answered "gone".
    Ended,
}

impl Status {
    const ALL: [Self; 3] = [Self::Pending, Self::Active, Self::Ended];

    /// The text in the `status` column and in API answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Ended => "ended",
        }
    }
}

/// A secret as stored. Its value stays sealed until [`View::open_secret`](crate::View::open_secret) opens it.
#[derive(Clone, Debug)]
pub struct SecretRow {
    /// The id, unique over all users.
    pub id: SecretId,
    /// The user who owns the secret; also bound to the sealed value.
    pub user: UserId,
    /// The type, which is also bound to the sealed value.
    pub kind: SecretType,
    /// Where the secret is in its life cycle.
    pub status: Status,
    /// Name that users see. It is unique within the user, ended secrets aside.
    pub name: String,
    /// Free text that the user may set.
    pub description: Option<String>,
    /// When the secret was created, in milliseconds since 1970.
    pub created: i64,
    /// When the secret was last changed, in milliseconds since 1970. Use does not count as a change.
    pub modified: i64,
    /// When the secret was last used, in milliseconds since 1970. `None` before the first use.
    pub last_used: Option<i64>,
    /// When a pending secret ends, in milliseconds since 1970. `None` for an active one.
    pub expires: Option<i64>,
    /// Raised by changes of the secret, so that an update that is based on an older version can be refused. Starts at
    /// 1.
    pub version: i64,
    /// Algorithm, digits and kind of a TOTP or HOTP factor. `None` for other types.
    pub profile: Option<Profile>,
    /// HOTP: the next counter that is expected.
    pub counter: Option<u64>,
    /// HOTP: by how many `counter` may be ahead of the token, until the first code; see [`Position`](crate::Position).
    pub ahead: u8,
    /// TOTP: the newest step that was used up (OTP-3).
    pub last_step: Option<u64>,
    /// Number of wrong first codes while pending (ENR-5).
    pub wrong: u32,
    /// Backup codes: those that were used, as one bit for each position in the set.
    pub used: u32,
    /// API keys: whether more than a password authorised their creation.
    pub is_guarded: bool,
    /// An imported factor whose user has not given a code of it here yet.
    pub is_unproved: bool,
    /// A factor with a seed of fewer than 128 bits, which only an import can have.
    pub is_weak: bool,
    /// The factor that this one is the spare of. The spare is on another hardware key.
    pub spare_of: Option<SecretId>,
    pub(super) sealed: Option<Vec<u8>>,
    /// TOTP and HOTP: the factor's row in `moving_factors`.
    pub(super) number: Option<i64>,
}

/// A secret to be stored; see [`Tx::insert_secret`](crate::Tx::insert_secret).
pub struct NewSecret {
    /// The id, chosen by the caller.
    pub id: SecretId,
    /// The user who will own the secret.
    pub user: UserId,
    /// The type; it decides what the value means.
    pub kind: SecretType,
    /// The name. It must be free within the user.
    pub name: Label,
    /// The time of creation, in milliseconds since 1970.
    pub created: i64,
    /// When a pending secret ends, in milliseconds since 1970. `None` stores an active one.
    pub expires: Option<i64>,
    /// Algorithm, digits and kind of a TOTP or HOTP factor. `None` for other types.
    pub profile: Option<Profile>,
    /// API keys: whether more than a password authorises their creation.
    pub is_guarded: bool,
    /// An imported factor that its user proves with the first code.
    pub is_unproved: bool,
    /// HOTP: the first counter that is expected. Ignored for other types.
    pub first_counter: u64,
    /// HOTP: by how many `first_counter` may be ahead of the token, up to 100.
    pub ahead: u8,
    /// For a factor on a spare hardware key: the pending factor that it is the spare of.
    pub spare_of: Option<SecretId>,
    /// The value in clear. It is sealed before it is stored.
    pub value: Sensitive<Vec<u8>>,
}

/// An opened set of backup codes.
pub struct BackupSet {
    /// Which of the ten codes are used, as one bit for each position.
    pub used: u32,
    /// Salt, cost and the digests of all ten codes.
    pub record: Sensitive<Vec<u8>>,
}

impl NewSecret {
    /// Whether this is a factor with a seed of fewer than 128 bits.
    pub(super) fn is_weak(&self) -> bool {
        self.kind == SecretType::Mfa && self.value.expose().len() < SHORTEST_SEED
    }
}

impl SecretRow {
    /// Number of codes of the set that are still unused.
    pub fn codes_left(&self) -> u32 {
        u32::from(CODES_PER_SET).saturating_sub(self.used.count_ones())
    }

    /// Whether the secret waits for its first code at `now` (milliseconds since 1970).
    pub fn is_pending_at(&self, now: i64) -> bool {
        self.status == Status::Pending && self.expires.is_some_and(|end| end > now)
    }

    pub(super) fn associated_data<'a>(&'a self, parameters: &'a str) -> AssociatedData<'a> {
        associated_data(&self.id, &self.user, self.kind, parameters)
    }
}

pub(super) fn associated_data<'a>(
    id: &'a SecretId,
    user: &'a UserId,
    kind: SecretType,
    parameters: &'a str,
) -> AssociatedData<'a> {
    AssociatedData { table: "secrets", row: id.as_bytes(), user: user.as_bytes(), kind: kind.name(), parameters }
}

pub(super) fn binding(profile: Option<&Profile>) -> String {
    profile.map(Profile::binding).unwrap_or_default()
}

pub(super) fn read(row: &Row<'_>) -> Result<SecretRow, Fault> {
    let id: Vec<u8> = row.get(0)?;
    let user: Vec<u8> = row.get(1)?;
    let kind: String = row.get(2)?;
    let status: String = row.get(3)?;
    Ok(SecretRow {
        id: SecretId::from_slice(&id).ok_or(Fault::Corrupt("a secret id"))?,
        user: UserId::from_slice(&user).ok_or(Fault::Corrupt("a user id"))?,
        kind: SecretType::ALL.into_iter().find(|k| k.name() == kind).ok_or(Fault::Corrupt("a secret type"))?,
        status: Status::ALL.into_iter().find(|s| s.name() == status).ok_or(Fault::Corrupt("a secret status"))?,
        name: row.get(4)?,
        description: row.get(5)?,
        created: row.get(6)?,
        modified: row.get(7)?,
        last_used: row.get(8)?,
        expires: row.get(9)?,
        version: row.get(10)?,
        profile: read_profile(row)?,
        // `View::with_position` adds what changes with each use.
        counter: None,
        ahead: 0,
        last_step: None,
        wrong: row.get(14)?,
        used: row.get(15)?,
        sealed: row.get(16)?,
        spare_of: row.get::<_, Option<Vec<u8>>>(17)?.and_then(|id| SecretId::from_slice(&id)),
        is_guarded: row.get(18)?,
        number: row.get(19)?,
        is_unproved: row.get(20)?,
        is_weak: row.get(21)?,
    })
}

pub(super) fn read_profile(row: &Row<'_>) -> Result<Option<Profile>, Fault> {
    let Some(algorithm) = row.get::<_, Option<String>>(11)? else { return Ok(None) };
    let corrupt = Fault::Corrupt("the parameters of a factor");
    let digits: u64 = row.get::<_, i64>(12)?.try_into().map_err(|_| corrupt.clone())?;
    let moving = match row.get::<_, Option<i64>>(13)? {
        Some(seconds) => {
            let seconds = u64::try_from(seconds).map_err(|_| corrupt.clone())?;
            OtpKind::Totp(Period::new(seconds).ok_or_else(|| corrupt.clone())?)
        }
        None => OtpKind::Hotp,
    };
    Ok(Some(Profile {
        algorithm: Algorithm::parse(&algorithm).ok_or_else(|| corrupt.clone())?,
        digits: Digits::new(digits).ok_or(corrupt)?,
        moving,
    }))
}

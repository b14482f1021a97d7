//! The provisioning journal of OATH accounts on hardware keys: accounts that are about to be written, that were written
//! and verified, and that are to be erased. The journal holds no seed. An account is recognised by its answer to one
//! challenge.

use rusqlite::{Row, params};
use sha2::{Digest, Sha256};

use mfad_core::model::{AccountName, DeviceId, KeyId, SecretId, UserId};

use super::vault::same_tag;
use super::{Fault, Tx, View};

/// The provisioning state of an OATH account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProvisioningState {
    /// Writing was about to begin. The account may or may not be on the key, and there is no factor yet.
    Intended,
    /// The account is on the key and was verified. It belongs to a pending or active factor.
    Programmed,
    /// Its factor has ended. The account is to be erased when the key is next used; database triggers set this state.
    Erase,
}

impl ProvisioningState {
    const ALL: [Self; 3] = [Self::Intended, Self::Programmed, Self::Erase];

    /// The text in the `state` column and in API answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Intended => "intended",
            Self::Programmed => "programmed",
            Self::Erase => "erase",
        }
    }
}

/// The journal entry of one OATH account on a hardware key.
#[derive(Clone, Debug)]
pub struct OathAccount {
    /// The id of its factor. The entry may outlive the factor.
    pub id: SecretId,
    /// The user who owns the factor.
    pub user: UserId,
    /// Identity of the hardware key.
    pub key: KeyId,
    /// Identity of the OATH applet that was written to. After a reset of the key the account no longer exists.
    pub device_id: DeviceId,
    /// Firmware version of the key at the time of writing, as text.
    pub firmware: String,
    /// Name of the account on the key, 1 to 64 bytes.
    pub name: AccountName,
    /// How far the account is; see [`ProvisioningState`].
    pub state: ProvisioningState,
    /// Whether writing replaces an account of the same name. It is cleared once the old account is known to be
    /// overwritten.
    pub replaces: bool,
    /// Whether the account requires a touch for each code.
    pub touch: bool,
    /// Whether the account is counter-based (HOTP) rather than time-based (TOTP).
    pub counts: bool,
    /// The challenge whose answer identifies the account on the key.
    pub challenge: [u8; 8],
    /// The expected answers as concatenated SHA-256 digests: one for TOTP, and one for each of the first counter values
    /// for HOTP.
    pub responses: Vec<u8>,
    /// When the entry was written, in milliseconds since 1970.
    pub created: i64,
    /// When the account was verified, in milliseconds since 1970. `None` while it is only intended.
    pub proved: Option<i64>,
}

impl OathAccount {
    /// Whether `answer` is the answer of this account to [`OathAccount::challenge`]. Compares all known digests without
    /// early exit.
    pub fn is_answered_by(&self, answer: &[u8]) -> bool {
        let digest = Sha256::digest(answer);
        self.responses.chunks(digest.len()).fold(false, |found, known| found | same_tag(known, &digest))
    }
}

const COLUMNS: &str = "id, user, key, device_id, firmware, name, state, replaces, touch, counts, challenge, \
                       responses, created, proved";

impl View<'_> {
    /// Returns the journal entry of a factor's account.
    pub fn oath_account(&self, id: SecretId) -> Result<Option<OathAccount>, Fault> {
        Ok(self.oath_accounts_where("id = ?1", [id.as_bytes()])?.pop())
    }

    /// Returns the accounts on a hardware key in any state, oldest first.
    pub fn oath_accounts_on(&self, key: KeyId) -> Result<Vec<OathAccount>, Fault> {
        self.oath_accounts_where("key = ?1", [key.to_string()])
    }

    /// Returns the user's accounts that belong to a pending or active factor, oldest first.
    pub fn oath_accounts_of(&self, user: UserId) -> Result<Vec<OathAccount>, Fault> {
        self.oath_accounts_where("user = ?1 AND state = 'programmed'", [user.as_bytes()])
    }

    /// Returns the hardware keys that still have unfinished accounts to roll back or to erase.
    pub fn unsettled_devices(&self) -> Result<Vec<KeyId>, Fault> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT DISTINCT key FROM credentials WHERE state <> 'programmed' ORDER BY key")?;
        let mut rows = statement.query([])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(KeyId::parse(&row.get::<_, String>(0)?).ok_or(Fault::Corrupt("the identity of a key"))?);
        }
        Ok(found)
    }

    fn oath_accounts_where(&self, condition: &str, value: impl rusqlite::Params) -> Result<Vec<OathAccount>, Fault> {
        let sql = format!("SELECT {COLUMNS} FROM credentials WHERE {condition} ORDER BY id");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(value)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(read(row)?);
        }
        Ok(found)
    }
}

impl Tx<'_> {
    /// Records what is about to be written to a key, before it is written (HW-1).
    pub fn intend(&self, row: &OathAccount) -> Result<(), Fault> {
        self.writing()?
            .prepare_cached(
                "INSERT INTO credentials (id, user, key, device_id, firmware, name, state, replaces, touch, counts,
                                          challenge, responses, created)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'intended', ?7, ?8, ?9, ?10, ?11, ?12)",
            )?
            .execute(params![
                row.id.as_bytes(),
                row.user.as_bytes(),
                row.key.to_string(),
                row.device_id.as_str(),
                row.firmware,
                row.name.as_bytes(),
                row.replaces,
                row.touch,
                row.counts,
                row.challenge,
                row.responses,
                row.created,
            ])?;
        Ok(())
    }

    /// Records that the account of the same name was overwritten.
    pub fn overwritten(&self, id: SecretId) -> Result<(), Fault> {
        self.writing()?
            .prepare_cached("UPDATE credentials SET replaces = 0 WHERE id = ?1")?
            .execute([id.as_bytes()])?;
        Ok(())
    }

    /// Moves an entry from intended to programmed. Returns `false` if it was not intended any more.
    pub fn programmed(&self, id: SecretId, now: i64) -> Result<bool, Fault> {
        let changed = self
            .writing()?
            .prepare_cached(
                "UPDATE credentials SET state = 'programmed', proved = ?2 WHERE id = ?1 AND state = 'intended'",
            )?
            .execute(params![id.as_bytes(), now])?;
        Ok(changed == 1)
    }

    /// Records that the account was renamed on its key.
    pub fn rename_oath_account(&self, id: SecretId, name: &AccountName) -> Result<(), Fault> {
        self.writing()?
            .prepare_cached("UPDATE credentials SET name = ?2 WHERE id = ?1")?
            .execute(params![id.as_bytes(), name.as_bytes()])?;
        Ok(())
    }

    /// Deletes the entry of an account that is known to be gone, or that is to stay on the key without a factor.
    pub fn forget_oath_account(&self, id: SecretId) -> Result<(), Fault> {
        self.writing()?.prepare_cached("DELETE FROM credentials WHERE id = ?1")?.execute([id.as_bytes()])?;
        Ok(())
    }
}

fn read(row: &Row<'_>) -> Result<OathAccount, Fault> {
    let corrupt = Fault::Corrupt("an OATH account");
    let bytes = |index: usize| row.get::<_, Vec<u8>>(index);
    let state: String = row.get(6)?;
    Ok(OathAccount {
        id: SecretId::from_slice(&bytes(0)?).ok_or_else(|| corrupt.clone())?,
        user: UserId::from_slice(&bytes(1)?).ok_or_else(|| corrupt.clone())?,
        key: KeyId::parse(&row.get::<_, String>(2)?).ok_or_else(|| corrupt.clone())?,
        device_id: DeviceId::from_text(row.get(3)?).ok_or_else(|| corrupt.clone())?,
        firmware: row.get(4)?,
        name: AccountName::from_bytes(&bytes(5)?).ok_or_else(|| corrupt.clone())?,
        state: ProvisioningState::ALL.into_iter().find(|s| s.name() == state).ok_or(corrupt)?,
        replaces: row.get(7)?,
        touch: row.get(8)?,
        counts: row.get(9)?,
        challenge: row.get(10)?,
        responses: bytes(11)?,
        created: row.get(12)?,
        proved: row.get(13)?,
    })
}

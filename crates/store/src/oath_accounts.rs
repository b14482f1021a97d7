//! The journal of accounts on hardware keys: what is about to be written, what was written and proved,
//! what is to be erased. It holds no seed; an account is known again by its answer to one challenge.

use rusqlite::{Row, params};
use sha2::{Digest, Sha256};

use mfad_core::model::{AccountName, DeviceId, SecretId, Serial, UserId};

use super::vault::same_tag;
use super::{Fault, Tx, View};

/// Where an account is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProvisioningState {
    /// It may or may not be on the key; there is no factor.
    Intended,
    /// It is on the key, proved, and belongs to a pending or active factor.
    Programmed,
    /// Its factor is over; it is to be erased at the next contact.
    Erase,
}

impl ProvisioningState {
    const ALL: [Self; 3] = [Self::Intended, Self::Programmed, Self::Erase];

    /// As stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Intended => "intended",
            Self::Programmed => "programmed",
            Self::Erase => "erase",
        }
    }
}

/// One account.
#[derive(Clone, Debug)]
pub struct OathAccount {
    /// The id of its factor.
    pub id: SecretId,
    /// Whose.
    pub user: UserId,
    /// On which key.
    pub serial: Serial,
    /// In which applet of it.
    pub device_id: DeviceId,
    /// The key's firmware when it was written.
    pub firmware: String,
    /// Its name on the key.
    pub name: AccountName,
    /// Where it is in its life.
    pub state: ProvisioningState,
    /// Whether an account of that name was there before.
    pub replaces: bool,
    /// Whether a code needs a touch.
    pub touch: bool,
    /// Whether it moves with a counter.
    pub counts: bool,
    /// What the account is asked to be known again.
    pub challenge: [u8; 8],
    /// The SHA-256 of the answers it may give, one after another: one, or several counters' worth.
    pub responses: Vec<u8>,
    /// Milliseconds since 1970.
    pub created: i64,
    /// When it was proved, in milliseconds since 1970.
    pub proved: Option<i64>,
}

impl OathAccount {
    /// Whether an answer of the key to [`OathAccount::challenge`] is this account's.
    pub fn is_answered_by(&self, answer: &[u8]) -> bool {
        let digest = Sha256::digest(answer);
        self.responses.chunks(digest.len()).fold(false, |found, known| found | same_tag(known, &digest))
    }
}

const COLUMNS: &str = "id, user, serial, device_id, firmware, name, state, replaces, touch, counts, challenge, \
                       responses, created, proved";

impl View<'_> {
    /// The account of a factor.
    pub fn oath_account(&self, id: SecretId) -> Result<Option<OathAccount>, Fault> {
        Ok(self.oath_accounts_where("id = ?1", [id.as_bytes()])?.pop())
    }

    /// The accounts on a key, oldest first.
    pub fn oath_accounts_on(&self, serial: Serial) -> Result<Vec<OathAccount>, Fault> {
        self.oath_accounts_where("serial = ?1", [serial.number()])
    }

    /// The accounts of a user that belong to a factor, oldest first.
    pub fn oath_accounts_of(&self, user: UserId) -> Result<Vec<OathAccount>, Fault> {
        self.oath_accounts_where("user = ?1 AND state = 'programmed'", [user.as_bytes()])
    }

    /// The keys on which something is left to undo or to erase.
    pub fn unsettled_devices(&self) -> Result<Vec<Serial>, Fault> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT DISTINCT serial FROM credentials WHERE state <> 'programmed' ORDER BY serial")?;
        let mut rows = statement.query([])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(Serial::new(row.get(0)?).ok_or(Fault::Corrupt("a serial number"))?);
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
    /// Writes down what is about to be written to a key (HW-1).
    pub fn intend(&self, row: &OathAccount) -> Result<(), Fault> {
        self.connection
            .prepare_cached(
                "INSERT INTO credentials (id, user, serial, device_id, firmware, name, state, replaces, touch, counts,
                                          challenge, responses, created)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'intended', ?7, ?8, ?9, ?10, ?11, ?12)",
            )?
            .execute(params![
                row.id.as_bytes(),
                row.user.as_bytes(),
                row.serial.number(),
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

    /// The account that was there before is known to be overwritten.
    pub fn overwritten(&self, id: SecretId) -> Result<(), Fault> {
        self.connection
            .prepare_cached("UPDATE credentials SET replaces = 0 WHERE id = ?1")?
            .execute([id.as_bytes()])?;
        Ok(())
    }

    /// Intended becomes programmed; `false` if it was not intended any more.
    pub fn programmed(&self, id: SecretId, now: i64) -> Result<bool, Fault> {
        let changed = self
            .connection
            .prepare_cached(
                "UPDATE credentials SET state = 'programmed', proved = ?2 WHERE id = ?1 AND state = 'intended'",
            )?
            .execute(params![id.as_bytes(), now])?;
        Ok(changed == 1)
    }

    /// The account has another name on its key now.
    pub fn rename_oath_account(&self, id: SecretId, name: &AccountName) -> Result<(), Fault> {
        self.connection
            .prepare_cached("UPDATE credentials SET name = ?2 WHERE id = ?1")?
            .execute(params![id.as_bytes(), name.as_bytes()])?;
        Ok(())
    }

    /// The account is known to be gone, or is nobody's business any more.
    pub fn forget_oath_account(&self, id: SecretId) -> Result<(), Fault> {
        self.connection.prepare_cached("DELETE FROM credentials WHERE id = ?1")?.execute([id.as_bytes()])?;
        Ok(())
    }
}

fn read(row: &Row<'_>) -> Result<OathAccount, Fault> {
    let corrupt = Fault::Corrupt("an account on a key");
    let bytes = |index: usize| row.get::<_, Vec<u8>>(index);
    let state: String = row.get(6)?;
    Ok(OathAccount {
        id: SecretId::from_slice(&bytes(0)?).ok_or_else(|| corrupt.clone())?,
        user: UserId::from_slice(&bytes(1)?).ok_or_else(|| corrupt.clone())?,
        serial: Serial::new(row.get(2)?).ok_or_else(|| corrupt.clone())?,
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

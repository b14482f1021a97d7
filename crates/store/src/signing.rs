//! The keys that sign tokens and provisioning receipts, sealed under the master key (TOK-7). This module stores them;
//! it does not sign.

use rusqlite::params;
use rusqlite::types::Value;

use mfad_core::model::Sensitive;

use super::sealed::{OwnedAssociatedData, Sealed, SealedValue};
use super::vault::AssociatedData;
use super::{Fault, Tx, View};

/// The purpose of a signing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Signs tokens. These keys rotate.
    Token,
    /// Signs receipts of programmed hardware keys. These keys are never deleted, so that old receipts can still be
    /// verified.
    Receipt,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Receipt => "receipt",
        }
    }

    /// Bound into the sealed key, so that a key of one purpose cannot be passed off as one of the other.
    fn kind(self) -> &'static str {
        match self {
            Self::Token => "ed25519",
            Self::Receipt => "ed25519-receipt",
        }
    }
}

/// The private keys, for master key rotation.
pub(super) const SEALED: Sealed = Sealed {
    first: || Value::Text(String::new()),
    after: |connection, after, limit| {
        let mut statement = connection
            .prepare_cached("SELECT kid, purpose, sealed FROM signing_keys WHERE kid > ?1 ORDER BY kid LIMIT ?2")?;
        let mut rows = statement.query(params![after, limit])?;
        let mut values = Vec::new();
        while let Some(row) = rows.next()? {
            let (kid, name): (String, String) = (row.get(0)?, row.get(1)?);
            let purpose = [Purpose::Token, Purpose::Receipt].into_iter().find(|purpose| purpose.name() == name);
            let purpose = purpose.ok_or(Fault::Corrupt("the purpose of a signing key"))?;
            let home = OwnedAssociatedData {
                table: "signing_keys",
                row: kid.clone().into_bytes(),
                user: Vec::new(),
                kind: purpose.kind(),
                parameters: String::new(),
            };
            values.push(SealedValue { key: Value::Text(kid), home, sealed: row.get(2)? });
        }
        Ok(values)
    },
    put: "UPDATE signing_keys SET sealed = ?2 WHERE kid = ?1",
};

/// A signing key, opened.
pub struct SigningKeyRow {
    /// The key id that tokens and receipts carry.
    pub kid: String,
    /// When the key was created, in milliseconds since 1970. It decides when the next key is due.
    pub created: i64,
    /// The Ed25519 private key (RFC 8032 section 5.1.5).
    pub seed: Sensitive<[u8; 32]>,
}

impl View<'_> {
    /// Returns all keys of a purpose, oldest first, opened.
    pub fn signing_keys(&self, purpose: Purpose) -> Result<Vec<SigningKeyRow>, Fault> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT kid, created, sealed FROM signing_keys WHERE purpose = ?1 ORDER BY created, kid")?;
        let mut rows = statement.query([purpose.name()])?;
        let mut keys = Vec::new();
        while let Some(row) = rows.next()? {
            let kid: String = row.get(0)?;
            let sealed: Vec<u8> = row.get(2)?;
            let opened = self.vault.open(&associated_data(purpose, &kid), &sealed)?;
            let seed = <[u8; 32]>::try_from(opened.expose().as_slice()).map_err(|_| Fault::Corrupt("a signing key"))?;
            keys.push(SigningKeyRow { created: row.get(1)?, seed: Sensitive::new(seed), kid });
        }
        Ok(keys)
    }
}

impl Tx<'_> {
    /// Seals and stores a key.
    pub fn insert_signing_key(&self, purpose: Purpose, key: &SigningKeyRow) -> Result<(), Fault> {
        let sealed = self.vault.seal(&associated_data(purpose, &key.kid), key.seed.expose())?;
        self.writing()?
            .prepare_cached("INSERT INTO signing_keys (kid, created, sealed, purpose) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![key.kid, key.created, sealed, purpose.name()])?;
        Ok(())
    }

    /// Deletes a key that has signed nothing that is still valid.
    pub fn delete_signing_key(&self, kid: &str) -> Result<(), Fault> {
        self.writing()?.prepare_cached("DELETE FROM signing_keys WHERE kid = ?1")?.execute([kid])?;
        Ok(())
    }
}

fn associated_data(purpose: Purpose, kid: &str) -> AssociatedData<'_> {
    AssociatedData { table: "signing_keys", row: kid.as_bytes(), user: &[], kind: purpose.kind(), parameters: "" }
}

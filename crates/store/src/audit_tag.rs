//! The keyed tag over the newest audit row. It detects a log whose end was cut off, and a chain that was computed anew.

use rusqlite::Connection;

use crate::audit::{Head, last_row};
use crate::meta;
use crate::sqlite::guard;
use crate::vault::Vault;
use crate::{Fault, OpenFault};

const HEAD: &str = "audit-head";
/// First schema version whose tag covers more than the newest row; see [`word`].
const TAGGED_VERSION: u32 = 6;

/// The additional data that the tag covers: the schema version, so that a manipulated store cannot pass as an older one
/// and be upgraded anew, and whether the store has a roll-back guard, so that removing the marker does not switch the
/// guard off. Before schema version 6 the tag covered no such data.
fn word(connection: &Connection, version: u32) -> Result<Vec<u8>, Fault> {
    if version < TAGGED_VERSION {
        return Ok(Vec::new());
    }
    Ok([&version.to_be_bytes(), [u8::from(guard::is_known(connection)?)].as_slice()].concat())
}

/// Tags the newest row of a batch. Called once per batch, just before the commit.
pub(crate) fn sign_head(connection: &Connection, vault: &Vault, version: u32, head: Option<Head>) -> Result<(), Fault> {
    // A batch that wrote no audit row leaves the stored tag valid.
    let Some((seq, hash)) = head else { return Ok(()) };
    let word = word(connection, version)?;
    Ok(meta::put_meta(connection, HEAD, &vault.audit_head(&word, seq, &hash))?)
}

/// Tags the newest row again, after the additional data of the tag have changed.
pub(crate) fn sign_again(connection: &Connection, vault: &Vault, version: u32) -> Result<(), Fault> {
    sign_head(connection, vault, version, last_row(connection)?)
}

/// Checks at start that the newest row is the tagged one and that the tag was made for this schema version.
pub(crate) fn check_head(connection: &Connection, vault: &Vault, version: u32) -> Result<(), OpenFault> {
    let tag = meta::meta(connection, HEAD)?;
    let word = word(connection, version)?;
    let holds = match (last_row(connection)?, tag) {
        (None, None) => true,
        (Some((seq, hash)), Some(tag)) => vault.is_audit_head(&word, seq, &hash, &tag),
        // A tag without rows means that the log was emptied. Rows without a tag were not written by this daemon.
        (None, Some(_)) | (Some(_), None) => false,
    };
    if holds { Ok(()) } else { Err(OpenFault::Damaged("the end of the audit log was changed".to_owned())) }
}

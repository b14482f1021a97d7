//! An online backup: a consistent copy of the whole store, made while the daemon serves (STO-12). The copy is encrypted
//! as a whole under a key derived from the master key. Columns are sealed anyway, but names, addresses and the audit
//! log are not, and a copy travels further than the store.
//!
//! Format: a head, then records. Numbers are big-endian.
//!
//! - Head: `mfad backup 1`, a newline, the instance id (16 bytes), the time (8 bytes, milliseconds since 1970), a
//!   random id (16 bytes), and HMAC-SHA-256 over all that.
//! - Record: one byte that is 1 in the last record and 0 in all others, the length of the rest (4 bytes), and a piece
//!   of the database under XChaCha20-Poly1305 (nonce first). The associated data are the head, the record's number and
//!   its first byte, so that nothing can be cut off, moved or exchanged.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mfad_core::entropy;
use mfad_core::model::scrub_stack;

use crate::meta;
use crate::vault::locked::LockedKey;
use crate::vault::{keyed, open_with, same_tag, seal_with};
use crate::{Fault, Store};

const MAGIC: &[u8; 14] = b"mfad backup 1\n";
const HEAD: usize = 14 + 16 + 8 + 16;
const TAG: usize = 32;
/// Bytes of the database in one record: 256 KiB.
const PIECE: usize = 1 << 18;
/// Greatest length of a record: piece, nonce, tag.
const LONGEST_RECORD: u32 = (1 << 18) + 24 + 16;
const COPY: &str = "mfad.db.backup";

/// Why a backup cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BackupFault {
    /// The file does not begin with the head of a backup.
    #[error("this is not a backup made by mfad")]
    Foreign,
    /// The backup was made under another master key, or its head was changed.
    #[error("the backup was made under another master key; provide the key that was used then, with --key-file")]
    WrongKey,
    /// The backup is truncated, was changed, or has bytes after its last record. The field is the number of the record,
    /// from 0; it is 0 for bytes after the last record.
    #[error("the backup is truncated or was changed, in record {0}; use another copy")]
    Damaged(u64),
    /// The backup could not be read, or the new database could not be written.
    #[error("cannot read the backup or write its contents: {0}")]
    Io(#[from] io::Error),
    /// Any other failure of the store.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// A backup in progress. Dropping it ends the backup.
pub struct Backup {
    key: LockedKey,
    head: Vec<u8>,
    is_head_due: bool,
    copy: File,
    piece: Vec<u8>,
    records: u64,
    is_over: bool,
}

impl Store {
    /// Copies the store as it is at this moment; [`Backup::next_part`] encrypts the copy piece by piece. `now`
    /// (milliseconds since 1970) is written into the head.
    pub fn backup(&self, patience: Duration, now: i64) -> Result<Backup, Fault> {
        let path = self.dir.join(COPY);
        let unwritable = |error: io::Error| Fault::Unwritable(error.to_string());
        let (instance, copy) = self.read(patience, |view| {
            // Only this process creates the file, and its name is removed as soon as the copy is complete. So a file of
            // that name is a leftover.
            let _ = fs::remove_file(&path);
            let options = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
            let copy = options.map_err(unwritable)?;
            let made = view.connection.backup("main", &path, None::<fn(rusqlite::backup::Progress)>);
            fs::remove_file(&path).map_err(unwritable)?;
            made?;
            if copy.metadata().map_err(unwritable)?.len() == 0 {
                return Err(Fault::Corrupt("an empty backup copy"));
            }
            Ok((meta::instance(view.connection)?, copy))
        })?;
        let key = self.vault.backup_key()?;
        let id = entropy::public::<16>().map_err(|_| Fault::Crypto)?;
        let mut head = [MAGIC.as_slice(), &instance, &now.to_be_bytes(), &id].concat();
        let tag = keyed(&key, &[&head]);
        head.extend_from_slice(&tag);
        let mut backup = Backup { key, head, is_head_due: true, copy, piece: Vec::new(), records: 0, is_over: false };
        backup.piece = backup.read_piece().map_err(unwritable)?;
        Ok(backup)
    }
}

impl Backup {
    /// Returns the next bytes of the backup, or `None` at the end.
    pub fn next_part(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        if std::mem::take(&mut self.is_head_due) {
            return Ok(Some(self.head.clone()));
        }
        if self.is_over {
            return Ok(None);
        }
        let next = self.read_piece().map_err(|error| Fault::Unwritable(error.to_string()))?;
        // One piece is read ahead, since the record says whether it is the last.
        self.is_over = next.is_empty();
        let sealed = seal_with(self.key.expose(), &aad(&self.head, self.records, self.is_over), &self.piece);
        scrub_stack();
        let sealed = sealed?;
        let length = u32::try_from(sealed.len()).map_err(|_| Fault::Crypto)?;
        self.piece = next;
        self.records = self.records.saturating_add(1);
        Ok(Some([[u8::from(self.is_over)].as_slice(), &length.to_be_bytes(), &sealed].concat()))
    }

    fn read_piece(&mut self) -> io::Result<Vec<u8>> {
        let mut piece = Vec::new();
        let most = u64::try_from(PIECE).unwrap_or(u64::MAX);
        Read::by_ref(&mut self.copy).take(most).read_to_end(&mut piece)?;
        Ok(piece)
    }
}

/// Decrypts a backup into the file `to`, and writes nothing else. Returns when the backup was made, in milliseconds
/// since 1970.
pub(crate) fn unpack(mut from: impl Read, key: &LockedKey, to: &Path) -> Result<i64, BackupFault> {
    let mut head = [0u8; HEAD + TAG];
    from.read_exact(&mut head).map_err(|_| BackupFault::Foreign)?;
    let (plain, tag) = head.split_at(HEAD);
    let rest = plain.strip_prefix(MAGIC.as_slice()).ok_or(BackupFault::Foreign)?;
    // Checked before anything is written, so that a wrong master key is not reported as damage.
    if !same_tag(tag, &keyed(key, &[plain])) {
        return Err(BackupFault::WrongKey);
    }
    let made = rest.get(16..24).and_then(|bytes| bytes.try_into().ok()).map_or(0, i64::from_be_bytes);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to)?;
    for record in 0u64.. {
        let damaged = |_| BackupFault::Damaged(record);
        let mut start = [0u8; 5];
        from.read_exact(&mut start).map_err(damaged)?;
        let [last, length @ ..] = start;
        let length = u32::from_be_bytes(length);
        // The length is not authenticated yet. The limit keeps a damaged file from causing a huge allocation.
        if length > LONGEST_RECORD || last > 1 {
            return Err(BackupFault::Damaged(record));
        }
        let mut sealed = vec![0u8; usize::try_from(length).unwrap_or(usize::MAX)];
        from.read_exact(&mut sealed).map_err(damaged)?;
        let piece = open_with(key.expose(), &aad(&head, record, last == 1), &sealed);
        file.write_all(piece.map_err(|_| BackupFault::Damaged(record))?.expose())?;
        if last == 1 {
            break;
        }
    }
    // Bytes after the last record are not authenticated.
    if from.read(&mut [0u8; 1])? > 0 {
        return Err(BackupFault::Damaged(0));
    }
    file.sync_all()?;
    Ok(made)
}

/// Deletes the copy that a crash during a backup left behind.
pub(crate) fn remove_leftover(state_dir: &Path) {
    let path: PathBuf = state_dir.join(COPY);
    let _ = fs::remove_file(path);
}

fn aad(head: &[u8], record: u64, is_last: bool) -> Vec<u8> {
    [head, &record.to_be_bytes(), &[u8::from(is_last)]].concat()
}

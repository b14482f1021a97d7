//! A copy of the whole store, taken while it is used, for whoever keeps copies (STO-12). It is encrypted as a whole under a
//! key derived from the master key: names and addresses are not sealed in the store, and a copy travels further than the store.
//!
//! Format: a head, then records. Head: `mfad backup 1`, a newline, instance (16 bytes), time (8 bytes, milliseconds since
//! 1970), id (16 random bytes), and HMAC-SHA-256 of all that. Record: one byte that is 1 in the last record and 0 before, the
//! length of what follows (4 bytes), and XChaCha20-Poly1305 of a piece of the database (nonce first). A record's
//! number, its first byte and the head are authenticated with it, so that nothing can be cut off, moved or exchanged.
//! Numbers are big-endian.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mfad_core::entropy;
use mfad_core::model::scrub_stack;

use crate::vault::locked::LockedKey;
use crate::vault::{keyed, open_with, same_tag, seal_with};
use crate::{Fault, Store, files};

const MAGIC: &[u8; 14] = b"mfad backup 1\n";
const HEAD: usize = 14 + 16 + 8 + 16;
const TAG: usize = 32;
/// Bytes of the database in a record.
const PIECE: usize = 1 << 18;
/// A record is at most that long: piece, nonce, tag.
const LONGEST_RECORD: u32 = (1 << 18) + 24 + 16;
const COPY: &str = "mfad.db.backup";

/// Why a backup cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BackupFault {
    /// It is none.
    #[error("this is no backup of mfad")]
    Foreign,
    /// It was made under another master key, or its head was changed.
    #[error("this backup was not made under this master key")]
    WrongKey,
    /// It ends too early, or was changed.
    #[error("the backup is cut off or was changed, in record {0}")]
    Damaged(u64),
    /// It cannot be read, or its contents not be written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Anything else.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// A copy on its way out.
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
    /// Copies the store as it is at this moment, and encrypts the copy piece by piece as it is read.
    pub fn backup(&self, patience: Duration, now: i64) -> Result<Backup, Fault> {
        let path = self.dir.join(COPY);
        let unwritable = |error: io::Error| Fault::Unwritable(error.to_string());
        let (instance, copy) = self.read(patience, |view| {
            // Only this process makes such a file, and it has no name once it is complete.
            let _ = fs::remove_file(&path);
            let options = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
            let copy = options.map_err(unwritable)?;
            let made = view.connection.backup("main", &path, None::<fn(rusqlite::backup::Progress)>);
            fs::remove_file(&path).map_err(unwritable)?;
            made?;
            if copy.metadata().map_err(unwritable)?.len() == 0 {
                return Err(Fault::Corrupt("an empty copy"));
            }
            Ok((files::instance(view.connection)?, copy))
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
    /// The next bytes of the backup, or `None` at its end.
    pub fn next_part(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        if std::mem::take(&mut self.is_head_due) {
            return Ok(Some(self.head.clone()));
        }
        if self.is_over {
            return Ok(None);
        }
        let next = self.read_piece().map_err(|error| Fault::Unwritable(error.to_string()))?;
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

/// Decrypts a backup into a new file. Returns when the backup was made. Nothing but that file is written.
pub(crate) fn unpack(mut from: impl Read, key: &LockedKey, to: &Path) -> Result<i64, BackupFault> {
    let mut head = [0u8; HEAD + TAG];
    from.read_exact(&mut head).map_err(|_| BackupFault::Foreign)?;
    let (plain, tag) = head.split_at(HEAD);
    let rest = plain.strip_prefix(MAGIC.as_slice()).ok_or(BackupFault::Foreign)?;
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
    if from.read(&mut [0u8; 1])? > 0 {
        return Err(BackupFault::Damaged(0));
    }
    file.sync_all()?;
    Ok(made)
}

/// What is left of a backup that was cut off by a crash.
pub(crate) fn remove_leftover(state_dir: &Path) {
    let path: PathBuf = state_dir.join(COPY);
    let _ = fs::remove_file(path);
}

fn aad(head: &[u8], record: u64, is_last: bool) -> Vec<u8> {
    [head, &record.to_be_bytes(), &[u8::from(is_last)]].concat()
}

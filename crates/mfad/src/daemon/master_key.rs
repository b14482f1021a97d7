//! The master key on this host: a systemd credential, or a file in the state directory. It does not know how the store
//! uses the key.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use mfad_core::entropy;
use mfad_service::{KeySource, MasterKeyStore};
use mfad_store::MasterKey;

use super::failure::{Failure, file_fault};
use super::places::is_ours;

/// File of the master key in the state directory.
pub(super) const KEY_FILE: &str = "master.key";
/// File of a new master key until it is complete and renamed to `master.key`.
const NEXT_KEY_FILE: &str = "master.key.next";
/// Name of the systemd credential that holds the master key.
const CREDENTIAL: &str = "mfad.key";

/// Draws a new master key from the operating system's random generator (KEY-6).
pub(super) fn new_key() -> Result<MasterKey, Failure> {
    MasterKey::filled(|key| entropy::fill(key).map_err(|cause| Failure::Internal(cause.to_string())))
}

/// Writes a key to a file. After a crash the file is either complete or unchanged.
pub(super) fn write_key(path: &Path, key: &MasterKey) -> Result<(), Failure> {
    write_whole(path, key).map_err(|cause| file_fault(path, cause))
}

fn write_whole(path: &Path, key: &MasterKey) -> std::io::Result<()> {
    let next = path.with_file_name(NEXT_KEY_FILE);
    // A crash may have left the file of an earlier attempt.
    match fs::remove_file(&next) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(&next)?;
    file.write_all(key.expose())?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    // The rename is durable only once the directory is.
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// Where this host keeps the master key, for the service to replace it in a rotation.
pub(super) struct HostKeyStore {
    dir: PathBuf,
    source: KeySource,
}

impl HostKeyStore {
    pub(super) fn of(dir: &Path) -> Self {
        let source = if credential_path().is_some() { KeySource::Credential } else { KeySource::File };
        Self { dir: dir.to_owned(), source }
    }
}

impl MasterKeyStore for HostKeyStore {
    fn source(&self) -> KeySource {
        self.source
    }

    fn replace(&self, key: &MasterKey) -> Result<(), String> {
        write_whole(&self.dir.join(KEY_FILE), key).map_err(|error| format!("cannot write the master key file: {error}"))
    }
}

/// Returns the master key for a restore. A missing store is normal there, so only the key is reported as missing.
pub(super) fn master_key_without_store(dir: &Path) -> Result<MasterKey, Failure> {
    match master_key(dir) {
        Err(Failure::NotInitialised(_)) => Err(Failure::NoKey(dir.join(KEY_FILE))),
        found => found,
    }
}

/// Returns the master key: the systemd credential if there is one, else the file in the state directory (KEY-1).
pub(super) fn master_key(dir: &Path) -> Result<MasterKey, Failure> {
    if let Some(key) = credential_key()? {
        return Ok(key);
    }
    let path = dir.join(KEY_FILE);
    match fs::symlink_metadata(&path) {
        Ok(_) => key_of_file(&path),
        Err(_) if dir.join(mfad_store::DATABASE).exists() => Err(Failure::NoKey(path)),
        Err(_) => Err(Failure::NotInitialised(dir.to_owned())),
    }
}

/// Reads a key from a file. Refuses a file that another user owns or can access (STO-9).
pub(super) fn key_of_file(path: &Path) -> Result<MasterKey, Failure> {
    let meta = fs::symlink_metadata(path).map_err(|cause| file_fault(path, cause))?;
    let wrong = |why| Err(Failure::Unsafe { path: path.to_owned(), why });
    if !meta.file_type().is_file() {
        return wrong("not a regular file");
    }
    if !is_ours(&meta) || meta.mode() & 0o077 != 0 {
        return wrong("belongs to another user, or other users can access it; its mode must be 0400");
    }
    read_key(path)
}

/// Reads the systemd credential, if this service has one.
pub(super) fn credential_key() -> Result<Option<MasterKey>, Failure> {
    credential_path().map(|path| read_key(&path)).transpose()
}

fn credential_path() -> Option<PathBuf> {
    let path = Path::new(&std::env::var_os("CREDENTIALS_DIRECTORY")?).join(CREDENTIAL);
    path.exists().then_some(path)
}

/// Reads a file of exactly 32 bytes, directly into the memory of the key.
pub(super) fn read_key(path: &Path) -> Result<MasterKey, Failure> {
    MasterKey::filled(|key| {
        // Room for one byte more, to notice a file that is too long.
        let mut more = [0u8; 1];
        let read = File::open(path).and_then(|mut file| {
            file.read_exact(key)?;
            file.read(&mut more)
        });
        match read {
            Ok(0) => Ok(()),
            Ok(_) => Err(Failure::NoSuchKey(path.to_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(Failure::NoSuchKey(path.to_owned())),
            Err(cause) => Err(file_fault(path, cause)),
        }
    })
}

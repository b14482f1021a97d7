//! The master key: a systemd credential, or a file in the state directory.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use mfad_core::entropy;
use mfad_service::{KeySource, MasterKeyStore};
use mfad_store::MasterKey;

use super::failure::{Failure, file_fault};
use super::places::is_ours;

/// The master key's file in the state directory.
pub(super) const KEY_FILE: &str = "master.key";
/// Its successor, until it takes its name.
const NEXT_KEY_FILE: &str = "master.key.next";
/// The master key's name as a systemd credential.
const CREDENTIAL: &str = "mfad.key";

pub(super) fn new_key() -> Result<MasterKey, Failure> {
    MasterKey::filled(|key| entropy::fill(key).map_err(|cause| Failure::Internal(cause.to_string())))
}

/// Writes a key to a file that is there wholly or not at all.
pub(super) fn write_key(path: &Path, key: &MasterKey) -> Result<(), Failure> {
    write_whole(path, key).map_err(|cause| file_fault(path, cause))
}

fn write_whole(path: &Path, key: &MasterKey) -> std::io::Result<()> {
    let next = path.with_file_name(NEXT_KEY_FILE);
    // One of an attempt that a crash cut off may lie there.
    match fs::remove_file(&next) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(&next)?;
    file.write_all(key.expose())?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// The daemon's way to a new master key.
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
        write_whole(&self.dir.join(KEY_FILE), key).map_err(|error| format!("the master key's file: {error}"))
    }
}

/// The master key for a restore, which may find no store.
pub(super) fn master_key_without_store(dir: &Path) -> Result<MasterKey, Failure> {
    match master_key(dir) {
        Err(Failure::NotInitialised(_)) => Err(Failure::NoKey(dir.join(KEY_FILE))),
        found => found,
    }
}

/// The systemd credential if there is one, else the file in the state directory (KEY-1).
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

/// The key in a file that nobody else can read.
pub(super) fn key_of_file(path: &Path) -> Result<MasterKey, Failure> {
    let meta = fs::symlink_metadata(path).map_err(|cause| file_fault(path, cause))?;
    let wrong = |why| Err(Failure::Unsafe { path: path.to_owned(), why });
    if !meta.file_type().is_file() {
        return wrong("is not a regular file");
    }
    if !is_ours(&meta) || meta.mode() & 0o077 != 0 {
        return wrong("belongs to another user or is open to others; its mode has to be 0400");
    }
    read_key(path)
}

pub(super) fn credential_key() -> Result<Option<MasterKey>, Failure> {
    credential_path().map(|path| read_key(&path)).transpose()
}

fn credential_path() -> Option<PathBuf> {
    let path = Path::new(&std::env::var_os("CREDENTIALS_DIRECTORY")?).join(CREDENTIAL);
    path.exists().then_some(path)
}

pub(super) fn read_key(path: &Path) -> Result<MasterKey, Failure> {
    MasterKey::filled(|key| {
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

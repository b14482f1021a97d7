//! The master key: a systemd credential, or a file in the state directory.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroize;

use crate::entropy;
use crate::model::Sensitive;
use crate::store::{self, MasterKey};

use super::failure::{Failure, file_fault};
use super::places::is_ours;

/// The master key's file in the state directory.
pub(super) const KEY_FILE: &str = "master.key";
/// The master key's name as a systemd credential.
const CREDENTIAL: &str = "mfad.key";

pub(super) fn write_new_key(path: &Path) -> Result<MasterKey, Failure> {
    let key = entropy::secret::<32>().map_err(|cause| Failure::Internal(cause.to_string()))?;
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(path)?;
        file.write_all(key.expose())?;
        file.sync_all()
    };
    write().map_err(|cause| file_fault(path, cause))?;
    Ok(key)
}

/// The systemd credential if there is one, else the file in the state directory (KEY-1).
pub(super) fn master_key(dir: &Path) -> Result<MasterKey, Failure> {
    if let Some(key) = credential_key()? {
        return Ok(key);
    }
    let path = dir.join(KEY_FILE);
    let meta = match fs::symlink_metadata(&path) {
        Ok(meta) => meta,
        Err(_) if dir.join(store::DATABASE).exists() => return Err(Failure::NoKey(path)),
        Err(_) => return Err(Failure::NotInitialised(dir.to_owned())),
    };
    let wrong = |why| Err(Failure::Unsafe { path: path.clone(), why });
    if !meta.file_type().is_file() {
        return wrong("is not a regular file");
    }
    if !is_ours(&meta) || meta.mode() & 0o077 != 0 {
        return wrong("belongs to another user or is open to others; its mode has to be 0400");
    }
    read_key(&path)
}

pub(super) fn credential_key() -> Result<Option<MasterKey>, Failure> {
    let Some(dir) = std::env::var_os("CREDENTIALS_DIRECTORY") else { return Ok(None) };
    let path = Path::new(&dir).join(CREDENTIAL);
    if path.exists() { read_key(&path).map(Some) } else { Ok(None) }
}

pub(super) fn read_key(path: &Path) -> Result<MasterKey, Failure> {
    let mut key = [0u8; 32];
    let mut more = [0u8; 1];
    let read = File::open(path).and_then(|mut file| {
        file.read_exact(&mut key)?;
        file.read(&mut more)
    });
    match read {
        Ok(0) => {
            let sealed = Sensitive::new(key);
            key.zeroize();
            Ok(sealed)
        }
        Ok(_) => Err(Failure::NoSuchKey(path.to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(Failure::NoSuchKey(path.to_owned())),
        Err(cause) => Err(file_fault(path, cause)),
    }
}

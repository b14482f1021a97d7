//! Writes the receipts and backup codes of a batch to directories: one file each, readable only by its owner.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use mfad_core::entropy;

use super::remaining::ProvisionedKey;
use crate::device_args::BatchArgs;
use crate::failure::Failure;
use crate::receipt;
use crate::secret_text::Hidden;
use mfad_core::model::KeyId;

/// Digits of a random PIN, unless the key asks for more.
const PIN_DIGITS: usize = 8;

/// Directories of `--receipts` and `--codes`, as far as they are given.
pub(super) struct Folders {
    receipts: Option<PathBuf>,
    codes: Option<PathBuf>,
}

/// Receipts and backup codes that were not saved.
#[derive(Debug, Default)]
pub(super) struct Unkept {
    /// Error messages, one per file that could not be written.
    pub remarks: Vec<String>,
    /// Whether backup codes are lost, since the daemon does not return them again.
    pub codes: bool,
}

impl Folders {
    /// Creates the directories. Call it before any key is programmed, so that no backup codes are lost to a wrong path.
    pub(super) fn make(args: &BatchArgs) -> Result<Self, Failure> {
        for folder in args.receipts.iter().chain(&args.codes).chain(&args.pins) {
            fs::create_dir_all(folder)
                .map_err(|error| Failure::Usage(format!("cannot create {}: {error}", folder.display())))?;
        }
        Ok(Self { receipts: args.receipts.clone(), codes: args.codes.clone() })
    }

    /// Saves the receipt and the backup codes that came with a factor.
    pub(super) fn keep(&self, placed: &ProvisionedKey) -> Unkept {
        let mut unkept = Unkept::default();
        if let (Some(folder), Some(receipt)) = (&self.receipts, &placed.receipt) {
            unkept.remarks.extend(write(folder, placed, "receipt", receipt));
        }
        if placed.codes.is_empty() {
            return unkept;
        }
        match &self.codes {
            Some(folder) => {
                let failed = write(folder, placed, "codes", &placed.codes.join("\n"));
                unkept.codes = failed.is_some();
                unkept.remarks.extend(failed);
            }
            None => unkept.codes = true,
        }
        unkept
    }
}

/// Writes a file; returns the error message if that fails.
fn write(folder: &Path, placed: &ProvisionedKey, what: &str, text: &str) -> Option<String> {
    let path = folder.join(format!("{}-{}.{what}", placed.key, placed.secret));
    let failed = receipt::keep(&path, text).err()?;
    Some(format!("cannot write the {what} of hardware key {} to {}: {failed}", placed.key, path.display()))
}

/// Returns the PIN that a security key gets: the one in its file, from an earlier attempt, or a new one, which is on disk
/// when this returns.
pub(super) fn pin_for(folder: &Path, key: KeyId, shortest: Option<u8>) -> Result<Hidden, Failure> {
    let path = folder.join(format!("{key}.pin"));
    let failed = |error: io::Error| Failure::Output(format!("cannot keep the PIN in {}: {error}", path.display()));
    match fs::read_to_string(&path) {
        Ok(kept) => {
            let kept = Hidden::new(kept);
            return Ok(Hidden::new(kept.as_str().trim_end().to_owned()));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let pin = random_digits(PIN_DIGITS.max(shortest.map_or(0, usize::from)))?;
    receipt::keep(&path, pin.as_str()).map_err(failed)?;
    Ok(pin)
}

/// Each digit is as likely as any other: bytes that would prefer some are left out.
fn random_digits(count: usize) -> Result<Hidden, Failure> {
    let mut digits = Hidden::new(String::with_capacity(count));
    while digits.as_str().len() < count {
        let bytes = entropy::secret_of_length(count)
            .map_err(|_| Failure::Internal("the operating system gave no random bytes".to_owned()))?;
        let fair = bytes
            .expose()
            .iter()
            .filter(|byte| **byte < 250)
            .filter_map(|byte| char::from_digit(u32::from(byte % 10), 10));
        let room = count.saturating_sub(digits.as_str().len());
        digits.extend(fair.take(room));
    }
    Ok(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_kept_before_it_is_used_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyId::parse("nitrokey:a1b2c3d4").unwrap();

        let pin = pin_for(folder.path(), key, None).unwrap();
        let again = pin_for(folder.path(), key, Some(20)).unwrap();

        assert_eq!((pin.as_str().len(), pin.as_str()), (8, again.as_str()));
        assert!(pin.as_str().bytes().all(|byte| byte.is_ascii_digit()));
        let other = pin_for(folder.path(), KeyId::parse("7").unwrap(), Some(20)).unwrap();
        assert_eq!(other.as_str().len(), 20);
        assert!(pin_for(&folder.path().join("none"), key, None).is_err());
    }
}

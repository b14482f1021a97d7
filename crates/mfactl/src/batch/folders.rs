//! Writes the receipts and backup codes of a batch to directories: one file each, readable only by its owner.

use std::fs;
use std::path::{Path, PathBuf};

use super::remaining::ProvisionedKey;
use crate::device_args::BatchArgs;
use crate::failure::Failure;
use crate::receipt;

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
        for folder in args.receipts.iter().chain(&args.codes) {
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

//! Where receipts and backup codes of a batch are kept: one file each, for the owner's eyes only.

use std::fs;
use std::path::{Path, PathBuf};

use super::remaining::ProvisionedKey;
use crate::device_args::BatchArgs;
use crate::failure::Failure;
use crate::receipt;

/// The directories that were asked for.
pub struct Folders {
    receipts: Option<PathBuf>,
    codes: Option<PathBuf>,
}

/// What was not kept.
#[derive(Debug, Default)]
pub struct Unkept {
    /// Sentences for the person.
    pub remarks: Vec<String>,
    /// Whether there were backup codes that nobody has now.
    pub codes: bool,
}

impl Folders {
    /// Makes the directories, before any key is touched.
    pub fn make(args: &BatchArgs) -> Result<Self, Failure> {
        for folder in args.receipts.iter().chain(&args.codes) {
            fs::create_dir_all(folder)
                .map_err(|error| Failure::Usage(format!("cannot make {}: {error}", folder.display())))?;
        }
        Ok(Self { receipts: args.receipts.clone(), codes: args.codes.clone() })
    }

    /// Keeps what came with a factor.
    pub fn keep(&self, placed: &ProvisionedKey) -> Unkept {
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

/// Writes a file; gives the sentence when that fails.
fn write(folder: &Path, placed: &ProvisionedKey, what: &str, text: &str) -> Option<String> {
    let path = folder.join(format!("{}-{}.{what}", placed.serial, placed.secret));
    let failed = receipt::keep(&path, text).err()?;
    Some(format!("the {what} of key {} cannot be written to {}: {failed}", placed.serial, path.display()))
}

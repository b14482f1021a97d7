//! The daemon itself: health, version, master key.

use serde::{Deserialize, Serialize};

/// The answer of a health probe.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// `ok` (alive) or `ready`.
    pub status: String,
}

/// What is running.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionInfo {
    /// `mfad`.
    pub name: String,
    /// The version of the program.
    pub version: String,
    /// The version of SQLite that is linked in.
    pub sqlite: String,
    /// The version of the API.
    pub api: String,
    /// `full`, `partial` or `none`: how far Landlock confines the process.
    pub landlock: String,
    /// Whether the keys are locked in memory.
    pub keys_locked: bool,
}

/// Where the master key is, and how far its rotation is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MasterKeyState {
    /// `file` or `credential`.
    pub source: String,
    /// The version of the key that new values are sealed under.
    pub version: u32,
    /// `settled`, `resealing` or `awaiting-key`.
    pub state: String,
    /// The sealed values.
    pub sealed: SealedValues,
}

/// Sealed values in the store.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct SealedValues {
    /// All of them.
    pub total: u64,
    /// Those under the newest key.
    pub current: u64,
}

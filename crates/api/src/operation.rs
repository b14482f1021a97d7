//! The daemon itself: health, version, master key.

use serde::{Deserialize, Serialize};

/// The response of `GET /health/live` and `GET /health/ready`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// `ok` from the liveness probe, `ready` from the readiness probe.
    pub status: String,
}

/// The versions of the daemon and its parts, and how the process is protected.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionInfo {
    /// The name of the program, always `mfad`.
    pub name: String,
    /// The version of the program.
    pub version: String,
    /// The version of the SQLite library that is linked into the daemon.
    pub sqlite: String,
    /// The version of the API, always `v1`.
    pub api: String,
    /// `full`, `partial` or `none`: how far Landlock confines the process.
    pub landlock: String,
    /// Whether the keys that encrypt the store are locked in memory, so that they are never swapped out.
    pub keys_locked: bool,
}

/// Where the master key is kept, and the progress of its rotation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MasterKeyState {
    /// `file` if the daemon can replace the key itself; `credential` if systemd passes it to the daemon.
    pub source: String,
    /// The number of the newest master key of this store, from 1. New values are sealed under it.
    pub version: u32,
    /// `settled`: no rotation in progress. `resealing`: values are being re-encrypted. `awaiting-key`: all values are
    /// re-encrypted, but the file or credential still holds the old key.
    pub state: String,
    /// How many values are sealed, and how many of them under the newest master key.
    pub sealed: SealedValues,
    /// The directory of the store on the daemon's host.
    #[serde(rename = "stateDir", default)]
    pub state_dir: String,
}

/// Numbers of sealed values in the store.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct SealedValues {
    /// Number of sealed values, under any master key.
    pub total: u64,
    /// Number of sealed values under the newest master key; equal to `total` once a rotation is complete.
    pub current: u64,
}

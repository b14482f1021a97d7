//! Where the daemon's socket is.

use std::path::PathBuf;

/// Where the daemon of the package listens.
const DEFAULT_SOCKET: &str = "/run/mfad/mfad.sock";

/// The socket that was named, that of the variable `MFAD_SOCKET`, or that of the package. An empty path counts for
/// nothing.
pub(crate) fn socket(named: Option<PathBuf>) -> PathBuf {
    let named = named.or_else(|| std::env::var_os("MFAD_SOCKET").map(PathBuf::from));
    named.filter(|path| !path.as_os_str().is_empty()).unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET))
}

//! The socket: made where nobody can have put something else, or inherited from systemd.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use crate::config::Config;

use super::failure::{Failure, file_fault};
use super::places::{check_ancestors, is_ours};

/// A socket that is served.
pub(super) struct Listening {
    /// It.
    pub(super) listener: UnixListener,
    /// Where it lies.
    pub(super) path: PathBuf,
    /// Whether somebody else made it, and takes it away.
    pub(super) is_inherited: bool,
}

/// The socket that systemd made, or else one of our own.
pub(super) fn listen(config: &Config) -> Result<Listening, Failure> {
    let path = config.socket.clone();
    match inherited()? {
        Some(listener) => {
            let listener = listener.and_then(UnixListener::from_std);
            let listener = listener.map_err(|cause| Failure::Socket { path: path.clone(), cause })?;
            let address = listener.local_addr().ok().and_then(|address| address.as_pathname().map(Path::to_owned));
            let path = address.ok_or(Failure::Unsafe { path, why: "the socket from systemd has no path" })?;
            check_socket_dir(path.parent().unwrap_or(Path::new("/")))?;
            Ok(Listening { listener, path, is_inherited: true })
        }
        None => Ok(Listening { listener: bind(config)?, path, is_inherited: false }),
    }
}

/// The socket that systemd holds for us, which stays when we go (sd_listen_fds(3)).
fn inherited() -> Result<Option<std::io::Result<std::os::unix::net::UnixListener>>, Failure> {
    let mut held = listenfd::ListenFd::from_env();
    if held.len() > 1 {
        return Err(Failure::Internal("systemd hands over more than one socket".to_owned()));
    }
    match held.take_unix_listener(0) {
        Ok(Some(listener)) => Ok(Some(listener.set_nonblocking(true).map(|()| listener))),
        Ok(None) => Ok(None),
        Err(cause) => Ok(Some(Err(cause))),
    }
}

/// The directory of a socket of our own, made if it is missing; none if systemd holds the socket.
pub(super) fn make_socket_dir(path: &Path) -> Result<Option<&Path>, Failure> {
    if std::env::var_os("LISTEN_FDS").is_some() {
        return Ok(None);
    }
    let directory = directory_of(path);
    if fs::symlink_metadata(directory).is_err() {
        let made = DirBuilder::new().mode(0o750).create(directory);
        made.map_err(|cause| Failure::Socket { path: path.to_owned(), cause })?;
    }
    Ok(Some(directory))
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Binds the socket where nobody can have put something else, with its mode set before anybody can
/// reach it (SOCK-1, SOCK-2).
fn bind(config: &Config) -> Result<UnixListener, Failure> {
    let path = &config.socket;
    let fault = |cause| Failure::Socket { path: path.clone(), cause };
    check_socket_dir(directory_of(path))?;
    remove_stale(path)?;
    // The umask of 0077 makes it 0600; it is opened wider only once group and mode are right.
    let listener = UnixListener::bind(path).map_err(fault)?;
    if let Some(group) = config.socket_group {
        std::os::unix::fs::chown(path, None, Some(group)).map_err(fault)?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(config.socket_mode)).map_err(fault)?;
    Ok(listener)
}

pub(super) fn check_socket_dir(dir: &Path) -> Result<(), Failure> {
    let wrong = |why| Err(Failure::Unsafe { path: dir.to_owned(), why });
    let meta = fs::symlink_metadata(dir).map_err(|cause| file_fault(dir, cause))?;
    if !meta.is_dir() {
        return wrong("the socket's directory is a link or no directory");
    }
    if !is_ours(&meta) && meta.uid() != 0 {
        return wrong("the socket's directory belongs to another user");
    }
    if meta.mode() & 0o022 != 0 {
        return wrong("the socket's directory can be written by others");
    }
    if meta.mode() & 0o007 != 0 {
        tracing::warn!(dir = %dir.display(), "the socket's directory is open to all; 0750 is enough");
    }
    check_ancestors(dir)
}

/// Removes a socket that nobody answers on; one that answers is another instance.
pub(super) fn remove_stale(path: &Path) -> Result<(), Failure> {
    let Ok(meta) = fs::symlink_metadata(path) else { return Ok(()) };
    if !meta.file_type().is_socket() || !is_ours(&meta) {
        return Err(Failure::Unsafe { path: path.to_owned(), why: "is there already and is no socket of ours" });
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|cause| Failure::Socket { path: path.to_owned(), cause })
        }
        Ok(_) => Err(Failure::Running(path.to_owned())),
        Err(cause) => Err(Failure::Socket { path: path.to_owned(), cause }),
    }
}

//! The Unix socket: created in a directory that no other user can change, or inherited from systemd. It knows nothing
//! about the requests on it.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use crate::config::Config;

use super::failure::{Failure, file_fault};
use super::places::{check_ancestors, directory_of, is_ours};

/// The listening socket of the daemon, and who created it.
pub(super) struct Listening {
    pub(super) listener: UnixListener,
    /// For an inherited socket, the path that it is bound to, whatever the configuration says.
    pub(super) path: PathBuf,
    /// Whether systemd created the socket and will remove it.
    pub(super) is_inherited: bool,
}

/// Takes over the socket from systemd, or binds one of our own if there is none.
pub(super) fn listen(config: &Config) -> Result<Listening, Failure> {
    let path = config.socket.clone();
    if !is_handed_over(&path)? {
        return Ok(Listening { listener: bind(config)?, path, is_inherited: false });
    }
    let listener = inherited().and_then(UnixListener::from_std);
    let listener = listener.map_err(|cause| Failure::Socket { path: path.clone(), cause })?;
    let address = listener.local_addr().ok().and_then(|address| address.as_pathname().map(Path::to_owned));
    let path = address.ok_or(Failure::Unsafe { path, why: "the socket from systemd is not bound to a path" })?;
    check_socket_dir(path.parent().unwrap_or(Path::new("/")))?;
    Ok(Listening { listener, path, is_inherited: true })
}

/// Whether systemd passes a socket to this process (sd_listen_fds(3)).
fn is_handed_over(path: &Path) -> Result<bool, Failure> {
    let (pid, count) = (std::env::var_os("LISTEN_PID"), std::env::var_os("LISTEN_FDS"));
    is_declared(pid.as_deref(), count.as_deref(), std::process::id())
        .map_err(|why| Failure::Socket { path: path.to_owned(), cause: io::Error::other(why) })
}

/// Whether these variables pass one socket to the process `own`. They are ignored if they name another process. Invalid
/// values are refused: clients could not reach a daemon that binds a socket of its own where it should have inherited
/// one.
fn is_declared(pid: Option<&OsStr>, count: Option<&OsStr>, own: u32) -> Result<bool, &'static str> {
    let number = |text: &OsStr| text.to_str().and_then(|text| text.parse::<u32>().ok());
    if let Some(pid) = pid {
        let pid = number(pid).ok_or("LISTEN_PID is not a process id")?;
        if pid != own {
            return Ok(false);
        }
    }
    let Some(count) = count else { return Ok(false) };
    match number(count) {
        Some(1) => Ok(true),
        Some(_) => Err("LISTEN_FDS must be 1, since the daemon serves one socket"),
        None => Err("LISTEN_FDS is not a number"),
    }
}

/// Returns the socket that systemd passes. It stays when the daemon stops.
fn inherited() -> io::Result<std::os::unix::net::UnixListener> {
    let held = listenfd::ListenFd::from_env().take_unix_listener(0)?;
    let held = held.ok_or_else(|| io::Error::other("systemd passed no file descriptor"))?;
    if !rustix::net::sockopt::socket_acceptconn(&held)? {
        return Err(io::Error::other("the socket from systemd is not listening"));
    }
    held.set_nonblocking(true)?;
    Ok(held)
}

/// Returns the directory of our own socket, created if it is missing; `None` if systemd passes a socket.
pub(super) fn make_socket_dir(path: &Path) -> Result<Option<&Path>, Failure> {
    if is_handed_over(path)? {
        return Ok(None);
    }
    let directory = directory_of(path);
    if fs::symlink_metadata(directory).is_err() {
        let made = DirBuilder::new().mode(0o750).create(directory);
        made.map_err(|cause| Failure::Socket { path: path.to_owned(), cause })?;
    }
    Ok(Some(directory))
}

/// Binds our own socket in a directory that other users cannot change. No other user can connect before its group and
/// mode are set (SOCK-1, SOCK-2).
fn bind(config: &Config) -> Result<UnixListener, Failure> {
    let path = &config.socket;
    let fault = |cause| Failure::Socket { path: path.clone(), cause };
    check_socket_dir(directory_of(path))?;
    remove_stale(path)?;
    // Under the umask 0077 only this account can connect at first. The mode comes last, once the group is right.
    let listener = UnixListener::bind(path).map_err(fault)?;
    if let Some(group) = config.socket_group {
        std::os::unix::fs::chown(path, None, Some(group)).map_err(fault)?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(config.socket_mode)).map_err(fault)?;
    Ok(listener)
}

/// Refuses a directory in which other users could replace the socket.
pub(super) fn check_socket_dir(dir: &Path) -> Result<(), Failure> {
    let wrong = |why| Err(Failure::Unsafe { path: dir.to_owned(), why });
    let meta = fs::symlink_metadata(dir).map_err(|cause| file_fault(dir, cause))?;
    if !meta.is_dir() {
        return wrong("the socket directory must be a directory, not a link");
    }
    if !is_ours(&meta) && meta.uid() != 0 {
        return wrong("the socket directory belongs to another user");
    }
    if meta.mode() & 0o022 != 0 {
        return wrong("other users can write the socket directory");
    }
    if meta.mode() & 0o007 != 0 {
        tracing::warn!(dir = %dir.display(), "all users can access the socket directory; mode 0750 is enough");
    }
    check_ancestors(dir)
}

/// Removes our own socket if connecting to it is refused. If it accepts, another instance is running.
pub(super) fn remove_stale(path: &Path) -> Result<(), Failure> {
    let Ok(meta) = fs::symlink_metadata(path) else { return Ok(()) };
    if !meta.file_type().is_socket() || !is_ours(&meta) {
        return Err(Failure::Unsafe { path: path.to_owned(), why: "exists already and is not our socket" });
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|cause| Failure::Socket { path: path.to_owned(), cause })
        }
        Ok(_) => Err(Failure::Running(path.to_owned())),
        Err(cause) => Err(Failure::Socket { path: path.to_owned(), cause }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: u32 = 4711;

    fn declared(pid: Option<&str>, count: Option<&str>) -> Result<bool, &'static str> {
        is_declared(pid.map(OsStr::new), count.map(OsStr::new), OWN)
    }

    #[test]
    fn one_socket_for_this_process_is_taken_over() {
        assert_eq!(declared(Some("4711"), Some("1")), Ok(true));
        assert_eq!(declared(None, Some("1")), Ok(true));
    }

    #[test]
    fn what_is_handed_to_nobody_or_to_another_process_is_ignored() {
        for (pid, count) in [
            (None, None),
            (Some("4711"), None),
            (Some("4712"), Some("1")),
            (Some("1"), Some("3")),
            (Some("0"), Some("many")),
        ] {
            assert_eq!(declared(pid, count), Ok(false), "{pid:?} {count:?}");
        }
    }

    #[test]
    fn nonsense_is_refused_and_not_ignored() {
        for (pid, count) in [
            (Some("4711"), Some("0")),
            (Some("4711"), Some("2")),
            (Some("4711"), Some("-1")),
            (Some("4711"), Some("")),
            (Some("4711"), Some("one")),
            (Some("4711"), Some("1 ")),
            (None, Some("99999999999")),
            (Some(""), Some("1")),
            (Some("self"), Some("1")),
            (Some("-4711"), None),
        ] {
            assert!(declared(pid, count).is_err(), "{pid:?} {count:?}");
        }
    }
}

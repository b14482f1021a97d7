//! Whether the socket can only be that of the daemon: whoever may replace it could let anybody in.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Refuses a socket in a directory that others than root and the owner of the socket can write. A socket that is not there
/// is refused later, by the connect.
pub(crate) fn check(socket: &Path) -> Result<(), String> {
    let Some(directory) = socket.parent() else { return Ok(()) };
    let (Ok(place), Ok(socket_meta)) = (fs::metadata(directory), fs::symlink_metadata(socket)) else { return Ok(()) };
    let is_owned = place.uid() == 0 || place.uid() == socket_meta.uid();
    if is_owned && place.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(format!(
        "others can replace the socket {}: its directory must belong to root and be writable by nobody else",
        socket.display()
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_socket_that_others_can_replace_is_refused() {
        let directory = std::env::temp_dir().join(format!("pam-mfad-socket-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let socket = directory.join("s");
        let _listener = UnixListener::bind(&socket).unwrap();
        let mode = |mode| fs::set_permissions(&directory, fs::Permissions::from_mode(mode)).unwrap();

        for (bits, is_good) in [(0o700, true), (0o755, true), (0o775, false), (0o757, false), (0o1777, false)] {
            mode(bits);
            assert_eq!(check(&socket).is_ok(), is_good, "{bits:o}");
        }
        mode(0o700);
        fs::remove_dir_all(&directory).unwrap();
        assert!(check(&socket).is_ok(), "the connect says that it is missing");
    }
}

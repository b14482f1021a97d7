//! Identity of the peer of a connection, read from the kernel once, at accept (SOCK-3 to SOCK-6). It does not know what
//! a peer may do.

use std::os::fd::{AsRawFd, BorrowedFd};

use tokio::net::UnixStream;

use mfad_core::model::Peer;

/// File with the uid that the kernel reports for all users that a namespace does not map.
const OVERFLOW_UID: &str = "/proc/sys/kernel/overflowuid";
/// Limit of the kernel on the groups of a process (`NGROUPS_MAX`).
const MOST_GROUPS: usize = 65_536;

/// Reads the identity of peers, and refuses those that the kernel cannot name.
#[derive(Clone, Copy, Debug)]
pub struct Peers {
    overflow_uid: u32,
}

impl Peers {
    /// Reads the overflow uid of this host.
    pub fn new() -> std::io::Result<Self> {
        let text = std::fs::read_to_string(OVERFLOW_UID)?;
        Ok(Self { overflow_uid: text.trim().parse().map_err(std::io::Error::other)? })
    }

    /// Returns the peer of a connection. Missing credentials and the overflow uid are errors; there is no default
    /// (SOCK-4).
    pub fn of(&self, stream: &UnixStream) -> std::io::Result<Peer> {
        let credentials = stream.peer_cred()?;
        // Every unmapped user has this uid, so rights cannot depend on it.
        if credentials.uid() == self.overflow_uid {
            return Err(std::io::Error::other("the peer's uid is not mapped here (overflow uid)"));
        }
        let groups = groups(std::os::fd::AsFd::as_fd(stream))?;
        Ok(Peer { uid: credentials.uid(), gid: credentials.gid(), groups, pid: credentials.pid() })
    }
}

/// Returns the peer's supplementary groups as of its connect(2) (`SO_PEERGROUPS`, unix(7)).
#[expect(unsafe_code, reason = "no crate here wraps SO_PEERGROUPS")]
fn groups(socket: BorrowedFd<'_>) -> std::io::Result<Vec<u32>> {
    let mut room = 64usize;
    while room <= MOST_GROUPS {
        let mut groups = vec![0u32; room];
        let bytes = room.saturating_mul(size_of::<libc::gid_t>());
        let mut length = libc::socklen_t::try_from(bytes).map_err(std::io::Error::other)?;
        // SAFETY: the descriptor is open during the borrow. The pointer is to `bytes` writable bytes, and `length` says
        // so. The kernel writes no more than that, and stores in `length` how much it wrote.
        let status = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        if status == 0 {
            let bytes = usize::try_from(length).map_err(std::io::Error::other)?;
            groups.truncate(bytes.checked_div(size_of::<libc::gid_t>()).unwrap_or(0));
            return Ok(groups);
        }
        // ERANGE: the buffer is too small for all groups.
        let error = std::io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE) {
            return Err(error);
        }
        room = room.saturating_mul(16);
    }
    Err(std::io::Error::other("the peer has too many groups"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sock_3_a_peer_has_the_ids_and_groups_of_this_process() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mine: Vec<u32> = rustix::process::getgroups().unwrap().iter().map(|g| g.as_raw()).collect();

        let peer = Peers::new().unwrap().of(&ours).unwrap();

        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
        assert_eq!(peer.groups, mine);
    }

    #[tokio::test]
    async fn sock_4_the_overflow_uid_is_nobody_we_serve() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let peers = Peers { overflow_uid: rustix::process::geteuid().as_raw() };

        assert!(peers.of(&ours).is_err());
    }
}

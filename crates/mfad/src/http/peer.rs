//! Who is at the other end of a connection, asked of the kernel once, at accept (SOCK-3 to SOCK-6).

use std::os::fd::{AsRawFd, BorrowedFd};

use tokio::net::UnixStream;

use mfad_core::model::Peer;

/// The id that the kernel shows for users a namespace does not map.
const OVERFLOW_UID: &str = "/proc/sys/kernel/overflowuid";
/// More groups than the kernel lets a process have.
const MOST_GROUPS: usize = 65_536;

/// Reads peers, and refuses those that the kernel cannot name.
#[derive(Clone, Copy, Debug)]
pub struct Peers {
    overflow_uid: u32,
}

impl Peers {
    /// Learns the overflow id.
    pub fn new() -> std::io::Result<Self> {
        let text = std::fs::read_to_string(OVERFLOW_UID)?;
        Ok(Self { overflow_uid: text.trim().parse().map_err(std::io::Error::other)? })
    }

    /// The peer of a connection. No credentials, or the overflow id, is an error, never a default (SOCK-4).
    pub fn of(&self, stream: &UnixStream) -> std::io::Result<Peer> {
        let credentials = stream.peer_cred()?;
        if credentials.uid() == self.overflow_uid {
            return Err(std::io::Error::other("the peer has the overflow uid"));
        }
        let groups = groups(std::os::fd::AsFd::as_fd(stream))?;
        Ok(Peer { uid: credentials.uid(), gid: credentials.gid(), groups, pid: credentials.pid() })
    }
}

/// The peer's supplementary groups at connect time (`SO_PEERGROUPS`, unix(7)).
#[expect(unsafe_code, reason = "no crate here wraps SO_PEERGROUPS")]
fn groups(socket: BorrowedFd<'_>) -> std::io::Result<Vec<u32>> {
    let mut room = 64usize;
    while room <= MOST_GROUPS {
        let mut groups = vec![0u32; room];
        let bytes = room.saturating_mul(size_of::<libc::gid_t>());
        let mut length = libc::socklen_t::try_from(bytes).map_err(std::io::Error::other)?;
        // SAFETY: the descriptor is open for the borrow; the pointer is to `bytes` writable bytes and
        // `length` says so; the kernel writes no more than that and stores how much it wrote.
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

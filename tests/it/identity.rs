//! Connections as somebody else: the kernel tells the daemon who a peer is, so a test that wants to be
//! another peer has to be one for the moment of the connect. Works as root only.

#![allow(unsafe_code, reason = "the C library changes the whole process; only raw system calls change one thread")]

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;

/// A peer with no row in the configuration.
pub const STRANGER: u32 = 54_321;
/// Another one.
pub const OTHER_STRANGER: u32 = 54_322;
/// A peer with the right `app`.
pub const APP: u32 = 54_323;
/// A peer with the right `audit`.
pub const AUDITOR: u32 = 54_324;
/// What the kernel shows for a user it cannot name (SOCK-4).
pub const OVERFLOW: u32 = 65_534;

pub fn own_uid() -> u32 {
    rustix::process::getuid().as_raw()
}

/// Whether this test may be other peers; says so when it may not. CI is root, since it installs what the tests need.
pub fn can_be_others(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        assert!(std::env::var_os("CI").is_none(), "{test}: only root can connect as other users");
        println!("{test}: skipped, only root can connect as other users");
    }
    root
}

/// Connects as the user and group `id`, without any other group.
pub fn connect_as(socket: &Path, id: u32) -> io::Result<UnixStream> {
    thread::scope(|scope| {
        let connected = scope.spawn(|| {
            become_peer(id)?;
            UnixStream::connect(socket)
        });
        connected.join().expect("the thread that connects does not panic")
    })
}

/// Makes this thread a peer `id` until it ends; file access stays root's, so that private directories
/// stay private in tests.
fn become_peer(id: u32) -> io::Result<()> {
    let keep: libc::c_int = -1;
    // SAFETY: the four calls take integers and, with a count of 0, no list; as raw system calls they change
    // the credentials of the calling thread alone, which ends after its one connect.
    let (groups, gid, uid) = unsafe {
        let groups = libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>());
        let gid = libc::syscall(libc::SYS_setresgid, keep, id, keep);
        let uid = libc::syscall(libc::SYS_setresuid, keep, id, keep);
        libc::syscall(libc::SYS_setfsuid, 0);
        (groups, gid, uid)
    };
    if groups == 0 && gid == 0 && uid == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

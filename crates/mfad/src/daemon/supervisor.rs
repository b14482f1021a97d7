//! Notifies systemd of the state of the daemon, and feeds its watchdog (sd_notify(3)). Without systemd this does
//! nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Request that tests whether the daemon works. It takes the same path as every request: socket, limits, route, store.
const PROBE: &[u8] = b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
/// Bytes of the response that are read at most.
const LONGEST_ANSWER: u64 = 4096;

/// Reports that the daemon serves, after a start or a reload.
pub(super) fn ready() {
    tell(&[NotifyState::Ready, NotifyState::Status("serving")]);
}

/// Reports that the daemon reloads its configuration; `ready` ends that state.
pub(super) fn reloading() {
    // sd_notify(3) asks for MONOTONIC_USEC beside RELOADING.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// Reports that the daemon completes open requests and stops.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("completing open requests")]);
}

/// Feeds the watchdog as long as the daemon answers on its own socket (SVC-1). Returns at once if there is no watchdog.
pub(super) async fn feed_watchdog(socket: PathBuf) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    // Three requests for each limit, so that one slow response does not cause a restart.
    let third = limit.checked_div(3).unwrap_or(limit);
    let mut rounds = tokio::time::interval(third);
    loop {
        rounds.tick().await;
        match answers(&socket, third).await {
            Ok(()) => tell(&[NotifyState::Watchdog]),
            Err(why) => tracing::error!(why, "no response on the daemon's own socket; the watchdog is not fed"),
        }
    }
}

/// Whether a request through the socket is answered in time. 503 counts as an answer: if the store cannot be written, a
/// restart does not free disk space.
async fn answers(socket: &Path, patience: Duration) -> Result<(), &'static str> {
    let ask = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(PROBE).await?;
        let mut answer = Vec::new();
        stream.take(LONGEST_ANSWER).read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = tokio::time::timeout(patience, ask).await.map_err(|_| "no response in time")?;
    let answer = answer.map_err(|_| "cannot connect, write or read")?;
    let is_answer = [&b"HTTP/1.1 200 "[..], b"HTTP/1.1 503 "].iter().any(|head| answer.starts_with(head));
    if is_answer { Ok(()) } else { Err("unexpected response") }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(cause) = sd_notify::notify(states) {
        tracing::warn!(%cause, "cannot notify systemd");
    }
}

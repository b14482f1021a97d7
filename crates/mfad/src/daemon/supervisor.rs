//! What systemd is told, and what keeps it from restarting us (sd_notify(3)). Without systemd all of it is silent.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// What a request for readiness looks like. It takes the way of every request: socket, limits, route, store.
const PROBE: &[u8] = b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
/// The longest answer that is read.
const LONGEST_ANSWER: u64 = 4096;

/// The daemon serves.
pub(super) fn ready() {
    tell(&[NotifyState::Ready, NotifyState::Status("serving")]);
}

/// The daemon reads its configuration again; `ready` ends it.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The daemon finishes what is under way.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("finishing what is under way")]);
}

/// Feeds the watchdog for as long as our own socket answers (SVC-1). Ends at once if there is no watchdog.
pub(super) async fn feed_watchdog(socket: PathBuf) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let third = limit.checked_div(3).unwrap_or(limit);
    let mut rounds = tokio::time::interval(third);
    loop {
        rounds.tick().await;
        match answers(&socket, third).await {
            Ok(()) => tell(&[NotifyState::Watchdog]),
            Err(why) => tracing::error!(why, "the daemon does not answer itself; the watchdog is not fed"),
        }
    }
}

/// Whether a request through the socket is answered in time. That the store cannot be written (503) is an
/// answer: a restart makes no room on a disk.
async fn answers(socket: &Path, patience: Duration) -> Result<(), &'static str> {
    let ask = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(PROBE).await?;
        let mut answer = Vec::new();
        stream.take(LONGEST_ANSWER).read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = tokio::time::timeout(patience, ask).await.map_err(|_| "no answer in time")?;
    let answer = answer.map_err(|_| "the socket fails")?;
    let is_answer = [&b"HTTP/1.1 200 "[..], b"HTTP/1.1 503 "].iter().any(|head| answer.starts_with(head));
    if is_answer { Ok(()) } else { Err("another answer than expected") }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(cause) = sd_notify::notify(states) {
        tracing::warn!(%cause, "systemd cannot be told");
    }
}

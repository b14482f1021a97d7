//! Limits on open connections, in all and of each peer uid (HTTP-9), and the response to those over a limit. It knows
//! nothing about requests.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use mfad_core::model::Moment;

/// Connections beyond the total that are reserved for uid 0, so that an administrator can always connect.
const RESERVED: usize = 16;
/// Time limit for a peer to accept a final response.
const LAST_WORD: Duration = Duration::from_secs(1);
/// Time for which input is still read after a final response. Meanwhile the connection counts towards its limit.
pub(super) const LINGER: Duration = Duration::from_millis(200);
/// As [`LINGER`], for a connection over the limit, which counts towards none. It is longer, since the peer may not have
/// sent its request yet.
pub(super) const LONG_LINGER: Duration = Duration::from_secs(1);
/// Minimum time in milliseconds between two log entries about requests that were refused before they were read.
const BETWEEN_NOTES: i64 = 100;
/// Connections over the limits that are answered at the same time. Any more are closed without a response.
const TURNED_AWAY: usize = 64;
/// Bytes of a refused request that are read at most, so that the peer can read the refusal.
const DRAINED: u64 = 64 * 1024;

/// Limits on open connections (`[limits]` of the configuration).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Connections of all peers together; uid 0 may open 16 more.
    pub total: usize,
    /// Connections of one uid, 0 included.
    pub per_peer: usize,
}

/// Counts open connections, and limits responses and log entries about those that are refused.
pub(super) struct Connections {
    limits: ConnectionLimits,
    by_peer: Arc<Mutex<HashMap<u32, usize>>>,
    turned_away: Arc<Semaphore>,
    noted: AtomicI64,
}

/// Permission to keep one connection open. Dropping it frees its slot.
pub(super) struct ConnectionPermit {
    uid: u32,
    by_peer: Arc<Mutex<HashMap<u32, usize>>>,
}

impl Connections {
    /// Starts with no open connection.
    pub(super) fn new(limits: ConnectionLimits) -> Self {
        let turned_away = Arc::new(Semaphore::new(TURNED_AWAY));
        Self { limits, by_peer: Arc::default(), turned_away, noted: AtomicI64::new(i64::MIN) }
    }

    /// Returns a permit for one more connection of a uid; `None` if a limit is reached.
    pub(super) fn enter(&self, uid: u32) -> Option<ConnectionPermit> {
        let mut by_peer = lock(&self.by_peer);
        let total: usize = by_peer.values().sum();
        let of_peer = by_peer.get(&uid).copied().unwrap_or(0);
        // The reserve adds to the total only: the limit of one uid holds for uid 0 as well.
        let most = if uid == 0 { self.limits.total.saturating_add(RESERVED) } else { self.limits.total };
        if total >= most || of_peer >= self.limits.per_peer {
            return None;
        }
        by_peer.insert(uid, of_peer.saturating_add(1));
        Some(ConnectionPermit { uid, by_peer: Arc::clone(&self.by_peer) })
    }

    /// Returns a permit to answer one more connection over the limit; `None` if 64 are being answered already.
    pub(super) fn word_of_refusal(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.turned_away).try_acquire_owned().ok()
    }

    /// Whether a refusal before the request was read may be logged now. Such refusals cost the peer nothing. At most
    /// ten a second are logged, so that a flood does not push everything else out of the journal.
    pub(super) fn may_note(&self, now: &Moment) -> bool {
        let next = |last: i64| (now.boot_ms.saturating_sub(last) >= BETWEEN_NOTES).then_some(now.boot_ms);
        self.noted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }

    /// Returns the number of open connections.
    pub(super) fn open(&self) -> usize {
        lock(&self.by_peer).values().sum()
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut by_peer = lock(&self.by_peer);
        let left = by_peer.get(&self.uid).copied().unwrap_or(0).saturating_sub(1);
        if left == 0 {
            // The map has entries for connected uids only.
            by_peer.remove(&self.uid);
        } else {
            by_peer.insert(self.uid, left);
        }
    }
}

fn lock(by_peer: &Mutex<HashMap<u32, usize>>) -> MutexGuard<'_, HashMap<u32, usize>> {
    by_peer.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes a final response, shuts down the sending side, and reads for a moment what the peer still sends. Closing a
/// connection with unread bytes would take the response away from the peer.
pub(super) async fn say_last_word(mut stream: UnixStream, answer: &[u8], linger: Duration) {
    let talk = async {
        stream.write_all(answer).await?;
        stream.shutdown().await
    };
    // A peer that does not take the response is not read from either.
    if !matches!(tokio::time::timeout(LAST_WORD, talk).await, Ok(Ok(()))) {
        return;
    }
    let mut rest = (&mut stream).take(DRAINED);
    let mut nowhere = tokio::io::sink();
    let _ = tokio::time::timeout(linger, tokio::io::copy(&mut rest, &mut nowhere)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_9_one_peer_and_all_together_are_bounded_and_root_has_a_reserve() {
        let connections = Connections::new(ConnectionLimits { total: 3, per_peer: 2 });

        let one = connections.enter(1).unwrap();
        let _two = connections.enter(1).unwrap();
        assert!(connections.enter(1).is_none());
        let _three = connections.enter(2).unwrap();
        assert!(connections.enter(2).is_none());
        assert!(connections.enter(0).is_some());
        drop(one);
        assert!(connections.enter(1).is_some());
        assert_eq!(connections.open(), 2);
    }

    #[test]
    fn http_9_so_many_are_told_that_there_is_no_place_and_no_more() {
        let connections = Connections::new(ConnectionLimits { total: 0, per_peer: 0 });

        let mut told: Vec<_> = (0..TURNED_AWAY).map(|_| connections.word_of_refusal()).collect();

        assert!(told.iter().all(Option::is_some));
        assert!(connections.word_of_refusal().is_none());
        told.pop();
        assert!(connections.word_of_refusal().is_some());
    }

    #[test]
    fn refusals_go_into_the_journal_ten_times_a_second_at_most() {
        let connections = Connections::new(ConnectionLimits { total: 0, per_peer: 0 });
        let may_note = |boot_ms| connections.may_note(&Moment { wall_ms: 0, boot_ms, boot: [0; 16] });

        let noted = [0, 0, 1, 99, 100, 150, 199, 200, 10_000, 10_001].map(may_note);

        assert_eq!(noted, [true, false, false, false, true, false, false, true, true, false]);
    }

    #[tokio::test]
    async fn a_last_word_arrives_and_the_connection_ends_although_the_peer_stays() {
        for sent in [0, 1, 100, 60_000] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(&vec![b'x'; sent]).await.unwrap();

            say_last_word(ours, b"an answer", Duration::from_millis(10)).await;

            let mut heard = Vec::new();
            theirs.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, b"an answer", "{sent}");
            assert!(theirs.write_all(b"more").await.is_err(), "it is closed");
        }
    }
}

//! How many connections there may be, in all and of one peer (HTTP-9).

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use mfad_core::model::Moment;

/// Places that only uid 0 gets once all others are taken, so that an administrator can always ask.
const RESERVED: usize = 16;
/// How long a peer has to take in a last word.
const LAST_WORD: Duration = Duration::from_secs(1);
/// How long what a peer still sends is read after a last word. Such a connection counts for its limit meanwhile.
pub const LINGER: Duration = Duration::from_millis(200);
/// The same for a connection over the limit, which counts for none. Its peer may only be about to send.
pub const LONG_LINGER: Duration = Duration::from_secs(1);
/// At least so many milliseconds lie between two refusals in the journal that were made before a request was read.
const BETWEEN_NOTES: i64 = 100;
/// Connections over the limits that are told so at the same time. More than these are closed without a word.
const TURNED_AWAY: usize = 64;
/// Bytes of a refused request that are read so that the refusal can be.
const DRAINED: u64 = 64 * 1024;

/// The limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Connections in all.
    pub total: usize,
    /// Connections of one uid.
    pub per_peer: usize,
}

/// Counts open connections.
pub struct Connections {
    limits: ConnectionLimits,
    by_peer: Arc<Mutex<HashMap<u32, usize>>>,
    turned_away: Arc<Semaphore>,
    noted: AtomicI64,
}

/// A connection's place; free again when dropped.
pub struct ConnectionPermit {
    uid: u32,
    by_peer: Arc<Mutex<HashMap<u32, usize>>>,
}

impl Connections {
    /// Nobody is there yet.
    pub fn new(limits: ConnectionLimits) -> Self {
        let turned_away = Arc::new(Semaphore::new(TURNED_AWAY));
        Self { limits, by_peer: Arc::default(), turned_away, noted: AtomicI64::new(i64::MIN) }
    }

    /// A place for one more connection of that peer, if there is one.
    pub fn enter(&self, uid: u32) -> Option<ConnectionPermit> {
        let mut by_peer = lock(&self.by_peer);
        let total: usize = by_peer.values().sum();
        let of_peer = by_peer.get(&uid).copied().unwrap_or(0);
        let most = if uid == 0 { self.limits.total.saturating_add(RESERVED) } else { self.limits.total };
        if total >= most || of_peer >= self.limits.per_peer {
            return None;
        }
        by_peer.insert(uid, of_peer.saturating_add(1));
        Some(ConnectionPermit { uid, by_peer: Arc::clone(&self.by_peer) })
    }

    /// Leave to tell one more connection that there is no place for it.
    pub fn word_of_refusal(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.turned_away).try_acquire_owned().ok()
    }

    /// Whether a refusal that cost its peer nothing may go into the journal now. Ten a second may, so that nobody drives
    /// everything else out of it.
    pub fn may_note(&self, now: &Moment) -> bool {
        let next = |last: i64| (now.boot_ms.saturating_sub(last) >= BETWEEN_NOTES).then_some(now.boot_ms);
        self.noted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        lock(&self.by_peer).values().sum()
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut by_peer = lock(&self.by_peer);
        let left = by_peer.get(&self.uid).copied().unwrap_or(0).saturating_sub(1);
        if left == 0 {
            by_peer.remove(&self.uid);
        } else {
            by_peer.insert(self.uid, left);
        }
    }
}

fn lock(by_peer: &Mutex<HashMap<u32, usize>>) -> MutexGuard<'_, HashMap<u32, usize>> {
    by_peer.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes an answer on a connection that is not read any further, ends this side of it, and reads for a moment what the
/// peer still sends: closing with unread bytes would take the answer away from it.
pub async fn say_last_word(mut stream: UnixStream, answer: &[u8], linger: Duration) {
    let talk = async {
        stream.write_all(answer).await?;
        stream.shutdown().await
    };
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

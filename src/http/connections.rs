//! How many connections there may be, in all and of one peer (HTTP-9).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::answer::raw_answer;
use super::problem::Problem;

/// Places that only uid 0 gets once all others are taken, so that an administrator can always ask.
const RESERVED: usize = 16;
/// How long a peer has to take in a last word.
const LAST_WORD: Duration = Duration::from_secs(1);
/// Connections over the limits that are told so at the same time. More than these are closed without a word.
const TURNED_AWAY: usize = 64;
/// Bytes of a refused request that are read so that the refusal can be.
const DRAINED: u64 = 64 * 1024;

/// The limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Connections in all.
    pub total: usize,
    /// Connections of one uid.
    pub per_peer: usize,
}

/// Counts open connections.
pub struct Connections {
    caps: Caps,
    by_peer: Arc<Mutex<HashMap<u32, usize>>>,
    turned_away: Arc<Semaphore>,
}

/// A connection's place; free again when dropped.
pub struct Place {
    uid: u32,
    by_peer: Arc<Mutex<HashMap<u32, usize>>>,
}

impl Connections {
    /// Nobody is there yet.
    pub fn new(caps: Caps) -> Self {
        Self { caps, by_peer: Arc::default(), turned_away: Arc::new(Semaphore::new(TURNED_AWAY)) }
    }

    /// A place for one more connection of that peer, if there is one.
    pub fn enter(&self, uid: u32) -> Option<Place> {
        let mut by_peer = lock(&self.by_peer);
        let total: usize = by_peer.values().sum();
        let of_peer = by_peer.get(&uid).copied().unwrap_or(0);
        let most = if uid == 0 { self.caps.total.saturating_add(RESERVED) } else { self.caps.total };
        if total >= most || of_peer >= self.caps.per_peer {
            return None;
        }
        by_peer.insert(uid, of_peer.saturating_add(1));
        Some(Place { uid, by_peer: Arc::clone(&self.by_peer) })
    }

    /// Leave to tell one more connection that there is no place for it.
    pub fn word_of_refusal(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.turned_away).try_acquire_owned().ok()
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        lock(&self.by_peer).values().sum()
    }
}

impl Drop for Place {
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

/// Tells a connection over the limit to come again.
pub async fn turn_away(stream: UnixStream, leave: OwnedSemaphorePermit) {
    say_last_word(stream, &Problem::busy()).await;
    drop(leave);
}

/// Writes a refusal on a connection that is not read any further, then closes it.
pub async fn say_last_word(mut stream: UnixStream, problem: &Problem) {
    let talk = async {
        stream.write_all(&raw_answer(problem)).await?;
        stream.shutdown().await?;
        // Closing with unread bytes would take the answer away from the peer.
        tokio::io::copy(&mut (&mut stream).take(DRAINED), &mut tokio::io::sink()).await
    };
    let _ = tokio::time::timeout(LAST_WORD, talk).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_9_one_peer_and_all_together_are_bounded_and_root_has_a_reserve() {
        let connections = Connections::new(Caps { total: 3, per_peer: 2 });

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
        let connections = Connections::new(Caps { total: 0, per_peer: 0 });

        let mut told: Vec<_> = (0..TURNED_AWAY).map(|_| connections.word_of_refusal()).collect();

        assert!(told.iter().all(Option::is_some));
        assert!(connections.word_of_refusal().is_none());
        told.pop();
        assert!(connections.word_of_refusal().is_some());
    }
}

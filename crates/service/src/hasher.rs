//! Slow hashes: argon2id (RFC 9106), run by a bounded number of callers at a time (AUT-5). A record carries its own
//! cost, which is checked against limits before it is used (AUT-8).
//!
//! The memory that a hash fills is kept for the next one, at most one block for each worker. Freed memory would stay in
//! the allocator's arena of every thread that ever hashed (docs/design.md "The service").

use std::collections::HashMap;
use std::time::Duration;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroize;

use crate::error::Error;
use mfad_core::entropy;
use mfad_core::headroom;
use mfad_core::model::{BackupCode, CODES_PER_SET, Sensitive};
use mfad_core::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use mfad_store::same_tag;

const SALT: usize = 16;
const PASSWORD_HASH: usize = 32;
const CODE_HASH: usize = 16;
/// Version byte at the start of each record.
const FORMAT: u8 = 1;

/// Cost of a hash, and how many hashes run or wait at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashCost {
    /// Memory of one hash in KiB; at least 19,456.
    pub memory_kib: u32,
    /// Number of passes over the memory; at least 2.
    pub passes: u32,
    /// Number of lanes, 1 to 8.
    pub lanes: u32,
    /// Number of hashes that run at a time.
    pub workers: usize,
    /// Number of callers that may wait. A single peer uid gets half of the places.
    pub queue: usize,
}

impl HashCost {
    /// Minimum memory in KiB (BKC-2, AUT-8).
    pub const LEAST_MEMORY_KIB: u32 = 19_456;
    /// Minimum number of passes (BKC-2, AUT-8).
    pub const FEWEST_PASSES: u32 = 2;
    // Limits on the cost in stored records, so that a corrupt one cannot exhaust memory or time (AUT-8).
    const MOST_MEMORY_KIB: u32 = 1_048_576;
    const MOST_PASSES: u32 = 16;
    const MOST_LANES: u32 = 8;

    /// Returns whether the cost is at least the minimum and within the limits for stored records.
    pub fn is_sane(&self) -> bool {
        (Self::LEAST_MEMORY_KIB..=Self::MOST_MEMORY_KIB).contains(&self.memory_kib)
            && (Self::FEWEST_PASSES..=Self::MOST_PASSES).contains(&self.passes)
            && (1..=Self::MOST_LANES).contains(&self.lanes)
            && self.workers > 0
            && self.queue > 0
    }
}

/// Waiting places beyond the queue, for peer uids that have none in it.
const NEWCOMERS: usize = 16;

/// Cost and salt of one record.
struct Recipe {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: [u8; SALT],
}

/// Result of a password check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum PasswordCheck {
    /// The password is wrong, or there is no record.
    Wrong,
    /// The password is right.
    Right,
    /// The password is right, and its record is cheaper than the current cost: store a new one (AUT-8).
    RightButCheap,
}

pub(super) struct Hasher {
    cost: HashCost,
    state: Mutex<HashQueue>,
    freed: Condvar,
    memory: Mutex<Memory>,
    decoy: Sensitive<Vec<u8>>,
}

#[derive(Default)]
struct HashQueue {
    running: usize,
    waiting: usize,
    by_peer: HashMap<u32, usize>,
}

/// Spare memory for hashes: wiped, or about to be overwritten by a caller that waits.
#[derive(Default)]
struct Memory {
    spare: Vec<Vec<Block>>,
    is_wiped: bool,
    /// Whether a hash ran since the last housekeeping.
    in_use: bool,
}

/// Permission to run hashes, one after the other, on one of the workers.
pub(super) struct Permit<'a> {
    hasher: &'a Hasher,
    peer: u32,
}

impl Hasher {
    /// Also makes the record that logins of unknown users are checked against, with the current cost (AUT-4).
    pub(super) fn new(cost: HashCost) -> Result<Self, Error> {
        let decoy = Sensitive::new(Vec::new());
        let mut hasher = Self { cost, state: Mutex::default(), freed: Condvar::new(), memory: Mutex::default(), decoy };
        // Random bytes serve as a hash of an unknown password. A real hash would delay the start.
        let mut record = hasher.new_recipe()?.to_bytes();
        record.extend_from_slice(entropy::secret::<PASSWORD_HASH>()?.expose());
        hasher.decoy = Sensitive::new(record);
        Ok(hasher)
    }

    /// Waits for a free worker. Answers "busy" if the queue is full, if this peer has used up its share, or if
    /// `patience` runs out.
    pub(super) fn permit(&self, peer: u32, patience: Duration) -> Result<Permit<'_>, Error> {
        let mut state = self.lock();
        let of_peer = state.by_peer.get(&peer).copied().unwrap_or(0);
        // A peer keeps its place while its hash runs, so its share includes the workers.
        let share = self.cost.queue.div_ceil(2).saturating_add(self.cost.workers);
        // Two peers could fill the queue between them, so a peer that has no place in it gets one of the extra places.
        let queue = if of_peer == 0 { self.cost.queue.saturating_add(NEWCOMERS) } else { self.cost.queue };
        if state.waiting >= queue || of_peer >= share {
            return Err(Error::Busy);
        }
        state.waiting = state.waiting.saturating_add(1);
        *state.by_peer.entry(peer).or_default() = of_peer.saturating_add(1);
        let (mut state, _) = self
            .freed
            .wait_timeout_while(state, patience, |state| state.running >= self.cost.workers)
            .unwrap_or_else(PoisonError::into_inner);
        state.waiting = state.waiting.saturating_sub(1);
        if state.running >= self.cost.workers {
            state.leave(peer);
            return Err(Error::Busy);
        }
        state.running = state.running.saturating_add(1);
        Ok(Permit { hasher: self, peer })
    }

    /// Returns the number of callers that wait for a worker.
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting
    }

    fn lock(&self) -> MutexGuard<'_, HashQueue> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new_recipe(&self) -> Result<Recipe, Error> {
        let HashCost { memory_kib, passes, lanes, .. } = self.cost;
        Ok(Recipe { memory_kib, passes, lanes, salt: entropy::public()? })
    }

    fn password_record_of(&self, password: &[u8]) -> Result<Sensitive<Vec<u8>>, Error> {
        let recipe = self.new_recipe()?;
        let hash = self.hash::<PASSWORD_HASH>(&recipe, password)?;
        let mut record = recipe.to_bytes();
        record.extend_from_slice(hash.expose());
        Ok(Sensitive::new(record))
    }

    fn hash<const N: usize>(&self, recipe: &Recipe, input: &[u8]) -> Result<Sensitive<[u8; N]>, Error>
    where
        [u8; N]: Zeroize,
    {
        let failed = |error: argon2::Error| Error::Internal(format!("argon2: {error}"));
        // The configured cost was validated when it was set, so an invalid one comes from a stored record.
        let params = Params::new(recipe.memory_kib, recipe.passes, recipe.lanes, Some(N));
        let params = params.map_err(|error| Error::Tampered(format!("the cost of a stored hash: {error}")))?;
        let mut blocks = self.memory().take();
        let size = params.block_count();
        if blocks.len() > size {
            // A smaller hash would leave the end of the previous one in memory.
            blocks.zeroize();
        }
        // If there is not enough memory the caller tries again later, and the process goes on.
        let more = size.saturating_sub(blocks.len()).saturating_mul(size_of::<Block>());
        if !headroom::is_there_for(more) {
            return Err(Error::Busy);
        }
        blocks.try_reserve_exact(size.saturating_sub(blocks.len())).map_err(|_| Error::Busy)?;
        blocks.resize(size, Block::default());
        let mut hash = [0u8; N];
        let hashed = Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into_with_memory(
            input,
            &recipe.salt,
            &mut hash,
            &mut blocks,
        );
        self.memory().give_back(blocks, self.cost.workers);
        self.wipe_unless_awaited();
        hashed.map_err(failed)?;
        Ok(Sensitive::new(hash))
    }

    /// Wipes spare memory unless a caller waits for a worker. The remains of a hash would let guesses be tried without
    /// its cost. A waiting caller overwrites them at once, and wiping them first would be a twentieth of the work under
    /// load.
    fn wipe_unless_awaited(&self) {
        if self.waiting() == 0 {
            self.memory().wipe();
        }
    }

    /// Frees the spare memory if no hash ran since the last call.
    pub(super) fn tend(&self) {
        self.memory().release_if_idle();
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn take(&mut self) -> Vec<Block> {
        self.in_use = true;
        self.spare.pop().unwrap_or_default()
    }

    fn give_back(&mut self, blocks: Vec<Block>, most: usize) {
        if self.spare.len() < most {
            self.is_wiped = false;
            self.spare.push(blocks);
        }
    }

    fn wipe(&mut self) {
        if !std::mem::replace(&mut self.is_wiped, true) {
            self.spare.iter_mut().for_each(|blocks| blocks.iter_mut().zeroize());
        }
    }

    fn release_if_idle(&mut self) {
        if !std::mem::take(&mut self.in_use) {
            self.spare = Vec::new();
        }
    }
}

impl HashQueue {
    fn leave(&mut self, peer: u32) {
        let left = self.by_peer.get(&peer).copied().unwrap_or(0).saturating_sub(1);
        if left == 0 {
            self.by_peer.remove(&peer);
        } else {
            self.by_peer.insert(peer, left);
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.hasher.lock();
        state.running = state.running.saturating_sub(1);
        state.leave(self.peer);
        drop(state);
        self.hasher.freed.notify_all();
        // The caller that kept the memory from being wiped may have given up waiting since.
        self.hasher.wipe_unless_awaited();
    }
}

impl Permit<'_> {
    /// Returns the record to store for a password.
    pub(super) fn password_record(&self, password: &Sensitive<String>) -> Result<Sensitive<Vec<u8>>, Error> {
        self.hasher.password_record_of(password.expose().as_bytes())
    }

    /// Checks a password against its record. Without a record it does the same work on the decoy and returns "wrong"
    /// (AUT-4).
    pub(super) fn check_password(
        &self,
        record: Option<&Sensitive<Vec<u8>>>,
        password: &Sensitive<String>,
    ) -> Result<PasswordCheck, Error> {
        let against = record.unwrap_or(&self.hasher.decoy);
        let (recipe, stored) = Recipe::split(against.expose())?;
        let hash = self.hasher.hash::<PASSWORD_HASH>(&recipe, password.expose().as_bytes())?;
        // The comparison comes first, so that an unknown user takes the same time (AUT-4).
        let equal = same_tag(hash.expose(), stored);
        if record.is_none() || !equal {
            return Ok(PasswordCheck::Wrong);
        }
        let HashCost { memory_kib, passes, .. } = self.hasher.cost;
        let is_cheap = recipe.memory_kib < memory_kib || recipe.passes < passes;
        Ok(if is_cheap { PasswordCheck::RightButCheap } else { PasswordCheck::Right })
    }

    /// Returns the record of a set of backup codes: one salt for the set, and a hash of each code. With one salt an
    /// attempt costs one hash, whichever code it is, and no part of a code has to be stored to find it (BKC-2).
    pub(super) fn codes_record(&self, codes: &[BackupCode]) -> Result<Sensitive<Vec<u8>>, Error> {
        let recipe = self.hasher.new_recipe()?;
        let mut record = recipe.to_bytes();
        for code in codes {
            record.extend_from_slice(self.hasher.hash::<CODE_HASH>(&recipe, code.symbols())?.expose());
        }
        Ok(Sensitive::new(record))
    }

    /// Returns the hash of a code as it would stand in that record. Without a record it does the same work for nothing.
    pub(super) fn code_hash(
        &self,
        record: Option<&Sensitive<Vec<u8>>>,
        code: &BackupCode,
    ) -> Result<Sensitive<[u8; CODE_HASH]>, Error> {
        let recipe = match record {
            Some(record) => Recipe::split(record.expose())?.0,
            None => self.hasher.new_recipe()?,
        };
        self.hasher.hash(&recipe, code.symbols())
    }
}

/// Whether these bytes are the hash record of a password, with a cost that a login may spend.
pub(super) fn is_password_record(record: &Sensitive<Vec<u8>>) -> bool {
    is_record(record, PASSWORD_HASH)
}

/// Whether these bytes are the hash record of a set of backup codes, with a cost that a login may spend.
pub(super) fn is_codes_record(record: &Sensitive<Vec<u8>>) -> bool {
    is_record(record, CODE_HASH.saturating_mul(usize::from(CODES_PER_SET)))
}

fn is_record(record: &Sensitive<Vec<u8>>, length: usize) -> bool {
    Recipe::split(record.expose()).is_ok_and(|(recipe, hashes)| {
        let is_strong = recipe.memory_kib >= HashCost::LEAST_MEMORY_KIB && recipe.passes >= HashCost::FEWEST_PASSES;
        is_strong && hashes.len() == length
    })
}

/// Returns the position of a code's hash in a record. Every position is compared, so the time does not tell which one
/// matched.
pub(super) fn find_code(record: &Sensitive<Vec<u8>>, hash: &Sensitive<[u8; CODE_HASH]>) -> Result<Option<u8>, Error> {
    let (_, stored) = Recipe::split(record.expose())?;
    let mut found = None;
    for (place, candidate) in (0..CODES_PER_SET).zip(stored.chunks_exact(CODE_HASH)) {
        if same_tag(candidate, hash.expose()) {
            found = Some(place);
        }
    }
    Ok(found)
}

impl Recipe {
    const LENGTH: usize = 1 + 4 + 4 + 4 + SALT;

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::LENGTH.saturating_add(256));
        bytes.push(FORMAT);
        for number in [self.memory_kib, self.passes, self.lanes] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(&self.salt);
        bytes
    }

    /// Reads cost and salt, and returns them with the hashes that follow. A foreign format or a cost beyond the limits
    /// is an error.
    fn split(record: &[u8]) -> Result<(Self, &[u8]), Error> {
        let broken = || Error::Tampered("a hash record that cannot be".to_owned());
        let (format, rest) = record.split_first().ok_or_else(broken)?;
        let (memory_kib, rest) = rest.split_first_chunk::<4>().ok_or_else(broken)?;
        let (passes, rest) = rest.split_first_chunk::<4>().ok_or_else(broken)?;
        let (lanes, rest) = rest.split_first_chunk::<4>().ok_or_else(broken)?;
        let (salt, rest) = rest.split_first_chunk::<SALT>().ok_or_else(broken)?;
        let recipe = Self {
            memory_kib: u32::from_be_bytes(*memory_kib),
            passes: u32::from_be_bytes(*passes),
            lanes: u32::from_be_bytes(*lanes),
            salt: *salt,
        };
        let is_bounded = recipe.memory_kib <= HashCost::MOST_MEMORY_KIB
            && recipe.passes <= HashCost::MOST_PASSES
            && recipe.lanes <= HashCost::MOST_LANES;
        if *format != FORMAT || !is_bounded {
            return Err(broken());
        }
        Ok((recipe, rest))
    }
}

#[cfg(test)]
mod tests;

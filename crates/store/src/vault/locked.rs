//! Memory for keys: each key has a page of its own, which is neither swapped out nor part of a core dump, and which is
//! wiped before it is released (MEM-4). A key is written directly into its page. Moving a `LockedKey` moves only the
//! address, so no copy of the key stays on a stack.

use memmap2::{Advice, MmapMut};
use zeroize::Zeroize;

use mfad_core::entropy;

use crate::Fault;

/// Length of a key in bytes.
const LENGTH: usize = 32;

/// A key of 32 bytes in a locked page.
pub struct LockedKey {
    page: MmapMut,
    is_locked: bool,
}

impl LockedKey {
    /// Creates a key that `fill` writes into its page. If the system refuses to lock the page, for example because of
    /// the limit on locked memory, the key may be swapped out, and the log says so.
    pub fn filled<E: From<Fault>>(fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let mut page = MmapMut::map_anon(LENGTH).map_err(|_| Fault::Memory)?;
        let locked = page.lock();
        if let Err(error) = &locked {
            tracing::warn!(%error, "the keys of the store may be swapped out; raise the limit on locked memory");
        }
        // `DontFork`: a child process gets no copy of the page.
        for advice in [Advice::DontDump, Advice::DontFork] {
            page.advise(advice).map_err(|_| Fault::Memory)?;
        }
        fill(&mut page)?;
        Ok(Self { page, is_locked: locked.is_ok() })
    }

    /// A random key from the operating system's generator (KEY-6).
    pub fn random() -> Result<Self, Fault> {
        Self::filled(|key| Ok(entropy::fill(key)?))
    }

    /// Copies 32 bytes, which the caller must still wipe. Any other length fails.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Fault> {
        Self::filled(|page| {
            if page.len() != bytes.len() {
                return Err(Fault::Crypto);
            }
            page.copy_from_slice(bytes);
            Ok(())
        })
    }

    /// The key itself. Never copy it into memory that is not wiped.
    pub fn expose(&self) -> &[u8] {
        &self.page
    }

    /// Whether the page is locked, and so never swapped out.
    pub(crate) fn is_locked(&self) -> bool {
        self.is_locked
    }
}

impl Drop for LockedKey {
    fn drop(&mut self) {
        self.page.as_mut().zeroize();
    }
}

impl std::fmt::Debug for LockedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LockedKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mem_4_a_key_lies_in_a_locked_page_that_no_dump_holds() {
        let key = LockedKey::from_bytes(&[7; LENGTH]).unwrap();
        let address = key.expose().as_ptr().addr();

        assert!(key.is_locked());
        assert_eq!(key.expose(), [7; LENGTH]);
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mapping = maps.split_inclusive("VmFlags").zip(maps.split("VmFlags: ").skip(1)).find(|(before, _)| {
            let ranges = before.lines().filter_map(|line| line.split_once(' ')?.0.split_once('-'));
            ranges
                .filter_map(|(start, end)| {
                    Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
                })
                .any(|range| range.contains(&address))
        });
        let flags = mapping.unwrap().1.lines().next().unwrap();
        for flag in ["lo", "dd", "dc"] {
            assert!(flags.split_whitespace().any(|found| found == flag), "{flag}: {flags}");
        }
    }

    #[test]
    fn only_32_bytes_are_a_key() {
        for length in [0, 31, 33, 4096] {
            assert!(LockedKey::from_bytes(&vec![1; length]).is_err(), "{length}");
        }
    }
}

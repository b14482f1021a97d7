//! Checks whether memory is left. A failed small allocation aborts the process, so code that needs much memory asks
//! here first and leaves a reserve for small allocations.

use memmap2::MmapMut;

/// The reserve in bytes: more than the small allocations of all requests in progress.
const SPARE: usize = 16 * 1024 * 1024;

/// Returns whether `bytes` can be allocated while the reserve stays free. Maps the memory without touching it, which
/// takes microseconds.
pub fn is_there_for(bytes: usize) -> bool {
    // The mapping is dropped at once. It only shows whether the kernel would grant it.
    MmapMut::map_anon(bytes.saturating_add(SPARE)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_a_little_and_none_for_more_than_there_is() {
        for little in [0, 1, 64 * 1024 * 1024] {
            assert!(is_there_for(little), "{little}");
        }
        for absurd in [usize::MAX, usize::MAX / 2, 1 << 50] {
            assert!(!is_there_for(absurd), "{absurd}");
        }
    }
}

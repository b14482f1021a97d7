//! Whether there is memory to spare. A failed small allocation aborts the process, so code that needs much memory asks here
//! first and leaves a reserve for small allocations.

use memmap2::MmapMut;

/// The reserve in bytes: more than the small allocations of all requests under way.
const SPARE: usize = 16 * 1024 * 1024;

/// Whether so many bytes can be allocated beside the reserve. Maps them without touching them, which takes microseconds.
pub fn is_there_for(bytes: usize) -> bool {
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

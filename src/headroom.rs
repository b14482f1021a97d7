//! Whether there is memory to spare. A small allocation that fails ends a Rust program; so whatever takes much asks first, and
//! leaves enough for what takes little.

use memmap2::MmapMut;

/// What has to stay free: more than all small things of all requests that are under way.
const SPARE: usize = 16 * 1024 * 1024;

/// Whether so many bytes can be had, and what has to stay free beside them. Nothing is touched: it takes some microseconds.
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

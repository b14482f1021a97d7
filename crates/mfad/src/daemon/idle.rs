//! Gives memory back while the daemon has nothing to do. What it holds at rest is mostly code that the last requests
//! touched; the kernel would keep it mapped until memory runs short.

use std::fs;

/// Rounds of housekeeping without a request after which memory is given back: a minute.
const ROUNDS: u32 = 3;

/// Counts rounds of housekeeping since the last request.
#[derive(Default)]
pub(super) struct Quiet {
    answered: u64,
    rounds: u32,
}

impl Quiet {
    /// Returns whether there was no request for a minute. `answered` is the number of requests so far.
    pub(super) fn is_long(&mut self, answered: u64) -> bool {
        self.rounds = if answered == self.answered { self.rounds.saturating_add(1) } else { 0 };
        self.answered = answered;
        self.rounds >= ROUNDS
    }
}

/// The mapped parts of files that this process never changes: code and constants.
pub(super) struct FileMappings(Vec<(usize, usize)>);

impl FileMappings {
    /// Reads the mappings of this process. Must be called before the sandbox hides `/proc`.
    pub(super) fn read() -> Self {
        Self(fs::read_to_string("/proc/self/smaps").map(|text| unchanged(&text)).unwrap_or_default())
    }

    /// Unmaps the pages, which the kernel maps again from its page cache when they are used, and returns free heap to
    /// the kernel.
    #[expect(unsafe_code, reason = "no crate here wraps madvise(2) for the mappings of a program, or malloc_trim(3)")]
    pub(super) fn release(&self) {
        for (start, length) in &self.0 {
            let start = std::ptr::with_exposed_provenance_mut(*start);
            // SAFETY: the range is a mapping of a file without write permission and without a private copy of any page,
            // so each page has the contents of the file before and after. Mappings of the program and its libraries
            // stay for the life of the process.
            let status = unsafe { libc::madvise(start, *length, libc::MADV_DONTNEED) };
            if status != 0 {
                tracing::debug!(error = %std::io::Error::last_os_error(), "a mapping keeps its pages");
            }
        }
        // SAFETY: malloc_trim takes no pointer and may be called at any time.
        unsafe { libc::malloc_trim(0) };
    }
}

/// Finds the private mappings of files, in the text of `/proc/self/smaps` (proc(5)), that are not writable and have no
/// changed page.
fn unchanged(smaps: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut candidate = None;
    for line in smaps.lines() {
        if let Some(range) = range_of_file(line) {
            candidate = Some(range);
        } else if line.split_whitespace().next().is_some_and(|word| word.contains('-')) {
            candidate = None;
        } else if let Some(size) = line.strip_prefix("Anonymous:") {
            // The part that the dynamic linker has written to has such pages.
            found.extend(candidate.take().filter(|_| size.trim() == "0 kB"));
        }
    }
    found
}

/// Start and length of a mapping, if the line heads one of a file that may only be read or executed.
fn range_of_file(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let is_kept = matches!(words.next()?, "r-xp" | "r--p");
    let inode = words.nth(2)?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let length = usize::from_str_radix(end, 16).ok()?.checked_sub(start)?;
    (is_kept && inode != "0").then_some((start, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
55d0c0000000-55d0c0010000 r--p 00000000 fe:00 77 /usr/bin/mfad
Size:                 64 kB
Anonymous:             0 kB
VmFlags: rd mr mw me
55d0c0010000-55d0c0030000 r-xp 00010000 fe:00 77 /usr/bin/mfad
Anonymous:             0 kB
55d0c0030000-55d0c0031000 r--p 00030000 fe:00 77 /usr/bin/mfad
Anonymous:             4 kB
55d0c0031000-55d0c0032000 rw-p 00031000 fe:00 77 /usr/bin/mfad
Anonymous:             0 kB
7f0000000000-7f0000001000 r--p 00000000 00:00 0 [vvar]
Anonymous:             0 kB
";

    #[test]
    fn mappings_that_were_or_can_be_changed_are_kept() {
        assert_eq!(unchanged(SMAPS), [(0x55d0_c000_0000, 0x1_0000), (0x55d0_c001_0000, 0x2_0000)]);
        assert_eq!(unchanged(""), []);
    }

    #[test]
    fn the_own_code_is_found_and_still_runs_after_its_release() {
        let mappings = FileMappings::read();
        mappings.release();

        assert!(mappings.0.len() >= 2, "{:?}", mappings.0);
        assert!(mappings.0.iter().all(|(start, length)| *length > 0 && *start > 0));
        assert_eq!(unchanged(SMAPS).len(), 2, "code that was unmapped runs");
    }

    #[test]
    fn a_minute_without_a_request_is_long_and_a_request_begins_it_anew() {
        let mut quiet = Quiet::default();

        let rounds = [5, 5, 5, 5, 5, 6, 6, 6, 6].map(|answered| quiet.is_long(answered));

        assert_eq!(rounds, [false, false, false, true, true, false, false, false, true]);
    }
}

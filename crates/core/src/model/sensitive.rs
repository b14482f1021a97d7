//! The wrapper of every value that must not be seen: wiped on drop, silent in Debug.

use std::fmt;

use zeroize::Zeroize;

/// A secret value. It has no `Clone`, `PartialEq`, `Display` or serde; [`Sensitive::expose`] is the
/// one door to what it holds, so that every use can be found by searching for that word.
pub struct Sensitive<T: Zeroize>(T);

impl<T: Zeroize> Sensitive<T> {
    /// Takes the value in; it is wiped when the wrapper is dropped.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. Keep the borrow short, and never copy it into something that is not wiped.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> Drop for Sensitive<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Sensitive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sensitive")
    }
}

/// More than any call takes of the stack.
const SCRUBBED: usize = 32 * 1024;

/// Overwrites what calls that have returned left on the stack. Values are moved and copied there by the compiler and by
/// libraries, and a thread that answers requests lives as long as the daemon (MEM-3). Only what lies below the caller's
/// own frame is reached, so whatever handled a secret must not have become part of it.
#[inline(never)]
pub fn scrub_stack() {
    // One fill that cannot be left out, since somebody might look at it; volatile writes would cost each request 15 µs.
    let mut left = [0u8; SCRUBBED];
    std::hint::black_box(&mut left);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn mem_1_a_value_is_wiped_when_its_wrapper_goes() {
        /// Counts how often it was wiped.
        struct Probe(Arc<AtomicUsize>);

        impl Zeroize for Probe {
            fn zeroize(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }

        let wiped = Arc::new(AtomicUsize::new(0));
        let secret = Sensitive::new(Probe(Arc::clone(&wiped)));
        assert_eq!(wiped.load(Ordering::Relaxed), 0);
        drop(secret);
        assert_eq!(wiped.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn debug_prints_the_name_only() {
        let secret = Sensitive::new(String::from("correct horse"));

        assert_eq!(format!("{secret:?}"), "Sensitive");
    }
}

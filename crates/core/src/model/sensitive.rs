//! A wrapper for secret values, which are wiped on drop and hidden from `Debug`; and wiping of the unused stack.

use std::fmt;

use zeroize::Zeroize;

/// A secret value. It has no `Clone`, `PartialEq`, `Display` or serde. [`Sensitive::expose`] is the only access to the
/// value, so a search for that word finds every use.
pub struct Sensitive<T: Zeroize>(T);

impl<T: Zeroize> Sensitive<T> {
    /// Wraps a value. It is wiped when the wrapper is dropped.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. Keep the borrow short, and never copy the value into something that is not wiped.
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
        // Not even the length of the value is shown.
        f.write_str("Sensitive")
    }
}

/// Bytes of stack to overwrite: more than any call uses.
const SCRUBBED: usize = 32 * 1024;

/// Overwrites the stack that finished calls have used. The compiler and libraries move and copy values there, and a
/// thread that answers requests lives as long as the daemon (MEM-3). Only the stack below the caller's own frame is
/// reached, so a function that handled a secret must not be inlined into the caller.
#[inline(never)]
pub fn scrub_stack() {
    // `black_box` keeps the compiler from removing this fill. Volatile writes would cost each request 15 µs.
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
        /// Counts how often it is wiped.
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

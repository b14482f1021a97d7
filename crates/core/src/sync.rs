//! What threads share and wait for: of the standard library, or, with the feature `schedules`, of shuttle, under which a
//! test decides who goes on at each of these points, and tries orders that a machine seldom takes. There all patience is
//! endless.

#[cfg(all(feature = "schedules", not(debug_assertions)))]
compile_error!("`schedules` is for tests: a daemon that has it does not run; leave `--all-features` out");

#[cfg(not(feature = "schedules"))]
pub use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock, TryLockError, atomic, mpsc},
    thread,
};

#[cfg(feature = "schedules")]
pub use shuttle::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock, TryLockError, atomic, mpsc},
    thread,
};

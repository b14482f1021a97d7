//! Locks, channels, atomics and threads of the standard library. With the feature `schedules` they are those of
//! shuttle: a test then chooses which thread runs next at each of these points, and tries orders that a machine seldom
//! takes. Under shuttle no timeout ever fires.

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

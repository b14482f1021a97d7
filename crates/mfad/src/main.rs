//! The daemon. Everything is in the library; this adds the allocator that wipes what is freed.

use std::alloc::System;
use std::process::ExitCode;

use zeroizing_alloc::ZeroAlloc;

/// Freed memory is wiped, so that copies which libraries make of a secret do not outlive it (MEM-3).
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    mfad::daemon::main()
}

//! The program `mfad`. The library does the work; this file adds the allocator that wipes freed memory.

use std::alloc::System;
use std::process::ExitCode;

use zeroizing_alloc::ZeroAlloc;

/// Wipes memory when it is freed, so that copies of a secret that libraries make do not outlive it (MEM-3).
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    mfad::daemon::main()
}

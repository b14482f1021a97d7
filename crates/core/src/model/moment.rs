//! A point in time, as one reading of two clocks. The clocks are read elsewhere.

/// The random id that the kernel gave the running boot.
pub type BootId = [u8; 16];

/// One reading of the host's clocks. The wall clock dates events and gives the TOTP step. The boot clock measures
/// delays, so that setting the wall clock does not shorten them (THR-6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since 1970-01-01 UTC on the wall clock; negative before.
    pub wall_ms: i64,
    /// Milliseconds since boot on the boot clock, time in suspend included.
    pub boot_ms: i64,
    /// The boot that `boot_ms` counts from.
    pub boot: BootId,
}

impl Moment {
    /// Whole seconds since 1970-01-01 UTC, rounded down.
    pub fn unix_seconds(&self) -> i64 {
        // Division would round up before 1970.
        self.wall_ms.div_euclid(1000)
    }
}

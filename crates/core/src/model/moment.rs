//! A point in time as one reading of two clocks.

/// The kernel's random name of the running boot.
pub type BootId = [u8; 16];

/// One reading of the host's clocks. The wall clock dates things and finds the TOTP step; the boot
/// clock measures delays, so that stepping the wall clock does not shorten them (THR-6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since 1970-01-01 UTC; negative before.
    pub wall_ms: i64,
    /// Milliseconds since boot, suspend included.
    pub boot_ms: i64,
    /// Which boot `boot_ms` counts from.
    pub boot: BootId,
}

impl Moment {
    /// Whole seconds since 1970, rounded down.
    pub fn unix_seconds(&self) -> i64 {
        self.wall_ms.div_euclid(1000)
    }
}

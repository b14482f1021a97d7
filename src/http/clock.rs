//! The one place that reads the host's clocks (TIME-1).

use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::{BootId, Moment};

/// Where the kernel tells the boot's random name.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Reads both clocks together with the name of this boot.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    boot: BootId,
}

impl Clock {
    /// Learns which boot this is.
    pub fn new() -> std::io::Result<Self> {
        let text = std::fs::read_to_string(BOOT_ID)?;
        let boot = uuid::Uuid::try_parse(text.trim()).map_err(std::io::Error::other)?;
        Ok(Self { boot: boot.into_bytes() })
    }

    /// The present moment.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
    pub fn now(&self) -> Moment {
        let wall = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX).saturating_neg(),
        };
        let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let boot_ms = boot.tv_sec.saturating_mul(1000).saturating_add(boot.tv_nsec.checked_div(1_000_000).unwrap_or(0));
        Moment { wall_ms: wall, boot_ms, boot: self.boot }
    }
}

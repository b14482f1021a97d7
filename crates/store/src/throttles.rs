//! The state of the throttles, stored so that counts and delays survive the process (THR-6). This module counts nothing
//! itself: `mfad_core::model::Throttle` decides.

use rusqlite::{OptionalExtension, params};

use mfad_core::model::{BootId, Deadline, Odds, Throttle, UserId};

use super::{Fault, Tx, View};

/// The kind of guess that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Passwords. They are delayed, never locked (THR-5).
    Password,
    /// Second factors: one-time passwords and backup codes share one count (BKC-6).
    Factor,
}

impl Class {
    fn name(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Factor => "factor",
        }
    }
}

/// The key under which guesses are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject(Vec<u8>);

impl Subject {
    /// All second factors of one user, for every caller.
    pub fn factors(user: UserId) -> Self {
        Self(user.as_bytes().to_vec())
    }

    /// The password of one user as tried by one peer uid, so that another local user cannot delay its owner.
    pub fn password(user: UserId, peer: u32) -> Self {
        Self([user.as_bytes().as_slice(), &peer.to_be_bytes()].concat())
    }

    /// Logins of one peer uid that match no user. `place` is the bucket from
    /// [`Vault::unknown_login_place`](crate::Vault::unknown_login_place).
    pub fn nobody(place: [u8; 2], peer: u32) -> Self {
        Self([place.as_slice(), &peer.to_be_bytes()].concat())
    }

    /// The bytes under which the state is stored: a user id (16 bytes) or a bucket (2 bytes), and for passwords and
    /// unknown logins the peer uid (4 bytes, big-endian).
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The columns of a row: failures, the sum of their odds, then the three parts of a deadline, which are all set or all
/// NULL.
type Stored = (u32, u32, Option<i64>, Option<i64>, Option<Vec<u8>>);

impl View<'_> {
    /// Returns the stored state, or a clear one if nothing is stored.
    pub fn throttle(&self, subject: &Subject, class: Class) -> Result<Throttle, Fault> {
        let found: Option<Stored> = self
            .connection
            .prepare_cached(
                "SELECT failures, spent, until_wall, until_boot, boot FROM throttles WHERE subject = ?1 AND class = ?2",
            )?
            .query_row(params![subject.as_bytes(), class.name()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
            })
            .optional()?;
        let Some((failures, spent, wall, boot_ms, boot)) = found else { return Ok(Throttle::clear()) };
        let until = match (wall, boot_ms, boot) {
            (Some(wall_ms), Some(boot_ms), Some(boot)) => {
                let boot = BootId::try_from(boot).map_err(|_| Fault::Corrupt("a boot id"))?;
                Some(Deadline { wall_ms, boot_ms, boot })
            }
            (None, None, None) => None,
            _ => return Err(Fault::Corrupt("an incomplete throttle deadline")),
        };
        Ok(Throttle { failures, until, spent: Odds::from_units(spent) })
    }
}

impl Tx<'_> {
    /// Stores a state. A clear state deletes the row.
    pub fn set_throttle(&self, subject: &Subject, class: Class, throttle: &Throttle) -> Result<(), Fault> {
        if throttle.is_clear() {
            self.writing()?
                .prepare_cached("DELETE FROM throttles WHERE subject = ?1 AND class = ?2")?
                .execute(params![subject.as_bytes(), class.name()])?;
            return Ok(());
        }
        self.writing()?
            .prepare_cached(
                "INSERT INTO throttles (subject, class, failures, spent, until_wall, until_boot, boot)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT DO UPDATE SET failures = excluded.failures, spent = excluded.spent,
                                           until_wall = excluded.until_wall, until_boot = excluded.until_boot,
                                           boot = excluded.boot",
            )?
            .execute(params![
                subject.as_bytes(),
                class.name(),
                throttle.failures,
                throttle.spent.units(),
                throttle.until.map(|d| d.wall_ms),
                throttle.until.map(|d| d.boot_ms),
                throttle.until.map(|d| d.boot),
            ])?;
        Ok(())
    }

    /// Clears every throttle of a user: the second factors, and the password for every peer uid.
    pub fn clear_throttles(&self, user: UserId) -> Result<(), Fault> {
        // A subject is the user id alone, or followed by the four bytes of a peer uid. Five bytes 0xff sort after all
        // of them.
        let last = [user.as_bytes().as_slice(), &[0xff; 5]].concat();
        self.writing()?
            .prepare_cached("DELETE FROM throttles WHERE subject BETWEEN ?1 AND ?2")?
            .execute(params![user.as_bytes(), last])?;
        Ok(())
    }
}

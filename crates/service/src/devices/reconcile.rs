//! What was left undone on a key: after a crash or a failure the journal says what may be on it, and LIST and
//! CALCULATE show what is. An account that is ours is removed; any other is left alone. Never a blind repeat.

use std::collections::HashMap;

use crate::error::Error;
use mfad_core::model::{AccountName, DeviceId, Serial};
use mfad_hardware::card::CardFault;
use mfad_hardware::oath::{AccountKind, Applet};
use mfad_store::{OathAccount, Outcome, ProvisioningState};

use super::super::{RequestContext, Service};
use super::session::PATIENCE;

/// What became of an account that was to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settled {
    /// It was not on the key.
    Absent,
    /// It was, and is removed.
    Erased,
    /// An account of that name is there, and it is somebody else's.
    Foreign,
    /// It was in an applet that was reset since.
    Reset,
}

impl Settled {
    fn words(self) -> &'static str {
        match self {
            Self::Absent => "was not on the key",
            Self::Erased => "erased from the key",
            Self::Foreign => "another account of that name is on the key and was left alone",
            Self::Reset => "went with the reset of the key",
        }
    }
}

impl Service {
    /// Undoes and erases on an open applet what the journal says. Each account is settled by itself, so
    /// that what is interrupted goes on at the next contact.
    pub(super) fn settle(
        &self,
        context: &RequestContext,
        serial: Serial,
        applet: &mut Applet<'_, '_>,
    ) -> Result<(), Error> {
        let device_id = applet.device_id()?;
        let rows = self.store.read(PATIENCE, |view| view.oath_accounts_on(serial))?;
        let open: Vec<OathAccount> =
            rows.into_iter().filter(|row| row.state != ProvisioningState::Programmed).collect();
        if open.is_empty() {
            return Ok(());
        }
        let shown: HashMap<AccountName, AccountKind> = applet.shown()?.into_iter().collect();
        for row in &open {
            let settled = if row.device_id == device_id { erase(applet, row, &shown)? } else { Settled::Reset };
            self.close_journal(context, row, settled)?;
        }
        Ok(())
    }

    fn close_journal(&self, context: &RequestContext, row: &OathAccount, settled: Settled) -> Result<(), Error> {
        let event = match row.state {
            ProvisioningState::Intended => "device.undo",
            ProvisioningState::Programmed | ProvisioningState::Erase => "device.erase",
        };
        let detail = format!("key {}, account {}: {}", row.serial, row.name, settled.words());
        let entry = context.entry_with(event, Outcome::Ok, Some(row.user), Some(row.id), detail);
        let id = row.id;
        Ok(self.store.write(PATIENCE, move |tx| {
            tx.forget_oath_account(id)?;
            tx.audit(&entry)?;
            Ok(mfad_store::Decision::Commit(()))
        })?)
    }

    /// Writes down, once, that a key shows another applet than the one that was written to.
    pub(super) fn notice_reset(
        &self,
        context: &RequestContext,
        serial: Serial,
        device_id: &DeviceId,
    ) -> Result<(), Error> {
        let known = self.device_row(serial)?;
        if known.is_none_or(|known| known.device_id == *device_id || known.was_reset) {
            return Ok(());
        }
        let at = context.now.wall_ms;
        let detail = format!("key {serial}: its OATH application was reset, or another key has its number");
        let entry = context.entry_with("device.reset-seen", Outcome::Refused, None, None, detail);
        Ok(self.store.write(PATIENCE, move |tx| {
            if tx.note_reset(serial, at)? {
                tx.audit(&entry)?;
            }
            Ok(mfad_store::Decision::Commit(()))
        })?)
    }
}

fn erase(
    applet: &mut Applet<'_, '_>,
    row: &OathAccount,
    shown: &HashMap<AccountName, AccountKind>,
) -> Result<Settled, Error> {
    let Some(kind) = shown.get(&row.name) else { return Ok(Settled::Absent) };
    if !is_ours(applet, row, *kind)? {
        return Ok(Settled::Foreign);
    }
    match applet.delete(&row.name) {
        Ok(()) | Err(CardFault::NoSuchAccount) => Ok(Settled::Erased),
        Err(fault) => Err(fault.into()),
    }
}

/// Whether the account of that name is the one that was written. It is asked for the answer that only
/// ours can give, where that needs nobody's touch and moves no counter that counts. Otherwise the name
/// decides, which was free when it was written. A counter of somebody else moves by one where ours was to
/// take its place: nothing but a code tells which of the two it is.
fn is_ours(applet: &mut Applet<'_, '_>, row: &OathAccount, kind: AccountKind) -> Result<bool, Error> {
    let is_half_done = row.state == ProvisioningState::Intended;
    let by_name = is_half_done && !row.replaces;
    match kind {
        AccountKind::Touch => Ok(row.touch && !row.counts),
        AccountKind::Hotp if !row.counts => Ok(by_name),
        // A counter-based account does not tell whether it wants a touch, and its counter may be anywhere.
        AccountKind::Hotp if !is_half_done || row.touch => Ok(true),
        AccountKind::Code if row.counts => Ok(by_name),
        AccountKind::Code | AccountKind::Hotp => {
            let answer = applet.calculate(&row.name, &row.challenge)?;
            Ok(row.is_answered_by(answer.expose()) || by_name)
        }
    }
}

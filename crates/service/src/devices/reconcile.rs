//! Settles work that a crash or failure left unfinished on a key. The provisioning journal tells what may be on the
//! key; LIST and CALCULATE show what is. An account that the daemon wrote is removed, any other is left alone, and
//! nothing is repeated blindly.

use std::collections::HashMap;

use crate::error::Error;
use mfad_api::AuditEvent;
use mfad_core::model::{AccountName, KeyId};
use mfad_hardware::card::CardFault;
use mfad_hardware::oath::{AccountKind, Applet, Touch};
use mfad_store::{DeviceRow, OathAccount, Outcome, ProvisioningState};

use super::super::{RequestContext, Service};
use super::session::PATIENCE;
use super::types::{Attention, KeyState};

/// Result for an account that was to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settled {
    /// It was not on the key.
    Absent,
    /// It was on the key and has been removed.
    Erased,
    /// Another program's account of that name is on the key; it is left alone.
    Foreign,
    /// It was in an applet that has been reset since.
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
    /// Removes unfinished and "to be erased" accounts from an open applet. Each account is settled by itself, so an
    /// interruption loses no progress: the next contact continues. On a key that wants a touch for it, an account stays
    /// until somebody attends. Returns whether one did.
    pub(super) fn settle(
        &self,
        context: &RequestContext,
        key: KeyId,
        applet: &mut Applet<'_, '_>,
        attention: Attention,
    ) -> Result<bool, Error> {
        let device_id = applet.device_id()?;
        let (went, open) = self.unsettled_on(key)?.into_iter().partition::<Vec<_>, _>(|row| row.device_id != device_id);
        // The key need not be asked about these.
        for row in &went {
            self.close_journal(context, row, Settled::Reset)?;
        }
        if open.is_empty() {
            return Ok(false);
        }
        let shown = kinds_on(applet)?;
        let must_wait = applet.dialect().changes_need_touch() && attention == Attention::Unattended;
        let mut waits = false;
        for row in &open {
            if must_wait && shown.contains_key(&row.name) {
                waits = true;
                continue;
            }
            let settled = erase(applet, row, &shown)?;
            self.close_journal(context, row, settled)?;
        }
        Ok(waits)
    }

    /// Closes the journal of a key whose applet has just been reset. The key is not asked.
    pub(super) fn settle_by_reset(&self, context: &RequestContext, key: KeyId) -> Result<(), Error> {
        self.unsettled_on(key)?.iter().try_for_each(|row| self.close_journal(context, row, Settled::Reset))
    }

    /// Returns the accounts on a key that are unfinished or to be erased.
    pub(super) fn unsettled_on(&self, key: KeyId) -> Result<Vec<OathAccount>, Error> {
        let mut rows = self.store.read(PATIENCE, |view| view.oath_accounts_on(key))?;
        rows.retain(|row| row.state != ProvisioningState::Programmed);
        Ok(rows)
    }

    fn close_journal(&self, context: &RequestContext, row: &OathAccount, settled: Settled) -> Result<(), Error> {
        let event = match row.state {
            ProvisioningState::Intended => AuditEvent::DeviceUndo,
            ProvisioningState::Programmed | ProvisioningState::Erase => AuditEvent::DeviceErase,
        };
        let detail = format!("key {}, account {}: {}", row.key, row.name, settled.words());
        let entry = context.entry_with(event, Outcome::Ok, Some(row.user), Some(row.id), detail);
        let id = row.id;
        Ok(self.store.write(PATIENCE, move |tx| {
            tx.forget_oath_account(id)?;
            tx.audit(&entry)?;
            Ok(mfad_store::Decision::Commit(()))
        })?)
    }

    /// Audits, once, that a key shows another applet than the one that was programmed.
    pub(super) fn notice_reset(
        &self,
        context: &RequestContext,
        known: Option<&DeviceRow>,
        state: KeyState,
    ) -> Result<(), Error> {
        let Some(known) = known.filter(|known| state == KeyState::Reset && !known.was_reset) else { return Ok(()) };
        let (key, at) = (known.key, context.now.wall_ms);
        let detail = format!("key {key}: its OATH application was reset, or another key has its id");
        let entry = context.entry_with(AuditEvent::DeviceResetSeen, Outcome::Refused, None, None, detail);
        Ok(self.store.write(PATIENCE, move |tx| {
            if tx.note_reset(key, at)? {
                tx.audit(&entry)?;
            }
            Ok(mfad_store::Decision::Commit(()))
        })?)
    }
}

/// The accounts on a key, each with its kind, which is `None` if the applet cannot tell.
type KindsOnKey = HashMap<AccountName, Option<AccountKind>>;

/// Asks the applet for its accounts. One that does not tell their kinds at least lists them.
fn kinds_on(applet: &mut Applet<'_, '_>) -> Result<KindsOnKey, Error> {
    match applet.shown() {
        Ok(shown) => Ok(shown.into_iter().map(|(name, kind)| (name, Some(kind))).collect()),
        Err(CardFault::Unsupported(_)) => Ok(applet.list()?.into_iter().map(|account| (account.name, None)).collect()),
        Err(fault) => Err(fault.into()),
    }
}

fn erase(applet: &mut Applet<'_, '_>, row: &OathAccount, shown: &KindsOnKey) -> Result<Settled, Error> {
    let Some(kind) = shown.get(&row.name) else { return Ok(Settled::Absent) };
    if !is_ours(applet, row, *kind)? {
        return Ok(Settled::Foreign);
    }
    match applet.delete(&row.name) {
        Ok(()) | Err(CardFault::NoSuchAccount) => Ok(Settled::Erased),
        Err(fault) => Err(fault.into()),
    }
}

/// Returns whether the account of that name is the one that the daemon wrote. The key is asked for the recorded answer
/// where that needs no touch and moves no counter that is in use. Otherwise the name decides, since it was free when
/// the account was written.
///
/// If an intended HOTP account was to replace a foreign one, the foreign counter may move by one: only its answer tells
/// the two apart.
fn is_ours(applet: &mut Applet<'_, '_>, row: &OathAccount, kind: Option<AccountKind>) -> Result<bool, Error> {
    let is_half_done = row.state == ProvisioningState::Intended;
    let by_name = is_half_done && !row.replaces;
    // Until the account of another program is known to be gone, what has the name may be that one.
    let may_be_new = !(is_half_done && row.replaces);
    // An applet that cannot tell the kind is written to no more, so the row is from before that was checked.
    let Some(kind) = kind else { return Ok(by_name || !is_half_done) };
    match kind {
        // CALCULATE would wait for a touch, so name and kind decide.
        AccountKind::Touch => Ok(row.touch && !row.counts && may_be_new),
        // The kind is not the one that was written, so it is ours only if the name was free.
        AccountKind::Hotp if !row.counts => Ok(by_name),
        // A HOTP account does not show whether it requires a touch, and its counter may be anywhere.
        AccountKind::Hotp if !is_half_done || row.touch => Ok(may_be_new),
        AccountKind::Code if row.counts => Ok(by_name),
        AccountKind::Code | AccountKind::Hotp => {
            let answer = applet.calculate(&row.name, &row.challenge, Touch::NotNeeded)?;
            Ok(row.is_answered_by(answer.expose()) || by_name)
        }
    }
}

//! Changes to the accounts on a hardware key: rename, delete, reset, and taking a key back from its user.

use crate::error::Error;
use mfad_api::AuditEvent;
use mfad_core::model::{AccountName, KeyId, OtpKind};
use mfad_core::oath::{hotp, step_at};
use mfad_hardware::card::{CardFault, CardSession};
use mfad_hardware::device::Card;
use mfad_hardware::oath::{Applet, Touch};
use mfad_store::{OathAccount, Outcome};

use super::super::{Reply, RequestContext, Service};
use super::provisioning::drop_factor;
use super::session::{KeyIdentity, VISIT, meet};
use super::types::{AccountView, Attention, DeviceRef, ReturnedView};

impl Service {
    /// Renames an account on the key, and in the store too if it belongs to a factor.
    pub(crate) fn rename_account(
        &self,
        context: &RequestContext,
        id: KeyId,
        name: &AccountName,
        new: &AccountName,
    ) -> Result<Reply, Error> {
        let mut card = self.take(id)?;
        let mut session = CardSession::new(&mut *card, VISIT);
        let (key, mut applet) = self.begin(context, id, &mut session, Attention::Unattended)?;
        let before = self.account(&key, &mut applet, name)?;
        if self.unsettled_on(id)?.iter().any(|row| row.name == *name && row.device_id == key.device_id) {
            // It would not be found any more when it is to be erased.
            return Err(Error::DeviceInUse);
        }
        if new.is_long() {
            return Err(Error::Malformed("the new name exceeds 64 bytes; choose a shorter one".to_owned()));
        }
        let accounts = self.account_views(&key, &mut applet)?;
        if accounts.iter().any(|account| account.name == *new) {
            return Err(Error::AccountTaken);
        }
        if !applet.has_room(accounts.iter().map(|account| &account.name).filter(|other| *other != name), new) {
            return Err(Error::DeviceFull);
        }
        applet.rename(name, new)?;
        if let Some((secret, _)) = before.owner {
            let new = new.clone();
            self.device_change(context, move |tx, _| Ok(tx.rename_oath_account(secret, &new)?))?;
        }
        self.note_act(context, AuditEvent::DeviceRename, format!("key {id}, account {name} is now {new}"))?;
        Ok(Reply::Account(AccountView { name: new.clone(), ..before }))
    }

    /// Deletes an account that belongs to no factor.
    pub(crate) fn delete_account(
        &self,
        context: &RequestContext,
        id: KeyId,
        name: &AccountName,
    ) -> Result<Reply, Error> {
        let mut card = self.take(id)?;
        let mut session = CardSession::new(&mut *card, VISIT);
        let (key, mut applet) = self.begin(context, id, &mut session, Attention::Unattended)?;
        if self.account(&key, &mut applet, name)?.owner.is_some() {
            return Err(Error::DeviceInUse);
        }
        applet.delete(name)?;
        self.note_act(context, AuditEvent::DeviceDelete, format!("key {id}, account {name}"))?;
        Ok(Reply::Done)
    }

    /// Resets the key's OATH applet with its accounts and password, unless factors depend on it. Works without the
    /// password, as the key itself allows.
    pub(crate) fn reset_device(&self, context: &RequestContext, id: KeyId) -> Result<Reply, Error> {
        let mut card = self.take(id)?;
        let mut session = CardSession::new(&mut *card, VISIT);
        let (key, applet) = meet(&mut session, Some(id))?;
        if !self.programmed_on(&key)?.is_empty() {
            return Err(Error::DeviceInUse);
        }
        let device_id = applet.reset()?.device_id()?;
        // The applet has a new identity now. It is recorded, or the key would be reported as reset.
        let now = KeyIdentity { device_id, ..key };
        if self.device_row(id)?.is_some() {
            self.note_key(context, &now, false)?;
        }
        // Accounts marked "to be erased" went with the reset.
        self.settle_by_reset(context, id)?;
        self.note_act(context, AuditEvent::DeviceReset, format!("key {id}"))?;
        Ok(Reply::Done)
    }

    /// Takes a key back. Each factor on it must first prove with a code that this is its key; then it is revoked and
    /// erased. A password that the daemon had set is removed too, so that the key is as good as new. Somebody holds the
    /// key, so this is where a key that wants a touch for it is cleaned up.
    pub(crate) fn return_device(&self, context: &RequestContext, id: KeyId) -> Result<Reply, Error> {
        let mut card = self.take(id)?;
        let mut session = CardSession::new(&mut *card, VISIT);
        let (key, mut applet) = self.begin(context, id, &mut session, Attention::Attended)?;
        let mut returned = Vec::new();
        for row in self.programmed_on(&key)? {
            let is_proved = self.proves(context, &mut applet, &row)?;
            if is_proved {
                self.revoke(context, &row)?;
                // Without a right code this may be another key with the same id, so the factor stays.
                self.settle(context, id, &mut applet, Attention::Attended)?;
            }
            let is_erased = is_proved && !applet.list()?.iter().any(|account| account.name == row.name);
            returned.push(ReturnedView {
                secret: row.id,
                user: row.user,
                name: row.name,
                is_proved,
                is_erased,
                is_revoked: is_proved,
            });
        }
        // A password that the owner set is not the daemon's to remove.
        let is_kept = self.device_row(id)?.is_some_and(|known| known.has_access());
        if is_kept && applet.has_password() && applet.list()?.is_empty() {
            applet.set_password(None)?;
            self.keep(context, &key, None, None)?;
        }
        self.note_act(context, AuditEvent::DeviceReturn, format!("key {id}, {} factors", returned.len()))?;
        Ok(Reply::Returned { key: id, credentials: returned })
    }

    /// Returns whether the key gives a code that the factor would accept now.
    fn proves(&self, context: &RequestContext, applet: &mut Applet<'_, '_>, row: &OathAccount) -> Result<bool, Error> {
        let found = self.look(context, |view| {
            let Some(secret) = view.secret(row.user, row.id)? else { return Ok(None) };
            Ok(Some((view.open_secret(&secret)?, secret)))
        })?;
        let Some((seed, secret)) = found else { return Ok(false) };
        let profile = secret.profile.ok_or_else(|| Error::Internal("a factor without parameters".to_owned()))?;
        let touch = if row.touch { Touch::Needed } else { Touch::NotNeeded };
        let given = |applet: &mut Applet<'_, '_>, challenge: [u8; 8]| {
            match applet.code(&row.name, &challenge, profile.digits, touch) {
                Ok(code) => Ok(Some(code)),
                // The user deleted it with another program.
                Err(CardFault::NoSuchAccount) => Ok(None),
                Err(fault) => Err(fault),
            }
        };
        let code = |counter: u64| hotp(seed.expose(), profile.algorithm, counter, profile.digits);
        Ok(match profile.moving {
            OtpKind::Totp(period) => {
                let step = step_at(context.now.unix_seconds(), period);
                given(applet, step.to_be_bytes())? == Some(code(step))
            }
            OtpKind::Hotp => {
                // The account moves its own counter, so any code within the resynchronisation range is accepted.
                let given = given(applet, [0; 8])?;
                let expected = secret.counter.unwrap_or(0);
                let ahead = u64::from(mfad_core::oath::RESYNC_RANGE);
                (expected..=expected.saturating_add(ahead)).any(|counter| Some(code(counter)) == given)
            }
        })
    }

    fn revoke(&self, context: &RequestContext, row: &OathAccount) -> Result<(), Error> {
        let (user, id) = (row.user, row.id);
        let reason = context.reason().unwrap_or_default();
        let detail = format!("mfa, key {} returned: {reason}", row.key);
        self.device_change(context, move |tx, context| {
            drop_factor(tx, user, id)?;
            Ok(tx.audit(&context.entry_with(AuditEvent::SecretDelete, Outcome::Ok, Some(user), Some(id), detail))?)
        })
    }

    pub(super) fn take(&self, id: KeyId) -> Result<Box<dyn Card>, Error> {
        self.hardware_keys.open(&self.slot_of(DeviceRef::Key(id))?)
    }

    /// Identifies the key, unlocks its OATH applet, and settles unfinished work on it first.
    pub(super) fn begin<'a, 'card>(
        &self,
        context: &RequestContext,
        id: KeyId,
        session: &'a mut CardSession<'card>,
        attention: Attention,
    ) -> Result<(KeyIdentity, Applet<'a, 'card>), Error> {
        let (key, mut applet) = meet(session, Some(id))?;
        self.unlock(self.device_row(id)?.as_ref(), &mut applet, None)?;
        self.settle(context, id, &mut applet, attention)?;
        Ok((key, applet))
    }

    fn account(
        &self,
        key: &KeyIdentity,
        applet: &mut Applet<'_, '_>,
        name: &AccountName,
    ) -> Result<AccountView, Error> {
        self.account_views(key, applet)?.into_iter().find(|account| account.name == *name).ok_or(Error::NotFound)
    }

    pub(super) fn note_act(&self, context: &RequestContext, event: AuditEvent, what: String) -> Result<(), Error> {
        let reason = context.caller.reason.as_ref().map(|reason| format!(": {}", reason.as_str())).unwrap_or_default();
        let entry = context.clone().entry_with(event, Outcome::Ok, None, None, format!("{what}{reason}"));
        self.device_change(context, move |tx, _| Ok(tx.audit(&entry)?))
    }
}

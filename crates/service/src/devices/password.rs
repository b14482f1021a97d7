//! The password of a key's OATH applet: a random one that only the daemon knows, or the owner's. It is stored before it
//! is set, so that no crash leaves a key with an unknown password.

use data_encoding::BASE32_NOPAD;

use crate::error::Error;
use mfad_api::AuditEvent;
use mfad_core::entropy;
use mfad_core::model::{KeyId, Sensitive};
use mfad_hardware::card::{CardFault, CardSession};
use mfad_hardware::oath::{AccessKey, Applet};
use mfad_store::Outcome;

use super::super::{Reply, RequestContext, Service};
use super::session::{KeyIdentity, PATIENCE, VISIT, meet};
use super::types::PasswordChange;

/// Random bytes of a password: 160 bits, shown as 32 letters and digits.
const RANDOM_LENGTH: usize = 20;

impl Service {
    /// Gives the applet a random password, unless it has one.
    pub(super) fn protect(
        &self,
        context: &RequestContext,
        key: &KeyIdentity,
        applet: &mut Applet<'_, '_>,
    ) -> Result<(), Error> {
        if applet.has_password() {
            return Ok(());
        }
        self.set_password(context, key, applet, &random_password()?).map(drop)
    }

    /// Learns, sets or removes the password of a key.
    pub(crate) fn change_device_password(
        &self,
        context: &RequestContext,
        id: KeyId,
        change: PasswordChange,
        current: Option<&Sensitive<String>>,
    ) -> Result<Reply, Error> {
        let mut card = self.take(id)?;
        let mut session = CardSession::new(&mut *card, VISIT);
        let (key, mut applet) = meet(&mut session, Some(id))?;
        applet.dialect().password().map_err(CardFault::Unsupported)?;
        let known = self.device_row(id)?;
        self.unlock(known.as_ref(), &mut applet, current)?;
        self.note_key(context, &key, known.is_some_and(|known| known.device_id != key.device_id))?;
        let escrow = match change {
            PasswordChange::Learn => {
                let current = current
                    .ok_or_else(|| Error::Malformed("`current` is missing; send the present password".to_owned()))?;
                let access = AccessKey::derive(current.expose(), applet.salt());
                self.keep(context, &key, Some(bytes_of(&access)), None)?;
                None
            }
            PasswordChange::Set(new) => self.set_password(context, &key, &mut applet, &new)?,
            PasswordChange::Random => self.set_password(context, &key, &mut applet, &random_password()?)?,
            PasswordChange::Remove => {
                applet.set_password(None)?;
                self.keep(context, &key, None, None)?;
                None
            }
        };
        let has_password = applet.has_password();
        let mut entry = context.entry_with(AuditEvent::DevicePassword, Outcome::Ok, None, None, format!("key {id}"));
        if let Some(reason) = &context.caller.reason {
            entry.detail = Some(format!("key {id}: {}", reason.as_str()));
        }
        self.device_change(context, move |tx, _| Ok(tx.audit(&entry)?))?;
        let is_known = self.device_row(id)?.is_some_and(|row| row.has_access());
        Ok(Reply::DevicePassword { has_password, is_known, escrow })
    }

    /// Sets a new password: stores it beside the previous one, sets it on the key, then forgets the previous one.
    fn set_password(
        &self,
        context: &RequestContext,
        key: &KeyIdentity,
        applet: &mut Applet<'_, '_>,
        password: &Sensitive<String>,
    ) -> Result<Option<String>, Error> {
        let access = AccessKey::derive(password.expose(), applet.salt());
        let escrow = self.policy().escrow.as_ref().map(|recipient| recipient.seal(password)).transpose()?;
        let known = self.device_row(key.id)?;
        let before = known.map(|known| self.store.read(PATIENCE, |view| view.device_access(&known))).transpose()?;
        let before = before.flatten().unwrap_or_else(|| Sensitive::new(Vec::new()));
        let newest = before.expose().get(..AccessKey::LENGTH).unwrap_or_default();
        // Until the key has accepted the new password, either one may be in force after a crash.
        let both = Sensitive::new([access.bytes().expose().as_slice(), newest].concat());
        self.keep(context, key, Some(both), escrow.clone())?;
        applet.set_password(Some(&access))?;
        self.keep(context, key, Some(bytes_of(&access)), escrow.clone())?;
        Ok(escrow)
    }

    /// Stores the derived key that unlocks the applet; `None` if it has no password.
    pub(super) fn keep(
        &self,
        context: &RequestContext,
        key: &KeyIdentity,
        access: Option<Sensitive<Vec<u8>>>,
        escrow: Option<String>,
    ) -> Result<(), Error> {
        let key = key.clone();
        self.device_change(context, move |tx, _| {
            let access = access.as_ref().map(|bytes| bytes.expose().as_slice());
            Ok(tx.keep_access(key.id, &key.device_id, access, escrow.as_deref())?)
        })
    }

    /// Records a key before anything about it is stored. A key that was reset keeps its old record and is refused, so
    /// that the factors lost with the reset are noticed.
    pub(super) fn note_key(&self, context: &RequestContext, key: &KeyIdentity, was_reset: bool) -> Result<(), Error> {
        if was_reset {
            return Err(Error::DeviceChanged);
        }
        let (id, key) = (key.id, key.clone());
        self.device_change(context, move |tx, context| {
            let now = context.now.wall_ms;
            Ok(tx.note_device(id, &key.device_id, &key.firmware.to_string(), key.model, now)?)
        })?;
        self.hardware_keys.became_known(id);
        Ok(())
    }
}

fn bytes_of(access: &AccessKey) -> Sensitive<Vec<u8>> {
    Sensitive::new(access.bytes().expose().to_vec())
}

fn random_password() -> Result<Sensitive<String>, Error> {
    let random = entropy::secret_of_length(RANDOM_LENGTH)?;
    Ok(Sensitive::new(BASE32_NOPAD.encode(random.expose())))
}

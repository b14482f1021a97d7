//! Codes that the daemon reads from a hardware key itself, in place of codes that a user types.

use crate::error::Error;
use mfad_core::model::{Profile, SecretId, TokenInput, UserId};
use mfad_hardware::card::{CardSession, Maker};
use mfad_hardware::oath::{Touch, dialect_of};
use mfad_store::{OathAccount, ProvisioningState, Status, View};

use super::super::{RequestContext, Service, Stop};
use super::provisioning::first_code;
use super::session::{PATIENCE, VISIT, meet};
use super::types::{Attention, DeviceRef, OnDevice};

impl Service {
    /// Reads the first code of a pending factor from its key.
    pub(crate) fn code_for_enrolment(
        &self,
        context: &RequestContext,
        user: UserId,
        secret: SecretId,
    ) -> Result<TokenInput, Error> {
        let found = self.look(context, |view| Ok((view.secret(user, secret)?, view.oath_account(secret)?)))?;
        let (Some(row), credential) = found else { return Err(Error::NotFound) };
        match row.status {
            Status::Active => return Err(Error::AlreadyActive),
            Status::Pending if row.is_pending_at(context.now.wall_ms) => {}
            Status::Pending | Status::Ended => return Err(Error::Expired),
        }
        let on = "this factor is not on a hardware key; send its first code as `token`";
        let credential = credential.ok_or_else(|| Error::Unsupported(on.to_owned()))?;
        let profile = row.profile.ok_or_else(|| Error::Internal("a factor without parameters".to_owned()))?;
        // A new account that requires a touch has to prove that it does.
        let touch = if credential.touch { Touch::ToBeProved } else { Touch::NotNeeded };
        self.code_from_key(context, &credential, &profile, touch)
    }

    /// Reads a code from one of the user's keys that is plugged in. A code without a touch proves only that the key is
    /// in the port. So such a key is used only if `without_touch` says that the caller may do everything anyway.
    pub(crate) fn code_by_key(
        &self,
        context: &RequestContext,
        user: UserId,
        without_touch: bool,
    ) -> Result<TokenInput, Error> {
        let found = self.look(context, |view| {
            let mut found = Vec::new();
            for credential in view.oath_accounts_of(user)? {
                let secret = view.secret(user, credential.id)?.filter(|secret| secret.status == Status::Active);
                if let Some(profile) = secret.and_then(|secret| secret.profile) {
                    found.push((credential, profile));
                }
            }
            Ok(found)
        })?;
        let keys: Vec<_> = found.iter().map(|(credential, _)| credential.key).collect();
        let slots = self.hardware_keys.slots()?;
        // Keys that were met are found without asking any other key, which may be slow or in use.
        let mut here: Vec<_> = slots.iter().filter_map(|slot| self.hardware_keys.key_in(slot)).collect();
        if !here.iter().any(|key| keys.contains(key)) {
            here = slots.iter().filter_map(|slot| self.key_in(slot)).collect();
        }
        let plugged = found.into_iter().filter(|(credential, _)| here.contains(&credential.key));
        let (usable, silent): (Vec<_>, Vec<_>) = plugged.partition(|(credential, _)| without_touch || credential.touch);
        match usable.first() {
            Some((credential, profile)) => {
                let touch = if credential.touch { Touch::Needed } else { Touch::NotNeeded };
                self.code_from_key(context, credential, profile, touch)
            }
            None if silent.is_empty() => Err(Error::NoDevice("no key of this user is plugged in here".to_owned())),
            None => Err(Error::Unsupported(
                "this key gives codes without a touch, so its presence proves nothing; enter the code".to_owned(),
            )),
        }
    }

    /// Returns whether the user has factors on hardware keys that give codes.
    pub(crate) fn has_code_key(&self, context: &RequestContext, user: UserId) -> Result<bool, Error> {
        Ok(!self.look(context, |view| view.oath_accounts_of(user))?.is_empty())
    }

    fn code_from_key(
        &self,
        context: &RequestContext,
        credential: &OathAccount,
        profile: &Profile,
        touch: Touch,
    ) -> Result<TokenInput, Error> {
        let mut card = self.take(credential.key)?;
        let mut session = CardSession::new(&mut *card, VISIT);
        let (key, mut applet) = meet(&mut session, None)?;
        let known = self.device_row(key.id)?;
        if key.id != credential.key || key.device_id != credential.device_id {
            // The key was reset or swapped since the factor was programmed.
            let state = self.state_of(known.as_ref(), &mut applet, false)?;
            self.notice_reset(context, known.as_ref(), state)?;
            return Err(Error::DeviceChanged);
        }
        self.unlock(known.as_ref(), &mut applet, None)?;
        first_code(&mut applet, context, &credential.name, profile, touch)
    }

    /// Erases the account of a deleted factor now if its key is plugged in; otherwise the next contact with the key
    /// does. Returns whether the account stays until somebody touches the key for it.
    pub(crate) fn erase_if_here(&self, context: &RequestContext, credential: &OathAccount) -> bool {
        let needs_touch = credential.key.changes_by_touch();
        let Ok(slot) = self.slot_of(DeviceRef::Key(credential.key)) else { return needs_touch };
        if let Err(error) = self.visit(&RequestContext::of_host(&context.now), &slot, Attention::Attended) {
            tracing::info!(reader = slot.reader, %error, "could not erase an account of a deleted factor");
        }
        let left = self.store.read(PATIENCE, |view| view.oath_account(credential.id));
        needs_touch && left.is_ok_and(|row| row.is_some())
    }
}

/// Returns how many challenges proved an account.
pub(crate) fn proofs_of(credential: &OathAccount) -> u32 {
    dialect_of(Maker::of(credential.key)).proofs(credential.touch)
}

/// Returns the OATH account that goes with a factor, or `None` if the factor is on no hardware key. There `on_device`
/// must be absent, since there is nothing to choose.
pub(crate) fn credential_to_remove(
    view: &View<'_>,
    secret: SecretId,
    on_device: Option<OnDevice>,
) -> Result<Option<OathAccount>, Stop> {
    let credential = view.oath_account(secret)?.filter(|row| row.state == ProvisioningState::Programmed);
    match (&credential, on_device) {
        (None, Some(_)) => {
            let why = "`device` applies only to a factor on a hardware key; leave it out";
            Err(Error::Malformed(why.to_owned()).into())
        }
        (Some(_), _) | (None, None) => Ok(credential),
    }
}

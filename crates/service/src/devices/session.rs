//! A visit to a hardware key: select it, identify it, unlock its applet, and first settle unfinished work on it.

use std::time::Duration;

use crate::error::Error;
use mfad_core::model::{DeviceId, Firmware, KeyId, Moment, Sensitive};
use mfad_hardware::card::{CardFault, CardSession, Identity, Maker, identify};
use mfad_hardware::device::{Slot, UsbPlace};
use mfad_hardware::oath::{AccessKey, Applet, Dialect, dialect_of};
use mfad_store::{DeviceRow, ProvisioningState};

use super::super::{RequestContext, Service};
use super::types::{Attention, DeviceRef, KeyState};

/// Time limit for one visit to a key, touches not included.
pub(super) const VISIT: Duration = Duration::from_secs(10);
/// Time limit for each store access during a visit.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The identity of a key, to check later in the visit that it is still the same (HW-4).
#[derive(Clone)]
pub(super) struct KeyIdentity {
    pub(super) id: KeyId,
    pub(super) dialect: &'static dyn Dialect,
    pub(super) device_id: DeviceId,
    pub(super) firmware: Firmware,
    pub(super) model: &'static str,
    /// Name of the root certificate that its attestation leads to, if attestation was required.
    pub(super) attested_by: Option<String>,
}

impl Service {
    /// Waits until keys come or go, at most `patience`. Returns the new generation, and the slots of new keys, which
    /// need a [`Service::contact`].
    pub fn attend_devices(&self, seen: u64, patience: Duration, now: &Moment) -> (u64, Vec<Slot>) {
        self.hardware_keys.changes(seen, patience, now.wall_ms)
    }

    /// Returns the slots of keys that are plugged in and have unfinished or "to be erased" accounts. Keys that want a
    /// touch for it are left out: a visit would achieve nothing.
    pub fn unsettled_slots(&self) -> Vec<Slot> {
        let mut unsettled = self.store.read(PATIENCE, |view| view.unsettled_devices()).unwrap_or_default();
        unsettled.retain(|key| !key.changes_by_touch());
        self.hardware_keys.slots_of(&unsettled)
    }

    /// First contact with a new key, or another contact with a key that has unfinished work. Announces the key.
    pub fn contact(&self, slot: &Slot, now: &Moment) {
        let context = &RequestContext::of_host(now);
        let (key, state) = match self.visit(context, slot, Attention::Unattended) {
            Ok(met) => met,
            Err(error) => {
                tracing::info!(reader = slot.reader, %error, "cannot communicate with a hardware key");
                (None, KeyState::Unreachable)
            }
        };
        self.hardware_keys.met(slot, key, state, now.wall_ms);
    }

    /// Settles what is unfinished on a key, and returns its id and state.
    pub(super) fn visit(
        &self,
        context: &RequestContext,
        slot: &Slot,
        attention: Attention,
    ) -> Result<(Option<KeyId>, KeyState), Error> {
        let mut card = self.hardware_keys.open(slot)?;
        let mut session = CardSession::new(&mut *card, VISIT);
        let identity = identify(&mut session)?;
        let Some(key) = identity.id else { return Ok((None, KeyState::New)) };
        let selected = Applet::select(&mut session, dialect_of(identity.maker));
        let Ok(mut applet) = selected else { return Ok((Some(key), KeyState::New)) };
        let known = self.device_row(key)?;
        // Without the password nothing can be settled now; the rest of the contact goes on.
        let is_open = self.unlock_if_known(known.as_ref(), &mut applet)?;
        if is_open {
            self.settle(context, key, &mut applet, attention)?;
        }
        let state = self.state_of(known.as_ref(), &mut applet, is_open)?;
        self.notice_reset(context, known.as_ref(), state)?;
        Ok((Some(key), state))
    }

    /// Returns the slot of the key that is meant, or a clear refusal if there is none or more than one.
    pub(super) fn slot_of(&self, device: DeviceRef) -> Result<Slot, Error> {
        let slots = self.hardware_keys.slots()?;
        match device {
            DeviceRef::Any => match slots.as_slice() {
                [] => Err(Error::NoDevice("no key is plugged in".to_owned())),
                [one] => Ok(one.clone()),
                several => {
                    let mut keys: Vec<KeyId> = several.iter().filter_map(|slot| self.key_in(slot)).collect();
                    keys.sort_unstable();
                    Err(Error::ManyDevices(keys))
                }
            },
            DeviceRef::Key(key) => {
                // A key that was met is found without asking any other key, which may be slow or in use.
                let met: Vec<Slot> = self.hardware_keys.slots_of(&[key]);
                let mut here: Vec<&Slot> = slots.iter().filter(|slot| met.contains(slot)).collect();
                if here.is_empty() {
                    here = slots.iter().filter(|slot| self.key_in(slot) == Some(key)).collect();
                }
                match here.as_slice() {
                    [] => Err(Error::NoDevice(format!("the key {key} is not plugged in"))),
                    [one] => Ok((*one).clone()),
                    _ => Err(Error::TwinDevices(key)),
                }
            }
        }
    }

    /// Returns where the USB device of a key is that is plugged in; `None` if its reader does not tell.
    pub(crate) fn usb_place_of(&self, key: KeyId) -> Result<Option<UsbPlace>, Error> {
        let card = self.take(key)?;
        Ok(card.reader().usb.as_ref().map(|usb| usb.place))
    }

    /// Returns the id of the key in a slot. Asks the key itself if its first contact is not done yet.
    pub(super) fn key_in(&self, slot: &Slot) -> Option<KeyId> {
        self.hardware_keys.key_in(slot).or_else(|| {
            let mut card = self.hardware_keys.open(slot).ok()?;
            identify(&mut CardSession::new(&mut *card, VISIT)).ok()?.id
        })
    }

    /// Returns the state of a key that shows this applet. Where the salt does not tell that the applet was reset, it
    /// counts as reset if none of the accounts that are programmed on it is listed.
    pub(super) fn state_of(
        &self,
        known: Option<&DeviceRow>,
        applet: &mut Applet<'_, '_>,
        is_open: bool,
    ) -> Result<KeyState, Error> {
        let Some(known) = known else { return Ok(KeyState::New) };
        if known.device_id != applet.device_id()? {
            return Ok(KeyState::Reset);
        }
        if applet.dialect().salt_identifies() || !is_open {
            return Ok(KeyState::Known);
        }
        let mut rows = self.store.read(PATIENCE, |view| view.oath_accounts_on(known.key))?;
        rows.retain(|row| row.state == ProvisioningState::Programmed);
        if rows.is_empty() {
            return Ok(KeyState::Known);
        }
        let listed = applet.list()?;
        let is_there = rows.iter().any(|row| listed.iter().any(|account| account.name == row.name));
        Ok(if is_there { KeyState::Known } else { KeyState::Reset })
    }

    pub(super) fn device_row(&self, key: KeyId) -> Result<Option<DeviceRow>, Error> {
        Ok(self.store.read(PATIENCE, |view| view.device(key))?)
    }

    /// Unlocks the applet with the given password, or else with the stored one.
    pub(super) fn unlock(
        &self,
        known: Option<&DeviceRow>,
        applet: &mut Applet<'_, '_>,
        password: Option<&Sensitive<String>>,
    ) -> Result<(), Error> {
        if !applet.is_locked() {
            return Ok(());
        }
        if let Some(password) = password {
            let key = AccessKey::derive(password.expose(), applet.salt());
            return Ok(applet.unlock(&key)?);
        }
        if self.unlock_if_known(known, applet)? { Ok(()) } else { Err(Error::DeviceLocked) }
    }

    /// Returns whether the applet is open now: it had no password, or the stored one was right.
    pub(super) fn unlock_if_known(
        &self,
        known: Option<&DeviceRow>,
        applet: &mut Applet<'_, '_>,
    ) -> Result<bool, Error> {
        if !applet.is_locked() {
            return Ok(true);
        }
        let device_id = applet.device_id()?;
        // A reset changes the salt, so a key that was derived before it cannot unlock the applet.
        let Some(known) = known.filter(|known| known.device_id == device_id) else { return Ok(false) };
        let kept = self.store.read(PATIENCE, |view| view.device_access(known))?;
        // Two passwords are stored if a change was interrupted: the new one and the previous one.
        for key in kept.iter().flat_map(|kept| kept.expose().chunks(AccessKey::LENGTH)) {
            let Some(key) = AccessKey::from_bytes(key) else { continue };
            match applet.unlock(&key) {
                Ok(()) => return Ok(true),
                Err(CardFault::WrongPassword) => {}
                Err(fault) => return Err(fault.into()),
            }
        }
        Ok(false)
    }
}

/// Why a key cannot be told from another one.
pub(super) fn without_id(maker: Maker) -> Error {
    let why = match maker {
        Maker::Yubico => "this key hides its serial number; make it visible and try again",
        Maker::CanoKey | Maker::Nitrokey | Maker::Pico | Maker::Compatible | Maker::Unknown => {
            "nothing tells this key from another of its kind: it reports no serial number, and its applet has no salt \
             that stays the same; use another key"
        }
    };
    Error::Unsupported(why.to_owned())
}

/// Returns the identity of a key. A key that cannot be told from another one is refused.
pub(super) fn key_identity(identity: &Identity, applet: &Applet<'_, '_>) -> Result<KeyIdentity, Error> {
    Ok(KeyIdentity {
        id: identity.id.ok_or_else(|| without_id(identity.maker))?,
        dialect: applet.dialect(),
        device_id: applet.device_id()?,
        firmware: identity.firmware.unwrap_or_else(|| applet.version()),
        model: identity.model,
        attested_by: None,
    })
}

/// Identifies the key and selects its OATH applet. Refuses if another key was meant (HW-4).
pub(super) fn meet<'a, 'card>(
    session: &'a mut CardSession<'card>,
    meant: Option<KeyId>,
) -> Result<(KeyIdentity, Applet<'a, 'card>), Error> {
    let identity = identify(session)?;
    let applet = Applet::select(session, dialect_of(identity.maker))?;
    let key = key_identity(&identity, &applet)?;
    if meant.is_some_and(|meant| meant != key.id) {
        return Err(Error::DeviceChanged);
    }
    Ok((key, applet))
}

/// Checks that it is still the same key with the same applet (HW-4). Ends the present selection.
pub(super) fn still_there(session: &mut CardSession<'_>, before: &KeyIdentity) -> Result<(), Error> {
    let (now, _) = meet(session, None)?;
    let is_same = now.id == before.id && now.device_id == before.device_id;
    if is_same { Ok(()) } else { Err(Error::DeviceChanged) }
}

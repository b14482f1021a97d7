//! A visit to a hardware key: select it, identify it, unlock its applet, and first settle unfinished work on it.

use std::time::Duration;

use crate::error::Error;
use mfad_core::model::{DeviceId, Firmware, Moment, Sensitive, Serial};
use mfad_hardware::card::{CardFault, CardSession, Identity, identify};
use mfad_hardware::device::Slot;
use mfad_hardware::oath::{AccessKey, Applet};
use mfad_store::DeviceRow;

use super::super::{RequestContext, Service};
use super::types::{DeviceRef, KeyState};

/// Time limit for one visit to a key, touches not included.
pub(super) const VISIT: Duration = Duration::from_secs(10);
/// Time limit for each store access during a visit.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The identity of a key, to check later in the visit that it is still the same (HW-4).
#[derive(Clone, Debug)]
pub(super) struct KeyIdentity {
    pub(super) serial: Serial,
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

    /// Returns the slots of keys that are plugged in and have unfinished or "to be erased" accounts.
    pub fn unsettled_slots(&self) -> Vec<Slot> {
        let unsettled = self.store.read(PATIENCE, |view| view.unsettled_devices());
        unsettled.map(|serials| self.hardware_keys.slots_of(&serials)).unwrap_or_default()
    }

    /// First contact with a new key, or another contact with a key that has unfinished work. Announces the key.
    pub fn contact(&self, slot: &Slot, now: &Moment) {
        let context = &RequestContext::of_host(now);
        let (serial, state) = match self.visit(context, slot) {
            Ok(met) => met,
            Err(error) => {
                tracing::info!(reader = slot.reader, %error, "cannot communicate with a hardware key");
                (None, KeyState::Unreachable)
            }
        };
        self.hardware_keys.met(slot, serial, state, now.wall_ms);
    }

    fn visit(&self, context: &RequestContext, slot: &Slot) -> Result<(Option<Serial>, KeyState), Error> {
        let mut card = self.hardware_keys.open(slot)?;
        let mut session = CardSession::new(&mut *card, VISIT);
        let identity = identify(&mut session)?;
        let Some(serial) = identity.serial else { return Ok((None, KeyState::New)) };
        let Ok(mut applet) = Applet::select(&mut session) else { return Ok((Some(serial), KeyState::New)) };
        let known = self.device_row(serial)?;
        let device_id = applet.device_id()?;
        // Without the password nothing can be settled now; the rest of the contact goes on.
        if self.unlock_if_known(known.as_ref(), &mut applet)? {
            self.settle(context, serial, &mut applet)?;
        }
        self.notice_reset(context, serial, &device_id)?;
        Ok((Some(serial), state_of(known.as_ref(), &device_id)))
    }

    /// Returns the slot of the key that is meant, or a clear refusal if there is none or more than one.
    pub(super) fn slot_of(&self, device: DeviceRef) -> Result<Slot, Error> {
        let slots = self.hardware_keys.slots()?;
        match device {
            DeviceRef::Any => match slots.as_slice() {
                [] => Err(Error::NoDevice("no key is plugged in".to_owned())),
                [one] => Ok(one.clone()),
                several => {
                    let mut serials: Vec<Serial> = several.iter().filter_map(|slot| self.serial_in(slot)).collect();
                    serials.sort_unstable();
                    Err(Error::ManyDevices(serials))
                }
            },
            DeviceRef::Serial(serial) => slots
                .into_iter()
                .find(|slot| self.serial_in(slot) == Some(serial))
                .ok_or_else(|| Error::NoDevice(format!("the key {serial} is not plugged in"))),
        }
    }

    /// Returns the serial number of the key in a slot. Asks the key itself if its first contact is not done yet.
    pub(super) fn serial_in(&self, slot: &Slot) -> Option<Serial> {
        self.hardware_keys.serial_in(slot).or_else(|| {
            let mut card = self.hardware_keys.open(slot).ok()?;
            identify(&mut CardSession::new(&mut *card, VISIT)).ok()?.serial
        })
    }

    pub(super) fn device_row(&self, serial: Serial) -> Result<Option<DeviceRow>, Error> {
        Ok(self.store.read(PATIENCE, |view| view.device(serial))?)
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

/// Returns the identity of a key. A key without a serial number is refused, since it cannot be told from another one.
pub(super) fn key_identity(identity: &Identity, applet: &Applet<'_, '_>) -> Result<KeyIdentity, Error> {
    let hidden = || Error::Unsupported("this key hides its serial number; make it visible and try again".to_owned());
    Ok(KeyIdentity {
        serial: identity.serial.ok_or_else(hidden)?,
        device_id: applet.device_id()?,
        firmware: identity.firmware.unwrap_or_else(|| applet.version()),
        model: identity.model,
        attested_by: None,
    })
}

/// Identifies the key and selects its OATH applet. Refuses if another serial number was meant (HW-4).
pub(super) fn meet<'a, 'card>(
    session: &'a mut CardSession<'card>,
    meant: Option<Serial>,
) -> Result<(KeyIdentity, Applet<'a, 'card>), Error> {
    let identity = identify(session)?;
    let applet = Applet::select(session)?;
    let key = key_identity(&identity, &applet)?;
    if meant.is_some_and(|serial| serial != key.serial) {
        return Err(Error::DeviceChanged);
    }
    Ok((key, applet))
}

/// Checks that it is still the same key with the same applet (HW-4). Ends the present selection.
pub(super) fn still_there(session: &mut CardSession<'_>, before: &KeyIdentity) -> Result<(), Error> {
    let (now, _) = meet(session, None)?;
    let is_same = now.serial == before.serial && now.device_id == before.device_id;
    if is_same { Ok(()) } else { Err(Error::DeviceChanged) }
}

/// Returns the state of a key that shows this applet.
pub(super) fn state_of(known: Option<&DeviceRow>, device_id: &DeviceId) -> KeyState {
    match known {
        None => KeyState::New,
        Some(known) if known.device_id == *device_id => KeyState::Known,
        Some(_) => KeyState::Reset,
    }
}

//! Queries about hardware keys: which are plugged in, the accounts on them, and their events.

use crate::error::Error;
use mfad_core::model::Serial;
use mfad_core::sync::thread;
use mfad_hardware::card::{CardFault, CardSession, identify};
use mfad_hardware::device::Slot;
use mfad_hardware::oath::{AccountKind, Applet};
use mfad_store::{OathAccount, ProvisioningState};

use super::super::{Reply, RequestContext, Service};
use super::session::{VISIT, key_identity, state_of};
use super::types::{AccountView, AppletView, CredentialView, DeviceRef, KeyState, KeyView};

impl Service {
    /// Lists all keys that are plugged in. Each is asked on its own thread, so that one that hangs hides no other.
    pub(crate) fn list_devices(&self, context: &RequestContext) -> Result<Reply, Error> {
        let slots = self.hardware_keys.slots()?;
        let keys = thread::scope(|threads| {
            let asked: Vec<_> =
                slots.iter().map(|slot| (slot, threads.spawn(|| self.look_at(context, slot)))).collect();
            let panicked = |_| Err(Error::Internal("a look at a key panicked".to_owned()));
            asked
                .into_iter()
                .map(|(slot, looking)| {
                    looking.join().unwrap_or_else(panicked).unwrap_or_else(|e| unreachable_key(slot, e))
                })
                .collect()
        });
        Ok(Reply::Devices(keys))
    }

    /// Shows one key, with the factors on it. `with_escrow` includes the encrypted password.
    pub(crate) fn show_device(
        &self,
        context: &RequestContext,
        serial: Serial,
        with_escrow: bool,
    ) -> Result<Reply, Error> {
        let slot = self.slot_of(DeviceRef::Serial(serial))?;
        let key = self.look_at(context, &slot).unwrap_or_else(|error| unreachable_key(&slot, error));
        let rows = self.look(context, |view| view.oath_accounts_on(serial))?;
        let escrow = self.device_row(serial)?.and_then(|row| row.escrow).filter(|_| with_escrow);
        Ok(Reply::Device { key, credentials: rows.iter().map(credential_view).collect(), escrow })
    }

    /// Lists the accounts on a key.
    pub(crate) fn device_accounts(&self, context: &RequestContext, serial: Serial) -> Result<Reply, Error> {
        let mut card = self.take(serial)?;
        let mut session = CardSession::new(&mut *card, VISIT);
        let (key, mut applet) = self.begin(context, serial, &mut session)?;
        self.account_views(&key, &mut applet).map(Reply::Accounts)
    }

    pub(super) fn account_views(
        &self,
        key: &super::session::KeyIdentity,
        applet: &mut Applet<'_, '_>,
    ) -> Result<Vec<AccountView>, Error> {
        let accounts = applet.list()?;
        let shown = applet.shown()?;
        let rows = self.programmed_on(key)?;
        let view = |account: mfad_hardware::oath::Account| {
            let kind = shown.iter().find(|(name, _)| *name == account.name).map(|(_, shown)| *shown);
            let owner = rows.iter().find(|row| row.name == account.name).map(|row| (row.id, row.user));
            AccountView {
                touch: if account.is_hotp { None } else { kind.map(|kind| kind == AccountKind::Touch) },
                is_hotp: account.is_hotp,
                algorithm: account.algorithm,
                owner,
                name: account.name,
            }
        };
        Ok(accounts.into_iter().map(view).collect())
    }

    /// Returns the accounts of factors in this applet of this key. Accounts of an applet that was reset are left out.
    pub(super) fn programmed_on(&self, key: &super::session::KeyIdentity) -> Result<Vec<OathAccount>, Error> {
        let rows = self.store.read(super::session::PATIENCE, |view| view.oath_accounts_on(key.serial))?;
        let is_here = |row: &OathAccount| row.state == ProvisioningState::Programmed && row.device_id == key.device_id;
        Ok(rows.into_iter().filter(is_here).collect())
    }

    /// Returns the events after a number, or with `None` the keys that are present.
    pub(crate) fn device_events(&self, after: Option<u64>) -> Reply {
        let (events, next) = self.hardware_keys.events(after);
        Reply::DeviceEvents { events, next }
    }

    fn look_at(&self, context: &RequestContext, slot: &Slot) -> Result<KeyView, Error> {
        let mut card = self.hardware_keys.open(slot)?;
        let mut session = CardSession::new(&mut *card, VISIT);
        let identity = identify(&mut session)?;
        let mut view = KeyView {
            serial: identity.serial,
            model: Some(identity.model),
            firmware: identity.firmware,
            form_factor: identity.form_factor.map(|form| form.name()),
            is_nfc: is_nfc(slot),
            reader: slot.reader.clone(),
            oath: None,
            fido2: identity.fido2,
            state: KeyState::New,
            programmed: 0,
            problem: None,
        };
        let mut applet = match Applet::select(&mut session) {
            Ok(applet) => applet,
            // A key without the OATH applet is shown all the same.
            Err(CardFault::Unsupported(_)) => return Ok(view),
            Err(fault) => return Err(fault.into()),
        };
        view.firmware = view.firmware.or(Some(applet.version()));
        let known = identity.serial.map(|serial| self.device_row(serial)).transpose()?.flatten();
        let device_id = applet.device_id()?;
        let is_open = self.unlock_if_known(known.as_ref(), &mut applet)?;
        if let (Some(serial), true) = (identity.serial, is_open) {
            self.settle(context, serial, &mut applet)?;
        }
        if let Some(serial) = identity.serial {
            self.notice_reset(context, serial, &device_id)?;
            view.programmed = self.programmed_on(&key_identity(&identity, &applet)?)?.len();
        }
        view.state = state_of(known.as_ref(), &device_id);
        view.oath = Some(AppletView {
            version: applet.version(),
            accounts: if is_open { Some(applet.list()?.len()) } else { None },
            capacity: applet.version().capacity(),
            has_password: applet.has_password(),
            is_password_known: applet.has_password() && is_open,
            has_touch: applet.version().has_touch(),
            device_id,
        });
        Ok(view)
    }
}

/// A reader whose name contains the vendor's product name is the key itself, in a USB port; all others are taken for
/// NFC.
fn is_nfc(slot: &Slot) -> bool {
    !slot.reader.to_lowercase().contains("yubikey")
}

fn unreachable_key(slot: &Slot, problem: Error) -> KeyView {
    KeyView {
        serial: None,
        model: None,
        firmware: None,
        form_factor: None,
        is_nfc: is_nfc(slot),
        reader: slot.reader.clone(),
        oath: None,
        fido2: None,
        state: KeyState::Unreachable,
        programmed: 0,
        problem: Some(problem),
    }
}

fn credential_view(row: &OathAccount) -> CredentialView {
    CredentialView {
        secret: row.id,
        user: row.user,
        name: row.name.clone(),
        status: row.state.name(),
        touch: row.touch,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_its_own_reader_is_in_a_port() {
        for (reader, is_on_a_reader) in [
            ("Yubico YubiKey OTP+FIDO+CCID 00 00", false),
            ("YUBICO YUBIKEY NEO 01 00", false),
            ("ACS ACR122U PICC Interface 00 00", true),
        ] {
            let slot = Slot { reader: reader.to_owned(), insertion: 1 };

            assert_eq!(is_nfc(&slot), is_on_a_reader, "{reader}");
        }
    }
}

//! Queries about hardware keys: which are plugged in, the accounts on them, and their events.

use crate::error::Error;
use mfad_core::model::KeyId;
use mfad_core::sync::thread;
use mfad_hardware::card::{CardFault, CardSession, identify};
use mfad_hardware::device::{ReaderFacts, Slot};
use mfad_hardware::oath::{AccountKind, Applet, Gives, dialect_of};
use mfad_store::{OathAccount, ProvisioningState};

use super::super::{Reply, RequestContext, Service};
use super::session::{VISIT, key_identity, without_id};
use super::types::{AccountView, AppletView, Attention, CredentialView, DeviceRef, KeyState, KeyView};

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
    pub(crate) fn show_device(&self, context: &RequestContext, key: KeyId, with_escrow: bool) -> Result<Reply, Error> {
        let slot = self.slot_of(DeviceRef::Key(key))?;
        let view = self.look_at(context, &slot).unwrap_or_else(|error| unreachable_key(&slot, error));
        let rows = self.look(context, |view| view.oath_accounts_on(key))?;
        let escrow = self.device_row(key)?.and_then(|row| row.escrow).filter(|_| with_escrow);
        Ok(Reply::Device { key: view, credentials: rows.iter().map(credential_view).collect(), escrow })
    }

    /// Lists the accounts on a key.
    pub(crate) fn device_accounts(&self, context: &RequestContext, key: KeyId) -> Result<Reply, Error> {
        let mut card = self.take(key)?;
        let mut session = CardSession::new(&mut *card, VISIT);
        let (key, mut applet) = self.begin(context, key, &mut session, Attention::Unattended)?;
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
                touch: match account.gives {
                    Gives::Totp(_) => kind.map(|kind| kind == AccountKind::Touch),
                    Gives::Hotp(_) | Gives::Other => None,
                },
                gives: account.gives,
                owner,
                name: account.name,
            }
        };
        Ok(accounts.into_iter().map(view).collect())
    }

    /// Returns the accounts of factors in this applet of this key. Accounts of an applet that was reset are left out.
    pub(super) fn programmed_on(&self, key: &super::session::KeyIdentity) -> Result<Vec<OathAccount>, Error> {
        let rows = self.store.read(super::session::PATIENCE, |view| view.oath_accounts_on(key.id))?;
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
            key: identity.id,
            model: Some(identity.model),
            firmware: identity.firmware,
            form_factor: identity.form_factor.map(|form| form.name()),
            is_nfc: session.reader().is_contactless(),
            reader: slot.reader.clone(),
            oath: None,
            fido2: identity.fido2,
            state: KeyState::New,
            programmed: 0,
            // Said at once, and not only when somebody tries to program the key.
            problem: identity.id.is_none().then(|| without_id(identity.maker)),
        };
        let mut applet = match Applet::select(&mut session, dialect_of(identity.maker)) {
            Ok(applet) => applet,
            // A key without the OATH applet is shown all the same.
            Err(CardFault::Unsupported(_)) => return Ok(view),
            Err(fault) => return Err(fault.into()),
        };
        view.firmware = view.firmware.or(Some(applet.version()));
        let known = identity.id.map(|key| self.device_row(key)).transpose()?.flatten();
        let device_id = applet.device_id()?;
        let is_open = self.unlock_if_known(known.as_ref(), &mut applet)?;
        if let Some(key) = identity.id {
            if is_open {
                self.settle(context, key, &mut applet, Attention::Unattended)?;
            }
            view.state = self.state_of(known.as_ref(), &mut applet, is_open)?;
            self.notice_reset(context, known.as_ref(), view.state)?;
            view.programmed = self.programmed_on(&key_identity(&identity, &applet)?)?.len();
        }
        view.oath = Some(AppletView {
            version: applet.version(),
            accounts: if is_open { Some(applet.list()?.len()) } else { None },
            capacity: applet.dialect().capacity(applet.version()),
            has_password: applet.has_password(),
            is_password_known: applet.has_password() && is_open,
            has_touch: applet.dialect().touch(applet.version()).is_ok(),
            device_id,
        });
        Ok(view)
    }
}

fn unreachable_key(slot: &Slot, problem: Error) -> KeyView {
    let reader = ReaderFacts { name: slot.reader.clone(), ..ReaderFacts::default() };
    KeyView {
        key: None,
        model: None,
        firmware: None,
        form_factor: None,
        is_nfc: reader.is_contactless(),
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

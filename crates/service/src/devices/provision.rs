//! Provisioning a factor on a hardware key: record the intent, write the account, prove it by challenges, and only then
//! insert the pending factor. The user's code or the key itself activates it. Whatever fails is rolled back, now or at
//! the next contact with the key. The seed leaves the daemon only for the key (HW-1, HW-3).

use mfad_api::AuditEvent;
use mfad_core::entropy;
use mfad_core::model::{AccountName, Sensitive};
use mfad_hardware::card::{CardFault, CardSession};
use mfad_hardware::oath::Applet;
use mfad_store::{DeviceRow, Subject};

use super::super::authorise::{Authority, UserAccess};
use super::super::{Job, Reply, RequestContext, Service};
use super::provisioning::{Credential, Provisioning};
use super::session::{PATIENCE, VISIT, meet, still_there};
use super::types::{Activation, Attention, DeviceRef, ProvisionOrder};
use crate::error::Error;

impl Service {
    /// Programs a factor onto a key. It is pending afterwards, or active if the key itself confirms it.
    pub(crate) fn provision(
        &self,
        context: &RequestContext,
        access: UserAccess,
        order: ProvisionOrder,
    ) -> Result<Reply, Error> {
        // The daemon cannot tell whose key is plugged in. So with their own token alone, users may neither overwrite an
        // account nor set a password that locks the owner out.
        if matches!(access.by, Authority::Own { .. }) && (order.replace || order.protect) {
            return Err(Error::Forbidden("app"));
        }
        let slot = self.slot_of(order.device)?;
        let mut card = self.hardware_keys.open(&slot)?;
        let mut session = CardSession::new(&mut *card, VISIT);
        let attested = self.attested_if_required(context, &mut session)?;
        let meant = match order.device {
            DeviceRef::Key(key) => Some(key),
            // Only the attested key may be programmed, not one that takes its place meanwhile (HW-4).
            DeviceRef::Any => attested.as_ref().map(|said| said.serial.into()),
        };
        let (mut key, mut applet) = meet(&mut session, meant)?;
        key.attested_by = attested.map(|said| said.root);
        let known = self.device_row(key.id)?;
        // A key reports its id itself, so a key with a copied id looks like the genuine one. With their own token alone,
        // users may not overwrite what the daemon knows of that one.
        let is_another = known.as_ref().is_some_and(|known| known.device_id != key.device_id);
        if is_another && matches!(access.by, Authority::Own { .. }) {
            return Err(Error::DeviceChanged);
        }
        self.unlock_for(context, &access, known.as_ref(), &mut applet, order.password.as_ref())?;
        // Whoever programs a key holds it, and can touch it for what was left on it.
        self.settle(context, key.id, &mut applet, Attention::Attended)?;
        let credential = self.new_credential(context, &access, &order, &mut applet)?;
        // Overwriting the account of another factor would end that factor without its user knowing.
        if self.programmed_on(&key)?.iter().any(|row| row.name == credential.name) {
            return Err(Error::DeviceInUse);
        }
        let provisioning =
            Provisioning { service: self, context, access: &access, order: &order, key: &key, credential };
        provisioning.intend()?;
        let programmed = provisioning.program(&mut applet).and_then(|()| {
            if order.protect || self.policy().protect_keys { self.protect(context, &key, &mut applet) } else { Ok(()) }
        });
        // The check of the key's identity selects other applets, which ends this selection.
        drop(applet);
        let programmed =
            programmed.and_then(|()| still_there(&mut session, &key)).and_then(|()| provisioning.become_pending());
        let secret = match programmed {
            Ok(secret) => secret,
            Err(error) => provisioning.give_up(&mut session, error)?,
        };
        let receipt = self.receipt(&provisioning, &secret)?;
        if order.activation == Activation::ByCode {
            return Ok(Reply::Provisioned { secret, receipt, codes: None });
        }
        match provisioning.confirm(&mut session) {
            Ok((secret, codes)) => Ok(Reply::Provisioned { secret, receipt, codes: Some(codes) }),
            Err(error) => {
                // `give_up` returns the factor if the first key of its pair has activated it. The request that did so
                // got the backup codes.
                let secret = provisioning.give_up(&mut session, error)?;
                Ok(Reply::Provisioned { secret, receipt, codes: Some(Vec::new()) })
            }
        }
    }

    /// Unlocks the applet. A password that comes with a user's own token may be a guess at someone else's key, and the
    /// key counts no failures itself. So a wrong one counts like a wrong code of that user (THR-7). The key is held
    /// exclusively meanwhile, so guesses come one after the other.
    fn unlock_for(
        &self,
        context: &RequestContext,
        access: &UserAccess,
        known: Option<&DeviceRow>,
        applet: &mut Applet<'_, '_>,
        password: Option<&Sensitive<String>>,
    ) -> Result<(), Error> {
        let is_guess = password.is_some() && applet.is_locked() && matches!(access.by, Authority::Own { .. });
        if is_guess {
            self.refuse_throttled(context, &Subject::factors(access.user.id))?;
        }
        let opened = self.unlock(known, applet, password);
        if is_guess && matches!(opened, Err(Error::WrongDevicePassword)) {
            self.count_failure(context, access.user.id, AuditEvent::DevicePasswordWrong)?;
        }
        opened
    }

    /// Prepares the account and its random seed. Everything that can be known before the key is written to is checked
    /// here, so that nothing avoidable fails later.
    fn new_credential(
        &self,
        context: &RequestContext,
        access: &UserAccess,
        order: &ProvisionOrder,
        applet: &mut Applet<'_, '_>,
    ) -> Result<Credential, Error> {
        let policy = self.policy();
        let issuer = order.issuer.as_ref().map_or(policy.issuer.as_str(), |issuer| issuer.as_str());
        let account = order.account.as_ref().map_or(access.user.name.as_str(), |account| account.as_str());
        let name =
            AccountName::of(&order.profile, issuer, account).map_err(|fault| Error::Malformed(fault.to_string()))?;
        let version = applet.version();
        applet.check(&order.profile, order.touch)?;
        if (order.protect || policy.protect_keys) && !applet.has_password() {
            applet.dialect().password().map_err(CardFault::Unsupported)?;
        }
        // The commands that a look at the key needs later have to work now, before anything is written.
        applet.shown()?;
        let accounts = applet.list()?;
        let replaces = accounts.iter().any(|account| account.name == name);
        if replaces && !order.replace {
            return Err(Error::AccountTaken);
        }
        if applet.dialect().confuses_prefixes(version) && accounts.iter().any(|account| name.begins(&account.name)) {
            return Err(Error::Unsupported(
                "firmware 4.0.0 to 4.3.4 could overwrite another account whose name begins in the same way; choose \
                 another name"
                    .to_owned(),
            ));
        }
        if !replaces && !applet.has_room(accounts.iter().map(|account| &account.name), &name) {
            return Err(Error::DeviceFull);
        }
        Ok(Credential {
            id: context.new_secret_id()?,
            name,
            profile: order.profile,
            seed: entropy::secret_of_length(order.profile.algorithm.seed_length())?,
            touch: order.touch,
            replaces,
        })
    }

    /// Runs a write job during a visit to a key. It may wait longer than a request would, since the key is half
    /// written.
    pub(super) fn device_change<T: Send + 'static>(
        &self,
        context: &RequestContext,
        job: impl Job<T>,
    ) -> Result<T, Error> {
        self.change_within(PATIENCE, context, job)
    }
}

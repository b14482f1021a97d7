//! Provisioning a factor on a hardware key: record the intent, write the account, prove it by challenges, and only then
//! insert the pending factor. The user's code or the key itself activates it. Whatever fails is rolled back, now or at
//! the next contact with the key. The seed leaves the daemon only for the key (HW-1, HW-3).

use crate::error::Error;
use mfad_api::AuditEvent;
use mfad_core::entropy;
use mfad_core::model::{AccountName, Algorithm, OtpKind, Profile, SecretId, Sensitive, TokenInput, UserId};
use mfad_core::oath::{hmac_of, step_at};
use mfad_hardware::card::CardSession;
use mfad_hardware::oath::{AccountKind, Applet, NewAccount};
use mfad_store::{
    DeviceRow, NewSecret, OathAccount, Outcome, ProvisioningState, SecretRow, SecretType, Status, Subject, Tx,
};

use sha2::{Digest, Sha256};

use super::super::authorise::{Authority, UserAccess};
use super::super::secrets::{PENDING_LIFETIME, end_what_it_opened, free_name, insert, view_in, view_with_device};
use super::super::tokens::later;
use super::super::{Job, Reply, RequestContext, SecretRef, SecretView, Service, Stop};
use super::session::{KeyIdentity, PATIENCE, VISIT, meet, still_there};
use super::types::{Activation, DeviceRef, ProvisionOrder};

/// Number of challenges that prove an account. They use up as many counters of a HOTP account, on both sides.
pub const PROOFS: u32 = 2;
/// Counters whose answers are recorded, to recognise a HOTP account that was left unfinished.
const KNOWN_COUNTERS: u64 = 8;

/// The account to be written to the key.
struct Credential {
    id: SecretId,
    name: AccountName,
    profile: Profile,
    seed: Sensitive<Vec<u8>>,
    touch: bool,
    replaces: bool,
}

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
            DeviceRef::Serial(serial) => Some(serial),
            // Only the attested key may be programmed, not one that takes its place meanwhile (HW-4).
            DeviceRef::Any => attested.as_ref().map(|said| said.serial),
        };
        let (mut key, mut applet) = meet(&mut session, meant)?;
        key.vouched_by = attested.map(|said| said.root);
        let known = self.device_row(key.serial)?;
        self.unlock_for(context, &access, known.as_ref(), &mut applet, order.password.as_ref())?;
        self.settle(context, key.serial, &mut applet)?;
        let credential = self.new_credential(context, &access, &order, &mut applet)?;
        // Overwriting the account of another factor would end that factor without its user knowing.
        if self.programmed_on(&key)?.iter().any(|row| row.name == credential.name) {
            return Err(Error::DeviceInUse);
        }
        self.intend(context, &access, &order, &key, &credential)?;
        let programmed = self.program(context, &mut applet, &credential).and_then(|()| {
            if order.protect || self.policy().protect_keys { self.protect(context, &key, &mut applet) } else { Ok(()) }
        });
        // The check of the key's identity selects other applets, which ends this selection.
        drop(applet);
        let programmed = programmed
            .and_then(|()| still_there(&mut session, &key))
            .and_then(|()| self.become_pending(context, &access, &order, &key, &credential));
        let secret = match programmed {
            Ok(secret) => secret,
            Err(error) => self.give_up(context, &mut session, &key, &access, &credential, &order, error)?,
        };
        let receipt = self.receipt(context, &access, &key, &credential.name, &secret, order.touch)?;
        if order.activation == Activation::ByCode {
            return Ok(Reply::Provisioned { secret, receipt, codes: None });
        }
        match self.confirm_by_key(context, &access, &mut session, &key, &credential, &order) {
            Ok((secret, codes)) => Ok(Reply::Provisioned { secret, receipt, codes: Some(codes) }),
            Err(error) => {
                // `give_up` returns the factor if the first key of its pair has activated it. The request that did so
                // got the backup codes.
                let secret = self.give_up(context, &mut session, &key, &access, &credential, &order, error)?;
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
        if order.touch && !version.has_touch() {
            return Err(Error::Unsupported(
                "this key cannot require a touch: that needs firmware 4.2.6; use another key, or leave out `touch`"
                    .to_owned(),
            ));
        }
        if order.profile.algorithm == Algorithm::Sha512 && !version.has_sha512() {
            return Err(Error::Unsupported(
                "this key does not support SHA-512: that needs firmware 4.3.1; choose another algorithm or key"
                    .to_owned(),
            ));
        }
        let accounts = applet.list()?;
        let replaces = accounts.iter().any(|account| account.name == name);
        if replaces && !order.replace {
            return Err(Error::AccountTaken);
        }
        if version.confuses_prefixes() && accounts.iter().any(|account| name.begins(&account.name)) {
            return Err(Error::Unsupported(
                "firmware 4.0.0 to 4.3.4 could overwrite another account whose name begins in the same way; choose \
                 another name"
                    .to_owned(),
            ));
        }
        let count = u32::try_from(accounts.len()).unwrap_or(u32::MAX);
        if !replaces && version.capacity().is_some_and(|most| count >= most) {
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

    /// Records in the store what is about to be done to the key (provisioning journal).
    fn intend(
        &self,
        context: &RequestContext,
        access: &UserAccess,
        order: &ProvisionOrder,
        key: &KeyIdentity,
        credential: &Credential,
    ) -> Result<(), Error> {
        let challenge = entropy::public::<8>()?;
        let row = OathAccount {
            id: credential.id,
            user: access.user.id,
            serial: key.serial,
            device_id: key.device_id.clone(),
            firmware: key.firmware.to_string(),
            name: credential.name.clone(),
            state: ProvisioningState::Intended,
            replaces: credential.replaces,
            touch: credential.touch,
            counts: credential.profile.moving == OtpKind::Hotp,
            challenge,
            responses: known_answers(credential, &challenge)?,
            created: context.now.wall_ms,
            proved: None,
        };
        let (access, key, spare_of) = (access.clone(), key.clone(), order.spare_of);
        let serial = key.serial;
        self.device_change(context, move |tx, context| {
            access.must_be_fresh(tx, context)?;
            tx.user(access.user.id)?.ok_or(Error::NotFound)?;
            first_of_pair(tx, context, access.user.id, spare_of, &key)?;
            let firmware = key.firmware.to_string();
            tx.note_device(key.serial, &key.device_id, &firmware, key.model, context.now.wall_ms)?;
            Ok(tx.intend(&row)?)
        })?;
        self.hardware_keys.became_known(serial);
        Ok(())
    }

    /// Writes the account to the key and lets the key prove that it can answer for it. An account that requires touch
    /// is proved without it and then written again with it: the proof must not need a person, and the first code does.
    fn program(
        &self,
        context: &RequestContext,
        applet: &mut Applet<'_, '_>,
        credential: &Credential,
    ) -> Result<(), Error> {
        let mut account = NewAccount {
            name: &credential.name,
            profile: &credential.profile,
            seed: &credential.seed,
            touch: false,
            counter: 0,
        };
        applet.put(&account)?;
        if credential.replaces {
            // The account that had this name before is gone, so from now on the name alone identifies the new one.
            let id = credential.id;
            self.device_change(context, move |tx, _| Ok(tx.overwritten(id)?))?;
        }
        for proof in 0..PROOFS {
            let challenge = match credential.profile.moving {
                OtpKind::Totp(_) => entropy::public::<8>()?,
                // A HOTP account uses its own counter, whatever challenge it is sent.
                OtpKind::Hotp => u64::from(proof).to_be_bytes(),
            };
            let answer = applet.calculate(&credential.name, &challenge)?;
            let expected = hmac_of(credential.seed.expose(), credential.profile.algorithm, &challenge);
            let is_right = expected.is_some_and(|hmac| mfad_store::same_tag(hmac.expose(), answer.expose()));
            if !is_right {
                return Err(Error::DeviceFailed("the key did not store what it was given".to_owned()));
            }
        }
        if credential.touch {
            account.touch = true;
            // The second write must not set the counter back: the proofs used up 0 and 1 on both sides.
            account.counter = if credential.profile.moving == OtpKind::Hotp { PROOFS } else { 0 };
            applet.put(&account)?;
        }
        // CALCULATE ALL proves that the second write took effect, without a touch and without moving a counter.
        let shown = applet.shown()?.into_iter().find(|(name, _)| *name == credential.name).map(|(_, shown)| shown);
        let wanted = match (credential.profile.moving, credential.touch) {
            (OtpKind::Hotp, _) => AccountKind::Hotp,
            (OtpKind::Totp(_), true) => AccountKind::Touch,
            (OtpKind::Totp(_), false) => AccountKind::Code,
        };
        if shown == Some(wanted) {
            Ok(())
        } else {
            Err(Error::DeviceFailed("the key does not show the account as it was written".to_owned()))
        }
    }

    /// Marks the account as programmed and inserts the pending factor, in one transaction.
    fn become_pending(
        &self,
        context: &RequestContext,
        access: &UserAccess,
        order: &ProvisionOrder,
        key: &KeyIdentity,
        credential: &Credential,
    ) -> Result<SecretView, Error> {
        let now = context.now.wall_ms;
        let counter = if credential.profile.moving == OtpKind::Hotp { PROOFS } else { 0 };
        let new = NewSecret {
            id: credential.id,
            user: access.user.id,
            kind: SecretType::Mfa,
            // A placeholder; the free name is chosen inside the transaction.
            name: mfad_core::model::Label::parse("key").map_err(|cause| Error::Internal(cause.to_owned()))?,
            created: now,
            expires: Some(later(now, PENDING_LIFETIME)),
            profile: Some(credential.profile),
            is_guarded: false,
            first_counter: u64::from(counter),
            spare_of: order.spare_of,
            value: Sensitive::new(credential.seed.expose().clone()),
        };
        let (access, key, wanted) = (access.clone(), key.clone(), order.name.clone());
        self.device_change(context, move |tx, context| {
            let user = access.user.id;
            access.must_be_fresh(tx, context)?;
            first_of_pair(tx, context, user, new.spare_of, &key)?;
            // A new factor replaces an older pending one, but a spare must leave the first key of its pair.
            if new.spare_of.is_none() {
                tx.end_pending(user, SecretType::Mfa, now)?;
            }
            let new = NewSecret { name: free_name(tx, user, wanted, "key")?, ..new };
            insert(tx, &new)?;
            if !tx.programmed(new.id, now)? {
                return Err(Error::Internal("a journal row vanished".to_owned()).into());
            }
            let what = format!("key {}, {}", key.serial, new.profile.map(|p| p.binding()).unwrap_or_default());
            let detail = access.reason().map_or(what.clone(), |reason| format!("{what}: {reason}"));
            tx.audit(&context.entry_with(AuditEvent::DeviceProgram, Outcome::Ok, Some(user), Some(new.id), detail))?;
            view_in(tx, user, new.id)
        })
    }

    /// Reads the first code from the key, with the touch that it may require, and enrols the factor with it.
    fn confirm_by_key(
        &self,
        context: &RequestContext,
        access: &UserAccess,
        session: &mut CardSession<'_>,
        key: &KeyIdentity,
        credential: &Credential,
        order: &ProvisionOrder,
    ) -> Result<(SecretView, Vec<Sensitive<String>>), Error> {
        let mut applet = Applet::select(session)?;
        let known = self.device_row(key.serial)?;
        self.unlock(known.as_ref(), &mut applet, order.password.as_ref())?;
        let token = first_code(&mut applet, context, &credential.name, &credential.profile)?;
        match self.enroll(context, access, SecretRef::Id(credential.id), token)? {
            Reply::Enrolled { secret, codes } => Ok((secret, codes)),
            _ => Err(Error::Internal("an enrolment with another answer".to_owned())),
        }
    }

    /// Rolls back what was begun: the factor, if there is one, and the account, if the key is still there. The
    /// provisioning journal keeps what cannot be rolled back now.
    ///
    /// A factor that became active in the meantime is returned instead: while a spare waits for its touch, the first
    /// key can be confirmed, which activates both.
    #[expect(clippy::too_many_arguments, reason = "everything that was begun has to be undone")]
    fn give_up(
        &self,
        context: &RequestContext,
        session: &mut CardSession<'_>,
        key: &KeyIdentity,
        access: &UserAccess,
        credential: &Credential,
        order: &ProvisionOrder,
        error: Error,
    ) -> Result<SecretView, Error> {
        let (user, id, entry) = (access.user.id, credential.id, {
            let detail = format!("key {}, account {}: {error}", key.serial, credential.name);
            context.entry_with(
                AuditEvent::DeviceProgram,
                Outcome::Refused,
                Some(access.user.id),
                Some(credential.id),
                detail,
            )
        });
        let dropped = self.device_change(context, move |tx, _| {
            if let Some(row) = tx.secret(user, id)?.filter(|row| row.status == Status::Active) {
                return Ok(Some(view_with_device(tx, &row)?));
            }
            drop_factor(tx, user, id)?;
            tx.audit(&entry)?;
            Ok(None)
        });
        match dropped {
            Ok(Some(active)) => return Ok(active),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "could not roll back a failed factor; it is left to the journal"),
        }
        // A key that is gone or hangs is not asked again; the next contact continues.
        let is_gone = matches!(error, Error::DeviceRemoved | Error::NoPcscd | Error::DeviceChanged);
        if !is_gone && let Err(left) = self.clean_up(context, session, key, order) {
            tracing::warn!(error = %left, serial = %key.serial, "could not remove an account; the next contact will");
        }
        Err(error)
    }

    fn clean_up(
        &self,
        context: &RequestContext,
        session: &mut CardSession<'_>,
        key: &KeyIdentity,
        order: &ProvisionOrder,
    ) -> Result<(), Error> {
        let mut applet = Applet::select(session)?;
        let known = self.device_row(key.serial)?;
        self.unlock(known.as_ref(), &mut applet, order.password.as_ref())?;
        self.settle(context, key.serial, &mut applet)
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

/// Reads a code from the key: for the current time step (TOTP), or for its next counter (HOTP).
pub(super) fn first_code(
    applet: &mut Applet<'_, '_>,
    context: &RequestContext,
    name: &AccountName,
    profile: &Profile,
) -> Result<TokenInput, Error> {
    let step = match profile.moving {
        OtpKind::Totp(period) => step_at(context.now.unix_seconds(), period),
        OtpKind::Hotp => 0,
    };
    let code = applet.code(name, &step.to_be_bytes(), profile.digits)?;
    TokenInput::from_number(u64::from(code)).ok_or_else(|| Error::DeviceFailed("a code that is too long".to_owned()))
}

/// Deletes a factor, and if it was active ends everything that it opened.
pub(super) fn drop_factor(tx: &Tx<'_>, user: UserId, id: SecretId) -> Result<Option<SecretRow>, Stop> {
    let Some(row) = tx.secret(user, id)? else { return Ok(None) };
    tx.delete_secret(id)?;
    if row.status == Status::Active {
        end_what_it_opened(tx, user, row.kind)?;
    }
    Ok(Some(row))
}

/// Checks the first key of a pair: it must be pending, on another key than the spare, and without a spare so far.
fn first_of_pair(
    tx: &Tx<'_>,
    context: &RequestContext,
    user: UserId,
    spare_of: Option<SecretId>,
    key: &KeyIdentity,
) -> Result<(), Stop> {
    let Some(first) = spare_of else { return Ok(()) };
    let row = tx.secret(user, first)?.ok_or(Error::NotFound)?;
    let on = tx.oath_account(first)?.ok_or(Error::NotFound)?;
    match row.status {
        Status::Pending if row.is_pending_at(context.now.wall_ms) => {}
        Status::Pending | Status::Ended => return Err(Error::Expired.into()),
        Status::Active => return Err(Error::AlreadyActive.into()),
    }
    if on.serial == key.serial {
        let same = "a spare must be on another key than the first one; plug in another key";
        return Err(Error::Unsupported(same.to_owned()).into());
    }
    if tx.pending_factors(user, context.now.wall_ms)?.len() > 1 {
        return Err(Error::TooManySecrets.into());
    }
    Ok(())
}

/// Returns the SHA-256 digests of the answers that identify the account later. The journal must not hold the seed.
fn known_answers(credential: &Credential, challenge: &[u8; 8]) -> Result<Vec<u8>, Error> {
    let messages: Vec<[u8; 8]> = match credential.profile.moving {
        OtpKind::Totp(_) => vec![*challenge],
        OtpKind::Hotp => (0..KNOWN_COUNTERS).map(u64::to_be_bytes).collect(),
    };
    let mut digests = Vec::new();
    for message in messages {
        let hmac = hmac_of(credential.seed.expose(), credential.profile.algorithm, &message)
            .ok_or_else(|| Error::Internal("no HMAC".to_owned()))?;
        digests.extend_from_slice(&Sha256::digest(hmac.expose()));
    }
    Ok(digests)
}

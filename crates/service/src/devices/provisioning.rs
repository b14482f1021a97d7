//! The steps of provisioning, in order: record the intent, write and prove the account, insert the pending factor,
//! confirm it by the key. Each may fail; [`Provisioning::give_up`] then rolls back the steps before it.

use sha2::{Digest, Sha256};

use mfad_api::AuditEvent;
use mfad_core::entropy;
use mfad_core::model::{AccountName, OtpKind, Profile, SecretId, Sensitive, TokenInput, UserId};
use mfad_core::oath::{hmac_of, step_at};
use mfad_hardware::card::CardSession;
use mfad_hardware::oath::{AccountKind, Answers, Applet, Dialect, NewAccount, Touch};
use mfad_store::{NewSecret, OathAccount, Outcome, ProvisioningState, SecretRow, SecretType, Status, Tx};

use super::super::authorise::UserAccess;
use super::super::secrets::{PENDING_LIFETIME, end_what_it_opened, free_name, insert, view_in, view_with_device};
use super::super::tokens::later;
use super::super::{Reply, RequestContext, SecretRef, SecretView, Service, SessionAfter, Stop};
use super::session::KeyIdentity;
use super::types::{Attention, ProvisionOrder};
use crate::error::Error;

/// Counters whose answers are recorded, to recognise a HOTP account that was left unfinished.
const KNOWN_COUNTERS: u64 = 8;

/// The account to be written to the key.
pub(super) struct Credential {
    pub(super) id: SecretId,
    pub(super) name: AccountName,
    pub(super) profile: Profile,
    pub(super) seed: Sensitive<Vec<u8>>,
    pub(super) touch: bool,
    pub(super) replaces: bool,
}

/// The provisioning of one account onto one key, for one user.
pub(super) struct Provisioning<'a> {
    pub(super) service: &'a Service,
    pub(super) context: &'a RequestContext,
    pub(super) access: &'a UserAccess,
    pub(super) order: &'a ProvisionOrder,
    pub(super) key: &'a KeyIdentity,
    pub(super) credential: Credential,
}

impl Provisioning<'_> {
    /// Records in the store what is about to be done to the key (provisioning journal).
    pub(super) fn intend(&self) -> Result<(), Error> {
        let challenge = entropy::public::<8>()?;
        let row = OathAccount {
            id: self.credential.id,
            user: self.access.user.id,
            key: self.key.id,
            device_id: self.key.device_id.clone(),
            firmware: self.key.firmware.to_string(),
            name: self.credential.name.clone(),
            state: ProvisioningState::Intended,
            replaces: self.credential.replaces,
            touch: self.credential.touch,
            counts: self.credential.profile.moving == OtpKind::Hotp,
            challenge,
            responses: known_answers(&self.credential, self.key.dialect, &challenge)?,
            created: self.context.now.wall_ms,
            proved: None,
        };
        let (access, key, spare_of) = (self.access.clone(), self.key.clone(), self.order.spare_of);
        self.service.device_change(self.context, move |tx, context| {
            access.must_be_fresh(tx, context)?;
            tx.user(access.user.id)?.ok_or(Error::NotFound)?;
            first_of_pair(tx, context, access.user.id, spare_of, &key)?;
            let firmware = key.firmware.to_string();
            tx.note_device(key.id, &key.device_id, &firmware, key.model, context.now.wall_ms)?;
            Ok(tx.intend(&row)?)
        })?;
        self.service.hardware_keys.became_known(self.key.id);
        Ok(())
    }

    /// Number of challenges that prove the account. They use up as many counters of a HOTP account, on both sides.
    pub(super) fn proofs(&self) -> u32 {
        self.key.dialect.proofs(self.credential.touch)
    }

    /// The counter of the code that a HOTP account gives first after the proofs.
    pub(super) fn first_counter(&self) -> u32 {
        match self.credential.profile.moving {
            OtpKind::Totp(_) => 0,
            OtpKind::Hotp => self.key.dialect.counters_ahead().saturating_add(self.proofs()),
        }
    }

    /// Whether the account requires a touch from the first write on. So it is on a key that wants a touch for every
    /// change: there a second write would need two more.
    fn is_written_with_touch(&self) -> bool {
        self.credential.touch && self.key.dialect.changes_need_touch()
    }

    /// Writes the account to the key and lets the key prove that it can answer for it. An account that requires touch
    /// is proved without it and then written again with it: the proof must not need a person, and the first code does.
    pub(super) fn program(&self, applet: &mut Applet<'_, '_>) -> Result<(), Error> {
        let mut account = NewAccount {
            name: &self.credential.name,
            profile: &self.credential.profile,
            seed: &self.credential.seed,
            touch: self.is_written_with_touch(),
            counter: 0,
        };
        if self.credential.replaces {
            applet.remove(account.name)?;
            // The account that had this name before is gone, so from now on the name alone identifies the new one.
            let id = self.credential.id;
            self.service.device_change(self.context, move |tx, _| Ok(tx.overwritten(id)?))?;
        }
        applet.put(&account)?;
        let touch = if account.touch { Touch::ToBeProved } else { Touch::NotNeeded };
        for proof in 0..self.proofs() {
            let challenge = match self.credential.profile.moving {
                OtpKind::Totp(_) => entropy::public::<8>()?,
                // A HOTP account uses its own counter, whatever challenge it is sent.
                OtpKind::Hotp => u64::from(self.key.dialect.counters_ahead().saturating_add(proof)).to_be_bytes(),
            };
            let answer = applet.calculate(&self.credential.name, &challenge, touch)?;
            let hmac = hmac_of(self.credential.seed.expose(), self.credential.profile.algorithm, &challenge);
            let expected = self.key.dialect.answers().of(&hmac);
            let is_right = mfad_store::same_tag(expected.expose(), answer.expose());
            if !is_right {
                return Err(Error::DeviceFailed("the key did not store what it was given".to_owned()));
            }
        }
        if self.credential.touch && !account.touch {
            account.touch = true;
            // The second write must not set the counter back: the proofs used up the first ones on both sides.
            account.counter = if self.credential.profile.moving == OtpKind::Hotp { self.proofs() } else { 0 };
            // No applet is trusted to write over an account in one step.
            applet.remove(account.name)?;
            applet.put(&account)?;
        }
        // This proves that the second write took effect, without a touch and without moving a counter.
        let shown = applet.shown()?.into_iter().find(|(name, _)| *name == self.credential.name).map(|(_, shown)| shown);
        let wanted = match (self.credential.profile.moving, self.credential.touch) {
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
    pub(super) fn become_pending(&self) -> Result<SecretView, Error> {
        let now = self.context.now.wall_ms;
        let new = NewSecret {
            id: self.credential.id,
            user: self.access.user.id,
            kind: SecretType::Mfa,
            // A placeholder; the free name is chosen inside the transaction.
            name: mfad_core::model::Label::parse("key").map_err(|cause| Error::Internal(cause.to_owned()))?,
            created: now,
            expires: Some(later(now, PENDING_LIFETIME)),
            profile: Some(self.credential.profile),
            is_guarded: false,
            is_unproved: false,
            first_counter: u64::from(self.first_counter()),
            ahead: 0,
            spare_of: self.order.spare_of,
            value: Sensitive::new(self.credential.seed.expose().clone()),
        };
        let (access, key, wanted) = (self.access.clone(), self.key.clone(), self.order.name.clone());
        self.service.device_change(self.context, move |tx, context| {
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
            let what = format!("key {}, {}", key.id, new.profile.map(|p| p.binding()).unwrap_or_default());
            let detail = access.reason().map_or(what.clone(), |reason| format!("{what}: {reason}"));
            tx.audit(&context.entry_with(AuditEvent::DeviceProgram, Outcome::Ok, Some(user), Some(new.id), detail))?;
            view_in(tx, user, new.id)
        })
    }

    /// Reads the first code from the key, with the touch that it may require, and enrols the factor with it.
    pub(super) fn confirm(&self, session: &mut CardSession<'_>) -> Result<(SecretView, Vec<Sensitive<String>>), Error> {
        let mut applet = Applet::select(session, self.key.dialect)?;
        let known = self.service.device_row(self.key.id)?;
        self.service.unlock(known.as_ref(), &mut applet, self.order.password.as_ref())?;
        let touch = if self.credential.touch { Touch::ToBeProved } else { Touch::NotNeeded };
        let token = first_code(&mut applet, self.context, &self.credential.name, &self.credential.profile, touch)?;
        match self.service.enroll(
            self.context,
            self.access,
            SecretRef::Id(self.credential.id),
            token,
            SessionAfter::Ended,
        )? {
            Reply::Enrolled { secret, codes, session: _ } => Ok((secret, codes)),
            _ => Err(Error::Internal("an enrolment with another answer".to_owned())),
        }
    }

    /// Rolls back what was begun: the factor, if there is one, and the account, if the key is still there. The
    /// provisioning journal keeps what cannot be rolled back now.
    ///
    /// A factor that became active in the meantime is returned instead: while a spare waits for its touch, the first
    /// key can be confirmed, which activates both.
    pub(super) fn give_up(&self, session: &mut CardSession<'_>, error: Error) -> Result<SecretView, Error> {
        let (user, id) = (self.access.user.id, self.credential.id);
        let detail = format!("key {}, account {}: {error}", self.key.id, self.credential.name);
        let entry = self.context.entry_with(AuditEvent::DeviceProgram, Outcome::Refused, Some(user), Some(id), detail);
        let dropped = self.service.device_change(self.context, move |tx, _| {
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
        let is_gone = matches!(error, Error::DeviceRemoved | Error::DeviceHung | Error::NoPcscd | Error::DeviceChanged);
        if !is_gone && let Err(left) = self.clean_up(session) {
            tracing::warn!(error = %left, key = %self.key.id, "could not remove an account; the next contact will");
        }
        Err(error)
    }

    fn clean_up(&self, session: &mut CardSession<'_>) -> Result<(), Error> {
        let mut applet = Applet::select(session, self.key.dialect)?;
        let known = self.service.device_row(self.key.id)?;
        self.service.unlock(known.as_ref(), &mut applet, self.order.password.as_ref())?;
        self.service.settle(self.context, self.key.id, &mut applet, Attention::Unattended).map(drop)
    }
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
    if on.key == key.id {
        let same = "a spare must be on another key than the first one; plug in another key";
        return Err(Error::Unsupported(same.to_owned()).into());
    }
    if tx.pending_factors(user, context.now.wall_ms)?.len() > 1 {
        return Err(Error::TooManySecrets.into());
    }
    Ok(())
}

/// Returns the SHA-256 digests of the answers that identify the account later. The journal must not hold the seed.
fn known_answers(credential: &Credential, dialect: &dyn Dialect, challenge: &[u8; 8]) -> Result<Vec<u8>, Error> {
    let first = u64::from(dialect.counters_ahead());
    let count = match dialect.answers() {
        Answers::Whole => KNOWN_COUNTERS,
        // Few enough to be found by trying. So only those are recorded that the proofs use up.
        Answers::Truncated => u64::from(dialect.proofs(false)),
    };
    let messages: Vec<[u8; 8]> = match credential.profile.moving {
        OtpKind::Totp(_) => vec![*challenge],
        OtpKind::Hotp => (first..first.saturating_add(count)).map(u64::to_be_bytes).collect(),
    };
    let mut digests = Vec::new();
    for message in messages {
        let hmac = hmac_of(credential.seed.expose(), credential.profile.algorithm, &message);
        digests.extend_from_slice(&Sha256::digest(dialect.answers().of(&hmac).expose()));
    }
    Ok(digests)
}

/// Reads a code from the key: for the current time step (TOTP), or for its next counter (HOTP).
pub(super) fn first_code(
    applet: &mut Applet<'_, '_>,
    context: &RequestContext,
    name: &AccountName,
    profile: &Profile,
    touch: Touch,
) -> Result<TokenInput, Error> {
    let step = match profile.moving {
        OtpKind::Totp(period) => step_at(context.now.unix_seconds(), period),
        OtpKind::Hotp => 0,
    };
    let code = applet.code(name, &step.to_be_bytes(), profile.digits, touch)?;
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

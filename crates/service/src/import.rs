//! Imports of factors that were proved elsewhere. They are active at once, and what was used there is used up here.

use std::collections::BTreeSet;

use crate::error::Error;
use mfad_api::AuditEvent;
use mfad_core::entropy;
use mfad_core::model::{Label, Method, OtpKind, Profile, Right, SecretId, Sensitive, UserId, UserName};
use mfad_core::oath::{OtpauthUri, step_at};
use mfad_store::{AuditEntry, NewSecret, NewUser, Outcome, SecretRow, SecretType, Status, Tx, UserRow, View, same_tag};

use super::enroll::{NewFactor, begin_factor, record_factor};
use super::host_logins::is_named;
use super::imported_factors::prove;
use super::jobs::Stop;
use super::secrets::{free_name, has_room};
use super::{Reply, RequestContext, Service};

/// How far in the future a used step may lie, in steps: the clock of the other host may have been ahead.
const MOST_STEPS_AHEAD: u64 = 2;

/// A factor of another program to be imported.
pub struct ImportOrder {
    /// Name of the secret; `None` for a default one.
    pub name: Option<Label>,
    /// Parameters and seed, as authenticator apps read them from a QR code.
    pub uri: OtpauthUri,
}

/// Factors of other programs, to be taken over in one transaction.
pub struct ImportJob {
    /// Whether users that do not exist are created, without a password.
    pub creates_users: bool,
    /// Whether the users have proved the factors elsewhere. If not, each proves itself with its first code here.
    pub is_trusted: bool,
    /// The factors with the names of their users. Each is taken over or refused by itself.
    pub factors: Vec<(UserName, ImportedFactor)>,
}

/// A factor that another program had.
pub struct ImportedFactor {
    /// Name of the secret; `None` for a default one.
    pub name: Option<Label>,
    /// Algorithm, digits, and period or counter.
    pub profile: Profile,
    /// The seed.
    pub seed: Sensitive<Vec<u8>>,
    /// The first counter (HOTP) or step (TOTP) whose code counts; all before it are used up.
    pub first: u64,
    /// HOTP: by how many `first` may be ahead of the token, up to 100. Until a code is accepted here, two consecutive
    /// codes from there on set the counter back.
    pub ahead: u8,
}

/// What became of one factor of an import.
#[derive(Debug)]
pub enum Imported {
    /// It is active now.
    Taken {
        /// The user.
        user: UserId,
        /// The new secret.
        secret: SecretId,
    },
    /// The user has an active factor with the same seed and parameters already. Nothing was changed.
    Known {
        /// The user.
        user: UserId,
        /// The secret that was there.
        secret: SecretId,
    },
    /// Nothing was changed, for this reason.
    Refused(Error),
}

impl Service {
    /// Takes over factors that were proved elsewhere, all in one transaction. Each is recorded in the audit log with the
    /// reason of the request. A factor that the user has already changes nothing, so a job can be sent again.
    pub(super) fn import_factors(&self, context: &RequestContext, job: ImportJob) -> Result<Reply, Error> {
        let is_trusted = job.is_trusted;
        let own = self.importer(context)?;
        let results = self.change(context, move |tx, context| {
            let mut checked = BTreeSet::new();
            let rules = Rules { creates_users: job.creates_users, is_trusted: job.is_trusted, own };
            let mut one = |(user, factor)| import(tx, context, rules, (user, factor), &mut checked);
            job.factors.into_iter().map(&mut one).collect()
        })?;
        let results: Vec<Imported> = results;
        // The others are counted with their first code.
        for _ in results.iter().filter(|result| is_trusted && matches!(result, Imported::Taken { .. })) {
            self.metrics.count_enrolment();
        }
        Ok(Reply::Imported(results))
    }
}

/// What holds for all factors of a job.
#[derive(Clone, Copy)]
struct Rules {
    creates_users: bool,
    is_trusted: bool,
    /// The user who imports, if a token is used.
    own: Option<UserId>,
}

/// Takes over one factor. `checked` has the users whose summary was compared in this job. Everything is checked before the
/// first write, so a refusal leaves nothing behind.
fn import(
    tx: &Tx<'_>,
    context: &RequestContext,
    rules: Rules,
    (name, factor): (UserName, ImportedFactor),
    checked: &mut BTreeSet<UserId>,
) -> Result<Imported, Stop> {
    let mut factor = factor;
    let used = factor.first.checked_sub(1);
    if let Err(refusal) = used_in_the_future(context, &factor) {
        return Ok(Imported::Refused(refusal));
    }
    if let OtpKind::Totp(period) = factor.profile.moving {
        let present = step_at(context.now.unix_seconds(), period);
        // The present code may have been used there a moment ago, and few programs write that down.
        factor.first = factor.first.max(present.saturating_add(1));
    }
    let found = tx.user_by_login(name.key())?;
    if found.as_ref().is_some_and(|row| !is_named(row, &name)) {
        // Another user has this name for an e-mail address.
        return Ok(Imported::Refused(Error::NameTaken));
    }
    if let Some(user) = &found {
        // The new summary must not confirm rows that another program forged. It is written at the end, so that after a
        // first factor of this job the old one fits no more.
        if checked.insert(user.id) {
            tx.check_summary(user.id)?;
        }
        if rules.own == Some(user.id) {
            // An administrator is an ordinary user on the own account (AZ-4).
            return Ok(Imported::Refused(Error::Forbidden(Right::Admin.name())));
        }
        if let Some(row) = known(tx, user, &factor)? {
            let is_proved_now = renew(tx, context, &row, &factor, (used, rules.is_trusted))?;
            let (user, secret) = (user.id, row.id);
            return Ok(if is_proved_now { Imported::Taken { user, secret } } else { Imported::Known { user, secret } });
        }
        if let Err(refusal) = has_room(tx, user.id, factor.name.as_ref())? {
            return Ok(Imported::Refused(refusal));
        }
    }
    let (user, is_new) = match found {
        Some(user) => (user.id, false),
        None if rules.creates_users => {
            let user = create(tx, context, name)?;
            checked.insert(user);
            (user, true)
        }
        None => return Ok(Imported::Refused(Error::NotFound)),
    };
    let secret = insert(tx, context, rules, (user, is_new), factor)?;
    Ok(Imported::Taken { user, secret })
}

/// The active factor of the user with this seed and these parameters.
pub(super) fn known(view: &View<'_>, user: &UserRow, factor: &ImportedFactor) -> Result<Option<SecretRow>, Stop> {
    for row in view.secrets(user.id)? {
        let is_same_kind = row.kind == SecretType::Mfa && row.profile == Some(factor.profile);
        if is_same_kind && row.status == Status::Active {
            let seed = view.open_secret(&row)?;
            if same_tag(seed.expose(), factor.seed.expose()) {
                return Ok(Some(row));
            }
        }
    }
    Ok(None)
}

/// Updates a known factor from a newer file. Codes up to `used` are used up, and an unproved factor is proved if the file
/// says `is_proved`. Counters and steps never go back. Returns whether the factor was proved by this.
pub(super) fn renew(
    tx: &Tx<'_>,
    context: &RequestContext,
    row: &SecretRow,
    imported: &ImportedFactor,
    (used, is_proved): (Option<u64>, bool),
) -> Result<bool, Stop> {
    if let Some(used) = used
        && tx.use_up_elsewhere(row, used, imported.ahead, context.now.wall_ms)?
    {
        let (event, detail) = (AuditEvent::FactorImport, "codes that were used elsewhere meanwhile");
        let entry = context.entry_with(event, Outcome::Ok, Some(row.user), Some(row.id), detail);
        tx.audit(&AuditEntry { used: Some(used), ..entry })?;
    }
    let is_proved_now = row.is_unproved && is_proved;
    if is_proved_now {
        let how = format!("elsewhere: {}", context.reason().unwrap_or_default());
        prove(tx, context, row.user, row.id, &how)?;
        // Older tokens were issued without this factor, so they end (ENR-9).
        tx.bump_epoch(row.user)?;
    }
    Ok(is_proved_now)
}

/// Refuses a factor whose used step lies in the future, since the clock of one of the hosts is wrong.
pub(super) fn used_in_the_future(context: &RequestContext, factor: &ImportedFactor) -> Result<(), Error> {
    let OtpKind::Totp(period) = factor.profile.moving else { return Ok(()) };
    let present = step_at(context.now.unix_seconds(), period);
    if factor.first <= present.saturating_add(MOST_STEPS_AHEAD) {
        return Ok(());
    }
    Err(Error::Malformed("its used step lies in the future; compare the clocks of both hosts".to_owned()))
}

fn create(tx: &Tx<'_>, context: &RequestContext, name: UserName) -> Result<UserId, Stop> {
    let created = context.now.wall_ms;
    let id = UserId::at(created, &entropy::public().map_err(Error::from)?);
    tx.insert_user(&NewUser { id, name, display_name: None, email: None, created })?.map_err(|_| Error::NameTaken)?;
    tx.audit(&context.entry_with(AuditEvent::UserCreate, Outcome::Ok, Some(id), None, "for an import"))?;
    Ok(id)
}

fn insert(
    tx: &Tx<'_>,
    context: &RequestContext,
    rules: Rules,
    (user, is_new): (UserId, bool),
    factor: ImportedFactor,
) -> Result<SecretId, Stop> {
    let (profile, first) = (factor.profile, factor.first);
    let new = NewSecret {
        id: context.new_secret_id()?,
        user,
        kind: SecretType::Mfa,
        name: free_name(tx, user, factor.name, "authenticator")?,
        created: context.now.wall_ms,
        expires: None,
        profile: Some(profile),
        is_guarded: false,
        is_unproved: !rules.is_trusted,
        first_counter: first,
        ahead: factor.ahead,
        spare_of: None,
        value: factor.seed,
    };
    if !tx.insert_secret(&new)? {
        return Err(Error::SecretNameTaken.into());
    }
    let reason = context.reason().unwrap_or_default();
    let (event, proof) = if rules.is_trusted {
        (AuditEvent::FactorEnroll, "proved elsewhere")
    } else {
        (AuditEvent::FactorImport, "to be proved by a first code")
    };
    let detail = format!("imported {}, {proof}: {reason}", profile.binding());
    let factor = NewFactor { id: new.id, method: Method::Totp, used: first.checked_sub(1) };
    if is_new {
        record_factor(tx, context, user, &factor, event, Some(detail))?;
    } else {
        begin_factor(tx, context, user, &factor, event, Some(detail))?;
    }
    Ok(new.id)
}

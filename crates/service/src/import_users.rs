//! Imports of whole users from the export of another daemon: password, backup codes, and factors exactly as they were.

use std::collections::BTreeSet;

use mfad_api::AuditEvent;
use mfad_core::entropy;
use mfad_core::model::{CODES_PER_SET, Email, Label, Method, Right, Sensitive, Text, UserId, UserName};
use mfad_store::{NewSecret, NewUser, Outcome, SecretType, Tx, UserRow, same_tag};

use super::enroll::{NewFactor, begin_factor};
use super::hasher::{is_codes_record, is_password_record};
use super::host_logins::user_of;
use super::import::{ImportedFactor, known, renew, used_in_the_future};
use super::jobs::Stop;
use super::secrets::{MOST_SECRETS, free_name};
use super::{Reply, RequestContext, Service};
use crate::error::Error;

/// The name of an imported password, if no export names it.
const PASSWORD_NAME: &str = "password";
const CODES_NAME: &str = "backup codes";

/// A user of another daemon.
pub struct ImportedUser {
    /// The login name.
    pub name: UserName,
    /// The name to show.
    pub display_name: Option<Text>,
    /// The e-mail address.
    pub email: Option<Email>,
    /// The roles.
    pub roles: Vec<String>,
    /// Whether the user is disabled.
    pub disabled: bool,
    /// The hash record of the password.
    pub password: Option<Sensitive<Vec<u8>>>,
    /// The hash record of the backup codes, and the used ones as one bit for each place.
    pub codes: Option<(Sensitive<Vec<u8>>, u32)>,
    /// The factors, with what else belongs to them.
    pub factors: Vec<MovedFactor>,
}

/// A factor of another daemon.
pub struct MovedFactor {
    /// Name, parameters, seed, and the first counter or step that counts.
    pub factor: ImportedFactor,
    /// The description.
    pub description: Option<Text>,
    /// Whether its user had not given a code of it there.
    pub is_unproved: bool,
}

/// What became of a user of an import.
#[derive(Debug)]
pub enum ImportedUserResult {
    /// The user was created.
    Created(UserId),
    /// The user was there. Factors that were missing were added; all else was left as it is.
    Completed(UserId, usize),
    /// The user was there with all the factors. Nothing was changed.
    Known(UserId),
    /// Nothing was changed, for this reason.
    Refused(Error),
}

impl Service {
    /// Takes over users of another daemon, all in one transaction. A user who is there keeps names, password and codes, and
    /// gets the factors that are missing, so a job can be sent again.
    pub(super) fn import_users(&self, context: &RequestContext, users: Vec<ImportedUser>) -> Result<Reply, Error> {
        let own = self.importer(context)?;
        let results: Vec<ImportedUserResult> = self.change(context, move |tx, context| {
            let mut checked = BTreeSet::new();
            users.into_iter().map(|user| import(tx, context, user, own, &mut checked)).collect()
        })?;
        Ok(Reply::ImportedUsers(results))
    }
}

/// Takes over one user. `checked` has the users whose summary was compared, or who were made, in this job.
fn import(
    tx: &Tx<'_>,
    context: &RequestContext,
    user: ImportedUser,
    own: Option<UserId>,
    checked: &mut BTreeSet<UserId>,
) -> Result<ImportedUserResult, Stop> {
    let refused = |error| Ok(ImportedUserResult::Refused(error));
    if user.password.as_ref().is_some_and(|record| !is_password_record(record)) {
        return refused(Error::Malformed(
            "`password` is no hash record of a password that this daemon accepts".to_owned(),
        ));
    }
    if user.codes.as_ref().is_some_and(|(record, used)| !is_codes_record(record) || used >> CODES_PER_SET != 0) {
        return refused(Error::Malformed("`backupCodes` is no set that this daemon accepts".to_owned()));
    }
    if let Err(refusal) = user.factors.iter().try_for_each(|moved| used_in_the_future(context, &moved.factor)) {
        return refused(refusal);
    }
    if let Some(found) = user_of(tx, &user.name)? {
        if own == Some(found.id) {
            // An administrator is an ordinary user on the own account (AZ-4).
            return refused(Error::Forbidden(Right::Admin.name()));
        }
        // The new summary must not confirm rows that another program forged.
        if checked.insert(found.id) {
            tx.check_summary(found.id)?;
        }
        return complete(tx, context, &found, user);
    }
    if tx.user_by_login(user.name.key())?.is_some() {
        return refused(Error::NameTaken);
    }
    if let Some(email) = &user.email
        && tx.user_by_login(email.key())?.is_some()
    {
        return refused(Error::EmailTaken);
    }
    let others = usize::from(user.password.is_some()).saturating_add(usize::from(user.codes.is_some()));
    if user.factors.len().saturating_add(others) > MOST_SECRETS {
        return refused(Error::TooManySecrets);
    }
    let id = create(tx, context, user)?;
    checked.insert(id);
    Ok(ImportedUserResult::Created(id))
}

/// Adds to a user who is there the factors that are missing, and uses up what was used elsewhere.
fn complete(
    tx: &Tx<'_>,
    context: &RequestContext,
    found: &UserRow,
    user: ImportedUser,
) -> Result<ImportedUserResult, Stop> {
    let (mut missing, mut proved) = (Vec::new(), 0_usize);
    for moved in user.factors {
        match known(tx, found, &moved.factor)? {
            Some(row) => {
                let news = (moved.factor.first.checked_sub(1), !moved.is_unproved);
                if renew(tx, context, &row, &moved.factor, news)? {
                    proved = proved.saturating_add(1);
                }
            }
            None => missing.push(moved),
        }
    }
    if missing.len().saturating_add(tx.secrets(found.id)?.len()) > MOST_SECRETS {
        return Ok(ImportedUserResult::Refused(Error::TooManySecrets));
    }
    if let Some((record, used)) = user.codes {
        use_codes_up(tx, context, found.id, &record, used)?;
    }
    let changed = missing.len().saturating_add(proved);
    for moved in missing {
        insert_factor(tx, context, found.id, moved)?;
    }
    Ok(match changed {
        0 => ImportedUserResult::Known(found.id),
        changed => ImportedUserResult::Completed(found.id, changed),
    })
}

/// Uses up the backup codes that were used elsewhere meanwhile, if the user has the same set.
fn use_codes_up(
    tx: &Tx<'_>,
    context: &RequestContext,
    user: UserId,
    record: &Sensitive<Vec<u8>>,
    used: u32,
) -> Result<(), Stop> {
    let Some((row, set)) = tx.backup_set(user)? else { return Ok(()) };
    if !same_tag(set.record.expose(), record.expose()) {
        return Ok(());
    }
    let mut count = 0_usize;
    for place in places(used) {
        if tx.consume_code(row.id, place, context.now.wall_ms)? {
            count = count.saturating_add(1);
        }
    }
    if count > 0 {
        let detail = format!("used elsewhere meanwhile: {count}");
        tx.audit(&context.entry_with(AuditEvent::CodeUse, Outcome::Ok, Some(user), Some(row.id), detail))?;
    }
    Ok(())
}

/// The places of the bits that are set.
fn places(used: u32) -> impl Iterator<Item = u8> {
    (0..CODES_PER_SET).filter(move |place| used >> place & 1 == 1)
}

fn create(tx: &Tx<'_>, context: &RequestContext, user: ImportedUser) -> Result<UserId, Stop> {
    let now = context.now.wall_ms;
    let id = UserId::at(now, &entropy::public().map_err(Error::from)?);
    let ImportedUser { name, display_name, email, roles, disabled, password, codes, factors } = user;
    tx.insert_user(&NewUser { id, name, display_name, email, created: now })?.map_err(|_| Error::NameTaken)?;
    tx.audit(&context.entry_with(AuditEvent::UserCreate, Outcome::Ok, Some(id), None, "for an import"))?;
    // Factors come first: they keep their names, and password and codes take others if need be.
    for moved in factors {
        insert_factor(tx, context, id, moved)?;
    }
    if let Some(record) = password {
        let secret = insert(tx, context, id, (SecretType::Password, PASSWORD_NAME), record)?;
        tx.audit(&context.entry(AuditEvent::PasswordCreate, Outcome::Ok, Some(id), Some(secret)))?;
    }
    if let Some((record, used)) = codes {
        let secret = insert(tx, context, id, (SecretType::Backup, CODES_NAME), record)?;
        for place in places(used) {
            tx.consume_code(secret, place, now)?;
        }
        tx.audit(&context.entry_with(AuditEvent::CodesRenew, Outcome::Ok, Some(id), None, "imported"))?;
    }
    if disabled || !roles.is_empty() {
        let state = if disabled { "disabled; " } else { "" };
        let detail = format!("{state}roles of an import: {}", roles.join(" "));
        let row = tx.user(id)?.ok_or(Error::NotFound)?;
        tx.update_user(&UserRow { roles, disabled, ..row }, now)?.map_err(|_| Error::NameTaken)?;
        tx.audit(&context.entry_with(AuditEvent::UserUpdate, Outcome::Ok, Some(id), None, detail))?;
    }
    Ok(id)
}

fn insert(
    tx: &Tx<'_>,
    context: &RequestContext,
    user: UserId,
    (kind, name): (SecretType, &str),
    value: Sensitive<Vec<u8>>,
) -> Result<mfad_core::model::SecretId, Stop> {
    let new = NewSecret {
        id: context.new_secret_id()?,
        user,
        kind,
        name: free_name(tx, user, None, name)?,
        created: context.now.wall_ms,
        expires: None,
        profile: None,
        is_guarded: false,
        is_unproved: false,
        first_counter: 0,
        ahead: 0,
        spare_of: None,
        value,
    };
    if tx.insert_secret(&new)? { Ok(new.id) } else { Err(Error::SecretNameTaken.into()) }
}

fn insert_factor(tx: &Tx<'_>, context: &RequestContext, user: UserId, moved: MovedFactor) -> Result<(), Stop> {
    let MovedFactor { factor, description, is_unproved } = moved;
    let profile = factor.profile;
    let is_free = |name: &Label| tx.is_name_free(user, name);
    let wanted = factor.name.as_ref().map(is_free).transpose()?.unwrap_or(false).then_some(factor.name).flatten();
    let new = NewSecret {
        id: context.new_secret_id()?,
        user,
        kind: SecretType::Mfa,
        name: free_name(tx, user, wanted, "authenticator")?,
        created: context.now.wall_ms,
        expires: None,
        profile: Some(profile),
        is_guarded: false,
        is_unproved,
        first_counter: factor.first,
        ahead: factor.ahead,
        spare_of: None,
        value: factor.seed,
    };
    if !tx.insert_secret(&new)? {
        return Err(Error::SecretNameTaken.into());
    }
    if let (Some(description), Some(row)) = (&description, tx.secret(user, new.id)?) {
        tx.relabel(&row, &new.name, Some(description.as_str()), context.now.wall_ms)?;
    }
    let event = if is_unproved { AuditEvent::FactorImport } else { AuditEvent::FactorEnroll };
    let reason = context.reason().unwrap_or_default();
    let detail = format!("imported {} from another daemon: {reason}", profile.binding());
    let begun = NewFactor { id: new.id, method: Method::Totp, used: factor.first.checked_sub(1) };
    begin_factor(tx, context, user, &begun, event, Some(detail))?;
    Ok(())
}

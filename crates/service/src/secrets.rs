//! Secrets of a user: create, list, show, rename and delete. A value is shown once, in the reply that creates it
//! (ENR-6). Enrolment, passwords and security keys have files of their own.

use std::time::Duration;

use data_encoding::BASE32_NOPAD;

use crate::error::Error;
use mfad_api::AuditEvent;
use mfad_core::entropy;
use mfad_core::model::{Label, Profile, SecretId, Sensitive, Text, UserId};
use mfad_core::oath::{OtpauthUri, otpauth_uri};
use mfad_store::{Fault, NewSecret, Outcome, ProvisioningState, SecretRow, SecretType, Status, Tx, View};

use super::authorise::UserAccess;
use super::devices::{credential_to_remove, proofs_of};
use super::tokens::{api_key, digest, later};
use super::{
    DeviceOfSecret, ImportOrder, MfaOrder, OnDevice, Reply, RequestContext, SecretChange, SecretRef, SecretView,
    Service, Stop,
};

/// How long a pending factor waits for its first code before it expires (ENR-2).
pub(super) const PENDING_LIFETIME: Duration = Duration::from_secs(15 * 60);
/// The longest otpauth URI, in bytes (docs/openapi.yaml). A URI of this length fits into a QR code: the largest one
/// holds 2,331 bytes (ISO/IEC 18004 table 7, version 40 with error correction M).
pub const LONGEST_URI: usize = 2048;
/// Random bytes in an API key.
const API_KEY_LENGTH: usize = 32;
/// Active and pending secrets that a user may have.
pub(super) const MOST_SECRETS: usize = 32;

impl Service {
    /// Creates a pending software factor, and returns its seed and otpauth URI this once. An older pending factor of
    /// the user ends; an active one is never touched (ENR-2).
    pub(super) fn create_factor(
        &self,
        context: &RequestContext,
        access: UserAccess,
        order: MfaOrder,
    ) -> Result<Reply, Error> {
        let profile = order.profile;
        let seed = entropy::secret_of_length(profile.algorithm.seed_length())?;
        let uri = self.uri_of(&order, &access, &seed)?;
        let base32 = Sensitive::new(BASE32_NOPAD.encode(seed.expose()));
        let secret = self.change(context, move |tx, context| {
            let user = access.user.id;
            let now = context.now.wall_ms;
            access.may_begin_factor(tx, context, now)?;
            tx.end_pending(user, SecretType::Mfa, now)?;
            insert_pending(
                tx,
                context,
                &access,
                order.name,
                &PendingFactor { profile, first_counter: 0, origin: "" },
                seed,
            )
        })?;
        Ok(Reply::FactorCreated { secret, uri, base32 })
    }

    /// Imports a factor of another program. It is pending like any other: only a code from its authenticator activates
    /// it (ENR-1). The reply does not repeat the seed.
    pub(super) fn import_factor(
        &self,
        context: &RequestContext,
        access: UserAccess,
        order: ImportOrder,
    ) -> Result<Reply, Error> {
        let secret = self.change(context, move |tx, context| {
            let (user, now) = (access.user.id, context.now.wall_ms);
            access.must_be_fresh(tx, context)?;
            tx.end_pending(user, SecretType::Mfa, now)?;
            let OtpauthUri { profile, seed, counter, .. } = order.uri;
            insert_pending(
                tx,
                context,
                &access,
                order.name,
                &PendingFactor { profile, first_counter: counter, origin: "imported " },
                seed,
            )
        })?;
        Ok(Reply::SecretCreated(secret))
    }

    fn uri_of(
        &self,
        order: &MfaOrder,
        access: &UserAccess,
        seed: &Sensitive<Vec<u8>>,
    ) -> Result<Sensitive<String>, Error> {
        let own = |text: &str| Text::parse_label_part(text).map_err(|cause| Error::Internal(cause.to_owned()));
        let issuer = order.issuer.clone().map_or_else(|| own(&self.policy().issuer), Ok)?;
        let account = order.account.clone().map_or_else(|| own(&access.user.name), Ok)?;
        let uri = otpauth_uri(&order.profile, seed.expose(), &issuer, &account);
        if uri.expose().len() > LONGEST_URI {
            return Err(Error::Malformed(format!(
                "the otpauth URI would have {} bytes, more than {LONGEST_URI}; send a shorter `issuer` or `account`",
                uri.expose().len()
            )));
        }
        Ok(uri)
    }

    /// Creates an API key and returns it this once. The store keeps only its digest. A key made without a second factor
    /// is refused later if the settings require one.
    pub(super) fn create_api_key(
        &self,
        context: &RequestContext,
        access: UserAccess,
        name: Option<Label>,
    ) -> Result<Reply, Error> {
        let value = entropy::secret_of_length(API_KEY_LENGTH)?;
        let (secret, key) = self.change(context, move |tx, context| {
            let user = access.user.id;
            access.must_be_recent(tx, context)?;
            let new = NewSecret {
                id: context.new_secret_id()?,
                user,
                kind: SecretType::ApiKey,
                name: free_name(tx, user, name, "api key")?,
                created: context.now.wall_ms,
                expires: None,
                profile: None,
                is_guarded: access.is_guarded(tx)?,
                is_unproved: false,
                first_counter: 0,
                ahead: 0,
                spare_of: None,
                value: Sensitive::new(digest(value.expose()).to_vec()),
            };
            insert(tx, &new)?;
            tx.audit(&context.entry_with(AuditEvent::SecretCreate, Outcome::Ok, Some(user), Some(new.id), "apikey"))?;
            Ok((shown(tx, user, &new)?, api_key(new.id, &value)))
        })?;
        Ok(Reply::ApiKeyCreated { secret, key })
    }

    /// Lists the active and pending secrets of a user.
    pub(super) fn list_secrets(&self, context: &RequestContext, access: &UserAccess) -> Result<Reply, Error> {
        let now = context.now.wall_ms;
        let secrets = self.look(context, |view| {
            let rows = view.secrets(access.user.id)?;
            rows.iter().filter(|row| is_visible(row, now)).map(|row| view_with_device(view, row)).collect()
        })?;
        Ok(Reply::Secrets(secrets))
    }

    /// Shows one active or pending secret of a user.
    pub(super) fn show_secret(
        &self,
        context: &RequestContext,
        access: &UserAccess,
        secret: SecretRef,
    ) -> Result<Reply, Error> {
        let SecretRef::Id(id) = secret else { return Err(Error::NotFound) };
        let now = context.now.wall_ms;
        let secret = self.look(context, |view| {
            let row = view.secret(access.user.id, id)?.filter(|row| is_visible(row, now));
            row.map(|row| view_with_device(view, &row)).transpose()
        })?;
        Ok(Reply::Secret(secret.ok_or(Error::NotFound)?))
    }

    /// Changes the name or description of a secret. Refuses with [`Error::Version`] if the secret has changed since the
    /// caller read it.
    pub(super) fn change_secret(
        &self,
        context: &RequestContext,
        access: UserAccess,
        secret: SecretRef,
        change: SecretChange,
    ) -> Result<Reply, Error> {
        let SecretRef::Id(id) = secret else { return Err(Error::NotFound) };
        let view = self.change(context, move |tx, context| {
            let user = access.user.id;
            let now = context.now.wall_ms;
            let row = tx.secret(user, id)?.filter(|row| is_visible(row, now)).ok_or(Error::NotFound)?;
            if row.version != change.version {
                return Err(Error::Version.into());
            }
            let name = match change.name {
                Some(name) => name,
                None => Label::parse(&row.name).map_err(|cause| Error::Internal(cause.to_owned()))?,
            };
            let description = match &change.description {
                Some(new) => new.as_ref().map(Text::as_str),
                None => row.description.as_deref(),
            };
            if !tx.relabel(&row, &name, description, now)? {
                return Err(Error::SecretNameTaken.into());
            }
            tx.audit(&context.entry(AuditEvent::SecretRename, Outcome::Ok, Some(user), Some(id)))?;
            view_in(tx, user, id)
        })?;
        Ok(Reply::Secret(view))
    }

    /// Deletes a secret and its value. If it was active, except for an API key, all tokens of the user end; with the
    /// last factor the backup codes end too (ENR-9, ENR-10). The account on a hardware key is erased as well, unless
    /// the caller wants to keep it.
    pub(super) fn delete_secret(
        &self,
        context: &RequestContext,
        access: UserAccess,
        secret: SecretRef,
        on_device: Option<OnDevice>,
    ) -> Result<Reply, Error> {
        let SecretRef::Id(id) = secret else { return Err(Error::NotFound) };
        let credential = self.change(context, move |tx, context| {
            let user = access.user.id;
            let row = tx.secret(user, id)?.filter(|row| is_visible(row, context.now.wall_ms)).ok_or(Error::NotFound)?;
            let credential = credential_to_remove(tx, id, on_device)?;
            match row.kind {
                SecretType::Password => access.must_be_recent(tx, context)?,
                SecretType::Mfa | SecretType::Fido2 | SecretType::ApiKey | SecretType::Backup => {
                    access.must_be_fresh(tx, context)?;
                }
            }
            // Otherwise a trigger of the store marks the account to be erased at the next contact with its key.
            if on_device == Some(OnDevice::Keep) {
                tx.forget_oath_account(id)?;
            }
            tx.delete_secret(id)?;
            if row.status == Status::Active {
                end_what_it_opened(tx, user, row.kind)?;
            }
            let detail = access.with_reason(row.kind.name().to_owned());
            tx.audit(&context.entry_with(AuditEvent::SecretDelete, Outcome::Ok, Some(user), Some(id), detail))?;
            Ok(credential)
        })?;
        // Only after the commit: an account that is erased for a factor that still counts would lock its user out.
        if let (Some(credential), None | Some(OnDevice::Erase)) = (credential, on_device)
            && self.erase_if_here(context, &credential)
        {
            return Ok(Reply::AccountLeft { key: credential.key, name: credential.name });
        }
        Ok(Reply::Done)
    }
}

/// Ends what an active secret of this kind opened, after it was deleted: the tokens of the user, and with the last
/// factor the backup codes. An API key opens nothing but itself.
pub(super) fn end_what_it_opened(tx: &Tx<'_>, user: UserId, kind: SecretType) -> Result<(), Stop> {
    match kind {
        SecretType::ApiKey => return Ok(()),
        SecretType::Mfa | SecretType::Fido2 => {
            let codes = tx.active_secret(user, SecretType::Backup)?;
            let is_factor = |row: &SecretRow| matches!(row.kind, SecretType::Mfa | SecretType::Fido2);
            let is_last = !tx.active_secrets(user)?.iter().any(is_factor);
            if let (true, Some(codes)) = (is_last, codes) {
                tx.delete_secret(codes.id)?;
            }
        }
        SecretType::Password | SecretType::Backup => {}
    }
    Ok(tx.bump_epoch(user)?)
}

/// The values in which a factor made here and an imported one differ.
struct PendingFactor {
    profile: Profile,
    /// The first counter of an HOTP factor; 0 for TOTP.
    first_counter: u64,
    /// Prefix of the audit detail that says where the seed is from; empty if it was made here.
    origin: &'static str,
}

/// Stores a pending factor, with its audit row.
fn insert_pending(
    tx: &Tx<'_>,
    context: &RequestContext,
    access: &UserAccess,
    name: Option<Label>,
    factor: &PendingFactor,
    seed: Sensitive<Vec<u8>>,
) -> Result<SecretView, Stop> {
    let (user, now) = (access.user.id, context.now.wall_ms);
    let new = NewSecret {
        id: context.new_secret_id()?,
        user,
        kind: SecretType::Mfa,
        name: free_name(tx, user, name, "authenticator")?,
        created: now,
        expires: Some(later(now, PENDING_LIFETIME)),
        profile: Some(factor.profile),
        is_guarded: false,
        is_unproved: false,
        first_counter: factor.first_counter,
        ahead: 0,
        spare_of: None,
        value: seed,
    };
    insert(tx, &new)?;
    let detail = access.with_reason(format!("{}{}", factor.origin, factor.profile.binding()));
    tx.audit(&context.entry_with(AuditEvent::SecretCreate, Outcome::Ok, Some(user), Some(new.id), detail))?;
    shown(tx, user, &new)
}

/// Inserts a secret, within the limit on secrets and under a name that is free.
pub(super) fn insert(tx: &Tx<'_>, new: &NewSecret) -> Result<(), Stop> {
    has_room(tx, new.user, None)??;
    if !tx.insert_secret(new)? {
        return Err(Error::SecretNameTaken.into());
    }
    Ok(())
}

/// Refuses if the user may have no further secret, or if `name` is given and taken.
pub(super) fn has_room(view: &View<'_>, user: UserId, name: Option<&Label>) -> Result<Result<(), Error>, Fault> {
    if view.secrets(user)?.len() >= MOST_SECRETS {
        return Ok(Err(Error::TooManySecrets));
    }
    match name {
        Some(name) if !view.is_name_free(user, name)? => Ok(Err(Error::SecretNameTaken)),
        Some(_) | None => Ok(Ok(())),
    }
}

/// Returns the wanted name, or the first free one of `base`, `base 2`, `base 3` and so on.
pub(super) fn free_name(tx: &Tx<'_>, user: UserId, wanted: Option<Label>, base: &str) -> Result<Label, Stop> {
    if let Some(name) = wanted {
        return Ok(name);
    }
    for number in 1..=MOST_SECRETS.saturating_add(1) {
        let text = if number == 1 { base.to_owned() } else { format!("{base} {number}") };
        let name = Label::parse(&text).map_err(|cause| Error::Internal(cause.to_owned()))?;
        if tx.is_name_free(user, &name)? {
            return Ok(name);
        }
    }
    Err(Error::TooManySecrets.into())
}

fn shown(tx: &Tx<'_>, user: UserId, new: &NewSecret) -> Result<SecretView, Stop> {
    view_in(tx, user, new.id)
}

/// Whether the API shows this secret. One that has ended, or is pending and expired, answers as not found.
fn is_visible(row: &SecretRow, now: i64) -> bool {
    match row.status {
        Status::Active => true,
        Status::Pending => row.is_pending_at(now),
        Status::Ended => false,
    }
}

/// Reads a secret again after a change in the same transaction, and returns its view.
pub(super) fn view_in(tx: &Tx<'_>, user: UserId, id: SecretId) -> Result<SecretView, Stop> {
    let row = tx.secret(user, id)?.ok_or(Error::NotFound)?;
    Ok(view_with_device(tx, &row)?)
}

/// Returns the view of a secret, with the hardware key that holds its account.
pub(super) fn view_with_device(view: &View<'_>, row: &SecretRow) -> Result<SecretView, Fault> {
    let credential = if row.kind == SecretType::Mfa { view.oath_account(row.id)? } else { None };
    // Before it is programmed, the account may not be on the key.
    let device = credential.filter(|credential| credential.state == ProvisioningState::Programmed).map(|credential| {
        DeviceOfSecret {
            proofs: proofs_of(&credential),
            key: credential.key,
            firmware: credential.firmware,
            device_id: credential.device_id,
            name: credential.name,
            touch: credential.touch,
            proved: credential.proved.unwrap_or(credential.created),
        }
    });
    Ok(SecretView { device, ..view_of(row) })
}

/// Returns the view of a secret, without its value and its hardware key.
pub(super) fn view_of(row: &SecretRow) -> SecretView {
    SecretView {
        id: row.id,
        user: row.user,
        kind: row.kind.name(),
        name: row.name.clone(),
        status: row.status.name(),
        created: row.created,
        modified: row.modified,
        last_used: row.last_used,
        version: row.version,
        description: row.description.clone(),
        expires: row.expires,
        profile: row.profile,
        counter: row.counter,
        is_imported: row.is_unproved,
        is_weak: row.is_weak,
        remaining: (row.kind == SecretType::Backup).then(|| row.codes_left()),
        device: None,
    }
}

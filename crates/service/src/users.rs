//! Users: create, show, list, change, delete and unlock. Who may do so is decided in `access` and `authorise`.

use crate::error::Error;
use mfad_api::AuditEvent;
use mfad_core::entropy;
use mfad_core::model::{Amr, Email, Gate, Limits, Moment, Text, Throttle, UserId, UserName};
use mfad_store::{Class, Fault, MfaState, NewUser, Outcome, Subject, Taken, UserRow, View};

use super::authorise::{Authority, UserAccess};
use super::future_steps::{FutureUses, lower_future_steps};
use super::host_logins::{may_be_renamed, user_of};
use super::password::insert_password;
use super::tokens::{Granted, open_session};
use super::views::LockView;
use super::{NewUserOrder, Reply, RequestContext, Service, UserChange, UserView};

impl Service {
    /// Creates a user. With a password the reply also has a login; if the settings require a second factor, a token
    /// that can only enrol one (AUT-7).
    pub(super) fn create_user(&self, context: &RequestContext, order: NewUserOrder) -> Result<Reply, Error> {
        let record = order.password.as_ref().map(|p| self.password_record(context, p)).transpose()?;
        let id = match order.id {
            Some(id) => id,
            None => UserId::at(context.now.wall_ms, &entropy::public()?),
        };
        let new = NewUser {
            id,
            name: order.name,
            display_name: order.display_name,
            email: order.email,
            created: context.now.wall_ms,
        };
        let mfa_required = self.policy().mfa_required;
        let (row, granted) = self.change(context, move |tx, context| {
            tx.insert_user(&new)?.map_err(taken)?;
            tx.audit(&context.entry(AuditEvent::UserCreate, Outcome::Ok, Some(id), None))?;
            let row = tx.user(id)?.ok_or(Error::NotFound)?;
            let Some(record) = record else { return Ok((row, None)) };
            insert_password(tx, context, id, record)?;
            let granted = if mfa_required {
                Granted::Enrolment(row.clone())
            } else {
                open_session(tx, context, row.clone(), Amr::Password)?
            };
            Ok((row, Some(granted)))
        })?;
        let auth = granted.map(|granted| self.sign_grant(context, &granted)).transpose()?;
        Ok(Reply::UserCreated { user: view_of(row, MfaState::None, LockView::Open { failures: 0 }), auth })
    }

    /// Lists up to `limit` users with ids after `after`, in the order of their ids. A full page names the id with which
    /// to ask for the next one.
    pub(super) fn list_users(
        &self,
        context: &RequestContext,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Reply, Error> {
        let limits = self.policy().factor_limits;
        let users = self.look(context, |view| {
            let rows = view.users(after, limit)?;
            rows.into_iter().map(|row| shown(view, row, &limits, &context.now)).collect::<Result<Vec<_>, _>>()
        })?;
        let is_full = u32::try_from(users.len()).is_ok_and(|count| count == limit);
        let next = users.last().filter(|_| is_full).map(|user| user.id);
        Ok(Reply::Users { users, next })
    }

    /// Finds the user with this name, as a list of one or none.
    pub(super) fn find_user(&self, context: &RequestContext, name: &UserName) -> Result<Reply, Error> {
        let limits = self.policy().factor_limits;
        let users = self.look(context, |view| {
            user_of(view, name)?
                .into_iter()
                .map(|row| shown(view, row, &limits, &context.now))
                .collect::<Result<Vec<_>, _>>()
        })?;
        Ok(Reply::Users { users, next: None })
    }

    /// Shows the user that was authorised. The row is the one that the authorisation read.
    pub(super) fn show_user(&self, context: &RequestContext, access: &UserAccess) -> Result<Reply, Error> {
        let limits = self.policy().factor_limits;
        let user = self.look(context, |view| shown(view, access.user.clone(), &limits, &context.now))?;
        Ok(Reply::User(user))
    }

    /// Changes a user. Refuses with [`Error::Version`] if the user has changed since the caller read it. A change of
    /// `disabled` or `roles` ends all tokens of the user.
    pub(super) fn update_user(
        &self,
        context: &RequestContext,
        access: UserAccess,
        change: UserChange,
    ) -> Result<Reply, Error> {
        access.may_set(&change)?;
        if matches!(access.by, Authority::Own { .. }) {
            self.may_be_named(context, change.name.as_ref())?;
        }
        let limits = self.policy().factor_limits;
        let view = self.change(context, move |tx, context| {
            // A change writes a new summary. Compare the old one first, or a row that another program forged would be
            // confirmed by it.
            tx.check_summary(access.user.id)?;
            let old = tx.user(access.user.id)?.ok_or(Error::NotFound)?;
            if old.version != change.version {
                return Err(Error::Version.into());
            }
            let new = merged(&old, change);
            may_be_renamed(&old, &new, &access.by)?;
            // A token that was stolen for a moment must not change the names with which its owner logs in.
            let is_own = matches!(access.by, Authority::Own { .. });
            if is_own && (old.name != new.name || old.email != new.email) {
                access.must_be_recent(tx, context)?;
            }
            tx.update_user(&new, context.now.wall_ms)?.map_err(taken)?;
            if old.disabled != new.disabled || old.roles != new.roles {
                tx.bump_epoch(new.id)?;
            }
            let event = match (old.disabled, new.disabled) {
                (false, true) => AuditEvent::UserDisable,
                (true, false) => AuditEvent::UserEnable,
                (false, false) | (true, true) => AuditEvent::UserUpdate,
            };
            let mut entry = context.entry(event, Outcome::Ok, Some(new.id), None);
            entry.detail = access.reason();
            tx.audit(&entry)?;
            let row = tx.user(new.id)?.ok_or(Error::NotFound)?;
            Ok(shown(tx, row, &limits, &context.now)?)
        })?;
        Ok(Reply::User(view))
    }

    /// Deletes a user with everything that belongs to it. With the user's own token this needs a recent login or proof.
    pub(super) fn delete_user(&self, context: &RequestContext, access: UserAccess) -> Result<Reply, Error> {
        self.change(context, move |tx, context| {
            if matches!(access.by, Authority::Own { .. }) {
                access.must_be_recent(tx, context)?;
            }
            if !tx.delete_user(access.user.id)? {
                return Err(Error::NotFound.into());
            }
            let mut entry = context.entry(AuditEvent::UserDelete, Outcome::Ok, Some(access.user.id), None);
            entry.detail = access.reason();
            Ok(tx.audit(&entry)?)
        })?;
        Ok(Reply::Done)
    }

    /// Ends the delays and locks of a user. If codes were used up while the clock was ahead, also makes present codes
    /// count again (AZ-4, TIME-2).
    pub(super) fn unlock_user(&self, context: &RequestContext, access: &UserAccess) -> Result<Reply, Error> {
        let user = access.user.id;
        let reason = access.reason().unwrap_or_default();
        let uses = self.look(context, |view| FutureUses::read(view, user, &context.now))?;
        self.change(context, move |tx, context| {
            tx.clear_throttles(user)?;
            let lowered = lower_future_steps(tx, context, user, &uses)?;
            let detail = match lowered {
                0 => reason,
                count => format!("{reason} ({count} future steps reset)"),
            };
            Ok(tx.audit(&context.entry_with(AuditEvent::UserUnlock, Outcome::Ok, Some(user), None, detail))?)
        })?;
        Ok(Reply::Done)
    }
}

impl UserAccess {
    /// Refuses a change of `roles` by anyone but an administrator, and of `disabled` also by the user itself.
    fn may_set(&self, change: &UserChange) -> Result<(), Error> {
        let is_admin = matches!(self.by, Authority::Admin { .. });
        let is_app = matches!(self.by, Authority::App);
        if change.roles.is_some() && !is_admin {
            return Err(Error::Forbidden("admin"));
        }
        if change.disabled.is_some() && !is_admin && !is_app {
            return Err(Error::Forbidden("app"));
        }
        Ok(())
    }
}

fn merged(old: &UserRow, change: UserChange) -> UserRow {
    UserRow {
        name: change.name.map_or_else(|| old.name.clone(), |name| name.text().to_owned()),
        display_name: change
            .display_name
            .map_or_else(|| old.display_name.clone(), |new| new.as_ref().map(Text::as_str).map(str::to_owned)),
        email: change.email.map_or_else(|| old.email.clone(), |new| new.as_ref().map(Email::text).map(str::to_owned)),
        disabled: change.disabled.unwrap_or(old.disabled),
        roles: change.roles.unwrap_or_else(|| old.roles.clone()),
        ..old.clone()
    }
}

fn shown(view: &View<'_>, row: UserRow, limits: &Limits, now: &Moment) -> Result<UserView, Fault> {
    let mfa = view.shown_mfa_state(row.id, now.wall_ms)?;
    let throttle = view.throttle(&Subject::factors(row.id), Class::Factor)?;
    Ok(view_of(row, mfa, lock_of(&throttle, limits, now)))
}

fn lock_of(throttle: &Throttle, limits: &Limits, now: &Moment) -> LockView {
    let failures = throttle.failures;
    match throttle.gate(limits, now) {
        Gate::Open => LockView::Open { failures },
        Gate::Delayed(wait) => {
            let wait = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
            LockView::Delayed { until: now.wall_ms.saturating_add(wait), failures }
        }
        Gate::Locked => LockView::Locked { since: throttle.failed_at(limits), failures },
    }
}

fn taken(what: Taken) -> Error {
    match what {
        Taken::Id => Error::IdTaken,
        Taken::Name => Error::NameTaken,
        Taken::Email => Error::EmailTaken,
    }
}

fn view_of(row: UserRow, mfa: MfaState, lock: LockView) -> UserView {
    UserView {
        id: row.id,
        name: row.name,
        display_name: row.display_name,
        email: row.email,
        roles: row.roles,
        disabled: row.disabled,
        created: row.created,
        modified: row.modified,
        version: row.version,
        mfa: match mfa {
            MfaState::None => "none",
            MfaState::Pending => "pending",
            MfaState::Imported => "imported",
            MfaState::Active => "active",
        },
        lock,
    }
}

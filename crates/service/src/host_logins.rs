//! Logins to this host: second factors of the users that have the names of its accounts, checked for PAM modules. It
//! opens no session and issues no token.

use crate::error::Error;
use mfad_core::model::{HostLogin, HostUser, Right, UserName, canonical};
use mfad_store::{MfaState, UserRow, View};
use nix::unistd::{Uid, User};

use super::tokens::methods_of;
use super::verify::Checked;
use super::{Proof, Reply, RequestContext, Service};

impl Service {
    /// Checks that the caller may ask for this account: root and administrators for any, others with the right `pam`
    /// for their own. A foreign and an unknown account get the same refusal (AZ-2).
    pub(super) fn may_check(&self, context: &RequestContext, user: &HostUser) -> Result<(), Error> {
        self.right(context, Right::Pam)?;
        let peer = &context.caller.peer;
        if self.policy().rights(peer).holds(Right::Admin) {
            return Ok(());
        }
        let is_own = match user {
            HostUser::Uid(uid) => *uid == peer.uid,
            HostUser::Name(name) => account_name(peer.uid)?.is_some_and(|own| own.key() == name.key()),
        };
        if is_own { Ok(()) } else { Err(Error::ForeignAccount) }
    }

    /// Shows which second factors the user of an account can use. It is no login, so it neither counts nor changes
    /// anything.
    pub(super) fn preflight(&self, context: &RequestContext, user: &HostUser) -> Result<Reply, Error> {
        let Some(name) = name_of(user)? else { return Ok(Reply::Preflight { state: "unknown", methods: Vec::new() }) };
        let has_relying_party = self.policy().relying_party.is_some();
        self.look(context, |view| {
            let Some(row) = user_of(view, &name)? else {
                return Ok(Reply::Preflight { state: "unknown", methods: Vec::new() });
            };
            if row.disabled {
                return Ok(Reply::Preflight { state: "disabled", methods: Vec::new() });
            }
            // This decides whether the login needs a factor, so the sealed summary must agree.
            let (state, methods) = match view.mfa_state(row.id, context.now.wall_ms)? {
                MfaState::None => ("none", Vec::new()),
                MfaState::Pending => ("pending", Vec::new()),
                MfaState::Active => ("active", methods_of(view, row.id)?),
            };
            // A key that gives codes without a touch proves no presence, and is not asked for a login.
            let has_touch = view.oath_accounts_of(row.id)?.iter().any(|account| account.touch);
            let can = |method: &&str| match *method {
                "device" => has_touch,
                "fido2" => has_relying_party,
                _ => true,
            };
            Ok(Reply::Preflight { state, methods: methods.into_iter().filter(can).collect() })
        })
    }

    /// Judges a second factor for a login to this host. A wrong or used code, an unknown user and a user without a
    /// factor get the same refusal after the same work (AZ-2).
    pub(super) fn verify_host_login(
        &self,
        context: &RequestContext,
        user: &HostUser,
        proof: Proof,
        login: HostLogin,
    ) -> Result<Reply, Error> {
        let service = login.service.as_str().to_owned();
        let outcome = self.check_host_login(context, user, proof, login);
        self.metrics.count_host_login(&service, outcome.is_ok());
        outcome
    }

    fn check_host_login(
        &self,
        context: &RequestContext,
        user: &HostUser,
        proof: Proof,
        login: HostLogin,
    ) -> Result<Reply, Error> {
        let name = name_of(user)?;
        let row = match &name {
            Some(name) => self.look(context, |view| user_of(view, name))?,
            None => None,
        };
        // A uid without an account has no name; failures for all of them are counted together.
        let key = name.as_ref().map_or("", UserName::key);
        let accepted = self.check(context, Checked::for_host(row.map(|row| row.id), key, login), proof)?;
        self.verified(context, accepted)
    }
}

/// Returns the user with this name. An e-mail address is a login too, but no name.
pub(super) fn user_of(view: &View<'_>, name: &UserName) -> Result<Option<UserRow>, mfad_store::Fault> {
    Ok(view.user_by_login(name.key())?.filter(|row| canonical(&row.name) == name.key()))
}

/// Returns the name of an account; `None` for a uid without one, or one whose name no user can have.
fn name_of(user: &HostUser) -> Result<Option<UserName>, Error> {
    match user {
        HostUser::Name(name) => Ok(Some(name.clone())),
        HostUser::Uid(uid) => account_name(*uid),
    }
}

/// Asks the host for the name of an account. The lookup may ask a service on the network.
fn account_name(uid: u32) -> Result<Option<UserName>, Error> {
    let found = User::from_uid(Uid::from_raw(uid))
        .map_err(|cause| Error::Internal(format!("could not look up the account of a uid: {cause}")))?;
    Ok(found.and_then(|account| UserName::parse(&account.name).ok()))
}

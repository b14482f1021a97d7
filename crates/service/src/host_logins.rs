//! Logins to this host: second factors of the users that stand for its accounts, checked for PAM modules. It opens no
//! session and issues no token.
//!
//! A user stands for the account of exactly the same name if an administrator has given it the role `host`. The name alone
//! proves nothing: anybody who may register or rename a user could take the name of an account.

use crate::error::Error;
use mfad_api::AuditEvent;
use mfad_core::model::{HostLogin, HostUser, Right, UserName, canonical};
use mfad_store::{MfaState, Outcome, UserRow, View};
use nix::unistd::{Uid, User};

use super::authorise::Authority;
use super::tokens::methods_of;
use super::verify::Checked;
use super::{Proof, Reply, RequestContext, Service};

/// The role of users that stand for an account of this host.
const HOST_ROLE: &str = "host";

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
            HostUser::Name(name) => account_name(peer.uid)?.is_some_and(|own| own.text() == name.text()),
        };
        if is_own { Ok(()) } else { Err(Error::ForeignAccount) }
    }

    /// Shows which second factors the user of an account can use. It is no login, so it neither counts nor changes
    /// anything.
    pub(super) fn preflight(&self, context: &RequestContext, user: &HostUser) -> Result<Reply, Error> {
        let unknown = Reply::Preflight { user: None, state: "unknown", methods: Vec::new() };
        let Some(name) = name_of(user)? else { return Ok(unknown) };
        let has_relying_party = self.policy().relying_party.is_some();
        self.look(context, |view| {
            let Some(row) = host_user(view, &name)? else { return Ok(unknown) };
            let user = Some(row.id);
            if row.disabled {
                return Ok(Reply::Preflight { user, state: "disabled", methods: Vec::new() });
            }
            // This decides whether the login needs a factor, so the sealed summary must agree.
            let (state, methods) = match view.mfa_state(row.id, context.now.wall_ms)? {
                MfaState::None => ("none", Vec::new()),
                MfaState::Pending => ("pending", Vec::new()),
                // The first right code proves an imported factor, wherever it is given.
                MfaState::Active | MfaState::Imported => ("active", methods_of(view, row.id)?),
            };
            // A key that gives codes without a touch proves no presence, and is not asked for a login.
            let has_touch = view.oath_accounts_of(row.id)?.iter().any(|account| account.touch);
            let can = |method: &&str| match *method {
                "device" => has_touch,
                "fido2" => has_relying_party,
                _ => true,
            };
            Ok(Reply::Preflight { user, state, methods: methods.into_iter().filter(can).collect() })
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
        let service = login.service.clone();
        let check = || {
            let name = name_of(user)?;
            let row = match &name {
                Some(name) => self.look(context, |view| host_user(view, name))?,
                None => None,
            };
            // A uid without an account has no name; failures for all of them are counted together.
            let key = name.as_ref().map_or("", UserName::key);
            let accepted = self.check(context, Checked::for_host(row.map(|row| row.id), key, login), proof)?;
            self.verified(context, accepted)
        };
        let outcome = check();
        self.metrics.count_host_login(service.as_str(), outcome.is_ok());
        outcome
    }

    /// Records a login that a PAM module let in by a break-glass code. An account without a user is named in the detail:
    /// it is the administrator's word, and nothing that somebody typed.
    pub(super) fn report_break_glass(
        &self,
        context: &RequestContext,
        account: &UserName,
        time: &str,
        login: &HostLogin,
    ) -> Result<Reply, Error> {
        let user = self.look(context, |view| host_user(view, account))?.map(|row| row.id);
        let whose = if user.is_some() { String::new() } else { format!(" for the account {}", account.text()) };
        let detail = format!("{login}{whose}, at {time}");
        let entry = context.entry_with(AuditEvent::HostBreakGlass, Outcome::Ok, user, None, detail);
        self.change(context, move |tx, _| Ok(tx.audit(&entry)?))?;
        Ok(Reply::Done)
    }
}

/// Returns the user with this name. An e-mail address is a login too, but no name.
pub(super) fn user_of(view: &View<'_>, name: &UserName) -> Result<Option<UserRow>, mfad_store::Fault> {
    Ok(view.user_by_login(name.key())?.filter(|row| is_named(row, name)))
}

/// Whether a user that was found by this name has it for a name, and not for an e-mail address.
pub(super) fn is_named(row: &UserRow, name: &UserName) -> bool {
    canonical(&row.name) == name.key()
}

/// Returns the user that stands for the account of this name. The name must be spelled as the account's: two accounts may
/// differ in what a user's name leaves open, such as case.
fn host_user(view: &View<'_>, name: &UserName) -> Result<Option<UserRow>, mfad_store::Fault> {
    let found = user_of(view, name)?.filter(|row| row.name == name.text() && row.has_role(HOST_ROLE));
    if let Some(row) = &found {
        // A forged role would let its user log in as the account, so the sealed summary must agree.
        view.check_summary(row.id)?;
    }
    Ok(found)
}

/// Refuses to anybody but administrators to rename a user who stands for an account: with the new name, the user would
/// stand for another one.
pub(super) fn may_be_renamed(old: &UserRow, new: &UserRow, by: &Authority) -> Result<(), Error> {
    let keeps_account = old.name == new.name || !old.has_role(HOST_ROLE);
    if keeps_account || matches!(by, Authority::Admin { .. }) { Ok(()) } else { Err(Error::Forbidden("admin")) }
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

//! Carries out a [`Call`]: authorises it by the table in [`access`](super::access), then calls the use case that makes
//! its [`Reply`].

use crate::error::Error;
use crate::token::KeySet;
use mfad_api::AuditEvent;
use mfad_core::model::{Right, scrub_stack};
use mfad_store::{Outcome, Tx};

use super::access::Evidence;
use super::{Call, Proof, Reply, RequestContext, SecretOrder, Service, Stop};

/// The longest wait in a call, which decides how the server runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// At most the store's writer: [`Service::handle_async`] awaits the commit without a thread.
    Commit,
    /// A hash, a touch, a card or reads of the store: [`Service::handle`], on a thread that may block.
    Thread,
}

impl Service {
    /// Returns how a call must be run. Only one-time codes and replies from memory need no thread.
    pub fn cost(context: &RequestContext, call: &Call) -> Cost {
        let is_immediate = matches!(call, Call::Live | Call::Version | Call::KeySet | Call::AuthMethods);
        let is_code = match call {
            Call::AnswerChallenge(proof) => matches!(proof, Proof::Token(_)),
            // The use of an API key is first written to the store, which would block.
            Call::Verify(_, proof) => matches!(proof, Proof::Token(_)) && context.caller.token.is_none(),
            _ => false,
        };
        if is_immediate || is_code { Cost::Commit } else { Cost::Thread }
    }

    /// Carries out one call on this thread, which it may block.
    pub fn handle(&self, context: &RequestContext, call: Call) -> Result<Reply, Error> {
        let done = self.authorise(context, &call).and_then(|evidence| self.perform(context, call, evidence));
        // The call moved secrets over the stack of this thread, which may live as long as the daemon (MEM-3).
        scrub_stack();
        done.inspect_err(|error| self.note_tampering(context, error))
    }

    /// Carries out a call of [`Cost::Commit`] without blocking. A call of [`Cost::Thread`] is refused as an internal
    /// error.
    pub async fn handle_async(&self, context: &RequestContext, call: Call) -> Result<Reply, Error> {
        let done = match self.authorise(context, &call) {
            Ok(evidence) => self.perform_async(context, call, evidence).await,
            Err(refusal) => Err(refusal),
        };
        scrub_stack();
        if let Err(Error::Tampered(_)) = &done {
            // As in `note_tampering`, but without blocking this thread.
            log_unwritten(self.change_async(context, note_tampering).await);
        }
        done
    }

    async fn perform_async(&self, context: &RequestContext, call: Call, evidence: Evidence) -> Result<Reply, Error> {
        match call {
            Call::Verify(user, Proof::Token(token)) => self.verify_async(context, user, token).await,
            Call::AnswerChallenge(Proof::Token(token)) => {
                self.answer_challenge_async(context, evidence.challenge()?, token).await
            }
            Call::Live | Call::Version | Call::KeySet | Call::AuthMethods => self.perform(context, call, evidence),
            _ => Err(Error::Internal("a call that blocks was to be carried out without a thread".to_owned())),
        }
    }

    /// Records in the audit log that a sealed value did not decrypt (KEY-3). The call that met it was rolled back, so
    /// this is a write of its own.
    pub(super) fn note_tampering(&self, context: &RequestContext, error: &Error) {
        let Error::Tampered(_) = error else { return };
        log_unwritten(self.change(context, note_tampering));
    }

    // Not inlined: `scrub_stack` overwrites only what lies below its caller's own frame.
    #[inline(never)]
    fn perform(&self, context: &RequestContext, call: Call, evidence: Evidence) -> Result<Reply, Error> {
        match call {
            Call::CreateUser(order) => self.create_user(context, order),
            Call::ListUsers { after, limit } => self.list_users(context, after, limit),
            Call::FindUser(name) => self.find_user(context, &name),
            Call::ShowUser(_) => self.show_user(context, &evidence.user()?),
            Call::UpdateUser(_, change) => self.update_user(context, evidence.user()?, change),
            Call::DeleteUser(_) => self.delete_user(context, evidence.user()?),
            Call::UnlockUser(_) => self.unlock_user(context, &evidence.user()?),
            Call::CreateSecret(_, SecretOrder::Mfa(order)) => self.create_factor(context, evidence.user()?, order),
            Call::CreateSecret(_, SecretOrder::Hardware(order)) => self.provision(context, evidence.user()?, order),
            Call::CreateSecret(_, SecretOrder::Key(order)) => self.create_key(context, evidence.user()?, order),
            Call::CreateSecret(_, SecretOrder::LocalKey(order)) => {
                self.register_here(context, &evidence.user()?, order)
            }
            Call::CreateSecret(_, SecretOrder::Password(password)) => {
                self.create_password(context, evidence.user()?, &password)
            }
            Call::CreateSecret(_, SecretOrder::ApiKey { name }) => self.create_api_key(context, evidence.user()?, name),
            Call::ImportUsers(users) => self.import_users(context, users),
            Call::ImportFactors(job) => self.import_factors(context, job),
            Call::ImportFactor(_, order) => self.import_factor(context, evidence.user()?, order),
            Call::ListSecrets(_) => self.list_secrets(context, &evidence.user()?),
            Call::ShowSecret(_, secret) => self.show_secret(context, &evidence.user()?, secret),
            Call::ChangeSecret(_, secret, change) => self.change_secret(context, evidence.user()?, secret, change),
            Call::Enroll(_, secret, first, after) => self.enroll_with(context, &evidence.user()?, secret, first, after),
            Call::ChangePassword { user: _, new, current } => {
                self.change_password(context, evidence.user()?, &new, current.as_ref())
            }
            Call::RenewCodes(_) => self.renew_codes(context, evidence.user()?),
            Call::DeleteSecret(_, secret, on_device) => {
                self.delete_secret(context, evidence.user()?, secret, on_device)
            }
            Call::AuthMethods => Ok(Reply::AuthMethods {
                open_registration: self.policy().open_registration,
                mfa_required: self.policy().mfa_required,
                security_keys: self.policy().relying_party.is_some(),
                issuer: self.policy().issuer.clone(),
            }),
            Call::AskForOwnKey => self.ask_for_own_key(context),
            Call::AskForKeyOf(user) => self.ask_for_key_of(context, user),
            Call::LogIn { login, password } => self.log_in(context, &login, &password),
            Call::AnswerChallenge(proof) => self.answer_challenge(context, evidence.challenge()?, proof),
            Call::StepUp { proof, action, redeemer } => {
                self.step_up(context, evidence.session()?, proof, &action, redeemer)
            }
            Call::RedeemReceipt { receipt, action } => {
                self.redeem_receipt(context, evidence.redeemer()?, &receipt, &action)
            }
            Call::Refresh => self.refresh(context),
            Call::LogOut => self.log_out(context, evidence.session()?),
            Call::Verify(user, proof) => self.verify(context, user, proof),
            Call::VerifyHostLogin(user, proof, login) => self.verify_host_login(context, &user, proof, login),
            Call::Preflight(user) => self.preflight(context, &user),
            Call::ReportBreakGlass(account, time, login) => self.report_break_glass(context, &account, &time, &login),
            Call::KeySet => Ok(Reply::KeySet(self.with_keys(KeySet::public_keys))),
            Call::ReceiptKeys => self.receipt_keys(),
            Call::ListDevices => self.list_devices(context),
            Call::ListSecurityKeys => self.list_security_keys(context),
            Call::ShowDevice(key) => {
                // Apps may see the key, but only administrators its escrowed password.
                let with_escrow = self.right(context, Right::Admin).is_ok();
                self.show_device(context, key, with_escrow)
            }
            Call::DeviceEvents { after } => Ok(self.device_events(after)),
            Call::DeviceAccounts(key) => self.device_accounts(context, key),
            Call::RenameAccount(key, name, new) => self.rename_account(context, key, &name, &new),
            Call::DeleteAccount(key, name) => self.delete_account(context, key, &name),
            Call::ResetDevice(key) => self.reset_device(context, key),
            Call::ChangeDevicePassword { key, change, current } => {
                self.change_device_password(context, key, change, current.as_ref())
            }
            Call::AttestDevice(key, slot) => self.attest_device(context, key, slot),
            Call::ReturnDevice(key) => self.return_device(context, key),
            Call::AuditRows { after, limit } => self.audit_rows(context, after, limit),
            Call::ShowKey => self.show_key(context),
            Call::RotateKey(next) => self.rotate_key(context, next),
            Call::BackUp => self.back_up(context),
            Call::ExportOwn(_, order) => self.export_own(context, evidence.user()?, order),
            Call::Export(order) => self.export(context, order),
            Call::Live => Ok(Reply::Live),
            Call::Ready => self.ready(context),
            Call::Metrics => self.metrics_text(context),
            Call::Version => Ok(Reply::Version {
                sqlite: mfad_store::sqlite_version(),
                confinement: self.confinement,
                are_keys_locked: self.store.vault().are_keys_locked(),
            }),
        }
    }
}

fn note_tampering(tx: &Tx<'_>, context: &RequestContext) -> Result<(), Stop> {
    Ok(tx.audit(&context.entry(AuditEvent::StoreTampered, Outcome::Refused, None, None))?)
}

fn log_unwritten(noted: Result<(), Error>) {
    if let Err(error) = noted {
        tracing::error!(%error, "could not record tampering in the audit log");
    }
}

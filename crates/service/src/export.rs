//! Exports: users and their factors, encrypted to an age recipient before they leave the daemon. No call answers a seed in
//! clear. A recipient is one that the configuration names, unless root asks, who can read the store anyway.

use std::time::Duration;

use mfad_api::AuditEvent;
use mfad_core::model::{Right, Sensitive, UserId};
use mfad_store::{Outcome, Tx, View};

use super::age::{AgeStream, Recipient};
use super::authorise::{ADMIN_ROLE, UserAccess, is_fresh_proof};
use super::export_lines::{ExportFormat, Lines, one_user, users_after};
use super::tokens::{api_key_parts, digest};
use super::{Reply, RequestContext, Service, Stop};
use crate::error::Error;
use crate::token::Claims;

/// How long each page of users may wait for the store.
const PATIENCE: Duration = Duration::from_secs(10);

/// An export that is asked for.
pub struct ExportOrder {
    /// Who can decrypt it.
    pub recipient: Recipient,
    /// The recipient as it was given, for the audit log and the confirmation.
    pub recipient_text: String,
    /// The form of the plaintext.
    pub format: ExportFormat,
    /// Whether factors on hardware keys come with their seeds.
    pub with_hardware: bool,
    /// The receipt of another administrator's step-up for this export.
    pub approval: Option<Sensitive<String>>,
}

/// An export in progress, page by page. Each user is read in one piece; users that change meanwhile are exported as they
/// are when their turn comes.
pub struct Export {
    stream: AgeStream,
    lines: Lines,
    pages: Pages,
    is_over: bool,
}

/// The users that are still to come.
enum Pages {
    /// All users after this one.
    After(Option<UserId>),
    /// This user; `None` after that.
    Only(Option<UserId>),
}

/// The text of the action that a second administrator confirms.
fn action(order: &ExportOrder) -> String {
    let hardware = if order.with_hardware { " with hardware keys" } else { "" };
    format!("export {}{hardware} to {}", order.format.name(), order.recipient_text)
}

impl Service {
    /// Begins an export, after its row of the audit log is written.
    pub(super) fn export(&self, context: &RequestContext, order: ExportOrder) -> Result<Reply, Error> {
        self.must_be_proved(context)?;
        let policy = self.policy();
        let is_root = context.caller.peer.uid == 0;
        if !is_root && !policy.export.recipients.contains(&order.recipient) {
            let why =
                "`recipient` must be one of those under [export] in the configuration; only root may take another";
            return Err(Error::Malformed(why.to_owned()));
        }
        if policy.export.needs_two && order.approval.is_none() {
            let why = format!(
                "`approval` (--approval-file) is required: the receipt of another administrator, who confirms the action \
                 with `mfactl step-up --quiet '{}'`",
                action(&order)
            );
            return Err(Error::Malformed(why));
        }
        let own = self.claims(context)?.map(|claims| claims.subject);
        let (format, issuer) = (order.format, policy.issuer.clone());
        let detail = format!("{} to {}", format.name(), order.recipient_text);
        let detail = context.reason().map_or(detail.clone(), |reason| format!("{detail}: {reason}"));
        let (wanted, approval) = (digest(action(&order).as_bytes()), order.approval);
        self.change(context, move |tx, context| {
            if let Some(approval) = &approval {
                take_approval(tx, context, approval, &wanted, own)?;
            }
            Ok(tx.audit(&context.entry_with(AuditEvent::StoreExport, Outcome::Ok, own, None, detail))?)
        })?;
        let lines = Lines::new(format, order.with_hardware, issuer, context.now.unix_seconds());
        let export = Export { stream: order.recipient.stream()?, lines, pages: Pages::After(None), is_over: false };
        Ok(Reply::Export(Box::new(export)))
    }

    /// Begins an export of the caller's own factors, if the policy allows it.
    pub(super) fn export_own(
        &self,
        context: &RequestContext,
        access: UserAccess,
        order: ExportOrder,
    ) -> Result<Reply, Error> {
        let policy = self.policy();
        if !policy.export.allows_own || !access.is_by_login() {
            return Err(Error::Forbidden(Right::Admin.name()));
        }
        if order.with_hardware {
            // The seed on a hardware key is meant to be nowhere else.
            return Err(Error::Malformed("`hardware` is for administrators".to_owned()));
        }
        self.must_be_proved(context)?;
        let (id, format) = (access.user.id, order.format);
        let detail = format!("own factors, {} to {}", format.name(), order.recipient_text);
        self.change(context, move |tx, context| {
            access.must_be_fresh(tx, context)?;
            Ok(tx.audit(&context.entry_with(AuditEvent::StoreExport, Outcome::Ok, Some(id), None, detail))?)
        })?;
        let lines = Lines::new(format, false, policy.issuer.clone(), context.now.unix_seconds());
        let pages = Pages::Only(Some(id));
        Ok(Reply::Export(Box::new(Export { stream: order.recipient.stream()?, lines, pages, is_over: false })))
    }

    /// Returns the next encrypted bytes of an export, or `None` at its end.
    pub fn next_of_export(&self, export: &mut Export) -> Result<Option<Vec<u8>>, Error> {
        while !export.is_over {
            let users = match &mut export.pages {
                Pages::After(after) => {
                    let (users, last) = self.store.read(PATIENCE, |view: &View<'_>| users_after(view, *after))?;
                    *after = last.or(*after);
                    users
                }
                Pages::Only(user) => match user.take() {
                    Some(user) => self.store.read(PATIENCE, |view: &View<'_>| one_user(view, user))?,
                    None => Vec::new(),
                },
            };
            let text = if users.is_empty() {
                export.is_over = true;
                export.lines.end()?
            } else {
                export.lines.of(&users)?
            };
            export.stream.write(&text)?;
            if export.is_over {
                if export.stream.would_end_full() {
                    // A chunk that is not full shows the end to a reader without the key. No form minds a blank line.
                    export.stream.write(b"\n")?;
                }
                export.stream.finish()?;
            }
            let sealed = export.stream.take();
            if !sealed.is_empty() {
                return Ok(Some(sealed));
            }
        }
        Ok(None)
    }

    /// Refuses a caller without a second factor in the last minutes. Root needs no proof: it can read the store.
    fn must_be_proved(&self, context: &RequestContext) -> Result<(), Error> {
        match self.claims(context)? {
            None if context.caller.peer.uid == 0 => Ok(()),
            Some(claims) if is_fresh(context, &claims) => Ok(()),
            Some(_) | None => Err(Error::FreshProofRequired),
        }
    }

    /// Returns the user whose token an import is made with; `None` if the account of the caller has the right itself. A
    /// token needs a second factor in the last five minutes, since an imported factor opens an account.
    pub(super) fn importer(&self, context: &RequestContext) -> Result<Option<UserId>, Error> {
        let Some(text) = &context.caller.token else { return Ok(None) };
        if api_key_parts(text.expose()).is_some() {
            return Err(Error::FreshProofRequired);
        }
        match self.claims(context)? {
            Some(claims) if is_fresh(context, &claims) => Ok(Some(claims.subject)),
            Some(_) | None => Err(Error::FreshProofRequired),
        }
    }
}

fn is_fresh(context: &RequestContext, claims: &Claims) -> bool {
    is_fresh_proof(claims.amr, claims.auth_time, context.now.unix_seconds())
}

/// Takes the receipt of another administrator. It is used up, whether it fits or not.
fn take_approval(
    tx: &Tx<'_>,
    context: &RequestContext,
    approval: &Sensitive<String>,
    wanted: &[u8; 32],
    own: Option<UserId>,
) -> Result<(), Stop> {
    let presented = digest(approval.expose().as_bytes());
    let refused = || Stop::Commit(Error::ReceiptRefused);
    let row = tx.take_receipt(&presented, context.now.wall_ms)?.ok_or_else(refused)?;
    let user = tx.user(row.user)?.filter(|user| !user.disabled && user.epoch == row.epoch);
    // The role must not come from a forged row.
    tx.check_summary(row.user)?;
    let is_other = Some(row.user) != own && row.peer == context.caller.peer.uid;
    let is_admin = user.is_some_and(|user| user.has_role(ADMIN_ROLE));
    let is_good = is_other && is_admin && mfad_store::same_tag(&row.action, wanted);
    let outcome = if is_good { Outcome::Ok } else { Outcome::Refused };
    tx.audit(&context.entry(AuditEvent::ReceiptRedeem, outcome, Some(row.user), None))?;
    if is_good { Ok(()) } else { Err(refused()) }
}

//! Step-up receipts: proof that a user confirmed one action with a second factor, which an app can redeem once. The
//! receipts of programmed hardware keys are another thing (`devices::receipt`).

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;

use crate::error::Error;
use mfad_api::AuditEvent;
use mfad_core::entropy;
use mfad_core::model::{Amr, Sensitive, Text};
use mfad_store::{Outcome, StepUpReceipt, UserRow, same_tag};

use super::authorise::Redeemer;
use super::tokens::{digest, later};
use super::{Reply, RequestContext, Service, Stop};

/// How long after the step-up a receipt can be redeemed.
const RECEIPT_LIFETIME: Duration = Duration::from_secs(5 * 60);
/// Unredeemed receipts of one user; a new one beyond that ends the oldest.
pub(super) const OPEN_RECEIPTS: u32 = 32;

/// Makes a receipt of 256 random bits, and the row to store. The row holds only the digest, so a leaked store yields no
/// receipt that can be redeemed. `redeemer` is the uid of the app that may redeem it; none means the present caller.
pub(super) fn new_receipt(
    context: &RequestContext,
    user: &UserRow,
    action: &Text,
    redeemer: Option<u32>,
) -> Result<(Sensitive<String>, StepUpReceipt), Error> {
    let random = entropy::secret_of_length(32)?;
    let receipt = Sensitive::new(BASE64URL_NOPAD.encode(random.expose()));
    let row = StepUpReceipt {
        digest: digest(receipt.expose().as_bytes()),
        user: user.id,
        peer: redeemer.unwrap_or(context.caller.peer.uid),
        epoch: user.epoch,
        action: digest(action.as_str().as_bytes()),
        amr: Amr::PasswordAndOtp,
        auth_time: context.now.unix_seconds(),
        expires: later(context.now.wall_ms, RECEIPT_LIFETIME),
    };
    Ok((receipt, row))
}

impl Service {
    /// Redeems a receipt for an action. It is used up whether the action matches or not, except when it belongs to
    /// another user or app.
    pub(super) fn redeem_receipt(
        &self,
        context: &RequestContext,
        redeemer: Redeemer,
        receipt: &Sensitive<String>,
        action: &Text,
    ) -> Result<Reply, Error> {
        let presented = digest(receipt.expose().as_bytes());
        let action = digest(action.as_str().as_bytes());
        let row = self.change(context, move |tx, context| {
            let Some(row) = tx.take_receipt(&presented, context.now.wall_ms)? else {
                return Err(Stop::Commit(Error::ReceiptRefused));
            };
            let user = tx.user(row.user)?;
            // A raised epoch has ended everything that the user's tokens and factors opened before.
            let is_current = user.is_some_and(|user| !user.disabled && user.epoch == row.epoch);
            let is_anothers = matches!(&redeemer, Redeemer::User(user) if user.id != row.user);
            if is_anothers || row.peer != context.caller.peer.uid {
                // Rolled back: otherwise any caller who sees a receipt could use it up for its owner and its app.
                return Err(Error::ReceiptRefused.into());
            }
            let is_good = is_current && same_tag(&row.action, &action);
            let outcome = if is_good { Outcome::Ok } else { Outcome::Refused };
            tx.audit(&context.entry(AuditEvent::ReceiptRedeem, outcome, Some(row.user), None))?;
            if is_good { Ok(row) } else { Err(Stop::Commit(Error::ReceiptRefused)) }
        })?;
        Ok(Reply::ReceiptRedeemed { user: row.user, auth_time: row.auth_time, amr: row.amr.values() })
    }
}

//! Receipts: a user confirmed one action with a second factor, and an app can check that once.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;

use crate::error::Error;
use mfad_core::entropy;
use mfad_core::model::{Amr, Sensitive, Text};
use mfad_store::{Outcome, StepUpReceipt, UserRow, same_tag};

use super::authorise::Redeemer;
use super::tokens::{digest, later};
use super::{Reply, RequestContext, Service, Stop};

/// How long a receipt can be redeemed.
const RECEIPT_LIFETIME: Duration = Duration::from_secs(5 * 60);
/// Receipts a user may have open.
pub(super) const OPEN_RECEIPTS: u32 = 32;

/// A receipt of 256 random bits, and the row that knows its digest.
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
    /// Checks a receipt against an action and uses it up, right or wrong.
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
            let is_current = user.is_some_and(|user| !user.disabled && user.epoch == row.epoch);
            let is_anothers = matches!(&redeemer, Redeemer::User(user) if user.id != row.user);
            if is_anothers || row.peer != context.caller.peer.uid {
                // Somebody else's receipt stays good for its owner, and for the app that it is for.
                return Err(Error::ReceiptRefused.into());
            }
            let is_good = is_current && same_tag(&row.action, &action);
            let outcome = if is_good { Outcome::Ok } else { Outcome::Refused };
            tx.audit(&context.entry("receipt.redeem", outcome, Some(row.user), None))?;
            if is_good { Ok(row) } else { Err(Stop::Commit(Error::ReceiptRefused)) }
        })?;
        Ok(Reply::ReceiptRedeemed { user: row.user, auth_time: row.auth_time, amr: row.amr.values() })
    }
}

//! Provisioning receipts: a signed statement of the account that was written to a key, by which operator, and when. It
//! holds no secret, and can be verified on another machine with the public keys alone.

use mfad_api::{PROVISIONING_AUDIENCE, RECEIPT_TYPE, ReceiptClaims};

use crate::error::Error;
use crate::token::{SigningKey, public_keys, sign_statement};
use mfad_core::entropy;
use mfad_core::model::{OtpKind, SecretId, Serial};
use mfad_core::oath::step_at;
use mfad_store::{Decision, Purpose, SigningKeyRow};

use super::super::{Reply, SecretView, Service};
use super::provisioning::Provisioning;
use super::session::PATIENCE;

impl Service {
    /// Signs a statement of what was programmed.
    pub(super) fn receipt(&self, made: &Provisioning<'_>, secret: &SecretView) -> Result<String, Error> {
        let (context, key) = (made.context, made.key);
        let profile = secret.profile.ok_or_else(|| Error::Internal("a factor without parameters".to_owned()))?;
        let step = |period| step_at(context.now.unix_seconds(), period);
        let (first_step, first_counter) = match profile.moving {
            OtpKind::Totp(period) => (Some(step(period)), None),
            OtpKind::Hotp => (None, Some(secret.counter.unwrap_or(u64::from(made.first_counter())))),
        };
        let claims = ReceiptClaims {
            iss: self.policy().issuer.clone(),
            aud: PROVISIONING_AUDIENCE.to_owned(),
            jti: SecretId::at(context.now.wall_ms, &entropy::public()?).to_string(),
            iat: context.now.unix_seconds(),
            sub: made.access.user.id.to_string(),
            secret_id: secret.id.to_string(),
            serial: key.id.serial().map(Serial::number),
            key: key.id.to_string(),
            firmware: key.firmware.to_string(),
            device_id: key.device_id.as_str().to_owned(),
            credential: made.credential.name.to_string(),
            kind: profile.kind().to_owned(),
            algorithm: profile.algorithm.name().to_owned(),
            digits: profile.digits.count(),
            touch: made.credential.touch,
            operator_uid: context.caller.peer.uid,
            proof: made.proofs(),
            attested_by: key.attested_by.clone(),
            period: profile.period_seconds(),
            first_step,
            first_counter,
        };
        Ok(sign_statement(&self.receipt_keys_in_use()?, RECEIPT_TYPE, &claims)?)
    }

    /// Returns the public keys that verify receipts.
    pub(crate) fn receipt_keys(&self) -> Result<Reply, Error> {
        Ok(Reply::KeySet(public_keys(&self.receipt_keys_in_use()?)))
    }

    /// Makes the key that signs receipts, unless there is one. It is never dropped, since a receipt is needed as long
    /// as the hardware it is about.
    pub(crate) fn make_receipt_key(&self, at: i64) -> Result<(), Error> {
        let seed = entropy::secret::<32>()?;
        Ok(self.store.write(PATIENCE, move |tx| {
            if tx.signing_keys(Purpose::Receipt)?.is_empty() {
                let kid = SigningKey::new(&seed, at).kid().to_owned();
                tx.insert_signing_key(Purpose::Receipt, &SigningKeyRow { kid, created: at, seed })?;
            }
            Ok(Decision::Commit(()))
        })?)
    }

    fn receipt_keys_in_use(&self) -> Result<Vec<SigningKey>, Error> {
        let rows = self.store.read(PATIENCE, |view| view.signing_keys(Purpose::Receipt))?;
        Ok(rows.iter().map(|row| SigningKey::new(&row.seed, row.created)).collect())
    }
}

//! Attestation: whether a key is genuine. An operator may ask, and the policy may require it before a key is
//! programmed.

use crate::error::Error;
use mfad_api::AuditEvent;
use mfad_core::entropy;
use mfad_core::model::{Firmware, KeyId, Serial};
use mfad_hardware::card::{CardFault, CardSession, identify};
use mfad_hardware::piv::{AttestationError, CheckError, Roots, Slot, Statement, attestation_chain, sign};
use mfad_store::Outcome;

use super::super::{Reply, RequestContext, Service};
use super::session::{VISIT, without_id};

/// Settings of attestation: the trusted roots, the slot, and whether keys must be genuine.
#[derive(Clone, Debug)]
pub struct Attestation {
    /// Trusted root certificates; `None` if none are configured, in which case no key can be attested.
    pub roots: Option<Roots>,
    /// PIV slot whose key is attested, unless a call names another one.
    pub slot: Slot,
    /// Whether only genuine keys may be programmed.
    pub is_required: bool,
}

impl Default for Attestation {
    fn default() -> Self {
        Self { roots: None, slot: Slot::CARD_AUTHENTICATION, is_required: false }
    }
}

/// A genuine key, as shown.
#[derive(Clone, Debug)]
pub struct GenuineView {
    /// Serial number in the vendor's attestation certificate.
    pub serial: Serial,
    /// Firmware in the vendor's attestation certificate.
    pub firmware: Firmware,
    /// PIV slot whose key was attested.
    pub slot: Slot,
    /// Name of the root certificate that the attestation leads to.
    pub root: String,
}

impl Service {
    /// Checks that a key is genuine, and audits the result.
    pub(crate) fn attest_device(
        &self,
        context: &RequestContext,
        key: KeyId,
        slot: Option<Slot>,
    ) -> Result<Reply, Error> {
        let slot = slot.unwrap_or(self.policy().attestation.slot);
        let mut card = self.take(key)?;
        let mut session = CardSession::new(&mut *card, VISIT);
        let found = self.attested(context, &mut session, slot, Some(key));
        match found {
            Ok(said) => {
                let Statement { serial, firmware, root, .. } = said;
                self.note_act(context, AuditEvent::DeviceAttest, format!("key {serial} is genuine, by {root:?}"))?;
                Ok(Reply::Genuine(GenuineView { serial, firmware, slot, root }))
            }
            Err(error) => {
                if let Error::NotGenuine(why) = &error {
                    let entry = context.clone().entry_with(
                        AuditEvent::DeviceAttest,
                        Outcome::Refused,
                        None,
                        None,
                        format!("key {key}: {why}"),
                    );
                    self.device_change(context, move |tx, _| Ok(tx.audit(&entry)?))?;
                }
                Err(error)
            }
        }
    }

    /// Refuses a key that is not genuine, if the policy requires genuine keys. Returns the attested facts, or `None` if
    /// it does not.
    pub(super) fn attested_if_required(
        &self,
        context: &RequestContext,
        session: &mut CardSession<'_>,
    ) -> Result<Option<Statement>, Error> {
        let policy = self.policy();
        let attestation = &policy.attestation;
        if !attestation.is_required {
            return Ok(None);
        }
        self.attested(context, session, attestation.slot, None).map(Some)
    }

    fn attested(
        &self,
        context: &RequestContext,
        session: &mut CardSession<'_>,
        slot: Slot,
        meant: Option<KeyId>,
    ) -> Result<Statement, Error> {
        let policy = self.policy();
        let roots = policy.attestation.roots.as_ref().ok_or_else(|| {
            Error::Unsupported(
                "no attestation roots are configured; add the vendor's certificates to `attestationRoots` in [devices] \
                 (docs/hardware.md)"
                    .to_owned(),
            )
        })?;
        let identity = identify(session)?;
        let key = identity.id.ok_or_else(|| without_id(identity.maker))?;
        if meant.is_some_and(|meant| meant != key) {
            return Err(Error::DeviceChanged);
        }
        let other = "only keys of Yubico are attested here; another maker made this one";
        let serial = key.serial().ok_or_else(|| Error::Unsupported(other.to_owned()))?;
        let chain = attestation_chain(session, slot)?;
        let claim = roots.check(&chain, serial, identity.firmware, context.now.unix_seconds())?;
        let challenge = claim.challenge(&entropy::public()?);
        let signature = sign(session, slot, &challenge, claim.needs_touch()).map_err(|fault| match fault {
            // The key presents the certificates but does not sign: a copy of the certificates behaves like this.
            CardFault::Status(_) | CardFault::Nonsense(_) => Error::NotGenuine(AttestationError::NotPresent),
            other => other.into(),
        })?;
        Ok(claim.confirm(&challenge, &signature)?)
    }
}

impl From<CheckError> for Error {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::NotGenuine(why) => Self::NotGenuine(why),
            CheckError::Unusable(why) => Self::Unsupported(why.to_string()),
        }
    }
}

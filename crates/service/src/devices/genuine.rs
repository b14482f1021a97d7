//! Whether a key is genuine, asked by an operator or demanded before anything is put onto a key.

use crate::error::Error;
use mfad_core::entropy;
use mfad_core::model::{Firmware, Serial};
use mfad_hardware::card::{CardFault, CardSession, identify};
use mfad_hardware::piv::{AttestationError, CheckError, Roots, Slot, Statement, attestation_chain, sign};
use mfad_store::Outcome;

use super::super::{Reply, RequestContext, Service};
use super::session::VISIT;

/// What the configuration says of attestation.
#[derive(Clone, Debug)]
pub struct Attestation {
    /// The roots that are trusted, if there are any.
    pub roots: Option<Roots>,
    /// The PIV slot whose key is attested, unless a call names another.
    pub slot: Slot,
    /// Whether only genuine keys are programmed.
    pub is_required: bool,
}

impl Default for Attestation {
    fn default() -> Self {
        Self { roots: None, slot: Slot::CARD_AUTHENTICATION, is_required: false }
    }
}

/// A genuine key as shown.
#[derive(Clone, Debug)]
pub struct GenuineView {
    /// The serial number that its maker vouches for.
    pub serial: Serial,
    /// The firmware that its maker vouches for.
    pub firmware: Firmware,
    /// The slot whose key was attested.
    pub slot: Slot,
    /// The root that vouches.
    pub root: String,
}

impl Service {
    /// Checks that a key is genuine, and writes down what was found.
    pub(crate) fn attest_device(
        &self,
        context: &RequestContext,
        serial: Serial,
        slot: Option<Slot>,
    ) -> Result<Reply, Error> {
        let slot = slot.unwrap_or(self.policy().attestation.slot);
        let mut card = self.take(serial)?;
        let mut session = CardSession::new(&mut *card, VISIT);
        let found = self.attested(context, &mut session, slot, Some(serial));
        match found {
            Ok(said) => {
                let Statement { serial, firmware, root, .. } = said;
                self.note_act(context, "device.attest", format!("key {serial} is genuine, by {root:?}"))?;
                Ok(Reply::Genuine(GenuineView { serial, firmware, slot, root }))
            }
            Err(error) => {
                if let Error::NotGenuine(why) = &error {
                    let entry = context.clone().entry_with(
                        "device.attest",
                        Outcome::Refused,
                        None,
                        None,
                        format!("key {serial}: {why}"),
                    );
                    self.device_change(context, move |tx, _| Ok(tx.audit(&entry)?))?;
                }
                Err(error)
            }
        }
    }

    /// Refuses a key that is not genuine, if only genuine ones are to be programmed. What is attested
    /// for, else.
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
        meant: Option<Serial>,
    ) -> Result<Statement, Error> {
        let policy = self.policy();
        let roots = policy.attestation.roots.as_ref().ok_or_else(|| {
            Error::Unsupported(
                "no roots are configured; put the maker's certificates into `attestationRoots` of [devices] \
                 (docs/hardware.md)"
                    .to_owned(),
            )
        })?;
        let identity = identify(session)?;
        let hidden = || Error::Unsupported("this key does not tell its serial number".to_owned());
        let serial = identity.serial.ok_or_else(hidden)?;
        if meant.is_some_and(|meant| meant != serial) {
            return Err(Error::DeviceChanged);
        }
        let chain = attestation_chain(session, slot)?;
        let claim = roots.check(&chain, serial, identity.firmware, context.now.unix_seconds())?;
        let challenge = claim.challenge(&entropy::public()?);
        let signature = sign(session, slot, &challenge, claim.needs_touch()).map_err(|fault| match fault {
            // It holds the papers and will not sign: that is how a copy of them behaves.
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

//! Security keys in the ports of this host. The daemon asks as a relying party and answers as a browser would, so that a key
//! registered here answers in a browser too, and the other way round.

use std::time::Duration;

use serde_json::Value;

use crate::error::Error;
use crate::fido::{Assertion, AuthenticationAnswer, Client, FidoFault, KeyRecord, Location, RegistrationAnswer};
use mfad_core::model::{Pin, UserId};
use mfad_core::stopwatch::Stopwatch;
use mfad_core::sync::thread;
use mfad_hardware::ctap::{Authenticator, CtapFault};
use mfad_hardware::device::{DeviceFault, Port, SecurityKey, Wait};
use mfad_store::Subject;

use super::authorise::UserAccess;
use super::secrets::has_room;
use super::security_keys::KeyOrder;
use super::{Reply, RequestContext, Service};

/// How long a ceremony may take, the touch included. A request has less than a minute.
const CEREMONY: Duration = Duration::from_secs(15);

/// How long a key may take to say who it is and what it has.
const LOOK: Duration = Duration::from_secs(2);
/// How long all keys together may take for that.
const ALL_KEYS: Duration = Duration::from_secs(8);
/// How long to wait for a key that somebody else has in hand, and how often to look.
const QUEUE: Duration = Duration::from_millis(1500);
const TURN: Duration = Duration::from_millis(50);

/// A security key as shown.
#[derive(Debug)]
pub struct SecurityKeyView {
    /// What the kernel calls its port.
    pub node: String,
    /// What it calls itself.
    pub product: String,
    /// What it says of itself, unless it cannot be talked to.
    pub facts: Result<SecurityKeyFacts, Error>,
}

/// What a security key says of itself.
#[derive(Debug)]
pub struct SecurityKeyFacts {
    /// The protocols that it knows, such as `FIDO_2_1`.
    pub versions: Vec<String>,
    /// The model, as its maker numbers it.
    pub aaguid: Option<[u8; 16]>,
    /// Whether it has a PIN; nothing if it cannot have one.
    pub has_pin: Option<bool>,
    /// Whether it knows its user by a fingerprint; nothing if it cannot.
    pub has_fingerprint: Option<bool>,
}

/// What comes of taking a key in hand.
type Opened = Result<Box<dyn SecurityKey>, DeviceFault>;

impl Service {
    /// The security keys that are plugged in, each asked who it is.
    pub(super) fn list_security_keys(&self, context: &RequestContext) -> Result<Reply, Error> {
        let total = Stopwatch::start(ALL_KEYS);
        let is_pointless = || context.cancellation.is_cancelled();
        let facts = |port: &Port| -> Result<SecurityKeyFacts, Error> {
            if total.is_over() {
                return Err(Error::DeviceFailed("the keys before it took all the time".to_owned()));
            }
            let mut key = self.take_key(context, port)?;
            let wait = Wait { time: Stopwatch::start(LOOK), is_pointless: &is_pointless };
            let key = Authenticator::meet(&mut *key, wait)?;
            Ok(SecurityKeyFacts {
                versions: key.versions(),
                aaguid: key.aaguid(),
                has_pin: key.has_pin(),
                has_fingerprint: key.has_built_in_verification(),
            })
        };
        let view = |port: Port| SecurityKeyView { facts: facts(&port), node: port.node, product: port.product };
        Ok(Reply::SecurityKeys(self.webauthn.ports.ports()?.into_iter().map(view).collect()))
    }

    /// Registers the security key that is plugged in. Nothing is stored before it has answered.
    pub(super) fn register_here(
        &self,
        context: &RequestContext,
        access: &UserAccess,
        order: KeyOrder,
        pin: Option<&Pin>,
    ) -> Result<Reply, Error> {
        let relying_party = self.relying_party()?;
        let user = access.user.id;
        self.refuse_throttled(context, &Subject::factors(user))?;
        self.look(context, |view| has_room(view, user, order.name.as_ref()))??;
        let (options, asked) = self.start_registration(context, &relying_party, access, order.verification)?;
        let mut key = self.the_only_key(context)?;
        let client = relying_party.client(pin.map(Pin::text));
        let answer = self.hold_ceremony(context, user, &mut *key, |key| client.create(key, &options))?;
        let record = RegistrationAnswer::read(&answer)
            .and_then(|answer| relying_party.finish_registration(&asked, &answer))
            .map_err(of_key)?;
        if context.cancellation.is_cancelled() {
            // Nobody would see its backup codes.
            return Err(Error::TouchTimeout);
        }
        let (secret, codes) = self.store_registered(context, access, order.name, &record, relying_party.id())?;
        Ok(Reply::KeyRegistered { secret, codes })
    }

    /// Whether a security key could answer for this user.
    pub(super) fn has_security_key(&self, context: &RequestContext, user: UserId) -> Result<bool, Error> {
        if self.policy().relying_party.is_none() {
            return Ok(false);
        }
        Ok(!self.look(context, |view| view.credential_ids_of(user))?.is_empty())
    }

    /// Lets the user's security key that is plugged in answer. An answer that does not hold is `None`, and counts.
    pub(super) fn answer_here(
        &self,
        context: &RequestContext,
        user: UserId,
        pin: Option<&Pin>,
    ) -> Result<Option<Assertion>, Error> {
        let relying_party = self.relying_party()?;
        let records = self.key_records(context, user)?;
        let client = relying_party.client(pin.map(Pin::text));
        let (mut key, records) = self.key_that_may_answer(context, client, records)?;
        // Of one credential, so that what is asked of it is its own policy.
        let (options, asked) = relying_party.start_authentication(user.as_bytes(), records)?;
        let answer = self.hold_ceremony(context, user, &mut *key, |key| client.get(key, &options))?;
        let answer = AuthenticationAnswer::read(&answer).map_err(of_key)?;
        self.judge_assertion(context, &relying_party, user, &asked, &answer)
    }

    /// What a key answers while there is time and somebody waits; a refusal counts.
    fn hold_ceremony(
        &self,
        context: &RequestContext,
        user: UserId,
        key: &mut dyn SecurityKey,
        act: impl FnOnce(&mut Authenticator<'_>) -> Result<Value, CtapFault>,
    ) -> Result<Value, Error> {
        let is_pointless = || context.cancellation.is_cancelled();
        let wait = Wait { time: Stopwatch::start(CEREMONY), is_pointless: &is_pointless };
        Authenticator::meet(key, wait)
            .and_then(|mut key| act(&mut key))
            .map_err(|fault| self.count_refusal(context, user, fault.into()))
    }

    /// Begins the use of a key; waits a little for whoever has it just now.
    fn take_key(&self, context: &RequestContext, port: &Port) -> Opened {
        let queue = Stopwatch::start(QUEUE);
        loop {
            match self.webauthn.ports.open(port) {
                Err(DeviceFault::Busy { .. }) if !queue.is_over() && !context.cancellation.is_cancelled() => {
                    thread::sleep(TURN);
                }
                taken => return taken,
            }
        }
    }

    /// The one key that is plugged in. Those that are older than FIDO2 count only where there is no other.
    fn the_only_key(&self, context: &RequestContext) -> Result<Box<dyn SecurityKey>, Error> {
        let ports = self.webauthn.ports.ports()?;
        let mut taken: Vec<(&Port, Opened)> = ports.iter().map(|port| (port, self.take_key(context, port))).collect();
        if taken.len() > 1 {
            taken.retain(|(_, key)| !matches!(key, Err(DeviceFault::TooOld)));
        }
        match (taken.pop(), taken.is_empty()) {
            (None, _) => Err(Error::NoDevice("no security key is plugged in".to_owned())),
            (Some((_, key)), true) => Ok(key?),
            (Some(last), false) => Err(many(taken.iter().chain([&last]).map(|(port, _)| *port))),
        }
    }

    /// The key that has one of these credentials, and which of them may be on it.
    fn key_that_may_answer(
        &self,
        context: &RequestContext,
        client: Client<'_>,
        mut records: Vec<KeyRecord>,
    ) -> Result<(Box<dyn SecurityKey>, Vec<KeyRecord>), Error> {
        let ports = self.webauthn.ports.ports()?;
        if ports.is_empty() {
            return Err(Error::NoDevice("no security key is plugged in".to_owned()));
        }
        let total = Stopwatch::start(ALL_KEYS);
        let is_pointless = || context.cancellation.is_cancelled();
        let mut holders: Vec<(Port, Box<dyn SecurityKey>, Location)> = Vec::new();
        let mut fault = None;
        for port in ports {
            let look = || -> Result<(Box<dyn SecurityKey>, Location), CtapFault> {
                let mut key = self.take_key(context, &port)?;
                // One that hangs does not take the time of the others.
                let wait = Wait { time: Stopwatch::start(LOOK.min(total.left())), is_pointless: &is_pointless };
                let location = client.locate(&mut Authenticator::meet(&mut *key, wait)?, &records)?;
                Ok((key, location))
            };
            match look() {
                Ok((_, Location::Elsewhere)) => {}
                Ok((key, location)) => holders.push((port, key, location)),
                // A key that is older than FIDO2, or that was pulled just now, is as good as none.
                Err(CtapFault::Device(DeviceFault::TooOld | DeviceFault::Removed)) => {}
                // It does not even say what it can.
                Err(CtapFault::NotTouched) => fault = Some(CtapFault::Device(DeviceFault::Hung)),
                Err(found) => fault = Some(found),
            }
        }
        // One that proved that it has a credential comes before those that do not tell.
        if holders.iter().any(|(_, _, location)| *location != Location::Perhaps) {
            holders.retain(|(_, _, location)| *location != Location::Perhaps);
        }
        match (holders.pop(), holders.is_empty(), fault) {
            (Some((_, key, Location::Here(place))), true, _) => Ok((key, vec![records.swap_remove(place)])),
            (Some((_, key, _)), true, _) => Ok((key, records)),
            (Some(last), false, _) => Err(many(holders.iter().chain([&last]).map(|(port, ..)| port))),
            (None, _, Some(fault)) => Err(fault.into()),
            (None, _, None) => Err(Error::NotThisKey),
        }
    }

    /// A PIN that is wrong, a touch that does not come or a no count like a wrong code, and are noted: nobody shall try PINs
    /// on somebody's key, or keep it blinking, without end.
    fn count_refusal(&self, context: &RequestContext, user: UserId, error: Error) -> Error {
        let event = match &error {
            Error::PinWrong { .. } | Error::PinBlocked(_) => "key.pin-wrong",
            Error::TouchTimeout | Error::TouchDenied => "key.untouched",
            _ => return error,
        };
        match self.count_failure(context, user, event) {
            Ok(()) => error,
            Err(fault) => fault,
        }
    }
}

fn many<'a>(ports: impl Iterator<Item = &'a Port>) -> Error {
    Error::ManySecurityKeys(ports.map(name_of).collect())
}

fn name_of(port: &Port) -> String {
    format!("{} in {}", port.product, port.node)
}

/// A key whose answer does not hold is not doing what it should: no stranger stands between.
fn of_key(fault: FidoFault) -> Error {
    match fault {
        FidoFault::Internal(_) | FidoFault::Algorithm(_) => fault.into(),
        FidoFault::Malformed { .. } | FidoFault::Refused(_) | FidoFault::Counter => {
            Error::DeviceFailed(fault.to_string())
        }
    }
}

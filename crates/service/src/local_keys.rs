//! Security keys in the ports of this host. The daemon is relying party and browser in one, so a security key that is
//! registered here also answers in a browser, and the other way round.

use std::time::Duration;

use serde_json::Value;

use crate::error::Error;
use crate::fido::{Assertion, AuthenticationAnswer, Client, FidoFault, KeyRecord, Location, RegistrationAnswer};
use mfad_api::AuditEvent;
use mfad_core::model::{KeyId, Pin, Sensitive, UserId};
use mfad_core::stopwatch::Stopwatch;
use mfad_core::sync::thread;
use mfad_hardware::ctap::{Authenticator, CtapFault, Permission};
use mfad_hardware::device::{DeviceFault, Port, SecurityKey, Wait};
use mfad_store::Subject;

use super::authorise::{Authority, UserAccess};
use super::secrets::has_room;
use super::security_keys::{KeySetup, LocalKeyOrder};
use super::{Reply, RequestContext, Service};

/// Time limit of one ceremony, the touch included. A whole request has less than a minute.
const CEREMONY: Duration = Duration::from_secs(15);

/// Time limit for a security key to report its model and features.
const LOOK: Duration = Duration::from_secs(2);
/// Time limit for all security keys together to report model and features.
const ALL_KEYS: Duration = Duration::from_secs(8);
/// How long to wait for a security key that another program or request uses, and the interval between attempts.
const QUEUE: Duration = Duration::from_millis(1500);
const TURN: Duration = Duration::from_millis(50);

/// A security key in a port of this host, as shown.
#[derive(Debug)]
pub struct SecurityKeyView {
    /// The kernel's name for its HID device, such as `hidraw3`.
    pub node: String,
    /// The product name that the key reports over USB.
    pub product: String,
    /// Features of the key, or the reason why they cannot be read.
    pub facts: Result<SecurityKeyFacts, Error>,
}

/// Features that a security key reports (CTAP2 `authenticatorGetInfo`).
#[derive(Debug)]
pub struct SecurityKeyFacts {
    /// Protocol versions that it supports, such as `FIDO_2_1`.
    pub versions: Vec<String>,
    /// Model number from its vendor (AAGUID).
    pub aaguid: Option<[u8; 16]>,
    /// Whether a PIN is set; `None` if it supports no PIN.
    pub has_pin: Option<bool>,
    /// Whether a fingerprint or another built-in user verification is set up; `None` if it supports none.
    pub has_fingerprint: Option<bool>,
}

/// The result of opening a security key.
type Opened = Result<Box<dyn SecurityKey>, DeviceFault>;

impl Service {
    /// Lists the security keys that are plugged in, each with the features it reports.
    pub(super) fn list_security_keys(&self, context: &RequestContext) -> Result<Reply, Error> {
        let total = Stopwatch::start(ALL_KEYS);
        let is_pointless = || context.cancellation.is_cancelled();
        let facts = |port: &Port| -> Result<SecurityKeyFacts, Error> {
            // One key that hangs must not make the whole request time out.
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

    /// Registers the security key that is plugged in. Nothing is stored before the key has answered, so a pulled key or
    /// a crash leaves no pending factor behind.
    pub(super) fn register_here(
        &self,
        context: &RequestContext,
        access: &UserAccess,
        order: LocalKeyOrder,
    ) -> Result<Reply, Error> {
        let LocalKeyOrder { key: order, pin, on, setup, resident } = order;
        // The daemon cannot tell whose key is plugged in. So with their own token alone, users may not change its
        // settings.
        if setup != KeySetup::default() && matches!(access.by, Authority::Own { .. }) {
            return Err(Error::Forbidden("app"));
        }
        let relying_party = self.relying_party()?;
        let user = access.user.id;
        self.refuse_throttled(context, &Subject::factors(user))?;
        self.look(context, |view| has_room(view, user, order.name.as_ref()))??;
        // All refusals that need no key come first, so that no touch is asked for in vain.
        let (options, asked) = self.start_registration(context, &relying_party, access, order.verification)?;
        let mut key = match on {
            Some(on) => self.security_side_of(context, on)?,
            None => self.the_only_key(context)?,
        };
        let pin = pin.as_ref().map(Pin::text);
        let client = relying_party.client(pin).keeping(resident);
        let answer = self.hold_ceremony(context, user, &mut *key, |key| {
            if resident && !key.has_resident() {
                return Err(CtapFault::Unsupported("it keeps no credentials itself"));
            }
            set_up(key, setup, pin, relying_party.id())?;
            client.create(key, &options)
        })?;
        let record = RegistrationAnswer::read(&answer)
            .and_then(|answer| relying_party.finish_registration(&asked, &answer))
            .map_err(of_key)?;
        if context.cancellation.is_cancelled() {
            // The client that would show the backup codes has disconnected, so the key must not become active.
            return Err(Error::TouchTimeout);
        }
        let (secret, codes) = self.store_registered(context, access, order.name, &record, relying_party.id())?;
        Ok(Reply::KeyRegistered { secret, codes })
    }

    /// Returns whether a registered security key could answer for this user.
    pub(super) fn has_security_key(&self, context: &RequestContext, user: UserId) -> Result<bool, Error> {
        if self.policy().relying_party.is_none() {
            return Ok(false);
        }
        Ok(!self.look(context, |view| view.credential_ids_of(user))?.is_empty())
    }

    /// Lets the user's security key that is plugged in answer. `None` is an answer that fails verification, which
    /// counts as a wrong code.
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
        // If the key has proved which credential it holds, only that one is asked for, under its own policy for user
        // verification.
        let (options, asked) = relying_party.start_authentication(user.as_bytes(), records)?;
        let answer = self.hold_ceremony(context, user, &mut *key, |key| client.get(key, &options))?;
        let answer = AuthenticationAnswer::read(&answer).map_err(of_key)?;
        self.judge_assertion(context, &relying_party, user, &asked, &answer)
    }

    /// Runs a ceremony with a security key until it answers, the time is up or the client disconnects. A refusal counts
    /// as a wrong code.
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

    /// Opens a security key. Waits a short time if another program or request uses it.
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

    /// Returns the security key that is the same USB device as this hardware key. Nothing else shows that both are one.
    fn security_side_of(&self, context: &RequestContext, on: KeyId) -> Result<Box<dyn SecurityKey>, Error> {
        let place = self.usb_place_of(on)?.ok_or_else(|| {
            let why = "the reader does not tell which USB device it is, so no security key is known to be the same key; \
                       leave out `key`, and plug in only that one";
            Error::Unsupported(why.to_owned())
        })?;
        let ports = self.webauthn.ports.ports()?;
        let port = ports.iter().find(|port| port.usb == Some(place));
        let port = port.ok_or_else(|| {
            Error::Unsupported(format!("the key {on} has no FIDO2 application, or it is switched off over USB"))
        })?;
        Ok(self.take_key(context, port)?)
    }

    /// Returns the only security key that is plugged in. Keys older than FIDO2 are left out if there is another one.
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

    /// Returns the security key that holds one of these credentials, and the credentials that may be on it.
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
                // The time limit of each key keeps one that hangs from using up the time of the others.
                let wait = Wait { time: Stopwatch::start(LOOK.min(total.left())), is_pointless: &is_pointless };
                let location = client.locate(&mut Authenticator::meet(&mut *key, wait)?, &records)?;
                Ok((key, location))
            };
            match look() {
                Ok((_, Location::Elsewhere)) => {}
                Ok((key, location)) => holders.push((port, key, location)),
                // A key that is older than FIDO2 or has just been pulled cannot hold a credential of the user.
                Err(CtapFault::Device(DeviceFault::TooOld | DeviceFault::Removed)) => {}
                // It does not even report its features.
                Err(CtapFault::NotTouched) => fault = Some(CtapFault::Device(DeviceFault::Hung)),
                Err(found) => fault = Some(found),
            }
        }
        // A key that proved possession by a signature goes before keys that do not tell, so that no pretender gets the
        // PIN.
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

    /// Counts a wrong PIN, a missing touch or a declined request as a wrong code, and audits it. Otherwise the daemon
    /// could be used to lock someone else's key, or to keep it blinking, without limit.
    fn count_refusal(&self, context: &RequestContext, user: UserId, error: Error) -> Error {
        let event = match &error {
            Error::PinWrong { .. } | Error::PinBlocked(_) => AuditEvent::KeyPinWrong,
            Error::TouchTimeout | Error::TouchDenied => AuditEvent::KeyUntouched,
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

/// Maps an invalid answer of a security key to a device fault: no browser stands between the daemon and the key.
fn of_key(fault: FidoFault) -> Error {
    match fault {
        FidoFault::Internal(_) | FidoFault::Algorithm(_) => fault.into(),
        FidoFault::Malformed { .. } | FidoFault::Refused(_) | FidoFault::Counter => {
            Error::DeviceFailed(fault.to_string())
        }
    }
}

/// Applies the settings of an operator. All that the key cannot do is refused before anything is changed.
fn set_up(
    key: &mut Authenticator<'_>,
    setup: KeySetup,
    pin: Option<&Sensitive<String>>,
    relying_party: &str,
) -> Result<(), CtapFault> {
    if setup.sets_pin && key.has_pin().is_none() {
        return Err(CtapFault::Unsupported("it cannot have a PIN"));
    }
    let shortest = match (setup.shortest_pin, key.shortest_pin()) {
        (Some(_), None) => return Err(CtapFault::Unsupported("the shortest length of its PIN cannot be set")),
        // It can only be raised.
        (Some(wanted), Some(now)) => (wanted > now).then_some(wanted),
        (None, _) => None,
    };
    let always = match (setup.always_verifies, key.always_verifies()) {
        (true, None) => return Err(CtapFault::Unsupported("it cannot be set to verify its user for every request")),
        (wanted, now) => wanted && now == Some(false),
    };
    // An earlier attempt may have set the PIN already.
    if setup.sets_pin
        && key.has_pin() == Some(false)
        && let Some(pin) = pin
    {
        key.set_pin(pin)?;
    }
    if shortest.is_none() && !always {
        return Ok(());
    }
    let token = key.verify_user(pin, relying_party, Permission::Configure)?;
    let token = token.ok_or(CtapFault::Unsupported("its settings cannot be changed"))?;
    key.configure(&token, shortest, always)
}

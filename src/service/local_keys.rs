//! Security keys in the ports of this host. The daemon asks as a relying party and answers as a browser would, so that a key
//! registered here answers in a browser too, and the other way round.

use std::time::Duration;

use crate::ctap::{Authenticator, CtapFault};
use crate::device::{DeviceFault, Port, SecurityKey, Wait};
use crate::error::Error;
use crate::fido::{Assertion, Client, FidoFault};
use crate::model::{Pin, UserId};
use crate::stopwatch::Stopwatch;

use super::authorise::Over;
use super::security_keys::KeyOrder;
use super::{Occasion, Reply, Service};

/// How long a ceremony may take, the touch included. A request has less than a minute.
const CEREMONY: Duration = Duration::from_secs(15);

/// How long a key may take to say who it is.
const LOOK: Duration = Duration::from_secs(2);

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

/// A key that was taken in hand.
type Taken = (Port, Box<dyn SecurityKey>);

impl Service {
    /// The security keys that are plugged in, each asked who it is.
    pub(super) fn list_security_keys(&self, occasion: &Occasion) -> Result<Reply, Error> {
        let is_pointless = || occasion.departure.is_noted();
        let facts = |port: &Port| -> Result<SecurityKeyFacts, Error> {
            let mut key = self.security_keys.open(port)?;
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
        Ok(Reply::SecurityKeys(self.security_keys.ports()?.into_iter().map(view).collect()))
    }

    /// Registers the security key that is plugged in. Nothing is stored before it has answered.
    pub(super) fn register_here(
        &self,
        occasion: &Occasion,
        over: &Over,
        order: KeyOrder,
        pin: Option<&Pin>,
    ) -> Result<Reply, Error> {
        let relying_party = self.relying_party()?;
        self.must_be_fresh_now(occasion, over)?;
        let (options, asked) = self.start_registration(occasion, &relying_party, over, order.verification)?;
        let is_pointless = || occasion.departure.is_noted();
        let wait = Wait { time: Stopwatch::start(CEREMONY), is_pointless: &is_pointless };
        let (_, mut key) = self.the_only_key()?;
        let mut key = Authenticator::meet(&mut *key, wait)?;
        let answer = relying_party.client(pin.map(Pin::text)).create(&mut key, &options)?;
        let record = relying_party.finish_registration(&asked, &answer).map_err(of_key)?;
        let (secret, codes) = self.store_registered(occasion, over, order.name, &record, relying_party.id())?;
        Ok(Reply::KeyRegistered { secret, codes })
    }

    /// Whether a security key could answer for this user.
    pub(super) fn has_security_key(&self, occasion: &Occasion, user: UserId) -> Result<bool, Error> {
        if self.policy().relying_party.is_none() {
            return Ok(false);
        }
        Ok(!self.look(occasion, |view| view.credential_ids_of(user))?.is_empty())
    }

    /// Lets the user's security key that is plugged in answer. An answer that does not hold is `None`, and counts.
    pub(super) fn answer_here(
        &self,
        occasion: &Occasion,
        user: UserId,
        pin: Option<&Pin>,
    ) -> Result<Option<Assertion>, Error> {
        let relying_party = self.relying_party()?;
        let (options, asked) = self.start_authentication(occasion, &relying_party, user)?;
        let is_pointless = || occasion.departure.is_noted();
        let wait = Wait { time: Stopwatch::start(CEREMONY), is_pointless: &is_pointless };
        let client = relying_party.client(pin.map(Pin::text));
        let mut key = self.key_that_may_answer(wait, client, &options)?;
        let mut key = Authenticator::meet(&mut *key, wait)?;
        let answer = client.get(&mut key, &options)?;
        self.judge_assertion(occasion, &relying_party, user, &asked, &answer)
    }

    /// The one key that is plugged in.
    fn the_only_key(&self) -> Result<Taken, Error> {
        let mut ports = self.security_keys.ports()?;
        match (ports.pop(), ports.is_empty()) {
            (None, _) => Err(Error::NoDevice("no security key is plugged in".to_owned())),
            (Some(port), true) => Ok((port.clone(), self.security_keys.open(&port)?)),
            (Some(last), false) => Err(Error::ManySecurityKeys(ports.iter().chain([&last]).map(name_of).collect())),
        }
    }

    /// The key that has one of the credentials that may answer. A single one is asked whatever it has, and says so itself.
    fn key_that_may_answer(
        &self,
        wait: Wait<'_>,
        client: Client<'_>,
        options: &serde_json::Value,
    ) -> Result<Box<dyn SecurityKey>, Error> {
        let ports = self.security_keys.ports()?;
        if ports.len() <= 1 {
            return self.the_only_key().map(|(_, key)| key);
        }
        let mut holders: Vec<Taken> = Vec::new();
        let mut fault = None;
        for port in ports {
            let look = || -> Result<Option<Box<dyn SecurityKey>>, CtapFault> {
                let mut key = self.security_keys.open(&port)?;
                let holds = client.is_held_by(&mut Authenticator::meet(&mut *key, wait)?, options)?;
                Ok(holds.then_some(key))
            };
            match look() {
                Ok(Some(key)) => holders.push((port, key)),
                // A key that is older than FIDO2, or that was pulled just now, is as good as none.
                Ok(None) | Err(CtapFault::Device(DeviceFault::TooOld | DeviceFault::Removed)) => {}
                Err(found) => fault = Some(found),
            }
        }
        match (holders.pop(), holders.is_empty(), fault) {
            (Some((_, key)), true, _) => Ok(key),
            (Some(last), false, _) => {
                Err(Error::ManySecurityKeys(holders.iter().chain([&last]).map(|(port, _)| name_of(port)).collect()))
            }
            (None, _, Some(fault)) => Err(fault.into()),
            (None, _, None) => Err(Error::NotThisKey),
        }
    }
}

fn name_of(port: &Port) -> String {
    format!("{} in {}", port.product, port.node)
}

/// A key whose answer does not hold is not doing what it should: no stranger stands between.
fn of_key(fault: FidoFault) -> Error {
    match fault {
        FidoFault::Internal(cause) => Error::Internal(cause),
        FidoFault::Shape | FidoFault::Refused(_) | FidoFault::Counter => Error::DeviceFailed(fault.to_string()),
    }
}

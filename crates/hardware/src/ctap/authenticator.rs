//! A session with one security key: its capabilities, PIN, new credentials and assertions (CTAP 2.1 section 6). Whether
//! an assertion is valid is judged elsewhere.

use crate::device::{SecurityKey, Wait};
use mfad_core::model::Sensitive;

use super::pin::{Permission, PinToken, Protocol, Shared};
use super::value::{Map, Members, Value, bytes, canonical, integer, list, map, named, numbered, read};
use super::{CtapFault, refusal};

const MAKE_CREDENTIAL: u8 = 0x01;
const GET_ASSERTION: u8 = 0x02;
const GET_INFO: u8 = 0x04;
const CLIENT_PIN: u8 = 0x06;
const SELECTION: u8 = 0x0B;
const CONFIG: u8 = 0x0D;

/// Subcommands of `CONFIG` (CTAP 2.1 section 6.11).
const TOGGLE_ALWAYS_VERIFY: u8 = 0x02;
const SET_SHORTEST_PIN: u8 = 0x03;
/// The shortest PIN of a key that reports none.
const SHORTEST_PIN: u8 = 4;

/// Subcommands of `CLIENT_PIN` (CTAP 2.1 section 6.5.5).
const PIN_RETRIES: i8 = 0x01;
const KEY_AGREEMENT: i8 = 0x02;
const SET_PIN: i8 = 0x03;
const TOKEN_BY_PIN: i8 = 0x05;
const TOKEN_BY_UV_FOR: i8 = 0x06;
const TOKEN_BY_PIN_FOR: i8 = 0x09;

/// The status of a wrong PIN.
const PIN_INVALID: u8 = 0x31;
/// PIN attempts that are never used here, so that a user who only reaches the daemon cannot block a security key.
const SPARED: u8 = 2;
/// Number of credentials in one request if a key does not report its limit.
const FEW: usize = 8;

/// A security key that has reported its capabilities.
pub struct Authenticator<'a> {
    key: &'a mut dyn SecurityKey,
    wait: Wait<'a>,
    info: Map,
}

/// The user whom a new credential is for.
pub struct User<'a> {
    /// The user handle, by which the relying party knows the user.
    pub id: &'a [u8],
    /// The login name, which the key may show. It is also sent as display name.
    pub name: &'a str,
}

/// The parameters of a new credential.
pub struct NewCredential<'a> {
    /// SHA-256 of the client data of this ceremony.
    pub client_data_hash: &'a [u8; 32],
    /// The id of the relying party, such as `example.org`.
    pub relying_party: &'a str,
    /// The name of the relying party, for display.
    pub relying_party_name: &'a str,
    /// The user whom the credential is for.
    pub user: User<'a>,
    /// Numbers of the COSE algorithms that are accepted, the best first.
    pub algorithms: &'a [i64],
    /// Ids of credentials of which none may be on the key already.
    pub excluded: &'a [Vec<u8>],
    /// Whether the key keeps the credential, so that it finds its user without being told a name.
    pub resident: bool,
}

/// The response to a request for a new credential.
pub struct Made {
    /// Authenticator data, with the id and public key of the new credential (WebAuthn section 6.1).
    pub authenticator_data: Vec<u8>,
}

/// The signed response of a security key to a relying party.
pub struct Assertion {
    /// The id of the credential that signed.
    pub credential: Vec<u8>,
    /// Authenticator data: hash of the relying party id, flags, signature counter (WebAuthn section 6.1).
    pub authenticator_data: Vec<u8>,
    /// Signature over the authenticator data and the client data hash.
    pub signature: Vec<u8>,
}

impl<'a> Authenticator<'a> {
    /// Asks a security key for its capabilities. `wait` then holds for all requests together.
    pub fn meet(key: &'a mut dyn SecurityKey, wait: Wait<'a>) -> Result<Self, CtapFault> {
        let mut authenticator = Self { key, wait, info: Map::new() };
        authenticator.info = authenticator.ask(GET_INFO, None)?;
        Ok(authenticator)
    }

    /// The protocol versions that the key supports, such as `FIDO_2_1`.
    pub fn versions(&self) -> Vec<String> {
        let text = |value: &Value| if let Value::Text(text) = value { Some(text.clone()) } else { None };
        list(self.info.number(0x01)).iter().filter_map(text).collect()
    }

    /// The model, as numbered by the maker; `None` if the key does not report it.
    pub fn aaguid(&self) -> Option<[u8; 16]> {
        bytes(self.info.number(0x03))?.try_into().ok()
    }

    /// Whether a PIN is set; `None` if the key cannot have one.
    pub fn has_pin(&self) -> Option<bool> {
        self.option("clientPin")
    }

    /// Whether the key can now verify its user by itself, by a fingerprint; `None` if it never can.
    pub fn has_built_in_verification(&self) -> Option<bool> {
        self.option("uv")
    }

    /// Whether the key always verifies its user; `None` if that cannot be set.
    pub fn always_verifies(&self) -> Option<bool> {
        self.option("alwaysUv")
    }

    /// The shortest PIN that the key takes; `None` if that cannot be set.
    pub fn shortest_pin(&self) -> Option<u8> {
        self.option("setMinPINLength").filter(|can| *can)?;
        Some(integer(self.info.number(0x0D)).unwrap_or(SHORTEST_PIN))
    }

    /// Whether the key can keep credentials of its own, by which it finds its user without being told a name.
    pub fn has_resident(&self) -> bool {
        self.option("rk") == Some(true)
    }

    /// Whether the key can verify its user in its present state.
    pub fn can_verify(&self) -> bool {
        self.has_pin() == Some(true) || self.has_built_in_verification() == Some(true)
    }

    /// How many credentials one request may name.
    pub fn most_credentials(&self) -> usize {
        integer(self.info.number(0x07)).filter(|most| *most > 0).unwrap_or(FEW)
    }

    /// Whether the id is short enough to be one of this key.
    fn may_have(&self, credential: &[u8]) -> bool {
        integer::<usize>(self.info.number(0x08)).is_none_or(|longest| credential.len() <= longest)
    }

    /// Waits for a touch that only shows presence. Keys before CTAP 2.1 cannot do this and are skipped.
    pub fn select(&mut self) -> Result<(), CtapFault> {
        if self.versions().iter().any(|version| version == "FIDO_2_1") {
            self.ask(SELECTION, None)?;
        }
        Ok(())
    }

    fn option(&self, name: &str) -> Option<bool> {
        match map(self.info.number(0x04))?.name(name) {
            Some(Value::Bool(is_on)) => Some(*is_on),
            _ => None,
        }
    }

    /// Lets the key verify its user: by the PIN if one is given and set, else by its own means. Returns `None` if the
    /// key verifies the user only together with the request, as keys before CTAP 2.1 do.
    pub fn verify_user(
        &mut self,
        pin: Option<&Sensitive<String>>,
        relying_party: &str,
        permission: Permission,
    ) -> Result<Option<PinToken>, CtapFault> {
        let by_itself = self.has_built_in_verification() == Some(true);
        let has_permissions = self.option("pinUvAuthToken") == Some(true);
        match pin {
            Some(pin) if self.has_pin() == Some(true) => {
                self.token(Some(pin), has_permissions, relying_party, permission).map(Some)
            }
            // Only keys with token permissions (CTAP 2.1) give a token without a PIN.
            _ if by_itself && has_permissions => self.token(None, true, relying_party, permission).map(Some),
            _ if by_itself => Ok(None),
            _ if self.has_pin() == Some(true) => Err(CtapFault::PinRequired),
            _ => Err(CtapFault::PinNotSet),
        }
    }

    /// Returns the preferred protocol, which the key lists first. A key that lists none is older than protocol two.
    fn protocol(&self) -> Protocol {
        let named = list(self.info.number(0x06)).iter().filter_map(|n| Protocol::of_number(integer(Some(n))?)).next();
        named.unwrap_or(Protocol::One)
    }

    fn agree(&mut self, protocol: Protocol) -> Result<Shared, CtapFault> {
        let theirs = self.client_pin(protocol, KEY_AGREEMENT, [])?;
        let theirs = map(theirs.number(0x01)).ok_or(CtapFault::Nonsense("no key to agree with"))?;
        Shared::agree(protocol, theirs)
    }

    /// Sets the first PIN of a key that can have one and has none (CTAP 2.1 section 6.5.5.5).
    pub fn set_pin(&mut self, pin: &Sensitive<String>) -> Result<(), CtapFault> {
        let protocol = self.protocol();
        let shared = self.agree(protocol)?;
        let (sealed, proof) = shared.hide_new_pin(pin)?;
        self.client_pin(protocol, SET_PIN, [(0x03, shared.ours.clone()), (0x04, proof), (0x05, sealed)])?;
        self.info = self.ask(GET_INFO, None)?;
        Ok(())
    }

    /// Changes the settings of the key, as a token for [`Permission::Configure`] allows (CTAP 2.1 section 6.11): the
    /// shortest PIN that it takes from now on, and that it verifies its user for every request.
    pub fn configure(
        &mut self,
        token: &PinToken,
        shortest_pin: Option<u8>,
        always_verifies: bool,
    ) -> Result<(), CtapFault> {
        if let Some(length) = shortest_pin {
            self.set(token, SET_SHORTEST_PIN, Some(numbered([(0x01, Value::from(length))])))?;
        }
        if always_verifies {
            self.set(token, TOGGLE_ALWAYS_VERIFY, None)?;
        }
        self.info = self.ask(GET_INFO, None)?;
        Ok(())
    }

    fn set(&mut self, token: &PinToken, command: u8, parameters: Option<Value>) -> Result<(), CtapFault> {
        let encoded = parameters.as_ref().map(canonical).transpose()?.unwrap_or_default();
        let (protocol, proof) = token.prove(&[&[0xFF; 32][..], &[CONFIG, command], &encoded].concat())?;
        let members = [(0x01, Value::from(command)), (0x03, protocol), (0x04, proof)];
        let parameters = parameters.map(|parameters| (0x02, parameters));
        self.ask(CONFIG, Some(numbered(members.into_iter().chain(parameters)))).map(drop)
    }

    fn token(
        &mut self,
        pin: Option<&Sensitive<String>>,
        has_permissions: bool,
        relying_party: &str,
        permission: Permission,
    ) -> Result<PinToken, CtapFault> {
        let protocol = self.protocol();
        // Asked each time, since other programs may have used up attempts, too.
        if pin.is_some() {
            match self.pins_left(protocol)? {
                0 => return Err(CtapFault::PinBlocked),
                remaining @ 1..=SPARED => return Err(CtapFault::PinSpared { remaining }),
                _ => {}
            }
        }
        let shared = self.agree(protocol)?;
        let command = match (pin, has_permissions) {
            (None, _) => TOKEN_BY_UV_FOR,
            (Some(_), true) => TOKEN_BY_PIN_FOR,
            (Some(_), false) => TOKEN_BY_PIN,
        };
        let hidden = pin.map(|pin| shared.hide_pin(pin)).transpose()?;
        // The token is bound to one operation and one relying party.
        let party = (permission != Permission::Configure).then(|| (0x0A, Value::from(relying_party.to_owned())));
        let scope = has_permissions.then(|| [Some((0x09, permission.bits())), party].into_iter().flatten());
        let ours = [(0x03, shared.ours.clone())].into_iter();
        let members = ours.chain(hidden.map(|hidden| (0x06, hidden))).chain(scope.into_iter().flatten());
        let answer = match self.client_pin(protocol, command, members) {
            // Asked again, so that the user learns how many attempts are left.
            Err(CtapFault::Status(PIN_INVALID)) => {
                return Err(match self.pins_left(protocol)? {
                    0 => CtapFault::PinBlocked,
                    remaining => CtapFault::PinWrong { remaining },
                });
            }
            answer => answer?,
        };
        let sealed = bytes(answer.number(0x02)).ok_or(CtapFault::Nonsense("no token"))?;
        shared.open_token(sealed)
    }

    fn client_pin(
        &mut self,
        protocol: Protocol,
        command: i8,
        members: impl IntoIterator<Item = (i8, Value)>,
    ) -> Result<Map, CtapFault> {
        let head = [(0x01, protocol.number()), (0x02, Value::from(command))];
        self.ask(CLIENT_PIN, Some(numbered(head.into_iter().chain(members))))
    }

    /// Returns how many PIN attempts are left before the key blocks its PIN.
    fn pins_left(&mut self, protocol: Protocol) -> Result<u8, CtapFault> {
        let answer = self.client_pin(protocol, PIN_RETRIES, [])?;
        integer(answer.number(0x03)).ok_or(CtapFault::Nonsense("no count of PINs"))
    }

    /// Makes a credential. This needs a touch.
    pub fn make(&mut self, new: &NewCredential<'_>, user: Verified<'_>) -> Result<Made, CtapFault> {
        let kind = || Value::from("public-key".to_owned());
        let algorithm = |number: &i64| named([("alg", Value::from(*number)), ("type", kind())]);
        let party = [("id", new.relying_party), ("name", new.relying_party_name)];
        // Users have no separate display name here.
        let person = [("name", new.user.name), ("displayName", new.user.name)];
        let text = |(name, text): (&'static str, &str)| (name, Value::from(text.to_owned()));
        let id = ("id", Value::Bytes(new.user.id.to_vec()));
        let mut request = Request::new([
            (0x01, Value::Bytes(new.client_data_hash.to_vec())),
            (0x02, named(party.map(text))),
            (0x03, named(person.map(text).into_iter().chain([id]))),
            (0x04, Value::Array(new.algorithms.iter().map(algorithm).collect())),
        ]);
        request.add_credentials(0x05, new.excluded);
        request.verify(user, new.client_data_hash, (0x08, 0x09), 0x07)?;
        if new.resident {
            request.add_option(0x07, "rk");
        }
        let answer = self.ask(MAKE_CREDENTIAL, Some(request.0)).map_err(|fault| self.explain(fault))?;
        let data = bytes(answer.number(0x02)).ok_or(CtapFault::Nonsense("no authenticator data"))?;
        Ok(Made { authenticator_data: data.to_vec() })
    }

    /// Asks for an assertion without a touch, which shows that the credential is on the key. Returns `None` if it is
    /// not.
    pub fn probe(
        &mut self,
        relying_party: &str,
        client_data_hash: &[u8; 32],
        credential: &[u8],
    ) -> Result<Option<Assertion>, CtapFault> {
        // Saves a request that can only fail.
        if !self.may_have(credential) {
            return Ok(None);
        }
        let only = [credential.to_vec()];
        let mut request = assertion_request(relying_party, client_data_hash, &only);
        // Without `up` the key signs at once and does not blink.
        request.add_options(0x05, [("up", false)]);
        match self.ask(GET_ASSERTION, Some(request.0)) {
            Ok(answer) => read_assertion(&answer, &only).map(Some),
            Err(CtapFault::NoCredentials) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Asks for an assertion by one of these credentials. This needs a touch.
    pub fn assert(
        &mut self,
        relying_party: &str,
        client_data_hash: &[u8; 32],
        credentials: &[Vec<u8>],
        user: Verified<'_>,
    ) -> Result<Assertion, CtapFault> {
        let mut request = assertion_request(relying_party, client_data_hash, credentials);
        request.verify(user, client_data_hash, (0x06, 0x07), 0x05)?;
        let answer = self.ask(GET_ASSERTION, Some(request.0)).map_err(|fault| self.explain(fault))?;
        read_assertion(&answer, credentials)
    }

    /// Replaces `PinRequired` by `PinNotSet` if the key has no means to verify its user.
    fn explain(&self, fault: CtapFault) -> CtapFault {
        if fault == CtapFault::PinRequired && !self.can_verify() { CtapFault::PinNotSet } else { fault }
    }

    fn ask(&mut self, command: u8, parameters: Option<Value>) -> Result<Map, CtapFault> {
        let mut message = vec![command];
        if let Some(parameters) = parameters {
            message.extend(canonical(&parameters)?);
        }
        // Otherwise the key would blink for a request whose caller has gone.
        if self.wait.time.is_over() || (self.wait.is_pointless)() {
            return Err(CtapFault::NotTouched);
        }
        let answer = self.key.exchange(&Sensitive::new(message), self.wait)?;
        match answer.expose().split_first() {
            Some((0, members)) => read(members),
            Some((status, _)) => Err(refusal(*status)),
            None => Err(CtapFault::Nonsense("an empty answer")),
        }
    }
}

fn read_assertion(answer: &Map, asked: &[Vec<u8>]) -> Result<Assertion, CtapFault> {
    let member = |number| bytes(answer.number(number)).map(<[u8]>::to_vec);
    let named = map(answer.number(0x01)).and_then(|credential| bytes(credential.name("id")));
    // A key may leave out the credential if only one was asked for.
    let only = || if let [one] = asked { Some(one.as_slice()) } else { None };
    Ok(Assertion {
        credential: named.or_else(only).ok_or(CtapFault::Nonsense("no credential"))?.to_vec(),
        authenticator_data: member(0x02).ok_or(CtapFault::Nonsense("no authenticator data"))?,
        signature: member(0x03).ok_or(CtapFault::Nonsense("no signature"))?,
    })
}

/// How a security key verifies its user for a request.
#[derive(Clone, Copy)]
pub enum Verified<'a> {
    /// The request needs no verification.
    No,
    /// By a token that the key gave before.
    ByToken(&'a PinToken),
    /// By the key itself, together with the touch.
    ByItself,
}

struct Request(Value);

impl Request {
    fn new(members: impl IntoIterator<Item = (i8, Value)>) -> Self {
        Self(numbered(members))
    }

    fn add(&mut self, number: i8, value: Value) {
        if let Value::Map(map) = &mut self.0 {
            map.insert(Value::from(number), value);
        }
    }

    fn add_credentials(&mut self, number: i8, ids: &[Vec<u8>]) {
        // CTAP does not allow an empty list.
        if ids.is_empty() {
            return;
        }
        let credential =
            |id: &Vec<u8>| named([("id", Value::Bytes(id.clone())), ("type", Value::from("public-key".to_owned()))]);
        self.add(number, Value::Array(ids.iter().map(credential).collect()));
    }

    fn add_options(&mut self, number: i8, options: impl IntoIterator<Item = (&'static str, bool)>) {
        self.add(number, named(options.into_iter().map(|(name, is_on)| (name, Value::from(is_on)))));
    }

    /// Switches one option on, beside those that are set already.
    fn add_option(&mut self, number: i8, name: &'static str) {
        if let Value::Map(members) = &mut self.0
            && let Value::Map(options) = members.entry(Value::from(number)).or_insert_with(|| Value::Map(Map::new()))
        {
            options.insert(Value::from(name.to_owned()), Value::from(true));
        }
    }

    /// Adds the user verification to a request. The member numbers depend on the command.
    fn verify(
        &mut self,
        user: Verified<'_>,
        client_data_hash: &[u8],
        (proof, protocol): (i8, i8),
        options: i8,
    ) -> Result<(), CtapFault> {
        match user {
            Verified::No => {}
            Verified::ByToken(token) => {
                let (number, proven) = token.prove(client_data_hash)?;
                self.add(proof, proven);
                self.add(protocol, number);
            }
            Verified::ByItself => self.add_options(options, [("uv", true)]),
        }
        Ok(())
    }
}

fn assertion_request(relying_party: &str, client_data_hash: &[u8; 32], credentials: &[Vec<u8>]) -> Request {
    let mut request =
        Request::new([(0x01, Value::from(relying_party.to_owned())), (0x02, Value::Bytes(client_data_hash.to_vec()))]);
    request.add_credentials(0x03, credentials);
    request
}

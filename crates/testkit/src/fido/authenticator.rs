//! A virtual security key at the level of CTAP2 messages (CTAP 2.1 section 6), written from the standard and checked
//! with libfido2's programs. A message that needs a touch is handled again from its start once the touch was given or
//! denied.

use aes::Aes256;
use aes::cipher::{Block, BlockModeEncrypt, KeyIvInit};
use hkdf::Hkdf;
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use p256::elliptic_curve::Generate;
use p256::{PublicKey, SecretKey};
use serde_cbor_2::Value;
use sha2::{Digest, Sha256};

use super::values::{
    Map, bytes, cose, decrypt, integer, list, mac, member, named, numbered, of, option, random, text, text_of,
};

/// The features and quirks of a virtual security key.
#[derive(Clone, Debug)]
pub struct Make {
    pub pin: Option<String>,
    /// Verifies its user by a fingerprint.
    pub fingerprint: bool,
    /// Supports only CTAP 2.0, with PIN protocol one.
    pub is_old: bool,
    /// Has a signature counter; otherwise it reports 0.
    pub counts: bool,
    /// Length of its credential ids in bytes.
    pub id_length: usize,
    /// Longest credential id that it accepts in a request; a longer one is an error.
    pub longest_id: Option<usize>,
    /// Refuses every assertion, silent probes included, until it has verified its user.
    pub is_closed: bool,
    /// Other programs use it at the same time, and their reports are received too.
    pub has_neighbours: bool,
    /// COSE algorithm number that it reports for its credentials.
    pub algorithm: i128,
    /// Creates credentials of its algorithm even if the request does not list it.
    pub is_stubborn: bool,
    /// Can keep credentials of its own, and settings by CTAP 2.1's authenticatorConfig.
    pub has_settings: bool,
}

impl Default for Make {
    fn default() -> Self {
        Self {
            pin: None,
            fingerprint: false,
            is_old: false,
            counts: true,
            id_length: 64,
            longest_id: None,
            is_closed: false,
            has_neighbours: true,
            algorithm: -7,
            is_stubborn: false,
            has_settings: false,
        }
    }
}

/// The user's reaction when the key blinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    Given,
    Denied,
    /// No touch within the time limit of the key.
    TimedOut,
}

/// The result of handling a message.
pub enum Answer {
    Done(Vec<u8>),
    /// The message needs a touch first.
    WantsTouch,
}

enum Stop {
    Status(u8),
    WantsTouch,
}

type Done = Result<Option<Value>, Stop>;

const INVALID_PARAMETER: u8 = 0x02;
const INVALID_LENGTH: u8 = 0x03;
const INVALID_COMMAND: u8 = 0x01;
const INVALID_CBOR: u8 = 0x12;
const MISSING_PARAMETER: u8 = 0x14;
const CREDENTIAL_EXCLUDED: u8 = 0x19;
const UNSUPPORTED_ALGORITHM: u8 = 0x26;
const OPERATION_DENIED: u8 = 0x27;
const INVALID_OPTION: u8 = 0x2C;
const NO_CREDENTIALS: u8 = 0x2E;
const USER_ACTION_TIMEOUT: u8 = 0x2F;
const PIN_INVALID: u8 = 0x31;
const PIN_BLOCKED: u8 = 0x32;
const PIN_AUTH_INVALID: u8 = 0x33;
const PIN_AUTH_BLOCKED: u8 = 0x34;
const PIN_NOT_SET: u8 = 0x35;
const PUAT_REQUIRED: u8 = 0x36;
const PIN_POLICY_VIOLATION: u8 = 0x37;

const RETRIES: u8 = 8;
const AAGUID: &[u8; 16] = b"mfad-virtual-key";

/// The state of the key: its PIN attempts, credentials and tokens.
pub struct Authenticator {
    make: Make,
    pub retries: u8,
    /// Wrong PINs in a row since the key was plugged in.
    wrong_in_a_row: u8,
    credentials: Vec<(Vec<u8>, String, SigningKey)>,
    pub counter: u32,
    agreement: SecretKey,
    token: [u8; 32],
    /// Permissions and relying party of the token, if the request named them.
    scope: Option<(i128, Option<String>)>,
    /// The shortest PIN that it takes.
    pub shortest_pin: i128,
    pub always_verifies: bool,
    /// Whether each credential is kept by the key itself.
    pub kept: Vec<bool>,
    touch: Option<Touch>,
}

impl Authenticator {
    pub fn new(make: Make) -> Self {
        Self {
            make,
            retries: RETRIES,
            wrong_in_a_row: 0,
            credentials: Vec::new(),
            counter: 0,
            agreement: SecretKey::generate(),
            token: random(),
            scope: None,
            shortest_pin: 4,
            always_verifies: false,
            kept: Vec::new(),
            touch: None,
        }
    }

    /// The PIN that is set.
    pub fn pin(&self) -> Option<&str> {
        self.make.pin.as_deref()
    }

    /// Resets the state that does not survive unplugging.
    pub fn reset_power(&mut self) {
        self.wrong_in_a_row = 0;
        self.agreement = SecretKey::generate();
        self.token = random();
    }

    /// Handles a message. `touch` is the outcome of a touch that was awaited; `None` at the first attempt.
    pub fn handle(&mut self, message: &[u8], touch: Option<Touch>) -> Answer {
        self.touch = touch;
        let (command, parameters) = message.split_first().expect("a command");
        let parameters = match parameters {
            [] => Map::new(),
            bytes => match serde_cbor_2::from_slice(bytes) {
                Ok(Value::Map(map)) => map,
                _ => return Answer::Done(vec![INVALID_CBOR]),
            },
        };
        let done = match command {
            0x01 => self.make_credential(&parameters),
            0x02 => self.assert(&parameters),
            0x04 => Ok(Some(self.info())),
            0x06 => self.client_pin(&parameters),
            0x0B => self.touched().map(|()| None),
            0x0D if self.make.has_settings => self.configure(&parameters),
            _ => Err(Stop::Status(INVALID_COMMAND)),
        };
        Answer::Done(match done {
            Ok(None) => vec![0],
            Ok(Some(value)) => [vec![0], serde_cbor_2::to_vec(&value).unwrap()].concat(),
            Err(Stop::Status(status)) => vec![status],
            Err(Stop::WantsTouch) => return Answer::WantsTouch,
        })
    }

    fn touched(&self) -> Result<(), Stop> {
        match self.touch {
            Some(Touch::Given) => Ok(()),
            Some(Touch::Denied) => Err(Stop::Status(OPERATION_DENIED)),
            Some(Touch::TimedOut) => Err(Stop::Status(USER_ACTION_TIMEOUT)),
            None => Err(Stop::WantsTouch),
        }
    }

    fn info(&self) -> Value {
        let is_new = !self.make.is_old;
        let mut options =
            vec![("rk", self.make.has_settings), ("up", true), ("plat", false), ("clientPin", self.make.pin.is_some())];
        if is_new {
            options.extend([("pinUvAuthToken", true), ("makeCredUvNotRqd", true)]);
        }
        if self.make.fingerprint {
            options.push(("uv", true));
        }
        if self.make.has_settings {
            options.extend([("authnrCfg", true), ("setMinPINLength", true), ("alwaysUv", self.always_verifies)]);
        }
        let versions = if is_new { vec!["FIDO_2_0", "FIDO_2_1"] } else { vec!["FIDO_2_0"] };
        let protocols = if is_new { vec![2, 1] } else { vec![1] };
        numbered([
            (1, Value::Array(versions.into_iter().map(text).collect())),
            (3, Value::Bytes(AAGUID.to_vec())),
            (4, named(options.into_iter().map(|(name, is_on)| (name, Value::Bool(is_on))))),
            (5, Value::Integer(1200)),
            (6, Value::Array(protocols.into_iter().map(Value::Integer).collect())),
            (0x0D, Value::Integer(self.shortest_pin)),
        ])
    }

    /// Checks whether the request has verified its user.
    fn verified(
        &self,
        parameters: &Map,
        rp: &str,
        places: (i128, i128),
        hash: &[u8],
        makes: bool,
    ) -> Result<bool, Stop> {
        if let Some(proof) = bytes(parameters, places.0) {
            let protocol = integer(parameters, places.0 + 1).ok_or(Stop::Status(MISSING_PARAMETER))?;
            let wanted = if makes { 0x01 } else { 0x02 };
            let is_for_this =
                self.scope.as_ref().is_none_or(|(bits, of)| bits & wanted != 0 && of.as_deref() == Some(rp));
            if !is_for_this || mac(protocol, &self.token, &[hash]) != proof {
                return Err(Stop::Status(PIN_AUTH_INVALID));
            }
            return Ok(true);
        }
        if option(parameters, places.1, "uv") == Some(true) {
            return if self.make.fingerprint { Ok(true) } else { Err(Stop::Status(INVALID_OPTION)) };
        }
        if makes && self.make.is_old && self.make.pin.is_some() {
            return Err(Stop::Status(PUAT_REQUIRED));
        }
        Ok(false)
    }

    fn make_credential(&mut self, parameters: &Map) -> Done {
        let hash = bytes(parameters, 1).ok_or(Stop::Status(MISSING_PARAMETER))?;
        let rp = member(parameters, 2, "id").ok_or(Stop::Status(MISSING_PARAMETER))?;
        let own = Value::Integer(self.make.algorithm);
        let is_wanted = list(parameters, 4).iter().any(|one| of(one, "alg") == Some(&own));
        if !is_wanted && !self.make.is_stubborn {
            return Err(Stop::Status(UNSUPPORTED_ALGORITHM));
        }
        let verified = self.verified(parameters, &rp, (8, 7), &hash, true)?;
        if self.known(&rp, list(parameters, 5)).is_some() {
            self.touched()?;
            return Err(Stop::Status(CREDENTIAL_EXCLUDED));
        }
        self.touched()?;
        let key = SigningKey::generate();
        let mut id = vec![0; self.make.id_length];
        getrandom::fill(&mut id).unwrap();
        let point = key.verifying_key().to_sec1_point(false);
        let cose = cose(point.as_bytes(), self.make.algorithm);
        let data = [
            self.data(&rp, 0x41 | if verified { 0x04 } else { 0 }),
            AAGUID.to_vec(),
            u16::try_from(id.len()).unwrap().to_be_bytes().to_vec(),
            id.clone(),
            serde_cbor_2::to_vec(&cose).unwrap(),
        ]
        .concat();
        let signature: Signature = key.sign(&[data.clone(), hash].concat());
        self.credentials.push((id, rp, key));
        self.kept.push(option(parameters, 7, "rk") == Some(true));
        let statement = [("alg", own), ("sig", Value::Bytes(signature.to_der().as_bytes().to_vec()))];
        Ok(Some(numbered([(1, text("packed")), (2, Value::Bytes(data)), (3, named(statement))])))
    }

    fn assert(&mut self, parameters: &Map) -> Done {
        let rp = text_of(parameters, 1).ok_or(Stop::Status(MISSING_PARAMETER))?;
        let hash = bytes(parameters, 2).ok_or(Stop::Status(MISSING_PARAMETER))?;
        let verified = self.verified(parameters, &rp, (6, 5), &hash, false)?;
        if self.make.is_closed && !verified {
            return Err(Stop::Status(PUAT_REQUIRED));
        }
        let is_long = |one: &Value| matches!(of(one, "id"), Some(Value::Bytes(id)) if self.make.longest_id.is_some_and(|most| id.len() > most));
        if list(parameters, 3).iter().any(is_long) {
            return Err(Stop::Status(INVALID_LENGTH));
        }
        let wants_touch = option(parameters, 5, "up") != Some(false);
        let known = self.known(&rp, list(parameters, 3)).ok_or(Stop::Status(NO_CREDENTIALS))?;
        if wants_touch {
            self.touched()?;
        }
        let flags = u8::from(wants_touch) | if verified { 0x04 } else { 0 };
        let data = self.data(&rp, flags);
        let (id, _, key) = &self.credentials[known];
        let signature: Signature = key.sign(&[data.clone(), hash].concat());
        let credential = named([("id", Value::Bytes(id.clone())), ("type", text("public-key"))]);
        let signature = Value::Bytes(signature.to_der().as_bytes().to_vec());
        Ok(Some(numbered([(1, credential), (2, Value::Bytes(data)), (3, signature)])))
    }

    fn data(&mut self, rp: &str, flags: u8) -> Vec<u8> {
        if self.make.counts && flags & 0x01 != 0 {
            self.counter += 1;
        }
        [Sha256::digest(rp.as_bytes()).as_slice(), &[flags], &self.counter.to_be_bytes()].concat()
    }

    fn known(&self, rp: &str, ids: &[Value]) -> Option<usize> {
        let is_one = |id: &[u8]| ids.iter().any(|one| of(one, "id") == Some(&Value::Bytes(id.to_vec())));
        self.credentials.iter().position(|(id, of, _)| of == rp && is_one(id))
    }

    fn client_pin(&mut self, parameters: &Map) -> Done {
        let protocol = integer(parameters, 1).unwrap_or(1);
        if protocol != 1 && (protocol != 2 || self.make.is_old) {
            return Err(Stop::Status(INVALID_PARAMETER));
        }
        match integer(parameters, 2) {
            Some(1) => Ok(Some(numbered([(3, Value::Integer(self.retries.into()))]))),
            Some(2) => {
                let point = p256::Sec1Point::from(self.agreement.public_key());
                Ok(Some(numbered([(1, cose(&[&[4], &point.x().unwrap()[..], &point.y().unwrap()[..]].concat(), -25))])))
            }
            Some(3) if self.make.pin.is_none() => self.set_pin(parameters, protocol),
            Some(5) => self.token_by_pin(parameters, protocol),
            Some(9) if !self.make.is_old => self.token_by_pin(parameters, protocol),
            Some(6) if self.make.fingerprint && !self.make.is_old => {
                let (_, cipher) = self.shared(parameters, protocol)?;
                self.touched()?;
                self.scope = integer(parameters, 9).map(|bits| (bits, text_of(parameters, 10)));
                self.new_token(protocol, &cipher)
            }
            _ => Err(Stop::Status(INVALID_PARAMETER)),
        }
    }

    /// Derives the MAC key and the cipher key that both sides share.
    fn shared(&self, parameters: &Map, protocol: i128) -> Result<([u8; 32], [u8; 32]), Stop> {
        let Some(Value::Map(theirs)) = parameters.get(&Value::Integer(3)) else {
            return Err(Stop::Status(MISSING_PARAMETER));
        };
        let (x, y) = (bytes(theirs, -2), bytes(theirs, -3));
        let point = [vec![4], x.unwrap_or_default(), y.unwrap_or_default()].concat();
        let theirs = PublicKey::from_sec1_bytes(&point).map_err(|_| Stop::Status(INVALID_PARAMETER))?;
        let agreed = self.agreement.diffie_hellman(&theirs);
        let agreed = agreed.raw_secret_bytes().to_vec();
        if protocol == 1 {
            let key: [u8; 32] = Sha256::digest(&agreed).into();
            return Ok((key, key));
        }
        let expand = |label: &[u8]| {
            let mut key = [0; 32];
            Hkdf::<Sha256>::new(Some(&[0; 32]), &agreed).expand(label, &mut key).unwrap();
            key
        };
        Ok((expand(b"CTAP2 HMAC key"), expand(b"CTAP2 AES key")))
    }

    fn set_pin(&mut self, parameters: &Map, protocol: i128) -> Done {
        let (hmac, cipher) = self.shared(parameters, protocol)?;
        let sealed = bytes(parameters, 5).ok_or(Stop::Status(MISSING_PARAMETER))?;
        if bytes(parameters, 4) != Some(mac(protocol, &hmac, &[&sealed])) {
            return Err(Stop::Status(PIN_AUTH_INVALID));
        }
        let pin = decrypt(protocol, &cipher, &sealed);
        let end = pin.iter().position(|byte| *byte == 0).unwrap_or(pin.len());
        let pin = String::from_utf8(pin[..end].to_vec()).map_err(|_| Stop::Status(INVALID_PARAMETER))?;
        if i128::try_from(pin.chars().count()).unwrap() < self.shortest_pin {
            return Err(Stop::Status(PIN_POLICY_VIOLATION));
        }
        self.make.pin = Some(pin);
        Ok(None)
    }

    /// authenticatorConfig (CTAP 2.1 section 6.11).
    fn configure(&mut self, parameters: &Map) -> Done {
        let command = integer(parameters, 1).ok_or(Stop::Status(MISSING_PARAMETER))?;
        let protocol = integer(parameters, 3).ok_or(Stop::Status(MISSING_PARAMETER))?;
        let values = parameters.get(&Value::Integer(2));
        let encoded = values.map(|values| serde_cbor_2::to_vec(values).unwrap()).unwrap_or_default();
        let head = [0x0D, u8::try_from(command).unwrap_or_default()];
        let proof = mac(protocol, &self.token, &[&[0xFF; 32], &head, &encoded]);
        let is_permitted = self.scope.as_ref().is_some_and(|(bits, _)| bits & 0x20 != 0);
        if !is_permitted || bytes(parameters, 4) != Some(proof) {
            return Err(Stop::Status(PIN_AUTH_INVALID));
        }
        match (command, values) {
            (2, None) => self.always_verifies = !self.always_verifies,
            (3, Some(Value::Map(values))) => {
                let length = integer(values, 1).ok_or(Stop::Status(MISSING_PARAMETER))?;
                if length < self.shortest_pin {
                    return Err(Stop::Status(PIN_POLICY_VIOLATION));
                }
                self.shortest_pin = length;
            }
            _ => return Err(Stop::Status(INVALID_PARAMETER)),
        }
        Ok(None)
    }

    fn token_by_pin(&mut self, parameters: &Map, protocol: i128) -> Done {
        let (_, cipher) = self.shared(parameters, protocol)?;
        let Some(pin) = &self.make.pin else { return Err(Stop::Status(PIN_NOT_SET)) };
        if self.retries == 0 {
            return Err(Stop::Status(PIN_BLOCKED));
        }
        if self.wrong_in_a_row == 3 {
            return Err(Stop::Status(PIN_AUTH_BLOCKED));
        }
        self.retries -= 1;
        let shown = decrypt(protocol, &cipher, &bytes(parameters, 6).ok_or(Stop::Status(MISSING_PARAMETER))?);
        if shown != Sha256::digest(pin.as_bytes())[..16] {
            self.wrong_in_a_row += 1;
            self.agreement = SecretKey::generate();
            return Err(Stop::Status(match (self.retries, self.wrong_in_a_row) {
                (0, _) => PIN_BLOCKED,
                (_, 3) => PIN_AUTH_BLOCKED,
                _ => PIN_INVALID,
            }));
        }
        (self.retries, self.wrong_in_a_row) = (RETRIES, 0);
        self.scope = integer(parameters, 9).map(|bits| (bits, text_of(parameters, 10)));
        self.new_token(protocol, &cipher)
    }

    fn new_token(&mut self, protocol: i128, cipher: &[u8; 32]) -> Done {
        self.token = random();
        let iv: [u8; 16] = if protocol == 1 { [0; 16] } else { random() };
        let mut encryptor = cbc::Encryptor::<Aes256>::new(cipher.into(), &iv.into());
        let mut sealed = if protocol == 1 { Vec::new() } else { iv.to_vec() };
        for block in self.token.as_chunks::<16>().0 {
            let mut block = Block::<Aes256>::from(*block);
            encryptor.encrypt_block(&mut block);
            sealed.extend_from_slice(&block);
        }
        Ok(Some(numbered([(2, Value::Bytes(sealed))])))
    }
}

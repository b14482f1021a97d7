//! A maker of virtual keys: its certificates, encoded byte by byte (X.690, RFC 5280), and the attestations of its keys,
//! either correct or with one fault.

use data_encoding::BASE64;
use p256::elliptic_curve::Generate;
use p256::pkcs8::EncodePublicKey;
use rsa::signature::{SignatureEncoding, Signer as _};

use super::key::Firmware;
use super::tlv::one;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const INTEGER: u8 = 0x02;
const BOOLEAN: u8 = 0x01;
const NULL: [u8; 2] = [0x05, 0x00];

const RSA_SHA256: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0B];
const ECDSA_SHA256: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02];
const ECDSA_SHA384: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x03];
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1D, 0x13];
/// OID 1.3.6.1.4.1.41482.3, below which each extension of Yubico has a number.
const YUBICO: &[u8] = &[0x2B, 0x06, 0x01, 0x04, 0x01, 0x82, 0xC4, 0x0A, 0x03];

/// A signing key, of a certificate authority or in a PIV slot.
pub(super) enum Pen {
    Rsa(Box<rsa::pkcs1v15::SigningKey<sha2::Sha256>>),
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
}

impl Pen {
    fn rsa() -> Self {
        let mut random = rsa::rand_core::UnwrapErr(getrandom::SysRng);
        let key = rsa::RsaPrivateKey::new(&mut random, 2048).unwrap();
        Self::Rsa(Box::new(rsa::pkcs1v15::SigningKey::new(key)))
    }

    pub(super) fn p256() -> Self {
        Self::P256(p256::ecdsa::SigningKey::generate())
    }

    pub(super) fn p384() -> Self {
        Self::P384(p384::ecdsa::SigningKey::generate())
    }

    fn public(&self) -> Vec<u8> {
        match self {
            Self::Rsa(pen) => rsa::signature::Keypair::verifying_key(pen.as_ref()).to_public_key_der(),
            Self::P256(pen) => pen.verifying_key().to_public_key_der(),
            Self::P384(pen) => pen.verifying_key().to_public_key_der(),
        }
        .unwrap()
        .into_vec()
    }

    fn algorithm(&self) -> Vec<u8> {
        match self {
            Self::Rsa(_) => one(SEQUENCE, &[one(OBJECT_ID, RSA_SHA256), NULL.to_vec()].concat()),
            Self::P256(_) => one(SEQUENCE, &one(OBJECT_ID, ECDSA_SHA256)),
            Self::P384(_) => one(SEQUENCE, &one(OBJECT_ID, ECDSA_SHA384)),
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Rsa(pen) => pen.sign(message).to_vec(),
            Self::P256(pen) => {
                p256::ecdsa::signature::Signer::<p256::ecdsa::DerSignature>::sign(pen, message).as_bytes().to_vec()
            }
            Self::P384(pen) => {
                p384::ecdsa::signature::Signer::<p384::ecdsa::DerSignature>::sign(pen, message).as_bytes().to_vec()
            }
        }
    }

    /// Signs a digest, as the PIV applet does.
    pub(super) fn sign_digest(&self, digest: &[u8]) -> Vec<u8> {
        use p256::ecdsa::signature::hazmat::PrehashSigner;
        match self {
            Self::Rsa(_) => unreachable!("the virtual key has no RSA keys in its slots"),
            Self::P256(pen) => {
                let signed: p256::ecdsa::DerSignature = pen.sign_prehash(digest).unwrap();
                signed.as_bytes().to_vec()
            }
            Self::P384(pen) => {
                let signed: p384::ecdsa::DerSignature = pen.sign_prehash(digest).unwrap();
                signed.as_bytes().to_vec()
            }
        }
    }

    /// Returns the number of the algorithm in PIV commands.
    pub(super) fn number(&self) -> u8 {
        match self {
            Self::Rsa(_) => 0x07,
            Self::P256(_) => 0x11,
            Self::P384(_) => 0x14,
        }
    }
}

/// The fields of a certificate to issue.
struct Text<'a> {
    issuer: &'a str,
    subject: &'a str,
    until: &'a str,
    public: Vec<u8>,
    extensions: Vec<Vec<u8>>,
}

fn certificate(text: &Text<'_>, pen: &Pen) -> Vec<u8> {
    let name = |name: &str| {
        one(SEQUENCE, &one(SET, &one(SEQUENCE, &[one(OBJECT_ID, COMMON_NAME), one(0x0C, name.as_bytes())].concat())))
    };
    let mut number = [0; 16];
    getrandom::fill(&mut number).unwrap();
    number[0] = 1 | (number[0] & 0x7F);
    let mut parts = vec![
        one(0xA0, &one(INTEGER, &[2])),
        one(INTEGER, &number),
        pen.algorithm(),
        name(text.issuer),
        one(SEQUENCE, &[one(0x18, b"20160314000000Z"), one(0x18, text.until.as_bytes())].concat()),
        name(text.subject),
        text.public.clone(),
    ];
    if !text.extensions.is_empty() {
        parts.push(one(0xA3, &one(SEQUENCE, &text.extensions.concat())));
    }
    let signed = one(SEQUENCE, &parts.concat());
    let signature = one(BIT_STRING, &[&[0][..], &pen.sign(&signed)].concat());
    one(SEQUENCE, &[signed, pen.algorithm(), signature].concat())
}

fn extension(id: &[u8], is_critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if is_critical { one(BOOLEAN, &[0xFF]) } else { Vec::new() };
    one(SEQUENCE, &[one(OBJECT_ID, id), critical, one(OCTET_STRING, value)].concat())
}

/// Returns the basic constraints of an issuer with at most `below` issuers under it (RFC 5280 section 4.2.1.9).
fn authority(below: u8) -> Vec<u8> {
    extension(BASIC_CONSTRAINTS, true, &one(SEQUENCE, &[one(BOOLEAN, &[0xFF]), one(INTEGER, &[below])].concat()))
}

fn told(what: u8, value: &[u8]) -> Vec<u8> {
    extension(&[YUBICO, &[what]].concat(), false, value)
}

/// Options of an attestation. The defaults give a correct one.
pub struct Attested {
    /// The PIV slot of the attested key, such as 0x9E.
    pub slot: u8,
    /// PIN policy: 1 never, 2 once, 3 always.
    pub pin_policy: u8,
    /// Touch policy: 1 never, 2 always.
    pub touch_policy: u8,
    /// Whether the attested key is on P-384 instead of P-256.
    pub is_p384: bool,
    /// A serial number in the attestation that is not the key's own.
    pub serial: Option<u32>,
    /// A firmware version in the attestation that is not the key's own.
    pub firmware: Option<Firmware>,
    /// Whether the certificates were copied from another key, without its private keys.
    pub is_copied: bool,
    /// Whether the key's own certificate may issue others.
    pub is_authority: bool,
    /// End of validity of the key's own certificate, as GeneralizedTime.
    pub until: &'static str,
    /// Whether the key's own certificate has an unknown critical extension.
    pub has_demand: bool,
    /// Whether the attestation contains the serial number.
    pub tells_serial: bool,
}

impl Default for Attested {
    fn default() -> Self {
        Self {
            slot: 0x9E,
            pin_policy: 1,
            touch_policy: 1,
            is_p384: false,
            serial: None,
            firmware: None,
            is_copied: false,
            is_authority: true,
            until: "20520417000000Z",
            has_demand: false,
            tells_serial: true,
        }
    }
}

/// The attestation in a key's PIV applet: certificates, policies and the attested key.
pub(super) struct Attestation {
    pub slot: u8,
    pub policies: [u8; 2],
    pub statement: Vec<u8>,
    pub issuer: Vec<u8>,
    pub pen: Pen,
}

/// A maker of keys, with its certificate authorities.
pub struct Maker {
    name: &'static str,
    certificates: Vec<Vec<u8>>,
    last: Pen,
    last_name: &'static str,
}

impl Maker {
    /// Creates a maker whose RSA root signs the certificates of its keys directly.
    pub fn new() -> Self {
        let (name, root) = ("Virtual PIV Root CA", Pen::rsa());
        let text = Text {
            issuer: name,
            subject: name,
            until: "20520417000000Z",
            public: root.public(),
            extensions: vec![authority(1)],
        };
        Self { name, certificates: vec![certificate(&text, &root)], last: root, last_name: name }
    }

    /// Creates a maker with an intermediate certificate between its root and its keys.
    pub fn with_line() -> Self {
        let (name, root, line_name, line) = ("Virtual Attestation Root", Pen::p384(), "Virtual PIV Line", Pen::p384());
        let until = "99991231235959Z";
        let text = Text { issuer: name, subject: name, until, public: root.public(), extensions: vec![authority(2)] };
        let root_der = certificate(&text, &root);
        let text =
            Text { issuer: name, subject: line_name, until, public: line.public(), extensions: vec![authority(1)] };
        Self { name, certificates: vec![certificate(&text, &root), root_der], last: line, last_name: line_name }
    }

    /// Returns the common name of the root certificate.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the root and any intermediate certificate in PEM.
    pub fn pem(&self) -> String {
        let text =
            |der: &Vec<u8>| format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", BASE64.encode(der));
        self.certificates.iter().map(text).collect()
    }

    pub(super) fn attestation(&self, serial: u32, firmware: Firmware, how: &Attested) -> Attestation {
        let (own, own_name) = (Pen::p256(), "Virtual PIV Attestation");
        let attested = if how.is_p384 { Pen::p384() } else { Pen::p256() };
        let (major, minor, patch) = how.firmware.unwrap_or(firmware);
        let mut extensions = vec![told(3, &[major, minor, patch])];
        if how.is_authority {
            extensions.push(authority(0));
        }
        if how.has_demand {
            extensions.push(extension(&[0x2A, 0x03, 0x04], true, &NULL));
        }
        let text =
            Text { issuer: self.last_name, subject: own_name, until: how.until, public: own.public(), extensions };
        let issuer = certificate(&text, &self.last);
        let number = how.serial.unwrap_or(serial).to_be_bytes();
        let mut extensions = vec![told(3, &[major, minor, patch])];
        if how.tells_serial {
            extensions.push(told(7, &one(INTEGER, &number)));
        }
        extensions.extend([told(8, &[how.pin_policy, how.touch_policy]), told(9, &[1])]);
        let subject = format!("Virtual PIV Attestation {:02x}", how.slot);
        let text =
            Text { issuer: own_name, subject: &subject, until: how.until, public: attested.public(), extensions };
        let statement = certificate(&text, &own);
        let pen = if how.is_copied { Pen::p256() } else { attested };
        Attestation { slot: how.slot, policies: [how.pin_policy, how.touch_policy], statement, issuer, pen }
    }
}

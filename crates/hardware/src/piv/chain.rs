//! Checks the certificates from a key's attestation to a root, as far as attestations need it (RFC 5280 section 6):
//! names, signatures, validity, basic constraints, key usage. There is no revocation information for attestations.

use sha2::{Digest, Sha256, Sha384};
use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Reader, SliceReader};
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};

use mfad_core::model::{Firmware, Serial};

use super::{
    AttestationChain, AttestationError, Challenge, CheckError, Curve, RootsFault, Statement, UnusableSlot, signature,
};

const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const FIRMWARE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3.3");
const SERIAL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3.7");
const POLICIES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3.8");

/// The value of both policies that means never: no PIN, no touch.
const NEVER: u8 = 0x01;

/// The most certificates between a key's attestation and a root.
const LONGEST_WAY: usize = 5;
/// Prefix of the signed message, before the nonce. So the key never signs a hash that someone else has chosen.
const CONTEXT: &[u8] = b"mfad device attestation 1\0";

/// The roots that are trusted, and intermediates that may stand between them and the certificates of a key.
#[derive(Clone, Debug)]
pub struct Roots {
    trusted: Vec<ParsedCertificate>,
    between: Vec<ParsedCertificate>,
}

/// A certificate, and the exact bytes of it that were signed.
#[derive(Clone, Debug)]
struct ParsedCertificate {
    certificate: Certificate,
    signed: Vec<u8>,
}

/// An attestation whose certificates are in order. It counts only once the key has signed a challenge.
#[derive(Debug)]
pub struct UnverifiedAttestation {
    certificate: ParsedCertificate,
    curve: Curve,
    statement: Statement,
}

impl Roots {
    /// Reads PEM texts with any number of certificates each. Self-signed ones are trusted, the others are
    /// intermediates.
    pub fn read<'a>(pems: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, RootsFault> {
        let (mut trusted, mut between) = (Vec::new(), Vec::new());
        for pem in pems {
            let found = ders_in(pem).ok_or(RootsFault::Unreadable)?;
            if found.is_empty() {
                return Err(RootsFault::Unreadable);
            }
            for der in found {
                let certificate = ParsedCertificate::read(&der).map_err(|_| RootsFault::Unreadable)?;
                // Only a self-signed certificate is a root; any other must lead to one.
                if certificate.is_signed_by(&certificate).is_ok() {
                    trusted.push(certificate)
                } else {
                    between.push(certificate)
                }
            }
        }
        if trusted.is_empty() { Err(RootsFault::NoRoot) } else { Ok(Self { trusted, between }) }
    }

    /// Checks that a chain leads to a root at that time, and that it names this serial number and firmware.
    pub fn check(
        &self,
        chain: &AttestationChain,
        serial: Serial,
        firmware: Option<Firmware>,
        unix_seconds: i64,
    ) -> Result<UnverifiedAttestation, CheckError> {
        // No certificate is valid before 1970.
        let unix_seconds = u64::try_from(unix_seconds).map_err(|_| AttestationError::NotValidNow)?;
        let statement = ParsedCertificate::read(&chain.statement)?;
        let issuer = ParsedCertificate::read(&chain.issuer)?;
        statement.is_valid_at(unix_seconds)?;
        statement.is_issued_by(&issuer, 0, unix_seconds)?;
        let root = self.root_of(&issuer, 1, unix_seconds)?;
        let said = statement.says(root)?;
        // The chain of another genuine key proves nothing about this one.
        if said.serial != serial || firmware.is_some_and(|firmware| firmware != said.firmware) {
            return Err(AttestationError::OtherKey.into());
        }
        let curve = signature::curve(statement.certificate.tbs_certificate().subject_public_key_info());
        Ok(UnverifiedAttestation {
            curve: curve.ok_or(UnusableSlot::OtherAlgorithm)?,
            certificate: statement,
            statement: said,
        })
    }

    /// Returns the name of the root above a certificate that has `below` issuers under it. If there is none, returns
    /// the most telling reason.
    fn root_of(
        &self,
        certificate: &ParsedCertificate,
        below: u8,
        unix_seconds: u64,
    ) -> Result<String, AttestationError> {
        let mut reason = AttestationError::UnknownRoot;
        for root in &self.trusted {
            match certificate.is_issued_by(root, below, unix_seconds) {
                Ok(()) => return Ok(root.name()),
                Err(AttestationError::UnknownRoot) => {}
                Err(other) => reason = other,
            }
        }
        // Bounds the search where intermediates certify each other.
        if usize::from(below) >= LONGEST_WAY {
            return Err(reason);
        }
        for next in &self.between {
            let found = certificate
                .is_issued_by(next, below, unix_seconds)
                .and_then(|()| self.root_of(next, below.saturating_add(1), unix_seconds));
            match found {
                Ok(name) => return Ok(name),
                Err(AttestationError::UnknownRoot) => {}
                Err(other) => reason = other,
            }
        }
        Err(reason)
    }
}

impl UnverifiedAttestation {
    /// Returns the challenge to be signed for a nonce. The nonce must be fresh.
    pub fn challenge(&self, nonce: &[u8; 32]) -> Challenge {
        let message = [CONTEXT, nonce].concat();
        let digest = match self.curve {
            Curve::P256 => Sha256::digest(message).to_vec(),
            Curve::P384 => Sha384::digest(message).to_vec(),
        };
        Challenge { digest, curve: self.curve }
    }

    /// Returns the statement if the key has signed the challenge.
    pub fn confirm(self, challenge: &Challenge, signed: &[u8]) -> Result<Statement, CheckError> {
        let key = self.certificate.certificate.tbs_certificate().subject_public_key_info();
        signature::ecdsa(key, &challenge.digest, signed).map_err(|_| AttestationError::NotPresent)?;
        Ok(self.statement)
    }

    /// Whether signing needs a touch.
    pub fn needs_touch(&self) -> bool {
        self.statement.touch
    }
}

impl ParsedCertificate {
    fn read(der: &[u8]) -> Result<Self, AttestationError> {
        let certificate = Certificate::from_der(der).map_err(|_| AttestationError::Unreadable)?;
        // Keeps the signed bytes as they came: encoding the certificate again could change them.
        let signed = signed_part(der).ok_or(AttestationError::Unreadable)?;
        // Both must name the same algorithm (RFC 5280 section 4.1.1.2).
        if certificate.signature_algorithm() != certificate.tbs_certificate().signature() {
            return Err(AttestationError::Unreadable);
        }
        Ok(Self { certificate, signed })
    }

    /// Checks that `issuer` may have issued this certificate, and did. `below` issuers are under it already.
    fn is_issued_by(&self, issuer: &Self, below: u8, unix_seconds: u64) -> Result<(), AttestationError> {
        if self.certificate.tbs_certificate().issuer() != issuer.certificate.tbs_certificate().subject() {
            return Err(AttestationError::UnknownRoot);
        }
        self.is_signed_by(issuer)?;
        issuer.is_valid_at(unix_seconds)?;
        issuer.may_issue(below)
    }

    fn is_signed_by(&self, issuer: &Self) -> Result<(), AttestationError> {
        let signed = self.certificate.signature().as_bytes().ok_or(AttestationError::Unreadable)?;
        let key = issuer.certificate.tbs_certificate().subject_public_key_info();
        signature::verify(key, self.certificate.signature_algorithm(), &self.signed, signed)
    }

    fn is_valid_at(&self, unix_seconds: u64) -> Result<(), AttestationError> {
        let validity = self.certificate.tbs_certificate().validity();
        let seconds = |time: &x509_cert::time::Time| time.to_unix_duration().as_secs();
        let range = seconds(&validity.not_before)..=seconds(&validity.not_after);
        if range.contains(&unix_seconds) { self.has_no_unknown_demand() } else { Err(AttestationError::NotValidNow) }
    }

    /// Refuses a critical extension that is not understood (RFC 5280 section 4.2).
    fn has_no_unknown_demand(&self) -> Result<(), AttestationError> {
        let known = [BASIC_CONSTRAINTS, KEY_USAGE];
        let mut critical = self.extensions().iter().filter(|extension| extension.critical);
        if critical.all(|extension| known.contains(&extension.extn_id)) {
            Ok(())
        } else {
            Err(AttestationError::NotAllowed)
        }
    }

    /// Checks that this may issue a certificate with `below` issuers under it (RFC 5280 sections 4.2.1.9 and 4.2.1.3).
    fn may_issue(&self, below: u8) -> Result<(), AttestationError> {
        let constraints: BasicConstraints = self.decoded(BASIC_CONSTRAINTS)?.ok_or(AttestationError::NotAllowed)?;
        // Without a key usage extension every usage is allowed (RFC 5280 section 4.2.1.3).
        let usage: Option<KeyUsage> = self.decoded(KEY_USAGE)?;
        let is_allowed = constraints.ca
            && constraints.path_len_constraint.is_none_or(|most| below <= most)
            && usage.is_none_or(|usage| usage.key_cert_sign());
        if is_allowed { Ok(()) } else { Err(AttestationError::NotAllowed) }
    }

    fn extensions(&self) -> &[x509_cert::ext::Extension] {
        self.certificate.tbs_certificate().extensions().map_or(&[], Vec::as_slice)
    }

    /// Returns the bytes of an extension. One that occurs twice is refused.
    fn extension(&self, id: ObjectIdentifier) -> Result<Option<&[u8]>, AttestationError> {
        let mut found = self.extensions().iter().filter(|extension| extension.extn_id == id);
        let first = found.next().map(|extension| extension.extn_value.as_bytes());
        if found.next().is_some() { Err(AttestationError::Unreadable) } else { Ok(first) }
    }

    fn decoded<'a, T: Decode<'a>>(&'a self, id: ObjectIdentifier) -> Result<Option<T>, AttestationError> {
        self.extension(id)?.map(T::from_der).transpose().map_err(|_| AttestationError::Unreadable)
    }

    /// Reads the extensions of Yubico. Refuses a key that asks for its PIN.
    fn says(&self, root: String) -> Result<Statement, CheckError> {
        let serial = self.extension(SERIAL)?.ok_or(UnusableSlot::NoSerial)?;
        let firmware = self.extension(FIRMWARE)?.and_then(|bytes| <[u8; 3]>::try_from(bytes).ok());
        let [major, minor, patch] = firmware.ok_or(AttestationError::Unreadable)?;
        let policies = self.extension(POLICIES)?.and_then(|bytes| <[u8; 2]>::try_from(bytes).ok());
        let [pin, touch] = policies.ok_or(AttestationError::Unreadable)?;
        if pin != NEVER {
            return Err(UnusableSlot::AsksForPin.into());
        }
        Ok(Statement {
            serial: number(serial).ok_or(AttestationError::Unreadable)?,
            firmware: Firmware(major, minor, patch),
            // The other policies are "always" and "cached". Both can need a touch.
            touch: touch != NEVER,
            root,
        })
    }

    /// Returns the common name of the subject, or the whole subject if it has none.
    fn name(&self) -> String {
        let subject = self.certificate.tbs_certificate().subject();
        let common = subject.iter().find(|part| part.oid == COMMON_NAME);
        let text = common.and_then(|part| std::str::from_utf8(part.value.value()).ok());
        text.map_or_else(|| subject.to_string(), str::to_owned)
    }
}

/// Reads an INTEGER as a serial number. Keys write four bytes whatever the number is. So neither the sign nor the
/// shortest form (X.690 section 8.3.2) is checked.
fn number(element: &[u8]) -> Option<Serial> {
    let (&[tag, length], bytes) = element.split_first_chunk::<2>()?;
    if tag != 0x02 || usize::from(length) != bytes.len() {
        return None;
    }
    let start = bytes.iter().position(|byte| *byte != 0)?;
    let digits = bytes.get(start..).filter(|digits| digits.len() <= 4)?;
    Serial::new(digits.iter().fold(0, |number: u32, byte| (number << 8) | u32::from(*byte)))
}

/// Returns the first element inside a certificate, which is the signed part, with its header.
fn signed_part(der: &[u8]) -> Option<Vec<u8>> {
    let mut outside = SliceReader::new(der).ok()?;
    let header = x509_cert::der::Header::decode(&mut outside).ok()?;
    let inside = outside.read_slice(header.length()).ok()?;
    let mut inside = SliceReader::new(inside).ok()?;
    inside.tlv_bytes().ok().map(<[u8]>::to_vec)
}

/// Returns the certificates of a PEM text (RFC 7468). Text around them is ignored, as its section 2 allows.
fn ders_in(pem: &[u8]) -> Option<Vec<Vec<u8>>> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let text = std::str::from_utf8(pem).ok()?;
    text.split(BEGIN)
        .skip(1)
        .map(|rest| {
            let body: String = rest.split_once(END)?.0.split_whitespace().collect();
            data_encoding::BASE64.decode(body.as_bytes()).ok()
        })
        .collect()
}

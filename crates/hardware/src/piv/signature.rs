//! Verifies signatures of certificates: RSA (PKCS #1 v1.5) and ECDSA, with SHA-2. Nothing is signed here, and no
//! private key of either kind exists.

use p256::ecdsa::signature::hazmat::PrehashVerifier;
use rsa::pkcs8::DecodePublicKey;
use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_cert::der::Encode;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use super::{AttestationError, Curve};

const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const RSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const RSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
const RSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const ECDSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4");

/// The shortest RSA modulus that is accepted (NIST SP 800-131A), in bytes.
const SHORTEST_MODULUS: usize = 256;

/// Verifies the signature of an issuer over a certificate (RFC 5280 section 4.1.1.2).
pub(super) fn verify(
    issuer: &SubjectPublicKeyInfoOwned,
    algorithm: &AlgorithmIdentifierOwned,
    message: &[u8],
    signature: &[u8],
) -> Result<(), AttestationError> {
    match algorithm.oid {
        RSA_SHA256 => rsa::<Sha256>(issuer, message, signature),
        RSA_SHA384 => rsa::<Sha384>(issuer, message, signature),
        RSA_SHA512 => rsa::<Sha512>(issuer, message, signature),
        ECDSA_SHA256 => ecdsa(issuer, &Sha256::digest(message), signature),
        ECDSA_SHA384 => ecdsa(issuer, &Sha384::digest(message), signature),
        ECDSA_SHA512 => ecdsa(issuer, &Sha512::digest(message), signature),
        // SHA-1, or anything else, does not count as a signature.
        _ => Err(AttestationError::WrongSignature),
    }
}

/// Returns the curve of a key if it is P-256 or P-384.
pub(super) fn curve(key: &SubjectPublicKeyInfoOwned) -> Option<Curve> {
    if key.algorithm.oid != EC {
        return None;
    }
    let parameters = key.algorithm.parameters.as_ref()?;
    match parameters.decode_as::<ObjectIdentifier>().ok()? {
        P256 => Some(Curve::P256),
        P384 => Some(Curve::P384),
        _ => None,
    }
}

fn rsa<D: Digest + rsa::pkcs8::AssociatedOid>(
    issuer: &SubjectPublicKeyInfoOwned,
    message: &[u8],
    signature: &[u8],
) -> Result<(), AttestationError> {
    let key = issuer.to_der().map_err(|_| AttestationError::Unreadable)?;
    let key = rsa::RsaPublicKey::from_public_key_der(&key).map_err(|_| AttestationError::WrongSignature)?;
    if rsa::traits::PublicKeyParts::size(&key) < SHORTEST_MODULUS {
        return Err(AttestationError::WrongSignature);
    }
    key.verify(rsa::Pkcs1v15Sign::new::<D>(), &D::digest(message), signature)
        .map_err(|_| AttestationError::WrongSignature)
}

/// Verifies a signature in DER over a digest (FIPS 186-5 section 6.4.2).
pub(super) fn ecdsa(key: &SubjectPublicKeyInfoOwned, digest: &[u8], signature: &[u8]) -> Result<(), AttestationError> {
    let point = key.subject_public_key.raw_bytes();
    let is_right = match curve(key) {
        Some(Curve::P256) => {
            let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point);
            let signature = p256::ecdsa::DerSignature::from_bytes(signature);
            matches!((key, signature), (Ok(key), Ok(signature)) if key.verify_prehash(digest, &signature).is_ok())
        }
        Some(Curve::P384) => {
            let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(point);
            let signature = p384::ecdsa::DerSignature::from_bytes(signature);
            matches!((key, signature), (Ok(key), Ok(signature)) if key.verify_prehash(digest, &signature).is_ok())
        }
        None => false,
    };
    if is_right { Ok(()) } else { Err(AttestationError::WrongSignature) }
}

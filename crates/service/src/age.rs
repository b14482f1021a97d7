//! Encryption to a public key in the age format (age-encryption.org/v1, C2SP), so that the tool `age` decrypts it, on
//! another machine and in years. The daemon cannot: it knows no identity. It encrypts OATH applet passwords for an escrow,
//! and exports.

use bech32::Bech32;
use bech32::primitives::decode::CheckedHrpstring;
use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use data_encoding::{BASE64, BASE64_NOPAD};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, Zeroizing};

use crate::error::Error;
use mfad_core::entropy;
use mfad_core::model::Sensitive;

/// HKDF label of the key that wraps the file key for an X25519 recipient.
const WRAP: &[u8] = b"age-encryption.org/v1/X25519";
/// Human-readable part of a recipient in Bech32.
const PREFIX: &str = "age";
/// Maximum length of a line of armour, in characters.
const LINE: usize = 64;

/// Bytes of the payload in one chunk.
const CHUNK: usize = 64 * 1024;

/// The public key of whoever is to decrypt (X25519).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient([u8; 32]);

impl Recipient {
    /// Reads `age1…` (Bech32, BIP 173), or a raw X25519 public key: its 32 bytes (RFC 7748 section 5) in Base64, as `wg
    /// pubkey` prints it.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(bytes) = BASE64.decode(text.as_bytes()) {
            return bytes.try_into().ok().map(Self);
        }
        let decoded = CheckedHrpstring::new::<Bech32>(text).ok()?;
        if decoded.hrp().as_str() != PREFIX {
            return None;
        }
        let bytes: Vec<u8> = decoded.byte_iter().collect();
        bytes.try_into().ok().map(Self)
    }

    /// Encrypts a password into an armoured age file.
    pub(super) fn seal(&self, password: &Sensitive<String>) -> Result<String, Error> {
        let mut stream = self.stream()?;
        stream.write(password.expose().as_bytes())?;
        stream.finish()?;
        Ok(armour(&stream.take()))
    }

    /// Begins an age file, which is written piece by piece.
    pub(super) fn stream(&self) -> Result<AgeStream, Error> {
        let file_key = entropy::secret::<16>()?;
        let mut sealed = self.header(&file_key)?.into_bytes();
        let nonce = entropy::public::<16>()?;
        let key = derive(file_key.expose(), &nonce, b"payload")?;
        sealed.extend_from_slice(&nonce);
        Ok(AgeStream { key, chunks: 0, plain: Zeroizing::new(Vec::with_capacity(CHUNK)), sealed })
    }

    fn header(&self, file_key: &Sensitive<[u8; 16]>) -> Result<String, Error> {
        let secret = StaticSecret::from(*entropy::secret::<32>()?.expose());
        let share = PublicKey::from(&secret);
        let shared = secret.diffie_hellman(&PublicKey::from(self.0));
        // A recipient of low order would make the shared secret known to everyone (RFC 7748 section 6.1).
        if !shared.was_contributory() {
            return Err(failed());
        }
        let salt = [share.as_bytes().as_slice(), &self.0].concat();
        let wrap = derive(shared.as_bytes(), &salt, WRAP)?;
        // The wrapping key is used only once, so the age format fixes the nonce at zero.
        let wrapped = encrypt(&wrap, [0; 12], file_key.expose())?;
        let header = format!(
            "age-encryption.org/v1\n-> X25519 {}\n{}\n---",
            BASE64_NOPAD.encode(share.as_bytes()),
            BASE64_NOPAD.encode(&wrapped)
        );
        let key = derive(file_key.expose(), &[], b"header")?;
        let mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key.expose()).map_err(|_| failed())?;
        let mac = mac.chain_update(header.as_bytes()).finalize().into_bytes();
        Ok(format!("{header} {}\n", BASE64_NOPAD.encode(&mac)))
    }
}

/// An age file that is being written.
pub(super) struct AgeStream {
    key: Sensitive<[u8; 32]>,
    /// Chunks that were sealed so far.
    chunks: u64,
    /// The beginning of the next chunk. It is full before it is sealed, and its memory is never given up unwiped.
    plain: Zeroizing<Vec<u8>>,
    sealed: Vec<u8>,
}

impl AgeStream {
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            // A full chunk is kept until more comes, since the last one is marked.
            if self.plain.len() == CHUNK {
                self.seal_chunk(false)?;
            }
            let room = CHUNK.saturating_sub(self.plain.len()).min(bytes.len());
            let (now, later) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
            self.plain.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    /// Whether the last chunk would be full, if the file ended now.
    pub(super) fn would_end_full(&self) -> bool {
        self.plain.len() == CHUNK
    }

    /// Seals the last chunk.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        self.seal_chunk(true)
    }

    /// Returns what was sealed since the last call.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.sealed)
    }

    /// The nonce is a counter of eleven bytes, and a flag that is 1 for the last chunk.
    fn seal_chunk(&mut self, is_last: bool) -> Result<(), Error> {
        let mut nonce = [0_u8; 12];
        let counter = self.chunks.to_be_bytes();
        for (to, from) in nonce.iter_mut().skip(3).zip(counter) {
            *to = from;
        }
        if let Some(last) = nonce.last_mut() {
            *last = u8::from(is_last);
        }
        self.sealed.extend_from_slice(&encrypt(&self.key, nonce, &self.plain)?);
        self.plain.zeroize();
        self.chunks = self.chunks.saturating_add(1);
        Ok(())
    }
}

fn derive(secret: &[u8], salt: &[u8], info: &[u8]) -> Result<Sensitive<[u8; 32]>, Error> {
    let mut key = [0u8; 32];
    Hkdf::<Sha256>::new(Some(salt), secret).expand(info, &mut key).map_err(|_| failed())?;
    Ok(Sensitive::new(key))
}

fn encrypt(key: &Sensitive<[u8; 32]>, nonce: [u8; 12], plain: &[u8]) -> Result<Vec<u8>, Error> {
    let cipher = ChaCha20Poly1305::new_from_slice(key.expose()).map_err(|_| failed())?;
    cipher.encrypt(&Nonce::from(nonce), plain).map_err(|_| failed())
}

fn armour(file: &[u8]) -> String {
    let text = BASE64.encode(file);
    let lines = text.as_bytes().chunks(LINE).map(|line| String::from_utf8_lossy(line).into_owned());
    let lines: Vec<String> = lines.collect();
    format!("-----BEGIN AGE ENCRYPTED FILE-----\n{}\n-----END AGE ENCRYPTED FILE-----\n", lines.join("\n"))
}

fn failed() -> Error {
    Error::Internal("the age file could not be encrypted".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The recipient in the examples of age's documentation.
    const RECIPIENT: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

    #[test]
    fn a_recipient_is_read_strictly() {
        assert!(Recipient::parse(RECIPIENT).is_some());
        let bare = BASE64.encode(&Recipient::parse(RECIPIENT).unwrap().0);
        assert_eq!(Recipient::parse(&bare), Recipient::parse(RECIPIENT));
        for odd in [
            "",
            &bare[..43],
            &bare[4..],
            "age1",
            &RECIPIENT[..61],
            &RECIPIENT.replace("ql3", "ql4"),
            "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
        ] {
            assert!(Recipient::parse(odd).is_none(), "{odd}");
        }
    }

    #[test]
    fn no_two_seals_are_alike_and_none_shows_the_password() {
        let recipient = Recipient::parse(RECIPIENT).unwrap();
        let password = Sensitive::new("hunter2".to_owned());

        let (one, other) = (recipient.seal(&password).unwrap(), recipient.seal(&password).unwrap());

        assert_ne!(one, other);
        assert!(one.starts_with("-----BEGIN AGE") && one.lines().all(|line| line.len() <= LINE));
    }
}
